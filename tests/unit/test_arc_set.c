#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "filters/arc_set.h"

#define BH "bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
#define NAMES "a=rsa-sha256; d=example.org; s=sel; b=dGhl"
#define AS(i, cv) "ARC-Seal: i=" i "; cv=" cv "; " NAMES "\r\n"
#define AMS(i) "ARC-Message-Signature: i=" i "; h=from:to; " BH "; " NAMES "\r\n"
#define AAR(i) "ARC-Authentication-Results: i=" i "; lists.example.org; dmarc=pass\r\n"
#define SET(i, cv) AS(i, cv) AMS(i) AAR(i)
#define ONE SET("1", "none")
#define TWO SET("2", "pass") ONE

static const struct {
	const char *name, *header;
	size_t count, fields;
	enum arc_cv cv;
	const char *why;        /* a part of it; "" nothing is wrong */
} rows[] = {
	{ "none",                   "From: a@b\r\nARC-Sealed: i=1\r\nX-ARC-Seal: i=1\r\nARC-Seal\r\n", 0, 0, ARC_CV_UNREAD, "" },
	{ "one",                    ONE, 1, 3, ARC_CV_NONE, "" },
	{ "two",                    TWO, 2, 6, ARC_CV_PASS, "" },
	{ "three in any order",     AMS("2") AS("1", "none") AAR("3") AMS("1") AAR("2") AS("3", "pass") AAR("1") AMS("3") AS("2", "pass"), 3, 9, ARC_CV_PASS, "" },
	{ "other fields between",   "To: x\r\n" AS("1", "none") "DKIM-Signature: x\r\n" AMS("1") AAR("1") "From: y\r\n", 1, 3, ARC_CV_NONE, "" },
	{ "names in other case",    "arc-seal : i=1;cv=NONE;" NAMES "\r\nArc-Message-SIGNATURE:i=1;h=from;" BH ";" NAMES "\r\n" AAR("1"), 1, 3, ARC_CV_NONE, "" },
	{ "folded",                 "ARC-Seal:\r\n i\r\n\t=\r\n 1 ; cv = none ;\r\n " NAMES ";\r\n" AMS("1") "ARC-Authentication-Results:\r\n i\r\n = 1\r\n ;\r\n x\r\n", 1, 3, ARC_CV_NONE, "" },
	{ "comments in an AAR",     AS("1", "none") AMS("1") "ARC-Authentication-Results: (a (b\\)) c) i (x) = (y) 1 (z) ; me; none\r\n", 1, 3, ARC_CV_NONE, "" },
	{ "a leading nought",       SET("01", "none"), 1, 3, ARC_CV_NONE, "" },
	{ "unknown tags",           "ARC-Seal: i=1; cv=none; foo=bar; bh=x; " NAMES "\r\n" AMS("1") AAR("1"), 1, 3, ARC_CV_NONE, "" },
	{ "AMS with empty h=",      AS("1", "none") "ARC-Message-Signature: i=1; h=; " BH "; " NAMES "\r\n" AAR("1"), 1, 3, ARC_CV_NONE, "" },
	{ "AMS with an empty name", AS("1", "none") "ARC-Message-Signature: i=1; h=from::to; " BH "; " NAMES "\r\n" AAR("1"), 1, 3, ARC_CV_NONE, "" },
	{ "AMS with v=",            AS("1", "none") "ARC-Message-Signature: v=7; i=1; h=from; " BH "; " NAMES "\r\n" AAR("1"), 1, 3, ARC_CV_NONE, "" },
	{ "an old AMS of unknown a", SET("2", "pass") AS("1", "none") "ARC-Message-Signature: i=1; h=from; " BH "; a=x; d=e.f; s=s; b=dGhl\r\n" AAR("1"), 2, 6, ARC_CV_PASS, "" },
	{ "an old AMS without bh=", SET("2", "pass") AS("1", "none") "ARC-Message-Signature: i=1; h=from; " NAMES "\r\n" AAR("1"), 2, 6, ARC_CV_PASS, "" },
	{ "cv=fail, one",           SET("1", "fail"), 1, 3, ARC_CV_FAIL, "cv=fail" },
	{ "cv=fail, newest",        SET("2", "fail") ONE, 2, 6, ARC_CV_FAIL, "ARC-Seal i=2: cv=fail" },
	{ "cv=fail after a gap",    SET("3", "fail") ONE, 3, 6, ARC_CV_FAIL, "ARC-Seal i=3: cv=fail" },
	{ "cv=fail beside rubbish", SET("2", "fail") "ARC-Seal: x\r\n" ONE, 2, 7, ARC_CV_FAIL, "ARC-Seal i=2: cv=fail" },
	{ "cv=fail before",         SET("3", "pass") SET("2", "fail") ONE, 3, 9, ARC_CV_PASS, "ARC-Seal i=2: cv=fail" },
	{ "cv=fail, the first",     SET("2", "pass") SET("1", "fail"), 2, 6, ARC_CV_PASS, "ARC-Seal i=1: cv=fail" },
	{ "first passes",           SET("1", "pass"), 1, 3, ARC_CV_PASS, "first set is not none" },
	{ "second none",            SET("2", "none") ONE, 2, 6, ARC_CV_NONE, "ARC-Seal i=2: cv= is not pass" },
	{ "no cv=",                 "ARC-Seal: i=1; " NAMES "\r\n" AMS("1") AAR("1"), 1, 3, ARC_CV_UNREAD, "ARC-Seal i=1: no cv=" },
	{ "cv= empty",              SET("1", ""), 1, 3, ARC_CV_UNREAD, "cv= is none of" },
	{ "cv= a list",             SET("1", "none:pass"), 1, 3, ARC_CV_UNREAD, "cv= is none of" },
	{ "cv= twice",              SET("1", "none; cv=none"), 1, 3, ARC_CV_UNREAD, "ARC-Seal: a tag that is given twice" },
	{ "AS missing",             AMS("1") AAR("1"), 1, 2, ARC_CV_UNREAD, "ARC-Seal i=1: it is missing" },
	{ "AMS missing",            AS("1", "none") AAR("1"), 1, 2, ARC_CV_NONE, "ARC-Message-Signature i=1: it is missing" },
	{ "AAR missing",            AS("1", "none") AMS("1"), 1, 2, ARC_CV_NONE, "ARC-Authentication-Results i=1: it is missing" },
	{ "a set missing",          SET("3", "pass") ONE, 3, 6, ARC_CV_PASS, "ARC-Seal i=2: it is missing" },
	{ "the first missing",      SET("2", "pass"), 2, 3, ARC_CV_PASS, "ARC-Seal i=1: it is missing" },
	{ "only number 50",         AAR("50"), 50, 1, ARC_CV_UNREAD, "ARC-Seal i=50: it is missing" },
	{ "two AS",                 AS("1", "none") ONE, 1, 4, ARC_CV_NONE, "ARC-Seal i=1: there are two" },
	{ "two AMS",                AMS("1") ONE, 1, 4, ARC_CV_NONE, "ARC-Message-Signature i=1: there are two" },
	{ "two AAR",                AAR("1") ONE, 1, 4, ARC_CV_NONE, "ARC-Authentication-Results i=1: there are two" },
	{ "two, one as 01",         AAR("01") ONE, 1, 4, ARC_CV_NONE, "there are two" },
	{ "two of the old set",     TWO AMS("1"), 2, 7, ARC_CV_PASS, "ARC-Message-Signature i=1: there are two" },
	{ "one more without i=",    ONE "ARC-Seal: cv=none; " NAMES "\r\n", 1, 4, ARC_CV_NONE, "ARC-Seal: no i=" },
	{ "i= empty",               SET("", "none"), 0, 3, ARC_CV_UNREAD, "i= is not a number" },
	{ "i=0",                    SET("0", "none"), 0, 3, ARC_CV_UNREAD, "i= is not a number" },
	{ "i=51",                   SET("51", "none"), 0, 3, ARC_CV_UNREAD, "i= is not a number" },
	{ "i=-1",                   SET("-1", "none"), 0, 3, ARC_CV_UNREAD, "i= is not a number" },
	{ "i=001",                  SET("001", "none"), 0, 3, ARC_CV_UNREAD, "i= is not a number" },
	{ "i=1x",                   SET("1x", "none"), 0, 3, ARC_CV_UNREAD, "i= is not a number" },
	{ "i= huge",                SET("99999999999999999999", "none"), 0, 3, ARC_CV_UNREAD, "i= is not a number" },
	{ "i= broken by a fold",    "ARC-Seal: i=\r\n1; cv=none; " NAMES "\r\n" AMS("1") AAR("1"), 1, 3, ARC_CV_UNREAD, "a line end that folds nothing" },
	{ "AS empty",               "ARC-Seal:\r\n" AMS("1") AAR("1"), 1, 3, ARC_CV_UNREAD, "ARC-Seal: a tag without a name" },
	{ "AS with h=",             "ARC-Seal: i=1; cv=none; h=from; " NAMES "\r\n" AMS("1") AAR("1"), 1, 3, ARC_CV_NONE, "ARC-Seal i=1: h= is not allowed" },
	{ "AS without a=",          "ARC-Seal: i=1; cv=none; d=e.f; s=s; b=dGhl\r\n" AMS("1") AAR("1"), 1, 3, ARC_CV_NONE, "no a=" },
	{ "AS with d=...",          "ARC-Seal: i=1; cv=none; a=rsa-sha256; d=e...; s=s; b=dGhl\r\n" AMS("1") AAR("1"), 1, 3, ARC_CV_NONE, "d= is not a domain" },
	{ "AS without s=",          "ARC-Seal: i=1; cv=none; a=rsa-sha256; d=e.f; b=dGhl\r\n" AMS("1") AAR("1"), 1, 3, ARC_CV_NONE, "no s=" },
	{ "AS with b= empty",       "ARC-Seal: i=1; cv=none; a=rsa-sha256; d=e.f; s=s; b=\r\n" AMS("1") AAR("1"), 1, 3, ARC_CV_NONE, "b= is not base64" },
	{ "AS with t= empty",       "ARC-Seal: i=1; t=; cv=none; " NAMES "\r\n" AMS("1") AAR("1"), 1, 3, ARC_CV_NONE, "t= is not a time" },
	{ "an old AS without b=",   SET("2", "pass") "ARC-Seal: i=1; cv=none; a=rsa-sha256; d=e.f; s=s\r\n" AMS("1") AAR("1"), 2, 6, ARC_CV_PASS, "ARC-Seal i=1: no b=" },
	{ "newest AMS without h=",  AS("1", "none") "ARC-Message-Signature: i=1; " BH "; " NAMES "\r\n" AAR("1"), 1, 3, ARC_CV_NONE, "ARC-Message-Signature i=1: no h=" },
	{ "newest AMS with a seal", AS("1", "none") "ARC-Message-Signature: i=1; h=from:arc-seal; " BH "; " NAMES "\r\n" AAR("1"), 1, 3, ARC_CV_NONE, "h= names ARC-Seal" },
	{ "newest AMS, h= odd",     AS("1", "none") "ARC-Message-Signature: i=1; h=from:x y; " BH "; " NAMES "\r\n" AAR("1"), 1, 3, ARC_CV_NONE, "no field name" },
	{ "newest AMS, c= empty",   AS("1", "none") "ARC-Message-Signature: i=1; c=; h=from; " BH "; " NAMES "\r\n" AAR("1"), 1, 3, ARC_CV_NONE, "c= is an unknown" },
	{ "newest AMS, l=x",        AS("1", "none") "ARC-Message-Signature: i=1; l=x; h=from; " BH "; " NAMES "\r\n" AAR("1"), 1, 3, ARC_CV_NONE, "l= is not a length" },
	{ "an old AMS without i=",  SET("2", "pass") AS("1", "none") "ARC-Message-Signature: h=from; " BH "; " NAMES "\r\n" AAR("1"), 2, 6, ARC_CV_PASS, "ARC-Message-Signature: no i=" },
	{ "an old AMS, tags twice", SET("2", "pass") AS("1", "none") "ARC-Message-Signature: i=1; i=1; h=from; " BH "; " NAMES "\r\n" AAR("1"), 2, 6, ARC_CV_PASS, "given twice" },
	{ "AAR without i=",         AS("1", "none") AMS("1") "ARC-Authentication-Results: lists.example.org; none\r\n", 1, 3, ARC_CV_NONE, "does not begin with i=" },
	{ "AAR with i= later",      AS("1", "none") AMS("1") "ARC-Authentication-Results: lists.example.org; i=1; none\r\n", 1, 3, ARC_CV_NONE, "does not begin with i=" },
	{ "AAR without semicolon",  AS("1", "none") AMS("1") "ARC-Authentication-Results: i=1 lists.example.org; none\r\n", 1, 3, ARC_CV_NONE, "no semicolon" },
	{ "AAR with I=",            AS("1", "none") AMS("1") "ARC-Authentication-Results: I=1; x; none\r\n", 1, 3, ARC_CV_NONE, "does not begin with i=" },
	{ "AAR i= without digits",  AS("1", "none") AMS("1") "ARC-Authentication-Results: i=; x; none\r\n", 1, 3, ARC_CV_NONE, "i= is not a number" },
	{ "AAR comment unended",    AS("1", "none") AMS("1") "ARC-Authentication-Results: (i=1; x; none\r\n", 1, 3, ARC_CV_NONE, "does not begin with i=" },
	{ "AAR comments deep",      AS("1", "none") AMS("1") "ARC-Authentication-Results: ((((((((((((((((((x)))))))))))))))))) i=1; x\r\n", 1, 3, ARC_CV_NONE, "does not begin with i=" },
	{ "AAR empty",              AS("1", "none") AMS("1") "ARC-Authentication-Results:\r\n", 1, 3, ARC_CV_NONE, "does not begin with i=" },
};

/* Each field a heap block of its own: a byte too far is seen. */
static void sets_read(const char *header, struct arc_sets *s, char **blocks, size_t *count)
{
	memset(s, 0, sizeof(*s));
	*count = 0;
	while (*header) {
		const char *end = header;
		size_t n;

		do
			end = strstr(end, "\r\n") + 2;
		while (*end == ' ' || *end == '\t' || (*end >= '0' && *end <= '9'));
		n = (size_t)(end - header);
		blocks[*count] = malloc(n);
		assert_non_null(blocks[*count]);
		memcpy(blocks[*count], header, n);
		arc_sets_field(s, blocks[(*count)++], n);
		header = end;
	}
	arc_sets_end(s);
}

static void structure(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct arc_sets s;
		char *blocks[16];
		size_t n;

		sets_read(rows[i].header, &s, blocks, &n);
		if (s.count != rows[i].count || s.fields != rows[i].fields || s.cv != rows[i].cv || !*s.why != !*rows[i].why || !strstr(s.why, rows[i].why))
			fail_msg("%s: count %zu, fields %zu, cv %d, why \"%s\"", rows[i].name, s.count, s.fields, (int)s.cv, s.why);
		while (n > 0)
			free(blocks[--n]);
	}
}

/* Fifty sets are a chain, one more is none, and 20,000 fields are not read. */
static void many(void **state)
{
	static struct arc_sets s;
	static char raw[50][3][160];

	memset(&s, 0, sizeof(s));
	for (unsigned i = 1; i <= 50; i++) {
		snprintf(raw[i - 1][0], 160, "ARC-Seal: i=%u; cv=%s; " NAMES, i, i == 1 ? "none" : "pass");
		snprintf(raw[i - 1][1], 160, "ARC-Message-Signature: i=%u; h=from; " BH "; " NAMES, i);
		snprintf(raw[i - 1][2], 160, "ARC-Authentication-Results: i=%u; x; none", i);
		for (int k = 0; k < 3; k++)
			assert_true(arc_sets_field(&s, raw[i - 1][k], strlen(raw[i - 1][k])));
	}
	arc_sets_end(&s);
	assert_int_equal(s.count, 50);
	assert_string_equal(s.why, "");
	assert_int_equal(s.cv, ARC_CV_PASS);
	for (int i = 0; i < 20000; i++)
		assert_true(arc_sets_field(&s, "ARC-Seal: i=51", 14));
	arc_sets_end(&s);
	assert_non_null(strstr(s.why, "more fields than 50 sets have"));
	assert_int_equal(s.fields, 20150);
}

#define AMS_TEXT "i=7; c=simple/relaxed; h=From:from:To; l=12; d=EXAMPLE.org; s=Sel; a=ed25519-sha256; b=dGhl IHF1; " BH

static void one_signature(void **state)
{
	struct arc_sig sig;
	const char *rest;
	unsigned i;
	size_t n;

	assert_null(arc_ams_parse(AMS_TEXT, strlen(AMS_TEXT), &sig));
	assert_int_equal(sig.instance, 7);
	assert_false(sig.sig.header_relaxed);
	assert_true(sig.sig.body_relaxed);
	assert_true(sig.sig.limited);
	assert_int_equal(sig.sig.from_count, 2);
	assert_string_equal(sig.sig.domain, "example.org");
	assert_string_equal(sig.sig.selector, "sel");
	assert_string_equal(sig.sig.start, "dGhlIHF1");
	assert_int_equal(sig.sig.algorithm, DKIM_ALG_ED25519_SHA256);
	assert_null(arc_seal_parse(" i=50; cv=pass; " NAMES, strlen(" i=50; cv=pass; " NAMES), &sig));
	assert_int_equal(sig.instance, 50);
	assert_int_equal(sig.cv, ARC_CV_PASS);
	assert_true(sig.sig.header_relaxed);
	assert_null(arc_aar_parse(" i=3; x; y", 10, &i, &rest, &n));
	assert_int_equal(i, 3);
	assert_int_equal(n, 5);
	assert_memory_equal(rest, " x; y", 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(structure),
		cmocka_unit_test(many),
		cmocka_unit_test(one_signature),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
