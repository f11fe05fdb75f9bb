/*
 * key_scheme - the ways in which a private key signs, named as TLS names them (RFC 8446 section 4.2.3)
 *
 * SHA-256, SHA-384 or SHA-512; nothing older. An RSA key signs by PKCS#1 or PSS (the salt as long as the hash), one for PSS alone only by that.
 */
#ifndef KEY_SCHEME_H
#define KEY_SCHEME_H

#include <stdbool.h>
#include <stddef.h>

struct evp_pkey_st;

enum {
	KEY_SIGNATURE_MAX = 2048,               /* of RSA with 16384 bits, which is OpenSSL's bound, too */
	KEY_SCHEME_RSA_SHA256 = 0x0401,         /* PKCS#1 */
	KEY_SCHEME_RSA_SHA384 = 0x0501,
	KEY_SCHEME_RSA_SHA512 = 0x0601,
	KEY_SCHEME_EC_SHA256 = 0x0403,
	KEY_SCHEME_EC_SHA384 = 0x0503,
	KEY_SCHEME_EC_SHA512 = 0x0603,
	KEY_SCHEME_RSA_PSS_SHA256 = 0x0804,
	KEY_SCHEME_RSA_PSS_SHA384 = 0x0805,
	KEY_SCHEME_RSA_PSS_SHA512 = 0x0806,
	KEY_SCHEME_ED25519 = 0x0807,
	KEY_SCHEME_ED448 = 0x0808,
	KEY_SCHEME_PSS_SHA256 = 0x0809,         /* of a key for PSS alone */
	KEY_SCHEME_PSS_SHA384 = 0x080a,
	KEY_SCHEME_PSS_SHA512 = 0x080b,
};

/* Whether there is such a scheme; whether it is one of TLS 1.3, too, where PKCS#1 is gone. */
bool key_scheme_known(unsigned scheme);
bool key_scheme_modern(unsigned scheme);

/* By the name of a key's type and of a hash ("": none of its own), as OpenSSL calls them. 0: none. */
unsigned key_scheme_find(const char *type, const char *hash, bool pss);

/*
 * Sign len bytes at p (they are hashed here). The length of the signature, or -EINVAL: the key does not sign so, -ENOSPC: size is too small, -ENOMEM. The queue of
 * errors is empty afterwards.
 */
int key_scheme_sign(struct evp_pkey_st *key, unsigned scheme, const unsigned char *p, size_t len, unsigned char *signature, size_t size);

#endif
