#include "hop/backend_hop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hop/backend.h"
#include "hop/identity.h"

struct backend_hop {
	struct next_hop hop;
	struct backend_group *group;
	struct backend_session *session;
	const struct client *who;
	const struct net_addr *local;
};

/* What a server said to this client at its greeting, as a reply to him. */
void backend_hop_refuse(struct next_hop *h, const char *words)
{
	if (strncmp(words, "421", 3) == 0)      /* it closes its session, not ours */
		snprintf(h->refusal, sizeof(h->refusal), "451 4.3.2 the mail server behind says: %s", words + 4);
	else
		snprintf(h->refusal, sizeof(h->refusal), "%s", words);
}

static int take(struct next_hop *h, int64_t deadline_ms)
{
	struct backend_hop *b = (struct backend_hop *)h;
	struct smtp_identity who = b->who ? identity_of(b->who, b->local) : (struct smtp_identity){ 0 };
	char refusal[SMTP_WHY_MAX];
	int rc = backend_take_for(b->group, b->who ? &who : NULL, deadline_ms, &b->session, refusal);

	h->refusal[0] = '\0';
	if (rc < 0) {
		if (refusal[0])
			backend_hop_refuse(h, refusal);
		return rc;
	}
	h->client = b->session->client;
	h->strain = b->session->strain;
	h->used = !b->session->fresh;
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

struct next_hop *backend_hop_new(struct backend_group *g, const struct client *who, const struct net_addr *local)
{
	struct backend_hop *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->hop.ops = &ops;
	b->group = g;
	b->who = who;
	b->local = local;
	return &b->hop;
}
