#include "hop/backend_domains.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "hop/backend.h"
#include "policy/conf.h"

struct named {
	const char *name;
	struct backend_group *group;
};

struct backend_domains {
	struct named *owner;
	size_t count;
	struct backend_group **own;     /* those of the owners that are its own */
	size_t own_count;
};

void backend_domains_free(struct backend_domains *d)
{
	if (!d)
		return;
	for (size_t i = 0; i < d->own_count; i++)
		backend_group_free(d->own[i]);
	free(d->own);
	free(d->owner);
	free(d);
}

static int add(struct backend_domains *d, const struct site *site, const struct domain_owner *o, struct dns *dns, struct backend_group *const *have,
	       size_t have_count, struct buf *err)
{
	struct backend_group *g = NULL;
	int rc = 0;

	if (backend_domains_find(d, o->name))
		return 0;
	for (size_t i = 0; i < have_count && !g; i++)
		if (have[i] && backend_group_is(have[i], o))
			g = have[i];
	if (!g) {
		rc = backend_group_owner(site, o, dns, &g, err);
		if (rc < 0)
			return rc;
		d->own[d->own_count++] = g;
	}
	d->owner[d->count++] = (struct named){ .name = o->name, .group = g };
	return 0;
}

int backend_domains_new(const struct site *site, struct dns *dns, struct backend_group *const *have, size_t have_count, struct backend_domains **out,
			struct buf *err)
{
	struct backend_domains *d;
	size_t most = 0;
	int rc = 0;

	*out = NULL;
	for (size_t i = 0; i < site->domain_section_count; i++)
		most += site->domain[i].owner_count;
	if (!most)
		return 0;
	d = calloc(1, sizeof(*d));
	if (d) {
		d->owner = calloc(most, sizeof(*d->owner));
		d->own = calloc(most, sizeof(*d->own));
	}
	if (!d || !d->owner || !d->own)
		rc = -ENOMEM;
	for (size_t i = 0; rc == 0 && i < site->domain_section_count; i++)
		for (size_t k = 0; rc == 0 && k < site->domain[i].owner_count; k++)
			rc = add(d, site, &site->domain[i].owner[k], dns, have, have_count, err);
	if (rc < 0) {
		backend_domains_free(d);
		return rc;
	}
	*out = d;
	return 0;
}

size_t backend_domains_count(const struct backend_domains *d)
{
	return d ? d->own_count : 0;
}

struct backend_group *backend_domains_at(const struct backend_domains *d, size_t i)
{
	return d->own[i];
}

struct backend_group *backend_domains_find(const struct backend_domains *d, const char *name)
{
	for (size_t i = 0; d && i < d->count; i++)
		if (strcmp(d->owner[i].name, name) == 0)
			return d->owner[i].group;
	return NULL;
}

void backend_domains_meet(const struct backend_domains *d, struct smtp_caps *caps)
{
	struct smtp_caps its;

	for (size_t i = 0; d && i < d->count; i++)
		if (backend_group_caps(d->owner[i].group, &its))
			smtp_caps_meet(caps, &its);
}

int backend_domains_ready(const struct backend_domains *d, int timeout_ms)
{
	int64_t until = clock_ms() + timeout_ms;
	int rc = 0;

	for (size_t i = 0; d && i < d->own_count && rc == 0; i++) {
		int64_t left = until - clock_ms();

		rc = backend_group_ready(d->own[i], left > 0 ? (int)left : 0);
	}
	return rc;
}

bool backend_domains_has(const struct backend_domains *d, const struct net_addr *a)
{
	for (size_t i = 0; d && i < d->count; i++)
		if (backend_group_has(d->owner[i].group, a))
			return true;
	return false;
}

int backend_domains_sessions(const struct backend_domains *d)
{
	int n = 0;

	for (size_t i = 0; d && i < d->own_count; i++)
		n += backend_group_sessions(d->own[i]);
	return n;
}
