#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/sasl.h"
#include "smtp/smtp_command.h"

/* shown: what the parser understood, in words */
static void show(const struct smtp_command *c, struct buf *out)
{
	AUTO(buf) struct buf params = BUF_INIT(2000);

	switch (c->verb) {
	case VERB_EHLO:
	case VERB_HELO:
		buf_addf(out, "%s%s", c->helo, c->helo_valid ? "" : " invalid");
		break;
	case VERB_MAIL:
	case VERB_RCPT:
		smtp_command_params(c, &params);
		buf_addf(out, "<%s>", c->path.text);
		if (c->has_size)
			buf_addf(out, " SIZE=%llu", (unsigned long long)c->size);
		buf_addf(out, "%s%s%s", params.len ? " " : "", buf_str(&params), c->has_auth ? " auth" : "");
		break;
	case VERB_BDAT:
		buf_addf(out, "%llu%s", (unsigned long long)c->chunk, c->last ? " LAST" : "");
		break;
	case VERB_AUTH:
		buf_addf(out, "%s%s%.*s", sasl_name(c->mechanism), c->initial ? " " : "", (int)c->initial_len, c->initial ? c->initial : "");
		break;
	default:
		buf_add(out, c->arg, c->arg_len);
	}
}

static const struct { const char *name, *in; bool utf8; enum smtp_verb verb; enum smtp_command_error want; const char *shown; } rows[] = {
	{ "ehlo", "EHLO mx.example\r\n", 0, VERB_EHLO, COMMAND_OK, "mx.example" },
	{ "case", "eHlO mx.example\r\n", 0, VERB_EHLO, COMMAND_OK, "mx.example" },
	{ "ehlo literal", "EHLO [192.0.2.1]\r\n", 0, VERB_EHLO, COMMAND_OK, "[192.0.2.1]" },
	{ "helo junk is the policy's", "HELO 192.0.2.1..\r\n", 0, VERB_HELO, COMMAND_OK, "192.0.2.1.. invalid" },
	{ "helo two words", "HELO my pc\r\n", 0, VERB_HELO, COMMAND_OK, "my invalid" },
	{ "mail", "MAIL FROM:<a@x.example>\r\n", 0, VERB_MAIL, COMMAND_OK, "<a@x.example>" },
	{ "mail, blanks", "mail from: <a@x.example>  \r\n", 0, VERB_MAIL, COMMAND_OK, "<a@x.example>" },
	{ "mail, null", "MAIL FROM:<>\r\n", 0, VERB_MAIL, COMMAND_OK, "<>" },
	{ "mail, all", "MAIL FROM:<a@x.example> SIZE=1000 body=8bitmime RET=HDRS ENVID=QQ+3D1 AUTH=<>\r\n", 0, VERB_MAIL, COMMAND_OK,
	  "<a@x.example> SIZE=1000 BODY=8BITMIME RET=HDRS ENVID=QQ+3D1 auth" },
	{ "mail, utf-8", "MAIL FROM:<ж@x.example> BODY=8BITMIME SMTPUTF8\r\n", 0, VERB_MAIL, COMMAND_OK, "<ж@x.example> BODY=8BITMIME SMTPUTF8" },
	{ "mail, size too big", "MAIL FROM:<a@x.example> SIZE=99999999999999999999\r\n", 0, VERB_MAIL, COMMAND_OK, "<a@x.example> SIZE=18446744073709551615" },
	{ "mail, size just fits", "MAIL FROM:<a@x.example> SIZE=18446744073709551614\r\n", 0, VERB_MAIL, COMMAND_OK, "<a@x.example> SIZE=18446744073709551614" },
	{ "mail, source route", "MAIL FROM:<@r.example:a@x.example>\r\n", 0, VERB_MAIL, COMMAND_OK, "<a@x.example>" },
	{ "mail without brackets", "MAIL FROM:a@x.example BODY=7BIT\r\n", 0, VERB_MAIL, COMMAND_OK, "<a@x.example> BODY=7BIT" },
	{ "rcpt", "RCPT TO:<a@x.example>\r\n", 0, VERB_RCPT, COMMAND_OK, "<a@x.example>" },
	{ "rcpt, DSN", "RCPT TO:<a@x.example> NOTIFY=failure,DELAY ORCPT=rfc822;A+2Bb@x.example\r\n", 0, VERB_RCPT, COMMAND_OK,
	  "<a@x.example> NOTIFY=FAILURE,DELAY ORCPT=rfc822;A+2Bb@x.example" },
	{ "rcpt, never", "RCPT TO:<a@x.example> NOTIFY=NEVER\r\n", 0, VERB_RCPT, COMMAND_OK, "<a@x.example> NOTIFY=NEVER" },
	{ "rcpt, postmaster", "RCPT TO:<postmaster>\r\n", 0, VERB_RCPT, COMMAND_OK, "<postmaster>" },
	{ "rcpt, utf-8", "RCPT TO:<ж@x.example>\r\n", 1, VERB_RCPT, COMMAND_OK, "<ж@x.example>" },
	{ "data", "DATA\r\n", 0, VERB_DATA, COMMAND_OK, "" },
	{ "data, blank behind", "DATA \r\n", 0, VERB_DATA, COMMAND_OK, "" },
	{ "bdat", "BDAT 1000\r\n", 0, VERB_BDAT, COMMAND_OK, "1000" },
	{ "bdat last", "BDAT 0 last\r\n", 0, VERB_BDAT, COMMAND_OK, "0 LAST" },
	{ "noop with text", "NOOP hello\r\n", 0, VERB_NOOP, COMMAND_OK, "hello" },
	{ "vrfy", "VRFY joe\r\n", 0, VERB_VRFY, COMMAND_OK, "joe" },
	{ "help", "HELP\r\n", 0, VERB_HELP, COMMAND_OK, "" },
	{ "starttls", "STARTTLS\r\n", 0, VERB_STARTTLS, COMMAND_OK, "" },
	{ "auth", "AUTH PLAIN AGEAYg==\r\n", 0, VERB_AUTH, COMMAND_OK, "PLAIN AGEAYg==" },
	{ "auth, case, blanks", "auth \tcram-md5  \r\n", 0, VERB_AUTH, COMMAND_OK, "CRAM-MD5" },
	{ "auth, empty response", "AUTH PLAIN =\r\n", 0, VERB_AUTH, COMMAND_OK, "PLAIN =" },
	{ "TURN", "TURN\r\n", 0, VERB_OBSOLETE, COMMAND_OK, "" },
	{ "ATRN", "ATRN example.com,example.org\r\n", 0, VERB_OBSOLETE, COMMAND_OK, "example.com,example.org" },
	{ "obsolete", "SAML FROM:<a@x.example>\r\n", 0, VERB_OBSOLETE, COMMAND_OK, "FROM:<a@x.example>" },
	{ "http", "GET / HTTP/1.1\r\n", 0, VERB_HTTP, COMMAND_OK, "/ HTTP/1.1" },

	{ "auth alone", "AUTH\r\n", 0, VERB_AUTH, COMMAND_ARGUMENT, NULL },
	{ "auth, no base64", "AUTH PLAIN ann:secret\r\n", 0, VERB_AUTH, COMMAND_ARGUMENT, NULL },
	{ "auth, two responses", "AUTH PLAIN AGEAYg== AGEAYg==\r\n", 0, VERB_AUTH, COMMAND_ARGUMENT, NULL },
	{ "auth, cut base64", "AUTH PLAIN AGEAYg=\r\n", 0, VERB_AUTH, COMMAND_ARGUMENT, NULL },
	{ "auth, cancelled at once", "AUTH PLAIN *\r\n", 0, VERB_AUTH, COMMAND_ARGUMENT, NULL },
	{ "auth, 8-bit", "AUTH PLAIN \xff\xff\xff\xff\r\n", 0, VERB_AUTH, COMMAND_ARGUMENT, NULL },
	{ "auth, NUL", "AUTH PLA\1N\r\n", 0, VERB_AUTH, COMMAND_BYTES, NULL },
	{ "auth, of the certificate", "AUTH EXTERNAL =\r\n", 0, VERB_AUTH, COMMAND_MECHANISM, NULL },
	{ "auth, bound to the channel", "AUTH SCRAM-SHA-256-PLUS cD10\r\n", 0, VERB_AUTH, COMMAND_MECHANISM, NULL },
	{ "auth, unknown", "AUTH X\r\n", 0, VERB_AUTH, COMMAND_MECHANISM, NULL },

	{ "empty line", "\r\n", 0, VERB_UNKNOWN, COMMAND_UNKNOWN, NULL },
	{ "blank line", "  \r\n", 0, VERB_UNKNOWN, COMMAND_UNKNOWN, NULL },
	{ "leading blank", " NOOP\r\n", 0, VERB_UNKNOWN, COMMAND_UNKNOWN, NULL },
	{ "unknown", "FROB x\r\n", 0, VERB_UNKNOWN, COMMAND_UNKNOWN, NULL },
	{ "verb and more", "DATAX\r\n", 0, VERB_UNKNOWN, COMMAND_UNKNOWN, NULL },
	{ "a header", "Subject: hello\r\n", 0, VERB_UNKNOWN, COMMAND_UNKNOWN, NULL },
	{ "exchange's own", "XEXCH50 2\r\n", 0, VERB_UNKNOWN, COMMAND_UNKNOWN, NULL },
	{ "bare LF", "NOOP\n", 0, VERB_NOOP, COMMAND_BARE_LF, NULL },
	{ "bare LF, mail", "MAIL FROM:<a@x.example>\n", 0, VERB_MAIL, COMMAND_BARE_LF, NULL },
	{ "no line end", "NOOP", 0, VERB_NOOP, COMMAND_BARE_LF, NULL },
	{ "nothing", "", 0, VERB_UNKNOWN, COMMAND_BARE_LF, NULL },
	{ "LF only", "\n", 0, VERB_UNKNOWN, COMMAND_BARE_LF, NULL },
	{ "bare CR inside", "NOOP x\ry\r\n", 0, VERB_NOOP, COMMAND_BYTES, NULL },
	{ "CR CR LF", "NOOP\r\r\n", 0, VERB_UNKNOWN, COMMAND_BYTES, NULL },
	{ "control", "NOOP \001\r\n", 0, VERB_NOOP, COMMAND_BYTES, NULL },
	{ "delete", "EHLO a\x7f\r\n", 0, VERB_EHLO, COMMAND_BYTES, NULL },
	{ "8-bit ehlo", "EHLO b\xc3\xbc.example\r\n", 0, VERB_EHLO, COMMAND_BYTES, NULL },
	{ "TLS to a plain port", "\x16\x03\x01\x02\r\n", 0, VERB_UNKNOWN, COMMAND_BYTES, NULL },
	{ "ehlo alone", "EHLO\r\n", 0, VERB_EHLO, COMMAND_ARGUMENT, NULL },
	{ "helo blank", "HELO  \r\n", 0, VERB_HELO, COMMAND_ARGUMENT, NULL },
	{ "mail alone", "MAIL\r\n", 0, VERB_MAIL, COMMAND_ARGUMENT, NULL },
	{ "mail to", "MAIL TO:<a@x.example>\r\n", 0, VERB_MAIL, COMMAND_ARGUMENT, NULL },
	{ "mail, no colon", "MAIL FROM <a@x.example>\r\n", 0, VERB_MAIL, COMMAND_ARGUMENT, NULL },
	{ "mail, no path", "MAIL FROM:\r\n", 0, VERB_MAIL, COMMAND_ADDRESS, NULL },
	{ "mail, parameter glued", "MAIL FROM:<a@x.example>SIZE=1\r\n", 0, VERB_MAIL, COMMAND_ARGUMENT, NULL },
	{ "mail, two paths", "MAIL FROM:<a@x.example> <b@x.example>\r\n", 0, VERB_MAIL, COMMAND_ARGUMENT, NULL },
	{ "mail, utf-8 without the word", "MAIL FROM:<ж@x.example>\r\n", 0, VERB_MAIL, COMMAND_ADDRESS, NULL },
	{ "mail, earlier transaction's utf-8", "MAIL FROM:<ж@x.example>\r\n", 1, VERB_MAIL, COMMAND_ADDRESS, NULL },
	{ "mail, size of letters", "MAIL FROM:<a@x.example> SIZE=big\r\n", 0, VERB_MAIL, COMMAND_PARAMETER, NULL },
	{ "mail, size negative", "MAIL FROM:<a@x.example> SIZE=-1\r\n", 0, VERB_MAIL, COMMAND_PARAMETER, NULL },
	{ "mail, size alone", "MAIL FROM:<a@x.example> SIZE\r\n", 0, VERB_MAIL, COMMAND_PARAMETER, NULL },
	{ "mail, size empty", "MAIL FROM:<a@x.example> SIZE=\r\n", 0, VERB_MAIL, COMMAND_PARAMETER, NULL },
	{ "mail, size of 21", "MAIL FROM:<a@x.example> SIZE=000000000000000000001\r\n", 0, VERB_MAIL, COMMAND_PARAMETER, NULL },
	{ "mail, size twice", "MAIL FROM:<a@x.example> SIZE=1 SIZE=2\r\n", 0, VERB_MAIL, COMMAND_PARAMETER, NULL },
	{ "mail, binary", "MAIL FROM:<a@x.example> BODY=BINARYMIME\r\n", 0, VERB_MAIL, COMMAND_PARAMETER, NULL },
	{ "mail, PRDR with value", "MAIL FROM:<a@x.example> PRDR=1\r\n", 0, VERB_MAIL, COMMAND_PARAMETER, NULL },
	{ "mail, PRDR twice", "MAIL FROM:<a@x.example> PRDR prdr\r\n", 0, VERB_MAIL, COMMAND_PARAMETER, NULL },
	{ "rcpt, PRDR", "RCPT TO:<a@x.example> PRDR\r\n", 0, VERB_RCPT, COMMAND_PARAMETER_UNKNOWN, NULL },
	{ "mail, smtputf8 with value", "MAIL FROM:<a@x.example> SMTPUTF8=1\r\n", 0, VERB_MAIL, COMMAND_PARAMETER, NULL },
	{ "mail, ret", "MAIL FROM:<a@x.example> RET=ALL\r\n", 0, VERB_MAIL, COMMAND_PARAMETER, NULL },
	{ "mail, envid not xtext", "MAIL FROM:<a@x.example> ENVID=a+b\r\n", 0, VERB_MAIL, COMMAND_PARAMETER, NULL },
	{ "mail, unknown", "MAIL FROM:<a@x.example> FOO=1\r\n", 0, VERB_MAIL, COMMAND_PARAMETER_UNKNOWN, NULL },
	{ "mail, rcpt's", "MAIL FROM:<a@x.example> NOTIFY=NEVER\r\n", 0, VERB_MAIL, COMMAND_PARAMETER_UNKNOWN, NULL },
	{ "mail, no keyword", "MAIL FROM:<a@x.example> =1\r\n", 0, VERB_MAIL, COMMAND_ARGUMENT, NULL },
	{ "rcpt, null", "RCPT TO:<>\r\n", 0, VERB_RCPT, COMMAND_ADDRESS, NULL },
	{ "rcpt, from", "RCPT FROM:<a@x.example>\r\n", 0, VERB_RCPT, COMMAND_ARGUMENT, NULL },
	{ "rcpt, unknown", "RCPT TO:<a@x.example> SIZE=1\r\n", 0, VERB_RCPT, COMMAND_PARAMETER_UNKNOWN, NULL },
	{ "rcpt, never and more", "RCPT TO:<a@x.example> NOTIFY=NEVER,DELAY\r\n", 0, VERB_RCPT, COMMAND_PARAMETER, NULL },
	{ "rcpt, notify ends in comma", "RCPT TO:<a@x.example> NOTIFY=DELAY,\r\n", 0, VERB_RCPT, COMMAND_PARAMETER, NULL },
	{ "rcpt, notify twice the same", "RCPT TO:<a@x.example> NOTIFY=DELAY,DELAY\r\n", 0, VERB_RCPT, COMMAND_PARAMETER, NULL },
	{ "rcpt, notify empty", "RCPT TO:<a@x.example> NOTIFY=\r\n", 0, VERB_RCPT, COMMAND_PARAMETER, NULL },
	{ "rcpt, orcpt no type", "RCPT TO:<a@x.example> ORCPT=a@x.example\r\n", 0, VERB_RCPT, COMMAND_PARAMETER, NULL },
	{ "rcpt, orcpt empty", "RCPT TO:<a@x.example> ORCPT=rfc822;\r\n", 0, VERB_RCPT, COMMAND_PARAMETER, NULL },
	{ "rcpt, orcpt lower hex", "RCPT TO:<a@x.example> ORCPT=rfc822;a+2b\r\n", 0, VERB_RCPT, COMMAND_PARAMETER, NULL },
	{ "data with argument", "DATA now\r\n", 0, VERB_DATA, COMMAND_ARGUMENT, NULL },
	{ "rset with argument", "RSET x\r\n", 0, VERB_RSET, COMMAND_ARGUMENT, NULL },
	{ "starttls with argument", "STARTTLS x\r\n", 0, VERB_STARTTLS, COMMAND_ARGUMENT, NULL },
	{ "vrfy alone", "VRFY\r\n", 0, VERB_VRFY, COMMAND_ARGUMENT, NULL },
	{ "bdat alone", "BDAT\r\n", 0, VERB_BDAT, COMMAND_ARGUMENT, NULL },
	{ "bdat negative", "BDAT -1\r\n", 0, VERB_BDAT, COMMAND_ARGUMENT, NULL },
	{ "bdat hex", "BDAT 0x10\r\n", 0, VERB_BDAT, COMMAND_ARGUMENT, NULL },
	{ "bdat too big", "BDAT 18446744073709551616\r\n", 0, VERB_BDAT, COMMAND_ARGUMENT, NULL },
	{ "bdat wraps", "BDAT 36893488147419103233\r\n", 0, VERB_BDAT, COMMAND_ARGUMENT, NULL },
	{ "bdat other word", "BDAT 10 FIRST\r\n", 0, VERB_BDAT, COMMAND_ARGUMENT, NULL },
	{ "bdat two words", "BDAT 10 LAST LAST\r\n", 0, VERB_BDAT, COMMAND_ARGUMENT, NULL },
};

static enum smtp_command_error parse(const char *in, size_t len, bool utf8, struct smtp_command *c, struct buf *shown)
{
	char *copy = malloc(len ? len : 1);
	enum smtp_command_error e;

	memcpy(copy, in, len);
	e = smtp_command_parse(copy, len, utf8, c);
	if (e == COMMAND_OK)
		show(c, shown);
	free(copy);
	return e;
}

static void test_rows(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		AUTO(buf) struct buf shown = BUF_INIT(4000);
		struct smtp_command c;
		char reply[128];
		size_t len = strlen(rows[i].in);
		enum smtp_command_error e = parse(rows[i].in, len, rows[i].utf8, &c, &shown);

		if (e != rows[i].want || c.verb != rows[i].verb || (e == COMMAND_OK && strcmp(buf_str(&shown), rows[i].shown)))
			fail_msg("%s: %d, verb %d, \"%s\"", rows[i].name, (int)e, (int)c.verb, buf_str(&shown));
		if (e != COMMAND_OK)
			assert_int_equal(smtp_command_reply(&c, e, reply, sizeof(reply))[0], '5');
		/* a line that was cut short is never taken for a whole one */
		for (size_t n = 0; n < len; n++)
			assert_int_not_equal(parse(rows[i].in, n, rows[i].utf8, &c, &shown), COMMAND_OK);
	}
}

static void test_long(void **state)
{
	struct smtp_command c;
	AUTO(buf) struct buf b = BUF_INIT(10000);

	buf_adds(&b, "EHLO ");
	for (int i = 0; i < 256; i++)
		buf_addc(&b, 'a');
	buf_adds(&b, "\r\n");
	assert_int_equal(smtp_command_parse(b.data, b.len, false, &c), COMMAND_LONG);

	buf_clear(&b);
	buf_adds(&b, "RCPT TO:<a@x.example> ORCPT=rfc822;");
	for (int i = 0; i < 600; i++)
		buf_addc(&b, 'a');
	buf_adds(&b, "\r\n");
	assert_int_equal(smtp_command_parse(b.data, b.len, false, &c), COMMAND_PARAMETER);

	buf_clear(&b);
	for (int i = 0; i < 5000; i++)
		buf_addc(&b, 'A');
	buf_adds(&b, "\r\n");
	assert_int_equal(smtp_command_parse(b.data, b.len, false, &c), COMMAND_UNKNOWN);
	assert_int_equal(strlen(c.word), SMTP_WORD_MAX - 1);
}

static void test_nul(void **state)
{
	struct smtp_command c;

	assert_int_equal(smtp_command_parse("NOOP a\0b\r\n", 10, false, &c), COMMAND_BYTES);
	assert_int_equal(smtp_command_parse("MAIL FROM:<a\0@x.example>\r\n", 26, false, &c), COMMAND_BYTES);
}

static void test_xtext(void **state)
{
	char out[8];

	assert_int_equal(smtp_xtext_decode("a+3Db", 5, out, sizeof(out)), 3);
	assert_string_equal(out, "a=b");
	assert_true(smtp_xtext_decode("a+3", 3, out, sizeof(out)) < 0);
	assert_true(smtp_xtext_decode("a+00b", 5, out, sizeof(out)) < 0);
	assert_true(smtp_xtext_decode("a=b", 3, out, sizeof(out)) < 0);
	assert_true(smtp_xtext_decode("abcdefgh", 8, out, sizeof(out)) < 0);
	assert_int_equal(smtp_xtext_decode("", 0, out, sizeof(out)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_long),
		cmocka_unit_test(test_nul),
		cmocka_unit_test(test_xtext),
	};

	return cmocka_run_group_tests_name("smtp_command", tests, NULL, NULL);
}
