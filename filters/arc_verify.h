/*
 * arc_verify - whether the Authenticated Received Chain of one message holds, RFC 8617 section 5.2
 *
 *     struct arc_verify *v = arc_verify_new(dns);
 *     for each field: arc_verify_field(v, raw, len);
 *     arc_verify_header_end(v);                       // key lookups start here, those of the newest eight sets
 *     for each chunk: arc_verify_body(v, p, len);
 *     rc = arc_verify_finish(v, &result);             // may wait for the keys
 *     arc_verify_free(v);
 *
 * The newest message signature and every seal must be valid; older message signatures are tried to find out since which hop the message is what it
 * is (oldest-pass). A chain whose newest seal says cv=fail, or that is not well-formed (arc_set.h), has failed, and nothing is looked up for it. Keys are
 * judged as for DKIM: RSA from 1024 bits on, Ed25519, no rsa-sha1; but not beyond 4096 bits: there may be a hundred signatures.
 *
 * Work is bounded: 50 sets; two body hashes, one for each canonicalization; header fields are read for older message signatures up to 1 MiB
 * together; a question for each key, 64 in all, those of eight sets at once and of the next when these are good. What is beyond of older message signatures counts as not valid; a seal whose key would be the 65th cannot be.
 */
#ifndef ARC_VERIFY_H
#define ARC_VERIFY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/auto.h"
#include "base/dns.h"
#include "filters/arc_set.h"

enum arc_state { ARC_NONE, ARC_PASS, ARC_FAIL, ARC_TEMPERROR };

struct arc_result {
	enum arc_state state;
	size_t count;                   /* the highest instance */
	unsigned oldest_pass;           /* of a chain that passes: the oldest instance whose message signature and those of all newer ones hold; 0: all do */
	bool from_signed;               /* the newest message signature covers every From field */
	char why[256];                  /* of fail and temperror, in words; of pass: why older signatures do not hold, or "" */
};

struct arc_verify;

struct arc_verify *arc_verify_new(struct dns *dns);
void arc_verify_free(struct arc_verify *v);
AUTO_DEFINE(arc_verify)

/* A field with or without its final CRLF, from the top down. The bytes must stay until arc_verify_finish has returned. 0, -ENOMEM or -EMSGSIZE. */
int arc_verify_field(struct arc_verify *v, const char *raw, size_t len);

/* The header is complete: reads the chain and starts the key lookups. Never waits. 0 or -ENOMEM. */
int arc_verify_header_end(struct arc_verify *v);

/* The sets; their fields, like those of the header, until finish has returned. */
const struct arc_sets *arc_verify_sets(const struct arc_verify *v);

/* The next bytes of the body, as sent. A chunk takes about 1 ms per MB and body hash; nothing if there is no chain that could pass. */
int arc_verify_body(struct arc_verify *v, const char *p, size_t len);

/* Once. In a task, others have their turn while it hashes (turn.h). 0 (also for none) or -ENOMEM. may wait */
int arc_verify_finish(struct arc_verify *v, struct arc_result *out);

/* d= and s= of the seal of an instance, lower-case; "" when there is none that could be read. After header_end. */
const char *arc_verify_domain(const struct arc_verify *v, size_t instance);
const char *arc_verify_selector(const struct arc_verify *v, size_t instance);

/*
 * Whether the message signature of an older instance, as it is written, leaves nothing open to who had the message next: it covers From, and the body without l=.
 * The next hop may have held to l=, and sealed what somebody had put behind it. False where it cannot be read. After header_end.
 */
bool arc_verify_binds(const struct arc_verify *v, size_t instance);

const char *arc_state_name(enum arc_state s);   /* "none", "pass", "fail", "temperror" */

#endif
