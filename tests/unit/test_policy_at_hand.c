/* A lookup that cannot change the truth of a condition is not waited for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy/policy.h"

static const char *const words[] = { "pass", "fail", NULL };
static const struct fact_def table[] = {
	{ "q.slow", FACT_WORD, false, STAGE_MAIL, words, "" },
	{ "q.fast", FACT_WORD, false, STAGE_MAIL, words, "" },
	{ 0 },
};
static struct facts known;
static int slow_asked;

static const struct fact *get(void *arg, int id, bool *final)
{
	slow_asked += strcmp(fact_def(id)->name, "q.slow") == 0;
	*final = true;
	return facts_get(&known, id);
}

static bool at_hand(void *arg, int id)
{
	return strcmp(fact_def(id)->name, "q.slow") != 0;
}

static void test_rows(void **state)
{
	static const struct { const char *cond; enum truth want; int asked; } rows[] = {
		{ "q.slow = pass and q.fast = fail", TRUTH_FALSE, 0 },
		{ "q.slow = pass or q.fast = pass", TRUTH_TRUE, 0 },
		{ "not (q.slow = fail and q.fast = fail)", TRUTH_TRUE, 0 },
		{ "q.fast = fail and q.slow = pass", TRUTH_FALSE, 0 },
		{ "q.slow = pass and q.fast = pass", TRUTH_TRUE, 1 },
		{ "q.slow = fail or q.fast = fail", TRUTH_FALSE, 1 },
		{ "q.slow = pass", TRUTH_TRUE, 1 },
	};

	facts_set(&known, "q.slow", "pass");
	facts_set(&known, "q.fast", "pass");
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct policy_facts facts = { .get = get, .at_hand = at_hand };
		AUTO(buf) struct buf text = BUF_INIT(200), errors = BUF_INIT(1000), why = BUF_INIT(1000);
		AUTO(policy) struct policy *p = NULL;

		buf_addf(&text, "reject if %s\n", rows[i].cond);
		p = policy_parse("p", text.data, text.len, NULL, &errors, NULL);
		assert_non_null(p);
		slow_asked = 0;
		if (policy_truth(p, policy_rule(p, 0), &facts, &why) != rows[i].want || slow_asked != rows[i].asked)
			fail_msg("%s: asked %d times, %s", rows[i].cond, slow_asked, buf_str(&why));
	}
	facts_release(&known);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
	};

	fact_register_all();
	fact_register(table, 31);
	return cmocka_run_group_tests_name("policy_at_hand", tests, NULL, NULL);
}
