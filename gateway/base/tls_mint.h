/*
 * tls_mint - certificates of the site's own CA, made on the fly for the names of another server
 *
 * For outbound inline sessions that are read on their way: a client that verifies the far end's name is shown a certificate of the site's own CA, which it
 * has been told to trust. It gets the names that the far end's own certificate has, and only when that one was verified; else it is shown a certificate for
 * tls_mint_unverified alone, so that who looks at names refuses, and who takes anybody goes on, as it would have without us.
 *
 * The CA's key is elsewhere: a function is asked for certificates (tls_ca.h makes them). One key for all of them; certificates are kept for TLS_MINT_FRESH_S, TLS_MINT_MAX of them, and are valid for a week.
 */
#ifndef TLS_MINT_H
#define TLS_MINT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/auto.h"

struct buf;
struct ssl_ctx_st;
struct ssl_st;
struct tls_mint;
struct x509_st;

enum { TLS_MINT_MAX = 256, TLS_MINT_FRESH_S = 86400, TLS_MINT_DER_MAX = 64 * 1024 };

struct tls_minter {
	/* As tls_ca_sign. may wait */
	int (*mint)(void *arg, const unsigned char *point, const unsigned char *names, size_t len, struct buf *der);
	void *arg;
};

extern const char tls_mint_unverified[];        /* "unverified.invalid" */

/* The CA's certificate (with those above it, where it is not a root), PEM. *by stays the caller's. 0, or -EINVAL with the reason in err. */
int tls_mint_new(const char *ca_pem, const struct tls_minter *by, struct tls_mint **out, struct buf *err);
void tls_mint_free(struct tls_mint *m);
AUTO_DEFINE(tls_mint)

/* A server context without a certificate and without resumption: each handshake is told its own (stream_tls_accept_as). */
struct ssl_ctx_st *tls_mint_ctx(struct tls_mint *m);

/* For the handshake of ssl: a certificate with the names of far; NULL: far is not known or not verified. 0, -ENOMEM, -EINVAL: it has no names, or what the minter says. may wait */
int tls_mint_use(struct tls_mint *m, struct x509_st *far, struct ssl_st *ssl);

/* 32 bytes that two certificates share when they have the same names, in the same order. 0; -EINVAL: it has none, or x is NULL; -ENOMEM. */
int tls_names_digest(struct x509_st *x, unsigned char out[32]);

#endif
