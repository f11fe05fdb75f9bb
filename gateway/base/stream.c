#include "base/stream.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/stream_impl.h"

enum {
	WRITE_TIMEOUT_MS = 5 * 60 * 1000,
	/*
	 * What a read brought stays in the chunk it was read into if it is much, and is moved to
	 * memory of its size if not: what a session holds while it waits is at most four times what
	 * its peer has sent.
	 */
	SMALL_BYTES = STREAM_CHUNK / 4,
	SMALL_REST = 4096, /* what is left of a chunk is moved when it is no more than this */
	DIRECT_BYTES = 16 * 1024, /* longer writes are not copied */
	CHUNKS_KEPT = 32,
	FILLS_IN_A_ROW = 8,     /* reads without a wait, then others get their turn; one, if these are more than */
	READY_MANY = 8,
	LINES_IN_A_ROW = 32, LINES_FEW = 4,     /* a buffer holds 10,000 of the shortest commands */
	SKIP_MAX = 1024 * 1024, /* of a line that is too long; then the peer is not worth it */
	ARRIVE_STEP_MS = 64,
	CLOSE_READS = 64,       /* what a peer may still send while we wait for its end */
};

/* Chunks: the same few, warm in the cache, serve every stream of the process. */

static struct {
	char *chunk[CHUNKS_KEPT];
	size_t count;
} pool;

static char *chunk_get(void)
{
	return pool.count ? pool.chunk[--pool.count] : malloc(STREAM_CHUNK);
}

/* Its first octets, as many as secret, are overwritten. */
static void chunk_put(char *p, size_t secret)
{
	if (secret)
		explicit_bzero(p, secret);
	if (pool.count < CHUNKS_KEPT)
		pool.chunk[pool.count++] = p;
	else
		free(p);
}

/* Events and waits. */

static void stream_event(evutil_socket_t fd, short what, void *arg)
{
	struct stream *s = arg;

	s->short_read = false;
	if (what & EV_CLOSED)
		s->hung_up = true;
	/* libevent tells an error as both. */
	s->perhaps_cut = (what & EV_READ) && (what & EV_WRITE);
	if (what & (EV_READ | EV_CLOSED)) {
		s->readable = true;
		if (s->reader)
			task_wake(s->reader, 0);
	}
	if (what & EV_WRITE) {
		s->writable = true;
		if (s->writer)
			task_wake(s->writer, 0);
	}
	if (s->watch)
		s->watch(s->watch_arg);         /* which may free s */
}

/*
 * Register for reading, and for writing too once a write has had to wait. When the descriptor is
 * added anew, its present state is reported, so no edge is lost.
 */
int stream_register(struct stream *s, bool writing)
{
	short what = EV_READ | EV_CLOSED | EV_ET | EV_PERSIST;

	if (s->reading_ev && (s->writing_ev || !writing))
		return 0;
	if (s->reading_ev)
		event_del(&s->ev);
	s->reading_ev = s->writing_ev = false;
	event_assign(&s->ev, loop_base(), s->fd, what | (writing ? EV_WRITE : 0), stream_event, s);
	if (event_add(&s->ev, NULL) != 0)
		return -ENOMEM;
	s->reading_ev = true;
	s->writing_ev = writing;
	return 0;
}

int64_t stream_until(const struct stream *s, int timeout_ms)
{
	int64_t until = timeout_ms < 0 ? INT64_MAX : clock_ms() + timeout_ms;

	return s->deadline_ms && s->deadline_ms < until ? s->deadline_ms : until;
}

static int stream_park(struct task **who, const bool *ready, int64_t until_ms)
{
	int rc = 0;

	while (!*ready && rc == 0) {
		int64_t left = until_ms == INT64_MAX ? -1 : until_ms - clock_ms();

		if (until_ms != INT64_MAX && left <= 0)
			return task_cancelled() ? -ECANCELED : -ETIMEDOUT;
		assert(!*who);
		*who = task_self();
		rc = task_park(left > INT_MAX ? INT_MAX : (int)left);
		*who = NULL;
	}
	return *ready ? 0 : rc;
}

int stream_wait_in(struct stream *s, int64_t until_ms)
{
	int rc = stream_register(s, s->writing_ev);

	s->fills = s->lines = 0;
	return rc ? rc : stream_park(&s->reader, &s->readable, until_ms);
}

int stream_wait_out(struct stream *s, int64_t until_ms)
{
	int rc = stream_register(s, true);

	return rc ? rc : stream_park(&s->writer, &s->writable, until_ms);
}

/* A stream's life. */

struct stream *stream_new_ready(int fd)
{
	struct stream *s = calloc(1, sizeof(*s));

	if (!s) {
		close(fd);
		return NULL;
	}
	s->fd = fd;
	s->readable = s->writable = true;
	s->write_timeout_ms = WRITE_TIMEOUT_MS;
	return s;
}

/*
 * We collect what belongs together ourselves; what is flushed leaves at once. No TCP socket: no
 * matter.
 */
static void send_at_once(int fd)
{
	int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

struct stream *stream_new(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (!(flags & O_NONBLOCK))
		fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	send_at_once(fd);
	return stream_new_ready(fd);
}

static void in_release(struct stream *s)
{
	if (s->secret && s->in && !s->chunked)
		explicit_bzero(s->in, s->in_at + s->in_len);
	if (s->in && s->chunked)
		chunk_put(s->in, s->secret ? STREAM_CHUNK : 0);
	else
		free(s->in);
	s->in = NULL;
	s->chunked = false;
	s->in_at = s->in_len = s->in_seen = 0;
}

static void out_release(struct stream *s)
{
	if (s->secret && s->out)
		explicit_bzero(s->out, s->out_cap);
	free(s->out);
	s->out = NULL;
	s->out_at = s->out_len = s->out_cap = 0;
}

void stream_free(struct stream *s)
{
	if (!s)
		return;
	assert(!s->reader && !s->writer);
	if (s->ssl) {
		stream_tls_shutdown(s);
		stream_tls_release(s);
	}
	if (s->reading_ev)
		event_del(&s->ev);
	in_release(s);
	out_release(s);
	free(s->error);
	close(s->fd);
	free(s);
}

/* Bound to the address of from; the port is chosen at the connect, which knows the whole tuple. */
static int connect_from(int fd, const struct net_addr *from)
{
	struct net_addr a = *from;
	struct sockaddr_storage ss;
	socklen_t len;
	int one = 1;

	a.port = 0;
	len = net_to_sockaddr(&a, &ss);
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	return bind(fd, (struct sockaddr *)&ss, len) == 0 ? 0 : -errno;
}

static int connect_finish(struct stream *s, int timeout_ms)
{
	socklen_t len = sizeof(int);
	int error = 0, rc;

	/* What the server says at once comes with an event of its own, or with this one. */
	s->readable = s->writable = false;
	rc = stream_wait_out(s, stream_until(s, timeout_ms));
	if (rc == 0 && s->perhaps_cut && getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
		error = errno;
	return rc ? rc : -error;
}

static int connecting(struct stream *s, int timeout_ms, struct stream **out)
{
	int rc = s ? connect_finish(s, timeout_ms) : -ENOMEM;

	if (rc) {
		stream_free(s);
		return rc;
	}
	*out = s;
	return 0;
}

int stream_connecting(int fd, int timeout_ms, struct stream **out)
{
	return connecting(stream_new(fd), timeout_ms, out);
}

int stream_connect(const struct net_addr *to, const struct net_addr *from, int timeout_ms,
		   struct stream **out)
{
	struct sockaddr_storage ss;
	socklen_t len = net_to_sockaddr(to, &ss);
	int fd, rc = 0;

	if (task_cancelled())
		return -ECANCELED;
	fd = socket(to->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (from)
		rc = connect_from(fd, from);
	if (rc == 0 && connect(fd, (struct sockaddr *)&ss, len) != 0 && errno != EINPROGRESS)
		rc = -errno;
	if (rc) {
		close(fd);
		return rc;
	}
	send_at_once(fd);
	return connecting(stream_new_ready(fd), timeout_ms, out);
}

int stream_fd(const struct stream *s)
{
	return s->fd;
}

void stream_set_deadline(struct stream *s, int64_t deadline_ms)
{
	s->deadline_ms = deadline_ms;
}

int64_t stream_deadline(const struct stream *s)
{
	return s->deadline_ms;
}

/* Sending. */

/*
 * What is collected, then p[0..len): how many bytes went, 0 when it would block, -EPIPE or -EPROTO.
 */
static ssize_t send_some(struct stream *s, const char *p, size_t len)
{
	struct iovec iov[2] = { { .iov_base = s->out_len ? s->out + s->out_at : NULL, .iov_len = s->out_len },
				{ .iov_base = (char *)p, .iov_len = len } };
	struct msghdr m = { .msg_iov = s->out_len ? iov : iov + 1,
			    .msg_iovlen = (s->out_len != 0) + (len != 0) };
	ssize_t n;

	if (s->ssl)
		return s->out_len ? stream_tls_write(s, iov[0].iov_base, s->out_len)
				  : stream_tls_write(s, p, len);
	n = sendmsg(s->fd, &m, MSG_NOSIGNAL);
	if (n >= 0) {
		s->sent_since = true;
		return n;
	}
	if (errno == EINTR)
		return send_some(s, p, len);
	if (errno != EAGAIN) {
		s->reset = true;
		return -EPIPE;
	}
	s->writable = false;
	return 0;
}

/*
 * All of it. The time begins anew with each chunk that has gone: a large message is not bound by
 * the time of one.
 */
static int send_all(struct stream *s, const char *p, size_t len, int timeout_ms)
{
	int64_t until = 0;
	size_t since = 0;
	int rc = 0;

	while (rc == 0 && (s->out_len || len)) {
		ssize_t n = send_some(s, p, len);

		if (n > 0) {
			size_t old = (size_t)n < s->out_len ? (size_t)n : s->out_len;

			s->bytes_out += (size_t)n;
			s->out_at += (unsigned)old;
			s->out_len -= (unsigned)old;
			p += (size_t)n - old;
			len -= (size_t)n - old;
			since += (size_t)n;
			if (since >= STREAM_CHUNK)
				since = 0, until = 0;
			continue;
		}
		if (!until)
			until = stream_until(s, timeout_ms);
		if (n < 0)
			rc = (int)n;
		else
			rc = s->writable ? stream_wait_in(s, until) : stream_wait_out(s, until);
	}
	/* Of what was not copied a part may have gone: the byte sequence has a hole. */
	if (rc && (len || rc != -ETIMEDOUT))
		s->broken = true;
	if (!s->out_len)
		out_release(s);
	return rc;
}

static int flush_now(struct stream *s, const char *p, size_t len, int timeout_ms)
{
	int rc;

	if (s->broken)
		return -EPIPE;
	assert(!s->flushing);
	s->flushing = true;
	rc = send_all(s, p, len, timeout_ms);
	s->flushing = false;
	return rc;
}

static int out_add(struct stream *s, const char *p, size_t len)
{
	size_t cap = s->out_cap ? s->out_cap : 256;
	char *grown;

	if (s->out_at && s->out_at + s->out_len + len > s->out_cap) {
		memmove(s->out, s->out + s->out_at, s->out_len);
		s->out_at = 0;
	}
	while (cap < s->out_at + s->out_len + len)
		cap *= 2;
	if (cap > s->out_cap) {
		grown = s->secret ? malloc(cap) : realloc(s->out, cap);
		if (!grown)
			return -ENOMEM;
		if (s->secret && s->out) {
			memcpy(grown, s->out, s->out_at + s->out_len);
			explicit_bzero(s->out, s->out_cap);
			free(s->out);
		}
		s->out = grown;
		s->out_cap = (unsigned)cap;
	}
	memcpy(s->out + s->out_at + s->out_len, p, len);
	s->out_len += (unsigned)len;
	return 0;
}

int stream_write(struct stream *s, const void *p, size_t len)
{
	if (s->broken)
		return -EPIPE;
	if (len >= DIRECT_BYTES || s->out_len + len > STREAM_CHUNK)
		return flush_now(s, p, len, s->write_timeout_ms);
	return len ? out_add(s, p, len) : 0;
}

int stream_printf(struct stream *s, const char *fmt, ...)
{
	char text[1024], *longer = NULL;
	va_list ap;
	int n, rc;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof(text))
		return stream_write(s, text, (size_t)n);
	va_start(ap, fmt);
	n = vasprintf(&longer, fmt, ap);
	va_end(ap);
	if (n < 0)
		return -ENOMEM;
	rc = stream_write(s, longer, (size_t)n);
	free(longer);
	return rc;
}

int stream_flush(struct stream *s, int timeout_ms)
{
	return s->broken ? -EPIPE : s->out_len ? flush_now(s, "", 0, timeout_ms) : 0;
}

void stream_set_write_timeout(struct stream *s, int timeout_ms)
{
	s->write_timeout_ms = timeout_ms;
}

/* Receiving. */

/*
 * The last read emptied the socket, no event has come since, and a write has gone through: there is nothing to be had. Without that write a reset may have
 * come with what was read: epoll tells of it once, and libevent does as if it were more to read. Nor is there anything where we speak first, and have
 * spoken: what has come all the same is told when the descriptor is registered.
 */
bool stream_in_vain(const struct stream *s)
{
	return s->sent_since && !s->hung_up && (s->short_read || (!s->reading_ev && !s->bytes_in));
}

static ssize_t recv_some(struct stream *s, char *p, size_t size)
{
	ssize_t n;

	if (s->ssl)
		return stream_tls_read(s, p, size);
	if (stream_in_vain(s)) {
		s->readable = false;
		return 0;
	}
	do {
		n = recv(s->fd, p, size, 0);
	} while (n < 0 && errno == EINTR);
	if (n > 0) {
		s->short_read = (size_t)n < size;
		s->sent_since = false;
		return n;
	}
	if (n < 0 && errno == EAGAIN) {
		s->readable = false;
		return 0;
	}
	s->reset |= n < 0;
	return -EPIPE;
}

/*
 * The bytes [at, in_len) of the buffer and those before them that are still shown, in memory of
 * their own size.
 */
static void in_shrink(struct stream *s, unsigned shown)
{
	unsigned from = s->in_at - shown, len = shown + s->in_len;
	char *small;

	if (!s->chunked || len > SMALL_REST)
		return;
	small = malloc(len ? len : 1);
	if (!small)
		return;
	memcpy(small, s->in + from, len);
	chunk_put(s->in, s->secret ? STREAM_CHUNK : 0);
	s->in = small;
	s->chunked = false;
	s->in_at = shown;
}

/* What has been read into chunk, behind room for the in_len old bytes, becomes the buffer. */
static void in_take(struct stream *s, char *chunk, size_t n)
{
	unsigned total = s->in_len + (unsigned)n;
	char *small = NULL;

	if (chunk == s->in) {
		s->in_len = total;
		return;
	}
	if (s->in_len)
		memcpy(chunk, s->in + s->in_at, s->in_len);
	if (s->secret && s->in)
		explicit_bzero(s->in, s->in_at + s->in_len);
	free(s->in);
	if (total <= SMALL_BYTES)
		small = malloc(total);
	if (small) {
		memcpy(small, chunk, total);
		chunk_put(chunk, s->secret ? total : 0);
	}
	s->in = small ? small : chunk;
	s->chunked = !small;
	s->in_at = 0;
	s->in_len = total;
}

/* One try to read more: the bytes, 0 when there are none, -EPIPE, -EPROTO, -ENOMEM. */
static ssize_t in_fill(struct stream *s)
{
	char *chunk = s->chunked ? s->in : chunk_get();
	ssize_t n;

	if (!chunk)
		return -ENOMEM;
	if (s->chunked && s->in_at) {
		memmove(s->in, s->in + s->in_at, s->in_len);
		s->in_at = 0;
	}
	n = recv_some(s, chunk + s->in_len, STREAM_CHUNK - s->in_len);
	if (n > 0) {
		s->bytes_in += (size_t)n;
		in_take(s, chunk, (size_t)n);
		return n;
	}
	if (!s->chunked)
		chunk_put(chunk, 0);
	if (n < 0)
		s->eof = true;
	return n;
}

/*
 * A wait for input: what was written leaves first, and what is not needed is given back. *until is
 * set when it is 0.
 */
static int in_wait(struct stream *s, int timeout_ms, int64_t *until)
{
	int rc;

	if (s->out_len && !s->flushing) {
		rc = flush_now(s, "", 0, s->write_timeout_ms);
		if (rc)
			return rc;
	}
	if (!s->in_len)
		in_release(s);
	else
		in_shrink(s, 0);
	if (!*until)
		*until = stream_until(s, timeout_ms);
	if (s->readable && !s->writable) /* OpenSSL has something to say first */
		rc = stream_wait_out(s, *until);
	else
		rc = stream_wait_in(s, *until);
	/* Input and the cancellation may have come in the same round. */
	return rc == 0 && task_cancelled() ? -ECANCELED : rc;
}

/* At least one byte more. may wait */
static int in_more(struct stream *s, int timeout_ms, int64_t *until)
{
	ssize_t n;
	int rc;

	if (s->eof || s->broken)
		return -EPIPE;
	if (++s->fills > (loop_ready() >= READY_MANY ? 1 : FILLS_IN_A_ROW) && task_self()) {
		s->fills = 0;
		task_yield();
		if (task_cancelled())
			return -ECANCELED;
	}
	/*
	 * Nothing more is to be expected before our reply: it leaves now, and a vain read is saved.
	 */
	if (s->short_read && s->out_len && !s->flushing) {
		rc = flush_now(s, "", 0, s->write_timeout_ms);
		if (rc)
			return rc;
	}
	while ((n = in_fill(s)) == 0) {
		rc = in_wait(s, timeout_ms, until);
		if (rc)
			return rc;
	}
	return n < 0 ? (int)n : 0;
}

/* What has not been eaten; NULL while there is no buffer, to which nothing is added, not even 0 (C11 6.5.6). */
static char *in_bytes(const struct stream *s)
{
	return s->in ? s->in + s->in_at : NULL;
}

/*
 * Drop the rest of a line that is too long, its LF included; the bytes are not kept. A wait that
 * ends early leaves the rest to the next call, so that the tail of a line is never taken for a
 * line.
 */
static int line_skip(struct stream *s, int timeout_ms, int64_t *until)
{
	s->skipping = true;
	for (size_t skipped = 0; skipped <= SKIP_MAX;) {
		char *p = in_bytes(s), *lf = s->in_len ? memchr(p, '\n', s->in_len) : NULL;
		size_t len = lf ? (size_t)(lf - p) + 1 : s->in_len;
		int rc;

		skipped += len;
		stream_eat(s, len);
		if (lf) {
			s->skipping = false;
			return -EMSGSIZE;
		}
		rc = in_more(s, timeout_ms, until);
		if (rc)
			return rc;
	}
	s->eof = true;
	return -EPIPE;
}

int stream_read_line(struct stream *s, size_t max, int timeout_ms, const char **line, size_t *len)
{
	int64_t until = 0;

	if (s->in_len && ++s->lines > (loop_ready() >= READY_MANY ? LINES_FEW : LINES_IN_A_ROW) && task_self()) {
		s->fills = s->lines = 0;
		task_yield();
	}
	if (task_cancelled())
		return -ECANCELED;
	if (max > STREAM_CHUNK)
		max = STREAM_CHUNK;
	if (s->skipping)
		return line_skip(s, timeout_ms, &until);
	for (;;) {
		char *p = in_bytes(s), *lf = NULL;
		int rc;

		if (s->in_len > s->in_seen)
			lf = memchr(p + s->in_seen, '\n', s->in_len - s->in_seen);
		if (lf && (size_t)(lf - p) < max) {
			*len = (size_t)(lf - p) + 1;
			s->in_at += (unsigned)*len;
			s->in_len -= (unsigned)*len;
			s->in_seen = 0;
			in_shrink(s, (unsigned)*len);
			*line = s->in + s->in_at - *len;
			return 0;
		}
		if (lf || s->in_len >= max)
			return line_skip(s, timeout_ms, &until);
		s->in_seen = s->in_len;
		rc = in_more(s, timeout_ms, &until);
		if (rc)
			return rc;
	}
}

int stream_peek(struct stream *s, int timeout_ms, const char **p, size_t *len)
{
	int64_t until = 0;
	int rc;

	if (task_cancelled())
		return -ECANCELED;
	if (!s->in_len) {
		rc = in_more(s, timeout_ms, &until);
		if (rc)
			return rc;
	}
	*p = s->in + s->in_at;
	*len = s->in_len;
	return 0;
}

void stream_eat(struct stream *s, size_t len)
{
	assert(len <= s->in_len);
	s->in_at += (unsigned)len;
	s->in_len -= (unsigned)len;
	s->in_seen = 0;
	if (s->in_len)
		in_shrink(s, 0);
	else
		in_release(s);
}

size_t stream_pending(const struct stream *s)
{
	return s->in_len + (s->ssl ? stream_tls_pending(s) : 0);
}

int stream_wait_readable(struct stream *s, int timeout_ms)
{
	int64_t until = 0;
	char c;
	int rc;

	if (task_cancelled())
		return -ECANCELED;
	if (stream_pending(s))
		return 0;
	if (s->eof || s->broken)
		return -EPIPE;
	rc = stream_flush(s, s->write_timeout_ms);
	if (rc)
		return rc;
	in_release(s);
	/* A record that came together with the end of the handshake lies in OpenSSL; the socket will not tell. */
	if (s->ssl && stream_tls_buffered(s))
		return 0;
	/*
	 * The end of the stream, and an error, count as something to read: the read will say which.
	 */
	while (recv(s->fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) < 0) {
		if (errno != EAGAIN && errno != EINTR) {
			s->reset = true;        /* told once: the read will find an end */
			break;
		}
		s->readable = false;
		rc = in_wait(s, timeout_ms, &until);
		if (rc)
			return rc;
	}
	s->short_read = false;
	return 0;
}

/* Ends and figures. */

void stream_close(struct stream *s, int timeout_ms)
{
	int64_t until = stream_until(s, timeout_ms);

	if (stream_flush(s, timeout_ms) != 0)
		return;
	if (s->ssl)
		stream_tls_shutdown(s);
	shutdown(s->fd, SHUT_WR);
	/* What comes now is not wanted; that the peer ends shows that it has read what we sent. */
	for (int i = 0; i < CLOSE_READS && !task_cancelled(); i++) {
		stream_eat(s, s->in_len);
		if (in_more(s, timeout_ms, &until) != 0)
			break;
	}
}

bool stream_acked(const struct stream *s)
{
	int unsent = 0;

	return !s->out_len && ioctl(s->fd, SIOCOUTQ, &unsent) == 0 && unsent == 0;
}

/* The kernel tells an error once: it is kept. */
static bool was_reset(struct stream *s)
{
	socklen_t len = sizeof(int);
	int error = 0;

	if (!s->reset && getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0)
		s->reset = error != 0;
	return s->reset;
}

bool stream_arrived(struct stream *s, int timeout_ms)
{
	int64_t until = stream_until(s, timeout_ms);
	int step_ms = 1;

	while (!s->out_len && !was_reset(s)) {
		if (stream_acked(s))
			return true;
		/* No event tells of an acknowledgement. */
		if (clock_ms() >= until || task_sleep(step_ms) < 0)
			return false;
		step_ms = step_ms < ARRIVE_STEP_MS ? step_ms * 2 : ARRIVE_STEP_MS;
	}
	return false;
}

bool stream_spoken_to(const struct stream *s)
{
	struct pollfd p = { .fd = s->fd, .events = POLLIN | POLLRDHUP };

	return s->in_len || s->eof || s->broken || (s->ssl && stream_tls_buffered(s)) || poll(&p, 1, 0) != 0;
}

bool stream_left(const struct stream *s)
{
	struct pollfd p = { .fd = s->fd, .events = POLLRDHUP };

	return s->eof || s->broken || poll(&p, 1, 0) != 0;
}

const char *stream_error(const struct stream *s)
{
	return s->error ? s->error : "";
}

void stream_set_secret(struct stream *s, bool secret)
{
	/* What has been eaten still lies there. */
	if (s->secret && s->in) {
		explicit_bzero(s->in, s->in_at);
		if (s->chunked)
			explicit_bzero(s->in + s->in_at + s->in_len, STREAM_CHUNK - s->in_at - s->in_len);
	}
	s->secret = secret;
	if (s->ssl)
		stream_tls_secret(s);
}

uint64_t stream_bytes_in(const struct stream *s)
{
	return s->bytes_in;
}

uint64_t stream_bytes_out(const struct stream *s)
{
	return s->bytes_out;
}
