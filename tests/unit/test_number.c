/* Numbers of the command line. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "command/number.h"

static void test_numbers(void **state)
{
	static const struct { const char *text; int64_t max, want; } rows[] = {
		{ "0", 100, 0 },
		{ "100", 100, 100 },
		{ "007", 100, 7 },
		{ "9223372036854775807", INT64_MAX, INT64_MAX },
		{ "0", 0, 0 },
		{ "", 100, -1 },
		{ "101", 100, -1 },
		{ "1", 0, -1 },
		{ "9223372036854775808", INT64_MAX, -1 },
		{ "99999999999999999999999", INT64_MAX, -1 },
		{ "-1", 100, -1 },
		{ "+1", 100, -1 },
		{ " 1", 100, -1 },
		{ "1 ", 100, -1 },
		{ "1k", 100, -1 },
		{ "0x10", 100, -1 },
		{ "1.5", 100, -1 },
		{ "all", 100, -1 },
		{ "\xd9\xa1", 100, -1 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int64_t n = -1;

		assert_int_equal(number_parse(rows[i].text, rows[i].max, &n), rows[i].want < 0 ? -EINVAL : 0);
		assert_true(n == rows[i].want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
