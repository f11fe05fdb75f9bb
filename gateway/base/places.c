#include "base/places.h"

bool places_enter(struct places *p, int worker, int max)
{
	atomic_fetch_add(&p->held[worker], 1);
	if (max == 0 || places_held(p) <= max)
		return true;
	places_leave(p, worker);
	return false;
}

void places_leave(struct places *p, int worker)
{
	atomic_fetch_sub(&p->held[worker], 1);
}

int places_held(const struct places *p)
{
	int sum = 0;

	for (int i = 0; i < PLACES_WORKERS_MAX; i++)
		sum += atomic_load(&p->held[i]);
	return sum;
}

void places_forget(struct places *p, int worker)
{
	atomic_store(&p->held[worker], 0);
}
