#include "hop/xclient.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>

enum { HELO_MAX = 255 };        /* RFC 5321 4.5.3.1.2; Postfix refuses a longer one */

static const struct { const char *word; unsigned bit; } attributes[] = {
	{ "NAME", XCLIENT_NAME }, { "ADDR", XCLIENT_ADDR }, { "PORT", XCLIENT_PORT }, { "PROTO", XCLIENT_PROTO }, { "HELO", XCLIENT_HELO },
	{ "LOGIN", XCLIENT_LOGIN },
};

unsigned xclient_offered(const char *p, const char *end)
{
	unsigned offered = 0;

	while (p < end) {
		const char *word = p;

		while (p < end && *p != ' ')
			p++;
		for (size_t i = 0; i < sizeof(attributes) / sizeof(*attributes); i++)
			if (strlen(attributes[i].word) == (size_t)(p - word) && strncasecmp(word, attributes[i].word, (size_t)(p - word)) == 0)
				offered |= attributes[i].bit;
		p += p < end;
	}
	return offered;
}

bool xclient_helo_ok(const char *helo)
{
	size_t n = 0;

	for (; helo && helo[n]; n++)
		if ((unsigned char)helo[n] <= ' ' || (unsigned char)helo[n] > '~')
			return false;
	return n > 0 && n <= HELO_MAX;
}

static void add_xtext(const char *p, struct buf *out)
{
	for (; *p; p++) {
		unsigned char c = (unsigned char)*p;

		if (c <= ' ' || c > '~' || c == '+' || c == '=')
			buf_addf(out, "+%02X", c);
		else
			buf_addc(out, (char)c);
	}
}

/* " KEY=value", or that there is none. */
static void add_text(const char *key, const char *value, struct buf *out)
{
	buf_addf(out, " %s=", key);
	if (value && *value)
		add_xtext(value, out);
	else
		buf_adds(out, "[UNAVAILABLE]");
}

static int build(const struct smtp_identity *who, const char *name, unsigned offered, struct buf *out)
{
	char ip[NET_TEXT_MAX];

	buf_clear(out);
	buf_adds(out, "XCLIENT");
	if (offered & XCLIENT_NAME)
		add_text("NAME", name, out);
	net_text(&who->addr, ip);
	buf_addf(out, " ADDR=%s%s", who->addr.family == AF_INET6 ? "IPV6:" : "", ip);
	if (offered & XCLIENT_PORT && who->addr.port)
		buf_addf(out, " PORT=%u", who->addr.port);
	if (offered & XCLIENT_PROTO)
		buf_addf(out, " PROTO=%s", who->esmtp ? "ESMTP" : "SMTP");
	if (offered & XCLIENT_HELO)
		add_text("HELO", who->helo && strlen(who->helo) <= HELO_MAX ? who->helo : NULL, out);
	if (offered & XCLIENT_LOGIN && who->login)
		add_text("LOGIN", who->login, out);
	return buf_adds(out, "\r\n");
}

int xclient_command(const struct smtp_identity *who, unsigned offered, struct buf *out)
{
	int rc = build(who, who->name, offered, out);

	if (rc == -ENOSPC)
		rc = build(who, who->name, offered & ~(unsigned)XCLIENT_HELO, out);
	if (rc == -ENOSPC)
		rc = build(who, NULL, offered & ~(unsigned)XCLIENT_HELO, out);
	return rc == -ENOSPC ? build(who, NULL, offered & ~(unsigned)(XCLIENT_HELO | XCLIENT_LOGIN), out) : rc;
}
