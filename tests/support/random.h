/*
 * random - chance that a seed repeats, for tests on random policies (xorshift64*)
 */
#ifndef TESTS_RANDOM_H
#define TESTS_RANDOM_H

#include <stdint.h>

static uint64_t random_state;

static inline void random_seed(uint64_t seed)
{
	random_state = (seed + 1) * 0x9e3779b97f4a7c15ull;
}

/* 0..n-1 */
static inline unsigned pick(unsigned n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (unsigned)((random_state * 0x2545f4914f6cdd1dull) >> 33) % n;
}

#define ONE_OF(a) (a[pick(sizeof(a) / sizeof(*(a)))])

#endif
