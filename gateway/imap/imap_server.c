#include "imap/imap_server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "access/access_backend.h"
#include "base/stream.h"
#include "imap/imap_auth.h"
#include "imap/imap_dialogue.h"
#include "imap/imap_id.h"
#include "imap/imap_scan.h"
#include "imap/imap_upstream.h"
#include "policy/conf.h"

enum {
	LAST_WORDS_MS = 5000,           /* for a client to read why the session ends */
	LINE_MAX = 32 * 1024,           /* a line of the server's with what we add */
};

/* --- what we say ourselves --- */

struct imap_view imap_dialogue_view(const struct imap_dialogue *d, bool logged_in)
{
	const struct access_session *s = d->s;

	return (struct imap_view){
		.starttls = access_client_may_starttls(s), .clear_refused = access_client_refuses_clear(s), .routed = access_backend_routes(s),
		.scanning = s->conf->scan, .logged_in = logged_in, .mechanisms = s->svc->site->auth.mechanisms,
	};
}

int imap_dialogue_say(struct imap_dialogue *d, const char *words)
{
	return stream_printf(d->s->client, "%s %s\r\n", d->command.tag, words);
}

int imap_dialogue_bye(struct imap_dialogue *d, const char *words)
{
	/* A login that has taken too long is told so, too. */
	stream_set_deadline(d->s->client, 0);
	if (stream_printf(d->s->client, "* BYE %s\r\n", words) == 0)
		stream_close(d->s->client, LAST_WORDS_MS);
	return -EPIPE;
}

int imap_dialogue_mistake(struct imap_dialogue *d)
{
	access_limit_error(d->s);
	if (++d->s->errors < ACCESS_ERRORS_MAX)
		return 0;
	access_end(d->s, "refused", "too many errors");
	return imap_dialogue_bye(d, "too many errors");
}

int imap_dialogue_refuse(struct imap_dialogue *d, const char *words)
{
	int rc = imap_dialogue_say(d, words);

	return rc < 0 ? rc : imap_dialogue_mistake(d);
}

/* --- commands --- */

/* To the server as it came, and its answer. may wait */
static int pass(struct imap_dialogue *d, const char *p, size_t len)
{
	struct imap_answer a = { 0 };
	int rc = imap_upstream_begin(d);

	if (rc == 0)
		rc = imap_upstream_write(d, p, len);
	if (rc == 0)
		rc = imap_upstream_answer(d, d->command.tag, &a);
	if (rc < 0)
		return rc;
	if (a.status == IMAP_CONTINUE) {
		access_end(d->s, "backend lost", "it asks for more of a command that is complete");
		return imap_dialogue_bye(d, "[UNAVAILABLE] the mail server behind cannot be understood");
	}
	return imap_upstream_pass(d, &a, false);
}

static int do_pass(struct imap_dialogue *d)
{
	return pass(d, d->command.text, d->command.len);
}

static int do_logout(struct imap_dialogue *d)
{
	int rc;

	if (d->s->backend.stream) {
		rc = do_pass(d);
	} else {
		rc = stream_printf(d->s->client, "* BYE logging out\r\n");
		rc = rc < 0 ? rc : imap_dialogue_say(d, "OK done");
	}
	access_end(d->s, "closed", NULL);
	if (rc == 0)
		stream_close(d->s->client, LAST_WORDS_MS);
	return -EPIPE;
}

static int do_id(struct imap_dialogue *d)
{
	AUTO(buf) struct buf onward = BUF_INIT(2 * IMAP_TEXT_MAX);

	if (imap_id_onward(&d->command, &onward) < 0)
		return -ENOMEM;
	return pass(d, onward.data, onward.len);
}

static int do_starttls(struct imap_dialogue *d)
{
	int rc;

	if (!access_client_may_starttls(d->s))
		return imap_dialogue_refuse(d, stream_is_tls(d->s->client) ? "BAD there is TLS already" : "BAD STARTTLS is not offered here");
	if (stream_pending(d->s->client) == 0) {        /* else there is nothing to say any more */
		rc = imap_dialogue_say(d, "OK begin TLS now");
		if (rc == 0)
			rc = stream_flush(d->s->client, d->s->conf->login_timeout_ms);
		if (rc < 0)
			return rc;
	}
	return access_client_starttls(d->s);
}

static const struct {
	int (*does)(struct imap_dialogue *d);
	bool ours;                      /* it needs no server */
} commands[] = {
	[IMAP_CAPABILITY] = { do_pass, false },
	[IMAP_NOOP] = { do_pass, false },
	[IMAP_LOGOUT] = { do_logout, true },
	[IMAP_STARTTLS] = { do_starttls, true },
	[IMAP_ID] = { do_id, false },
	[IMAP_LOGIN] = { imap_do_login, false },
	[IMAP_AUTHENTICATE] = { imap_do_authenticate, false },
};

/* --- the client's lines --- */

/* A server, where a user's could not be reached and there is none since then. may wait */
static int have_server(struct imap_dialogue *d)
{
	char why[HOST_WHY_MAX] = "";

	if (d->s->backend.stream || imap_upstream_open(d, NULL, why) == 0)
		return 0;
	access_end(d->s, "no backend", why);
	return imap_dialogue_bye(d, "[UNAVAILABLE] the mail server behind does not answer, try again later");
}

/* One step of the command that is being read. *step: what comes next. may wait */
static int read_step(struct imap_dialogue *d, enum imap_step *step)
{
	struct access_session *s = d->s;
	int wait_ms = s->conf->login_timeout_ms, rc;
	const char *p;
	size_t len;

	if (*step == IMAP_WANTS_CONTINUE) {
		*step = d->command.want > 0 ? IMAP_WANTS_LITERAL : IMAP_WANTS_LINE;
		return stream_write(s->client, "+ go on\r\n", 9);
	}
	if (*step == IMAP_WANTS_LITERAL) {
		rc = stream_peek(s->client, wait_ms, &p, &len);
		if (rc < 0)
			return rc;
		len = len < d->command.want ? len : d->command.want;
		*step = imap_command_literal(&d->command, p, len);
		stream_eat(s->client, len);
		return 0;
	}
	rc = stream_read_line(s->client, IMAP_READ_MAX, wait_ms, &p, &len);
	if (rc == 0)
		*step = imap_command_line(&d->command, p, len);
	return rc;
}

/* A command to its end, and what is done with it. 0; 1: the user is in; else the session is over. may wait */
static int next(struct imap_dialogue *d)
{
	enum imap_step step = IMAP_WANTS_LINE;
	char words[80];
	int rc = 0;

	while (rc == 0 && step < IMAP_COMMAND) {
		/* Nobody is asked for a password that may not come: RFC 3501 section 6.2.3. */
		if (step == IMAP_WANTS_CONTINUE && d->command.verb == IMAP_LOGIN && imap_login_refused(d))
			return imap_refuse_login(d);
		rc = read_step(d, &step);
	}
	if (rc == -EMSGSIZE) {          /* where its next command begins is not known: there may have been a literal at the end */
		access_end(d->s, "refused", "a line is too long");
		return imap_dialogue_bye(d, "the line is too long");
	}
	if (rc == -ETIMEDOUT) {
		access_end(d->s, "idle", "no login");
		return imap_dialogue_bye(d, "the login took too long");
	}
	if (rc < 0)
		return rc;
	rc = access_limit_command(d->s, d->command.len);
	if (rc == -EBUSY)
		return imap_dialogue_bye(d, "[UNAVAILABLE] too much from your network in a short time, try again in some minutes");
	if (rc < 0)
		return rc;
	if (step == IMAP_COMMAND) {
		if (!commands[d->command.verb].ours)
			rc = have_server(d);
		return rc < 0 ? rc : commands[d->command.verb].does(d);
	}
	snprintf(words, sizeof(words), "BAD %s", d->command.why);
	if (step == IMAP_FATAL) {
		access_end(d->s, "refused", d->command.why);
		rc = imap_dialogue_say(d, words);
		return rc < 0 ? rc : imap_dialogue_bye(d, d->command.why);
	}
	return imap_dialogue_refuse(d, words);
}

/* --- the session --- */

/* The server's greeting goes on to the client. may wait */
static int greet(struct imap_dialogue *d)
{
	struct imap_answer line = { 0 };
	char why[HOST_WHY_MAX] = "";
	int rc = imap_upstream_open(d, NULL, why);

	if (rc < 0)
		access_end(d->s, rc == -ECANCELED ? "shutting down" : "no backend", rc == -ECANCELED ? NULL : why);
	if (rc < 0 && rc != -EACCES)
		return imap_dialogue_bye(d, rc == -EBUSY ? "[UNAVAILABLE] the mail server behind is busy, try again later" :
					    "[UNAVAILABLE] the mail server behind does not answer, try again later");
	if (buf_add(&d->greeting, "\r\n", 2) < 0)
		return -ENOMEM;
	line.line = d->greeting.data;
	line.len = d->greeting.len;
	if (imap_upstream_pass(d, &line, false) < 0)
		return -EPIPE;
	buf_release(&d->greeting);
	if (rc == -EACCES)
		stream_close(d->s->client, LAST_WORDS_MS);
	return rc;
}

/* 1: the user is in, and all that was said before has been forgotten. */
static int before_login(struct access_session *s)
{
	struct imap_dialogue *d = calloc(1, sizeof(*d));
	int rc;

	if (!d)
		return -ENOMEM;
	d->s = s;
	imap_command_init(&d->command);
	buf_init(&d->greeting, LINE_MAX);
	buf_init(&d->line, LINE_MAX);
	access_login_on(s, s->client);
	rc = greet(d);
	while (rc == 0) {
		rc = next(d);
		imap_command_release(&d->command);
	}
	if (rc == -ECANCELED) {         /* wherever it was */
		access_end(s, "shutting down", NULL);
		imap_dialogue_bye(d, "[UNAVAILABLE] shutting down, come again");
	}
	buf_release(&d->greeting);
	buf_release(&d->line);
	free(d);
	return rc;
}

static void after_login(struct access_session *s)
{
	access_login_over(s);
	if (s->conf->scan)
		imap_scan_serve(s);
	else
		access_pump(s);
}

static void serve(struct access_session *s)
{
	if (before_login(s) > 0)
		after_login(s);
}

const struct access_protocol imap_protocol = {
	.name = "imap",
	.protocol = LISTENER_IMAP,
	.busy = "* BYE [UNAVAILABLE] too many connections, try again later\r\n",
	.serve = serve,
};
