#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "filters/arc_claims.h"
#include "filters/authres_read.h"

#define DEEP8 "(((((((("
#define FLAT8 "))))))))"

/* What is read, as "id|method=word name=value ...|...", with ! at the end when it is broken. */
static const struct {
	const char *name, *body, *want;
} rows[] = {
	{ "id alone",           "mx.example.org", "mx.example.org" },
	{ "none",               " mx.example.org; none", "mx.example.org" },
	{ "none and a comment", "mx.example.org; (really) NONE (none)\r\n", "mx.example.org" },
	{ "one",                "mx.example.org; spf=pass", "mx.example.org|spf=pass" },
	{ "version",            "mx.example.org 1; spf=pass", "mx.example.org|spf=pass" },
	{ "quoted id",          "\"mx example\"; spf=pass", "mx example|spf=pass" },
	{ "comments all over",  "(a) mx.x (b) 1 (c) ; (d) spf (e) = (f) pass (g) smtp (h) . (i) mailfrom (j) = (k) a@b (l) ; dkim=fail", "mx.x|spf=pass smtp.mailfrom=a@b|dkim=fail" },
	{ "folded",             "mx.x;\r\n\tspf=pass\r\n\tsmtp.mailfrom=a@b\r\n", "mx.x|spf=pass smtp.mailfrom=a@b" },
	{ "case",               "mx.x; SPF=Pass SMTP.MailFrom=A@B", "mx.x|spf=pass smtp.mailfrom=A@B" },
	{ "method version",     "mx.x; dkim/1=pass; spf / 2 = fail", "mx.x|dkim=pass|spf=fail" },
	{ "reason",             "mx.x; dkim=fail reason=\"bad; dmarc=pass\" header.d=a.b", "mx.x|dkim=fail reason=bad; dmarc=pass header.d=a.b" },
	{ "quoted pair",        "mx.x; dkim=fail reason=\"a\\\" ; dmarc=pass\"", "mx.x|dkim=fail reason=a\" ; dmarc=pass" },
	{ "result in comment",  "mx.x; dkim=fail (x; dmarc=pass header.from=y)", "mx.x|dkim=fail" },
	{ "escaped in comment", "mx.x; dkim=fail (x \\) ; dmarc=pass)", "mx.x|dkim=fail" },
	{ "quoted local part",  "mx.x; spf=pass smtp.mailfrom=\"a; dmarc=pass\"@b.c; dmarc=fail", "mx.x|spf=pass smtp.mailfrom=a; dmarc=pass@b.c|dmarc=fail" },
	{ "a quote inside",     "mx.x; spf=pass smtp.mailfrom=a\"; dmarc=pass \"b; dmarc=fail", "mx.x|spf=pass smtp.mailfrom=a; dmarc=pass b|dmarc=fail" },
	{ "base64 unquoted",    "mx.x; dkim=pass header.b=ab/c+d= header.d=a.b", "mx.x|dkim=pass header.b=ab/c+d= header.d=a.b" },
	{ "google",             "mx.google.com;\r\n       dkim=pass header.i=@a.b header.s=s header.b=\"AbC/dE1+\";\r\n       spf=pass (google.com: domain of x@a.b designates 192.0.2.1 as permitted sender) smtp.mailfrom=x@a.b;\r\n       dmarc=pass (p=NONE sp=NONE dis=NONE) header.from=a.b",
	  "mx.google.com|dkim=pass header.i=@a.b header.s=s header.b=AbC/dE1+|spf=pass smtp.mailfrom=x@a.b|dmarc=pass header.from=a.b" },
	{ "microsoft",          "mx.microsoft.com 1; spf=pass (sender ip is 192.0.2.1) smtp.rcpttodomain=c.d smtp.mailfrom=a.b; dmarc=pass (p=none sp=none pct=100) action=none header.from=a.b; dkim=pass (signature was verified) header.d=a.b; arc=none (0)",
	  "mx.microsoft.com|spf=pass smtp.rcpttodomain=c.d smtp.mailfrom=a.b|dmarc=pass action=none header.from=a.b|dkim=pass header.d=a.b|arc=none" },
	{ "final semicolon",    "mx.x; spf=pass;", "mx.x|spf=pass" },
	{ "two semicolons",     "mx.x;; spf=pass", "mx.x|spf=pass" },
	{ "empty value",        "mx.x; spf=pass smtp.mailfrom=", "mx.x|spf=pass smtp.mailfrom=" },
	{ "none is a method",   "mx.x; none=pass", "mx.x|none=pass" },
	{ "empty",              "", "!" },
	{ "blanks",             " \t\r\n ", "!" },
	{ "semicolon first",    "; spf=pass", "!" },
	{ "no id",              "spf=pass smtp.mailfrom=x; dkim=pass", "spf=pass!" },
	{ "id and a word",      "mx.x y; spf=pass", "mx.x!" },
	{ "none and more",      "mx.x; none; spf=pass", "mx.x!" },
	{ "none later",         "mx.x; spf=pass; none", "mx.x|spf=pass!" },
	{ "comment unended",    "mx.x; spf=pass (x; dmarc=pass", "mx.x!" },
	{ "comment unended, first", "(mx.x; spf=pass", "!" },
	{ "quote unended",      "mx.x; spf=pass reason=\"x; dmarc=pass", "mx.x!" },
	{ "id quote unended",   "\"mx.x; spf=pass", "mx.x; spf=pass!" },
	{ "no method",          "mx.x; =pass", "mx.x!" },
	{ "no result",          "mx.x; spf; dmarc=pass", "mx.x!" },
	{ "no word",            "mx.x; spf=; dmarc=pass", "mx.x!" },
	{ "quoted word",        "mx.x; dmarc=\"pass\"", "mx.x!" },
	{ "word with a dot",    "mx.x; dmarc=pass.not", "mx.x!" },
	{ "word, 8-bit",        "mx.x; dmarc=pass\303\274", "mx.x!" },
	{ "a bare word",        "mx.x; spf=pass bananas; dmarc=pass", "mx.x!" },
	{ "property, no name",  "mx.x; spf=pass smtp.=x", "mx.x!" },
	{ "property, no value", "mx.x; spf=pass smtp.mailfrom; dmarc=pass", "mx.x!" },
	{ "a good one, a bad one", "mx.x; dmarc=pass; spf", "mx.x|dmarc=pass!" },
	{ "method too long",    "mx.x; aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa=pass", "mx.x!" },
	{ "comments too deep",  "mx.x; spf=pass " DEEP8 DEEP8 "(x)" FLAT8 FLAT8, "mx.x!" },
};

static void read_all(const char *body, size_t len, struct buf *out)
{
	static struct authres_result one;
	struct authres_read r;

	if (authres_read_begin(&r, body, len)) {
		buf_adds(out, r.id);
		while (authres_read_next(&r, &one)) {
			buf_addf(out, "|%s=%s", one.method, one.word);
			for (size_t i = 0; i < one.count; i++)
				buf_addf(out, " %s=%s", one.property[i].name, one.property[i].value);
		}
	} else {
		buf_adds(out, r.id);
	}
	buf_adds(out, r.broken ? "!" : "");
}

static void bodies(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		AUTO(buf) struct buf got = BUF_INIT(8000);
		size_t len = strlen(rows[i].body);
		char *copy = malloc(len ? len : 1);     /* a byte too far is seen */

		assert_non_null(copy);
		memcpy(copy, rows[i].body, len);
		read_all(copy, len, &got);
		if (strcmp(buf_str(&got), rows[i].want) != 0)
			fail_msg("%s: got %s, wanted %s", rows[i].name, buf_str(&got), rows[i].want);
		free(copy);
	}
}

/* Values, properties and results past the bounds. */
static void bounds(void **state)
{
	AUTO(buf) struct buf text = BUF_INIT(1 << 20), got = BUF_INIT(1 << 20);
	static struct authres_result one;
	struct authres_read r;

	buf_adds(&text, "mx.x");
	for (int i = 0; i < AUTHRES_RESULTS_MAX; i++)
		buf_adds(&text, "; spf=pass");
	read_all(text.data, text.len, &got);
	assert_null(strchr(buf_str(&got), '!'));
	buf_adds(&text, "; spf=pass");
	buf_clear(&got);
	read_all(text.data, text.len, &got);
	assert_non_null(strchr(buf_str(&got), '!'));
	buf_clear(&text);
	buf_adds(&text, "mx.x; dkim=pass");
	for (int i = 0; i < 100; i++)
		buf_addf(&text, " header.x%d=y", i);
	assert_true(authres_read_begin(&r, text.data, text.len));
	assert_true(authres_read_next(&r, &one));
	assert_int_equal(one.count, AUTHRES_PROPERTIES_MAX);
	assert_false(authres_read_next(&r, &one));
	assert_false(r.broken);
	buf_clear(&text);
	buf_adds(&text, "mx.x; spf=pass smtp.mailfrom=");
	for (int i = 0; i < AUTHRES_VALUE_MAX; i++)
		buf_addc(&text, 'a');
	buf_clear(&got);
	read_all(text.data, text.len, &got);
	assert_string_equal(buf_str(&got), "mx.x!");
}

static const struct {
	const char *name, *body, *spf, *dkim, *dmarc, *from;
} claims[] = {
	{ "all three",          "mx.x; spf=fail smtp.mailfrom=a@b.c; dkim=pass header.d=b.c; dmarc=pass header.from=B.c", "fail", "pass", "pass", "b.c" },
	{ "nothing",            "mx.x; none", "none", "none", "none", "" },
	{ "a whole address",    "mx.x; dmarc=pass header.from=a@b.c", "none", "none", "pass", "b.c" },
	{ "an IDN",             "mx.x; dmarc=pass header.from=b\303\274cher.example", "none", "none", "pass", "xn--bcher-kva.example" },
	{ "no header.from",     "mx.x; dmarc=pass", "none", "none", "pass", "" },
	{ "header.from is none", "mx.x; dmarc=pass header.from=..", "none", "none", "pass", "" },
	{ "HELO before MAIL",   "mx.x; spf=pass smtp.helo=h.c; spf=softfail smtp.mailfrom=a@b.c; spf=pass smtp.mailfrom=x", "softfail", "none", "none", "" },
	{ "HELO alone",         "mx.x; spf=neutral smtp.helo=h.c; spf=pass smtp.helo=x", "neutral", "none", "none", "" },
	{ "any signature",      "mx.x; dkim=fail header.d=a; dkim=pass header.d=b; dkim=neutral", "none", "pass", "none", "" },
	{ "no good signature",  "mx.x; dkim=neutral; dkim=fail", "none", "neutral", "none", "" },
	{ "temperror",          "mx.x; spf=temperror; dkim=temperror; dmarc=temperror header.from=b.c", "none", "none", "none", "b.c" },
	{ "unknown words",      "mx.x; spf=great; dkim=yes; dmarc=bestguesspass header.from=b.c", "none", "none", "none", "b.c" },
	{ "dmarc twice, the same", "mx.x; dmarc=pass header.from=b.c; dmarc=pass header.from=b.c", "none", "none", "pass", "b.c" },
	{ "dmarc twice",        "mx.x; dmarc=fail header.from=b.c; dmarc=pass header.from=b.c", "none", "none", "none", "" },
	{ "dmarc of two authors", "mx.x; dmarc=pass header.from=x.c; dmarc=pass header.from=b.c", "none", "none", "none", "" },
	{ "two authors of one dmarc", "mx.x; dmarc=pass header.from=b.c header.from=x.c", "none", "none", "pass", "" },
	{ "the same author twice", "mx.x; dmarc=pass header.from=b.c policy.x=y header.from=b.c", "none", "none", "pass", "" },
	{ "broken behind it",   "mx.x; spf=pass; dmarc=pass header.from=b.c; x", "none", "none", "none", "" },
	{ "broken before it",   "mx.x y; dmarc=pass header.from=b.c", "none", "none", "none", "" },
	{ "in quotes",          "mx.x; spf=pass smtp.mailfrom=\"; dmarc=pass header.from=b.c ;\"@d.e; dmarc=fail header.from=b.c", "pass", "none", "fail", "b.c" },
	{ "empty",              "", "none", "none", "none", "" },
};

static void what_is_said(void **state)
{
	for (size_t i = 0; i < sizeof(claims) / sizeof(claims[0]); i++) {
		struct arc_claims c;

		assert_int_equal(arc_claims_read(claims[i].body, strlen(claims[i].body), &c), 0);
		if (strcmp(c.spf, claims[i].spf) || strcmp(c.dkim, claims[i].dkim) || strcmp(c.dmarc, claims[i].dmarc) || strcmp(c.from, claims[i].from))
			fail_msg("%s: spf=%s dkim=%s dmarc=%s from=%s", claims[i].name, c.spf, c.dkim, c.dmarc, c.from);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bodies),
		cmocka_unit_test(bounds),
		cmocka_unit_test(what_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
