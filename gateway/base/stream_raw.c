#include "base/stream_raw.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
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
		return tls_got(s, stream_tls_read(s, p, size), &s->bytes_in);
	return s->readable ? got(s, recv(s->fd, p, size, 0), &s->readable, &s->bytes_in) : 0;
}

ssize_t stream_raw_write(struct stream *s, const char *p, size_t len)
{
	assert(!s->out_len && len > 0);
	if (s->broken)
		return -ECONNRESET;
	if (s->ssl) {
		ssize_t n = tls_got(s, stream_tls_write(s, p, len), &s->bytes_out);

		return n == -EPIPE ? -ECONNRESET : n;
	}
	return s->writable ? got(s, send(s->fd, p, len, MSG_NOSIGNAL), &s->writable, &s->bytes_out) : 0;
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

int stream_raw_wait(struct stream *a, struct stream *b, int64_t until_ms)
{
	int64_t left = until_ms == INT64_MAX ? -1 : until_ms - clock_ms();
	int rc;

	if (until_ms != INT64_MAX && left <= 0)
		return task_cancelled() ? -ECANCELED : -ETIMEDOUT;
	rc = stream_register(a, a->writing_ev || !a->writable);
	if (rc == 0)
		rc = stream_register(b, b->writing_ev || !b->writable);
	if (rc < 0)
		return rc;
	assert(!a->reader && !a->writer && !b->reader && !b->writer);
	a->reader = a->writer = b->reader = b->writer = task_self();
	rc = task_park(left > INT_MAX ? INT_MAX : (int)left);
	a->reader = a->writer = b->reader = b->writer = NULL;
	return rc;
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
