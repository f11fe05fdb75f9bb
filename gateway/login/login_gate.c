#include "login/login_gate.h"

#include <errno.h>
#include <stdlib.h>

#include "base/task.h"

struct login_gate {
	uint64_t hash;
	struct gate gate;
	int users;                      /* who is in it, and who waits */
	struct login_gate *next;
};

static struct login_gate **find(struct login_gates *all, uint64_t hash)
{
	struct login_gate **g = &all->bucket[hash % LOGIN_GATE_BUCKETS];

	while (*g && (*g)->hash != hash)
		g = &(*g)->next;
	return g;
}

static void unref(struct login_gates *all, struct login_gate *g)
{
	struct login_gate **at = find(all, g->hash);

	if (--g->users > 0)
		return;
	*at = g->next;
	free(g);
}

int login_gate_enter(struct login_gates *all, uint64_t hash, int limit, int timeout_ms, struct login_gate **out, bool *waited)
{
	struct login_gate **at = find(all, hash), *g = *at;
	int rc;

	*out = NULL;
	if (limit <= 0)
		return 0;
	if (!g) {
		g = *at = calloc(1, sizeof(*g));
		if (!g)
			return -ENOMEM;
		g->hash = hash;
		g->gate.limit = limit;
	}
	g->users++;
	*waited = *waited || g->gate.inside >= g->gate.limit;
	rc = gate_enter(&g->gate, timeout_ms);
	if (rc < 0)
		unref(all, g);
	else
		*out = g;
	return rc;
}

void login_gate_leave(struct login_gates *all, struct login_gate *g)
{
	if (!g)
		return;
	gate_leave(&g->gate);
	unref(all, g);
}
