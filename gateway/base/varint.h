/*
 * varint - numbers of any size in as few octets as they need: seven bits an octet, the low ones first, the high bit saying that more follow
 *
 * Each number has one form: one that is longer than it need be is not read. One that may be negative is written with its sign in the lowest bit.
 */
#ifndef VARINT_H
#define VARINT_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum { VARINT_MAX = 10 };       /* octets */

/* out->failed when it did not fit. */
void varint_put(struct buf *out, uint64_t v);

/* Where it ends; NULL: it does not, has more than 64 bits, or is longer than it need be. */
const unsigned char *varint_get(const unsigned char *p, const unsigned char *end, uint64_t *v);

static inline uint64_t varint_of_signed(int64_t v)
{
	return (uint64_t)v << 1 ^ (v < 0 ? UINT64_MAX : 0);
}

static inline int64_t varint_to_signed(uint64_t v)
{
	return (int64_t)(v >> 1 ^ (~(v & 1) + 1));
}

#endif
