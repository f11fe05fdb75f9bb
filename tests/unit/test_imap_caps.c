#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "imap/imap_caps.h"

#define ALL .mechanisms = SASL_DEFAULT
#define DOVECOT "IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE LITERAL+ "

static const struct { const char *name; struct imap_view view; const char *in, *want; } rows[] = {
	{ "untouched", { ALL }, DOVECOT "AUTH=PLAIN AUTH=LOGIN", DOVECOT "AUTH=PLAIN AUTH=LOGIN" },
	{ "untouched, unknown words", { ALL }, "imap4REV1 X-FOO=bar Xyzzy AUTH=X-OURS", "imap4REV1 X-FOO=bar Xyzzy AUTH=X-OURS" },
	{ "nothing", { ALL }, "", "" },
	{ "one", { ALL }, "IMAP4", "IMAP4" },
	{ "the server's STARTTLS is not ours", { ALL }, DOVECOT "STARTTLS AUTH=PLAIN", DOVECOT "AUTH=PLAIN" },
	{ "ours where the server's is", { ALL, .starttls = true }, "IMAP4rev1 STARTTLS IDLE", "IMAP4rev1 STARTTLS IDLE" },
	{ "ours where the server has none", { ALL, .starttls = true }, DOVECOT "AUTH=PLAIN", DOVECOT "STARTTLS AUTH=PLAIN" },
	{ "ours before LOGINDISABLED", { ALL, .starttls = true }, "IMAP4rev1 LOGINDISABLED", "IMAP4rev1 STARTTLS LOGINDISABLED" },
	{ "ours at the end", { ALL, .starttls = true }, "IMAP4rev1 IDLE", "IMAP4rev1 IDLE STARTTLS" },
	{ "ours in front", { ALL, .starttls = true }, "AUTH=PLAIN IMAP4rev1", "STARTTLS AUTH=PLAIN IMAP4rev1" },
	{ "ours alone", { ALL, .starttls = true }, "", "STARTTLS" },
	{ "ours before a mechanism that goes", { ALL, .starttls = true }, "IMAP4rev1 AUTH=EXTERNAL IDLE", "IMAP4rev1 STARTTLS IDLE" },
	{ "not once one is logged in", { ALL, .starttls = true, .clear_refused = true, .logged_in = true }, "IMAP4rev1 STARTTLS IDLE", "IMAP4rev1 IDLE" },
	{ "LOGINDISABLED stays", { ALL }, "IMAP4rev1 LOGINDISABLED AUTH=PLAIN", "IMAP4rev1 LOGINDISABLED AUTH=PLAIN" },
	{ "LOGINDISABLED is added", { ALL, .starttls = true, .clear_refused = true }, DOVECOT "AUTH=PLAIN AUTH=LOGIN AUTH=CRAM-MD5 AUTH=XOAUTH2",
	  DOVECOT "STARTTLS AUTH=CRAM-MD5 LOGINDISABLED" },
	{ "LOGINDISABLED once", { ALL, .clear_refused = true }, "IMAP4rev1 LoginDisabled AUTH=OAUTHBEARER", "IMAP4rev1 LoginDisabled" },
	{ "of the certificate, of the channel", { ALL }, "AUTH=EXTERNAL AUTH=SCRAM-SHA-256-PLUS AUTH=scram-sha-1-plus auth=external AUTH=SCRAM-SHA-256",
	  "AUTH=SCRAM-SHA-256" },
	{ "not allowed by default", { ALL }, "IMAP4rev1 AUTH=NTLM AUTH=GSSAPI AUTH=PLAIN", "IMAP4rev1 AUTH=PLAIN" },
	{ "allowed", { .mechanisms = SASL_NTLM }, "IMAP4rev1 AUTH=NTLM AUTH=GSSAPI AUTH=PLAIN", "IMAP4rev1 AUTH=NTLM" },
	{ "routed by name", { ALL, .routed = true }, "AUTH=PLAIN AUTH=CRAM-MD5 AUTH=DIGEST-MD5 AUTH=SCRAM-SHA-1 AUTH=X-OURS AUTH=NTLM AUTH=LOGIN",
	  "AUTH=PLAIN AUTH=SCRAM-SHA-1 AUTH=LOGIN" },
	{ "compression without a scan", { ALL }, "IMAP4rev1 COMPRESS=DEFLATE NOTIFY", "IMAP4rev1 COMPRESS=DEFLATE NOTIFY" },
	{ "with one", { ALL, .scanning = true },
	  "IMAP4rev1 COMPRESS=DEFLATE compress=zstd NOTIFY QRESYNC CONDSTORE PREVIEW PREVIEW=FUZZY SNIPPET=FUZZY URLAUTH URLAUTH=BINARY URL-PARTIAL CATENATE "
	  "CONVERT UNAUTHENTICATE UIDONLY XLIST IDLE NOTIFYX", "IMAP4rev1 CONDSTORE XLIST IDLE NOTIFYX" },
	{ "blanks are no words, and stay", { ALL }, "IMAP4rev1  IDLE ", "IMAP4rev1  IDLE " },
	{ "blanks go with their word", { ALL }, "AUTH=EXTERNAL  IMAP4rev1  AUTH=EXTERNAL IDLE", "IMAP4rev1 IDLE" },
	{ "blanks alone", { ALL, .starttls = true }, "  ", "STARTTLS  " },
	{ "an AUTH of nothing", { ALL }, "IMAP4rev1 AUTH= AUTH", "IMAP4rev1 AUTH= AUTH" },
};

static void test_adjust(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		AUTO(buf) struct buf out = BUF_INIT(1000);

		buf_adds(&out, "[");
		assert_int_equal(imap_caps_adjust(&rows[i].view, rows[i].in, strlen(rows[i].in), &out), 0);
		if (strcmp(buf_str(&out) + 1, rows[i].want) != 0)
			fail_msg("%s: %s", rows[i].name, buf_str(&out) + 1);
	}
}

static void test_no_room(void **state)
{
	AUTO(buf) struct buf out = BUF_INIT(10);

	assert_true(imap_caps_adjust(&(struct imap_view){ ALL }, "IMAP4rev1 IDLE", 14, &out) < 0);
}

static const struct { const char *line, *want; } lines[] = {
	{ "* CAPABILITY IMAP4rev1 IDLE", "IMAP4rev1 IDLE" },
	{ "* capability IMAP4rev1", "IMAP4rev1" },
	{ "* OK [CAPABILITY IMAP4rev1 IDLE] ready", "IMAP4rev1 IDLE" },
	{ "* ok [capability IMAP4rev1]", "IMAP4rev1" },
	{ "a1 OK [CAPABILITY IMAP4rev1] Logged in [really]", "IMAP4rev1" },
	{ "* OK ready", NULL },
	{ "* OK [ALERT] [CAPABILITY IMAP4rev1] ready", NULL },
	{ "* OK [CAPABILITY IMAP4rev1 ready", NULL },
	{ "* OK [CAPABILITYX IMAP4rev1] ready", NULL },
	{ "* OK  [CAPABILITY IMAP4rev1] ready", NULL },
	{ "a1 CAPABILITY IMAP4rev1", NULL },
	{ "* CAPABILITY", NULL },
	{ "* ", NULL },
	{ "*", NULL },
	{ "", NULL },
	{ "a OK", NULL },
	{ "a OK ", NULL },
	{ "a OK [", NULL },
	{ "a OK [CAPABILITY", NULL },
};

static void test_find(void **state)
{
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		size_t off, n;
		bool found = imap_caps_find(lines[i].line, strlen(lines[i].line), &off, &n);

		if (found != (lines[i].want != NULL) || (found && (n != strlen(lines[i].want) || memcmp(lines[i].line + off, lines[i].want, n) != 0)))
			fail_msg("%s", lines[i].line);
	}
}

static void test_read(void **state)
{
	static const char old[] = "IMAP4 IMAP4rev1 starttls literal+ XID ID", rev2[] = "IMAP4rev2";
	struct imap_caps caps = { .sasl_ir = true };

	imap_caps_read(&caps, old, strlen(old));
	assert_true(caps.known && caps.starttls && caps.literal_plus && caps.id && !caps.literal_minus && !caps.sasl_ir);
	imap_caps_read(&caps, rev2, strlen(rev2));
	assert_true(caps.known && caps.literal_minus && caps.sasl_ir && !caps.literal_plus && !caps.id && !caps.starttls);
}

static void test_mechanism(void **state)
{
	struct imap_view v = { ALL };

	assert_true(imap_caps_mechanism(&v, "plain", 5));
	assert_false(imap_caps_mechanism(&v, "External", 8));
	assert_false(imap_caps_mechanism(&v, "SCRAM-SHA-1-PLUS", 16));
	assert_false(imap_caps_mechanism(&v, "NTLM", 4));
	v.clear_refused = true;
	assert_false(imap_caps_mechanism(&v, "PLAIN", 5));
	assert_true(imap_caps_mechanism(&v, "CRAM-MD5", 8));
	v.routed = true;
	assert_false(imap_caps_mechanism(&v, "CRAM-MD5", 8));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_adjust),
		cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_mechanism),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
