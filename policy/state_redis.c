#include "policy/state_redis.h"

#include <errno.h>
#include <event2/event.h>
#include <hiredis/async.h>
#include <hiredis/adapters/libevent.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/task.h"
#include "policy/state_redis_script.h"

enum {
	RETRY_MIN_MS = 100,
	RETRY_MAX_MS = 5000,
	STEADY_MS = 1000,               /* a connection that lasted so long is made anew without a pause */
	COMPLAIN_MS = 10 * 1000,        /* errors of a Redis that is there are said this often */
	SCAN_COUNT = 1000,
	SHA_HEX = 40,
};

enum link {
	LINK_DOWN,              /* the timer will connect */
	LINK_COMING,            /* the timer is its deadline */
	LINK_READY,
};

/* Who waits for the connection. On the stack of its task. */
struct waiter {
	struct future ready;
	struct waiter *next, **at;      /* at: what points here */
};

/* One command under way. Lives until hiredis has called back, even when its task has gone. */
struct request {
	struct future done;
	bool abandoned;
	/* Reads the answer, in the callback, while there is one. 0 or -errno */
	int (*read)(const struct redisReply *r, void *arg);
	void *arg;
	struct state_redis *state;
};

struct state_redis {
	struct state state;             /* first */
	const struct state_redis_conf *conf;
	int64_t (*now_s)(void);
	redisAsyncContext *redis;
	struct event *timer;
	enum link link;
	bool away;                      /* has been said; requests fail at once */
	bool was_there;
	int retry_ms;                   /* the next pause; 0: at once */
	int64_t ready_ms, complained_ms;
	char sha[SHA_HEX + 1];          /* of the script, as Redis says */
	struct waiter *waiters;
};

static void timer_set(struct state_redis *s, int ms)
{
	struct timeval tv = { ms / 1000, ms % 1000 * 1000 };

	event_add(s->timer, &tv);
}

/* What is said */

static void say(struct state_redis *s, enum log_level level, const char *what, const char *why)
{
	char address[NET_TEXT_MAX];
	struct log_line l;

	log_start(&l, level, "state");
	log_str(&l, "store", "redis");
	log_str(&l, "address", net_text_port(&s->conf->address, address));
	log_str(&l, "what", what);
	log_str(&l, "error", why);
	log_emit(&l);
}

static void complain(struct state_redis *s, const char *why)
{
	int64_t now_ms = clock_ms();

	if (s->complained_ms && now_ms - s->complained_ms < COMPLAIN_MS)
		return;
	s->complained_ms = now_ms;
	say(s, LOG_LEVEL_ERROR, "refused", why);
}

static void waiter_add(struct state_redis *s, struct waiter *w)
{
	w->next = s->waiters;
	w->at = &s->waiters;
	if (w->next)
		w->next->at = &w->next;
	s->waiters = w;
}

static void waiter_remove(struct waiter *w)
{
	*w->at = w->next;
	if (w->next)
		w->next->at = w->at;
}

static void waiters_wake(struct state_redis *s, int rc)
{
	struct waiter *w;

	while ((w = s->waiters)) {
		waiter_remove(w);
		future_resolve(&w->ready, rc);
	}
}

static void away(struct state_redis *s, const char *why)
{
	if (!s->away)
		say(s, LOG_LEVEL_ERROR, "away", why);
	s->away = true;
	waiters_wake(s, -ENOTCONN);
}

/* The connection comes and goes */

/* It has ended, or is ended here. serious: to be tried again at once is of no use. */
static void lost(struct state_redis *s, const char *why, bool serious)
{
	redisAsyncContext *redis = s->redis;
	bool was_ready = s->link == LINK_READY;

	s->redis = NULL;                /* what is called back from here on is an old one's */
	s->link = LINK_DOWN;
	/* Restarted, or an idle connection that somebody has cut: as a rule it can be had again. */
	if (serious || !was_ready)
		away(s, why);
	if (was_ready && !serious && clock_ms() - s->ready_ms >= STEADY_MS)
		s->retry_ms = 0;
	else
		s->retry_ms = s->retry_ms < RETRY_MIN_MS ? RETRY_MIN_MS : s->retry_ms * 2;
	if (s->retry_ms > RETRY_MAX_MS)
		s->retry_ms = RETRY_MAX_MS;
	timer_set(s, s->retry_ms);
	if (redis)
		redisAsyncFree(redis);  /* calls back for all that is under way; later, from inside a callback */
}

static void on_connect(const redisAsyncContext *redis, int status)
{
	struct state_redis *s = redis->data;

	if (status == REDIS_OK || !s || s->redis != redis)
		return;
	s->redis = NULL;                /* hiredis frees it */
	lost(s, redis->c.errstr[0] ? redis->c.errstr : "cannot connect", true);
}

static void on_disconnect(const redisAsyncContext *redis, int status)
{
	struct state_redis *s = redis->data;

	if (!s || s->redis != redis)
		return;
	s->redis = NULL;
	lost(s, redis->errstr && redis->errstr[0] ? redis->errstr : "connection closed", false);
}

static void on_password(redisAsyncContext *redis, void *answer, void *arg)
{
	const struct redisReply *r = answer;
	struct state_redis *s = arg;

	if (s->redis == redis && r && r->type == REDIS_REPLY_ERROR)
		lost(s, r->str, true);
}

/* The script is there: so is Redis. */
static void on_script(redisAsyncContext *redis, void *answer, void *arg)
{
	const struct redisReply *r = answer;
	struct state_redis *s = arg;

	if (s->redis != redis || !r)
		return;
	if (r->type != REDIS_REPLY_STRING || r->len != SHA_HEX) {
		lost(s, r->type == REDIS_REPLY_ERROR ? r->str : "not the answer of a Redis", true);
		return;
	}
	memcpy(s->sha, r->str, SHA_HEX);
	event_del(s->timer);
	s->link = LINK_READY;
	s->ready_ms = clock_ms();
	s->retry_ms = 0;
	if (s->away || !s->was_there)
		say(s, s->away ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, s->was_there || s->away ? "back" : "connected", NULL);
	s->away = false;
	s->was_there = true;
	waiters_wake(s, 0);
}

static int introduce(struct state_redis *s)
{
	if (s->conf->password && redisAsyncCommand(s->redis, on_password, s, "AUTH %s", s->conf->password) != REDIS_OK)
		return -EIO;
	return redisAsyncCommand(s->redis, on_script, s, "SCRIPT LOAD %s", state_redis_script) == REDIS_OK ? 0 : -EIO;
}

static void link_begin(struct state_redis *s)
{
	char address[NET_TEXT_MAX];
	redisAsyncContext *redis = redisAsyncConnect(net_text(&s->conf->address, address), s->conf->address.port);

	s->link = LINK_COMING;
	s->redis = redis;
	if (!redis) {
		lost(s, "no memory", true);
		return;
	}
	if (redis->err) {
		char why[128];

		snprintf(why, sizeof(why), "%s", redis->errstr);
		lost(s, why, true);
		return;
	}
	redis->data = s;
	if (redisLibeventAttach(redis, loop_base()) != REDIS_OK) {
		lost(s, "no event", true);
		return;
	}
	redisAsyncSetConnectCallback(redis, on_connect);
	redisAsyncSetDisconnectCallback(redis, on_disconnect);
	(void)redisEnableKeepAlive(&redis->c);
	timer_set(s, s->conf->timeout_ms);
	if (introduce(s) < 0)
		lost(s, "no memory", true);
}

static void on_timer(int fd, short what, void *arg)
{
	struct state_redis *s = arg;

	if (s->link == LINK_DOWN)
		link_begin(s);
	else if (s->link == LINK_COMING)
		lost(s, "does not answer", true);
}

/* One command */

static void on_answer(redisAsyncContext *redis, void *answer, void *arg)
{
	const struct redisReply *r = answer;
	struct request *q = arg;
	int rc = -EPIPE;

	if (q->abandoned) {
		free(q);
		return;
	}
	if (r && r->type == REDIS_REPLY_ERROR && strncmp(r->str, "NOSCRIPT", 8) == 0) {
		rc = -ENOENT;
	} else if (r && r->type == REDIS_REPLY_ERROR) {
		complain(q->state, r->str);
		rc = -EIO;
	} else if (r) {
		rc = q->read(r, q->arg);
		if (rc < 0)
			complain(q->state, "an answer that cannot be understood");
	}
	future_resolve(&q->done, rc);
}

static int left_ms(int64_t deadline_ms)
{
	int64_t left = deadline_ms - clock_ms();

	return left > 0 ? (int)left : 0;
}

/* Send words, wait, read. -EPIPE: the connection went; -ENOENT: the script is not there. may wait */
static int command(struct state_redis *s, int argc, const char **word, const size_t *len, int64_t deadline_ms,
		   int (*read)(const struct redisReply *, void *), void *arg)
{
	struct request *q = calloc(1, sizeof(*q));
	int rc;

	if (!q)
		return -ENOMEM;
	*q = (struct request){ .read = read, .arg = arg, .state = s };
	if (redisAsyncCommandArgv(s->redis, on_answer, q, argc, word, len) != REDIS_OK) {
		free(q);
		return -EPIPE;
	}
	rc = future_wait(&q->done, left_ms(deadline_ms));
	if (q->done.done) {
		rc = q->done.rc;
		free(q);
		return rc;
	}
	q->abandoned = true;
	if (rc == -ETIMEDOUT && s->link == LINK_READY)
		lost(s, "does not answer", true);
	return rc;
}

/* may wait. 0: there is a connection, as long as nobody waits. */
static int ready(struct state_redis *s, int64_t deadline_ms)
{
	struct waiter w = { .next = NULL };
	int rc;

	if (s->link == LINK_READY)
		return 0;
	if (s->away)
		return -ENOTCONN;
	waiter_add(s, &w);
	rc = future_wait(&w.ready, left_ms(deadline_ms));
	if (!w.ready.done)
		waiter_remove(&w);
	/* Woken, and gone again before this task came to run. */
	return rc == 0 && s->link != LINK_READY ? -EPIPE : rc;
}

/* Operations */

struct script_call {
	struct state_op *ops;
	size_t count;
	struct state_redis_args args;
};

static int script_read(const struct redisReply *r, void *arg)
{
	struct script_call *c = arg;

	return state_redis_answer(r, c->ops, c->count);
}

static int script_ask(struct state_redis *s, struct script_call *c, bool whole, int64_t deadline_ms)
{
	state_redis_args(&c->args, whole ? "EVAL" : "EVALSHA", whole ? state_redis_script : s->sha, s->conf->prefix,
			 s->now_s ? s->now_s() : -1, c->ops, c->count);
	return command(s, c->args.count, c->args.word, c->args.len, deadline_ms, script_read, c);
}

static int script_run(struct state_redis *s, struct state_op *ops, size_t count)
{
	int64_t deadline_ms = clock_ms() + s->conf->timeout_ms;
	struct script_call *c = calloc(1, sizeof(*c));
	int rc = -EPIPE;

	if (!c)
		return -ENOMEM;
	c->ops = ops;
	c->count = count;
	for (int tries = 0; tries < 2 && rc == -EPIPE; tries++) {
		rc = ready(s, deadline_ms);
		if (rc == 0)
			rc = script_ask(s, c, false, deadline_ms);
		if (rc == -ENOENT && s->link == LINK_READY)     /* somebody said SCRIPT FLUSH */
			rc = script_ask(s, c, true, deadline_ms);
	}
	free(c);
	return rc == -ENOENT ? -EPIPE : rc;
}

/* A whole space, step by step */

enum { CURSOR_MAX = 24 };

struct sweep {
	char cursor[CURSOR_MAX];
	const char **word;      /* "UNLINK" and the keys of this step */
	size_t *len;
	char **key;
	size_t count;
	int64_t deleted;
};

static void sweep_keys_free(struct sweep *w)
{
	for (size_t i = 0; i < w->count; i++)
		free(w->key[i]);
	free(w->key);
	free(w->word);
	free(w->len);
	w->key = NULL;
	w->word = NULL;
	w->len = NULL;
	w->count = 0;
}

/* The cursor of the next step, and the keys of this one: a copy, as they are sent back when this answer is gone. */
static int scan_read(const struct redisReply *r, void *arg)
{
	const struct redisReply *keys;
	struct sweep *w = arg;

	if (r->type != REDIS_REPLY_ARRAY || r->elements != 2 || r->element[0]->type != REDIS_REPLY_STRING ||
	    r->element[0]->len >= CURSOR_MAX || r->element[1]->type != REDIS_REPLY_ARRAY)
		return -EBADMSG;
	keys = r->element[1];
	snprintf(w->cursor, sizeof(w->cursor), "%s", r->element[0]->str);
	w->key = calloc(keys->elements + 1, sizeof(*w->key));
	w->word = calloc(keys->elements + 1, sizeof(*w->word));
	w->len = calloc(keys->elements + 1, sizeof(*w->len));
	if (!w->key || !w->word || !w->len)
		return -ENOMEM;
	w->word[0] = "UNLINK";
	w->len[0] = 6;
	for (size_t i = 0; i < keys->elements; i++) {
		if (keys->element[i]->type != REDIS_REPLY_STRING)
			return -EBADMSG;
		w->key[i] = malloc(keys->element[i]->len + 1);
		if (!w->key[i])
			return -ENOMEM;
		memcpy(w->key[i], keys->element[i]->str, keys->element[i]->len + 1);
		w->count++;
		w->word[w->count] = w->key[i];
		w->len[w->count] = keys->element[i]->len;
	}
	return 0;
}

static int unlink_read(const struct redisReply *r, void *arg)
{
	struct sweep *w = arg;

	if (r->type != REDIS_REPLY_INTEGER)
		return -EBADMSG;
	w->deleted += r->integer;
	return 0;
}

static int sweep_step(struct state_redis *s, struct sweep *w, const char *pattern)
{
	int64_t deadline_ms = clock_ms() + s->conf->timeout_ms;
	char steps[16], cursor[CURSOR_MAX];
	const char *word[] = { "SCAN", cursor, "MATCH", pattern, "COUNT", steps };
	size_t len[6];
	int rc = ready(s, deadline_ms);

	snprintf(steps, sizeof(steps), "%d", SCAN_COUNT);
	snprintf(cursor, sizeof(cursor), "%s", w->cursor);
	for (int i = 0; i < 6; i++)
		len[i] = strlen(word[i]);
	if (rc == 0)
		rc = command(s, 6, word, len, deadline_ms, scan_read, w);
	if (rc == 0 && w->count > 0)
		rc = s->link == LINK_READY
			     ? command(s, (int)w->count + 1, w->word, w->len, deadline_ms, unlink_read, w)
			     : -EPIPE;
	sweep_keys_free(w);
	return rc;
}

static int space_delete(struct state_redis *s, struct state_op *op)
{
	int64_t end_ms = clock_ms() + STATE_REDIS_SWEEP_MS;
	struct sweep w = { .cursor = "0" };
	char pattern[STATE_REDIS_PREFIX_MAX + sizeof(op->space) + 4];
	int rc;

	/* Neither prefix nor space has a byte that means something in a pattern. */
	snprintf(pattern, sizeof(pattern), "%.64s%s:*", s->conf->prefix, op->space);
	do {
		rc = sweep_step(s, &w, pattern);
		if (rc == 0 && clock_ms() >= end_ms)
			rc = -ETIMEDOUT;
	} while (rc == 0 && strcmp(w.cursor, "0") != 0);
	op->count = w.deleted;
	op->found = w.deleted > 0;
	return rc;
}

static int state_redis_run(struct state *base, struct state_op *ops, size_t count)
{
	struct state_redis *s = (struct state_redis *)base;
	bool space = false;

	if (count == 0 || count > STATE_OPS_MAX)
		return -EINVAL;
	for (size_t i = 0; i < count; i++) {
		if (!state_redis_ok(&ops[i]))
			return -EINVAL;
		space |= ops[i].verb == STATE_DELETE && !ops[i].key[0];
	}
	if (space)
		return count == 1 ? space_delete(s, &ops[0]) : -EINVAL;
	return script_run(s, ops, count);
}

struct state_redis *state_redis_new(const struct state_redis_conf *conf, int64_t (*now_s)(void))
{
	struct state_redis *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->state.run = state_redis_run;
	s->conf = conf;
	s->now_s = now_s;
	return s;
}

struct state *state_redis_state(struct state_redis *s)
{
	return &s->state;
}

int state_redis_start(struct state_redis *s)
{
	s->timer = event_new(loop_base(), -1, 0, on_timer, s);
	if (!s->timer)
		return -ENOMEM;
	timer_set(s, 0);
	return 0;
}

void state_redis_free(struct state_redis *s)
{
	redisAsyncContext *redis = s ? s->redis : NULL;

	if (!s)
		return;
	s->redis = NULL;
	if (redis)
		redisAsyncFree(redis);
	if (s->timer)
		event_free(s->timer);
	free(s);
}
