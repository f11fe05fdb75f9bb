/*
 * history_channel - the history as the workers see it: records are handed to the history keeper, and nobody waits
 *
 * Records are collected and sent together, after HISTORY_FLUSH_MS at the latest: CHANNEL_HISTORY_ADD holds, for each, its length in four
 * octets, the low ones first, and its bytes (history_record.h). While the keeper is away, or does not keep up, they are held up to
 * HISTORY_HELD_MAX octets; what is more is dropped and counted, and the log says so now and then. Mail never waits for its history.
 */
#ifndef HISTORY_CHANNEL_H
#define HISTORY_CHANNEL_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/buf.h"
#include "policy/history_record.h"

enum { HISTORY_FLUSH_MS = 100, HISTORY_HELD_MAX = 1024 * 1024 };

struct channel;
struct event;

struct history_channel {
	struct channel *channel;
	bool records;                   /* the site wants them */
	struct buf held;
	struct event *timer;
	bool waiting;                   /* the timer runs */
	_Atomic uint64_t *dropped;      /* the site's count */
	uint64_t dropped_here, said;    /* of this worker; how many the log has told of */
	int64_t said_ms;
};

void history_channel_init(struct history_channel *h, struct channel *channel, bool records, _Atomic uint64_t *dropped);
int history_channel_start(struct history_channel *h);           /* on the loop. 0 or -ENOMEM */
void history_channel_release(struct history_channel *h);        /* sends what is held, if that can be done at once; zeroed is fine */

/* h may be NULL. Never waits. */
void history_channel_add(struct history_channel *h, const struct history_record *r);

/* Of what CHANNEL_HISTORY_ADD brought, the record at *at, which goes on to the next. -ENOENT: that was all; -EBADMSG: it is none. */
int history_channel_next(const char *data, size_t len, size_t *at, const char **p, size_t *n);

#endif
