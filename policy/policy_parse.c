#include "policy/policy_parser.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NAME_MAX_BYTES = 40, SHOWN_TEXT_MAX = 400 };

static const char *const action_names[ACTION_COUNT] = {
	"accept", "reject", "defer", "quarantine", "discard", "greylist", "score", "tag", "add header", "remove header", "copy to",
	"redirect to", "log",
};
static const char *const statements[] = { "accept", "reject",  "defer", "quarantine", "greylist",
					  "tag",    "observe", "list",	NULL };

const char *action_name(enum action a)
{
	return action_names[a];
}

/* --- tokens and errors --- */

bool parser_at(const struct parser *ps, const char *word)
{
	return token_is(&ps->t, word);
}

void parser_next(struct parser *ps)
{
	if (ps->t.spaced && ps->text.len)
		buf_addc(&ps->text, ' ');
	buf_add(&ps->text, ps->t.text, ps->t.len);
	policy_lex_next(&ps->lex, &ps->t);
}

const char *parser_show(const struct token *t, char *out)
{
	size_t n = t->len, o = 0;

	if (t->kind == TOKEN_END)
		return strcpy(out, "the end of the file");
	if (t->kind != TOKEN_STRING)
		out[o++] = '"';
	for (size_t i = 0; i < n && i < 40; i++)
		out[o++] = (unsigned char)t->text[i] < 0x20 || t->text[i] == 0x7f ? '.'
										  : t->text[i];
	if (n > 40)
		o = (size_t)(stpcpy(out + o, "...") - out);
	if (t->kind != TOKEN_STRING || n > 40)
		out[o++] = '"';
	out[o] = '\0';
	return out;
}

bool parser_fail(struct parser *ps, const struct token *t, const char *fmt, ...)
{
	va_list ap;
	char text[1200];

	if (ps->error_count++ >= POLICY_ERRORS_MAX)
		return false;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	buf_addf(ps->errors, "%s:%d:%d: %s\n", ps->name, t->line, t->column,
		 t->kind == TOKEN_BAD ? t->error : text);
	return false;
}

void parser_warn(struct parser *ps, int line, int column, const char *fmt, ...)
{
	va_list ap;
	char text[1200];

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	buf_addf(ps->warnings, "%s:%d:%d: %s\n", ps->name, line, column, text);
}

struct named_list *parser_list(struct parser *ps, const char *name, size_t len)
{
	for (size_t i = 0; i < ps->policy->list_count; i++)
		if (strlen(ps->policy->list[i].name) == len &&
		    memcmp(ps->policy->list[i].name, name, len) == 0)
			return &ps->policy->list[i];
	return NULL;
}

bool parser_at_statement(const struct parser *ps)
{
	for (size_t i = 0; statements[i]; i++)
		if (ps->t.first && token_is(&ps->t, statements[i]))
			return true;
	return false;
}

/* After an error: on to the next line that begins as a rule or list does. */
static void recover(struct parser *ps)
{
	while (ps->t.kind != TOKEN_END && !parser_at_statement(ps))
		policy_lex_next(&ps->lex, &ps->t);
}

/* A name for lists and labels: letters, digits, - and _, beginning with a letter. */
static bool name_ok(const char *p, size_t len)
{
	static const char *const reserved[] = { "if",	"in",	 "and",	   "or",   "not",
						"true", "false", "header", "file", NULL };

	if (len == 0 || len > NAME_MAX_BYTES ||
	    !((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z')))
		return false;
	for (size_t i = 0; i < len; i++)
		if (!((p[i] >= 'a' && p[i] <= 'z') || (p[i] >= 'A' && p[i] <= 'Z') ||
		      (p[i] >= '0' && p[i] <= '9') || p[i] == '-' || p[i] == '_'))
			return false;
	for (size_t i = 0; reserved[i]; i++)
		if (strlen(reserved[i]) == len && memcmp(reserved[i], p, len) == 0)
			return false;
	for (size_t i = 0; statements[i]; i++)
		if (strlen(statements[i]) == len && memcmp(statements[i], p, len) == 0)
			return false;
	return true;
}

/* --- lists --- */

static struct named_list *list_new(struct policy *p, const char *name, size_t len)
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

static bool list_inline(struct parser *ps, struct policy_list *l)
{
	char show[PARSER_SHOW_MAX];
	size_t n = 0;

	parser_next(ps);
	while (ps->t.kind != TOKEN_CLOSE_BRACE) {
		AUTO(buf) struct buf value = BUF_INIT(LIST_ENTRY_MAX), err = BUF_INIT(1000);

		if (ps->t.kind != TOKEN_WORD && ps->t.kind != TOKEN_STRING)
			return parser_fail(ps, &ps->t,
					   "%s in a list, expected a domain, a mailbox, an "
					   "address, a network, a text in double quotes or }",
					   parser_show(&ps->t, show));
		if (n++ >= POLICY_VALUES_MAX)
			return parser_fail(
				ps, &ps->t,
				"too many entries, expected at most %d here (more: file \"...\")",
				POLICY_VALUES_MAX);
		if (token_value(&ps->t, &value) < 0)
			return parser_fail(ps, &ps->t, "an entry of %zu bytes, expected 1 to %d",
					   ps->t.len, LIST_ENTRY_MAX);
		if (policy_list_add(l, buf_str(&value), value.len, ps->t.kind == TOKEN_STRING,
				    &err) < 0)
			return parser_fail(
				ps, &ps->t, "%s",
				err.len ? buf_str(&err)
					: "no memory for the list, expected a shorter one");
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

static bool list_file(struct parser *ps, struct policy_list *l)
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
	rc = policy_list_load(l, buf_str(&full), buf_str(&path), ps->errors);
	if (rc < 0)
		return parser_fail(ps, &t, "%s cannot be read (%s), expected a list file",
				   parser_show(&t, show),
				   rc == -EFBIG	   ? "too large"
				   : rc == -EINVAL ? "not a file"
						   : strerror(-rc));
	ps->error_count += rc;
	parser_next(ps);
	return rc == 0;
}

static bool statement_list(struct parser *ps)
{
	struct named_list *l;
	struct token name;
	char show[PARSER_SHOW_MAX];

	parser_next(ps);
	name = ps->t;
	if (name.kind != TOKEN_WORD || !name_ok(name.text, name.len) ||
	    fact_find(name.text, name.len) != FACT_NONE)
		return parser_fail(ps, &name,
				   "%s cannot name a list, expected letters, digits, - and _ that "
				   "are no fact and no word of the language",
				   parser_show(&name, show));
	l = parser_list(ps, name.text, name.len);
	if (l == ps->policy->list)
		return parser_fail(
			ps, &name,
			"list local is built in (the site's domains), expected another name");
	if (l)
		return parser_fail(ps, &name,
				   "list %s is defined on line %d already, expected another name",
				   l->name, l->line);
	if (ps->policy->list_count > POLICY_LISTS_MAX)
		return parser_fail(ps, &name, "too many lists, expected at most %d",
				   POLICY_LISTS_MAX);
	l = list_new(ps->policy, name.text, name.len);
	if (!l)
		return parser_fail(ps, &name, "no memory for the list, expected a shorter one");
	l->line = name.line;
	l->column = name.column;
	parser_next(ps);
	if (ps->t.kind != TOKEN_EQ)
		return parser_fail(ps, &ps->t, "%s after the name of a list, expected =",
				   parser_show(&ps->t, show));
	parser_next(ps);
	if (parser_at(ps, "file"))
		return list_file(ps, l->list);
	if (ps->t.kind != TOKEN_OPEN_BRACE)
		return parser_fail(ps, &ps->t, "%s is no list, expected { ... } or file \"...\"",
				   parser_show(&ps->t, show));
	return list_inline(ps, l->list);
}

/* --- rules --- */

static void rule_release(struct rule *r)
{
	free(r->name);
	free(r->text);
	free(r->reply);
	free(r->argument);
	expr_free(r->cond);
}

static struct rule *rule_new(struct policy *p)
{
	if (p->rule_count == p->rule_cap) {
		size_t cap = p->rule_cap ? p->rule_cap * 2 : 32;
		struct rule *r = realloc(p->rule, cap * sizeof(*r));

		if (!r)
			return NULL;
		p->rule = r;
		p->rule_cap = cap;
	}
	p->rule[p->rule_count] = (struct rule){ 0 };
	return &p->rule[p->rule_count];
}

static bool rule_label(struct parser *ps, struct rule *r)
{
	struct token t = ps->t;

	if (t.kind != TOKEN_WORD || t.first || t.text[t.len - 1] != ':')
		return true;
	if (!name_ok(t.text, t.len - 1))
		return parser_fail(ps, &t,
				   "%.*s cannot be a label, expected letters, digits, - and _ that "
				   "are no word of the language",
				   (int)(t.len > 60 ? 60 : t.len), t.text);
	for (size_t i = 0; i < ps->policy->rule_count; i++) {
		const struct rule *o = &ps->policy->rule[i];

		if (strlen(o->name) == t.len - 1 && memcmp(o->name, t.text, t.len - 1) == 0)
			return parser_fail(ps, &t,
					   "label %s is that of line %d already, expected another",
					   o->name, o->line);
	}
	r->name = strndup(t.text, t.len - 1);
	parser_next(ps);
	return r->name || parser_fail(ps, &t, "no memory for the policy, expected a shorter one");
}

/* The text of reject, defer and tag. */
static bool rule_text(struct parser *ps, struct rule *r)
{
	AUTO(buf) struct buf text = BUF_INIT(2000), err = BUF_INIT(1500);
	struct token t;
	char show[PARSER_SHOW_MAX];
	int rc;

	if (r->action == ACTION_TAG && parser_at(ps, "header")) {
		r->action = ACTION_ADD_HEADER;
		parser_next(ps);
	}
	t = ps->t;
	if (t.kind != TOKEN_STRING) {
		if (action_is_effect(r->action))
			return parser_fail(ps, &t, "%s after tag, expected %s",
					   parser_show(&t, show),
					   r->action == ACTION_ADD_HEADER ? "a header field: \"Name: value\""
						     : "a subject prefix in double quotes, or "
						       "header \"Name: value\"");
		return true;
	}
	if (r->action != ACTION_REJECT && r->action != ACTION_DEFER && !action_is_effect(r->action))
		return parser_fail(ps, &t, "a text after %s, expected if or the end of the rule",
				   action_name(r->action));
	if (token_value(&t, &text) < 0)
		return parser_fail(ps, &t, "a text of %zu bytes, expected fewer than 500",
				   t.len - 2);
	if (r->action == ACTION_ADD_HEADER)
		rc = policy_tag_header(buf_str(&text), text.len, &r->argument, &err);
	else if (r->action == ACTION_TAG)
		rc = policy_tag_prefix(buf_str(&text), text.len, &r->argument, &err);
	else
		rc = policy_reply_text(r->action, buf_str(&text), text.len, &r->reply, &err);
	if (rc < 0)
		return parser_fail(ps, &t, "%s",
				   rc == -ENOMEM
					   ? "no memory for the policy, expected a shorter one"
					   : buf_str(&err));
	parser_next(ps);
	return true;
}

/* The rest of a rule; the action is next. */
static bool rule_body(struct parser *ps, struct rule *r)
{
	const char *meant;
	char show[PARSER_SHOW_MAX];
	size_t a = 0;

	while (a < sizeof(action_names) / sizeof(*action_names) && !parser_at(ps, action_names[a]))
		a++;
	if (a == sizeof(action_names) / sizeof(*action_names)) {
		meant = ps->t.kind == TOKEN_WORD ? policy_suggest(ps->t.text, ps->t.len, statements)
						 : NULL;
		return parser_fail(ps, &ps->t,
				   "%s is no action, expected accept, reject, defer, quarantine, "
				   "greylist, tag%s%s%s%s",
				   parser_show(&ps->t, show), r->observe ? "" : ", observe or list",
				   meant ? " (did you mean " : "", meant ? meant : "",
				   meant ? "?)" : "");
	}
	r->action = (enum action)a;
	parser_next(ps);
	if (!rule_label(ps, r) || !rule_text(ps, r))
		return false;
	if (parser_at(ps, "if")) {
		parser_next(ps);
		r->cond = parser_condition(ps);
		if (!r->cond)
			return false;
		if (ps->t.kind != TOKEN_END && !ps->t.first)
			return parser_fail(ps, &ps->t,
					   "%s after the condition, expected and, or or a new line",
					   parser_show(&ps->t, show));
	} else if (ps->t.kind != TOKEN_END && !ps->t.first) {
		return parser_fail(ps, &ps->t, "%s after %s, expected if or a new line",
				   parser_show(&ps->t, show), action_name(r->action));
	}
	return true;
}

static bool statement_rule(struct parser *ps)
{
	struct rule *r = rule_new(ps->policy);
	struct token first = ps->t;
	size_t cut;

	if (!r || ps->policy->rule_count >= POLICY_RULES_MAX) {
		parser_fail(ps, &first, "too many rules, expected at most %d", POLICY_RULES_MAX);
		ps->t.kind = TOKEN_END;         /* one such error is enough */
		return false;
	}
	r->line = first.line;
	r->column = first.column;
	buf_clear(&ps->text);
	if (parser_at(ps, "observe")) {
		r->observe = true;
		parser_next(ps);
	}
	if (!rule_body(ps, r)) {
		rule_release(r);
		return false;
	}
	cut = ps->text.len;
	if (cut > SHOWN_TEXT_MAX)
		for (cut = SHOWN_TEXT_MAX; ((unsigned char)ps->text.data[cut] & 0xc0) == 0x80;
		     cut--)
			;
	if (asprintf(&r->text, "%.*s%s", (int)cut, buf_str(&ps->text),
		     cut < ps->text.len ? "..." : "") < 0)
		r->text = NULL;
	if (!r->name && asprintf(&r->name, "line %d", r->line) < 0)
		r->name = NULL;
	if (!r->text || !r->name) {
		rule_release(r);
		return parser_fail(ps, &first, "no memory for the policy, expected a shorter one");
	}
	ps->policy->rule_count++;
	return true;
}

static void parse_all(struct parser *ps)
{
	policy_lex_next(&ps->lex, &ps->t);
	while (ps->t.kind != TOKEN_END) {
		bool ok;

		buf_clear(&ps->text);
		if (parser_at(ps, "list"))
			ok = statement_list(ps);
		else
			ok = statement_rule(ps);
		if (ok && ps->t.kind != TOKEN_END && !ps->t.first) {
			parser_fail(ps, &ps->t,
				    "something after the end of a list, expected a new line");
			ok = false;
		}
		if (!ok)
			recover(ps);
	}
}

struct policy *policy_parse(const char *name, const char *text, size_t len, const char *base_dir,
			    struct buf *errors, struct buf *warnings)
{
	AUTO(buf) struct buf own_errors = BUF_INIT(64 * 1024), own_warnings = BUF_INIT(64 * 1024);
	AUTO(policy) struct policy *p = calloc(1, sizeof(*p));
	struct policy *done;
	struct parser ps = { .policy = p,
			     .name = name,
			     .base_dir = base_dir,
			     .errors = errors ? errors : &own_errors,
			     .warnings = warnings ? warnings : &own_warnings,
			     .text = BUF_INIT(PARSER_TEXT_MAX) };
	struct token start = { .line = 1, .column = 1 };

	if (!p || !(p->name = strdup(name)) || !list_new(p, "local", 5)) {
		parser_fail(&ps, &start, "no memory for the policy, expected a shorter one");
		return NULL;
	}
	if (len > POLICY_TEXT_MAX) {
		parser_fail(&ps, &start, "a policy of %zu bytes, expected at most %d", len,
			    POLICY_TEXT_MAX);
		return NULL;
	}
	policy_lex_init(&ps.lex, text, len);
	parse_all(&ps);
	buf_release(&ps.text);
	if (ps.error_count > POLICY_ERRORS_MAX)
		buf_addf(ps.errors, "%s: %d more errors\n", name,
			 ps.error_count - POLICY_ERRORS_MAX);
	if (ps.error_count)
		return NULL;
	if (policy_analyse(p, ps.warnings) < 0) {
		parser_fail(&ps, &start, "no memory for the policy, expected a shorter one");
		return NULL;
	}
	for (size_t i = 1; i < p->list_count; i++)
		if (!p->list[i].used)
			parser_warn(&ps, p->list[i].line, p->list[i].column,
				    "list %s is not used by any rule", p->list[i].name);
	done = p;
	p = NULL;
	return done;
}

void policy_free(struct policy *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->rule_count; i++)
		rule_release(&p->rule[i]);
	for (size_t i = 0; i < p->list_count; i++) {
		free(p->list[i].name);
		policy_list_free(p->list[i].list);
	}
	free(p->rule);
	free(p->list);
	free(p->false_stage);
	free(p->name);
	free(p);
}

static int file_read(const char *path, struct buf *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), rc = 0;
	struct stat st;
	ssize_t n = 1;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		rc = -errno;
	else if (!S_ISREG(st.st_mode))
		rc = -EINVAL;
	while (rc == 0 && n != 0) {
		if ((rc = buf_reserve(out, 4096)) < 0)
			break;
		n = read(fd, out->data + out->len, 4096);
		if (n < 0 && errno != EINTR)
			rc = -errno;
		else if (n > 0)
			out->len += (size_t)n;
	}
	close(fd);
	return rc;
}

struct policy *policy_load(const char *path, struct buf *errors, struct buf *warnings)
{
	AUTO(buf) struct buf text = BUF_INIT(POLICY_TEXT_MAX + 8192), dir = BUF_INIT(4096);
	const char *slash = strrchr(path, '/');
	int rc = file_read(path, &text);

	if (rc < 0) {
		if (errors)
			buf_addf(errors, "%s: %s, expected a policy file\n", path,
				 rc == -EINVAL	 ? "not a file"
				 : rc == -ENOSPC ? "too large"
						 : strerror(-rc));
		return NULL;
	}
	if (!slash)
		buf_adds(&dir, ".");
	else
		buf_add(&dir, path, slash == path ? 1 : (size_t)(slash - path));
	return policy_parse(path, buf_str(&text), text.len, buf_str(&dir), errors, warnings);
}

int policy_set_local(struct policy *p, char *const *domains, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int rc = policy_list_add_exact(p->list[0].list, domains[i]);

		if (rc < 0)
			return rc;
	}
	return 0;
}

void policy_use_jit(bool on)
{
	policy_regex_use_jit(on);
}
