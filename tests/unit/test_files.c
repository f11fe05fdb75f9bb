/* How many open files a worker wants, and when that is said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "policy/conf.h"
#include "process/files.h"

static const struct {
	const char *name;
	int workers, sessions;
	struct listener_conf listener[4];
	size_t listeners;
	uint64_t wanted;
} rows[] = {
	{ "nothing listens", 1, 10000, { { 0 } }, 0, 256 },
	{ "smtp alone", 1, 10000, { { .protocol = LISTENER_SMTP } }, 1, 10256 },
	{ "each worker has its own sessions of smtp", 8, 10000, { { .protocol = LISTENER_SMTP } }, 1, 10256 },
	{ "max_connections of smtp say nothing", 1, 50, { { .protocol = LISTENER_SMTP, .max_connections = 999 } }, 1, 306 },
	{ "two for each", 1, 50, { { .protocol = LISTENER_IMAP, .max_connections = 10000 } }, 1, 20256 },
	{ "over all workers", 4, 50, { { .protocol = LISTENER_IMAP, .max_connections = 10000 } }, 1, 5256 },
	{ "rounded up", 3, 50, { { .protocol = LISTENER_TCP, .max_connections = 10 } }, 1, 7 + 256 },
	{ "all of them", 2, 1000,
	  { { .protocol = LISTENER_POP3, .max_connections = 100 }, { .protocol = LISTENER_IMAP, .max_connections = 200 },
	    { .protocol = LISTENER_TCP, .max_connections = 300 }, { .protocol = LISTENER_SMTP } }, 4, 600 + 1000 + 256 },
	{ "as many as the configuration takes", 1, 30000,
	  { { .protocol = LISTENER_POP3, .max_connections = 1000000 }, { .protocol = LISTENER_IMAP, .max_connections = 1000000 } }, 2, 4000256 },
};

static void test_wanted(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct site s = { .workers = rows[i].workers, .listener = (struct listener_conf *)(uintptr_t)rows[i].listener,
				  .listener_count = rows[i].listeners, .limits = { .sessions = rows[i].sessions } };

		if (files_wanted(&s) != rows[i].wanted)
			fail_msg("%s: %llu", rows[i].name, (unsigned long long)files_wanted(&s));
	}
}

static void test_missing(void **state)
{
	struct listener_conf l = { .protocol = LISTENER_IMAP, .max_connections = 100 };
	struct site s = { .workers = 1, .listener = &l, .listener_count = 1 };
	char why[FILES_WHY_MAX] = "";
	struct rlimit all, few;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &all), 0);
	few = all;
	few.rlim_cur = 456;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	assert_false(files_missing(&s, why));
	assert_string_equal(why, "");
	l.max_connections = 101;
	assert_true(files_missing(&s, why));
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &all), 0);
	assert_non_null(strstr(why, "456 open files, and 458 are wanted"));
	assert_true(strlen(why) < FILES_WHY_MAX - 32);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wanted),
		cmocka_unit_test(test_missing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
