/*
 * Messages leave the quarantine: which are due, by a clock of ours; and a death at each step of a deletion leaves a whole message or none.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "policy/search_feed.h"
#include "policy/search_index.h"
#include "policy/store_events.h"
#include "policy/store_index.h"
#include "policy/store_keeper.h"
#include "policy/store_remove.h"
#include "policy/store_retention.h"

#pragma GCC diagnostic ignored "-Wframe-larger-than="    /* tests have the main stack */

static char dir[64], path[96];
static int steps, die_at;               /* 0: never */

static void may_die(void)
{
	if (++steps == die_at)
		_exit(42);
}

int unlinkat(int fd, const char *name, int flags)
{
	may_die();
	return (int)syscall(SYS_unlinkat, fd, name, flags);
}

int fsync(int fd)
{
	may_die();
	return (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
	may_die();
	return (int)syscall(SYS_fdatasync, fd);
}

static int make(void **unused)
{
	snprintf(dir, sizeof(dir), "%s/gatepost-remove-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	die_at = 0;
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/quarantine.db", dir);
	return 0;
}

static int tear(void **unused)
{
	char command[128];

	die_at = 0;
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

/* ---- how long ---- */

static const struct store_retention rules = {
	.keep_s = 30 * 86400, .class_count = 4,
	.class = { { .name = "board", .keep_s = 90 * 86400 }, { .name = "sales", .keep_s = 7 * 86400 }, { .name = "law", .keep_s = 0 },
		   { .name = "big", .keep_s = -1, .max_bytes = 1000 } },
};

static void test_keep(void **unused)
{
	static const struct { const char *classes; int64_t days; } rows[] = {
		{ "", 30 }, { " board ", 90 }, { " sales ", 7 }, { " board sales ", 90 }, { " other ", 30 }, { " other sales ", 7 }, { " law ", 0 },
		{ " board law sales ", 0 }, { " big ", 30 }, { " big sales ", 7 }, { " boards ", 30 }, { " aboard ", 30 }, { "board", 30 }, { " ", 30 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (store_retention_keep(&rules, rows[i].classes) != rows[i].days * 86400)
			fail_msg("[%s]: %lld", rows[i].classes, (long long)store_retention_keep(&rules, rows[i].classes));
}

enum { DAY = 86400 };
static const int64_t start_s = 1795306775;

static void add(struct store_index *x, int day, int n, uint64_t bytes, const char *class, char id[STORE_ID_MAX])
{
	char meta[200];

	store_id_make((start_s + (int64_t)day * DAY) * 1000 + n, 0, id);
	snprintf(meta, sizeof(meta), "{\"envelope\":{\"from\":\"a@b\"},\"facts\":{\"class\":[%s%s%s]}}", *class ? "\"" : "", class, *class ? "\"" : "");
	assert_int_equal(store_index_add(x, id, start_s, bytes - strlen(meta), meta), 0);
}

static void test_due(void **unused)
{
	struct store_index *x = NULL;
	struct store_retention r = rules;
	char id[12][STORE_ID_MAX], due[4][STORE_ID_MAX];
	const char *why;
	bool fresh;

	assert_int_equal(store_index_open(path, &x, &fresh), 0);
	add(x, 0, 0, 500, "", id[0]);
	add(x, 0, 1, 500, "board", id[1]);
	add(x, 0, 2, 500, "sales", id[2]);
	add(x, 0, 3, 500, "law", id[3]);
	add(x, 1, 4, 500, "", id[4]);
	add(x, 2, 5, 600, "big", id[5]);
	add(x, 2, 6, 300, "big", id[6]);
	assert_int_equal(store_retention_due(x, &r, start_s + 1, due, 4, &why), 0);
	assert_int_equal(store_retention_due(x, &r, start_s + 7 * DAY, due, 4, &why), 0);       /* to the second */
	assert_int_equal(store_retention_due(x, &r, start_s + 7 * DAY + 1, due, 4, &why), 1);
	assert_string_equal(due[0], id[2]);
	assert_string_equal(why, "expired");
	assert_int_equal(store_retention_due(x, &r, start_s + 30 * DAY + 1, due, 4, &why), 2);
	assert_int_equal(store_retention_due(x, &r, start_s + 10000 * (int64_t)DAY, due, 4, &why), 4);
	/* a clock before its time */
	assert_int_equal(store_retention_due(x, &r, 5, due, 4, &why), 0);
	r.keep_s = 0;
	r.class[1].keep_s = 0;
	r.class[0].keep_s = 0;
	assert_int_equal(store_retention_due(x, &r, start_s + 10000 * (int64_t)DAY, due, 4, &why), 0);
	/* By size: the oldest, as many as need be. */
	r.max_bytes = 3400;
	assert_int_equal(store_retention_due(x, &r, start_s, due, 4, &why), 0);
	r.max_bytes = 3399;
	assert_int_equal(store_retention_due(x, &r, start_s, due, 4, &why), 1);
	assert_string_equal(why, "too much");
	assert_string_equal(due[0], id[0]);
	r.max_bytes = 2300;
	assert_int_equal(store_retention_due(x, &r, start_s, due, 4, &why), 3);
	for (int i = 0; i < 3; i++)
		assert_string_equal(due[i], id[i]);     /* whatever their class */
	r.max_bytes = 1;
	assert_int_equal(store_retention_due(x, &r, start_s, due, 4, &why), 4);
	/* Of one class. */
	r.max_bytes = 0;
	add(x, 3, 7, 101, "big", id[7]);
	assert_int_equal(store_retention_due(x, &r, start_s, due, 4, &why), 1);
	assert_string_equal(due[0], id[5]);
	store_index_close(x);
}

/* ---- a deletion ---- */

static char ids[3][STORE_ID_MAX];

static void keep_three(struct store_keeper *k)
{
	static const char meta[] = "{\"envelope\":{\"from\":\"a@x.example\",\"rcpt\":[{\"address\":\"b@y.example\"}]}}";
	struct store_item item[3];

	for (int i = 0; i < 3; i++) {
		int fd = store_keeper_temp(k);

		assert_int_equal(write(fd, "Subject: x\r\n\r\ntext\r\n", 20), 20);
		item[i] = (struct store_item){ .fd = fd, .meta = meta, .meta_len = strlen(meta) };
	}
	store_keeper_keep(k, item, 3, start_s * 1000);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(item[i].rc, 0);
		memcpy(ids[i], item[i].id, STORE_ID_MAX);
		close(item[i].fd);
	}
}

static struct store_keeper *open_keeper(void)
{
	static const struct store_retention for_ever;
	struct store_keeper *k = NULL;

	assert_int_equal(store_keeper_open(dir, -1, &k), 0);
	while (store_keeper_tidy(k))
		;
	while (store_keeper_retain(k, &for_ever, start_s))
		;
	return k;
}

static int files_of(const char *id)
{
	static const char *const ends[] = { ".eml", ".json", ".events" };
	char day[STORE_DAY_MAX], name[200];
	int count = 0;

	assert_int_equal(store_id_day(id, day), 0);
	for (int i = 0; i < 3; i++) {
		snprintf(name, sizeof(name), "%s/%s/%s%s", dir, day, id, ends[i]);
		count += access(name, F_OK) == 0;
	}
	return count;
}

static int delete_two(int64_t now_s)
{
	struct store_removal list[3] = { 0 };
	struct store_index *x = NULL;
	int fd = open(dir, O_RDONLY | O_DIRECTORY), rc;

	assert_int_equal(store_index_join(path, &x), 0);
	memcpy(list[0].id, ids[0], STORE_ID_MAX);
	memcpy(list[1].id, ids[1], STORE_ID_MAX);
	strcpy(list[2].id, "000000000000");
	rc = store_remove(fd, x, NULL, list, 3, "ann", "deleted", now_s, true);
	assert_int_equal(rc, 0);
	assert_int_equal(list[0].rc, 0);
	assert_int_equal(list[1].rc, 0);
	assert_int_equal(list[2].rc, -ENOENT);
	store_index_close(x);
	close(fd);
	return rc;
}

static void test_killed_at_each_step(void **unused)
{
	bool through = false, after = false;

	for (int n = 1; !through; n++) {
		struct store_keeper *k = open_keeper();
		struct store_index *x = NULL;
		int status, fd;
		pid_t pid;

		assert_true(n < 100);
		keep_three(k);
		fd = open(dir, O_RDONLY | O_DIRECTORY);
		assert_int_equal(store_event_append(fd, ids[0], "exported", "ann", NULL), 0);
		close(fd);
		store_keeper_close(k);
		assert_int_equal(files_of(ids[0]), 3);
		fflush(NULL);
		pid = fork();
		if (pid == 0) {
			steps = 0;
			die_at = n;
			delete_two(start_s);
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		through = WEXITSTATUS(status) == 0;
		k = open_keeper();
		assert_int_equal(store_index_join(path, &x), 0);
		for (int i = 0; i < 3; i++) {
			bool has = store_index_has(x, ids[i]);

			/* Whole or gone, and the index knows which. */
			assert_int_equal(files_of(ids[i]), !has ? 0 : i == 0 ? 3 : 2);
			assert_true(i < 2 || has);
			assert_false(store_index_deleted(x, ids[i]));
		}
		assert_int_equal(store_index_has(x, ids[0]), store_index_has(x, ids[1]));
		after |= !store_index_has(x, ids[0]);
		assert_int_equal(store_keeper_count(k), store_index_has(x, ids[0]) ? 3 : 1);
		store_index_close(x);
		store_keeper_close(k);
		tear(NULL);
		make(NULL);
	}
	assert_true(after);
}

static void test_day_goes(void **unused)
{
	struct store_keeper *k = open_keeper();
	struct store_removal last = { .rc = 0 };
	struct store_index *x = NULL;
	char day[STORE_DAY_MAX], name[200];
	int fd;

	keep_three(k);
	store_id_day(ids[0], day);
	snprintf(name, sizeof(name), "%s/%s", dir, day);
	delete_two(start_s);
	assert_int_equal(access(name, F_OK), 0);
	memcpy(last.id, ids[2], STORE_ID_MAX);
	fd = open(dir, O_RDONLY | O_DIRECTORY);
	assert_int_equal(store_index_join(path, &x), 0);
	/* New messages of this day may still be on their way. */
	assert_int_equal(store_remove(fd, x, NULL, &last, 1, "ann", "deleted", start_s, true), 0);
	assert_int_equal(last.rc, 0);
	store_remove_empty_days(fd, start_s + DAY);
	assert_int_equal(access(name, F_OK), 0);
	store_remove_empty_days(fd, start_s + 2 * DAY);
	assert_int_equal(access(name, F_OK), -1);
	store_index_close(x);
	close(fd);
	store_keeper_close(k);
}

/* The keeper does it of itself; a message that somebody releases at this moment stays. */
static void test_retained(void **unused)
{
	struct store_retention r = { .keep_s = 3600 };
	struct store_keeper *k = open_keeper();
	int fd = open(dir, O_RDONLY | O_DIRECTORY), lock;

	keep_three(k);
	assert_false(store_keeper_retain(k, &r, start_s + 3600));
	assert_int_equal(store_keeper_count(k), 3);
	lock = store_event_lock(fd, ids[1], false);
	assert_true(lock >= 0);
	while (store_keeper_retain(k, &r, start_s + 3700))
		;
	assert_int_equal(store_keeper_count(k), 1);
	assert_int_equal(files_of(ids[1]), 2);
	close(lock);
	while (store_keeper_retain(k, &r, start_s + 3700))
		;
	assert_int_equal(store_keeper_count(k), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(files_of(ids[i]), 0);
	close(fd);
	store_keeper_close(k);
}

/* Its row has gone, and who deletes it still reads it for its words: the keeper leaves its files to him. */
static void test_another_is_at_it(void **unused)
{
	struct store_keeper *k = open_keeper();
	int fd = open(dir, O_RDONLY | O_DIRECTORY), lock;
	struct store_index *x = NULL;

	keep_three(k);
	lock = store_event_lock(fd, ids[1], false);
	assert_true(lock >= 0);
	assert_int_equal(store_index_join(path, &x), 0);
	assert_int_equal(store_index_begin(x), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(store_index_remove(x, ids[i], start_s, "ann", "deleted"), 0);
	assert_int_equal(store_index_commit(x), 0);
	assert_int_equal(store_remove_pending(fd, x), 1);
	assert_int_equal(files_of(ids[0]), 0);
	assert_int_equal(files_of(ids[1]), 2);
	assert_int_equal(store_remove_pending(fd, x), 0);
	close(lock);
	assert_int_equal(store_remove_pending(fd, x), 1);
	assert_int_equal(files_of(ids[1]), 0);
	assert_int_equal(store_remove_pending(fd, x), 0);
	store_index_close(x);
	close(fd);
	store_keeper_close(k);
}

/* Nobody's mail waits while a command empties the words. */
static void test_words_are_taken(void **unused)
{
	struct store_retention r = { .keep_s = 3600 };
	struct store_keeper *k = open_keeper();
	struct search_index *other = NULL;
	char words[120];
	int64_t begun_ms;

	keep_three(k);
	while (store_keeper_search(k, 50))
		;
	snprintf(words, sizeof(words), "%s/" SEARCH_DB, dir);
	assert_int_equal(search_index_join(words, &other), 0);
	assert_int_equal(search_index_begin(other), 0);
	begun_ms = clock_ms();
	assert_false(store_keeper_retain(k, &r, start_s + 3700));
	assert_true(clock_ms() - begun_ms < 4500);        /* others than the keeper wait for half a minute */
	assert_int_equal(store_keeper_count(k), 3);
	search_index_rollback(other);
	while (store_keeper_retain(k, &r, start_s + 3700))
		;
	assert_int_equal(store_keeper_count(k), 0);
	search_index_close(other);
	store_keeper_close(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keep),
		cmocka_unit_test_setup_teardown(test_due, make, tear),
		cmocka_unit_test_setup_teardown(test_killed_at_each_step, make, tear),
		cmocka_unit_test_setup_teardown(test_day_goes, make, tear),
		cmocka_unit_test_setup_teardown(test_retained, make, tear),
		cmocka_unit_test_setup_teardown(test_another_is_at_it, make, tear),
		cmocka_unit_test_setup_teardown(test_words_are_taken, make, tear),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
