/*
 * heap - pointers of which the first, by an order of the caller's, is at hand
 *
 * An item knows its place: a size_t in it, `offset` bytes from its beginning, zero when it is in no heap. So it can be taken out, or
 * found its new place, wherever it is. Room is asked for beforehand: then adding cannot fail.
 */
#ifndef HEAP_H
#define HEAP_H

#include <stdbool.h>
#include <stddef.h>

struct heap {
	void **v;
	size_t count, room;
	size_t offset;
	bool (*before)(const void *a, const void *b);
};

#define HEAP_INIT(type, member, order) { .offset = offsetof(type, member), .before = order }

void heap_release(struct heap *h);              /* the items are the caller's */
int heap_reserve(struct heap *h, size_t count); /* room for so many: 0 or -ENOMEM */

void heap_add(struct heap *h, void *item);      /* it is in no heap by this member; there is room */
void heap_remove(struct heap *h, void *item);   /* it need not be in it */
void heap_moved(struct heap *h, void *item);    /* its order has changed; it need not be in it */
bool heap_has(const struct heap *h, const void *item);

static inline void *heap_first(const struct heap *h)
{
	return h->count ? h->v[0] : NULL;
}

#endif
