#include "spool/spool_route.h"

#include <stdio.h>
#include <string.h>

#include "hop/backend.h"
#include "hop/backend_hop.h"
#include "policy/conf.h"
#include "smtp/smtp_address.h"
#include "smtp/smtp_session.h"

static const char backend_of[] = "backend ";

bool spool_route_text(const struct smtp_session *s, const struct route *r, char *out)
{
	struct route backend = { .kind = ROUTE_BACKEND };

	if (r->kind == ROUTE_AUTH)
		return false;           /* it needs the session */
	if (r->kind == ROUTE_DESTINATION) {
		if (!backend_at(s->group, &s->destination))
			return false;
		r = &backend;
	}
	if (r->kind == ROUTE_BACKEND && s->group != s->svc->group)
		snprintf(out, SPOOL_ROUTE_MAX, "%s%s", backend_of, s->listener->name);
	else
		route_text(r, out);
	return true;
}

bool spool_route_address(const struct smtp_service *svc, const char *address, char *out)
{
	const char *at = strrchr(address, '@');
	struct route r;
	char domain[SMTP_DOMAIN_MAX + 1];

	if (!at || !at[1] || smtp_domain_ascii(at + 1, domain) < 0)
		return false;
	route_of_ours(svc->site, domain, &r);
	route_text(&r, out);
	return true;
}

struct next_hop *spool_route_hop(struct smtp_service *svc, const char *text, const struct client *who)
{
	struct route r;

	if (strncmp(text, backend_of, sizeof(backend_of) - 1) == 0) {
		for (size_t i = 0; i < svc->site->listener_count; i++)
			if (strcmp(svc->site->listener[i].name, text + sizeof(backend_of) - 1) == 0)
				return backend_hop_new(svc->listener_group[i], who, NULL);
		return backend_hop_new(svc->group, who, NULL);  /* that listener is gone */
	}
	if (route_parse(text, &r) < 0)
		return NULL;
	if (route_behind(&r)) {
		struct backend_group *behind = route_group(svc, NULL, &r);

		return behind ? backend_hop_new(behind, who, NULL) : NULL;
	}
	return route_hop(svc, NULL, &r);
}
