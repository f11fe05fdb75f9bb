#include "policy/policy_rule.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Pairs of rules that are compared in search of unreachable ones: enough for 1,400 rules. */
enum { PAIRS_MAX = 1000000 };

static void note_filter(int fact, void *arg)
{
	int owner = fact_owner(fact);

	if (owner >= 0 && owner < 32)
		*(uint32_t *)arg |= UINT32_C(1) << owner;
}

static void warn(const struct policy *p, const struct rule *r, struct buf *warnings,
		 const char *what, const struct rule *by)
{
	buf_addf(warnings, "%s:%d:%d: this rule %s", p->name, r->line, r->column, what);
	if (by)
		buf_addf(warnings, " (line %d)", by->line);
	buf_addc(warnings, '\n');
}

/* A comparison with the score that is never, or always, true has been warned of where it stands. */
static bool warned_of_score(const struct expr *e)
{
	if (!e)
		return false;
	if (e->kind == EXPR_COMPARE)
		return e->about == ABOUT_SCORE && (e->can_true == STAGE_COUNT || e->can_false == STAGE_COUNT);
	for (size_t i = 0; i < e->child_count; i++)
		if (warned_of_score(e->child[i]))
			return true;
	return false;
}

/* Rule i is never reached, or never true: said once. */
static void warn_unreachable(const struct policy *p, size_t i, size_t *pairs, struct buf *warnings)
{
	const struct rule *r = &p->rule[i];

	if (expr_never(r->cond)) {
		if (warned_of_score(r->cond))
			return;
		warn(p, r, warnings, "can never apply: its condition contradicts itself", NULL);
		return;
	}
	for (size_t j = 0; j < i && *pairs > 0; j++, --*pairs) {
		const struct rule *above = &p->rule[j];

		/* a greylist rule lets pass in the end, so it hides only what it would do again */
		if (!rule_decides(above) || (above->action == ACTION_GREYLIST &&
					     (r->action != ACTION_GREYLIST || r->observe)))
			continue;
		if (expr_implied(above->cond, r->cond)) {
			warn(p, r, warnings,
			     above->cond
				     ? "is never reached: where it applies, one above has decided"
				     : "is never reached: one above always decides",
			     above);
			return;
		}
	}
}

int policy_analyse(struct policy *p, struct buf *warnings)
{
	size_t pairs = PAIRS_MAX;

	p->false_stage = calloc(p->rule_count + 1, sizeof(*p->false_stage));
	if (!p->false_stage)
		return -ENOMEM;
	for (size_t i = 0; i < p->rule_count; i++) {
		int can_true, can_false;

		expr_stages(p->rule[i].cond, &can_true, &can_false);
		p->rule[i].earliest = can_true < STAGE_COUNT ? (enum stage)can_true : STAGE_DATA;
		p->false_stage[i] = can_false;
		expr_each_fact(p->rule[i].cond, note_filter, &p->filters);
		warn_unreachable(p, i, &pairs, warnings);
	}
	if (p->rule_count == 0)
		buf_addf(warnings, "%s:1:1: no rules: all mail is accepted\n", p->name);
	return 0;
}

size_t policy_rule_count(const struct policy *p)
{
	return p->rule_count;
}

const struct rule *policy_rule(const struct policy *p, size_t i)
{
	return i < p->rule_count ? &p->rule[i] : NULL;
}

bool policy_has_score(const struct policy *p)
{
	return p->scorer_count > 0;
}

uint32_t policy_filters(const struct policy *p)
{
	return p->filters;
}

/* From which stage on rule i need not hold back those below it. */
static int settled_stage(const struct policy *p, size_t i)
{
	const struct rule *r = &p->rule[i];

	if (r->action == ACTION_GREYLIST && (int)r->earliest < p->false_stage[i])
		return r->earliest;     /* passed, it lets go on */
	return p->false_stage[i];
}

int policy_held_back_by(const struct policy *p, size_t i)
{
	int by = -1, latest = p->rule[i].earliest;

	if (rule_scores(&p->rule[i]))
		return -1;              /* it counts as soon as somebody asks */
	for (size_t j = 0; j < i; j++) {
		if (rule_decides(&p->rule[j]) && settled_stage(p, j) > latest) {
			latest = settled_stage(p, j);
			by = (int)j;
		}
	}
	return by;
}

void policy_describe(const struct policy *p, struct buf *out)
{
	/* the rule that holds back is the same for all below until a later one comes: no walk for
	   each */
	int by = -1, latest = -1;

	for (size_t i = 0; i < p->rule_count; i++) {
		const struct rule *r = &p->rule[i];

		buf_addf(out, "%s:%-4d %-7s %s\n", p->name, r->line,
			 expr_never(r->cond) ? "never" : stage_name(r->earliest), r->text);
		if (by >= 0 && latest > (int)r->earliest && !rule_scores(r)) {
			buf_addf(out, "%*sheld back by %s", (int)strlen(p->name) + 14, "",
				 p->rule[by].name);
			if (latest < STAGE_COUNT)
				buf_addf(out, " until %s", stage_name((enum stage)latest));
			else
				buf_adds(out, " for ever");
			buf_addc(out, '\n');
		}
		if (rule_decides(r) && settled_stage(p, i) > latest) {
			latest = settled_stage(p, i);
			by = (int)i;
		}
	}
}
