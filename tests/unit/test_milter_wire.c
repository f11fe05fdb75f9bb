/* Packets between a mail server and its filters. That they are those of real ones is shown by tests/e2e/test_milter.py. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "filters/milter_wire.h"

#define BYTES(text) (text), sizeof(text) - 1

static void is(const struct buf *b, const char *want, size_t len)
{
	assert_int_equal(b->len, len);
	assert_memory_equal(b->data, want, len);
}

static void test_what_is_said(void **state)
{
	AUTO(buf) struct buf b = BUF_INIT(4096);
	struct milter_macros m;

	assert_int_equal(milter_put_negotiate(&b, 6), 0);
	is(&b, BYTES("\0\0\0\x0dO\0\0\0\6\0\0\1\xff\0\x1f\xff\xff"));
	buf_clear(&b);
	assert_int_equal(milter_put_negotiate(&b, 2), 0);
	is(&b, BYTES("\0\0\0\x0dO\0\0\0\2\0\0\0\x3f\0\0\0\xff"));
	buf_clear(&b);
	assert_int_equal(milter_put_connect(&b, "mx.example", '4', 0x1234, "192.0.2.1"), 0);
	is(&b, BYTES("\0\0\0\x19" "Cmx.example\0" "4\x12\x34" "192.0.2.1\0"));
	buf_clear(&b);
	assert_int_equal(milter_put_connect(&b, "unknown", 'U', 0, ""), 0);
	is(&b, BYTES("\0\0\0\x0a" "Cunknown\0U"));
	buf_clear(&b);
	assert_int_equal(milter_put_strings(&b, MILTER_MAIL, (struct milter_string[]){ { BYTES("<a@b>") }, { BYTES("SIZE=1") } }, 2), 0);
	is(&b, BYTES("\0\0\0\x0e" "M<a@b>\0SIZE=1\0"));
	buf_clear(&b);
	/* A NUL cannot be said. */
	assert_int_equal(milter_put_strings(&b, MILTER_HELO, (struct milter_string[]){ { BYTES("a\0b") } }, 1), 0);
	is(&b, BYTES("\0\0\0\3Ha\0"));
	buf_clear(&b);
	milter_macros_begin(&m, &b, MILTER_RCPT);
	assert_int_equal(milter_macros_end(&m), 0);
	is(&b, "", 0);
	milter_macros_begin(&m, &b, MILTER_RCPT);
	milter_macros_add(&m, "i", "1-2");
	milter_macros_add(&m, "{rcpt_addr}", "a@b");
	assert_int_equal(milter_macros_end(&m), 0);
	is(&b, BYTES("\0\0\0\x18" "DRi\0" "1-2\0{rcpt_addr}\0a@b\0"));
	buf_clear(&b);
	b.max = 8;
	assert_true(milter_put(&b, MILTER_BODY, "12345", 5) < 0);
	milter_macros_begin(&m, &b, MILTER_RCPT);
	assert_true(milter_macros_end(&m) < 0);
}

static void test_packets(void **state)
{
	static const struct { const char *name, *p; size_t len; enum milter_read want; size_t used; char what; size_t data; } rows[] = {
		{ "none", BYTES(""), MILTER_READ_MORE, 0, 0, 0 },
		{ "half a length", BYTES("\0\0\0"), MILTER_READ_MORE, 0, 0, 0 },
		{ "a length", BYTES("\0\0\0\1"), MILTER_READ_MORE, 0, 0, 0 },
		{ "no octet", BYTES("\0\0\0\0c"), MILTER_READ_BAD, 0, 0, 0 },
		{ "too long", BYTES("\0\x10\0\1c"), MILTER_READ_BAD, 0, 0, 0 },
		{ "far too long", BYTES("\xff\xff\xff\xff" "c"), MILTER_READ_BAD, 0, 0, 0 },
		{ "words of another protocol", BYTES("220 hi"), MILTER_READ_BAD, 0, 0, 0 },
		{ "as long as may be", BYTES("\0\x10\0\0c"), MILTER_READ_MORE, 0, 0, 0 },
		{ "continue", BYTES("\0\0\0\1c"), MILTER_READ_OK, 5, 'c', 0 },
		{ "and more behind", BYTES("\0\0\0\1c\0\0\0"), MILTER_READ_OK, 5, 'c', 0 },
		{ "with data", BYTES("\0\0\0\4-a@\0"), MILTER_READ_OK, 8, '-', 3 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct milter_packet p = { 0 };
		size_t used = 0;

		if (milter_packet_read(rows[i].p, rows[i].len, &used, &p) != rows[i].want || used != rows[i].used || p.what != rows[i].what || p.len != rows[i].data)
			fail_msg("%s", rows[i].name);
	}
}

static int terms(const char *data, size_t len, int version, struct milter_terms *t)
{
	const char *why = NULL;
	int rc = milter_terms_read(&(struct milter_packet){ .what = 'O', .data = data, .len = len }, version, t, &why);

	assert_true(rc == 0 || why);
	return rc;
}

static void test_terms(void **state)
{
	struct milter_terms t = { 0 };
	const char *why;

	assert_int_equal(terms(BYTES("\0\0\0\6\0\0\0\1\0\x10\0\1"), 6, &t), 0);
	assert_int_equal(t.version, 6);
	assert_int_equal(t.actions, MILTER_MAY_ADD_HEADERS);
	assert_int_equal(t.steps, MILTER_LEADING_SPACE | MILTER_NO_CONNECT);
	milter_terms_release(&t);
	assert_int_equal(terms(BYTES("\0\0\0\2\0\0\0\x3f\0\0\0\x7f"), 6, &t), 0);
	milter_terms_release(&t);
	assert_int_equal(terms(BYTES("\0\0\0\6\0\0\1\xff\0\0\0\0" "\0\0\0\2i {mail_addr}\0" "\0\0\0\5\0" "\0\0\0\2j\0"), 6, &t), 0);
	assert_string_equal(t.symbols[MILTER_AT_MAIL], "j");
	assert_string_equal(t.symbols[MILTER_AT_END], "");
	assert_null(t.symbols[MILTER_AT_RCPT]);
	milter_terms_release(&t);

	static const struct { const char *name, *p; size_t len; int version; } bad[] = {
		{ "nothing", BYTES(""), 6 },
		{ "two numbers", BYTES("\0\0\0\6\0\0\0\1"), 6 },
		{ "one octet short", BYTES("\0\0\0\6\0\0\0\1\0\0\0"), 6 },
		{ "version 1", BYTES("\0\0\0\1\0\0\0\1\0\0\0\0"), 6 },
		{ "version 7", BYTES("\0\0\0\7\0\0\0\1\0\0\0\0"), 6 },
		{ "a newer one than offered", BYTES("\0\0\0\6\0\0\0\1\0\0\0\0"), 2 },
		{ "steps that are none", BYTES("\0\0\0\6\0\0\0\1\1\0\0\0"), 6 },
		{ "sizes that were not offered", BYTES("\0\0\0\6\0\0\0\1\x20\0\0\0"), 6 },
		{ "steps of a newer version", BYTES("\0\0\0\2\0\0\0\1\0\0\2\0"), 2 },
		{ "actions that are none", BYTES("\0\0\0\6\0\0\2\0\0\0\0\0"), 6 },
		{ "actions of a newer version", BYTES("\0\0\0\2\0\0\0\x40\0\0\0\0"), 2 },
		{ "a list without a moment", BYTES("\0\0\0\6\0\0\0\1\0\0\0\0\0\0\0"), 6 },
		{ "a list for moment 7", BYTES("\0\0\0\6\0\0\0\1\0\0\0\0\0\0\0\7i\0"), 6 },
		{ "a list without an end", BYTES("\0\0\0\6\0\0\0\1\0\0\0\0\0\0\0\1i"), 6 },
		{ "a list, and a bad one", BYTES("\0\0\0\6\0\0\0\1\0\0\0\0\0\0\0\1i\0\0\0\0\1"), 6 },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (terms(bad[i].p, bad[i].len, bad[i].version, &t) != -EPROTO)
			fail_msg("%s", bad[i].name);
	assert_int_equal(milter_terms_read(&(struct milter_packet){ .what = 'c', .data = "" }, 6, &t, &why), -EPROTO);
}

static void test_answers(void **state)
{
	static const struct { const char *name; char what; const char *p; size_t len; int want; const char *a, *b; uint32_t index; } rows[] = {
		{ "continue", 'c', BYTES(""), 0, NULL, NULL, 0 },
		{ "progress", 'p', BYTES(""), 0, NULL, NULL, 0 },
		{ "add header", 'h', BYTES("X\0 v\0"), 0, "X", " v", 0 },
		{ "add header, empty value", 'h', BYTES("X\0\0"), 0, "X", "", 0 },
		{ "add header without value", 'h', BYTES("X\0"), -EPROTO, NULL, NULL, 0 },
		{ "add header, value without end", 'h', BYTES("X\0v"), -EPROTO, NULL, NULL, 0 },
		{ "add header, three texts", 'h', BYTES("X\0v\0w\0"), -EPROTO, NULL, NULL, 0 },
		{ "add header, nothing", 'h', BYTES(""), -EPROTO, NULL, NULL, 0 },
		{ "insert header", 'i', BYTES("\0\0\1\2X\0v\0"), 0, "X", "v", 258 },
		{ "insert header without place", 'i', BYTES("\0\0\1"), -EPROTO, NULL, NULL, 0 },
		{ "insert header without name", 'i', BYTES("\0\0\0\1"), -EPROTO, NULL, NULL, 0 },
		{ "change header", 'm', BYTES("\xff\xff\xff\xffX\0\0"), 0, "X", "", 0xffffffff },
		{ "change header cut", 'm', BYTES("\0\0\0\1X\0v"), -EPROTO, NULL, NULL, 0 },
		{ "add recipient", '+', BYTES("<a@b>\0"), 0, "<a@b>", NULL, 0 },
		{ "add recipient, two", '+', BYTES("<a@b>\0<c@d>\0"), -EPROTO, NULL, NULL, 0 },
		{ "add recipient, none", '+', BYTES(""), -EPROTO, NULL, NULL, 0 },
		{ "add recipient with parameters", '2', BYTES("<a@b>\0NOTIFY=NEVER\0"), 0, "<a@b>", "NOTIFY=NEVER", 0 },
		{ "add recipient with none", '2', BYTES("<a@b>\0"), 0, "<a@b>", NULL, 0 },
		{ "add recipient, rest without end", '2', BYTES("<a@b>\0X"), -EPROTO, NULL, NULL, 0 },
		{ "delete recipient", '-', BYTES("a@b\0"), 0, "a@b", NULL, 0 },
		{ "delete recipient, no end", '-', BYTES("a@b"), -EPROTO, NULL, NULL, 0 },
		{ "change sender", 'e', BYTES("<>\0"), 0, "<>", NULL, 0 },
		{ "change sender, nothing", 'e', BYTES(""), -EPROTO, NULL, NULL, 0 },
		{ "quarantine", 'q', BYTES("virus\0"), 0, "virus", NULL, 0 },
		{ "quarantine, no end", 'q', BYTES("virus"), -EPROTO, NULL, NULL, 0 },
		{ "reply code", 'y', BYTES("550 no\0"), 0, "550 no", NULL, 0 },
		{ "reply code, no end", 'y', BYTES("550 no"), -EPROTO, NULL, NULL, 0 },
		{ "replace body", 'b', BYTES("a\0b"), 0, NULL, NULL, 0 },
		{ "options again", 'O', BYTES(""), -EPROTO, NULL, NULL, 0 },
		{ "a list of macros by itself", 'l', BYTES("\0\0\0\1i\0"), -EPROTO, NULL, NULL, 0 },
		{ "no answer there is", 'Z', BYTES(""), -EPROTO, NULL, NULL, 0 },
		{ "a NUL", '\0', BYTES(""), -EPROTO, NULL, NULL, 0 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct milter_reply r = { 0 };
		const char *why = NULL;
		int rc = milter_reply_read(&(struct milter_packet){ .what = rows[i].what, .data = rows[i].p, .len = rows[i].len }, &r, &why);

		if (rc != rows[i].want || (rc < 0) != (why != NULL))
			fail_msg("%s: %d", rows[i].name, rc);
		if (rc == 0 && (r.what != (enum milter_answer)rows[i].what || r.index != rows[i].index || !r.text[0] != !rows[i].a || !r.text[1] != !rows[i].b))
			fail_msg("%s", rows[i].name);
		if (rc == 0 && rows[i].a)
			assert_string_equal(r.text[0], rows[i].a);
		if (rc == 0 && rows[i].b)
			assert_string_equal(r.text[1], rows[i].b);
	}
	for (int c = 0; c < 256; c++)
		assert_int_equal(milter_is_final((enum milter_answer)c), c && strchr("acdf4rsty", c) != NULL);
}

static void test_replies(void **state)
{
	static const struct { const char *in, *want; } rows[] = {
		{ "550 5.7.1 no", "550 5.7.1 no" },
		{ "550 no", "550 5.7.1 no" },
		{ "451 4.3.2 later", "451 4.3.2 later" },
		{ "451 later", "451 4.7.1 later" },
		{ "552 5.2.2 100%% full, 5% more%", "552 5.2.2 100% full, 5% more%" },
		{ "554", "554 5.7.1" },
		{ "554 5.6.0", "554 5.6.0" },
		{ "554 5.6.0 ", "554 5.6.0" },
		{ "550 4.7.1 of the other class", "550 5.7.1 4.7.1 of the other class" },
		{ "550-5.7.1 first\r\n550 5.7.1 second", "550 5.7.1 first second" },
		{ "550-first\n550-second\n550 third", "550 5.7.1 first second third" },
		{ "550 one\r\nRCPT TO:<x>", "550 5.7.1 one RCPT TO:<x>" },
		{ "550 5.1 half a code", "550 5.7.1 5.1 half a code" },
		{ "550 5.7.1234 too long a part", "550 5.7.1 5.7.1234 too long a part" },
		{ "550 5.7.1 caf\xc3\xa9\x01", "550 5.7.1 caf???" },
		{ "550 5.7.1\r\n550 second", "550 5.7.1 second" },
		{ "421 4.3.0 go away", "421 4.3.0 go away" },
		{ "250 ok", NULL }, { "354 go on", NULL }, { "", NULL }, { "5", NULL }, { "55", NULL }, { "5500 no", NULL }, { "abc", NULL }, { "650 x", NULL },
	};
	char out[512], longer[2000];

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		bool good = milter_reply_text(rows[i].in, out, sizeof(out));

		if (good != (rows[i].want != NULL) || (good && strcmp(out, rows[i].want) != 0))
			fail_msg("%s: %s", rows[i].in, good ? out : "none");
	}
	memset(longer, 'x', sizeof(longer));
	memcpy(longer, "550 ", 4);
	longer[sizeof(longer) - 1] = '\0';
	assert_true(milter_reply_text(longer, out, sizeof(out)));
	assert_int_equal(strlen(out), sizeof(out) - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_said), cmocka_unit_test(test_packets), cmocka_unit_test(test_terms),
		cmocka_unit_test(test_answers), cmocka_unit_test(test_replies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
