/*
 * store_index - the SQLite index of the kept messages
 *
 *     message  (id PRIMARY KEY, at, bytes, disk, sender, client, rule, message_id, header_from, subject, recipients, classes, state)
 *     facts    (id PRIMARY KEY, facts)            the record's, as JSON
 *     party    (role, address, id)                role "from" or "to": addresses in lower case, and "@domain"
 *     deleted  (id PRIMARY KEY, at, who, why, sender, recipients, subject, unlinked)
 *     total    (classes PRIMARY KEY, messages, disk)      kept up to date by triggers
 *     property (name PRIMARY KEY, value)          complete: 1 when every message file has been looked at
 *
 * The columns are what is searched by (store_meta.h); disk is what message and metadata take; state is that of store_events.h. WAL,
 * synchronous=FULL: a commit is on stable storage. The files are the truth: an index that is damaged or lost is made again from
 * them. Only `deleted` cannot be: it is taken over from the former index where that can still be read.
 *
 * Several processes have it open: the keeper, and commands beside it. Who writes keeps transactions short. Another file may take the
 * name at any time (reindex; damage): whoever writes asks store_index_replaced first. A connection never checkpoints or removes
 * the WAL when it is closed: by then those names may belong to another database.
 */
#ifndef STORE_INDEX_H
#define STORE_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/store_id.h"

enum { STORE_INDEX_SCHEMA = 2 };

struct sqlite3;
struct store_index;

/*
 * The keeper's: made when there is none, begun afresh when it is damaged or of an earlier version. *fresh: it is not complete. 0 or
 * -errno.
 */
int store_index_open(const char *path, struct store_index **out, bool *fresh);

/* A command's: as it is. -ENOENT: there is none; -EBADMSG: damaged; -EPROTONOSUPPORT: of another version; or another -errno. Says nothing. */
int store_index_join(const char *path, struct store_index **out);

/*
 * An empty one takes the name, whatever was there: for reindex, and when damage shows while it is used. Deletions are taken over if they can be
 * read. keep: the former one is kept as NAME.damaged-TIME, and the log says so. 0 or -errno.
 */
int store_index_afresh(const char *path, bool keep, struct store_index **out);

void store_index_close(struct store_index *x);

/* Whether the name is no longer that of the file that is open. */
bool store_index_replaced(const struct store_index *x);

/*
 * While it is held nobody begins afresh; several may hold it. wait: at most two seconds. A descriptor to close, or -errno
 * (-EWOULDBLOCK: somebody is beginning afresh; -ESTALE: it has been replaced).
 */
int store_index_hold(const struct store_index *x, bool wait);

/* Several changes, then one commit. 0 or -errno (-ENOSPC, -EIO, -EBUSY, -EBADMSG); after a failure roll back. */
int store_index_begin(struct store_index *x);
int store_index_add(struct store_index *x, const char *id, int64_t at_s, uint64_t bytes, const char *meta);
int store_index_commit(struct store_index *x);
void store_index_rollback(struct store_index *x);

/* A message's state (store_events.h). 0, -ENOENT, -errno. Of itself or within a transaction. */
int store_index_set_state(struct store_index *x, const char *id, const char *state);

/*
 * The message leaves the index, and the deletion is recorded, its files still to be unlinked. 0; -ENOENT: it is not there (any
 * more); -errno. Within a transaction.
 */
int store_index_remove(struct store_index *x, const char *id, int64_t at_s, const char *who, const char *why);
/* Its files have gone, durably. */
int store_index_unlinked(struct store_index *x, const char *id);
/* Up to max messages that were removed, and whose files may be there still. Their number or -errno. */
int store_index_to_unlink(struct store_index *x, char (*id)[STORE_ID_MAX], int max);
/* Records of deletions from before at_s, at most max of them, are forgotten. How many, or -errno. */
int store_index_forget(struct store_index *x, int64_t at_s, int max);

bool store_index_has(struct store_index *x, const char *id);
/* Removed, and its files still to be unlinked. */
bool store_index_deleted(struct store_index *x, const char *id);
int64_t store_index_count(struct store_index *x);

bool store_index_complete(struct store_index *x);
int store_index_set_complete(struct store_index *x);

/* For queries of other files of the store. */
struct sqlite3 *store_index_sql(struct store_index *x);

#endif
