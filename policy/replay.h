/*
 * replay - what a policy would have done with a message that is in the history
 *
 * The policy is asked with the facts of the record and nothing else: no network, no clock, no greylist; so the answer is the same each
 * time. A fact that the record does not have is unknown, and what hangs on it is said, not guessed: the transaction was over before
 * the fact's stage, its filter had not been asked, or its value was cut. What the policy computes itself (score, class) is computed
 * again. A greylist rule lets pass whom the greylist let pass then; where it was not asked then, the verdict says that it would be.
 *
 * Facts must have been registered. One thread.
 */
#ifndef REPLAY_H
#define REPLAY_H

#include <stdbool.h>
#include <stddef.h>

#include "filters/txn.h"
#include "policy/history_record.h"
#include "policy/policy.h"

enum replay_missing {
	REPLAY_COMPLETE,        /* there is a verdict */
	REPLAY_TOO_EARLY,       /* the transaction ended before the fact's stage */
	REPLAY_NOT_ASKED,       /* the filter of the fact had not been asked */
	REPLAY_CUT,             /* the fact's value was too long to be kept whole, or is one that this version does not know */
};

struct replay_verdict {
	enum replay_missing missing;
	int fact;                       /* which is missing, or which could not be established (temporary); FACT_NONE */
	const struct rule *rule;        /* which decides, or which hangs on the fact; NULL: the end of the policy */
	enum action action;             /* REPLAY_COMPLETE: ACCEPT, REJECT, DEFER, QUARANTINE or DISCARD */
	bool greylisted;                /* DEFER, because the greylist let it wait then */
	bool meets_greylist;            /* a greylist rule holds that was not asked then: deferred once, if the sender is new */
	bool temporary;                 /* DEFER, because a check could not be done then */
};

/* The room that one run needs, to be reused from record to record. NULL: no memory. */
struct replay;
struct replay *replay_new(const struct policy *policy);
void replay_free(struct replay *r);

/* What is true of all recipients of a record: to be called before replay_judge. cut, lost: as history_decode gives them; may be NULL. */
void replay_begin(struct replay *r, const struct history_record *record, const char *const *cut, const char *const *lost);

/* The verdict on one recipient of it. 0 or -ENOMEM. */
int replay_judge(struct replay *r, const char *rcpt, struct replay_verdict *out);

/* "accept", "greylist", "greylist, then accept": as history_record.action has it. out: REPLAY_NAME_MAX. Returns out. */
enum { REPLAY_NAME_MAX = 40 };
const char *replay_name(const struct replay_verdict *v, char *out);

/* "the transaction ended before it was known" */
const char *replay_missing_text(enum replay_missing m);

#endif
