#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "policy/conf.h"
#include "spool/etrn.h"

static void test_parse(void **state)
{
	static const struct { const char *in; int rc; enum etrn_kind kind; const char *name; } rows[] = {
		{ "example.com", 0, ETRN_DOMAIN, "example.com" },
		{ "EXAMPLE.com", 0, ETRN_DOMAIN, "example.com" },
		{ "@example.com", 0, ETRN_BELOW, "example.com" },
		{ "#Backend", 0, ETRN_QUEUE, "backend" },
		{ "", -EINVAL, 0, NULL },
		{ "@", -EINVAL, 0, NULL },
		{ "#", -EINVAL, 0, NULL },
		{ "@@example.com", -EINVAL, 0, NULL },
		{ "#a b", -EINVAL, 0, NULL },
		{ "#../../etc", -EINVAL, 0, NULL },
		{ "#a/b", -EINVAL, 0, NULL },
		{ "#aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", -EINVAL, 0, NULL },
		{ "[192.0.2.1]", -EINVAL, 0, NULL },
		{ "example..com", -EINVAL, 0, NULL },
		{ "-example.com", -EINVAL, 0, NULL },
		{ "example.com example.org", -EINVAL, 0, NULL },
		{ "user@example.com", -EINVAL, 0, NULL },
		{ "ex\xc3\xa4mple.com", -EINVAL, 0, NULL },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct etrn e;
		int rc = etrn_parse(rows[i].in, strlen(rows[i].in), &e);

		if (rc != rows[i].rc || (rc == 0 && (e.kind != rows[i].kind || strcmp(e.name, rows[i].name) != 0)))
			fail_msg("%s: %d", rows[i].in, rc);
	}
}

static void test_ours(void **state)
{
	static const struct { const char *in; bool ours; } rows[] = {
		{ "example.com", true }, { "@example.com", true }, { "@com", true }, { "mail.example.com", false }, { "a.example.net", true },
		{ "example.net", false }, { "@example.net", true }, { "@other.example", false }, { "badexample.com", false }, { "@ple.com", false },
		{ "#backend", true }, { "#upstream", false }, { "#example.com", false },
	};
	char one[] = "example.com", below[] = ".example.net", *domains[] = { below, one };
	struct site site = { .domains = domains, .domain_count = 2 };

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct etrn e;

		assert_int_equal(etrn_parse(rows[i].in, strlen(rows[i].in), &e), 0);
		if (etrn_is_ours(&e, &site) != rows[i].ours)
			fail_msg("%s", rows[i].in);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_parse), cmocka_unit_test(test_ours) };

	return cmocka_run_group_tests_name("etrn", tests, NULL, NULL);
}
