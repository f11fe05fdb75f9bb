/* Whether the client got the answer to its message; if not, the ledger knows who has it. */
#include "smtp/smtp_session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "hop/delivery.h"

enum { ARRIVE_MS = 2000 };

struct smtp_answer {
	struct smtp_txn *t;             /* the message, while it is kept */
	struct state_op *op;            /* else the entry that would be written */
	bool early;                     /* what comes next was there before the answer */
};

void smtp_answer_free(struct smtp_session *s)
{
	struct smtp_answer *a = s->answer;

	s->answer = NULL;
	if (!a)
		return;
	if (a->t)
		smtp_txn_free(a->t);
	free(a->op);
	free(a);
}

static void log_entry(const char *what, const char *id, int rc)
{
	if (rc < 0)
		log_error("ledger", "tx", id, "what", what, "error", strerror(-rc), NULL);
	else
		log_notice("ledger", "tx", id, "what", what, NULL);
}

/* The entry for those who have the message of t. NULL: there can be none. may wait */
static struct state_op *entry_of(struct smtp_session *s, struct smtp_txn *t)
{
	struct state_op *op = calloc(1, sizeof(*op));
	int rc = op ? ledger_make(&s->svc->ledger, &t->txn, t->has, op) : -ENOMEM;

	if (rc == 0)
		return op;
	log_entry("entry", t->txn.id, rc);
	free(op);
	return NULL;
}

/* No entry can be made for this message. */
static bool ledger_is_off(const struct smtp_session *s)
{
	return !s->svc->ledger.state || !s->svc->ledger.ttl_s || !ledger_can_tell(&s->t->txn);
}

void smtp_answer_partial(struct smtp_session *s)
{
	struct state_op *op = ledger_is_off(s) ? NULL : entry_of(s, s->t), *part = op ? calloc(1, sizeof(*part)) : NULL;

	if (op)
		log_entry("some have it, others not yet", s->t->txn.id, ledger_write(&s->svc->ledger, op));
	/* The retry may be to those who have it alone: the others' server is away, and they hear so at RCPT. */
	if (part && ledger_make_part(&s->t->txn, s->t->has, op, part) == 0)
		ledger_write(&s->svc->ledger, part);
	free(part);
	free(op);
}

void smtp_answer_await(struct smtp_session *s, bool early)
{
	struct smtp_answer *a;

	smtp_answer_free(s);
	if (ledger_is_off(s))
		return;
	a = calloc(1, sizeof(*a));
	if (!a)
		return;
	a->t = s->t;
	a->early = early;
	s->answer = a;
	s->t = NULL;
	/* The server behind is free for others, and what is not needed of the message goes. */
	smtp_legs_end(a->t);
	for (size_t i = 0; i < a->t->txn.env.rcpt_count; i++)
		judge_release(&a->t->judge[i]);
	free(a->t->judge);
	a->t->judge = NULL;
}

void smtp_answer_heard(struct smtp_session *s)
{
	struct smtp_answer *a = s->answer;

	if (!a->early)
		smtp_answer_free(s);
	else if (!stream_pending(s->stream))
		a->early = false;
}

void smtp_answer_rest(struct smtp_session *s)
{
	struct smtp_answer *a = s->answer;

	if (!a->t)
		return;
	a->op = entry_of(s, a->t);
	if (a->op) {
		smtp_txn_free(a->t);
		a->t = NULL;
	} else {
		smtp_answer_free(s);
	}
}

/*
 * The answer arrived if all is acknowledged and nothing was reset, whatever else went wrong. A client that has closed before our answer resets the
 * connection when it comes; one that closes with the answer unread does, too.
 */
void smtp_answer_settle(struct smtp_session *s)
{
	struct smtp_answer *a = s->answer;
	int rc = -ENOMEM;

	if (!a)
		return;
	if (!stream_arrived(s->stream, ARRIVE_MS)) {
		char id[LEDGER_ID_MAX] = "";

		if (a->t) {
			memcpy(id, a->t->txn.id, sizeof(id));
			a->op = entry_of(s, a->t);
		}
		if (a->op)
			rc = ledger_write(&s->svc->ledger, a->op);
		log_entry("the client did not hear that it was taken", id[0] ? id : s->id, rc);
	}
	smtp_answer_free(s);
}
