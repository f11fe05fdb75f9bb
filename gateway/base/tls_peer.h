/*
 * tls_peer - a client's context for one server that is not as all others are: old protocols and suites, or a certificate that is known by its digest
 *
 * Without more the context is that of tls_client_ctx: TLS 1.2 and up, suites with forward secrecy. Below that:
 *
 * - min below 1.2: suites that exchange the key by RSA come last in the list, since servers of that age seldom have others (Exchange before Windows
 *   Server 2008, Domino 9). 3DES and RC4, which Windows Server 2003 wants, are not in Debian's OpenSSL at all.
 * - level: OpenSSL's security level. Above 0 it does not speak TLS 1.0 and 1.1, whose signatures are SHA-1. At 0, and where no certificate is looked
 *   at, servers without secure renegotiation (RFC 5746) are taken, too: we never renegotiate.
 * - pins: the server's certificate or key has one of these digests, else the handshake fails (stream_error says which it has). No CA, no
 *   name and no date plays a part then. They belong to the context: stream_tls_connect and its kin look at them whoever calls.
 */
#ifndef TLS_PEER_H
#define TLS_PEER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

struct ssl_ctx_st;
struct ssl_st;

enum tls_version { TLS_VERSION_1_0, TLS_VERSION_1_1, TLS_VERSION_1_2, TLS_VERSION_1_3 };

enum { TLS_PINS_MAX = 16, TLS_LEVEL_DEFAULT = -1, TLS_PIN_BYTES = 32, TLS_PIN_TEXT_MAX = 80 };

/* SHA-256 of the certificate (DER), or of its public key (SubjectPublicKeyInfo, as RFC 7469 does). */
struct tls_pin {
	bool key;
	unsigned char digest[TLS_PIN_BYTES];
};

struct tls_peer {
	bool verify;                    /* by CA and name, where there are no pins */
	const char *ca_pem;             /* NULL: the system's */
	enum tls_version min;
	int level;                      /* 0..5, or TLS_LEVEL_DEFAULT: the build's own; without verify 1 */
	const char *ciphers;            /* of TLS 1.2 and older, as OpenSSL writes lists; NULL: our own */
	const struct tls_pin *pin;
	size_t pin_count;
};

/* 0 and *out (tls_ctx_free), or -EINVAL with the reason in err. */
int tls_peer_ctx(const struct tls_peer *p, struct ssl_ctx_st **out, struct buf *err);

/*
 * "sha256:HEX", "sha256-key:HEX": 64 hexadecimal digits of either case, with colons between octets or without, as `openssl x509 -fingerprint` prints
 * them. false: it is no pin.
 */
bool tls_pin_parse(const char *text, struct tls_pin *out);
/* The same in lower case without colons. Returns out. */
const char *tls_pin_text(const struct tls_pin *pin, char out[TLS_PIN_TEXT_MAX]);

/* Of a certificate. false: no memory. */
struct x509_st;
bool tls_pin_of(const struct x509_st *cert, bool key, struct tls_pin *out);

/*
 * After a handshake: whether the server is one of those that its context has pins for. 1: it is; 0: the context has none; -EACCES: it is not, what it
 * has is appended to seen ("its certificate is sha256:..., which is none of tls_pin").
 */
int tls_peer_pinned(struct ssl_st *ssl, struct buf *seen);

/*
 * The first suite of a list that has no forward secrecy, "" when there is none. Those without encryption or authentication are never used, whatever the
 * list says. 0, or -EINVAL: OpenSSL finds nothing usable in it.
 */
enum { TLS_SUITE_MAX = 64 };
int tls_suites_look(const char *ciphers, char none[TLS_SUITE_MAX]);

/* The security level of this build and system. */
int tls_level_own(void);

#endif
