/*
 * log - one event, one line, key=value
 *
 * Lines go to stderr, which systemd gives to the journal. A line is built and then emitted in one
 * write; the descriptor is non-blocking, and what a full pipe does not take is dropped and counted
 * (log_dropped). Values from outside are escaped: a value with a blank, quote, control or 8-bit
 * byte is quoted, with \" \\ \n \r \t \xHH inside. On a terminal the level is coloured; under the
 * journal each line begins with its priority ("<6>").
 *
 *     struct log_line l;
 *     log_start(&l, LOG_NOTICE_, "backend");
 *     log_str(&l, "name", backend->name);
 *     log_num(&l, "rcpts", n);
 *     log_emit(&l);
 *
 * or, for lines of strings only:
 *
 *     log_info("listening", "address", addr, NULL);
 */
#ifndef LOG_H
#define LOG_H

#include <stdint.h>

#include "base/buf.h"

enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARNING,
	LOG_LEVEL_NOTICE,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG
};

struct log_line {
	enum log_level level;
	struct buf text; /* on the heap; at most 8 KiB, cut beyond */
};

/*
 * Who writes: "gatepost[worker 1]". Called once per process; level is the most talkative that is
 * written.
 */
void log_open(const char *process, enum log_level level);

/* Begin a line; event is its first word: event=backend. NULL for none. */
void log_start(struct log_line *l, enum log_level level, const char *event);
void log_str(struct log_line *l, const char *key, const char *value); /* NULL value: nothing */
void log_bytes(struct log_line *l, const char *key, const void *p, size_t len);
void log_num(struct log_line *l, const char *key, int64_t value);
void log_emit(struct log_line *l); /* writes and releases */

/* event, then key, value pairs of strings, then NULL. */
void log_error(const char *event, ...) __attribute__((sentinel));
void log_warning(const char *event, ...) __attribute__((sentinel));
void log_notice(const char *event, ...) __attribute__((sentinel));
void log_info(const char *event, ...) __attribute__((sentinel));
void log_debug(const char *event, ...) __attribute__((sentinel));

/* Lines that could not be written since the start. */
uint64_t log_dropped(void);

#endif
