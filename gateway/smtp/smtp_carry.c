/* What the verdicts ask for is done: the message is delivered, quarantined or thrown away. */
#include "smtp/smtp_session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json_whole.h"
#include "base/log.h"
#include "filters/filter.h"
#include "filters/milter.h"
#include "hop/backend.h"
#include "policy/record.h"
#include "policy/store.h"
#include "smtp/outgoing.h"
#include "smtp/sealing.h"
#include "smtp/signing.h"
#include "smtp/smtp_groups.h"
#include "smtp/smtp_ways.h"

enum { REPLY_MAX = DELIVERY_REPLY_MAX };

/* What Authentication-Results and the quarantine's record tell is established even where no rule asked for it. may wait */
void smtp_carry_know(struct smtp_session *s)
{
	static const char *const names[] = { "sender", "spf", "dkim", "dmarc", "arc", "client.fcrdns" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		int id = fact_find(names[i], strlen(names[i]));

		if (id != FACT_NONE)
			filters_fact(&s->t->txn, id);
	}
}

static const char *result_word(enum delivery_result result)
{
	return result == DELIVERY_TAKEN ? "accept" : result == DELIVERY_REFUSED ? "backend-refused" :
	       result == DELIVERY_UNKNOWN ? "perhaps-delivered" : "backend-deferred";
}

/* What stands above the body for a group. 0; -errno with the reply. may wait */
static int make_header(struct smtp_session *s, const struct smtp_group *g, struct buf *header, char *reply)
{
	struct smtp_txn *t = s->t;
	const struct policy_run *run = &g->judge[0]->run;

	if (outgoing_header(&t->txn, t->utf8, run->effects, smtp_observing(s) ? 0 : run->effect_count, header) < 0) {
		snprintf(reply, REPLY_MAX, "451 4.3.0 the header could not be made");
		return -ENOSPC;
	}
	if (signing_apply(&t->txn, header) < 0) {
		snprintf(reply, REPLY_MAX, "451 4.3.0 the message could not be signed, try again later");
		return -EIO;
	}
	sealing_apply(&t->txn, t->arrived, t->arrived && milters_new_body(s->milters), header);
	return 0;
}

/*
 * The next hop took the recipients, and is not there any more for the message, of which nothing has gone out: the spool, as it would have been at RCPT. Not where
 * some have it already, by a way of their own.
 */
static bool gone_now(const struct smtp_session *s, const struct smtp_group *g, const char *reply)
{
	const struct smtp_leg *leg = smtp_ways_leg(s, g);

	if (g->result != DELIVERY_LATER || !leg->delivery || !delivery_unreached(leg->delivery) || !smtp_spool_away(s, &leg->route, reply, true))
		return false;
	for (size_t i = 0; i < g->target_count; i++)
		if (!smtp_ways_own(s, g, &g->target[i]))
			return false;
	return true;
}

/* A whole message was not taken: this server's turn comes first for a while (in_turn). */
static void note(const struct smtp_session *s, const struct smtp_group *g)
{
	struct backend_group *behind = route_group(s->svc, s, &smtp_ways_leg(s, g)->route);

	if (behind && g->result != DELIVERY_TAKEN)
		backend_group_refused(behind);
}

static const char *spool_word(const struct smtp_group *g)
{
	return g->result == DELIVERY_TAKEN ? "spool" : "defer";
}

/* One group gets the message. may wait */
static void deliver(struct smtp_session *s, struct smtp_group *g, int64_t until)
{
	struct smtp_txn *t = s->t;
	AUTO(buf) struct buf header = BUF_INIT(outgoing_bound(t->txn.message));
	char reply[REPLY_MAX];

	g->result = DELIVERY_LATER;
	if (make_header(s, g, &header, reply) == 0)
		g->result = smtp_ways_send(s, g, &header, until, reply);
	t->time_ms[SMTP_TIME_DELIVERED] = clock_ms();
	if (gone_now(s, g, reply)) {
		smtp_spool_group(s, g, &header);
		smtp_log_group(s, g, spool_word(g), g->reply, NULL);
		return;
	}
	note(s, g);
	if (g->result == DELIVERY_TAKEN)
		smtp_spool_relayed(s, g);
	smtp_with_id(s, reply, g->reply);
	smtp_log_group(s, g, result_word(g->result), g->reply, NULL);
}

static size_t deliveries(const struct smtp_groups *groups)
{
	size_t n = 0;

	for (size_t i = 0; i < groups->count; i++)
		n += groups->group[i].fate == ACTION_ACCEPT;
	return n;
}

/*
 * Several deliveries: every address is asked for before anybody has the message. Not those of copies, which hold up nobody: with them there
 * could be more than the server behind takes in one transaction, though each delivery has fewer. 0; -errno with the reply. may wait
 */
static int verify(struct smtp_session *s, const struct smtp_groups *groups, struct smtp_leg *leg, int64_t until, char *reply)
{
	struct delivery_target *all;
	size_t count = 0, n = 0;
	int rc;

	for (size_t i = 0; i < groups->count; i++)
		count += groups->group[i].fate == ACTION_ACCEPT ? groups->group[i].target_count : 0;
	all = calloc(count + 1, sizeof(*all));
	if (!all) {
		snprintf(reply, REPLY_MAX, "452 4.3.1 out of memory, try again later");
		return -ENOMEM;
	}
	for (size_t i = 0; i < groups->count; i++) {
		const struct smtp_group *g = &groups->group[i];

		for (size_t k = 0; g->fate == ACTION_ACCEPT && smtp_ways_leg(s, g) == leg && k < g->target_count; k++)
			if (!g->target[k].copy && smtp_ways_own(s, g, &g->target[k]))
				all[n++] = g->target[k];
	}
	if (n > 0)
		smtp_legs_make_room(s, leg, &leg->route);
	rc = n > 0 ? delivery_verify(leg->delivery, all, n, until, reply) : 0;
	free(all);
	return rc;
}

/* Nobody gets anything: what is said to the client is logged for all. */
static const char *none(struct smtp_session *s, struct smtp_groups *groups, const char *verdict, const char *reply)
{
	for (size_t i = 0; i < groups->count; i++) {
		groups->group[i].result = DELIVERY_LATER;
		if (groups->group[i].reply != reply)
			snprintf(groups->group[i].reply, REPLY_MAX, "%s", reply);
		if (groups->group[i].fate != FATE_HAS_IT)
			smtp_log_group(s, &groups->group[i], verdict, reply, NULL);
	}
	return groups->group[0].reply;
}

const char *smtp_carry_none(struct smtp_session *s, struct smtp_groups *groups, const char *reply)
{
	char text[REPLY_MAX];

	return none(s, groups, "defer", smtp_with_id(s, reply, text));
}

/* All of the group were deleted by milters, and others get it. */
static bool nobody_left(struct smtp_session *s, struct smtp_group *g)
{
	if (g->target_count)
		return false;
	smtp_with_id(s, "250 2.0.0 accepted", g->reply);
	smtp_log_group(s, g, "deleted", g->reply, NULL);
	return true;
}

/* Its part is on stable storage before the client hears of it. may wait */
static void spool_one(struct smtp_session *s, struct smtp_group *g)
{
	AUTO(buf) struct buf header = BUF_INIT(outgoing_bound(s->t->txn.message));
	char reply[REPLY_MAX];

	g->result = DELIVERY_LATER;
	if (make_header(s, g, &header, reply) == 0)
		smtp_spool_group(s, g, &header);
	else
		smtp_with_id(s, reply, g->reply);
	s->t->time_ms[SMTP_TIME_DELIVERED] = clock_ms();
	smtp_log_group(s, g, spool_word(g), g->reply, NULL);
}

/* Deliveries by way of the spool. may wait */
static const char *spool_all(struct smtp_session *s, struct smtp_groups *groups, bool each)
{
	for (size_t i = 0; i < groups->count; i++) {
		struct smtp_group *g = &groups->group[i];

		if (g->fate != ACTION_ACCEPT || nobody_left(s, g))
			continue;
		spool_one(s, g);
		if (g->result != DELIVERY_TAKEN && !each)
			return g->reply;
	}
	return NULL;
}

/* The message could not be kept. */
static const char *not_kept(struct smtp_session *s, int rc, struct smtp_group *g)
{
	const char *reply = rc == -ENOSPC ? "452 4.3.1 no space, try again later" : "451 4.3.0 could not be kept, try again later";

	log_error("quarantine-failed", "sid", s->id, "error", strerror(-rc), NULL);
	g->result = DELIVERY_LATER;
	return smtp_with_id(s, reply, g->reply);
}

/* refusal: of the server behind, or NULL: the policy does not let them have it. may wait */
static int keep(struct smtp_session *s, const struct smtp_group *g, int draft, const char *refusal, char id[STORE_ID_MAX])
{
	json_t *record = record_make(&s->t->txn, g->rcpt, g->count, g->judge[0]);
	char *text;
	int rc = -ENOMEM;

	if (record)
		record_add_text(record, s->t->txn.message);
	if (record && refusal)
		record_refused(record, smtp_leg_backend(smtp_ways_leg(s, g)), refusal);
	text = record ? json_whole(record, JSON_COMPACT) : NULL;
	if (text)
		rc = store_keep_draft(s->svc->store, draft, text, id);
	free(text);
	json_decref(record);
	return rc;
}

/* Those whom the policy does not let have it. Not kept: a reply, the client keeps the message. may wait */
static const char *quarantine(struct smtp_session *s, struct smtp_group *g, int draft)
{
	char id[STORE_ID_MAX];
	int rc = keep(s, g, draft, NULL, id);

	if (rc < 0) {
		not_kept(s, rc, g);
		smtp_log_group(s, g, "defer", g->reply, NULL);
		return g->reply;
	}
	smtp_with_id(s, "250 2.0.0 accepted", g->reply);
	smtp_log_group(s, g, "quarantine", NULL, id);
	return NULL;
}

/* The bytes of what is quarantined, in the store without a name yet. -errno: the reply is set. may wait */
static int draft_of(struct smtp_session *s, struct smtp_group *held)
{
	int draft = s->svc->store ? store_draft(s->svc->store, s->t->txn.message) : -EIO;

	if (draft < 0)
		not_kept(s, draft, held);
	return draft;
}

/* Every next hop is asked for its recipients before anybody has the message. NULL: go on; or the reply to all. may wait */
static const char *verify_all(struct smtp_session *s, struct smtp_groups *groups, int64_t until)
{
	char reply[REPLY_MAX], text[REPLY_MAX];

	for (size_t i = 0; i < s->t->leg_count; i++) {
		struct smtp_leg *leg = s->t->leg[i];

		if (!leg->delivery || leg->rcpts == 0 || verify(s, groups, leg, until, reply) == 0)
			continue;
		if (!delivery_unreached(leg->delivery) || !smtp_spool_away(s, &leg->route, reply, true))
			return none(s, groups, "backend-deferred", smtp_with_id(s, reply, text));
		if (route_behind(&leg->route))
			smtp_spool_leg(s, leg, "the next hop has gone");
		else
			smtp_spool_begin(s, "the next hop has gone");
	}
	return NULL;
}

/* When the servers of a group refused a whole message last; 0: never. */
static int64_t refused_ms(const struct smtp_session *s, const struct smtp_group *g)
{
	const struct smtp_leg *leg = smtp_ways_leg(s, g);
	const struct backend_group *behind = leg ? route_group(s->svc, s, &leg->route) : NULL;

	return behind ? backend_group_refused_ms(behind) : 0;
}

/*
 * Who is the most likely to refuse goes first: as long as nobody has the message, the client can be told of a refusal. Groups by turns, place[n] is the nth; those
 * of equal likelihood in the order of their first recipients.
 */
static void in_turn(const struct smtp_session *s, const struct smtp_groups *groups, size_t *place)
{
	for (size_t i = 0; i < groups->count; i++) {
		size_t at = i;

		while (at > 0 && refused_ms(s, &groups->group[i]) > refused_ms(s, &groups->group[place[at - 1]])) {
			place[at] = place[at - 1];
			at--;
		}
		place[at] = i;
	}
}

/* Whether other servers have the message already, so that a refusal for all would be a lie. */
static bool others_have(const struct smtp_session *s, const struct smtp_groups *groups, const struct smtp_group *refused)
{
	for (size_t i = 0; i < groups->rcpt_count; i++) {
		const struct smtp_group *g = &groups->group[groups->of[i]];

		if (s->t->way[i] != refused->way && (g->fate == FATE_HAS_IT || (g->fate == ACTION_ACCEPT && g->result == DELIVERY_TAKEN && g->reply[0])))
			return true;
	}
	return false;
}

/*
 * These servers refuse for good what others have taken. The client could not be told of some recipients alone, and a bounce of ours could go to who never wrote:
 * their part is kept in the quarantine, with the reason. may wait
 */
static void hold_refused(struct smtp_session *s, struct smtp_group *g)
{
	char id[STORE_ID_MAX], refusal[REPLY_MAX];
	int draft = draft_of(s, g), rc;

	if (draft < 0)
		return;                 /* 4xx: who has it is in the ledger, and the retry is for these */
	memcpy(refusal, g->reply, sizeof(refusal));
	rc = keep(s, g, draft, refusal, id);
	close(draft);
	if (rc < 0) {
		not_kept(s, rc, g);
		return;
	}
	log_warning("refused-by-some", "tx", s->t->txn.id, "backend", smtp_leg_backend(smtp_ways_leg(s, g)), "quarantine", id, "reply", refusal, NULL);
	g->result = DELIVERY_TAKEN;
	smtp_with_id(s, "250 2.0.0 accepted", g->reply);
	smtp_log_group(s, g, "quarantine", refusal, id);
}

/* Each delivery; if not each for itself, up to the first that fails: its reply, or NULL. may wait */
static const char *deliver_all(struct smtp_session *s, struct smtp_groups *groups, bool each)
{
	int64_t until = s->t->txn.answer_by_ms;
	const char *failed = NULL;
	size_t *place;

	if (!each && deliveries(groups) > 1)
		failed = verify_all(s, groups, until);
	if (failed)
		return failed;
	if (s->t->spooled)
		return spool_all(s, groups, each);
	place = calloc(groups->count, sizeof(*place));
	if (!place)
		return none(s, groups, "defer", "452 4.3.1 out of memory, try again later");
	in_turn(s, groups, place);
	for (size_t i = 0; i < groups->count && !failed; i++) {
		struct smtp_group *g = &groups->group[place[i]];

		if (g->fate != ACTION_ACCEPT || nobody_left(s, g))
			continue;
		if (smtp_ways_leg(s, g)->spooled)
			spool_one(s, g);
		else
			deliver(s, g, until);
		if (g->result == DELIVERY_REFUSED && !each && others_have(s, groups, g))
			hold_refused(s, g);
		if (g->result != DELIVERY_TAKEN && !each)
			failed = g->reply;
	}
	free(place);
	return failed;
}

/* Who has it already is told so, and gets nothing. */
static void skip(struct smtp_session *s, struct smtp_group *g)
{
	smtp_with_id(s, "250 2.0.0 accepted", g->reply);
	smtp_log_group(s, g, "accept", g->reply, NULL);
}

static void discard(struct smtp_session *s, struct smtp_group *g)
{
	smtp_with_id(s, "250 2.0.0 accepted", g->reply);
	smtp_log_group(s, g, "discard", g->reply, NULL);
}

/* Those whom the policy refuses or defers while others get it: the client is told of each. */
static void log_refused(struct smtp_session *s, const struct smtp_groups *groups)
{
	for (size_t i = 0; i < groups->count; i++)
		if (groups->group[i].fate == ACTION_REJECT || groups->group[i].fate == ACTION_DEFER)
			smtp_log_group(s, &groups->group[i], NULL, NULL, NULL);
}

/*
 * Some get it, others have it quarantined: never dropped, never bounced. Its bytes are in the store before anybody gets it: with a full
 * disk the client would come again for days, and deliver each time. They get their name only when the backend has taken its part: one
 * that defers would have a copy more kept at each attempt.
 */
const char *smtp_carry_out(struct smtp_session *s, struct smtp_groups *groups, bool each)
{
	struct smtp_group *held = smtp_groups_find(groups, ACTION_QUARANTINE), *thrown = smtp_groups_find(groups, ACTION_DISCARD),
			  *had = smtp_groups_find(groups, FATE_HAS_IT);
	const char *failed = NULL;
	int draft = -1;

	smtp_carry_know(s);
	if (held) {
		draft = draft_of(s, held);
		if (draft < 0 && !each)
			return none(s, groups, "defer", held->reply);
		if (draft < 0)
			smtp_log_group(s, held, "defer", held->reply, NULL);
	}
	if (deliveries(groups))
		failed = s->t->spooled ? spool_all(s, groups, each) : deliver_all(s, groups, each);
	if (draft >= 0 && !failed)
		failed = quarantine(s, held, draft);
	if (had && (!failed || each))
		skip(s, had);
	if (thrown && (!failed || each))
		discard(s, thrown);
	if (each)
		log_refused(s, groups);
	if (draft >= 0)
		close(draft);
	return each ? NULL : failed;
}
