#include "policy/store_clock.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/durable.h"
#include "base/log.h"

static const char name[] = "clock";

enum { SECOND_MS = 1000 };

static bool within(int64_t ms, int64_t from_s, int64_t to_s)
{
	return ms >= from_s * SECOND_MS && ms <= to_s * SECOND_MS;
}

static int64_t guess_ms(const struct store_clock *c, int64_t run_ms)
{
	return c->base_ms + (run_ms - c->base_run_ms);
}

static bool believe(struct store_clock *c, int64_t wall_ms, int64_t run_ms)
{
	c->base_ms = wall_ms;
	c->base_run_ms = run_ms;
	c->hold_until_ms = 0;
	return true;
}

bool store_clock_look(struct store_clock *c, int64_t file_s, int64_t wall_ms, int64_t run_ms, int64_t *off_s)
{
	bool first = !c->begun, moved = !within(wall_ms - c->wall_ms - (run_ms - c->run_ms), -STORE_CLOCK_JUMP_S, STORE_CLOCK_JUMP_S);
	int64_t off_ms;

	*off_s = 0;
	c->begun = true;
	c->wall_ms = wall_ms;
	c->run_ms = run_ms;
	if (first && file_s <= 0)
		return believe(c, wall_ms, run_ms);
	if (first) {
		c->base_ms = file_s * SECOND_MS;
		c->base_run_ms = run_ms;
	}
	off_ms = wall_ms - guess_ms(c, run_ms);
	if (within(off_ms, -STORE_CLOCK_JUMP_S, first ? STORE_CLOCK_OFF_S : STORE_CLOCK_JUMP_S))
		return believe(c, wall_ms, run_ms);
	if (!c->hold_until_ms || moved) {
		*off_s = off_ms / SECOND_MS;
		c->hold_until_ms = run_ms + (int64_t)STORE_CLOCK_HOLD_S * SECOND_MS;
	}
	return run_ms >= c->hold_until_ms && believe(c, wall_ms, run_ms);
}

int64_t store_clock_now_ms(const struct store_clock *c)
{
	return guess_ms(c, c->run_ms);
}

static int64_t file_read(int dir_fd)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	char text[32];
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	int64_t s;

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return 0;
	text[n] = 0;
	s = strtoll(text, NULL, 10);
	return s > 0 && s < INT64_MAX / SECOND_MS / 2 ? s : 0;
}

static void note(struct store_clock *c, int dir_fd, int64_t wall_s)
{
	char text[32];
	int n = snprintf(text, sizeof(text), "%" PRId64 "\n", wall_s);

	/* Not written: the next start sees a longer pause than there was, at most. */
	(void)durable_replace(dir_fd, name, text, (size_t)n);
	c->noted_s = wall_s;
}

bool store_clock_trusted(struct store_clock *c, int dir_fd, int64_t wall_ms, int64_t run_ms)
{
	int64_t off_s, wall_s = wall_ms / SECOND_MS;
	struct log_line l;
	bool ok;

	ok = store_clock_look(c, c->begun ? 0 : file_read(dir_fd), wall_ms, run_ms, &off_s);
	if (off_s) {
		log_start(&l, LOG_LEVEL_WARNING, "store");
		log_str(&l, "what", "the clock is not where it should be: for a day, or until it is, nothing is deleted or given up because it is old");
		log_num(&l, "ahead_s", off_s);
		log_emit(&l);
	}
	if (ok && (wall_s - c->noted_s >= STORE_CLOCK_NOTE_S || wall_s < c->noted_s))
		note(c, dir_fd, wall_s);
	return ok;
}
