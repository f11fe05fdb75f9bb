/* conf_relays - trusted_relays, held against the rest of the file and the rules */
#include <string.h>

#include "policy/conf_table.h"
#include "policy/policy_expr.h"

struct asked {
	int fact;
	bool found;
};

static void note(int fact, void *arg)
{
	struct asked *a = arg;

	a->found = a->found || fact == a->fact;
}

/* A rule refuses, and none asks whether it is a relay that would bounce it. */
static bool bounces(const struct policy *p)
{
	struct asked a = { .fact = fact_find("client.relayed", strlen("client.relayed")) };
	bool refuses = false;

	if (!p || a.fact == FACT_NONE)          /* who reads the file has no filters */
		return false;
	for (size_t i = 0; i < policy_rule_count(p); i++) {
		const struct rule *r = policy_rule(p, i);

		refuses = refuses || (r->action == ACTION_REJECT && !r->observe);
		if (r->cond)
			expr_each_fact(r->cond, note, &a);
	}
	return refuses && !a.found;
}

void conf_relays_check(struct conf *c)
{
	const struct site *s = c->site;
	char a[NET_TEXT_MAX], b[NET_TEXT_MAX];

	for (size_t i = 0; i < s->trusted_relay_count; i++) {
		const struct net_prefix *t = &s->trusted_relays[i];

		for (size_t k = 0; k < s->relay_network_count; k++) {
			const struct net_prefix *r = &s->relay_networks[k];

			if (net_in(&t->addr, r) || net_in(&r->addr, t))
				conf_warning(c, 0, "trusted_relays: %s/%d is in relay_networks (%s/%d), too: its mail is one's own and not checked, expected one of the two",
					     net_text(&t->addr, a), t->bits, net_text(&r->addr, b), r->bits);
		}
	}
	if (s->trusted_relay_count && bounces(s->policy))
		conf_warning(c, 0, "trusted_relays: what a rule rejects such a host bounces to its sender, who is often forged, expected a rule above those that quarantines, "
			     "such as: quarantine relayed: if client.relayed and (dnsbl.score >= 5 or spf = fail)");
}
