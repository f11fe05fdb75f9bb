/*
 * list_table - the keys of a list: one hash table, in memory of its own or as an image that processes share
 *
 * A key is 1 to LIST_KEY_MAX bytes and has eight bits, never all zero. Keys lie one behind the other;
 * slots hold offsets into them, open addressing with linear probing, half full at most. So nothing in
 * it is a pointer, and all of it can be in an image: a sealed memfd that every process maps read-only.
 * An image is made in one go: begin, add as often as you like, finish. Who maps one trusts its
 * contents, since only the parent makes them, but not its size.
 */
#ifndef LIST_TABLE_H
#define LIST_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LIST_KEY_MAX = 1024, LIST_KEYS_MAX = 8000000 };

struct list_kinds {             /* what there is among the keys; an image carries it */
	unsigned char v4_bits[33], v6_bits[129];        /* prefix lengths in use */
	bool domains, mailboxes, networks, texts;
};

struct list_table {             /* zeroed: empty */
	struct list_kinds kinds;
	size_t count;
	/* private: */
	unsigned char *keys;
	size_t keys_len, keys_cap;
	uint32_t *slot;
	size_t slot_count;
	uint32_t *noted;
	size_t noted_count;
	uint64_t sum;           /* of the keys in an image */
	void *map;              /* of an image, finished or not */
	size_t map_len;
	int fd;                 /* of an image not yet given away, plus 1; 0: none */
	bool growing;           /* an image that is not finished */
};

void list_table_release(struct list_table *t);

/* t is empty, and becomes an image. 0 or -errno. */
int list_table_begin(struct list_table *t);
/*
 * bits are added to those of the key if it is there already. note: its place is noted, once for each
 * key. 0, -ENOSPC: too many, or too long together; -ENOMEM. Not for finished images. Until
 * list_table_finish nothing can be looked up in an image, and count may be too high.
 */
int list_table_add(struct list_table *t, const void *key, size_t len, int bits, bool note);
int list_table_finish(struct list_table *t);

/* The bits of a key, 0 when it is not there. */
int list_table_get(const struct list_table *t, const void *key, size_t len);

/* The keys that were noted. */
size_t list_table_noted(const struct list_table *t);
const char *list_table_noted_key(const struct list_table *t, size_t i, size_t *len);

/* A number that other keys, or keys with other bits, hardly ever have; in whatever order they came. Of an image at once, else the keys are read. */
uint64_t list_table_sum(const struct list_table *t);

/* The descriptor of a finished image, the caller's from now on; -1: none, or given away. */
int list_table_take_fd(struct list_table *t);
/* t, empty, becomes the image in fd, which stays the caller's. 0; -EPROTO: it is none; -errno. */
int list_table_map(struct list_table *t, int fd);

#endif
