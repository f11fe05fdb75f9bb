/*
 * history_store - the records of the history in one SQLite file
 *
 *     record  (id, at, data)                  as they came; data: history_record.h
 *     segment (first, last, at_min, at_max)   of records that have an index
 *     posting (segment, key, records)         where in the segment that key is: two octets each, from its first
 *     report_day, report                      rua_store.h
 *
 * What is found by key is found by index, and yet one record costs one row: an index over all records would have each one touch a dozen
 * pages of a large tree. The keys of up to HISTORY_SEGMENT records are kept in memory instead, then sorted and written one after the
 * other; who asks looks into each segment, and reads the records that have none yet. Ids only grow: they are in the order in which
 * records came, which is that of time but for a second.
 *
 * WAL, synchronous=NORMAL: whatever crashes, the last second may be lost and no more. A database that is damaged is moved aside and begun
 * afresh. One process writes; others read at the same time.
 */
#ifndef HISTORY_STORE_H
#define HISTORY_STORE_H

#include "policy/history_key.h"

enum { HISTORY_SCHEMA = 1, HISTORY_SEGMENT = 8192 };

struct history_store;

/*
 * To write: path is made if it is not there. To read: -ENOENT if it is not. 0; -EPROTONOSUPPORT: written by a newer version; or another
 * -errno. Says in the log what is wrong when it writes. The facts must have been registered.
 */
int history_store_open(const char *path, bool writes, struct history_store **out);
void history_store_close(struct history_store *s);              /* commits */

/*
 * One more, as history_encode made it: written, not yet committed. 0; -EINVAL: it is no record, and nothing has happened; -ENOSPC, -EIO...:
 * nothing since the last commit has been kept, and the store is to be closed and opened anew (which moves a damaged one aside).
 */
int history_store_add(struct history_store *s, const char *p, size_t len);
int history_store_commit(struct history_store *s);              /* 0, or as above */
size_t history_store_uncommitted(const struct history_store *s);
bool history_store_broken(const struct history_store *s);       /* an error was one after which it is to be closed */

/*
 * Remove a few of the oldest: those before keep_ms, and some more while the file holds more than max_bytes. Whether there may be more to
 * remove; or -errno. Commits.
 */
int history_store_sweep(struct history_store *s, int64_t now_ms, int64_t keep_ms, uint64_t max_bytes);

/* r and what it points to are good until the function returns; cut and lost: history_decode. Not 0: that is enough. */
typedef int history_fn(void *arg, const struct history_record *r, const char *const *cut, const char *const *lost);

/* Those that match, newest first. 0, what fn returned, or -errno. */
int history_store_find(struct history_store *s, const struct history_query *q, history_fn *fn, void *arg);

/*
 * All of since_ms <= at < until_ms (0: open), in the order in which they came. The store may be written to meanwhile: what is removed
 * while this runs may be missing. 0, what fn returned, or -errno.
 */
int history_store_each(struct history_store *s, int64_t since_ms, int64_t until_ms, history_fn *fn, void *arg);

/*
 * The same in steps, for who has other things to do in between: *next and *last are ids. Begin finds where records of that time begin and end (what comes later
 * is not among them); step gives those of the next count of ids to fn: 1: there may be more; 0, what fn returned (which is less than 0), or -errno.
 */
int history_store_begin(struct history_store *s, int64_t since_ms, int64_t until_ms, int64_t *next, int64_t *last);
int history_store_step(struct history_store *s, int64_t since_ms, int64_t until_ms, size_t count, int64_t *next, int64_t last, history_fn *fn, void *arg);

/*
 * Whether all records of since_ms and later are still there, as far as can be told: older ones are, or none has ever been removed, or there are none at all. 1, 0 or
 * -errno.
 */
int history_store_whole(struct history_store *s, int64_t since_ms);

/* How many records there are, about (ids from the first to the last), and of when the oldest is (0: none). */
int64_t history_store_count(struct history_store *s);
int64_t history_store_oldest_ms(struct history_store *s);

#endif
