#include "smtp/smtp_owner.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "hop/backend_domains.h"
#include "policy/state.h"
#include "smtp/recipient.h"
#include "smtp/smtp_session.h"

static const char space[] = "owner";

/* --- what the answers say together --- */

void smtp_owner_note(struct smtp_owner_sum *sum, enum delivery_result result, const char *reply)
{
	if (result == DELIVERY_REFUSED) {
		/* A mailbox that is full, or closed to this sender, is one; that there is none others say as well. */
		if (!sum->refused[0] || (smtp_reply_unknown(sum->refused) && !smtp_reply_unknown(reply)))
			snprintf(sum->refused, sizeof(sum->refused), "%s", reply);
	} else if (result != DELIVERY_TAKEN && !sum->later[0]) {
		snprintf(sum->later, sizeof(sum->later), "%s", reply);
	}
}

bool smtp_owner_counts(const struct smtp_owner_sum *sum, int accepts_all)
{
	return !sum->later[0] || accepts_all == 0;
}

enum delivery_result smtp_owner_none(const struct smtp_owner_sum *sum, char *reply)
{
	if (sum->later[0]) {
		snprintf(reply, DELIVERY_REPLY_MAX, "%s", sum->later);
		return DELIVERY_LATER;
	}
	if (!sum->refused[0] || smtp_reply_unknown(sum->refused))
		snprintf(reply, DELIVERY_REPLY_MAX, "550 5.1.1 none of the mail servers behind knows this recipient");
	else
		snprintf(reply, DELIVERY_REPLY_MAX, "%s", sum->refused);
	return DELIVERY_REFUSED;
}

/* --- what is remembered --- */

static int key(struct state_op *op, const char *address)
{
	int rc = state_key_recipient(op, address);

	snprintf(op->space, sizeof(op->space), "%s", space);
	return rc;
}

int smtp_owner_recall(struct state *state, const struct domain_conf *d, const char *address, size_t *owner)
{
	struct state_op op = { .verb = STATE_GET };
	int rc = !state || key(&op, address) < 0 ? 0 : state_run(state, &op, 1);

	*owner = d->owner_count;        /* as where the configuration has another by now */
	for (size_t i = 0; rc == 0 && op.found && i < d->owner_count; i++)
		if (strcmp(d->owner[i].name, op.text) == 0)
			*owner = i;
	return rc;
}

static void line(struct smtp_session *s, const char *address, const char *owner, const char *what)
{
	log_info("owner", "tx", s->t->txn.id, "recipient", address, "owner", owner, "what", what, NULL);
}

/* may wait */
static void learn(struct smtp_session *s, const struct domain_conf *d, size_t owner, const char *address)
{
	struct state_op op = { .verb = STATE_PUT, .ttl_s = s->svc->site->verify_positive_s };

	if (!s->svc->state || key(&op, address) < 0)
		return;
	snprintf(op.text, sizeof(op.text), "%s", d->owner[owner].name);
	if (state_run(s->svc->state, &op, 1) == 0)      /* not kept: asked again */
		line(s, address, d->owner[owner].name, "learnt");
}

/* may wait */
static void forget(struct smtp_session *s, const struct domain_conf *d, size_t owner, const char *address)
{
	struct state_op op = { .verb = STATE_DELETE };

	if (s->svc->state && key(&op, address) == 0 && state_run(s->svc->state, &op, 1) == 0)
		line(s, address, d->owner[owner].name, "forgotten");
}

/* --- asking --- */

/* One question: the transaction's, or one of its own. */
struct asking {
	struct smtp_session *s;
	const struct domain_conf *d;
	const struct recipient *r;
	bool aside;
	struct smtp_leg *leg;           /* of the last who was asked */
	struct delivery *delivery;      /* aside: his */
	size_t known;                   /* the owner that is remembered, or their number */
};

/* may wait */
static enum delivery_result ask(struct asking *a, size_t owner, char *reply)
{
	struct route route;
	bool full;

	route_of_owner(a->d, owner, &route);
	if (a->aside) {
		delivery_free(a->delivery);
		smtp_legs_make_room(a->s, NULL, &route);
		a->delivery = delivery_new(route_hop(a->s->svc, a->s, &route), &a->s->t->txn);
		if (a->delivery)
			return delivery_rcpt(a->delivery, a->r, reply);
	} else {
		a->leg = smtp_legs_get(a->s->t, &route, &full);
		if (a->leg && a->leg->spooled && owner == a->known)
			return DELIVERY_TAKEN;
		if (a->leg)
			return smtp_leg_ask(a->s, a->leg, a->r, reply);
		if (full) {
			snprintf(reply, DELIVERY_REPLY_MAX, "452 4.5.3 this recipient in a transaction of its own, please");
			return DELIVERY_LATER;
		}
	}
	snprintf(reply, DELIVERY_REPLY_MAX, "452 4.3.1 out of memory, try again later");
	return DELIVERY_LATER;
}

/* Whether an owner says 250 to everybody; 1, 0, -1: not known yet. */
static int accepts_all(const struct asking *a, size_t owner)
{
	struct backend_group *g = backend_domains_find(a->s->svc->domains, a->d->owner[owner].name);

	return g && a->s->svc->recipients ? recipient_accepts_all(a->s->svc->recipients, g, a->r->domain) : -1;
}

/* Those who are not remembered, in their order. may wait */
static enum delivery_result ask_others(struct asking *a, struct smtp_owner_sum *sum, char *reply)
{
	for (size_t i = 0; i < a->d->owner_count; i++) {
		enum delivery_result result;
		int all;

		if (i == a->known)
			continue;
		result = ask(a, i, reply);
		if (result != DELIVERY_TAKEN) {
			smtp_owner_note(sum, result, reply);
			continue;
		}
		all = accepts_all(a, i);
		if (!smtp_owner_counts(sum, all))
			continue;               /* what it holds for nobody is not sent: delivery.h */
		/* Of the last it is not remembered before it is known to say no as well. */
		if (all == 0 || (all < 0 && i + 1 < a->d->owner_count))
			learn(a->s, a->d, i, a->r->address);
		return DELIVERY_TAKEN;
	}
	a->leg = NULL;
	return smtp_owner_none(sum, reply);
}

/* may wait */
static enum delivery_result find(struct asking *a, char *reply)
{
	struct smtp_owner_sum sum = { "", "" };

	(void)smtp_owner_recall(a->s->svc->state, a->d, a->r->address, &a->known);
	if (a->known < a->d->owner_count) {
		enum delivery_result result = ask(a, a->known, reply);

		if (result != DELIVERY_REFUSED)
			return result;
		smtp_owner_note(&sum, result, reply);
		forget(a->s, a->d, a->known, a->r->address);
	}
	return ask_others(a, &sum, reply);
}

enum delivery_result smtp_owner_ask(struct smtp_session *s, const struct domain_conf *d, const struct recipient *r, struct smtp_leg **leg, bool *known,
				    char *reply)
{
	struct asking a = { .s = s, .d = d, .r = r };
	enum delivery_result result = find(&a, reply);

	*leg = a.leg;
	*known |= result != DELIVERY_REFUSED && a.leg && a.known < d->owner_count;
	return result;
}

enum delivery_result smtp_owner_find(struct smtp_session *s, const struct domain_conf *d, const struct recipient *r, struct delivery **out, char *reply)
{
	struct asking a = { .s = s, .d = d, .r = r, .aside = true };
	enum delivery_result result = find(&a, reply);

	*out = NULL;
	if (result == DELIVERY_TAKEN)
		*out = a.delivery;
	else
		delivery_free(a.delivery);
	return result;
}
