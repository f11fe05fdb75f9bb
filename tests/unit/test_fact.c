#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "filters/fact.h"
#include "support/scarce.h"

static const char *const colours[] = { "red", "blue", NULL };
static const struct fact_def table[] = {
	{ "t.word", FACT_WORD, false, STAGE_MAIL, colours, "" },
	{ "t.list", FACT_TEXT, true, STAGE_DATA, NULL, "" },
	{ "t.number", FACT_NUMBER, false, STAGE_RCPT, NULL, "" },
	{ "t.bool", FACT_BOOL, false, STAGE_RCPT, NULL, "" },
	{ 0 },
};

static int setup(void **state)
{
	fact_register_all();
	fact_register(table, 7);
	return 0;
}

static void test_registry(void **state)
{
	int id = fact_find("t.list", 6);

	assert_true(id >= 0);
	assert_string_equal(fact_def(id)->name, "t.list");
	assert_int_equal(fact_owner(id), 7);
	assert_int_equal(fact_find("t.lis", 5), FACT_NONE);
	assert_int_equal(fact_find("t.listx", 7), FACT_NONE);
	assert_true(fact_find("sender", 6) >= 0);
}

static void test_values(void **state)
{
	struct facts f = { 0 };

	assert_null(facts_get_name(&f, "t.word"));
	facts_set_why(&f, "t.word", "red", "because of %d", 3);
	facts_set(&f, "t.word", "blue");
	assert_string_equal(facts_word(&f, "t.word"), "blue");
	assert_null(facts_get_name(&f, "t.word")->why);
	facts_set_why(&f, "t.word", "red", "%s", "");
	assert_null(facts_get_name(&f, "t.word")->why);
	facts_set_num(&f, "t.number", -5);
	facts_set_bool(&f, "t.bool", true);
	assert_int_equal(facts_get_name(&f, "t.number")->number, -5);
	facts_temperror(&f, "t.word", "timeout");
	assert_null(facts_word(&f, "t.word"));
	assert_int_equal(facts_get_name(&f, "t.word")->state, FACT_TEMPERROR);
	assert_string_equal(facts_get_name(&f, "t.word")->why, "timeout");
	facts_release(&f);
	assert_null(facts_get_name(&f, "t.word"));
}

static void test_lists_are_bounded(void **state)
{
	struct facts f = { 0 };
	char value[20];

	facts_set_empty(&f, "t.list");
	assert_int_equal(facts_get_name(&f, "t.list")->count, 0);
	for (int i = 0; i < 2 * FACT_LIST_MAX; i++) {
		snprintf(value, sizeof(value), "v%d", i);
		assert_int_equal(facts_add(&f, "t.list", value), 0);
	}
	assert_int_equal(facts_get_name(&f, "t.list")->count, FACT_LIST_MAX);
	assert_string_equal(facts_get_name(&f, "t.list")->text[1], "v1");
	facts_release(&f);
}

static void test_once(void **state)
{
	struct facts f = { 0 };
	char value[20];

	for (int i = 0; i < 2 * FACT_LIST_MAX; i++) {
		snprintf(value, sizeof(value), "v%d", i / 2);
		assert_int_equal(facts_add_once(&f, "t.list", value), 0);
	}
	assert_int_equal(facts_get_name(&f, "t.list")->count, FACT_LIST_MAX);
	assert_int_equal(facts_add_once(&f, "t.list", "v7"), 0);
	assert_int_equal(facts_add_once(&f, "t.list", "another"), -ENOSPC);
	assert_int_equal(facts_get_name(&f, "t.list")->count, FACT_LIST_MAX);
	facts_release(&f);
}

/* Half a list is none: what is known is whole, and what could not be kept is known not to be. */
static void test_no_memory(void **state)
{
	for (int n = 1; scarce_begin(n); n++) {
		struct facts f = { 0 };
		int rc = facts_set(&f, "t.word", "red");
		const struct fact *e;

		for (int i = 0; rc == 0 && i < 3; i++)
			rc = facts_add(&f, "t.list", i == 0 ? "one" : i == 1 ? "two" : "three");
		if (rc < 0)             /* whoever goes on all the same does not make a short list a whole one */
			(void)facts_add(&f, "t.list", "four");
		if (!scarce_end()) {
			assert_int_equal(rc, 0);
			facts_release(&f);
			break;
		}
		assert_int_equal(rc, -ENOMEM);
		e = facts_get_name(&f, "t.list");
		assert_true(!e || e->state == FACT_TEMPERROR || !strcmp(e->text[0], "four"));
		e = facts_get_name(&f, "t.word");
		assert_true(!e || e->state == FACT_TEMPERROR || e->count == 1);
		facts_release(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_registry),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_lists_are_bounded),
		cmocka_unit_test(test_once),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests_name("fact", tests, setup, NULL);
}
