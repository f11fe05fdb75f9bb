#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/syscalls.h"
#include "filters/charset.h"
#include "filters/mime.h"
#include "tests/support/filter_bench.h"

#define MIXED(boundary) "Content-Type: multipart/mixed; boundary=" boundary "\n\n"
#define DISPOSITION(value) "Content-Disposition: " value "\n\n"
#define NAMED(name) DISPOSITION("attachment; filename=" name)
#define CUT "a multipart without end"
#define TEN(x) x x x x x x x x x x

/* want: "type depth[+ container][! attachment] (name)...;" for each part. Lines end in LF here; they are fed with CRLF, too. */
static const struct { const char *name, *in, *want, *broken; } rows[] = {
	{ "no MIME", "Subject: x\n\nhello\n", "text/plain 0;", NULL },
	{ "empty", "", "text/plain 0;", NULL },
	{ "header alone", "Content-Type: text/html", "text/html 0;", NULL },
	{ "body alone", "hello\n", "text/plain 0;", "a line of a header is no field" },
	{ "type in capitals", "CONTENT-TYPE : Text/HTML ; x=y\n\n", "text/html 0;", NULL },
	{ "two parts", MIXED("b") "pre\n--b\n\nx\n--b\nContent-Type: image/png\n\n--b--\npost\n",
	  "multipart/mixed 0+;text/plain 1;image/png 1;", NULL },
	{ "quoted boundary, folded", "Content-Type: multipart/mixed;\n\tboundary=\"a b\"\n\n--a b\n\nx\n--a b--\n", "multipart/mixed 0+;text/plain 1;", NULL },
	{ "blanks after the delimiter", MIXED("b") "--b \t\n\n--b-- \n", "multipart/mixed 0+;text/plain 1;", NULL },
	{ "what only begins like a delimiter", MIXED("b") "--b\n\n--bb\n--b-\n--b--x\n--\n --b\n--b--\n", "multipart/mixed 0+;text/plain 1;", NULL },
	{ "nested", MIXED("a") "--a\n" MIXED("ab") "--ab\n\n--ab--\n--a\n\n--a--\n", "multipart/mixed 0+;multipart/mixed 1+;text/plain 2;text/plain 1;", NULL },
	{ "the inner one is not closed", MIXED("a") "--a\n" MIXED("b") "--b\n\n--a\nContent-Type: a/b\n\n--a--\n",
	  "multipart/mixed 0+;multipart/mixed 1+;text/plain 2;a/b 1;", CUT },
	{ "the outer one is not closed", MIXED("a") "--a\n\nx", "multipart/mixed 0+;text/plain 1;", CUT },
	{ "delimiter without line end", MIXED("a") "--a\n\nx\n--a--", "multipart/mixed 0+;text/plain 1;", NULL },
	{ "same boundary within", MIXED("a") "--a\n" MIXED("a") "--a\n\n--a--\n", "multipart/mixed 0+;multipart/mixed 1+;text/plain 2;", CUT },
	{ "no part", MIXED("a") "x\n", "multipart/mixed 0+;", "a multipart without parts" },
	{ "closed before it was opened", MIXED("a") "--a--\n", "multipart/mixed 0+;", NULL },
	{ "a part after the end", MIXED("a") "--a\n\n--a--\n--a\n" NAMED("x.exe") "--a--\n", "multipart/mixed 0+;text/plain 1;text/plain 1! (x.exe);",
	  "a part after the end of a multipart" },
	{ "no boundary", "Content-Type: multipart/mixed\n\n--\n\n", "multipart/mixed 0;", "a multipart without a boundary" },
	{ "empty boundary", MIXED("\"\"") "--\n\n----\n", "multipart/mixed 0;", "a multipart without a boundary" },
	{ "boundary of blanks", MIXED("\"  \"") "--  \n", "multipart/mixed 0;", "a multipart without a boundary" },
	{ "boundary of 1,030 octets", MIXED(TEN(TEN(TEN("a"))) TEN("aaa")) "x\n", "multipart/mixed 0;", "a multipart without a boundary" },
	{ "boundary in segments", "Content-Type: multipart/mixed; boundary*1=b; boundary*0=a\n\n--ab\n\n--ab--\n", "multipart/mixed 0+;text/plain 1;", NULL },
	{ "encoded multipart", "Content-Transfer-Encoding: base64\n" MIXED("a") "--a\n\n--a--\n", "multipart/mixed 0+;text/plain 1;", "a container that is encoded" },
	{ "two types", "Content-Type: a/b; name=x\nContent-Type: c/d; name=y\n\n", "a/b 0 (x)(y);", "two Content-Type fields" },
	{ "type without a slash", "Content-Type: text\n\n", "text/plain 0;", "a Content-Type that is none" },
	{ "type without a subtype", "Content-Type: text/; x=y\n\n", "text/plain 0;", "a Content-Type that is none" },
	{ "empty type", "Content-Type:\n\n", "text/plain 0;", NULL },
	{ "type with a comment", "Content-Type: (a (b) \\) c) text/html (d); charset=x\n\n", "text/html 0;", NULL },
	{ "comment without end", "Content-Type: text/html (d; charset=x\n\n", "text/html 0;", "a comment without end" },
	{ "a part's header with a line that is none", MIXED("a") "--a\nContent-Type: a/b\noops\nContent-Type: c/d\n\n--a--\n",
	  "multipart/mixed 0+;a/b 1;", "a line of a header is no field" },
	{ "part that ends in its header", MIXED("a") "--a\nContent-Type: a/b\n--a--\n", "multipart/mixed 0+;a/b 1;", NULL },
	{ "message within", "Content-Type: message/rfc822\n\nSubject: x\nContent-Type: multipart/mixed; boundary=i\n\n--i\n" NAMED("x.exe") "--i--\n",
	  "message/rfc822 0+;multipart/mixed 1+;text/plain 2! (x.exe);", NULL },
	{ "message within, empty", MIXED("a") "--a\nContent-Type: message/rfc822\n\n--a--\n", "multipart/mixed 0+;message/rfc822 1+;text/plain 2;", NULL },
	{ "message within, without any line", MIXED("a") "--a\nContent-Type: message/rfc822\n--a--\n", "multipart/mixed 0+;message/rfc822 1+;text/plain 2;", NULL },
	{ "message within, encoded", "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64 \n\nQQ==\n", "message/rfc822 0;", "a container that is encoded" },
	{ "message within, 8bit", "Content-Type: message/global\nContent-Transfer-Encoding:\n 8BIT\n\nA: b\n\n", "message/global 0+;text/plain 1;", NULL },
	{ "digest", "Content-Type: multipart/digest; boundary=a\n\n--a\n\nContent-Type: a/b\n\n--a\nContent-Type: c/d\n\n--a--\n",
	  "multipart/digest 0+;message/rfc822 1+;a/b 2;c/d 1;", NULL },
	{ "filename", NAMED("a.exe"), "text/plain 0! (a.exe);", NULL },
	{ "filename with blanks, unquoted", NAMED("my file (1).exe ; x=y"), "text/plain 0! (my file (1).exe);", NULL },
	{ "comment after a name", NAMED("a.exe (x)"), "text/plain 0! (a.exe);", NULL },
	{ "quoted", NAMED("\"a;b \\\"c\\\" \\\\ C:\\d.exe\""), "text/plain 0! (a;b \"c\" \\ C:\\d.exe);", NULL },
	{ "quote without end", NAMED("\"a.exe"), "text/plain 0! (a.exe);", "a quote without end" },
	{ "more after the quote", NAMED("\"a.pdf\".exe"), "text/plain 0! (a.pdf);", "more where a semicolon was expected" },
	{ "no value", NAMED(""), "text/plain 0!;", NULL },
	{ "no equals", DISPOSITION("attachment; filename; x=y"), "text/plain 0!;", "a parameter without a value" },
	{ "no name", DISPOSITION("attachment; =x"), "text/plain 0!;", "a parameter without a name" },
	{ "semicolons alone", DISPOSITION(";;; ; filename=a"), "text/plain 0 (a);", NULL },
	{ "encoded word", NAMED("\"=?gb2312?B?t6LGsQ==?=.exe\""), "text/plain 0! (\xe5\x8f\x91\xe7\xa5\xa8.exe);", NULL },
	{ "8-bit", NAMED("\"\xfc.exe\""), "text/plain 0! (\xc3\xbc.exe);", NULL },
	{ "RFC 2231", DISPOSITION("attachment; filename*=utf-8'de'%C3%BC%2Eexe"), "text/plain 0! (\xc3\xbc.exe);", NULL },
	{ "RFC 2231, GB18030", DISPOSITION("attachment; filename*=GB18030''%B7%A2.exe"), "text/plain 0! (\xe5\x8f\x91.exe);", NULL },
	{ "RFC 2231 without charset", DISPOSITION("attachment; filename*=''a%20b.exe"), "text/plain 0! (a b.exe);", NULL },
	{ "RFC 2231 without quotes", DISPOSITION("attachment; filename*=a%20b.exe"), "text/plain 0! (a b.exe);", NULL },
	{ "bad percent signs", DISPOSITION("attachment; filename*=utf-8''a%2%zz%"), "text/plain 0! (a%2%zz%);", NULL },
	{ "encoded NUL and line end", DISPOSITION("attachment; filename*=utf-8''a.exe%00.%0D%0Atxt"), "text/plain 0! (a.exe.  txt);", NULL },
	{ "segments in any order", DISPOSITION("attachment; filename*2=.exe; filename*0*=utf-8''%C3; filename*1*=%BC"), "text/plain 0! (\xc3\xbc.exe);", NULL },
	{ "segments of encoded words", DISPOSITION("attachment; filename*0=\"=?utf-8?q?=C3=\"; filename*1=\"BC?=.exe\""), "text/plain 0! (\xc3\xbc.exe);", NULL },
	{ "a segment is missing", DISPOSITION("attachment; filename*0=a; filename*2=.exe"), "text/plain 0! (a);", NULL },
	{ "the first is missing", DISPOSITION("attachment; filename*1=a"), "text/plain 0!;", NULL },
	{ "a segment twice", DISPOSITION("attachment; filename*0=a; filename*0=b; filename*1=c"), "text/plain 0! (ac);", NULL },
	{ "segments of no number", DISPOSITION("attachment; filename*x=a; filename**=b; filename*99999999999=c"), "text/plain 0!;", NULL },
	{ "every form counts", "Content-Type: a/b; name=w.txt; NAME=w.txt\n" DISPOSITION("inline; filename=x.txt; filename*=''y.exe; filename*0=z; filename=v"),
	  "a/b 0 (x.txt)(y.exe)(z)(v)(w.txt);", NULL },
};

struct seen {
	char text[4096];
	int stop_after;                 /* parts; 0: never */
};

static int on_part(void *arg, const struct mime_part *part)
{
	struct seen *s = arg;
	AUTO(buf) struct buf b = BUF_INIT(sizeof(s->text));

	buf_addf(&b, "%s %d%s%s%s", part->type, part->depth, part->container ? "+" : "", part->attachment ? "!" : "", part->name_count ? " " : "");
	for (size_t i = 0; i < part->name_count; i++)
		buf_addf(&b, "(%s)", part->names[i]);
	buf_addc(&b, ';');
	if (strlen(s->text) + b.len < sizeof(s->text))
		strcat(s->text, buf_str(&b));
	return s->stop_after && --s->stop_after == 0 ? -EIO : 0;
}

static void parse(const char *p, size_t len, size_t chunk, struct seen *s, struct mime **out)
{
	*out = mime_new(on_part, s);
	assert_non_null(*out);
	for (size_t n; len; p += n, len -= n) {
		char *exact;

		n = chunk && chunk < len ? chunk : len;
		exact = malloc(n);
		memcpy(exact, p, n);
		assert_int_equal(mime_add(*out, exact, n), 0);
		free(exact);
	}
	assert_int_equal(mime_end(*out), 0);
}

static void check(const char *in, size_t len, size_t chunk, const char *want, const char *broken)
{
	struct seen s = { .text = "" };
	AUTO(mime) struct mime *m = NULL;

	parse(in, len, chunk, &s, &m);
	assert_string_equal(s.text, want);
	assert_string_equal(mime_broken(m) ? mime_broken(m) : "-", broken ? broken : "-");
}

static void test_rows(void **state)
{
	static const size_t chunks[] = { 0, 1, 2, 7 };

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(buf) struct buf crlf = BUF_INIT(1 << 16);

		print_message("    %s\n", rows[i].name);
		for (const char *p = rows[i].in; *p; p++) {
			if (*p == '\n')
				buf_addc(&crlf, '\r');
			buf_addc(&crlf, *p);
		}
		for (size_t k = 0; k < sizeof(chunks) / sizeof(*chunks); k++) {
			check(rows[i].in, strlen(rows[i].in), chunks[k], rows[i].want, rows[i].broken);
			check(buf_str(&crlf), crlf.len, chunks[k], rows[i].want, rows[i].broken);
		}
	}
}

static void count(const struct buf *in, size_t parts, int depth, const char *broken)
{
	struct seen s = { .text = "" };
	AUTO(mime) struct mime *m = NULL;

	parse(buf_str(in), in->len, 4096, &s, &m);
	assert_int_equal(mime_parts(m), parts);
	assert_int_equal(mime_depth(m), depth);
	assert_string_equal(mime_broken(m) ? mime_broken(m) : "-", broken);
}

static void test_bounds(void **state)
{
	AUTO(buf) struct buf in = BUF_INIT(8 << 20);

	buf_adds(&in, MIXED("a"));
	for (int i = 0; i < MIME_PARTS_MAX - 1; i++)
		buf_adds(&in, "--a\n\n");
	buf_adds(&in, "--a--\n");
	count(&in, MIME_PARTS_MAX - 1, 1, "-");
	buf_adds(&in, "--a--\n--a--\n");                        /* closed again: nothing new */
	count(&in, MIME_PARTS_MAX - 1, 1, "-");
	in.len -= strlen("--a--\n") * 3;
	buf_adds(&in, "--a\n\n--a--\n");
	count(&in, MIME_PARTS_MAX - 1, 1, "too many parts");

	buf_clear(&in);
	for (int i = 0; i < MIME_DEPTH_MAX; i++)
		buf_adds(&in, "Content-Type: message/rfc822\n\n");
	count(&in, 1, MIME_DEPTH_MAX, "-");
	for (int i = 0; i < 10000; i++)
		buf_adds(&in, "Content-Type: message/rfc822\n\n");
	count(&in, 1, MIME_DEPTH_MAX, "containers nested too deeply");

	buf_clear(&in);
	buf_adds(&in, "X: ");
	for (int i = 0; i < 100000; i++)
		buf_addc(&in, 'x');
	buf_adds(&in, "\nContent-Type: multipart/mixed; boundary=a\n\n--a\n\n--a--\n");
	count(&in, 1, 1, "a line of a header is too long");

	buf_clear(&in);
	for (int i = 0; i < 100000; i++)
		buf_adds(&in, "Content-Type: a/b; name=x\n");
	count(&in, 1, 0, "a header that is too long");

	buf_clear(&in);
	buf_adds(&in, "Content-Disposition: attachment");
	for (int i = 0; i < 65; i++)
		buf_addf(&in, "; filename=%d", i);
	count(&in, 1, 0, "too many parameters");
	buf_clear(&in);
	buf_adds(&in, "Content-Disposition: attachment");
	for (int i = 0; i < MIME_NAMES_MAX + 1; i++)
		buf_addf(&in, "; filename=%d", i);
	count(&in, 1, 0, "a part with too many names");
}

static void test_error_of_the_callback(void **state)
{
	static const char in[] = MIXED("a") "--a\n\n--a\n\n--a--\n";

	for (int i = 1; i <= 3; i++) {
		struct seen s = { .stop_after = i };
		AUTO(mime) struct mime *m = mime_new(on_part, &s);

		assert_int_equal(mime_add(m, in, strlen(in)), -EIO);
	}
}

static void test_extension(void **state)
{
	static const struct { const char *name, *want; } names[] = {
		{ "a.exe", "exe" }, { "a.TXT.Exe", "exe" }, { "a.exe. . ", "exe" }, { "a.exe...", "exe" }, { ".exe", "exe" },
		{ "C:\\x.y\\a.JS", "js" }, { "../x/a.lnk", "lnk" }, { "a.\xc3\x9c", "\xc3\x9c" },
		{ "a", "" }, { "", "" }, { ".", "" }, { "...", "" }, { " ", "" }, { "x.y/a", "" }, { "x.y\\a", "" }, { "a.exe/", "" },
		{ "a." TEN("abcdef") "abc", TEN("abcdef") "abc" }, { "a." TEN("abcdef") "abcd", "" },
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		char out[MIME_EXTENSION_MAX + 1] = "";

		print_message("    %s\n", names[i].name);
		assert_int_equal(mime_extension(names[i].name, out), names[i].want[0] != '\0');
		assert_string_equal(out, names[i].want);
	}
}

static void open_with(struct filter_bench *b, const struct buf *text)
{
	static const struct message_limits limits = { 1 << 20, 1 << 16, 100 };

	filter_bench_open(b, "192.0.2.7");
	b->txn.message = message_new(&limits, NULL, NULL);
	assert_int_equal(message_add(b->txn.message, buf_str(text), text->len), 0);
	assert_int_equal(message_end(b->txn.message), 0);
	b->txn.stage = STAGE_DATA;
}

static void test_facts(void **state)
{
	AUTO(buf) struct buf in = BUF_INIT(1 << 20);
	struct filter_bench b;

	buf_adds(&in, "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\ntext\r\n--a\r\nContent-Type: Application/ZIP\r\n"
		      "Content-Disposition: attachment; filename=A.ZIP\r\n\r\n--a\r\nContent-Type: text/html; name=b.zip\r\n\r\n--a\r\n"
		      "Content-Type: image/png\r\n\r\n--a--\r\n");
	open_with(&b, &in);
	assert_string_equal(filter_bench_word(&b, "attachment.name"), "A.ZIP,b.zip");
	assert_string_equal(filter_bench_word(&b, "attachment.extension"), "zip");
	assert_string_equal(filter_bench_word(&b, "attachment.type"), "application/zip,text/html,image/png");
	assert_string_equal(filter_bench_word(&b, "mime.parts"), "4");
	assert_string_equal(filter_bench_word(&b, "mime.depth"), "1");
	assert_string_equal(filter_bench_word(&b, "mime.broken"), "false");
	filter_bench_close(&b);

	buf_clear(&in);
	buf_adds(&in, "Subject: x\r\n\r\nhello\r\n");
	open_with(&b, &in);
	assert_string_equal(filter_bench_word(&b, "attachment.name"), "");
	assert_string_equal(filter_bench_word(&b, "attachment.type"), "");
	assert_string_equal(filter_bench_word(&b, "mime.parts"), "1");
	assert_string_equal(filter_bench_word(&b, "mime.depth"), "0");
	filter_bench_close(&b);

	buf_clear(&in);
	buf_adds(&in, "Content-Type: multipart/mixed; boundary=a\r\n\r\n");
	for (int i = 0; i <= FACT_LIST_MAX; i++)
		buf_addf(&in, "--a\r\nContent-Type: text/plain; name=x.e%d\r\n\r\n", i);
	buf_adds(&in, "--a--\r\n");
	open_with(&b, &in);
	assert_int_equal(filter_bench_fact(&b, "attachment.extension")->count, FACT_LIST_MAX);
	assert_string_equal(filter_bench_word(&b, "mime.broken"), "true");
	assert_string_equal(filter_bench_why(&b, "mime.broken"), "more attachments than are listed");
	filter_bench_close(&b);
}

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
		cmocka_unit_test(test_rows),      cmocka_unit_test(test_bounds), cmocka_unit_test(test_error_of_the_callback),
		cmocka_unit_test(test_extension), cmocka_unit_test(test_facts),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
