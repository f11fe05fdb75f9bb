#include "pop3/pop3_server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "access/access_backend.h"
#include "base/stream.h"
#include "base/task.h"
#include "pop3/pop3_auth.h"
#include "pop3/pop3_capa.h"
#include "pop3/pop3_hop.h"
#include "pop3/pop3_scan.h"
#include "pop3/pop3_session.h"

enum { CLOSE_MS = 5 * 1000 };

/* --- what all files of this room say with --- */

int pop3_say(struct pop3_session *p, const char *text)
{
	int rc = stream_write(p->s->client, text, strlen(text));

	return rc < 0 ? rc : stream_write(p->s->client, "\r\n", 2);
}

int pop3_refuse(struct pop3_session *p, const char *text)
{
	int rc = text ? pop3_say(p, text) : 0;

	access_limit_error(p->s);
	if (rc < 0 || ++p->s->errors < ACCESS_ERRORS_MAX)
		return rc;
	access_end(p->s, "refused", "too many errors");
	pop3_say(p, "-ERR too many errors");
	return -EACCES;
}

int pop3_lost(struct pop3_session *p, int rc)
{
	if (rc == -ECANCELED) {
		access_end(p->s, "shutting down", NULL);
	} else {
		access_end(p->s, rc == -EPROTO ? "backend confused" : p->s->backend.stream ? "backend lost" : "no backend", p->why);
		pop3_say(p, rc == -EBUSY ? "-ERR [SYS/TEMP] the mail server behind is busy, try again later" :
					   "-ERR [SYS/TEMP] the mail server behind does not answer, try again later");
	}
	return rc < 0 ? rc : -EPIPE;
}

/* --- what is passed to the server and back --- */

/* A command that the server answers with one line; its list follows if it says +OK. may wait */
static int pass(struct pop3_session *p, const char *command, size_t len, bool list)
{
	AUTO(buf) struct buf lines = BUF_INIT(POP3_LIST_MAX);
	struct pop3_reply r = { 0 };
	int rc = pop3_hop_exchange(p, command, len, &r);

	if (rc < 0)
		return pop3_lost(p, rc);
	rc = stream_write(p->s->client, r.line, r.line_len);
	if (rc < 0 || !list || r.status != POP3_STATUS_OK)
		return rc;
	rc = pop3_hop_lines(p, &lines);
	if (rc < 0)
		return pop3_lost(p, rc);
	rc = stream_write(p->s->client, buf_str(&lines), lines.len);
	return rc < 0 ? rc : pop3_say(p, ".");
}

static int do_user(struct pop3_session *p, const struct pop3_command *c, const char *line, size_t len)
{
	return pop3_auth_user(p, c, line, len);
}

static int do_utf8(struct pop3_session *p, const struct pop3_command *c, const char *line, size_t len)
{
	return access_backend_routes(p->s) ? pop3_refuse(p, "-ERR not offered here") : pass(p, line, len, c->verb == POP3_LANG && c->arg_len == 0);
}

static int do_quit(struct pop3_session *p, const struct pop3_command *c, const char *line, size_t len)
{
	int rc = pass(p, line, len, false);

	access_end(p->s, "closed", NULL);
	return rc < 0 ? rc : -ESHUTDOWN;
}

static int do_http(struct pop3_session *p, const struct pop3_command *c, const char *line, size_t len)
{
	access_end(p->s, "refused", "a web client");
	pop3_say(p, "-ERR this is a mail server");
	return -EACCES;
}

/* --- CAPA, and AUTH alone --- */

static struct pop3_capa_rules capa_rules(const struct pop3_session *p)
{
	return (struct pop3_capa_rules){
		.stls = !p->in && access_client_may_starttls(p->s),    /* RFC 2595 4: before the login alone */
		.no_clear = !p->in && access_client_refuses_clear(p->s),
		.routed = access_backend_routes(p->s),
		.scan = p->s->conf->scan,
		.mechanisms = pop3_auth_mechanisms(p),
	};
}

int pop3_list(struct pop3_session *p, const char *command)
{
	AUTO(buf) struct buf lines = BUF_INIT(POP3_LIST_MAX), out = BUF_INIT(POP3_LIST_MAX + 4096);
	struct pop3_capa_rules rules = capa_rules(p);
	bool capa = strcmp(command, "CAPA") == 0;
	struct pop3_reply r = { 0 };
	int rc = pop3_hop_ask(p, command, &r);

	if (rc == 0 && r.status == POP3_STATUS_CHALLENGE) {
		strcpy(p->why, "the server answers a list with a challenge");
		rc = -EPROTO;
	}
	if (rc < 0)
		return pop3_lost(p, rc);
	/* A server that does not know it: who looks for STLS has to find it. */
	if (r.status == POP3_STATUS_ERR && !(capa && rules.stls))
		return stream_write(p->s->client, r.line, r.line_len);
	if (r.status == POP3_STATUS_ERR) {
		buf_adds(&out, "+OK\r\n");
		rc = pop3_capa_supposed(&rules, &out);
	} else {
		buf_add(&out, r.line, r.line_len);
		rc = pop3_hop_lines(p, &lines);
		if (rc < 0)
			return pop3_lost(p, rc);
		rc = (capa ? pop3_capa_adjust : pop3_capa_mechanisms)(buf_str(&lines), lines.len, &rules, &out);
	}
	buf_adds(&out, ".\r\n");
	if (rc < 0 || out.failed)
		return pop3_say(p, "-ERR [SYS/TEMP] out of memory, try again later");
	return stream_write(p->s->client, out.data, out.len);
}

static int do_capa(struct pop3_session *p, const struct pop3_command *c, const char *line, size_t len)
{
	return pop3_list(p, "CAPA");
}

static int do_auth(struct pop3_session *p, const struct pop3_command *c, const char *line, size_t len)
{
	return c->mechanism ? pop3_auth_sasl(p, c) : pop3_list(p, "AUTH");
}

/* --- STLS --- */

static int do_stls(struct pop3_session *p, const struct pop3_command *c, const char *line, size_t len)
{
	int rc;

	if (!access_client_may_starttls(p->s))
		return pop3_refuse(p, stream_is_tls(p->s->client) ? "-ERR TLS has begun already" : "-ERR STLS is not offered here");
	/* What came behind it was said in clear: access_client_starttls refuses that, and it gets no answer. */
	rc = stream_pending(p->s->client) > 0 ? 0 : pop3_say(p, "+OK begin TLS");
	if (rc == 0)
		rc = stream_flush(p->s->client, -1);
	if (rc == 0)
		rc = access_client_starttls(p->s);
	pop3_auth_forget(p);            /* RFC 2595 4 */
	return rc;
}

/* --- the dialogue --- */

static const struct {
	enum pop3_verb verb;
	int (*run)(struct pop3_session *p, const struct pop3_command *c, const char *line, size_t len);
} handlers[] = {
	{ POP3_CAPA, do_capa },
	{ POP3_STLS, do_stls },
	{ POP3_USER, do_user },
	{ POP3_PASS, pop3_auth_pass },
	{ POP3_APOP, pop3_auth_apop },
	{ POP3_AUTH, do_auth },
	{ POP3_UTF8, do_utf8 },
	{ POP3_LANG, do_utf8 },
	{ POP3_QUIT, do_quit },
	{ POP3_HTTP, do_http },
};

static int command(struct pop3_session *p, const char *line, size_t len)
{
	struct pop3_command c;
	enum pop3_command_error e = pop3_command_parse(line, len, &c);

	if (e == POP3_COMMAND_OK)
		for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++)
			if (handlers[i].verb == c.verb)
				return handlers[i].run(p, &c, line, len);
	return pop3_refuse(p, e == POP3_COMMAND_OK ? "-ERR not before the login" : pop3_command_reply(e));
}

/* The greeting for our client: the server's, but for what is between it and us. */
static int greet(struct pop3_session *p)
{
	struct stream *client = p->s->client;
	bool timestamp = access_backend_routes(p->s) || p->clear_greeting;
	struct pop3_reply r = { 0 };
	char *text;
	int rc;

	pop3_reply_parse(p->greeting.data, p->greeting.len, &r);
	if (!timestamp && !p->xclient)
		return stream_write(client, p->greeting.data, p->greeting.len);
	text = malloc(r.text_len + 1);
	if (!text)
		return pop3_say(p, "+OK");
	rc = stream_printf(client, "+OK %.*s\r\n", (int)pop3_greeting_text(&r, timestamp, text), text);
	free(text);
	return rc;
}

/* may wait */
static int within_limits(struct pop3_session *p, size_t len)
{
	int rc = access_limit_command(p->s, len);

	if (rc == -EBUSY)
		pop3_say(p, "-ERR [SYS/TEMP] too much from your network in a short time, try again in some minutes");
	return rc;
}

/* Until the login, or the end. may wait */
static void converse(struct pop3_session *p)
{
	int rc = pop3_hop_open(p, NULL);

	if (rc == POP3_HOP_REFUSED) {
		access_end(p->s, "backend refuses", buf_str(&p->greeting));
		stream_write(p->s->client, p->greeting.data, p->greeting.len);
		return;
	}
	if (rc < 0) {
		pop3_lost(p, rc);
		return;
	}
	rc = greet(p);
	while (rc == 0 && !p->in) {
		const char *line;
		size_t len;

		rc = stream_read_line(p->s->client, POP3_READ_MAX, -1, &line, &len);
		if (rc == 0)
			rc = within_limits(p, len);
		if (rc == 0)
			rc = command(p, line, len);
		else if (rc == -EMSGSIZE)
			rc = pop3_refuse(p, pop3_command_reply(POP3_COMMAND_LONG));
		else if (rc == -ETIMEDOUT)
			pop3_say(p, "-ERR no login in time");
		else if (rc == -ECANCELED)
			pop3_say(p, "-ERR [SYS/TEMP] shutting down, try again later");
	}
	if (rc < 0)
		access_end(p->s, rc == -ETIMEDOUT ? "login timeout" : rc == -ECANCELED ? "shutting down" : "closed", NULL);
}

static struct pop3_session *session_new(struct access_session *s)
{
	struct pop3_session *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->s = s;
	buf_init(&p->greeting, POP3_REPLY_MAX);
	access_login_on(s, s->client);
	return p;
}

static void session_free(struct pop3_session *p)
{
	login_attempt_drop(p->s->svc->login, &p->attempt);
	pop3_auth_forget(p);
	buf_release(&p->greeting);
	free(p);
}

/*
 * The client hears the last word. The server is not told: in the middle of a dialogue QUIT would be taken for an answer, a password even. may wait
 */
void pop3_leave(struct access_session *s)
{
	stream_set_deadline(s->client, 0);
	stream_close(s->client, CLOSE_MS);
}

static void serve(struct access_session *s)
{
	struct pop3_session *p = session_new(s);
	bool in;

	if (!p) {
		access_end(s, "no memory", NULL);
		return;
	}
	converse(p);
	in = p->in;
	session_free(p);
	if (!in) {
		pop3_leave(s);
		return;
	}
	access_login_over(s);
	task_stack_trim();
	if (s->conf->scan)
		pop3_scan_serve(s);
	else
		access_pump(s);
}

const struct access_protocol pop3_protocol = {
	.name = "pop3",
	.protocol = LISTENER_POP3,
	.busy = "-ERR [SYS/TEMP] too many connections, try again later\r\n",
	.serve = serve,
};
