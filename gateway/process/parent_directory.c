#include "process/parent_impl.h"

#include <errno.h>

#include "base/clock.h"

enum { END_S = 10 };

static struct child *find(struct parent *p, unsigned generation)
{
	for (int i = DIRECTORY; i < WORKERS; i++)
		if (p->child[i].role == ROLE_DIRECTORY && p->child[i].generation == generation)
			return &p->child[i];
	return NULL;
}

bool parent_directory_room(const struct parent *p)
{
	for (int i = DIRECTORY; i < WORKERS; i++)
		if (p->child[i].role != ROLE_DIRECTORY)
			return true;
	return false;
}

int parent_directory_start(struct parent *p, const struct generation *g)
{
	struct child *c = NULL;

	if (g->site->verify != VERIFY_DIRECTORY)
		return 0;
	for (int i = DIRECTORY; i < WORKERS && !c; i++)
		if (p->child[i].role != ROLE_DIRECTORY)
			c = &p->child[i];
	if (!c)
		return -EAGAIN;
	*c = (struct child){ .role = ROLE_DIRECTORY, .slot = -1, .generation = g->number, .fd = -1 };
	return parent_start(p, c);
}

bool parent_directory_ready(struct parent *p, unsigned generation)
{
	const struct child *c = find(p, generation);

	return !c || c->ready;
}

bool parent_directory_asked(struct parent *p, const struct child *worker, const struct child *c)
{
	return c->generation == worker->generation || (c->generation == p->now.number && !find(p, worker->generation));
}

void parent_directory_release(struct child *c)
{
	*c = (struct child){ .role = ROLE_PARENT, .fd = -1, .slot = -1 };
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
	parent_directory_release(c);
	return true;
}

static bool is_needed(const struct parent *p, const struct child *c)
{
	if (c->generation == p->now.number || c->generation == p->next.number)
		return true;
	for (int i = WORKERS; i < CHILDREN_MAX; i++)
		if (p->child[i].role == ROLE_WORKER && p->child[i].generation == c->generation)
			return true;
	return false;
}

void parent_directory_look(struct parent *p)
{
	for (int i = DIRECTORY; i < WORKERS; i++) {
		struct child *c = &p->child[i];

		if (c->role != ROLE_DIRECTORY || c->draining || is_needed(p, c))
			continue;
		c->draining = true;
		c->restart_ms = 0;
		c->kill_ms = clock_ms() + END_S * 1000;
		if (c->pid > 0)
			child_tell(c, CHANNEL_STOP, NULL, 0, -1);
		else
			parent_directory_release(c);
	}
}
