#include "smtp/smtp_history.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "filters/filter.h"
#include "filters/rfc2047.h"
#include "policy/history_channel.h"
#include "policy/ledger.h"

enum { FEW = 32, NOTES_MAX = 4096, FIELD_MAX = HISTORY_TEXT_MAX };

/* What stands on the stack of whoever makes a record. */
struct making {
	struct history_record r;
	struct buf message_id, subject, notes;
	const char *ran[FILTER_MAX + 1];
	const char *few[FEW], **many;
};

static void making_cleanup(struct making *m)
{
	buf_release(&m->message_id);
	buf_release(&m->subject);
	buf_release(&m->notes);
	free(m->many);
}

static void add_ran(struct making *m, uint32_t ran)
{
	size_t n = 0;

	for (int i = 0; i < FILTER_MAX && filters[i]; i++)
		if (ran & 1u << i)
			m->ran[n++] = filters[i]->name;
	m->r.ran = m->ran;
}

/* Place for as many of count recipients as are kept: their number is in the record. */
static const char **recipients_room(struct making *m, size_t count)
{
	const char **list = m->few;

	m->r.rcpt_total = count;
	if (count > HISTORY_RCPT_MAX)
		count = HISTORY_RCPT_MAX;
	if (count > FEW)
		list = m->many = calloc(count, sizeof(*m->many));
	m->r.rcpt = list;
	m->r.rcpt_count = list ? count : 0;
	return list;
}

static const char *known(const struct txn *t, const char *name)
{
	return facts_word(&t->evidence.facts, name);
}

/* What no filter has established yet is read from the message. */
static void add_message(struct making *m, const struct smtp_txn *t)
{
	const struct header_field *h;

	m->r.bytes = t->received;
	m->r.message_id = known(&t->txn, "message.id");
	m->r.subject = known(&t->txn, "header.subject");
	if (!t->txn.message)
		return;
	h = m->r.message_id ? NULL : message_find(t->txn.message, "Message-ID", 0);
	if (h) {
		size_t n;
		const char *id = header_field_text(h, &n);

		n = n < FIELD_MAX ? n : FIELD_MAX;
		buf_add(&m->message_id, id, memchr(id, 0, n) ? 0 : n);
		m->r.message_id = buf_str(&m->message_id);
	}
	h = m->r.subject ? NULL : message_find(t->txn.message, "Subject", 0);
	if (h && rfc2047_decode(h->body, h->body_len, &m->subject) == 0)
		m->r.subject = buf_str(&m->subject);
}

/* Of the same moments as the line of the log. */
static void add_timings(struct history_record *r, const struct smtp_txn *t)
{
	int *const to[SMTP_TIMES] = { &r->ms_data, &r->ms_checks, &r->ms_backend };
	int64_t before = t->start_ms;

	for (int i = 0; i < SMTP_TIMES; i++) {
		if (!t->time_ms[i])
			continue;
		*to[i] = (int)(t->time_ms[i] - before);
		before = t->time_ms[i];
	}
	r->ms = (int)(clock_ms() - t->start_ms);
}

static void add_transaction(struct making *m, const struct smtp_txn *t, const struct client *c)
{
	m->r.code = t->txn.id;
	m->r.from = t->arrived_from ? t->arrived_from : t->txn.env.from;
	m->r.stage = t->txn.stage;
	m->r.facts[0] = &c->evidence.facts;
	m->r.facts[1] = &t->txn.evidence.facts;
	add_ran(m, c->evidence.ran | t->txn.evidence.ran);
	add_message(m, t);
	add_timings(&m->r, t);
}

static void begin(struct making *m, const struct smtp_session *s, const char *verdict, const char *reply)
{
	const struct client *c = s->t ? s->t->txn.client : &s->client;

	*m = (struct making){ .message_id = BUF_INIT(FIELD_MAX), .subject = BUF_INIT(RFC2047_TEXT_MAX),
			       .notes = BUF_INIT(NOTES_MAX) };
	m->r = (struct history_record){ .at_ms = clock_wall_ms(), .code = s->id, .client = c->ip[0] ? c->ip : "unknown", .helo = c->helo,
					.verdict = verdict, .reply = reply, .stage = s->client.helo ? STAGE_HELO : STAGE_CONNECT,
					.ms_data = -1, .ms_checks = -1, .ms_backend = -1, .ms = -1 };
	if (s->t)
		add_transaction(m, s->t, c);
}

static void add_verdict(struct history_record *r, const struct verdict *v)
{
	if (v->certain)
		r->action = v->greylisted ? "greylist" : action_name(v->action);
	if (v->rule) {
		r->rule = v->rule->name;
		r->rule_line = v->rule->line;
		r->rule_text = v->rule->text;
	}
}

/* What the other rules did: effects on the message only where it was delivered with them. */
static void add_notes(struct making *m, const struct smtp_session *s, const struct judge *j)
{
	bool delivered = j->verdict.action == ACTION_ACCEPT && !smtp_observing(s);

	for (size_t i = 0; i < j->run.effect_count; i++) {
		const struct rule *r = j->run.effects[i];

		if (delivered || r->action == ACTION_LOG)
			buf_addf(&m->notes, "%s%s %s: %s", m->notes.len ? "\n" : "", action_name(r->action), r->name, r->argument);
	}
	for (size_t i = 0; i < j->run.observed_count; i++)
		buf_addf(&m->notes, "%sobserve %s: %s", m->notes.len ? "\n" : "", j->run.observed[i]->name, action_name(j->run.observed[i]->action));
	if (s->t->earlier)
		buf_addf(&m->notes, "%s" HISTORY_RETRY "%s", m->notes.len ? "\n" : "", s->t->earlier->id);
	if (m->notes.len)
		m->r.notes = buf_str(&m->notes);
}

static bool wanted(const struct smtp_session *s)
{
	return s->svc->history && s->svc->history->records;
}

void smtp_history_verdict(struct smtp_session *s, const struct smtp_verdict_line *line)
{
	AUTO(making) struct making m = { 0 };
	const char **list;

	if (!wanted(s))
		return;
	filters_run_cheap(&s->t->txn);
	begin(&m, s, line->verdict, line->reply);
	m.r.backend = line->backend;
	m.r.quarantine_id = line->quarantine_id;
	if (line->v)
		add_verdict(&m.r, line->v);
	if (line->judge) {
		m.r.facts[2] = &line->judge->facts;
		add_notes(&m, s, line->judge);
	}
	list = recipients_room(&m, line->rcpt_count);
	for (size_t i = 0; i < m.r.rcpt_count; i++)
		list[i] = line->rcpt[i]->address;
	history_channel_add(s->svc->history, &m.r);
}

void smtp_history_broken(struct smtp_session *s, const char *why, const char *reply)
{
	AUTO(making) struct making m = { 0 };
	const char **list;

	if (!wanted(s))
		return;
	begin(&m, s, why, reply);
	list = recipients_room(&m, s->t ? s->t->txn.env.rcpt_count : 0);
	for (size_t i = 0; i < m.r.rcpt_count; i++)
		list[i] = s->t->txn.env.rcpt[i].address;
	history_channel_add(s->svc->history, &m.r);
}

void smtp_history_mail(struct smtp_session *s, const char *from, const char *reply)
{
	AUTO(making) struct making m = { 0 };

	if (!wanted(s))
		return;
	begin(&m, s, "mail-refused", reply);
	m.r.from = from;
	history_channel_add(s->svc->history, &m.r);
}
