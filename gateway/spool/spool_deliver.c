#include "spool/spool_deliver.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "filters/message.h"
#include "hop/backend.h"
#include "hop/backend_hop.h"
#include "hop/next_hop.h"
#include "hop/return_path.h"
#include "hop/smtp_client.h"
#include "policy/conf.h"
#include "smtp/recipient.h"
#include "smtp/route.h"
#include "smtp/smtp_address.h"
#include "smtp/smtp_server.h"
#include "smtp/smtp_session.h"
#include "spool/dsn_params.h"
#include "spool/spool_route.h"

enum { REPLY_MAX = SPOOL_REPLY_MAX, REPORT_MS = 60 * 1000 };

static const struct message_limits no_limits = { .header_bytes = SIZE_MAX / 2, .header_fields = SIZE_MAX / 2 };

/* --- the work --- */

int spool_work_init(struct spool_work *w, struct smtp_service *svc, struct spool_lease *lease)
{
	const struct spool_envelope *e = lease->envelope;
	int fd, rc;

	*w = (struct spool_work){ .svc = svc, .lease = lease };
	w->try = calloc(e->rcpt_count + 1, sizeof(*w->try));
	if (!w->try)
		return -ENOMEM;
	for (size_t i = 0; i < e->rcpt_count; i++)
		if (e->rcpt[i].due)
			w->try[w->count++] = (struct spool_try){ .rcpt = i, .kind = SPOOL_UNTRIED };
	if (e->client && net_parse(e->client, &w->client.addr) == 0) {
		w->client.helo = e->helo;
		w->client.esmtp = true;
		net_text(&w->client.addr, w->client.ip);
	}
	w->message = message_new(&no_limits, NULL, NULL);
	fd = w->message ? fcntl(lease->fd, F_DUPFD_CLOEXEC, 0) : -1;
	if (fd < 0)
		return w->message ? -errno : -ENOMEM;
	rc = message_adopt(w->message, fd);
	return rc;
}

void spool_work_release(struct spool_work *w)
{
	for (size_t i = 0; i < w->count; i++) {
		free(w->try[i].reply);
		free(w->try[i].remote);
	}
	free(w->try);
	message_free(w->message);
	*w = (struct spool_work){ 0 };
}

void spool_try_settle(struct spool_try *t, enum spool_outcome_kind kind, const char *reply, const char *remote)
{
	t->state = TRY_DONE;
	t->kind = kind;
	if (reply) {
		free(t->reply);
		t->reply = strdup(reply);
	}
	free(t->remote);
	t->remote = remote && *remote ? strdup(remote) : NULL;
}

static void settle_all(struct spool_work *w, enum spool_try_state from, enum spool_outcome_kind kind, const char *reply, const char *remote)
{
	for (size_t i = 0; i < w->count; i++)
		if (w->try[i].state == from)
			spool_try_settle(&w->try[i], kind, reply, remote);
}

static bool any(const struct spool_work *w, enum spool_try_state state)
{
	for (size_t i = 0; i < w->count; i++)
		if (w->try[i].state == state)
			return true;
	return false;
}

static const struct spool_recipient *recipient(const struct spool_work *w, const struct spool_try *t)
{
	return &w->lease->envelope->rcpt[t->rcpt];
}

/* --- words --- */

static const char *reply_text(const struct smtp_reply *r, char *out)
{
	snprintf(out, REPLY_MAX, "%d %.*s", r->code, REPLY_MAX - 8, buf_str(&r->text));
	for (char *p = out; *p; p++)
		if (*p == '\n')
			*p = ' ';
	return out;
}

static enum spool_outcome_kind kind_of(const struct smtp_reply *r)
{
	return r->code / 100 == 2 ? SPOOL_TAKEN : r->code / 100 == 5 ? SPOOL_FOR_GOOD : SPOOL_LATER;
}

/* What went wrong in a session, in the words of a reply of ours: it is not to be told as the other server's, which is why none is named beside it. */
static const char *broken_text(const struct next_hop *hop, const char *when, char *out)
{
	snprintf(out, REPLY_MAX, "451 4.4.2 the session with %s broke %s: %s", hop->name, when, hop->client->why[0] ? hop->client->why : "no reason known");
	return out;
}

static int64_t deadline(const struct spool_work *w, int budget_ms)
{
	int64_t last_ms = w->lease->until_ms - REPORT_MS, mine_ms = budget_ms ? clock_ms() + budget_ms : last_ms;

	return mine_ms < last_ms ? mine_ms : last_ms;
}

static int64_t command_deadline(const struct spool_work *w)
{
	return deadline(w, w->svc->site->timeouts.budget_ms);
}

/* --- the dialogue --- */

/* There is no session. For good only where the next hop says so (a domain that takes no mail). */
static void no_session(struct spool_work *w, const struct next_hop *hop, int rc)
{
	char reply[REPLY_MAX];

	if (rc == -ECANCELED || rc == -ENOMEM || rc == -EBUSY) {
		settle_all(w, TRY_PENDING, SPOOL_UNTRIED, NULL, NULL);
		return;
	}
	snprintf(reply, sizeof(reply), "%s", hop->refusal[0] ? hop->refusal : "451 4.4.1 the mail server does not answer");
	if (rc == -EACCES && reply[0] == '5') {
		settle_all(w, TRY_PENDING, SPOOL_FOR_GOOD, reply, NULL);
		return;
	}
	w->route_down = true;
	w->met = false;
	settle_all(w, TRY_PENDING, SPOOL_LATER, reply, NULL);
}

/* MAIL. false: those who were pending are settled. may wait */
static bool begin(struct spool_work *w, struct next_hop *hop)
{
	const struct spool_envelope *e = w->lease->envelope;
	struct smtp_client *c = hop->client;
	char reply[REPLY_MAX], path[SRS_ADDRESS_MAX];
	int rc = smtp_client_mail(c, return_path(w->svc->site, hop, e->sender, path), e->params, message_size(w->message), command_deadline(w));

	if (rc == -ENOTSUP || rc == -EINVAL) {
		settle_all(w, TRY_PENDING, SPOOL_FOR_GOOD, rc == -ENOTSUP ? "553 5.6.7 the next mail server takes no internationalized addresses" :
			   "553 5.1.7 the sender's address cannot be said in SMTP", NULL);
		return false;
	}
	if (rc < 0) {
		w->route_down = true;
		settle_all(w, TRY_PENDING, SPOOL_LATER, broken_text(hop, "at MAIL", reply), NULL);
		return false;
	}
	if (kind_of(&c->reply) == SPOOL_TAKEN)
		return true;
	hop->strain += BACKEND_STRAIN_REFUSED;
	w->route_down |= c->reply.code == 421;
	settle_all(w, TRY_PENDING, kind_of(&c->reply), reply_text(&c->reply, reply), hop->name);
	return false;
}

/* RCPT of one. false: the session is of no more use. may wait */
static bool add(struct spool_work *w, struct next_hop *hop, struct spool_try *t, bool others_held)
{
	const struct spool_recipient *r = recipient(w, t);
	struct smtp_client *c = hop->client;
	char reply[REPLY_MAX];
	int rc = smtp_client_rcpt(c, r->address, r->params, command_deadline(w));

	if (rc == -ENOTSUP || rc == -EINVAL) {
		spool_try_settle(t, SPOOL_FOR_GOOD, "553 5.1.3 this address cannot be said to the next mail server", NULL);
		return true;
	}
	if (rc < 0) {
		spool_try_settle(t, SPOOL_LATER, broken_text(hop, "at RCPT", reply), NULL);
		return false;
	}
	/* Too many for one transaction (RFC 5321 4.5.3.1.10): the rest in another. */
	if (c->reply.code == 452 && others_held)
		return true;
	if (kind_of(&c->reply) == SPOOL_TAKEN) {
		t->state = TRY_HELD;
		t->relayed = !c->caps.dsn && dsn_wants_success(r->params);
		return true;
	}
	hop->strain += BACKEND_STRAIN_REFUSED;
	spool_try_settle(t, kind_of(&c->reply), reply_text(&c->reply, reply), hop->name);
	t->unknown = t->kind == SPOOL_FOR_GOOD && smtp_reply_unknown(reply);
	return !c->closing;
}

/* Whether the transaction there holds somebody, and the session can go on. may wait */
static bool add_all(struct spool_work *w, struct next_hop *hop)
{
	size_t held = 0, limit = (size_t)hop->client->caps.limit_rcpt;

	for (size_t i = 0; i < w->count && (limit == 0 || held < limit); i++) {
		struct spool_try *t = &w->try[i];

		if (t->state != TRY_PENDING)
			continue;
		if (!add(w, hop, t, held > 0)) {
			w->route_down |= hop->client->closing;
			settle_all(w, TRY_HELD, SPOOL_LATER, t->reply, t->remote);
			settle_all(w, TRY_PENDING, SPOOL_LATER, t->reply, t->remote);
			return false;
		}
		if (t->state == TRY_PENDING)
			break;
		held += t->state == TRY_HELD;
	}
	return held > 0;
}

/* The message, for those that the transaction holds. may wait */
static void send_message(struct spool_work *w, struct next_hop *hop)
{
	struct smtp_content content = { .message = w->message };
	struct smtp_client *c = hop->client;
	enum smtp_outcome outcome;
	char reply[REPLY_MAX];
	int rc = smtp_client_data(c, &content, deadline(w, w->svc->site->timeouts.dot_budget_ms), &outcome);

	if (rc == 0) {
		enum spool_outcome_kind kind = kind_of(&c->reply);

		if (kind == SPOOL_TAKEN)
			hop->strain = 0;
		w->route_down |= c->reply.code == 421;
		settle_all(w, TRY_HELD, kind, reply_text(&c->reply, reply), hop->name);
		return;
	}
	if (outcome == OUTCOME_UNKNOWN)
		log_warning("perhaps-delivered", "spool", w->lease->envelope->id, "backend", hop->name, "why", c->why, NULL);
	settle_all(w, TRY_HELD, SPOOL_LATER, broken_text(hop, outcome == OUTCOME_UNKNOWN ? "after the end of the message" : "in the message", reply),
		   NULL);
	/* This message did it, or the server is going: the others are not thrown after it. */
	settle_all(w, TRY_PENDING, SPOOL_LATER, reply, NULL);
}

/* All that is pending. may wait */
static void run(struct spool_work *w, struct next_hop *hop)
{
	while (any(w, TRY_PENDING)) {
		int rc = w->svc->draining ? -ECANCELED : next_hop_take(hop, command_deadline(w));

		if (rc < 0) {
			no_session(w, hop, rc);
			break;
		}
		w->met = true;
		memcpy(w->tls, hop->tls, sizeof(w->tls));
		if (begin(w, hop) && add_all(w, hop))
			send_message(w, hop);
		next_hop_give(hop, !hop->client->broken);
	}
}

/* By way of that route, as text. may wait */
static void run_by(struct spool_work *w, const char *route)
{
	AUTO(next_hop) struct next_hop *hop = spool_route_hop(w->svc, route, w->client.addr.family ? &w->client : NULL);

	if (hop)
		run(w, hop);
	else
		settle_all(w, TRY_PENDING, SPOOL_LATER, "451 4.3.5 the configuration knows no way to where this goes", NULL);
}

/* The section domain of a recipient, or NULL; domain: SMTP_DOMAIN_MAX + 1, as it is looked up. */
static const struct domain_conf *section(const struct spool_work *w, const struct spool_try *t, char *domain)
{
	const char *at = strrchr(recipient(w, t)->address, '@');

	return at && smtp_domain_ascii(at + 1, domain) == 0 ? site_domain(w->svc->site, domain) : NULL;
}

/* Whether an owner is known not to say 250 to everybody: what another says means nothing while one who may have the mailbox does not answer (smtp_owner.h). */
static bool says_no(const struct spool_work *w, const struct route *owner, const char *domain)
{
	struct backend_group *g = route_group(w->svc, NULL, owner);

	return g && w->svc->recipients && recipient_accepts_all(w->svc->recipients, g, domain) == 0;
}

/* One whom the owner that he was kept for does not know: the others, up to the one who takes him. may wait */
static void ask_others(struct spool_work *w, struct spool_try *t, const struct domain_conf *d, const char *domain)
{
	bool down = w->route_down, met = w->met;
	char later[REPLY_MAX] = "", route_of[ROUTE_TEXT_MAX];
	struct route route;

	for (size_t i = 0; i < d->owner_count; i++) {
		route_of_owner(d, i, &route);
		if (strcmp(route_text(&route, route_of), w->lease->route) == 0 || (later[0] && !says_no(w, &route, domain)))
			continue;
		t->state = TRY_PENDING;
		run_by(w, route_of);
		if (t->kind == SPOOL_LATER && !later[0])
			snprintf(later, sizeof(later), "%s", t->reply ? t->reply : "451 4.4.1 the mail server does not answer");
		if (t->kind == SPOOL_TAKEN || t->kind == SPOOL_UNTRIED || (t->kind == SPOOL_FOR_GOOD && !t->unknown))
			break;
	}
	w->route_down = down;           /* of the route that the lease is of */
	w->met = met;
	if (t->kind == SPOOL_FOR_GOOD && t->unknown && later[0])
		spool_try_settle(t, SPOOL_LATER, later, NULL);
}

/* The owner that it was kept for is not in the configuration any more. may wait */
static void go_as_now(struct spool_work *w)
{
	char route[SPOOL_ROUTE_MAX], its[SPOOL_ROUTE_MAX];

	for (size_t i = 0; i < w->count; i++)
		w->try[i].state = w->try[i].state == TRY_PENDING ? TRY_WAITING : w->try[i].state;
	for (size_t i = 0; i < w->count; i++) {
		if (w->try[i].state != TRY_WAITING)
			continue;
		if (!spool_route_address(w->svc, recipient(w, &w->try[i])->address, route)) {
			spool_try_settle(&w->try[i], SPOOL_LATER, "451 4.3.5 the configuration knows no way to where this goes", NULL);
			continue;
		}
		for (size_t k = i; k < w->count; k++)
			if (w->try[k].state == TRY_WAITING && spool_route_address(w->svc, recipient(w, &w->try[k])->address, its) && strcmp(its, route) == 0)
				w->try[k].state = TRY_PENDING;
		run_by(w, route);
	}
}

void spool_deliver(struct spool_work *w)
{
	struct route route;
	bool owner = route_parse(w->lease->route, &route) == 0 && route.kind == ROUTE_OWNER;

	if (owner && !route_group(w->svc, NULL, &route))
		go_as_now(w);
	else
		run_by(w, w->lease->route);
	for (size_t i = 0; owner && i < w->count; i++) {
		char domain[SMTP_DOMAIN_MAX + 1];
		const struct domain_conf *d = w->try[i].unknown ? section(w, &w->try[i], domain) : NULL;

		if (d && d->owner_count > 1)
			ask_others(w, &w->try[i], d, domain);
	}
}
