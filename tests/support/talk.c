#include "support/talk.h"

#include <assert.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include "base/task.h"
#include "base/tls.h"
#include "tests/support/port.h"

const char *const talk_kind_names[] = { "socketpair", "tcp", "TLSv1.2", "TLSv1.3" };
static SSL_CTX *server_ctx, *client_ctx[TALK_KINDS];

struct talk talk_now;

int talk_group_setup(void **state)
{
	struct buf cert = BUF_INIT(65536), key = BUF_INIT(65536), err = BUF_INIT(1024);
	int rc = tls_self_signed("mx.example.com", &cert, &key);

	if (rc == 0)
		rc = tls_server_ctx(buf_str(&cert), buf_str(&key), &server_ctx, &err);
	for (int k = TALK_TLS12; k <= TALK_TLS13 && rc == 0; k++) {
		rc = tls_client_ctx(true, buf_str(&cert), &client_ctx[k], &err);
		if (rc == 0 && k == TALK_TLS12)
			SSL_CTX_set_max_proto_version(client_ctx[k], TLS1_2_VERSION);
	}
	buf_release(&cert);
	buf_release(&key);
	buf_release(&err);
	return rc;
}

int talk_group_teardown(void **state)
{
	tls_ctx_free(server_ctx);
	tls_ctx_free(client_ctx[TALK_TLS12]);
	tls_ctx_free(client_ctx[TALK_TLS13]);
	return 0;
}

int talk_setup(void **state)
{
	return loop_init();
}

int talk_teardown(void **state)
{
	loop_release();
	return 0;
}

static void loop_until_alone(void *arg)
{
	while (task_count() > 1)
		assert(task_sleep(1) == 0);
	loop_stop();
}

void talk_loop(void)
{
	assert(task_spawn("last", loop_until_alone, NULL, NULL) == 0);
	loop_run();
}

int talk_listen(struct net_addr *out, int backlog)
{
	assert(net_parse("127.0.0.1", out) == 0);
	out->port = 0;
	return port_listen(&out->port, backlog);
}

static void join(enum talk_kind kind)
{
	if (kind == TALK_PAIR) {
		int s[2];

		assert(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
		talk_now.a = stream_new(s[0]);
		talk_now.b = stream_new(s[1]);
	} else {
		struct net_addr addr;
		int fd = talk_listen(&addr, 5);

		assert(stream_connect(&addr, NULL, TALK_LONG_MS, &talk_now.b) == 0);
		talk_now.a = stream_new(accept(fd, NULL, NULL));
		close(fd);
	}
}

static void side_a(void *arg)
{
	if (talk_now.kind >= TALK_TLS12) {
		assert(stream_tls_accept(talk_now.a, server_ctx, TALK_LONG_MS) == 0);
		assert(strcmp(stream_tls_version(talk_now.a), talk_kind_names[talk_now.kind]) == 0);
	}
	talk_now.run_a(talk_now.a);
	stream_free(talk_now.a);
	talk_now.a = NULL;
	talk_now.task_a = NULL;
}

static void side_b(void *arg)
{
	join(talk_now.kind);
	assert(task_spawn("a", side_a, NULL, &talk_now.task_a) == 0);
	if (talk_now.kind >= TALK_TLS12) {
		int rc = stream_tls_connect(talk_now.b, client_ctx[talk_now.kind], "mx.example.com", TALK_LONG_MS);

		assert(rc == 0 && stream_is_tls(talk_now.b) && stream_tls_verified(talk_now.b));
	}
	talk_now.run_b(talk_now.b);
	stream_free(talk_now.b);
	talk_now.b = NULL;
	talk_now.task_b = NULL;
}

void talk_run(enum talk_kind kind, void (*a)(struct stream *), void (*b)(struct stream *))
{
	memset(&talk_now, 0, sizeof(talk_now));
	talk_now.kind = kind;
	talk_now.run_a = a;
	talk_now.run_b = b;
	assert(task_spawn("b", side_b, NULL, &talk_now.task_b) == 0);
	talk_loop();
}

void talk_over_all(void (*a)(struct stream *), void (*b)(struct stream *))
{
	for (int k = 0; k < TALK_KINDS; k++)
		talk_run((enum talk_kind)k, a, b);
}

void talk_want(struct stream *s, const char *want)
{
	const char *line;
	size_t len;

	assert(stream_read_line(s, 1000, TALK_LONG_MS, &line, &len) == 0);
	assert(len == strlen(want));
	assert(memcmp(line, want, len) == 0);
}

int talk_read(struct stream *s, int timeout_ms)
{
	const char *line;
	size_t len;

	return stream_read_line(s, 1000, timeout_ms, &line, &len);
}

int talk_put(struct stream *s, const char *text)
{
	int rc = stream_write(s, text, strlen(text));

	return rc ? rc : stream_flush(s, TALK_LONG_MS);
}
