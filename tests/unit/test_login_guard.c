/* Logins told as stories, on SQLite in memory with a clock of ours and on a real Redis with the same clock. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/task.h"
#include "policy/login_guard.h"
#include "policy/state_redis.h"
#include "policy/state_sqlite.h"
#include "tests/support/redis.h"

static const struct login_guard_conf conf = { .slow_after = 2, .slow_ms = 1000, .refuse_after = 5, .refuse_s = 600, .forget_s = 60 };
static const struct login_guard_conf patient = { .slow_after = 0, .slow_ms = 1000, .refuse_after = 0, .refuse_s = 600, .forget_s = 60 };
static const struct login_guard_conf slow = { .slow_after = 1, .slow_ms = 20000, .refuse_after = 0, .refuse_s = 600, .forget_s = 60 };

enum what { ASK, FAIL, PASS };

struct step {
	int64_t at;
	enum what what;
	const char *ip;
	enum login_answer want;         /* of ASK, as is the delay; else the count after it */
	int number;
};

struct story {
	const char *name;
	const struct login_guard_conf *conf;
	struct step step[20];
};

static const struct story stories[] = {
	{ "slowed more and more, then refused, then free", &conf, {
		{ 0, ASK, "192.0.2.1", LOGIN_FREE, 0 }, { 0, FAIL, "192.0.2.1", 0, 1 },
		{ 1, ASK, "192.0.2.1", LOGIN_FREE, 0 }, { 1, FAIL, "192.0.2.1", 0, 2 },
		{ 2, ASK, "192.0.2.1", LOGIN_SLOW, 1000 }, { 2, FAIL, "192.0.2.1", 0, 3 },
		{ 3, ASK, "192.0.2.1", LOGIN_SLOW, 2000 }, { 3, FAIL, "192.0.2.1", 0, 4 },
		{ 4, ASK, "192.0.2.1", LOGIN_SLOW, 3000 }, { 4, FAIL, "192.0.2.1", 0, 5 },
		{ 5, ASK, "192.0.2.1", LOGIN_REFUSED, 0 },
		{ 600, ASK, "192.0.2.1", LOGIN_REFUSED, 0 },
		{ 605, ASK, "192.0.2.1", LOGIN_FREE, 0 }, { 605, FAIL, "192.0.2.1", 0, 1 } } },
	{ "one more in flight when the door closes", &conf, {
		{ 0, FAIL, "192.0.2.1", 0, 1 }, { 0, FAIL, "192.0.2.1", 0, 2 }, { 0, FAIL, "192.0.2.1", 0, 3 }, { 0, FAIL, "192.0.2.1", 0, 4 },
		{ 0, FAIL, "192.0.2.1", 0, 5 }, { 300, FAIL, "192.0.2.1", 0, 6 }, { 700, ASK, "192.0.2.1", LOGIN_REFUSED, 0 },
		{ 901, ASK, "192.0.2.1", LOGIN_FREE, 0 } } },
	{ "success clears", &conf, {
		{ 0, FAIL, "192.0.2.1", 0, 1 }, { 0, FAIL, "192.0.2.1", 0, 2 }, { 1, ASK, "192.0.2.1", LOGIN_SLOW, 1000 },
		{ 1, PASS, "192.0.2.1", 0, 0 }, { 2, ASK, "192.0.2.1", LOGIN_FREE, 0 }, { 2, FAIL, "192.0.2.1", 0, 1 } } },
	{ "old failures are forgotten", &conf, {
		{ 0, FAIL, "192.0.2.1", 0, 1 }, { 59, FAIL, "192.0.2.1", 0, 2 }, { 118, FAIL, "192.0.2.1", 0, 3 },
		{ 179, ASK, "192.0.2.1", LOGIN_FREE, 0 }, { 179, FAIL, "192.0.2.1", 0, 1 } } },
	{ "a neighbour is another client, the same /64 is not", &conf, {
		{ 0, FAIL, "192.0.2.1", 0, 1 }, { 0, FAIL, "192.0.2.1", 0, 2 }, { 0, ASK, "192.0.2.2", LOGIN_FREE, 0 },
		{ 0, FAIL, "2001:db8::1", 0, 1 }, { 0, FAIL, "2001:db8::ffff:1", 0, 2 }, { 0, ASK, "2001:db8::2", LOGIN_SLOW, 1000 },
		{ 0, ASK, "2001:db8:0:1::2", LOGIN_FREE, 0 } } },
	{ "never slowed, never refused", &patient, {
		{ 0, FAIL, "192.0.2.1", 0, 1 }, { 0, FAIL, "192.0.2.1", 0, 2 }, { 0, FAIL, "192.0.2.1", 0, 3 }, { 0, FAIL, "192.0.2.1", 0, 4 },
		{ 0, FAIL, "192.0.2.1", 0, 5 }, { 0, FAIL, "192.0.2.1", 0, 6 }, { 0, ASK, "192.0.2.1", LOGIN_FREE, 0 } } },
	{ "slowed within bounds", &slow, {
		{ 0, FAIL, "192.0.2.1", 0, 1 }, { 0, ASK, "192.0.2.1", LOGIN_SLOW, 20000 }, { 0, FAIL, "192.0.2.1", 0, 2 },
		{ 0, ASK, "192.0.2.1", LOGIN_SLOW, 30000 } } },
};

static int64_t now;
static int wrong;

static int64_t fake_now(void)
{
	return now;
}

/* In a task nothing may jump out, as cmocka's assertions do. */
static void play(struct state *state, const struct story *story, int64_t begin)
{
	for (size_t i = 0; i < sizeof(story->step) / sizeof(story->step[0]) && story->step[i].ip; i++) {
		const struct step *s = &story->step[i];
		struct net_addr client;
		struct login_guard_query q = { .client = &client, .failures = 1 };
		enum login_answer got = s->want;
		int number;

		net_parse(s->ip, &client);
		now = begin + s->at;
		if (s->what == ASK)
			got = login_guard_ask(state, story->conf, &q);
		else if (s->what == FAIL)
			login_guard_failed(state, story->conf, &q);
		else
			login_guard_passed(state, story->conf, &q);
		number = s->what == ASK ? q.delay_ms : q.failures;
		if (got != s->want || number != s->number) {
			print_error("%s: step %zu: %d, %d\n", story->name, i, (int)got, number);
			wrong++;
		}
	}
}

static void test_sqlite(void **unused)
{
	for (size_t i = 0; i < sizeof(stories) / sizeof(stories[0]); i++) {
		struct state_sqlite *db;
		struct state_local local;

		assert_int_equal(state_sqlite_open(":memory:", &db), 0);
		state_local_init(&local, db, fake_now);
		play(&local.state, &stories[i], 1000000);
		state_sqlite_close(db);
	}
	assert_int_equal(wrong, 0);
}

static struct state_redis *engine;

static void redis_task(void *arg)
{
	for (size_t i = 0; i < sizeof(stories) / sizeof(stories[0]); i++) {
		struct state_op op = { .verb = STATE_DELETE, .space = "login" };

		if (state_run(state_redis_state(engine), &op, 1) < 0)
			wrong++;
		play(state_redis_state(engine), &stories[i], 1000000);
	}
	loop_stop();
}

static void test_redis(void **unused)
{
	struct redis *server = redis_start(0, NULL);
	struct state_redis_conf redis = { .prefix = (char *)"gp:", .timeout_ms = 2000 };

	net_parse("127.0.0.1", &redis.address);
	redis.address.port = redis_port(server);
	assert_int_equal(loop_init(), 0);
	engine = state_redis_new(&redis, fake_now);
	assert_non_null(engine);
	assert_int_equal(state_redis_start(engine), 0);
	assert_int_equal(task_spawn("test", redis_task, NULL, NULL), 0);
	loop_run();
	loop_unwind();
	state_redis_free(engine);
	loop_release();
	redis_stop(server);
	assert_int_equal(wrong, 0);
}

static int away_run(struct state *s, struct state_op *ops, size_t count)
{
	return -EPIPE;
}

/* Nobody is locked out by a state that is away, or that is not there. */
static void test_away(void **unused)
{
	struct state away = { .run = away_run }, *states[] = { &away, NULL };
	struct net_addr client;
	struct login_guard_query q = { .client = &client };

	net_parse("192.0.2.1", &client);
	for (size_t k = 0; k < 2; k++)
		for (int i = 0; i < 10; i++) {
			assert_int_equal(login_guard_ask(states[k], &conf, &q), LOGIN_FREE);
			login_guard_failed(states[k], &conf, &q);
			login_guard_passed(states[k], &conf, &q);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sqlite),
		cmocka_unit_test(test_redis),
		cmocka_unit_test(test_away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
