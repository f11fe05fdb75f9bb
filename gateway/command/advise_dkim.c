/* advise_dkim - the domain's keys: those of the configuration, and those that were asked for by their selectors */
#include <stdio.h>
#include <string.h>

#include "command/advise.h"
#include "command/dkim_published.h"
#include "policy/conf.h"

static const char NAME[] = "DKIM";

static void judge(struct advise *a, const char *name, bool ours, enum dkim_published p, const char *why)
{
	switch (p) {
	case DKIM_PUBLISHED_GOOD:
		advise_say(a, ADVICE_OK, NAME, "%s: %s%s", name, why, ours ? ", the one that is signed with" : "");
		break;
	case DKIM_PUBLISHED_UNKNOWN:
	case DKIM_PUBLISHED_SEVERAL:
		advise_say(a, ADVICE_WARN, NAME, "%s: %s", name, why);
		break;
	case DKIM_PUBLISHED_TESTING:
		advise_say(a, ADVICE_WARN, NAME, "%s: %s: take t=y out when you are done", name, why);
		break;
	case DKIM_PUBLISHED_MISSING:
		advise_say(a, ADVICE_BAD, NAME, "%s: %s%s", name, why, ours ? ", and mail is signed with it: publish it (gatepost dkim-key --show)" : "");
		break;
	default:
		advise_say(a, ADVICE_BAD, NAME, "%s: %s%s", name, why, ours ? ": publish the one that is signed with (gatepost dkim-key --show)" : "");
	}
}

/* may wait */
static void ask(struct advise *a, const char *selector, const char *domain, const struct dkim_private *key)
{
	AUTO(dns_lookup) struct dns_lookup *l = NULL;
	char name[DOMAIN_MAX], why[256];

	if (dkim_published_name(selector, domain, name) < 0 || dns_start(a->dns, name, DNS_TXT, &l) < 0) {
		advise_say(a, ADVICE_BAD, NAME, "%s is no selector", selector);
		return;
	}
	judge(a, name, key != NULL, dkim_published_judge(dns_wait(l), key, why, sizeof(why)), why);
}

static bool has_selector(const struct dkim_sign_conf *d, const char *selector)
{
	for (size_t i = 0; d && i < d->key_count; i++)
		if (strcmp(d->key[i].selector, selector) == 0)
			return true;
	return false;
}

/* What is signed with, by its kinds. */
static void judge_keys(struct advise *a, const struct dkim_sign_conf *d)
{
	unsigned rsa = 0;

	if (d->key_count == 0) {
		advise_say(a, ADVICE_WARN, NAME, "the keys of dkim_sign could not be read by this user: as root, they are compared");
		return;
	}

	for (size_t i = 0; i < d->key_count; i++)
		if (dkim_private_type(d->key[i].key) == DKIM_KEY_RSA && dkim_private_bits(d->key[i].key) > rsa)
			rsa = dkim_private_bits(d->key[i].key);
	if (rsa == 0)
		advise_say(a, ADVICE_WARN, NAME, "mail is signed with Ed25519 alone, which many receivers do not know: add an RSA key");
	else if (rsa < DKIM_PRIVATE_BITS_GOOD)
		advise_say(a, ADVICE_WARN, NAME, "the RSA key has %u bits: make one of 2048", rsa);
}

void advise_dkim(struct advise *a)
{
	const struct site *s = a->site;
	const struct dkim_sign_conf *d = s ? dkim_sign_find(s->dkim_sign, s->dkim_sign_count, a->domain) : NULL;

	for (size_t i = 0; d && i < d->key_count; i++)
		ask(a, d->key[i].selector, d->domain, d->key[i].key);
	if (d)
		judge_keys(a, d);
	for (size_t i = 0; i < a->selector_count; i++)
		if (!has_selector(d, a->selector[i]) || strcmp(d->domain, a->domain) != 0)
			ask(a, a->selector[i], a->domain, NULL);
	if (!d && !a->selector_count)
		advise_say(a, ADVICE_WARN, NAME, "%s; keys that others sign with: --selector NAME",
			   s ? "the configuration has no dkim_sign for this domain: what goes out is not signed here" : "no configuration was read, so no selector is known");
}
