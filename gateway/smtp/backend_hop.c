#include "smtp/backend_hop.h"

#include <stdio.h>
#include <stdlib.h>

#include "smtp/backend.h"

struct backend_hop {
	struct next_hop hop;
	struct backend_group *group;
	struct backend_session *session;
};

static int take(struct next_hop *h, int64_t deadline_ms)
{
	struct backend_hop *b = (struct backend_hop *)h;
	int rc = backend_take(b->group, deadline_ms, &b->session);

	if (rc < 0)
		return rc;
	h->client = b->session->client;
	h->strain = b->session->strain;
	snprintf(h->name, sizeof(h->name), "%s", backend_name(b->session->backend));
	return 0;
}

static void give(struct next_hop *h, bool clean)
{
	struct backend_hop *b = (struct backend_hop *)h;

	b->session->strain = h->strain;
	backend_give(b->session, clean);
	b->session = NULL;
	h->client = NULL;
}

static void release(struct next_hop *h)
{
	free(h);
}

static const struct next_hop_ops ops = { take, give, release };

struct next_hop *backend_hop_new(struct backend_group *g)
{
	struct backend_hop *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->hop.ops = &ops;
	b->group = g;
	return &b->hop;
}
