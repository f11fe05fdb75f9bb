#include "base/shares.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

void shares_init(struct shares *s, int places)
{
	*s = (struct shares){ .all = { .limit = places } };
}

/* What one network may have: one place at least is for others, but where there is no other. */
static int share_places(int all)
{
	int places = (2 * all + 2) / 3;

	return places == all && all > 1 ? all - 1 : places;
}

static struct share *share_get(struct shares *s, const struct net_addr *who)
{
	struct net_addr counted = net_counted(who);
	char network[NET_TEXT_MAX];
	struct share *h;

	net_network_text(&counted, 32, 64, network);
	for (h = s->first; h; h = h->next)
		if (strcmp(h->network, network) == 0)
			break;
	if (!h) {
		h = calloc(1, sizeof(*h));
		if (!h)
			return NULL;
		memcpy(h->network, network, sizeof(network));
		h->gate.limit = share_places(s->all.limit);
		h->next = s->first;
		s->first = h;
	}
	h->users++;
	return h;
}

static void share_put(struct shares *s, struct share *h)
{
	struct share **at = &s->first;

	if (--h->users > 0)
		return;
	while (*at != h)
		at = &(*at)->next;
	*at = h->next;
	free(h);
}

int shares_enter(struct shares *s, const struct net_addr *who, int timeout_ms, struct share **out)
{
	int64_t until_ms = clock_ms() + timeout_ms;
	struct share *h = NULL;
	int rc = 0;

	if (who && who->family) {
		h = share_get(s, who);
		if (!h)
			return -ENOMEM;
		rc = gate_enter(&h->gate, timeout_ms);
		if (rc < 0) {
			share_put(s, h);
			return rc;
		}
	}
	timeout_ms = until_ms > clock_ms() ? (int)(until_ms - clock_ms()) : 0;
	rc = gate_enter(&s->all, timeout_ms);
	if (rc < 0 && h) {
		gate_leave(&h->gate);
		share_put(s, h);
	}
	if (rc == 0)
		*out = h;
	return rc;
}

void shares_leave(struct shares *s, struct share *h)
{
	gate_leave(&s->all);
	if (h) {
		gate_leave(&h->gate);
		share_put(s, h);
	}
}
