#include "filters/spf_record.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "filters/spf_macro.h"

enum argument { ARG_NONE, ARG_DOMAIN, ARG_DOMAIN_CIDR, ARG_MAYBE_DOMAIN, ARG_IP4, ARG_IP6 };

static const struct mechanism {
	const char *name;
	enum spf_kind kind;
	enum argument arg;
} mechanisms[] = {
	{ "all", SPF_ALL, ARG_NONE },
	{ "include", SPF_INCLUDE, ARG_DOMAIN },
	{ "a", SPF_A, ARG_DOMAIN_CIDR },
	{ "mx", SPF_MX, ARG_DOMAIN_CIDR },
	{ "ptr", SPF_PTR, ARG_MAYBE_DOMAIN },
	{ "ip4", SPF_IP4, ARG_IP4 },
	{ "ip6", SPF_IP6, ARG_IP6 },
	{ "exists", SPF_EXISTS, ARG_DOMAIN },
};

static bool name_char(char c)
{
	return isalnum((unsigned char)c) || c == '-' || c == '_' || c == '.';
}

/*
 * A CIDR length at the end of p[0..*len): "/" and digits without leading zero. Sets *bits and cuts it off; nothing there: *bits
 * stays. NULL, or what is wrong. slashes: 1 for IPv4, 2 for the IPv6 part of a dual length.
 */
static const char *cidr_cut(const char *p, size_t *len, size_t slashes, int max, int *bits)
{
	size_t start = *len, n = 0;
	int v = 0;

	while (start > 0 && isdigit((unsigned char)p[start - 1]))
		start--;
	n = *len - start;
	if (start < slashes || p[start - 1] != '/' || (slashes == 2 && p[start - 2] != '/'))
		return NULL;
	if (n == 0 || n > 3 || (p[start] == '0' && n > 1))
		return "a prefix length that is no number";
	for (size_t i = start; i < *len; i++)
		v = v * 10 + (p[i] - '0');
	if (v > max)
		return "a prefix length that is too long";
	*bits = v;
	*len = start - slashes;
	return NULL;
}

/* [ "/" ip4-cidr-length ] [ "//" ip6-cidr-length ], taken off the end (section 5.6). */
static const char *dual_cidr_cut(const char *p, size_t *len, struct spf_term *t)
{
	const char *wrong = cidr_cut(p, len, 2, 128, &t->bits6);

	return wrong ? wrong : cidr_cut(p, len, 1, 32, &t->bits4);
}

static const char *domain_set(const char *p, size_t len, struct spf_term *t)
{
	t->domain = p;
	t->domain_len = len;
	return spf_macro_check(p, len, SPF_MACRO_DOMAIN);
}

/* What follows the mechanism's name: "", ":..." or "/...". */
static const char *domain_argument(const char *p, size_t len, enum argument arg, struct spf_term *t)
{
	const char *wrong;

	if (arg == ARG_DOMAIN_CIDR) {
		wrong = dual_cidr_cut(p, &len, t);
		if (wrong)
			return wrong;
	}
	if (len == 0)
		return arg == ARG_DOMAIN ? "a mechanism that lacks its domain" : NULL;
	if (p[0] != ':')
		return "a mechanism that takes no prefix length, or no such one";
	return domain_set(p + 1, len - 1, t);
}

static const char *ip_argument(const char *p, size_t len, int family, struct spf_term *t)
{
	char text[INET6_ADDRSTRLEN];
	const char *wrong = family == AF_INET ? cidr_cut(p, &len, 1, 32, &t->bits4) : cidr_cut(p, &len, 1, 128, &t->bits6);

	if (wrong)
		return wrong;
	if (len == 0 || p[0] != ':')
		return "an address mechanism without an address";
	p++;
	len--;
	if (len >= sizeof(text) || memchr(p, '\0', len))
		return "an address that is none";
	memcpy(text, p, len);
	text[len] = '\0';
	return inet_pton(family, text, t->ip) == 1 ? NULL : "an address that is none";
}

static const char *mechanism_read(const char *p, size_t len, struct spf_term *t)
{
	size_t name = 0;

	if (len > 0 && strchr("+-?~", p[0]) && p[0]) {
		t->qualifier = p[0];
		p++;
		len--;
	}
	while (name < len && name_char(p[name]))
		name++;
	for (size_t i = 0; i < sizeof(mechanisms) / sizeof(*mechanisms); i++) {
		const struct mechanism *m = &mechanisms[i];

		if (strlen(m->name) != name || strncasecmp(m->name, p, name) != 0)
			continue;
		t->kind = m->kind;
		p += name;
		len -= name;
		if (m->arg == ARG_NONE)
			return len == 0 ? NULL : "a mechanism that takes no argument";
		if (m->arg == ARG_IP4 || m->arg == ARG_IP6)
			return ip_argument(p, len, m->arg == ARG_IP4 ? AF_INET : AF_INET6, t);
		return domain_argument(p, len, m->arg, t);
	}
	return "a mechanism that does not exist";
}

static const char *modifier_read(struct spf_record *r, const struct spf_term *t, size_t name)
{
	const char *value = t->text + name + 1;
	size_t len = t->len - name - 1;
	struct spf_term *to = NULL;

	if (!isalpha((unsigned char)t->text[0]))
		return "a modifier whose name begins with no letter";
	if (name == 8 && strncasecmp(t->text, "redirect", name) == 0)
		to = &r->redirect;
	else if (name == 3 && strncasecmp(t->text, "exp", name) == 0)
		to = &r->exp;
	else
		return spf_macro_check(value, len, SPF_MACRO_STRING);
	if (to->len > 0)
		return "a modifier that is there twice";        /* section 6 */
	*to = *t;
	to->kind = to == &r->redirect ? SPF_REDIRECT : SPF_EXP;
	return domain_set(value, len, to);
}

static const char *term_read(struct spf_record *r, const char *p, size_t len)
{
	struct spf_term t = { .qualifier = '+', .text = p, .len = len, .bits4 = 32, .bits6 = 128 };
	const char *wrong;
	size_t name = 0;

	for (size_t i = 0; i < len; i++)
		if ((unsigned char)p[i] <= ' ' || (unsigned char)p[i] > '~')
			return (unsigned char)p[i] < 0x80 ? "a control character" : "a byte that is not ASCII";
	while (name < len && name_char(p[name]))
		name++;
	if (name < len && p[name] == '=')               /* section 4.6.1: "=" right after the name */
		return modifier_read(r, &t, name);
	wrong = mechanism_read(p, len, &t);
	if (!wrong)
		r->term[r->count++] = t;
	return wrong;
}

bool spf_record_is(const char *p, size_t len)
{
	return len >= 6 && strncasecmp(p, "v=spf1", 6) == 0 && (len == 6 || p[6] == ' ');
}

/* At most so many terms: each but the last is followed by a blank. */
static size_t terms_in(const char *p, size_t len)
{
	size_t n = 0;

	for (size_t i = 1; i < len; i++)
		n += p[i] != ' ' && p[i - 1] == ' ';
	return n;
}

int spf_record_parse(const char *p, size_t len, struct spf_record *out, struct spf_record_error *err)
{
	AUTO(spf_record) struct spf_record r = { 0 };
	size_t at, end;

	if (!spf_record_is(p, len)) {
		*err = (struct spf_record_error){ "no v=spf1", 0, len < 6 ? len : 6 };
		return -EBADMSG;
	}
	r.text = malloc(len + 1);
	r.term = calloc(terms_in(p, len) + 1, sizeof(*r.term));
	if (!r.text || !r.term)
		return -ENOMEM;
	memcpy(r.text, p, len);
	r.text[len] = '\0';
	for (at = 6; at < len; at = end) {
		const char *wrong;

		for (end = at; end < len && r.text[end] != ' '; end++)
			;
		if (end == at) {
			end++;
			continue;
		}
		wrong = term_read(&r, r.text + at, end - at);
		if (wrong) {
			*err = (struct spf_record_error){ wrong, at, end - at };
			return -EBADMSG;
		}
	}
	*out = r;
	r = (struct spf_record){ 0 };
	return 0;
}

void spf_record_release(struct spf_record *r)
{
	free(r->text);
	free(r->term);
	*r = (struct spf_record){ 0 };
}

static bool same_bits(const unsigned char *a, const unsigned char *b, int bits)
{
	int bytes = bits / 8, rest = bits % 8;

	if (memcmp(a, b, (size_t)bytes) != 0)
		return false;
	return rest == 0 || ((a[bytes] ^ b[bytes]) >> (8 - rest)) == 0;
}

bool spf_term_same_network(const struct spf_term *t, const unsigned char *ip, const struct net_addr *client)
{
	return same_bits(ip, client->ip, client->family == AF_INET6 ? t->bits6 : t->bits4);
}

bool spf_term_covers(const struct spf_term *t, const struct net_addr *client)
{
	if (t->kind == SPF_IP4 ? client->family != AF_INET : t->kind != SPF_IP6 || client->family != AF_INET6)
		return false;
	return spf_term_same_network(t, t->ip, client);
}
