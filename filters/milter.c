#include "filters/milter.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "filters/daemon.h"
#include "filters/milter_macro.h"
#include "filters/milter_mail.h"
#include "filters/milter_talk.h"
#include "policy/conf.h"

enum { WHY_MAX = 200, QUIT_MS = 1000, BODY_AT_ONCE = 65535, CHANGES_TOLD = 50 };

/* How far a filter has been told. */
enum told { TOLD_NOTHING, TOLD_CLIENT, TOLD_SENDER };

/* One filter in this session. */
struct one {
	const struct milter_conf *conf;
	struct daemon_line *line;       /* NULL: no connection */
	struct milter_talk talk;
	enum told told;
	char *helo;                     /* that it has been told; NULL: none */
	bool tls;                       /* and that was within TLS */
	struct net_addr client;         /* that it has been told */
	struct milter_said session, greeting, mail;     /* what it thinks of the client, its name, the message */
	bool away;                      /* it could not be asked in this transaction */
	char why[WHY_MAX];
};

struct milters {
	const struct site *site;
	struct daemons *daemons;
	const struct client *client;
	const char *listener;
	struct net_addr local;
	size_t count;
	struct one *one;
	/* of a message */
	bool finished;
	int result;                     /* 0 or -errno */
	struct milter_mail mail;
	struct message *made;
	const char *action, *by;        /* words of milter.action; whose */
	char reply[MILTER_SAID_MAX];
	char *reason;                   /* for the quarantine */
	struct facts changes;           /* milter.changes */
};

/* Of each filter of the site whether it wants to hear of refused recipients: known once it has been spoken to. */
static uint32_t wants_refused;

/* ---- making ---- */

static bool is_for(const struct milter_conf *c, const struct listener_conf *l)
{
	if (!(c->directions & 1u << l->direction))
		return false;
	for (size_t i = 0; i < c->listener_count; i++)
		if (strcmp(c->listeners[i], l->name) == 0)
			return true;
	return c->listener_count == 0;
}

struct milters *milters_new(const struct site *site, struct daemons *daemons, const struct client *client, const struct listener_conf *l, const struct net_addr *local,
			    int *rc)
{
	struct milters *m;
	size_t count = 0;

	*rc = 0;
	for (size_t i = 0; i < site->milter_count; i++)
		count += is_for(site->milter[i], l);
	if (!count)
		return NULL;
	m = calloc(1, sizeof(*m));
	if (m)
		m->one = calloc(count, sizeof(*m->one));
	if (!m || !m->one) {
		free(m);
		*rc = -ENOMEM;
		return NULL;
	}
	m->site = site;
	m->daemons = daemons;
	m->client = client;
	m->listener = l->name;
	m->local = *local;
	m->action = "none";
	for (size_t i = 0; i < site->milter_count; i++)
		if (is_for(site->milter[i], l))
			m->one[m->count++].conf = site->milter[i];
	return m;
}

static uint32_t bit_of(const struct milters *m, const struct one *o)
{
	for (size_t i = 0; i < m->site->milter_count && i < 32; i++)
		if (m->site->milter[i] == o->conf)
			return UINT32_C(1) << i;
	return 0;
}

/* ---- the connection ---- */

static int line_write(void *arg, const char *p, size_t len, int64_t deadline_ms)
{
	struct one *o = arg;

	daemon_deadline(o->line, deadline_ms);
	return daemon_write(o->line, p, len);
}

static int line_read(void *arg, char *p, size_t max, int64_t deadline_ms)
{
	struct one *o = arg;
	const char *there;
	size_t n;
	int rc;

	daemon_deadline(o->line, deadline_ms);
	rc = daemon_peek(o->line, &there, &n);
	if (rc < 0)
		return rc;
	n = n < max ? n : max;
	memcpy(p, there, n);
	daemon_eat(o->line, n);
	return (int)n;
}

static void hang_up(struct one *o, enum daemon_end how)
{
	if (!o->line)
		return;
	milter_talk_release(&o->talk);
	daemon_give(o->line, how);
	o->line = NULL;
	o->told = TOLD_NOTHING;
	free(o->helo);
	o->helo = NULL;
	o->session = o->greeting = (struct milter_said){ 0 };
}

void milters_free(struct milters *m)
{
	if (!m)
		return;
	milters_reset(m);
	for (size_t i = 0; i < m->count; i++) {
		struct one *o = &m->one[i];

		if (o->line)
			milter_talk_quit(&o->talk, clock_ms() + QUIT_MS);
		hang_up(o, DAEMON_DONE);
	}
	free(m->one);
	free(m);
}

/* It could not be asked: for this transaction that is all of it. -errno */
static int gone(struct milters *m, struct one *o, const struct txn *t, int rc, const char *why)
{
	snprintf(o->why, sizeof(o->why), "milter %s: %s", o->conf->daemon.name, why);
	/* That nobody is there is said once when it goes, and once when it is back (daemon_pool), not with each message. */
	if (rc != -EHOSTUNREACH)
		log_warning("milter-failed", "tx", t->id, "milter", o->conf->daemon.name, "why", why, NULL);
	o->away = true;
	hang_up(o, rc == -ECANCELED || rc == -ENOMEM ? DAEMON_DROPPED : DAEMON_FAILED);
	return rc;
}

static int broke(struct milters *m, struct one *o, const struct txn *t, int rc)
{
	return gone(m, o, t, rc, o->talk.why && o->talk.why[0] ? o->talk.why : strerror(-rc));
}

/* A relay that we trust has said whose message it is (XCLIENT); what the header will tell comes too late. */
static const struct client *who(const struct milters *m, const struct txn *t)
{
	return t->client->addr.family ? t->client : m->client;
}

static struct milter_scene scene(const struct milters *m, const struct one *o, const struct txn *t)
{
	return (struct milter_scene){ .txn = t, .client = who(m, t), .daemon_name = o->conf->daemon_name ? o->conf->daemon_name : m->listener, .local = &m->local };
}

static int macros(struct one *o, const struct milter_scene *s, enum milter_moment at, enum milter_command c)
{
	const char *names = o->talk.terms.symbols[at] ? o->talk.terms.symbols[at] : o->conf->macros[at];

	return milter_macro_put(s, names, c, milter_talk_out(&o->talk));
}

/* ---- what comes before the message ---- */

static int say_connect(struct milters *m, struct one *o, const struct txn *t)
{
	struct milter_scene s = scene(m, o, t);
	const struct client *c = s.client;
	const char *name = milter_client_name(c);
	char literal[NET_TEXT_MAX + 8];

	o->client = c->addr;
	if (!milter_talk_wants(&o->talk, MILTER_NO_CONNECT))
		return 0;
	snprintf(literal, sizeof(literal), c->addr.family == AF_INET6 ? "[IPv6:%s]" : "[%s]", c->ip);
	macros(o, &s, MILTER_AT_CONNECT, MILTER_CONNECT);
	milter_put_connect(milter_talk_out(&o->talk), name ? name : literal, c->addr.family == AF_INET6 ? '6' : '4', c->addr.port, c->ip);
	return milter_talk_ask(&o->talk, MILTER_QUIET_CONNECT, false, &o->session);
}

static int say_helo(struct milters *m, struct one *o, const struct txn *t)
{
	struct milter_scene s = scene(m, o, t);
	const char *helo = s.client->helo ? s.client->helo : "";

	/* After STARTTLS it is said anew, as the client does (RFC 3207 4.2). */
	if (o->helo && strcmp(o->helo, helo) == 0 && o->tls == (s.client->tls_version != NULL))
		return 0;
	o->tls = s.client->tls_version != NULL;
	free(o->helo);
	o->helo = strdup(helo);
	if (!o->helo)
		return -ENOMEM;
	o->greeting = (struct milter_said){ 0 };
	if (!milter_talk_wants(&o->talk, MILTER_NO_HELO))
		return 0;
	macros(o, &s, MILTER_AT_HELO, MILTER_HELO);
	milter_put_strings(milter_talk_out(&o->talk), MILTER_HELO, &(struct milter_string){ helo, strlen(helo) }, 1);
	return milter_talk_ask(&o->talk, MILTER_QUIET_HELO, false, &o->greeting);
}

enum { STRINGS_MAX = 24 };

/* "<address>" and its parameters, each a string. */
static int say_address(struct one *o, enum milter_command c, const char *address, const char *params, uint64_t size)
{
	AUTO(buf) struct buf path = BUF_INIT(4096);
	struct milter_string s[STRINGS_MAX];
	size_t n = 1;
	char declared[32];

	buf_addf(&path, "<%s>", address);
	if (path.failed)
		return -ENOMEM;
	s[0] = (struct milter_string){ path.data, path.len };
	if (size) {
		int len = snprintf(declared, sizeof(declared), "SIZE=%llu", (unsigned long long)size);

		s[n++] = (struct milter_string){ declared, (size_t)len };
	}
	for (params += strspn(params, " "); *params && n < STRINGS_MAX; params += strspn(params, " ")) {
		size_t len = strcspn(params, " ");

		s[n++] = (struct milter_string){ params, len };
		params += len;
	}
	return milter_put_strings(milter_talk_out(&o->talk), c, s, n);
}

static int say_mail(struct milters *m, struct one *o, const struct txn *t)
{
	struct milter_scene s = scene(m, o, t);

	o->told = TOLD_SENDER;
	if (!milter_talk_wants(&o->talk, MILTER_NO_MAIL))
		return 0;
	macros(o, &s, MILTER_AT_MAIL, MILTER_MAIL);
	say_address(o, MILTER_MAIL, t->env.from, t->env.params ? t->env.params : "", t->env.size_declared);
	return milter_talk_ask(&o->talk, MILTER_QUIET_MAIL, false, &o->mail);
}

static bool ends_it(const struct milter_said *said)
{
	return said->verdict != MILTER_SAYS_CONTINUE && said->verdict != MILTER_SAYS_SKIP;
}

/* What it has said of all that comes; NULL: nothing that ends it. */
static const struct milter_said *said_already(const struct one *o)
{
	if (ends_it(&o->session))
		return &o->session;
	if (ends_it(&o->greeting))
		return &o->greeting;
	return ends_it(&o->mail) ? &o->mail : NULL;
}

/* Greeting and sender in the connection that there is. */
static int catch_up(struct milters *m, struct one *o, const struct txn *t)
{
	int rc = 0;

	if (!ends_it(&o->session))
		rc = say_helo(m, o, t);
	if (rc == 0 && !said_already(o))
		rc = say_mail(m, o, t);
	return rc;
}

static int dial(struct milters *m, struct one *o, const struct txn *t, int64_t until_ms)
{
	const struct milter_conf *c = o->conf;
	const struct milter_io io = { .write = line_write, .read = line_read, .arg = o };
	int64_t by = clock_ms() + c->daemon.connect_timeout_ms;
	int rc = daemon_take(m->daemons, &c->daemon, by < until_ms ? by : until_ms, true, &o->line);

	if (rc < 0)
		return rc;
	milter_talk_init(&o->talk, &io, c->command_ms, c->content_ms);
	o->talk.until_ms = until_ms;
	rc = milter_talk_negotiate(&o->talk, c->protocol);
	if (rc == 0) {
		uint32_t bit = bit_of(m, o);

		wants_refused = o->talk.terms.steps & MILTER_REJECTED_RCPT ? wants_refused | bit : wants_refused & ~bit;
		o->told = TOLD_CLIENT;
		rc = say_connect(m, o, t);
	}
	return rc;
}

/* What it has heard, and said, of the client of an earlier message is nothing to this one. may wait */
static void another_client(struct milters *m, struct one *o, const struct txn *t)
{
	if (!o->line || o->told != TOLD_CLIENT || t->stage > STAGE_RCPT || net_same_ip(&o->client, &who(m, t)->addr))
		return;
	milter_talk_quit(&o->talk, clock_ms() + QUIT_MS);
	hang_up(o, DAEMON_DONE);
}

/*
 * All that stands before a recipient. A connection of an earlier message that has broken meanwhile (the filter was started anew) is replaced. 0 or -errno:
 * it is away. may wait
 */
static int reach(struct milters *m, struct one *o, struct txn *t, int64_t until_ms)
{
	bool had;
	int rc = 0;

	if (o->away)
		return -EHOSTUNREACH;
	another_client(m, o, t);
	had = o->line != NULL;
	if (o->told == TOLD_SENDER || (had && ends_it(&o->session)))
		return 0;
	if (had) {
		o->talk.until_ms = until_ms;
		rc = catch_up(m, o, t);
		if (rc == 0)
			return 0;
		if (rc == -ECANCELED || rc == -ENOMEM)
			return broke(m, o, t, rc);
		hang_up(o, DAEMON_DROPPED);
		o->mail = (struct milter_said){ 0 };
	}
	/* Its name is worth a lookup to those who will hear it. */
	filters_fact(t, fact_find("client.fcrdns", 13));
	rc = dial(m, o, t, until_ms);
	if (rc == 0)
		rc = catch_up(m, o, t);
	if (rc == 0)
		return 0;
	if (o->line)
		return broke(m, o, t, rc);
	return gone(m, o, t, rc, rc == -EHOSTUNREACH ? "cannot be reached" : rc == -EBUSY ? "has too many connections" : strerror(-rc));
}

static int64_t until_of(const struct milters *m, int budget_ms)
{
	return clock_ms() + (budget_ms ? budget_ms : 240 * 1000);
}

/* 0: what it said is in said; -errno: away. may wait */
static int ask_rcpt(struct milters *m, struct one *o, struct txn *t, const struct recipient *r, int64_t until_ms, struct milter_said *said)
{
	const struct milter_said *before;
	struct milter_scene s;
	int rc = reach(m, o, t, until_ms);

	*said = (struct milter_said){ 0 };
	if (rc < 0)
		return rc;
	before = said_already(o);
	if (before) {
		*said = *before;
		return 0;
	}
	if (!milter_talk_wants(&o->talk, MILTER_NO_RCPT))
		return 0;
	s = scene(m, o, t);
	s.rcpt = r->address;
	s.rcpt_host = r->domain;
	o->talk.until_ms = until_ms;
	macros(o, &s, MILTER_AT_RCPT, MILTER_RCPT);
	say_address(o, MILTER_RCPT, r->address, r->params, 0);
	rc = milter_talk_ask(&o->talk, MILTER_QUIET_RCPT, false, said);
	/* These two are about the whole message (libmilter's xxfi_envrcpt). */
	if (rc == 0 && (said->verdict == MILTER_SAYS_ACCEPT || said->verdict == MILTER_SAYS_DISCARD))
		o->mail = *said;
	return rc < 0 ? broke(m, o, t, rc) : 0;
}

static bool passes(const struct one *o, int rc)
{
	return o->conf->daemon.away == DAEMON_AWAY_PASS && rc != -ECANCELED;
}

static int refused(const struct one *o, const struct milter_said *said, struct facts *out)
{
	const char *word = said->verdict == MILTER_SAYS_REJECT ? "reject" : "tempfail";
	int rc = facts_set(out, "milter.rcpt", word);

	if (rc == 0)
		rc = facts_set(out, "milter.action", word);
	if (rc == 0)
		rc = facts_set(out, "milter.name", o->conf->daemon.name);
	return rc < 0 ? rc : facts_set(out, "milter.reply", said->reply);
}

int milters_rcpt(struct milters *m, struct txn *t, const struct recipient *r, struct facts *out)
{
	int64_t until_ms = until_of(m, m->site->timeouts.budget_ms);

	for (size_t i = 0; i < m->count; i++) {
		struct one *o = &m->one[i];
		struct milter_said said;
		int rc = ask_rcpt(m, o, t, r, until_ms, &said);

		if (rc < 0 && !passes(o, rc)) {
			rc = facts_temperror(out, "milter.rcpt", o->why);
			return rc < 0 ? rc : facts_temperror(out, "milter.action", o->why);
		}
		if (rc == 0 && (said.verdict == MILTER_SAYS_REJECT || said.verdict == MILTER_SAYS_TEMPFAIL))
			return refused(o, &said, out);
	}
	return facts_set(out, "milter.rcpt", "none");
}

void milters_refused(struct milters *m, struct txn *t, const char *address, const char *params, const char *reply)
{
	int64_t until_ms = until_of(m, m->site->timeouts.budget_ms);

	for (size_t i = 0; i < m->count; i++) {
		struct one *o = &m->one[i];
		struct milter_scene s = scene(m, o, t);
		struct milter_said said;
		int rc;

		if (!(wants_refused & bit_of(m, o)) || reach(m, o, t, until_ms) < 0 || said_already(o) ||
		    !(o->talk.terms.steps & MILTER_REJECTED_RCPT) || !milter_talk_wants(&o->talk, MILTER_NO_RCPT))
			continue;
		s.rcpt = address;
		s.refusal = reply;
		macros(o, &s, MILTER_AT_RCPT, MILTER_RCPT);
		say_address(o, MILTER_RCPT, address, params ? params : "", 0);
		rc = milter_talk_ask(&o->talk, MILTER_QUIET_RCPT, false, &said);
		if (rc < 0)
			broke(m, o, t, rc);
	}
}

/* ---- the message ---- */

static int say_data(struct milters *m, struct one *o, const struct txn *t)
{
	struct milter_scene s = scene(m, o, t);

	if (o->talk.terms.version < 4 || !milter_talk_wants(&o->talk, MILTER_NO_DATA))
		return 0;
	macros(o, &s, MILTER_AT_DATA, MILTER_DATA);
	milter_put(milter_talk_out(&o->talk), MILTER_DATA, NULL, 0);
	return milter_talk_ask(&o->talk, MILTER_QUIET_DATA, true, &o->mail);
}

/* Name and value; folds are line feeds alone, and the blank behind the colon is the filter's only if it wants it (SMFIP_HDR_LEADSPC). */
static int say_field(struct one *o, const struct milter_field *f)
{
	const char *colon = memchr(f->raw + f->name_len, ':', f->len - f->name_len), *p = colon + 1, *end = f->raw + f->len;
	AUTO(buf) struct buf value = BUF_INIT(f->len + 1);

	if (end > p && end[-1] == '\n')
		end--;
	if (end > p && end[-1] == '\r')
		end--;
	if (!(o->talk.terms.steps & MILTER_LEADING_SPACE) && p < end && *p == ' ')
		p++;
	for (const char *q = p; q < end; q++)
		if (*q != '\r' || q + 1 == end || q[1] != '\n')
			buf_addc(&value, *q);
	if (value.failed)
		return -ENOMEM;
	milter_put_strings(milter_talk_out(&o->talk), MILTER_HEADER,
			   (struct milter_string[]){ { f->raw, f->name_len }, { buf_str(&value), value.len } }, 2);
	return milter_talk_ask(&o->talk, MILTER_QUIET_HEADER, true, &o->mail);
}

static int say_header(struct milters *m, struct one *o, const struct txn *t)
{
	struct milter_scene s = scene(m, o, t);
	int rc = 0;

	for (size_t i = 0; rc == 0 && milter_talk_wants(&o->talk, MILTER_NO_HEADERS) && !ends_it(&o->mail) && i < m->mail.count; i++)
		rc = say_field(o, &m->mail.field[i]);
	if (rc < 0 || ends_it(&o->mail) || !milter_talk_wants(&o->talk, MILTER_NO_HEADER_END))
		return rc;
	macros(o, &s, MILTER_AT_HEADER_END, MILTER_HEADER_END);
	milter_put(milter_talk_out(&o->talk), MILTER_HEADER_END, NULL, 0);
	return milter_talk_ask(&o->talk, MILTER_QUIET_HEADER_END, true, &o->mail);
}

static int say_body(struct milters *m, struct one *o)
{
	size_t off, n;
	struct message *body = milter_mail_body(&m->mail, &off);
	int rc = 0;

	if (!milter_talk_wants(&o->talk, MILTER_NO_BODY))
		return 0;
	while (rc == 0 && !ends_it(&o->mail) && o->mail.verdict != MILTER_SAYS_SKIP) {
		const char *p;

		rc = message_read(body, off, &p, &n);
		if (rc < 0 || n == 0)
			return rc;
		n = n < BODY_AT_ONCE ? n : BODY_AT_ONCE;
		milter_put(milter_talk_out(&o->talk), MILTER_BODY, p, n);
		off += n;
		rc = milter_talk_ask(&o->talk, MILTER_QUIET_BODY, true, &o->mail);
	}
	return rc;
}

struct changing {
	struct milters *m;
	struct one *o;
	const struct txn *t;
	bool body;
};

static void note_change(struct changing *c, const struct milter_reply *r)
{
	static const struct { enum milter_answer what; const char *words; } names[] = {
		{ MILTER_ADD_HEADER, "adds" }, { MILTER_INSERT_HEADER, "inserts" }, { MILTER_CHANGE_HEADER, "changes" }, { MILTER_ADD_RCPT, "adds recipient" },
		{ MILTER_ADD_RCPT_PARAMS, "adds recipient" }, { MILTER_DEL_RCPT, "deletes recipient" }, { MILTER_CHANGE_FROM, "changes sender to" },
	};
	AUTO(buf) struct buf text = BUF_INIT(400);

	if (r->what == MILTER_REPLACE_BODY) {
		if (!c->body)
			buf_addf(&text, "%s replaces the body", c->o->conf->daemon.name);
		c->body = true;
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (names[i].what == r->what)
			buf_addf(&text, "%s %s %.200s", c->o->conf->daemon.name,
				 r->what == MILTER_CHANGE_HEADER && !r->text[1][0] ? "deletes" : names[i].words, r->text[0]);
	if (text.len)
		facts_add_once(&c->m->changes, "milter.changes", buf_str(&text));
}

static int on_change(void *arg, const struct milter_reply *r)
{
	struct changing *c = arg;
	int rc;

	if (r->what == MILTER_QUARANTINE) {
		free(c->m->reason);
		c->m->reason = strdup(r->text[0]);
		c->m->action = "quarantine";
		c->m->by = c->o->conf->daemon.name;
		return c->m->reason ? 0 : -ENOMEM;
	}
	rc = milter_mail_change(&c->m->mail, r, c->o->talk.terms.steps & MILTER_LEADING_SPACE);
	if (rc == 0)
		note_change(c, r);
	else if (rc > 0)
		log_notice("milter-change-unused", "tx", c->t->id, "milter", c->o->conf->daemon.name, "what", r->text[0] ? r->text[0] : "", NULL);
	return rc < 0 ? rc : 0;
}

static int say_end(struct milters *m, struct one *o, const struct txn *t)
{
	struct milter_scene s = scene(m, o, t);
	struct changing c = { .m = m, .o = o, .t = t };
	int rc;

	macros(o, &s, MILTER_AT_END, MILTER_BODY_END);
	milter_put(milter_talk_out(&o->talk), MILTER_BODY_END, NULL, 0);
	rc = milter_talk_end(&o->talk, on_change, &c, &o->mail);
	if (rc < 0)
		return rc;
	o->told = TOLD_CLIENT;          /* it is over for this message */
	return milter_mail_settle(&m->mail);
}

/* All of the message to one filter. 0 or -errno. may wait */
static int show(struct milters *m, struct one *o, const struct txn *t)
{
	int rc = said_already(o) ? 0 : say_data(m, o, t);

	if (rc == 0 && !said_already(o))
		rc = say_header(m, o, t);
	if (rc == 0 && !said_already(o))
		rc = say_body(m, o);
	return rc == 0 && !said_already(o) ? say_end(m, o, t) : rc;
}

/* What one has said of the message is said of all. */
static bool decides(struct milters *m, const struct one *o)
{
	static const char *const words[] = { [MILTER_SAYS_REJECT] = "reject", [MILTER_SAYS_TEMPFAIL] = "tempfail", [MILTER_SAYS_DISCARD] = "discard" };
	const struct milter_said *said = said_already(o);

	if (!said)
		return false;
	if (said->verdict == MILTER_SAYS_ACCEPT) {
		if (strcmp(m->action, "none") == 0) {
			m->action = "accept";
			m->by = o->conf->daemon.name;
		}
		return false;
	}
	m->action = words[said->verdict];
	m->by = o->conf->daemon.name;
	memcpy(m->reply, said->reply, sizeof(m->reply));
	return true;
}

static int show_all(struct milters *m, struct txn *t, int64_t until_ms)
{
	for (size_t i = 0; i < m->count; i++) {
		struct one *o = &m->one[i];
		unsigned before = m->mail.changes;
		int rc = reach(m, o, t, until_ms);

		o->talk.until_ms = until_ms;
		if (rc == 0)
			rc = show(m, o, t);
		if (rc < 0 && o->line)
			broke(m, o, t, rc);
		if (rc < 0 && (!passes(o, rc) || m->mail.changes != before || m->mail.began))
			return rc;
		if (rc == 0 && decides(m, o))
			break;
	}
	return 0;
}

int milters_message(struct milters *m, struct txn *t)
{
	int rc;

	if (m->finished)
		return m->result;
	m->finished = true;
	rc = milter_mail_init(&m->mail, t, m->site->limits.message_bytes);
	if (rc == 0)
		rc = show_all(m, t, txn_nearer(t->checked_by_ms, until_of(m, m->site->timeouts.budget_ms)));
	if (rc == 0 && milter_mail_left(&m->mail) == 0 && strcmp(m->action, "reject") != 0 && strcmp(m->action, "tempfail") != 0) {
		m->action = "discard";
		free(m->reason);
		m->reason = strdup("all recipients were deleted");
	}
	m->result = rc;
	return rc;
}

const struct milter_mail *milters_mail(const struct milters *m)
{
	return m->finished && m->result == 0 ? &m->mail : NULL;
}

int milters_made(struct milters *m, bool (*stays)(void *arg, const struct header_field *h), void *arg, struct message **out)
{
	*out = NULL;
	if (!milters_mail(m) || !milter_mail_changed(&m->mail))
		return 0;
	if (!m->made)
		m->made = milter_mail_message(&m->mail, stays, arg);
	*out = m->made;
	return m->made ? 0 : -ENOMEM;
}

bool milters_new_body(const struct milters *m)
{
	return milters_mail(m) && m->mail.body;
}

void milters_reset(struct milters *m)
{
	for (size_t i = 0; i < m->count; i++) {
		struct one *o = &m->one[i];

		if (o->line && o->told == TOLD_SENDER) {
			o->talk.until_ms = clock_ms() + QUIT_MS;
			milter_put(milter_talk_out(&o->talk), MILTER_ABORT, NULL, 0);
			if (milter_talk_flush(&o->talk, false) < 0)
				hang_up(o, DAEMON_DROPPED);
			else
				o->told = TOLD_CLIENT;
		}
		o->mail = (struct milter_said){ 0 };
		o->away = false;
		o->why[0] = '\0';
	}
	message_free(m->made);
	m->made = NULL;
	milter_mail_release(&m->mail);
	free(m->reason);
	m->reason = NULL;
	facts_release(&m->changes);
	m->finished = false;
	m->result = 0;
	m->action = "none";
	m->by = NULL;
	m->reply[0] = '\0';
}

/* ---- as a filter ---- */

static const char *const action_words[] = { "none", "accept", "reject", "tempfail", "discard", "quarantine", NULL };

static const struct fact_def milter_facts[] = {
	{ "milter.action", FACT_WORD, false, STAGE_DATA, action_words, "what milters make of the message" },
	{ "milter.name", FACT_TEXT, false, STAGE_DATA, NULL, "the milter that said so, by its name in gatepost.conf" },
	{ "milter.reply", FACT_TEXT, false, STAGE_DATA, NULL, "the reply that it asks for, with reject and tempfail" },
	{ "milter.reason", FACT_TEXT, false, STAGE_DATA, NULL, "why it wants the message quarantined" },
	{ "milter.changes", FACT_TEXT, true, STAGE_DATA, NULL, "what milters have changed, in words" },
	{ "milter.away", FACT_BOOL, false, STAGE_DATA, NULL, "a milter with away = pass could not be asked" },
	{ 0 },
};

static const char *why_failed(const struct milters *m)
{
	for (size_t i = 0; i < m->count; i++)
		if (m->one[i].away && m->one[i].why[0])
			return m->one[i].why;
	return "milter: failed";
}

static bool any_away(const struct milters *m)
{
	for (size_t i = 0; i < m->count; i++)
		if (m->one[i].away)
			return true;
	return false;
}

static int set_facts(struct milters *m, struct facts *out)
{
	const struct fact *changes = facts_get_name(&m->changes, "milter.changes");
	int rc = facts_set(out, "milter.action", m->action);

	if (rc == 0 && m->by)
		rc = facts_set(out, "milter.name", m->by);
	if (rc == 0 && m->reply[0])
		rc = facts_set(out, "milter.reply", m->reply);
	if (rc == 0 && m->reason)
		rc = facts_set(out, "milter.reason", m->reason);
	for (size_t i = 0; rc == 0 && changes && i < changes->count && i < CHANGES_TOLD; i++)
		rc = facts_add(out, "milter.changes", changes->text[i]);
	if (rc == 0 && any_away(m))
		rc = facts_set_bool(out, "milter.away", true);
	return rc;
}

static int milter_run(struct txn *t, int self, struct facts *out)
{
	int rc;

	if (!t->milters)
		return facts_set(out, "milter.action", "none");
	rc = milters_message(t->milters, t);
	if (rc == -ENOMEM || rc == 0)
		return rc ? rc : set_facts(t->milters, out);
	return facts_temperror(out, "milter.action", why_failed(t->milters));
}

const struct filter filter_milter = {
	.name = "milter", .scope = SCOPE_TXN, .stage = STAGE_DATA, .facts = milter_facts, .run = milter_run,
};
