/*
 * state_wire - the bytes in which operations on the state travel between worker and keeper
 *
 *     request: u8 count, then per operation:
 *              u8 verb, str space, str key, i64 ttl_s, i64 add, str text
 *     answer:  u8 count, then per operation:
 *              u8 found, i64 first_s, i64 last_s, i64 count, str text
 *
 * A str is a u16 length and bytes without NUL; numbers are little-endian. Pure: bytes in, result
 * out.
 */
#ifndef STATE_WIRE_H
#define STATE_WIRE_H

#include "base/buf.h"
#include "policy/state.h"

/* Enough for STATE_OPS_MAX operations either way. */
enum { STATE_WIRE_MAX = STATE_OPS_MAX * (STATE_KEY_MAX + STATE_TEXT_MAX + 64) };

/* 0, -EINVAL (count out of range, a string without end), -ENOSPC, -ENOMEM. */
int state_wire_request(struct buf *out, const struct state_op *ops, size_t count);
int state_wire_answer(struct buf *out, const struct state_op *ops, size_t count);

/*
 * ops has room for STATE_OPS_MAX. The number of operations, or -EBADMSG; nothing is trusted,
 * trailing bytes neither.
 */
int state_wire_read_request(const char *p, size_t len, struct state_op *ops);

/* Fills in the results of the `count` operations that were asked. 0 or -EBADMSG. */
int state_wire_read_answer(const char *p, size_t len, struct state_op *ops, size_t count);

#endif
