#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "filters/domain.h"

#define TEN "abcdefghij"
#define L63 TEN TEN TEN TEN TEN TEN "abc"

static const struct { const char *name, *in, *out; } rows[] = {
	{ "plain", "example.com", "example.com" },
	{ "upper case", "EXAMPLE.Com", "example.com" },
	{ "final dot", "example.com.", "example.com" },
	{ "one label", "com", "com" },
	{ "digits, hyphen, underscore", "_dmarc.a-1.9", "_dmarc.a-1.9" },
	{ "label of 63", L63 ".org", L63 ".org" },
	{ "253 bytes", L63 "." L63 "." L63 "." TEN TEN TEN TEN TEN TEN "a", L63 "." L63 "." L63 "." TEN TEN TEN TEN TEN TEN "a" },
	{ "U-label", "b\xc3\xbc" "cher.example", "xn--bcher-kva.example" },
	{ "U-label in upper case", "B\xc3\x9c" "CHER.Example", "xn--bcher-kva.example" },
	{ "decomposed U-label", "bu\xcc\x88" "cher.example", "xn--bcher-kva.example" },
	{ "sharp s stays one", "fa\xc3\x9f.example", "xn--fa-hia.example" },
	{ "ideographic full stop", "a\xe3\x80\x82" "example", "a.example" },
	{ "A-label", "XN--BCHER-KVA.example", "xn--bcher-kva.example" },
	{ "empty", "", NULL },
	{ "dot alone", ".", NULL },
	{ "leading dot", ".example.com", NULL },
	{ "two dots", "example..com", NULL },
	{ "two final dots", "example.com..", NULL },
	{ "label of 64", L63 "x.org", NULL },
	{ "254 bytes", L63 "." L63 "." L63 "." TEN TEN TEN TEN TEN TEN "ab", NULL },
	{ "blank", "example com", NULL },
	{ "blank at the end", "example.com ", NULL },
	{ "angle", "example.com>", NULL },
	{ "semicolon", "example.com;", NULL },
	{ "at", "a@example.com", NULL },
	{ "star", "*.example.com", NULL },
	{ "slash", "a/b.example", NULL },
	{ "line end", "example.com\r\n", NULL },
	{ "control", "exa\x01mple.com", NULL },
	{ "literal", "[192.0.2.1]", NULL },
	{ "broken UTF-8", "b\xfc" "cher.example", NULL },
	{ "overlong UTF-8", "a\xc0\xae" "example", NULL },
	{ "full-width slash", "a\xef\xbc\x8f" "b.example", NULL },
	{ "bidi control", "a\xe2\x80\xae" "b.example", NULL },
};

static void test_canonical(void **state)
{
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char out[DOMAIN_MAX] = "untouched";
		int rc = domain_canonical(rows[i].in, strlen(rows[i].in), out);

		print_message("    %s\n", rows[i].name);
		assert_int_equal(rc, rows[i].out ? 0 : -EINVAL);
		assert_string_equal(out, rows[i].out ? rows[i].out : "untouched");
	}
}

static void test_nul_and_length(void **state)
{
	static char big[8192];
	char out[DOMAIN_MAX];

	memset(big, 'a', sizeof big);
	assert_int_equal(domain_canonical("a\0b", 3, out), -EINVAL);
	assert_int_equal(domain_canonical("a\0", 2, out), -EINVAL);
	assert_int_equal(domain_canonical(big, sizeof big, out), -EINVAL);
	memset(big, '\xc3', sizeof big);
	assert_int_equal(domain_canonical(big, sizeof big, out), -EINVAL);
	assert_int_equal(domain_canonical(big, 200, out), -EINVAL);
}

static void test_labels_and_tails(void **state)
{
	assert_int_equal(domain_labels("com"), 1);
	assert_int_equal(domain_labels("a.b.com"), 3);
	assert_string_equal(domain_tail("a.b.com", 1), "com");
	assert_string_equal(domain_tail("a.b.com", 2), "b.com");
	assert_string_equal(domain_tail("a.b.com", 3), "a.b.com");
	assert_string_equal(domain_tail("a.b.com", 9), "a.b.com");
}

static void test_within(void **state)
{
	assert_true(domain_within("example.com", "example.com"));
	assert_true(domain_within("a.example.com", "example.com"));
	assert_true(domain_within("a.b.example.com", "com"));
	assert_false(domain_within("badexample.com", "example.com"));
	assert_false(domain_within("com", "example.com"));
	assert_false(domain_within("example.com", "a.example.com"));
	assert_false(domain_within("example.org", "example.com"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_canonical),
		cmocka_unit_test(test_nul_and_length),
		cmocka_unit_test(test_labels_and_tails),
		cmocka_unit_test(test_within),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
