/*
 * tls_ca - the site's own CA: its key, and certificates that it signs
 *
 * A certificate is for a list of names and for a P-256 key; it is never one of a CA, serves TLS servers alone, and is valid for a week.
 *
 * A list of names is bytes, as they are sent from one process to the other: for each name its kind, its length and it. A host name is 1 to 253 printable
 * ASCII characters, an address 4 or 16 octets.
 */
#ifndef TLS_CA_H
#define TLS_CA_H

#include <stdbool.h>
#include <stddef.h>

#include "base/auto.h"
#include "base/buf.h"

struct evp_pkey_st;
struct stack_st_X509;
struct tls_ca;

enum {
	TLS_CA_NAMES_MAX = 200, TLS_CA_NAME_BYTES = 253,
	TLS_CA_LIST_BYTES = TLS_CA_NAMES_MAX * (TLS_CA_NAME_BYTES + 2),
	TLS_CA_POINT_BYTES = 65,        /* a public key on P-256, uncompressed */
	TLS_CA_DNS = 'd', TLS_CA_ADDRESS = 'a',
	TLS_CA_CHAIN_MAX = 8,
};

/* Add a name to a list. 0, -EINVAL: it is none, -E2BIG: there are TLS_CA_NAMES_MAX, -ENOMEM. */
int tls_ca_name_add(struct buf *list, int kind, const void *p, size_t len);
/* The next name of the list, from *at on. false: it ends here, or is none: then *at < len. */
bool tls_ca_name_next(const unsigned char *list, size_t len, size_t *at, int *kind, const unsigned char **p, size_t *n);
/* Whether it is a list, with a name at least. */
bool tls_ca_names_good(const unsigned char *list, size_t len);

/* The certificates in pem, the CA's first, then those above it: *out (sk_X509_pop_free), or -EINVAL with the reason in err. */
int tls_ca_chain(const char *pem, struct stack_st_X509 **out, struct buf *err);

/* The CA's certificate (with those above it, where it is not a root) and its key, PEM. 0, or -EINVAL with the reason in err. */
int tls_ca_new(const char *ca_pem, const char *key_pem, struct tls_ca **out, struct buf *err);
void tls_ca_free(struct tls_ca *ca);
AUTO_DEFINE(tls_ca)
struct evp_pkey_st *tls_ca_key(struct tls_ca *ca);

/* A certificate, DER. 0, -EINVAL: that is no list, or no key, or -ENOMEM. */
int tls_ca_sign(struct tls_ca *ca, const unsigned char point[TLS_CA_POINT_BYTES], const unsigned char *names, size_t len, struct buf *der);

#endif
