/* Which comparisons made a rule true. */
#include "policy/policy_rule.h"

struct walk {
	const struct policy *policy;
	struct expr_eval ev;
	void (*fn)(int fact, void *arg);
	void *arg;
	bool scored;                    /* inside the condition of a score rule */
};

static void walk(struct walk *w, const struct expr *e, bool want);

/* The score rules that are true and add something. Those that hang on the score themselves are not followed further. */
static void walk_score(struct walk *w, const struct expr *e)
{
	if (w->scored)
		return;
	w->scored = true;
	for (size_t k = 0; k < e->above; k++) {
		const struct scorer *s = &w->policy->scorer[k];

		if (s->score > 0 && (w->ev.scores->held[k / 64] >> (k % 64) & 1))
			walk(w, w->policy->rule[s->rule].cond, true);
	}
	w->scored = false;
}

/* e is `want`: by which of its parts? Its depth is bounded by the parser. */
static void walk(struct walk *w, const struct expr *e, bool want)
{
	if (!e || e->kind == EXPR_CONST)
		return;
	if (e->kind == EXPR_NOT) {
		walk(w, e->child[0], !want);
		return;
	}
	if (e->kind == EXPR_COMPARE) {
		if (e->about == ABOUT_SCORE)
			walk_score(w, e);
		else
			w->fn(e->fact, w->arg);
		return;
	}
	for (size_t i = 0; i < e->child_count; i++) {
		/* of an `and` that is true all sides are, of one that is false some */
		bool sure = (e->kind == EXPR_AND) == want;

		if (sure || expr_look(e->child[i], &w->ev) == (want ? TRUTH_TRUE : TRUTH_FALSE))
			walk(w, e->child[i], want);
	}
}

void policy_reasons(const struct policy *p, const struct rule *r, const struct policy_facts *f, void (*fn)(int fact, void *arg), void *arg)
{
	struct policy_scores scores = { 0 };
	struct walk w = { .policy = p, .ev = { .policy = p, .facts = f, .scores = &scores, .temporary_fact = FACT_NONE }, .fn = fn, .arg = arg };

	if (r->cond && expr_look(r->cond, &w.ev) == TRUTH_TRUE)
		walk(&w, r->cond, true);
}
