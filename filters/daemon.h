/*
 * daemon - lines to daemons beside us (scanners, milters), as filters get them
 *
 * A filter knows nothing of sockets: txn->daemons gives it a line to a daemon that the configuration names (struct daemon_conf of policy/conf.h), from a
 * pool that all of the process shares. There are as many lines at once as the daemon's max_connections; who comes when all are taken waits, in order.
 * A line that was given back to be used again is kept for a while, and the next one gets it. Several addresses stand in for each other, in their order:
 * one that fails is left alone for a while, longer each time; while all are, take says so at once. The log says it when one goes and when it is back.
 *
 * What is written is collected and sent before a read waits. No wait ends later than the line's deadline, a moment of clock_ms(). Results: 0, or
 * -ETIMEDOUT; -ECANCELED; -EPIPE: the daemon has ended the connection; -ENOMEM. After an error a line is only good for daemon_give; but after a write that
 * said -EPIPE what the daemon had said before may be read (why it wants no more).
 *
 * Most ask one question and want one answer: daemon_ask does what has to be done around that.
 */
#ifndef DAEMON_H
#define DAEMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct daemon_conf;
struct daemons;
struct daemon_line;

enum daemon_end {
	DAEMON_AGAIN,           /* it answered, and the line can be used again: nothing is left to be read */
	DAEMON_DONE,            /* it answered, and the line ends */
	DAEMON_FAILED,          /* it did not answer, or what it said makes no sense: that counts against its address */
	DAEMON_DROPPED,         /* we have given up for reasons of our own: that says nothing of the daemon */
};

/* What stands behind: gateway/daemon/, or a test's own. */
struct daemons_ops {
	int (*take)(struct daemons *d, const struct daemon_conf *c, int64_t deadline_ms, bool fresh, struct daemon_line **out);
	int (*write)(struct daemon_line *l, const void *p, size_t len);
	int (*peek)(struct daemon_line *l, const char **p, size_t *len);
	void (*eat)(struct daemon_line *l, size_t len);
	void (*deadline)(struct daemon_line *l, int64_t deadline_ms);
	void (*give)(struct daemon_line *l, enum daemon_end how);
};

struct daemons {
	const struct daemons_ops *ops;
};

struct daemon_line {            /* what a filter may look at */
	struct daemons *daemons;
	const char *address;    /* as the configuration has it, for reasons in words */
	unsigned uses;          /* how often it was given back to be used again: 0, it is new */
	bool heard;             /* it has said something since it was taken */
};

/*
 * A line to c, until it is given back. fresh: a new one, none that was kept. 0 and *out; -EHOSTUNREACH: none of its addresses answers, or each is left
 * alone for now; -EBUSY: too many wait already; -ETIMEDOUT: no place was free in time; -ECANCELED, -ENOMEM. d NULL: there are no daemons here,
 * -EHOSTUNREACH. may wait
 */
int daemon_take(struct daemons *d, const struct daemon_conf *c, int64_t deadline_ms, bool fresh, struct daemon_line **out);

int daemon_write(struct daemon_line *l, const void *p, size_t len);     /* p need not last. may wait */
/* What is there and was not eaten, at least one byte (waiting for it), valid until the next call on this line. may wait */
int daemon_peek(struct daemon_line *l, const char **p, size_t *len);
void daemon_eat(struct daemon_line *l, size_t len);
void daemon_deadline(struct daemon_line *l, int64_t deadline_ms);       /* from now on */
void daemon_give(struct daemon_line *l, enum daemon_end how);           /* never waits; the line is gone. NULL is fine */

/*
 * What is there up to the first octet `end`, that one eaten and not counted, into out (emptied first; NUL-terminated). -EMSGSIZE: there are more than its
 * bound. may wait
 */
int daemon_read_to(struct daemon_line *l, char end, struct buf *out);

/*
 * One question: talk(line, arg) says it and reads the answer. It returns an enum daemon_end, AGAIN or DONE, or -errno: -EPIPE and -ETIMEDOUT as the
 * functions above say, another: what was said makes no sense (-EPROTO), or a reason of its own (-ECANCELED, -ENOMEM, -EIO: not held against the daemon).
 * A line that had been kept and was closed before a word came is nobody's fault: talk runs once more, on a new line. So it does where a new one was
 * closed and c has other addresses. talk begins anew each time. 0, or -errno of take or talk. may wait
 */
typedef int daemon_talk(struct daemon_line *l, void *arg);
int daemon_ask(struct daemons *d, const struct daemon_conf *c, int64_t deadline_ms, daemon_talk *talk, void *arg);

#endif
