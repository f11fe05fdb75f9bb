#include "policy/authres_text.h"

#include <string.h>

enum { COLUMNS = 77, WORD_MAX = 1024 };

static bool is_token_char(char c)
{
	return c > ' ' && c < 0x7f && !strchr("()<>@,;:\\\"/[]?=", c);
}

static bool is_atom_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("!#$%&'*+-/=?^_`{|}~", c));
}

static bool is_token(const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!is_token_char(p[i]))
			return false;
	return len > 0;
}

static bool is_dot_atom(const char *p, size_t len)
{
	char before = '.';

	for (size_t i = 0; i < len; before = p[i++])
		if (p[i] == '.' ? before == '.' : !is_atom_char(p[i]))
			return false;
	return before != '.';
}

/* local@domain, which a property value may be without quotes (RFC 8601 section 2.2: pvalue). */
static bool is_address(const char *p, size_t len)
{
	const char *at = len > 0 ? memrchr(p, '@', len) : NULL;

	if (!at || !is_dot_atom(p, (size_t)(at - p)))
		return false;
	p += at + 1 - p;
	return is_dot_atom(p, strlen(p)) && is_token(p, strlen(p));
}

static char harmless(char c)
{
	return c >= ' ' && c < 0x7f ? c : '?';
}

static void new_line(struct authres_text *x)
{
	buf_adds(x->out, "\r\n\t");
	x->column = 8;
	x->fresh = true;
}

/* A word, on this line with a blank before it, or on the next. */
static void put(struct authres_text *x, const char *word, size_t len)
{
	if (!x->fresh && x->column + 1 + len > COLUMNS)
		new_line(x);
	if (!x->fresh) {
		buf_addc(x->out, ' ');
		x->column++;
	}
	buf_add(x->out, word, len);
	x->column += len;
	x->fresh = false;
}

/* What could not be put together is not left out: the whole field is not made. */
static void put_made(struct authres_text *x, const struct buf *w)
{
	x->out->failed |= w->failed;
	put(x, buf_str(w), w->len);
}

void authres_text_begin(struct authres_text *x, const char *name)
{
	buf_addf(x->out, "%s:", name);
	x->column = strlen(name) + 1;
	x->fresh = false;
}

void authres_text_line(struct authres_text *x)
{
	buf_addc(x->out, ';');
	new_line(x);
	x->lines++;
}

void authres_text_none(struct authres_text *x)
{
	buf_adds(x->out, "; none");
}

void authres_text_end(struct authres_text *x)
{
	buf_adds(x->out, "\r\n");
}

void authres_text_raw(struct authres_text *x, const char *word)
{
	put(x, word, strlen(word));
}

static void value_write(const struct authres_text *x, struct buf *w, const char *value, size_t max)
{
	size_t len = strnlen(value, max);
	bool whole = value[len] == '\0';

	if (x->dot_atom ? is_dot_atom(value, len) : is_token(value, len) || (whole && is_address(value, len))) {
		buf_add(w, value, len);
		return;
	}
	buf_addc(w, '"');
	for (size_t i = 0; i < len; i++) {
		if (value[i] == '"' || value[i] == '\\')
			buf_addc(w, '\\');
		buf_addc(w, harmless(value[i]));
	}
	buf_addc(w, '"');
}

void authres_text_value(struct authres_text *x, const char *value, size_t max)
{
	AUTO(buf) struct buf w = BUF_INIT(WORD_MAX);

	value_write(x, &w, value, max);
	put_made(x, &w);
}

void authres_text_pair(struct authres_text *x, const char *name, const char *value, size_t max)
{
	AUTO(buf) struct buf w = BUF_INIT(WORD_MAX);

	if (x->separator && x->separator[0]) {
		buf_adds(x->out, x->separator);
		x->column += strlen(x->separator);
	}
	buf_addf(&w, "%s=", name);
	if (max > 0)
		value_write(x, &w, value, max);
	else
		buf_adds(&w, value);
	put_made(x, &w);
}

void authres_text_comment(struct authres_text *x, const char *text, size_t max)
{
	AUTO(buf) struct buf w = BUF_INIT(WORD_MAX);
	size_t len = strnlen(text, max);

	buf_addc(&w, '(');
	for (size_t i = 0; i < len; i++) {
		if (text[i] == ' ') {
			if (w.len > 0 || w.failed)
				put_made(x, &w);
			buf_clear(&w);
			continue;
		}
		if (strchr("()\\", text[i]))
			buf_addc(&w, '\\');
		buf_addc(&w, harmless(text[i]));
	}
	buf_addc(&w, ')');
	put_made(x, &w);
}
