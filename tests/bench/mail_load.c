/*
 * mail_load - IMAP and POP3 clients for the bench, on Gatepost's own tasks and streams
 *
 *     mail_load login --to IP:PORT --protocol imap|pop3 [--tls | --resume] --sessions N --count N
 *     mail_load fetch --to IP:PORT --protocol imap|pop3 [--tls] --sessions N --count N
 *     mail_load idle  --to IP:PORT --protocol imap|pop3 [--tls] --count N
 *
 * `login`: connect, greeting, LOGIN (USER and PASS), LOGOUT (QUIT), count times, in N sessions at once. `fetch`: each session logs in once, and
 * between them they fetch the one message of the mailbox count times. Both print one line of JSON. With --tls each handshake is a full one; with
 * --resume each but the first few brings the last ticket that the server gave; `resumed` says how many the server took.
 *
 * `idle` logs N sessions in, prints {"held":N}, and holds them until its standard input ends; then it prints how many were still open.
 */
#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/net.h"
#include "base/stream.h"
#include "base/task.h"
#include "base/tls.h"

enum { WAIT_MS = 300 * 1000, OPENING_MAX = 100, USERS = 100, LINE_MAX_BYTES = 8192 };

static struct net_addr server;
static struct ssl_ctx_st *tls;
static bool pop3, resume;
static size_t sessions = 1, count;

static unsigned long failures, resumed;
static int words_shown;

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* Tickets: the last one that came serves all. */

static SSL_SESSION *ticket;

static int ticket_came(SSL *ssl, SSL_SESSION *session)
{
	(void)ssl;
	SSL_SESSION_free(ticket);
	ticket = session;
	return 1;
}

/* Once for each connection: what comes after the handshake, as tickets do, begins and ends like one. */
static void ticket_use(const SSL *ssl, int where, int ret)
{
	static char begun, ended;
	SSL *own = (SSL *)(uintptr_t)ssl;

	(void)ret;
	if (where == SSL_CB_HANDSHAKE_START && !SSL_get_app_data(own)) {
		SSL_set_app_data(own, &begun);
		if (ticket)
			SSL_set_session(own, ticket);
	}
	if (where == SSL_CB_HANDSHAKE_DONE && SSL_get_app_data(own) == &begun) {
		SSL_set_app_data(own, &ended);
		resumed += (unsigned long)SSL_session_reused(own);
	}
}

static void tls_open(void)
{
	struct buf why = BUF_INIT(512);

	if (tls_client_ctx(false, NULL, &tls, &why) != 0)
		abort();
	if (!resume)
		return;
	SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_clear_options(tls, SSL_OP_NO_TICKET);
	SSL_CTX_sess_set_new_cb(tls, ticket_came);
	SSL_CTX_set_info_callback(tls, ticket_use);
}

/* The dialogue: each returns 0, or -errno; -EPROTO: the server says no. */

static int refused(const char *line, size_t len)
{
	if (words_shown++ < 5)
		fprintf(stderr, "mail_load: %.*s", (int)len, line);
	return -EPROTO;
}

/* One line of POP3; of IMAP until the tagged one, or the first one of all (tag NULL). */
static int answer(struct stream *s, const char *tag)
{
	const char *line;
	size_t len;
	int rc;

	for (;;) {
		rc = stream_read_line(s, LINE_MAX_BYTES, WAIT_MS, &line, &len);
		if (rc < 0)
			return rc;
		if (pop3)
			return len > 3 && !memcmp(line, "+OK", 3) ? 0 : refused(line, len);
		if (!tag)
			return len > 4 && !memcmp(line, "* OK", 4) ? 0 : refused(line, len);
		if (len > strlen(tag) + 3 && !memcmp(line, tag, strlen(tag)) && line[strlen(tag)] == ' ')
			return !memcmp(line + strlen(tag) + 1, "OK", 2) ? 0 : refused(line, len);
	}
}

static int user_next(void)
{
	static int n;

	return n++ % USERS;
}

static int session_open(struct stream **out)
{
	struct stream *s;
	int rc = stream_connect(&server, NULL, WAIT_MS, &s), user = user_next();

	if (rc < 0)
		return rc;
	if (tls)
		rc = stream_tls_connect_any(s, tls, "gate.site.example", WAIT_MS);
	if (rc == 0)
		rc = answer(s, NULL);
	if (rc == 0 && pop3) {
		rc = stream_printf(s, "USER user%d@site.example\r\n", user);
		if (rc == 0)
			rc = answer(s, NULL);
		if (rc == 0)
			rc = stream_printf(s, "PASS secret\r\n");
	} else if (rc == 0) {
		rc = stream_printf(s, "a1 LOGIN user%d@site.example secret\r\n", user);
	}
	if (rc == 0)
		rc = answer(s, "a1");
	if (rc == 0)
		*out = s;
	else
		stream_free(s);
	return rc;
}

static int session_end(struct stream *s)
{
	int rc = stream_printf(s, pop3 ? "QUIT\r\n" : "a9 LOGOUT\r\n");

	return rc < 0 ? rc : answer(s, "a9");
}

static void failed(int rc)
{
	failures++;
	if (words_shown++ < 5)
		fprintf(stderr, "mail_load: %s\n", strerror(-rc));
}

/* login */

static size_t begun, done, tasks_left;
static float *session_ms;

static int login_once(void)
{
	double start = now_ms();
	struct stream *s;
	int rc = session_open(&s);

	if (rc < 0)
		return rc;
	rc = session_end(s);
	stream_free(s);
	if (rc == 0)
		session_ms[done++] = (float)(now_ms() - start);
	return rc;
}

static void login_task(void *arg)
{
	(void)arg;
	while (begun < count) {
		int rc;

		begun++;
		rc = login_once();
		if (rc < 0)
			failed(rc);
	}
	if (--tasks_left == 0)
		loop_stop();
}

static int float_order(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return x < y ? -1 : x > y;
}

/* fetch */

static double bytes_fetched;

/* The last octets that have come: a message by POP3 ends with CRLF.CRLF. */
static void tail_add(char tail[5], const char *p, size_t len)
{
	if (len >= 5) {
		memcpy(tail, p + len - 5, 5);
		return;
	}
	memmove(tail, tail + len, 5 - len);
	memcpy(tail + 5 - len, p, len);
}

/* By IMAP its length is said in the first line. */
static int literal_begins(struct stream *s, size_t *left)
{
	const char *line, *p;
	size_t len;
	int rc = stream_read_line(s, LINE_MAX_BYTES, WAIT_MS, &line, &len);

	if (rc < 0)
		return rc;
	p = memchr(line, '{', len);
	*left = p ? strtoul(p + 1, NULL, 10) : 0;
	return *left ? 0 : refused(line, len);
}

static int fetch_body(struct stream *s)
{
	size_t left = SIZE_MAX, len;
	char tail[5] = "";
	const char *p;
	int rc = pop3 ? answer(s, NULL) : literal_begins(s, &left);

	while (rc == 0 && left && memcmp(tail, "\r\n.\r\n", 5) != 0) {
		rc = stream_peek(s, WAIT_MS, &p, &len);
		if (rc < 0)
			break;
		if (len > left)
			len = left;
		if (pop3)
			tail_add(tail, p, len);
		else
			left -= len;
		stream_eat(s, len);
		bytes_fetched += (double)len;
	}
	return rc < 0 || pop3 ? rc : answer(s, "a3");
}

static int fetch_all(struct stream *s)
{
	int rc = 0;

	if (!pop3) {
		rc = stream_printf(s, "a2 SELECT INBOX\r\n");
		if (rc == 0)
			rc = answer(s, "a2");
	}
	while (rc == 0 && begun < count) {
		begun++;
		rc = stream_printf(s, pop3 ? "RETR 1\r\n" : "a3 FETCH 1 BODY.PEEK[]\r\n");
		if (rc == 0)
			rc = fetch_body(s);
		if (rc == 0)
			done++;
	}
	return rc;
}

static void fetch_task(void *arg)
{
	struct stream *s;
	int rc = session_open(&s);

	(void)arg;
	if (rc == 0) {
		rc = fetch_all(s);
		if (rc == 0)
			rc = session_end(s);
		stream_free(s);
	}
	if (rc < 0)
		failed(rc);
	if (--tasks_left == 0)
		loop_stop();
}

static int run(task_fn *fn)
{
	double start, seconds;

	session_ms = calloc(count + 1, sizeof *session_ms);
	assert(session_ms);
	tasks_left = sessions;
	for (size_t i = 0; i < sessions; i++)
		assert(task_spawn("session", fn, NULL, NULL) == 0);
	start = now_ms();
	loop_run();
	seconds = (now_ms() - start) / 1e3;
	qsort(session_ms, done, sizeof *session_ms, float_order);
	printf("{\"done\":%zu,\"failures\":%lu,\"seconds\":%.3f,\"rate\":%.1f,\"megabytes\":%.3f,\"resumed\":%lu,\"p50\":%.2f,\"p99\":%.2f}\n", done,
	       failures, seconds, (double)done / seconds, bytes_fetched / 1e6, resumed, done ? (double)session_ms[done / 2] : 0,
	       done ? (double)session_ms[done * 99 / 100] : 0);
	free(session_ms);
	return failures ? 2 : 0;
}

/* idle */

static size_t idle_opened, idle_held;
static struct gate idle_gate = { .limit = OPENING_MAX };

static void idle_task(void *arg)
{
	struct stream *s = NULL;
	int rc;

	(void)arg;
	if (gate_enter(&idle_gate, -1))
		return;
	rc = session_open(&s);
	gate_leave(&idle_gate);
	if (rc == 0)
		idle_held++;
	else
		failed(rc);
	if (++idle_opened == count) {
		printf("{\"held\":%zu}\n", idle_held);
		fflush(stdout);
	}
	if (rc == 0 && stream_wait_readable(s, -1) == 0)
		idle_held--;
	if (rc == 0)
		stream_free(s);
}

static void idle_over(evutil_socket_t fd, short what, void *arg)
{
	char c;

	(void)what;
	(void)arg;
	if (read((int)fd, &c, 1) <= 0)
		loop_stop();
}

static int idle(void)
{
	struct event *over = event_new(loop_base(), 0, EV_READ | EV_PERSIST, idle_over, NULL);

	assert(over && event_add(over, NULL) == 0);
	for (size_t i = 0; i < count; i++)
		assert(task_spawn("idle", idle_task, NULL, NULL) == 0);
	loop_run();
	printf("{\"left\":%zu}\n", idle_held);
	event_free(over);
	return idle_held == count ? 0 : 2;
}

static _Noreturn void usage(void)
{
	fputs("usage: mail_load login|fetch|idle --to IP:PORT --protocol imap|pop3 [--tls | --resume] [--sessions N] --count N\n", stderr);
	exit(1);
}

static bool options_read(int argc, char **argv)
{
	bool encrypt = false;

	for (int i = 2; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : "";

		if (!strcmp(argv[i], "--tls")) {
			encrypt = true;
			continue;
		}
		if (!strcmp(argv[i], "--resume")) {
			encrypt = resume = true;
			continue;
		}
		if (!strcmp(argv[i], "--to") && net_parse_port(value, 143, &server) == 0)
			;
		else if (!strcmp(argv[i], "--protocol"))
			pop3 = !strcmp(value, "pop3");
		else if (!strcmp(argv[i], "--sessions"))
			sessions = strtoul(value, NULL, 10);
		else if (!strcmp(argv[i], "--count"))
			count = strtoul(value, NULL, 10);
		else
			usage();
		i++;
	}
	if (!server.family || !sessions || !count)
		usage();
	return encrypt;
}

int main(int argc, char **argv)
{
	struct rlimit files;
	int status;

	if (argc < 2)
		usage();
	if (options_read(argc, argv))
		tls_open();
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	assert(loop_init() == 0);
	if (!strcmp(argv[1], "login"))
		status = run(login_task);
	else if (!strcmp(argv[1], "fetch"))
		status = run(fetch_task);
	else if (!strcmp(argv[1], "idle"))
		status = idle();
	else
		usage();
	fflush(stdout);
	_exit(status);          /* the kernel closes thousands of sockets faster than thousands of tasks unwind */
}
