#include "smtp/smtp_legs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hop/backend.h"
#include "smtp/smtp_inline.h"
#include "smtp/smtp_session.h"

bool smtp_legs_fit(const struct smtp_txn *t, const struct route *route)
{
	for (size_t i = 0; i < t->leg_count; i++) {
		const struct smtp_leg *leg = t->leg[i];

		if (leg->rcpts > 0 && !route_same(&leg->route, route) && !(route_behind(&leg->route) && route_behind(route)))
			return false;
	}
	return true;
}

struct smtp_leg *smtp_legs_first(const struct smtp_txn *t)
{
	for (size_t i = 0; i < t->leg_count; i++)
		if (t->leg[i]->rcpts > 0)
			return t->leg[i];
	return NULL;
}

unsigned char smtp_legs_place(const struct smtp_txn *t, const struct smtp_leg *leg)
{
	for (size_t i = 0; leg && i < t->leg_count; i++)
		if (t->leg[i] == leg)
			return (unsigned char)i;
	return SMTP_NO_LEG;
}

struct smtp_leg *smtp_legs_of(const struct smtp_txn *t, size_t i)
{
	return t->way[i] < t->leg_count ? t->leg[t->way[i]] : NULL;
}

void smtp_leg_end(struct smtp_leg *leg)
{
	delivery_free(leg->delivery);
	leg->delivery = NULL;
}

/* Inline, what the first recipient's domain wants of TLS is part of the next hop. */
static bool same(const struct smtp_leg *leg, const struct route *route)
{
	return route_same(&leg->route, route) && (leg->rcpts > 0 || strcmp(leg->route.domain, route->domain) == 0);
}

struct smtp_leg *smtp_legs_get(struct smtp_txn *t, const struct route *route, bool *full)
{
	struct smtp_leg *leg = NULL;

	*full = false;
	for (size_t i = 0; i < t->leg_count; i++)
		if (same(t->leg[i], route))
			return t->leg[i];
	/* Of what goes to one server or out to the world there is one leg; of servers behind each may be asked again. */
	for (size_t i = 0; i < t->leg_count && !leg; i++)
		if (t->leg[i]->rcpts == 0 && (t->leg_count == SMTP_LEGS_MAX || !route_behind(route) || !route_behind(&t->leg[i]->route)))
			leg = t->leg[i];
	if (leg) {
		smtp_leg_end(leg);
	} else if (t->leg_count == SMTP_LEGS_MAX) {
		*full = true;
		return NULL;
	} else {
		leg = calloc(1, sizeof(*leg));
		if (!leg)
			return NULL;
		t->leg[t->leg_count++] = leg;
	}
	leg->route = *route;
	leg->spooled = false;
	return leg;
}

static bool has_session(const struct smtp_leg *leg)
{
	return leg->delivery && delivery_spare_ms(leg->delivery) >= 0;
}

void smtp_legs_make_room(struct smtp_session *s, const struct smtp_leg *leg, const struct route *route)
{
	struct backend_group *behind = route_group(s->svc, s, route);

	if ((!leg || !has_session(leg)) && behind && backend_group_full(behind))
		smtp_legs_pause(s->t);
}

void smtp_legs_tidy(struct smtp_txn *t)
{
	for (size_t i = 0; i < t->leg_count; i++)
		if (t->leg[i]->rcpts == 0 && has_session(t->leg[i]))
			delivery_pause(t->leg[i]->delivery);
}

enum delivery_result smtp_leg_ask(struct smtp_session *s, struct smtp_leg *leg, const struct recipient *r, char *reply)
{
	struct smtp_txn *t = s->t;

	if (!leg->delivery) {
		leg->delivery = delivery_new(route_hop(s->svc, s, &leg->route), &t->txn);
		if (leg->delivery && s->svc->spool && !route_behind(&leg->route))
			delivery_limit(leg->delivery, s->svc->site->outbound.wait_ms);
	}
	if (!leg->delivery) {
		snprintf(reply, DELIVERY_REPLY_MAX, "452 4.3.1 out of memory, try again later");
		return DELIVERY_LATER;
	}
	if (leg->route.kind == ROUTE_DESTINATION && leg->rcpts > 0 && !smtp_inline_suits(s, leg->route.domain, r, reply))
		return DELIVERY_LATER;
	smtp_legs_make_room(s, leg, &leg->route);
	return delivery_rcpt(leg->delivery, r, reply);
}

const char *smtp_leg_backend(const struct smtp_leg *leg)
{
	return leg && leg->delivery ? delivery_backend(leg->delivery) : NULL;
}

int smtp_legs_spare_ms(const struct smtp_txn *t)
{
	int least = -1;

	for (size_t i = 0; i < t->leg_count; i++) {
		int ms = t->leg[i]->delivery ? delivery_spare_ms(t->leg[i]->delivery) : -1;

		if (ms >= 0 && (least < 0 || ms < least))
			least = ms;
	}
	return least;
}

void smtp_legs_pause(struct smtp_txn *t)
{
	for (size_t i = 0; i < t->leg_count; i++)
		if (has_session(t->leg[i]))
			delivery_pause(t->leg[i]->delivery);
}

void smtp_legs_end(struct smtp_txn *t)
{
	for (size_t i = 0; i < t->leg_count; i++)
		smtp_leg_end(t->leg[i]);
}

void smtp_legs_free(struct smtp_txn *t)
{
	smtp_legs_end(t);
	for (size_t i = 0; i < t->leg_count; i++)
		free(t->leg[i]);
	t->leg_count = 0;
	free(t->way);
	t->way = NULL;
}
