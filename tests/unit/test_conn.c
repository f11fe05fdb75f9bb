/* conn: the client's address, its name and whether that is confirmed, TLS */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "support/filter_bench.h"

static const char zone[] =
	"7.2.0.192.in-addr.arpa PTR Mail.Example.COM\n"
	"mail.example.com A 192.0.2.99\n"
	"mail.example.com A 192.0.2.7\n"
	"8.2.0.192.in-addr.arpa PTR other.example.com\n"
	"other.example.com A 192.0.2.99\n"
	"9.2.0.192.in-addr.arpa PTR gone.example.com\n"
	"10.2.0.192.in-addr.arpa TIMEOUT\n"
	"11.2.0.192.in-addr.arpa PTR slow.example.com\n"
	"slow.example.com SERVFAIL\n"
	"12.2.0.192.in-addr.arpa PTR slow.example.com\n"
	"12.2.0.192.in-addr.arpa PTR twelve.example.com\n"
	"twelve.example.com A 192.0.2.12\n"
	"13.2.0.192.in-addr.arpa CNAME 13.sub.2.0.192.in-addr.arpa\n"
	"13.sub.2.0.192.in-addr.arpa PTR thirteen.example.com\n"
	"thirteen.example.com CNAME real.example.com\n"
	"real.example.com A 192.0.2.13\n"
	"14.2.0.192.in-addr.arpa NODATA\n"
	"15.2.0.192.in-addr.arpa PTR bad\\032name.example.com\n"
	"16.2.0.192.in-addr.arpa TYPE12 05 616263\n"
	"17.2.0.192.in-addr.arpa PTR six.example.com\n"
	"six.example.com AAAA 2001:db8::6\n"
	"6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR six.example.com\n"
	"18.2.0.192.in-addr.arpa PTR short.example.com\n"
	"short.example.com TYPE1 c00002\n"
	"19.2.0.192.in-addr.arpa PTR .\n";

static void names(void **state)
{
	static const struct { const char *name, *ip, *fcrdns, *rdns, *why; } rows[] = {
		{ "confirmed",              "192.0.2.7",  "pass", "mail.example.com", "mail.example.com has 192.0.2.7" },
		{ "other address",          "192.0.2.8",  "fail", "other.example.com", "other.example.com does not have 192.0.2.8" },
		{ "name does not exist",    "192.0.2.9",  "fail", "gone.example.com", "gone.example.com does not have 192.0.2.9" },
		{ "PTR slow",               "192.0.2.10", "TEMPERROR", "TEMPERROR", "timeout" },
		{ "address slow",           "192.0.2.11", "TEMPERROR", "slow.example.com", "SERVFAIL" },
		{ "one slow, one confirms", "192.0.2.12", "pass", "twelve.example.com", "twelve.example.com has 192.0.2.12" },
		{ "CNAME in both zones",    "192.0.2.13", "pass", "thirteen.example.com", "thirteen.example.com has 192.0.2.13" },
		{ "no PTR",                 "192.0.2.14", "none", "", "no such record" },
		{ "no name",                "192.0.2.200", "none", "", "no such domain" },
		{ "not a host name",        "192.0.2.15", "none", "", "no usable name" },
		{ "PTR malformed",          "192.0.2.16", "none", "", "no usable name" },
		{ "the root",               "192.0.2.19", "none", "", "no usable name" },
		{ "name of IPv6 only",      "192.0.2.17", "fail", "six.example.com", "six.example.com does not have 192.0.2.17" },
		{ "IPv6",                   "2001:db8::6", "pass", "six.example.com", "six.example.com has 2001:db8::6" },
		{ "mapped IPv4",            "::ffff:192.0.2.7", "pass", "mail.example.com", "mail.example.com has 192.0.2.7" },
		{ "address record of three bytes", "192.0.2.18", "fail", "short.example.com", "short.example.com does not have 192.0.2.18" },
	};
	struct filter_bench b;

	filter_bench_open(&b, "192.0.2.1");
	dns_table_zone(b.dns, zone);
	for (int round = 0; round < 2; round++) {               /* started before, and not */
		for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
			filter_bench_again(&b, rows[i].ip);
			if (round)
				filter_bench_start(&b, "rdns");
			if (strcmp(filter_bench_word(&b, "client.fcrdns"), rows[i].fcrdns) != 0 ||
			    strcmp(filter_bench_word(&b, "client.rdns"), rows[i].rdns) != 0 || strcmp(filter_bench_why(&b, "client.fcrdns"), rows[i].why) != 0)
				fail_msg("%s: %s %s: %s", rows[i].name, filter_bench_fact(&b, "client.fcrdns")->text[0], filter_bench_word(&b, "client.rdns"),
					 filter_bench_why(&b, "client.fcrdns"));
		}
	}
	filter_bench_close(&b);
}

/* The forward lookups begin when the PTR answer comes, without anybody waiting; ten names at most. */
static void nobody_waits(void **state)
{
	struct filter_bench b;

	filter_bench_open(&b, "192.0.2.1");
	for (int i = 0; i < 12; i++) {
		char name[64];

		snprintf(name, sizeof(name), "n%d.example.com", i);
		dns_table_add(b.dns, "1.2.0.192.in-addr.arpa", "PTR", name);
		dns_table_add(b.dns, name, "A", i == 11 ? "192.0.2.1" : "192.0.2.2");
	}
	dns_table_hold(b.dns, true);
	filter_bench_start(&b, "rdns");
	assert_int_equal(dns_table_asked(b.dns), 1);
	assert_int_equal(dns_table_answer(b.dns, NULL, 0), 1);
	assert_int_equal(dns_table_asked(b.dns), 11);
	assert_int_equal(dns_table_waiting(b.dns), 10);
	assert_int_equal(dns_table_answer(b.dns, NULL, 0), 10);
	assert_string_equal(filter_bench_word(&b, "client.fcrdns"), "fail");    /* the twelfth was not asked for */
	assert_string_equal(filter_bench_word(&b, "client.rdns"), "n0.example.com");

	/* and a client that goes in between leaves nothing behind */
	filter_bench_again(&b, "192.0.2.1");
	filter_bench_start(&b, "rdns");
	filter_bench_again(&b, "192.0.2.1");
	assert_int_equal(dns_table_waiting(b.dns), 0);
	filter_bench_start(&b, "rdns");
	dns_table_answer(b.dns, NULL, 0);
	filter_bench_close(&b);
}

static void connection(void **state)
{
	struct filter_bench b;

	filter_bench_open(&b, "::ffff:192.0.2.1");
	assert_string_equal(filter_bench_word(&b, "client.ip"), "192.0.2.1");
	assert_string_equal(filter_bench_word(&b, "client.early_talker"), "false");
	assert_string_equal(filter_bench_word(&b, "tls"), "unknown");           /* STARTTLS may come */
	b.txn.stage = STAGE_HELO;
	assert_string_equal(filter_bench_word(&b, "tls"), "unknown");
	b.txn.stage = STAGE_MAIL;
	assert_string_equal(filter_bench_word(&b, "tls"), "false");
	assert_string_equal(filter_bench_word(&b, "tls.version"), "unknown");
	assert_int_equal(dns_table_asked(b.dns), 0);
	filter_bench_again(&b, "2001:db8::1");
	b.client.tls_version = "TLSv1.3";
	b.client.early_talker = true;
	assert_string_equal(filter_bench_word(&b, "client.ip"), "2001:db8::1");
	assert_string_equal(filter_bench_word(&b, "client.early_talker"), "true");
	assert_string_equal(filter_bench_word(&b, "tls"), "true");
	assert_string_equal(filter_bench_word(&b, "tls.version"), "TLSv1.3");
	filter_bench_close(&b);
}

static void login(void **state)
{
	char user[] = "ann@example.com", nobody[] = "", mechanism[] = "PLAIN";
	struct filter_bench b;

	filter_bench_open(&b, "192.0.2.1");
	b.client.listener = "submission";
	b.txn.stage = STAGE_HELO;
	assert_string_equal(filter_bench_word(&b, "listener"), "unknown");      /* the login may come */
	b.txn.stage = STAGE_MAIL;
	assert_string_equal(filter_bench_word(&b, "listener"), "submission");
	assert_string_equal(filter_bench_word(&b, "client.relay"), "false");
	assert_string_equal(filter_bench_word(&b, "auth.user"), "unknown");
	assert_string_equal(filter_bench_word(&b, "auth.mechanism"), "unknown");
	filter_bench_again(&b, "192.0.2.1");
	b.client.listener = NULL;
	b.client.relay = true;
	b.client.auth_user = user;
	b.client.auth_mechanism = mechanism;
	assert_string_equal(filter_bench_word(&b, "listener"), "unknown");
	assert_string_equal(filter_bench_word(&b, "client.relay"), "true");
	assert_string_equal(filter_bench_word(&b, "auth.user"), "ann@example.com");
	assert_string_equal(filter_bench_word(&b, "auth.mechanism"), "PLAIN");
	b.client.auth_user = NULL;
	b.client.auth_mechanism = NULL;
	filter_bench_again(&b, "192.0.2.1");
	b.client.auth_user = nobody;
	b.client.auth_mechanism = mechanism;
	assert_string_equal(filter_bench_word(&b, "auth.user"), "unknown");
	assert_string_equal(filter_bench_word(&b, "auth.mechanism"), "PLAIN");
	b.client.auth_user = NULL;
	b.client.auth_mechanism = NULL;
	filter_bench_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(names), cmocka_unit_test(nobody_waits), cmocka_unit_test(connection), cmocka_unit_test(login) };

	return cmocka_run_group_tests_name("conn", tests, NULL, NULL);
}
