/* When reports are sent, and by whom: the history and the sending are played by the test, and the wall clock is its own. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/task.h"
#include "policy/conf.h"
#include "policy/rua_day.h"
#include "rua/rua_run.h"
#include "rua/rua_send.h"
#include "smtp/smtp_server.h"
#include "support/task_check.h"

enum { DAY = 20778, DOMAINS = 300, SPREAD_S = 6 * 3600 };

static int64_t wall_s, run_ms;

/* The loop's own timers go by it, too: it may only run faster. */
int64_t clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000 + run_ms;
}

int64_t clock_wall_s(void)
{
	return wall_s;
}

int64_t clock_wall_ms(void)
{
	return wall_s * 1000;
}

/* --- the history, of DOMAINS domains for DAY and one for the day behind it --- */

static struct {
	int count;                      /* domains */
	enum rua_fate fate[2][DOMAINS];
	int due_rc, domains_rc, done_rc;
	int looks;
} history;

static struct {
	int sent[2][DOMAINS];           /* how often */
	int now, most;                  /* under way */
	int last;                       /* of those that were sent: for the last time */
	enum rua_sent what;             /* what comes of it */
	bool noted;
	int takes_ms;
} sending;

static const char *name(int i)
{
	static char text[32];

	snprintf(text, sizeof(text), "d%03d.example", i);
	return text;
}

int rua_day_due(struct channel *h, int64_t *day)
{
	history.looks++;
	if (history.due_rc < 0)
		return history.due_rc;
	for (int k = 0; k < 2; k++)
		for (int i = 0; i < history.count; i++)
			if (history.fate[k][i] == RUA_PENDING) {
				*day = DAY + k;
				return 0;
			}
	return -ENOENT;
}

int rua_day_domains(struct channel *h, int64_t day, const char *after, struct rua_domains **out)
{
	struct rua_domains *d;

	if (history.domains_rc < 0)
		return history.domains_rc;
	CHECK(day >= DAY && (day + 1) * RUA_DAY_S <= wall_s);
	if (day > DAY + 1)
		return -ENOENT;
	d = calloc(1, sizeof(*d));
	d->domain = calloc(RUA_PAGE, sizeof(*d->domain));
	d->text = calloc(RUA_PAGE, sizeof(*d->text));
	for (int i = 0; i < history.count && d->count < RUA_PAGE; i++) {
		if (history.fate[day - DAY][i] != RUA_PENDING || (after && strcmp(name(i), after) <= 0))
			continue;
		d->text[d->text_count++] = strdup(name(i));
		d->domain[d->count].name = d->text[d->text_count - 1];
		d->count++;
	}
	*out = d;
	return 0;
}

void rua_domains_free(struct rua_domains *d)
{
	for (size_t i = 0; d && i < d->text_count; i++)
		free(d->text[i]);
	if (d) {
		free(d->text);
		free(d->domain);
	}
	free(d);
}

int rua_day_done(struct channel *h, int64_t day, const char *domain, enum rua_fate fate, const char *why)
{
	if (history.done_rc == 0)
		history.fate[day - DAY][atoi(domain + 1)] = fate;
	return history.done_rc;
}

enum rua_sent rua_send(const struct rua_sender *sender, int64_t day, const struct rua_domain *d, bool last, bool *noted)
{
	int i = atoi(d->name + 1);

	CHECK(strcmp(d->name, name(i)) == 0);
	CHECK(wall_s >= rua_run_due_s(sender->svc->site, day, d->name));
	sending.most = ++sending.now > sending.most ? sending.now : sending.most;
	sending.sent[day - DAY][i]++;
	sending.last += last;
	if (sending.takes_ms)
		task_sleep(sending.takes_ms);
	sending.now--;
	*noted = sending.noted;
	if (sending.noted && sending.what != RUA_SENT_LATER)
		history.fate[day - DAY][i] = sending.what == RUA_SENT ? RUA_REPORTED : RUA_GIVEN_UP;
	return sending.what;
}

/* --- --- */

static char hostname[] = "mx.example.com";
static struct site site = { .hostname = hostname, .rua = { .send = true, .spread_s = SPREAD_S }, .spool = { .max_messages = 1000, .max_bytes = 1 << 20 } };
static struct smtp_service svc = { .site = &site };
static struct rua_shared shared;
static _Atomic uint64_t spool_messages, spool_bytes;

static void reset(int count)
{
	memset(&history, 0, sizeof(history));
	memset(&sending, 0, sizeof(sending));
	memset(&shared, 0, sizeof(shared));
	history.count = count;
	sending.what = RUA_SENT;
	sending.noted = true;
	site.rua.spread_s = SPREAD_S;
	atomic_store(&spool_messages, 0);
	atomic_store(&spool_bytes, 0);
	for (int i = 0; i < DOMAINS; i++)
		history.fate[1][i] = RUA_REPORTED;
	wall_s = (DAY + 1) * RUA_DAY_S + RUA_DAY_AFTER_S + SPREAD_S;
}

static int total(int k)
{
	int n = 0;

	for (int i = 0; i < history.count; i++)
		n += sending.sent[k][i];
	return n;
}

static void start(int slot, struct rua_run **out)
{
	*out = rua_run_new(&(struct rua_place){ .svc = &svc, .shared = &shared, .slot = slot, .spool_messages = &spool_messages, .spool_bytes = &spool_bytes });
	CHECK(*out && rua_run_start(*out) == 0);
}

/* A worker from its beginning until it has looked once at everything. */
static void look_once(int slot)
{
	struct rua_run *r = NULL;

	start(slot, &r);
	for (int i = 0; i < 300 && (i < 5 || rua_run_busy(r)); i++)
		task_sleep(1);
	rua_run_stop(r);
	for (int i = 0; i < 300 && (i < 5 || rua_run_busy(r)); i++)
		task_sleep(1);
	rua_run_free(r);
}

static void all_task(void *arg)
{
	reset(DOMAINS);
	look_once(3);
	CHECK(total(0) == DOMAINS && sending.last == 0);
	for (int i = 0; i < DOMAINS; i++)
		CHECK(sending.sent[0][i] == 1 && history.fate[0][i] == RUA_REPORTED);
	CHECK(atomic_load(&shared.sent) == DOMAINS && atomic_load(&shared.given_up) == 0 && atomic_load(&shared.turn) == 0);
	look_once(3);
	CHECK(total(0) == DOMAINS);
}

/* Not before its moment, and about as many in each hour. */
static void moments_task(void *arg)
{
	int64_t begin = (DAY + 1) * RUA_DAY_S + RUA_DAY_AFTER_S;
	int was = 0;

	reset(DOMAINS);
	wall_s = begin - RUA_DAY_AFTER_S;
	look_once(0);
	CHECK(total(0) == 0);
	for (int hour = 1; hour <= 6; hour++) {
		wall_s = begin + hour * 3600;
		look_once(0);
		CHECK(total(0) - was > DOMAINS / 12 && total(0) - was < DOMAINS / 3);
		was = total(0);
	}
	CHECK(was == DOMAINS);
	reset(1);
	site.rua.spread_s = 0;
	CHECK(rua_run_due_s(&site, DAY, "a.example") == begin && rua_run_due_s(&site, DAY + 1, "b.example") == begin + RUA_DAY_S);
	site.rua.spread_s = SPREAD_S;
	CHECK(rua_run_due_s(&site, DAY, "a.example") + RUA_DAY_S == rua_run_due_s(&site, DAY + 1, "a.example"));
	CHECK(rua_run_due_s(&site, DAY, "a.example") != rua_run_due_s(&site, DAY, "b.example"));
}

/* The day behind does not wait for the last of the one before; one that is not over is not asked for. */
static void days_task(void *arg)
{
	reset(3);
	history.fate[1][1] = RUA_PENDING;
	sending.what = RUA_SENT_LATER;
	sending.noted = false;
	wall_s += RUA_DAY_S;
	look_once(0);
	CHECK(total(0) == 3 && total(1) == 1);
	CHECK(sending.last == 0);       /* it is late, but they have not been tried yet */
	CHECK(atomic_load(&shared.sent) == 0 && atomic_load(&shared.given_up) == 0);
}

/* Mail comes first. */
static void crowded_task(void *arg)
{
	reset(3);
	atomic_store(&spool_messages, 250);
	look_once(0);
	atomic_store(&spool_messages, 249);
	atomic_store(&spool_bytes, 1 << 18);
	look_once(0);
	CHECK(total(0) == 0);
	atomic_store(&spool_bytes, (1 << 18) - 1);
	look_once(0);
	CHECK(total(0) == 3);
}

static void turn_task(void *arg)
{
	reset(1);
	atomic_store(&shared.turn, 8);
	look_once(0);
	CHECK(total(0) == 0 && history.looks == 0 && atomic_load(&shared.turn) == 8);
	rua_shared_forget(&shared, 3);
	CHECK(atomic_load(&shared.turn) == 8);
	rua_shared_forget(&shared, 7);
	look_once(0);
	CHECK(total(0) == 1 && atomic_load(&shared.turn) == 0);
}

/* Workers of another memory may have the turn, and what they have under way has its time. */
static void others_task(void *arg)
{
	reset(1);
	rua_shared_wait(&shared);
	look_once(0);
	CHECK(total(0) == 0 && history.looks == 0 && atomic_load(&shared.turn) == 0);
	run_ms += 60 * 1000;
	look_once(0);
	CHECK(total(0) == 0 && history.looks == 0);
	run_ms += 120 * 1000;
	look_once(0);
	CHECK(total(0) == 1 && atomic_load(&shared.turn) == 0);
}

/* Who is told to end keeps its turn until what is under way is done. */
static void stop_task(void *arg)
{
	struct rua_run *r = NULL;

	reset(DOMAINS);
	sending.takes_ms = 100;
	start(4, &r);
	task_sleep(20);
	CHECK(rua_run_busy(r) == 16);
	rua_run_stop(r);
	task_sleep(20);
	CHECK(rua_run_busy(r) == 16 && atomic_load(&shared.turn) == 5);
	task_sleep(200);
	CHECK(rua_run_busy(r) == 0 && atomic_load(&shared.turn) == 0);
	CHECK(total(0) == 16 && sending.most == 16);
	rua_run_free(r);
}

/* The keeper is away, or reads the day: it is asked again, soon. */
static void away_task(void *arg)
{
	struct rua_run *r = NULL;

	reset(1);
	history.due_rc = -EAGAIN;
	start(0, &r);
	task_sleep(20);
	CHECK(history.looks == 1);
	history.due_rc = 0;
	task_sleep(1100);
	CHECK(history.looks == 2 && total(0) == 1);
	rua_run_stop(r);
	task_sleep(5);
	rua_run_free(r);
	reset(1);
	history.due_rc = -EPIPE;
	look_once(0);
	history.due_rc = 0;
	history.domains_rc = -ETIMEDOUT;
	look_once(0);
	CHECK(total(0) == 0);
}

/* Time goes by, for the loop as well. */
static void pass(int64_t ms)
{
	for (; ms > 0; ms -= 50 * 1000) {
		run_ms += 50 * 1000;
		task_sleep(1);
		task_sleep(1);
	}
}

/* What could not be sent waits, longer each time. */
static void later_task(void *arg)
{
	struct rua_run *r = NULL;
	int was;

	reset(1);
	sending.what = RUA_SENT_LATER;
	sending.noted = false;
	start(0, &r);
	task_sleep(5);
	CHECK(total(0) == 1);
	pass(200 * 1000);
	CHECK(total(0) == 1);
	pass(200 * 1000);
	CHECK(total(0) == 2);
	pass(400 * 1000);
	CHECK(total(0) == 2);
	pass(400 * 1000);
	CHECK(total(0) == 3 && sending.last == 0);
	wall_s += RUA_DAY_S;            /* of the tries from now on each may be the last, */
	pass(6 * 3600 * 1000);
	CHECK(sending.last == total(0) - 3);
	was = total(0);
	CHECK(was >= 7 && was <= 11);
	sending.what = RUA_SENT;
	sending.noted = true;
	pass(3700 * 1000);
	CHECK(total(0) == was + 1 && history.fate[0][0] == RUA_REPORTED);
	rua_run_stop(r);
	task_sleep(5);
	rua_run_free(r);
}

/* What has been sent, or given up, and could not be noted, is not done again: it is noted later. */
static void noted_task(void *arg)
{
	for (int k = 0; k < 2; k++) {
		struct rua_run *r = NULL;

		reset(1);
		sending.what = k ? RUA_SENT_NOT : RUA_SENT;
		sending.noted = false;
		history.done_rc = -EPIPE;
		start(0, &r);
		task_sleep(5);
		pass(1000 * 1000);
		CHECK(total(0) == 1 && history.fate[0][0] == RUA_PENDING);
		history.done_rc = 0;
		pass(3700 * 1000);
		CHECK(total(0) == 1 && history.fate[0][0] == (k ? RUA_GIVEN_UP : RUA_REPORTED));
		CHECK(atomic_load(&shared.sent) == !k && atomic_load(&shared.given_up) == (uint64_t)k);
		rua_run_stop(r);
		task_sleep(5);
		rua_run_free(r);
	}
}

static void test_all(void **state)
{
	task_check_run(all_task);
}

static void test_moments(void **state)
{
	task_check_run(moments_task);
}

static void test_days(void **state)
{
	task_check_run(days_task);
}

static void test_crowded(void **state)
{
	task_check_run(crowded_task);
}

static void test_turn(void **state)
{
	task_check_run(turn_task);
}

static void test_others(void **state)
{
	task_check_run(others_task);
}

static void test_stop(void **state)
{
	task_check_run(stop_task);
}

static void test_away(void **state)
{
	task_check_run(away_task);
}

static void test_later(void **state)
{
	task_check_run(later_task);
}

static void test_noted(void **state)
{
	task_check_run(noted_task);
}

static int setup(void **state)
{
	return loop_init();
}

static int teardown(void **state)
{
	loop_release();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all),
		cmocka_unit_test(test_moments),
		cmocka_unit_test(test_days),
		cmocka_unit_test(test_crowded),
		cmocka_unit_test(test_turn),
		cmocka_unit_test(test_others),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_away),
		cmocka_unit_test(test_later),
		cmocka_unit_test(test_noted),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
