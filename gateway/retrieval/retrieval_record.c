/* What is told of a message that was fetched: to the user, the log, the history, and the quarantine, which gets a copy. */
#include "retrieval/retrieval_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json_whole.h"
#include "base/log.h"
#include "filters/filter.h"
#include "filters/rfc2047.h"
#include "policy/history_channel.h"
#include "policy/record.h"

enum { FIELD_MAX = HISTORY_TEXT_MAX, REASON_FACTS = 4 };

/* --- the quarantine --- */

/* Where it lies, so that who looks at the copy finds the original, and what is remembered when the copy is released. */
static int add_origin(const struct retrieval_scan *s, json_t *record)
{
	json_t *o = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "protocol", record_text(s->who.protocol), "backend", record_text(s->backend), "account",
			      record_text(s->account), "mailbox", record_text(s->mailbox), "uid", record_text(s->uid), "content", record_text(s->content));

	/* Beyond limits.message_bytes: it shows what it is, and is nothing to deliver. */
	if (o && s->size > message_size(s->txn.message))
		json_object_set_new(o, "of_bytes", json_integer((json_int_t)s->size));
	return json_object_set_new(record, "retrieval", o);
}

int record_quarantine(struct retrieval_scan *s, char id[STORE_ID_MAX])
{
	const struct recipient *rcpt = s->txn.env.rcpt;
	json_t *record;
	char *text;
	int rc = -ENOMEM;

	if (!s->r->conf.store)
		return -ENOTCONN;
	record = record_make(&s->txn, &rcpt, 1, &s->judge);
	if (record && add_origin(s, record) == 0) {
		record_add_text(record, s->txn.message);
		text = json_whole(record, JSON_COMPACT);
		if (text)
			rc = store_keep(s->r->conf.store, s->txn.message, text, id);
		free(text);
	}
	json_decref(record);
	return rc;
}

/* --- the user --- */

static const struct fact *get_known(void *arg, int id, bool *final)
{
	const struct retrieval_scan *s = arg;
	const struct fact *f = facts_get(&s->judge.facts, id);

	*final = false;
	if (!f)
		f = facts_get(&s->txn.evidence.facts, id);
	return f ? f : facts_get(&s->client.evidence.facts, id);
}

struct reasons {
	int fact[REASON_FACTS];
	size_t count;
};

static void add_reason(int fact, void *arg)
{
	struct reasons *why = arg;

	if (strcmp(fact_def(fact)->name, "direction") == 0)
		return;                 /* who fetches his mail knows that he does */
	for (size_t i = 0; i < why->count; i++)
		if (why->fact[i] == fact)
			return;
	if (why->count < REASON_FACTS)
		why->fact[why->count++] = fact;
}

/* What the site wrote of a refusal, without its codes. */
static const char *own_words(const struct rule *rule)
{
	const char *p = rule->reply ? rule->reply : "";

	while (*p && strspn(p, "0123456789.") > 0 && p[strspn(p, "0123456789.")] == ' ')
		p += strspn(p, "0123456789.") + 1;
	return p;
}

/* The site's words, the rule, and names of facts: nothing that the message says. */
void record_reason(struct retrieval_scan *s, char out[NOTICE_REASON_MAX])
{
	const struct rule *rule = s->judge.verdict.rule;
	struct policy_facts known = { .get = get_known, .arg = s, .temperror_expired = s->judge.temperror_expired };
	AUTO(buf) struct buf text = BUF_INIT(2 * NOTICE_REASON_MAX);
	struct reasons why = { .count = 0 };

	if (!rule) {
		snprintf(out, NOTICE_REASON_MAX, "its header is larger than is taken here");
		return;
	}
	policy_reasons(s->r->conf.site->policy, rule, &known, add_reason, &why);
	if (own_words(rule)[0])
		buf_addf(&text, "%s; ", own_words(rule));
	buf_addf(&text, "rule %s", rule->name);
	for (size_t i = 0; i < why.count; i++)
		buf_addf(&text, "%s%s", i ? ", " : " by ", fact_def(why.fact[i])->name);
	snprintf(out, NOTICE_REASON_MAX, "%s", buf_str(&text));
}

/* --- the history --- */

struct texts {
	struct buf message_id, subject;
};

static void texts_cleanup(struct texts *t)
{
	buf_release(&t->message_id);
	buf_release(&t->subject);
}

static void add_message(struct history_record *h, struct texts *t, const struct message *m)
{
	const struct header_field *f = message_find(m, "Message-ID", 0);

	if (f) {
		size_t n;
		const char *id = header_field_text(f, &n);

		n = n < FIELD_MAX ? n : FIELD_MAX;
		buf_add(&t->message_id, id, memchr(id, 0, n) ? 0 : n);
		h->message_id = buf_str(&t->message_id);
	}
	f = message_find(m, "Subject", 0);
	if (f && rfc2047_decode(f->body, f->body_len, &t->subject) == 0)
		h->subject = buf_str(&t->subject);
}

/* Of what was not let pass, or would not have been: what passes is fetched again and again, and history had it when it came. */
static void add_history(struct retrieval_scan *s, const struct retrieval_verdict *v)
{
	const struct judge *j = &s->judge;
	AUTO(texts) struct texts texts = { BUF_INIT(FIELD_MAX), BUF_INIT(RFC2047_TEXT_MAX) };
	const char *const rcpt[] = { s->rcpt->address }, *ran[FILTER_MAX + 1] = { NULL };
	struct history_record h = {
		.at_ms = clock_wall_ms(), .code = s->txn.id, .client = s->client.ip, .from = s->txn.env.from, .rcpt = rcpt, .rcpt_count = 1, .rcpt_total = 1,
		.bytes = s->size, .stage = s->txn.stage, .verdict = v->answer == RETRIEVAL_NOTICE ? "notice" : "pass", .action = action_name(j->verdict.action),
		.backend = s->backend, .quarantine_id = v->id[0] ? v->id : NULL, .ms_data = -1, .ms_checks = -1, .ms_backend = -1,
		.ms = (int)(clock_ms() - s->begun_ms), .ran = ran, .facts = { &s->client.evidence.facts, &s->txn.evidence.facts, &j->facts },
	};
	size_t n = 0;

	if (j->verdict.rule) {
		h.rule = j->verdict.rule->name;
		h.rule_line = j->verdict.rule->line;
		h.rule_text = j->verdict.rule->text;
	}
	filters_run_cheap(&s->txn);
	for (int i = 0; i < FILTER_MAX && filters[i]; i++)
		if ((s->client.evidence.ran | s->txn.evidence.ran) & 1u << i)
			ran[n++] = filters[i]->name;
	add_message(&h, &texts, s->txn.message);
	history_channel_add(s->r->conf.history, &h);
}

/* --- the log --- */

static void add_msgid(struct log_line *l, const struct message *m)
{
	const struct header_field *f = message_find(m, "Message-ID", 0);
	const char *id;
	size_t n;

	if (!f)
		return;
	id = header_field_text(f, &n);
	log_bytes(l, "msgid", id, n);
}

static void add_rule(struct log_line *l, const struct judge *j)
{
	const struct fact *score = facts_get_name(&j->facts, "score");

	if (j->verdict.rule)
		log_str(l, "rule", j->verdict.rule->name);
	if (score && score->state == FACT_KNOWN)
		log_num(l, "score", score->number);
	for (size_t i = 0; i < j->run.effect_count; i++)
		if (j->run.effects[i]->action == ACTION_LOG)
			log_str(l, "note", j->run.effects[i]->argument);
	for (size_t i = 0; i < j->run.observed_count; i++)
		log_str(l, "observed", j->run.observed[i]->name);
}

static void log_verdict(struct retrieval_scan *s, const struct retrieval_verdict *v, int quarantine)
{
	AUTO(buf) struct buf facts = BUF_INIT(RECORD_BRIEF_MAX);
	const struct judge *j = &s->judge;
	struct log_line l;

	log_start(&l, LOG_LEVEL_NOTICE, "retrieval");
	log_str(&l, "verdict", v->answer == RETRIEVAL_NOTICE ? "notice" : "pass");
	log_str(&l, "action", s->rc < 0 ? "reject" : action_name(j->verdict.action));
	if (s->rc < 0)
		log_str(&l, "reason", "header too large");
	add_rule(&l, j);
	if (s->released)
		log_str(&l, "released", "yes");
	record_facts_brief(&s->txn, j, &facts);
	if (facts.len)
		log_str(&l, "facts", buf_str(&facts));
	log_str(&l, "sid", s->who.sid);
	log_str(&l, "tx", s->txn.id);
	log_str(&l, "protocol", s->who.protocol);
	log_str(&l, "client", s->client.ip);
	log_str(&l, "account", s->account);
	log_str(&l, "backend", s->backend);
	log_str(&l, "mailbox", s->mailbox[0] ? s->mailbox : NULL);
	log_str(&l, "uid", s->uid[0] ? s->uid : NULL);
	log_num(&l, "size", (int64_t)s->size);
	add_msgid(&l, s->txn.message);
	log_str(&l, "quarantine", v->id[0] ? v->id : NULL);
	if (quarantine < 0)
		log_str(&l, "quarantine-failed", strerror(-quarantine));
	log_num(&l, "ms", clock_ms() - s->begun_ms);
	log_emit(&l);
}

void record_verdict(struct retrieval_scan *s, const struct retrieval_verdict *v, int quarantine)
{
	const struct history_channel *h = s->r->conf.history;

	log_verdict(s, v, quarantine);
	if (h && h->records && s->rc == 0 && (v->answer == RETRIEVAL_NOTICE || retrieval_convicts(&s->judge)))
		add_history(s, v);
}
