#include "filters/dkim_sig.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { CLOCK_DRIFT_S = 300 };           /* section 3.5, x=: allow for clocks that differ */
enum { SHA1_BYTES = 20, SHA256_BYTES = 32 };
enum { ADDRESS_MAX = 1024 };
enum { LIMIT_DIGITS = 18 };             /* the RFC has 76; no body is that long, and 18 fit in 64 bits */

const char *dkim_algorithm_name(enum dkim_algorithm a)
{
	switch (a) {
	case DKIM_ALG_RSA_SHA1: return "rsa-sha1";
	case DKIM_ALG_RSA_SHA256: return "rsa-sha256";
	case DKIM_ALG_ED25519_SHA256: return "ed25519-sha256";
	default: return "";
	}
}

static bool is_name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* A domain of letters, digits, hyphens and underscores, copied in lower case; selectors have the same form. */
static bool name_copy(const char *p, size_t len, char *out)
{
	size_t label = 0;

	if (len == 0 || len >= DKIM_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (p[i] == '.' ? label == 0 : !is_name_char(p[i]) || label == 63)
			return false;
		label = p[i] == '.' ? 0 : label + 1;
		out[i] = p[i] >= 'A' && p[i] <= 'Z' ? (char)(p[i] + ('a' - 'A')) : p[i];
	}
	out[len] = '\0';
	if (label == 0)
		out[0] = '\0';
	return label > 0;
}

static const char *version_read(const struct dkim_tags *t)
{
	const struct dkim_tag *v = dkim_tags_find(t, "v");

	if (!v)
		return "no v=";
	return v->len == 1 && v->value[0] == '1' ? NULL : "v= is not 1";
}

const char *dkim_sig_names(const struct dkim_tags *t, struct dkim_sig *out)
{
	const struct dkim_tag *d = dkim_tags_find(t, "d"), *s = dkim_tags_find(t, "s");

	if (!d || !name_copy(d->value, d->len, out->domain))
		return d ? "d= is not a domain name" : "no d=";
	if (!s || !name_copy(s->value, s->len, out->selector))
		return s ? "s= is not a selector" : "no s=";
	if (strlen(out->selector) + strlen(out->domain) + strlen("._domainkey.") >= DKIM_NAME_MAX)
		return "s= and d= are too long for a name";
	return NULL;
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* dkim-quoted-printable, section 2.11: =XX is a byte, blanks do not count. The length, or -1: malformed, a control character or no room. */
static ptrdiff_t qp_decode(const struct dkim_tag *t, char *out, size_t room)
{
	size_t n = 0;

	for (size_t i = 0; i < t->len; i++) {
		char c = t->value[i];

		if (strchr(" \t\r\n", c))
			continue;
		if (c == '=') {
			if (t->len - i < 3 || hex_digit(t->value[i + 1]) < 0 || hex_digit(t->value[i + 2]) < 0)
				return -1;
			c = (char)(hex_digit(t->value[i + 1]) << 4 | hex_digit(t->value[i + 2]));
			i += 2;
		}
		if ((unsigned char)c < 0x20 || c == 0x7f || n + 1 >= room)
			return -1;
		out[n++] = c;
	}
	out[n] = '\0';
	return (ptrdiff_t)n;
}

/* i=, section 3.5: its domain must be d= or below it. */
static const char *identity_read(const struct dkim_tags *t, struct dkim_sig *out)
{
	const struct dkim_tag *i = dkim_tags_find(t, "i");
	char address[ADDRESS_MAX], domain[DKIM_NAME_MAX];
	size_t have, want = strlen(out->domain);
	const char *at;
	ptrdiff_t n;

	out->identity[0] = '@';
	memcpy(out->identity + 1, out->domain, want + 1);
	if (!i)
		return NULL;
	n = qp_decode(i, address, sizeof(address));
	at = n > 0 ? memrchr(address, '@', (size_t)n) : NULL;
	if (!at || !name_copy(at + 1, strlen(at + 1), domain))
		return "i= is not an address";
	have = strlen(domain);
	if (have < want || strcmp(domain + have - want, out->domain) != 0 || (have > want && domain[have - want - 1] != '.'))
		return "the domain of i= is not d= or below it";
	out->identity_below = have > want;
	snprintf(out->identity, sizeof(out->identity), "%.*s", DKIM_IDENTITY_MAX - 1, address);
	return NULL;
}

const char *dkim_sig_algorithm(const struct dkim_tags *t, struct dkim_sig *out)
{
	const struct dkim_tag *a = dkim_tags_find(t, "a");

	if (!a)
		return "no a=";
	for (int i = DKIM_ALG_RSA_SHA1; i <= DKIM_ALG_ED25519_SHA256; i++)
		if (dkim_tag_is(a, dkim_algorithm_name(i)))
			out->algorithm = i;
	return out->algorithm == DKIM_ALG_NONE ? "a= is an unknown algorithm" : NULL;
}

static int canon_word(const char *p, size_t len)
{
	if (len == 6 && strncasecmp(p, "simple", 6) == 0)
		return 0;
	return len == 7 && strncasecmp(p, "relaxed", 7) == 0 ? 1 : -1;
}

const char *dkim_sig_canon(const struct dkim_tags *t, struct dkim_sig *out)
{
	const struct dkim_tag *c = dkim_tags_find(t, "c");
	const char *slash;
	int header, body;

	if (!c)
		return NULL;
	slash = c->len > 0 ? memchr(c->value, '/', c->len) : NULL;
	header = canon_word(c->value, slash ? (size_t)(slash - c->value) : c->len);
	body = slash ? canon_word(slash + 1, c->len - (size_t)(slash - c->value) - 1) : 0;
	if (header < 0 || body < 0)
		return "c= is an unknown canonicalization";
	out->header_relaxed = header;
	out->body_relaxed = body;
	return NULL;
}

/* ftext of RFC 5322 3.6.8; a semicolon cannot come here. */
bool dkim_sig_field_name(const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)p[i] <= 0x20 || (unsigned char)p[i] >= 0x7f)
			return false;
	return len > 0;
}

static const char *fields_read(const struct dkim_tags *t, struct dkim_sig *out)
{
	const struct dkim_tag *h = dkim_tags_find(t, "h");
	const char *item;
	size_t pos = 0, len, count = 0;

	if (!h)
		return "no h=";
	while (dkim_tag_item(h, &pos, &item, &len)) {
		if (!dkim_sig_field_name(item, len))
			return "h= holds what is no field name";
		if (++count > DKIM_FIELDS_MAX)
			return "h= names too many fields";
		out->from_count += len == 4 && strncasecmp(item, "from", 4) == 0;
	}
	return out->from_count > 0 ? NULL : "h= does not name From";         /* section 5.4 */
}

const char *dkim_sig_value(const struct dkim_tags *t, struct dkim_sig *out)
{
	const struct dkim_tag *b = dkim_tags_find(t, "b");
	unsigned char raw[2048];

	if (!b)
		return "no b=";
	if (dkim_tag_base64(b->value, b->len, raw, sizeof(raw)) <= 0)
		return "b= is not base64";
	for (size_t i = 0, k = 0; i < b->len && k < sizeof(out->start) - 1; i++)
		if (!strchr(" \t\r\n", b->value[i]))
			out->start[k++] = b->value[i];
	return NULL;
}

const char *dkim_sig_body_hash(const struct dkim_tags *t, struct dkim_sig *out)
{
	const struct dkim_tag *bh = dkim_tags_find(t, "bh");
	ptrdiff_t n;

	if (!bh)
		return "no bh=";
	n = dkim_tag_base64(bh->value, bh->len, out->body_hash, sizeof(out->body_hash));
	if (n != (out->algorithm == DKIM_ALG_RSA_SHA1 ? SHA1_BYTES : SHA256_BYTES))
		return "bh= is not a hash of the algorithm's length";
	out->body_hash_len = (size_t)n;
	return NULL;
}

const char *dkim_sig_times(const struct dkim_tags *t, struct dkim_sig *out)
{
	const struct dkim_tag *signed_at = dkim_tags_find(t, "t"), *x = dkim_tags_find(t, "x");
	uint64_t from_s = 0;

	if (signed_at && dkim_tag_number(signed_at, 12, &from_s) < 0)
		return "t= is not a time";
	if (x && dkim_tag_number(x, 12, &out->expires_s) < 0)
		return "x= is not a time";
	if (x && signed_at && out->expires_s <= from_s)
		return "x= is not after t=";
	if (x && out->expires_s == 0)
		out->expires_s = 1;             /* 1970, too; 0 stands for never */
	return NULL;
}

enum dkim_sig_state dkim_sig_age(const struct dkim_sig *sig, int64_t now_s, const char **why)
{
	if (sig->algorithm == DKIM_ALG_RSA_SHA1) {
		*why = "rsa-sha1 is no longer trusted (RFC 8301)";
		return DKIM_SIG_HISTORIC;
	}
	if (sig->expires_s && now_s > (int64_t)sig->expires_s + CLOCK_DRIFT_S) {
		*why = "the signature has expired (x=)";
		return DKIM_SIG_EXPIRED;
	}
	return DKIM_SIG_GOOD;
}

static const char *rest_read(const struct dkim_tags *t, struct dkim_sig *out)
{
	const struct dkim_tag *l = dkim_tags_find(t, "l"), *q = dkim_tags_find(t, "q");

	if (l && dkim_tag_number(l, LIMIT_DIGITS, &out->limit) < 0)
		return "l= is not a length";
	out->limited = l != NULL;
	if (q && !dkim_tag_has(q, "dns/txt"))
		return "q= does not name dns/txt";
	return dkim_sig_times(t, out);
}

enum dkim_sig_state dkim_sig_parse(const char *p, size_t len, int64_t now_s, struct dkim_sig *out, const char **why)
{
	struct dkim_tags tags;
	const char *bad, *w;

	memset(out, 0, sizeof(*out));
	*why = dkim_tags_parse(p, len, &tags);
	if (*why)
		return DKIM_SIG_BAD;
	/* All are read whatever the others say, so that even a bad signature has its names; the first error counts. */
	bad = version_read(&tags);
	w = dkim_sig_names(&tags, out);
	bad = bad ? bad : w;
	w = dkim_sig_algorithm(&tags, out);
	bad = bad ? bad : w;
	w = out->domain[0] ? identity_read(&tags, out) : NULL;
	bad = bad ? bad : w;
	w = dkim_sig_canon(&tags, out);
	bad = bad ? bad : w;
	w = fields_read(&tags, out);
	bad = bad ? bad : w;
	w = dkim_sig_value(&tags, out);
	bad = bad ? bad : w;
	w = dkim_sig_body_hash(&tags, out);
	bad = bad ? bad : w;
	w = rest_read(&tags, out);
	bad = bad ? bad : w;
	if (bad) {
		*why = bad;
		return DKIM_SIG_BAD;
	}
	return dkim_sig_age(out, now_s, why);
}
