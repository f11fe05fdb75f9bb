/* The message is complete: every recipient is judged, and the client is told what became of it. */
#include "smtp/smtp_session.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/load.h"
#include "filters/filter.h"
#include "filters/known.h"
#include "hop/backend.h"
#include "policy/greylist.h"
#include "policy/history_channel.h"
#include "policy/recent.h"
#include "policy/state.h"
#include "smtp/smtp_groups.h"
#include "smtp/trace.h"

enum { REPLY_MAX = DELIVERY_REPLY_MAX, DKIM_LEARNT = 4, SEEN_LIFE_S = 36 * 86400, LEARN_AGAIN_MS = 3600 * 1000, OURS_BOTH_WAYS = 3 };

static const char out_of_memory[] = "452 4.3.1 out of memory, try again later";

/* Refusals that need no policy: what went wrong while it came, loops, 8-bit where it is not taken. NULL: none. */
static const char *plain_refusal(struct smtp_session *s)
{
	struct smtp_txn *t = s->t;
	const struct site *site = s->svc->site;
	struct smtp_caps caps;

	if (t->receive_reply)
		return t->receive_reply;
	switch (trace_check(t->txn.message, site->hostname, site->limits.hops, site->relay_network_count ? OURS_BOTH_WAYS : 1)) {
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

/*
 * What an aggregate report tells (RFC 9990) is established of each message from outside, whether a rule asks or not: the record of the history has it then. Its
 * lookups began with the header. A retry of what some have already was counted when they got it. may wait
 */
static void establish(struct smtp_session *s)
{
	struct smtp_txn *t = s->t;

	if (s->svc->site->rua.send && s->svc->history && s->svc->history->records && !s->client.relay && !t->earlier)
		filters_fact(&t->txn, fact_find("dmarc", strlen("dmarc")));
}

/* A retry of what all have already needs no verdict: it is delivered, and a refusal now would be a lie. may wait */
static void judge_all(struct smtp_session *s)
{
	struct smtp_txn *t = s->t;

	t->txn.stage = STAGE_DATA;
	t->earlier = ledger_find(&s->svc->ledger, &t->txn);
	for (size_t i = 0; i < t->txn.env.rcpt_count && !(t->earlier && t->earlier->all); i++)
		judge_step(&t->judge[i], JUDGE_FINAL);
	establish(s);
	t->time_ms[SMTP_TIME_CHECKED] = clock_ms();
}

/* Remember what passed: DKIM domains of this network for the greylist, and the network itself for the banner's delay. may wait */
static void learn(struct smtp_session *s)
{
	const struct site *site = s->svc->site;
	const struct fact *f = facts_get_name(&s->t->txn.evidence.facts, "dkim.pass_domains");
	char network[NET_TEXT_MAX];

	const struct client *c = s->t->txn.client;

	/* Of a relayed message it is the client whose mail has passed, where that is known. */
	if (s->svc->load_shared && !c->relay && c->addr.family)
		load_know(s->svc->load_shared, &c->addr);
	if (!s->svc->state || c->relay || !c->addr.family)
		return;
	net_network_text(&c->addr, site->greylist.v4_bits, site->greylist.v6_bits, network);
	for (size_t i = 0; f && f->state == FACT_KNOWN && i < f->count && i < DKIM_LEARNT; i++)
		if (!recent_note(s->svc->recent, network, f->text[i], LEARN_AGAIN_MS))
			greylist_dkim_seen(s->svc->state, &site->greylist, &c->addr, f->text[i]);
	if (site->banner_delay_ms > 0 && !s->t->origin && !recent_note(s->svc->recent, network, "seen", LEARN_AGAIN_MS)) {
		struct state_op op = { .verb = STATE_TOUCH, .ttl_s = SEEN_LIFE_S };

		smtp_seen_key(s, &op);
		state_run(s->svc->state, &op, 1);
	}
}

/* Whom a user of ours has written to is known from now on. may wait */
static void learn_recipients(struct smtp_session *s, const struct smtp_groups *groups)
{
	if (!s->client.relay)
		return;
	for (size_t i = 0; i < groups->count; i++) {
		const struct smtp_group *g = &groups->group[i];

		if (g->fate == ACTION_ACCEPT && g->result == DELIVERY_TAKEN)
			known_learn(s->svc->state, s->svc->recent, s->svc->site->known_s, g->rcpt, g->count);
	}
}

/* No rule had a part in it. */
static int refuse_plainly(struct smtp_session *s, const char *reply)
{
	const struct envelope *env = &s->t->txn.env;
	const struct recipient **all = calloc(env->rcpt_count, sizeof(*all));
	char text[REPLY_MAX];
	struct smtp_verdict_line line = {
		.verdict = reply[0] == '5' ? "reject" : "defer", .reply = smtp_with_id(s, reply, text), .rcpt = all, .rcpt_count = env->rcpt_count,
	};

	if (!all)
		return smtp_say(s, out_of_memory);
	for (size_t i = 0; i < env->rcpt_count; i++)
		all[i] = &env->rcpt[i];
	smtp_log_verdict(s, &line);
	free(all);
	return reply[0] == '5' ? smtp_refuse(s, text) : smtp_say(s, text);
}

/* All hear the same: the first of that fate speaks for them. */
static int refuse_all(struct smtp_session *s, const struct smtp_groups *groups, int fate)
{
	const struct verdict *v = &smtp_groups_find(groups, fate)->judge[0]->verdict;
	char text[REPLY_MAX];

	smtp_with_id(s, v->reply, text);
	for (size_t i = 0; i < groups->count; i++) {
		const struct smtp_group *g = &groups->group[i];

		/* Those who would have got it wait with the others. */
		smtp_log_group(s, g, fate == ACTION_DEFER && v->greylisted && g->fate == fate ? "greylist" : action_name(fate), text, NULL);
	}
	return text[0] == '5' ? smtp_refuse(s, text) : smtp_say(s, text);
}

/* The reply to a message of which all had their part: the backend's, if it has it. */
static const char *success(const struct smtp_groups *groups)
{
	for (size_t i = 0; i < groups->count; i++)
		if (groups->group[i].fate == ACTION_ACCEPT)
			return groups->group[i].reply;
	return groups->group[0].reply;
}

/* Who has the message, from the server behind, now or from an earlier attempt: NULL if nobody has, or for want of memory. */
static bool *who_has_it(const struct smtp_groups *groups, bool *delivered)
{
	bool *has = calloc(groups->rcpt_count, sizeof(*has)), any = false;

	*delivered = false;
	for (size_t i = 0; has && i < groups->rcpt_count; i++) {
		const struct smtp_group *g = &groups->group[groups->of[i]];

		has[i] = g->fate == FATE_HAS_IT || (g->fate == ACTION_ACCEPT && g->result == DELIVERY_TAKEN && g->reply[0]);
		any |= has[i];
		*delivered |= has[i] && g->fate == ACTION_ACCEPT;
	}
	if (any)
		return has;
	free(has);
	return NULL;
}

static int act(struct smtp_session *s, struct smtp_groups *groups, bool each)
{
	const char *failed = smtp_milter_change(s, groups);
	bool delivered, early;
	int rc;

	if (!failed)
		failed = smtp_carry_out(s, groups, each);
	smtp_milter_restore(s);

	s->t->has = who_has_it(groups, &delivered);
	/* The client comes again for all: those who have it are skipped then. */
	if (failed && failed[0] == '4' && s->t->has)
		smtp_answer_partial(s);
	if (!failed && s->t->earlier)
		ledger_forget(&s->svc->ledger, &s->t->txn, s->t->earlier);
	early = !failed && s->t->has && stream_spoken_to(s->stream);
	rc = each ? smtp_prdr_say(s, groups) : smtp_say(s, failed ? failed : success(groups));
	if (failed || !s->t->has)
		return rc;
	if (rc == 0)
		rc = stream_flush(s->stream, s->svc->site->timeouts.command_ms);
	if (rc == 0 && delivered) {
		learn(s);
		learn_recipients(s, groups);
	}
	smtp_answer_await(s, early);
	return rc;
}

/* Who is refused while others are not has it quarantined: the client cannot be told of one alone. */
static void spare_from_bounces(int *fate, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (fate[i] == ACTION_REJECT)
			fate[i] = ACTION_QUARANTINE;
}

/* Those who have it from an earlier attempt get nothing, whatever their verdict would be now. */
static void spare_from_duplicates(const struct ledger_entry *earlier, int *fate, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (earlier->has[i])
			fate[i] = FATE_HAS_IT;
}

static void count_fates(const int *fate, size_t rcpts, size_t count[FATE_HAS_IT + 1])
{
	memset(count, 0, (FATE_HAS_IT + 1) * sizeof(*count));
	for (size_t i = 0; i < rcpts; i++)
		count[fate[i]]++;
}

/* What is to be done for each recipient: its verdict, or in observe mode always delivery. */
static void read_fates(const struct smtp_session *s, int *fate)
{
	for (size_t i = 0; i < s->t->txn.env.rcpt_count; i++)
		fate[i] = smtp_observing(s) ? ACTION_ACCEPT : s->t->judge[i].verdict.action;
}

int smtp_judge_message(struct smtp_session *s)
{
	struct smtp_txn *t = s->t;
	size_t rcpts = t->txn.env.rcpt_count, count[FATE_HAS_IT + 1];
	AUTO(smtp_groups) struct smtp_groups groups = { 0 };
	bool each = t->prdr && rcpts > 1;       /* PRDR: each can be told its own */
	const char *refusal;
	int *fate, rc;

	t->time_ms[SMTP_TIME_RECEIVED] = clock_ms();
	txn_limit(&t->txn, t->time_ms[SMTP_TIME_RECEIVED], s->svc->site->timeouts.dot_budget_ms);
	refusal = plain_refusal(s);
	if (refusal)
		return refuse_plainly(s, refusal);
	fate = calloc(rcpts, sizeof(*fate));
	if (!fate)
		return smtp_say(s, out_of_memory);
	judge_all(s);
	read_fates(s, fate);
	if (t->earlier)
		spare_from_duplicates(t->earlier, fate, rcpts);
	count_fates(fate, rcpts, count);
	if (!each && !count[ACTION_DEFER] && count[ACTION_REJECT] < rcpts)
		spare_from_bounces(fate, rcpts);
	rc = smtp_groups_make(t->judge, fate, t->spooled ? NULL : t->way, rcpts, smtp_observing(s), &groups);
	free(fate);
	if (rc < 0)
		return smtp_say(s, out_of_memory);
	if (each)
		return act(s, &groups, true);
	if (count[ACTION_DEFER])
		return refuse_all(s, &groups, ACTION_DEFER);
	if (count[ACTION_REJECT] == rcpts)
		return refuse_all(s, &groups, ACTION_REJECT);
	return act(s, &groups, false);
}
