/* Reload and drain of real processes: no connection is lost, and nothing lasts for ever. */
#include "unit/parent_lab.h"

static void test_reload(void **unused)
{
	struct caller old, fresh;

	configure("workers 2\n");
	start(5);
	wait_notify("READY=1");
	old = connected();
	assert_int_equal(old.generation, 1);
	configure("workers 1\n");
	kill(g.pid, SIGHUP);
	wait_notify("RELOADING=1\nMONOTONIC_USEC=");
	wait_notify("READY=1");
	do {                            /* the old ones may not have heard of it yet */
		fresh = connected();
		if (fresh.generation == 1)
			hang_up(&fresh);
	} while (fresh.generation == 1);
	assert_int_equal(fresh.generation, 2);
	assert_string_equal(ask(&old, "still here"), "still here");
	assert_string_equal(ask(&old, "count k"), "count 0 1");
	assert_string_equal(ask(&fresh, "count k"), "count 0 2");
	hang_up(&old);
	wait_gone(old.pid);             /* with its last session */
	assert_string_equal(ask(&fresh, "echo"), "echo");
	hang_up(&fresh);
}

static void test_reload_refused(void **unused)
{
	struct caller a, b;
	char want[150];

	configure("workers 1\n");
	start(5);
	wait_notify("READY=1");
	a = connected();
	configure("workers 1\nnonsense 1\n");
	kill(g.pid, SIGHUP);
	snprintf(want, sizeof(want), "%s:4: unknown option nonsense", g.conf);
	wait_log(want);
	wait_log("refused");
	/* Workers that do not come up refuse it, too. */
	configure("workers 2\nhostname broken.example\n");
	kill(g.pid, SIGHUP);
	wait_log("broken, as asked for");
	wait_log("refused");
	/* And so does an address that is not to be had. */
	configure("workers 1\nlisten 203.0.113.1:25\n");
	kill(g.pid, SIGHUP);
	wait_log("cannot listen on 203.0.113.1:25");
	wait_log("refused");
	assert_string_equal(ask(&a, "echo"), "echo");
	b = connected();
	assert_string_equal(ask(&b, "count k"), "count 0 1");
	hang_up(&a);
	hang_up(&b);
	kill(g.pid, SIGTERM);
	assert_int_equal(wait_exit(), 0);
}

static const char *listener_now(void)
{
	static char answer[4096];
	struct caller c = connected();

	snprintf(answer, sizeof(answer), "%s", ask(&c, "transparent"));
	hang_up(&c);
	return answer;
}

/* A configuration that does not come into force leaves the listeners of the one that is in force as they are. */
static void test_refused_and_transparent(void **unused)
{
	if (geteuid() != 0)
		skip();
	configure("transparent yes\nworkers 1\n");
	start(5);
	wait_notify("READY=1");
	assert_string_equal(listener_now(), "transparent 1");
	configure("transparent no\nlisten 203.0.113.1:25\nworkers 1\n");
	kill(g.pid, SIGHUP);
	wait_log("refused");
	assert_string_equal(listener_now(), "transparent 1");
	configure("transparent no\nworkers 1\nhostname broken.example\n");
	kill(g.pid, SIGHUP);
	wait_log("refused");
	assert_string_equal(listener_now(), "transparent 1");
	configure("transparent no\nworkers 1\n");
	kill(g.pid, SIGHUP);
	wait_log("what=done");
	assert_string_equal(listener_now(), "transparent 0");
	configure("transparent yes\nlisten 203.0.113.1:25\nworkers 1\n");
	kill(g.pid, SIGHUP);
	wait_log("refused");
	assert_string_equal(listener_now(), "transparent 0");
	configure("transparent yes\nworkers 1\n");
	kill(g.pid, SIGHUP);
	wait_log("what=done");
	assert_string_equal(listener_now(), "transparent 1");
	kill(g.pid, SIGTERM);
	assert_int_equal(wait_exit(), 0);
}

/* Backends may have new names as often as they like: what counted for the old ones is free when nobody is left who counts there. */
static void test_new_names(void **unused)
{
	configure("backends 30a\nworkers 1\n");
	start(5);
	wait_notify("READY=1");
	for (int i = 1; i < 5; i++) {
		struct caller c = connected();

		configure("backends 30%c\nworkers 1\n", 'a' + i);
		kill(g.pid, SIGHUP);
		wait_log("event=reload what=begins");
		wait_log("event=reload what=");
		assert_int_equal(strncmp(g.log + g.log_at, "done", 4), 0);
		hang_up(&c);
		wait_gone(c.pid);
		while (kill(c.pid, 0) == 0)     /* nobody's any more */
			usleep(1000);
	}
	kill(g.pid, SIGTERM);
	assert_int_equal(wait_exit(), 0);
}

/* As many workers as there may be, and one of an older configuration that does not end: a reload waits for its place. */
static void test_room(void **unused)
{
	struct caller a, b;

	configure("workers 32\n");
	start(1);
	wait_notify("READY=1");
	a = connected();
	kill(g.pid, SIGHUP);
	wait_log("what=done");
	assert_string_equal(ask(&a, "echo"), "echo");
	kill(g.pid, SIGHUP);
	wait_log("what=\"waits until workers");
	kill(g.pid, SIGHUP);            /* once more is the same */
	wait_log("sessions are cut");
	wait_log("what=done");
	assert_string_equal(ask(&a, "echo"), "(gone)");
	b = connected();
	assert_int_equal(b.generation, 3);
	hang_up(&a);
	hang_up(&b);
	kill(g.pid, SIGTERM);
	assert_int_equal(wait_exit(), 0);
}

/*
 * Connects and is greeted without a pause until stop is closed; a byte for each: 'y' when all was
 * well.
 */
static void client_run(int stop, int out)
{
	struct pollfd p = { .fd = stop, .events = POLLIN };

	while (poll(&p, 1, 0) == 0) {
		struct caller c;
		char word = greet(&c) && strcmp(ask(&c, "echo"), "echo") == 0 ? 'y' : 'n';

		hang_up(&c);
		(void)!write(out, &word, 1);
	}
	_exit(0);
}

/* While there are reloads nobody is turned away. */
static void test_nobody_lost_in_reload(void **unused)
{
	int stop[2], words[2], lost = 0, done = 0;
	char word;
	pid_t pid;

	configure("workers 2\n");
	start(5);
	wait_notify("READY=1");
	assert_int_equal(pipe(stop), 0);
	assert_int_equal(pipe(words), 0);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		close(stop[1]);
		client_run(stop[0], words[1]);
	}
	close(words[1]);
	for (int i = 0; i < 5; i++) {
		configure("workers %d\n", 1 + i % 2);
		kill(g.pid, SIGHUP);
		for (int n = 0; n < 20; n++) {
			assert_int_equal(read(words[0], &word, 1), 1);
			lost += word != 'y';
			done++;
		}
		wait_notify("RELOADING=1");
		wait_notify("READY=1");
	}
	close(stop[1]);
	while (read(words[0], &word, 1) == 1) {
		lost += word != 'y';
		done++;
	}
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	print_message("  %d connections over 5 reloads, %d lost\n", done, lost);
	assert_int_equal(lost, 0);
	close(stop[0]);
	close(words[0]);
}

static void test_drain(void **unused)
{
	struct caller a, b;

	configure("workers 2\n");
	start(600);
	wait_notify("READY=1");
	a = connected();
	kill(g.pid, SIGTERM);
	wait_notify("STOPPING=1");
	while (dial(&b)) { /* until it has stopped listening; what is taken meanwhile is served */
		if (hear(&b))
			assert_string_equal(ask(&b, "echo"), "echo");
		hang_up(&b);
	}
	assert_string_equal(ask(&a, "echo"), "echo");
	slay("gp-state");       /* keepers are there until the end */
	wait_log("process=\"state keeper");
	assert_string_equal(ask(&a, "count k"), "count 0 1");
	assert_non_null(strstr(ask(&a, "keep x"), "keep 0 "));
	hang_up(&a);
	assert_int_equal(wait_exit(), 0);
}

static void test_drain_has_an_end(void **unused)
{
	struct caller a;

	configure("workers 1\n");
	start(1);
	wait_notify("READY=1");
	a = connected();
	kill(g.pid, SIGTERM);
	wait_log("sessions are cut");
	assert_int_equal(wait_exit(), 0);
	assert_string_equal(ask(&a, "echo"), "(gone)");
	hang_up(&a);
}

static void test_stop_at_once(void **unused)
{
	struct caller a;

	configure("workers 1\n");
	start(600);
	wait_notify("READY=1");
	a = connected();
	kill(g.pid, SIGTERM);
	wait_notify("STOPPING=1");
	kill(g.pid, SIGTERM);
	assert_int_equal(wait_exit(), 0);
	assert_string_equal(ask(&a, "echo"), "(gone)");
	hang_up(&a);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, world_make, world_end)
	const struct CMUnitTest tests[] = {
		TEST(test_reload),
		TEST(test_reload_refused),
		TEST(test_refused_and_transparent),
		TEST(test_new_names),
		TEST(test_room),
		TEST(test_nobody_lost_in_reload),
		TEST(test_drain),
		TEST(test_drain_has_an_end),
		TEST(test_stop_at_once),
	};

	if (under_valgrind())
		return 0;
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
