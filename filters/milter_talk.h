/*
 * milter_talk - the dialogue with one mail filter over one connection
 *
 * Straight-line: a question is said, its answer is waited for. What is said is collected and leaves when an answer is needed (a filter may have
 * agreed to be quiet where it has nothing to say), or when there is much of it. Each wait has the filter's own time limit, and there is a limit on all that is
 * done for one command of the client. A filter that says that it makes progress is waited for again, within that.
 *
 * Whatever goes wrong ends the dialogue: ->why tells, each later call is -EPIPE.
 */
#ifndef MILTER_TALK_H
#define MILTER_TALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "filters/milter_wire.h"

/* How octets travel. Each may wait until deadline_ms of clock_ms(). write: 0 or -errno; read: at least one octet, -errno; -EPIPE at the end. */
struct milter_io {
	int (*write)(void *arg, const char *p, size_t len, int64_t deadline_ms);
	int (*read)(void *arg, char *p, size_t max, int64_t deadline_ms);
	void *arg;
};

enum { MILTER_SAID_MAX = 512, MILTER_PROGRESS_MAX = 10000 };

/* What a filter makes of a moment. The words of the fact, but for CONTINUE. */
enum milter_verdict { MILTER_SAYS_CONTINUE, MILTER_SAYS_ACCEPT, MILTER_SAYS_SKIP, MILTER_SAYS_REJECT, MILTER_SAYS_TEMPFAIL, MILTER_SAYS_DISCARD };

struct milter_said {
	enum milter_verdict verdict;
	char reply[MILTER_SAID_MAX];    /* REJECT, TEMPFAIL: "550 5.7.1 text" */
};

struct milter_talk {
	struct milter_io io;
	struct milter_terms terms;
	struct buf in, out;
	size_t eaten;                   /* of in: the packet that was read last */
	int command_ms, content_ms;     /* for an answer: to a command, to the message */
	int64_t until_ms;               /* of clock_ms(): for all; 0: none */
	bool failed;
	const char *why;                /* what went wrong; "" else */
};

void milter_talk_init(struct milter_talk *t, const struct milter_io *io, int command_ms, int content_ms);
void milter_talk_release(struct milter_talk *t);        /* zeroed is fine; the connection is the caller's */

/* The first thing: what both can do. 0 or -errno. may wait */
int milter_talk_negotiate(struct milter_talk *t, int version);

/* Room for packets, to be said before the next question. */
static inline struct buf *milter_talk_out(struct milter_talk *t)
{
	return &t->out;
}

/* Whether a step (MILTER_NO_...) is to be said at all. */
static inline bool milter_talk_wants(const struct milter_talk *t, uint32_t no_step)
{
	return !(t->terms.steps & no_step);
}

/*
 * A question stands in out. quiet: the bit of those who do not answer it. in_message: its answer belongs to the message (the longer limit).
 * 0 and what the filter makes of it; or -errno. may wait
 */
int milter_talk_ask(struct milter_talk *t, uint32_t quiet, bool in_message, struct milter_said *said);

/*
 * The end of the message stands in out: each change is handed to change(arg), 0 or -errno, up to the answer. may wait
 */
int milter_talk_end(struct milter_talk *t, int (*change)(void *arg, const struct milter_reply *r), void *arg, struct milter_said *said);

/* What stands in out is said. may wait */
int milter_talk_flush(struct milter_talk *t, bool in_message);
/* The last words: that is all. Does not wait for an answer. may wait (for room) */
void milter_talk_quit(struct milter_talk *t, int64_t deadline_ms);

#endif
