/*
 * store_retention - which messages have been kept for long enough
 *
 * By age: what is older than its time. A message of classes that have a time of their own is kept for the longest of these; any other for the
 * general one. By size: while all messages (or those of a class with a bound of its own) take more than they may, the oldest
 * of them are too many, whatever their age. Size is that of message and record; the index comes on top.
 */
#ifndef STORE_RETENTION_H
#define STORE_RETENTION_H

#include <stddef.h>
#include <stdint.h>

#include "policy/store_id.h"

enum { STORE_RETENTION_CLASSES = 16, STORE_RETENTION_NAME = 48 };

struct store_index;

/* Of the configuration. Without pointers: it travels between processes as it is. */
struct store_retention {
	int32_t keep_s;                 /* 0: for ever */
	uint64_t max_bytes;             /* 0: no bound */
	uint32_t class_count;
	struct store_retention_class {
		char name[STORE_RETENTION_NAME];
		int32_t keep_s;         /* 0: for ever; -1: no time of its own */
		uint64_t max_bytes;
	} class[STORE_RETENTION_CLASSES];
};

/* The same without ages: what is too much is still too much. */
struct store_retention store_retention_by_size(const struct store_retention *r);

/* For how long a message of these classes (" a b ") is kept: seconds; 0: for ever. */
int64_t store_retention_keep(const struct store_retention *r, const char *classes);

/*
 * Up to max ids of messages whose time is over at now_s, or, when there are none, that are too many; oldest first. *why: "expired" or "too much".
 * How many; or -errno.
 */
int store_retention_due(struct store_index *x, const struct store_retention *r, int64_t now_s, char (*id)[STORE_ID_MAX], int max, const char **why);

#endif
