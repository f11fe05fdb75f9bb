/*
 * mail_server - IMAP and POP3 servers by rote for the bench, and nginx' auth_http, on Gatepost's own tasks and streams
 *
 *     mail_server IMAP:PORT POP3:PORT AUTH:PORT BYTES|auth
 *
 * Each user may log in, in the clear; each has one message of BYTES octets, made once, which FETCH and RETR send from memory. So what stands in
 * front of it, and not it, is what is measured. AUTH answers what nginx asks: who logs in belongs to these two; with "auth" it does nothing else, and others are there.
 * Prints "ready".
 */
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/net.h"
#include "base/stream.h"
#include "base/task.h"

enum { WAIT_MS = 3600 * 1000, LINE_BYTES = 8192, TAG_BYTES = 64, BACKLOG = 8192, ACCEPTS = 64 };

static char *message;
static size_t message_bytes;
static struct net_addr imap_addr, pop3_addr;

static const char capabilities[] = "CAPABILITY IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE LITERAL+ AUTH=PLAIN AUTH=LOGIN";

static int say(struct stream *s, const char *text)
{
	return stream_write(s, text, strlen(text));
}

/* Whether the line, cut at its CRLF, has the word after the first blank. */
static bool verb_is(const char *line, const char *verb)
{
	const char *p = strchr(line, ' ');

	return p && !strncasecmp(p + 1, verb, strlen(verb));
}

/* One line without its end; literals that are announced are taken into it as lines, as nginx sends them. false: it is over. */
static bool line_get(struct stream *s, char *out, bool imap)
{
	size_t at = 0;

	for (;;) {
		const char *line;
		size_t len;

		if (stream_read_line(s, LINE_BYTES - 1, WAIT_MS, &line, &len) < 0 || at + len >= LINE_BYTES)
			return false;
		while (len && (line[len - 1] == '\n' || line[len - 1] == '\r'))
			len--;
		memcpy(out + at, line, len);
		out[at += len] = '\0';
		if (!imap || !at || out[at - 1] != '}')
			return true;
		if (out[at - 2] != '+' && say(s, "+ go on\r\n") < 0)
			return false;
	}
}

static int imap_fetch(struct stream *s, const char *tag)
{
	int rc = stream_printf(s, "* 1 FETCH (UID 1 BODY[] {%zu}\r\n", message_bytes);

	if (rc == 0)
		rc = stream_write(s, message, message_bytes);
	return rc < 0 ? rc : stream_printf(s, ")\r\n%s OK Fetch completed.\r\n", tag);
}

static int imap_select(struct stream *s, const char *tag)
{
	return stream_printf(s, "* FLAGS (\\Seen)\r\n* 1 EXISTS\r\n* OK [UIDVALIDITY 1] valid\r\n%s OK [READ-WRITE] Select completed.\r\n", tag);
}

/* 1: it was LOGOUT. */
static int imap_command(struct stream *s, char *line)
{
	char tag[TAG_BYTES], answer[LINE_BYTES];

	snprintf(tag, sizeof tag, "%.*s", (int)strcspn(line, " "), line);
	if (verb_is(line, "LOGIN"))
		return stream_printf(s, "%s OK [%s] Logged in\r\n", tag, capabilities);
	if (verb_is(line, "AUTHENTICATE")) {
		/* With an initial response there is one word more. */
		const char *mechanism = strchr(strchr(line, ' ') + 1, ' ');

		if (mechanism && !strchr(mechanism + 1, ' ') && (say(s, "+ \r\n") < 0 || !line_get(s, answer, false)))
			return -EPIPE;
		return stream_printf(s, "%s OK [%s] Logged in\r\n", tag, capabilities);
	}
	if (verb_is(line, "CAPABILITY"))
		return stream_printf(s, "* %s\r\n%s OK Capability completed.\r\n", capabilities, tag);
	if (verb_is(line, "ID"))
		return stream_printf(s, "* ID NIL\r\n%s OK ID completed.\r\n", tag);
	if (verb_is(line, "SELECT"))
		return imap_select(s, tag);
	if (verb_is(line, "FETCH") || verb_is(line, "UID FETCH"))
		return imap_fetch(s, tag);
	if (verb_is(line, "LOGOUT")) {
		stream_printf(s, "* BYE Logging out\r\n%s OK Logout completed.\r\n", tag);
		return 1;
	}
	return stream_printf(s, "%s OK done.\r\n", tag);
}

static void imap_task(void *arg)
{
	struct stream *s = arg;
	char line[LINE_BYTES];

	if (stream_printf(s, "* OK [%s] ready.\r\n", capabilities) == 0)
		while (line_get(s, line, true) && imap_command(s, line) == 0)
			;
	stream_flush(s, WAIT_MS);
	stream_free(s);
}

static int pop3_retr(struct stream *s)
{
	int rc = stream_printf(s, "+OK %zu octets\r\n", message_bytes);

	if (rc == 0)
		rc = stream_write(s, message, message_bytes);
	return rc < 0 ? rc : say(s, ".\r\n");
}

static int pop3_command(struct stream *s, char *line)
{
	char answer[LINE_BYTES];

	if (!strncasecmp(line, "CAPA", 4))
		return say(s, "+OK\r\nCAPA\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nPIPELINING\r\nUSER\r\nSASL PLAIN LOGIN\r\n.\r\n");
	if (!strncasecmp(line, "AUTH ", 5) && !strchr(line + 5, ' ') && (say(s, "+ \r\n") < 0 || !line_get(s, answer, false)))
		return -EPIPE;
	if (!strncasecmp(line, "STAT", 4))
		return stream_printf(s, "+OK 1 %zu\r\n", message_bytes);
	if (!strncasecmp(line, "RETR", 4))
		return pop3_retr(s);
	if (!strncasecmp(line, "QUIT", 4)) {
		say(s, "+OK Logging out.\r\n");
		return 1;
	}
	return say(s, "+OK\r\n");
}

static void pop3_task(void *arg)
{
	struct stream *s = arg;
	char line[LINE_BYTES];

	if (say(s, "+OK ready.\r\n") == 0)
		while (line_get(s, line, false) && pop3_command(s, line) == 0)
			;
	stream_flush(s, WAIT_MS);
	stream_free(s);
}

/* A request is headers alone, and its answer too; then it is closed, as nginx wants it. */
static void auth_task(void *arg)
{
	struct stream *s = arg;
	char line[LINE_BYTES];
	bool pop3 = false;

	while (line_get(s, line, false)) {
		if (!strcasecmp(line, "Auth-Protocol: pop3"))
			pop3 = true;
		if (*line)
			continue;
		stream_printf(s, "HTTP/1.0 200 OK\r\nAuth-Status: OK\r\nAuth-Server: 127.0.0.1\r\nAuth-Port: %d\r\n\r\n",
			      pop3 ? pop3_addr.port : imap_addr.port);
		stream_flush(s, WAIT_MS);
		break;
	}
	stream_free(s);
}

/* Listening */

static void accept_some(evutil_socket_t fd, short what, void *serve)
{
	(void)what;
	for (int i = 0; i < ACCEPTS; i++) {
		int client = accept4((int)fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct stream *s;

		if (client < 0)
			return;
		s = stream_new(client);
		if (s && task_spawn("client", *(task_fn **)serve, s, NULL) != 0)
			stream_free(s);
	}
}

static void listen_on(const struct net_addr *a, task_fn **serve)
{
	struct sockaddr_storage ss;
	socklen_t len = net_to_sockaddr(a, &ss);
	int fd = socket(a->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
	struct event *e;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (fd < 0 || bind(fd, (struct sockaddr *)&ss, len) || listen(fd, BACKLOG)) {
		perror("mail_server");
		exit(1);
	}
	e = event_new(loop_base(), fd, EV_READ | EV_PERSIST, accept_some, serve);
	assert(e && event_add(e, NULL) == 0);
}

static void message_make(size_t bytes)
{
	static const char line[] = "The quick brown fox jumps over the lazy dog, and on, and on, to the end of it.\r\n";
	static const char head[] = "From: <a@site.example>\r\nSubject: large\r\n\r\n";
	size_t width = sizeof line - 1, at = sizeof head - 1;

	message_bytes = at + (bytes - at) / width * width;
	message = malloc(message_bytes);
	assert(message);
	memcpy(message, head, at);
	for (; at < message_bytes; at += width)
		memcpy(message + at, line, width);
}

int main(int argc, char **argv)
{
	static task_fn *imap = imap_task, *pop3 = pop3_task, *auth = auth_task;
	struct net_addr auth_addr;
	struct rlimit files;
	bool auth_alone = argc == 5 && !strcmp(argv[4], "auth");

	if (argc != 5 || net_parse_port(argv[1], 143, &imap_addr) || net_parse_port(argv[2], 110, &pop3_addr) ||
	    net_parse_port(argv[3], 80, &auth_addr) || (!auth_alone && strtoul(argv[4], NULL, 10) < 1024)) {
		fputs("usage: mail_server IMAP:PORT POP3:PORT AUTH:PORT BYTES|auth\n", stderr);
		return 1;
	}
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	assert(loop_init() == 0);
	if (!auth_alone) {
		message_make(strtoul(argv[4], NULL, 10));
		listen_on(&imap_addr, &imap);
		listen_on(&pop3_addr, &pop3);
	}
	listen_on(&auth_addr, &auth);
	puts("ready");
	fflush(stdout);
	loop_run();
	return 0;
}
