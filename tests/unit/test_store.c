/*
 * The store: what was acknowledged is there, whole, whatever happens in between.
 *
 * This program stands in front of the calls that make things durable (fsync, fdatasync, linkat,
 * mkdirat), for the store and for SQLite alike. A child keeps messages and "loses power" at the nth
 * such call: before it dies it undoes what was not yet on stable storage: names whose directory was
 * not fsynced, contents that were not, the tail of the index's WAL. Then the store is opened again
 * and looked over.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "policy/store_index.h"
#include "policy/store_keeper.h"

#pragma GCC diagnostic ignored "-Wframe-larger-than="    /* tests have the main stack */

static char top[64], dir[96];

/* The model of the disk. */
enum { NAMES_MAX = 64, FILES_MAX = 64 };
static struct { char path[200]; ino_t ino, dir; bool is_dir, durable; } names[NAMES_MAX];
static ino_t synced[FILES_MAX];
static size_t name_count, synced_count;
static off_t wal_synced;
static int point, die_at;               /* die_at 0: never */
static bool lying_dirs, lying_files;    /* a disk that forgets: to see that the test notices */
static bool no_tmpfile;

static ino_t inode(int fd, mode_t *mode)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return 0;
	*mode = st.st_mode;
	return st.st_ino;
}

static bool is_synced(ino_t ino)
{
	for (size_t i = 0; i < synced_count; i++)
		if (synced[i] == ino)
			return true;
	return false;
}

static int remove_any(const char *path, const struct stat *st, int what, struct FTW *ftw)
{
	return remove(path);
}

static void remove_tree(const char *path)
{
	nftw(path, remove_any, 16, FTW_DEPTH | FTW_PHYS);
}

static void lose_power(void)
{
	char wal[160];

	for (size_t i = 0; i < name_count; i++) {
		if (!names[i].durable)
			remove_tree(names[i].path);
		else if (!names[i].is_dir && !is_synced(names[i].ino))
			(void)!truncate(names[i].path, 0);
	}
	snprintf(wal, sizeof(wal), "%s/quarantine.db-wal", dir);
	(void)!truncate(wal, wal_synced);
	_exit(42);
}

static void may_die(void)
{
	point++;
	if (die_at && point == die_at)
		lose_power();
}

static void note_name(const char *path, int dir_fd, bool is_dir)
{
	char full[200];
	struct stat st, up;
	char *slash;

	snprintf(full, sizeof(full), "%s/%s", dir, path);
	if (name_count == NAMES_MAX || fstatat(dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	strcpy(names[name_count].path, full);
	names[name_count].ino = st.st_ino;
	names[name_count].is_dir = is_dir;
	names[name_count].durable = false;
	slash = strrchr(full, '/');
	*slash = 0;
	if (stat(full, &up) == 0)
		names[name_count++].dir = up.st_ino;
}

static int note_sync(int fd)
{
	mode_t mode = 0;
	ino_t ino = inode(fd, &mode);
	char link[64], path[200] = "";

	if (S_ISDIR(mode)) {
		for (size_t i = 0; i < name_count; i++)
			if (names[i].dir == ino && !lying_dirs)
				names[i].durable = true;
		return 0;
	}
	if (synced_count < FILES_MAX && !lying_files)
		synced[synced_count++] = ino;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	if (readlink(link, path, sizeof(path) - 1) > 0 && strstr(path, "-wal"))
		wal_synced = lseek(fd, 0, SEEK_END);
	return 0;
}

int fsync(int fd)
{
	int rc;

	may_die();
	rc = (int)syscall(SYS_fsync, fd);
	return rc < 0 ? rc : note_sync(fd);
}

int fdatasync(int fd)
{
	int rc;

	may_die();
	rc = (int)syscall(SYS_fdatasync, fd);
	return rc < 0 ? rc : note_sync(fd);
}

int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
	int rc;

	may_die();
	rc = (int)syscall(SYS_linkat, from_fd, from, to_fd, to, flags);
	if (rc == 0)
		note_name(to, to_fd, false);
	return rc;
}

int mkdirat(int fd, const char *path, mode_t mode)
{
	int rc;

	may_die();
	rc = (int)syscall(SYS_mkdirat, fd, path, mode);
	if (rc == 0)
		note_name(path, fd, true);
	return rc;
}

int openat(int fd, const char *path, int flags, ...)
{
	mode_t mode;
	va_list ap;

	va_start(ap, flags);
	mode = va_arg(ap, mode_t);
	va_end(ap);
	if (no_tmpfile && (flags & O_TMPFILE) == O_TMPFILE) {
		errno = EOPNOTSUPP;
		return -1;
	}
	return (int)syscall(SYS_openat, fd, path, flags, mode);
}

static int make_dir(void **unused)
{
	/* In memory where that is to be had: the model plays the disk. */
	snprintf(top, sizeof(top), "%s/gatepost-store-XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(top));
	snprintf(dir, sizeof(dir), "%s/quarantine", top);
	die_at = 0;
	no_tmpfile = lying_dirs = lying_files = false;
	return 0;
}

static int remove_dir(void **unused)
{
	no_tmpfile = false;
	remove_tree(top);
	return 0;
}

/* A message whose bytes tell their own length and number. */
static size_t body_make(int n, char *out, size_t size)
{
	size_t len = (size_t)snprintf(out, size, "Subject: %d\r\n\r\n", n),
	       want = 500 + (size_t)n * 700;

	while (len < want)
		len += (size_t)snprintf(out + len, size - len, "line %zu of %d\r\n", len, n);
	return len;
}

static int body_fd(struct store_keeper *k, int n, bool memfd)
{
	int fd = memfd ? memfd_create("m", MFD_CLOEXEC) : store_keeper_temp(k);
	char text[8192];
	size_t len = body_make(n, text, sizeof(text));

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), len);
	return fd;
}

static struct store_item item_make(struct store_keeper *k, int n, bool memfd)
{
	static char meta[8][200];
	int len = snprintf(meta[n % 8], sizeof(meta[0]),
			   "{\"n\":%d,\"envelope\":{\"from\":\"a%d@x.example\",\"rcpt\":[{"
			   "\"address\":\"b@y.example\"}]}}",
			   n, n);

	return (struct store_item){ .fd = body_fd(k, n, memfd),
				    .meta = meta[n % 8],
				    .meta_len = (size_t)len };
}

/* Keep numbers from..to in one batch. */
static void keep(struct store_keeper *k, int from, int to, struct store_item *items, bool memfd)
{
	for (int n = from; n <= to; n++)
		items[n - from] = item_make(k, n, memfd);
	store_keeper_keep(k, items, (size_t)(to - from + 1), clock_wall_s() * 1000);
	for (int n = from; n <= to; n++)
		close(items[n - from].fd);
}

static char *file_read(const char *id, const char *end, size_t *len)
{
	char day[STORE_DAY_MAX], path[200];
	char *text;
	int fd;

	assert_int_equal(store_id_day(id, day), 0);
	snprintf(path, sizeof(path), "%s/%s/%s%s", dir, day, id, end);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return NULL;
	text = calloc(1, 65536);
	*len = (size_t)read(fd, text, 65535);
	close(fd);
	return text;
}

/* The number of the message that is there, whole, under id; -1 otherwise. */
static int message_there(const char *id)
{
	size_t len = 0, json_len = 0, want;
	char *text = file_read(id, ".eml", &len), *json = file_read(id, ".json", &json_len),
	     body[8192];
	json_t *meta = json ? json_loadb(json, json_len, 0, NULL) : NULL,
	       *kept = json_object_get(meta, "kept");
	int n = meta ? (int)json_integer_value(json_object_get(meta, "n")) : -1;

	want = n >= 0 ? body_make(n, body, sizeof(body)) : 0;
	if (!text || n < 0 || len != want || memcmp(text, body, want) != 0 ||
	    strcmp(json_string_value(json_object_get(kept, "id")), id) != 0 ||
	    json_integer_value(json_object_get(kept, "bytes")) != (json_int_t)len)
		n = -1;
	json_decref(meta);
	free(text);
	free(json);
	return n;
}

struct count {
	int eml, json, other;
	bool broken;
};

static struct count count_files(void)
{
	struct count c = { 0 };
	DIR *d = opendir(dir);

	for (struct dirent *e; d && (e = readdir(d));) {
		char path[400];
		DIR *day;

		if (e->d_name[0] == '.' || strncmp(e->d_name, "quarantine.db", 13) == 0) {
			c.other += strstr(e->d_name, ".tmp") != NULL;
			continue;
		}
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		day = opendir(path);
		for (struct dirent *f; day && (f = readdir(day));) {
			char id[STORE_ID_MAX] = "";
			size_t len = strlen(f->d_name);

			if (strcmp(f->d_name, ".") == 0 || strcmp(f->d_name, "..") == 0)
				continue;
			snprintf(id, sizeof(id), "%.*s", STORE_ID_LEN, f->d_name);
			if (len > 4 && strcmp(f->d_name + len - 4, ".eml") == 0) {
				c.eml++;
				c.broken |= message_there(id) < 0;
			} else if (len > 5 && strcmp(f->d_name + len - 5, ".json") == 0) {
				c.json++;
			} else {
				c.other++;
			}
		}
		if (day)
			closedir(day);
	}
	if (d)
		closedir(d);
	return c;
}

static struct store_keeper *reopen(void)
{
	struct store_keeper *k = NULL;

	assert_int_equal(store_keeper_open(dir, -1, &k), 0);
	while (store_keeper_tidy(k))
		;
	return k;
}

/* Open, look over; the number of acknowledged messages that are lost or not whole. */
static int look_over(char (*acked)[STORE_ID_MAX], const int *number, int count)
{
	struct store_keeper *k = reopen();
	struct count c = count_files();
	int lost = 0;

	for (int i = 0; i < count; i++)
		lost += message_there(acked[i]) != number[i];
	if (!lying_dirs && !lying_files && !lost) {
		assert_int_equal(c.eml, c.json);
		assert_int_equal(c.eml, store_keeper_count(k));
		assert_int_equal(c.other, 0);
		assert_false(c.broken);
	}
	store_keeper_close(k);
	return lost;
}

/*
 * A child that keeps one message, then two at once, then one more, acknowledging each batch; it
 * dies at the nth point. Returns the points passed, when it lived through all; else 0.
 */
static int run_until(int n, char (*acked)[STORE_ID_MAX], int *number, int *count)
{
	struct { int number; char id[STORE_ID_MAX]; } ack;
	int pipefd[2], status;
	pid_t pid;

	assert_int_equal(pipe(pipefd), 0);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		struct store_keeper *k = NULL;
		struct store_item items[2];
		static const int batches[][2] = { { 1, 1 }, { 2, 3 }, { 4, 4 } };

		point = 0;
		name_count = synced_count = 0;
		wal_synced = 0;
		die_at = n;
		if (store_keeper_open(dir, -1, &k) < 0)
			_exit(1);
		for (int b = 0; b < 3; b++) {
			keep(k, batches[b][0], batches[b][1], items, false);
			for (int i = 0; i <= batches[b][1] - batches[b][0]; i++) {
				if (items[i].rc < 0)
					_exit(2);
				ack.number = batches[b][0] + i;
				memcpy(ack.id, items[i].id, sizeof(ack.id));
				(void)!write(pipefd[1], &ack, sizeof(ack));
			}
		}
		ack.number = -point;
		(void)!write(pipefd[1], &ack, sizeof(ack));
		_exit(0);
	}
	close(pipefd[1]);
	*count = 0;
	int points = 0;
	while (read(pipefd[0], &ack, sizeof(ack)) == (ssize_t)sizeof(ack)) {
		if (ack.number < 0) {
			points = -ack.number;
			continue;
		}
		number[*count] = ack.number;
		memcpy(acked[(*count)++], ack.id, STORE_ID_MAX);
	}
	close(pipefd[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), points ? 0 : 42);
	return points;
}

static int lost_over_all_points(int *points_out)
{
	char acked[8][STORE_ID_MAX];
	int number[8], count, lost = 0, points = 0;

	for (int n = 1; !points; n++) {
		assert_true(n < 500);
		remove_tree(dir);
		points = run_until(n, acked, number, &count);
		lost += look_over(acked, number, count);
		if (points) {
			assert_int_equal(count, 4);
			*points_out = points;
		}
	}
	return lost;
}

static void test_power_lost_at_each_point(void **unused)
{
	int points = 0;

	assert_int_equal(lost_over_all_points(&points), 0);
	print_message("  %d points\n", points);
	assert_true(points > 20);
}

static void test_the_test_notices(void **unused)
{
	int points = 0;

	lying_dirs = true;
	assert_true(lost_over_all_points(&points) > 0);
	lying_dirs = false;
	lying_files = true;
	assert_true(lost_over_all_points(&points) > 0);
}

static void test_keep(void **unused)
{
	struct store_item items[6];
	char before[STORE_ID_MAX] = "";
	struct store_keeper *k = reopen();

	keep(k, 0, 5, items, false);
	for (int i = 0; i < 6; i++) {
		assert_int_equal(items[i].rc, 0);
		assert_int_equal(message_there(items[i].id), i);
		assert_int_equal(strlen(items[i].id), STORE_ID_LEN);
		assert_true(strcmp(before, items[i].id) < 0);   /* sorted by time */
		strcpy(before, items[i].id);
	}
	assert_int_equal(store_keeper_count(k), 6);
	store_keeper_close(k);
	k = reopen();
	assert_int_equal(store_keeper_count(k), 6);
	store_keeper_close(k);
}

/* A descriptor from elsewhere, and a file system without O_TMPFILE: copied. */
static void test_copied(void **unused)
{
	struct store_item items[4];
	struct store_keeper *k = reopen();

	keep(k, 0, 1, items, true);
	no_tmpfile = true;
	keep(k, 2, 3, items + 2, false);
	no_tmpfile = false;
	for (int i = 0; i < 4; i++) {
		assert_int_equal(items[i].rc, 0);
		assert_int_equal(message_there(items[i].id), i);
	}
	assert_int_equal(count_files().other, 0);
	store_keeper_close(k);
}

static void test_refused(void **unused)
{
	struct store_keeper *k = reopen();
	struct store_item items[6];
	char *big = calloc(1, STORE_META_MAX + 2);
	int p[2];

	memset(big, ' ', STORE_META_MAX + 1);
	assert_int_equal(pipe(p), 0);
	for (int i = 0; i < 6; i++)
		items[i] = item_make(k, i, false);
	items[0].meta = "[]";
	items[0].meta_len = 2;
	items[1].meta_len = 5;
	items[2].meta = big;
	items[2].meta_len = STORE_META_MAX + 1;
	close(items[3].fd);
	items[3].fd = p[0];
	close(items[4].fd);
	items[4].fd = open("/dev/zero", O_RDONLY);
	store_keeper_keep(k, items, 6, clock_wall_s() * 1000);
	assert_int_equal(items[0].rc, -EINVAL);
	assert_int_equal(items[1].rc, -EINVAL);
	assert_int_equal(items[2].rc, -EMSGSIZE);
	assert_int_equal(items[3].rc, -EINVAL);
	assert_int_equal(items[4].rc, -EINVAL);
	assert_int_equal(items[5].rc, 0);               /* the others' faults are not its own */
	assert_int_equal(message_there(items[5].id), 5);
	assert_int_equal(count_files().eml, 1);
	assert_int_equal(count_files().json, 1);
	for (int i = 0; i < 6; i++)
		close(items[i].fd);
	close(p[1]);
	free(big);
	store_keeper_close(k);
}

static void test_ids(void **unused)
{
	static const char *const bad[] = { "",
					   "0",
					   "01hgw2bbg00",
					   "01hgw2bbg0000",
					   "01hgw2bbg00/",
					   "../../../etc",
					   "01HGW2BBG000",
					   "01hgw2bbgiil" };
	char a[STORE_ID_MAX], b[STORE_ID_MAX], day[STORE_DAY_MAX];

	store_id_make(1795306775123, 5, a);
	assert_int_equal(store_id_ms(a), 1795306775123);
	assert_int_equal(store_id_day(a, day), 0);
	assert_string_equal(day, "2026-11-22");
	store_id_make(1795306775124, 0, b);
	assert_true(strcmp(a, b) < 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(store_id_day(bad[i], day), -EINVAL);
}

/*
 * The clock is set back to a moment whose ids are taken, by a keeper that does not remember them.
 */
static void test_clock_goes_back(void **unused)
{
	struct store_keeper *k = reopen();
	struct store_item a[2], b[2];

	a[0] = item_make(k, 1, false);
	store_keeper_keep(k, a, 1, 1000000000000);
	close(a[0].fd);
	store_keeper_close(k);
	k = reopen();
	for (int i = 0; i < 40; i++) {
		b[0] = item_make(k, 2, false);
		store_keeper_keep(k, b, 1, 1000000000000);
		close(b[0].fd);
		assert_int_equal(b[0].rc, 0);
		assert_string_not_equal(a[0].id, b[0].id);
	}
	assert_int_equal(store_keeper_count(k), 41);
	store_keeper_close(k);
}

/* At the start the index cannot be opened (a disk that is full, or fails): nothing is kept, and as soon as it can be all is well. */
static void test_no_index_yet(void **unused)
{
	struct store_keeper *k;
	struct store_item a, b;
	char path[160];

	snprintf(path, sizeof(path), "%s/quarantine.db", dir);
	store_keeper_close(reopen());
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	k = reopen();
	a = item_make(k, 1, false);
	store_keeper_keep(k, &a, 1, 1000000000000);
	close(a.fd);
	assert_true(a.rc < 0);
	assert_int_equal(count_files().eml, 0);
	assert_false(store_keeper_search(k, 10));
	assert_int_equal(rmdir(path), 0);
	b = item_make(k, 2, false);
	store_keeper_keep(k, &b, 1, 1000000000000);
	close(b.fd);
	assert_int_equal(b.rc, 0);
	assert_int_equal(store_keeper_count(k), 1);
	store_keeper_close(k);
}

static void index_spoil(void)
{
	char path[160];
	char rubbish[8192];
	int fd;

	snprintf(path, sizeof(path), "%s/quarantine.db", dir);
	memset(rubbish, 0x5a, sizeof(rubbish));
	fd = open(path, O_WRONLY);
	assert_int_equal(pwrite(fd, rubbish, sizeof(rubbish), 0), sizeof(rubbish));
	close(fd);
	/* Its WAL would make it good again. */
	snprintf(path, sizeof(path), "%s/quarantine.db-wal", dir);
	(void)!truncate(path, 0);
}

static void test_damaged_index(void **unused)
{
	struct store_item items[4];
	struct store_keeper *k = reopen();
	char wal[160];

	keep(k, 0, 3, items, false);
	store_keeper_close(k);
	index_spoil();
	k = reopen();                   /* made again from the files */
	assert_int_equal(store_keeper_count(k), 4);
	store_keeper_close(k);
	/* Lost altogether. */
	snprintf(wal, sizeof(wal), "%s/quarantine.db", dir);
	unlink(wal);
	k = reopen();
	assert_int_equal(store_keeper_count(k), 4);
	store_keeper_close(k);
}

/* In a mount namespace of its own, a file system of 1 MiB. */
static int full_child(void)
{
	struct store_keeper *k = NULL;
	struct store_item items[2];
	int kept = 0, rc = 0;
	char command[200];
	struct count c;

	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", top, "tmpfs", 0, "size=1m") < 0)
		return 77;
	if (store_keeper_open(dir, -1, &k) < 0)
		return 1;
	for (int i = 0; i < 1000 && rc == 0; i++) {
		keep(k, 4, 5, items, true);
		for (int j = 0; j < 2; j++) {
			if (items[j].rc == 0)
				kept++;
			else
				rc = items[j].rc;
		}
	}
	c = count_files();
	if (rc != -ENOSPC || kept < 10)
		return 2;
	if (c.eml != kept || c.json != kept || c.other != 0 || c.broken ||
	    store_keeper_count(k) != kept)
		return 3;
	/* Some room again. */
	snprintf(command, sizeof(command), "rm -f $(ls -d %s/2*/*.eml | head -20)", dir);
	if (system(command) != 0)
		return 4;
	keep(k, 1, 2, items, true);
	if (items[0].rc < 0 || items[1].rc < 0 || message_there(items[1].id) != 2)
		return 5;
	store_keeper_close(k);
	return 0;
}

static void test_disk_full(void **unused)
{
	int status;
	pid_t pid;

	if (geteuid() != 0) {
		print_message("skipped: only root can mount a file system of its own\n");
		skip();
	}
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		_exit(full_child());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77) {
		print_message("skipped: no file system can be mounted here\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ids),
		cmocka_unit_test_setup_teardown(test_keep, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_copied, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_refused, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_clock_goes_back, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_no_index_yet, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_damaged_index, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_power_lost_at_each_point, make_dir,
						remove_dir),
		cmocka_unit_test_setup_teardown(test_the_test_notices, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_disk_full, make_dir, remove_dir),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
