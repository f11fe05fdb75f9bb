/*
 * rua_run - a worker sends the aggregate reports of the days that are over (policy/rua_day.h)
 *
 * Of all workers of the site one has the turn, as long as it lives: what it holds in shared memory is free again when its process ends (rua_shared_forget).
 * Each domain has its moment within rua_spread behind the end of the day, always the same here and another one at other sites, so that neither all
 * reports leave at once nor those of all the world arrive at once. What could not be sent is tried again, after five minutes and then ever more seldom, for a
 * day longer; then it is given up. After a time down the days that the history can still report are made up for.
 *
 * Reports are the last that the spool is there for: while a quarter of what it may hold is taken none is added. So domains that nobody reads reports of, as many as
 * somebody may invent, never take the room of mail.
 */
#ifndef RUA_RUN_H
#define RUA_RUN_H

#include <stdatomic.h>
#include <stdint.h>

struct channel;
struct rua_run;
struct site;
struct smtp_service;

/* In memory that all workers share; zeroed to begin. */
struct rua_shared {
	_Atomic int turn;               /* whose it is: its slot, from 1; 0: nobody's */
	_Atomic uint64_t sent, given_up;
	_Atomic int64_t from_ms;        /* of clock_ms(): before that nobody has it */
};

/*
 * This memory is another than that of workers who live still (an upgrade to a program with another layout), so that nobody sees their turn: it begins when
 * the reports that they have under way are done, for none is to be sent twice.
 */
void rua_shared_wait(struct rua_shared *shared);

/* What ended in that slot has no turn any more. */
void rua_shared_forget(struct rua_shared *shared, int slot);

/* When the report of that day is due, in seconds since 1970. */
int64_t rua_run_due_s(const struct site *site, int64_t day, const char *domain);

/* What a worker has. */
struct rua_place {
	struct smtp_service *svc;
	struct channel *history;
	struct rua_shared *shared;
	int slot;                       /* its own */
	const _Atomic uint64_t *spool_messages, *spool_bytes;   /* what the spool holds */
};

/* All that place says outlives the result. NULL: no memory. */
struct rua_run *rua_run_new(const struct rua_place *place);
int rua_run_start(struct rua_run *r);   /* on the loop. 0 or -errno; NULL is fine */
/* No further report is begun; when those that are under way are done its turn goes to others. NULL is fine. */
void rua_run_stop(struct rua_run *r);
/* How many are under way. NULL is fine. */
int rua_run_busy(const struct rua_run *r);
/* When no task runs any more. NULL is fine. */
void rua_run_free(struct rua_run *r);

#endif
