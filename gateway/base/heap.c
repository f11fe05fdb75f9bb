#include "base/heap.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static size_t *place(const struct heap *h, const void *item)
{
	return (size_t *)((char *)item + h->offset);    /* index + 1 */
}

static void put(struct heap *h, size_t i, void *item)
{
	h->v[i] = item;
	*place(h, item) = i + 1;
}

static void rise(struct heap *h, size_t i)
{
	void *item = h->v[i];

	while (i > 0 && h->before(item, h->v[(i - 1) / 2])) {
		put(h, i, h->v[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	put(h, i, item);
}

static void sink(struct heap *h, size_t i)
{
	void *item = h->v[i];

	for (;;) {
		size_t child = 2 * i + 1;

		if (child + 1 < h->count && h->before(h->v[child + 1], h->v[child]))
			child++;
		if (child >= h->count || !h->before(h->v[child], item))
			break;
		put(h, i, h->v[child]);
		i = child;
	}
	put(h, i, item);
}

void heap_release(struct heap *h)
{
	free(h->v);
	h->v = NULL;
	h->count = h->room = 0;
}

int heap_reserve(struct heap *h, size_t count)
{
	size_t room = h->room ? h->room : 4;
	void **v;

	while (room < count)
		room *= 2;
	if (room == h->room)
		return 0;
	v = realloc(h->v, room * sizeof(*v));
	if (!v)
		return -ENOMEM;
	h->v = v;
	h->room = room;
	return 0;
}

void heap_add(struct heap *h, void *item)
{
	assert(h->count < h->room && *place(h, item) == 0);
	h->v[h->count] = item;
	rise(h, h->count++);
}

bool heap_has(const struct heap *h, const void *item)
{
	size_t i = *place(h, item);

	return i > 0 && i <= h->count && h->v[i - 1] == item;
}

void heap_moved(struct heap *h, void *item)
{
	if (!heap_has(h, item))
		return;
	rise(h, *place(h, item) - 1);
	sink(h, *place(h, item) - 1);
}

void heap_remove(struct heap *h, void *item)
{
	size_t i = *place(h, item) - 1;
	void *last;

	if (!heap_has(h, item))
		return;
	last = h->v[--h->count];
	*place(h, item) = 0;
	if (last == item)
		return;
	put(h, i, last);
	heap_moved(h, last);
}
