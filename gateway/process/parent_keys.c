#include "process/parent_impl.h"

#include <errno.h>

#include "base/clock.h"

enum { END_S = 10 };

static const struct child *find(const struct parent *p, unsigned generation)
{
	for (int i = KEYS; i < DIRECTORY; i++)
		if (p->child[i].role == ROLE_KEYS && p->child[i].generation == generation)
			return &p->child[i];
	return NULL;
}

struct parent_keys *parent_keys_of(struct parent *p, const struct child *c)
{
	return &p->keys[c - &p->child[KEYS]];
}

bool parent_keys_room(const struct parent *p)
{
	for (int i = KEYS; i < DIRECTORY; i++)
		if (p->child[i].role != ROLE_KEYS)
			return true;
	return false;
}

int parent_keys_start(struct parent *p, struct generation *g)
{
	struct child *c = NULL;

	if (g->site->keys.count == 0)
		return 0;
	for (int i = KEYS; i < DIRECTORY && !c; i++)
		if (p->child[i].role != ROLE_KEYS)
			c = &p->child[i];
	if (!c)
		return -EAGAIN;
	*c = (struct child){ .role = ROLE_KEYS, .slot = -1, .generation = g->number, .fd = -1 };
	*parent_keys_of(p, c) = (struct parent_keys){ .list = g->site->keys };
	g->site->keys = (struct key_list){ .key = NULL };
	return parent_start(p, c);
}

bool parent_keys_ready(const struct parent *p, unsigned generation)
{
	const struct child *c = find(p, generation);

	return !c || c->ready;
}

void parent_keys_release(struct parent *p, struct child *c)
{
	key_list_release(&parent_keys_of(p, c)->list);
	*c = (struct child){ .role = ROLE_PARENT, .fd = -1, .slot = -1 };
}

bool parent_keys_lost(struct parent *p, struct child *c)
{
	if (c->role != ROLE_KEYS || c->draining || parent_keys_of(p, c)->list.count > 0)
		return false;
	log_error("keys", "error", "the key process of the former program has died: what its last sessions would have signed fails", NULL);
	parent_keys_release(p, c);
	return true;
}

/* Whether there is, or will be again, a worker that may ask it. */
static bool is_needed(const struct parent *p, const struct child *c)
{
	if (c->generation == p->now.number || c->generation == p->next.number)
		return true;
	for (int i = WORKERS; i < CHILDREN_MAX; i++)
		if (p->child[i].role == ROLE_WORKER && p->child[i].generation == c->generation)
			return true;
	return false;
}

void parent_keys_look(struct parent *p)
{
	for (int i = KEYS; i < DIRECTORY; i++) {
		struct child *c = &p->child[i];

		if (c->role != ROLE_KEYS || c->draining || is_needed(p, c))
			continue;
		c->draining = true;
		c->restart_ms = 0;
		c->kill_ms = clock_ms() + END_S * 1000;
		if (c->pid > 0)
			child_tell(c, CHANNEL_STOP, NULL, 0, -1);
		else
			parent_keys_release(p, c);
	}
}
