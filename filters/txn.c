#include "filters/txn.h"

#include <stdlib.h>

#include "filters/filter.h"

void client_release(struct client *c)
{
	filters_release(&c->evidence);
	free(c->helo);
	free(c->auth_user);
	free(c->auth_mechanism);
	c->helo = c->auth_user = c->auth_mechanism = NULL;
}

void txn_init(struct txn *t, const struct site *site, struct dns *dns, struct client *c)
{
	*t = (struct txn){ .site = site, .dns = dns, .client = c, .stage = STAGE_CONNECT };
}

void txn_limit(struct txn *t, int64_t now_ms, int budget_ms)
{
	t->answer_by_ms = budget_ms ? now_ms + budget_ms : 0;
	t->checked_by_ms = budget_ms ? now_ms + budget_ms - budget_ms / 4 : 0;
}

void txn_release(struct txn *t)
{
	filters_release(&t->evidence);
	for (size_t i = 0; i < t->env.rcpt_count; i++) {
		free(t->env.rcpt[i].address);
		free(t->env.rcpt[i].params);
		free(t->env.rcpt[i].domain);
	}
	free(t->env.rcpt);
	free(t->env.from);
	free(t->env.from_domain);
	free(t->env.params);
	t->env = (struct envelope){ 0 };
	message_free(t->message);
	t->message = NULL;
}
