#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/client_table.h"

static void test_counts(void **state)
{
	static const struct { const char *a, *b; bool same; } rows[] = {
		{ "192.0.2.1", "192.0.2.1", true },
		{ "192.0.2.1", "192.0.2.2", false },
		{ "2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true },
		{ "2001:db8:0:1::1", "2001:db8:0:2::1", false },
		{ "192.0.2.1", "::ffff:192.0.2.1", true },
		{ "64:ff9b::192.0.2.1", "64:ff9b::192.0.2.2", false },
		{ "64:ff9b::192.0.2.1", "192.0.2.1", true },
		{ "2002:c000:201::1", "2002:c000:201:ffff::1", true },
		{ "2001:0:c633:6401::3fff:fdfe", "2001:0:c633:6401::3fff:fdfd", false },
		{ "0.0.0.0", "::", false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct client_table *t = client_table_new();
		struct net_addr a, b;

		net_parse(rows[i].a, &a);
		net_parse(rows[i].b, &b);
		assert_int_equal(client_table_enter(t, &a), 1);
		assert_int_equal(client_table_enter(t, &b), rows[i].same ? 2 : 1);
		client_table_leave(t, &a);
		client_table_leave(t, &b);
		client_table_leave(t, &b);
		assert_int_equal(client_table_enter(t, &b), 1);
		client_table_free(t);
	}
}

static void test_many(void **state)
{
	struct client_table *t = client_table_new();
	struct net_addr a = { .family = AF_INET };

	for (int round = 1; round <= 3; round++)
		for (unsigned i = 0; i < 20000; i++) {
			a.ip[1] = (unsigned char)(i >> 16);
			a.ip[2] = (unsigned char)(i >> 8);
			a.ip[3] = (unsigned char)i;
			assert_int_equal(client_table_enter(t, &a), round);
		}
	client_table_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests_name("client_table", tests, NULL, NULL);
}
