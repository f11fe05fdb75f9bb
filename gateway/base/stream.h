/*
 * stream - a connection as a sequence of bytes, plain or TLS, with deadlines and bounds
 *
 * At most one task reads and at most one writes at a time (as a rule the same; a pump may have
 * two). Reads try the socket first and park the task only when there is nothing; the descriptor is
 * registered once, edge-triggered. Buffers exist only while there are bytes in them: an idle stream
 * costs its struct, and one with bytes at most four times what came. What is written is collected
 * and sent by stream_flush, or before a read has to wait, so that pipelined replies leave together
 * (RFC 2920). A peer that always has more to say is read eight times in a row (once, where many wait), and 32 lines of what it
 * has said; then the others get their turn.
 *
 * Results: a count or 0, or -ETIMEDOUT, -ECANCELED, -EPIPE (the peer has closed or reset; at end of
 * file with bytes missing too), -EMSGSIZE (line too long), -EPROTO (TLS broken), -ENOMEM. After an
 * error other than -EMSGSIZE and -ETIMEDOUT the stream is only good for freeing; so it is after a
 * write that timed out with a part of its bytes gone (then -EPIPE follows). A cancelled task reads
 * nothing more, but what it writes still goes as far as it goes without waiting (a last reply).
 */
#ifndef STREAM_H
#define STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/auto.h"
#include "base/net.h"

struct stream;
struct ssl_ctx_st;
struct ssl_st;
struct x509_st;
struct tls_dane;        /* base/tls_dane.h */

/* Read at once from the socket at most; what is written and exceeds it is flushed. */
enum { STREAM_CHUNK = 64 * 1024 };

/*
 * Takes fd over (closes it with the stream), makes it non-blocking. NULL: no memory, and fd is
 * closed.
 */
struct stream *stream_new(int fd);
/* The same of one that is non-blocking already, and sends without delay (TCP_NODELAY): as accepted from a listener of ours. */
struct stream *stream_new_ready(int fd);
/*
 * Closes at once, without flush; TLS close_notify is tried, never waited for. If the peer has sent
 * what was not read, TCP resets the connection, and what the peer has not read yet may be lost with
 * it: a last reply that matters wants stream_close first.
 */
void stream_free(struct stream *s);
AUTO_DEFINE(stream)

/*
 * Connect; from NULL or with port 0 as the source address. may wait. 0 and *out, or -errno of
 * connect(2), -ETIMEDOUT.
 */
int stream_connect(const struct net_addr *to, const struct net_addr *from, int timeout_ms,
		   struct stream **out);

/*
 * The same of a socket that somebody else has made, bound and begun to connect (connect(2) said 0 or
 * EINPROGRESS): waits for the connection. fd is taken over, even on failure. may wait
 */
int stream_connecting(int fd, int timeout_ms, struct stream **out);

int stream_fd(const struct stream *s);

/*
 * No wait on this stream ends later than this moment of clock_ms() (a budget over several
 * commands); 0: none.
 */
void stream_set_deadline(struct stream *s, int64_t deadline_ms);
int64_t stream_deadline(const struct stream *s);

/*
 * One line up to and including LF, at most max bytes (and STREAM_CHUNK) with it. *line points into
 * the stream's buffer, not NUL-terminated, valid until the next call; the line is eaten. *len
 * counts the CRLF or LF. -EMSGSIZE: the line is longer; the rest of it is skipped up to its LF
 * first (of more than 1 MiB: -EPIPE). The time is for the whole line. may wait
 */
int stream_read_line(struct stream *s, size_t max, int timeout_ms, const char **line, size_t *len);

/*
 * Whatever is there, at least one byte (waiting for it), at most STREAM_CHUNK; not eaten until
 * stream_eat, which ends the life of *p. What was not eaten is shown again, without a wait: eat
 * something, or there is no progress. 0 bytes never come. At the end, -EPIPE. may wait
 */
int stream_peek(struct stream *s, int timeout_ms, const char **p, size_t *len);
void stream_eat(struct stream *s, size_t len);

/* Bytes already received (in the buffer or inside TLS) and not eaten. Never waits. */
size_t stream_pending(const struct stream *s);

/*
 * Wait until there is something to read (an end or error counts), without allocating for it;
 * flushes first. may wait
 */
int stream_wait_readable(struct stream *s, int timeout_ms);

/*
 * Add to the write buffer; flushes by itself when it exceeds STREAM_CHUNK. 16 KiB or more go at
 * once, uncopied. may wait
 */
int stream_write(struct stream *s, const void *p, size_t len);
int stream_printf(struct stream *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int stream_flush(struct stream *s, int timeout_ms);
/* How long a flush that a write or read causes may take; default 5 minutes. */
void stream_set_write_timeout(struct stream *s, int timeout_ms);

/*
 * The handshake. The caller has made sure that nothing is pending (CVE-2011-0411). hostname: SNI, and
 * the name that is verified if the context verifies. -EPROTO with stream_error() saying why. may
 * wait
 */
int stream_tls_accept(struct stream *s, struct ssl_ctx_st *ctx, int timeout_ms);
int stream_tls_connect(struct stream *s, struct ssl_ctx_st *ctx, const char *hostname,
		       int timeout_ms);
/* The same, for a context that does not verify: the server is told whom we look for (NULL: nobody), and no name is looked at. */
int stream_tls_connect_any(struct stream *s, struct ssl_ctx_st *ctx, const char *sni, int timeout_ms);
/*
 * The same as accept, with a certificate that is chosen when it is known whom the client asks for: choose(arg, name, ssl) gives it to ssl and returns 0, or
 * -errno, which ends the handshake. name: of SNI, NULL without one. It may wait; time goes on.
 */
typedef int stream_choose_fn(void *arg, const char *name, struct ssl_st *ssl);
int stream_tls_accept_as(struct stream *s, struct ssl_ctx_st *ctx, stream_choose_fn *choose, void *arg, int timeout_ms);
/* The same, the server authenticated by TLSA records (base/tls_dane.h); ctx is a tls_dane_ctx. */
int stream_tls_connect_dane(struct stream *s, struct ssl_ctx_st *ctx, const struct tls_dane *dane, int timeout_ms);
bool stream_is_tls(const struct stream *s);
const char *stream_tls_version(const struct stream *s); /* "TLSv1.3"; NULL when plain */
const char *stream_tls_cipher(const struct stream *s);
const char *stream_tls_asked(const struct stream *s);   /* of a server's stream: whom the client looks for (SNI); NULL: nobody */
bool stream_tls_verified(const struct stream *s);
/* Whether its certificate has the name and is of a known CA, although the context does not demand it (tls_client_ctx_lenient). */
bool stream_tls_trusted(const struct stream *s);
/* Whether it is one that its context has a pin for (base/tls_peer.h): trusted, too. Without it no handshake of such a context succeeds. */
bool stream_tls_pinned(const struct stream *s);
/* The peer has said that it ends (close_notify): what came is all there was to come. */
/* The peer's certificate, NULL without one; the stream's. */
struct x509_st *stream_tls_certificate(const struct stream *s);
bool stream_tls_ended(const struct stream *s);
const char *stream_error(const struct stream *s); /* the last TLS error in words, or "" */

/*
 * Ends the writing side politely (close_notify, FIN) and waits for the peer's end up to timeout_ms.
 * may wait
 */
void stream_close(struct stream *s, int timeout_ms);

/*
 * Whether all that was written reached the peer: all is acknowledged, and the connection was not reset (a peer that ends without having read
 * what lies there resets it). Waits for the one or the other up to timeout_ms; good after an end of file or an error, too. may wait
 */
bool stream_arrived(struct stream *s, int timeout_ms);

/* Whether anything waits to be read: bytes, an end, an error. Never waits. */
bool stream_spoken_to(const struct stream *s);

/* Whether the peer has ended its side, or the connection is broken; what it has said before may still wait to be read. Never waits. */
bool stream_left(const struct stream *s);

/* Whether all that was written has been acknowledged by the peer's TCP (SIOCOUTQ). */
bool stream_acked(const struct stream *s);

/*
 * What comes and goes may be a password: memory that held bytes of this stream is overwritten when they have been eaten or sent, while this is set.
 * Set it before such bytes can come.
 */
void stream_set_secret(struct stream *s, bool secret);

/* Totals of bytes that crossed the socket's inside (after TLS). */
uint64_t stream_bytes_in(const struct stream *s);
uint64_t stream_bytes_out(const struct stream *s);

#endif
