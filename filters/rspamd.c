#include "filters/rspamd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/http_reply.h"
#include "filters/rspamd_reply.h"
#include "filters/scan.h"
#include "policy/conf.h"

enum { HEAD_MAX = 128 * 1024, BODY_MAX = 1024 * 1024, RCPTS_MAX = 200, FIELD_MAX = 1000, WORDS_MAX = 100 };

static const struct fact_def rspamd_facts[] = {
	{ "rspamd.score", FACT_NUMBER, false, STAGE_DATA, NULL, "Rspamd's score, rounded down: 4.9 is 4" },
	{ "rspamd.required", FACT_NUMBER, false, STAGE_DATA, NULL, "the score from which it would reject, rounded down" },
	{ "rspamd.action", FACT_WORD, false, STAGE_DATA, rspamd_actions, "what Rspamd would do" },
	{ "rspamd.symbols", FACT_TEXT, true, STAGE_DATA, NULL, "names of the checks of Rspamd that had something to say" },
	{ "rspamd.away", FACT_BOOL, false, STAGE_DATA, NULL, "Rspamd could not be asked, or did not answer" },
	{ "rspamd.skipped", FACT_BOOL, false, STAGE_DATA, NULL, "the message was not looked at: it is longer than max_size, or Rspamd's settings say so" },
	{ 0 },
};

struct rspamd_scan {
	struct scan scan;
	struct rspamd_reply reply;
	char failed[WORDS_MAX];
};

static const struct daemon_conf *rspamd_conf(const struct site *site)
{
	return &site->rspamd.daemon;
}

/* What comes from outside and would be more than a field is left out. */
static void field(struct buf *out, const char *name, const char *value)
{
	if (!value || !*value || strlen(value) > FIELD_MAX)
		return;
	for (const char *p = value; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return;
	buf_addf(out, "%s: %s\r\n", name, value);
}

/* rspamd.com/doc/developers/protocol.html: fields of a request */
static int request(const struct txn *t, const struct message *m, struct buf *out)
{
	const struct client *c = t->client;
	const struct envelope *e = &t->env;
	const char *fcrdns = facts_word(&c->evidence.facts, "client.fcrdns");

	buf_addf(out, "POST /checkv2 HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\nContent-Length: %zu\r\n", message_size(m));
	field(out, "Password", t->site->rspamd.password);
	field(out, "Ip", c->ip);
	field(out, "Helo", c->helo);
	/* Only a name that leads back: others say what they like. Where no rule has asked for it, Rspamd looks it up by itself. */
	if (fcrdns && strcmp(fcrdns, "pass") == 0)
		field(out, "Hostname", facts_word(&c->evidence.facts, "client.rdns"));
	field(out, "User", c->auth_user);
	field(out, "TLS-Version", c->tls_version);
	field(out, "TLS-Cipher", c->tls_version ? c->tls_cipher : NULL);
	field(out, "From", e->from && !*e->from ? "<>" : e->from);
	for (size_t i = 0; i < e->rcpt_count && i < RCPTS_MAX; i++)
		field(out, "Rcpt", e->rcpt[i].address);
	if (e->rcpt_count == 1)
		field(out, "Deliver-To", e->rcpt[0].address);
	field(out, "Queue-Id", t->id);
	field(out, "MTA-Name", t->site->hostname);
	buf_adds(out, "\r\n");
	return out->failed ? -ENOMEM : 0;
}

/* may wait */
static int read_reply(struct daemon_line *l, struct http_reply *r)
{
	int rc;

	do {
		const char *p;
		size_t len;

		rc = daemon_peek(l, &p, &len);
		if (rc == -EPIPE && l->heard)
			return http_reply_end(r) == 1 ? DAEMON_DONE : -EPIPE;
		if (rc < 0)
			return rc;
		rc = http_reply_feed(r, p, len);
		daemon_eat(l, len);
	} while (rc == 0);
	return rc == 1 ? (r->closes ? DAEMON_DONE : DAEMON_AGAIN) : rc == -ENOMEM ? rc : -EPROTO;
}

static int take(struct rspamd_scan *x, const struct http_reply *r)
{
	int rc;

	if (r->status != 200 && r->body.len == 0) {
		snprintf(x->failed, sizeof(x->failed), "HTTP status %d", r->status);
		return 0;
	}
	rc = rspamd_reply_read(buf_str(&r->body), r->body.len, &x->reply);
	if (rc == -EBADMSG && r->status != 200)
		rc = 0;
	if (rc < 0)
		return rc == -ENOMEM ? rc : -EPROTO;
	if (*x->reply.error || r->status != 200)
		snprintf(x->failed, sizeof(x->failed), "HTTP status %d%s%.70s", r->status, *x->reply.error ? ": " : "", x->reply.error);
	return 0;
}

/* It may answer before it has read all (a message that is too long for it, a password that is wrong): its words count, though writing fails. */
static int rspamd_talk(struct daemon_line *l, void *arg)
{
	struct rspamd_scan *x = arg;
	AUTO(buf) struct buf head = BUF_INIT(HEAD_MAX);
	struct http_reply r;
	int sent, end, rc;

	if (!x->scan.txn || !x->scan.txn->message)
		return -ECANCELED;
	rspamd_reply_release(&x->reply);
	*x->failed = '\0';
	sent = request(x->scan.txn, x->scan.message, &head);
	if (sent == 0)
		sent = daemon_write(l, head.data, head.len);
	buf_release(&head);
	if (sent == 0)
		sent = scan_send(&x->scan, l);
	if (sent < 0 && sent != -EPIPE)
		return sent;
	http_reply_init(&r, BODY_MAX);
	end = read_reply(l, &r);
	rc = end < 0 ? end : take(x, &r);
	http_reply_release(&r);
	/* A verdict on a part of the message is none. */
	if (rc == 0 && sent < 0 && !*x->failed)
		return -EPROTO;
	return rc < 0 ? rc : sent == 0 ? end : DAEMON_DONE;
}

static int rspamd_found(struct scan *s, struct facts *out)
{
	struct rspamd_scan *x = (struct rspamd_scan *)s;
	const struct rspamd_reply *r = &x->reply;
	int rc;

	if (*x->failed) {
		s->failed = x->failed;
		return 0;
	}
	if (r->skipped) {
		s->skipped = "Rspamd's settings say so";
		return 0;
	}
	rc = facts_set_num(out, "rspamd.score", r->score);
	if (rc == 0 && r->has_required)
		rc = facts_set_num(out, "rspamd.required", r->required);
	if (rc == 0)
		rc = facts_set(out, "rspamd.action", r->action);
	if (rc == 0)
		rc = facts_set_empty(out, "rspamd.symbols");
	for (size_t i = 0; rc == 0 && i < r->symbol_count; i++)
		rc = facts_add(out, "rspamd.symbols", r->symbol[i]);
	return rc;
}

static void rspamd_release(struct scan *s)
{
	rspamd_reply_release(&((struct rspamd_scan *)s)->reply);
}

static const struct scan_kind kind = {
	.conf = rspamd_conf, .size = sizeof(struct rspamd_scan), .talk = rspamd_talk, .found = rspamd_found, .release = rspamd_release,
	.away = "rspamd.away", .skipped = "rspamd.skipped",
};

static void rspamd_begin(struct txn *t, int self)
{
	scan_begin(&kind, t, self);
}

static int rspamd_run(struct txn *t, int self, struct facts *out)
{
	return scan_run(&kind, t, self, out);
}

static bool rspamd_ready(struct txn *t, int self)
{
	return scan_ready(&kind, t, self);
}

const struct filter filter_rspamd = {
	.name = "rspamd", .scope = SCOPE_TXN, .stage = STAGE_DATA, .facts = rspamd_facts, .begin = rspamd_begin, .run = rspamd_run, .ready = rspamd_ready,
	.release = scan_release,
};
