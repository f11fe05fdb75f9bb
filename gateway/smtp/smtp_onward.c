#include "smtp/smtp_onward.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/tls_mint.h"
#include "hop/smtp_client.h"
#include "smtp/smtp_inline.h"
#include "smtp/smtp_session.h"

enum { HANDSHAKE_MS = 60 * 1000 };

bool smtp_onward_offers(const struct smtp_session *s)
{
	if (!s->destination.family || stream_is_tls(s->stream))
		return false;
	return s->listener->tls == LISTENER_TLS_PASS || (s->listener->tls == LISTENER_TLS_OWN_CA && s->svc->mint);
}

static void line(const struct smtp_session *s, enum log_level level, const char *event, const char *what, const char *why)
{
	char to[NET_TEXT_MAX];
	struct log_line l;

	log_start(&l, level, event);
	log_str(&l, "sid", s->id);
	log_str(&l, "client", s->client.ip);
	log_str(&l, "destination", net_text_port(&s->destination, to));
	log_str(&l, "what", what);
	log_str(&l, "why", why);
	log_emit(&l);
}

/* The client may come again, or go on without, as it would if the far end had said so. */
static int not_now(struct smtp_session *s, const char *why)
{
	line(s, LOG_LEVEL_NOTICE, "onward-tls", "no TLS with the far end: the client hears 454", why);
	return smtp_say(s, "454 4.7.0 TLS is not available with this server at present");
}

/* A session without TLS, for what is to follow; NULL: why says why not. may wait */
static struct destination_session *reach(struct smtp_session *s, int64_t deadline_ms, char *why)
{
	struct destination d = smtp_inline_destination(s, "");
	struct destination_session *far = NULL;

	if (destination_open_plain(&d, deadline_ms, &far, why) < 0)
		return NULL;
	if (destination_client(far)->caps.starttls)
		return far;
	snprintf(why, SMTP_WHY_MAX, "it does not offer STARTTLS");
	destination_end(far);
	return NULL;
}

/* STARTTLS is said there; whether its handshake may begin. may wait */
static bool agreed(struct destination_session *far, int64_t deadline_ms, char *why)
{
	struct smtp_client *c = destination_client(far);

	if (smtp_client_starttls_begin(c, deadline_ms) < 0) {
		snprintf(why, SMTP_WHY_MAX, "%s", c->why);
		return false;
	}
	if (c->reply.code == 220)
		return true;
	snprintf(why, SMTP_WHY_MAX, "STARTTLS was answered %d", c->reply.code);
	return false;
}

static int go_ahead(struct smtp_session *s)
{
	int rc = smtp_say(s, "220 2.0.0 ready to start TLS");

	return rc == 0 ? stream_flush(s->stream, s->svc->site->timeouts.command_ms) : rc;
}

/* --- pass --- */

static void passed(const struct smtp_session *s, const struct pump *p, enum pump_end end)
{
	char to[NET_TEXT_MAX];
	struct log_line l;

	log_start(&l, LOG_LEVEL_NOTICE, "passed");
	log_str(&l, "sid", s->id);
	log_str(&l, "client", s->client.ip);
	log_str(&l, "destination", net_text_port(&s->destination, to));
	log_num(&l, "from_client", (int64_t)p->from_a);
	log_num(&l, "from_server", (int64_t)p->from_b);
	log_str(&l, "end", pump_end_text(end));
	log_emit(&l);
}

/* may wait */
static int pass(struct smtp_session *s, struct destination_session *far)
{
	struct pump p = { .a = s->stream, .b = destination_client(far)->stream };
	enum pump_end end;
	int rc = go_ahead(s);

	if (rc < 0)
		return rc;
	line(s, LOG_LEVEL_WARNING, "passed-unscanned", "AN ENCRYPTED SESSION PASSES UNSCANNED: nothing that it carries is checked, signed, counted or kept (tls = pass)",
	     NULL);
	stream_set_deadline(p.a, 0);
	stream_set_deadline(p.b, 0);
	end = smtp_inline_pump(s, &p);
	destination_client(far)->broken = true;         /* nothing is said there any more */
	passed(s, &p, end);
	return -EPIPE;
}

/* --- own-ca --- */

struct choice {
	struct smtp_session *s;
	struct destination_session *far;
	int64_t deadline_ms;
	char why[SMTP_WHY_MAX];
};

/* The client has said whom it asks for: so is the far end asked, and its certificate is the model. may wait */
static int choose(void *arg, const char *name, struct ssl_st *ssl)
{
	struct choice *c = arg;
	struct destination_ahead *a = c->s->ahead;
	const struct stream *stream = destination_client(c->far)->stream;
	struct x509_st *cert;
	char sni[DOMAIN_MAX] = "";
	int rc;

	if (name && domain_canonical(name, strlen(name), sni) < 0)
		sni[0] = '\0';
	rc = destination_starttls(c->far, sni[0] ? sni : NULL, c->deadline_ms, c->why);
	if (rc < 0)
		return rc;
	a->trusted = stream_tls_trusted(stream);
	cert = a->trusted ? stream_tls_certificate(stream) : NULL;
	if (cert && tls_names_digest(cert, a->names) < 0) {
		a->trusted = false;
		cert = NULL;
	}
	a->tls = true;
	memcpy(a->sni, sni, sizeof(a->sni));
	return tls_mint_use(c->s->svc->mint, cert, ssl);
}

/* may wait */
static int stand_in(struct smtp_session *s, struct destination_session *far, int64_t deadline_ms)
{
	struct choice c = { .s = s, .far = far, .deadline_ms = deadline_ms };
	int rc = go_ahead(s);

	if (rc == 0)
		rc = stream_tls_accept_as(s->stream, tls_mint_ctx(s->svc->mint), choose, &c, HANDSHAKE_MS);
	if (rc < 0)
		line(s, LOG_LEVEL_NOTICE, "onward-tls", "the client has not got its TLS", c.why[0] ? c.why : stream_error(s->stream));
	else if (!s->ahead->trusted)
		line(s, LOG_LEVEL_NOTICE, "onward-tls", "the far end's certificate is not verified: neither is the client's", NULL);
	return rc;
}

int smtp_onward_starttls(struct smtp_session *s)
{
	int64_t deadline_ms = clock_ms() + s->svc->site->timeouts.budget_ms;
	struct destination_session *far;
	char why[SMTP_WHY_MAX] = "";
	int rc;

	if (!s->ahead && !(s->ahead = calloc(1, sizeof(*s->ahead))))
		return -ENOMEM;
	far = reach(s, deadline_ms, why);
	if (!far)
		return not_now(s, why);
	if (!agreed(far, deadline_ms, why)) {
		destination_end(far);
		return not_now(s, why);
	}
	rc = s->listener->tls == LISTENER_TLS_PASS ? pass(s, far) : stand_in(s, far, deadline_ms);
	if (rc < 0)
		destination_end(far);
	else
		s->ahead->session = far;
	return rc;
}

void smtp_onward_free(struct destination_ahead *a)
{
	if (a)
		destination_end(a->session);
	free(a);
}
