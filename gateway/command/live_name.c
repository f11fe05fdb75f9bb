/* live_name - what the world finds under our names: the gateway's own, both ways, and the MX and SPF of each domain */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command/advise.h"
#include "command/live.h"
#include "policy/conf.h"

enum { NAMES_MAX = 10 };

/* Addresses of a name, appended to out (LIVE_OURS_MAX). may wait */
static size_t addresses(struct dns *dns, const char *name, struct net_addr *out, size_t count, bool *unknown)
{
	static const struct { enum dns_type type; int family; size_t len; } kinds[] = { { DNS_A, AF_INET, 4 }, { DNS_AAAA, AF_INET6, 16 } };

	for (size_t k = 0; k < 2; k++) {
		AUTO(dns_lookup) struct dns_lookup *l = NULL;
		const struct dns_answer *a;

		if (dns_start_within(dns, name, kinds[k].type, LIVE_STEP_MS, &l) < 0)
			continue;
		a = dns_wait(l);
		*unknown |= a->status == DNS_TEMPFAIL;
		for (size_t i = 0; i < a->count && count < LIVE_OURS_MAX; i++)
			if (a->rr[i].len == kinds[k].len) {
				memset(&out[count], 0, sizeof(out[count]));
				out[count].family = (unsigned char)kinds[k].family;
				memcpy(out[count++].ip, a->rr[i].data, kinds[k].len);
			}
	}
	return count;
}

size_t live_ours(struct live *l, struct net_addr *out)
{
	bool unknown = false;
	size_t n = addresses(l->dns, l->site->hostname, out, 0, &unknown);

	for (size_t i = 0; i < l->site->outbound.source_count && n < LIVE_OURS_MAX; i++)
		out[n++] = l->site->outbound.source[i];
	return n;
}

/* The name of an address is ours, or another, or none. may wait */
static void look_back(struct live_part *p, const struct net_addr *a, bool sends)
{
	AUTO(dns_lookup) struct dns_lookup *l = NULL;
	const struct dns_answer *names;
	const char *hostname = p->live->site->hostname;
	char ip[NET_TEXT_MAX], reverse[DNS_NAME_MAX], other[DNS_NAME_MAX] = "";
	struct sockaddr_storage sa;

	net_text(a, ip);
	net_to_sockaddr(a, &sa);
	if (dns_reverse((struct sockaddr *)&sa, NULL, reverse, sizeof(reverse)) < 0 || dns_start_within(p->live->dns, reverse, DNS_PTR, LIVE_STEP_MS, &l) < 0)
		return;
	names = dns_wait(l);
	for (size_t i = 0; i < names->count && i < NAMES_MAX; i++) {
		char text[DNS_NAME_MAX], name[DOMAIN_MAX];

		if (dns_name(&names->rr[i], 0, text) < 0 || domain_canonical(text, strlen(text), name) < 0)
			continue;
		if (strcmp(name, hostname) == 0) {
			live_say(p, LIVE_OK, "%s is called %s, too%s", ip, hostname, sends ? ", where mail leaves from" : "");
			return;
		}
		snprintf(other, sizeof(other), "%s", name);
	}
	if (names->status == DNS_TEMPFAIL)
		live_say(p, LIVE_WARN, "the DNS gives no answer for the name of %s (%s)", ip, names->why);
	else if (other[0])
		live_say(p, LIVE_WARN, "%s is called %s, and we say %s in our greeting and HELO: make both agree, by the PTR record or by hostname", ip, other, hostname);
	else
		live_say(p, LIVE_WARN, "%s has no name (PTR): many receivers refuse mail from such an address; ask whoever gave it to you%s", ip,
			 sends ? "" : ", if mail leaves from there");
}

void live_name(struct live_part *p)
{
	const struct site *s = p->live->site;
	struct net_addr ours[LIVE_OURS_MAX];
	bool unknown = false;
	size_t n = addresses(p->live->dns, s->hostname, ours, 0, &unknown);

	if (n == 0)
		live_say(p, unknown ? LIVE_WARN : LIVE_FAIL, unknown ? "the DNS gives no answer for the addresses of %s" :
			 "%s has no address: receivers that look up our HELO refuse our mail, and no MX can name us", s->hostname);
	for (size_t i = 0; i < n; i++) {
		char ip[NET_TEXT_MAX];

		live_say(p, LIVE_OK, "%s has the address %s", s->hostname, net_text(&ours[i], ip));
		look_back(p, &ours[i], false);
	}
	for (size_t i = 0; i < s->outbound.source_count; i++)
		look_back(p, &s->outbound.source[i], true);
}

/* --- a domain --- */

static bool leads_to_us(const struct advise *a, const char *hostname, const struct net_addr *ours, size_t count)
{
	for (size_t i = 0; i < a->host_count; i++) {
		if (strcmp(a->host[i].name, hostname) == 0)
			return true;
		for (size_t k = 0; k < a->host[i].count; k++)
			for (size_t o = 0; o < count; o++)
				if (net_same_ip(&a->host[i].address[k], &ours[o]))
					return true;
	}
	return false;
}

/* What the pieces of `gatepost advise` have said, but for what is well. */
static void pass_on(struct live_part *p, const struct advise *a, size_t from)
{
	for (size_t i = from; i < a->count; i++)
		if (a->list[i].level != ADVICE_OK)
			live_say(p, a->list[i].level == ADVICE_BAD ? LIVE_FAIL : LIVE_WARN, "%s: %s (gatepost advise %s tells more)", a->list[i].subject,
				 a->list[i].text, a->domain);
}

void live_domain(struct live_part *p)
{
	const struct site *s = p->live->site;
	struct advise *a = calloc(1, sizeof(*a));
	struct net_addr ours[LIVE_OURS_MAX];
	size_t n = live_ours(p->live, ours), spf;

	if (!a)
		return;
	a->dns = p->live->dns;
	a->site = s;
	a->dnssec = s->dns.dnssec;
	snprintf(a->domain, sizeof(a->domain), "%s", p->domain);
	for (size_t i = 0; s->outbound.source_count == 0 && i < n && a->from_count < ADVISE_ADDRESSES_MAX; i++)
		a->from[a->from_count++] = ours[i];
	for (size_t i = 0; i < s->outbound.source_count && a->from_count < ADVISE_ADDRESSES_MAX; i++)
		a->from[a->from_count++] = s->outbound.source[i];
	advise_mx(a);
	pass_on(p, a, 0);
	if (leads_to_us(a, s->hostname, ours, n))
		live_say(p, LIVE_OK, "its MX leads to us");
	else if (a->host_count)
		live_say(p, LIVE_WARN, "its MX leads to %s%s, not to %s: mail comes here only if whoever has it passes it on", a->host[0].name,
			 a->host_count > 1 ? " and others" : "", s->hostname);
	spf = a->count;
	advise_spf(a);
	pass_on(p, a, spf);
	for (size_t i = spf; i < a->count; i++)
		if (a->list[i].level == ADVICE_OK)
			live_say(p, LIVE_OK, "SPF: %s", a->list[i].text);
	advise_release(a);
	free(a);
}
