#include "smtp/route.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "hop/auth_hop.h"
#include "hop/backend_domains.h"
#include "hop/backend_hop.h"
#include "hop/mx_hop.h"
#include "smtp/smtp_inline.h"
#include "smtp/smtp_session.h"
#include "smtp/smtp_told.h"

static const char *const kinds[] = { "backend", "destination", "auth", "upstream", "mx", "owner" };

void route_of_owner(const struct domain_conf *d, size_t owner, struct route *out)
{
	*out = (struct route){ .kind = ROUTE_OWNER };
	snprintf(out->domain, sizeof(out->domain), "%s", d->owner[owner].name);
}

void route_of_domain(const struct site *site, const char *domain, struct route *out)
{
	const struct domain_conf *d = site_domain(site, domain);

	if (d)
		route_of_owner(d, 0, out);
	else
		*out = (struct route){ .kind = ROUTE_BACKEND };
}

void route_of_ours(const struct site *site, const char *domain, struct route *out)
{
	if (site_accepts(site, domain)) {
		route_of_domain(site, domain, out);
		return;
	}
	*out = (struct route){ .kind = site->outbound.via_count > 0 ? ROUTE_UPSTREAM : ROUTE_MX };
	if (out->kind == ROUTE_MX)
		snprintf(out->domain, sizeof(out->domain), "%s", domain);
}

/* The door: whatever the policy says. */
static const char relaying_denied[] = "550 5.7.1 relaying denied";

const char *route_find(const struct smtp_session *s, const struct recipient *r, struct route *out)
{
	*out = (struct route){ .kind = s->login ? ROUTE_AUTH : ROUTE_BACKEND };
	if (s->login)                           /* to whom its user may write is that server's to say */
		return NULL;
	if (s->listener->direction == DIRECTION_OUTBOUND && !s->client.relay)
		return relaying_denied;
	/* Inline: the server that the client wanted, which sees the client and decides for itself what it relays for one of ours. */
	if (s->destination.family && (r->local || s->client.relay)) {
		out->kind = ROUTE_DESTINATION;
		if (!r->local && r->domain[0] != '[' && strlen(r->domain) < sizeof(out->domain))
			snprintf(out->domain, sizeof(out->domain), "%s", r->domain);
		return NULL;
	}
	if (r->local) {
		route_of_domain(s->svc->site, r->domain, out);
		return NULL;
	}
	if ((!s->client.relay && !r->rewritten) || strlen(r->domain) >= sizeof(out->domain))
		return relaying_denied;
	route_of_ours(s->svc->site, r->domain, out);
	return NULL;
}

bool route_behind(const struct route *r)
{
	return r->kind == ROUTE_BACKEND || r->kind == ROUTE_OWNER;
}

bool route_same(const struct route *a, const struct route *b)
{
	return a->kind == b->kind && (a->kind == ROUTE_DESTINATION || strcmp(a->domain, b->domain) == 0);
}

const char *route_text(const struct route *r, char *out)
{
	snprintf(out, ROUTE_TEXT_MAX, r->domain[0] && r->kind != ROUTE_DESTINATION ? "%s %s" : "%s", kinds[r->kind], r->domain);
	return out;
}

int route_parse(const char *text, struct route *out)
{
	size_t len = strcspn(text, " "), rest = text[len] ? strlen(text + len + 1) : 0;

	*out = (struct route){ 0 };
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		if (strlen(kinds[i]) != len || strncmp(text, kinds[i], len) != 0)
			continue;
		out->kind = (enum route_kind)i;
		if ((rest > 0) != (i == ROUTE_MX || i == ROUTE_OWNER) || (text[len] && !rest) || rest >= sizeof(out->domain) || (rest > 0 && strpbrk(text + len + 1, " \t\r\n")))
			return -EINVAL;
		memcpy(out->domain, rest ? text + len + 1 : "", rest + 1);
		return 0;
	}
	return -EINVAL;
}

struct backend_group *route_group(const struct smtp_service *svc, const struct smtp_session *s, const struct route *r)
{
	if (r->kind == ROUTE_OWNER)
		return backend_domains_find(svc->domains, r->domain);
	return r->kind != ROUTE_BACKEND ? NULL : s ? s->group : svc->group;
}

struct next_hop *route_hop(struct smtp_service *svc, struct smtp_session *s, const struct route *r)
{
	struct destination destination;
	struct backend_group *behind = route_group(svc, s, r);

	switch (r->kind) {
	case ROUTE_BACKEND:
	case ROUTE_OWNER:
		return behind ? backend_hop_new(behind, s ? smtp_told_client(s) : NULL, s ? &s->local : NULL) : NULL;
	case ROUTE_AUTH:
		return s && s->login ? auth_hop_new(s->login) : NULL;
	case ROUTE_UPSTREAM:
		return mx_hop_new(svc->outbound, NULL, !s);
	case ROUTE_MX:
		return mx_hop_new(svc->outbound, r->domain, !s);
	case ROUTE_DESTINATION:
		if (s)
			destination = smtp_inline_destination(s, r->domain);
		return s ? destination_hop_new(&destination) : NULL;
	}
	return NULL;
}
