#include "policy/state_channel.h"

#include <errno.h>

#include "base/buf.h"
#include "base/clock.h"
#include "policy/state_wire.h"
#include "process/channel.h"

static int left_ms(int64_t deadline_ms)
{
	int64_t left = deadline_ms - clock_ms();

	return left > 0 ? (int)left : 0;
}

static int ask(struct channel *c, const struct buf *request, int timeout_ms, struct state_op *ops,
	       size_t count)
{
	AUTO(channel_msg) struct channel_msg reply = CHANNEL_MSG_INIT;
	int rc = channel_call(c, CHANNEL_STATE_RUN, request->data, request->len, -1, timeout_ms,
			      &reply);

	if (rc < 0)
		return rc;
	if (reply.status < 0)
		return reply.status;
	return state_wire_read_answer(reply.data, reply.len, ops, count);
}

static int state_channel_run(struct state *base, struct state_op *ops, size_t count)
{
	struct state_channel *s = (struct state_channel *)base;
	int64_t deadline_ms = clock_ms() + STATE_CHANNEL_TIMEOUT_MS;
	AUTO(buf) struct buf request = BUF_INIT(STATE_WIRE_MAX);
	int rc = state_wire_request(&request, ops, count);

	if (rc < 0)
		return rc;
	rc = ask(s->channel, &request, STATE_CHANNEL_TIMEOUT_MS, ops, count);
	if (rc != -EPIPE)
		return rc;
	rc = channel_await_peer(s->channel, left_ms(deadline_ms));
	return rc < 0 ? rc : ask(s->channel, &request, left_ms(deadline_ms), ops, count);
}

void state_channel_init(struct state_channel *s, struct channel *channel)
{
	*s = (struct state_channel){ .state.run = state_channel_run, .channel = channel };
}
