#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "policy/recent.h"

enum { HOUR_MS = 3600 * 1000 };

static void test_noted_once(void **state)
{
	struct recent *r = recent_new();

	assert_false(recent_note(r, "192.0.2.0/24", "a.example", HOUR_MS));
	assert_true(recent_note(r, "192.0.2.0/24", "a.example", HOUR_MS));
	assert_false(recent_note(r, "192.0.2.0/24a", ".example", HOUR_MS));
	assert_false(recent_note(r, "192.0.3.0/24", "a.example", HOUR_MS));
	assert_false(recent_note(r, "gone", "at once", 0));
	assert_false(recent_note(r, "gone", "at once", 0));
	assert_false(recent_note(NULL, "a", "b", HOUR_MS));
	free(r);
}

/* Many keys push each other out; none is taken for another. */
static void test_forgets_rather_than_errs(void **state)
{
	struct recent *r = recent_new();
	char key[20];

	for (int i = 0; i < 5 * RECENT_SLOTS; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		assert_false(recent_note(r, key, "", HOUR_MS));
	}
	free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_noted_once),
		cmocka_unit_test(test_forgets_rather_than_errs),
	};

	return cmocka_run_group_tests_name("recent", tests, NULL, NULL);
}
