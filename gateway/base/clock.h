/*
 * clock - the two clocks: a monotonic one for waits, the wall for what is kept or shown
 *
 * Deadlines and durations use clock_ms(), which never jumps. What is written to disk, to a
 * header or to a log uses clock_wall_s().
 */
#ifndef CLOCK_H
#define CLOCK_H

#include <stdint.h>

/* Milliseconds of CLOCK_MONOTONIC. */
int64_t clock_ms(void);

/* Seconds since 1970, CLOCK_REALTIME. */
int64_t clock_wall_s(void);
/* Milliseconds of it. */
int64_t clock_wall_ms(void);

#endif
