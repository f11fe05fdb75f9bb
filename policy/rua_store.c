#include "policy/rua_store.h"

#include <errno.h>
#include <string.h>

#include "base/varint.h"
#include "policy/history_impl.h"
#include "policy/rua_wire.h"
#include "policy/sqlite_file.h"

enum { ROWS_AT_ONCE = 200 };            /* are changed or removed: others wait meanwhile */

const char rua_store_schema[] =
	"CREATE TABLE IF NOT EXISTS report_day (day INTEGER PRIMARY KEY, strangers INTEGER NOT NULL);"
	"CREATE TABLE IF NOT EXISTS report ("
	"	id INTEGER PRIMARY KEY, day INTEGER NOT NULL, domain TEXT NOT NULL, fate INTEGER NOT NULL, at INTEGER NOT NULL, why TEXT,"
	"	head BLOB, rows BLOB);"
	"CREATE UNIQUE INDEX IF NOT EXISTS report_place ON report (day, domain);"
	"CREATE INDEX IF NOT EXISTS report_pending ON report (day, domain) WHERE fate = 0;";

/* These are rare: a statement is made each time. */
static int prepare(struct history_store *s, const char *text, int64_t day, sqlite3_stmt **out)
{
	int rc = sqlite_error(sqlite3_prepare_v2(s->sql, text, -1, out, NULL));

	if (rc == 0)
		sqlite3_bind_int64(*out, 1, day);
	return rc;
}

/* One that gives no rows. */
static int run(struct history_store *s, sqlite3_stmt *st, int rc)
{
	if (rc == 0)
		rc = sqlite_finish(st);
	sqlite3_finalize(st);
	return rc < 0 ? history_failed(s, rc) : 0;
}

/* Whether there is a row. */
static int any(sqlite3_stmt *st, int rc)
{
	int code = rc == 0 ? sqlite3_step(st) : SQLITE_OK;

	sqlite3_finalize(st);
	return rc < 0 ? rc : code == SQLITE_ROW ? 1 : sqlite_error(code);
}

static void bind_text(sqlite3_stmt *st, int at, const char *text)
{
	if (st)
		sqlite3_bind_text(st, at, text, -1, SQLITE_STATIC);
}

static void bind_blob(sqlite3_stmt *st, int at, const struct buf *b)
{
	if (st)
		sqlite3_bind_blob(st, at, b->data ? b->data : "", (int)b->len, SQLITE_STATIC);
}

int rua_store_is_read(struct history_store *s, int64_t day)
{
	sqlite3_stmt *st = NULL;
	int rc = prepare(s, "SELECT 1 FROM report_day WHERE day = ?1", day, &st);

	return any(st, rc);
}

static int is_pending(struct history_store *s, int64_t day)
{
	sqlite3_stmt *st = NULL;
	int rc = prepare(s, "SELECT 1 FROM report WHERE day = ?1 AND fate = 0 LIMIT 1", day, &st);

	return any(st, rc);
}

int rua_store_due(struct history_store *s, int64_t first, int64_t last, int64_t *day)
{
	for (int64_t d = first; d <= last; d++) {
		int rc = rua_store_is_read(s, d);

		if (rc == 1)
			rc = is_pending(s, d);
		else if (rc == 0)
			rc = 1;
		if (rc == 1)
			*day = d;
		if (rc)
			return rc;
	}
	return 0;
}

/* text with the day, and at most how many rows. 1: it did something; 0 or -errno. */
static int run_some(struct history_store *s, const char *text, int64_t day)
{
	sqlite3_stmt *st = NULL;
	int rc = history_begin(s);

	if (rc < 0)
		return history_failed(s, rc);
	rc = prepare(s, text, day, &st);
	if (st)
		sqlite3_bind_int(st, 2, ROWS_AT_ONCE);
	rc = run(s, st, rc);
	return rc < 0 ? rc : sqlite3_changes(s->sql) > 0;
}

int rua_store_begin(struct history_store *s, int64_t day)
{
	return run_some(s, "DELETE FROM report WHERE id IN (SELECT id FROM report WHERE day = ?1 LIMIT ?2)", day);
}

int rua_store_put(struct history_store *s, int64_t day, const char *domain, const struct buf *head, const struct buf *rows)
{
	sqlite3_stmt *st = NULL;
	int rc = history_begin(s);

	if (rc < 0)
		return history_failed(s, rc);
	rc = prepare(s, "INSERT INTO report (day, domain, fate, at, head, rows) VALUES (?1, ?2, 0, 0, ?3, ?4)", day, &st);
	bind_text(st, 2, domain);
	bind_blob(st, 3, head);
	bind_blob(st, 4, rows);
	return run(s, st, rc);
}

int rua_store_end(struct history_store *s, int64_t day, uint64_t strangers)
{
	sqlite3_stmt *st = NULL;
	int rc = history_begin(s);

	if (rc < 0)
		return history_failed(s, rc);
	rc = prepare(s, "INSERT OR REPLACE INTO report_day (day, strangers) VALUES (?1, ?2)", day, &st);
	if (st)
		sqlite3_bind_int64(st, 2, (int64_t)(strangers < INT64_MAX ? strangers : INT64_MAX));
	rc = run(s, st, rc);
	return rc < 0 ? rc : history_store_commit(s);
}

int rua_store_domains(struct history_store *s, int64_t day, const char *after, size_t count, struct buf *out)
{
	sqlite3_stmt *st = NULL;
	int rc = prepare(s, "SELECT head FROM report WHERE day = ?1 AND domain > ?2 AND fate = 0 ORDER BY domain LIMIT ?3", day, &st), code = SQLITE_DONE;

	bind_text(st, 2, after);
	if (st)
		sqlite3_bind_int64(st, 3, (int64_t)count);
	while (rc == 0 && (code = sqlite3_step(st)) == SQLITE_ROW)
		rc = buf_add(out, sqlite3_column_blob(st, 0), (size_t)sqlite3_column_bytes(st, 0));
	if (rc == 0)
		rc = sqlite_error(code);
	sqlite3_finalize(st);
	return rc;
}

int rua_store_report(struct history_store *s, int64_t day, const char *domain, struct buf *out)
{
	sqlite3_stmt *st = NULL;
	int rc = prepare(s, "SELECT head, rows FROM report WHERE day = ?1 AND domain = ?2 AND fate = 0", day, &st), code = SQLITE_DONE;

	bind_text(st, 2, domain);
	if (rc == 0)
		code = sqlite3_step(st);
	if (rc == 0 && code == SQLITE_ROW) {
		varint_put(out, (uint64_t)sqlite3_column_bytes(st, 0));
		buf_add(out, sqlite3_column_blob(st, 0), (size_t)sqlite3_column_bytes(st, 0));
		rc = buf_add(out, sqlite3_column_blob(st, 1), (size_t)sqlite3_column_bytes(st, 1));
	} else if (rc == 0) {
		rc = code == SQLITE_DONE ? -ENOENT : sqlite_error(code);
	}
	sqlite3_finalize(st);
	return rc;
}

int rua_store_done(struct history_store *s, int64_t day, const char *domain, enum rua_fate fate, const char *why, int64_t now_s)
{
	sqlite3_stmt *st = NULL;
	int rc = prepare(s, "SELECT 1 FROM report WHERE day = ?1 AND domain = ?2", day, &st);

	bind_text(st, 2, domain);
	rc = any(st, rc);
	if (rc <= 0)
		return rc == 0 ? -ENOENT : rc;
	rc = history_begin(s);
	if (rc < 0)
		return history_failed(s, rc);
	st = NULL;
	/* Once is for good: who says it twice changes nothing. */
	rc = prepare(s, "UPDATE report SET fate = ?3, why = ?4, at = ?5, head = NULL, rows = NULL WHERE day = ?1 AND domain = ?2 AND fate = 0", day, &st);
	bind_text(st, 2, domain);
	bind_text(st, 4, why);
	if (st) {
		sqlite3_bind_int(st, 3, (int)fate);
		sqlite3_bind_int64(st, 5, now_s);
	}
	rc = run(s, st, rc);
	return rc < 0 ? rc : history_store_commit(s);
}

/* Those of the last eight days that were read stay, whatever today is: a clock that was wrong for a while must not have them read, and sent, once more. */
#define BEFORE "day < min(?1, ifnull((SELECT day FROM report_day ORDER BY day DESC LIMIT 1 OFFSET 7), 0))"

int rua_store_tidy(struct history_store *s, int64_t today)
{
	static const struct {
		int64_t days;
		const char *whether, *text;
	} steps[] = {
		{ RUA_DAYS_BACK, "SELECT 1 FROM report WHERE day < ?1 AND fate = 0 LIMIT 1",
		  "UPDATE report SET fate = 2, why = 'too late', head = NULL, rows = NULL WHERE id IN "
		  "(SELECT id FROM report WHERE day < ?1 AND fate = 0 LIMIT ?2)" },
		{ RUA_KEEP_DAYS, "SELECT 1 FROM report WHERE " BEFORE " LIMIT 1",
		  "DELETE FROM report WHERE id IN (SELECT id FROM report WHERE " BEFORE " LIMIT ?2)" },
		{ RUA_KEEP_DAYS, "SELECT 1 FROM report_day WHERE " BEFORE " LIMIT 1",
		  "DELETE FROM report_day WHERE day IN (SELECT day FROM report_day WHERE " BEFORE " LIMIT ?2)" },
	};

	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		sqlite3_stmt *st = NULL;
		int rc = prepare(s, steps[i].whether, today - steps[i].days, &st);

		/* The history is written to only if there is something. */
		rc = any(st, rc);
		if (rc > 0)
			rc = run_some(s, steps[i].text, today - steps[i].days);
		if (rc > 0)
			rc = history_store_commit(s) < 0 ? -EIO : 1;
		if (rc)
			return rc;
	}
	return 0;
}
