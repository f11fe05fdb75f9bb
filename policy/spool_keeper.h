/*
 * spool_keeper - the spool on disk and its schedule: what the spool's keeper does, without its channel
 *
 * What makes things durable is shared: keep and report do everything but the fsync of the directory, which spool_keeper_flush does for all
 * since the last one; only then may they be answered. The one exception is a DSN, which is durable before its report is recorded.
 *
 * How old an entry is goes by the wall clock as far as that can be trusted (store_clock.h): one that is set a year ahead gives nothing up.
 *
 * The directory is locked (flock) while it is open: a command that deletes does so beside no keeper.
 */
#ifndef SPOOL_KEEPER_H
#define SPOOL_KEEPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/spool_schedule.h"
#include "policy/spool_wire.h"

struct spool_keeper;

/*
 * dir is made if it is not there; waits for its lock. proc_fd: durable_proc(), taken over; -1: opened here. number: of the first lease, beyond those of
 * earlier keepers. 0 or -errno (said in the log). What lies in the directory is known when spool_keeper_load says so.
 */
int spool_keeper_open(const char *dir, int proc_fd, const struct spool_settings *set, uint64_t number, struct spool_keeper **out);
void spool_keeper_close(struct spool_keeper *k);
void spool_keeper_set(struct spool_keeper *k, const struct spool_settings *set);

/* Look at a few of the entries that were there at the start: true: there is more to do. Nothing is leased before. */
bool spool_keeper_load(struct spool_keeper *k, int64_t now_ms, int64_t wall_ms);

/* A descriptor of an empty file without a name, or -errno. */
int spool_keeper_temp(struct spool_keeper *k);

/* Keep one; with very many routes as several entries (spool_split.h), id is that of one. 0; -ENOSPC: full; or another -errno: nothing is kept. */
int spool_keeper_keep(struct spool_keeper *k, int fd, const char *record, size_t len, int64_t now_ms, int64_t wall_ms, char id[STORE_ID_MAX]);

/* The fsync for all since the last one: 0, or -errno: what was kept since then is gone again, what was reported is perhaps recorded. */
int spool_keeper_flush(struct spool_keeper *k);

/* What is due. *e is the caller's, *fd is to be closed. false: nothing now. */
bool spool_keeper_lease(struct spool_keeper *k, const void *holder, int64_t now_ms, struct spool_grant *out, struct spool_envelope **e, int *fd);
int64_t spool_keeper_next_ms(const struct spool_keeper *k);

/* 0, or -errno: -ENOSPC: there is no room for the DSN: what was delivered is recorded, the others are tried again. */
int spool_keeper_report(struct spool_keeper *k, const struct spool_told *t, int dsn_fd, int64_t now_ms, int64_t wall_ms);

void spool_keeper_gone(struct spool_keeper *k, const void *holder, int64_t now_ms);
void spool_keeper_claim(struct spool_keeper *k, const struct spool_held *h, const void *holder, int64_t now_ms);
void spool_keeper_untried(struct spool_keeper *k, const char *id, uint64_t number, int64_t now_ms);

/* About once a second: what could not be written for want of room is tried again, and the clock is looked at. */
void spool_keeper_tick(struct spool_keeper *k, int64_t now_ms, int64_t wall_ms);

/* -ENOENT; -EBUSY: it is being delivered. Durable after the flush. */
int spool_keeper_delete(struct spool_keeper *k, const char *id);
/* Its recipients are given up, with a DSN, by whoever leases it next. -ENOENT, -EBUSY. */
int spool_keeper_give_up(struct spool_keeper *k, const char *id, int64_t now_ms);

struct spool_schedule *spool_keeper_schedule(struct spool_keeper *k);
bool spool_keeper_loading(const struct spool_keeper *k);

#endif
