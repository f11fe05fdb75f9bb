#include "base/presence.h"

#include <errno.h>
#include <stdbool.h>

enum { TRIES = 4 };

void presence_init(struct presence *p)
{
	siphash_key_make(&p->key);
}

uint64_t presence_hash(const struct presence *p, const void *text, size_t len)
{
	uint64_t hash = siphash(&p->key, text, len);

	return hash ? hash : 1;
}

/* The two buckets of a hash, which are different ones. */
static size_t bucket(uint64_t hash, int which)
{
	size_t first = hash % PRESENCE_BUCKETS, step = 1 + (hash >> 32) % (PRESENCE_BUCKETS - 1);

	return which ? (first + step) % PRESENCE_BUCKETS : first;
}

static int cell_of(size_t b, int way)
{
	return (int)(b * PRESENCE_WAYS) + way;
}

static _Atomic uint64_t *owner_of(struct presence *p, int cell)
{
	return &p->owner[cell / PRESENCE_WAYS][cell % PRESENCE_WAYS];
}

static int sum(const struct presence *p, int cell)
{
	int n = 0;

	for (int i = 0; i < PLACES_WORKERS_MAX; i++)
		n += atomic_load(&p->held[cell][i]);
	return n;
}

/* Its own cell, or -1. */
static int find(const struct presence *p, uint64_t hash)
{
	for (int which = 0; which < 2; which++)
		for (int way = 0; way < PRESENCE_WAYS; way++)
			if (atomic_load(&p->owner[bucket(hash, which)][way]) == hash)
				return cell_of(bucket(hash, which), way);
	return -1;
}

/* Cells of a bucket in which nobody has anything, *cell is one of them. */
static int vacancies(const struct presence *p, size_t b, int *cell)
{
	int n = 0;

	for (int way = 0; way < PRESENCE_WAYS; way++)
		if (sum(p, cell_of(b, way)) == 0) {
			*cell = cell_of(b, way);
			n++;
		}
	return n;
}

/*
 * A cell that nobody uses becomes its own, in the emptier bucket. Whoever enters counts himself and then looks who owns the cell; here the owner is changed and
 * then looked who is in it: one of the two sees the other. false: there is none.
 */
static bool claim(struct presence *p, uint64_t hash)
{
	int cell[2], vacant[2], best;
	uint64_t was, ours = hash;

	for (int which = 0; which < 2; which++)
		vacant[which] = vacancies(p, bucket(hash, which), &cell[which]);
	if (vacant[0] == 0 && vacant[1] == 0)
		return false;
	best = cell[vacant[1] > vacant[0]];
	was = atomic_load(owner_of(p, best));
	if (atomic_compare_exchange_strong(owner_of(p, best), &was, hash) && sum(p, best) > 0)
		atomic_compare_exchange_strong(owner_of(p, best), &ours, was);
	return true;
}

static bool enter_cell(struct presence *p, int worker, uint64_t hash, int cell)
{
	/* The worker alone writes here: it cannot have become full meanwhile. */
	if (atomic_load(&p->held[cell][worker]) == UINT16_MAX)
		return false;
	atomic_fetch_add(&p->held[cell][worker], 1);
	/* From now on nobody takes the cell from its owner; until now somebody may have. */
	if (atomic_load(owner_of(p, cell)) == hash)
		return true;
	atomic_fetch_sub(&p->held[cell][worker], 1);
	return false;
}

int presence_enter(struct presence *p, int worker, uint64_t hash, int max)
{
	for (int i = 0; i < TRIES; i++) {
		int cell = find(p, hash);

		if (cell < 0 && !claim(p, hash))
			break;
		/* Somebody may have claimed one for the same at the same time: the first that is found counts. */
		if (cell < 0)
			cell = find(p, hash);
		if (cell < 0 || !enter_cell(p, worker, hash, cell))
			continue;
		if (max == 0 || sum(p, cell) <= max)
			return cell;
		presence_leave(p, worker, cell);
		return -EBUSY;
	}
	atomic_fetch_add(&p->unplaced, 1);
	return -ENOSPC;
}

void presence_leave(struct presence *p, int worker, int cell)
{
	if (cell >= 0)
		atomic_fetch_sub(&p->held[cell][worker], 1);
}

int presence_count(const struct presence *p, uint64_t hash)
{
	int cell = find(p, hash);

	return cell < 0 ? 0 : sum(p, cell);
}

void presence_forget(struct presence *p, int worker)
{
	for (int cell = 0; cell < PRESENCE_CELLS; cell++)
		if (atomic_load_explicit(&p->held[cell][worker], memory_order_relaxed))
			atomic_store(&p->held[cell][worker], 0);
}
