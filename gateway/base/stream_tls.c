#include "base/stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "base/stream_impl.h"
#include "base/tls.h"
#include "base/tls_dane.h"
#include "base/tls_peer.h"

/* Why it went wrong, for stream_error(); the queue is empty afterwards. */
static void error_keep(struct stream *s)
{
	char text[256];
	long verify = s->ssl ? SSL_get_verify_result(s->ssl) : X509_V_OK;

	tls_error(text, sizeof(text));
	free(s->error);
	s->error = strdup(
	    s->tls_verify && verify != X509_V_OK ? X509_verify_cert_error_string(verify) : text);
}

static bool eof_in_queue(void)
{
	return ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
}

/* What the result of an SSL call means: 0 to wait and try again, or the error. */
static int outcome(struct stream *s, int ret)
{
	int rc = -EPROTO;

	switch (SSL_get_error(s->ssl, ret)) {
	/* OpenSSL takes an interruption for no more bytes: no event would tell of those that are there. */
	case SSL_ERROR_WANT_READ:
		s->readable = errno == EINTR;
		return 0;
	case SSL_ERROR_WANT_WRITE:
		s->writable = errno == EINTR;
		return 0;
	case SSL_ERROR_ZERO_RETURN: /* close_notify */
		return -EPIPE;
	case SSL_ERROR_SYSCALL:
		s->reset = true;
		rc = -EPIPE;
		break;
	case SSL_ERROR_SSL:
		/*
		 * The protocols inside have ends of their own: a lost close_notify is no more than
		 * a lost connection.
		 */
		if (eof_in_queue())
			rc = -EPIPE;
		break;
	}
	error_keep(s);
	s->tls_up = false; /* OpenSSL forbids a shutdown after a fatal error */
	s->broken = true;
	return rc;
}

ssize_t stream_tls_read(struct stream *s, char *p, size_t size)
{
	size_t got = 0, n;
	int ret;

	/* A record holds 16 KiB at most: take all that have come. */
	do {
		ERR_clear_error();
		errno = 0;
		ret = SSL_read_ex(s->ssl, p + got, size - got, &n);
		if (ret > 0)
			got += n;
	} while (ret > 0 && got < size && SSL_has_pending(s->ssl));
	if (got) {
		if (ret <= 0 && SSL_get_error(s->ssl, ret) == SSL_ERROR_WANT_READ)
			s->readable = errno == EINTR;
		/* Any other end will be met again by the next read. */
		ERR_clear_error();
		return (ssize_t)got;
	}
	return outcome(s, ret);
}

ssize_t stream_tls_write(struct stream *s, const char *p, size_t len)
{
	size_t n;
	int ret;

	/* An interruption is no wait: neither an event nor the other side would tell that it is over. */
	do {
		ERR_clear_error();
		errno = 0;
		ret = SSL_write_ex(s->ssl, p, len, &n);
	} while (ret <= 0 && errno == EINTR);
	return ret > 0 ? (ssize_t)n : outcome(s, ret);
}

size_t stream_tls_pending(const struct stream *s)
{
	int n = SSL_pending(s->ssl);

	return n > 0 ? (size_t)n : 0;
}

bool stream_tls_buffered(const struct stream *s)
{
	return SSL_has_pending(s->ssl);
}

void stream_tls_shutdown(struct stream *s)
{
	if (!s->tls_up)
		return;
	ERR_clear_error();
	SSL_shutdown(s->ssl);
	ERR_clear_error();
}

void stream_tls_release(struct stream *s)
{
	SSL_free(s->ssl);
	s->ssl = NULL;
	s->tls_up = false;
}

static int tls_begin(struct stream *s, SSL_CTX *ctx)
{
	if (s->broken || s->eof)
		return -EPIPE;
	if (s->ssl)
		return -EPROTO;
	ERR_clear_error();
	s->ssl = SSL_new(ctx);
	if (!s->ssl || SSL_set_fd(s->ssl, s->fd) != 1) {
		error_keep(s);
		stream_tls_release(s);
		return -ENOMEM;
	}
	s->tls_verify = SSL_get_verify_mode(s->ssl) & SSL_VERIFY_PEER;
	s->readable = s->writable = true;
	s->short_read = false;
	stream_tls_secret(s);
	return 0;
}

void stream_tls_secret(struct stream *s)
{
	if (s->secret)
		SSL_set_options(s->ssl, SSL_OP_CLEANSE_PLAINTEXT);
	else
		SSL_clear_options(s->ssl, SSL_OP_CLEANSE_PLAINTEXT);
}

/* A choice under way, on the stack of the task that does the handshake. */
struct choice {
	stream_choose_fn *choose;
	void *arg;
	int rc;                         /* 1: not made yet */
};

static int choice_asked(SSL *ssl, void *arg)
{
	const struct choice *c = arg;

	return c->rc == 1 ? -1 : c->rc == 0;
}

/* The handshake stands still: now is the time. may wait */
static void choose(struct stream *s, struct choice *c)
{
	const char *name = SSL_get_servername(s->ssl, TLSEXT_NAMETYPE_host_name);

	ERR_clear_error();
	c->rc = c->choose(c->arg, name, s->ssl);
}

static int handshake(struct stream *s, int timeout_ms, struct choice *c)
{
	int64_t until = stream_until(s, timeout_ms);
	int rc = 0;

	while (rc == 0) {
		int ret;

		if (task_cancelled()) {
			rc = -ECANCELED;
			break;
		}
		ERR_clear_error();
		errno = 0;
		ret = SSL_do_handshake(s->ssl);
		if (ret == 1) {
			s->tls_up = true;
			/* It went deep, and the session may now wait for long. */
			task_stack_trim();
			return 0;
		}
		if (c && c->rc == 1 && SSL_want_x509_lookup(s->ssl)) {
			choose(s, c);
			continue;
		}
		rc = outcome(s, ret);
		if (rc < 0 && task_cancelled())
			rc = -ECANCELED;        /* while it waited for a signature */
		if (rc == 0 && errno != EINTR)
			rc = s->writable ? stream_wait_in(s, until) : stream_wait_out(s, until);
	}
	s->broken = true;
	return c && c->rc < 0 ? c->rc : rc;
}

/* What a context with pins wants to see. The handshake is over, and nothing has been said under it. */
static int pins_look(struct stream *s)
{
	AUTO(buf) struct buf seen = BUF_INIT(256);
	int rc = tls_peer_pinned(s->ssl, &seen);

	s->tls_pinned = rc > 0;
	if (rc >= 0)
		return 0;
	free(s->error);
	s->error = strdup(buf_str(&seen));
	s->broken = true;
	return -EPROTO;
}

/* A client's. */
static int connect_handshake(struct stream *s, int timeout_ms)
{
	int rc = handshake(s, timeout_ms, NULL);

	return rc < 0 ? rc : pins_look(s);
}

static int accept_begin(struct stream *s, SSL_CTX *ctx, int timeout_ms)
{
	int rc = stream_flush(s, timeout_ms);

	if (rc == 0)
		rc = tls_begin(s, ctx);
	if (rc == 0)
		SSL_set_accept_state(s->ssl);
	return rc;
}

int stream_tls_accept(struct stream *s, struct ssl_ctx_st *ctx, int timeout_ms)
{
	int rc = accept_begin(s, ctx, timeout_ms);

	return rc ? rc : handshake(s, timeout_ms, NULL);
}

int stream_tls_accept_as(struct stream *s, struct ssl_ctx_st *ctx, stream_choose_fn *choose_fn, void *arg, int timeout_ms)
{
	struct choice c = { choose_fn, arg, 1 };
	int rc = accept_begin(s, ctx, timeout_ms);

	if (rc)
		return rc;
	SSL_set_cert_cb(s->ssl, choice_asked, &c);
	rc = handshake(s, timeout_ms, &c);
	SSL_set_cert_cb(s->ssl, NULL, NULL);
	return rc;
}

/*
 * What the certificate must name, and what the server is told that we look for (no addresses there:
 * RFC 6066 section 3).
 */
static int name_set(struct stream *s, const char *hostname)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(s->ssl);
	struct in6_addr ip;
	bool is_ip =
	    inet_pton(AF_INET, hostname, &ip) == 1 || inet_pton(AF_INET6, hostname, &ip) == 1;
	int ok;

	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	if (is_ip)
		ok = X509_VERIFY_PARAM_set1_ip_asc(param, hostname);
	else
		ok = X509_VERIFY_PARAM_set1_host(param, hostname, 0) &&
		     SSL_set_tlsext_host_name(s->ssl, hostname);
	return ok == 1 ? 0 : -EPROTO;
}

int stream_tls_connect(struct stream *s, struct ssl_ctx_st *ctx, const char *hostname,
		       int timeout_ms)
{
	int rc = stream_flush(s, timeout_ms);

	if (rc == 0)
		rc = tls_begin(s, ctx);
	if (rc)
		return rc;
	SSL_set_connect_state(s->ssl);
	if (hostname)
		rc = name_set(s, hostname);
	else if (s->tls_verify)
		rc = -EPROTO; /* verified without a name means nothing */
	if (rc == 0)
		return connect_handshake(s, timeout_ms);
	error_keep(s);
	if (!hostname) {
		free(s->error);
		s->error = strdup("no name to verify");
	}
	s->broken = true;
	return rc;
}

int stream_tls_connect_any(struct stream *s, struct ssl_ctx_st *ctx, const char *sni, int timeout_ms)
{
	int rc = stream_flush(s, timeout_ms);

	if (rc == 0)
		rc = tls_begin(s, ctx);
	if (rc)
		return rc;
	SSL_set_connect_state(s->ssl);
	if (!s->tls_verify && (!sni || SSL_set_tlsext_host_name(s->ssl, sni) == 1))
		return connect_handshake(s, timeout_ms);
	error_keep(s);
	s->broken = true;
	return -EPROTO;
}

int stream_tls_connect_dane(struct stream *s, struct ssl_ctx_st *ctx, const struct tls_dane *dane, int timeout_ms)
{
	int rc = stream_flush(s, timeout_ms);

	if (rc == 0)
		rc = tls_begin(s, ctx);
	if (rc)
		return rc;
	SSL_set_connect_state(s->ssl);
	rc = tls_dane_apply(dane, s->ssl);
	if (rc == 0)
		return connect_handshake(s, timeout_ms);
	error_keep(s);
	s->broken = true;
	return rc;
}

bool stream_is_tls(const struct stream *s)
{
	return s->ssl != NULL;
}

const char *stream_tls_version(const struct stream *s)
{
	return s->ssl ? SSL_get_version(s->ssl) : NULL;
}

const char *stream_tls_cipher(const struct stream *s)
{
	return s->ssl ? SSL_get_cipher_name(s->ssl) : NULL;
}

const char *stream_tls_asked(const struct stream *s)
{
	return s->ssl ? SSL_get_servername(s->ssl, TLSEXT_NAMETYPE_host_name) : NULL;
}

bool stream_tls_verified(const struct stream *s)
{
	return s->tls_verify && stream_tls_trusted(s);
}

struct x509_st *stream_tls_certificate(const struct stream *s)
{
	return s->ssl ? SSL_get0_peer_certificate(s->ssl) : NULL;
}

bool stream_tls_ended(const struct stream *s)
{
	return s->ssl && SSL_get_shutdown(s->ssl) & SSL_RECEIVED_SHUTDOWN;
}

bool stream_tls_trusted(const struct stream *s)
{
	return s->tls_pinned || (s->tls_up && SSL_get_verify_result(s->ssl) == X509_V_OK && SSL_get0_peer_certificate(s->ssl));
}

bool stream_tls_pinned(const struct stream *s)
{
	return s->tls_pinned;
}
