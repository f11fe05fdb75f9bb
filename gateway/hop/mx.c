#include "hop/mx.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/dns.h"
#include "smtp/smtp_address.h"

/* A host while its addresses are asked for. */
struct candidate {
	char name[DOMAIN_MAX];
	unsigned preference;
	uint32_t chance;                /* the order among equals */
	struct dns_lookup *a, *aaaa;
	struct net_addr literal;        /* family 0: it is a name */
	unsigned short port;
	bool temporary;                 /* they could not be looked up now */
};

struct search {
	const struct mx_query *q;
	struct dns *dns;
	int64_t until_ms;
	struct mx *mx;
	struct candidate *list;
	size_t count;
	unsigned cut;                   /* our own preference: hosts below it only */
	bool found_us, barred;
};

void mx_free(struct mx *mx)
{
	if (!mx)
		return;
	free(mx->host);
	free(mx);
}

const char *mx_reply(enum mx_status status)
{
	switch (status) {
	case MX_FOUND:
		return NULL;
	case MX_NULL:
		return "556 5.1.10 the recipient's domain takes no mail";       /* RFC 7505 4.1 */
	case MX_NXDOMAIN:
		return "550 5.1.2 the recipient's domain does not exist";
	case MX_NO_ADDRESS:
		return "550 5.4.4 the recipient's domain has no mail server that could be reached";
	case MX_LOOP:
		return "554 5.4.6 mail for the recipient's domain would loop back to this host";
	case MX_TEMPFAIL:
		break;
	}
	return "451 4.4.3 the DNS does not tell now where mail for the recipient's domain goes, try again later";
}

static void say(struct mx *mx, enum mx_status status, const char *name, const char *what)
{
	mx->status = status;
	snprintf(mx->why, sizeof(mx->why), "%.90s: %.60s", name, what);
}

static int left(const struct search *s)
{
	int64_t ms = s->until_ms - clock_ms();

	return ms > 0 ? (int)ms : 0;
}

/* --- the hosts --- */

static int better(const void *x, const void *y)
{
	const struct candidate *a = x, *b = y;

	if (a->preference != b->preference)
		return a->preference < b->preference ? -1 : 1;
	return a->chance < b->chance ? -1 : a->chance > b->chance;
}

static bool has_name(const struct search *s, const char *name)
{
	for (size_t i = 0; i < s->count; i++)
		if (strcmp(s->list[i].name, name) == 0)
			return true;
	return false;
}

/* Sorted, each name once at its best, and no more than are tried. */
static void order(struct search *s)
{
	size_t all = s->count;

	qsort(s->list, all, sizeof(*s->list), better);
	s->count = 0;
	for (size_t i = 0; i < all && s->count < MX_HOSTS_MAX; i++)
		if (!has_name(s, s->list[i].name))
			s->list[s->count++] = s->list[i];
}

static int add(struct search *s, const char *name, unsigned preference)
{
	struct candidate *c = &s->list[s->count];

	if (domain_canonical(name, strlen(name), c->name) < 0)
		return -EINVAL;
	c->preference = preference;
	c->chance = s->q->random ? s->q->random(s->q->arg) : 0;
	c->port = s->q->port;
	s->count++;
	return 0;
}

/* true: mx->status says that there is nothing to look for any more */
static bool read_hosts(struct search *s, const struct dns_answer *answer)
{
	char name[DNS_NAME_MAX];
	bool null = false;
	unsigned preference;

	s->mx->secure = answer->secure;
	for (size_t i = 0; answer->status == DNS_OK && i < answer->count && i < DNS_RR_MAX; i++) {
		if (dns_mx(&answer->rr[i], &preference, name) < 0)
			continue;
		if (!name[0])
			null = true;            /* beside others it means nothing: RFC 7505 3 forbids it */
		else
			add(s, name, preference);
	}
	switch (answer->status) {
	case DNS_TEMPFAIL:
		say(s->mx, MX_TEMPFAIL, s->q->domain, answer->why);
		return true;
	case DNS_NXDOMAIN:
	case DNS_BADNAME:
		say(s->mx, MX_NXDOMAIN, s->q->domain, "no such domain");
		return true;
	case DNS_NODATA:
		s->mx->implicit = true;
		return add(s, s->q->domain, 0) < 0;
	case DNS_OK:
		break;
	}
	if (s->count == 0)
		say(s->mx, null ? MX_NULL : MX_NO_ADDRESS, s->q->domain, null ? "null MX" : "no MX record that holds a host name");
	return s->count == 0;
}

/* --- their addresses --- */

static int ask(struct search *s)
{
	for (size_t i = 0; i < s->count; i++) {
		struct candidate *c = &s->list[i];
		int rc = c->literal.family ? 0 : s->q->ipv6 ? dns_start_within(s->dns, c->name, DNS_AAAA, left(s), &c->aaaa) : 0;

		if (rc == 0 && s->q->ipv4 && !c->literal.family)
			rc = dns_start_within(s->dns, c->name, DNS_A, left(s), &c->a);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* An address as the socket sees it: ::ffff:192.0.2.1 is 192.0.2.1. */
static void unfold(int family, const uint8_t *ip, unsigned short port, struct net_addr *out)
{
	struct net_addr raw = { .family = family, .port = port };
	struct sockaddr_storage sa;

	memcpy(raw.ip, ip, family == AF_INET ? 4 : 16);
	net_to_sockaddr(&raw, &sa);
	net_from_sockaddr((struct sockaddr *)&sa, out);
}

/* The k-th address of an answer; false: it has none. */
static bool address_at(const struct dns_answer *answer, int family, size_t k, unsigned short port, struct net_addr *out)
{
	if (!answer || answer->status != DNS_OK || k >= answer->count || answer->rr[k].len != (family == AF_INET ? 4 : 16))
		return false;
	unfold(family, answer->rr[k].data, port, out);
	return true;
}

/* One address more of a host, unless it is ours, or barred, or one too many. */
static void take(struct search *s, struct mx_host *h, const struct net_addr *a)
{
	const struct mx_query *q = s->q;

	if (q->ours && q->ours(q->arg, a)) {
		s->cut = !s->found_us || h->preference < s->cut ? h->preference : s->cut;
		s->found_us = true;
	} else if (q->usable && !q->usable(q->arg, a)) {
		s->barred = true;
	} else if (h->count < MX_ADDRESSES_MAX) {
		h->address[h->count++] = *a;
	}
}

/* How many addresses an answer has; what it says of the host's security counts. */
static size_t counts(const struct dns_answer *a, struct mx_host *h)
{
	h->secure &= a->secure;
	if (a->canon)
		snprintf(h->canon, sizeof(h->canon), "%s", a->canon);
	return a->count;
}

static bool family_ok(const struct mx_query *q, int family)
{
	return family == AF_INET ? q->ipv4 : q->ipv6;
}

/* Every address is looked at, even where no more are kept: any of them may be ours. may wait */
static void collect(struct search *s, struct candidate *c, struct mx_host *h)
{
	const struct dns_answer *six = c->aaaa ? dns_wait(c->aaaa) : NULL, *four = c->a ? dns_wait(c->a) : NULL;
	size_t most = 0;

	snprintf(h->name, sizeof(h->name), "%s", c->name);
	h->preference = c->preference;
	h->secure = true;
	if (six && six->status == DNS_OK)
		most = counts(six, h);
	if (four && four->status == DNS_OK && counts(four, h) > most)
		most = four->count;
	h->secure &= most > 0;
	for (size_t k = 0; k < most; k++) {
		struct net_addr a;

		if (address_at(six, AF_INET6, k, c->port, &a))
			take(s, h, &a);
		if (address_at(four, AF_INET, k, c->port, &a))
			take(s, h, &a);
	}
	if (c->literal.family && family_ok(s->q, c->literal.family))
		take(s, h, &c->literal);
	if (s->q->hostname && strcasecmp(h->name, s->q->hostname) == 0) {
		s->cut = !s->found_us || h->preference < s->cut ? h->preference : s->cut;
		s->found_us = true;
	}
	if (h->count == 0 && ((six && six->status == DNS_TEMPFAIL) || (four && four->status == DNS_TEMPFAIL))) {
		c->temporary = true;
		snprintf(s->mx->why, sizeof(s->mx->why), "%.90s: %.60s", h->name,
			 six && six->status == DNS_TEMPFAIL ? six->why : four->why);
	}
}

/* What is left when the cut has been made. */
static void keep(struct search *s, size_t hosts)
{
	struct mx *mx = s->mx;
	bool temporary = false;

	for (size_t i = 0; i < hosts; i++) {
		const struct mx_host *h = &mx->host[i];

		if (s->found_us && h->preference >= s->cut)
			continue;
		temporary |= i < s->count && s->list[i].temporary;
		if (h->count > 0 && mx->count++ != i)
			mx->host[mx->count - 1] = *h;
	}
	if (mx->count > 0) {
		mx->status = MX_FOUND;
		mx->why[0] = '\0';
	} else if (temporary) {
		mx->status = MX_TEMPFAIL;
	} else if (s->found_us) {
		say(mx, MX_LOOP, s->q->domain, "the best of its mail servers is this host");
	} else {
		say(mx, MX_NO_ADDRESS, s->q->domain, s->barred ? "its mail servers have only addresses that are never connected to" :
		    "its mail servers have no address");
	}
}

static int resolve(struct search *s)
{
	int rc = ask(s);

	s->mx->host = calloc(MX_HOSTS_MAX, sizeof(*s->mx->host));
	if (rc < 0 || !s->mx->host)
		return -ENOMEM;
	for (size_t i = 0; i < s->count; i++)
		collect(s, &s->list[i], &s->mx->host[i]);
	keep(s, s->count);
	return 0;
}

static int find_literal(struct search *s, const struct net_addr *literal)
{
	struct mx *mx = s->mx;
	struct net_addr a;

	unfold(literal->family, literal->ip, s->q->port, &a);
	mx->literal = true;
	mx->host = calloc(1, sizeof(*mx->host));
	if (!mx->host)
		return -ENOMEM;
	net_text(&a, mx->host->name);
	if (family_ok(s->q, a.family))
		take(s, mx->host, &a);
	keep(s, 1);
	return 0;
}

static int find(struct search *s)
{
	AUTO(dns_lookup) struct dns_lookup *l = NULL;
	char domain[SMTP_DOMAIN_MAX + 1], name[DOMAIN_MAX];
	struct net_addr literal;
	const struct dns_answer *answer;

	if (s->q->domain[0] == '[') {
		if (smtp_domain_parse(s->q->domain, strlen(s->q->domain), 0, domain, &literal) == ADDRESS_OK)
			return find_literal(s, &literal);
		say(s->mx, MX_NXDOMAIN, s->q->domain, "no address");
		return 0;
	}
	if (domain_canonical(s->q->domain, strlen(s->q->domain), name) < 0) {
		say(s->mx, MX_NXDOMAIN, s->q->domain, "not a domain name");
		return 0;
	}
	if (dns_start_within(s->dns, name, DNS_MX, left(s), &l) < 0)
		return -ENOMEM;
	answer = dns_wait(l);
	s->list = calloc(answer->status == DNS_OK && answer->count ? answer->count : 1, sizeof(*s->list));
	if (!s->list)
		return -ENOMEM;
	if (read_hosts(s, answer))
		return 0;
	order(s);
	return resolve(s);
}

/* Whatever came out is given; what was asked is dropped. */
static int finish(struct search *s, int rc, struct mx **out)
{
	for (size_t i = 0; s->list && i < s->count; i++) {
		dns_drop(s->list[i].a);
		dns_drop(s->list[i].aaaa);
	}
	free(s->list);
	if (rc < 0) {
		mx_free(s->mx);
		return rc;
	}
	*out = s->mx;
	return 0;
}

int mx_find(struct dns *dns, const struct mx_query *q, struct mx **out)
{
	struct search s = { .q = q, .dns = dns, .until_ms = clock_ms() + q->timeout_ms, .mx = calloc(1, sizeof(*s.mx)) };

	return s.mx ? finish(&s, find(&s), out) : -ENOMEM;
}

int mx_servers(struct dns *dns, const struct mx_query *q, const struct mx_server *server, size_t count, struct mx **out)
{
	struct search s = { .q = q, .dns = dns, .until_ms = clock_ms() + q->timeout_ms, .mx = calloc(1, sizeof(*s.mx)) };

	if (!s.mx)
		return -ENOMEM;
	s.list = calloc(MX_HOSTS_MAX, sizeof(*s.list));
	for (size_t i = 0; s.list && i < count && i < MX_HOSTS_MAX; i++) {
		struct candidate *c = &s.list[s.count++];

		snprintf(c->name, sizeof(c->name), "%s", server[i].host);
		c->preference = (unsigned)i;
		c->port = server[i].port;
		if (net_parse(server[i].host, &c->literal) == 0)
			c->literal.port = c->port;
	}
	return finish(&s, s.list ? resolve(&s) : -ENOMEM, out);
}
