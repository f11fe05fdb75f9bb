#include "hop/identity.h"

#include <string.h>

static const char *confirmed_name(const struct client *c)
{
	const char *fcrdns = facts_word(&c->evidence.facts, "client.fcrdns");

	return fcrdns && strcmp(fcrdns, "pass") == 0 ? facts_word(&c->evidence.facts, "client.rdns") : NULL;
}

struct smtp_identity identity_of(const struct client *c, const struct net_addr *local)
{
	struct smtp_identity who = {
		.addr = c->addr, .name = confirmed_name(c), .helo = c->helo, .esmtp = c->esmtp, .login = c->auth_user,
	};

	if (local)
		who.local = *local;
	return who;
}
