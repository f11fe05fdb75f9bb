#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "filters/filter.h"
#include "filters/txn.h"
#include "policy/regdomain.h"
#include "spool/dsn.h"
#include "spool/dsn_params.h"
#include "spool/dsn_text.h"

static const struct message_limits limits = { .memory_bytes = 1 << 20, .header_bytes = 1 << 20, .header_fields = 20000 };
static const char original[] = "Subject: hi\r\nMessage-ID: <1@example.com>\r\nX-Long: 1\r\n\r\nthe body\r\n";

static struct message *make(const char *text, size_t len)
{
	struct message *m = message_new(&limits, NULL, NULL);

	assert_int_equal(message_add(m, text, len), 0);
	assert_int_equal(message_end(m), 0);
	return m;
}

static void test_params(void **state)
{
	static const struct {
		const char *in;
		unsigned notify;
		enum smtp_ret ret;
		const char *envid, *orcpt;
		bool utf8;
	} rows[] = {
		{ "", 0, RET_NONE, "", "", false },
		{ NULL, 0, RET_NONE, "", "", false },
		{ "BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=QQ+2B1", 0, RET_FULL, "QQ+1", "", true },
		{ "ret=hdrs", 0, RET_HDRS, "", "", false },
		{ "NOTIFY=NEVER ORCPT=rfc822;a+40b", NOTIFY_NEVER, RET_NONE, "", "rfc822;a+40b", false },
		{ "NOTIFY=success,Failure,DELAY", NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY, RET_NONE, "", "", false },
		{ "NOTIFY=NEVER,SUCCESS", 0, RET_NONE, "", "", false },
		{ "NOTIFY=", 0, RET_NONE, "", "", false },
		{ "NOTIFY=SUCCESS,", NOTIFY_SUCCESS, RET_NONE, "", "", false },
		{ "NOTIFY=,SUCCESS", 0, RET_NONE, "", "", false },
		{ "NOTIFY=SOMETIMES", 0, RET_NONE, "", "", false },
		{ "NOTIFY", 0, RET_NONE, "", "", false },
		{ "RET=BOTH RET", 0, RET_NONE, "", "", false },
		{ "ENVID=+0", 0, RET_NONE, "", "", false },
		{ "ENVID=+00", 0, RET_NONE, "", "", false },
		{ "ENVID=a=b", 0, RET_NONE, "", "", false },
		{ "SMTPUTF8=1 XSMTPUTF8 NOTIFYX=NEVER", 0, RET_NONE, "", "", false },
		{ "   RET=HDRS    ENVID=x   ", 0, RET_HDRS, "x", "", false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct dsn_params p;

		dsn_params_parse(rows[i].in, &p);
		if (p.notify != rows[i].notify || p.ret != rows[i].ret || strcmp(p.envid, rows[i].envid) != 0 ||
		    strcmp(p.orcpt, rows[i].orcpt) != 0 || p.utf8 != rows[i].utf8)
			fail_msg("%s: %u %d \"%s\" \"%s\"", rows[i].in, p.notify, p.ret, p.envid, p.orcpt);
	}
}

static void test_wants(void **state)
{
	static const struct { const char *params; bool failure, delay, success; } rows[] = {
		{ NULL, true, true, false },
		{ "", true, true, false },
		{ "NOTIFY=NEVER", false, false, false },
		{ "NOTIFY=FAILURE", true, false, false },
		{ "NOTIFY=DELAY", false, true, false },
		{ "NOTIFY=SUCCESS", false, false, true },
		{ "NOTIFY=SUCCESS,FAILURE", true, false, true },
		{ "NOTIFY=nonsense", true, true, false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		assert_int_equal(dsn_wants_failure(rows[i].params), rows[i].failure);
		assert_int_equal(dsn_wants_delay(rows[i].params), rows[i].delay);
		assert_int_equal(dsn_wants_success(rows[i].params), rows[i].success);
	}
}

static void test_status(void **state)
{
	static const struct { enum dsn_action action; const char *reply; bool expired; const char *want; } rows[] = {
		{ DSN_FAILED, "550 5.1.1 no such user", false, "5.1.1" },
		{ DSN_FAILED, "550 no such user", false, "5.0.0" },
		{ DSN_FAILED, "552 too large", false, "5.3.4" },
		{ DSN_FAILED, "550 4.1.1 of another class", false, NULL },
		{ DSN_FAILED, "no mail server answers", false, "5.0.0" },
		{ DSN_FAILED, "", false, "5.0.0" },
		{ DSN_FAILED, NULL, false, "5.0.0" },
		{ DSN_FAILED, "451 4.3.0 later", true, "4.4.7" },
		{ DSN_FAILED, "550 5.1.1", true, "4.4.7" },
		{ DSN_FAILED, "550", false, "5.0.0" },
		{ DSN_FAILED, "550 5.9999.99999999999999999 x", false, NULL },
		{ DSN_DELAYED, "451 4.3.2 later", false, "4.3.2" },
		{ DSN_DELAYED, "no mail server answers", false, "4.4.1" },
		{ DSN_RELAYED, "250 2.1.5 ok", false, "2.0.0" },
		{ DSN_RELAYED, NULL, false, "2.0.0" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		const struct dsn_rcpt r = { .action = rows[i].action, .reply = rows[i].reply, .expired = rows[i].expired };
		char out[DSN_STATUS_MAX];
		const char *got = dsn_status(&r, out);

		assert_int_equal(got[0], rows[i].want ? rows[i].want[0] : '5');
		if (rows[i].want && strcmp(got, rows[i].want) != 0 && strcmp(rows[i].want, "5.3.4") != 0)
			fail_msg("%s: %s", rows[i].reply, got);
	}
}

static void test_address(void **state)
{
	static const struct { const char *in; bool unicode; const char *want; } rows[] = {
		{ "bob@x.example", false, "rfc822; bob@x.example" },
		{ "\"a b\"@x.example", false, "rfc822; \"a b\"@x.example" },
		{ "a\r\nAction: x@x", false, "rfc822; a  Action: x@x" },
		{ "j\xc3\xb6rg@x.example", false, "utf-8; j\\x{F6}rg@x.example" },
		{ "j\xc3\xb6rg@x.example", true, "utf-8; j\xc3\xb6rg@x.example" },
		{ "\xe5\xb0\x8f+\\@x", false, "utf-8; \\x{5C0F}\\x{2B}\\x{5C}@x" },
		{ "\xf0\x9f\x98\x80@x", false, "utf-8; \\x{1F600}@x" },
		{ "\xff@x\xc3\xb6\r\n", false, "utf-8; ?@x\\x{F6}??" },
		{ "\xff@x\xc3\xb6\r\n", true, "utf-8; ?@x\xc3\xb6  " },
		{ "", false, "rfc822; " },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(buf) struct buf out = BUF_INIT(1000);

		dsn_text_address(rows[i].in, rows[i].unicode, &out);
		if (strcmp(buf_str(&out), rows[i].want) != 0)
			fail_msg("%s: %s", rows[i].in, buf_str(&out));
	}
}

static void test_orcpt(void **state)
{
	static const struct { const char *in, *want; } rows[] = {
		{ "rfc822;Bob+40x.example", "rfc822; Bob@x.example" },
		{ "X-Notes;CN+3DBob/O+3DX", "X-Notes; CN=Bob/O=X" },
		{ "utf-8;\\x{5C0F}@x", "utf-8;\\x{5C0F}@x" },
		{ "rfc822;a+0D+0AAction:+20x", "rfc822; a  Action: x" },
		{ "rfc822", NULL },
		{ ";a", NULL },
		{ "rfc822;", NULL },
		{ "rfc822;a+4", NULL },
		{ "rfc822;a=b", NULL },
		{ "rfc\r\n822;a", NULL },
		{ "", NULL },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(buf) struct buf out = BUF_INIT(1000);
		bool ok = dsn_text_orcpt(rows[i].in, &out);

		assert_int_equal(ok, rows[i].want != NULL);
		assert_string_equal(buf_str(&out), rows[i].want ? rows[i].want : "");
	}
}

static void test_qp(void **state)
{
	static const struct { const char *in, *want; } rows[] = {
		{ "abc\r\n", "abc\r\n" },
		{ "a=b", "a=3Db\r\n" },
		{ "blank \r\nx\t", "blank=20\r\nx=09\r\n" },
		{ "a\rb\nc", "a=0Db=0Ac\r\n" },
		{ "a\r\r\n", "a=0D\r\n" },
		{ "\r", "=0D\r\n" },
		{ "", "" },
		{ "\xe4", "=E4\r\n" },
		{ "0123456789012345678901234567890123456789012345678901234567890123456789012345678",
		  "012345678901234567890123456789012345678901234567890123456789012345678901234=\r\n5678\r\n" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		for (int bytewise = 0; bytewise < 2; bytewise++) {
			AUTO(buf) struct buf out = BUF_INIT(1000);
			struct dsn_qp qp = { .out = &out };
			size_t len = strlen(rows[i].in);

			for (size_t at = 0; bytewise && at < len; at++)
				dsn_qp_add(&qp, rows[i].in + at, 1);
			if (!bytewise)
				dsn_qp_add(&qp, rows[i].in, len);
			dsn_qp_end(&qp);
			assert_string_equal(buf_str(&out), rows[i].want);
		}
	}
}

/* Whether the text, without folds, holds each line. */
static void assert_has(const struct buf *out, const char *line)
{
	if (!strstr(buf_str(out), line))
		fail_msg("\"%s\" is not in\n%s", line, buf_str(out));
}

static void test_whole(void **state)
{
	const struct dsn_rcpt rcpt[] = {
		{ .address = "bob@x.example", .params = "NOTIFY=FAILURE ORCPT=rfc822;robert+40x.example", .reply = "550 5.1.1 no such user",
		  .remote = "mx.x.example[192.0.2.1]:25", .attempt_s = 1795000000 },
		{ .address = "silent@x.example", .params = "NOTIFY=NEVER", .reply = "550 5.1.1 no such user", .remote = "mx.x.example" },
	};
	AUTO(message) struct message *m = make(original, strlen(original));
	struct dsn d = {
		.hostname = "gate.example", .id = "20261122-abc", .sender = "ann@example.com", .params = "RET=FULL ENVID=QQ314159",
		.arrival_s = 1794990000, .now_s = 1795000000, .message = m, .rcpt = rcpt, .rcpt_count = 2,
	};
	AUTO(buf) struct buf out = BUF_INIT(DSN_MAX);
	const char *params;

	assert_int_equal(dsn_make(&d, &out, &params), 0);
	assert_string_equal(params, "");
	assert_has(&out, "To: <ann@example.com>\r\n");
	assert_has(&out, "From: Mail Delivery System <postmaster@gate.example>\r\n");
	assert_has(&out, "Auto-Submitted: auto-replied\r\n");
	assert_has(&out, "References: <1@example.com>\r\n");
	assert_has(&out, "Content-Type: multipart/report; report-type=delivery-status;\r\n");
	assert_has(&out, "\r\n\r\nReporting-MTA: dns; gate.example\r\nOriginal-Envelope-Id: QQ314159\r\nArrival-Date: Wed, 18 Nov 2026 08:20:00 +0000\r\n\r\n"
		   "Original-Recipient: rfc822; robert@x.example\r\nFinal-Recipient: rfc822; bob@x.example\r\nAction: failed\r\nStatus: 5.1.1\r\n"
		   "Remote-MTA: dns; mx.x.example\r\nDiagnostic-Code: smtp; 550 5.1.1 no such user\r\n"
		   "Last-Attempt-Date: Wed, 18 Nov 2026 11:06:40 +0000\r\n\r\n--");
	assert_has(&out, "\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSubject: hi\r\n");
	assert_has(&out, "the body\r\n");
	assert_has(&out, "Check the address, and send your message again.");
	assert_null(strstr(buf_str(&out), "silent@"));
}

/* RET, and what it is worth for which action. */
static void test_returned(void **state)
{
	static char large[DSN_FULL_MAX + 100], deep[DSN_HEADER_MAX + 5000];
	static const struct {
		const char *name, *params;
		enum dsn_action action;
		const char *message;
		size_t len;
		const char *type, *encoding, *dsn_params;
	} rows[] = {
		{ "no RET", "", DSN_FAILED, original, 0, "text/rfc822-headers; charset=utf-8", "7bit", "" },
		{ "HDRS", "RET=HDRS", DSN_FAILED, original, 0, "text/rfc822-headers; charset=utf-8", "7bit", "" },
		{ "FULL", "RET=FULL", DSN_FAILED, original, 0, "message/rfc822", "7bit", "" },
		{ "FULL is of failures", "RET=FULL", DSN_DELAYED, original, 0, "text/rfc822-headers; charset=utf-8", "7bit", "" },
		{ "FULL, relayed", "RET=FULL", DSN_RELAYED, original, 0, "text/rfc822-headers; charset=utf-8", "7bit", "" },
		{ "FULL, too large", "RET=FULL", DSN_FAILED, large, sizeof(large), "text/rfc822-headers; charset=utf-8", "7bit", "" },
		{ "header too large", "RET=HDRS", DSN_FAILED, deep, sizeof(deep), "text/rfc822-headers; charset=utf-8", "7bit", "" },
		{ "8-bit", "RET=FULL", DSN_FAILED, "A: 1\r\n\r\n\xe4\r\n", 0, "message/rfc822", "8bit", "BODY=8BITMIME" },
		{ "8-bit, header", "RET=HDRS", DSN_FAILED, "A: \xe4\r\n\r\n\xe4\r\n", 0, "text/rfc822-headers; charset=utf-8", "quoted-printable", "" },
		{ "bare LF", "RET=FULL", DSN_FAILED, "A: 1\r\n\r\na\nb\r\n", 0, "text/rfc822-headers; charset=utf-8", "7bit", "" },
		{ "NUL", "RET=FULL", DSN_FAILED, "A: 1\r\n\r\na\0b\r\n", 14, "text/rfc822-headers; charset=utf-8", "7bit", "" },
		{ "UTF-8 header", "SMTPUTF8 RET=HDRS", DSN_FAILED, "A: \xc3\xb6\r\n\r\nx\r\n", 0, "message/global-headers", "quoted-printable", "" },
		{ "UTF-8 whole", "SMTPUTF8 RET=FULL", DSN_FAILED, "A: \xc3\xb6\r\n\r\nx\r\n", 0, "message/global", "quoted-printable", "" },
	};

	memset(large, 'x', sizeof(large));
	memcpy(large, original, strlen(original));
	for (size_t i = 0; i < sizeof(deep); i += 10)
		memcpy(deep + i, "X-A: 123\r\n", sizeof(deep) - i < 10 ? sizeof(deep) - i : 10);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(message) struct message *m = make(rows[i].message, rows[i].len ? rows[i].len : strlen(rows[i].message));
		const struct dsn_rcpt rcpt = {
			.address = "bob@x.example", .params = "NOTIFY=SUCCESS,DELAY,FAILURE", .action = rows[i].action, .reply = "550 no",
		};
		struct dsn d = { .hostname = "g.example", .id = "1", .sender = "a@example.com", .params = rows[i].params, .now_s = 1, .message = m,
				 .rcpt = &rcpt, .rcpt_count = 1 };
		AUTO(buf) struct buf out = BUF_INIT(DSN_MAX);
		char want[200];
		const char *params;

		assert_int_equal(dsn_make(&d, &out, &params), 0);
		snprintf(want, sizeof(want), "\r\nContent-Type: %s\r\nContent-Transfer-Encoding: %s\r\n\r\n", rows[i].type, rows[i].encoding);
		if (!strstr(buf_str(&out), want) || strcmp(params, rows[i].dsn_params) != 0)
			fail_msg("%s: %s\n%.3000s", rows[i].name, params, buf_str(&out));
		assert_true(out.len < DSN_HEADER_MAX + 8192);
	}
}

static void test_refused(void **state)
{
	static const struct { const char *name, *sender, *rcpt_params; enum dsn_action action; int want; } rows[] = {
		{ "good", "a@example.com", "", DSN_FAILED, 0 },
		{ "null return path", "", "", DSN_FAILED, -EINVAL },
		{ "none", NULL, "", DSN_FAILED, -EINVAL },
		{ "no domain", "postmaster", "", DSN_FAILED, -EINVAL },
		{ "line end", "a@example.com\r\nBcc: b@x", "", DSN_FAILED, -EINVAL },
		{ "bracket", "a@example.com>, <b@x", "", DSN_FAILED, -EINVAL },
		{ "NEVER", "a@example.com", "NOTIFY=NEVER", DSN_FAILED, -ENOENT },
		{ "no SUCCESS", "a@example.com", "", DSN_RELAYED, -ENOENT },
		{ "no DELAY", "a@example.com", "NOTIFY=FAILURE", DSN_DELAYED, -ENOENT },
		{ "no FAILURE", "a@example.com", "NOTIFY=SUCCESS,DELAY", DSN_FAILED, -ENOENT },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		const struct dsn_rcpt rcpt = { .address = "bob@x.example", .params = rows[i].rcpt_params, .action = rows[i].action };
		struct dsn d = { .hostname = "g.example", .id = "1", .sender = rows[i].sender, .now_s = 1, .rcpt = &rcpt, .rcpt_count = 1 };
		AUTO(buf) struct buf out = BUF_INIT(DSN_MAX);
		const char *params;

		if (dsn_make(&d, &out, &params) != rows[i].want)
			fail_msg("%s", rows[i].name);
	}
}

/* What Python's email package reads from notifications of hostile texts. */
static void test_python(void **state)
{
	static const char hostile[] = "550 5.7.1 no\r\n\r\n--=_gatepost_20261122_abc_0--\r\n\r\nSubject: owned \xff\xfe";
	static const char evil[] = "Subject: x\r\nMessage-ID: <a\r\n b>\r\n\r\n--=_gatepost_20261122_abc_0\r\nContent-Type: text/html\r\n\r\n<b>\r\n"
				   "--=_gatepost_20261122_abc_1--\r\n";
	static const char *const senders[] = { "ann@example.com", "j\xc3\xb6rg@example.com" };
	char path[200], command[400];
	int status;

	for (int i = 0; i < 4; i++) {
		AUTO(message) struct message *m = make(evil, strlen(evil));
		const struct dsn_rcpt rcpt[] = {
			{ .address = "bob@x.example", .reply = hostile, .remote = "mx\r\nX: y", .params = "ORCPT=rfc822;a+0D+0Ab" },
			{ .address = "\xe5\xb0\x8f@x.example", .reply = "451 4.3.2 later", .remote = "mx.x.example", .expired = true },
		};
		struct dsn d = {
			.hostname = "gate.example", .id = "20261122-abc", .sender = senders[i % 2], .params = i < 2 ? "RET=FULL ENVID=+0D+0A" : "SMTPUTF8 RET=HDRS",
			.arrival_s = 1794990000, .now_s = 1795000000, .message = m, .rcpt = rcpt, .rcpt_count = 2,
		};
		AUTO(buf) struct buf out = BUF_INIT(DSN_MAX);
		const char *params, *tmp = getenv("TMPDIR");
		FILE *f;

		assert_int_equal(dsn_make(&d, &out, &params), 0);
		snprintf(path, sizeof(path), "%s/gatepost-dsn-%d.eml", tmp ? tmp : "/tmp", (int)getpid());
		f = fopen(path, "w");
		assert_non_null(f);
		assert_int_equal(fwrite(out.data, 1, out.len, f), out.len);
		assert_int_equal(fclose(f), 0);
		snprintf(command, sizeof(command), "/usr/bin/python3 tests/support/dsn_check.py %s %s", path, i % 2 ? "global" : "classic");
		status = system(command);
		unlink(path);
		if (status != 0)
			fail_msg("%s", buf_str(&out));
	}
}

static void test_credible(void **state)
{
	static const struct { const char *name, *from, *domain, *spf, *dkim; bool want; } rows[] = {
		{ "nothing known", "a@example.com", "example.com", NULL, NULL, false },
		{ "spf pass", "a@example.com", "example.com", "pass", NULL, true },
		{ "spf softfail", "a@example.com", "example.com", "softfail", NULL, false },
		{ "spf neutral", "a@example.com", "example.com", "neutral", NULL, false },
		{ "dkim of the domain", "a@example.com", "example.com", "fail", "example.com", true },
		{ "dkim of a parent", "a@bounce.example.com", "bounce.example.com", "none", "example.com", true },
		{ "dkim of another", "a@example.com", "example.com", "none", "example.net", false },
		{ "dkim of a public suffix", "a@example.co.uk", "example.co.uk", "none", "co.uk", false },
		{ "null return path, spf pass by HELO", "", "", "pass", NULL, false },
		{ "no return path", NULL, NULL, "pass", NULL, false },
	};

	assert_int_equal(regdomain_init(NULL), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct client client = { 0 };
		struct txn t = { .client = &client, .env = { .from = (char *)rows[i].from, .from_domain = (char *)rows[i].domain } };

		if (rows[i].spf)
			facts_set(&t.evidence.facts, "spf", rows[i].spf);
		if (rows[i].dkim)
			facts_add(&t.evidence.facts, "dkim.pass_domains", rows[i].dkim);
		if (dsn_credible(&t) != rows[i].want)
			fail_msg("%s", rows[i].name);
		facts_release(&t.evidence.facts);
	}
	regdomain_release();
}

static int setup(void **state)
{
	fact_register_all();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_params), cmocka_unit_test(test_wants), cmocka_unit_test(test_status), cmocka_unit_test(test_address),
		cmocka_unit_test(test_orcpt), cmocka_unit_test(test_qp), cmocka_unit_test(test_whole), cmocka_unit_test(test_returned),
		cmocka_unit_test(test_refused), cmocka_unit_test(test_python), cmocka_unit_test(test_credible),
	};

	return cmocka_run_group_tests_name("dsn", tests, setup, NULL);
}
