/* Rates told as stories: who sends when, and which rates he is over then. The store is SQLite in memory, the clock is ours. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "filters/filter.h"
#include "policy/conf.h"
#include "policy/rate.h"
#include "policy/state_sqlite.h"

enum { HOUR = 3600, BEGIN = 1000 * HOUR };

static struct state_sqlite *db;
static struct state_local local;
static struct site site;
static int64_t now;
static int fail_rc;

static int64_t fake_now(void)
{
	return now;
}

static int setup(void **state)
{
	fact_register_all();
	return 0;
}

static void state_begin(void)
{
	assert_int_equal(state_sqlite_open(":memory:", &db), 0);
	state_local_init(&local, db, fake_now);
	memset(&site, 0, sizeof(site));
}

static void rate_add(const char *name, enum rate_by by, enum rate_count count, int limit, int period_s)
{
	struct rate_conf *r = &site.rate[site.rate_count++];

	*r = (struct rate_conf){ .by = by, .count = count, .limit = limit, .period_s = period_s };
	snprintf(r->name, sizeof(r->name), "%s", name);
}

struct sender {
	struct client client;
	struct txn txn;
};

static void sender_init(struct sender *s, const char *ip, const char *from, const char *user)
{
	memset(s, 0, sizeof(*s));
	assert_int_equal(net_parse(ip, &s->client.addr), 0);
	snprintf(s->client.ip, sizeof(s->client.ip), "%s", ip);
	s->client.relay = true;
	s->client.auth_user = user ? strdup(user) : NULL;
	txn_init(&s->txn, &site, NULL, &s->client);
	s->txn.state = &local.state;
	s->txn.env.from = strdup(from);
	s->txn.stage = STAGE_RCPT;
}

static void sender_release(struct sender *s)
{
	txn_release(&s->txn);
	client_release(&s->client);
}

/* One recipient more at that moment: the names of the rates that are over, joined by commas. */
static const char *rcpt(struct sender *s, int64_t at)
{
	static char out[256];
	struct facts facts = { 0 };
	const struct fact *f;

	now = BEGIN + at;
	assert_int_equal(rate_count_at(&s->txn, now, &facts), 0);
	f = facts_get_name(&facts, "rate.over");
	assert_non_null(f);
	assert_int_equal(f->state, FACT_KNOWN);
	out[0] = '\0';
	for (size_t i = 0; i < f->count; i++)
		snprintf(out + strlen(out), sizeof(out) - strlen(out), "%s%s", i ? "," : "", f->text[i]);
	facts_release(&facts);
	return out;
}

/* One transaction with n recipients: how many are within. */
static int within(const char *ip, const char *from, const char *user, int n, int64_t at)
{
	struct sender s;
	int good = 0;

	sender_init(&s, ip, from, user);
	for (int i = 0; i < n; i++)
		good += rcpt(&s, at)[0] == '\0';
	sender_release(&s);
	return good;
}

#define IP "192.0.2.1"

static void test_recipients(void **state)
{
	state_begin();
	rate_add("hour", RATE_BY_ACCOUNT, RATE_RECIPIENTS, 10, HOUR);
	assert_int_equal(within(IP, "a@example.com", "ann", 7, 0), 7);
	assert_int_equal(within(IP, "other@example.com", "ANN", 7, 1), 3);      /* the account counts, in any case */
	assert_int_equal(within("192.0.2.9", "a@example.com", "ann", 7, 2), 0);
	assert_int_equal(within(IP, "a@example.com", "bob", 7, 2), 7);          /* another goes on */
	assert_int_equal(within(IP, "a@example.com", NULL, 50, 2), 50);         /* who has not authenticated is no account */
	state_sqlite_close(db);
}

static void test_window(void **state)
{
	state_begin();
	rate_add("hour", RATE_BY_ACCOUNT, RATE_RECIPIENTS, 10, HOUR);
	assert_int_equal(within(IP, "a@example.com", "ann", 20, HOUR - 10), 10);
	/* The next period begins with what the window still covers, and that becomes less. */
	assert_int_equal(within(IP, "a@example.com", "ann", 20, HOUR + 10), 0);
	assert_int_equal(within(IP, "a@example.com", "ann", 20, HOUR + HOUR / 2), 5);
	assert_int_equal(within(IP, "a@example.com", "ann", 20, 2 * HOUR - 1), 5);
	/* Who has tried all the time, and was over, is not punished for it. */
	assert_int_equal(within(IP, "a@example.com", "ann", 5000, 2 * HOUR + 1), 0);
	assert_int_equal(within(IP, "a@example.com", "ann", 20, 4 * HOUR), 10);
	state_sqlite_close(db);
}

static void test_messages(void **state)
{
	state_begin();
	rate_add("messages", RATE_BY_SENDER, RATE_MESSAGES, 2, HOUR);
	assert_int_equal(within(IP, "a@example.com", NULL, 30, 0), 30);
	assert_int_equal(within(IP, "A@Example.com", NULL, 30, 0), 30);
	assert_int_equal(within(IP, "a@example.com", NULL, 30, 0), 0);          /* the whole message */
	assert_int_equal(within(IP, "b@example.com", NULL, 1, 0), 1);
	assert_int_equal(within(IP, "", NULL, 1, 0) + within(IP, "", NULL, 1, 0) + within(IP, "", NULL, 1, 0), 2);
	assert_int_equal(within("192.0.2.2", "", NULL, 1, 0), 1);               /* bounces count by address */
	state_sqlite_close(db);
}

static void test_clients(void **state)
{
	state_begin();
	rate_add("client", RATE_BY_CLIENT, RATE_RECIPIENTS, 3, HOUR);
	assert_int_equal(within("2001:db8::1", "a@example.com", "ann", 2, 0), 2);
	assert_int_equal(within("2001:db8::2", "b@example.com", "bob", 2, 0), 1);       /* one /64 */
	assert_int_equal(within("2001:db8:0:1::2", "b@example.com", "bob", 2, 0), 2);
	assert_int_equal(within("192.0.2.1", "b@example.com", "bob", 4, 0), 3);
	assert_int_equal(within("192.0.2.2", "b@example.com", "bob", 4, 0), 3);
	state_sqlite_close(db);
}

static void test_several(void **state)
{
	struct sender s;

	state_begin();
	rate_add("small", RATE_BY_ACCOUNT, RATE_RECIPIENTS, 2, 60);
	rate_add("large", RATE_BY_ACCOUNT, RATE_RECIPIENTS, 4, HOUR);
	rate_add("sender", RATE_BY_SENDER, RATE_MESSAGES, 1, HOUR);
	sender_init(&s, IP, "a@example.com", "ann");
	assert_string_equal(rcpt(&s, 0), "");
	assert_string_equal(rcpt(&s, 0), "");
	assert_string_equal(rcpt(&s, 0), "small");
	assert_string_equal(rcpt(&s, 0), "small");               /* and is not counted elsewhere, either */
	assert_string_equal(rcpt(&s, 0), "small");
	assert_string_equal(rcpt(&s, 180), "");
	assert_string_equal(rcpt(&s, 180), "");
	assert_string_equal(rcpt(&s, 180), "small,large");
	assert_string_equal(rcpt(&s, 360), "large");
	sender_release(&s);
	sender_init(&s, IP, "a@example.com", "bob");
	assert_string_equal(rcpt(&s, 361), "sender");
	sender_release(&s);
	state_sqlite_close(db);
}

static int broken_run(struct state *s, struct state_op *ops, size_t count)
{
	return fail_rc;
}

/* Strangers, no rates, no state: nobody is over. */
static void test_open(void **state)
{
	struct state broken = { .run = broken_run };
	struct sender s;

	state_begin();
	sender_init(&s, IP, "a@example.com", "ann");
	assert_string_equal(rcpt(&s, 0), "");
	rate_add("one", RATE_BY_ACCOUNT, RATE_RECIPIENTS, 1, HOUR);
	assert_string_equal(rcpt(&s, 0), "");
	assert_string_equal(rcpt(&s, 0), "one");
	fail_rc = -ETIMEDOUT;
	s.txn.state = &broken;
	assert_string_equal(rcpt(&s, 0), "");
	s.txn.state = NULL;
	assert_string_equal(rcpt(&s, 0), "");
	s.txn.state = &local.state;
	s.client.relay = false;
	assert_string_equal(rcpt(&s, 0), "");
	sender_release(&s);
	state_sqlite_close(db);
}

static void test_estimate(void **state)
{
	static const struct {
		int64_t before, present, at, want;
		int period_s;
	} rows[] = {
		{ 100, 0, 0, 100, 100 }, { 100, 0, 50, 50, 100 }, { 100, 0, 99, 1, 100 }, { 0, 7, 42, 7, 100 }, { 100, 7, 50, 57, 100 },
		{ INT64_MAX, 0, 0, INT32_MAX, 100 }, { 0, 0, 0, 0, 60 }, { 1, 0, 1, 1, 100 }, { 1, 0, 51, 0, 100 },
		{ 10, 0, 1, 10, 3600 }, { 10, 0, 181, 9, 3600 }, { 10, 5, 3599, 5, 3600 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		assert_int_equal(rate_estimate(rows[i].before, rows[i].present, rows[i].period_s, 1000 * rows[i].period_s + rows[i].at), rows[i].want);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_recipients), cmocka_unit_test(test_window), cmocka_unit_test(test_messages), cmocka_unit_test(test_clients),
		cmocka_unit_test(test_several), cmocka_unit_test(test_open), cmocka_unit_test(test_estimate),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
