/*
 * dkim_key - a public key as a domain publishes it in DNS, RFC 6376 section 3.6.1 and RFC 8463
 *
 * The text of a TXT record, strictly read: v= first if it is there, no tag twice, a key for mail (s=), with a
 * hash that is still good (h=), of RSA with 1024 to 8192 bits (RFC 8301) or Ed25519. RSA keys come as
 * SubjectPublicKeyInfo or, as the RFC's own example has it, as RSAPublicKey: both come out as the former. No
 * I/O, no clock.
 */
#ifndef DKIM_KEY_H
#define DKIM_KEY_H

#include <stdbool.h>
#include <stddef.h>

enum { DKIM_KEY_TEXT_MAX = 4096, DKIM_KEY_BYTES_MAX = 1200 };

enum dkim_key_type { DKIM_KEY_RSA, DKIM_KEY_ED25519 };

enum dkim_key_state {
	DKIM_KEY_GOOD,
	DKIM_KEY_BAD,           /* not a key record, or not one that can be used for mail */
	DKIM_KEY_REVOKED,       /* p= is empty */
	DKIM_KEY_WEAK,          /* RSA under 1024 bits */
};

struct dkim_key {
	enum dkim_key_type type;
	unsigned bits;
	bool testing;           /* t=y: the domain is trying DKIM out */
	bool exact_domain;      /* t=s: i= must have the domain d= itself */
	size_t len;
	unsigned char bytes[DKIM_KEY_BYTES_MAX];        /* RSA: SubjectPublicKeyInfo (DER); Ed25519: the 32 bytes */
	struct {
		size_t at, len;
	} modulus, exponent;    /* of RSA, in bytes: big-endian, without leading zeros */
};

/* why: in words, for other states than GOOD (a literal). out is whole for GOOD, has type and bits for WEAK. */
enum dkim_key_state dkim_key_parse(const char *record, size_t len, struct dkim_key *out, const char **why);

#endif
