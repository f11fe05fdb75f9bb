/*
 * smtp_owner - which of several servers behind us has a mailbox (sections domain with learn = yes)
 *
 * The owners are asked by RCPT in their order; the first that says 250 has it. That is remembered in the state, space "owner", and who is remembered is asked
 * first, and alone while he is away. When he refuses the recipient for good it is forgotten, and the others are asked again. One that says 250 to everybody
 * (recipient_accepts_all) is not remembered, and what it says counts only where all before it have said 5xx: so does what one says of whom that is not known
 * yet, if it is not the first. Nobody knows the recipient: 550 5.1.1, or what the one said who refuses him for another reason. One of them does not say: 4xx.
 */
#ifndef SMTP_OWNER_H
#define SMTP_OWNER_H

#include <stdbool.h>
#include <stddef.h>

#include "hop/delivery.h"

struct domain_conf;
struct smtp_leg;
struct smtp_session;

/*
 * In the session's transaction. TAKEN: *leg is his, whose transaction holds the recipient. LATER: *leg is that of an owner who is known and does not
 * answer; NULL: nobody is known. *known: somebody is, else untouched. may wait
 */
enum delivery_result smtp_owner_ask(struct smtp_session *s, const struct domain_conf *d, const struct recipient *r, struct smtp_leg **leg, bool *known,
				    char *reply);

/* In a delivery of its own (a redirect's): TAKEN: *out holds the recipient, the caller frees it; else it is NULL. may wait */
enum delivery_result smtp_owner_find(struct smtp_session *s, const struct domain_conf *d, const struct recipient *r, struct delivery **out, char *reply);

/* *owner: the place of the one that is remembered for this address of the section; their number: none is. 0, or -errno of the state, and none is. may wait */
struct state;
int smtp_owner_recall(struct state *state, const struct domain_conf *d, const char *address, size_t *owner);

/* What the answers of several say together; pure, for tests. */
struct smtp_owner_sum {
	char later[DELIVERY_REPLY_MAX];         /* what the first said that did not say; "": all have */
	char refused[DELIVERY_REPLY_MAX];       /* the best refusal so far; "": none */
};
void smtp_owner_note(struct smtp_owner_sum *sum, enum delivery_result result, const char *reply);
/* Whether a 250 counts: all before said no; or the one that says it is known not to say so to everybody (accepts_all 0; -1: not known). */
bool smtp_owner_counts(const struct smtp_owner_sum *sum, int accepts_all);
/* Nobody has it. reply: DELIVERY_REPLY_MAX */
enum delivery_result smtp_owner_none(const struct smtp_owner_sum *sum, char *reply);

#endif
