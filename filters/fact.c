#include "filters/fact.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_MAX = 64 * 1024, WHY_MAX = 512, PLACES = 1024 };

static struct { const struct fact_def *def; int owner; } registry[FACT_MAX];
static int registered;
/* Names are looked up many times for each message: number + 1 of the fact, at the place of its name or the next free one. */
static uint16_t place[PLACES];
_Static_assert(PLACES >= 4 * FACT_MAX, "places are sought by trying one after the other");

/* Where name stands, or would stand. FNV-1a. */
static uint16_t *place_of(const char *name, size_t len)
{
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)name[i]) * 16777619u;
	for (;; h++) {
		uint16_t *at = &place[h % PLACES];
		const char *there = *at ? registry[*at - 1].def->name : NULL;

		if (!there || (memcmp(there, name, strnlen(there, len)) == 0 && strlen(there) == len))
			return at;
	}
}

void fact_register(const struct fact_def *table, int owner)
{
	for (; table->name; table++) {
		uint16_t *at = place_of(table->name, strlen(table->name));

		assert(registered < FACT_MAX && !*at);
		registry[registered] = (typeof(registry[0])){ table, owner };
		*at = (uint16_t)++registered;
	}
}

int fact_count(void)
{
	return registered;
}

int fact_find(const char *name, size_t len)
{
	return (int)*place_of(name, len) - 1;
}

const struct fact_def *fact_def(int id)
{
	assert(id >= 0 && id < registered);
	return registry[id].def;
}

int fact_owner(int id)
{
	assert(id >= 0 && id < registered);
	return registry[id].owner;
}

const char *stage_name(enum stage s)
{
	static const char *const names[STAGE_COUNT] = { "connect", "helo", "mail", "rcpt", "header", "data" };

	return names[s];
}

static void fact_clear(struct fact *f)
{
	for (size_t i = 0; i < f->count && f->text; i++)
		free(f->text[i]);
	free(f->text);
	free(f->why);
	f->text = NULL;
	f->why = NULL;
	f->count = 0;
}

void facts_release(struct facts *f)
{
	for (size_t i = 0; i < f->count; i++)
		fact_clear(&f->v[i]);
	free(f->v);
	*f = (struct facts){ 0 };
}

static struct fact *find(const struct facts *f, int id)
{
	for (size_t i = 0; i < f->count; i++)
		if (f->v[i].id == id)
			return &f->v[i];
	return NULL;
}

static int id_of(const char *name)
{
	int id = fact_find(name, strlen(name));

	assert(id != FACT_NONE);
	return id;
}

/* The entry for name, made if it is not there; NULL: no memory. */
static struct fact *entry(struct facts *f, const char *name)
{
	int id = id_of(name);
	struct fact *e = find(f, id);

	if (e)
		return e;
	if (f->count == f->cap) {
		size_t cap = f->cap ? f->cap * 2 : 4;
		struct fact *v = reallocarray(f->v, cap, sizeof(*v));

		if (!v)
			return NULL;
		f->v = v;
		f->cap = cap;
	}
	e = &f->v[f->count++];
	*e = (struct fact){ .id = (int16_t)id };
	return e;
}

int facts_take(struct facts *f, struct facts *from)
{
	size_t cap = f->count + from->count;
	struct fact *v = cap > f->cap ? reallocarray(f->v, cap, sizeof(*v)) : f->v;

	if (cap > f->cap && !v)
		return -ENOMEM;
	f->v = v;
	f->cap = cap > f->cap ? cap : f->cap;
	for (size_t i = 0; i < from->count; i++) {
		struct fact *e = find(f, from->v[i].id);

		if (e)
			fact_clear(e);
		else
			e = &f->v[f->count++];
		*e = from->v[i];
	}
	free(from->v);
	*from = (struct facts){ 0 };
	return 0;
}

static bool is_text(enum fact_type type)
{
	return type != FACT_NUMBER && type != FACT_BOOL;
}

/* One value more, and the fact is known. Without memory for it nothing is: half a list is none, and a fact of one value has that. */
static int append(struct fact *e, const char *value)
{
	char **text = reallocarray(e->text, (size_t)e->count + 1, sizeof(*text));

	if (text) {
		e->text = text;
		text[e->count] = strndup(value, TEXT_MAX);
	}
	if (!text || !text[e->count]) {
		fact_clear(e);
		e->state = FACT_TEMPERROR;
		return -ENOMEM;
	}
	e->count++;
	e->state = FACT_KNOWN;
	return 0;
}

static bool is_word(const struct fact_def *d, const char *value)
{
	for (const char *const *w = d->words; *w; w++)
		if (strcmp(*w, value) == 0)
			return true;
	return false;
}

int facts_set(struct facts *f, const char *name, const char *value)
{
	const struct fact_def *d = fact_def(id_of(name));
	struct fact *e = entry(f, name);

	assert(is_text(d->type));
	assert(d->type != FACT_WORD || is_word(d, value));
	if (!e)
		return -ENOMEM;
	fact_clear(e);
	return append(e, value);
}

static int set_why(struct fact *e, const char *fmt, va_list ap)
{
	char why[WHY_MAX];

	if (!fmt)
		return 0;
	vsnprintf(why, sizeof(why), fmt, ap);
	if (!why[0])
		return 0;
	free(e->why);
	e->why = strdup(why);
	return e->why ? 0 : -ENOMEM;
}

int facts_set_why(struct facts *f, const char *name, const char *value, const char *why_fmt, ...)
{
	int rc = facts_set(f, name, value);
	va_list ap;

	if (rc < 0)
		return rc;
	va_start(ap, why_fmt);
	rc = set_why(entry(f, name), why_fmt, ap);
	va_end(ap);
	return rc;
}

int facts_why(struct facts *f, const char *name, const char *why_fmt, ...)
{
	struct fact *e = entry(f, name);
	va_list ap;
	int rc;

	if (!e)
		return -ENOMEM;
	va_start(ap, why_fmt);
	rc = set_why(e, why_fmt, ap);
	va_end(ap);
	return rc;
}

int facts_set_num(struct facts *f, const char *name, int64_t value)
{
	struct fact *e = entry(f, name);

	if (!e)
		return -ENOMEM;
	assert(fact_def(e->id)->type == FACT_NUMBER);
	fact_clear(e);
	e->state = FACT_KNOWN;
	e->number = value;
	return 0;
}

int facts_set_bool(struct facts *f, const char *name, bool value)
{
	struct fact *e = entry(f, name);

	if (!e)
		return -ENOMEM;
	assert(fact_def(e->id)->type == FACT_BOOL);
	fact_clear(e);
	e->state = FACT_KNOWN;
	e->number = value;
	return 0;
}

int facts_add(struct facts *f, const char *name, const char *value)
{
	struct fact *e = entry(f, name);

	if (!e)
		return -ENOMEM;
	assert(fact_def(e->id)->list && is_text(fact_def(e->id)->type));
	assert(fact_def(e->id)->type != FACT_WORD || is_word(fact_def(e->id), value));
	if (e->state == FACT_TEMPERROR)
		return -ENOMEM;
	return e->count < FACT_LIST_MAX ? append(e, value) : 0;
}

int facts_add_once(struct facts *f, const char *name, const char *value)
{
	const struct fact *have = facts_get_name(f, name);

	for (size_t i = 0; have && i < have->count; i++)
		if (strcmp(have->text[i], value) == 0)
			return 0;
	return have && have->count == FACT_LIST_MAX ? -ENOSPC : facts_add(f, name, value);
}

int facts_set_empty(struct facts *f, const char *name)
{
	struct fact *e = entry(f, name);

	if (!e)
		return -ENOMEM;
	assert(fact_def(e->id)->list);
	fact_clear(e);
	e->state = FACT_KNOWN;
	return 0;
}

int facts_temperror(struct facts *f, const char *name, const char *why)
{
	struct fact *e = entry(f, name);

	if (!e)
		return -ENOMEM;
	fact_clear(e);
	e->state = FACT_TEMPERROR;
	if (why && !(e->why = strdup(why)))
		return -ENOMEM;
	return 0;
}

const struct fact *facts_get(const struct facts *f, int id)
{
	const struct fact *e = find(f, id);

	return e && e->state != FACT_UNKNOWN ? e : NULL;
}

const struct fact *facts_get_name(const struct facts *f, const char *name)
{
	return facts_get(f, id_of(name));
}

const char *facts_word(const struct facts *f, const char *name)
{
	const struct fact *e = facts_get_name(f, name);

	return e && e->state == FACT_KNOWN && e->count ? e->text[0] : NULL;
}
