#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"

static int saved = -1, far = -1;
static char got[65536 + 1];

/* stderr becomes near; what is written to it can be read from `far`. */
static void redirect(int near, enum log_level level)
{
	dup2(near, STDERR_FILENO);
	close(near);
	log_open("test[1]", level);
}

static void redirect_pipe(enum log_level level)
{
	int p[2];

	assert_int_equal(pipe(p), 0);
	far = p[0];
	redirect(p[1], level);
}

static int setup(void **state)
{
	saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
	unsetenv("JOURNAL_STREAM");
	setenv("TERM", "xterm", 1);
	unsetenv("NO_COLOR");
	return saved < 0;
}

static int teardown(void **state)
{
	dup2(saved, STDERR_FILENO);
	close(saved);
	if (far >= 0)
		close(far);
	far = -1;
	log_open("test", LOG_LEVEL_INFO);
	return 0;
}

/* All that is there. */
static const char *read_far(void)
{
	size_t len = 0;
	ssize_t n;

	fcntl(far, F_SETFL, O_NONBLOCK);
	while (len < sizeof(got) - 1 && (n = read(far, got + len, sizeof(got) - 1 - len)) > 0)
		len += (size_t)n;
	got[len] = '\0';
	return got;
}

/* What follows "test[1]:" in the only line. */
static const char *read_pairs(void)
{
	char *p = strstr(read_far(), "test[1]:");

	assert_non_null(p);
	assert_ptr_equal(strchr(p, '\n'), got + strlen(got) - 1);
	got[strlen(got) - 1] = '\0';
	return p + strlen("test[1]:");
}

static void test_values_are_escaped(void **state)
{
	static const struct {
		const char *name, *value;
		size_t len;
		const char *want;
	} rows[] = {
		{ "plain", "a@b.example", 11, " v=a@b.example" },
		{ "equals sign", "a=b", 3, " v=a=b" },
		{ "empty", "", 0, " v=\"\"" },
		{ "blank", "a b", 3, " v=\"a b\"" },
		{ "quote", "a\"b", 3, " v=\"a\\\"b\"" },
		{ "backslash", "a\\b", 3, " v=\"a\\\\b\"" },
		{ "forged line", "x\r\nevent=accept", 15, " v=\"x\\r\\nevent=accept\"" },
		{ "tab", "\t", 1, " v=\"\\t\"" },
		{ "NUL", "a\0b", 3, " v=\"a\\x00b\"" },
		{ "terminal escape", "\033[2J", 4, " v=\"\\x1b[2J\"" },
		{ "DEL", "\177", 1, " v=\"\\x7f\"" },
		{ "8-bit", "\303\274", 2, " v=\"\\xc3\\xbc\"" },
		{ "C1 control", "\x9b", 1, " v=\"\\x9b\"" },
	};

	redirect_pipe(LOG_LEVEL_INFO);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct log_line l;

		log_start(&l, LOG_LEVEL_NOTICE, NULL);
		log_bytes(&l, "v", rows[i].value, rows[i].len);
		log_emit(&l);
		if (strcmp(read_pairs(), rows[i].want) != 0)
			fail_msg("%s: %s", rows[i].name, got);
	}
}

static void test_a_line(void **state)
{
	struct log_line l;

	redirect_pipe(LOG_LEVEL_INFO);
	log_start(&l, LOG_LEVEL_WARNING, "backend");
	log_str(&l, "name", "mx1");
	log_str(&l, "none", NULL);
	log_num(&l, "rcpts", -3);
	log_emit(&l);
	read_far();
	assert_non_null(strstr(got, "Z warning test[1]: event=backend name=mx1 rcpts=-3\n"));
	assert_true(got[4] == '-' && got[10] == 'T' && got[23] == 'Z');
}

static void test_pairs_and_levels(void **state)
{
	redirect_pipe(LOG_LEVEL_NOTICE);
	log_error("a", "k", "1", NULL);
	log_warning("b", "k", "2", "l", "3", NULL);
	log_notice("c", NULL);
	log_info("d", NULL);
	log_debug("e", NULL);
	read_far();
	assert_non_null(strstr(got, " error test[1]: event=a k=1\n"));
	assert_non_null(strstr(got, " warning test[1]: event=b k=2 l=3\n"));
	assert_non_null(strstr(got, " notice test[1]: event=c\n"));
	assert_null(strstr(got, "event=d"));
	assert_null(strstr(got, "event=e"));
}

static void test_long_values_are_cut(void **state)
{
	static char value[20000];
	struct log_line l;
	size_t len;

	redirect_pipe(LOG_LEVEL_INFO);
	for (size_t fill = 'a'; fill <= 0xff; fill += 0xff - 'a') {
		memset(value, (int)fill, sizeof(value));
		log_start(&l, LOG_LEVEL_INFO, "long");
		log_bytes(&l, "v", value, sizeof(value));
		log_str(&l, "after", "x");
		log_emit(&l);
		read_far();
		len = strlen(got);
		assert_true(len > 8100 && len <= 8192);
		assert_string_equal(got + len - 5, "...\"\n");
		assert_null(strstr(got, "after="));
	}
	assert_int_equal(log_dropped(), 0);
}

static void test_many_values_are_cut(void **state)
{
	struct log_line l;

	redirect_pipe(LOG_LEVEL_INFO);
	log_start(&l, LOG_LEVEL_INFO, "many");
	for (int i = 0; i < 5000; i++)
		log_num(&l, "n", i);
	log_emit(&l);
	read_far();
	assert_true(strlen(got) > 8000 && strlen(got) <= 8192);
	assert_int_equal(got[strlen(got) - 1], '\n');
}

static void test_journal_priorities(void **state)
{
	char name[64];
	struct stat st;
	int s[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	far = s[0];
	fstat(s[1], &st);
	snprintf(name, sizeof(name), "%llu:%llu", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", name, 1);
	redirect(s[1], LOG_LEVEL_DEBUG);
	log_error("a", NULL);
	log_debug("b", NULL);
	assert_string_equal(read_far(), "<3>test[1]: event=a\n<7>test[1]: event=b\n");

	/* Set, but stderr goes elsewhere. */
	close(far);
	redirect_pipe(LOG_LEVEL_INFO);
	log_error("a", NULL);
	assert_null(strchr(read_far(), '<'));
}

static void test_colour_on_a_terminal_only(void **state)
{
	int near;

	far = posix_openpt(O_RDWR | O_NOCTTY);
	if (far < 0 || grantpt(far) != 0 || unlockpt(far) != 0) {
		print_message("skipped: no terminal to be had\n");
		skip();
	}
	near = open(ptsname(far), O_RDWR | O_NOCTTY);
	if (near < 0)
		skip();
	redirect(near, LOG_LEVEL_INFO);
	log_error("a", NULL);
	assert_non_null(strstr(read_far(), "Z \033[31merror\033[0m test[1]: event=a"));
	setenv("NO_COLOR", "1", 1);
	log_open("test[1]", LOG_LEVEL_INFO);
	log_error("a", NULL);
	assert_non_null(strstr(read_far(), "Z error test[1]: event=a"));
}

/* Nobody reads: lines are dropped and counted, whole ones only, and the loss is told afterwards. */
static void full_sink(int near)
{
	uint64_t before = log_dropped();
	int flags = fcntl(near, F_GETFL), written = 0;
	char *line, *save = NULL;

	redirect(near, LOG_LEVEL_INFO);
	while (log_dropped() < before + 10 && written < 1000000) {
		log_info("fill", "text", "0123456789012345678901234567890123456789", NULL);
		written++;
	}
	assert_int_equal(log_dropped(), before + 10);
	assert_int_equal(fcntl(STDERR_FILENO, F_GETFL), flags);
	while (*read_far())
		;
	log_info("again", NULL);
	read_far();
	for (line = strtok_r(got, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		if (strstr(line, "event=again"))
			break;
	assert_non_null(line);
	line = strtok_r(NULL, "\n", &save);
	assert_non_null(line);
	assert_non_null(strstr(line, "event=log_dropped lines=10"));
}

static void test_full_pipe(void **state)
{
	int p[2];

	assert_int_equal(pipe(p), 0);
	far = p[0];
	full_sink(p[1]);
}

static void test_full_socket(void **state)
{
	int s[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	far = s[0];
	full_sink(s[1]);
}

static void test_file_is_appended_to(void **state)
{
	char name[] = "/tmp/test_log.XXXXXX";
	int near = mkstemp(name);

	assert_true(near >= 0);
	far = open(name, O_RDONLY);
	unlink(name);
	assert_int_equal(write(near, "before\n", 7), 7);
	redirect(near, LOG_LEVEL_INFO);
	log_info("a", NULL);
	assert_int_equal(write(STDERR_FILENO, "after\n", 6), 6);
	read_far();
	assert_ptr_equal(strstr(got, "before\n"), got);
	assert_non_null(strstr(got, "event=a\nafter\n"));
}

static void test_closed_stderr(void **state)
{
	uint64_t before = log_dropped();

	close(STDERR_FILENO);
	log_open("test[1]", LOG_LEVEL_INFO);
	log_info("a", NULL);
	assert_int_equal(log_dropped(), before + 1);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_values_are_escaped),
		CASE(test_a_line),
		CASE(test_pairs_and_levels),
		CASE(test_long_values_are_cut),
		CASE(test_many_values_are_cut),
		CASE(test_journal_priorities),
		CASE(test_colour_on_a_terminal_only),
		CASE(test_full_pipe),
		CASE(test_full_socket),
		CASE(test_file_is_appended_to),
		CASE(test_closed_stderr),
	};

	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
