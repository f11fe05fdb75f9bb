/*
 * judge - one recipient's verdict on one transaction, reached as early as it is certain
 *
 * A judge walks the policy as the session proceeds (policy_next), asks filters for facts, passes greylist rules through the
 * greylist, and turns what hangs on a temporary failure into a defer, for site->temperror_max_s at most. It speaks of
 * verdicts; the reply in one is complete with its codes, ready for whoever carries it to the client.
 *
 *     judge_init(&j, &txn, &recipient);
 *     at RCPT:        judge_step(&j, JUDGE_BEFORE_GREYLIST);     then the backend, then judge_step(&j, JUDGE_ALL)
 *     at end of data: judge_step(&j, JUDGE_FINAL)
 */
#ifndef JUDGE_H
#define JUDGE_H

#include "policy/conf.h"
#include "policy/policy.h"
#include "filters/txn.h"

enum judge_how {
	JUDGE_BEFORE_GREYLIST,  /* stop where a greylist rule is true: the backend has not been asked yet */
	JUDGE_ALL,
	JUDGE_FINAL,            /* no later stage will come: there will be a verdict */
};

enum { VERDICT_REPLY_MAX = 512 };

struct verdict {
	bool certain;
	enum action action;             /* ACCEPT, REJECT, DEFER, QUARANTINE or DISCARD */
	const struct rule *rule;        /* which decided; NULL: the end of the policy, or a temporary failure */
	bool greylisted;                /* DEFER by a greylist rule */
	int temporary_fact;             /* DEFER because this fact could not be established; FACT_NONE else */
	char reply[VERDICT_REPLY_MAX];  /* REJECT, DEFER: "550 5.7.1 text"; else "" */
};

struct judge {
	struct txn *txn;
	const struct recipient *rcpt;
	struct facts facts;             /* of this recipient */
	struct policy_run run;
	bool milters_told;              /* of this recipient: milter.rcpt is known */
	bool early;                     /* this step is JUDGE_BEFORE_GREYLIST: milters hear only of recipients that the backend takes */
	bool waits_for_greylist;        /* JUDGE_BEFORE_GREYLIST stopped at run.rule */
	bool temperror_expired;
	struct verdict verdict;
};

/* rcpt stays the caller's and must outlive j. 0 or -ENOMEM. */
int judge_init(struct judge *j, struct txn *t, const struct recipient *rcpt);
void judge_release(struct judge *j);            /* zeroed is fine */

/* Go on as far as the facts of txn->stage allow. Whether the verdict is certain now. may wait */
bool judge_step(struct judge *j, enum judge_how how);

/* What is needed for the site's policy and headers: bits of filters. */
uint32_t judge_filters(const struct site *s);

/* Milters hear of the recipient, if they have not: milter.rcpt becomes known. may wait */
void judge_tell_milters(struct judge *j);

/* A fact as the judge of j sees it (the recipient's own first); for explain and headers. may wait */
const struct fact *judge_fact(struct judge *j, int id);

#endif
