/* helo: how the name is read, what is said of it, whether it resolves */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "filters/helo.h"
#include "support/filter_bench.h"

#define L63 "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk"

static void reading(void **state)
{
	static const struct { const char *in; enum helo_kind kind; bool ok; const char *domain, *addr; } rows[] = {
		{ "mail.example.com",      HELO_DOMAIN,  true,  "mail.example.com", NULL },
		{ "MAIL.Example.COM.",     HELO_DOMAIN,  true,  "mail.example.com", NULL },
		{ "win_2003.example.com",  HELO_DOMAIN,  true,  "win_2003.example.com", NULL },
		{ "m\303\274ller.example", HELO_DOMAIN,  true,  "xn--mller-kva.example", NULL },
		{ "xn--mller-kva.example", HELO_DOMAIN,  true,  "xn--mller-kva.example", NULL },
		{ "localhost",             HELO_BARE,    true,  "localhost", NULL },
		{ "WIN-ABC123",            HELO_BARE,    true,  "win-abc123", NULL },
		{ "[192.0.2.7]",           HELO_LITERAL, true,  "", "192.0.2.7" },
		{ "[IPv6:2001:db8::7]",    HELO_LITERAL, true,  "", "2001:db8::7" },
		{ "[ipv6:2001:DB8:0::7]",  HELO_LITERAL, true,  "", "2001:db8::7" },
		{ "[IPv6:::ffff:192.0.2.7]", HELO_LITERAL, true, "", "192.0.2.7" },
		{ "192.0.2.7",             HELO_LITERAL, false, "", "192.0.2.7" },
		{ "2001:db8::7",           HELO_LITERAL, false, "", "2001:db8::7" },
		{ "[2001:db8::7]",         HELO_LITERAL, false, "", "2001:db8::7" },
		{ "[IPv6:192.0.2.7]",      HELO_LITERAL, false, "", "192.0.2.7" },
		{ "[192.0.2.7",            HELO_LITERAL, false, "", NULL },
		{ "[192.0.2.7]x",          HELO_LITERAL, false, "", NULL },
		{ "[192.0.2.07]",          HELO_LITERAL, false, "", NULL },
		{ "[192.0.2]",             HELO_LITERAL, false, "", NULL },
		{ "[192.0.2.256]",         HELO_LITERAL, false, "", NULL },
		{ "[]",                    HELO_LITERAL, false, "", NULL },
		{ "[",                     HELO_LITERAL, false, "", NULL },
		{ "[tag:content]",         HELO_LITERAL, false, "", NULL },
		{ "[" L63 L63 L63 "]",     HELO_LITERAL, false, "", NULL },
		{ "",                      HELO_BARE,    false, "", NULL },
		{ ".",                     HELO_DOMAIN,  false, "", NULL },
		{ "a b.example.com",       HELO_DOMAIN,  false, "", NULL },
		{ "exa..mple.com",         HELO_DOMAIN,  false, "", NULL },
		{ ".example.com",          HELO_DOMAIN,  false, "", NULL },
		{ "-a.example.com",        HELO_DOMAIN,  false, "-a.example.com", NULL },
		{ "a-.example.com",        HELO_DOMAIN,  false, "a-.example.com", NULL },
		{ "a.example.com-",        HELO_DOMAIN,  false, "a.example.com-", NULL },
		{ "(none)",                HELO_BARE,    false, "", NULL },
		{ "user@example.com",      HELO_DOMAIN,  false, "", NULL },
		{ "${jndi:x}",             HELO_BARE,    false, "", NULL },
		{ "\303\050.example",      HELO_DOMAIN,  false, "", NULL },
		{ L63 "x.example",         HELO_DOMAIN,  false, "", NULL },
		{ L63 "." L63 "." L63 "." L63, HELO_DOMAIN, false, "", NULL },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct helo h;
		struct net_addr addr = { 0 };

		helo_parse(rows[i].in, &h);
		if (rows[i].addr)
			assert_int_equal(net_parse(rows[i].addr, &addr), 0);
		if (h.kind != rows[i].kind || h.ok != rows[i].ok || strcmp(h.domain, rows[i].domain) != 0)
			fail_msg("%s: %d %d %s", rows[i].in, h.kind, h.ok, h.domain);
		if (h.addr.family != addr.family || (addr.family && !net_same_ip(&h.addr, &addr)))
			fail_msg("%s: another address", rows[i].in);
		assert_int_equal(h.why[0] == '\0', h.ok);
	}
}

static void facts(void **state)
{
	static const struct { const char *ip, *helo, *syntax, *kind, *bare, *mismatch, *ours, *resolves; } rows[] = {
		{ "192.0.2.7", "mail.example.com",  "ok",  "domain",  "false", "false", "false", "yes" },
		{ "192.0.2.8", "mail.example.com",  "ok",  "domain",  "false", "false", "false", "no" },
		{ "192.0.2.7", "six.example.com",   "ok",  "domain",  "false", "false", "false", "no" },
		{ "2001:db8::6", "six.example.com", "ok",  "domain",  "false", "false", "false", "yes" },
		{ "2001:db8::6", "mail.example.com", "ok", "domain",  "false", "false", "false", "no" },
		{ "192.0.2.7", "text.example.com",  "ok",  "domain",  "false", "false", "false", "none" },
		{ "192.0.2.7", "no.example.com",    "ok",  "domain",  "false", "false", "false", "none" },
		{ "192.0.2.7", "slow.example.com",  "ok",  "domain",  "false", "false", "false", "TEMPERROR" },
		{ "192.0.2.7", "slow6.example.com", "ok",  "domain",  "false", "false", "false", "TEMPERROR" },
		{ "192.0.2.7", "localhost",         "ok",  "bare",    "true",  "false", "false", "none" },
		{ "192.0.2.7", "[192.0.2.7]",       "ok",  "literal", "false", "false", "false", "yes" },
		{ "192.0.2.7", "[192.0.2.8]",       "ok",  "literal", "false", "true",  "false", "no" },
		{ "192.0.2.7", "192.0.2.8",         "bad", "literal", "false", "true",  "false", "no" },
		{ "192.0.2.7", "[IPv6:2001:db8::6]", "ok", "literal", "false", "true",  "false", "no" },
		{ "2001:db8::6", "[IPv6:2001:db8::6]", "ok", "literal", "false", "false", "false", "yes" },
		{ "192.0.2.7", "[nonsense]",        "bad", "literal", "false", "false", "false", "none" },
		{ "192.0.2.7", "a b",               "bad", "bare",    "true",  "false", "false", "none" },
		{ "192.0.2.7", "GATE.our.example.", "ok",  "domain",  "false", "false", "true",  "none" },
		{ "192.0.2.7", "our.example",       "ok",  "domain",  "false", "false", "true",  "none" },
		{ "192.0.2.7", "pc.our.example",    "ok",  "domain",  "false", "false", "false", "none" },
		{ "192.0.2.7", "a.all.example",     "ok",  "domain",  "false", "false", "true",  "none" },
		{ "192.0.2.7", "all.example",       "ok",  "domain",  "false", "false", "false", "none" },
		{ "192.0.2.7", "small.example",     "ok",  "domain",  "false", "false", "false", "none" },
	};
	static char *domains[] = { ".all.example", "our.example" };
	struct filter_bench b;

	filter_bench_open(&b, "192.0.2.7");
	b.site.hostname = "Gate.Our.Example";
	b.site.domains = domains;
	b.site.domain_count = 2;
	b.txn.stage = STAGE_MAIL;
	dns_table_zone(b.dns,
		"mail.example.com A 192.0.2.99\nmail.example.com A 192.0.2.7\nsix.example.com AAAA 2001:db8::6\ntext.example.com TXT hello\n"
		"slow.example.com TIMEOUT\nslow6.example.com TIMEOUT AAAA\n");
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
			const char *want[] = { rows[i].helo, rows[i].syntax, rows[i].kind, rows[i].bare, rows[i].mismatch, rows[i].ours, rows[i].resolves };
			static const char *const facts_of[] = { "helo", "helo.syntax", "helo.kind", "helo.bare", "helo.literal_mismatch", "helo.ours", "helo.resolves" };

			filter_bench_again(&b, rows[i].ip);
			b.client.helo = (char *)(uintptr_t)rows[i].helo;
			if (round)
				filter_bench_start(&b, "helo.dns");
			for (int k = 0; k < 7; k++)
				if (strcmp(filter_bench_word(&b, facts_of[k]), want[k]) != 0)
					fail_msg("%s from %s: %s = %s", rows[i].helo, rows[i].ip, facts_of[k], filter_bench_word(&b, facts_of[k]));
			b.client.helo = NULL;
		}
	}
	filter_bench_close(&b);
}

/* What needs no lookup makes none; the second family is asked for only when the first has nothing; no HELO, no facts. */
static void lookups(void **state)
{
	struct filter_bench b;
	char helo[] = "mail.example.com";

	filter_bench_open(&b, "192.0.2.7");
	b.txn.stage = STAGE_MAIL;
	assert_string_equal(filter_bench_word(&b, "helo.syntax"), "unknown");
	filter_bench_again(&b, "192.0.2.7");
	b.client.helo = helo;
	assert_string_equal(filter_bench_word(&b, "helo.syntax"), "ok");
	assert_int_equal(dns_table_asked(b.dns), 0);

	dns_table_add(b.dns, helo, "NODATA", "");
	dns_table_hold(b.dns, true);
	filter_bench_start(&b, "helo.dns");
	assert_int_equal(dns_table_asked(b.dns), 1);
	dns_table_answer(b.dns, NULL, 0);
	assert_int_equal(dns_table_count(b.dns, helo, DNS_AAAA), 1);            /* nobody has waited */
	dns_table_answer(b.dns, NULL, 0);
	assert_string_equal(filter_bench_word(&b, "helo.resolves"), "none");

	dns_table_hold(b.dns, false);
	dns_table_forget(b.dns);
	dns_table_add(b.dns, helo, "A", "192.0.2.9");
	filter_bench_again(&b, "192.0.2.7");
	assert_string_equal(filter_bench_word(&b, "helo.resolves"), "no");
	assert_int_equal(dns_table_asked(b.dns), 1);
	b.client.helo = NULL;
	filter_bench_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(reading), cmocka_unit_test(facts), cmocka_unit_test(lookups) };

	return cmocka_run_group_tests_name("helo", tests, NULL, NULL);
}
