#include "base/dns_unbound.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>
#include <unbound-event.h>
#include <unbound.h>

#include "base/clock.h"
#include "base/dns_packet.h"
#include "base/dns_unbound_conf.h"
#include "policy/conf.h"

enum {
	PUMP_BATCH = 256,               /* asked in one go; then the loop looks at its descriptors */
	WHY_MAX = 160,
	TIMEOUT_DEFAULT_MS = 5000,
};

/* sec of the library's callback */
enum { SEC_BOGUS = 1, SEC_SECURE = 2 };

enum lookup_state { LOOKUP_WAITING, LOOKUP_ASKED, LOOKUP_OUT };     /* for its turn; of the library; of neither */

struct ub_lookup {
	struct dns_lookup pub;
	struct dns_unbound *u;
	enum lookup_state state;
	bool dropped;                   /* nobody is interested: freed when the library is through with it */
	bool timed;
	enum dns_type type;
	int64_t deadline_ms;
	struct event timer;             /* set when the answer does not come at once */
	TAILQ_ENTRY(ub_lookup) entry;
	struct dns_rr *rr;
	char why[WHY_MAX];
	char name[];
};

static const char closing_why[] = "shutting down";

TAILQ_HEAD(lookup_list, ub_lookup);

struct dns_unbound {
	struct dns dns;
	struct ub_ctx *ctx;
	struct event *pump;             /* asks for those that wait */
	struct lookup_list waiting, asked;
	struct ub_lookup *asking;       /* ub_resolve_event has not returned, nor has its callback been called */
	bool pumping, closing;
	struct dns_unbound_stats stats;
};

/* ---- answers ---- */

static void answer_tempfail(struct ub_lookup *l, const char *what, const char *detail)
{
	snprintf(l->why, sizeof(l->why), "%s%s%s", what, detail ? ": " : "", detail ? detail : "");
	l->pub.answer = (struct dns_answer){ .status = DNS_TEMPFAIL, .why = l->why };
}

static const char *rcode_name(int rcode)
{
	static const char *const names[] = { "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED" };

	return rcode >= 0 && rcode < 6 ? names[rcode] : "an unknown error";
}

static void answer_fill(struct ub_lookup *l, int rcode, const void *packet, int len, int sec, const char *why_bogus)
{
	struct dns_answer *a = &l->pub.answer;
	struct dns_packet pkt;
	int rc;

	if (sec == SEC_BOGUS || (rcode && why_bogus)) {
		answer_tempfail(l, "bogus", why_bogus);
		a->bogus = true;
		return;
	}
	if (rcode) {
		answer_tempfail(l, rcode_name(rcode), NULL);
		return;
	}
	rc = packet && len > 0 ? dns_packet_read(packet, (size_t)len, l->type, &pkt) : -EBADMSG;
	if (rc < 0) {
		answer_tempfail(l, rc == -ENOMEM ? "out of memory" : "malformed answer", NULL);
		return;
	}
	if (pkt.rcode != 0 && pkt.rcode != DNS_RCODE_NXDOMAIN) {
		free(pkt.rr);
		answer_tempfail(l, rcode_name(pkt.rcode), NULL);
		return;
	}
	l->rr = pkt.rr;
	*a = (struct dns_answer){ .secure = sec == SEC_SECURE, .ttl_s = pkt.ttl_s, .why = "" };
	if (pkt.rcode == DNS_RCODE_NXDOMAIN) {
		a->status = DNS_NXDOMAIN;
		a->why = "no such domain";
	} else if (pkt.count == 0) {
		a->status = DNS_NODATA;
		a->why = "no such record";
	} else {
		a->status = DNS_OK;
		a->rr = pkt.rr;
		a->count = pkt.count;
		if (strcasecmp(pkt.owner, l->name) != 0)
			a->canon = pkt.owner;
	}
}

static void lookup_free(struct ub_lookup *l)
{
	free(l->rr);
	free(l);
}

static void timer_stop(struct ub_lookup *l)
{
	if (l->timed)
		event_del(&l->timer);
	l->timed = false;
}

static void timer_fired(evutil_socket_t fd, short what, void *arg);

static void timer_start(struct ub_lookup *l)
{
	int64_t left_ms = l->deadline_ms - clock_ms();
	struct timeval tv;

	if (l->timed)
		return;
	if (left_ms < 0)
		left_ms = 0;
	tv = (struct timeval){ .tv_sec = left_ms / 1000, .tv_usec = left_ms % 1000 * 1000 };
	evtimer_assign(&l->timer, loop_base(), timer_fired, l);
	l->timed = event_add(&l->timer, &tv) == 0;
}

/* The loop's clock is that of the beginning of its round: what fires early is set again. */
static void timer_fired(evutil_socket_t fd, short what, void *arg)
{
	struct ub_lookup *l = arg;

	l->timed = false;
	if (clock_ms() < l->deadline_ms) {
		timer_start(l);
		return;
	}
	l->u->stats.timeouts++;
	if (l->state == LOOKUP_WAITING) {
		TAILQ_REMOVE(&l->u->waiting, l, entry);
		l->u->stats.waiting--;
		l->state = LOOKUP_OUT;
	}
	answer_tempfail(l, "timeout", NULL);
	dns_lookup_resolve(&l->pub);
}

/* ---- asking ---- */

static void pump_schedule(struct dns_unbound *u)
{
	event_active(u->pump, EV_TIMEOUT, 0);   /* once, however often it is said */
}

/* The library has an answer: from a socket's event, or before ub_resolve_event has returned (trap 2). l is gone afterwards, if dropped. */
static void answered(void *arg, int rcode, void *packet, int len, int sec, char *why_bogus, int ratelimited)
{
	struct ub_lookup *l = arg;
	struct dns_unbound *u = l->u;

	if (u->asking == l)
		u->asking = NULL;
	TAILQ_REMOVE(&u->asked, l, entry);
	l->state = LOOKUP_OUT;
	u->stats.in_flight--;
	if (!u->pumping && !u->closing && !TAILQ_EMPTY(&u->waiting))
		pump_schedule(u);
	if (l->dropped) {
		lookup_free(l);
		return;
	}
	if (l->pub.future.done)
		return;                         /* too late: for the cache only */
	timer_stop(l);
	if (u->closing)
		answer_tempfail(l, closing_why, NULL);
	else
		answer_fill(l, rcode, packet, len, sec, why_bogus);
	dns_lookup_resolve(&l->pub);
}

static void ask(struct dns_unbound *u, struct ub_lookup *l)
{
	int rc;

	TAILQ_REMOVE(&u->waiting, l, entry);
	u->stats.waiting--;
	TAILQ_INSERT_TAIL(&u->asked, l, entry);
	u->stats.in_flight++;
	l->state = LOOKUP_ASKED;
	u->asking = l;
	rc = ub_resolve_event(u->ctx, l->name, (int)l->type, 1, l, answered, NULL);
	if (!u->asking)
		return;                         /* answered already: l may be gone */
	u->asking = NULL;
	if (rc == 0) {
		timer_start(l);
		return;
	}
	TAILQ_REMOVE(&u->asked, l, entry);
	u->stats.in_flight--;
	l->state = LOOKUP_OUT;
	timer_stop(l);
	answer_tempfail(l, ub_strerror(rc), NULL);
	dns_lookup_resolve(&l->pub);
}

static void pump(evutil_socket_t fd, short what, void *arg)
{
	static const struct timeval at_once = { 0, 0 };
	struct dns_unbound *u = arg;
	struct ub_lookup *l;

	u->pumping = true;
	for (int n = 0; n < PUMP_BATCH && u->stats.in_flight < DNS_UNBOUND_IN_FLIGHT && (l = TAILQ_FIRST(&u->waiting)); n++)
		ask(u, l);
	u->pumping = false;
	if (TAILQ_EMPTY(&u->waiting))
		return;
	if (u->stats.in_flight < DNS_UNBOUND_IN_FLIGHT) {
		event_add(u->pump, &at_once);   /* made active here, it would run before the descriptors are looked at */
		return;
	}
	/* Those left have to wait for others: their deadlines run. Timed ones stand first. */
	TAILQ_FOREACH_REVERSE(l, &u->waiting, lookup_list, entry) {
		if (l->timed)
			break;
		timer_start(l);
	}
}

static int unbound_start(struct dns *d, const char *name, enum dns_type type, int timeout_ms, struct dns_lookup **out)
{
	struct dns_unbound *u = (struct dns_unbound *)d;
	size_t n = strlen(name) + 1;
	struct ub_lookup *l = u->closing ? NULL : calloc(1, sizeof(*l) + n);

	if (!l)
		return -ENOMEM;
	l->pub.ops = u->dns.ops;
	l->u = u;
	l->type = type;
	l->deadline_ms = clock_ms() + timeout_ms;
	memcpy(l->name, name, n);
	TAILQ_INSERT_TAIL(&u->waiting, l, entry);
	u->stats.waiting++;
	u->stats.asked++;
	pump_schedule(u);
	*out = &l->pub;
	return 0;
}

static void unbound_drop(struct dns_lookup *pub)
{
	struct ub_lookup *l = (struct ub_lookup *)pub;

	timer_stop(l);
	switch (l->state) {
	case LOOKUP_WAITING:
		TAILQ_REMOVE(&l->u->waiting, l, entry);
		l->u->stats.waiting--;
		break;
	case LOOKUP_ASKED:
		l->dropped = true;
		return;
	case LOOKUP_OUT:
		break;
	}
	lookup_free(l);
}

static const struct dns_ops unbound_ops = { .start = unbound_start, .drop = unbound_drop };

/* ---- its life ---- */

struct dns_unbound *dns_unbound_new(const struct dns_conf *conf, struct buf *err)
{
	struct dns_unbound *u = calloc(1, sizeof(*u));

	if (u)
		u->pump = event_new(loop_base(), -1, 0, pump, u);
	if (!u || !u->pump) {
		buf_adds(err, "dns: out of memory");
		free(u);
		return NULL;
	}
	u->ctx = dns_unbound_context(conf, err);
	if (!u->ctx) {
		event_free(u->pump);
		free(u);
		return NULL;
	}
	TAILQ_INIT(&u->waiting);
	TAILQ_INIT(&u->asked);
	u->dns.ops = &unbound_ops;
	u->dns.timeout_ms = conf->timeout_ms > 0 ? conf->timeout_ms : TIMEOUT_DEFAULT_MS;
	return u;
}

static void list_end(struct lookup_list *list)
{
	struct ub_lookup *l;

	while ((l = TAILQ_FIRST(list))) {
		TAILQ_REMOVE(list, l, entry);
		timer_stop(l);
		l->state = LOOKUP_OUT;
		if (l->dropped) {
			lookup_free(l);
		} else if (!l->pub.future.done) {
			answer_tempfail(l, closing_why, NULL);
			dns_lookup_resolve(&l->pub);
		}
	}
}

void dns_unbound_free(struct dns_unbound *u)
{
	if (!u)
		return;
	u->closing = true;                      /* no continuation starts more */
	ub_ctx_delete(u->ctx);                  /* calls back for what it still has, or does not */
	list_end(&u->asked);
	list_end(&u->waiting);
	event_free(u->pump);
	free(u);
}

struct dns *dns_unbound_dns(struct dns_unbound *u)
{
	return &u->dns;
}

void dns_unbound_stats(const struct dns_unbound *u, struct dns_unbound_stats *out)
{
	*out = u->stats;
}
