#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/policy_facts.h"

/*
 * A dialogue with one run: what is said at each stage, from connect to data, and what the tags and
 * observed rules are at the end. Words of `said`, one per stage: "-" undecided, "grey@2" a greylist
 * rule (passed at once), "temp@2:spf", "accept@3", "accept@end".
 */
static void dialogue(const struct policy *p, const char *facts, bool expired, struct buf *out)
{
	struct policy_facts_source source = { .stage = STAGE_CONNECT };
	struct policy_facts f = { .get = policy_facts_get,
				  .arg = &source,
				  .temperror_expired = expired };
	struct policy_run run = { 0 };

	policy_facts_set(&source.facts, facts);
	for (int stage = 0; stage < STAGE_COUNT; stage++) {
		enum policy_event e;

		source.stage = (enum stage)stage;
		buf_adds(out, stage ? " " : "");
		while ((e = policy_next(p, &run, &f, stage == STAGE_DATA)) == POLICY_GREYLIST)
			buf_addf(out, "grey@%d,", run.rule->line);
		if (e == POLICY_UNDECIDED)
			buf_adds(out, "-");
		else if (e == POLICY_TEMPORARY)
			buf_addf(out, "temp@%d:%s", run.rule->line,
				 fact_def(run.temporary_fact)->name);
		else if (run.rule)
			buf_addf(out, "%s@%d", action_name(run.rule->action), run.rule->line);
		else
			buf_adds(out, "accept@end");
		if (e == POLICY_DECIDED && run.waiting)
			buf_adds(out, "...");
	}
	if (run.score)
		buf_addf(out, " score %lld", (long long)run.score);
	for (size_t i = 0; i < run.effect_count; i++)
		buf_addf(out, " %s@%d", action_name(run.effects[i]->action), run.effects[i]->line);
	for (size_t i = 0; i < run.observed_count; i++)
		buf_addf(out, " observed@%d", run.observed[i]->line);
	facts_release(&source.facts);
}

static const struct { const char *policy, *facts, *said; bool expired; } rows[] = {
	/* first match, at the earliest certain moment */
	{ "accept", "", "accept@1 accept@1 accept@1 accept@1 accept@1 accept@1", false },
	{ "", "", "accept@end accept@end accept@end accept@end accept@end accept@end", false },
	{ "reject if dnsbl.score >= 5", "dnsbl.score=5", "reject@1 reject@1 reject@1 reject@1 reject@1 reject@1", false },
	{ "reject if dnsbl.score >= 5", "dnsbl.score=4", "accept@end accept@end accept@end accept@end accept@end accept@end", false },
	{ "reject if spf = fail\naccept", "spf=fail", "- - reject@1 reject@1 reject@1 reject@1", false },
	{ "reject if spf = fail\naccept", "spf=pass", "- - accept@2 accept@2 accept@2 accept@2", false },
	{ "reject if spf = fail\naccept", "", "- - accept@2 accept@2 accept@2 accept@2", false },
	{ "reject if spf = fail\naccept if client.ip in (192.0.2.0/24)\nquarantine", "spf=none client.ip=192.0.2.1", "- - accept@2 accept@2 accept@2 accept@2", false },
	{ "reject if spf = fail and dnsbl.score > 0\naccept", "dnsbl.score=0", "accept@2 accept@2 accept@2 accept@2 accept@2 accept@2", false },
	{ "quarantine if dkim = fail or dnsbl.score > 0\naccept", "dnsbl.score=1 dkim=pass", "quarantine@1 quarantine@1 quarantine@1 quarantine@1 quarantine@1 quarantine@1", false },
	/* a rule that is still open holds back those below, also where they would do the same */
	{ "reject if dkim = fail\nreject if dnsbl.score > 0", "dnsbl.score=1 dkim=pass", "- - - - - reject@2", false },
	{ "defer if header.subject = x", "header.subject=x", "- - - - defer@1 defer@1", false },
	/* greylist: before what comes below, and asked once */
	{ "greylist if spf = none\nreject if dnsbl.score > 0", "spf=none dnsbl.score=1", "- - grey@1,reject@2 reject@2 reject@2 reject@2", false },
	{ "greylist if spf = none\nreject if dkim = fail", "spf=none dkim=fail", "- - grey@1,- - - reject@2", false },
	{ "greylist if spf = none\nreject if dnsbl.score > 0", "spf=pass dnsbl.score=1", "- - reject@2 reject@2 reject@2 reject@2", false },
	{ "greylist\ngreylist if spf = none\naccept", "spf=none", "grey@1,- - grey@2,accept@3 accept@3 accept@3 accept@3", false },
	/* tags: of what the cursor has passed, looked at once the verdict is certain */
	{ "tag \"a\" if not tls\ntag \"b\" if spf = pass\naccept", "tls=false spf=pass", "accept@3... accept@3... accept@3 accept@3 accept@3 accept@3 tag@1 tag@2", false },
	{ "tag \"a\" if dkim = pass\naccept\ntag \"b\"", "dkim=pass", "accept@2... accept@2... accept@2... accept@2... accept@2... accept@2 tag@1", false },
	{ "tag \"a\" if dkim = pass\ntag \"b\" if tls\naccept", "dkim=pass tls=true", "accept@3... accept@3... accept@3... accept@3... accept@3... accept@3 tag@1 tag@2", false },
	{ "tag \"a\" if dkim = pass\nreject if dnsbl.score > 0", "dkim=pass dnsbl.score=1", "reject@2 reject@2 reject@2 reject@2 reject@2 reject@2", false },
	{ "tag \"a\" if dkim = pass\nquarantine if dnsbl.score > 0", "dkim=TEMPERROR dnsbl.score=1", "quarantine@2 quarantine@2 quarantine@2 quarantine@2 quarantine@2 quarantine@2", false },
	{ "tag \"a\"\nlog \"b\" if header.subject = x\nreject if dnsbl.score > 0", "header.subject=x dnsbl.score=1", "reject@3... reject@3... reject@3... reject@3... reject@3 reject@3 log@2", false },
	{ "copy to \"a@x.example\"\nlog \"b\"\nquarantine if dnsbl.score > 0", "dnsbl.score=1", "quarantine@3 quarantine@3 quarantine@3 quarantine@3 quarantine@3 quarantine@3 log@2", false },
	{ "add header \"X-A: b\"\nlog \"b\"\ndiscard if dnsbl.score > 0", "dnsbl.score=1", "discard@3 discard@3 discard@3 discard@3 discard@3 discard@3 log@2", false },
	{ "add header \"X-A: b\"\nremove header \"X-B\"\nlog \"c\"\naccept\nlog \"d\"", "", "accept@4 accept@4 accept@4 accept@4 accept@4 accept@4 add header@1 remove header@2 log@3", false },
	/* of redirects the first of the file, whichever is known first; of copies each address once */
	{ "redirect to \"a@x.example\" if dkim = pass\nredirect to \"b@x.example\"\nredirect to \"c@x.example\"", "dkim=pass",
	  "accept@end... accept@end... accept@end... accept@end... accept@end... accept@end redirect to@1", false },
	{ "redirect to \"a@x.example\" if dkim = pass\nredirect to \"b@x.example\"\nredirect to \"c@x.example\"", "dkim=fail",
	  "accept@end... accept@end... accept@end... accept@end... accept@end... accept@end redirect to@2", false },
	{ "copy to \"a@x.example\" if dkim = pass\ncopy to \"b@x.example\"\ncopy to \"a@X.example\"\ncopy to \"A@x.example\"", "dkim=pass",
	  "accept@end... accept@end... accept@end... accept@end... accept@end... accept@end copy to@1 copy to@2 copy to@4", false },
	{ "observe redirect to \"a@x.example\"\nredirect to \"b@x.example\"\nobserve redirect to \"c@x.example\"", "",
	  "accept@end accept@end accept@end accept@end accept@end accept@end redirect to@2 observed@1 observed@3", false },
	/* score: certain as soon as what is open cannot change the comparison */
	{ "score +3 if client.ip = 192.0.2.1\nscore +2 if dkim = fail\nreject if score >= 3", "client.ip=192.0.2.1 dkim=fail", "reject@3 reject@3 reject@3 reject@3 reject@3 reject@3 score 3", false },
	{ "score +3 if client.ip = 192.0.2.1\nscore +2 if dkim = fail\nreject if score >= 5", "client.ip=192.0.2.1 dkim=fail", "- - - - - reject@3 score 5", false },
	{ "score +3 if client.ip = 192.0.2.1\nscore +2 if dkim = fail\nreject if score >= 5", "client.ip=192.0.2.2 dkim=fail",
	  "accept@end... accept@end... accept@end... accept@end... accept@end... accept@end score 2", false },
	{ "score +3 if tls\nscore -2 if dkim = pass\nreject if score >= 3\nquarantine if score < 2", "tls=true dkim=fail", "- - - - - reject@3 score 3", false },
	{ "score +3 if tls\nscore -2 if dkim = pass\nreject if score >= 3\nquarantine if score < 2", "tls=true dkim=pass", "- - - - - quarantine@4 score 1", false },
	{ "score +3 if tls\nscore -2 if dkim = pass\nreject if score >= 3", "tls=false dkim=pass", "- accept@end... accept@end... accept@end... accept@end... accept@end score -2", false },
	{ "score +3 if tls\nscore +1 if dkim = pass\nreject if score in (3, 4)", "tls=true dkim=fail", "- reject@3 reject@3 reject@3 reject@3 reject@3 score 3", false },
	{ "score +3 if tls\nscore +1 if dkim = pass\nreject if score in (1, 5)", "tls=true dkim=pass", "- accept@end... accept@end... accept@end... accept@end... accept@end score 4", false },
	{ "score +3 if tls\nscore +1 if dkim = pass\nreject if score != 3", "tls=true dkim=pass", "- - - - - reject@3 score 4", false },
	{ "score +3 if tls\nscore +1 if dkim = pass\nreject if score != 7", "tls=true dkim=pass", "reject@3 reject@3 reject@3 reject@3 reject@3 reject@3", false },
	{ "score +3 if tls\nscore +1 if dkim = pass\nreject if not score = 3", "tls=true dkim=pass", "- - - - - reject@3 score 4", false },
	/* those above the rule that asks */
	{ "score +1\nreject if score >= 2\nscore +1\nquarantine if score >= 2", "", "quarantine@4 quarantine@4 quarantine@4 quarantine@4 quarantine@4 quarantine@4 score 2", false },
	{ "score +1\nscore +10 if score >= 1\nscore +100 if score >= 12\nscore +1000 if score = 11\ndiscard if score = 1011", "",
	  "discard@5 discard@5 discard@5 discard@5 discard@5 discard@5 score 1011", false },
	{ "score +1 if dkim = pass\nscore +10 if score >= 1\nquarantine if score >= 10", "dkim=pass", "- - - - - quarantine@3 score 11", false },
	{ "score +1 if dkim = pass\nscore +10 if score >= 1\nquarantine if score > 11", "dkim=pass",
	  "accept@end... accept@end... accept@end... accept@end... accept@end... accept@end score 11", false },
	{ "observe score +5\nscore +1\nreject if score >= 5\naccept", "", "accept@4 accept@4 accept@4 accept@4 accept@4 accept@4 score 1 observed@1", false },
	{ "score +2 if tls\ntag \"x\" if score >= 2\naccept\nscore +4", "tls=true", "accept@3... accept@3 accept@3 accept@3 accept@3 accept@3 score 2 tag@2", false },
	{ "accept if tls\nscore +2", "tls=true", "- accept@1 accept@1 accept@1 accept@1 accept@1", false },
	/* a score rule that could not be looked at: only where the comparison hangs on it */
	{ "score +2 if spf = fail\nscore +3 if tls\nreject if score >= 3", "spf=TEMPERROR tls=true", "- reject@3 reject@3 reject@3 reject@3 reject@3 score 3", false },
	{ "score +2 if spf = fail\nscore +3 if tls\nreject if score >= 3", "spf=TEMPERROR tls=false", "- accept@end... accept@end accept@end accept@end accept@end", false },
	{ "score +2 if spf = fail\nscore +3 if tls\nreject if score >= 4", "spf=TEMPERROR tls=true", "- - temp@3:spf temp@3:spf temp@3:spf temp@3:spf", false },
	{ "score +2 if spf = fail\nscore +3 if tls\nreject if score >= 4", "spf=TEMPERROR tls=true", "- - accept@end accept@end accept@end accept@end score 3", true },
	{ "score +2 if spf in (fail, temperror)\nreject if score >= 2", "spf=TEMPERROR", "- - reject@2 reject@2 reject@2 reject@2 score 2", false },
	{ "score +2 if spf = fail\nscore +1 if dkim = fail\nreject if score >= 2", "spf=TEMPERROR dkim=fail", "- - - - - temp@3:spf", false },
	{ "score +2 if spf = fail\nscore +1 if dkim = fail\nreject if score >= 3", "spf=TEMPERROR dkim=pass", "- - - - - accept@end", false },
	{ "score +2 if temperror.expired\nscore +1 if spf = fail\nreject if score >= 1", "spf=TEMPERROR", "- - temp@3:spf temp@3:spf temp@3:spf temp@3:spf", false },
	{ "score +2 if temperror.expired\nscore +1 if spf = fail\nreject if score >= 1", "spf=TEMPERROR", "reject@3 reject@3 reject@3 reject@3 reject@3 reject@3 score 2", true },
	/* class: known with the recipient */
	{ "class board = recipients { \"x@a.example\", .b.example }\nquarantine if class = board", "rcpt=X@A.example", "- - - quarantine@2 quarantine@2 quarantine@2", false },
	{ "class board = recipients { x@a.example, .b.example }\nquarantine if class = board", "rcpt=x@c.b.example", "- - - quarantine@2 quarantine@2 quarantine@2", false },
	{ "class board = recipients { x@a.example, .b.example }\nquarantine if class = board", "rcpt=x@b.example", "- - - accept@end accept@end accept@end", false },
	{ "class board = recipients { x@a.example }\nclass all = recipients { a.example }\nquarantine if class != board and class = all", "rcpt=x@a.example", "- - - accept@end accept@end accept@end", false },
	{ "class board = recipients { x@a.example }\nclass all = recipients { a.example }\nquarantine if class != board and class = all", "rcpt=y@a.example", "- - - quarantine@3 quarantine@3 quarantine@3", false },
	{ "class board = recipients { x@a.example }\nclass all = recipients { b.example }\nquarantine if class in (board, all)", "rcpt=y@b.example", "- - - quarantine@3 quarantine@3 quarantine@3", false },
	{ "class board = recipients { x@a.example }\nclass all = recipients { b.example }\nquarantine if class in (board, all)", "rcpt=y@c.example", "- - - accept@end accept@end accept@end", false },
	{ "class board = recipients { x@a.example }\nquarantine if class != board", "", "- - - accept@end accept@end accept@end", false },
	/* observe: says so, decides nothing */
	{ "observe reject if spf = fail\naccept", "spf=fail", "accept@2... accept@2... accept@2 accept@2 accept@2 accept@2 observed@1", false },
	{ "observe accept\nreject", "", "reject@2 reject@2 reject@2 reject@2 reject@2 reject@2 observed@1", false },
	{ "observe greylist\nobserve tag \"x\"\naccept", "", "accept@3 accept@3 accept@3 accept@3 accept@3 accept@3 observed@1 observed@2", false },
	{ "accept\nobserve reject", "", "accept@1 accept@1 accept@1 accept@1 accept@1 accept@1", false },
	/* a fact that could not be established: deferred only where the verdict hangs on it */
	{ "reject if spf = fail\naccept", "spf=TEMPERROR", "- - temp@1:spf temp@1:spf temp@1:spf temp@1:spf", false },
	{ "reject if spf = fail\naccept", "spf=TEMPERROR", "- - accept@2 accept@2 accept@2 accept@2", true },
	{ "reject if spf = fail and tls\naccept", "spf=TEMPERROR tls=false", "- accept@2 accept@2 accept@2 accept@2 accept@2", false },
	{ "reject if spf in (fail, temperror)\naccept", "spf=TEMPERROR", "- - reject@1 reject@1 reject@1 reject@1", false },
	{ "accept if spf = pass\naccept", "spf=TEMPERROR", "- - accept@2 accept@2 accept@2 accept@2", false },
	{ "accept if spf = pass", "spf=TEMPERROR", "- - accept@end accept@end accept@end accept@end", false },
	{ "accept if spf = pass\nreject if dnsbl.score > 0", "spf=TEMPERROR dnsbl.score=0", "- - accept@end accept@end accept@end accept@end", false },
	{ "accept if spf = pass\nreject if dnsbl.score > 0", "spf=TEMPERROR dnsbl.score=1", "- - temp@1:spf temp@1:spf temp@1:spf temp@1:spf", false },
	{ "accept if spf = pass\nquarantine if dkim = fail", "spf=TEMPERROR dkim=pass", "- - - - - accept@end", false },
	{ "accept if spf = pass\nquarantine if dkim = fail", "spf=TEMPERROR dkim=fail", "- - - - - temp@1:spf", false },
	{ "accept if spf = pass\nquarantine if dkim = fail", "spf=TEMPERROR dkim=fail", "- - - - - quarantine@2", true },
	{ "reject \"a\" if spf = fail\nreject \"b\" if tls", "spf=TEMPERROR tls=true", "- - temp@1:spf temp@1:spf temp@1:spf temp@1:spf", false },
	{ "reject \"a\" if spf = fail\nreject \"a\" if tls", "spf=TEMPERROR tls=true", "- - reject@2 reject@2 reject@2 reject@2", false },
	{ "reject if spf = fail\nreject if dkim = fail\naccept", "spf=TEMPERROR dkim=fail", "- - - - - reject@2", false },
	{ "reject if spf = fail\nreject if dkim = fail\naccept", "spf=TEMPERROR dkim=pass", "- - - - - temp@1:spf", false },
	{ "reject if spf = fail\nreject if dkim = fail\nreject", "spf=TEMPERROR dkim=TEMPERROR", "- - - - - reject@3", false },
	{ "reject if spf = fail\nquarantine if dkim = fail\nreject", "spf=TEMPERROR dkim=TEMPERROR", "- - - - - temp@1:spf", false },
	{ "greylist if spf = none\naccept", "spf=TEMPERROR", "- - temp@1:spf temp@1:spf temp@1:spf temp@1:spf", false },
	{ "greylist if spf = none\ngreylist if tls\naccept", "spf=TEMPERROR tls=true", "- - grey@2,accept@3 accept@3 accept@3 accept@3", false },
	{ "tag \"x\" if spf = fail\naccept", "spf=TEMPERROR", "accept@2... accept@2... accept@2 accept@2 accept@2 accept@2", false },
	{ "quarantine if temperror.expired\nreject if spf = fail\naccept", "spf=TEMPERROR", "- - temp@2:spf temp@2:spf temp@2:spf temp@2:spf", false },
	{ "quarantine if temperror.expired\nreject if spf = fail\naccept", "spf=TEMPERROR", "quarantine@1 quarantine@1 quarantine@1 quarantine@1 quarantine@1 quarantine@1", true },
};

static void test_rows(void **state)
{
	int wrong = 0;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(policy) struct policy *p = policy_facts_parse(rows[i].policy);
		AUTO(buf) struct buf out = BUF_INIT(1000);

		dialogue(p, rows[i].facts, rows[i].expired, &out);
		if (strcmp(buf_str(&out), rows[i].said) != 0)
			fprintf(stderr, "%s\nwith %s\ngot:    %s\nwanted: %s\n", rows[i].policy,
				rows[i].facts, buf_str(&out), rows[i].said),
				wrong++;
	}
	assert_int_equal(wrong, 0);
}

/* The wait ends while the session is on: rules above that name it are looked at, a greylist that
 * let pass is not asked again. */
static void test_expiry_later(void **state)
{
	AUTO(policy) struct policy *p = policy_facts_parse(
		"quarantine if temperror.expired and header.subject = x\n"
		"greylist if tls\n"
		"reject if dkim = fail\n"
		"accept");
	struct policy_facts_source source = { .stage = STAGE_DATA };
	struct policy_facts f = { .get = policy_facts_get, .arg = &source };
	struct policy_run run = { 0 };

	policy_facts_set(&source.facts, "tls=true header.subject=x dkim=TEMPERROR");
	assert_int_equal(policy_next(p, &run, &f, true), POLICY_GREYLIST);
	assert_int_equal(policy_next(p, &run, &f, true), POLICY_TEMPORARY);
	assert_int_equal(run.temporary_fact, fact_find("dkim", 4));
	assert_int_equal(run.rule->line, 3);
	f.temperror_expired = true;
	assert_int_equal(policy_next(p, &run, &f, true), POLICY_DECIDED);
	assert_int_equal(run.rule->line, 1);
	facts_release(&source.facts);

	run = (struct policy_run){ 0 };
	f.temperror_expired = false;
	policy_facts_set(&source.facts, "tls=true header.subject=y dkim=TEMPERROR");
	assert_int_equal(policy_next(p, &run, &f, true), POLICY_GREYLIST);
	assert_int_equal(policy_next(p, &run, &f, true), POLICY_TEMPORARY);
	f.temperror_expired = true;
	assert_int_equal(policy_next(p, &run, &f, true), POLICY_DECIDED);
	assert_int_equal(run.rule->line, 4);
	facts_release(&source.facts);
}

/* More tags than there is room for: the first of the file stay. */
static void test_many_tags(void **state)
{
	AUTO(buf) struct buf text = BUF_INIT(8000), out = BUF_INIT(8000), wanted = BUF_INIT(2000);
	AUTO(policy) struct policy *p = NULL;

	buf_adds(&text, "tag \"late\" if dkim = pass\n");
	buf_adds(&wanted, " tag@1");
	for (int i = 0; i < POLICY_EFFECTS_MAX + 2; i++)
		buf_addf(&text, "tag \"%d\"\nobserve reject if dkim = pass\n", i);
	for (int i = 0; i < POLICY_EFFECTS_MAX - 1; i++)
		buf_addf(&wanted, " tag@%d", 2 + 2 * i);
	for (int i = 0; i < POLICY_EFFECTS_MAX; i++)
		buf_addf(&wanted, " observed@%d", 3 + 2 * i);
	p = policy_facts_parse(buf_str(&text));
	dialogue(p, "dkim=pass", false, &out);
	assert_string_equal(strstr(buf_str(&out), " tag@1"), buf_str(&wanted));
}

/* A pattern that would take for ever is given up, counts as not matching, and can be asked about. */
static void test_gave_up(void **state)
{
	AUTO(policy) struct policy *p = policy_facts_parse(
		"reject if header.subject ~ /a*a*a*[bc]/\nquarantine if regex.gave_up\naccept if not regex.gave_up\n");
	struct policy_facts_source source = { .stage = STAGE_DATA };
	struct policy_facts f = { .get = policy_facts_get, .arg = &source };
	struct policy_run run = { 0 };
	char *subject = malloc(8001);

	memset(subject, 'a', 8000);
	subject[8000] = '\0';
	assert_int_equal(facts_set(&source.facts, "header.subject", subject), 0);
	source.stage = STAGE_HEADER;
	assert_int_equal(policy_next(p, &run, &f, false), POLICY_DECIDED);      /* it is certain once it has happened */
	assert_int_equal(run.rule->line, 2);
	assert_true(run.gave_up);

	run = (struct policy_run){ 0 };
	assert_int_equal(facts_set(&source.facts, "header.subject", "hello"), 0);
	assert_int_equal(policy_next(p, &run, &f, false), POLICY_UNDECIDED);    /* it may still happen */
	source.stage = STAGE_DATA;
	assert_int_equal(policy_next(p, &run, &f, false), POLICY_DECIDED);
	assert_int_equal(run.rule->line, 3);
	assert_false(run.gave_up);
	facts_release(&source.facts);
	free(subject);
}

/* A fact is asked for only when a rule needs it. */
static void test_on_demand(void **state)
{
	AUTO(policy) struct policy *p = policy_facts_parse(
		"accept if client.ip in (192.0.2.1)\n"
		"tag \"x\" if spf = pass\n"
		"reject if dnsbl.score > 3 and dkim = fail\n"
		"accept");
	struct policy_facts_source source = { .stage = STAGE_DATA };
	struct policy_facts f = { .get = policy_facts_get, .arg = &source };
	struct policy_run run = { 0 };

	policy_facts_set(&source.facts, "client.ip=192.0.2.1");
	assert_int_equal(policy_next(p, &run, &f, true), POLICY_DECIDED);
	assert_int_equal(source.asked, 1);
	facts_release(&source.facts);

	run = (struct policy_run){ 0 };
	source.asked = 0;
	policy_facts_set(&source.facts, "client.ip=192.0.2.2 dnsbl.score=0");
	assert_int_equal(policy_next(p, &run, &f, true), POLICY_DECIDED);
	assert_int_equal(source.asked,
			 3); /* client.ip, dnsbl.score, spf for the tag; dkim could not matter */
	facts_release(&source.facts);
	assert_int_equal(policy_filters(p),
			 1 << 0 | 1 << 2 |
				 1 << 3); /* those of client.ip and dnsbl.score, spf, dkim */
}

/* A score rule is asked once, and no further than the comparison needs. */
static void test_score_on_demand(void **state)
{
	AUTO(policy) struct policy *p = policy_facts_parse(
		"score +4 if client.ip in (192.0.2.1)\n"
		"score +2 if dnsbl.score > 3\n"
		"score +1 if tls\n"
		"reject if score >= 7\n"
		"reject \"b\" if score >= 4\n"
		"reject \"c\" if score >= 5\n");
	struct policy_facts_source source = { .stage = STAGE_DATA };
	struct policy_facts f = { .get = policy_facts_get, .arg = &source };
	struct policy_run run = { 0 };

	policy_facts_set(&source.facts, "client.ip=192.0.2.1 dnsbl.score=0 tls=true");
	assert_int_equal(policy_next(p, &run, &f, true), POLICY_DECIDED);
	assert_int_equal(run.rule->line, 5);
	assert_int_equal(source.asked, 2);      /* 4 and no 2: neither 7 nor less than 4 can come of it */
	facts_release(&source.facts);
}

/* Without a run, as explain asks; and what it says. */
static void test_score_why(void **state)
{
	static const struct { size_t rule; enum truth want; const char *why; } asked[] = {
		{ 3, TRUTH_TRUE, "score is 6 (+2 line 1, +4 odd)" },
		{ 4, TRUTH_TRUE, "score is between 1 and 6 (+2 line 1)" },
		{ 5, TRUTH_FALSE, "score is 5 (+2 line 1, +4 odd, -1 line 3)" },
	};
	AUTO(policy) struct policy *p = policy_facts_parse(
		"score +2 if tls\nscore odd: +4 if dnsbl.score > 3\nscore -1 if spf = pass\n"
		"reject if score = 6\nreject if score > 0\nreject if score != 5\n");
	struct policy_facts_source source = { .stage = STAGE_DATA };
	struct policy_facts f = { .get = policy_facts_get, .arg = &source };

	for (size_t i = 0; i < 3; i++) {
		AUTO(buf) struct buf why = BUF_INIT(1000);

		policy_facts_set(&source.facts, i == 2 ? "tls=true dnsbl.score=4 spf=pass" : "tls=true dnsbl.score=4 spf=none");
		assert_int_equal(policy_truth(p, policy_rule(p, asked[i].rule), &f, &why), asked[i].want);
		assert_string_equal(buf_str(&why), asked[i].why);
		facts_release(&source.facts);
	}
}

static void test_classes(void **state)
{
	AUTO(policy) struct policy *p = policy_facts_parse(
		"list other = { a.example }\nclass board = recipients { ceo@a.example }\nclass staff = recipients { @a.example }\n"
		"class ties = recipients { /^[bc]eo@/ }\naccept if sender in other\nreject if class = board\n");
	struct policy_facts_source source = { .stage = STAGE_DATA };
	struct policy_facts f = { .get = policy_facts_get, .arg = &source };
	AUTO(buf) struct buf why = BUF_INIT(1000);
	const char *names[4];

	assert_int_equal(policy_class_count(p), 3);
	assert_int_equal(policy_classes(p, "CEO@A.example", names, 4), 2);
	assert_int_equal(policy_classes(p, "ceo@a.example", names, 4), 3);
	assert_string_equal(names[0], "board");
	assert_string_equal(names[1], "staff");
	assert_string_equal(names[2], "ties");
	assert_int_equal(policy_classes(p, "ceo@a.example", names, 2), 2);
	assert_int_equal(policy_classes(p, "x@b.example", names, 4), 0);
	policy_facts_set(&source.facts, "rcpt=ceo@a.example");
	assert_int_equal(policy_truth(p, policy_rule(p, 1), &f, &why), TRUTH_TRUE);
	assert_string_equal(buf_str(&why), "class is board, staff, ties");
	facts_release(&source.facts);
}

/* 1,024 score rules, each of which asks for the score of those above it, under 1,000 rules that ask: each is looked at once per pass. */
static void test_score_many(void **state)
{
	AUTO(buf) struct buf text = BUF_INIT(1 << 20);
	AUTO(policy) struct policy *p = NULL;
	struct policy_facts_source source = { .stage = STAGE_CONNECT };
	struct policy_facts f = { .get = policy_facts_get, .arg = &source };
	struct policy_run run = { 0 };

	for (int i = 0; i < POLICY_SCORES_MAX; i++)
		buf_addf(&text, "score +1 if dkim = pass or score >= %d and spf = fail\n", i);
	for (int i = 0; i < 1000; i++)
		buf_addf(&text, "quarantine if score = %d\n", 1 + i);
	p = policy_facts_parse(buf_str(&text));
	policy_facts_set(&source.facts, "dkim=fail spf=fail");
	for (int stage = 0; stage < STAGE_COUNT; stage++) {
		source.stage = (enum stage)stage;
		policy_next(p, &run, &f, stage == STAGE_DATA);
	}
	assert_true(run.decided);
	assert_true(source.asked < 6 * 4 * POLICY_SCORES_MAX);
	facts_release(&source.facts);
}

/* Stages of rules as a careful admin would write them, and what holds back what. */
static void test_stages(void **state)
{
	static const char text[] =
		"list partners = { partner.example, 192.0.2.0/24 }\n"
		"accept     if client.ip in partners\n"
		"reject     if dnsbl.score >= 5\n"
		"greylist   if spf in (none, softfail, temperror) and client.fcrdns != pass\n"
		"reject     \"550 5.7.1 spoofed sender\" if from.domain in local and dmarc != pass\n"
		"quarantine if dmarc = fail and dmarc.policy in (quarantine, reject)\n"
		"tag \"[EXTERNAL] \" if not tls and spf != pass\n"
		"observe quarantine bait: if header.subject ~ /(?i)invoice.*overdue/\n"
		"quarantine if dnsbl.score >= 3 and client.fcrdns = none\n"
		"accept\n"
		"reject if spf = fail\n";
	static const struct { enum stage earliest; int held_by; } want[] = {
		{ STAGE_CONNECT, -1 }, { STAGE_CONNECT, -1 }, { STAGE_MAIL, -1 }, { STAGE_DATA, -1 }, { STAGE_DATA, -1 },
		{ STAGE_MAIL, 4 }, { STAGE_HEADER, 4 }, { STAGE_CONNECT, 4 }, { STAGE_CONNECT, 4 }, { STAGE_MAIL, 8 },
	};
	AUTO(policy) struct policy *p = policy_facts_parse(text);
	AUTO(buf) struct buf out = BUF_INIT(8000);

	assert_int_equal(policy_rule_count(p), sizeof(want) / sizeof(*want));
	policy_describe(p, &out);
	for (size_t i = 0; i < sizeof(want) / sizeof(*want); i++) {
		if (policy_rule(p, i)->earliest != want[i].earliest ||
		    policy_held_back_by(p, i) != want[i].held_by)
			fail_msg("rule %zu: stage %s held by %d\n%s", i,
				 stage_name(policy_rule(p, i)->earliest), policy_held_back_by(p, i),
				 buf_str(&out));
	}
	assert_string_equal(buf_str(&out),
		"test:2    connect accept if client.ip in partners\n"
		"test:3    connect reject if dnsbl.score >= 5\n"
		"test:4    mail    greylist if spf in (none, softfail, temperror) and client.fcrdns != pass\n"
		"test:5    data    reject \"550 5.7.1 spoofed sender\" if from.domain in local and dmarc != pass\n"
		"test:6    data    quarantine if dmarc = fail and dmarc.policy in (quarantine, reject)\n"
		"test:7    mail    tag \"[EXTERNAL] \" if not tls and spf != pass\n"
		"                  held back by line 6 until data\n"
		"test:8    header  observe quarantine bait: if header.subject ~ /(?i)invoice.*overdue/\n"
		"                  held back by line 6 until data\n"
		"test:9    connect quarantine if dnsbl.score >= 3 and client.fcrdns = none\n"
		"                  held back by line 6 until data\n"
		"test:10   connect accept\n"
		"                  held back by line 6 until data\n"
		"test:11   mail    reject if spf = fail\n"
		"                  held back by line 10 for ever\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_expiry_later),
		cmocka_unit_test(test_many_tags),
		cmocka_unit_test(test_gave_up),
		cmocka_unit_test(test_on_demand),
		cmocka_unit_test(test_classes),
		cmocka_unit_test(test_score_on_demand),
		cmocka_unit_test(test_score_why),
		cmocka_unit_test(test_score_many),
		cmocka_unit_test(test_stages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
