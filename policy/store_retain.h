/*
 * store_retain - the keeper deletes what has been kept for long enough (store_retention.h), a few messages at a time
 *
 * And what a deletion that was cut short has left (store_remove.h); once an hour empty days, and records of deletions of more than a year
 * ago. How many messages it deleted is in the log, once a minute at most.
 */
#ifndef STORE_RETAIN_H
#define STORE_RETAIN_H

#include <stdint.h>

#include "policy/store_retention.h"

struct store_index;

struct store_retain {                   /* zeroed to begin */
	int64_t expired, too_much;      /* deleted, and not yet in the log */
	int64_t said_ms, hourly_s;
};

/* search_path: the full-text index. 1: there is more to do; 0: not now; or -errno of the index. */
int store_retain_step(struct store_retain *t, int dir_fd, struct store_index *x, const char *search_path, const struct store_retention *r,
		      int64_t now_s);

/* What is not in the log yet. */
void store_retain_say(struct store_retain *t);

#endif
