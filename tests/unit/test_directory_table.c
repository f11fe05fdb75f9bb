/* What is known of directories: the table, its copy on disk, and what is believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include "directory/directory_believe.h"
#include "directory/directory_copy.h"
#include "directory/directory_table.h"
#include "tests/support/scarce.h"

static void fill(struct directory_table *t, int n)
{
	char text[64];

	for (int i = 0; i < n; i++) {
		snprintf(text, sizeof text, "first.last%06d@example.com", i);
		assert_int_equal(directory_table_add(t, text, i % 3 == 0 ? DIRECTORY_RESTRICTED : 0), 1);
	}
}

static void test_table(void **state)
{
	struct directory_table t = { .text = NULL }, copy = { .text = NULL };
	unsigned flags = 7;

	assert_false(directory_table_find(&t, "a@example.com", &flags));
	fill(&t, 20000);
	assert_int_equal(t.count, 20000);
	assert_int_equal(directory_table_add(&t, "first.last000001@example.com", DIRECTORY_RESTRICTED), 0);
	assert_true(directory_table_find(&t, "first.last000001@example.com", &flags) && flags == DIRECTORY_RESTRICTED);
	assert_true(directory_table_find(&t, "first.last019999@example.com", &flags) && flags == 0);
	assert_false(directory_table_find(&t, "first.last020000@example.com", &flags));
	assert_false(directory_table_find(&t, "", &flags));
	print_message("%zu octets for an address of 28\n", directory_table_bytes(&t) / t.count);
	assert_true(directory_table_bytes(&t) / t.count < 28 + 24);
	assert_int_equal(directory_table_read(&copy, t.text, t.used), 0);
	assert_int_equal(copy.count, 20000);
	assert_true(directory_table_find(&copy, "first.last000003@example.com", &flags) && flags == DIRECTORY_RESTRICTED);
	assert_int_equal(directory_table_add(&copy, "new@example.com", 1), 1);
	assert_int_equal(directory_table_merge(&t, &copy), 0);
	assert_true(t.count == 20001 && directory_table_find(&t, "new@example.com", &flags) && flags == 1);
	directory_table_release(&copy);
	directory_table_release(&t);
	assert_false(directory_table_find(&t, "first.last000001@example.com", &flags));
}

static void test_text(void **state)
{
	static const struct { const char *name, *text; size_t len; size_t want; } rows[] = {
		{ "none", "", 0, 0 },
		{ "one", "\0a@b", 5, 1 },
		{ "two", "\0a@b\0\1c@d", 10, 2 },
		{ "twice", "\0a@b\0\1a@b", 10, 1 },
		{ "no NUL", "\0a@b\0\1c@d", 9, SIZE_MAX },
		{ "flags alone", "\0", 1, SIZE_MAX },
		{ "nothing behind flags", "\0\0", 2, SIZE_MAX },
		{ "unknown flags", "\2a@b", 5, SIZE_MAX },
		{ "something behind", "\0a@b\0\1", 6, SIZE_MAX },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct directory_table t = { .text = NULL };
		int rc = directory_table_read(&t, rows[i].text, rows[i].len);

		if (rc != (rows[i].want == SIZE_MAX ? -EBADMSG : 0) || t.count != (rc ? 0 : rows[i].want))
			fail_msg("%s: %d %zu", rows[i].name, rc, t.count);
		directory_table_release(&t);
	}
}

static void part_set(struct directory_part *p, const char *name, const char *text, size_t len)
{
	*p = (struct directory_part){ .refreshed_ms = 1763800000000, .text = text, .len = len };
	snprintf(p->name, sizeof p->name, "%s", name);
	memset(p->conf, name[0], sizeof p->conf);
}

static void make(int fd[DIRECTORY_COPIES])
{
	for (int i = 0; i < DIRECTORY_COPIES; i++) {
		fd[i] = memfd_create("copy", MFD_CLOEXEC);
		assert_true(fd[i] >= 0);
	}
}

static void unmake(int fd[DIRECTORY_COPIES])
{
	for (int i = 0; i < DIRECTORY_COPIES; i++)
		close(fd[i]);
}

/* To open what it is once more: a lock is of whoever has opened it. */
static const char *self_path(int fd, char path[64])
{
	snprintf(path, 64, "/proc/self/fd/%d", fd);
	return path;
}

static void test_copy(void **state)
{
	struct directory_copy c = { .born_ms = 5, .count = 2 }, in;
	int fd[DIRECTORY_COPIES], other;
	char path[64];

	make(fd);
	part_set(&c.part[0], "ad", "\0a@b\0\1c@d", 10);
	part_set(&c.part[1], "domino", "", 0);
	assert_int_equal(directory_copy_read(fd, &in), -ENOENT);
	for (uint64_t n = 1; n < 5; n++) {
		part_set(&c.part[1], "domino", "\0e@f", n % 2 ? 5 : 0);
		assert_int_equal(directory_copy_write(fd, &c), 0);
		assert_int_equal(directory_copy_read(fd, &in), 0);
		assert_true(in.serial == n && in.count == 2 && in.part[0].len == 10 && in.part[1].len == (n % 2 ? 5 : 0) && in.born_ms == 5);
		assert_string_equal(in.part[0].name, "ad");
		assert_memory_equal(in.part[0].text, "\0a@b\0\1c@d", 10);
		assert_true(in.part[0].refreshed_ms == 1763800000000 && in.part[1].conf[0] == 'd');
		free(in.bytes);
	}
	/* The power goes away in the middle of the newer one, at any octet: the one before counts, and is not the next to be written over. */
	for (off_t at = 0; at < 300; at += 7) {
		int newer = 1;          /* 4 was the second file's */
		struct directory_copy again = c;

		assert_int_equal(ftruncate(fd[newer], at), 0);
		assert_int_equal(directory_copy_read(fd, &in), 0);
		assert_true(in.serial % 2 == 1);
		free(in.bytes);
		assert_int_equal(directory_copy_write(fd, &again), 0);
		assert_int_equal(directory_copy_read(fd, &in), 0);
		assert_true(in.serial % 2 == 0 && in.serial == again.serial);
		free(in.bytes);
	}
	/* Who was started earlier does not write over what a later one has. */
	c.born_ms = 4;
	/* What another one is just writing is no damage: it is left alone. */
	other = open(self_path(fd[0], path), O_RDWR | O_CLOEXEC);
	assert_true(other >= 0 && flock(other, LOCK_EX) == 0 && ftruncate(fd[0], 60) == 0);
	assert_int_equal(directory_copy_read(fd, &in), 0);
	free(in.bytes);
	assert_true(lseek(fd[0], 0, SEEK_END) == 60);
	close(other);
	assert_int_equal(directory_copy_write(fd, &c), -ESTALE);
	/* But for one of a day to come, whose clock was wrong. */
	c.born_ms = INT64_MAX;
	assert_int_equal(directory_copy_write(fd, &c), 0);
	c.born_ms = 6;
	assert_int_equal(directory_copy_write(fd, &c), 0);
	unmake(fd);
}

/* Every octet counts. */
static void test_damage(void **state)
{
	struct directory_copy c = { .born_ms = 5, .count = 1 }, in;
	int fd[DIRECTORY_COPIES];
	char bytes[1000];
	ssize_t len;

	make(fd);
	part_set(&c.part[0], "ad", "\0a@b", 5);
	assert_int_equal(directory_copy_write(fd, &c), 0);
	len = pread(fd[0], bytes, sizeof bytes, 0);
	assert_true(len > 0);
	assert_int_equal(directory_copy_parse(bytes, (size_t)len, &in), 0);
	for (ssize_t i = 0; i < len; i++) {
		bytes[i] ^= 4;
		assert_int_equal(directory_copy_parse(bytes, (size_t)len, &in), -EBADMSG);
		bytes[i] ^= 4;
		assert_int_equal(directory_copy_parse(bytes, (size_t)i, &in), -EBADMSG);
	}
	unmake(fd);
}

static void test_hash(void **state)
{
	char *one[] = { "mail" }, *two[] = { "mail", "uid" };
	struct directory_conf c = { .base = "DC=a", .filter = "(a=b)", .attribute = one, .attribute_count = 1 }, d = c;
	struct directory_server server = { .host = "dc1.example.com", .port = 389 };
	unsigned char a[DIRECTORY_HASH], b[DIRECTORY_HASH];

	directory_copy_hash(&c, a);
	d.timeout_ms = 5;
	d.bind_dn = "CN=x";
	directory_copy_hash(&d, b);
	assert_memory_equal(a, b, sizeof a);
	d.attribute = two;
	d.attribute_count = 2;
	directory_copy_hash(&d, b);
	assert_memory_not_equal(a, b, sizeof a);
	d = c;
	d.bind_dn = "CN=x";
	directory_copy_who(&c, a);
	directory_copy_who(&d, b);
	assert_memory_not_equal(a, b, sizeof a);
	d.attribute = two;
	directory_copy_who(&d, a);
	assert_memory_equal(a, b, sizeof a);
	d.server = &server;
	d.server_count = 1;
	directory_copy_who(&d, a);
	assert_memory_not_equal(a, b, sizeof a);
	server.port = 636;
	directory_copy_who(&d, b);
	assert_memory_not_equal(a, b, sizeof a);
	directory_copy_hash(&c, a);
	d = c;
	d.base = "DC=a(a=b)";
	d.filter = "";
	directory_copy_hash(&d, b);
	assert_memory_not_equal(a, b, sizeof a);
}

static void test_believe(void **state)
{
	static const struct { size_t before, doubted, now; bool want; } rows[] = {
		{ 0, 0, 1, true }, { 10, 0, 10, true }, { 10, 0, 5, true }, { 10, 0, 4, false }, { 10, 4, 4, true }, { 10, 4, 5, true }, { 10, 4, 2, false },
		{ 10, 4, 1, false }, { 10, 0, 100, true }, { 0, 0, 0, false }, { 10, 0, 0, false }, { 10, 1, 0, false }, { 1, 0, 1, true }, { 3, 0, 2, true },
		{ 3, 0, 1, false }, { 100, 1, 30, false },
		{ 1000, 100, 106, true }, { 1000, 100, 94, true }, { 1000, 100, 107, false }, { 1000, 100, 93, false }, { 1000, 400, 499, false },
		{ 1000, 400, 500, true },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (directory_believe(rows[i].before, rows[i].doubted, rows[i].now) != rows[i].want)
			fail_msg("row %zu", i);
}

static void test_times(void **state)
{
	assert_int_equal(directory_retry_ms(1, 900), 1000);
	assert_int_equal(directory_retry_ms(3, 900), 4000);
	assert_int_equal(directory_retry_ms(1000, 900), 300000);
	assert_int_equal(directory_retry_ms(1000, 86400), 300000);
	assert_int_equal(directory_retry_ms(9, 2), 2000);
	assert_int_equal(directory_next_ms(false, 900, 77), 60000);
	assert_int_equal(directory_next_ms(false, 1, 0), 900);
	for (uint32_t chance = 0; chance < 1000000; chance += 997) {
		int64_t ms = directory_next_ms(true, 900, chance);

		assert_true(ms >= 810000 && ms <= 990000);
	}
	assert_int_equal(directory_next_ms(true, 7 * 86400, 0) / 86400000, 6);
	assert_true(directory_fresh_ms(900) > 2 * 900 * 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table), cmocka_unit_test(test_text), cmocka_unit_test(test_copy), cmocka_unit_test(test_damage), cmocka_unit_test(test_hash),
		cmocka_unit_test(test_believe), cmocka_unit_test(test_times),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
