/*
 * fuzz_policy - the text of a policy file; what parses is described and run on some facts
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "filters/filter.h"
#include "policy/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct source {
	struct facts facts;
	enum stage stage;
};

static const struct fact *get(void *arg, int id, bool *final)
{
	struct source *s = arg;

	*final = s->stage >= fact_def(id)->stage;
	return *final ? facts_get(&s->facts, id) : NULL;
}

/* Every other fact has a value, one that rules are likely to name; every seventh could not be
 * established. */
static void fill(struct facts *f)
{
	for (int id = 0; id < fact_count(); id++) {
		const struct fact_def *d = fact_def(id);

		if (id % 7 == 3)
			facts_temperror(f, d->name, "timeout");
		else if (id % 2 && d->type == FACT_NUMBER)
			facts_set_num(f, d->name, id);
		else if (id % 2 && d->type == FACT_BOOL)
			facts_set_bool(f, d->name, id % 4 == 1);
		else if (id % 2 && d->list)
			facts_add(f, d->name, d->type == FACT_WORD ? d->words[0] : "a.example");
		else if (id % 2)
			facts_set(f, d->name,
				  d->type == FACT_WORD	    ? d->words[id % 3 && d->words[1]]
				  : d->type == FACT_IP	    ? "192.0.2.1"
				  : d->type == FACT_ADDRESS ? "u@a.example"
							    : "a.example");
	}
}

static void run(const struct policy *p, struct source *s, bool expired)
{
	struct policy_facts f = { .get = get, .arg = s, .temperror_expired = expired };
	struct policy_run r = { 0 };

	for (int stage = 0; stage < STAGE_COUNT; stage++) {
		enum policy_event e;
		size_t greylists = 0;

		s->stage = (enum stage)stage;
		while ((e = policy_next(p, &r, &f, stage == STAGE_DATA)) == POLICY_GREYLIST)
			assert(++greylists <= policy_rule_count(p));
		assert(stage < STAGE_DATA || e != POLICY_UNDECIDED);
		assert(r.effect_count <= POLICY_EFFECTS_MAX && r.observed_count <= POLICY_EFFECTS_MAX);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct source s;
	AUTO(buf) struct buf errors = BUF_INIT(64 * 1024), warnings = BUF_INIT(64 * 1024);
	AUTO(buf) struct buf out = BUF_INIT(1 << 20);
	AUTO(policy) struct policy *p = NULL;
	char *domains[] = { "local.example" };

	fact_register_all();
	if (!s.facts.count)
		fill(&s.facts);
	p = policy_parse("fuzz", (const char *)data, size, NULL, &errors, &warnings);
	assert(!p == (errors.len > 0));         /* a refusal always says why */
	if (!p)
		return 0;
	policy_set_local(p, domains, 1);
	policy_describe(p, &out);
	for (size_t i = 0; i < policy_rule_count(p); i++) {
		struct policy_facts f = { .get = get, .arg = &s };

		buf_clear(&out);
		policy_truth(p, policy_rule(p, i), &f, &out);
		policy_held_back_by(p, i);
		assert(policy_rule(p, i)->name && policy_rule(p, i)->text);
	}
	run(p, &s, false);
	run(p, &s, true);
	return 0;
}
