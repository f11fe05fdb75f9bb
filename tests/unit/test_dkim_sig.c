#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/evp.h>

#include "filters/dkim_body.h"
#include "filters/dkim_sig.h"

#define BH "bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
#define REST "h=from; " BH "; b=dGhlIHF1aWNrIGJyb3du"
#define BASE "v=1; a=rsa-sha256; d=example.com; s=sel; "
#define OK BASE REST
#define NOW 1700000000

static const struct {
	const char *name, *text;
	enum dkim_sig_state want;
} rows[] = {
	{ "least",                  OK, DKIM_SIG_GOOD },
	{ "leading blank, CRLF",    " " OK "\r\n", DKIM_SIG_GOOD },
	{ "final semicolon",        OK ";", DKIM_SIG_GOOD },
	{ "folded everywhere",      "\r\n\tv = 1 ;\r\n a\r\n =\r\n rsa-sha256; d=example.com; s=sel; h = from\r\n : to ; " BH "; b=dGhl\r\n IHF1 ;", DKIM_SIG_GOOD },
	{ "ed25519",                "v=1; a=ed25519-sha256; d=example.com; s=sel; " REST, DKIM_SIG_GOOD },
	{ "everything",             BASE "c=relaxed/simple; q=dns/txt; i=a@b.example.com; l=12; t=1600000000; x=1800000000; z=From:a; " REST, DKIM_SIG_GOOD },
	{ "c header only",          BASE "c=relaxed; " REST, DKIM_SIG_GOOD },
	{ "q list",                 BASE "q=x/y:dns/txt; " REST, DKIM_SIG_GOOD },
	{ "i without local part",   BASE "i=@example.com; " REST, DKIM_SIG_GOOD },
	{ "i encoded",              BASE "i=jo=20e@example=2Ecom; " REST, DKIM_SIG_GOOD },
	{ "unknown tag",            BASE "foo=bar; " REST, DKIM_SIG_GOOD },
	{ "just expired",           BASE "x=1699999800; " REST, DKIM_SIG_GOOD },
	{ "sha1",                   "v=1; a=rsa-sha1; d=example.com; s=sel; h=from; bh=2jmj7l5rSw0yVb/vlWAYkK/YBwk=; b=dGhl", DKIM_SIG_HISTORIC },
	{ "expired",                BASE "x=1699999699; " REST, DKIM_SIG_EXPIRED },
	{ "expired with t",         BASE "t=1; x=2; " REST, DKIM_SIG_EXPIRED },
	{ "expired in 1970",        BASE "x=0; " REST, DKIM_SIG_EXPIRED },
	{ "empty",                  "", DKIM_SIG_BAD },
	{ "only CRLF",              "\r\n", DKIM_SIG_BAD },
	{ "no v",                   "a=rsa-sha256; d=example.com; s=sel; " REST, DKIM_SIG_BAD },
	{ "v=2",                    "v=2; a=rsa-sha256; d=example.com; s=sel; " REST, DKIM_SIG_BAD },
	{ "v=1.0",                  "v=1.0; a=rsa-sha256; d=example.com; s=sel; " REST, DKIM_SIG_BAD },
	{ "v twice",                "v=1; " OK, DKIM_SIG_BAD },
	{ "no a",                   "v=1; d=example.com; s=sel; " REST, DKIM_SIG_BAD },
	{ "unknown a",              "v=1; a=rsa-md5; d=example.com; s=sel; " REST, DKIM_SIG_BAD },
	{ "no d",                   "v=1; a=rsa-sha256; s=sel; " REST, DKIM_SIG_BAD },
	{ "d empty",                "v=1; a=rsa-sha256; d=; s=sel; " REST, DKIM_SIG_BAD },
	{ "d with a final dot",     "v=1; a=rsa-sha256; d=example.com.; s=sel; " REST, DKIM_SIG_BAD },
	{ "d with two dots",        "v=1; a=rsa-sha256; d=example..com; s=sel; " REST, DKIM_SIG_BAD },
	{ "d with a blank",         "v=1; a=rsa-sha256; d=example .com; s=sel; " REST, DKIM_SIG_BAD },
	{ "d with @",               "v=1; a=rsa-sha256; d=a@example.com; s=sel; " REST, DKIM_SIG_BAD },
	{ "d with a slash",         "v=1; a=rsa-sha256; d=a/b; s=sel; " REST, DKIM_SIG_BAD },
	{ "d 8-bit",                "v=1; a=rsa-sha256; d=b\303\274cher.example; s=sel; " REST, DKIM_SIG_BAD },
	{ "no s",                   "v=1; a=rsa-sha256; d=example.com; " REST, DKIM_SIG_BAD },
	{ "s with a backslash",     "v=1; a=rsa-sha256; d=example.com; s=a\\b; " REST, DKIM_SIG_BAD },
	{ "no h",                   BASE BH "; b=dGhl", DKIM_SIG_BAD },
	{ "h without From",         BASE "h=to:subject; " BH "; b=dGhl", DKIM_SIG_BAD },
	{ "h with an empty name",   BASE "h=from::to; " BH "; b=dGhl", DKIM_SIG_BAD },
	{ "h with a blank in it",   BASE "h=from:x y; " BH "; b=dGhl", DKIM_SIG_BAD },
	{ "no b",                   BASE "h=from; " BH, DKIM_SIG_BAD },
	{ "b empty",                BASE "h=from; " BH "; b=", DKIM_SIG_BAD },
	{ "b not base64",           BASE "h=from; " BH "; b=d*", DKIM_SIG_BAD },
	{ "no bh",                  BASE "h=from; b=dGhl", DKIM_SIG_BAD },
	{ "bh too short",           BASE "h=from; bh=dGhl; b=dGhl", DKIM_SIG_BAD },
	{ "bh of sha1",             BASE "h=from; bh=2jmj7l5rSw0yVb/vlWAYkK/YBwk=; b=dGhl", DKIM_SIG_BAD },
	{ "bh too long",            BASE "h=from; bh=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA; b=dGhl", DKIM_SIG_BAD },
	{ "unknown c",              BASE "c=nofws; " REST, DKIM_SIG_BAD },
	{ "c with a blank",         BASE "c=relaxed / relaxed; " REST, DKIM_SIG_BAD },
	{ "c of three",             BASE "c=relaxed/relaxed/simple; " REST, DKIM_SIG_BAD },
	{ "c ends with a slash",    BASE "c=relaxed/; " REST, DKIM_SIG_BAD },
	{ "unknown q",              BASE "q=http; " REST, DKIM_SIG_BAD },
	{ "q empty",                BASE "q=; " REST, DKIM_SIG_BAD },
	{ "i of another domain",    BASE "i=a@example.org; " REST, DKIM_SIG_BAD },
	{ "i with a like suffix",   BASE "i=a@badexample.com; " REST, DKIM_SIG_BAD },
	{ "i above d",              BASE "i=a@com; " REST, DKIM_SIG_BAD },
	{ "i without @",            BASE "i=example.com; " REST, DKIM_SIG_BAD },
	{ "i empty",                BASE "i=; " REST, DKIM_SIG_BAD },
	{ "i badly encoded",        BASE "i=a=2@example.com; " REST, DKIM_SIG_BAD },
	{ "i with an encoded LF",   BASE "i=a=0A@example.com; " REST, DKIM_SIG_BAD },
	{ "l empty",                BASE "l=; " REST, DKIM_SIG_BAD },
	{ "l negative",             BASE "l=-1; " REST, DKIM_SIG_BAD },
	{ "l too long",             BASE "l=18446744073709551616; " REST, DKIM_SIG_BAD },
	{ "t no number",            BASE "t=now; " REST, DKIM_SIG_BAD },
	{ "x no number",            BASE "x=0x7f; " REST, DKIM_SIG_BAD },
	{ "x before t",             BASE "t=1800000000; x=1750000000; " REST, DKIM_SIG_BAD },
	{ "NUL",                    NULL, DKIM_SIG_BAD },
	{ "bare LF",                "v=1;\n a=rsa-sha256; d=example.com; s=sel; " REST, DKIM_SIG_BAD },
	{ "bare CR",                "v=1;\r a=rsa-sha256; d=example.com; s=sel; " REST, DKIM_SIG_BAD },
	{ "CRLF without a blank",   "v=1;\r\na=rsa-sha256; d=example.com; s=sel; " REST, DKIM_SIG_BAD },
};

static void fields(void **state)
{
	static const char with_nul[] = BASE "n=a\0b; " REST;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *text = rows[i].text ? rows[i].text : with_nul;
		size_t len = rows[i].text ? strlen(text) : sizeof(with_nul) - 1;
		char *copy = malloc(len ? len : 1);
		struct dkim_sig *sig = malloc(sizeof(*sig));
		enum dkim_sig_state got;
		const char *why;

		memcpy(copy, text, len);
		got = dkim_sig_parse(copy, len, NOW, sig, &why);
		if (got != rows[i].want)
			fail_msg("%s: state %d (%s)", rows[i].name, got, why ? why : "");
		assert_int_equal(got == DKIM_SIG_GOOD, why == NULL);
		for (size_t n = 0; n < len; n++)        /* every beginning is read without harm, none longer than it is */
			dkim_sig_parse(copy, n, NOW, sig, &why);
		free(copy);
		free(sig);
	}
}

static void what_is_read(void **state)
{
	static const char text[] = "v=1; a=rsa-sha256; c=simple/relaxed; d=Example.COM; s=Sel; i=jo=20e@mail.example.com; l=007; x=1800000000;"
				   " h=From:to:FROM : date; " BH "; b=d G\r\n hlIHF1aWNr";
	struct dkim_sig *s = malloc(sizeof(*s));
	const char *why;

	assert_int_equal(dkim_sig_parse(text, strlen(text), NOW, s, &why), DKIM_SIG_GOOD);
	assert_string_equal(s->domain, "example.com");
	assert_string_equal(s->selector, "sel");
	assert_string_equal(s->identity, "jo e@mail.example.com");
	assert_string_equal(s->start, "dGhlIHF1");
	assert_true(s->identity_below);
	assert_false(s->header_relaxed);
	assert_true(s->body_relaxed);
	assert_true(s->limited);
	assert_int_equal(s->limit, 7);
	assert_int_equal(s->from_count, 2);
	assert_int_equal(s->body_hash_len, 32);
	assert_string_equal(dkim_algorithm_name(s->algorithm), "rsa-sha256");
	free(s);
}

/* A bad signature still says whose it claims to be. */
static void names_of_a_bad_one(void **state)
{
	struct dkim_sig *s = malloc(sizeof(*s));
	const char *why;

	assert_int_equal(dkim_sig_parse("a=rsa-sha256; d=example.com; s=sel; b=dGhl", 42, NOW, s, &why), DKIM_SIG_BAD);
	assert_string_equal(why, "no v=");
	assert_string_equal(s->domain, "example.com");
	assert_string_equal(s->selector, "sel");
	assert_string_equal(s->identity, "@example.com");
	free(s);
}

/* Canonical bodies: what goes in, and the canonical text whose hash must come out. */
static const struct {
	const char *name, *in, *simple, *relaxed;
} bodies[] = {
	{ "empty",                "",                      "\r\n",              "" },
	{ "one CRLF",             "\r\n",                  "\r\n",              "" },
	{ "three CRLF",           "\r\n\r\n\r\n",          "\r\n",              "" },
	{ "blanks only",          " \t \r\n",              " \t \r\n",          "" },
	{ "text",                 "ab c\r\n",              "ab c\r\n",          "ab c\r\n" },
	{ "no final CRLF",        "ab",                    "ab\r\n",            "ab\r\n" },
	{ "blanks at the end",    "ab \t\r\n \r\n\r\n",    "ab \t\r\n \r\n",    "ab\r\n" },
	{ "blanks inside",        "a \t b\r\n\tc\r\n",     "a \t b\r\n\tc\r\n", "a b\r\n c\r\n" },
	{ "empty lines inside",   "a\r\n\r\n\r\nb\r\n\r\n", "a\r\n\r\n\r\nb\r\n", "a\r\n\r\n\r\nb\r\n" },
	{ "bare LF",              "a \nb\r\n",             "a \nb\r\n",         "a \nb\r\n" },
	{ "bare CR",              "a \rb\r\n",             "a \rb\r\n",         "a \rb\r\n" },
	{ "CR CR LF",             "a\r\r\n",               "a\r\r\n",           "a\r\r\n" },
	{ "final CR",             "a\r",                   "a\r\r\n",           "a\r\r\n" },
	{ "final LF",             "a\n",                   "a\n\r\n",           "a\n\r\n" },
	{ "blank without CRLF",   "a ",                    "a \r\n",            "a\r\n" },
	{ "lines of blanks",      "a\r\n \r\n\t\r\nb",     "a\r\n \r\n\t\r\nb\r\n", "a\r\n\r\n\r\nb\r\n" },
};

static void hash(bool relaxed, bool limited, uint64_t limit, const char *p, size_t len, size_t chunk, unsigned char out[32], uint64_t *canonical)
{
	AUTO(dkim_body) struct dkim_body *b = dkim_body_new(relaxed, limited, limit);

	assert_non_null(b);
	for (size_t at = 0; at < len; at += chunk)
		assert_int_equal(dkim_body_add(b, p + at, len - at < chunk ? len - at : chunk), 0);
	assert_int_equal(dkim_body_end(b, out, canonical), 0);
}

static void plain_hash(const char *text, unsigned char out[32])
{
	assert_int_equal(EVP_Digest(text, strlen(text), out, NULL, EVP_sha256(), NULL), 1);
}

static void canonical_bodies(void **state)
{
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		for (int relaxed = 0; relaxed < 2; relaxed++) {
			const char *canon = relaxed ? bodies[i].relaxed : bodies[i].simple;
			size_t len = strlen(bodies[i].in);
			unsigned char want[32], got[32];
			uint64_t canonical;

			plain_hash(canon, want);
			for (size_t chunk = 1; chunk <= len + 1; chunk++) {
				hash(relaxed, false, 0, bodies[i].in, len, chunk, got, &canonical);
				if (canonical != strlen(canon) || memcmp(want, got, 32))
					fail_msg("%s, %s, chunks of %zu: %d bytes", bodies[i].name, relaxed ? "relaxed" : "simple", chunk, (int)canonical);
			}
			for (size_t limit = 0; limit <= strlen(canon); limit++) {
				char head[64] = "";

				memcpy(head, canon, limit);
				hash(relaxed, true, limit, bodies[i].in, len, 3, got, &canonical);
				plain_hash(head, want);
				if (memcmp(want, got, 32))
					fail_msg("%s, limit %zu", bodies[i].name, limit);
				assert_int_equal(canonical, strlen(canon));
			}
		}
	}
}

/* What is read many bytes at a time gives what comes byte by byte. */
static void bodies_in_any_cut(void **state)
{
	static const char letters[] = "abcdefgh    \t\r\n";
	unsigned next = 1;

	for (int round = 0; round < 20000; round++) {
		unsigned char want[32], got[32];
		uint64_t canonical, again;
		char text[160];
		size_t len = 0;

		while (len < sizeof(text) - 1) {
			next = next * 1103515245 + 12345;
			text[len] = letters[(next >> 16) % (sizeof(letters) - 1)];
			if (text[len++] == '\r' && next >> 28)          /* as a rule lines end as they should */
				text[len++] = '\n';
			if ((next >> 20) % 150 == 0)
				break;
		}
		hash(round & 1, false, 0, text, len, 1, want, &canonical);
		hash(round & 1, false, 0, text, len, len, got, &again);
		assert_int_equal(canonical, again);
		assert_memory_equal(want, got, sizeof(want));
		hash(round & 1, false, 0, text, len, 1 + len / 3, got, &again);
		assert_memory_equal(want, got, sizeof(want));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields),
		cmocka_unit_test(what_is_read),
		cmocka_unit_test(names_of_a_bad_one),
		cmocka_unit_test(canonical_bodies),
		cmocka_unit_test(bodies_in_any_cut),
	};

	return cmocka_run_group_tests_name("dkim_sig", tests, NULL, NULL);
}
