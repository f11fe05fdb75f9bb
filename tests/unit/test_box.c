#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/asan.h"
#include "base/box.h"
#include "base/clock.h"
#include "base/syscalls.h"
#include "base/task.h"

enum { LATER_MS = 300, OTHERS = 10 };

static void echo(int in, int out, uint64_t arg)
{
	char block[100];
	ssize_t n = pread(in, block, sizeof(block), 0);

	if (n > 0)
		(void)!send(out, block, (size_t)n, MSG_NOSIGNAL);
}

static void crash(int in, int out, uint64_t arg)
{
	(void)!send(out, "half", 4, MSG_NOSIGNAL);
	raise(SIGKILL);
	_exit(3);       /* to kill is not for a box */
}

static void spin(int in, int out, uint64_t arg)
{
	for (volatile unsigned i = 0;; i++)
		;
}

static void sleep_long(int in, int out, uint64_t arg)
{
	close(1);       /* who waits for the end of what this program prints does not wait for it */
	close(2);
	sleep(100);
}

static void take_memory(int in, int out, uint64_t arg)
{
	void *p = mmap(NULL, (size_t)2 * BOX_MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)!send(out, p == MAP_FAILED ? "none" : "some", 4, MSG_NOSIGNAL);
}

static void talk(int in, int out, uint64_t arg)
{
	char block[1000];

	memset(block, 'x', sizeof(block));
	while (send(out, block, sizeof(block), MSG_NOSIGNAL) > 0)
		;
}

/* How many descriptors it has. */
static void look_around(int in, int out, uint64_t arg)
{
	char text[50];
	int open_fds = 0, len;

	for (int fd = 0; fd < 1000; fd++)
		open_fds += fcntl(fd, F_GETFD) >= 0;
	len = snprintf(text, sizeof(text), "%d", open_fds);
	(void)!send(out, text, (size_t)len, MSG_NOSIGNAL);
}

/* What it tries in vain: its answer is what errno is then. Those that end it answer nothing. */
static void refused(int out, long rc)
{
	char text[50];
	int len = snprintf(text, sizeof(text), "%ld %s", rc, rc < 0 ? strerrorname_np(errno) : "");

	(void)!send(out, text, (size_t)len, MSG_NOSIGNAL);
}

static void try_read(int in, int out, uint64_t arg) { refused(out, open("/etc/passwd", O_RDONLY)); }
/* The file that it reads is not its own. */
static void try_change(int in, int out, uint64_t arg) { refused(out, (int)pwrite(in, "x", 1, 0)); }
static void try_stand_in(int in, int out, uint64_t arg) { close(2); refused(out, dup(in) < 0 ? -1 : (int)write(2, "x", 1)); }
static void try_cut(int in, int out, uint64_t arg) { refused(out, ftruncate(in, 0)); }
static void try_share(int in, int out, uint64_t arg)
{
	void *p = mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED, in, 0);

	refused(out, p == MAP_FAILED ? -1 : 0);
}
static void try_write(int in, int out, uint64_t arg) { refused(out, open("/tmp/made-in-a-box", O_WRONLY | O_CREAT, 0600)); }
static void try_unlink(int in, int out, uint64_t arg) { refused(out, unlink("/tmp/made-in-a-box")); }
static void try_inet(int in, int out, uint64_t arg) { refused(out, socket(AF_INET, SOCK_STREAM, 0)); }
static void try_unix(int in, int out, uint64_t arg) { refused(out, socket(AF_UNIX, SOCK_STREAM, 0)); }
static void try_fork(int in, int out, uint64_t arg) { refused(out, fork()); }
static void try_exec(int in, int out, uint64_t arg) { refused(out, execl("/bin/true", "true", NULL)); }
static void try_kill(int in, int out, uint64_t arg) { refused(out, kill(getppid(), SIGTERM)); }
static void try_ptrace(int in, int out, uint64_t arg) { refused(out, ptrace(PTRACE_TRACEME, 0, NULL, NULL)); }
static void try_code(int in, int out, uint64_t arg) { refused(out, (long)mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)); }
static void try_limit(int in, int out, uint64_t arg) { refused(out, setrlimit(RLIMIT_CPU, &(struct rlimit){ 3, 3 })); }
static void try_socketpair(int in, int out, uint64_t arg) { refused(out, socketpair(AF_UNIX, SOCK_STREAM, 0, (int[2]){ 0 })); }

static int file_of(const char *text)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	return fd;
}

static int run(box_fn *fn, const char *in, int timeout_ms, char *out, size_t size)
{
	AUTO(buf) struct buf answer = BUF_INIT(size - 1);
	const struct box_job job = { .fn = fn };
	int fd = file_of(in), rc = box_run(&job, fd, &timeout_ms, &answer);

	snprintf(out, size, "%s", buf_str(&answer));
	close(fd);
	return rc;
}

static void check_all(void *arg)
{
	int64_t start = clock_ms();
	char got[5000];

	assert_int_equal(run(echo, "hello", 20000, got, sizeof(got)), 0);
	assert_string_equal(got, "hello");
	assert_int_equal(run(crash, "", 20000, got, sizeof(got)), 0);
	assert_string_equal(got, "half");
	assert_int_equal(run(look_around, "", 20000, got, sizeof(got)), 0);
	assert_string_equal(got, "5");                          /* 0, 1, 2, in, out */
	if (!UNDER_ASAN && !getenv("UNDER_VALGRIND")) {         /* which keep account of memory by themselves */
		assert_int_equal(run(take_memory, "", 20000, got, sizeof(got)), 0);
		assert_string_equal(got, "none");
	}
	assert_int_equal(run(sleep_long, "", 100, got, sizeof(got)), -ETIMEDOUT);
	assert_int_equal(run(talk, "", 20000, got, sizeof(got)), -ENOSPC);
	assert_true(clock_ms() - start < 60000);
	if (!getenv("UNDER_VALGRIND")) {        /* it complains of any process that a signal ends */
		assert_int_equal(run(spin, "", 60000, got, sizeof(got)), 0);           /* its time is up */
		assert_string_equal(got, "");
	}
	assert_int_equal(run(echo, "hello", 20000, got, sizeof(got)), 0);
	assert_string_equal(got, "hello");
	if (arg)
		loop_stop();
}

static void test_without_tasks(void **state)
{
	check_all(NULL);
}

static void test_in_a_task(void **state)
{
	assert_int_equal(loop_init(), 0);
	assert_int_equal(task_spawn("all", check_all, "", NULL), 0);
	loop_run();
	loop_release();
}

/* What a worker shares with others, as large lists, is no memory that a box takes. */
static void take_some(int in, int out, uint64_t arg)
{
	void *p = malloc(BOX_MEMORY_BYTES / 4);

	(void)!send(out, p ? "some" : "none", 4, MSG_NOSIGNAL);
	free(p);
}

static void test_shared(void **state)
{
	int fd = memfd_create("list", MFD_CLOEXEC);
	void *list;
	char got[100];

	assert_int_equal(ftruncate(fd, BOX_MEMORY_BYTES), 0);
	list = mmap(NULL, BOX_MEMORY_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	assert_true(list != MAP_FAILED);
	assert_int_equal(run(take_some, "", 20000, got, sizeof(got)), 0);
	assert_string_equal(got, "some");
	munmap(list, BOX_MEMORY_BYTES);
	close(fd);
}

static void test_forbidden(void **state)
{
	static const struct { const char *name; box_fn *fn; const char *answer; } rows[] = {
		{ "pwrite", try_change, "-1 EPERM" },
		{ "write, where stderr was", try_stand_in, "-1 EPERM" },
		{ "ftruncate", try_cut, "-1 EPERM" },
		{ "mmap, shared", try_share, "-1 EPERM" },
		{ "open", try_read, "-1 EPERM" },       /* a library goes on without */
		{ "open, written", try_write, "" },
		{ "unlink", try_unlink, "" },
		{ "socket(AF_INET)", try_inet, "" },
		{ "socket(AF_UNIX)", try_unix, "-1 EPERM" },
		{ "socketpair", try_socketpair, "-1 EPERM" },
		{ "fork", try_fork, "-1 EPERM" },
		{ "execve", try_exec, "" },
		{ "kill", try_kill, "-1 EPERM" },
		{ "ptrace", try_ptrace, "" },
		{ "mmap(PROT_EXEC)", try_code, "-1 EPERM" },
		{ "setrlimit", try_limit, "-1 EPERM" },
	};
	char got[100];

	if (UNCONFINED || getenv("UNDER_VALGRIND")) {
		print_message("skipped: no sandbox under valgrind, which does not know seccomp(2), nor where sanitizers or counters write\n");
		skip();
	}
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(run(rows[i].fn, "", 20000, got, sizeof(got)), 0);
		if (strcmp(got, rows[i].answer) != 0)
			fail_msg("%s: \"%s\", expected \"%s\"", rows[i].name, got, rows[i].answer);
	}
	assert_int_equal(access("/tmp/made-in-a-box", F_OK), -1);
	assert_int_equal(run(echo, "hello", 20000, got, sizeof(got)), 0);
	assert_string_equal(got, "hello");
}

static int done, busy;

/* All places are taken for longer than it may take: that is not its fault. */
static void not_its_turn(void *arg)
{
	const struct box_job job = { .fn = arg ? echo : sleep_long };
	int rc, left_ms = arg ? 100 : 2000, in = file_of("hello");
	AUTO(buf) struct buf answer = BUF_INIT(100);

	rc = box_run(&job, in, &left_ms, &answer);
	close(in);
	if (arg) {
		assert_int_equal(rc, -EBUSY);
		assert_int_equal(left_ms, 100);
	} else {
		assert_int_equal(rc, -ETIMEDOUT);
		assert_true(left_ms <= 0);
	}
	if (++busy == BOX_AT_ONCE + 1)
		loop_stop();
}

/* What is quick does not wait for what is not. */
static void quick_one(void *arg)
{
	const struct box_job job = { .fn = echo, .quick = true };
	int left_ms = 1800, in = file_of("hello");
	AUTO(buf) struct buf answer = BUF_INIT(100);

	assert_int_equal(box_run(&job, in, &left_ms, &answer), 0);
	assert_string_equal(buf_str(&answer), "hello");
	close(in);
	assert_true(busy < BOX_AT_ONCE);
}

static void test_busy(void **state)
{
	assert_int_equal(loop_init(), 0);
	for (int i = 0; i < BOX_AT_ONCE; i++)
		assert_int_equal(task_spawn("holds", not_its_turn, NULL, NULL), 0);
	assert_int_equal(task_spawn("waits", not_its_turn, "", NULL), 0);
	assert_int_equal(task_spawn("quick", quick_one, NULL, NULL), 0);
	loop_run();
	loop_release();
}

static void one_of_many(void *arg)
{
	char got[100];

	assert_int_equal(run(echo, "hello", 20000, got, sizeof(got)), 0);
	assert_string_equal(got, "hello");
	if (++done == 50)
		loop_stop();
}

/* More than run at once: the others wait. */
static void test_many(void **state)
{
	assert_int_equal(loop_init(), 0);
	for (int i = 0; i < 50; i++)
		assert_int_equal(task_spawn("one", one_of_many, NULL, NULL), 0);
	loop_run();
	assert_int_equal(done, 50);
	loop_release();
}

/* How many children a process has, and the first of them. */
static int children(int pid, int *first)
{
	char path[64], line[4096] = "";
	int count = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
	f = fopen(path, "re");
	assert_non_null(f);
	if (!fgets(line, sizeof(line), f))
		line[0] = '\0';
	fclose(f);
	*first = atoi(line);
	for (const char *p = line; (p = strchr(p, ' ')); p++)
		count++;
	return count;
}

static int server(void)
{
	char got[100];
	int pid;

	assert_int_equal(run(echo, "hello", 20000, got, sizeof(got)), 0);
	assert_int_equal(children(getpid(), &pid), 1);
	return pid;
}

/* The server's end is seen, and another is made. */
static void test_server_dies(void **state)
{
	int pid = server();
	char got[100];

	assert_int_equal(kill(pid, SIGKILL), 0);
	while (kill(pid, 0) == 0 && run(echo, "again", 20000, got, sizeof(got)) == 0 && strcmp(got, "again") != 0)
		;
	assert_int_equal(run(echo, "again", 20000, got, sizeof(got)), 0);
	assert_string_equal(got, "again");
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void doze(int in, int out, uint64_t arg)
{
	close(1);
	close(2);
	sleep(25);              /* or until it is killed */
}

/* Some of a server's children after a while, by another process. */
static int kill_later(int server, int count)
{
	int child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		char path[64], line[4096] = "", *p = line;
		FILE *f;

		usleep(LATER_MS * 1000);
		snprintf(path, sizeof(path), "/proc/%d/task/%d/children", server, server);
		f = fopen(path, "re");
		if (f && fgets(line, sizeof(line), f))
			for (int pid; count > 0 && (pid = (int)strtol(p, &p, 10)) > 0; count--)
				kill(pid, SIGKILL);
		_exit(0);
	}
	return child;
}

/* Those that nobody waits for any more count, too: a further one is made when one of them has ended. */
static void test_bound(void **state)
{
	int pid = server(), most = 0, first, killer;
	int64_t begun_ms;
	char got[100];

	while (children(pid, &first) > 0)       /* the one that has just answered */
		usleep(1000);
	begun_ms = clock_ms();
	for (int i = 0; i < BOX_SERVER_MAX + OTHERS; i++) {
		int count;

		assert_int_equal(run(doze, "", 1, got, sizeof(got)), -ETIMEDOUT);
		count = children(pid, &first);
		most = count > most ? count : most;
	}
	for (int64_t now_ms = clock_ms(), last_ms = now_ms + 20000; now_ms - begun_ms < 1500 || (most < BOX_SERVER_MAX && now_ms < last_ms); now_ms = clock_ms()) {
		int count = children(pid, &first);

		most = count > most ? count : most;
		usleep(10000);
	}
	assert_int_equal(most, BOX_SERVER_MAX);
	begun_ms = clock_ms();
	killer = kill_later(pid, OTHERS + 1);   /* others have come before us */
	assert_int_equal(run(echo, "hello", 20000, got, sizeof(got)), 0);
	assert_string_equal(got, "hello");
	assert_true(clock_ms() - begun_ms >= LATER_MS);
	assert_int_equal(waitpid(killer, NULL, 0), killer);
	while (children(pid, &first) > 0) {
		kill(first, SIGKILL);
		usleep(1000);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* first: the server that is forked then has the list, too */
		cmocka_unit_test(test_shared), cmocka_unit_test(test_without_tasks), cmocka_unit_test(test_in_a_task), cmocka_unit_test(test_many), cmocka_unit_test(test_busy), cmocka_unit_test(test_server_dies),
		cmocka_unit_test(test_bound), cmocka_unit_test(test_forbidden),
	};

	if (getenv("UNDER_VALGRIND"))           /* it does not know seccomp(2) */
		syscalls_none();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
