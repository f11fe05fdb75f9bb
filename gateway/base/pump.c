#include "base/pump.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/stream.h"
#include "base/stream_raw.h"
#include "base/task.h"

enum {
	PIPE_BYTES = 64 * 1024,         /* what a pipe takes if its owner has not too many of them */
	PIPES_KEPT = 32,
	SMALL_BYTES = 16 * 1024,        /* read at once to see how much there is */
	STEPS_IN_A_ROW = 16,            /* then others get their turn */
	FLUSH_MS = 60 * 1000,           /* for what was written before */
};

bool pump_copies;

/* One direction. What was read and not yet written lies in the pipe or in the buffer: in one of them. */
struct way {
	struct stream *from, *to;
	uint64_t *passed;
	int pipe[2];                    /* -1: none */
	char *bytes;                    /* the common buffer, or, when it has to wait, one of its own */
	unsigned at, have;
	bool bulk;                      /* much has come at once: it is worth a pipe */
	bool ended;                     /* from has ended */
	bool shut;                      /* and so has our side of to */
	bool broken;                    /* to does not take it any more, what comes is left */
};

struct pump_joint {
	struct way ab, ba;
	pump_done_fn *done;
	void *arg;
	struct event timer;             /* of idleness, or of the next turn */
	int64_t timer_ms;               /* of clock_ms(); 0: not set */
};

/* What was read is written at once, as a rule: one buffer serves all. */
static char common[STREAM_CHUNK];

/* --- pipes: the same few serve all --- */

static struct {
	int fd[PIPES_KEPT][2];
	size_t count;
} pool;

static bool pipe_get(int *fd)
{
	if (pool.count) {
		pool.count--;
		fd[0] = pool.fd[pool.count][0];
		fd[1] = pool.fd[pool.count][1];
		return true;
	}
	if (pipe2(fd, O_NONBLOCK | O_CLOEXEC) == 0)
		return true;
	fd[0] = fd[1] = -1;
	return false;
}

/* Empty ones only are of use to others. */
static void pipe_put(int *fd, bool empty)
{
	if (fd[0] < 0)
		return;
	if (empty && pool.count < PIPES_KEPT) {
		pool.fd[pool.count][0] = fd[0];
		pool.fd[pool.count][1] = fd[1];
		pool.count++;
	} else {
		close(fd[0]);
		close(fd[1]);
	}
	fd[0] = fd[1] = -1;
}

/* --- one direction --- */

static void way_init(struct way *w, struct stream *from, struct stream *to, uint64_t *passed)
{
	*w = (struct way){ .from = from, .to = to, .passed = passed, .pipe = { -1, -1 } };
}

/* Nothing is held without bytes in it. What is still in it is lost. */
static void way_release(struct way *w)
{
	pipe_put(w->pipe, w->have == 0);
	if (w->bytes != common)
		free(w->bytes);
	w->bytes = NULL;
	w->at = w->have = 0;
}

/*
 * A pipe is for much: for a few lines two more system calls, and pages of the kernel's, cost more than copying them. The first read says what it
 * is, and a pipe that brings little ends it.
 */
static ssize_t way_read(struct way *w)
{
	bool plain = stream_raw_can_splice(w->from) && stream_raw_can_splice(w->to);
	size_t size = plain ? SMALL_BYTES : sizeof(common);
	ssize_t n;

	if (w->bulk && plain && !pump_copies && (w->pipe[0] >= 0 || pipe_get(w->pipe))) {
		n = stream_raw_splice_in(w->from, w->pipe[1], PIPE_BYTES);
		w->bulk = n <= 0 || n > SMALL_BYTES / 2;
		return n;
	}
	n = stream_raw_read(w->from, common, size);
	if (n > 0) {
		w->bytes = common;
		w->at = 0;
		w->bulk = (size_t)n == size;
	}
	return n;
}

static ssize_t way_write(struct way *w)
{
	return w->bytes ? stream_raw_write(w->to, w->bytes + w->at, w->have) : stream_raw_splice_out(w->to, w->pipe[0], w->have);
}

/* What could not be written leaves the common buffer. 0 or -ENOMEM. */
static int way_keep(struct way *w)
{
	char *own;

	if (w->bytes != common)
		return 0;
	if (w->have) {
		own = malloc(w->have);
		if (!own)
			return -ENOMEM;
		memcpy(own, common + w->at, w->have);
		w->bytes = own;
	} else {
		w->bytes = NULL;
	}
	w->at = 0;
	return 0;
}

/* 1: something has moved; 0: nothing can; or -errno of the reading side. */
static int way_step(struct way *w)
{
	ssize_t n = 0;
	int moved = 0;

	if (!w->ended && !w->broken && w->have == 0) {
		if (w->bytes)
			way_release(w);
		n = way_read(w);
		if (n == -EPIPE) {
			w->ended = true;
			return 1;
		}
		if (n < 0)
			return (int)n;
		w->have = (unsigned)n;
		moved = n > 0;
	}
	/* A record of TLS at a time goes out, in the common buffer they all have to go. */
	while (w->have > 0) {
		n = way_write(w);
		if (n < 0) {
			w->broken = true;
			way_release(w);         /* nobody will take it: to try again would be work without end */
			return 1;
		}
		if (n == 0)
			break;
		w->at += (unsigned)n;
		w->have -= (unsigned)n;
		*w->passed += (uint64_t)n;
		moved = 1;
	}
	n = way_keep(w);
	return n < 0 ? (int)n : moved;
}

/* --- both --- */

static enum pump_end reset(const struct pump *p, bool of_a)
{
	stream_raw_abort(p->a);
	stream_raw_abort(p->b);
	return of_a ? PUMP_RESET_A : PUMP_RESET_B;
}

/* An end is passed on; the last one by closing. */
static void way_shut(struct way *w)
{
	if (w->ended && !w->shut)
		stream_raw_shut(w->to);
	w->shut = w->ended;
}

/* One round. false: it is over, and *end says how. */
static bool both_step(struct pump *p, struct way *ab, struct way *ba, bool *moved, enum pump_end *end)
{
	int x = way_step(ab), y = way_step(ba);

	*moved = x > 0 || y > 0;
	if (*moved)
		p->moved_ms = clock_ms();
	if (x == -ENOMEM || y == -ENOMEM) {
		*end = PUMP_FAILED;
		return false;
	}
	if (x < 0 || y < 0) {
		*end = reset(p, x < 0);
		return false;
	}
	/* Whoever takes no more has been cut, or has closed all of it: what it had sent before is passed on until its own end comes. */
	if ((ab->broken && (ba->ended || ba->broken)) || (ba->broken && ab->ended)) {
		*end = reset(p, ba->broken && !ab->broken);
		return false;
	}
	*end = PUMP_ENDED;
	if (ab->ended && ba->ended)
		return false;
	way_shut(ab);
	way_shut(ba);
	return true;
}

/* --- its turns --- */

static void over(struct pump *p, enum pump_end end)
{
	struct pump_joint *j = p->joint;
	pump_done_fn *done = j->done;
	void *arg = j->arg;

	stream_raw_watch(p->a, NULL, NULL);
	stream_raw_watch(p->b, NULL, NULL);
	event_del(&j->timer);
	way_release(&j->ab);
	way_release(&j->ba);
	free(j);
	p->joint = NULL;
	done(arg, end);
}

static void timer_set(struct pump_joint *j, int64_t at_ms)
{
	int64_t left_ms = at_ms - clock_ms();
	struct timeval tv;

	if (j->timer_ms && j->timer_ms <= at_ms)
		return;
	if (left_ms < 0)
		left_ms = 0;
	tv.tv_sec = left_ms / 1000;
	tv.tv_usec = left_ms % 1000 * 1000;
	j->timer_ms = at_ms;
	event_add(&j->timer, &tv);
}

/* All that can be done now; then it waits for news, or for its next turn. */
static void turn(void *arg)
{
	struct pump *p = arg;
	struct pump_joint *j = p->joint;
	enum pump_end end;
	bool moved = true;

	for (int steps = 0; moved && steps < STEPS_IN_A_ROW; steps++)
		if (!both_step(p, &j->ab, &j->ba, &moved, &end)) {
			over(p, end);
			return;
		}
	if (moved) {
		timer_set(j, clock_ms());
		return;
	}
	if (j->ab.have == 0)
		way_release(&j->ab);
	if (j->ba.have == 0)
		way_release(&j->ba);
	if (stream_raw_listen(p->a) < 0 || stream_raw_listen(p->b) < 0)
		over(p, PUMP_FAILED);
	else if (p->idle_ms >= 0)
		timer_set(j, p->moved_ms + p->idle_ms);
}

/* Set once for a long time, it is not touched by each byte that moves: it looks when it fires. */
static void timer_fired(evutil_socket_t fd, short what, void *arg)
{
	struct pump *p = arg;

	p->joint->timer_ms = 0;
	if (p->idle_ms >= 0 && clock_ms() >= p->moved_ms + p->idle_ms)
		over(p, PUMP_IDLE);
	else
		turn(p);
}

int pump_start(struct pump *p, pump_done_fn *done, void *arg)
{
	struct pump_joint *j = malloc(sizeof(*j));

	if (!j)
		return -ENOMEM;
	way_init(&j->ab, p->a, p->b, &p->from_a);
	way_init(&j->ba, p->b, p->a, &p->from_b);
	j->done = done;
	j->arg = arg;
	j->timer_ms = 0;
	evtimer_assign(&j->timer, loop_base(), timer_fired, p);
	p->joint = j;
	p->moved_ms = clock_ms();
	stream_raw_watch(p->a, turn, p);
	stream_raw_watch(p->b, turn, p);
	timer_set(j, p->moved_ms);
	return 0;
}

void pump_hurry(struct pump *p, int idle_ms)
{
	p->idle_ms = idle_ms;
	if (p->joint && idle_ms >= 0)
		timer_set(p->joint, p->moved_ms + idle_ms);
}

void pump_stop(struct pump *p)
{
	if (p->joint)
		over(p, PUMP_CANCELED);
}

/* --- with a task --- */

struct waiting {
	struct future over;
	enum pump_end end;
};

static void waited(void *arg, enum pump_end end)
{
	struct waiting *w = arg;

	w->end = end;
	future_resolve(&w->over, 0);
}

enum pump_end pump_run(struct pump *p)
{
	struct waiting w = { .end = PUMP_FAILED };

	if (stream_flush(p->a, FLUSH_MS) < 0)
		return task_cancelled() ? PUMP_CANCELED : reset(p, true);
	if (stream_flush(p->b, FLUSH_MS) < 0)
		return task_cancelled() ? PUMP_CANCELED : reset(p, false);
	if (pump_start(p, waited, &w) < 0)
		return PUMP_FAILED;
	while (!w.over.done) {
		(void)future_wait(&w.over, -1);
		if (w.over.done)
			break;
		if (task_cancelled())
			pump_stop(p);
		else
			pump_hurry(p, p->idle_ms);      /* somebody has changed it, and has woken us */
	}
	return w.end;
}

const char *pump_end_text(enum pump_end end)
{
	static const char *const text[] = {
		[PUMP_ENDED] = "closed", [PUMP_RESET_A] = "reset by the client", [PUMP_RESET_B] = "reset by the backend",
		[PUMP_IDLE] = "idle", [PUMP_CANCELED] = "shutting down", [PUMP_FAILED] = "out of memory",
	};

	return text[end];
}
