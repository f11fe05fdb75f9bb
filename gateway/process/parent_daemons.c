/* Connections to unix sockets of daemons for the workers, which open no path. */
#include "process/parent_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

/* A path that the configuration of a generation names. Workers of an older one go on with theirs. */
struct parent_daemon {
	char *path;
	unsigned generation;
};

/* Those of generations that have no workers any more. */
static void forget(struct parent *p)
{
	size_t n = 0;

	for (size_t i = 0; i < p->daemon_count; i++) {
		if (parent_generation_lives(p, p->daemon[i].generation))
			p->daemon[n++] = p->daemon[i];
		else
			free(p->daemon[i].path);
	}
	p->daemon_count = n;
}

static int add(struct parent *p, const char *path, unsigned generation)
{
	struct parent_daemon *more = reallocarray(p->daemon, p->daemon_count + 1, sizeof(*more));
	char *copy = strdup(path);

	if (more)
		p->daemon = more;
	if (!more || !copy) {
		free(copy);
		return -ENOMEM;
	}
	more[p->daemon_count++] = (struct parent_daemon){ .path = copy, .generation = generation };
	return 0;
}

int parent_daemons_add(struct parent *p, const struct site *s, unsigned generation)
{
	int rc = 0;

	forget(p);
	for (size_t i = 0; i < s->daemon_count; i++)
		for (size_t k = 0; rc == 0 && k < s->daemon[i]->address_count; k++)
			if (s->daemon[i]->address[k].path)
				rc = add(p, s->daemon[i]->address[k].path, generation);
	return rc;
}

void parent_daemons_release(struct parent *p)
{
	for (size_t i = 0; i < p->daemon_count; i++)
		free(p->daemon[i].path);
	free(p->daemon);
	p->daemon = NULL;
	p->daemon_count = 0;
}

/* A worker of the program before this one: what its configuration named is known as far as ours names it. */
static bool named(const struct parent *p, const struct child *c, const char *path)
{
	for (size_t i = 0; i < p->daemon_count; i++)
		if ((c->inherited || p->daemon[i].generation == c->generation) && strcmp(p->daemon[i].path, path) == 0)
			return true;
	return false;
}

static int make(const struct parent *p, struct child *c, const struct channel_msg *m)
{
	if (c->role != ROLE_WORKER)
		return -EPERM;
	if (!m->data || m->len == 0 || m->fd >= 0 || memchr(m->data, '\0', m->len))
		return -EPROTO;
	if (!named(p, c, m->data))
		return -EPERM;
	/* Each costs a connection of somebody else: as often as of transparent sockets is more than enough. */
	return parent_socket_may(c) ? file_connect(m->data) : -EBUSY;
}

void parent_daemon(struct parent *p, struct child *c, const struct channel_msg *m)
{
	channel_answer_fd(c->fd, m, make(p, c, m));
}
