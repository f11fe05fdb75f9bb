/*
 * store_index - the SQLite index of the kept messages
 *
 *     message   (id PRIMARY KEY, at, bytes, sender, client, rule, meta)
 *     recipient (address, id)
 *
 * meta is the whole metadata as it stands beside the message; the other columns are copies to
 * search by. WAL, synchronous=FULL: a commit is on stable storage. The files are the truth: an
 * index that is damaged or lost is made again from them (store_keeper).
 */
#ifndef STORE_INDEX_H
#define STORE_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { STORE_INDEX_SCHEMA = 1 };

struct store_index;

/* *fresh: it was empty or had to be begun afresh. 0 or -errno. */
int store_index_open(const char *path, struct store_index **out, bool *fresh);
void store_index_close(struct store_index *x);

/* Several additions, then one commit. 0 or -errno (-ENOSPC, -EIO); after a failure roll back. */
int store_index_begin(struct store_index *x);
int store_index_add(struct store_index *x, const char *id, int64_t at_s, uint64_t bytes,
		    const char *meta);
int store_index_commit(struct store_index *x);
void store_index_rollback(struct store_index *x);

bool store_index_has(struct store_index *x, const char *id);
int64_t store_index_count(struct store_index *x);

#endif
