#include "process/shared.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"

struct shared *shared_map(void)
{
	struct shared *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (s == MAP_FAILED)
		return NULL;
	s->started_s = clock_wall_s();
	return s;
}

void shared_unmap(struct shared *s)
{
	if (s)
		munmap(s, sizeof(*s));
}

int shared_backend_find(const struct shared *s, const char *name)
{
	for (int i = 0; i < SHARED_BACKENDS; i++)
		if (s->backend_name[i][0] && strncmp(s->backend_name[i], name, SHARED_NAME_MAX - 1) == 0)
			return i;
	return -1;
}

int shared_backend_claim(struct shared *s, const char *name)
{
	int at = shared_backend_find(s, name);

	for (int i = 0; at < 0 && i < SHARED_BACKENDS; i++)
		if (!s->backend_name[i][0]) {
			snprintf(s->backend_name[i], SHARED_NAME_MAX, "%s", name);
			memset(&s->backend[i], 0, sizeof(s->backend[i]));
			at = i;
		}
	return at;
}

void shared_backend_keep(struct shared *s, const char *const *names, size_t count)
{
	for (int i = 0; i < SHARED_BACKENDS; i++) {
		size_t n = 0;

		while (n < count && strncmp(s->backend_name[i], names[n], SHARED_NAME_MAX - 1) != 0)
			n++;
		if (n == count)
			s->backend_name[i][0] = 0;
	}
}

int shared_slot_claim(struct shared *s, unsigned generation)
{
	for (int i = 0; i < SHARED_SLOTS; i++)
		if (atomic_load(&s->slot[i].pid) == 0) {
			atomic_store(&s->slot[i].generation, generation);
			atomic_store(&s->slot[i].pid, -1);      /* taken; the worker's pid comes with it */
			return i;
		}
	return -1;
}

void shared_slot_clear(struct shared *s, int slot)
{
	struct shared_slot *l = &s->slot[slot];

	atomic_store(&l->sessions, 0);
	atomic_store(&l->accepted, 0);
	atomic_store(&l->log_dropped, 0);
	for (int i = 0; i < SHARED_BACKENDS; i++)
		atomic_store(&s->backend[i].inside[slot], 0);
	atomic_store(&l->pid, 0);
}

int shared_sessions(const struct shared *s)
{
	int n = 0;

	for (int i = 0; i < SHARED_SLOTS; i++)
		n += atomic_load(&s->slot[i].sessions);
	return n;
}

void *shared_room(struct shared *s, size_t bytes)
{
	size_t at = (s->room_used + 63) & ~(size_t)63;

	if (bytes > SHARED_ROOM || at > SHARED_ROOM - bytes)
		return NULL;
	s->room_used = at + bytes;
	return s->room + at;
}
