/*
 * history_record - what is kept of one verdict on one transaction: its facts, and what became of it
 *
 * One record for each line that the log gets ("verdict=..."): the recipients that had the same verdict by the same rule. `gatepost
 * history` finds it, `explain CODE` shows it, `replay` judges it again by another policy.
 *
 * It travels and is stored as bytes: HISTORY_VERSION, then the members in order. A number is seven bits an octet, the low ones first, the
 * high bit saying that more follow; one that may be negative has its sign in the lowest bit. A string is its length plus one (0: none), its
 * octets and a NUL, so that what is decoded points into the bytes themselves. Facts go by name, not by number: numbers differ between
 * versions. What does not fit is cut, never the whole record: a value at HISTORY_VALUE_MAX octets (all values of a list at HISTORY_LIST_MAX), and
 * the fact is marked as cut; the reason in words (which DNS answer, which record, which selector) at HISTORY_WHY_MAX. Pure: no I/O, no clock.
 */
#ifndef HISTORY_RECORD_H
#define HISTORY_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "filters/fact.h"

enum {
	HISTORY_VERSION = 1,
	HISTORY_TEXT_MAX = 1024,        /* octets of a member */
	HISTORY_VALUE_MAX = 1024,
	HISTORY_LIST_MAX = 4096,
	HISTORY_WHY_MAX = 512,
	HISTORY_RCPT_MAX = 1000,
	HISTORY_RECORD_MAX = 256 * 1024,
};

#define HISTORY_RETRY "retry of "

struct history_record {
	int64_t at_ms;                  /* of the wall clock, when the verdict was given */
	const char *code;               /* "5f3c-2": session and transaction, as replies and the log have it */
	const char *client, *helo;      /* address, greeting */
	const char *from;               /* envelope, "" for the null sender */
	const char *const *rcpt;
	size_t rcpt_count;
	size_t rcpt_total;              /* how many there were; more than rcpt_count when they did not fit. Encoding: rcpt_count if less */
	const char *message_id, *subject;       /* NULL: none, or not seen; the subject decoded */
	uint64_t bytes;                 /* received of the message */
	enum stage stage;               /* how far the transaction was: facts of later stages were never known */
	const char *verdict;            /* what was done, as in the log: "accept", "backend-refused"...; or why nothing was: "client-gone" */
	const char *action;             /* the policy's own verdict on these recipients: "accept", "reject", "quarantine", "greylist"...; NULL: it had not
					   come to one. Differs from what was done in observe mode, by a refusing backend, or among mixed verdicts */
	const char *rule;               /* its name; NULL: none */
	int rule_line;                  /* in the policy file of then; 0: none */
	const char *rule_text;
	const char *reply;              /* what the client heard, or NULL */
	const char *backend, *quarantine_id;    /* or NULL */
	int ms_data, ms_checks, ms_backend, ms; /* -1: none */
	/* Names of the filters that had looked, NULL last (or NULL: none): a fact of theirs that is not below does not exist; one of another filter was
	   never asked for. replay tells the two apart. */
	const char *const *ran;
	/* What rules that decide nothing did, or under observe would have done, a line for each ("tag external: [EXTERNAL]", "observe strict: reject"), and
	   HISTORY_RETRY with a code: some have this message from that transaction. NULL: nothing. Stands last, and only if there is something: records of before have none. */
	const char *notes;
	/* What was known: client's, transaction's and recipient's. Encoding takes up to three sets; decoding fills the first. */
	const struct facts *facts[3];
};

/*
 * Append r to out; a bounded number of octets, never more than HISTORY_RECORD_MAX. 0; -ENOSPC (past out's bound) or -ENOMEM: out is as
 * it was.
 */
int history_encode(const struct history_record *r, struct buf *out);

/* What decoding needs; made once, used for record after record. The facts must have been registered. */
struct history_memory;
struct history_memory *history_memory_new(void);
void history_memory_free(struct history_memory *m);

/*
 * The other way. Strings point into p, facts and arrays into *memory: good until either changes. 0 or -EBADMSG; no octet is trusted.
 * cut: names of facts whose value was cut when it was recorded (so that a regular expression that does not match means nothing), NULL last.
 * lost: names of facts that are recorded but are none of this version, or of another type or word by now, NULL last. Either may be NULL.
 */
int history_decode(const char *p, size_t len, struct history_memory *memory, struct history_record *out, const char *const **cut,
		   const char *const **lost);

#endif
