/* The spool's keeper with very much in its directory: it is there soon. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "policy/spool_keeper.h"
#include "policy/spool_record.h"

#define WALL_MS 1795310000000LL

static const struct spool_settings standard = { .life_s = 5 * 86400, .delay_notice_s = 4 * 3600, .retry_min_ms = 60000, .retry_max_ms = 4 * 3600000,
						.max_bytes = 1 << 30, .max_messages = 100000, .deliveries = 5 };

static char top[64], dir[96];

static int remove_any(const char *path, const struct stat *st, int what, struct FTW *ftw)
{
	return remove(path);
}

static struct spool_keeper *begin(const struct spool_settings *set)
{
	struct spool_keeper *k = NULL;

	assert_int_equal(spool_keeper_open(dir, -1, set, 1000, &k), 0);
	while (spool_keeper_load(k, 0, WALL_MS))
		;
	return k;
}

static void test_start_of_many(void **state)
{
	struct spool_keeper *k;
	int64_t begun_ms;
	clock_t used;
	int dir_fd;

	mkdir(dir, 0700);
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY);
	for (unsigned i = 0; i < 20000; i++) {
		AUTO(spool_envelope) struct spool_envelope *e = spool_envelope_new();
		char name[40], route[40], *text;
		int fd;

		store_id_make(WALL_MS + i, i, e->id);
		e->sender = strdup("a@x");
		e->created_s = WALL_MS / 1000;
		e->bytes = 3;
		snprintf(route, sizeof(route), "mx %u.example", i % 500);
		spool_envelope_add(e, "b@y", "", route);
		text = spool_record_text(e);
		snprintf(name, sizeof(name), "%s.json", e->id);
		fd = openat(dir_fd, name, O_WRONLY | O_CREAT, 0600);
		dprintf(fd, "%s", text);
		close(fd);
		snprintf(name, sizeof(name), "%s.eml", e->id);
		fd = openat(dir_fd, name, O_WRONLY | O_CREAT, 0600);
		dprintf(fd, "x\r\n");
		close(fd);
		free(text);
	}
	close(dir_fd);
	begun_ms = clock_ms();
	used = clock();
	k = begin(&standard);
	print_message("20,000 entries in %lld ms\n", (long long)(clock_ms() - begun_ms));
	assert_int_equal(spool_schedule_totals(spool_keeper_schedule(k)).messages, 20000);
	assert_int_equal(spool_schedule_totals(spool_keeper_schedule(k)).routes, 500);
	assert_true(clock() - used < 20 * CLOCKS_PER_SEC);      /* of the processor: what others do with it meanwhile does not count */
	spool_keeper_close(k);
}

static int setup(void **state)
{
	/* Not a real disk's time. */
	snprintf(top, sizeof(top), "%s/test_spool_start.XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (!mkdtemp(top))
		return -1;
	snprintf(dir, sizeof(dir), "%s/spool", top);
	return 0;
}

static int teardown(void **state)
{
	nftw(top, remove_any, 16, FTW_DEPTH | FTW_PHYS);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_start_of_many) };

	return cmocka_run_group_tests(tests, setup, teardown);
}
