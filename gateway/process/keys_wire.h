/*
 * keys_wire - what workers ask of the key process
 *
 *     CHANNEL_KEYS_SIGN   number, scheme (key_scheme.h), and what is to be signed: what a TLS server signs in a handshake, and nothing else
 *     CHANNEL_KEYS_DKIM   number, a SHA-256 hash
 *     CHANNEL_KEYS_MINT   number, a public key and a list of names (base/tls_ca.h)
 *
 * The answer is a signature, or a certificate (DER); status 0, -ENOKEY: the key of this number is not there, or another -errno. Numbers are of 32 bits, in
 * host order. Reading is strict, and pure: what does not read is not from our workers, and its channel is closed.
 */
#ifndef KEYS_WIRE_H
#define KEYS_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/tls_ca.h"

enum {
	KEYS_HASH_BYTES = 32,
	KEYS_SIGNED_MAX = 4096,                 /* Diffie and Hellman's group with 8192 bits is 2 KiB */
	KEYS_REQUEST_MAX = 4 + TLS_CA_POINT_BYTES + TLS_CA_LIST_BYTES,
};

struct keys_request {
	uint32_t number;
	unsigned scheme;                        /* of CHANNEL_KEYS_SIGN */
	const unsigned char *point;             /* of CHANNEL_KEYS_MINT */
	const unsigned char *p;                 /* what is signed; the hash; the names */
	size_t len;
};

/* type is CHANNEL_KEYS_...; *out points into data. false: it is no request. */
bool keys_request_read(unsigned type, const void *data, size_t len, struct keys_request *out);

/* Add a request to out. 0 or -ENOMEM. */
int keys_sign_write(struct buf *out, uint32_t number, unsigned scheme, const unsigned char *p, size_t len);
int keys_dkim_write(struct buf *out, uint32_t number, const unsigned char hash[KEYS_HASH_BYTES]);
int keys_mint_write(struct buf *out, uint32_t number, const unsigned char point[TLS_CA_POINT_BYTES], const unsigned char *names, size_t len);

/*
 * Whether these bytes are what a server signs by that scheme: of TLS 1.3 (RFC 8446 section 4.4.3), or the parameters of a key exchange of TLS 1.2
 * (RFC 5246 section 7.4.3, RFC 8422 section 5.4).
 */
bool keys_is_handshake(unsigned scheme, const unsigned char *p, size_t len);

#endif
