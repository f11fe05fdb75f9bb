/* The control socket as its clients see it: who answers there, and what is no answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process/control.h"

static char dir[] = "/tmp/gatepost-control-XXXXXX";
static struct sockaddr_un sa = { .sun_family = AF_UNIX };

static int listener(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	unlink(sa.sun_path);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 5), 0);
	return fd;
}

static void test_owner(void **state)
{
	AUTO(buf) struct buf err = BUF_INIT(1024);
	char longest[200];
	pid_t pid = 0;
	int fd = listener();

	assert_int_equal(control_owner(sa.sun_path, &pid, &err), 0);
	assert_int_equal(pid, getpid());
	assert_int_equal(err.len, 0);
	close(fd);
	assert_int_equal(control_owner(sa.sun_path, &pid, &err), -ECONNREFUSED);
	assert_non_null(strstr(buf_str(&err), "is gatepost running?"));
	unlink(sa.sun_path);
	assert_int_equal(control_owner(sa.sun_path, &pid, &err), -ENOENT);
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = 0;
	assert_int_equal(control_owner(longest, &pid, &err), -ENAMETOOLONG);
}

/* Ask a server that answers with these words and closes. */
static int ask(const char *words, struct buf *err, json_t **answer)
{
	json_t *request = json_pack("{s:s}", "command", "status");
	int fd = listener(), rc, status;
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		char octet = 0;
		int c = accept(fd, NULL, NULL);

		while (octet != '\n')           /* all of it: who leaves before is told nothing more */
			if (recv(c, &octet, 1, 0) <= 0)
				_exit(1);
		(void)!send(c, words, strlen(words), MSG_NOSIGNAL);
		_exit(0);
	}
	close(fd);
	rc = control_ask(sa.sun_path, request, answer, err);
	json_decref(request);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	return rc;
}

static void test_answers(void **state)
{
	static const struct { const char *words; int rc; const char *says; } rows[] = {
		{ "{\"ok\":true}\n", 0, "" }, { "{\"ok\":true", -EBADMSG, "no JSON object" }, { "[1]\n", -EBADMSG, "no JSON object" },
		{ "hello\n", -EBADMSG, "no JSON object" }, { "", -EPIPE, "control socket" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(buf) struct buf err = BUF_INIT(1024);
		json_t *answer = NULL;

		assert_int_equal(ask(rows[i].words, &err, &answer), rows[i].rc);
		assert_non_null(strstr(buf_str(&err), rows[i].says));
		if (rows[i].rc == 0)
			assert_true(json_is_true(json_object_get(answer, "ok")));
		json_decref(answer);
	}
}

static int setup(void **state)
{
	if (!mkdtemp(dir))
		return -1;
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/control", dir);
	return 0;
}

static int teardown(void **state)
{
	unlink(sa.sun_path);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_owner), cmocka_unit_test(test_answers) };

	return cmocka_run_group_tests(tests, setup, teardown);
}
