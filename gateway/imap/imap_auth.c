#include "imap/imap_auth.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "access/access_backend.h"
#include "base/log.h"
#include "base/sasl.h"
#include "base/stream.h"
#include "imap/imap_dialogue.h"
#include "imap/imap_upstream.h"
#include "login/login_attempt.h"
#include "policy/conf.h"

enum { STEPS_MAX = 16 };        /* GSSAPI takes four */

/* One attempt. */
struct login {
	struct imap_dialogue *d;
	struct login_attempt attempt;
	struct sasl_login sasl;
	bool begun;                     /* the server has heard of it */
	bool said;                      /* a name or a password: without any, the server's NO is about the command */
	bool guessed, token_refused;    /* what a challenge says of that, see challenged() */
	bool client_gone;               /* or it has cancelled */
	bool busy;                      /* the guard has logged it */
	char *first;                    /* the client's first line, kept while its server is found */
	size_t first_len;
	const char *words;              /* what the client hears, "NO ..."; NULL: what the server said last */
	struct imap_answer answer;
};

/* --- what comes before the server --- */

/* Which server, where that hangs on the user. may wait */
static int route(struct login *l)
{
	struct access_session *s = l->d->s;
	char why[HOST_WHY_MAX] = "";
	int rc;

	if (access_backend_routes(s) && !access_backend_suits(s, l->attempt.user)) {
		access_backend_close(s);
		rc = imap_upstream_open(l->d, l->attempt.user, why);
		if (rc == -ECANCELED)
			return rc;
		if (rc < 0) {
			log_warning("backend", "sid", s->id, "user", l->attempt.user, "error", "the user's server cannot be reached", "why", why, NULL);
			access_backend_close(s);
			l->words = "NO [UNAVAILABLE] the mail server behind does not answer, try again later";
			return 0;
		}
	}
	if (access_backend_unsafe(s))
		l->words = "NO [UNAVAILABLE] the mail server behind cannot be reached under TLS, try again later";
	return 0;
}

/* 0, l->words says it if the attempt may not be made; or the session is over. may wait */
static int ask(struct login *l)
{
	struct imap_dialogue *d = l->d;
	int rc = 0;

	l->attempt.backend = d->s->backend.link.name;
	switch (login_attempt_ask(d->s->svc->login, &l->attempt, &rc)) {
	case LOGIN_ADMIT:
		access_login_decides(d->s);
		return 0;
	case LOGIN_BUSY:
		l->busy = true;
		l->words = "NO [LIMIT] too many logins at once from your network, try again later";
		return 0;
	case LOGIN_TURNED_AWAY:
		access_end(d->s, "refused", "too many failed logins");
		rc = imap_dialogue_say(d, "NO [LIMIT] too many failed logins, try again later");
		return rc < 0 ? rc : imap_dialogue_bye(d, "[LIMIT] too many failed logins, try again later");
	case LOGIN_CANCELLED:
		access_end(d->s, rc == -EPIPE ? "closed" : "shutting down", NULL);
		break;
	}
	return rc < 0 ? rc : -ECANCELED;
}

/* --- what comes after --- */

/* Codes of a refusal that says nothing of user and password, RFC 5530 section 3 and Dovecot's. */
static bool is_unavailable(const struct imap_answer *a)
{
	static const char *const codes[] = { "UNAVAILABLE", "SERVERBUG", "LIMIT", "INUSE", "CONTACTADMIN", "PRIVACYREQUIRED", "CANNOT", "SYS/TEMP", "REFERRAL" };
	const char *words;

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (strcasecmp(a->code, codes[i]) == 0)
			return true;
	/* The tag is the client's. */
	words = a->code[0] || a->status != IMAP_NO ? NULL : memchr(a->line, ' ', a->len);
	return words && login_words_unavailable(words, a->len - (size_t)(words - a->line));
}

static int logged_in(struct login *l)
{
	struct access_session *s = l->d->s;
	int rc;

	login_attempt_end(s->svc->login, &l->attempt, LOGIN_OK, NULL);
	free(s->user);
	s->user = l->attempt.user[0] ? strdup(l->attempt.user) : NULL;
	s->for_other = l->sasl.for_other;
	rc = imap_upstream_pass(l->d, &l->answer, true);
	return rc < 0 ? rc : 1;
}

/* The server has answered, or we do in its place. */
static int conclude(struct login *l)
{
	struct imap_dialogue *d = l->d;
	struct login_service *svc = d->s->svc->login;
	enum login_result result = LOGIN_BROKEN_OFF;
	const char *code = l->answer.code[0] ? l->answer.code : l->answer.status == IMAP_NO ? "NO" : "BAD";
	int rc;

	if (l->answer.status == IMAP_OK && !l->words)
		return logged_in(l);
	if (l->token_refused || (l->guessed && (l->client_gone || l->words)))
		result = LOGIN_FAILED;
	else if (l->client_gone || (l->words && !l->attempt.asked))     /* we refuse it ourselves */
		result = LOGIN_BROKEN_OFF;
	else if (l->words ? strncmp(l->words, "BAD", 3) != 0 : is_unavailable(&l->answer) || !l->said)
		result = LOGIN_UNAVAILABLE;
	else if (!l->words && l->answer.status == IMAP_NO)
		result = LOGIN_FAILED;
	if (!l->busy)
		login_attempt_end(svc, &l->attempt, result, l->words ? l->words : code);
	if (l->words)
		return imap_dialogue_refuse(d, l->words);
	rc = imap_upstream_pass(d, &l->answer, false);
	return rc < 0 ? rc : imap_dialogue_mistake(d);
}

/* The session has ended in the middle. */
static void broken_off(struct login *l, int rc)
{
	enum login_result result = l->token_refused || (l->guessed && l->client_gone) ? LOGIN_FAILED : l->client_gone ? LOGIN_BROKEN_OFF : LOGIN_UNAVAILABLE;

	if (l->begun && l->attempt.asked && rc != -ECANCELED)
		login_attempt_end(l->d->s->svc->login, &l->attempt, result, "no end");
	else
		login_attempt_drop(l->d->s->svc->login, &l->attempt);
}

static struct login *login_new(struct imap_dialogue *d, const char *mechanism)
{
	struct access_session *s = d->s;
	struct login *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->d = d;
	l->attempt.protocol = "imap";
	l->attempt.mechanism = mechanism;
	l->attempt.sid = s->id;
	l->attempt.listener = s->conf->name;
	l->attempt.gone = stream_left;
	l->attempt.stream = s->client;
	l->attempt.limit = &s->limit;
	l->attempt.client = &s->addr;
	l->attempt.tls = stream_tls_version(s->client);
	return l;
}

static int login_done(struct login *l, int rc)
{
	l->d->logging_in = false;
	if (rc == 0)
		rc = conclude(l);
	else if (rc < 0)
		broken_off(l, rc);
	if (l->first)
		explicit_bzero(l->first, l->first_len);
	free(l->first);
	free(l);
	return rc;
}

/* --- LOGIN --- */

/* An argument in the client's form. 0; 1: the server has answered before it had all. may wait */
static int say_arg(struct login *l, const struct imap_arg *a)
{
	struct imap_dialogue *d = l->d;
	const struct imap_caps *caps = &d->caps;
	const char *text = imap_arg_text(&d->command, a);
	bool waits = !caps->literal_plus && !(caps->literal_minus && a->len <= IMAP_LITERAL_MAX);
	char head[32];
	int rc;

	if (a->form == IMAP_QUOTED)
		return imap_upstream_write(d, text - 1, a->len + 2);    /* its quotes stand around it */
	if (a->form == IMAP_LITERAL) {
		rc = imap_upstream_write(d, head, (size_t)snprintf(head, sizeof(head), waits ? "{%zu}\r\n" : "{%zu+}\r\n", a->len));
		if (rc == 0 && waits) {
			rc = imap_upstream_answer(d, d->command.tag, &l->answer);
			if (rc == 0 && l->answer.status != IMAP_CONTINUE)
				return 1;
		}
		if (rc < 0)
			return rc;
	}
	return imap_upstream_write(d, text, a->len);
}

/* may wait */
static int say_login(struct login *l)
{
	struct imap_dialogue *d = l->d;
	const struct imap_command *c = &d->command;
	int rc = imap_upstream_begin(d);
	bool early;

	l->begun = l->said = d->logging_in = true;
	if (rc == 0 && c->literals == 0) {
		rc = imap_upstream_write(d, c->text, c->len);
	} else if (rc == 0) {
		rc = imap_upstream_write(d, c->text, c->arg[0].form == IMAP_LITERAL ? strlen(c->tag) + 7 : c->arg[0].off - (c->arg[0].form == IMAP_QUOTED));
		if (rc == 0)
			rc = say_arg(l, &c->arg[0]);
		if (rc == 0)
			rc = imap_upstream_write(d, " ", 1);
		if (rc == 0)
			rc = say_arg(l, &c->arg[1]);
		if (rc == 0)
			rc = imap_upstream_write(d, "\r\n", 2);
	}
	early = rc > 0;
	if (rc == 0)
		rc = imap_upstream_answer(d, c->tag, &l->answer);
	if (rc >= 0 && (l->answer.status == IMAP_CONTINUE || (early && l->answer.status == IMAP_OK))) {
		access_end(d->s, "backend lost", early ? "it logs in who has not said his password" : "it asks for more than there is in LOGIN");
		return imap_dialogue_bye(d, "[UNAVAILABLE] the mail server behind cannot be understood");
	}
	return rc < 0 ? rc : 0;
}

/* The name is one, and neither argument holds what could be a command of its own. NULL: fine. */
static const char *check_arguments(struct login *l)
{
	const struct imap_command *c = &l->d->command;
	char user[SASL_USER_MAX];
	int n = imap_arg_decode(c, &c->arg[0], user, sizeof(user));

	if (imap_arg_has(c, &c->arg[0], "\r\n") || imap_arg_has(c, &c->arg[1], "\r\n"))
		return "BAD line ends in a name or a password";
	if (n > 0)
		sasl_user_keep(l->attempt.user, user, (size_t)n);
	return n != 0 && !l->attempt.user[0] ? "NO [AUTHENTICATIONFAILED] this is no name of a user" : NULL;
}

const char *imap_login_refused(const struct imap_dialogue *d)
{
	if (access_client_refuses_clear(d->s))
		return "NO [PRIVACYREQUIRED] no password without TLS";
	return d->caps.login_disabled && !stream_is_tls(d->s->client) ? "NO [PRIVACYREQUIRED] LOGIN is disabled" : NULL;
}

int imap_refuse_login(struct imap_dialogue *d)
{
	struct login *l = login_new(d, "LOGIN");

	if (!l)
		return -ENOMEM;
	l->words = imap_login_refused(d);
	return login_done(l, 0);
}

int imap_do_login(struct imap_dialogue *d)
{
	struct login *l = login_new(d, "LOGIN");
	int rc = 0;

	if (!l)
		return -ENOMEM;
	l->words = check_arguments(l);
	if (!l->words && access_client_refuses_clear(d->s))
		l->words = "NO [PRIVACYREQUIRED] no password without TLS";
	if (!l->words)
		rc = route(l);
	if (rc == 0 && !l->words)
		rc = ask(l);
	if (rc == 0 && !l->words)
		rc = say_login(l);
	return login_done(l, rc);
}

/* --- AUTHENTICATE --- */

/* A line of the client's has come, without its end: what it says of the user. false: it does not go on to the server; l->words, or the client gives up. */
static bool look(struct login *l, bool initial, const char *p, size_t len, bool *cancels)
{
	enum sasl_line line = sasl_client_line(&l->sasl, initial, p, len);

	*cancels = l->client_gone = line == SASL_CANCEL;
	l->said = l->said || (line == SASL_DATA && len > 0);
	if (line == SASL_BAD)
		l->words = "BAD this is not base64, or no name";
	memcpy(l->attempt.user, l->sasl.user, sizeof(l->attempt.user));
	return line == SASL_DATA;
}

/* Before a line goes to the server. may wait */
static int ask_before(struct login *l)
{
	return sasl_decides(&l->sasl) ? ask(l) : 0;
}

/*
 * Behind the line that decides a challenge says what has come of it, the end of SCRAM or DIGEST-MD5, say: whoever breaks off then has made his guess. A token
 * that is refused is refused in one, which the client answers before the server says NO (RFC 7628 section 3.2.3).
 */
static void challenged(struct login *l)
{
	l->guessed = l->attempt.asked;
	l->token_refused = l->attempt.asked && (l->sasl.mechanism & SASL_TOKENS);
}

/* The next line of the client's, without its end; *line NULL: it cannot be used, l->words. challenge: what it hears before. may wait */
static int hear(struct login *l, const char *challenge, size_t challenge_len, const char **line, size_t *len)
{
	struct access_session *s = l->d->s;
	int rc = stream_write(s->client, challenge, challenge_len);

	*line = NULL;
	if (rc == 0)
		rc = stream_read_line(s->client, SASL_LINE_MAX, s->conf->login_timeout_ms, line, len);
	if (rc == 0 && (*len < 2 || (*line)[*len - 2] != '\r')) {
		l->words = "BAD lines end with CR LF";
		*line = NULL;
	} else if (rc == 0) {
		*len -= 2;
	}
	if (rc == -EMSGSIZE) {
		l->words = "BAD the line is too long";
		*line = NULL;
		rc = 0;
	}
	l->client_gone = rc < 0;
	if (rc == -ETIMEDOUT) {
		access_end(s, "idle", "no login");
		return imap_dialogue_bye(l->d, "the login took too long");
	}
	return rc;
}

/* The dialogue ends on our side, or on the client's (l->words NULL): the server is told, and what it answers is the client's where we have no words. */
static int cancel(struct login *l)
{
	struct imap_dialogue *d = l->d;
	int rc = imap_upstream_write(d, "*\r\n", 3);

	if (rc == 0)
		rc = imap_upstream_answer(d, d->command.tag, &l->answer);
	if (rc == 0 && (l->answer.status == IMAP_CONTINUE || l->answer.status == IMAP_OK)) {
		access_end(d->s, "backend lost", "it goes on with a login that was cancelled");
		return imap_dialogue_bye(d, "[UNAVAILABLE] the mail server behind cannot be understood");
	}
	return rc;
}

/* A line to the server, its answer. may wait */
static int say_line(struct login *l, const char *line, size_t len)
{
	int rc = imap_upstream_write(l->d, line, len);

	if (rc == 0)
		rc = imap_upstream_write(l->d, "\r\n", 2);
	return rc < 0 ? rc : imap_upstream_answer(l->d, l->d->command.tag, &l->answer);
}

/* The command, with the first response if there is one already. may wait */
static int begin(struct login *l, const char *first, size_t first_len)
{
	struct imap_dialogue *d = l->d;
	const struct imap_command *c = &d->command;
	bool with = first && d->caps.sasl_ir;
	int rc = imap_upstream_begin(d);

	l->begun = d->logging_in = true;
	if (rc == 0)
		rc = imap_upstream_write(d, c->text, c->arg[0].off + c->arg[0].len);
	if (rc == 0 && with)
		rc = imap_upstream_write(d, " ", 1);
	if (rc == 0)
		rc = with ? say_line(l, first_len ? first : "=", first_len ? first_len : 1) : say_line(l, "", 0);
	if (rc < 0 || !first || with || l->answer.status != IMAP_CONTINUE)
		return rc;
	/* It asks: for what we have, or (but for LOGIN's "User Name") something of its own, which cannot have been answered yet. */
	if (l->answer.len > 4 && l->sasl.mechanism != SASL_LOGIN) {
		l->words = "BAD this mechanism has no initial response";
		return cancel(l);
	}
	return say_line(l, first, first_len);
}

/* Challenge and response until the server has decided. may wait */
static int converse(struct login *l)
{
	int rc = 0;

	for (int step = 0; rc == 0 && !l->words && l->answer.status == IMAP_CONTINUE; step++) {
		const char *line = NULL;
		bool cancels = false;
		size_t len = 0;

		challenged(l);
		if (step == STEPS_MAX) {
			l->words = "NO [UNAVAILABLE] the dialogue does not end";
			return cancel(l);
		}
		rc = hear(l, l->answer.line, l->answer.len, &line, &len);
		if (rc == 0 && line && look(l, false, line, len, &cancels))
			rc = ask_before(l);
		if (rc < 0)
			return rc;
		if (l->words || cancels)
			return cancel(l);
		rc = say_line(l, line, len);
	}
	return rc;
}

/* NULL: it may be used here and now. */
static const char *mechanism_refused(const struct login *l, const char *name, size_t len)
{
	struct imap_view view = imap_dialogue_view(l->d, false);

	if (imap_caps_mechanism(&view, name, len))
		return NULL;
	return view.clear_refused && (l->sasl.mechanism & SASL_SHOWS_PASSWORD) ? "NO [PRIVACYREQUIRED] no password without TLS" :
									   "NO this mechanism is not offered here";
}

/*
 * Where a server is found by the user's name, the client's first line is heard before there is one; what a server would say before that holds
 * nothing. may wait
 */
static int hear_first(struct login *l, const char **first, size_t *len, bool *cancels)
{
	const char *challenge = l->sasl.mechanism == SASL_LOGIN ? "+ VXNlcm5hbWU6\r\n" : "+ \r\n";
	int rc = hear(l, challenge, strlen(challenge), first, len);

	if (rc < 0 || !*first)
		return rc;
	l->first = malloc(*len + 1);
	if (!l->first)
		return -ENOMEM;
	memcpy(l->first, *first, *len);
	l->first_len = *len;
	*first = l->first;
	if (look(l, false, *first, *len, cancels) && !l->sasl.user[0])
		l->words = "NO [AUTHENTICATIONFAILED] this is no name of a user";
	return 0;
}

/* may wait */
static int authenticate(struct login *l)
{
	struct imap_dialogue *d = l->d;
	const struct imap_arg *arg = d->command.arg;
	const char *first = arg[1].form == IMAP_NONE ? NULL : imap_arg_text(&d->command, &arg[1]);
	size_t first_len = arg[1].len;
	bool cancels = false, routes = access_backend_routes(d->s);
	int rc = 0;

	if (first) {
		look(l, true, first, first_len, &cancels);
		if (first_len == 1 && *first == '=')
			first_len = 0;
		if (!l->words && routes && !l->sasl.user[0])
			l->words = "NO [AUTHENTICATIONFAILED] this is no name of a user";
	} else if (routes) {
		rc = hear_first(l, &first, &first_len, &cancels);
	}
	if (rc == 0 && cancels)
		l->words = "BAD authentication cancelled";
	if (rc == 0 && !l->words)
		rc = route(l);
	if (rc == 0 && !l->words && first)
		rc = ask_before(l);
	if (rc == 0 && !l->words)
		rc = begin(l, first, first_len);
	return rc == 0 && !l->words ? converse(l) : rc;
}

int imap_do_authenticate(struct imap_dialogue *d)
{
	const struct imap_arg *arg = d->command.arg;
	struct login *l = login_new(d, NULL);
	char name[IMAP_MECHANISM_MAX + 1];
	int rc = 0;

	if (!l)
		return -ENOMEM;
	snprintf(name, sizeof(name), "%.*s", (int)arg[0].len, imap_arg_text(&d->command, &arg[0]));
	l->sasl.mechanism = sasl_find(name, strlen(name));
	l->attempt.mechanism = l->sasl.mechanism ? sasl_name(l->sasl.mechanism) : name;
	l->words = mechanism_refused(l, name, strlen(name));
	if (!l->words)
		rc = authenticate(l);
	return login_done(l, rc);
}
