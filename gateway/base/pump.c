#include "base/pump.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/stream.h"
#include "base/stream_raw.h"
#include "base/task.h"

enum {
	PIPE_BYTES = 64 * 1024,         /* what a pipe takes if its owner has not too many of them */
	PIPES_KEPT = 32,
	STEPS_IN_A_ROW = 16,            /* then others get their turn */
	FLUSH_MS = 60 * 1000,           /* for what was written before */
};

bool pump_copies;

/* One direction. What was read and not yet written lies in the pipe or in the buffer: in one of them. */
struct way {
	struct stream *from, *to;
	uint64_t *passed;
	int pipe[2];                    /* -1: none */
	char *bytes;
	size_t at, have;
	bool ended;                     /* from has ended, and so has our side of to */
	bool broken;                    /* to does not take it any more, what comes is left */
};

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
	free(w->bytes);
	w->bytes = NULL;
	w->at = w->have = 0;
}

static ssize_t way_read(struct way *w)
{
	ssize_t n;

	if (!w->bytes && !pump_copies && stream_raw_can_splice(w->from) && stream_raw_can_splice(w->to) &&
	    (w->pipe[0] >= 0 || pipe_get(w->pipe)))
		return stream_raw_splice_in(w->from, w->pipe[1], PIPE_BYTES);
	if (!w->bytes)
		w->bytes = malloc(STREAM_CHUNK);
	n = w->bytes ? stream_raw_read(w->from, w->bytes, STREAM_CHUNK) : -ENOMEM;
	w->at = 0;
	return n;
}

static ssize_t way_write(struct way *w)
{
	return w->bytes ? stream_raw_write(w->to, w->bytes + w->at, w->have) : stream_raw_splice_out(w->to, w->pipe[0], w->have);
}

/* 1: something has moved; 0: nothing can; or -errno of the reading side. */
static int way_step(struct way *w)
{
	ssize_t n = 0;
	int moved = 0;

	if (!w->ended && !w->broken && w->have == 0) {
		n = way_read(w);
		if (n == -EPIPE) {
			stream_raw_shut(w->to);
			w->ended = true;
			return 1;
		}
		if (n < 0)
			return (int)n;
		w->have = (size_t)n;
		moved = n > 0;
	}
	if (w->have > 0) {
		n = way_write(w);
		if (n < 0) {
			w->broken = true;
			way_release(w);         /* nobody will take it: to try again would be work without end */
			return 1;
		}
		w->at += (size_t)n;
		w->have -= (size_t)n;
		*w->passed += (uint64_t)n;
		moved |= n > 0;
	}
	return moved;
}

/* --- both --- */

static enum pump_end reset(const struct pump *p, bool of_a)
{
	stream_raw_abort(p->a);
	stream_raw_abort(p->b);
	return of_a ? PUMP_RESET_A : PUMP_RESET_B;
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
	return !(ab->ended && ba->ended);
}

static enum pump_end run(struct pump *p, struct way *ab, struct way *ba)
{
	enum pump_end end;
	bool moved;
	int steps = 0;

	while (both_step(p, ab, ba, &moved, &end)) {
		int rc = 0;

		if (moved && ++steps < STEPS_IN_A_ROW)
			continue;
		steps = 0;
		if (moved) {
			task_yield();
			rc = task_cancelled() ? -ECANCELED : 0;
		} else {
			if (ab->have == 0)
				way_release(ab);
			if (ba->have == 0)
				way_release(ba);
			rc = stream_raw_wait(p->a, p->b, p->idle_ms < 0 ? INT64_MAX : p->moved_ms + p->idle_ms);
		}
		if (rc < 0)
			return rc == -ETIMEDOUT ? PUMP_IDLE : rc == -ECANCELED ? PUMP_CANCELED : PUMP_FAILED;
	}
	return end;
}

enum pump_end pump_run(struct pump *p)
{
	struct way ab, ba;
	enum pump_end end;

	way_init(&ab, p->a, p->b, &p->from_a);
	way_init(&ba, p->b, p->a, &p->from_b);
	p->moved_ms = clock_ms();
	if (stream_flush(p->a, FLUSH_MS) < 0)
		end = task_cancelled() ? PUMP_CANCELED : reset(p, true);
	else if (stream_flush(p->b, FLUSH_MS) < 0)
		end = task_cancelled() ? PUMP_CANCELED : reset(p, false);
	else
		end = run(p, &ab, &ba);
	way_release(&ab);
	way_release(&ba);
	return end;
}

const char *pump_end_text(enum pump_end end)
{
	static const char *const text[] = {
		[PUMP_ENDED] = "closed", [PUMP_RESET_A] = "reset by the client", [PUMP_RESET_B] = "reset by the backend",
		[PUMP_IDLE] = "idle", [PUMP_CANCELED] = "shutting down", [PUMP_FAILED] = "out of memory",
	};

	return text[end];
}
