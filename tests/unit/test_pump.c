/* A client, the pump, a server: three tasks, two connections. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/pump.h"
#include "base/stream.h"
#include "base/stream_raw.h"
#include "base/task.h"
#include "base/tls.h"
#include "support/talk.h"

static struct {
	struct stream *client, *server;
	struct pump pump;
	enum pump_end end;
	bool over;
	void (*run_client)(struct stream *), (*run_server)(struct stream *);
	struct task *pump_task;
	bool tls;                       /* towards the client */
	struct ssl_ctx_st *server_ctx, *client_ctx;
} now;

static void join(struct stream **ours, struct stream **theirs)
{
	struct net_addr addr;
	int fd = talk_listen(&addr, 5);

	assert_int_equal(stream_connect(&addr, NULL, TALK_LONG_MS, theirs), 0);
	*ours = stream_new(accept(fd, NULL, NULL));
	close(fd);
}

static void client_task(void *arg)
{
	if (now.tls)
		assert_int_equal(stream_tls_connect(now.client, now.client_ctx, "mx.example.com", TALK_LONG_MS), 0);
	now.run_client(now.client);
	stream_free(now.client);
}

static void server_task(void *arg)
{
	now.run_server(now.server);
	stream_free(now.server);
}

static void pump_task(void *arg)
{
	if (now.tls)
		assert_int_equal(stream_tls_accept(now.pump.a, now.server_ctx, TALK_LONG_MS), 0);
	now.end = pump_run(&now.pump);
	now.over = true;
	stream_free(now.pump.a);
	stream_free(now.pump.b);
}

static void start(void *arg)
{
	join(&now.pump.a, &now.client);
	join(&now.server, &now.pump.b);
	assert_int_equal(task_spawn("client", client_task, NULL, NULL), 0);
	assert_int_equal(task_spawn("server", server_task, NULL, NULL), 0);
	assert_int_equal(task_spawn("pump", pump_task, NULL, &now.pump_task), 0);
}

static void run_once(int idle_ms, void (*client)(struct stream *), void (*server)(struct stream *))
{
	now.pump = (struct pump){ .idle_ms = idle_ms };
	now.over = false;
	now.run_client = client;
	now.run_server = server;
	assert_int_equal(loop_init(), 0);
	assert_int_equal(task_spawn("start", start, NULL, NULL), 0);
	talk_loop();
	loop_release();
}

enum { SPLICED = 1, COPIED = 2, TLS = 4 };

static void run(int how, int idle_ms, enum pump_end end, void (*client)(struct stream *), void (*server)(struct stream *))
{
	for (int bit = SPLICED; bit <= TLS; bit *= 2) {
		if (!(how & bit))
			continue;
		pump_copies = bit == COPIED;
		now.tls = bit == TLS;
		run_once(idle_ms, client, server);
		if (now.end != end)
			fail_msg("way %d: %s, expected %s", bit, pump_end_text(now.end), pump_end_text(end));
	}
	pump_copies = now.tls = false;
}

/* What recv(2) would say of the end: -EPIPE FIN, -ECONNRESET. */
static int end_of(struct stream *s)
{
	char c;
	ssize_t n;

	while ((n = stream_raw_read(s, &c, 1)) == 0)
		assert_int_equal(stream_wait_readable(s, TALK_LONG_MS), 0);
	assert_true(n < 0);
	return (int)n;
}

/* --- line by line --- */

static void ask(struct stream *s)
{
	for (int i = 0; i < 100; i++) {
		assert_int_equal(stream_printf(s, "READ %d\r\n", i), 0);
		talk_want(s, "#0 no messages\r\n");
	}
	assert_int_equal(stream_flush(s, TALK_LONG_MS), 0);
	stream_raw_shut(s);
	/* The other direction goes on. */
	talk_want(s, "bye\r\n");
	assert_int_equal(talk_read(s, TALK_LONG_MS), -EPIPE);
}

static void answer(struct stream *s)
{
	for (int i = 0; i < 100; i++) {
		char line[20];

		snprintf(line, sizeof(line), "READ %d\r\n", i);
		talk_want(s, line);
		assert_int_equal(stream_printf(s, "#0 no messages\r\n"), 0);
	}
	assert_int_equal(talk_read(s, TALK_LONG_MS), -EPIPE);
	talk_put(s, "bye\r\n");
}

static void test_lines(void **state)
{
	run(SPLICED | COPIED | TLS, TALK_LONG_MS, PUMP_ENDED, ask, answer);
	assert_int_equal(now.pump.from_a, 10 * 8 + 90 * 9);
	assert_int_equal(now.pump.from_b, 100 * 16 + 5);
}

/* The server speaks first and ends first. */
static void listens(struct stream *s)
{
	talk_want(s, "hello\r\n");
	assert_int_equal(talk_read(s, TALK_LONG_MS), -EPIPE);
	talk_put(s, "still here\r\n");
}

static void speaks(struct stream *s)
{
	talk_put(s, "hello\r\n");
	stream_raw_shut(s);
	talk_want(s, "still here\r\n");
	assert_int_equal(talk_read(s, TALK_LONG_MS), -EPIPE);
}

static void test_half_close(void **state)
{
	run(SPLICED | COPIED, TALK_LONG_MS, PUMP_ENDED, listens, speaks);
}

/* --- much, both ways at the same time --- */

enum { MUCH = 24 * 1024 * 1024 };

static unsigned char octet(size_t i, unsigned seed)
{
	return (unsigned char)((i * 2654435761u + seed) >> 13);
}

struct much {
	struct stream *s;
	unsigned seed;
	bool done;
};

static void pour(void *arg)
{
	struct much *m = arg;
	char piece[8192];

	for (size_t at = 0; at < MUCH;) {
		size_t n = 1 + (at * 7919) % sizeof(piece);

		if (n > MUCH - at)
			n = MUCH - at;
		for (size_t i = 0; i < n; i++)
			piece[i] = (char)octet(at + i, m->seed);
		assert_int_equal(stream_write(m->s, piece, n), 0);
		at += n;
	}
	assert_int_equal(stream_flush(m->s, TALK_LONG_MS), 0);
	stream_raw_shut(m->s);
	m->done = true;
}

static void much(struct stream *s, unsigned out, unsigned in)
{
	struct much m = { .s = s, .seed = out };
	size_t at = 0;

	assert_int_equal(task_spawn("pour", pour, &m, NULL), 0);
	while (at < MUCH) {
		const char *p;
		size_t n;

		assert_int_equal(stream_peek(s, TALK_LONG_MS, &p, &n), 0);
		for (size_t i = 0; i < n; i++)
			if ((unsigned char)p[i] != octet(at + i, in))
				fail_msg("octet %zu", at + i);
		at += n;
		stream_eat(s, n);
	}
	assert_int_equal(talk_read(s, TALK_LONG_MS), -EPIPE);
	while (!m.done)
		task_sleep(1);
}

static void much_client(struct stream *s)
{
	much(s, 1, 2);
}

static void much_server(struct stream *s)
{
	much(s, 2, 1);
}

static void test_much(void **state)
{
	run(SPLICED | COPIED | TLS, TALK_LONG_MS, PUMP_ENDED, much_client, much_server);
	assert_int_equal(now.pump.from_a, MUCH);
	assert_int_equal(now.pump.from_b, MUCH);
}

/* No descriptor is left for a pipe: it goes on by copying. Before any other has left one in the pool. */
static void start_without_fds(void *arg)
{
	struct rlimit all, none;
	int fd;

	start(arg);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &all), 0);
	fd = dup(0);
	close(fd);
	none = all;
	none.rlim_cur = (rlim_t)fd;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	while (task_count() > 2)
		task_sleep(1);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &all), 0);
}

static void test_no_pipe(void **state)
{
	now.pump = (struct pump){ .idle_ms = TALK_LONG_MS };
	now.run_client = ask;
	now.run_server = answer;
	assert_int_equal(loop_init(), 0);
	assert_int_equal(task_spawn("start", start_without_fds, NULL, NULL), 0);
	talk_loop();
	loop_release();
	assert_int_equal(now.end, PUMP_ENDED);
	assert_int_equal(now.pump.from_b, 100 * 16 + 5);
}

/* --- cuts --- */

static void cuts(struct stream *s)
{
	talk_put(s, "a line\r\n");
	talk_want(s, "yes\r\n");
	stream_raw_abort(s);
}

static void is_cut(struct stream *s)
{
	talk_want(s, "a line\r\n");
	talk_put(s, "yes\r\n");
	assert_int_equal(end_of(s), -ECONNRESET);
}

static void test_reset(void **state)
{
	run(SPLICED | COPIED, TALK_LONG_MS, PUMP_RESET_A, cuts, is_cut);
	run(SPLICED | COPIED, TALK_LONG_MS, PUMP_RESET_B, is_cut, cuts);
}

/* A last word, and the cut comes with it: one event tells of both. */
static void speaks_and_cuts(struct stream *s)
{
	talk_put(s, "a line\r\n");
	talk_want(s, "yes\r\n");
	talk_put(s, "the last\r\n");
	stream_raw_abort(s);
}

static void hears_and_is_cut(struct stream *s)
{
	talk_want(s, "a line\r\n");
	talk_put(s, "yes\r\n");
	talk_want(s, "the last\r\n");
	assert_int_equal(end_of(s), -ECONNRESET);
}

static void test_reset_with_words(void **state)
{
	run(SPLICED | COPIED, TALK_LONG_MS, PUMP_RESET_A, speaks_and_cuts, hears_and_is_cut);
	run(SPLICED | COPIED, TALK_LONG_MS, PUMP_RESET_B, hears_and_is_cut, speaks_and_cuts);
}

/* A server that refuses a large request, and closes without having read it: its words arrive, and the client learns that it was cut. */
static void sends_much(struct stream *s)
{
	static char piece[65536];
	int rc = 0;

	stream_set_write_timeout(s, TALK_LONG_MS);
	for (int i = 0; i < 1000 && rc == 0; i++)
		rc = stream_write(s, piece, sizeof(piece));
	assert_int_equal(rc, -EPIPE);
}

static void refuses(struct stream *s)
{
	assert_int_equal(stream_wait_readable(s, TALK_LONG_MS), 0);
	talk_put(s, "413 too large\r\n");
	/* Unread bytes: the kernel cuts the connection. */
}

static void test_refused(void **state)
{
	run(SPLICED | COPIED, TALK_LONG_MS, PUMP_RESET_B, sends_much, refuses);
	assert_int_equal(now.pump.from_b, 15);
}

/* --- silence --- */

static void silent(struct stream *s)
{
	assert_int_equal(end_of(s), -EPIPE);
}

static void test_idle(void **state)
{
	int64_t begun = clock_ms();

	run(SPLICED, 50, PUMP_IDLE, silent, silent);
	assert_true(clock_ms() - begun < TALK_LONG_MS);
}

static void now_and_then(struct stream *s)
{
	for (int i = 0; i < 8; i++) {
		task_sleep(50);
		talk_put(s, "tick\r\n");
	}
}

static void hears(struct stream *s)
{
	for (int i = 0; i < 8; i++)
		talk_want(s, "tick\r\n");
	assert_int_equal(talk_read(s, TALK_LONG_MS), -EPIPE);
}

/* One way is enough to count as life. */
static void test_not_idle(void **state)
{
	run(SPLICED, 200, PUMP_ENDED, now_and_then, hears);
}

/* A reader that has stopped: what is under way is bounded, and the time is up some day. */
static void stalls(struct stream *s)
{
	while (!now.over)
		if (task_sleep(20) < 0)
			break;
}

static void overflows(struct stream *s)
{
	static char piece[65536];
	int rc = 0;

	while (rc == 0 && stream_bytes_out(s) < 256u * 1024 * 1024)
		rc = stream_write(s, piece, sizeof(piece));
	assert_int_equal(rc, -EPIPE);
}

static void test_stalled(void **state)
{
	now.end = PUMP_ENDED;
	run(SPLICED, 100, PUMP_IDLE, stalls, overflows);
	now.end = PUMP_ENDED;
	run(COPIED, 100, PUMP_IDLE, stalls, overflows);
	assert_true(now.pump.from_b < 64u * 1024 * 1024);
}

/*
 * A server that was cut off while its words wait for a reader that has stopped: what the client still says can go nowhere. That is no life, and no work: the
 * time is up some day.
 */
static bool has_left;

static void stalls_and_speaks(struct stream *s)
{
	while (!has_left)
		task_sleep(5);
	task_sleep(20);
	talk_put(s, "once more\r\n");
	stalls(s);
}

static void overflows_and_leaves(struct stream *s)
{
	static char piece[65536];

	/* All is full when nothing more goes in though everybody has had turns: that it has taken long says nothing, on a machine that stands still. */
	for (int turns = 0; turns < 20; turns++) {
		while (send(stream_fd(s), piece, sizeof(piece), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
			turns = 0;
		task_sleep(1);
	}
	stream_raw_abort(s);
	has_left = true;
}

static void test_stalled_cut(void **state)
{
	int64_t begun = clock_ms();

	for (int how = SPLICED; how <= COPIED; how *= 2) {
		now.end = PUMP_ENDED;
		has_left = false;
		run(how, 300, PUMP_IDLE, stalls_and_speaks, overflows_and_leaves);
	}
	assert_true(clock_ms() - begun < TALK_LONG_MS);
}

static void cancels(struct stream *s)
{
	talk_put(s, "a line\r\n");
	talk_want(s, "yes\r\n");
	task_cancel(now.pump_task);
	assert_int_equal(end_of(s), -EPIPE);
}

static void says_yes(struct stream *s)
{
	talk_want(s, "a line\r\n");
	talk_put(s, "yes\r\n");
	assert_int_equal(end_of(s), -EPIPE);
}

static void test_cancel(void **state)
{
	run(SPLICED, TALK_LONG_MS, PUMP_CANCELED, cancels, says_yes);
}

/* --- bytes that were there before --- */

static void early(struct stream *s)
{
	talk_put(s, "first\r\nsecond\r\nthird\r\n");
	talk_want(s, "before\r\n");
	assert_int_equal(talk_read(s, TALK_LONG_MS), -EPIPE);
}

static void late(struct stream *s)
{
	talk_want(s, "second\r\n");
	talk_want(s, "third\r\n");
}

static void start_read(void *arg)
{
	join(&now.pump.a, &now.client);
	join(&now.server, &now.pump.b);
	assert_int_equal(task_spawn("client", client_task, NULL, NULL), 0);
	talk_want(now.pump.a, "first\r\n");
	assert_int_not_equal(stream_pending(now.pump.a), 0);
	assert_int_equal(stream_printf(now.pump.a, "before\r\n"), 0);
	assert_int_equal(task_spawn("server", server_task, NULL, NULL), 0);
	pump_task(NULL);
}

static void test_pending(void **state)
{
	now.pump = (struct pump){ .idle_ms = TALK_LONG_MS };
	now.run_client = early;
	now.run_server = late;
	assert_int_equal(loop_init(), 0);
	assert_int_equal(task_spawn("start", start_read, NULL, NULL), 0);
	talk_loop();
	loop_release();
	assert_int_equal(now.end, PUMP_ENDED);
	assert_int_equal(now.pump.from_a, 15);
}

static int setup(void **state)
{
	AUTO(buf) struct buf cert = BUF_INIT(65536), key = BUF_INIT(65536), err = BUF_INIT(1024);
	int rc = tls_self_signed("mx.example.com", &cert, &key);

	if (rc == 0)
		rc = tls_server_ctx(buf_str(&cert), buf_str(&key), &now.server_ctx, &err);
	return rc < 0 ? rc : tls_client_ctx(true, buf_str(&cert), &now.client_ctx, &err);
}

static int teardown(void **state)
{
	tls_ctx_free(now.server_ctx);
	tls_ctx_free(now.client_ctx);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_pipe),
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_half_close),
		cmocka_unit_test(test_much),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_reset_with_words),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_not_idle),
		cmocka_unit_test(test_stalled),
		cmocka_unit_test(test_stalled_cut),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_pending),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
