/*
 * keeper_rua - what the keeper of the history answers about aggregate reports (policy/rua_day.h), and the reading of a day between its other work
 */
#ifndef KEEPER_RUA_H
#define KEEPER_RUA_H

#include "process/keeper.h"

struct history_store;
struct rua_job;

struct rua_keeper {
	const char *path;               /* of the history's database */
	struct rua_job *job;            /* the day that is being read, or NULL */
	uint64_t max_bytes;             /* what the history may be in size */
	int64_t begun_ms, again_ms;     /* no other before again_ms: one has failed */
	int64_t tidy_ms;
};

/* An answer to m, if it is a question for this one. store: to write, or NULL. */
bool rua_keeper_request(struct rua_keeper *r, struct keeper_peer *p, const struct channel_msg *m, struct history_store *store);

/*
 * A little of what is to be done, and what is done about once a second. In how many milliseconds it wants the next turn, -1: in none. Whether the store is broken by
 * it (history_store_broken) is for the caller to see.
 */
int rua_keeper_turn(struct rua_keeper *r, struct history_store *store);
void rua_keeper_tick(struct rua_keeper *r, struct history_store *store);

/* The day that is being read is begun anew some time: the store is closed, and what has not been committed is lost. */
void rua_keeper_drop(struct rua_keeper *r);

#endif
