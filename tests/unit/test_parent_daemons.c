/* parent: connections to unix sockets of daemons, for confined workers */
#include "parent_lab.h"

static struct { char path[100], other[100]; pid_t pid; } daemon_of;

/* A daemon that is its user's alone: each who connects hears by whom he was connected. */
static int listen_at(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(a.sun_path, path, strlen(path) + 1);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(chmod(path, 0600), 0);
	if (geteuid() == 0)
		assert_int_equal(chown(path, 2, 2), 0);
	assert_int_equal(listen(fd, 10), 0);
	return fd;
}

static void serve(int fd, int other)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		struct pollfd p[2] = { { .fd = fd, .events = POLLIN }, { .fd = other, .events = POLLIN } };

		poll(p, 2, -1);
		for (int i = 0; i < 2; i++) {
			struct ucred who = { 0 };
			socklen_t len = sizeof(who);
			int peer = p[i].revents ? accept(p[i].fd, NULL, NULL) : -1;

			if (peer < 0)
				continue;
			getsockopt(peer, SOL_SOCKET, SO_PEERCRED, &who, &len);
			dprintf(peer, "%s to %u\n", i ? "other" : "one", (unsigned)who.uid);
			close(peer);
		}
	}
}

static void daemon_start(void)
{
	int fd, other;

	snprintf(daemon_of.path, sizeof(daemon_of.path), "%s/one", g.dir);
	snprintf(daemon_of.other, sizeof(daemon_of.other), "%s/other", g.dir);
	fd = listen_at(daemon_of.path);
	other = listen_at(daemon_of.other);
	daemon_of.pid = fork();
	assert_true(daemon_of.pid >= 0);
	if (daemon_of.pid == 0)
		serve(fd, other);
	close(fd);
	close(other);
}

static void daemon_end(void)
{
	kill(daemon_of.pid, SIGKILL);
	waitpid(daemon_of.pid, NULL, 0);
	unlink(daemon_of.path);
	unlink(daemon_of.other);
}

static const char *ask_for(struct caller *a, const char *path)
{
	char line[300];

	snprintf(line, sizeof(line), "daemon %s", path);
	return ask(a, line);
}

/* To the paths of the configuration, and no others; each worker to those of its own, also after a reload. */
static void test_daemons(void **unused)
{
	struct caller old, fresh;
	char want[50], other[50];

	daemon_start();
	snprintf(want, sizeof(want), "daemon 0 one to %u", (unsigned)geteuid());
	snprintf(other, sizeof(other), "daemon 0 other to %u", (unsigned)geteuid());
	configure("daemon %s\nworkers 1\n%s", daemon_of.path, geteuid() == 0 ? "user nobody\n" : "");
	start(5);
	wait_notify("READY=1");
	old = connected();
	for (int i = 0; i < 30; i++)
		assert_string_equal(ask_for(&old, daemon_of.path), want);
	assert_string_equal(ask_for(&old, daemon_of.other), "daemon -1 -");
	assert_string_equal(ask_for(&old, g.conf), "daemon -1 -");
	assert_string_equal(ask_for(&old, ""), "daemon -71 -");

	configure("daemon %s\nworkers 1\n%s", daemon_of.other, geteuid() == 0 ? "user nobody\n" : "");
	kill(g.pid, SIGHUP);
	wait_log("what=done");
	do {
		fresh = connected();
		if (fresh.generation == 1)
			hang_up(&fresh);
	} while (fresh.generation == 1);
	assert_string_equal(ask_for(&fresh, daemon_of.path), "daemon -1 -");
	assert_string_equal(ask_for(&fresh, daemon_of.other), other);
	assert_string_equal(ask_for(&old, daemon_of.path), want);
	assert_string_equal(ask_for(&old, daemon_of.other), "daemon -1 -");
	hang_up(&old);
	hang_up(&fresh);
	kill(g.pid, SIGTERM);
	assert_int_equal(wait_exit(), 0);
	daemon_end();
}

/* The daemon is gone, or its socket is none. */
static void test_no_daemon(void **unused)
{
	struct caller a;

	configure("daemon %s/none\ndaemon %s\nworkers 1\n", g.dir, g.conf);
	start(5);
	wait_notify("READY=1");
	a = connected();
	snprintf(daemon_of.path, sizeof(daemon_of.path), "%s/none", g.dir);
	assert_string_equal(ask_for(&a, daemon_of.path), "daemon -2 -");
	assert_string_equal(ask_for(&a, g.conf), "daemon -111 -");
	hang_up(&a);
	kill(g.pid, SIGTERM);
	assert_int_equal(wait_exit(), 0);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, world_make, world_end)
	const struct CMUnitTest tests[] = {
		TEST(test_daemons),
		TEST(test_no_daemon),
	};

	if (under_valgrind())
		return 0;
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
