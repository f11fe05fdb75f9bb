#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filters/filter.h"
#include "policy/refusal.h"
#include "support/policy_facts.h"

#define SPF "spf=fail spf.domain=a.example spf.record=v=spf1+ip4:192.0.2.1+-all"
#define SPF_SAID "; SPF: the record of a.example (v=spf1 ip4:192.0.2.1 -all) does not allow 198.51.100.7"
#define DNSBL "dnsbl.score=9 dnsbl.zones=zen.example,b.example dnsbl.codes=zen.example=127.0.0.2,b.example=127.0.0.4"
#define DNSBL_SAID "; 198.51.100.7 is listed by zen.example (127.0.0.2), b.example (127.0.0.4)"

static const struct { const char *policy, *facts, *why_of, *why, *want; } rows[] = {
	/* SPF */
	{ "reject if spf = fail", SPF, NULL, NULL, "550 5.7.23 refused by policy" SPF_SAID },
	{ "reject \"go away\" if spf = fail", SPF, NULL, NULL, "550 5.7.23 go away" SPF_SAID },
	{ "reject \"554 go away\" if spf = fail", SPF, NULL, NULL, "554 5.7.23 go away" SPF_SAID },
	{ "reject \"554 5.7.1 go away\" if spf = fail", SPF, NULL, NULL, "554 5.7.1 go away" SPF_SAID },
	{ "reject \"5.1.8 go away\" if spf = fail", SPF, NULL, NULL, "550 5.1.8 go away" SPF_SAID },
	{ "defer if spf = fail", SPF, NULL, NULL, "451 4.7.23 deferred by policy, try again later" SPF_SAID },
	{ "reject if spf != pass", "spf=softfail spf.domain=a.example", NULL, NULL,
	  "550 5.7.23 refused by policy; SPF: the record of a.example does not allow 198.51.100.7 (softfail)" },
	{ "reject if spf != pass", "spf=none spf.domain=a.example", NULL, NULL, "550 5.7.1 refused by policy; SPF: a.example has no record" },
	{ "reject if not spf = pass", "spf=neutral spf.domain=a.example", NULL, NULL,
	  "550 5.7.1 refused by policy; SPF: the record of a.example says nothing about 198.51.100.7" },
	{ "reject if spf = permerror", "spf=permerror spf.domain=a.example", NULL, NULL,
	  "550 5.7.24 refused by policy; SPF: the record of a.example has an error" },
	{ "defer if spf = temperror", "spf=TEMPERROR", NULL, NULL,
	  "451 4.7.24 deferred by policy, try again later; SPF: the record of the sender's domain could not be looked up" },
	{ "reject if spf.helo = fail", "spf.helo=fail helo=mx.a.example", NULL, NULL,
	  "550 5.7.23 refused by policy; SPF: the record of mx.a.example does not allow 198.51.100.7" },
	/* DKIM, DMARC */
	{ "reject if dkim != pass", "dkim=fail", "dkim", "d=a.example s=2026: the body has been changed",
	  "550 5.7.20 refused by policy; DKIM: no signature is valid (d=a.example s=2026: the body has been changed)" },
	{ "reject if dkim = none", "dkim=none", NULL, NULL, "550 5.7.20 refused by policy; DKIM: the message has no signature" },
	{ "reject if dmarc = fail and dmarc.policy = reject", "dmarc=fail dmarc.policy=reject dmarc.record_domain=a.example from.domain=x.a.example", NULL, NULL,
	  "550 5.7.26 refused by policy; DMARC: neither SPF nor DKIM vouches for x.a.example, and the policy of a.example is reject" },
	{ "reject if dmarc != pass", "dmarc=none from.domain=a.example", NULL, NULL, "550 5.7.26 refused by policy; DMARC: a.example has no usable record" },
	{ "reject if spf != pass and dkim != pass", SPF " dkim=none", NULL, NULL, "550 5.7.26 refused by policy" SPF_SAID "; DKIM: the message has no signature" },
	/* DNS lists, reverse name */
	{ "reject \"listed\" if dnsbl.score >= 5", DNSBL, NULL, NULL, "550 5.7.1 listed" DNSBL_SAID },
	{ "reject \"listed\" if dnsbl.zones in (zen.example) or dnsbl.score > 7", DNSBL, NULL, NULL, "550 5.7.1 listed" DNSBL_SAID },
	{ "reject \"listed\" if dnsbl.score >= 5", DNSBL, "dnsbl.score", "zen.example: 127.0.0.2 counts +11, b.example: 127.0.0.4 counts -2",
	  "550 5.7.1 listed; 198.51.100.7 is listed by zen.example (127.0.0.2)" },
	{ "reject if client.fcrdns != pass", "client.fcrdns=none client.rdns=", NULL, NULL, "550 5.7.25 refused by policy; 198.51.100.7 has no reverse name (PTR)" },
	{ "reject if client.fcrdns = fail", "client.fcrdns=fail client.rdns=x.a.example", NULL, NULL,
	  "550 5.7.25 refused by policy; the reverse name of 198.51.100.7, x.a.example, does not have that address" },
	/* the greeting */
	{ "reject if helo.syntax = bad", "helo=a_b helo.syntax=bad", "helo.syntax", "a letter that no host name has", "550 5.7.1 refused by policy; your greeting a_b is no host name (a letter that no host name has)" },
	{ "reject if helo.bare", "helo=pc helo.bare=true helo.kind=bare", NULL, NULL, "550 5.7.1 refused by policy; your greeting pc is not the full name of a host" },
	{ "reject if helo.ours", "helo=mx.site.example helo.ours=true", NULL, NULL, "550 5.7.1 refused by policy; your greeting mx.site.example is a name of ours" },
	{ "reject if helo.literal_mismatch", "helo=[192.0.2.1] helo.literal_mismatch=true", NULL, NULL, "550 5.7.1 refused by policy; your greeting [192.0.2.1] is not your address 198.51.100.7" },
	{ "reject if helo.resolves in (no, none)", "helo=x.example helo.resolves=no", NULL, NULL, "550 5.7.1 refused by policy; your greeting x.example does not have your address 198.51.100.7" },
	{ "reject if helo.resolves in (no, none)", "helo=x.example helo.resolves=none", NULL, NULL, "550 5.7.1 refused by policy; your greeting x.example has no address" },
	/* only what made the rule true */
	{ "reject if spf = fail or dkim = fail", SPF " dkim=pass", NULL, NULL, "550 5.7.23 refused by policy" SPF_SAID },
	{ "reject if dkim = fail or spf = fail and not (dkim = pass and tls)", SPF " dkim=pass tls=false", NULL, NULL, "550 5.7.23 refused by policy" SPF_SAID },
	{ "reject if not (spf = pass or client.fcrdns = pass)", SPF " client.fcrdns=none", NULL, NULL,
	  "550 5.7.23 refused by policy" SPF_SAID "; 198.51.100.7 has no reverse name (PTR)" },
	/* nothing of what is the site's own */
	{ "reject", SPF, NULL, NULL, "550 5.7.1 refused by policy" },
	{ "reject if sender in (b.example)", SPF " sender=x@b.example", NULL, NULL, "550 5.7.1 refused by policy" },
	{ "reject if spf = pass and sender in (b.example)", "spf=pass sender=x@b.example", NULL, NULL, "550 5.7.1 refused by policy" },
	{ "reject if header.subject ~ /secret/ and client.rdns ~ /dynamic/", "header.subject=secret client.rdns=dynamic.example client.fcrdns=pass", NULL, NULL, "550 5.7.1 refused by policy" },
	{ "reject if helo ~ /^dsl/ or helo = pc", "helo=dsl-1.example helo.kind=bare", NULL, NULL, "550 5.7.1 refused by policy" },
	{ "score +4 if spf = fail\nscore +2 if header.subject ~ /x/\nscore +9 if dkim = fail\nscore -1 if client.fcrdns = none\nreject if score >= 4",
	  SPF " header.subject=x dkim=pass client.fcrdns=none", NULL, NULL, "550 5.7.23 refused by policy" SPF_SAID },
	{ "score +4 if spf = fail\nscore +4 if score >= 4\nreject if score >= 8", SPF, NULL, NULL, "550 5.7.23 refused by policy" SPF_SAID },
	/* bytes that a line of SMTP does not carry */
	{ "reject if helo.bare", "helo=p\r\n\xc3\xa9 helo.kind=bare helo.bare=true", NULL, NULL, "550 5.7.1 refused by policy; your greeting p???? is not the full name of a host" },
};

static const struct fact *get(void *arg, int id, bool *final)
{
	*final = false;
	return facts_get(arg, id);
}

static void make(const char *text, struct facts *facts, char *out, size_t size)
{
	AUTO(buf) struct buf errors = BUF_INIT(4096);
	AUTO(policy) struct policy *p = policy_parse("p", text, strlen(text), NULL, &errors, NULL);
	struct policy_facts known = { .get = get, .arg = facts };

	if (!p)
		fail_msg("%s", buf_str(&errors));
	refusal_reply(p, policy_rule(p, policy_rule_count(p) - 1), &known, "198.51.100.7", out, size);
}

static void test_rows(void **state)
{
	int wrong = 0;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct facts facts = { 0 };
		char out[512];

		policy_facts_set(&facts, rows[i].facts);
		if (rows[i].why)
			facts_why(&facts, rows[i].why_of, "%s", rows[i].why);
		make(rows[i].policy, &facts, out, sizeof(out));
		if (strcmp(out, rows[i].want) != 0) {
			fprintf(stderr, "%s\ngot:    %s\nwanted: %s\n", rows[i].policy, out, rows[i].want);
			wrong++;
		}
		facts_release(&facts);
	}
	assert_int_equal(wrong, 0);
}

/* Whatever the sender publishes and says: one line, short enough, and the site's own text whole. */
static void test_long(void **state)
{
	char record[2000], helo[600], own[460], rule[600], out[512];

	memset(record, 'r', sizeof(record) - 1);
	record[sizeof(record) - 1] = '\0';
	memset(helo, 'h', sizeof(helo) - 1);
	helo[sizeof(helo) - 1] = '\0';
	for (size_t n = 1; n < sizeof(own); n++) {
		struct facts facts = { 0 };

		memset(own, 'o', n);
		own[n] = '\0';
		snprintf(rule, sizeof(rule), "reject \"%s\" if spf != pass and client.fcrdns != pass and helo.bare and dnsbl.score > 5", own);
		policy_facts_set(&facts, DNSBL " spf=fail client.fcrdns=fail helo.bare=true helo.kind=bare");
		facts_set(&facts, "spf.record", record);
		facts_set(&facts, "helo", helo);
		make(rule, &facts, out, sizeof(out));
		assert_true(strlen(out) < REFUSAL_MAX || strlen(out) == 11 + n);
		assert_non_null(strstr(out, own));
		for (const char *p = out; *p; p++)
			assert_true(*p >= ' ' && *p <= '~');
		if (n < 100)
			assert_non_null(strstr(out, "; SPF: the record of the sender's domain (rrr"));
		facts_release(&facts);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_long),
	};

	fact_register_all();
	return cmocka_run_group_tests_name("refusal", tests, NULL, NULL);
}
