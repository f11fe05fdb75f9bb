/*
 * parent_lab - a parent with a small protocol of ours in place of SMTP, and clients of it
 *
 * The protocol: on connect "hello PID GENERATION"; then lines, given back as they are but for
 * "count KEY" (the state keeper counts), "keep TEXT" (the store keeper keeps it, and answers with
 * its id), "id" (uid, root, no_new_privs as the worker has them), "socket FAMILY ADDRESS" (a transparent one, bound to it),
 * "stock" (how many of those are at hand), "daemon PATH" (connect to its unix socket, and read a line), "transparent" (whether the listener is). What must come is waited for as
 * an event: lines, the notify socket, the end of a process. For one test program each: everything
 * is static.
 */
#ifndef PARENT_LAB_H
#define PARENT_LAB_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/asan.h"
#include "base/clock.h"
#include "base/stream.h"
#include "base/task.h"
#include "policy/store_id.h"
#include "process/control.h"
#include "process/parent.h"

#pragma GCC diagnostic ignored "-Wframe-larger-than="    /* tests have the main stack */

enum { WAIT_MS = 30000 };               /* for what must come; never slept through */

/* The protocol */

struct talk {
	struct service *svc;
	struct stream *stream;
	struct task *task;
	struct talk *next;
};

struct service {
	struct worker *w;
	struct talk *first;
	int count;
};

static inline void say_id(struct stream *s)
{
	char root[128] = "-", status[4096] = "", *nnp;
	ssize_t n = readlink("/proc/self/root", root, sizeof(root) - 1);
	int fd = open("/proc/self/status", O_RDONLY);

	if (n > 0)
		root[n] = 0;
	if (fd >= 0) {
		(void)!read(fd, status, sizeof(status) - 1);
		close(fd);
	}
	nnp = strstr(status, "NoNewPrivs:");
	stream_printf(s, "id %u %u %d %s %s\n", (unsigned)getuid(), (unsigned)getgid(),
		      prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), fd >= 0 ? "proc" : "noproc",
		      nnp ? "seen" : "unseen");
}

static inline void say_count(struct talk *t, const char *key)
{
	struct state_op op = { .verb = STATE_COUNT, .ttl_s = 1000, .add = 1 };
	int rc;

	state_key(&op, "test", key, NULL);
	rc = state_run(t->svc->w->state, &op, 1);
	stream_printf(t->stream, "count %d %lld\n", rc, (long long)op.count + 1);
}

static inline void say_keep(struct talk *t, const char *text)
{
	struct store *s = t->svc->w->store;
	char id[STORE_ID_MAX] = "-";
	int fd = store_open(s), rc = fd;

	if (fd >= 0 && strcmp(text, "socket") == 0) {   /* not what a keeper takes */
		close(fd);
		fd = socket(AF_INET, SOCK_STREAM, 0);
		rc = s->keep(s, fd, "{\"from\":\"a@x.example\"}", id);
		close(fd);
	} else if (fd >= 0) {
		rc = write(fd, text, strlen(text)) < 0 ? -errno : 0;
		if (rc == 0)
			rc = s->keep(s, fd, "{\"from\":\"a@x.example\"}", id);
		close(fd);
	}
	stream_printf(t->stream, "keep %d %s\n", rc, id);
}

static inline void say_socket(struct talk *t, const char *text)
{
	struct socket_source *from = &t->svc->w->sockets.source;
	struct net_addr a;
	struct sockaddr_storage ss;
	int mark = 0, fd = from->take(from, atoi(text), 5000), rc = 0;
	socklen_t len = sizeof(mark);

	assert_int_equal(net_parse(strchr(text, ' ') + 1, &a), 0);
	if (fd >= 0) {
		getsockopt(fd, SOL_SOCKET, SO_MARK, &mark, &len);
		len = net_to_sockaddr(&a, &ss);
		rc = bind(fd, (struct sockaddr *)&ss, len) < 0 ? -errno : 0;
		close(fd);
	}
	stream_printf(t->stream, "socket %d %x %d\n", fd < 0 ? fd : 0, (unsigned)mark, rc);
}

/* Of the listener that this connection came to. */
static inline int may_be_elsewhere(const struct stream *s)
{
	int on = -1;
	socklen_t len = sizeof(on);

	return getsockopt(stream_fd(s), IPPROTO_IP, IP_TRANSPARENT, &on, &len) < 0 ? -errno : on;
}

/* A connection to a daemon's unix socket, by its path: what the parent says, and the daemon. */
static inline void say_daemon(struct talk *t, const char *path)
{
	struct daemon_source *from = &t->svc->w->daemon_sockets.source;
	int fd = from->connect(from, path, 5000);
	struct stream *s = fd >= 0 ? stream_new(fd) : NULL;
	const char *line = "-\n";
	size_t len = 2;

	if (s && stream_read_line(s, 100, 5000, &line, &len) < 0)
		line = "-\n";
	stream_printf(t->stream, "daemon %d %.*s\n", fd < 0 ? fd : 0, (int)strcspn(line, "\n"), line);
	stream_free(s);
}

static inline void talk_run(void *arg)
{
	struct talk *t = arg;
	const char *line;
	size_t len;

	stream_printf(t->stream, "hello %d %u\n", (int)getpid(), t->svc->w->env->generation);
	while (stream_read_line(t->stream, 1000, -1, &line, &len) == 0) {
		char text[1001];

		snprintf(text, sizeof(text), "%.*s", (int)strcspn(line, "\r\n"), line);
		if (strncmp(text, "count ", 6) == 0)
			say_count(t, text + 6);
		else if (strncmp(text, "keep ", 5) == 0)
			say_keep(t, text + 5);
		else if (strncmp(text, "socket ", 7) == 0)
			say_socket(t, text + 7);
		else if (strncmp(text, "daemon ", 7) == 0)
			say_daemon(t, text + 7);
		else if (strcmp(text, "transparent") == 0)
			stream_printf(t->stream, "transparent %d\n", may_be_elsewhere(t->stream));
		else if (strcmp(text, "stock") == 0)
			stream_printf(t->stream, "stock %d %d\n", t->svc->w->sockets.of[0].count, t->svc->w->sockets.of[1].count);
		else if (strcmp(text, "id") == 0)
			say_id(t->stream);
		else if (strcmp(text, "die") == 0)
			abort();
		else
			stream_printf(t->stream, "%s\n", text);
	}
	stream_free(t->stream);
	for (struct talk **at = &t->svc->first; *at; at = &(*at)->next)
		if (*at == t) {
			*at = t->next;
			break;
		}
	t->svc->count--;
	free(t);
}

static inline int service_open(struct worker *w, void **service, struct buf *err)
{
	struct service *svc = calloc(1, sizeof(*svc));

	if (strcmp(w->site->hostname, "broken.example") == 0) {
		buf_adds(err, "broken, as asked for");
		free(svc);
		return -EINVAL;
	}
	svc->w = w;
	*service = svc;
	return 0;
}

static inline void service_accept(void *service, const struct listener_conf *l, int fd,
				  const struct net_addr *peer)
{
	struct service *svc = service;
	struct talk *t = calloc(1, sizeof(*t));

	t->svc = svc;
	t->stream = stream_new(fd);
	t->next = svc->first;
	svc->first = t;
	svc->count++;
	task_spawn("talk", talk_run, t, &t->task);
}

static inline int service_sessions(const void *service)
{
	return ((const struct service *)service)->count;
}

/*
 * All our sessions but those that have said "busy" would be idle; here each goes on until its
 * client ends it.
 */
static inline void service_drain(void *service)
{
}

static const struct worker_protocol talk_protocol = {
	.protocol = LISTENER_SMTP,
	.open = service_open,
	.accept = service_accept,
	.drain = service_drain,
	.sessions = service_sessions,
	.close = free,
};

static const struct worker_protocol *const protocols[] = { &talk_protocol, NULL };

/* The configuration: lines "key value" */

static inline struct daemon_conf *daemon_at(const char *path)
{
	struct daemon_conf *d = calloc(1, sizeof(*d));

	d->name = strdup("daemon");
	d->address = calloc(1, sizeof(*d->address));
	d->address_count = 1;
	d->address->path = strdup(path);
	d->max_connections = 1;
	return d;
}

static inline struct site *load(const char *path, struct buf *errors, struct buf *warnings)
{
	struct site *s = calloc(1, sizeof(*s));
	char key[32], value[200];
	FILE *f = fopen(path, "r");

	s->path = strdup(path);
	s->sandbox = true;
	s->listener = calloc(4, sizeof(*s->listener));
	for (int line = 1; f && fscanf(f, "%31s %199s\n", key, value) == 2; line++) {
		if (strcmp(key, "transparent") == 0) {
			s->listener[s->listener_count - 1].transparent = strcmp(value, "yes") == 0;
		} else if (strcmp(key, "listen") == 0) {
			s->listener[s->listener_count].line = line;
			assert_int_equal(net_parse_port(value, 0,
							&s->listener[s->listener_count++].address),
					 0);
		} else if (strcmp(key, "backends") == 0) {      /* "40a": 40 whose names end in a */
			s->backend_count = (size_t)atoi(value);
			s->backend = calloc(s->backend_count, sizeof(*s->backend));
			for (size_t i = 0; i < s->backend_count; i++)
				assert_true(asprintf(&s->backend[i].name, "b%zu%s", i, value + strspn(value, "0123456789")) > 0);
		} else if (strcmp(key, "daemon") == 0) {
			s->daemon = reallocarray(s->daemon, s->daemon_count + 1, sizeof(*s->daemon));
			s->daemon[s->daemon_count++] = daemon_at(value);
		} else if (strcmp(key, "workers") == 0) {
			s->workers = atoi(value);
		} else if (strcmp(key, "user") == 0) {
			s->user = strdup(value);
		} else if (strcmp(key, "keeper_user") == 0) {
			s->keeper_user = strdup(value);
		} else if (strcmp(key, "state_dir") == 0) {
			s->state_dir = strdup(value);
			assert_true(asprintf(&s->control_path, "%s/control", value) > 0);
		} else if (strcmp(key, "hostname") == 0) {
			s->hostname = strdup(value);
		} else if (strcmp(key, "tls") == 0) {
			s->tls_offer = true;
		} else {
			buf_addf(errors, "%s:%d: unknown option %s\n", path, line, key);
		}
	}
	if (f)
		fclose(f);
	if (!s->hostname)
		s->hostname = strdup("mx.example");
	return errors->len ? NULL : s; /* the rest of a bad one is left to the end of the process */
}

static inline void unload(struct site *s)
{
	for (size_t i = 0; i < s->backend_count; i++)
		free(s->backend[i].name);
	free(s->backend);
	for (size_t i = 0; i < s->daemon_count; i++) {
		struct daemon_conf *d = (struct daemon_conf *)s->daemon[i];

		free(d->address->path);
		free(d->address);
		free(d->name);
		free(d);
	}
	free(s->daemon);
	free(s->path);
	free(s->listener);
	free(s->user);
	free(s->keeper_user);
	free(s->state_dir);
	free(s->control_path);
	free(s->hostname);
	free(s->tls_cert_pem);
	key_list_release(&s->keys);
	free(s);
}

/* The gateway under test */

static struct gateway {
	char dir[64], conf[100], state[100];
	unsigned short port;
	pid_t pid;
	int pidfd, log_fd, notify_fd;
	char log[1 << 17];
	size_t log_len, log_at;
} g;

static inline unsigned short free_port(void)
{
	struct sockaddr_in sa = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	close(fd);
	return ntohs(sa.sin_port);
}

static inline void configure(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static inline void configure(const char *fmt, ...)
{
	char temp[120];
	FILE *f;
	va_list ap;

	snprintf(temp, sizeof(temp), "%s.new", g.conf);
	f = fopen(temp, "w");
	fprintf(f, "state_dir %s\nlisten 127.0.0.1:%u\n", g.state, g.port);
	va_start(ap, fmt);
	vfprintf(f, fmt, ap);
	va_end(ap);
	fclose(f);
	assert_int_equal(rename(temp, g.conf), 0);      /* whole, whenever the parent reads it */
}

static inline int remove_any(const char *path, const struct stat *st, int what, struct FTW *ftw)
{
	return remove(path);
}

static inline int world_make(void **unused)
{
	memset(&g, 0, sizeof(g));
	snprintf(g.dir, sizeof(g.dir), "/tmp/gatepost-parent-XXXXXX");
	assert_non_null(mkdtemp(g.dir));
	assert_int_equal(chmod(g.dir, 0755), 0);
	snprintf(g.conf, sizeof(g.conf), "%s/conf", g.dir);
	snprintf(g.state, sizeof(g.state), "%s/lib/state", g.dir);
	g.port = free_port();
	g.pid = -1;
	return 0;
}

static inline int world_end(void **unused)
{
	if (g.pid > 0) {
		kill(g.pid, SIGKILL);
		waitpid(g.pid, NULL, 0);
		g.pid = -1;
	}
	if (g.log_fd)
		close(g.log_fd);
	if (g.notify_fd)
		close(g.notify_fd);
	if (g.pidfd)
		close(g.pidfd);
	nftw(g.dir, remove_any, 16, FTW_DEPTH | FTW_PHYS);
	return 0;
}

/* tests/e2e/test_valgrind.py has all processes of the gateway under it. */
static inline bool under_valgrind(void)
{
	if (!getenv("UNDER_VALGRIND"))
		return false;
	puts("skipped: valgrind knows neither seccomp(2) nor pidfd_open(2)");
	return true;
}

static inline void start(int drain_stop_s)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int p[2];

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/notify", g.dir);
	unlink(sa.sun_path);
	g.notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(g.notify_fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	fflush(NULL);
	g.pid = fork();
	if (g.pid == 0) {
		struct parent_options opt = { .path = g.conf,
					      .load = load,
					      .free = unload,
					      .protocols = protocols,
					      .drain_stop_s = drain_stop_s };

		dup2(p[1], 2);
		setenv("NOTIFY_SOCKET", sa.sun_path, 1);
		_exit(parent_run(&opt));
	}
	close(p[1]);
	g.log_fd = p[0];
	g.log_len = g.log_at = 0;
	g.pidfd = pidfd_open(g.pid, 0);
}

static inline void wait_readable(int fd, const char *what)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	if (poll(&p, 1, WAIT_MS) != 1)
		fail_msg("waited in vain for %s; the log:\n%s", what, g.log);
}

/* Read the log until this appears after what was found last. */
static inline void wait_log(const char *text)
{
	for (;;) {
		char *at = strstr(g.log + g.log_at, text);
		ssize_t n;

		if (at) {
			g.log_at = (size_t)(at - g.log) + strlen(text);
			return;
		}
		wait_readable(g.log_fd, text);
		assert_true(g.log_len + 1 < sizeof(g.log));
		n = read(g.log_fd, g.log + g.log_len, sizeof(g.log) - 1 - g.log_len);
		if (n <= 0)
			fail_msg("the log ended without %s:\n%s", text, g.log);
		g.log_len += (size_t)n;
	}
}

static inline void wait_notify(const char *text)
{
	char message[600];

	do {
		ssize_t n;

		wait_readable(g.notify_fd, text);
		n = recv(g.notify_fd, message, sizeof(message) - 1, 0);
		message[n > 0 ? n : 0] = 0;
	} while (!strstr(message, text));
}

static inline int wait_exit(void)
{
	int status;

	/* Counters of lines (make coverage) that cannot be written are complained of at the end, at length: who does not read that keeps them from ending. */
	for (;;) {
		struct pollfd p[2] = { { .fd = g.pidfd, .events = POLLIN }, { .fd = g.log_fd, .events = POLLIN } };
		size_t room = sizeof(g.log) - 1 - g.log_len;
		char beyond[4096];
		ssize_t n;

		if (poll(p, 2, WAIT_MS) < 1)
			fail_msg("waited in vain for the end; the log:\n%s", g.log);
		if (p[0].revents)
			break;
		n = room ? read(g.log_fd, g.log + g.log_len, room) : read(g.log_fd, beyond, sizeof(beyond));
		if (n <= 0)
			wait_readable(g.pidfd, "the end");
		g.log_len += room && n > 0 ? (size_t)n : 0;
	}
	assert_int_equal(waitpid(g.pid, &status, 0), g.pid);
	g.pid = -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static inline void wait_gone(pid_t pid)
{
	int fd = pidfd_open(pid, 0);

	if (fd < 0)
		return;
	wait_readable(fd, "the end of a process");
	close(fd);
}

/* Clients */

struct caller {
	int fd;
	int pid;
	unsigned generation;
	char line[1200];
};

static inline bool dial(struct caller *c)
{
	struct sockaddr_in sa = { .sin_family = AF_INET,
				  .sin_port = htons(g.port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(c->fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
		return true;
	close(c->fd);
	return false;
}

/* The next line; false at the end. */
static inline bool hear(struct caller *c)
{
	size_t n = 0;

	while (n < sizeof(c->line) - 1) {
		ssize_t r;

		wait_readable(c->fd, "a line");
		r = recv(c->fd, c->line + n, 1, 0);
		if (r <= 0)
			return false;
		if (c->line[n] == '\n')
			break;
		n++;
	}
	c->line[n] = 0;
	return true;
}

static inline bool greet(struct caller *c)
{
	return dial(c) && hear(c) && sscanf(c->line, "hello %d %u", &c->pid, &c->generation) == 2;
}

static inline struct caller connected(void)
{
	struct caller c;

	if (!greet(&c))
		fail_msg("not greeted (%s); the log so far:\n%s", strerror(errno), g.log);
	return c;
}

static inline const char *ask(struct caller *c, const char *text)
{
	char line[300];
	int n = snprintf(line, sizeof(line), "%s\n", text);

	if (send(c->fd, line, (size_t)n, MSG_NOSIGNAL) != n || !hear(c))
		return "(gone)";
	return c->line;
}

static inline void hang_up(struct caller *c)
{
	close(c->fd);
}

/* The process with this title among the parent's children. */
static inline pid_t child_called(const char *title)
{
	char path[100], list[4096] = "", *save = NULL;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", g.pid, g.pid);
	f = fopen(path, "r");
	assert_non_null(f);
	(void)!fread(list, 1, sizeof(list) - 1, f);
	fclose(f);
	for (char *p = strtok_r(list, " ", &save); p; p = strtok_r(NULL, " ", &save)) {
		char name[64] = "";

		snprintf(path, sizeof(path), "/proc/%s/comm", p);
		f = fopen(path, "r");
		if (f) {
			(void)!fscanf(f, "%63[^\n]", name);
			fclose(f);
		}
		if (strcmp(name, title) == 0)
			return atoi(p);
	}
	return 0;
}

static inline void slay(const char *title)
{
	pid_t pid = child_called(title);

	assert_true(pid > 0);           /* kill(0) would be the end of us */
	assert_int_equal(kill(pid, SIGKILL), 0);
}

static inline json_t *control(const char *request_text)
{
	AUTO(buf) struct buf err = BUF_INIT(1000);
	json_t *request = json_loads(request_text, 0, NULL), *answer = NULL;
	char path[120];
	int rc;

	snprintf(path, sizeof(path), "%s/control", g.state);
	rc = control_ask(path, request, &answer, &err);
	json_decref(request);
	if (rc < 0)
		fail_msg("control: %s", buf_str(&err));
	return answer;
}

#endif
