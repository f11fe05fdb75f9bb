/* The heap: whatever was added, taken out and moved, its first is the least. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdint.h>

#include "base/heap.h"
#include "support/random.h"

enum { ITEMS = 200, STEPS = 20000 };

struct item {
	unsigned key;
	size_t at;
};

static bool before(const void *a, const void *b)
{
	return ((const struct item *)a)->key < ((const struct item *)b)->key;
}

static void test_random(void **state)
{
	static struct item item[ITEMS];
	struct heap h = HEAP_INIT(struct item, at, before), other = HEAP_INIT(struct item, at, before);

	assert_int_equal(heap_reserve(&h, ITEMS), 0);
	assert_int_equal(heap_reserve(&other, 1), 0);
	for (unsigned seed = 0; seed < 5; seed++) {
		random_seed(seed);
		for (int step = 0; step < STEPS; step++) {
			struct item *it = &item[pick(ITEMS)];
			const struct item *first;
			size_t count = 0;
			unsigned least = UINT32_MAX;

			if (!heap_has(&h, it)) {
				it->key = pick(50);
				heap_add(&h, it);
			} else if (pick(3)) {
				it->key = pick(50);
				heap_moved(&h, it);
			} else {
				heap_remove(&h, it);
				heap_remove(&h, it);            /* it is not in it: nothing */
				heap_moved(&h, it);
			}
			assert_false(heap_has(&other, it));
			heap_remove(&other, it);                /* nor in this one */
			for (int i = 0; i < ITEMS; i++)
				if (heap_has(&h, &item[i])) {
					count++;
					least = item[i].key < least ? item[i].key : least;
				}
			first = heap_first(&h);
			assert_int_equal(h.count, count);
			assert_true(count == 0 ? first == NULL : first->key == least);
		}
	}
	heap_release(&h);
	heap_release(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_random) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
