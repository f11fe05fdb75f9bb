/* ETRN, RFC 1985: a server behind says that it is back, and what is spooled for it starts at once. */
#include "smtp/smtp_session.h"

#include <string.h>

#include "base/log.h"
#include "hop/backend.h"
#include "hop/backend_domains.h"
#include "policy/spool.h"
#include "spool/etrn.h"

bool smtp_may_etrn(const struct smtp_session *s)
{
	return s->svc->spool && (s->client.relay || backend_group_has(s->group, &s->client.addr) ||
			       backend_domains_has(s->svc->domains, &s->client.addr));
}

/* What goes out is started by its queue alone: "#upstream", "#mx". */
static const char *route_of(const struct etrn *e, const struct site *site)
{
	if (etrn_is_ours(e, site))
		return "backend";
	if (e->kind == ETRN_QUEUE && (strcmp(e->name, "upstream") == 0 || strcmp(e->name, "mx") == 0))
		return e->name;
	return NULL;
}

int smtp_do_etrn(struct smtp_session *s, struct smtp_command *c)
{
	const char *route;
	struct etrn e;
	int n;

	if (!smtp_may_etrn(s))
		return smtp_refuse(s, "502 5.5.1 command not implemented");
	if (etrn_parse(c->arg, c->arg_len, &e) < 0)
		return smtp_refuse(s, "501 5.5.4 a domain, @domain or #queue is needed");
	route = route_of(&e, s->svc->site);
	if (!route)
		return smtp_sayf(s, "459 node %s not allowed: no mail for it is kept here", e.name);
	n = spool_wake(s->svc->spool, route);
	/* What is kept for our domains has the backends of its listener, or those of its domain. */
	if (n >= 0 && strcmp(route, "backend") == 0) {
		int owned = spool_wake(s->svc->spool, "owner");

		n = owned < 0 ? owned : n + owned;
	}
	log_notice("etrn", "sid", s->id, "client", s->client.ip, "node", e.name, "result", n < 0 ? strerror(-n) : "started", NULL);
	if (n < 0)
		return smtp_sayf(s, "458 unable to queue messages for node %s", e.name);
	if (n == 0)
		return smtp_sayf(s, "251 ok, no messages waiting for node %s", e.name);
	return smtp_sayf(s, "253 ok, %d pending messages for node %s started", n, e.name);
}
