#include "filters/spf_macro.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { VALUE_MAX = 80 };        /* an address, its nibbles, a time: what is made here */

enum part_kind { PART_LITERAL, PART_ESCAPE, PART_MACRO };

struct part {
	enum part_kind kind;
	const char *p;                  /* literal bytes, or what an escape stands for */
	size_t len;
	char letter;                    /* in lower case */
	bool url;                       /* the letter was upper-case: URL-escaped, section 7.3 */
	unsigned keep;                  /* right-hand parts to keep; 0: all */
	bool reverse;
	const char *delims;
	size_t delim_count;
};

/* ---- reading ---- */

/* "%{" letter transformers *delimiter "}", p behind the brace. NULL, or what is wrong. */
static const char *macro_read(const char *p, size_t len, size_t *used, struct part *out)
{
	size_t i = 0;
	bool digits = false;

	if (i == len || !isalpha((unsigned char)p[i]))
		return "a macro letter is missing after %{";
	out->letter = (char)tolower((unsigned char)p[i]);
	out->url = isupper((unsigned char)p[i]) != 0;
	if (!strchr("slodiphcrtv", out->letter))
		return "a macro letter that does not exist";
	for (i++; i < len && isdigit((unsigned char)p[i]); i++) {
		digits = true;
		if (out->keep < 1000)           /* more labels than any name has */
			out->keep = out->keep * 10 + (unsigned)(p[i] - '0');
	}
	if (digits && out->keep == 0)
		return "a macro that keeps 0 parts";    /* section 7.3: MUST be nonzero */
	if (i < len && (p[i] == 'r' || p[i] == 'R')) {
		out->reverse = true;
		i++;
	}
	out->delims = p + i;
	while (i < len && p[i] && strchr(".-+,/_=", p[i]))
		i++;
	out->delim_count = (size_t)(p + i - out->delims);
	if (i == len || p[i] != '}')
		return "a macro that is not closed by }";
	*used = i + 1;
	return NULL;
}

/* The next part of a macro-string. NULL, or what is wrong. */
static const char *part_read(const char *p, size_t len, size_t *used, struct part *out)
{
	const char *wrong;
	size_t i = 0;

	*out = (struct part){ .kind = PART_LITERAL, .p = p };
	while (i < len && p[i] != '%')
		i++;
	if (i > 0) {
		out->len = *used = i;
		return NULL;
	}
	out->kind = PART_ESCAPE;
	out->len = 1;
	*used = 2;
	switch (len > 1 ? p[1] : '\0') {
	case '%':
		out->p = "%";
		return NULL;
	case '_':
		out->p = " ";
		return NULL;
	case '-':
		out->p = "%20";
		out->len = 3;
		return NULL;
	case '{':
		out->kind = PART_MACRO;
		wrong = macro_read(p + 2, len - 2, used, out);
		*used += 2;
		return wrong;
	default:
		return "a % that begins no macro";
	}
}

static const char *literal_check(const struct part *part, enum spf_macro_use use)
{
	for (size_t i = 0; i < part->len; i++) {
		unsigned char c = (unsigned char)part->p[i];

		if (c == ' ' && use == SPF_MACRO_TEXT)
			continue;
		if (c <= ' ' || c > '~')
			return c < 0x80 ? "a control character" : "a byte that is not ASCII";
	}
	return NULL;
}

/* The literal tail of a domain-spec: ... "." toplabel [ "." ], section 7.1 */
static const char *toplabel_check(const char *p, size_t len)
{
	size_t start;
	bool alpha = false;

	if (len > 0 && p[len - 1] == '.')
		len--;
	for (start = len; start > 0 && p[start - 1] != '.'; start--)
		;
	if (start == 0)
		return "a domain that does not end in a dot and a top label";
	p += start;
	len -= start;
	if (len == 0 || !isalnum((unsigned char)p[0]) || !isalnum((unsigned char)p[len - 1]))
		return "a domain whose top label is empty, or begins or ends with a hyphen or another sign";
	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)p[i]) && p[i] != '-')
			return "a domain whose top label has a sign in it";
		alpha |= !isdigit((unsigned char)p[i]);
	}
	return alpha ? NULL : "a domain whose top label is a number (an address? then ip4: it is)";
}

const char *spf_macro_check(const char *p, size_t len, enum spf_macro_use use)
{
	struct part part = { .kind = PART_LITERAL };
	size_t used;

	if (use == SPF_MACRO_DOMAIN && len == 0)
		return "an empty domain";
	for (; len > 0; p += used, len -= used) {
		const char *wrong = part_read(p, len, &used, &part);

		if (!wrong && part.kind == PART_LITERAL)
			wrong = literal_check(&part, use);
		if (!wrong && part.kind == PART_MACRO && use == SPF_MACRO_DOMAIN && strchr("crt", part.letter))
			wrong = "a macro (c, r or t) that only explanations may have";
		if (wrong)
			return wrong;
	}
	if (use == SPF_MACRO_DOMAIN && part.kind == PART_LITERAL)
		return toplabel_check(part.p, part.len);
	return NULL;
}

bool spf_macro_has(const char *p, size_t len, char letter)
{
	struct part part;
	size_t used;

	for (; len > 0 && !part_read(p, len, &used, &part); p += used, len -= used)
		if (part.kind == PART_MACRO && part.letter == letter)
			return true;
	return false;
}

size_t spf_macro_count(const char *p, size_t len)
{
	struct part part;
	size_t used, n = 0;

	for (; len > 0 && !part_read(p, len, &used, &part); p += used, len -= used)
		n += part.kind == PART_MACRO;
	return n;
}

/* ---- expanding ---- */

/* %{i}: dotted quad, or dotted nibbles, which section 7.3 shows in upper case only for no good reason: DNS does not mind. */
static const char *address_dotted(const struct net_addr *a, char *out)
{
	char *o = out;

	if (a->family != AF_INET6)
		return inet_ntop(AF_INET, a->ip, out, VALUE_MAX);
	for (int i = 0; i < 16; i++) {
		*o++ = "0123456789ABCDEF"[a->ip[i] >> 4];
		*o++ = '.';
		*o++ = "0123456789ABCDEF"[a->ip[i] & 15];
		*o++ = '.';
	}
	o[-1] = '\0';
	return out;
}

static const char *value_of(char letter, const struct spf_macro_context *c, char *tmp)
{
	const char *v = NULL;

	switch (letter) {
	case 's':
		v = c->sender;
		break;
	case 'l':
		v = c->local;
		break;
	case 'o':
		v = c->sender_domain;
		break;
	case 'd':
		v = c->domain;
		break;
	case 'i':
		v = address_dotted(c->client, tmp);
		break;
	case 'p':
		v = c->validated;
		break;
	case 'h':
		v = c->helo;
		break;
	case 'c':
		v = inet_ntop(c->client->family == AF_INET6 ? AF_INET6 : AF_INET, c->client->ip, tmp, VALUE_MAX);
		break;
	case 'r':
		v = c->receiver;
		break;
	case 't':
		snprintf(tmp, VALUE_MAX, "%" PRId64, c->now_s);
		v = tmp;
		break;
	case 'v':
		v = c->client->family == AF_INET6 ? "ip6" : "in-addr";
		break;
	}
	return v ? v : "unknown";
}

/* RFC 3986: all but the unreserved. */
static void url_add(struct buf *out, const char *p, size_t len)
{
	for (size_t i = 0; i < len && !out->failed; i++) {
		unsigned char b = (unsigned char)p[i];

		if (isalnum(b) || strchr("-._~", b))
			buf_addc(out, p[i]);
		else
			buf_addf(out, "%%%02X", b);
	}
}

static bool is_delim(const struct part *m, char c)
{
	if (m->delim_count == 0)
		return c == '.';
	return memchr(m->delims, c, m->delim_count) != NULL;
}

static void piece_add(struct buf *out, const struct part *m, const char *p, size_t len, bool first)
{
	if (!first)
		buf_addc(out, '.');
	if (m->url)
		url_add(out, p, len);
	else
		buf_add(out, p, len);
}

/* Split, reverse, keep the right-hand parts, join with dots: in that order, section 7.3. */
static void macro_add(struct buf *out, const struct part *m, const char *v)
{
	size_t len = strlen(v), pieces = 1, skip, from, to, k;

	if (m->keep == 0 && !m->reverse && m->delim_count == 0) {
		piece_add(out, m, v, len, true);
		return;
	}
	for (size_t i = 0; i < len; i++)
		pieces += is_delim(m, v[i]);
	skip = m->keep > 0 && m->keep < pieces ? pieces - m->keep : 0;
	if (!m->reverse) {
		for (from = 0, k = 0; k < pieces && !out->failed; k++, from = to + 1) {
			for (to = from; to < len && !is_delim(m, v[to]); to++)
				;
			if (k >= skip)
				piece_add(out, m, v + from, to - from, k == skip);
		}
		return;
	}
	for (to = len, k = 0; k < pieces && !out->failed; k++, to = from - 1) {
		for (from = to; from > 0 && !is_delim(m, v[from - 1]); from--)
			;
		if (k >= skip)
			piece_add(out, m, v + from, to - from, k == skip);
	}
}

int spf_macro_expand(const char *p, size_t len, const struct spf_macro_context *c, struct buf *out)
{
	struct part part;
	char tmp[VALUE_MAX];
	size_t used;

	errno = 0;
	for (; len > 0 && !out->failed; p += used, len -= used) {
		if (part_read(p, len, &used, &part))
			return -EINVAL;
		if (part.kind == PART_MACRO)
			macro_add(out, &part, value_of(part.letter, c, tmp));
		else
			buf_add(out, part.p, part.len);
	}
	return !out->failed ? 0 : errno == ENOMEM ? -ENOMEM : -ENOSPC;
}

int spf_macro_domain(const char *p, size_t len, const struct spf_macro_context *c, struct buf *out)
{
	int rc;

	buf_clear(out);
	rc = spf_macro_expand(p, len, c, out);
	if (rc < 0)
		return rc;
	if (out->len > 0 && out->data[out->len - 1] == '.')
		out->data[--out->len] = '\0';
	while (out->len > SPF_NAME_MAX) {
		const char *dot = memchr(out->data, '.', out->len);

		if (!dot)
			break;                  /* one label, no name anyhow */
		buf_eat(out, (size_t)(dot - out->data) + 1);
	}
	return 0;
}

int spf_macro_name(const char *p, size_t len, char *out, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned char b = (unsigned char)p[i];

		if (size - n < 5)
			return -ENOSPC;
		if (b == '\\' || b <= ' ' || b > '~')
			n += (size_t)sprintf(out + n, "\\%03u", b);
		else
			out[n++] = p[i];
	}
	if (n >= size)
		return -ENOSPC;
	out[n] = '\0';
	return 0;
}
