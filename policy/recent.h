/*
 * recent - what this process has told the state lately, so that it need not be told again with every message
 *
 * A small table without collisions to resolve: an entry may be forgotten early, never kept too long. Keys are hashed with
 * a seed of the process's own.
 */
#ifndef RECENT_H
#define RECENT_H

#include <stdbool.h>
#include <stdint.h>

enum { RECENT_SLOTS = 4096 };

struct recent {
	uint64_t seed;
	struct {
		uint64_t key;
		int64_t until_ms;
	} slot[RECENT_SLOTS];
};

/* 64 KiB, on the heap; freed with free(). NULL: no memory. */
struct recent *recent_new(void);

/* Whether a and b (two parts of a key) were noted within the last life_ms; if not, they are now. r NULL: no. */
bool recent_note(struct recent *r, const char *a, const char *b, int64_t life_ms);

#endif
