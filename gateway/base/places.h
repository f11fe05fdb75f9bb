/*
 * places - how many of something all workers hold: a limit that holds over processes, in memory that they share
 *
 * Each worker counts in a slot of its own, so that what a dead one held can be forgotten. Nobody waits for anybody: of two that come at the
 * same moment for the last place both may be turned away.
 */
#ifndef PLACES_H
#define PLACES_H

#include <stdatomic.h>
#include <stdbool.h>

enum { PLACES_WORKERS_MAX = 64 };

struct places {
	_Atomic int held[PLACES_WORKERS_MAX];   /* zeroed at start */
};

/* One more, if there are not max already; 0: no limit. */
bool places_enter(struct places *p, int worker, int max);
void places_leave(struct places *p, int worker);
/* Of all workers. */
int places_held(const struct places *p);
/* A worker has died: what it held is free. */
void places_forget(struct places *p, int worker);

#endif
