/*
 * What an administrator sees of the guard's counts, and ends, on SQLite in memory with a clock of ours; and the JSON in which a command asks the keeper.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "policy/login_view.h"
#include "policy/state.h"
#include "policy/state_sqlite.h"
#include "process/state_control.h"

enum { T = 1000000 };

static struct net_prefix exempt[1];
static char *exempt_users[] = { (char *)"Scanner" };

static const struct login_guard_conf conf = {
	.slow_after = 2, .slow_ms = 1000, .refuse_after = 5, .refuse_s = 600, .account_slow_after = 4, .account_refuse_after = 8, .forget_s = 60,
	.trust_s = 86400, .exempt = exempt, .exempt_count = 1, .exempt_users = exempt_users, .exempt_user_count = 1,
};

static int64_t now;
static struct state_sqlite *db;
static struct state_local local;
static struct login_guard guard;

static int64_t fake_now(void)
{
	return now;
}

static int set_up(void **unused)
{
	guard = (struct login_guard){ .conf = &conf, .domain = "example.com", .state = &local.state };
	now = T;
	net_parse_prefix("10.0.0.0/8", &exempt[0]);
	if (state_sqlite_open(":memory:", &db) < 0)
		return -1;
	state_local_init(&local, db, fake_now);
	return 0;
}

static int tear_down(void **unused)
{
	state_sqlite_close(db);
	return 0;
}

static void attempt(const char *ip, const char *user, int failures, bool passes)
{
	char account[LOGIN_ACCOUNT_MAX];
	struct net_addr client;
	struct login_guard_query q = { .client = &client, .account = login_account(user, guard.domain, account) };

	net_parse(ip, &client);
	login_guard_ask(&guard, &q);
	while (failures-- > 0)
		login_guard_failed(&guard, &q);
	if (passes)
		login_guard_passed(&guard, &q);
}

static enum login_answer answer(const char *ip, const char *user)
{
	struct net_addr client;
	struct login_guard_query q = { .client = &client, .account = user };

	net_parse(ip, &client);
	return login_guard_ask(&guard, &q);
}

static struct login_view named(const char *user, const char *client)
{
	struct login_view v = { 0 };

	login_account(user, guard.domain, v.account);
	if (client)
		assert_int_equal(login_view_client(&v, client), 0);
	return v;
}

static struct login_view view(const char *user, const char *client)
{
	struct login_view v = named(user, client);

	assert_int_equal(login_view_read(&guard, &v), 0);
	return v;
}

static void clear(const char *user, const char *client)
{
	struct login_view v = named(user, client);

	assert_int_equal(login_view_clear(&guard, &v), 0);
}

static void count_is(struct login_view_count c, int failures, enum login_view_state state, int64_t first, int64_t last, int64_t until)
{
	assert_int_equal(c.failures, failures);
	assert_int_equal(c.state, state);
	assert_int_equal(c.first_s, first);
	assert_int_equal(c.last_s, last);
	assert_int_equal(c.until_s, until);
}

static const struct { const char *text; int rc, nearest; } clients[] = {
	{ "192.0.2.1", 0, 0 }, { "192.0.2.1/32", 0, 0 }, { "2001:db8::1", 0, 0 }, { "2001:db8::/64", 0, 0 }, { "2001:db8::/56", 0, 1 },
	{ "2001:db8::/48", 0, 2 }, { "64:ff9b::c000:201", 0, 0 },
	{ "192.0.2.0/24", -ERANGE, 0 }, { "0.0.0.0/0", -ERANGE, 0 }, { "2001:db8::/32", -ERANGE, 0 }, { "2001:db8::/60", -ERANGE, 0 }, { "2001:db8::1/128", -ERANGE, 0 },
	{ "::/0", -ERANGE, 0 }, { "2002:c000:201::/48", -ERANGE, 0 },
	{ "2001:db8::1/64", -EINVAL, 0 }, { "192.0.2.1/", -EINVAL, 0 }, { "192.0.2.1/33", -EINVAL, 0 }, { "192.0.2", -EINVAL, 0 }, { "192.0.2.1 ", -EINVAL, 0 },
	{ "[2001:db8::1]", -EINVAL, 0 }, { "192.0.2.1:25", -EINVAL, 0 }, { "ann", -EINVAL, 0 }, { "ann@example.com", -EINVAL, 0 }, { "", -EINVAL, 0 }, { "fe80::1%lo", -EINVAL, 0 },
};

static void test_names(void **unused)
{
	for (size_t i = 0; i < sizeof(clients) / sizeof(clients[0]); i++) {
		struct login_view v = { .nearest = 2 };
		int rc = login_view_client(&v, clients[i].text);

		if (rc != clients[i].rc || (rc == 0 && v.nearest != clients[i].nearest))
			fail_msg("%s: %d, %d", clients[i].text, rc, v.nearest);
	}
}

/* What is said of the end is what happens. */
static void test_until(void **unused)
{
	struct login_view v;

	attempt("192.0.2.1", "ann", 1, false);
	now += 10;
	attempt("192.0.2.1", "bob", 1, false);
	v = view("", "192.0.2.1");
	assert_int_equal(v.networks, 1);
	count_is(v.network[0], 2, LOGIN_VIEW_SLOWED, T, T + 10, T + 70);
	now = T + 69;
	assert_int_equal(view("", "192.0.2.1").network[0].failures, 2);
	now = T + 70;
	count_is(view("", "192.0.2.1").network[0], 0, LOGIN_VIEW_FREE, 0, 0, 0);
	attempt("192.0.2.1", "bob", 5, false);
	v = view("ANN@example.com", "192.0.2.1");
	count_is(v.network[0], 5, LOGIN_VIEW_LOCKED, T + 70, T + 70, T + 670);
	count_is(v.of_account, 0, LOGIN_VIEW_FREE, 0, 0, 0);
	now = T + 669;
	assert_int_equal(answer("192.0.2.1", "eve"), LOGIN_REFUSED);
	assert_int_equal(view("", "192.0.2.1").network[0].state, LOGIN_VIEW_LOCKED);
	now = T + 670;
	assert_int_equal(answer("192.0.2.1", "eve"), LOGIN_FREE);
	assert_int_equal(view("", "192.0.2.1").network[0].state, LOGIN_VIEW_FREE);
}

static void test_unlock_network(void **unused)
{
	struct login_view v;

	for (int i = 0; i < 4; i++) {
		char ip[40];

		snprintf(ip, sizeof(ip), "2001:db8:0:%d::1", i);
		attempt(ip, "", 5, false);
	}
	v = view("", "2001:db8::9");
	assert_int_equal(v.networks, 3);
	count_is(v.network[0], 5, LOGIN_VIEW_LOCKED, T, T, T + 600);
	count_is(v.network[1], 20, LOGIN_VIEW_LOCKED, T, T, T + 600);
	count_is(v.network[2], 20, LOGIN_VIEW_FREE, T, T, T + 60);
	assert_int_equal(answer("2001:db8:0:9::1", "ann"), LOGIN_REFUSED);
	clear("", "2001:db8::/56");
	assert_int_equal(answer("2001:db8:0:9::1", "ann"), LOGIN_FREE);
	assert_int_equal(answer("2001:db8:0:1::1", "ann"), LOGIN_REFUSED);      /* a lock of its own */
	v = view("", "2001:db8::/56");
	assert_int_equal(v.network[0].failures + v.network[1].failures + v.network[2].failures, 0);
	assert_int_equal(view("", "2001:db8:0:1::/64").network[0].failures, 5);
	clear("", "2001:db8:0:1::77");
	assert_int_equal(answer("2001:db8:0:1::1", "ann"), LOGIN_FREE);
	assert_int_equal(answer("2001:db8:0:2::1", "ann"), LOGIN_REFUSED);
	attempt("2001:db8:0:1::1", "", 1, false);
	assert_int_equal(view("", "2001:db8:0:1::1").network[0].failures, 1);
}

static void test_unlock_account(void **unused)
{
	attempt("192.0.2.1", "ann", 4, false);
	attempt("192.0.2.2", "Ann@Example.com", 4, false);
	count_is(view("ann", NULL).of_account, 8, LOGIN_VIEW_LOCKED, T, T, T + 600);
	assert_int_equal(answer("192.0.2.3", "ann"), LOGIN_REFUSED);
	clear("ACME\\ANN", NULL);
	assert_int_equal(view("ann", NULL).of_account.failures, 0);
	assert_int_equal(answer("192.0.2.3", "ann"), LOGIN_FREE);
	assert_int_equal(view("", "192.0.2.1").network[0].failures, 4);         /* the networks' counts are not the account's */
}

static void test_pair(void **unused)
{
	struct login_view v;

	attempt("192.0.2.1", "ann", 4, false);
	attempt("192.0.2.1", "bob", 3, false);
	attempt("192.0.2.2", "ann", 4, false);
	v = view("ann", "192.0.2.1");
	assert_false(v.known);
	count_is(v.network[0], 7, LOGIN_VIEW_LOCKED, T, T, T + 600);
	count_is(v.of_account, 8, LOGIN_VIEW_LOCKED, T, T, T + 600);
	count_is(v.pair, 4, LOGIN_VIEW_FREE, T, T, T + 60);
	/* Others' failures stay, and nobody becomes known. */
	clear("ann", "192.0.2.1");
	v = view("ann", "192.0.2.1");
	assert_false(v.known);
	assert_int_equal(v.network[0].failures, 3);
	assert_int_equal(v.of_account.failures, 4);
	assert_int_equal(v.pair.failures, 0);
	assert_int_equal(answer("192.0.2.1", "ann"), LOGIN_SLOW);
	clear("ann", "192.0.2.1");
	assert_int_equal(view("ann", "192.0.2.1").network[0].failures, 3);
	/* Who is known stays so, whatever is unlocked; what is his own is ended. */
	attempt("192.0.2.1", "ann", 0, true);
	now += 5;
	attempt("192.0.2.1", "ann", 3, false);
	v = view("ann", "192.0.2.1");
	assert_true(v.known);
	assert_int_equal(v.known_first_s, T);
	count_is(v.pair, 3, LOGIN_VIEW_SLOWED, T + 5, T + 5, T + 65);
	assert_int_equal(v.network[0].failures, 3);
	clear("ann", "192.0.2.1");
	clear("", "192.0.2.1");
	clear("ann", NULL);
	v = view("ann", "192.0.2.1");
	assert_true(v.known);
	assert_int_equal(v.pair.failures + v.network[0].failures + v.of_account.failures, 0);
}

static void test_exempt(void **unused)
{
	assert_true(view("scanner", "10.0.0.1").exempt_user);
	assert_true(view("SCANNER@example.com", NULL).exempt_user);
	assert_true(view("", "10.0.0.1").exempt);
	assert_false(view("ann", "192.0.2.1").exempt);
	assert_false(view("ann", "192.0.2.1").exempt_user);
}

static int away_run(struct state *s, struct state_op *ops, size_t count)
{
	return -ENOTCONN;
}

static void test_away(void **unused)
{
	struct state away = { .run = away_run };
	struct login_view v = named("ann", "192.0.2.1"), nobody = { 0 };

	assert_int_equal(login_view_read(&guard, &nobody), -EINVAL);
	assert_int_equal(login_view_clear(&guard, &nobody), -EINVAL);
	guard.state = &away;
	assert_int_equal(login_view_read(&guard, &v), -ENOTCONN);
	assert_true(login_view_clear(&guard, &v) < 0);
	v.account[0] = '\0';
	assert_int_equal(login_view_clear(&guard, &v), -ENOTCONN);
}

/* A state whose operations go the way of the control socket, there and back. */
static int json_run(struct state *s, struct state_op *ops, size_t count)
{
	static struct state_op at_keeper[STATE_OPS_MAX];
	json_t *request = state_control_request(ops, count), *answer = json_object();
	int n = state_control_read_request(request, at_keeper), rc;

	assert_int_equal(n, count);
	rc = local.state.run(&local.state, at_keeper, (size_t)n);
	assert_int_equal(state_control_answer(answer, at_keeper, (size_t)n), 0);
	assert_int_equal(state_control_read_answer(answer, ops, count), 0);
	assert_int_equal(state_control_read_answer(answer, ops, count + 1), -EBADMSG);
	json_decref(request);
	json_decref(answer);
	return rc;
}

static void test_over_json(void **state)
{
	struct state over = { .run = json_run };

	guard.state = &over;
	test_pair(state);
	now += 86400;
	test_exempt(state);
}

static const char *const bad_requests[] = {
	"{}", "{\"ops\":[]}", "{\"ops\":{}}", "{\"ops\":\"get\"}", "{\"ops\":[1]}", "{\"ops\":[{}]}",
	"{\"ops\":[{\"verb\":\"get\",\"space\":\"login\"}]}", "{\"ops\":[{\"verb\":\"get\",\"space\":\"login\",\"key\":\"\"}]}",
	"{\"ops\":[{\"verb\":\"delete\",\"space\":\"login\",\"key\":\"\"}]}", "{\"ops\":[{\"verb\":\"get\",\"space\":\"\",\"key\":\"k\"}]}",
	"{\"ops\":[{\"verb\":\"drop\",\"space\":\"login\",\"key\":\"k\"}]}", "{\"ops\":[{\"verb\":0,\"space\":\"login\",\"key\":\"k\"}]}",
	"{\"ops\":[{\"verb\":\"get\",\"space\":\"sixteen octets..\",\"key\":\"k\"}]}", "{\"ops\":[{\"verb\":\"touch\",\"space\":\"s\",\"key\":\"k\",\"ttl\":-1}]}",
	"{\"ops\":[{\"verb\":\"touch\",\"space\":\"s\",\"key\":\"k\",\"ttl\":\"1\"}]}", "{\"ops\":[{\"verb\":\"get\",\"space\":\"s\",\"key\":null}]}",
};

static void test_bad_requests(void **unused)
{
	static struct state_op ops[STATE_OPS_MAX];
	json_t *r, *list, *one;
	char longest[STATE_KEY_MAX + 1] = "";

	for (size_t i = 0; i < sizeof(bad_requests) / sizeof(bad_requests[0]); i++) {
		r = json_loads(bad_requests[i], 0, NULL);
		assert_non_null(r);
		if (state_control_read_request(r, ops) != -EINVAL)
			fail_msg("%s", bad_requests[i]);
		assert_int_equal(state_control_read_answer(r, ops, 1), -EBADMSG);
		json_decref(r);
	}
	memset(longest, 'k', STATE_KEY_MAX);
	r = json_pack("{s:[{s:s, s:s, s:s}]}", "ops", "verb", "get", "space", "s", "key", longest);
	assert_int_equal(state_control_read_request(r, ops), -EINVAL);
	json_decref(r);
	r = json_pack("{s:[{s:s, s:s, s:s}]}", "ops", "verb", "get", "space", "s", "key", longest + 1);
	assert_int_equal(state_control_read_request(r, ops), 1);
	list = json_object_get(r, "ops");
	one = json_array_get(list, 0);
	while (json_array_size(list) < STATE_OPS_MAX)
		json_array_append(list, one);
	assert_int_equal(state_control_read_request(r, ops), STATE_OPS_MAX);
	json_array_append(list, one);
	assert_int_equal(state_control_read_request(r, ops), -EINVAL);
	json_decref(r);
	memset(ops, 0, sizeof(ops[0]));
	snprintf(ops[0].key, sizeof(ops[0].key), "account \xff");
	assert_null(state_control_request(ops, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test_setup_teardown(test_until, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_unlock_network, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_unlock_account, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_pair, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_exempt, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_away, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_over_json, set_up, tear_down),
		cmocka_unit_test(test_bad_requests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
