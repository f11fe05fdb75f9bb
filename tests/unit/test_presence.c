#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/presence.h"

static struct presence *table_new(void)
{
	struct presence *p = mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(p != MAP_FAILED);
	presence_init(p);
	return p;
}

static uint64_t hash_of(const struct presence *p, uint32_t n)
{
	return presence_hash(p, &n, sizeof(n));
}

static void test_limit(void **state)
{
	struct presence *p = table_new();
	uint64_t one = hash_of(p, 1), two = hash_of(p, 2);
	int a, b, c;

	a = presence_enter(p, 0, one, 2);
	b = presence_enter(p, 5, one, 2);
	assert_true(a >= 0 && a == b);
	assert_int_equal(presence_enter(p, 0, one, 2), -EBUSY);
	assert_int_equal(presence_enter(p, 7, one, 2), -EBUSY);
	assert_int_equal(presence_count(p, one), 2);
	c = presence_enter(p, 7, two, 1);
	assert_true(c >= 0);
	assert_int_equal(presence_count(p, two), 1);
	presence_leave(p, 5, b);
	assert_int_equal(presence_count(p, one), 1);
	assert_true(presence_enter(p, 7, one, 0) >= 0);
	assert_true(presence_enter(p, 7, one, 0) >= 0);
	assert_int_equal(presence_count(p, one), 3);
	presence_leave(p, 0, -ENOSPC);
	presence_forget(p, 7);
	assert_int_equal(presence_count(p, one), 1);
	assert_int_equal(presence_count(p, two), 0);
	presence_leave(p, 0, a);
	assert_int_equal(presence_count(p, one), 0);
	munmap(p, sizeof(*p));
}

/* Sessions of many at once: each is counted exactly, until there is no room. */
static void test_crowd(void **state)
{
	enum { MANY = 45000 };
	struct presence *p = table_new();
	int *cell = calloc(MANY, sizeof(*cell)), more = 0, unplaced = 0;

	memset(&p->key, 7, sizeof(p->key));     /* with one in a hundred keys there is no room for somebody, long before there is for nobody */
	for (uint32_t i = 0; i < MANY; i++) {
		cell[i] = presence_enter(p, (int)(i % 3), hash_of(p, i), 1);
		assert_true(cell[i] >= 0);
	}
	for (uint32_t i = 0; i < MANY; i++) {
		assert_int_equal(presence_count(p, hash_of(p, i)), 1);
		assert_int_equal(presence_enter(p, 3, hash_of(p, i), 1), -EBUSY);
	}
	/* Beyond that nobody is refused, and nobody loses his cell. */
	for (uint32_t i = MANY; i < 2 * MANY; i++) {
		int rc = presence_enter(p, 4, hash_of(p, i), 1);

		more += rc >= 0;
		unplaced += rc == -ENOSPC;
	}
	assert_int_equal(more + unplaced, MANY);
	assert_int_equal(atomic_load(&p->unplaced), unplaced);
	assert_true(unplaced > 0 && MANY + more <= PRESENCE_CELLS);
	for (uint32_t i = 0; i < MANY; i++)
		assert_int_equal(presence_enter(p, 3, hash_of(p, i), 1), -EBUSY);
	presence_forget(p, 4);
	for (uint32_t i = 0; i < MANY; i++)
		presence_leave(p, (int)(i % 3), cell[i]);
	/* All are free again, for others. */
	for (uint32_t i = 0; i < MANY; i++)
		assert_int_equal(presence_count(p, hash_of(p, i)), 0);
	for (uint32_t i = 3 * MANY; i < 4 * MANY; i++)
		assert_true(presence_enter(p, 0, hash_of(p, i), 1) >= 0);
	free(cell);
	munmap(p, sizeof(*p));
}

/* Several processes at the same time, with the same few and with ever new ones: nothing is left over, nobody is counted who has nothing. */
static void test_processes(void **state)
{
	enum { WORKERS = 4, TRIES = 20000, NAMES = 5, MAX = 3 };
	struct presence *p = table_new();
	_Atomic int *inside = mmap(NULL, 2 * NAMES * sizeof(*inside), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), *most = inside + NAMES;

	for (int w = 0; w < WORKERS; w++) {
		if (fork() != 0)
			continue;
		for (uint32_t i = 0; i < TRIES; i++) {
			uint32_t name = i % NAMES;
			int other = presence_enter(p, w, hash_of(p, 1000 + i * WORKERS + (uint32_t)w), 1), cell = presence_enter(p, w, hash_of(p, name), MAX), now;

			if (cell >= 0) {
				now = atomic_fetch_add(&inside[name], 1) + 1;
				if (now > atomic_load(&most[name]))
					atomic_store(&most[name], now);
				atomic_fetch_sub(&inside[name], 1);
			}
			presence_leave(p, w, cell);
			presence_leave(p, w, other);
		}
		_exit(0);
	}
	while (wait(NULL) > 0)
		;
	for (uint32_t i = 0; i < NAMES; i++) {
		/* Two that claim a cell for the same at the same moment may have two cells for as long as they stay. */
		assert_in_range(atomic_load(&most[i]), 1, MAX + 1);
		assert_int_equal(presence_count(p, hash_of(p, i)), 0);
	}
	for (size_t i = 0; i < PRESENCE_CELLS; i++)
		for (int w = 0; w < PLACES_WORKERS_MAX; w++)
			assert_int_equal(atomic_load(&p->held[i][w]), 0);
	munmap(p, sizeof(*p));
	munmap((void *)inside, 2 * NAMES * sizeof(*inside));
}

/* A worker is killed wherever it is: what it held is free, what others hold stays. */
static void test_killed(void **state)
{
	struct presence *p = table_new();
	uint64_t ours = hash_of(p, 1), theirs = hash_of(p, 2);

	assert_true(presence_enter(p, 0, ours, 1) >= 0);
	for (int round = 0; round < 20; round++) {
		pid_t pid = fork();

		assert_true(pid >= 0);
		while (pid == 0)
			(void)presence_enter(p, 1, round % 2 ? ours : theirs, 0);
		usleep(1000);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		presence_forget(p, 1);
		assert_int_equal(presence_count(p, ours), 1);
		assert_int_equal(presence_count(p, theirs), 0);
	}
	munmap(p, sizeof(*p));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_crowd),
		cmocka_unit_test(test_processes),
		cmocka_unit_test(test_killed),
	};

	return cmocka_run_group_tests_name("presence", tests, NULL, NULL);
}
