#include "tests/support/script_server.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/stream.h"
#include "base/task.h"
#include "base/tls.h"
#include "tests/support/port.h"

enum { WAIT_MS = 20000 };

struct visit {
	struct script_server *server;
	struct stream *stream;
	const char **script;
	struct visit *next, **prev;
};

/* Scripts are often compound literals: a copy outlives their block. */
static const char **script_copy(const char *const *script)
{
	const char **copy;
	size_t n = 0;

	while (script && script[n])
		n++;
	copy = calloc(n + 1, sizeof(*copy));
	if (!copy)
		abort();
	if (n > 0)
		memcpy(copy, script, n * sizeof(*copy));
	return copy;
}

static void complain(struct script_server *s, const char *step, const char *what, const char *got, size_t len)
{
	if (!s->failed[0])
		snprintf(s->failed, sizeof(s->failed), "step \"%s\": %s \"%.*s\"", step, what, (int)(len < 100 ? len : 100), got);
}

static int read_data(struct visit *v)
{
	size_t from = v->server->received.len;

	for (;;) {
		struct buf *b = &v->server->received;
		const char *p;
		size_t len;
		int rc;

		if (b->len - from >= 5 && memcmp(b->data + b->len - 5, "\r\n.\r\n", 5) == 0)
			return 0;
		if (b->len - from == 3 && memcmp(b->data + from, ".\r\n", 3) == 0)
			return 0;
		rc = stream_peek(v->stream, WAIT_MS, &p, &len);
		if (rc < 0)
			return rc;
		buf_add(b, p, len);
		stream_eat(v->stream, len);
	}
}

static int read_bytes(struct visit *v, size_t left)
{
	while (left > 0) {
		const char *p;
		size_t len;
		int rc = stream_peek(v->stream, WAIT_MS, &p, &len);

		if (rc < 0)
			return rc;
		if (len > left)
			len = left;
		buf_add(&v->server->received, p, len);
		stream_eat(v->stream, len);
		left -= len;
	}
	return 0;
}

static void read_all(struct visit *v)
{
	const char *p;
	size_t len;

	while (stream_peek(v->stream, WAIT_MS, &p, &len) >= 0)
		stream_eat(v->stream, len);
}

static int play(struct visit *v, const char *step)
{
	const char *line;
	size_t len;
	int rc;

	switch (step[0]) {
	case 'S':
		rc = stream_write(v->stream, step + 2, strlen(step + 2));
		return rc < 0 ? rc : stream_flush(v->stream, WAIT_MS);
	case 'C':
		rc = stream_read_line(v->stream, 65536, WAIT_MS, &line, &len);
		if (rc < 0) {
			complain(v->server, step, "read:", strerror(-rc), strlen(strerror(-rc)));
			return rc;
		}
		if (len < strlen(step + 2) || memcmp(line, step + 2, strlen(step + 2)) != 0) {
			complain(v->server, step, "got", line, len);
			return -EPROTO;
		}
		return 0;
	case 'D':
		return read_data(v);
	case 'B':
		return read_bytes(v, strtoul(step + 2, NULL, 10));
	case 'T':
		script_server_tls(v->server);
		return stream_tls_accept(v->stream, v->server->tls, WAIT_MS);
	case 'W':
		return task_sleep(atoi(step + 2));
	case 'H':
		read_all(v);
		return -EPIPE;
	default:
		return -EPIPE;
	}
}

static void visit_task(void *arg)
{
	struct visit *v = arg;
	int rc = 0;

	for (const char **step = v->script; *step && rc >= 0; step++)
		rc = play(v, *step);
	if (rc >= 0)
		read_all(v);
	stream_free(v->stream);
	v->server->open--;
	*v->prev = v->next;
	if (v->next)
		v->next->prev = v->prev;
	free(v->script);
	free(v);
}

/* Those whose client has closed do not count, though their turn to see that has not come yet. */
static size_t open_visits(const struct script_server *s)
{
	size_t n = 0;

	for (const struct visit *v = s->visits; v; v = v->next) {
		struct pollfd p = { .fd = stream_fd(v->stream), .events = POLLRDHUP };

		n += poll(&p, 1, 0) == 0;
	}
	return n;
}

static void accept_event(evutil_socket_t fd, short what, void *arg)
{
	struct script_server *s = arg;
	int c = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct visit *v;
	size_t n;

	if (c < 0)
		return;
	v = calloc(1, sizeof(*v));
	n = s->connections++;
	s->open++;
	v->next = s->visits;
	v->prev = &s->visits;
	if (v->next)
		v->next->prev = &v->next;
	s->visits = v;
	v->server = s;
	v->script = script_copy(s->script_count ? s->script[n < s->script_count ? n : s->script_count - 1] : NULL);
	v->stream = stream_new(c);
	if (!v->stream || task_spawn("script", visit_task, v, NULL) < 0)
		abort();
	n = open_visits(s);
	if (n > s->most)
		s->most = n;
}

void script_server_start(struct script_server *s, unsigned short port)
{
	memset(s, 0, sizeof(*s));
	buf_init(&s->received, 100u * 1024 * 1024);
	net_parse("127.0.0.1", &s->addr);
	s->addr.port = port;
	s->fd = port_listen(&s->addr.port, 100);
	evutil_make_socket_nonblocking(s->fd);
	s->event = event_new(loop_base(), s->fd, EV_READ | EV_PERSIST, accept_event, s);
	event_add(s->event, NULL);
}

void script_server_add(struct script_server *s, const char *const *script)
{
	s->script[s->script_count++] = script_copy(script);
}

const char *script_server_tls(struct script_server *s)
{
	AUTO(buf) struct buf cert = BUF_INIT(65536), key = BUF_INIT(65536), err = BUF_INIT(1000);

	if (s->tls)
		return s->tls_cert;
	if (tls_self_signed("mx.example", &cert, &key) < 0 || tls_server_ctx(buf_str(&cert), buf_str(&key), &s->tls, &err) < 0)
		abort();
	s->tls_cert = strdup(buf_str(&cert));
	return s->tls_cert;
}

void script_server_stop(struct script_server *s)
{
	if (s->event)
		event_free(s->event);
	if (s->fd >= 0)
		close(s->fd);
	s->event = NULL;
	s->fd = -1;
}

void script_server_release(struct script_server *s)
{
	script_server_stop(s);
	for (size_t i = 0; i < s->script_count; i++)
		free(s->script[i]);
	s->script_count = 0;
	tls_ctx_free(s->tls);
	s->tls = NULL;
	free(s->tls_cert);
	s->tls_cert = NULL;
	buf_release(&s->received);
}

struct run {
	void (*fn)(void *);
	void *arg;
};

static void run_task(void *arg)
{
	struct run *r = arg;
	int64_t until = clock_ms() + 5000;

	r->fn(r->arg);
	while (task_count() > 1 && clock_ms() < until)
		task_sleep(5);
	loop_stop();
}

void script_run(void (*fn)(void *), void *arg)
{
	struct run r = { fn, arg };

	if (task_spawn("test", run_task, &r, NULL) < 0)
		abort();
	loop_run();
}
