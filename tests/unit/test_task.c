#include <errno.h>
#include <fcntl.h>
#include <fenv.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>
#include <openssl/err.h>

#include "base/asan.h"
#include "base/clock.h"
#include "base/task.h"
#include "base/task_stack.h"

#if defined(__x86_64__) && !defined(TASK_PORTABLE)
#define ROUNDING_KEPT 1
#else
#define ROUNDING_KEPT 0
#endif

/* What happened, in order. */
static char trace[256];

static void note(const char *s)
{
	size_t n = strlen(trace);

	snprintf(trace + n, sizeof(trace) - n, "%s ", s);
}

static int setup(void **state)
{
	trace[0] = '\0';
	task_set_limit(30000);
	return loop_init();
}

static int teardown(void **state)
{
	loop_release();
	return task_count() == 0 ? 0 : -1;
}

static void stop(void *arg)
{
	loop_stop();
}

/* The loop stops once nothing but the present task is left. */
static void stop_when_alone(void *arg)
{
	while (task_count() > 1)
		task_yield();
	loop_stop();
}

static void run_all(void)
{
	assert_int_equal(task_spawn("last", stop_when_alone, NULL, NULL), 0);
	loop_run();
}

static void say_thrice(void *arg)
{
	for (int i = 0; i < 3; i++) {
		note(arg);
		task_yield();
	}
}

static void test_tasks_take_turns(void **state)
{
	task_spawn("a", say_thrice, "a", NULL);
	task_spawn("b", say_thrice, "b", NULL);
	assert_string_equal(trace, "");
	assert_null(task_self());
	run_all();
	assert_string_equal(trace, "a b a b a b ");
}

static struct task *parked;
static int parked_rc;

static void park(void *arg)
{
	parked = task_self();
	parked_rc = task_park(*(int *)arg);
	note("resumed");
	parked = NULL;
}

static void wake_42(void *arg)
{
	task_wake(parked, 42);
	task_wake(parked, 43); /* not parked any more: no effect */
	note("woken");
}

static void test_wake_resumes_from_the_queue(void **state)
{
	int timeout_ms = -1;

	task_spawn("park", park, &timeout_ms, NULL);
	loop_defer(wake_42, NULL);
	run_all();
	assert_int_equal(parked_rc, 42);
	assert_string_equal(trace, "woken resumed ");
}

static void test_wake_beats_a_timeout(void **state)
{
	int timeout_ms = 60000;

	task_spawn("park", park, &timeout_ms, NULL);
	loop_defer(wake_42, NULL);
	run_all();
	assert_int_equal(parked_rc, 42);
}

static void test_park_times_out(void **state)
{
	static const int waits[] = { 0, 1, 20 };

	for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
		int64_t began = clock_ms();
		int timeout_ms = waits[i];

		task_spawn("park", park, &timeout_ms, NULL);
		run_all();
		assert_int_equal(parked_rc, -ETIMEDOUT);
		assert_true(clock_ms() - began >= timeout_ms);
	}
}

static void wait_long_then_short(void *arg)
{
	int64_t began = clock_ms();

	/*
	 * The first leaves its timer behind; the second must still end in time, and the third not
	 * at the second's.
	 */
	assert_int_equal(task_park(100000), 7);
	assert_int_equal(task_park(5), -ETIMEDOUT);
	assert_true(clock_ms() - began >= 5);
	assert_int_equal(task_park(30), -ETIMEDOUT);
	assert_true(clock_ms() - began >= 35);
	assert_true(clock_ms() - began < 50000);
}

static void wake_7(void *arg)
{
	task_wake(*(struct task **)arg, 7);
}

static void test_timers_are_moved(void **state)
{
	struct task *t;

	task_spawn("waiter", wait_long_then_short, NULL, &t);
	loop_defer(wake_7, &t);
	run_all();
}

static int64_t order[64];
static size_t orders;

static void sleep_and_log(void *arg)
{
	int ms = (int)(intptr_t)arg;
	int64_t until = clock_ms() + ms;

	assert_int_equal(task_sleep(ms), 0);
	order[orders++] = until;
}

static void test_sleepers_wake_in_order(void **state)
{
	orders = 0;
	for (int i = 0; i < 64; i++)
		task_spawn("sleeper", sleep_and_log, (void *)(intptr_t)(i * 37 % 64 * 3), NULL);
	run_all();
	assert_int_equal(orders, 64);
	for (size_t i = 1; i < orders; i++)
		/* Two looks at the clock, the test's and the task's, may differ by one. */
		assert_true(order[i - 1] <= order[i] + 1);
}

static void be_cancelled(void *arg)
{
	struct future f = { 0 }, done = { .done = true, .rc = 5 };
	struct gate g = { .limit = 1 };

	assert_int_equal(task_park(-1), -ECANCELED);
	assert_true(task_cancelled());
	assert_int_equal(task_park(-1), -ECANCELED);
	assert_int_equal(task_sleep(1000), -ECANCELED);
	assert_int_equal(future_wait(&f, -1), -ECANCELED);
	assert_int_equal(future_wait(&done, -1), -ECANCELED);
	assert_int_equal(gate_enter(&g, -1), -ECANCELED);
	assert_int_equal(g.inside, 0);
	task_yield();
	note("unwound");
}

static void cancel(void *arg)
{
	task_cancel(*(struct task **)arg);
	task_cancel(*(struct task **)arg);
}

static void test_cancel(void **state)
{
	struct task *t;

	task_spawn("victim", be_cancelled, NULL, &t);
	loop_defer(cancel, &t);
	run_all();
	assert_string_equal(trace, "unwound ");
	assert_false(task_cancelled());
}

static void test_cancel_before_the_first_run(void **state)
{
	struct task *t;

	task_spawn("victim", be_cancelled, NULL, &t);
	task_cancel(t);
	run_all();
	assert_string_equal(trace, "unwound ");
}

static void test_release_unwinds_who_is_left(void **state)
{
	task_spawn("victim", be_cancelled, NULL, NULL);
	loop_release();
	assert_int_equal(task_count(), 0);
	assert_string_equal(trace, "unwound ");
	assert_int_equal(loop_init(), 0);
}

static void nothing(void *arg)
{
}

static void test_limit(void **state)
{
	task_set_limit(2);
	assert_int_equal(task_spawn("1", nothing, NULL, NULL), 0);
	assert_int_equal(task_spawn("2", nothing, NULL, NULL), 0);
	assert_int_equal(task_spawn("3", nothing, NULL, NULL), -EAGAIN);
	assert_int_equal(task_count(), 2);
	task_set_limit(3);
	run_all();
	assert_int_equal(task_count(), 0);
}

static struct future answer;
static int answer_rc;

static void await_answer(void *arg)
{
	answer_rc = future_wait(&answer, *(int *)arg);
	note("answered");
}

static void resolve_9(void *arg)
{
	future_resolve(&answer, 9);
	future_resolve(&answer, 10);
	note("resolved");
}

static void test_future(void **state)
{
	int timeout_ms = -1;

	/* Resolved before anybody waits, as a cached answer is. */
	answer = (struct future){ 0 };
	resolve_9(NULL);
	task_spawn("await", await_answer, &timeout_ms, NULL);
	run_all();
	assert_int_equal(answer_rc, 9);

	/* While somebody waits. */
	answer = (struct future){ 0 };
	trace[0] = '\0';
	timeout_ms = 60000;
	task_spawn("await", await_answer, &timeout_ms, NULL);
	loop_defer(resolve_9, NULL);
	run_all();
	assert_int_equal(answer_rc, 9);
	assert_string_equal(trace, "resolved answered ");

	/* Never. */
	answer = (struct future){ 0 };
	timeout_ms = 3;
	task_spawn("await", await_answer, &timeout_ms, NULL);
	run_all();
	assert_int_equal(answer_rc, -ETIMEDOUT);
	assert_null(answer.waiter);
}

static struct gate door;
static int most_inside, got_in, shut_out;

static void pass_the_gate(void *arg)
{
	if (gate_enter(&door, *(int *)arg) != 0) {
		shut_out++;
		return;
	}
	got_in++;
	if (door.inside > most_inside)
		most_inside = door.inside;
	task_yield();
	task_yield();
	gate_leave(&door);
}

static void test_gate_limits(void **state)
{
	int timeout_ms = -1;

	door = (struct gate){ .limit = 3 };
	most_inside = got_in = shut_out = 0;
	for (int i = 0; i < 50; i++)
		task_spawn("guest", pass_the_gate, &timeout_ms, NULL);
	run_all();
	assert_int_equal(got_in, 50);
	assert_int_equal(most_inside, 3);
	assert_int_equal(door.inside, 0);
	assert_null(door.first);
	assert_null(door.last);
}

static void cancel_all(void *arg)
{
	struct task **t = arg;

	for (int i = 0; i < 5; i++)
		task_cancel(t[i]);
}

static void test_gate_gives_up(void **state)
{
	struct task *t[5];
	int timeout_ms = -1, brief_ms = 2;

	/*
	 * Nobody may enter: the one times out, the others are cancelled, and none is left in the
	 * queue.
	 */
	door = (struct gate){ .limit = 0 };
	got_in = shut_out = 0;
	task_spawn("brief", pass_the_gate, &brief_ms, NULL);
	for (int i = 0; i < 5; i++)
		task_spawn("guest", pass_the_gate, &timeout_ms, &t[i]);
	loop_defer(cancel_all, t);
	run_all();
	assert_int_equal(got_in, 0);
	assert_int_equal(shut_out, 6);
	assert_null(door.first);
	assert_null(door.last);
}

static void defer_in_order(void *arg)
{
	assert_null(task_self());
	note(arg);
}

static void defer_from_a_task(void *arg)
{
	assert_non_null(task_self());
	loop_defer(defer_in_order, "1");
	loop_defer(defer_in_order, "2");
	note("task");
	task_yield();
	note("back");
}

static void test_defer(void **state)
{
	task_spawn("deferrer", defer_from_a_task, NULL, NULL);
	run_all();
	assert_string_equal(trace, "task 1 2 back ");
}

static void always_busy(void *arg)
{
	while (!task_cancelled())
		task_yield();
}

static void fd_fired(evutil_socket_t fd, short what, void *arg)
{
	note("fd");
	task_cancel(*(struct task **)arg);
}

static void test_busy_tasks_do_not_starve_descriptors(void **state)
{
	struct task *t;
	struct event *ev;
	int p[2];

	assert_int_equal(pipe(p), 0);
	task_spawn("busy", always_busy, NULL, &t);
	ev = event_new(loop_base(), p[0], EV_READ, fd_fired, &t);
	event_add(ev, NULL);
	assert_int_equal(write(p[1], "x", 1), 1);
	run_all();
	assert_string_equal(trace, "fd ");
	event_free(ev);
	close(p[0]);
	close(p[1]);
}

static void stop_from_callback(evutil_socket_t fd, short what, void *arg)
{
	loop_stop();
}

static void test_stop_from_a_callback(void **state)
{
	struct timeval soon = { 0, 1000 };
	struct event *ev = evtimer_new(loop_base(), stop_from_callback, NULL);

	evtimer_add(ev, &soon);
	loop_run();
	loop_defer(stop, NULL);
	loop_run(); /* can be run again */
	event_free(ev);
}

/*
 * Callee-saved registers and the rounding mode survive a switch, whatever the others do meanwhile.
 */
static void keep_registers(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;
	unsigned a = seed, b = seed * 3, c = seed * 5, d = seed * 7, e = seed * 11, f = seed * 13;
	double x = seed * 1.5, y = seed * 2.5;

	/* Only the x86-64 switch keeps the rounding mode. */
	if (ROUNDING_KEPT)
		fesetround(seed % 2 ? FE_UPWARD : FE_TONEAREST);
	for (int i = 0; i < 20; i++) {
		a++, b++, c++, d++, e++, f++;
		x += 1, y += 1;
		task_yield();
	}
	if (ROUNDING_KEPT)
		assert_int_equal(fegetround(), seed % 2 ? FE_UPWARD : FE_TONEAREST);
	fesetround(FE_TONEAREST);
	assert_int_equal(a, seed + 20);
	assert_int_equal(b, seed * 3 + 20);
	assert_int_equal(c, seed * 5 + 20);
	assert_int_equal(d, seed * 7 + 20);
	assert_int_equal(e, seed * 11 + 20);
	assert_int_equal(f, seed * 13 + 20);
	assert_true(x == seed * 1.5 + 20 && y == seed * 2.5 + 20);
	/* SSE moves to the stack fault if it is not aligned. */
	assert_int_equal((uintptr_t)__builtin_frame_address(0) % 16, 0);
}

static void test_registers_survive(void **state)
{
	for (uintptr_t i = 1; i <= 8; i++)
		task_spawn("registers", keep_registers, (void *)i, NULL);
	run_all();
}

/* Touches `bytes` of stack, all of it. */
static __attribute__((noinline)) int deep(size_t bytes)
{
	volatile char page[1024];

	for (size_t i = 0; i < sizeof(page); i += 64)
		page[i] = (char)bytes;
	if (bytes <= sizeof(page))
		return page[0];
	return deep(bytes - sizeof(page)) + page[64];
}

static void yield_with_an_error_queued(void *arg)
{
	ERR_raise(ERR_LIB_USER, 1);
	task_yield();
	if (ERR_peek_error() != 0)
		_exit(1);
}

static void overflow(void *arg)
{
	deep(task_stack_size() * 2);
}

/* Runs fn as a task in a process of its own; which signal ended it. */
static int signal_of(task_fn *fn)
{
	int status = 0;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, 2);
		signal(SIGABRT, SIG_DFL);
		signal(SIGSEGV, SIG_DFL);
		task_spawn("child", fn, NULL, NULL);
		task_spawn("last", stop_when_alone, NULL, NULL);
		loop_run();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
}

static void test_what_ends_the_process(void **state)
{
	if (getenv("UNDER_VALGRIND"))
		skip();
	assert_int_equal(signal_of(yield_with_an_error_queued), UNDER_ASAN ? SIGABRT : 0);
	if (UNDER_ASAN)
		return;
	assert_int_equal(signal_of(overflow), SIGSEGV);
	assert_int_equal(signal_of(nothing), 0);
}

static void use_deeply(void *arg)
{
	deep(40 * 1024);
}

static void test_stacks_are_reused(void **state)
{
	for (int i = 0; i < 2000; i++) {
		task_spawn("deep", use_deeply, NULL, NULL);
		if (i % 500 == 499)
			run_all();
	}
}

static size_t rss_bytes(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	unsigned long size = 0, resident = 0;

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%lu %lu", &size, &resident), 2);
	fclose(f);
	return resident * (size_t)sysconf(_SC_PAGESIZE);
}

enum { IDLE = 10000 };

static struct task *idle[IDLE];

static void be_idle(void *arg)
{
	task_park(3600 * 1000);
}

static void be_idle_after_work(void *arg)
{
	deep(40 * 1024);
	task_stack_trim();
	deep(1024);
	task_park(3600 * 1000);
}

static void measure(void *arg)
{
	*(size_t *)arg = rss_bytes();
	for (size_t i = 0; i < IDLE; i++)
		task_cancel(idle[i]);
}

static size_t idle_cost(task_fn *fn)
{
	size_t before = rss_bytes(), after = 0;

	for (size_t i = 0; i < IDLE; i++)
		assert_int_equal(task_spawn("idle", fn, NULL, &idle[i]), 0);
	loop_defer(measure, &after);
	run_all();
	return after > before ? (after - before) / IDLE : 0;
}

static void test_idle_tasks_are_cheap(void **state)
{
	size_t fresh, worked;

	if (UNDER_ASAN || getenv("UNDER_VALGRIND"))
		skip();
	fresh = idle_cost(be_idle);
	worked = idle_cost(be_idle_after_work);
	print_message("             an idle task: %zu bytes; after a deep use: %zu bytes\n", fresh,
		      worked);
	assert_true(fresh <= 8192 + 64);
	assert_true(worked <= 8192 + 64);
}

static void ping(void *arg)
{
	for (int i = 0; i < 500000; i++)
		task_yield();
}

static void test_switches_are_cheap(void **state)
{
	int64_t began = clock_ms();

	if (UNDER_ASAN || getenv("UNDER_VALGRIND"))
		skip();
	task_spawn("ping", ping, NULL, NULL);
	task_spawn("pong", ping, NULL, NULL);
	run_all();
	/*
	 * Each is two switches, the queue, and half a look at the descriptors. A figure to read;
	 * nothing to fail by.
	 */
	print_message("             a yield: %lld ns\n", (long long)(clock_ms() - began));
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_tasks_take_turns),
		CASE(test_wake_resumes_from_the_queue),
		CASE(test_wake_beats_a_timeout),
		CASE(test_park_times_out),
		CASE(test_timers_are_moved),
		CASE(test_sleepers_wake_in_order),
		CASE(test_cancel),
		CASE(test_cancel_before_the_first_run),
		CASE(test_release_unwinds_who_is_left),
		CASE(test_limit),
		CASE(test_future),
		CASE(test_gate_limits),
		CASE(test_gate_gives_up),
		CASE(test_defer),
		CASE(test_busy_tasks_do_not_starve_descriptors),
		CASE(test_stop_from_a_callback),
		CASE(test_registers_survive),
		CASE(test_what_ends_the_process),
		CASE(test_stacks_are_reused),
		CASE(test_idle_tasks_are_cheap),
		CASE(test_switches_are_cheap),
	};

	return cmocka_run_group_tests_name("task", tests, NULL, NULL);
}
