#include "filters/authres_read.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "filters/cfws.h"

/* False, and broken: a comment does not end or is too deep. */
static bool skip_cfws(struct authres_read *r)
{
	const char *to = cfws_skip(r->p, r->end);

	if (to)
		r->p = to;
	else
		r->broken = true;
	return to != NULL;
}

static bool is_keyword_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* Letters, digits and hyphens in lower case. False: none, or too many. */
static bool read_keyword(struct authres_read *r, char *out, size_t room)
{
	size_t n = 0;

	for (; r->p < r->end && is_keyword_char(*r->p); r->p++) {
		if (n + 1 >= room)
			return false;
		out[n++] = *r->p >= 'A' && *r->p <= 'Z' ? (char)(*r->p + ('a' - 'A')) : *r->p;
	}
	out[n] = '\0';
	return n > 0;
}

/* The rest of a quoted string, at *n of out. */
static bool read_quoted(struct authres_read *r, char *out, size_t room, size_t *n)
{
	for (r->p++; r->p < r->end && *r->p != '"'; r->p++) {
		if (*r->p == '\\' && r->end - r->p > 1)
			r->p++;
		if (*r->p == '\r' || *r->p == '\n')     /* a fold in it */
			continue;
		if (!*r->p || *n + 1 >= room)
			return false;
		out[(*n)++] = *r->p;
	}
	return r->p < r->end && *r->p++ == '"';
}

/*
 * A value: to the next blank, comment or semicolon, quoted strings in it unquoted ("a b"@example.org). A quote opens such a string anywhere: an
 * end that the writer did not mean is never seen before the one that he did.
 */
static bool read_value(struct authres_read *r, char *out, size_t room)
{
	size_t n = 0;

	while (r->p < r->end && !cfws_blank(*r->p) && *r->p != '(' && *r->p != ';') {
		if (*r->p == '"') {
			if (!read_quoted(r, out, room, &n))
				return false;
			continue;
		}
		if (!*r->p || n + 1 >= room)
			return false;
		out[n++] = *r->p++;
	}
	out[n] = '\0';
	return true;
}

static bool skip_char(struct authres_read *r, char want)
{
	if (r->p == r->end || *r->p != want)
		return false;
	r->p++;
	return true;
}

bool authres_read_begin(struct authres_read *r, const char *p, size_t len)
{
	memset(r, 0, sizeof(*r));
	r->p = p;
	r->end = p + len;
	if (!skip_cfws(r) || !read_value(r, r->id, sizeof(r->id)) || !r->id[0] || !skip_cfws(r)) {
		r->broken = true;
		return false;
	}
	while (r->p < r->end && *r->p >= '0' && *r->p <= '9')           /* the version */
		r->p++;
	if (!skip_cfws(r) || (r->p < r->end && *r->p != ';'))
		r->broken = true;
	return !r->broken;
}

/* type.property=value, or property=value; what is beyond the bound is read and forgotten. */
static bool read_property(struct authres_read *r, struct authres_result *out)
{
	char type[AUTHRES_WORD_MAX], name[AUTHRES_WORD_MAX], value[AUTHRES_VALUE_MAX];
	bool typed = false;

	if (!read_keyword(r, type, sizeof(type)) || !skip_cfws(r))
		return false;
	if (skip_char(r, '.')) {
		typed = true;
		if (!skip_cfws(r) || !read_keyword(r, name, sizeof(name)) || !skip_cfws(r))
			return false;
	}
	if (!skip_char(r, '=') || !skip_cfws(r) || !read_value(r, value, sizeof(value)))
		return false;
	if (out->count < AUTHRES_PROPERTIES_MAX) {
		struct authres_property *to = &out->property[out->count++];

		if (typed)
			snprintf(to->name, sizeof(to->name), "%s.%s", type, name);
		else
			snprintf(to->name, sizeof(to->name), "%s", type);
		memcpy(to->value, value, sizeof(value));
	}
	return true;
}

/* method [/version] = word, and its properties. */
static bool read_result(struct authres_read *r, struct authres_result *out)
{
	if (!read_keyword(r, out->method, sizeof(out->method)) || !skip_cfws(r))
		return false;
	if (skip_char(r, '/')) {
		char version[8];

		if (!skip_cfws(r) || !read_keyword(r, version, sizeof(version)) || !skip_cfws(r))
			return false;
	}
	if (!skip_char(r, '=') || !skip_cfws(r) || !read_keyword(r, out->word, sizeof(out->word)))
		return false;
	if (r->p < r->end && !cfws_blank(*r->p) && *r->p != '(' && *r->p != ';')
		return false;                   /* pass.but-not-really */
	while (skip_cfws(r) && r->p < r->end && *r->p != ';')
		if (!read_property(r, out))
			return false;
	return !r->broken;
}

bool authres_read_next(struct authres_read *r, struct authres_result *out)
{
	static const char none[] = "none";
	size_t left;

	out->count = 0;
	out->method[0] = out->word[0] = '\0';
	while (!r->broken && skip_cfws(r) && skip_char(r, ';') && skip_cfws(r)) {
		left = (size_t)(r->end - r->p);
		if (left == 0)
			return false;                   /* a final semicolon: against the grammar, and about */
		if (*r->p == ';')
			continue;
		if (left >= 4 && strncasecmp(r->p, none, 4) == 0 && (left == 4 || cfws_blank(r->p[4]) || r->p[4] == '(' || r->p[4] == ';')) {
			r->p += 4;
			if (!skip_cfws(r) || r->p < r->end || r->count > 0)
				r->broken = true;
			return false;
		}
		if (r->count++ == AUTHRES_RESULTS_MAX || !read_result(r, out)) {
			r->broken = true;
			return false;
		}
		return true;
	}
	if (r->p < r->end)
		r->broken = true;
	return false;
}

const char *authres_result_value(const struct authres_result *r, const char *name)
{
	for (size_t i = 0; i < r->count; i++)
		if (strcmp(r->property[i].name, name) == 0)
			return r->property[i].value;
	return NULL;
}
