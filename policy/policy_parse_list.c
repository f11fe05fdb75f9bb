#include "policy/policy_parser.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct named_list *parser_list_new(struct policy *p, const char *name, size_t len)
{
	struct named_list *l;

	if (p->list_count == p->list_cap) {
		size_t cap = p->list_cap ? p->list_cap * 2 : 8;

		l = realloc(p->list, cap * sizeof(*l));
		if (!l)
			return NULL;
		p->list = l;
		p->list_cap = cap;
	}
	l = &p->list[p->list_count];
	*l = (struct named_list){ .name = strndup(name, len), .list = policy_list_new() };
	if (!l->name || !l->list) {
		free(l->name);
		policy_list_free(l->list);
		return NULL;
	}
	p->list_count++;
	return l;
}

static bool list_regex(struct parser *ps, struct policy_list *l)
{
	AUTO(buf) struct buf value = BUF_INIT(REGEX_PATTERN_MAX), err = BUF_INIT(1000);
	struct token t = ps->t;
	size_t at;

	if (ps->regexes++ >= POLICY_REGEX_MAX)
		return parser_fail(ps, &t, "too many regular expressions, expected at most %d", POLICY_REGEX_MAX);
	if (token_value(&t, &value) < 0)
		return parser_fail(ps, &t, "a regular expression of %zu bytes, expected 1 to %d", t.len - 2, REGEX_PATTERN_MAX);
	if (policy_list_add_regex(l, buf_str(&value), value.len, &at, &err) == 0)
		return true;
	t.column += at ? (int)at + 1 : 0;
	return parser_fail(ps, &t, "%s", err.len ? buf_str(&err) : "no memory for the list, expected a shorter one");
}

static bool list_entry(struct parser *ps, struct policy_list *l)
{
	AUTO(buf) struct buf value = BUF_INIT(LIST_ENTRY_MAX), err = BUF_INIT(1000);

	if (ps->t.kind == TOKEN_REGEX)
		return list_regex(ps, l);
	if (token_value(&ps->t, &value) < 0)
		return parser_fail(ps, &ps->t, "an entry of %zu bytes, expected 1 to %d", ps->t.len, LIST_ENTRY_MAX);
	if (policy_list_add(l, buf_str(&value), value.len, ps->t.kind == TOKEN_STRING, &err) == 0)
		return true;
	return parser_fail(ps, &ps->t, "%s", err.len ? buf_str(&err) : "no memory for the list, expected a shorter one");
}

static bool list_inline(struct parser *ps, struct policy_list *l)
{
	char show[PARSER_SHOW_MAX];
	size_t n = 0;

	parser_next(ps);
	while (ps->t.kind != TOKEN_CLOSE_BRACE) {
		if (ps->t.kind != TOKEN_WORD && ps->t.kind != TOKEN_STRING && ps->t.kind != TOKEN_REGEX)
			return parser_fail(ps, &ps->t,
					   "%s in a list, expected a domain, a mailbox, an address, a network, "
					   "a /regular expression/, a text in double quotes or }",
					   parser_show(&ps->t, show));
		if (n++ >= POLICY_VALUES_MAX)
			return parser_fail(
				ps, &ps->t,
				"too many entries, expected at most %d here (more: file \"...\")",
				POLICY_VALUES_MAX);
		if (!list_entry(ps, l))
			return false;
		parser_next(ps);
		if (ps->t.kind == TOKEN_COMMA)
			parser_next(ps);
		else if (ps->t.kind != TOKEN_CLOSE_BRACE && !ps->t.first)
			return parser_fail(ps, &ps->t, "%s in a list, expected , or }",
					   parser_show(&ps->t, show));
	}
	parser_next(ps);
	return true;
}

static bool list_file(struct parser *ps, struct named_list *l)
{
	AUTO(buf) struct buf path = BUF_INIT(4000), full = BUF_INIT(8200);
	struct token t;
	char show[PARSER_SHOW_MAX];
	int rc;

	parser_next(ps);
	t = ps->t;
	if (t.kind != TOKEN_STRING || token_value(&t, &path) < 0 || path.len == 0)
		return parser_fail(ps, &t, "%s after file, expected a path in double quotes",
				   parser_show(&t, show));
	if (!ps->base_dir)
		return parser_fail(ps, &t,
				   "a list file, expected the entries themselves in { } here");
	if (*path.data != '/')
		buf_addf(&full, "%s/", ps->base_dir);
	buf_add(&full, path.data, path.len);
	rc = policy_list_load(l->list, buf_str(&full), buf_str(&path), &l->stamp, ps->errors);
	if (rc < 0)
		return parser_fail(ps, &t, "%s cannot be read (%s), expected a list file",
				   parser_show(&t, show),
				   rc == -EFBIG	   ? "too large"
				   : rc == -EINVAL ? "not a file"
						   : strerror(-rc));
	ps->error_count += rc;
	parser_next(ps);
	if (rc > 0)
		return false;
	close(policy_list_take_fd(l->list));
	ps->regexes += policy_list_regexes(l->list);
	if (ps->regexes > POLICY_REGEX_MAX)
		return parser_fail(ps, &t, "too many regular expressions, expected at most %d", POLICY_REGEX_MAX);
	l->path = buf_steal(&full);
	return l->path || parser_fail(ps, &t, "no memory for the list, expected a shorter one");
}

static const char *noun(bool class)
{
	return class ? "class" : "list";
}

/* The list of that name, new; NULL after an error. */
static struct named_list *list_named(struct parser *ps, const struct token *name, bool class)
{
	struct named_list *l;
	char show[PARSER_SHOW_MAX];

	if (name->kind != TOKEN_WORD || !parser_name_ok(name->text, name->len) || fact_find(name->text, name->len) != FACT_NONE) {
		parser_fail(ps, name, "%s cannot name a %s, expected letters, digits, - and _ that are no fact and no word of the language",
			    parser_show(name, show), noun(class));
		return NULL;
	}
	l = parser_list(ps, name->text, name->len);
	if (l && l - ps->policy->list < LISTS_BUILT_IN) {
		parser_fail(ps, name, "list %s is built in (%s), expected another name", l->name,
			    l == ps->policy->list ? "the site's domains" : "what is allowed by hand");
		return NULL;
	}
	if (l) {
		parser_fail(ps, name, "%s %s is defined on line %d already, expected another name", noun(l->class), l->name, l->line);
		return NULL;
	}
	if (ps->policy->list_count >= POLICY_LISTS_MAX + LISTS_BUILT_IN) {
		parser_fail(ps, name, "too many lists, expected at most %d", POLICY_LISTS_MAX);
		return NULL;
	}
	l = parser_list_new(ps->policy, name->text, name->len);
	if (!l) {
		parser_fail(ps, name, "no memory for the list, expected a shorter one");
		return NULL;
	}
	l->line = name->line;
	l->column = name->column;
	l->class = class;
	ps->policy->class_count += class;
	return l;
}

/* list NAME = ..., class NAME = recipients ... */
bool parser_list_statement(struct parser *ps)
{
	bool class = parser_at(ps, "class"), ok;
	struct named_list *l;
	struct token name;
	char show[PARSER_SHOW_MAX];

	parser_next(ps);
	name = ps->t;
	l = list_named(ps, &name, class);
	if (!l)
		return false;
	parser_next(ps);
	if (ps->t.kind != TOKEN_EQ)
		return parser_fail(ps, &ps->t, "%s after the name of a %s, expected =", parser_show(&ps->t, show), noun(class));
	parser_next(ps);
	if (class && !parser_at(ps, "recipients"))
		return parser_fail(ps, &ps->t, "%s is no class, expected recipients { ... } or recipients file \"...\"",
				   parser_show(&ps->t, show));
	if (class)
		parser_next(ps);
	if (!parser_at(ps, "file") && ps->t.kind != TOKEN_OPEN_BRACE)
		return parser_fail(ps, &ps->t, "%s is no %s, expected { ... } or file \"...\"", parser_show(&ps->t, show),
				   class ? "list of recipients" : "list");
	ok = parser_at(ps, "file") ? list_file(ps, l) : list_inline(ps, l->list);
	if (ok && class && policy_list_count(l->list) && !policy_list_useful(l->list, FACT_ADDRESS))
		parser_warn(ps, name.line, name.column, "class %s holds no mailbox and no domain, so no recipient is in it", l->name);
	return ok;
}
