/*
 * store_id - the name of a kept message: 12 characters of [0-9a-z]
 *
 * Nine for the time in milliseconds, three for chance, base 32: ids sort by time, are safe as file
 * names, and tell their day (UTC), which is the directory they lie in.
 */
#ifndef STORE_ID_H
#define STORE_ID_H

#include <stdint.h>

#include "policy/store.h"

enum { STORE_ID_LEN = 12, STORE_ID_TIME = 9, STORE_DAY_MAX = 16 };

void store_id_make(int64_t ms, unsigned chance, char out[STORE_ID_MAX]);

/* Its time, or -EINVAL: no id. */
int64_t store_id_ms(const char *id);

/* "2026-11-22". 0 or -EINVAL. */
int store_id_day(const char *id, char out[STORE_DAY_MAX]);

#endif
