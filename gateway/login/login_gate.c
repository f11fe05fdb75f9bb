#include "login/login_gate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/net.h"
#include "base/task.h"

enum { V4_BITS = 32, V6_BITS = 64 };

struct login_gate {
	char network[NET_TEXT_MAX];
	struct gate gate;
	int users;                      /* who is in it, and who waits */
	struct login_gate *next;
};

static struct login_gate *get(struct login_gate **all, const struct net_addr *client, int limit)
{
	char network[NET_TEXT_MAX];
	struct login_gate *g;

	net_network_text(client, V4_BITS, V6_BITS, network);
	for (g = *all; g; g = g->next)
		if (strcmp(g->network, network) == 0)
			return g;
	g = calloc(1, sizeof(*g));
	if (!g)
		return NULL;
	memcpy(g->network, network, sizeof(network));
	g->gate.limit = limit;
	g->next = *all;
	*all = g;
	return g;
}

static void unref(struct login_gate **all, struct login_gate *g)
{
	if (--g->users > 0)
		return;
	while (*all != g)
		all = &(*all)->next;
	*all = g->next;
	free(g);
}

int login_gate_enter(struct login_gate **all, const struct net_addr *client, int limit, int timeout_ms, struct login_gate **out, bool *waited)
{
	struct login_gate *g;
	int rc;

	*out = NULL;
	*waited = false;
	if (limit <= 0)
		return 0;
	g = get(all, client, limit);
	if (!g)
		return -ENOMEM;
	g->users++;
	*waited = g->gate.inside >= g->gate.limit;
	rc = gate_enter(&g->gate, timeout_ms);
	if (rc < 0)
		unref(all, g);
	else
		*out = g;
	return rc;
}

void login_gate_leave(struct login_gate **all, struct login_gate *g)
{
	if (!g)
		return;
	gate_leave(&g->gate);
	unref(all, g);
}
