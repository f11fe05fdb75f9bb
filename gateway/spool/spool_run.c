#include "spool/spool_run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/task.h"
#include "hop/backend.h"
#include "hop/backend_domains.h"
#include "policy/history_channel.h"
#include "smtp/smtp_server.h"
#include "spool/spool_bounce.h"
#include "spool/spool_deliver.h"

enum { LEASE_WAIT_MS = 30 * 1000, PAUSE_MS = 1000, LIST_MAX = 2048, NAMED_RCPTS = 20 };

/* --- the lines of the log, and the history --- */

static const char *word(const struct spool_work *w, const struct spool_try *t)
{
	if (t->kind == SPOOL_FOR_GOOD)
		return t->expired ? "expired" : "failed";
	return t->kind == SPOOL_TAKEN ? "delivered" : t->kind == SPOOL_UNTRIED ? "untried" : w->lease->duty == SPOOL_TELL ? "late" : "later";
}

static bool same_outcome(const struct spool_try *a, const struct spool_try *b)
{
	return a->kind == b->kind && a->expired == b->expired && strcmp(a->reply ? a->reply : "", b->reply ? b->reply : "") == 0;
}

static void add_history(const struct spool_work *w, const struct spool_try *t, const char *const *rcpt, size_t count)
{
	const struct spool_envelope *e = w->lease->envelope;
	struct history_record r = {
		.at_ms = clock_wall_ms(), .code = e->txn ? e->txn : e->id, .client = e->client, .helo = e->helo, .from = e->sender, .rcpt = rcpt,
		.rcpt_count = count, .bytes = e->bytes, .stage = STAGE_DATA, .reply = t->reply, .backend = t->remote,
		.ms_data = -1, .ms_checks = -1, .ms_backend = -1, .ms = -1,
	};

	r.verdict = t->kind == SPOOL_TAKEN ? "spool-delivered" : t->expired ? "spool-expired" : "spool-failed";
	if (w->svc->history && w->svc->history->records && (t->kind == SPOOL_TAKEN || t->kind == SPOOL_FOR_GOOD))
		history_channel_add(w->svc->history, &r);
}

static void log_outcome(struct spool_work *w, size_t first, bool told)
{
	const struct spool_envelope *e = w->lease->envelope;
	const struct spool_try *t = &w->try[first];
	AUTO(buf) struct buf to = BUF_INIT(LIST_MAX);
	AUTO(buf) struct buf from = BUF_INIT(LIST_MAX);
	const char *named[NAMED_RCPTS];
	struct log_line l;
	size_t n = 0;

	for (size_t i = first; i < w->count; i++) {
		if (w->try[i].logged || !same_outcome(t, &w->try[i]))
			continue;
		w->try[i].logged = true;
		if (n < NAMED_RCPTS) {
			named[n] = e->rcpt[w->try[i].rcpt].address;
			buf_addf(&to, "%s<%s>", n ? "," : "", named[n]);
		}
		n++;
	}
	buf_addf(&from, "<%s>", e->sender);
	log_start(&l, t->kind == SPOOL_UNTRIED ? LOG_LEVEL_INFO : LOG_LEVEL_NOTICE, "spool");
	log_str(&l, "result", word(w, t));
	log_str(&l, "spool", e->id);
	log_str(&l, "tx", e->txn);
	log_str(&l, "from", buf_str(&from));
	log_str(&l, "to", buf_str(&to));
	if (n > 1)
		log_num(&l, "rcpts", (int64_t)n);
	log_str(&l, "route", w->lease->route);
	log_str(&l, "backend", t->remote);
	log_str(&l, "backend.tls", t->remote && w->tls[0] ? w->tls : NULL);
	log_num(&l, "age", clock_wall_s() - e->created_s);
	log_num(&l, "attempt", (int64_t)e->rcpt[t->rcpt].attempts + 1);
	if (told && (t->kind == SPOOL_FOR_GOOD || t->tell))
		log_str(&l, "notified", e->sender);
	log_str(&l, "reply", t->reply);
	log_emit(&l);
	add_history(w, t, named, n < NAMED_RCPTS ? n : NAMED_RCPTS);
}

/* --- one lease --- */

/* Who is given up, or told of, for reasons of time. */
static void consider_time(struct spool_work *w)
{
	for (size_t i = 0; i < w->count; i++) {
		struct spool_try *t = &w->try[i];

		if (w->lease->duty == SPOOL_EXPIRE || (w->lease->last && t->kind == SPOOL_LATER)) {
			t->kind = SPOOL_FOR_GOOD;
			t->expired = true;
		}
		if (t->kind == SPOOL_LATER && (w->lease->duty == SPOOL_TELL || w->lease->tell))
			t->tell = true;
	}
}

static void put_off_all(struct spool_work *w, enum spool_outcome_kind kind)
{
	for (size_t i = 0; i < w->count; i++)
		spool_try_settle(&w->try[i], kind, NULL, NULL);
}

/* Everything is settled: tell the keeper. may wait */
static void report(struct spool_work *w)
{
	struct spool_outcome *outcome = calloc(w->count + 1, sizeof(*outcome));
	struct spool_bounce bounce;
	struct spool_report r = { .outcome = outcome, .count = outcome ? w->count : 0, .route_down = w->route_down, .met = w->met };
	char id[STORE_ID_MAX];
	int rc;

	spool_bounce_make(w, &bounce);
	r.dsn_fd = bounce.fd;
	r.dsn = bounce.envelope;
	for (size_t i = 0; i < r.count; i++) {
		const struct spool_try *t = &w->try[i];

		outcome[i] = (struct spool_outcome){ .rcpt = t->rcpt, .kind = t->kind, .reply = t->reply, .remote = t->remote, .delay_told = t->tell };
	}
	for (size_t i = 0; i < w->count; i++)
		if (!w->try[i].logged)
			log_outcome(w, i, bounce.fd >= 0);
	memcpy(id, w->lease->envelope->id, sizeof(id));
	rc = spool_report(w->svc->spool, w->lease, &r);
	w->lease = NULL;
	if (rc < 0)
		log_warning("spool-report", "spool", id, "error", strerror(-rc), "why", "it is delivered again if this was not recorded", NULL);
	spool_bounce_release(&bounce);
	free(outcome);
}

void spool_run_lease(struct smtp_service *svc, struct spool_lease *l)
{
	struct spool_work w;
	int rc = spool_work_init(&w, svc, l);

	if (rc < 0) {
		log_error("spool-read", "spool", l->envelope->id, "error", strerror(-rc), NULL);
		put_off_all(&w, SPOOL_LATER);
	} else if (l->duty == SPOOL_DELIVER) {
		spool_deliver(&w);
	} else {
		put_off_all(&w, SPOOL_LATER);
	}
	if (rc == 0)
		consider_time(&w);
	report(&w);
	spool_work_release(&w);
}

/* --- the tasks --- */

struct job {
	struct smtp_service *svc;
	struct spool_lease *lease;
};

static void job_main(void *arg)
{
	struct job j = *(struct job *)arg;

	free(arg);
	spool_run_lease(j.svc, j.lease);
	j.svc->spool_busy--;
	gate_leave(&j.svc->spool_gate);
}

/* A place in the gate has been taken. */
static int job_start(struct smtp_service *svc, struct spool_lease *l)
{
	struct job *j = malloc(sizeof(*j));

	if (!j)
		return -ENOMEM;
	*j = (struct job){ svc, l };
	svc->spool_busy++;
	if (task_spawn("spool", job_main, j, NULL) == 0)
		return 0;
	svc->spool_busy--;
	free(j);
	return -ENOMEM;
}

static void runner(void *arg)
{
	struct smtp_service *svc = arg;

	svc->spool_task = task_self();
	while (!task_cancelled() && !svc->draining && gate_enter(&svc->spool_gate, -1) == 0) {
		struct spool_lease *l = NULL;
		int rc = spool_lease(svc->spool, LEASE_WAIT_MS, &l);

		if (rc == 0 && job_start(svc, l) < 0) {
			spool_report(svc->spool, l, NULL);
			rc = -ENOMEM;
		}
		if (rc == 0)
			continue;
		gate_leave(&svc->spool_gate);
		if (rc != -EAGAIN)
			task_sleep(PAUSE_MS);
	}
	svc->spool_task = NULL;
}

/* What waits for the servers behind is not put off any longer when one of them is back. */
static void waker(void *arg)
{
	struct smtp_service *svc = arg;
	unsigned seen = 0;

	svc->spool_waker = task_self();
	while (!task_cancelled()) {
		if (seen == svc->spool_ups) {
			task_park(-1);
			continue;
		}
		seen = svc->spool_ups;
		if (spool_wake(svc->spool, "backend") < 0 || spool_wake(svc->spool, "owner") < 0)
			task_sleep(PAUSE_MS);
	}
	svc->spool_waker = NULL;
}

static void backend_is_up(void *arg)
{
	struct smtp_service *svc = arg;

	svc->spool_ups++;
	if (svc->spool_waker)
		task_wake(svc->spool_waker, 0);
}

int spool_run_start(struct smtp_service *svc)
{
	int rc;

	svc->spool_gate = (struct gate){ .limit = SPOOL_RUN_MAX };
	rc = task_spawn("spool-run", runner, svc, &svc->spool_task);
	if (rc == 0)
		rc = task_spawn("spool-wake", waker, svc, &svc->spool_waker);
	if (rc < 0)
		return rc;
	backend_group_on_up(svc->group, backend_is_up, svc);
	for (size_t i = 0; i < svc->site->listener_count; i++)
		if (svc->listener_group[i] && svc->listener_group[i] != svc->group)
			backend_group_on_up(svc->listener_group[i], backend_is_up, svc);
	for (size_t i = 0; i < backend_domains_count(svc->domains); i++)
		backend_group_on_up(backend_domains_at(svc->domains, i), backend_is_up, svc);
	return 0;
}

void spool_run_stop(struct smtp_service *svc)
{
	if (svc->spool_task)
		task_cancel(svc->spool_task);
	if (svc->spool_waker)
		task_cancel(svc->spool_waker);
}
