#include "hop/delivery.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "hop/backend.h"
#include "hop/next_hop.h"
#include "hop/return_path.h"
#include "policy/conf.h"

enum {
	ATTEMPTS = 2,                   /* a session that has gone is replaced once, */
	BEGINNINGS = 4,                 /* at MAIL more often: several of those that were kept may be over */
	SPARE_MS = 1000,                /* nearly all clients send their next command and their message faster */
};

struct delivery {
	struct next_hop *hop;
	const struct txn *txn;
	char **held;                            /* recipients in the transaction there, in order */
	size_t held_count, held_cap;
	int64_t used_ms;                        /* when the session was last needed */
	int wait_ms;                            /* an RCPT may take; 0: the site's budget */
	bool dsn;                               /* the server that took the message offers it */
	bool unreached;                         /* the last RCPT: nobody there, or no more */
};

struct delivery *delivery_new(struct next_hop *hop, const struct txn *t)
{
	struct delivery *d = hop ? calloc(1, sizeof(*d)) : NULL;

	if (!d) {
		next_hop_free(hop);
		return NULL;
	}
	d->hop = hop;
	d->txn = t;
	return d;
}

static void forget_held(struct delivery *d)
{
	for (size_t i = 0; i < d->held_count; i++)
		free(d->held[i]);
	d->held_count = 0;
}

static void drop_session(struct delivery *d)
{
	if (d->hop->client) {
		d->hop->strain += BACKEND_STRAIN_USE;
		next_hop_give(d->hop, !d->hop->client->broken);
	}
	forget_held(d);
}

void delivery_free(struct delivery *d)
{
	if (!d)
		return;
	drop_session(d);
	next_hop_free(d->hop);
	free(d->held);
	free(d);
}

const char *delivery_backend(const struct delivery *d)
{
	return d->hop->name[0] ? d->hop->name : NULL;
}

const char *delivery_tls(const struct delivery *d)
{
	return d->hop->tls[0] ? d->hop->tls : NULL;
}

static const char *peer(const struct delivery *d)
{
	return d->hop->peer ? d->hop->peer : "the mail server behind";
}

/* A backend's reply as one line for our client. */
static void pass_reply(const struct delivery *d, const struct smtp_reply *r, char *reply)
{
	if (r->code == 421)             /* it closes its session, not ours */
		snprintf(reply, DELIVERY_REPLY_MAX, "451 4.3.2 %s is closing: %.300s", peer(d), buf_str(&r->text));
	else
		snprintf(reply, DELIVERY_REPLY_MAX, "%d %.*s", r->code, DELIVERY_REPLY_MAX - 8, buf_str(&r->text));
	for (char *p = reply; *p; p++)
		if (*p == '\n')
			*p = ' ';
}

static enum delivery_result result_of(const struct smtp_reply *r)
{
	return r->code / 100 == 2 ? DELIVERY_TAKEN : r->code / 100 == 5 ? DELIVERY_REFUSED : DELIVERY_LATER;
}

static int64_t deadline(int budget_ms)
{
	return budget_ms ? clock_ms() + budget_ms : 0;
}

static int hold(struct delivery *d, const char *address)
{
	if (d->held_count == d->held_cap) {
		size_t cap = d->held_cap ? d->held_cap * 2 : 4;
		char **held = reallocarray(d->held, cap, sizeof(*held));

		if (!held)
			return -ENOMEM;
		d->held = held;
		d->held_cap = cap;
	}
	d->held[d->held_count] = strdup(address);
	if (!d->held[d->held_count])
		return -ENOMEM;
	d->held_count++;
	return 0;
}

/* The session broke in the middle of something: who wants to know why reads the log. */
static void lost(struct delivery *d)
{
	log_notice("backend-lost", "tx", d->txn->id, "backend", d->hop->name, "why", d->hop->client->why, NULL);
	drop_session(d);
}

static enum delivery_result no_backend(const struct delivery *d, int rc, char *reply)
{
	if (!d->hop->client && d->hop->refusal[0]) {
		snprintf(reply, DELIVERY_REPLY_MAX, "%s", d->hop->refusal);
		return rc == -EACCES ? DELIVERY_REFUSED : DELIVERY_LATER;
	}
	if (rc == -ENOTSUP) {
		snprintf(reply, DELIVERY_REPLY_MAX, "553 5.6.7 %s takes no internationalized addresses", peer(d));
		return DELIVERY_REFUSED;
	}
	snprintf(reply, DELIVERY_REPLY_MAX, rc == -EBUSY ? "451 4.3.2 %s is busy, try again later" :
		 "451 4.4.1 %s does not answer, try again later", peer(d));
	return DELIVERY_LATER;
}

/*
 * 421 in a session that was used before, or in which something was refused: its time is up (Exchange ends one that is ten minutes old, whatever it does), or it
 * has had its share of messages or errors (Domino counts refused recipients). It is over, and nothing more is said by that: another one will do, and others who
 * use the server need not wait.
 */
static bool is_over(struct delivery *d)
{
	struct smtp_client *c = d->hop->client;

	if (c->reply.code != 421 || (!d->hop->used && d->hop->strain < BACKEND_STRAIN_REFUSED))
		return false;
	c->broken = true;
	c->closing = false;
	snprintf(c->why, sizeof(c->why), "a session %s is over: 421 %.100s", d->hop->used ? "used before" : "with refusals", buf_str(&c->reply.text));
	c->why[strcspn(c->why, "\n")] = '\0';
	lost(d);
	return true;
}

/* MAIL in a session, a new one if there is none. 0: the reply is in the client; DELIVERY_* in *result. -errno: broken, or no backend. may wait */
static int begin(struct delivery *d, int64_t until, char *reply, enum delivery_result *result)
{
	const struct envelope *env = &d->txn->env;
	uint64_t size = d->txn->message ? message_size(d->txn->message) : env->size_declared;
	char path[SRS_ADDRESS_MAX];
	struct smtp_client *c;
	int rc;

	*result = DELIVERY_LATER;
	if (!d->hop->client) {
		d->hop->refusal[0] = '\0';
		rc = next_hop_take(d->hop, until);
		if (rc < 0) {
			*result = no_backend(d, rc, reply);
			d->unreached = rc != -ECANCELED && rc != -ENOMEM;
			return rc;
		}
	}
	c = d->hop->client;
	rc = smtp_client_mail(c, return_path(d->txn->site, d->hop, env->from, path), env->params, size, until);
	if (rc < 0) {
		d->unreached = rc != -ECANCELED;
		lost(d);
		*result = no_backend(d, rc, reply);
		return rc;
	}
	*result = result_of(&c->reply);
	if (*result != DELIVERY_TAKEN) {
		pass_reply(d, &c->reply, reply);
		if (is_over(d))
			return -EPIPE;
		d->unreached = c->reply.code == 421;
		d->hop->strain += BACKEND_STRAIN_REFUSED;
		drop_session(d);
	}
	return 0;
}

/* begin, in another session if one that was used before is over. may wait */
static int begin_somewhere(struct delivery *d, int64_t until, char *reply, enum delivery_result *result)
{
	int rc = begin(d, until, reply, result);

	for (int i = 1; i < BEGINNINGS && rc == -EPIPE && d->hop->used; i++)
		rc = begin(d, until, reply, result);
	return rc;
}

/* RCPT in the transaction that is open. As begin. may wait */
static int add(struct delivery *d, const struct delivery_target *t, int64_t until, char *reply, enum delivery_result *result)
{
	struct smtp_client *c = d->hop->client;
	int rc = smtp_client_rcpt(c, t->address, t->params, until);

	*result = DELIVERY_LATER;
	if (rc < 0) {
		d->unreached = rc != -ECANCELED;
		lost(d);
		*result = no_backend(d, rc, reply);
		return rc;
	}
	*result = result_of(&c->reply);
	pass_reply(d, &c->reply, reply);
	if (is_over(d))
		return -EPIPE;
	d->unreached = c->reply.code == 421;
	if (*result != DELIVERY_TAKEN) {
		d->hop->strain += BACKEND_STRAIN_REFUSED;
		return 0;
	}
	rc = hold(d, t->address);
	if (rc < 0) {
		snprintf(reply, DELIVERY_REPLY_MAX, "452 4.3.1 out of memory, try again later");
		*result = DELIVERY_LATER;
		drop_session(d);
	}
	return 0;
}

enum delivery_result delivery_rcpt(struct delivery *d, const struct recipient *r, char *reply)
{
	int64_t until = txn_nearer(d->txn->answer_by_ms, deadline(d->wait_ms ? d->wait_ms : d->txn->site->timeouts.budget_ms));
	const struct delivery_target target = { .address = r->address, .params = r->params };
	enum delivery_result result = DELIVERY_LATER;

	d->unreached = false;
	for (int i = 0; i < ATTEMPTS; i++) {
		bool had_session = d->hop->client != NULL;

		if (!had_session && (begin_somewhere(d, until, reply, &result) < 0 || result != DELIVERY_TAKEN))
			return result;
		had_session |= d->hop->used;
		if (add(d, &target, until, reply, &result) == 0 || !had_session)
			break;
	}
	d->used_ms = clock_ms();
	return result;
}

bool delivery_offers_dsn(const struct delivery *d)
{
	return d->dsn;
}

bool delivery_unreached(const struct delivery *d)
{
	return d->unreached;
}

void delivery_limit(struct delivery *d, int wait_ms)
{
	d->wait_ms = wait_ms;
}

int delivery_spare_ms(const struct delivery *d)
{
	int64_t left = d->used_ms + SPARE_MS - clock_ms();

	return !d->hop->client || d->hop->own ? -1 : left > 0 ? (int)left : 0;
}

void delivery_pause(struct delivery *d)
{
	drop_session(d);
}

void delivery_begin_anew(struct delivery *d)
{
	forget_held(d);
}

static bool holds_exactly(const struct delivery *d, const struct delivery_target *target, size_t count)
{
	size_t held = 0;

	if (!d->hop->client || smtp_client_quiet(d->hop->client) == false)
		return false;
	for (size_t i = 0; i < count; i++) {
		if (target[i].dropped)
			continue;
		if (held == d->held_count || strcmp(d->held[held], target[i].address) != 0)
			return false;
		held++;
	}
	return held == d->held_count;
}

static bool holds(const struct delivery *d, const char *address)
{
	for (size_t i = 0; i < d->held_count; i++)
		if (strcmp(d->held[i], address) == 0)
			return true;
	return false;
}

static void drop_copy(struct delivery *d, struct delivery_target *t, const char *reply)
{
	t->dropped = true;
	log_error("copy-failed", "tx", d->txn->id, "backend", d->hop->name, "copy", t->address, "reply", reply, NULL);
}

/* The server took this recipient at RCPT, or has never been asked (a redirect's): nobody has the message yet, and the client is told to come again. */
static void refused(struct delivery *d, const struct delivery_target *t, char *reply)
{
	if (t && t->instead_of) {
		log_error("redirect-refused", "tx", d->txn->id, "backend", d->hop->name, "to", t->instead_of, "redirect", t->address, "reply", reply,
			  NULL);
		snprintf(reply, DELIVERY_REPLY_MAX, "451 4.3.5 this cannot be delivered now, try again later");
		return;
	}
	log_notice("backend-differs", "tx", d->txn->id, "backend", d->hop->name, "reply", reply, NULL);
	snprintf(reply, DELIVERY_REPLY_MAX, "451 4.4.0 %s has changed its mind, try again", peer(d));
}

enum { FILL_AGAIN = 1 };

/* A copy that was refused is left out. Where the session went with it, all copies are, and the others begin anew. */
static int leave_out(struct delivery *d, struct delivery_target *target, size_t count, struct delivery_target *copy, const char *reply)
{
	drop_copy(d, copy, reply);
	if (d->hop->client && !d->hop->client->closing)
		return 0;
	/* A 421 to a copy says nothing yet of the server: it is asked again, not left alone for a while. */
	if (d->hop->client) {
		d->hop->client->broken = true;
		d->hop->client->closing = false;
	}
	drop_session(d);
	for (size_t i = 0; i < count; i++)
		if (target[i].copy && !target[i].dropped)
			drop_copy(d, &target[i], "not tried: the session broke at another copy");
	return FILL_AGAIN;
}

/* MAIL and RCPT for all of them in a transaction of their own. 0, FILL_AGAIN, or -errno with the reply. may wait */
static int fill(struct delivery *d, struct delivery_target *target, size_t count, int64_t until, char *reply)
{
	enum delivery_result result;
	int rc;

	if (d->hop->client && (!smtp_client_quiet(d->hop->client) || smtp_client_rset(d->hop->client, until) < 0 ||
			   d->hop->client->reply.code / 100 != 2))
		drop_session(d);
	forget_held(d);
	rc = begin_somewhere(d, until, reply, &result);
	if (rc == 0 && result != DELIVERY_TAKEN) {
		refused(d, NULL, reply);
		return -EAGAIN;
	}
	for (size_t i = 0; rc == 0 && i < count; i++) {
		if (target[i].dropped)
			continue;
		rc = add(d, &target[i], until, reply, &result);
		if (target[i].copy && (rc < 0 || result != DELIVERY_TAKEN)) {
			rc = leave_out(d, target, count, &target[i], reply);
		} else if (rc == 0 && result != DELIVERY_TAKEN) {
			refused(d, &target[i], reply);
			return -EAGAIN;
		}
	}
	return rc;
}

/* Bring the transaction there to hold exactly those. may wait */
static int hold_exactly(struct delivery *d, struct delivery_target *target, size_t count, int64_t until, char *reply)
{
	int rc;

	if (holds_exactly(d, target, count))
		return 0;
	do {
		rc = fill(d, target, count, until, reply);
	} while (rc == FILL_AGAIN);     /* no copy is left then: once */
	return rc;
}

int delivery_verify(struct delivery *d, struct delivery_target *target, size_t count, int64_t until_ms, char *reply)
{
	bool all = d->hop->client && smtp_client_quiet(d->hop->client);

	d->unreached = false;
	for (size_t i = 0; all && i < count; i++)
		all = holds(d, target[i].address);
	return all ? 0 : hold_exactly(d, target, count, until_ms, reply);
}

/* The data of a transaction that is ready. DELIVERY_LATER with *again: the session was gone before anything was sent. may wait */
static enum delivery_result send_data(struct delivery *d, const struct buf *header, int64_t until, char *reply, bool *again)
{
	struct message *m = d->txn->message;
	struct smtp_edit edit = { .off = 0, .len = message_body_offset(m), .text = header->data, .text_len = header->len };
	struct smtp_content content = { .message = m, .edit = &edit, .edit_count = 1 };
	struct smtp_client *c = d->hop->client;
	enum smtp_outcome outcome;
	int rc = smtp_client_data(c, &content, until, &outcome);

	*again = false;
	forget_held(d);
	if (rc == 0) {
		pass_reply(d, &c->reply, reply);
		if (outcome == OUTCOME_REFUSED && is_over(d)) {
			*again = true;
			return DELIVERY_LATER;
		}
		d->dsn = c->caps.dsn;
		d->hop->strain = 0;
		return result_of(&c->reply);
	}
	lost(d);
	if (outcome == OUTCOME_UNKNOWN) {
		snprintf(reply, DELIVERY_REPLY_MAX, "451 4.4.2 %s gave no answer, try again later", peer(d));
		return DELIVERY_UNKNOWN;
	}
	*again = rc == -EPIPE;
	d->unreached = rc != -ECANCELED;
	no_backend(d, rc, reply);
	return DELIVERY_LATER;
}

enum delivery_result delivery_send(struct delivery *d, struct delivery_target *target, size_t count, const struct buf *header,
				   int64_t until_ms, char *reply)
{
	enum delivery_result result = DELIVERY_LATER;
	bool again = true;

	d->unreached = false;
	for (int i = 0; again && i < ATTEMPTS; i++) {
		again = false;
		if (hold_exactly(d, target, count, until_ms, reply) < 0)
			return DELIVERY_LATER;
		assert(d->hop->client);
		result = send_data(d, header, until_ms, reply, &again);
	}
	return result;
}
