/* When a message goes to the spool instead of its next hop, and how it is kept there. */
#include "smtp/smtp_session.h"
#include "smtp/smtp_told.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "hop/backend.h"
#include "hop/backend_domains.h"
#include "hop/delivery.h"
#include "policy/spool.h"
#include "smtp/smtp_groups.h"
#include "smtp/smtp_ways.h"
#include "spool/dsn.h"
#include "spool/dsn_params.h"
#include "spool/spool_bounce.h"
#include "spool/spool_route.h"

bool smtp_spool_several(const struct smtp_session *s, const struct route *r)
{
	const struct smtp_leg *first = smtp_legs_first(s->t);
	char text[SPOOL_ROUTE_MAX];

	return s->svc->spool && s->client.relay && first && spool_route_text(s, &first->route, text) && spool_route_text(s, r, text);
}

/* Nobody could be reached (4.4), or had a place for us (4.3.2). Mistakes of the site's, or a certificate that does not fit, the client hears of now. */
static bool nobody_there(const char *reply)
{
	return strncmp(reply, "451 4.4.", 8) == 0 || strncmp(reply, "451 4.3.2 ", 10) == 0;
}

bool smtp_spool_away(const struct smtp_session *s, const struct route *r, const char *reply, bool known)
{
	const struct backend_group *owner;

	if (!nobody_there(reply))
		return false;
	switch (r->kind) {
	case ROUTE_UPSTREAM:
	case ROUTE_MX:
		return s->svc->spool != NULL;
	case ROUTE_BACKEND:
		return s->svc->spool && known && backend_group_spools(s->group);
	case ROUTE_OWNER:
		owner = backend_domains_find(s->svc->domains, r->domain);
		return s->svc->spool && known && owner && backend_group_spools(owner);
	case ROUTE_DESTINATION:
		/* It waits for the server as for one that is not inline; then it comes from our own address. */
		return s->svc->spool && known && backend_at(s->group, &s->destination) && backend_group_spools(s->group);
	case ROUTE_AUTH:
		break;
	}
	return false;
}

void smtp_spool_begin(struct smtp_session *s, const char *why)
{
	struct smtp_txn *t = s->t;

	if (t->spooled)
		return;
	t->spooled = true;
	log_info("spooling", "tx", t->txn.id, "why", why, NULL);
	smtp_legs_end(t);
}

void smtp_spool_leg(struct smtp_session *s, struct smtp_leg *leg, const char *why)
{
	char text[ROUTE_TEXT_MAX];

	if (leg->spooled)
		return;
	leg->spooled = true;
	log_info("spooling", "tx", s->t->txn.id, "route", route_text(&leg->route, text), "why", why, NULL);
	smtp_leg_end(leg);
}

/* Where a target's mail goes: as its recipient's was found at RCPT; of another address (a redirect, a copy) as if the gateway itself sent it. */
static bool target_route(const struct smtp_session *s, const struct smtp_group *g, const struct delivery_target *target, char *out)
{
	const struct smtp_leg *leg;
	struct route route;

	for (size_t i = 0; i < g->count; i++) {
		if (g->rcpt[i]->address != target->address)
			continue;
		leg = smtp_legs_of(s->t, (size_t)(g->rcpt[i] - s->t->txn.env.rcpt));
		if (leg)
			return spool_route_text(s, &leg->route, out);
		return !route_find(s, g->rcpt[i], &route) && spool_route_text(s, &route, out);
	}
	return spool_route_address(s->svc, target->address, out);
}

static char *copy(const char *text)
{
	return text ? strdup(text) : NULL;
}

static struct spool_envelope *envelope_make(const struct smtp_session *s, const struct smtp_group *g)
{
	const struct smtp_txn *t = s->t;
	struct spool_envelope *e = spool_envelope_new();
	char route[SPOOL_ROUTE_MAX];
	bool ok = e != NULL;

	if (!ok)
		return NULL;
	e->sender = copy(t->txn.env.from);
	e->params = copy(t->txn.env.params);
	e->direction = s->client.relay ? SPOOL_OUTBOUND : s->listener->direction == DIRECTION_SUBMISSION ? SPOOL_SUBMISSION : SPOOL_INBOUND;
	e->listener = copy(s->listener->name);
	e->user = copy(s->client.auth_user);
	e->client = copy(smtp_told_client(s)->ip);
	e->helo = copy(smtp_told_client(s)->helo);
	e->txn = copy(t->txn.id);
	e->credible = s->client.relay ? t->txn.env.from[0] != '\0' : dsn_credible(&t->txn);
	ok = e->sender && e->params && e->listener && e->client && e->txn;
	for (size_t i = 0; ok && i < g->target_count; i++) {
		if (g->target[i].dropped)
			continue;
		ok = target_route(s, g, &g->target[i], route);
		ok = ok && spool_envelope_add(e, g->target[i].address, g->target[i].params, route);
	}
	if (ok)
		return e;
	spool_envelope_free(e);
	return NULL;
}

/* may wait */
static int keep(struct smtp_session *s, struct smtp_group *g, const struct buf *header, char id[STORE_ID_MAX])
{
	AUTO(spool_envelope) struct spool_envelope *e = envelope_make(s, g);
	int fd, rc;

	if (!e)
		return -ENOMEM;
	fd = spool_draft(s->svc->spool, header, s->t->txn.message);
	if (fd < 0)
		return fd;
	rc = spool_keep(s->svc->spool, fd, e, id);
	close(fd);
	return rc;
}

void smtp_spool_group(struct smtp_session *s, struct smtp_group *g, const struct buf *header)
{
	char id[STORE_ID_MAX] = "", reply[DELIVERY_REPLY_MAX];
	int rc = keep(s, g, header, id);

	g->result = rc < 0 ? DELIVERY_LATER : DELIVERY_TAKEN;
	if (rc == 0) {
		snprintf(reply, sizeof(reply), "250 2.0.0 kept for delivery as %s", id);
		log_notice("spooled", "tx", s->t->txn.id, "spool", id, "from", s->t->txn.env.from, NULL);
	} else {
		log_error("spool-failed", "tx", s->t->txn.id, "error", strerror(-rc), NULL);
		snprintf(reply, sizeof(reply), rc == -ENOSPC ? "452 4.3.1 the spool is full, try again later" :
			 "451 4.3.0 could not be kept for delivery, try again later");
	}
	smtp_with_id(s, reply, g->reply);
}

/* --- success --- */

/* May a notification be sent, and does one need to be. */
static bool tells_nothing(const struct smtp_session *s, const struct smtp_leg *leg)
{
	return s->svc->spool && s->client.relay && leg && leg->delivery && (leg->route.kind == ROUTE_MX || leg->route.kind == ROUTE_UPSTREAM) &&
	       s->t->txn.env.from[0] && !delivery_offers_dsn(leg->delivery);
}

/* may wait */
static int keep_text(struct smtp_session *s, const struct buf *text, const char *params)
{
	AUTO(spool_envelope) struct spool_envelope *e = spool_bounce_envelope(s->svc, s->t->txn.env.from, params, s->t->txn.id);
	char id[STORE_ID_MAX];
	int fd, rc;

	if (!e)
		return -ENOMEM;
	fd = spool_open(s->svc->spool);
	if (fd < 0)
		return fd;
	rc = file_write_all(fd, text->data, text->len);
	if (rc == 0)
		rc = spool_keep(s->svc->spool, fd, e, id);
	close(fd);
	return rc;
}

void smtp_spool_relayed(struct smtp_session *s, const struct smtp_group *g)
{
	const struct envelope *env = &s->t->txn.env;
	AUTO(buf) struct buf text = BUF_INIT(DSN_MAX);
	const struct smtp_leg *leg = smtp_ways_leg(s, g);
	struct dsn_rcpt *rcpt = NULL;
	char from[SPOOL_BOUNCE_FROM_MAX], id[64];
	const char *params;
	struct dsn d = {
		.hostname = s->svc->site->hostname, .from = spool_bounce_from(s->svc->site, env->from, from), .id = id, .reference = s->t->txn.id,
		.sender = env->from, .params = env->params, .arrival_s = clock_wall_s(), .now_s = clock_wall_s(), .message = s->t->txn.message,
	};
	int rc;

	for (size_t i = 0; i < g->target_count && tells_nothing(s, leg); i++)
		d.rcpt_count += !g->target[i].dropped && dsn_wants_success(g->target[i].params) && smtp_ways_own(s, g, &g->target[i]);
	if (!d.rcpt_count || !(rcpt = calloc(d.rcpt_count, sizeof(*rcpt))))
		return;
	d.rcpt_count = 0;
	for (size_t i = 0; i < g->target_count; i++)
		if (!g->target[i].dropped && dsn_wants_success(g->target[i].params) && smtp_ways_own(s, g, &g->target[i]))
			rcpt[d.rcpt_count++] = (struct dsn_rcpt){ .address = g->target[i].address, .params = g->target[i].params,
								  .action = DSN_RELAYED, .remote = delivery_backend(leg->delivery), .attempt_s = d.now_s };
	d.rcpt = rcpt;
	snprintf(id, sizeof(id), "%s.%lx", s->t->txn.id, (unsigned long)clock_wall_ms() & 0xfffffff);
	rc = spool_bounce_text(s->svc, &d, &text, &params);
	if (rc == 0)
		rc = keep_text(s, &text, params);
	if (rc < 0)             /* the message has arrived: this is all that is missing */
		log_warning("notification-failed", "tx", s->t->txn.id, "error", strerror(-rc), NULL);
	free(rcpt);
}
