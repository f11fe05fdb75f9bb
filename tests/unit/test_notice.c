#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "retrieval/notice.h"

enum { WHOLE = 14000 };

static void whole(const struct notice *n, enum transfer_encoding e, uint64_t total, char *out)
{
	notice_read(n, e, total, 0, out, total == NOTICE_ENDLESS ? WHOLE : (size_t)total);
}

/* Lines of CRLF, at most 76 octets, none with a dot at its beginning, nothing but printable ASCII and nothing that is markup. */
static void check_form(const char *p, size_t len, bool ends)
{
	size_t column = 0;

	for (size_t i = 0; i < len; i++) {
		if (p[i] == '\r') {
			assert_true(i + 1 == len || p[i + 1] == '\n');
			continue;
		}
		if (p[i] == '\n') {
			assert_true(i > 0 && p[i - 1] == '\r');
			column = 0;
			continue;
		}
		assert_true(p[i] >= ' ' && p[i] < 0x7f);
		assert_false(column == 0 && p[i] == '.');
		assert_true(++column <= 76 || (ends && i + 3 == len));    /* where a line end had to be moved */
	}
	if (ends)
		assert_memory_equal(p + len - 2, "\r\n", 2);
}

static const char *const reasons[] = {
	"", "rule \"dangerous attachments\"", ".", "..\r\n.\r\nSubject: x", "<script>alert(1)</script>", "a&lt;b", "line\nbreak\r\n\r\n<b>",
	"=3Cb=3E =", "+ADw-script+AD4-", "~{<:Ky2;S{#,~}", "{\\rtf1 \\*}", "http://evil.example/x//y", "\x1b$B\x1b(B", "\xff\xfe\x00x", "gr\xc3\xbc\xc3\x9f",
	"wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww",
	". . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . .",
	"%s%n%n", "\t\v\f", "`$(id)`",
};

static void test_form(void **state)
{
	char *p = malloc(WHOLE);

	for (size_t i = 0; i < sizeof(reasons) / sizeof(*reasons); i++) {
		for (int with_id = 0; with_id < 2; with_id++) {
			struct notice n;

			notice_init(&n, reasons[i], with_id ? reasons[i] : NULL);
			whole(&n, TRANSFER_PLAIN, NOTICE_ENDLESS, p);
			check_form(p, WHOLE, false);
			for (size_t k = 0; k < WHOLE; k++)
				assert_null(strchr("<>&=+~{}\\\"%`$", p[k]));
			p[WHOLE - 1] = '\0';
			assert_null(strstr(p, "//"));
			whole(&n, TRANSFER_BASE64, NOTICE_ENDLESS, p);
			check_form(p, WHOLE, false);
		}
	}
	free(p);
}

static void test_says(void **state)
{
	char *p = calloc(1, WHOLE + 1);
	struct notice n;

	notice_init(&n, "attachment \"invoice.exe\" is a program", "20261122-0a1b2c3d4e5f");
	whole(&n, TRANSFER_QP, NOTICE_ENDLESS, p);
	assert_non_null(strstr(p, "attachment invoice.exe is a program\r\n"));
	assert_non_null(strstr(p, "    20261122-0a1b2c3d4e5f\r\n"));
	assert_non_null(strstr(p, "still in your mailbox"));
	assert_null(strstr(p, "no number"));
	notice_init(&n, NULL, "");
	whole(&n, TRANSFER_PLAIN, NOTICE_ENDLESS, p);
	assert_non_null(strstr(p, "no number to quote"));
	assert_null(strstr(p, "reason"));
	free(p);
}

/* Whatever piece is asked for is that piece of the whole. */
static void test_pieces(void **state)
{
	static const enum transfer_encoding encodings[] = { TRANSFER_PLAIN, TRANSFER_BASE64, TRANSFER_QP, TRANSFER_UU, TRANSFER_UNKNOWN };
	static const uint64_t totals[] = { NOTICE_ENDLESS, WHOLE, WHOLE - 1, WHOLE - 2, WHOLE - 3 };
	char *p = malloc(WHOLE), *piece = malloc(WHOLE);
	struct notice n;

	notice_init(&n, "because", "id");
	for (size_t e = 0; e < 5; e++) {
		for (size_t t = 0; t < 5; t++) {
			size_t len = totals[t] == NOTICE_ENDLESS ? WHOLE : (size_t)totals[t];

			whole(&n, encodings[e], totals[t], p);
			for (size_t off = 0; off < len; off += off < len - 100 ? 197 : 1) {
				size_t most = off % 3 ? 333 : 3333, want = len - off < most ? len - off : most;

				notice_read(&n, encodings[e], totals[t], off, piece, want);
				assert_memory_equal(piece, p + off, want);
			}
		}
	}
	notice_read(&n, TRANSFER_BASE64, NOTICE_ENDLESS, UINT64_MAX - 50, piece, 50);
	notice_read(&n, TRANSFER_PLAIN, 0, 0, piece, 0);
	free(p);
	free(piece);
}

/* However long it is, it ends with a whole line, and in base64 with a whole group. */
static void test_ends(void **state)
{
	char *p = malloc(WHOLE), *decoded = malloc(WHOLE + TRANSFER_SPARE), *plain = malloc(WHOLE);
	struct notice n;

	notice_init(&n, "because", "id");
	whole(&n, TRANSFER_PLAIN, NOTICE_ENDLESS, plain);
	for (size_t total = 2; total < 2200; total++) {
		struct transfer t;
		size_t digits = 0, len;

		whole(&n, TRANSFER_PLAIN, total, p);
		check_form(p, total, true);
		whole(&n, TRANSFER_BASE64, total, p);
		check_form(p, total, true);
		for (size_t i = 0; i < total; i++)
			digits += p[i] > ' ';
		assert_int_equal(digits % 4, 0);
		transfer_init(&t, TRANSFER_BASE64);
		len = transfer_decode(&t, p, total, decoded);
		assert_int_equal(len, digits / 4 * 3);
		assert_true(len + 10 >= total / 78 * 57);
		assert_memory_equal(decoded, plain, len);
	}
	whole(&n, TRANSFER_PLAIN, 1, p);
	free(p);
	free(decoded);
	free(plain);
}

static const struct {
	const char *in, *out;
	size_t changed;
} headers[] = {
	{ "Subject: a\r\n\r\n", "Subject: a\r\n\r\n", 0 },
	{ "Content-Type: text/html\r\n\r\n", "X-ntent-Type: text/html\r\n\r\n", 1 },
	{ "Subject: a\r\nCONTENT-type: text/html;\r\n\tcharset=utf-8\r\nmime-VERSION: 1.0\r\nDate: x\r\n\r\n",
	  "Subject: a\r\nX-NTENT-type: text/html;\r\n\tcharset=utf-8\r\nX-me-VERSION: 1.0\r\nDate: x\r\n\r\n", 2 },
	{ "Content-Transfer-Encoding:base64\nContent-Disposition:attachment\n\n", "X-ntent-Transfer-Encoding:base64\nX-ntent-Disposition:attachment\n\n", 2 },
	{ "Content-Type: a/b\r\nContent-Type: c/d\r\nContent-Type: e/f\r\n\r\n", "X-ntent-Type: a/b\r\nX-ntent-Type: c/d\r\nX-ntent-Type: e/f\r\n\r\n", 3 },
	{ "Content-Type \t : text/html\r\n", "X-ntent-Type \t : text/html\r\n", 1 },
	{ "Content-Type\r\n: text/html\r\n", "            \r\n           \r\n", 0 },            /* no fields */
	{ "Subject: a\r\n Content-Type: text/html\r\n\r\n", "Subject: a\r\n Content-Type: text/html\r\n\r\n", 0 },
	{ " Content-Type: text/html\r\nSubject: a\r\n", "                        \r\nSubject: a\r\n", 0 },
	{ "Subject: a\rContent-Type: text/html\r\n\r\n", "Subject: a\rX-ntent-Type: text/html\r\n\r\n", 1 },
	{ "Subject: a\r\r\nContent-Type: text/html\r\n\r\n", "Subject: a\r\r\nX-ntent-Type: text/html\r\n\r\n", 1 },
	{ "Subject: a\r\nbuy this\r\n now\r\nContent-Type: text/html\r\n", "Subject: a\r\n        \r\n now\r\nX-ntent-Type: text/html\r\n", 1 },
	{ "From me Mon Jan  1\r\nContent-Type: text/html", "                  \r\nX-ntent-Type: text/html", 1 },
	{ "Content-Typ: x\r\nContent-Types: x\r\nX-Content-Type: x\r\nContent-ID: <x>\r\nContent-Language: de\r\n",
	  "Content-Typ: x\r\nContent-Types: x\r\nX-Content-Type: x\r\nContent-ID: <x>\r\nContent-Language: de\r\n", 0 },
	{ ": x\r\n\r\n", "   \r\n\r\n", 0 },
	{ "Content-Type", "            ", 0 },
	{ "\r\n\r\n", "\r\n\r\n", 0 },
	{ "\xc3\xa4: x\r\n", "    " " \r\n", 0 },
	{ "", "", 0 },
};

static void test_header(void **state)
{
	for (size_t i = 0; i < sizeof(headers) / sizeof(*headers); i++) {
		size_t len = strlen(headers[i].in);
		char *p = malloc(len + 1), *again = malloc(len + 1);

		memcpy(p, headers[i].in, len);
		if (notice_header_fix(p, len) != headers[i].changed || memcmp(p, headers[i].out, len) != 0)
			fail_msg("row %zu: %.*s", i, (int)len, p);
		memcpy(again, p, len);          /* what is fixed stays as it is */
		assert_int_equal(notice_header_fix(again, len), 0);
		assert_memory_equal(again, p, len);
		free(p);
		free(again);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_form), cmocka_unit_test(test_says), cmocka_unit_test(test_pieces), cmocka_unit_test(test_ends), cmocka_unit_test(test_header),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
