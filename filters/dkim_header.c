#include "filters/dkim_header.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct slot {                           /* fields by name and, of one name, from the top down */
	struct dkim_field field;
	size_t place;                   /* among all, as added */
	size_t same;                    /* at the first of a name: how many there are of it */
	size_t given, round;            /* at the first of a name: how many have been given in that round */
};

struct dkim_header {
	struct dkim_field *field;
	size_t count, cap;
	struct slot *slot;
	size_t slots;
	size_t round, but;
};

struct dkim_header *dkim_header_new(void)
{
	return calloc(1, sizeof(struct dkim_header));
}

void dkim_header_free(struct dkim_header *h)
{
	if (!h)
		return;
	free(h->field);
	free(h->slot);
	free(h);
}

static size_t name_length(const char *raw, size_t len)
{
	const char *colon = len > 0 ? memchr(raw, ':', len) : NULL;
	size_t n = colon ? (size_t)(colon - raw) : 0;

	while (n > 0 && (raw[n - 1] == ' ' || raw[n - 1] == '\t'))      /* obsolete syntax, RFC 5322 4.5.3 */
		n--;
	return n;
}

int dkim_header_add(struct dkim_header *h, const char *raw, size_t len)
{
	if (h->count == DKIM_HEADER_FIELDS_MAX)
		return -EMSGSIZE;
	if (h->count == h->cap) {
		size_t cap = h->cap ? h->cap * 2 : 32;
		struct dkim_field *grown = reallocarray(h->field, cap, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		h->field = grown;
		h->cap = cap;
	}
	if (len >= 2 && raw[len - 2] == '\r' && raw[len - 1] == '\n')
		len -= 2;
	h->field[h->count++] = (struct dkim_field){ .raw = raw, .len = len, .name_len = name_length(raw, len) };
	return 0;
}

/* Where the field at p ends: behind the first line that no folded one follows. */
static const char *field_end(const char *p, const char *end)
{
	while ((p = memchr(p, '\n', (size_t)(end - p)))) {
		p++;
		if (p == end || (*p != ' ' && *p != '\t'))
			return p;
	}
	return end;
}

int dkim_header_add_text(struct dkim_header *h, const char *p, size_t len)
{
	const char *end = len > 0 ? p + len : p;

	while (p < end && !(end - p >= 2 && memcmp(p, "\r\n", 2) == 0)) {
		const char *next = field_end(p, end);
		int rc = dkim_header_add(h, p, (size_t)(next - p));

		if (rc < 0)
			return rc;
		p = next;
	}
	return 0;
}

static int name_compare(const char *a, size_t a_len, const char *b, size_t b_len)
{
	int c = strncasecmp(a, b, a_len < b_len ? a_len : b_len);       /* in the C locale; a NUL ends no name that anybody signs */

	return c ? c : (a_len > b_len) - (a_len < b_len);
}

static int slot_compare(const void *a, const void *b)
{
	const struct slot *x = a, *y = b;
	int c = name_compare(x->field.raw, x->field.name_len, y->field.raw, y->field.name_len);

	return c ? c : (x->place > y->place) - (x->place < y->place);
}

int dkim_header_ready(struct dkim_header *h)
{
	free(h->slot);
	h->slots = 0;
	h->slot = calloc(h->count ? h->count : 1, sizeof(*h->slot));
	if (!h->slot)
		return -ENOMEM;
	for (size_t i = 0; i < h->count; i++)
		if (h->field[i].name_len > 0)
			h->slot[h->slots++] = (struct slot){ .field = h->field[i], .place = i };
	qsort(h->slot, h->slots, sizeof(*h->slot), slot_compare);
	for (size_t i = 0, first = 0; i < h->slots; i++) {
		const struct dkim_field *a = &h->slot[first].field, *b = &h->slot[i].field;

		if (name_compare(a->raw, a->name_len, b->raw, b->name_len) != 0)
			first = i;
		h->slot[first].same++;
	}
	dkim_header_rewind(h, SIZE_MAX);
	return 0;
}

size_t dkim_header_count(const struct dkim_header *h)
{
	return h->count;
}

const struct dkim_field *dkim_header_at(const struct dkim_header *h, size_t i)
{
	return &h->field[i];
}

bool dkim_field_is(const struct dkim_field *f, const char *name)
{
	return f->name_len == strlen(name) && strncasecmp(f->raw, name, f->name_len) == 0;
}

const char *dkim_field_body(const struct dkim_field *f, size_t *len)
{
	const char *colon = memchr(f->raw, ':', f->len);

	*len = f->len - (size_t)(colon + 1 - f->raw);
	return colon + 1;
}

void dkim_header_rewind(struct dkim_header *h, size_t but)
{
	h->round++;
	h->but = but;
}

/* The first slot of that name, or NULL. */
static struct slot *slot_find(struct dkim_header *h, const char *name, size_t len)
{
	size_t low = 0, high = h->slots;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		const struct dkim_field *f = &h->slot[mid].field;

		if (name_compare(f->raw, f->name_len, name, len) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	if (low == h->slots || name_compare(h->slot[low].field.raw, h->slot[low].field.name_len, name, len) != 0)
		return NULL;
	return &h->slot[low];
}

const struct dkim_field *dkim_header_up(struct dkim_header *h, const char *name, size_t len)
{
	struct slot *s = len > 0 ? slot_find(h, name, len) : NULL;

	if (!s)
		return NULL;
	if (s->round != h->round) {
		s->round = h->round;
		s->given = 0;
	}
	while (s->given < s->same) {
		const struct slot *next = &s[s->same - 1 - s->given++];

		if (next->place != h->but)
			return &next->field;
	}
	return NULL;
}
