#include "pop3/pop3_auth.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "access/access_backend.h"
#include "base/stream.h"
#include "pop3/pop3_hop.h"
#include "pop3/pop3_session.h"

enum {
	STEPS_MAX = 16,                 /* GSSAPI takes four */
	CODE_MAX = 40,
};

static const char no_clear_text[] = "-ERR logins are refused here without encryption";

unsigned pop3_auth_mechanisms(const struct pop3_session *p)
{
	unsigned set = p->s->svc->site->auth.mechanisms;

	if (access_client_refuses_clear(p->s))
		set &= ~(unsigned)SASL_SHOWS_PASSWORD;
	return access_backend_routes(p->s) ? set & SASL_NAME_FIRST : set;
}

void pop3_auth_forget(struct pop3_session *p)
{
	free(p->user);
	p->user = NULL;
	p->user_len = 0;
}

/* --- an attempt, and the guard --- */

static void begin(struct pop3_session *p, const char *mechanism)
{
	struct access_session *s = p->s;

	memset(&p->sasl, 0, sizeof(p->sasl));
	p->attempt = (struct login_attempt){
		.protocol = "pop3", .mechanism = mechanism, .sid = s->id, .listener = s->conf->name, .tls = stream_tls_version(s->client), .client = &s->addr,
		.gone = stream_left, .stream = s->client, .limit = &s->limit,
	};
}

/* Whether it may go on: 0; 1: the client has heard that it may not, and may say something else; negative: it is over. may wait */
static int ask(struct pop3_session *p)
{
	int rc;

	p->attempt.backend = p->s->backend.link.name;
	switch (login_attempt_ask(p->s->svc->login, &p->attempt, &rc)) {
	case LOGIN_ADMIT:
		access_login_decides(p->s);
		return 0;
	case LOGIN_TURNED_AWAY:
		access_end(p->s, "refused", "too many failed logins");
		pop3_say(p, "-ERR [SYS/TEMP] too many failed logins from your network, try again later");
		return -EACCES;
	case LOGIN_BUSY:
		rc = pop3_say(p, "-ERR [SYS/TEMP] too many logins at once from your network, try again later");
		return rc < 0 ? rc : 1;
	case LOGIN_CANCELLED:
		break;
	}
	return rc < 0 ? rc : -ECANCELED;
}

static void end(struct pop3_session *p, enum login_result result, const char *code)
{
	p->attempt.backend = p->s->backend.link.name;
	login_attempt_end(p->s->svc->login, &p->attempt, result, code);
}

/* No password goes to this server. may wait */
static int unsafe(struct pop3_session *p)
{
	end(p, LOGIN_UNAVAILABLE, "TLS failed");
	return pop3_say(p, "-ERR [SYS/TEMP] the mail server behind cannot be reached under TLS, try again later");
}

/* A password that would be read on the way: whose program comes so is worth a line. */
static int in_clear(struct pop3_session *p, const char *mechanism, const char *user, size_t len)
{
	begin(p, mechanism);
	sasl_user_keep(p->attempt.user, user, len);
	end(p, LOGIN_BROKEN_OFF, "no password without TLS");
	return pop3_refuse(p, no_clear_text);
}

/* The server does not speak any more, or nonsense. */
static int broken(struct pop3_session *p, int rc)
{
	end(p, LOGIN_UNAVAILABLE, p->why);
	return pop3_lost(p, rc);
}

/* --- what the server says --- */

/* A refusal that says something of the user or the password: RFC 2449 8.1, RFC 3206. Of AUTH without any it is about the mechanism. */
static bool is_failure(const struct pop3_session *p, const struct pop3_reply *r)
{
	if (p->sasl.mechanism && p->sasl.step == 0)
		return false;
	if (!r->code)
		return !login_words_unavailable(r->text, r->text_len);
	return !pop3_reply_is(r, "SYS") && !pop3_reply_is(r, "IN-USE") && !pop3_reply_is(r, "LOGIN-DELAY");
}

/* Its last word on the login: counted, logged, passed on. may wait */
static int conclude(struct pop3_session *p, const struct pop3_reply *r)
{
	char code[CODE_MAX] = "";
	int rc;

	if (r->code)
		snprintf(code, sizeof(code), "%.*s", (int)r->code_len, r->code);
	if (r->status == POP3_STATUS_OK) {
		end(p, LOGIN_OK, NULL);
		p->s->user = p->attempt.user[0] ? strdup(p->attempt.user) : NULL;
		p->s->for_other = p->sasl.for_other;
		p->in = true;
		return stream_write(p->s->client, r->line, r->line_len);
	}
	end(p, is_failure(p, r) ? LOGIN_FAILED : LOGIN_UNAVAILABLE, code[0] ? code : NULL);
	rc = stream_write(p->s->client, r->line, r->line_len);
	return rc < 0 ? rc : pop3_refuse(p, NULL);
}

/* The same of a password's answer, if there is one: rc. may wait */
static int answered(struct pop3_session *p, int rc, const struct pop3_reply *r)
{
	if (rc == 0 && r->status == POP3_STATUS_CHALLENGE) {
		snprintf(p->why, sizeof(p->why), "the server answers a password with a challenge");
		rc = -EPROTO;
	}
	return rc < 0 ? broken(p, rc) : conclude(p, r);
}

/* --- the right server --- */

/* The user's server, where users are routed. 0; 1: the client has heard why not; negative: it is over. may wait */
static int route(struct pop3_session *p)
{
	struct access_session *s = p->s;
	const char *user = p->attempt.user;
	int rc;

	if (!access_backend_routes(s) || access_backend_suits(s, user))
		return 0;
	access_backend_close(s);
	rc = pop3_hop_open(p, user);
	if (rc == 0)
		return 0;
	if (rc == POP3_HOP_REFUSED)
		snprintf(p->why, sizeof(p->why), "the server takes no connection");
	return broken(p, rc < 0 ? rc : -ECONNREFUSED);
}

/* --- USER and PASS --- */

int pop3_auth_user(struct pop3_session *p, const struct pop3_command *c, const char *line, size_t len)
{
	struct pop3_reply r = { 0 };
	char *user;
	int rc;

	if (access_client_refuses_clear(p->s))
		return in_clear(p, "USER", c->name, c->name_len);
	user = strndup(c->name, c->name_len);
	if (!user)
		return pop3_say(p, "-ERR [SYS/TEMP] out of memory, try again later");
	pop3_auth_forget(p);
	p->user = user;
	p->user_len = c->name_len;
	if (access_backend_routes(p->s))
		return pop3_say(p, "+OK and the password?");
	rc = pop3_hop_exchange(p, line, len, &r);
	if (rc < 0)
		return pop3_lost(p, rc);
	if (r.status == POP3_STATUS_OK)
		return stream_write(p->s->client, r.line, r.line_len);
	pop3_auth_forget(p);            /* it knows no such user, and says so at once */
	begin(p, "USER");
	sasl_user_keep(p->attempt.user, c->name, c->name_len);
	return answered(p, 0, &r);
}

/* USER once more, to a server that has not heard it. 0: it wants the password; 1: it does not, and the client has heard it. may wait */
static int say_user(struct pop3_session *p)
{
	struct pop3_reply r = { 0 };
	int rc = pop3_hop_say(p, "USER ", p->user, NULL);

	if (rc == 0)
		rc = pop3_hop_read(p, &r);
	if (rc == 0 && r.status == POP3_STATUS_OK)
		return 0;
	rc = answered(p, rc, &r);
	return rc < 0 ? rc : 1;
}

int pop3_auth_pass(struct pop3_session *p, const struct pop3_command *c, const char *line, size_t len)
{
	struct pop3_reply r = { 0 };
	int rc;

	if (access_client_refuses_clear(p->s))
		return pop3_refuse(p, no_clear_text);
	if (!p->user)
		return pop3_refuse(p, "-ERR USER first");
	begin(p, "USER");
	sasl_user_keep(p->attempt.user, p->user, p->user_len);
	rc = ask(p);
	if (rc != 0)
		return rc < 0 ? rc : 0;
	if (access_backend_routes(p->s)) {
		rc = route(p);
		if (rc == 0 && access_backend_unsafe(p->s))
			return unsafe(p);
		if (rc == 0)
			rc = say_user(p);
		if (rc != 0)
			return rc < 0 ? rc : 0;
	} else if (access_backend_unsafe(p->s)) {
		return unsafe(p);
	}
	rc = pop3_hop_exchange(p, line, len, &r);
	pop3_auth_forget(p);            /* RFC 1939 7: USER before each PASS */
	return answered(p, rc, &r);
}

int pop3_auth_apop(struct pop3_session *p, const struct pop3_command *c, const char *line, size_t len)
{
	struct pop3_reply r = { 0 };
	int rc;

	if (access_backend_routes(p->s) || p->clear_greeting)
		return pop3_refuse(p, "-ERR APOP is not offered here");
	pop3_auth_forget(p);            /* PASS follows USER: a server may take another's name for the last one that was said */
	begin(p, "APOP");
	sasl_user_keep(p->attempt.user, c->name, c->name_len);
	rc = ask(p);
	if (rc != 0)
		return rc < 0 ? rc : 0;
	rc = pop3_hop_exchange(p, line, len, &r);
	return answered(p, rc, &r);
}

/* --- AUTH --- */

/* Where a dialogue stands: the client's next line is the server's, the server's is the client's. */
struct dialogue {
	struct pop3_session *p;
	bool decided;                   /* the server has a line on which it decides: who breaks off now has made his guess */
	struct pop3_reply r;            /* what the server has said last */
};

/* What it counts as when the client breaks off. A token that is wrong is refused in a challenge, which has to be answered first (RFC 7628 3.2.3). */
static enum login_result broken_off(const struct dialogue *d)
{
	return d->decided ? LOGIN_FAILED : LOGIN_BROKEN_OFF;
}

/* The client has broken off, or has to: the server hears no more of it. may wait */
static int cancel(struct dialogue *d, const char *text)
{
	struct pop3_session *p = d->p;
	int rc = pop3_hop_ask(p, "*", &d->r);

	end(p, broken_off(d), NULL);
	if (rc == 0 && d->r.status != POP3_STATUS_ERR) {
		snprintf(p->why, sizeof(p->why), "the server goes on with a login that was cancelled");
		rc = -EPROTO;
	}
	if (rc < 0)
		return pop3_lost(p, rc);
	return pop3_refuse(p, text);
}

/* A challenge to the client, its answer. 0: line, len; negative: it is over. may wait */
static int challenge(struct pop3_session *p, const char *text, size_t text_len, const char **line, size_t *len)
{
	struct stream *client = p->s->client;
	int rc = stream_write(client, "+ ", 2);

	if (rc == 0)
		rc = stream_write(client, text, text_len);
	if (rc == 0)
		rc = stream_write(client, "\r\n", 2);
	return rc < 0 ? rc : stream_read_line(client, SASL_LINE_MAX, -1, line, len);
}

/* What a line of the client's within the dialogue is: its end is taken off. */
static enum sasl_line client_line(struct pop3_session *p, const char *line, size_t *len)
{
	if (*len < 2 || line[*len - 2] != '\r')
		return SASL_BAD;
	*len -= 2;
	return sasl_client_line(&p->sasl, false, line, *len);
}

/* The guard is asked before each line that decides: a name may come late. As ask(). may wait */
static int ask_before(struct dialogue *d)
{
	struct pop3_session *p = d->p;

	memcpy(p->attempt.user, p->sasl.user, sizeof(p->attempt.user));
	if (!sasl_decides(&p->sasl))
		return 0;
	d->decided = true;
	return ask(p);
}

static const char *bad_line(enum sasl_line what)
{
	return what == SASL_CANCEL ? "-ERR authentication cancelled" : "-ERR not base64";
}

/* The dialogue from a challenge of the server's on. may wait */
static int converse(struct dialogue *d)
{
	struct pop3_session *p = d->p;

	for (int step = 0; d->r.status == POP3_STATUS_CHALLENGE; step++) {
		const char *line = "";
		size_t len = 0;
		enum sasl_line what;
		int rc;

		if (step == STEPS_MAX || !sasl_base64_ok(d->r.text, d->r.text_len)) {
			snprintf(p->why, sizeof(p->why), step == STEPS_MAX ? "a dialogue without end" : "a challenge that is not base64");
			return broken(p, -EPROTO);
		}
		rc = challenge(p, d->r.text, d->r.text_len, &line, &len);
		if (rc == -EMSGSIZE)
			return cancel(d, "-ERR line too long");
		if (rc < 0) {
			if (rc != -ECANCELED)   /* we break off */
				end(p, broken_off(d), NULL);
			return rc;
		}
		what = client_line(p, line, &len);
		if (what != SASL_DATA)
			return cancel(d, bad_line(what));
		rc = ask_before(d);
		if (rc < 0)
			return rc;
		if (rc > 0) {           /* the client has heard it; the server is told */
			rc = pop3_hop_ask(p, "*", &d->r);
			return rc < 0 || d->r.status == POP3_STATUS_CHALLENGE ? pop3_lost(p, rc < 0 ? rc : -EPROTO) : 0;
		}
		rc = pop3_hop_exchange(p, line, len + 2, &d->r);
		if (rc < 0)
			return broken(p, rc);
	}
	return conclude(p, &d->r);
}

/* AUTH to the server, and its answer. initial: NULL: none. may wait */
static int begin_server(struct dialogue *d, const char *initial, size_t len)
{
	struct pop3_session *p = d->p;
	int rc = pop3_hop_send(p, "AUTH ", 5);

	if (rc == 0)
		rc = stream_write(p->s->backend.stream, sasl_name(p->sasl.mechanism), strlen(sasl_name(p->sasl.mechanism)));
	if (rc == 0 && initial)
		rc = stream_write(p->s->backend.stream, " ", 1);
	if (rc == 0 && initial)
		rc = stream_write(p->s->backend.stream, initial, len);
	if (rc == 0)
		rc = stream_write(p->s->backend.stream, "\r\n", 2);
	return rc < 0 ? rc : pop3_hop_read(p, &d->r);
}

/* The client's first line is with us; where it did not come with AUTH, the server wants to be asked for it. may wait */
static int first_line(struct dialogue *d, const struct pop3_command *c, const char *line, size_t len)
{
	struct pop3_session *p = d->p;
	int rc;

	if (access_backend_unsafe(p->s))
		return unsafe(p);
	rc = begin_server(d, c->initial, c->initial_len);
	if (rc == 0 && !c->initial && d->r.status == POP3_STATUS_CHALLENGE) {
		rc = pop3_hop_send(p, line, len);
		if (rc == 0)
			rc = stream_write(p->s->backend.stream, "\r\n", 2);
		if (rc == 0)
			rc = pop3_hop_read(p, &d->r);
	}
	return rc < 0 ? broken(p, rc) : converse(d);
}

/* Whose server it is shows in the client's first line: until then the gateway asks. may wait */
static int routed(struct dialogue *d, const struct pop3_command *c)
{
	static const char user_name[] = "VXNlcm5hbWU6";         /* "Username:" */
	struct pop3_session *p = d->p;
	const char *line = c->initial, *text = p->sasl.mechanism == SASL_LOGIN ? user_name : "";
	size_t len = c->initial_len;
	enum sasl_line what;
	int rc = 0;

	if (!c->initial) {
		rc = challenge(p, text, strlen(text), &line, &len);
		if (rc == -EMSGSIZE)
			return pop3_refuse(p, "-ERR line too long");
		if (rc < 0)
			return rc;
		what = client_line(p, line, &len);
		if (what != SASL_DATA)
			return pop3_refuse(p, bad_line(what));
	}
	if (!p->sasl.user[0])
		return pop3_refuse(p, "-ERR the user's name cannot be read");
	rc = ask_before(d);
	if (rc == 0)
		rc = route(p);
	return rc < 0 ? rc : rc > 0 ? 0 : first_line(d, c, line, len);
}

int pop3_auth_sasl(struct pop3_session *p, const struct pop3_command *c)
{
	struct dialogue d = { .p = p };
	int rc = 0;

	if (access_client_refuses_clear(p->s) && (c->mechanism & SASL_SHOWS_PASSWORD))
		return in_clear(p, sasl_name(c->mechanism), "", 0);
	if (!(pop3_auth_mechanisms(p) & c->mechanism))
		return pop3_refuse(p, pop3_command_reply(POP3_COMMAND_MECHANISM));
	pop3_auth_forget(p);            /* as for APOP */
	begin(p, sasl_name(c->mechanism));
	p->sasl.mechanism = c->mechanism;
	if (c->initial && sasl_client_line(&p->sasl, true, c->initial, c->initial_len) != SASL_DATA)
		return pop3_refuse(p, pop3_command_reply(POP3_COMMAND_ARGUMENT));
	if (access_backend_routes(p->s))
		return routed(&d, c);
	if (c->initial)
		rc = ask_before(&d);
	if (rc != 0)
		return rc < 0 ? rc : 0;
	if (access_backend_unsafe(p->s))
		return unsafe(p);
	rc = begin_server(&d, c->initial, c->initial_len);
	return rc < 0 ? broken(p, rc) : converse(&d);
}
