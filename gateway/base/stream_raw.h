/*
 * stream_raw - streams without waits, on the loop's own stack: for a pump
 *
 * Each of these is one try. Where there is nothing to be had the stream remembers it, and whoever watches it is called when it has news.
 * Collected output is flushed first (stream_flush); from then on nothing else reads or writes.
 */
#ifndef STREAM_RAW_H
#define STREAM_RAW_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct stream;

/*
 * Bytes; 0: none now; -EPIPE: the peer has ended its side; -ECONNRESET: it has cut the connection; -EPROTO: TLS is broken. What had been
 * received before comes first.
 */
ssize_t stream_raw_read(struct stream *s, char *p, size_t size);
/* Bytes; 0: none now; -ECONNRESET, -EPROTO. */
ssize_t stream_raw_write(struct stream *s, const char *p, size_t len);

/* The same into and out of a pipe (splice(2)), of a stream that can_splice: plain, with nothing received that was not eaten. */
bool stream_raw_can_splice(const struct stream *s);
ssize_t stream_raw_splice_in(struct stream *s, int pipe_fd, size_t size);
ssize_t stream_raw_splice_out(struct stream *s, int pipe_fd, size_t len);

/* fn(arg) is called, on the loop's stack, with each news of the stream; NULL: nobody. Tasks that wait are woken before. */
void stream_raw_watch(struct stream *s, void (*fn)(void *), void *arg);
/* From now on there is news when bytes come, and when bytes go that did not go before. 0 or -ENOMEM. */
int stream_raw_listen(struct stream *s);

/* Our side ends: close_notify where there is TLS, FIN. */
void stream_raw_shut(struct stream *s);
/* stream_free will cut the connection (RST), as the other end has cut its own. */
void stream_raw_abort(struct stream *s);

#endif
