/* The gate of which no network has all places. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/shares.h"

static struct shares shares;
static int inside, most, done, given_up;

struct guest {
	const char *addr;       /* NULL: nobody's */
	int timeout_ms, stay_ms;
	int entered;            /* which one it was; 0: it was not let in */
};

static int order;

static void visit(void *arg)
{
	struct guest *g = arg;
	struct net_addr who = { 0 };
	struct share *share;

	if (g->addr)
		assert_int_equal(net_parse(g->addr, &who), 0);
	if (shares_enter(&shares, g->addr ? &who : NULL, g->timeout_ms, &share) < 0) {
		given_up++;
		return;
	}
	g->entered = ++order;
	if (++inside > most)
		most = inside;
	task_sleep(g->stay_ms);
	inside--;
	done++;
	shares_leave(&shares, share);
}

static void run(struct guest *guests, size_t count, int places)
{
	shares_init(&shares, places);
	inside = most = done = given_up = order = 0;
	for (size_t i = 0; i < count; i++)
		assert_int_equal(task_spawn("guest", visit, &guests[i], NULL), 0);
	loop_run();
	assert_null(shares.first);
	assert_int_equal(shares.all.inside, 0);
	assert_null(shares.all.first);
}

static void last(void *arg)
{
	(void)arg;
	while (task_count() > 1)
		task_sleep(2);
	loop_stop();
}

static const struct {
	const char *name;
	int places;
	const char *crowd;      /* many of these come first, */
	const char *good;       /* then this one */
	int most;               /* at once */
	bool served;            /* he is in before they have left */
} rows[] = {
	{ "one network of guessers",       10, "192.0.2.1",        "198.51.100.7",    8, true },
	{ "the same address",              10, "192.0.2.1",        "192.0.2.1",       7, false },
	{ "a neighbour in IPv4",           10, "192.0.2.1",        "192.0.2.2",       8, true },
	{ "the same /64",                  10, "2001:db8::1",      "2001:db8::2",     7, false },
	{ "another /64",                   10, "2001:db8::1",      "2001:db8:0:1::1", 8, true },
	{ "NAT64 is the IPv4 address",     10, "64:ff9b::c000:201", "192.0.2.1",      7, false },
	{ "two others behind NAT64",       10, "64:ff9b::c000:201", "64:ff9b::c000:202", 8, true },
	{ "two places",                     2, "192.0.2.1",        "198.51.100.7",    2, true },
	{ "three places",                   3, "192.0.2.1",        "198.51.100.7",    3, true },
	{ "one place is nobody's share",    1, "192.0.2.1",        "198.51.100.7",    1, false },
	{ "of nobody: by turns only",       4, NULL,               "198.51.100.7",    4, false },
};

static void test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct guest g[21];

		for (int k = 0; k < 20; k++)
			g[k] = (struct guest){ .addr = rows[i].crowd, .timeout_ms = 30, .stay_ms = 100 };
		g[20] = (struct guest){ .addr = rows[i].good, .timeout_ms = 30, .stay_ms = 1 };
		assert_int_equal(task_spawn("last", last, NULL, NULL), 0);
		run(g, 21, rows[i].places);
		if (most != rows[i].most || !!g[20].entered != rows[i].served)
			fail_msg("%s: %d at once, the good one was %s", rows[i].name, most, g[20].entered ? "served" : "not served");
		assert_int_equal(done + given_up, 21);
	}
}

static void test_in_order(void **state)
{
	struct guest g[12];

	(void)state;
	for (int k = 0; k < 12; k++)
		g[k] = (struct guest){ .addr = "192.0.2.1", .timeout_ms = 1000, .stay_ms = 2 };
	assert_int_equal(task_spawn("last", last, NULL, NULL), 0);
	run(g, 12, 3);
	assert_int_equal(done, 12);
	assert_int_equal(most, 2);
	for (int k = 0; k < 12; k++)
		assert_int_equal(g[k].entered, k + 1);
}

static struct task *waiting;

static void cancel(void *arg)
{
	(void)arg;
	task_sleep(20);
	task_cancel(waiting);
}

static void test_cancelled(void **state)
{
	struct guest g[2] = { { .addr = "192.0.2.1", .timeout_ms = 1000, .stay_ms = 50 }, { .addr = "192.0.2.1", .timeout_ms = 1000, .stay_ms = 100 } };

	(void)state;
	shares_init(&shares, 1);
	inside = most = done = given_up = order = 0;
	task_spawn("guest", visit, &g[0], NULL);
	task_spawn("guest", visit, &g[1], &waiting);
	task_spawn("cancel", cancel, NULL, NULL);
	task_spawn("last", last, NULL, NULL);
	loop_run();
	assert_int_equal(done, 1);
	assert_int_equal(given_up, 1);
	assert_null(shares.first);
}

static int setup(void **state)
{
	(void)state;
	return loop_init();
}

static int teardown(void **state)
{
	(void)state;
	loop_release();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_rows, setup, teardown),
		cmocka_unit_test_setup_teardown(test_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cancelled, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
