#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "imap/imap_after.h"

#define NL "\r\n"

static const struct { const char *line, *tag; enum imap_deed deed; const char *args; int64_t literal; bool sync; } rows[] = {
	{ "a NOOP" NL, "a", IMAP_DEED_PASS, "", -1, false },
	{ "a noop" NL, "a", IMAP_DEED_PASS, "", -1, false },
	{ "A.1-x FETCH 1 BODY[]" NL, "A.1-x", IMAP_DEED_FETCH, "1 BODY[]", -1, false },
	{ "a UID FETCH 1 BODY[]" NL, "a", IMAP_DEED_FETCH, "1 BODY[]", -1, false },
	{ "a uid copy 1 x" NL, "a", IMAP_DEED_PASS, "1 x", -1, false },
	{ "a SELECT x (CONDSTORE)" NL, "a", IMAP_DEED_SELECT, "x (CONDSTORE)", -1, false },
	{ "a EXAMINE {3}" NL, "a", IMAP_DEED_SELECT, "{3}", 3, true },
	{ "a APPEND x {5000000+}" NL, "a", IMAP_DEED_PASS, "x {5000000+}", 5000000, false },
	{ "a APPEND x ~{7}" NL, "a", IMAP_DEED_PASS, "x ~{7}", 7, true },
	{ "a IDLE" NL, "a", IMAP_DEED_IDLE, "", -1, false },
	{ "a ENABLE QRESYNC" NL, "a", IMAP_DEED_ENABLE, "QRESYNC", -1, false },
	{ "a UNSELECT" NL, "a", IMAP_DEED_CLOSE, "", -1, false },
	{ "done" NL, "", IMAP_DEED_STRAY_DONE, "", -1, false },
	{ "a COMPRESS DEFLATE" NL, "a", IMAP_DEED_REFUSE, "DEFLATE", -1, false },
	{ "a NOTIFY SET (SELECTED (MessageNew (BODY[])))" NL, "a", IMAP_DEED_REFUSE, NULL, -1, false },
	{ "a URLFETCH \"imap://x\"" NL, "a", IMAP_DEED_REFUSE, NULL, -1, false },
	{ "a UID CONVERT 1" NL, "a", IMAP_DEED_REFUSE, NULL, -1, false },
	{ "a UID" NL, "a", IMAP_DEED_REFUSE, NULL, -1, false },
	{ "a UID SELECT x" NL, "a", IMAP_DEED_REFUSE, NULL, -1, false },
	{ "a LOGIN x {3+}" NL, "a", IMAP_DEED_REFUSE, NULL, 3, false },
	{ "a XSHOW 1" NL, "a", IMAP_DEED_REFUSE, NULL, -1, false },
	{ "a" NL, "a", IMAP_DEED_REFUSE, NULL, -1, false },
	{ "a  NOOP" NL, "a", IMAP_DEED_REFUSE, NULL, -1, false },
	{ NL, "*", IMAP_DEED_REFUSE, NULL, -1, false },
	{ " NOOP" NL, "*", IMAP_DEED_REFUSE, NULL, -1, false },
	{ "* NOOP" NL, "*", IMAP_DEED_REFUSE, NULL, -1, false },
	{ "+ NOOP" NL, "*", IMAP_DEED_REFUSE, NULL, -1, false },
	{ "a\"b NOOP" NL, "*", IMAP_DEED_REFUSE, NULL, -1, false },
	{ "\xe4 NOOP" NL, "*", IMAP_DEED_REFUSE, NULL, -1, false },
	{ "a NOOP\rx", "a", IMAP_DEED_REFUSE, NULL, -1, false },
	{ "a NOOP\n", "a", IMAP_DEED_REFUSE, NULL, -1, false },
	{ "a NOOP\rb FETCH 1 BODY[]" NL, "a", IMAP_DEED_REFUSE, NULL, -1, false },
	{ "a NOOP {3+}\n", "a", IMAP_DEED_REFUSE, NULL, 3, false },
	{ "a NOOP\r\r\n", "a", IMAP_DEED_REFUSE, NULL, -1, false },
};

static void test_lines(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t len = strlen(rows[i].line);
		char *line = memcpy(malloc(len), rows[i].line, len);
		struct imap_after a;

		imap_after_parse(line, len, &a);
		if (strcmp(a.tag, rows[i].tag) != 0 || a.deed != rows[i].deed || (a.deed == IMAP_DEED_REFUSE) != (a.why != NULL))
			fail_msg("%s: tag %s, deed %d", rows[i].line, a.tag, (int)a.deed);
		if (rows[i].args && (a.args.len != strlen(rows[i].args) || memcmp(a.args.len ? a.args.p : "", rows[i].args, a.args.len) != 0))
			fail_msg("%s: arguments %.*s", rows[i].line, (int)a.args.len, a.args.p);
		if (a.literal != (rows[i].literal >= 0) || (a.literal && ((int64_t)a.size != rows[i].literal || a.sync != rows[i].sync)))
			fail_msg("%s: literal", rows[i].line);
		free(line);
	}
}

static void test_nul(void **state)
{
	static const char line[] = "a NOOP\0 x" NL;
	struct imap_after a;

	imap_after_parse(line, sizeof(line) - 1, &a);
	assert_int_equal(a.deed, IMAP_DEED_REFUSE);
}

static void test_tag_long(void **state)
{
	char line[IMAP_TAG_MAX + 20];
	struct imap_after a;

	memset(line, 'a', sizeof(line));
	memcpy(line + IMAP_TAG_MAX, " NOOP" NL, 7);
	imap_after_parse(line, IMAP_TAG_MAX + 7, &a);
	assert_true(a.deed == IMAP_DEED_PASS && strlen(a.tag) == IMAP_TAG_MAX);
	memcpy(line + IMAP_TAG_MAX, "a NOOP" NL, 8);
	imap_after_parse(line, IMAP_TAG_MAX + 8, &a);
	assert_true(a.deed == IMAP_DEED_REFUSE && strcmp(a.tag, "*") == 0);
}

/* want NULL: refused; "{": it comes as a literal */
static const struct { const char *args, *want; } mailboxes[] = {
	{ "INBOX", "INBOX" }, { "inbox", "INBOX" }, { "Inbox/x", "Inbox/x" }, { "\"a b\"", "a b" }, { "\"a\\\"\\\\b\" (CONDSTORE)", "a\"\\b" },
	{ "\"iNBox\"", "INBOX" }, { "x (CONDSTORE)", "x" }, { "{5}", "{" }, { "{5+}", "{" }, { "\"\"", "" }, { "\"a", NULL }, { "\"a\\", NULL }, { "", NULL },
	{ "{5} x", NULL }, { "123456789012345678901", NULL }, { " x", NULL }, { "x(CONDSTORE)", NULL }, { "x\"y\"", NULL }, { "\"x\"y", NULL }, { "x\\y", NULL },
	{ "x{3}", NULL }, { "x\ty", NULL }, { "\"x\"(CONDSTORE)", NULL }, { "&AOQ-", "&AOQ-" }, { "\303\244", "\303\244" }, { "~x", "~x" },
};

static void test_mailboxes(void **state)
{
	for (size_t i = 0; i < sizeof(mailboxes) / sizeof(mailboxes[0]); i++) {
		char line[100], name[21];
		struct imap_after a;
		int n;

		strcat(strcat(strcpy(line, "a SELECT "), mailboxes[i].args), NL);
		imap_after_parse(line, strlen(line), &a);
		n = imap_after_mailbox(&a, name, sizeof(name));
		if (!mailboxes[i].want ? n != -EINVAL : mailboxes[i].want[0] == '{' ? n != -EAGAIN :
		    n != (int)strlen(mailboxes[i].want) || strcmp(name, mailboxes[i].want) != 0)
			fail_msg("%s: %d, %s", mailboxes[i].args, n, n >= 0 ? name : "");
	}
}

static void test_more(void **state)
{
	bool literal, sync;
	uint64_t size;

	assert_true(imap_after_more(NL, 2, &literal, &size, &sync) && !literal);
	assert_true(imap_after_more(" {3}" NL, 6, &literal, &size, &sync) && literal && sync && size == 3);
	assert_true(imap_after_more(" {4+}" NL, 7, &literal, &size, &sync) && literal && !sync && size == 4);
	assert_false(imap_after_more("\n", 1, &literal, &size, &sync));
	assert_false(imap_after_more("x\n", 2, &literal, &size, &sync));
	assert_false(imap_after_more("\0" NL, 3, &literal, &size, &sync));
	assert_false(imap_after_more("x\ry" NL, 5, &literal, &size, &sync));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines), cmocka_unit_test(test_nul), cmocka_unit_test(test_tag_long), cmocka_unit_test(test_mailboxes), cmocka_unit_test(test_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
