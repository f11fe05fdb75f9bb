/* A day of a history on disk becomes its reports: in steps, while records come; what is left of it by a kill; what is remembered of those sent. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "policy/rua_job.h"

enum { DAY = 20000 };
static const int64_t day_ms = (int64_t)DAY * RUA_DAY_S * 1000;

static char dir[64], path[128];

static int make_dir(void **unused)
{
	fact_register_all();
	snprintf(dir, sizeof(dir), "/tmp/gatepost-rua-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/history.db", dir);
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

static struct history_store *open_store(void)
{
	struct history_store *s = NULL;

	assert_int_equal(history_store_open(path, true, &s), 0);
	return s;
}

/* Message i of one of some domains. */
static void add(struct history_store *s, int i, int domains, int64_t at_ms)
{
	AUTO(buf) struct buf out = BUF_INIT(HISTORY_RECORD_MAX);
	char code[32], client[32], domain[32], rua[64];
	struct facts f = { 0 };
	struct history_record r = { .at_ms = at_ms, .code = code, .client = client, .helo = "h", .from = "x@b.example", .verdict = "accept",
				    .stage = STAGE_DATA, .facts = { &f } };

	snprintf(code, sizeof(code), "%x-1", i);
	snprintf(client, sizeof(client), "192.0.2.%d", i % 10);
	snprintf(domain, sizeof(domain), "d%d.example", i % domains);
	snprintf(rua, sizeof(rua), "mailto:r@d%d.example", i % domains);
	facts_set(&f, "dmarc", "fail");
	facts_set(&f, "dmarc.policy", "none");
	facts_add(&f, "dmarc.published", "p=none");
	facts_set(&f, "dmarc.record_domain", domain);
	facts_set(&f, "from.domain", domain);
	facts_add(&f, "dmarc.rua", rua);
	assert_int_equal(history_encode(&r, &out), 0);
	assert_int_equal(history_store_add(s, out.data, out.len), 0);
	facts_release(&f);
}

static int run_job(struct history_store *s, int64_t day, struct rua_job_sum *sum)
{
	struct rua_job *j = NULL;
	int rc;

	assert_int_equal(rua_job_new(path, day, NULL, &j), 0);
	while ((rc = rua_job_step(j, s, 5)) > 0)
		;
	rua_job_sum(j, sum);
	rua_job_free(j);
	return rc;
}

/* How many messages the report of a domain counts; -1: there is none. */
static int64_t reported(struct history_store *s, const char *domain)
{
	AUTO(buf) struct buf out = BUF_INIT(RUA_ANSWER_MAX);
	AUTO(dmarc_report) struct dmarc_report *r = dmarc_report_new();
	struct rua_reader in;
	const char *head;
	int64_t sum = 0;
	size_t len;

	if (rua_store_report(s, DAY, domain, &out) == -ENOENT)
		return -1;
	in = rua_reader(out.data, out.len);
	head = rua_get_octets(&in, RUA_HEAD_OCTETS_MAX, &len);
	assert_non_null(head);
	assert_int_equal(rua_get_report(head, len, in.p, (size_t)(in.end - in.p), r), 0);
	for (size_t i = 0; i < r->record_count; i++)
		sum += (int64_t)r->records[i].count;
	return sum;
}

static size_t pending(struct history_store *s, const char *after, size_t count)
{
	AUTO(buf) struct buf out = BUF_INIT(RUA_ANSWER_MAX);
	AUTO(rua_domains) struct rua_domains *d = calloc(1, sizeof(*d));
	struct rua_reader in;

	assert_int_equal(rua_store_domains(s, DAY, after, count, &out), 0);
	in = rua_reader(out.data, out.len);
	while (rua_get_domain(&in, d) == 0)
		;
	return d->count;
}

/* A day that is read when the oldest of its records are gone: its reports say so. */
static void test_partial(void **state)
{
	static const struct { int64_t first_ms, keep_ms; int64_t count; size_t errors; } cases[] = {
		{ -1000, 86402000, 30, 0 },     /* the history goes further back */
		{ 1000, 86400000, 30, 0 },      /* it begins that day, with its first record */
		{ -1000, 86400000 - 10500, 20, 1 },
		{ -1000, 86400000 - 100000, -1, 0 },
	};

	for (size_t k = 0; k < sizeof(cases) / sizeof(*cases); k++) {
		AUTO(buf) struct buf out = BUF_INIT(RUA_ANSWER_MAX);
		AUTO(dmarc_report) struct dmarc_report *r = dmarc_report_new();
		struct history_store *s = open_store();
		struct rua_job_sum sum;
		struct rua_reader in;
		const char *head;
		size_t len;

		add(s, 99, 1, day_ms + cases[k].first_ms);
		for (int i = cases[k].first_ms > 0; i < 30; i++)
			add(s, i, 1, day_ms + 1000 * (int64_t)i + 1000);
		assert_int_equal(history_store_commit(s), 0);
		while (history_store_sweep(s, day_ms + 86400000, cases[k].keep_ms, UINT64_MAX) > 0)
			;
		assert_int_equal(run_job(s, DAY, &sum), 0);
		assert_int_equal(reported(s, "d0.example"), cases[k].count);
		if (cases[k].count >= 0) {
			assert_int_equal(rua_store_report(s, DAY, "d0.example", &out), 0);
			in = rua_reader(out.data, out.len);
			head = rua_get_octets(&in, RUA_HEAD_OCTETS_MAX, &len);
			assert_int_equal(rua_get_head(head, len, r), 0);
			assert_int_equal(r->error_count, cases[k].errors);
		}
		history_store_close(s);
		assert_int_equal(remove_dir(NULL), 0);
		assert_int_equal(mkdir(dir, 0700), 0);
	}
}

/* Exactly that day, over segments with an index and what has none. */
static void test_day(void **state)
{
	struct history_store *s = open_store();
	struct rua_job_sum sum;
	int64_t day;

	for (int i = 0; i < 100; i++)
		add(s, 1000000 + i, 4, day_ms - 100 + i);               /* the day before */
	for (int i = 0; i < HISTORY_SEGMENT + 2000; i++)
		add(s, i, 4, day_ms + i);
	for (int i = 0; i < HISTORY_SEGMENT + 100; i++)
		add(s, 2000000 + i, 4, day_ms + 86400000 + i);          /* the day after, so much that the first has an index whole */
	assert_int_equal(history_store_commit(s), 0);
	assert_int_equal(rua_store_is_read(s, DAY), 0);
	assert_int_equal(rua_store_due(s, DAY - 2, DAY, &day), 1);
	assert_int_equal(day, DAY - 2);
	assert_int_equal(run_job(s, DAY, &sum), 0);
	assert_int_equal(sum.records, HISTORY_SEGMENT + 2000);
	assert_int_equal(sum.reports, 4);
	assert_int_equal(rua_store_is_read(s, DAY), 1);
	assert_int_equal(reported(s, "d0.example"), (HISTORY_SEGMENT + 2000) / 4);
	assert_int_equal(reported(s, "d4.example"), -1);
	assert_int_equal(pending(s, "", 10), 4);
	assert_int_equal(pending(s, "d1.example", 10), 2);
	assert_int_equal(pending(s, "", 3), 3);
	/* A day of which nothing is there is read, too, and has nothing. */
	assert_int_equal(run_job(s, DAY - 5, &sum), 0);
	assert_int_equal(sum.records, 0);
	assert_int_equal(rua_store_due(s, DAY - 5, DAY - 5, &day), 0);
	history_store_close(s);
}

/* Said once or twice; and remembered when the database is opened again. */
static void test_done(void **state)
{
	struct history_store *s = open_store();
	struct rua_job_sum sum;
	int64_t day;

	for (int i = 0; i < 30; i++)
		add(s, i, 3, day_ms + i);
	assert_int_equal(history_store_commit(s), 0);
	assert_int_equal(run_job(s, DAY, &sum), 0);
	assert_int_equal(rua_store_done(s, DAY, "d0.example", RUA_REPORTED, NULL, 1), 0);
	assert_int_equal(rua_store_done(s, DAY, "d0.example", RUA_GIVEN_UP, "no", 2), 0);
	assert_int_equal(rua_store_done(s, DAY, "other.example", RUA_REPORTED, NULL, 1), -ENOENT);
	assert_int_equal(rua_store_done(s, DAY + 1, "d1.example", RUA_REPORTED, NULL, 1), -ENOENT);
	assert_int_equal(reported(s, "d0.example"), -1);
	assert_int_equal(pending(s, "", 10), 2);
	history_store_close(s);
	s = open_store();
	assert_int_equal(pending(s, "", 10), 2);
	assert_int_equal(reported(s, "d1.example"), 10);
	assert_int_equal(rua_store_due(s, DAY, DAY, &day), 1);
	assert_int_equal(rua_store_done(s, DAY, "d1.example", RUA_GIVEN_UP, "nowhere to go", 3), 0);
	assert_int_equal(rua_store_done(s, DAY, "d2.example", RUA_REPORTED, NULL, 3), 0);
	assert_int_equal(rua_store_due(s, DAY, DAY, &day), 0);
	history_store_close(s);
}

/* Dropped at any step: nothing of it counts, and the next one makes the whole of it. */
static void test_dropped(void **state)
{
	struct rua_job_sum sum;
	int done = 1;

	for (int steps = 0; done > 0; steps++) {
		struct history_store *s = open_store();
		struct rua_job *j = NULL;
		int64_t day;

		if (steps == 0)
			for (int i = 0; i < 500; i++)
				add(s, i, 100, day_ms + i);
		assert_int_equal(history_store_commit(s), 0);
		assert_int_equal(rua_job_new(path, DAY, NULL, &j), 0);
		for (int i = 0; i < steps && done > 0; i++)
			done = rua_job_step(j, s, 0);
		rua_job_free(j);
		assert_true(done >= 0);
		assert_int_equal(rua_store_is_read(s, DAY), done == 0);
		assert_int_equal(rua_store_due(s, DAY, DAY, &day), 1);
		/* What is written is there after a commit, too. */
		history_store_close(s);
	}
	{
		struct history_store *s = open_store();

		assert_int_equal(pending(s, "", 1000), 100);
		assert_int_equal(reported(s, "d7.example"), 5);
		/* Read once more, as if nobody knew that it had been: the same, once. */
		assert_int_equal(run_job(s, DAY, &sum), 0);
		assert_int_equal(pending(s, "", 1000), 100);
		assert_int_equal(reported(s, "d7.example"), 5);
		history_store_close(s);
	}
}

/* Records that come, and old ones that go, while a day is read. */
static void test_meanwhile(void **state)
{
	struct history_store *s = open_store();
	struct rua_job *j = NULL;
	struct rua_job_sum sum;
	int rc, n = 0;

	for (int i = 0; i < 3000; i++)
		add(s, i, 5, day_ms + i);
	assert_int_equal(history_store_commit(s), 0);
	assert_int_equal(rua_job_new(path, DAY, NULL, &j), 0);
	while ((rc = rua_job_step(j, s, 0)) > 0) {
		add(s, 5000000 + n, 5, day_ms + 90000000 + n);
		if (n++ % 10 == 0)
			assert_int_equal(history_store_commit(s), 0);
	}
	assert_int_equal(rc, 0);
	rua_job_sum(j, &sum);
	assert_int_equal(sum.records, 3000);
	rua_job_free(j);
	assert_int_equal(history_store_commit(s), 0);
	assert_int_equal(history_store_count(s), 3000 + n);
	assert_int_equal(reported(s, "d0.example"), 600);
	/* The records go; the reports do not. */
	while (history_store_sweep(s, day_ms + 200000000, 0, UINT64_MAX) > 0)
		;
	assert_int_equal(history_store_count(s), 0);
	assert_int_equal(reported(s, "d0.example"), 600);
	history_store_close(s);
}

/* What is too late is given up; what is old enough is forgotten. */
static void test_tidy(void **state)
{
	struct history_store *s = open_store();
	struct rua_job_sum sum;
	int64_t day;

	for (int i = 0; i < 30; i++)
		add(s, i, 3, day_ms + i);
	assert_int_equal(history_store_commit(s), 0);
	assert_int_equal(run_job(s, DAY, &sum), 0);
	assert_int_equal(rua_store_tidy(s, DAY + RUA_DAYS_BACK), 0);
	assert_int_equal(pending(s, "", 10), 3);
	assert_int_equal(rua_store_tidy(s, DAY + RUA_DAYS_BACK + 1), 1);
	assert_int_equal(rua_store_tidy(s, DAY + RUA_DAYS_BACK + 1), 0);
	assert_int_equal(pending(s, "", 10), 0);
	assert_int_equal(rua_store_due(s, DAY, DAY, &day), 0);
	assert_int_equal(rua_store_done(s, DAY, "d0.example", RUA_REPORTED, NULL, 1), 0);
	/* The clock was years ahead for a while: nothing of the last days is forgotten. */
	for (int64_t later = 10000; later < 10005; later++)
		assert_int_equal(rua_store_end(s, DAY + later, 0), 0);
	while (rua_store_tidy(s, DAY + 20000) > 0)
		;
	assert_int_equal(rua_store_is_read(s, DAY), 1);
	assert_int_equal(rua_store_done(s, DAY, "d0.example", RUA_REPORTED, NULL, 1), 0);
	for (int64_t later = 1; later < 4; later++)
		assert_int_equal(rua_store_end(s, DAY + later, 0), 0);
	assert_int_equal(rua_store_tidy(s, DAY + RUA_KEEP_DAYS), 0);
	while (rua_store_tidy(s, DAY + RUA_KEEP_DAYS + 1) > 0)
		;
	assert_int_equal(rua_store_done(s, DAY, "d0.example", RUA_REPORTED, NULL, 1), -ENOENT);
	assert_int_equal(rua_store_is_read(s, DAY), 0);
	history_store_close(s);
}

static void sql(const char *text)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

/* A database from before there were reports keeps what is in it, and gets its tables. */
static void test_older(void **state)
{
	struct history_store *s = open_store(), *reader = NULL;
	struct rua_job_sum sum;

	for (int i = 0; i < HISTORY_SEGMENT + 10; i++)
		add(s, i, 3, day_ms + i);
	history_store_close(s);
	sql("DROP TABLE report; DROP TABLE report_day");
	/* Who only reads needs none. */
	assert_int_equal(history_store_open(path, false, &reader), 0);
	assert_int_equal(history_store_count(reader), HISTORY_SEGMENT + 10);
	history_store_close(reader);
	s = open_store();
	assert_int_equal(history_store_count(s), HISTORY_SEGMENT + 10);
	assert_int_equal(run_job(s, DAY, &sum), 0);
	assert_int_equal(sum.records, HISTORY_SEGMENT + 10);
	assert_int_equal(pending(s, "", 10), 3);
	history_store_close(s);
}

/* What cannot be read, or written: an error, and the day is as it was. */
static void test_broken(void **state)
{
	struct history_store *s = open_store();
	struct rua_job *j = NULL;
	int rc;

	assert_int_equal(rua_job_new("/nonexistent/history.db", DAY, NULL, &j), -ENOENT);
	for (int i = 0; i < 30; i++)
		add(s, i, 3, day_ms + i);
	assert_int_equal(history_store_commit(s), 0);
	sql("DROP TABLE report_day");
	assert_int_equal(rua_job_new(path, DAY, NULL, &j), 0);
	while ((rc = rua_job_step(j, s, 5)) > 0)
		;
	assert_true(rc < 0);
	assert_true(history_store_broken(s));
	rua_job_free(j);
	history_store_close(s);         /* broken by it: opened anew */
	s = open_store();
	assert_int_equal(rua_store_is_read(s, DAY), 0);
	assert_int_equal(history_store_count(s), 30);
	history_store_close(s);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)
	const struct CMUnitTest tests[] = {
		TEST(test_partial), TEST(test_day), TEST(test_done), TEST(test_dropped), TEST(test_meanwhile), TEST(test_tidy), TEST(test_older), TEST(test_broken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
