#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/buf.h"
#include "pop3/pop3_lines.h"

/* left: octets of the input that are not the answer's; -1: it has no end. */
static const struct { const char *name, *in, *want; int left; } rows[] = {
	{ "nothing", ".\r\n", "", 0 },
	{ "one line", "a\r\n.\r\n", "a\r\n", 0 },
	{ "an empty line", "\r\n.\r\n", "\r\n", 0 },
	{ "a dot", "..\r\n.\r\n", ".\r\n", 0 },
	{ "two dots", "...\r\n.\r\n", "..\r\n", 0 },
	{ "a dot before text", "..a\r\nb\r\n.\r\n", ".a\r\nb\r\n", 0 },
	{ "a dot that was not doubled", ".a\r\n.\r\n", "a\r\n", 0 },
	{ "dots inside", "a.b.\r\n.\r\n", "a.b.\r\n", 0 },
	{ "more behind it", "a\r\n.\r\n+OK\r\n", "a\r\n", 5 },
	{ "another dot behind it", ".\r\n.\r\n", "", 3 },
	{ "LF and dot", "a\n.\r\nb\r\n.\r\n", "a\n.\r\nb\r\n", 0 },
	{ "CR and dot", "a\r.\r\nb\r\n.\r\n", "a\r.\r\nb\r\n", 0 },
	{ "dot and LF", "a\r\n.\nb\r\n.\r\n", "a\r\n\nb\r\n", 0 },
	{ "dot and CR", "a\r\n.\rb\r\n.\r\n", "a\r\n\rb\r\n", 0 },
	{ "dot, CR, CR", ".\r\r\n.\r\n", "\r\r\n", 0 },
	{ "dot, CR, dot", ".\r.\r\n.\r\n", "\r.\r\n", 0 },
	{ "CR CR LF dot", "a\r\r\n.\r\n", "a\r\r\n", 0 },
	{ "LF CR dot", "\n\r.\r\n.\r\n", "\n\r.\r\n", 0 },
	{ "no end", "a\r\n", "a\r\n", -1 },
	{ "no end: dot", "a\r\n.", "a\r\n", -1 },
	{ "no end: dot CR", "a\r\n.\r", "a\r\n", -1 },
	{ "no end: the dot of another line", "a.\r\n", "a.\r\n", -1 },
	{ "no end: LF dot LF", "a\n.\n", "a\n.\n", -1 },
};

/* Fed in pieces of that size; the content; how much was left, -1: no end. */
static int feed(const char *in, size_t len, size_t piece, struct buf *out)
{
	struct pop3_lines l = { 0 };
	size_t at = 0;

	while (at < len && !l.done) {
		size_t n = len - at < piece ? len - at : piece, off = 0;
		char *copy = malloc(n);

		memcpy(copy, in + at, n);
		while (off < n && !l.done) {
			const char *p;
			size_t used, p_len;

			pop3_lines_read(&l, copy + off, n - off, &used, &p, &p_len);
			assert_true(used <= n - off && (used > 0 || p_len > 0));
			buf_add(out, p, p_len);
			off += used;
		}
		free(copy);
		at += off;
	}
	return l.done ? (int)(len - at) : -1;
}

static void test_read(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (size_t piece = 1; piece <= strlen(rows[i].in); piece++) {
			AUTO(buf) struct buf out = BUF_INIT(1000);
			int left = feed(rows[i].in, strlen(rows[i].in), piece, &out);

			if (left != rows[i].left || strcmp(buf_str(&out), rows[i].want) != 0)
				fail_msg("%s, by %zu: %d left, \"%s\"", rows[i].name, piece, left, buf_str(&out));
		}
}

static void put(const char *in, size_t len, size_t piece, struct buf *out)
{
	struct pop3_lines l = { 0 };

	for (size_t at = 0; at < len;) {
		size_t n = len - at < piece ? len - at : piece;
		bool dot;
		char *copy = malloc(n);

		memcpy(copy, in + at, n);
		n = pop3_lines_write(&l, copy, n, &dot);
		assert_true(n > 0);
		if (dot)
			buf_addc(out, '.');
		buf_add(out, copy, n);
		free(copy);
		at += n;
	}
	buf_adds(out, pop3_lines_end(&l));
}

static void test_write(void **state)
{
	static const struct { const char *in, *want; } content[] = {
		{ "", ".\r\n" }, { "a\r\n", "a\r\n.\r\n" }, { ".\r\n", "..\r\n.\r\n" }, { ".a\r\n..b\r\n", "..a\r\n...b\r\n.\r\n" }, { "a\n.b\r\n", "a\n.b\r\n.\r\n" },
		{ "a\r.b\r\n", "a\r.b\r\n.\r\n" }, { "a", "a\r\n.\r\n" }, { "a\r", "a\r\n.\r\n" }, { "a\n", "a\n\r\n.\r\n" }, { ".", "..\r\n.\r\n" }, { "\r\n.\r\n", "\r\n..\r\n.\r\n" },
	};

	for (size_t i = 0; i < sizeof(content) / sizeof(content[0]); i++)
		for (size_t piece = 1; piece <= 8; piece++) {
			AUTO(buf) struct buf out = BUF_INIT(1000);

			put(content[i].in, strlen(content[i].in), piece, &out);
			if (strcmp(buf_str(&out), content[i].want) != 0)
				fail_msg("%zu, by %zu: \"%s\"", i, piece, buf_str(&out));
		}
}

/* What is written is read as it was, whatever it holds. */
static void test_there_and_back(void **state)
{
	unsigned seed = 7;

	for (int turn = 0; turn < 2000; turn++) {
		char in[64];
		size_t len = (size_t)rand_r(&seed) % sizeof(in);
		AUTO(buf) struct buf wire = BUF_INIT(1000), out = BUF_INIT(1000);

		for (size_t i = 0; i < len; i++)
			in[i] = "\r\n.ab\0"[rand_r(&seed) % 6];
		put(in, len, 1 + (size_t)rand_r(&seed) % 9, &wire);
		assert_int_equal(feed(wire.data, wire.len, 1 + (size_t)rand_r(&seed) % 9, &out), 0);
		assert_true(out.len >= len && out.len <= len + 2);
		assert_memory_equal(buf_str(&out), in, len);
		if (len >= 2 && in[len - 2] == '\r' && in[len - 1] == '\n')
			assert_int_equal(out.len, len);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_write),
		cmocka_unit_test(test_there_and_back),
	};

	return cmocka_run_group_tests_name("pop3_lines", tests, NULL, NULL);
}
