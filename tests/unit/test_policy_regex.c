/* Regular expressions over long and hostile values: the same answers as over short ones, in bounded time. With and without JIT. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "policy/policy_regex.h"

static struct policy_regex *compiled(const char *pattern)
{
	AUTO(buf) struct buf err = BUF_INIT(1000);
	size_t offset;
	struct policy_regex *r = policy_regex_new(pattern, strlen(pattern), &offset, &err);

	if (!r)
		fail_msg("%s: %s", pattern, buf_str(&err));
	return r;
}

static enum regex_match match(const char *pattern, const char *s, size_t len)
{
	struct policy_regex *r = compiled(pattern);
	enum regex_match m = policy_regex_match(r, s, len);

	policy_regex_free(r);
	return m;
}

static void rows(void)
{
	static const struct { const char *pattern, *in; enum regex_match want; } row[] = {
		{ "^abc$", "abc", REGEX_YES }, { "^abc$", "abcd", REGEX_NO }, { "^$", "", REGEX_YES }, { "$", "", REGEX_YES }, { "x$", "aax", REGEX_YES },
		{ "x", "", REGEX_NO }, { "^b", "ab", REGEX_NO }, { "(?<=a)b", "ab", REGEX_YES }, { "(?<=c)b", "ab", REGEX_NO },
		{ "\\bword\\b", "a word.", REGEX_YES }, { "\\bword\\b", "sword", REGEX_NO }, { "世界", "你好世界", REGEX_YES }, { "^.{4}$", "你好世界", REGEX_YES },
		{ "界$", "你好世界", REGEX_YES }, { "b", "\xff\x80\x80\x80" "b", REGEX_YES }, { "^b", "\x80\x80\x80\x80\x80" "b", REGEX_NO },
		{ ".", "\x80\x80\x80\x80\x80\x80\x80\x80", REGEX_NO }, { "a*+b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaab", REGEX_YES },
		{ "(?i)INVOICE.*overdue", "your invoice is long overdue", REGEX_YES }, { "(?m)^two$", "one\ntwo\nthree", REGEX_YES },
	};

	for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++)
		if (match(row[i].pattern, row[i].in, strlen(row[i].in)) != row[i].want)
			fail_msg("/%s/ on \"%s\"", row[i].pattern, row[i].in);
}

/* A word is found wherever it stands; the ends of what is seen at once are no ends of the value. */
static void places(void)
{
	size_t len = 20000;
	char *s = malloc(len);
	struct policy_regex *word = compiled("needle"), *end = compiled("needle$"), *begin = compiled("^needle"), *behind = compiled("(?<= )needle ");

	for (size_t at = 1; at + 8 < len; at += at < 40 || (at + 6) % 1024 < 12 ? 1 : 101) {
		memset(s, ' ', len);
		memcpy(s + at, "needle", 6);
		int found[] = { policy_regex_match(word, s, len), policy_regex_match(behind, s, len), policy_regex_match(end, s, len),
				policy_regex_match(begin, s, len) };

		if (found[0] != REGEX_YES || found[1] != REGEX_YES || found[2] != REGEX_NO || found[3] != REGEX_NO)
			fail_msg("at %zu: %d %d %d %d", at, found[0], found[1], found[2], found[3]);
	}
	memcpy(s + len - 6, "needle", 6);
	assert_int_equal(policy_regex_match(end, s, len), REGEX_YES);
	memcpy(s, "needle", 6);
	assert_int_equal(policy_regex_match(begin, s, len), REGEX_YES);
	/* characters of three octets, so that no end of a window is the end of one */
	for (size_t i = 0; i + 3 <= len; i += 3)
		memcpy(s + i, "世", 3);
	memcpy(s + 3 * (len / 3 - 100), "needle", 6);
	assert_int_equal(policy_regex_match(word, s, len), REGEX_YES);
	policy_regex_free(word);
	policy_regex_free(end);
	policy_regex_free(begin);
	policy_regex_free(behind);
	free(s);
}

/* What would take seconds, or for ever, is given up. The bound of the test is far above the limit: the machine may be busy. */
static void hostile(void)
{
	static const char *const patterns[] = {
		"(a+)+[bc]", "a*[bc]", "a*a*[bc]", "a*?a*?[bc]", "(?:a?){20}a{20}[bc]", "(?:a|aa)+[bc]", "(a*)*[bc]", "a*a*a*a*[bc]", "(?=(a+))a*[bc]\\1",
	};
	size_t len = REGEX_SUBJECT_MAX;
	char *s = malloc(len);
	struct timespec t;
	int64_t spent = 0;

	memset(s, 'a', len);
	for (size_t i = 0; i < sizeof(patterns) / sizeof(*patterns); i++) {
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
		spent -= t.tv_sec * 1000 + t.tv_nsec / 1000000;
		assert_true(match(patterns[i], s, len) != REGEX_YES);
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
		spent += t.tv_sec * 1000 + t.tv_nsec / 1000000;
	}
	assert_int_equal(match("a*a*[bc]", s, len), REGEX_LIMIT);
	assert_true(spent < 2000 * (int64_t)(sizeof(patterns) / sizeof(*patterns)));
	free(s);
}

static void test_compiled(void **state)
{
	policy_regex_use_jit(true);
	rows();
	places();
	hostile();
}

static void test_interpreted(void **state)
{
	policy_regex_use_jit(false);
	rows();
	places();
	hostile();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_compiled),
		cmocka_unit_test(test_interpreted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
