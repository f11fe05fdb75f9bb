/*
 * fact_wire - facts as octets, from one process to another
 *
 * For facts that are established in a box (unpack.h): the writer has read hostile octets and may be anybody's by then, so the reader believes nothing.
 * Both are the same program: facts go by their numbers. Each is { number, state, count } of 16, 8 and 16 bits, a value of 64 bits, and its texts,
 * each with its length in 32 bits; the last text is the reason. Low octets come first. The end is told: what is cut is not taken.
 */
#ifndef FACT_WIRE_H
#define FACT_WIRE_H

#include "base/buf.h"
#include "filters/fact.h"

/* Appends all of f. 0, or the error of out. */
int fact_wire_write(const struct facts *f, struct buf *out);

/*
 * Sets in out what p[0..len) says, of facts whose owner has its bit in owners. 0; -EPROTO: that is no such thing, or is cut, and out holds some
 * of it or nothing; -ENOMEM.
 */
int fact_wire_read(const char *p, size_t len, uint32_t owners, struct facts *out);

#endif
