#include "rig/end.h"

#include <assert.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#include "base/tls.h"

void end_begin(struct end *e, struct wire *w)
{
	*e = (struct end){ .w = w, .heard = BUF_INIT(KERNEL_BYTES_MAX), .unsent = BUF_INIT(KERNEL_BYTES_MAX), .later = BUF_INIT(KERNEL_BYTES_MAX),
			   .mark = BUF_INIT(1 << 20) };
}

void end_release(struct end *e)
{
	if (e->w)
		wire_leave(e->w);
	SSL_free(e->ssl);
	buf_release(&e->heard);
	buf_release(&e->unsent);
	buf_release(&e->later);
	buf_release(&e->mark);
	memset(e, 0, sizeof(*e));
}

/* Around TLS. */
static void raw_say(struct end *e, const void *p, size_t len)
{
	buf_add(&e->unsent, p, len);
}

void end_piece(struct end *e)
{
	uint64_t at = e->delivered + e->unsent.len;

	buf_add(&e->mark, &at, sizeof(at));
}

/* What OpenSSL wants to be sent. */
static void tls_collect(struct end *e)
{
	char bytes[4096];
	int n;

	while ((n = BIO_read(e->out, bytes, sizeof(bytes))) > 0)
		raw_say(e, bytes, (size_t)n);
	ERR_clear_error();
}

void end_say(struct end *e, const void *p, size_t len)
{
	if (!len)
		return;
	if (!e->ssl || e->shut || e->broken) {
		raw_say(e, p, len);
		e->clear += e->ssl ? 0 : len;
	} else if (!e->up) {
		buf_add(&e->later, p, len);
	} else {
		SSL_write(e->ssl, p, (int)len);
		tls_collect(e);
	}
}

void end_says(struct end *e, const char *text)
{
	end_say(e, text, strlen(text));
}

void end_shut(struct end *e)
{
	if (!e->up || e->shut)
		return;
	SSL_shutdown(e->ssl);
	tls_collect(e);
	e->shut = true;
}

/* The handshake goes on; then records. */
static void tls_go(struct end *e)
{
	char bytes[16384];
	int n;

	if (!e->up && !e->broken) {
		n = SSL_do_handshake(e->ssl);
		e->up = n == 1;
		e->broken = n != 1 && SSL_get_error(e->ssl, n) != SSL_ERROR_WANT_READ;
		tls_collect(e);
		if (e->up && e->later.len) {
			SSL_write(e->ssl, e->later.data, (int)e->later.len);
			tls_collect(e);
			buf_clear(&e->later);
		}
	}
	while (e->up && (n = SSL_read(e->ssl, bytes, sizeof(bytes))) > 0)
		buf_add(&e->heard, bytes, (size_t)n);
	if (e->up)
		e->notified = SSL_get_shutdown(e->ssl) & SSL_RECEIVED_SHUTDOWN;
	ERR_clear_error();
	tls_collect(e);
}

void end_tls(struct end *e, struct ssl_ctx_st *ctx, bool server)
{
	if (e->ssl || !e->w)
		return;
	e->ssl = SSL_new(ctx);
	e->in = BIO_new(BIO_s_mem());
	e->out = BIO_new(BIO_s_mem());
	assert(e->ssl && e->in && e->out);
	BIO_set_mem_eof_return(e->in, -1);
	SSL_set_bio(e->ssl, e->in, e->out);
	if (server)
		SSL_set_accept_state(e->ssl);
	else
		SSL_set_connect_state(e->ssl);
	tls_go(e);
}

bool end_take(struct end *e)
{
	struct wire *w = e->w;
	bool any;

	if (!w)
		return false;
	any = w->out.len > 0 || (w->out_end && !e->over);
	e->over |= w->out_end;
	if (w->out.len && e->ssl && !e->broken) {
		BIO_write(e->in, w->out.data, (int)w->out.len);
		tls_go(e);
		/* The gateway knows nothing of TLS, and goes on in clear; but an alert is one. */
		if (e->broken && !e->up && (unsigned char)w->out.data[0] >= ' ')
			buf_add(&e->heard, w->out.data, w->out.len);
	} else if (w->out.len) {
		buf_add(&e->heard, w->out.data, w->out.len);
	}
	buf_clear(&w->out);
	assert(!e->heard.failed && !e->unsent.failed);
	return any;
}

/* How many of the octets that are to arrive come in one read. */
static size_t piece(struct end *e)
{
	size_t n = e->unsent.len;
	uint64_t mark;

	while (e->mark.len) {
		memcpy(&mark, e->mark.data, sizeof(mark));
		if (mark > e->delivered) {
			n = mark - e->delivered < n ? (size_t)(mark - e->delivered) : n;
			break;
		}
		buf_eat(&e->mark, sizeof(mark));
	}
	if (e->pace.split > e->delivered && e->pace.split - e->delivered < n)
		n = (size_t)(e->pace.split - e->delivered);
	return e->pace.each && n > e->pace.each ? e->pace.each : n;
}

bool end_deliver(struct end *e)
{
	size_t n = e->w ? piece(e) : 0;

	if (n) {
		size_t clear = n < e->clear ? n : e->clear;

		wire_feed(e->w, e->unsent.data, n);
		if (clear && e->arrived)
			e->arrived(e->arg, e->unsent.data, clear);
		e->clear -= clear;
		e->delivered += n;
		buf_eat(&e->unsent, n);
		return true;
	}
	if (!e->w || e->then == END_STAYS)
		return false;
	if (e->then == END_FIN) {
		wire_end(e->w);
	} else {
		if (e->then == END_RST)
			wire_cut(e->w);
		wire_leave(e->w);
		e->w = NULL;
		e->over = true;
	}
	e->then = END_STAYS;
	return true;
}

static struct {
	struct ssl_ctx_st *client, *server;
	char *cert, *key;
} own;

static void own_make(void)
{
	struct buf cert = BUF_INIT(16384), key = BUF_INIT(16384);

	if (own.cert)
		return;
	assert(tls_self_signed("gate.example", &cert, &key) == 0);
	own.cert = buf_steal(&cert);
	own.key = buf_steal(&key);
}

const char *end_certificate(void)
{
	own_make();
	return own.cert;
}

const char *end_key(void)
{
	own_make();
	return own.key;
}

struct ssl_ctx_st *end_client_ctx(void)
{
	if (!own.client) {
		own.client = SSL_CTX_new(TLS_client_method());
		assert(own.client);
	}
	return own.client;
}

struct ssl_ctx_st *end_server_ctx(void)
{
	AUTO(buf) struct buf err = BUF_INIT(1024);

	if (!own.server)
		assert(tls_server_ctx(end_certificate(), end_key(), &own.server, &err) == 0);
	return own.server;
}
