/* boundary: whose message it is that a trusted relay has brought, and what is known of the client before that is */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "filters/boundary.h"
#include "filters/received.h"
#include "support/filter_bench.h"

#define LINE(helo, ip, by) "Received: from " helo " (unknown [" ip "])\r\n\tby " by " (Postfix) with ESMTPS id 1; Sun, 22 Nov 2026 10:00:00 +0000\r\n"
#define FORGED LINE("bank.example", "203.0.113.1", "mail.bank.example")
#define REST "From: a@example.net\r\nSubject: x\r\n\r\ntext\r\n"

/* 198.51.100.0/24 and 2001:db8:1::/48 are relays of ours, 10.5.0.0/16 is within one. */
static struct net_prefix trusted[3];

static struct message *message_of(const char *text)
{
	static const struct message_limits lim = { .memory_bytes = 1 << 20, .header_bytes = 1 << 20, .header_fields = 1000 };
	struct message *m = message_new(&lim, NULL, NULL);

	assert_non_null(m);
	assert_int_equal(message_add(m, text, strlen(text)), 0);
	assert_int_equal(message_end(m), 0);
	return m;
}

static const struct {
	const char *name, *text, *addr, *helo, *why;
} rows[] = {
	{ "one relay", LINE("mail.example.net", "192.0.2.7", "mx2") REST, "192.0.2.7", "mail.example.net", "Received field 1" },
	{ "forged below", LINE("mail.example.net", "192.0.2.7", "mx2") FORGED REST, "192.0.2.7", "mail.example.net", "Received field 1" },
	{ "two relays", LINE("edge", "198.51.100.9", "mx2") LINE("mail.example.net", "192.0.2.7", "edge") FORGED REST, "192.0.2.7", "mail.example.net", "Received field 2" },
	{ "by way of IPv6", LINE("edge", "IPv6:2001:db8:1::9", "mx2") LINE("mail.example.net", "192.0.2.7", "edge") REST, "192.0.2.7", "mail.example.net", "Received field 2" },
	{ "client with IPv6", LINE("mail.example.net", "IPv6:2001:db8:7::7", "mx2") REST, "2001:db8:7::7", "mail.example.net", "Received field 1" },
	{ "a scanner of its own", LINE("localhost", "127.0.0.1", "mx2") LINE("mail.example.net", "192.0.2.7", "mx2") FORGED REST, "192.0.2.7", "mail.example.net", "Received field 2" },
	{ "a network within", "Received: from a (10.5.0.1) by b (10.5.0.2) with Microsoft SMTP Server id 15.20; x\r\n" LINE("m", "192.0.2.7", "a") REST, "192.0.2.7", "m", "Received field 2" },
	{ "silent", "Received: by 2002:a05:6000:1::1 with SMTP id x; Sun\r\n" LINE("m", "192.0.2.7", "mx.google.com") FORGED REST, NULL, NULL, "Received field 1 does not say from where" },
	{ "a user behind a silent one", LINE("out", "198.51.100.9", "mx2") "Received: by out.example.net with SMTP id x; Sun\r\n" FORGED REST, NULL, NULL, "Received field 2 does not say from where" },
	{ "silent, without SMTP", "Received: by out.example.net with HTTP; Sun\r\n" FORGED REST, NULL, NULL, "Received field 1 says that the message began there" },
	{ "qmail", "Received: (qmail 7 invoked from network); 22 Nov 2026\r\nReceived: from unknown (HELO m) (192.0.2.7)\r\n  by mx2 with SMTP; x\r\n" FORGED REST, "192.0.2.7", "m",
	  "Received field 2" },
	{ "fields between", "X-Spam: no\r\n" LINE("m", "192.0.2.7", "mx2") "X-More: x\r\n" FORGED REST, "192.0.2.7", "m", "Received field 1" },
	{ "odd case", "RECEIVED : from m (m [192.0.2.7]) by mx2 with SMTP; x\r\n" REST, "192.0.2.7", "m", "Received field 1" },
	{ "no fields", REST, NULL, NULL, "0 Received fields" },
	{ "relays alone", LINE("edge", "198.51.100.9", "mx2") LINE("b", "198.51.100.8", "edge") REST, NULL, NULL, "2 Received fields" },
	{ "unreadable", "Received: from somewhere by mx2; x\r\n" FORGED REST, NULL, NULL, "Received field 1 has no address" },
	{ "unreadable second", LINE("edge", "198.51.100.9", "mx2") "Received: gibberish\r\n" FORGED REST, NULL, NULL, "Received field 2 has no address" },
	{ "began there", "Received: by mx2 (Postfix, from userid 33)\r\n\tid 1; x\r\n" FORGED REST, NULL, NULL, "Received field 1 says that the message began there" },
	{ "by a mailbox", LINE("edge", "198.51.100.9", "mx2") "Received: from a (192.0.2.1) by b (192.0.2.2) with mapi id 15; x\r\n" FORGED REST, NULL, NULL, "Received field 2 says" },
	{ "a network inside", LINE("printer", "10.0.0.9", "mx2") FORGED REST, NULL, NULL, "10.0.0.9, an address within" },
	{ "another inside", LINE("printer", "172.31.0.9", "mx2") FORGED REST, NULL, NULL, "within a network" },
	{ "and another", LINE("printer", "100.100.0.9", "mx2") FORGED REST, NULL, NULL, "within a network" },
	{ "link-local", LINE("printer", "169.254.0.9", "mx2") FORGED REST, NULL, NULL, "within a network" },
	{ "its own network", LINE("printer", "IPv6:fe80::9", "mx2") FORGED REST, NULL, NULL, "within a network" },
	{ "unique local", LINE("printer", "IPv6:fd00::9", "mx2") FORGED REST, NULL, NULL, "within a network" },
	{ "nowhere", LINE("printer", "0.0.0.0", "mx2") FORGED REST, NULL, NULL, "within a network" },
	{ "nowhere in IPv6", LINE("printer", "IPv6:::", "mx2") FORGED REST, NULL, NULL, "within a network" },
	{ "multicast", LINE("printer", "224.0.0.9", "mx2") FORGED REST, NULL, NULL, "within a network" },
};

static void finds(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct message *m = message_of(rows[i].text);
		struct received r;
		struct net_addr want = { 0 };
		char why[96] = "";
		bool found = boundary_find(m, trusted, 3, &r, why, sizeof(why));

		if (found != (rows[i].addr != NULL) || !strstr(why, rows[i].why))
			fail_msg("%s: %d, %s", rows[i].name, found, why);
		if (found) {
			assert_int_equal(net_parse(rows[i].addr, &want), 0);
			if (!net_same_ip(&want, &r.addr) || strcmp(rows[i].helo, r.helo) != 0)
				fail_msg("%s: another client", rows[i].name);
		}
		message_free(m);
	}
}

static void bounded(void **state)
{
	for (int n = BOUNDARY_LINES_MAX - 1; n <= BOUNDARY_LINES_MAX; n++) {
		AUTO(buf) struct buf text = BUF_INIT(64 * 1024);
		struct message *m;
		struct received r;
		char why[96];

		for (int i = 0; i < n; i++)
			buf_adds(&text, LINE("edge", "198.51.100.9", "mx2"));
		buf_adds(&text, LINE("m", "192.0.2.7", "edge") REST);
		m = message_of(buf_str(&text));
		assert_int_equal(boundary_find(m, trusted, 3, &r, why, sizeof(why)), n < BOUNDARY_LINES_MAX);
		message_free(m);
	}
}

/* The bench's client becomes that of a message, brought by a relay. */
static struct client relay;

static void relayed(struct filter_bench *b, const char *text)
{
	message_free(b->txn.message);
	client_release(&b->client);
	memset(&b->client, 0, sizeof(b->client));
	filter_bench_again(b, "198.51.100.9");
	relay.addr = b->client.addr;
	net_text(&relay.addr, relay.ip);
	memset(&b->client.addr, 0, sizeof(b->client.addr));
	b->client.ip[0] = '\0';
	boundary_begin(&b->client, &relay);
	b->txn.message = text ? message_of(text) : NULL;
}

static void facts_wait(void **state)
{
	static const char *const of_client[] = { "client.ip", "client.fcrdns", "client.rdns", "client.early_talker", "dnsbl.score", "dnsbl.zones", "tls", "helo", "helo.kind",
						 "helo.resolves", "spf", "spf.helo", "client.boundary" };
	struct dnsbl_conf zone = { .zone = (char *)"bl.example", .weight = 5, .ipv4 = true, .ipv6 = true };
	struct filter_bench b;

	filter_bench_open(&b, "192.0.2.7");
	b.site.dnsbl = &zone;
	b.site.dnsbl_count = 1;
	b.site.trusted_relays = trusted;
	b.site.trusted_relay_count = 3;
	dns_table_add(b.dns, "9.100.51.198.bl.example", "A", "127.0.0.2");
	dns_table_add(b.dns, "7.2.0.192.bl.example", "A", "127.0.0.2");
	relayed(&b, LINE("mail.example.net", "192.0.2.7", "mx2") REST);
	b.txn.env.from = strdup("a@example.net");
	b.txn.env.from_domain = strdup("example.net");
	for (b.txn.stage = STAGE_CONNECT; b.txn.stage < STAGE_HEADER; b.txn.stage++) {
		filters_start(&b.txn, b.txn.stage, UINT32_MAX);
		filters_run_cheap(&b.txn);
		for (size_t i = 0; i < sizeof(of_client) / sizeof(*of_client); i++) {
			int id = fact_find(of_client[i], strlen(of_client[i]));

			assert_true(id != FACT_NONE);
			if (filters_can_know(&b.txn, id) || filters_fact(&b.txn, id))
				fail_msg("%s is known at %s", of_client[i], stage_name(b.txn.stage));
		}
		assert_string_equal(filter_bench_word(&b, "client.relayed"), "true");
		assert_string_equal(filter_bench_word(&b, "client.via"), "198.51.100.9");
	}
	assert_int_equal(dns_table_asked(b.dns), 0);
	boundary_settle(&b.txn);
	assert_string_equal(filter_bench_word(&b, "client.ip"), "192.0.2.7");
	assert_string_equal(filter_bench_word(&b, "client.boundary"), "received");
	assert_string_equal(filter_bench_word(&b, "helo"), "mail.example.net");
	assert_string_equal(filter_bench_word(&b, "tls"), "true");
	assert_string_equal(filter_bench_word(&b, "dnsbl.score"), "5");
	filter_bench_close(&b);
}

/* Nobody knows who it was: nothing is said of the relay instead, by lookups least of all. */
static void nobody(void **state)
{
	static const char *const unset[] = { "client.ip", "client.fcrdns", "dnsbl.score", "tls", "helo", "helo.kind", "helo.resolves", "spf", "spf.helo" };
	struct filter_bench b;

	filter_bench_open(&b, "192.0.2.7");
	b.site.trusted_relays = trusted;
	b.site.trusted_relay_count = 3;
	relayed(&b, "Received: who knows\r\n" FORGED REST);
	b.txn.stage = STAGE_DATA;
	boundary_settle(&b.txn);
	filters_start(&b.txn, STAGE_CONNECT, UINT32_MAX);
	filters_start(&b.txn, STAGE_MAIL, UINT32_MAX);
	assert_string_equal(filter_bench_word(&b, "client.boundary"), "none");
	assert_non_null(strstr(filter_bench_why(&b, "client.boundary"), "no address"));
	for (size_t i = 0; i < sizeof(unset) / sizeof(*unset); i++) {
		int id = fact_find(unset[i], strlen(unset[i]));

		if (filters_fact(&b.txn, id) || !filters_can_know(&b.txn, id) || !filters_at_hand(&b.txn, id))
			fail_msg("%s", unset[i]);
	}
	assert_string_equal(filter_bench_word(&b, "client.relay"), "false");
	assert_int_equal(dns_table_asked(b.dns), 0);
	assert_ptr_equal(client_counted(&b.client), &relay.addr);
	filter_bench_close(&b);
}

static void told(void **state)
{
	static const struct { const char *addr; enum boundary want; } cases[] = {
		{ "192.0.2.7", BOUNDARY_XCLIENT },
		{ "2001:db8:7::7", BOUNDARY_XCLIENT },
		{ "198.51.100.8", BOUNDARY_PENDING },   /* another relay: the header knows more */
		{ "127.0.0.1", BOUNDARY_PENDING },
		{ "10.0.0.7", BOUNDARY_NONE },
		{ "", BOUNDARY_NONE },
	};
	struct filter_bench b;

	filter_bench_open(&b, "192.0.2.7");
	b.site.trusted_relays = trusted;
	b.site.trusted_relay_count = 3;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct received r = { .helo = "m.example.net", .esmtp = true };

		relayed(&b, NULL);
		if (cases[i].addr[0])
			assert_int_equal(net_parse(cases[i].addr, &r.addr), 0);
		assert_int_equal(boundary_told(&b.client, &b.site, &r, BOUNDARY_XCLIENT), 0);
		if (b.client.boundary != cases[i].want)
			fail_msg("%s: %d", cases[i].addr, b.client.boundary);
		assert_string_equal(b.client.ip, cases[i].want == BOUNDARY_XCLIENT ? cases[i].addr : "");
	}
	filter_bench_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds),
		cmocka_unit_test(bounded),
		cmocka_unit_test(facts_wait),
		cmocka_unit_test(nobody),
		cmocka_unit_test(told),
	};

	net_parse_prefix("198.51.100.0/24", &trusted[0]);
	net_parse_prefix("2001:db8:1::/48", &trusted[1]);
	net_parse_prefix("10.5.0.0/16", &trusted[2]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
