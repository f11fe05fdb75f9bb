/*
 * presence - how many of something each of many has at once, over all workers: a table in memory that they share
 *
 * Whose sessions are counted is told by a hash with the table's key (presence_hash), so nobody can choose names that meet. What a worker
 * holds stands in a column of its own, so that what a dead one held can be forgotten. Nobody waits for anybody: of two that come at the same moment for the
 * last place both may be turned away.
 *
 * A cell belongs to whoever has something in it. It can be in either of two buckets; when both are full of others, the newcomer is let in without being
 * counted (-ENOSPC): that begins when some 50,000 have something at the same time, and the bounds of the whole site are the ones that hold.
 */
#ifndef PRESENCE_H
#define PRESENCE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/places.h"
#include "base/siphash.h"

enum { PRESENCE_BUCKETS = 1 << 13, PRESENCE_WAYS = 8, PRESENCE_CELLS = PRESENCE_BUCKETS * PRESENCE_WAYS };

struct presence {
	struct siphash_key key;
	_Atomic uint64_t unplaced;              /* that were not counted */
	_Atomic uint64_t owner[PRESENCE_BUCKETS][PRESENCE_WAYS];        /* hashes; 0: nobody's yet */
	_Atomic uint16_t held[PRESENCE_CELLS][PLACES_WORKERS_MAX];
};

/* p is zeroed memory. */
void presence_init(struct presence *p);

/* Never 0. */
uint64_t presence_hash(const struct presence *p, const void *text, size_t len);

/* One more, if it has not max already (0: no limit). Its cell, to be left again; -EBUSY; -ENOSPC: it is not counted. */
int presence_enter(struct presence *p, int worker, uint64_t hash, int max);
void presence_leave(struct presence *p, int worker, int cell);          /* cell < 0 is fine */

/* Of all workers. */
int presence_count(const struct presence *p, uint64_t hash);

/* A worker has died: what it held is free. */
void presence_forget(struct presence *p, int worker);

#endif
