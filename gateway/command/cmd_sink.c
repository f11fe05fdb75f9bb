#include "command/cmd_sink.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/stream.h"
#include "base/task.h"
#include "smtp/smtp_command.h"
#include "smtp/smtp_data.h"
#include "smtp/smtp_reply.h"

enum {
	WAIT_MS = 5 * 60 * 1000,        /* RFC 5321 4.5.3.2.7 */
	LINE_MAX_BYTES = 4096,
	RCPT_MAX = 1000,
	LIST_MAX = 64,                  /* --reject, --accept */
	ERRORS_MAX = 50,
	SIZE_MAX_BYTES = 200 * 1024 * 1024,
	SESSIONS_MAX = 2000,
};

struct sink {
	struct net_addr listen;
	const char *maildir;
	const char *hostname;
	const char *reject[LIST_MAX], *accept[LIST_MAX];
	size_t reject_count, accept_count;
	int fd;
	int tmp_fd, new_fd;             /* directories */
	unsigned long serial;
};

/* One connection. */
struct visit {
	struct sink *sink;
	struct stream *stream;
	struct smtp_command command;
	char peer[NET_TEXT_MAX];
	char helo[SMTP_DOMAIN_MAX + 1];
	bool esmtp, utf8, in_mail, done;
	int errors;
	char from[sizeof(((struct smtp_mailbox *)0)->text)];
	char *rcpt[RCPT_MAX];
	size_t rcpt_count;

	/* the message under way */
	char name[128];
	int fd;                         /* -1: none */
	uint64_t size;
	int error;                      /* first failure of a write */
	struct buf out;
};

static int say(struct visit *v, const char *line)
{
	return stream_printf(v->stream, "%s\r\n", line);
}

/* --- the Maildir --- */

static int maildir_open(struct sink *s)
{
	static const char *const parts[] = { "tmp", "new", "cur" };
	int dir, rc = 0;

	if (mkdir(s->maildir, 0700) < 0 && errno != EEXIST)
		return -errno;
	dir = open(s->maildir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return -errno;
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]) && rc == 0; i++)
		if (mkdirat(dir, parts[i], 0700) < 0 && errno != EEXIST)
			rc = -errno;
	s->tmp_fd = openat(dir, "tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	s->new_fd = openat(dir, "new", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (rc == 0 && (s->tmp_fd < 0 || s->new_fd < 0))
		rc = -errno;
	close(dir);
	return rc;
}

static void message_flush(struct visit *v)
{
	size_t done = 0;

	while (v->error == 0 && done < v->out.len) {
		ssize_t n = write(v->fd, v->out.data + done, v->out.len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			v->error = errno;
		else
			done += (size_t)n;
	}
	buf_clear(&v->out);
}

static void message_write(struct visit *v, const char *p, size_t len)
{
	v->size += len;
	if (v->size > SIZE_MAX_BYTES && v->error == 0)
		v->error = EFBIG;
	if (v->error)
		return;
	if (v->out.len + len > v->out.max)
		message_flush(v);
	if (buf_add(&v->out, p, len) < 0)
		v->error = ENOMEM;
}

static void message_begin(struct visit *v)
{
	char date[64];
	time_t now = (time_t)clock_wall_s();
	struct tm tm;
	AUTO(buf) struct buf head = BUF_INIT(4 * 1024 * 1024);

	v->error = 0;
	v->size = 0;
	buf_release(&v->out);
	buf_init(&v->out, STREAM_CHUNK + 4096);
	snprintf(v->name, sizeof(v->name), "%lld.%d_%lu.%.60s", (long long)now, (int)getpid(), ++v->sink->serial, v->sink->hostname);
	v->fd = openat(v->sink->tmp_fd, v->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (v->fd < 0)
		v->error = errno;
	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S +0000", gmtime_r(&now, &tm));
	buf_addf(&head, "Return-Path: <%s>\r\n", v->from);
	for (size_t i = 0; i < v->rcpt_count; i++)
		buf_addf(&head, "Delivered-To: %s\r\n", v->rcpt[i]);
	buf_addf(&head, "Received: from %s ([%s]) by %s with %s;\r\n\t%s\r\n", v->helo, v->peer, v->sink->hostname,
		 v->esmtp ? "ESMTP" : "SMTP", date);
	for (size_t off = 0; off < head.len; off += STREAM_CHUNK)
		message_write(v, head.data + off, head.len - off < STREAM_CHUNK ? head.len - off : STREAM_CHUNK);
}

static void message_drop(struct visit *v)
{
	if (v->fd >= 0) {
		close(v->fd);
		unlinkat(v->sink->tmp_fd, v->name, 0);
	}
	v->fd = -1;
	buf_release(&v->out);
}

/* On stable storage, with its name, before the 250. */
static void message_keep(struct visit *v)
{
	message_flush(v);
	if (v->error == 0 && (fsync(v->fd) < 0 || renameat(v->sink->tmp_fd, v->name, v->sink->new_fd, v->name) < 0 ||
			      fsync(v->sink->new_fd) < 0))
		v->error = errno;
	if (v->error == 0) {
		close(v->fd);
		v->fd = -1;
	}
}

static void transaction_reset(struct visit *v)
{
	message_drop(v);
	for (size_t i = 0; i < v->rcpt_count; i++)
		free(v->rcpt[i]);
	v->rcpt_count = 0;
	v->in_mail = v->utf8 = false;
}

static int message_answer(struct visit *v)
{
	int rc;

	message_keep(v);
	if (v->error == EFBIG)
		rc = say(v, "552 5.3.4 Message too big");
	else if (v->error)
		rc = stream_printf(v->stream, "451 4.3.0 Could not be stored: %s\r\n", strerror(v->error));
	else
		rc = stream_printf(v->stream, "250 2.0.0 Kept as %s\r\n", v->name);
	if (v->error == 0) {
		char rcpts[16];

		snprintf(rcpts, sizeof(rcpts), "%zu", v->rcpt_count);
		log_info("kept", "from", v->from, "to", v->rcpt[0], "rcpts", rcpts, "name", v->name, NULL);
	}
	transaction_reset(v);
	return rc;
}

/* --- the commands --- */

static int do_ehlo(struct visit *v)
{
	struct smtp_command *c = &v->command;

	transaction_reset(v);
	snprintf(v->helo, sizeof(v->helo), "%s", c->helo);
	v->esmtp = c->verb == VERB_EHLO;
	if (!v->esmtp)
		return stream_printf(v->stream, "250 %s\r\n", v->sink->hostname);
	return stream_printf(v->stream,
			     "250-%s\r\n250-SIZE %d\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-PIPELINING\r\n250-CHUNKING\r\n"
			     "250 ENHANCEDSTATUSCODES\r\n",
			     v->sink->hostname, SIZE_MAX_BYTES);
}

static int do_mail(struct visit *v)
{
	struct smtp_command *c = &v->command;

	if (!v->helo[0])
		return say(v, "503 5.5.1 EHLO first");
	if (v->in_mail)
		return say(v, "503 5.5.1 There is a sender already");
	if (c->has_size && c->size > SIZE_MAX_BYTES)
		return say(v, "552 5.3.4 Message too big");
	snprintf(v->from, sizeof(v->from), "%s", c->path.text);
	v->in_mail = true;
	v->utf8 = c->smtputf8;
	return say(v, "250 2.1.0 Sender ok");
}

static bool in_list(const char *const *list, size_t count, const char *text)
{
	for (size_t i = 0; i < count; i++)
		if (strcasecmp(list[i], text) == 0)
			return true;
	return false;
}

static int do_rcpt(struct visit *v)
{
	const char *to = v->command.path.text;
	struct sink *s = v->sink;

	if (!v->in_mail)
		return say(v, "503 5.5.1 MAIL first");
	if (in_list(s->reject, s->reject_count, to) || (s->accept_count > 0 && !in_list(s->accept, s->accept_count, to)))
		return say(v, "550 5.1.1 No such user here");
	if (v->rcpt_count == RCPT_MAX)
		return say(v, "452 4.5.3 Too many recipients");
	v->rcpt[v->rcpt_count] = strdup(to);
	if (!v->rcpt[v->rcpt_count])
		return say(v, "451 4.3.0 Out of memory");
	v->rcpt_count++;
	return say(v, "250 2.1.5 Recipient ok");
}

static int do_data(struct visit *v)
{
	enum smtp_data_event e = DATA_MORE;
	struct smtp_data d;
	int rc;

	if (v->rcpt_count == 0 || v->fd >= 0)
		return say(v, v->fd >= 0 ? "503 5.5.1 BDAT was begun" : "503 5.5.1 RCPT first");
	rc = say(v, "354 End with CRLF.CRLF");
	message_begin(v);
	smtp_data_init(&d, false);
	while (rc >= 0 && e != DATA_END && e != DATA_SMUGGLED) {
		const char *p, *out;
		size_t len, used, n, at = 0;

		rc = stream_peek(v->stream, WAIT_MS, &p, &len);
		if (rc < 0)
			return rc;
		while (at < len && e != DATA_END && e != DATA_SMUGGLED) {
			e = smtp_data_decode(&d, p + at, len - at, &used, &out, &n);
			if (n > 0)
				message_write(v, out, n);
			at += used;
		}
		stream_eat(v->stream, at);
	}
	if (rc < 0)
		return rc;
	if (e == DATA_SMUGGLED) {
		v->done = true;
		return say(v, "550 5.5.2 A dot beside a bare CR or LF");
	}
	return message_answer(v);
}

static int do_bdat(struct visit *v)
{
	uint64_t left = v->command.chunk;
	bool last = v->command.last, takes = v->rcpt_count > 0;

	if (takes && v->fd < 0)
		message_begin(v);
	while (left > 0) {
		const char *p;
		size_t len;
		int rc = stream_peek(v->stream, WAIT_MS, &p, &len);

		if (rc < 0)
			return rc;
		if (len > left)
			len = (size_t)left;
		if (takes)
			message_write(v, p, len);
		stream_eat(v->stream, len);
		left -= len;
	}
	if (!takes)
		return say(v, "503 5.5.1 RCPT first");
	return last ? message_answer(v) : say(v, "250 2.0.0 Go on");
}

static int dispatch(struct visit *v)
{
	switch (v->command.verb) {
	case VERB_EHLO:
	case VERB_HELO:
		return do_ehlo(v);
	case VERB_MAIL:
		return do_mail(v);
	case VERB_RCPT:
		return do_rcpt(v);
	case VERB_DATA:
		return do_data(v);
	case VERB_BDAT:
		return do_bdat(v);
	case VERB_RSET:
		transaction_reset(v);
		return say(v, "250 2.0.0 Reset");
	case VERB_NOOP:
		return say(v, "250 2.0.0 Ok");
	case VERB_VRFY:
		return say(v, "252 2.5.2 Try RCPT");
	case VERB_HELP:
		return say(v, "214 2.0.0 RFC 5321");
	case VERB_QUIT:
		v->done = true;
		return say(v, "221 2.0.0 Bye");
	default:
		return say(v, "502 5.5.1 Not here");
	}
}

static void converse(struct visit *v)
{
	int rc = stream_printf(v->stream, "220 %s ESMTP\r\n", v->sink->hostname);

	while (rc >= 0 && !v->done) {
		const char *line;
		char text[128];
		size_t len;
		enum smtp_command_error e;

		rc = stream_read_line(v->stream, LINE_MAX_BYTES, WAIT_MS, &line, &len);
		if (rc == -EMSGSIZE) {
			rc = say(v, "500 5.5.2 Line too long");
			e = COMMAND_LONG;
		} else if (rc < 0) {
			break;
		} else {
			e = smtp_command_parse(line, len, v->utf8, &v->command);
			rc = e == COMMAND_OK ? dispatch(v) : say(v, smtp_command_reply(&v->command, e, text, sizeof(text)));
		}
		if (e != COMMAND_OK && ++v->errors > ERRORS_MAX)
			v->done = true;
	}
	stream_flush(v->stream, WAIT_MS);
	stream_close(v->stream, 1000);
}

static void visit_task(void *arg)
{
	struct visit *v = arg;

	converse(v);
	transaction_reset(v);
	stream_free(v->stream);
	free(v);
}

static void accept_event(evutil_socket_t fd, short what, void *arg)
{
	struct sink *s = arg;

	for (;;) {
		struct sockaddr_storage sa;
		socklen_t len = sizeof(sa);
		int c = accept4(fd, (struct sockaddr *)&sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct net_addr peer;
		struct visit *v;

		if (c < 0)
			return;
		v = task_count() < SESSIONS_MAX ? calloc(1, sizeof(*v)) : NULL;
		if (!v) {
			close(c);
			continue;
		}
		net_from_sockaddr((struct sockaddr *)&sa, &peer);
		net_text(&peer, v->peer);
		v->sink = s;
		v->fd = -1;
		v->stream = stream_new(c);
		if (!v->stream || task_spawn("sink", visit_task, v, NULL) < 0) {
			stream_free(v->stream);
			free(v);
		}
	}
}

static void stop_event(evutil_socket_t fd, short what, void *arg)
{
	loop_stop();
}

static int listen_on(struct sink *s)
{
	struct sockaddr_storage sa;
	socklen_t len = net_to_sockaddr(&s->listen, &sa);
	char text[NET_TEXT_MAX];
	int one = 1;

	s->fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->fd < 0)
		return -errno;
	setsockopt(s->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(s->fd, (struct sockaddr *)&sa, len) < 0 || listen(s->fd, 1024) < 0)
		return -errno;
	len = sizeof(sa);
	getsockname(s->fd, (struct sockaddr *)&sa, &len);
	net_from_sockaddr((struct sockaddr *)&sa, &s->listen);
	log_info("listening", "address", net_text_port(&s->listen, text), "maildir", s->maildir, NULL);
	return 0;
}

static const char help[] =
	"usage: gatepost sink --listen ADDR:PORT --maildir DIR [--hostname NAME] [--reject ADDR ...] [--accept ADDR ...]\n"
	"\n"
	"A small mail server that keeps what it is given in a Maildir, for demonstrations and tests.\n"
	"\n"
	"      --listen ADDR:PORT  where to listen\n"
	"      --maildir DIR       where to keep messages; made if it is not there\n"
	"      --hostname NAME     what it calls itself\n"
	"      --reject ADDR       no such user: may be repeated\n"
	"      --accept ADDR       the only users there are: may be repeated\n"
	"  -h, --help              this text\n";

static int usage(const char *why, const char *what)
{
	fprintf(stderr, "gatepost sink: %s%s%s\n%s", why, what ? " " : "", what ? what : "", help);
	return 1;
}

/* 0; 1: said on stderr; -1: help was asked for. */
static int options(struct sink *s, int argc, char **argv)
{
	static const struct option names[] = {
		{ "listen", required_argument, NULL, 'l' }, { "maildir", required_argument, NULL, 'm' },
		{ "hostname", required_argument, NULL, 'n' }, { "reject", required_argument, NULL, 'r' },
		{ "accept", required_argument, NULL, 'a' }, { "help", no_argument, NULL, 'h' }, { 0 },
	};
	bool listening = false;
	int o;

	optind = 1;
	opterr = 0;
	while ((o = getopt_long(argc, argv, "h", names, NULL)) != -1) {
		if (o == 'l') {
			if (net_parse_port(optarg, 25, &s->listen) < 0)
				return usage("--listen wants ADDR:PORT, not", optarg);
			listening = true;
		} else if (o == 'm') {
			s->maildir = optarg;
		} else if (o == 'h') {
			fputs(help, stdout);
			return -1;
		} else if (o == 'n') {
			s->hostname = optarg;
		} else if (o == 'r' && s->reject_count < LIST_MAX) {
			s->reject[s->reject_count++] = optarg;
		} else if (o == 'a' && s->accept_count < LIST_MAX) {
			s->accept[s->accept_count++] = optarg;
		} else {
			return usage("wrong option", argv[optind - 1]);
		}
	}
	if (optind < argc)
		return usage("nothing is expected after the options, but there is", argv[optind]);
	if (strchr(s->hostname, '/') || !s->hostname[0])        /* it becomes part of file names */
		return usage("--hostname wants a host name, not", s->hostname);
	if (!listening || !s->maildir)
		return usage("--listen and --maildir are needed", NULL);
	return 0;
}

int cmd_sink(int argc, char **argv)
{
	struct sink s = { .hostname = "sink.invalid", .fd = -1, .tmp_fd = -1, .new_fd = -1 };
	struct event *accepting, *term, *interrupt;
	int rc = options(&s, argc, argv);

	if (rc != 0)
		return rc < 0 ? 0 : rc;
	log_open("gatepost[sink]", LOG_LEVEL_INFO);
	signal(SIGPIPE, SIG_IGN);
	rc = maildir_open(&s);
	if (rc == 0)
		rc = loop_init();
	if (rc == 0)
		rc = listen_on(&s);
	if (rc < 0) {
		log_error("sink", "why", strerror(-rc), "maildir", s.maildir, NULL);
		return 1;
	}
	accepting = event_new(loop_base(), s.fd, EV_READ | EV_PERSIST, accept_event, &s);
	term = evsignal_new(loop_base(), SIGTERM, stop_event, NULL);
	interrupt = evsignal_new(loop_base(), SIGINT, stop_event, NULL);
	if (!accepting || !term || !interrupt)
		return 1;
	event_add(accepting, NULL);
	event_add(term, NULL);
	event_add(interrupt, NULL);
	loop_run();
	event_free(accepting);
	event_free(term);
	event_free(interrupt);
	loop_release();
	close(s.fd);
	close(s.tmp_fd);
	close(s.new_fd);
	return 0;
}
