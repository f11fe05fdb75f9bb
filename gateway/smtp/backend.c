#include "smtp/backend.h"

#include <assert.h>
#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/host.h"
#include "base/log.h"
#include "base/stream.h"
#include "base/task.h"
#include "base/tls.h"
#include "policy/conf.h"
#include "smtp/xclient.h"

enum {
	BACKOFF_MIN_MS = 1000,
	TICK_MS = 1000,                 /* idle sessions are looked at */
	POLL_MS = 50,                   /* how soon a session freed by another worker is noticed */
	FAULT_MS = 5000,                /* a wait this long is the backend's fault, whatever the caller's deadline */
	MEMBERS_MAX = 64,
};

enum health { UNSEEN, UP, AWAY };

struct backend {
	struct backend_group *group;
	const struct backend_conf *conf;
	struct smtp_client_conf client_conf;
	struct ssl_ctx_st *tls_ctx;
	struct backend_shared own, *shared;
	int self;

	enum health state;
	int backoff_ms;
	int64_t retry_at_ms;            /* AWAY: not before */
	int64_t seen_ms;                /* last success */
	uint64_t turn;                  /* when it was last chosen */
	bool probed;                    /* once at least, whatever came out */
	bool caps_seen;
	struct smtp_caps caps;
	bool lacks_xclient;             /* it is to be told the client by XCLIENT, and does not offer that to us */
	char address[NET_TEXT_MAX];
	struct net_addr known[HOST_ADDRESSES_MAX];   /* as last resolved */
	size_t known_count;

	struct backend_session *idle;   /* the youngest first */
	struct gate queue;              /* who waits for a free session; only the first looks */
	struct future *freed;           /* of that first */
	struct task *probe;
	struct future wake;             /* of the probe task */
};

struct backend_group {
	const struct site *site;
	struct dns *dns;
	struct backend *member;
	size_t count;
	uint64_t turn;
	int users;                      /* the owner, tasks, sessions */
	bool ending;
	void (*on_up)(void *arg);
	void *on_up_arg;
};

static void group_unref(struct backend_group *g)
{
	if (--g->users > 0)
		return;
	for (size_t i = 0; i < g->count; i++)
		tls_ctx_free(g->member[i].tls_ctx);
	free(g->member);
	free(g);
}

/* --- health --- */

static void changed(const struct backend *b, const char *to, const char *why)
{
	struct log_line l;

	log_start(&l, strcmp(to, "up") == 0 ? LOG_LEVEL_NOTICE : LOG_LEVEL_WARNING, "backend");
	log_str(&l, "name", b->conf->name);
	log_str(&l, "host", b->conf->host);
	log_num(&l, "port", b->conf->port);
	log_str(&l, "state", to);
	log_str(&l, "why", why);
	if (strcmp(to, "away") == 0)
		log_num(&l, "retry_ms", b->backoff_ms);
	log_emit(&l);
}

static uint64_t hash(const char *text)
{
	uint64_t h = 0xcbf29ce484222325u;       /* FNV-1a */

	for (; *text; text++)
		h = (h ^ (unsigned char)*text) * 0x100000001b3u;
	return h;
}

/* It offers something else than before. Each worker notices; the first of them says so. */
static void offer_changed(struct backend *b, const struct smtp_caps *now)
{
	AUTO(buf) struct buf came = BUF_INIT(1024), went = BUF_INIT(1024), all = BUF_INIT(1024);

	smtp_caps_text(now, &b->caps, &came);
	smtp_caps_text(&b->caps, now, &went);
	if (came.len == 0 && went.len == 0)
		return;
	smtp_caps_text(now, NULL, &all);
	if (atomic_exchange(&b->shared->offer, hash(buf_str(&all))) != hash(buf_str(&all)))
		log_warning("backend-changed", "name", b->conf->name, "host", b->conf->host, "came", came.len ? buf_str(&came) : NULL,
			    "went", went.len ? buf_str(&went) : NULL, NULL);
}

static void look_at_xclient(struct backend *b)
{
	bool lacks = b->conf->xclient && b->conf->proxy == PROXY_NO && !(b->caps.xclient & XCLIENT_ADDR);

	if (lacks && !b->lacks_xclient)
		log_warning("backend", "name", b->conf->name, "xclient", "is not offered to us: this server does not learn who the clients are", NULL);
	b->lacks_xclient = lacks;
}

/* caps: as it said to ourselves; NULL: to somebody else. */
static void backend_up(struct backend *b, const struct smtp_caps *caps)
{
	if (b->state != UP) {
		changed(b, "up", b->state == AWAY ? "it answers again" : NULL);
		if (b->group->on_up && !b->group->ending)
			b->group->on_up(b->group->on_up_arg);
	}
	b->state = UP;
	b->probed = true;
	b->backoff_ms = 0;
	b->seen_ms = clock_ms();
	if (caps) {
		if (b->caps_seen)
			offer_changed(b, caps);
		b->caps = *caps;
		b->caps_seen = true;
		look_at_xclient(b);
	}
}

static void session_close(struct backend_session *bs);

static void idle_drop(struct backend *b)
{
	while (b->idle) {
		struct backend_session *bs = b->idle;

		b->idle = bs->next;
		session_close(bs);
	}
}

static void backend_away(struct backend *b, const char *why)
{
	bool news = b->state != AWAY;
	int64_t most = b->conf->probe_interval_ms > BACKOFF_MIN_MS ? b->conf->probe_interval_ms : BACKOFF_MIN_MS;

	b->backoff_ms = news ? BACKOFF_MIN_MS : b->backoff_ms * 2 > most ? (int)most : b->backoff_ms * 2;
	b->retry_at_ms = clock_ms() + b->backoff_ms;
	b->state = AWAY;
	b->probed = true;
	if (news)
		changed(b, "away", why);
	idle_drop(b);
	future_resolve(&b->wake, 0);
}

bool backend_group_spools(const struct backend_group *g)
{
	for (size_t i = 0; i < g->count; i++)
		if (!g->member[i].conf->spool)
			return false;
	return g->count > 0 && backend_group_up(g) == 0;
}

bool backend_group_has(const struct backend_group *g, const struct net_addr *a)
{
	for (size_t i = 0; i < g->count; i++) {
		const struct backend *b = &g->member[i];
		struct net_addr its;

		if ((net_parse(b->conf->host, &its) == 0 && net_same_ip(&its, a)) ||
		    (b->address[0] && net_parse_port(b->address, 25, &its) == 0 && net_same_ip(&its, a)))
			return true;
	}
	return false;
}

void backend_group_on_up(struct backend_group *g, void (*fn)(void *arg), void *arg)
{
	g->on_up = fn;
	g->on_up_arg = arg;
}

/* --- how many sessions --- */

void backend_shared_forget(struct backend_shared *shared, int worker)
{
	places_forget(&shared->inside, worker);
	atomic_store(&shared->wanted[worker], 0);
}

static bool slot_try(struct backend *b)
{
	return places_enter(&b->shared->inside, b->self, b->conf->max_sessions);
}

static void slot_leave(struct backend *b)
{
	places_leave(&b->shared->inside, b->self);
	if (b->freed)
		future_resolve(b->freed, 0);
}

static struct backend_session *idle_pop(struct backend *b)
{
	struct backend_session *bs = b->idle;

	if (bs)
		b->idle = bs->next;
	return bs;
}

/* Wait for a slot or an idle session (*idle). 0, -ETIMEDOUT, -ECANCELED. may wait */
static int slot_wait(struct backend *b, int64_t until_ms, struct backend_session **idle)
{
	int64_t left = until_ms - clock_ms();
	int rc = gate_enter(&b->queue, left > 0 ? (int)left : 0);

	*idle = NULL;
	if (rc < 0)
		return rc;
	atomic_fetch_add(&b->shared->wanted[b->self], 1);
	for (;;) {
		struct future freed = { 0 };

		*idle = idle_pop(b);
		if (*idle || slot_try(b)) {
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

/* --- addresses --- */

/* Whether a is an address of this machine. */
static bool is_local(const struct net_addr *a)
{
	struct ifaddrs *all = NULL, *i;
	bool found = net_is_loopback(a);

	if (found || getifaddrs(&all) != 0)
		return found;
	for (i = all; i && !found; i = i->ifa_next) {
		struct net_addr own;

		if (!i->ifa_addr || (i->ifa_addr->sa_family != AF_INET && i->ifa_addr->sa_family != AF_INET6))
			continue;
		net_from_sockaddr(i->ifa_addr, &own);
		found = net_same_ip(&own, a);
	}
	freeifaddrs(all);
	return found;
}

static bool is_any(const struct net_addr *a)
{
	static const unsigned char zero[16];

	return memcmp(a->ip, zero, a->family == AF_INET ? 4 : 16) == 0;
}

/* Mail for a backend that is ourselves would go round for ever. */
bool backend_is_ourselves(const struct site *site, const struct net_addr *a)
{
	for (size_t i = 0; i < site->listener_count; i++) {
		const struct net_addr *l = &site->listener[i].address;

		if (l->port != a->port)
			continue;
		if (net_same_ip(l, a) || (is_any(l) && is_local(a)) || (is_any(a) && is_local(l)))
			return true;
	}
	return false;
}

/* --- sessions --- */

static void session_free(struct backend_session *bs)
{
	struct backend *b = bs->backend;

	smtp_client_free(bs->client);
	free(bs->helo);
	free(bs);
	slot_leave(b);
	group_unref(b->group);
}

static void quit_task(void *arg)
{
	struct backend_session *bs = arg;

	smtp_client_quit(bs->client);
	bs->client = NULL;
	session_free(bs);
}

/* Say goodbye in a task of its own; the slot is free when the connection has gone. */
static void session_close(struct backend_session *bs)
{
	if (bs->client->broken || bs->backend->group->ending || task_spawn("backend quit", quit_task, bs, NULL) < 0)
		session_free(bs);
}

/* What kind of session is wanted. */
struct want {
	const struct smtp_identity *who;        /* for whom it speaks; NULL: for us */
	bool fresh;                             /* none that was used before */
	int64_t deadline_ms;
	char *refusal;                          /* SMTP_WHY_MAX: what the server has to say against who */
};

/* Whether it begins by saying for whom it speaks. */
static bool begins_told(const struct backend *b, const struct want *w)
{
	return w->who && b->conf->proxy != PROXY_NO;
}

/* Whether no session that somebody else has used will do. */
static bool needs_own(const struct backend *b, const struct want *w)
{
	return w->fresh || begins_told(b, w);
}

/* What a session says at its beginning; helo is a copy, since the client may say another. */
static const struct smtp_client_conf *session_conf(struct backend_session *bs, struct backend *b, const struct want *w)
{
	if (!begins_told(b, w))
		return &b->client_conf;
	bs->conf = b->client_conf;
	bs->conf.proxied = (struct proxy_header){ .told = true, .source = w->who->addr, .destination = w->who->local };
	bs->identity = true;
	/* To the server we are the client: a name of ours would not fit its address. */
	bs->helo = xclient_helo_ok(w->who->helo) ? strdup(w->who->helo) : NULL;
	if (bs->helo)
		bs->conf.hostname = bs->helo;
	return &bs->conf;
}

/* Who the client is, where the server takes XCLIENT. 0: it knows, or goes on without; else the session is broken. may wait */
static int introduce(struct backend_session *bs, const struct want *w, char *words)
{
	int rc = w->who && bs->backend->conf->xclient ? smtp_client_xclient(bs->client, w->who, w->deadline_ms) : -EOPNOTSUPP;

	if (rc == 0 || bs->client->broken)
		bs->identity = true;
	if (bs->client->refused)
		smtp_client_refusal(bs->client, words);
	return bs->client->broken ? rc : 0;
}

/* What a server says that has been told who the client is, passed on. */
static int refused_client(const struct want *w, const char *words)
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

static void session_failed(struct backend *b, const struct want *w, int rc, int64_t begun_ms, const char *why)
{
	if (rc == -ECANCELED || rc == -ENOMEM)
		return;
	/* no time left is the caller's affair, a long silence is the backend's */
	if (rc == -ETIMEDOUT && w->deadline_ms != 0 && clock_ms() >= w->deadline_ms && clock_ms() - begun_ms < FAULT_MS)
		return;
	if (w->who && (b->conf->proxy != PROXY_NO || b->conf->xclient))
		doubt(b, why);
	else
		backend_away(b, why);
}

/* Try the member's addresses in turn; the slot is taken already and is given back on failure. may wait */
static int session_open(struct backend *b, const struct want *w, struct backend_session **out)
{
	struct net_addr *addr = calloc(HOST_ADDRESSES_MAX, sizeof(*addr));
	struct backend_session *bs = calloc(1, sizeof(*bs));
	char why[SMTP_WHY_MAX] = "out of memory", words[SMTP_WHY_MAX] = "";
	const struct smtp_client_conf *conf = bs ? session_conf(bs, b, w) : NULL;
	int64_t begun = clock_ms();
	int rc = -ENOMEM;
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
	}
	free(addr);
	if (rc == 0) {
		bs->backend = b;
		bs->fresh = true;
		b->group->users++;
		backend_up(b, bs->identity ? NULL : &bs->client->caps);
		rc = introduce(bs, w, words);
		if (rc == 0) {
			*out = bs;
			return 0;
		}
		snprintf(why, sizeof(why), "%s", bs->client->why);
		session_free(bs);
	} else {
		if (bs)
			free(bs->helo);
		free(bs);
		slot_leave(b);
	}
	if (words[0])
		return refused_client(w, words);
	session_failed(b, w, rc, begun, why);
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
	session_close(bs);
	return NULL;
}

/*
 * An idle session, made ready for this client. 0; -EAGAIN: it is of no more use, it has been closed; or the server refuses the client, in words.
 * may wait
 */
static int session_again(struct backend_session *bs, const struct want *w, struct backend_session **out)
{
	char words[SMTP_WHY_MAX] = "";

	if (needs_own(bs->backend, w)) {
		session_free(bs);
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
	session_close(bs);
	return words[0] ? refused_client(w, words) : -EAGAIN;
}

/* 0; -EAGAIN: full now; or what session_open says. may wait */
static int session_get(struct backend *b, const struct want *w, struct backend_session **out)
{
	struct backend_session *bs;

	/* Where none that was used before will do, idle ones only make room. */
	if (needs_own(b, w) && slot_try(b))
		return session_open(b, w, out);
	while ((bs = idle_pop(b)) != NULL) {
		int rc = session_again(bs, w, out);

		if (rc != -EAGAIN)
			return rc;
		if (task_cancelled())
			return -ECANCELED;
		if (needs_own(b, w))
			break;
	}
	return slot_try(b) ? session_open(b, w, out) : -EAGAIN;
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

static int take(struct backend_group *g, const struct want *w, struct backend_session **out)
{
	struct backend *full = NULL;    /* the first of the best tier that has no session free */
	uint64_t not = 0;

	w->refusal[0] = '\0';
	for (;;) {
		struct backend *b = choose(g, not);
		int rc;

		if (full && (!b || b->conf->priority > full->conf->priority)) {
			/* A tier that answers is waited for; the next is for when it is away. */
			struct backend_session *idle;
			int64_t until = clock_ms() + full->conf->max_sessions_wait_ms;

			rc = slot_wait(full, w->deadline_ms && w->deadline_ms < until ? w->deadline_ms : until, &idle);
			if (rc < 0)
				return rc == -ETIMEDOUT ? -EBUSY : rc;
			if (idle) {
				rc = session_again(idle, w, out);
				if (rc != -EAGAIN)
					return rc;
				continue;
			}
			rc = session_open(full, w, out);
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
	const struct want w = { .who = who, .deadline_ms = deadline_ms, .refusal = refusal };

	return take(g, &w, out);
}

int backend_take_new(struct backend_group *g, const struct smtp_identity *who, int64_t deadline_ms, struct backend_session **out, char *refusal)
{
	const struct want w = { .who = who, .fresh = true, .deadline_ms = deadline_ms, .refusal = refusal };
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
		session_close(bs);
		return;
	}
	bs->idle_since_ms = clock_ms();
	bs->next = b->idle;
	b->idle = bs;
	if (b->freed)
		future_resolve(b->freed, 0);
}

/* --- inline: sessions with a member that the client has chosen, opened elsewhere --- */

static bool has_address(const struct backend *b, const struct net_addr *a, bool port)
{
	struct net_addr literal;

	if (port && b->conf->port != a->port)
		return false;
	if (net_parse(b->conf->host, &literal) == 0)
		return net_same_ip(&literal, a);
	for (size_t i = 0; i < b->known_count; i++)
		if (net_same_ip(&b->known[i], a))
			return true;
	return false;
}

struct backend *backend_at(struct backend_group *g, const struct net_addr *a)
{
	for (int port = 1; port >= 0; port--)
		for (size_t i = 0; i < g->count; i++)
			if (has_address(&g->member[i], a, port))
				return &g->member[i];
	return NULL;
}

const struct smtp_client_conf *backend_client_conf(const struct backend *b)
{
	return &b->client_conf;
}

bool backend_caps(const struct backend *b, struct smtp_caps *out)
{
	*out = b->caps;
	return b->caps_seen;
}

int backend_enter(struct backend *b, int64_t deadline_ms)
{
	int64_t until = clock_ms() + b->conf->max_sessions_wait_ms;

	while (!slot_try(b)) {
		struct backend_session *idle;
		int rc = slot_wait(b, deadline_ms && deadline_ms < until ? deadline_ms : until, &idle);

		if (rc < 0)
			return rc == -ETIMEDOUT ? -EBUSY : rc;
		if (!idle)
			break;
		session_free(idle);             /* one that is nobody's makes room */
	}
	b->group->users++;
	return 0;
}

void backend_leave(struct backend *b)
{
	slot_leave(b);
	group_unref(b->group);
}

/* --- the task that watches one member --- */

/* Close what has been idle too long; all, if somebody elsewhere waits for a session. */
static void idle_expire(struct backend *b)
{
	struct backend_session **p = &b->idle;
	bool all = false;

	for (int i = 0; i < BACKEND_WORKERS_MAX; i++)
		all |= atomic_load(&b->shared->wanted[i]) > 0;
	while (*p) {
		struct backend_session *bs = *p;

		if (!all && clock_ms() - bs->idle_since_ms <= b->conf->reuse_idle_ms) {
			p = &bs->next;
			continue;
		}
		*p = bs->next;
		session_close(bs);
	}
}

static void probe(struct backend *b)
{
	struct backend_session *bs;
	int64_t budget = b->group->site->timeouts.budget_ms;
	char refusal[SMTP_WHY_MAX];
	const struct want w = { .deadline_ms = budget > 0 ? clock_ms() + budget : 0, .refusal = refusal };

	if (!slot_try(b)) {
		b->seen_ms = clock_ms();        /* all its sessions are at work: it is well */
		return;
	}
	if (b->state == AWAY)
		b->retry_at_ms = clock_ms() + b->backoff_ms;
	if (session_open(b, &w, &bs) == 0)
		session_close(bs);
}

static void watch_task(void *arg)
{
	struct backend *b = arg;

	/* At the end of the process tasks are cancelled before the group ends: a probe that is cut off then would be due again at once, for ever. */
	while (!b->group->ending && !task_cancelled()) {
		int64_t due = b->state == UNSEEN ? 0 : b->state == AWAY ? b->retry_at_ms : b->seen_ms + b->conf->probe_interval_ms;
		int64_t left = due - clock_ms();

		if (left <= 0 && (b->state != UP || b->conf->probe_interval_ms > 0)) {
			probe(b);
			continue;
		}
		idle_expire(b);
		memset(&b->wake, 0, sizeof(b->wake));
		if (future_wait(&b->wake, left > 0 && left < TICK_MS ? (int)left : TICK_MS) == -ECANCELED)
			break;
	}
	b->probe = NULL;
	group_unref(b->group);
}

/* --- the group --- */

int backend_group_new(const struct site *site, const struct listener_conf *l, struct dns *dns, struct backend_group **out, struct buf *err)
{
	struct backend_group *g = calloc(1, sizeof(*g));
	int rc = 0;

	assert(site->backend_count <= MEMBERS_MAX);
	if (g)
		g->member = calloc(site->backend_count ? site->backend_count : 1, sizeof(*g->member));
	if (!g || !g->member) {
		free(g);
		return -ENOMEM;
	}
	g->site = site;
	g->dns = dns;
	g->users = 1;
	for (size_t i = 0; i < site->backend_count && rc == 0; i++) {
		struct backend *b = &g->member[g->count];

		if (!listener_has_backend(site, l, &site->backend[i]))
			continue;
		g->count++;
		b->group = g;
		b->conf = &site->backend[i];
		b->shared = &b->own;
		b->queue.limit = 1;
		b->client_conf = (struct smtp_client_conf){
			.hostname = site->hostname,
			.tls = b->conf->tls,
			.tls_name = b->conf->tls_name ? b->conf->tls_name : b->conf->host,
			.connect_timeout_ms = b->conf->connect_timeout_ms,
			.timeouts = &site->timeouts,
			.proxy = b->conf->proxy,
		};
		if (b->conf->tls != TLS_OFF)
			rc = tls_client_ctx(b->conf->tls == TLS_REQUIRED, b->conf->tls_ca_pem, &b->tls_ctx, err);
		b->client_conf.tls_ctx = b->tls_ctx;
	}
	if (rc < 0) {
		group_unref(g);
		return rc;
	}
	*out = g;
	return 0;
}

size_t backend_group_count(const struct backend_group *g)
{
	return g->count;
}

const char *backend_group_name(const struct backend_group *g, size_t i)
{
	return g->member[i].conf->name;
}

void backend_group_share(struct backend_group *g, size_t i, struct backend_shared *shared, int self)
{
	assert(i < g->count && self >= 0 && self < BACKEND_WORKERS_MAX);
	g->member[i].shared = shared;
	g->member[i].self = self;
}

int backend_group_start(struct backend_group *g)
{
	for (size_t i = 0; i < g->count; i++) {
		int rc = task_spawn("backend watch", watch_task, &g->member[i], &g->member[i].probe);

		if (rc < 0)
			return rc;
		g->users++;
	}
	return 0;
}

void backend_group_free(struct backend_group *g)
{
	if (!g)
		return;
	g->ending = true;
	for (size_t i = 0; i < g->count; i++) {
		idle_drop(&g->member[i]);
		if (g->member[i].probe)
			task_cancel(g->member[i].probe);
	}
	group_unref(g);
}

const char *backend_name(const struct backend *b)
{
	return b->conf->name;
}

const char *backend_address(const struct backend *b)
{
	return b->address;
}

bool backend_group_caps(const struct backend_group *g, struct smtp_caps *out)
{
	bool any = false;

	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < g->count; i++) {
		if (!g->member[i].caps_seen)
			continue;
		if (any)
			smtp_caps_meet(out, &g->member[i].caps);
		else
			*out = g->member[i].caps;
		any = true;
	}
	return any;
}

int backend_group_ready(struct backend_group *g, int timeout_ms)
{
	int64_t until = clock_ms() + timeout_ms;

	/* Ever more seldom: 10,000 sessions may ask when all come back after a restart. */
	for (int wait_ms = 10;; wait_ms = wait_ms < 500 ? 2 * wait_ms : wait_ms) {
		size_t seen = 0;

		for (size_t i = 0; i < g->count; i++)
			seen += g->member[i].probed;
		if (seen == g->count)
			return 0;
		if (clock_ms() >= until)
			return -ETIMEDOUT;
		if (task_sleep(wait_ms) < 0)
			return -ECANCELED;
	}
}

int backend_group_sessions(const struct backend_group *g)
{
	int n = 0;

	for (size_t i = 0; i < g->count; i++)
		n += atomic_load(&g->member[i].shared->inside.held[g->member[i].self]);
	return n;
}

size_t backend_group_up(const struct backend_group *g)
{
	size_t n = 0;

	for (size_t i = 0; i < g->count; i++)
		n += g->member[i].state != AWAY;
	return n;
}
