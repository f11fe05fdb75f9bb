#include "filters/envelope.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const directions[] = { "inbound", "outbound", "internal", "retrieval", NULL };
static const char *const greylist_words[] = { "pass", "wait", "unavailable", NULL };

static const char *const milter_words[] = { "none", "accept", "reject", "tempfail", NULL };

static const struct fact_def envelope_facts[] = {
	{ "sender", FACT_ADDRESS, false, STAGE_MAIL, NULL, "envelope sender; empty for the null sender" },
	{ "sender.domain", FACT_DOMAIN, false, STAGE_MAIL, NULL, "its domain; empty for the null sender" },
	{ "sender.null", FACT_BOOL, false, STAGE_MAIL, NULL, "MAIL FROM:<>, as bounces have it" },
	{ 0 },
};

const struct fact_def recipient_facts[] = {
	{ "rcpt", FACT_ADDRESS, false, STAGE_RCPT, NULL, "the recipient judged" },
	{ "rcpt.domain", FACT_DOMAIN, false, STAGE_RCPT, NULL, "its domain" },
	{ "rcpt.postmaster", FACT_BOOL, false, STAGE_RCPT, NULL, "it is postmaster" },
	{ "direction", FACT_WORD, false, STAGE_RCPT, directions, "from whom to whom the message goes for this recipient" },
	{ "score", FACT_NUMBER, false, STAGE_CONNECT, NULL, "sum of the score rules above that apply; in records, of all above the rule that decided" },
	{ "class", FACT_TEXT, true, STAGE_RCPT, NULL, "classes that the recipient is in" },
	{ "rate.over", FACT_TEXT, true, STAGE_RCPT, NULL, "rates (gatepost.conf) that one of ours is over with this recipient; of strangers none" },
	{ "greylist", FACT_WORD, false, STAGE_RCPT, greylist_words, "what a greylist rule found" },
	{ "milter.rcpt", FACT_WORD, false, STAGE_RCPT, milter_words, "what milters make of the recipient, of the sender, the greeting or the client" },
	{ "temperror.expired", FACT_BOOL, false, STAGE_RCPT, NULL, "deferred too long for a check that fails" },
	{ "regex.gave_up", FACT_BOOL, false, STAGE_DATA, NULL, "a regular expression of the policy was too much work for this message" },
	{ 0 },
};

bool recipient_is_postmaster(const char *address)
{
	return strncasecmp(address, "postmaster", 10) == 0 && (address[10] == '\0' || address[10] == '@');
}

const char *recipient_direction(const struct client *c, bool local)
{
	return !c->relay ? "inbound" : local ? "internal" : "outbound";
}

int recipient_facts_set(const struct recipient *r, struct facts *out)
{
	int rc = facts_set(out, "rcpt", r->address);

	if (rc == 0)
		rc = facts_set(out, "rcpt.domain", r->domain);
	if (rc == 0)
		rc = facts_set_bool(out, "rcpt.postmaster", recipient_is_postmaster(r->address));
	if (rc == 0 && r->direction)
		rc = facts_set(out, "direction", r->direction);
	return rc < 0 ? rc : facts_set_bool(out, "temperror.expired", false);
}

static int envelope_run(struct txn *t, int self, struct facts *out)
{
	const struct envelope *env = &t->env;
	int rc;

	/* What is fetched has no envelope any more: only the server that delivered it may have noted whose it was. */
	if (t->client && t->client->fetches && !env->from[0] && t->message && !message_find(t->message, "Return-Path", 0))
		return 0;
	rc = facts_set(out, "sender", env->from);
	if (rc == 0)
		rc = facts_set(out, "sender.domain", env->from_domain);
	if (rc == 0)
		rc = facts_set_bool(out, "sender.null", env->from[0] == '\0');
	return rc;
}

const struct filter filter_envelope = {
	.name = "envelope", .scope = SCOPE_TXN, .stage = STAGE_MAIL, .facts = envelope_facts, .run = envelope_run,
};
