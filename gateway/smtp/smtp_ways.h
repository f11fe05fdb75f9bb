/*
 * smtp_ways - the targets of a group by where their mail goes
 *
 * The recipients of a group go one way, by the next hop in which they were asked for (smtp_legs.h). What a rule adds may go another: a message of one
 * of ours to the world is copied to the archive behind us, mail is redirected to a domain with servers of its own. Such targets get a delivery of their own.
 * Those that a recipient's mail is redirected to go first: until then nobody of the group has the message. Copies go last, and hold up nobody's mail.
 */
#ifndef SMTP_WAYS_H
#define SMTP_WAYS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "hop/delivery.h"

struct smtp_group;
struct smtp_leg;
struct smtp_session;

/* The group's own; NULL: it has none. */
struct smtp_leg *smtp_ways_leg(const struct smtp_session *s, const struct smtp_group *g);

/* Whether the target goes the group's own way. */
bool smtp_ways_own(const struct smtp_session *s, const struct smtp_group *g, const struct delivery_target *target);

/* As delivery_send, of all targets of g, which has a leg. may wait */
enum delivery_result smtp_ways_send(struct smtp_session *s, struct smtp_group *g, const struct buf *header, int64_t until_ms, char *reply);

#endif
