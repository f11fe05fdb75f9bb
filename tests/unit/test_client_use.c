#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "policy/client_use.h"

enum { PERIOD = 60000 };
static const int64_t BEGIN = (int64_t)PERIOD * 1000;    /* where a period begins */

static const struct use_conf conf = {
	.period_ms = PERIOD, .slow_from = 50, .slow_max_ms = 5000,
	.limit = { 10, 100, 10, 100, 10, 10, 1000, 10 },
};

static struct use_table *table_new(void)
{
	struct use_table *t = mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(t != MAP_FAILED);
	client_use_init(t);
	return t;
}

static void table_free(struct use_table *t)
{
	munmap(t, sizeof(*t));
}

static struct use_client name(const struct use_table *t, const struct use_conf *c, const char *ip)
{
	struct use_client out;
	struct net_addr a;

	assert_int_equal(net_parse(ip, &a), 0);
	client_use_name(t, c, &a, &out);
	return out;
}

static struct use_client name_number(const struct use_table *t, uint32_t n)
{
	struct net_addr a = { .family = AF_INET, .ip = { (unsigned char)(n >> 24), (unsigned char)(n >> 16), (unsigned char)(n >> 8), (unsigned char)n } };
	struct use_client out;

	client_use_name(t, &conf, &a, &out);
	return out;
}

static struct use_view add(struct use_table *t, const struct use_client *c, enum use_kind kind, int64_t n, int64_t now)
{
	struct use_view v;

	client_use_add(t, &conf, c, kind, n, now, &v);
	return v;
}

/* --- windows --- */

static void test_window(void **state)
{
	/* Steps: at, how many more, what counts then. */
	static const struct { const char *what; struct { int64_t at, n, want; } step[6]; } rows[] = {
		{ "one period", { { 0, 1, 1 }, { 1000, 2, 3 }, { PERIOD - 1, 0, 3 } } },
		{ "slides out of the next", { { 0, 8, 8 }, { PERIOD, 0, 8 }, { PERIOD + PERIOD / 2, 0, 4 }, { 2 * PERIOD - 1, 0, 0 } } },
		{ "as the period turns none is forgotten", { { PERIOD - 1, 8, 8 }, { PERIOD, 0, 8 }, { PERIOD + 1, 0, 8 }, { PERIOD + PERIOD / 16, 0, 8 },
							      { PERIOD + PERIOD / 16 + 1, 0, 7 }, { 2 * PERIOD - 1, 0, 0 } } },
		{ "one alone for half of the next", { { 0, 1, 1 }, { PERIOD + PERIOD / 2, 0, 1 }, { PERIOD + PERIOD / 2 + 1, 0, 0 } } },
		{ "both count", { { 0, 8, 8 }, { PERIOD + PERIOD / 4, 2, 8 }, { PERIOD + PERIOD / 2, 1, 7 }, { 2 * PERIOD, 0, 3 }, { 3 * PERIOD, 0, 0 } } },
		{ "a period without anything", { { 0, 8, 8 }, { 2 * PERIOD, 0, 0 }, { 2 * PERIOD, 1, 1 } } },
		{ "much later", { { 0, 8, 8 }, { (int64_t)70000 * PERIOD, 1, 1 } } },
		{ "the clock goes back a little", { { PERIOD, 8, 8 }, { PERIOD - 5000, 1, 9 }, { PERIOD + 1000, 0, 9 } } },
		{ "and far: it begins anew", { { 100 * PERIOD, 8, 8 }, { 0, 0, 0 }, { 0, 1, 1 }, { PERIOD / 2, 1, 2 } } },
		{ "taken back", { { 0, 8, 8 }, { 1000, -3, 5 }, { 2000, -30, 0 } } },
		{ "taken back from the period before", { { 0, 8, 8 }, { PERIOD, 1, 9 }, { PERIOD, -4, 5 }, { PERIOD, -100, 0 } } },
		{ "no more than can be counted", { { 0, (int64_t)1 << 40, (1 << 24) - 1 }, { PERIOD, (int64_t)1 << 40, 2 * ((int64_t)1 << 24) - 2 } } },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct use_table *t = table_new();
		struct use_client c = name(t, &conf, "192.0.2.1");

		for (size_t k = 0; k < 6 && (k == 0 || rows[i].step[k].at || rows[i].step[k].n || rows[i].step[k].want); k++) {
			int64_t now = BEGIN + rows[i].step[k].at, n = rows[i].step[k].n;
			struct use_view v;

			if (n < 0) {
				client_use_take_back(t, &conf, &c, USE_ERRORS, -n, now);
				n = 0;
			}
			v = add(t, &c, USE_ERRORS, n, now);
			if (v.count != rows[i].step[k].want)
				fail_msg("%s, step %zu: %lld instead of %lld", rows[i].what, k, (long long)v.count, (long long)rows[i].step[k].want);
		}
		table_free(t);
	}
}

/* A client that goes on and on gets its limit in every period, and not twice that where two meet. */
static void test_rate(void **state)
{
	struct use_table *t = table_new();
	struct use_client c = name(t, &conf, "192.0.2.1");
	int taken[400] = { 0 };

	for (int s = 0; s < 400; s++)
		for (int k = 0; k < 5; k++) {
			if (add(t, &c, USE_MESSAGES, 1, BEGIN + (int64_t)s * 1000).over)
				client_use_take_back(t, &conf, &c, USE_MESSAGES, 1, BEGIN + (int64_t)s * 1000);
			else
				taken[s]++;
		}
	for (int from = 0; from + 60 <= 400; from++) {
		int sum = 0;

		for (int s = from; s < from + 60; s++)
			sum += taken[s];
		assert_in_range(sum, from < 60 ? 0 : 8, 12);    /* the part of the period before is an estimate */
	}
	table_free(t);
}

static void test_over(void **state)
{
	struct use_table *t = table_new();
	struct use_client c = name(t, &conf, "192.0.2.1"), other = name(t, &conf, "192.0.2.2");
	struct use_view v;

	assert_int_equal(use_delay_ms(&conf, add(t, &c, USE_CONNECTIONS, 4, BEGIN).load), 0);
	v = add(t, &c, USE_CONNECTIONS, 2, BEGIN);
	assert_true(use_delay_ms(&conf, v.load) == 1000 && !v.over && v.limit == 10);
	v = add(t, &c, USE_CONNECTIONS, 4, BEGIN);             /* the limit itself is not too many, */
	assert_true(use_delay_ms(&conf, v.load) == 5000 && !v.over);
	assert_true(add(t, &c, USE_CONNECTIONS, 0, BEGIN).over);       /* but one more would be */
	assert_true(add(t, &c, USE_CONNECTIONS, 1, BEGIN).over);
	assert_int_equal(add(t, &c, USE_COMMANDS, 0, BEGIN).load, 0);  /* of other kinds, of others: nothing */
	assert_int_equal(add(t, &other, USE_CONNECTIONS, 0, BEGIN).load, 0);
	table_free(t);
}

static void test_delay(void **state)
{
	static const struct { int from, load, want; } rows[] = {
		{ 50, 0, 0 }, { 50, 499, 0 }, { 50, 500, 0 }, { 50, 501, 10 }, { 50, 750, 2500 }, { 50, 1000, 5000 }, { 100, 1000, 0 }, { 100, 999, 0 },
		{ 0, 0, 0 }, { 0, 500, 2500 }, { 99, 995, 2500 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct use_conf c = { .slow_from = rows[i].from, .slow_max_ms = 5000 };

		assert_int_equal(use_delay_ms(&c, rows[i].load), rows[i].want);
	}
}

static void test_no_limit(void **state)
{
	struct use_conf none = { .period_ms = PERIOD };
	struct use_table *t = table_new();
	struct use_client c = name(t, &none, "192.0.2.1");
	struct use_view v;

	for (int i = 0; i < 100; i++) {
		client_use_add(t, &none, &c, USE_MESSAGES, 1000, BEGIN, &v);
		assert_true(!v.over && v.load == 0);
		site_use_add(t, &none, USE_MESSAGES, 1000, BEGIN, &v);
		assert_true(!v.over && v.load == 0);
	}
	table_free(t);
}

/* Who looks for addresses is shut out for a period, whatever becomes of the count; no more than that. */
static void test_shut(void **state)
{
	struct use_table *t = table_new();
	struct use_client c = name(t, &conf, "192.0.2.1");

	assert_false(add(t, &c, USE_UNKNOWN, 9, BEGIN).shut);
	assert_true(add(t, &c, USE_UNKNOWN, 1, BEGIN + PERIOD - 1).shut);
	assert_true(add(t, &c, USE_UNKNOWN, 0, BEGIN + 2 * PERIOD - 2).shut);
	assert_false(add(t, &c, USE_UNKNOWN, 0, BEGIN + 2 * PERIOD).shut);
	assert_false(add(t, &c, USE_UNKNOWN, 0, BEGIN - 10 * PERIOD).shut);    /* a clock that went back keeps nobody out for long */
	table_free(t);
}

/* --- who counts as whom --- */

static void test_networks(void **state)
{
	static const struct { const char *a, *b; bool same; } rows[] = {
		{ "192.0.2.1", "192.0.2.1", true },
		{ "192.0.2.1", "192.0.2.2", false },
		{ "2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true },
		{ "2001:db8:0:1::1", "2001:db8:0:2::1", false },
		{ "192.0.2.1", "::ffff:192.0.2.1", true },
		{ "64:ff9b::192.0.2.1", "64:ff9b::192.0.2.2", false },
		{ "64:ff9b::192.0.2.1", "192.0.2.1", true },
		{ "2002:c000:201::1", "2002:c000:201:ffff::1", true },
		{ "2001:0:c633:6401::3fff:fdfe", "2001:0:c633:6401::3fff:fdfd", false },
		{ "0.0.0.0", "::", false },
	};
	struct use_table *t = table_new();
	struct use_conf other = conf;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct use_client a = name(t, &conf, rows[i].a), b = name(t, &conf, rows[i].b);

		assert_int_equal(a.hash[0] == b.hash[0], rows[i].same);
	}
	/* Windows of another length are counted apart: two generations of workers do not spoil each other's. */
	other.period_ms = PERIOD / 2;
	assert_true(name(t, &conf, "192.0.2.1").hash[0] != name(t, &other, "192.0.2.1").hash[0]);
	table_free(t);
}

/* Ever new /64s: the /56 has 4 times as much, the /48 16 times; another /48 is not harmed. */
static void test_escalation(void **state)
{
	struct use_table *t = table_new();
	struct use_client c;
	struct use_view v = { 0 };
	char ip[64], text[NET_TEXT_MAX];
	struct net_addr a;
	int in_56 = 0, in_48 = 0;

	for (int i = 0; i < 256 && !v.over; i++) {
		snprintf(ip, sizeof(ip), "2001:db8:1:1%02x::1", i);
		c = name(t, &conf, ip);
		v = add(t, &c, USE_CONNECTIONS, 1, BEGIN);
		in_56 += !v.over;
	}
	assert_int_equal(in_56, 40);
	assert_int_equal(v.network, 1);
	assert_int_equal(v.limit, 40);
	net_parse(ip, &a);
	assert_string_equal(client_use_network(&a, v.network, text), "2001:db8:1:100::/56");
	v.over = false;
	for (int i = 0; i < 256 && !v.over; i++) {
		snprintf(ip, sizeof(ip), "2001:db8:1:%02x00::1", i);
		c = name(t, &conf, ip);
		v = add(t, &c, USE_CONNECTIONS, 1, BEGIN);
		if (v.over && v.network < 2)
			v.over = false;         /* the /56 of before */
		else
			in_48 += !v.over;
	}
	assert_in_range(in_48, 115, 120);
	assert_int_equal(v.network, 2);
	c = name(t, &conf, "2001:db8:2::1");
	assert_false(add(t, &c, USE_CONNECTIONS, 1, BEGIN).over);
	table_free(t);
}

/* --- many --- */

/*
 * A million addresses come by. Who was near a limit is still there, and shut out who was; honest ones are counted for what they did themselves, or less.
 */
static void test_eviction(void **state)
{
	enum { HEAVY = 500, HONEST = 2000, MANY = 1000000 };
	struct use_table *t = table_new();
	struct use_client c;
	int escaped = 0;

	for (uint32_t i = 0; i < HEAVY; i++) {
		c = name_number(t, 0x0a000000 + i);
		add(t, &c, i % 2 ? USE_CONNECTIONS : USE_UNKNOWN, 10, BEGIN);
	}
	for (uint32_t i = 0; i < MANY; i++) {
		c = name_number(t, 0x20000000 + i);
		assert_false(add(t, &c, USE_CONNECTIONS, 1, BEGIN + i / 1000).over);
		if (i % (MANY / HONEST) == 0) {
			c = name_number(t, 0x0b000000 + i / (MANY / HONEST) % HONEST);
			assert_in_range(add(t, &c, USE_CONNECTIONS, 1, BEGIN + i / 1000).count, 1, 1);
		}
	}
	for (uint32_t i = 0; i < HEAVY; i++) {
		c = name_number(t, 0x0a000000 + i);
		escaped += i % 2 ? !add(t, &c, USE_CONNECTIONS, 0, BEGIN + 2000).over : !add(t, &c, USE_UNKNOWN, 0, BEGIN + 2000).shut;
	}
	assert_int_equal(escaped, 0);
	table_free(t);
}

/* Four processes hammer the same few and ever new ones: of the few not one is lost. */
static void test_processes(void **state)
{
	enum { WORKERS = 4, TURNS = 50000, FEW = 3, BEFORE = 20000 };
	struct use_table *t = table_new();
	struct use_conf big = conf;

	/* The few have used more of their limits than the others ever will: whichever bucket they are in they stay. */
	big.limit[USE_COMMANDS] = big.limit[USE_CONNECTIONS] = USE_LIMIT_MAX;
	for (int few = 0; few < FEW; few++) {
		struct use_client c = name_number(t, (uint32_t)few);
		struct use_view v;

		client_use_add(t, &big, &c, USE_COMMANDS, BEFORE, BEGIN, &v);
	}
	for (int w = 0; w < WORKERS; w++) {
		if (fork() != 0)
			continue;
		for (uint32_t i = 0; i < TURNS; i++) {
			struct use_client few = name_number(t, i % FEW), other = name_number(t, 1000 + i * WORKERS + (uint32_t)w);
			struct use_view v;

			client_use_add(t, &big, &few, USE_COMMANDS, 3, BEGIN, &v);
			client_use_take_back(t, &big, &few, USE_COMMANDS, 1, BEGIN);
			site_use_add(t, &big, USE_COMMANDS, 1, BEGIN, &v);
			if (i % 10 == 0)
				client_use_add(t, &big, &other, USE_CONNECTIONS, 1, BEGIN, &v);
		}
		_exit(0);
	}
	while (wait(NULL) > 0)
		;
	for (int few = 0; few < FEW; few++) {
		struct use_client c = name_number(t, (uint32_t)few);
		struct use_view v;

		client_use_add(t, &big, &c, USE_COMMANDS, 0, BEGIN, &v);
		assert_int_equal(v.count, BEFORE + 2 * WORKERS * ((TURNS + FEW - 1 - few) / FEW));
	}
	{
		struct use_view v;

		site_use_add(t, &big, USE_COMMANDS, 0, BEGIN, &v);
		assert_int_equal(v.count, WORKERS * TURNS);
	}
	table_free(t);
}

/* --- what is said --- */

static void test_say(void **state)
{
	struct use_table *t = table_new();
	struct use_client c = name(t, &conf, "192.0.2.1"), other = name(t, &conf, "192.0.2.2");
	int more;

	assert_true(client_use_say(t, &conf, &c, 0, USE_ERRORS, BEGIN, &more) && more == 0);
	for (int i = 0; i < 70000; i++)
		assert_false(client_use_say(t, &conf, &c, 0, USE_ERRORS, BEGIN + 59999, &more));
	assert_true(client_use_say(t, &conf, &c, 0, USE_SESSIONS, BEGIN, &more) && more == 0);
	assert_true(client_use_say(t, &conf, &other, 0, USE_ERRORS, BEGIN, &more) && more == 0);
	assert_true(client_use_say(t, &conf, NULL, 0, USE_ERRORS, BEGIN, &more) && more == 0);
	assert_false(client_use_say(t, &conf, NULL, 0, USE_ERRORS, BEGIN, &more));
	assert_true(client_use_say(t, &conf, &c, 0, USE_ERRORS, BEGIN + 60000, &more));
	assert_int_equal(more, 65535);
	assert_true(client_use_say(t, &conf, NULL, 0, USE_ERRORS, BEGIN + 60000, &more) && more == 1);
	table_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_window), cmocka_unit_test(test_rate),     cmocka_unit_test(test_over),      cmocka_unit_test(test_delay),
		cmocka_unit_test(test_no_limit), cmocka_unit_test(test_shut),     cmocka_unit_test(test_networks),  cmocka_unit_test(test_escalation),
		cmocka_unit_test(test_eviction), cmocka_unit_test(test_processes), cmocka_unit_test(test_say),
	};

	return cmocka_run_group_tests_name("client_use", tests, NULL, NULL);
}
