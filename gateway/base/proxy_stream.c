#include "base/proxy_stream.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/stream.h"

/* Take len octets that a look has shown to be there. */
static int take(int fd, char *p, size_t len)
{
	ssize_t n;

	do {
		n = recv(fd, p, len, MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	return n == (ssize_t)len ? 0 : -EPIPE;
}

/*
 * One look at what has come behind the `have` octets that were taken before. 1: the header is complete. What belongs to it is taken, what follows
 * (a ClientHello, in the same segment) stays in the socket.
 */
static int look(int fd, char *p, size_t *have, struct proxy_header *out)
{
	ssize_t n = recv(fd, p + *have, PROXY_HEADER_MAX - *have, MSG_PEEK | MSG_DONTWAIT);
	size_t used;
	int rc;

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n <= 0)
		return -EPIPE;
	switch (proxy_header_parse(p, *have + (size_t)n, out, &used)) {
	case PROXY_OK:
		rc = take(fd, p + *have, used - *have);
		return rc < 0 ? rc : 1;
	case PROXY_MORE:
		rc = take(fd, p + *have, (size_t)n);
		*have += (size_t)n;
		/* The parser refuses what is longer before this is full. */
		return rc < 0 ? rc : *have < PROXY_HEADER_MAX ? 0 : -EBADMSG;
	default:
		return -EBADMSG;
	}
}

int proxy_stream_read(struct stream *s, int timeout_ms, struct proxy_header *out)
{
	char *p = malloc(PROXY_HEADER_MAX);
	int64_t until = clock_ms() + timeout_ms;
	size_t have = 0;
	int rc = p ? 0 : -ENOMEM;

	assert(!stream_is_tls(s) && stream_pending(s) == 0);
	while (rc == 0) {
		int64_t left = until - clock_ms();

		rc = left <= 0 && have > 0 ? -ETIMEDOUT : stream_wait_readable(s, left > 0 ? (int)left : 0);
		if (rc == 0)
			rc = look(stream_fd(s), p, &have, out);
	}
	free(p);
	return rc < 0 ? rc : 0;
}

/* The ends of the connection itself. */
static void own_ends(int fd, struct proxy_header *out)
{
	struct sockaddr_storage us = { .ss_family = AF_UNSPEC }, them = { .ss_family = AF_UNSPEC };
	socklen_t us_len = sizeof(us), them_len = sizeof(them);

	*out = (struct proxy_header){ 0 };
	if (getsockname(fd, (struct sockaddr *)&us, &us_len) < 0 || getpeername(fd, (struct sockaddr *)&them, &them_len) < 0)
		return;
	net_from_sockaddr((struct sockaddr *)&us, &out->source);
	net_from_sockaddr((struct sockaddr *)&them, &out->destination);
	out->told = out->source.family && out->destination.family;
}

int proxy_stream_write(struct stream *s, enum proxy_version version, const struct proxy_header *h, int timeout_ms)
{
	AUTO(buf) struct buf out = BUF_INIT(PROXY_V1_MAX);
	struct proxy_header own;
	int rc;

	if (!h->told && version == PROXY_V1) {
		own_ends(stream_fd(s), &own);
		h = &own;
	}
	rc = proxy_header_write(version, h, &out);
	if (rc == 0)
		rc = stream_write(s, out.data, out.len);
	return rc < 0 ? rc : stream_flush(s, timeout_ms);
}
