#include "hop/outbound.h"
#include "hop/outbound_tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/task.h"
#include "policy/conf.h"

enum {
	TICK_MS = 500,                  /* idle sessions are looked at */
	RSET_MS = 10 * 1000,            /* an idle session that is slower is none */
};

/* One that mail goes to, while anybody uses it or a session there is idle. */
struct destination {
	struct outbound *outbound;
	char *name;
	struct gate gate;
	int users;                      /* places taken, and who waits for one */
	struct outbound_session *idle;  /* the youngest first */
	struct destination *next;
};

struct outbound_place {
	struct destination *destination;
};

struct bench {
	struct net_addr addr;           /* family 0: free */
	int64_t until_ms;
	const char *code;
	char why[SMTP_WHY_MAX];
};

struct outbound {
	const struct site *site;
	struct dns *dns;
	struct outbound_tls *tls;
	struct destination *first;
	size_t idle;                    /* sessions, of all */
	struct bench *bench;            /* OUTBOUND_BENCH_MAX */
	size_t bench_next;
	struct task *ticker;            /* while sessions are idle */
	int users;                      /* the owner, destinations, the ticker */
	bool ending;
};

static void unref(struct outbound *o)
{
	if (--o->users > 0)
		return;
	outbound_tls_free(o->tls);
	free(o->bench);
	free(o);
}

int outbound_new(const struct site *site, struct dns *dns, struct state *state, struct outbound **out, struct buf *err)
{
	struct outbound *o = calloc(1, sizeof(*o));
	int rc = -ENOMEM;

	if (!o)
		return -ENOMEM;
	o->site = site;
	o->dns = dns;
	o->users = 1;
	o->bench = calloc(OUTBOUND_BENCH_MAX, sizeof(*o->bench));
	if (o->bench)
		rc = outbound_tls_new(site, dns, state, &o->tls, err);
	if (rc < 0) {
		unref(o);
		return rc;
	}
	*out = o;
	return 0;
}

const struct site *outbound_site(const struct outbound *o)
{
	return o->site;
}

struct dns *outbound_dns(const struct outbound *o)
{
	return o->dns;
}

struct outbound_tls *outbound_tls(const struct outbound *o)
{
	return o->tls;
}

/* --- destinations --- */

static struct destination *destination_get(struct outbound *o, const char *name)
{
	struct destination *d;

	for (d = o->first; d; d = d->next)
		if (strcmp(d->name, name) == 0)
			return d;
	d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	d->name = strdup(name);
	if (!d->name) {
		free(d);
		return NULL;
	}
	d->gate.limit = o->site->outbound.max_sessions;
	d->outbound = o;
	d->next = o->first;
	o->first = d;
	o->users++;
	return d;
}

static void destination_unref(struct destination *d)
{
	struct outbound *o = d->outbound;
	struct destination **p = &o->first;

	if (d->users > 0 || d->idle)
		return;
	while (*p != d)
		p = &(*p)->next;
	*p = d->next;
	free(d->name);
	free(d);
	unref(o);
}

/* --- sessions --- */

void outbound_session_free(struct outbound_session *s)
{
	if (!s)
		return;
	smtp_client_free(s->client);
	outbound_tls_demand_free(s->tls);
	free(s);
}

static void quit_task(void *arg)
{
	struct outbound_session *s = arg;

	smtp_client_quit(s->client);
	s->client = NULL;
	outbound_session_free(s);
}

/* Say goodbye in a task of its own. */
static void session_close(struct outbound_session *s)
{
	if (s->client->broken || task_spawn("outbound quit", quit_task, s, NULL) < 0)
		outbound_session_free(s);
}

/* Those that have been idle for so long, or all. */
static void expire(struct outbound *o, bool all)
{
	struct destination *d = o->first, *next;

	for (; d; d = next) {
		struct outbound_session **p = &d->idle, *s;

		next = d->next;
		while ((s = *p) != NULL) {
			if (!all && clock_ms() - s->idle_since_ms < o->site->outbound.reuse_idle_ms) {
				p = &s->next;
				continue;
			}
			*p = s->next;
			o->idle--;
			session_close(s);
		}
		destination_unref(d);
	}
}

static void ticker_task(void *arg)
{
	struct outbound *o = arg;

	while (o->idle > 0 && task_sleep(TICK_MS) == 0)
		expire(o, false);
	if (o->idle > 0)
		expire(o, true);        /* cancelled */
	o->ticker = NULL;
	unref(o);
}

static void keep(struct destination *d, struct outbound_session *s)
{
	struct outbound *o = d->outbound;

	if (!o->ticker) {
		if (task_spawn("outbound idle", ticker_task, o, &o->ticker) < 0) {
			o->ticker = NULL;
			session_close(s);
			return;
		}
		o->users++;
	}
	s->idle_since_ms = clock_ms();
	s->next = d->idle;
	d->idle = s;
	o->idle++;
}

int outbound_enter(struct outbound *o, const char *destination, int64_t deadline_ms, struct outbound_place **out)
{
	struct destination *d = destination_get(o, destination);
	struct outbound_place *p = calloc(1, sizeof(*p));
	int64_t left = o->site->outbound.max_sessions_wait_ms;
	int rc = -ENOMEM;

	if (deadline_ms && deadline_ms - clock_ms() < left)
		left = deadline_ms > clock_ms() ? deadline_ms - clock_ms() : 0;
	if (d && p) {
		d->users++;
		rc = gate_enter(&d->gate, (int)left);
		if (rc < 0)
			d->users--;
	}
	if (rc < 0) {
		free(p);
		if (d)
			destination_unref(d);
		return rc == -ETIMEDOUT && (!deadline_ms || clock_ms() < deadline_ms) ? -EBUSY : rc;
	}
	p->destination = d;
	*out = p;
	return 0;
}

static bool idle_good(const struct outbound_conf *cf, struct outbound_session *s)
{
	int limit = s->client->caps.limit_mail;

	return clock_ms() - s->idle_since_ms <= cf->reuse_idle_ms && s->messages < cf->reuse_max &&
	       (limit == 0 || s->messages < limit) && smtp_client_quiet(s->client);
}

struct outbound_session *outbound_idle(struct outbound_place *p, int64_t deadline_ms)
{
	struct destination *d = p->destination;
	struct outbound_session *s;

	while ((s = d->idle) != NULL) {
		int64_t until = clock_ms() + RSET_MS;

		d->idle = s->next;
		d->outbound->idle--;
		if (idle_good(&d->outbound->site->outbound, s) &&
		    smtp_client_rset(s->client, deadline_ms && deadline_ms < until ? deadline_ms : until) == 0 &&
		    s->client->reply.code / 100 == 2)
			return s;
		session_close(s);
		if (task_cancelled())
			break;
	}
	return NULL;
}

void outbound_leave(struct outbound_place *p, struct outbound_session *s, bool keep_it)
{
	struct destination *d = p->destination;
	struct outbound *o = d->outbound;

	if (s) {
		s->messages++;
		if (keep_it && !s->client->broken && !s->client->closing && !o->ending && o->idle < OUTBOUND_IDLE_MAX &&
		    o->site->outbound.reuse_idle_ms > 0 && s->messages < o->site->outbound.reuse_max)
			keep(d, s);
		else
			session_close(s);
	}
	free(p);
	gate_leave(&d->gate);
	d->users--;
	destination_unref(d);
}

void outbound_free(struct outbound *o)
{
	if (!o)
		return;
	o->ending = true;
	expire(o, true);
	if (o->ticker)
		task_cancel(o->ticker);
	unref(o);
}

/* --- who does not answer --- */

static struct bench *bench_find(const struct outbound *o, const struct net_addr *a)
{
	for (size_t i = 0; i < OUTBOUND_BENCH_MAX; i++) {
		struct bench *b = &o->bench[i];

		if (b->addr.family && b->addr.port == a->port && net_same_ip(&b->addr, a))
			return b;
	}
	return NULL;
}

void outbound_bench(struct outbound *o, const struct net_addr *a, const char *host, int ms, const char *code, const char *why)
{
	struct bench *b = bench_find(o, a);
	struct log_line l;
	char text[NET_TEXT_MAX];

	log_start(&l, LOG_LEVEL_NOTICE, "outbound-host");
	log_str(&l, "host", host);
	log_str(&l, "address", net_text_port(a, text));
	log_str(&l, "why", why);
	log_num(&l, "benched_ms", ms);
	log_emit(&l);
	if (ms <= 0)
		return;
	if (!b)
		b = &o->bench[o->bench_next++ % OUTBOUND_BENCH_MAX];
	b->addr = *a;
	b->until_ms = clock_ms() + ms;
	b->code = code;
	snprintf(b->why, sizeof(b->why), "%s", why);
}

void outbound_unbench(struct outbound *o, const struct net_addr *a)
{
	struct bench *b = bench_find(o, a);

	if (b)
		b->addr.family = 0;
}

const char *outbound_benched(const struct outbound *o, const struct net_addr *a, const char **code)
{
	const struct bench *b = bench_find(o, a);

	if (!b || clock_ms() >= b->until_ms)
		return NULL;
	*code = b->code;
	return b->why;
}
