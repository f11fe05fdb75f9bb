/* What is asked of the native engine beyond the right hash: bounds, turns for others, memory that runs out, and jobs that are none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "base/buf.h"
#include "base/task.h"
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
	struct dkim_job job = { .key = NULL };
	const char *why = NULL;
	void *e = ops->start();
	int rc = e ? 0 : -ENOMEM;

	for (size_t i = 0; fields[i] && rc == 0; i++)
		rc = ops->field(e, fields[i], strlen(fields[i]), i == 0 ? sig : NULL);
	if (rc == 0)
		rc = ops->header_end(e, 1);
	if (rc == 0)
		rc = ops->finish(e, &job, 1);
	if (rc == 0)
		rc = ops->hash(e, 0, out, &why);
	if (rc == -EPROTO)
		assert_non_null(why);
	ops->free(e);
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
	void *e;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		const char *const fields[] = { bad[i], "From: a", NULL };

		assert_int_equal(hash_of(fields, &simple, hash), -EPROTO);
	}
	for (size_t jobs = 0; jobs < 3; jobs += 2) {    /* one has been announced */
		e = ops->start();
		assert_int_equal(ops->field(e, SIG("from"), strlen(SIG("from")), &simple), 0);
		assert_int_equal(ops->header_end(e, jobs), -EPROTO);
		ops->free(e);
	}
	e = ops->start();
	for (size_t i = 0; i < DKIM_HEADER_FIELDS_MAX; i++)
		assert_int_equal(ops->field(e, "A: b", 4, NULL), 0);
	assert_int_equal(ops->field(e, "A: b", 4, NULL), -EMSGSIZE);
	ops->free(e);
	ops->free(NULL);
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
	assert_true(n > 6);
}

/* A header of megabytes, many signatures over all of it: others have their turn in between; and who is cancelled meanwhile comes to an end. */

static bool hashing;
static unsigned turns;

static void other(void *arg)
{
	while (!hashing)
		task_yield();
	while (hashing) {
		turns++;
		task_yield();
	}
	loop_stop();
}

static void hasher(void *arg)
{
	enum { SIGNATURES = 8, FIELD = 100000, FIELDS = 10 };
	AUTO(buf) struct buf own = BUF_INIT(4096);
	struct dkim_job job[SIGNATURES] = { { .key = NULL } };
	unsigned char first[DKIM_HASH_MAX], hash[DKIM_HASH_MAX];
	char *field = malloc(FIELD);
	const char *why;
	void *e = ops->start();

	memset(field, 'x', FIELD);
	memcpy(field, "X: ", 3);
	buf_adds(&own, "DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=s; h=from");
	for (size_t i = 0; i < FIELDS; i++)
		buf_adds(&own, ":x");
	buf_adds(&own, "; " BH "b=AAAA");
	for (size_t i = 0; i < SIGNATURES; i++)
		assert_int_equal(ops->field(e, own.data, own.len, &relaxed), 0);
	for (size_t i = 0; i < FIELDS; i++)
		assert_int_equal(ops->field(e, field, FIELD, NULL), 0);
	free(field);                                    /* its bytes may go */
	assert_int_equal(ops->header_end(e, SIGNATURES), 0);
	assert_int_equal(ops->finish(e, job, SIGNATURES), 0);
	hashing = true;
	for (size_t i = 0; i < SIGNATURES; i++) {
		if (i == SIGNATURES / 2)
			task_cancel(task_self());
		assert_int_equal(ops->hash(e, i, i ? hash : first, &why), 0);
		if (i)
			assert_memory_equal(hash, first, sizeof(hash));
	}
	hashing = false;
	ops->free(e);
}

static void test_turns(void **state)
{
	assert_int_equal(task_spawn("other", other, NULL, NULL), 0);
	assert_int_equal(task_spawn("hasher", hasher, NULL, NULL), 0);
	loop_run();
	assert_true(turns >= 8);        /* 8 MB, a turn for each 256 KiB until it is cancelled */
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_what_is_covered), cmocka_unit_test(test_no_signature), cmocka_unit_test(test_memory_runs_out),
					    cmocka_unit_test(test_turns) };
	int failed;

	if (loop_init() < 0)
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	loop_release();
	return failed;
}
