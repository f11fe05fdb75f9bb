#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "filters/message.h"

static const struct message_limits limits = { .memory_bytes = 1000, .header_bytes = 500, .header_fields = 10 };
static int opened;

static int open_memfd(void *arg)
{
	opened++;
	return memfd_create("message", MFD_CLOEXEC);
}

/* Feed text in pieces of `step` octets. */
static int feed(struct message *m, const char *p, size_t len, size_t step)
{
	for (size_t i = 0; i < len; i += step) {
		int rc = message_add(m, p + i, len - i < step ? len - i : step);

		if (rc < 0)
			return rc;
	}
	return message_end(m);
}

static void check_whole(struct message *m, const char *want, size_t len)
{
	size_t off = 0;

	assert_int_equal(message_size(m), len);
	while (off < len) {
		const char *p;
		size_t n;

		assert_int_equal(message_read(m, off, &p, &n), 0);
		assert_true(n > 0 && n <= len - off);
		assert_memory_equal(p, want + off, n);
		off += n;
	}
}

static const struct {
	const char *name, *in;
	const char *fields;             /* "name|body;..." */
	size_t body;
	bool broken, bare, header_cr;
} rows[] = {
	{ "plain", "A: 1\r\nB:2\r\n\r\nbody\r\n", "A| 1;B|2;", 13, false, false, false },
	{ "folded", "A: 1\r\n\tx\r\n y\r\nB:\r\n\r\n", "A| 1\r\n\tx\r\n y;B|;", 20, false, false, false },
	{ "blanks before the colon", "A \t: 1\r\n\r\n", "A| 1;", 10, false, false, false },
	{ "no body", "A: 1\r\n", "A| 1;", 6, false, false, false },
	{ "no final line end", "A: 1", "A| 1;", 4, false, false, false },
	{ "no header", "\r\nbody", "", 2, false, false, false },
	{ "empty", "", "", 0, false, false, false },
	{ "body at once", "hello world\r\nA: 1\r\n\r\n", "", 0, true, false, false },
	{ "broken in the middle", "A: 1\r\nno field\r\nB: 2\r\n\r\n", "A| 1;", 6, true, false, false },
	{ "fold first", " x: 1\r\n\r\n", "", 0, true, false, false },
	{ "colon first", ": x\r\n\r\n", "", 0, true, false, false },
	{ "8-bit name", "\xc3\xa9: x\r\n\r\n", "", 0, true, false, false },
	{ "bare LF", "A: 1\nB: 2\n\nbody", "A| 1;B| 2;", 11, false, true, false },
	{ "bare CR", "A: 1\r\n\r\nx\ry", "A| 1;", 8, false, true, false },
	{ "CR at the end", "A: 1\r\n\r\nx\r", "A| 1;", 8, false, true, false },
	{ "CR CR LF", "A: 1\r\n\r\nx\r\r\n", "A| 1;", 8, false, true, false },
	{ "LF first", "\nx", "", 1, false, true, false },
	{ "bare CR in the header", "A: 1\rB: 2\r\n\r\nx", "A| 1\rB: 2;", 13, false, true, true },
	{ "CR CR LF in the header", "A: 1\r\r\nB: 2\r\n\r\nx", "A| 1\r;B| 2;", 15, false, true, true },
	{ "CR ends the header", "A: 1\r", "A| 1;", 5, false, true, true },
	{ "broken off at the end", "A: 1\r\nx", "A| 1;", 6, true, false, false },
	{ "broken off by a colon", "A: 1\r\n:", "A| 1;", 6, true, false, false },
	{ "broken off by CR", "A: 1\r\n\r", "A| 1;", 6, true, true, false },
	{ "broken off by CR and a letter", "A: 1\r\n\rx", "A| 1;", 6, true, true, false },
	{ "broken off by CR CR LF", "A: 1\r\n\r\r\nx", "A| 1;", 6, true, true, false },
};

static void test_rows(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		for (size_t step = 1; step < 40; step += step < 5 ? 1 : 17) {
			AUTO(message) struct message *m = message_new(&limits, open_memfd, NULL);
			char got[200] = "";

			if (feed(m, rows[i].in, strlen(rows[i].in), step) < 0)
				fail_msg("%s", rows[i].name);
			for (size_t f = 0; f < message_field_count(m); f++) {
				const struct header_field *h = message_field(m, f);

				snprintf(got + strlen(got), sizeof(got) - strlen(got), "%.*s|%.*s;",
					 (int)h->name_len, h->name, (int)h->body_len, h->body);
			}
			if (strcmp(got, rows[i].fields) || message_body_offset(m) != rows[i].body ||
			    message_header_broken(m) != rows[i].broken || message_has_bare(m) != rows[i].bare ||
			    message_header_has_bare_cr(m) != rows[i].header_cr)
				fail_msg("%s, step %zu: %s body %zu", rows[i].name, step, got, message_body_offset(m));
			check_whole(m, rows[i].in, strlen(rows[i].in));
		}
	}
}

static void test_moves_to_a_file(void **state)
{
	char text[3000];

	memset(text, 'x', sizeof(text));
	memcpy(text, "A: 1\r\nA: 2\r\n\r\n", 14);
	for (size_t step = 1; step < sizeof(text); step = step * 3 + 1) {
		AUTO(message) struct message *m = message_new(&limits, open_memfd, NULL);

		opened = 0;
		assert_int_equal(feed(m, text, sizeof(text), step), 0);
		assert_int_equal(opened, 1);
		assert_true(message_fd(m) >= 0);
		check_whole(m, text, sizeof(text));
		assert_memory_equal(message_find(m, "a", 1)->body, " 2", 2);
		assert_null(message_find(m, "a", 2));
	}
}

static int open_full(void *arg)
{
	return open("/dev/full", O_RDWR | O_CLOEXEC);
}

static int open_none(void *arg)
{
	return -*(int *)arg;
}

/* The disk is full when the file is opened, or when it is written. */
static void test_a_full_disk(void **state)
{
	int errors[] = { ENOSPC, EDQUOT };
	char text[3000];

	memset(text, 'x', sizeof(text));
	memcpy(text, "A: 1\r\nA: 2\r\n\r\n", 14);
	for (size_t step = 1; step < sizeof(text); step = step * 3 + 1) {
		for (int i = 0; i < 3; i++) {
			AUTO(message) struct message *m = message_new(&limits, i < 2 ? open_none : open_full, &errors[i % 2]);

			assert_int_equal(feed(m, text, sizeof(text), step), 0);
			assert_int_equal(message_fd(m), -1);     /* it is not in the store */
			check_whole(m, text, sizeof(text));
		}
	}
	errors[0] = EIO;
	AUTO(message) struct message *m = message_new(&limits, open_none, errors);
	assert_int_equal(feed(m, text, sizeof(text), 100), -EIO);
}

/* All messages together have so much memory, which they give back. */
static void test_spare_memory_is_bounded(void **state)
{
	enum { BLOCK = 1 << 20 };
	char *block = calloc(1, BLOCK);
	int full = ENOSPC;

	assert_non_null(block);
	for (int round = 0; round < 2; round++) {
		AUTO(message) struct message *one = message_new(&limits, open_none, &full);
		AUTO(message) struct message *two = message_new(&limits, open_none, &full);
		size_t added = 0;

		message_add(one, "\r\n", 2);
		message_add(two, "\r\n", 2);
		assert_int_equal(message_add(two, block, BLOCK), 0);
		while (message_add(one, block, BLOCK) == 0)
			added += BLOCK;
		assert_true(added >= MESSAGE_SPARE_MAX - 3 * BLOCK && added + BLOCK <= MESSAGE_SPARE_MAX);
		assert_int_equal(message_add(one, block, BLOCK), -ENOSPC);
		assert_int_equal(message_add(two, block, BLOCK), -ENOSPC);
	}
	free(block);
}

static void test_bounds(void **state)
{
	AUTO(message) struct message *fields = message_new(&limits, open_memfd, NULL);
	AUTO(message) struct message *bytes = message_new(&limits, open_memfd, NULL);
	AUTO(message) struct message *line = message_new(&limits, open_memfd, NULL);
	char text[600];
	int rc = 0;

	for (int i = 0; i < 11 && rc == 0; i++)
		rc = message_add(fields, "A: 1\r\n", 6);
	assert_int_equal(rc, -EMSGSIZE);
	memset(text, 'x', sizeof(text));
	text[1] = ':';
	assert_int_equal(message_add(line, text, sizeof(text)), -EMSGSIZE);
	for (size_t i = 100; i < sizeof(text); i += 100)
		memcpy(text + i, "\r\n ", 3);
	rc = 0;
	for (size_t i = 0; i < sizeof(text) && rc == 0; i++)
		rc = message_add(bytes, text + i, 1);
	assert_int_equal(rc, -EMSGSIZE);
}

/* Fields are found when the header is complete: until then nothing points anywhere. */
static void test_half_a_header(void **state)
{
	static const char header[] = "Message-ID: <1@x>\r\nSubject: half\r\n";
	struct message_limits lim = { .memory_bytes = 1000, .header_bytes = 1000, .header_fields = 10 };
	AUTO(message) struct message *m = message_new(&lim, NULL, NULL);

	assert_int_equal(message_add(m, header, strlen(header)), 0);
	assert_null(message_find(m, "Message-ID", 0));
	assert_null(message_find(m, "Subject", 0));
	assert_int_equal(message_field_count(m), 0);
	assert_int_equal(message_add(m, "\r\n", 2), 0);
	assert_non_null(message_find(m, "Message-ID", 0));
	assert_int_equal(message_field_count(m), 2);
}

static void test_kinds(void **state)
{
	AUTO(message) struct message *m = message_new(&limits, open_memfd, NULL);

	feed(m, "A: 1\r\n\r\n\xc3\0", 10, 3);
	assert_true(message_has_8bit(m));
	assert_true(message_has_nul(m));
	assert_false(message_has_bare(m));
}

/* What is seen many octets at a time is what is seen one by one: one odd thing in a long text, at any place, in any cut. */
static void test_kinds_anywhere(void **state)
{
	static const char *const odd[] = { "\r", "\n", "\r\r\n", "\n\r", "\x80", "\0", "\r\n", "x" };

	for (size_t k = 0; k < sizeof(odd) / sizeof(odd[0]); k++) {
		for (size_t at = 9; at < 60; at++) {
			for (size_t step = 1; step < 62; step += step == 1 ? 15 : 7) {
				AUTO(message) struct message *m = message_new(&limits, open_memfd, NULL);
				char text[64];
				size_t n = odd[k][0] ? strlen(odd[k]) : 1;

				memset(text, 'x', sizeof(text));
				memcpy(text, "A: 1\r\n\r\n", 8);
				memcpy(text + at, odd[k], n);
				feed(m, text, sizeof(text), step);
				assert_int_equal(message_has_bare(m), k < 4);
				assert_int_equal(message_has_8bit(m), k == 4);
				assert_int_equal(message_has_nul(m), k == 5);
			}
		}
	}
}

/* From a file it is the same as fed, and the file is its own. */
static void test_adopt(void **state)
{
	char *large = malloc(200000);

	memset(large, 'x', 200000);
	memcpy(large, "A: 1\r\nB: 2\r\n\r\n", 14);
	large[150000] = '\n';
	for (size_t i = 0; i <= sizeof(rows) / sizeof(rows[0]); i++) {
		const char *text = i < sizeof(rows) / sizeof(rows[0]) ? rows[i].in : large;
		size_t len = text == large ? 200000 : strlen(text);
		AUTO(message) struct message *fed = message_new(&limits, open_memfd, NULL);
		AUTO(message) struct message *m = message_new(&limits, NULL, NULL);
		int fd = memfd_create("message", MFD_CLOEXEC);

		assert_int_equal(write(fd, text, len), len);
		assert_int_equal(feed(fed, text, len, 1000), 0);
		assert_int_equal(message_adopt(m, fd), 0);
		check_whole(m, text, len);
		assert_int_equal(message_field_count(m), message_field_count(fed));
		assert_int_equal(message_body_offset(m), message_body_offset(fed));
		assert_int_equal(message_has_bare(m), message_has_bare(fed));
		assert_int_equal(message_has_8bit(m), message_has_8bit(fed));
		assert_int_equal(message_header_broken(m), message_header_broken(fed));
		for (size_t k = 0; k < message_field_count(m); k++)
			assert_memory_equal(message_field(m, k)->raw, message_field(fed, k)->raw, message_field(fed, k)->raw_len);
		assert_int_equal(message_fd(m), fd);
	}
	free(large);
}

static void test_adopt_bounds(void **state)
{
	AUTO(message) struct message *m = message_new(&limits, NULL, NULL);
	char text[600] = "A: 1\r\nB: ";
	int fd = memfd_create("message", MFD_CLOEXEC);

	memset(text + 9, 'x', sizeof(text) - 9);
	assert_int_equal(write(fd, text, sizeof(text)), sizeof(text));
	assert_int_equal(message_adopt(m, fd), -EMSGSIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_moves_to_a_file),
		cmocka_unit_test(test_a_full_disk),
		cmocka_unit_test(test_spare_memory_is_bounded),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_half_a_header),
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_kinds_anywhere),
		cmocka_unit_test(test_adopt),
		cmocka_unit_test(test_adopt_bounds),
	};

	return cmocka_run_group_tests_name("message", tests, NULL, NULL);
}
