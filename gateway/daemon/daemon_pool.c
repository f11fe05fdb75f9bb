#include "daemon/daemon_pool.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/stream.h"
#include "base/stream_raw.h"
#include "base/task.h"
#include "daemon/daemon_connect.h"
#include "policy/conf.h"

_Static_assert(DAEMON_ADDRESSES_MAX <= 8, "an address is a bit of struct daemon_shared");

enum {
	TICK_MS = 500,                  /* how often kept lines are looked at */
	LAST_MAX = 1024,
};

/* One address of a daemon. */
struct place {
	const struct daemon_address *address;
	struct pool_line *kept;         /* the youngest first */
	int failures;                   /* in a row, of those that were connected */
	bool away;
	bool tried;                     /* away: somebody finds out now */
	int64_t until_ms;               /* away: left alone until then */
	int rest_ms;
};

struct pool {                           /* of one daemon */
	struct daemon_pool *all;
	const struct daemon_conf *conf;
	struct gate gate;
	int waiting, kept;
	struct daemon_shared *shared;   /* NULL: nobody asks how it is */
	int self;
	struct place place[DAEMON_ADDRESSES_MAX];
};

struct pool_line {
	struct daemon_line line;        /* the first member: what a filter holds */
	struct pool *pool;
	struct place *place;
	struct stream *stream;
	struct pool_line *next;         /* of those that are kept */
	int64_t kept_ms;                /* since when */
	struct buf last;                /* what it said before it closed while we were writing */
	bool trial;                     /* it finds out whether the place is back */
};

struct daemon_pool {
	struct daemons daemons;         /* the first member */
	struct dns *dns;
	struct daemon_source *source;
	struct task *ticker;            /* while lines are kept */
	int kept, users;                /* users: this, and the ticker */
	bool ending;
	size_t count;
	struct pool pool[];
};

static struct pool_line *line_of(struct daemon_line *l)
{
	return (struct pool_line *)l;
}

/* How it is */

void daemon_shared_forget(struct daemon_shared *shared, int worker)
{
	atomic_store(&shared->up[worker], 0);
	atomic_store(&shared->away[worker], 0);
	atomic_store(&shared->lines[worker], 0);
}

static void tell_place(const struct pool *p, const struct place *at)
{
	uint8_t bit = (uint8_t)(1 << (at - p->place));

	if (!p->shared)
		return;
	atomic_fetch_and(at->away ? &p->shared->up[p->self] : &p->shared->away[p->self], (uint8_t)~bit);
	atomic_fetch_or(at->away ? &p->shared->away[p->self] : &p->shared->up[p->self], bit);
}

static void tell_line(const struct pool *p, int more)
{
	if (p->shared)
		atomic_fetch_add(&p->shared->lines[p->self], more);
}

/* Addresses that fail */

static void say(const struct pool *p, const struct place *at, const char *why)
{
	struct log_line l;

	log_start(&l, why ? LOG_LEVEL_WARNING : LOG_LEVEL_NOTICE, "daemon");
	log_str(&l, "name", p->conf->name);
	log_str(&l, "address", at->address->text);
	log_str(&l, "state", why ? "away" : "up");
	log_str(&l, "why", why ? why : "it answers again");
	if (why)
		log_num(&l, "retry_ms", at->rest_ms);
	log_emit(&l);
}

static void kept_close(struct pool_line *l);

static void rest(struct pool *p, struct place *at, const char *why)
{
	bool news = !at->away;

	at->rest_ms = news ? DAEMON_REST_MS : at->rest_ms * 2 > DAEMON_REST_MAX_MS ? DAEMON_REST_MAX_MS : at->rest_ms * 2;
	at->until_ms = clock_ms() + at->rest_ms;
	at->away = true;
	at->failures = 0;
	tell_place(p, at);
	while (at->kept)
		kept_close(at->kept);
	if (news)
		say(p, at, why);
}

static void well(struct pool *p, struct place *at)
{
	at->failures = 0;
	if (at->away)
		say(p, at, NULL);
	at->away = false;
	tell_place(p, at);
}

static bool usable(const struct place *at)
{
	return !at->away || (!at->tried && clock_ms() >= at->until_ms);
}

/* Whether any address but this one (NULL: any at all) can be asked. */
static bool any_usable(const struct pool *p, const struct place *but)
{
	for (size_t i = 0; i < p->conf->address_count; i++)
		if (&p->place[i] != but && usable(&p->place[i]))
			return true;
	return false;
}

static void failed(struct pool *p, struct place *at)
{
	at->failures++;
	if (at->away || at->failures >= DAEMON_FAILURES || any_usable(p, at))
		rest(p, at, "it takes connections and does not answer");
}

/* Lines that are kept */

static void line_free(struct pool_line *l)
{
	tell_line(l->pool, -1);
	stream_free(l->stream);
	buf_release(&l->last);
	free(l);
}

static void kept_unlink(struct pool_line *l)
{
	struct pool_line **at = &l->place->kept;

	while (*at != l)
		at = &(*at)->next;
	*at = l->next;
	l->next = NULL;
	l->pool->kept--;
	l->pool->all->kept--;
	stream_raw_watch(l->stream, NULL, NULL);
}

static void kept_close(struct pool_line *l)
{
	kept_unlink(l);
	line_free(l);
}

/* Something came from a daemon that nobody has asked: its end, as a rule. */
static void kept_spoke(void *arg)
{
	struct pool_line *l = arg;

	if (stream_spoken_to(l->stream) || stream_left(l->stream))
		kept_close(l);
}

static void kept_expire(struct daemon_pool *all, bool every)
{
	int64_t now_ms = clock_ms();

	for (size_t i = 0; i < all->count; i++)
		for (size_t k = 0; k < all->pool[i].conf->address_count; k++) {
			struct pool_line *l = all->pool[i].place[k].kept, *next;

			for (; l; l = next) {
				next = l->next;
				if (every || now_ms - l->kept_ms >= all->pool[i].conf->idle_ms)
					kept_close(l);
			}
		}
}

static void unref(struct daemon_pool *all)
{
	if (--all->users == 0)
		free(all);
}

static void ticker_task(void *arg)
{
	struct daemon_pool *all = arg;

	while (all->kept > 0 && task_sleep(TICK_MS) == 0)
		kept_expire(all, false);
	if (all->kept > 0)
		kept_expire(all, true);         /* cancelled */
	all->ticker = NULL;
	unref(all);
}

/* Whether it is kept now. */
static bool keep(struct pool_line *l)
{
	struct daemon_pool *all = l->pool->all;

	if (all->ending || l->pool->conf->idle_ms <= 0 || l->place->away || stream_pending(l->stream) || stream_spoken_to(l->stream) ||
	    stream_raw_listen(l->stream) < 0)
		return false;
	if (!all->ticker) {
		if (task_spawn("daemons idle", ticker_task, all, &all->ticker) < 0) {
			all->ticker = NULL;
			return false;
		}
		all->users++;
	}
	l->kept_ms = clock_ms();
	l->next = l->place->kept;
	l->place->kept = l;
	l->pool->kept++;
	all->kept++;
	stream_set_deadline(l->stream, 0);
	stream_raw_watch(l->stream, kept_spoke, l);
	return true;
}

/* Lines that are taken */

static int left_ms(int64_t deadline_ms)
{
	int64_t left = deadline_ms - clock_ms();

	return left <= 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

static struct pool_line *take_kept(struct place *at)
{
	struct pool_line *l;

	while ((l = at->kept) != NULL) {
		if (!stream_spoken_to(l->stream)) {
			kept_unlink(l);
			return l;
		}
		kept_close(l);
	}
	return NULL;
}

/* There are never more than max_connections, those that are kept included. */
static void room_for_one(struct pool *p)
{
	for (size_t i = p->conf->address_count; i-- > 0 && p->kept + p->gate.inside > p->conf->max_connections;)
		while (p->place[i].kept && p->kept + p->gate.inside > p->conf->max_connections)
			kept_close(p->place[i].kept);
}

/* may wait */
static int line_new(struct pool *p, struct place *at, int64_t deadline_ms, struct pool_line **out)
{
	struct pool_line *l = calloc(1, sizeof(*l));
	char why[DAEMON_WHY_MAX] = "";
	int left = left_ms(deadline_ms), full = p->conf->connect_timeout_ms, rc;

	if (!l)
		return -ENOMEM;
	*l = (struct pool_line){ .line = { .daemons = &p->all->daemons, .address = at->address->text }, .pool = p, .place = at, .last = BUF_INIT(LAST_MAX), .trial = at->away };
	room_for_one(p);
	at->tried |= l->trial;
	rc = daemon_connect(at->address, p->all->dns, p->all->source, left < full ? left : full, &l->stream, why);
	if (rc == 0) {
		tell_line(p, 1);
		*out = l;
		return 0;
	}
	free(l);
	if (at->away)
		at->tried = false;
	/* Cut short by the message's own time it says nothing of the daemon. */
	if (rc != -ECANCELED && rc != -ENOMEM && !(rc == -ETIMEDOUT && left < full))
		rest(p, at, why);
	return rc;
}

/* There is a place for one. may wait */
static int take_here(struct pool *p, int64_t deadline_ms, bool fresh, struct pool_line **out)
{
	int rc = -EHOSTUNREACH;

	for (size_t i = 0; i < p->conf->address_count; i++) {
		struct place *at = &p->place[i];

		if (!usable(at))
			continue;
		*out = fresh || at->away ? NULL : take_kept(at);
		if (*out)
			return 0;
		rc = line_new(p, at, deadline_ms, out);
		if (rc == 0 || rc == -ECANCELED || rc == -ENOMEM)
			return rc;
		if (left_ms(deadline_ms) == 0)
			return -ETIMEDOUT;
		rc = -EHOSTUNREACH;
	}
	return rc;
}

static struct pool *pool_of(struct daemon_pool *all, const struct daemon_conf *c)
{
	for (size_t i = 0; i < all->count; i++)
		if (all->pool[i].conf == c)
			return &all->pool[i];
	return NULL;
}

static int pool_take(struct daemons *d, const struct daemon_conf *c, int64_t deadline_ms, bool fresh, struct daemon_line **out)
{
	struct pool *p = pool_of((struct daemon_pool *)d, c);
	struct pool_line *l;
	int rc;

	if (!p || p->all->ending || !any_usable(p, NULL))
		return -EHOSTUNREACH;
	if (p->waiting >= DAEMON_QUEUE_MAX)
		return -EBUSY;
	p->waiting++;
	rc = gate_enter(&p->gate, left_ms(deadline_ms));
	p->waiting--;
	if (rc < 0)
		return rc;
	rc = take_here(p, deadline_ms, fresh, &l);
	if (rc < 0) {
		gate_leave(&p->gate);
		return rc;
	}
	l->line.heard = false;
	stream_set_deadline(l->stream, deadline_ms);
	*out = &l->line;
	return 0;
}

/* It says why it does not read on, and closes: the stream is broken by our write, but its words lie in the kernel's buffer. */
static void last_words(struct pool_line *l)
{
	ssize_t n;

	if (buf_reserve(&l->last, LAST_MAX) < 0)
		return;
	n = recv(stream_fd(l->stream), l->last.data, LAST_MAX, MSG_DONTWAIT);
	if (n > 0)
		l->last.len = (size_t)n;
}

static int line_write(struct daemon_line *line, const void *p, size_t len)
{
	struct pool_line *l = line_of(line);
	int rc = stream_write(l->stream, p, len);

	if (rc == -EPIPE && !l->last.len)
		last_words(l);
	return rc;
}

static int line_peek(struct daemon_line *line, const char **p, size_t *len)
{
	struct pool_line *l = line_of(line);

	if (!l->last.len)
		return stream_peek(l->stream, -1, p, len);
	*p = l->last.data;
	*len = l->last.len;
	return 0;
}

static void line_eat(struct daemon_line *line, size_t len)
{
	struct pool_line *l = line_of(line);

	if (l->last.len)
		buf_eat(&l->last, len);
	else
		stream_eat(l->stream, len);
}

static void line_deadline(struct daemon_line *line, int64_t deadline_ms)
{
	stream_set_deadline(line_of(line)->stream, deadline_ms);
}

static void line_give(struct daemon_line *line, enum daemon_end how)
{
	struct pool_line *l = line_of(line);
	struct pool *p = l->pool;

	if (l->trial)
		l->place->tried = false;
	l->trial = false;
	if (how == DAEMON_AGAIN || how == DAEMON_DONE)
		well(p, l->place);
	else if (how == DAEMON_FAILED)
		failed(p, l->place);
	line->uses++;
	if (how != DAEMON_AGAIN || !keep(l))
		line_free(l);
	gate_leave(&p->gate);
}

static const struct daemons_ops ops = {
	.take = pool_take, .write = line_write, .peek = line_peek, .eat = line_eat, .deadline = line_deadline, .give = line_give,
};

struct daemon_pool *daemon_pool_new(const struct site *site, struct dns *dns, struct daemon_source *source)
{
	struct daemon_pool *all = calloc(1, sizeof(*all) + site->daemon_count * sizeof(struct pool));

	if (!all)
		return NULL;
	all->daemons.ops = &ops;
	all->dns = dns;
	all->source = source;
	all->users = 1;
	all->count = site->daemon_count;
	for (size_t i = 0; i < all->count; i++) {
		const struct daemon_conf *c = site->daemon[i];

		all->pool[i] = (struct pool){ .all = all, .conf = c, .gate = { .limit = c->max_connections } };
		for (size_t k = 0; k < c->address_count && k < DAEMON_ADDRESSES_MAX; k++)
			all->pool[i].place[k].address = &c->address[k];
	}
	return all;
}

void daemon_pool_share(struct daemon_pool *all, size_t i, struct daemon_shared *shared, int self)
{
	all->pool[i].shared = shared;
	all->pool[i].self = self;
}

void daemon_pool_free(struct daemon_pool *all)
{
	if (!all)
		return;
	all->ending = true;
	kept_expire(all, true);
	if (all->ticker)
		task_cancel(all->ticker);
	unref(all);
}

struct daemons *daemon_pool_daemons(struct daemon_pool *all)
{
	return all ? &all->daemons : NULL;
}
