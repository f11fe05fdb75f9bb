/*
 * stream_impl - what stream.c (buffers, waits) and stream_tls.c (OpenSSL) share; nobody else
 * includes it
 */
#ifndef STREAM_IMPL_H
#define STREAM_IMPL_H

#include <event2/event_struct.h>
#include <openssl/ssl.h>
#include <sys/types.h>

#include "base/stream.h"
#include "base/task.h"

struct stream {
	int fd;
	/*
	 * Edge-triggered: readable and writable say that nobody has met EAGAIN since the last
	 * event, so a try is worth it. They begin true; the descriptor is registered when the first
	 * wait comes.
	 */
	bool readable, writable;
	bool reading_ev, writing_ev; /* what the descriptor is registered for */
	bool hung_up;                /* the peer has ended its side: the next read finds it */
	bool perhaps_cut;            /* the last event, of one registered for both, may have told of an error */
	bool eof, broken;            /* no more reads; nothing more at all */
	bool reset;                  /* the connection was cut: what was sent may not have been read */
	bool skipping;               /* inside a line that was too long */
	bool flushing;               /* somebody is inside a write */
	bool short_read;             /* the last read emptied the socket */
	bool sent_since;             /* and a write has succeeded since */
	bool chunked;                /* in is a chunk of the pool */
	bool secret;                 /* memory is overwritten before it is given back */
	bool tls_up, tls_verify;     /* handshake done; the context verifies */
	bool tls_pinned;             /* the server has a certificate that its context has a pin for */
	unsigned char fills, lines;  /* reads, and lines that were there already, since this task last let others run */
	int write_timeout_ms;
	struct task *reader, *writer;    /* who waits */
	void (*watch)(void *);           /* who is called instead (stream_raw.h) */
	void *watch_arg;
	char *in;                        /* in_len bytes at in + in_at have not been eaten */
	unsigned in_at, in_len, in_seen; /* in_seen of them hold no LF */
	char *out;                       /* out_len bytes at out + out_at have not been sent */
	unsigned out_at, out_len, out_cap;
	SSL *ssl;
	char *error;
	int64_t deadline_ms;
	uint64_t bytes_in, bytes_out;
	struct event ev;
};

/* A moment: timeout_ms from now, or the stream's own deadline if that is earlier. */
int64_t stream_until(const struct stream *s, int timeout_ms);

/* Register the descriptor on the loop for reading, and for writing if so. 0 or -ENOMEM. */
int stream_register(struct stream *s, bool writing);

/* A read of a plain stream would bring nothing, for certain. */
bool stream_in_vain(const struct stream *s);

/* Wait until readable, or writable, is true. 0, -ETIMEDOUT, -ECANCELED, -ENOMEM. may wait */
int stream_wait_in(struct stream *s, int64_t until_ms);
int stream_wait_out(struct stream *s, int64_t until_ms);

/*
 * Through OpenSSL, as read(2) and write(2) would: bytes; 0 when it would block, and readable or
 * writable is false then (a write may have to wait for input, a read for output); -EPIPE or
 * -EPROTO.
 */
ssize_t stream_tls_read(struct stream *s, char *p, size_t size);
ssize_t stream_tls_write(struct stream *s, const char *p, size_t len);
size_t stream_tls_pending(const struct stream *s);
/* OpenSSL holds bytes that it has not looked at: a read may find something in them. */
bool stream_tls_buffered(const struct stream *s);
void stream_tls_shutdown(struct stream *s); /* close_notify, if it goes at once */
void stream_tls_release(struct stream *s);
void stream_tls_secret(struct stream *s); /* OpenSSL's memory, too */

#endif
