#include "policy/search_index.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "policy/search_doc.h"
#include "policy/search_impl.h"
#include "policy/sqlite_file.h"

enum {
	SCHEMA = 1,
	VERSION = SCHEMA * 1000 + SEARCH_DOC_VERSION,
	OWNER_BUSY_MS = 20,             /* the keeper has others to serve */
	JOIN_BUSY_MS = 30000,           /* of a message that is deleted nobody knows the words any more */
	VOCABULARY_MAX = 5000000,       /* words; of later ones the parts are not found */
};

static const char schema[] =
	"CREATE TABLE doc (num INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE);"
	"CREATE VIRTUAL TABLE words USING fts5 (w, content='', columnsize=0, tokenize='ascii');"
	"CREATE TABLE vocabulary (num INTEGER PRIMARY KEY, word TEXT NOT NULL UNIQUE);"
	"CREATE VIRTUAL TABLE parts USING fts5 (w, content='', columnsize=0, detail=none, tokenize='ascii');"
	"INSERT INTO words (words, rank) VALUES ('usermerge', 2);"
	"INSERT INTO parts (parts, rank) VALUES ('usermerge', 2);"
	"CREATE TABLE note (key TEXT PRIMARY KEY, value) WITHOUT ROWID;";

static const char *const statements[SEARCH_STATEMENTS] = {
	[SEARCH_HAS] = "SELECT num FROM doc WHERE id = ?1",
	[SEARCH_DOC] = "INSERT INTO doc (id) VALUES (?1)",
	[SEARCH_DOC_REMOVE] = "DELETE FROM doc WHERE num = ?1",
	[SEARCH_WORDS] = "INSERT INTO words (rowid, w) VALUES (?1, ?2)",
	[SEARCH_WORDS_REMOVE] = "INSERT INTO words (words, rowid, w) VALUES ('delete', ?1, ?2)",
	[SEARCH_VOCABULARY] = "INSERT OR IGNORE INTO vocabulary (word) VALUES (?1)",
	[SEARCH_PARTS] = "INSERT INTO parts (rowid, w) VALUES (?1, ?2)",
	[SEARCH_WORDS_MERGE] = "INSERT INTO words (words, rank) VALUES ('merge', ?1)",
	[SEARCH_PARTS_MERGE] = "INSERT INTO parts (parts, rank) VALUES ('merge', ?1)",
	[SEARCH_IDS] = "SELECT id FROM doc WHERE id > ?1 ORDER BY id LIMIT ?2",
	[SEARCH_NOTE] = "SELECT value FROM note WHERE key = ?1",
	[SEARCH_NOTE_SET] = "INSERT OR REPLACE INTO note VALUES (?1, ?2)",
};

static void disconnect(struct search_index *x)
{
	for (int i = 0; i < SEARCH_STATEMENTS; i++) {
		sqlite3_finalize(x->stmt[i]);
		x->stmt[i] = NULL;
	}
	sqlite3_close(x->sql);
	x->sql = NULL;
}

/* Two processes may find it empty at once. */
static int make_schema(struct search_index *x)
{
	char version[64];
	int64_t now = 0;
	int rc = sqlite_exec(x->sql, "BEGIN IMMEDIATE");

	if (rc == 0)
		rc = sqlite_number(x->sql, "PRAGMA user_version", &now);
	if (rc == 0 && now == 0) {
		sqlite3_snprintf(sizeof(version), version, "PRAGMA user_version = %d;", VERSION);
		rc = sqlite_exec(x->sql, schema);
		if (rc == 0)
			rc = sqlite_exec(x->sql, version);
	}
	if (rc == 0)
		rc = sqlite_exec(x->sql, "COMMIT");
	if (rc < 0 && !sqlite3_get_autocommit(x->sql))
		(void)sqlite_exec(x->sql, "ROLLBACK");
	return rc;
}

/* -ESTALE: the words of another version. */
static int connect_db(struct search_index *x, const char *path, bool owner)
{
	int64_t version = 0;
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (owner ? SQLITE_OPEN_CREATE : 0);
	int rc = sqlite_error(sqlite3_open_v2(path, &x->sql, flags, NULL));

	if (rc == 0)
		sqlite3_busy_timeout(x->sql, owner ? OWNER_BUSY_MS : JOIN_BUSY_MS);
	if (rc == 0 && !owner)          /* the name may be another database's by then */
		rc = sqlite_error(sqlite3_db_config(x->sql, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL));
	if (rc == 0)
		rc = sqlite_exec(x->sql, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
					 "PRAGMA temp_store = MEMORY; PRAGMA wal_autocheckpoint = 0;"
					 "PRAGMA journal_size_limit = 16777216; PRAGMA cache_size = -16384;");
	if (rc == 0)
		rc = sqlite_number(x->sql, "PRAGMA user_version", &version);
	if (rc == 0 && version / 1000 > SCHEMA)
		return -EPROTONOSUPPORT;
	if (rc == 0 && version == 0 && owner)
		rc = make_schema(x);
	else if (rc == 0 && version != VERSION)
		rc = version ? -ESTALE : -ENOENT;       /* somebody is making it */
	for (int i = 0; i < SEARCH_STATEMENTS && rc == 0; i++)
		rc = sqlite_error(sqlite3_prepare_v3(x->sql, statements[i], -1, SQLITE_PREPARE_PERSISTENT, &x->stmt[i], NULL));
	x->data_version = -1;
	return rc;
}

static void unlink_all(const char *path)
{
	static const char *const parts[] = { "", "-wal", "-shm" };
	char name[512];

	for (int i = 0; i < 3; i++) {
		sqlite3_snprintf(sizeof(name), name, "%s%s", path, parts[i]);
		unlink(name);
	}
}

/* It is derived, and may be large: what is worth nothing is not kept. */
static int connect_afresh(struct search_index *x, const char *path, int why)
{
	disconnect(x);
	if (why == -EBADMSG)
		log_error("search", "error", "the full-text index is damaged: begun afresh", "path", path, NULL);
	unlink_all(path);
	return connect_db(x, path, true);
}

static int open_any(const char *path, bool owner, struct search_index **out)
{
	struct search_index *x = calloc(1, sizeof(*x));
	int rc;

	if (!x)
		return -ENOMEM;
	rc = connect_db(x, path, owner);
	if (owner && (rc == -EBADMSG || rc == -ESTALE))
		rc = connect_afresh(x, path, rc);
	if (rc < 0) {
		search_index_close(x);
		return rc == -ESTALE ? -EBADMSG : rc;
	}
	(void)stat(path, &x->file);
	*out = x;
	return 0;
}

bool search_index_replaced(const struct search_index *x, const char *path)
{
	struct stat st;

	return stat(path, &st) < 0 || st.st_dev != x->file.st_dev || st.st_ino != x->file.st_ino;
}

int search_index_afresh(const char *path, struct search_index **out)
{
	log_error("search", "error", "the full-text index is damaged: begun afresh", "path", path, NULL);
	unlink_all(path);
	return search_index_open(path, out);
}

int search_index_open(const char *path, struct search_index **out)
{
	int rc = open_any(path, true, out);

	if (rc == -EPROTONOSUPPORT)
		log_error("search", "error", "the index was written by a newer gatepost", "path", path, NULL);
	return rc;
}

int search_index_join(const char *path, struct search_index **out)
{
	return access(path, F_OK) < 0 && errno == ENOENT ? -ENOENT : open_any(path, false, out);
}

void search_index_impatient(struct search_index *x)
{
	sqlite3_busy_timeout(x->sql, OWNER_BUSY_MS);
}

void search_index_close(struct search_index *x)
{
	if (!x)
		return;
	disconnect(x);
	free(x);
}

/* What others have changed is not known: words may have gone. */
int search_index_begin(struct search_index *x)
{
	int64_t version = 0;
	int rc = sqlite_exec(x->sql, "BEGIN IMMEDIATE");

	if (rc == 0)
		rc = sqlite_number(x->sql, "PRAGMA data_version", &version);
	if (rc == 0 && version != x->data_version) {
		memset(x->known, 0, sizeof(x->known));
		rc = sqlite_number(x->sql, "SELECT coalesce(max(num), 0) FROM vocabulary", &x->vocabulary);
		x->data_version = version;
	}
	if (rc < 0)
		search_index_rollback(x);
	return rc;
}

int search_index_clear(struct search_index *x)
{
	int rc = search_index_begin(x);

	if (rc == 0)
		rc = sqlite_exec(x->sql, "DELETE FROM doc; INSERT INTO words (words) VALUES ('delete-all');"
					 "DELETE FROM vocabulary; INSERT INTO parts (parts) VALUES ('delete-all');"
					 "DELETE FROM note;");
	memset(x->known, 0, sizeof(x->known));
	x->vocabulary = 0;
	if (rc == 0)
		rc = search_index_commit(x);
	if (rc < 0)
		search_index_rollback(x);
	return rc;
}

int search_index_commit(struct search_index *x)
{
	return sqlite_exec(x->sql, "COMMIT");
}

void search_index_rollback(struct search_index *x)
{
	memset(x->known, 0, sizeof(x->known));
	if (!sqlite3_get_autocommit(x->sql))
		(void)sqlite_exec(x->sql, "ROLLBACK");
}

/* 0: not there; negative: -errno. */
static int64_t doc_num(struct search_index *x, const char *id)
{
	sqlite3_stmt *st = x->stmt[SEARCH_HAS];
	int64_t num = 0;
	int code;

	sqlite3_bind_text(st, 1, id, -1, SQLITE_STATIC);
	code = sqlite3_step(st);
	if (code == SQLITE_ROW)
		num = sqlite3_column_int64(st, 0);
	else if (code != SQLITE_DONE)
		num = sqlite_error(code);
	sqlite3_reset(st);
	return num;
}

bool search_index_has(struct search_index *x, const char *id)
{
	return doc_num(x, id) > 0;
}

static int words_change(struct search_index *x, int statement, int64_t num, const struct buf *words)
{
	sqlite3_stmt *st = x->stmt[statement];

	sqlite3_bind_int64(st, 1, num);
	sqlite3_bind_text(st, 2, buf_str(words), (int)words->len, SQLITE_STATIC);
	return sqlite_finish(st);
}

/* FNV-1a. Two words with one hash: the second's parts are not found, once in 2^48. */
static uint64_t hash(const char *p, size_t len)
{
	uint64_t h = 0xcbf29ce484222325;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)p[i]) * 0x100000001b3;
	return h ? h : 1;
}

void search_grams(const char *word, const char *quote, struct buf *out)
{
	const char *at[SEARCH_PART_CHARS] = { word };
	int n = 0;

	for (const char *p = word; *p;) {
		memmove(at, at + 1, sizeof(at) - sizeof(*at));
		at[SEARCH_PART_CHARS - 1] = p++;
		while ((*p & 0xc0) == 0x80)
			p++;
		if (++n >= SEARCH_PART_CHARS)
			buf_addf(out, "%s%s%.*s%s", out->len ? " " : "", quote, (int)(p - at[0]), at[0], quote);
	}
}

static int parts_add(struct search_index *x, const struct search_word *w, int64_t num)
{
	AUTO(buf) struct buf grams = BUF_INIT(SEARCH_GRAMS_MAX);

	search_grams(w->text, "", &grams);
	return grams.failed ? -ENOMEM : words_change(x, SEARCH_PARTS, num, &grams);
}

/* A word of the vocabulary, where it is one: for its parts to be found it must be longer than what may be asked. */
static int vocabulary_add(void *arg, const struct search_word *w)
{
	struct search_index *x = arg;
	uint64_t h = hash(w->text, w->len), *known = &x->known[h % SEARCH_KNOWN];
	sqlite3_stmt *st;
	int rc;

	if (w->kind != SEARCH_PAIR && (w->kind != SEARCH_LETTERS || w->chars <= SEARCH_PART_CHARS))
		return 0;
	if (*known == h || x->vocabulary >= VOCABULARY_MAX)
		return 0;
	st = x->stmt[SEARCH_VOCABULARY];
	sqlite3_bind_text(st, 1, w->text, (int)w->len, SQLITE_STATIC);
	rc = sqlite_finish(st);
	if (rc == 0 && sqlite3_changes(x->sql) == 1) {
		x->vocabulary = sqlite3_last_insert_rowid(x->sql);
		if (w->kind == SEARCH_LETTERS)
			rc = parts_add(x, w, x->vocabulary);
	}
	if (rc == 0)
		*known = h;
	return rc;
}

int search_index_add(struct search_index *x, const char *id, json_t *record)
{
	AUTO(buf) struct buf words = BUF_INIT(SEARCH_DOC_BYTES_MAX);
	int64_t num = doc_num(x, id);
	int rc;

	if (num != 0)
		return num < 0 ? (int)num : 0;
	rc = search_doc(record, &words, vocabulary_add, x);
	if (rc < 0)
		return rc;
	sqlite3_bind_text(x->stmt[SEARCH_DOC], 1, id, -1, SQLITE_STATIC);
	rc = sqlite_finish(x->stmt[SEARCH_DOC]);
	return rc < 0 ? rc : words_change(x, SEARCH_WORDS, sqlite3_last_insert_rowid(x->sql), &words);
}

int search_index_remove(struct search_index *x, const char *id, json_t *record)
{
	AUTO(buf) struct buf words = BUF_INIT(SEARCH_DOC_BYTES_MAX);
	int64_t num = doc_num(x, id);
	int rc = 0;

	if (num <= 0)
		return (int)num;
	if (record)
		rc = search_doc(record, &words, NULL, NULL);
	if (rc == 0 && words.len)
		rc = words_change(x, SEARCH_WORDS_REMOVE, num, &words);
	if (rc < 0)
		return rc;
	sqlite3_bind_int64(x->stmt[SEARCH_DOC_REMOVE], 1, num);
	return sqlite_finish(x->stmt[SEARCH_DOC_REMOVE]);
}

int search_index_ids(struct search_index *x, const char *after, char (*ids)[STORE_ID_MAX], size_t max)
{
	sqlite3_stmt *st = x->stmt[SEARCH_IDS];
	int n = 0, code;

	sqlite3_bind_text(st, 1, after, -1, SQLITE_STATIC);
	sqlite3_bind_int64(st, 2, (sqlite3_int64)max);
	while ((code = sqlite3_step(st)) == SQLITE_ROW && (size_t)n < max)
		sqlite3_snprintf(STORE_ID_MAX, ids[n++], "%s", (const char *)sqlite3_column_text(st, 0));
	sqlite3_reset(st);
	return code == SQLITE_DONE || code == SQLITE_ROW ? n : sqlite_error(code);
}

int search_index_cursor(struct search_index *x, char id[STORE_ID_MAX])
{
	sqlite3_stmt *st = x->stmt[SEARCH_NOTE];
	int code;

	*id = 0;
	sqlite3_bind_text(st, 1, "cursor", -1, SQLITE_STATIC);
	code = sqlite3_step(st);
	if (code == SQLITE_ROW)
		sqlite3_snprintf(STORE_ID_MAX, id, "%s", (const char *)sqlite3_column_text(st, 0));
	sqlite3_reset(st);
	return sqlite_error(code);
}

int search_index_set_cursor(struct search_index *x, const char *id)
{
	sqlite3_stmt *st = x->stmt[SEARCH_NOTE_SET];

	sqlite3_bind_text(st, 1, "cursor", -1, SQLITE_STATIC);
	sqlite3_bind_text(st, 2, id, -1, SQLITE_STATIC);
	return sqlite_finish(st);
}

/* Merging that has nothing to do makes one change, FTS5 says. */
int search_index_merge(struct search_index *x, int pages)
{
	bool more = false;
	int rc = 0;

	for (int i = 0; i < 2 && rc == 0 && !more; i++) {
		sqlite3_stmt *st = x->stmt[i ? SEARCH_PARTS_MERGE : SEARCH_WORDS_MERGE];
		int before = sqlite3_total_changes(x->sql);

		sqlite3_bind_int(st, 1, pages);
		rc = sqlite_finish(st);
		more = sqlite3_total_changes(x->sql) - before >= 2;
	}
	return rc < 0 ? rc : more;
}

void search_index_checkpoint(struct search_index *x)
{
	(void)sqlite3_wal_checkpoint_v2(x->sql, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
}
