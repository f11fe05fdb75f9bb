#include "base/load.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/asan.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/task.h"

enum {
	TICK_MS = 200,
	/*
	 * Of numbers below these a percentage says little: three of four sessions are no load. A late loop is a matter of new connections only where there
	 * are many of them; the processor may be busy with something else.
	 */
	SESSIONS_LEAST = 100, WAITING_LEAST = 20, BUSY_SESSIONS = 100, BUSY_ACCEPTS = 20,
	CALM_MS = 10 * 1000,            /* without anybody turned away: it is over */
	TRIM_MS = 10 * 1000, TRIM_BYTES = 16 << 20,
};

struct load {
	struct load_shared *shared;
	int slot;
	struct load_bounds bounds;
	void (*look)(void *arg, struct load_figures *f);
	void *arg;
	int statm_fd;
	struct event *tick;
	int64_t due_ms;                 /* when the next tick is to come */
	int64_t queue_ms;               /* since when connections wait to be accepted; 0: none do */
	int lag_ms;                     /* smoothed */
	int accepts;                    /* since the last tick */
	int highest;                    /* descriptor among them */
	struct load_figures figures;
	int percent;
	enum load_why why;
	int owed[LOAD_KINDS];           /* of a connection that is to be turned away, per cent */
	bool shedding;
	int64_t began_ms, last_ms;      /* turning away */
	uint64_t turned_away[LOAD_KINDS], deferred;     /* since it began */
	int64_t trimmed_ms;
	uint64_t trimmed_bytes;         /* what was in memory then */
};

/* --- what the site's processes share --- */

void load_shared_init(struct load_shared *s)
{
	siphash_key_make(&s->key);
}

void load_shared_forget(struct load_shared *s, int slot)
{
	atomic_store(&s->memory[slot], 0);
	atomic_store(&s->percent[slot], 0);
	atomic_store(&s->tasks[slot], 0);
}

uint64_t load_shared_memory(const struct load_shared *s)
{
	uint64_t sum = 0;

	for (int i = 0; i < LOAD_PLACES; i++)
		sum += atomic_load_explicit(&s->memory[i], memory_order_relaxed);
	return sum;
}

int load_shared_percent(const struct load_shared *s)
{
	int most = 0;

	for (int i = 0; i < PLACES_WORKERS_MAX; i++) {
		int p = atomic_load_explicit(&s->percent[i], memory_order_relaxed);

		most = p > most ? p : most;
	}
	return most;
}

/* An entry: 40 bits of the network's hash, and when in minutes. It may stand in either of two places. */
enum { MINUTE_BITS = 24, MINUTE_MASK = (1 << MINUTE_BITS) - 1 };

static uint64_t network_hash(const struct load_shared *s, const struct net_addr *a)
{
	struct net_addr who = net_counted(a);

	return siphash(&s->key, who.ip, who.family == AF_INET ? 3 : 8);
}

static size_t place(uint64_t hash, int which)
{
	return (which ? hash >> 13 : hash) % LOAD_KNOWN;
}

static unsigned now_minutes(void)
{
	return (unsigned)(clock_wall_s() / 60) & MINUTE_MASK;
}

static unsigned age(uint64_t entry, unsigned now)
{
	return entry ? (now - (unsigned)(entry & MINUTE_MASK)) & MINUTE_MASK : MINUTE_MASK;
}

void load_know(struct load_shared *s, const struct net_addr *a)
{
	uint64_t hash = network_hash(s, a), tag = hash >> MINUTE_BITS << MINUTE_BITS;
	uint64_t first = atomic_load(&s->known[place(hash, 0)]), second = atomic_load(&s->known[place(hash, 1)]);
	unsigned now = now_minutes();
	int which = 0;

	if (first >> MINUTE_BITS != hash >> MINUTE_BITS)
		which = second >> MINUTE_BITS == hash >> MINUTE_BITS || age(second, now) > age(first, now);
	atomic_store(&s->known[place(hash, which)], tag | now);
}

bool load_known(const struct load_shared *s, const struct net_addr *a)
{
	uint64_t hash = network_hash(s, a);
	unsigned now = now_minutes();

	for (int i = 0; i < 2; i++) {
		uint64_t entry = atomic_load(&s->known[place(hash, i)]);

		if (entry && entry >> MINUTE_BITS == hash >> MINUTE_BITS && age(entry, now) <= LOAD_KNOWN_MIN)
			return true;
	}
	return false;
}

/* --- memory --- */

int load_memory_open(void)
{
	return UNDER_ASAN ? -1 : open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
}

uint64_t load_memory_read(int fd)
{
	unsigned long size, resident, shared;
	char text[128];
	ssize_t n = fd >= 0 ? pread(fd, text, sizeof(text) - 1, 0) : -1;

	if (n <= 0)
		return 0;
	text[n] = '\0';
	if (sscanf(text, "%lu %lu %lu", &size, &resident, &shared) != 3 || shared > resident)
		return 0;
	return (uint64_t)(resident - shared) * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* --- arithmetic --- */

const char *load_why_text(enum load_why why)
{
	static const char *const text[LOAD_WHYS] = { "memory", "sessions", "descriptors", "lag", "servers behind" };

	return text[why];
}

static int upper_mark(int from)
{
	return from + (100 - from) * 3 / 5;
}

static int part(uint64_t of, uint64_t bound)
{
	return bound ? of >= 2 * bound ? 200 : (int)(of * 100 / bound) : 0;
}

/* A quarter of the bound is the lower mark, the bound the upper one, which is never passed. */
static int lag_percent(const struct load_bounds *b, int lag_ms)
{
	int low_ms = b->lag_ms / 4, up = upper_mark(b->from);

	if (b->lag_ms <= 0)
		return 0;
	if (lag_ms <= low_ms)
		return part((uint64_t)lag_ms, (uint64_t)low_ms) * b->from / 100;
	return lag_ms >= b->lag_ms ? up : b->from + (lag_ms - low_ms) * (up - b->from) / (b->lag_ms - low_ms);
}

int load_percent(const struct load_bounds *b, const struct load_figures *f, enum load_why *why)
{
	int places = f->places > WAITING_LEAST ? f->places : WAITING_LEAST, highest = 0;
	const int percent[LOAD_WHYS] = {
		[LOAD_MEMORY] = part(f->memory_bytes, b->memory_bytes),
		[LOAD_SESSIONS] = b->sessions >= SESSIONS_LEAST ? part((uint64_t)f->sessions, (uint64_t)b->sessions) : 0,
		[LOAD_DESCRIPTORS] = b->descriptors > 0 ? part((uint64_t)f->descriptors, (uint64_t)b->descriptors) : 0,
		[LOAD_LAG] = lag_percent(b, f->lag_ms),
		[LOAD_WAITING] = f->places > 0 ? part((uint64_t)f->waiting, (uint64_t)places) : 0,
	};

	*why = LOAD_MEMORY;
	for (int i = 0; i < LOAD_WHYS; i++) {
		/* Who waits at a server behind is a matter of the mail that comes, not of our own room. */
		int p = i == LOAD_WAITING && percent[i] > upper_mark(b->from) ? upper_mark(b->from) : percent[i];

		if (p > highest) {
			highest = p;
			*why = (enum load_why)i;
		}
	}
	return highest;
}

int load_share(int from, int percent, enum load_kind kind)
{
	int begin = kind == LOAD_STRANGER ? from : upper_mark(from), end = kind == LOAD_STRANGER ? upper_mark(from) : 100;

	if (from <= 0 || from >= 100 || percent <= begin)
		return 0;
	return percent >= end ? 100 : (percent - begin) * 100 / (end - begin);
}

/* --- of a worker --- */

static void log_load(struct load *l, bool begins)
{
	struct log_line line;

	log_start(&line, begins ? LOG_LEVEL_WARNING : LOG_LEVEL_NOTICE, "load");
	log_str(&line, "what", begins ? "new connections are turned away" : "nobody is turned away any more");
	if (begins) {
		log_str(&line, "why", load_why_text(l->why));
	} else {
		log_num(&line, "seconds", (l->last_ms - l->began_ms) / 1000);
		log_num(&line, "strangers", (int64_t)l->turned_away[LOAD_STRANGER]);
		log_num(&line, "others", (int64_t)l->turned_away[LOAD_WANTED]);
		log_num(&line, "messages", (int64_t)l->deferred);
	}
	log_num(&line, "percent", l->percent);
	log_num(&line, "memory", (int64_t)l->figures.memory_bytes);
	log_num(&line, "sessions", l->figures.sessions);
	log_num(&line, "descriptors", l->figures.descriptors);
	log_num(&line, "lag_ms", l->figures.lag_ms);
	log_emit(&line);
}

static void turned(struct load *l)
{
	l->last_ms = clock_ms();
	if (l->shedding)
		return;
	l->shedding = true;
	l->began_ms = l->last_ms;
	log_load(l, true);
}

static void calm(struct load *l, int64_t now_ms)
{
	if (!l->shedding || now_ms - l->last_ms < CALM_MS || l->percent > l->bounds.from)
		return;
	l->shedding = false;
	log_load(l, false);
	memset(l->turned_away, 0, sizeof(l->turned_away));
	l->deferred = 0;
}

/*
 * What has been freed lies between what has not: without this a worker that has once had much to do would stay near the bound for ever, and all would
 * be turned away for ever. Only now and then, since it goes through all that is free. Near the bound also when nothing has been added since: what was in use
 * when it was done last may be free by now, and those who are turned away add nothing.
 */
bool load_trim_due(bool near, uint64_t bytes, uint64_t trimmed_bytes, int64_t since_ms)
{
	if (bytes >= trimmed_bytes + TRIM_BYTES)
		return since_ms >= (near ? TRIM_MS : 6 * TRIM_MS);
	return near && since_ms >= 2 * TRIM_MS;
}

static void trim(struct load *l, uint64_t bytes, int64_t now_ms)
{
	bool near = l->bounds.memory_bytes && part(load_shared_memory(l->shared), l->bounds.memory_bytes) > l->bounds.from;

	if (bytes < l->trimmed_bytes)
		l->trimmed_bytes = bytes;
	if (!load_trim_due(near, bytes, l->trimmed_bytes, now_ms - l->trimmed_ms))
		return;
	(void)malloc_trim(0);
	l->trimmed_ms = now_ms;
	l->trimmed_bytes = load_memory_read(l->statm_fd);
}

/* The number of the next one: the kernel gives the lowest that is free. */
static int descriptors(const struct load *l)
{
	int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);

	if (fd < 0)
		return errno == EMFILE ? l->bounds.descriptors : l->highest;
	close(fd);
	return fd > l->highest ? fd : l->highest;
}

static int lag(struct load *l, int64_t now_ms)
{
	int64_t late_ms = now_ms - l->due_ms, most_ms = 2 * (int64_t)l->bounds.lag_ms, waited_ms = l->queue_ms ? now_ms - l->queue_ms : 0;

	if (late_ms < 0 || (l->figures.sessions < BUSY_SESSIONS && l->accepts < BUSY_ACCEPTS))
		late_ms = 0;
	if (waited_ms > late_ms)
		late_ms = waited_ms;
	if (late_ms > most_ms)
		late_ms = most_ms;
	return (int)((3 * l->lag_ms + late_ms) / 4);
}

static void on_tick(int fd, short what, void *arg)
{
	struct load *l = arg;
	struct load_figures f = { 0 };
	int64_t now_ms = clock_ms();
	uint64_t bytes = load_memory_read(l->statm_fd);

	l->look(l->arg, &f);
	if (bytes)
		bytes += f.memory_bytes;
	atomic_store(&l->shared->memory[l->slot], bytes);
	f.memory_bytes = load_shared_memory(l->shared);
	f.descriptors = descriptors(l);
	if (!l->accepts)
		l->queue_ms = 0;        /* another worker may have emptied it */
	l->lag_ms = UNDER_ASAN ? 0 : lag(l, now_ms);
	f.lag_ms = l->lag_ms;
	l->figures = f;
	l->percent = load_percent(&l->bounds, &f, &l->why);
	atomic_store(&l->shared->percent[l->slot], l->percent);
	atomic_store(&l->shared->tasks[l->slot], (int)task_count());
	l->accepts = l->highest = 0;
	l->due_ms = now_ms + TICK_MS;
	calm(l, now_ms);
	if (bytes)
		trim(l, bytes, now_ms);
}

struct load *load_new(struct load_shared *shared, int slot, const struct load_bounds *bounds, void (*look)(void *arg, struct load_figures *f), void *arg)
{
	struct load *l = calloc(1, sizeof(*l));
	struct rlimit files;

	if (!l)
		return NULL;
	*l = (struct load){ .shared = shared, .slot = slot, .bounds = *bounds, .look = look, .arg = arg, .statm_fd = load_memory_open() };
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < INT32_MAX)
		l->bounds.descriptors = (int)files.rlim_cur;
	atomic_store(&shared->memory_max, bounds->memory_bytes);
	return l;
}

void load_free(struct load *l)
{
	if (!l)
		return;
	if (l->tick)
		event_free(l->tick);
	if (l->statm_fd >= 0)
		close(l->statm_fd);
	free(l);
}

int load_start(struct load *l)
{
	struct timeval tv = { 0, TICK_MS * 1000 };

	l->tick = event_new(loop_base(), -1, EV_PERSIST, on_tick, l);
	l->trimmed_ms = clock_ms();
	l->due_ms = l->trimmed_ms + TICK_MS;
	return l->tick && event_add(l->tick, &tv) == 0 ? 0 : -ENOMEM;
}

bool load_turns_away(struct load *l, enum load_kind kind, int fd)
{
	l->accepts++;
	l->highest = fd > l->highest ? fd : l->highest;
	l->owed[kind] += load_share(l->bounds.from, l->percent, kind);
	if (l->owed[kind] < 100)
		return false;
	l->owed[kind] -= 100;
	l->turned_away[kind]++;
	atomic_fetch_add(&l->shared->turned_away[kind], 1);
	turned(l);
	return true;
}

void load_queue(struct load *l, bool empty)
{
	if (empty)
		l->queue_ms = 0;
	else if (!l->queue_ms)
		l->queue_ms = clock_ms();
}

bool load_memory_short(struct load *l)
{
	if (!l || l->bounds.from <= 0 || l->bounds.from >= 100 || !l->bounds.memory_bytes || part(l->figures.memory_bytes, l->bounds.memory_bytes) < LOAD_SHORT)
		return false;
	l->deferred++;
	atomic_fetch_add(&l->shared->deferred, 1);
	turned(l);
	return true;
}
