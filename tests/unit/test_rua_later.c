#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>


#include "rua/rua_later.h"

static void test_empty(void **state)
{
	struct rua_later t = { .late = NULL };

	assert_null(rua_later_find(&t, 1));
	rua_later_drop(&t, 1);
	rua_later_release(&t);
	assert_null(rua_later_find(&t, 1));
}

/* Against a plain list: keys that meet in one place, wrap around, go and come. */
static void test_model(void **state)
{
	enum { KEYS = 200, STEPS = 20000 };
	struct rua_later t = { .late = NULL };
	int has[KEYS] = { 0 };
	size_t count = 0;
	uint32_t seed = 7;

	for (int step = 0; step < STEPS; step++) {
		uint64_t k, key;

		seed = seed * 1664525 + 1013904223;
		k = (seed >> 8) % KEYS;
		key = k % 5 == 0 ? (k << 32) + 63 : k % 5 == 1 ? (k << 32) + 1 : k + 1000;
		if ((seed >> 28) % 3) {
			struct rua_late *l = rua_later_put(&t, key);

			assert_non_null(l);
			assert_int_equal(l->pause_ms, has[k]);
			count += !has[k];
			has[k] = l->pause_ms = step + 1;
		} else {
			rua_later_drop(&t, key);
			count -= has[k] != 0;
			has[k] = 0;
		}
		assert_int_equal(t.used, count);
		if (step % 100)
			continue;
		for (uint64_t i = 0; i < KEYS; i++) {
			const struct rua_late *l = rua_later_find(&t, i % 5 == 0 ? (i << 32) + 63 : i % 5 == 1 ? (i << 32) + 1 : i + 1000);

			assert_int_equal(l ? l->pause_ms : 0, has[i]);
		}
	}
	rua_later_release(&t);
}

static void test_bound(void **state)
{
	struct rua_later t = { .late = NULL };

	for (uint64_t i = 1; i <= RUA_LATER_MAX; i++)
		assert_non_null(rua_later_put(&t, i));
	assert_null(rua_later_put(&t, RUA_LATER_MAX + 1));
	assert_non_null(rua_later_put(&t, 17));
	rua_later_drop(&t, 17);
	assert_non_null(rua_later_put(&t, RUA_LATER_MAX + 1));
	rua_later_release(&t);
}

/* What nobody comes back to does not keep others out for ever. */
static void test_tidy(void **state)
{
	struct rua_later t = { .late = NULL };

	rua_later_tidy(&t, 1000);
	for (uint64_t i = 1; i <= RUA_LATER_MAX; i++)
		rua_later_put(&t, i * 0x9e3779b97f4a7c15u | 1)->until_ms = i % 3 ? 999 : 1000;
	assert_null(rua_later_put(&t, 2));
	rua_later_tidy(&t, 1000);
	assert_int_equal(t.used, RUA_LATER_MAX / 3);
	for (uint64_t i = 1; i <= RUA_LATER_MAX; i++)
		assert_int_equal(rua_later_find(&t, i * 0x9e3779b97f4a7c15u | 1) != NULL, i % 3 == 0);
	assert_non_null(rua_later_put(&t, 2));
	rua_later_release(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_bound),
		cmocka_unit_test(test_tidy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
