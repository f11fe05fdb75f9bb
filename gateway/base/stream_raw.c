#include "base/stream_raw.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include "base/stream_impl.h"

/* What recv, send or splice returned, n; at 0 the peer has ended its side, if it was a read. */
static ssize_t got(struct stream *s, ssize_t n, bool *able, uint64_t *count)
{
	if (n > 0) {
		*count += (uint64_t)n;
		return n;
	}
	if (n == 0) {
		s->eof = true;
		return s->reset ? -ECONNRESET : -EPIPE; /* the kernel tells of a cut once: perhaps somebody has heard it already */
	}
	if (errno == EAGAIN || errno == EINTR) {
		*able = errno == EINTR;
		return 0;
	}
	s->reset = true;
	return -ECONNRESET;
}

static ssize_t tls_got(struct stream *s, ssize_t n, uint64_t *count)
{
	if (n > 0)
		*count += (uint64_t)n;
	return n == -EPIPE && s->reset ? -ECONNRESET : n;
}

static ssize_t plain_read(struct stream *s, char *p, size_t size)
{
	ssize_t n;

	if (stream_in_vain(s)) {
		s->readable = false;
		return 0;
	}
	n = got(s, recv(s->fd, p, size, 0), &s->readable, &s->bytes_in);
	if (n > 0) {
		s->short_read = (size_t)n < size;
		s->sent_since = false;
	}
	return n;
}

ssize_t stream_raw_read(struct stream *s, char *p, size_t size)
{
	if (s->in_len) {
		size_t n = s->in_len < size ? s->in_len : size;

		memcpy(p, s->in + s->in_at, n);
		stream_eat(s, n);
		return (ssize_t)n;
	}
	if (s->eof || s->broken)
		return s->reset ? -ECONNRESET : -EPIPE;
	if (s->ssl)
		return s->readable || stream_tls_buffered(s) ? tls_got(s, stream_tls_read(s, p, size), &s->bytes_in) : 0;
	return s->readable ? plain_read(s, p, size) : 0;
}

ssize_t stream_raw_write(struct stream *s, const char *p, size_t len)
{
	ssize_t n = 0;

	assert(!s->out_len && len > 0);
	if (s->broken)
		return -ECONNRESET;
	if (s->ssl) {
		n = tls_got(s, stream_tls_write(s, p, len), &s->bytes_out);
		return n == -EPIPE ? -ECONNRESET : n;
	}
	if (s->writable)
		n = got(s, send(s->fd, p, len, MSG_NOSIGNAL), &s->writable, &s->bytes_out);
	s->sent_since |= n > 0;
	return n;
}

bool stream_raw_can_splice(const struct stream *s)
{
	return !s->ssl && !s->in_len;
}

ssize_t stream_raw_splice_in(struct stream *s, int pipe_fd, size_t size)
{
	if (s->eof || s->broken)
		return s->reset ? -ECONNRESET : -EPIPE;
	if (!s->readable)
		return 0;
	return got(s, splice(s->fd, NULL, pipe_fd, NULL, size, SPLICE_F_MOVE | SPLICE_F_NONBLOCK), &s->readable, &s->bytes_in);
}

ssize_t stream_raw_splice_out(struct stream *s, int pipe_fd, size_t len)
{
	if (s->broken)
		return -ECONNRESET;
	if (!s->writable)
		return 0;
	return got(s, splice(pipe_fd, NULL, s->fd, NULL, len, SPLICE_F_MOVE | SPLICE_F_NONBLOCK), &s->writable, &s->bytes_out);
}

void stream_raw_watch(struct stream *s, void (*fn)(void *), void *arg)
{
	s->watch = fn;
	s->watch_arg = arg;
}

int stream_raw_listen(struct stream *s)
{
	return stream_register(s, s->writing_ev || !s->writable);
}

void stream_raw_shut(struct stream *s)
{
	if (s->ssl)
		stream_tls_shutdown(s);
	shutdown(s->fd, SHUT_WR);
}

void stream_raw_abort(struct stream *s)
{
	struct linger l = { .l_onoff = 1 };

	setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
	s->broken = true;
}
