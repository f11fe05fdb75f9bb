/* clamd_reply: what clamd says of a message */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "filters/clamd_reply.h"

static const struct {
	const char *text;
	unsigned number;
	enum clamd_result want;
	const char *name;
} rows[] = {
	{ "1: stream: OK", 1, CLAMD_CLEAN, "" },
	{ "12: stream: OK", 12, CLAMD_CLEAN, "" },
	{ "1: stream: Eicar-Signature FOUND", 1, CLAMD_FOUND, "Eicar-Signature" },
	{ "1: stream: Gatepost-Test.UNOFFICIAL FOUND", 1, CLAMD_FOUND, "Gatepost-Test.UNOFFICIAL" },
	{ "1: stream: Two words FOUND", 1, CLAMD_FOUND, "Two words" },
	{ "1: stream: a\n\x80 FOUND", 1, CLAMD_FOUND, "a??" },
	{ "1: stream: OK FOUND", 1, CLAMD_FOUND, "OK" },
	{ "1: INSTREAM size limit exceeded. ERROR", 1, CLAMD_TOO_LARGE, "" },
	{ "3: stream: Can't allocate memory ERROR", 3, CLAMD_ERROR, "stream: Can't allocate memory" },
	{ "1: COMMAND READ TIMED OUT ERROR", 1, CLAMD_ERROR, "COMMAND READ TIMED OUT" },
	/* none is ever taken for a clean message */
	{ "", 1, CLAMD_NONSENSE, "" },
	{ "stream: OK", 1, CLAMD_NONSENSE, "" },
	{ "2: stream: OK", 1, CLAMD_NONSENSE, "" },
	{ "1: stream: OK", 11, CLAMD_NONSENSE, "" },
	{ "11: stream: OK", 1, CLAMD_NONSENSE, "" },
	{ "01: stream: OK", 1, CLAMD_NONSENSE, "" },
	{ "1:stream: OK", 1, CLAMD_NONSENSE, "" },
	{ "1: stream:OK", 1, CLAMD_NONSENSE, "" },
	{ "1: stream: OK ", 1, CLAMD_NONSENSE, "" },
	{ "1: stream: ok", 1, CLAMD_NONSENSE, "" },
	{ "1: stream: O", 1, CLAMD_NONSENSE, "" },
	{ "1: stream: OK\n", 1, CLAMD_NONSENSE, "" },
	{ "1: stream:  FOUND", 1, CLAMD_NONSENSE, "" },
	{ "1: stream: x FOUNDER", 1, CLAMD_NONSENSE, "" },
	{ "1: /etc/passwd: OK", 1, CLAMD_NONSENSE, "" },
	{ "1:  ERROR", 1, CLAMD_NONSENSE, "" },
	{ "1: UNKNOWN COMMAND", 1, CLAMD_NONSENSE, "" },
	{ "-1: stream: OK", 1, CLAMD_NONSENSE, "" },
};

static void test_rows(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char name[CLAMD_NAME_MAX + 1];

		if (clamd_reply(rows[i].text, strlen(rows[i].text), rows[i].number, name) != rows[i].want || strcmp(name, rows[i].name) != 0)
			fail_msg("%s: %s", rows[i].text, name);
	}
}

/* A reply with less than all of its octets is none; a NUL within is no end. */
static void test_cut(void **state)
{
	static const char ok[] = "1: stream: OK", nul[] = "1: stream: OK\0 FOUND";
	char name[CLAMD_NAME_MAX + 1];

	for (size_t n = 0; n < strlen(ok); n++)
		assert_int_equal(clamd_reply(ok, n, 1, name), CLAMD_NONSENSE);
	assert_int_equal(clamd_reply(nul, sizeof(nul) - 1, 1, name), CLAMD_FOUND);
	assert_string_equal(name, "OK?");
}

static void test_long_name(void **state)
{
	char text[600], name[CLAMD_NAME_MAX + 1];
	int n = snprintf(text, sizeof(text), "1: stream: %0500d FOUND", 7);

	assert_int_equal(clamd_reply(text, (size_t)n, 1, name), CLAMD_FOUND);
	assert_int_equal(strlen(name), CLAMD_NAME_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_rows), cmocka_unit_test(test_cut), cmocka_unit_test(test_long_name) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
