/*
 * state_sqlite - the state in one SQLite file, opened by the state keeper alone
 *
 *     CREATE TABLE state (space, key, first, last, count, expires, text, PRIMARY KEY (space, key))
 *
 * readable with the sqlite3 shell. WAL, synchronous=NORMAL: a crash of the machine may lose the
 * last seconds, a crash of a process at most what was not committed (state_sqlite_commit; the
 * keeper calls it at least every 50 ms). What is kept here (greylist, learnt domains, cached
 * recipients) bears that: a sender is deferred once more, a recipient asked once more.
 *
 * A database that is damaged, at opening or later, is moved aside (NAME.damaged-TIME), said loudly,
 * and begun afresh. The number of records is bounded: past STATE_ROWS_MAX those that expire soonest
 * go first.
 */
#ifndef STATE_SQLITE_H
#define STATE_SQLITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/state.h"

enum { STATE_SCHEMA = 1, STATE_ROWS_MAX = 4000000, STATE_SWEEP_ROWS = 500 };

struct state_sqlite;

/* path ":memory:" for tests. 0 or -errno (said in the log). */
int state_sqlite_open(const char *path, struct state_sqlite **out);
/* For the keeper: a disk that is full, or fails, is no error. Each request tries again. */
int state_sqlite_open_patient(const char *path, struct state_sqlite **out);
void state_sqlite_close(struct state_sqlite *db);               /* commits */

/*
 * Do all in order, all or none, at the moment now_s; written but not yet committed. 0 or -errno
 * (-ENOSPC, -EIO, -EINVAL).
 */
int state_sqlite_run(struct state_sqlite *db, struct state_op *ops, size_t count, int64_t now_s);
bool state_sqlite_dirty(const struct state_sqlite *db); /* something waits to be committed */
int state_sqlite_commit(struct state_sqlite *db);

/*
 * Delete at most STATE_SWEEP_ROWS expired records (or surplus ones); the number deleted: when it is
 * STATE_SWEEP_ROWS there may be more.
 */
int state_sqlite_sweep(struct state_sqlite *db, int64_t now_s);

int64_t state_sqlite_rows(const struct state_sqlite *db);
void state_sqlite_set_rows_max(struct state_sqlite *db, int64_t rows);

/*
 * A struct state right on a database: for tests and commands, where there is no keeper. now_s NULL:
 * the wall clock. Commits at each run.
 */
struct state_local {
	struct state state;             /* first */
	struct state_sqlite *db;
	int64_t (*now_s)(void);
};
void state_local_init(struct state_local *s, struct state_sqlite *db, int64_t (*now_s)(void));

#endif
