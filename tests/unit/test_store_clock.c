/* Whether the wall clock is trusted with what is deleted by its age. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "policy/store_clock.h"
#include "policy/store_retention.h"

enum { DAY = 86400, HOUR = 3600 };
#define T 1795000000LL

/* Steps of one life: so many seconds pass, and the wall clock shows so many more; it is trusted; or not, and what is kept then is so many seconds off. */
#define YES(passed, shown) { passed, shown, true, 0 }
#define NO(passed, shown, off) { passed, shown, false, off }
static const struct {
	const char *name;
	int64_t file_s;                 /* what was trusted before this life; 0: nothing */
	struct { int64_t passed_s, shown_s; bool trusted; int64_t off_s; } step[6];
} rows[] = {
	{ "nothing is known", 0, { YES(0, 0), YES(1, 1) } },
	{ "as ever", T - 5, { YES(0, 0), YES(1, 1), YES(DAY, DAY) } },
	{ "off for some hours", T - 20 * HOUR, { YES(0, 0), YES(1, 1) } },
	{ "off for two days", T - 2 * DAY, { NO(0, 0, -2 * DAY), NO(DAY - 1, DAY - 1, -2 * DAY), YES(1, 1) } },
	{ "a year ahead at the start", T - 365 * DAY, { NO(0, 0, -365 * DAY), NO(1, 1, -365 * DAY) } },
	{ "behind at the start", T + 365 * DAY, { NO(0, 0, 365 * DAY), YES(1, 1 + 365 * DAY) } },
	{ "a step of NTP's", T, { YES(0, 0), YES(1, 30), YES(1, -30) } },
	{ "an hour, by a zone", T, { YES(0, 0), YES(1, 1 + HOUR) } },
	{ "a day ahead", T, { YES(0, 0), NO(1, 1 + DAY, 0), NO(HOUR, HOUR, 0), YES(DAY, DAY) } },
	{ "ahead, and soon right", T, { YES(0, 0), NO(1, 400LL * DAY, 0), YES(1, 2 - 400LL * DAY) } },
	{ "back, and soon right", T, { YES(0, 0), NO(1, -3 * DAY, 0), YES(1, 3 * DAY), YES(1, 3) } },
	{ "back, for good", T, { YES(0, 0), NO(1, 1 - 3 * DAY, 0), YES(DAY, DAY) } },
	{ "back, then ahead", T, { YES(0, 0), NO(1, -3 * DAY, 0), NO(1, 9 * DAY, 0), NO(DAY - 1, DAY, 0), YES(1, 1) } },
	{ "a machine that slept", T, { YES(0, 0), NO(10, 3 * DAY, 0), NO(1, 1, 0) } },
};

static void test_table(void **unused)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct store_clock c = { 0 };
		int64_t wall_s = T, passed_s = 0, off_s, now_s;

		for (int k = 0; k < 6 && (k == 0 || rows[i].step[k].passed_s); k++) {
			bool trusted;

			wall_s += rows[i].step[k].shown_s;
			passed_s += rows[i].step[k].passed_s;
			trusted = store_clock_look(&c, rows[i].file_s, wall_s * 1000, 5000 + passed_s * 1000, &off_s);
			now_s = store_clock_now_ms(&c) / 1000;
			if (trusted != rows[i].step[k].trusted || (trusted ? now_s != wall_s : now_s != T + passed_s + rows[i].step[k].off_s))
				fail_msg("%s: step %d: trusted %d, off by %lld", rows[i].name, k, trusted, (long long)(now_s - T - passed_s));
		}
	}
}

static void test_how_far(void **unused)
{
	struct store_clock c = { 0 };
	int64_t off_s;

	store_clock_look(&c, 0, T * 1000, 1000, &off_s);
	assert_int_equal(off_s, 0);
	store_clock_look(&c, 0, (T + DAY + 1) * 1000, 2000, &off_s);
	assert_int_equal(off_s, DAY);
	store_clock_look(&c, 0, (T + DAY + 2) * 1000, 3000, &off_s);
	assert_int_equal(off_s, 0);             /* said once */
	store_clock_look(&c, 0, (T - DAY) * 1000, 4000, &off_s);
	assert_int_equal(off_s, -DAY - 3);
}

static int64_t in_file(int dir_fd)
{
	char text[40] = "";
	int fd = openat(dir_fd, "clock", O_RDONLY);

	assert_true(fd >= 0);
	assert_true(read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	return atoll(text);
}

static void put_file(int dir_fd, const char *text)
{
	int fd = openat(dir_fd, "clock", O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

/* Over restarts: what was not trusted is not noted. */
static void test_file(void **unused)
{
	char dir[] = "/tmp/gatepost-clock-XXXXXX";
	struct store_clock c = { 0 };
	int fd;

	assert_non_null(mkdtemp(dir));
	fd = open(dir, O_RDONLY | O_DIRECTORY);
	assert_true(store_clock_trusted(&c, fd, T * 1000, 1000));
	assert_int_equal(in_file(fd), T);
	assert_true(store_clock_trusted(&c, fd, (T + 500) * 1000, 501000));
	assert_int_equal(in_file(fd), T);
	assert_true(store_clock_trusted(&c, fd, (T + 600) * 1000, 601000));
	assert_int_equal(in_file(fd), T + 600);
	assert_false(store_clock_trusted(&c, fd, (T + 40 * DAY) * 1000, 602000));
	assert_int_equal(in_file(fd), T + 600);
	memset(&c, 0, sizeof(c));
	assert_false(store_clock_trusted(&c, fd, (T + 40 * DAY + 10) * 1000, 1000));
	assert_true(store_clock_trusted(&c, fd, (T + 41 * DAY + 10) * 1000, 1000 + DAY * 1000LL));
	assert_int_equal(in_file(fd), T + 41 * DAY + 10);
	/* what is no number is nothing known */
	put_file(fd, "soon\n");
	memset(&c, 0, sizeof(c));
	assert_true(store_clock_trusted(&c, fd, (T + 90 * DAY) * 1000, 1000));
	unlinkat(fd, "clock", 0);
	close(fd);
	rmdir(dir);
}

static void test_by_size(void **unused)
{
	struct store_retention r = { .keep_s = 60, .max_bytes = 7, .class_count = 1, .class = { { "spam", 30, 5 } } };
	struct store_retention b = store_retention_by_size(&r);

	assert_int_equal(store_retention_keep(&r, " spam "), 30);
	assert_int_equal(store_retention_keep(&b, " spam "), 0);
	assert_int_equal(store_retention_keep(&b, " "), 0);
	assert_int_equal(b.max_bytes, 7);
	assert_int_equal(b.class[0].max_bytes, 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_how_far),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_by_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
