/*
 * Logins told as stories, with a clock of ours: on SQLite in memory, without and with the table that workers share, and on a real Redis. Whatever the
 * table spares, the answers are the same.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/task.h"
#include "policy/login_account.h"
#include "policy/login_guard.h"
#include "policy/state.h"
#include "policy/state_redis.h"
#include "policy/state_sqlite.h"
#include "tests/support/redis.h"

enum { DAY = 86400 };

static struct net_prefix exempt[2];
static char *exempt_users[] = { (char *)"ACME\\Scanner" };

static const struct login_guard_conf conf = {
	.slow_after = 2, .slow_ms = 1000, .refuse_after = 5, .refuse_s = 600, .account_slow_after = 4, .account_refuse_after = 8, .forget_s = 60,
	.trust_s = 30 * DAY, .exempt = exempt, .exempt_count = 2, .exempt_users = exempt_users, .exempt_user_count = 1,
};
static const struct login_guard_conf patient = { .slow_after = 0, .slow_ms = 1000, .refuse_s = 600, .forget_s = 60, .trust_s = DAY };
static const struct login_guard_conf slow = { .slow_after = 1, .slow_ms = 20000, .refuse_s = 600, .forget_s = 60, .trust_s = DAY };
static const struct login_guard_conf trustless = { .slow_after = 2, .slow_ms = 1000, .refuse_after = 5, .refuse_s = 600, .forget_s = 60 };

/* FAIL_n: so many times. */
enum what { ASK, FAIL, FAIL_3, FAIL_4, FAIL_10, PASS };

struct step {
	int64_t at;
	enum what what;
	const char *ip, *user;
	enum login_answer want;         /* of ASK, as is the delay; else the network's failures after it, and the account's */
	int number, of_account;
};

struct story {
	const char *name;
	const struct login_guard_conf *conf;
	struct step step[24];
};

#define A "192.0.2.1"
#define B "192.0.2.2"
#define C "198.51.100.3"

static const struct story stories[] = {
	{ "slowed more and more, then refused, then free", &conf, {
		{ 0, ASK, A, "ann", LOGIN_FREE, 0, 0 }, { 0, FAIL, A, "ann", 0, 1, 1 },
		{ 1, ASK, A, "bob", LOGIN_FREE, 0, 0 }, { 1, FAIL, A, "bob", 0, 2, 1 },
		{ 2, ASK, A, "carl", LOGIN_SLOW, 1000, 0 }, { 2, FAIL, A, "carl", 0, 3, 1 },
		{ 3, ASK, A, "", LOGIN_SLOW, 2000, 0 }, { 3, FAIL, A, "", 0, 4, 0 },
		{ 4, ASK, A, "ann", LOGIN_SLOW, 3000, 0 }, { 4, FAIL, A, "ann", 0, 5, 2 },
		{ 5, ASK, A, "ann", LOGIN_REFUSED, 0, 0 }, { 5, ASK, A, "", LOGIN_REFUSED, 0, 0 }, { 5, ASK, A, "new", LOGIN_REFUSED, 0, 0 },
		{ 600, ASK, A, "ann", LOGIN_REFUSED, 0, 0 },
		{ 605, ASK, A, "ann", LOGIN_FREE, 0, 0 }, { 605, FAIL, A, "ann", 0, 1, 1 } } },
	{ "one more in flight when the door closes", &conf, {
		{ 0, FAIL_4, A, "ann", 0, 4, 4 }, { 0, FAIL, A, "bob", 0, 5, 1 }, { 300, FAIL, A, "bob", 0, 6, 1 },
		{ 700, ASK, A, "eve", LOGIN_REFUSED, 0, 0 }, { 901, ASK, A, "eve", LOGIN_FREE, 0, 0 } } },
	{ "old failures are forgotten", &conf, {
		{ 0, FAIL, A, "ann", 0, 1, 1 }, { 59, FAIL, A, "ann", 0, 2, 2 }, { 118, FAIL, A, "ann", 0, 3, 3 },
		{ 179, ASK, A, "ann", LOGIN_FREE, 0, 0 }, { 179, FAIL, A, "ann", 0, 1, 1 } } },
	{ "a success takes out what is its own", &conf, {
		{ 0, FAIL, A, "ann", 0, 1, 1 }, { 0, FAIL, A, "bob", 0, 2, 1 }, { 0, FAIL, A, "ann", 0, 3, 2 }, { 0, FAIL, B, "ann", 0, 1, 3 },
		{ 1, ASK, A, "ann", LOGIN_SLOW, 2000, 0 }, { 1, PASS, A, "ann", 0, 3, 3 },
		{ 2, ASK, A, "bob", LOGIN_FREE, 0, 0 }, { 2, FAIL, A, "bob", 0, 2, 2 }, { 2, FAIL, B, "ann", 0, 2, 2 } } },
	{ "his own account clears no attacker's network", &conf, {
		{ 0, PASS, A, "mallory", 0, 0, 0 }, { 0, FAIL_4, A, "ann", 0, 4, 4 }, { 1, PASS, A, "mallory", 0, 4, 0 }, { 2, PASS, A, "mallory", 0, 4, 0 },
		{ 3, ASK, A, "bob", LOGIN_SLOW, 3000, 0 }, { 3, FAIL, A, "bob", 0, 5, 1 }, { 3, PASS, A, "mallory", 0, 5, 0 },
		{ 4, ASK, A, "ann", LOGIN_REFUSED, 0, 0 } } },
	{ "nor with failures of his own, before a success or after", &conf, {
		{ 0, FAIL, A, "mallory", 0, 1, 1 }, { 0, FAIL_3, A, "ann", 0, 4, 3 }, { 0, PASS, A, "mallory", 0, 4, 1 }, { 0, PASS, A, "mallory", 0, 3, 0 },
		{ 1, FAIL_4, A, "mallory", 0, 4, 0 }, { 1, PASS, A, "mallory", 0, 4, 0 }, { 1, ASK, A, "bob", LOGIN_SLOW, 2000, 0 },
		{ 1, FAIL, A, "bob", 0, 4, 1 } } },
	{ "an account is locked for strangers", &conf, {
		{ 0, PASS, C, "ann", 0, 0, 0 }, { 0, FAIL_4, A, "ann", 0, 4, 4 }, { 0, ASK, "192.0.2.9", "ann", LOGIN_SLOW, 1000, 0 },
		{ 0, FAIL_4, B, "ann", 0, 4, 8 }, { 1, ASK, "192.0.2.9", "ann", LOGIN_REFUSED, 0, 0 }, { 1, ASK, "192.0.2.9", "bob", LOGIN_FREE, 0, 0 },
		{ 1, ASK, "192.0.2.9", "ANN", LOGIN_REFUSED, 0, 0 }, { 1, ASK, "192.0.2.9", "ACME\\ann", LOGIN_REFUSED, 0, 0 },
		{ 1, ASK, "192.0.2.9", "Ann@example.com", LOGIN_REFUSED, 0, 0 }, { 1, ASK, "192.0.2.9", "ann@example.org", LOGIN_FREE, 0, 0 },
		{ 1, ASK, C, "ann", LOGIN_SLOW, 1000, 0 }, { 1, ASK, C, "ACME\\Ann", LOGIN_SLOW, 1000, 0 }, { 2, PASS, C, "ann", 0, 0, 8 },
		{ 3, ASK, "192.0.2.9", "ann", LOGIN_REFUSED, 0, 0 }, { 600, ASK, "192.0.2.9", "ann", LOGIN_FREE, 0, 0 } } },
	{ "a network that is locked is not, for who has succeeded there", &conf, {
		{ 0, PASS, A, "ann", 0, 0, 0 }, { 0, FAIL_10, A, "eve", 0, 10, 10 }, { 1, ASK, A, "bob", LOGIN_REFUSED, 0, 0 },
		{ 1, ASK, A, "ann", LOGIN_SLOW, 1000, 0 }, { 1, PASS, A, "ann", 0, 10, 0 }, { 1, ASK, A, "", LOGIN_REFUSED, 0, 0 },
		{ 2, ASK, B, "ann", LOGIN_FREE, 0, 0 } } },
	{ "an old password at home counts for nobody else", &conf, {
		{ 0, PASS, A, "ann", 0, 0, 0 }, { 0, FAIL_10, A, "ann", 0, 10, 0 }, { 0, ASK, A, "bob", LOGIN_FREE, 0, 0 }, { 0, ASK, B, "ann", LOGIN_FREE, 0, 0 },
		{ 0, ASK, A, "ann", LOGIN_SLOW, 9000, 0 }, { 0, FAIL_10, A, "ann", 0, 20, 0 }, { 0, FAIL_10, A, "ann", 0, 30, 0 }, { 0, FAIL_10, A, "ann", 0, 40, 0 },
		{ 1, ASK, A, "ann", LOGIN_SLOW, 30000, 0 }, { 1, PASS, A, "ann", 0, 40, 0 }, { 2, ASK, A, "ann", LOGIN_FREE, 0, 0 } } },
	{ "known for a while, again with each success", &conf, {
		{ 0, PASS, A, "ann", 0, 0, 0 }, { 20 * DAY, PASS, A, "ann", 0, 0, 0 }, { 45 * DAY, FAIL_10, B, "ann", 0, 10, 10 },
		{ 45 * DAY, ASK, A, "ann", LOGIN_SLOW, 1000, 0 }, { 51 * DAY, FAIL_10, B, "ann", 0, 10, 10 }, { 51 * DAY, ASK, A, "ann", LOGIN_REFUSED, 0, 0 } } },
	{ "without trust nobody is known", &trustless, {
		{ 0, PASS, A, "ann", 0, 0, 0 }, { 0, FAIL_4, A, "ann", 0, 4, 4 }, { 0, ASK, A, "ann", LOGIN_SLOW, 3000, 0 }, { 0, PASS, A, "ann", 0, 4, 4 },
		{ 0, ASK, A, "ann", LOGIN_FREE, 0, 0 }, { 0, FAIL_10, A, "ann", 0, 10, 10 }, { 0, ASK, A, "ann", LOGIN_REFUSED, 0, 0 } } },
	{ "a neighbour is another client, the same /64 is not", &conf, {
		{ 0, FAIL, A, "a", 0, 1, 1 }, { 0, FAIL, A, "b", 0, 2, 1 }, { 0, ASK, B, "a", LOGIN_FREE, 0, 0 },
		{ 0, FAIL, "2001:db8::1", "c", 0, 1, 1 }, { 0, FAIL, "2001:db8::ffff:1", "d", 0, 2, 1 }, { 0, ASK, "2001:db8::2", "e", LOGIN_SLOW, 1000, 0 },
		{ 0, ASK, "2001:db8:0:1::2", "e", LOGIN_FREE, 0, 0 } } },
	{ "a /56 whose /64s take turns", &conf, {
		{ 0, FAIL_4, "2001:db8:0:1::1", "", 0, 4, 0 }, { 0, FAIL_4, "2001:db8:0:2::1", "", 0, 4, 0 }, { 0, ASK, "2001:db8:0:9::1", "", LOGIN_SLOW, 1000, 0 },
		{ 0, FAIL_4, "2001:db8:0:3::1", "", 0, 4, 0 }, { 0, FAIL_4, "2001:db8:0:4::1", "", 0, 4, 0 }, { 0, FAIL_4, "2001:db8:0:5::1", "", 0, 5, 0 },
		{ 1, ASK, "2001:db8:0:9::1", "", LOGIN_REFUSED, 0, 0 }, { 1, ASK, "2001:db8:0:109::1", "", LOGIN_FREE, 0, 0 }, { 599, ASK, "2001:db8:0:9::1", "", LOGIN_REFUSED, 0, 0 },
		{ 600, ASK, "2001:db8:0:9::1", "", LOGIN_FREE, 0, 0 } } },
	{ "a /48 whose /56s take turns", &conf, {
		{ 0, FAIL_10, "2001:db8:0:100::1", "", 0, 10, 0 }, { 0, FAIL_10, "2001:db8:0:200::1", "", 0, 10, 0 }, { 0, FAIL_10, "2001:db8:0:300::1", "", 0, 10, 0 },
		{ 0, FAIL_10, "2001:db8:0:400::1", "", 0, 10, 0 }, { 0, FAIL_10, "2001:db8:0:500::1", "", 0, 10, 0 }, { 0, FAIL_10, "2001:db8:0:600::1", "", 0, 10, 0 },
		{ 0, FAIL_10, "2001:db8:0:700::1", "", 0, 10, 0 }, { 0, ASK, "2001:db8:0:fff::1", "", LOGIN_SLOW, 3000, 0 },
		{ 0, FAIL_10, "2001:db8:0:800::1", "", 0, 10, 0 }, { 0, ASK, "2001:db8:0:fff::1", "", LOGIN_REFUSED, 0, 0 },
		{ 0, ASK, "2001:db8:1:fff::1", "", LOGIN_FREE, 0, 0 } } },
	{ "by 6to4, NAT64 and as himself", &conf, {
		{ 0, FAIL, A, "a", 0, 1, 1 }, { 0, FAIL, "64:ff9b::192.0.2.1", "b", 0, 2, 1 }, { 0, FAIL, "2002:c000:0201::1", "c", 0, 3, 1 } } },
	{ "never slowed, never refused", &patient, {
		{ 0, FAIL_10, A, "ann", 0, 10, 10 }, { 0, FAIL_10, A, "ann", 0, 20, 20 }, { 0, ASK, A, "ann", LOGIN_FREE, 0, 0 } } },
	{ "slowed within bounds", &slow, {
		{ 0, FAIL, A, "ann", 0, 1, 1 }, { 0, ASK, A, "ann", LOGIN_SLOW, 20000, 0 }, { 0, FAIL, A, "ann", 0, 2, 2 }, { 0, ASK, A, "ann", LOGIN_SLOW, 30000, 0 } } },
	{ "networks on the list", &conf, {
		{ 0, FAIL_10, "10.1.2.3", "ann", 0, 0, 0 }, { 0, ASK, "10.1.2.3", "ann", LOGIN_FREE, 0, 0 }, { 0, ASK, A, "ann", LOGIN_FREE, 0, 0 },
		{ 0, FAIL_10, A, "ann", 0, 10, 10 }, { 0, ASK, "2001:db8:77::1", "ann", LOGIN_FREE, 0, 0 }, { 0, ASK, B, "ann", LOGIN_REFUSED, 0, 0 } } },
	{ "users on the list", &conf, {
		{ 0, FAIL_10, A, "scanner", 0, 10, 0 }, { 0, ASK, B, "Scanner@Example.com", LOGIN_FREE, 0, 0 }, { 0, ASK, A, "scanner", LOGIN_REFUSED, 0, 0 },
		{ 0, FAIL_10, A, "scanners", 0, 20, 10 }, { 0, ASK, B, "scanners", LOGIN_REFUSED, 0, 0 } } },
	{ "what was clean is not after a failure, nor what was not after it is forgotten", &conf, {
		{ 0, PASS, A, "ann", 0, 0, 0 }, { 1, ASK, A, "ann", LOGIN_FREE, 0, 0 }, { 2, ASK, A, "bob", LOGIN_FREE, 0, 0 }, { 3, FAIL_4, A, "bob", 0, 4, 4 },
		{ 3, ASK, A, "ann", LOGIN_SLOW, 1000, 0 }, { 4, FAIL_3, B, "bob", 0, 3, 7 }, { 4, ASK, C, "bob", LOGIN_SLOW, 4000, 0 },
		{ 70, ASK, A, "ann", LOGIN_FREE, 0, 0 }, { 70, ASK, C, "bob", LOGIN_FREE, 0, 0 }, { 71, FAIL, A, "bob", 0, 1, 1 } } },
};

static int64_t now;
static int wrong;

static int64_t fake_now(void)
{
	return now;
}

static int step_one(const struct login_guard *g, const struct step *s, enum what what, struct login_guard_query *q)
{
	char account[LOGIN_ACCOUNT_MAX];
	struct net_addr client;
	enum login_answer got;

	net_parse(s->ip, &client);
	*q = (struct login_guard_query){ .client = &client, .account = login_account(s->user, g->domain, account) };
	got = login_guard_ask(g, q);
	if (what == FAIL)
		login_guard_failed(g, q);
	else if (what == PASS)
		login_guard_passed(g, q);
	q->client = NULL;
	return what == ASK ? (int)got : 0;
}

/* In a task nothing may jump out, as cmocka's assertions do. */
static void play(const struct login_guard *with, const struct story *story, int64_t begin, const char *how)
{
	struct login_guard g = *with;

	g.conf = story->conf;
	for (size_t i = 0; i < sizeof(story->step) / sizeof(story->step[0]) && story->step[i].ip; i++) {
		const struct step *s = &story->step[i];
		int times = s->what == FAIL_3 ? 3 : s->what == FAIL_4 ? 4 : s->what == FAIL_10 ? 10 : 1, got = 0, number;
		enum what what = s->what == ASK || s->what == PASS ? s->what : FAIL;
		struct login_guard_query q;

		now = begin + s->at;
		while (times-- > 0)
			got = step_one(&g, s, what, &q);
		number = what == ASK ? q.delay_ms : q.failures;
		if ((what == ASK && got != (int)s->want) || number != s->number || (what != ASK && q.account_failures != s->of_account)) {
			print_error("%s (%s): step %zu: %d, %d, %d\n", story->name, how, i, got, number, q.account_failures);
			wrong++;
		}
	}
}

static struct login_shared *table_new(void)
{
	struct login_shared *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	login_shared_init(t);
	return t;
}

static void on_sqlite(bool shared, bool alone, const char *how)
{
	for (size_t i = 0; i < sizeof(stories) / sizeof(stories[0]); i++) {
		struct login_guard g = { .domain = "example.com", .alone = alone, .clock_s = fake_now };
		struct state_sqlite *db;
		struct state_local local;

		assert_int_equal(state_sqlite_open(":memory:", &db), 0);
		state_local_init(&local, db, fake_now);
		g.state = &local.state;
		g.shared = shared ? table_new() : NULL;
		play(&g, &stories[i], 1000000, how);
		free(g.shared);
		state_sqlite_close(db);
	}
	assert_int_equal(wrong, 0);
}

static void test_sqlite(void **unused)
{
	on_sqlite(false, true, "no table");
	on_sqlite(true, true, "table");
	on_sqlite(true, false, "table, several gateways");
}

static struct state_redis *engine;

static void redis_task(void *arg)
{
	struct login_guard g = { .domain = "example.com", .state = state_redis_state(engine), .clock_s = fake_now };

	for (size_t i = 0; i < sizeof(stories) / sizeof(stories[0]); i++) {
		struct state_op op = { .verb = STATE_DELETE, .space = "login" };

		if (state_run(g.state, &op, 1) < 0)
			wrong++;
		g.shared = calloc(1, sizeof(*g.shared));
		play(&g, &stories[i], 1000000, "redis");
		free(g.shared);
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

/* Nobody is locked out by a state that is away, or that is not there. Nor is anything learnt from it. */
static void test_away(void **unused)
{
	struct state away = { .run = away_run }, *states[] = { &away, NULL };
	struct login_shared *table = table_new();
	struct net_addr client;
	struct login_guard_query q = { .client = &client, .account = "ann" };

	net_parse("192.0.2.1", &client);
	for (size_t k = 0; k < 2; k++) {
		struct login_guard g = { .state = states[k], .conf = &conf, .shared = table, .alone = true };

		for (int i = 0; i < 10; i++) {
			assert_int_equal(login_guard_ask(&g, &q), LOGIN_FREE);
			login_guard_failed(&g, &q);
			assert_int_equal(q.failures, 0);
		}
		login_guard_passed(&g, &q);
		assert_int_equal(login_guard_ask(&g, &q), LOGIN_FREE);
		assert_false(q.known || q.mark[0].clean || q.mark[LOGIN_MARK_ACCOUNT].clean || q.mark[LOGIN_MARK_PAIR].clean);
	}
	free(table);
}

/* A state that counts how often it is asked. */
struct counting {
	struct state state;
	struct state_local *local;
	int requests;
};

static int counting_run(struct state *s, struct state_op *ops, size_t count)
{
	struct counting *c = (struct counting *)s;

	c->requests++;
	return c->local->state.run(&c->local->state, ops, count);
}

static int asked(struct counting *c, const struct login_guard *g, const char *ip, const char *account, enum what what)
{
	struct step s = { .what = what, .ip = ip, .user = account };
	struct login_guard_query q;

	c->requests = 0;
	step_one(g, &s, what, &q);
	return c->requests;
}

/* In the ordinary case the state is not asked, and once in an hour it is told. */
static void test_questions(void **unused)
{
	struct login_guard g = { .conf = &conf, .clock_s = fake_now, .alone = true, .shared = table_new() };
	struct counting c = { .state.run = counting_run };
	struct state_local local;
	struct state_sqlite *db;

	assert_int_equal(state_sqlite_open(":memory:", &db), 0);
	state_local_init(&local, db, fake_now);
	c.local = &local;
	g.state = &c.state;
	now = 1000000;
	assert_int_equal(asked(&c, &g, A, "ann", PASS), 2);
	assert_int_equal(asked(&c, &g, A, "ann", PASS), 0);
	now += 3500;
	assert_int_equal(asked(&c, &g, A, "ann", PASS), 0);
	now += 200;
	assert_int_equal(asked(&c, &g, A, "ann", PASS), 2);
	assert_int_equal(asked(&c, &g, A, "ann", PASS), 0);
	/* Who is known and fails counts for himself alone. */
	assert_int_equal(asked(&c, &g, A, "bob", PASS), 2);
	assert_int_equal(asked(&c, &g, A, "bob", FAIL), 1);
	assert_int_equal(asked(&c, &g, A, "ann", PASS), 0);
	assert_int_equal(asked(&c, &g, A, "bob", PASS), 2);
	assert_int_equal(asked(&c, &g, A, "bob", PASS), 0);
	/* A stranger's failure counts for all there, and is asked about as long as it counts. */
	assert_true(asked(&c, &g, A, "eve", FAIL) >= 2);
	assert_int_equal(asked(&c, &g, A, "ann", PASS), 1);
	assert_int_equal(asked(&c, &g, B, "eve", ASK), 1);
	now += 61;
	assert_int_equal(asked(&c, &g, A, "ann", PASS), 1);
	assert_int_equal(asked(&c, &g, A, "ann", PASS), 0);
	/* IPv6, and a name that is not known */
	assert_int_equal(asked(&c, &g, "2001:db8::1", "", PASS), 1);
	assert_int_equal(asked(&c, &g, "2001:db8::2", "", PASS), 0);
	/* What other gateways have seen is asked about; what was told is not told again. */
	g.alone = false;
	assert_int_equal(asked(&c, &g, A, "ann", PASS), 1);
	free(g.shared);
	/* After a start nothing is known. */
	g.alone = true;
	g.shared = table_new();
	assert_int_equal(asked(&c, &g, A, "ann", PASS), 2);
	free(g.shared);
	state_sqlite_close(db);
}

/* More than there is room for: some are asked about again, nobody is taken for another. */
static void test_full_table(void **unused)
{
	enum { MANY = LOGIN_SHARED_BUCKETS * 9 };
	struct login_shared *t = table_new();
	struct login_mark m;
	char text[32];
	int clean = 0;

	for (int i = 0; i < MANY; i++) {
		int n = snprintf(text, sizeof(text), "account %d", i);

		login_shared_look(t, text, (size_t)n, 1000, &m);
		assert_false(m.clean);
		login_shared_note(t, &m, 1000, 3600);
		login_shared_look(t, text, (size_t)n, 1000, &m);
		assert_true(m.clean);
		login_shared_look(t, text, (size_t)n, 1000 + 3600, &m);
		assert_false(m.clean);
		if (i % 3 == 0) {
			login_shared_failed(t, &m);
			login_shared_look(t, text, (size_t)n, 1000, &m);
			assert_false(m.clean);
		}
	}
	for (int i = 0; i < MANY; i++) {
		login_shared_look(t, text, (size_t)snprintf(text, sizeof(text), "account %d", i), 1000, &m);
		clean += m.clean;
	}
	assert_true(clean > MANY / 2 && clean <= LOGIN_SHARED_BUCKETS * LOGIN_SHARED_SLOTS);
	free(t);
}

/* A worker that asks and notes while another counts failures: what it was told before the failure is never left in the table. */
struct race {
	struct login_shared *t;
	_Atomic bool failed, over;
	int noted;
};

static void *asking(void *arg)
{
	struct race *r = arg;

	while (!atomic_load(&r->over)) {
		struct login_mark m;

		login_shared_look(r->t, "x", 1, 1000, &m);
		if (atomic_load(&r->failed))
			continue;
		sched_yield();
		login_shared_note(r->t, &m, 1000, 3600);
		r->noted++;
	}
	return NULL;
}

static void test_race(void **unused)
{
	struct race r = { .t = table_new() };
	struct login_mark m;
	pthread_t other;

	assert_int_equal(pthread_create(&other, NULL, asking, &r), 0);
	for (int i = 0; i < 3000; i++) {
		int tries = 0;

		login_shared_look(r.t, "x", 1, 1000, &m);
		for (int k = 0; k < 20 && !m.clean; k++) {
			sched_yield();
			login_shared_look(r.t, "x", 1, 1000, &m);
		}
		atomic_store(&r.failed, true);
		login_shared_failed(r.t, &m);
		/* It may be there for the moment that it takes to be seen. */
		do {
			sched_yield();
			login_shared_look(r.t, "x", 1, 1000, &m);
		} while (m.clean && ++tries < 100000);
		assert_false(m.clean);
		atomic_store(&r.failed, false);
	}
	atomic_store(&r.over, true);
	pthread_join(other, NULL);
	assert_true(r.noted > 0);
	free(r.t);
}

static const struct { const char *user, *domain, *want; } names[] = {
	{ "ann", "example.com", "ann" },
	{ "", "example.com", "" },
	{ "ANN", NULL, "ann" },
	{ "ann@example.com", "example.com", "ann" },
	{ "ann@EXAMPLE.com", "example.com", "ann" },
	{ "ann@example.com", NULL, "ann@example.com" },
	{ "ann@example.org", "example.com", "ann@example.org" },
	{ "ann@mail.example.com", "example.com", "ann@mail.example.com" },
	{ "ann@x@example.com", "example.com", "ann@x" },
	{ "@example.com", "example.com", "@example.com" },
	{ "EXAMPLE\\ann", NULL, "ann" },
	{ "a\\b\\Ann@example.com", "example.com", "ann" },
	{ "example\\", NULL, "example\\" },
	{ "\\ann", NULL, "ann" },
	{ "M\xc3\x9cLLER", NULL, "muller" },
	{ "mu\xcc\x88ller", NULL, "muller" },
	{ "\xc3\xa1nn", NULL, "ann" },
	{ "a\xcc\x81\xcc\xa3nn", NULL, "ann" },
	{ "\xd0\x98\xd0\xb2\xd0\xb0\xd0\xbd", NULL, "\xd0\xb8\xd0\xb2\xd0\xb0\xd0\xbd" },
	{ "\xed\x95\x9c", NULL, "\xed\x95\x9c" },       /* a syllable is not taken to pieces */
	{ "\xe0\xa4\x95\xe0\xa5\x8d\xe0\xa4\xb7", NULL, "\xe0\xa4\x95\xe0\xa5\x8d\xe0\xa4\xb7" },
	{ " ann", NULL, "ann" },
	{ "ann  ", NULL, "ann" },
	{ "Ann Smith", NULL, "annsmith" },
	{ "a\xc2\xad" "nn\xe2\x80\x8b", NULL, "ann" },  /* a soft hyphen, a space of no width */
	{ "ann\xc2\xa0", NULL, "ann" },
	{ " ", NULL, " " },
	{ "\xe2\x80\x8b", NULL, "\xe2\x80\x8b" },
	{ "ann @ example.com", "example.com", "ann" },
	{ "ann@example.com.", "example.com", "ann" },
	{ "ann@example.com.", NULL, "ann@example.com" },
	{ "ann@.", NULL, "ann@." },
	{ "ann.", NULL, "ann." },
	{ "STRA\xc3\x9f" "E", NULL, "strasse" },
	{ "\xef\xbc\xa1nn", NULL, "ann" },      /* a wide letter */
	{ "ann+x", NULL, "ann+x" },
	{ "bob*ann", NULL, "ann" },
	{ "CORP\\bob@example.com*Ann@example.com", "example.com", "ann" },
	{ "ann*", NULL, "ann*" },
	{ "*", NULL, "*" },
};

static void test_names(void **unused)
{
	char out[LOGIN_ACCOUNT_MAX], longest[256];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_string_equal(login_account(names[i].user, names[i].domain, out), names[i].want);
	/* Three letters become eighteen in the folding: what does not fit stays as it is. */
	for (size_t i = 0; i < 255; i++)
		longest[i] = "\xef\xb7\xba"[i % 3];
	longest[255] = '\0';
	assert_string_equal(login_account(longest, NULL, out), longest);
}

/* The vectors of the paper's appendix and of its reference: key 00..0f, text 00, 01, 02... */
static void test_hash(void **unused)
{
	struct siphash_key key = { { 0x0706050403020100, 0x0f0e0d0c0b0a0908 } };
	unsigned char text[15];

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (unsigned char)i;
	assert_true(siphash(&key, text, 0) == 0x726fdb47dd0e0e31);
	assert_true(siphash(&key, text, 1) == 0x74f839c593dc67fd);
	assert_true(siphash(&key, text, 8) == 0x93f5f5799a932462);
	assert_true(siphash(&key, text, 15) == 0xa129ca6149be45e5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hash),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_sqlite),
		cmocka_unit_test(test_redis),
		cmocka_unit_test(test_away),
		cmocka_unit_test(test_questions),
		cmocka_unit_test(test_full_table),
		cmocka_unit_test(test_race),
	};

	net_parse_prefix("10.0.0.0/8", &exempt[0]);
	net_parse_prefix("2001:db8:77::/48", &exempt[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
