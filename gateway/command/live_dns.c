/* live_dns - the resolver: whether it finds anything, whether it validates; and the lists that are asked */
#include <stdio.h>
#include <string.h>

#include "command/live.h"
#include "filters/dnsbl_health.h"
#include "policy/conf.h"

static const char *resolver(const struct dns_conf *d)
{
	for (size_t i = 0; i < d->forward_count; i++)
		if (strcmp(d->forward[i].zone, ".") == 0)
			return "the forwarders";
	return "recursion";
}

void live_dns(struct live_part *p)
{
	const struct dns_conf *d = &p->live->site->dns;
	AUTO(dns_lookup) struct dns_lookup *l = NULL;
	const struct dns_answer *root;

	/* Signed, and in every resolver's cache. */
	if (dns_start_within(p->live->dns, "org", DNS_NS, LIVE_STEP_MS, &l) < 0)
		return;
	root = dns_wait(l);
	if (root->status == DNS_TEMPFAIL)
		live_say(p, LIVE_FAIL, "%s: no answer for the name servers of org (%s): nothing can be looked up%s", resolver(d), root->why,
			 root->bogus ? "; does the forwarder understand DNSSEC, and does the clock go right?" : "");
	else if (root->status != DNS_OK)
		live_say(p, LIVE_WARN, "%s: org is said to have no name servers: this is not the DNS of the Internet", resolver(d));
	else
		live_say(p, LIVE_OK, "names are found by %s", resolver(d));
	if (root->status == DNS_TEMPFAIL)
		return;
	if (!d->dnssec)
		live_say(p, LIVE_WARN, "DNSSEC is not validated (dnssec = no): DANE plays no part, and answers can be forged");
	else if (root->status == DNS_OK && !root->secure)
		live_say(p, LIVE_WARN, "DNSSEC is on, and org is not found to be signed: somebody on the way leaves the signatures out");
	else
		live_say(p, LIVE_OK, "DNSSEC is validated");
}

void live_lists(struct live_part *p)
{
	const struct site *s = p->live->site;

	dnsbl_health_test(s, p->live->dns, NULL);
	for (size_t i = 0; i < s->dnsbl_count && i < DNSBL_ZONES_MAX; i++) {
		enum dnsbl_state state = dnsbl_health_state(i);
		const char *zone = s->dnsbl[i].zone;

		if (!s->dnsbl[i].test)
			live_say(p, LIVE_OK, "%s is not tested (test = no)", zone);
		else if (state == DNSBL_WELL)
			live_say(p, LIVE_OK, "%s answers as it should", zone);
		else if (state == DNSBL_ERRORS)
			live_say(p, LIVE_FAIL, "%s refuses to answer this resolver (127.255.255.x): ask without a public forwarder, or get an account of theirs", zone);
		else if (state == DNSBL_UNTESTED || state == DNSBL_AWAY)
			live_say(p, LIVE_FAIL, "%s does not answer", zone);
		else
			live_say(p, LIVE_FAIL, "%s counts nothing: it %s", zone, dnsbl_health_text(&s->dnsbl[i], state));
	}
}
