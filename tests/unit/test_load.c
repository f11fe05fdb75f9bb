#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/asan.h"
#include "base/load.h"
#include "base/task.h"

static const struct load_bounds bounds = { .memory_bytes = 1000, .sessions = 200, .descriptors = 1000, .lag_ms = 200, .from = 75 };

static const struct {
	const char *name;
	struct load_figures f;
	int percent;
	enum load_why why;
} figures[] = {
	{ "nothing",                    { 0 }, 0, LOAD_MEMORY },
	{ "memory",                     { .memory_bytes = 800, .sessions = 20 }, 80, LOAD_MEMORY },
	{ "memory beyond all bounds",   { .memory_bytes = UINT64_MAX / 200 }, 200, LOAD_MEMORY },
	{ "sessions",                   { .memory_bytes = 100, .sessions = 190 }, 95, LOAD_SESSIONS },
	{ "descriptors",                { .descriptors = 900 }, 90, LOAD_DESCRIPTORS },
	{ "lag at the lower mark",      { .lag_ms = 50 }, 75, LOAD_LAG },
	{ "lag below it",               { .lag_ms = 25 }, 37, LOAD_LAG },
	{ "lag between",                { .lag_ms = 125 }, 82, LOAD_LAG },
	{ "lag stops at the upper mark", { .lag_ms = 100000 }, 90, LOAD_LAG },
	{ "who waits, of few places",   { .waiting = 10, .places = 1 }, 50, LOAD_WAITING },
	{ "who waits, of many",         { .waiting = 160, .places = 200 }, 80, LOAD_WAITING },
	{ "who waits stops, too",       { .waiting = 1000, .places = 10 }, 90, LOAD_WAITING },
	{ "who waits without a bound",  { .waiting = 1000 }, 0, LOAD_MEMORY },
};

static void test_percent(void **state)
{
	for (size_t i = 0; i < sizeof(figures) / sizeof(*figures); i++) {
		enum load_why why;
		int percent = load_percent(&bounds, &figures[i].f, &why);

		if (percent != figures[i].percent || why != figures[i].why)
			fail_msg("%s: %d %s", figures[i].name, percent, load_why_text(why));
	}
}

/* Without a bound, or with one so small that a percentage says nothing, nobody is turned away. */
static void test_no_bounds(void **state)
{
	const struct load_figures f = { .memory_bytes = 1 << 30, .sessions = 99, .descriptors = 50000, .lag_ms = 5000 };
	const struct load_bounds small = { .sessions = 99, .from = 75 };
	enum load_why why;

	assert_int_equal(load_percent(&small, &f, &why), 0);
}

static void test_share(void **state)
{
	static const struct { int from, percent, strangers, wanted; } rows[] = {
		{ 75, 0, 0, 0 }, { 75, 75, 0, 0 }, { 75, 78, 20, 0 }, { 75, 89, 93, 0 }, { 75, 90, 100, 0 }, { 75, 95, 100, 50 }, { 75, 100, 100, 100 },
		{ 75, 200, 100, 100 }, { 10, 37, 50, 0 }, { 10, 64, 100, 0 }, { 10, 82, 100, 50 }, { 100, 99, 0, 0 }, { 100, 200, 0, 0 }, { 99, 100, 100, 100 }, { 0, 100, 0, 0 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		assert_int_equal(load_share(rows[i].from, rows[i].percent, LOAD_STRANGER), rows[i].strangers);
		assert_int_equal(load_share(rows[i].from, rows[i].percent, LOAD_WANTED), rows[i].wanted);
	}
}

static struct net_addr address(const char *text)
{
	struct net_addr a;

	assert_int_equal(net_parse(text, &a), 0);
	return a;
}

static void test_known(void **state)
{
	static const struct { const char *told, *asked; bool known; } rows[] = {
		{ "192.0.2.1", "192.0.2.1", true }, { "192.0.2.1", "192.0.2.200", true }, { "192.0.2.1", "192.0.3.1", false },
		{ "2001:db8:1:2::3", "2001:db8:1:2:ffff::1", true }, { "2001:db8:1:2::3", "2001:db8:1:3::3", false },
		{ "64:ff9b::c000:201", "192.0.2.9", true },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct load_shared *s = calloc(1, sizeof(*s));
		struct net_addr told = address(rows[i].told), asked = address(rows[i].asked);

		load_shared_init(s);
		assert_false(load_known(s, &asked));
		load_know(s, &told);
		load_know(s, &told);
		assert_int_equal(load_known(s, &asked), rows[i].known);
		free(s);
	}
}

/* More networks than there are places: the later ones are known, and none that never came. */
static void test_known_many(void **state)
{
	struct load_shared *s = calloc(1, sizeof(*s));
	int known = 0;

	load_shared_init(s);
	for (int round = 0; round < 2; round++)
		for (int i = 0; i < 3 * LOAD_KNOWN; i++) {
			struct net_addr a = { .family = AF_INET, .ip = { (unsigned char)(10 + round), (unsigned char)(i >> 8), (unsigned char)i } };

			if (round == 0)
				load_know(s, &a);
			else
				assert_false(load_known(s, &a));
		}
	for (int i = 0; i < 3 * LOAD_KNOWN; i++) {
		struct net_addr a = { .family = AF_INET, .ip = { 10, (unsigned char)(i >> 8), (unsigned char)i } };

		known += load_known(s, &a);
	}
	assert_in_range(known, LOAD_KNOWN / 2, LOAD_KNOWN);
	free(s);
}

/* --- on the loop --- */

static struct load_figures given;

static void look(void *arg, struct load_figures *f)
{
	*f = given;
}

struct scene {
	struct load_shared *shared;
	struct load *load;
	int turned[LOAD_KINDS];
};

static void begin(struct scene *s, const struct load_bounds *b)
{
	memset(s, 0, sizeof(*s));
	s->shared = calloc(1, sizeof(*s->shared));
	load_shared_init(s->shared);
	s->load = load_new(s->shared, 3, b, look, NULL);
	assert_non_null(s->load);
}

static void end(struct scene *s)
{
	load_free(s->load);
	free(s->shared);
}

static void connect_some(void *arg)
{
	struct scene *s = arg;

	assert_int_equal(load_start(s->load), 0);
	for (int i = 0; i < 100; i++)
		assert_false(load_turns_away(s->load, LOAD_STRANGER, 9));
	task_sleep(450);
	for (int i = 0; i < 1000; i++)
		for (int k = 0; k < LOAD_KINDS; k++)
			s->turned[k] += load_turns_away(s->load, (enum load_kind)k, 9);
	loop_stop();
}

static void on_loop(struct scene *s)
{
	assert_int_equal(loop_init(), 0);
	assert_int_equal(task_spawn("test", connect_some, s, NULL), 0);
	loop_run();
	loop_unwind();
}

/* The share is kept to exactly, and counted for all to see. */
static void test_turning_away(void **state)
{
	const struct load_bounds b = { .sessions = 1000, .from = 75 };
	struct scene s;

	given = (struct load_figures){ .sessions = 810 };
	begin(&s, &b);
	on_loop(&s);
	assert_int_equal(s.turned[LOAD_STRANGER], 400);
	assert_int_equal(s.turned[LOAD_WANTED], 0);
	assert_int_equal(atomic_load(&s.shared->turned_away[LOAD_STRANGER]), 400);
	assert_int_equal(load_shared_percent(s.shared), 81);
	load_shared_forget(s.shared, 3);
	assert_int_equal(load_shared_percent(s.shared), 0);
	end(&s);
	loop_release();
}

/* What others hold in memory counts; and near the bound no message is begun. */
static void test_memory(void **state)
{
	const struct load_bounds b = { .memory_bytes = 4ull << 30, .from = 75 };
	struct scene s;

	if (getenv("UNDER_VALGRIND")) {
		print_message("             skipped: under valgrind memory says nothing\n");
		skip();
	}
	given = (struct load_figures){ 0 };
	begin(&s, &b);
	assert_false(load_memory_short(s.load));
	atomic_store(&s.shared->memory[LOAD_PLACES - 1], (4ull << 30) / 100 * 97);
	on_loop(&s);
	assert_int_equal(s.turned[LOAD_STRANGER], 1000);
	assert_in_range(s.turned[LOAD_WANTED], 590, 790);
	assert_true(load_memory_short(s.load));
	assert_false(load_memory_short(NULL));
	assert_int_equal(atomic_load(&s.shared->deferred), 1);
	end(&s);
	loop_release();
}

static void test_own_memory(void **state)
{
	int fd = load_memory_open();
	uint64_t before = load_memory_read(fd);
	char *p;

	if (UNDER_ASAN || getenv("UNDER_VALGRIND")) {
		print_message("             skipped: under AddressSanitizer or valgrind memory says nothing\n");
		skip();
	}
	assert_true(fd >= 0);
	p = malloc(32 << 20);
	memset(p, 1, 32 << 20);
	assert_in_range(load_memory_read(fd) - before, 30 << 20, 40 << 20);
	assert_int_equal(p[4711], 1);
	free(p);
	close(fd);
	assert_int_equal(load_memory_read(-1), 0);
}

/* Memory that was in use when it was last given back, and has been freed since, is not kept for ever where it locks all out. */
static void test_trim(void **state)
{
	static const struct { bool near; int mib, trimmed_mib, seconds; bool due; } rows[] = {
		{ false, 500, 400, 59, false }, { false, 500, 400, 60, true }, { false, 500, 500, 3600, false }, { true, 500, 400, 9, false }, { true, 500, 400, 10, true },
		{ true, 500, 500, 19, false }, { true, 500, 500, 20, true }, { true, 500, 499, 3600, true }, { true, 0, 0, 0, false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (load_trim_due(rows[i].near, (uint64_t)rows[i].mib << 20, (uint64_t)rows[i].trimmed_mib << 20, rows[i].seconds * 1000) != rows[i].due)
			fail_msg("row %zu", i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_percent),
		cmocka_unit_test(test_no_bounds),
		cmocka_unit_test(test_share),
		cmocka_unit_test(test_known),
		cmocka_unit_test(test_known_many),
		cmocka_unit_test(test_turning_away),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_own_memory),
		cmocka_unit_test(test_trim),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
