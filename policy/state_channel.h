/*
 * state_channel - the state as the workers see it: asked of the state keeper over a channel
 *
 * A request has STATE_CHANNEL_TIMEOUT_MS in all. When the keeper dies under it, the request waits,
 * within that time, for the parent to wire a new one and is asked once more: whoever counts may
 * then count one twice, which the uses of the state bear.
 */
#ifndef STATE_CHANNEL_H
#define STATE_CHANNEL_H

#include "policy/state.h"

struct channel;

enum { STATE_CHANNEL_TIMEOUT_MS = 5000 };

struct state_channel {
	struct state state;             /* first: handed out as struct state * */
	struct channel *channel;
};

void state_channel_init(struct state_channel *s, struct channel *channel);

#endif
