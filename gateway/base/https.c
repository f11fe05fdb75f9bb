#include "base/https.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/dns.h"
#include "base/net.h"
#include "base/stream.h"

enum { CONNECT_MS = 10000, STEP_MS = 30000 };

static int left_ms(const struct https_get *q, int most_ms)
{
	int64_t left = q->deadline_ms - clock_ms();

	return left <= 0 ? 0 : left < most_ms ? (int)left : most_ms;
}

static bool address_at(const struct https_get *q, const struct dns_answer *a, size_t i, int family, struct net_addr *out)
{
	char text[NET_TEXT_MAX];

	if (a->status != DNS_OK || i >= a->count || a->rr[i].len != (family == AF_INET ? 4 : 16) || !inet_ntop(family, a->rr[i].data, text, sizeof(text)) ||
	    net_parse(text, out) < 0)
		return false;
	out->port = q->port;
	return !q->usable || q->usable(q->arg, out);
}

/* IPv4 and IPv6 by turns. How many; 0: why. may wait */
static size_t addresses(const struct https_get *q, struct net_addr out[HTTPS_ADDRESSES_MAX], char *why)
{
	AUTO(dns_lookup) struct dns_lookup *four = NULL, *six = NULL;
	const struct dns_answer *a, *b;
	size_t n = 0;

	if (dns_start_within(q->dns, q->host, DNS_A, left_ms(q, STEP_MS), &four) < 0 || dns_start_within(q->dns, q->host, DNS_AAAA, left_ms(q, STEP_MS), &six) < 0) {
		snprintf(why, HTTPS_WHY_MAX, "out of memory");
		return 0;
	}
	a = dns_wait(four);
	b = dns_wait(six);
	for (size_t i = 0; i < HTTPS_ADDRESSES_MAX / 2; i++) {
		n += address_at(q, a, i, AF_INET, &out[n]);
		n += address_at(q, b, i, AF_INET6, &out[n]);
	}
	if (n == 0)
		snprintf(why, HTTPS_WHY_MAX, "%s: %s", q->host,
			 a->status == DNS_OK || b->status == DNS_OK ? "no address that may be connected to" : a->status == DNS_NODATA ? b->why : a->why);
	return n;
}

/* may wait */
static int exchange(const struct https_get *q, struct stream *s, struct http_reply *out, char *why)
{
	int rc = stream_tls_connect(s, q->tls_ctx, q->host, left_ms(q, STEP_MS));

	if (rc < 0) {
		snprintf(why, HTTPS_WHY_MAX, "TLS with %s: %s", q->host, rc == -EPROTO ? stream_error(s) : strerror(-rc));
		return rc;
	}
	rc = stream_printf(s, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: Gatepost\r\nAccept: text/plain\r\nConnection: close\r\n\r\n", q->path, q->host);
	if (rc >= 0)
		rc = stream_flush(s, left_ms(q, STEP_MS));
	while (rc == 0) {
		const char *p;
		size_t len;

		rc = stream_peek(s, left_ms(q, STEP_MS), &p, &len);
		if (rc == -EPIPE && stream_tls_ended(s))        /* an end that TLS does not vouch for may be somebody's cut */
			rc = http_reply_end(out);
		else if (rc == 0) {
			rc = http_reply_feed(out, p, len);
			stream_eat(s, len);
		}
	}
	if (rc < 0)
		snprintf(why, HTTPS_WHY_MAX, "%s: %s", q->host, *out->why ? out->why : rc == -EPIPE ? "the connection was closed too early" : strerror(-rc));
	return rc < 0 ? rc : 0;
}

int https_get(const struct https_get *q, struct http_reply *out, char *why)
{
	struct net_addr a[HTTPS_ADDRESSES_MAX];
	size_t n = addresses(q, a, why);
	int rc = -EHOSTUNREACH;

	for (size_t i = 0; i < n && rc < 0 && rc != -ECANCELED; i++) {
		AUTO(stream) struct stream *s = NULL;
		int ms = left_ms(q, CONNECT_MS);

		rc = ms > 0 ? stream_connect(&a[i], NULL, ms, &s) : -ETIMEDOUT;
		if (rc < 0) {
			snprintf(why, HTTPS_WHY_MAX, "%s: connect: %s", q->host, strerror(-rc));
			continue;
		}
		stream_set_deadline(s, q->deadline_ms);
		return exchange(q, s, out, why);        /* who has answered has answered for all */
	}
	return rc;
}
