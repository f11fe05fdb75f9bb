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
	int64_t begun_ms, again_ms;     /* no other before again_ms: one has failed */
};

/* An answer to m, if it is a question for this one. store: to write, or NULL. */
bool rua_keeper_request(struct rua_keeper *r, struct keeper_peer *p, const struct channel_msg *m, struct history_store *store);

/*
 * A little of what is to be done. In how many milliseconds it wants the next turn, -1: in none; or -errno that is less: the store is broken by it, and to be
 * closed (rua_keeper_drop).
 */
int rua_keeper_turn(struct rua_keeper *r, struct history_store *store);

/* About once a second. 0 or -errno. */
int rua_keeper_tick(struct rua_keeper *r, struct history_store *store);

/* The day that is being read is begun anew some time. */
void rua_keeper_drop(struct rua_keeper *r);

#endif
