/*
 * store_clock - what time it is in the quarantine and in the spool, when the wall clock may be wrong
 *
 * A clock that is set a year ahead, by mistake or by a battery that has died, would make everything in the quarantine old at once, and all that the spool holds expire; what is deleted does
 * not come back when somebody puts it right; and what is kept while the clock is behind would be old before its time. So who keeps, and who deletes, looks
 * at the clock first. When it is not where it should be by the time that has passed, or at a start far from where it was when it was last
 * trusted, it is not trusted for a day, or until it is right again: the log says so, nothing is deleted because it is old, and what is kept has the time that
 * it would be. After a day it is believed. A machine that was off for some days deletes a day later, and nothing else.
 *
 * The last moment that was trusted lies in the file "clock" of the directory, as seconds since 1970.
 */
#ifndef STORE_CLOCK_H
#define STORE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

enum {
	STORE_CLOCK_JUMP_S = 3600,              /* NTP steps by less */
	STORE_CLOCK_OFF_S = 86400,              /* a machine may be off for so long: at a start */
	STORE_CLOCK_HOLD_S = 86400,
	STORE_CLOCK_NOTE_S = 600,               /* so often the file is written */
};

struct store_clock {                    /* zeroed to begin */
	bool begun;
	int64_t base_ms, base_run_ms;           /* the last moment that was trusted; in a new process: that of the file */
	int64_t wall_ms, run_ms;                /* the last look */
	int64_t hold_until_ms;                  /* of run_ms; 0: it is trusted */
	int64_t noted_s;                        /* in the file */
};

/*
 * A look. run_ms: a clock that is never set. file_s: what the file says, for the first look; 0: nothing is known. true: the wall clock is trusted, and what is
 * old may be deleted. *off_s: by how much it is wrong, when that was seen just now; else 0. Pure.
 */
bool store_clock_look(struct store_clock *c, int64_t file_s, int64_t wall_ms, int64_t run_ms, int64_t *off_s);

/* After a look: the time that what is kept now gets, milliseconds. */
int64_t store_clock_now_ms(const struct store_clock *c);

/* A look, with the file below dir_fd, and the line in the log. */
bool store_clock_trusted(struct store_clock *c, int dir_fd, int64_t wall_ms, int64_t run_ms);

#endif
