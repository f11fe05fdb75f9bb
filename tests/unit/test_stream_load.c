#include <errno.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/asan.h"
#include "base/clock.h"
#include "base/stream.h"
#include "base/stream_impl.h"
#include "base/task.h"
#include "support/talk.h"

enum { BIG = 10 * 1024 * 1024 };

static unsigned char pattern(size_t i)
{
	return (unsigned char)(i * 2654435761u >> 13);
}

static void big_a(struct stream *s)
{
	static const size_t sizes[] = { 1, 70, 998, 4096, 16383, 16384, 65536, 300000 };
	char *p = malloc(300000);
	size_t sent = 0;

	for (size_t i = 0; sent < BIG; i++) {
		size_t n = sizes[i % 8] < BIG - sent ? sizes[i % 8] : BIG - sent;

		for (size_t k = 0; k < n; k++)
			p[k] = (char)pattern(sent + k);
		assert_int_equal(stream_write(s, p, n), 0);
		sent += n;
	}
	assert_int_equal(stream_flush(s, TALK_LONG_MS), 0);
	assert_int_equal(stream_bytes_out(s), BIG);
	free(p);
	talk_want(s, "got it\n");
}

static void big_b(struct stream *s)
{
	size_t got = 0, len;
	const char *p;

	while (got < BIG) {
		size_t n;

		assert_int_equal(stream_peek(s, TALK_LONG_MS, &p, &len), 0);
		assert_true(len > 0 && len <= STREAM_CHUNK);
		n = got % 3 || len < 100 ? len : len - 77; /* now and then something is left */
		for (size_t k = 0; k < n; k++)
			if ((unsigned char)p[k] != pattern(got + k))
				fail_msg("byte %zu differs", got + k);
		stream_eat(s, n);
		got += n;
	}
	assert_int_equal(stream_pending(s), 0);
	talk_put(s, "got it\n");
}

static void test_big_transfer(void **state)
{
	talk_over_all(big_a, big_b);
}

static char *message;
static int64_t took_ms;
static unsigned reads;

static void fast_a(struct stream *s)
{
	int64_t began = clock_ms();

	for (size_t at = 0; at < BIG; at += STREAM_CHUNK)
		assert_int_equal(stream_write(s, message + at, STREAM_CHUNK), 0);
	talk_want(s, "got it\n");
	took_ms = clock_ms() - began;
}

static void fast_b(struct stream *s)
{
	size_t got = 0, len;
	const char *p;

	for (reads = 0; got < BIG; reads++) {
		assert_int_equal(stream_peek(s, TALK_LONG_MS, &p, &len), 0);
		stream_eat(s, len);
		got += len;
	}
	talk_put(s, "got it\n");
}

static void test_big_transfer_is_fast(void **state)
{
	message = calloc(1, BIG);
	for (int k = 0; k < TALK_KINDS; k++) {
		talk_run((enum talk_kind)k, fast_a, fast_b);
		print_message("             10 MB over %s: %lld ms, %u reads\n", talk_kind_names[k],
			      (long long)took_ms, reads);
		/*
		 * 161 are the fewest that STREAM_CHUNK allows for; many more mean that records or
		 * segments are read one by one.
		 */
		if (k == TALK_TCP && !UNDER_ASAN)
			assert_true(reads < 1500);
	}
	free(message);
}

/* Whoever has more and more to say does not keep others from their turn. */
static unsigned turns;

static void turn_taker(void *arg)
{
	while (talk_now.task_a) {
		turns++;
		task_yield();
	}
}

static void flood_a(struct stream *s)
{
	const char *p;
	size_t len;

	assert_int_equal(task_spawn("turns", turn_taker, NULL, NULL), 0);
	turns = 0;
	for (size_t got = 0; got < 4096; got += len) {
		assert_int_equal(stream_peek(s, TALK_LONG_MS, &p, &len), 0);
		stream_eat(s, len);
		/* As if there were always more: what is there is put back in the socket's place. */
		assert_int_equal(write(stream_fd(talk_now.b), "x", 1), 1);
	}
	assert_true(turns >= 4096 / 16);
	task_cancel(talk_now.task_b);
}

static void flood_b(struct stream *s)
{
	assert_int_equal(write(stream_fd(s), "x", 1), 1);
	assert_int_equal(task_park(-1), -ECANCELED);
}

static void test_a_flood_leaves_turns(void **state)
{
	talk_run(TALK_PAIR, flood_a, flood_b);
}

/* Two tasks, one that reads and one that writes, on the same stream. */
static unsigned pumped;

static void pump_writer(void *arg)
{
	struct stream *s = arg;

	for (size_t at = 0; at < BIG; at += STREAM_CHUNK)
		assert_int_equal(stream_write(s, message + at, STREAM_CHUNK), 0);
	pumped++;
}

static void pump(struct stream *s)
{
	const char *p;
	size_t len;

	assert_int_equal(task_spawn("writer", pump_writer, s, NULL), 0);
	for (size_t got = 0; got < BIG; got += len) {
		assert_int_equal(stream_peek(s, TALK_LONG_MS, &p, &len), 0);
		stream_eat(s, len);
	}
	pumped++;
	while (pumped < 4)
		task_yield();
}

static void test_both_ways_at_once(void **state)
{
	message = calloc(1, BIG);
	for (int k = 0; k < TALK_KINDS; k++) {
		pumped = 0;
		talk_run((enum talk_kind)k, pump, pump);
		assert_int_equal(pumped, 4);
	}
	free(message);
}

/* Memory. */

static size_t heap_bytes(void)
{
	return mallinfo2().uordblks + mallinfo2().hblkhd;
}

static size_t idle_heap;

static void hold_a(struct stream *s)
{
	size_t before = 0, after = 0;

	for (int i = 0; i < 3; i++) {
		const char *line;
		size_t len;

		assert_int_equal(stream_read_line(s, 4096, TALK_LONG_MS, &line, &len), 0);
		stream_printf(s, "250 ok\r\n");
		assert_int_equal(stream_wait_readable(s, TALK_LONG_MS), 0);
		assert_null(s->in);
		assert_null(s->out);
		before = after;
		after = heap_bytes();
	}
	/* What one exchange more leaves behind. */
	idle_heap = after > before ? after - before : 0;
	talk_want(s, "QUIT\r\n");
}

static void hold_b(struct stream *s)
{
	for (int i = 0; i < 3; i++) {
		talk_put(s, "NOOP\r\n");
		talk_want(s, "250 ok\r\n");
	}
	talk_put(s, "QUIT\r\n");
}

static void test_idle_streams_hold_no_buffers(void **state)
{
	for (int k = 0; k < TALK_KINDS; k++) {
		talk_run((enum talk_kind)k, hold_a, hold_b);
		assert_true(idle_heap < 256);
	}
}

/* Bytes that wait for more hold memory of their own size. */
static void little_a(struct stream *s)
{
	assert_int_equal(talk_read(s, 20), -ETIMEDOUT);
	assert_false(s->chunked);
	assert_int_equal(s->in_len, 10);
	talk_put(s, "more\n");
	assert_int_equal(stream_wait_readable(s, TALK_LONG_MS), 0);
	talk_want(s, "0123456789\n");
	for (int i = 0; i < 4000; i++)
		talk_want(s, "RSET\n");
	/* A full chunk was read, and the little that is left of it is not kept in it. */
	assert_false(s->chunked);
	task_cancel(talk_now.task_b);
}

static void little_b(struct stream *s)
{
	talk_put(s, "0123456789");
	talk_want(s, "more\n");
	talk_put(s, "\n");
	for (int i = 0; i < 4000; i++)
		assert_int_equal(stream_write(s, "RSET\n", 5), 0);
	talk_put(s, "DATA");
	assert_int_equal(task_park(-1), -ECANCELED);
}

static void test_pending_bytes_hold_little(void **state)
{
	talk_over_all(little_a, little_b);
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

enum { SESSIONS = 10000 };

static struct task **sessions;
static unsigned greeted;

/* A greeting, a command, an answer, then nothing. */
static void session(void *arg)
{
	AUTO(stream) struct stream *s = stream_new((int)(intptr_t)arg);

	stream_printf(s, "220 mx.example.com ESMTP\r\n");
	if (talk_read(s, TALK_LONG_MS) != 0)
		return;
	stream_printf(s, "250-mx.example.com\r\n250-PIPELINING\r\n250 SIZE\r\n");
	greeted++;
	assert_int_equal(talk_read(s, 3600 * 1000), -ECANCELED);
}

static void hold_many(void *arg)
{
	int n = *(int *)arg, *far = malloc((size_t)n * sizeof(int));
	size_t before;

	sessions = malloc((size_t)n * sizeof(struct task *));
	memset(sessions, 1, (size_t)n * sizeof(struct task *));
	memset(far, 1, (size_t)n * sizeof(int));
	greeted = 0;
	before = rss_bytes();
	for (int i = 0; i < n; i++) {
		int s[2];

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
		far[i] = s[1];
		assert_int_equal(write(far[i], "EHLO client.example.com\r\n", 25), 25);
		assert_int_equal(task_spawn("session", session, (void *)(intptr_t)s[0],
					    &sessions[i]),
				 0);
	}
	while (greeted < (unsigned)n)
		task_sleep(1);
	task_sleep(10);
	print_message("             %d idle sessions: %zu bytes each; struct stream: %zu\n", n,
		      (rss_bytes() - before) / (size_t)n, sizeof(struct stream));
	assert_true((rss_bytes() - before) / (size_t)n < 10 * 1024);
	for (int i = 0; i < n; i++) {
		task_cancel(sessions[i]);
		close(far[i]);
	}
	free(sessions);
	free(far);
}

static void test_idle_sessions_are_cheap(void **state)
{
	struct rlimit r;
	int n = SESSIONS;

	if (UNDER_ASAN || getenv("UNDER_VALGRIND"))
		skip();
	getrlimit(RLIMIT_NOFILE, &r);
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
	if (r.rlim_cur < 2 * SESSIONS + 100)
		n = ((int)r.rlim_cur - 100) / 2;
	if (n < 400)
		skip();
	assert_int_equal(task_spawn("hold", hold_many, &n, NULL), 0);
	talk_loop();
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, talk_setup, talk_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_big_transfer),
		CASE(test_big_transfer_is_fast),
		CASE(test_a_flood_leaves_turns),
		CASE(test_both_ways_at_once),
		CASE(test_idle_streams_hold_no_buffers),
		CASE(test_pending_bytes_hold_little),
		CASE(test_idle_sessions_are_cheap),
	};

	return cmocka_run_group_tests_name("stream, much", tests, talk_group_setup, talk_group_teardown);
}
