#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>

#include <cmocka.h>

#include "base/net.h"

static void test_port(void **state)
{
	static const struct { const char *in, *out; } rows[] = {
		{ "192.0.2.1:26", "192.0.2.1:26" },
		{ "192.0.2.1", "192.0.2.1:25" },
		{ "[2001:db8::1]:587", "[2001:db8::1]:587" },
		{ "[2001:db8::1]", "[2001:db8::1]:25" },
		{ "2001:db8::1", "[2001:db8::1]:25" },
		{ "::ffff:192.0.2.9", "192.0.2.9:25" },
		{ "192.0.2.1:", NULL }, { "192.0.2.1:65536", NULL }, { "192.0.2.1:2x", NULL }, { "192.0.2.1:-1", NULL },
		{ "192.0.2", NULL }, { "[2001:db8::1", NULL }, { "[2001:db8::1]25", NULL }, { "[]", NULL }, { "", NULL },
		{ "mail.example:25", NULL },
		{ "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", NULL },
	};
	char text[NET_TEXT_MAX];

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct net_addr a;

		assert_int_equal(net_parse_port(rows[i].in, 25, &a), rows[i].out ? 0 : -EINVAL);
		if (rows[i].out)
			assert_string_equal(net_text_port(&a, text), rows[i].out);
	}
}

static void test_prefix(void **state)
{
	static const struct { const char *net, *ip; bool in; } rows[] = {
		{ "192.0.2.0/24", "192.0.2.255", true }, { "192.0.2.0/24", "192.0.3.0", false },
		{ "192.0.2.4/30", "192.0.2.7", true }, { "192.0.2.4/30", "192.0.2.8", false },
		{ "0.0.0.0/0", "203.0.113.1", true }, { "0.0.0.0/0", "2001:db8::1", false },
		{ "192.0.2.1", "192.0.2.1", true },
		{ "2001:db8::/33", "2001:db8:7fff::1", true }, { "2001:db8::/33", "2001:db8:8000::1", false },
		{ "192.0.2.1/24", NULL, false }, { "192.0.2.0/33", NULL, false }, { "192.0.2.0/", NULL, false },
		{ "192.0.2.0/-1", NULL, false }, { "2001:db8::/129", NULL, false }, { "/8", NULL, false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct net_prefix p;
		struct net_addr a;

		assert_int_equal(net_parse_prefix(rows[i].net, &p), rows[i].ip ? 0 : -EINVAL);
		if (!rows[i].ip)
			continue;
		assert_int_equal(net_parse(rows[i].ip, &a), 0);
		assert_int_equal(net_in(&a, &p), rows[i].in);
	}
}

static void test_mapped_is_unfolded(void **state)
{
	struct sockaddr_in6 sa = { .sin6_family = AF_INET6, .sin6_port = htons(7) };
	char text[NET_TEXT_MAX];
	struct net_addr a;

	inet_pton(AF_INET6, "::ffff:192.0.2.77", &sa.sin6_addr);
	net_from_sockaddr((struct sockaddr *)&sa, &a);
	assert_int_equal(a.family, AF_INET);
	assert_string_equal(net_text_port(&a, text), "192.0.2.77:7");
	assert_string_equal(net_network_text(&a, 24, 64, text), "192.0.2.0/24");
	net_parse("2001:db8:1:2:3::4", &a);
	assert_string_equal(net_network_text(&a, 24, 64, text), "2001:db8:1:2::/64");
}

/* Who comes by a translator or a tunnel is counted as the IPv4 client that he is, and only counted so. */
static void test_counted(void **state)
{
	static const struct { const char *ip, *counted; } rows[] = {
		{ "192.0.2.1", "192.0.2.1" }, { "2001:db8::1", "2001:db8::1" },
		{ "64:ff9b::192.0.2.1", "192.0.2.1" },
		{ "64:ff9b::1:192.0.2.1", "64:ff9b::1:c000:201" }, { "64:ff9b:1::192.0.2.1", "64:ff9b:1::c000:201" }, { "64:ff9a::192.0.2.1", "64:ff9a::c000:201" },
		{ "2002:c000:201::", "192.0.2.1" }, { "2002:c000:201:5:6:7:8:9", "192.0.2.1" }, { "2003:c000:201::1", "2003:c000:201::1" },
		{ "2001:0:c633:6401:8000:63bf:3fff:fdfe", "192.0.2.1" }, { "2001:1:c633:6401:8000:63bf:3fff:fdfe", "2001:1:c633:6401:8000:63bf:3fff:fdfe" },
	};
	struct net_prefix inside;
	char text[NET_TEXT_MAX];

	assert_int_equal(net_parse_prefix("192.0.2.0/24", &inside), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct net_addr a, c;

		assert_int_equal(net_parse(rows[i].ip, &a), 0);
		a.port = 7;
		c = net_counted(&a);
		if (strcmp(net_text(&c, text), rows[i].counted) != 0)
			fail_msg("%s: %s", rows[i].ip, text);
		assert_int_equal(c.port, 7);
		assert_int_equal(net_in(&a, &inside), a.family == AF_INET);     /* nobody may relay by it */
	}
	net_parse("64:ff9b::192.0.2.1", &inside.addr);
	assert_string_equal(net_network_text(&inside.addr, 24, 64, text), "192.0.2.0/24");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_port),
		cmocka_unit_test(test_prefix),
		cmocka_unit_test(test_mapped_is_unfolded),
		cmocka_unit_test(test_counted),
	};

	return cmocka_run_group_tests_name("net", tests, NULL, NULL);
}
