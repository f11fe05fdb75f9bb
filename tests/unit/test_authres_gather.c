/* Our own Authentication-Results fields as one list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "policy/authres.h"

static void test_gather(void **state)
{
	static const struct {
		const char *name, *bodies[4], *want;
	} rows[] = {
		{ "one", { " mx.example; spf=pass" }, "mx.example;\r\n\tspf=pass" },
		{ "folded", { " mx.example;\r\n\tspf=pass;\r\n\tdkim=fail (a; b)" }, "mx.example;\r\n\tspf=pass;\r\n\tdkim=fail (a; b)" },
		{ "two", { " mx.example; spf=pass;", "MX.Example ;dkim=pass\r\n" }, "mx.example;\r\n\tspf=pass;\r\n\tdkim=pass" },
		{ "version and comments", { " (c) mx.example (d) 1 (e) ; a=b ; " }, "mx.example;\r\n\ta=b" },
		{ "quoted", { " \"mx.example\"; a=b" }, "mx.example;\r\n\ta=b" },
		{ "of others", { " mx.other; a=b", " mx.example; c=d", " mx.example.other; e=f" }, "mx.example;\r\n\tc=d" },
		{ "none", { " mx.example; none" }, "mx.example" },
		{ "none and one", { " mx.example; NONE", " mx.example; a=b" }, "mx.example;\r\n\ta=b" },
		{ "nothing behind it", { " mx.example" }, "mx.example" },
		{ "no end of a comment", { " (mx.example; a=b" }, "" },
		{ "no end of a quote", { " \"mx.example; a=b" }, "" },
		{ "nothing", { "" }, "" },
		{ "semicolons", { ";;;" }, "" },
		{ "a word behind", { " mx.example x; a=b" }, "" },
		{ "a zero octet", { " mx.exam" }, "" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(buf) struct buf out = BUF_INIT(4096);

		for (size_t k = 0; k < 4 && rows[i].bodies[k]; k++)
			authres_gather(rows[i].bodies[k], strlen(rows[i].bodies[k]), "mx.example", &out);
		if (strcmp(buf_str(&out), rows[i].want) != 0)
			fail_msg("%s: got %s", rows[i].name, buf_str(&out));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_gather) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
