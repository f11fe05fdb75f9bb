/* The history on disk: what is found by what, over segments and what has no index yet; what is removed when; damage, other versions. */
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
#include <unistd.h>

#include "policy/history_store.h"

enum { DAY_MS = 86400 * 1000, MANY = 2 * HISTORY_SEGMENT + 1000 };

static char dir[64], path[128];
static const int64_t start_ms = 1795400000000;

static int make_dir(void **unused)
{
	snprintf(dir, sizeof(dir), "/tmp/gatepost-history-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/history.db", dir);
	return 0;
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

static int remove_dir(void **unused)
{
	DIR *d = opendir(dir);

	for (struct dirent *e; d && (e = readdir(d));)
		(void)unlinkat(dirfd(d), e->d_name, 0);
	closedir(d);
	return rmdir(dir);
}

static struct history_store *open_store(bool writes)
{
	struct history_store *s = NULL;

	assert_int_equal(history_store_open(path, writes, &s), 0);
	return s;
}

static int add(struct history_store *s, const struct history_record *r)
{
	AUTO(buf) struct buf out = BUF_INIT(HISTORY_RECORD_MAX);

	assert_int_equal(history_encode(r, &out), 0);
	return history_store_add(s, out.data, out.len);
}

/* Record i: a second after the one before; one sender in 1000, one recipient in 7, one client in 100, one verdict in 3. */
static int add_number(struct history_store *s, int i, int64_t at_ms)
{
	static const char *const verdicts[] = { "accept", "reject", "quarantine" };
	char code[32], client[32], from[64], to[64], id[64];
	const char *rcpt[2] = { to, "Second@Other.Example" };
	struct history_record r = { .at_ms = at_ms, .code = code, .client = client, .helo = "h", .from = from, .rcpt = rcpt,
				    .rcpt_count = i % 5 ? 1 : 2, .message_id = id, .verdict = verdicts[i % 3], .rule = i % 2 ? "odd" : NULL };

	snprintf(code, sizeof(code), "%x-%d", i / 4, i % 4 + 1);
	snprintf(client, sizeof(client), "192.0.2.%d", i % 100);
	snprintf(from, sizeof(from), "Sender%d@d%d.example", i % 1000, i % 1000 / 10);
	snprintf(to, sizeof(to), "rcpt%d@example.com", i % 7);
	snprintf(id, sizeof(id), "<%d@Example>", i);
	return add(s, &r);
}

static void fill(struct history_store *s, int from, int to)
{
	for (int i = from; i < to; i++)
		assert_int_equal(add_number(s, i, start_ms + 1000LL * i), 0);
	assert_int_equal(history_store_commit(s), 0);
}

struct found {
	int count, first, last;         /* numbers of records: the first that came, the last */
	int stop_after;
};

static int note(void *arg, const struct history_record *r, const char *const *cut, const char *const *lost)
{
	struct found *f = arg;
	int i = (int)((r->at_ms - start_ms) / 1000);

	if (f->count++ == 0)
		f->first = i;
	f->last = i;
	return f->stop_after && f->count == f->stop_after ? -ECANCELED : 0;
}

/* What a query must find, told by looking at every record. */
static int expected(const struct history_query *q, int low, int high)
{
	int n = 0;

	for (int i = low; i < high; i++) {
		int64_t at = start_ms + 1000LL * i;
		char text[64];
		bool is = (!q->since_ms || at >= q->since_ms) && (!q->until_ms || at < q->until_ms);

		snprintf(text, sizeof(text), "sender%d@d%d.example", i % 1000, i % 1000 / 10);
		if (q->from)
			is = is && strcasecmp(q->from, q->from[0] == '@' ? strchr(text, '@') : text) == 0;
		snprintf(text, sizeof(text), "rcpt%d@example.com", i % 7);
		if (q->to)
			is = is && (strcasecmp(q->to, q->to[0] == '@' ? "@example.com" : text) == 0 ||
				    (i % 5 == 0 && strcasecmp(q->to, q->to[0] == '@' ? "@other.example" : "second@other.example") == 0));
		snprintf(text, sizeof(text), "192.0.2.%d", i % 100);
		is = is && (!q->client || strcmp(q->client, text) == 0);
		snprintf(text, sizeof(text), "%x-%d", i / 4, i % 4 + 1);
		if (q->code)
			is = is && strncmp(q->code, text, strlen(q->code)) == 0 &&
			     (text[strlen(q->code)] == 0 || text[strlen(q->code)] == '-');
		is = is && (!q->verdict || strcmp(q->verdict, i % 3 == 0 ? "accept" : i % 3 == 1 ? "reject" : "quarantine") == 0);
		is = is && (!q->rule || i % 2);
		n += is;
	}
	return n;
}

static const struct { const char *name; struct history_query q; } queries[] = {
	{ "all", { 0 } },
	{ "sender", { .from = "sender77@d7.example" } },
	{ "sender in capitals", { .from = "SENDER77@D7.EXAMPLE" } },
	{ "sender's domain", { .from = "@d7.example" } },
	{ "no such sender", { .from = "nobody@d7.example" } },
	{ "null sender", { .from = "" } },
	{ "recipient", { .to = "rcpt3@example.com" } },
	{ "second recipient", { .to = "second@other.example" } },
	{ "recipient's domain", { .to = "@other.example" } },
	{ "sender and recipient", { .from = "sender77@d7.example", .to = "rcpt3@example.com" } },
	{ "client", { .client = "192.0.2.7" } },
	{ "client, verdict", { .client = "192.0.2.7", .verdict = "reject" } },
	{ "verdict and rule", { .verdict = "reject", .rule = "odd" } },
	{ "code", { .code = "64-2" } },
	{ "session", { .code = "64" } },
	{ "no such code", { .code = "64-9" } },
	{ "time", { .since_ms = 1795400000000 + 5000LL * 1000, .until_ms = 1795400000000 + 5500LL * 1000 } },
	{ "time and recipient", { .to = "rcpt3@example.com", .since_ms = 1795400000000 + 8000LL * 1000 } },
	{ "time before all", { .until_ms = 1795400000000 } },
	{ "all of it", { .from = "sender77@d7.example", .to = "rcpt0@example.com", .client = "192.0.2.77", .verdict = "reject", .rule = "odd" } },
};

static void check_queries(int low, int high)
{
	struct history_store *s = open_store(false);

	for (size_t i = 0; i < sizeof(queries) / sizeof(*queries); i++) {
		struct found f = { 0 };

		assert_int_equal(history_store_find(s, &queries[i].q, note, &f), 0);
		if (f.count != expected(&queries[i].q, low, high))
			fail_msg("%s: %d of %d", queries[i].name, f.count, expected(&queries[i].q, low, high));
		if (f.count > 1)
			assert_true(f.first > f.last);
	}
	history_store_close(s);
}

static void test_find(void **state)
{
	struct history_store *s = open_store(true);

	check_queries(0, 0);
	fill(s, 0, 1000);
	check_queries(0, 1000);         /* beside the one that writes, without index */
	fill(s, 1000, HISTORY_SEGMENT);
	check_queries(0, HISTORY_SEGMENT);      /* all with index */
	fill(s, HISTORY_SEGMENT, HISTORY_SEGMENT + 1);
	history_store_close(s);
	check_queries(0, HISTORY_SEGMENT + 1);
	s = open_store(true);           /* what has no index is taken up again */
	fill(s, HISTORY_SEGMENT + 1, MANY);
	history_store_close(s);
	check_queries(0, MANY);
}

static void test_message_id(void **state)
{
	struct history_store *s = open_store(true);

	fill(s, 0, 300);
	for (int i = 0; i < 3; i++) {
		static const char *const forms[] = { "<77@Example>", "77@example", " <77@EXAMPLE> " };
		struct found f = { 0 };

		assert_int_equal(history_store_find(s, &(struct history_query){ .message_id = forms[i] }, note, &f), 0);
		assert_int_equal(f.count, 1);
		assert_int_equal(f.first, 77);
	}
	history_store_close(s);
}

/* An author is found as an envelope sender is. */
static void test_author(void **state)
{
	struct history_store *s = open_store(true);
	struct facts f = { 0 };
	const char *rcpt[] = { "b@example.com" };
	struct history_record r = { .at_ms = start_ms, .code = "1-1", .client = "::1", .from = "bounce+1@list.example", .rcpt = rcpt,
				    .rcpt_count = 1, .verdict = "accept", .quarantine_id = "Q1", .facts = { &f } };
	static const struct history_query asked[] = {
		{ .from = "author@home.example" }, { .from = "@home.example" }, { .from = "bounce+1@list.example" }, { .quarantine_id = "q1" },
	};

	facts_add(&f, "from.addresses", "Author@home.example");
	assert_int_equal(add(s, &r), 0);
	for (int turn = 0; turn < 2; turn++) {
		for (size_t i = 0; i < sizeof(asked) / sizeof(*asked); i++) {
			struct found found = { 0 };

			assert_int_equal(history_store_find(s, &asked[i], note, &found), 0);
			assert_int_equal(found.count, 1);
		}
		assert_int_equal(history_store_commit(s), 0);
		if (turn == 0)
			fill(s, 1, HISTORY_SEGMENT + 1);        /* now with an index */
	}
	facts_release(&f);
	history_store_close(s);
}

static void test_limit(void **state)
{
	struct history_store *s = open_store(true);
	struct found f = { 0 }, stopped = { .stop_after = 5 };

	fill(s, 0, HISTORY_SEGMENT + 100);
	assert_int_equal(history_store_find(s, &(struct history_query){ .verdict = "reject", .limit = 40 }, note, &f), 0);
	assert_int_equal(f.count, 40);
	assert_int_equal(f.first, HISTORY_SEGMENT + 98);
	assert_int_equal(history_store_find(s, &(struct history_query){ .verdict = "reject" }, note, &stopped), -ECANCELED);
	assert_int_equal(stopped.count, 5);
	history_store_close(s);
}

static void test_each(void **state)
{
	struct history_store *s = open_store(true), *reader;
	struct found all = { 0 }, some = { 0 }, stopped = { .stop_after = 5 };

	fill(s, 0, MANY);
	reader = open_store(false);
	assert_int_equal(history_store_each(reader, 0, 0, note, &all), 0);
	assert_int_equal(all.count, MANY);
	assert_int_equal(all.first, 0);
	assert_int_equal(all.last, MANY - 1);
	assert_int_equal(history_store_each(reader, start_ms + 9000 * 1000LL, start_ms + 17000 * 1000LL, note, &some), 0);
	assert_int_equal(some.count, 8000);
	assert_int_equal(some.first, 9000);
	assert_int_equal(history_store_each(reader, 0, 0, note, &stopped), -ECANCELED);
	assert_int_equal(history_store_count(reader), MANY);
	assert_true(history_store_oldest_ms(reader) == start_ms);
	history_store_close(reader);
	history_store_close(s);
}

static int64_t sweep_all(struct history_store *s, int64_t now_ms, int64_t keep_ms, uint64_t max_bytes)
{
	int64_t steps = 0;
	int rc;

	while ((rc = history_store_sweep(s, now_ms, keep_ms, max_bytes)) > 0)
		steps++;
	assert_int_equal(rc, 0);
	return steps;
}

static int64_t rows_of(const char *table)
{
	sqlite3 *sql;
	sqlite3_stmt *st;
	char text[100];
	int64_t n;

	snprintf(text, sizeof(text), "SELECT count(*) FROM %s", table);
	assert_int_equal(sqlite3_open(path, &sql), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(sql, text, -1, &st, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(st), SQLITE_ROW);
	n = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	sqlite3_close(sql);
	return n;
}

static void test_age(void **state)
{
	struct history_store *s = open_store(true);
	int64_t now_ms = start_ms + 1000LL * MANY, gone = HISTORY_SEGMENT + 10;

	fill(s, 0, MANY);
	assert_int_equal(sweep_all(s, now_ms, 1000LL * MANY, UINT64_MAX), 0);
	assert_int_equal(history_store_count(s), MANY);
	assert_true(sweep_all(s, now_ms, 1000LL * (MANY - gone), UINT64_MAX) > 10);     /* in small steps */
	check_queries((int)gone, MANY);
	assert_int_equal(rows_of("segment"), 1);
	/* All of it; then it goes on. */
	sweep_all(s, now_ms + 40LL * DAY_MS, DAY_MS, UINT64_MAX);
	assert_int_equal(rows_of("record") + rows_of("segment") + rows_of("posting"), 0);
	fill(s, MANY, MANY + 100);
	check_queries(MANY, MANY + 100);
	history_store_close(s);
	check_queries(MANY, MANY + 100);
}

static void test_size(void **state)
{
	struct history_store *s = open_store(true);
	struct stat st, after;

	fill(s, 0, MANY);
	history_store_close(s);
	stat(path, &st);
	s = open_store(true);
	sweep_all(s, start_ms, 365LL * DAY_MS, (uint64_t)st.st_size / 2);
	assert_true(history_store_count(s) < MANY * 6 / 10);
	assert_true(history_store_count(s) > MANY * 3 / 10);
	history_store_close(s);
	stat(path, &after);
	assert_true(after.st_size < st.st_size * 8 / 10);       /* given back */
	check_queries((int)(MANY - rows_of("record")), MANY);
}

static void test_rubbish(void **state)
{
	struct history_store *s = open_store(true);

	fill(s, 0, 10);
	assert_int_equal(history_store_add(s, "rubbish", 7), -EINVAL);
	assert_int_equal(history_store_add(s, "", 0), -EINVAL);
	fill(s, 10, 20);
	history_store_close(s);
	check_queries(0, 20);
}

/* A message for 1000 recipients, each at a domain of its own, over and over: the memory for keys is bounded. */
static void test_many_recipients(void **state)
{
	struct history_store *s = open_store(true);
	static char names[1000][40];
	static const char *rcpt[1000];
	struct history_record r = { .code = "1-1", .client = "::1", .from = "", .rcpt = rcpt, .rcpt_count = 1000, .verdict = "accept" };
	struct found f = { 0 };

	for (int i = 0; i < 1000; i++)
		rcpt[i] = names[i];
	for (int n = 0; n < 400; n++) {
		for (int i = 0; i < 1000; i++)
			snprintf(names[i], sizeof(names[i]), "r%d@d%d.example", i, i + n);
		r.at_ms = start_ms + 1000LL * n;
		assert_int_equal(add(s, &r), 0);
	}
	assert_int_equal(history_store_commit(s), 0);
	assert_true(rows_of("segment") > 0);
	assert_int_equal(history_store_find(s, &(struct history_query){ .to = "@d500.example" }, note, &f), 0);
	assert_int_equal(f.count, 400);
	history_store_close(s);
}

static void damage(off_t from)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	char junk[8192];

	memset(junk, 0x5a, sizeof(junk));
	for (int i = 0; i < 64; i++)
		assert_int_equal(pwrite(fd, junk, sizeof(junk), from + i * (off_t)sizeof(junk)), sizeof(junk));
	close(fd);
}

static int note_count(void *arg, const struct history_record *r, const char *const *cut, const char *const *lost)
{
	++*(int *)arg;
	return 0;
}

/* Keys that a record has again and again, in each record of a segment: once in the index. */
static void test_keys_again(void **state)
{
	enum { RCPTS = 24 };
	struct history_store *s = open_store(true);
	char text[RCPTS][32];
	const char *rcpt[RCPTS];
	struct history_query q = { .to = "@example.com" };
	int found = 0;

	for (int i = 0; i < RCPTS; i++) {
		snprintf(text[i], sizeof(text[i]), "r%d@example.com", i % 12);
		rcpt[i] = text[i];
	}
	for (int i = 0; i < HISTORY_SEGMENT; i++)
		assert_int_equal(add(s, &(struct history_record){ .at_ms = start_ms + i, .code = "1-1", .client = "192.0.2.1", .verdict = "accept",
								  .rcpt = rcpt, .rcpt_count = RCPTS }), 0);
	assert_int_equal(history_store_commit(s), 0);
	assert_int_equal(history_store_find(s, &q, note_count, &found), 0);
	assert_int_equal(found, HISTORY_SEGMENT);
	q.to = "r3@example.com";
	found = 0;
	assert_int_equal(history_store_find(s, &q, note_count, &found), 0);
	assert_int_equal(found, HISTORY_SEGMENT);
	history_store_close(s);
}

static void test_damaged(void **state)
{
	struct history_store *s = open_store(true);

	fill(s, 0, 2000);
	history_store_close(s);
	damage(0);
	assert_int_equal(history_store_open(path, false, &s), -EBADMSG);
	assert_int_equal(files_named("damaged"), 0);    /* who only reads touches nothing */
	s = open_store(true);
	assert_true(files_named("damaged") > 0);
	fill(s, 0, 100);
	history_store_close(s);
	check_queries(0, 100);
}

/* Damage that shows later: the store is to be closed, and is well when it is opened anew. */
static void test_damaged_later(void **state)
{
	struct history_store *s = open_store(true);
	int rc = 0;

	fill(s, 0, HISTORY_SEGMENT);
	history_store_close(s);
	damage(8192 * 8);
	rc = history_store_open(path, true, &s);
	assert_int_equal(rc, 0);
	for (int i = 0; i < 30 && rc >= 0; i++)
		rc = history_store_sweep(s, start_ms + 400LL * DAY_MS, DAY_MS, UINT64_MAX);
	assert_int_equal(rc, -EBADMSG);
	assert_true(add_number(s, 0, start_ms) < 0);
	assert_true(history_store_commit(s) < 0);
	history_store_close(s);
	assert_true(files_named("damaged") > 0);
	s = open_store(true);
	fill(s, 0, 100);
	history_store_close(s);
	check_queries(0, 100);
}

static void test_newer(void **state)
{
	struct history_store *s = open_store(true);
	sqlite3 *sql;

	history_store_close(s);
	assert_int_equal(sqlite3_open(path, &sql), SQLITE_OK);
	assert_int_equal(sqlite3_exec(sql, "PRAGMA user_version = 99", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(sql);
	assert_int_equal(history_store_open(path, true, &s), -EPROTONOSUPPORT);
	assert_int_equal(history_store_open(path, false, &s), -EPROTONOSUPPORT);
}

static void test_none(void **state)
{
	struct history_store *s;

	assert_int_equal(history_store_open(path, false, &s), -ENOENT);
	assert_int_equal(files_named("history"), 0);
}

static void test_uncommitted(void **state)
{
	struct history_store *s = open_store(true);

	fill(s, 0, 10);
	assert_int_equal(add_number(s, 10, start_ms + 10000), 0);
	assert_int_equal(history_store_uncommitted(s), 1);
	check_queries(0, 10);
	history_store_close(s);         /* commits */
	check_queries(0, 11);
}

/* The disk is full while a segment gets its index. */
static void test_full(void **state)
{
	struct history_store *s = open_store(true);
	sqlite3 *sql = *(sqlite3 **)s;          /* its first member */
	int rc = 0, i;

	fill(s, 0, 5000);
	assert_int_equal(sqlite3_exec(sql, "PRAGMA max_page_count = 330", NULL, NULL, NULL), SQLITE_OK);
	for (i = 5000; i < 3 * HISTORY_SEGMENT && rc == 0; i++) {
		rc = add_number(s, i, start_ms + 1000LL * i);
		if (rc == 0 && i % 100 == 99)
			rc = history_store_commit(s);
	}
	assert_int_equal(rc, -ENOSPC);
	assert_true(add_number(s, i, start_ms) < 0);
	history_store_close(s);
	s = open_store(true);
	i = (int)history_store_count(s);
	assert_true(i >= 5000);
	fill(s, i, MANY);
	history_store_close(s);
	check_queries(0, MANY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_find, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_message_id, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_author, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_limit, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_each, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_age, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_size, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_rubbish, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_many_recipients, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_keys_again, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_damaged, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_damaged_later, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_newer, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_none, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_uncommitted, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_full, make_dir, remove_dir),
	};

	fact_register_all();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
