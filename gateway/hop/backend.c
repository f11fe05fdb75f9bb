#include "hop/backend.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/stream.h"
#include "base/tls.h"
#include "hop/backend_impl.h"
#include "hop/backend_tls.h"
#include "policy/conf.h"

enum {
	BACKOFF_MIN_MS = 1000,
	TICK_MS = 1000,                 /* idle sessions are looked at */
	FULL_MS = 100,                  /* others have all its sessions: whether it can be probed is looked at so often */
	MEMBERS_MAX = 64,
};

void backend_group_unref(struct backend_group *g)
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

/* For others to see; of a group that is given up nobody looks any more how its members are. */
static void tell(struct backend *b, signed char found)
{
	health_tell(&b->shared->health[b->self], b->group->ending ? (signed char)HEALTH_UNSEEN : found);
}

void backend_up(struct backend *b, const struct smtp_caps *caps)
{
	tell(b, HEALTH_UP);
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

void backend_idle_drop(struct backend *b)
{
	while (b->idle) {
		struct backend_session *bs = b->idle;

		b->idle = bs->next;
		backend_session_close(bs);
	}
}

void backend_away(struct backend *b, const char *why)
{
	bool news = b->state != AWAY;
	int64_t most = b->conf->probe_interval_ms > BACKOFF_MIN_MS ? b->conf->probe_interval_ms : BACKOFF_MIN_MS;

	b->backoff_ms = news ? BACKOFF_MIN_MS : b->backoff_ms * 2 > most ? (int)most : b->backoff_ms * 2;
	b->retry_at_ms = clock_ms() + b->backoff_ms;
	b->state = AWAY;
	tell(b, HEALTH_AWAY);
	b->probed = true;
	if (news)
		changed(b, "away", why);
	backend_idle_drop(b);
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

struct ssl_ctx_st *backend_tls_peculiar(const struct backend *b)
{
	const struct backend_conf *c = b->conf;
	bool old = c->tls_min != TLS_VERSION_1_2 || c->tls_level != TLS_LEVEL_DEFAULT || c->tls_ciphers;

	return c->tls_pin_count || (old && c->tls == TLS_OPPORTUNISTIC) ? b->tls_ctx : NULL;
}

void backend_tls_note(struct backend *b, const struct smtp_client *c)
{
	if (c->tls_failed[0] && !c->tls_skipped)
		backend_tls_seen(b->conf, &b->shared->tls_weak, c->tls_failed);
	else if (stream_is_tls(c->stream) || b->conf->tls == TLS_OFF)
		backend_tls_seen(b->conf, &b->shared->tls_weak, NULL);
}

int backend_enter(struct backend *b, int64_t deadline_ms)
{
	int64_t until = clock_ms() + b->conf->max_sessions_wait_ms;

	while (!backend_slot_try(b)) {
		struct backend_session *idle;
		int rc = backend_slot_wait(b, deadline_ms && deadline_ms < until ? deadline_ms : until, &idle);

		if (rc < 0)
			return rc == -ETIMEDOUT ? -EBUSY : rc;
		if (!idle)
			break;
		backend_session_free(idle);             /* one that is nobody's makes room */
	}
	b->group->users++;
	return 0;
}

void backend_leave(struct backend *b)
{
	backend_slot_leave(b);
	backend_group_unref(b->group);
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
		backend_session_close(bs);
	}
}

/* false: others have all its sessions. may wait */
static bool probe(struct backend *b)
{
	struct backend_session *bs;
	int64_t budget = b->group->site->timeouts.budget_ms;
	char refusal[SMTP_WHY_MAX];
	const struct backend_want w = { .deadline_ms = budget > 0 ? clock_ms() + budget : 0, .refusal = refusal };

	if (!backend_slot_try(b)) {
		b->seen_ms = clock_ms();        /* all its sessions are at work: it is well */
		return false;
	}
	if (b->state == AWAY)
		b->retry_at_ms = clock_ms() + b->backoff_ms;
	switch (backend_session_open(b, &w, &bs)) {
	case 0:
		backend_session_close(bs);
		break;
	case -EAGAIN:
		b->seen_ms = clock_ms();        /* it serves others of ours, and takes no more */
		break;
	}
	return true;
}

static void watch_task(void *arg)
{
	struct backend *b = arg;

	/* At the end of the process tasks are cancelled before the group ends: a probe that is cut off then would be due again at once, for ever. */
	while (!b->group->ending && !task_cancelled()) {
		int64_t due = b->state == UNSEEN ? 0 : b->state == AWAY ? b->retry_at_ms : b->seen_ms + b->conf->probe_interval_ms;
		int64_t left = due - clock_ms();

		if (left <= 0 && (b->state != UP || b->conf->probe_interval_ms > 0)) {
			if (probe(b))
				continue;
			/* Another group with this server, or another worker, has them: without a wait here it could not give them back. */
			left = FULL_MS;
		}
		idle_expire(b);
		memset(&b->wake, 0, sizeof(b->wake));
		if (future_wait(&b->wake, left > 0 && left < TICK_MS ? (int)left : TICK_MS) == -ECANCELED)
			break;
	}
	b->probe = NULL;
	backend_group_unref(b->group);
}

/* --- the group --- */

static bool belongs(const struct site *site, const struct listener_conf *l, const struct domain_owner *o, const struct backend_conf *b)
{
	for (size_t i = 0; o && i < o->backend_count; i++)
		if (strcmp(o->backends[i], b->name) == 0)
			return true;
	return !o && listener_has_backend(site, l, b);
}

static int group_new(const struct site *site, const struct listener_conf *l, const struct domain_owner *o, struct dns *dns, struct backend_group **out,
		     struct buf *err)
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

		if (!belongs(site, l, o, &site->backend[i]))
			continue;
		g->count++;
		b->group = g;
		b->conf = &site->backend[i];
		b->shared = &b->own;
		b->queue.limit = 1;
		b->client_conf = (struct smtp_client_conf){
			.hostname = site->hostname,
			.tls = b->conf->tls,
			.implicit = b->conf->tls != TLS_OFF && b->conf->implicit_tls,
			.tls_name = b->conf->tls_name ? b->conf->tls_name : b->conf->host,
			.connect_timeout_ms = b->conf->connect_timeout_ms,
			.timeouts = &site->timeouts,
			.proxy = b->conf->proxy,
		};
		if (b->conf->tls != TLS_OFF)
			rc = backend_tls_ctx(b->conf, &b->tls_ctx, err);
		b->client_conf.tls_ctx = b->tls_ctx;
		b->client_conf.weak = &b->shared->tls_weak;
	}
	if (rc < 0) {
		backend_group_unref(g);
		return rc;
	}
	*out = g;
	return 0;
}

int backend_group_new(const struct site *site, const struct listener_conf *l, struct dns *dns, struct backend_group **out, struct buf *err)
{
	return group_new(site, l, NULL, dns, out, err);
}

int backend_group_owner(const struct site *site, const struct domain_owner *o, struct dns *dns, struct backend_group **out, struct buf *err)
{
	return group_new(site, NULL, o, dns, out, err);
}

bool backend_group_is(const struct backend_group *g, const struct domain_owner *o)
{
	if (g->count != o->backend_count)
		return false;
	for (size_t i = 0; i < g->count; i++)
		if (!belongs(g->site, NULL, o, g->member[i].conf))
			return false;
	return true;
}

void backend_group_refused(struct backend_group *g)
{
	g->refused_ms = clock_ms();
}

int64_t backend_group_refused_ms(const struct backend_group *g)
{
	return g->refused_ms;
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
	g->member[i].client_conf.weak = &shared->tls_weak;
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
		backend_idle_drop(&g->member[i]);
		if (g->member[i].probe)
			task_cancel(g->member[i].probe);
	}
	backend_group_unref(g);
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
