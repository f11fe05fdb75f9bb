/* Processes beside the workers: one of a role for each generation that needs it. */
#include "process/parent_impl.h"

#include "base/clock.h"

enum { END_S = 10 };

static int place_first(enum channel_role role)
{
	return role == ROLE_KEYS ? KEYS : DIRECTORY;
}

struct child *parent_beside_find(struct parent *p, enum channel_role role, unsigned generation)
{
	for (int i = place_first(role), end = i + KEYS_MAX; i < end; i++)
		if (p->child[i].role == role && p->child[i].generation == generation)
			return &p->child[i];
	return NULL;
}

bool parent_beside_room(const struct parent *p, enum channel_role role)
{
	for (int i = place_first(role), end = i + KEYS_MAX; i < end; i++)
		if (p->child[i].role != role)
			return true;
	return false;
}

struct child *parent_beside_place(struct parent *p, enum channel_role role, unsigned generation)
{
	for (int i = place_first(role), end = i + KEYS_MAX; i < end; i++) {
		struct child *c = &p->child[i];

		if (c->role == role)
			continue;
		*c = (struct child){ .role = role, .slot = -1, .generation = generation, .fd = -1 };
		return c;
	}
	return NULL;
}

bool parent_beside_ready(struct parent *p, enum channel_role role, unsigned generation)
{
	const struct child *c = parent_beside_find(p, role, generation);

	return !c || c->ready;
}

void parent_beside_look(struct parent *p, enum channel_role role)
{
	for (int i = place_first(role), end = i + KEYS_MAX; i < end; i++) {
		struct child *c = &p->child[i];

		if (c->role != role || c->draining || parent_generation_lives(p, c->generation))
			continue;
		c->draining = true;
		c->restart_ms = 0;
		c->kill_ms = clock_ms() + END_S * 1000;
		if (c->pid > 0)
			child_tell(c, CHANNEL_STOP, NULL, 0, -1);
		else
			parent_place_release(p, c);
	}
}

bool parent_generation_lives(const struct parent *p, unsigned generation)
{
	if (generation == p->now.number || generation == p->next.number)
		return true;
	for (int i = WORKERS; i < CHILDREN_MAX; i++)
		if (p->child[i].role == ROLE_WORKER && p->child[i].generation == generation)
			return true;
	return false;
}
