/*
 * dkim_private - a private key that a domain signs with, RFC 6376 section 3.3, RFC 8301 and RFC 8463
 *
 * RSA of 1024 to 4096 bits (verifiers need not know more), or Ed25519; read from PEM text once, or made anew. It never asks for a pass
 * phrase: a key that has one is refused. No files.
 *
 * The private half may be elsewhere: then the public one is here, and a function is asked for signatures.
 */
#ifndef DKIM_PRIVATE_H
#define DKIM_PRIVATE_H

#include <stddef.h>
#include <stdint.h>

#include "base/auto.h"
#include "base/buf.h"
#include "filters/dkim_crypto.h"

enum {
	DKIM_PRIVATE_BITS_MIN = 1024,           /* RFC 8301 section 3.2 */
	DKIM_PRIVATE_BITS_GOOD = 2048,          /* what it recommends */
	DKIM_PRIVATE_BITS_MAX = 4096,
	DKIM_PRIVATE_SIGNATURE_MAX = DKIM_PRIVATE_BITS_MAX / 8,
};

struct dkim_private;

/* NULL: *why says what is wrong with it (a literal). */
struct dkim_private *dkim_private_read(const char *pem, size_t len, const char **why);
/* A new one; bits: of RSA, within the bounds. NULL: it could not be made. Takes up to seconds for RSA. */
struct dkim_private *dkim_private_make(enum dkim_key_type type, unsigned bits);
/* One of which only the public half is here (DER, SubjectPublicKeyInfo); number is what its holder calls it. NULL: that is none, or no memory. */
struct dkim_private *dkim_private_remote(const unsigned char *der, size_t len, uint32_t number);
void dkim_private_free(struct dkim_private *k);
AUTO_DEFINE(dkim_private)

enum dkim_key_type dkim_private_type(const struct dkim_private *k);
unsigned dkim_private_bits(const struct dkim_private *k);

/*
 * Who signs for those whose private half is elsewhere, in this process: sign writes at most DKIM_PRIVATE_SIGNATURE_MAX bytes, and returns how many, or -errno; it may wait.
 */
void dkim_private_holder(int (*sign)(void *arg, uint32_t number, const unsigned char hash[DKIM_CRYPTO_HASH], unsigned char *signature), void *arg);

/*
 * The signature of a hash: its length in *len. 0, -ENOMEM, -ENOKEY: the private half is elsewhere, and nobody has been named who has it; or what he
 * says. RSA with 2048 bits takes half a millisecond. may wait
 */
int dkim_private_sign(const struct dkim_private *k, const unsigned char hash[DKIM_CRYPTO_HASH],
		      unsigned char signature[DKIM_PRIVATE_SIGNATURE_MAX], size_t *len);

/* The public half, DER. 0 or -ENOMEM. */
int dkim_private_public(const struct dkim_private *k, struct buf *der);

/* PKCS#8 as PEM text. 0 or -ENOMEM. Whoever has it wipes it. */
int dkim_private_pem(const struct dkim_private *k, struct buf *out);

/* The text of the record that publishes it: "v=DKIM1; k=rsa; p=...". 0 or -ENOMEM. */
int dkim_private_record(const struct dkim_private *k, struct buf *out);

#endif
