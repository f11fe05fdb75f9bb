/* Blanks, folds and comments in front of what counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "filters/cfws.h"

static void test_skip(void **state)
{
	static const struct { const char *text; int at; } rows[] = {    /* at: what is left begins there; -1: broken */
		{ "", 0 },
		{ "x", 0 },
		{ " \t\r\n x", 5 },
		{ "(a)x", 3 },
		{ "(a) (b)\r\n\t(c)x", 13 },
		{ "(a (b (c)) d)x", 13 },
		{ "(\\))x", 4 },
		{ "(\\\\)x", 4 },
		{ "(\"(\")", -1 },              /* quotes mean nothing in a comment */
		{ "(a)", 3 },
		{ ")x", 0 },
		{ "\\(x", 0 },
		{ "(", -1 },
		{ "(a", -1 },
		{ "(a\\", -1 },
		{ "(a\\)", -1 },
		{ " ((a)", -1 },
		{ "(a) (", -1 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *p = rows[i].text, *to = cfws_skip(p, p + strlen(p));

		if (rows[i].at < 0)
			assert_null(to);
		else
			assert_ptr_equal(to, p + rows[i].at);
	}
}

static void test_depth(void **state)
{
	char text[2 * CFWS_DEEP + 4] = "";

	for (int deep = CFWS_DEEP; deep <= CFWS_DEEP + 1; deep++) {
		memset(text, '(', (size_t)deep);
		memset(text + deep, ')', (size_t)deep);
		if (deep > CFWS_DEEP)
			assert_null(cfws_skip(text, text + 2 * deep));
		else
			assert_ptr_equal(cfws_skip(text, text + 2 * deep), text + 2 * deep);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_skip),
		cmocka_unit_test(test_depth),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
