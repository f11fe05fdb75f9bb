#include "policy/state_sqlite.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "policy/sqlite_file.h"

enum {
	STMT_BEGIN, STMT_SAVE, STMT_UNDO, STMT_RELEASE,
	STMT_GET, STMT_PUT, STMT_DELETE, STMT_DELETE_SPACE, STMT_SWEEP, STMT_SURPLUS,
	STMT_COUNT,
};

static const char schema[] =
	"BEGIN;"
	"CREATE TABLE state ("
	"	space TEXT NOT NULL, key TEXT NOT NULL, first INTEGER NOT NULL,"
	"	last INTEGER NOT NULL, count INTEGER NOT NULL, expires INTEGER NOT NULL,"
	"	text TEXT NOT NULL, PRIMARY KEY (space, key)) WITHOUT ROWID;"
	"CREATE INDEX state_expires ON state (expires);"
	"PRAGMA user_version = 1;"
	"COMMIT;";

static const char *const statements[STMT_COUNT] = {
	[STMT_BEGIN] = "BEGIN",
	[STMT_SAVE] = "SAVEPOINT request",
	[STMT_UNDO] = "ROLLBACK TO request",
	[STMT_RELEASE] = "RELEASE request",
	[STMT_GET] =
		"SELECT first, last, count, expires, text FROM state WHERE space = ?1 AND key = ?2",
	[STMT_PUT] =
		"INSERT INTO state (space, key, first, last, count, expires, text)"
		" VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (space, key) DO UPDATE"
		" SET first = ?3, last = ?4, count = ?5, expires = ?6, text = ?7",
	[STMT_DELETE] = "DELETE FROM state WHERE space = ?1 AND key = ?2",
	[STMT_DELETE_SPACE] = "DELETE FROM state WHERE space = ?1",
	[STMT_SWEEP] =
		"DELETE FROM state WHERE (space, key) IN"
		" (SELECT space, key FROM state WHERE expires <= ?1 ORDER BY expires LIMIT ?2)",
	[STMT_SURPLUS] =
		"DELETE FROM state WHERE (space, key) IN"
		" (SELECT space, key FROM state ORDER BY expires LIMIT ?1)",
};

struct state_sqlite {
	sqlite3 *sql;
	sqlite3_stmt *stmt[STMT_COUNT];
	char *path;
	bool dirty;                     /* a transaction is open */
	int64_t rows, rows_max;
};

struct record {
	bool exists, found;             /* there at all; there and not expired */
	int64_t first_s, last_s, count, expires_s;
	char text[STATE_TEXT_MAX];
};

static void disconnect(struct state_sqlite *db)
{
	for (int i = 0; i < STMT_COUNT; i++) {
		sqlite3_finalize(db->stmt[i]);
		db->stmt[i] = NULL;
	}
	sqlite3_close(db->sql);
	db->sql = NULL;
	db->dirty = false;
}

static int connect_db(struct state_sqlite *db)
{
	int64_t version = 0;
	int rc = sqlite_error(
		sqlite3_open_v2(db->path, &db->sql,
				SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
				NULL));

	if (rc == 0)
		sqlite3_busy_timeout(db->sql, 1000);    /* somebody looks with the shell */
	if (rc == 0)
		rc = sqlite_exec(db->sql, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; "
					  "PRAGMA temp_store = MEMORY;"
					  "PRAGMA journal_size_limit = 16777216;");
	if (rc == 0)
		rc = sqlite_number(db->sql, "PRAGMA user_version", &version);
	if (rc == 0 && version > STATE_SCHEMA) {
		log_error("state", "error", "the database was written by a newer gatepost", "path",
			  db->path, NULL);
		return -EPROTONOSUPPORT;
	}
	if (rc == 0 && version == 0)
		rc = sqlite_exec(db->sql, schema);
	for (int i = 0; i < STMT_COUNT && rc == 0; i++)
		rc = sqlite_error(sqlite3_prepare_v3(db->sql, statements[i], -1,
						     SQLITE_PREPARE_PERSISTENT, &db->stmt[i],
						     NULL));
	if (rc == 0)
		rc = sqlite_number(db->sql, "SELECT count(*) FROM state", &db->rows);
	return rc;
}

static int begin_afresh(struct state_sqlite *db)
{
	int rc;

	disconnect(db);
	rc = sqlite_move_aside(db->path, "state");
	return rc < 0 ? rc : connect_db(db);
}

static int open_db(const char *path, bool patient, struct state_sqlite **out)
{
	struct state_sqlite *db = calloc(1, sizeof(*db));
	int rc;

	if (!db)
		return -ENOMEM;
	db->rows_max = STATE_ROWS_MAX;
	db->path = strdup(path);
	rc = db->path ? connect_db(db) : -ENOMEM;
	if (rc == -EBADMSG)
		rc = begin_afresh(db);
	if (rc < 0) {
		if (rc != -EPROTONOSUPPORT)
			log_error("state", "error",
				  db->sql ? sqlite3_errmsg(db->sql) : "cannot open", "path", path,
				  NULL);
		if (patient && (rc == -EIO || rc == -ENOSPC)) {
			disconnect(db);
			*out = db;
			return 0;
		}
		state_sqlite_close(db);
		return rc;
	}
	*out = db;
	return 0;
}

int state_sqlite_open(const char *path, struct state_sqlite **out)
{
	return open_db(path, false, out);
}

int state_sqlite_open_patient(const char *path, struct state_sqlite **out)
{
	return open_db(path, true, out);
}

void state_sqlite_close(struct state_sqlite *db)
{
	if (!db)
		return;
	if (db->sql) {
		(void)state_sqlite_commit(db);
		disconnect(db);
	}
	free(db->path);
	free(db);
}

static void bind_key(sqlite3_stmt *st, const struct state_op *op)
{
	sqlite3_bind_text(st, 1, op->space, -1, SQLITE_STATIC);
	sqlite3_bind_text(st, 2, op->key, -1, SQLITE_STATIC);
}

static int record_get(struct state_sqlite *db, const struct state_op *op, int64_t now_s,
		      struct record *r)
{
	sqlite3_stmt *st = db->stmt[STMT_GET];
	int code;

	memset(r, 0, sizeof(*r));
	bind_key(st, op);
	code = sqlite3_step(st);
	if (code == SQLITE_ROW) {
		const char *text = (const char *)sqlite3_column_text(st, 4);

		r->exists = true;
		r->first_s = sqlite3_column_int64(st, 0);
		r->last_s = sqlite3_column_int64(st, 1);
		r->count = sqlite3_column_int64(st, 2);
		r->expires_s = sqlite3_column_int64(st, 3);
		r->found = r->expires_s > now_s && r->last_s <= now_s + STATE_FUTURE_S;
		snprintf(r->text, sizeof(r->text), "%s", text ? text : "");
	}
	sqlite3_reset(st);
	sqlite3_clear_bindings(st);
	return sqlite_error(code);
}

static int record_put(struct state_sqlite *db, const struct state_op *op, const struct record *r)
{
	sqlite3_stmt *st = db->stmt[STMT_PUT];
	int rc;

	bind_key(st, op);
	sqlite3_bind_int64(st, 3, r->first_s);
	sqlite3_bind_int64(st, 4, r->last_s);
	sqlite3_bind_int64(st, 5, r->count);
	sqlite3_bind_int64(st, 6, r->expires_s);
	sqlite3_bind_text(st, 7, r->text, -1, SQLITE_STATIC);
	rc = sqlite_finish(st);
	if (rc == 0 && !r->exists)
		db->rows++;
	return rc;
}

static int op_delete(struct state_sqlite *db, struct state_op *op)
{
	sqlite3_stmt *st = db->stmt[op->key[0] ? STMT_DELETE : STMT_DELETE_SPACE];
	int rc;

	sqlite3_bind_text(st, 1, op->space, -1, SQLITE_STATIC);
	if (op->key[0])
		sqlite3_bind_text(st, 2, op->key, -1, SQLITE_STATIC);
	rc = sqlite_finish(st);
	op->count = rc == 0 ? sqlite3_changes(db->sql) : 0;
	op->found = op->count > 0;
	db->rows -= op->count;
	return rc;
}

static int64_t add_clamped(int64_t a, int64_t b)
{
	int64_t sum;

	if (__builtin_add_overflow(a, b, &sum))
		return b > 0 ? INT64_MAX : INT64_MIN;
	return sum;
}

/* What the operation makes of the record. */
static void record_change(struct record *r, const struct state_op *op, int64_t now_s)
{
	if (op->verb == STATE_PUT) {
		r->count = op->add;
		snprintf(r->text, sizeof(r->text), "%s", op->text);
	} else if (!r->found) {
		r->count = 0;
		r->text[0] = 0;
	}
	if (op->verb == STATE_PUT || !r->found)
		r->first_s = now_s;
	r->last_s = now_s;
	r->expires_s = add_clamped(now_s, op->ttl_s);
	if (op->verb == STATE_COUNT)
		r->count = add_clamped(r->count, op->add);
}

static int op_run(struct state_sqlite *db, struct state_op *op, int64_t now_s)
{
	struct record r;
	int rc;

	if (op->verb == STATE_DELETE)
		return op_delete(db, op);
	rc = record_get(db, op, now_s, &r);
	if (rc < 0)
		return rc;
	op->found = r.found;
	op->first_s = r.found ? r.first_s : 0;
	op->last_s = r.found ? r.last_s : 0;
	op->count = r.found ? r.count : 0;
	if (op->verb != STATE_GET) {
		struct record changed = r;

		record_change(&changed, op, now_s);
		rc = record_put(db, op, &changed);
	}
	snprintf(op->text, sizeof(op->text), "%s", r.found ? r.text : "");
	return rc;
}

static bool op_ok(const struct state_op *op)
{
	return op->verb <= STATE_DELETE && op->space[0] &&
	       strnlen(op->space, sizeof(op->space)) < sizeof(op->space) &&
	       strnlen(op->key, STATE_KEY_MAX) < STATE_KEY_MAX &&
	       strnlen(op->text, STATE_TEXT_MAX) < STATE_TEXT_MAX;
}

/* Into the transaction that gathers requests until the next commit. */
static int transaction_begin(struct state_sqlite *db)
{
	int rc = db->dirty ? 0 : sqlite_finish(db->stmt[STMT_BEGIN]);

	if (rc == 0)
		db->dirty = true;
	return rc;
}

/* One request, all or none: several writes are in a savepoint of their own. */
static int run_once(struct state_sqlite *db, struct state_op *ops, size_t count, int writes,
		    int64_t now_s)
{
	int rc = writes > 0 ? transaction_begin(db) : 0;
	int64_t rows = db->rows;

	if (rc == 0 && writes > 1)
		rc = sqlite_finish(db->stmt[STMT_SAVE]);
	for (size_t i = 0; i < count && rc == 0; i++)
		rc = op_run(db, &ops[i], now_s);
	if (writes > 1 && db->dirty) {
		if (rc < 0) {
			db->rows = rows;
			(void)sqlite_finish(db->stmt[STMT_UNDO]);
		}
		(void)sqlite_finish(db->stmt[STMT_RELEASE]);
	}
	/* A full disk may have ended the transaction. */
	if (rc < 0 && db->dirty)
		db->dirty = !sqlite3_get_autocommit(db->sql);
	return rc;
}

int state_sqlite_run(struct state_sqlite *db, struct state_op *ops, size_t count, int64_t now_s)
{
	int writes = 0, rc;

	if (count == 0 || count > STATE_OPS_MAX)
		return -EINVAL;
	for (size_t i = 0; i < count; i++) {
		if (!op_ok(&ops[i]))
			return -EINVAL;
		writes += ops[i].verb != STATE_GET;
	}
	if (!db->sql) /* beginning afresh failed before: the disk may be well again */
		rc = connect_db(db);
	else
		rc = 0;
	if (rc == 0)
		rc = run_once(db, ops, count, writes, now_s);
	if (rc == -EBADMSG) {
		rc = begin_afresh(db);
		if (rc == 0)
			rc = run_once(db, ops, count, writes, now_s);
	}
	if (rc < 0 && !db->stmt[STMT_COUNT - 1])
		disconnect(db);         /* half opened: from the beginning next time */
	return rc;
}

bool state_sqlite_dirty(const struct state_sqlite *db)
{
	return db->dirty;
}

int state_sqlite_commit(struct state_sqlite *db)
{
	int rc;

	if (!db->dirty)
		return 0;
	rc = sqlite_exec(db->sql, "COMMIT");
	if (rc < 0) {
		(void)sqlite_exec(db->sql, "ROLLBACK");
		if (rc == -EBADMSG) {
			rc = begin_afresh(db);
			if (rc < 0)
				disconnect(db);
		} else {
			(void)sqlite_number(db->sql, "SELECT count(*) FROM state", &db->rows);
		}
	}
	db->dirty = false;
	return rc;
}

int state_sqlite_sweep(struct state_sqlite *db, int64_t now_s)
{
	bool surplus = db->rows > db->rows_max;
	sqlite3_stmt *st = db->stmt[surplus ? STMT_SURPLUS : STMT_SWEEP];
	int rc, changed;

	if (!db->sql || !st)
		return 0;
	rc = transaction_begin(db);
	if (rc < 0)
		return rc;
	if (surplus) {
		int64_t over = db->rows - db->rows_max;

		sqlite3_bind_int64(st, 1, over < STATE_SWEEP_ROWS ? over : STATE_SWEEP_ROWS);
	} else {
		sqlite3_bind_int64(st, 1, now_s);
		sqlite3_bind_int64(st, 2, STATE_SWEEP_ROWS);
	}
	rc = sqlite_finish(st);
	if (rc < 0)
		return rc;
	changed = sqlite3_changes(db->sql);
	db->rows -= changed;
	return changed;
}

int64_t state_sqlite_rows(const struct state_sqlite *db)
{
	return db->rows;
}

void state_sqlite_set_rows_max(struct state_sqlite *db, int64_t rows)
{
	db->rows_max = rows;
}

static int state_local_run(struct state *base, struct state_op *ops, size_t count)
{
	struct state_local *s = (struct state_local *)base;
	int rc = state_sqlite_run(s->db, ops, count, s->now_s ? s->now_s() : clock_wall_s());

	return rc < 0 ? rc : state_sqlite_commit(s->db);
}

void state_local_init(struct state_local *s, struct state_sqlite *db, int64_t (*now_s)(void))
{
	*s = (struct state_local){ .state.run = state_local_run, .db = db, .now_s = now_s };
}
