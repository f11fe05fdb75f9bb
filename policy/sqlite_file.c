#include "policy/sqlite_file.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

int sqlite_error(int code)
{
	/* With extended codes: a file that ends where it should not. */
	if (code == SQLITE_IOERR_SHORT_READ)
		return -EBADMSG;
	switch (code & 0xff) {
	case SQLITE_OK:
	case SQLITE_DONE:
	case SQLITE_ROW:
		return 0;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return -EBADMSG;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	default:
		return -EIO;
	}
}

int sqlite_exec(struct sqlite3 *sql, const char *text)
{
	return sqlite_error(sqlite3_exec(sql, text, NULL, NULL, NULL));
}

int sqlite_finish(struct sqlite3_stmt *st)
{
	int rc = sqlite_error(sqlite3_step(st));

	sqlite3_reset(st);
	sqlite3_clear_bindings(st);
	return rc;
}

int sqlite_number(struct sqlite3 *sql, const char *text, int64_t *out)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite_error(sqlite3_prepare_v2(sql, text, -1, &st, NULL));

	if (rc == 0) {
		int code = sqlite3_step(st);

		rc = sqlite_error(code);
		if (code == SQLITE_ROW)
			*out = sqlite3_column_int64(st, 0);
	}
	sqlite3_finalize(st);
	return rc;
}

/* The WAL goes along: one that meets another database would be replayed into it. */
int sqlite_move_aside(const char *path, const char *event)
{
	char kept[SQLITE_ASIDE_MAX];

	return sqlite_move_aside_to(path, event, kept);
}

int sqlite_move_aside_to(const char *path, const char *event, char to[SQLITE_ASIDE_MAX])
{
	static const char *const parts[] = { "", "-wal", "-shm" };
	char from[SQLITE_ASIDE_MAX];
	long long stamp = (long long)clock_wall_s();

	if (strlen(path) > 400)
		return -ENAMETOOLONG;
	for (int i = 0; i < 3; i++) {
		snprintf(from, SQLITE_ASIDE_MAX, "%s%s", path, parts[i]);
		snprintf(to, SQLITE_ASIDE_MAX, "%s.damaged-%lld%s", path, stamp, parts[i]);
		if (rename(from, to) < 0 && errno != ENOENT)
			return -errno;
	}
	snprintf(to, SQLITE_ASIDE_MAX, "%s.damaged-%lld", path, stamp);
	log_error(event, "error", "the database is damaged: moved aside, begun afresh", "path",
		  path, "kept", to, NULL);
	return 0;
}
