#include "base/tls_weak.h"

#include "base/clock.h"

bool tls_weak_is(const struct tls_weak *w)
{
	return atomic_load(&w->until_ms) != 0;
}

bool tls_weak_skip(struct tls_weak *w)
{
	int64_t until = atomic_load(&w->until_ms), now = clock_ms();

	if (until == 0)
		return false;
	/* Whoever comes first when the time is over tries; if he is never heard of again, another does soon. */
	if (now >= until && atomic_compare_exchange_strong(&w->until_ms, &until, now + TLS_WEAK_TRY_MS))
		return false;
	atomic_fetch_add(&w->sessions, 1);
	return true;
}

bool tls_weak_failed(struct tls_weak *w)
{
	bool news = atomic_exchange(&w->until_ms, clock_ms() + TLS_WEAK_MS) == 0;

	if (news) {
		atomic_store(&w->since_s, clock_wall_s());
		atomic_store(&w->sessions, 0);
	}
	atomic_fetch_add(&w->sessions, 1);
	return news;
}

bool tls_weak_worked(struct tls_weak *w)
{
	return tls_weak_is(w) && atomic_exchange(&w->until_ms, 0) != 0;
}
