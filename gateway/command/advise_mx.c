/* advise_mx - where mail for the domain goes: its MX records, RFC 5321 section 5.1, RFC 7505, RFC 2181 section 10.3 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "command/advise.h"

static const char NAME[] = "MX";

/* Nobody in the Internet can connect there (RFC 6890). */
static bool is_private(const struct net_addr *a)
{
	static const char *const networks[] = {
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "224.0.0.0/3",
		"::/127", "fc00::/7", "fe80::/10", "ff00::/8",
	};
	struct net_prefix p;

	for (size_t i = 0; i < sizeof(networks) / sizeof(*networks); i++)
		if (net_parse_prefix(networks[i], &p) == 0 && net_in(a, &p))
			return true;
	return false;
}

static void judge_host(struct advise *a, const struct advise_host *h)
{
	struct net_addr literal;
	size_t private = 0;
	char ip[NET_TEXT_MAX];

	if (net_parse(h->name, &literal) == 0) {
		advise_say(a, ADVICE_BAD, NAME, "%s is an address, and has to be the name of a host: senders cannot use it", h->name);
		return;
	}
	if (h->alias)
		advise_say(a, ADVICE_WARN, NAME, "%s is an alias (CNAME), which an MX must not be: some senders refuse it; name the host itself", h->name);
	if (h->count == 0) {
		advise_say(a, h->unknown ? ADVICE_WARN : ADVICE_BAD, NAME, h->unknown ? "the DNS gives no answer for the addresses of %s" :
			   "%s has no address: senders cannot use it", h->name);
		return;
	}
	for (size_t i = 0; i < h->count; i++)
		if (is_private(&h->address[i])) {
			advise_say(a, ADVICE_BAD, NAME, "%s has the address %s, where nobody outside can connect to", h->name, net_text(&h->address[i], ip));
			private++;
		}
	if (private == 0 && !h->alias)
		advise_say(a, ADVICE_OK, NAME, "%u %s, %s%s", h->preference, h->name, net_text(&h->address[0], ip), h->count > 1 ? " and others" : "");
}

static void addresses_add(struct advise_host *h, const struct dns_answer *answer, int family)
{
	size_t len = family == AF_INET6 ? 16 : 4;

	h->unknown |= answer->status == DNS_TEMPFAIL;
	for (size_t i = 0; i < answer->count && h->count < ADVISE_HOST_ADDRESSES_MAX; i++) {
		struct net_addr *to = &h->address[h->count];

		if (answer->rr[i].len != len)
			continue;
		to->family = family;
		memcpy(to->ip, answer->rr[i].data, len);
		h->count++;
	}
}

/* may wait */
static void find_addresses(struct advise *a, struct advise_host *h)
{
	AUTO(dns_lookup) struct dns_lookup *v4 = NULL, *v6 = NULL, *alias = NULL;

	if (dns_start(a->dns, h->name, DNS_A, &v4) < 0 || dns_start(a->dns, h->name, DNS_AAAA, &v6) < 0 ||
	    dns_start(a->dns, h->name, DNS_CNAME, &alias) < 0) {
		h->unknown = true;
		return;
	}
	addresses_add(h, dns_wait(v4), AF_INET);
	addresses_add(h, dns_wait(v6), AF_INET6);
	h->alias = dns_wait(alias)->status == DNS_OK;
}

static struct advise_host *host_new(struct advise *a, const char *name, unsigned preference)
{
	struct advise_host *h;

	if (a->host_count == ADVISE_HOSTS_MAX)
		return NULL;
	h = &a->host[a->host_count++];
	*h = (struct advise_host){ .preference = preference };
	if (domain_canonical(name, strlen(name), h->name) < 0)
		snprintf(h->name, sizeof(h->name), "%s", name);
	return h;
}

/* The hosts that the records name. */
static void read_records(struct advise *a, const struct dns_answer *mx)
{
	size_t nulls = 0;

	for (size_t i = 0; i < mx->count; i++) {
		char name[DNS_NAME_MAX];
		unsigned preference;

		if (dns_mx(&mx->rr[i], &preference, name) < 0)
			continue;
		if (name[0])
			host_new(a, name, preference);
		else
			nulls++;
	}
	if (nulls > 0 && a->host_count > 0)
		advise_say(a, ADVICE_BAD, NAME, "the null MX stands beside others: it means that the domain takes no mail, and must stand alone (RFC 7505)");
	a->null_mx = nulls > 0 && a->host_count == 0;
	if (a->null_mx)
		advise_say(a, ADVICE_OK, NAME, "the domain says that it takes no mail (null MX)");
}

/* Without an MX the domain itself is the host, section 5.1. may wait */
static void judge_implicit(struct advise *a)
{
	struct advise_host *h = host_new(a, a->domain, 0);

	find_addresses(a, h);
	if (h->count > 0)
		advise_say(a, ADVICE_WARN, NAME, "there is no MX record: senders try the addresses of %s itself. Publish one, or \"0 .\" if it takes no mail", a->domain);
	else if (h->unknown)
		advise_say(a, ADVICE_WARN, NAME, "the DNS gives no answer for the addresses of %s", a->domain);
	else
		advise_say(a, ADVICE_BAD, NAME, "there is neither an MX record nor an address: nobody can answer mail from here. Publish an MX, or \"0 .\" if it takes no mail");
	a->host_count = h->count > 0;
}

void advise_mx(struct advise *a)
{
	AUTO(dns_lookup) struct dns_lookup *l = NULL;
	const struct dns_answer *mx;

	if (dns_start(a->dns, a->domain, DNS_MX, &l) < 0)
		return;
	mx = dns_wait(l);
	if (mx->status == DNS_TEMPFAIL) {
		advise_say(a, ADVICE_WARN, NAME, "the DNS gives no answer for MX of %s (%s)", a->domain, mx->why);
	} else if (mx->status == DNS_NXDOMAIN) {
		advise_say(a, ADVICE_BAD, NAME, "there is no domain %s: many receivers refuse mail from it", a->domain);
	} else if (mx->status != DNS_OK) {
		judge_implicit(a);
	} else {
		read_records(a, mx);
		for (size_t i = 0; i < a->host_count; i++) {
			find_addresses(a, &a->host[i]);
			judge_host(a, &a->host[i]);
		}
	}
}
