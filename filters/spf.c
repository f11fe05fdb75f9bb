#include "filters/spf.h"

#include <errno.h>

#include "filters/spf_engine.h"
#include "policy/conf.h"

enum { TIMEOUT_MS = 20000 };            /* RFC 7208 4.6.4: at least 20 seconds */

static const char *const words[] = { "none", "neutral", "pass", "fail", "softfail", "temperror", "permerror", NULL };

static const struct fact_def facts[] = {
	{ "spf", FACT_WORD, false, STAGE_MAIL, words, "whether the client may send for the sender's domain (RFC 7208); null sender: for the HELO name" },
	{ "spf.domain", FACT_DOMAIN, false, STAGE_MAIL, NULL, "the domain that was checked" },
	{ "spf.mechanism", FACT_TEXT, false, STAGE_MAIL, NULL, "the term of the SPF record that decided" },
	{ "spf.record", FACT_TEXT, false, STAGE_MAIL, NULL, "the SPF record of that domain" },
	{ "spf.explanation", FACT_TEXT, false, STAGE_MAIL, NULL, "what the domain says about a fail" },
	{ 0 },
};

static const struct fact_def helo_facts[] = {
	{ "spf.helo", FACT_WORD, false, STAGE_MAIL, words, "whether the client may use its HELO name (RFC 7208 2.3)" },
	{ 0 },
};

static int begin(struct txn *t, int self, bool helo)
{
	struct spf_query q = {
		.client = t->client->addr,
		.helo = t->client->helo,
		.sender = helo ? NULL : t->env.from,
		.receiver = t->site ? t->site->hostname : NULL,
		.timeout_ms = t->site && t->site->spf_timeout_ms > 0 ? t->site->spf_timeout_ms : TIMEOUT_MS,
		.explain = !helo,
	};
	struct spf_check *c;
	int rc = spf_check_begin(t->site ? t->site->spf_engine : ENGINE_NATIVE, &q, t->dns, &c);

	if (rc == 0)
		t->evidence.filter[self] = c;
	return rc;
}

static void start(struct txn *t, int self)
{
	begin(t, self, false);
}

static void helo_start(struct txn *t, int self)
{
	begin(t, self, true);
}

static void release(struct evidence *e, int self)
{
	spf_check_free(e->filter[self]);
	e->filter[self] = NULL;
}

/* may wait */
static int result_wait(struct txn *t, int self, bool helo, struct spf_result *r)
{
	int rc = t->evidence.filter[self] ? 0 : begin(t, self, helo);

	return rc < 0 ? rc : spf_check_finish(t->evidence.filter[self], r);
}

static int code_set(struct facts *out, const char *name, const struct spf_result *r)
{
	if (r->code == SPF_TEMPERROR)
		return facts_temperror(out, name, r->why);
	return facts_set_why(out, name, spf_code_name(r->code), "%s", r->why);
}

static int run(struct txn *t, int self, struct facts *out)
{
	AUTO(spf_result) struct spf_result r = { 0 };
	int rc = result_wait(t, self, false, &r);

	if (rc == 0)
		rc = code_set(out, "spf", &r);
	if (rc == 0 && r.domain[0])
		rc = facts_set(out, "spf.domain", r.domain);
	if (rc == 0 && r.mechanism)
		rc = facts_set(out, "spf.mechanism", r.mechanism);
	if (rc == 0 && r.record)
		rc = facts_set(out, "spf.record", r.record);
	if (rc == 0 && r.explanation)
		rc = facts_set(out, "spf.explanation", r.explanation);
	return rc;
}

static int helo_run(struct txn *t, int self, struct facts *out)
{
	AUTO(spf_result) struct spf_result r = { 0 };
	int rc = result_wait(t, self, true, &r);

	return rc < 0 ? rc : code_set(out, "spf.helo", &r);
}

static int ours(struct txn *t, struct facts *out)
{
	return facts_set_why(out, "spf", "none", "one of ours: does not apply");
}

static int helo_ours(struct txn *t, struct facts *out)
{
	return facts_set_why(out, "spf.helo", "none", "one of ours: does not apply");
}

const struct filter filter_spf = {
	.name = "spf",
	.scope = SCOPE_TXN,
	.client = CLIENT_NEEDED,
	.stage = STAGE_MAIL,
	.facts = facts,
	.start = start,
	.run = run,
	.ours = ours,
	.release = release,
};

const struct filter filter_spf_helo = {
	.name = "spf.helo",
	.scope = SCOPE_TXN,
	.client = CLIENT_NEEDED,
	.stage = STAGE_MAIL,
	.facts = helo_facts,
	.start = helo_start,
	.run = helo_run,
	.ours = helo_ours,
	.release = release,
};
