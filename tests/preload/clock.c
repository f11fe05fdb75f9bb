/*
 * A wall clock that a test moves. Preloaded into the gateway; the file that CLOCK_MOVED names holds one number, the nanoseconds by which its clock is ahead
 * (a 64-bit integer of this machine). The file is mapped once, at the start: all children see the same, whatever root directory and system calls they have.
 * The monotonic clock goes on as it is, as it does when an administrator, or NTP, sets the time.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { SECOND_NS = 1000000000 };

static _Atomic int64_t *moved;
static int (*real)(clockid_t id, struct timespec *ts);

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("CLOCK_MOVED");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *at = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(*moved), PROT_READ, MAP_SHARED, fd, 0);

	if (fd >= 0)
		close(fd);
	*(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
	if (at == MAP_FAILED || !real)
		abort();
	moved = at;
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
	int rc = real ? real(id, ts) : -1;

	if (rc == 0 && moved && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
		int64_t ns = (int64_t)ts->tv_sec * SECOND_NS + ts->tv_nsec + atomic_load(moved);

		ts->tv_sec = ns / SECOND_NS;
		ts->tv_nsec = ns % SECOND_NS;
	}
	return rc;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
	struct timespec ts;

	(void)zone;
	if (clock_gettime(CLOCK_REALTIME, &ts) == 0)
		*tv = (struct timeval){ .tv_sec = ts.tv_sec, .tv_usec = ts.tv_nsec / 1000 };
	return 0;
}

time_t time(time_t *out)
{
	struct timespec ts = { 0 };

	clock_gettime(CLOCK_REALTIME, &ts);
	if (out)
		*out = ts.tv_sec;
	return ts.tv_sec;
}
