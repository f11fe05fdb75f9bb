#include "limit/limit.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/presence.h"
#include "base/stream.h"
#include "base/task.h"
#include "policy/conf.h"

enum {
	LOOK_MS = 500,                  /* so often it is seen whether who waits is still there */
	SESSION_DELAY_MAX_MS = 1000,    /* for the errors of one session */
};

/* --- who is counted --- */

/* What comes from this machine itself may come from anybody, by way of a proxy. */
static bool is_backend(const struct site *site, const struct net_addr *client)
{
	struct net_addr a;

	for (size_t i = 0; i < site->backend_count; i++)
		if (net_parse(site->backend[i].host, &a) == 0 && net_same_ip(&a, client))
			return !net_is_loopback(client);
	return false;
}

/* One of ours, or of those that the site does not count. */
static bool is_exempt(const struct site *site, const struct net_addr *client)
{
	return site_in_networks(site->relay_networks, site->relay_network_count, client) ||
	       site_in_networks(site->client_limits.exempt, site->client_limits.exempt_count, client) || is_backend(site, client);
}

void limit_client_init(struct limit_client *c, const struct limit_service *svc, const struct net_addr *client, const char *listener, const char *sid)
{
	memset(c, 0, sizeof(*c));
	c->addr = *client;
	c->listener = listener;
	c->sid = sid;
	if (!svc || !svc->use || is_exempt(svc->site, client))
		return;
	c->svc = svc;
	client_use_name(svc->use, &svc->site->client_limits.client, client, &c->who);
}

/* --- the log --- */

struct line {
	const char *what, *action;
	enum use_kind kind;
	const struct use_view *view;
	bool site;
	int delay_ms;
};

static void say(const struct limit_client *c, const struct line *line)
{
	const struct limit_service *svc = c->svc;
	char network[NET_TEXT_MAX];
	struct log_line l;
	int more;

	if (!client_use_say(svc->use, &svc->site->client_limits.client, line->site ? NULL : &c->who, line->view->network, line->kind, clock_ms(), &more))
		return;
	log_start(&l, LOG_LEVEL_NOTICE, "limit");
	log_str(&l, "what", line->what);
	if (!line->site)
		log_str(&l, "client", client_use_network(&c->addr, line->view->network, network));
	log_num(&l, "count", line->view->count);
	log_num(&l, "limit", line->view->limit);
	log_str(&l, "action", line->action);
	if (line->delay_ms > 0)
		log_num(&l, "delay_ms", line->delay_ms);
	log_str(&l, "listener", c->listener);
	log_str(&l, "sid", c->sid);
	if (more > 0)
		log_num(&l, "more", more);
	log_emit(&l);
}

static bool observing(const struct limit_client *c)
{
	return c->svc->site->mode == MODE_OBSERVE;
}

static enum limit_answer refuse(const struct limit_client *c, enum use_kind kind, const struct use_view *v, bool site)
{
	say(c, &(struct line){ .what = use_kind_name(kind), .kind = kind, .view = v, .site = site, .action = observing(c) ? "would-refuse" : "refused" });
	if (observing(c))
		return LIMIT_FREE;
	atomic_fetch_add(&c->svc->use->refused[kind], 1);
	return LIMIT_REFUSED;
}

static void slow(const struct limit_client *c, enum use_kind kind, const struct use_view *v, bool site, int ms, int *delay_ms)
{
	say(c, &(struct line){ .what = use_kind_name(kind), .kind = kind, .view = v, .site = site, .delay_ms = ms, .action = observing(c) ? "would-slow" : "slow" });
	if (observing(c))
		return;
	atomic_fetch_add(&c->svc->use->slowed[kind], 1);
	if (ms > *delay_ms)
		*delay_ms = ms;
}

/* --- counting --- */

enum limit_answer limit_count(struct limit_client *c, enum use_kind kind, int n, int *delay_ms)
{
	const struct client_limits *conf;
	struct use_view client, site;
	int64_t now_ms;
	int ms;

	if (!c->svc)
		return LIMIT_FREE;
	conf = &c->svc->site->client_limits;
	if (conf->client.limit[kind] == 0 && conf->site.limit[kind] == 0)
		return LIMIT_FREE;
	now_ms = clock_ms();
	client_use_add(c->svc->use, &conf->client, &c->who, kind, n, now_ms, &client);
	site_use_add(c->svc->use, &conf->site, kind, n, now_ms, &site);
	c->used[kind] += n;
	if (client.over || client.shut || site.over) {
		enum limit_answer answer = refuse(c, kind, client.over || client.shut ? &client : &site, !client.over && !client.shut);

		if (answer == LIMIT_REFUSED && n > 0) {
			client_use_take_back(c->svc->use, &conf->client, &c->who, kind, n, now_ms);
			site_use_add(c->svc->use, &conf->site, kind, -n, now_ms, &site);
			c->used[kind] -= n;
		}
		return answer;
	}
	ms = use_delay_ms(&conf->client, client.load);
	if (ms > 0)
		slow(c, kind, &client, false, ms, delay_ms);
	ms = use_delay_ms(&conf->site, site.load);
	if (ms > 0)
		slow(c, kind, &site, true, ms, delay_ms);
	return LIMIT_FREE;
}

int limit_errors_delay_ms(const struct limit_client *c, int errors, int max)
{
	const struct use_conf *conf;
	int ms;

	if (!c->svc || observing(c))
		return 0;
	conf = &c->svc->site->client_limits.client;
	if (conf->limit[USE_ERRORS] == 0 || max <= 0)
		return 0;
	ms = use_delay_ms(conf, (int)((int64_t)errors * USE_FULL / max));
	return ms < SESSION_DELAY_MAX_MS ? ms : SESSION_DELAY_MAX_MS;
}

enum limit_answer limit_wait(struct limit_client *c, enum use_kind kind, int delay_ms, const struct stream *s)
{
	enum limit_answer answer = LIMIT_FREE;
	struct limit_seat seat;

	if (!c->svc || delay_ms <= 0)
		return LIMIT_FREE;
	if (limit_seat_take(c->svc, LIMIT_SLOWED, &c->addr, c->svc->site->client_limits.slowed, &seat) < 0) {
		struct use_view v = { .count = c->svc->site->client_limits.slowed, .limit = c->svc->site->client_limits.slowed };

		say(c, &(struct line){ .what = "slowed", .kind = kind, .view = &v, .action = "refused" });
		atomic_fetch_add(&c->svc->use->refused[kind], 1);
		return LIMIT_REFUSED;
	}
	while (delay_ms > 0 && answer == LIMIT_FREE) {
		int step = delay_ms < LOOK_MS ? delay_ms : LOOK_MS;

		if (task_sleep(step) < 0 || (s && stream_left(s)))
			answer = LIMIT_CANCELLED;
		delay_ms -= step;
	}
	limit_seat_leave(c->svc, &seat);
	return answer;
}

void limit_note(struct limit_client *c, enum use_kind kind, int n)
{
	struct use_view v;
	int64_t now_ms;

	if (!c->svc || n <= 0)
		return;
	now_ms = clock_ms();
	client_use_add(c->svc->use, &c->svc->site->client_limits.client, &c->who, kind, n, now_ms, &v);
	site_use_add(c->svc->use, &c->svc->site->client_limits.site, kind, n, now_ms, &v);
	c->used[kind] += n;
}

void limit_note_bytes(struct limit_client *c, size_t n)
{
	uint64_t all = c->rest + (uint64_t)n;

	if (!c->svc)
		return;
	c->rest = (unsigned)(all % USE_BYTES_UNIT);
	limit_note(c, USE_BYTES, (int)(all / USE_BYTES_UNIT));
}

void limit_forget(struct limit_client *c)
{
	const struct client_limits *conf;
	int64_t now_ms;

	if (!c->svc)
		return;
	conf = &c->svc->site->client_limits;
	now_ms = clock_ms();
	for (int k = 0; k < USE_KINDS; k++) {
		struct use_view v;

		if (c->used[k] == 0)
			continue;
		client_use_take_back(c->svc->use, &conf->client, &c->who, k, c->used[k], now_ms);
		site_use_add(c->svc->use, &conf->site, k, -c->used[k], now_ms, &v);
	}
	c->svc = NULL;
}

/* --- what is there at once --- */

static uint64_t seat_name(const struct presence *p, unsigned what, const struct net_addr *a, int octets)
{
	unsigned char name[16] = { (unsigned char)(what >> 8), (unsigned char)what, a->family == AF_INET6, (unsigned char)octets };

	memcpy(name + 4, a->ip, (size_t)octets);
	return presence_hash(p, name, sizeof(name));
}

int limit_seat_take(const struct limit_service *svc, unsigned what, const struct net_addr *client, int max, struct limit_seat *out)
{
	struct net_addr a = net_counted(client);
	int networks = a.family == AF_INET6 ? USE_NETWORKS : 1;

	*out = (struct limit_seat){ .cell = { -1, -1, -1 } };
	if (!svc || !svc->presence)
		return 0;
	for (int i = 0; i < networks; i++) {
		int octets = a.family == AF_INET6 ? client_use_bits(i) / 8 : 4;

		out->cell[i] = presence_enter(svc->presence, svc->self, seat_name(svc->presence, what, &a, octets), max * client_use_factor(i));
		if (out->cell[i] == -EBUSY) {
			limit_seat_leave(svc, out);
			return -EBUSY;
		}
	}
	return 0;
}

void limit_seat_leave(const struct limit_service *svc, struct limit_seat *seat)
{
	for (int i = 0; svc && svc->presence && i < USE_NETWORKS; i++) {
		presence_leave(svc->presence, svc->self, seat->cell[i]);
		seat->cell[i] = -1;
	}
}

void limit_seat_refused(const struct limit_client *c, int max)
{
	struct use_view v = { .count = max, .limit = max };

	if (!c->svc)
		return;
	say(c, &(struct line){ .what = "sessions", .kind = USE_SESSIONS, .view = &v, .action = "refused" });
	atomic_fetch_add(&c->svc->use->refused[USE_SESSIONS], 1);
}
