/* backend_session - sessions with the servers behind: how many there may be, and how one is had */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "hop/backend_impl.h"
#include "policy/conf.h"

enum {
	POLL_MS = 50,                   /* how soon a session freed by another worker is noticed */
	LEARNED_MS = 10 * 60 * 1000,    /* how many sessions it takes is tried anew so often */
	LEARNED_MIN = 5,                /* a server that takes fewer than these has something else to say by its 421 */
	FAULT_MS = 5000,                /* a wait this long is the backend's fault, whatever the caller's deadline */
};

/* --- how many sessions --- */

void backend_shared_forget(struct backend_shared *shared, int worker)
{
	places_forget(&shared->inside, worker);
	atomic_store(&shared->wanted[worker], 0);
	health_forget(&shared->health[worker]);
}

/* How many it takes; 0: no limit. */
static int most(struct backend *b)
{
	int max = b->conf->max_sessions;

	if (b->learned && clock_ms() >= b->learned_until_ms)
		b->learned = 0;
	return b->learned && (max == 0 || b->learned < max) ? b->learned : max;
}

bool backend_slot_try(struct backend *b)
{
	return places_enter(&b->shared->inside, b->self, most(b));
}

bool backend_group_full(struct backend_group *g)
{
	const struct backend *full = NULL;
	bool room = false;

	for (size_t i = 0; i < g->count; i++) {
		struct backend *b = &g->member[i];
		int max = most(b);

		if (b->state == AWAY || (full && b->conf->priority > full->conf->priority))
			continue;
		if (!full || b->conf->priority < full->conf->priority)
			room = false;
		full = b;
		room |= b->idle || max == 0 || places_held(&b->shared->inside) < max;
	}
	return full && !room;
}

/*
 * It has refused this session (4xx at the greeting), and goes on serving others of ours: it is full, not away. Exchange takes 20 of one source and says
 * 421 to the next, which whoever has not said max_sessions learns so: who comes now waits for one of the others. Whether that is so.
 */
static bool is_full(struct backend *b, int rc, const char *why)
{
	int others = places_held(&b->shared->inside) - 1;

	if (rc != -EBUSY || b->state != UP || others < LEARNED_MIN)
		return false;
	if (!b->learned) {
		log_warning("backend", "name", b->conf->name, "state", "full", "why", why, "expected", "max_sessions, as many as it takes of one source", NULL);
		b->learned = others;
	}
	if (others < b->learned)
		b->learned = others;
	b->learned_until_ms = clock_ms() + LEARNED_MS;
	return true;
}

void backend_slot_leave(struct backend *b)
{
	places_leave(&b->shared->inside, b->self);
	if (b->freed)
		future_resolve(b->freed, 0);
}

struct backend_session *backend_idle_pop(struct backend *b)
{
	struct backend_session *bs = b->idle;

	if (bs)
		b->idle = bs->next;
	return bs;
}

int backend_slot_wait(struct backend *b, int64_t until_ms, struct backend_session **idle)
{
	int64_t left = until_ms - clock_ms();
	int rc = gate_enter(&b->queue, left > 0 ? (int)left : 0);

	*idle = NULL;
	if (rc < 0)
		return rc;
	atomic_fetch_add(&b->shared->wanted[b->self], 1);
	for (;;) {
		struct future freed = { 0 };

		*idle = backend_idle_pop(b);
		if (*idle || backend_slot_try(b)) {
			rc = 0;
			break;
		}
		left = until_ms - clock_ms();
		if (left <= 0) {
			rc = -ETIMEDOUT;
			break;
		}
		b->freed = &freed;
		rc = future_wait(&freed, left < POLL_MS ? (int)left : POLL_MS);
		b->freed = NULL;
		if (rc == -ECANCELED)
			break;
	}
	atomic_fetch_sub(&b->shared->wanted[b->self], 1);
	gate_leave(&b->queue);
	return rc;
}

/* --- sessions --- */

void backend_session_free(struct backend_session *bs)
{
	struct backend *b = bs->backend;

	smtp_client_free(bs->client);
	free(bs->helo);
	free(bs);
	backend_slot_leave(b);
	backend_group_unref(b->group);
}

static void quit_task(void *arg)
{
	struct backend_session *bs = arg;

	smtp_client_quit(bs->client);
	bs->client = NULL;
	backend_session_free(bs);
}

void backend_session_close(struct backend_session *bs)
{
	if (bs->client->broken || bs->backend->group->ending || task_spawn("backend quit", quit_task, bs, NULL) < 0)
		backend_session_free(bs);
}

/* Whether it begins by saying for whom it speaks. */
static bool begins_told(const struct backend *b, const struct backend_want *w)
{
	return w->who && b->conf->proxy != PROXY_NO;
}

/* Whether no session that somebody else has used will do. */
static bool needs_own(const struct backend *b, const struct backend_want *w)
{
	return w->fresh || begins_told(b, w);
}

/* What a session says at its beginning; helo is a copy, since the client may say another. */
static const struct smtp_client_conf *session_conf(struct backend_session *bs, struct backend *b, const struct backend_want *w)
{
	if (!begins_told(b, w) && !w->fresh)
		return &b->client_conf;
	bs->conf = b->client_conf;
	bs->conf.tls_always = w->fresh;         /* a password is to be said there */
	if (!begins_told(b, w))
		return &bs->conf;
	bs->conf.proxied = (struct proxy_header){ .told = true, .source = w->who->addr, .destination = w->who->local };
	bs->identity = true;
	/* To the server we are the client: a name of ours would not fit its address. */
	bs->helo = xclient_helo_ok(w->who->helo) ? strdup(w->who->helo) : NULL;
	if (bs->helo)
		bs->conf.hostname = bs->helo;
	return &bs->conf;
}

/* Who the client is, where the server takes XCLIENT. 0: it knows, or goes on without; else the session is broken. may wait */
static int introduce(struct backend_session *bs, const struct backend_want *w, char *words)
{
	int rc = w->who && bs->backend->conf->xclient ? smtp_client_xclient(bs->client, w->who, w->deadline_ms) : -EOPNOTSUPP;

	if (rc == 0 || bs->client->broken)
		bs->identity = true;
	if (bs->client->refused)
		smtp_client_refusal(bs->client, words);
	return bs->client->broken ? rc : 0;
}

/* What a server says that has been told who the client is, passed on. */
static int refused_client(const struct backend_want *w, const char *words)
{
	memcpy(w->refusal, words, SMTP_WHY_MAX);
	return words[0] == '5' ? -EACCES : -EBUSY;
}

/*
 * A session that spoke for a client failed. That may be the client's doing (his address is not welcome, and the connection is cut): one of our own
 * will show how the server is.
 */
static void doubt(struct backend *b, const char *why)
{
	if (b->state != UP) {
		backend_away(b, why);
		return;
	}
	b->seen_ms = clock_ms() - b->conf->probe_interval_ms;
	future_resolve(&b->wake, 0);
}

/* told: the server may have known by then for whom the session was. */
static void session_failed(struct backend *b, const struct backend_want *w, int rc, bool told, int64_t begun_ms, const char *why)
{
	if (rc == -ECANCELED || rc == -ENOMEM)
		return;
	/* no time left is the caller's affair, a long silence is the backend's */
	if (rc == -ETIMEDOUT && w->deadline_ms != 0 && clock_ms() >= w->deadline_ms && clock_ms() - begun_ms < FAULT_MS)
		return;
	if (told)
		doubt(b, why);
	else
		backend_away(b, why);
}

/* Try the member's addresses in turn; the slot is taken already and is given back on failure. -EAGAIN: it takes no more. may wait */
int backend_session_open(struct backend *b, const struct backend_want *w, struct backend_session **out)
{
	struct net_addr *addr = calloc(HOST_ADDRESSES_MAX, sizeof(*addr));
	struct backend_session *bs = calloc(1, sizeof(*bs));
	char why[SMTP_WHY_MAX] = "out of memory", words[SMTP_WHY_MAX] = "";
	const struct smtp_client_conf *conf = bs ? session_conf(bs, b, w) : NULL;
	int64_t begun = clock_ms();
	int rc = -ENOMEM;
	bool told = false;
	size_t n = addr && bs ? host_addresses(b->group->dns, b->conf->host, b->conf->port, b->conf->connect_timeout_ms, addr, why) : 0;

	if (n > 0) {
		memcpy(b->known, addr, n * sizeof(*addr));
		b->known_count = n;
	}
	if (addr && bs && n == 0)
		rc = task_cancelled() ? -ECANCELED : -EHOSTUNREACH;
	for (size_t i = 0; i < n && rc != 0 && rc != -ECANCELED && !words[0]; i++) {
		net_text_port(&addr[i], b->address);
		if (backend_is_ourselves(b->group->site, &addr[i])) {
			snprintf(why, sizeof(why), "%s is ourselves: mail would loop", b->address);
			rc = -ELOOP;
			continue;
		}
		rc = smtp_client_open_told(conf, &addr[i], NULL, w->deadline_ms, &bs->client, why, bs->identity ? words : NULL);
		/* Words are none here: so it was TCP that refused, and nobody listens there. Before XCLIENT nothing was said of the client. */
		told |= rc < 0 && begins_told(b, w) && rc != -ECONNREFUSED && rc != -EHOSTUNREACH;
	}
	free(addr);
	if (rc == 0) {
		bs->backend = b;
		bs->fresh = true;
		b->group->users++;
		backend_tls_note(b, bs->client);
		backend_up(b, bs->identity ? NULL : &bs->client->caps);
		rc = introduce(bs, w, words);
		if (rc == 0) {
			*out = bs;
			return 0;
		}
		snprintf(why, sizeof(why), "%s", bs->client->why);
		backend_session_free(bs);
		told = true;
	} else {
		bool full;

		if (bs)
			free(bs->helo);
		free(bs);
		full = !words[0] && is_full(b, rc, why);
		backend_slot_leave(b);
		if (full)
			return -EAGAIN;
	}
	if (words[0])
		return refused_client(w, words);
	session_failed(b, w, rc, told, begun, why);
	return rc;
}

static bool idle_good(struct backend_session *bs)
{
	const struct backend_conf *cf = bs->backend->conf;
	int limit = bs->client->caps.limit_mail;

	return clock_ms() - bs->idle_since_ms <= cf->reuse_idle_ms && (cf->reuse_max == 0 || bs->messages < cf->reuse_max) &&
	       (limit == 0 || bs->messages < limit) && smtp_client_quiet(bs->client);
}

/* An idle session made ready again, or NULL. may wait */
static struct backend_session *session_reuse(struct backend_session *bs, int64_t deadline_ms)
{
	/* whoever does not answer RSET soon leaves time to try another */
	int64_t until = clock_ms() + bs->backend->conf->connect_timeout_ms;

	if (idle_good(bs) && smtp_client_rset(bs->client, deadline_ms && deadline_ms < until ? deadline_ms : until) == 0 &&
	    bs->client->reply.code / 100 == 2) {
		bs->fresh = false;
		return bs;
	}
	if (bs->client->error == -ETIMEDOUT && clock_ms() >= until)
		backend_away(bs->backend, bs->client->why);
	backend_session_close(bs);
	return NULL;
}

/*
 * An idle session, made ready for this client. 0; -EAGAIN: it is of no more use, it has been closed; or the server refuses the client, in words.
 * may wait
 */
static int session_again(struct backend_session *bs, const struct backend_want *w, struct backend_session **out)
{
	char words[SMTP_WHY_MAX] = "";

	if (needs_own(bs->backend, w)) {
		backend_session_free(bs);
		return -EAGAIN;
	}
	bs = session_reuse(bs, w->deadline_ms);
	if (!bs)
		return -EAGAIN;
	bs->backend->seen_ms = clock_ms();
	if (introduce(bs, w, words) == 0) {
		*out = bs;
		return 0;
	}
	backend_session_close(bs);
	return words[0] ? refused_client(w, words) : -EAGAIN;
}

/* 0; -EAGAIN: full now; or what backend_session_open says. may wait */
static int session_get(struct backend *b, const struct backend_want *w, struct backend_session **out)
{
	struct backend_session *bs;

	/* Where none that was used before will do, idle ones only make room. */
	if (needs_own(b, w) && backend_slot_try(b))
		return backend_session_open(b, w, out);
	while ((bs = backend_idle_pop(b)) != NULL) {
		int rc = session_again(bs, w, out);

		if (rc != -EAGAIN)
			return rc;
		if (task_cancelled())
			return -ECANCELED;
		if (needs_own(b, w))
			break;
	}
	return backend_slot_try(b) ? backend_session_open(b, w, out) : -EAGAIN;
}

/* The member to try: not in `not`, not away, the lowest priority, by turns. A member whose time to come back has come is tried by one only. */
static struct backend *choose(struct backend_group *g, uint64_t not)
{
	struct backend *best = NULL;
	int64_t now = clock_ms();

	for (size_t i = 0; i < g->count; i++) {
		struct backend *b = &g->member[i];

		if ((not >> i & 1) || (b->state == AWAY && now < b->retry_at_ms))
			continue;
		if (!best || b->conf->priority < best->conf->priority ||
		    (b->conf->priority == best->conf->priority && b->turn < best->turn))
			best = b;
	}
	if (best)
		best->turn = ++g->turn;
	if (best && best->state == AWAY)
		best->retry_at_ms = now + best->backoff_ms;
	return best;
}

static int take(struct backend_group *g, const struct backend_want *w, struct backend_session **out)
{
	struct backend *full = NULL;    /* the first of the best tier that has no session free */
	uint64_t not = 0;
	int64_t waits = 0;              /* until then, at most, for one of its sessions; 0: not begun */

	w->refusal[0] = '\0';
	for (;;) {
		struct backend *b = choose(g, not);
		int rc;

		if (full && (!b || b->conf->priority > full->conf->priority)) {
			/* A tier that answers is waited for; the next is for when it is away. */
			struct backend_session *idle;
			int64_t until = waits ? waits : clock_ms() + full->conf->max_sessions_wait_ms;

			rc = backend_slot_wait(full, w->deadline_ms && w->deadline_ms < until ? w->deadline_ms : until, &idle);
			if (rc < 0)
				return rc == -ETIMEDOUT ? -EBUSY : rc;
			if (idle) {
				rc = session_again(idle, w, out);
				if (rc != -EAGAIN)
					return rc;
				continue;
			}
			rc = backend_session_open(full, w, out);
			if (rc == -EAGAIN) {    /* it takes fewer than we thought */
				waits = until;
				if (clock_ms() >= until)
					return -EBUSY;
				continue;
			}
			not |= 1ull << (full - g->member);
			full = NULL;
		} else if (!b) {
			return -EHOSTUNREACH;
		} else {
			rc = session_get(b, w, out);
			if (rc == -EAGAIN && !full)
				full = b;
			not |= 1ull << (b - g->member);
		}
		if (rc == 0 || rc == -ECANCELED || rc == -ENOMEM || w->refusal[0])
			return rc;
		if (w->deadline_ms && clock_ms() >= w->deadline_ms)
			return -ETIMEDOUT;
	}
}

int backend_take(struct backend_group *g, int64_t deadline_ms, struct backend_session **out)
{
	char refusal[SMTP_WHY_MAX];

	return backend_take_for(g, NULL, deadline_ms, out, refusal);
}

int backend_take_for(struct backend_group *g, const struct smtp_identity *who, int64_t deadline_ms, struct backend_session **out, char *refusal)
{
	const struct backend_want w = { .who = who, .deadline_ms = deadline_ms, .refusal = refusal };

	return take(g, &w, out);
}

int backend_take_new(struct backend_group *g, const struct smtp_identity *who, int64_t deadline_ms, struct backend_session **out, char *refusal)
{
	const struct backend_want w = { .who = who, .fresh = true, .deadline_ms = deadline_ms, .refusal = refusal };
	int rc = take(g, &w, out);

	if (rc == 0)
		(*out)->identity = true;
	return rc;
}

void backend_give(struct backend_session *bs, bool clean)
{
	struct backend *b = bs->backend;
	struct smtp_client *c = bs->client;

	bs->messages++;
	if (c->closing || c->error == -ETIMEDOUT)
		backend_away(b, c->closing && !c->broken ? "it said 421" : c->why);
	if (!clean || c->broken || c->closing || !b->conf->reuse || bs->identity || b->group->ending || b->state == AWAY ||
	    bs->strain >= BACKEND_STRAIN_MAX ||
	    (b->conf->reuse_max && bs->messages >= b->conf->reuse_max)) {
		backend_session_close(bs);
		return;
	}
	bs->idle_since_ms = clock_ms();
	bs->next = b->idle;
	b->idle = bs;
	if (b->freed)
		future_resolve(b->freed, 0);
}

/* --- inline --- */

int backend_open(struct backend *b, const struct smtp_client_conf *conf, const struct net_addr *to, int64_t deadline_ms,
		 struct backend_session **out, char *why, char *refusal)
{
	struct backend_session *bs = calloc(1, sizeof(*bs));
	int rc = -ENOMEM;

	snprintf(why, SMTP_WHY_MAX, "out of memory");
	refusal[0] = '\0';
	if (bs)
		bs->helo = strdup(conf->hostname);
	if (bs && bs->helo) {
		snprintf(why, SMTP_WHY_MAX, "all its sessions are taken");
		rc = backend_enter(b, deadline_ms);
	}
	if (rc < 0) {
		if (bs)
			free(bs->helo);
		free(bs);
		return rc;
	}
	bs->conf = *conf;
	bs->conf.hostname = bs->helo;
	bs->backend = b;
	bs->fresh = bs->identity = true;
	rc = smtp_client_open_told(&bs->conf, to, NULL, deadline_ms, &bs->client, why, refusal);
	if (rc < 0)
		backend_session_free(bs);
	else
		backend_tls_note(b, bs->client);
	if (rc == 0)
		*out = bs;
	return rc;
}
