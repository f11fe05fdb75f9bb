#include "hop/auth_hop.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "hop/backend.h"

enum { STIR_MS = 30 * 1000 };

struct auth_hop {
	struct next_hop hop;
	struct smtp_login *login;
};

struct smtp_login *smtp_login_new(struct backend_session *session)
{
	struct smtp_login *l = calloc(1, sizeof(*l));

	if (!l) {
		smtp_login_end(session, false);
		return NULL;
	}
	l->session = session;
	l->said_ms = clock_ms();
	return l;
}

void smtp_login_end(struct backend_session *session, bool clean)
{
	struct smtp_client *c = session->client;

	if (c->closing || c->error == -ETIMEDOUT) {
		c->closing = false;
		c->broken = true;
		c->error = -EPIPE;
	}
	backend_give(session, clean);
}

static void lose(struct smtp_login *l)
{
	if (l->session)
		smtp_login_end(l->session, false);
	l->session = NULL;
}

void smtp_login_free(struct smtp_login *l)
{
	if (!l)
		return;
	if (l->session)
		smtp_login_end(l->session, true);
	free(l);
}

bool smtp_login_alive(struct smtp_login *l)
{
	if (l->session && !l->session->client->closing && smtp_client_quiet(l->session->client))
		return true;
	if (l->session)
		log_notice("backend-lost", "backend", backend_name(l->session->backend), "why",
			   l->session->client->broken ? l->session->client->why : "it closed the session of a user between transactions", NULL);
	lose(l);
	return false;
}

void smtp_login_stir(struct smtp_login *l, int64_t deadline_ms)
{
	if (!l->session || clock_ms() - l->said_ms < STIR_MS)
		return;
	l->said_ms = clock_ms();
	smtp_client_noop(l->session->client, deadline_ms);     /* what has gone is seen at the next command */
}

/* What was begun before is forgotten there. may wait */
static bool rset(struct smtp_login *l, int64_t deadline_ms)
{
	struct smtp_client *c = l->session->client;

	return !l->used || (smtp_client_rset(c, deadline_ms) == 0 && c->reply.code / 100 == 2);
}

static int take(struct next_hop *h, int64_t deadline_ms)
{
	struct smtp_login *l = ((struct auth_hop *)h)->login;

	if (!smtp_login_alive(l) || !rset(l, deadline_ms)) {
		lose(l);
		snprintf(h->refusal, sizeof(h->refusal), "451 4.4.2 the session with the mail server behind is lost, please log in again");
		return -EHOSTUNREACH;
	}
	l->used = true;
	h->client = l->session->client;
	h->strain = 0;                          /* nobody else could have it */
	snprintf(h->name, sizeof(h->name), "%s", backend_name(l->session->backend));
	return 0;
}

static void give(struct next_hop *h, bool clean)
{
	struct smtp_login *l = ((struct auth_hop *)h)->login;

	l->said_ms = clock_ms();
	if (!clean || h->client->broken || h->client->closing)
		lose(l);
	h->client = NULL;
}

static void release(struct next_hop *h)
{
	free(h);
}

static const struct next_hop_ops ops = { take, give, release };

struct next_hop *auth_hop_new(struct smtp_login *l)
{
	struct auth_hop *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->hop.ops = &ops;
	a->hop.own = true;
	a->login = l;
	return &a->hop;
}
