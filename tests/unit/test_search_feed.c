/* The full-text index follows the store: new messages, deleted ones, a clock that goes back, damage, and a kill at any moment. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "policy/search_feed.h"
#include "policy/search_index.h"
#include "policy/search_query.h"
#include "policy/store_index.h"

static char dir[64], path[96];
static int dir_fd;
static struct store_index *store;

static int make(void **unused)
{
	char index[96];
	bool fresh;

	snprintf(dir, sizeof(dir), "%s/gatepost-feed-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/" SEARCH_DB, dir);
	snprintf(index, sizeof(index), "%s/quarantine.db", dir);
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return store_index_open(index, &store, &fresh) < 0 || store_index_set_complete(store) < 0 ? -1 : 0;
}

static int tear(void **unused)
{
	char command[128];

	store_index_close(store);
	close(dir_fd);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

/* The nth message of a second; its word is that number in letters, and all have one more. */
static void id_of(int n, char id[STORE_ID_MAX])
{
	store_id_make(1795310000000ll + n, 7, id);
}

static void file_name(const char *id, char out[64])
{
	char day[STORE_DAY_MAX];

	assert_int_equal(store_id_day(id, day), 0);
	(void)mkdirat(dir_fd, day, 0700);
	snprintf(out, 64, "%s/%s.json", day, id);
}

static void keep(int n)
{
	char id[STORE_ID_MAX], name[64], text[200];
	int fd;

	id_of(n, id);
	file_name(id, name);
	snprintf(text, sizeof(text), "{\"message\":{\"subject\":\"wort%d gemeinsam\"},\"text\":\"Versandgebühren 发票 %d\"}", n, n);
	fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(file_write_all(fd, text, strlen(text)), 0);
	close(fd);
	assert_int_equal(store_index_begin(store), 0);
	assert_int_equal(store_index_add(store, id, 1795310000, 1, text), 0);
	assert_int_equal(store_index_commit(store), 0);
}

static void delete(int n)
{
	char id[STORE_ID_MAX], name[64];

	id_of(n, id);
	file_name(id, name);
	assert_int_equal(store_index_begin(store), 0);
	assert_int_equal(store_index_remove(store, id, 1795310000, "me", "test"), 0);
	assert_int_equal(store_index_commit(store), 0);
	unlinkat(dir_fd, name, 0);
}

static void feed_all(struct search_feed *f)
{
	int rc = 1;

	for (int i = 0; i < 10000 && rc == 1; i++)
		rc = search_feed_step(f, store, 1);
	assert_int_equal(rc, 0);
}

static int count_one(void *arg, const char *id)
{
	++*(int *)arg;
	return 0;
}

static int found(const char *asked)
{
	AUTO(search_query) struct search_query *q = search_query_new();
	struct search_index *x = NULL;
	int n = 0;

	assert_int_equal(search_query_add(q, asked), 0);
	assert_int_equal(search_index_join(path, &x), 0);
	assert_int_equal(search_index_find(x, q, count_one, &n, NULL), 0);
	search_index_close(x);
	return n;
}

static int64_t pending(void)
{
	struct search_index *x = NULL;
	int64_t n;

	assert_int_equal(search_index_join(path, &x), 0);
	n = search_pending(x, store);
	search_index_close(x);
	return n;
}

static void test_follows(void **unused)
{
	AUTO(search_feed) struct search_feed *f = search_feed_new(dir, dir_fd);

	feed_all(f);
	assert_int_equal(found("gemeinsam"), 0);
	for (int i = 0; i < 300; i++)
		keep(i);
	assert_int_equal(pending(), 300);
	assert_int_equal(search_feed_step(f, store, 0), 1);
	assert_int_equal(pending(), 299);
	feed_all(f);
	assert_int_equal(pending(), 0);
	assert_int_equal(found("gemeinsam"), 300);
	assert_int_equal(found("gebühr"), 300);
	assert_int_equal(found("wort77"), 1);
	keep(300);
	feed_all(f);
	assert_int_equal(found("wort300"), 1);
}

/* Another one goes on where the first was. */
static void test_goes_on(void **unused)
{
	struct search_feed *f = search_feed_new(dir, dir_fd);

	for (int i = 0; i < 50; i++)
		keep(i);
	for (int i = 0; i < 10; i++)
		assert_int_equal(search_feed_step(f, store, 0), 1);
	search_feed_free(f);
	assert_int_equal(found("gemeinsam"), 10);
	f = search_feed_new(dir, dir_fd);
	feed_all(f);
	assert_int_equal(found("gemeinsam"), 50);
	search_feed_free(f);
}

static void test_deleted(void **unused)
{
	AUTO(search_feed) struct search_feed *f = search_feed_new(dir, dir_fd);
	struct search_index *x = NULL;
	char ids[2][STORE_ID_MAX];

	for (int i = 0; i < 10; i++)
		keep(i);
	feed_all(f);
	id_of(3, ids[0]);
	id_of(4, ids[1]);
	assert_int_equal(search_index_join(path, &x), 0);
	assert_int_equal(search_remove(x, dir_fd, (const char (*)[STORE_ID_MAX])ids, 2), 0);
	search_index_close(x);
	delete(3);
	delete(4);
	assert_int_equal(found("wort3"), 0);
	assert_int_equal(found("gemeinsam"), 8);
	feed_all(f);
	assert_int_equal(found("gemeinsam"), 8);
}

/* A crash between the deletion and its words; a message that is older than those that were added last. */
static void test_compared(void **unused)
{
	struct search_feed *f = search_feed_new(dir, dir_fd);
	char id[STORE_ID_MAX];

	for (int i = 10; i < 400; i++)
		keep(i);
	feed_all(f);
	delete(20);
	delete(399);
	delete(10);
	feed_all(f);
	assert_int_equal(found("gemeinsam"), 390);
	keep(5);
	id_of(5, id);
	search_feed_kept(f, id);
	feed_all(f);
	assert_int_equal(found("wort5"), 1);
	assert_int_equal(found("gemeinsam"), 388);
	assert_int_equal(found("wort20"), 0);
	keep(6);
	delete(200);
	search_feed_free(f);
	f = search_feed_new(dir, dir_fd);
	feed_all(f);
	assert_int_equal(found("wort6"), 1);
	assert_int_equal(found("gemeinsam"), 388);
	search_feed_free(f);
}

static void test_metadata_that_cannot_be_read(void **unused)
{
	AUTO(search_feed) struct search_feed *f = search_feed_new(dir, dir_fd);
	char id[STORE_ID_MAX], name[64];

	for (int i = 0; i < 6; i++)
		keep(i);
	id_of(1, id);
	file_name(id, name);
	assert_int_equal(unlinkat(dir_fd, name, 0), 0);
	id_of(2, id);
	file_name(id, name);
	close(openat(dir_fd, name, O_WRONLY | O_TRUNC));
	id_of(3, id);
	file_name(id, name);
	assert_int_equal(unlinkat(dir_fd, name, 0), 0);
	assert_int_equal(symlinkat("/etc/passwd", dir_fd, name), 0);
	id_of(4, id);
	file_name(id, name);
	assert_int_equal(unlinkat(dir_fd, name, 0), 0);
	assert_int_equal(mkfifoat(dir_fd, name, 0600), 0);
	feed_all(f);
	assert_int_equal(found("gemeinsam"), 2);
	assert_int_equal(pending(), 0);
}

static void test_cleared_beside_it(void **unused)
{
	AUTO(search_feed) struct search_feed *f = search_feed_new(dir, dir_fd);
	struct search_index *x = NULL;

	for (int i = 0; i < 20; i++)
		keep(i);
	feed_all(f);
	assert_int_equal(search_index_join(path, &x), 0);
	assert_int_equal(search_index_clear(x), 0);
	search_index_close(x);
	assert_int_equal(found("gemeinsam"), 0);
	feed_all(f);
	assert_int_equal(found("gemeinsam"), 20);
	assert_int_equal(found("gebühr"), 20);
	unlink(path);                           /* and a person who thinks it may go */
	feed_all(f);
	assert_int_equal(found("gemeinsam"), 20);
}

static void no_progress(void *arg, int64_t left)
{
}

/* By a command: of one that is good, of none, of one that is damaged within, and beside a keeper that holds it for a moment. */
static void test_made_again(void **unused)
{
	AUTO(search_feed) struct search_feed *f = search_feed_new(dir, dir_fd);
	char junk[4096];
	int fd;

	for (int i = 0; i < 30; i++)
		keep(i);
	assert_int_equal(search_rebuild(dir, dir_fd, store, no_progress, NULL), 0);
	assert_int_equal(found("gemeinsam"), 30);
	feed_all(f);
	assert_int_equal(search_rebuild(dir, dir_fd, store, no_progress, NULL), 0);
	assert_int_equal(found("gemeinsam"), 30);
	feed_all(f);
	assert_int_equal(found("gebühr"), 30);
	memset(junk, 0x5a, sizeof(junk));
	fd = open(path, O_RDWR | O_CLOEXEC);
	for (off_t at = 4096; at < lseek(fd, 0, SEEK_END); at += 4096)
		assert_true(pwrite(fd, junk, 4096, at) == 4096);
	close(fd);
	assert_int_equal(search_rebuild(dir, dir_fd, store, no_progress, NULL), 0);
	assert_int_equal(found("gemeinsam"), 30);
	feed_all(f);
	assert_int_equal(found("gemeinsam"), 30);
}

static void test_damaged(void **unused)
{
	struct search_feed *f = search_feed_new(dir, dir_fd);
	char junk[8192];
	int fd;

	for (int i = 0; i < 200; i++)
		keep(i);
	feed_all(f);
	search_feed_free(f);
	memset(junk, 0x5a, sizeof(junk));
	fd = open(path, O_RDWR | O_CLOEXEC);
	for (off_t at = 4096; at < lseek(fd, 0, SEEK_END); at += 4096)
		assert_true(pwrite(fd, junk, 4096, at) == 4096);
	close(fd);
	f = search_feed_new(dir, dir_fd);
	keep(200);
	feed_all(f);
	assert_int_equal(found("gemeinsam"), 201);
	search_feed_free(f);
}

/* Killed at any moment: then the next one brings it to the end, each message once. */
static void test_killed(void **unused)
{
	for (int i = 0; i < 400; i++)
		keep(i);
	for (int round = 0; round < 8; round++) {
		pid_t child = fork();

		if (child == 0) {
			struct search_feed *f = search_feed_new(dir, dir_fd);
			struct store_index *mine = NULL;
			char index[96];

			snprintf(index, sizeof(index), "%s/quarantine.db", dir);
			if (store_index_join(index, &mine) < 0)
				_exit(1);
			while (search_feed_step(f, mine, 1) >= 0)
				;
			_exit(1);
		}
		usleep(5000 + 3000 * (unsigned)round);
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	AUTO(search_feed) struct search_feed *f = search_feed_new(dir, dir_fd);
	feed_all(f);
	assert_int_equal(found("gemeinsam"), 400);
	assert_int_equal(found("发票"), 400);
	assert_int_equal(found("sandgeb"), 400);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make, tear)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_follows),
		TEST(test_goes_on),
		TEST(test_deleted),
		TEST(test_compared),
		TEST(test_metadata_that_cannot_be_read),
		TEST(test_cleared_beside_it),
		TEST(test_made_again),
		TEST(test_damaged),
		TEST(test_killed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
