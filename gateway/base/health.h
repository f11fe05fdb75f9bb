/*
 * health - how each worker has found a server, one octet each in memory that all share
 *
 * A worker whose sessions only come to their end still uses servers, and looks after them; how they are is the business of those who
 * have come after it. After health_retire its word is heard no more, until its place is another's.
 */
#ifndef HEALTH_H
#define HEALTH_H

#include <stdatomic.h>

enum { HEALTH_AWAY = -1, HEALTH_UNSEEN, HEALTH_UP, HEALTH_RETIRED };

typedef _Atomic signed char health_place;

static inline void health_tell(health_place *h, signed char found)
{
	signed char was = atomic_load(h);

	while (was != HEALTH_RETIRED && !atomic_compare_exchange_weak(h, &was, found))
		;
}

static inline void health_retire(health_place *h)
{
	atomic_store(h, HEALTH_RETIRED);
}

/* The place is another's. */
static inline void health_forget(health_place *h)
{
	atomic_store(h, HEALTH_UNSEEN);
}

#endif
