#include "policy/authres.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <libpsl.h>

enum { ID_MAX = 512, COMMENTS_DEEP = 32 };

/* What an authserv-id without quotes may not hold (RFC 2045: tspecials). */
static const char NO_TOKEN[] = ")<>@,:\\\"/[]?=";

struct cursor {
	const char *p, *end;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Past a comment; false if it does not end or is too deep. */
static bool skip_comment(struct cursor *c)
{
	int depth = 0;

	for (; c->p < c->end; c->p++) {
		if (*c->p == '\\' && c->end - c->p > 1)
			c->p++;
		else if (*c->p == '(' && ++depth > COMMENTS_DEEP)
			return false;
		else if (*c->p == ')' && --depth == 0) {
			c->p++;
			return true;
		}
	}
	return false;
}

static bool skip_cfws(struct cursor *c)
{
	while (c->p < c->end && (is_blank(*c->p) || *c->p == '('))
		if (*c->p != '(')
			c->p++;
		else if (!skip_comment(c))
			return false;
	return true;
}

/* The authserv-id: a quoted string or whatever runs to a blank, comment or semicolon. False: no end, too long, or nothing. */
static bool read_id(struct cursor *c, char out[ID_MAX], size_t *len)
{
	bool quoted = c->p < c->end && *c->p == '"';

	*len = 0;
	if (quoted)
		c->p++;
	for (; c->p < c->end; c->p++) {
		if (quoted ? *c->p == '"' : is_blank(*c->p) || strchr("(;", *c->p))
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

static bool utf8_add(char *out, size_t room, size_t *n, uint32_t cp)
{
	unsigned char b[4];
	size_t len = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;

	if (cp > 0x10ffff || *n + len >= room)
		return false;
	b[0] = (unsigned char)(len == 1 ? cp : (0xf00u >> len & 0xff) | cp >> 6 * (len - 1));
	for (size_t i = 1; i < len; i++)
		b[i] = (unsigned char)(0x80 | (cp >> 6 * (len - 1 - i) & 0x3f));
	memcpy(out + *n, b, len);
	*n += len;
	return true;
}

/* RFC 3492 section 6.2: the code points of a label that stands behind "xn--". Their number, or -1. */
static int punycode_decode(const char *p, size_t len, uint32_t *out, size_t room)
{
	const char *dash = len > 0 ? memrchr(p, '-', len) : NULL;
	uint32_t n = 128, i = 0, bias = 72;
	size_t count = dash ? (size_t)(dash - p) : 0, at = dash ? count + 1 : 0;

	if (count > room)
		return -1;
	for (size_t k = 0; k < count; k++)
		out[k] = (unsigned char)p[k];
	while (at < len) {
		uint32_t old = i, w = 1, delta;

		for (uint32_t k = 36;; k += 36) {
			uint32_t t = k <= bias ? 1 : k >= bias + 26 ? 26 : k - bias, digit;

			if (at == len)
				return -1;
			digit = p[at] >= 'a' && p[at] <= 'z' ? (uint32_t)(p[at] - 'a') :
				p[at] >= '0' && p[at] <= '9' ? (uint32_t)(p[at] - '0') + 26 : 36;
			at++;
			if (digit == 36 || digit > (UINT32_MAX - i) / w)
				return -1;
			i += digit * w;
			if (digit < t)
				break;
			if (w > UINT32_MAX / (36 - t))
				return -1;
			w *= 36 - t;
		}
		if (++count > room)
			return -1;
		delta = old == 0 ? i / 700 : (i - old) / 2;
		delta += delta / (uint32_t)count;
		for (bias = 0; delta > 455; bias += 36)
			delta /= 35;
		bias += 36 * delta / (delta + 38);
		n += i / (uint32_t)count;
		i %= (uint32_t)count;
		memmove(out + i + 1, out + i, (count - 1 - i) * sizeof(*out));
		out[i++] = n;
	}
	return (int)count;
}

/* Append the label in lower case, decoded if it is an A-label. */
static bool label_add(const char *p, size_t len, char *out, size_t room, size_t *n)
{
	uint32_t cp[64];
	int count = -1;

	if (len > 4 && strncmp(p, "xn--", 4) == 0)
		count = punycode_decode(p + 4, len - 4, cp, sizeof(cp) / sizeof(cp[0]));
	for (int i = 0; i < count; i++)
		if (!utf8_add(out, room, n, cp[i]))
			return false;
	if (count >= 0)
		return true;
	if (*n + len >= room)
		return false;
	memcpy(out + *n, p, len);
	*n += len;
	return true;
}

/* Lower case, A-labels as U-labels, no final dot: what two spellings of one name have in common. Cut when it is too long. */
static void normalize(const char *id, char out[ID_MAX])
{
	char ascii[ID_MAX];
	size_t n = 0, len = strnlen(id, ID_MAX - 1);
	char *lower = NULL;

	for (size_t i = 0; i < len; i++)
		ascii[i] = id[i] >= 'A' && id[i] <= 'Z' ? (char)(id[i] + ('a' - 'A')) : id[i];
	while (len > 0 && ascii[len - 1] == '.')
		len--;
	ascii[len] = '\0';
	for (size_t at = 0; at <= len;) {
		size_t label = strcspn(ascii + at, ".");

		if (!label_add(ascii + at, label, out, ID_MAX, &n))
			break;
		at += label + 1;
		if (at <= len && n < ID_MAX - 1)
			out[n++] = '.';
	}
	out[n] = '\0';
	for (size_t i = 0; i < n; i++) {
		if ((unsigned char)out[i] < 0x80)
			continue;
		if (psl_str_to_utf8lower(out, "utf-8", NULL, &lower) == PSL_SUCCESS && lower && strlen(lower) < ID_MAX)
			memcpy(out, lower, strlen(lower) + 1);
		free(lower);
		return;
	}
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
		if (depth == 0 && !is_blank(body[i]) && body[i] != '"' && body[i] != '\\' && body[i])
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
	char raw[ID_MAX], theirs[ID_MAX], ours[ID_MAX];
	size_t n;

	normalize(authserv_id, ours);
	if (skip_cfws(&c) && read_id(&c, raw, &n) && read_rest(&c)) {
		normalize(raw, theirs);
		return strcmp(theirs, ours) == 0;
	}
	return contains_somehow(body, len, ours) || contains_somehow(body, len, authserv_id);
}
