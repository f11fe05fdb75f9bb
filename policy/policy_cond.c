#include "policy/policy_parser.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VALUE_MAX = 1000 };              /* bytes of a constant */

static struct expr *parse_or(struct parser *ps, int depth);

static bool no_memory(struct parser *ps)
{
	return parser_fail(ps, &ps->t, "no memory for the policy, expected a shorter one");
}

static struct expr *node(struct parser *ps, enum expr_kind kind)
{
	struct expr *e;

	if (ps->nodes >= POLICY_NODES_MAX) {
		parser_fail(ps, &ps->t,
			    "too many comparisons, expected at most %d in all conditions",
			    POLICY_NODES_MAX);
		return NULL;
	}
	ps->nodes++;
	e = expr_new(kind);
	if (!e)
		no_memory(ps);
	return e;
}

static const char *type_noun(const struct fact_def *d)
{
	switch (d->type) {
	case FACT_WORD:
		return "a word";
	case FACT_TEXT:
		return "a text";
	case FACT_DOMAIN:
		return "a domain";
	case FACT_ADDRESS:
		return "a mailbox";
	case FACT_IP:
		return "an IP address";
	case FACT_TIME:
		return "a time of day";
	case FACT_NUMBER:
		return "a number";
	default:
		return "true or false";
	}
}

static const char *type_operators(const struct fact_def *d)
{
	switch (d->type) {
	case FACT_WORD:
	case FACT_IP:
		return "=, != or in";
	case FACT_NUMBER:
		return "=, !=, <, <=, >, >= or in";
	case FACT_TIME:
		return "=, !=, <, <=, > or >=";
	case FACT_BOOL:
		return "nothing, = or !=";
	default:
		return "=, !=, in or ~";
	}
}

static const char *const op_sign[] = { "", "=", "!=", "<", "<=", ">", ">=", "in", "~" };

static bool op_fits(const struct fact_def *d, enum expr_op op)
{
	switch (op) {
	case EXPR_EQ:
	case EXPR_NE:
		return true;
	case EXPR_IN:
		return d->type != FACT_BOOL && d->type != FACT_TIME;
	case EXPR_MATCH:
		return d->type == FACT_TEXT || d->type == FACT_DOMAIN || d->type == FACT_ADDRESS;
	default:
		return d->type == FACT_NUMBER || d->type == FACT_TIME;
	}
}

/* "none, neutral, pass or fail". */
static void words_text(const char *const *words, struct buf *out)
{
	for (size_t i = 0; words[i]; i++)
		buf_addf(out, "%s%s", i == 0 ? "" : words[i + 1] ? ", " : " or ", words[i]);
}

static bool value_word(struct parser *ps, struct expr *e, const struct fact_def *d,
		       const struct token *t, const char *value)
{
	AUTO(buf) struct buf words = BUF_INIT(1000);
	const char *meant;
	bool found = strcmp(value, "temperror") == 0;   /* any fact can be that */

	if (found)
		e->words |= 1ull << EXPR_WORD_TEMPERROR;
	for (int i = 0; i < EXPR_WORDS_MAX && d->words[i]; i++) {
		if (strcmp(d->words[i], value) == 0) {
			e->words |= 1ull << i;
			found = true;
		}
	}
	if (found)
		return true;
	words_text(d->words, &words);
	meant = policy_suggest(value, strlen(value), d->words);
	return parser_fail(ps, t, "%s is never %.40s, expected %s%s%s%s", d->name, value,
			   buf_str(&words), meant ? " (did you mean " : "", meant ? meant : "",
			   meant ? "?)" : "");
}

static bool value_number(struct parser *ps, struct expr *e, const struct token *t,
			 const char *value, bool in)
{
	char *end;
	long long n, unit = 1;
	char show[PARSER_SHOW_MAX];

	errno = 0;
	n = strtoll(value, &end, 10);
	if (end != value && *end && !end[1])
		unit = *end == 'K' ? 1 << 10 : *end == 'M' ? 1 << 20 : *end == 'G' ? 1 << 30 : 1;
	if (unit > 1)
		end++;
	if (errno || end == value || *end || isspace((unsigned char)*value) ||
	    n > INT64_MAX / unit || n < INT64_MIN / unit)
		return parser_fail(ps, t, "%s is no number, expected one such as 5, -1 or 10M",
				   parser_show(t, show));
	n *= unit;
	if (!in) {
		e->number = n;
		return true;
	}
	if ((e->number_count & (e->number_count - 1)) == 0) {
		int64_t *grown = realloc(e->numbers, (e->number_count ? e->number_count * 2 : 1) *
							     sizeof(*grown));

		if (!grown)
			return no_memory(ps);
		e->numbers = grown;
	}
	e->numbers[e->number_count++] = n;
	return true;
}

static bool looks_like_network(const char *value)
{
	struct net_prefix n;
	struct net_addr a;

	return net_parse(value, &a) == 0 || net_parse_prefix(value, &n) == 0;
}

/* A value of a fact whose values are written as they are: text, domain, mailbox, IP address. NULL:
   fine; else what was expected. */
static const char *value_shape(const struct fact_def *d, const char *value, bool in)
{
	char domain[254];
	const char *at = strrchr(value, '@');

	switch (d->type) {
	case FACT_IP:
		if (!in)
			return looks_like_network(value) && !strchr(value, '/')
				       ? NULL
				       : "one address such as 192.0.2.1 (networks: with in)";
		return looks_like_network(value) || strchr(value, '/')
			       ? NULL
			       : "an address or network such as 192.0.2.0/24";
	case FACT_DOMAIN:
		if (strchr(value, '*'))
			return "a domain without *: in (example.com) holds for all below it too";
		if (!*value && !in)
			return NULL;
		if (looks_like_network(value) ||
		    !policy_domain_text(value + (in && *value == '.'),
					strlen(value + (in && *value == '.')), domain))
			return "a domain such as example.com (others than ASCII in their xn-- "
			       "form)";
		return NULL;
	case FACT_ADDRESS:
		if (!in && (!*value || strcmp(value, "postmaster") == 0))
			return NULL;
		if (!at && in &&
		    policy_domain_text(value + (*value == '.'), strlen(value + (*value == '.')),
				       domain))
			return NULL;
		if (!at || (!in && at == value) ||
		    !policy_domain_text(at + 1, strlen(at + 1), domain))
			return in ? "a mailbox such as user@example.com or a domain"
				  : "a mailbox such as user@example.com (domains: with in)";
		return NULL;
	default:
		return !*value && in ? "a text that is not empty" : NULL;
	}
}

static bool value_text(struct parser *ps, struct expr *e, const struct fact_def *d,
		       const struct token *t, const char *value, bool in)
{
	AUTO(buf) struct buf err = BUF_INIT(1000);
	char show[PARSER_SHOW_MAX];
	const char *expected = value_shape(d, value, in);
	size_t len = strlen(value);

	if (expected)
		return parser_fail(ps, t, "%s is not what %s can be, expected %s",
				   parser_show(t, show), d->name, expected);
	if (in) {
		if (policy_list_add(e->list_own, value, len, d->type == FACT_TEXT, &err) < 0)
			return parser_fail(
				ps, t, "%s",
				err.len ? buf_str(&err)
					: "no memory for the policy, expected a shorter one");
		return true;
	}
	if (d->type == FACT_IP)
		return net_parse(value, &e->ip) == 0 ||
		       parser_fail(ps, t, "%s is no address, expected one", parser_show(t, show));
	if (d->type == FACT_DOMAIN && len > 1 && value[len - 1] == '.')
		len--;
	e->text = strndup(value, len);
	return e->text || no_memory(ps);
}

/* One constant, of the fact's type; eats it. in: one of several. */
static bool value(struct parser *ps, struct expr *e, bool in)
{
	const struct fact_def *d = fact_def(e->fact);
	AUTO(buf) struct buf v = BUF_INIT(VALUE_MAX);
	struct token t = ps->t;
	char show[PARSER_SHOW_MAX];

	parser_show(&t, show);
	if (t.kind == TOKEN_REGEX)
		return parser_fail(
			ps, &t,
			"a regular expression, expected %s here (regular expressions: with ~)",
			type_noun(d));
	if (t.kind != TOKEN_WORD && t.kind != TOKEN_STRING)
		return parser_fail(ps, &t, "%s instead of a value, expected %s", show,
				   type_noun(d));
	if (t.kind == TOKEN_WORD && d->type != FACT_WORD && fact_find(t.text, t.len) != FACT_NONE)
		return parser_fail(
			ps, &t,
			"%s is a fact, expected a value (in double quotes if that text is meant)",
			show);
	if (t.kind == TOKEN_WORD && d->type != FACT_WORD && parser_list(ps, t.text, t.len) && !parser_list(ps, t.text, t.len)->class)
		return parser_fail(ps, &t, "%s is a list, expected it alone after in: %s in %.*s",
				   show, d->name, (int)t.len, t.text);
	if (token_value(&t, &v) < 0)
		return parser_fail(ps, &t, "a value of %zu bytes, expected at most %d", t.len,
				   VALUE_MAX);
	parser_next(ps);
	switch (d->type) {
	case FACT_WORD:
		return value_word(ps, e, d, &t, buf_str(&v));
	case FACT_NUMBER:
		return value_number(ps, e, &t, buf_str(&v), in);
	case FACT_TIME:
		e->number = expr_minutes(buf_str(&v));
		return e->number >= 0 ||
		       parser_fail(ps, &t, "%s is no time of day, expected 00:00 to 23:59", show);
	case FACT_BOOL:
		e->number = strcmp(buf_str(&v), "true") == 0;
		return e->number || strcmp(buf_str(&v), "false") == 0 ||
		       parser_fail(ps, &t, "%s is no value of %s, expected true or false", show,
				   d->name);
	default:
		return value_text(ps, e, d, &t, buf_str(&v), in);
	}
}

/* (a, b, c); the parenthesis is next. */
static bool values(struct parser *ps, struct expr *e)
{
	char show[PARSER_SHOW_MAX];
	enum fact_type type = fact_def(e->fact)->type;
	size_t n = 0;

	parser_next(ps);
	if (type != FACT_WORD && type != FACT_NUMBER) {
		e->list = e->list_own = policy_list_new();
		if (!e->list)
			return no_memory(ps);
	}
	for (;;) {
		if (ps->t.kind == TOKEN_CLOSE && n == 0)
			return parser_fail(ps, &ps->t, "() is empty, expected %s",
					   type_noun(fact_def(e->fact)));
		if (n++ >= POLICY_VALUES_MAX)
			return parser_fail(ps, &ps->t,
					   "too many values, expected at most %d here (more: list "
					   "NAME = file \"...\")",
					   POLICY_VALUES_MAX);
		if (!value(ps, e, true))
			return false;
		if (ps->t.kind == TOKEN_COMMA)
			parser_next(ps);
		else if (ps->t.kind == TOKEN_CLOSE)
			break;
		else
			return parser_fail(ps, &ps->t, "%s among the values, expected , or )",
					   parser_show(&ps->t, show));
	}
	parser_next(ps);
	return true;
}

/* Nothing is named so: what was meant? */
static bool no_list(struct parser *ps, const struct token *t, bool class)
{
	const struct policy *p = ps->policy;
	const char **names = calloc(p->list_count + 1, sizeof(*names)), *meant = NULL;
	char show[PARSER_SHOW_MAX];
	size_t n = 0;

	for (size_t i = 0; names && i < p->list_count; i++)
		if (p->list[i].class == class)
			names[n++] = p->list[i].name;
	if (names && t->kind == TOKEN_WORD)
		meant = policy_suggest(t->text, t->len, names);
	parser_fail(ps, t, "no %s is named %s, expected one that is defined above%s%s%s%s", class ? "class" : "list", parser_show(t, show),
		    class ? "" : ", or values in parentheses", meant ? " (did you mean " : "", meant ? meant : "", meant ? "?)" : "");
	free(names);
	return false;
}

static bool in_list(struct parser *ps, struct expr *e)
{
	const struct fact_def *d = fact_def(e->fact);
	const struct named_list *l = parser_list(ps, ps->t.text, ps->t.len);
	char show[PARSER_SHOW_MAX];

	parser_show(&ps->t, show);
	if (d->type == FACT_WORD || d->type == FACT_NUMBER)
		return parser_fail(ps, &ps->t,
				   "%s is %s, expected its values in parentheses: %s in (...)",
				   d->name, type_noun(d), d->name);
	if (!l)
		return no_list(ps, &ps->t, false);
	if (l->class)
		return parser_fail(ps, &ps->t, "%s is a class, expected a list (classes: class = %s)", show, l->name);
	((struct named_list *)l)->used = true;
	e->list = l->list;
	if (l == ps->policy->list && d->type != FACT_DOMAIN && d->type != FACT_ADDRESS)
		return parser_fail(ps, &ps->t,
				   "local holds the site's domains and %s is %s, expected a fact "
				   "that is a domain or a mailbox",
				   d->name, type_noun(d));
	if (l != ps->policy->list && policy_list_count(l->list) &&
	    !policy_list_useful(l->list, d->type))
		parser_warn(ps, ps->t.line, ps->t.column,
			    "list %s holds nothing that %s can be, so this is never true", l->name,
			    d->name);
	parser_next(ps);
	return true;
}

static bool regex(struct parser *ps, struct expr *e)
{
	AUTO(buf) struct buf pattern = BUF_INIT(REGEX_PATTERN_MAX), err = BUF_INIT(1000);
	struct token t = ps->t;
	char show[PARSER_SHOW_MAX];
	size_t at;

	if (t.kind != TOKEN_REGEX)
		return parser_fail(ps, &t, "%s after ~, expected a regular expression: /.../",
				   parser_show(&t, show));
	if (token_value(&t, &pattern) < 0 || pattern.len == 0)
		return parser_fail(ps, &t, "a regular expression of %zu bytes, expected 1 to %d",
				   pattern.failed ? t.len - 2 : 0, REGEX_PATTERN_MAX);
	if (ps->regexes++ >= POLICY_REGEX_MAX)
		return parser_fail(ps, &t, "too many regular expressions, expected at most %d",
				   POLICY_REGEX_MAX);
	e->regex = policy_regex_new(pattern.data, pattern.len, &at, &err);
	if (!e->regex) {
		t.column += (int)at + 1;
		return parser_fail(ps, &t, "%s, expected a Perl regular expression", buf_str(&err));
	}
	parser_next(ps);
	return true;
}

static enum expr_op operator_of(const struct token *t)
{
	switch (t->kind) {
	case TOKEN_EQ:
		return EXPR_EQ;
	case TOKEN_NE:
		return EXPR_NE;
	case TOKEN_LT:
		return EXPR_LT;
	case TOKEN_LE:
		return EXPR_LE;
	case TOKEN_GT:
		return EXPR_GT;
	case TOKEN_GE:
		return EXPR_GE;
	case TOKEN_MATCH:
		return EXPR_MATCH;
	default:
		return token_is(t, "in") || token_is(t, "all") ? EXPR_IN : EXPR_IS;
	}
}

/* Sums, not yet known when the rule is written. */
static bool score(struct parser *ps, struct expr *e, const struct token *fact)
{
	int64_t low, high;
	char range[50];

	if (score_compile(e, ps->policy) < 0)
		return no_memory(ps);
	score_bounds(e, ps->policy, &low, &high);
	snprintf(range, sizeof(range), low == high ? "%lld" : "%lld to %lld", (long long)low, (long long)high);
	if (e->above == 0)
		parser_warn(ps, fact->line, fact->column, "no score rule stands above, so score is always 0 here");
	else if (e->can_true == STAGE_COUNT || e->can_false == STAGE_COUNT)
		parser_warn(ps, fact->line, fact->column, "score is %s here, so this is %s true", range,
			    e->can_true == STAGE_COUNT ? "never" : "always");
	return true;
}

/* The name of a class; eats it. */
static bool class_name(struct parser *ps, struct expr *e)
{
	const struct token *t = &ps->t;
	struct named_list *l = t->kind == TOKEN_WORD ? parser_list(ps, t->text, t->len) : NULL;
	char show[PARSER_SHOW_MAX];

	if (t->kind != TOKEN_WORD && t->kind != TOKEN_STRING)
		return parser_fail(ps, t, "%s instead of a class, expected the name of one", parser_show(t, show));
	if (!l || !l->class)
		return no_list(ps, t, true);
	if (e->class_count >= POLICY_VALUES_MAX)
		return parser_fail(ps, t, "%s is one class too many, expected at most %d here", parser_show(t, show), POLICY_VALUES_MAX);
	if ((e->class_count & (e->class_count - 1)) == 0) {
		const struct policy_list **grown = realloc(e->class, (e->class_count ? e->class_count * 2 : 1) * sizeof(*grown));

		if (!grown)
			return no_memory(ps);
		e->class = grown;
	}
	e->class[e->class_count++] = l->list;
	l->used = true;
	parser_next(ps);
	return true;
}

/* class has been read, with = board, != board or in (board, staff) to come. */
static bool class_rest(struct parser *ps, struct expr *e)
{
	char show[PARSER_SHOW_MAX];

	e->op = operator_of(&ps->t);
	if ((e->op != EXPR_EQ && e->op != EXPR_NE && e->op != EXPR_IN) || token_is(&ps->t, "all"))
		return parser_fail(ps, &ps->t, "%s after class, expected =, != or in, and the name of a class", parser_show(&ps->t, show));
	parser_next(ps);
	if (e->op != EXPR_IN)
		return class_name(ps, e);
	if (ps->t.kind != TOKEN_OPEN)
		return parser_fail(ps, &ps->t, "%s after in, expected classes in parentheses", parser_show(&ps->t, show));
	do {
		parser_next(ps);
		if (!class_name(ps, e))
			return false;
	} while (ps->t.kind == TOKEN_COMMA);
	if (ps->t.kind != TOKEN_CLOSE)
		return parser_fail(ps, &ps->t, "%s among the classes, expected , or )", parser_show(&ps->t, show));
	parser_next(ps);
	return true;
}

/* all has been read: in comes, and the fact has several values. */
static bool all_in(struct parser *ps, struct expr *e, const struct fact_def *d, const struct token *all)
{
	char show[PARSER_SHOW_MAX];

	if (!d->list)
		return parser_fail(ps, all, "all after %s, which has one value, expected in", d->name);
	if (!token_is(&ps->t, "in"))
		return parser_fail(ps, &ps->t, "%s after all, expected in", parser_show(&ps->t, show));
	e->all = true;
	parser_next(ps);
	return true;
}

/* The fact has been read: its operator and value. */
static bool compare_rest(struct parser *ps, struct expr *e, const struct token *fact)
{
	const struct fact_def *d = fact_def(e->fact);
	char show[PARSER_SHOW_MAX];
	struct token op = ps->t;

	e->op = operator_of(&op);
	if (e->op == EXPR_IS) {
		if (op.kind == TOKEN_BAD)
			return parser_fail(ps, &op, " ");
		if (token_is(&op, "not") && !op.first)
			return parser_fail(ps, &op,
					   "not after a fact, expected it before: not %s in ...",
					   d->name);
		if (d->type != FACT_BOOL)
			return parser_fail(
				ps, fact,
				"%s is %s and stands alone, expected %s and a value after it",
				d->name, type_noun(d), type_operators(d));
		e->number = 1;
		return true;
	}
	if (!op_fits(d, e->op))
		return parser_fail(ps, &op, "%s after %s, which is %s, expected %s", op_sign[e->op],
				   d->name, type_noun(d), type_operators(d));
	parser_next(ps);
	if (token_is(&op, "all") && !all_in(ps, e, d, &op))
		return false;
	if (e->op == EXPR_MATCH)
		return regex(ps, e);
	if (e->op != EXPR_IN)
		return value(ps, e, false);
	if (ps->t.kind == TOKEN_OPEN)
		return values(ps, e);
	if (ps->t.kind != TOKEN_WORD)
		return parser_fail(ps, &ps->t,
				   "%s after in, expected a list or values in parentheses",
				   parser_show(&ps->t, show));
	return in_list(ps, e);
}

static bool no_fact(struct parser *ps, const struct token *t)
{
	const char *names[FACT_MAX + 1], *meant;
	char show[PARSER_SHOW_MAX];
	int n = fact_count();

	parser_show(t, show);
	if (t->kind != TOKEN_WORD || parser_at_statement(ps))
		return parser_fail(ps, t, "%s instead of a condition, expected a fact, not or (",
				   show);
	if (parser_list(ps, t->text, t->len) && parser_list(ps, t->text, t->len)->class)
		return parser_fail(ps, t, "%s is a class, expected class = %.*s", show, (int)t->len, t->text);
	if (parser_list(ps, t->text, t->len))
		return parser_fail(ps, t,
				   "%s is a list, expected a fact before it: client.ip in %.*s",
				   show, (int)t->len, t->text);
	for (int i = 0; i < n; i++)
		names[i] = fact_def(i)->name;
	names[n] = NULL;
	meant = policy_suggest(t->text, t->len, names);
	return parser_fail(ps, t, "no fact is named %s, expected one of gatepost-policy(5)%s%s%s",
			   show, meant ? " (did you mean " : "", meant ? meant : "",
			   meant ? "?)" : "");
}

static struct expr *parse_compare(struct parser *ps)
{
	struct token fact = ps->t;
	size_t start = ps->text.len;
	AUTO(expr) struct expr *e = NULL;
	struct expr *done;
	const char *p;

	if (token_is(&fact, "true") || token_is(&fact, "false")) {
		e = node(ps, EXPR_CONST);
		if (e)
			e->truth = token_is(&fact, "true");
		parser_next(ps);
	} else {
		int id = fact.kind == TOKEN_WORD ? fact_find(fact.text, fact.len) : FACT_NONE;

		if (id == FACT_NONE) {
			no_fact(ps, &fact);
			return NULL;
		}
		e = node(ps, EXPR_COMPARE);
		if (!e)
			return NULL;
		e->fact = id;
		e->about = token_is(&fact, "temperror.expired") ? ABOUT_EXPIRED
			   : token_is(&fact, "score")		? ABOUT_SCORE
			   : token_is(&fact, "class")		? ABOUT_CLASS
			   : token_is(&fact, "regex.gave_up")	? ABOUT_GAVE_UP
								: ABOUT_FACT;
		parser_next(ps);
		if (!(e->about == ABOUT_CLASS ? class_rest(ps, e) : compare_rest(ps, e, &fact)) || (e->about == ABOUT_SCORE && !score(ps, e, &fact)))
			return NULL;
		p = ps->text.failed ? "" : ps->text.data + start;
		e->source = strdup(*p == ' ' ? p + 1 : p);
		if (!e->source) {
			no_memory(ps);
			return NULL;
		}
	}
	done = e;
	e = NULL;
	return done;
}

static struct expr *parse_unary(struct parser *ps, int depth)
{
	struct token t = ps->t;
	char show[PARSER_SHOW_MAX];
	struct expr *e, *inner;

	if (depth > POLICY_DEPTH_MAX) {
		parser_fail(ps, &t, "a condition nested too deeply, expected at most %d levels",
			    POLICY_DEPTH_MAX);
		return NULL;
	}
	if (token_is(&t, "not")) {
		parser_next(ps);
		inner = parse_unary(ps, depth + 1);
		e = inner ? node(ps, EXPR_NOT) : NULL;
		if (!e) {
			expr_free(inner);
			return NULL;
		}
		if (expr_add(e, inner) < 0) {
			no_memory(ps);
			expr_free(e);
			return NULL;
		}
		return e;
	}
	if (t.kind != TOKEN_OPEN)
		return parse_compare(ps);
	parser_next(ps);
	e = parse_or(ps, depth + 1);
	if (!e)
		return NULL;
	if (ps->t.kind != TOKEN_CLOSE) {
		parser_fail(ps, &ps->t, "%s inside parentheses, expected and, or or )",
			    parser_show(&ps->t, show));
		expr_free(e);
		return NULL;
	}
	parser_next(ps);
	return e;
}

/* a `word` b `word` c, each read by side. */
static struct expr *parse_chain(struct parser *ps, int depth, enum expr_kind kind, const char *word,
				struct expr *(*side)(struct parser *, int))
{
	AUTO(expr) struct expr *all = NULL;
	struct expr *e = side(ps, depth), *done;

	if (!e || !parser_at(ps, word))
		return e;
	all = node(ps, kind);
	if (!all) {
		expr_free(e);
		return NULL;
	}
	for (;;) {
		if (expr_add(all, e) < 0) {
			no_memory(ps);
			return NULL;
		}
		if (!parser_at(ps, word))
			break;
		parser_next(ps);
		e = side(ps, depth);
		if (!e)
			return NULL;
	}
	done = all;
	all = NULL;
	return done;
}

static struct expr *parse_and(struct parser *ps, int depth)
{
	return parse_chain(ps, depth, EXPR_AND, "and", parse_unary);
}

static struct expr *parse_or(struct parser *ps, int depth)
{
	return parse_chain(ps, depth, EXPR_OR, "or", parse_and);
}

struct expr *parser_condition(struct parser *ps)
{
	return parse_or(ps, 0);
}
