#include "policy/policy_parser.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

enum { NAME_MAX_BYTES = 40 };

const char *const parser_statements[] = {
	"accept", "reject", "defer", "quarantine", "discard", "greylist", "score", "tag", "add", "remove", "copy", "redirect", "log",
	"observe", "list", "class", NULL,
};

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

/* Some words are facts too: score >= 5 on a line of its own goes on with a condition. */
static bool compared(const struct parser *ps)
{
	struct lexer ahead = ps->lex;
	struct token t;

	if (fact_find(ps->t.text, ps->t.len) == FACT_NONE)
		return false;
	policy_lex_next(&ahead, &t);
	return (t.kind >= TOKEN_EQ && t.kind <= TOKEN_MATCH) || token_is(&t, "in") || token_is(&t, "all");
}

bool parser_at_statement(const struct parser *ps)
{
	for (size_t i = 0; parser_statements[i]; i++)
		if (ps->t.first && token_is(&ps->t, parser_statements[i]))
			return !compared(ps);
	return false;
}

/* After an error: on to the next line that begins as a rule or list does. */
static void recover(struct parser *ps)
{
	while (ps->t.kind != TOKEN_END && !parser_at_statement(ps))
		policy_lex_next(&ps->lex, &ps->t);
}

/* A name for lists and labels: letters, digits, - and _, beginning with a letter. */
bool parser_name_ok(const char *p, size_t len)
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
	for (size_t i = 0; parser_statements[i]; i++)
		if (strlen(parser_statements[i]) == len && memcmp(parser_statements[i], p, len) == 0)
			return false;
	return true;
}

static void parse_all(struct parser *ps)
{
	policy_lex_next(&ps->lex, &ps->t);
	while (ps->t.kind != TOKEN_END) {
		bool ok;

		buf_clear(&ps->text);
		if (parser_at(ps, "list") || parser_at(ps, "class"))
			ok = parser_list_statement(ps);
		else
			ok = parser_rule_statement(ps);
		if (ok && ps->t.kind != TOKEN_END && !ps->t.first) {
			parser_fail(ps, &ps->t,
				    "something after the end of a list, expected a new line");
			ok = false;
		}
		if (!ok)
			recover(ps);
	}
}

/* FNV-1a, made even by a multiplication at the end. */
static uint64_t text_sum(const char *text, size_t len)
{
	uint64_t h = 0xcbf29ce484222325u;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)text[i]) * 0x100000001b3u;
	return (h ^ h >> 32) * 0xd6e8feb86659fd93u;
}

uint64_t policy_fingerprint(struct policy *p)
{
	uint64_t h = p->text_sum;

	for (size_t i = 0; !p->fingerprint && i < p->list_count; i++)
		h = (h ^ h >> 29 ^ policy_list_sum(p->list[i].list)) * 0xd6e8feb86659fd93u;
	if (!p->fingerprint)
		p->fingerprint = h ? h : 1;
	return p->fingerprint;
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

	if (!p || !(p->name = strdup(name)) || !parser_list_new(p, "local", 5) || !parser_list_new(p, "allowed", 7)) {
		parser_fail(&ps, &start, "no memory for the policy, expected a shorter one");
		return NULL;
	}
	if (len > POLICY_TEXT_MAX) {
		parser_fail(&ps, &start, "a policy of %zu bytes, expected at most %d", len,
			    POLICY_TEXT_MAX);
		return NULL;
	}
	p->text_sum = text_sum(text, len);
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
	p->regexes = ps.regexes;
	for (size_t i = LISTS_BUILT_IN; i < p->list_count; i++)
		if (!p->list[i].used && !p->list[i].class)
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
		parser_rule_release(&p->rule[i]);
	for (size_t i = 0; i < p->list_count; i++) {
		free(p->list[i].name);
		free(p->list[i].path);
		policy_list_free(p->list[i].list);
	}
	free(p->rule);
	free(p->list);
	free(p->false_stage);
	free(p->scorer);
	free(p->name);
	free(p);
}

static int file_read(const char *path, struct buf *out)
{
	int fd = file_open(path), rc = 0;
	struct stat st;
	ssize_t n = 1;

	if (fd < 0)
		return fd;
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
	p->fingerprint = 0;
	for (size_t i = 0; i < count; i++) {
		int rc = policy_list_add_exact(p->list[LIST_LOCAL].list, domains[i]);

		if (rc < 0)
			return rc;
	}
	return 0;
}

size_t policy_class_count(const struct policy *p)
{
	return p->class_count;
}

size_t policy_classes(const struct policy *p, const char *rcpt, const char **names, size_t max)
{
	size_t n = 0;

	for (size_t i = LISTS_BUILT_IN; p->class_count && i < p->list_count && n < max; i++)
		if (p->list[i].class && policy_list_has(p->list[i].list, FACT_ADDRESS, rcpt, NULL))
			names[n++] = p->list[i].name;
	return n;
}

void policy_use_jit(bool on)
{
	policy_regex_use_jit(on);
}
