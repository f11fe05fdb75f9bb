#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "policy/conf.h"
#include "smtp/outgoing.h"
#include "smtp/trace.h"

static const struct message_limits limits = { .memory_bytes = 100000, .header_bytes = 100000, .header_fields = 1000 };
static struct site site = { .hostname = (char *)"gate.example", .authserv_id = (char *)"gate.example" };
static struct client client = { .ip = "192.0.2.7", .helo = (char *)"mail.sender.example", .esmtp = true };

static int setup(void **state)
{
	fact_register_all();
	net_parse("192.0.2.7", &client.addr);
	return 0;
}

static struct message *make(const char *text)
{
	struct message *m = message_new(&limits, NULL, NULL);

	assert_int_equal(message_add(m, text, strlen(text)), 0);
	assert_int_equal(message_end(m), 0);
	return m;
}

/* What is below the lines that the gateway adds. */
static const char *below_ours(const struct buf *out)
{
	const char *p = strstr(buf_str(out), "\tby gate.example (Gatepost)");

	assert_non_null(p);
	p = strstr(p, " +0000\r\n");
	assert_non_null(p);
	return p + 8;
}

static void test_header(void **state)
{
	static const struct rule prefix = { .action = ACTION_TAG, .argument = (char *)"[EXTERNAL] " };
	static const struct rule field = { .action = ACTION_ADD_HEADER, .argument = (char *)"X-Spam: yes" };
	static const struct rule remove = { .action = ACTION_REMOVE_HEADER, .argument = (char *)"X-Spam" };
	static const struct rule copy = { .action = ACTION_COPY, .argument = (char *)"a@example.com" };
	static const struct rule subject = { .action = ACTION_REMOVE_HEADER, .argument = (char *)"subject" };
	static const struct rule *const both[] = { &prefix, &field, &remove, &copy, &subject };
	static const struct {
		const char *name, *in;
		size_t tags;
		const char *out;
	} rows[] = {
		{ "as it came", "A: 1\r\n  x\r\nB:2\r\n\r\nbody", 0, "A: 1\r\n  x\r\nB:2\r\n\r\n" },
		{ "forged", "Authentication-Results: (a) gate.example; spf=pass\r\nA: 1\r\n\r\n", 0, "A: 1\r\n\r\n" },
		{ "forged, last", "A: 1\r\nauthentication-RESULTS: GATE.example;\r\n\tspf=pass\r\n\r\n", 0, "A: 1\r\n\r\n" },
		{ "of others", "Authentication-Results: x.example; spf=pass\r\n\r\n", 0, "Authentication-Results: x.example; spf=pass\r\n\r\n" },
		{ "prefix", "Subject: hi\r\nSubject: two\r\n\r\n", 1, "Subject: [EXTERNAL] hi\r\nSubject: two\r\n\r\n" },
		{ "prefix, folded", "subject:\r\n hi\r\n\r\n", 1, "subject: [EXTERNAL] \r\n hi\r\n\r\n" },
		{ "prefix, no subject", "A: 1\r\n\r\n", 1, "A: 1\r\nSubject: [EXTERNAL] \r\n\r\n" },
		{ "prefix, no end of line", "A: 1", 1, "A: 1\r\nSubject: [EXTERNAL] \r\n" },
		{ "field", "Subject: hi\r\n\r\n", 2, "X-Spam: yes\r\nSubject: [EXTERNAL] hi\r\n\r\n" },
		{ "removed, all of the name, whatever its case", "x-spam: 1\r\nA: 1\r\nX-SPAM:\r\n 2\r\nX-Spam : 3\r\nX-Spammy: 4\r\nX-Spa: 5\r\n\r\nX-Spam: body",
		  3, "X-Spam: yes\r\nA: 1\r\nX-Spammy: 4\r\nX-Spa: 5\r\nSubject: [EXTERNAL] \r\n\r\n" },
		{ "a copy changes no header", "Subject: hi\r\n\r\n", 4, "X-Spam: yes\r\nSubject: [EXTERNAL] hi\r\n\r\n" },
		{ "removed and tagged", "A: 1\r\nSubject: hi\r\nB: 1\r\n\r\n", 5, "X-Spam: yes\r\nA: 1\r\nB: 1\r\nSubject: [EXTERNAL] \r\n\r\n" },
		{ "all removed", "X-Spam: 1\r\n\r\nbody", 3, "X-Spam: yes\r\nSubject: [EXTERNAL] \r\n\r\n" },
		{ "all header", "A: 1\r\n", 0, "A: 1\r\n" },
		{ "no header", "\r\nbody", 0, "\r\n" },
		{ "body at once", "hello world\r\n", 0, "\r\n" },
		{ "bare LF", "A: 1\n\nbody\n", 0, "A: 1\n\n" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(message) struct message *m = make(rows[i].in);
		AUTO(buf) struct buf out = BUF_INIT(outgoing_bound(m));
		struct txn t = { .site = &site, .client = &client, .message = m, .id = "1-1" };

		if (outgoing_header(&t, false, both, rows[i].tags, &out) < 0 || strcmp(below_ours(&out), rows[i].out) != 0)
			fail_msg("%s:\n%s", rows[i].name, buf_str(&out));
	}
}

/* Lines of the inside can go; our own of an earlier pass stays, or a loop would not be seen. */
static void test_remove_received(void **state)
{
	static const struct rule remove = { .action = ACTION_REMOVE_HEADER, .argument = (char *)"received" };
	static const struct rule *const effects[] = { &remove };
	static const char ours[] = "Received: from a (b [192.0.2.1])\r\n\tby gate.example (Gatepost) with ESMTP id 1; x +0100\r\n";
	AUTO(buf) struct buf in = BUF_INIT(4096), want = BUF_INIT(4096);
	AUTO(message) struct message *m = NULL;
	AUTO(buf) struct buf out = BUF_INIT(100000);
	struct txn t = { .site = &site, .client = &client, .id = "1-1" };

	buf_addf(&in, "RECEIVED: from pc.inside.example by mail.inside.example\r\n\twith x; y\r\nA: 1\r\n%sReceived: z\r\nX-Received: 1\r\n\r\n", ours);
	buf_addf(&want, "A: 1\r\n%sX-Received: 1\r\n\r\n", ours);
	m = make(buf_str(&in));
	t.message = m;
	assert_int_equal(outgoing_header(&t, false, effects, 1, &out), 0);
	assert_string_equal(below_ours(&out), buf_str(&want));
	assert_int_equal(trace_check(m, "gate.example", 100, 1), TRACE_OK);
}

static void test_received(void **state)
{
	char address[] = "bob@example.com", odd[] = "a (b)\r\nX: y";
	struct recipient rcpt = { .address = address };
	struct txn t = { .site = &site, .client = &client, .id = "5f3c-2", .env = { .rcpt = &rcpt, .rcpt_count = 1 } };
	struct client strange = client;
	AUTO(buf) struct buf out = BUF_INIT(4096);
	AUTO(buf) struct buf tls = BUF_INIT(4096);

	trace_received(&t, false, &out);
	assert_non_null(strstr(buf_str(&out), "Received: from mail.sender.example (unknown [192.0.2.7])\r\n"
			       "\tby gate.example (Gatepost) with ESMTP id 5f3c-2\r\n\tfor <bob@example.com>;\r\n\t"));
	strange.helo = odd;
	strange.tls_version = "TLSv1.3";
	strange.tls_cipher = "X";
	t.client = &strange;
	trace_received(&t, true, &tls);
	assert_non_null(strstr(buf_str(&tls), "Received: from a??b???X:?y (unknown [192.0.2.7])\r\n\t(using TLSv1.3 with cipher X)\r\n"));
	assert_non_null(strstr(buf_str(&tls), " with UTF8SMTPS id "));
	strange.auth_user = odd;
	buf_clear(&tls);
	trace_received(&t, false, &tls);
	assert_non_null(strstr(buf_str(&tls), " with ESMTPSA id "));
}

/* RFC 3848, RFC 6531 4.3 */
static void test_protocols(void **state)
{
	static const struct { bool esmtp, tls, auth, utf8; const char *want; } rows[] = {
		{ false, false, false, false, " with SMTP id " }, { true, false, false, false, " with ESMTP id " },
		{ true, true, false, false, " with ESMTPS id " }, { true, false, true, false, " with ESMTPA id " },
		{ true, true, true, false, " with ESMTPSA id " }, { true, false, false, true, " with UTF8SMTP id " },
		{ true, true, false, true, " with UTF8SMTPS id " }, { true, false, true, true, " with UTF8SMTPA id " },
		{ true, true, true, true, " with UTF8SMTPSA id " },
	};
	char user[] = "bob", address[] = "bob@example.com";
	struct recipient rcpt[2] = { { .address = address }, { .address = address } };

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct client c = client;
		struct txn t = { .site = &site, .client = &c, .id = "1-1", .env = { .rcpt = rcpt, .rcpt_count = 1 + i % 2 } };
		AUTO(buf) struct buf out = BUF_INIT(4096);

		c.esmtp = rows[i].esmtp;
		c.tls_version = rows[i].tls ? "TLSv1.3" : NULL;
		c.tls_cipher = "X";
		c.auth_user = rows[i].auth ? user : NULL;
		trace_received(&t, rows[i].utf8, &out);
		if (!strstr(buf_str(&out), rows[i].want))
			fail_msg("%s: %s", rows[i].want, buf_str(&out));
		/* Nobody learns who else got it. */
		assert_int_equal(strstr(buf_str(&out), " for <") || strstr(buf_str(&out), "\tfor <"), i % 2 == 0);
	}
}

/* The name only where DNS confirms it both ways. */
static void test_name(void **state)
{
	struct client c = client;
	struct txn t = { .site = &site, .client = &c, .id = "1-1" };
	AUTO(buf) struct buf out = BUF_INIT(4096);

	facts_add(&c.evidence.facts, "client.rdns", "liar.example");
	facts_set(&c.evidence.facts, "client.fcrdns", "fail");
	trace_received(&t, false, &out);
	assert_non_null(strstr(buf_str(&out), "(unknown [192.0.2.7])"));
	facts_release(&c.evidence.facts);
	c = client;
	facts_add(&c.evidence.facts, "client.rdns", "mail.sender.example");
	facts_set(&c.evidence.facts, "client.fcrdns", "pass");
	buf_clear(&out);
	trace_received(&t, false, &out);
	assert_non_null(strstr(buf_str(&out), "(mail.sender.example [192.0.2.7])"));
	facts_release(&c.evidence.facts);
}

/* The field that the site has named: ours is added, those that came are not passed on. */
static void test_client_header(void **state)
{
	static const char in[] = "x-client-address: 10.0.0.1\r\nA: 1\r\nX-Client-Address:\r\n 10.0.0.2\r\nX-Client-Address-2: 3\r\n\r\n";
	AUTO(message) struct message *m = make(in);
	struct client c = client;
	struct txn t = { .site = &site, .client = &c, .id = "1-1", .message = m };
	AUTO(buf) struct buf out = BUF_INIT(100000);

	assert_int_equal(outgoing_header(&t, false, NULL, 0, &out), 0);
	assert_string_equal(below_ours(&out), in);
	site.client_header = (char *)"X-Client-Address";
	buf_clear(&out);
	assert_int_equal(outgoing_header(&t, false, NULL, 0, &out), 0);
	assert_string_equal(below_ours(&out), "X-Client-Address: 192.0.2.7\r\nA: 1\r\nX-Client-Address-2: 3\r\n\r\n");
	/* What goes out into the world tells nobody of our own clients. */
	c.relay = true;
	buf_clear(&out);
	assert_int_equal(outgoing_header(&t, false, NULL, 0, &out), 0);
	assert_string_equal(below_ours(&out), "A: 1\r\nX-Client-Address-2: 3\r\n\r\n");
	site.client_header = NULL;
}

static void test_loops(void **state)
{
#define OURS "Received: from a (b [192.0.2.1])\r\n\tby gate.example (Gatepost) with ESMTP\r\n"
#define FOLDED "RECEIVED: from a by\r\n\tGATE.example\r\n (Gatepost) with X\r\n"
#define OTHER "Received: from a by notgate.example (Gatepost)\r\n"
	static const struct { const char *in; enum trace_loop want; } rows[] = {
		{ OURS "\r\n", TRACE_OK },
		{ OURS OURS "\r\n", TRACE_LOOP },
		{ OURS FOLDED "\r\n", TRACE_LOOP },
		{ OURS OTHER OTHER "\r\n", TRACE_OK },
		{ OTHER OTHER OTHER OTHER "\r\n", TRACE_TOO_MANY_HOPS },
		{ "X-Received: 1\r\n" OURS "X: by gate.example (Gatepost)\r\n\r\n", TRACE_OK },
		{ "Received: (Gatepost)\r\nReceived:(Gatepost)\r\n\r\n", TRACE_OK },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(message) struct message *m = make(rows[i].in);

		assert_int_equal(trace_check(m, "gate.example", 3, 1), rows[i].want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_header),
		cmocka_unit_test(test_remove_received), cmocka_unit_test(test_received),
		cmocka_unit_test(test_protocols),
		cmocka_unit_test(test_name),
		cmocka_unit_test(test_client_header),
		cmocka_unit_test(test_loops),
	};

	return cmocka_run_group_tests_name("outgoing", tests, setup, NULL);
}
