#include "smtp/smtp_auth.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/sasl.h"
#include "filters/filter.h"
#include "hop/auth_hop.h"
#include "hop/backend.h"
#include "hop/identity.h"
#include "login/login_attempt.h"
#include "policy/conf.h"
#include "smtp/smtp_inline.h"
#include "smtp/smtp_session.h"

enum {
	STEPS_MAX = 16,                 /* GSSAPI takes four */
	DIALOGUE_MS = 3 * 60 * 1000,    /* all of it, our client's pauses included */
	VERDICT_MS = 60 * 1000,         /* but the answer to the line that decides: servers let who fails wait, and who guesses may come late on purpose */
	FALLBACK = SASL_PLAIN | SASL_LOGIN,
};

/* One dialogue. */
struct dialogue {
	struct smtp_session *s;
	struct sasl_login sasl;
	struct login_attempt attempt;
	struct backend_session *session;
	struct smtp_client *backend;
	struct buf challenge;
	int64_t until_ms;
	const char *reply;              /* what the client hears; NULL: what the backend said last */
	bool guessed;                   /* a challenge says what has come of it, see challenged() */
	bool turned_away;               /* reply says why: the server was not asked */
};

/* --- what is offered --- */

static bool in_clear(const struct smtp_session *s)
{
	return !stream_is_tls(s->stream) && !s->svc->site->auth.plaintext;
}

unsigned smtp_auth_mechanisms(const struct smtp_session *s)
{
	const struct site *site = s->svc->site;
	struct smtp_caps caps;

	if (s->login || !site_offers_auth(site, s->listener) || in_clear(s))
		return 0;
	/* While nobody knows what the backends offer, a client that finds nothing would give up for good; so it hears 454. */
	if (!backend_group_caps(s->group, &caps))
		caps.auth = FALLBACK;
	return caps.auth & site->auth.mechanisms;
}

void smtp_auth_offer(const struct smtp_session *s, struct buf *out)
{
	unsigned mechanisms = smtp_auth_mechanisms(s);
	char names[SASL_NAMES_MAX];
	struct smtp_caps caps;

	if (!mechanisms)
		return;
	buf_addf(out, "250-AUTH %s\r\n", sasl_names(mechanisms, names));
	if (backend_group_caps(s->group, &caps) && caps.auth_old)
		buf_addf(out, "250-AUTH=%s\r\n", names);
}

bool smtp_auth_expected(const struct smtp_session *s)
{
	return !s->login && site_offers_auth(s->svc->site, s->listener);
}

const char *smtp_auth_required(const struct smtp_session *s)
{
	if (s->listener->direction != DIRECTION_SUBMISSION || s->login)
		return NULL;
	return in_clear(s) && s->listener->tls == LISTENER_TLS_STARTTLS && s->svc->tls ? "530 5.7.0 STARTTLS first" :
											   "530 5.7.0 authentication required";
}

/* --- the dialogue --- */

/* Nothing of what a buffer held remains. */
static void wipe(struct buf *b)
{
	if (b->data)
		explicit_bzero(b->data, b->cap);
	buf_release(b);
}

/* A session with a backend that offers the mechanism. NULL: here it is; else the reply. may wait */
static const char *open_backend(struct dialogue *d)
{
	struct smtp_identity who = identity_of(&d->s->client, &d->s->local);
	char why[SMTP_WHY_MAX], refusal[SMTP_WHY_MAX] = "", address[NET_TEXT_MAX];
	struct destination to;
	int rc;

	/* Inline: the server that the client wanted, in its name, and no other: the password is for that one. */
	if (d->s->destination.family) {
		to = smtp_inline_destination(d->s, "");
		rc = destination_backend(&to, d->until_ms, &d->session, why, refusal);
	} else {
		rc = backend_take_new(d->s->group, &who, d->until_ms, &d->session, refusal);
	}
	if (rc < 0) {
		d->session = NULL;
		if (refusal[0]) {
			log_notice("backend-refuses", "sid", d->s->id, "client", d->s->client.ip, "reply", refusal, NULL);
			return "454 4.7.0 the mail server behind takes no connection from you now";
		}
		if (rc == -ENOENT) {
			log_warning("login-elsewhere", "sid", d->s->id, "client", d->s->client.ip, "destination", net_text_port(&d->s->destination, address),
				    "error", "it is none of the listener's backends: no password goes there, nor to these", NULL);
			return "454 4.7.0 logins to this mail server are not passed on here";
		}
		return rc == -EBUSY ? "454 4.7.0 the mail server behind is busy, try again later" :
				      "454 4.7.0 the mail server behind does not answer, try again later";
	}
	d->backend = d->session->client;
	/* What the client said under TLS is not said in clear text because somebody on the way breaks a handshake. */
	if (d->backend->tls_failed[0] && !d->s->svc->site->auth.plaintext) {
		log_warning("backend-tls", "sid", d->s->id, "backend", backend_name(d->session->backend), "error", "TLS failed: no password goes there",
			    "why", d->backend->tls_failed, NULL);
		return "454 4.7.0 the mail server behind cannot be reached under TLS, try again later";
	}
	/* Away and back, or without TLS this time. */
	if (!(d->backend->caps.auth & d->sasl.mechanism))
		return "454 4.7.0 the mail server behind does not offer this now, try again later";
	return NULL;
}

static int64_t budget(const struct smtp_session *s)
{
	int ms = s->svc->site->timeouts.budget_ms;

	return clock_ms() + (ms > 0 && ms < DIALOGUE_MS ? ms : DIALOGUE_MS);
}

/* One line to the backend, its answer. 0: it lies in d->backend->reply. may wait */
static int to_backend(struct dialogue *d, const char *line, size_t len)
{
	int rc = smtp_client_auth(d->backend, line, len, &d->challenge, d->until_ms);

	if (rc < 0) {
		log_notice("backend-lost", "sid", d->s->id, "backend", backend_name(d->session->backend), "why", d->backend->why, NULL);
		d->reply = "454 4.7.0 the mail server behind does not answer, try again later";
	}
	return rc;
}

/* AUTH and the initial response. may wait */
static int begin(struct dialogue *d, const struct smtp_command *c)
{
	struct buf line = BUF_INIT(SASL_LINE_MAX + 64);
	int rc = buf_reserve(&line, c->initial_len + 64);      /* at once: growing would leave copies */

	if (rc < 0)
		return rc;
	buf_addf(&line, "AUTH %s", sasl_name(c->mechanism));
	if (c->initial) {
		buf_addc(&line, ' ');
		buf_add(&line, c->initial, c->initial_len);
	}
	rc = line.failed ? -ENOMEM : to_backend(d, line.data, line.len);
	wipe(&line);
	return rc;
}

/* The dialogue ends on our side; the backend is told, what it says is nothing to the client. */
static void cancel(struct dialogue *d, const char *reply)
{
	if (to_backend(d, "*", 1) < 0 || d->backend->reply.code == 334)
		d->backend->broken = true;
	d->reply = reply;
}

/* Who tries to log in, as far as it is known. */
static void name_attempt(struct dialogue *d)
{
	struct smtp_session *s = d->s;
	struct login_attempt *a = &d->attempt;

	a->protocol = "smtp";
	a->mechanism = sasl_name(d->sasl.mechanism);
	a->sid = s->id;
	a->listener = s->client.listener;
	a->tls = s->client.tls_version;
	a->backend = d->session ? backend_name(d->session->backend) : NULL;
	a->client = &s->client.addr;
	a->gone = stream_left;
	a->stream = s->stream;
	a->limit = s->admitted ? &s->admission.limit : NULL;
	memcpy(a->user, d->sasl.user, sizeof(a->user));
}

/* By the guard, which has logged it; the backend has not seen the password. */
static void turn_away(struct dialogue *d, const char *reply)
{
	d->turned_away = true;
	d->reply = reply;
	if (d->backend)
		cancel(d, reply);
}

/* A challenge to the client, its answer. 0: *line, *len; 1: there is none, d->reply says why; else an error of the client's stream. may wait */
static int to_client(struct dialogue *d, const char **line, size_t *len)
{
	struct smtp_session *s = d->s;
	int64_t left = d->until_ms - clock_ms();
	int wait_ms = s->svc->site->timeouts.command_ms, rc;

	rc = stream_printf(s->stream, "334 ");
	if (rc == 0)
		rc = stream_write(s->stream, buf_str(&d->challenge), d->challenge.len);
	if (rc == 0)
		rc = stream_write(s->stream, "\r\n", 2);
	if (rc == 0)
		rc = stream_read_line(s->stream, SASL_LINE_MAX, left < wait_ms ? left > 0 ? (int)left : 0 : wait_ms, line, len);
	if (rc == -EMSGSIZE) {
		cancel(d, "500 5.5.6 authentication exchange line too long");
		return 1;
	}
	if (rc < 0)
		return rc;
	if (*len < 2 || (*line)[*len - 2] != '\r') {
		cancel(d, "501 5.5.2 lines end with CR LF");
		return 1;
	}
	*len -= 2;
	switch (sasl_client_line(&d->sasl, false, *line, *len)) {
	case SASL_DATA:
		return 0;
	case SASL_CANCEL:
		cancel(d, "501 5.7.0 authentication cancelled");
		break;
	case SASL_BAD:
		cancel(d, *len ? "501 5.5.2 not base64, or not what this mechanism says" : "501 5.5.2 a login begins with a name");
		break;
	}
	return 1;
}

/*
 * Before the line that decides goes to the backend: whether it may, after how long, and when it is its turn. 0: go on; 1: it may not, d->reply says why;
 * else an error. may wait
 */
static int ask_guard(struct dialogue *d)
{
	struct login_attempt *a = &d->attempt;
	bool first = !a->asked;
	int rc = 0;

	if (!sasl_decides(&d->sasl))
		return 0;
	name_attempt(d);
	switch (login_attempt_ask(d->s->svc->login, a, &rc)) {
	case LOGIN_ADMIT:
		if (first && d->until_ms < clock_ms() + VERDICT_MS)
			d->until_ms = clock_ms() + VERDICT_MS;
		return 0;
	case LOGIN_TURNED_AWAY:
		d->s->state = SMTP_CLOSING;
		turn_away(d, "421 4.7.0 too many failed logins, try again later");
		return 1;
	case LOGIN_BUSY:
		turn_away(d, "454 4.7.0 too many logins at once, try again later");
		return 1;
	case LOGIN_CANCELLED:
		break;
	}
	return rc < 0 ? rc : -ECANCELED;
}

/*
 * Behind the line that decides a challenge says what has come of it, the end of SCRAM or DIGEST-MD5, say: whoever breaks off then has made his guess. A token
 * that is refused is refused in one, which the client answers before the server says 535 (RFC 7628 3.2.3).
 */
static void challenged(struct dialogue *d)
{
	d->guessed = d->attempt.asked;
}

/* To the end. 0: d->reply, or the backend's last; else an error of the client's stream. may wait */
static int converse(struct dialogue *d, const struct smtp_command *c)
{
	int rc = begin(d, c);

	for (int step = 0; rc == 0 && d->backend->reply.code == 334; step++) {
		const char *line = "";
		size_t len = 0;

		challenged(d);
		if (step == STEPS_MAX) {
			cancel(d, "454 4.7.0 the dialogue does not end");
			return 0;
		}
		rc = to_client(d, &line, &len);
		if (rc == 0)
			rc = ask_guard(d);
		if (rc != 0)
			return rc < 0 ? rc : 0;
		rc = to_backend(d, line, len);
	}
	if (rc == -ENOMEM && !d->reply)
		d->reply = "454 4.7.0 out of memory, try again later";
	return 0;
}

/* --- its end --- */

/* A refusal that says something of the user or the password, and not of the command. */
static bool is_failure(int code)
{
	return code / 100 == 5 && !(code >= 500 && code <= 504) && code != 530 && code != 538;
}

/* The backend's words, with an enhanced code where it has none. */
static int pass_on(struct dialogue *d)
{
	AUTO(buf) struct buf out = BUF_INIT(SMTP_REPLY_OUT_MAX * SMTP_REPLY_LINES_MAX);
	const struct smtp_reply *r = &d->backend->reply;

	if (r->code == 421 || !smtp_reply_final(r))
		return smtp_say(d->s, "454 4.7.0 the mail server behind is closing, try again later");
	if (smtp_reply_pass(&out, r, r->code == 235 ? "2.7.0" : smtp_status_default(r->code), NULL) < 0)
		return smtp_say(d->s, r->code == 235 ? "235 2.7.0 authenticated" : "454 4.7.0 authentication failed for now");
	return stream_write(d->s->stream, out.data, out.len);
}

/* The backend said 235: the session is the client's. may wait */
static int logged_in(struct dialogue *d)
{
	struct smtp_session *s = d->s;
	char *user = strdup(d->sasl.user), *mechanism = strdup(sasl_name(d->sasl.mechanism));
	struct backend_session *session = d->session;

	login_attempt_end(s->svc->login, &d->attempt, LOGIN_OK, NULL);
	d->session = NULL;
	s->login = smtp_login_new(session);
	if (!user || !mechanism || !s->login) {
		free(user);
		free(mechanism);
		smtp_login_free(s->login);
		s->login = NULL;
		return smtp_say(s, "454 4.7.0 out of memory, try again later");
	}
	s->client.auth_user = user;
	s->client.auth_mechanism = mechanism;
	s->login->was_relay = s->client.relay;
	s->client.relay = true;
	filters_release(&s->client.evidence);   /* what was found out about a stranger */
	stream_set_secret(s->stream, false);
	return pass_on(d);
}

static int conclude(struct dialogue *d)
{
	struct smtp_session *s = d->s;
	int code = d->reply ? 0 : d->backend->reply.code;
	char digits[16];

	if (d->turned_away)
		return smtp_say(s, d->reply);
	name_attempt(d);
	if (code == 235)
		return logged_in(d);
	if (code / 100 == 2)
		d->reply = "454 4.7.0 the mail server behind is confused, try again later";
	snprintf(digits, sizeof(digits), "%d", code);
	if (is_failure(code) || (d->guessed && d->reply && d->reply[0] == '5')) {
		s->errors++;
		login_attempt_end(s->svc->login, &d->attempt, LOGIN_FAILED, code ? digits : NULL);
	} else {
		login_attempt_end(s->svc->login, &d->attempt, d->reply && d->reply[0] == '5' ? LOGIN_BROKEN_OFF : LOGIN_UNAVAILABLE,
				  d->reply ? NULL : digits);
	}
	if (d->reply)
		return d->reply[0] == '5' ? smtp_refuse(s, d->reply) : smtp_say(s, d->reply);
	return pass_on(d);
}

/* NULL: the command makes sense here and now. */
static const char *refuse(const struct smtp_session *s, const struct smtp_command *c)
{
	if (!site_offers_auth(s->svc->site, s->listener))
		return "502 5.5.1 AUTH is not offered here";
	if (s->login)
		return "503 5.5.1 you have logged in already";
	if (!s->client.esmtp)
		return "503 5.5.1 EHLO first";
	if (in_clear(s))
		return "538 5.7.11 encryption is needed for a login";
	if (!(smtp_auth_mechanisms(s) & c->mechanism))
		return "504 5.5.4 this mechanism is not offered";
	/* Servers take it for no name yet, and ask for one: we would take that for the password, and count what its user sends as nobody's. */
	if (c->mechanism == SASL_LOGIN && c->initial && c->initial_len == 1 && c->initial[0] == '=')
		return "501 5.5.2 a login begins with a name";
	return NULL;
}

int smtp_do_auth(struct smtp_session *s, struct smtp_command *c)
{
	struct dialogue *d;
	const char *refusal = refuse(s, c);
	int rc;

	if (refusal)
		return smtp_refuse(s, refusal);
	d = calloc(1, sizeof(*d));
	if (!d)
		return smtp_say(s, "454 4.7.0 out of memory, try again later");
	d->s = s;
	d->sasl.mechanism = c->mechanism;
	buf_init(&d->challenge, SASL_LINE_MAX);
	if (c->initial && sasl_client_line(&d->sasl, true, c->initial, c->initial_len) != SASL_DATA) {
		free(d);
		return smtp_refuse(s, "501 5.5.2 this mechanism says something else");
	}
	rc = ask_guard(d);
	if (rc == 0) {
		d->until_ms = budget(s);
		d->reply = open_backend(d);
		if (!d->reply)
			rc = converse(d, c);
	}
	if (rc >= 0)
		rc = conclude(d);
	else if (d->guessed && rc != -ECANCELED)        /* we break off */
		login_attempt_end(s->svc->login, &d->attempt, LOGIN_FAILED, NULL);
	/* The client has gone in the middle: a QUIT would be the answer to a challenge, a password even. */
	if (rc < 0 && d->backend && d->backend->reply.code == 334)
		d->backend->broken = true;
	if (d->session)
		smtp_login_end(d->session, true);
	login_attempt_drop(s->svc->login, &d->attempt);
	wipe(&d->challenge);
	free(d);
	return rc;
}

void smtp_auth_forget(struct smtp_session *s)
{
	if (s->login) {
		s->client.relay = s->login->was_relay;
		filters_release(&s->client.evidence);   /* a stranger again, and to be looked at as one */
	}
	smtp_login_free(s->login);
	s->login = NULL;
	free(s->client.auth_user);
	free(s->client.auth_mechanism);
	s->client.auth_user = s->client.auth_mechanism = NULL;
}
