/*
 * policy_score - the sum of the score rules above a rule, as far as it is known
 *
 * `score` in a condition is the sum of the score rules that stand above it and are true. While some of them are still open the sum lies
 * between two bounds; a comparison is certain as soon as it comes out the same over all that lies between. Where only rules that hang on a
 * fact that could not be established are open, the comparison is temporary.
 *
 * Score rules are looked at in the order of the file, and no further than the comparison needs. What one of them turned out to be is kept for
 * the run (struct policy_scores): it is asked once, however many rules ask for the score.
 */
#ifndef POLICY_SCORE_H
#define POLICY_SCORE_H

#include "policy/policy_expr.h"

/* The sums of the score rules up to one of them that could be certain at a stage, if facts came out that way. */
struct score_reach {
	int64_t least, most;            /* of those that can be certain */
	int64_t open_low, open_high;    /* what the others may add */
	int64_t best_low, best_high;    /* the highest lower bound there can be, and the lowest upper one */
};

/* A score rule that counts. */
struct scorer {
	size_t rule;                    /* its index */
	int score;
	struct score_reach reach[STAGE_COUNT];  /* of this one and all above */
};

struct policy;

/* Rule `index`, complete, is a score rule that counts. 0, -ENOSPC (POLICY_SCORES_MAX), -ENOMEM. */
int score_rule_add(struct policy *p, size_t index);

/* e, a comparison with the score, has been read: which sums it holds for, and when that can be certain. 0 or -ENOMEM. */
int score_compile(struct expr *e, const struct policy *p);
/* All sums that the rules above e may come to. */
void score_bounds(const struct expr *e, const struct policy *p, int64_t *low, int64_t *high);

/* may wait */
enum truth score_truth(const struct expr *e, struct expr_eval *ev, struct buf *why);

/* Look at all score rules above rule `end`. Whether some may still become known. may wait */
bool score_settle(struct expr_eval *ev, size_t end);
/* The sum of those that are known to be true. */
int64_t score_known(const struct expr_eval *ev, size_t end);

#endif
