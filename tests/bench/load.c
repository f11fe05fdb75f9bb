/*
 * load - SMTP clients for the bench, on Gatepost's own tasks and streams
 *
 *     load run  --to IP:PORT --set PATH [--sessions N] [--messages N] [--first N] [--per-session N]
 *     load idle --to IP:PORT --set PATH --count N [--tls | --message]
 *
 * PATH.dat and PATH.idx are a set of corpus.c. `run` keeps N sessions open until the messages have been sent, each
 * session from its sender's address, and prints one line of JSON: messages per second, the median and 99th percentile
 * of the answer to end-of-DATA and of the whole session (connect to QUIT's answer) in milliseconds, replies by code.
 *
 * `idle` opens N sessions up to the answer to EHLO (after STARTTLS; after a whole message), prints {"held":N}, and holds them
 * until its standard input ends; then it prints how many were still open.
 */
#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/net.h"
#include "base/stream.h"
#include "base/task.h"
#include "base/tls.h"

enum { WAIT_MS = 300 * 1000, CODES = 1000, OPENING_MAX = 100 };

struct mail {
	size_t offset, bytes;
	struct net_addr source;
	char *helo, *from, *to;
};

static struct mail *mails;
static size_t mail_count;
static const char *mail_data;

static struct net_addr server;
static struct ssl_ctx_st *tls;

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void set_load(const char *path)
{
	char name[4096], line[1024], source[64], helo[256], from[320], to[320];
	struct stat st;
	FILE *f;
	int fd;

	snprintf(name, sizeof name, "%s.idx", path);
	f = fopen(name, "r");
	if (!f)
		die(name);
	while (fgets(line, sizeof line, f)) {
		struct mail m;

		mails = realloc(mails, (mail_count + 1) * sizeof *mails);
		assert(mails);
		if (sscanf(line, "%zu %zu %63s %255s %319s %319s", &m.offset, &m.bytes, source, helo, from, to) != 6 ||
		    net_parse(source, &m.source))
			die(line);
		m.helo = strdup(helo);
		m.from = strdup(from);
		m.to = strdup(to);
		mails[mail_count++] = m;
	}
	fclose(f);
	snprintf(name, sizeof name, "%s.dat", path);
	fd = open(name, O_RDONLY);
	if (fd < 0 || fstat(fd, &st))
		die(name);
	mail_data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	if (mail_data == MAP_FAILED)
		die(name);
	close(fd);
}

/* The dialogue. Each returns the reply's code, or -errno. */

static unsigned long replies[CODES], failures;
static int words_shown;

static int reply_read(struct stream *s)
{
	const char *line;
	size_t len;
	int code = 0, rc;

	do {
		rc = stream_read_line(s, 4096, WAIT_MS, &line, &len);
		if (rc < 0)
			return rc;
		if (len < 5)
			return -EPROTO;
		code = (line[0] - '0') * 100 + (line[1] - '0') * 10 + line[2] - '0';
	} while (line[3] == '-');
	if (code < 0 || code >= CODES)
		return -EPROTO;
	replies[code]++;
	if (code >= 400 && words_shown++ < 5)
		fprintf(stderr, "load: %.*s", (int)len, line);
	return code;
}

static int command(struct stream *s, const char *line)
{
	int rc = stream_write(s, line, strlen(line));

	return rc < 0 ? rc : reply_read(s);
}

static int greet(struct stream *s, const struct mail *m, bool encrypt)
{
	char line[512];
	int code = reply_read(s);

	snprintf(line, sizeof line, "EHLO %s\r\n", m->helo);
	if (code == 220)
		code = command(s, line);
	if (encrypt && code == 250) {
		code = command(s, "STARTTLS\r\n");
		if (code != 220)
			return code;
		code = stream_tls_connect(s, tls, "gate.site.example", WAIT_MS);
		if (code == 0)
			code = command(s, line);
	}
	return code;
}

/* MAIL, RCPT and DATA leave together (RFC 2920), as big senders do it. */
static int message_send(struct stream *s, const struct mail *m, float *dot_ms)
{
	int mail, rcpt, data, rc;
	double start;

	rc = stream_printf(s, "MAIL FROM:<%s>\r\nRCPT TO:<%s>\r\nDATA\r\n", m->from, m->to);
	if (rc < 0)
		return rc;
	mail = reply_read(s);
	rcpt = mail < 0 ? mail : reply_read(s);
	data = rcpt < 0 ? rcpt : reply_read(s);
	if (data != 354)
		return data < 0 ? data : rcpt != 250 ? rcpt : data;
	rc = stream_write(s, mail_data + m->offset, m->bytes);
	if (rc < 0)
		return rc;
	rc = stream_write(s, ".\r\n", 3);
	if (rc == 0)
		rc = stream_flush(s, WAIT_MS);
	if (rc < 0)
		return rc;
	start = now_ms();
	rc = reply_read(s);
	*dot_ms = (float)(now_ms() - start);
	return rc;
}

/* run */

static size_t next_message, end_message, per_session = 1, sessions_left;
static float *dot_ms, *session_ms;
static size_t dots, sessions_done;
static double bytes_sent;

static int session_run(void)
{
	size_t first = next_message, n = per_session;
	const struct mail *m = &mails[first % mail_count];
	struct net_addr source = m->source;
	struct stream *s;
	double start = now_ms();
	float ms;
	int rc;

	if (n > end_message - first)
		n = end_message - first;
	next_message += n;
	rc = stream_connect(&server, &source, WAIT_MS, &s);
	if (rc < 0)
		return rc;
	rc = greet(s, m, false);
	for (size_t i = 0; rc == 250 && i < n; i++) {
		m = &mails[(first + i) % mail_count];
		rc = message_send(s, m, &ms);
		if (rc == 250) {
			dot_ms[dots++] = ms;
			bytes_sent += (double)m->bytes;
		}
	}
	if (rc == 250)
		rc = command(s, "QUIT\r\n");
	stream_free(s);
	if (rc == 221)
		session_ms[sessions_done++] = (float)(now_ms() - start);
	return rc == 221 ? 0 : rc < 0 ? rc : -EPROTO;
}

static void session_task(void *arg)
{
	(void)arg;
	while (next_message < end_message) {
		int rc = session_run();

		if (rc < 0) {
			failures++;
			if (words_shown++ < 5)
				fprintf(stderr, "load: %s\n", strerror(-rc));
		}
	}
	if (--sessions_left == 0)
		loop_stop();
}

static int float_order(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return x < y ? -1 : x > y;
}

static double percentile(const float *sorted, size_t n, double p)
{
	return n ? (double)sorted[(size_t)(p * (double)(n - 1) + 0.5)] : 0;
}

static void run_print(double seconds)
{
	qsort(dot_ms, dots, sizeof *dot_ms, float_order);
	qsort(session_ms, sessions_done, sizeof *session_ms, float_order);
	printf("{\"messages\":%zu,\"failures\":%lu,\"seconds\":%.3f,\"rate\":%.1f,\"megabytes\":%.1f,"
	       "\"dot_p50\":%.2f,\"dot_p99\":%.2f,\"session_p50\":%.2f,\"session_p99\":%.2f,\"session_max\":%.2f,\"replies\":{",
	       dots, failures, seconds, (double)dots / seconds, bytes_sent / 1e6, percentile(dot_ms, dots, 0.5),
	       percentile(dot_ms, dots, 0.99), percentile(session_ms, sessions_done, 0.5),
	       percentile(session_ms, sessions_done, 0.99), percentile(session_ms, sessions_done, 1));
	for (int i = 0, comma = 0; i < CODES; i++)
		if (replies[i])
			printf("%s\"%d\":%lu", comma++ ? "," : "", i, replies[i]);
	puts("}}");
}

static int run(size_t sessions, size_t first, size_t count)
{
	double start;

	next_message = first;
	end_message = first + count;
	dot_ms = calloc(count, sizeof *dot_ms);
	session_ms = calloc(count, sizeof *session_ms);
	assert(dot_ms && session_ms);
	sessions_left = sessions;
	for (size_t i = 0; i < sessions; i++)
		assert(task_spawn("session", session_task, NULL, NULL) == 0);
	start = now_ms();
	loop_run();
	run_print((now_ms() - start) / 1e3);
	free(dot_ms);
	free(session_ms);
	return failures ? 2 : 0;
}

/* idle */

static size_t idle_opened, idle_held, idle_count;
static bool idle_message;
static struct gate idle_gate = { .limit = OPENING_MAX };

static void idle_task(void *arg)
{
	const struct mail *m = arg;
	struct net_addr source = m->source;
	struct stream *s = NULL;
	float ms;
	int rc;

	if (gate_enter(&idle_gate, -1))
		return;
	rc = stream_connect(&server, &source, WAIT_MS, &s);
	if (rc == 0)
		rc = greet(s, m, tls != NULL);
	if (rc == 250 && idle_message)
		rc = message_send(s, m, &ms);
	gate_leave(&idle_gate);
	if (rc == 250)
		idle_held++;
	else
		fprintf(stderr, "load: %s\n", rc < 0 ? strerror(-rc) : "refused");
	if (++idle_opened == idle_count) {
		printf("{\"held\":%zu}\n", idle_held);
		fflush(stdout);
	}
	if (rc == 250) {
		if (stream_wait_readable(s, -1) == 0)
			idle_held--;
	}
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

static int idle(size_t count)
{
	struct event *over = event_new(loop_base(), 0, EV_READ | EV_PERSIST, idle_over, NULL);

	idle_count = count;
	assert(over && event_add(over, NULL) == 0);
	for (size_t i = 0; i < count; i++)
		assert(task_spawn("idle", idle_task, &mails[i % mail_count], NULL) == 0);
	loop_run();
	printf("{\"left\":%zu}\n", idle_held);
	event_free(over);
	return idle_held == count ? 0 : 2;
}

static _Noreturn void usage(void)
{
	fputs("usage: load run|idle --to IP:PORT --set PATH ...\n", stderr);
	exit(1);
}

static size_t option_sessions = 1, option_messages, option_first, option_count;
static bool option_tls;

static void option_value(const char *name, const char *value)
{
	static const struct {
		const char *name;
		size_t *to;
	} numbers[] = {
		{ "--sessions", &option_sessions }, { "--messages", &option_messages }, { "--first", &option_first },
		{ "--per-session", &per_session },  { "--count", &option_count },
	};

	if (!strcmp(name, "--to")) {
		if (net_parse_port(value, 25, &server))
			usage();
		return;
	}
	if (!strcmp(name, "--set")) {
		set_load(value);
		return;
	}
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
		if (!strcmp(name, numbers[i].name)) {
			*numbers[i].to = strtoul(value, NULL, 10);
			return;
		}
	}
	usage();
}

static void options_read(int argc, char **argv)
{
	for (int i = 2; i < argc; i++) {
		if (!strcmp(argv[i], "--tls"))
			option_tls = true;
		else if (!strcmp(argv[i], "--message"))
			idle_message = true;
		else if (i + 1 < argc)
			option_value(argv[i], argv[i + 1]), i++;
		else
			usage();
	}
	if (!server.family || !mail_count || !option_sessions || !per_session)
		usage();
}

int main(int argc, char **argv)
{
	struct rlimit files;
	int status;

	if (argc < 2)
		usage();
	options_read(argc, argv);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	assert(loop_init() == 0);
	if (option_tls) {
		struct buf why = BUF_INIT(512);

		assert(tls_client_ctx(false, NULL, &tls, &why) == 0);
	}
	if (!strcmp(argv[1], "run"))
		status = run(option_sessions, option_first, option_messages ? option_messages : mail_count);
	else if (!strcmp(argv[1], "idle") && option_count)
		status = idle(option_count);
	else
		usage();
	fflush(stdout);
	_exit(status);          /* the kernel closes thousands of sockets faster than thousands of tasks unwind */
}
