#include "policy/login_shared.h"

enum { TIME_BITS = 24, TIME_UNIT_S = 16 };      /* 8 years since the machine has started */

static const uint64_t TIME_MASK = (1u << TIME_BITS) - 1;

static struct login_shared_bucket *bucket_of(struct login_shared *t, uint64_t hash)
{
	return &t->bucket[hash % LOGIN_SHARED_BUCKETS];
}

static uint64_t tag_of(uint64_t hash)
{
	return hash & ~TIME_MASK;
}

static uint64_t time_of(int64_t s)
{
	uint64_t n = (uint64_t)s / TIME_UNIT_S;

	return n > TIME_MASK ? TIME_MASK : n;
}

void login_shared_init(struct login_shared *t)
{
	siphash_key_make(&t->key);
}

void login_shared_look(struct login_shared *t, const char *text, size_t len, int64_t now_s, struct login_mark *out)
{
	struct login_shared_bucket *b;

	out->hash = siphash(&t->key, text, len);
	out->clean = false;
	b = bucket_of(t, out->hash);
	out->failures = atomic_load(&b->failures);
	for (int i = 0; i < LOGIN_SHARED_SLOTS; i++) {
		uint64_t v = atomic_load_explicit(&b->slot[i], memory_order_relaxed);

		if (tag_of(v) == tag_of(out->hash) && (v & TIME_MASK) > time_of(now_s))
			out->clean = true;
	}
}

/* Its own, one that is empty or over, or that which will be over first. */
static int slot_for(const struct login_shared_bucket *b, uint64_t hash)
{
	uint64_t least = UINT64_MAX;
	int best = 0;

	for (int i = 0; i < LOGIN_SHARED_SLOTS; i++) {
		uint64_t v = atomic_load_explicit(&b->slot[i], memory_order_relaxed);

		if (v && tag_of(v) == tag_of(hash))
			return i;
		if ((v & TIME_MASK) < least) {
			least = v & TIME_MASK;
			best = i;
		}
	}
	return best;
}

void login_shared_note(struct login_shared *t, const struct login_mark *m, int64_t now_s, int64_t for_s)
{
	struct login_shared_bucket *b = bucket_of(t, m->hash);
	uint64_t until = time_of(now_s + (for_s > LOGIN_SHARED_MAX_S ? LOGIN_SHARED_MAX_S : for_s)), v = tag_of(m->hash) | until;
	int i = slot_for(b, m->hash);

	if (until <= time_of(now_s) || atomic_load(&b->failures) != m->failures)
		return;
	atomic_store(&b->slot[i], v);
	/* Who counts a failure says so first and then looks for what is noted: one of the two sees the other. */
	if (atomic_load(&b->failures) != m->failures)
		atomic_compare_exchange_strong(&b->slot[i], &v, 0);
}

void login_shared_failed(struct login_shared *t, const struct login_mark *m)
{
	struct login_shared_bucket *b = bucket_of(t, m->hash);

	atomic_fetch_add(&b->failures, 1);
	for (int i = 0; i < LOGIN_SHARED_SLOTS; i++) {
		uint64_t v = atomic_load(&b->slot[i]);

		if (v && tag_of(v) == tag_of(m->hash))
			atomic_compare_exchange_strong(&b->slot[i], &v, 0);
	}
}
