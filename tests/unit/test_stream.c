#include <errno.h>
#include <fcntl.h>
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
#include <openssl/ssl.h>

#include "base/clock.h"
#include "base/stream.h"
#include "base/stream_impl.h"
#include "base/task.h"
#include "base/tls.h"

#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_ASAN 1
#endif
#endif
#ifndef UNDER_ASAN
#define UNDER_ASAN 0
#endif

enum { LONG_MS = 60000 };

/* Every case that is told to runs over each of these. */
enum kind { PAIR, TCP, TLS12, TLS13, KINDS };

static const char *const kind_names[] = { "socketpair", "tcp", "TLSv1.2", "TLSv1.3" };
static SSL_CTX *server_ctx, *client_ctx[KINDS];

/* One connection; a is the server when there is TLS. */
static struct {
	enum kind kind;
	struct stream *a, *b;
	struct task *task_a, *task_b;
	void (*run_a)(struct stream *), (*run_b)(struct stream *);
} now;

static int group_setup(void **state)
{
	struct buf cert = BUF_INIT(65536), key = BUF_INIT(65536), err = BUF_INIT(1024);
	int rc = tls_self_signed("mx.example.com", &cert, &key);

	if (rc == 0)
		rc = tls_server_ctx(buf_str(&cert), buf_str(&key), &server_ctx, &err);
	for (int k = TLS12; k <= TLS13 && rc == 0; k++) {
		rc = tls_client_ctx(true, buf_str(&cert), &client_ctx[k], &err);
		if (rc == 0 && k == TLS12)
			SSL_CTX_set_max_proto_version(client_ctx[k], TLS1_2_VERSION);
	}
	buf_release(&cert);
	buf_release(&key);
	buf_release(&err);
	return rc;
}

static int group_teardown(void **state)
{
	tls_ctx_free(server_ctx);
	tls_ctx_free(client_ctx[TLS12]);
	tls_ctx_free(client_ctx[TLS13]);
	return 0;
}

static int setup(void **state)
{
	return loop_init();
}

static int teardown(void **state)
{
	loop_release();
	return 0;
}

static void loop_until_alone(void *arg)
{
	while (task_count() > 1)
		assert_int_equal(task_sleep(1), 0);
	loop_stop();
}

static void run_loop(void)
{
	assert_int_equal(task_spawn("last", loop_until_alone, NULL, NULL), 0);
	loop_run();
}

static int listen_on(struct net_addr *out, int backlog)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(net_parse("127.0.0.1", out), 0);
	len = net_to_sockaddr(out, &ss);
	assert_int_equal(bind(fd, (struct sockaddr *)&ss, len), 0);
	assert_int_equal(listen(fd, backlog), 0);
	len = sizeof(ss);
	getsockname(fd, (struct sockaddr *)&ss, &len);
	net_from_sockaddr((struct sockaddr *)&ss, out);
	return fd;
}

static void join(enum kind kind)
{
	if (kind == PAIR) {
		int s[2];

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
		now.a = stream_new(s[0]);
		now.b = stream_new(s[1]);
	} else {
		struct net_addr addr;
		int fd = listen_on(&addr, 5);

		assert_int_equal(stream_connect(&addr, NULL, LONG_MS, &now.b), 0);
		now.a = stream_new(accept(fd, NULL, NULL));
		close(fd);
	}
}

static void side_a(void *arg)
{
	if (now.kind >= TLS12) {
		assert_int_equal(stream_tls_accept(now.a, server_ctx, LONG_MS), 0);
		assert_string_equal(stream_tls_version(now.a), kind_names[now.kind]);
	}
	now.run_a(now.a);
	stream_free(now.a);
	now.a = NULL;
	now.task_a = NULL;
}

static void side_b(void *arg)
{
	join(now.kind);
	assert_int_equal(task_spawn("a", side_a, NULL, &now.task_a), 0);
	if (now.kind >= TLS12) {
		assert_int_equal(stream_tls_connect(now.b, client_ctx[now.kind], "mx.example.com",
						    LONG_MS),
				 0);
		assert_true(stream_is_tls(now.b) && stream_tls_verified(now.b));
	}
	now.run_b(now.b);
	stream_free(now.b);
	now.b = NULL;
	now.task_b = NULL;
}

static void talk(enum kind kind, void (*a)(struct stream *), void (*b)(struct stream *))
{
	memset(&now, 0, sizeof(now));
	now.kind = kind;
	now.run_a = a;
	now.run_b = b;
	assert_int_equal(task_spawn("b", side_b, NULL, &now.task_b), 0);
	run_loop();
}

static void talk_over_all(void (*a)(struct stream *), void (*b)(struct stream *))
{
	for (int k = 0; k < KINDS; k++)
		talk((enum kind)k, a, b);
}

static void want_line(struct stream *s, const char *want)
{
	const char *line;
	size_t len;

	assert_int_equal(stream_read_line(s, 1000, LONG_MS, &line, &len), 0);
	assert_int_equal(len, strlen(want));
	assert_memory_equal(line, want, len);
}

static int read_rc(struct stream *s, int timeout_ms)
{
	const char *line;
	size_t len;

	return stream_read_line(s, 1000, timeout_ms, &line, &len);
}

static int put(struct stream *s, const char *text)
{
	int rc = stream_write(s, text, strlen(text));

	return rc ? rc : stream_flush(s, LONG_MS);
}

/* Lines. */

static void lines_a(struct stream *s)
{
	char text[3000];

	want_line(s, "EHLO x\r\n");
	assert_int_equal(stream_printf(s, "%d-%s\r\n%d ok\r\n", 250, "mx", 250), 0);
	want_line(s, "bare\n");
	want_line(s, "\r\n");
	want_line(s, "a\rb\r\n");
	memset(text, 'x', sizeof(text));
	assert_int_equal(stream_printf(s, "%.*s\r\n", (int)sizeof(text), text), 0);
	assert_int_equal(read_rc(s, LONG_MS), -EPIPE);
	assert_int_equal(read_rc(s, LONG_MS), -EPIPE);
	assert_int_equal(stream_bytes_in(s), 8 + 5 + 2 + 5);
	assert_int_equal(stream_bytes_out(s), 18 + 3002 - 2);
}

static void lines_b(struct stream *s)
{
	const char *line;
	size_t len;

	assert_int_equal(stream_write(s, "EHLO x\r\n", 8), 0);
	want_line(s, "250-mx\r\n");
	want_line(s, "250 ok\r\n");
	put(s, "bare\n\r\na\rb\r\n");
	assert_int_equal(stream_read_line(s, 4000, LONG_MS, &line, &len), 0);
	assert_int_equal(len, 3002);
	assert_int_equal(line[0], 'x');
	assert_int_equal(line[3001], '\n');
}

static void test_lines(void **state)
{
	talk_over_all(lines_a, lines_b);
}

static void too_long_a(struct stream *s)
{
	const char *line;
	size_t len;

	assert_int_equal(stream_read_line(s, 10, LONG_MS, &line, &len), 0); /* 10 with its CRLF */
	assert_int_equal(stream_read_line(s, 10, LONG_MS, &line, &len), -EMSGSIZE);
	assert_int_equal(stream_read_line(s, 10, LONG_MS, &line, &len), -EMSGSIZE);
	assert_int_equal(stream_read_line(s, 10, LONG_MS, &line, &len), 0);
	assert_memory_equal(line, "short\r\n", 7);
	assert_int_equal(stream_read_line(s, 10, LONG_MS, &line, &len), -EPIPE);
	assert_int_equal(stream_pending(s), 0);
}

static void too_long_b(struct stream *s)
{
	static char big[200000];

	memset(big, 'y', sizeof(big));
	put(s, "12345678\r\n123456789\r\n");
	assert_int_equal(stream_write(s, big, sizeof(big)), 0);
	put(s, "\nshort\r\n");
	put(s, "no end and too long");
	stream_close(s, LONG_MS);
}

static void test_line_too_long(void **state)
{
	talk_over_all(too_long_a, too_long_b);
}

static void skip_a(struct stream *s)
{
	/* The time is up inside a long line: its tail is not the next line. */
	const char *line;
	size_t len;

	assert_int_equal(stream_read_line(s, 10, 20, &line, &len), -ETIMEDOUT);
	put(s, "go on\n");
	assert_int_equal(stream_read_line(s, 10, LONG_MS, &line, &len), -EMSGSIZE);
	want_line(s, "next\n");
	while ((read_rc(s, LONG_MS)) == -EMSGSIZE)
		;
	assert_int_equal(read_rc(s, LONG_MS), -EPIPE);
	assert_true(stream_bytes_in(s) < 4 * 1024 * 1024);
}

static void skip_b(struct stream *s)
{
	static char big[65536];

	memset(big, 'y', sizeof(big));
	put(s, "0123456789abc");
	want_line(s, "go on\n");
	put(s, "MAIL\nnext\n");
	/* A line without end: given up after 1 MiB of it. */
	while (stream_write(s, big, sizeof(big)) == 0)
		assert_true(stream_bytes_out(s) < 64 * 1024 * 1024);
}

static void test_skipping_goes_on(void **state)
{
	talk_over_all(skip_a, skip_b);
}

static void bytewise_a(struct stream *s)
{
	want_line(s, "MAIL FROM:<a@example.com>\r\n");
	want_line(s, "RCPT TO:<b@example.com>\r\n");
	put(s, "250 2.1.5 ok\r\n");
}

static void bytewise_b(struct stream *s)
{
	const char *text = "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\n";

	for (const char *p = text; *p; p++) {
		assert_int_equal(stream_write(s, p, 1), 0);
		assert_int_equal(stream_flush(s, LONG_MS), 0);
		task_yield();
		task_yield();
	}
	want_line(s, "250 2.1.5 ok\r\n");
}

static void test_one_byte_at_a_time(void **state)
{
	talk_over_all(bytewise_a, bytewise_b);
}

/* Replies to a group of commands leave together, before the wait for the next. */
static void pipeline_a(struct stream *s)
{
	for (int i = 0; i < 5; i++) {
		assert_int_equal(read_rc(s, LONG_MS), 0);
		stream_printf(s, "25%d ok\r\n", i);
		assert_int_equal(stream_bytes_out(s), 0);
	}
	want_line(s, "QUIT\r\n");
	assert_int_equal(stream_bytes_out(s), 5 * 8);
}

static void pipeline_b(struct stream *s)
{
	const char *p;
	size_t len;

	put(s, "1\r\n2\r\n3\r\n4\r\n5\r\n");
	assert_int_equal(stream_peek(s, LONG_MS, &p, &len), 0);
	assert_int_equal(len, 5 * 8);
	stream_eat(s, 8);
	assert_int_equal(stream_pending(s), 4 * 8);
	want_line(s, "251 ok\r\n");
	assert_int_equal(stream_peek(s, LONG_MS, &p, &len), 0);
	assert_int_equal(len, 3 * 8);
	assert_memory_equal(p, "252 ok\r\n", 8);
	put(s, "QUIT\r\n");
}

static void test_pipelined_replies_leave_together(void **state)
{
	talk_over_all(pipeline_a, pipeline_b);
}

/* Ends. */

static void partial_line_b(struct stream *s)
{
	put(s, "complete\r\npart");
	stream_close(s, LONG_MS);
}

static void partial_line_a(struct stream *s)
{
	const char *p;
	size_t len;

	want_line(s, "complete\r\n");
	assert_int_equal(read_rc(s, LONG_MS), -EPIPE);
	assert_int_equal(stream_peek(s, LONG_MS, &p, &len), 0);
	assert_int_equal(len, 4);
	stream_eat(s, 4);
	assert_int_equal(stream_peek(s, LONG_MS, &p, &len), -EPIPE);
	assert_int_equal(stream_wait_readable(s, LONG_MS), -EPIPE);
}

static void test_peer_closes(void **state)
{
	talk_over_all(partial_line_a, partial_line_b);
}

/*
 * Data and end in one event, then a wait after a reply: the end is noticed although no new event
 * comes.
 */
static void ends_at_once_a(struct stream *s)
{
	assert_int_equal(stream_wait_readable(s, LONG_MS), 0);
	task_sleep(5);
	want_line(s, "QUIT\r\n");
	stream_printf(s, "221 bye\r\n");
	assert_int_equal(read_rc(s, LONG_MS), -EPIPE);
}

static void ends_at_once_b(struct stream *s)
{
	put(s, "QUIT\r\n");
	shutdown(stream_fd(s), SHUT_WR);
	want_line(s, "221 bye\r\n");
}

static void test_data_with_end(void **state)
{
	talk(PAIR, ends_at_once_a, ends_at_once_b);
	talk(TCP, ends_at_once_a, ends_at_once_b);
}

static void reset_a(struct stream *s)
{
	assert_int_equal(stream_wait_readable(s, LONG_MS), 0);
	task_sleep(5);
	want_line(s, "DATA\r\n");
	assert_int_equal(read_rc(s, LONG_MS), -EPIPE);
	assert_int_equal(put(s, "354\r\n"), -EPIPE);
}

static void reset_b(struct stream *s)
{
	struct linger linger = { .l_onoff = 1 };

	put(s, "DATA\r\n");
	task_sleep(2);
	setsockopt(stream_fd(s), SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

static void test_peer_resets(void **state)
{
	talk(TCP, reset_a, reset_b);
}

static void close_a(struct stream *s)
{
	stream_printf(s, "221 bye\r\n");
	stream_close(s, LONG_MS);
}

static void close_b(struct stream *s)
{
	want_line(s, "221 bye\r\n");
	assert_int_equal(read_rc(s, LONG_MS), -EPIPE);
	put(s, "too late\r\n");
}

static void test_polite_close(void **state)
{
	talk_over_all(close_a, close_b);
}

static void never_ends_a(struct stream *s)
{
	int64_t began = clock_ms();

	stream_close(s, 20);
	assert_true(clock_ms() - began < 10000);
	task_cancel(now.task_b);
}

static void until_cancelled_b(struct stream *s)
{
	assert_int_equal(task_park(-1), -ECANCELED);
}

static void test_close_does_not_wait_for_ever(void **state)
{
	talk_over_all(never_ends_a, until_cancelled_b);
}

/* Time. */

static void timeout_a(struct stream *s)
{
	int64_t began = clock_ms();

	assert_int_equal(read_rc(s, 20), -ETIMEDOUT);
	assert_true(clock_ms() - began >= 20);
	assert_int_equal(stream_wait_readable(s, 0), -ETIMEDOUT);

	/* The stream's own moment is earlier than what the wait would take. */
	began = clock_ms();
	stream_set_deadline(s, began + 20);
	assert_int_equal(stream_deadline(s), began + 20);
	assert_int_equal(read_rc(s, LONG_MS), -ETIMEDOUT);
	assert_true(clock_ms() - began >= 20 && clock_ms() - began < 10000);
	assert_int_equal(read_rc(s, LONG_MS), -ETIMEDOUT);
	stream_set_deadline(s, 0);

	put(s, "go\n");
	want_line(s, "gone\n");
}

static void timeout_b(struct stream *s)
{
	want_line(s, "go\n");
	put(s, "gone\n");
}

static void test_timeouts_and_budget(void **state)
{
	talk_over_all(timeout_a, timeout_b);
}

/* One byte each few milliseconds does not prolong the time of a line. */
static void drip_a(struct stream *s)
{
	int64_t began = clock_ms();

	assert_int_equal(read_rc(s, 50), -ETIMEDOUT);
	assert_true(clock_ms() - began >= 50);
	task_cancel(now.task_b);
}

static void drip_b(struct stream *s)
{
	for (int i = 0; i < 1000 && task_sleep(3) == 0; i++)
		put(s, "x");
	assert_true(task_cancelled());
}

static void test_dripping_is_not_progress(void **state)
{
	talk_over_all(drip_a, drip_b);
}

static void no_reader_a(struct stream *s)
{
	static char big[8 * 1024 * 1024];

	stream_set_write_timeout(s, 20);
	assert_int_equal(stream_write(s, big, sizeof(big)), -ETIMEDOUT);
	assert_int_equal(stream_write(s, "x", 1), -EPIPE);
	assert_int_equal(stream_flush(s, LONG_MS), -EPIPE);
	task_cancel(now.task_b);
}

static void test_write_times_out(void **state)
{
	talk_over_all(no_reader_a, until_cancelled_b);
}

static void cancelled_a(struct stream *s)
{
	put(s, "ready\n");
	assert_int_equal(read_rc(s, LONG_MS), -ECANCELED);
	assert_int_equal(read_rc(s, LONG_MS), -ECANCELED);
	assert_int_equal(stream_wait_readable(s, LONG_MS), -ECANCELED);
	assert_int_equal(put(s, "421 4.3.2 closing\r\n"), 0);
}

static void cancelling_b(struct stream *s)
{
	want_line(s, "ready\n");
	task_cancel(now.task_a);
	put(s, "not to be read\n");
	want_line(s, "421 4.3.2 closing\r\n");
}

static void test_cancel(void **state)
{
	talk_over_all(cancelled_a, cancelling_b);
}

/* Much. */

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
	assert_int_equal(stream_flush(s, LONG_MS), 0);
	assert_int_equal(stream_bytes_out(s), BIG);
	free(p);
	want_line(s, "got it\n");
}

static void big_b(struct stream *s)
{
	size_t got = 0, len;
	const char *p;

	while (got < BIG) {
		size_t n;

		assert_int_equal(stream_peek(s, LONG_MS, &p, &len), 0);
		assert_true(len > 0 && len <= STREAM_CHUNK);
		n = got % 3 || len < 100 ? len : len - 77; /* now and then something is left */
		for (size_t k = 0; k < n; k++)
			if ((unsigned char)p[k] != pattern(got + k))
				fail_msg("byte %zu differs", got + k);
		stream_eat(s, n);
		got += n;
	}
	assert_int_equal(stream_pending(s), 0);
	put(s, "got it\n");
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
	want_line(s, "got it\n");
	took_ms = clock_ms() - began;
}

static void fast_b(struct stream *s)
{
	size_t got = 0, len;
	const char *p;

	for (reads = 0; got < BIG; reads++) {
		assert_int_equal(stream_peek(s, LONG_MS, &p, &len), 0);
		stream_eat(s, len);
		got += len;
	}
	put(s, "got it\n");
}

static void test_big_transfer_is_fast(void **state)
{
	message = calloc(1, BIG);
	for (int k = 0; k < KINDS; k++) {
		talk((enum kind)k, fast_a, fast_b);
		print_message("             10 MB over %s: %lld ms, %u reads\n", kind_names[k],
			      (long long)took_ms, reads);
		/*
		 * 161 are the fewest that STREAM_CHUNK allows for; many more mean that records or
		 * segments are read one by one.
		 */
		if (k == TCP && !UNDER_ASAN)
			assert_true(reads < 1500);
	}
	free(message);
}

/* Whoever has more and more to say does not keep others from their turn. */
static unsigned turns;

static void turn_taker(void *arg)
{
	while (now.task_a) {
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
		assert_int_equal(stream_peek(s, LONG_MS, &p, &len), 0);
		stream_eat(s, len);
		/* As if there were always more: what is there is put back in the socket's place. */
		assert_int_equal(write(stream_fd(now.b), "x", 1), 1);
	}
	assert_true(turns >= 4096 / 16);
	task_cancel(now.task_b);
}

static void flood_b(struct stream *s)
{
	assert_int_equal(write(stream_fd(s), "x", 1), 1);
	assert_int_equal(task_park(-1), -ECANCELED);
}

static void test_a_flood_leaves_turns(void **state)
{
	talk(PAIR, flood_a, flood_b);
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
		assert_int_equal(stream_peek(s, LONG_MS, &p, &len), 0);
		stream_eat(s, len);
	}
	pumped++;
	while (pumped < 4)
		task_yield();
}

static void test_both_ways_at_once(void **state)
{
	message = calloc(1, BIG);
	for (int k = 0; k < KINDS; k++) {
		pumped = 0;
		talk((enum kind)k, pump, pump);
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

		assert_int_equal(stream_read_line(s, 4096, LONG_MS, &line, &len), 0);
		stream_printf(s, "250 ok\r\n");
		assert_int_equal(stream_wait_readable(s, LONG_MS), 0);
		assert_null(s->in);
		assert_null(s->out);
		before = after;
		after = heap_bytes();
	}
	/* What one exchange more leaves behind. */
	idle_heap = after > before ? after - before : 0;
	want_line(s, "QUIT\r\n");
}

static void hold_b(struct stream *s)
{
	for (int i = 0; i < 3; i++) {
		put(s, "NOOP\r\n");
		want_line(s, "250 ok\r\n");
	}
	put(s, "QUIT\r\n");
}

static void test_idle_streams_hold_no_buffers(void **state)
{
	for (int k = 0; k < KINDS; k++) {
		talk((enum kind)k, hold_a, hold_b);
		assert_true(idle_heap < 256);
	}
}

/* Bytes that wait for more hold memory of their own size. */
static void little_a(struct stream *s)
{
	assert_int_equal(read_rc(s, 20), -ETIMEDOUT);
	assert_false(s->chunked);
	assert_int_equal(s->in_len, 10);
	put(s, "more\n");
	assert_int_equal(stream_wait_readable(s, LONG_MS), 0);
	want_line(s, "0123456789\n");
	for (int i = 0; i < 4000; i++)
		want_line(s, "RSET\n");
	/* A full chunk was read, and the little that is left of it is not kept in it. */
	assert_false(s->chunked);
	task_cancel(now.task_b);
}

static void little_b(struct stream *s)
{
	put(s, "0123456789");
	want_line(s, "more\n");
	put(s, "\n");
	for (int i = 0; i < 4000; i++)
		assert_int_equal(stream_write(s, "RSET\n", 5), 0);
	put(s, "DATA");
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
	if (read_rc(s, LONG_MS) != 0)
		return;
	stream_printf(s, "250-mx.example.com\r\n250-PIPELINING\r\n250 SIZE\r\n");
	greeted++;
	assert_int_equal(read_rc(s, 3600 * 1000), -ECANCELED);
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
	run_loop();
}

/* Connecting. */

static void connect_cases(void *arg)
{
	struct net_addr addr, from, seen;
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct stream *s = NULL, *queued[8] = { NULL };
	int fd = listen_on(&addr, 5), conn, rc = 0;
	char text[NET_TEXT_MAX];

	/* From an address, whatever its port says. */
	assert_int_equal(net_parse_port("127.0.0.9:1", 0, &from), 0);
	assert_int_equal(stream_connect(&addr, &from, LONG_MS, &s), 0);
	conn = accept(fd, (struct sockaddr *)&ss, &len);
	assert_true(conn >= 0);
	net_from_sockaddr((struct sockaddr *)&ss, &seen);
	assert_string_equal(net_text(&seen, text), "127.0.0.9");
	stream_free(s);
	close(conn);
	close(fd);

	/* Nobody there; not our address. */
	assert_int_equal(stream_connect(&addr, NULL, LONG_MS, &s), -ECONNREFUSED);
	assert_int_equal(net_parse("192.0.2.1", &from), 0);
	assert_int_equal(stream_connect(&addr, &from, LONG_MS, &s), -EADDRNOTAVAIL);

	/* Nobody takes the connection: the queue is full, and further ones hang. */
	fd = listen_on(&addr, 0);
	for (int i = 0; i < 8 && rc == 0; i++)
		rc = stream_connect(&addr, NULL, 30, &queued[i]);
	assert_int_equal(rc, -ETIMEDOUT);
	for (int i = 0; i < 8; i++)
		stream_free(queued[i]);
	close(fd);
}

static void test_connect(void **state)
{
	assert_int_equal(task_spawn("connect", connect_cases, NULL, NULL), 0);
	run_loop();
}

static void acked_a(struct stream *s)
{
	int tries = 0;

	stream_printf(s, "250 ok\r\n");
	assert_false(stream_acked(s));
	assert_int_equal(stream_flush(s, LONG_MS), 0);
	while (!stream_acked(s) && tries++ < 1000)
		task_sleep(1);
	assert_true(stream_acked(s));
	want_line(s, "QUIT\r\n");
}

static void acked_b(struct stream *s)
{
	want_line(s, "250 ok\r\n");
	put(s, "QUIT\r\n");
}

static void test_acked(void **state)
{
	talk(TCP, acked_a, acked_b);
	talk(TLS13, acked_a, acked_b);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_lines),
		CASE(test_line_too_long),
		CASE(test_skipping_goes_on),
		CASE(test_one_byte_at_a_time),
		CASE(test_pipelined_replies_leave_together),
		CASE(test_peer_closes),
		CASE(test_data_with_end),
		CASE(test_peer_resets),
		CASE(test_polite_close),
		CASE(test_close_does_not_wait_for_ever),
		CASE(test_timeouts_and_budget),
		CASE(test_dripping_is_not_progress),
		CASE(test_write_times_out),
		CASE(test_cancel),
		CASE(test_big_transfer),
		CASE(test_big_transfer_is_fast),
		CASE(test_a_flood_leaves_turns),
		CASE(test_both_ways_at_once),
		CASE(test_idle_streams_hold_no_buffers),
		CASE(test_pending_bytes_hold_little),
		CASE(test_idle_sessions_are_cheap),
		CASE(test_connect),
		CASE(test_acked),
	};

	return cmocka_run_group_tests_name("stream", tests, group_setup, group_teardown);
}
