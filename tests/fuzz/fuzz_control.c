/*
 * fuzz_control - what comes over the control socket: one line of JSON is answered with one, and nobody waits for the rest
 *
 * The commands are "status" and "state.run"; operations that are understood are those that are written again.
 */
#include <assert.h>
#include <stdint.h>
#include <sys/mman.h>

/* A client is a connection that is there already. */
#include "process/control.c"
#include "process/state_control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(const struct state_op *a, const struct state_op *b)
{
	assert(a->verb == b->verb && a->ttl_s == b->ttl_s && a->add == b->add);
	assert(strcmp(a->space, b->space) == 0 && strcmp(a->key, b->key) == 0 && strcmp(a->text, b->text) == 0);
}

static int run(void *arg, json_t *request, json_t *answer)
{
	static struct state_op ops[STATE_OPS_MAX], twins[STATE_OPS_MAX];
	int n = state_control_read_request(request, ops);
	json_t *again;

	if (n < 0) {
		/* Perhaps it is an answer. */
		(void)state_control_read_answer(request, ops, json_array_size(json_object_get(request, "results")) % STATE_OPS_MAX);
		return n;
	}
	assert(n > 0 && n <= STATE_OPS_MAX);
	again = state_control_request(ops, (size_t)n);
	assert(again && state_control_read_request(again, twins) == n);
	json_decref(again);
	for (int i = 0; i < n; i++)
		same(&ops[i], &twins[i]);
	assert(state_control_answer(answer, ops, (size_t)n) == 0);
	assert(state_control_read_answer(answer, twins, (size_t)n) == 0);
	return 0;
}

static int status(void *arg, json_t *request, json_t *answer)
{
	return 0;
}

static const struct control_command commands[] = { { "status", status }, { "state.run", run }, { NULL, NULL } };

static struct control *start(void)
{
	struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct event_base *base = event_base_new();
	struct control *c;
	int nobody[2];

	assert(shared != MAP_FAILED && base && socketpair(AF_UNIX, SOCK_STREAM, 0, nobody) == 0);
	c = control_new(base, nobody[0], shared, commands, NULL);
	assert(c);
	return c;
}

static void answered(int fd)
{
	static char text[1 << 20];
	ssize_t n, len = 0;
	json_t *answer;

	while ((n = recv(fd, text + len, sizeof(text) - (size_t)len, MSG_DONTWAIT)) > 0)
		len += n;
	if (len == 0)
		return;
	assert(text[len - 1] == '\n' && memchr(text, '\n', (size_t)len) == text + len - 1);
	answer = json_loadb(text, (size_t)len, 0, NULL);
	assert(json_is_boolean(json_object_get(answer, "ok")));
	assert(json_is_true(json_object_get(answer, "ok")) == !json_object_get(answer, "error"));
	json_decref(answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct control *c;
	int pair[2];

	if (size > CONTROL_LINE_MAX + 4096)
		return 0;
	if (!c)
		c = start();
	assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
	assert(size == 0 || send(pair[0], data, size, 0) == (ssize_t)size);
	client_take(c, pair[1]);
	shutdown(pair[0], SHUT_WR);
	for (int i = 0; c->client[0].fd >= 0; i++) {
		assert(i < 100);
		event_base_loop(c->base, EVLOOP_ONCE);
	}
	answered(pair[0]);
	close(pair[0]);
	return 0;
}
