/* Reading the store of the history: what is asked for, newest first, and all in the order of time. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/history_impl.h"
#include "policy/sqlite_file.h"

enum { LATE_MS = 60 * 1000 };

struct range {
	int64_t first, last;
};

struct search {
	struct history_store *s;
	const struct history_query *q;
	history_fn *fn;
	void *arg;
	size_t found;
	int rc;                         /* not 0: it is over */
};

/* The segments that have something of that time, in order, and what has no index, last. */
static int ranges(struct history_store *s, int64_t since_ms, int64_t until_ms, struct range **out, size_t *count)
{
	sqlite3_stmt *st = s->stmt[HISTORY_SEGMENTS];
	size_t n = 0, cap = 64;
	struct range *r = malloc(cap * sizeof(*r));
	int64_t last = 0;
	int code = SQLITE_ROW, rc = r ? sqlite_number(s->sql, "SELECT last FROM segment ORDER BY first DESC LIMIT 1", &last) : -ENOMEM;

	sqlite3_bind_int64(st, 1, since_ms);
	sqlite3_bind_int64(st, 2, until_ms ? until_ms : INT64_MAX);
	while (rc == 0 && (code = sqlite3_step(st)) == SQLITE_ROW) {
		if (n + 1 == cap) {
			struct range *more = reallocarray(r, cap *= 2, sizeof(*r));

			if (!more) {
				rc = -ENOMEM;
				break;
			}
			r = more;
		}
		/* One that has been written since is still read as what has no index. */
		if (sqlite3_column_int64(st, 0) <= last)
			r[n++] = (struct range){ sqlite3_column_int64(st, 0), sqlite3_column_int64(st, 1) };
	}
	if (rc == 0)
		rc = sqlite_error(code);
	sqlite3_reset(st);
	if (rc < 0) {
		free(r);
		return rc;
	}
	r[n++] = (struct range){ last + 1, INT64_MAX };
	*out = r;
	*count = n;
	return 0;
}

/* One row, whose record is in this column. */
static void look(struct search *x, sqlite3_stmt *st, int column)
{
	const char *p = sqlite3_column_blob(st, column);
	size_t len = (size_t)sqlite3_column_bytes(st, column);
	const char *const *cut, *const *lost;
	struct history_record r;

	/* One that cannot be read is not there: the others are. */
	if (!p || history_decode(p, len, x->s->memory, &r, &cut, &lost) < 0 || !history_matches(x->q, &r))
		return;
	x->rc = x->fn(x->arg, &r, cut, lost);
	x->found++;
	if (x->rc == 0 && x->q->limit && x->found >= x->q->limit)
		x->rc = 1;
}

static void walk(struct search *x, enum history_stmt which, struct range range)
{
	sqlite3_stmt *st = x->s->stmt[which];
	int64_t since_ms = x->q->since_ms, until_ms = x->q->until_ms ? x->q->until_ms : INT64_MAX;
	int code = SQLITE_DONE;

	sqlite3_bind_int64(st, 1, range.first);
	sqlite3_bind_int64(st, 2, range.last);
	while (x->rc == 0 && (code = sqlite3_step(st)) == SQLITE_ROW) {
		int64_t at = sqlite3_column_int64(st, 0);

		if (at >= since_ms && at < until_ms)
			look(x, st, 1);
	}
	if (x->rc == 0)
		x->rc = sqlite_error(code);
	sqlite3_reset(st);
}

/* The places of one key in a segment: their number, or -errno. */
static int posting(struct history_store *s, int64_t segment, uint64_t key, unsigned short *places)
{
	sqlite3_stmt *st = s->stmt[HISTORY_POSTING];
	int code, n = 0;

	sqlite3_bind_int64(st, 1, segment);
	sqlite3_bind_int64(st, 2, (int64_t)key);
	code = sqlite3_step(st);
	if (code == SQLITE_ROW) {
		const unsigned char *p = sqlite3_column_blob(st, 0);

		n = sqlite3_column_bytes(st, 0) / 2;
		if (n > HISTORY_SEGMENT)
			n = HISTORY_SEGMENT;
		for (int i = 0; i < n; i++)
			places[i] = (unsigned short)(p[2 * i] | p[2 * i + 1] << 8);
	}
	sqlite3_reset(st);
	return code == SQLITE_ROW || code == SQLITE_DONE ? n : sqlite_error(code);
}

/* Those of a that are among b, too: both in order. */
static int both(unsigned short *a, int na, const unsigned short *b, int nb)
{
	int n = 0;

	for (int i = 0, k = 0; i < na && k < nb;) {
		if (a[i] == b[k])
			a[n++] = a[i++], k++;
		else if (a[i] < b[k])
			i++;
		else
			k++;
	}
	return n;
}

static void look_at(struct search *x, int64_t id)
{
	sqlite3_stmt *st = x->s->stmt[HISTORY_RECORD];
	int code;

	sqlite3_bind_int64(st, 1, id);
	code = sqlite3_step(st);
	if (code == SQLITE_ROW)
		look(x, st, 0);
	else if (code != SQLITE_DONE)
		x->rc = sqlite_error(code);
	sqlite3_reset(st);
}

static void by_index(struct search *x, int64_t segment, const uint64_t *keys, size_t count)
{
	static unsigned short places[HISTORY_SEGMENT], more[HISTORY_SEGMENT];
	int n = posting(x->s, segment, keys[0], places);

	for (size_t i = 1; i < count && n > 0; i++) {
		int m = posting(x->s, segment, keys[i], more);

		n = m < 0 ? m : both(places, n, more, m);
	}
	if (n < 0)
		x->rc = n;
	while (n-- > 0 && x->rc == 0)
		look_at(x, segment + places[n]);
}

int history_store_find(struct history_store *s, const struct history_query *q, history_fn *fn, void *arg)
{
	struct search x = { .s = s, .q = q, .fn = fn, .arg = arg };
	uint64_t keys[HISTORY_QUERY_KEYS_MAX];
	size_t count = history_query_keys(q, keys), n = 0;
	struct range *range = NULL;
	bool limited;

	/* What is removed meanwhile stays to be seen. */
	if (!s->begun)
		x.rc = sqlite_exec(s->sql, "BEGIN");
	if (x.rc < 0)
		return x.rc;
	x.rc = ranges(s, q->since_ms, q->until_ms, &range, &n);
	for (bool tail = true; n > 0 && x.rc == 0; tail = false) {
		n--;
		if (tail || count == 0)
			walk(&x, HISTORY_DOWN, range[n]);
		else
			by_index(&x, range[n].first, keys, count);
	}
	free(range);
	if (!s->begun)
		(void)sqlite_exec(s->sql, "ROLLBACK");
	limited = x.rc == 1 && q->limit && x.found >= q->limit;
	return limited ? 0 : x.rc;
}

int history_store_each(struct history_store *s, int64_t since_ms, int64_t until_ms, history_fn *fn, void *arg)
{
	struct history_query q = { .since_ms = since_ms, .until_ms = until_ms };
	struct search x = { .s = s, .q = &q, .fn = fn, .arg = arg };
	struct range *range = NULL;
	size_t n = 0;

	/* A segment at a time: who reads for long keeps the WAL from being emptied. */
	x.rc = ranges(s, since_ms, until_ms, &range, &n);
	for (size_t i = 0; i < n && x.rc == 0; i++)
		walk(&x, HISTORY_UP, range[i]);
	free(range);
	return x.rc;
}

int history_store_begin(struct history_store *s, int64_t since_ms, int64_t until_ms, int64_t *next, int64_t *last)
{
	struct range *range = NULL;
	int64_t most = 0;
	size_t n = 0;
	int rc = ranges(s, since_ms, until_ms, &range, &n);

	if (rc == 0)
		rc = sqlite_number(s->sql, "SELECT ifnull(max(id), 0) FROM record", &most);
	/* What has no index yet: whether it is all of a later time. Records come in the order of time, but for a second. */
	if (rc == 0 && n > 1) {
		int64_t at = 0;
		char text[96];

		snprintf(text, sizeof(text), "SELECT at FROM record WHERE id >= %lld ORDER BY id LIMIT 1", (long long)range[n - 1].first);
		rc = sqlite_number(s->sql, text, &at);
		if (at == 0 || (until_ms && at >= until_ms + LATE_MS))
			most = range[n - 2].last;
	}
	if (rc == 0) {
		*next = range[0].first;
		*last = most;
	}
	free(range);
	return rc;
}

int history_store_step(struct history_store *s, int64_t since_ms, int64_t until_ms, size_t count, int64_t *next, int64_t last, history_fn *fn, void *arg)
{
	struct history_query q = { .since_ms = since_ms, .until_ms = until_ms };
	struct search x = { .s = s, .q = &q, .fn = fn, .arg = arg };
	int64_t first = *next, end = last - first < (int64_t)count ? last : first + (int64_t)count - 1;

	if (first > last)
		return 0;
	walk(&x, HISTORY_UP, (struct range){ first, end });
	if (x.rc)
		return x.rc;
	*next = end + 1;
	return end < last;
}

int history_store_whole(struct history_store *s, int64_t since_ms)
{
	int64_t id = 0, at = 0;
	int rc = sqlite_number(s->sql, "SELECT id FROM record ORDER BY id LIMIT 1", &id);

	if (rc == 0)
		rc = sqlite_number(s->sql, "SELECT at FROM record ORDER BY id LIMIT 1", &at);
	return rc < 0 ? rc : id <= 1 || at < since_ms;
}

int64_t history_store_count(struct history_store *s)
{
	int64_t n = 0;

	/* Each alone is found at an end of the tree; both in one SELECT read every record, and this is asked each second. */
	(void)sqlite_number(s->sql, "SELECT ifnull((SELECT max(id) FROM record) - (SELECT min(id) FROM record) + 1, 0)", &n);
	return n;
}

int64_t history_store_oldest_ms(struct history_store *s)
{
	int64_t at = 0;

	(void)sqlite_number(s->sql, "SELECT at FROM record ORDER BY id LIMIT 1", &at);
	return at;
}
