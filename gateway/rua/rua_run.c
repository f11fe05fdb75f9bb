#include "rua/rua_run.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/siphash.h"
#include "base/task.h"
#include "policy/conf.h"
#include "policy/rua_day.h"
#include "rua/rua_later.h"
#include "rua/rua_send.h"
#include "smtp/smtp_server.h"

enum {
	OTHERS_MS = 3 * 60 * 1000,      /* what a report takes at most, with a DNS that is slow and a spool that is busy */
	TURN_MS = 1000,                 /* how often who has not the turn looks */
	IDLE_MS = 60 * 1000,            /* at most, between two looks at what is due */
	READING_MS = 250,               /* the history reads a day */
	AWAY_MS = 1000,                 /* it is not there, or not yet */
	RETRY_MS = 5 * 60 * 1000, RETRY_MAX_MS = 60 * 60 * 1000,
	PATIENCE_S = 86400,             /* a report is tried for so long, */
	FORGET_MS = (RUA_DAYS_BACK + 1) * RUA_DAY_S * 1000,     /* the history has given it up long ago */
	LAST_PAUSE_MS = 4 * RETRY_MS,   /* and by each worker until it waits for so long between two tries */
	SPOOL_SHARE = 4,                /* of the spool's bounds */
	JOBS = 16,                      /* reports under way: most of their time they wait for the DNS, */
	LARGE = 1,                      /* but for those whose message is made */
};

/* Domains that are looked at; freed by the last one. */
struct page {
	struct rua_domains *list;
	int64_t day;
	int users;
};

struct job {
	struct rua_run *run;
	struct page *page;
	const struct rua_domain *domain;
};

struct rua_run {
	struct rua_place place;
	struct rua_sender sender;
	const struct site *site;
	struct task *task;              /* NULL: it has ended */
	struct rua_later later;
	struct gate jobs, large;
	int busy;                       /* jobs */
	bool waiting;                   /* the task, for their end */
	bool crowded;                   /* the spool, when it was looked at last */
};

/* --- the turn --- */

static bool turn_take(struct rua_run *r)
{
	int nobody = 0;

	if (clock_ms() < atomic_load(&r->place.shared->from_ms))
		return false;
	return atomic_load(&r->place.shared->turn) == r->place.slot + 1 || atomic_compare_exchange_strong(&r->place.shared->turn, &nobody, r->place.slot + 1);
}

void rua_shared_wait(struct rua_shared *shared)
{
	atomic_store(&shared->from_ms, clock_ms() + OTHERS_MS);
}

void rua_shared_forget(struct rua_shared *shared, int slot)
{
	int its = slot + 1;

	atomic_compare_exchange_strong(&shared->turn, &its, 0);
}

/* When nothing is under way any more, so that nobody else begins the same. */
static void turn_give(struct rua_run *r)
{
	if (!r->task && !r->busy)
		rua_shared_forget(r->place.shared, r->place.slot);
}

/* --- when --- */

/* Of the site and the domain: spread over sites, and over domains. */
static uint64_t hash(const struct site *site, const char *domain, int64_t day)
{
	static const struct siphash_key key;    /* nothing is gained by knowing it */
	char text[1024];
	int n = snprintf(text, sizeof(text), "%lld %s %s", (long long)day, site->hostname, domain);

	return siphash(&key, text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1) | 1;
}

int64_t rua_run_due_s(const struct site *site, int64_t day, const char *domain)
{
	int64_t spread_s = site->rua.spread_s;

	return (day + 1) * RUA_DAY_S + RUA_DAY_AFTER_S + (spread_s > 0 ? (int64_t)(hash(site, domain, 0) % (uint64_t)spread_s) : 0);
}

/* Who comes after a time down has not tried yet. */
static bool is_last(const struct rua_run *r, const struct rua_late *l, int64_t day)
{
	return l->pause_ms >= LAST_PAUSE_MS && clock_wall_s() >= (day + 1) * RUA_DAY_S + RUA_DAY_AFTER_S + r->site->rua.spread_s + PATIENCE_S;
}

/* How long until it is to be tried; 0: now. */
static int64_t wait_ms(const struct rua_run *r, int64_t day, const char *domain)
{
	const struct rua_late *l = rua_later_find(&r->later, hash(r->site, domain, day));
	int64_t due = (rua_run_due_s(r->site, day, domain) - clock_wall_s()) * 1000, again = l ? l->until_ms - clock_ms() : 0;

	due = due > again ? due : again;
	return due > 0 ? due : 0;
}

/* --- one report --- */

static void put_off(struct rua_late *l)
{
	l->pause_ms = !l->pause_ms ? RETRY_MS : l->pause_ms > RETRY_MAX_MS / 2 ? RETRY_MAX_MS : 2 * l->pause_ms;
	l->until_ms = clock_ms() + l->pause_ms;
}

/* Its place is taken before: what has been sent, and cannot be noted, must not be sent again for want of memory. */
static void report(struct rua_run *r, int64_t day, const struct rua_domain *d)
{
	uint64_t key = hash(r->site, d->name, day);
	struct rua_late *l = rua_later_put(&r->later, key);
	enum rua_sent sent;
	bool noted;

	if (!l)
		return;
	if (l->fate != RUA_PENDING) {
		int rc = rua_day_done(r->sender.history, day, d->name, l->fate, NULL);

		noted = rc == 0 || rc == -ENOENT;
		sent = RUA_SENT_ELSEWHERE;
	} else {
		sent = rua_send(&r->sender, day, d, is_last(r, l, day), &noted);
		noted = noted || sent == RUA_SENT_ELSEWHERE;
	}
	if (sent == RUA_SENT)
		atomic_fetch_add(&r->place.shared->sent, 1);
	else if (sent == RUA_SENT_NOT)
		atomic_fetch_add(&r->place.shared->given_up, 1);
	if (noted) {
		rua_later_drop(&r->later, key);
		return;
	}
	l = rua_later_find(&r->later, key);
	if (sent == RUA_SENT || sent == RUA_SENT_NOT) {
		l->fate = sent == RUA_SENT ? RUA_REPORTED : RUA_GIVEN_UP;
		log_warning("rua-not-noted", "domain", d->name, "why", "the history could not be told what has become of the report: it will be; if this worker ends "
			    "before that, it is sent again, with the same Report-ID", NULL);
	}
	put_off(l);
}

static void page_leave(struct page *p)
{
	if (--p->users)
		return;
	rua_domains_free(p->list);
	free(p);
}

static void job_main(void *arg)
{
	struct job j = *(struct job *)arg;

	free(arg);
	report(j.run, j.page->day, j.domain);
	page_leave(j.page);
	j.run->busy--;
	gate_leave(&j.run->jobs);
	if (!j.run->busy && j.run->waiting)
		task_wake(j.run->task, 0);
	turn_give(j.run);
}

/* No room for reports. Said when it begins. */
static bool is_crowded(struct rua_run *r)
{
	const struct spool_settings *bound = &r->site->spool;
	uint64_t count = atomic_load(r->place.spool_messages), bytes = atomic_load(r->place.spool_bytes);
	bool was = r->crowded;

	r->crowded = count >= (uint64_t)bound->max_messages / SPOOL_SHARE || bytes >= bound->max_bytes / SPOOL_SHARE;
	if (r->crowded && !was)
		log_warning("rua-waits", "why", "the spool holds a quarter of what it may: no report is added until it is less", NULL);
	return r->crowded;
}

/* When there is a place for it. 0 or -errno. may wait */
static int job_start(struct rua_run *r, struct page *p, const struct rua_domain *d)
{
	struct job *j;

	if (is_crowded(r))
		return -ENOSPC;
	if (gate_enter(&r->jobs, -1) < 0)
		return -ECANCELED;
	j = malloc(sizeof(*j));
	if (j) {
		*j = (struct job){ r, p, d };
		p->users++;
		r->busy++;
		if (task_spawn("rua", job_main, j, NULL) == 0)
			return 0;
		p->users--;
		r->busy--;
		free(j);
	}
	gate_leave(&r->jobs);
	return -ENOMEM;
}

/* --- one look at everything --- */

/* Those whose time has come. *next_ms: less, if one is due before that. 0 or -errno. may wait */
static int look_at_page(struct rua_run *r, struct page *p, int64_t *next_ms)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < p->list->count; i++) {
		int64_t left = wait_ms(r, p->day, p->list->domain[i].name);

		if (left == 0)
			rc = job_start(r, p, &p->list->domain[i]);
		else if (left < *next_ms)
			*next_ms = left;
	}
	/* Nothing is begun twice. */
	r->waiting = true;
	while (r->busy && rc != -ECANCELED)
		rc = task_park(-1) == -ECANCELED ? -ECANCELED : rc;
	r->waiting = false;
	return rc;
}

/* The pending ones of a day. may wait */
static int look_at_day(struct rua_run *r, int64_t day, int64_t *next_ms)
{
	char after[512] = "";
	size_t count;
	int rc;

	do {
		struct page *p = calloc(1, sizeof(*p));

		if (!p)
			return -ENOMEM;
		p->users = 1;
		p->day = day;
		rc = rua_day_domains(r->sender.history, day, after[0] ? after : NULL, &p->list);
		count = rc == 0 ? p->list->count : 0;
		if (count) {
			snprintf(after, sizeof(after), "%s", p->list->domain[count - 1].name);
			rc = look_at_page(r, p, next_ms);
		}
		page_leave(p);
	} while (rc == 0 && count);
	return rc;
}

/* How long until there may be something again. may wait */
static int64_t look(struct rua_run *r)
{
	int64_t next_ms = IDLE_MS, day;
	int rc = rua_day_due(r->sender.history, &day);

	rua_later_tidy(&r->later, clock_ms() - FORGET_MS);
	/* Those behind the oldest do not wait until nothing of it is left. */
	for (; rc == 0 && day < clock_wall_s() / RUA_DAY_S; day++) {
		rc = look_at_day(r, day, &next_ms);
		rc = rc == -ENOENT ? 0 : rc;
	}
	if (rc == -EAGAIN)
		return READING_MS;
	return rc == 0 || rc == -ENOENT || rc == -ENOSPC ? next_ms : AWAY_MS;
}

static void runner(void *arg)
{
	struct rua_run *r = arg;

	while (!task_cancelled()) {
		int64_t ms = turn_take(r) ? look(r) : TURN_MS;

		task_sleep((int)(ms > 100 ? ms : 100));
	}
	r->task = NULL;
	turn_give(r);
}

struct rua_run *rua_run_new(const struct rua_place *place)
{
	struct rua_run *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->jobs.limit = JOBS;
	r->large.limit = LARGE;
	r->sender = (struct rua_sender){ .svc = place->svc, .history = place->history, .gate = &r->large };
	r->place = *place;
	r->site = place->svc->site;
	return r;
}

int rua_run_start(struct rua_run *r)
{
	return r ? task_spawn("rua-run", runner, r, &r->task) : 0;
}

void rua_run_stop(struct rua_run *r)
{
	if (r && r->task)
		task_cancel(r->task);
}

int rua_run_busy(const struct rua_run *r)
{
	return r ? r->busy : 0;
}

void rua_run_free(struct rua_run *r)
{
	if (r)
		rua_later_release(&r->later);
	free(r);
}
