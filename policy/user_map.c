#include "policy/user_map.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filters/domain.h"

struct entry {
	uint32_t key;                   /* where it begins in keys */
	uint32_t line;
	uint32_t list;
};

struct user_map {
	struct buf keys;                /* each with its NUL */
	struct entry *entry;
	size_t count, room;
	struct user_map_backends *list;
	size_t list_count;
};

struct reading {
	struct user_map *map;
	const char *path;
	unsigned line;
	user_map_find_fn *find;
	const void *arg;
	struct buf *errors;
	int error_count;
	bool failed;                    /* no memory */
};

/* --- names --- */

/* A name as it is compared: lower-case, the domain as A-labels. Its length; 0: it is none. */
static size_t key_make(const char *p, size_t len, char out[USER_MAP_USER_MAX + 1])
{
	const char *at = memrchr(p, '@', len);
	size_t local = at ? (size_t)(at - p) : len;
	char domain[DOMAIN_MAX] = "";

	if (len == 0 || len > USER_MAP_USER_MAX || (at && domain_canonical(at + 1, len - local - 1, domain) < 0))
		return 0;
	if (at && local + 1 + strlen(domain) > USER_MAP_USER_MAX)
		return 0;
	for (size_t i = 0; i < local; i++) {
		unsigned char c = (unsigned char)p[i];

		if (c <= ' ' || c == 127)
			return 0;
		out[i] = c >= 'A' && c <= 'Z' ? (char)(c | 32) : (char)c;
	}
	out[local] = '\0';
	if (!at)
		return local;
	out[local] = '@';
	strcpy(out + local + 1, domain);
	return local + 1 + strlen(domain);
}

static const char *key_of(const struct user_map *m, const struct entry *e)
{
	return m->keys.data + e->key;
}

/* --- reading --- */

static void complain(struct reading *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void complain(struct reading *r, const char *fmt, ...)
{
	char text[USER_MAP_USER_MAX + 200];
	va_list ap;

	if (++r->error_count > USER_MAP_ERRORS_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	buf_addf(r->errors, "%s:%u: %s\n", r->path, r->line, text);
}

/* The next word of the line at *p; NULL: there is none, or a comment begins. It ends with NUL. */
static char *word(char **p)
{
	char *w = *p + strspn(*p, " \t\r");

	if (!*w || *w == '#')
		return NULL;
	*p = w + strcspn(w, " \t\r");
	if (**p)
		*(*p)++ = '\0';
	return w;
}

/* false: said. */
static bool backends_read(struct reading *r, char *p, struct user_map_backends *out)
{
	char *name;

	*out = (struct user_map_backends){ 0 };
	while ((name = word(&p))) {
		const char *why = "there is no such backend";
		int number = r->find(r->arg, name, &why);

		if (number < 0) {
			complain(r, "\"%.100s\": %s", name, why);
			return false;
		}
		if (out->count == USER_MAP_BACKENDS_MAX) {
			complain(r, "more backends than a line can have, expected %d at most", USER_MAP_BACKENDS_MAX);
			return false;
		}
		out->number[out->count++] = (unsigned short)number;
	}
	if (!out->count)
		complain(r, "no backend stands behind the name, expected \"user@example.com backend\"");
	return out->count > 0;
}

/* Its place among the lists, the latest first: neighbours are often alike. -1: said, or no memory. */
static int list_place(struct reading *r, const struct user_map_backends *b)
{
	struct user_map *m = r->map;
	struct user_map_backends *more;

	for (size_t i = m->list_count; i-- > 0;)
		if (m->list[i].count == b->count && memcmp(m->list[i].number, b->number, b->count * sizeof(b->number[0])) == 0)
			return (int)i;
	if (m->list_count == USER_MAP_LISTS_MAX) {
		complain(r, "too many different lists of backends");
		return -1;
	}
	more = reallocarray(m->list, m->list_count + 1, sizeof(*more));
	if (!more) {
		r->failed = true;
		return -1;
	}
	m->list = more;
	m->list[m->list_count] = *b;
	return (int)m->list_count++;
}

static void entry_add(struct reading *r, const char *key, size_t len, int list)
{
	struct user_map *m = r->map;

	if (m->count == m->room) {
		size_t room = m->room ? m->room * 2 : 256;
		struct entry *more = reallocarray(m->entry, room, sizeof(*more));

		if (!more) {
			r->failed = true;
			return;
		}
		m->entry = more;
		m->room = room;
	}
	m->entry[m->count++] = (struct entry){ .key = (uint32_t)m->keys.len, .line = r->line, .list = (uint32_t)list };
	if (buf_add(&m->keys, key, len + 1) < 0)
		r->failed = true;
}

static void line_read(struct reading *r, char *p)
{
	char key[USER_MAP_USER_MAX + 1], *name = word(&p);
	struct user_map_backends b;
	size_t len;
	int list;

	if (!name)
		return;
	len = key_make(name, strlen(name), key);
	if (!len) {
		complain(r, "\"%.100s\" is no user, expected a name, \"user@example.com\", or \"@example.com\" for a whole domain", name);
		return;
	}
	if (!backends_read(r, p, &b))
		return;
	list = list_place(r, &b);
	if (list >= 0)
		entry_add(r, key, len, list);
}

/* --- order --- */

static int by_key(const void *a, const void *b, void *arg)
{
	const struct entry *x = a, *y = b;
	int order = strcmp(key_of(arg, x), key_of(arg, y));

	return order ? order : (x->line > y->line) - (x->line < y->line);
}

static void twice_check(struct reading *r)
{
	const struct user_map *m = r->map;

	for (size_t i = 1; i < m->count; i++) {
		if (strcmp(key_of(m, &m->entry[i - 1]), key_of(m, &m->entry[i])) != 0)
			continue;
		r->line = m->entry[i].line;
		complain(r, "%s comes twice, first on line %u", key_of(m, &m->entry[i]), m->entry[i - 1].line);
	}
}

static void text_read(struct reading *r, const char *text, size_t len)
{
	const char *end = text + len;
	char *line;

	for (const char *p = text; p < end && !r->failed;) {
		const char *lf = memchr(p, '\n', (size_t)(end - p));
		size_t n = lf ? (size_t)(lf - p) : (size_t)(end - p);

		r->line++;
		line = strndup(p, n);
		if (!line)
			r->failed = true;
		else if (strlen(line) != n)
			complain(r, "there is a NUL in it, expected text");
		else
			line_read(r, line);
		free(line);
		p += n + 1;
	}
}

struct user_map *user_map_parse(const char *path, const char *text, size_t len, user_map_find_fn *find, const void *arg, struct buf *errors)
{
	struct user_map *m = calloc(1, sizeof(*m));
	struct reading r = { .map = m, .path = path, .find = find, .arg = arg, .errors = errors };

	if (m) {
		buf_init(&m->keys, USER_MAP_BYTES_MAX * 2u);
		text_read(&r, text, len);
	}
	if (!m || r.failed) {
		buf_addf(errors, "%s:%u: no memory for it\n", path, r.line);
		user_map_free(m);
		return NULL;
	}
	if (m->count)
		qsort_r(m->entry, m->count, sizeof(*m->entry), by_key, m);
	twice_check(&r);
	if (r.error_count > USER_MAP_ERRORS_MAX)
		buf_addf(errors, "%s: and %d errors more\n", path, r.error_count - USER_MAP_ERRORS_MAX);
	if (r.error_count) {
		user_map_free(m);
		return NULL;
	}
	return m;
}

void user_map_free(struct user_map *m)
{
	if (!m)
		return;
	buf_release(&m->keys);
	free(m->entry);
	free(m->list);
	free(m);
}

/* --- looking up --- */

static const struct entry *find_key(const struct user_map *m, const char *key)
{
	size_t low = 0, high = m->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int order = strcmp(key, key_of(m, &m->entry[mid]));

		if (order == 0)
			return &m->entry[mid];
		if (order < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return NULL;
}

const struct user_map_backends *user_map_lookup(const struct user_map *m, const char *user)
{
	char key[USER_MAP_USER_MAX + 1];
	const struct entry *e;
	const char *at;

	if (!m || !key_make(user, strlen(user), key))
		return NULL;
	e = find_key(m, key);
	at = strrchr(key, '@');
	if (!e && at)
		e = find_key(m, at);
	return e ? &m->list[e->list] : NULL;
}

size_t user_map_list_count(const struct user_map *m)
{
	return m ? m->list_count : 0;
}

const struct user_map_backends *user_map_list(const struct user_map *m, size_t i)
{
	return &m->list[i];
}
