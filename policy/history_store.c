#include "policy/history_store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "policy/history_impl.h"
#include "policy/rua_store.h"
#include "policy/sqlite_file.h"

enum {
	TAIL_KEYS_MAX = 512 * 1024,     /* then a segment ends before it is full: messages with many recipients */
	REMOVE_ROWS = 500, REMOVE_POSTINGS = 4000,      /* in one step */
	VACUUM_LEAST = 64,              /* pages that are worth giving back */
	PLACE_BITS = 16,
};

static const char schema[] =
	"BEGIN;"
	"CREATE TABLE record (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, data BLOB NOT NULL);"
	"CREATE TABLE segment ("
	"	first INTEGER PRIMARY KEY, last INTEGER NOT NULL, at_min INTEGER NOT NULL, at_max INTEGER NOT NULL);"
	"CREATE TABLE posting ("
	"	segment INTEGER NOT NULL, key INTEGER NOT NULL, records BLOB NOT NULL,"
	"	PRIMARY KEY (segment, key)) WITHOUT ROWID;"
	"PRAGMA user_version = 1;"
	"COMMIT;";

static const char *const statements[HISTORY_STMTS] = {
	[HISTORY_SEGMENTS] = "SELECT first, last FROM segment WHERE at_max >= ?1 AND at_min < ?2 ORDER BY first",
	[HISTORY_POSTING] = "SELECT records FROM posting WHERE segment = ?1 AND key = ?2",
	[HISTORY_RECORD] = "SELECT data FROM record WHERE id = ?1",
	[HISTORY_UP] = "SELECT at, data, id FROM record WHERE id BETWEEN ?1 AND ?2 ORDER BY id",
	[HISTORY_DOWN] = "SELECT at, data, id FROM record WHERE id BETWEEN ?1 AND ?2 ORDER BY id DESC",
	[HISTORY_ADD] = "INSERT INTO record (id, at, data) VALUES (?1, ?2, ?3)",
	[HISTORY_ADD_SEGMENT] = "INSERT INTO segment (first, last, at_min, at_max) VALUES (?1, ?2, ?3, ?4)",
	[HISTORY_ADD_POSTING] = "INSERT INTO posting (segment, key, records) VALUES (?1, ?2, ?3)",
	[HISTORY_OLDEST] = "SELECT id, at FROM record ORDER BY id LIMIT ?1",
	[HISTORY_REMOVE] = "DELETE FROM record WHERE id <= ?1",
	/* Nothing is left of its records. */
	[HISTORY_SPENT] = "SELECT first FROM segment WHERE last < ifnull((SELECT min(id) FROM record), 9223372036854775807) LIMIT 1",
	[HISTORY_REMOVE_POSTINGS] =
		"DELETE FROM posting WHERE segment = ?1 AND key IN (SELECT key FROM posting WHERE segment = ?1 ORDER BY key LIMIT ?2)",
	[HISTORY_REMOVE_SEGMENT] = "DELETE FROM segment WHERE first = ?1",
};

/* Opening */

static void disconnect(struct history_store *s)
{
	for (int i = 0; i < HISTORY_STMTS; i++) {
		sqlite3_finalize(s->stmt[i]);
		s->stmt[i] = NULL;
	}
	sqlite3_close(s->sql);
	s->sql = NULL;
}

static int prepare(struct history_store *s)
{
	int rc = 0;

	for (int i = 0; i < (s->writes ? HISTORY_STMTS : HISTORY_READS) && rc == 0; i++)
		rc = sqlite_error(sqlite3_prepare_v3(s->sql, statements[i], -1, SQLITE_PREPARE_PERSISTENT, &s->stmt[i], NULL));
	return rc;
}

static int connect_db(struct history_store *s)
{
	/* Somebody who only reads needs to write, too: into the memory that a WAL is shared by. */
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (s->writes ? SQLITE_OPEN_CREATE : 0);
	int64_t version = 0;
	int rc = sqlite_error(sqlite3_open_v2(s->path, &s->sql, flags, NULL));

	if (rc == 0)
		sqlite3_busy_timeout(s->sql, 2000);
	if (rc == 0 && s->writes)
		rc = sqlite_exec(s->sql, "PRAGMA page_size = 8192; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;"
					 "PRAGMA synchronous = NORMAL; PRAGMA temp_store = MEMORY; PRAGMA journal_size_limit = 16777216;");
	else if (rc == 0)
		rc = sqlite_exec(s->sql, "PRAGMA query_only = ON; PRAGMA cache_size = -16384");
	if (rc == 0)
		rc = sqlite_number(s->sql, "PRAGMA user_version", &version);
	if (rc == 0 && version > HISTORY_SCHEMA)
		return -EPROTONOSUPPORT;
	if (rc == 0 && version == 0)
		rc = s->writes ? sqlite_exec(s->sql, schema) : -ENOENT;
	if (rc == 0 && s->writes)
		rc = sqlite_exec(s->sql, rua_store_schema);
	return rc < 0 ? rc : prepare(s);
}

static int tail_load(struct history_store *s);

static int open_whole(struct history_store *s)
{
	int rc = connect_db(s);

	return rc < 0 || !s->writes ? rc : tail_load(s);
}

static void free_store(struct history_store *s)
{
	disconnect(s);
	history_memory_free(s->memory);
	free(s->tail);
	free(s->path);
	free(s);
}

int history_store_open(const char *path, bool writes, struct history_store **out)
{
	struct history_store *s;
	int rc;

	if (!writes && access(path, F_OK) < 0)
		return -errno;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->writes = writes;
	s->path = strdup(path);
	s->memory = history_memory_new();
	rc = s->path && s->memory ? open_whole(s) : -ENOMEM;
	if (rc == -EBADMSG && writes) {
		disconnect(s);
		rc = sqlite_move_aside(path, "history");
		if (rc == 0)
			rc = open_whole(s);
	}
	if (rc < 0 && writes)
		log_error("history", "error", rc == -EPROTONOSUPPORT ? "the database was written by a newer gatepost" :
			  s->sql ? sqlite3_errmsg(s->sql) : "cannot open", "path", path, NULL);
	if (rc < 0)
		free_store(s);
	else
		*out = s;
	return rc;
}

void history_store_close(struct history_store *s)
{
	if (!s)
		return;
	if (s->begun && !s->broken)
		(void)history_store_commit(s);
	disconnect(s);
	if (s->damaged)
		(void)sqlite_move_aside(s->path, "history");
	free_store(s);
}

/* Writing */

/* After an error nothing of it can be trusted any more: it is to be closed, and opened anew. */
int history_failed(struct history_store *s, int rc)
{
	s->damaged = s->damaged || rc == -EBADMSG;
	s->broken = true;
	return rc;
}

int history_begin(struct history_store *s)
{
	int rc = s->broken ? -EIO : s->begun ? 0 : sqlite_exec(s->sql, "BEGIN IMMEDIATE");

	s->begun = rc == 0;
	return rc;
}

int history_store_commit(struct history_store *s)
{
	int rc;

	if (s->broken || !s->begun)
		return s->broken ? -EIO : 0;
	rc = sqlite_exec(s->sql, "COMMIT");
	if (rc < 0)
		return history_failed(s, rc);
	s->begun = false;
	s->uncommitted = 0;
	return 0;
}

size_t history_store_uncommitted(const struct history_store *s)
{
	return s->uncommitted;
}

bool history_store_broken(const struct history_store *s)
{
	return s->broken;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* The places where one key is, from tail[i] on; how many entries of the tail they are. */
static int write_posting(struct history_store *s, size_t i, size_t *next)
{
	static unsigned char places[2 * HISTORY_SEGMENT];
	sqlite3_stmt *st = s->stmt[HISTORY_ADD_POSTING];
	uint64_t key = s->tail[i] >> PLACE_BITS;
	size_t n = 0;

	for (; i < s->tail_count && s->tail[i] >> PLACE_BITS == key; i++) {
		unsigned place = s->tail[i] & ((1u << PLACE_BITS) - 1);

		if (n && s->tail[i] == s->tail[i - 1])
			continue;       /* a key that the record has more than once: the domain of many recipients */
		places[n++] = (unsigned char)place;
		places[n++] = (unsigned char)(place >> 8);
	}
	*next = i;
	sqlite3_bind_int64(st, 1, s->tail_first);
	sqlite3_bind_int64(st, 2, (int64_t)key);
	sqlite3_bind_blob(st, 3, places, (int)n, SQLITE_STATIC);
	return sqlite_finish(st);
}

/* The records of the tail get their index. */
static int write_segment(struct history_store *s)
{
	sqlite3_stmt *st = s->stmt[HISTORY_ADD_SEGMENT];
	int rc = 0;

	qsort(s->tail, s->tail_count, sizeof(*s->tail), by_value);
	for (size_t i = 0; i < s->tail_count && rc == 0;)
		rc = write_posting(s, i, &i);
	if (rc < 0)
		return rc;
	sqlite3_bind_int64(st, 1, s->tail_first);
	sqlite3_bind_int64(st, 2, s->next_id - 1);
	sqlite3_bind_int64(st, 3, s->at_min);
	sqlite3_bind_int64(st, 4, s->at_max);
	s->tail_first = s->next_id;
	s->tail_count = 0;
	return sqlite_finish(st);
}

static int tail_room(struct history_store *s, size_t count)
{
	size_t cap = s->tail_cap ? s->tail_cap : 16 * 1024;
	uint64_t *tail;

	if (s->tail_count + count <= s->tail_cap)
		return 0;
	while (cap < s->tail_count + count)
		cap *= 2;
	tail = reallocarray(s->tail, cap, sizeof(*tail));
	if (!tail)
		return -ENOMEM;
	s->tail = tail;
	s->tail_cap = cap;
	return 0;
}

/* Record next_id is in the database: its keys into the tail. */
static int tail_add(struct history_store *s, const struct history_record *r)
{
	static uint64_t keys[HISTORY_KEYS_MAX];
	size_t count = history_keys(r, keys);
	uint64_t place = (uint64_t)(s->next_id - s->tail_first);

	if (tail_room(s, count) < 0)
		return -ENOMEM;
	if (place == 0)
		s->at_min = s->at_max = r->at_ms;
	if (r->at_ms < s->at_min)
		s->at_min = r->at_ms;
	if (r->at_ms > s->at_max)
		s->at_max = r->at_ms;
	for (size_t i = 0; i < count; i++)
		s->tail[s->tail_count++] = keys[i] << PLACE_BITS | place;
	s->next_id++;
	return place + 1 >= HISTORY_SEGMENT || s->tail_count >= TAIL_KEYS_MAX ? write_segment(s) : 0;
}

/* Those that an earlier run has left without an index. */
static int tail_load(struct history_store *s)
{
	sqlite3_stmt *st = s->stmt[HISTORY_UP];
	int64_t last = 0;
	int rc = sqlite_number(s->sql, "SELECT last FROM segment ORDER BY first DESC LIMIT 1", &last), code = SQLITE_DONE;

	s->tail_first = s->next_id = last + 1;
	s->tail_count = 0;
	if (rc == 0)
		rc = history_begin(s);
	if (rc < 0)
		return rc;
	sqlite3_bind_int64(st, 1, last + 1);
	sqlite3_bind_int64(st, 2, INT64_MAX);
	while (rc == 0 && (code = sqlite3_step(st)) == SQLITE_ROW) {
		struct history_record r;
		int64_t id = sqlite3_column_int64(st, 2);

		/* Of those in between nothing is left. */
		if (s->next_id == s->tail_first || id - s->tail_first >= HISTORY_SEGMENT)
			rc = s->tail_count ? write_segment(s) : 0, s->tail_first = id;
		s->next_id = id;
		if (rc == 0 && history_decode(sqlite3_column_blob(st, 1), (size_t)sqlite3_column_bytes(st, 1), s->memory, &r, NULL, NULL) == 0)
			rc = tail_add(s, &r);
		else
			s->next_id++;
	}
	if (rc == 0)
		rc = sqlite_error(code);
	sqlite3_reset(st);
	return rc < 0 ? rc : history_store_commit(s);
}

int history_store_add(struct history_store *s, const char *p, size_t len)
{
	sqlite3_stmt *st = s->stmt[HISTORY_ADD];
	struct history_record r;
	int rc;

	if (history_decode(p, len, s->memory, &r, NULL, NULL) < 0)
		return -EINVAL;
	rc = history_begin(s);
	if (rc < 0)
		return history_failed(s, rc);
	sqlite3_bind_int64(st, 1, s->next_id);
	sqlite3_bind_int64(st, 2, r.at_ms);
	sqlite3_bind_blob(st, 3, p, (int)len, SQLITE_STATIC);
	rc = sqlite_finish(st);
	if (rc == 0)
		rc = tail_add(s, &r);
	if (rc < 0)
		return history_failed(s, rc);
	s->uncommitted++;
	return 0;
}

/* Removing */

static int pages(struct history_store *s, int64_t *all, int64_t *spare)
{
	int rc = sqlite_number(s->sql, "PRAGMA page_count", all);

	return rc < 0 ? rc : sqlite_number(s->sql, "PRAGMA freelist_count", spare);
}

/* The oldest: all of those that came before before_ms, or whatever their time. The number removed. */
static int remove_oldest(struct history_store *s, int64_t before_ms, bool all)
{
	sqlite3_stmt *st = s->stmt[HISTORY_OLDEST];
	int64_t last = 0;
	int n = 0, code, rc;

	sqlite3_bind_int(st, 1, REMOVE_ROWS);
	while ((code = sqlite3_step(st)) == SQLITE_ROW && (all || sqlite3_column_int64(st, 1) < before_ms)) {
		last = sqlite3_column_int64(st, 0);
		n++;
	}
	rc = code == SQLITE_ROW ? 0 : sqlite_error(code);
	sqlite3_reset(st);
	if (rc < 0 || n == 0)
		return rc;
	sqlite3_bind_int64(s->stmt[HISTORY_REMOVE], 1, last);
	rc = sqlite_finish(s->stmt[HISTORY_REMOVE]);
	return rc < 0 ? rc : n;
}

/* Of the index of records that are gone. The number of rows removed. */
static int remove_spent(struct history_store *s)
{
	sqlite3_stmt *st = s->stmt[HISTORY_SPENT];
	int code = sqlite3_step(st), rc;
	int64_t first = sqlite3_column_int64(st, 0);

	sqlite3_reset(st);
	if (code != SQLITE_ROW)
		return sqlite_error(code);
	st = s->stmt[HISTORY_REMOVE_POSTINGS];
	sqlite3_bind_int64(st, 1, first);
	sqlite3_bind_int(st, 2, REMOVE_POSTINGS);
	rc = sqlite_finish(st);
	if (rc == 0 && sqlite3_changes(s->sql) == 0) {
		sqlite3_bind_int64(s->stmt[HISTORY_REMOVE_SEGMENT], 1, first);
		rc = sqlite_finish(s->stmt[HISTORY_REMOVE_SEGMENT]);
	}
	return rc < 0 ? rc : 1;
}

int history_store_sweep(struct history_store *s, int64_t now_ms, int64_t keep_ms, uint64_t max_bytes)
{
	int64_t all = 0, spare = 0, size = 0;
	int rc = history_begin(s), n = 0, spent = 0;
	bool vacuum = false;

	if (rc == 0)
		rc = pages(s, &all, &spare);
	if (rc == 0)
		rc = sqlite_number(s->sql, "PRAGMA page_size", &size);
	if (rc == 0)
		rc = n = remove_oldest(s, now_ms - keep_ms, (uint64_t)(all - spare) * (uint64_t)size > max_bytes);
	if (rc >= 0)
		rc = spent = remove_spent(s);
	/* Room is given back when there is much of it: what is removed a little at a time is filled again. */
	vacuum = rc >= 0 && spare > VACUUM_LEAST && spare > all / 4;
	if (vacuum)
		rc = sqlite_exec(s->sql, "PRAGMA incremental_vacuum(500)");
	if (rc >= 0)
		rc = history_store_commit(s);
	if (rc < 0)
		return history_failed(s, rc);
	return n == REMOVE_ROWS || spent || vacuum;
}
