/*
 * store_channel - the store as the workers see it: asked of the store keeper over a channel
 *
 * Opening waits, within its deadline, for a keeper that is being started again. Keeping does not
 * ask twice: -EPIPE and -ETIMEDOUT mean that the message may or may not have been kept; the client
 * hears 4xx and keeps it.
 */
#ifndef STORE_CHANNEL_H
#define STORE_CHANNEL_H

#include "policy/store.h"

struct channel;

enum { STORE_OPEN_TIMEOUT_MS = 30 * 1000, STORE_KEEP_TIMEOUT_MS = 120 * 1000 };

struct store_channel {
	struct store store;             /* first: handed out as struct store * */
	struct channel *channel;
};

void store_channel_init(struct store_channel *s, struct channel *channel);

#endif
