#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/places.h"

static void test_limit(void **state)
{
	static struct places p;

	assert_true(places_enter(&p, 0, 2));
	assert_true(places_enter(&p, 5, 2));
	assert_false(places_enter(&p, 0, 2));
	assert_false(places_enter(&p, 7, 2));
	assert_int_equal(places_held(&p), 2);
	places_leave(&p, 5);
	assert_true(places_enter(&p, 7, 2));
	assert_true(places_enter(&p, 7, 0));
	assert_int_equal(places_held(&p), 3);
	places_forget(&p, 7);
	assert_int_equal(places_held(&p), 1);
}

/* Several processes at the same time: never more than the limit inside. */
static void test_processes(void **state)
{
	enum { WORKERS = 4, TRIES = 20000, MAX = 3 };
	struct { struct places p; _Atomic int inside, most; } *m;

	m = mmap(NULL, sizeof(*m), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(m != MAP_FAILED);
	for (int w = 0; w < WORKERS; w++) {
		if (fork() != 0)
			continue;
		for (int i = 0; i < TRIES; i++) {
			int now;

			if (!places_enter(&m->p, w, MAX))
				continue;
			now = atomic_fetch_add(&m->inside, 1) + 1;
			if (now > atomic_load(&m->most))
				atomic_store(&m->most, now);
			atomic_fetch_sub(&m->inside, 1);
			places_leave(&m->p, w);
		}
		_exit(0);
	}
	while (wait(NULL) > 0)
		;
	assert_in_range(atomic_load(&m->most), 1, MAX);
	assert_int_equal(places_held(&m->p), 0);
	munmap(m, sizeof(*m));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_processes),
	};

	return cmocka_run_group_tests_name("places", tests, NULL, NULL);
}
