#include "filters/spamd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "filters/scan.h"
#include "filters/spamd_reply.h"
#include "policy/conf.h"

enum { HEAD_MAX = 1024, WORDS_MAX = 120 };

static const struct fact_def spamd_facts[] = {
	{ "spamd.spam", FACT_BOOL, false, STAGE_DATA, NULL, "SpamAssassin takes it for spam" },
	{ "spamd.score", FACT_NUMBER, false, STAGE_DATA, NULL, "SpamAssassin's score, rounded down: 4.9 is 4" },
	{ "spamd.threshold", FACT_NUMBER, false, STAGE_DATA, NULL, "the score from which it takes it for spam, rounded down" },
	{ "spamd.symbols", FACT_TEXT, true, STAGE_DATA, NULL, "names of its tests that had something to say" },
	{ "spamd.away", FACT_BOOL, false, STAGE_DATA, NULL, "spamd could not be asked, or did not answer" },
	{ "spamd.skipped", FACT_BOOL, false, STAGE_DATA, NULL, "the message was not looked at: it is longer than max_size" },
	{ 0 },
};

struct spamd_scan {
	struct scan scan;
	struct buf text;                /* the whole reply: symbols lie in it */
	struct spamd_reply reply;
	char failed[WORDS_MAX];
};

static const struct daemon_conf *spamd_conf(const struct site *site)
{
	return &site->spamd.daemon;
}

/* Up to its length, or to the end of the connection. may wait */
static int read_reply(struct daemon_line *l, struct buf *out)
{
	for (;;) {
		size_t whole = spamd_reply_length(buf_str(out), out->len), len;
		const char *p;
		int rc;

		if (whole && out->len >= whole)
			return 0;
		rc = daemon_peek(l, &p, &len);
		if (rc == -EPIPE && out->len > 0)
			return 0;
		if (rc < 0)
			return rc;
		rc = buf_add(out, p, len);
		if (rc < 0)
			return rc == -ENOSPC ? -EMSGSIZE : rc;
		daemon_eat(l, len);
	}
}

/* spamd/PROTOCOL of SpamAssassin. It serves one request, then closes; it may answer without having read all. may wait */
static int spamd_talk(struct daemon_line *l, void *arg)
{
	struct spamd_scan *x = arg;
	AUTO(buf) struct buf head = BUF_INIT(HEAD_MAX);
	const struct txn *t = x->scan.txn;
	int sent, rc;

	if (!t || !t->message)
		return -ECANCELED;
	x->text.max = SPAMD_REPLY_MAX;
	buf_clear(&x->text);
	buf_addf(&head, "SYMBOLS SPAMC/1.5\r\nContent-length: %zu\r\n", message_size(x->scan.message));
	if (t->site->spamd.user)
		buf_addf(&head, "User: %s\r\n", t->site->spamd.user);
	buf_adds(&head, "\r\n");
	if (head.failed)
		return -ENOMEM;
	sent = daemon_write(l, head.data, head.len);
	if (sent == 0)
		sent = scan_send(&x->scan, l);
	if (sent < 0 && sent != -EPIPE)
		return sent;
	rc = read_reply(l, &x->text);
	if (rc < 0)
		return rc;
	/* Cut before its end it tells nothing: symbols that are missing would count as none. */
	if (spamd_reply_read(buf_str(&x->text), x->text.len, &x->reply) < 0 || x->text.len < spamd_reply_length(buf_str(&x->text), x->text.len))
		return -EPROTO;
	/* A verdict on a part of the message is none. */
	return sent < 0 && x->reply.code == 0 ? -EPROTO : DAEMON_DONE;
}

static int spamd_found(struct scan *s, struct facts *out)
{
	struct spamd_scan *x = (struct spamd_scan *)s;
	const struct spamd_reply *r = &x->reply;
	char name[SPAMD_SYMBOL_MAX + 1];
	int rc;

	if (r->code != 0) {
		snprintf(x->failed, sizeof(x->failed), "it says %d %s", r->code, r->error);
		s->failed = x->failed;
		return 0;
	}
	rc = facts_set_bool(out, "spamd.spam", r->spam);
	if (rc == 0)
		rc = facts_set_num(out, "spamd.score", r->score);
	if (rc == 0)
		rc = facts_set_num(out, "spamd.threshold", r->threshold);
	if (rc == 0)
		rc = facts_set_empty(out, "spamd.symbols");
	for (size_t i = 0; rc == 0 && i < r->symbol_count; i++) {
		memcpy(name, r->symbol[i].name, r->symbol[i].len);
		name[r->symbol[i].len] = '\0';
		rc = facts_add(out, "spamd.symbols", name);
	}
	return rc;
}

static void spamd_release(struct scan *s)
{
	buf_release(&((struct spamd_scan *)s)->text);
}

static const struct scan_kind kind = {
	.conf = spamd_conf, .size = sizeof(struct spamd_scan), .talk = spamd_talk, .found = spamd_found, .release = spamd_release,
	.away = "spamd.away", .skipped = "spamd.skipped",
};

static void spamd_begin(struct txn *t, int self)
{
	scan_begin(&kind, t, self);
}

static int spamd_run(struct txn *t, int self, struct facts *out)
{
	return scan_run(&kind, t, self, out);
}

static bool spamd_ready(struct txn *t, int self)
{
	return scan_ready(&kind, t, self);
}

const struct filter filter_spamd = {
	.name = "spamd", .scope = SCOPE_TXN, .stage = STAGE_DATA, .facts = spamd_facts, .begin = spamd_begin, .run = spamd_run, .ready = spamd_ready,
	.release = scan_release,
};
