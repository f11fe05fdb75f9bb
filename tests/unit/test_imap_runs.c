#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "imap/imap_runs.h"

enum { COUNT = 60, GONE = 40, TURNS = 300 };

/* Beside a plain list: the UID of each message of a mailbox, 0 where it is none of ours. */
struct plain {
	uint32_t uid[COUNT];
	size_t count;
};

static void same(const struct imap_runs *r, const struct plain *p)
{
	uint32_t seq, uid = 0, top_seq = 0, top_uid = 0;
	size_t n = 0;

	for (uint32_t i = 0; i < COUNT + 2; i++) {
		bool there = i > 0 && i <= p->count && p->uid[i - 1];

		assert_int_equal(imap_runs_uid(r, i, &uid), there);
		if (!there)
			continue;
		n++;
		assert_int_equal(uid, p->uid[i - 1]);
		assert_true(imap_runs_seq(r, uid, &seq) && seq == i);
		top_seq = i;
		top_uid = uid;
	}
	assert_int_equal(r->messages, n);
	for (uid = 0; imap_runs_next(r, uid, &seq, &uid); n--)
		assert_int_equal(p->uid[seq - 1], uid);
	assert_int_equal(n, 0);
	imap_runs_top(r, &seq, &uid);
	assert_true(seq == top_seq && uid == top_uid);
}

static void test_like_a_list(void **state)
{
	srand(4711);
	for (int turn = 0; turn < TURNS; turn++) {
		struct imap_runs r = { 0 };
		struct plain p = { .count = COUNT };
		uint32_t uid = 0;

		for (uint32_t i = 0; i < COUNT; i++) {
			uid += rand() % 3 ? 1 : 1 + (uint32_t)rand() % 5;
			if (rand() % 5)
				p.uid[i] = uid;
		}
		/* in any order, some twice */
		for (uint32_t i = 0; i < COUNT; i++) {
			uint32_t k = turn % 2 ? i : COUNT - 1 - i;

			if (p.uid[k])
				assert_int_equal(imap_runs_add(&r, k + 1, p.uid[k]), 0);
			if (p.uid[k] && rand() % 20 == 0)
				assert_int_equal(imap_runs_add(&r, k + 1, p.uid[k]), 0);
		}
		assert_int_equal(imap_runs_sort(&r), 0);
		same(&r, &p);
		for (int i = 0; i < GONE; i++) {
			uint32_t at = 1 + (uint32_t)rand() % (COUNT - (uint32_t)i);

			if (rand() % 4 == 0 && p.uid[at - 1]) {
				assert_int_equal(imap_runs_forget(&r, p.uid[at - 1]), 0);
				p.uid[at - 1] = 0;
				same(&r, &p);
			}
			assert_int_equal(imap_runs_expunge(&r, at), 0);
			memmove(&p.uid[at - 1], &p.uid[at], (p.count - at) * sizeof(p.uid[0]));
			p.count--;
			same(&r, &p);
		}
		imap_runs_release(&r);
	}
}

static void test_large_mailbox(void **state)
{
	struct imap_runs r = { 0 };
	uint32_t uid;

	for (uint32_t i = 1; i <= IMAP_MESSAGES_MAX; i++)
		assert_int_equal(imap_runs_add(&r, i, i + 1000), 0);
	assert_int_equal(imap_runs_add(&r, IMAP_MESSAGES_MAX + 1, IMAP_MESSAGES_MAX + 1001), -ENOSPC);
	assert_int_equal(imap_runs_sort(&r), 0);
	assert_int_equal(r.count, 1);
	assert_true(imap_runs_uid(&r, IMAP_MESSAGES_MAX, &uid) && uid == IMAP_MESSAGES_MAX + 1000);
	imap_runs_release(&r);
}

static void test_bounds(void **state)
{
	struct imap_runs r = { 0 };
	uint32_t i = 1;

	while (imap_runs_add(&r, 2 * i, 2 * i) == 0)
		i++;
	assert_int_equal(r.count, IMAP_RUNS_MAX);
	imap_runs_release(&r);
}

static const struct { const char *name; uint32_t seq[3], uid[3]; } nonsense[] = {
	{ "UIDs descend", { 1, 2 }, { 9, 8 } },
	{ "one UID twice", { 1, 2 }, { 9, 9 } },
	{ "one number twice", { 1, 1 }, { 8, 9 } },
	{ "within a run", { 1, 2, 2 }, { 8, 9, 20 } },
};

static void test_nonsense(void **state)
{
	for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
		struct imap_runs r = { 0 };

		for (int k = 0; k < 3 && nonsense[i].seq[k]; k++)
			assert_int_equal(imap_runs_add(&r, nonsense[i].seq[k], nonsense[i].uid[k]), 0);
		if (imap_runs_sort(&r) != -EPROTO)
			fail_msg("%s", nonsense[i].name);
		imap_runs_release(&r);
	}
	{
		struct imap_runs r = { 0 };

		assert_int_equal(imap_runs_add(&r, 0, 1), -EPROTO);
		assert_int_equal(imap_runs_add(&r, 1, 0), -EPROTO);
		assert_int_equal(imap_runs_expunge(&r, 1), 0);
		assert_int_equal(imap_runs_sort(&r), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_like_a_list), cmocka_unit_test(test_large_mailbox), cmocka_unit_test(test_bounds), cmocka_unit_test(test_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
