/* advise_spf - the domain's SPF record, RFC 7208: as text, and as two engines evaluate it for the addresses that its mail comes from */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command/advise.h"
#include "filters/spf_record.h"

enum { CHECK_MS = 20000, TERMS_MANY = 9, TXT_MAX = 64 };

static const char NAME[] = "SPF";

/* An address of TEST-NET-2 (RFC 5737), which nobody's record names: with it every term is evaluated. */
static const char NOBODY[] = "198.51.100.77";

static const struct spf_term *find(const struct spf_record *r, enum spf_kind kind)
{
	for (size_t i = 0; i < r->count; i++)
		if (r->term[i].kind == kind)
			return &r->term[i];
	return NULL;
}

/* What it says of everybody else. */
static void judge_all(struct advise *a, const struct spf_record *r)
{
	const struct spf_term *all = find(r, SPF_ALL);

	if (!all && r->redirect.len)
		return;
	if (!all)
		advise_say(a, ADVICE_WARN, NAME, "the record does not say what of all others: end it in -all, or ~all");
	else if (all->qualifier == '+')
		advise_say(a, ADVICE_BAD, NAME, "+all lets everybody in the world send in your name: end it in -all, or ~all");
	else if (all->qualifier == '?')
		advise_say(a, ADVICE_WARN, NAME, "?all says nothing of all others: end it in -all, or ~all");
	else if (r->count == 1)
		advise_say(a, ADVICE_OK, NAME, "the domain says that it sends no mail");
	else
		advise_say(a, ADVICE_OK, NAME, "one record, that ends in %call", all->qualifier);
	if (all && (size_t)(all - r->term) + 1 < r->count)
		advise_say(a, ADVICE_WARN, NAME, "what stands behind %.*s is never looked at: put it last", (int)all->len, all->text);
}

static void judge_text(struct advise *a, const char *text, size_t len)
{
	AUTO(spf_record) struct spf_record r = { 0 };
	struct spf_record_error err;
	int rc = spf_record_parse(text, len, &r, &err);

	if (rc == -EBADMSG) {
		advise_say(a, ADVICE_BAD, NAME, "the record has a mistake, so that all of it counts nothing (permerror): \"%.*s\": %s",
			   (int)(err.len < 200 ? err.len : 200), text + err.at, err.what);
		return;
	}
	if (rc < 0)
		return;
	judge_all(a, &r);
	if (find(&r, SPF_PTR))
		advise_say(a, ADVICE_WARN, NAME, "ptr is slow, and many receivers do not look at it: name addresses instead");
}

/* The TXT records of the domain. Whether there is one that can be evaluated. */
static bool judge_records(struct advise *a, const struct dns_answer *txt)
{
	size_t records = 0;
	char *last = NULL;
	size_t last_len = 0;

	if (txt->status == DNS_TEMPFAIL) {
		advise_say(a, ADVICE_WARN, NAME, "the DNS gives no answer for TXT of %s (%s)", a->domain, txt->why);
		return false;
	}
	for (size_t i = 0; i < txt->count && i < TXT_MAX; i++) {
		char *text;
		size_t len;

		if (dns_txt(&txt->rr[i], &text, &len) < 0)
			continue;
		if (!spf_record_is(text, len)) {
			free(text);
			continue;
		}
		records++;
		free(last);
		last = text;
		last_len = len;
	}
	if (records == 0)
		advise_say(a, ADVICE_BAD, NAME, "there is no record: a forgery in your name looks as good as your own mail. Publish a TXT record such as %s",
			   a->null_mx ? "\"v=spf1 -all\", as the domain has no mail" : "\"v=spf1 mx -all\", with the addresses that your mail comes from");
	else if (records > 1)
		advise_say(a, ADVICE_BAD, NAME, "there are %zu records, which receivers take for none (permerror): make them one", records);
	else
		judge_text(a, last, last_len);
	free(last);
	return records == 1;
}

/* Both engines on one address; ours: mail comes from there. */
static void judge_check(struct advise *a, const char *ip, bool ours, const struct spf_result *own, const struct spf_result *library)
{
	const char *word = spf_code_name(own->code);

	if (own->code == SPF_TEMPERROR)
		advise_say(a, ADVICE_WARN, NAME, "could not be evaluated now: %s", own->why);
	else if (own->code == SPF_PERMERROR)
		advise_say(a, ADVICE_BAD, NAME, "receivers see an error (permerror), so that the record counts nothing: %s", own->why);
	else if (ours && own->code != SPF_PASS)
		advise_say(a, ADVICE_BAD, NAME, "your own mail from %s is \"%s\": add the address to the record (%s)", ip, word, own->why);
	else if (ours)
		advise_say(a, ADVICE_OK, NAME, "mail from %s passes (%s)", ip, own->why);
	else if (own->code == SPF_PASS)
		advise_say(a, ADVICE_BAD, NAME, "any address passes, %s too, which is nobody's: %s", ip, own->why);
	if (own->code == SPF_PERMERROR || own->code == SPF_TEMPERROR)
		return;
	if (own->terms >= TERMS_MANY)
		advise_say(a, ADVICE_WARN, NAME, "%d of the %d lookups that a record may cause are used: one more include, and it counts nothing", own->terms,
			   SPF_TERMS_MAX);
	if (own->voids >= SPF_VOIDS_MAX)
		advise_say(a, ADVICE_WARN, NAME, "%d names in it do not exist, which is as many as receivers put up with: remove them", own->voids);
	if (library && library->code != own->code && library->code != SPF_TEMPERROR)
		advise_say(a, ADVICE_WARN, NAME, "libspf2 makes \"%s\" of what is \"%s\" for mail from %s: some receivers use it (%s)",
			   spf_code_name(library->code), word, ip, library->why ? library->why : "");
}

/* may wait */
static void check(struct advise *a, const struct net_addr *from, bool ours)
{
	AUTO(spf_result) struct spf_result own = { 0 }, library = { 0 };
	char ip[NET_TEXT_MAX], sender[DOMAIN_MAX + 16];
	struct spf_query q = { .client = *from, .helo = a->domain, .sender = sender, .receiver = "advise.example", .timeout_ms = CHECK_MS };

	snprintf(sender, sizeof(sender), "postmaster@%s", a->domain);
	if (spf_check(ENGINE_NATIVE, &q, a->dns, &own) < 0)
		return;
	judge_check(a, net_text(from, ip), ours, &own, spf_check(ENGINE_LIBRARY, &q, a->dns, &library) < 0 ? NULL : &library);
}

void advise_spf(struct advise *a)
{
	AUTO(dns_lookup) struct dns_lookup *l = NULL;
	struct net_addr nobody;

	if (dns_start(a->dns, a->domain, DNS_TXT, &l) < 0 || !judge_records(a, dns_wait(l)))
		return;
	net_parse(NOBODY, &nobody);
	check(a, &nobody, false);
	for (size_t i = 0; i < a->from_count; i++)
		check(a, &a->from[i], true);
}
