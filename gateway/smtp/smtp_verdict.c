/* The message is complete: every recipient is judged, and the message delivered, quarantined, deferred or refused. */
#include "smtp/smtp_session.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "filters/filter.h"
#include "policy/greylist.h"
#include "policy/recent.h"
#include "policy/record.h"
#include "policy/state.h"
#include "policy/store.h"
#include "smtp/backend.h"
#include "smtp/delivery.h"
#include "smtp/outgoing.h"
#include "smtp/trace.h"

enum { REPLY_MAX = DELIVERY_REPLY_MAX, DKIM_LEARNT = 4, SEEN_LIFE_S = 36 * 86400, LEARN_AGAIN_MS = 3600 * 1000 };

/* Recipients that share one fate. */
struct group {
	const struct recipient **rcpt;
	struct judge **judge;
	size_t count;
};

static void group_release(struct group *g)
{
	free(g->rcpt);
	free(g->judge);
}

static void group_cleanup(struct group *g)
{
	group_release(g);
}

/* What is done for a recipient: its verdict, or in observe mode always delivery. */
static enum action fate(const struct smtp_session *s, const struct judge *j)
{
	return smtp_observing(s) ? ACTION_ACCEPT : j->verdict.action;
}

static int group_init(struct group *g, size_t max)
{
	g->rcpt = calloc(max ? max : 1, sizeof(*g->rcpt));
	g->judge = calloc(max ? max : 1, sizeof(*g->judge));
	g->count = 0;
	return g->rcpt && g->judge ? 0 : -ENOMEM;
}

static void group_add(struct group *g, struct judge *j)
{
	g->rcpt[g->count] = j->rcpt;
	g->judge[g->count++] = j;
}

/* Everybody whose fate is among the bits of actions. */
static int group_of(struct smtp_session *s, unsigned actions, struct group *g)
{
	struct smtp_txn *t = s->t;

	if (group_init(g, t->txn.env.rcpt_count) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < t->txn.env.rcpt_count; i++)
		if (actions & 1u << fate(s, &t->judge[i]))
			group_add(g, &t->judge[i]);
	return 0;
}

/* One line for each distinct rule among the group. */
static void log_group(struct smtp_session *s, const struct group *g, const char *verdict, const char *reply, const char *quarantine_id)
{
	AUTO(group) struct group same;

	if (group_init(&same, g->count) < 0)
		return;
	for (size_t i = 0; i < g->count; i++) {
		const struct rule *rule = g->judge[i]->verdict.rule;
		bool first = true;

		for (size_t k = 0; k < i; k++)
			if (g->judge[k]->verdict.rule == rule)
				first = false;
		if (!first)
			continue;
		same.count = 0;
		for (size_t k = i; k < g->count; k++)
			if (g->judge[k]->verdict.rule == rule)
				group_add(&same, g->judge[k]);
		const struct verdict *v = &g->judge[i]->verdict;
		struct smtp_verdict_line line = {
			.verdict = verdict, .v = v, .reply = reply, .quarantine_id = quarantine_id, .judge = g->judge[i],
			.backend = s->t->delivery ? delivery_backend(s->t->delivery) : NULL,
			.would = smtp_observing(s) && v->action != ACTION_ACCEPT ? (v->greylisted ? "greylist" : action_name(v->action)) : NULL,
			.rcpt = same.rcpt, .rcpt_count = same.count,
		};
		smtp_log_verdict(s, &line);
	}
}

/* Refusals that need no policy: what went wrong while it came, loops, 8-bit where it is not taken. NULL: none. */
static const char *plain_refusal(struct smtp_session *s)
{
	struct smtp_txn *t = s->t;
	const struct site *site = s->svc->site;
	struct smtp_caps caps;

	if (t->receive_reply)
		return t->receive_reply;
	switch (trace_check(t->txn.message, site->hostname, site->limits.hops)) {
	case TRACE_LOOP:
		return "554 5.4.6 mail loop: this message has been here before";
	case TRACE_TOO_MANY_HOPS:
		return "554 5.4.6 too many hops";
	default:
		break;
	}
	smtp_offered(s, &caps);
	/* Said for good here: as a MAIL that is refused when it is said again it would be 451, for days. */
	if (message_size(t->txn.message) > smtp_size_max(s, &caps))
		return "552 5.3.4 the message is larger than the mail server behind takes";
	if (!caps.eightbit && !site->eightbit_pass && message_has_8bit(t->txn.message))
		return "554 5.6.3 8-bit content, and the mail server behind takes none";
	if (t->bdat && site->bare_lf == BARE_REFUSE && message_has_bare(t->txn.message) && !caps.chunking)
		return "550 5.6.11 the message has a CR or LF alone, refused here";
	return NULL;
}

static void judge_all(struct smtp_session *s)
{
	struct smtp_txn *t = s->t;

	t->txn.stage = STAGE_DATA;
	for (size_t i = 0; i < t->txn.env.rcpt_count; i++)
		judge_step(&t->judge[i], JUDGE_FINAL);
	t->time_ms[SMTP_TIME_CHECKED] = clock_ms();
}

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

static int finish(struct smtp_session *s, const struct group *g, const char *verdict, const char *reply)
{
	char text[REPLY_MAX];

	assert(reply);
	smtp_with_id(s, reply, text);
	log_group(s, g, verdict, text, NULL);
	return reply[0] == '5' ? smtp_refuse(s, text) : smtp_say(s, text);
}

static enum delivery_result deliver(struct smtp_session *s, const struct group *g, char *reply)
{
	struct smtp_txn *t = s->t;
	AUTO(buf) struct buf header = BUF_INIT(outgoing_bound(t->txn.message));
	const struct policy_run *run = &g->judge[0]->run;
	enum delivery_result result;

	if (outgoing_header(&t->txn, t->utf8, run->effects, smtp_observing(s) ? 0 : run->effect_count, &header) < 0) {
		snprintf(reply, REPLY_MAX, "451 4.3.0 the header could not be made");
		return DELIVERY_LATER;
	}
	result = delivery_send(t->delivery, g->rcpt, g->count, &header, reply);
	t->time_ms[SMTP_TIME_DELIVERED] = clock_ms();
	return result;
}

/* may wait */
static int quarantine(struct smtp_session *s, const struct group *g, int draft, char id[STORE_ID_MAX])
{
	json_t *record = record_make(&s->t->txn, g->rcpt, g->count, g->judge[0]);
	char *text;
	int rc = -ENOMEM;

	if (record)
		record_add_text(record, s->t->txn.message);
	text = record ? json_dumps(record, JSON_COMPACT) : NULL;
	if (text)
		rc = store_keep_draft(s->svc->store, draft, text, id);
	free(text);
	json_decref(record);
	return rc;
}

/* The message could not be kept. */
static void not_kept(struct smtp_session *s, int rc, char *reply)
{
	snprintf(reply, REPLY_MAX, rc == -ENOSPC ? "452 4.3.1 no space, try again later" : "451 4.3.0 could not be kept, try again later");
	log_error("quarantine-failed", "sid", s->id, "error", strerror(-rc), NULL);
}

/* Those whom the policy does not let have it. Not kept: the client keeps it, and whoever had it may get it twice. */
static int quarantine_group(struct smtp_session *s, const struct group *g, int draft, char *reply)
{
	char id[STORE_ID_MAX];
	int rc = quarantine(s, g, draft, id);

	if (rc < 0) {
		not_kept(s, rc, reply);
		log_group(s, g, "defer", reply, NULL);
		return rc;
	}
	log_group(s, g, "quarantine", NULL, id);
	return 0;
}

/* Remember what passed: DKIM domains of this network for the greylist, and the network itself for the banner's delay. may wait */
static void learn(struct smtp_session *s)
{
	const struct site *site = s->svc->site;
	const struct fact *f = facts_get_name(&s->t->txn.evidence.facts, "dkim.pass_domains");
	char network[NET_TEXT_MAX];

	if (!s->svc->state)
		return;
	net_network_text(&s->client.addr, site->greylist.v4_bits, site->greylist.v6_bits, network);
	for (size_t i = 0; f && f->state == FACT_KNOWN && i < f->count && i < DKIM_LEARNT; i++)
		if (!recent_note(s->svc->recent, network, f->text[i], LEARN_AGAIN_MS))
			greylist_dkim_seen(s->svc->state, &site->greylist, &s->client.addr, f->text[i]);
	if (site->banner_delay_ms > 0 && !recent_note(s->svc->recent, network, "seen", LEARN_AGAIN_MS)) {
		struct state_op op = { .verb = STATE_TOUCH, .ttl_s = SEEN_LIFE_S };

		smtp_seen_key(s, &op);
		state_run(s->svc->state, &op, 1);
	}
}

static enum delivery_result deliver_group(struct smtp_session *s, const struct group *take, char *reply, char *text)
{
	enum delivery_result result = deliver(s, take, reply);

	smtp_with_id(s, reply, text);
	log_group(s, take, result == DELIVERY_TAKEN ? "accept" : result == DELIVERY_REFUSED ? "backend-refused" :
		  result == DELIVERY_UNKNOWN ? "perhaps-delivered" : "backend-deferred", text, NULL);
	return result;
}

/* draft: the message in the store, without a name yet; -1 if it is not to be kept for anybody. */
static int deliver_and_keep(struct smtp_session *s, const struct group *take, const struct group *hold, int draft)
{
	enum delivery_result result = DELIVERY_TAKEN;
	char reply[REPLY_MAX] = "250 2.0.0 accepted", text[REPLY_MAX];
	int rc;

	smtp_with_id(s, reply, text);
	if (take->count)
		result = deliver_group(s, take, reply, text);
	if (result == DELIVERY_TAKEN && hold->count && quarantine_group(s, hold, draft, reply) < 0)
		return smtp_say(s, reply);
	rc = smtp_say(s, text);
	if (rc == 0 && take->count && result == DELIVERY_TAKEN) {
		rc = stream_flush(s->stream, s->svc->site->timeouts.command_ms);
		learn(s);
	}
	return rc;
}

/*
 * Some get it, the others have it quarantined: never dropped, never bounced. Its bytes are in the store before anybody gets it: with a full
 * disk the client would come again for days, and deliver each time. They get their name only when the backend has taken its part: one
 * that defers would have a copy more kept at each attempt.
 */
static int deliver_and_quarantine(struct smtp_session *s, const struct group *take, const struct group *hold)
{
	char reply[REPLY_MAX];
	int draft = -1, rc;

	know_for_header(s);
	if (hold->count) {
		draft = s->svc->store ? store_draft(s->svc->store, s->t->txn.message) : -EIO;
		if (draft < 0) {
			not_kept(s, draft, reply);
			log_group(s, hold, "defer", reply, NULL);
			log_group(s, take, "defer", reply, NULL);
			return smtp_say(s, reply);
		}
	}
	rc = deliver_and_keep(s, take, hold, draft);
	if (draft >= 0)
		close(draft);
	return rc;
}

/* No rule had a part in it. */
static int refuse_plainly(struct smtp_session *s, const char *reply)
{
	AUTO(group) struct group all = { 0 };
	char text[REPLY_MAX];
	struct smtp_verdict_line line = { .verdict = reply[0] == '5' ? "reject" : "defer", .reply = smtp_with_id(s, reply, text) };

	if (group_init(&all, s->t->txn.env.rcpt_count) < 0)
		return smtp_say(s, "452 4.3.1 out of memory, try again later");
	for (size_t i = 0; i < s->t->txn.env.rcpt_count; i++)
		group_add(&all, &s->t->judge[i]);
	line.rcpt = all.rcpt;
	line.rcpt_count = all.count;
	smtp_log_verdict(s, &line);
	return reply[0] == '5' ? smtp_refuse(s, text) : smtp_say(s, text);
}

int smtp_judge_message(struct smtp_session *s)
{
	const unsigned ACCEPT = 1u << ACTION_ACCEPT, REJECT = 1u << ACTION_REJECT, DEFER = 1u << ACTION_DEFER, HOLD = 1u << ACTION_QUARANTINE;
	AUTO(group) struct group take = { 0 }, hold = { 0 }, reject = { 0 }, defer = { 0 };
	const char *refusal;
	int rc;

	s->t->time_ms[SMTP_TIME_RECEIVED] = clock_ms();
	refusal = plain_refusal(s);
	if (refusal)
		return refuse_plainly(s, refusal);
	judge_all(s);
	if (group_of(s, DEFER, &defer) < 0 || group_of(s, ACCEPT, &take) < 0 || group_of(s, REJECT, &reject) < 0 ||
	    group_of(s, HOLD | REJECT, &hold) < 0)
		return smtp_say(s, "452 4.3.1 out of memory, try again later");
	if (defer.count) {
		const struct verdict *v = &defer.judge[0]->verdict;

		rc = finish(s, &defer, v->greylisted ? "greylist" : "defer", v->reply);
		log_group(s, &take, "defer", v->reply, NULL);   /* they wait with them */
		log_group(s, &hold, "defer", v->reply, NULL);
		return rc;
	}
	if (reject.count == s->t->txn.env.rcpt_count)
		return finish(s, &reject, "reject", reject.judge[0]->verdict.reply);
	return deliver_and_quarantine(s, &take, &hold);
}
