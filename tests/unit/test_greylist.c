/*
 * Greylisting told as stories: a list of attempts at given moments, and what each must hear. The
 * store is SQLite in memory with a clock of ours.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "policy/greylist.h"
#include "policy/state_sqlite.h"

enum { DAY = 86400, BEGIN = 1000000 };

static const struct greylist_conf conf = { .delay_s = 300,
					   .window_s = 2 * DAY,
					   .life_s = 36 * DAY,
					   .auto_passes = 3,
					   .v4_bits = 24,
					   .v6_bits = 64 };
static const struct greylist_conf never_auto = { .delay_s = 300,
						 .window_s = 2 * DAY,
						 .life_s = 36 * DAY,
						 .auto_passes = 0,
						 .v4_bits = 24,
						 .v6_bits = 64 };

static int64_t now;

static int64_t fake_now(void)
{
	return now;
}

struct step {
	int64_t at;
	const char *ip, *from, *rcpt, *spf;
	int want; /* retry_s; 0: passes; -1: DKIM has passed for the domain in `from` */
};

struct story {
	const char *name;
	const struct greylist_conf *conf;
	struct step step[16];
};

static const struct story stories[] = {
	{ "the first attempt waits, the retry passes, then at once", &conf, {
		{ 0, "192.0.2.1", "a@x.example", "b@y.example", NULL, 300 },
		{ 10, "192.0.2.1", "a@x.example", "b@y.example", NULL, 290 },
		{ 299, "192.0.2.1", "a@x.example", "b@y.example", NULL, 1 },
		{ 300, "192.0.2.1", "a@x.example", "b@y.example", NULL, 0 },
		{ 301, "192.0.2.1", "a@x.example", "b@y.example", NULL, 0 },
		{ 30 * DAY, "192.0.2.1", "a@x.example", "b@y.example", NULL, 0 } } },
	{ "another host of the network is the same client, another network is not", &conf, {
		{ 0, "192.0.2.1", "a@x.example", "b@y.example", NULL, 300 },
		{ 400, "192.0.2.200", "a@x.example", "b@y.example", NULL, 0 },
		{ 400, "192.0.3.1", "a@x.example", "b@y.example", NULL, 300 } } },
	{ "IPv6 counts by /64", &conf, {
		{ 0, "2001:db8:0:1::1", "a@x.example", "b@y.example", NULL, 300 },
		{ 400, "2001:db8:0:1:ffff::2", "a@x.example", "b@y.example", NULL, 0 },
		{ 400, "2001:db8:0:2::1", "a@x.example", "b@y.example", NULL, 300 } } },
	{ "sender and recipient belong to the triplet; case does not", &conf, {
		{ 0, "192.0.2.1", "a@x.example", "b@y.example", NULL, 300 },
		{ 400, "192.0.2.1", "other@x.example", "b@y.example", NULL, 300 },
		{ 400, "192.0.2.1", "a@x.example", "other@y.example", NULL, 300 },
		{ 400, "192.0.2.1", "A@X.example", "B@Y.EXAMPLE", NULL, 0 } } },
	{ "the null sender is a sender", &conf, {
		{ 0, "192.0.2.1", "", "b@y.example", NULL, 300 },
		{ 0, "192.0.2.1", "b@y.example", "", NULL, 300 },
		{ 400, "192.0.2.1", "", "b@y.example", NULL, 0 } } },
	{ "too late: begins anew", &conf, {
		{ 0, "192.0.2.1", "a@x.example", "b@y.example", NULL, 300 },
		{ 2 * DAY + 1, "192.0.2.1", "a@x.example", "b@y.example", NULL, 300 },
		{ 2 * DAY + 200, "192.0.2.1", "a@x.example", "b@y.example", NULL, 101 },
		{ 2 * DAY + 301, "192.0.2.1", "a@x.example", "b@y.example", NULL, 0 } } },
	{ "early retries do not stretch the window", &conf, {
		{ 0, "192.0.2.1", "a@x.example", "b@y.example", NULL, 300 },
		{ 100, "192.0.2.1", "a@x.example", "b@y.example", NULL, 200 },
		{ 2 * DAY + 50, "192.0.2.1", "a@x.example", "b@y.example", NULL, 300 } } },
	{ "what passed is forgotten life_s after its last use", &conf, {
		{ 0, "192.0.2.1", "a@x.example", "b@y.example", NULL, 300 },
		{ 400, "192.0.2.1", "a@x.example", "b@y.example", NULL, 0 },
		{ 400 + 35 * DAY, "192.0.2.1", "a@x.example", "b@y.example", NULL, 0 },
		{ 400 + 70 * DAY, "192.0.2.1", "a@x.example", "b@y.example", NULL, 0 },
		{ 401 + 106 * DAY, "192.0.2.1", "a@x.example", "b@y.example", NULL, 300 } } },
	{ "with an SPF pass the domain stands for the network", &conf, {
		{ 0, "192.0.2.1", "a@x.example", "b@y.example", "x.example", 300 },
		{ 400, "198.51.100.1", "a@x.example", "b@y.example", "X.example", 0 },
		{ 400, "198.51.100.1", "a@x.example", "c@y.example", "x.example", 300 },
		{ 400, "198.51.100.1", "a@x.example", "b@y.example", NULL, 300 } } },
	{ "a sender that gets its SPF right between two attempts does not begin anew", &conf, {
		{ 0, "192.0.2.1", "a@x.example", "b@y.example", NULL, 300 },
		{ 400, "192.0.2.1", "a@x.example", "b@y.example", "x.example", 0 },
		{ 400, "203.0.113.1", "a@x.example", "b@y.example", "x.example", 0 } } },
	{ "networks where DKIM passed for a domain are one client", &conf, {
		{ 0, "192.0.2.1", "x.example", "", NULL, -1 },
		{ 0, "198.51.100.1", "X.example", "", NULL, -1 },
		{ 0, "192.0.2.1", "a@x.example", "b@y.example", NULL, 300 },
		{ 400, "198.51.100.9", "a@x.example", "b@y.example", NULL, 0 },
		{ 400, "203.0.113.9", "a@x.example", "b@y.example", NULL, 300 } } },
	{ "of several domains the sender's own is taken", &conf, {
		{ 0, "192.0.2.1", "x.example", "", NULL, -1 },
		{ 0, "192.0.2.1", "esp.example", "", NULL, -1 },
		{ 0, "192.0.2.1", "x.example", "", NULL, -1 },
		{ 0, "192.0.2.1", "esp.example", "", NULL, -1 },
		{ 0, "198.51.100.1", "x.example", "", NULL, -1 },
		{ 0, "192.0.2.1", "a@mail.x.example", "b@y.example", NULL, 300 },
		{ 400, "198.51.100.9", "a@mail.x.example", "b@y.example", NULL, 0 } } },
	{ "a DKIM domain is remembered for life_s", &conf, {
		{ 0, "192.0.2.1", "x.example", "", NULL, -1 },
		{ 0, "198.51.100.1", "x.example", "", NULL, -1 },
		{ 36 * DAY, "192.0.2.1", "a@x.example", "b@y.example", NULL, 300 },
		{ 36 * DAY + 400, "198.51.100.1", "a@x.example", "b@y.example", NULL, 300 } } },
	{ "after auto_passes the whole network is let through", &conf, {
		{ 0, "192.0.2.1", "a@x.example", "b@y.example", NULL, 300 },
		{ 0, "192.0.2.1", "a@x.example", "c@y.example", NULL, 300 },
		{ 0, "192.0.2.1", "a@x.example", "d@y.example", NULL, 300 },
		{ 300, "192.0.2.1", "a@x.example", "b@y.example", NULL, 0 },
		{ 600, "192.0.2.1", "a@x.example", "c@y.example", NULL, 0 },
		{ 700, "192.0.2.1", "new@z.example", "e@y.example", NULL, 300 },
		{ 900, "192.0.2.1", "a@x.example", "d@y.example", NULL, 0 },
		{ 901, "192.0.2.77", "new@z.example", "b@y.example", NULL, 0 },
		{ 901, "192.0.3.1", "new@z.example", "b@y.example", NULL, 300 },
		{ 902 + 36 * DAY, "192.0.2.1", "new@z.example", "b@y.example", NULL, 300 } } },
	{ "one message to many recipients passes once", &conf, {
		{ 0, "192.0.2.1", "a@x.example", "b@y.example", NULL, 300 },
		{ 0, "192.0.2.1", "a@x.example", "c@y.example", NULL, 300 },
		{ 0, "192.0.2.1", "a@x.example", "d@y.example", NULL, 300 },
		{ 300, "192.0.2.1", "a@x.example", "b@y.example", NULL, 0 },
		{ 300, "192.0.2.1", "a@x.example", "c@y.example", NULL, 0 },
		{ 300, "192.0.2.1", "a@x.example", "d@y.example", NULL, 0 },
		{ 301, "192.0.2.1", "new@z.example", "b@y.example", NULL, 300 } } },
	{ "the same triplet again and again passes once", &conf, {
		{ 0, "192.0.2.1", "a@x.example", "b@y.example", NULL, 300 },
		{ 300, "192.0.2.1", "a@x.example", "b@y.example", NULL, 0 },
		{ 1000, "192.0.2.1", "a@x.example", "b@y.example", NULL, 0 },
		{ 2000, "192.0.2.1", "a@x.example", "b@y.example", NULL, 0 },
		{ 3000, "192.0.2.1", "a@x.example", "b@y.example", NULL, 0 },
		{ 3001, "192.0.2.1", "new@z.example", "b@y.example", NULL, 300 } } },
	{ "auto_passes = 0: never", &never_auto, {
		{ 0, "192.0.2.1", "a@x.example", "b@y.example", NULL, 300 },
		{ 300, "192.0.2.1", "a@x.example", "b@y.example", NULL, 0 },
		{ 301, "192.0.2.1", "new@z.example", "b@y.example", NULL, 300 } } },
};

static void tell(const struct story *story)
{
	struct state_sqlite *db = NULL;
	struct state_local local;

	print_message("  %s\n", story->name);
	assert_int_equal(state_sqlite_open(":memory:", &db), 0);
	state_local_init(&local, db, fake_now);
	for (const struct step *s = story->step; s->ip; s++) {
		struct net_addr client;
		struct greylist_query q = {
			.client = &client, .from = s->from, .rcpt = s->rcpt, .spf_domain = s->spf
		};
		enum greylist_answer answer = (enum greylist_answer)99;
		int retry_s = -99;
		char why[160] = "";

		now = BEGIN + s->at;
		assert_int_equal(net_parse(s->ip, &client), 0);
		if (s->want < 0) {
			assert_int_equal(greylist_dkim_seen(&local.state, story->conf, &client,
							    s->from),
					 0);
			continue;
		}
		assert_int_equal(greylist_check(&local.state, story->conf, &q, &answer, &retry_s,
						why),
				 0);
		if ((answer == GREYLIST_PASS) != (s->want == 0) || retry_s != s->want)
			fail_msg("step %d: wanted %d, got %d: %s", (int)(s - story->step), s->want,
				 retry_s, why);
		assert_true(strlen(why) > 0);
	}
	state_sqlite_close(db);
}

static void test_stories(void **unused)
{
	for (size_t i = 0; i < sizeof(stories) / sizeof(stories[0]); i++)
		tell(&stories[i]);
}

/* A store that fails at its nth request: -errno comes out, whichever it is. */
static int fail_at;
static struct state_local real;

static int failing_run(struct state *s, struct state_op *ops, size_t count)
{
	return fail_at-- == 0 ? -EPIPE : state_run(&real.state, ops, count);
}

static void test_store_away(void **unused)
{
	struct state failing = { .run = failing_run };
	struct state_sqlite *db = NULL;
	struct net_addr client;
	struct greylist_query q = { .client = &client,
				    .from = "a@x.example",
				    .rcpt = "b@y.example",
				    .spf_domain = "x.example" };
	int fails = 0;

	assert_int_equal(net_parse("192.0.2.1", &client), 0);
	assert_int_equal(state_sqlite_open(":memory:", &db), 0);
	state_local_init(&real, db, fake_now);
	for (int n = 0; n < 12; n++) {
		enum greylist_answer answer;
		int retry_s, rc;
		char why[160], domain[32];

		now = BEGIN + n * 301;
		fail_at = n % 4;
		rc = greylist_check(&failing, &conf, &q, &answer, &retry_s, why);
		assert_true(rc == 0 || rc == -EPIPE);
		fails += rc < 0;
		fail_at = n % 3;        /* a domain that was not the last one: two requests */
		snprintf(domain, sizeof(domain), "x%d.example", n);
		rc = greylist_dkim_seen(&failing, &conf, &client, domain);
		assert_int_equal(rc, n % 3 < 2 ? -EPIPE : 0);
	}
	assert_true(fails >= 6);
	assert_int_equal(greylist_dkim_seen(&real.state, &conf, &client, ""), -EINVAL);
	assert_int_equal(greylist_dkim_seen(&real.state, &conf, &client, "two words"), -EINVAL);
	state_sqlite_close(db);
}

/* Addresses of any length make a key. */
static void test_long(void **unused)
{
	char from[2000], rcpt[2000];
	struct state_sqlite *db = NULL;
	struct net_addr client;
	struct greylist_query q = { .client = &client, .from = from, .rcpt = rcpt };
	enum greylist_answer answer;
	char why[160];
	int retry_s;

	memset(from, 'a', sizeof(from) - 1);
	memset(rcpt, 'b', sizeof(rcpt) - 1);
	from[sizeof(from) - 1] = rcpt[sizeof(rcpt) - 1] = 0;
	assert_int_equal(net_parse("192.0.2.1", &client), 0);
	assert_int_equal(state_sqlite_open(":memory:", &db), 0);
	state_local_init(&real, db, fake_now);
	now = BEGIN;
	assert_int_equal(greylist_check(&real.state, &conf, &q, &answer, &retry_s, why), 0);
	assert_int_equal(answer, GREYLIST_WAIT);
	now += 300;
	assert_int_equal(greylist_check(&real.state, &conf, &q, &answer, &retry_s, why), 0);
	assert_int_equal(answer, GREYLIST_PASS);
	state_sqlite_close(db);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stories),
		cmocka_unit_test(test_store_away),
		cmocka_unit_test(test_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
