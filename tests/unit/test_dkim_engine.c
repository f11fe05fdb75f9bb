/* What is asked of the native engine beyond the right hash: memory that runs out, and signatures that are none. That others have their turn: test_hash_turns.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "filters/dkim_canon.h"
#include "filters/dkim_engine.h"
#include "filters/dkim_header.h"
#include "support/scarce.h"

#define BH "bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; "
#define SIG(h) "DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=s; h=" h "; " BH "b=AAAA"

static const struct dkim_engine *const ops = &dkim_engine_native;
static struct dkim_sig simple, relaxed = { .header_relaxed = true };

/* The hash of the first field's signature over all. 0, or what the engine says. */
static int hash_of(const char *const *fields, const struct dkim_sig *sig, unsigned char out[DKIM_HASH_MAX])
{
	AUTO(dkim_header) struct dkim_header *h = dkim_header_new();
	const char *why = NULL;
	int rc = h ? 0 : -ENOMEM;

	for (size_t i = 0; fields[i] && rc == 0; i++)
		rc = dkim_header_add(h, fields[i], strlen(fields[i]));
	if (rc == 0)
		rc = dkim_header_ready(h);
	if (rc == 0)
		rc = ops->hash(h, 0, sig, out, &why);
	if (rc == -EPROTO)
		assert_non_null(why);
	return rc;
}

/* Which texts one hash is of: those that count, in order. */
static void want(const char *const *fields, const struct dkim_sig *sig, const char *text)
{
	unsigned char have[DKIM_HASH_MAX], wanted[DKIM_HASH_MAX];
	struct dkim_hash h;

	assert_int_equal(dkim_hash_begin(&h), 0);
	dkim_hash_add(&h, text, strlen(text));
	assert_int_equal(dkim_hash_end(&h, wanted), 0);
	assert_int_equal(hash_of(fields, sig, have), 0);
	assert_memory_equal(have, wanted, sizeof(have));
}

#define OWN(h) "DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=s; h=" h "; " BH "b="

static void test_what_is_covered(void **state)
{
	const char *const plain[] = { SIG("From:Subject"), "Subject: b", "From: a", NULL };
	const char *const below[] = { SIG("from"), "From: a", "From: b", NULL };
	const char *const over[] = { SIG("from:from:from:x"), "From: a", "From: b", NULL };
	const char *const none[] = { SIG("from"), "To: a", NULL };
	const char *const alone[] = { SIG("from:dkim-signature"), NULL };
	const char *const own[] = { SIG("from:dkim-signature"), "From: a", NULL };
	const char *const other[] = { SIG("dkim-signature:from"), "From: a", "DKIM-Signature: not read", NULL };
	const char *const loose[] = { SIG("From:Subject"), "SUBJECT \t: b\r\n  c ", "FROM:a", NULL };

	want(plain, &simple, "From: a\r\nSubject: b\r\n" OWN("From:Subject"));
	want(below, &simple, "From: b\r\n" OWN("from"));
	want(over, &simple, "From: b\r\nFrom: a\r\n" OWN("from:from:from:x"));
	want(none, &simple, OWN("from"));
	want(alone, &simple, OWN("from:dkim-signature"));
	want(own, &simple, "From: a\r\n" OWN("from:dkim-signature"));
	want(other, &simple, "DKIM-Signature: not read\r\nFrom: a\r\n" OWN("dkim-signature:from"));
	want(loose, &relaxed, "from:a\r\nsubject:b c\r\ndkim-signature:v=1; a=rsa-sha256; d=example.com; s=s; h=From:Subject; " BH "b=");
}

static void test_no_signature(void **state)
{
	static const char *const bad[] = { "DKIM-Signature", "DKIM-Signature:", "DKIM-Signature: h=from", "DKIM-Signature: b=AAAA", "DKIM-Signature: hello",
					   "DKIM-Signature: h=from; b=AAAA; b=BBBB" };
	unsigned char hash[DKIM_HASH_MAX];

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		const char *const fields[] = { bad[i], "From: a", NULL };

		assert_int_equal(hash_of(fields, &simple, hash), -EPROTO);
	}
}

static void test_memory_runs_out(void **state)
{
	const char *fields[80] = { SIG("from:subject:x:to") };
	unsigned char hash[DKIM_HASH_MAX];
	int n;

	for (size_t i = 1; i < 79; i++)
		fields[i] = i % 2 ? "From: somebody whose name is long enough to make it grow <a@example.com>" : "Subject: s";
	for (n = 1; scarce_begin(n); n++) {
		int rc = hash_of(fields, &relaxed, hash);

		if (!scarce_end()) {
			assert_int_equal(rc, 0);
			break;
		}
		assert_int_equal(rc, -ENOMEM);
	}
	assert_true(n > 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_what_is_covered), cmocka_unit_test(test_no_signature), cmocka_unit_test(test_memory_runs_out) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
