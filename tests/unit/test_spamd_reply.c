/* spamd_reply: SpamAssassin's answers */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "filters/spamd_reply.h"

#define OK "SPAMD/1.1 0 EX_OK\r\n"
#define LONG "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"

static const struct {
	const char *text;
	int rc, code;
	bool spam;
	long score, threshold;
	const char *symbols;            /* with a blank behind each */
} rows[] = {
	{ OK "Content-length: 22\r\nSpam: True ; 1000.0 / 5.0\r\n\r\nGTUBE,NO_RECEIVED\r\n", 0, 0, true, 1000, 5, "GTUBE NO_RECEIVED " },
	{ OK "Spam: False ; 4.9 / 5.0\r\n\r\nA", 0, 0, false, 4, 5, "A " },
	{ OK "spam: False ; -0.1 / 5.5\r\n\r\n", 0, 0, false, -1, 5, "" },
	{ OK "Spam: False ; -2.0 / 5.0\r\n\r\n\r\n", 0, 0, false, -2, 5, "" },
	{ "SPAMD/1.5 0 EX_OK\nSpam: Yes;7/5\n\nA,B,,C\n", 0, 0, true, 7, 5, "A B C " },
	{ OK "X: y\r\nSpam: False ; 0.0 / 5.0\r\nDidSet: local\r\n\r\nA, B C\r\n", 0, 0, false, 0, 5, "A B C " },
	{ OK "Spam: True ; 99999999999999999999999.5 / 5.0\r\n\r\n", 0, 0, true, SPAMD_SCORE_MAX, 5, "" },
	{ OK "Spam: False ; 1.0 / 5.0\r\n\r\n" LONG "," LONG "1,A", 0, 0, false, 1, 5, LONG " A " },
	{ "SPAMD/1.0 76 Bad header line: (EOF)\r\n", 0, 76, false, 0, 0, "" },
	{ "SPAMD/1.1 74 EX_IOERR\r\nrubbish", 0, 74, false, 0, 0, "" },
	{ "", -EBADMSG, 0, false, 0, 0, "" },
	{ OK, -EBADMSG, 0, false, 0, 0, "" },
	{ OK "\r\n", -EBADMSG, 0, false, 0, 0, "" },
	{ OK "\r\nSpam: True ; 6.0 / 5.0\r\n", -EBADMSG, 0, false, 0, 0, "" },
	{ OK "Spam: True ; 6.0 / 5.0\r\n", -EBADMSG, 0, false, 0, 0, "" },
	{ OK "Spam: True ; 6.0 / 5.0\r\nSpam: False ; 0.0 / 5.0\r\n\r\n", -EBADMSG, 0, false, 0, 0, "" },
	{ OK "Spam: Perhaps ; 6.0 / 5.0\r\n\r\n", -EBADMSG, 0, false, 0, 0, "" },
	{ OK "Spam: True\r\n\r\n", -EBADMSG, 0, false, 0, 0, "" },
	{ OK "Spam: True ; / 5.0\r\n\r\n", -EBADMSG, 0, false, 0, 0, "" },
	{ OK "Spam: True ; 6. / 5.0\r\n\r\n", -EBADMSG, 0, false, 0, 0, "" },
	{ OK "Spam: True ; .6 / 5.0\r\n\r\n", -EBADMSG, 0, false, 0, 0, "" },
	{ OK "Spam: True ; +6 / 5.0\r\n\r\n", -EBADMSG, 0, false, 0, 0, "" },
	{ OK "Spam: True ; 6,0 / 5.0\r\n\r\n", -EBADMSG, 0, false, 0, 0, "" },
	{ OK "Spam: True ; nan / 5.0\r\n\r\n", -EBADMSG, 0, false, 0, 0, "" },
	{ OK "Spam: True ; 6.0\r\n\r\n", -EBADMSG, 0, false, 0, 0, "" },
	{ OK "Spam: True ; 6.0 / 5.0 x\r\n\r\n", -EBADMSG, 0, false, 0, 0, "" },
	{ "SPAMD/1.1 EX_OK\r\nSpam: True ; 6.0 / 5.0\r\n\r\n", -EBADMSG, 0, false, 0, 0, "" },
	{ "SPAMD/1.1 0EX_OK\r\nSpam: True ; 6.0 / 5.0\r\n\r\n", -EBADMSG, 0, false, 0, 0, "" },
	{ "SPAMD/1.1 256 X\r\n", -EBADMSG, 0, false, 0, 0, "" },
	{ "SPAMD/1.1 -1 X\r\n", -EBADMSG, 0, false, 0, 0, "" },
	{ "SPAMD/1 0 EX_OK\r\nSpam: True ; 6.0 / 5.0\r\n\r\n", -EBADMSG, 0, false, 0, 0, "" },
	{ "HTTP/1.1 200 OK\r\nSpam: True ; 6.0 / 5.0\r\n\r\n", -EBADMSG, 0, false, 0, 0, "" },
};

static void test_rows(void **state)
{
	static struct spamd_reply r;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char all[2000] = "";
		int rc = spamd_reply_read(rows[i].text, strlen(rows[i].text), &r);

		for (size_t k = 0; rc == 0 && k < r.symbol_count; k++)
			snprintf(all + strlen(all), sizeof(all) - strlen(all), "%.*s ", (int)r.symbol[k].len, r.symbol[k].name);
		if (rc != rows[i].rc || (rc == 0 && (r.code != rows[i].code || r.spam != rows[i].spam || r.score != rows[i].score ||
						      r.threshold != rows[i].threshold || strcmp(all, rows[i].symbols) != 0)))
			fail_msg("%s: %d, %d %d %ld %ld %s", rows[i].text, rc, r.code, r.spam, (long)r.score, (long)r.threshold, all);
	}
	assert_int_equal(spamd_reply_read("SPAMD/1.0 76 Bad \x01line\r\n", 24, &r), 0);
	assert_string_equal(r.error, "Bad ?line");
}

/* Where it ends, as soon as it tells. */
static void test_length(void **state)
{
	static const char text[] = OK "Content-length: 7\r\nSpam: False ; 1.0 / 5.0\r\n\r\nA,B,C\r\nmore";
	size_t head = strlen(text) - strlen("A,B,C\r\nmore");

	for (size_t n = 0; n <= strlen(text); n++)
		assert_int_equal(spamd_reply_length(text, n), n < head ? 0 : head + 7);
	assert_int_equal(spamd_reply_length(OK "\r\n", strlen(OK) + 2), 0);
	assert_int_equal(spamd_reply_length(OK "Content-length: x\r\n\r\n", strlen(OK) + 21), 0);
	assert_int_equal(spamd_reply_length(OK "Content-length: 65537\r\n\r\n", strlen(OK) + 25), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_rows), cmocka_unit_test(test_length) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
