/*
 * siphash - SipHash-2-4 (Aumasson and Bernstein, 2012): a hash of 64 bits with a key, for tables whose keys come from outside
 *
 * Who does not know the key cannot choose texts that meet in one place.
 */
#ifndef SIPHASH_H
#define SIPHASH_H

#include <stddef.h>
#include <stdint.h>

struct siphash_key {
	uint64_t half[2];
};

/* A key that nobody knows. */
void siphash_key_make(struct siphash_key *key);

uint64_t siphash(const struct siphash_key *key, const void *p, size_t len);

#endif
