/* spool_channel - the spool as the workers see it: asked of its keeper over a channel */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json_whole.h"
#include "base/task.h"
#include "filters/message.h"
#include "policy/spool_record.h"
#include "policy/spool_wire.h"
#include "policy/store.h"
#include "process/channel.h"

enum {
	OPEN_TIMEOUT_MS = 30 * 1000,
	LEASE_SPARE_MS = 30 * 1000,     /* longer than the keeper waits */
	REPORT_TRIES = 5,
	MEMORY_PAUSE_MS = 200,
};

void spool_init(struct spool *s, struct channel *channel)
{
	*s = (struct spool){ .channel = channel };
}

/* A keeper that is new learns first what this worker has. It takes messages in order: what follows finds the leases in their places. */
static void hold(struct spool *s)
{
	char *text;

	if (s->peer == s->channel->peers)
		return;
	text = s->held ? spool_wire_hold(s->held, clock_ms()) : NULL;
	if (!s->held || (text && channel_notify(s->channel, CHANNEL_SPOOL_HOLD, text, strlen(text), -1) == 0))
		s->peer = s->channel->peers;
	free(text);
}

void spool_greet(struct spool *s)
{
	hold(s);
}

/* Ask, and where the keeper is being started again wait for it and ask once more. */
static int call(struct spool *s, enum channel_type type, const char *text, int fd, int timeout_ms, struct channel_msg *reply)
{
	int rc;

	hold(s);
	rc = channel_call(s->channel, type, text, text ? strlen(text) : 0, fd, timeout_ms, reply);
	return rc < 0 ? rc : reply->status < 0 ? reply->status : 0;
}

static int open_once(struct spool *s)
{
	AUTO(channel_msg) struct channel_msg reply = CHANNEL_MSG_INIT;
	int rc = call(s, CHANNEL_SPOOL_OPEN, NULL, -1, OPEN_TIMEOUT_MS, &reply), fd = reply.fd;

	if (rc < 0)
		return rc;
	if (fd < 0)
		return -EPROTO;
	reply.fd = -1;                  /* the caller's now */
	return fd;
}

int spool_open(struct spool *s)
{
	int rc = open_once(s);

	if (rc != -EPIPE)
		return rc;
	rc = channel_await_peer(s->channel, OPEN_TIMEOUT_MS);
	return rc < 0 ? rc : open_once(s);
}

int spool_draft(struct spool *s, const struct buf *header, struct message *m)
{
	int fd = spool_open(s), rc;

	if (fd < 0)
		return fd;
	rc = file_write_all(fd, buf_str(header), header->len);
	if (rc == 0)
		rc = store_copy(m, message_body_offset(m), fd);
	if (rc < 0)
		close(fd);
	return rc < 0 ? rc : fd;
}

int spool_keep(struct spool *s, int fd, const struct spool_envelope *e, char id[STORE_ID_MAX])
{
	AUTO(channel_msg) struct channel_msg reply = CHANNEL_MSG_INIT;
	char *text;
	int rc;

	if (e->rcpt_count > SPOOL_RECIPIENTS_MAX)
		return -EMSGSIZE;
	text = spool_record_text(e);
	if (!text)
		return -ENOMEM;
	/* Before, not after: a keeper that has got it may have kept it, and then it would be kept twice. */
	rc = channel_await_peer(s->channel, OPEN_TIMEOUT_MS);
	if (rc == 0)
		rc = call(s, CHANNEL_SPOOL_KEEP, text, fd, SPOOL_KEEP_TIMEOUT_MS, &reply);
	free(text);
	if (rc < 0)
		return rc;
	if (reply.len != STORE_ID_LEN || store_id_ms(reply.data) < 0)
		return -EPROTO;
	memcpy(id, reply.data, STORE_ID_LEN + 1);
	return 0;
}

/* --- leases --- */

static int lease_ask(struct spool *s, uint64_t serial, int wait_ms, struct spool_lease **out)
{
	AUTO(channel_msg) struct channel_msg reply = CHANNEL_MSG_INIT;
	char *text = spool_wire_ask(serial, wait_ms);
	int rc = text ? call(s, CHANNEL_SPOOL_LEASE, text, -1, wait_ms + LEASE_SPARE_MS, &reply) : -ENOMEM;

	free(text);
	if (rc == 0)
		rc = reply.fd < 0 ? -EPROTO : spool_wire_lease_read(reply.data, reply.len, clock_ms(), out);
	if (rc < 0)
		return rc;
	(*out)->fd = reply.fd;
	reply.fd = -1;
	return 0;
}

int spool_lease(struct spool *s, int wait_ms, struct spool_lease **out)
{
	uint64_t serial = ++s->serial;
	char *text;
	int rc;

	if (!channel_attached(s->channel)) {
		rc = channel_await_peer(s->channel, wait_ms);
		if (rc < 0)
			return rc == -ETIMEDOUT ? -EAGAIN : rc;
	}
	rc = lease_ask(s, serial, wait_ms, out);
	if (rc == -EPIPE) {
		/* A new one hears at once what is held here. */
		rc = channel_await_peer(s->channel, wait_ms);
		if (rc == 0)
			rc = lease_ask(s, serial, wait_ms, out);
	}
	if (rc == 0) {
		(*out)->next = s->held;
		s->held = *out;
		return 0;
	}
	/* What it may have given meanwhile, or gives yet, nobody takes. */
	text = rc != -EAGAIN && rc != -EPIPE ? spool_wire_number("serial", (int64_t)serial) : NULL;
	if (text)
		(void)channel_notify(s->channel, CHANNEL_SPOOL_FORGET, text, strlen(text), -1);
	free(text);
	return rc == -ETIMEDOUT ? -EAGAIN : rc;
}

static void let_go(struct spool *s, struct spool_lease *l)
{
	struct spool_lease **at = &s->held;

	while (*at && *at != l)
		at = &(*at)->next;
	if (*at)
		*at = l->next;
	spool_lease_free(l);
}

int spool_report(struct spool *s, struct spool_lease *l, const struct spool_report *r)
{
	char *text = spool_wire_report(l, r);
	int fd = r && r->dsn ? r->dsn_fd : -1, rc = -EPIPE;

	/* What is not reported is delivered again. */
	for (int i = 0; !text && i < REPORT_TRIES && task_sleep(MEMORY_PAUSE_MS) == 0; i++)
		text = spool_wire_report(l, r);
	/* EAGAIN: the keeper has not heard it, it had no memory to read it. */
	for (int i = 0; text && i < REPORT_TRIES && (rc == -EPIPE || rc == -EAGAIN); i++) {
		AUTO(channel_msg) struct channel_msg reply = CHANNEL_MSG_INIT;

		if (channel_await_peer(s->channel, SPOOL_KEEP_TIMEOUT_MS) == -ECANCELED)
			break;
		rc = call(s, CHANNEL_SPOOL_REPORT, text, fd, SPOOL_KEEP_TIMEOUT_MS, &reply);
	}
	free(text);
	let_go(s, l);
	return text ? rc : -ENOMEM;
}

int spool_wake(struct spool *s, const char *route)
{
	AUTO(channel_msg) struct channel_msg reply = CHANNEL_MSG_INIT;
	json_t *o = json_object();
	int64_t parts = 0;
	char *text;
	int rc;

	if (route)
		json_object_set_new(o, "route", json_string(route));
	text = json_whole(o, JSON_COMPACT);
	json_decref(o);
	rc = text ? call(s, CHANNEL_SPOOL_WAKE, text, -1, OPEN_TIMEOUT_MS, &reply) : -ENOMEM;
	free(text);
	if (rc == 0)
		rc = spool_wire_number_read(reply.data, reply.len, "parts", INT32_MAX, &parts);
	return rc < 0 ? rc : (int)parts;
}
