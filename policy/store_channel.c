#include "policy/store_channel.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "process/channel.h"

static int open_once(struct channel *c, int timeout_ms)
{
	AUTO(channel_msg) struct channel_msg reply = CHANNEL_MSG_INIT;
	int rc = channel_call(c, CHANNEL_STORE_OPEN, NULL, 0, -1, timeout_ms, &reply);
	int fd = reply.fd;

	if (rc < 0)
		return rc;
	if (reply.status < 0)
		return reply.status;
	if (fd < 0)
		return -EPROTO;
	reply.fd = -1;                  /* the caller's now */
	return fd;
}

static int store_channel_open(struct store *base)
{
	struct channel *c = ((struct store_channel *)base)->channel;
	int64_t deadline_ms = clock_ms() + STORE_OPEN_TIMEOUT_MS;
	int rc = open_once(c, STORE_OPEN_TIMEOUT_MS);

	if (rc != -EPIPE)
		return rc;
	rc = channel_await_peer(c, STORE_OPEN_TIMEOUT_MS);
	if (rc < 0)
		return rc;
	return clock_ms() < deadline_ms ? open_once(c, (int)(deadline_ms - clock_ms()))
					: -ETIMEDOUT;
}

static int store_channel_keep(struct store *base, int fd, const char *meta_json,
			      char id[STORE_ID_MAX])
{
	struct channel *c = ((struct store_channel *)base)->channel;
	AUTO(channel_msg) struct channel_msg reply = CHANNEL_MSG_INIT;
	/* Before, not after: a keeper that has got it may have kept it, and then it would be kept twice. */
	int rc = channel_await_peer(c, STORE_OPEN_TIMEOUT_MS);

	if (rc == 0)
		rc = channel_call(c, CHANNEL_STORE_KEEP, meta_json, strlen(meta_json), fd, STORE_KEEP_TIMEOUT_MS, &reply);
	if (rc < 0)
		return rc;
	if (reply.status < 0)
		return reply.status;
	if (reply.len == 0 || reply.len >= STORE_ID_MAX || memchr(reply.data, 0, reply.len))
		return -EPROTO;
	memcpy(id, reply.data, reply.len + 1);
	return 0;
}

void store_channel_init(struct store_channel *s, struct channel *channel)
{
	*s = (struct store_channel){ .store = { .open = store_channel_open,
						.keep = store_channel_keep },
				     .channel = channel };
}
