#include "policy/spool_split.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SMALL ((uint64_t)1 << 20)
#define MIDDLE ((uint64_t)4 << 20)

struct place {
	struct spool_recipient r;
	size_t at;
};

size_t spool_split_routes(uint64_t bytes)
{
	return bytes <= SMALL ? SPOOL_ENTRY_ROUTES : bytes <= MIDDLE ? 4 * SPOOL_ENTRY_ROUTES : SPOOL_RECIPIENTS_MAX;
}

static int by_route(const void *a, const void *b)
{
	const struct place *x = a, *y = b;
	int order = strcmp(x->r.route, y->r.route);

	return order ? order : x->at < y->at ? -1 : x->at > y->at;
}

static char *copy(const char *text, int *rc)
{
	char *out = text ? strdup(text) : NULL;

	if (text && !out)
		*rc = -ENOMEM;
	return out;
}

/* Like e, with room for so many recipients, and none. */
static struct spool_envelope *empty_like(const struct spool_envelope *e, size_t room)
{
	struct spool_envelope *n = spool_envelope_new();
	int rc = 0;

	if (!n)
		return NULL;
	n->sender = copy(e->sender, &rc);
	n->params = copy(e->params, &rc);
	n->listener = copy(e->listener, &rc);
	n->user = copy(e->user, &rc);
	n->client = copy(e->client, &rc);
	n->helo = copy(e->helo, &rc);
	n->txn = copy(e->txn, &rc);
	n->direction = e->direction;
	n->credible = e->credible;
	n->minor = e->minor;
	n->created_s = e->created_s;
	n->rcpt = calloc(room, sizeof(*n->rcpt));
	n->rcpt_room = room;
	if (rc == 0 && n->rcpt)
		return n;
	spool_envelope_free(n);
	return NULL;
}

/* Of recipients in the order of routes: how many stay. */
static size_t count_staying(const struct place *p, size_t count, size_t routes)
{
	size_t n = 0;

	for (size_t i = 0; i < count; i++) {
		n += i == 0 || strcmp(p[i].r.route, p[i - 1].r.route) != 0;
		if (n > routes)
			return i;
	}
	return count;
}

int spool_split(struct spool_envelope *e, size_t routes, struct spool_envelope **rest)
{
	struct place *p;
	size_t stay;

	*rest = NULL;
	if (e->rcpt_count <= routes)
		return 0;
	p = calloc(e->rcpt_count, sizeof(*p));
	if (!p)
		return -ENOMEM;
	for (size_t i = 0; i < e->rcpt_count; i++)
		p[i] = (struct place){ e->rcpt[i], i };
	qsort(p, e->rcpt_count, sizeof(*p), by_route);
	stay = count_staying(p, e->rcpt_count, routes);
	if (stay < e->rcpt_count) {
		*rest = empty_like(e, e->rcpt_count - stay);
		for (size_t i = 0; *rest && i < e->rcpt_count; i++) {
			if (i < stay)
				e->rcpt[i] = p[i].r;
			else
				(*rest)->rcpt[(*rest)->rcpt_count++] = p[i].r;
		}
		if (*rest)
			e->rcpt_count = stay;
	}
	free(p);
	return *rest || stay == e->rcpt_count ? 0 : -ENOMEM;
}
