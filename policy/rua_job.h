/*
 * rua_job - a day of the history becomes its reports, a little at a time
 *
 * It reads by a connection of its own, and holds no statement open between steps: nothing that is written meanwhile waits for it, and the WAL can be emptied. What it
 * writes goes by the connection of whoever writes the history (rua_store.h), a few reports at a step. Dropped half way it leaves nothing that counts.
 */
#ifndef RUA_JOB_H
#define RUA_JOB_H

#include "policy/rua_aggregate.h"
#include "policy/rua_store.h"

struct rua_job;

/* path: of the history's database. 0 or -errno. */
int rua_job_new(const char *path, int64_t day, const struct rua_bounds *bounds, struct rua_job **out);
void rua_job_free(struct rua_job *j);

int64_t rua_job_day(const struct rua_job *j);

/* Some more, for about so long. 1: there is more to do; 0: the day has been read; -errno: it is to be dropped, and if `to` is broken by it, that too. */
int rua_job_step(struct rua_job *j, struct history_store *to, int ms);

/* So far: records read, domains and messages that no report has for want of room. */
struct rua_job_sum {
	uint64_t records;
	size_t reports;
	uint64_t strangers;
};
void rua_job_sum(const struct rua_job *j, struct rua_job_sum *out);

#endif
