/*
 * keeper_history - the keeper of the records of what became of each transaction
 *
 * Records come as notices: nobody waits for them, and mail goes on without them. They are committed together, after COMMIT_MS at the
 * latest. When the disk is full, or the database damaged, it is opened anew at the next tick; what comes meanwhile is dropped and counted.
 */
#include "process/keeper.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "policy/history_channel.h"
#include "policy/history_store.h"
#include "process/keeper_rua.h"
#include "process/shared.h"

enum {
	COMMIT_MS = 200,
	COMMIT_RECORDS = 1000,
	SWEEP_MS = 100,                 /* of each tick at most go into removing */
	COMPLAIN_MS = 10 * 1000,
	REOPEN_MS = 10 * 1000,          /* after it could not be opened */
};

struct history_keeper {
	struct history_store *store;    /* NULL: it could not be opened, or has failed */
	char path[1100];
	int64_t since_ms;               /* when the first was added that is not committed */
	int64_t complained_ms, reopen_ms;
	int64_t turn_ms;                /* of the reading of a day */
	uint64_t dropped, said;
	struct rua_keeper rua;
};

static void drop(struct keeper *k, size_t count)
{
	struct history_keeper *h = k->data;

	h->dropped += count;
	atomic_fetch_add(&k->env->shared->history_dropped, count);
}

static void complain(struct history_keeper *h, const char *what, int rc)
{
	int64_t now_ms = clock_ms();
	struct log_line l;

	if (h->complained_ms && now_ms - h->complained_ms < COMPLAIN_MS)
		return;
	h->complained_ms = now_ms;
	log_start(&l, LOG_LEVEL_ERROR, "history");
	log_str(&l, "what", what);
	log_str(&l, "error", strerror(-rc));
	log_num(&l, "dropped", (int64_t)(h->dropped - h->said));
	log_emit(&l);
	h->said = h->dropped;
}

/* Until the next tick there is none. */
static void give_up(struct keeper *k, const char *what, int rc)
{
	struct history_keeper *h = k->data;

	drop(k, history_store_uncommitted(h->store));
	complain(h, what, rc);
	rua_keeper_drop(&h->rua);
	history_store_close(h->store);
	h->store = NULL;
}

static void add(struct keeper *k, const char *p, size_t len)
{
	struct history_keeper *h = k->data;
	int rc = h->store ? history_store_add(h->store, p, len) : -EIO;

	if (rc < 0)
		drop(k, 1);
	if (rc == -EINVAL)
		complain(h, "what a worker sent is no record", rc);
	else if (rc < 0 && h->store)
		give_up(k, "records cannot be written: they are dropped, mail goes on", rc);
}

static void history_notice(struct keeper *k, struct keeper_peer *p, const struct channel_msg *m)
{
	size_t at = 0, len;
	const char *record;
	int rc;

	if (m->type != CHANNEL_HISTORY_ADD)
		return;
	while ((rc = history_channel_next(m->data, m->len, &at, &record, &len)) == 0)
		add(k, record, len);
	if (rc == -EBADMSG)
		complain(k->data, "what a worker sent is no record", rc);
}

static void history_request(struct keeper *k, struct keeper_peer *p, struct channel_msg *m)
{
	struct history_keeper *h = k->data;

	if (!rua_keeper_request(&h->rua, p, m, h->store))
		keeper_answer(p, m->type, m->id, -ENOSYS, NULL, 0, -1);
}

static void commit(struct keeper *k)
{
	struct history_keeper *h = k->data;
	int rc = h->store ? history_store_commit(h->store) : 0;

	h->since_ms = 0;
	if (rc < 0)
		give_up(k, "records cannot be written: they are dropped, mail goes on", rc);
}

/* Some of the reading of a day, when it is its turn. */
static void read_day(struct keeper *k)
{
	struct history_keeper *h = k->data;
	int64_t now_ms = clock_ms();
	int in_ms;

	if (!h->rua.job)
		return;
	if (now_ms >= h->turn_ms) {
		in_ms = rua_keeper_turn(&h->rua, h->store);
		if (h->store && history_store_broken(h->store))
			give_up(k, "a day's reports cannot be written", -EIO);
		if (in_ms < 0)
			return;
		h->turn_ms = now_ms = clock_ms();
		h->turn_ms += in_ms;
	}
	if (k->round_in_ms < 0 || k->round_in_ms > h->turn_ms - now_ms)
		k->round_in_ms = (int)(h->turn_ms - now_ms);
}

/* What is written waits for company, but no longer than COMMIT_MS. */
static void commit_some(struct keeper *k)
{
	struct history_keeper *h = k->data;
	size_t count = h->store ? history_store_uncommitted(h->store) : 0;
	int64_t now_ms = clock_ms();

	if (count == 0)
		return;
	if (h->since_ms == 0)
		h->since_ms = now_ms;
	if (count >= COMMIT_RECORDS || now_ms - h->since_ms >= COMMIT_MS)
		commit(k);
	else
		k->round_in_ms = (int)(COMMIT_MS - (now_ms - h->since_ms));
}

static void history_round(struct keeper *k)
{
	commit_some(k);
	read_day(k);
}

static int64_t wall_ms(void)
{
	return clock_wall_s() * 1000;
}

static void reopen(struct history_keeper *h)
{
	if (history_store_open(h->path, true, &h->store) == 0)
		return;
	h->store = NULL;
	h->reopen_ms = clock_ms() + REOPEN_MS;
}

static void history_tick(struct keeper *k)
{
	struct history_keeper *h = k->data;
	int64_t until_ms = clock_ms() + SWEEP_MS;
	int rc = 1;

	if (!h->store && clock_ms() >= h->reopen_ms)
		reopen(h);
	commit(k);
	while (rc > 0 && h->store && clock_ms() < until_ms) {
		rc = history_store_sweep(h->store, wall_ms(), k->settings.history_keep_ms, k->settings.history_max_bytes);
		if (rc < 0)
			give_up(k, "old records cannot be removed", rc);
	}
	h->rua.max_bytes = k->settings.history_max_bytes;
	rua_keeper_tick(&h->rua, h->store);
	if (h->store && history_store_broken(h->store))
		give_up(k, "what became of reports cannot be written", -EIO);
	if (h->store)
		atomic_store(&k->env->shared->history_records, history_store_count(h->store));
}

static void history_close(struct keeper *k)
{
	struct history_keeper *h = k->data;

	rua_keeper_drop(&h->rua);
	history_store_close(h->store);
	free(h);
	k->data = NULL;
}

/* A history that cannot be opened (said in the log) is no reason not to let mail through. */
static int history_open(struct keeper *k, const char *dir)
{
	struct history_keeper *h = calloc(1, sizeof(*h));

	if (!h)
		return -ENOMEM;
	k->data = h;
	fact_register_all();
	snprintf(h->path, sizeof(h->path), "%s/history.db", strcmp(dir, "/") == 0 ? "" : dir);
	h->rua.path = h->path;
	h->rua.max_bytes = k->settings.history_max_bytes;
	reopen(h);
	return 0;
}

const struct keeper_role keeper_history = {
	.name = "gp-history",
	.open = history_open,
	.request = history_request,
	.notice = history_notice,
	.round = history_round,
	.tick = history_tick,
	.close = history_close,
};
