/*
 * tls_dane - authentication of a server by TLSA records: RFC 6698, as SMTP uses it by RFC 7672
 *
 * Usages 2 (DANE-TA) and 3 (DANE-EE) count; 0 and 1 (PKIX-TA, PKIX-EE) are unusable (RFC 7672 section 3.1.3), and so is what has an unknown selector or
 * matching type or malformed data. With DANE-EE neither names nor dates of the certificate matter (section 3.1.1); with DANE-TA one of the
 * names must be in it (3.2.2). A struct tls_dane is plain memory, made with tls_dane_new; the records of an answer are copied.
 */
#ifndef TLS_DANE_H
#define TLS_DANE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/auto.h"

struct buf;
struct dns_answer;
struct ssl_ctx_st;
struct ssl_st;
struct tls_dane;

enum { TLS_DANE_NAMES = 4, TLS_DANE_RR_MAX = 64, TLS_DANE_USAGE_TA = 2, TLS_DANE_USAGE_EE = 3 };

/* The fixed fields of a TLSA record, RFC 6698 section 2.1. -EBADMSG: shorter than that, or without data. */
struct tls_tlsa {
	uint8_t usage, selector, matching;
	const uint8_t *data;
	size_t len;
};
int tls_tlsa_read(const uint8_t *rdata, size_t len, struct tls_tlsa *out);

/* Whether a server can be authenticated by it. */
bool tls_tlsa_usable(const struct tls_tlsa *t);

/*
 * The usable ones of an answer of type TLSA, TLS_DANE_RR_MAX at most. base: the name that they stand below, which is asked for by SNI and is the first that
 * the certificate of a DANE-TA server may have. How many there are in *out (0: *out is NULL, none is usable), or -ENOMEM.
 */
int tls_dane_new(const struct dns_answer *answer, const char *base, struct tls_dane **out);
void tls_dane_free(struct tls_dane *d);
AUTO_DEFINE(tls_dane)

/* One more name that the certificate of a DANE-TA server may have; those that are there already, and NULL, are passed over. 0 or -ENOMEM. */
int tls_dane_name(struct tls_dane *d, const char *name);

const char *tls_dane_base(const struct tls_dane *d);
size_t tls_dane_count(const struct tls_dane *d);

/* A client context for such handshakes; it trusts nothing by itself. 0, or -EINVAL and err. */
int tls_dane_ctx(struct ssl_ctx_st **out, struct buf *err);

/* For streams: set ssl, of such a context, up. 0, or -EPROTO with OpenSSL's queue saying why. */
int tls_dane_apply(const struct tls_dane *d, struct ssl_st *ssl);

#endif
