/* advise_dane - TLSA records of the hosts that take the domain's mail, RFC 7672: whether they are there, of use, and signed */
#include <stdio.h>

#include "command/advise.h"

static const char NAME[] = "TLSA";

enum { TLSA_HEAD = 3 };                 /* usage, selector, matching type: RFC 6698 section 2.1 */

/* DANE-TA(2) and DANE-EE(3) alone count for mail (RFC 7672 section 3.1); with a digest that is known, of its length. */
static bool is_usable(const struct dns_rr *rr)
{
	size_t len = rr->len < TLSA_HEAD ? 0 : rr->len - TLSA_HEAD;

	if (len == 0 || (rr->data[0] != 2 && rr->data[0] != 3) || rr->data[1] > 1)
		return false;
	return rr->data[2] == 0 || (rr->data[2] == 1 && len == 32) || (rr->data[2] == 2 && len == 64);
}

/* Whether the host's records make senders use TLS. */
static bool judge(struct advise *a, const char *host, const struct dns_answer *answer)
{
	size_t usable = 0;

	if (answer->status == DNS_TEMPFAIL) {
		advise_say(a, ADVICE_BAD, NAME, "_25._tcp.%s cannot be looked up (%s): senders that use DANE do not deliver", host, answer->why);
		return false;
	}
	if (answer->status != DNS_OK)
		return false;
	for (size_t i = 0; i < answer->count; i++)
		usable += is_usable(&answer->rr[i]);
	if (usable == 0)
		advise_say(a, ADVICE_WARN, NAME, "_25._tcp.%s has no record that senders of mail use: expected usage 3 (or 2), such as \"3 1 1 ...\"", host);
	else if (!a->dnssec)
		advise_say(a, ADVICE_OK, NAME, "_25._tcp.%s has %zu usable record%s; whether it is signed is not known, as dnssec is off", host, usable,
			   usable > 1 ? "s" : "");
	else if (!answer->secure)
		advise_say(a, ADVICE_WARN, NAME, "_25._tcp.%s has records, but is not signed with DNSSEC: they count nothing", host);
	else
		advise_say(a, ADVICE_OK, NAME, "_25._tcp.%s has %zu usable record%s, signed", host, usable, usable > 1 ? "s" : "");
	return usable > 0 && answer->secure;
}

void advise_dane(struct advise *a)
{
	size_t covered = 0;

	for (size_t i = 0; i < a->host_count; i++) {
		AUTO(dns_lookup) struct dns_lookup *l = NULL;
		char name[DOMAIN_MAX + 16];

		snprintf(name, sizeof(name), "_25._tcp.%s", a->host[i].name);
		if (dns_start(a->dns, name, DNS_TLSA, &l) == 0)
			covered += judge(a, a->host[i].name, dns_wait(l));
	}
	a->protected |= covered > 0 && covered == a->host_count;
}
