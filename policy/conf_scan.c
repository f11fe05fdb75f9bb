#include "policy/conf_scan.h"

#include <stdlib.h>
#include <string.h>

#include "policy/conf_table.h"
#include "policy/near.h"


static void blank(char *text, size_t from, size_t to)
{
	for (; from < to; from++)
		if (text[from] != '\n')
			text[from] = ' ';
}

/* Behind the string that begins at i; len when it has no end. */
static size_t string_end(const char *text, size_t len, size_t i)
{
	char quote = text[i];

	for (i++; i < len; i++) {
		if (text[i] == '\\')
			i++;
		else if (text[i] == quote)
			return i + 1;
	}
	return len + 1;
}

/* Whether a comment begins at i: 0, or how it ends: '\n' or '*'. */
static char comment_at(const char *text, size_t len, size_t i)
{
	if (text[i] == '#')
		return '\n';
	if (text[i] == '/' && i + 1 < len && (text[i + 1] == '/' || text[i + 1] == '*'))
		return text[i + 1] == '/' ? '\n' : '*';
	return '\0';
}

static size_t comment_end(const char *text, size_t len, size_t i, char how)
{
	const char *end;

	if (how == '\n') {
		end = memchr(text + i, '\n', len - i);
		return end ? (size_t)(end - text) : len;
	}
	end = memmem(text + i + 2, len - i - 2, "*/", 2);
	return end ? (size_t)(end - text) + 2 : len + 1;
}

int conf_scan_comments(char *text, size_t len, const char **what)
{
	int line = 1;

	for (size_t i = 0, end; i < len; i = end) {
		char how = comment_at(text, len, i);

		end = i + 1;
		if (text[i] == '"' || text[i] == '\'')
			end = string_end(text, len, i);
		else if (how)
			end = comment_end(text, len, i, how);
		if (end > len) {
			*what = how ? "comment" : "string";
			return line;
		}
		if (how)
			blank(text, i, end);
		for (size_t k = i; k < end; k++)
			line += text[k] == '\n';
	}
	return 0;
}

static bool is_word(char c)
{
	return c != '\0' && !strchr(" \t\r\n\f\v\"'={}()+,", c);
}

struct conf_token conf_scan_next(struct conf_scan *s)
{
	struct conf_token t = { .kind = CONF_TOKEN_END };

	while (s->at < s->len && strchr(" \t\r\n\f\v", s->text[s->at])) {
		s->line += s->text[s->at] == '\n';
		s->at++;
	}
	t.start = s->at;
	t.line = s->line;
	if (s->at == s->len) {
		t.end = s->at;
		return t;
	}
	if (s->text[s->at] == '"' || s->text[s->at] == '\'') {
		t.kind = CONF_TOKEN_STRING;
		s->at = string_end(s->text, s->len, s->at);
	} else if (is_word(s->text[s->at])) {
		t.kind = CONF_TOKEN_WORD;
		while (s->at < s->len && is_word(s->text[s->at]))
			s->at++;
	} else {
		t.kind = CONF_TOKEN_MARK;
		t.mark = s->text[s->at++];
		if (t.mark == '+' && s->at < s->len && s->text[s->at] == '=')
			s->at++;
	}
	t.end = s->at;
	for (size_t i = t.start; i < t.end; i++)
		s->line += s->text[i] == '\n';
	return t;
}

static bool is_mark(const struct conf_token *t, char mark)
{
	return t->kind == CONF_TOKEN_MARK && t->mark == mark;
}

static bool is_text(const struct conf_token *t)
{
	return t->kind == CONF_TOKEN_WORD || t->kind == CONF_TOKEN_STRING;
}

/* From behind an opening brace to behind its closing one. False: there is none. */
static bool skip_braces(struct conf_scan *s)
{
	for (int depth = 1; depth > 0;) {
		struct conf_token t = conf_scan_next(s);

		if (t.kind == CONF_TOKEN_END)
			return false;
		depth += is_mark(&t, '{') - is_mark(&t, '}');
	}
	return true;
}

/* A value or a list of them. False: it is neither. */
static bool skip_value(struct conf_scan *s)
{
	struct conf_token t = conf_scan_next(s);

	return is_mark(&t, '{') ? skip_braces(s) : is_text(&t);
}

/* The name in a section (or, at the top, of a section) that is nearest to what was written; NULL
 * when none is near. */
static const char *near_miss(const struct conf_section *in, const char *name, size_t len)
{
	size_t best = len < 4 ? 2 : 3;
	const char *found = NULL;

	for (const struct conf_option *o = in->options; o->name; o++) {
		size_t d = near_distance(name, len, o->name, strlen(o->name));

		if (d < best) {
			best = d;
			found = o->name;
		}
	}
	for (size_t i = 1; in == &conf_top && conf_sections[i]; i++) {
		size_t d = near_distance(name, len, conf_sections[i]->name, strlen(conf_sections[i]->name));

		if (d < best) {
			best = d;
			found = conf_sections[i]->name;
		}
	}
	return found;
}

/* The section in which an option of that name stands, for a hint; NULL. */
static const struct conf_section *elsewhere(const struct conf_section *in, const char *name,
                                            size_t len)
{
	for (size_t i = 0; conf_sections[i]; i++)
		if (conf_sections[i] != in && conf_option_find(conf_sections[i], name, len))
			return conf_sections[i];
	return NULL;
}

static void unknown(struct conf *c, const struct conf_section *in, const char *name, size_t len,
                    int line)
{
	const char *near = near_miss(in, name, len);
	const struct conf_section *other = elsewhere(in, name, len);
	const char *where = in->name[0] ? " in " : "";

	if (near)
		conf_error(c, line, "%.*s: unknown option%s%s, expected perhaps %s", (int)len, name,
		           where, in->name, near);
	else if (other)
		conf_error(c, line, "%.*s: unknown option%s%s, expected %s%s", (int)len, name,
		           where, in->name[0] ? in->name : " at the top level",
		           other->name[0] ? "in section " : "at the top level", other->name);
	else
		conf_error(c, line,
		           "%.*s: unknown option%s%s, expected one that gatepost.conf(5) lists",
		           (int)len, name, where, in->name);
}

/* A title as libconfuse will see it, near enough for comparing. */
static char *title_text(const char *text, const struct conf_token *t)
{
	size_t start = t->start, end = t->end;

	if (t->kind == CONF_TOKEN_STRING)
		start++, end--;
	return strndup(text + start, end - start);
}

/* A section begins: note it. False: it comes twice, or lacks its title; that has been said. Takes
 * title. */
static bool section_begin(struct conf *c, const struct conf_section *s, char *title, int line)
{
	struct conf_instance *more;

	if (!s->titled != !title) {
		if (title)
			conf_error(c, line, "%s: has the title \"%s\", expected none", s->name,
			           title);
		else
			conf_error(c, line, "%s: has no title, expected %s \"%s\" { ... }", s->name,
			           s->name, s->titled);
		free(title);
		return false;
	}
	for (size_t i = 0; i < c->section_count; i++) {
		const struct conf_instance *o = &c->section[i];

		if (o->section != s || (title && strcmp(o->title, title) != 0))
			continue;
		conf_error(c, line, "%s%s%s: comes twice, first on line %d", s->name,
		           title ? " " : "", title ? title : "", o->line);
		free(title);
		return false;
	}
	more = conf_grow(c->section, &c->section_count, sizeof *more);
	c->section = more;
	more[c->section_count - 1] = (struct conf_instance){ s, title, line };
	return true;
}

static bool statements(struct conf *c, struct conf_scan *s, const struct conf_section *in);

/* name [title] {: the brace has been read. False: the text cannot be followed any further. */
static bool section(struct conf *c, struct conf_scan *s, const struct conf_token *name,
                    const struct conf_token *title)
{
	const struct conf_section *sec =
		conf_section_find(s->text + name->start, name->end - name->start);

	if (!sec)
		unknown(c, &conf_top, s->text + name->start, name->end - name->start, name->line);
	else if (section_begin(c, sec, title ? title_text(s->text, title) : NULL, name->line))
		return statements(c, s, sec);
	if (!skip_braces(s))
		return false;
	blank(s->text, name->start, s->at);
	return true;
}

/* name = value: the equals sign has been read. */
static bool assignment(struct conf *c, struct conf_scan *s, const struct conf_token *name,
                       const struct conf_section *in)
{
	size_t len = name->end - name->start;
	const struct conf_option *o = conf_option_find(in, s->text + name->start, len);
	struct conf_scan peek = *s;
	struct conf_token first = conf_scan_next(&peek);

	if (!skip_value(s))
		return false;
	if (o && (o->kind == CONF_LIST || !is_mark(&first, '{')))
		return true;
	if (o)
		conf_error(c, name->line, "%s: is a list, expected one value", o->name);
	else
		unknown(c, in, s->text + name->start, len, name->line);
	blank(s->text, name->start, s->at);
	return true;
}

/* One statement, its first token being name. */
static bool statement(struct conf *c, struct conf_scan *s, const struct conf_token *name,
                      const struct conf_section *in)
{
	struct conf_token t = conf_scan_next(s), title = t;

	if (is_mark(&t, '=') || is_mark(&t, '+'))
		return assignment(c, s, name, in);
	if (is_text(&t))
		t = conf_scan_next(s);
	if (!is_mark(&t, '{'))
		return false;
	if (in != &conf_top) {
		conf_error(c, name->line,
		           "%.*s: is a section in a section, expected %s to end before it",
		           (int)(name->end - name->start), s->text + name->start, in->name);
		if (!skip_braces(s))
			return false;
		blank(s->text, name->start, s->at);
		return true;
	}
	return section(c, s, name, is_text(&title) ? &title : NULL);
}

/* Until the closing brace, or at the top until the end. */
static bool statements(struct conf *c, struct conf_scan *s, const struct conf_section *in)
{
	for (;;) {
		struct conf_token t = conf_scan_next(s);

		if (t.kind == CONF_TOKEN_END && in != &conf_top) {
			conf_error(c, c->section[c->section_count - 1].line,
			           "%s: begins here and does not end, expected its closing brace",
			           in->name);
			s->line = -1;   /* said */
			return false;
		}
		if (is_mark(&t, '}') || t.kind == CONF_TOKEN_END)
			return is_mark(&t, '}') == (in != &conf_top);
		if (t.kind != CONF_TOKEN_WORD || !statement(c, s, &t, in))
			return false;
	}
}

int conf_scan_statements(struct conf *c, char *text, size_t len)
{
	struct conf_scan s = { .text = text, .len = len, .line = 1 };

	return statements(c, &s, &conf_top) ? 0 : s.line;
}
