/*
 * smtp_groups - the recipients of one message, by what is to be done for them
 *
 * Each recipient has a fate: the action of its verdict, or FATE_HAS_IT. Those who get the message are grouped by the next hop that they were asked for in
 * (smtp_legs.h), and by the effects that change its header, since they get different bytes: each group is a delivery of its own. The other fates are one
 * group each.
 *
 * A group that gets the message has targets: the addresses that it goes to at the server behind. A redirect (the first that is true for a
 * recipient) replaces its address; copies come behind. No address is there twice but where the client named it twice, and a copy
 * goes out once in a message, with the first group that asks for it, and not at all to whom the message goes anyway. Pure: no I/O.
 */
#ifndef SMTP_GROUPS_H
#define SMTP_GROUPS_H

#include <stddef.h>

#include "hop/delivery.h"
#include "policy/judge.h"

/* Fates beyond the actions: this recipient has the message from an earlier attempt (its copies have been made, too). */
enum { FATE_HAS_IT = ACTION_COUNT };

struct smtp_group {
	int fate;
	unsigned char way;                      /* of its first recipient */
	struct judge **judge;                   /* in the order of RCPT */
	const struct recipient **rcpt;          /* theirs */
	size_t count;
	struct delivery_target *target;         /* ACTION_ACCEPT; FATE_HAS_IT: where it went */
	size_t target_count;
	enum delivery_result result;            /* of what was done; TAKEN to begin */
	char reply[DELIVERY_REPLY_MAX];         /* what the client is to hear of it; "" to begin */
};

struct smtp_groups {
	struct smtp_group *group;               /* in the order of their first recipients */
	size_t count;
	size_t *of;                             /* of each recipient: its group */
	size_t rcpt_count;
};

/* fate[i] and way[i] are judge[i]'s; way NULL: all have one. plain: effects do not count (observe mode). Judges and rules outlive out. 0 or -ENOMEM, then nothing is to be released. */
int smtp_groups_make(struct judge *judge, const int *fate, const unsigned char *way, size_t count, bool plain, struct smtp_groups *out);
void smtp_groups_release(struct smtp_groups *g);
static inline void smtp_groups_cleanup(struct smtp_groups *g)
{
	smtp_groups_release(g);
}

/* The one group of that fate (not ACTION_ACCEPT: there may be several), or NULL. */
struct smtp_group *smtp_groups_find(const struct smtp_groups *g, int fate);

/* The address that the mail of j's recipient goes to instead, or NULL. */
const char *smtp_redirect(const struct judge *j);

#endif
