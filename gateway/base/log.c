#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
	LINE_MAX_BYTES = 8192,
	LINE_ROOM = LINE_MAX_BYTES - 16, /* values stop here: "..." a quote and the LF still fit */
};

/*
 * How a write is kept from blocking. The flags of descriptor 2 belong to everybody who shares it
 * (the shell, too), so it is not made non-blocking: a pipe or terminal is opened anew, a socket is
 * sent to with a flag, a file does not block.
 */
enum log_sink { SINK_POLL, SINK_SOCKET, SINK_FILE, SINK_OWN };

static struct {
	char process[64];
	enum log_level level;
	bool opened, journal, colour;
	enum log_sink sink;
	int fd;    /* 2, or our own of SINK_OWN */
	bool torn; /* the last write was cut short: its line has no LF yet */
	uint64_t dropped, dropped_told;
} out = { .process = "gatepost", .level = LOG_LEVEL_INFO, .fd = -1 };

static const struct {
	const char *name, *colour;
	char priority; /* of syslog, sd-daemon(3) */
} levels[] = {
	[LOG_LEVEL_ERROR] = { "error", "\033[31m", '3' },
	[LOG_LEVEL_WARNING] = { "warning", "\033[33m", '4' },
	[LOG_LEVEL_NOTICE] = { "notice", "\033[1m", '5' },
	[LOG_LEVEL_INFO] = { "info", "", '6' },
	[LOG_LEVEL_DEBUG] = { "debug", "\033[2m", '7' },
};

/*
 * $JOURNAL_STREAM names the journal's socket; stderr may have been sent elsewhere since
 * (systemd.exec(5)).
 */
static bool stderr_is_journal(const struct stat *st)
{
	const char *v = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;

	return v && sscanf(v, "%llu:%llu", &dev, &ino) == 2 && dev == st->st_dev &&
	       ino == st->st_ino;
}

static void sink_open(void)
{
	struct stat st;
	int fd;

	if (out.sink == SINK_OWN && out.fd > STDERR_FILENO)
		close(out.fd);
	out.opened = true;
	out.fd = STDERR_FILENO;
	out.sink = SINK_POLL;
	out.journal = out.colour = out.torn = false;
	if (fstat(STDERR_FILENO, &st) != 0)
		return;
	out.journal = stderr_is_journal(&st);
	out.colour = isatty(STDERR_FILENO) && !getenv("NO_COLOR");
	if (S_ISSOCK(st.st_mode)) {
		out.sink = SINK_SOCKET;
		return;
	}
	if (S_ISREG(st.st_mode)) {
		out.sink = SINK_FILE;
		return;
	}
	fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd >= 0) {
		out.fd = fd;
		out.sink = SINK_OWN;
	}
}

void log_open(const char *process, enum log_level level)
{
	snprintf(out.process, sizeof(out.process), "%s", process);
	out.level = level;
	sink_open();
}

/* All of iov or part of it, or -1; never waits. */
static ssize_t sink_write(struct iovec *iov, int count)
{
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = (size_t)count };
	struct pollfd p = { .fd = out.fd, .events = POLLOUT };

	switch (out.sink) {
	case SINK_SOCKET:
		return sendmsg(out.fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	case SINK_POLL:
		/*
		 * A pipe that is writable takes PIPE_BUF bytes without waiting; longer lines take
		 * their chance.
		 */
		if (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT)) {
			errno = EAGAIN;
			return -1;
		}
		return writev(out.fd, iov, count);
	case SINK_FILE:
	case SINK_OWN:
		break;
	}
	return writev(out.fd, iov, count);
}

/* One write for the line; whether it is out. A line that was torn before is ended first. */
static bool line_write(const char *p, size_t len)
{
	struct iovec iov[2] = { { .iov_base = "\n", .iov_len = out.torn ? 1 : 0 },
				{ .iov_base = (char *)p, .iov_len = len } };
	ssize_t want = (ssize_t)(len + iov[0].iov_len), n;

	do {
		n = sink_write(iov, 2);
	} while (n < 0 && errno == EINTR);
	if (n <= 0) {
		out.dropped++;
		return false;
	}
	out.torn = n < want;
	if (out.torn)
		out.dropped++;
	return !out.torn;
}

static bool line_on(const struct log_line *l)
{
	return l->level <= out.level;
}

/* "2026-03-01T12:00:00", made once a second. */
static const char *second_text(time_t second)
{
	static char text[32];
	static time_t made;
	struct tm tm;

	if (second != made || !*text) {
		gmtime_r(&second, &tm);
		strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
		made = second;
	}
	return text;
}

static void line_prefix(struct log_line *l)
{
	struct buf *b = &l->text;
	struct timespec ts;
	int ms;

	if (out.journal) {
		buf_addf(b, "<%c>%s:", levels[l->level].priority, out.process);
		return;
	}
	clock_gettime(CLOCK_REALTIME, &ts);
	ms = (int)(ts.tv_nsec / 1000000);
	buf_adds(b, second_text(ts.tv_sec));
	buf_add(b, (char[]){ '.', (char)('0' + ms / 100), (char)('0' + ms / 10 % 10), (char)('0' + ms % 10), 'Z', ' ' }, 6);
	if (out.colour)
		buf_adds(b, levels[l->level].colour);
	buf_adds(b, levels[l->level].name);
	if (out.colour && *levels[l->level].colour)
		buf_adds(b, "\033[0m");
	buf_addc(b, ' ');
	buf_adds(b, out.process);
	buf_addc(b, ':');
}

void log_start(struct log_line *l, enum log_level level, const char *event)
{
	*l = (struct log_line){ .level = level, .text = BUF_INIT(LINE_MAX_BYTES) };
	if (!line_on(l))
		return;
	if (!out.opened)
		sink_open();
	(void)buf_reserve(&l->text, 500);       /* as a rule it does not grow */
	line_prefix(l);
	log_str(l, "event", event);
}

void log_str(struct log_line *l, const char *key, const char *value)
{
	if (value)
		log_bytes(l, key, value, strlen(value));
}

static bool needs_quotes(const unsigned char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i] <= ' ' || p[i] >= 0x7f || p[i] == '"' || p[i] == '\\')
			return true;
	return len == 0;
}

static size_t escape(unsigned char c, char *e)
{
	static const char hex[] = "0123456789abcdef";
	static const char special[] = "\"\\\n\r\t", letter[] = "\"\\nrt";
	const char *p = c ? strchr(special, c) : NULL;

	e[0] = '\\';
	if (p) {
		e[1] = letter[p - special];
		return 2;
	}
	if (c >= ' ' && c < 0x7f) {
		e[0] = (char)c;
		return 1;
	}
	e[1] = 'x';
	e[2] = hex[c >> 4];
	e[3] = hex[c & 15];
	return 4;
}

void log_bytes(struct log_line *l, const char *key, const void *p, size_t len)
{
	const unsigned char *value = p;
	struct buf *b = &l->text;
	size_t key_len = strlen(key);
	bool quotes;

	/* A key without room for a little of its value is left out. */
	if (!line_on(l) || b->len + key_len + 32 > LINE_ROOM)
		return;
	quotes = needs_quotes(value, len);
	buf_addc(b, ' ');
	buf_add(b, key, key_len);
	buf_addc(b, '=');
	if (!quotes && b->len + len <= LINE_ROOM) {
		buf_add(b, value, len);
		return;
	}
	buf_addc(b, '"');
	for (size_t i = 0; i < len; i++) {
		char e[4];
		size_t n = escape(value[i], e);

		if (b->len + n > LINE_ROOM) {
			buf_adds(b, "...");
			break;
		}
		buf_add(b, e, n);
	}
	buf_addc(b, '"');
}

void log_num(struct log_line *l, const char *key, int64_t value)
{
	uint64_t left = value < 0 ? -(uint64_t)value : (uint64_t)value;
	char text[24], *p = text + sizeof(text);

	do {
		*--p = (char)('0' + left % 10);
		left /= 10;
	} while (left);
	if (value < 0)
		*--p = '-';
	log_bytes(l, key, p, (size_t)(text + sizeof(text) - p));
}

/* Tell of lines that were dropped as soon as there is room again. */
static void dropped_tell(void)
{
	struct log_line l = { .level = LOG_LEVEL_WARNING, .text = BUF_INIT(LINE_MAX_BYTES) };
	uint64_t lines = out.dropped;

	line_prefix(&l);
	buf_addf(&l.text, " event=log_dropped lines=%llu\n",
		 (unsigned long long)(lines - out.dropped_told));
	if (!l.text.failed && line_write(l.text.data, l.text.len))
		out.dropped_told = lines;
	buf_release(&l.text);
}

void log_emit(struct log_line *l)
{
	if (!line_on(l))
		return;
	buf_addc(&l->text, '\n');
	if (l->text.failed)
		out.dropped++;
	else if (line_write(l->text.data, l->text.len) && out.dropped != out.dropped_told)
		dropped_tell();
	buf_release(&l->text);
}

static void log_pairs(enum log_level level, const char *event, va_list ap)
{
	struct log_line l;
	const char *key;

	log_start(&l, level, event);
	while ((key = va_arg(ap, const char *)))
		log_str(&l, key, va_arg(ap, const char *));
	log_emit(&l);
}

void log_error(const char *event, ...)
{
	va_list ap;

	va_start(ap, event);
	log_pairs(LOG_LEVEL_ERROR, event, ap);
	va_end(ap);
}

void log_warning(const char *event, ...)
{
	va_list ap;

	va_start(ap, event);
	log_pairs(LOG_LEVEL_WARNING, event, ap);
	va_end(ap);
}

void log_notice(const char *event, ...)
{
	va_list ap;

	va_start(ap, event);
	log_pairs(LOG_LEVEL_NOTICE, event, ap);
	va_end(ap);
}

void log_info(const char *event, ...)
{
	va_list ap;

	va_start(ap, event);
	log_pairs(LOG_LEVEL_INFO, event, ap);
	va_end(ap);
}

void log_debug(const char *event, ...)
{
	va_list ap;

	va_start(ap, event);
	log_pairs(LOG_LEVEL_DEBUG, event, ap);
	va_end(ap);
}

uint64_t log_dropped(void)
{
	return out.dropped;
}
