#include "policy/policy_rule.h"

#include <string.h>

enum truth policy_truth(const struct policy *p, const struct rule *r, const struct policy_facts *f,
			struct buf *why)
{
	struct policy_scores scores = { 0 };
	struct expr_eval ev = { .policy = p, .scores = &scores, .facts = f, .temporary_fact = FACT_NONE };

	return expr_truth(r->cond, &ev, why);
}

/* The two would do the same to the message. */
static bool same_verdict(const struct rule *a, const struct rule *b)
{
	if (a->action != b->action)
		return false;
	return a->reply == b->reply || (a->reply && b->reply && strcmp(a->reply, b->reply) == 0);
}

/* Of copies to one address, and of redirects at all, the first in the file counts. */
static bool same_effect(const struct rule *a, const struct rule *b)
{
	if (a->observe || b->observe || a->action != b->action)
		return false;
	return a->action == ACTION_REDIRECT || (a->action == ACTION_COPY && strcmp(a->argument, b->argument) == 0);
}

/* One more rule in a short array that is kept in the order of the file; what does not fit are the
   last ones. */
static void keep(const struct rule **kept, size_t *count, const struct rule *r)
{
	size_t i = *count;

	for (size_t k = 0; k < *count; k++) {
		if (kept[k] == r || (kept[k] < r && same_effect(kept[k], r)))
			return;
		if (kept[k] > r && same_effect(kept[k], r)) {
			memmove(kept + k, kept + k + 1, (--*count - k) * sizeof(*kept));
			kept[*count] = NULL;
			i--;
			break;
		}
	}
	if (i == POLICY_EFFECTS_MAX) {
		if (kept[i - 1] < r)
			return;
		i--;
	} else {
		++*count;
	}
	for (; i > 0 && kept[i - 1] > r; i--)   /* rules lie in one array */
		kept[i] = kept[i - 1];
	kept[i] = r;
}

/*
 * Effects and observe rules above the one that decided (r->next). r->settled: all before it are known.
 * Sets r->waiting. may wait
 */
static void settle(const struct policy *p, struct policy_run *r, struct expr_eval *ev)
{
	bool delivered = !r->rule || r->rule->action == ACTION_ACCEPT;
	size_t first_open = r->next;

	for (size_t i = r->settled; i < r->next; i++) {
		const struct rule *rule = &p->rule[i];
		enum truth t;

		if (rule_decides(rule) || rule_scores(rule) ||
		    (!delivered && !rule->observe && rule->action != ACTION_LOG))
			continue;
		ev->temporary_fact = FACT_NONE;
		t = expr_truth(rule->cond, ev, NULL);
		if (t == TRUTH_TRUE && rule->observe)
			keep(r->observed, &r->observed_count, rule);
		else if (t == TRUTH_TRUE)
			keep(r->effects, &r->effect_count, rule);
		else if (t == TRUTH_UNKNOWN && first_open == r->next)
			first_open = i;
	}
	r->settled = first_open;
	r->waiting = first_open < r->next;
	if (!r->rule || (r->rule->action != ACTION_REJECT && r->rule->action != ACTION_DEFER))
		r->waiting |= score_settle(ev, r->next);
	r->score = score_known(ev, r->next);
}

/*
 * Rule i hangs on a fact that could not be established. What would the rules below do without it?
 * If for certain the same: then the verdict does not hang on it, *same is that rule's index
 * (rule_count: the end, which accepts). If for certain something else: POLICY_TEMPORARY.
 * POLICY_UNDECIDED while later facts may show either.
 */
static enum policy_event look_below(const struct policy *p, size_t i, const struct expr_eval *ev,
				    size_t *same)
{
	const struct rule *hanging = &p->rule[i];
	/* a greylist rule between has not been passed yet: what is found out here is not kept */
	struct policy_scores scores = *ev->scores;
	struct expr_eval below = *ev;
	bool may_be_same = false, may_differ = false, open = false;
	size_t j;

	below.scores = &scores;
	for (j = i + 1; j < p->rule_count; j++) {
		const struct rule *rule = &p->rule[j];
		bool equal;
		enum truth t;

		if (!rule_decides(rule))
			continue;
		equal = same_verdict(hanging, rule);
		t = expr_truth(rule->cond, &below, NULL);
		if (t == TRUTH_FALSE || (t == TRUTH_TEMPORARY && equal))
			continue;
		open |= t == TRUTH_UNKNOWN;
		may_be_same |= equal;
		may_differ |= !equal;
		if (t != TRUTH_UNKNOWN)
			break;                  /* it decides, or hangs itself on something */
	}
	if (j == p->rule_count) {
		if (hanging->action == ACTION_ACCEPT)
			may_be_same = true;
		else
			may_differ = true;
	}
	*same = j;
	if (!may_be_same)
		return POLICY_TEMPORARY;
	return may_differ || open ? POLICY_UNDECIDED : POLICY_DECIDED;
}

static enum policy_event decide(const struct policy *p, struct policy_run *r, struct expr_eval *ev,
				size_t i)
{
	r->next = i;
	r->rule = i < p->rule_count ? &p->rule[i] : NULL;
	r->decided = true;
	settle(p, r, ev);
	return POLICY_DECIDED;
}

/* A greylist rule that is true: asked once. */
static bool greylist(const struct policy *p, struct policy_run *r, size_t i)
{
	r->next = i + 1;
	if (r->greylisted > i)
		return false;
	r->greylisted = i + 1;
	r->rule = &p->rule[i];
	return true;
}

enum policy_event policy_next(const struct policy *p, struct policy_run *r,
			      const struct policy_facts *f, bool final)
{
	struct expr_eval ev = { .policy = p, .scores = &r->scores, .facts = f, .final = final, .gave_up = &r->gave_up };

	if (r->decided) {
		settle(p, r, &ev);
		return POLICY_DECIDED;
	}
	if (f->temperror_expired && !r->expired) {
		r->expired = true;
		r->next = 0;            /* rules above may name temperror.expired */
		r->scores = (struct policy_scores){ 0 };
	}
	while (r->next < p->rule_count) {
		size_t i = r->next, same;
		enum policy_event event;
		enum truth t;

		if (!rule_decides(&p->rule[i])) {
			r->next++;
			continue;
		}
		ev.temporary_fact = FACT_NONE;
		t = expr_truth(p->rule[i].cond, &ev, NULL);
		if (t == TRUTH_FALSE) {
			r->next++;
			continue;
		}
		if (t == TRUTH_UNKNOWN)
			return POLICY_UNDECIDED;
		if (t == TRUTH_TEMPORARY) {
			r->temporary_fact = ev.temporary_fact;
			event = look_below(p, i, &ev, &same);
			if (event != POLICY_DECIDED) {
				r->rule = &p->rule[i];
				return event;
			}
			i = same;
		}
		if (i < p->rule_count && p->rule[i].action == ACTION_GREYLIST) {
			if (greylist(p, r, i))
				return POLICY_GREYLIST;
			continue;
		}
		return decide(p, r, &ev, i);
	}
	return decide(p, r, &ev, p->rule_count);
}
