#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/stream.h"
#include "base/task.h"
#include "support/talk.h"

/* Lines. */

static void lines_a(struct stream *s)
{
	char text[3000];

	talk_want(s, "EHLO x\r\n");
	assert_int_equal(stream_printf(s, "%d-%s\r\n%d ok\r\n", 250, "mx", 250), 0);
	talk_want(s, "bare\n");
	talk_want(s, "\r\n");
	talk_want(s, "a\rb\r\n");
	memset(text, 'x', sizeof(text));
	assert_int_equal(stream_printf(s, "%.*s\r\n", (int)sizeof(text), text), 0);
	assert_int_equal(talk_read(s, TALK_LONG_MS), -EPIPE);
	assert_int_equal(talk_read(s, TALK_LONG_MS), -EPIPE);
	assert_int_equal(stream_bytes_in(s), 8 + 5 + 2 + 5);
	assert_int_equal(stream_bytes_out(s), 18 + 3002 - 2);
}

static void lines_b(struct stream *s)
{
	const char *line;
	size_t len;

	assert_int_equal(stream_write(s, "EHLO x\r\n", 8), 0);
	talk_want(s, "250-mx\r\n");
	talk_want(s, "250 ok\r\n");
	talk_put(s, "bare\n\r\na\rb\r\n");
	assert_int_equal(stream_read_line(s, 4000, TALK_LONG_MS, &line, &len), 0);
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

	assert_int_equal(stream_read_line(s, 10, TALK_LONG_MS, &line, &len), 0); /* 10 with its CRLF */
	assert_int_equal(stream_read_line(s, 10, TALK_LONG_MS, &line, &len), -EMSGSIZE);
	assert_int_equal(stream_read_line(s, 10, TALK_LONG_MS, &line, &len), -EMSGSIZE);
	assert_int_equal(stream_read_line(s, 10, TALK_LONG_MS, &line, &len), 0);
	assert_memory_equal(line, "short\r\n", 7);
	assert_int_equal(stream_read_line(s, 10, TALK_LONG_MS, &line, &len), -EPIPE);
	assert_int_equal(stream_pending(s), 0);
}

static void too_long_b(struct stream *s)
{
	static char big[200000];

	memset(big, 'y', sizeof(big));
	talk_put(s, "12345678\r\n123456789\r\n");
	assert_int_equal(stream_write(s, big, sizeof(big)), 0);
	talk_put(s, "\nshort\r\n");
	talk_put(s, "no end and too long");
	stream_close(s, TALK_LONG_MS);
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
	talk_put(s, "go on\n");
	assert_int_equal(stream_read_line(s, 10, TALK_LONG_MS, &line, &len), -EMSGSIZE);
	talk_want(s, "next\n");
	while ((talk_read(s, TALK_LONG_MS)) == -EMSGSIZE)
		;
	assert_int_equal(talk_read(s, TALK_LONG_MS), -EPIPE);
	assert_true(stream_bytes_in(s) < 4 * 1024 * 1024);
}

static void skip_b(struct stream *s)
{
	static char big[65536];

	memset(big, 'y', sizeof(big));
	talk_put(s, "0123456789abc");
	talk_want(s, "go on\n");
	talk_put(s, "MAIL\nnext\n");
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
	talk_want(s, "MAIL FROM:<a@example.com>\r\n");
	talk_want(s, "RCPT TO:<b@example.com>\r\n");
	talk_put(s, "250 2.1.5 ok\r\n");
}

static void bytewise_b(struct stream *s)
{
	const char *text = "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\n";

	for (const char *p = text; *p; p++) {
		assert_int_equal(stream_write(s, p, 1), 0);
		assert_int_equal(stream_flush(s, TALK_LONG_MS), 0);
		task_yield();
		task_yield();
	}
	talk_want(s, "250 2.1.5 ok\r\n");
}

static void test_one_byte_at_a_time(void **state)
{
	talk_over_all(bytewise_a, bytewise_b);
}

/* Replies to a group of commands leave together, before the wait for the next. */
static void pipeline_a(struct stream *s)
{
	for (int i = 0; i < 5; i++) {
		assert_int_equal(talk_read(s, TALK_LONG_MS), 0);
		stream_printf(s, "25%d ok\r\n", i);
		assert_int_equal(stream_bytes_out(s), 0);
	}
	talk_want(s, "QUIT\r\n");
	assert_int_equal(stream_bytes_out(s), 5 * 8);
}

static void pipeline_b(struct stream *s)
{
	const char *p;
	size_t len;

	talk_put(s, "1\r\n2\r\n3\r\n4\r\n5\r\n");
	assert_int_equal(stream_peek(s, TALK_LONG_MS, &p, &len), 0);
	assert_int_equal(len, 5 * 8);
	stream_eat(s, 8);
	assert_int_equal(stream_pending(s), 4 * 8);
	talk_want(s, "251 ok\r\n");
	assert_int_equal(stream_peek(s, TALK_LONG_MS, &p, &len), 0);
	assert_int_equal(len, 3 * 8);
	assert_memory_equal(p, "252 ok\r\n", 8);
	talk_put(s, "QUIT\r\n");
}

static void test_pipelined_replies_leave_together(void **state)
{
	talk_over_all(pipeline_a, pipeline_b);
}

/* Ends. */

static void partial_line_b(struct stream *s)
{
	talk_put(s, "complete\r\npart");
	stream_close(s, TALK_LONG_MS);
}

static void partial_line_a(struct stream *s)
{
	const char *p;
	size_t len;

	talk_want(s, "complete\r\n");
	assert_int_equal(talk_read(s, TALK_LONG_MS), -EPIPE);
	assert_int_equal(stream_peek(s, TALK_LONG_MS, &p, &len), 0);
	assert_int_equal(len, 4);
	stream_eat(s, 4);
	assert_int_equal(stream_peek(s, TALK_LONG_MS, &p, &len), -EPIPE);
	assert_int_equal(stream_wait_readable(s, TALK_LONG_MS), -EPIPE);
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
	assert_int_equal(stream_wait_readable(s, TALK_LONG_MS), 0);
	task_sleep(5);
	talk_want(s, "QUIT\r\n");
	stream_printf(s, "221 bye\r\n");
	assert_int_equal(talk_read(s, TALK_LONG_MS), -EPIPE);
}

static void ends_at_once_b(struct stream *s)
{
	talk_put(s, "QUIT\r\n");
	shutdown(stream_fd(s), SHUT_WR);
	talk_want(s, "221 bye\r\n");
}

static void test_data_with_end(void **state)
{
	talk_run(TALK_PAIR, ends_at_once_a, ends_at_once_b);
	talk_run(TALK_TCP, ends_at_once_a, ends_at_once_b);
}

static void reset_a(struct stream *s)
{
	assert_int_equal(stream_wait_readable(s, TALK_LONG_MS), 0);
	task_sleep(5);
	talk_want(s, "DATA\r\n");
	assert_int_equal(talk_read(s, TALK_LONG_MS), -EPIPE);
	assert_int_equal(talk_put(s, "354\r\n"), -EPIPE);
}

static void reset_b(struct stream *s)
{
	struct linger linger = { .l_onoff = 1 };

	talk_put(s, "DATA\r\n");
	task_sleep(2);
	setsockopt(stream_fd(s), SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

static void test_peer_resets(void **state)
{
	talk_run(TALK_TCP, reset_a, reset_b);
}

static void close_a(struct stream *s)
{
	stream_printf(s, "221 bye\r\n");
	stream_close(s, TALK_LONG_MS);
}

static void close_b(struct stream *s)
{
	talk_want(s, "221 bye\r\n");
	assert_int_equal(talk_read(s, TALK_LONG_MS), -EPIPE);
	talk_put(s, "too late\r\n");
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
	task_cancel(talk_now.task_b);
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

	assert_int_equal(talk_read(s, 20), -ETIMEDOUT);
	assert_true(clock_ms() - began >= 20);
	assert_int_equal(stream_wait_readable(s, 0), -ETIMEDOUT);

	/* The stream's own moment is earlier than what the wait would take. */
	began = clock_ms();
	stream_set_deadline(s, began + 20);
	assert_int_equal(stream_deadline(s), began + 20);
	assert_int_equal(talk_read(s, TALK_LONG_MS), -ETIMEDOUT);
	assert_true(clock_ms() - began >= 20 && clock_ms() - began < 10000);
	assert_int_equal(talk_read(s, TALK_LONG_MS), -ETIMEDOUT);
	stream_set_deadline(s, 0);

	talk_put(s, "go\n");
	talk_want(s, "gone\n");
}

static void timeout_b(struct stream *s)
{
	talk_want(s, "go\n");
	talk_put(s, "gone\n");
}

static void test_timeouts_and_budget(void **state)
{
	talk_over_all(timeout_a, timeout_b);
}

/* One byte each few milliseconds does not prolong the time of a line. */
static void drip_a(struct stream *s)
{
	int64_t began = clock_ms();

	assert_int_equal(talk_read(s, 50), -ETIMEDOUT);
	assert_true(clock_ms() - began >= 50);
	task_cancel(talk_now.task_b);
}

static void drip_b(struct stream *s)
{
	for (int i = 0; i < 1000 && task_sleep(3) == 0; i++)
		talk_put(s, "x");
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
	assert_int_equal(stream_flush(s, TALK_LONG_MS), -EPIPE);
	task_cancel(talk_now.task_b);
}

static void test_write_times_out(void **state)
{
	talk_over_all(no_reader_a, until_cancelled_b);
}

static void cancelled_a(struct stream *s)
{
	talk_put(s, "ready\n");
	assert_int_equal(talk_read(s, TALK_LONG_MS), -ECANCELED);
	assert_int_equal(talk_read(s, TALK_LONG_MS), -ECANCELED);
	assert_int_equal(stream_wait_readable(s, TALK_LONG_MS), -ECANCELED);
	assert_int_equal(talk_put(s, "421 4.3.2 closing\r\n"), 0);
}

static void cancelling_b(struct stream *s)
{
	talk_want(s, "ready\n");
	task_cancel(talk_now.task_a);
	talk_put(s, "not to be read\n");
	talk_want(s, "421 4.3.2 closing\r\n");
}

static void test_cancel(void **state)
{
	talk_over_all(cancelled_a, cancelling_b);
}

/* Connecting. */

static void connect_cases(void *arg)
{
	struct net_addr addr, from, seen;
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct stream *s = NULL, *queued[8] = { NULL };
	int fd = talk_listen(&addr, 5), conn, rc = 0;
	char text[NET_TEXT_MAX];

	/* From an address, whatever its port says. */
	assert_int_equal(net_parse_port("127.0.0.9:1", 0, &from), 0);
	assert_int_equal(stream_connect(&addr, &from, TALK_LONG_MS, &s), 0);
	conn = accept(fd, (struct sockaddr *)&ss, &len);
	assert_true(conn >= 0);
	net_from_sockaddr((struct sockaddr *)&ss, &seen);
	assert_string_equal(net_text(&seen, text), "127.0.0.9");
	stream_free(s);
	close(conn);
	close(fd);

	/* Nobody there; not our address. */
	assert_int_equal(stream_connect(&addr, NULL, TALK_LONG_MS, &s), -ECONNREFUSED);
	assert_int_equal(net_parse("192.0.2.1", &from), 0);
	assert_int_equal(stream_connect(&addr, &from, TALK_LONG_MS, &s), -EADDRNOTAVAIL);

	/* Nobody takes the connection: the queue is full, and further ones hang. */
	fd = talk_listen(&addr, 0);
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
	talk_loop();
}

static void acked_a(struct stream *s)
{
	int tries = 0;

	stream_printf(s, "250 ok\r\n");
	assert_false(stream_acked(s));
	assert_int_equal(stream_flush(s, TALK_LONG_MS), 0);
	while (!stream_acked(s) && tries++ < 1000)
		task_sleep(1);
	assert_true(stream_acked(s));
	talk_want(s, "QUIT\r\n");
}

static void acked_b(struct stream *s)
{
	talk_want(s, "250 ok\r\n");
	talk_put(s, "QUIT\r\n");
}

static void test_acked(void **state)
{
	talk_run(TALK_TCP, acked_a, acked_b);
	talk_run(TALK_TLS13, acked_a, acked_b);
}

/* What was said before is still there to be read; alone it is no end. */
static void left_a(struct stream *s)
{
	talk_want(s, "NOOP\r\n");
	assert_false(stream_left(s));
	talk_put(s, "250 ok\r\n");
	while (!stream_left(s))
		task_sleep(1);
	talk_want(s, "QUIT\r\n");
	assert_int_equal(talk_read(s, TALK_LONG_MS), -EPIPE);
	assert_true(stream_left(s));
}

static void left_b(struct stream *s)
{
	talk_put(s, "NOOP\r\nQUIT\r\n");
	talk_want(s, "250 ok\r\n");
}

static void test_left(void **state)
{
	talk_run(TALK_TCP, left_a, left_b);
	talk_run(TALK_TLS13, left_a, left_b);
}

static void arrived_a(struct stream *s)
{
	assert_false(stream_spoken_to(s));
	stream_printf(s, "250 ok\r\n");
	assert_int_equal(stream_flush(s, TALK_LONG_MS), 0);
	assert_true(stream_arrived(s, TALK_LONG_MS));
	assert_int_equal(talk_read(s, TALK_LONG_MS), -EPIPE);
	assert_true(stream_spoken_to(s));
	assert_true(stream_arrived(s, TALK_LONG_MS));   /* an end is none of what was sent before */
}

static void arrived_b(struct stream *s)
{
	talk_want(s, "250 ok\r\n");
}

/* The peer ends without having read it: before it came, or while it lay there. */
static void unread_a(struct stream *s)
{
	stream_printf(s, "250 ok\r\n");
	assert_false(stream_arrived(s, 10));            /* not flushed */
	while (!stream_spoken_to(s))
		task_sleep(1);
	stream_flush(s, TALK_LONG_MS);
	assert_false(stream_arrived(s, TALK_LONG_MS));
}

static void unread_lying_a(struct stream *s)
{
	stream_printf(s, "250 ok\r\n");
	assert_int_equal(stream_flush(s, TALK_LONG_MS), 0);
	assert_int_equal(stream_wait_readable(s, TALK_LONG_MS), 0);
	assert_false(stream_arrived(s, TALK_LONG_MS));
}

static void unread_b(struct stream *s)
{
}

static void unread_lying_b(struct stream *s)
{
	while (!stream_spoken_to(s))
		task_sleep(1);
}

static void test_arrived(void **state)
{
	talk_run(TALK_TCP, arrived_a, arrived_b);
	talk_run(TALK_TLS13, arrived_a, arrived_b);
	talk_run(TALK_TCP, unread_a, unread_b);
	talk_run(TALK_TCP, unread_lying_a, unread_lying_b);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, talk_setup, talk_teardown)

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
		CASE(test_connect),
		CASE(test_acked),
		CASE(test_left),
		CASE(test_arrived),
	};

	return cmocka_run_group_tests_name("stream", tests, talk_group_setup, talk_group_teardown);
}
