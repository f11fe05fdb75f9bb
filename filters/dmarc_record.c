#include "filters/dmarc_record.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

struct span {
	const char *p;
	size_t len;
};

static bool is_wsp(char c)
{
	return c == ' ' || c == '\t';
}

static bool is_alpha(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_alnum(char c)
{
	return is_alpha(c) || (c >= '0' && c <= '9');
}

static struct span trim(struct span s)
{
	while (s.len > 0 && is_wsp(s.p[0]))
		s.p++, s.len--;
	while (s.len > 0 && is_wsp(s.p[s.len - 1]))
		s.len--;
	return s;
}

/* Cut what stands before the first c off *rest, and c too. */
static struct span cut(struct span *rest, char c)
{
	const char *end = memchr(rest->p, c, rest->len);
	struct span head = *rest;

	if (end) {
		head.len = (size_t)(end - rest->p);
		rest->p = end + 1;
		rest->len -= head.len + 1;
	} else {
		rest->p += rest->len;
		rest->len = 0;
	}
	return head;
}

/* RFC 9989 4.8: values other than the version's are compared without case. */
static bool same(struct span s, const char *word)
{
	return s.len == strlen(word) && strncasecmp(s.p, word, s.len) == 0;
}

static bool read_policy(struct span v, enum dmarc_policy *out)
{
	static const enum dmarc_policy all[] = { DMARC_P_NONE, DMARC_P_QUARANTINE, DMARC_P_REJECT };

	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		if (same(v, dmarc_policy_name(all[i]))) {
			*out = all[i];
			return true;
		}
	}
	return false;
}

/* local@domain, the characters of RFC 6068 2 loosely; a "!" is only there before a size (RFC
 * 7489 6.2), which is dropped. */
static bool mailto_ok(struct span v)
{
	const char *at, *bang = memchr(v.p, '!', v.len), *query = memchr(v.p, '?', v.len);
	size_t domain = 0;

	if (bang) {
		for (const char *p = bang + 1; p < v.p + v.len; p++) {
			if (!is_alnum(*p))
				return false;
		}
		v.len = (size_t)(bang - v.p);
	}
	if (query && query < v.p + v.len)
		v.len = (size_t)(query - v.p);
	at = memrchr(v.p, '@', v.len);
	if (!at || at == v.p)
		return false;
	for (const char *p = at + 1; p < v.p + v.len; p++, domain++) {
		if (!is_alnum(*p) && *p != '-' && *p != '.' && *p != '_')
			return false;
	}
	return domain > 0 && at[1] != '.';
}

/* A URI: scheme, colon, something (RFC 3986 3), printable and without blanks. */
static bool uri_ok(struct span v)
{
	const char *colon = memchr(v.p, ':', v.len);
	struct span scheme;

	if (!colon || v.len == 0 || !is_alpha(v.p[0]) || colon + 1 == v.p + v.len)
		return false;
	scheme = (struct span){ v.p, (size_t)(colon - v.p) };
	for (size_t i = 1; i < scheme.len; i++) {
		if (!is_alnum(scheme.p[i]) && !memchr("+-.", scheme.p[i], 3))
			return false;
	}
	for (const char *p = colon + 1; p < v.p + v.len; p++) {
		if (*p <= ' ' || *p >= 0x7f || memchr("\"<>\\^`{|}", *p, 9))
			return false;
	}
	if (same(scheme, "mailto"))
		return mailto_ok((struct span){ colon + 1, v.len - scheme.len - 1 });
	return true;
}

static bool any_uri_ok(struct span v)
{
	bool ok = false;

	while (v.len > 0)
		ok |= uri_ok(trim(cut(&v, ',')));
	return ok;
}

/* "0", "1", "d" and "s" between colons; anything else makes the tag void. */
static unsigned read_fo(struct span v)
{
	unsigned fo = 0;

	do {
		struct span one = trim(cut(&v, ':'));

		if (same(one, "0"))
			fo |= DMARC_FO_ALL;
		else if (same(one, "1"))
			fo |= DMARC_FO_ANY;
		else if (same(one, "d"))
			fo |= DMARC_FO_DKIM;
		else if (same(one, "s"))
			fo |= DMARC_FO_SPF;
		else
			return DMARC_FO_ALL;
	} while (v.len > 0);
	return fo;
}

enum tag {
	TAG_V, TAG_P, TAG_SP, TAG_NP, TAG_ADKIM, TAG_ASPF, TAG_T, TAG_PSD, TAG_RUA, TAG_RUF, TAG_FO,
	TAG_UNKNOWN,
};

static enum tag tag_find(struct span name)
{
	static const char *const names[] = {
		"v", "p", "sp", "np", "adkim", "aspf", "t", "psd", "rua", "ruf", "fo",
	};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		if (same(name, names[i]))
			return (enum tag)i;
	}
	return TAG_UNKNOWN;
}

static void tag_read(struct dmarc_record *r, enum tag tag, struct span v)
{
	switch (tag) {
	case TAG_P:
		r->has_p = read_policy(v, &r->p);
		break;
	case TAG_SP:
		r->has_sp = read_policy(v, &r->sp);
		break;
	case TAG_NP:
		r->has_np = read_policy(v, &r->np);
		break;
	case TAG_ADKIM:
		r->strict_dkim = same(v, "s");
		break;
	case TAG_ASPF:
		r->strict_spf = same(v, "s");
		break;
	case TAG_T:
		r->testing = same(v, "y");
		break;
	case TAG_PSD:
		if (same(v, "y"))
			r->psd = DMARC_PSD_YES;
		else if (same(v, "n"))
			r->psd = DMARC_PSD_NO;
		break;
	case TAG_RUA:
		r->rua = any_uri_ok(v);
		break;
	case TAG_RUF:
		r->ruf = any_uri_ok(v);
		break;
	case TAG_FO:
		r->fo = read_fo(v);
		break;
	case TAG_V:
	case TAG_UNKNOWN:
		break;
	}
}

int dmarc_record_parse(const char *p, size_t len, struct dmarc_record *out)
{
	struct dmarc_record r = { .fo = DMARC_FO_ALL };
	struct span rest = { p, len }, value = cut(&rest, ';'), name = cut(&value, '=');
	unsigned seen = 1u << TAG_V;

	/* 4.7: the version comes first, nothing before it, and "DMARC1" is compared with case. */
	if (len == 0 || is_wsp(p[0]) || !same(trim(name), "v"))
		return -EBADMSG;
	value = trim(value);
	if (value.len != 6 || memcmp(value.p, "DMARC1", 6) != 0)
		return -EBADMSG;
	while (rest.len > 0) {
		enum tag tag;

		value = cut(&rest, ';');
		if (!memchr(value.p, '=', value.len))
			continue;       /* empty, or a word alone: no tag */
		name = trim(cut(&value, '='));
		tag = tag_find(name);
		if (tag == TAG_UNKNOWN)
			continue;
		if (seen & 1u << tag)
			return -EBADMSG;
		seen |= 1u << tag;
		tag_read(&r, tag, trim(value));
	}
	*out = r;
	return 0;
}

size_t dmarc_record_rua(const char *p, size_t len, struct dmarc_uri *out, size_t max)
{
	struct span rest = { p, len };
	size_t n = 0;

	while (rest.len > 0) {
		struct span value = cut(&rest, ';'), name;

		if (!memchr(value.p, '=', value.len))
			continue;
		name = trim(cut(&value, '='));
		if (tag_find(name) != TAG_RUA)
			continue;
		while (value.len > 0 && n < max) {
			struct span uri = trim(cut(&value, ','));

			if (uri_ok(uri))
				out[n++] = (struct dmarc_uri){ uri.p, uri.len };
		}
		break;
	}
	return n;
}

const char *dmarc_fo_text(unsigned fo, char out[DMARC_FO_TEXT_MAX])
{
	static const char letters[] = "01ds";
	size_t n = 0;

	for (unsigned i = 0; i < 4; i++) {
		if (!(fo & 1u << i))
			continue;
		if (n > 0)
			out[n++] = ':';
		out[n++] = letters[i];
	}
	out[n] = '\0';
	return out;
}

bool dmarc_record_applies(const struct dmarc_record *r)
{
	return r->has_p || r->rua;
}

enum dmarc_policy dmarc_record_policy(const struct dmarc_record *r, bool own, bool exists)
{
	/* Without a valid p the record counts as one that says "p=none" and no more. */
	if (!r->has_p)
		return DMARC_P_NONE;
	if (own)
		return r->p;
	if (!exists && r->has_np)
		return r->np;
	return r->has_sp ? r->sp : r->p;
}

enum dmarc_policy dmarc_policy_milder(enum dmarc_policy p)
{
	return p == DMARC_P_REJECT ? DMARC_P_QUARANTINE : DMARC_P_NONE;
}

const char *dmarc_policy_name(enum dmarc_policy p)
{
	static const char *const names[] = { "none", "quarantine", "reject" };

	return names[p];
}

const char *dmarc_record_text(const struct dmarc_record *r, char out[DMARC_RECORD_TEXT_MAX])
{
	bool sp = r->has_p && r->has_sp;

	snprintf(out, DMARC_RECORD_TEXT_MAX, "v=DMARC1; p=%s%s%s",
	         dmarc_policy_name(r->has_p ? r->p : DMARC_P_NONE), sp ? "; sp=" : "",
	         sp ? dmarc_policy_name(r->sp) : "");
	return out;
}
