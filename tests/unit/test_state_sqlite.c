/* The state: keys, the bytes on the channel, and SQLite, healthy, damaged and full. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "policy/state_sqlite.h"
#include "policy/state_wire.h"

#pragma GCC diagnostic ignored                                                                     \
	"-Wframe-larger-than=" /* operations by value; tests have the main stack */

static char dir[64], path[128];

static int make_dir(void **unused)
{
	snprintf(dir, sizeof(dir), "/tmp/gatepost-state-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/state.db", dir);
	return 0;
}

static int remove_dir(void **unused)
{
	DIR *d = opendir(dir);

	for (struct dirent *e; d && (e = readdir(d));)
		(void)unlinkat(dirfd(d), e->d_name, 0);
	closedir(d);
	return rmdir(dir);
}

static int files_named(const char *part)
{
	DIR *d = opendir(dir);
	int n = 0;

	for (struct dirent *e; (e = readdir(d));)
		n += strstr(e->d_name, part) != NULL;
	closedir(d);
	return n;
}

static struct state_op op_of(enum state_verb verb, const char *space, const char *key,
			     int64_t ttl_s)
{
	struct state_op op = { .verb = verb, .ttl_s = ttl_s };

	snprintf(op.space, sizeof(op.space), "%s", space);
	snprintf(op.key, sizeof(op.key), "%s", key);
	return op;
}

static struct state_op do_one(struct state_sqlite *db, struct state_op op, int64_t now_s)
{
	assert_int_equal(state_sqlite_run(db, &op, 1, now_s), 0);
	return op;
}

static struct state_op get(struct state_sqlite *db, const char *key, int64_t now_s)
{
	return do_one(db, op_of(STATE_GET, "s", key, 0), now_s);
}

static void test_keys(void **unused)
{
	struct state_op a = { 0 }, b = { 0 };
	char big[1000];

	state_key(&a, "grey", "192.0.2.0/24", "a@x.example", "b@y.example", NULL);
	assert_string_equal(a.space, "grey");
	assert_string_equal(a.key, "192.0.2.0/24 a@x.example b@y.example");
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = 0;
	state_key(&a, "grey", "n", big, NULL);
	assert_int_equal(strlen(a.key), 65);
	assert_int_equal(a.key[0], '#');
	big[998] = 'y';
	state_key(&b, "grey", "n", big, NULL);
	assert_string_not_equal(a.key, b.key);
	big[STATE_KEY_MAX - 3] = 0;             /* "n " and this: exactly full */
	state_key(&b, "grey", "n", big, NULL);
	assert_int_equal(strlen(b.key), STATE_KEY_MAX - 1);
	/* A part that comes after one that did not fit still counts. */
	big[STATE_KEY_MAX - 3] = 'x';
	state_key(&a, "grey", big, "one", NULL);
	state_key(&b, "grey", big, "two", NULL);
	assert_string_not_equal(a.key, b.key);
}

static void test_verbs(void **unused)
{
	struct state_sqlite *db = NULL;
	struct state_op op;

	assert_int_equal(state_sqlite_open(":memory:", &db), 0);
	assert_int_equal(get(db, "k", 100).found, 0);
	assert_false(state_sqlite_dirty(db));

	op = do_one(db, op_of(STATE_TOUCH, "s", "k", 50), 100);
	assert_int_equal(op.found, 0);                  /* as it was before */
	assert_true(state_sqlite_dirty(db));
	op = get(db, "k", 120);
	assert_int_equal(op.found, 1);
	assert_int_equal(op.first_s, 100);
	assert_int_equal(op.last_s, 100);
	assert_int_equal(op.count, 0);
	do_one(db, op_of(STATE_TOUCH, "s", "k", 50), 120);
	op = get(db, "k", 169);
	assert_int_equal(op.found, 1);
	assert_int_equal(op.first_s, 100);
	assert_int_equal(op.last_s, 120);
	assert_int_equal(get(db, "k", 170).found, 0);   /* expired: 120 + 50 */

	op = op_of(STATE_COUNT, "s", "k", 50);
	op.add = 3;
	op = do_one(db, op, 200);
	assert_int_equal(op.found, 0);                  /* the expired one counts for nothing */
	op = op_of(STATE_COUNT, "s", "k", 50);
	op.add = 4;
	op = do_one(db, op, 210);
	assert_int_equal(op.count, 3);
	op = get(db, "k", 210);
	assert_int_equal(op.count, 7);
	assert_int_equal(op.first_s, 200);

	op = op_of(STATE_PUT, "s", "k", 50);
	op.add = 9;
	strcpy(op.text, "gru\xc3\x9f \xff");
	op = do_one(db, op, 220);
	assert_string_equal(op.text, "");
	assert_int_equal(op.count, 7);
	op = get(db, "k", 220);
	assert_string_equal(op.text, "gru\xc3\x9f \xff");
	assert_int_equal(op.count, 9);
	assert_int_equal(op.first_s, 220);

	do_one(db, op_of(STATE_TOUCH, "s", "l", 50), 220);
	do_one(db, op_of(STATE_TOUCH, "t", "l", 50), 220);
	assert_int_equal(state_sqlite_rows(db), 3);
	op = do_one(db, op_of(STATE_DELETE, "s", "none", 0), 220);
	assert_int_equal(op.count, 0);
	op = do_one(db, op_of(STATE_DELETE, "s", "", 0), 220);
	assert_int_equal(op.count, 2);
	assert_int_equal(state_sqlite_rows(db), 1);
	op = op_of(STATE_GET, "t", "l", 0);
	assert_int_equal(do_one(db, op, 220).found, 1);
	state_sqlite_close(db);
}

/* The clock was wrong for a while, and has been set back: what was noted then is not believed, whatever the operation. */
static void test_clock_set_back(void **unused)
{
	static const enum state_verb verbs[] = { STATE_GET, STATE_TOUCH, STATE_COUNT, STATE_PUT };
	const int64_t now = 1000000, wrong = now + 400 * 86400;

	for (size_t i = 0; i < sizeof(verbs) / sizeof(*verbs); i++) {
		struct state_sqlite *db = NULL;
		struct state_op op = op_of(STATE_COUNT, "s", "k", 40 * 86400), again;

		assert_int_equal(state_sqlite_open(":memory:", &db), 0);
		op.add = 3;
		do_one(db, op, wrong);
		assert_int_equal(get(db, "k", wrong).count, 3);
		again = do_one(db, op_of(verbs[i], "s", "k", 60), now);
		assert_int_equal(again.found, 0);
		assert_int_equal(again.first_s, 0);
		again = get(db, "k", now + 1);
		assert_int_equal(again.found, verbs[i] != STATE_GET);
		assert_int_equal(again.first_s, verbs[i] != STATE_GET ? now : 0);
		assert_int_equal(again.count, 0);
		state_sqlite_close(db);
	}
}

/* A step of NTP's, or two machines' clocks: nothing. */
static void test_clock_a_little_back(void **unused)
{
	struct state_sqlite *db = NULL;

	assert_int_equal(state_sqlite_open(":memory:", &db), 0);
	do_one(db, op_of(STATE_TOUCH, "s", "k", 1000), 5000 + STATE_FUTURE_S);
	assert_int_equal(get(db, "k", 5000).found, 1);
	assert_int_equal(get(db, "k", 4999).found, 0);
	do_one(db, op_of(STATE_TOUCH, "s", "k", 1000), 5000);
	assert_int_equal(get(db, "k", 5000).first_s, 5000 + STATE_FUTURE_S);
	state_sqlite_close(db);
}

static void test_bad_operations(void **unused)
{
	struct state_sqlite *db = NULL;
	struct state_op ops[2];

	assert_int_equal(state_sqlite_open(":memory:", &db), 0);
	assert_int_equal(state_sqlite_run(db, ops, 0, 1), -EINVAL);
	assert_int_equal(state_sqlite_run(db, ops, STATE_OPS_MAX + 1, 1), -EINVAL);
	ops[0] = op_of(STATE_TOUCH, "", "k", 1);
	assert_int_equal(state_sqlite_run(db, ops, 1, 1), -EINVAL);
	ops[0] = op_of(STATE_TOUCH, "s", "k", 10);
	ops[1] = op_of((enum state_verb)17, "s", "k", 10);
	assert_int_equal(state_sqlite_run(db, ops, 2, 1), -EINVAL);
	assert_int_equal(get(db, "k", 1).found, 0);     /* all or none */
	memset(ops[0].key, 'x', sizeof(ops[0].key));
	assert_int_equal(state_sqlite_run(db, ops, 1, 1), -EINVAL);
	/* Times at the edge of their type do not overflow. */
	ops[0] = op_of(STATE_COUNT, "s", "k", INT64_MAX);
	ops[0].add = INT64_MAX;
	ops[1] = ops[0];
	assert_int_equal(state_sqlite_run(db, ops, 2, 100), 0);
	assert_int_equal(get(db, "k", 100).count, INT64_MAX);
	state_sqlite_close(db);
}

static void test_survives(void **unused)
{
	struct state_sqlite *db = NULL;
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {                 /* committed, then killed: no close */
		if (state_sqlite_open(path, &db) == 0) {
			struct state_op op = op_of(STATE_TOUCH, "s", "committed", 100);

			state_sqlite_run(db, &op, 1, 10);
			state_sqlite_commit(db);
			op = op_of(STATE_TOUCH, "s", "uncommitted", 100);
			state_sqlite_run(db, &op, 1, 10);
			kill(getpid(), SIGKILL);
		}
		_exit(1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(state_sqlite_open(path, &db), 0);
	assert_int_equal(get(db, "committed", 20).found, 1);
	assert_int_equal(get(db, "uncommitted", 20).found, 0);
	state_sqlite_close(db);
	assert_int_equal(files_named("damaged"), 0);
}

static void test_sweep(void **unused)
{
	struct state_sqlite *db = NULL;
	char key[32];
	int n = 0, all = 0;

	assert_int_equal(state_sqlite_open(path, &db), 0);
	for (int i = 0; i < 1200; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		do_one(db, op_of(STATE_TOUCH, "s", key, i < 1100 ? 10 : 1000 + i), 100);
	}
	assert_int_equal(state_sqlite_rows(db), 1200);
	while ((n = state_sqlite_sweep(db, 110)) == STATE_SWEEP_ROWS)
		all += n;
	assert_int_equal(all + n, 1100);
	assert_int_equal(state_sqlite_rows(db), 100);
	/* More than the bound: what expires first goes first. */
	state_sqlite_set_rows_max(db, 60);
	assert_int_equal(state_sqlite_sweep(db, 110), 40);
	assert_int_equal(get(db, "k1139", 110).found, 0);
	assert_int_equal(get(db, "k1140", 110).found, 1);
	assert_int_equal(state_sqlite_commit(db), 0);
	state_sqlite_close(db);
	assert_int_equal(state_sqlite_open(path, &db), 0);
	assert_int_equal(state_sqlite_rows(db), 60);
	state_sqlite_close(db);
}

static void write_at(const char *name, off_t at, const char *text)
{
	int fd = open(name, O_WRONLY | O_CREAT, 0600);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, text, strlen(text), at), strlen(text));
	close(fd);
}

static void test_damaged_at_opening(void **unused)
{
	struct state_sqlite *db = NULL;

	write_at(path, 0,
		 "this is no database, and it is longer than the header of one, which is a hundred "
		 "bytes of this and that ...");
	assert_int_equal(state_sqlite_open(path, &db), 0);
	assert_int_equal(files_named("damaged"), 1);
	do_one(db, op_of(STATE_TOUCH, "s", "k", 10), 1);
	assert_int_equal(state_sqlite_commit(db), 0);
	state_sqlite_close(db);
}

static void test_damaged_later(void **unused)
{
	struct state_sqlite *db = NULL;
	char key[64], rubbish[4097];

	assert_int_equal(state_sqlite_open(path, &db), 0);
	for (int i = 0; i < 3000; i++) {
		snprintf(key, sizeof(key), "key-%d-with-some-length-to-fill-pages", i);
		do_one(db, op_of(STATE_TOUCH, "s", key, 1000), 100);
	}
	state_sqlite_close(db);         /* everything in the file proper now */
	memset(rubbish, 0xa5, sizeof(rubbish) - 1);
	rubbish[sizeof(rubbish) - 1] = 0;
	for (int page = 2; page < 40; page++)
		write_at(path, page * 4096, rubbish);
	/*
	 * Opening may or may not see it (it counts rows); in the end it works, afresh, and the old
	 * one is kept.
	 */
	assert_int_equal(state_sqlite_open(path, &db), 0);
	for (int i = 0; i < 3000; i++) {
		snprintf(key, sizeof(key), "key-%d-with-some-length-to-fill-pages", i);
		do_one(db, op_of(STATE_TOUCH, "s", key, 1000), 100);
	}
	assert_int_equal(state_sqlite_commit(db), 0);
	assert_true(files_named("damaged") >= 1);
	assert_int_equal(state_sqlite_rows(db), 3000);
	state_sqlite_close(db);
}

static void test_newer_schema(void **unused)
{
	struct state_sqlite *db = NULL;
	sqlite3 *sql = NULL;

	assert_int_equal(sqlite3_open(path, &sql), SQLITE_OK);
	assert_int_equal(sqlite3_exec(sql, "PRAGMA user_version = 99", NULL, NULL, NULL),
			 SQLITE_OK);
	sqlite3_close(sql);
	assert_int_equal(state_sqlite_open(path, &db), -EPROTONOSUPPORT);
	assert_int_equal(files_named("damaged"), 0);    /* never thrown away */
}

/* The keeper of a disk that is full when it starts: all goes well as soon as the disk does. */
static void test_patient(void **unused)
{
	struct state_sqlite *db = NULL;
	struct state_op op = op_of(STATE_TOUCH, "s", "k", 100);

	assert_int_equal(mkdir(path, 0700), 0);
	assert_true(state_sqlite_open(path, &db) < 0);
	assert_int_equal(state_sqlite_open_patient(path, &db), 0);
	assert_true(state_sqlite_run(db, &op, 1, 1000) < 0);
	assert_int_equal(state_sqlite_sweep(db, 1000), 0);
	assert_false(state_sqlite_dirty(db));
	assert_int_equal(state_sqlite_commit(db), 0);
	assert_int_equal(rmdir(path), 0);
	do_one(db, op, 1000);
	assert_int_equal(get(db, "k", 1000).found, 1);
	state_sqlite_close(db);
}

static void test_readable_with_shell(void **unused)
{
	struct state_sqlite *db = NULL;
	sqlite3_stmt *st = NULL;
	sqlite3 *sql = NULL;

	assert_int_equal(state_sqlite_open(path, &db), 0);
	do_one(db, op_of(STATE_TOUCH, "s", "k", 10), 100);
	assert_int_equal(state_sqlite_commit(db), 0);
	assert_int_equal(sqlite3_open_v2(path, &sql, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
	assert_int_equal(
		sqlite3_prepare_v2(sql, "SELECT expires FROM state WHERE space = 's' AND key = 'k'",
				   -1, &st, NULL),
		SQLITE_OK);
	assert_int_equal(sqlite3_step(st), SQLITE_ROW);
	assert_int_equal(sqlite3_column_int64(st, 0), 110);
	sqlite3_finalize(st);
	sqlite3_close(sql);
	state_sqlite_close(db);
}

/*
 * The file may not grow: writes fail with -ENOSPC, reads go on, and so does all when there is room
 * again.
 */
static void test_full(void **unused)
{
	struct state_sqlite *db = NULL;
	struct state_op op;
	char key[32], text[300];
	sqlite3 *sql;
	int rc = 0, done = 0;

	assert_int_equal(state_sqlite_open(path, &db), 0);
	sql = *(sqlite3 **)db;          /* the first member */
	assert_int_equal(sqlite3_exec(sql, "PRAGMA max_page_count = 40", NULL, NULL, NULL),
			 SQLITE_OK);
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	for (; done < 5000 && rc == 0; done++) {
		op = op_of(STATE_PUT, "s", "", 1000);
		snprintf(key, sizeof(key), "k%d", done);
		strcpy(op.key, key);
		strcpy(op.text, text);
		rc = state_sqlite_run(db, &op, 1, 100);
		if (rc == 0)
			rc = state_sqlite_commit(db);
	}
	assert_int_equal(rc, -ENOSPC);
	assert_true(done > 10);
	assert_int_equal(get(db, "k0", 100).found, 1);
	assert_int_equal(get(db, key, 100).found, 0);
	assert_int_equal(state_sqlite_rows(db), done - 1);
	assert_int_equal(sqlite3_exec(sql, "PRAGMA max_page_count = 4000", NULL, NULL, NULL),
			 SQLITE_OK);
	do_one(db, op_of(STATE_TOUCH, "s", key, 10), 100);
	assert_int_equal(state_sqlite_commit(db), 0);
	state_sqlite_close(db);
}

static void fill(struct state_op *ops)
{
	for (int i = 0; i < STATE_OPS_MAX; i++) {
		ops[i] = op_of((enum state_verb)(i % (STATE_DELETE + 1)), "grey", "", 1000 + i);
		memset(ops[i].key, 'k', (size_t)i * 26);
		memset(ops[i].text, 't', (size_t)i * 26);
		ops[i].add = -i;
		ops[i].found = i & 1;
		ops[i].first_s = INT64_MAX - i;
		ops[i].last_s = INT64_MIN + i;
		ops[i].count = i;
	}
}

static void test_wire(void **unused)
{
	static struct state_op in[STATE_OPS_MAX], out[STATE_OPS_MAX];
	AUTO(buf) struct buf b = BUF_INIT(STATE_WIRE_MAX), a = BUF_INIT(STATE_WIRE_MAX);

	fill(in);
	assert_int_equal(state_wire_request(&b, in, STATE_OPS_MAX), 0);
	assert_int_equal(state_wire_read_request(b.data, b.len, out), STATE_OPS_MAX);
	assert_int_equal(state_wire_answer(&a, in, STATE_OPS_MAX), 0);
	assert_int_equal(state_wire_read_answer(a.data, a.len, out, STATE_OPS_MAX), 0);
	assert_memory_equal(in, out, sizeof(in));
	/* Cut anywhere, or longer by one: refused. */
	for (size_t len = 0; len < b.len; len++)
		assert_int_equal(state_wire_read_request(b.data, len, out), -EBADMSG);
	for (size_t len = 0; len < a.len; len++)
		assert_int_equal(state_wire_read_answer(a.data, len, out, STATE_OPS_MAX), -EBADMSG);
	assert_int_equal(state_wire_read_request(b.data, b.len + 1, out), -EBADMSG);
	assert_int_equal(state_wire_read_answer(a.data, a.len + 1, out, STATE_OPS_MAX), -EBADMSG);
	assert_int_equal(state_wire_read_answer(a.data, a.len, out, STATE_OPS_MAX - 1), -EBADMSG);
}

static void test_wire_malformed(void **unused)
{
	static const struct { const char *name; const char *p; size_t len;
	} rows[] = {
#define ROW(name, bytes) { name, bytes, sizeof(bytes) - 1 }
		ROW("no operation", "\0"),
		ROW("too many", "\x11"),
		ROW("unknown verb", "\1\5\1\0s\1\0k\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
		ROW("NUL in the key", "\1\0\1\0s\2\0k\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
		ROW("space of 16",
		    "\1\0\20\0ssssssssssssssss\1\0k\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
		ROW("length beyond the end",
		    "\1\0\1\0s\377\377k\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
#undef ROW
	};
	struct state_op ops[STATE_OPS_MAX];
	struct buf small = BUF_INIT(10);

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		print_message("  %s\n", rows[i].name);
		assert_int_equal(state_wire_read_request(rows[i].p, rows[i].len, ops), -EBADMSG);
	}
	fill(ops);
	assert_int_equal(state_wire_request(&small, ops, 0), -EINVAL);
	assert_int_equal(state_wire_request(&small, ops, STATE_OPS_MAX + 1), -EINVAL);
	assert_int_equal(state_wire_request(&small, ops, 2), -ENOSPC);
	buf_clear(&small);
	memset(ops[0].key, 'x', sizeof(ops[0].key));
	assert_int_equal(state_wire_request(&small, ops, 1), -EINVAL);
	buf_release(&small);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_verbs),
		cmocka_unit_test(test_clock_set_back),
		cmocka_unit_test(test_clock_a_little_back),
		cmocka_unit_test(test_bad_operations),
		cmocka_unit_test_setup_teardown(test_survives, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_sweep, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_damaged_at_opening, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_damaged_later, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_newer_schema, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_patient, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_readable_with_shell, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_full, make_dir, remove_dir),
		cmocka_unit_test(test_wire),
		cmocka_unit_test(test_wire_malformed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
