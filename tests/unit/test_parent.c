/*
 * The processes, for real: a parent is started with a small protocol of ours in place of SMTP, and is reloaded, drained, and has its children killed.
 *
 * The protocol: on connect "hello PID GENERATION"; then lines: "echo X", "count KEY" (the state keeper counts), "keep TEXT" (the store keeper keeps it,
 * and answers with its id), "id" (uid, root, no_new_privs as the worker has them). Tests wait for events: lines, the notify socket, the end of a
 * process.
 */
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

#include "base/clock.h"
#include "base/stream.h"
#include "base/task.h"
#include "policy/store_id.h"
#include "process/control.h"
#include "process/parent.h"

#pragma GCC diagnostic ignored "-Wframe-larger-than="    /* tests have the main stack */

enum { WAIT_MS = 30000 };               /* for what must come; never slept through */

#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN 1
#else
#define UNDER_ASAN 0
#endif

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

static void say_id(struct stream *s)
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
	stream_printf(s, "id %u %u %d %s %s\n", (unsigned)getuid(), (unsigned)getgid(), prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), fd >= 0 ? "proc" : "noproc",
		      nnp ? "seen" : "unseen");
}

static void say_count(struct talk *t, const char *key)
{
	struct state_op op = { .verb = STATE_COUNT, .ttl_s = 1000, .add = 1 };
	int rc;

	state_key(&op, "test", key, NULL);
	rc = state_run(t->svc->w->state, &op, 1);
	stream_printf(t->stream, "count %d %lld\n", rc, (long long)op.count + 1);
}

static void say_keep(struct talk *t, const char *text)
{
	struct store *s = t->svc->w->store;
	char id[STORE_ID_MAX] = "-";
	int fd = store_open(s), rc = fd;

	if (fd >= 0) {
		rc = write(fd, text, strlen(text)) < 0 ? -errno : 0;
		if (rc == 0)
			rc = s->keep(s, fd, "{\"from\":\"a@x.example\"}", id);
		close(fd);
	}
	stream_printf(t->stream, "keep %d %s\n", rc, id);
}

static void talk_run(void *arg)
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

static int service_open(struct worker *w, void **service, struct buf *err)
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

static void service_accept(void *service, const struct listener_conf *l, int fd, const struct net_addr *peer)
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

static int service_sessions(const void *service)
{
	return ((const struct service *)service)->count;
}

/* All our sessions but those that have said "busy" would be idle; here each goes on until its client ends it. */
static void service_drain(void *service)
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

static struct site *load(const char *path, struct buf *errors, struct buf *warnings)
{
	struct site *s = calloc(1, sizeof(*s));
	char key[32], value[200];
	FILE *f = fopen(path, "r");

	s->path = strdup(path);
	s->listener = calloc(4, sizeof(*s->listener));
	for (int line = 1; f && fscanf(f, "%31s %199s\n", key, value) == 2; line++) {
		if (strcmp(key, "listen") == 0) {
			s->listener[s->listener_count].line = line;
			assert_int_equal(net_parse_port(value, 0, &s->listener[s->listener_count++].address), 0);
		} else if (strcmp(key, "workers") == 0) {
			s->workers = atoi(value);
		} else if (strcmp(key, "user") == 0) {
			s->user = strdup(value);
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
	return errors->len ? NULL : s;          /* the rest of a bad one is left to the end of the process */
}

static void unload(struct site *s)
{
	free(s->path);
	free(s->listener);
	free(s->user);
	free(s->state_dir);
	free(s->control_path);
	free(s->hostname);
	free(s->tls_cert_pem);
	free(s->tls_key_pem);
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

static unsigned short free_port(void)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	close(fd);
	return ntohs(sa.sin_port);
}

static void configure(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void configure(const char *fmt, ...)
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

static int remove_any(const char *path, const struct stat *st, int what, struct FTW *ftw)
{
	return remove(path);
}

static int world_make(void **unused)
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

static int world_end(void **unused)
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

static void start(int drain_stop_s)
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
		struct parent_options opt = { .path = g.conf, .load = load, .free = unload, .protocols = protocols, .drain_stop_s = drain_stop_s };

		dup2(p[1], 2);
		setenv("NOTIFY_SOCKET", sa.sun_path, 1);
		_exit(parent_run(&opt));
	}
	close(p[1]);
	g.log_fd = p[0];
	g.log_len = g.log_at = 0;
	g.pidfd = pidfd_open(g.pid, 0);
}

static void wait_readable(int fd, const char *what)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	if (poll(&p, 1, WAIT_MS) != 1)
		fail_msg("waited in vain for %s; the log:\n%s", what, g.log);
}

/* Read the log until this appears after what was found last. */
static void wait_log(const char *text)
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

static void wait_notify(const char *text)
{
	char message[600];

	do {
		ssize_t n;

		wait_readable(g.notify_fd, text);
		n = recv(g.notify_fd, message, sizeof(message) - 1, 0);
		message[n > 0 ? n : 0] = 0;
	} while (!strstr(message, text));
}

static int wait_exit(void)
{
	int status;

	wait_readable(g.pidfd, "the end");
	assert_int_equal(waitpid(g.pid, &status, 0), g.pid);
	g.pid = -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void wait_gone(pid_t pid)
{
	int fd = pidfd_open(pid, 0);

	if (fd < 0)
		return;
	wait_readable(fd, "the end of a process");
	close(fd);
}

/* Clients */

struct client {
	int fd;
	int pid;
	unsigned generation;
	char line[1200];
};

static bool dial(struct client *c)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(g.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(c->fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
		return true;
	close(c->fd);
	return false;
}

/* The next line; false at the end. */
static bool hear(struct client *c)
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

static bool greet(struct client *c)
{
	return dial(c) && hear(c) && sscanf(c->line, "hello %d %u", &c->pid, &c->generation) == 2;
}

static struct client connected(void)
{
	struct client c;

	if (!greet(&c))
		fail_msg("not greeted (%s); the log so far:\n%s", strerror(errno), g.log);
	return c;
}

static const char *ask(struct client *c, const char *text)
{
	char line[300];
	int n = snprintf(line, sizeof(line), "%s\n", text);

	if (send(c->fd, line, (size_t)n, MSG_NOSIGNAL) != n || !hear(c))
		return "(gone)";
	return c->line;
}

static void hang_up(struct client *c)
{
	close(c->fd);
}

/* The process with this title among the parent's children. */
static pid_t child_called(const char *title)
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

static void slay(const char *title)
{
	pid_t pid = child_called(title);

	assert_true(pid > 0);           /* kill(0) would be the end of us */
	assert_int_equal(kill(pid, SIGKILL), 0);
}

static json_t *control(const char *request_text)
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

/* Tests */

static void test_serves(void **unused)
{
	struct client a, b;
	char id[STORE_ID_MAX], path[300], text[100] = "", day[STORE_DAY_MAX];
	struct stat st;
	json_t *status;
	int fd;

	configure("workers 2\ntls yes\n");
	start(5);
	wait_notify("READY=1");
	a = connected();
	b = connected();
	assert_string_equal(ask(&a, "echo"), "echo");
	assert_string_equal(ask(&a, "count k"), "count 0 1");
	assert_string_equal(ask(&b, "count k"), "count 0 2");
	ask(&a, "keep some bytes");
	assert_int_equal(sscanf(a.line, "keep 0 %31s", id), 1);
	assert_int_equal(store_id_day(id, day), 0);
	snprintf(path, sizeof(path), "%s/quarantine/%s/%s.eml", g.state, day, id);
	fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	assert_int_equal(read(fd, text, sizeof(text)), 10);
	assert_string_equal(text, "some bytes");
	close(fd);
	status = control("{\"cmd\":\"status\"}");
	assert_true(json_boolean_value(json_object_get(status, "ok")));
	assert_int_equal(json_array_size(json_object_get(status, "workers")), 2);
	assert_int_equal(json_integer_value(json_object_get(status, "accepted")), 2);
	json_decref(status);
	/* What was made at the first start. */
	snprintf(path, sizeof(path), "%s/tls/key.pem", g.state);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	snprintf(path, sizeof(path), "%s/control", g.state);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	hang_up(&a);
	hang_up(&b);
	kill(g.pid, SIGTERM);
	wait_notify("STOPPING=1");
	assert_int_equal(wait_exit(), 0);
	assert_int_equal(stat(path, &st), -1);
}

static void test_control_socket(void **unused)
{
	static const struct { const char *request, *member; int value; } rows[] = {
		{ "{\"cmd\":\"recipients.clear\",\"address\":\"B@y.example\"}", "cleared", 0 },
		{ "{\"cmd\":\"recipients.clear\"}", "cleared", 0 },
	};
	static const char *const bad[] = { "{\"cmd\":\"no.such\"}", "[]", "{}", "{\"cmd\":7}", "{\"cmd\":\"recipients.clear\",\"address\":\"\"}" };
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	char flood[4096], byte;
	int fd;

	configure("workers 1\n");
	start(5);
	wait_notify("READY=1");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		json_t *a = control(rows[i].request);

		assert_true(json_boolean_value(json_object_get(a, "ok")));
		assert_int_equal(json_integer_value(json_object_get(a, rows[i].member)), rows[i].value);
		json_decref(a);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		json_t *a = control(bad[i]);

		assert_false(json_boolean_value(json_object_get(a, "ok")));
		assert_non_null(json_object_get(a, "error"));
		json_decref(a);
	}
	/* A line without end: cut off, and others are served. */
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/control", g.state);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	memset(flood, 'x', sizeof(flood));
	for (int i = 0; i < 100 && send(fd, flood, sizeof(flood), MSG_NOSIGNAL) > 0; i++)
		;
	wait_readable(fd, "the end of the flood");
	assert_true(recv(fd, &byte, 1, 0) <= 0);
	close(fd);
	json_decref(control("{\"cmd\":\"status\"}"));
}

static void test_worker_killed(void **unused)
{
	struct client a, b;
	pid_t killed;

	configure("workers 2\n");
	start(5);
	wait_notify("READY=1");
	a = connected();
	for (;;) {
		b = connected();
		if (b.pid != a.pid)
			break;
		hang_up(&b);            /* until the other one takes it */
		ask(&a, "x");
	}
	killed = a.pid;
	kill(killed, SIGKILL);
	wait_log("process=\"worker");
	assert_string_equal(ask(&a, "echo"), "(gone)");
	assert_string_equal(ask(&b, "echo"), "echo");   /* the others do not suffer */
	hang_up(&a);
	/* Its place is filled again: somebody answers under a third pid. */
	for (;;) {
		a = connected();
		if (a.pid != killed && a.pid != b.pid)
			break;
		hang_up(&a);
	}
	assert_string_equal(ask(&a, "count k"), "count 0 1");
	ask(&a, "keep x");
	assert_non_null(strstr(a.line, "keep 0 "));
	hang_up(&a);
	hang_up(&b);
}

static void test_keepers_killed(void **unused)
{
	struct client a;
	char want[40];

	configure("workers 1\n");
	start(5);
	wait_notify("READY=1");
	a = connected();
	for (int i = 1; i <= 3; i++) {
		snprintf(want, sizeof(want), "count 0 %d", i);
		assert_string_equal(ask(&a, "count k"), want);
		/* Its answer may be ahead of its commit by 50 ms: another answer of the same keeper, after a commit that is asked for. */
		json_decref(control("{\"cmd\":\"recipients.clear\"}"));
		ask(&a, "keep x");
		assert_non_null(strstr(a.line, "keep 0 "));
		slay("gp-state");       /* both have answered: they are there */
		slay("gp-store");
		wait_log("process=\"st");
		wait_log("process=\"st");
	}
	assert_string_equal(ask(&a, "count k"), "count 0 4");
	ask(&a, "keep x");
	assert_non_null(strstr(a.line, "keep 0 "));
	assert_string_equal(ask(&a, "still here"), "still here");
	hang_up(&a);
}

static void test_reload(void **unused)
{
	struct client old, fresh;

	configure("workers 2\n");
	start(5);
	wait_notify("READY=1");
	old = connected();
	assert_int_equal(old.generation, 1);
	configure("workers 1\n");
	kill(g.pid, SIGHUP);
	wait_notify("RELOADING=1\nMONOTONIC_USEC=");
	wait_notify("READY=1");
	do {                            /* the old ones may not have heard of it yet */
		fresh = connected();
		if (fresh.generation == 1)
			hang_up(&fresh);
	} while (fresh.generation == 1);
	assert_int_equal(fresh.generation, 2);
	assert_string_equal(ask(&old, "still here"), "still here");
	assert_string_equal(ask(&old, "count k"), "count 0 1");
	assert_string_equal(ask(&fresh, "count k"), "count 0 2");
	hang_up(&old);
	wait_gone(old.pid);             /* with its last session */
	assert_string_equal(ask(&fresh, "echo"), "echo");
	hang_up(&fresh);
}

static void test_reload_refused(void **unused)
{
	struct client a, b;
	char want[150];

	configure("workers 1\n");
	start(5);
	wait_notify("READY=1");
	a = connected();
	configure("workers 1\nnonsense 1\n");
	kill(g.pid, SIGHUP);
	snprintf(want, sizeof(want), "%s:4: unknown option nonsense", g.conf);
	wait_log(want);
	wait_log("refused");
	/* Workers that do not come up refuse it, too. */
	configure("workers 2\nhostname broken.example\n");
	kill(g.pid, SIGHUP);
	wait_log("broken, as asked for");
	wait_log("refused");
	/* And so does an address that is not to be had. */
	configure("workers 1\nlisten 203.0.113.1:25\n");
	kill(g.pid, SIGHUP);
	wait_log("cannot listen on 203.0.113.1:25");
	wait_log("refused");
	assert_string_equal(ask(&a, "echo"), "echo");
	b = connected();
	assert_string_equal(ask(&b, "count k"), "count 0 1");
	hang_up(&a);
	hang_up(&b);
	kill(g.pid, SIGTERM);
	assert_int_equal(wait_exit(), 0);
}

/* Connects and is greeted without a pause until stop is closed; a byte for each: 'y' when all was well. */
static void client_run(int stop, int out)
{
	struct pollfd p = { .fd = stop, .events = POLLIN };

	while (poll(&p, 1, 0) == 0) {
		struct client c;
		char word = greet(&c) && strcmp(ask(&c, "echo"), "echo") == 0 ? 'y' : 'n';

		hang_up(&c);
		(void)!write(out, &word, 1);
	}
	_exit(0);
}

/* While there are reloads nobody is turned away. */
static void test_nobody_lost_in_reload(void **unused)
{
	int stop[2], words[2], lost = 0, done = 0;
	char word;
	pid_t pid;

	configure("workers 2\n");
	start(5);
	wait_notify("READY=1");
	assert_int_equal(pipe(stop), 0);
	assert_int_equal(pipe(words), 0);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		close(stop[1]);
		client_run(stop[0], words[1]);
	}
	close(words[1]);
	for (int i = 0; i < 5; i++) {
		configure("workers %d\n", 1 + i % 2);
		kill(g.pid, SIGHUP);
		for (int n = 0; n < 20; n++) {
			assert_int_equal(read(words[0], &word, 1), 1);
			lost += word != 'y';
			done++;
		}
		wait_notify("RELOADING=1");
		wait_notify("READY=1");
	}
	close(stop[1]);
	while (read(words[0], &word, 1) == 1) {
		lost += word != 'y';
		done++;
	}
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	print_message("  %d connections over 5 reloads, %d lost\n", done, lost);
	assert_int_equal(lost, 0);
	close(stop[0]);
	close(words[0]);
}

static void test_drain(void **unused)
{
	struct client a, b;

	configure("workers 2\n");
	start(600);
	wait_notify("READY=1");
	a = connected();
	kill(g.pid, SIGTERM);
	wait_notify("STOPPING=1");
	while (dial(&b)) {              /* until it has stopped listening; what is taken meanwhile is served */
		if (hear(&b))
			assert_string_equal(ask(&b, "echo"), "echo");
		hang_up(&b);
	}
	assert_string_equal(ask(&a, "echo"), "echo");
	slay("gp-state");       /* keepers are there until the end */
	wait_log("process=\"state keeper");
	assert_string_equal(ask(&a, "count k"), "count 0 1");
	assert_non_null(strstr(ask(&a, "keep x"), "keep 0 "));
	hang_up(&a);
	assert_int_equal(wait_exit(), 0);
}

static void test_drain_has_an_end(void **unused)
{
	struct client a;

	configure("workers 1\n");
	start(1);
	wait_notify("READY=1");
	a = connected();
	kill(g.pid, SIGTERM);
	wait_log("sessions are cut");
	assert_int_equal(wait_exit(), 0);
	assert_string_equal(ask(&a, "echo"), "(gone)");
	hang_up(&a);
}

static void test_stop_at_once(void **unused)
{
	struct client a;

	configure("workers 1\n");
	start(600);
	wait_notify("READY=1");
	a = connected();
	kill(g.pid, SIGTERM);
	wait_notify("STOPPING=1");
	kill(g.pid, SIGTERM);
	assert_int_equal(wait_exit(), 0);
	assert_string_equal(ask(&a, "echo"), "(gone)");
	hang_up(&a);
}

static void test_parent_killed(void **unused)
{
	pid_t state, store, worker;

	configure("workers 1\n");
	start(5);
	wait_notify("READY=1");
	state = child_called("gp-state");
	store = child_called("gp-store");
	worker = child_called("gp-worker 1");
	assert_true(state > 0 && store > 0 && worker > 0);
	kill(g.pid, SIGKILL);
	wait_gone(state);
	wait_gone(store);
	wait_gone(worker);
	assert_int_equal(wait_exit(), -1);
	close(g.log_fd);
	close(g.notify_fd);
	close(g.pidfd);
	start(5);                       /* nothing is in the way of the next one */
	wait_notify("READY=1");
}

static void test_bad_start(void **unused)
{
	configure("nonsense 1\n");
	start(5);
	wait_log(":3: unknown option nonsense");
	assert_int_equal(wait_exit(), 1);
	close(g.log_fd);
	close(g.notify_fd);
	close(g.pidfd);
	configure("hostname broken.example\n");
	start(5);
	wait_log("broken, as asked for");
	assert_int_equal(wait_exit(), 1);
	close(g.log_fd);
	close(g.notify_fd);
	close(g.pidfd);
	configure("user no-such-user\n");
	if (geteuid() != 0)
		return;
	start(5);
	wait_log("no such user");
	assert_int_equal(wait_exit(), 1);
}

static void test_one_per_directory(void **unused)
{
	struct parent_options opt = { .path = g.conf, .load = load, .free = unload, .protocols = protocols };
	char text[400] = "";
	int p[2], status;
	pid_t pid;

	configure("workers 1\n");
	start(5);
	wait_notify("READY=1");
	assert_int_equal(pipe(p), 0);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		dup2(p[1], 2);
		_exit(parent_run(&opt));
	}
	close(p[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 1);
	assert_true(read(p[0], text, sizeof(text) - 1) > 0);
	assert_non_null(strstr(text, "another gatepost is running"));
	close(p[0]);
	json_decref(control("{\"cmd\":\"status\"}"));   /* the first one still has its control socket */
}

static void test_crash_loop(void **unused)
{
	struct client a;

	configure("workers 1\n");
	start(5);
	wait_notify("READY=1");
	for (int i = 0; i < 5; i++) {
		a = connected();
		kill(a.pid, SIGKILL);
		wait_log("event=died");
		hang_up(&a);
	}
	wait_log("CRASH LOOP");
	a = connected();                /* and yet it is started again */
	assert_string_equal(ask(&a, "echo"), "echo");
	hang_up(&a);
}

/* What /proc says of a process: its user, its root, and that it can gain nothing. */
static void check_confined(const char *title, const char *root, uid_t uid)
{
	char path[64], text[4096] = "", link[300] = "", want[300];
	pid_t pid = child_called(title);
	FILE *f;

	assert_true(pid > 0);
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "r");
	(void)!fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	snprintf(want, sizeof(want), "Uid:\t%u\t%u\t%u\t%u\n", uid, uid, uid, uid);
	assert_non_null(strstr(text, want));
	assert_non_null(strstr(text, "NoNewPrivs:\t1"));
	assert_non_null(strstr(text, "CapEff:\t0000000000000000"));
	assert_non_null(strstr(text, "CapPrm:\t0000000000000000"));
	snprintf(path, sizeof(path), "/proc/%d/root", pid);
	assert_true(readlink(path, link, sizeof(link) - 1) > 0);
	snprintf(want, sizeof(want), "%s/%s", g.state, root);
	assert_string_equal(link, want);
}

static void test_confined(void **unused)
{
	struct passwd *pw = getpwnam("nobody");
	struct client a;
	char want[100];

	if (geteuid() != 0 || !pw || UNDER_ASAN)
		skip();
	configure("workers 1\nuser nobody\ntls yes\n");
	start(5);
	wait_notify("READY=1");
	check_confined("gp-worker 1", "empty", pw->pw_uid);
	check_confined("gp-state", "state", pw->pw_uid);
	check_confined("gp-store", "quarantine", pw->pw_uid);
	a = connected();
	snprintf(want, sizeof(want), "id %u %u 1 noproc unseen", pw->pw_uid, pw->pw_gid);
	assert_string_equal(ask(&a, "id"), want);
	assert_string_equal(ask(&a, "count k"), "count 0 1");
	ask(&a, "keep x");
	assert_non_null(strstr(a.line, "keep 0 "));
	/* A reload as root with confined processes around. */
	kill(g.pid, SIGHUP);
	wait_notify("RELOADING=1");
	wait_notify("READY=1");
	slay("gp-store");
	wait_log("process=\"store keeper");
	ask(&a, "keep y");
	assert_non_null(strstr(a.line, "keep 0 "));
	hang_up(&a);
	kill(g.pid, SIGTERM);
	assert_int_equal(wait_exit(), 0);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, world_make, world_end)
	const struct CMUnitTest tests[] = {
		TEST(test_serves),
		TEST(test_control_socket),
		TEST(test_worker_killed),
		TEST(test_keepers_killed),
		TEST(test_reload),
		TEST(test_reload_refused),
		TEST(test_nobody_lost_in_reload),
		TEST(test_drain),
		TEST(test_drain_has_an_end),
		TEST(test_stop_at_once),
		TEST(test_parent_killed),
		TEST(test_bad_start),
		TEST(test_one_per_directory),
		TEST(test_crash_loop),
		TEST(test_confined),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
