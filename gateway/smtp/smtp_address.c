#include "smtp/smtp_address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <idn2.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool is_alnum(unsigned char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* atext, RFC 5322 3.2.3; RFC 6531 3.3 adds all that is UTF-8 */
static bool is_atext(unsigned char c)
{
	return is_alnum(c) || (c != 0 && c < 0x80 && strchr("!#$%&'*+-/=?^_`{|}~", c)) || c >= 0x80;
}

bool smtp_utf8_ok(const char *s, size_t len)
{
	const unsigned char *p = (const unsigned char *)s;
	size_t i = 0;

	while (i < len) {
		unsigned char c = p[i];
		unsigned char low = 0x80, high = 0xbf;  /* bounds of the second byte */
		size_t n;

		if (c < 0x80) {
			i++;
			continue;
		}
		if (c >= 0xc2 && c <= 0xdf)
			n = 1;
		else if (c >= 0xe0 && c <= 0xef)
			n = 2;
		else if (c >= 0xf0 && c <= 0xf4)
			n = 3;
		else
			return false;
		if (c == 0xe0)
			low = 0xa0;             /* overlong */
		else if (c == 0xed)
			high = 0x9f;            /* surrogates */
		else if (c == 0xf0)
			low = 0x90;
		else if (c == 0xf4)
			high = 0x8f;            /* beyond U+10FFFF */
		if (len - i <= n || p[i + 1] < low || p[i + 1] > high)
			return false;
		for (size_t k = 2; k <= n; k++)
			if ((p[i + k] & 0xc0) != 0x80)
				return false;
		i += n + 1;
	}
	return true;
}

static bool has_8bit(const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)p[i] >= 0x80)
			return true;
	return false;
}

static void lower(char *out, const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		out[i] = p[i] >= 'A' && p[i] <= 'Z' ? p[i] | 0x20 : p[i];
	out[len] = '\0';
}

/* "[192.0.2.1]" or "[IPv6:2001:db8::1]", RFC 5321 4.1.3; other tags are standardized by nobody. */
static enum smtp_address_error literal_parse(const char *p, size_t len, char *out, struct net_addr *literal)
{
	char text[INET6_ADDRSTRLEN];
	struct net_addr a;
	bool six = len > 6 && strncasecmp(p + 1, "IPv6:", 5) == 0;
	const char *from = p + (six ? 6 : 1);
	size_t n;

	if (len < 3 || p[len - 1] != ']')
		return ADDRESS_BAD_LITERAL;
	n = (size_t)(p + len - 1 - from);
	if (n == 0 || n >= sizeof(text) || memchr(from, '\0', n))
		return ADDRESS_BAD_LITERAL;
	memcpy(text, from, n);
	text[n] = '\0';
	memset(&a, 0, sizeof(a));
	a.family = six ? AF_INET6 : AF_INET;
	if (inet_pton(a.family, text, a.ip) != 1)
		return ADDRESS_BAD_LITERAL;
	lower(out, p, len);
	if (six)
		memcpy(out + 1, "IPv6:", 5);            /* the tag as the RFC spells it */
	if (literal)
		*literal = a;
	return ADDRESS_OK;
}

enum smtp_address_error smtp_domain_parse(const char *p, size_t len, unsigned flags, char *out, struct net_addr *literal)
{
	size_t label = 0;

	if (len == 0)
		return ADDRESS_BAD_DOMAIN;
	if (len > SMTP_DOMAIN_MAX)
		return ADDRESS_LONG;
	if (p[0] == '[')
		return literal_parse(p, len, out, literal);
	if (has_8bit(p, len)) {
		if (!(flags & MAILBOX_UTF8))
			return ADDRESS_UTF8;
		if (!smtp_utf8_ok(p, len))
			return ADDRESS_BAD_UTF8;
	}
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)p[i];

		if (c == '.') {
			if (label == 0 || p[i - 1] == '-')
				return ADDRESS_BAD_DOMAIN;
			label = 0;
			continue;
		}
		/* underscores are no host name's, but live domains have them */
		if (!is_alnum(c) && c < 0x80 && c != '_' && (c != '-' || label == 0))
			return ADDRESS_BAD_DOMAIN;
		if (++label > 63)
			return ADDRESS_BAD_DOMAIN;
	}
	if (label == 0 || p[len - 1] == '-')
		return ADDRESS_BAD_DOMAIN;
	if (literal)
		memset(literal, 0, sizeof(*literal));
	lower(out, p, len);
	return ADDRESS_OK;
}

int smtp_domain_ascii(const char *domain, char *out)
{
	size_t len = strlen(domain);
	char *a = NULL;

	if (len == 0 || len > SMTP_DOMAIN_MAX)
		return -EINVAL;
	if (!has_8bit(domain, len)) {
		lower(out, domain, len);
		return 0;
	}
	if (!smtp_utf8_ok(domain, len))
		return -EINVAL;
	if (idn2_to_ascii_8z(domain, &a, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) != IDN2_OK)
		return -EINVAL;
	len = strlen(a);
	if (len == 0 || len > SMTP_DOMAIN_MAX) {
		idn2_free(a);
		return -EINVAL;
	}
	lower(out, a, len);
	idn2_free(a);
	return 0;
}

/* Read a quoted local part, p[0] == '"'; out gets what is inside. Bytes eaten, 0 if malformed. RFC 5321 4.1.2 */
static size_t quoted_parse(const char *p, size_t len, char *out, size_t *out_len)
{
	size_t n = 0;

	for (size_t i = 1; i < len; i++) {
		unsigned char c = (unsigned char)p[i];

		if (c == '"') {
			*out_len = n;
			return i + 1;
		}
		if (c == '\\' && ++i < len)
			c = (unsigned char)p[i];
		if (i >= len || c < 0x20 || c == 0x7f || n >= SMTP_MAILBOX_MAX)
			return 0;
		out[n++] = (char)c;
	}
	return 0;
}

/* A dot-string: atoms with single dots between. Bytes eaten, 0 if malformed. */
static size_t dot_string_parse(const char *p, size_t len, char *out, size_t *out_len)
{
	size_t n = 0;

	while (n < len && n < SMTP_MAILBOX_MAX) {
		unsigned char c = (unsigned char)p[n];

		if (c == '.') {
			if (n == 0 || p[n - 1] == '.')
				return 0;
		} else if (!is_atext(c)) {
			break;
		}
		out[n++] = (char)c;
	}
	if (n == 0 || p[n - 1] == '.')
		return 0;
	*out_len = n;
	return n;
}

static bool is_dot_string(const char *p, size_t len)
{
	char out[SMTP_MAILBOX_MAX + 1];
	size_t n = 0;

	return len > 0 && dot_string_parse(p, len, out, &n) == len;
}

/* text = local part, quoted if it must be, and domain. */
static enum smtp_address_error mailbox_text(struct smtp_mailbox *m)
{
	size_t n = 0;

	if (m->quoted)
		m->text[n++] = '"';
	for (const char *p = m->local; *p; p++) {
		if (m->quoted && (*p == '"' || *p == '\\'))
			m->text[n++] = '\\';
		m->text[n++] = *p;
	}
	if (m->quoted)
		m->text[n++] = '"';
	if (m->domain[0]) {
		if (n + 1 + strlen(m->domain) > SMTP_MAILBOX_MAX)
			return ADDRESS_LONG;
		m->text[n++] = '@';
		strcpy(m->text + n, m->domain);
	} else {
		m->text[n] = '\0';
	}
	return ADDRESS_OK;
}

/* The local part at p into m; *used bytes. */
static enum smtp_address_error local_parse(const char *p, size_t len, unsigned flags, struct smtp_mailbox *m, size_t *used)
{
	size_t n = 0;
	bool quoted = len > 0 && p[0] == '"';

	*used = quoted ? quoted_parse(p, len, m->local, &n) : dot_string_parse(p, len, m->local, &n);
	if (*used == 0)
		return len > SMTP_MAILBOX_MAX ? ADDRESS_LONG : ADDRESS_SYNTAX;
	m->local[n] = '\0';
	if (has_8bit(m->local, n)) {
		if (!(flags & MAILBOX_UTF8))
			return ADDRESS_UTF8;
		if (!smtp_utf8_ok(m->local, n))
			return ADDRESS_BAD_UTF8;
		m->utf8 = true;
	}
	if (n > SMTP_LOCAL_MAX && !(flags & MAILBOX_LONG_LOCAL))
		return ADDRESS_LOCAL_LONG;
	m->quoted = quoted && !is_dot_string(m->local, n);
	m->trick = strpbrk(m->local, "%!@") != NULL;
	return ADDRESS_OK;
}

/* One mailbox at the start of p; *used. end: where a domain has to end ('>' or a blank), so that it is found first. */
static enum smtp_address_error mailbox_at(const char *p, size_t len, unsigned flags, const char *end, size_t *used,
					  struct smtp_mailbox *m)
{
	size_t n, from;
	enum smtp_address_error e = local_parse(p, len, flags, m, &n);

	if (e != ADDRESS_OK)
		return e;
	if (n == len || (end && strchr(end, p[n]) && p[n])) {
		*used = n;
		if (!(flags & MAILBOX_POSTMASTER) || strcasecmp(m->local, "postmaster") != 0)
			return ADDRESS_NO_DOMAIN;
		m->domain[0] = '\0';
		return mailbox_text(m);
	}
	if (p[n] != '@')
		return n >= SMTP_MAILBOX_MAX ? ADDRESS_LONG : ADDRESS_SYNTAX;
	from = ++n;
	while (n < len && !(end && p[n] && strchr(end, p[n])))
		n++;
	e = smtp_domain_parse(p + from, n - from, flags, m->domain, &m->address);
	if (e != ADDRESS_OK)
		return e;
	m->literal = m->address.family != 0;
	m->utf8 = m->utf8 || has_8bit(p + from, n - from);
	*used = n;
	return mailbox_text(m);
}

enum smtp_address_error smtp_mailbox_parse(const char *p, size_t len, unsigned flags, struct smtp_mailbox *out)
{
	struct smtp_mailbox m = { 0 };
	size_t used;
	enum smtp_address_error e = mailbox_at(p, len, flags, NULL, &used, &m);

	if (e == ADDRESS_OK)
		*out = m;
	return e;
}

/* "@a.example,@b.example:" before the mailbox, RFC 5321 4.1.2 A-d-l; bytes eaten, 0 if malformed */
static size_t route_skip(const char *p, size_t len, unsigned flags)
{
	char domain[SMTP_DOMAIN_MAX + 1];
	size_t i = 0;

	for (int hops = 0; hops < SMTP_HOPS_MAX; hops++) {
		size_t from;

		if (i >= len || p[i] != '@')
			return 0;
		from = ++i;
		if (i < len && p[i] == '[') {           /* colons inside are not the route's end */
			while (i < len && p[i] != ']')
				i++;
			i++;
		}
		while (i < len && p[i] != ',' && p[i] != ':')
			i++;
		if (i >= len || smtp_domain_parse(p + from, i - from, flags, domain, NULL) != ADDRESS_OK)
			return 0;
		if (p[i++] == ':')
			return i;
	}
	return 0;
}

enum smtp_address_error smtp_path_parse(const char *p, size_t len, unsigned flags, size_t *used, struct smtp_mailbox *out)
{
	struct smtp_mailbox m = { 0 };
	enum smtp_address_error e;
	size_t i = 0, n;

	if (len == 0)
		return ADDRESS_SYNTAX;
	if (p[0] != '<') {
		e = mailbox_at(p, len, flags, " ", &n, &m);
		if (e != ADDRESS_OK)
			return e;
		m.bare_path = true;
		*used = n;
		*out = m;
		return ADDRESS_OK;
	}
	i++;
	if (i < len && p[i] == '>') {
		if (!(flags & MAILBOX_NULL))
			return ADDRESS_SYNTAX;
		*used = i + 1;
		*out = m;
		return ADDRESS_OK;
	}
	if (i < len && p[i] == '@') {
		n = route_skip(p + i, len - i, flags);
		if (n == 0)
			return ADDRESS_SYNTAX;
		i += n;
		m.routed = true;
	}
	e = mailbox_at(p + i, len - i, flags, ">", &n, &m);
	if (e != ADDRESS_OK)
		return e;
	i += n;
	if (i >= len || p[i] != '>')
		return ADDRESS_SYNTAX;
	*used = i + 1;
	*out = m;
	return ADDRESS_OK;
}

const char *smtp_address_reply(enum smtp_address_error e, bool recipient)
{
	switch (e) {
	case ADDRESS_OK:
		break;
	case ADDRESS_NO_DOMAIN:
		return recipient ? "501 5.1.3 The address needs a domain" : "501 5.1.7 The address needs a domain";
	case ADDRESS_BAD_DOMAIN:
		return recipient ? "501 5.1.3 The domain of the address is malformed"
				 : "501 5.1.7 The domain of the address is malformed";
	case ADDRESS_BAD_LITERAL:
		return recipient ? "501 5.1.3 Malformed address literal" : "501 5.1.7 Malformed address literal";
	case ADDRESS_LOCAL_LONG:
		return recipient ? "501 5.1.3 The local part is longer than 64 octets"
				 : "501 5.1.7 The local part is longer than 64 octets";
	case ADDRESS_LONG:
		return recipient ? "501 5.1.3 The address is too long" : "501 5.1.7 The address is too long";
	case ADDRESS_UTF8:
		return "553 5.6.7 An address outside ASCII needs SMTPUTF8";
	case ADDRESS_BAD_UTF8:
		return recipient ? "501 5.1.3 The address is not well-formed UTF-8"
				 : "501 5.1.7 The address is not well-formed UTF-8";
	case ADDRESS_SYNTAX:
		break;
	}
	return recipient ? "501 5.1.3 Malformed recipient address" : "501 5.1.7 Malformed sender address";
}
