#include "policy/recent.h"

#include <stdlib.h>
#include <sys/random.h>

#include "base/clock.h"

struct recent *recent_new(void)
{
	struct recent *r = calloc(1, sizeof(*r));

	if (r && getrandom(&r->seed, sizeof(r->seed), GRND_NONBLOCK) != sizeof(r->seed))
		r->seed = (uintptr_t)r;
	return r;
}

/* FNV-1a, seeded; the NUL counts, so that "ab" "c" is not "a" "bc". */
static uint64_t hash(uint64_t h, const char *s)
{
	do
		h = (h ^ (unsigned char)*s) * 0x100000001b3u;
	while (*s++);
	return h;
}

bool recent_note(struct recent *r, const char *a, const char *b, int64_t life_ms)
{
	int64_t now = clock_ms();
	uint64_t key;
	size_t i;

	if (!r)
		return false;
	key = hash(hash(r->seed ^ 0xcbf29ce484222325u, a), b);
	i = (key >> 40) % RECENT_SLOTS;
	if (r->slot[i].key == key && r->slot[i].until_ms > now)
		return true;
	r->slot[i].key = key;
	r->slot[i].until_ms = now + life_ms;
	return false;
}
