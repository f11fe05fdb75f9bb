/*
 * keeper_store - the keeper of the messages
 *
 * Descriptors are handed out at once; messages to keep are gathered over a round and made durable
 * together (policy/store_keeper.h), then answered. What can wait is done between: the store is tidied, words are indexed.
 */
#include "process/keeper.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/durable.h"
#include "base/log.h"
#include "base/syscalls.h"
#include "policy/store_keeper.h"

enum {
	SEARCH_AFTER_MS = 50,           /* words are made of a message when it has been answered for */
	SEARCH_BUDGET_MS = 5,           /* of one step, for which whoever comes meanwhile waits */
	SEARCH_REST = 9,                /* under load, for each millisecond at it */
	LOAD_MS = 100,
	RETAIN_PAUSE_MS = 10,
};

struct waiting {
	struct keeper_peer *peer;
	uint32_t id;
	char *meta;
};

struct store_role {
	struct store_keeper *store;
	int proc_fd;
	struct store_item items[STORE_BATCH_MAX];
	struct waiting waiting[STORE_BATCH_MAX];
	size_t count;
	bool tidying;
	int64_t kept_ms;                /* when messages came last */
	int64_t retain_ms;              /* the next look at what has been kept for long enough; 0: with the next tick */
	int64_t search_ms;              /* the next step of indexing words; 0: nothing to do */
};

/* The way to /proc leads out of the chroot: opened before. */
static int store_prepare(struct keeper *k)
{
	struct store_role *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->proc_fd = durable_proc();
	syscalls_guard(s->proc_fd);
	k->data = s;
	return 0;
}

static int store_role_open(struct keeper *k, const char *dir)
{
	struct store_role *s = k->data;
	int proc_fd = s->proc_fd;

	s->proc_fd = -1;
	s->tidying = true;
	k->round_in_ms = 0;
	return store_keeper_open(dir, proc_fd, &s->store);
}

static void store_flush(struct store_role *s)
{
	int64_t now_ms;

	if (s->count == 0)
		return;
	s->kept_ms = clock_ms();
	if (!s->search_ms)
		s->search_ms = s->kept_ms + SEARCH_AFTER_MS;
	(void)store_keeper_clock(s->store, clock_wall_ms(), clock_ms(), &now_ms);
	store_keeper_keep(s->store, s->items, s->count, now_ms);
	for (size_t i = 0; i < s->count; i++) {
		const struct store_item *it = &s->items[i];
		const struct waiting *w = &s->waiting[i];

		if (it->rc < 0)
			log_error("store", "error", "a message could not be kept", "why",
				  strerror(-it->rc), NULL);
		keeper_answer(w->peer, CHANNEL_STORE_KEEP, w->id, it->rc,
			      it->rc < 0 ? NULL : it->id, it->rc < 0 ? 0 : strlen(it->id), -1);
		close(it->fd);
		free(w->meta);
	}
	s->count = 0;
}

static void request_keep(struct store_role *s, struct keeper_peer *p, struct channel_msg *m)
{
	/* Refused now, so that a batch cannot hold more than STORE_BATCH_MAX * STORE_META_MAX. */
	if (m->fd < 0 || m->len > STORE_META_MAX) {
		keeper_answer(p, m->type, m->id, m->fd < 0 ? -EINVAL : -EMSGSIZE, NULL, 0, -1);
		return;
	}
	if (s->count == STORE_BATCH_MAX)
		store_flush(s);
	s->items[s->count] =
		(struct store_item){ .fd = m->fd, .meta = m->data, .meta_len = m->len };
	s->waiting[s->count] = (struct waiting){ .peer = p, .id = m->id, .meta = m->data };
	s->count++;
	m->fd = -1;
	m->data = NULL;
}

static void request_open(struct store_role *s, struct keeper_peer *p, struct channel_msg *m)
{
	int fd = store_keeper_temp(s->store);

	keeper_answer(p, m->type, m->id, fd < 0 ? fd : 0, NULL, 0, fd);
	if (fd >= 0)
		close(fd);
}

static void store_request(struct keeper *k, struct keeper_peer *p, struct channel_msg *m)
{
	struct store_role *s = k->data;

	if (m->type == CHANNEL_STORE_OPEN)
		request_open(s, p, m);
	else if (m->type == CHANNEL_STORE_KEEP)
		request_keep(s, p, m);
	else
		keeper_answer(p, m->type, m->id, -ENOSYS, NULL, 0, -1);
}

/* At once while nobody asks for anything; beside others, a tenth of the time. */
static void index_words(struct store_role *s)
{
	int64_t begun_ms = clock_ms(), took_ms;
	bool more;

	if (!s->search_ms || begun_ms < s->search_ms)
		return;
	more = store_keeper_search(s->store, SEARCH_BUDGET_MS);
	took_ms = clock_ms() - begun_ms;
	s->search_ms = !more ? 0 : begun_ms + took_ms + (begun_ms - s->kept_ms < LOAD_MS ? SEARCH_REST * took_ms + 1 : 0);
}

/* A few at a time, and then a pause: whoever comes meanwhile waits for a few only. */
static void retain(struct keeper *k, struct store_role *s)
{
	int64_t begun_ms = clock_ms(), now_ms;
	struct store_retention r = k->settings.quarantine;
	bool more;

	if (!s->retain_ms || begun_ms < s->retain_ms)
		return;
	if (!store_keeper_clock(s->store, clock_wall_ms(), begun_ms, &now_ms))
		r = store_retention_by_size(&r);
	more = store_keeper_retain(s->store, &r, now_ms / 1000);
	s->retain_ms = more ? clock_ms() + RETAIN_PAUSE_MS + 2 * (clock_ms() - begun_ms) : 0;
}

static void round_by(struct keeper *k, int64_t at_ms)
{
	int64_t left_ms = at_ms - clock_ms();

	if (left_ms < 0)
		left_ms = 0;
	if (at_ms && (k->round_in_ms < 0 || left_ms < k->round_in_ms))
		k->round_in_ms = (int)left_ms;
}

static void store_round(struct keeper *k)
{
	struct store_role *s = k->data;

	store_flush(s);
	if (s->tidying)
		s->tidying = store_keeper_tidy(s->store);
	index_words(s);
	retain(k, s);
	if (s->tidying)
		k->round_in_ms = 0;
	round_by(k, s->search_ms);
	round_by(k, s->retain_ms);
}

/* An index that was begun afresh meanwhile wants its messages. */
static void store_tick(struct keeper *k)
{
	struct store_role *s = k->data;

	s->tidying = store_keeper_tidy(s->store);
	if (s->tidying)
		k->round_in_ms = 0;
	if (!s->retain_ms)
		s->retain_ms = clock_ms();
	if (!s->search_ms)
		s->search_ms = clock_ms();      /* a message that is older than others, a command that emptied the index */
}

static void store_close(struct keeper *k)
{
	struct store_role *s = k->data;

	if (s->store)
		store_flush(s);
	store_keeper_close(s->store);
	if (s->proc_fd >= 0)
		close(s->proc_fd);
	free(s);
	k->data = NULL;
}

const struct keeper_role keeper_store = {
	.name = "gp-store",
	.prepare = store_prepare,
	.open = store_role_open,
	.request = store_request,
	.round = store_round,
	.tick = store_tick,
	.close = store_close,
};
