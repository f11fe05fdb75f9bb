#include "policy/store_retention.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/sqlite_file.h"
#include "policy/store_index.h"

enum { SETS_MAX = 1000 };

/* The classes that messages have: one for each combination. */
struct set {
	char *classes;
	uint64_t disk;
};

struct sets {
	struct set v[SETS_MAX];
	size_t count;
};

/* Too many, oldest of several combinations. */
struct candidate {
	char id[STORE_ID_MAX];
	uint64_t disk;
};

static bool has_class(const char *classes, const char *name)
{
	char word[STORE_RETENTION_NAME + 2];

	snprintf(word, sizeof(word), " %s ", name);
	return strstr(classes, word) != NULL;
}

struct store_retention store_retention_by_size(const struct store_retention *r)
{
	struct store_retention out = *r;

	out.keep_s = 0;
	for (uint32_t i = 0; i < STORE_RETENTION_CLASSES; i++)
		out.class[i].keep_s = -1;
	return out;
}

int64_t store_retention_keep(const struct store_retention *r, const char *classes)
{
	int64_t keep_s = -1;

	for (uint32_t i = 0; i < r->class_count && i < STORE_RETENTION_CLASSES; i++) {
		const struct store_retention_class *c = &r->class[i];

		if (c->keep_s < 0 || !has_class(classes, c->name))
			continue;
		if (c->keep_s == 0)
			return 0;
		if (c->keep_s > keep_s)
			keep_s = c->keep_s;
	}
	return keep_s < 0 ? r->keep_s : keep_s;
}

static void sets_free(struct sets *s)
{
	for (size_t i = 0; s && i < s->count; i++)
		free(s->v[i].classes);
	free(s);
}

static int sets_read(struct store_index *x, struct sets **out)
{
	struct sets *s = calloc(1, sizeof(*s));
	sqlite3_stmt *st = NULL;
	int code = SQLITE_DONE, rc;

	if (!s)
		return -ENOMEM;
	rc = sqlite_error(sqlite3_prepare_v2(store_index_sql(x), "SELECT classes, disk FROM total WHERE messages > 0", -1, &st, NULL));
	while (rc == 0 && s->count < SETS_MAX && (code = sqlite3_step(st)) == SQLITE_ROW) {
		const char *text = (const char *)sqlite3_column_text(st, 0);
		int64_t disk = sqlite3_column_int64(st, 1);

		s->v[s->count].classes = strdup(text ? text : "");
		s->v[s->count].disk = disk > 0 ? (uint64_t)disk : 0;
		if (!s->v[s->count++].classes)
			rc = -ENOMEM;
	}
	if (rc == 0)
		rc = sqlite_error(code);
	sqlite3_finalize(st);
	if (rc < 0) {
		sets_free(s);
		return rc;
	}
	*out = s;
	return 0;
}

/* The oldest of one combination, before the id `before`: at most max into out. How many, or -errno. */
static int oldest(struct store_index *x, const char *classes, const char *before, struct candidate *out, int max)
{
	sqlite3_stmt *st = NULL;
	int count = 0, code = SQLITE_DONE;
	int rc = sqlite_error(sqlite3_prepare_v2(store_index_sql(x), "SELECT id, disk FROM message WHERE classes = ?1 AND id < ?2 ORDER BY id LIMIT ?3",
						 -1, &st, NULL));

	if (rc < 0)
		return rc;
	sqlite3_bind_text(st, 1, classes, -1, SQLITE_STATIC);
	sqlite3_bind_text(st, 2, before, -1, SQLITE_STATIC);
	sqlite3_bind_int(st, 3, max);
	while (count < max && (code = sqlite3_step(st)) == SQLITE_ROW) {
		const char *id = (const char *)sqlite3_column_text(st, 0);

		snprintf(out[count].id, STORE_ID_MAX, "%s", id ? id : "");
		out[count++].disk = (uint64_t)sqlite3_column_int64(st, 1);
	}
	rc = sqlite_error(code);
	sqlite3_finalize(st);
	return rc < 0 ? rc : count;
}

static int due_by_age(struct store_index *x, const struct store_retention *r, const struct sets *s, int64_t now_s, struct candidate *out, int max)
{
	int count = 0;

	for (size_t i = 0; i < s->count && count < max; i++) {
		int64_t keep_s = store_retention_keep(r, s->v[i].classes);
		char before[STORE_ID_MAX];
		int n;

		if (keep_s <= 0 || now_s <= keep_s)
			continue;
		store_id_make((now_s - keep_s) * 1000, 0, before);
		n = oldest(x, s->v[i].classes, before, out + count, max - count);
		if (n < 0)
			return n;
		count += n;
	}
	return count;
}

static int by_id(const void *a, const void *b)
{
	return strcmp(((const struct candidate *)a)->id, ((const struct candidate *)b)->id);
}

/* name NULL: all. As many of the oldest as bring it below the bound, at most max. */
static int due_by_size(struct store_index *x, const struct sets *s, const char *name, uint64_t bound, struct candidate *out, int max)
{
	struct candidate *all = NULL;
	uint64_t disk = 0;
	size_t sets = 0;
	int count = 0, taken = 0;

	for (size_t i = 0; i < s->count; i++)
		if (!name || has_class(s->v[i].classes, name)) {
			disk += s->v[i].disk;
			sets++;
		}
	if (bound == 0 || disk <= bound)
		return 0;
	all = calloc(sets * (size_t)max + 1, sizeof(*all));
	if (!all)
		return -ENOMEM;
	for (size_t i = 0; i < s->count; i++)
		if (!name || has_class(s->v[i].classes, name)) {
			int n = oldest(x, s->v[i].classes, "~", all + count, max);

			if (n < 0) {
				free(all);
				return n;
			}
			count += n;
		}
	qsort(all, (size_t)count, sizeof(*all), by_id);
	for (; taken < count && taken < max && disk > bound; taken++) {
		disk -= all[taken].disk < disk ? all[taken].disk : disk;
		out[taken] = all[taken];
	}
	free(all);
	return taken;
}

int store_retention_due(struct store_index *x, const struct store_retention *r, int64_t now_s, char (*id)[STORE_ID_MAX], int max, const char **why)
{
	struct candidate *found = calloc((size_t)max + 1, sizeof(*found));
	struct sets *s = NULL;
	int count = found ? sets_read(x, &s) : -ENOMEM;

	*why = "expired";
	if (count == 0)
		count = due_by_age(x, r, s, now_s, found, max);
	if (count == 0) {
		*why = "too much";
		count = due_by_size(x, s, NULL, r->max_bytes, found, max);
	}
	for (uint32_t i = 0; count == 0 && i < r->class_count && i < STORE_RETENTION_CLASSES; i++)
		count = due_by_size(x, s, r->class[i].name, r->class[i].max_bytes, found, max);
	for (int i = 0; i < count; i++)
		memcpy(id[i], found[i].id, STORE_ID_MAX);
	sets_free(s);
	free(found);
	return count;
}
