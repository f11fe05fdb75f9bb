#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "filters/html.h"
#include "filters/html_entity.h"

/* want: what is seen, then "|" and what is hidden; ";" for a line end. */
static const struct { const char *name, *in, *want; } rows[] = {
	{ "text", "hello <b>big</b> world", "hello big world" },
	{ "a word cut by tags", "V<b></b>ia<!-- x -->g<font color=\"red\">ra</font>", "Viagra" },
	{ "blocks", "<p>a</p><p>b<br>c</p><table><tr><td>d<td>e</table>", ";a;;b;c;;; d e;" },
	{ "a line end is a blank", "a\r\nb\tc", "a  b c" },
	{ "script and style", "a<style type=x>b{}</style>c<SCRIPT>d<b></SCRIPTx></script >e", "ace" },
	{ "style without end", "a<style>b", "a" },
	{ "style that ends in its end tag", "a<style>b</style", "a" },
	{ "comments", "a<!-->b<!--->c<!-- -- > - -->d<!--x--!>e<!x>f<?x>g</>h<![CDATA[x]]>i", "abcdefghi" },
	{ "conditional comment", "a<!--[if mso]>b<![endif]-->c<![if !mso]>d<![endif]>e", "acde" },
	{ "comment without end", "a<!-- <b>c</b>", "a" },
	{ "comment of two characters", "a<!-", "a" },
	{ "a greater than in quotes", "a<img alt='x > y' src=\"a>b\">b", "a x > y b" },
	{ "quote without end", "a<b x=\"y>c</b>d", "a" },
	{ "tag without end", "a<b", "a" },
	{ "attribute without end", "a<b x=", "a" },
	{ "blanks around the equals sign", "<a x = '>' y>b</a >c", "bc" },
	{ "slashes for blanks", "<b/x/y='>'/>c", "c" },
	{ "attributes of equals signs", "<b =='>c'>d", "d" },
	{ "what begins no tag", "a < b <3 <> <=> </", "a < b <3 <> <=> " },
	{ "long name", "<abcdefghijklmnopqrstuvwxyz>a</abcdefghijklmnopqrstuvwxyz>", "a" },
	{ "references", "&lt;b&gt; &amp;amp; &auml;&#228;&#xE4;&#XE4; &nbsp;.", "<b> &amp; \xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4 \xc2\xa0." },
	{ "without semicolon", "&lt&#97 &#x62 &uuml", "<a b \xc3\xbc" },
	{ "that are none", "& &; &x; &#; &#x; &#g; &toolongtobeanameofacharacter; &amp", "& &; &x; &#; &#x; &#g; &toolongtobeanameofacharacter; &" },
	{ "numbers that are no character", "&#0;&#xD800;&#x110000;&#99999999999999999999;", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
	{ "windows-1252", "&#128;&#150;", "\xe2\x82\xac\xe2\x80\x93" },
	{ "letters by name", "V&period;I&colon;&lowbar;", "V.I:_" },
	{ "hidden", "a<span style='display : NONE'>x<b>y</b></span>b", "ab|;xy" },
	{ "hidden by other means", "<i hidden>1</i><i style=\"color:red;font-size:0px\">2</i><i style='visibility:hidden'>3</i><i style=opacity:0>4</i>", "|;1;2;3;4" },
	{ "what is small is seen", "<i style='font-size:0.9em'>1</i><i style='opacity:0.5'>2</i><i class=hidden>3</i>", "123" },
	{ "a hidden block", "in<div hidden>x</div>voice", "invoice|;;x;" },
	{ "nested in a hidden one", "<div hidden><div>1</div>2</div>3", "3|;;;1;2;" },
	{ "never closed", "a<div hidden>1</p>2", "a|;;1;2" },
	{ "void elements hide nothing", "a<br hidden>b<img style='display:none' alt=c>d", "a;b c d" },
	{ "an end tag hides nothing", "a</b hidden>b", "ab" },
	{ "NUL in a name", "a<b\1>c", "ac" },
	{ "empty", "", "" },
};

static void check(const char *name, const char *in, size_t len, const char *want)
{
	AUTO(buf) struct buf out = BUF_INIT(1 << 20), hidden = BUF_INIT(1 << 20);
	char got[512];

	print_message("    %s\n", name);
	assert_int_equal(html_text(in, len, &out, &hidden), 0);
	snprintf(got, sizeof(got), "%s%s%s", buf_str(&out), hidden.len ? "|" : "", buf_str(&hidden));
	for (char *p = got; *p; p++)
		if (*p == '\n')
			*p = ';';
	assert_true(out.len + hidden.len <= len + 1);
	assert_string_equal(got, want);
}

static void test_rows(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		check(rows[i].name, rows[i].in, strlen(rows[i].in), rows[i].want);
}

/* Each takes a time that grows with its square if a scan begins again and again. */
static void test_hostile(void **state)
{
	static const char *const units[] = { "<", "</", "<!--", "<b x='", "<style>", "</style", "<style></s", "&", "&a", "&#x", "<b hidden>", "<b style=display:none>", "--", "<a =", "\"'" };

	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++) {
		AUTO(buf) struct buf in = BUF_INIT(1 << 20), out = BUF_INIT(4 << 20), hidden = BUF_INIT(4 << 20);

		while (in.len < 256 * 1024)
			buf_adds(&in, units[i]);
		assert_int_equal(html_text(buf_str(&in), in.len, &out, &hidden), 0);
		assert_true(out.len + hidden.len <= in.len);
	}
}

static void test_charset(void **state)
{
	static const struct { const char *in, *want; } metas[] = {
		{ "<html><head><META charset=\"gb2312\">", "gb2312" }, { "<meta http-equiv=Content-Type content='text/html; charset=koi8-r'>", "koi8-r" },
		{ "<meta charset = big5 />", "big5" }, { "<meta name=x><meta charset=utf-8>", "utf-8" }, { "<meta charset=utf-8", "" },
		{ "<meta charset=>", "" }, { "<meta charset>", "" }, { "<p charset=x>", "" }, { "", "" }, { "<", "" }, { "<meta", "" }, { "<<<<>>>>", "" },
	};

	for (size_t i = 0; i < sizeof(metas) / sizeof(*metas); i++) {
		const char *label = "";
		size_t n = html_charset(metas[i].in, strlen(metas[i].in), &label);

		print_message("    %s\n", metas[i].in);
		assert_int_equal(n, strlen(metas[i].want));
		assert_memory_equal(label, metas[i].want, n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_rows), cmocka_unit_test(test_hostile), cmocka_unit_test(test_charset) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
