#include "policy/store_index.h"

#include <errno.h>
#include <jansson.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "policy/sqlite_file.h"

enum { STMT_HAS, STMT_MESSAGE, STMT_RECIPIENT, STMT_COUNT };

static const char schema[] =
	"BEGIN;"
	"CREATE TABLE message ("
	"	id TEXT PRIMARY KEY, at INTEGER NOT NULL, bytes INTEGER NOT NULL,"
	"	sender TEXT, client TEXT, rule TEXT, meta TEXT NOT NULL) WITHOUT ROWID;"
	"CREATE INDEX message_at ON message (at);"
	"CREATE INDEX message_sender ON message (sender, at);"
	"CREATE TABLE recipient ("
	"	address TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (address, id)) WITHOUT ROWID;"
	"PRAGMA user_version = 1;"
	"COMMIT;";

static const char *const statements[STMT_COUNT] = {
	[STMT_HAS] = "SELECT 1 FROM message WHERE id = ?1",
	[STMT_MESSAGE] = "INSERT OR REPLACE INTO message VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
	[STMT_RECIPIENT] = "INSERT OR IGNORE INTO recipient (address, id) VALUES (?1, ?2)",
};

/* What the columns hold of a record. */
static const char *const sender[] = { "envelope", "from", NULL };
static const char *const client[] = { "client", "ip", NULL };
static const char *const rule[] = { "verdict", "rule", "name", NULL };

struct store_index {
	sqlite3 *sql;
	sqlite3_stmt *stmt[STMT_COUNT];
};

static void disconnect(struct store_index *x)
{
	for (int i = 0; i < STMT_COUNT; i++) {
		sqlite3_finalize(x->stmt[i]);
		x->stmt[i] = NULL;
	}
	sqlite3_close(x->sql);
	x->sql = NULL;
}

static int connect_db(struct store_index *x, const char *path, bool *fresh)
{
	int64_t version = 0;
	int rc = sqlite_error(
		sqlite3_open_v2(path, &x->sql,
				SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
				NULL));

	if (rc == 0)
		sqlite3_busy_timeout(x->sql, 1000);     /* somebody looks with the shell */
	if (rc == 0)
		rc = sqlite_exec(x->sql, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; "
					 "PRAGMA temp_store = MEMORY;"
					 "PRAGMA journal_size_limit = 16777216;");
	if (rc == 0)
		rc = sqlite_number(x->sql, "PRAGMA user_version", &version);
	if (rc == 0 && version > STORE_INDEX_SCHEMA) {
		log_error("store", "error", "the index was written by a newer gatepost", "path",
			  path, NULL);
		return -EPROTONOSUPPORT;
	}
	*fresh = version == 0;
	if (rc == 0 && version == 0)
		rc = sqlite_exec(x->sql, schema);
	for (int i = 0; i < STMT_COUNT && rc == 0; i++)
		rc = sqlite_error(sqlite3_prepare_v3(x->sql, statements[i], -1,
						     SQLITE_PREPARE_PERSISTENT, &x->stmt[i], NULL));
	return rc;
}

int store_index_open(const char *path, struct store_index **out, bool *fresh)
{
	struct store_index *x = calloc(1, sizeof(*x));
	int rc;

	if (!x)
		return -ENOMEM;
	rc = connect_db(x, path, fresh);
	if (rc == -EBADMSG) {
		disconnect(x);
		rc = sqlite_move_aside(path, "store");
		if (rc == 0)
			rc = connect_db(x, path, fresh);
	}
	if (rc < 0) {
		if (rc != -EPROTONOSUPPORT)
			log_error("store", "error", x->sql ? sqlite3_errmsg(x->sql) : "cannot open",
				  "path", path, NULL);
		store_index_close(x);
		return rc;
	}
	*out = x;
	return 0;
}

void store_index_close(struct store_index *x)
{
	if (!x)
		return;
	disconnect(x);
	free(x);
}

int store_index_begin(struct store_index *x)
{
	return sqlite_exec(x->sql, "BEGIN IMMEDIATE");
}

int store_index_commit(struct store_index *x)
{
	return sqlite_exec(x->sql, "COMMIT");
}

void store_index_rollback(struct store_index *x)
{
	if (!sqlite3_get_autocommit(x->sql))
		(void)sqlite_exec(x->sql, "ROLLBACK");
}

static int finish(sqlite3_stmt *st)
{
	int rc = sqlite_error(sqlite3_step(st));

	sqlite3_reset(st);
	sqlite3_clear_bindings(st);
	return rc;
}

/* The text at path (record.h), or NULL where the record has none. */
static const char *text_at(json_t *o, const char *const *path)
{
	while (*path)
		o = json_object_get(o, *path++);
	return json_string_value(o);
}

static void bind_at(sqlite3_stmt *st, int at, json_t *meta, const char *const *path)
{
	const char *s = text_at(meta, path);

	if (s)
		sqlite3_bind_text(st, at, s, -1, SQLITE_STATIC);
}

static int add_recipients(struct store_index *x, const char *id, json_t *meta)
{
	json_t *rcpt;
	size_t i;
	int rc = 0;

	json_array_foreach(json_object_get(json_object_get(meta, "envelope"), "rcpt"), i, rcpt) {
		const char *address = json_string_value(json_object_get(rcpt, "address"));

		if (!address)
			continue;
		sqlite3_bind_text(x->stmt[STMT_RECIPIENT], 1, address, -1, SQLITE_STATIC);
		sqlite3_bind_text(x->stmt[STMT_RECIPIENT], 2, id, -1, SQLITE_STATIC);
		rc = finish(x->stmt[STMT_RECIPIENT]);
		if (rc < 0)
			break;
	}
	return rc;
}

int store_index_add(struct store_index *x, const char *id, int64_t at_s, uint64_t bytes,
		    const char *meta_text)
{
	sqlite3_stmt *st = x->stmt[STMT_MESSAGE];
	json_t *meta = json_loads(meta_text, JSON_ALLOW_NUL, NULL);
	int rc;

	if (!json_is_object(meta)) {
		json_decref(meta);
		return -EINVAL;
	}
	sqlite3_bind_text(st, 1, id, -1, SQLITE_STATIC);
	sqlite3_bind_int64(st, 2, at_s);
	sqlite3_bind_int64(st, 3, (int64_t)bytes);
	bind_at(st, 4, meta, sender);
	bind_at(st, 5, meta, client);
	bind_at(st, 6, meta, rule);
	sqlite3_bind_text(st, 7, meta_text, -1, SQLITE_STATIC);
	rc = finish(st);
	if (rc == 0)
		rc = add_recipients(x, id, meta);
	json_decref(meta);
	return rc;
}

bool store_index_has(struct store_index *x, const char *id)
{
	sqlite3_stmt *st = x->stmt[STMT_HAS];
	bool has;

	sqlite3_bind_text(st, 1, id, -1, SQLITE_STATIC);
	has = sqlite3_step(st) == SQLITE_ROW;
	sqlite3_reset(st);
	return has;
}

int64_t store_index_count(struct store_index *x)
{
	int64_t n = 0;

	(void)sqlite_number(x->sql, "SELECT count(*) FROM message", &n);
	return n;
}
