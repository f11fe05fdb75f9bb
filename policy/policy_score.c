#include "policy/policy_score.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy/policy_rule.h"

enum { WHY_RULES_MAX = 5 };
/* Beyond all sums that there can be, and yet far from where int64_t ends. */
#define BEYOND ((int64_t)POLICY_SCORES_MAX * POLICY_SCORE_MAX + 1)

static int64_t lower(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t higher(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* --- what can be said without facts --- */

/* A rule of this score, which may (or may not) be known to be true or false by then. */
static void reach_add(struct score_reach *r, int64_t score, bool can_true, bool can_false)
{
	int64_t low = lower(0, score), high = higher(0, score);

	if (!can_true && !can_false) {
		r->open_low += low;
		r->open_high += high;
		r->best_low += low;
		r->best_high += high;
		return;
	}
	r->least += can_false ? (can_true ? low : 0) : score;
	r->most += can_true ? (can_false ? high : score) : 0;
	/* one that can be certain need not be: then its bounds are those of an open one */
	r->best_low += higher(low, higher(can_true ? score : low, can_false ? 0 : low));
	r->best_high += lower(high, lower(can_true ? score : high, can_false ? 0 : high));
}

int score_rule_add(struct policy *p, size_t index)
{
	const struct rule *r = &p->rule[index];
	struct scorer *all, *s;
	int can_true, can_false;

	if (p->scorer_count == POLICY_SCORES_MAX)
		return -ENOSPC;
	all = reallocarray(p->scorer, p->scorer_count + 1, sizeof(*all));
	if (!all)
		return -ENOMEM;
	p->scorer = all;
	s = &all[p->scorer_count];
	*s = (struct scorer){ .rule = index, .score = r->score };
	if (p->scorer_count)
		memcpy(s->reach, s[-1].reach, sizeof(s->reach));
	expr_stages(r->cond, &can_true, &can_false);
	if (expr_never(r->cond))
		can_true = STAGE_COUNT;
	for (int stage = 0; stage < STAGE_COUNT; stage++)
		reach_add(&s->reach[stage], s->score, can_true <= stage, can_false <= stage);
	p->scorer_count++;
	return 0;
}

static struct score_reach reach_of(const struct expr *e, const struct policy *p, int stage)
{
	return e->above ? p->scorer[e->above - 1].reach[stage] : (struct score_reach){ 0 };
}

/* The first stage at which the score can be certain to lie in low..high. */
static int range_stage(const struct expr *e, const struct policy *p, int64_t low, int64_t high)
{
	for (int stage = 0; stage < STAGE_COUNT; stage++) {
		struct score_reach r = reach_of(e, p, stage);

		if (high >= BEYOND ? r.best_low >= low
		    : low <= -BEYOND ? r.best_high <= high
				     : higher(r.least, low - r.open_low) <= lower(r.most, high - r.open_high))
			return stage;
	}
	return STAGE_COUNT;
}

static int by_low(const void *a, const void *b)
{
	const struct score_range *x = a, *y = b;

	return (x->low > y->low) - (x->low < y->low);
}

static void range_add(struct expr *e, int64_t low, int64_t high)
{
	if (low <= high && low < BEYOND && high > -BEYOND)
		e->range[e->range_count++] = (struct score_range){ higher(low, -BEYOND), lower(high, BEYOND) };
}

/* In order, those that touch joined. */
static void ranges_join(struct expr *e)
{
	size_t n = 0;

	if (e->range_count == 0)
		return;
	qsort(e->range, e->range_count, sizeof(*e->range), by_low);
	for (size_t i = 1; i < e->range_count; i++) {
		if (e->range[i].low <= e->range[n].high + 1)
			e->range[n].high = higher(e->range[n].high, e->range[i].high);
		else
			e->range[++n] = e->range[i];
	}
	e->range_count = n + 1;
}

/* The sums for which e holds. */
static void ranges_make(struct expr *e)
{
	int64_t n = higher(lower(e->number, BEYOND), -BEYOND);

	switch (e->op) {
	case EXPR_IN:
		for (size_t i = 0; i < e->number_count; i++)
			range_add(e, e->numbers[i], e->numbers[i]);
		break;
	case EXPR_LT:
		range_add(e, -BEYOND, n - 1);
		break;
	case EXPR_LE:
		range_add(e, -BEYOND, n);
		break;
	case EXPR_GT:
		range_add(e, n + 1, BEYOND);
		break;
	case EXPR_GE:
		range_add(e, n, BEYOND);
		break;
	case EXPR_NE:
		range_add(e, -BEYOND, n - 1);
		range_add(e, n + 1, BEYOND);
		break;
	default:
		range_add(e, n, n);
	}
	ranges_join(e);
}

int score_compile(struct expr *e, const struct policy *p)
{
	int64_t gap = -BEYOND;

	e->above = p->scorer_count;
	e->range = calloc(e->number_count + 2, sizeof(*e->range));
	if (!e->range)
		return -ENOMEM;
	ranges_make(e);
	e->can_true = e->can_false = STAGE_COUNT;
	for (size_t i = 0; i <= e->range_count; i++) {
		int64_t end = i < e->range_count ? e->range[i].low - 1 : BEYOND;
		int stage;

		if (gap <= end && (stage = range_stage(e, p, gap, end)) < e->can_false)
			e->can_false = stage;
		if (i == e->range_count)
			break;
		stage = range_stage(e, p, e->range[i].low, e->range[i].high);
		if (stage < e->can_true)
			e->can_true = stage;
		gap = e->range[i].high + 1;
	}
	return 0;
}

void score_bounds(const struct expr *e, const struct policy *p, int64_t *low, int64_t *high)
{
	struct score_reach r = reach_of(e, p, STAGE_DATA);

	*low = r.least + r.open_low;
	*high = r.most + r.open_high;
}

/* --- with facts --- */

static bool bit(const uint64_t *set, size_t i)
{
	return set[i / 64] >> (i % 64) & 1;
}

static void set_bit(uint64_t *set, size_t i)
{
	set[i / 64] |= UINT64_C(1) << (i % 64);
}

/* The widest that score rule k may be, as far as it has been looked at: 0..2 for +2, -3..0 for -3. */
static void widest(const struct expr_eval *ev, size_t k, int64_t *low, int64_t *high)
{
	int64_t score = ev->policy->scorer[k].score;

	if (bit(ev->scores->looked, k)) {
		*low = *high = bit(ev->scores->held, k) ? score : 0;
	} else {
		*low = lower(0, score);
		*high = higher(0, score);
	}
}

/* The truth of score rule k; the sum of those above is *above. may wait */
static enum truth look(struct expr_eval *ev, size_t k, struct score_sum *above)
{
	const struct expr *cond = ev->policy->rule[ev->policy->scorer[k].rule].cond;
	bool passed_over = ev->passed_over;
	int temporary = ev->temporary_fact;
	enum truth t;

	if (bit(ev->scores->looked, k))
		return bit(ev->scores->held, k) ? TRUTH_TRUE : TRUTH_FALSE;
	ev->temporary_fact = FACT_NONE;
	ev->passed_over = false;
	ev->running = above;
	t = ev->at_hand_only ? expr_look(cond, ev) : expr_truth(cond, ev, NULL);
	ev->running = NULL;
	if (t == TRUTH_TRUE || t == TRUTH_FALSE) {
		set_bit(ev->scores->looked, k);
		if (t == TRUTH_TRUE)
			set_bit(ev->scores->held, k);
	} else if (t == TRUTH_UNKNOWN) {
		above->unknown = true;
		above->passed_over |= ev->passed_over && ev->at_hand_only;
	} else if (above->temporary_fact == FACT_NONE) {
		above->temporary_fact = ev->temporary_fact;
	}
	ev->passed_over = passed_over;
	ev->temporary_fact = temporary;
	return t;
}

/* Every sum between is one that e holds for (TRUE), none is (FALSE). */
static enum truth over(const struct expr *e, int64_t low, int64_t high)
{
	for (size_t i = 0; i < e->range_count && e->range[i].low <= high; i++) {
		if (e->range[i].high < low)
			continue;
		return e->range[i].low <= low && high <= e->range[i].high ? TRUTH_TRUE : TRUTH_UNKNOWN;
	}
	return TRUTH_FALSE;
}

/* Score rule s->next is looked at, and counted. may wait */
static void step(struct expr_eval *ev, struct score_sum *s)
{
	size_t k = s->next;
	int64_t low, high;

	look(ev, k, s);
	widest(ev, k, &low, &high);
	s->low += low;
	s->high += high;
	s->next = k + 1;
}

/*
 * The sum of the first `above` score rules, as far as e needs it. How far this call of policy_next has come is kept, once for what is at hand
 * and once for what was waited for: the next rule that asks goes on from there.
 */
static struct score_sum sum_for(const struct expr *e, struct expr_eval *ev)
{
	struct score_sum *kept = &ev->sum[ev->at_hand_only], s = *kept, all;
	int64_t low, high;

	if (kept->next == 0 || kept->next > e->above)
		s = (struct score_sum){ .temporary_fact = FACT_NONE };
	all = s;
	for (size_t k = s.next; k < e->above; k++) {
		widest(ev, k, &low, &high);
		all.low += low;
		all.high += high;
	}
	while (s.next < e->above && over(e, all.low, all.high) == TRUTH_UNKNOWN) {
		int64_t s_low = s.low, s_high = s.high;

		widest(ev, s.next, &low, &high);
		step(ev, &s);
		all.low += s.low - s_low - low;
		all.high += s.high - s_high - high;
	}
	if (s.next > kept->next)
		*kept = s;
	s.low = all.low;
	s.high = all.high;
	return s;
}

/* "score is 5 (+2 invoice, +3 line 4)". */
static void why_score(const struct expr *e, const struct expr_eval *ev, const struct score_sum *s, struct buf *why)
{
	size_t shown = 0;

	if (!why)
		return;
	buf_addf(why, s->low == s->high ? "score is %lld" : "score is between %lld and %lld", (long long)s->low, (long long)s->high);
	for (size_t k = 0; k < e->above; k++) {
		if (!bit(ev->scores->held, k))
			continue;
		if (shown++ == WHY_RULES_MAX) {
			buf_adds(why, ", ...");
			break;
		}
		buf_addf(why, "%s%+d %s", shown == 1 ? " (" : ", ", ev->policy->scorer[k].score,
			 ev->policy->rule[ev->policy->scorer[k].rule].name);
	}
	if (shown)
		buf_addc(why, ')');
}

enum truth score_truth(const struct expr *e, struct expr_eval *ev, struct buf *why)
{
	struct score_sum s = ev->running ? *ev->running : sum_for(e, ev);
	enum truth t = over(e, s.low, s.high);

	why_score(e, ev, &s, why);
	if (t != TRUTH_UNKNOWN)
		return t;
	if (s.unknown) {
		ev->passed_over |= s.passed_over;
		return TRUTH_UNKNOWN;
	}
	if (ev->temporary_fact == FACT_NONE)
		ev->temporary_fact = s.temporary_fact;
	return TRUTH_TEMPORARY;
}

bool score_settle(struct expr_eval *ev, size_t end)
{
	struct score_sum s = { .temporary_fact = FACT_NONE };

	while (s.next < ev->policy->scorer_count && ev->policy->scorer[s.next].rule < end)
		step(ev, &s);
	return s.unknown;
}

int64_t score_known(const struct expr_eval *ev, size_t end)
{
	int64_t sum = 0;

	for (size_t k = 0; k < ev->policy->scorer_count && ev->policy->scorer[k].rule < end; k++)
		sum += bit(ev->scores->held, k) ? ev->policy->scorer[k].score : 0;
	return sum;
}
