/*
 * On random policies and random facts: a run that is fed stage by stage says the same, in the end
 * and from the moment it says anything, as one that has all facts at once. SEED and ROUNDS in the
 * environment repeat or lengthen it.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/policy_facts.h"
#include "support/random.h"

static const char *const comparisons[] = {
	"spf = fail", "spf != pass", "spf in (none, softfail, temperror)", "spf = temperror", "dkim = pass", "dkim != fail", "dkim in (fail, temperror)",
	"dmarc = fail", "dmarc != pass", "dmarc.policy = reject", "dmarc.policy in (quarantine, reject)", "dmarc.aligned = spf", "dmarc.aligned != dkim", "dmarc.aligned all in (spf)",
	"client.fcrdns != pass", "client.fcrdns = none", "client.ip in (192.0.2.0/25)", "client.ip = 192.0.2.1", "dnsbl.score >= 5", "dnsbl.score < 2",
	"dnsbl.score in (1, 3)", "dnsbl.zones in (b.example)", "tls", "tls = false", "sender.null", "sender in (a.example)", "rcpt = x@a.example",
	"from.domain in (a.example)", "from.domain != a.example", "from.domains = b.example", "from.domains != b.example", "from.count != 1",
	"header.subject ~ /x/", "header.subject = xyz", "message.size > 10K", "temperror.expired", "true", "false",
	"time >= 22:00", "time < 06:00", "class = first", "class != first", "class in (first, all)", "class != none",
	"score >= 2", "score >= 5", "score < 3", "score = 0", "score = 2", "score != 2", "score in (1, 2, 3)", "score > 0", "score <= -1", "score >= 1",
};

static void condition(struct buf *out, int depth)
{
	unsigned kind = depth ? pick(6) : 0;

	if (kind < 3) {
		buf_adds(out, ONE_OF(comparisons));
	} else if (kind == 3) {
		buf_adds(out, "not (");
		condition(out, depth - 1);
		buf_adds(out, ")");
	} else {
		int n = 2 + (int)pick(2);

		buf_adds(out, "(");
		for (int i = 0; i < n; i++) {
			buf_adds(out, i == 0 ? "" : kind == 4 ? " and " : " or ");
			condition(out, depth - 1);
		}
		buf_adds(out, ")");
	}
}

static void random_policy(struct buf *out)
{
	static const char *const actions[] = {
		"accept",	  "reject",	      "reject \"other\"", "defer",
		"quarantine",	  "greylist",	      "tag \"t\"",	  "tag header \"X-T: t\"",
		"observe reject", "observe greylist", "observe tag \"o\"",
		"discard",	  "add header \"X-A: a\"", "remove header \"X-R\"", "copy to \"a@a.example\"",
		"copy to \"b@a.example\"", "redirect to \"a@a.example\"", "redirect to \"b@a.example\"", "log \"l\"",
		"score +1", "score +2", "score +2", "score +3", "score -1", "score -3", "observe score +5",
	};
	unsigned n = pick(13);

	buf_adds(out, "class first = recipients { x@a.example }\nclass all = recipients { a.example }\nclass none = recipients { b.example }\n");
	for (unsigned i = 0; i < n; i++) {
		buf_adds(out, ONE_OF(actions));
		if (pick(8)) {
			buf_adds(out, " if ");
			condition(out, (int)pick(4));
		}
		buf_adds(out, "\n");
	}
}

static const struct { const char *name; const char *values[8]; } vocabulary[] = {
	{ "spf", { "none", "neutral", "pass", "fail", "softfail", "temperror", "permerror" } },
	{ "dkim", { "none", "pass", "fail", "temperror" } },
	{ "dmarc", { "none", "pass", "fail", "temperror", "permerror" } },
	{ "dmarc.policy", { "none", "quarantine", "reject" } },
	{ "dmarc.aligned", { "", "spf", "dkim", "spf,dkim" } },
	{ "client.fcrdns", { "none", "pass", "fail", "temperror" } },
	{ "client.ip", { "192.0.2.1", "192.0.2.200", "2001:db8::1" } },
	{ "dnsbl.score", { "0", "1", "3", "5", "9", "-2" } },
	{ "dnsbl.zones", { "", "b.example", "x.b.example,c.example" } },
	{ "tls", { "true", "false" } },
	{ "sender.null", { "true", "false" } },
	{ "sender", { "", "u@a.example", "u@x.a.example", "u@b.example" } },
	{ "rcpt", { "x@a.example", "y@a.example" } },
	{ "from.domain", { "a.example", "x.a.example", "b.example" } },
	{ "from.domains", { "", "a.example", "a.example,b.example" } },
	{ "from.count", { "0", "1", "2" } },
	{ "header.subject", { "xyz", "hello", "" } },
	{ "time", { "22:00", "05:59", "12:00" } },
	{ "message.size", { "10", "20000" } },
};

static void random_facts(struct buf *out)
{
	for (size_t i = 0; i < sizeof(vocabulary) / sizeof(*vocabulary); i++) {
		unsigned n = 0, r = pick(10);

		while (n < 8 && vocabulary[i].values[n])
			n++;
		if (r == 0)
			continue;               /* never established */
		buf_addf(out, "%s=%s ", vocabulary[i].name,
			 r == 1 ? "TEMPERROR" : vocabulary[i].values[pick(n)]);
	}
}

struct outcome {
	enum policy_event event;
	const struct rule *rule;
	const struct rule *grey[32];
	size_t grey_count;
	struct policy_run run;
};

/* Some facts take a wait, others each time or never. */
static unsigned slow;

static bool at_hand(void *arg, int id)
{
	struct policy_facts_source *source = arg;

	return source->stage < fact_def(id)->stage || !(slow >> (id % 31) & 1);
}

/* One call, greylists passed. False when it says something else than before. */
static bool advance(const struct policy *p, struct policy_facts_source *source, bool expired,
		    bool final, struct outcome *o)
{
	struct policy_facts f = { .get = policy_facts_get,
				  .at_hand = slow ? at_hand : NULL,
				  .arg = source,
				  .temperror_expired = expired };
	enum policy_event before = o->event;
	const struct rule *before_rule = o->rule;

	while ((o->event = policy_next(p, &o->run, &f, final)) == POLICY_GREYLIST) {
		assert_true(o->grey_count < 32);
		o->grey[o->grey_count++] = o->run.rule;
	}
	o->rule = o->event == POLICY_UNDECIDED ? NULL : o->run.rule;
	return before == POLICY_UNDECIDED || (before == o->event && before_rule == o->rule);
}

static bool same(const struct outcome *a, const struct outcome *b)
{
	if (a->event != b->event || a->rule != b->rule || a->grey_count != b->grey_count ||
	    memcmp(a->grey, b->grey, a->grey_count * sizeof(*a->grey)) != 0)
		return false;
	if (a->event == POLICY_TEMPORARY)
		return a->run.temporary_fact == b->run.temporary_fact;
	return !a->run.waiting && !b->run.waiting && a->run.effect_count == b->run.effect_count &&
	       a->run.observed_count == b->run.observed_count &&
	       (a->run.score == b->run.score || (a->rule && (a->rule->action == ACTION_REJECT || a->rule->action == ACTION_DEFER))) &&
	       memcmp(a->run.effects, b->run.effects, sizeof(a->run.effects)) == 0 &&
	       memcmp(a->run.observed, b->run.observed, sizeof(a->run.observed)) == 0;
}

/* First match as a reader does it; NULL: the end of the rules. False when some fact in the way is
 * temporary. */
static bool by_hand(const struct policy *p, struct policy_facts_source *source, bool expired,
		    const struct rule **decided)
{
	struct policy_facts f = { .get = policy_facts_get,
				  .arg = source,
				  .temperror_expired = expired };

	for (size_t i = 0; i < policy_rule_count(p); i++) {
		const struct rule *r = policy_rule(p, i);
		enum truth t;

		if (r->observe || action_is_effect(r->action) || r->action == ACTION_GREYLIST || r->action == ACTION_SCORE)
			continue;
		t = policy_truth(p, r, &f, NULL);
		if (t == TRUTH_TEMPORARY)
			return false;
		assert_true(t != TRUTH_UNKNOWN);
		if (t == TRUTH_TRUE) {
			*decided = r;
			return true;
		}
	}
	*decided = NULL;
	return true;
}

static void test_early_is_late(void **state)
{
	const char *seed = getenv("SEED"), *rounds = getenv("ROUNDS");
	uint64_t n = rounds ? strtoull(rounds, NULL, 10) : 20000, early = 0, held = 0;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t this_seed = (seed ? strtoull(seed, NULL, 10) : 1) + i;
		AUTO(buf) struct buf text = BUF_INIT(64 * 1024), facts = BUF_INIT(4096);
		AUTO(policy) struct policy *p = NULL;
		struct policy_facts_source source = { .stage = STAGE_DATA };
		struct outcome batch = { 0 }, cursor = { 0 };
		const struct rule *first;
		bool expired;

		random_seed(this_seed);
		random_policy(&text);
		random_facts(&facts);
		expired = pick(4) == 0;
		p = policy_facts_parse(buf_str(&text));
		policy_facts_set(&source.facts, buf_str(&facts));
		slow = 0;
		advance(p, &source, expired, true, &batch);
		slow = pick(3) ? (unsigned)(random_state >> 20) : 0;
		assert_true(batch.event != POLICY_UNDECIDED);
		if (batch.event == POLICY_DECIDED && by_hand(p, &source, expired, &first))
			if (first != batch.rule)
				fail_msg("seed %" PRIu64 ": first %s, not %s\n%s%s", this_seed, first ? first->name : "end",
					 batch.rule ? batch.rule->name : "end", buf_str(&text), buf_str(&facts));
		for (int stage = 0; stage < STAGE_COUNT; stage++) {
			source.stage = (enum stage)stage;
			if (!advance(p, &source, expired, stage == STAGE_DATA, &cursor))
				fail_msg("seed %" PRIu64 " changed its mind\n%s%s", this_seed,
					 buf_str(&text), buf_str(&facts));
			early += stage == STAGE_RCPT && cursor.event == POLICY_DECIDED;
			held += stage == STAGE_RCPT && cursor.event == POLICY_UNDECIDED;
		}
		if (!same(&batch, &cursor))
			fail_msg("seed %" PRIu64 ": at once %d %s, by stages %d %s\n%s%s",
				 this_seed, batch.event, batch.rule ? batch.rule->name : "end",
				 cursor.event, cursor.rule ? cursor.rule->name : "end",
				 buf_str(&text), buf_str(&facts));
		facts_release(&source.facts);
	}
	assert_true(early > n / 5 && held > n / 10);    /* both kinds were really there */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_early_is_late),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
