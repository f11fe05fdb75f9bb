/*
 * smtp_legs - the next hops of one transaction
 *
 * Most have one. Recipients in domains with servers of their own (sections domain) are asked for, and later given the message, by several: each is
 * a leg with a delivery of its own. A leg is made when its next hop is asked for a recipient the first time, and may end without any. Mail that
 * leaves for the world has one leg: recipients of another route wait in the spool, and have none.
 */
#ifndef SMTP_LEGS_H
#define SMTP_LEGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hop/delivery.h"
#include "smtp/route.h"

struct smtp_session;
struct smtp_txn;

struct smtp_leg {
	struct route route;
	struct delivery *delivery;      /* NULL before the first RCPT, and when all of it goes to the spool */
	size_t rcpts;                   /* that were taken for it */
	bool spooled;                   /* its next hop is away: its part goes to the spool */
};

enum { SMTP_LEGS_MAX = 8, SMTP_NO_LEG = 255 };

/* Whether a recipient of that route can be served while the client waits, beside those before it: by the same next hop, or all are servers behind us. */
bool smtp_legs_fit(const struct smtp_txn *t, const struct route *route);

/* The first that has a recipient, and so the route of the transaction; NULL: none has. Its place is SMTP_NO_LEG for NULL. */
struct smtp_leg *smtp_legs_first(const struct smtp_txn *t);
unsigned char smtp_legs_place(const struct smtp_txn *t, const struct smtp_leg *leg);
/* Of recipient i of the envelope; NULL: it has none. */
struct smtp_leg *smtp_legs_of(const struct smtp_txn *t, size_t i);

/* The one of that route, made if there is none: those that have no recipients make room. NULL: no memory, or too many; *full says which. */
struct smtp_leg *smtp_legs_get(struct smtp_txn *t, const struct route *route, bool *full);

/* Ask its next hop for a recipient. may wait */
enum delivery_result smtp_leg_ask(struct smtp_session *s, struct smtp_leg *leg, const struct recipient *r, char *reply);

/* The name of the server that it is or was with, or NULL, as of a leg that is NULL. */
const char *smtp_leg_backend(const struct smtp_leg *leg);

/* delivery_spare_ms of the one that can be given back first, and delivery_pause of all. */
int smtp_legs_spare_ms(const struct smtp_txn *t);
void smtp_legs_pause(struct smtp_txn *t);

/*
 * Before a session by this route is taken, for leg, which may hold it already, or (NULL) for a delivery of its own: if it would have to be waited for, those that the
 * transaction holds are given back. Two messages of which each holds what the other waits for would both hear 451, as would one whose legs share a server that
 * takes one session. Never waits.
 */
void smtp_legs_make_room(struct smtp_session *s, const struct smtp_leg *leg, const struct route *route);
/* The recipients are known: whoever was asked and has none gives its session back. */
void smtp_legs_tidy(struct smtp_txn *t);

/* The sessions are given back; what was asked stays known. */
void smtp_leg_end(struct smtp_leg *leg);
void smtp_legs_end(struct smtp_txn *t);
void smtp_legs_free(struct smtp_txn *t);

#endif
