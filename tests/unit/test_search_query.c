/* What is typed, as terms: never more than words, whatever it is. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "policy/search_query.h"

/*
 * Expected: terms, each with its field's letter and its alternatives: "-s[a b|c]" is without, in the subject, the phrase "a b" or the
 * word c. "!": refused, and what the error has in it.
 */
static const struct {
	const char *name, *in, *want;
} rows[] = {
	{ "a word", "Invoice", "[invoice]" },
	{ "an argument with blanks is a phrase", "annual invoice", "[annual invoice]" },
	{ "quotation marks: the rest is apart", "\"annual invoice\" paid", "[annual invoice] [paid]" },
	{ "word before a phrase", "paid \"annual invoice\"", "[paid] [annual invoice]" },
	{ "phrase that is not closed", "\"annual invoice", "[annual invoice]" },
	{ "phrases side by side", "\"a\"\"b\"", "[a] [b]" },
	{ "word that touches a phrase", "a\"b c\"d", "[a] [b c] [d]" },
	{ "without", "-draft", "-[draft]" },
	{ "without a phrase", "-\"first draft\"", "-[first draft]" },
	{ "a hyphen inside", "e-mail", "[e mail]" },
	{ "two hyphens", "--x", "-[x]" },
	{ "from", "from:anna@x.example", "f[anna x example]" },
	{ "TO in capitals", "TO:bob", "t[bob]" },
	{ "subject, phrase", "subject:\"zweite mahnung\"", "s[zweite mahnung]" },
	{ "subject, phrase whose marks the shell ate", "subject:zweite mahnung", "s[zweite mahnung]" },
	{ "without in the subject", "-subject:x", "-s[x]" },
	{ "subject inside a phrase is a word", "\"subject:x\"", "[subject x]" },
	{ "a field that there is not", "body:x", "[body x]" },
	{ "umlaut", "Gebühr", "[gebuhr|gebuehr]" },
	{ "umlaut, decomposed", "Gebu\xcc\x88hr", "[gebuhr|gebuehr]" },
	{ "umlaut written out", "Gebuehr", "[gebuehr|gebuhr]" },
	{ "both", "Über-Steuer", "[uber steuer|ueber steuer|uber steur]" },
	{ "umlaut in capitals", "MÜLLER MUELLER", "[muller mueller|mueller mueller|muller muller]" },
	{ "sharp s", "Straße", "[strasse]" },
	{ "two characters", "发票", "[发票]" },
	{ "three characters", "北京市", "[北京 京市]" },
	{ "one character", "水", "[水]" },
	{ "Chinese and Latin", "手机iPhone", "[手机 机 iphone]" },
	{ "Latin and Chinese", "iPhone手机", "[iphone 手机]" },
	{ "Latin and one character", "a水", "[a 水]" },
	{ "full-width blank separates the words of a phrase", "北京\xe3\x80\x80上海", "[北京 京 上海]" },
	{ "nothing", "", "" },
	{ "blanks", "  \t\n", "" },
	{ "punctuation", "a ... \"b\"", "!no word" },
	{ "a mark alone", "\"", "!no word" },
	{ "empty phrase", "\"\"", "!no word" },
	{ "a hyphen alone", "-", "!no word" },
	{ "a field alone", "from:", "[from]" },
	{ "a field with an empty phrase", "from:\"\"", "!no word" },
	{ "operators are words", "a OR b\" AND NOT \"", "[a] [or] [b] [and not]" },
	{ "operators", "\"a\" OR NEAR(b,c) NOT d", "[a] [or] [near b c] [not] [d]" },
	{ "what FTS5 would read", "\"x\"* ^y {w}:z w:z a+b (c", "!no word" },
	{ "quotes and SQL", "x' UNION SELECT 1;--", "[x union select 1]" },
	{ "marks of fields", "«anna »bob §re", "[anna bob re]" },
	{ "not UTF-8", "a\xff\xfe" "b", "[a b]" },
	{ "not UTF-8 at all", "\xff", "!no word" },
	{ "error names what is wrong", "???", "!???" },
};

static void show(const struct search_query *q, struct buf *out)
{
	static const char *const fields[] = { "", "f", "t", "s" };

	for (size_t i = 0; i < q->count; i++) {
		const struct search_term *t = &q->terms[i];

		buf_addf(out, "%s%s%s[", i ? " " : "", t->negated ? "-" : "", fields[t->field]);
		for (size_t a = 0; a < t->count; a++)
			for (size_t k = 0; k < t->alternatives[a].count; k++)
				buf_addf(out, "%s%s", k ? " " : a ? "|" : "", t->alternatives[a].words[k].text);
		buf_addc(out, ']');
	}
}

static void test_rows(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(search_query) struct search_query *q = search_query_new();
		AUTO(buf) struct buf out = BUF_INIT(4096);
		const char *want = rows[i].want;
		int rc = search_query_add(q, rows[i].in);

		show(q, &out);
		if (*want == '!' && (rc != -EINVAL || !strstr(q->error, want + 1)))
			fail_msg("%s: %d [%s], expected an error with \"%s\"", rows[i].name, rc, q->error, want + 1);
		if (*want != '!' && (rc != 0 || strcmp(buf_str(&out), want) != 0))
			fail_msg("%s: %d %s, expected %s", rows[i].name, rc, buf_str(&out), want);
	}
}

static void test_bounds(void **state)
{
	AUTO(search_query) struct search_query *q = search_query_new();
	AUTO(buf) struct buf longest = BUF_INIT(8192), words = BUF_INIT(8192);

	for (int i = 0; i < SEARCH_TERM_WORDS_MAX; i++)
		buf_adds(&words, "w ");
	assert_int_equal(search_query_add(q, buf_str(&words)), 0);
	buf_adds(&words, "w");
	assert_int_equal(search_query_add(q, buf_str(&words)), -EINVAL);
	assert_non_null(strstr(q->error, "64 words"));
	for (int i = 0; i < 5000; i++)
		buf_addc(&longest, 'x');
	assert_int_equal(search_query_add(q, buf_str(&longest)), -EINVAL);
	while (q->count < SEARCH_TERMS_MAX)
		assert_int_equal(search_query_add(q, "x"), 0);
	assert_int_equal(search_query_add(q, "x"), -EINVAL);
	assert_non_null(strstr(q->error, "32 terms"));
}

static void test_something_must_be_there(void **state)
{
	AUTO(search_query) struct search_query *q = search_query_new();

	assert_int_equal(search_query_check(q), -EINVAL);
	assert_non_null(strstr(q->error, "no words"));
	assert_int_equal(search_query_add(q, "-a"), 0);
	assert_int_equal(search_query_check(q), -EINVAL);
	assert_non_null(strstr(q->error, "must be there"));
	assert_int_equal(search_query_add(q, "b"), 0);
	assert_int_equal(search_query_check(q), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_something_must_be_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
