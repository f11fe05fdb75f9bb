/*
 * record - a transaction as JSON: what the quarantine keeps beside a message and what `explain
 * --json` prints
 *
 *     { "id": ..., "time": ..., "client": { "ip", "helo", "esmtp", "tls", "rdns" }, "envelope": { "from",
 * "params", "rcpt": [ { "address", "params", "classes" } ] }, "message": { "id", "from", "subject", "size" },
 * "facts": { name: value or [values] or { "temperror": why } }, "why": { name: words }, "verdict":
 * { "action", "rule": { "line", "name", "text" }, "reply" } }
 *
 * The quarantine's has "text" besides: what the message says. From and Subject are decoded (RFC 2047). Octets that are no UTF-8 are given as U+FFFD; an address of the envelope that has such stands
 * beside it once more, byte for byte, as "from_b64" or "address_b64", so that a message can be
 * released with its own envelope. Facts and header fields are cut at 2,048 octets, lists of facts behind 16 KiB. The store adds "kept": { "id", "at", "bytes" }.
 */
#ifndef RECORD_H
#define RECORD_H

#include <jansson.h>

#include "base/buf.h"
#include "policy/judge.h"

enum { RECORD_TEXT_MAX = 64 * 1024 };

/*
 * For the recipients rcpt[0..count); j: the judge of one of them, whose verdict and facts are
 * given. New reference, or NULL.
 */
json_t *record_make(const struct txn *t, const struct recipient *const *rcpt, size_t count,
		    const struct judge *j);

/*
 * Adds "text": at most RECORD_TEXT_MAX octets of what the message says (unpack_text), for those who search. Left out when there is no
 * memory. may wait, within a task
 */
void record_add_text(json_t *record, struct message *m);

/* A server behind refused what the policy had let through: adds "refused": { "backend", "reply" }. */
void record_refused(json_t *record, const char *backend, const char *reply);

/*
 * Known facts of t and j in short, "spf=fail dmarc=fail dnsbl.score=4", those that matter to a
 * person first. Long values are cut, so that RECORD_BRIEF_MAX octets have room for all that strangers can make long.
 */
enum { RECORD_BRIEF_MAX = 2048 };
void record_facts_brief(const struct txn *t, const struct judge *j, struct buf *out);

/* The value of one known fact as text: "a,b" for lists, "yes"/"no" for booleans, "temperror". */
void record_fact_text(const struct fact *f, struct buf *out);

/* A JSON string of any octets. */
json_t *record_string(const char *p, size_t len);
/* The same; null for NULL. */
json_t *record_text(const char *s);

#endif
