#include "filters/dkim_tag.h"

#include <string.h>
#include <strings.h>

#include "base/base64.h"

static bool is_wsp(char c)
{
	return c == ' ' || c == '\t';
}

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_blank(char c)
{
	return is_wsp(c) || c == '\r' || c == '\n';
}

/* VALCHAR of section 3.2, and UTF-8 as RFC 8616 adds it. */
static bool is_valchar(char c)
{
	unsigned char u = (unsigned char)c;

	return u > 0x20 && u != 0x7f && c != ';';
}

/* Length of the FWS at p: blanks, with CRLF only before a blank. -1: a CR or LF that folds nothing. */
static ptrdiff_t skip_fws(const char *p, size_t len)
{
	size_t i = 0;

	while (i < len && is_blank(p[i])) {
		if (is_wsp(p[i])) {
			i++;
			continue;
		}
		if (len - i < 3 || p[i] != '\r' || p[i + 1] != '\n' || !is_wsp(p[i + 2]))
			return -1;
		i += 3;
	}
	return (ptrdiff_t)i;
}

/* Lines that end the text with CRLF and nothing after: the field's own end, not part of the list. */
static size_t without_final_crlf(const char *p, size_t len)
{
	return len >= 2 && p[len - 2] == '\r' && p[len - 1] == '\n' ? len - 2 : len;
}

static const char *value_parse(const char *p, size_t len, struct dkim_tag *tag)
{
	size_t i = 0, end = 0;

	while (i < len) {
		ptrdiff_t blank = skip_fws(p + i, len - i);

		if (blank < 0)
			return "a line end that folds nothing";
		i += (size_t)blank;
		if (i == len)
			break;
		if (!is_valchar(p[i]))
			return "a character that no value may hold";
		do
			end = ++i;
		while (i < len && is_valchar(p[i]));
	}
	tag->value = p;
	tag->len = end;
	return NULL;
}

/* One "name = value", without the semicolon. Names with a hyphen ("x-note") are against the grammar and are about. */
static const char *spec_parse(const char *p, size_t len, struct dkim_tag *tag)
{
	ptrdiff_t blank = skip_fws(p, len);
	size_t i = 0;

	if (blank < 0)
		return "a line end that folds nothing";
	p += blank;
	len -= (size_t)blank;
	while (i < len && (is_alnum(p[i]) || p[i] == '_' || p[i] == '-'))
		i++;
	if (i == 0 || !is_alnum(p[0]) || (p[0] >= '0' && p[0] <= '9'))
		return "a tag without a name";
	tag->name = p;
	tag->name_len = i;
	blank = skip_fws(p + i, len - i);
	if (blank < 0 || i + (size_t)blank == len || p[i + (size_t)blank] != '=')
		return "a tag without =";
	i += (size_t)blank + 1;
	blank = skip_fws(p + i, len - i);
	if (blank < 0)
		return "a line end that folds nothing";
	i += (size_t)blank;
	return value_parse(p + i, len - i, tag);
}

static bool same_name(const struct dkim_tag *a, const struct dkim_tag *b)
{
	return a->name_len == b->name_len && memcmp(a->name, b->name, a->name_len) == 0;
}

const char *dkim_tags_parse(const char *p, size_t len, struct dkim_tags *out)
{
	size_t pos = 0;

	out->count = 0;
	len = without_final_crlf(p, len);
	for (;;) {
		const char *semi = len > pos ? memchr(p + pos, ';', len - pos) : NULL;
		size_t end = semi ? (size_t)(semi - p) : len;
		struct dkim_tag tag;
		const char *why;

		/* The last semicolon may stand at the end, with blanks after it. */
		if (!semi && out->count > 0 && skip_fws(p + pos, end - pos) == (ptrdiff_t)(end - pos))
			return NULL;
		why = spec_parse(p + pos, end - pos, &tag);
		if (why)
			return why;
		for (size_t i = 0; i < out->count; i++)
			if (same_name(&out->tag[i], &tag))
				return "a tag that is given twice";
		if (out->count == DKIM_TAGS_MAX)
			return "too many tags";
		out->tag[out->count++] = tag;
		if (!semi)
			return NULL;
		pos = end + 1;
	}
}

const struct dkim_tag *dkim_tags_find(const struct dkim_tags *t, const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < t->count; i++)
		if (t->tag[i].name_len == len && memcmp(t->tag[i].name, name, len) == 0)
			return &t->tag[i];
	return NULL;
}

bool dkim_tag_is(const struct dkim_tag *t, const char *word)
{
	return t->len == strlen(word) && strncasecmp(t->value, word, t->len) == 0;
}

bool dkim_tag_item(const struct dkim_tag *t, size_t *pos, const char **item, size_t *len)
{
	const char *p, *colon;
	size_t n;

	if (*pos > t->len)
		return false;
	p = t->value + *pos;
	n = t->len - *pos;
	colon = n > 0 ? memchr(p, ':', n) : NULL;
	if (colon)
		n = (size_t)(colon - p);
	*pos += n + 1;
	while (n > 0 && is_blank(*p))
		p++, n--;
	while (n > 0 && is_blank(p[n - 1]))
		n--;
	*item = p;
	*len = n;
	return true;
}

bool dkim_tag_has(const struct dkim_tag *t, const char *word)
{
	const char *item;
	size_t pos = 0, len;

	while (dkim_tag_item(t, &pos, &item, &len))
		if (len == strlen(word) && strncasecmp(item, word, len) == 0)
			return true;
	return false;
}

ptrdiff_t dkim_tag_base64(const char *p, size_t len, unsigned char *out, size_t room)
{
	size_t digits = 0, pads = 0, n = 0;
	uint32_t bits = 0;

	for (size_t i = 0; i < len; i++) {
		int v;

		if (is_blank(p[i]))
			continue;
		if (p[i] == '=') {
			if (++pads > 2)
				return -1;
			continue;
		}
		v = base64_digit(p[i]);
		if (v < 0 || pads > 0)
			return -1;
		bits = bits << 6 | (uint32_t)v;
		if (++digits % 4 == 1)
			continue;
		if (n == room)
			return -1;
		/* After the 2nd, 3rd and 4th digit of a group 4, 2 and 0 bits are left over. */
		out[n++] = (unsigned char)(bits >> (digits % 4 == 0 ? 0 : 8 - 2 * (digits % 4)));
	}
	if (digits % 4 == 1 || (pads > 0 && (digits + pads) % 4 != 0))
		return -1;
	return (ptrdiff_t)n;
}

int dkim_tag_number(const struct dkim_tag *t, int max_digits, uint64_t *out)
{
	uint64_t v = 0;

	if (t->len == 0 || t->len > (size_t)max_digits)
		return -1;
	for (size_t i = 0; i < t->len; i++) {
		if (t->value[i] < '0' || t->value[i] > '9')
			return -1;
		v = v * 10 + (uint64_t)(t->value[i] - '0');
	}
	*out = v;
	return 0;
}
