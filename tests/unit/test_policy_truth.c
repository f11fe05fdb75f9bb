#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "policy/policy_regex.h"
#include "support/policy_facts.h"

#define LONG_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

#define F TRUTH_FALSE
#define T TRUTH_TRUE
#define U TRUTH_UNKNOWN
#define TEMP TRUTH_TEMPORARY

/* stage DATA: all facts that are not given were never established. */
static const struct { const char *cond, *facts; enum truth want; const char *why; } rows[] = {
	/* words */
	{ "spf = fail", "spf=fail", T, "spf is fail" },
	{ "spf = fail", "spf=pass", F, "spf is pass" },
	{ "spf != fail", "spf=pass", T, "spf is pass" },
	{ "spf != fail", "spf=fail", F, "spf is fail" },
	{ "spf in (none, softfail)", "spf=softfail", T, "spf is softfail" },
	{ "spf in (none, softfail)", "spf=pass", F, "spf is pass" },
	{ "spf = \"fail\"", "spf=fail", T, NULL },
	{ "spf=fail", "spf=fail", T, NULL },
	/* what was never established */
	{ "spf = fail", "", F, "spf was not established" },
	{ "spf != fail", "", F, "spf was not established" },
	{ "spf in (fail, pass)", "", F, NULL },
	{ "not spf = fail", "", T, NULL },
	{ "dnsbl.score < 5", "", F, NULL },
	{ "dnsbl.score >= 5", "", F, NULL },
	{ "tls", "", F, NULL },
	{ "not tls", "", T, "tls was not established" },
	{ "header.subject ~ /./", "", F, NULL },
	{ "from.domain != a.example", "", F, NULL },
	{ "client.ip in (0.0.0.0/0, ::/0)", "", F, NULL },
	/* numbers */
	{ "dnsbl.score = 5", "dnsbl.score=5", T, "dnsbl.score is 5" },
	{ "dnsbl.score = 5", "dnsbl.score=6", F, NULL },
	{ "dnsbl.score != 5", "dnsbl.score=6", T, NULL },
	{ "dnsbl.score != 5", "dnsbl.score=5", F, NULL },
	{ "dnsbl.score < 5", "dnsbl.score=4", T, NULL },
	{ "dnsbl.score < 5", "dnsbl.score=5", F, NULL },
	{ "dnsbl.score <= 5", "dnsbl.score=5", T, NULL },
	{ "dnsbl.score <= 5", "dnsbl.score=6", F, NULL },
	{ "dnsbl.score > 5", "dnsbl.score=6", T, NULL },
	{ "dnsbl.score > 5", "dnsbl.score=5", F, NULL },
	{ "dnsbl.score >= 5", "dnsbl.score=5", T, NULL },
	{ "dnsbl.score >= 5", "dnsbl.score=4", F, NULL },
	{ "dnsbl.score < -1", "dnsbl.score=-2", T, "dnsbl.score is -2" },
	{ "dnsbl.score > +1", "dnsbl.score=2", T, NULL },
	{ "dnsbl.score in (1, 2, 3)", "dnsbl.score=2", T, NULL },
	{ "dnsbl.score in (1, 2, 3)", "dnsbl.score=4", F, NULL },
	{ "message.size > 10M", "message.size=10485761", T, NULL },
	{ "message.size > 10M", "message.size=10485760", F, NULL },
	{ "message.size < 1K", "message.size=1023", T, NULL },
	{ "message.size < 1G", "message.size=1073741824", F, NULL },
	/* times of day */
	{ "time >= 22:00 or time < 06:00", "time=22:00", T, "time is 22:00" },
	{ "time >= 22:00 or time < 06:00", "time=05:59", T, NULL },
	{ "time >= 22:00 or time < 06:00", "time=06:00", F, "time is 06:00, time is 06:00" },
	{ "time >= 22:00 or time < 06:00", "time=21:59", F, NULL },
	{ "time = 12:30", "time=12:30", T, NULL },
	{ "time != 12:30", "time=12:31", T, NULL },
	{ "time <= 00:00", "time=00:00", T, NULL },
	{ "time > 09:59", "time=10:00", T, NULL },
	{ "time > 09:59", "time=soon", F, NULL },
	{ "time > 09:59", "", F, NULL },
	/* true and false */
	{ "tls", "tls=true", T, "tls is true" },
	{ "tls", "tls=false", F, "tls is false" },
	{ "not tls", "tls=false", T, "tls is false" },
	{ "tls = true", "tls=true", T, NULL },
	{ "tls = false", "tls=true", F, NULL },
	{ "tls != true", "tls=false", T, NULL },
	{ "tls = false", "", F, NULL },
	{ "true", "", T, NULL },
	{ "false", "", F, NULL },
	/* texts: case of ASCII is ignored by = and in, not by ~ */
	{ "header.subject = \"Hello world\"", "header.subject=Hello+world", T, "header.subject is \"Hello world\"" },
	{ "header.subject = \"hello WORLD\"", "header.subject=Hello+world", T, NULL },
	{ "header.subject = hello", "header.subject=Hello+world", F, NULL },
	{ "header.subject != hello", "header.subject=Hello+world", T, NULL },
	{ "header.subject = \"\"", "header.subject=", T, NULL },
	{ "header.subject = \"a \\\"b\\\" \\\\c\"", "header.subject=a+\"b\"+\\c", T, NULL },
	{ "header.subject in (hello, \"hello world\")", "header.subject=Hello+world", T, NULL },
	{ "helo in (\"192.0.2.1\", localhost)", "helo=192.0.2.1", T, NULL },
	{ "helo in (localhost)", "helo=x.localhost", F, NULL },
	/* regular expressions */
	{ "header.subject ~ /w.rld$/", "header.subject=Hello+world", T, NULL },
	{ "header.subject ~ /World/", "header.subject=Hello+world", F, NULL },
	{ "header.subject ~ /(?i)World/", "header.subject=Hello+world", T, NULL },
	{ "header.subject ~ /a\\/b/", "header.subject=a/b", T, NULL },
	{ "header.subject ~ /\\\\/", "header.subject=a\\b", T, NULL },
	{ "header.subject ~ /^\\d+$/", "header.subject=123", T, NULL },
	{ "header.subject ~ /^.$/", "header.subject=\xc3\xbc", T, NULL },
	{ "header.subject ~ /^\xc3\xbc$/", "header.subject=\xc3\xbc", T, NULL },
	{ "header.subject ~ /end/", "header.subject=\xff\xfe+end", T, NULL },
	{ "header.subject ~ /^(a+)+$/", "header.subject=" LONG_A "b", F,
	  "header.subject is \"" LONG_A "...\"; the regular expression took too long and counts as not matching" },
	{ "not header.subject ~ /^(a+)+$/", "header.subject=" LONG_A "b", T, NULL },
	{ "from.domain ~ /^[a-z]+[.]example$/", "from.domain=abc.example", T, NULL },
	{ "sender ~ /^bounce-/", "sender=bounce-1@a.example", T, NULL },
	/* domains: = is that domain, in holds for what is below */
	{ "from.domain = a.example", "from.domain=a.example", T, NULL },
	{ "from.domain = A.Example.", "from.domain=a.example", T, NULL },
	{ "from.domain = a.example", "from.domain=x.a.example", F, NULL },
	{ "from.domain in (a.example)", "from.domain=x.a.example", T, NULL },
	{ "from.domain in (a.example)", "from.domain=a.example", T, NULL },
	{ "from.domain in (a.example)", "from.domain=xa.example", F, NULL },
	{ "from.domain in (.a.example)", "from.domain=a.example", F, NULL },
	{ "from.domain in (.a.example)", "from.domain=x.y.a.example", T, NULL },
	{ "from.domain in (a.example)", "from.domain=[192.0.2.1]", F, NULL },
	{ "sender.domain = \"\"", "sender.domain=", T, NULL },
	/* mailboxes */
	{ "sender = user@a.example", "sender=user@a.example", T, NULL },
	{ "sender = User@A.example", "sender=uSER@a.example", T, NULL },
	{ "sender = \"\"", "sender=", T, NULL },
	{ "rcpt = postmaster", "rcpt=Postmaster", T, NULL },
	{ "sender in (user@a.example)", "sender=USER@a.example", T, NULL },
	{ "sender in (user@a.example)", "sender=user@x.a.example", F, NULL },
	{ "sender in (a.example)", "sender=user@a.example", T, NULL },
	{ "sender in (a.example)", "sender=user@x.a.example", T, NULL },
	{ "sender in (@a.example)", "sender=user@a.example", T, NULL },
	{ "sender in (@a.example)", "sender=user@x.a.example", F, NULL },
	{ "sender in (.a.example)", "sender=user@a.example", F, NULL },
	{ "sender in (a.example)", "sender=", F, NULL },
	/* addresses of the net */
	{ "client.ip = 192.0.2.1", "client.ip=192.0.2.1", T, "client.ip is 192.0.2.1" },
	{ "client.ip = 192.0.2.1", "client.ip=192.0.2.2", F, NULL },
	{ "client.ip != 192.0.2.1", "client.ip=192.0.2.2", T, NULL },
	{ "client.ip = 2001:db8:0:0::1", "client.ip=2001:db8::1", T, NULL },
	{ "client.ip in (192.0.2.0/24, 2001:db8::/32)", "client.ip=192.0.2.255", T, NULL },
	{ "client.ip in (192.0.2.0/24, 2001:db8::/32)", "client.ip=192.0.3.0", F, NULL },
	{ "client.ip in (192.0.2.0/24, 2001:db8::/32)", "client.ip=2001:db8:ffff::1", T, NULL },
	{ "client.ip in (192.0.2.7)", "client.ip=192.0.2.7", T, NULL },
	{ "client.ip in (192.0.2.7)", "client.ip=192.0.2.6", F, NULL },
	{ "client.ip in (0.0.0.0/0)", "client.ip=2001:db8::1", F, NULL },
	{ "client.ip in (192.0.2.128/25, 192.0.0.0/16)", "client.ip=192.0.2.1", T, NULL },
	/* lists: = and in hold for any value, != for none */
	{ "from.domains = b.example", "from.domains=a.example,b.example", T, "from.domains is \"a.example\", \"b.example\"" },
	{ "from.domains != b.example", "from.domains=a.example,b.example", F, NULL },
	{ "from.domains != c.example", "from.domains=a.example,b.example", T, NULL },
	{ "from.domains in (c.example, b.example)", "from.domains=a.example,x.b.example", T, NULL },
	{ "from.domains ~ /^b/", "from.domains=a.example,b.example", T, NULL },
	{ "from.domains = b.example", "from.domains=", F, "from.domains is empty" },
	{ "from.domains != b.example", "from.domains=", T, NULL },
	{ "from.domains != b.example", "", F, NULL },
	{ "dmarc.aligned = spf", "dmarc.aligned=dkim,spf", T, "dmarc.aligned is dkim, spf" },
	{ "dmarc.aligned != spf", "dmarc.aligned=dkim", T, NULL },
	{ "from.domains = d.example", "from.domains=a.example,b.example,c.example,d.example,e.example", T,
	  "from.domains is \"a.example\", \"b.example\", \"c.example\" and 2 more" },
	/* all in: every value, and there is one */
	{ "from.domains all in (c.example, b.example)", "from.domains=b.example,x.c.example", T, "from.domains is \"b.example\", \"x.c.example\"" },
	{ "from.domains all in (c.example, b.example)", "from.domains=b.example", T, NULL },
	{ "from.domains all in (c.example, b.example)", "from.domains=a.example,b.example", F, NULL },
	{ "from.domains all in (c.example, b.example)", "from.domains=b.example,a.example", F, NULL },
	{ "from.domains all in (c.example, b.example)", "from.domains=a.example", F, NULL },
	{ "from.domains all in (c.example, b.example)", "from.domains=", F, "from.domains is empty" },
	{ "from.domains all in (c.example, b.example)", "", F, NULL },
	{ "from.domains all in (c.example, b.example)", "from.domains=TEMPERROR", TEMP, NULL },
	{ "not from.domains all in (b.example)", "from.domains=a.example,b.example", T, NULL },
	{ "dmarc.aligned all in (spf)", "dmarc.aligned=dkim,spf", F, NULL },
	{ "dmarc.aligned all in (spf, dkim)", "dmarc.aligned=dkim,spf", T, NULL },
	/* temperror: definite where it is named, else temporary */
	{ "spf = fail", "spf=temperror", TEMP, "spf is temperror" },
	{ "spf != fail", "spf=temperror", TEMP, NULL },
	{ "spf in (fail, none)", "spf=TEMPERROR", TEMP, "spf is temperror (timeout)" },
	{ "spf = temperror", "spf=temperror", T, NULL },
	{ "spf = temperror", "spf=TEMPERROR", T, NULL },
	{ "spf != temperror", "spf=TEMPERROR", F, NULL },
	{ "spf in (fail, temperror)", "spf=TEMPERROR", T, NULL },
	{ "dmarc.policy = temperror", "dmarc.policy=TEMPERROR", T, NULL },
	{ "dmarc.policy = temperror", "dmarc.policy=none", F, NULL },
	{ "dmarc.policy = reject", "dmarc.policy=TEMPERROR", TEMP, NULL },
	{ "dnsbl.score > 3", "dnsbl.score=TEMPERROR", TEMP, NULL },
	{ "not spf = fail", "spf=TEMPERROR", TEMP, NULL },
	{ "temperror.expired", "", F, "temperror.expired is false" },
	{ "temperror.expired = false", "", T, NULL },
	{ "temperror.expired != true", "", T, NULL },
	/* and, or, not */
	{ "tls and spf = pass", "tls=true spf=pass", T, "tls is true, spf is pass" },
	{ "tls and spf = pass", "tls=true spf=fail", F, "spf is fail" },
	{ "tls or spf = pass", "tls=false spf=pass", T, "spf is pass" },
	{ "tls or spf = pass", "tls=false spf=fail", F, "tls is false, spf is fail" },
	{ "spf = fail and tls", "spf=TEMPERROR tls=true", TEMP, "spf is temperror (timeout)" },
	{ "spf = fail and tls", "spf=TEMPERROR tls=false", F, "tls is false" },
	{ "spf = fail or tls", "spf=TEMPERROR tls=true", T, NULL },
	{ "spf = fail or tls", "spf=TEMPERROR tls=false", TEMP, NULL },
	{ "tls and spf = pass or dnsbl.score > 0", "dnsbl.score=1", T, NULL },
	{ "tls and (spf = pass or dnsbl.score > 0)", "dnsbl.score=1", F, NULL },
	{ "not tls and spf = pass", "tls=false spf=pass", T, NULL },
	{ "not (tls or spf = pass)", "tls=false spf=pass", F, NULL },
	{ "not not tls", "tls=true", T, NULL },
	{ "((tls))", "tls=true", T, NULL },
	{ "tls\n  and spf = pass", "tls=true spf=pass", T, NULL },
	{ "tls and # why\n spf = pass", "tls=true spf=pass", T, NULL },
};

static void check(const char *cond, const char *facts, enum stage stage, bool expired,
		  enum truth want, const char *want_why)
{
	struct policy_facts_source source = { .stage = stage };
	struct policy_facts f = { .get = policy_facts_get,
				  .arg = &source,
				  .temperror_expired = expired };
	AUTO(buf) struct buf text = BUF_INIT(4000), why = BUF_INIT(1000);
	AUTO(policy) struct policy *p = NULL;
	enum truth got;

	buf_addf(&text, "reject if %s\n", cond);
	p = policy_facts_parse(buf_str(&text));
	policy_facts_set(&source.facts, facts);
	got = policy_truth(p, policy_rule(p, 0), &f, &why);
	assert_int_equal(got, policy_truth(p, policy_rule(p, 0), &f, NULL));
	facts_release(&source.facts);
	if (got != want || (want_why && strcmp(want_why, buf_str(&why)) != 0))
		fail_msg("%s with %s: got %d (%s), wanted %d (%s)", cond, facts, got, buf_str(&why),
			 want, want_why ? want_why : "any");
}

static void test_rows(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		check(rows[i].cond, rows[i].facts, STAGE_DATA, false, rows[i].want, rows[i].why);
}

/* At MAIL: what comes later is unknown. Kleene: the definite side wins, unknown outweighs
 * temporary. */
static void test_unknown(void **state)
{
	static const struct { const char *cond, *facts; enum truth want; } early[] = {
		{ "dkim = pass", "dkim=pass", U },
		{ "dkim != pass", "", U },
		{ "not dkim = pass", "", U },
		{ "dkim = pass and spf = pass", "spf=fail", F },
		{ "dkim = pass and spf = pass", "spf=pass", U },
		{ "dkim = pass or spf = pass", "spf=pass", T },
		{ "dkim = pass or spf = pass", "spf=fail", U },
		{ "dkim = pass and spf = pass", "spf=TEMPERROR", U },
		{ "spf = pass and dkim = pass", "spf=TEMPERROR", U },
		{ "dkim = pass or spf = pass", "spf=TEMPERROR", U },
		{ "dkim = pass and spf = pass and tls", "spf=TEMPERROR tls=false", F },
		{ "dkim = pass or spf = pass or tls", "spf=TEMPERROR tls=true", T },
		{ "dkim = pass and false", "", F },
		{ "dkim = pass or true", "", T },
	};

	for (size_t i = 0; i < sizeof(early) / sizeof(*early); i++)
		check(early[i].cond, early[i].facts, STAGE_MAIL, false, early[i].want, NULL);
	check("dkim = pass", "", STAGE_MAIL, false, U, "dkim is not known before data");
}

/* The wait is over: temporary counts as false, != included. */
static void test_expired(void **state)
{
	check("spf = fail", "spf=TEMPERROR", STAGE_DATA, true, F, NULL);
	check("spf != fail", "spf=TEMPERROR", STAGE_DATA, true, F, NULL);
	check("not spf = fail", "spf=TEMPERROR", STAGE_DATA, true, T, NULL);
	check("spf = temperror", "spf=TEMPERROR", STAGE_DATA, true, T, NULL);
	check("temperror.expired", "", STAGE_CONNECT, true, T, "temperror.expired is true");
	check("temperror.expired = false", "", STAGE_DATA, true, F, NULL);
	check("temperror.expired and spf = temperror", "spf=temperror", STAGE_DATA, true, T, NULL);
}

/* Where a list is empty the fact does not matter: nothing is asked for, deferred or waited for. */
static void test_empty_list(void **state)
{
	static const struct { const char *facts; enum stage stage; } all[] = {
		{ "from.domains=a.example", STAGE_DATA }, { "from.domains=TEMPERROR", STAGE_DATA }, { "", STAGE_DATA }, { "", STAGE_CONNECT },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		for (int k = 0; k < 2; k++) {
			struct policy_facts_source source = { .stage = all[i].stage };
			struct policy_facts f = { .get = policy_facts_get, .arg = &source };
			AUTO(policy) struct policy *p = policy_facts_parse(k ? "list none = { }\nreject if from.domains all in none\n"
									     : "list none = { }\nreject if from.domains in none\n");

			policy_facts_set(&source.facts, all[i].facts);
			assert_int_equal(policy_truth(p, policy_rule(p, 0), &f, NULL), F);
			assert_int_equal(source.asked, 0);
			facts_release(&source.facts);
		}
}

/* What is beyond FACT_LIST_MAX is not kept: nothing can be said of all any more. */
static void test_full_list(void **state)
{
	struct policy_facts_source source = { .stage = STAGE_DATA };
	struct policy_facts f = { .get = policy_facts_get, .arg = &source };
	AUTO(policy) struct policy *all = policy_facts_parse("reject if from.domains all in (b.example)\n");
	AUTO(policy) struct policy *any = policy_facts_parse("reject if from.domains in (b.example)\n");

	for (int i = 0; i < FACT_LIST_MAX - 1; i++)
		assert_int_equal(facts_add(&source.facts, "from.domains", "b.example"), 0);
	assert_int_equal(policy_truth(all, policy_rule(all, 0), &f, NULL), T);
	facts_add(&source.facts, "from.domains", "b.example");
	facts_add(&source.facts, "from.domains", "a.example");
	assert_int_equal(policy_truth(all, policy_rule(all, 0), &f, NULL), F);
	assert_int_equal(policy_truth(any, policy_rule(any, 0), &f, NULL), T);
	facts_release(&source.facts);
}

static void test_local(void **state)
{
	char *domains[] = { "example.com", ".branch.example" };
	AUTO(policy) struct policy *p = policy_facts_parse(
		"reject if from.domain in local\n"
		"reject if sender in local\n");
	static const struct { const char *facts; bool from, sender; } at[] = {
		{ "from.domain=example.com sender=a@example.com", true, true },
		{ "from.domain=EXAMPLE.com sender=a@other.example", true, false },
		{ "from.domain=x.example.com sender=a@x.example.com", false, false },
		{ "from.domain=branch.example sender=a@x.branch.example", false, true },
		{ "from.domain=x.branch.example sender=", true, false },
	};

	assert_int_equal(policy_set_local(p, domains, 2), 0);
	for (size_t i = 0; i < sizeof(at) / sizeof(*at); i++) {
		struct policy_facts_source source = { .stage = STAGE_DATA };
		struct policy_facts f = { .get = policy_facts_get, .arg = &source };

		policy_facts_set(&source.facts, at[i].facts);
		assert_int_equal(policy_truth(p, policy_rule(p, 0), &f, NULL), at[i].from ? T : F);
		assert_int_equal(policy_truth(p, policy_rule(p, 1), &f, NULL),
				 at[i].sender ? T : F);
		facts_release(&source.facts);
	}
}

static void count_pause(void *arg)
{
	((struct policy_facts_source *)arg)->asked += 1000;
}

/* Each match may take its time: others may run between any two. */
static void test_pause(void **state)
{
	AUTO(policy) struct policy *p = policy_facts_parse(
		"list l = { x.example, /nothing/, /else/ }\n"
		"reject if from.domains ~ /nothing/\n"
		"reject if from.domains in l\n"
		"reject if from.domains in (x.example)\n");
	static const int want[] = { 3, 6, 0 };

	for (size_t i = 0; i < 3; i++) {
		struct policy_facts_source source = { .stage = STAGE_DATA };
		struct policy_facts f = { .get = policy_facts_get, .pause = count_pause, .arg = &source };

		policy_facts_set(&source.facts, "from.domains=a.example,b.example,c.example");
		assert_int_equal(policy_truth(p, policy_rule(p, i), &f, NULL), F);
		assert_int_equal(source.asked / 1000, want[i]);
		facts_release(&source.facts);
	}
}

/* Compiled and interpreted patterns agree, and both keep to their limits. */
static void test_regex(void **state)
{
	static const struct { const char *pattern, *subject; enum regex_match want; } at[] = {
		{ "^a+b$", "aaab", REGEX_YES },
		{ "^a+b$", "aaac", REGEX_NO },
		{ "^(a+)+$", LONG_A "b", REGEX_LIMIT },
		{ "(?i)\xc3\xbc", "\xc3\x9c", REGEX_YES },
		{ "x", "\xff\xfex", REGEX_YES },
		{ "^(?:a|b|ab)*c", "ababababababababababababababababababababababababababababababababababdc", REGEX_LIMIT },
	};
	static char big[REGEX_SUBJECT_MAX + 2];
	AUTO(buf) struct buf err = BUF_INIT(1000);
	size_t offset;

	memset(big, 'a', sizeof(big) - 1);
	big[sizeof(big) - 2] = 'b';
	for (int jit = 0; jit < 2; jit++) {
		struct policy_regex *r;

		policy_use_jit(jit);
		for (size_t i = 0; i < sizeof(at) / sizeof(*at); i++) {
			r = policy_regex_new(at[i].pattern, strlen(at[i].pattern), &offset, &err);
			assert_non_null(r);
			if (!jit)
				assert_false(policy_regex_has_jit(r));
			if (policy_regex_match(r, at[i].subject, strlen(at[i].subject)) !=
			    at[i].want)
				fail_msg("%s on %s, jit %d", at[i].pattern, at[i].subject, jit);
			policy_regex_free(r);
		}
		r = policy_regex_new("b", 1, &offset, &err);
		assert_non_null(r);
		assert_int_equal(policy_regex_match(r, big, sizeof(big) - 1),
				 REGEX_NO); /* beyond what is looked at */
		assert_int_equal(policy_regex_match(r, big + 1, sizeof(big) - 2), REGEX_YES);
		policy_regex_free(r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_expired),
		cmocka_unit_test(test_empty_list),
		cmocka_unit_test(test_full_list),
		cmocka_unit_test(test_local),
		cmocka_unit_test(test_pause),
		cmocka_unit_test(test_regex),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
