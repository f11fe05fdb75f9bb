#include "base/sasl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/base64.h"
#include "base/utf8.h"

/* The names of RFC 4616, 2195, 2831, 7628, 5802, 7677, 4752; LOGIN, XOAUTH2 and NTLM have none. In the order in which they are offered. */
static const struct { const char *name; unsigned bit; } names[] = {
	{ "PLAIN", SASL_PLAIN },
	{ "LOGIN", SASL_LOGIN },
	{ "CRAM-MD5", SASL_CRAM_MD5 },
	{ "DIGEST-MD5", SASL_DIGEST_MD5 },
	{ "SCRAM-SHA-256", SASL_SCRAM_SHA_256 },
	{ "SCRAM-SHA-1", SASL_SCRAM_SHA_1 },
	{ "XOAUTH2", SASL_XOAUTH2 },
	{ "OAUTHBEARER", SASL_OAUTHBEARER },
	{ "NTLM", SASL_NTLM },
	{ "GSSAPI", SASL_GSSAPI },
};

/* What is decoded on the stack. */
enum { SCRATCH = 1024 };

unsigned sasl_find(const char *name, size_t len)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (len == strlen(names[i].name) && strncasecmp(name, names[i].name, len) == 0)
			return names[i].bit;
	return 0;
}

unsigned sasl_list(const char *p, size_t len)
{
	unsigned set = 0;

	for (size_t i = 0; i < len;) {
		size_t n = 0;

		while (i + n < len && p[i + n] != ' ' && p[i + n] != '\t')
			n++;
		set |= sasl_find(p + i, n);
		i += n + 1;
	}
	return set;
}

const char *sasl_name(unsigned mechanism)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].bit == mechanism)
			return names[i].name;
	return "";
}

const char *sasl_names(unsigned set, char out[SASL_NAMES_MAX])
{
	size_t n = 0;

	out[0] = '\0';
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (set & names[i].bit)
			n += (size_t)snprintf(out + n, SASL_NAMES_MAX - n, "%s%s", n ? " " : "", names[i].name);
	return out;
}

/* Of letters that are right; how many octets there are. At most size are written. */
static size_t decode(const char *p, size_t len, char *out, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i + 3 < len && n + 3 <= size; i += 4) {
		unsigned v = (unsigned)base64_digit(p[i]) << 18 | (unsigned)base64_digit(p[i + 1]) << 12;

		v |= (p[i + 2] == '=' ? 0 : (unsigned)base64_digit(p[i + 2]) << 6) | (p[i + 3] == '=' ? 0 : (unsigned)base64_digit(p[i + 3]));
		out[n++] = (char)(v >> 16);
		if (p[i + 2] != '=')
			out[n++] = (char)(v >> 8);
		if (p[i + 3] != '=')
			out[n++] = (char)v;
	}
	return n;
}

bool sasl_base64_ok(const char *p, size_t len)
{
	size_t pads = 0;

	if (len % 4 != 0)
		return false;
	while (pads < 2 && pads < len && p[len - 1 - pads] == '=')
		pads++;
	for (size_t i = 0; i + pads < len; i++)
		if (base64_digit(p[i]) < 0)
			return false;
	return true;
}

/* --- the user's name --- */

/* It is kept if it is one that can be shown as it is: no two users look the same then. */
void sasl_user_keep(char user[SASL_USER_MAX + 1], const char *p, size_t len)
{
	size_t n;

	user[0] = '\0';
	if (len == 0 || len > SASL_USER_MAX)
		return;
	for (size_t i = 0; i < len; i += n) {
		n = utf8_len(p + i, len - i);
		if (n == 0 || (unsigned char)p[i] < 0x20 || p[i] == 0x7f)
			return;
		if ((unsigned char)p[i] == 0xc2 && (unsigned char)p[i + 1] < 0xa0)      /* C1 controls */
			return;
	}
	memcpy(user, p, len);
	user[len] = '\0';
}

/*
 * false: no name that all servers read in the same way. One that stops at a NUL, say, would try another account than the one that is counted. Octets that are
 * no UTF-8 are a name, of which nothing can be said.
 */
static bool keep(struct sasl_login *l, const char *p, size_t len)
{
	if (len == 0 || len > SASL_USER_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)p[i] < 0x20 || p[i] == 0x7f)
			return false;
	sasl_user_keep(l->user, p, len);
	return true;
}

/* authzid NUL authcid NUL passwd, RFC 4616 2: whose password it is */
static bool plain(struct sasl_login *l, const char *p, size_t len)
{
	const char *first = memchr(p, '\0', len), *second;

	second = first ? memchr(first + 1, '\0', len - (size_t)(first + 1 - p)) : NULL;
	if (!second || memchr(second + 1, '\0', len - (size_t)(second + 1 - p)))
		return false;
	l->for_other = first > p && (first - p != second - first - 1 || memcmp(p, first + 1, (size_t)(first - p)) != 0);
	return keep(l, first + 1, (size_t)(second - first - 1));
}

/* user SP digest, RFC 2195 2 */
static bool cram(struct sasl_login *l, const char *p, size_t len)
{
	const char *blank = memrchr(p, ' ', len);
	size_t digest = blank ? (size_t)(p + len - blank - 1) : 0;

	if (digest != 32)
		return false;
	for (const char *c = blank + 1; c < p + len; c++)
		if (!(*c >= '0' && *c <= '9') && !((*c | 0x20) >= 'a' && (*c | 0x20) <= 'f'))
			return false;
	return keep(l, p, (size_t)(blank - p));
}

/* "=2C" and "=3D" of a saslname, RFC 5801 4 */
static bool keep_saslname(struct sasl_login *l, const char *p, size_t len)
{
	char name[SASL_USER_MAX];
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		char c = p[i];

		if (n == sizeof(name))
			return false;
		if (c == '=') {
			if (len - i < 3 || (memcmp(p + i, "=2C", 3) != 0 && memcmp(p + i, "=3D", 3) != 0))
				return false;
			c = p[i + 2] == 'C' ? ',' : '=';
			i += 2;
		}
		name[n++] = c;
	}
	return keep(l, name, n);
}

/* A GS2 header, RFC 5801 4: "n,a=name," or "y,,"; in *authzid what it holds. NULL: it is none. */
static const char *gs2(const char *p, size_t len, const char **authzid, size_t *authzid_len)
{
	const char *comma;

	*authzid_len = 0;
	if (len < 3 || (p[0] != 'n' && p[0] != 'y') || p[1] != ',')
		return NULL;
	comma = memchr(p + 2, ',', len - 2);
	if (!comma || (comma > p + 2 && (comma - p < 4 || memcmp(p + 2, "a=", 2) != 0)))
		return NULL;
	if (comma > p + 2) {
		*authzid = p + 4;
		*authzid_len = (size_t)(comma - p) - 4;
	}
	return comma + 1;
}

/* gs2-header "n=" saslname ",r=" nonce, RFC 5802 7 */
static bool scram(struct sasl_login *l, const char *p, size_t len)
{
	const char *authzid, *bare = NULL, *end;
	size_t n;

	bare = gs2(p, len, &authzid, &n);
	l->for_other = bare && n > 0;
	n = bare ? (size_t)(p + len - bare) : 0;
	end = n > 2 && memcmp(bare, "n=", 2) == 0 ? memchr(bare, ',', n) : NULL;
	return end && !memchr(p, '\0', len) && keep_saslname(l, bare + 2, (size_t)(end - bare) - 2);
}

/* "n,a=user@example.com,^Ahost=...^Aauth=Bearer ...^A^A", RFC 7628 3.1: the header and nothing else before ^A, where servers look for another name */
static bool oauthbearer(struct sasl_login *l, const char *p, size_t len)
{
	const char *authzid = NULL, *rest;
	size_t n;

	rest = gs2(p, len, &authzid, &n);
	if (!rest || rest == p + len || *rest != '\1' || memchr(p, '\0', len))
		return false;
	return n == 0 || keep_saslname(l, authzid, n);
}

/* "user=name^Aauth=Bearer token^A^A": the name once, wherever servers would find it. Without one it is the token's affair. */
static bool xoauth2(struct sasl_login *l, const char *p, size_t len)
{
	const char *end = p + len, *next;
	bool named = false;

	if (memchr(p, '\0', len))
		return false;
	for (; p < end; p = next < end ? next + 1 : end) {
		next = memchr(p, '\1', (size_t)(end - p));
		next = next ? next : end;
		if (next - p < 5 || strncasecmp(p, "user=", 5) != 0)
			continue;
		if (named || next == end || !keep(l, p + 5, (size_t)(next - p) - 5))
			return false;
		named = true;
	}
	return true;
}

static bool is_token(char c)
{
	return (unsigned char)c > 0x20 && (unsigned char)c < 0x7f && !strchr("()<>@,;:\\\"/[]?={}", c);
}

/* Of a value without quotes: more than a token, as some say it. */
static bool is_value(char c)
{
	return (unsigned char)c > 0x20 && c != 0x7f && !strchr(",\\\"", c);
}

static void blanks(const char **p, const char *end)
{
	while (*p < end && (**p == ' ' || **p == '\t'))
		(*p)++;
}

/*
 * A value of a digest-response at *p, without its quotes and backslashes; in name, where that is not NULL. Its length; -1: it is none, or too long for a
 * name.
 */
static int digest_value(const char **p, const char *end, char name[SASL_USER_MAX])
{
	bool quoted = *p < end && **p == '"';
	int n = 0;

	*p += quoted;
	while (*p < end && (quoted ? **p != '"' : is_value(**p))) {
		*p += quoted && **p == '\\' && end - *p > 1;
		if (name && n == SASL_USER_MAX)
			return -1;
		if (name)
			name[n] = **p;
		n++;
		(*p)++;
	}
	if (quoted && *p == end)
		return -1;
	*p += quoted;
	return n;
}

/*
 * key=value, key="value", ..., RFC 2831 2.1.2: a strict list with one user's name. What is in the quotes of another value is no name, nor is there one key
 * that one server knows and another does not.
 */
static bool digest(struct sasl_login *l, const char *p, size_t len)
{
	const char *end = p + len;
	bool named = false;

	if (memchr(p, '\0', len))
		return false;
	for (bool first = true; p < end; first = false) {
		const char *key;
		char name[SASL_USER_MAX];
		bool user;
		size_t n;
		int value;

		if (!first && *p++ != ',')
			return false;
		blanks(&p, end);
		for (key = p; p < end && is_token(*p);)
			p++;
		n = (size_t)(p - key);
		if (n == 0 && (p == end || *p == ','))
			continue;                       /* an empty element, RFC 2616 2.1 */
		if (n == 0 || p == end || *p++ != '=')
			return false;
		user = n == 8 && strncasecmp(key, "username", 8) == 0;
		l->for_other = l->for_other || (n == 7 && strncasecmp(key, "authzid", 7) == 0);
		value = digest_value(&p, end, user ? name : NULL);
		if (value < 0 || (user && (named || !keep(l, name, (size_t)value))))
			return false;
		named = named || user;
		blanks(&p, end);
	}
	return named;
}

static size_t le16(const char *p)
{
	return (size_t)(unsigned char)p[0] | (size_t)(unsigned char)p[1] << 8;
}

/* The AUTHENTICATE message, MS-NLMP 2.2.1.3: length and place of the user's name at 36, flags at 60, Unicode is the lowest of them. */
static void ntlm(struct sasl_login *l, const char *p, size_t len)
{
	char name[SASL_USER_MAX];
	size_t n, at, out = 0;

	if (len < 64 || memcmp(p, "NTLMSSP\0\3\0\0\0", 12) != 0 || le16(p + 42) != 0)
		return;
	n = le16(p + 36);
	at = le16(p + 40);
	if (at > len || n > len - at)
		return;
	if (!(p[60] & 1)) {
		keep(l, p + at, n);
		return;
	}
	for (size_t i = 0; i + 1 < n; i += 2) {
		unsigned c = (unsigned)le16(p + at + i);
		char utf8[4];
		size_t octets = utf8_put(c, utf8);

		if (c == 0 || (c >= 0xd800 && c <= 0xdfff) || out + octets > sizeof(name))
			return;
		memcpy(name + out, utf8, octets);
		out += octets;
	}
	keep(l, name, out);
}

/* The message that holds the name. false: servers might find another in it, or it is none at all. */
static bool learn(struct sasl_login *l, const char *p, size_t len)
{
	switch (l->mechanism) {
	case SASL_PLAIN:
		return plain(l, p, len);
	case SASL_LOGIN:
		return keep(l, p, len);
	case SASL_CRAM_MD5:
		return cram(l, p, len);
	case SASL_DIGEST_MD5:
		return digest(l, p, len);
	case SASL_XOAUTH2:
		return xoauth2(l, p, len);
	case SASL_OAUTHBEARER:
		return oauthbearer(l, p, len);
	case SASL_SCRAM_SHA_1:
	case SASL_SCRAM_SHA_256:
		return scram(l, p, len);
	case SASL_NTLM:
		if (!l->user[0])
			ntlm(l, p, len);
		return true;
	default:                        /* GSSAPI: a ticket, whose name is for the server's eyes */
		return true;
	}
}

/*
 * How many lines there may be behind the one with the name: the password of LOGIN, the proof of SCRAM, empty ones in answer to a server's last word. A server
 * that asks for more has not taken the first for what it was.
 */
static int lines_after(unsigned mechanism)
{
	switch (mechanism) {
	case SASL_PLAIN:
	case SASL_CRAM_MD5:
		return 0;
	case SASL_LOGIN:
	case SASL_DIGEST_MD5:
	case SASL_XOAUTH2:
	case SASL_OAUTHBEARER:
		return 1;
	case SASL_SCRAM_SHA_1:
	case SASL_SCRAM_SHA_256:
		return 2;
	default:
		return -1;
	}
}

/* The line p[0..len) of base64, as the one with the name. Longer ones are decoded on the heap. */
static bool learn_line(struct sasl_login *l, const char *p, size_t len)
{
	char small[SCRATCH] = "", *scratch = len / 4 * 3 <= sizeof(small) ? small : malloc(len / 4 * 3);
	size_t n;
	bool good;

	if (!scratch)
		return false;
	n = decode(p, len, scratch, len / 4 * 3);
	good = learn(l, scratch, n);
	explicit_bzero(scratch, n);
	if (scratch != small)
		free(scratch);
	return good;
}

enum sasl_line sasl_client_line(struct sasl_login *l, bool initial, const char *p, size_t len)
{
	int after = lines_after(l->mechanism);

	if (len == 1 && p[0] == '*' && !initial)
		return SASL_CANCEL;
	if (len == 1 && p[0] == '=' && initial)
		len = 0;
	if (len > SASL_LINE_MAX || !sasl_base64_ok(p, len))
		return SASL_BAD;
	if (l->mechanism == SASL_LOGIN && l->step == 0 && len == 0)
		return SASL_BAD;
	if (l->named ? after >= 0 && l->after == after : len > 0 && !learn_line(l, p, len)) {
		l->user[0] = '\0';
		return SASL_BAD;
	}
	l->after += l->named;
	/* Of mechanisms in which the client's name has no place of its own each line is looked at. */
	l->named = l->named || (len > 0 && after >= 0);
	l->step++;
	return SASL_DATA;
}

bool sasl_decides(const struct sasl_login *l)
{
	/* The name comes first, the password or the proof with the second line; an NTLM or SCRAM client has nothing to prove before the challenge. */
	const unsigned second = SASL_LOGIN | SASL_SCRAM_SHA_1 | SASL_SCRAM_SHA_256 | SASL_NTLM;

	return l->step >= (l->mechanism & second ? 2 : 1);
}
