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
#include "policy/record.h"
#include "policy/store.h"
#include "smtp/outgoing.h"
#include "smtp/signing.h"
#include "smtp/smtp_groups.h"
#include "smtp/smtp_ways.h"

enum { REPLY_MAX = DELIVERY_REPLY_MAX };

/* What Authentication-Results and the quarantine's record tell is established even where no rule asked for it. may wait */
static void know_for_header(struct smtp_session *s)
{
	static const char *const names[] = { "spf", "dkim", "dmarc", "client.fcrdns" };

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
	return 0;
}

/*
 * The next hop took the recipients, and is not there any more for the message, of which nothing has gone out: the spool, as it would have been at RCPT. Not where
 * some have it already, by a way of their own.
 */
static bool gone_now(const struct smtp_session *s, const struct smtp_group *g, const char *reply)
{
	if (g->result != DELIVERY_LATER || !s->t->delivery || !delivery_unreached(s->t->delivery) || !smtp_spool_away(s, reply, true))
		return false;
	for (size_t i = 0; i < g->target_count; i++)
		if (!smtp_ways_own(s, &g->target[i]))
			return false;
	return true;
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
static int verify(struct smtp_session *s, const struct smtp_groups *groups, int64_t until, char *reply)
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
	for (size_t i = 0; i < groups->count; i++)
		for (size_t k = 0; groups->group[i].fate == ACTION_ACCEPT && k < groups->group[i].target_count; k++)
			if (!groups->group[i].target[k].copy && smtp_ways_own(s, &groups->group[i].target[k]))
				all[n++] = groups->group[i].target[k];
	rc = n > 0 ? delivery_verify(s->t->delivery, all, n, until, reply) : 0;
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

/* Deliveries by way of the spool: each group's part is on stable storage before the client hears of it. may wait */
static const char *spool_all(struct smtp_session *s, struct smtp_groups *groups, bool each)
{
	for (size_t i = 0; i < groups->count; i++) {
		struct smtp_group *g = &groups->group[i];
		AUTO(buf) struct buf header = BUF_INIT(outgoing_bound(s->t->txn.message));
		char reply[REPLY_MAX];

		if (g->fate != ACTION_ACCEPT)
			continue;
		g->result = DELIVERY_LATER;
		if (make_header(s, g, &header, reply) == 0)
			smtp_spool_group(s, g, &header);
		else
			smtp_with_id(s, reply, g->reply);
		s->t->time_ms[SMTP_TIME_DELIVERED] = clock_ms();
		smtp_log_group(s, g, spool_word(g), g->reply, NULL);
		if (g->result != DELIVERY_TAKEN && !each)
			return g->reply;
	}
	return NULL;
}

/* Each delivery; if not each for itself, up to the first that fails: its reply, or NULL. may wait */
static const char *deliver_all(struct smtp_session *s, struct smtp_groups *groups, bool each)
{
	int64_t until = delivery_until(s->t->delivery);
	char reply[REPLY_MAX], text[REPLY_MAX];

	if (!each && deliveries(groups) > 1 && verify(s, groups, until, reply) < 0) {
		if (delivery_unreached(s->t->delivery) && smtp_spool_away(s, reply, true))
			return spool_all(s, groups, each);
		return none(s, groups, "backend-deferred", smtp_with_id(s, reply, text));
	}
	for (size_t i = 0; i < groups->count; i++) {
		struct smtp_group *g = &groups->group[i];

		if (g->fate != ACTION_ACCEPT)
			continue;
		deliver(s, g, until);
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

/* may wait */
static int keep(struct smtp_session *s, const struct smtp_group *g, int draft, char id[STORE_ID_MAX])
{
	json_t *record = record_make(&s->t->txn, g->rcpt, g->count, g->judge[0]);
	char *text;
	int rc = -ENOMEM;

	if (record)
		record_add_text(record, s->t->txn.message);
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
	int rc = keep(s, g, draft, id);

	if (rc < 0) {
		not_kept(s, rc, g);
		smtp_log_group(s, g, "defer", g->reply, NULL);
		return g->reply;
	}
	smtp_with_id(s, "250 2.0.0 accepted", g->reply);
	smtp_log_group(s, g, "quarantine", NULL, id);
	return NULL;
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

/* The bytes of what is quarantined, in the store without a name yet. -errno: the reply is set. may wait */
static int draft_of(struct smtp_session *s, struct smtp_group *held)
{
	int draft = s->svc->store ? store_draft(s->svc->store, s->t->txn.message) : -EIO;

	if (draft < 0)
		not_kept(s, draft, held);
	return draft;
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

	know_for_header(s);
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
