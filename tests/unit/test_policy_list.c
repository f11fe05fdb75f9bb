#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "policy/policy_list.h"

static void add(struct policy_list *l, const char *entry, bool quoted)
{
	AUTO(buf) struct buf err = BUF_INIT(1000);

	if (policy_list_add(l, entry, strlen(entry), quoted, &err) != 0)
		fail_msg("%s: %s", entry, buf_str(&err));
}

static void test_rows(void **state)
{
	static const struct {
		const char *entry;
		bool quoted;
		enum fact_type type;
		const char *value;
		bool has;
	} rows[] = {
		{ "a.example", false, FACT_DOMAIN, "a.example", true },
		{ "a.example", false, FACT_DOMAIN, "A.EXAMPLE", true },
		{ "a.example", false, FACT_DOMAIN, "a.example.", true },
		{ "A.Example.", false, FACT_DOMAIN, "a.example", true },
		{ "a.example", false, FACT_DOMAIN, "x.y.a.example", true },
		{ "a.example", false, FACT_DOMAIN, "ba.example", false },
		{ "a.example", false, FACT_DOMAIN, "example", false },
		{ "a.example", false, FACT_DOMAIN, "", false },
		{ "a.example", false, FACT_DOMAIN, "a.example.evil", false },
		{ "example", false, FACT_DOMAIN, "x.example", true },
		{ ".a.example", false, FACT_DOMAIN, "a.example", false },
		{ ".a.example", false, FACT_DOMAIN, "x.a.example", true },
		{ "@a.example", false, FACT_DOMAIN, "a.example", false },
		{ "u@a.example", false, FACT_DOMAIN, "a.example", false },
		{ "a.example", false, FACT_ADDRESS, "u@a.example", true },
		{ "a.example", false, FACT_ADDRESS, "\"x@y\"@a.example", true },
		{ "a.example", false, FACT_ADDRESS, "a.example", false },
		{ "a.example", false, FACT_ADDRESS, "u@a.example@evil.example", false },
		{ "u@a.example", false, FACT_ADDRESS, "U@A.example", true },
		{ "u@a.example", false, FACT_ADDRESS, "uu@a.example", false },
		{ "@a.example", false, FACT_ADDRESS, "u@a.example", true },
		{ "@a.example", false, FACT_ADDRESS, "u@x.a.example", false },
		{ "192.0.2.0/24", false, FACT_IP, "192.0.2.9", true },
		{ "192.0.2.0/24", false, FACT_IP, "192.0.3.9", false },
		{ "192.0.2.0/24", false, FACT_IP, "no address", false },
		{ "192.0.2.0/31", false, FACT_IP, "192.0.2.1", true },
		{ "192.0.2.0/31", false, FACT_IP, "192.0.2.2", false },
		{ "192.0.2.5", false, FACT_IP, "192.0.2.5", true },
		{ "0.0.0.0/0", false, FACT_IP, "203.0.113.9", true },
		{ "::/0", false, FACT_IP, "203.0.113.9", false },
		{ "2001:db8::/33", false, FACT_IP, "2001:db8:7fff::1", true },
		{ "2001:db8::/33", false, FACT_IP, "2001:db8:8000::1", false },
		{ "192.0.2.5", false, FACT_DOMAIN, "192.0.2.5", false },
		{ "any text", true, FACT_TEXT, "Any Text", true },
		{ "any text", true, FACT_TEXT, "any text ", false },
		{ "192.0.2.5", true, FACT_TEXT, "192.0.2.5", true },
		{ "192.0.2.5", true, FACT_IP, "192.0.2.5", true },
		{ "a.example", false, FACT_TEXT, "a.example", true },
		{ "a.example", false, FACT_TEXT, "x.a.example", false },
		{ ".a.example", false, FACT_TEXT, "a.example", false },
		{ "u@a.example", false, FACT_TEXT, "u@a.example", true },
		{ "a.example", false, FACT_WORD, "a.example", false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(policy_list) struct policy_list *l = policy_list_new();

		assert_non_null(l);
		assert_false(policy_list_has(l, rows[i].type, rows[i].value, NULL));
		add(l, rows[i].entry, rows[i].quoted);
		if (policy_list_has(l, rows[i].type, rows[i].value, NULL) != rows[i].has)
			fail_msg("%s has %s: %d", rows[i].entry, rows[i].value, !rows[i].has);
		if (rows[i].has)
			assert_true(policy_list_useful(l, rows[i].type));
	}
}

static void test_bad(void **state)
{
	static const char *const rows[] = { "",
					    "a b",
					    "a..b",
					    ".",
					    "@",
					    "..a",
					    "-a.example",
					    "a-.example",
					    "u@",
					    "u@a b",
					    "u@-",
					    "192.0.2.1/24",
					    "192.0.2.0/33",
					    "192.0.2.0/x",
					    "192.0.2.0/-1",
					    "2001:db8::/200",
					    "b\xc3\xbc\x63her.example",
					    "*.example",
					    "a/b" };
	AUTO(policy_list) struct policy_list *l = policy_list_new();

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(buf) struct buf err = BUF_INIT(1000);

		if (policy_list_add(l, rows[i], strlen(rows[i]), false, &err) != -EINVAL ||
		    !strstr(buf_str(&err), "expected"))
			fail_msg("%s: %s", rows[i], buf_str(&err));
	}
	assert_int_equal(policy_list_count(l), 0);
}

static void test_regex(void **state)
{
	static const struct {
		const char *pattern;
		enum fact_type type;
		const char *value;
		bool has;
	} rows[] = {
		{ "^a.*b$", FACT_TEXT, "axxb", true },	   { "^a.*b$", FACT_TEXT, "AxxB", false },
		{ "(?i)^A", FACT_TEXT, "abc", true },	   { "@example\\.com$", FACT_ADDRESS, "u@example.com", true },
		{ "^192\\.0\\.", FACT_IP, "192.0.2.1", true }, { "^192\\.0\\.", FACT_IP, "10.192.0.2", false },
		{ "^dsl-", FACT_DOMAIN, "dsl-1.example", true }, { "b\xc3\xbc", FACT_TEXT, "b\xc3\xbc""cher", true },
		{ "a", FACT_WORD, "a", false },		   { "1", FACT_NUMBER, "1", false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(policy_list) struct policy_list *l = policy_list_new();
		AUTO(buf) struct buf err = BUF_INIT(1000);
		size_t at;

		for (int twice = 0; twice < 2; twice++)
			assert_int_equal(policy_list_add_regex(l, rows[i].pattern, strlen(rows[i].pattern), &at, &err), 0);
		assert_int_equal(policy_list_count(l), 1);
		assert_int_equal(policy_list_regexes(l), 1);
		add(l, "other.example", false);
		if (policy_list_has(l, rows[i].type, rows[i].value, NULL) != rows[i].has)
			fail_msg("/%s/ has %s: %d", rows[i].pattern, rows[i].value, !rows[i].has);
	}
}

/* One that takes too long counts as not matching, and says so; the others are looked at. */
static void test_regex_limit(void **state)
{
	AUTO(policy_list) struct policy_list *l = policy_list_new();
	AUTO(buf) struct buf err = BUF_INIT(1000);
	bool limit = false;
	size_t at;

	assert_int_equal(policy_list_add_regex(l, "^(a+)+$", 7, &at, &err), 0);
	assert_false(policy_list_has(l, FACT_TEXT, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", NULL));
	assert_false(policy_list_has(l, FACT_TEXT, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", &limit));
	assert_true(limit);
	limit = false;
	assert_int_equal(policy_list_add_regex(l, "c$", 2, &at, &err), 0);
	assert_true(policy_list_has(l, FACT_TEXT, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", &limit));
	assert_int_equal(policy_list_add_regex(l, "a(", 2, &at, &err), -EINVAL);
	assert_int_equal(at, 2);
}

/* The two meanings of an entry join in one key; how often something is said does not matter. */
static void test_joined(void **state)
{
	AUTO(policy_list) struct policy_list *l = policy_list_new();

	add(l, ".a.example", false);
	add(l, ".a.example", false);
	assert_int_equal(policy_list_count(l), 1);
	assert_false(policy_list_has(l, FACT_DOMAIN, "a.example", NULL));
	add(l, "@a.example", false);
	assert_true(policy_list_has(l, FACT_ADDRESS, "u@a.example", NULL));
	assert_false(policy_list_has(l, FACT_DOMAIN, "a.example", NULL));
	assert_int_equal(policy_list_add_exact(l, "a.example"), 0);
	assert_true(policy_list_has(l, FACT_DOMAIN, "a.example", NULL));
	assert_int_equal(policy_list_add_exact(l, "a b"), -EINVAL);
	assert_int_equal(policy_list_count(l), 1);
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* A hundred times the entries cost a lookup little more (caches). */
static void test_many(void **state)
{
	double cost[2];
	char text[64];

	for (int round = 0; round < 2; round++) {
		AUTO(policy_list) struct policy_list *l = policy_list_new();
		int n = round ? 300000 : 3000, hits = 0;

		for (int i = 0; i < n; i++) {
			snprintf(text, sizeof(text),
				 i % 3 == 0   ? "d%d.example"
				 : i % 3 == 1 ? "u%d@mail.example"
					      : "10.%d.%d.%d",
				 i % 3 == 2 ? i >> 16 & 255 : i, i >> 8 & 255, i & 255);
			add(l, text, false);
		}
		assert_int_equal(policy_list_count(l), n);
		for (int at = 0; at < 30000; at += 3000) {      /* the least of ten times: another machine on our processor is no cost of ours */
			double start = seconds(), took;

			for (int i = at; i < at + 3000; i++) {
				int k = (int)((unsigned)i * 7919u % (unsigned)n);

				snprintf(text, sizeof(text), "x.d%d.example", k);
				hits += policy_list_has(l, FACT_DOMAIN, text, NULL) == (k % 3 == 0);
				snprintf(text, sizeof(text), "u%d@mail.example", k);
				hits += policy_list_has(l, FACT_ADDRESS, text, NULL) == (k % 3 == 1);
				snprintf(text, sizeof(text), "10.%d.%d.%d", k >> 16 & 255, k >> 8 & 255, k & 255);
				hits += policy_list_has(l, FACT_IP, text, NULL) == (k % 3 == 2);
			}
			took = seconds() - start;
			cost[round] = at && cost[round] < took ? cost[round] : took;
		}
		assert_int_equal(hits, 90000);
	}
	if (cost[1] > cost[0] * 10)
		fail_msg("300,000 entries: %.3f s, 3,000: %.3f s", cost[1], cost[0]);
}

/* Regular expressions that give up: past some of them the others are not tried for that value, and it is said. */
static void test_given_up(void **state)
{
	AUTO(policy_list) struct policy_list *l = policy_list_new();
	AUTO(buf) struct buf err = BUF_INIT(1000);
	bool limit = false;
	int given_up = 0;

	for (int i = 0; i < 20; i++) {
		char pattern[20];
		size_t at;

		snprintf(pattern, sizeof(pattern), "^(a+)+%d$", i);
		assert_int_equal(policy_list_add_regex(l, pattern, strlen(pattern), &at, &err), 0);
	}
	for (size_t i = 0; i < policy_list_regexes(l); i++)
		assert_false(policy_list_matches(l, i, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab0123456789", &given_up));
	assert_in_range(given_up, 1, 10);
	assert_false(policy_list_has(l, FACT_TEXT, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab0123456789", &limit));
	assert_true(limit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_regex),
		cmocka_unit_test(test_regex_limit),
		cmocka_unit_test(test_joined),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_given_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
