/* The lines that tell what became of a message. */
#include "smtp/smtp_session.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "filters/boundary.h"
#include "policy/record.h"
#include "smtp/smtp_groups.h"
#include "smtp/smtp_history.h"
#include "smtp/smtp_ways.h"

enum { LIST_MAX = 2048, FACTS_MAX = 1024, NAMED_RCPTS = 20 };

static void add_recipients(struct log_line *l, const struct recipient *const *rcpt, size_t count)
{
	AUTO(buf) struct buf list = BUF_INIT(LIST_MAX);

	for (size_t i = 0; i < count && i < NAMED_RCPTS; i++)
		buf_addf(&list, "%s<%s>", i ? "," : "", rcpt[i]->address);
	log_str(l, "to", buf_str(&list));
	if (count > 1)
		log_num(l, "rcpts", (int64_t)count);
}

static void add_message(struct log_line *l, const struct smtp_txn *t)
{
	const struct header_field *h = t->txn.message ? message_find(t->txn.message, "Message-ID", 0) : NULL;

	if (h) {
		size_t n;
		const char *id = header_field_text(h, &n);

		log_bytes(l, "msgid", id, n);
	}
	if (t->received)
		log_num(l, "bytes", (int64_t)t->received);
}

/* What rules on trial would have done. */
static void add_observed(struct log_line *l, const struct judge *j)
{
	AUTO(buf) struct buf names = BUF_INIT(FACTS_MAX);

	for (size_t i = 0; j && i < j->run.observed_count; i++)
		buf_addf(&names, "%s%s: %s", i ? ", " : "", j->run.observed[i]->name, action_name(j->run.observed[i]->action));
	log_str(l, "observed", names.len ? buf_str(&names) : NULL);
}

/* The arguments of all effects of one kind, joined. */
static void add_effects(struct log_line *l, const struct policy_run *run, enum action action, const char *key, const char *between)
{
	AUTO(buf) struct buf text = BUF_INIT(LIST_MAX);

	for (size_t i = 0; i < run->effect_count; i++)
		if (run->effects[i]->action == action)
			buf_addf(&text, "%s%s", text.len ? between : "", run->effects[i]->argument);
	if (text.len)
		log_str(l, key, buf_str(&text));
}

/* Where else the message goes, and what the policy has to say of it. */
static void add_actions(struct log_line *l, const struct smtp_session *s, const struct judge *j)
{
	if (!j)
		return;
	if (j->verdict.action == ACTION_ACCEPT && !smtp_observing(s)) {
		log_str(l, "redirect", smtp_redirect(j));
		add_effects(l, &j->run, ACTION_COPY, "copy", ",");
	}
	add_effects(l, &j->run, ACTION_LOG, "note", "; ");
}

static void add_policy(struct log_line *l, struct smtp_session *s, const struct smtp_verdict_line *line)
{
	AUTO(buf) struct buf facts = BUF_INIT(RECORD_BRIEF_MAX);
	const struct verdict *v = line->v;

	if (v && v->rule)
		log_str(l, "rule", v->rule->name);
	if (line->judge) {
		const struct fact *score = facts_get_name(&line->judge->facts, "score");

		if (score && score->state == FACT_KNOWN)
			log_num(l, "score", score->number);
	}
	if (v && v->temporary_fact != FACT_NONE)
		log_str(l, "temperror", fact_def(v->temporary_fact)->name);
	add_observed(l, line->judge);
	record_facts_brief(&s->t->txn, line->judge, &facts);
	if (facts.len)
		log_str(l, "facts", buf_str(&facts));
}

static void add_who(struct log_line *l, struct smtp_session *s)
{
	const struct client *c = s->t ? s->t->txn.client : &s->client;

	log_str(l, "sid", s->id);
	log_num(l, "tx", s->t ? s->t->number : s->transactions);
	log_str(l, "client", c->ip[0] ? c->ip : NULL);
	log_str(l, "relay", c->via ? c->via->ip : NULL);
	log_str(l, "boundary", c->via ? boundary_word(c) : NULL);
	log_str(l, "helo", c->helo);
	log_str(l, "user", s->client.auth_user && s->client.auth_user[0] ? s->client.auth_user : NULL);
	if (s->t) {
		AUTO(buf) struct buf from = BUF_INIT(600);

		buf_addf(&from, "<%s>", s->t->arrived_from ? s->t->arrived_from : s->t->txn.env.from);
		log_str(l, "from", buf_str(&from));
	}
}

/* Milliseconds that each part took: until the end of the data, for the checks, at the backend; then all since MAIL. */
static void add_timings(struct log_line *l, const struct smtp_txn *t)
{
	static const char *const names[SMTP_TIMES] = { "ms.data", "ms.checks", "ms.backend" };
	int64_t before = t->start_ms;

	for (int i = 0; i < SMTP_TIMES; i++) {
		if (!t->time_ms[i])
			continue;
		log_num(l, names[i], t->time_ms[i] - before);
		before = t->time_ms[i];
	}
	log_num(l, "ms", clock_ms() - t->start_ms);
}

void smtp_log_verdict(struct smtp_session *s, const struct smtp_verdict_line *line)
{
	struct log_line l;

	log_start(&l, LOG_LEVEL_NOTICE, NULL);
	log_str(&l, "verdict", line->verdict);
	if (line->would)
		log_str(&l, "would", line->would);
	add_policy(&l, s, line);
	add_who(&l, s);
	add_recipients(&l, line->rcpt, line->rcpt_count);
	add_actions(&l, s, line->judge);
	add_message(&l, s->t);
	if (line->duplicate) {
		log_str(&l, "duplicate", line->duplicate);
		log_str(&l, "ledger", "retry");
	}
	log_str(&l, "backend", line->backend);
	log_str(&l, "backend.tls", line->backend_tls);
	log_str(&l, "quarantine", line->quarantine_id);
	log_str(&l, "reply", line->reply);
	add_timings(&l, s->t);
	log_emit(&l);
	smtp_history_verdict(s, line);
}

/* What a line says is true of both. */
static bool same_line(const struct judge *a, const struct judge *b)
{
	return a->verdict.rule == b->verdict.rule && a->rcpt->direction == b->rcpt->direction && a->run.effect_count == b->run.effect_count &&
	       memcmp(a->run.effects, b->run.effects, a->run.effect_count * sizeof(*a->run.effects)) == 0;
}

static const char *would(const struct smtp_session *s, const struct verdict *v)
{
	if (!smtp_observing(s) || v->action == ACTION_ACCEPT)
		return NULL;
	return v->greylisted ? "greylist" : action_name(v->action);
}

static const char *verdict_word(const struct verdict *v)
{
	return v->greylisted ? "greylist" : action_name(v->action);
}

/* The policy's own reply to those of the group, where it has one. */
static const char *own_reply(const struct smtp_session *s, const struct smtp_group *g, const struct verdict *v, char *text)
{
	return g->fate == ACTION_REJECT || g->fate == ACTION_DEFER ? smtp_with_id(s, v->reply, text) : NULL;
}

void smtp_log_group(struct smtp_session *s, const struct smtp_group *g, const char *verdict, const char *reply, const char *quarantine_id)
{
	const struct recipient **rcpt = calloc(g->count, sizeof(*rcpt));
	const struct smtp_leg *leg = smtp_ways_leg(s, g);

	for (size_t i = 0; rcpt && i < g->count; i++) {
		struct judge *j = g->judge[i];
		struct smtp_verdict_line line = {
			.verdict = verdict, .v = &j->verdict, .would = would(s, &j->verdict), .reply = reply, .quarantine_id = quarantine_id,
			.judge = j, .backend = smtp_leg_backend(leg), .backend_tls = smtp_leg_backend(leg) ? delivery_tls(leg->delivery) : NULL, .rcpt = rcpt,
		};
		char text[DELIVERY_REPLY_MAX];
		bool first = true;

		if (g->fate == FATE_HAS_IT && s->t->earlier)
			line.duplicate = s->t->earlier->id;
		for (size_t k = 0; first && k < i; k++)
			first = !same_line(g->judge[k], j);
		if (!first)
			continue;
		for (size_t k = i; k < g->count; k++)
			if (same_line(g->judge[k], j))
				rcpt[line.rcpt_count++] = g->rcpt[k];
		if (!verdict)
			line.verdict = verdict_word(&j->verdict);
		if (!reply)
			line.reply = own_reply(s, g, &j->verdict, text);
		smtp_log_verdict(s, &line);
	}
	free(rcpt);
}

void smtp_log_broken(struct smtp_session *s, const char *why, const char *reply)
{
	struct log_line l;

	log_start(&l, LOG_LEVEL_NOTICE, NULL);
	log_str(&l, "verdict", "none");
	log_str(&l, "reason", why);
	add_who(&l, s);
	if (s->t)
		add_message(&l, s->t);
	log_str(&l, "reply", reply);
	log_emit(&l);
	smtp_history_broken(s, why, reply);
}
