/* The lines that tell what became of a message. */
#include "smtp/smtp_session.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "policy/record.h"

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
	size_t n;

	if (h) {
		for (n = 0; n < h->body_len && strchr(" \t\r\n", h->body[n]); n++)
			;
		log_bytes(l, "msgid", h->body + n, h->body_len - n);
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

static void add_policy(struct log_line *l, struct smtp_session *s, const struct smtp_verdict_line *line)
{
	AUTO(buf) struct buf facts = BUF_INIT(FACTS_MAX);
	const struct verdict *v = line->v;

	if (v && v->rule)
		log_str(l, "rule", v->rule->name);
	if (v && v->temporary_fact != FACT_NONE)
		log_str(l, "temperror", fact_def(v->temporary_fact)->name);
	add_observed(l, line->judge);
	record_facts_brief(&s->t->txn, line->judge, &facts);
	log_str(l, "facts", buf_str(&facts));
}

static void add_who(struct log_line *l, struct smtp_session *s)
{
	log_str(l, "sid", s->id);
	log_num(l, "tx", s->t ? s->t->number : s->transactions);
	log_str(l, "client", s->client.ip);
	log_str(l, "helo", s->client.helo);
	if (s->t) {
		AUTO(buf) struct buf from = BUF_INIT(600);

		buf_addf(&from, "<%s>", s->t->txn.env.from);
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
	add_message(&l, s->t);
	log_str(&l, "backend", line->backend);
	log_str(&l, "quarantine", line->quarantine_id);
	log_str(&l, "reply", line->reply);
	add_timings(&l, s->t);
	log_emit(&l);
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
}
