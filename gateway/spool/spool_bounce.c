#include "spool/spool_bounce.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json_whole.h"
#include "base/log.h"
#include "filters/message.h"
#include "policy/record.h"
#include "policy/store.h"
#include "smtp/signing.h"
#include "smtp/smtp_server.h"
#include "spool/dsn.h"
#include "spool/spool_route.h"

static const struct spool_recipient *recipient(const struct spool_work *w, const struct spool_try *t)
{
	return &w->lease->envelope->rcpt[t->rcpt];
}

/* What there is to be said of one. false: nothing. */
static bool news(const struct spool_try *t, enum dsn_action *action)
{
	*action = t->kind == SPOOL_FOR_GOOD ? DSN_FAILED : t->kind == SPOOL_LATER ? DSN_DELAYED : DSN_RELAYED;
	return t->kind == SPOOL_FOR_GOOD || (t->kind == SPOOL_LATER && t->tell) || (t->kind == SPOOL_TAKEN && t->relayed);
}

/* It cannot be said now: the part comes back. */
static void hold_back(struct spool_work *w, const char *why)
{
	log_error("bounce-failed", "spool", w->lease->envelope->id, "why", why, NULL);
	for (size_t i = 0; i < w->count; i++) {
		struct spool_try *t = &w->try[i];

		if (t->kind == SPOOL_FOR_GOOD)
			t->kind = SPOOL_LATER;
		t->tell = false;
	}
}

/* --- the notification --- */

static bool may_be_told(const struct spool_envelope *e)
{
	return e->credible && e->sender[0];
}

const char *spool_bounce_from(const struct site *site, const char *to, char *out)
{
	const char *at = strrchr(to, '@');

	if (!at || !site_accepts(site, at + 1))
		return NULL;
	snprintf(out, SPOOL_BOUNCE_FROM_MAX, "postmaster@%.255s", at + 1);
	return out;
}

static size_t fill(struct spool_work *w, struct dsn_rcpt *rcpt)
{
	const struct spool_envelope *e = w->lease->envelope;
	size_t n = 0;

	for (size_t i = 0; i < w->count; i++) {
		struct spool_try *t = &w->try[i];
		const struct spool_recipient *r = recipient(w, t);
		enum dsn_action action;

		if (!news(t, &action))
			continue;
		if (n == SPOOL_BOUNCE_RCPTS) {
			t->kind = t->kind == SPOOL_TAKEN ? SPOOL_TAKEN : SPOOL_UNTRIED;
			t->tell = false;
			continue;
		}
		rcpt[n++] = (struct dsn_rcpt){
			.address = r->address, .params = r->params, .action = action, .expired = t->expired,
			.reply = t->reply ? t->reply : r->reply, .remote = t->reply ? t->remote : r->remote[0] ? r->remote : NULL,
			.attempt_s = w->lease->duty == SPOOL_DELIVER ? clock_wall_s() : r->tried_s,
			.retry_until_s = w->svc->site->spool.life_s ? e->created_s + w->svc->site->spool.life_s : 0,
		};
	}
	return n;
}

struct spool_envelope *spool_bounce_envelope(const struct smtp_service *svc, const char *to, const char *params, const char *txn)
{
	struct spool_envelope *e = spool_envelope_new();
	char route[SPOOL_ROUTE_MAX];

	if (!e)
		return NULL;
	e->sender = strdup("");
	e->params = strdup(params);
	e->txn = txn ? strdup(txn) : NULL;
	e->direction = SPOOL_OUTBOUND;
	/* RFC 3464 2: nobody is told of what becomes of it. */
	if (e->sender && e->params && spool_route_address(svc, to, route) && spool_envelope_add(e, to, "NOTIFY=NEVER", route))
		return e;
	spool_envelope_free(e);
	return NULL;
}

/* The header with signatures above it, in place of its own. What cannot be signed goes without: better than not at all. may wait */
static void sign(const struct smtp_service *svc, const struct dsn *d, struct buf *text)
{
	static const struct message_limits limits = { .memory_bytes = DSN_MAX, .header_bytes = DSN_MAX, .header_fields = 1000 };
	AUTO(message) struct message *m = message_new(&limits, NULL, NULL);
	AUTO(buf) struct buf header = BUF_INIT(DSN_MAX);
	size_t begin, was;

	if (!svc->site->dkim_sign_count || !m || message_add(m, text->data, text->len) < 0 || message_end(m) < 0)
		return;
	begin = message_body_offset(m);
	was = buf_add(&header, text->data, begin) == 0 ? header.len : 0;
	if (was && signing_apply_own(svc->site, m, d->reference, &header) == 0 && header.len > was &&
	    buf_add(&header, text->data + begin, text->len - begin) == 0) {
		struct buf unsigned_text = *text;

		*text = header;
		header = unsigned_text;
	}
}

int spool_bounce_text(const struct smtp_service *svc, const struct dsn *d, struct buf *out, const char **params)
{
	int rc = dsn_make(d, out, params);

	if (rc == 0)
		sign(svc, d, out);
	return rc;
}

/* may wait */
static int write_out(struct spool_work *w, const struct buf *text, struct spool_bounce *out)
{
	int rc;

	out->fd = spool_open(w->svc->spool);
	rc = out->fd < 0 ? out->fd : file_write_all(out->fd, text->data, text->len);
	if (rc < 0)
		spool_bounce_release(out);
	return rc;
}

/* 0, also where nobody wants it; -EINVAL: never, with this return path; another -errno: not now. may wait */
static int notify(struct spool_work *w, struct spool_bounce *out)
{
	const struct spool_envelope *e = w->lease->envelope;
	struct dsn_rcpt *rcpt = calloc(SPOOL_BOUNCE_RCPTS, sizeof(*rcpt));
	AUTO(buf) struct buf text = BUF_INIT(DSN_MAX);
	char from[SPOOL_BOUNCE_FROM_MAX], id[STORE_ID_MAX], route[SPOOL_ROUTE_MAX];
	const char *params = "";
	struct dsn d = {
		.hostname = w->svc->site->hostname, .from = spool_bounce_from(w->svc->site, e->sender, from), .id = id, .reference = e->id, .sender = e->sender, .params = e->params,
		.arrival_s = e->created_s, .now_s = clock_wall_s(), .message = w->message, .rcpt = rcpt,
	};
	int rc = -ENOMEM;

	/* The id of the message, and the moment: of one message there can be several. */
	snprintf(id, sizeof(id), "%.20s.%lx", e->id, (unsigned long)clock_wall_ms() & 0xfffffff);
	if (rcpt) {
		d.rcpt_count = fill(w, rcpt);
		rc = d.rcpt_count ? spool_bounce_text(w->svc, &d, &text, &params) : -ENOENT;
	}
	free(rcpt);
	if (rc == -ENOENT)
		return 0;
	if (rc == 0) {
		out->envelope = spool_bounce_envelope(w->svc, e->sender, params, e->txn);
		rc = out->envelope ? write_out(w, &text, out) : spool_route_address(w->svc, e->sender, route) ? -ENOMEM : -EINVAL;
	}
	return rc;
}

/* --- nobody may be told --- */

/* A copy of its own: the spool's file stays the spool's, and may lie in another file system. may wait */
static int keep_copy(const struct spool_work *w, const char *meta, char id[STORE_ID_MAX])
{
	int fd = w->svc->store ? store_open(w->svc->store) : -EIO, rc;

	if (fd < 0)
		return fd;
	rc = store_copy(w->message, 0, fd);
	if (rc == 0)
		rc = store_keep_draft(w->svc->store, fd, meta, id);
	close(fd);
	return rc;
}

/* The message with those of its recipients that failed. may wait */
static int quarantine(struct spool_work *w, const struct recipient *const *rcpt, size_t count, const char *reply, char id[STORE_ID_MAX])
{
	const struct spool_envelope *e = w->lease->envelope;
	struct client client = { .helo = e->helo, .esmtp = true };
	struct txn t = {
		.site = w->svc->site, .client = &client, .message = w->message, .env = { .from = e->sender, .params = e->params },
	};
	struct judge *j = calloc(1, sizeof(*j));
	char words[SPOOL_REPLY_MAX];
	const struct rule rule = { .name = (char *)"spool", .text = words };    /* what stands in the record as the rule */
	json_t *record;
	char *text = NULL;
	int rc = -ENOMEM;

	if (!j)
		return rc;
	snprintf(client.ip, sizeof(client.ip), "%s", e->client ? e->client : "");
	snprintf(t.id, sizeof(t.id), "%.23s", e->txn ? e->txn : e->id);
	j->verdict.action = ACTION_QUARANTINE;
	snprintf(words, sizeof(words), "could not be delivered later: %.800s", reply ? reply : "no reason known");
	j->verdict.rule = &rule;
	snprintf(j->verdict.reply, sizeof(j->verdict.reply), "%s", reply ? reply : "");
	record = record_make(&t, rcpt, count, j);
	if (record) {
		record_add_text(record, w->message);
		text = json_whole(record, JSON_COMPACT);
	}
	if (text)
		rc = keep_copy(w, text, id);
	free(text);
	json_decref(record);
	free(j);
	return rc;
}

/* 0 or -errno: it stays in the spool. may wait */
static int keep_failed(struct spool_work *w)
{
	const struct recipient **list = calloc(w->count + 1, sizeof(*list));
	struct recipient *copy = calloc(w->count + 1, sizeof(*copy));
	char id[STORE_ID_MAX] = "";
	const char *reply = NULL;
	size_t n = 0;
	int rc = list && copy ? 0 : -ENOMEM;

	for (size_t i = 0; rc == 0 && i < w->count; i++) {
		const struct spool_recipient *r = recipient(w, &w->try[i]);

		if (w->try[i].kind != SPOOL_FOR_GOOD)
			continue;
		reply = reply ? reply : w->try[i].reply ? w->try[i].reply : r->reply;
		copy[n] = (struct recipient){ .address = r->address, .params = r->params };
		list[n] = &copy[n];
		n++;
	}
	if (rc == 0 && n > 0)
		rc = w->message ? quarantine(w, list, n, reply, id) : -EIO;
	if (rc == 0 && n > 0)
		log_notice("spool-quarantined", "spool", w->lease->envelope->id, "quarantine", id, "from", w->lease->envelope->sender, "reply",
			   reply, "why", may_be_told(w->lease->envelope) ? "no notification can be written to its return path" :
			   "its return path is not credible: nobody is told", NULL);
	free(list);
	free(copy);
	return rc;
}

static bool any_failed(const struct spool_work *w)
{
	for (size_t i = 0; i < w->count; i++)
		if (w->try[i].kind == SPOOL_FOR_GOOD)
			return true;
	return false;
}

void spool_bounce_release(struct spool_bounce *b)
{
	if (b->fd >= 0)
		close(b->fd);
	spool_envelope_free(b->envelope);
	*b = (struct spool_bounce){ .fd = -1 };
}

void spool_bounce_make(struct spool_work *w, struct spool_bounce *out)
{
	const struct spool_envelope *e = w->lease->envelope;
	int rc = 0;

	*out = (struct spool_bounce){ .fd = -1 };
	if (may_be_told(e))
		rc = notify(w, out);
	/* A path that no notification can be written to ("a<b"@example.com) is one that nobody is told by: tried again for ever, it never left the spool. */
	if (rc == -EINVAL)
		spool_bounce_release(out);
	if (rc == -EINVAL || (!may_be_told(e) && (e->sender[0] || e->direction == SPOOL_INBOUND)))
		rc = any_failed(w) ? keep_failed(w) : 0;
	/* What else has no return path is a notification, by us or others: it ends here, with its line in the log (RFC 5321 6.1). */
	if (rc < 0) {
		spool_bounce_release(out);
		hold_back(w, strerror(-rc));
	}
}
