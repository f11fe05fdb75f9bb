#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/health.h"

static void test_heard(void **state)
{
	static const signed char told[] = { HEALTH_UP, HEALTH_AWAY, HEALTH_AWAY, HEALTH_UNSEEN, HEALTH_UP };
	health_place h = HEALTH_UNSEEN;

	(void)state;
	for (size_t i = 0; i < sizeof(told); i++) {
		health_tell(&h, told[i]);
		assert_int_equal(atomic_load(&h), told[i]);
	}
}

/* Who is on his way out goes on looking, and is heard no more; who has the place after him is. */
static void test_retired(void **state)
{
	static const signed char told[] = { HEALTH_UP, HEALTH_AWAY, HEALTH_UNSEEN };
	health_place h = HEALTH_AWAY;

	(void)state;
	health_retire(&h);
	for (size_t i = 0; i < sizeof(told); i++) {
		health_tell(&h, told[i]);
		assert_int_equal(atomic_load(&h), HEALTH_RETIRED);
	}
	health_forget(&h);
	assert_int_equal(atomic_load(&h), HEALTH_UNSEEN);
	health_tell(&h, HEALTH_AWAY);
	assert_int_equal(atomic_load(&h), HEALTH_AWAY);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_heard), cmocka_unit_test(test_retired) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
