#include "filters/login.h"

static const struct fact_def login_facts[] = {
	{ "listener", FACT_TEXT, false, STAGE_MAIL, NULL, "the listener that the client came to, by its name in gatepost.conf" },
	{ "client.relay", FACT_BOOL, false, STAGE_MAIL, NULL, "the client is one of ours: in relay_networks, or logged in; of mail that is fetched false" },
	{ "auth.user", FACT_TEXT, false, STAGE_MAIL, NULL, "the name that it has logged in with; no value without a login" },
	{ "auth.mechanism", FACT_TEXT, false, STAGE_MAIL, NULL, "and how, PLAIN for one; no value without a login" },
	{ 0 },
};

static int login_run(struct txn *t, int self, struct facts *out)
{
	const struct client *c = t->client;
	/* Rules let pass what ours send by this fact; what one of ours fetches somebody else has sent. */
	int rc = facts_set_bool(out, "client.relay", c->relay && !c->fetches);

	if (rc == 0 && c->listener)
		rc = facts_set(out, "listener", c->listener);
	if (rc == 0 && c->auth_user && c->auth_user[0])         /* GSSAPI tells the server alone */
		rc = facts_set(out, "auth.user", c->auth_user);
	return rc < 0 || !c->auth_mechanism ? rc : facts_set(out, "auth.mechanism", c->auth_mechanism);
}

const struct filter filter_login = {
	.name = "login", .scope = SCOPE_TXN, .stage = STAGE_MAIL, .facts = login_facts, .run = login_run,
};
