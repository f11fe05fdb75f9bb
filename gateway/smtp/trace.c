#include "smtp/trace.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/clock.h"
#include "hop/identity.h"
#include "policy/conf.h"

enum { DATE_MAX = 40, WORD_MAX = 255 };

static const char mark[] = "(Gatepost)";

const char *trace_date(int64_t wall_s, char *out)
{
	time_t t = (time_t)wall_s;
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(out, DATE_MAX, "%a, %d %b %Y %H:%M:%S +0000", &tm);
	return out;
}

/* A word from outside: letters, digits and .-_:[] as they are, anything else as '?'. */
static void add_word(struct buf *out, const char *word)
{
	for (size_t i = 0; i < WORD_MAX && word[i]; i++) {
		char c = word[i];
		bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			  strchr(".-_:[]", c);

		buf_addc(out, ok ? c : '?');
	}
}

/* RFC 3848, RFC 6531 4.3: S with TLS, A with a login. */
static const char *protocol(const struct client *c, bool utf8)
{
	static const char *const words[2][2][2] = {
		{ { "ESMTP", "ESMTPA" }, { "ESMTPS", "ESMTPSA" } },
		{ { "UTF8SMTP", "UTF8SMTPA" }, { "UTF8SMTPS", "UTF8SMTPSA" } },
	};

	if (!utf8 && !c->esmtp)
		return "SMTP";
	return words[utf8][c->tls_version != NULL][c->auth_user != NULL];
}

int trace_received(const struct txn *t, bool utf8, struct buf *out)
{
	/* It says who has connected; whose message it is that a trusted relay has brought stands beside it. */
	const struct client *c = t->client->via ? t->client->via : t->client, *origin = c == t->client ? NULL : t->client;
	const char *name = identity_of(c, NULL).name;
	char date[DATE_MAX];

	buf_adds(out, "Received: from ");
	add_word(out, c->helo && *c->helo ? c->helo : "unknown");
	buf_adds(out, " (");
	add_word(out, name ? name : "unknown");
	buf_addf(out, c->addr.family == AF_INET6 ? " [IPv6:%s])\r\n" : " [%s])\r\n", c->ip);
	if (c->tls_version)
		buf_addf(out, "\t(using %s with cipher %s)\r\n", c->tls_version, c->tls_cipher);
	if (origin && origin->ip[0]) {
		buf_adds(out, "\t(relayed for ");
		add_word(out, origin->helo && *origin->helo ? origin->helo : "unknown");
		buf_addf(out, origin->addr.family == AF_INET6 ? " [IPv6:%s])\r\n" : " [%s])\r\n", origin->ip);
	}
	buf_addf(out, "\tby %s %s with %s id %s", t->site->hostname, mark, protocol(c, utf8), t->id);
	if (t->env.rcpt_count == 1 && strlen(t->env.rcpt[0].address) < WORD_MAX)
		buf_addf(out, "\r\n\tfor <%s>", t->env.rcpt[0].address);
	return buf_addf(out, ";\r\n\t%s\r\n", trace_date(clock_wall_s(), date));
}

void trace_client(const struct site *site, const char *ip, struct buf *out)
{
	if (site->client_header)
		buf_addf(out, "%s: %s\r\n", site->client_header, ip);
}

/* Whether the field holds "by HOSTNAME (Gatepost)", however it was folded since. */
bool trace_is_ours(const struct header_field *h, const char *hostname)
{
	const char *p = h->body, *end = h->body + h->body_len;
	size_t len = strlen(hostname);

	while ((p = memmem(p, (size_t)(end - p), mark, sizeof(mark) - 1))) {
		const char *q = p++;

		while (q > h->body && strchr(" \t\r\n", q[-1]))
			q--;
		if ((size_t)(q - h->body) > len && strncasecmp(q - len, hostname, len) == 0 &&
		    strchr(" \t\n", q[-(ptrdiff_t)len - 1]))
			return true;
	}
	return false;
}

enum trace_loop trace_check(const struct message *m, const char *hostname, int max_hops, int max_ours)
{
	int hops = 0, ours = 0;

	for (size_t i = 0; i < message_field_count(m); i++) {
		const struct header_field *h = message_field(m, i);

		if (h->name_len != 8 || strncasecmp(h->name, "Received", 8) != 0)
			continue;
		hops++;
		ours += trace_is_ours(h, hostname);
	}
	if (hops > max_hops)
		return TRACE_TOO_MANY_HOPS;
	return ours > max_ours ? TRACE_LOOP : TRACE_OK;
}
