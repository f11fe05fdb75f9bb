#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"

static void test_grows_and_eats(void **state)
{
	AUTO(buf) struct buf b = BUF_INIT(100000);

	assert_string_equal(buf_str(&b), "");
	for (int i = 0; i < 10000; i++)
		assert_int_equal(buf_addf(&b, "%d,", i % 10), 0);
	assert_int_equal(b.len, 20000);
	buf_eat(&b, 19996);
	assert_string_equal(buf_str(&b), "8,9,");
	buf_eat(&b, 1000);
	assert_int_equal(b.len, 0);
}

static void test_bound_sticks(void **state)
{
	AUTO(buf) struct buf b = BUF_INIT(5);

	assert_int_equal(buf_adds(&b, "12345"), 0);
	assert_int_equal(buf_addc(&b, '6'), -ENOSPC);
	assert_true(b.failed);
	assert_int_equal(buf_add(&b, "", 0), -ENOSPC);
	assert_string_equal(buf_str(&b), "12345");
	assert_null(buf_steal(&b));
	assert_int_equal(b.len, 0);
}

static void test_steal(void **state)
{
	AUTO(buf) struct buf b = BUF_INIT(50);
	char *s;

	buf_add(&b, "a\0b", 3);
	s = buf_steal(&b);
	assert_memory_equal(s, "a\0b", 4);
	free(s);
	s = buf_steal(&b);
	assert_string_equal(s, "");
	free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_grows_and_eats),
		cmocka_unit_test(test_bound_sticks),
		cmocka_unit_test(test_steal),
	};

	return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
