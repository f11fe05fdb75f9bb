/*
 * pump - two streams joined: what comes on one goes out on the other, both ways, until both have ended
 *
 * No task serves it: the loop calls it when one of the streams has news, so that a session which only pumps needs no stack (pump_start).
 * A task that has nothing else to do may wait for its end (pump_run). Between plain sockets the bytes of a large transfer stay in the kernel
 * (splice); where there is little, or TLS, or bytes that were received before, they go through a buffer that serves all pumps. Each direction
 * holds at most 64 KiB, and only while they wait to be written: a slow reader slows its writer down.
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
	PUMP_CANCELED,          /* the task was cancelled, or pump_stop */
	PUMP_FAILED,            /* no memory */
};

struct pump_joint;

struct pump {
	struct stream *a, *b;           /* the caller's */
	int idle_ms;                    /* -1: no limit */
	/* for whoever looks on: */
	uint64_t from_a, from_b;        /* bytes that were passed on */
	int64_t moved_ms;               /* when the last were, of clock_ms() */
	struct pump_joint *joint;       /* private; NULL when it does not run */
};

/* Runs until the end; then the streams are only good for freeing, which sends FIN or, where it was cut, RST. may wait */
enum pump_end pump_run(struct pump *p);

/*
 * The same without a task: done(arg, end) is called from the loop when it is over, and may free all that is here; not before pump_start has returned.
 * What had been written to the streams has been flushed. 0, or -ENOMEM and done is not called.
 */
typedef void pump_done_fn(void *arg, enum pump_end end);
int pump_start(struct pump *p, pump_done_fn *done, void *arg);

/* Another idle_ms from now on (when we stop, a short one). */
void pump_hurry(struct pump *p, int idle_ms);

/* Ends it now: done is called, with PUMP_CANCELED. */
void pump_stop(struct pump *p);

/* "closed", "client reset"... for a log line in which a is the client and b the backend. */
const char *pump_end_text(enum pump_end end);

/* Without splice, to be compared with; for tests and measurements. */
extern bool pump_copies;

#endif
