#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "imap/imap_command.h"
#include "imap/imap_id.h"

static const struct { const char *in, *want; } rows[] = {
	{ "a ID NIL\r\n", "a ID NIL\r\n" },
	{ "a iD ( \"x\" \"y\")\r\n", NULL },
	{ "a iD (\"name\" \"mutt\" \"os\" nil) \r\n", "a iD (\"name\" \"mutt\" \"os\" nil) \r\n" },
	{ "a ID (\"x-originating-ip\" \"192.0.2.1\")\r\n", "a ID NIL\r\n" },
	{ "a ID (\"x-client-transport\" \"TLS\" \"X-Via\" \"192.0.2.1\")\r\n", "a ID NIL\r\n" },
	{ "a ID (\"name\" \"x\" \"X-Originating-Port\" \"1\")\r\n", "a ID (\"name\" \"x\")\r\n" },
	{ "a ID (\"x-connected-ip\" NIL \"name\" \"x\")\r\n", "a ID (\"name\" \"x\")\r\n" },
	{ "a ID (\"x-proxy-ttl\" \"1\" \"x-session-id\" \"a\" \"x-session-ext-id\" \"b\" \"x-forward-x\" \"c\" \"x-other\" \"d\")\r\n",
	  "a ID (\"x-other\" \"d\")\r\n" },
	{ "a ID (\"not-x-originating-ip\" \"x-originating-ip\")\r\n", "a ID (\"not-x-originating-ip\" \"x-originating-ip\")\r\n" },
	{ "a ID (\"x-\" \"1\" \"x-proxy-ttl\" \"\\\"\\\\\" \"y\" \"\\\"\\\\\")\r\n", "a ID (\"x-\" \"1\" \"y\" \"\\\"\\\\\")\r\n" },
};

static void test_table(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		AUTO(buf) struct buf out = BUF_INIT(8192);
		struct imap_command c;
		enum imap_step step;

		imap_command_init(&c);
		step = imap_command_line(&c, rows[i].in, strlen(rows[i].in));
		assert_int_equal(step, rows[i].want ? IMAP_COMMAND : IMAP_BAD);
		if (rows[i].want) {
			assert_int_equal(imap_id_onward(&c, &out), 0);
			assert_string_equal(buf_str(&out), rows[i].want);
		}
		imap_command_release(&c);
	}
}

/* Literals become quoted strings; what those cannot hold goes. */
static void test_literals(void **state)
{
	AUTO(buf) struct buf out = BUF_INIT(8192);
	struct imap_command c;

	imap_command_init(&c);
	assert_int_equal(imap_command_line(&c, "a ID ({16+}\r\n", sizeof("a ID ({16+}\r\n") - 1), IMAP_WANTS_LITERAL);
	assert_int_equal(imap_command_literal(&c, "x-originating-ip", sizeof("x-originating-ip") - 1), IMAP_WANTS_LINE);
	assert_int_equal(imap_command_line(&c, " \"::1\" \"name\" {4}\r\n", sizeof(" \"::1\" \"name\" {4}\r\n") - 1), IMAP_WANTS_CONTINUE);
	assert_int_equal(imap_command_literal(&c, "a\"\\b", sizeof("a\"\\b") - 1), IMAP_WANTS_LINE);
	assert_int_equal(imap_command_line(&c, " \"os\" {6+}\r\n", sizeof(" \"os\" {6+}\r\n") - 1), IMAP_WANTS_LITERAL);
	assert_int_equal(imap_command_literal(&c, "a\r\nb x", sizeof("a\r\nb x") - 1), IMAP_WANTS_LINE);
	assert_int_equal(imap_command_line(&c, ")\r\n", sizeof(")\r\n") - 1), IMAP_COMMAND);
	assert_int_equal(imap_id_onward(&c, &out), 0);
	assert_string_equal(buf_str(&out), "a ID (\"name\" \"a\\\"\\\\b\")\r\n");
	imap_command_release(&c);
}

/* Octets of a literal that are no UTF-8 would make a quoted string that is none. */
static void test_octets(void **state)
{
	static const struct { const char *octets, *want; } octets_rows[] = {
		{ "\xff\xfe" "ab", "a ID (\"os\" \"x\")\r\n" },
		{ "ab\xc3\xbc", "a ID (\"name\" \"ab\xc3\xbc\" \"os\" \"x\")\r\n" },
		{ "abc\xc3", "a ID (\"os\" \"x\")\r\n" },
	};

	for (size_t i = 0; i < sizeof(octets_rows) / sizeof(octets_rows[0]); i++) {
		AUTO(buf) struct buf out = BUF_INIT(8192);
		struct imap_command c;

		imap_command_init(&c);
		assert_int_equal(imap_command_line(&c, "a ID (\"name\" {4+}\r\n", sizeof("a ID (\"name\" {4+}\r\n") - 1), IMAP_WANTS_LITERAL);
		assert_int_equal(imap_command_literal(&c, octets_rows[i].octets, 4), IMAP_WANTS_LINE);
		assert_int_equal(imap_command_line(&c, " \"os\" \"x\")\r\n", sizeof(" \"os\" \"x\")\r\n") - 1), IMAP_COMMAND);
		assert_int_equal(imap_id_onward(&c, &out), 0);
		assert_string_equal(buf_str(&out), octets_rows[i].want);
		imap_command_release(&c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_literals),
		cmocka_unit_test(test_octets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
