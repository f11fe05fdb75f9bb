/* Header fields in canonical form: what is hashed is told by hashing what should have been. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/evp.h>

#include "filters/dkim_canon.h"

#define T(s) s, sizeof(s) - 1

enum { B = DKIM_CANON_NO_B, LAST = DKIM_CANON_LAST };

static const struct {
	const char *name, *raw;
	size_t len;
	int flags;
	const char *simple;
	size_t simple_len;
	const char *relaxed;
	size_t relaxed_len;
} rows[] = {
	/* The RFC's own, section 3.4.5. */
	{ "RFC A", T("A: X"), 0, T("A: X\r\n"), T("a:X\r\n") },
	{ "RFC B", T("B : Y\t\r\n\tZ  "), 0, T("B : Y\t\r\n\tZ  \r\n"), T("b:Y Z\r\n") },
	{ "its CRLF is there", T("Subject: x\r\n"), 0, T("Subject: x\r\n"), T("subject:x\r\n") },
	{ "the last one", T("Subject: x"), LAST, T("Subject: x"), T("subject:x") },
	{ "the last one, its CRLF is there", T("Subject: x \r\n"), LAST, T("Subject: x "), T("subject:x") },
	{ "no blank behind the colon", T("Subject:x"), 0, T("Subject:x\r\n"), T("subject:x\r\n") },
	{ "many blanks", T("Subject: \t \t  a \t b\t\tc \t"), 0, T("Subject: \t \t  a \t b\t\tc \t\r\n"), T("subject:a b c\r\n") },
	{ "several colons", T("X-Time: 12:30 : 7"), 0, T("X-Time: 12:30 : 7\r\n"), T("x-time:12:30 : 7\r\n") },
	{ "blanks before the colon", T("SUBJECT \t : Hi"), 0, T("SUBJECT \t : Hi\r\n"), T("subject:Hi\r\n") },
	{ "letters of the body stay", T("FROM: ABC"), 0, T("FROM: ABC\r\n"), T("from:ABC\r\n") },
	{ "empty", T("X-Empty:"), 0, T("X-Empty:\r\n"), T("x-empty:\r\n") },
	{ "blanks only", T("X-Empty: \t "), 0, T("X-Empty: \t \r\n"), T("x-empty:\r\n") },
	{ "a fold only", T("X-Empty:\r\n \r\n\t"), 0, T("X-Empty:\r\n \r\n\t\r\n"), T("x-empty:\r\n") },
	{ "folded behind the colon", T("Subject:\r\n x"), 0, T("Subject:\r\n x\r\n"), T("subject:x\r\n") },
	{ "folded twice in a row", T("Subject: a\r\n \r\n b"), 0, T("Subject: a\r\n \r\n b\r\n"), T("subject:a b\r\n") },
	{ "folded at the end", T("Subject: a\r\n \r\n"), 0, T("Subject: a\r\n \r\n"), T("subject:a\r\n") },
	{ "folded at the end, a CRLF more", T("Subject: a\r\n \r\n\r\n"), 0, T("Subject: a\r\n \r\n\r\n"), T("subject:a \r\n\r\n") },
	{ "folded before the colon", T("Subject \r\n : x"), 0, T("Subject \r\n : x\r\n"), T("subject:x\r\n") },
	{ "a fold and no blank before it", T("Subject: a\r\n\tb"), 0, T("Subject: a\r\n\tb\r\n"), T("subject:a b\r\n") },
	{ "CRLF that folds nothing", T("Subject: a\r\nb"), 0, T("Subject: a\r\nb\r\n"), T("subject:a\r\nb\r\n") },
	{ "CRLF before a blank at the very end", T("Subject: a\r\n "), 0, T("Subject: a\r\n \r\n"), T("subject:a\r\n") },
	{ "a bare CR", T("Subject: a \r b"), 0, T("Subject: a \r b\r\n"), T("subject:a \r b\r\n") },
	{ "a bare LF", T("Subject: a \n b"), 0, T("Subject: a \n b\r\n"), T("subject:a \n b\r\n") },
	{ "a bare LF and a blank fold nothing", T("Subject: a\n b"), 0, T("Subject: a\n b\r\n"), T("subject:a\n b\r\n") },
	{ "CR CRLF", T("Subject: a\r\r\n b"), 0, T("Subject: a\r\r\n b\r\n"), T("subject:a\r b\r\n") },
	{ "a bare CR at the end", T("Subject: a\r"), 0, T("Subject: a\r\r\n"), T("subject:a\r\r\n") },
	{ "a bare LF at the end", T("Subject: a\n"), 0, T("Subject: a\n\r\n"), T("subject:a\n\r\n") },
	{ "vertical tab and form feed are no blanks", T("Subject: a\v\f b"), 0, T("Subject: a\v\f b\r\n"), T("subject:a\v\f b\r\n") },
	{ "NUL", T("Subject: a\0 \0b"), 0, T("Subject: a\0 \0b\r\n"), T("subject:a\0 \0b\r\n") },
	{ "NUL in the name", T("Sub\0ject: a"), 0, T("Sub\0ject: a\r\n"), T("sub\0ject:a\r\n") },
	{ "8-bit", T("Subject: Gr\xfc\xc3\x9f\xa0 \x85"), 0, T("Subject: Gr\xfc\xc3\x9f\xa0 \x85\r\n"), T("subject:Gr\xfc\xc3\x9f\xa0 \x85\r\n") },
	{ "8-bit in the name", T("S\xc4j: a"), 0, T("S\xc4j: a\r\n"), T("s\xc4j:a\r\n") },
	{ "letters beside A and Z", T("@AZ[`az{: a"), 0, T("@AZ[`az{: a\r\n"), T("@az[`az{:a\r\n") },
	{ "blanks inside the name", T("a  B: c"), 0, T("a  B: c\r\n"), T("a b:c\r\n") },
	{ "no colon", T("Nothing  Here "), 0, T("Nothing  Here \r\n"), T("nothing here\r\n") },
	{ "nothing", T(""), 0, T("\r\n"), T("\r\n") },
	{ "a CRLF alone", T("\r\n"), 0, T("\r\n"), T("\r\n") },
	{ "a colon alone", T(":"), 0, T(":\r\n"), T(":\r\n") },
	{ "a blank at its beginning", T(" A: b"), 0, T(" A: b\r\n"), T("a:b\r\n") },
	/* b= without its value, section 3.5: blanks around it go, those around the name stay. */
	{ "b= at the end", T("S: v=1; b=abc"), B | LAST, T("S: v=1; b="), T("s:v=1; b=") },
	{ "b= and a semicolon", T("S: v=1; b=abc;"), B | LAST, T("S: v=1; b=;"), T("s:v=1; b=;") },
	{ "b= before others", T("S: b=abc; v=1"), B | LAST, T("S: b=; v=1"), T("s:b=; v=1") },
	{ "b= first without a blank", T("S:b=abc;v=1"), B, T("S:b=;v=1\r\n"), T("s:b=;v=1\r\n") },
	{ "b= folded", T("S: v=1;\r\n\tb= ab\r\n\t c \r\n ; x=y"), B, T("S: v=1;\r\n\tb=; x=y\r\n"), T("s:v=1; b=; x=y\r\n") },
	{ "blanks before =", T("S: v=1; b \t = abc ; x=y"), B, T("S: v=1; b \t =; x=y\r\n"), T("s:v=1; b =; x=y\r\n") },
	{ "a fold before =", T("S: v=1; b\r\n =abc"), B, T("S: v=1; b\r\n =\r\n"), T("s:v=1; b =\r\n") },
	{ "b= is empty", T("S: v=1; b=; x=y"), B, T("S: v=1; b=; x=y\r\n"), T("s:v=1; b=; x=y\r\n") },
	{ "b= is empty and last", T("S: v=1; b="), B, T("S: v=1; b=\r\n"), T("s:v=1; b=\r\n") },
	{ "b= with padding", T("S: b=ab==; v=1"), B, T("S: b=; v=1\r\n"), T("s:b=; v=1\r\n") },
	{ "bh= is another tag", T("S: bh=xyz; b=abc"), B, T("S: bh=xyz; b=\r\n"), T("s:bh=xyz; b=\r\n") },
	{ "xb= is another tag", T("S: xb=xyz; b=abc"), B, T("S: xb=xyz; b=\r\n"), T("s:xb=xyz; b=\r\n") },
	{ "B= is another tag", T("S: B=xyz; b=abc"), B, T("S: B=xyz; b=\r\n"), T("s:B=xyz; b=\r\n") },
	{ "b= inside another value", T("S: z=b=xyz; b=abc"), B, T("S: z=b=xyz; b=\r\n"), T("s:z=b=xyz; b=\r\n") },
	{ "b= twice: the first", T("S: b=abc; b=def"), B, T("S: b=; b=def\r\n"), T("s:b=; b=def\r\n") },
	{ "no b=", T("S: v=1; bh=abc "), B, T("S: v=1; bh=abc \r\n"), T("s:v=1; bh=abc\r\n") },
	{ "b without =", T("S: v=1; b; b=abc"), B, T("S: v=1; b; b=\r\n"), T("s:v=1; b; b=\r\n") },
	{ "empty tags", T("S: ;; b=abc;;"), B, T("S: ;; b=;;\r\n"), T("s:;; b=;;\r\n") },
	{ "the name is b", T("b=x; b: b=abc"), B, T("b=x; b: b=\r\n"), T("b=x; b:b=\r\n") },
	{ "not asked for", T("S: v=1; b=abc"), 0, T("S: v=1; b=abc\r\n"), T("s:v=1; b=abc\r\n") },
	{ "a NUL before b", T("S: \0b=abc"), B, T("S: \0b=abc\r\n"), T("s:\0b=abc\r\n") },
	{ "no colon, b=", T("b=abc"), B, T("b=abc\r\n"), T("b=abc\r\n") },
};

static void hash_of(const char *p, size_t len, unsigned char out[DKIM_HASH_BYTES])
{
	unsigned n = 0;

	assert_int_equal(EVP_Digest(p, len, out, &n, EVP_sha256(), NULL), 1);
}

static void judge(const char *name, const char *raw, size_t len, bool relaxed, int flags, const char *want, size_t want_len)
{
	unsigned char have[DKIM_HASH_BYTES], wanted[DKIM_HASH_BYTES];
	char *exact = malloc(len ? len : 1);            /* so that a byte read past the end is seen */
	struct dkim_hash h;

	memcpy(exact, raw, len);
	assert_int_equal(dkim_hash_begin(&h), 0);
	dkim_canon_field(&h, exact, len, relaxed, flags);
	assert_int_equal(dkim_hash_end(&h, have), 0);
	free(exact);
	hash_of(want, want_len, wanted);
	if (memcmp(have, wanted, sizeof(have)) != 0)
		fail_msg("%s: %s is not what it should be", name, relaxed ? "relaxed" : "simple");
}

static void test_table(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		judge(rows[i].name, rows[i].raw, rows[i].len, false, rows[i].flags, rows[i].simple, rows[i].simple_len);
		judge(rows[i].name, rows[i].raw, rows[i].len, true, rows[i].flags, rows[i].relaxed, rows[i].relaxed_len);
	}
}

/* Canonical once is canonical for good: what comes out goes in again and stays. */
static void test_stable(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (rows[i].relaxed_len > 2 && memchr(rows[i].relaxed, ':', rows[i].relaxed_len) && rows[i].flags == 0)
			judge(rows[i].name, rows[i].relaxed, rows[i].relaxed_len, true, 0, rows[i].relaxed, rows[i].relaxed_len);
}

/* Several fields go into one hash, and long ones pass by the collected bytes at every offset. */
static void test_lengths(void **state)
{
	static char raw[9000], want[9000];
	unsigned char have[DKIM_HASH_BYTES], wanted[DKIM_HASH_BYTES];

	for (size_t n = 960; n < 1040; n++) {
		struct dkim_hash h;
		size_t at = 0;

		assert_int_equal(dkim_hash_begin(&h), 0);
		for (size_t k = 0; k < 4; k++) {
			memset(raw, 'a' + (int)k, n);
			memcpy(raw, "X:", 2);
			dkim_canon_field(&h, raw, n, true, 0);
			memcpy(want + at, raw, n);
			want[at] = 'x';
			memcpy(want + at + n, "\r\n", 2);
			at += n + 2;
		}
		assert_int_equal(dkim_hash_end(&h, have), 0);
		hash_of(want, at, wanted);
		assert_memory_equal(have, wanted, sizeof(have));
	}
}

/* Given up in the middle: nothing leaks, and releasing twice is harmless. */
static void test_given_up(void **state)
{
	struct dkim_hash h = { 0 };

	dkim_hash_release(&h);
	assert_int_equal(dkim_hash_begin(&h), 0);
	dkim_canon_field(&h, "A: b", 4, true, 0);
	dkim_hash_release(&h);
	dkim_hash_release(&h);
}

static void test_b(void **state)
{
	static const struct {
		const char *text;
		int at, end;
	} b[] = {
		{ "b=abc", 2, 5 }, { " b = abc ; x", 4, 9 }, { "bh=1; b=2;", 8, 9 }, { "v=1;\r\n\tb=2", 9, 10 }, { "b=", 2, 2 }, { "b=;", 2, 2 },
		{ "", -1, 0 }, { ";", -1, 0 }, { "b", -1, 0 }, { "b ", -1, 0 }, { "b;", -1, 0 }, { "bb=1", -1, 0 }, { "x b=1", -1, 0 }, { "=b=1", -1, 0 },
		{ "B=1", -1, 0 }, { "x=1", -1, 0 }, { "\vb=1", -1, 0 },
	};

	for (size_t i = 0; i < sizeof(b) / sizeof(*b); i++) {
		size_t at = 0, end = 0;
		bool found = dkim_canon_b(b[i].text, strlen(b[i].text), &at, &end);

		if (found != (b[i].at >= 0) || (found && (at != (size_t)b[i].at || end != (size_t)b[i].end)))
			fail_msg("\"%s\": %d, from %zu to %zu", b[i].text, found, at, end);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_stable),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_given_up),
		cmocka_unit_test(test_b),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
