#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "pop3/pop3_notice.h"

static int put(void *arg, const char *p, size_t len)
{
	return buf_add(arg, p, len);
}

/* The message, in pieces of that size, as the client gets it; lines < 0: RETR. */
static int show(const char *in, size_t len, size_t piece, long lines, struct buf *out)
{
	struct pop3_notice *n = calloc(1, sizeof(*n));
	int rc = 0;

	notice_init(&n->notice, "a reason", "1m7x");
	n->put = put;
	n->arg = out;
	n->top = lines >= 0;
	n->lines = lines >= 0 ? (uint32_t)lines : 0;
	pop3_notice_begin(n);
	for (size_t at = 0; at < len && rc == 0; at += piece) {
		size_t part = len - at < piece ? len - at : piece;
		char *copy = malloc(part);

		memcpy(copy, in + at, part);
		rc = pop3_notice_add(n, copy, part);
		free(copy);
	}
	if (rc == 0)
		rc = pop3_notice_end(n);
	pop3_notice_release(n);
	free(n);
	return rc;
}

/* header: what of it stays at the front of what is shown. */
static const struct { const char *name, *in, *header; } rows[] = {
	{ "a header and a body", "Subject: x\r\n\r\nevil\r\n", "Subject: x\r\n\r\n" },
	{ "what describes the body", "MIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\nevil\r\n", "X-ME-Version: 1.0\r\nX-ntent-Type: text/html\r\n\r\n" },
	{ "no body", "Subject: x\r\n\r\n", "Subject: x\r\n\r\n" },
	{ "no empty line", "Subject: x\r\n", "Subject: x\r\n" },
	{ "no header", "\r\nevil\r\n", "\r\n" },
	{ "nothing", "", "" },
	{ "LF LF ends it, too", "Subject: x\n\nevil: y\r\n\r\nevil\r\n", "Subject: x\n\n" },
	{ "CR CR, too", "Subject: x\r\revil: y\r\n\r\nevil\r\n", "Subject: x\r\r" },
	{ "CRLF LF, too", "Subject: x\r\n\nevil: y\r\n", "Subject: x\r\n\n" },
	{ "LF CRLF, too", "Subject: x\n\r\nevil: y\r\n", "Subject: x\n\r\n" },
	{ "LF CR", "Subject: x\n\revil: y\r\n", "Subject: x\n\r" },
	{ "an LF alone at the front", "\nevil: y\r\n", "\n" },
	{ "a CR alone at the front", "\revil: y\r\n", "\r" },
	{ "no field in the header", "evil\r\nSubject: x\r\n\r\nevil\r\n", "    \r\nSubject: x\r\n\r\n" },
	{ "a line of blanks is none that is empty", "Subject: x\r\n \r\nTo: y\r\n\r\nevil\r\n", "Subject: x\r\n \r\nTo: y\r\n\r\n" },
};

static void test_rows(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t len = strlen(rows[i].in), header = strlen(rows[i].header);

		for (size_t piece = 1; piece <= len + 1; piece++) {
			AUTO(buf) struct buf out = BUF_INIT(10000);

			assert_int_equal(show(rows[i].in, len, piece, -1, &out), 0);
			if (out.len != len || memcmp(buf_str(&out), rows[i].header, header) != 0 || strstr(buf_str(&out), "evil"))
				fail_msg("%s, by %zu: \"%s\"", rows[i].name, piece, buf_str(&out));
			if (len >= header + 2)
				assert_memory_equal(out.data + len - 2, "\r\n", 2);
		}
	}
}

/* Whatever the length of the body and of the pieces: the same as the notice's octets are, read at once. */
static void test_lengths(void **state)
{
	static const char header[] = "Subject: x\r\n\r\n";
	enum { HEADER = sizeof(header) - 1, LEN = 3000 };
	struct notice *n = malloc(sizeof(*n));
	char *in = malloc(HEADER + LEN), *want = malloc(LEN);

	notice_init(n, "a reason", "1m7x");
	memset(in, 'y', HEADER + LEN);
	memcpy(in, header, HEADER);
	for (size_t len = 2; len <= LEN; len += len < 30 || len > 2900 ? 1 : 37)
		for (size_t piece = 1; piece < 4096; piece = piece * 3 + 1) {
			AUTO(buf) struct buf out = BUF_INIT(10000);

			assert_int_equal(show(in, HEADER + len, piece, -1, &out), 0);
			notice_read(n, TRANSFER_PLAIN, len, 0, want, len);
			assert_int_equal(out.len, HEADER + len);
			assert_memory_equal(out.data + HEADER, want, len);
		}
	free(n);
	free(in);
	free(want);
}

static size_t count_lines(const char *p, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += p[i] == '\n';
	return n;
}

static void test_top(void **state)
{
	static const char header[] = "Subject: x\r\n\r\n";
	enum { HEADER = sizeof(header) - 1, LEN = 2000 };
	char *in = malloc(HEADER + LEN);
	AUTO(buf) struct buf all = BUF_INIT(10000);

	memset(in, 'y', HEADER + LEN);
	memcpy(in, header, HEADER);
	assert_int_equal(show(in, HEADER + LEN, 100, -1, &all), 0);
	for (long lines = 0; lines < 40; lines++)
		for (size_t piece = 1; piece < 4096; piece = piece * 5 + 2) {
			AUTO(buf) struct buf out = BUF_INIT(10000);
			size_t there = count_lines(all.data + HEADER, LEN);

			assert_int_equal(show(in, HEADER + LEN, piece, lines, &out), 0);
			assert_true(out.len >= HEADER && out.len <= all.len);
			assert_memory_equal(out.data, all.data, out.len);
			assert_int_equal(count_lines(out.data + HEADER, out.len - HEADER), (size_t)lines < there ? (size_t)lines : there);
		}
	free(in);
}

/* A header without end becomes body, and what goes wrong is said. */
static void test_bounds(void **state)
{
	size_t len = POP3_NOTICE_HEADER_MAX + 5000;
	char *in = malloc(len);
	AUTO(buf) struct buf out = BUF_INIT(2 * len), small = BUF_INIT(10);

	memset(in, 'y', len);
	memcpy(in, "X: ", 3);
	assert_int_equal(show(in, len, 4096, -1, &out), 0);
	assert_int_equal(out.len, len);
	assert_memory_equal(out.data, in, POP3_NOTICE_HEADER_MAX);
	assert_non_null(strstr(out.data + POP3_NOTICE_HEADER_MAX, "keeps this message"));
	assert_int_equal(show("Subject: x\r\n\r\nevil\r\n", 20, 20, -1, &small), -ENOSPC);
	free(in);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_top),
		cmocka_unit_test(test_bounds),
	};

	return cmocka_run_group_tests_name("pop3_notice", tests, NULL, NULL);
}
