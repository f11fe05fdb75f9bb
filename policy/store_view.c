#include "policy/store_view.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "policy/sqlite_file.h"
#include "policy/store_file.h"
#include "policy/store_index.h"

enum { PAGE_ROWS = 500, PAGE_FIRST = 100 };

enum { COLUMN_ID, COLUMN_AT, COLUMN_BYTES, COLUMN_DISK, COLUMN_TEXT, TEXTS = 10 };
#define COLUMNS                                                                                                        \
	"m.id, m.at, m.bytes, m.disk, m.sender, m.client, m.rule, m.message_id, m.header_from, m.subject, m.recipients, m.classes, m.state"

struct store_view {
	int dir_fd;
	char *index_path;
	struct store_index *index;
	int index_rc;                   /* why there is none */
};

static int index_join(struct store_view *v)
{
	v->index_rc = store_index_join(v->index_path, &v->index);
	return v->index_rc;
}

int store_view_open(const char *dir, struct store_view **out, struct buf *err)
{
	struct store_view *v = calloc(1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	v->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (v->dir_fd < 0) {
		int rc = -errno;

		if (rc == -ENOENT)
			buf_addf(err, "%s: there is none (has this gateway run?)", dir);
		else
			buf_addf(err, "%s: %s", dir, strerror(-rc));
		free(v);
		return rc;
	}
	if (asprintf(&v->index_path, "%s/quarantine.db", dir) < 0) {
		v->index_path = NULL;
		store_view_close(v);
		return -ENOMEM;
	}
	(void)index_join(v);
	*out = v;
	return 0;
}

void store_view_close(struct store_view *v)
{
	if (!v)
		return;
	store_index_close(v->index);
	close(v->dir_fd);
	free(v->index_path);
	free(v);
}

int store_view_dir(const struct store_view *v)
{
	return v->dir_fd;
}

const char *store_view_index_path(const struct store_view *v)
{
	return v->index_path;
}

int store_view_again(struct store_view *v)
{
	store_index_close(v->index);
	v->index = NULL;
	return index_join(v);
}

struct store_index *store_view_index(struct store_view *v, struct buf *err)
{
	if (v->index || !err)
		return v->index;
	buf_addf(err, "%s: ", v->index_path);
	if (v->index_rc == -ENOENT)
		buf_adds(err, "there is no index; `gatepost quarantine reindex` makes it from the messages");
	else if (v->index_rc == -EBADMSG)
		buf_adds(err, "the index is damaged; `gatepost quarantine reindex` makes it again from the messages");
	else if (v->index_rc == -EPROTONOSUPPORT)
		buf_adds(err, "the index is of another version of gatepost: restart the gateway, or `gatepost quarantine reindex`");
	else
		buf_adds(err, strerror(-v->index_rc));
	return NULL;
}

/* ---- pages ---- */

struct page {
	struct store_entry *row;
	char **text;                    /* what the rows point to: TEXTS of each */
	size_t count, max;
};

static struct page *page_new(size_t max)
{
	struct page *p = calloc(1, sizeof(*p));

	if (p) {
		p->max = max;
		p->row = calloc(max, sizeof(*p->row));
		p->text = calloc(max * TEXTS, sizeof(*p->text));
	}
	return p;
}

static void page_clear(struct page *p)
{
	for (size_t i = 0; i < p->count * TEXTS; i++) {
		free(p->text[i]);
		p->text[i] = NULL;
	}
	p->count = 0;
}

static void page_free(struct page *p)
{
	if (!p)
		return;
	if (p->text)
		page_clear(p);
	free(p->row);
	free(p->text);
	free(p);
}

static const char *or_empty(const char *s)
{
	return s ? s : "";
}

static void row_take(struct page *p, sqlite3_stmt *st)
{
	struct store_entry *e = &p->row[p->count];
	char **text = &p->text[p->count * TEXTS];
	int columns = sqlite3_column_count(st);

	for (int i = COLUMN_TEXT; i < columns && i < COLUMN_TEXT + TEXTS; i++) {
		const char *s = (const char *)sqlite3_column_text(st, i);

		text[i - COLUMN_TEXT] = s ? strdup(s) : NULL;
	}
	*e = (struct store_entry){ .at_s = sqlite3_column_int64(st, COLUMN_AT), .bytes = (uint64_t)sqlite3_column_int64(st, COLUMN_BYTES),
				   .disk = (uint64_t)sqlite3_column_int64(st, COLUMN_DISK), .sender = text[0], .client = text[1],
				   .rule = text[2], .message_id = text[3], .header_from = text[4], .subject = text[5],
				   .recipients = or_empty(text[6]), .classes = or_empty(text[7]), .state = or_empty(text[8]),
				   .facts = text[9] };
	snprintf(e->id, sizeof(e->id), "%s", or_empty((const char *)sqlite3_column_text(st, COLUMN_ID)));
	p->count++;
}

static int page_read(struct page *p, sqlite3_stmt *st)
{
	int code = SQLITE_DONE;

	page_clear(p);
	while (p->count < p->max && (code = sqlite3_step(st)) == SQLITE_ROW)
		row_take(p, st);
	sqlite3_reset(st);
	return sqlite_error(code);
}

static const char *columns_of(bool facts)
{
	return facts ? COLUMNS ", (SELECT facts FROM facts WHERE id = m.id)" : COLUMNS;
}

/* All pages; told is their number so far. */
static int pages_read(const struct store_list *l, sqlite3_stmt *st, struct page *p, int64_t *told,
		      int (*fn)(void *arg, const struct store_entry *e), void *arg)
{
	const struct timespec pause = { l->pause_us / 1000000, l->pause_us % 1000000 * 1000 };
	char after[STORE_ID_MAX] = "";
	size_t wanted = PAGE_FIRST;             /* somebody is waiting for the first ones */
	int rc = 0;

	for (;;) {
		int64_t left = l->limit ? l->limit - *told : (int64_t)wanted;

		if (left <= 0)
			return 0;
		if (*told > 0 && l->pause_us > 0)
			nanosleep(&pause, NULL);
		if (left < (int64_t)wanted)
			wanted = (size_t)left;
		store_filter_bind(st, l->filter, l->oldest_first, after, (int64_t)wanted);
		rc = page_read(p, st);
		if (rc < 0)
			return rc;
		for (size_t i = 0; i < p->count; i++) {
			rc = fn(arg, &p->row[i]);
			if (rc)
				return rc;
			++*told;
		}
		if (p->count < wanted)
			return 0;
		snprintf(after, sizeof(after), "%s", p->row[p->count - 1].id);
		wanted = PAGE_ROWS;
	}
}

int64_t store_view_list(struct store_view *v, const struct store_list *l, int (*fn)(void *arg, const struct store_entry *e), void *arg)
{
	struct page *p = page_new(PAGE_ROWS);
	sqlite3_stmt *st = NULL;
	int64_t told = 0;
	int rc = v->index ? 0 : v->index_rc;

	if (!p || !p->row || !p->text)
		rc = -ENOMEM;
	if (rc == 0)
		rc = store_filter_prepare(store_index_sql(v->index), l->filter, l->oldest_first, columns_of(l->facts), &st);
	if (rc == 0)
		rc = pages_read(l, st, p, &told, fn, arg);
	sqlite3_finalize(st);
	page_free(p);
	return rc ? rc : told;
}

int store_view_entry(struct store_view *v, const char *id, int (*fn)(void *arg, const struct store_entry *e), void *arg)
{
	struct page *p = page_new(1);
	sqlite3_stmt *st = NULL;
	int rc = v->index ? 0 : v->index_rc;

	if (!p || !p->row || !p->text)
		rc = -ENOMEM;
	if (rc == 0)
		rc = sqlite_error(sqlite3_prepare_v2(store_index_sql(v->index), "SELECT " COLUMNS " FROM message m WHERE m.id = ?1", -1, &st, NULL));
	if (rc == 0) {
		sqlite3_bind_text(st, 1, id, -1, SQLITE_STATIC);
		rc = page_read(p, st);
	}
	if (rc == 0)
		rc = p->count ? fn(arg, &p->row[0]) : -ENOENT;
	sqlite3_finalize(st);
	page_free(p);
	return rc;
}

/* ---- one message ---- */

int store_view_message(const struct store_view *v, const char *id)
{
	return store_file_open(v->dir_fd, id, ".eml");
}

json_t *store_view_record(const struct store_view *v, const char *id)
{
	return store_file_record(v->dir_fd, id);
}

static bool is_part_of_id(const char *text)
{
	size_t len = strlen(text);

	return len > 0 && len <= STORE_ID_LEN && strspn(text, "0123456789abcdefghjkmnpqrstvwxyz") == len;
}

static int find_prefix(struct store_view *v, const char *text, char id[STORE_ID_MAX])
{
	char high[STORE_ID_MAX], found[2][STORE_ID_MAX];
	sqlite3_stmt *st = NULL;
	int code = SQLITE_DONE, count = 0;
	int rc = sqlite_error(sqlite3_prepare_v2(store_index_sql(v->index), "SELECT id FROM message WHERE id >= ?1 AND id < ?2 LIMIT 2", -1,
						 &st, NULL));

	if (rc < 0)
		return rc;
	snprintf(high, sizeof(high), "%s~", text);
	sqlite3_bind_text(st, 1, text, -1, SQLITE_STATIC);
	sqlite3_bind_text(st, 2, high, -1, SQLITE_STATIC);
	while (count < 2 && (code = sqlite3_step(st)) == SQLITE_ROW)
		snprintf(found[count++], STORE_ID_MAX, "%s", or_empty((const char *)sqlite3_column_text(st, 0)));
	rc = sqlite_error(code);
	sqlite3_finalize(st);
	if (rc == 0)
		rc = count == 0 ? -ENOENT : count == 1 ? 0 : -ENOTUNIQ;
	if (rc == 0)
		memcpy(id, found[0], STORE_ID_MAX);
	return rc;
}

int store_view_find(struct store_view *v, const char *text, char id[STORE_ID_MAX])
{
	int fd;

	if (!is_part_of_id(text))
		return -EINVAL;
	if (strlen(text) == STORE_ID_LEN) {
		fd = store_view_message(v, text);
		if (fd >= 0)
			close(fd);
		else if (fd != -ENOENT)
			return fd;
		/* Without its file, it may be in the index still. */
		else if (!v->index || !store_index_has(v->index, text))
			return -ENOENT;
		snprintf(id, STORE_ID_MAX, "%s", text);
		return 0;
	}
	return v->index ? find_prefix(v, text, id) : v->index_rc;
}

/* ---- those that were deleted ---- */

static json_t *text_json(sqlite3_stmt *st, int at)
{
	const char *s = (const char *)sqlite3_column_text(st, at);

	return s ? json_string(s) : json_null();
}

static json_t *deleted_json(sqlite3_stmt *st)
{
	return json_pack("{s:o, s:I, s:o, s:o, s:o, s:o, s:o}", "id", text_json(st, 0), "at", (json_int_t)sqlite3_column_int64(st, 1), "who",
			 text_json(st, 2), "why", text_json(st, 3), "sender", text_json(st, 4), "recipients", text_json(st, 5), "subject",
			 text_json(st, 6));
}

#define DELETED "SELECT id, at, who, why, sender, recipients, subject FROM deleted "

json_t *store_view_deleted(struct store_view *v, const char *id)
{
	sqlite3_stmt *st = NULL;
	json_t *out = NULL;

	if (!v->index || sqlite3_prepare_v2(store_index_sql(v->index), DELETED "WHERE id = ?1", -1, &st, NULL) != SQLITE_OK)
		return NULL;
	sqlite3_bind_text(st, 1, id, -1, SQLITE_STATIC);
	if (sqlite3_step(st) == SQLITE_ROW)
		out = deleted_json(st);
	sqlite3_finalize(st);
	return out;
}

/* One page: what is newer than nothing else. */
static int deletions_page(sqlite3_stmt *st, int64_t *at, char id[STORE_ID_MAX], json_t *rows)
{
	int code;

	sqlite3_bind_int64(st, 1, *at);
	sqlite3_bind_text(st, 2, id, -1, SQLITE_TRANSIENT);
	sqlite3_bind_int(st, 3, PAGE_ROWS);
	while ((code = sqlite3_step(st)) == SQLITE_ROW) {
		json_array_append_new(rows, deleted_json(st));
		*at = sqlite3_column_int64(st, 1);
		snprintf(id, STORE_ID_MAX, "%s", or_empty((const char *)sqlite3_column_text(st, 0)));
	}
	sqlite3_reset(st);
	return sqlite_error(code);
}

int64_t store_view_deletions(struct store_view *v, int64_t limit, int (*fn)(void *arg, const json_t *deleted), void *arg)
{
	char id[STORE_ID_MAX] = "~";
	sqlite3_stmt *st = NULL;
	int64_t at = INT64_MAX, told = 0;
	int rc = v->index ? 0 : v->index_rc;
	size_t count = PAGE_ROWS;

	if (rc == 0)
		rc = sqlite_error(sqlite3_prepare_v2(store_index_sql(v->index), DELETED "WHERE (at, id) < (?1, ?2) ORDER BY at DESC, id DESC LIMIT ?3", -1,
						     &st, NULL));
	while (rc == 0 && count == PAGE_ROWS && (!limit || told < limit)) {
		json_t *rows = json_array(), *one;
		size_t i;

		rc = deletions_page(st, &at, id, rows);
		count = json_array_size(rows);
		json_array_foreach(rows, i, one)
			if (rc == 0 && (!limit || told < limit)) {
				rc = fn(arg, one);
				told++;
			}
		json_decref(rows);
	}
	sqlite3_finalize(st);
	return rc ? rc : told;
}
