#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/buf.h"
#include "pop3/pop3_command.h"

/* What the parser understood, in words. */
static void show(const struct pop3_command *c, struct buf *out)
{
	switch (c->verb) {
	case POP3_USER:
	case POP3_APOP:
		buf_addf(out, "<%.*s>", (int)c->name_len, c->name);
		break;
	case POP3_AUTH:
		buf_addf(out, "%s%s%.*s", sasl_name(c->mechanism), c->initial ? " " : "", (int)c->initial_len, c->initial ? c->initial : "");
		break;
	case POP3_LIST:
	case POP3_UIDL:
	case POP3_RETR:
	case POP3_DELE:
		if (c->has_number)
			buf_addf(out, "%u", c->number);
		break;
	case POP3_TOP:
		buf_addf(out, "%u %u", c->number, c->lines);
		break;
	default:
		buf_add(out, c->arg, c->arg_len);
	}
}

#define DIGEST "0123456789abcdef0123456789ABCDEF"

static const struct { const char *name, *in; enum pop3_verb verb; enum pop3_command_error want; const char *shown; } rows[] = {
	{ "user", "USER anna\r\n", POP3_USER, POP3_COMMAND_OK, "<anna>" },
	{ "user, case", "uSeR anna\r\n", POP3_USER, POP3_COMMAND_OK, "<anna>" },
	{ "user of a Domino server", "USER  Anna Berg/Office \r\n", POP3_USER, POP3_COMMAND_OK, "<Anna Berg/Office>" },
	{ "user, UTF-8", "USER ж@x.example\r\n", POP3_USER, POP3_COMMAND_OK, "<ж@x.example>" },
	{ "user, Latin-1", "USER \xe9va\r\n", POP3_USER, POP3_COMMAND_OK, "<\xe9va>" },
	{ "pass: blanks and tabs are its own", "PASS  a\tb \r\n", POP3_PASS, POP3_COMMAND_OK, " a\tb " },
	{ "pass, a blank", "PASS  \r\n", POP3_PASS, POP3_COMMAND_OK, " " },
	{ "pass, octets", "PASS \xff\xfe\r\n", POP3_PASS, POP3_COMMAND_OK, "\xff\xfe" },
	{ "apop", "APOP anna " DIGEST "\r\n", POP3_APOP, POP3_COMMAND_OK, "<anna>" },
	{ "auth alone", "AUTH\r\n", POP3_AUTH, POP3_COMMAND_OK, "" },
	{ "auth", "AUTH plain\r\n", POP3_AUTH, POP3_COMMAND_OK, "PLAIN" },
	{ "auth, initial", "AUTH PLAIN AGFubmEAcHc=\r\n", POP3_AUTH, POP3_COMMAND_OK, "PLAIN AGFubmEAcHc=" },
	{ "auth, empty initial", "AUTH SCRAM-SHA-256 =\r\n", POP3_AUTH, POP3_COMMAND_OK, "SCRAM-SHA-256 =" },
	{ "capa", "CAPA\r\n", POP3_CAPA, POP3_COMMAND_OK, "" },
	{ "capa, a blank after it", "CAPA \r\n", POP3_CAPA, POP3_COMMAND_OK, "" },
	{ "stls", "STLS\r\n", POP3_STLS, POP3_COMMAND_OK, "" },
	{ "quit", "quit\r\n", POP3_QUIT, POP3_COMMAND_OK, "" },
	{ "utf8", "UTF8\r\n", POP3_UTF8, POP3_COMMAND_OK, "" },
	{ "lang", "LANG\r\n", POP3_LANG, POP3_COMMAND_OK, "" },
	{ "lang, one", "LANG de-CH\r\n", POP3_LANG, POP3_COMMAND_OK, "de-CH" },
	{ "lang, any", "LANG *\r\n", POP3_LANG, POP3_COMMAND_OK, "*" },
	{ "stat", "STAT\r\n", POP3_STAT, POP3_COMMAND_OK, "" },
	{ "list", "LIST\r\n", POP3_LIST, POP3_COMMAND_OK, "" },
	{ "list, one", "LIST 17\r\n", POP3_LIST, POP3_COMMAND_OK, "17" },
	{ "uidl, one", "UIDL 4294967294\r\n", POP3_UIDL, POP3_COMMAND_OK, "4294967294" },
	{ "retr", "RETR 1\r\n", POP3_RETR, POP3_COMMAND_OK, "1" },
	{ "retr, zeros", "RETR 0001\r\n", POP3_RETR, POP3_COMMAND_OK, "1" },
	{ "top", "TOP 2 0\r\n", POP3_TOP, POP3_COMMAND_OK, "2 0" },
	{ "top, blanks", "TOP  2   20 \r\n", POP3_TOP, POP3_COMMAND_OK, "2 20" },
	{ "top, all of it", "TOP 2 9999999999\r\n", POP3_TOP, POP3_COMMAND_OK, "2 4294967295" },
	{ "dele", "DELE 3\r\n", POP3_DELE, POP3_COMMAND_OK, "3" },
	{ "last", "LAST\r\n", POP3_LAST, POP3_COMMAND_OK, "" },
	{ "a web client", "GET / HTTP/1.1\r\n", POP3_HTTP, POP3_COMMAND_OK, "/ HTTP/1.1" },

	{ "nothing", "", POP3_UNKNOWN, POP3_COMMAND_BYTES, NULL },
	{ "empty", "\r\n", POP3_UNKNOWN, POP3_COMMAND_UNKNOWN, NULL },
	{ "LF alone", "\n", POP3_UNKNOWN, POP3_COMMAND_LF, NULL },
	{ "CR alone", "QUIT\r", POP3_UNKNOWN, POP3_COMMAND_BYTES, NULL },
	{ "no end", "QUIT", POP3_QUIT, POP3_COMMAND_BYTES, NULL },
	{ "bare LF", "QUIT\n", POP3_QUIT, POP3_COMMAND_LF, NULL },
	{ "bare CR inside", "USER a\rb\r\n", POP3_USER, POP3_COMMAND_BYTES, NULL },
	{ "CR CR LF", "QUIT\r\r\n", POP3_UNKNOWN, POP3_COMMAND_BYTES, NULL },
	{ "LF inside", "USER a\nQUIT\r\n", POP3_USER, POP3_COMMAND_BYTES, NULL },
	{ "a control in a name", "USER a\1b\r\n", POP3_USER, POP3_COMMAND_BYTES, NULL },
	{ "a tab in a name", "USER a\tb\r\n", POP3_USER, POP3_COMMAND_BYTES, NULL },
	{ "DEL in a name", "USER a\177b\r\n", POP3_USER, POP3_COMMAND_BYTES, NULL },
	{ "a control in a password", "PASS a\33b\r\n", POP3_PASS, POP3_COMMAND_BYTES, NULL },
	{ "a tab before a name", "USER\tanna\r\n", POP3_UNKNOWN, POP3_COMMAND_BYTES, NULL },
	{ "a blank before it", " USER anna\r\n", POP3_UNKNOWN, POP3_COMMAND_UNKNOWN, NULL },
	{ "user without", "USER\r\n", POP3_USER, POP3_COMMAND_ARGUMENT, NULL },
	{ "user of blanks", "USER   \r\n", POP3_USER, POP3_COMMAND_ARGUMENT, NULL },
	{ "pass without", "PASS\r\n", POP3_PASS, POP3_COMMAND_ARGUMENT, NULL },
	{ "pass, empty", "PASS \r\n", POP3_PASS, POP3_COMMAND_ARGUMENT, NULL },
	{ "passing by", "PASSa b\r\n", POP3_UNKNOWN, POP3_COMMAND_UNKNOWN, NULL },
	{ "apop without", "APOP\r\n", POP3_APOP, POP3_COMMAND_ARGUMENT, NULL },
	{ "apop, no digest", "APOP anna\r\n", POP3_APOP, POP3_COMMAND_ARGUMENT, NULL },
	{ "apop, short digest", "APOP anna 0123456789abcdef0123456789abcde\r\n", POP3_APOP, POP3_COMMAND_ARGUMENT, NULL },
	{ "apop, no hex", "APOP anna 0123456789abcdef0123456789abcdeg\r\n", POP3_APOP, POP3_COMMAND_ARGUMENT, NULL },
	{ "apop, two digests", "APOP anna " DIGEST " " DIGEST "\r\n", POP3_APOP, POP3_COMMAND_ARGUMENT, NULL },
	{ "apop, two names", "APOP anna b " DIGEST "\r\n", POP3_APOP, POP3_COMMAND_ARGUMENT, NULL },
	{ "apop, no name", "APOP  " DIGEST "\r\n", POP3_APOP, POP3_COMMAND_ARGUMENT, NULL },
	{ "apop, more", "APOP anna " DIGEST " \r\n", POP3_APOP, POP3_COMMAND_ARGUMENT, NULL },
	{ "auth, unknown", "AUTH MAGIC\r\n", POP3_AUTH, POP3_COMMAND_MECHANISM, NULL },
	{ "auth, of the TLS that ends here", "AUTH EXTERNAL =\r\n", POP3_AUTH, POP3_COMMAND_MECHANISM, NULL },
	{ "auth, bound to it", "AUTH SCRAM-SHA-256-PLUS\r\n", POP3_AUTH, POP3_COMMAND_MECHANISM, NULL },
	{ "auth, no name", "AUTH PL(IN\r\n", POP3_AUTH, POP3_COMMAND_ARGUMENT, NULL },
	{ "auth, 8-bit", "AUTH PL\xc3\x84IN\r\n", POP3_AUTH, POP3_COMMAND_BYTES, NULL },
	{ "auth, no base64", "AUTH PLAIN AGFubmE\r\n", POP3_AUTH, POP3_COMMAND_ARGUMENT, NULL },
	{ "auth, a star", "AUTH PLAIN *\r\n", POP3_AUTH, POP3_COMMAND_ARGUMENT, NULL },
	{ "auth, too much", "AUTH PLAIN AGFubmEAcHc= AGFubmEAcHc=\r\n", POP3_AUTH, POP3_COMMAND_ARGUMENT, NULL },
	{ "capa with", "CAPA all\r\n", POP3_CAPA, POP3_COMMAND_ARGUMENT, NULL },
	{ "stls with", "STLS now\r\n", POP3_STLS, POP3_COMMAND_ARGUMENT, NULL },
	{ "lang, two", "LANG de en\r\n", POP3_LANG, POP3_COMMAND_ARGUMENT, NULL },
	{ "lang, none", "LANG d_e\r\n", POP3_LANG, POP3_COMMAND_ARGUMENT, NULL },
	{ "stat with", "STAT 1\r\n", POP3_STAT, POP3_COMMAND_ARGUMENT, NULL },
	{ "list zero", "LIST 0\r\n", POP3_LIST, POP3_COMMAND_ARGUMENT, NULL },
	{ "list two", "LIST 1 2\r\n", POP3_LIST, POP3_COMMAND_ARGUMENT, NULL },
	{ "list minus", "LIST -1\r\n", POP3_LIST, POP3_COMMAND_ARGUMENT, NULL },
	{ "retr without", "RETR\r\n", POP3_RETR, POP3_COMMAND_ARGUMENT, NULL },
	{ "retr, hex", "RETR 0x1\r\n", POP3_RETR, POP3_COMMAND_ARGUMENT, NULL },
	{ "retr, plus", "RETR +1\r\n", POP3_RETR, POP3_COMMAND_ARGUMENT, NULL },
	{ "retr, 2^32 + 1 is not 1", "RETR 4294967297\r\n", POP3_RETR, POP3_COMMAND_ARGUMENT, NULL },
	{ "retr, digits without end", "RETR 00000000001\r\n", POP3_RETR, POP3_COMMAND_ARGUMENT, NULL },
	{ "top without lines", "TOP 1\r\n", POP3_TOP, POP3_COMMAND_ARGUMENT, NULL },
	{ "top, minus", "TOP 1 -1\r\n", POP3_TOP, POP3_COMMAND_ARGUMENT, NULL },
	{ "top, three", "TOP 1 1 1\r\n", POP3_TOP, POP3_COMMAND_ARGUMENT, NULL },
	{ "top, zero", "TOP 0 1\r\n", POP3_TOP, POP3_COMMAND_ARGUMENT, NULL },
	{ "dele with two", "DELE 1,2\r\n", POP3_DELE, POP3_COMMAND_ARGUMENT, NULL },
	{ "xtnd", "XTND XMIT\r\n", POP3_UNKNOWN, POP3_COMMAND_UNKNOWN, NULL },
	{ "xclient", "XCLIENT ADDR=192.0.2.1\r\n", POP3_UNKNOWN, POP3_COMMAND_UNKNOWN, NULL },
	{ "another protocol", "a1 LOGIN anna pw\r\n", POP3_UNKNOWN, POP3_COMMAND_UNKNOWN, NULL },
	{ "TLS where none is", "\x16\x03\x01\x02\n", POP3_UNKNOWN, POP3_COMMAND_LF, NULL },
	{ "8-bit verb", "US\xc9R a\r\n", POP3_UNKNOWN, POP3_COMMAND_BYTES, NULL },
};

static void test_rows(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		AUTO(buf) struct buf shown = BUF_INIT(4000);
		size_t len = strlen(rows[i].in);
		char *copy = malloc(len ? len : 1);
		struct pop3_command c;
		enum pop3_command_error e;

		memcpy(copy, rows[i].in, len);
		e = pop3_command_parse(copy, len, &c);
		if (e == POP3_COMMAND_OK)
			show(&c, &shown);
		if (e != rows[i].want || c.verb != rows[i].verb || (rows[i].shown && strcmp(buf_str(&shown), rows[i].shown) != 0))
			fail_msg("%s: error %d, verb %d, \"%s\"", rows[i].name, (int)e, (int)c.verb, buf_str(&shown));
		if (e == POP3_COMMAND_OK)       /* no beginning of it is a command */
			for (size_t n = 0; n < len; n++)
				assert_int_not_equal(pop3_command_parse(copy, n, &c), POP3_COMMAND_OK);
		free(copy);
	}
}

static void test_nul(void **state)
{
	static const struct { const char *in; size_t len; } nul[] = {
		{ "USER a\0b\r\n", 10 }, { "PASS a\0\r\n", 9 }, { "QUIT\0\r\n", 7 }, { "\0QUIT\r\n", 7 }, { "AUTH PLAIN \0\r\n", 14 }, { "\0\r\n", 3 },
	};
	struct pop3_command c;

	for (size_t i = 0; i < sizeof(nul) / sizeof(nul[0]); i++)
		assert_int_equal(pop3_command_parse(nul[i].in, nul[i].len, &c), POP3_COMMAND_BYTES);
}

/* A line of a verb, filled up to len octets, CRLF included. */
static enum pop3_command_error filled(const char *verb, size_t len)
{
	char *p = malloc(len);
	struct pop3_command c;
	enum pop3_command_error e;

	memset(p, 'A', len);
	memcpy(p, verb, strlen(verb));
	memcpy(p + len - 2, "\r\n", 2);
	e = pop3_command_parse(p, len, &c);
	free(p);
	return e;
}

static void test_bounds(void **state)
{
	assert_int_equal(filled("USER ", POP3_NAME_LINE_MAX), POP3_COMMAND_OK);
	assert_int_equal(filled("USER ", POP3_NAME_LINE_MAX + 1), POP3_COMMAND_LONG);
	assert_int_equal(filled("PASS ", POP3_NAME_LINE_MAX), POP3_COMMAND_OK);
	assert_int_equal(filled("PASS ", POP3_NAME_LINE_MAX + 1), POP3_COMMAND_LONG);
	assert_int_equal(filled("APOP ", POP3_NAME_LINE_MAX + 1), POP3_COMMAND_LONG);
	assert_int_equal(filled("AUTH PLAIN ", 11 + 4 * 3000 + 2), POP3_COMMAND_OK);
	assert_int_equal(filled("AUTH PLAIN ", POP3_READ_MAX + 1), POP3_COMMAND_LONG);
	assert_int_equal(filled("LANG ", POP3_LINE_MAX), POP3_COMMAND_ARGUMENT);
	assert_int_equal(filled("RETR ", POP3_LINE_MAX + 1), POP3_COMMAND_LONG);
	assert_int_equal(filled("QUIT ", POP3_LINE_MAX + 1), POP3_COMMAND_LONG);
}

static void test_word(void **state)
{
	struct pop3_command c;

	pop3_command_parse("xy\1abcdefghijklmnopqrstuvwxyz 1\r\n", 33, &c);
	assert_string_equal(c.word, "XY?ABCDEFGHIJKL");
	for (int e = POP3_COMMAND_LF; e <= POP3_COMMAND_MECHANISM; e++)
		assert_memory_equal(pop3_command_reply((enum pop3_command_error)e), "-ERR ", 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_nul),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_word),
	};

	return cmocka_run_group_tests_name("pop3_command", tests, NULL, NULL);
}
