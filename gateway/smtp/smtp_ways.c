#include "smtp/smtp_ways.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "smtp/smtp_groups.h"
#include "smtp/smtp_session.h"

/* Where mail of our own to the target goes. Only what leaves for the world can have targets elsewhere: servers behind us are asked for all. */
static void way_of(const struct smtp_session *s, const struct delivery_target *target, struct route *out)
{
	const struct route *own = &s->t->route;
	const char *at = strrchr(target->address, '@');
	char domain[SMTP_DOMAIN_MAX + 1];

	*out = *own;
	if ((own->kind != ROUTE_MX && own->kind != ROUTE_UPSTREAM) || (!target->instead_of && !target->copy))
		return;
	if (!at || smtp_domain_ascii(at + 1, domain) < 0)
		return;
	route_of_ours(s->svc->site, domain, out);
}

bool smtp_ways_own(const struct smtp_session *s, const struct delivery_target *target)
{
	struct route way;

	way_of(s, target, &way);
	return route_same(&way, &s->t->route);
}

/* One target in a delivery of its own. may wait */
static enum delivery_result send_aside(struct smtp_session *s, struct delivery_target *target, const struct buf *header, int64_t until_ms,
				       char *reply)
{
	enum delivery_result result = DELIVERY_LATER;
	struct delivery_target only = *target;
	struct delivery *d;
	struct route way;

	only.copy = false;              /* in a delivery that it is alone in there is nobody else to be held up */
	way_of(s, target, &way);
	d = delivery_new(route_hop(s->svc, s, &way), &s->t->txn);
	if (d)
		result = delivery_send(d, &only, 1, header, until_ms, reply);
	else
		snprintf(reply, DELIVERY_REPLY_MAX, "452 4.3.1 out of memory, try again later");
	delivery_free(d);
	return result;
}

/* Those of the group that go the transaction's own way, moved to the front, in order; how many. */
static size_t own_first(const struct smtp_session *s, struct smtp_group *g)
{
	size_t n = 0;

	for (size_t i = 0; i < g->target_count; i++) {
		struct delivery_target t = g->target[i];

		if (!smtp_ways_own(s, &t))
			continue;
		memmove(&g->target[n + 1], &g->target[n], (i - n) * sizeof(t));
		g->target[n++] = t;
	}
	return n;
}

enum delivery_result smtp_ways_send(struct smtp_session *s, struct smtp_group *g, const struct buf *header, int64_t until_ms, char *reply)
{
	size_t own = own_first(s, g);
	enum delivery_result result = DELIVERY_TAKEN;
	char copy_reply[DELIVERY_REPLY_MAX];

	for (size_t i = own; i < g->target_count; i++) {
		if (g->target[i].copy)
			continue;
		result = send_aside(s, &g->target[i], header, until_ms, reply);
		if (result != DELIVERY_TAKEN)
			return result;
	}
	if (own > 0)
		result = delivery_send(s->t->delivery, g->target, own, header, until_ms, reply);
	for (size_t i = own; i < g->target_count && result == DELIVERY_TAKEN; i++)
		if (g->target[i].copy && send_aside(s, &g->target[i], header, until_ms, copy_reply) != DELIVERY_TAKEN)
			log_error("copy-failed", "tx", s->t->txn.id, "copy", g->target[i].address, "reply", copy_reply, NULL);
	return result;
}
