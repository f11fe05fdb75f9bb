/* A keeper process and what a worker that has been taken over can do to it, over its channels. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "policy/key_list.h"
#include "policy/spool_wire.h"
#include "process/keeper.h"
#include "process/shared.h"

enum { WAIT_MS = 10 * 1000 };

static struct { char dir[64]; struct shared *shared; int shared_fd, control; pid_t pid; } world;

static int receive(int fd, struct channel_msg *m)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	return channel_recv(fd, m);
}

/* In a process of its own, as the parent starts it. */
static void start(enum channel_role role)
{
	static const struct key_list none = { .key = NULL };
	struct channel_msg m = CHANNEL_MSG_INIT;
	pid_t self = getpid();
	int sv[2];

	strcpy(world.dir, "/tmp/test_keeper.XXXXXX");
	assert_non_null(mkdtemp(world.dir));
	world.shared_fd = shared_make();
	world.shared = shared_map(world.shared_fd);
	assert_non_null(world.shared);
	assert_int_equal(channel_pair(sv), 0);
	fflush(NULL);
	world.pid = fork();
	if (world.pid == 0) {
		struct keeper_env env = { .role = role, .dir = world.dir, .parent = self, .control_fd = sv[1], .command_fd = -1, .shared = world.shared,
					  .settings = { .spool = { .max_bytes = 1 << 20, .max_messages = 100 } }, .keys = &none };

		close(sv[0]);
		_exit(keeper_run(&env));
	}
	close(sv[1]);
	world.control = sv[0];
	assert_int_equal(receive(world.control, &m), 0);
	assert_int_equal(m.type, CHANNEL_READY);
	channel_msg_release(&m);
}

static void stop(void)
{
	struct channel_msg m = { .type = CHANNEL_STOP, .fd = -1 };
	char command[100];
	int status;

	assert_int_equal(channel_send(world.control, &m), 0);
	assert_int_equal(waitpid(world.pid, &status, 0), world.pid);
	assert_int_equal(status, 0);
	close(world.control);
	shared_unmap(world.shared);
	close(world.shared_fd);
	snprintf(command, sizeof(command), "rm -rf %s", world.dir);
	assert_int_equal(system(command), 0);
}

/* Our end of a channel of the worker of that slot. */
static int wire(int slot)
{
	struct channel_wire w = { ROLE_WORKER, slot, channel_version() };
	struct channel_msg m = { .type = CHANNEL_WIRE, .data = (char *)&w, .len = sizeof(w) };
	int sv[2];

	assert_int_equal(channel_pair(sv), 0);
	m.fd = sv[1];
	assert_int_equal(channel_send(world.control, &m), 0);
	close(sv[1]);
	return sv[0];
}

/* A keeper says -ENOSYS to what it does not know: that it hears. */
static int hears(int fd)
{
	struct channel_msg ask = { .type = 999, .id = 1, .fd = -1 }, m = CHANNEL_MSG_INIT;
	int rc = channel_send(fd, &ask);

	if (rc == 0)
		rc = receive(fd, &m);
	if (rc == 0) {
		assert_true(m.reply);
		assert_int_equal(m.id, 1);
		assert_int_equal(m.status, -ENOSYS);
	}
	channel_msg_release(&m);
	return rc;
}

/* However often a worker has asked for a channel, it has one; those of others stay. */
static void test_one_channel_each(void **state)
{
	struct channel_msg m = CHANNEL_MSG_INIT;
	int other, unknown, at[20];

	start(ROLE_SPOOL);
	other = wire(4);
	unknown = wire(-1);
	for (int i = 0; i < 20; i++)
		at[i] = wire(3);
	assert_int_equal(hears(at[19]), 0);
	for (int i = 0; i < 19; i++) {
		assert_int_equal(receive(at[i], &m), -EPIPE);
		close(at[i]);
	}
	close(wire(-1));
	assert_int_equal(hears(other), 0);
	assert_int_equal(hears(unknown), 0);
	assert_int_equal(hears(at[19]), 0);
	close(at[19]);
	close(other);
	close(unknown);
	stop();
}

static int lease(int fd, uint32_t id, int wait_ms)
{
	char *text = spool_wire_ask(id, wait_ms);
	struct channel_msg ask = { .type = CHANNEL_SPOOL_LEASE, .id = id, .data = text, .len = strlen(text), .fd = -1 };
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	int rc = channel_send(fd, &ask);

	for (int i = 0; rc == -EAGAIN && i < WAIT_MS; i++) {
		(void)poll(&p, 1, 1);
		rc = channel_send(fd, &ask);
	}
	free(text);
	return rc;
}

/* Who asks without end for something to deliver gets no more places than a worker has calls, and leaves others theirs. */
static void test_leases_asked_for(void **state)
{
	struct channel_msg m = CHANNEL_MSG_INIT;
	int greedy, modest;

	start(ROLE_SPOOL);
	greedy = wire(1);
	modest = wire(2);
	for (uint32_t id = 1; id <= CHANNEL_CALLS_MAX + 20; id++)
		assert_int_equal(lease(greedy, id, 60 * 1000), 0);
	for (uint32_t n = 1; n <= 20; n++) {
		assert_int_equal(receive(greedy, &m), 0);
		assert_int_equal(m.id, CHANNEL_CALLS_MAX + n);
		assert_int_equal(m.status, -EAGAIN);
		channel_msg_release(&m);
	}
	assert_int_equal(lease(modest, 1, 60 * 1000), 0);
	assert_int_equal(hears(greedy), 0);
	assert_int_equal(channel_recv(modest, &m), -EAGAIN);    /* it waits */
	close(greedy);
	close(modest);
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_channel_each),
		cmocka_unit_test(test_leases_asked_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
