#include "smtp/smtp_session.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filters/milter.h"
#include "hop/backend.h"
#include "hop/backend_domains.h"
#include "hop/delivery.h"
#include "hop/destination_hop.h"
#include "policy/state.h"
#include "smtp/smtp_told.h"

enum { REPLY_MAX = 1024, ADDED_BYTES = 4096, SEAL_BYTES = 6144 };

void smtp_session_know(struct smtp_session *s, const struct net_addr *client)
{
	const struct site *site = s->svc->site;

	s->client.addr = *client;
	net_text(client, s->client.ip);
	s->client.relay = site_in_networks(site->relay_networks, site->relay_network_count, client);
	s->trusted = s->listener->direction == DIRECTION_INBOUND && !s->client.relay &&
		     site_in_networks(site->trusted_relays, site->trusted_relay_count, client);
}

/* Replies */

int smtp_say(struct smtp_session *s, const char *text)
{
	AUTO(buf) struct buf out = BUF_INIT(SMTP_REPLY_OUT_MAX * 4);
	int code = atoi(text), rc;

	rc = smtp_reply_format(&out, code, code / 100 == 3 ? "" : NULL, strlen(text) > 4 ? text + 4 : "");
	return rc < 0 ? rc : stream_write(s->stream, out.data, out.len);
}

int smtp_sayf(struct smtp_session *s, const char *fmt, ...)
{
	char text[REPLY_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return smtp_say(s, text);
}

int smtp_refuse(struct smtp_session *s, const char *text)
{
	s->errors++;
	smtp_limit_note(s, USE_ERRORS);
	return smtp_say(s, text);
}

int smtp_refuse_following(struct smtp_session *s, const char *text)
{
	return s->put_off ? smtp_say(s, "451 4.5.1 what it belongs to has been put off, try again later") : smtp_refuse(s, text);
}

const char *smtp_with_id(const struct smtp_session *s, const char *reply, char *out)
{
	snprintf(out, DELIVERY_REPLY_MAX, "%.400s (%s)", reply, s->t ? s->t->txn.id : s->id);
	return out;
}

void smtp_seen_key(struct smtp_session *s, struct state_op *op)
{
	const struct greylist_conf *g = &s->svc->site->greylist;
	char network[NET_TEXT_MAX];

	net_network_text(&s->client.addr, g->v4_bits, g->v6_bits, network);
	state_key(op, "seen", network, NULL);
}

/* Whether its recipients may be anywhere: not only at the servers behind us. */
static bool relays(const struct smtp_session *s)
{
	return s->client.relay && !s->client.auth_user;
}

void smtp_offered(const struct smtp_session *s, struct smtp_caps *out)
{
	if (s->destination.family) {
		destination_caps(s->group, &s->destination, out);
		return;
	}
	/* Ours may write to the whole world: each next hop says at RCPT what it does not take. */
	if (relays(s)) {
		memset(out, 0, sizeof(*out));
		out->eightbit = out->smtputf8 = out->dsn = true;
		return;
	}
	/* Nobody knows? RCPT will be 451, which keeps the message; not to offer would make its sender give up (RFC 6531 3.1). */
	if (!backend_group_caps(s->group, out))
		out->eightbit = out->smtputf8 = out->dsn = true;
	if (!s->login && s->listener->direction != DIRECTION_SUBMISSION)
		backend_domains_meet(s->svc->domains, out);
}

uint64_t smtp_size_max(const struct smtp_session *s, const struct smtp_caps *caps)
{
	uint64_t ours = s->svc->site->limits.message_bytes, theirs = caps->size_max, added = ADDED_BYTES + (s->svc->site->arc_seal ? SEAL_BYTES : 0);

	/* Room for the header lines that we add: a message just within their bound would hear 552 after all. */
	theirs -= theirs > 16 * added ? added : theirs / 16;
	return theirs && theirs < ours ? theirs : ours;
}

void smtp_txn_free(struct smtp_txn *t)
{
	for (size_t i = 0; t->judge && i < t->txn.env.rcpt_count; i++)
		judge_release(&t->judge[i]);
	free(t->judge);
	smtp_legs_free(t);
	free(t->earlier);
	free(t->has);
	txn_release(&t->txn);
	if (t->origin)
		client_release(t->origin);
	free(t->origin);
	free(t);
}

void smtp_transaction_end(struct smtp_session *s)
{
	struct smtp_txn *t = s->t;

	s->put_off = false;
	smtp_told_end(s);
	if (s->state & (SMTP_MAIL | SMTP_RCPT | SMTP_BDAT))
		s->state = SMTP_READY;
	if (s->milters)
		milters_reset(s->milters);
	if (!t)
		return;
	stream_set_deadline(s->stream, s->deadline_ms);
	s->t = NULL;
	smtp_txn_free(t);
}
