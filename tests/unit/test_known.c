/* Who our users have written to: learnt, known for a time, over the real store with a clock of ours. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filters/filter.h"
#include "filters/known.h"
#include "policy/conf.h"
#include "policy/recent.h"
#include "policy/state_sqlite.h"

enum { DAY = 86400, BEGIN = 1000000, LIFE = 60 * DAY };

static int64_t now;
static int requests, fail;
static struct state_local real;

static int64_t fake_now(void)
{
	return now;
}

static int counting_run(struct state *s, struct state_op *ops, size_t count)
{
	requests++;
	return fail ? -EPIPE : state_run(&real.state, ops, count);
}

static struct state store = { .run = counting_run };

static int begin(void **state)
{
	struct state_sqlite *db = NULL;

	if (state_sqlite_open(":memory:", &db) < 0)
		return -1;
	state_local_init(&real, db, fake_now);
	now = BEGIN;
	requests = fail = 0;
	return 0;
}

static int end(void **state)
{
	state_sqlite_close(real.db);
	return 0;
}

static int learn(struct recent *recent, const char *address, bool local)
{
	struct recipient r = { .address = (char *)address, .local = local };
	const struct recipient *one = &r;

	return known_learn(&store, recent, LIFE, &one, 1);
}

/* 1 or 0: the fact; -1: it is not known; -2: it could not be established. */
static int known(const char *sender, struct state *s, int life_s)
{
	struct site site = { .known_s = life_s };
	struct client client = { .esmtp = true };
	const struct fact *f;
	struct txn t;
	int out;

	txn_init(&t, &site, NULL, &client);
	t.state = s;
	t.env.from = strdup(sender);
	t.stage = STAGE_MAIL;
	f = filters_fact(&t, fact_find("sender.known", 12));
	out = !f || f->state == FACT_UNKNOWN ? -1 : f->state == FACT_TEMPERROR ? -2 : (int)f->number;
	txn_release(&t);
	client_release(&client);
	return out;
}

static void test_rows(void **state)
{
	static const struct {
		const char *name, *to, *sender;
		int want;
	} rows[] = {
		{ "same", "bob@b.example", "bob@b.example", 1 },
		{ "another", "bob@b.example", "eve@b.example", 0 },
		{ "another domain", "bob@b.example", "bob@bb.example", 0 },
		{ "case", "Bob@B.Example", "bOB@b.eXAMPLE", 1 },
		{ "detail behind the name", "bob@b.example", "bob+news@b.example", 1 },
		{ "detail when written to", "bob+x@b.example", "bob@b.example", 1 },
		{ "a plus alone is a name", "+@b.example", "+@b.example", 1 },
		{ "begins with a plus", "+bob@b.example", "+eve@b.example", 0 },
		{ "quoted", "\"a+b\"@b.example", "\"a+c\"@b.example", 0 },
		{ "at sign within", "\"a@b\"@b.example", "\"a@b\"@b.example", 1 },
		{ "BATV", "bob@b.example", "prvs=1234abcdef=bob@b.example", 1 },
		{ "BATV, tag too short", "bob@b.example", "prvs=1234abcde=bob@b.example", 0 },
		{ "BATV without tag", "bob@b.example", "prvs=bob@b.example", 0 },
		{ "null sender", "bob@b.example", "", 0 },
		{ "no domain", "bob@b.example", "bob", 0 },
		{ "no name", "@b.example", "@b.example", 0 },
		{ "no mailbox", "postmaster", "postmaster", 0 },
		{ "nothing", "", "", 0 },
		{ "blank", "a b@b.example", "a@b.example", 0 },
		{ "8-bit", "b\xc3\xbc""b@b.example", "b\xc3\xbc""b@b.example", 1 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct state_op all = { .verb = STATE_DELETE, .space = "known" };

		assert_int_equal(state_run(&real.state, &all, 1), 0);
		assert_true(learn(NULL, rows[i].to, false) >= 0);
		if (known(rows[i].sender, &store, LIFE) != rows[i].want)
			fail_msg("%s", rows[i].name);
	}
}

/* For as long as the site says after the last message to it; being asked for does not prolong it. */
static void test_time(void **state)
{
	assert_int_equal(known("bob@b.example", &store, LIFE), 0);
	assert_int_equal(learn(NULL, "bob@b.example", false), 1);
	now += 59 * DAY;
	assert_int_equal(known("bob@b.example", &store, LIFE), 1);
	now += 2 * DAY;
	assert_int_equal(known("bob@b.example", &store, LIFE), 0);
	assert_int_equal(learn(NULL, "bob@b.example", false), 1);
	now += 30 * DAY;
	assert_int_equal(learn(NULL, "bob@b.example", false), 1);
	now += 59 * DAY;
	assert_int_equal(known("bob@b.example", &store, LIFE), 1);
	assert_int_equal(known("bob@b.example", &store, 0), 0);         /* switched off */
}

/* Our own users are no strangers to be learnt; nobody is learnt where that is switched off. */
static void test_not_learnt(void **state)
{
	struct recipient r = { .address = (char *)"bob@b.example" };
	const struct recipient *one = &r;

	assert_int_equal(learn(NULL, "us@site.example", true), 0);
	assert_int_equal(known_learn(&store, NULL, 0, &one, 1), 0);
	assert_int_equal(known_learn(NULL, NULL, LIFE, &one, 1), 0);
	assert_int_equal(known_learn(&store, NULL, LIFE, NULL, 0), 0);
	assert_int_equal(requests, 0);
	assert_int_equal(known("us@site.example", &store, LIFE), 0);
}

/* Away: unknown, which defers nothing, and is not known. */
static void test_away(void **state)
{
	assert_int_equal(learn(NULL, "bob@b.example", false), 1);
	fail = 1;
	assert_int_equal(known("bob@b.example", &store, LIFE), -1);
	assert_int_equal(learn(NULL, "bob@b.example", false), -EPIPE);
	assert_int_equal(known("bob@b.example", NULL, LIFE), -1);
	assert_int_equal(known("", &store, LIFE), 0);
	fail = 0;
	assert_int_equal(known("bob@b.example", &store, LIFE), 1);
}

/* Many recipients are few requests, the same ones soon again none. */
static void test_cheap(void **state)
{
	enum { MANY = 150 };
	struct recent *recent = recent_new();
	struct recipient r[MANY];
	const struct recipient *all[MANY];
	char text[MANY][32];

	assert_non_null(recent);
	recent->seed = 1;       /* with one of chance, two of them may share a slot, and the first is told again */
	for (int i = 0; i < MANY; i++) {
		snprintf(text[i], sizeof(text[i]), "u%d@b.example", i);
		r[i] = (struct recipient){ .address = text[i], .local = i % 2 };
		all[i] = &r[i];
	}
	assert_int_equal(known_learn(&store, recent, LIFE, all, MANY), KNOWN_LEARN_MAX / 2);
	assert_int_equal(requests, 4);
	assert_int_equal(known("u98@b.example", &store, LIFE), 1);
	assert_int_equal(known("u99@b.example", &store, LIFE), 0);
	assert_int_equal(known("u100@b.example", &store, LIFE), 0);     /* beyond the bound */
	requests = 0;
	assert_int_equal(known_learn(&store, recent, LIFE, all, 20), 0);
	assert_int_equal(requests, 0);
	free(recent);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, begin, end)
	const struct CMUnitTest tests[] = { TEST(test_rows), TEST(test_time), TEST(test_not_learnt), TEST(test_away), TEST(test_cheap) };

	fact_register_all();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
