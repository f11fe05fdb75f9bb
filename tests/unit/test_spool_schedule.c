/*
 * The schedule of the spool: cases by hand, and thousands of random steps beside a plain model that looks at every part every time.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/spool_schedule.h"
#include "support/random.h"

enum { MIN = 60 * 1000, HOUR = 60 * MIN, DAY = 24 * HOUR };
#define WALL_MS 1795310000000LL

static const struct spool_settings standard = { .life_s = 5 * 86400, .delay_notice_s = 4 * 3600, .retry_min_ms = MIN,
						.retry_max_ms = 4 * HOUR, .deliveries = 3 };

static int worker_a, worker_b;

static struct spool_envelope *entry(unsigned n, const char *route)
{
	struct spool_envelope *e = spool_envelope_new();

	store_id_make(1000000 + n, n, e->id);
	e->created_s = WALL_MS / 1000;
	e->bytes = 10;
	assert_non_null(spool_envelope_add(e, "b@y", "", route));
	return e;
}

static void add(struct spool_schedule *s, unsigned n, const char *route, int64_t now_ms)
{
	AUTO(spool_envelope) struct spool_envelope *e = entry(n, route);

	assert_int_equal(spool_schedule_put(s, e, now_ms, WALL_MS), 0);
}

static void forget(struct spool_schedule *s, unsigned n)
{
	AUTO(spool_envelope) struct spool_envelope *e = entry(n, "x");

	spool_schedule_forget(s, e->id);
}

/* The number of the entry that is leased; 0: nothing. */
static unsigned lease(struct spool_schedule *s, int64_t now_ms, struct spool_grant *g)
{
	if (!spool_schedule_lease(s, &worker_a, now_ms, g))
		return 0;
	return (unsigned)(store_id_ms(g->id) - 1000000);
}

/* Reports to hosts that take their time, as many as a stranger likes: what people wrote goes out meanwhile, to the same hosts, too. */
static void test_minor(void **state)
{
	struct spool_schedule *s = spool_schedule_new(&standard, 0);
	struct spool_grant g, first;
	char route[32];

	for (unsigned n = 1; n <= 30; n++) {
		AUTO(spool_envelope) struct spool_envelope *e = NULL;

		snprintf(route, sizeof(route), "mx h%u.example", n);
		e = entry(n, route);
		e->minor = true;
		assert_int_equal(spool_schedule_put(s, e, 0, WALL_MS), 0);
	}
	for (unsigned n = 0; n < SPOOL_MINOR_MAX; n++)
		assert_true(lease(s, 0, n ? &g : &first) > 0);
	assert_int_equal(lease(s, 0, &g), 0);
	assert_true(spool_schedule_next_ms(s) > 1000);
	for (unsigned n = 31; n <= 60; n++) {
		snprintf(route, sizeof(route), "mx h%u.example", n - 30);
		add(s, n, route, 0);
	}
	for (unsigned n = 31; n <= 60; n++)
		assert_in_range(lease(s, 0, &g), 31, 60);
	assert_int_equal(lease(s, 0, &g), 0);
	/* One for one. */
	assert_true(spool_schedule_end(s, first.id, first.number, SPOOL_END_DOWN, 0));
	assert_int_equal(spool_schedule_next_ms(s), 0);
	assert_in_range(lease(s, 0, &g), 1, 30);
	assert_string_not_equal(g.id, first.id);
	assert_int_equal(lease(s, 0, &g), 0);
	assert_int_equal(spool_schedule_gone(s, &worker_a, 0), 40);
	for (unsigned n = 0; n < SPOOL_MINOR_MAX + 30; n++)
		assert_true(lease(s, 0, &g) > 0);
	assert_int_equal(lease(s, 0, &g), 0);
	spool_schedule_free(s);
}

static void test_pauses(void **state)
{
	static const int64_t want_min[] = { 0, 1, 5, 15, 30, 60, 120, 240, 240, 240 };

	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(spool_pause_ms(&standard, i), want_min[i] * MIN);
	assert_int_equal(spool_pause_ms(&standard, 4000000000u), 4 * HOUR);
}

/* A dead next hop is tried by one message, less and less often; when it is back, all follow in order. */
static void test_dead_route(void **state)
{
	struct spool_schedule *s = spool_schedule_new(&standard, 100);
	struct spool_grant g, down, second;
	int64_t now = 0;

	for (unsigned i = 1; i <= 10; i++)
		add(s, i, "mx y", now);
	for (unsigned i = 1; i <= 3; i++)
		assert_int_equal(lease(s, now, &g), i);
	assert_int_equal(lease(s, now, &g), 0);         /* three at once */
	/* The three fail: one failure of the route. */
	spool_schedule_gone(s, &worker_a, now);
	for (unsigned i = 1; i <= 3; i++) {
		assert_int_equal(lease(s, now, i == 1 ? &down : i == 2 ? &second : &g), i);
	}
	assert_true(spool_schedule_end(s, down.id, down.number, SPOOL_END_DOWN, now));
	assert_true(spool_schedule_end(s, g.id, g.number, SPOOL_END_DOWN, now));
	assert_false(spool_schedule_end(s, g.id, g.number, SPOOL_END_DOWN, now));
	assert_true(spool_schedule_end(s, second.id, second.number, SPOOL_END_DOWN, now));
	assert_int_equal(spool_schedule_totals(s).routes_down, 1);
	assert_int_equal(spool_schedule_next_ms(s), MIN);
	assert_int_equal(lease(s, MIN - 1, &g), 0);
	assert_int_equal(lease(s, MIN, &g), 1);
	assert_int_equal(lease(s, MIN, &down), 0);      /* one alone */
	spool_schedule_end(s, g.id, g.number, SPOOL_END_DOWN, MIN);
	assert_int_equal(spool_schedule_next_ms(s), 6 * MIN);
	assert_int_equal(lease(s, 6 * MIN, &g), 1);
	forget(s, 1);                                   /* delivered */
	assert_int_equal(lease(s, 6 * MIN, &g), 2);     /* nobody has said that it is back */
	assert_int_equal(lease(s, 6 * MIN, &down), 0);
	spool_schedule_end(s, g.id, g.number, SPOOL_END_ALIVE, 6 * MIN);
	assert_int_equal(spool_schedule_totals(s).routes_down, 0);
	for (unsigned i = 2; i <= 4; i++)
		assert_int_equal(lease(s, 6 * MIN, &g), i);
	spool_schedule_free(s);
}

/* A server that closes (421) over one message each time: the others do not wait behind it for the days of its life. */
static void test_closed_over_one(void **state)
{
	struct spool_schedule *s = spool_schedule_new(&standard, 1);
	struct spool_grant g;
	int64_t now = MIN;

	for (unsigned i = 1; i <= 3; i++)
		add(s, i, "backend", 0);
	assert_int_equal(lease(s, 0, &g), 1);
	spool_schedule_end(s, g.id, g.number, SPOOL_END_CLOSED, 0);
	assert_int_equal(spool_schedule_totals(s).routes_down, 1);
	assert_int_equal(lease(s, now - 1, &g), 0);
	/* Once, it may be going down: order is kept. */
	assert_int_equal(lease(s, now, &g), 1);
	spool_schedule_end(s, g.id, g.number, SPOOL_END_CLOSED, now);
	now += 5 * MIN;
	assert_int_equal(lease(s, now - 1, &g), 0);
	assert_int_equal(lease(s, now, &g), 2);
	assert_int_equal(lease(s, now, &g), 0);
	spool_schedule_end(s, g.id, g.number, SPOOL_END_ALIVE, now);
	forget(s, 2);
	assert_int_equal(lease(s, now, &g), 3);
	spool_schedule_end(s, g.id, g.number, SPOOL_END_ALIVE, now);
	forget(s, 3);
	assert_int_equal(spool_schedule_next_ms(s), now + MIN);
	/* It comes again by itself, less and less often, and others that come meanwhile go before it. */
	now += MIN;
	assert_int_equal(lease(s, now, &g), 1);
	spool_schedule_end(s, g.id, g.number, SPOOL_END_CLOSED, now);
	add(s, 4, "backend", now);
	assert_int_equal(lease(s, now + MIN, &g), 4);
	spool_schedule_end(s, g.id, g.number, SPOOL_END_ALIVE, now + MIN);
	forget(s, 4);
	assert_int_equal(spool_schedule_next_ms(s), now + 6 * MIN);
	assert_int_equal(lease(s, now + 6 * MIN, &g), 1);
	spool_schedule_end(s, g.id, g.number, SPOOL_END_ALIVE, now + 6 * MIN);
	/* Where nobody can be reached, order stays. */
	add(s, 5, "backend", now);
	for (int i = 0; i < 4; i++) {
		now = spool_schedule_next_ms(s) > now ? spool_schedule_next_ms(s) : now + 6 * MIN;
		assert_int_equal(lease(s, now, &g), 1);
		spool_schedule_end(s, g.id, g.number, SPOOL_END_DOWN, now);
	}
	spool_schedule_free(s);
}

static void test_message_put_off(void **state)
{
	struct spool_schedule *s = spool_schedule_new(&standard, 1);
	struct spool_grant g;

	add(s, 1, "backend", 0);
	add(s, 2, "backend", 0);
	assert_int_equal(lease(s, 0, &g), 1);
	assert_int_equal(lease(s, 0, &g), 0);           /* in order: one at once */
	assert_string_equal(g.route, "backend");
	spool_schedule_end(s, g.id, g.number, SPOOL_END_LATER, 0);
	assert_int_equal(lease(s, 0, &g), 2);           /* the others go on */
	forget(s, 2);
	assert_int_equal(lease(s, MIN - 1, &g), 0);
	assert_int_equal(spool_schedule_next_ms(s), MIN);
	assert_int_equal(lease(s, MIN, &g), 1);
	spool_schedule_free(s);
}

static void test_untried_keeps_its_place(void **state)
{
	struct spool_schedule *s = spool_schedule_new(&standard, 1);
	struct spool_grant g;

	add(s, 1, "backend", 0);
	add(s, 2, "backend", 0);
	assert_int_equal(lease(s, 0, &g), 1);
	spool_schedule_end(s, g.id, g.number, SPOOL_END_UNTRIED, 0);
	assert_int_equal(lease(s, 0, &g), 0);
	assert_int_equal(lease(s, SPOOL_HOLD_MS, &g), 1);
	spool_schedule_free(s);
}

/* Once a worker may die over a message and it is tried again at once; then it is put off, and others get their turn. */
static void test_deadly_message(void **state)
{
	struct spool_schedule *s = spool_schedule_new(&standard, 1);
	struct spool_grant g;

	add(s, 1, "backend", 0);
	add(s, 2, "backend", 0);
	assert_int_equal(lease(s, 0, &g), 1);
	assert_int_equal(spool_schedule_gone(s, &worker_b, 0), 0);
	assert_int_equal(spool_schedule_gone(s, &worker_a, 0), 1);
	assert_int_equal(lease(s, 0, &g), 1);
	assert_int_equal(spool_schedule_gone(s, &worker_a, 0), 1);
	assert_int_equal(lease(s, 0, &g), 2);
	assert_int_equal(spool_schedule_next_ms(s), SPOOL_LEASE_MS);    /* nobody else gets it meanwhile */
	spool_schedule_end(s, g.id, g.number, SPOOL_END_ALIVE, 0);
	forget(s, 2);
	assert_int_equal(spool_schedule_next_ms(s), MIN);
	/* A lease that never ends does, too. */
	assert_int_equal(lease(s, MIN, &g), 1);
	assert_int_equal(lease(s, MIN + SPOOL_LEASE_MS - 1, &g), 0);
	assert_int_equal(lease(s, MIN + SPOOL_LEASE_MS, &g), 0);
	assert_int_equal(lease(s, 6 * MIN + SPOOL_LEASE_MS, &g), 1);
	spool_schedule_free(s);
}

static void test_notices_of_a_dead_route(void **state)
{
	struct spool_schedule *s = spool_schedule_new(&standard, 1);
	AUTO(spool_envelope) struct spool_envelope *e = entry(2, "mx y");
	struct spool_grant g, t;
	int64_t now = 0;
	unsigned n;

	add(s, 1, "mx y", 0);
	add(s, 2, "mx y", 0);
	while (now < 4 * HOUR) {
		assert_int_equal(lease(s, now, &g), 1);
		assert_int_equal(g.duty, SPOOL_DELIVER);
		assert_false(g.tell || g.last);
		spool_schedule_end(s, g.id, g.number, SPOOL_END_DOWN, now);
		now = spool_schedule_next_ms(s);
	}
	assert_int_equal(now, 4 * HOUR);
	for (int i = 0; i < 2; i++) {
		n = lease(s, now, &t);
		assert_true(n == 1 || n == 2);
		assert_int_equal(t.duty, SPOOL_TELL);
		if (n == 2)
			g = t;
	}
	assert_int_equal(lease(s, now, &t), 0);
	/* The second is told; what was told of the first is not known: once more, after a while. */
	e->rcpt[0].delay_told = true;
	assert_int_equal(spool_schedule_put(s, e, now, WALL_MS + now), 0);
	spool_schedule_end(s, g.id, g.number, SPOOL_END_LATER, now);
	assert_int_equal(spool_schedule_gone(s, &worker_a, now), 1);
	assert_int_equal(lease(s, now + MIN, &t), 1);
	assert_int_equal(t.duty, SPOOL_TELL);
	spool_schedule_end(s, t.id, t.number, SPOOL_END_LATER, now + MIN);
	forget(s, 1);
	while (now < 5 * (int64_t)DAY) {
		if (lease(s, now, &g)) {
			assert_int_equal(g.duty, SPOOL_DELIVER);
			spool_schedule_end(s, g.id, g.number, SPOOL_END_DOWN, now);
		}
		assert_true(spool_schedule_next_ms(s) > now);
		now = spool_schedule_next_ms(s);
	}
	assert_int_equal(now, 5 * (int64_t)DAY);
	assert_int_equal(lease(s, now, &g), 2);
	assert_int_equal(g.duty, SPOOL_EXPIRE);
	spool_schedule_end(s, g.id, g.number, SPOOL_END_UNTRIED, now);
	assert_int_equal(lease(s, now, &g), 0);         /* not again and again */
	assert_int_equal(spool_schedule_next_ms(s), now + MIN);
	spool_schedule_free(s);
}

/* Away for a week: everything is old, and everything is tried. */
static void test_all_old(void **state)
{
	struct spool_schedule *s = spool_schedule_new(&standard, 1);
	struct spool_grant g;

	for (unsigned i = 1; i <= 10; i++) {
		AUTO(spool_envelope) struct spool_envelope *e = entry(i, "mx y");

		assert_int_equal(spool_schedule_put(s, e, 0, WALL_MS + 7 * (int64_t)DAY), 0);
	}
	for (unsigned i = 1; i <= 10; i++) {
		assert_int_equal(lease(s, 0, &g), i);
		assert_int_equal(g.duty, SPOOL_DELIVER);
		assert_true(g.last);
		forget(s, i);
	}
	assert_int_equal(spool_schedule_totals(s).messages, 0);
	assert_int_equal(spool_schedule_totals(s).routes, 0);
	assert_int_equal(spool_schedule_next_ms(s), INT64_MAX);
	spool_schedule_free(s);
}

static void test_after_a_restart(void **state)
{
	struct spool_schedule *s = spool_schedule_new(&standard, 1);
	AUTO(spool_envelope) struct spool_envelope *e = entry(1, "mx y");
	struct spool_grant g;

	e->rcpt[0].attempts = 2;
	e->rcpt[0].tried_s = WALL_MS / 1000 - 60;
	assert_int_equal(spool_schedule_put(s, e, 5 * MIN, WALL_MS), 0);
	assert_int_equal(spool_schedule_next_ms(s), 9 * MIN);
	/* Held by a worker when the keeper died. */
	assert_false(spool_schedule_claim(s, e->id, "mx z", 77, &worker_b, DAY));
	assert_true(spool_schedule_claim(s, e->id, "mx y", 77, &worker_b, DAY));
	assert_false(spool_schedule_claim(s, e->id, "mx y", 78, &worker_a, DAY));
	assert_true(spool_schedule_leased(s, e->id));
	assert_int_equal(lease(s, 9 * MIN, &g), 0);
	assert_true(spool_schedule_end(s, e->id, 77, SPOOL_END_ALIVE, 9 * MIN));
	assert_int_equal(lease(s, 9 * MIN, &g), 1);
	/* A clock that was wrong then puts nothing off for years. */
	spool_schedule_forget(s, e->id);
	e->rcpt[0].tried_s = WALL_MS / 1000 + 1000000000;
	assert_int_equal(spool_schedule_put(s, e, 5 * MIN, WALL_MS), 0);
	assert_true(spool_schedule_next_ms(s) <= 5 * MIN + 4 * HOUR);
	spool_schedule_forget(s, e->id);
	e->created_s = WALL_MS / 1000 + 1000000000;
	e->rcpt[0].attempts = 0;
	assert_int_equal(spool_schedule_put(s, e, 0, WALL_MS), 0);
	g.duty = SPOOL_DELIVER;
	for (int64_t now = 0; g.duty != SPOOL_EXPIRE; now = spool_schedule_next_ms(s)) {
		assert_true(now <= 5 * (int64_t)DAY);
		if (lease(s, now, &g))
			spool_schedule_end(s, g.id, g.number, SPOOL_END_DOWN, now);
	}
	spool_schedule_free(s);
}

/* Whom somebody has given up gets nothing, even where the notification could not be made at first. */
static void test_given_up(void **state)
{
	struct spool_schedule *s = spool_schedule_new(&standard, 1);
	AUTO(spool_envelope) struct spool_envelope *e = entry(1, "mx y");
	struct spool_grant g;

	add(s, 1, "mx y", 0);
	assert_int_equal(spool_schedule_give_up(s, e->id, 0), 1);
	assert_int_equal(lease(s, 0, &g), 1);
	assert_int_equal(g.duty, SPOOL_EXPIRE);
	spool_schedule_end(s, g.id, g.number, SPOOL_END_LATER, 0);
	assert_int_equal(lease(s, 0, &g), 0);
	assert_int_equal(spool_schedule_next_ms(s), MIN);
	assert_int_equal(lease(s, MIN, &g), 1);
	assert_int_equal(g.duty, SPOOL_EXPIRE);
	spool_schedule_gone(s, &worker_a, MIN);
	assert_int_equal(spool_schedule_wake(s, NULL, MIN), 1);
	assert_int_equal(lease(s, MIN, &g), 1);
	assert_int_equal(g.duty, SPOOL_EXPIRE);
	spool_schedule_end(s, g.id, g.number, SPOOL_END_LATER, MIN);
	assert_int_equal(lease(s, MIN, &g), 0);
	spool_schedule_free(s);
}

static void test_wake(void **state)
{
	struct spool_schedule *s = spool_schedule_new(&standard, 1);
	struct spool_part_state p;
	struct spool_grant g;
	unsigned n;

	add(s, 1, "backend exch1", 0);
	add(s, 2, "backend exch1", 0);
	add(s, 3, "backender", 0);
	add(s, 4, "mx y", 0);
	for (int i = 0; i < 3; i++) {
		assert_true(lease(s, 0, &g) > 0);
		spool_schedule_end(s, g.id, g.number, SPOOL_END_DOWN, 0);
	}
	assert_int_equal(lease(s, 1, &g), 0);
	assert_int_equal(spool_schedule_wake(s, "back", 1), 0);
	assert_int_equal(spool_schedule_wake(s, "backend exch", 1), 0);
	assert_int_equal(spool_schedule_wake(s, "backend", 1), 2);
	assert_int_equal(lease(s, 1, &g), 1);
	assert_int_equal(lease(s, 1, &g), 0);           /* by one, as it is not known to be back */
	assert_int_equal(spool_schedule_wake(s, NULL, 1), 3);
	n = lease(s, 1, &g);
	assert_true(n == 3 || n == 4);
	assert_true(lease(s, 1, &g) + n == 7);
	spool_schedule_gone(s, &worker_a, 1);
	/* One by its id, before those that came earlier. */
	assert_int_equal(lease(s, 1, &g), 1);
	spool_schedule_end(s, g.id, g.number, SPOOL_END_DOWN, 1);
	forget(s, 3);
	forget(s, 4);
	{
		AUTO(spool_envelope) struct spool_envelope *e = entry(2, "backend exch1");

		assert_int_equal(spool_schedule_wake_id(s, e->id, 2), 1);
		assert_int_equal(spool_schedule_parts(s, e->id, &p, 1), 1);
		assert_true(p.route_down && !p.leased && p.next_ms <= 2);
	}
	assert_int_equal(lease(s, 2, &g), 2);
	assert_int_equal(spool_schedule_wake_id(s, "nonsense", 2), 0);
	spool_schedule_free(s);
}

/* Several routes of one entry are parts of it, each leased by itself; a route may change. */
static void test_parts(void **state)
{
	struct spool_schedule *s = spool_schedule_new(&standard, 1);
	AUTO(spool_envelope) struct spool_envelope *e = entry(1, "mx a");
	struct spool_grant g, h;

	spool_envelope_add(e, "c@b", "", "mx b");
	spool_envelope_add(e, "d@a", "", "mx a");
	assert_int_equal(spool_schedule_put(s, e, 0, WALL_MS), 0);
	assert_int_equal(spool_schedule_totals(s).parts, 2);
	assert_int_equal(lease(s, 0, &g), 1);
	assert_int_equal(lease(s, 0, &h), 1);
	assert_string_not_equal(g.route, h.route);
	e->rcpt[0].state = e->rcpt[2].state = SPOOL_DELIVERED;
	free(e->rcpt[1].route);
	e->rcpt[1].route = strdup("upstream");
	assert_int_equal(spool_schedule_put(s, e, 0, WALL_MS), 0);
	assert_int_equal(spool_schedule_totals(s).parts, 3);    /* two under their workers' hands */
	assert_true(spool_schedule_end(s, g.id, g.number, SPOOL_END_ALIVE, 0));
	assert_true(spool_schedule_end(s, h.id, h.number, SPOOL_END_ALIVE, 0));
	assert_int_equal(spool_schedule_totals(s).parts, 1);
	assert_int_equal(lease(s, 0, &g), 1);
	assert_string_equal(g.route, "upstream");
	e->rcpt[1].state = SPOOL_FAILED;
	assert_int_equal(spool_schedule_put(s, e, 0, WALL_MS), 0);
	assert_true(spool_schedule_end(s, g.id, g.number, SPOOL_END_ALIVE, 0));
	assert_false(spool_schedule_knows(s, e->id));
	assert_int_equal(spool_schedule_totals(s).bytes, 0);
	spool_schedule_free(s);
}

/* --- the model --- */

enum { PARTS = 60, ROUTES = 4, STEPS = 4000 };
static const char *const route_text[ROUTES] = { "mx a", "mx b", "backend", "upstream" };

static struct {
	bool there, leased, urgent;
	unsigned n, attempts, deaths;
	int route;
	int64_t created_ms, due_ms;
	struct spool_grant g;
	const void *holder;
} part[PARTS];
static struct { unsigned failures; int64_t not_before_ms; uint64_t down_since; } route[ROUTES];
static unsigned serial;

static int active(int r)
{
	int n = 0;

	for (int i = 0; i < PARTS; i++)
		n += part[i].there && part[i].leased && part[i].route == r && part[i].g.duty == SPOOL_DELIVER;
	return n;
}

static bool open_for(int r, int64_t now)
{
	int limit = route[r].failures || r == 2 ? 1 : (int)standard.deliveries;

	return route[r].not_before_ms <= now && active(r) < limit;
}

static bool due(int i, int64_t now)
{
	return part[i].there && !part[i].leased && part[i].due_ms <= now && open_for(part[i].route, now);
}

/* Nothing may be leased: then nothing is due. Something is: it was due, and the first of its route. */
static void check_lease(struct spool_schedule *s, int64_t now, uint64_t *last)
{
	const void *holder = pick(2) ? (void *)&worker_a : &worker_b;
	struct spool_grant g;
	unsigned n;
	int at = -1;

	if (!spool_schedule_lease(s, holder, now, &g)) {
		for (int i = 0; i < PARTS; i++)
			if (due(i, now))
				fail_msg("%u is due at %lld and not leased", part[i].n, (long long)now);
		assert_true(spool_schedule_next_ms(s) > now);
		return;
	}
	n = (unsigned)(store_id_ms(g.id) - 1000000);
	for (int i = 0; i < PARTS; i++)
		if (part[i].there && part[i].n == n)
			at = i;
	assert_true(at >= 0 && !part[at].leased && g.number > *last);
	*last = g.number;
	assert_string_equal(g.route, route_text[part[at].route]);
	if (g.duty == SPOOL_DELIVER) {
		assert_true(due(at, now));
		for (int i = 0; i < PARTS; i++)
			if (due(i, now) && part[i].route == part[at].route && part[i].urgent >= part[at].urgent)
				assert_true(part[i].n >= n || part[at].urgent > part[i].urgent);
		assert_int_equal(g.last, now >= part[at].created_ms + 5 * (int64_t)DAY);
	} else {
		assert_true(now >= part[at].created_ms + (g.duty == SPOOL_EXPIRE ? 5 * (int64_t)DAY : 4 * HOUR));
		assert_true(route[part[at].route].failures > 0 || (g.duty == SPOOL_TELL && part[at].due_ms > now));
	}
	part[at].g = g;
	part[at].leased = true;
	part[at].holder = holder;
}

static void model_end(struct spool_schedule *s, int i, int64_t now)
{
	enum spool_end end = (enum spool_end)pick(4);
	struct spool_grant g = part[i].g;
	int r = part[i].route;

	if (pick(3) == 0) {             /* delivered, or failed for good */
		AUTO(spool_envelope) struct spool_envelope *e = entry(part[i].n, route_text[r]);

		e->rcpt[0].state = SPOOL_DELIVERED;
		end = SPOOL_END_ALIVE;
		assert_int_equal(spool_schedule_put(s, e, now, WALL_MS + now), 0);
	}
	assert_true(spool_schedule_end(s, g.id, g.number, end, now));
	part[i].leased = part[i].urgent = false;
	part[i].there = spool_schedule_knows(s, g.id);
	if (g.duty == SPOOL_DELIVER && end == SPOOL_END_DOWN) {
		part[i].due_ms = 0;
		if (g.number > route[r].down_since || !route[r].failures) {
			route[r].failures++;
			route[r].not_before_ms = now + spool_pause_ms(&standard, route[r].failures);
			for (int k = 0; k < PARTS; k++)
				if (part[k].g.number > route[r].down_since)
					route[r].down_since = part[k].g.number;
		}
	} else if (g.duty == SPOOL_DELIVER && end == SPOOL_END_UNTRIED) {
		if (route[r].not_before_ms < now + SPOOL_HOLD_MS)
			route[r].not_before_ms = now + SPOOL_HOLD_MS;
	} else if (g.duty == SPOOL_DELIVER) {
		route[r].failures = 0;
		route[r].not_before_ms = 0;
		part[i].deaths = 0;
		if (end == SPOOL_END_LATER)
			part[i].due_ms = now + MIN;
	}
}

static void model_gone(struct spool_schedule *s, const void *holder, int64_t now)
{
	size_t n = 0;

	for (int i = 0; i < PARTS; i++)
		if (part[i].there && part[i].leased && part[i].holder == holder) {
			n++;
			part[i].leased = part[i].urgent = false;
			part[i].due_ms = now + spool_pause_ms(&standard, part[i].deaths++);
		}
	assert_int_equal(spool_schedule_gone(s, holder, now), n);
}

static void model_expire_leases(int64_t now)
{
	for (int i = 0; i < PARTS; i++)
		if (part[i].there && part[i].leased && part[i].g.until_ms <= now) {
			part[i].leased = part[i].urgent = false;
			part[i].due_ms = now + spool_pause_ms(&standard, part[i].deaths++);
		}
}

/* An expired part that was put off by itself is made due by its notice: the model learns it from outside. */
static void model_expired_due(int64_t now)
{
	for (int i = 0; i < PARTS; i++)
		if (part[i].there && !part[i].leased && now >= part[i].created_ms + 5 * (int64_t)DAY)
			part[i].due_ms = 0;
}

static void model_step(struct spool_schedule *s, int64_t *now, uint64_t *last)
{
	unsigned what = pick(10);
	int i = (int)pick(PARTS), r = (int)pick(ROUTES);

	if (what < 2 && !part[i].there) {
		AUTO(spool_envelope) struct spool_envelope *e = entry(++serial, route_text[r]);

		e->created_s = (WALL_MS + *now) / 1000;
		assert_int_equal(spool_schedule_put(s, e, *now, WALL_MS + *now), 0);
		memset(&part[i], 0, sizeof(part[i]));
		part[i].there = true;
		part[i].n = serial;
		part[i].route = r;
		part[i].created_ms = *now - (WALL_MS + *now - e->created_s * 1000);
	} else if (what < 5) {
		check_lease(s, *now, last);
	} else if (what < 8 && part[i].there && part[i].leased) {
		model_end(s, i, *now);
	} else if (what == 8 && pick(20) == 0) {
		model_gone(s, pick(2) ? (void *)&worker_a : &worker_b, *now);
	} else if (what == 8 && pick(20) == 0) {
		spool_schedule_wake(s, route_text[r], *now);
		route[r].not_before_ms = 0;
		for (int k = 0; k < PARTS; k++)
			if (part[k].there && !part[k].leased && part[k].route == r)
				part[k].due_ms = 0;
	} else if (what == 8 && part[i].there && pick(10) == 0) {
		AUTO(spool_envelope) struct spool_envelope *e = entry(part[i].n, route_text[part[i].route]);

		if (spool_schedule_wake_id(s, e->id, *now)) {
			part[i].urgent = true;
			part[i].due_ms = *now;
			part[i].deaths = 0;
			route[part[i].route].not_before_ms = 0;
		}
	} else if (what == 9) {
		int64_t next = spool_schedule_next_ms(s);

		if (pick(4) && next > *now && next < *now + DAY)
			*now = next;
		else
			*now += pick(MIN);
	}
	/* A route that has no parts any more is forgotten, with what was known of it. */
	for (int k = 0; k < ROUTES; k++) {
		bool any = false;

		for (int j = 0; j < PARTS; j++)
			any |= part[j].there && part[j].route == k;
		if (!any)
			memset(&route[k], 0, sizeof(route[k]));
	}
	/* What lies in the past of the schedule itself happens at its next call. */
	model_expire_leases(*now);
	model_expired_due(*now);
	if (spool_schedule_next_ms(s) <= *now)
		check_lease(s, *now, last);
}

static void test_model(void **state)
{
	for (unsigned seed = 0; seed < 60; seed++) {
		struct spool_schedule *s = spool_schedule_new(&standard, 0);
		uint64_t last = 0;
		int64_t now = 0;

		random_seed(seed);
		memset(part, 0, sizeof(part));
		memset(route, 0, sizeof(route));
		for (int i = 0; i < STEPS; i++)
			model_step(s, &now, &last);
		/* All next hops are back and take everything: nothing is left within the longest pause. */
		int64_t until = now + standard.retry_max_ms + SPOOL_LEASE_MS + DAY;
		struct spool_grant g;

		spool_schedule_gone(s, &worker_a, now);
		spool_schedule_gone(s, &worker_b, now);
		while (spool_schedule_totals(s).messages > 0) {
			assert_true(now < until);
			while (spool_schedule_lease(s, &worker_a, now, &g)) {
				char id[STORE_ID_MAX];

				if (g.duty != SPOOL_DELIVER) {
					spool_schedule_end(s, g.id, g.number, SPOOL_END_LATER, now);
					continue;
				}
				strcpy(id, g.id);
				spool_schedule_end(s, id, g.number, SPOOL_END_ALIVE, now);
				spool_schedule_forget(s, id);
			}
			if (spool_schedule_next_ms(s) > now && spool_schedule_totals(s).messages > 0)
				now = spool_schedule_next_ms(s);
		}
		assert_int_equal(spool_schedule_totals(s).leased, 0);
		assert_int_equal(spool_schedule_totals(s).routes, 0);
		assert_int_equal(spool_schedule_totals(s).routes_down, 0);
		spool_schedule_free(s);
	}
}

/* A hundred thousand messages, and as many routes: each step stays quick. */
static void test_many(void **state)
{
	struct spool_schedule *s = spool_schedule_new(&standard, 1);
	struct spool_grant g;
	unsigned n = 0;

	for (unsigned i = 1; i <= 100000; i++) {
		char name[40];

		snprintf(name, sizeof(name), "mx %u.example", i % 2 ? i : 2);
		add(s, i, name, 0);
	}
	while (spool_schedule_lease(s, &worker_a, 0, &g)) {
		char id[STORE_ID_MAX];

		strcpy(id, g.id);
		spool_schedule_end(s, id, g.number, SPOOL_END_ALIVE, 0);
		spool_schedule_forget(s, id);
		n++;
	}
	assert_int_equal(n, 100000);
	spool_schedule_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_minor), cmocka_unit_test(test_pauses), cmocka_unit_test(test_dead_route),
		cmocka_unit_test(test_closed_over_one), cmocka_unit_test(test_message_put_off),
		cmocka_unit_test(test_untried_keeps_its_place), cmocka_unit_test(test_deadly_message),
		cmocka_unit_test(test_notices_of_a_dead_route), cmocka_unit_test(test_all_old), cmocka_unit_test(test_after_a_restart),
		cmocka_unit_test(test_given_up), cmocka_unit_test(test_wake), cmocka_unit_test(test_parts), cmocka_unit_test(test_model), cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
