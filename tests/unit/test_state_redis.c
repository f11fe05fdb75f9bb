/*
 * The state in a real Redis: the same operations give what SQLite gives; it goes away, comes back, is restarted, stands still,
 * wants a password, answers nonsense.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/task.h"
#include "policy/state_redis.h"
#include "policy/state_redis_script.h"
#include "policy/state_sqlite.h"
#include "tests/support/redis.h"

enum { TIMEOUT_MS = 4000, PATIENCE_MS = 60000 };

static struct redis *server;
static struct state_redis_conf conf;
static struct state_redis *engine;
static int failures;
static int64_t now;

/* In a task nothing may jump out, as cmocka's assertions do. */
#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			print_error("%s:%d: %s\n", __FILE__, __LINE__, #cond);                     \
			failures++;                                                                \
		}                                                                                  \
	} while (0)

static int64_t fake_now(void)
{
	return now;
}

static void conf_set(unsigned short port, const char *prefix, char *password)
{
	conf = (struct state_redis_conf){ .prefix = (char *)prefix, .password = password, .timeout_ms = TIMEOUT_MS };
	net_parse("127.0.0.1", &conf.address);
	conf.address.port = port;
}

static struct state *state(void)
{
	return state_redis_state(engine);
}

static void run_fn(void *arg)
{
	void (*const *fn)(void) = arg;

	(*fn)();
	loop_stop();
}

/* fn in a task, with an engine for conf. */
static void with_engine(void (*fn)(void), int64_t (*now_s)(void))
{
	failures = 0;
	assert_int_equal(loop_init(), 0);
	engine = state_redis_new(&conf, now_s);
	assert_non_null(engine);
	assert_int_equal(state_redis_start(engine), 0);
	assert_int_equal(task_spawn("test", run_fn, &fn, NULL), 0);
	loop_run();
	loop_unwind();
	state_redis_free(engine);
	loop_release();
	assert_int_equal(failures, 0);
}

static void op_set(struct state_op *op, enum state_verb verb, const char *space, const char *key, int64_t ttl_s)
{
	memset(op, 0, sizeof(*op));
	op->verb = verb;
	op->ttl_s = ttl_s;
	snprintf(op->space, sizeof(op->space), "%s", space);
	snprintf(op->key, sizeof(op->key), "%s", key);
}

static int one(enum state_verb verb, const char *key, struct state_op *op)
{
	op_set(op, verb, "s", key, 1000);
	op->add = 1;
	return state_run(state(), op, 1);
}

static void flush(void)
{
	redisContext *c = redisConnect("127.0.0.1", redis_port(server));

	freeReplyObject(redisCommand(c, "FLUSHALL"));
	redisFree(c);
}

/* The same as SQLite */

struct row_op {
	enum state_verb verb;
	const char *space, *key;
	int64_t ttl_s, add;
	const char *text;
};

static const struct row {
	const char *name;
	int64_t now_s;
	struct row_op op[5];            /* space NULL last */
} rows[] = {
	{ "nothing is there", 100, { { STATE_GET, "s", "k", 0, 0, NULL } } },
	{ "a touch makes it", 100, { { STATE_TOUCH, "s", "k", 50, 0, NULL } } },
	{ "as it is", 120, { { STATE_GET, "s", "k", 0, 0, NULL } } },
	{ "a touch lengthens it", 120, { { STATE_TOUCH, "s", "k", 50, 0, NULL } } },
	{ "its last second", 169, { { STATE_GET, "s", "k", 0, 0, NULL } } },
	{ "expired", 170, { { STATE_GET, "s", "k", 0, 0, NULL } } },
	{ "what expired counts for nothing", 200, { { STATE_COUNT, "s", "k", 500, 3, NULL } } },
	{ "counted", 210, { { STATE_COUNT, "s", "k", 500, 4, NULL } } },
	{ "down, too", 210, { { STATE_COUNT, "s", "k", 500, -9, NULL }, { STATE_GET, "s", "k", 0, 0, NULL } } },
	{ "put, and what was before", 220, { { STATE_PUT, "s", "k", 500, 9, "gru\xc3\x9f \xff \"%s\r\n" }, { STATE_GET, "s", "k", 0, 0, NULL } } },
	{ "a touch keeps text and count", 230, { { STATE_TOUCH, "s", "k", 500, 0, NULL }, { STATE_GET, "s", "k", 0, 0, NULL } } },
	{ "put again begins anew", 240, { { STATE_PUT, "s", "k", 500, -1, "" }, { STATE_GET, "s", "k", 0, 0, NULL } } },
	{ "several in order, one key", 250, { { STATE_COUNT, "s", "n", 500, 1, NULL }, { STATE_COUNT, "s", "n", 500, 1, NULL },
		{ STATE_DELETE, "s", "n", 0, 0, NULL }, { STATE_COUNT, "s", "n", 500, 1, NULL }, { STATE_GET, "s", "n", 0, 0, NULL } } },
	{ "deleted twice", 260, { { STATE_DELETE, "s", "n", 0, 0, NULL }, { STATE_DELETE, "s", "n", 0, 0, NULL } } },
	{ "spaces are apart", 270, { { STATE_PUT, "t", "k", 500, 7, "t" }, { STATE_GET, "s", "k", 0, 0, NULL }, { STATE_GET, "t", "k", 0, 0, NULL } } },
	{ "an overflow stops at the end", 290, { { STATE_COUNT, "s", "max", INT64_MAX, INT64_MAX, NULL },
		{ STATE_COUNT, "s", "max", INT64_MAX, INT64_MAX, NULL }, { STATE_GET, "s", "max", 0, 0, NULL } } },
	{ "at the other end as well", 290, { { STATE_COUNT, "s", "min", 500, INT64_MIN, NULL }, { STATE_COUNT, "s", "min", 500, -1, NULL },
		{ STATE_GET, "s", "min", 0, 0, NULL } } },
	{ "no digit is lost", 290, { { STATE_COUNT, "s", "big", 500, 9007199254740993, NULL }, { STATE_COUNT, "s", "big", 500, 2, NULL },
		{ STATE_GET, "s", "big", 0, 0, NULL } } },
	{ "bytes that mean something elsewhere", 300, { { STATE_TOUCH, "s", "a b:c*[?]\\ \xff", 500, 0, NULL }, { STATE_GET, "s", "a b:c*[?]\\ \xff", 0, 0, NULL },
		{ STATE_GET, "s", "a b", 0, 0, NULL } } },
	{ "a whole space", 310, { { STATE_DELETE, "s", "", 0, 0, NULL } } },
	{ "it is empty", 310, { { STATE_GET, "s", "k", 0, 0, NULL }, { STATE_GET, "s", "max", 0, 0, NULL }, { STATE_GET, "t", "k", 0, 0, NULL } } },
	{ "emptied again", 310, { { STATE_DELETE, "s", "", 0, 0, NULL } } },
	/* Last: SQLite still has such records until they are swept, and counts them when the space is deleted. */
	{ "no time to live", 280, { { STATE_TOUCH, "s", "zero", 0, 0, NULL }, { STATE_GET, "s", "zero", 0, 0, NULL } } },
	{ "less than none", 280, { { STATE_PUT, "s", "less", -5, 1, "x" }, { STATE_GET, "s", "less", 0, 0, NULL } } },
};

static bool same(const struct state_op *a, const struct state_op *b)
{
	return a->found == b->found && a->first_s == b->first_s && a->last_s == b->last_s && a->count == b->count &&
	       strcmp(a->text, b->text) == 0;
}

/* Both engines at the moment `now`; false: they differ. */
static bool both(struct state_sqlite *db, struct state_op *ops, struct state_op *again, size_t count, const char *name)
{
	int rc = state_sqlite_run(db, ops, count, now), rc2 = state_run(state(), again, count);
	bool ok = rc == rc2;

	if (rc != rc2)
		print_error("%s: SQLite says %d, Redis %d\n", name, rc, rc2);
	for (size_t i = 0; i < count && rc == 0; i++) {
		if (same(&ops[i], &again[i]))
			continue;
		print_error("%s: operation %zu differs: found %d %d, first %" PRId64 " %" PRId64 ", last %" PRId64 " %" PRId64
			    ", count %" PRId64 " %" PRId64 ", text \"%s\" \"%s\"\n",
			    name, i, ops[i].found, again[i].found, ops[i].first_s, again[i].first_s, ops[i].last_s,
			    again[i].last_s, ops[i].count, again[i].count, ops[i].text, again[i].text);
		ok = false;
	}
	return ok;
}

static struct state_op ops_a[STATE_OPS_MAX + 1], ops_b[STATE_OPS_MAX + 1];

static void table(void)
{
	struct state_sqlite *db = NULL;

	CHECK(state_sqlite_open(":memory:", &db) == 0);
	for (size_t i = 0; db && i < sizeof(rows) / sizeof(*rows); i++) {
		size_t n = 0;

		now = rows[i].now_s;
		for (const struct row_op *o = rows[i].op; n < 5 && o->space; o++, n++) {
			op_set(&ops_a[n], o->verb, o->space, o->key, o->ttl_s);
			ops_a[n].add = o->add;
			snprintf(ops_a[n].text, sizeof(ops_a[n].text), "%s", o->text ? o->text : "");
			ops_b[n] = ops_a[n];
		}
		CHECK(both(db, ops_a, ops_b, n, rows[i].name));
	}
	state_sqlite_close(db);
}

static void test_table(void **unused)
{
	flush();
	conf_set(redis_port(server), "test:", NULL);
	with_engine(table, fake_now);
}

/* Requests by chance, over few keys; lives far longer than the test, so that Redis' real expiry plays no part. */
static void by_chance(void)
{
	struct state_sqlite *db = NULL;
	unsigned seed = 7;

	CHECK(state_sqlite_open(":memory:", &db) == 0);
	now = 1000000;
	for (int i = 0; db && i < 3000 && failures == 0; i++) {
		size_t n = 1 + (size_t)rand_r(&seed) % STATE_OPS_MAX;

		now += rand_r(&seed) % 8 ? rand_r(&seed) % 400 : -(rand_r(&seed) % 2000);     /* set back now and then */
		for (size_t k = 0; k < n; k++) {
			char key[8];

			snprintf(key, sizeof(key), "k%d", rand_r(&seed) % 6);
			op_set(&ops_a[k], (enum state_verb)(rand_r(&seed) % 5), rand_r(&seed) % 2 ? "s" : "t", key,
			       1000 + rand_r(&seed) % 5000);
			ops_a[k].add = rand_r(&seed) % 100 - 30;
			snprintf(ops_a[k].text, sizeof(ops_a[k].text), "text %d", rand_r(&seed) % 50);
			ops_b[k] = ops_a[k];
		}
		CHECK(both(db, ops_a, ops_b, n, "by chance"));
	}
	state_sqlite_close(db);
}

static void test_by_chance(void **unused)
{
	flush();
	conf_set(redis_port(server), "test:", NULL);
	with_engine(by_chance, fake_now);
}

static void bad(void)
{
	struct state_op *op = ops_a;

	CHECK(state_run(state(), op, 0) == -EINVAL);
	CHECK(state_run(state(), op, STATE_OPS_MAX + 1) == -EINVAL);
	op_set(&op[0], STATE_TOUCH, "s", "k", 10);
	op_set(&op[1], (enum state_verb)17, "s", "k", 10);
	CHECK(state_run(state(), op, 2) == -EINVAL);
	op_set(&op[1], STATE_TOUCH, "", "k", 10);
	CHECK(state_run(state(), op, 2) == -EINVAL);
	op_set(&op[1], STATE_TOUCH, "a:b", "k", 10);
	CHECK(state_run(state(), op, 2) == -EINVAL);
	op_set(&op[1], STATE_DELETE, "*", "", 10);
	CHECK(state_run(state(), op + 1, 1) == -EINVAL);
	op_set(&op[1], STATE_DELETE, "s", "", 10);
	CHECK(state_run(state(), op, 2) == -EINVAL);
	op_set(&op[1], STATE_TOUCH, "s", "k", 10);
	memset(op[1].key, 'x', sizeof(op[1].key));
	CHECK(state_run(state(), op, 2) == -EINVAL);
	CHECK(one(STATE_GET, "k", &op[0]) == 0 && !op[0].found); /* all or none */
	/* The longest of everything. */
	op_set(&op[0], STATE_PUT, "fifteen-letters", "", 10);
	memset(op[0].key, 'x', sizeof(op[0].key) - 1);
	memset(op[0].text, 'y', sizeof(op[0].text) - 1);
	CHECK(state_run(state(), op, 1) == 0);
	op[0].verb = STATE_GET;
	CHECK(state_run(state(), op, 1) == 0 && op[0].found && strlen(op[0].text) == STATE_TEXT_MAX - 1);
}

static void test_bad_operations(void **unused)
{
	flush();
	conf_set(redis_port(server), "0123456789012345678901234567890123456789012345678901234567890123", NULL);
	with_engine(bad, NULL);
}

/* Answers that are not the script's: what Lua makes of them. */
static void test_bad_answers(void **unused)
{
	static const char *const answers[] = {
		"return 1", "return 'x'", "return {}", "return {1}", "return {{}}", "return {{1,'1','1','1'}}",
		"return {{1,'1','1','1',''},{1,'1','1','1',''}}", "return {{'1','1','1','1',''}}", "return {{1,1,'1','1',''}}",
		"return {{1,'1','1','1',1}}", "return {{1,'1','1',false,''}}", "return {{1,'1','1','1','a\\0b'}}",
		"return {{1,'1','1','1',string.rep('x',400)}}", "return {{1,'1','1','1','','more'}}", "return false",
	};
	redisContext *c = redisConnect("127.0.0.1", redis_port(server));
	struct state_op op;
	redisReply *r;

	op_set(&op, STATE_GET, "s", "k", 1);
	for (size_t i = 0; i < sizeof(answers) / sizeof(*answers); i++) {
		r = redisCommand(c, "EVAL %s 0", answers[i]);
		assert_non_null(r);
		if (state_redis_answer(r, &op, 1) != -EBADMSG)
			fail_msg("taken for an answer: %s", answers[i]);
		assert_int_equal(op.found, 0);
		freeReplyObject(r);
	}
	r = redisCommand(c, "EVAL %s 0", "return {{1,'2','3','4',string.rep('x',399)}}");
	assert_int_equal(state_redis_answer(r, &op, 1), 0);
	assert_int_equal(op.first_s, 2);
	assert_int_equal(op.last_s, 3);
	assert_int_equal(op.count, 4);
	freeReplyObject(r);
	redisFree(c);
}

/* Whole spaces */

static void many(void)
{
	struct state_op *ops = ops_a;

	for (int i = 0; i < 4000; i += 16) {
		for (int k = 0; k < 16; k++) {
			char key[32];

			snprintf(key, sizeof(key), "key %d", i + k);
			op_set(&ops[k], STATE_TOUCH, "rcpt", key, 1000);
		}
		CHECK(state_run(state(), ops, 16) == 0);
	}
	CHECK(one(STATE_TOUCH, "other", &ops[0]) == 0);
	op_set(&ops[0], STATE_DELETE, "rcpt", "", 0);
	CHECK(state_run(state(), ops, 1) == 0);
	CHECK(ops[0].found && ops[0].count == 4000);
	CHECK(state_run(state(), ops, 1) == 0);
	CHECK(!ops[0].found && ops[0].count == 0);
	CHECK(one(STATE_GET, "other", &ops[0]) == 0 && ops[0].found);
}

static void test_whole_space(void **unused)
{
	redisContext *c = redisConnect("127.0.0.1", redis_port(server));
	redisReply *r;

	flush();
	freeReplyObject(redisCommand(c, "SET elsewhere:rcpt:x 1"));
	freeReplyObject(redisCommand(c, "SET rcpt:x 1"));
	conf_set(redis_port(server), "test:", NULL);
	with_engine(many, NULL);
	r = redisCommand(c, "DBSIZE");
	assert_int_equal(r->integer, 3);        /* of others, and of another space */
	freeReplyObject(r);
	redisFree(c);
}

/* Redis' own time and expiry */

static void expiry(void)
{
	int64_t end_ms = clock_ms() + PATIENCE_MS, here_s = clock_wall_s();
	struct state_op op;

	op_set(&op, STATE_PUT, "s", "short", 1);
	CHECK(state_run(state(), &op, 1) == 0);
	op_set(&op, STATE_PUT, "s", "long", 1000);
	CHECK(state_run(state(), &op, 1) == 0);
	do {
		task_sleep(20);
		CHECK(one(STATE_GET, "short", &op) == 0);
	} while (op.found && clock_ms() < end_ms);
	CHECK(!op.found);
	CHECK(one(STATE_GET, "long", &op) == 0 && op.found);
	CHECK(op.first_s >= here_s - 2 && op.first_s <= clock_wall_s() + 2);
}

static void test_expiry(void **unused)
{
	redisContext *c = redisConnect("127.0.0.1", redis_port(server));
	redisReply *r;
	int64_t keys = 2;

	flush();
	conf_set(redis_port(server), "test:", NULL);
	with_engine(expiry, NULL);
	for (int64_t end_ms = clock_ms() + PATIENCE_MS; keys != 1 && clock_ms() < end_ms;) {
		r = redisCommand(c, "DBSIZE");  /* it goes by itself, within a second of its end */
		keys = r->integer;
		freeReplyObject(r);
	}
	assert_int_equal(keys, 1);
	r = redisCommand(c, "TTL test:s:long");
	assert_in_range(r->integer, 900, 1000);
	freeReplyObject(r);
	redisFree(c);
}

static void flushed(void)
{
	redisContext *c = redisConnect("127.0.0.1", redis_port(server));
	struct state_op op;

	CHECK(one(STATE_COUNT, "k", &op) == 0);
	freeReplyObject(redisCommand(c, "SCRIPT FLUSH"));
	CHECK(one(STATE_COUNT, "k", &op) == 0 && op.count == 1);
	CHECK(one(STATE_COUNT, "k", &op) == 0 && op.count == 2);
	/* Somebody else's key where a record should be: an error, not a loss of the connection. */
	freeReplyObject(redisCommand(c, "SET test:s:taken 1"));
	CHECK(one(STATE_TOUCH, "taken", &op) == -EIO);
	CHECK(one(STATE_COUNT, "k", &op) == 0 && op.count == 3);
	redisFree(c);
}

static void test_script_flushed(void **unused)
{
	flush();
	conf_set(redis_port(server), "test:", NULL);
	with_engine(flushed, NULL);
}

/* Many at once, from two gateways */

enum { TASKS = 50, ROUNDS = 40 };

static int running;

static void counting(void *arg)
{
	struct state_op op;

	for (int i = 0; i < ROUNDS; i++) {
		op_set(&op, STATE_COUNT, "s", "shared", 1000);
		op.add = 1;
		CHECK(state_run(state_redis_state(arg), &op, 1) == 0);
	}
	running--;
}

static void crowd(void)
{
	struct state_redis *other = state_redis_new(&conf, NULL);
	struct state_op op;

	CHECK(state_redis_start(other) == 0);
	running = 2 * TASKS;
	for (int i = 0; i < TASKS; i++) {
		CHECK(task_spawn("count", counting, engine, NULL) == 0);
		CHECK(task_spawn("count", counting, other, NULL) == 0);
	}
	while (running > 0)
		task_sleep(5);
	CHECK(one(STATE_GET, "shared", &op) == 0 && op.count == 2 * TASKS * ROUNDS);
	state_redis_free(other);
}

static void test_crowd(void **unused)
{
	flush();
	conf_set(redis_port(server), "test:", NULL);
	with_engine(crowd, NULL);
}

/* Away */

static bool comes_back(void)
{
	int64_t end_ms = clock_ms() + PATIENCE_MS;
	struct state_op op;

	while (one(STATE_COUNT, "k", &op) != 0 && clock_ms() < end_ms)
		task_sleep(20);
	return clock_ms() < end_ms;
}

static void restart(void)
{
	unsigned short port = redis_port(server);
	struct state_op op;

	CHECK(one(STATE_COUNT, "k", &op) == 0);
	redis_stop(server);
	CHECK(one(STATE_COUNT, "k", &op) == -ENOTCONN);         /* at once: else it were -ETIMEDOUT */
	op_set(&op, STATE_DELETE, "s", "", 0);
	CHECK(state_run(state(), &op, 1) == -ENOTCONN);
	server = redis_start(port, NULL);
	CHECK(comes_back());
	/* Gone and there again before anybody asks: nobody sees it. */
	task_sleep(1100);
	redis_stop(server);
	server = redis_start(port, NULL);
	CHECK(one(STATE_COUNT, "k", &op) == 0);
	CHECK(!op.found);
}

static void test_restart(void **unused)
{
	flush();
	conf_set(redis_port(server), "test:", NULL);
	with_engine(restart, NULL);
}

static int timed_out, not_there;

static void frozen_one(void *arg)
{
	struct state_op op;
	int rc = one(STATE_COUNT, "frozen", &op);

	timed_out += rc == -ETIMEDOUT;
	not_there += rc == -ENOTCONN;
	running--;
}

static void frozen(void)
{
	struct state_op op;
	int64_t begin_ms;

	CHECK(one(STATE_COUNT, "k", &op) == 0);
	redis_freeze(server);
	begin_ms = clock_ms();
	running = TASKS;
	timed_out = not_there = 0;
	for (int i = 0; i < TASKS; i++)
		CHECK(task_spawn("frozen", frozen_one, NULL, NULL) == 0);
	while (running > 0)
		task_sleep(5);
	CHECK(timed_out > 0 && timed_out + not_there == TASKS);
	CHECK(clock_ms() - begin_ms >= TIMEOUT_MS && clock_ms() - begin_ms < TASKS * TIMEOUT_MS);
	CHECK(one(STATE_COUNT, "k", &op) == -ENOTCONN);         /* at once, from now on: else it were -ETIMEDOUT */
	task_sleep(TIMEOUT_MS + 500);                           /* it takes the connection, and is silent */
	CHECK(one(STATE_COUNT, "k", &op) == -ENOTCONN);
	redis_thaw(server);
	CHECK(comes_back());
}

static void test_frozen(void **unused)
{
	flush();
	conf_set(redis_port(server), "test:", NULL);
	with_engine(frozen, NULL);
	redis_thaw(server);
}

static void refused(void)
{
	struct state_op op;

	CHECK(one(STATE_GET, "k", &op) == -ENOTCONN);
}

static void accepted(void)
{
	struct state_op op;

	CHECK(one(STATE_COUNT, "k", &op) == 0);
}

static void test_password(void **unused)
{
	struct redis *closed = redis_start(0, "open sesame");

	conf_set(redis_port(closed), "test:", NULL);
	with_engine(refused, NULL);
	conf_set(redis_port(closed), "test:", (char *)"wrong");
	with_engine(refused, NULL);
	conf_set(redis_port(closed), "test:", (char *)"open sesame");
	with_engine(accepted, NULL);
	redis_stop(closed);
}

static unsigned short later_port;

static void later(void)
{
	struct state_op op;
	struct redis *r;

	CHECK(one(STATE_GET, "k", &op) == -ENOTCONN);
	r = redis_start(later_port, NULL);
	CHECK(comes_back());
	redis_stop(r);
}

/* Not there at the start; there later. */
static void test_later(void **unused)
{
	struct redis *r = redis_start(0, NULL);

	later_port = redis_port(r);
	redis_stop(r);
	conf_set(later_port, "test:", NULL);
	with_engine(later, NULL);
}

static void cancelled_one(void *arg)
{
	struct state_op op;

	CHECK(one(STATE_COUNT, "k", &op) == -ECANCELED);
}

static void cancelled(void)
{
	struct state_op op;

	CHECK(one(STATE_COUNT, "k", &op) == 0);
	redis_freeze(server);
	for (int i = 0; i < 5; i++)
		CHECK(task_spawn("cancelled", cancelled_one, NULL, NULL) == 0);
	task_yield();
}

/* The loop ends while requests are under way, and while a connection is waited for. */
static void test_cancelled(void **unused)
{
	conf_set(redis_port(server), "test:", NULL);
	with_engine(cancelled, NULL);
	redis_thaw(server);
}

static int server_start(void **unused)
{
	server = redis_start(0, NULL);
	return 0;
}

static int server_stop(void **unused)
{
	redis_stop(server);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_by_chance),
		cmocka_unit_test(test_bad_operations),
		cmocka_unit_test(test_bad_answers),
		cmocka_unit_test(test_whole_space),
		cmocka_unit_test(test_expiry),
		cmocka_unit_test(test_script_flushed),
		cmocka_unit_test(test_crowd),
		cmocka_unit_test(test_restart),
		cmocka_unit_test(test_frozen),
		cmocka_unit_test(test_password),
		cmocka_unit_test(test_later),
		cmocka_unit_test(test_cancelled),
	};

	return cmocka_run_group_tests(tests, server_start, server_stop);
}
