/*
 * history_impl - what the files of the history's store share: history_store.c opens and writes, history_find.c reads
 */
#ifndef HISTORY_IMPL_H
#define HISTORY_IMPL_H

#include <sqlite3.h>

#include "policy/history_store.h"

enum history_stmt {
	/* To read. */
	HISTORY_SEGMENTS, HISTORY_POSTING, HISTORY_RECORD, HISTORY_UP, HISTORY_DOWN,
	/* To write. */
	HISTORY_ADD, HISTORY_ADD_SEGMENT, HISTORY_ADD_POSTING, HISTORY_OLDEST, HISTORY_REMOVE, HISTORY_SPENT, HISTORY_REMOVE_POSTINGS,
	HISTORY_REMOVE_SEGMENT,
	HISTORY_STMTS,
	HISTORY_READS = HISTORY_ADD,
};

struct history_store {
	sqlite3 *sql;
	sqlite3_stmt *stmt[HISTORY_STMTS];
	char *path;
	bool writes, begun, broken, damaged;
	struct history_memory *memory;
	/* Of the records from tail_first on, which have no index yet: key << 16 | place. */
	uint64_t *tail;
	size_t tail_count, tail_cap;
	int64_t tail_first, next_id, at_min, at_max;
	size_t uncommitted;
};

/* history_store.c: before something is written, and when that has failed (which returns rc). 0 or -errno. */
int history_begin(struct history_store *s);
int history_failed(struct history_store *s, int rc);

#endif
