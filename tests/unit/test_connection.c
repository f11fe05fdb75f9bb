#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/connection.h"
#include "base/log.h"

enum { FLOOD = 5000 };

/* What comes out is bounded, whatever comes in, and says how much that was. */
static void test_a_flood(void **state)
{
	static char got[256 * 1024];
	int saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10), fd = memfd_create("log", 0), lines = 0, unsaid = 0;
	struct net_addr a;
	ssize_t n;

	assert_int_equal(net_parse("192.0.2.7", &a), 0);
	dup2(fd, STDERR_FILENO);
	log_open("test[1]", LOG_LEVEL_INFO);
	for (int i = 0; i < FLOOD; i++)
		connection_turned_away("web", &a, "connections");
	sleep(2);
	connection_turned_away("web", &a, "connections");
	dup2(saved, STDERR_FILENO);
	close(saved);
	log_open("test", LOG_LEVEL_INFO);
	n = pread(fd, got, sizeof(got) - 1, 0);
	close(fd);
	assert_true(n > 0);
	got[n] = '\0';
	for (char *p = got; (p = strchr(p, '\n')); p++)
		lines++;
	for (char *p = got; (p = strstr(p, " more=")); p++)
		unsaid += atoi(p + strlen(" more="));
	assert_in_range(lines, 101, 120);
	assert_int_equal(lines + unsaid, FLOOD + 1);
	assert_non_null(strstr(got, "event=turned-away client=192.0.2.7 reason=connections listener=web\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_flood),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
