/*
 * rua_later - which reports wait for another try, and of which only the history does not know yet what has become of them
 *
 * A table in memory by a hash of domain and day; whoever starts anew tries everything at once. No I/O.
 */
#ifndef RUA_LATER_H
#define RUA_LATER_H

#include <stddef.h>
#include <stdint.h>

#include "policy/rua_day.h"

enum { RUA_LATER_MAX = (RUA_DAYS_BACK + 1) * RUA_DOMAINS_MAX };

struct rua_late {
	uint64_t key;                   /* never 0 */
	int64_t until_ms;               /* of clock_ms() */
	int pause_ms;                   /* before that; 0: there was none yet */
	enum rua_fate fate;             /* RUA_PENDING: it is to be sent; else to be told to the history, and no more */
};

struct rua_later {                      /* zeroed to begin */
	struct rua_late *late;          /* key 0: free */
	size_t size, used;              /* size: 0, or a power of two */
};

void rua_later_release(struct rua_later *t);

/* NULL: it is not there. Good until the next put or drop. */
struct rua_late *rua_later_find(const struct rua_later *t, uint64_t key);
/* That, or a new one, zeroed. NULL: RUA_LATER_MAX, or no memory. */
struct rua_late *rua_later_put(struct rua_later *t, uint64_t key);
void rua_later_drop(struct rua_later *t, uint64_t key);
/* Those go that could have been tried before before_ms, and were not: their day has passed. */
void rua_later_tidy(struct rua_later *t, int64_t before_ms);

#endif
