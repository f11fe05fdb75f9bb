/* advise_sts - whether senders are told to use TLS: MTA-STS, RFC 8461, its record, its policy, and the MX records that it has to name */
#include <stdio.h>

#include "base/clock.h"
#include "command/advise.h"
#include "hop/mta_sts_cache.h"

static const char NAME[] = "MTA-STS";

enum { FETCH_MS = 20000, AGE_SHORT_S = 86400 };

void advise_sts_judge(struct advise *a, const struct mta_sts_policy *p)
{
	size_t missing = 0;

	for (size_t i = 0; p->mode != MTA_STS_NONE && i < a->host_count; i++)
		if (!mta_sts_allows(p, a->host[i].name)) {
			advise_say(a, p->mode == MTA_STS_ENFORCE ? ADVICE_BAD : ADVICE_WARN, NAME, "the policy does not name %s, an MX of the domain: %s", a->host[i].name,
				   p->mode == MTA_STS_ENFORCE ? "senders do not deliver there" : "in mode enforce, senders would not deliver there");
			missing++;
		}
	if (p->mode == MTA_STS_NONE)
		advise_say(a, ADVICE_WARN, NAME, "the policy is of mode none: senders need no TLS");
	else if (p->mode == MTA_STS_TESTING)
		advise_say(a, ADVICE_WARN, NAME, "the policy is of mode testing, which protects nothing: when the reports are good, go on to enforce");
	else if (missing == 0)
		advise_say(a, ADVICE_OK, NAME, "the policy is enforced, and names every MX");
	if (p->mode == MTA_STS_ENFORCE && p->max_age_s < AGE_SHORT_S)
		advise_say(a, ADVICE_WARN, NAME, "the policy is kept for %d seconds only: weeks are better, so that it cannot be kept from senders", p->max_age_s);
	a->protected |= p->mode == MTA_STS_ENFORCE && missing == 0;
}

/* may wait */
static void fetch(struct advise *a)
{
	AUTO(mta_sts_policy) struct mta_sts_policy *p = NULL;

	if (!a->sts || mta_sts_find(a->sts, a->domain, clock_ms() + FETCH_MS, &p) < 0)
		return;
	if (p)
		advise_sts_judge(a, p);
	else
		advise_say(a, ADVICE_BAD, NAME, "the record is there, but no policy at https://mta-sts.%s/.well-known/mta-sts.txt that senders could read: "
			   "it needs a certificate of a known CA for that name", a->domain);
}

void advise_sts(struct advise *a)
{
	AUTO(dns_lookup) struct dns_lookup *l = NULL;
	char name[DOMAIN_MAX + 16], id[MTA_STS_ID_MAX + 1];
	const struct dns_answer *txt;

	if (a->null_mx || !a->host_count)
		return;
	snprintf(name, sizeof(name), "_mta-sts.%s", a->domain);
	if (dns_start(a->dns, name, DNS_TXT, &l) < 0)
		return;
	txt = dns_wait(l);
	if (txt->status == DNS_TEMPFAIL)
		advise_say(a, ADVICE_WARN, NAME, "the DNS gives no answer for TXT of %s", name);
	else if (txt->status != DNS_OK)
		advise_say(a, a->protected ? ADVICE_OK : ADVICE_WARN, NAME, a->protected ? "there is no record; DANE does the same" :
			   "nothing makes senders use TLS: whoever sits between can read the mail. Publish a policy (RFC 8461), or TLSA records with DNSSEC");
	else if (mta_sts_id(txt, id) < 0)
		advise_say(a, ADVICE_BAD, NAME, "%s has no record that counts: expected exactly one, \"v=STSv1; id=...\", with an id of letters and digits", name);
	else
		fetch(a);
}
