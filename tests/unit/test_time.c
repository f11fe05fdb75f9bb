#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "filters/time.h"

static void test_moments(void **state)
{
	static const struct { const char *zone; int64_t at; const char *time, *weekday; } rows[] = {
		{ "UTC0", 0, "00:00", "thu" },
		{ "UTC0", 86399, "23:59", "thu" },
		{ "UTC0", 86400, "00:00", "fri" },
		{ "UTC0", 4 * 86400 + 6 * 3600 + 59, "06:00", "mon" },
		{ "UTC0", 3 * 86400, "00:00", "sun" },
		{ "EST5", 3600, "20:00", "wed" },
		{ "CET-1CEST,M3.5.0,M10.5.0/3", 1774745999, "01:59", "sun" },   /* the night of 29 March 2026: 02:00 is 03:00 */
		{ "CET-1CEST,M3.5.0,M10.5.0/3", 1774746000, "03:00", "sun" },
		{ "<+0545>-5:45", 0, "05:45", "thu" },
		{ "UTC0", -1, "23:59", "wed" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct facts f = { 0 };

		setenv("TZ", rows[i].zone, 1);
		tzset();
		assert_int_equal(time_facts_set(rows[i].at, &f), 0);
		assert_string_equal(facts_word(&f, "time"), rows[i].time);
		assert_string_equal(facts_word(&f, "time.weekday"), rows[i].weekday);
		facts_release(&f);
	}
}

static void test_no_such_moment(void **state)
{
	struct facts f = { 0 };

	assert_true(time_facts_set(INT64_MAX, &f) < 0);
	facts_release(&f);
}

/* The moment of MAIL, however late a rule asks; at hand without a wait. */
static void test_once(void **state)
{
	struct client c = { 0 };
	struct txn t = { .client = &c, .stage = STAGE_MAIL };
	int id = fact_find("time", 4), self = fact_owner(id);
	int64_t begun_s = clock_wall_s();
	const struct fact *f;

	setenv("TZ", "UTC0", 1);
	assert_int_equal(filter_time.setup(NULL, NULL), 0);
	filters_start(&t, STAGE_MAIL, 1u << self);
	assert_true(filters_at_hand(&t, id));
	assert_in_range((intptr_t)t.evidence.filter[self], begun_s, clock_wall_s());
	t.evidence.filter[self] = (void *)(intptr_t)(3 * 3600 + 5 * 60);
	t.stage = STAGE_DATA;
	f = filters_fact(&t, id);
	assert_non_null(f);
	assert_string_equal(f->text[0], "03:05");
	filters_release(&t.evidence);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_moments),
		cmocka_unit_test(test_no_such_moment),
		cmocka_unit_test(test_once),
	};

	fact_register_all();
	return cmocka_run_group_tests_name("time", tests, NULL, NULL);
}
