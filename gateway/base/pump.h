/*
 * pump - two streams joined: what comes on one goes out on the other, both ways, until both have ended
 *
 * One task serves both directions. Between plain sockets the bytes stay in the kernel (splice); where there is TLS, or bytes that were
 * received before, they go through a buffer. Each direction holds at most 64 KiB, and only while there are bytes: a slow reader slows
 * its writer down.
 *
 * An end of one side (FIN) is passed on, and the other direction goes on. A connection that is cut (RST) cuts the other one, but what
 * its peer had still sent is passed on first. When nothing has moved for idle_ms, both are ended.
 */
#ifndef PUMP_H
#define PUMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stream;

enum pump_end {
	PUMP_ENDED,             /* both sides have ended */
	PUMP_RESET_A,           /* a was cut, and so was b */
	PUMP_RESET_B,
	PUMP_IDLE,
	PUMP_CANCELED,          /* the task was cancelled */
	PUMP_FAILED,            /* no memory */
};

struct pump {
	struct stream *a, *b;           /* the caller's */
	int idle_ms;                    /* -1: no limit */
	/* for whoever looks on: */
	uint64_t from_a, from_b;        /* bytes that were passed on */
	int64_t moved_ms;               /* when the last were, of clock_ms() */
};

/* Runs until the end; then the streams are only good for freeing, which sends FIN or, where it was cut, RST. may wait */
enum pump_end pump_run(struct pump *p);

/* "closed", "client reset"... for a log line in which a is the client and b the backend. */
const char *pump_end_text(enum pump_end end);

/* Without splice, to be compared with; for tests and measurements. */
extern bool pump_copies;

#endif
