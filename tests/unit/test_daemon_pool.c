/* daemon, daemon_pool: questions to daemons that die, hang, come back, and are too many, over real sockets */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/task.h"
#include "daemon/daemon_pool.h"
#include "policy/conf.h"
#include "support/dns_table.h"
#include "support/task_check.h"

enum { LONG_MS = 20 * 1000, SHORT_MS = 150 };

static struct script_server server[2];
static struct daemon_address address[3];
static struct daemon_conf conf;
static const struct daemon_conf *list[] = { &conf };
static struct site site;
static struct daemon_pool *pool;

static int64_t in(int ms)
{
	return clock_ms() + ms;
}

static void address_tcp(struct daemon_address *a, const char *host, unsigned short port)
{
	*a = (struct daemon_address){ .text = "tcp", .host = (char *)host, .port = port };
}

/* Two servers, one address of each; of count. */
static void begin(size_t count)
{
	memset(server, 0, sizeof(server));
	for (size_t i = 0; i < 2; i++) {
		script_server_start(&server[i], 0);
		address_tcp(&address[i], "127.0.0.1", server[i].addr.port);
	}
	conf = (struct daemon_conf){ .name = "d", .address = address, .address_count = count, .max_connections = 2, .connect_timeout_ms = LONG_MS,
				     .timeout_ms = LONG_MS, .idle_ms = LONG_MS };
	site = (struct site){ .daemon = list, .daemon_count = 1 };
	pool = daemon_pool_new(&site, NULL, NULL);
}

static void end(void)
{
	daemon_pool_free(pool);
	for (size_t i = 0; i < 2; i++)
		script_server_release(&server[i]);
}

static struct daemons *all(void)
{
	return daemon_pool_daemons(pool);
}

#define SCRIPT(n, ...) script_server_add(&server[n], (const char *const[]){ __VA_ARGS__, NULL })

struct question {
	int runs;
	enum daemon_end how;
	char answer[100];
	const char *address;
	struct future done;
	int rc;
	int64_t deadline_ms;
};

static int talk(struct daemon_line *l, void *arg)
{
	struct question *q = arg;
	AUTO(buf) struct buf b = BUF_INIT(50);
	int rc = daemon_write(l, "ask\n", 4);

	q->runs++;
	q->address = l->address;
	if (rc == 0)
		rc = daemon_read_to(l, '\n', &b);
	if (rc < 0)
		return rc;
	snprintf(q->answer, sizeof(q->answer), "%s", buf_str(&b));
	return strcmp(q->answer, "rubbish") == 0 ? -EPROTO : (int)q->how;
}

static int ask(struct question *q)
{
	*q = (struct question){ .how = q->how };
	return daemon_ask(all(), &conf, in(LONG_MS), talk, q);
}

/* It has failed, at that moment or later, and is left alone: said at once, unless this machine has stood still for longer than that is so. */
static bool left_alone(int64_t failed_ms)
{
	struct question q = { .how = DAEMON_AGAIN };
	int rc = ask(&q);

	return (rc == -EHOSTUNREACH && q.runs == 0) || clock_ms() - failed_ms >= DAEMON_REST_MS;
}

/* A line that is given back is used again; one that was not is closed. */
static void again(void *arg)
{
	struct question q = { .how = DAEMON_AGAIN };

	begin(1);
	SCRIPT(0, "C:ask", "S:one\n", "C:ask", "S:two\n", "C:ask", "S:three\n");
	CHECK(ask(&q) == 0 && strcmp(q.answer, "one") == 0);
	CHECK(ask(&q) == 0 && strcmp(q.answer, "two") == 0 && q.runs == 1);
	CHECK(server[0].connections == 1);
	q.how = DAEMON_DONE;
	CHECK(ask(&q) == 0 && strcmp(q.answer, "three") == 0);
	CHECK(ask(&q) == 0 && strcmp(q.answer, "one") == 0 && q.runs == 1);
	CHECK(server[0].connections == 2);
	end();
}

/* Bytes that nobody asked for: that line is not kept. */
static void left_over(void *arg)
{
	struct question q = { .how = DAEMON_AGAIN };

	begin(1);
	SCRIPT(0, "C:ask", "S:one\nmore\n");
	CHECK(ask(&q) == 0 && ask(&q) == 0 && strcmp(q.answer, "one") == 0);
	CHECK(server[0].connections == 2 && q.runs == 1);
	end();
}

/* One that is kept and dies while nobody looks: closed at once, or found out when it is asked; the answer comes from a new one. */
static void stale(void *arg)
{
	struct question q = { .how = DAEMON_AGAIN };

	begin(1);
	SCRIPT(0, "C:ask", "S:one\n", "C:ask", "X");
	SCRIPT(0, "C:ask", "S:two\n", "X");
	SCRIPT(0, "C:ask", "S:three\n");
	CHECK(ask(&q) == 0 && strcmp(q.answer, "one") == 0);
	CHECK(ask(&q) == 0 && strcmp(q.answer, "two") == 0 && q.runs == 2);
	while (server[0].open > 0)
		task_sleep(1);
	CHECK(ask(&q) == 0 && strcmp(q.answer, "three") == 0 && q.runs == 1);
	CHECK(server[0].connections == 3);
	end();
}

/* It dies in the middle of its reply: that is told, and it is asked again when another message wants to know; three in a row, and it is left alone. */
static void mid_reply(void *arg)
{
	struct question q = { .how = DAEMON_AGAIN };
	int64_t failed_ms = 0;

	begin(1);
	SCRIPT(0, "C:ask", "S:on", "X");
	for (int i = 0; i < DAEMON_FAILURES; i++) {
		failed_ms = clock_ms();
		CHECK(ask(&q) == -EPIPE && q.runs == 1);
	}
	CHECK(server[0].connections == DAEMON_FAILURES);
	CHECK(left_alone(failed_ms));
	end();
}

/* A kept line that has begun to answer is no stale one: the daemon has had the question. */
static void mid_reply_kept(void *arg)
{
	struct question q = { .how = DAEMON_AGAIN };

	begin(1);
	SCRIPT(0, "C:ask", "S:one\n", "C:ask", "S:tw", "X");
	CHECK(ask(&q) == 0);
	CHECK(ask(&q) == -EPIPE && q.runs == 1);
	CHECK(server[0].connections == 1);
	end();
}

/* Another address stands in, at once; what fails is left alone, and asked again later, by one alone. */
static void stand_in(void *arg)
{
	struct question q = { .how = DAEMON_AGAIN };
	struct daemon_line *first, *second;
	int64_t begun_ms;

	begin(2);
	SCRIPT(0, "C:ask", "X");
	SCRIPT(0, "C:ask", "S:back\n", "C:ask", "S:back\n");
	SCRIPT(1, "C:ask", "S:other\n", "C:ask", "S:other\n");
	begun_ms = clock_ms();
	CHECK(ask(&q) == 0 && strcmp(q.answer, "other") == 0 && q.runs == 2);
	CHECK(ask(&q) == 0 && strcmp(q.answer, "other") == 0 && q.runs == 1);
	CHECK(server[0].connections == 1 && server[1].connections == 1);
	while (clock_ms() < begun_ms + DAEMON_REST_MS + 50)
		task_sleep(50);
	CHECK(daemon_take(all(), &conf, in(LONG_MS), false, &first) == 0);
	CHECK(daemon_take(all(), &conf, in(LONG_MS), false, &second) == 0);
	CHECK(server[0].connections == 2 && second->uses == 2);
	CHECK(talk(first, &q) == DAEMON_AGAIN && strcmp(q.answer, "back") == 0);
	daemon_give(second, DAEMON_DROPPED);
	daemon_give(first, DAEMON_AGAIN);
	CHECK(ask(&q) == 0 && strcmp(q.answer, "back") == 0);
	CHECK(server[0].connections == 2 && server[1].connections == 1);
	end();
}

/* Nobody listens: said at once, and without a further try while it is left alone. The name of a host is asked for. */
static void refused(void *arg)
{
	struct question q = { .how = DAEMON_AGAIN };
	struct dns_table *dns = dns_table_new();
	unsigned short port;

	begin(1);
	port = server[0].addr.port;
	script_server_stop(&server[0]);
	CHECK(ask(&q) == -EHOSTUNREACH && q.runs == 0);
	daemon_pool_free(pool);
	dns_table_zone(dns, "scan.example A 127.0.0.1\n");
	address_tcp(&address[0], "none.example", port);
	address_tcp(&address[1], "scan.example", server[1].addr.port);
	conf.address_count = 2;
	SCRIPT(1, "C:ask", "S:here\n");
	pool = daemon_pool_new(&site, dns_table_dns(dns), NULL);
	CHECK(ask(&q) == 0 && strcmp(q.answer, "here") == 0);
	end();
	dns_table_free(dns);
}

/* It hangs: the deadline ends that, and it is left alone after some. What is cut short before the connect time-out is not held against it. */
static void hung(void *arg)
{
	struct question q = { 0 };
	int64_t begun_ms = 0;

	begin(1);
	SCRIPT(0, "H");
	for (int i = 0; i < DAEMON_FAILURES; i++) {
		begun_ms = clock_ms();
		CHECK(daemon_ask(all(), &conf, in(SHORT_MS), talk, &q) == -ETIMEDOUT);
		CHECK(clock_ms() - begun_ms >= SHORT_MS && clock_ms() - begun_ms < SHORT_MS + 15000);
	}
	CHECK(q.runs == DAEMON_FAILURES);
	CHECK(left_alone(begun_ms));
	end();
}

/* What makes no sense counts against it; what we give up ourselves does not. */
static void rubbish(void *arg)
{
	struct question q = { .how = DAEMON_AGAIN };
	struct daemon_line *l;
	int64_t failed_ms = 0;

	begin(1);
	SCRIPT(0, "C:ask", "S:rubbish\n");
	for (int i = 0; i < 5; i++) {
		CHECK(daemon_take(all(), &conf, in(LONG_MS), false, &l) == 0);
		daemon_give(l, DAEMON_DROPPED);
	}
	for (int i = 0; i < DAEMON_FAILURES; i++) {
		failed_ms = clock_ms();
		CHECK(ask(&q) == -EPROTO);
	}
	CHECK(left_alone(failed_ms));
	CHECK(daemon_ask(NULL, &conf, in(LONG_MS), talk, &q) == -EHOSTUNREACH);
	end();
}

/* More than the bound of the reader. */
static void too_long(void *arg)
{
	struct question q = { .how = DAEMON_AGAIN };

	begin(1);
	SCRIPT(0, "C:ask", "S:0123456789012345678901234567890123456789012345678901234567890123456789\n");
	CHECK(ask(&q) == -EMSGSIZE);
	end();
}

static void asker(void *arg)
{
	struct question *q = arg;

	q->rc = daemon_ask(all(), &conf, q->deadline_ms, talk, q);
	future_resolve(&q->done, 0);
}

/* All are taken: the others wait their turn, as long as their time goes, and as many as may. */
static void queue(void *arg)
{
	static struct question q[10], late, many[DAEMON_QUEUE_MAX + 5];
	struct daemon_line *l[2];
	int busy = 0;

	begin(1);
	memset(q, 0, sizeof(q));
	memset(many, 0, sizeof(many));
	SCRIPT(0, "C:ask", "S:1\n", "C:ask", "S:1\n", "C:ask", "S:1\n", "C:ask", "S:1\n", "C:ask", "S:1\n", "C:ask", "S:1\n", "C:ask", "S:1\n", "C:ask", "S:1\n",
	       "C:ask", "S:1\n", "C:ask", "S:1\n", "C:ask", "S:1\n");
	for (int i = 0; i < 2; i++)
		CHECK(daemon_take(all(), &conf, in(LONG_MS), false, &l[i]) == 0);
	late = (struct question){ .deadline_ms = in(SHORT_MS) };
	CHECK(task_spawn("late", asker, &late, NULL) == 0);
	CHECK(future_wait(&late.done, LONG_MS) == 0);
	CHECK(late.rc == -ETIMEDOUT && late.runs == 0);
	for (int i = 0; i < 10; i++) {
		q[i] = (struct question){ .deadline_ms = in(LONG_MS) };
		CHECK(task_spawn("asker", asker, &q[i], NULL) == 0);
	}
	for (int i = 0; i < 2; i++) {
		task_yield();
		daemon_give(l[i], DAEMON_AGAIN);
	}
	for (int i = 0; i < 10; i++)
		CHECK(future_wait(&q[i].done, LONG_MS) == 0 && q[i].rc == 0 && q[i].runs == 1);
	CHECK(server[0].connections == 2 && server[0].most == 2);
	for (int i = 0; i < 2; i++)
		CHECK(daemon_take(all(), &conf, in(LONG_MS), false, &l[i]) == 0);
	for (int i = 0; i < DAEMON_QUEUE_MAX + 5; i++) {
		many[i] = (struct question){ .deadline_ms = in(SHORT_MS) };
		CHECK(task_spawn("many", asker, &many[i], NULL) == 0);
	}
	for (int i = 0; i < DAEMON_QUEUE_MAX + 5; i++) {
		CHECK(future_wait(&many[i].done, LONG_MS) == 0);
		busy += many[i].rc == -EBUSY;
	}
	CHECK(busy == 5);
	for (int i = 0; i < 2; i++)
		daemon_give(l[i], DAEMON_DROPPED);
	end();
}

/* Kept lines make room for new ones, and end when their time is over. */
static void kept_for_a_while(void *arg)
{
	struct question q = { .how = DAEMON_AGAIN };
	struct daemon_line *l[2];

	begin(1);
	conf.idle_ms = 1;
	SCRIPT(0, "C:ask", "S:one\n", "C:ask", "S:one\n");
	for (int i = 0; i < 2; i++)
		CHECK(daemon_take(all(), &conf, in(LONG_MS), false, &l[i]) == 0 && talk(l[i], &q) == DAEMON_AGAIN);
	for (int i = 0; i < 2; i++)
		daemon_give(l[i], DAEMON_AGAIN);
	CHECK(daemon_take(all(), &conf, in(LONG_MS), true, &l[0]) == 0 && l[0]->uses == 0);
	daemon_give(l[0], DAEMON_DROPPED);
	while (server[0].open > 0)
		task_sleep(10);
	conf.idle_ms = 0;
	CHECK(ask(&q) == 0 && ask(&q) == 0 && server[0].connections == 5);
	end();
}

/* A cancelled task lets go, and others go on. */
static void cancelled(void *arg)
{
	static struct question q;
	struct task *t;

	begin(1);
	conf.max_connections = 1;
	SCRIPT(0, "C:ask", "H");
	SCRIPT(0, "C:ask", "S:one\n");
	q = (struct question){ .deadline_ms = in(LONG_MS) };
	CHECK(task_spawn("asker", asker, &q, &t) == 0);
	while (server[0].open == 0)
		task_sleep(1);
	task_cancel(t);
	CHECK(future_wait(&q.done, LONG_MS) == 0 && q.rc == -ECANCELED);
	CHECK(ask(&q) == 0);
	end();
}

/* It does not read to the end, says why and closes: its words are there, although our write failed. */
static void last_words(void *arg)
{
	static char block[60 * 1024];
	AUTO(buf) struct buf b = BUF_INIT(100);
	struct daemon_line *l;
	int rc = 0;

	begin(1);
	SCRIPT(0, "C:ask", "S:too much\n", "X");
	CHECK(daemon_take(all(), &conf, in(LONG_MS), false, &l) == 0);
	CHECK(daemon_write(l, "ask\n", 4) == 0);
	for (int i = 0; i < 1000 && rc == 0; i++)
		rc = daemon_write(l, block, sizeof(block));
	CHECK(rc == -EPIPE);
	CHECK(daemon_read_to(l, '\n', &b) == 0 && strcmp(buf_str(&b), "too much") == 0);
	CHECK(daemon_read_to(l, '\n', &b) == -EPIPE);
	daemon_give(l, DAEMON_DONE);
	end();
}

/* Unix sockets */

static char path[100];

static int listen_on(mode_t mode, int backlog)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(path, sizeof(path), "/tmp/daemon-test-%d", (int)getpid());
	unlink(path);
	memcpy(a.sun_path, path, strlen(path) + 1);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(chmod(path, mode), 0);
	assert_int_equal(listen(fd, backlog), 0);
	return fd;
}

static int source_calls;

static int source_connect(struct daemon_source *s, const char *to, int timeout_ms)
{
	source_calls++;
	return file_connect(to);
}

static void unix_ways(void *arg)
{
	struct daemon_source source = { .connect = source_connect };
	int fd = listen_on(0666, 5), peer;
	struct daemon_line *l;
	const char *p;
	size_t len;

	for (int way = 0; way < 2; way++) {
		begin(1);
		address[0] = (struct daemon_address){ .text = "unix", .path = path };
		daemon_pool_free(pool);
		source_calls = 0;
		pool = daemon_pool_new(&site, NULL, way ? &source : NULL);
		CHECK(daemon_take(all(), &conf, in(LONG_MS), false, &l) == 0);
		CHECK(source_calls == way && strcmp(l->address, "unix") == 0);
		peer = accept(fd, NULL, NULL);
		CHECK(peer >= 0 && write(peer, "hi", 2) == 2);
		CHECK(daemon_peek(l, &p, &len) == 0 && len == 2 && memcmp(p, "hi", 2) == 0);
		daemon_eat(l, len);
		daemon_give(l, DAEMON_AGAIN);
		close(peer);
		end();
	}
	close(fd);
	unlink(path);
}

/* Its queue is full: tried again as long as there is time. Nobody listens: at once. No path: at once. */
static void unix_full(void *arg)
{
	int fd = listen_on(0666, 0), more[10], n = 0;
	struct daemon_line *l;
	int64_t begun_ms;

	begin(1);
	conf.connect_timeout_ms = SHORT_MS;
	address[0] = (struct daemon_address){ .text = "unix", .path = path };
	while (n < 10 && (more[n] = file_connect(path)) >= 0)
		n++;
	CHECK(n > 0 && n < 10 && more[n] == -EAGAIN);
	begun_ms = clock_ms();
	CHECK(daemon_take(all(), &conf, in(LONG_MS), false, &l) == -EHOSTUNREACH);
	CHECK(clock_ms() - begun_ms >= SHORT_MS);
	while (n > 0)
		close(more[--n]);
	close(fd);
	CHECK(file_connect(path) == -ECONNREFUSED);
	unlink(path);
	CHECK(file_connect(path) == -ENOENT);
	end();
}

static int source_busy(struct daemon_source *s, const char *to, int timeout_ms)
{
	return ++source_calls < 4 ? -EBUSY : file_connect(to);
}

/* The source has made too many lately: the daemon is not away for that. */
static void unix_busy(void *arg)
{
	struct daemon_source source = { .connect = source_busy };
	int fd = listen_on(0666, 5);
	struct daemon_line *l = NULL;

	begin(1);
	address[0] = (struct daemon_address){ .text = "unix", .path = path };
	daemon_pool_free(pool);
	source_calls = 0;
	pool = daemon_pool_new(&site, NULL, &source);
	CHECK(daemon_take(all(), &conf, in(LONG_MS), false, &l) == 0 && source_calls == 4);
	daemon_give(l, DAEMON_DONE);
	end();
	close(fd);
	unlink(path);
}

static int loop_up(void **state)
{
	signal(SIGPIPE, SIG_IGN);
	return loop_init();
}

static int loop_down(void **state)
{
	loop_release();
	return 0;
}

#define RUN(fn) static void test_##fn(void **state) { task_check_run(fn); }
RUN(again)
RUN(left_over)
RUN(stale)
RUN(mid_reply)
RUN(mid_reply_kept)
RUN(stand_in)
RUN(refused)
RUN(hung)
RUN(rubbish)
RUN(too_long)
RUN(queue)
RUN(kept_for_a_while)
RUN(cancelled)
RUN(last_words)
RUN(unix_ways)
RUN(unix_full)
RUN(unix_busy)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_again), cmocka_unit_test(test_left_over), cmocka_unit_test(test_stale), cmocka_unit_test(test_mid_reply),
		cmocka_unit_test(test_mid_reply_kept), cmocka_unit_test(test_stand_in), cmocka_unit_test(test_refused), cmocka_unit_test(test_hung),
		cmocka_unit_test(test_rubbish), cmocka_unit_test(test_too_long), cmocka_unit_test(test_queue), cmocka_unit_test(test_kept_for_a_while),
		cmocka_unit_test(test_cancelled), cmocka_unit_test(test_last_words), cmocka_unit_test(test_unix_ways), cmocka_unit_test(test_unix_full),
		cmocka_unit_test(test_unix_busy),
	};

	return cmocka_run_group_tests(tests, loop_up, loop_down);
}
