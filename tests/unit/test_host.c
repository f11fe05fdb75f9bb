#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/host.h"
#include "tests/support/dns_table.h"

static void test_addresses(void **state)
{
	static const struct { const char *host, *want, *why; } rows[] = {
		{ "192.0.2.7", "192.0.2.7:25", "" },
		{ "2001:db8::7", "[2001:db8::7]:25", "" },
		{ "both.example", "192.0.2.1:25 192.0.2.2:25 [2001:db8::1]:25", "" },
		{ "six.example", "[2001:db8::6]:25", "six.example has no address (no such record)" },
		{ "none.example", "", "none.example has no address (no such record)" },
		{ "away.example", "", "away.example has no address (timeout)" },
		/* Records that are no addresses are passed over. */
		{ "short.example", "192.0.2.3:25", "" },
	};
	AUTO(dns_table) struct dns_table *t = dns_table_new();

	dns_table_zone(t, "both.example A 192.0.2.1\nboth.example A 192.0.2.2\nboth.example AAAA 2001:db8::1\nsix.example AAAA 2001:db8::6\n"
			  "away.example TIMEOUT\n");
	dns_table_add_rdata(t, "short.example", DNS_A, "\1\2\3", 3);
	dns_table_add_rdata(t, "short.example", DNS_A, "\300\0\2\3", 4);
	dns_table_add_rdata(t, "short.example", DNS_AAAA, "\300\0\2\3", 4);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct net_addr got[HOST_ADDRESSES_MAX];
		char why[HOST_WHY_MAX] = "", text[NET_TEXT_MAX];
		AUTO(buf) struct buf all = BUF_INIT(1000);
		size_t n = host_addresses(dns_table_dns(t), rows[i].host, 25, 1000, got, why);

		for (size_t k = 0; k < n; k++)
			buf_addf(&all, "%s%s", k ? " " : "", net_text_port(&got[k], text));
		assert_string_equal(buf_str(&all), rows[i].want);
		assert_string_equal(why, rows[i].why);
	}
}

static void test_no_resolver(void **state)
{
	struct net_addr got[HOST_ADDRESSES_MAX];
	char why[HOST_WHY_MAX] = "";

	assert_int_equal(host_addresses(NULL, "192.0.2.7", 25, 1000, got, why), 1);
	assert_string_equal(why, "");
	assert_int_equal(host_addresses(NULL, "a.example", 25, 1000, got, why), 0);
	assert_string_equal(why, "no resolver");
}

/* A name with more addresses than are taken. */
static void test_many(void **state)
{
	AUTO(dns_table) struct dns_table *t = dns_table_new();
	struct net_addr got[HOST_ADDRESSES_MAX];
	char why[HOST_WHY_MAX] = "", text[40];

	for (int i = 0; i < HOST_ADDRESSES_MAX + 3; i++) {
		snprintf(text, sizeof(text), "192.0.2.%d", i);
		dns_table_add(t, "many.example", "A", text);
	}
	assert_int_equal(host_addresses(dns_table_dns(t), "many.example", 25, 1000, got, why), HOST_ADDRESSES_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_addresses), cmocka_unit_test(test_no_resolver), cmocka_unit_test(test_many) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
