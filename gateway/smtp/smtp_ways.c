#include "smtp/smtp_ways.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "smtp/smtp_groups.h"
#include "smtp/smtp_owner.h"
#include "smtp/smtp_session.h"

struct smtp_leg *smtp_ways_leg(const struct smtp_session *s, const struct smtp_group *g)
{
	return g->way < s->t->leg_count ? s->t->leg[g->way] : NULL;
}

/*
 * Where mail to the target goes. What leaves for the world can have targets behind us; servers behind us are asked for all but those that other servers behind
 * us have.
 */
static void way_of(const struct smtp_session *s, const struct smtp_group *g, const struct delivery_target *target, struct route *out)
{
	const struct route *own = &smtp_ways_leg(s, g)->route;
	const char *at = strrchr(target->address, '@');
	char domain[SMTP_DOMAIN_MAX + 1];
	bool world = own->kind == ROUTE_MX || own->kind == ROUTE_UPSTREAM;

	*out = *own;
	if ((!world && !route_behind(own)) || (!target->instead_of && !target->copy))
		return;
	if (!at || smtp_domain_ascii(at + 1, domain) < 0)
		return;
	if (world || site_accepts(s->svc->site, domain))
		route_of_ours(s->svc->site, domain, out);
}

/* Several owners: none of them is the one before each was asked. */
static const struct domain_conf *to_learn(const struct smtp_session *s, const struct route *way, const char *address)
{
	const char *at = strrchr(address, '@');
	char domain[SMTP_DOMAIN_MAX + 1];
	const struct domain_conf *d = NULL;

	if (way->kind == ROUTE_OWNER && at && smtp_domain_ascii(at + 1, domain) == 0)
		d = site_domain(s->svc->site, domain);
	return d && d->owner_count > 1 ? d : NULL;
}

bool smtp_ways_own(const struct smtp_session *s, const struct smtp_group *g, const struct delivery_target *target)
{
	struct route way;

	if (!target->instead_of && !target->copy)
		return true;
	way_of(s, g, target, &way);
	return !to_learn(s, &way, target->address) && route_same(&way, &smtp_ways_leg(s, g)->route);
}

/* The way of a target that one of several owners has. DELIVERY_TAKEN: d holds it already. may wait */
static enum delivery_result find_owner(struct smtp_session *s, const struct domain_conf *of, const struct delivery_target *target, struct delivery **d,
				       char *reply)
{
	const struct recipient r = { .address = (char *)target->address, .params = (char *)(target->params ? target->params : ""),
				     .domain = strrchr(target->address, '@') + 1, .local = true };

	return smtp_owner_find(s, of, &r, d, reply);
}

/* One target in a delivery of its own. may wait */
static enum delivery_result send_aside(struct smtp_session *s, struct smtp_group *g, struct delivery_target *target, const struct buf *header,
				       int64_t until_ms, char *reply)
{
	enum delivery_result result = DELIVERY_TAKEN;
	struct delivery_target only = *target;
	const struct domain_conf *several;
	struct delivery *d = NULL;
	struct route way;

	only.copy = false;              /* in a delivery that it is alone in there is nobody else to be held up */
	way_of(s, g, target, &way);
	several = to_learn(s, &way, target->address);
	if (!several)
		smtp_legs_make_room(s, NULL, &way);
	if (several)
		result = find_owner(s, several, target, &d, reply);
	else
		d = delivery_new(route_hop(s->svc, s, &way), &s->t->txn);
	if (!d && result == DELIVERY_TAKEN) {
		result = DELIVERY_LATER;
		snprintf(reply, DELIVERY_REPLY_MAX, "452 4.3.1 out of memory, try again later");
	} else if (d) {
		result = delivery_send(d, &only, 1, header, until_ms, reply);
	} else if (target->instead_of) {        /* its sender has not asked for that address: he is not told of it */
		log_error("redirect-refused", "tx", s->t->txn.id, "to", target->instead_of, "redirect", target->address, "reply", reply, NULL);
		result = DELIVERY_LATER;
		snprintf(reply, DELIVERY_REPLY_MAX, "451 4.3.5 this cannot be delivered now, try again later");
	}
	delivery_free(d);
	return result;
}

/* Those of the group that go the transaction's own way, moved to the front, in order; how many. */
static size_t own_first(const struct smtp_session *s, struct smtp_group *g)
{
	size_t n = 0;

	for (size_t i = 0; i < g->target_count; i++) {
		struct delivery_target t = g->target[i];

		if (!smtp_ways_own(s, g, &t))
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

	snprintf(reply, DELIVERY_REPLY_MAX, "250 2.0.0 accepted");     /* where there are none but copies */
	for (size_t i = own; i < g->target_count; i++) {
		if (g->target[i].copy)
			continue;
		result = send_aside(s, g, &g->target[i], header, until_ms, reply);
		if (result != DELIVERY_TAKEN)
			return result;
	}
	if (own > 0)
		smtp_legs_make_room(s, smtp_ways_leg(s, g), &smtp_ways_leg(s, g)->route);
	if (own > 0)
		result = delivery_send(smtp_ways_leg(s, g)->delivery, g->target, own, header, until_ms, reply);
	for (size_t i = own; i < g->target_count && result == DELIVERY_TAKEN; i++)
		if (g->target[i].copy && send_aside(s, g, &g->target[i], header, until_ms, copy_reply) != DELIVERY_TAKEN)
			log_error("copy-failed", "tx", s->t->txn.id, "copy", g->target[i].address, "reply", copy_reply, NULL);
	return result;
}
