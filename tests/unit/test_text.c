#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/syscalls.h"
#include "base/task.h"
#include "filters/charset.h"
#include "filters/text.h"
#include "tests/support/filter_bench.h"

#define PLAIN(charset, encoding) "Content-Type: text/plain; charset=" charset "\nContent-Transfer-Encoding: " encoding "\n\n"
#define HTML(charset, encoding) "Content-Type: text/html; charset=" charset "\nContent-Transfer-Encoding: " encoding "\n\n"
#define INVOICE "\xe5\x8f\x91\xe7\xa5\xa8"                                              /* in Chinese */
#define BILL "\xd1\x81\xd1\x87\xd1\x91\xd1\x82"                                         /* in Russian */
#define SEIKYUU "\xe8\xab\x8b\xe6\xb1\x82\xe6\x9b\xb8"                                  /* in Japanese */
#define CHEONGGU "\xec\xb2\xad\xea\xb5\xac"                                             /* in Korean */

/* want: the texts, "|" between. */
static const struct { const char *name, *in, *want; } rows[] = {
	{ "no MIME", "Subject: x\n\nhello\n", "hello" },
	{ "empty", "", "" },
	{ "header alone", "Subject: x\n", "" },
	{ "blanks alone", "\n \n\t\n", "" },
	{ "a first line that is no field", "hello\nworld\n", "hello\nworld" },
	{ "two parts", "Content-Type: multipart/mixed; boundary=b\n\npre\n--b\n\none\n--b\nContent-Type: text/html\n\n<p>two\n--b--\npost\n", "one|two" },
	{ "what looks like a delimiter", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\n-\n--\n--bb\n-- b\n\n--b--\n", "-\n--\n--bb\n-- b" },
	{ "no delimiter at the end", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--", "one\n--" },
	{ "message within", "Content-Type: message/rfc822\n\nSubject: inner\n" PLAIN("utf-8", "base64") "aGVsbG8=\n", "hello" },
	{ "other types", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: image/png\n\nx\n--b\nContent-Type: text/csv\n\na,b\n--b--\n", "a,b" },
	{ "text by its name", "Content-Type: application/octet-stream; name=x.HTML\nContent-Transfer-Encoding: base64\n\nPGI+aGk8L2I+\n", "hi" },
	{ "quoted-printable", PLAIN("iso-8859-1", "quoted-printable") "J=FCr=\ngen =\n =80 5\n", "J\xc3\xbcrgen \xe2\x82\xac 5" },
	{ "GB18030, base64", PLAIN("GB18030", "base64") "t6LGsQ==\n", INVOICE },
	{ "GB18030, quoted-printable", PLAIN("gb18030", "quoted-printable") "=B7=A2=C6=B1\n", INVOICE },
	{ "gb2312, 8bit", PLAIN("gb2312", "8bit") "\xb7\xa2\xc6\xb1\n", INVOICE },
	{ "Big5, base64", PLAIN("big5", "base64") "tW+yvA==\n", "\xe7\x99\xbc\xe7\xa5\xa8" },
	{ "Big5, quoted-printable", PLAIN("Big5", "quoted-printable") "=B5o=B2=BC\n", "\xe7\x99\xbc\xe7\xa5\xa8" },
	{ "ISO-2022-JP, 7bit", PLAIN("iso-2022-jp", "7bit") "\x1b$B@A5a=q\x1b(B\n", SEIKYUU },
	{ "ISO-2022-JP, base64", PLAIN("iso-2022-jp", "base64") "GyRCQEE1YT1xGyhC\n", SEIKYUU },
	{ "ISO-2022-JP, quoted-printable, HTML", HTML("iso-2022-jp", "quoted-printable") "<b>=1B$B@A5a=3Dq=1B(B</b>\n", SEIKYUU },
	{ "EUC-KR, base64", PLAIN("euc-kr", "base64") "w7uxuA==\n", CHEONGGU },
	{ "EUC-KR, quoted-printable", PLAIN("ks_c_5601-1987", "quoted-printable") "=C3=BB=B1=B8\n", CHEONGGU },
	{ "windows-1251, base64", PLAIN("windows-1251", "base64") "8fe48g==\n", BILL },
	{ "windows-1251, quoted-printable", HTML("windows-1251", "quoted-printable") "=F1=F7=B8=F2\n", BILL },
	{ "KOI8-R, base64", PLAIN("koi8-r", "base64") "096j1A==\n", BILL },
	{ "KOI8-R, quoted-printable", PLAIN("koi8-r", "quoted-printable") "=D3=DE=A3=D4\n", BILL },
	{ "UTF-8 with a mark", PLAIN("windows-1252", "8bit") "\xef\xbb\xbf" BILL "\n", BILL },
	{ "UTF-16 with a mark", PLAIN("utf-8", "base64") "//5BBEcEUQRCBA==\n", BILL },
	{ "UTF-16, big end first", PLAIN("us-ascii", "base64") "/v8EQQRHBFEEQg==\n", BILL },
	{ "UTF-8 called windows-1252", PLAIN("windows-1252", "8bit") BILL "\n", BILL },
	{ "UTF-8 called shift_jis", PLAIN("shift_jis", "8bit") SEIKYUU SEIKYUU "\n", SEIKYUU SEIKYUU },
	{ "GBK called UTF-8", PLAIN("utf-8", "8bit") "\xb7\xa2\xc6\xb1\n", INVOICE },
	{ "GBK called us-ascii", PLAIN("us-ascii", "8bit") "\xb7\xa2\xc6\xb1\n", INVOICE },
	{ "GBK called nothing", "\n\xb7\xa2\xc6\xb1\n", INVOICE },
	{ "GBK called what nobody knows", PLAIN("x-no", "8bit") "\xb7\xa2\xc6\xb1\n", INVOICE },
	{ "UTF-8 with an octet that is none", PLAIN("utf-8", "8bit") BILL "\xff\n", BILL "\xef\xbf\xbd" },
	{ "charset in the HTML", "Content-Type: text/html\n\n<meta charset=koi8-r>\xd3\xde\xa3\xd4\n", BILL },
	{ "charset of the part before that in the HTML", HTML("windows-1251", "8bit") "<meta charset=koi8-r>\xf1\xf7\xb8\xf2\n", BILL },
	{ "hidden comes last", HTML("utf-8", "8bit") "in<i style='display:none'>xyz</i>voice\n", "invoice\nxyz" },
	{ "soft hyphens and zero width", PLAIN("utf-8", "8bit") "in\xc2\xadv\xe2\x80\x8bo\xe2\x80\x8cic\xef\xbb\xbf" "e \xe2\x80\xaex\n", "invoice x" },
	{ "joiners in Persian", PLAIN("utf-8", "8bit") "\xd9\x85\xdb\x8c\xe2\x80\x8c\xd8\xae\n", "\xd9\x85\xdb\x8c\xe2\x80\x8c\xd8\xae" },
	{ "blanks", PLAIN("utf-8", "8bit") " a \xc2\xa0\t b \r\n\r\n \n\n c\xe3\x80\x80" "d \n", "a b\nc d" },
	{ "NUL in base64", PLAIN("utf-8", "base64") "aABpAA==\n", "hi" },
	{ "references", HTML("us-ascii", "7bit") "&#1089;&#1095;&#1105;&#1090;\n", BILL },
	{ "encoded multipart", "Content-Transfer-Encoding: base64\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b--\n", "one" },
	{ "two encodings", "Content-Transfer-Encoding: 7bit\nContent-Transfer-Encoding: base64\n\naGk=\n", "aGk=" },
	{ "base64 cut", PLAIN("utf-8", "base64") "aGVsbG8gd29ybG\n", "hello worl" },
};

static struct message *make(const char *p, size_t len, bool crlf)
{
	static const struct message_limits limits = { 8 << 20, 1 << 16, 100 };
	struct message *m = message_new(&limits, NULL, NULL);

	for (size_t i = 0; i < len; i++) {
		if (crlf && p[i] == '\n')
			assert_int_equal(message_add(m, "\r", 1), 0);
		assert_int_equal(message_add(m, p + i, 1), 0);
	}
	assert_int_equal(message_end(m), 0);
	return m;
}

static int join(void *arg, const char *p, size_t len)
{
	struct buf *out = arg;

	assert_true(len > 0 && len <= TEXT_PART_MAX && p[len] == '\0');
	if (out->len)
		buf_addc(out, '|');
	return buf_add(out, p, len);
}

static void test_rows(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		print_message("    %s\n", rows[i].name);
		for (int crlf = 0; crlf < 2; crlf++) {
			AUTO(message) struct message *m = make(rows[i].in, strlen(rows[i].in), crlf);
			AUTO(buf) struct buf got = BUF_INIT(1 << 20);
			const char *cut;

			assert_int_equal(text_parts(m, join, &got, &cut), 0);
			assert_string_equal(buf_str(&got), rows[i].want);
			assert_null(cut);
		}
	}
}

static void check_cut(const struct buf *in, size_t want, const char *why)
{
	AUTO(message) struct message *m = make(buf_str(in), in->len, false);
	AUTO(buf) struct buf got = BUF_INIT(1 << 20);
	const char *cut;

	assert_int_equal(text_parts(m, join, &got, &cut), 0);
	assert_int_equal(got.len, want);
	assert_string_equal(cut ? cut : "-", why);
}

static void fill(struct buf *in, const char *unit, size_t len)
{
	for (size_t end = in->len + len; in->len < end;)
		buf_adds(in, unit);
}

static void test_bounds(void **state)
{
	AUTO(buf) struct buf in = BUF_INIT(8 << 20);

	buf_adds(&in, "\n");
	fill(&in, "x", TEXT_PART_MAX);
	check_cut(&in, TEXT_PART_MAX, "-");
	buf_adds(&in, "x");
	check_cut(&in, TEXT_PART_MAX, "a part with more text than is kept");

	buf_clear(&in);
	buf_adds(&in, PLAIN("utf-8", "8bit"));
	fill(&in, INVOICE, TEXT_PART_MAX + 2);                  /* not within a character */
	check_cut(&in, TEXT_PART_MAX - 1, "a part with more text than is kept");

	buf_clear(&in);
	buf_adds(&in, "Content-Type: text/html\n\nbefore<style>");
	fill(&in, "x", TEXT_OCTETS_MAX);
	buf_adds(&in, "</style>after");
	check_cut(&in, strlen("before"), "a text part of more octets than are read");

	buf_clear(&in);
	buf_adds(&in, "Content-Type: multipart/mixed; boundary=b\n\n");
	for (int i = 0; i < 5; i++) {
		buf_adds(&in, "--b\n\n");
		fill(&in, "0123456789 12345", i < 4 ? TEXT_PART_MAX : 16);
		buf_adds(&in, "\n");
	}
	buf_adds(&in, "--b--\n");
	check_cut(&in, TEXT_MESSAGE_MAX + 3, "more text than is read of a message");

	/* Markup that says nothing costs time, too. */
	buf_clear(&in);
	buf_adds(&in, "Content-Type: multipart/mixed; boundary=b\n\n");
	for (int i = 0; i < 20; i++) {
		buf_adds(&in, "--b\nContent-Type: text/html\n\n");
		fill(&in, "<b>", TEXT_OCTETS_MAX - 2);
		buf_adds(&in, "\n");
	}
	buf_adds(&in, "--b\n\nafter\n--b--\n");
	check_cut(&in, 1, "a text part of more octets than are read");         /* a "<" where it is cut */

	/* A line as long as the message. */
	buf_clear(&in);
	buf_adds(&in, "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Transfer-Encoding: base64\n\n--!");
	fill(&in, "aGkg", 90 * 1024);
	check_cut(&in, TEXT_PART_MAX, "a part with more text than is kept");
}

static int fail_at(void *arg, const char *p, size_t len)
{
	int *left = arg;

	return --*left ? 0 : -EIO;
}

static void test_error_of_the_callback(void **state)
{
	static const char in[] = "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\n\ntwo\n--b--\n";

	for (int i = 1; i <= 2; i++) {
		AUTO(message) struct message *m = make(in, strlen(in), true);
		const char *cut;
		int left = i;

		assert_int_equal(text_parts(m, fail_at, &left, &cut), -EIO);
	}
}

static void test_extract(void **state)
{
	static const char in[] =
		"From: =?gb2312?B?t6LGsQ==?= <a@x.example>\nTo: b@y.example\nTo: c@y.example\nSubject:\n =?utf-8?q?J=C3=BCrgen?=\n"
		"Content-Type: multipart/mixed; boundary=b\n\n--b\n\nhello\n--b\nContent-Type: a/b; name=x.pdf\n\n\n--b\n"
		"Content-Type: text/html; name=y.html\n\n<p>world\n--b--\n";
	static const char want[] = INVOICE " <a@x.example>\nb@y.example\nJ\xc3\xbcrgen\nx.pdf\ny.html\nhello\nworld\n";
	AUTO(message) struct message *m = make(in, strlen(in), true);
	AUTO(buf) struct buf whole = BUF_INIT(1 << 20);

	assert_int_equal(text_extract(m, 1 << 16, &whole), 0);
	assert_string_equal(buf_str(&whole), want);
	for (size_t max = 0; max <= strlen(want); max++) {
		AUTO(buf) struct buf out = BUF_INIT(1 << 20);

		buf_adds(&out, "-");
		assert_int_equal(text_extract(m, max, &out), 0);
		assert_true(out.len <= max + 1);
		assert_memory_equal(out.data + 1, want, out.len - 1);
	}
}

static void open_with(struct filter_bench *b, const char *p, size_t len)
{
	filter_bench_open(b, "192.0.2.7");
	b->txn.message = make(p, len, true);
	b->txn.stage = STAGE_DATA;
}

static void test_facts(void **state)
{
	static const char in[] = "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\n\ntwo\n--b--\n";
	AUTO(buf) struct buf many = BUF_INIT(1 << 20);
	struct filter_bench b;

	open_with(&b, in, strlen(in));
	assert_string_equal(filter_bench_word(&b, "text"), "one,two");
	assert_string_equal(filter_bench_word(&b, "text.cut"), "false");
	filter_bench_close(&b);

	open_with(&b, "", 0);
	assert_string_equal(filter_bench_word(&b, "text"), "");
	filter_bench_close(&b);

	buf_adds(&many, "Content-Type: multipart/mixed; boundary=b\n\n");
	for (int i = 0; i <= FACT_LIST_MAX; i++)
		buf_adds(&many, "--b\n\nx\n");
	open_with(&b, buf_str(&many), many.len);
	assert_int_equal(filter_bench_fact(&b, "text")->count, FACT_LIST_MAX);
	assert_string_equal(filter_bench_why(&b, "text.cut"), "more text parts than are listed");
	filter_bench_close(&b);
}

enum { MANY = 200 };

static int setup(void **state)
{
	const char *missing = NULL;

	if (getenv("UNDER_VALGRIND"))           /* it does not know seccomp(2): the boxes' processes go without */
		syscalls_none();
	return charset_setup(&missing);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),    cmocka_unit_test(test_bounds), cmocka_unit_test(test_error_of_the_callback),
		cmocka_unit_test(test_extract), cmocka_unit_test(test_facts),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
