/* What text is searched by: the words of many scripts, and of bytes that are no text. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "policy/search_words.h"

/* Expected: the words; after a word "#" says that it is SEARCH_MIXED. */
static const struct {
	const char *name, *in, *want;
} rows[] = {
	{ "nothing", "", "" },
	{ "blanks", " \t\r\n  ", "" },
	{ "punctuation", "!?.,;:-_()[]{}<>\"'`~@#$%^&*+=|\\/", "" },
	{ "two words", "Hello, world", "hello world" },
	{ "digits are mixed", "a1 42", "a1# 42#" },
	{ "an address is its parts", "<Anna.Muster@Firma.example>", "anna muster firma example" },
	{ "apostrophe parts", "don't", "don t" },
	{ "umlauts", "Gebühr GEBÜHREN ÄÖÜ äöü", "gebuhr gebuhren aou aou" },
	{ "decomposed umlaut", "Gebu\xcc\x88hr", "gebuhr" },
	{ "sharp s", "Straße STRASSE STRAẞE", "strasse strasse strasse" },
	{ "French", "Élève façade œuvre naïve", "eleve facade oeuvre naive" },
	{ "Polish, Danish, Icelandic", "Łódź smørrebrød Þór", "lodz smorrebrod thor" },
	{ "Vietnamese, two marks", "tiếng Việt Đường", "tieng viet duong" },
	{ "Turkish", "İstanbul ılık", "istanbul ilik" },
	{ "Greek", "Αθήνα ΟΔΟΣ οδός ᾳ", "αθηνα οδοσ οδοσ α" },
	{ "Cyrillic", "Счёт-фактура ЙОД", "счет фактура иод" },
	{ "Hebrew points", "שָׁלוֹם", "שלום" },
	{ "Arabic marks", "مُحَمَّد آن", "محمد ان" },
	{ "Devanagari keeps its vowels", "हिन्दी", "हिन्दी" },
	{ "full width", "ＡＢＣ１２３", "abc123#" },
	{ "ligatures, circles, squares", "ﬁnanz Ⓐ ㎏", "finanz a kg" },
	{ "no-break space", "a\xc2\xa0z", "a z" },
	{ "soft hyphen", "Rech\xc2\xadnung", "rechnung" },
	{ "zero width blanks", "Vi\xe2\x80\x8b\x61\xef\xbb\xbfgra", "viagra" },
	{ "variation selector", "a\xef\xb8\x8f\x62", "ab" },
	{ "a mark alone", "\xcc\x88", "" },
	{ "spacing diaeresis", "a\xc2\xa8z", "a z" },
	{ "emoji separate", "ja\xf0\x9f\x98\x80nein", "ja nein" },
	{ "Chinese", "发票", "发票 票" },
	{ "Chinese row", "北京市税务", "北京 京市 市税 税务 务" },
	{ "one character", "水", "水" },
	{ "Chinese with punctuation", "你好，世界。", "你好 好 世界 界" },
	{ "kana and kanji", "東京タワーへ", "東京 京タ タワ ワー ーへ へ" },
	{ "half-width kana with sound marks", "ｶﾞｲﾄﾞ", "ガイ イド ド" },
	{ "kana with a mark of its own", "か\xe3\x82\x99く", "がく く" },
	{ "sound mark on a kanji", "水\xe3\x82\x99\xe6\x9c\xa8", "水木 木" },
	{ "squared kana", "㌖", "キロ ロメ メー ート トル ル" },
	{ "iteration mark", "人々", "人々 々" },
	{ "middle dot separates", "ア・イ", "ア イ" },
	{ "compatibility ideograph", "\xef\xa4\x80", "豈" },
	{ "above the plane", "𠀀𠀁", "𠀀𠀁 𠀁" },
	{ "Hangul", "세금계산서 발행", "세금 금계 계산 산서 서 발행 행" },
	{ "Hangul in parts", "\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab\xe1\x84\x80\xe1\x85\xb3\xe1\x86\xaf", "한글 글" },
	{ "Thai", "ไทย", "ไท ทย ย" },
	{ "Latin inside Chinese", "买iPhone手机", "买 iphone 手机 机" },
	{ "a line that was broken", "北\r\n京", "北京 京" },
	{ "LF alone", "北\n京", "北京 京" },
	{ "two line ends", "北\r\n\r\n京", "北 京" },
	{ "line end and blank", "北\n 京", "北 京" },
	{ "line end, then Latin", "北\nx", "北 x" },
	{ "line end in Hangul", "한\n글", "한 글" },
	{ "line end at the end", "北京\n", "北京 京" },
	{ "line end between words", "a\nb", "a b" },
	{ "chance's letters", "aXbQdPzz WordPerfect LaTeX", "axbqdpzz# wordperfect latex" },
	{ "of 40 characters", "aaaaaaaaaabbbbbbbbbbccccccccccdddddddddd", "aaaaaaaaaabbbbbbbbbbccccccccccdddddddddd" },
	{ "of 41", "aaaaaaaaaabbbbbbbbbbccccccccccdddddddddde", "aaaaaaaaaabbbbbbbbbbccccccccccdddddddddd" },
	{ "malformed: a continuation", "a\x80z", "a z" },
	{ "malformed: cut at the end", "ab\xc3", "ab" },
	{ "malformed: cut in the middle", "\xe5\x8c\x62", "b" },
	{ "malformed: overlong", "\xc0\xaf\xe0\x80\xafx", "x" },
	{ "malformed: surrogate", "a\xed\xa0\x80z", "a z" },
	{ "malformed: above U+10FFFF", "a\xf4\x90\x80\x80z", "a z" },
	{ "malformed: FE FF", "\xfe\xff", "" },
	{ "malformed between rows", "北\xff京", "北 京" },
	{ "latin1", "Geb\xfchr", "geb hr" },
	{ "not assigned", "\xf0\xbf\xbf\xbf", "" },
	{ "private use", "\xee\x80\x81x", "x" },
	{ "control characters", "a\x01z\x7fy", "a z y" },
	{ "words of a query language", "NEAR(a b) OR \"x\"* NOT {c}: ^d", "near a b or x not c d" },
};

static int collect(void *arg, const struct search_word *w)
{
	struct buf *out = arg;

	assert_int_equal(strlen(w->text), w->len);
	assert_true(w->chars >= 1 && w->chars <= SEARCH_WORD_CHARS && w->len <= SEARCH_WORD_BYTES);
	if (w->kind == SEARCH_PAIR)
		assert_int_equal(w->chars, 2);
	if (w->kind == SEARCH_LAST)
		assert_int_equal(w->chars, 1);
	buf_addf(out, "%s%s%s", out->len ? " " : "", w->text, w->kind == SEARCH_MIXED ? "#" : "");
	return 0;
}

static void test_rows(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(buf) struct buf out = BUF_INIT(4096);
		size_t len = strlen(rows[i].in);
		char *exact = malloc(len ? len : 1);    /* so that a byte too many is seen */

		memcpy(exact, rows[i].in, len);
		assert_int_equal(search_words(exact, len, collect, &out), 0);
		free(exact);
		if (strcmp(buf_str(&out), rows[i].want) != 0)
			fail_msg("%s: [%s], expected [%s]", rows[i].name, buf_str(&out), rows[i].want);
	}
}

static void test_nul(void **state)
{
	AUTO(buf) struct buf out = BUF_INIT(64);

	assert_int_equal(search_words("a\0b", 3, collect, &out), 0);
	assert_string_equal(buf_str(&out), "a b");
}

/* What is indexed and what is asked go the same way, however often. */
static void test_folded_text_stays(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		const char *want = rows[i].want;
		AUTO(buf) struct buf out = BUF_INIT(4096);

		/* rows of pairs are not rows any more, nor is "#" part of a word */
		if (strchr(want, '#') || (unsigned char)want[0] >= 0x80)
			continue;
		search_words(want, strlen(want), collect, &out);
		if (!strchr(buf_str(&out), '#'))
			assert_string_equal(buf_str(&out), want);
	}
}

static int third(void *arg, const struct search_word *w)
{
	return ++*(int *)arg == 3 ? -7 : 0;
}

static void test_an_end_can_be_made(void **state)
{
	int n = 0;

	assert_int_equal(search_words("a b c d e", 9, third, &n), -7);
	assert_int_equal(n, 3);
	n = 0;
	assert_int_equal(search_words("北京市税务局", 18, third, &n), -7);
	assert_int_equal(n, 3);
}

static void test_long_row(void **state)
{
	enum { COUNT = 5000 };
	char *text = malloc(3 * COUNT);
	int n = -10 * COUNT;

	for (int i = 0; i < COUNT; i++)
		memcpy(text + 3 * i, "水", 3);
	assert_int_equal(search_words(text, 3 * COUNT, third, &n), 0);
	assert_int_equal(n, -10 * COUNT + COUNT);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_nul),
		cmocka_unit_test(test_folded_text_stays),
		cmocka_unit_test(test_an_end_can_be_made),
		cmocka_unit_test(test_long_row),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
