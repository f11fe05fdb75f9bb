#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/net.h"
#include "command/cmd_sink.h"

static char dir[] = "/tmp/test_sink.XXXXXX";
static char maildir[64];
static pid_t child;
static struct net_addr addr;

/* The sink in a process of its own; its first line says where it listens. */
static int setup(void **state)
{
	char line[500] = "", *p;
	ssize_t n = 0, got;
	int fds[2];

	if (!mkdtemp(dir) || pipe(fds) < 0)
		return -1;
	snprintf(maildir, sizeof(maildir), "%s/md", dir);
	child = fork();
	if (child == 0) {
		char *argv[] = { (char *)"sink", (char *)"--listen", (char *)"127.0.0.1:0", (char *)"--maildir", maildir, (char *)"--hostname",
				 (char *)"sink.example", (char *)"--reject", (char *)"no@y.example", NULL };

		dup2(fds[1], 2);
		close(fds[0]);
		close(fds[1]);
		_exit(cmd_sink(9, argv));
	}
	close(fds[1]);
	while (!strchr(line, '\n') && (got = read(fds[0], line + n, sizeof(line) - 1 - (size_t)n)) > 0)
		n += got;
	p = strstr(line, "address=");
	if (!p)
		return -1;
	p += strlen("address=");
	p[strcspn(p, " ")] = '\0';
	return net_parse_port(p, 0, &addr);
}

static int teardown(void **state)
{
	char command[200];
	int status;

	kill(child, SIGTERM);
	waitpid(child, &status, 0);
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	return system(command) == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

/* Send all, read to the end. */
static char *talk(const char *text, size_t len)
{
	struct timeval limit = { .tv_sec = 10 };
	struct sockaddr_storage sa;
	socklen_t sa_len = net_to_sockaddr(&addr, &sa);
	char *out = calloc(1, 65536);
	size_t n = 0;
	ssize_t got;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_true(fd >= 0 && out && connect(fd, (struct sockaddr *)&sa, sa_len) == 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	assert_int_equal(write(fd, text, len), (ssize_t)len);
	while (n < 65000 && (got = read(fd, out + n, 65000 - n)) > 0)
		n += (size_t)got;
	close(fd);
	return out;
}

/* The newest message whose text contains needle; NULL if there is none. All are counted. */
static char *kept(const char *needle, int *count)
{
	char path[400], *found = NULL;
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "%s/new", maildir);
	d = opendir(path);
	assert_non_null(d);
	*count = 0;
	while ((e = readdir(d)) != NULL) {
		char *text = calloc(1, 65536);
		int fd = openat(dirfd(d), e->d_name, O_RDONLY);

		assert_true(text && fd >= 0);
		if (e->d_name[0] != '.' && read(fd, text, 65535) > 0 && ++*count && strstr(text, needle) && !found) {
			found = text;
			text = NULL;
		}
		free(text);
		close(fd);
	}
	closedir(d);
	return found;
}

static void test_data(void **state)
{
	static const char in[] = "EHLO c.example\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nRCPT TO:<No@y.example>\r\nRCPT TO:<c@y.example>\r\n"
				 "DATA\r\nSubject: one\r\n\r\n..dot\r\n \r\nend\r\n.\r\nQUIT\r\n";
	char *out = talk(in, strlen(in)), *text;
	int count;

	assert_non_null(strstr(out, "250-CHUNKING\r\n"));
	assert_non_null(strstr(out, "550 5.1.1 "));
	assert_non_null(strstr(out, "250 2.0.0 Kept"));
	assert_non_null(strstr(out, "221 2.0.0 "));
	free(out);
	text = kept("Subject: one", &count);
	assert_non_null(text);
	assert_true(strstr(text, "Return-Path: <a@x.example>\r\nDelivered-To: b@y.example\r\nDelivered-To: c@y.example\r\nReceived: from c.example ") == text);
	assert_non_null(strstr(text, "\r\nSubject: one\r\n\r\n.dot\r\n \r\nend\r\n"));
	assert_string_equal(strstr(text, "Subject:"), "Subject: one\r\n\r\n.dot\r\n \r\nend\r\n");
	free(text);
}

static void test_bdat(void **state)
{
	static const char in[] = "EHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<b@y.example>\r\nBDAT 20\r\nSubject: two\r\n\r\na\nb\rBDAT 4 LAST\r\n.\r\n.QUIT\r\n";
	char *out = talk(in, strlen(in)), *text;
	int count;

	assert_non_null(strstr(out, "250 2.0.0 Kept"));
	free(out);
	text = kept("Subject: two", &count);
	assert_non_null(text);
	assert_string_equal(strstr(text, "Subject:"), "Subject: two\r\n\r\na\nb\r.\r\n.");
	free(text);
}

/* Nothing of this is kept. */
static void test_refused(void **state)
{
	static const char *const rows[][2] = {
		{ "MAIL FROM:<a@x.example>\r\nQUIT\r\n", "503 " },
		{ "EHLO x\r\nMAIL FROM:<a@x.example>\r\nDATA\r\nQUIT\r\n", "503 5.5.1 RCPT first" },
		{ "EHLO x\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<no@y.example>\r\nDATA\r\nQUIT\r\n", "503 5.5.1 RCPT first" },
		{ "EHLO x\r\nMAIL FROM:<a@x.example>\r\nBDAT 3 LAST\r\nabcQUIT\r\n", "503 5.5.1 RCPT first" },
		{ "EHLO x\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nBDAT 3\r\nabcDATA\r\nRSET\r\nQUIT\r\n", "503 5.5.1 BDAT was begun" },
		{ "EHLO x\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\nx\n.\r\nQUIT\r\n", "550 5.5.2 " },
		{ "EHLO x\r\nMAIL FROM:<a@x.example> SIZE=99999999999\r\nQUIT\r\n", "552 5.3.4 " },
		{ "EHLO x\r\nNOOP\nQUIT\r\n", "500 5.5.2 " },
	};
	int before, after;

	free(kept("", &before));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *out = talk(rows[i][0], strlen(rows[i][0]));

		if (!strstr(out, rows[i][1]))
			fail_msg("row %zu: %s", i, out);
		free(out);
	}
	free(kept("", &after));
	assert_int_equal(before, after);
}

static void test_options(void **state)
{
	static const char *const rows[][8] = {
		{ "sink", NULL },
		{ "sink", "--listen", "127.0.0.1:0", NULL },
		{ "sink", "--listen", "here", "--maildir", "/tmp/x", NULL },
		{ "sink", "--listen", "127.0.0.1:0", "--maildir", "/tmp/x", "--what", NULL },
		{ "sink", "--listen", "127.0.0.1:0", "--maildir", "/tmp/x", "more", NULL },
		{ "sink", "--listen", "127.0.0.1:0", "--maildir", "/tmp/x", "--hostname", "../x", NULL },
		{ "sink", "--listen", "127.0.0.1:0", "--maildir", "/nonexistent/x", NULL },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *argv[9] = { NULL };
		int argc = 0;

		for (; rows[i][argc]; argc++)
			argv[argc] = (char *)(uintptr_t)rows[i][argc];
		assert_int_equal(cmd_sink(argc, argv), 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_data),
		cmocka_unit_test(test_bdat),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_options),
	};

	return cmocka_run_group_tests_name("sink", tests, setup, teardown);
}
