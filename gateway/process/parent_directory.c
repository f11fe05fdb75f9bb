#include "process/parent_impl.h"

#include <errno.h>

int parent_directory_start(struct parent *p, const struct generation *g)
{
	struct child *c;

	if (g->site->verify != VERIFY_DIRECTORY)
		return 0;
	c = parent_beside_place(p, ROLE_DIRECTORY, g->number);
	return c ? parent_start(p, c) : -EAGAIN;
}

bool parent_directory_asked(struct parent *p, const struct child *worker, const struct child *c)
{
	return c->generation == worker->generation || (c->generation == p->now.number && !parent_beside_find(p, ROLE_DIRECTORY, worker->generation));
}

/* Whose configuration there is: what its process was started with. */
static bool has_site(const struct parent *p, const struct child *c)
{
	return (c->generation == p->now.number && p->now.site) || (c->generation == p->next.number && p->next.site);
}

bool parent_directory_lost(struct parent *p, struct child *c)
{
	if (c->role != ROLE_DIRECTORY || c->draining || has_site(p, c))
		return false;
	log_warning("directory", "what", "the directory process of an older configuration has died: its workers ask the present one, if there is one", NULL);
	parent_place_release(p, c);
	return true;
}
