/*
 * sqlite_file - what every SQLite file of ours needs: its errors as -errno, and a way out when it
 * is damaged
 */
#ifndef SQLITE_FILE_H
#define SQLITE_FILE_H

#include <stdint.h>

struct sqlite3;
struct sqlite3_stmt;

/* 0, -ENOSPC, -ENOMEM, -EBUSY, -EBADMSG (damaged, or no database), -EIO. */
int sqlite_error(int code);

/* Run text without results. 0 or as sqlite_error. */
int sqlite_exec(struct sqlite3 *sql, const char *text);

/* Run a prepared statement that gives no rows, and make it ready for the next time. 0 or as sqlite_error. */
int sqlite_finish(struct sqlite3_stmt *st);

/* The first column of the first row; *out untouched when there is none. */
int sqlite_number(struct sqlite3 *sql, const char *text, int64_t *out);

/*
 * Rename a damaged database and its WAL to NAME.damaged-TIME and say so, in a line of the log with
 * this event. It must be closed. 0 or -errno.
 */
int sqlite_move_aside(const char *path, const char *event);

/* The same; to: where it is then. */
enum { SQLITE_ASIDE_MAX = 512 };
int sqlite_move_aside_to(const char *path, const char *event, char to[SQLITE_ASIDE_MAX]);

#endif
