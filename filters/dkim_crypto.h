/*
 * dkim_crypto - whether a signature is that of a hash, RFC 6376 section 3.3.1 and RFC 8463 section 3
 *
 * RSA (PKCS#1 v1.5) and Ed25519, both over a SHA-256 hash. The key is made from its numbers: OpenSSL's readers of key files
 * take five times as long as the signature itself.
 */
#ifndef DKIM_CRYPTO_H
#define DKIM_CRYPTO_H

#include <stddef.h>

#include "filters/dkim_key.h"

enum { DKIM_CRYPTO_HASH = 32 };

/* 1: it is; 0: it is not; -ENOMEM. */
int dkim_crypto_check(const struct dkim_key *key, const unsigned char hash[DKIM_CRYPTO_HASH], const unsigned char *signature, size_t len);

/* How long that takes: as long as hashing so many octets of a body (turn.h). */
size_t dkim_crypto_cost(const struct dkim_key *key);

#endif
