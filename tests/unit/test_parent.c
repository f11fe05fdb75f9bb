/*
 * The processes, for real: a parent is started, its children are killed, and /proc is asked what
 * they may.
 */
#include "unit/parent_lab.h"

static void test_serves(void **unused)
{
	struct caller a, b;
	char id[STORE_ID_MAX], path[300], text[100] = "", day[STORE_DAY_MAX];
	struct stat st;
	json_t *status;
	int fd;

	configure("workers 2\ntls yes\n");
	start(5);
	wait_notify("READY=1");
	a = connected();
	b = connected();
	assert_string_equal(ask(&a, "echo"), "echo");
	assert_string_equal(ask(&a, "count k"), "count 0 1");
	assert_string_equal(ask(&b, "count k"), "count 0 2");
	ask(&a, "keep some bytes");
	assert_int_equal(sscanf(a.line, "keep 0 %31s", id), 1);
	assert_int_equal(store_id_day(id, day), 0);
	snprintf(path, sizeof(path), "%s/quarantine/%s/%s.eml", g.state, day, id);
	fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	assert_int_equal(read(fd, text, sizeof(text)), 10);
	assert_string_equal(text, "some bytes");
	close(fd);
	status = control("{\"cmd\":\"status\"}");
	assert_true(json_boolean_value(json_object_get(status, "ok")));
	assert_int_equal(json_array_size(json_object_get(status, "workers")), 2);
	assert_int_equal(json_integer_value(json_object_get(status, "accepted")), 2);
	json_decref(status);
	/* What was made at the first start. */
	snprintf(path, sizeof(path), "%s/tls/key.pem", g.state);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	snprintf(path, sizeof(path), "%s/control", g.state);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	hang_up(&a);
	hang_up(&b);
	kill(g.pid, SIGTERM);
	wait_notify("STOPPING=1");
	assert_int_equal(wait_exit(), 0);
	assert_int_equal(stat(path, &st), -1);
}

static void test_control_socket(void **unused)
{
	static const struct { const char *request, *member; int value; } rows[] = {
		{ "{\"cmd\":\"recipients.clear\",\"address\":\"B@y.example\"}", "cleared", 0 },
		{ "{\"cmd\":\"recipients.clear\"}", "cleared", 0 },
	};
	static const char *const bad[] = { "{\"cmd\":\"no.such\"}", "[]", "{}", "{\"cmd\":7}",
					   "{\"cmd\":\"recipients.clear\",\"address\":\"\"}" };
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	char flood[4096], byte;
	int fd;

	configure("workers 1\n");
	start(5);
	wait_notify("READY=1");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		json_t *a = control(rows[i].request);

		assert_true(json_boolean_value(json_object_get(a, "ok")));
		assert_int_equal(json_integer_value(json_object_get(a, rows[i].member)),
				 rows[i].value);
		json_decref(a);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		json_t *a = control(bad[i]);

		assert_false(json_boolean_value(json_object_get(a, "ok")));
		assert_non_null(json_object_get(a, "error"));
		json_decref(a);
	}
	/* A line without end: cut off, and others are served. */
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/control", g.state);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	memset(flood, 'x', sizeof(flood));
	for (int i = 0; i < 100 && send(fd, flood, sizeof(flood), MSG_NOSIGNAL) > 0; i++)
		;
	wait_readable(fd, "the end of the flood");
	assert_true(recv(fd, &byte, 1, 0) <= 0);
	close(fd);
	json_decref(control("{\"cmd\":\"status\"}"));
}

static void test_worker_killed(void **unused)
{
	struct caller a, b;
	pid_t killed;

	configure("workers 2\n");
	start(5);
	wait_notify("READY=1");
	a = connected();
	for (;;) {
		b = connected();
		if (b.pid != a.pid)
			break;
		hang_up(&b);            /* until the other one takes it */
		ask(&a, "x");
	}
	killed = a.pid;
	kill(killed, SIGKILL);
	wait_log("process=\"worker");
	assert_string_equal(ask(&a, "echo"), "(gone)");
	assert_string_equal(ask(&b, "echo"), "echo");   /* the others do not suffer */
	hang_up(&a);
	/* Its place is filled again: somebody answers under a third pid. */
	for (;;) {
		a = connected();
		if (a.pid != killed && a.pid != b.pid)
			break;
		hang_up(&a);
	}
	assert_string_equal(ask(&a, "count k"), "count 0 1");
	ask(&a, "keep x");
	assert_non_null(strstr(a.line, "keep 0 "));
	hang_up(&a);
	hang_up(&b);
}

static void test_keepers_killed(void **unused)
{
	struct caller a;
	char want[40];

	configure("workers 1\n");
	start(5);
	wait_notify("READY=1");
	a = connected();
	for (int i = 1; i <= 3; i++) {
		snprintf(want, sizeof(want), "count 0 %d", i);
		assert_string_equal(ask(&a, "count k"), want);
		/*
		 * Its answer may be ahead of its commit by 50 ms: another answer of the same
		 * keeper, after a commit that is asked for.
		 */
		json_decref(control("{\"cmd\":\"recipients.clear\"}"));
		ask(&a, "keep x");
		assert_non_null(strstr(a.line, "keep 0 "));
		slay("gp-state");       /* both have answered: they are there */
		slay("gp-store");
		wait_log("process=\"st");
		wait_log("process=\"st");
	}
	assert_string_equal(ask(&a, "count k"), "count 0 4");
	ask(&a, "keep x");
	assert_non_null(strstr(a.line, "keep 0 "));
	assert_string_equal(ask(&a, "still here"), "still here");
	hang_up(&a);
}

static void test_parent_killed(void **unused)
{
	pid_t state, store, worker;

	configure("workers 1\n");
	start(5);
	wait_notify("READY=1");
	state = child_called("gp-state");
	store = child_called("gp-store");
	worker = child_called("gp-worker 1");
	assert_true(state > 0 && store > 0 && worker > 0);
	kill(g.pid, SIGKILL);
	wait_gone(state);
	wait_gone(store);
	wait_gone(worker);
	assert_int_equal(wait_exit(), -1);
	close(g.log_fd);
	close(g.notify_fd);
	close(g.pidfd);
	start(5);                       /* nothing is in the way of the next one */
	wait_notify("READY=1");
}

static void test_bad_start(void **unused)
{
	configure("nonsense 1\n");
	start(5);
	wait_log(":3: unknown option nonsense");
	assert_int_equal(wait_exit(), 1);
	close(g.log_fd);
	close(g.notify_fd);
	close(g.pidfd);
	configure("hostname broken.example\n");
	start(5);
	wait_log("broken, as asked for");
	assert_int_equal(wait_exit(), 1);
	close(g.log_fd);
	close(g.notify_fd);
	close(g.pidfd);
	configure("user no-such-user\n");
	if (geteuid() != 0)
		return;
	start(5);
	wait_log("no such user");
	assert_int_equal(wait_exit(), 1);
}

static void test_one_per_directory(void **unused)
{
	struct parent_options opt = {
		.path = g.conf, .load = load, .free = unload, .protocols = protocols
	};
	char text[400] = "";
	int p[2], status;
	pid_t pid;

	configure("workers 1\n");
	start(5);
	wait_notify("READY=1");
	assert_int_equal(pipe(p), 0);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		dup2(p[1], 2);
		_exit(parent_run(&opt));
	}
	close(p[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 1);
	assert_true(read(p[0], text, sizeof(text) - 1) > 0);
	assert_non_null(strstr(text, "another gatepost is running"));
	close(p[0]);
	json_decref(
		control("{\"cmd\":\"status\"}")); /* the first one still has its control socket */
}

static void test_crash_loop(void **unused)
{
	struct caller a;

	configure("workers 1\n");
	start(5);
	wait_notify("READY=1");
	for (int i = 0; i < 5; i++) {
		a = connected();
		kill(a.pid, SIGKILL);
		wait_log("event=died");
		hang_up(&a);
	}
	wait_log("CRASH LOOP");
	a = connected();                /* and yet it is started again */
	assert_string_equal(ask(&a, "echo"), "echo");
	hang_up(&a);
}

/* What /proc says of a process: its user, its root, and that it can gain nothing. */
static void check_confined(const char *title, const char *root, uid_t uid)
{
	char path[64], text[4096] = "", link[300] = "", want[300];
	pid_t pid = child_called(title);
	FILE *f;

	assert_true(pid > 0);
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "r");
	(void)!fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	snprintf(want, sizeof(want), "Uid:\t%u\t%u\t%u\t%u\n", uid, uid, uid, uid);
	assert_non_null(strstr(text, want));
	assert_non_null(strstr(text, "NoNewPrivs:\t1"));
	assert_non_null(strstr(text, "CapEff:\t0000000000000000"));
	assert_non_null(strstr(text, "CapPrm:\t0000000000000000"));
	assert_non_null(strstr(text, "Seccomp:\t2"));
	snprintf(path, sizeof(path), "/proc/%d/root", pid);
	assert_true(readlink(path, link, sizeof(link) - 1) > 0);
	snprintf(want, sizeof(want), "%s/%s", g.state, root);
	assert_string_equal(link, want);
}

/* A way to the network is not handed to a keeper: the channel is closed, and the next request finds another. */
static void test_no_socket_for_a_keeper(void **unused)
{
	struct caller a;

	configure("workers 1\n");
	start(5);
	wait_notify("READY=1");
	a = connected();
	ask(&a, "keep socket");
	assert_non_null(strstr(a.line, "keep -"));
	wait_log("handed over what is no file");
	do
		ask(&a, "keep text");
	while (strstr(a.line, "keep -"));
	hang_up(&a);
	kill(g.pid, SIGTERM);
	assert_int_equal(wait_exit(), 0);
}

static void test_confined(void **unused)
{
	struct passwd *pw = getpwnam("daemon");
	uid_t keeper = pw ? pw->pw_uid : 0;
	struct caller a;
	char want[100];

	pw = getpwnam("nobody");
	if (geteuid() != 0 || !pw || !keeper || UNCONFINED)
		skip();
	configure("workers 1\nuser nobody\nkeeper_user daemon\ntls yes\n");
	start(5);
	wait_notify("READY=1");
	check_confined("gp-worker 1", "empty", pw->pw_uid);
	check_confined("gp-state", "state", keeper);
	check_confined("gp-store", "quarantine", keeper);
	a = connected();
	snprintf(want, sizeof(want), "id %u %u 1 noproc unseen", pw->pw_uid, pw->pw_gid);
	assert_string_equal(ask(&a, "id"), want);
	assert_string_equal(ask(&a, "count k"), "count 0 1");
	ask(&a, "keep x");
	assert_non_null(strstr(a.line, "keep 0 "));
	/* A reload as root with confined processes around. */
	kill(g.pid, SIGHUP);
	wait_notify("RELOADING=1");
	wait_notify("READY=1");
	slay("gp-store");
	wait_log("process=\"store keeper");
	ask(&a, "keep y");
	assert_non_null(strstr(a.line, "keep 0 "));
	hang_up(&a);
	kill(g.pid, SIGTERM);
	assert_int_equal(wait_exit(), 0);
}

/* It is filled again when it is half empty: then it is more than that. */
static void stock_wait(struct caller *c)
{
	int v4 = 0, v6 = 0;

	while (v4 <= SOCKET_STOCK / 2 || v6 <= SOCKET_STOCK / 2)
		assert_int_equal(sscanf(ask(c, "stock"), "stock %d %d", &v4, &v6), 2);
}

/* What a worker may not make it gets from the parent, and has some at hand while that is busy. A site that has no use for them has none. */
static void test_transparent_sockets(void **unused)
{
	struct caller a;

	if (geteuid() != 0)
		skip();
	configure("transparent yes\nworkers 1\nuser nobody\n");
	start(5);
	wait_notify("READY=1");
	a = connected();
	assert_string_equal(ask(&a, "socket 7 192.0.2.7"), "socket -97 0 0");
	for (int i = 0; i < 50; i++) {
		assert_string_equal(ask(&a, "socket 2 192.0.2.7"), "socket 0 2526 0");
		assert_string_equal(ask(&a, "socket 10 2001:db8::7"), "socket 0 2526 0");
	}
	stock_wait(&a);
	kill(g.pid, SIGSTOP);
	for (int i = 0; i < SOCKET_STOCK / 2; i++)
		assert_string_equal(ask(&a, "socket 2 203.0.113.7"), "socket 0 2526 0");
	kill(g.pid, SIGCONT);
	stock_wait(&a);
	hang_up(&a);
}

static void test_no_transparent_sockets(void **unused)
{
	struct caller a;

	configure("workers 1\n");
	start(5);
	wait_notify("READY=1");
	a = connected();
	assert_string_equal(ask(&a, "socket 2 192.0.2.7"), "socket -1 0 0");
	hang_up(&a);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, world_make, world_end)
	const struct CMUnitTest tests[] = {
		TEST(test_serves),
		TEST(test_control_socket),
		TEST(test_worker_killed),
		TEST(test_keepers_killed),
		TEST(test_parent_killed),
		TEST(test_bad_start),
		TEST(test_one_per_directory),
		TEST(test_crash_loop),
		TEST(test_confined),
		TEST(test_no_socket_for_a_keeper),
		TEST(test_transparent_sockets),
		TEST(test_no_transparent_sockets),
	};

	if (under_valgrind())
		return 0;
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
