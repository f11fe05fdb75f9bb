#include "process/parent_impl.h"

#include <errno.h>

struct parent_keys *parent_keys_of(struct parent *p, const struct child *c)
{
	return &p->keys[c - &p->child[KEYS]];
}

int parent_keys_start(struct parent *p, struct generation *g)
{
	struct child *c;

	if (g->site->keys.count == 0)
		return 0;
	c = parent_beside_place(p, ROLE_KEYS, g->number);
	if (!c)
		return -EAGAIN;
	*parent_keys_of(p, c) = (struct parent_keys){ .list = g->site->keys };
	g->site->keys = (struct key_list){ .key = NULL };
	return parent_start(p, c);
}

bool parent_keys_lost(struct parent *p, struct child *c)
{
	if (c->role != ROLE_KEYS || c->draining || parent_keys_of(p, c)->list.count > 0)
		return false;
	log_error("keys", "error", "the key process of the former program has died: what its last sessions would have signed fails", NULL);
	parent_place_release(p, c);
	return true;
}
