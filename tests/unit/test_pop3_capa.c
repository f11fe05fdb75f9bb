#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/sasl.h"
#include "pop3/pop3_capa.h"

enum { STLS = 1, NO_CLEAR = 2, ROUTED = 4, SCAN = 8 };

static struct pop3_capa_rules rules_of(int flags, unsigned mechanisms)
{
	return (struct pop3_capa_rules){
		.stls = flags & STLS, .no_clear = flags & NO_CLEAR, .routed = flags & ROUTED, .scan = flags & SCAN, .mechanisms = mechanisms,
	};
}

static const struct { const char *name, *in; int flags; unsigned mechanisms; const char *want; } rows[] = {
	{ "as it is", "CAPA\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nPIPELINING\r\nAUTH-RESP-CODE\r\nUSER\r\nSASL PLAIN LOGIN\r\n", 0, SASL_DEFAULT,
	  "CAPA\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nPIPELINING\r\nAUTH-RESP-CODE\r\nUSER\r\nSASL PLAIN LOGIN\r\n" },
	{ "nothing", "", 0, SASL_DEFAULT, "" },
	{ "STLS of its own goes", "TOP\r\nSTLS\r\nUSER\r\n", 0, SASL_DEFAULT, "TOP\r\nUSER\r\n" },
	{ "STLS of ours comes", "TOP\r\nUSER\r\n", STLS, SASL_DEFAULT, "TOP\r\nUSER\r\nSTLS\r\n" },
	{ "STLS, in its place", "TOP\r\nstls\r\nUSER\r\n", STLS, SASL_DEFAULT, "TOP\r\nstls\r\nUSER\r\n" },
	{ "STLS, said twice", "STLS\r\nTOP\r\nSTLS\r\n", STLS, SASL_DEFAULT, "STLS\r\nTOP\r\n" },
	{ "what hangs on TLS", "SASL EXTERNAL PLAIN SCRAM-SHA-256-PLUS SCRAM-SHA-256\r\n", 0, SASL_DEFAULT, "SASL PLAIN SCRAM-SHA-256\r\n" },
	{ "its own order and letters", "SASL  cram-md5   Plain \r\n", 0, SASL_DEFAULT, "SASL cram-md5 Plain\r\n" },
	{ "not on the site's list", "SASL PLAIN NTLM GSSAPI\r\n", 0, SASL_DEFAULT, "SASL PLAIN\r\n" },
	{ "unknown ones", "SASL MAGIC\r\nTOP\r\n", 0, SASL_DEFAULT, "TOP\r\n" },
	{ "none left", "SASL EXTERNAL\r\nTOP\r\n", 0, SASL_DEFAULT, "TOP\r\n" },
	{ "none of all", "SASL\r\nTOP\r\n", 0, SASL_DEFAULT, "TOP\r\n" },
	{ "no passwords now", "USER\r\nSASL PLAIN CRAM-MD5\r\n", NO_CLEAR, SASL_CRAM_MD5, "SASL CRAM-MD5\r\n" },
	{ "no passwords now, in any case of letters", "user\r\n", NO_CLEAR, 0, "" },
	{ "routed", "UTF8 USER\r\nLANG\r\nTOP\r\nUSER\r\n", ROUTED, SASL_DEFAULT, "TOP\r\nUSER\r\n" },
	{ "not routed", "UTF8 USER\r\nLANG\r\n", 0, SASL_DEFAULT, "UTF8 USER\r\nLANG\r\n" },
	{ "between the server and us", "XCLIENT\r\nTOP\r\n", 0, SASL_DEFAULT, "TOP\r\n" },
	{ "extensions", "X-ZIP\r\nCOMPRESS DEFLATE\r\nTOP\r\n", 0, SASL_DEFAULT, "X-ZIP\r\nCOMPRESS DEFLATE\r\nTOP\r\n" },
	{ "extensions where messages are scanned", "X-ZIP\r\nCOMPRESS DEFLATE\r\nXTND\r\nTOP\r\nUTF8\r\nEXPIRE NEVER\r\nLOGIN-DELAY 60 USER\r\n", SCAN, SASL_DEFAULT,
	  "TOP\r\nUTF8\r\nEXPIRE NEVER\r\nLOGIN-DELAY 60 USER\r\n" },
	{ "implementation", "IMPLEMENTATION Shlemazle-Plotz-v302\r\n", SCAN, SASL_DEFAULT, "IMPLEMENTATION Shlemazle-Plotz-v302\r\n" },
	{ "8-bit", "TOP\r\nIMPLEMENTATION \xe9\r\n", 0, SASL_DEFAULT, "TOP\r\n" },
	{ "a control", "TOP\33[2J\r\nUIDL\r\n", 0, SASL_DEFAULT, "UIDL\r\n" },
	{ "an empty line", "\r\nUIDL\r\n", 0, SASL_DEFAULT, "UIDL\r\n" },
	{ "stuffed dots", "..\r\n.TOP\r\nUIDL\r\n", 0, SASL_DEFAULT, "UIDL\r\n" },
	{ "a tab is no blank", "SASL\tPLAIN\r\nUIDL\r\n", 0, SASL_DEFAULT, "UIDL\r\n" },
	{ "a blank before it is an extension", " STLS\r\n", SCAN, SASL_DEFAULT, "" },
	{ "no line end", "TOP", 0, SASL_DEFAULT, "TOP\r\n" },
};

static void test_rows(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		AUTO(buf) struct buf out = BUF_INIT(4000);
		struct pop3_capa_rules rules = rules_of(rows[i].flags, rows[i].mechanisms);
		size_t len = strlen(rows[i].in);
		char *copy = malloc(len ? len : 1);

		memcpy(copy, rows[i].in, len);
		assert_int_equal(pop3_capa_adjust(copy, len, &rules, &out), 0);
		if (strcmp(buf_str(&out), rows[i].want) != 0)
			fail_msg("%s: \"%s\"", rows[i].name, buf_str(&out));
		free(copy);
	}
}

static void test_mechanisms(void **state)
{
	static const char in[] = "PLAIN\r\nEXTERNAL\r\nlogin\r\nSCRAM-SHA-1-PLUS\r\n..\r\nCRAM-MD5 \r\n";
	AUTO(buf) struct buf out = BUF_INIT(4000);
	struct pop3_capa_rules rules = rules_of(0, SASL_DEFAULT);

	assert_int_equal(pop3_capa_mechanisms(in, sizeof(in) - 1, &rules, &out), 0);
	assert_string_equal(buf_str(&out), "PLAIN\r\nlogin\r\n");
	buf_clear(&out);
	rules.mechanisms = 0;
	assert_int_equal(pop3_capa_mechanisms(in, sizeof(in) - 1, &rules, &out), 0);
	assert_string_equal(buf_str(&out), "");
}

static void test_supposed(void **state)
{
	AUTO(buf) struct buf out = BUF_INIT(4000);
	struct pop3_capa_rules rules = rules_of(STLS | NO_CLEAR, 0);

	assert_int_equal(pop3_capa_supposed(&rules, &out), 0);
	assert_string_equal(buf_str(&out), "TOP\r\nUIDL\r\nSTLS\r\n");
}

static void test_bound(void **state)
{
	AUTO(buf) struct buf out = BUF_INIT(8);
	struct pop3_capa_rules rules = rules_of(STLS, SASL_DEFAULT);

	assert_true(pop3_capa_adjust("SASL PLAIN LOGIN\r\n", 18, &rules, &out) < 0);
	buf_clear(&out);
	assert_true(pop3_capa_adjust("SASL MAGIC\r\nTOP\r\n", 17, &rules, &out) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_mechanisms),
		cmocka_unit_test(test_supposed),
		cmocka_unit_test(test_bound),
	};

	return cmocka_run_group_tests_name("pop3_capa", tests, NULL, NULL);
}
