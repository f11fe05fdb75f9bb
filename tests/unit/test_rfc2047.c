#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "filters/charset.h"
#include "filters/rfc2047.h"
#include "tests/support/filter_bench.h"

static const struct { const char *name, *in, *want; } rows[] = {
	{ "GB18030, B", "=?GB18030?B?t6LGsdLR0+LG2pUygjY=?=", "\xe5\x8f\x91\xe7\xa5\xa8\xe5\xb7\xb2\xe9\x80\xbe\xe6\x9c\x9f\xf0\xa0\x80\x80" },
	{ "gb2312, B", "=?gb2312?B?t6LGselG?=", "\xe5\x8f\x91\xe7\xa5\xa8\xe9\x95\x95" },
	{ "GBK, B", "=?GBK?B?sGzGsQ==?=", "\xe7\x99\xbc\xe7\xa5\xa8" },
	{ "Big5, B", "=?Big5?B?tW+yvLlPtME=?=", "\xe7\x99\xbc\xe7\xa5\xa8\xe9\x80\xbe\xe6\x9c\x9f" },
	{ "big5-hkscs, B", "=?big5-hkscs?B?ne+1b7K8?=", "\xe5\x98\x85\xe7\x99\xbc\xe7\xa5\xa8" },
	{ "ISO-2022-JP, B", "=?ISO-2022-JP?B?GyRCQEE1YT1xJE4kNDNORycbKEI=?=", "\xe8\xab\x8b\xe6\xb1\x82\xe6\x9b\xb8\xe3\x81\xae\xe3\x81\x94\xe7\xa2\xba\xe8\xaa\x8d" },
	{ "EUC-JP, B", "=?EUC-JP?B?wMG14b3x?=", "\xe8\xab\x8b\xe6\xb1\x82\xe6\x9b\xb8" },
	{ "Shift_JIS, B", "=?Shift_JIS?B?kL+LgY+Rh0A=?=", "\xe8\xab\x8b\xe6\xb1\x82\xe6\x9b\xb8\xe2\x91\xa0" },
	{ "windows-31j, B", "=?windows-31j?B?kL+LgY+R?=", "\xe8\xab\x8b\xe6\xb1\x82\xe6\x9b\xb8" },
	{ "EUC-KR, B", "=?EUC-KR?B?vNvA5SC/rMO8?=", "\xec\x86\xa1\xec\x9e\xa5 \xec\x97\xb0\xec\xb2\xb4" },
	{ "ks_c_5601-1987, B", "=?ks_c_5601-1987?B?jGO55rCix88=?=", "\xeb\x98\xa0\xeb\xb0\xa9\xea\xb0\x81\xed\x95\x98" },
	{ "windows-1250, B", "=?windows-1250?B?UPjtbGmaIJ5sdZ1vdehr/Q==?=", "P\xc5\x99\xc3\xadli\xc5\xa1 \xc5\xbelu\xc5\xa5ou\xc4\x8dk\xc3\xbd" },
	{ "windows-1251, B", "=?windows-1251?B?0fe48iDv8O7x8O735e0=?=", "\xd0\xa1\xd1\x87\xd1\x91\xd1\x82 \xd0\xbf\xd1\x80\xd0\xbe\xd1\x81\xd1\x80\xd0\xbe\xd1\x87\xd0\xb5\xd0\xbd" },
	{ "windows-1252, B", "=?windows-1252?B?k1JlY2hudW5nlCCWIDUggA==?=", "\xe2\x80\x9cRechnung\xe2\x80\x9d \xe2\x80\x93 5 \xe2\x82\xac" },
	{ "windows-1253, B", "=?windows-1253?B?1Ons7+v84+nv?=", "\xce\xa4\xce\xb9\xce\xbc\xce\xbf\xce\xbb\xcf\x8c\xce\xb3\xce\xb9\xce\xbf" },
	{ "windows-1254, B", "=?windows-1254?B?ZmF0dXJhIN3wZP1y?=", "fatura \xc4\xb0\xc4\x9f" "d\xc4\xb1r" },
	{ "windows-1255, B", "=?windows-1255?B?5/nh5fDp+g==?=", "\xd7\x97\xd7\xa9\xd7\x91\xd7\x95\xd7\xa0\xd7\x99\xd7\xaa" },
	{ "windows-1256, B", "=?windows-1256?B?3cfK5tHJ?=", "\xd9\x81\xd8\xa7\xd8\xaa\xd9\x88\xd8\xb1\xd8\xa9" },
	{ "windows-1257, B", "=?windows-1257?B?U+Bza2FpdGE=?=", "S\xc4\x85skaita" },
	{ "windows-1258, B", "=?windows-1258?B?aG/hIPD1bg==?=", "ho\xc3\xa1 \xc4\x91\xc6\xa1n" },
	{ "KOI8-R, B", "=?KOI8-R?B?896j1A==?=", "\xd0\xa1\xd1\x87\xd1\x91\xd1\x82" },
	{ "koi8-u, B", "=?koi8-u?B?8sHI1c7PyyCnpw==?=", "\xd0\xa0\xd0\xb0\xd1\x85\xd1\x83\xd0\xbd\xd0\xbe\xd0\xba \xd1\x97\xd1\x97" },
	{ "ISO-8859-1, B", "=?ISO-8859-1?B?UmVjaG51bmcg/GJlcmbkbGxpZw==?=", "Rechnung \xc3\xbc" "berf\xc3\xa4llig" },
	{ "iso-8859-2, B", "=?iso-8859-2?B?o/NkvA==?=", "\xc5\x81\xc3\xb3" "d\xc5\xba" },
	{ "iso-8859-5, B", "=?iso-8859-5?B?wefx4g==?=", "\xd0\xa1\xd1\x87\xd1\x91\xd1\x82" },
	{ "iso-8859-7, B", "=?iso-8859-7?B?1Ons7+v84+nv?=", "\xce\xa4\xce\xb9\xce\xbc\xce\xbf\xce\xbb\xcf\x8c\xce\xb3\xce\xb9\xce\xbf" },
	{ "ISO-8859-8-I, B", "=?ISO-8859-8-I?B?5/nh5fDp+g==?=", "\xd7\x97\xd7\xa9\xd7\x91\xd7\x95\xd7\xa0\xd7\x99\xd7\xaa" },
	{ "iso-8859-9, B", "=?iso-8859-9?B?3fBk/XI=?=", "\xc4\xb0\xc4\x9f" "d\xc4\xb1r" },
	{ "ISO-8859-15, B", "=?ISO-8859-15?B?NSCk?=", "5 \xe2\x82\xac" },
	{ "tis-620, B", "=?tis-620?B?47rhqOmny7nV6Q==?=", "\xe0\xb9\x83\xe0\xb8\x9a\xe0\xb9\x81\xe0\xb8\x88\xe0\xb9\x89\xe0\xb8\x87\xe0\xb8\xab\xe0\xb8\x99\xe0\xb8\xb5\xe0\xb9\x89" },
	{ "windows-874, B", "=?windows-874?B?47rhqOmny7nV6Q==?=", "\xe0\xb9\x83\xe0\xb8\x9a\xe0\xb9\x81\xe0\xb8\x88\xe0\xb9\x89\xe0\xb8\x87\xe0\xb8\xab\xe0\xb8\x99\xe0\xb8\xb5\xe0\xb9\x89" },
	{ "cp866, B", "=?cp866?B?keel4g==?=", "\xd0\xa1\xd1\x87\xd0\xb5\xd1\x82" },
	{ "macintosh, B", "=?macintosh?B?jg==?=", "\xc3\xa9" },
	{ "UTF-7, B", "=?UTF-7?B?K1U5RjVhQS0=?=", "\xe5\x8f\x91\xe7\xa5\xa8" },
	{ "utf-16, B", "=?utf-16?B?//7RU2h5?=", "\xe5\x8f\x91\xe7\xa5\xa8" },
	{ "utf-8, B", "=?utf-8?B?5Y+R56WoIPCfp74=?=", "\xe5\x8f\x91\xe7\xa5\xa8 \xf0\x9f\xa7\xbe" },
	{ "iso-8859-1 has windows-1252's quotes", "=?iso-8859-1?Q?=93a=94?=", "\xe2\x80\x9c" "a\xe2\x80\x9d" },
	{ "label in another spelling", "=?\"ISO_8859-1\"?q?=FC?=", "\xc3\xbc" },
	{ "label with language (RFC 2231)", "=?iso-8859-1*de?Q?=FC?=", "\xc3\xbc" },
	{ "utf8 without hyphen", "=?UTF8?Q?=C3=BC?=", "\xc3\xbc" },
	{ "iso-2022-jp: NEC's circled digit", "=?iso-2022-jp?B?GyRCLSEbKEI=?=", "\xe2\x91\xa0" },
	{ "iso-2022-jp: katakana of half width", "=?iso-2022-jp?B?GyhJMRsoQg==?=", "\xef\xbd\xb1" },
	{ "iso-2022-jp: katakana by SO", "=?iso-2022-jp?Q?=0E1=0Fa?=", "\xef\xbd\xb1" "a" },
	{ "iso-2022-jp: supplement", "=?iso-2022-jp-1?B?GyQoRDAhGyhC?=", "\xe4\xb8\x82" },
	{ "iso-2022-jp: no way back to ASCII", "=?iso-2022-jp?B?GyRCQEE1YQ==?=", "\xe8\xab\x8b\xe6\xb1\x82" },
	{ "iso-2022-jp: half a character", "=?iso-2022-jp?B?GyRCQEE1?=", "\xe8\xab\x8b\xef\xbf\xbd" },
	{ "iso-2022-jp: an escape that is none", "=?iso-2022-jp?Q?=1B$Za?=", "\x1b$Za" },
	{ "iso-2022-jp after a word left in kanji", "=?iso-2022-jp?Q?=1B$B?= x =?iso-2022-jp?Q?ab?=", "x ab" },
	{ "iso-2022-kr, stateful", "=?iso-2022-kr?B?GyQpQw48W0BlDw==?=", "\xec\x86\xa1\xec\x9e\xa5" },
	{ "iso-2022-kr begins anew", "=?iso-2022-kr?B?GyQpQw4=?= - =?iso-2022-kr?Q?ab?=", "- ab" },
	{ "a character split across words", "=?gb2312?B?tw==?= =?gb2312?B?osax?=", "\xe5\x8f\x91\xe7\xa5\xa8" },
	{ "the same over a fold", "=?gb2312?B?t6LG?=\x0d\x0a\x09=?GB2312?B?sQ==?=", "\xe5\x8f\x91\xe7\xa5\xa8" },
	{ "split, first B then Q", "=?utf-8?B?5Y8=?= =?utf-8?q?=91?=", "\xe5\x8f\x91" },
	{ "split across four", "=?utf-8?q?=F0?= =?utf-8?q?=9F?= =?utf-8?q?=A7?= =?utf-8?q?=BE?=", "\xf0\x9f\xa7\xbe" },
	{ "not joined over text", "=?utf-8?q?=C3?= - =?utf-8?q?=BC?=", "\xef\xbf\xbd - \xef\xbf\xbd" },
	{ "not joined over another charset", "=?utf-8?q?=C3?= =?iso-8859-1?q?=BC?=", "\xef\xbf\xbd\xc2\xbc" },
	{ "blanks between words go", "=?utf-8?q?a?=  \x09 =?utf-8?q?b?=", "ab" },
	{ "also between charsets", "=?utf-8?q?a?= =?koi8-r?q?b?=", "ab" },
	{ "blanks beside text stay", "x =?utf-8?q?a?=  y", "x a  y" },
	{ "words without a blank between", "=?utf-8?q?a?==?utf-8?q?b?=", "ab" },
	{ "a word within text", "re:=?utf-8?q?a?=!", "re:a!" },
	{ "a word between quotes", "\"=?utf-8?q?a?=\" <a@b>", "\"a\" <a@b>" },
	{ "an empty word", "a =?utf-8?q?\?= b", "a  b" },
	{ "underscore is a blank", "=?utf-8?q?a_b=5F?=", "a b_" },
	{ "blanks at the ends of words", "=?utf-8?q?_a_?= =?utf-8?q?_b_?=", "a  b" },
	{ "blanks within Q", "=?utf-8?q?a b?=", "a b" },
	{ "question mark within Q", "=?utf-8?q?why? no?=", "why? no" },
	{ "a text that begins with =", "=?utf-8?q?=41?=", "A" },
	{ "lower-case digits", "=?utf-8?q?=c3=bc?=", "\xc3\xbc" },
	{ "no padding", "=?utf-8?b?YQ?=", "a" },
	{ "padding in the middle", "=?utf-8?b?YQ==Yg==?=", "ab" },
	{ "a blank within B", "=?utf-8?b?YW\x0d\x0a Jj?=", "abc" },
	{ "one digit too many", "=?utf-8?b?YWJjZ?=", "abc" },
	{ "longer than 75 octets", "=?utf-8?q?aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa?=", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" },
	{ "only the beginning", "=?", "=?" },
	{ "no charset", "=?\?q?a?=", "=?\?q?a?=" },
	{ "no encoding", "=?utf-8?\?a?=", "=?utf-8?\?a?=" },
	{ "no text", "=?utf-8?q?=", "=?utf-8?q?=" },
	{ "no end", "=?utf-8?q?a", "=?utf-8?q?a" },
	{ "half an end", "=?utf-8?q?a?", "=?utf-8?q?a?" },
	{ "unknown encoding", "=?utf-8?x?a?=", "=?utf-8?x?a?=" },
	{ "two letters of encoding", "=?utf-8?qq?a?=", "=?utf-8?qq?a?=" },
	{ "blank in the charset", "=?utf 8?q?a?=", "=?utf 8?q?a?=" },
	{ "blank before the text", "=?utf-8?q ?a?=", "=?utf-8?q ?a?=" },
	{ "control in the charset", "=?utf\x01" "8?q?a?=", "=?utf\x01" "8?q?a?=" },
	{ "charset without end", "=?aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa?q?a?=", "=?aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa?q?a?=" },
	{ "not base64", "=?utf-8?b?a*b?=", "=?utf-8?b?a*b?=" },
	{ "base64 with a question mark", "=?utf-8?b?YQ?Yg?=", "=?utf-8?b?YQ?Yg?=" },
	{ "angle brackets", "=?<utf-8>?q?a?=", "=?<utf-8>?q?a?=" },
	{ "equals for encoding", "=?utf-8?=?a?=", "=?utf-8?=?a?=" },
	{ "URL with =?", "http://x/?a=?b=?c", "http://x/?a=?b=?c" },
	{ "only closings", "?=?=?=", "?=?=?=" },
	{ "charset, then nothing", "=?utf-8", "=?utf-8" },
	{ "cut off, then a good one", "=?utf-8?q?ab =?utf-8?q?cd?=", "=?utf-8?q?ab cd" },
	{ "cut off in base64, then a good one", "=?utf-8?b?YWJ =?utf-8?b?Y2Q=?=", "=?utf-8?b?YWJ cd" },
	{ "openings before a word", "=?=?=?utf-8?q?a?=", "=?=?a" },
	{ "a broken one beside a good one", "=?utf-8?x?a?= =?utf-8?q?b?=", "=?utf-8?x?a?= b" },
	{ "bad digits stay", "=?utf-8?q?=4G=?=", "=4G=" },
	{ "= before the end", "=?utf-8?q?a=4?=", "a=4" },
	{ "unknown charset: ASCII stays", "=?x-nothing?q?a=FC=C3=BCb?=", "a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" "b" },
	{ "a charset's name too long to be one", "=?aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa?q?a=FC?=", "a\xef\xbf\xbd" },
	{ "not of the charset: UTF-8", "=?utf-8?q?a=FC=ED=A0=80b?=", "a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" "b" },
	{ "not of the charset: GB", "=?gb2312?q?=B7=A2=FF=B7?=", "\xe5\x8f\x91\xef\xbf\xbd\xef\xbf\xbd" },
	{ "not of the charset: windows-1252", "=?windows-1252?q?=81a?=", "\xef\xbf\xbd" "a" },
	{ "a lead octet leaves ASCII alone", "=?gb2312?q?=B7_x?=", "\xef\xbf\xbd x" },
	{ "us-ascii with 8 bits is guessed at", "=?us-ascii?q?f=FCr?=", "f\xc3\xbcr" },
	{ "encoded line ends are blanks", "=?utf-8?q?a=0D=0Ab=09c=0A?=", "a  b c" },
	{ "encoded NUL goes", "=?utf-8?q?in=00voice?=", "invoice" },
	{ "encoded in encoded stays", "=?utf-8?q?=3D=3Futf-8=3Fq=3Fa=3F=3D?=", "=?utf-8?q?a?=" },
	{ "8-bit: UTF-8", "Rechnung \xc3\xbc" "berf\xc3\xa4llig", "Rechnung \xc3\xbc" "berf\xc3\xa4llig" },
	{ "8-bit: UTF-8, cut", "\xe5\x8f\x91\xe7\xa5\xa8\xe5\xb7\xb2\xe9\x80\xbe\xe6\x9c", "\xe5\x8f\x91\xe7\xa5\xa8\xe5\xb7\xb2\xe9\x80\xbe\xef\xbf\xbd\xef\xbf\xbd" },
	{ "8-bit: windows-1252", "Rechnung \xfc" "berf\xe4llig \x96 5 \x80", "Rechnung \xc3\xbc" "berf\xc3\xa4llig \xe2\x80\x93 5 \xe2\x82\xac" },
	{ "8-bit: GB", "Re: \xb7\xa2\xc6\xb1\xa3\xac\xd2\xd1\xd3\xe2\xc6\xda", "Re: \xe5\x8f\x91\xe7\xa5\xa8\xef\xbc\x8c\xe5\xb7\xb2\xe9\x80\xbe\xe6\x9c\x9f" },
	{ "8-bit: two letters together are no Chinese", "Ma\xdf\xfc" "berschreitung", "Ma\xc3\x9f\xc3\xbc" "berschreitung" },
	{ "iso-2022-jp: past the katakana", "=?iso-2022-jp?Q?=1B(Iu1?=", "\xef\xbf\xbd\xef\xbd\xb1" },
	{ "unlabelled: ISO-2022-JP", "Re: \x1b$B@A5a\x1b(B, a", "Re: \xe8\xab\x8b\xe6\xb1\x82, a" },
	{ "unlabelled: an escape alone", "\x1b(B\x1b$", "\x1b(B\x1b$" },
	{ "8-bit: odd run is no Chinese", "\xc5\xe4\xf6 ", "\xc3\x85\xc3\xa4\xc3\xb6" },
	{ "8-bit beside a word", "f\xfcr =?utf-8?q?=C3=BC?=", "f\xc3\xbcr \xc3\xbc" },
	{ "folded", " a\x0d\x0a b\x0d\x0a\x09" "c\x0d\x0a", "a b c" },
	{ "plain", "Hello, world", "Hello, world" },
	{ "empty", "", "" },
	{ "blank", " \x09\x0d\x0a ", "" },
};

static void decode(const char *in, size_t len, struct buf *out)
{
	char *exact = malloc(len ? len : 1);    /* so that a read past the end is seen */

	memcpy(exact, in, len);
	assert_int_equal(rfc2047_decode(exact, len, out), 0);
	free(exact);
}

static void test_rows(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(buf) struct buf out = BUF_INIT(RFC2047_TEXT_MAX);

		buf_adds(&out, "> ");
		decode(rows[i].in, strlen(rows[i].in), &out);
		print_message("    %s\n", rows[i].name);
		assert_string_equal(buf_str(&out) + 2, rows[i].want);
		assert_int_equal(strlen(rows[i].want) + 2, out.len);
	}
}

/* Wherever a field is cut, the text is UTF-8, without controls of lines. */
static void test_cut(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		for (size_t len = strlen(rows[i].in); len > 0; len--) {
			AUTO(buf) struct buf out = BUF_INIT(RFC2047_TEXT_MAX);
			size_t n;

			decode(rows[i].in, len - 1, &out);
			for (size_t k = 0; k < out.len; k += n) {
				n = utf8_len(out.data + k, out.len - k);
				assert_true(n > 0);
				assert_false(strchr("\r\n\t", out.data[k]));
			}
		}
	}
}

static void test_bounds(void **state)
{
	static const char word[] = "=?utf-8?q?=C3?= ", opening[] = "=?a?q?x ";
	AUTO(buf) struct buf in = BUF_INIT(1 << 20), out = BUF_INIT(RFC2047_TEXT_MAX);

	while (in.len < 4 * RFC2047_BYTES_MAX)
		buf_addc(&in, '\xff');
	decode(buf_str(&in), in.len, &out);
	assert_int_equal(out.len, 2 * RFC2047_BYTES_MAX);       /* windows-1252 */
	buf_clear(&in);
	buf_clear(&out);
	for (int i = 0; i < RFC2047_WORDS_MAX + 1; i++)
		buf_adds(&in, word);
	decode(buf_str(&in), in.len, &out);
	assert_int_equal(out.len, 3 * RFC2047_WORDS_MAX + sizeof(word) - 1);
	assert_string_equal(buf_str(&out) + 3 * RFC2047_WORDS_MAX, " =?utf-8?q?=C3?=");
	for (int i = 0; i < 2; i++) {           /* what becomes the most octets of text */
		buf_clear(&in);
		buf_clear(&out);
		buf_adds(&in, i ? "=?iso-2022-jp?Q?=1B$(D" : "=?iso-2022-jp?Q?=1B(I");
		while (in.len < RFC2047_BYTES_MAX - 2)
			buf_addc(&in, 'u');
		buf_adds(&in, "?=");
		decode(buf_str(&in), in.len, &out);
		assert_true(out.len > RFC2047_BYTES_MAX);
	}
	buf_clear(&in);
	buf_clear(&out);
	while (in.len < 2 * RFC2047_BYTES_MAX)                  /* words without end: quick, too */
		buf_adds(&in, opening);
	decode(buf_str(&in), in.len, &out);
	assert_int_equal(out.len, RFC2047_BYTES_MAX - 1);
}

static void test_nul(void **state)
{
	AUTO(buf) struct buf out = BUF_INIT(RFC2047_TEXT_MAX);

	decode("in\0voice =?utf\0-8?q?a?=\0", 24, &out);
	assert_string_equal(buf_str(&out), "invoice =?utf-8?q?a?=");
}

/* As the facts have it: decoded, and as sent. */
static void test_facts(void **state)
{
	static const char text[] = "Subject: =?gb2312?B?t6LGsQ==?=\r\n\tb\r\nTo: =?iso-8859-1?q?J=FCrgen?= <j@x.example>\r\n"
				   "List-Id: =?utf-8?q?=C3=9C?= <l.x.example>\r\n\r\n";
	static const struct message_limits limits = { 1 << 16, 1 << 16, 100 };
	struct filter_bench b;

	filter_bench_open(&b, "192.0.2.7");
	b.txn.message = message_new(&limits, NULL, NULL);
	assert_int_equal(message_add(b.txn.message, text, sizeof(text) - 1), 0);
	assert_int_equal(message_end(b.txn.message), 0);
	b.txn.stage = STAGE_HEADER;
	assert_string_equal(filter_bench_word(&b, "header.subject"), "\xe5\x8f\x91\xe7\xa5\xa8 b");
	assert_string_equal(filter_bench_word(&b, "header.subject.raw"), "=?gb2312?B?t6LGsQ==?=\tb");
	assert_string_equal(filter_bench_word(&b, "header.to"), "J\xc3\xbcrgen <j@x.example>");
	assert_string_equal(filter_bench_word(&b, "header.list_id"), "\xc3\x9c <l.x.example>");
	filter_bench_close(&b);
}

static int setup(void **state)
{
	const char *missing = NULL;

	assert_int_equal(charset_setup(&missing), 0);
	assert_int_equal(charset_setup(&missing), 0);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),  cmocka_unit_test(test_cut),   cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_nul),   cmocka_unit_test(test_facts),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
