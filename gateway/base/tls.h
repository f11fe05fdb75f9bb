/*
 * tls - OpenSSL contexts for both legs, TLS 1.2 and 1.3
 *
 * A context is made from PEM text, not from paths: the parent reads files, workers get bytes. TLS
 * is done by streams (stream_tls_accept, stream_tls_connect), which own the SSL objects.
 */
#ifndef TLS_H
#define TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct key_signer;
struct ssl_ctx_st;

/* As configured for the backend leg. */
enum tls_mode { TLS_OFF, TLS_OPPORTUNISTIC, TLS_REQUIRED }; /* required: verified by CA and name */

/* What a server shows, and what it signs with: a key, or (key_pem NULL) key number of somebody who has it, base/tls_key.h. */
struct tls_pair {
	const char *cert_pem, *key_pem;
	const struct key_signer *by;
	uint32_t number;
};

/*
 * A server context with its certificate chain and key. 0, or -EINVAL with the reason in err (a
 * sentence for people). *out is freed with tls_ctx_free.
 */
int tls_server_ctx(const char *cert_pem, const char *key_pem, struct ssl_ctx_st **out,
		   struct buf *err);
int tls_server_ctx_pair(const struct tls_pair *pair, struct ssl_ctx_st **out, struct buf *err);

/*
 * From now on all server contexts that this process and its children make take each other's tickets, and none of before: a client comes back to any of
 * several workers. Without it each context has a key of its own. 0, or -EIO: no random octets.
 */
int tls_tickets_renew(void);

/* One without a certificate: each handshake is told its own (stream_tls_accept_as). Without resumption, which would pass it over. */
int tls_server_ctx_bare(struct ssl_ctx_st **out, struct buf *err);

/*
 * A client context; ca_pem NULL: the system's store, loaded now (before any chroot). verify false:
 * any certificate.
 */
int tls_client_ctx(bool verify, const char *ca_pem, struct ssl_ctx_st **out, struct buf *err);

/*
 * The same, verifying, in pieces: between() is called after every few certificates, since a system's store takes a tenth of a second. NULL: never. may wait, as
 * between does.
 */
int tls_client_ctx_slowly(const char *ca_pem, void (*between)(void), struct ssl_ctx_st **out, struct buf *err);

/* The system's CA certificates as text, to be handed to the above once no path can be opened. 0 and *out (free), or -EINVAL with err. */
int tls_system_cas(char **out, struct buf *err);

/*
 * A client context that goes on whatever the certificate is, but looks at it with the CAs of a verifying context (which it shares): stream_tls_trusted
 * says what was found. 0, or -EINVAL with err.
 */
int tls_client_ctx_lenient(struct ssl_ctx_st *verifying, struct ssl_ctx_st **out, struct buf *err);
void tls_ctx_free(struct ssl_ctx_st *ctx);

/*
 * Whether there is something with the first certificate of cert_pem that clients will not like: it has expired, begins only later, or does not carry
 * name ("*.example.org" too; NULL: not looked at). true, and what it is in why: "has expired on Nov 22 09:00:00 2026 GMT".
 */
bool tls_certificate_doubt(const char *cert_pem, const char *name, struct buf *why);

/* A self-signed P-256 certificate for host name, ten years, as PEM. 0 or -errno. */
int tls_self_signed(const char *hostname, struct buf *cert_pem, struct buf *key_pem);

/* The suites of TLS 1.2 that both legs have, as OpenSSL writes such a list. */
const char *tls_suites(void);

/* The oldest error of OpenSSL's queue as text, and the queue is empty afterwards. Returns out. */
const char *tls_error(char *out, size_t size);
/* What was asked, and what OpenSSL says, in err. -EINVAL. */
int tls_refuse(struct buf *err, const char *what);

/* A callback for readers of PEM: the default one would ask on the terminal. */
int tls_no_password(char *p, int size, int writing, void *arg);

#endif
