/* Numbers in few octets: there and back, and none that has two forms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/varint.h"

static void test_there_and_back(void **state)
{
	static const uint64_t rows[] = { 0, 1, 127, 128, 16383, 16384, UINT32_MAX, INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX - 1, UINT64_MAX };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		AUTO(buf) struct buf b = BUF_INIT(64);
		const unsigned char *p, *end;
		uint64_t v = 7;

		varint_put(&b, rows[i]);
		assert_true(!b.failed && b.len <= VARINT_MAX);
		p = (const unsigned char *)b.data;
		end = p + b.len;
		assert_ptr_equal(varint_get(p, end, &v), end);
		assert_true(v == rows[i]);
		for (size_t cut = 0; cut < b.len; cut++)
			assert_null(varint_get(p, p + cut, &v));
		assert_true(varint_of_signed(varint_to_signed(rows[i])) == rows[i]);
	}
	assert_true(varint_of_signed(0) == 0 && varint_of_signed(-1) == 1 && varint_of_signed(1) == 2 && varint_of_signed(INT64_MIN) == UINT64_MAX);
}

static void test_malformed(void **state)
{
	static const struct { const char *octets; size_t len; } rows[] = {
		{ "\x80\x00", 2 },                                              /* longer than it need be */
		{ "\x81\x80\x00", 3 },
		{ "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10 },             /* 65 bits */
		{ "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x01", 11 },
		{ "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 12 },
		{ "\x80", 1 },
		{ "", 0 },
	};
	uint64_t v;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const unsigned char *p = (const unsigned char *)rows[i].octets;

		assert_null(varint_get(p, p + rows[i].len, &v));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_malformed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
