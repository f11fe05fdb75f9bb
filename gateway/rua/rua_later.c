#include "rua/rua_later.h"

#include <stdbool.h>
#include <stdlib.h>

enum { FIRST = 64 };

void rua_later_release(struct rua_later *t)
{
	free(t->late);
	*t = (struct rua_later){ .late = NULL };
}

/* Where it is, or would be. There is a free place. */
static size_t place(const struct rua_later *t, uint64_t key)
{
	size_t i = key & (t->size - 1);

	while (t->late[i].key && t->late[i].key != key)
		i = (i + 1) & (t->size - 1);
	return i;
}

struct rua_late *rua_later_find(const struct rua_later *t, uint64_t key)
{
	struct rua_late *l = t->size ? &t->late[place(t, key)] : NULL;

	return l && l->key ? l : NULL;
}

/* Half of it stays free. */
static bool grow(struct rua_later *t)
{
	struct rua_later bigger = { .size = t->size ? 2 * t->size : FIRST, .used = t->used };

	bigger.late = calloc(bigger.size, sizeof(*bigger.late));
	if (!bigger.late)
		return false;
	for (size_t i = 0; i < t->size; i++)
		if (t->late[i].key)
			bigger.late[place(&bigger, t->late[i].key)] = t->late[i];
	free(t->late);
	*t = bigger;
	return true;
}

struct rua_late *rua_later_put(struct rua_later *t, uint64_t key)
{
	struct rua_late *l = rua_later_find(t, key);

	if (l)
		return l;
	if (t->used == RUA_LATER_MAX || (2 * (t->used + 1) > t->size && !grow(t)))
		return NULL;
	l = &t->late[place(t, key)];
	*l = (struct rua_late){ .key = key };
	t->used++;
	return l;
}

/* Those behind it move up, if they may stand there. */
void rua_later_drop(struct rua_later *t, uint64_t key)
{
	struct rua_late *l = rua_later_find(t, key);
	size_t mask = t->size - 1, hole;

	if (!l)
		return;
	hole = (size_t)(l - t->late);
	for (size_t i = (hole + 1) & mask; t->late[i].key; i = (i + 1) & mask) {
		size_t home = t->late[i].key & mask;

		if (((i - home) & mask) < ((i - hole) & mask))
			continue;
		t->late[hole] = t->late[i];
		hole = i;
	}
	t->late[hole].key = 0;
	t->used--;
}

void rua_later_tidy(struct rua_later *t, int64_t before_ms)
{
	for (size_t i = 0; i < t->size;) {
		if (t->late[i].key && t->late[i].until_ms < before_ms)
			rua_later_drop(t, t->late[i].key);      /* another may stand there now */
		else
			i++;
	}
}
