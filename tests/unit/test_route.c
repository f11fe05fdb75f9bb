/* The text of a route, forth and back; what is none is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "smtp/route.h"

static void test_forth_and_back(void **state)
{
	static const char *const texts[] = { "backend", "destination", "auth", "upstream", "mx example.net", "mx [192.0.2.1]", "mx [ipv6:2001:db8::1]" };
	char out[ROUTE_TEXT_MAX];
	struct route r, other = { .kind = ROUTE_MX, .domain = "other.example" };

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		assert_int_equal(route_parse(texts[i], &r), 0);
		assert_string_equal(route_text(&r, out), texts[i]);
		assert_true(route_same(&r, &r));
		assert_false(route_same(&r, &other));
	}
}

static void test_malformed(void **state)
{
	static const char *const texts[] = { "", " ", "mx", "mx ", "backend x", "upstream ", "MX example.net", "mxexample.net", "mx a b", "mx a\nb", "queue", " mx a" };
	char long_one[ROUTE_TEXT_MAX + 300] = "mx ";
	struct route r;

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		if (route_parse(texts[i], &r) == 0)
			fail_msg("\"%s\" is taken for a route", texts[i]);
	memset(long_one + 3, 'a', ROUTE_DOMAIN_MAX);
	assert_int_not_equal(route_parse(long_one, &r), 0);
	long_one[3 + ROUTE_DOMAIN_MAX - 1] = '\0';
	assert_int_equal(route_parse(long_one, &r), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forth_and_back),
		cmocka_unit_test(test_malformed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
