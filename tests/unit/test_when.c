/* Moments and lengths of time as they are typed, and text that is shown on a terminal. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "command/terminal.h"
#include "command/when.h"

static void test_when(void **state)
{
	/* seen on Sunday, 2026-11-22 12:00:00 UTC */
	static const struct { const char *text, *want; } rows[] = {
		{ "7d", "2026-11-15 12:00:00" }, { "12h", "2026-11-22 00:00:00" }, { "30m", "2026-11-22 11:30:00" },
		{ "90s", "2026-11-22 11:58:30" }, { "2w", "2026-11-08 12:00:00" }, { "0s", "2026-11-22 12:00:00" },
		{ "2026-11-20", "2026-11-20 00:00:00" }, { "2026-11-20 14:30", "2026-11-20 14:30:00" },
		{ "2026-11-20T14:30:05", "2026-11-20 14:30:05" }, { "2024-02-29", "2024-02-29 00:00:00" },
		{ "today", "2026-11-22 00:00:00" }, { "yesterday", "2026-11-21 00:00:00" }, { "yesterday 14:30", "2026-11-21 14:30:00" },
		{ "Tuesday", "2026-11-17 00:00:00" }, { "tue", "2026-11-17 00:00:00" }, { "sunday", "2026-11-15 00:00:00" },
		{ "saturday 23:59:59", "2026-11-21 23:59:59" },
		{ "", NULL }, { " ", NULL }, { "7", NULL }, { "d", NULL }, { "-7d", NULL }, { "7dd", NULL }, { "7 d", NULL }, { "7y", NULL },
		{ "9999999999d", NULL }, { "2026-11-31", NULL }, { "2026-13-01", NULL }, { "2026-00-01", NULL }, { "2026-1-1", NULL },
		{ "2026-11-20x", NULL }, { "2026-11-20 ", NULL }, { "2026-11-20 25:00", NULL }, { "2026-11-20 14", NULL },
		{ "2026-11-20 14:60", NULL }, { "2026-11-20 14:30:", NULL }, { "2026-11-20 14:30:05x", NULL }, { "2026-11-20 +1:30", NULL },
		{ "tomorrow", NULL }, { "tu", NULL }, { "tuesdays", NULL }, { "yesterday ", NULL }, { "yesterday noon", NULL }, { "2025-02-29", NULL },
	};
	int64_t now, at;
	char text[WHEN_TEXT_MAX];

	setenv("TZ", "UTC", 1);
	tzset();
	assert_int_equal(when_parse("2026-11-22 12:00:00", 0, &now), 0);
	assert_int_equal(now, 1795348800);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		int rc = when_parse(rows[i].text, now, &at);

		if (rc != (rows[i].want ? 0 : -EINVAL) || (rc == 0 && strcmp(when_text(at, text), rows[i].want) != 0))
			fail_msg("%s: %d %s", rows[i].text, rc, rc == 0 ? when_text(at, text) : "");
	}
	assert_int_equal(when_duration("30d", &at), 0);
	assert_int_equal(at, 30 * 86400);
	assert_int_equal(when_duration("today", &at), -EINVAL);
}

static void test_terminal(void **state)
{
	static const struct { const char *in, *out; size_t max; } rows[] = {
		{ "plain", "plain", 0 }, { "Grüße 世界", "Grüße 世界", 0 }, { "a\033[2Jb", "a\\x1b[2Jb", 0 }, { "a\r\nb\tc", "a\\r\\nb\\tc", 0 },
		{ "\x7f", "\\x7f", 0 }, { "\xc2\x9b" "1m", "\\x9b1m", 0 }, { "\xe2\x80\xaegnp.exe", "\\u202egnp.exe", 0 },
		{ "\xe2\x80\xa8", "\\u2028", 0 }, { "\xff\xfe", "\\xff\\xfe", 0 }, { "\xc3", "\\xc3", 0 }, { "\xed\xa0\x80", "\\xed\\xa0\\x80", 0 },
		{ "abcdef", "abc...", 3 }, { "abc", "abc", 3 }, { "世界世界", "世界...", 2 }, { "", "", 3 }, { "\xf3\xa0\x81\x81", "\\ue0041", 0 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(buf) struct buf out = BUF_INIT(1000), small = BUF_INIT(2);

		assert_int_equal(terminal_text(rows[i].in, strlen(rows[i].in), rows[i].max, &out), 0);
		assert_string_equal(buf_str(&out), rows[i].out);
		if (strlen(rows[i].out) > 2)
			assert_int_equal(terminal_text(rows[i].in, strlen(rows[i].in), rows[i].max, &small), -ENOSPC);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_when),
		cmocka_unit_test(test_terminal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
