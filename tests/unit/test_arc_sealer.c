/* Every set that is made is verified by our own verifier; the exact octets are those of the public suite (tests/conformance/run_arc_sign.c). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "base/clock.h"
#include "filters/arc_sealer.h"
#include "filters/arc_verify.h"
#include "filters/dkim_signer.h"
#include "filters/message.h"
#include "support/dns_table.h"
#include "support/scarce.h"

enum { TEXT_MAX = 4 << 20 };

#define BODY "\r\nhello \t there\r\n\r\n\r\n"
#define PLAIN "From: a@example.org\r\nTo: b@example.com\r\nSubject: one\r\nX-Other: x\r\n" BODY

static struct dns_table *dns;
static char *fields[] = { "From", "To", "Subject", "DKIM-Signature" };
static struct arc_seal_conf conf = { .domain = "example.com", .selector = "arc", .field = fields, .field_count = 4 };

static int setup(void **state)
{
	AUTO(buf) struct buf record = BUF_INIT(4096);

	conf.key = dkim_private_make(DKIM_KEY_RSA, 1024);
	assert_non_null(conf.key);
	assert_int_equal(dkim_private_record(conf.key, &record), 0);
	dns = dns_table_new();
	dns_table_add(dns, "arc._domainkey.example.com", "TXT", buf_str(&record));
	return loop_init();
}

static int teardown(void **state)
{
	dkim_private_free(conf.key);
	dns_table_free(dns);
	loop_release();
	return 0;
}

static struct message *message_of(const char *p, size_t len)
{
	static const struct message_limits lim = { .memory_bytes = 8 << 20, .header_bytes = 4 << 20, .header_fields = 3000 };
	struct message *m = message_new(&lim, NULL, NULL);

	assert_non_null(m);
	assert_int_equal(message_add(m, p, len), 0);
	assert_int_equal(message_end(m), 0);
	return m;
}

/* The set into out. */
static int seal(const char *p, size_t len, enum arc_cv found, struct buf *out, const char **why)
{
	AUTO(message) struct message *m = message_of(p, len);
	static const char results[] = "mx.example.com;\r\n\tspf=pass smtp.mailfrom=a@example.org";
	struct arc_seal_order order = { .conf = &conf, .header = p, .len = message_body_offset(m), .results = results, .results_len = sizeof(results) - 1,
					.found = found, .now_s = 1700000000 };
	int rc = dkim_signer_body(m, true, order.body_hash);

	return rc < 0 ? rc : arc_sealer_seal(&order, out, why);
}

/* The set above the message. */
static void seal_above(struct buf *text, enum arc_cv found)
{
	AUTO(buf) struct buf all = BUF_INIT(TEXT_MAX);
	const char *why = "";

	assert_int_equal(seal(text->data, text->len, found, &all, &why), 0);
	assert_int_equal(buf_add(&all, text->data, text->len), 0);
	buf_release(text);
	*text = all;
	all = (struct buf)BUF_INIT(1);
}

static struct arc_result verify(const char *p, size_t len)
{
	AUTO(message) struct message *m = message_of(p, len);
	AUTO(arc_verify) struct arc_verify *v = arc_verify_new(dns_table_dns(dns));
	size_t off = message_body_offset(m);
	struct arc_result r;

	assert_non_null(v);
	for (size_t i = 0; i < message_field_count(m); i++)
		assert_int_equal(arc_verify_field(v, message_field(m, i)->raw, message_field(m, i)->raw_len), 0);
	assert_int_equal(arc_verify_header_end(v), 0);
	assert_int_equal(arc_verify_body(v, p + off, len - off), 0);
	assert_int_equal(arc_verify_finish(v, &r), 0);
	return r;
}

static void assert_state(const struct buf *text, enum arc_state want, size_t count)
{
	struct arc_result r = verify(text->data, text->len);

	if (r.state != want || r.count != count)
		fail_msg("%s (%s), %zu sets, expected %s, %zu", arc_state_name(r.state), r.why, r.count, arc_state_name(want), count);
}

static void put(struct buf *text, const char *what)
{
	assert_int_equal(buf_adds(text, what), 0);
}

/* Up to as many as there can be, each over all that are below it. */
static void test_chain(void **state)
{
	AUTO(buf) struct buf text = BUF_INIT(TEXT_MAX), more = BUF_INIT(TEXT_MAX);
	const char *why = "";

	put(&text, PLAIN);
	for (size_t i = 1; i <= ARC_SETS_MAX; i++) {
		seal_above(&text, ARC_CV_PASS);
		if (i < 4 || i == ARC_SETS_MAX)
			assert_state(&text, ARC_PASS, i);
	}
	assert_int_equal(verify(text.data, text.len).oldest_pass, 0);
	assert_int_equal(seal(text.data, text.len, ARC_CV_PASS, &more, &why), 1);
	assert_non_null(strstr(why, "as many seals"));
}

/* A chain found broken is not covered by the new seal, and nothing is put above that. */
static void test_failed(void **state)
{
	AUTO(buf) struct buf text = BUF_INIT(TEXT_MAX), more = BUF_INIT(TEXT_MAX);
	const char *why = "", *above;

	put(&text, PLAIN);
	seal_above(&text, ARC_CV_NONE);
	seal_above(&text, ARC_CV_FAIL);
	assert_non_null(strstr(text.data, "cv=fail; d=example.com;\r\n i=2;"));
	assert_state(&text, ARC_FAIL, 2);
	above = strstr(text.data, "cv=fail");
	assert_true(above < strstr(text.data, "cv=none"));
	assert_int_equal(seal(text.data, text.len, ARC_CV_FAIL, &more, &why), 1);
	assert_non_null(strstr(why, "cv=fail"));
	assert_int_equal(more.len, 0);
}

static const struct {
	const char *name, *header;
	enum arc_cv found;
	int rc;
	const char *want;               /* in the set, or of the reason */
} rows[] = {
	{ "no chain", "From: a\r\n", ARC_CV_UNREAD, 0, "cv=none; d=example.com;\r\n i=1;" },
	{ "no chain, whatever was found", "From: a\r\n", ARC_CV_FAIL, 0, "cv=none;" },
	{ "h=", "From: a\r\nSubject: s\r\nsubject : t\r\nTo: b\r\n", ARC_CV_NONE, 0, "\r\n h=From:From:To:Subject:Subject;" },
	{ "no From", "To: b\r\n", ARC_CV_NONE, 0, "\r\n h=From:To;" },
	{ "two From", "From: a\r\nFrom: b\r\n", ARC_CV_NONE, 0, "\r\n h=From:From:From;" },
	{ "a seal alone", "From: a\r\nARC-Seal: i=1; a=rsa-sha256; cv=none; d=a.example; s=s; b=AAAA\r\n", ARC_CV_PASS, 0, "cv=fail; d=example.com;\r\n i=2;" },
	{ "the second set alone",
	  "From: a\r\nARC-Seal: i=2; a=rsa-sha256; cv=pass; d=a.example; s=s; b=AAAA\r\nARC-Authentication-Results: i=2; a.example; none\r\n"
	  "ARC-Message-Signature: i=2; a=rsa-sha256; c=relaxed/relaxed; d=a.example; s=s; h=from; bh=AAAA; b=AAAA\r\n", ARC_CV_PASS, 0, "cv=fail; d=example.com;\r\n i=3;" },
	{ "no number", "From: a\r\nARC-Seal: a=rsa-sha256; cv=none; d=a.example; s=s; b=AAAA\r\n", ARC_CV_PASS, 1, "number cannot be read" },
	{ "number 0", "From: a\r\nARC-Seal: i=0; a=rsa-sha256; cv=none; d=a.example; s=s; b=AAAA\r\n", ARC_CV_PASS, 1, "number cannot be read" },
	{ "number 51", "From: a\r\nARC-Seal: i=51; a=rsa-sha256; cv=pass; d=a.example; s=s; b=AAAA\r\n", ARC_CV_PASS, 1, "" },
	{ "a line that is none", "From: a\r\nno field\r\n", ARC_CV_NONE, -EPROTO, "" },
	{ "a field that begins with a blank", " From: a\r\n", ARC_CV_NONE, 0, "cv=none" },
	{ "no header", "", ARC_CV_NONE, -EPROTO, "" },
};

static void test_rows(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		static const char results[] = "mx.example.com; none";
		struct arc_seal_order order = { .conf = &conf, .header = rows[i].header, .len = strlen(rows[i].header), .results = results,
						.results_len = sizeof(results) - 1, .found = rows[i].found, .now_s = 1 };
		AUTO(buf) struct buf out = BUF_INIT(TEXT_MAX);
		const char *why = "";
		int rc = arc_sealer_seal(&order, &out, &why);

		if (rc != rows[i].rc || !strstr(rc == 0 ? buf_str(&out) : why, rows[i].want))
			fail_msg("%s: %d %s %s", rows[i].name, rc, why, buf_str(&out));
		if (rc == 0)
			assert_true(strncmp(out.data, "ARC-Seal: a=rsa-sha256;\r\n b=", 28) == 0 && strstr(out.data, "\r\nARC-Authentication-Results: i="));
	}
}

/* What is not known of a chain is not said. */
static void test_unknown(void **state)
{
	AUTO(buf) struct buf text = BUF_INIT(TEXT_MAX), out = BUF_INIT(TEXT_MAX);
	const char *why = "";

	put(&text, PLAIN);
	seal_above(&text, ARC_CV_NONE);
	assert_int_equal(seal(text.data, text.len, ARC_CV_UNREAD, &out, &why), 1);
	assert_non_null(strstr(why, "not known"));
	assert_int_equal(seal(text.data, text.len, ARC_CV_NONE, &out, &why), 1);
	assert_int_equal(out.len, 0);
}

/* What stands on the wire is what is sealed: a CR or LF alone has become CRLF there. */
static void test_bare(void **state)
{
	static const char came[] = "From: a@example.org\r\nSubject: one\n two\rX-Third: x\r\n\r\nlone\nlf \rcr\r\n";
	static const char wire[] = "From: a@example.org\r\nSubject: one\r\n two\r\nX-Third: x\r\n\r\nlone\r\nlf \r\ncr\r\n";
	AUTO(buf) struct buf text = BUF_INIT(TEXT_MAX);
	const char *why = "";

	assert_int_equal(seal(came, sizeof(came) - 1, ARC_CV_NONE, &text, &why), 0);
	put(&text, wire);
	assert_state(&text, ARC_PASS, 1);
}

/* What can be done to a sealed message without breaking the seal, and what cannot. */
static void test_changed(void **state)
{
	static const struct {
		const char *name, *from, *to;
		enum arc_state want;
	} changes[] = {
		{ "nothing", "X-Other: x", "X-Other: x", ARC_PASS },
		{ "a field that is not signed", "X-Other: x", "X-Other: y", ARC_PASS },
		{ "blanks", "Subject: one", "Subject:   one ", ARC_PASS },
		{ "the subject", "Subject: one", "Subject: two", ARC_FAIL },
		{ "a From above", "ARC-Seal: a", "From: x@example.net\r\nARC-Seal: a", ARC_FAIL },
		{ "the body", "there", "where", ARC_FAIL },
		{ "the results", "spf=pass", "spf=fail", ARC_FAIL },
		{ "the seal's cv", "cv=none", "cv=pass", ARC_FAIL },
	};
	AUTO(buf) struct buf text = BUF_INIT(TEXT_MAX);

	put(&text, PLAIN);
	seal_above(&text, ARC_CV_NONE);
	for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++) {
		AUTO(buf) struct buf other = BUF_INIT(TEXT_MAX);
		const char *at = strstr(buf_str(&text), changes[i].from);
		struct arc_result r;

		assert_non_null(at);
		buf_add(&other, text.data, (size_t)(at - text.data));
		put(&other, changes[i].to);
		put(&other, at + strlen(changes[i].from));
		r = verify(other.data, other.len);
		if (r.state != changes[i].want)
			fail_msg("%s: %s (%s)", changes[i].name, arc_state_name(r.state), r.why);
	}
}

/* Thousands of fields of one name: the lower ones are signed, all lines are short, and the seal holds. */
static void test_many(void **state)
{
	AUTO(buf) struct buf text = BUF_INIT(TEXT_MAX);
	size_t count = 0;

	put(&text, "From: a@example.org\r\n");
	for (int i = 0; i < 2000; i++)
		buf_addf(&text, "DKIM-Signature: number %d\r\n", i);
	put(&text, BODY);
	seal_above(&text, ARC_CV_NONE);
	assert_state(&text, ARC_PASS, 1);
	for (const char *p = strstr(text.data, "\r\n h="); *p != ';'; p++)
		count += strncmp(p, "DKIM-Signature", 14) == 0;
	assert_int_equal(count, ARC_SEAL_SAME_MAX);
	for (const char *p = text.data, *q; p < text.data + text.len; p = q + 1) {
		q = strchr(p, '\n');
		assert_true(q - p < 200);
	}
}

static int holder_refuses(void *arg, uint32_t number, const unsigned char hash[DKIM_CRYPTO_HASH], unsigned char *signature)
{
	return -ETIMEDOUT;
}

static void test_no_key(void **state)
{
	AUTO(buf) struct buf out = BUF_INIT(TEXT_MAX), der = BUF_INIT(4096);
	struct dkim_private *key = conf.key;
	const char *why = "";

	conf.key = NULL;
	assert_int_equal(seal(PLAIN, strlen(PLAIN), ARC_CV_NONE, &out, &why), -ENOKEY);
	assert_string_equal(why, "there is no key");
	assert_int_equal(dkim_private_public(key, &der), 0);
	conf.key = dkim_private_remote((const unsigned char *)der.data, der.len, 0);
	assert_non_null(conf.key);
	assert_int_equal(seal(PLAIN, strlen(PLAIN), ARC_CV_NONE, &out, &why), -ENOKEY);
	dkim_private_holder(holder_refuses, NULL);
	assert_int_equal(seal(PLAIN, strlen(PLAIN), ARC_CV_NONE, &out, &why), -ETIMEDOUT);
	assert_string_equal(why, "the private key did not sign");
	dkim_private_holder(NULL, NULL);
	assert_int_equal(out.len, 0);
	dkim_private_free(conf.key);
	conf.key = key;
}

static void test_memory(void **state)
{
	AUTO(buf) struct buf text = BUF_INIT(TEXT_MAX), first = BUF_INIT(TEXT_MAX);
	struct arc_seal_order order = { .conf = &conf, .results = "a; none", .results_len = 7, .found = ARC_CV_PASS, .now_s = 1 };
	const char *why;

	put(&text, PLAIN);
	seal_above(&text, ARC_CV_NONE);
	order.header = text.data;
	order.len = (size_t)(strstr(text.data, "\r\n\r\n") + 4 - text.data);
	assert_int_equal(arc_sealer_seal(&order, &first, &why), 0);
	for (int n = 1; scarce_begin(n); n++) {
		AUTO(buf) struct buf out = BUF_INIT(TEXT_MAX);
		int rc = arc_sealer_seal(&order, &out, &why);

		if (!scarce_end()) {
			assert_int_equal(rc, 0);
			assert_string_equal(buf_str(&out), buf_str(&first));
			assert_true(n > 8);
			return;
		}
		assert_true(rc == -ENOMEM || rc == -ENOSPC);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chain),   cmocka_unit_test(test_failed), cmocka_unit_test(test_rows),   cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_bare),    cmocka_unit_test(test_changed), cmocka_unit_test(test_many),   cmocka_unit_test(test_no_key),
		cmocka_unit_test(test_memory),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
