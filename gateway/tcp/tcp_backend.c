#include "tcp/tcp_backend.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/places.h"
#include "base/proxy_stream.h"
#include "base/stream.h"
#include "base/task.h"
#include "base/tls_weak.h"
#include "hop/backend_self.h"

enum { BACKOFF_MIN_MS = 1000, FOREIGN_MS = 10 * 1000 };

struct tcp_backend {
	const struct backend_conf *conf;
	struct places own, *places;
	struct tls_weak own_weak, *weak;
	health_place *health;           /* for others to see; or NULL */
	int self;
	bool away;
	int backoff_ms;
	int64_t retry_at_ms;            /* away: not before, if there is another */
	uint64_t turn;                  /* when it was last chosen */
	struct net_addr foreign;        /* an address of its that was found to be none of ours, */
	int64_t foreign_until_ms;       /* believed until then: to ask the system each time costs more than to connect */
};

struct tcp_backends {
	const struct site *site;
	struct dns *dns;
	uint64_t turn;
	size_t count;
	struct tcp_backend member[];
};

static size_t count_of(const struct site *site)
{
	return site->backend_count < TCP_BACKENDS_MAX ? site->backend_count : TCP_BACKENDS_MAX;
}

static bool in_set(tcp_set set, size_t i)
{
	return set >> i & 1;
}

tcp_set tcp_set_of_listener(const struct site *site, const struct listener_conf *l)
{
	tcp_set set = 0;

	for (size_t i = 0; i < count_of(site); i++)
		if (listener_has_backend(site, l, &site->backend[i]))
			set |= (tcp_set)1 << i;
	return set;
}

tcp_set tcp_set_of_protocol(const struct site *site, enum listener_protocol protocol)
{
	tcp_set set = 0;

	for (size_t i = 0; i < count_of(site); i++)
		if (site->backend[i].protocol == protocol)
			set |= (tcp_set)1 << i;
	return set;
}

tcp_set tcp_set_of_names(const struct site *site, char *const *names, size_t count)
{
	tcp_set set = 0;

	for (size_t k = 0; k < count; k++) {
		const struct backend_conf *b = site_backend(site, names[k]);

		if (b && (size_t)(b - site->backend) < count_of(site))
			set |= (tcp_set)1 << (b - site->backend);
	}
	return set;
}

struct tcp_backends *tcp_backends_new(const struct site *site, struct dns *dns)
{
	struct tcp_backends *b = calloc(1, sizeof(*b) + count_of(site) * sizeof(b->member[0]));

	if (!b)
		return NULL;
	b->site = site;
	b->dns = dns;
	b->count = count_of(site);
	for (size_t i = 0; i < b->count; i++) {
		b->member[i].conf = &site->backend[i];
		b->member[i].places = &b->member[i].own;
		b->member[i].weak = &b->member[i].own_weak;
	}
	return b;
}

void tcp_backends_free(struct tcp_backends *b)
{
	free(b);
}

void tcp_backends_share(struct tcp_backends *b, size_t i, struct places *places, struct tls_weak *weak, health_place *health, int self)
{
	if (i >= b->count)
		return;
	b->member[i].places = places;
	b->member[i].weak = weak;
	b->member[i].health = health;
	b->member[i].self = self;
}

/* --- who is well --- */

static void changed(const struct tcp_backend *m, const char *why)
{
	struct log_line l;

	log_start(&l, m->away ? LOG_LEVEL_WARNING : LOG_LEVEL_NOTICE, "backend");
	log_str(&l, "name", m->conf->name);
	log_str(&l, "host", m->conf->host);
	log_num(&l, "port", m->conf->port);
	log_str(&l, "state", m->away ? "away" : "up");
	log_str(&l, "why", why);
	log_emit(&l);
}

static void is_up(struct tcp_backend *m)
{
	if (m->health)
		health_tell(m->health, HEALTH_UP);
	if (!m->away)
		return;
	m->away = false;
	changed(m, "it answers again");
}

static void is_away(struct tcp_backend *m, const char *why)
{
	bool news = !m->away;
	int most = m->conf->probe_interval_ms;

	m->backoff_ms = news ? BACKOFF_MIN_MS : m->backoff_ms > most / 2 ? most : m->backoff_ms * 2;
	m->retry_at_ms = clock_ms() + m->backoff_ms;
	m->away = true;
	if (m->health)
		health_tell(m->health, HEALTH_AWAY);
	if (news)
		changed(m, why);
}

/* Whether m is to be tried before o: well, or its time to come back has come; lower priority; not the one that was chosen last. */
static bool better(const struct tcp_backend *m, const struct tcp_backend *o, int64_t now_ms)
{
	bool well_m = !m->away || now_ms >= m->retry_at_ms, well_o = !o->away || now_ms >= o->retry_at_ms;

	if (well_m != well_o)
		return well_m;
	if (m->conf->priority != o->conf->priority)
		return m->conf->priority < o->conf->priority;
	return m->turn < o->turn;
}

static struct tcp_backend *choose(struct tcp_backends *b, tcp_set among)
{
	struct tcp_backend *best = NULL;
	int64_t now_ms = clock_ms();

	for (size_t i = 0; i < b->count; i++)
		if (in_set(among, i) && (!best || better(&b->member[i], best, now_ms)))
			best = &b->member[i];
	if (!best)
		return NULL;
	best->turn = ++b->turn;
	/* One client tries it; others, meanwhile, go elsewhere. */
	if (best->away)
		best->retry_at_ms = now_ms + best->backoff_ms;
	return best;
}

/* --- connections --- */

static bool is_ourselves(const struct tcp_backends *b, struct tcp_backend *m, const struct net_addr *to)
{
	if (clock_ms() < m->foreign_until_ms && net_same_ip(&m->foreign, to))
		return false;
	if (backend_is_ourselves(b->site, to))
		return true;
	m->foreign = *to;
	m->foreign_until_ms = clock_ms() + FOREIGN_MS;
	return false;
}

static int open_one(const struct tcp_backends *b, struct tcp_backend *m, const struct net_addr *to, const struct tcp_want *w,
		    struct tcp_link *out, char *why)
{
	int rc;

	net_text_port(to, out->address);
	if (is_ourselves(b, m, to)) {
		snprintf(why, HOST_WHY_MAX, "%s is ourselves: connections would loop", out->address);
		return -ELOOP;
	}
	rc = stream_connect(to, NULL, m->conf->connect_timeout_ms, &out->stream);
	if (rc == 0 && m->conf->proxy != PROXY_NO)
		rc = proxy_stream_write(out->stream, m->conf->proxy, w->header, m->conf->connect_timeout_ms);
	if (rc < 0)
		snprintf(why, HOST_WHY_MAX, "connect: %s", strerror(-rc));
	else if (w->prepare)
		rc = w->prepare(w->arg, m->conf, out->stream, why);
	if (rc < 0) {
		stream_free(out->stream);
		out->stream = NULL;
	}
	return rc;
}

/* Its addresses in turn; a place is held. may wait */
static int open_member(const struct tcp_backends *b, struct tcp_backend *m, const struct tcp_want *w, struct tcp_link *out, char *why)
{
	struct net_addr *to = calloc(HOST_ADDRESSES_MAX, sizeof(*to));
	int rc = -ENOMEM;
	size_t n = 0;

	if (to) {
		n = host_addresses(b->dns, m->conf->host, m->conf->port, m->conf->connect_timeout_ms, to, why);
		rc = task_cancelled() ? -ECANCELED : -EHOSTUNREACH;
	}
	for (size_t i = 0; i < n && rc != 0 && rc != -ECANCELED; i++)
		rc = open_one(b, m, &to[i], w, out, why);
	free(to);
	return rc;
}

static void link_hold(struct tcp_link *link, struct tcp_backend *m)
{
	link->backend = m;
	link->conf = m->conf;
	link->name = m->conf->name;
}

int tcp_backends_connect(struct tcp_backends *b, const struct tcp_want *w, struct tcp_link *out, char *why)
{
	tcp_set among = w->among;
	struct tcp_backend *m;
	bool full = false;

	*out = (struct tcp_link){ 0 };
	snprintf(why, HOST_WHY_MAX, among ? "all are full" : "there is none");
	while ((m = choose(b, among)) != NULL) {
		int rc;

		among &= ~((tcp_set)1 << (m - b->member));
		if (!places_enter(m->places, m->self, m->conf->max_sessions)) {
			full = true;
			continue;
		}
		rc = open_member(b, m, w, out, why);
		if (rc == 0) {
			if (!w->unproven || !w->unproven(w->arg, m->conf))
				is_up(m);
			link_hold(out, m);
			return 0;
		}
		places_leave(m->places, m->self);
		if (rc == -ECANCELED || rc == -ENOMEM)
			return rc;
		is_away(m, why);
	}
	return full ? -EBUSY : -EHOSTUNREACH;
}

void tcp_link_up(struct tcp_link *link)
{
	if (link->backend)
		is_up(link->backend);
}

void tcp_link_away(struct tcp_link *link, const char *why)
{
	if (link->backend)
		is_away(link->backend, why);
}

/* --- those of a client who has chosen the server himself --- */

/* may wait */
static bool has_address(const struct tcp_backends *b, const struct tcp_backend *m, const struct net_addr *a)
{
	struct net_addr *known = calloc(HOST_ADDRESSES_MAX, sizeof(*known));
	char why[HOST_WHY_MAX];
	bool found = false;
	size_t n;

	n = known ? host_addresses(b->dns, m->conf->host, m->conf->port, m->conf->connect_timeout_ms, known, why) : 0;
	for (size_t i = 0; i < n; i++)
		found = found || net_same_ip(&known[i], a);
	free(known);
	return found;
}

int tcp_backends_at(struct tcp_backends *b, tcp_set among, const struct net_addr *a)
{
	int at = -1;

	for (size_t i = 0; i < b->count; i++) {
		const struct tcp_backend *m = &b->member[i];

		if (!in_set(among, i) || (at >= 0 && m->conf->port != a->port) || !has_address(b, m, a))
			continue;
		at = (int)i;
		if (m->conf->port == a->port)
			break;
	}
	return at;
}

bool tcp_backends_enter(struct tcp_backends *b, size_t i, struct tcp_link *link)
{
	struct tcp_backend *m = &b->member[i];

	if (!places_enter(m->places, m->self, m->conf->max_sessions))
		return false;
	link_hold(link, m);
	return true;
}

struct tls_weak *tcp_link_weak(const struct tcp_link *link)
{
	return link->backend ? link->backend->weak : NULL;
}

void tcp_link_release(struct tcp_link *link)
{
	stream_free(link->stream);
	if (link->backend)
		places_leave(link->backend->places, link->backend->self);
	*link = (struct tcp_link){ 0 };
}
