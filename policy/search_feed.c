#include "policy/search_feed.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "policy/search_index.h"
#include "policy/sqlite_file.h"
#include "policy/store_file.h"
#include "policy/store_index.h"

enum {
	IDS = 128,                      /* read at once, and compared */
	AGAIN_MS = 30 * 1000,           /* after an error */
	BUSY_AGAIN_MS = 200,
	CHECKPOINT_STEPS = 50,          /* without a moment of rest */
	MERGE_PAGES = 16,
	REBUILD_TRIES = 200,
	REBUILD_PAUSE_US = 20 * 1000,
	REBUILD_REST_US = 1000,         /* the keeper's turn */
	REBUILD_BUDGET_MS = 10,
	PROGRESS_MS = 2000,
};

struct search_feed {
	char *path;
	int dir_fd;
	struct search_index *x;
	int64_t pause_until_ms;
	int steps;                      /* since the last checkpoint */
	char added[STORE_ID_MAX];       /* up to here, as far as we know */

	bool merging;                   /* there may be something to merge */
	char ids[IDS][STORE_ID_MAX], have[IDS][STORE_ID_MAX];   /* of the store, of the index */

	bool comparing;
	char compared[STORE_ID_MAX];    /* up to here */
	int64_t missed, gone;           /* what it has found */
};

struct search_feed *search_feed_new(const char *dir, int dir_fd)
{
	struct search_feed *f = calloc(1, sizeof(*f));

	if (f && asprintf(&f->path, "%s/%s", dir, SEARCH_DB) < 0) {
		free(f);
		return NULL;
	}
	if (f) {
		f->dir_fd = dir_fd;
		search_feed_compare(f);
	}
	return f;
}

void search_feed_free(struct search_feed *f)
{
	if (!f)
		return;
	search_index_close(f->x);
	free(f->path);
	free(f);
}

void search_feed_compare(struct search_feed *f)
{
	f->comparing = true;
	f->compared[0] = 0;
	f->missed = f->gone = 0;
}

void search_feed_kept(struct search_feed *f, const char *id)
{
	if (strcmp(id, f->added) <= 0)
		search_feed_compare(f);
}

/* Up to IDS messages of the store, in order, after the id `after`. How many, or -errno; damage there is its owner's affair (-EIO). */
static int store_ids(struct store_index *index, const char *after, char (*ids)[STORE_ID_MAX])
{
	sqlite3_stmt *st = NULL;
	int n = 0, code = sqlite3_prepare_v2(store_index_sql(index), "SELECT id FROM message WHERE id > ?1 ORDER BY id LIMIT ?2", -1, &st,
					     NULL);

	if (code == SQLITE_OK)
		code = sqlite3_bind_text(st, 1, after, -1, SQLITE_STATIC);
	if (code == SQLITE_OK)
		code = sqlite3_bind_int(st, 2, IDS);
	while (code == SQLITE_OK || code == SQLITE_ROW) {
		code = sqlite3_step(st);
		if (code == SQLITE_ROW && n < IDS)
			snprintf(ids[n++], STORE_ID_MAX, "%s", (const char *)sqlite3_column_text(st, 0));
	}
	sqlite3_finalize(st);
	if (code == SQLITE_DONE)
		return n;
	return sqlite_error(code) == -EBADMSG ? -EIO : sqlite_error(code);
}

static int add_one(struct search_feed *f, const char *id)
{
	json_t *record = store_file_record(f->dir_fd, id);
	int rc = record ? search_index_add(f->x, id, record) : 0;

	json_decref(record);
	return rc;
}

static int remove_one(struct search_index *x, int dir_fd, const char *id)
{
	json_t *record = store_file_record(dir_fd, id);
	int rc = search_index_remove(x, id, record);

	json_decref(record);
	return rc;
}

/* New messages. 1: more of them; 0: none is left; within a transaction. */
static int follow(struct search_feed *f, struct store_index *index, int64_t until_ms)
{
	char cursor[STORE_ID_MAX];
	int rc = search_index_cursor(f->x, cursor), n, i;

	if (rc < 0)
		return rc;
	n = store_ids(index, cursor, f->ids);
	for (i = 0; i < n && rc == 0 && (i == 0 || clock_ms() < until_ms); i++)
		rc = add_one(f, f->ids[i]);
	if (i > 0 && rc == 0) {
		f->merging = true;
		rc = search_index_set_cursor(f->x, f->ids[i - 1]);
		snprintf(f->added, sizeof(f->added), "%s", f->ids[i - 1]);
	}
	return n < 0 ? n : rc < 0 ? rc : n == IDS || i < n;
}

/* Both sides, in order: what only one of them has. */
static int compare_some(struct search_feed *f, int n, int m, int64_t until_ms)
{
	char (*want)[STORE_ID_MAX] = f->ids, (*have)[STORE_ID_MAX] = f->have;
	int w = 0, h = 0, rc = 0;

	while (rc == 0 && (w < n || h < m) && (w + h == 0 || clock_ms() < until_ms)) {
		int order = w == n ? 1 : h == m ? -1 : strcmp(want[w], have[h]);

		/* Past the end of a full list the other side is not known. */
		if ((w == n && n == IDS) || (h == m && m == IDS))
			break;
		snprintf(f->compared, sizeof(f->compared), "%s", order <= 0 ? want[w] : have[h]);
		if (order < 0) {
			rc = add_one(f, want[w]);
			f->missed += search_index_has(f->x, want[w]);
		} else if (order > 0) {
			f->gone++;
			rc = remove_one(f->x, f->dir_fd, have[h]);
		}
		w += order <= 0;
		h += order >= 0;
	}
	return rc < 0 ? rc : n == IDS || m == IDS || w < n || h < m;
}

static int compare(struct search_feed *f, struct store_index *index, int64_t until_ms)
{
	int n = store_ids(index, f->compared, f->ids), m = n < 0 ? n : search_index_ids(f->x, f->compared, f->have, IDS), rc;

	if (m < 0)
		return m;
	rc = compare_some(f, n, m, until_ms);
	if (rc == 0)
		f->comparing = false;
	return rc;
}

/* Pieces are put together while nobody waits for anything. 1: there is more. */
static int merge(struct search_feed *f, int64_t until_ms)
{
	int rc;

	do
		rc = search_index_merge(f->x, MERGE_PAGES);
	while (rc > 0 && clock_ms() < until_ms);
	if (rc == 0)
		f->merging = false;
	return rc;
}

static int transaction(struct search_feed *f, struct store_index *index, int budget_ms)
{
	int64_t until_ms = clock_ms() + budget_ms;
	int rc = search_index_begin(f->x), more = 0;

	if (rc == 0)
		more = rc = follow(f, index, until_ms);
	if (rc == 0 && f->comparing && store_index_complete(index))
		more = rc = compare(f, index, until_ms);
	if (rc == 0 && f->merging)
		more = rc = merge(f, until_ms);
	if (rc >= 0)
		rc = search_index_commit(f->x);
	if (rc < 0)
		search_index_rollback(f->x);
	f->steps++;
	return rc < 0 ? rc : more;
}

static int failed(struct search_feed *f, int rc)
{
	f->pause_until_ms = clock_ms() + (rc == -EBUSY ? BUSY_AGAIN_MS : AGAIN_MS);
	if (rc == -EBUSY)
		return 0;
	log_error("search", "error", "the full-text index is not brought up to date", "path", f->path, "why", strerror(-rc), NULL);
	search_index_close(f->x);
	f->x = NULL;
	return rc;
}

static int open_current(struct search_feed *f)
{
	int rc = 0;

	if (f->x && search_index_replaced(f->x, f->path)) {
		search_index_close(f->x);
		f->x = NULL;
	}
	if (!f->x)
		rc = search_index_open(f->path, &f->x);
	return rc;
}

/* Nothing is new: the usual case costs no transaction. */
static int at_rest(struct search_feed *f, struct store_index *index)
{
	char cursor[STORE_ID_MAX];
	int rc = search_index_cursor(f->x, cursor), n = rc < 0 ? rc : store_ids(index, cursor, f->ids);

	return n < 0 ? n : n == 0 && !f->merging && !(f->comparing && store_index_complete(index));
}

static void compared_tell(struct search_feed *f, bool was)
{
	struct log_line l;

	if (!was || f->comparing || f->missed + f->gone == 0)
		return;
	log_start(&l, LOG_LEVEL_NOTICE, "search");
	log_str(&l, "what", "compared with the store");
	log_num(&l, "missed", f->missed);
	log_num(&l, "gone", f->gone);
	log_emit(&l);
}

int search_feed_step(struct search_feed *f, struct store_index *index, int budget_ms)
{
	bool was = f->comparing;
	int rc;

	if (clock_ms() < f->pause_until_ms)
		return 0;
	rc = open_current(f);
	if (rc == 0)
		rc = at_rest(f, index);
	if (rc == 0)
		rc = transaction(f, index, budget_ms);
	else if (rc == 1)
		rc = 0;
	if (rc == -EBADMSG) {
		search_index_close(f->x);
		f->x = NULL;
		search_feed_compare(f);
		rc = search_index_afresh(f->path, &f->x) < 0 ? -EBADMSG : 1;
	}
	if (rc < 0)
		return failed(f, rc);
	compared_tell(f, was);
	if (f->steps >= (rc == 0 ? 1 : CHECKPOINT_STEPS)) {
		search_index_checkpoint(f->x);
		f->steps = 0;
	}
	return rc;
}

int64_t search_pending(struct search_index *x, struct store_index *index)
{
	char cursor[STORE_ID_MAX];
	sqlite3_stmt *st = NULL;
	int64_t count = 0;
	int rc = search_index_cursor(x, cursor), code;

	if (rc < 0)
		return rc;
	code = sqlite3_prepare_v2(store_index_sql(index), "SELECT count(*) FROM message WHERE id > ?1", -1, &st, NULL);
	if (code == SQLITE_OK)
		code = sqlite3_bind_text(st, 1, cursor, -1, SQLITE_STATIC);
	if (code == SQLITE_OK)
		code = sqlite3_step(st);
	if (code == SQLITE_ROW)
		count = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	return code == SQLITE_ROW ? count : sqlite_error(code);
}

/* Emptied; one that cannot even be emptied is replaced. */
static int rebuild_begin(struct search_feed *f)
{
	int rc = search_index_open(f->path, &f->x);

	for (int i = 0; rc == 0 && i < REBUILD_TRIES; i++) {
		rc = search_index_clear(f->x);
		if (rc != -EBUSY)
			break;
		usleep(REBUILD_PAUSE_US);       /* the keeper is at it */
		rc = i + 1 < REBUILD_TRIES ? 0 : -EBUSY;
	}
	if (rc == -EBADMSG) {
		search_index_close(f->x);
		f->x = NULL;
		rc = search_index_afresh(f->path, &f->x);
	}
	return rc;
}

int search_rebuild(const char *dir, int dir_fd, struct store_index *index, void (*progress)(void *arg, int64_t left), void *arg)
{
	AUTO(search_feed) struct search_feed *f = search_feed_new(dir, dir_fd);
	int64_t tell_ms = clock_ms() + PROGRESS_MS;
	int rc = f ? rebuild_begin(f) : -ENOMEM;

	while (rc >= 0) {
		int64_t left;

		rc = search_feed_step(f, index, REBUILD_BUDGET_MS);
		left = f->x ? search_pending(f->x, index) : -EIO;
		if (rc == 0 && left == 0)
			return 0;
		if (rc >= 0 && clock_ms() >= tell_ms) {
			progress(arg, left);
			tell_ms = clock_ms() + PROGRESS_MS;
		}
		usleep(rc > 0 ? REBUILD_REST_US : REBUILD_PAUSE_US);
	}
	return rc;
}

int search_remove(struct search_index *x, int dir_fd, const char (*ids)[STORE_ID_MAX], size_t count)
{
	int rc = search_index_begin(x);

	for (size_t i = 0; i < count && rc == 0; i++)
		rc = remove_one(x, dir_fd, ids[i]);
	if (rc == 0)
		rc = search_index_commit(x);
	if (rc < 0)
		search_index_rollback(x);
	return rc;
}
