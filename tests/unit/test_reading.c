#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "retrieval/reading.h"

static const struct { const char *in, *out; size_t used; bool ended; } rows[] = {
	{ "A: b\r\nC: d\r\n\r\nE: f\r\n", "A: b\r\nC: d\r\n", 14, true },
	{ "A: b\r\n c\r\n\td\r\n\r\n", "A: b\r\n c\r\n\td\r\n", 16, true },
	{ "A: b\nC: d\rE : f\n\nG: h", "A: b\r\nC: d\r\nE : f\r\n", 17, true },
	{ "A: b\rC: d\r\rE: f", "A: b\r\nC: d\r\n", 11, true },
	{ "A: b\r\n\nC: d", "A: b\r\n", 7, true },
	{ "no field\r\nA: b\r\n\r\n", "A: b\r\n", 18, true },
	{ "A: b\r\nno field\r\n c: d\r\nC: d\r\n\r\n", "A: b\r\nC: d\r\n", 31, true },
	{ " A: b\r\nC: d\r\n\r\n", "C: d\r\n", 15, true },
	{ "\x80: b\r\nA\x01: b\r\n: b\r\nA b: c\r\nC: d\r\n\r\n", "C: d\r\n", 34, true },
	{ "\r\nA: b\r\n", "", 2, true },
	{ "\rA: b\r\n", "", 1, true },
	{ "A: b", "A: b\r\n", 4, false },
	{ "A: b\r", "A: b\r\n", 5, false },
	{ "no field", "", 8, false },
	{ "", "", 0, false },
};

static void test_rows(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		size_t len = strlen(rows[i].in), used;
		char *copy = malloc(len + !len);
		AUTO(buf) struct buf out = BUF_INIT(1000);
		bool ended = !rows[i].ended;

		memcpy(copy, rows[i].in, len);
		used = reading_header(copy, len, &out, &ended);
		if (used != rows[i].used || ended != rows[i].ended || strcmp(buf_str(&out), rows[i].out) != 0)
			fail_msg("row %zu: %zu, %d, \"%s\"", i, used, ended, buf_str(&out));
		free(copy);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_rows) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
