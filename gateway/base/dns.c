#include "base/dns.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LABEL_MAX = 63 };        /* RFC 1035 2.3.4 */

/* ---- asking ---- */

static void bad_drop(struct dns_lookup *l)
{
	free(l);
}

static const struct dns_ops bad_ops = { .drop = bad_drop };

/* A name that is none is answered here and never sent: resolvers differ in what they make of one. */
static int bad_name(struct dns_lookup **out)
{
	struct dns_lookup *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->ops = &bad_ops;
	l->answer.status = DNS_BADNAME;
	l->answer.why = "not a domain name";
	future_resolve(&l->future, 0);
	*out = l;
	return 0;
}

int dns_start_within(struct dns *d, const char *name, enum dns_type type, int timeout_ms, struct dns_lookup **out)
{
	if (!dns_name_ok(name))
		return bad_name(out);
	if (timeout_ms <= 0)
		timeout_ms = 1;                 /* the budget is spent: still an answer, at once */
	else if (d->timeout_ms > 0 && timeout_ms > d->timeout_ms)
		timeout_ms = d->timeout_ms;
	return d->ops->start(d, name, type, timeout_ms, out);
}

int dns_start(struct dns *d, const char *name, enum dns_type type, struct dns_lookup **out)
{
	return dns_start_within(d, name, type, d->timeout_ms, out);
}

void dns_notify(struct dns_lookup *l, void (*fn)(struct dns_lookup *l, void *arg), void *arg)
{
	if (l->future.done) {
		fn(l, arg);
		return;
	}
	l->notify = fn;
	l->notify_arg = arg;
}

void dns_lookup_resolve(struct dns_lookup *l)
{
	void (*fn)(struct dns_lookup *, void *) = l->notify;

	if (l->future.done)
		return;
	l->notify = NULL;
	future_resolve(&l->future, 0);          /* a waiting task runs later, from the loop's queue: l is still there */
	if (fn)
		fn(l, l->notify_arg);
}

const struct dns_answer *dns_wait(struct dns_lookup *l)
{
	static const struct dns_answer cancelled = { .status = DNS_TEMPFAIL, .why = "cancelled" };

	/* The resolver keeps the deadline: it resolves every lookup. */
	if (!l->future.done && future_wait(&l->future, -1) < 0 && !l->future.done)
		return &cancelled;
	return &l->answer;
}

void dns_drop(struct dns_lookup *l)
{
	if (!l)
		return;
	l->notify = NULL;
	l->ops->drop(l);
}

/* ---- names ---- */

/* One octet of a label in text at *p, which moves on; -1 when the escape is broken. RFC 1035 5.1 */
static int text_octet(const char **p)
{
	const char *s = *p;
	int v;

	if (*s != '\\') {
		*p = s + 1;
		return (unsigned char)*s;
	}
	if (s[1] < '0' || s[1] > '9') {
		*p = s + 2;
		return s[1] ? (unsigned char)s[1] : -1;
	}
	if (s[2] < '0' || s[2] > '9' || s[3] < '0' || s[3] > '9')
		return -1;
	v = (s[1] - '0') * 100 + (s[2] - '0') * 10 + (s[3] - '0');
	*p = s + 4;
	return v <= 255 ? v : -1;
}

int dns_name_wire(const char *name, uint8_t *out)
{
	size_t label = 0, len = 1;              /* where the present label's length stands; bytes so far */

	for (const char *p = name;; ) {
		int c;

		if (*p == '.' || *p == '\0') {
			size_t n = len - label - 1;

			if (n == 0 || n > LABEL_MAX || len >= DNS_WIRE_MAX)
				return -EINVAL;
			out[label] = (uint8_t)n;
			label = len++;
			if (*p++ == '\0')
				break;
			continue;
		}
		c = text_octet(&p);
		if (c < 0 || len >= DNS_WIRE_MAX)
			return -EINVAL;
		out[len++] = (uint8_t)c;
	}
	out[label] = 0;
	return (int)len;
}

bool dns_name_ok(const char *name)
{
	uint8_t wire[DNS_WIRE_MAX];

	return dns_name_wire(name, wire) > 0;
}

/* Append one octet of a label as text; what a reader could mistake for something else is escaped. */
static char *put_octet(char *o, uint8_t c)
{
	if (c == '.' || c == '\\') {
		*o++ = '\\';
		*o++ = (char)c;
	} else if (c > ' ' && c < 0x7f) {
		*o++ = (char)c;
	} else {
		*o++ = '\\';
		*o++ = (char)('0' + c / 100);
		*o++ = (char)('0' + c / 10 % 10);
		*o++ = (char)('0' + c % 10);
	}
	return o;
}

/* At most 250 octets in labels, four characters each, and dots: fits DNS_NAME_MAX. */
int dns_name(const struct dns_rr *rr, size_t off, char *out)
{
	const uint8_t *d = rr->data;
	size_t total = 1, start = off;
	char text[DNS_NAME_MAX], *o = text;

	for (;;) {
		size_t n;

		if (off >= rr->len)
			return -EBADMSG;
		n = d[off++];
		if (n == 0)
			break;
		total += n + 1;
		if (n > LABEL_MAX || n > rr->len - off || total > DNS_WIRE_MAX)
			return -EBADMSG;        /* compression (n >= 192) has been undone by whoever answers */
		if (off - 1 != start)
			*o++ = '.';
		for (; n > 0; n--)
			o = put_octet(o, d[off++]);
	}
	*o = '\0';
	memcpy(out, text, (size_t)(o - text) + 1);
	return 0;
}

/* ---- RDATA ---- */

int dns_txt(const struct dns_rr *rr, char **out, size_t *len)
{
	const uint8_t *d = rr->data;
	size_t n = 0;
	char *text;

	if (rr->len == 0)
		return -EBADMSG;                /* RFC 1035 3.3.14: one or more strings */
	for (size_t i = 0; i < rr->len; i += 1u + d[i])
		if (d[i] > rr->len - i - 1)
			return -EBADMSG;
	text = malloc(rr->len + 1);
	if (!text)
		return -ENOMEM;
	for (size_t i = 0; i < rr->len; i += 1u + d[i]) {
		memcpy(text + n, d + i + 1, d[i]);
		n += d[i];
	}
	text[n] = '\0';
	*out = text;
	*len = n;
	return 0;
}

int dns_mx(const struct dns_rr *rr, unsigned *preference, char *out)
{
	if (rr->len < 3)
		return -EBADMSG;
	if (dns_name(rr, 2, out) < 0)
		return -EBADMSG;
	*preference = (unsigned)rr->data[0] << 8 | rr->data[1];
	return 0;
}

/* ---- reverse names ---- */

int dns_reverse(const struct sockaddr *sa, const char *zone, char *out, size_t size)
{
	char labels[64 + 1];
	int n = 0;

	if (sa->sa_family == AF_INET) {
		const uint8_t *a = (const uint8_t *)&((const struct sockaddr_in *)(const void *)sa)->sin_addr;

		n = snprintf(labels, sizeof(labels), "%u.%u.%u.%u", a[3], a[2], a[1], a[0]);
		zone = zone ? zone : "in-addr.arpa";
	} else if (sa->sa_family == AF_INET6) {
		const uint8_t *a = ((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr.s6_addr;

		for (int i = 15; i >= 0; i--) {
			labels[n++] = "0123456789abcdef"[a[i] & 15];
			labels[n++] = '.';
			labels[n++] = "0123456789abcdef"[a[i] >> 4];
			labels[n++] = '.';
		}
		labels[--n] = '\0';
		zone = zone ? zone : "ip6.arpa";
	} else {
		return -EAFNOSUPPORT;
	}
	if ((size_t)n + 1 + strlen(zone) > 253 || (size_t)n + 1 + strlen(zone) >= size)
		return -ENOSPC;
	snprintf(out, size, "%s.%s", labels, zone);
	return 0;
}
