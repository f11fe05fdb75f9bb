/*
 * tls_key - a key for OpenSSL whose private half is elsewhere
 *
 * It knows the public key, and asks a function for signatures: that of the key process (process/key_client.h), which may take its time. So TLS
 * is done where no private key is.
 *
 * It is a provider of OpenSSL 3 (one that is built in, in a library context of its own, where nothing else finds it): KEYMGMT for the types of
 * key, SIGNATURE for all of them. Not RSA_METHOD and EC_KEY_METHOD, the older way: an RSA_METHOD is handed a padded block, which the key process would
 * have to sign (or decrypt) blindly, whatever it is; and Ed25519 has no such table. A provider is handed the very bytes that TLS wants signed, so
 * that whoever holds the key sees what it signs.
 *
 * The function runs inside SSL_do_handshake, on the stack of the task that does the handshake: it may wait. The queue of errors is empty when it is called.
 */
#ifndef TLS_KEY_H
#define TLS_KEY_H

#include <stddef.h>
#include <stdint.h>

struct evp_pkey_st;

struct key_signer {
	/*
	 * Sign len bytes with key number, by scheme (key_scheme.h): the length of the signature, at most size, or -errno: the handshake fails. may wait
	 */
	int (*sign)(void *arg, uint32_t number, unsigned scheme, const unsigned char *p, size_t len, unsigned char *signature, size_t size);
	void *arg;
};

/*
 * A key that by signs for. pub: what belongs to it, of any type that key_scheme.h knows; it is kept with a count. *by stays the caller's, and stays
 * as long as any context, or session, has the key. 0 and *out (EVP_PKEY_free), or -ENOMEM; -EINVAL: nobody signs with such a key.
 */
int tls_key_new(struct evp_pkey_st *pub, const struct key_signer *by, uint32_t number, struct evp_pkey_st **out);

#endif
