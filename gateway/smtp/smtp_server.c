#include "smtp/smtp_server.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/connection.h"
#include "base/log.h"
#include "base/sasl.h"
#include "base/tls.h"
#include "filters/filter.h"
#include "filters/milter.h"
#include "hop/auth_hop.h"
#include "hop/backend.h"
#include "hop/backend_domains.h"
#include "policy/recent.h"
#include "policy/state.h"
#include "smtp/smtp_auth.h"
#include "smtp/smtp_inline.h"
#include "smtp/smtp_onward.h"
#include "smtp/smtp_session.h"
#include "smtp/smtp_told.h"

enum { FIRST_PROBE_MS = 3000, ANSWER_REST_MS = 1000, TLS_HANDSHAKE_MS = 60 * 1000, REPLY_MAX = 1024 };

/* Greeting and EHLO */

/* Whether mail from this client's network has passed lately. may wait */
static bool seen_passing(struct smtp_session *s)
{
	struct state_op op = { .verb = STATE_GET };

	smtp_seen_key(s, &op);
	return s->svc->state && state_run(s->svc->state, &op, 1) == 0 && op.found;
}

/* Whoever speaks before the banner is no mail server (RFC 5321 4.3.1). may wait */
static int wait_before_banner(struct smtp_session *s)
{
	int delay_ms = s->svc->site->banner_delay_ms, rc;

	if (delay_ms > 0 && (s->client.relay || s->trusted || seen_passing(s)))
		delay_ms = 0;
	rc = stream_wait_readable(s->stream, delay_ms);
	if (rc == -ETIMEDOUT)
		return 0;
	s->client.early_talker = rc == 0;
	return rc;
}

/* Client-scope filters hang at a transaction that has only a client. */
static void start_client_filters(struct smtp_session *s)
{
	struct txn t;

	/* Who comes here is about to log in: a user's address at home is asked of nobody. Nor is that of a host that brings mail of others. */
	if (s->listener->direction == DIRECTION_SUBMISSION || s->trusted)
		return;
	txn_init(&t, s->svc->site, s->svc->dns, &s->client);
	t.state = s->svc->state;
	t.daemons = s->svc->daemons;
	filters_start(&t, STAGE_CONNECT, s->svc->needed);
}

/* RFC 8314 3.3: TLS from the first octet. may wait */
static int begin_tls(struct smtp_session *s)
{
	int rc = s->svc->tls ? stream_tls_accept(s->stream, s->svc->tls, TLS_HANDSHAKE_MS) : -EPROTO;

	if (rc < 0) {
		log_info("tls-failed", "sid", s->id, "client", s->client.ip, "listener", s->client.listener, "error", stream_error(s->stream), NULL);
		return rc;
	}
	s->client.tls_version = stream_tls_version(s->stream);
	s->client.tls_cipher = stream_tls_cipher(s->stream);
	task_stack_trim();
	return 0;
}

static int greet(struct smtp_session *s)
{
	int rc = 0;

	stream_set_secret(s->stream, smtp_auth_expected(s));
	if (s->listener->tls == LISTENER_TLS_IMPLICIT)
		rc = begin_tls(s);
	if (rc == 0 && s->listener->direction == DIRECTION_OUTBOUND && !s->client.relay) {
		log_notice("turned-away", "client", s->client.ip, "reason", "not of the networks that may send here", "listener", s->listener->name, NULL);
		s->state = SMTP_CLOSING;
		return smtp_say(s, "554 5.7.1 this host does not relay for you");
	}
	/* Users come from anywhere and are no mail servers: what is asked of strangers is not asked of them, they log in. */
	if (rc == 0 && s->listener->direction != DIRECTION_SUBMISSION) {
		if (!s->check)
			start_client_filters(s);
		rc = wait_before_banner(s);
	}
	if (rc < 0)
		return rc;
	s->state = SMTP_GREETED;
	return stream_printf(s->stream, "220 %s ESMTP\r\n", s->svc->site->hostname);
}

bool smtp_observing(const struct smtp_session *s)
{
	return s->svc->site->mode == MODE_OBSERVE;
}

static void offer(struct buf *out, bool last, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void offer(struct buf *out, bool last, const char *fmt, ...)
{
	char line[200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	buf_addf(out, "250%c%s\r\n", last ? ' ' : '-', line);
}

static bool offers_starttls(const struct smtp_session *s)
{
	if (smtp_onward_offers(s))
		return true;
	return s->svc->tls && s->listener->tls == LISTENER_TLS_STARTTLS && !stream_is_tls(s->stream);
}

/* may wait */
static int accept_tls(struct smtp_session *s)
{
	int rc = smtp_say(s, "220 2.0.0 ready to start TLS");

	if (rc == 0)
		rc = stream_flush(s->stream, s->svc->site->timeouts.command_ms);
	if (rc == 0)
		rc = stream_tls_accept(s->stream, s->svc->tls, TLS_HANDSHAKE_MS);
	if (rc < 0)
		log_info("tls-failed", "sid", s->id, "client", s->client.ip, "error", stream_error(s->stream), NULL);
	return rc;
}

/*
 * What is offered: hop-local keywords are ours, end-to-end ones only if every backend has them, who
 * gets a moment to say so when we have just started. may wait
 */
static int say_extensions(struct smtp_session *s)
{
	AUTO(buf) struct buf out = BUF_INIT(4096);
	const struct site *site = s->svc->site;
	struct smtp_caps caps;

	if (backend_group_ready(s->group, FIRST_PROBE_MS) == -ECANCELED || backend_domains_ready(s->svc->domains, FIRST_PROBE_MS) == -ECANCELED)
		return -ECANCELED;
	smtp_offered(s, &caps);
	offer(&out, false, "%s", site->hostname);
	offer(&out, false, "PIPELINING");
	offer(&out, false, "SIZE %llu", (unsigned long long)smtp_size_max(s, &caps));
	if (caps.eightbit)
		offer(&out, false, "8BITMIME");
	if (caps.smtputf8)
		offer(&out, false, "SMTPUTF8");
	if (caps.dsn)
		offer(&out, false, "DSN");
	if (offers_starttls(s))
		offer(&out, false, "STARTTLS");
	smtp_auth_offer(s, &out);
	offer(&out, false, "ENHANCEDSTATUSCODES");
	offer(&out, false, "CHUNKING");
	if (s->trusted && !s->client.relay) {
		offer(&out, false, "XCLIENT ADDR HELO PROTO NAME PORT");
		offer(&out, false, "XFORWARD ADDR HELO PROTO NAME PORT IDENT SOURCE");
	}
	if (site->prdr)
		offer(&out, false, "PRDR");
	if (smtp_may_etrn(s))
		offer(&out, false, "ETRN");
	offer(&out, true, "LIMITS MAILMAX=%d RCPTMAX=%d", site->limits.transactions, site->limits.recipients);
	return out.failed ? -ENOMEM : stream_write(s->stream, out.data, out.len);
}

static int do_helo(struct smtp_session *s, struct smtp_command *c)
{
	if (!c->helo[0])
		return smtp_refuse(s, "501 5.5.4 a domain name or address literal is needed");
	smtp_transaction_end(s);
	free(s->client.helo);
	s->client.helo = strdup(c->helo);
	if (!s->client.helo)
		return -ENOMEM;
	s->client.esmtp = c->verb == VERB_EHLO;
	s->state = SMTP_READY;
	if (c->verb == VERB_EHLO)
		return say_extensions(s);
	return stream_printf(s->stream, "250 %s\r\n", s->svc->site->hostname);
}

/* RFC 3207. What was sent before the handshake is forgotten, what came along with the command ends the session (CVE-2011-0411). */
static int do_starttls(struct smtp_session *s, struct smtp_command *c)
{
	int rc;

	if (stream_is_tls(s->stream))
		return smtp_refuse(s, "503 5.5.1 TLS is in use already");
	if (!offers_starttls(s))
		return smtp_refuse(s, "502 5.5.1 STARTTLS is not offered");
	if (stream_pending(s->stream)) {
		log_notice("starttls-injection", "sid", s->id, "client", s->client.ip, NULL);
		return -EPROTO;
	}
	rc = smtp_onward_offers(s) ? smtp_onward_starttls(s) : accept_tls(s);
	if (rc < 0 || !stream_is_tls(s->stream))
		return rc;
	smtp_transaction_end(s);
	smtp_auth_forget(s);
	smtp_told_forget(s);
	stream_set_secret(s->stream, smtp_auth_expected(s));
	free(s->client.helo);
	s->client.helo = NULL;
	s->client.tls_version = stream_tls_version(s->stream);
	s->client.tls_cipher = stream_tls_cipher(s->stream);
	s->state = SMTP_GREETED;
	task_stack_trim();
	return 0;
}

/* Small commands */

/* Programs that keep a session for later say NOOP or RSET now and then. may wait */
static void stir_login(struct smtp_session *s)
{
	int budget = s->svc->site->timeouts.budget_ms;

	if (s->login && !s->t)
		smtp_login_stir(s->login, budget ? clock_ms() + budget : 0);
}

static int do_rset(struct smtp_session *s, struct smtp_command *c)
{
	stir_login(s);
	smtp_transaction_end(s);
	return smtp_say(s, "250 2.0.0 ok");
}

static int do_noop(struct smtp_session *s, struct smtp_command *c)
{
	stir_login(s);
	return smtp_say(s, "250 2.0.0 ok");
}

static int do_quit(struct smtp_session *s, struct smtp_command *c)
{
	s->state = SMTP_CLOSING;
	return smtp_say(s, "221 2.0.0 bye");
}

/* Who exists is learnt by RCPT, which is counted and logged (RFC 5321 3.5.3 allows 252). */
static int do_vrfy(struct smtp_session *s, struct smtp_command *c)
{
	return smtp_say(s, "252 2.5.2 send some mail, it will be tried");
}

static int do_help(struct smtp_session *s, struct smtp_command *c)
{
	return smtp_sayf(s, "214 2.0.0 EHLO HELO MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY%s%s HELP", offers_starttls(s) ? " STARTTLS" : "",
			 site_offers_auth(s->svc->site, s->listener) ? " AUTH" : "");
}

static int do_not_here(struct smtp_session *s, struct smtp_command *c)
{
	return smtp_refuse(s, "502 5.5.1 command not implemented");
}

static int do_http(struct smtp_session *s, struct smtp_command *c)
{
	log_notice("http", "sid", s->id, "client", s->client.ip, "command", c->word, NULL);
	s->state = SMTP_CLOSING;
	return smtp_say(s, "554 5.5.2 this is no web server");
}

enum { ANY = SMTP_GREETED | SMTP_READY | SMTP_MAIL | SMTP_RCPT | SMTP_BDAT, IDLE = SMTP_GREETED | SMTP_READY | SMTP_MAIL | SMTP_RCPT };

static const struct command {
	enum smtp_verb verb;
	int (*run)(struct smtp_session *s, struct smtp_command *c);
	int states;
	const char *otherwise;          /* the reply in another state */
} commands[] = {
	{ VERB_EHLO, do_helo, IDLE, "503 5.5.1 finish the chunks or RSET first" },
	{ VERB_HELO, do_helo, IDLE, "503 5.5.1 finish the chunks or RSET first" },
	{ VERB_STARTTLS, do_starttls, SMTP_GREETED | SMTP_READY, "503 5.5.1 not during a transaction" },
	{ VERB_AUTH, smtp_do_auth, SMTP_READY, "503 5.5.1 EHLO first, and not during a transaction" },
	{ VERB_MAIL, smtp_do_mail, SMTP_READY, "503 5.5.1 EHLO first, and one transaction at a time" },
	{ VERB_RCPT, smtp_do_rcpt, SMTP_MAIL | SMTP_RCPT, "503 5.5.1 MAIL first" },
	{ VERB_DATA, smtp_do_data, SMTP_MAIL | SMTP_RCPT, "503 5.5.1 MAIL and RCPT first" },
	{ VERB_BDAT, smtp_do_bdat, ANY, NULL },         /* its octets come whatever the state: it judges for itself */
	{ VERB_RSET, do_rset, ANY, NULL },
	{ VERB_NOOP, do_noop, ANY, NULL },
	{ VERB_QUIT, do_quit, ANY, NULL },
	{ VERB_VRFY, do_vrfy, IDLE, "503 5.5.1 not now" },
	{ VERB_HELP, do_help, IDLE, "503 5.5.1 not now" },
	{ VERB_ETRN, smtp_do_etrn, SMTP_READY, "503 5.5.1 EHLO first, and not during a transaction" },
	{ VERB_XCLIENT, smtp_do_xclient, SMTP_GREETED | SMTP_READY, "503 5.5.1 not during a transaction" },
	{ VERB_XFORWARD, smtp_do_xforward, SMTP_READY, "503 5.5.1 EHLO first, and not during a transaction" },
	{ VERB_HTTP, do_http, ANY, NULL },
};

static int dispatch(struct smtp_session *s, struct smtp_command *c)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
		if (commands[i].verb != c->verb)
			continue;
		if (!(s->state & commands[i].states))
			return s->state == SMTP_READY && (c->verb == VERB_RCPT || c->verb == VERB_DATA) ? smtp_refuse_following(s, commands[i].otherwise) :
													  smtp_refuse(s, commands[i].otherwise);
		return commands[i].run(s, c);
	}
	return do_not_here(s, c);
}

/* The dialogue */

/* A client that takes its time between commands gives its session with the backend to others meanwhile. may wait */
static int wait_for_command(struct smtp_session *s)
{
	int wait_ms = s->svc->site->timeouts.command_ms, spare_ms = s->t ? smtp_legs_spare_ms(s->t) : -1, rc;

	if (s->answer && !s->t && wait_ms > ANSWER_REST_MS) {
		rc = stream_wait_readable(s->stream, ANSWER_REST_MS);
		if (rc != -ETIMEDOUT)
			return rc;
		wait_ms -= ANSWER_REST_MS;
		smtp_answer_rest(s);
	}
	if (spare_ms > 0 && spare_ms < wait_ms) {
		rc = stream_wait_readable(s->stream, spare_ms);
		if (rc != -ETIMEDOUT)
			return rc;
		wait_ms -= spare_ms;
	}
	if (spare_ms >= 0)
		smtp_legs_pause(s->t);
	return stream_wait_readable(s->stream, wait_ms);
}

/* One line, parsed into a command on the heap: idle sessions hold none. may wait */
static int read_command(struct smtp_session *s, struct smtp_command **out, enum smtp_command_error *error)
{
	const struct site *site = s->svc->site;
	size_t max = site->limits.line_bytes;
	const char *line;
	size_t len;
	int rc = wait_for_command(s);

	if (rc >= 0)
		rc = stream_read_line(s->stream, smtp_auth_expected(s) && max < SASL_LINE_MAX ? SASL_LINE_MAX : max, site->timeouts.command_ms,
				      &line, &len);
	if (rc < 0)
		return rc;
	if (len > max && strncasecmp(line, "AUTH ", 5) != 0)
		return -EMSGSIZE;
	if (s->answer)
		smtp_answer_heard(s);
	*out = malloc(sizeof(**out));
	if (!*out)
		return -ENOMEM;
	*error = smtp_command_parse(line, len, s->t && s->t->utf8, *out);
	return 0;
}

static bool errors_exceeded(const struct smtp_session *s)
{
	return s->errors >= (unsigned)s->svc->site->limits.errors;
}

static int too_many_errors(struct smtp_session *s)
{
	log_notice("too-many-errors", "sid", s->id, "client", s->client.ip, NULL);
	s->state = SMTP_CLOSING;
	return smtp_say(s, "421 4.7.0 too many errors, closing");
}

static int run_command(struct smtp_session *s, struct smtp_command *c, enum smtp_command_error error)
{
	char text[128];

	if (s->svc->draining && !s->t && c->verb != VERB_QUIT) {
		s->state = SMTP_CLOSING;
		return smtp_say(s, "421 4.3.2 shutting down, try again");
	}
	if (errors_exceeded(s) && c->verb != VERB_QUIT)
		return too_many_errors(s);
	if (s->login && !s->t && c->verb != VERB_QUIT && !smtp_login_alive(s->login)) {
		s->state = SMTP_CLOSING;
		return smtp_say(s, "421 4.4.2 the session with the mail server behind is lost, please log in again");
	}
	if (c->verb == VERB_AUTH && !site_offers_auth(s->svc->site, s->listener))
		return do_not_here(s, c);
	if (error == COMMAND_OK || (c->verb == VERB_HTTP))
		return dispatch(s, c);
	if (c->verb == VERB_BDAT) {     /* how many octets follow is unknown: no way to go on */
		s->state = SMTP_CLOSING;
		return smtp_say(s, smtp_command_reply(c, error, text, sizeof(text)));
	}
	return smtp_refuse(s, smtp_command_reply(c, error, text, sizeof(text)));
}

static int serve_command(struct smtp_session *s)
{
	struct smtp_command *c = NULL;
	enum smtp_command_error error = COMMAND_UNKNOWN;
	int rc = read_command(s, &c, &error), limit;

	if (rc < 0 && rc != -EMSGSIZE)
		return rc;
	limit = smtp_limit_command(s, c && c->verb == VERB_QUIT);
	if (limit != 0)
		rc = limit < 0 ? limit : 0;
	else if (rc == -EMSGSIZE)
		rc = errors_exceeded(s) ? too_many_errors(s) : smtp_refuse(s, "500 5.5.2 line too long");
	else
		rc = run_command(s, c, error);
	free(c);
	return rc;
}

/* Last words, where they can be said. */
static void say_goodbye(struct smtp_session *s, int rc)
{
	if (rc == -ETIMEDOUT)
		smtp_say(s, "421 4.4.2 timeout, closing");
	else if (rc == -ECANCELED)
		smtp_say(s, "421 4.3.2 shutting down, try again");
	else if (rc == -ENOMEM)
		smtp_say(s, "421 4.3.2 out of memory, try again later");
	stream_flush(s->stream, 1000);
}

static void serve(struct smtp_session *s)
{
	const struct site *site = s->svc->site;
	int rc;

	if (smtp_inline_pass(s) || !smtp_inline_reach(s))
		return;
	if (site->timeouts.session_ms)
		s->deadline_ms = clock_ms() + site->timeouts.session_ms;
	stream_set_deadline(s->stream, s->deadline_ms);
	rc = greet(s);
	while (rc == 0 && s->state != SMTP_CLOSING)
		rc = serve_command(s);
	if (rc < 0) {
		smtp_answer_settle(s);
		say_goodbye(s, rc);
	} else {
		stream_close(s->stream, 5000);
		smtp_answer_settle(s);
	}
}

static void session_free(struct smtp_session *s)
{
	smtp_transaction_end(s);
	milters_free(s->milters);
	smtp_answer_free(s);
	smtp_auth_forget(s);
	smtp_onward_free(s->ahead);
	stream_free(s->line.stream);
	client_release(&s->client);
	free(s->told);
	if (s->admitted)
		limit_seat_leave(s->svc->limits, &s->admission.seat);
	smtp_room_leave(s->svc);
	s->svc->sessions--;
	if (s->prev)
		s->prev->next = s->next;
	else
		s->svc->first = s->next;
	if (s->next)
		s->next->prev = s->prev;
	stream_free(s->stream);
	free(s);
}

static void session_main(void *arg)
{
	struct smtp_session *s = arg;

	s->task = task_self();
	if (smtp_session_arrive(s))
		serve(s);
	session_free(s);
}

static struct smtp_session *session_new(struct smtp_service *svc, const struct listener_conf *l, int fd, const struct net_addr *peer)
{
	struct smtp_session *s = calloc(1, sizeof(*s));

	if (!s) {
		close(fd);
		return NULL;
	}
	s->svc = svc;
	s->listener = l;
	s->group = svc->listener_group[l - svc->site->listener];
	s->client.listener = l->name;
	s->peer = *peer;
	smtp_session_know(s, peer);
	connection_id(s->id);
	s->stream = stream_new_ready(fd);
	smtp_inline_know(s);
	svc->sessions++;
	s->next = svc->first;
	if (s->next)
		s->next->prev = s;
	svc->first = s;
	return s;
}

void smtp_server_accept(struct smtp_service *svc, const struct listener_conf *l, int fd, const struct net_addr *peer)
{
	bool proxied = smtp_session_proxied(l, peer);
	struct smtp_admission admission;
	struct smtp_session *s;

	if (!smtp_room_enter(svc)) {
		smtp_say_busy(l, fd, peer, "sessions");
		close(fd);
		return;
	}
	if (!proxied && !smtp_admit(svc, l, fd, peer, NULL, &admission)) {
		smtp_room_leave(svc);
		close(fd);
		return;
	}
	s = session_new(svc, l, fd, peer);
	if (!s) {
		if (!proxied)
			limit_seat_leave(svc->limits, &admission.seat);
		smtp_room_leave(svc);
		return;
	}
	if (!proxied) {
		s->admitted = true;
		s->admission = admission;
		s->admission.limit.sid = s->id;
	}
	if (s->stream && task_spawn("smtp", session_main, s, &s->task) == 0)
		return;
	if (s->stream)
		smtp_say_busy(l, stream_fd(s->stream), peer, "tasks");
	session_free(s);
}

int smtp_service_init(struct smtp_service *svc)
{
	svc->needed = judge_filters(svc->site);
	svc->recent = recent_new();
	svc->ledger.state = svc->state;
	svc->ledger.ttl_s = svc->site->ledger_s;
	svc->ledger.ask = svc->site->redis.address.family != 0;
	return svc->recent ? 0 : -ENOMEM;
}

void smtp_service_drain(struct smtp_service *svc)
{
	svc->draining = true;
	for (struct smtp_session *s = svc->first; s; s = s->next)
		if (!s->t && s->task && !smtp_inline_drain(s))
			task_cancel(s->task);
}

void smtp_service_release(struct smtp_service *svc)
{
	free(svc->recent);
	svc->recent = NULL;
}
