#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "pop3/pop3_reply.h"

enum { BAD = -1 };

static const struct { const char *name, *in; int want; const char *text, *code; } rows[] = {
	{ "ok", "+OK\r\n", POP3_STATUS_OK, "", NULL },
	{ "ok, text", "+OK 2 messages\r\n", POP3_STATUS_OK, "2 messages", NULL },
	{ "ok, a blank", "+OK \r\n", POP3_STATUS_OK, "", NULL },
	{ "ok, a tab", "+OK\thello\r\n", POP3_STATUS_OK, "hello", NULL },
	{ "ok, blanks are its own", "+OK  hello \r\n", POP3_STATUS_OK, " hello ", NULL },
	{ "ok, 8-bit", "+OK gr\xfc\xdf Gott\r\n", POP3_STATUS_OK, "gr\xfc\xdf Gott", NULL },
	{ "err", "-ERR\r\n", POP3_STATUS_ERR, "", NULL },
	{ "err, code", "-ERR [AUTH] no\r\n", POP3_STATUS_ERR, "[AUTH] no", "AUTH" },
	{ "err, deep code", "-ERR [SYS/TEMP] later\r\n", POP3_STATUS_ERR, "[SYS/TEMP] later", "SYS/TEMP" },
	{ "err, code alone", "-ERR [IN-USE]\r\n", POP3_STATUS_ERR, "[IN-USE]", "IN-USE" },
	{ "err, no code", "-ERR []\r\n", POP3_STATUS_ERR, "[]", NULL },
	{ "err, half a code", "-ERR [AUTH\r\n", POP3_STATUS_ERR, "[AUTH", NULL },
	{ "err, a code has no blanks", "-ERR [no good]\r\n", POP3_STATUS_ERR, "[no good]", NULL },
	{ "err, a code stands first", "-ERR no [AUTH]\r\n", POP3_STATUS_ERR, "no [AUTH]", NULL },
	{ "challenge", "+ PDE+\r\n", POP3_STATUS_CHALLENGE, "PDE+", NULL },
	{ "challenge, empty", "+ \r\n", POP3_STATUS_CHALLENGE, "", NULL },
	{ "challenge, emptier", "+\r\n", POP3_STATUS_CHALLENGE, "", NULL },
	{ "nothing", "", BAD, NULL, NULL },
	{ "an empty line", "\r\n", BAD, NULL, NULL },
	{ "LF", "\n", BAD, NULL, NULL },
	{ "bare LF", "+OK\n", BAD, NULL, NULL },
	{ "cut off", "+OK\r", BAD, NULL, NULL },
	{ "cut off earlier", "+OK", BAD, NULL, NULL },
	{ "two lines", "+OK\r\n+OK\r\n", BAD, NULL, NULL },
	{ "LF inside", "+OK a\nb\r\n", BAD, NULL, NULL },
	{ "bare CR", "+OK a\rb\r\n", BAD, NULL, NULL },
	{ "CR CR LF", "+OK\r\r\n", BAD, NULL, NULL },
	{ "lower case: RFC 2449 8", "+ok\r\n", BAD, NULL, NULL },
	{ "glued", "+OKAY\r\n", BAD, NULL, NULL },
	{ "glued err", "-ERROR\r\n", BAD, NULL, NULL },
	{ "cut word", "-ER\r\n", BAD, NULL, NULL },
	{ "minus", "-\r\n", BAD, NULL, NULL },
	{ "challenge without its blank", "+PDE+\r\n", BAD, NULL, NULL },
	{ "challenge after a tab", "+\tPDE+\r\n", BAD, NULL, NULL },
	{ "a blank before it", " +OK\r\n", BAD, NULL, NULL },
	{ "SMTP", "220 hi\r\n", BAD, NULL, NULL },
	{ "IMAP", "* OK hi\r\n", BAD, NULL, NULL },
	{ "a dot", ".\r\n", BAD, NULL, NULL },
};

static void test_rows(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t len = strlen(rows[i].in);
		char *copy = malloc(len ? len : 1);
		struct pop3_reply r = { .text = "untouched" };
		int got;

		memcpy(copy, rows[i].in, len);
		got = pop3_reply_parse(copy, len, &r) ? (int)r.status : BAD;
		if (got != rows[i].want)
			fail_msg("%s: %d", rows[i].name, got);
		if (got == BAD) {
			assert_string_equal(r.text, "untouched");
		} else {
			if (r.text_len != strlen(rows[i].text) || memcmp(r.text, rows[i].text, r.text_len) != 0)
				fail_msg("%s: \"%.*s\"", rows[i].name, (int)r.text_len, r.text);
			if (!rows[i].code != !r.code || (r.code && (r.code_len != strlen(rows[i].code) || memcmp(r.code, rows[i].code, r.code_len) != 0)))
				fail_msg("%s: code", rows[i].name);
			for (size_t n = 0; n < len; n++)
				assert_false(pop3_reply_parse(copy, n, &r));
		}
		free(copy);
	}
	assert_false(pop3_reply_parse("+OK a\0b\r\n", 9, &(struct pop3_reply){ 0 }));
	assert_false(pop3_reply_parse("+OK\0\r\n", 6, &(struct pop3_reply){ 0 }));
}

static bool filled(const char *word, size_t len)
{
	char *p = malloc(len);
	struct pop3_reply r;
	bool good;

	memset(p, 'A', len);
	memcpy(p, word, strlen(word));
	memcpy(p + len - 2, "\r\n", 2);
	good = pop3_reply_parse(p, len, &r);
	free(p);
	return good;
}

static void test_bounds(void **state)
{
	assert_true(filled("+OK ", POP3_REPLY_MAX));
	assert_false(filled("+OK ", POP3_REPLY_MAX + 1));
	assert_false(filled("-ERR ", POP3_REPLY_MAX + 1));
	assert_true(filled("+ ", POP3_CHALLENGE_MAX));
	assert_false(filled("+ ", POP3_CHALLENGE_MAX + 1));
}

static void test_is(void **state)
{
	static const struct { const char *in, *code; bool want; } is[] = {
		{ "-ERR [SYS/TEMP] x\r\n", "SYS", true }, { "-ERR [SYS/TEMP] x\r\n", "SYS/TEMP", true }, { "-ERR [sys/temp] x\r\n", "SYS", true },
		{ "-ERR [AUTH] x\r\n", "AUTH", true }, { "-ERR [AUTHX] x\r\n", "AUTH", false }, { "-ERR [SYS] x\r\n", "SYS/TEMP", false },
		{ "-ERR SYS x\r\n", "SYS", false }, { "-ERR\r\n", "AUTH", false },
	};
	struct pop3_reply r;

	for (size_t i = 0; i < sizeof(is) / sizeof(is[0]); i++) {
		assert_true(pop3_reply_parse(is[i].in, strlen(is[i].in), &r));
		assert_int_equal(pop3_reply_is(&r, is[i].code), is[i].want);
	}
}

static void test_greeting(void **state)
{
	static const struct { const char *in; bool timestamp; const char *want; } greeting[] = {
		{ "+OK Dovecot ready. <1.2@mx.example>\r\n", false, "Dovecot ready. <1.2@mx.example>" },
		{ "+OK Dovecot ready. <1.2@mx.example>\r\n", true, "Dovecot ready." },
		{ "+OK <1.2@mx.example> hello\r\n", true, "hello" },
		{ "+OK a <1@x> b <2@x> c\r\n", true, "a c" },
		{ "+OK a <1@x\r\n", true, "a" },
		{ "+OK a > <1@x\r\n", true, "a >" },
		{ "+OK a > b\r\n", true, "a > b" },
		{ "+OK a <b> c <d\r\n", true, "a" },
		{ "+OK <1@x>\r\n", true, "" },
		{ "+OK\r\n", true, "" },
		{ "+OK [XCLIENT] Dovecot ready.\r\n", false, "Dovecot ready." },
		{ "+OK [XCLIENT] Dovecot <1@x>\r\n", true, "Dovecot" },
		{ "+OK [xclient]\r\n", false, "" },
		{ "+OK [OTHER] hello\r\n", false, "[OTHER] hello" },
		{ "+OK hello [XCLIENT]\r\n", false, "hello [XCLIENT]" },
	};
	struct pop3_reply r;
	char out[100];

	for (size_t i = 0; i < sizeof(greeting) / sizeof(greeting[0]); i++) {
		size_t n;

		assert_true(pop3_reply_parse(greeting[i].in, strlen(greeting[i].in), &r));
		n = pop3_greeting_text(&r, greeting[i].timestamp, out);
		if (n != strlen(greeting[i].want) || memcmp(out, greeting[i].want, n) != 0)
			fail_msg("%s: \"%.*s\"", greeting[i].in, (int)n, out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_is),
		cmocka_unit_test(test_greeting),
	};

	return cmocka_run_group_tests_name("pop3_reply", tests, NULL, NULL);
}
