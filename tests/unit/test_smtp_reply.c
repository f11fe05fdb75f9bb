#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "smtp/smtp_reply.h"

static const struct { const char *name, *in; enum parse want; int code; bool last; } lines[] = {
	{ "single", "220 hi\r\n", PARSE_OK, 220, true },
	{ "continued", "250-SIZE\r\n", PARSE_OK, 250, false },
	{ "code alone", "250\r\n", PARSE_OK, 250, true },
	{ "code and blank", "250 \r\n", PARSE_OK, 250, true },
	{ "8-bit text", "550 \xe9t\xe9\r\n", PARSE_OK, 550, true },
	{ "two at once: one is eaten", "250 a\r\n250 b\r\n", PARSE_OK, 250, true },
	{ "nothing", "", PARSE_MORE, 0, false },
	{ "split before LF", "250 ok\r", PARSE_MORE, 0, false },
	{ "cut off", "250 2.0", PARSE_MORE, 0, false },
	{ "bare LF", "250 ok\n", PARSE_BAD, 0, false },
	{ "bare CR", "250 o\rk\r\n", PARSE_BAD, 0, false },
	{ "CR CR LF", "250 ok\r\r\n", PARSE_BAD, 0, false },
	{ "999", "999 huh\r\n", PARSE_BAD, 0, false },
	{ "100", "100 huh\r\n", PARSE_BAD, 0, false },
	{ "600", "600 huh\r\n", PARSE_BAD, 0, false },
	{ "260: no second digit of ours", "260 huh\r\n", PARSE_BAD, 0, false },
	{ "2x0", "2x0 huh\r\n", PARSE_BAD, 0, false },
	{ "two digits", "25 ok\r\n", PARSE_BAD, 0, false },
	{ "four digits", "2500 ok\r\n", PARSE_BAD, 0, false },
	{ "tab", "250\tok\r\n", PARSE_BAD, 0, false },
	{ "glued", "250ok\r\n", PARSE_BAD, 0, false },
	{ "leading blank", " 250 ok\r\n", PARSE_BAD, 0, false },
	{ "empty line", "\r\n", PARSE_BAD, 0, false },
	{ "LF", "\n", PARSE_BAD, 0, false },
	{ "a banner of something else", "* OK IMAP4rev1\r\n", PARSE_BAD, 0, false },
	{ "POP3", "+OK hi\r\n", PARSE_BAD, 0, false },
};

static void test_line(void **state)
{
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		size_t len = strlen(lines[i].in), used = 0;
		int code = -1;
		bool last = false;
		char *copy = malloc(len ? len : 1);
		enum parse p;

		memcpy(copy, lines[i].in, len);
		p = smtp_reply_line(copy, len, &used, &code, &last);
		if (p != lines[i].want || (p == PARSE_OK && (code != lines[i].code || last != lines[i].last)))
			fail_msg("%s: %d, code %d", lines[i].name, (int)p, code);
		if (p != PARSE_OK)
			assert_int_equal(code, -1);
		/* byte by byte: more is needed until the first LF */
		for (size_t n = 0; n < len && !memchr(copy, '\n', n); n++)
			assert_int_equal(smtp_reply_line(copy, n, &used, &code, &last), PARSE_MORE);
		free(copy);
	}
}

static void test_line_long(void **state)
{
	char *p = malloc(SMTP_REPLY_LINE_MAX + 1);
	size_t used;
	int code;
	bool last;

	memset(p, 'a', SMTP_REPLY_LINE_MAX + 1);
	memcpy(p, "550 ", 4);
	assert_int_equal(smtp_reply_line(p, SMTP_REPLY_LINE_MAX - 1, &used, &code, &last), PARSE_MORE);
	assert_int_equal(smtp_reply_line(p, SMTP_REPLY_LINE_MAX, &used, &code, &last), PARSE_BAD);
	memcpy(p + SMTP_REPLY_LINE_MAX - 2, "\r\n", 2);
	assert_int_equal(smtp_reply_line(p, SMTP_REPLY_LINE_MAX, &used, &code, &last), PARSE_OK);
	assert_int_equal(code, 550);
	memcpy(p + SMTP_REPLY_LINE_MAX - 2, "a\r\n", 3);
	assert_int_equal(smtp_reply_line(p, SMTP_REPLY_LINE_MAX + 1, &used, &code, &last), PARSE_BAD);
	free(p);
}

/* Feed a whole reply line by line. */
static enum parse feed(struct smtp_reply *r, const char *in)
{
	enum parse p = PARSE_MORE;

	while (*in && p == PARSE_MORE) {
		size_t n = (size_t)(strchr(in, '\n') - in) + 1;

		p = smtp_reply_add(r, in, n);
		in += n;
	}
	return p;
}

static void test_reply(void **state)
{
	static const struct { const char *name, *in; enum parse want; int code; const char *text; int status; } rows[] = {
		{ "one", "250 2.1.0 Ok\r\n", PARSE_OK, 250, "2.1.0 Ok", 2 },
		{ "three", "250-a\r\n250-b\r\n250 c\r\n", PARSE_OK, 250, "a\nb\nc", 0 },
		{ "empty lines", "250-\r\n250\r\n", PARSE_OK, 250, "\n", 0 },
		{ "wrong class", "550 2.1.1 no\r\n", PARSE_OK, 550, "2.1.1 no", 0 },
		{ "status alone", "550 5.1.1\r\n", PARSE_OK, 550, "5.1.1", 5 },
		{ "not a status", "550 5.1.1.1 no\r\n", PARSE_OK, 550, "5.1.1.1 no", 0 },
		{ "incomplete", "250-a\r\n", PARSE_MORE, 0, NULL, 0 },
		{ "codes differ", "250-a\r\n550 b\r\n", PARSE_BAD, 0, NULL, 0 },
		{ "garbage inside", "250-a\r\nhello\r\n", PARSE_BAD, 0, NULL, 0 },
		{ "bare LF inside", "250-a\n250 b\r\n", PARSE_BAD, 0, NULL, 0 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		AUTO(smtp_reply) struct smtp_reply r;
		enum parse p;

		smtp_reply_init(&r);
		p = feed(&r, rows[i].in);
		if (p != rows[i].want || (p == PARSE_OK && (r.code != rows[i].code || strcmp(buf_str(&r.text), rows[i].text) || r.status[0] != rows[i].status)))
			fail_msg("%s: %d, \"%s\"", rows[i].name, (int)p, buf_str(&r.text));
	}
}

static void test_reply_bounds(void **state)
{
	AUTO(smtp_reply) struct smtp_reply r;
	char line[1004];

	memset(line, 'x', sizeof(line));
	memcpy(line, "550-", 4);
	memcpy(line + 1002, "\r\n", 2);
	smtp_reply_init(&r);
	for (int i = 0; i < SMTP_REPLY_LINES_MAX; i++)
		assert_int_equal(smtp_reply_add(&r, line, sizeof(line)), PARSE_MORE);
	assert_int_equal(r.code, 550);
	assert_int_equal(r.text.len, SMTP_REPLY_TEXT_MAX);      /* cut */
	assert_false(r.text.failed);
	assert_int_equal(smtp_reply_add(&r, line, sizeof(line)), PARSE_BAD);
}

static void test_format(void **state)
{
	static const struct { const char *name; int code; const char *status, *text, *want; } rows[] = {
		{ "default", 503, NULL, "Bad sequence", "503 5.5.1 Bad sequence\r\n" },
		{ "own", 550, NULL, "5.1.1 no such user", "550 5.1.1 no such user\r\n" },
		{ "own, of another class", 550, NULL, "4.1.1 no such user", "550 5.0.0 no such user\r\n" },
		{ "given", 550, "5.7.1", "no", "550 5.7.1 no\r\n" },
		{ "given goes before its own", 550, "5.7.1", "5.1.1 no", "550 5.7.1 no\r\n" },
		{ "none wanted", 220, "", "mx ESMTP", "220 mx ESMTP\r\n" },
		{ "3xx has none", 354, NULL, "go", "354 go\r\n" },
		{ "3xx has none though given", 354, "3.0.0", "go", "354 go\r\n" },
		{ "several", 250, "", "mx\nSIZE 1\n8BITMIME", "250-mx\r\n250-SIZE 1\r\n250 8BITMIME\r\n" },
		{ "several, each with its code", 550, NULL, "5.1.1 a\n5.1.1 b\nc", "550-5.1.1 a\r\n550-5.1.1 b\r\n550 5.1.1 c\r\n" },
		{ "empty", 250, NULL, "", "250 2.0.0 \r\n" },
		{ "controls and 8-bit", 550, "5.0.0", "a\001b\xe9\r\x7f\tc", "550 5.0.0 a?b??? c\r\n" },
		{ "CRLF between is one line end", 550, "5.0.0", "a\r\nb", "550-5.0.0 a\r\n550 5.0.0 b\r\n" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		AUTO(buf) struct buf out = BUF_INIT(4000);

		assert_int_equal(smtp_reply_format(&out, rows[i].code, rows[i].status, rows[i].text), 0);
		if (strcmp(buf_str(&out), rows[i].want))
			fail_msg("%s: \"%s\"", rows[i].name, buf_str(&out));
	}
}

/* Whatever the text: short clean lines, one code, one end. */
static void test_format_foreign(void **state)
{
	unsigned seed = 1;

	for (int turn = 0; turn < 500; turn++) {
		AUTO(buf) struct buf text = BUF_INIT(10000), out = BUF_INIT(64000);
		AUTO(smtp_reply) struct smtp_reply r;
		const char *p;

		for (int i = rand_r(&seed) % 3000; i > 0; i--)
			buf_addc(&text, rand_r(&seed) % 40 ? (char)(rand_r(&seed) % 255 + 1) : '\n');
		assert_int_equal(smtp_reply_format(&out, 550, NULL, buf_str(&text)), 0);
		smtp_reply_init(&r);
		assert_int_equal(feed(&r, buf_str(&out)), PARSE_OK);
		for (p = buf_str(&out); *p; p = strchr(p, '\n') + 1)
			assert_true(strchr(p, '\n') - p < SMTP_REPLY_OUT_MAX);
	}
}

static void test_pass(void **state)
{
	AUTO(smtp_reply) struct smtp_reply r;
	AUTO(buf) struct buf out = BUF_INIT(4000);

	smtp_reply_init(&r);
	feed(&r, "550-no such user\r\n550 go away\r\n");
	assert_int_equal(smtp_reply_pass(&out, &r, "5.1.1", NULL), 0);
	assert_string_equal(buf_str(&out), "550-5.1.1 no such user\r\n550 5.1.1 go away\r\n");
	buf_clear(&out);
	smtp_reply_release(&r);
	feed(&r, "550 5.2.1 mailbox disabled\r\n");
	assert_int_equal(smtp_reply_pass(&out, &r, "5.1.1", "server said: "), 0);
	assert_string_equal(buf_str(&out), "550 5.2.1 server said: mailbox disabled\r\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_line),
		cmocka_unit_test(test_line_long),
		cmocka_unit_test(test_reply),
		cmocka_unit_test(test_reply_bounds),
		cmocka_unit_test(test_format),
		cmocka_unit_test(test_format_foreign),
		cmocka_unit_test(test_pass),
	};

	return cmocka_run_group_tests_name("smtp_reply", tests, NULL, NULL);
}
