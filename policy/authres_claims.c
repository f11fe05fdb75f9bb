#include "policy/authres.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "filters/cfws.h"
#include "filters/domain.h"

enum { ID_MAX = 512 };

/* What an authserv-id without quotes may not hold (RFC 2045: tspecials). */
static const char NO_TOKEN[] = ")<>@,:\\\"/[]?=";

struct cursor {
	const char *p, *end;
};

/* False: a comment does not end or is too deep. */
static bool skip_cfws(struct cursor *c)
{
	const char *to = cfws_skip(c->p, c->end);

	if (to)
		c->p = to;
	return to != NULL;
}

/* The authserv-id: a quoted string or whatever runs to a blank, comment or semicolon. False: no end, too long, or nothing. */
static bool read_id(struct cursor *c, char out[ID_MAX], size_t *len)
{
	bool quoted = c->p < c->end && *c->p == '"';

	*len = 0;
	if (quoted)
		c->p++;
	for (; c->p < c->end; c->p++) {
		if (quoted ? *c->p == '"' : cfws_blank(*c->p) || strchr("(;", *c->p))
			break;
		if (quoted && *c->p == '\\' && c->end - c->p > 1)
			c->p++;
		if (quoted && (*c->p == '\r' || *c->p == '\n'))         /* a fold in it */
			continue;
		if (*len == ID_MAX - 1 || !*c->p || (!quoted && strchr(NO_TOKEN, *c->p)))
			return false;
		out[(*len)++] = *c->p;
	}
	out[*len] = '\0';
	if (quoted && c->p++ == c->end)
		return false;
	return *len > 0;
}

/* What may follow: a version, then a semicolon or nothing. */
static bool read_rest(struct cursor *c)
{
	if (!skip_cfws(c))
		return false;
	while (c->p < c->end && *c->p >= '0' && *c->p <= '9')
		c->p++;
	return skip_cfws(c) && (c->p == c->end || *c->p == ';');
}

/* Control characters, and what is not ASCII and no domain name: some readers take such octets for blanks (RFC 8601 section 5 asks what they would believe). */
static bool is_odd(const char *id)
{
	char domain[DOMAIN_MAX];
	bool eight_bit = false;

	for (const char *p = id; *p; p++) {
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			return true;
		eight_bit |= (unsigned char)*p >= 0x80;
	}
	return eight_bit && domain_canonical(id, strlen(id), domain) < 0;
}

/* Domain names in the form in which they are compared, IDNs as A-labels; what is no domain name in lower case. */
static void normalize(const char *id, char out[ID_MAX])
{
	size_t len = strnlen(id, ID_MAX - 1);

	if (domain_canonical(id, len, out) == 0)
		return;
	for (size_t i = 0; i < len; i++)
		out[i] = id[i] >= 'A' && id[i] <= 'Z' ? (char)(id[i] + ('a' - 'A')) : id[i];
	out[len] = '\0';
}

/* Whether id, already in lower case, stands somewhere in p, case ignored. */
static bool contains(const char *p, size_t len, const char *id)
{
	size_t n = strlen(id);

	for (size_t i = 0; n > 0 && i + n <= len; i++)
		if (strncasecmp(p + i, id, n) == 0)
			return true;
	return false;
}

/* For what cannot be parsed: the id as it stands, or in what is left when comments, blanks, quotes and backslashes are gone. */
static bool contains_somehow(const char *body, size_t len, const char *id)
{
	char *bare;
	size_t n = 0;
	int depth = 0;
	bool found = contains(body, len, id);

	if (found)
		return true;
	bare = malloc(len + 1);
	if (!bare)
		return true;            /* cannot tell: better removed than believed */
	for (size_t i = 0; i < len; i++) {
		depth += body[i] == '(';
		if (depth == 0 && !cfws_blank(body[i]) && body[i] != '"' && body[i] != '\\' && body[i])
			bare[n++] = body[i];
		depth -= body[i] == ')' && depth > 0;
	}
	found = contains(bare, n, id);
	free(bare);
	return found;
}

bool authres_claims(const char *body, size_t len, const char *authserv_id)
{
	struct cursor c = { body, body + len };
	char raw[ID_MAX] = "", theirs[ID_MAX], ours[ID_MAX];
	size_t n;

	normalize(authserv_id, ours);
	if (skip_cfws(&c) && read_id(&c, raw, &n) && read_rest(&c) && !is_odd(raw)) {
		normalize(raw, theirs);
		return strcmp(theirs, ours) == 0;
	}
	return contains_somehow(body, len, ours) || contains_somehow(body, len, authserv_id);
}

/* Behind the authserv-id and its version, which have been read. */
static void results_of(struct cursor *c)
{
	while (c->p < c->end && (*c->p == ';' || cfws_blank(*c->p)))
		c->p++;
	while (c->end > c->p && (c->end[-1] == ';' || cfws_blank(c->end[-1])))
		c->end--;
}

bool authres_gather(const char *body, size_t len, const char *authserv_id, struct buf *out)
{
	struct cursor c = { body, body + len };
	char raw[ID_MAX] = "", theirs[ID_MAX], ours[ID_MAX];
	size_t n;

	normalize(authserv_id, ours);
	if (!skip_cfws(&c) || !read_id(&c, raw, &n) || !read_rest(&c))
		return false;
	normalize(raw, theirs);
	if (strcmp(theirs, ours) != 0)
		return false;
	results_of(&c);
	if (out->len == 0)
		buf_adds(out, authserv_id);
	if (c.p < c.end && !(c.end - c.p == 4 && strncasecmp(c.p, "none", 4) == 0)) {
		buf_adds(out, ";\r\n\t");
		buf_add(out, c.p, (size_t)(c.end - c.p));
	}
	return true;
}
