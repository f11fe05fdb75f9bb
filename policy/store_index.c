#include "policy/store_index.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json_whole.h"
#include "base/log.h"
#include "policy/sqlite_file.h"
#include "policy/store_meta.h"

enum {
	BUSY_LIMIT_MS = 10 * 1000,
	LOCK_LIMIT_MS = 2000,
	PATH_BYTES = 1200,
};

enum {
	STMT_HAS, STMT_DELETED, STMT_MESSAGE, STMT_FACTS, STMT_PARTY, STMT_STATE,
	STMT_ROW, STMT_ROW_FACTS, STMT_DROP, STMT_DROP_FACTS, STMT_DROP_PARTY, STMT_RECORD, STMT_UNLINKED, STMT_TO_UNLINK, STMT_FORGET,
	STMT_COUNT
};

static const char schema[] =
	"CREATE TABLE message ("
	"	id TEXT PRIMARY KEY, at INTEGER NOT NULL, bytes INTEGER NOT NULL, disk INTEGER NOT NULL,"
	"	sender TEXT, client TEXT, rule TEXT, message_id TEXT, header_from TEXT, subject TEXT,"
	"	recipients TEXT NOT NULL, classes TEXT NOT NULL, state TEXT NOT NULL) WITHOUT ROWID;"
	"CREATE INDEX message_client ON message (client, id);"
	"CREATE INDEX message_rule ON message (rule, id);"
	"CREATE INDEX message_message_id ON message (message_id, id);"
	"CREATE INDEX message_classes ON message (classes, id, disk);"
	"CREATE INDEX message_state ON message (state, id) WHERE state <> 'kept';"
	"CREATE TABLE facts (id TEXT PRIMARY KEY, facts TEXT NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE party (role TEXT NOT NULL, address TEXT NOT NULL, id TEXT NOT NULL,"
	"	PRIMARY KEY (role, address, id)) WITHOUT ROWID;"
	"CREATE TABLE deleted ("
	"	id TEXT PRIMARY KEY, at INTEGER NOT NULL, who TEXT NOT NULL, why TEXT NOT NULL,"
	"	sender TEXT, recipients TEXT, subject TEXT, unlinked INTEGER NOT NULL) WITHOUT ROWID;"
	"CREATE INDEX deleted_at ON deleted (at);"
	"CREATE INDEX deleted_open ON deleted (id) WHERE unlinked = 0;"
	"CREATE TABLE total (classes TEXT PRIMARY KEY, messages INTEGER NOT NULL, disk INTEGER NOT NULL) WITHOUT ROWID;"
	"CREATE TRIGGER message_in AFTER INSERT ON message BEGIN"
	"	INSERT INTO total VALUES (new.classes, 1, new.disk)"
	"		ON CONFLICT (classes) DO UPDATE SET messages = messages + 1, disk = disk + new.disk;"
	"END;"
	"CREATE TRIGGER message_out AFTER DELETE ON message BEGIN"
	"	UPDATE total SET messages = messages - 1, disk = disk - old.disk WHERE classes = old.classes;"
	"END;"
	"CREATE TABLE property (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
	"INSERT INTO property VALUES ('complete', 0);"
	"PRAGMA user_version = 2;";

static const char *const statements[STMT_COUNT] = {
	[STMT_HAS] = "SELECT 1 FROM message WHERE id = ?1",
	[STMT_DELETED] = "SELECT 1 FROM deleted WHERE id = ?1 AND unlinked = 0",
	[STMT_MESSAGE] = "INSERT OR IGNORE INTO message VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 'kept')",
	[STMT_FACTS] = "INSERT OR IGNORE INTO facts VALUES (?1, ?2)",
	[STMT_PARTY] = "INSERT OR IGNORE INTO party VALUES (?1, ?2, ?3)",
	[STMT_STATE] = "UPDATE message SET state = ?2 WHERE id = ?1",
	[STMT_ROW] = "SELECT sender, header_from, recipients, subject FROM message WHERE id = ?1",
	[STMT_ROW_FACTS] = "SELECT facts FROM facts WHERE id = ?1",
	[STMT_DROP] = "DELETE FROM message WHERE id = ?1",
	[STMT_DROP_FACTS] = "DELETE FROM facts WHERE id = ?1",
	[STMT_DROP_PARTY] = "DELETE FROM party WHERE role = ?1 AND address = ?2 AND id = ?3",
	[STMT_RECORD] = "INSERT OR REPLACE INTO deleted VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0)",
	[STMT_UNLINKED] = "UPDATE deleted SET unlinked = 1 WHERE id = ?1",
	[STMT_TO_UNLINK] = "SELECT id FROM deleted WHERE unlinked = 0 LIMIT ?1",
	[STMT_FORGET] = "DELETE FROM deleted WHERE id IN (SELECT id FROM deleted WHERE at < ?1 AND unlinked = 1 LIMIT ?2)",
};

struct store_index {
	sqlite3 *sql;
	sqlite3_stmt *stmt[STMT_COUNT];
	char *path;
	dev_t dev;
	ino_t ino;
};

/* ---- the name, and who may take it ---- */

static int lock_open(const char *path, int how, bool wait)
{
	char name[PATH_BYTES];
	int64_t until_ms = clock_ms() + LOCK_LIMIT_MS;
	int fd;

	if ((size_t)snprintf(name, sizeof(name), "%s.lock", path) >= sizeof(name))
		return -ENAMETOOLONG;
	fd = open(name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	while (flock(fd, how | LOCK_NB) < 0) {
		const struct timespec pause = { 0, 1000 * 1000 };

		if (errno != EINTR && (errno != EWOULDBLOCK || !wait || clock_ms() >= until_ms)) {
			int rc = -errno;

			close(fd);
			return rc;
		}
		nanosleep(&pause, NULL);
	}
	return fd;
}

/* Whoever holds it for two seconds has been stopped: it is not waited for any longer. */
static int lock_take(const char *path)
{
	int fd = lock_open(path, LOCK_EX, true);

	return fd == -EWOULDBLOCK ? -1 : fd;
}

static void lock_give(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void name_of(const char *path, const char *end, char out[PATH_BYTES])
{
	snprintf(out, PATH_BYTES, "%s%s", path, end);
}

/* A WAL that has lost its database must not meet the next one. */
static void orphans_remove(const char *path)
{
	char name[PATH_BYTES];
	struct stat st;

	if (stat(path, &st) == 0 && st.st_size > 0)
		return;
	name_of(path, "-wal", name);
	unlink(name);
	name_of(path, "-shm", name);
	unlink(name);
}

static int name_note(struct store_index *x)
{
	struct stat st;

	if (stat(x->path, &st) < 0)
		return -errno;
	x->dev = st.st_dev;
	x->ino = st.st_ino;
	return 0;
}

bool store_index_replaced(const struct store_index *x)
{
	struct stat st;

	return stat(x->path, &st) < 0 || st.st_dev != x->dev || st.st_ino != x->ino;
}

int store_index_hold(const struct store_index *x, bool wait)
{
	int fd = lock_open(x->path, LOCK_SH, wait);

	if (fd >= 0 && store_index_replaced(x)) {
		close(fd);
		return -ESTALE;
	}
	return fd;
}

/* ---- opening ---- */

static void disconnect(struct store_index *x)
{
	for (int i = 0; i < STMT_COUNT; i++) {
		sqlite3_finalize(x->stmt[i]);
		x->stmt[i] = NULL;
	}
	sqlite3_close_v2(x->sql);
	x->sql = NULL;
}

/* Others write for milliseconds: a short sleep each time, so that the turn comes soon. */
static int on_busy(void *arg, int count)
{
	const struct timespec pause = { 0, 1000 * 1000 };

	if (count >= BUSY_LIMIT_MS)
		return 0;
	nanosleep(&pause, NULL);
	return 1;
}

static int connect_db(struct store_index *x, bool create)
{
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (create ? SQLITE_OPEN_CREATE : 0);
	int rc = sqlite_error(sqlite3_open_v2(x->path, &x->sql, flags, NULL));

	if (rc < 0)
		return rc;
	sqlite3_extended_result_codes(x->sql, 1);
	sqlite3_busy_handler(x->sql, on_busy, NULL);
	sqlite3_db_config(x->sql, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	return sqlite_exec(x->sql, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY;"
				   "PRAGMA journal_size_limit = 16777216;");
}

static int version_of(struct store_index *x, int64_t *version)
{
	*version = 0;
	return sqlite_number(x->sql, "PRAGMA user_version", version);
}

static int schema_make(struct store_index *x)
{
	int64_t version = 0;
	int rc = sqlite_exec(x->sql, "BEGIN IMMEDIATE");

	if (rc == 0)
		rc = version_of(x, &version);
	if (rc == 0 && version == 0)
		rc = sqlite_exec(x->sql, schema);
	if (rc == 0)
		rc = sqlite_exec(x->sql, "COMMIT");
	if (rc < 0)
		(void)sqlite_exec(x->sql, "ROLLBACK");
	return rc;
}

static int prepare(struct store_index *x)
{
	int rc = 0;

	for (int i = 0; i < STMT_COUNT && rc == 0; i++)
		rc = sqlite_error(sqlite3_prepare_v3(x->sql, statements[i], -1,
						     SQLITE_PREPARE_PERSISTENT, &x->stmt[i], NULL));
	return rc;
}

/* The deletions of the former index; what cannot be read is lost. */
static void salvage(struct store_index *x, const char *former)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite_error(sqlite3_prepare_v2(x->sql, "ATTACH ?1 AS former", -1, &st, NULL));

	if (rc == 0) {
		sqlite3_bind_text(st, 1, former, -1, SQLITE_STATIC);
		rc = sqlite_error(sqlite3_step(st));
	}
	sqlite3_finalize(st);
	if (rc < 0)
		return;
	(void)sqlite_exec(x->sql, "INSERT OR IGNORE INTO main.deleted SELECT id, at, who, why, sender, recipients, subject, unlinked"
				  " FROM former.deleted");
	(void)sqlite_exec(x->sql, "DETACH former");
}

/* Beneath the lock: the name is free, a new index takes it. former: where the last one is now, or NULL. */
static int make_new(struct store_index *x, const char *former)
{
	int rc;

	orphans_remove(x->path);
	rc = connect_db(x, true);
	if (rc == 0)
		rc = schema_make(x);
	if (rc == 0 && former)
		salvage(x, former);
	return rc;
}

static int set_aside(const char *path, const char *former)
{
	static const char *const parts[] = { "", "-wal", "-shm" };
	char from[PATH_BYTES], to[PATH_BYTES];

	for (int i = 0; i < 3; i++) {
		name_of(path, parts[i], from);
		name_of(former, parts[i], to);
		unlink(to);
		if (rename(from, to) < 0 && errno != ENOENT)
			return -errno;
	}
	return 0;
}

static void remove_former(const char *former)
{
	static const char *const parts[] = { "", "-wal", "-shm" };
	char name[PATH_BYTES];

	for (int i = 0; i < 3; i++) {
		name_of(former, parts[i], name);
		unlink(name);
	}
}

static int begin_afresh(struct store_index *x)
{
	char former[PATH_BYTES];
	int rc;

	name_of(x->path, ".former", former);
	disconnect(x);
	rc = set_aside(x->path, former);
	if (rc == 0)
		rc = make_new(x, former);
	if (rc == 0)
		remove_former(former);
	return rc;
}

/* Kept for who wants to look into it; said in the log. */
static int damaged(struct store_index *x)
{
	char former[SQLITE_ASIDE_MAX];
	int rc;

	disconnect(x);
	rc = sqlite_move_aside_to(x->path, "store", former);
	return rc < 0 ? rc : make_new(x, former);
}

static int open_keeper(struct store_index *x)
{
	int64_t version = 0;
	int rc;

	orphans_remove(x->path);
	rc = connect_db(x, true);
	if (rc == 0)
		rc = version_of(x, &version);
	if (rc == 0 && version > STORE_INDEX_SCHEMA) {
		log_error("store", "error", "the index was written by a newer gatepost", "path", x->path, NULL);
		return -EPROTONOSUPPORT;
	}
	if (rc == 0 && version == 0)
		rc = schema_make(x);
	else if (rc == 0 && version < STORE_INDEX_SCHEMA)
		rc = begin_afresh(x);
	if (rc == -EBADMSG)
		rc = damaged(x);
	return rc;
}

static struct store_index *index_new(const char *path)
{
	struct store_index *x = calloc(1, sizeof(*x));

	if (!x)
		return NULL;
	x->path = strdup(path);
	if (!x->path || strlen(path) > PATH_BYTES - 100) {
		store_index_close(x);
		return NULL;
	}
	return x;
}

int store_index_open(const char *path, struct store_index **out, bool *fresh)
{
	struct store_index *x = index_new(path);
	int lock, rc;

	if (!x)
		return -ENOMEM;
	lock = lock_take(path);
	rc = open_keeper(x);
	if (rc == 0)
		rc = prepare(x);
	if (rc == -EBADMSG) {                   /* seen only now */
		rc = damaged(x);
		if (rc == 0)
			rc = prepare(x);
	}
	if (rc == 0)
		rc = name_note(x);
	lock_give(lock);
	if (rc < 0) {
		if (rc != -EPROTONOSUPPORT)
			log_error("store", "error", x->sql ? sqlite3_errmsg(x->sql) : "cannot open",
				  "path", path, NULL);
		store_index_close(x);
		return rc;
	}
	*fresh = !store_index_complete(x);
	*out = x;
	return 0;
}

static int open_command(struct store_index *x)
{
	int64_t version = 0;
	struct stat st;
	int rc;

	/* An empty file is what a crash right after its making leaves: the keeper fills it. */
	if (stat(x->path, &st) < 0)
		return -errno;
	if (st.st_size == 0)
		return -ENOENT;
	rc = connect_db(x, false);
	if (rc == 0)
		rc = version_of(x, &version);
	if (rc == 0 && version != STORE_INDEX_SCHEMA)
		rc = version == 0 ? -EBADMSG : -EPROTONOSUPPORT;
	if (rc == 0)
		rc = prepare(x);
	return rc == 0 ? name_note(x) : rc;
}

int store_index_join(const char *path, struct store_index **out)
{
	struct store_index *x = index_new(path);
	int lock, rc;

	if (!x)
		return -ENOMEM;
	lock = lock_take(path);
	rc = open_command(x);
	lock_give(lock);
	if (rc < 0) {
		store_index_close(x);
		return rc;
	}
	*out = x;
	return 0;
}

int store_index_afresh(const char *path, bool keep, struct store_index **out)
{
	struct store_index *x = index_new(path);
	int lock, rc;

	if (!x)
		return -ENOMEM;
	lock = lock_take(path);
	rc = keep ? damaged(x) : begin_afresh(x);
	if (rc == 0)
		rc = prepare(x);
	if (rc == 0)
		rc = name_note(x);
	lock_give(lock);
	if (rc < 0) {
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
	free(x->path);
	free(x);
}

/* ---- changes ---- */

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

static void bind(sqlite3_stmt *st, int at, const char *text)
{
	if (text)
		sqlite3_bind_text(st, at, text, -1, SQLITE_STATIC);
}

struct party {
	struct store_index *x;
	int stmt;
	const char *role, *id;
};

static int party_write(void *arg, const char *name)
{
	const struct party *p = arg;
	sqlite3_stmt *st = p->x->stmt[p->stmt];

	bind(st, 1, p->role);
	bind(st, 2, name);
	bind(st, 3, p->id);
	return sqlite_finish(st);
}

static int parties_write(struct store_index *x, int stmt, const char *id, const struct store_meta *m)
{
	struct party from = { x, stmt, "from", id }, to = { x, stmt, "to", id };
	int rc = store_meta_from(m, party_write, &from);

	return rc < 0 ? rc : store_meta_to(m, party_write, &to);
}

static int facts_write(struct store_index *x, const char *id, const struct store_meta *m)
{
	char *text = json_is_object(m->facts) ? json_whole(m->facts, JSON_COMPACT) : NULL;
	int rc = 0;

	if (text) {
		bind(x->stmt[STMT_FACTS], 1, id);
		bind(x->stmt[STMT_FACTS], 2, text);
		rc = sqlite_finish(x->stmt[STMT_FACTS]);
	}
	free(text);
	return rc;
}

static int message_write(struct store_index *x, const char *id, int64_t at_s, uint64_t bytes, size_t meta_len,
			 const struct store_meta *m)
{
	sqlite3_stmt *st = x->stmt[STMT_MESSAGE];

	bind(st, 1, id);
	sqlite3_bind_int64(st, 2, at_s);
	sqlite3_bind_int64(st, 3, (int64_t)bytes);
	sqlite3_bind_int64(st, 4, (int64_t)(bytes + meta_len));
	bind(st, 5, m->sender);
	bind(st, 6, m->client);
	bind(st, 7, m->rule);
	bind(st, 8, m->message_id);
	bind(st, 9, m->header_from);
	bind(st, 10, m->subject);
	bind(st, 11, buf_str(&m->recipients));
	bind(st, 12, buf_str(&m->classes));
	return sqlite_finish(st);
}

int store_index_add(struct store_index *x, const char *id, int64_t at_s, uint64_t bytes, const char *meta_text)
{
	AUTO(store_meta) struct store_meta m;
	size_t len = strlen(meta_text);
	int rc = store_meta_read(meta_text, len, &m);

	if (rc == 0)
		rc = message_write(x, id, at_s, bytes, len, &m);
	if (rc == 0)
		rc = facts_write(x, id, &m);
	return rc == 0 ? parties_write(x, STMT_PARTY, id, &m) : rc;
}

int store_index_set_state(struct store_index *x, const char *id, const char *state)
{
	int rc;

	bind(x->stmt[STMT_STATE], 1, id);
	bind(x->stmt[STMT_STATE], 2, state);
	rc = sqlite_finish(x->stmt[STMT_STATE]);
	return rc == 0 && sqlite3_changes(x->sql) == 0 ? -ENOENT : rc;
}

/* The row as it was made of the metadata, so that what was made of it elsewhere is found again. */
static json_t *recipients_of(const char *lines)
{
	json_t *list = json_array();

	while (lines && *lines) {
		size_t n = strcspn(lines, "\n");

		json_array_append_new(list, json_pack("{s:s%}", "address", lines, n));
		lines += n + (lines[n] == '\n');
	}
	return list;
}

static const char *column(sqlite3_stmt *st, int at)
{
	return (const char *)sqlite3_column_text(st, at);
}

static json_t *facts_of(struct store_index *x, const char *id)
{
	sqlite3_stmt *st = x->stmt[STMT_ROW_FACTS];
	json_t *facts = NULL;

	bind(st, 1, id);
	if (sqlite3_step(st) == SQLITE_ROW && column(st, 0))
		facts = json_whole_load(column(st, 0), strlen(column(st, 0)), JSON_ALLOW_NUL);
	sqlite3_reset(st);
	return facts;
}

static int record_write(struct store_index *x, const char *id, int64_t at_s, const char *who, const char *why, sqlite3_stmt *row)
{
	sqlite3_stmt *st = x->stmt[STMT_RECORD];

	bind(st, 1, id);
	sqlite3_bind_int64(st, 2, at_s);
	bind(st, 3, who);
	bind(st, 4, why);
	bind(st, 5, column(row, 0));
	bind(st, 6, column(row, 2));
	bind(st, 7, column(row, 3));
	return sqlite_finish(st);
}

static int remove_row(struct store_index *x, const char *id, int64_t at_s, const char *who, const char *why, sqlite3_stmt *row)
{
	struct store_meta m = { .sender = column(row, 0), .header_from = column(row, 1) };
	int rc;

	m.facts = facts_of(x, id);
	m.rcpt = recipients_of(column(row, 2));
	rc = parties_write(x, STMT_DROP_PARTY, id, &m);
	json_decref(m.facts);
	json_decref(m.rcpt);
	if (rc == 0)
		rc = record_write(x, id, at_s, who, why, row);
	for (int i = STMT_DROP; i <= STMT_DROP_FACTS && rc == 0; i++) {
		bind(x->stmt[i], 1, id);
		rc = sqlite_finish(x->stmt[i]);
	}
	return rc;
}

int store_index_remove(struct store_index *x, const char *id, int64_t at_s, const char *who, const char *why)
{
	sqlite3_stmt *row = x->stmt[STMT_ROW];
	int code, rc;

	bind(row, 1, id);
	code = sqlite3_step(row);
	if (code == SQLITE_ROW)
		rc = remove_row(x, id, at_s, who, why, row);
	else
		rc = code == SQLITE_DONE ? -ENOENT : sqlite_error(code);
	sqlite3_reset(row);
	return rc;
}

int store_index_unlinked(struct store_index *x, const char *id)
{
	bind(x->stmt[STMT_UNLINKED], 1, id);
	return sqlite_finish(x->stmt[STMT_UNLINKED]);
}

int store_index_to_unlink(struct store_index *x, char (*id)[STORE_ID_MAX], int max)
{
	sqlite3_stmt *st = x->stmt[STMT_TO_UNLINK];
	int code, count = 0;

	sqlite3_bind_int(st, 1, max);
	while ((code = sqlite3_step(st)) == SQLITE_ROW && count < max)
		snprintf(id[count++], STORE_ID_MAX, "%s", column(st, 0) ? column(st, 0) : "");
	sqlite3_reset(st);
	return code == SQLITE_ROW || code == SQLITE_DONE ? count : sqlite_error(code);
}

int store_index_forget(struct store_index *x, int64_t at_s, int max)
{
	int rc;

	sqlite3_bind_int64(x->stmt[STMT_FORGET], 1, at_s);
	sqlite3_bind_int(x->stmt[STMT_FORGET], 2, max);
	rc = sqlite_finish(x->stmt[STMT_FORGET]);
	return rc < 0 ? rc : sqlite3_changes(x->sql);
}

/* ---- questions ---- */

static bool is_there(sqlite3_stmt *st, const char *id)
{
	bool has;

	bind(st, 1, id);
	has = sqlite3_step(st) == SQLITE_ROW;
	sqlite3_reset(st);
	return has;
}

bool store_index_has(struct store_index *x, const char *id)
{
	return is_there(x->stmt[STMT_HAS], id);
}

bool store_index_deleted(struct store_index *x, const char *id)
{
	return is_there(x->stmt[STMT_DELETED], id);
}

int64_t store_index_count(struct store_index *x)
{
	int64_t n = 0;

	(void)sqlite_number(x->sql, "SELECT coalesce(sum(messages), 0) FROM total", &n);
	return n;
}

bool store_index_complete(struct store_index *x)
{
	int64_t n = 0;

	(void)sqlite_number(x->sql, "SELECT value FROM property WHERE name = 'complete'", &n);
	return n == 1;
}

int store_index_set_complete(struct store_index *x)
{
	return sqlite_exec(x->sql, "UPDATE property SET value = 1 WHERE name = 'complete' AND value <> 1");
}

struct sqlite3 *store_index_sql(struct store_index *x)
{
	return x->sql;
}
