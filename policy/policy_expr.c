#include "policy/policy_expr.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "policy/policy_score.h"

enum { WHY_VALUE_MAX = 60, WHY_CLASSES_MAX = 4 };        /* bytes of a value, classes, shown in a reason */

struct expr *expr_new(enum expr_kind kind)
{
	struct expr *e = calloc(1, sizeof(*e));

	if (e) {
		e->kind = kind;
		e->fact = FACT_NONE;
	}
	return e;
}

void expr_free(struct expr *e)
{
	if (!e)
		return;
	for (size_t i = 0; i < e->child_count; i++)     /* depth is bounded by the parser */
		expr_free(e->child[i]);
	free(e->child);
	free(e->numbers);
	free(e->text);
	policy_list_free(e->list_own);
	policy_regex_free(e->regex);
	free(e->source);
	free(e->range);
	free(e->class);
	free(e);
}

int expr_add(struct expr *e, struct expr *child)
{
	size_t n = e->child_count;

	if ((n & (n - 1)) == 0) {       /* room for 1, 2, 4, 8... */
		struct expr **c = realloc(e->child, (n ? n * 2 : 1) * sizeof(*c));

		if (!c) {
			expr_free(child);
			return -ENOMEM;
		}
		e->child = c;
	}
	e->child[e->child_count++] = child;
	return 0;
}

/* --- truth --- */

/* No quotes or control characters inside quotes. */
static char shown(char c)
{
	return c == '"' || (unsigned char)c < 0x20 || c == 0x7f ? '.' : c;
}

static void why_text(struct buf *why, const char *text)
{
	size_t n = 0;

	buf_addc(why, '"');
	for (; *text && n < WHY_VALUE_MAX; text++, n++)
		buf_addc(why, shown(*text));
	buf_adds(why, *text ? "...\"" : "\"");
}

/* "spf is fail (reason)". */
static void why_fact(struct buf *why, const struct fact_def *d, const struct fact *f)
{
	if (!why)
		return;
	buf_addf(why, "%s is ", d->name);
	if (d->type == FACT_NUMBER)
		buf_addf(why, "%lld", (long long)f->number);
	else if (d->type == FACT_BOOL)
		buf_adds(why, f->number ? "true" : "false");
	else if (f->count == 0)
		buf_adds(why, "empty");
	for (size_t i = 0; d->type != FACT_NUMBER && d->type != FACT_BOOL && i < f->count && i < 3;
	     i++) {
		buf_adds(why, i ? ", " : "");
		if (d->type == FACT_WORD || d->type == FACT_IP || d->type == FACT_TIME)
			buf_adds(why, f->text[i]);
		else
			why_text(why, f->text[i]);
	}
	if (f->count > 3)
		buf_addf(why, " and %d more", f->count - 3);
	if (f->why && *f->why)
		buf_addf(why, " (%s)", f->why);
}

static bool fact_temperror(const struct fact_def *d, const struct fact *f)
{
	if (f->state == FACT_TEMPERROR)
		return true;
	return d->type == FACT_WORD && f->count && strcmp(f->text[0], "temperror") == 0;
}

static void pause_for_others(const struct expr_eval *ev)
{
	if (ev->facts->pause)
		ev->facts->pause(ev->facts->arg);
}

/* A list may become another one in a pause: nothing of it is held meanwhile. may wait */
static bool list_holds(const struct expr *e, const struct fact_def *d, const char *value, struct expr_eval *ev, bool *limit)
{
	bool holds = policy_list_has_entry(e->list, d->type, value);
	int given_up = 0;

	for (size_t i = 0; !holds && i < policy_list_regexes(e->list); i++) {
		holds = policy_list_matches(e->list, i, value, &given_up);
		pause_for_others(ev);
	}
	*limit |= given_up > 0;
	return holds;
}

/* One value of a text-like fact. may wait */
static bool value_holds(const struct expr *e, const struct fact_def *d, const char *value, struct expr_eval *ev, bool *limit)
{
	struct net_addr a;
	enum regex_match m;

	if (e->op == EXPR_MATCH) {
		m = policy_regex_match(e->regex, value, strlen(value));
		*limit |= m == REGEX_LIMIT;
		pause_for_others(ev);
		return m == REGEX_YES;
	}
	if (d->type == FACT_WORD) {
		for (int i = 0; i < EXPR_WORDS_MAX && d->words[i]; i++)
			if (strcmp(d->words[i], value) == 0)
				return e->words >> i & 1;
		return false;
	}
	if (e->op == EXPR_IN)
		return list_holds(e, d, value, ev, limit);
	if (d->type == FACT_IP)
		return net_parse(value, &a) == 0 && net_same_ip(&a, &e->ip);
	return strcasecmp(value, e->text) == 0;
}

int expr_minutes(const char *text)
{
	static const char *const shape[] = { "012", "0123456789", ":", "012345", "0123456789" };
	int hours;

	for (size_t i = 0; i < 5; i++)
		if (!text[i] || !strchr(shape[i], text[i]))
			return -1;
	hours = (text[0] - '0') * 10 + text[1] - '0';
	return hours > 23 || text[5] ? -1 : hours * 60 + (text[3] - '0') * 10 + text[4] - '0';
}

static bool number_holds(const struct expr *e, int64_t n)
{
	switch (e->op) {
	case EXPR_LT:
		return n < e->number;
	case EXPR_LE:
		return n <= e->number;
	case EXPR_GT:
		return n > e->number;
	case EXPR_GE:
		return n >= e->number;
	case EXPR_IS:
		return n != 0;
	case EXPR_IN:
		for (size_t i = 0; i < e->number_count; i++)
			if (e->numbers[i] == n)
				return true;
		return false;
	default:                        /* = and, turned round by the caller, != */
		return n == e->number;
	}
}

static void why_class(struct buf *why, const struct policy *p, const char *rcpt)
{
	const char *names[WHY_CLASSES_MAX];
	size_t n = why ? policy_classes(p, rcpt, names, WHY_CLASSES_MAX) : 0;

	for (size_t i = 0; i < n; i++)
		buf_addf(why, "%s%s", i ? ", " : "class is ", names[i]);
	if (why && n == 0)
		buf_adds(why, "the recipient is in no class");
}

/* Whether the recipient is in one of e's classes. may wait */
static enum truth compare_class(const struct expr *e, struct expr_eval *ev, struct buf *why)
{
	bool final = false, holds = false;
	const struct fact *f = ev->facts->get(ev->facts->arg, fact_find("rcpt", 4), &final);

	if (!f || f->state != FACT_KNOWN || f->count == 0) {
		if (why)
			buf_adds(why, final || ev->final ? "there is no recipient" : "class is not known before rcpt");
		return final || ev->final ? TRUTH_FALSE : TRUTH_UNKNOWN;
	}
	for (size_t i = 0; i < e->class_count && !holds; i++)
		holds = policy_list_has(e->class[i], FACT_ADDRESS, f->text[0], NULL);
	why_class(why, ev->policy, f->text[0]);
	return holds != (e->op == EXPR_NE) ? TRUTH_TRUE : TRUTH_FALSE;
}

/* Whether a regular expression was given up. That none was is certain when there is nothing more to match. */
static enum truth compare_gave_up(const struct expr *e, struct expr_eval *ev)
{
	bool gave_up = ev->gave_up && *ev->gave_up, asked = (e->op == EXPR_NE) != !!e->number, final = false;

	if (!gave_up) {
		(void)ev->facts->get(ev->facts->arg, e->fact, &final);
		if (!final && !ev->final)
			return TRUTH_UNKNOWN;
	}
	return gave_up == asked ? TRUTH_TRUE : TRUTH_FALSE;
}

/* Any value of a fact that is a list, or, with all in, every one; of one that is full there may have been more. may wait */
static bool values_hold(const struct expr *e, const struct fact_def *d, const struct fact *f, struct expr_eval *ev, bool *limit)
{
	for (size_t i = 0; i < f->count; i++)
		if (value_holds(e, d, f->text[i], ev, limit) != e->all)
			return !e->all;
	return e->all && f->count > 0 && f->count < FACT_LIST_MAX;
}

static enum truth compare(const struct expr *e, struct expr_eval *ev, struct buf *why)
{
	const struct fact_def *d = fact_def(e->fact);
	const struct fact *f;
	bool final = false, holds = false, limit = false;

	if (e->about == ABOUT_SCORE)
		return score_truth(e, ev, why);
	if (e->about == ABOUT_CLASS)
		return compare_class(e, ev, why);
	if (e->about == ABOUT_GAVE_UP)
		return compare_gave_up(e, ev);
	if (e->about == ABOUT_EXPIRED) {
		holds = e->op == EXPR_IS || e->op == EXPR_EQ
				? ev->facts->temperror_expired == !!e->number
				: ev->facts->temperror_expired != !!e->number;
		if (why)
			buf_addf(why, "temperror.expired is %s",
				 ev->facts->temperror_expired ? "true" : "false");
		return holds ? TRUTH_TRUE : TRUTH_FALSE;
	}
	if (e->op == EXPR_IN && e->list && policy_list_count(e->list) + policy_list_regexes(e->list) == 0) {
		if (why)            /* nothing is looked up for it, nor waited for */
			buf_addf(why, "nothing is in the list of %s", e->source);
		return TRUTH_FALSE;
	}
	assert(!ev->at_hand_only || ev->facts->at_hand);
	if (ev->at_hand_only && !ev->facts->at_hand(ev->facts->arg, e->fact)) {
		ev->passed_over = true;
		return TRUTH_UNKNOWN;
	}
	f = ev->facts->get(ev->facts->arg, e->fact, &final);
	if (!f || f->state == FACT_UNKNOWN) {
		bool never = final || ev->final;

		if (why)
			buf_addf(why,
				 never ? "%s was not established" : "%s is not known before %s",
				 d->name, stage_name(d->stage));
		return never ? TRUTH_FALSE : TRUTH_UNKNOWN;
	}
	if (fact_temperror(d, f)) {
		if (why)
			buf_addf(why, "%s is temperror%s%s%s", d->name, f->why ? " (" : "",
				 f->why ? f->why : "", f->why ? ")" : "");
		if (e->words >> EXPR_WORD_TEMPERROR & 1)
			return e->op == EXPR_NE ? TRUTH_FALSE : TRUTH_TRUE;
		if (ev->facts->temperror_expired)
			return TRUTH_FALSE;
		if (ev->temporary_fact == FACT_NONE)
			ev->temporary_fact = e->fact;
		return TRUTH_TEMPORARY;
	}
	if (d->type == FACT_NUMBER || d->type == FACT_BOOL)
		holds = number_holds(e, f->number);
	else if (d->type == FACT_TIME)
		holds = f->count && expr_minutes(f->text[0]) >= 0 && number_holds(e, expr_minutes(f->text[0]));
	else
		holds = values_hold(e, d, f, ev, &limit);
	why_fact(why, d, f);
	if (limit && ev->gave_up)
		*ev->gave_up = true;
	if (limit && !holds && why)
		buf_adds(why, "; the regular expression took too long and counts as not matching");
	return holds != (e->op == EXPR_NE) ? TRUTH_TRUE : TRUTH_FALSE;
}

/* Definite, temporary, unknown: the more open outweighs. */
static int openness(enum truth t)
{
	return t == TRUTH_UNKNOWN ? 2 : t == TRUTH_TEMPORARY ? 1 : 0;
}

static enum truth truth_of(const struct expr *e, struct expr_eval *ev, struct buf *why);

/*
 * and, with `stop` FALSE: the first false side decides; or, with `stop` TRUE, is its mirror. The
 * reason is that of the side that decided, else those of all sides that are as open as the whole.
 */
static enum truth join(const struct expr *e, enum truth stop, struct expr_eval *ev, struct buf *why)
{
	enum truth all = stop == TRUTH_FALSE ? TRUTH_TRUE : TRUTH_FALSE;
	size_t max = why ? why->max : 0;
	AUTO(buf) struct buf one = BUF_INIT(max), rest = BUF_INIT(max);
	int temporary = ev->temporary_fact;

	for (size_t i = 0; i < e->child_count; i++) {
		enum truth t;

		buf_clear(&one);
		t = truth_of(e->child[i], ev, why ? &one : NULL);
		if (t == stop) {
			ev->temporary_fact = temporary;
			if (why)
				buf_add(why, one.data, one.len);
			return t;
		}
		if (openness(t) < openness(all))
			continue;
		if (openness(t) > openness(all))
			buf_clear(&rest);
		all = t;
		if (why && one.len) {
			buf_adds(&rest, rest.len ? ", " : "");
			buf_add(&rest, one.data, one.len);
		}
	}
	if (why)
		buf_add(why, rest.data, rest.len);
	return all;
}

static enum truth truth_of(const struct expr *e, struct expr_eval *ev, struct buf *why)
{
	enum truth t;

	if (!e)
		return TRUTH_TRUE;
	switch (e->kind) {
	case EXPR_CONST:
		return e->truth ? TRUTH_TRUE : TRUTH_FALSE;
	case EXPR_NOT:
		t = truth_of(e->child[0], ev, why);
		return t == TRUTH_TRUE ? TRUTH_FALSE : t == TRUTH_FALSE ? TRUTH_TRUE : t;
	case EXPR_AND:
		return join(e, TRUTH_FALSE, ev, why);
	case EXPR_OR:
		return join(e, TRUTH_TRUE, ev, why);
	default:
		return compare(e, ev, why);
	}
}

enum truth expr_look(const struct expr *e, struct expr_eval *ev)
{
	return truth_of(e, ev, NULL);
}

/*
 * First with what is at hand: a lookup that cannot change the truth is not waited for.
 */
enum truth expr_truth(const struct expr *e, struct expr_eval *ev, struct buf *why)
{
	size_t len = why ? why->len : 0;
	int temporary = ev->temporary_fact;
	enum truth t;

	if (!ev->facts->at_hand)
		return truth_of(e, ev, why);
	ev->at_hand_only = true;
	ev->passed_over = false;
	t = truth_of(e, ev, why);
	ev->at_hand_only = false;
	if (t != TRUTH_UNKNOWN || !ev->passed_over)
		return t;
	ev->temporary_fact = temporary;
	if (why && why->data) {
		why->len = len;
		why->data[len] = '\0';
	}
	return truth_of(e, ev, why);
}

/* --- what can be said without facts --- */

void expr_stages(const struct expr *e, int *can_true, int *can_false)
{
	int t, f, all, any;

	if (!e || e->kind == EXPR_CONST) {
		bool truth = !e || e->truth;

		*can_true = truth ? STAGE_CONNECT : STAGE_COUNT;
		*can_false = truth ? STAGE_COUNT : STAGE_CONNECT;
		return;
	}
	if (e->kind == EXPR_COMPARE && e->about == ABOUT_SCORE) {
		*can_true = e->can_true;
		*can_false = e->can_false;
		return;
	}
	if (e->kind == EXPR_COMPARE) {
		*can_true = *can_false = e->about == ABOUT_EXPIRED ? STAGE_CONNECT : (int)fact_def(e->fact)->stage;
		return;
	}
	if (e->kind == EXPR_NOT) {
		expr_stages(e->child[0], can_false, can_true);
		return;
	}
	all = STAGE_CONNECT;            /* the last side that must hold, the first that may */
	any = STAGE_COUNT;
	for (size_t i = 0; i < e->child_count; i++) {
		expr_stages(e->child[i], &t, &f);
		if (e->kind == EXPR_OR) {
			int swap = t;

			t = f;
			f = swap;
		}
		all = t > all ? t : all;
		any = f < any ? f : any;
	}
	*can_true = e->kind == EXPR_AND ? all : any;
	*can_false = e->kind == EXPR_AND ? any : all;
}

void expr_each_fact(const struct expr *e, void (*fn)(int fact, void *arg), void *arg)
{
	if (!e)
		return;
	if (e->kind == EXPR_COMPARE)
		fn(e->fact, arg);
	for (size_t i = 0; i < e->child_count; i++)
		expr_each_fact(e->child[i], fn, arg);
}

static uint64_t word_mask(const struct expr *e, const struct fact_def *d)
{
	int n = 0;

	while (n < EXPR_WORDS_MAX && d->words[n])
		n++;
	return e->op == EXPR_NE ? ~e->words & ((1ull << n) - 1) : e->words;
}

/* The numbers for which a comparison holds, as one range; false when they are none. */
static bool number_range(const struct expr *e, int64_t *low, int64_t *high)
{
	*low = INT64_MIN;
	*high = INT64_MAX;
	switch (e->op) {
	case EXPR_EQ:
		*low = *high = e->number;
		return true;
	case EXPR_LT:
		*high = e->number == INT64_MIN ? INT64_MIN : e->number - 1;
		return true;
	case EXPR_LE:
		*high = e->number;
		return true;
	case EXPR_GT:
		*low = e->number == INT64_MAX ? INT64_MAX : e->number + 1;
		return true;
	case EXPR_GE:
		*low = e->number;
		return true;
	default:
		return false;
	}
}

/* Comparison e holds whenever comparison a does. */
static bool compare_implied(const struct expr *e, const struct expr *a)
{
	const struct fact_def *d;
	int64_t el, eh, al, ah;

	if (e->fact != a->fact || e->above != a->above)         /* the score of other rules is another */
		return false;
	if (strcmp(e->source, a->source) == 0)
		return true;
	d = fact_def(e->fact);
	if (d->type == FACT_WORD && !d->list)
		return (word_mask(a, d) & ~word_mask(e, d)) == 0;
	if ((d->type == FACT_NUMBER || d->type == FACT_TIME) && number_range(e, &el, &eh) && number_range(a, &al, &ah))
		return el <= al && ah <= eh;
	return false;
}

bool expr_always(const struct expr *e)
{
	int t, f;

	expr_stages(e, &t, &f);
	return f == STAGE_COUNT;
}

bool expr_implied(const struct expr *e, const struct expr *a)
{
	if (!e || expr_always(e))
		return true;
	if (!a)
		return false;
	if (e->kind == EXPR_AND || a->kind == EXPR_OR) {
		const struct expr *all = e->kind == EXPR_AND ? e : a;

		for (size_t i = 0; i < all->child_count; i++)
			if (!(all == e ? expr_implied(e->child[i], a)
				       : expr_implied(e, a->child[i])))
				return false;
		return true;
	}
	if (a->kind == EXPR_AND || e->kind == EXPR_OR) {
		const struct expr *any = a->kind == EXPR_AND ? a : e;

		for (size_t i = 0; i < any->child_count; i++)
			if (any == a ? expr_implied(e, a->child[i]) : expr_implied(e->child[i], a))
				return true;
		/* `a and (b or c)` may imply e by its second side only: not looked for further */
		return false;
	}
	if (e->kind == EXPR_NOT && a->kind == EXPR_NOT)
		return expr_implied(a->child[0], e->child[0]);
	return e->kind == EXPR_COMPARE && a->kind == EXPR_COMPARE && compare_implied(e, a);
}

/* No value of the fact satisfies both. */
static bool compare_excludes(const struct expr *a, const struct expr *b)
{
	const struct fact_def *d = fact_def(a->fact);
	int64_t al, ah, bl, bh;

	if (a->fact != b->fact || d->list)
		return false;
	if (d->type == FACT_WORD)
		return (word_mask(a, d) & word_mask(b, d)) == 0;
	if ((d->type == FACT_NUMBER || d->type == FACT_TIME) && number_range(a, &al, &ah) && number_range(b, &bl, &bh))
		return al > bh || bl > ah;
	return false;
}

bool expr_never(const struct expr *e)
{
	int t, f;

	if (!e)
		return false;
	expr_stages(e, &t, &f);
	if (t == STAGE_COUNT)
		return true;
	if (e->kind == EXPR_OR) {
		for (size_t i = 0; i < e->child_count; i++)
			if (!expr_never(e->child[i]))
				return false;
		return true;
	}
	for (size_t i = 0; e->kind == EXPR_AND && i < e->child_count; i++) {
		if (expr_never(e->child[i]))
			return true;
		/* long conjunctions are not looked through */
		for (size_t j = 0; j < i && i < 100; j++)
			if (e->child[i]->kind == EXPR_COMPARE &&
			    e->child[j]->kind == EXPR_COMPARE &&
			    compare_excludes(e->child[i], e->child[j]))
				return true;
	}
	return false;
}
