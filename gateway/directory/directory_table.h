/*
 * directory_table - the addresses of one directory, in memory
 *
 * All texts stand one behind the other: an octet of flags, the address in its normal form, a NUL; a table of places in that finds them by a keyed hash. An address costs
 * its length, two octets, and 4 to 8 for its places: about 33 octets where they are 25 long. Nothing is taken out again: a refresh makes a new table.
 */
#ifndef DIRECTORY_TABLE_H
#define DIRECTORY_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/siphash.h"

enum {
	DIRECTORY_RESTRICTED = 1,       /* wants mail of authenticated senders only */
	DIRECTORY_FLAGS = DIRECTORY_RESTRICTED,
	DIRECTORY_TEXT_MAX = 512 * 1024 * 1024, /* of all addresses */
};

struct directory_table {
	char *text;
	uint32_t used, cap;
	uint32_t *slot;                 /* place in text + 1; 0: free */
	size_t slots, count;
	struct siphash_key key;
};

/* Zeroed memory is an empty one. release leaves it so. */
void directory_table_release(struct directory_table *t);

/* An address in its normal form. 1: it is new, 0: it was there (flags are what the last one said), -ENOMEM, -ENOSPC: more than a table holds. */
int directory_table_add(struct directory_table *t, const char *address, unsigned flags);
bool directory_table_find(const struct directory_table *t, const char *address, unsigned *flags);

/* All that stands in text of len octets, as in t->text. 0, or -EBADMSG: it is none; -ENOMEM. t is empty before. */
int directory_table_read(struct directory_table *t, const char *text, size_t len);

/* All of `from`, too. 0, or as add. */
int directory_table_merge(struct directory_table *t, const struct directory_table *from);

size_t directory_table_bytes(const struct directory_table *t);

#endif
