#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "rua/rua_uri.h"

#define KIB UINT64_C(1024)
#define A60 "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff"

static const struct { const char *in, *address, *host; uint64_t max; } good[] = {
	{ "mailto:dmarc@example.com", "dmarc@example.com", "example.com", UINT64_MAX },
	{ "MailTo:Dmarc@Example.COM", "Dmarc@example.com", "example.com", UINT64_MAX },
	{ " \tmailto:d@example.com\t ", "d@example.com", "example.com", UINT64_MAX },
	{ "mailto:d@example.com.", NULL, NULL, 0 },
	{ "mailto:d@example.com!10m", "d@example.com", "example.com", 10 * KIB * KIB },
	{ "mailto:d@example.com!10M", "d@example.com", "example.com", 10 * KIB * KIB },
	{ "mailto:d@example.com!5k", "d@example.com", "example.com", 5 * KIB },
	{ "mailto:d@example.com!2g", "d@example.com", "example.com", 2 * KIB * KIB * KIB },
	{ "mailto:d@example.com!1t", "d@example.com", "example.com", KIB * KIB * KIB * KIB },
	{ "mailto:d@example.com!5000", "d@example.com", "example.com", 5000 },
	{ "mailto:d@example.com!0", "d@example.com", "example.com", 0 },
	{ "mailto:d@example.com!99999999999999999999999", "d@example.com", "example.com", UINT64_MAX },
	{ "mailto:d@example.com!99999999999999999t", "d@example.com", "example.com", UINT64_MAX },
	{ "mailto:d%2Be@example.com", "d+e@example.com", "example.com", UINT64_MAX },
	{ "mailto:d%2be@ex%61mple.com", "d+e@example.com", "example.com", UINT64_MAX },
	{ "mailto:d@example.com?subject=x", "d@example.com", "example.com", UINT64_MAX },
	{ "mailto:d@example.com?subject=x!1m", "d@example.com", "example.com", KIB * KIB },
	{ "mailto:d@a.b_c.example.com", "d@a.b_c.example.com", "a.b_c.example.com", UINT64_MAX },
};

static const struct { const char *name, *in; size_t len; } bad[] = {
	{ "empty", "", 0 },
	{ "scheme alone", "mailto:", 0 },
	{ "scheme cut", "mailto", 0 },
	{ "another scheme", "https://example.com/dmarc", 0 },
	{ "address alone", "d@example.com", 0 },
	{ "no host", "mailto:d", 0 },
	{ "empty host", "mailto:d@", 0 },
	{ "empty local part", "mailto:@example.com", 0 },
	{ "one label", "mailto:d@localhost", 0 },
	{ "size without number", "mailto:d@example.com!", 0 },
	{ "unit alone", "mailto:d@example.com!m", 0 },
	{ "unknown unit", "mailto:d@example.com!10x", 0 },
	{ "two units", "mailto:d@example.com!10mm", 0 },
	{ "negative", "mailto:d@example.com!-1", 0 },
	{ "blank in size", "mailto:d@example.com!1 0", 0 },
	{ "size twice", "mailto:d@example.com!1m!2m", 0 },
	{ "exclamation mark in the local part", "mailto:a!d@example.com", 0 },
	{ "the same, encoded: a bang path", "mailto:a%21d@example.com", 0 },
	{ "percent hack", "mailto:a%25b.example@example.com", 0 },
	{ "percent at the end", "mailto:d@example.com%", 0 },
	{ "percent with one digit", "mailto:d@example.com%4", 0 },
	{ "percent without digits", "mailto:d%zz@example.com", 0 },
	{ "percent with half a digit", "mailto:d%4z@example.com", 0 },
	{ "encoded NUL", "mailto:d%00@example.com", 0 },
	{ "encoded CR LF", "mailto:d%0D%0ABcc:x@example.com", 0 },
	{ "encoded blank", "mailto:d%20e@example.com", 0 },
	{ "encoded angle", "mailto:d%3E@example.com", 0 },
	{ "two addresses", "mailto:d@example.com%2Ce@example.com", 0 },
	{ "quoted local part", "mailto:%22a%20b%22@example.com", 0 },
	{ "needless quotes around a second address", "mailto:%22a@b.example%22@example.com", 0 },
	{ "address literal", "mailto:d@[192.0.2.1]", 0 },
	{ "8-bit", "mailto:d\303\266@example.com", 0 },
	{ "8-bit, encoded", "mailto:d%C3%B6@example.com", 0 },
	{ "8-bit host", "mailto:d@ex\303\244mple.com", 0 },
	{ "source route", "mailto:@a.example:d@example.com", 0 },
	{ "angles", "mailto:<d@example.com>", 0 },
	{ "comma", "mailto:d@example.com,mailto:e@example.com", 0 },
	{ "slashes", "mailto://d@example.com", 0 },
	{ "empty label", "mailto:d@example..com", 0 },
	{ "long label", "mailto:d@" A60 A60 ".com", 0 },
	{ "long local part", "mailto:" A60 A60 "@example.com", 0 },
	{ "long all over", "mailto:d@" A60 "." A60 "." A60 "." A60 "." A60 ".com", 0 },
	{ "too long", "mailto:d@example.com?" A60 A60 A60 A60 A60 A60 A60 A60 A60, 0 },
	{ "NUL", "mailto:d\0@example.com", 21 },
	{ "NUL in the size", "mailto:d@example.com!1\0", 23 },
};

/* At the end of its memory, so that a sanitizer sees an octet beyond. */
static const char *parse(const char *p, size_t len, struct rua_uri *out)
{
	char *copy = malloc(len ? len : 1);
	const char *why;

	memcpy(copy, p, len);
	why = rua_uri_parse(copy, len, out);
	free(copy);
	return why;
}

static void test_good(void **state)
{
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		struct rua_uri u;
		const char *why = parse(good[i].in, strlen(good[i].in), &u);

		if (!good[i].address) {
			assert_non_null(why);
			continue;
		}
		if (why)
			fail_msg("%s: %s", good[i].in, why);
		assert_string_equal(u.address, good[i].address);
		assert_string_equal(u.host, good[i].host);
		assert_true(u.max_bytes == good[i].max);
	}
}

static void test_bad(void **state)
{
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct rua_uri u = { .address = "untouched" };

		if (!parse(bad[i].in, bad[i].len ? bad[i].len : strlen(bad[i].in), &u))
			fail_msg("%s: taken as %s", bad[i].name, u.address);
		assert_string_equal(u.address, "untouched");
	}
}

static void test_list(void **state)
{
	static const struct { const char *list, *items; } rows[] = {
		{ "", "" }, { ",", "" }, { " , ,\t", "" }, { "a", "a|" }, { "a,b", "a|b|" }, { " a , b ,c,", "a|b|c|" }, { ",,a b,", "a b|" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char all[64] = "";
		const char *item;
		size_t pos = 0, len;

		while (rua_uri_next(rows[i].list, strlen(rows[i].list), &pos, &item, &len)) {
			strncat(all, item, len);
			strcat(all, "|");
		}
		assert_string_equal(all, rows[i].items);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
