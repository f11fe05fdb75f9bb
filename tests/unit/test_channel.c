/*
 * Channels: messages of every size, descriptors, rubbish from the peer, calls in any order, a peer
 * that dies, stalls or is replaced.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "process/channel.h"
#include "support/scarce.h"

static int open_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static char *pattern(size_t len)
{
	char *p = malloc(len + 1);

	for (size_t i = 0; i < len; i++)
		p[i] = (char)(i * 31 + i / 251);
	p[len] = 0;
	return p;
}

static void test_sizes(void **unused)
{
	static const size_t sizes[] = { 0,
					1,
					4096,
					CHANNEL_INLINE_MAX - 1,
					CHANNEL_INLINE_MAX,
					CHANNEL_INLINE_MAX + 1,
					1000000,
					CHANNEL_PAYLOAD_MAX };
	int before = open_fds(), sock[2];

	assert_int_equal(channel_pair(sock), 0);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		for (int with_fd = 0; with_fd < 2; with_fd++) {
			char *data = pattern(sizes[i]);
			struct channel_msg out = { .type = 7,
						   .reply = i & 1,
						   .id = (uint32_t)i,
						   .status = -EIO,
						   .data = data,
						   .len = sizes[i],
						   .fd = with_fd ? sock[0] : -1 };
			struct channel_msg in = CHANNEL_MSG_INIT;
			struct stat a, b;

			assert_int_equal(channel_send(sock[0], &out), 0);
			assert_int_equal(channel_recv(sock[1], &in), 0);
			assert_int_equal(in.type, 7);
			assert_int_equal(in.reply, i & 1);
			assert_int_equal(in.id, i);
			assert_int_equal(in.status, -EIO);
			assert_int_equal(in.len, sizes[i]);
			assert_memory_equal(in.data, data, sizes[i] + 1);
			assert_int_equal(in.fd >= 0, with_fd);
			if (with_fd) {
				assert_int_equal(fstat(sock[0], &a), 0);
				assert_int_equal(fstat(in.fd, &b), 0);
				assert_int_equal(a.st_ino, b.st_ino);
				assert_true(fcntl(in.fd, F_GETFD) & FD_CLOEXEC);
			}
			channel_msg_release(&in);
			channel_msg_release(&in);
			free(data);
		}
	struct channel_msg big = { .type = 1, .len = (size_t)CHANNEL_PAYLOAD_MAX + 1, .fd = -1 };
	assert_int_equal(channel_send(sock[0], &big), -EMSGSIZE);
	struct channel_msg in = CHANNEL_MSG_INIT;
	assert_int_equal(channel_recv(sock[1], &in), -EAGAIN);
	close(sock[0]);
	assert_int_equal(channel_recv(sock[1], &in), -EPIPE);
	big.len = 0;
	assert_int_equal(channel_send(sock[1], &big), -EPIPE);
	close(sock[1]);
	assert_int_equal(open_fds(), before);
}

struct raw {                            /* as struct frame in channel.c */
	uint16_t type, flags;
	uint32_t id, length;
	int32_t status;
};

/* Send a frame by hand, with n descriptors (the first one a file of file_len bytes). */
static void send_raw(int sock, const void *p, size_t len, int n, int file_len)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(16 * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)p, len };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	int fds[16];

	fds[0] = memfd_create("test", 0);
	assert_int_equal(ftruncate(fds[0], file_len < 0 ? 0 : file_len), 0);
	for (int i = 1; i < n; i++)
		fds[i] = dup(fds[0]);
	if (file_len < 0) {             /* not a file: a socket, from which a read would wait */
		close(fds[0]);
		fds[0] = dup(sock);
	}
	if (n > 0) {
		mh.msg_control = control.bytes;
		mh.msg_controllen = CMSG_SPACE((size_t)n * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN((size_t)n * sizeof(int));
		memcpy(CMSG_DATA(c), fds, (size_t)n * sizeof(int));
	}
	assert_int_equal(sendmsg(sock, &mh, 0), len);
	for (int i = 0; i < n || i == 0; i++)
		close(fds[i]);
}

/* A message that there is no memory for is one message: which it was is known, and the next one comes. */
static void test_no_memory(void **unused)
{
	struct channel_msg out = { .type = 7, .reply = true, .id = 5, .data = (char *)"lost", .len = 4, .fd = -1 }, in = CHANNEL_MSG_INIT;
	int before = open_fds(), sock[2];

	assert_int_equal(channel_pair(sock), 0);
	out.fd = sock[0];
	assert_int_equal(channel_send(sock[0], &out), 0);
	out = (struct channel_msg){ .type = 8, .id = 6, .data = (char *)"kept", .len = 4, .fd = -1 };
	assert_int_equal(channel_send(sock[0], &out), 0);
	scarce_begin(1);
	assert_int_equal(channel_recv(sock[1], &in), -ENOMEM);
	assert_true(scarce_end());
	assert_true(in.type == 7 && in.reply && in.id == 5 && !in.data && in.fd < 0);
	channel_msg_release(&in);
	assert_int_equal(channel_recv(sock[1], &in), 0);
	assert_string_equal(in.data, "kept");
	channel_msg_release(&in);
	close(sock[0]);
	close(sock[1]);
	assert_int_equal(open_fds(), before);
}

static void test_rubbish(void **unused)
{
	static const struct {
		const char *name;
		size_t len;
		struct raw f;
		int fds, file_len;
	} rows[] = {
		{ "one byte", 1, { 0 }, 0, 0 },
		{ "a header cut by one", sizeof(struct raw) - 1, { 0 }, 0, 0 },
		{ "length too long", sizeof(struct raw), { .length = 1 }, 0, 0 },
		{ "length too short", sizeof(struct raw) + 2, { .length = 1 }, 0, 0 },
		{ "unknown flag", sizeof(struct raw), { .flags = 8 }, 0, 0 },
		{ "a descriptor nobody declared", sizeof(struct raw), { .flags = 0 }, 1, 0 },
		{ "a declared descriptor that is missing",
		  sizeof(struct raw),
		  { .flags = 4 },
		  0,
		  0 },
		{ "payload in a file that is missing",
		  sizeof(struct raw),
		  { .flags = 2, .length = 10 },
		  0,
		  0 },
		{ "payload file shorter than said",
		  sizeof(struct raw),
		  { .flags = 2, .length = 10 },
		  1,
		  9 },
		{ "payload file longer than said",
		  sizeof(struct raw),
		  { .flags = 2, .length = 10 },
		  1,
		  11 },
		{ "payload in a socket", sizeof(struct raw), { .flags = 2, .length = 10 }, 1, -1 },
		{ "payload twice", sizeof(struct raw) + 10, { .flags = 2, .length = 10 }, 1, 10 },
		{ "payload over the bound",
		  sizeof(struct raw),
		  { .flags = 2, .length = CHANNEL_PAYLOAD_MAX + 1u },
		  1,
		  CHANNEL_PAYLOAD_MAX + 1 },
		{ "three descriptors", sizeof(struct raw), { .flags = 6 }, 3, 0 },
		{ "sixteen descriptors", sizeof(struct raw), { .flags = 4 }, 16, 0 },
		{ "longer than a message",
		  sizeof(struct raw) + CHANNEL_INLINE_MAX + 1,
		  { .length = CHANNEL_INLINE_MAX + 1 },
		  0,
		  0 },
	};
	static char bytes[sizeof(struct raw) + CHANNEL_INLINE_MAX + 1];
	int sock[2], before = open_fds();

	assert_int_equal(channel_pair(sock), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct channel_msg in = CHANNEL_MSG_INIT;

		print_message("  %s\n", rows[i].name);
		memcpy(bytes, &rows[i].f, sizeof(rows[i].f));
		send_raw(sock[0], bytes, rows[i].len, rows[i].fds, rows[i].file_len);
		assert_int_equal(channel_recv(sock[1], &in), -EPROTO);
		assert_null(in.data);
		assert_int_equal(open_fds(), before + 2);
	}
	close(sock[0]);
	close(sock[1]);
}

/* A world of one channel and a peer whose end is peer[0]; tasks do the asking. */
static struct channel ch;
static int peer;
static struct channel_msg held[600];
static size_t held_count;
static int lost, notices, running;

static void on_notice(struct channel *c, const struct channel_msg *m, void *arg)
{
	if (m)
		notices++;
	else
		lost++;
}

static void connect_peer(void)
{
	int sock[2];

	assert_int_equal(channel_pair(sock), 0);
	assert_int_equal(channel_attach(&ch, sock[0]), 0);
	peer = sock[1];
}

static void world_make(void)
{
	assert_int_equal(loop_init(), 0);
	channel_init(&ch, on_notice, NULL);
	held_count = 0;
	lost = notices = 0;
	connect_peer();
}

static void world_end(void)
{
	channel_release(&ch);
	close(peer);
	for (size_t i = 0; i < held_count; i++)
		channel_msg_release(&held[i]);
	loop_release();
}

/* Take every request that has come. */
static void peer_take(void)
{
	struct channel_msg m = CHANNEL_MSG_INIT;

	while (channel_recv(peer, &m) == 0) {
		assert_true(held_count < sizeof(held) / sizeof(held[0]));
		held[held_count++] = m;
		m = (struct channel_msg)CHANNEL_MSG_INIT;
	}
}

static void peer_answer(size_t i, int status, int fd)
{
	struct channel_msg m = { .type = held[i].type,
				 .reply = true,
				 .id = held[i].id,
				 .status = status,
				 .data = held[i].data,
				 .len = held[i].len,
				 .fd = fd };

	assert_int_equal(channel_send(peer, &m), 0);
}

struct asker {
	char text[32];
	int timeout_ms, fd;
	size_t len;
	int rc;
	struct channel_msg reply;
	struct task *task;
	int64_t took_ms;
};

static void ask(void *arg)
{
	struct asker *a = arg;
	int64_t began_ms = clock_ms();
	char *p = calloc(1, a->len + 32);

	a->reply = (struct channel_msg)CHANNEL_MSG_INIT;
	memcpy(p, a->text, sizeof(a->text));
	a->rc = channel_call(&ch, CHANNEL_STATE_RUN, p, a->len ? a->len : strlen(p), a->fd,
			     a->timeout_ms, &a->reply);
	a->took_ms = clock_ms() - began_ms;
	free(p);
	if (--running == 0)
		loop_stop();
}

static void asker_start(struct asker *a, const char *text, int timeout_ms)
{
	*a = (struct asker){ .timeout_ms = timeout_ms, .fd = -1 };
	snprintf(a->text, sizeof(a->text), "%s", text);
	running++;
	assert_int_equal(task_spawn("ask", ask, a, &a->task), 0);
}

static void script_order(void *arg)
{
	while (held_count < 3) {
		task_yield();
		peer_take();
	}
	int file = memfd_create("test", MFD_CLOEXEC);

	peer_answer(2, 2, -1);
	peer_answer(0, 0, file);
	peer_answer(0, 0, file);        /* twice: the second is for nobody */
	peer_answer(1, -ENOSPC, -1);
	close(file);
}

static void test_out_of_order(void **unused)
{
	struct asker a[3];

	world_make();
	asker_start(&a[0], "zero", 5000);
	asker_start(&a[1], "one", 5000);
	asker_start(&a[2], "two", 5000);
	assert_int_equal(task_spawn("script", script_order, NULL, NULL), 0);
	loop_run();
	for (int i = 0; i < 3; i++) {
		assert_int_equal(a[i].rc, 0);
		assert_string_equal(a[i].reply.data, a[i].text);
	}
	assert_int_equal(a[0].reply.status, 0);
	assert_true(a[0].reply.fd >= 0);
	assert_int_equal(a[1].reply.status, -ENOSPC);
	assert_int_equal(a[2].reply.status, 2);
	for (int i = 0; i < 3; i++)
		channel_msg_release(&a[i].reply);
	world_end();
}

static void script_no_file(void *arg)
{
	int ends[2];

	while (held_count < 2) {
		task_yield();
		peer_take();
	}
	assert_int_equal(pipe(ends), 0);
	peer_answer(0, 0, ends[1]);
	peer_answer(1, 0, peer);
	close(ends[0]);
	close(ends[1]);
}

/* What a keeper gives to be written to is a file: nobody waits for a reader that it may never get. */
static void test_no_file(void **unused)
{
	int before = open_fds();
	struct asker a[2];

	world_make();
	asker_start(&a[0], "a pipe", 5000);
	asker_start(&a[1], "a socket", 5000);
	assert_int_equal(task_spawn("script", script_no_file, NULL, NULL), 0);
	loop_run();
	for (int i = 0; i < 2; i++) {
		assert_int_equal(a[i].rc, -EPROTO);
		assert_int_equal(a[i].reply.fd, -1);
	}
	world_end();
	assert_int_equal(open_fds(), before);
}

static void script_late(void *arg)
{
	struct asker *a = arg;

	while (a->rc == 1)
		task_yield();
	peer_take();
	peer_answer(0, 0, peer);        /* too late: dropped, its descriptor closed */
	asker_start(a, "again", 5000);
	running--;
	while (held_count < 2) {
		task_yield();
		peer_take();
	}
	peer_answer(1, 0, -1);
}

static void test_deadline(void **unused)
{
	int before = open_fds();
	struct asker a;

	world_make();
	asker_start(&a, "slow", 20);
	a.rc = 1;
	running++; /* the script keeps the loop until its own question is asked */
	assert_int_equal(task_spawn("script", script_late, &a, NULL), 0);
	loop_run();
	assert_int_equal(a.rc, 0);
	assert_string_equal(a.reply.data, "again");
	channel_msg_release(&a.reply);
	world_end();
	assert_int_equal(open_fds(), before);
}

static void script_die(void *arg)
{
	while (held_count < 2) {
		task_yield();
		peer_take();
	}
	close(peer);
}

static void test_peer_dies(void **unused)
{
	struct asker a[3];

	world_make();
	asker_start(&a[0], "one", -1);
	asker_start(&a[1], "two", 60000);
	assert_int_equal(task_spawn("script", script_die, NULL, NULL), 0);
	loop_run();
	assert_int_equal(a[0].rc, -EPIPE);
	assert_int_equal(a[1].rc, -EPIPE);
	assert_int_equal(lost, 1);
	assert_false(channel_attached(&ch));
	asker_start(&a[2], "three", 60000);     /* at once */
	loop_run();
	assert_int_equal(a[2].rc, -EPIPE);
	assert_true(a[2].took_ms < 30000);
	assert_int_equal(channel_notify(&ch, CHANNEL_READY, NULL, 0, -1), -EPIPE);
	peer = -1;
	world_end();
}

static void await(void *arg)
{
	struct asker *a = arg;

	a->rc = channel_await_peer(&ch, a->timeout_ms);
	if (--running == 0)
		loop_stop();
}

static void script_replace(void *arg)
{
	struct asker *a = arg;

	while (held_count < 1) {
		task_yield();
		peer_take();
	}
	close(peer);
	while (a->rc == 1)
		task_yield();
	connect_peer();
	asker_start(a, "of the second", 5000);
	running--;
	while (held_count < 2) {
		task_yield();
		peer_take();
	}
	peer_answer(0, 0, -1);          /* an id of the first peer's time: nobody's */
	peer_answer(1, 5, -1);
}

static void test_replaced(void **unused)
{
	struct asker a;

	world_make();
	asker_start(&a, "of the first", 5000);
	a.rc = 1;
	running++;
	assert_int_equal(task_spawn("script", script_replace, &a, NULL), 0);
	loop_run();
	world_end();
	assert_int_equal(a.rc, 0);
	assert_int_equal(a.reply.status, 5);
	channel_msg_release(&a.reply);
}

static void script_succession(void *arg)
{
	struct asker *a = arg;
	int former;

	while (held_count < 1) {
		task_yield();
		peer_take();
	}
	assert_int_equal(shutdown(peer, SHUT_RD), 0);
	asker_start(&a[1], "after its time", 5000);
	while (channel_attached(&ch))   /* it is found out by the call */
		task_yield();
	asker_start(&a[2], "at once", 5000);
	a[2].rc = 1;
	while (a[2].rc == 1)
		task_yield();
	peer_answer(0, 4, -1);
	former = peer;
	connect_peer();                 /* before the last answer of the other has been read */
	close(former);
	while (held_count < 2) {
		task_yield();
		peer_take();
	}
	assert_string_equal(held[1].data, "after its time");
	peer_answer(1, 5, -1);
}

/* One that comes to its end answers what it has got; what it has not got is the next one's, and nobody hears that anything went wrong. */
static void test_succession(void **unused)
{
	struct asker a[3];
	int before = open_fds();

	world_make();
	asker_start(&a[0], "of the first", 5000);
	assert_int_equal(task_spawn("script", script_succession, a, NULL), 0);
	loop_run();
	world_end();
	assert_int_equal(a[0].rc, 0);
	assert_int_equal(a[0].reply.status, 4);
	assert_int_equal(a[1].rc, 0);
	assert_int_equal(a[1].reply.status, 5);
	assert_int_equal(a[2].rc, -EPIPE);
	channel_msg_release(&a[0].reply);
	channel_msg_release(&a[1].reply);
	assert_int_equal(open_fds(), before);
}

/* Without a next one, what has not been sent waits as long as it may; and an end is an end. */
static void test_no_successor(void **unused)
{
	struct asker a[2];

	world_make();
	assert_int_equal(shutdown(peer, SHUT_RD), 0);
	asker_start(&a[0], "in vain", 30);
	loop_run();
	assert_int_equal(a[0].rc, -ETIMEDOUT);
	asker_start(&a[1], "nor now", 60000);
	loop_run();
	assert_int_equal(a[1].rc, -EPIPE);
	world_end();
}

static void script_attach(void *arg)
{
	struct asker *w = arg;

	while (w[2].rc == 1)
		task_yield();
	connect_peer();
}

static void test_await_peer(void **unused)
{
	struct asker w[3] = { { .timeout_ms = 5000, .rc = 1 },
			      { .timeout_ms = 5000, .rc = 1 },
			      { .timeout_ms = 1, .rc = 1 } };

	world_make();
	close(peer);
	channel_release(&ch);
	running = 3;
	for (int i = 0; i < 3; i++)
		assert_int_equal(task_spawn("await", await, &w[i], NULL), 0);
	assert_int_equal(task_spawn("script", script_attach, w, NULL), 0);
	loop_run();
	assert_int_equal(w[0].rc, 0);
	assert_int_equal(w[1].rc, 0);
	assert_int_equal(w[2].rc, -ETIMEDOUT);
	world_end();
}

enum { MANY = 500 };

static void script_stall(void *arg)
{
	struct asker *a = arg;
	size_t answered = 0;

	for (int i = 0; i < 50; i++)    /* the peer does nothing until the socket is full */
		task_yield();
	task_cancel(a[MANY - 1].task);  /* one that waits at the gate */
	task_cancel(a[200].task);       /* one whose request could not be sent yet */
	while (answered < MANY - 2) {
		task_yield();
		peer_take();
		while (answered < held_count &&
		       channel_send(peer, &(struct channel_msg){ .type = 1,
								 .reply = true,
								 .id = held[answered].id,
								 .fd = -1 }) == 0)
			answered++;
	}
}

/*
 * More and longer requests than the socket takes, to a peer that does not read: all are answered in
 * the end, none is lost.
 */
static void test_backpressure(void **unused)
{
	struct asker *a = calloc(MANY, sizeof(*a));
	int ok = 0;

	world_make();
	for (int i = 0; i < MANY; i++) {
		asker_start(&a[i], "x", 30000);
		a[i].len = 20000;
	}
	assert_int_equal(task_spawn("script", script_stall, a, NULL), 0);
	loop_run();
	for (int i = 0; i < MANY; i++) {
		ok += a[i].rc == 0;
		channel_msg_release(&a[i].reply);
	}
	assert_int_equal(a[MANY - 1].rc, -ECANCELED);
	assert_int_equal(a[200].rc, -ECANCELED);
	assert_int_equal(ok, MANY - 2);
	assert_int_equal(held_count, MANY - 2);
	world_end();
	free(a);
}

static void stop_soon(void *arg)
{
	for (int i = 0; i < 20; i++)
		task_yield();
	loop_stop();
}

static void test_notices(void **unused)
{
	struct channel_msg m = { .type = CHANNEL_DRAIN, .fd = -1 }, in = CHANNEL_MSG_INIT;

	world_make();
	for (int i = 0; i < 100; i++)
		assert_int_equal(channel_send(peer, &m), 0);
	assert_int_equal(channel_notify(&ch, CHANNEL_READY, "abc", 3, peer), 0);
	assert_int_equal(channel_recv(peer, &in), 0);
	assert_int_equal(in.type, CHANNEL_READY);
	assert_int_equal(in.id, 0);
	assert_string_equal(in.data, "abc");
	assert_true(in.fd >= 0);
	channel_msg_release(&in);
	assert_int_equal(task_spawn("stop", stop_soon, NULL, NULL), 0);
	loop_run();
	assert_int_equal(notices, 100);
	assert_int_equal(send(peer, "rubbish", 7, 0), 7);
	assert_int_equal(task_spawn("stop", stop_soon, NULL, NULL), 0);
	loop_run();
	assert_int_equal(lost, 1);      /* a peer that sends rubbish is a peer no more */
	assert_false(channel_attached(&ch));
	world_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_rubbish),
		cmocka_unit_test(test_out_of_order),
		cmocka_unit_test(test_no_file),
		cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_peer_dies),
		cmocka_unit_test(test_replaced),
		cmocka_unit_test(test_succession),
		cmocka_unit_test(test_no_successor),
		cmocka_unit_test(test_await_peer),
		cmocka_unit_test(test_backpressure),
		cmocka_unit_test(test_notices),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
