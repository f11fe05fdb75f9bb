#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "smtp/smtp_address.h"

#define A10 "aaaaaaaaaa"
#define A60 A10 A10 A10 A10 A10 A10
#define L63 A60 "aaa"

/* what: what[0..] letters that must be set: q quoted, l literal, u utf8, t trick */
static const struct { const char *name, *in; unsigned flags; enum smtp_address_error want; const char *text, *what; } rows[] = {
	{ "plain", "a.b+c@Example.COM", 0, ADDRESS_OK, "a.b+c@example.com", "" },
	{ "case of local kept", "Joe@x.example", 0, ADDRESS_OK, "Joe@x.example", "" },
	{ "single label domain", "a@localhost", 0, ADDRESS_OK, "a@localhost", "" },
	{ "needlessly quoted", "\"joe\"@x.example", 0, ADDRESS_OK, "joe@x.example", "" },
	{ "needlessly escaped", "\"j\\oe\"@x.example", 0, ADDRESS_OK, "joe@x.example", "" },
	{ "quoted blank", "\"j o\"@x.example", 0, ADDRESS_OK, "\"j o\"@x.example", "q" },
	{ "quoted quote", "\"j\\\"o\"@x.example", 0, ADDRESS_OK, "\"j\\\"o\"@x.example", "q" },
	{ "quoted backslash", "\"j\\\\o\"@x.example", 0, ADDRESS_OK, "\"j\\\\o\"@x.example", "q" },
	{ "quoted dots", "\"a..b\"@x.example", 0, ADDRESS_OK, "\"a..b\"@x.example", "q" },
	{ "quoted empty", "\"\"@x.example", 0, ADDRESS_OK, "\"\"@x.example", "q" },
	{ "quoted bracket", "\"a>b\"@x.example", 0, ADDRESS_OK, "\"a>b\"@x.example", "q" },
	{ "percent hack", "a%other.example@x.example", 0, ADDRESS_OK, "a%other.example@x.example", "t" },
	{ "bang path", "other!a@x.example", 0, ADDRESS_OK, "other!a@x.example", "t" },
	{ "quoted at", "\"a@other.example\"@x.example", 0, ADDRESS_OK, "\"a@other.example\"@x.example", "qt" },
	{ "quoted percent unquotes, stays a trick", "\"a%other\"@x.example", 0, ADDRESS_OK, "a%other@x.example", "t" },
	{ "IPv4 literal", "a@[192.0.2.1]", 0, ADDRESS_OK, "a@[192.0.2.1]", "l" },
	{ "IPv6 literal", "a@[ipv6:2001:DB8::1]", 0, ADDRESS_OK, "a@[IPv6:2001:db8::1]", "l" },
	{ "utf-8", "ж@пример.example", MAILBOX_UTF8, ADDRESS_OK, "ж@пример.example", "u" },
	{ "local of 64", A60 "aaaa@x.example", 0, ADDRESS_OK, A60 "aaaa@x.example", "" },
	{ "local of 70, sender", A60 A10 "@x.example", MAILBOX_LONG_LOCAL, ADDRESS_OK, A60 A10 "@x.example", "" },
	{ "bare postmaster", "PostMaster", MAILBOX_POSTMASTER, ADDRESS_OK, "PostMaster", "" },
	{ "underscore", "a@_x.ex_ample", 0, ADDRESS_OK, "a@_x.ex_ample", "" },

	{ "empty", "", 0, ADDRESS_SYNTAX, NULL, NULL },
	{ "at alone", "@", 0, ADDRESS_SYNTAX, NULL, NULL },
	{ "no local part", "@x.example", 0, ADDRESS_SYNTAX, NULL, NULL },
	{ "no domain", "a@", 0, ADDRESS_BAD_DOMAIN, NULL, NULL },
	{ "no at", "a", 0, ADDRESS_NO_DOMAIN, NULL, NULL },
	{ "bare other", "root", MAILBOX_POSTMASTER, ADDRESS_NO_DOMAIN, NULL, NULL },
	{ "bare postmaster not allowed", "postmaster", 0, ADDRESS_NO_DOMAIN, NULL, NULL },
	{ "two ats", "a@b@x.example", 0, ADDRESS_BAD_DOMAIN, NULL, NULL },
	{ "leading dot", ".a@x.example", 0, ADDRESS_SYNTAX, NULL, NULL },
	{ "trailing dot", "a.@x.example", 0, ADDRESS_SYNTAX, NULL, NULL },
	{ "two dots", "a..b@x.example", 0, ADDRESS_SYNTAX, NULL, NULL },
	{ "blank", "a b@x.example", 0, ADDRESS_SYNTAX, NULL, NULL },
	{ "control", "a\001@x.example", 0, ADDRESS_SYNTAX, NULL, NULL },
	{ "control in quotes", "\"a\001\"@x.example", 0, ADDRESS_SYNTAX, NULL, NULL },
	{ "escaped LF in quotes", "\"a\\\n\"@x.example", 0, ADDRESS_SYNTAX, NULL, NULL },
	{ "open quote", "\"a@x.example", 0, ADDRESS_SYNTAX, NULL, NULL },
	{ "open escape", "\"a\\", 0, ADDRESS_SYNTAX, NULL, NULL },
	{ "text after quote", "\"a\"b@x.example", 0, ADDRESS_SYNTAX, NULL, NULL },
	{ "quote inside", "a\"b\"@x.example", 0, ADDRESS_SYNTAX, NULL, NULL },
	{ "parentheses", "a(c)@x.example", 0, ADDRESS_SYNTAX, NULL, NULL },
	{ "empty label", "a@x..example", 0, ADDRESS_BAD_DOMAIN, NULL, NULL },
	{ "domain with final dot", "a@x.example.", 0, ADDRESS_BAD_DOMAIN, NULL, NULL },
	{ "domain with leading dot", "a@.example", 0, ADDRESS_BAD_DOMAIN, NULL, NULL },
	{ "leading hyphen", "a@-x.example", 0, ADDRESS_BAD_DOMAIN, NULL, NULL },
	{ "trailing hyphen", "a@x-.example", 0, ADDRESS_BAD_DOMAIN, NULL, NULL },
	{ "blank in domain", "a@x example", 0, ADDRESS_BAD_DOMAIN, NULL, NULL },
	{ "label of 64", "a@" L63 "a.example", 0, ADDRESS_BAD_DOMAIN, NULL, NULL },
	{ "domain of 256", "a@" L63 "." L63 "." L63 "." L63 ".", 0, ADDRESS_LONG, NULL, NULL },
	{ "whole of 255", "a@" L63 "." L63 "." L63 "." A60 "a", 0, ADDRESS_LONG, NULL, NULL },
	{ "local of 65", A60 "aaaaa@x.example", 0, ADDRESS_LOCAL_LONG, NULL, NULL },
	{ "local of 300", A60 A60 A60 A60 A60 "@x.example", MAILBOX_LONG_LOCAL, ADDRESS_LONG, NULL, NULL },
	{ "unclosed literal", "a@[192.0.2.1", 0, ADDRESS_BAD_LITERAL, NULL, NULL },
	{ "empty literal", "a@[]", 0, ADDRESS_BAD_LITERAL, NULL, NULL },
	{ "IPv4 literal of five", "a@[1.2.3.4.5]", 0, ADDRESS_BAD_LITERAL, NULL, NULL },
	{ "IPv4 literal 256", "a@[1.2.3.256]", 0, ADDRESS_BAD_LITERAL, NULL, NULL },
	{ "IPv6 literal without tag", "a@[2001:db8::1]", 0, ADDRESS_BAD_LITERAL, NULL, NULL },
	{ "IPv6 tag, IPv4", "a@[IPv6:192.0.2.1]", 0, ADDRESS_BAD_LITERAL, NULL, NULL },
	{ "name as literal", "a@[x.example]", 0, ADDRESS_BAD_LITERAL, NULL, NULL },
	{ "text after literal", "a@[192.0.2.1]x", 0, ADDRESS_BAD_LITERAL, NULL, NULL },
	{ "8-bit local without leave", "ж@x.example", 0, ADDRESS_UTF8, NULL, NULL },
	{ "8-bit domain without leave", "a@ж.example", 0, ADDRESS_UTF8, NULL, NULL },
	{ "latin-1 local", "\xe9t\xe9@x.example", MAILBOX_UTF8, ADDRESS_BAD_UTF8, NULL, NULL },
	{ "overlong", "a\xc0\xaf@x.example", MAILBOX_UTF8, ADDRESS_BAD_UTF8, NULL, NULL },
	{ "cut utf-8", "a@x\xd0", MAILBOX_UTF8, ADDRESS_BAD_UTF8, NULL, NULL },
	{ "surrogate", "a\xed\xa0\x80@x.example", MAILBOX_UTF8, ADDRESS_BAD_UTF8, NULL, NULL },
};

static void test_mailbox(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct smtp_mailbox m;
		size_t len = strlen(rows[i].in);
		char *copy = malloc(len ? len : 1);     /* no NUL behind: the sanitizer sees a read too far */
		enum smtp_address_error e;

		memcpy(copy, rows[i].in, len);
		memset(&m, 0x55, sizeof(m));
		e = smtp_mailbox_parse(copy, len, rows[i].flags, &m);
		if (e != rows[i].want)
			fail_msg("%s: %d", rows[i].name, (int)e);
		if (e == ADDRESS_OK) {
			if (strcmp(m.text, rows[i].text) || m.quoted != !!strchr(rows[i].what, 'q') ||
			    m.literal != !!strchr(rows[i].what, 'l') || m.utf8 != !!strchr(rows[i].what, 'u') ||
			    m.trick != !!strchr(rows[i].what, 't'))
				fail_msg("%s: \"%s\" %d%d%d%d", rows[i].name, m.text, m.quoted, m.literal, m.utf8, m.trick);
			/* the normal form is its own normal form, and every shorter piece is handled */
			for (size_t n = 0; n < len; n++) {
				char *piece = malloc(n ? n : 1);

				memcpy(piece, rows[i].in, n);
				smtp_mailbox_parse(piece, n, rows[i].flags, &m);
				free(piece);
			}
			assert_int_equal(smtp_mailbox_parse(rows[i].text, strlen(rows[i].text), rows[i].flags, &m), ADDRESS_OK);
			assert_string_equal(m.text, rows[i].text);
		} else {
			assert_int_equal(m.text[0], 0x55);
			assert_non_null(smtp_address_reply(e, true));
		}
		free(copy);
	}
}

static void test_nul_is_refused(void **state)
{
	struct smtp_mailbox m;

	assert_int_equal(smtp_mailbox_parse("a\0b@x.example", 13, 0, &m), ADDRESS_SYNTAX);
	assert_int_equal(smtp_mailbox_parse("a@x\0.example", 12, 0, &m), ADDRESS_BAD_DOMAIN);
	assert_int_equal(smtp_mailbox_parse("\"a\0\"@x.example", 14, 0, &m), ADDRESS_SYNTAX);
	assert_int_equal(smtp_mailbox_parse("a@[1.2.3.4\0]", 12, 0, &m), ADDRESS_BAD_LITERAL);
}

static const struct { const char *name, *in; unsigned flags; enum smtp_address_error want; const char *text; size_t used; } paths[] = {
	{ "plain", "<a@x.example> SIZE=1", 0, ADDRESS_OK, "a@x.example", 13 },
	{ "null", "<>", MAILBOX_NULL, ADDRESS_OK, "", 2 },
	{ "route", "<@a.example,@b.example:c@x.example>", 0, ADDRESS_OK, "c@x.example", 35 },
	{ "route with literal", "<@[IPv6:::1],@b.example:c@x.example>", 0, ADDRESS_OK, "c@x.example", 36 },
	{ "no brackets", "a@x.example SIZE=1", 0, ADDRESS_OK, "a@x.example", 11 },
	{ "quoted >", "<\"a>b\"@x.example>", 0, ADDRESS_OK, "\"a>b\"@x.example", 17 },
	{ "postmaster", "<Postmaster>", MAILBOX_POSTMASTER, ADDRESS_OK, "Postmaster", 12 },
	{ "null not allowed", "<>", 0, ADDRESS_SYNTAX, NULL, 0 },
	{ "null with blank", "< >", MAILBOX_NULL, ADDRESS_SYNTAX, NULL, 0 },
	{ "open", "<a@x.example", 0, ADDRESS_SYNTAX, NULL, 0 },
	{ "open null", "<", MAILBOX_NULL, ADDRESS_SYNTAX, NULL, 0 },
	{ "double", "<<a@x.example>>", 0, ADDRESS_SYNTAX, NULL, 0 },
	{ "name", "Joe <a@x.example>", 0, ADDRESS_NO_DOMAIN, NULL, 0 },
	{ "blank inside", "<a@x.example >", 0, ADDRESS_BAD_DOMAIN, NULL, 0 },
	{ "blank before", "< a@x.example>", 0, ADDRESS_SYNTAX, NULL, 0 },
	{ "route without mailbox", "<@a.example:>", 0, ADDRESS_SYNTAX, NULL, 0 },
	{ "route without colon", "<@a.example>", 0, ADDRESS_SYNTAX, NULL, 0 },
	{ "route, bad host", "<@a..b:c@x.example>", 0, ADDRESS_SYNTAX, NULL, 0 },
	{ "route without at", "<@a.example,b.example:c@x.example>", 0, ADDRESS_SYNTAX, NULL, 0 },
	{ "route, open literal", "<@[1.2.3.4:c@x.example>", 0, ADDRESS_SYNTAX, NULL, 0 },
	{ "empty", "", MAILBOX_NULL, ADDRESS_SYNTAX, NULL, 0 },
};

static void test_path(void **state)
{
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		struct smtp_mailbox m;
		size_t used = 0;
		enum smtp_address_error e = smtp_path_parse(paths[i].in, strlen(paths[i].in), paths[i].flags, &used, &m);

		if (e != paths[i].want || (e == ADDRESS_OK && (strcmp(m.text, paths[i].text) || used != paths[i].used)))
			fail_msg("%s: %d, used %zu", paths[i].name, (int)e, used);
	}
}

static void test_domain_ascii(void **state)
{
	char out[SMTP_DOMAIN_MAX + 1];

	assert_int_equal(smtp_domain_ascii("Example.COM", out), 0);
	assert_string_equal(out, "example.com");
	assert_int_equal(smtp_domain_ascii("bücher.example", out), 0);
	assert_string_equal(out, "xn--bcher-kva.example");
	assert_int_equal(smtp_domain_ascii("BÜCHER.example", out), 0);
	assert_string_equal(out, "xn--bcher-kva.example");
	assert_true(smtp_domain_ascii("b\xfc" "cher.example", out) < 0);
	assert_true(smtp_domain_ascii("", out) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mailbox),
		cmocka_unit_test(test_nul_is_refused),
		cmocka_unit_test(test_path),
		cmocka_unit_test(test_domain_ascii),
	};

	return cmocka_run_group_tests_name("smtp_address", tests, NULL, NULL);
}
