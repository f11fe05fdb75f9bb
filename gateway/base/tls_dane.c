#include "base/tls_dane.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/dns.h"
#include "base/tls.h"

enum { SELECTOR_CERT, SELECTOR_KEY };                           /* RFC 6698 section 2.1.2 */
enum { MATCHING_FULL, MATCHING_SHA256, MATCHING_SHA512 };       /* 2.1.3 */
enum { FULL_MAX = 16 * 1024 };                                  /* of a whole certificate or key in the DNS */

struct tls_dane {
	char *name[TLS_DANE_NAMES];     /* the first is the base */
	size_t name_count;
	struct tls_tlsa rr[TLS_DANE_RR_MAX];
	size_t count;
	uint8_t *data;                  /* of all records */
};

int tls_tlsa_read(const uint8_t *rdata, size_t len, struct tls_tlsa *out)
{
	if (len <= 3)
		return -EBADMSG;
	*out = (struct tls_tlsa){ rdata[0], rdata[1], rdata[2], rdata + 3, len - 3 };
	return 0;
}

/* A whole certificate or key: one, and nothing behind it. */
static bool full_ok(const struct tls_tlsa *t)
{
	const unsigned char *p = t->data;
	bool ok = false;

	if (t->len > FULL_MAX)
		return false;
	ERR_clear_error();
	if (t->selector == SELECTOR_CERT) {
		X509 *cert = d2i_X509(NULL, &p, (long)t->len);

		ok = cert && X509_get0_pubkey(cert);
		X509_free(cert);
	} else {
		EVP_PKEY *key = d2i_PUBKEY(NULL, &p, (long)t->len);

		ok = key != NULL;
		EVP_PKEY_free(key);
	}
	ERR_clear_error();
	return ok && p == t->data + t->len;
}

bool tls_tlsa_usable(const struct tls_tlsa *t)
{
	if (t->usage != TLS_DANE_USAGE_TA && t->usage != TLS_DANE_USAGE_EE)
		return false;
	if (t->selector != SELECTOR_CERT && t->selector != SELECTOR_KEY)
		return false;
	switch (t->matching) {
	case MATCHING_FULL:
		return full_ok(t);
	case MATCHING_SHA256:
		return t->len == 32;
	case MATCHING_SHA512:
		return t->len == 64;
	default:
		return false;
	}
}

static int records_copy(struct tls_dane *d, const struct dns_answer *answer)
{
	size_t total = 0, at = 0;

	for (size_t i = 0; i < answer->count; i++)
		total += answer->rr[i].len;
	d->data = malloc(total ? total : 1);
	if (!d->data)
		return -ENOMEM;
	for (size_t i = 0; i < answer->count && d->count < TLS_DANE_RR_MAX; i++) {
		const struct dns_rr *rr = &answer->rr[i];
		struct tls_tlsa t;

		if (tls_tlsa_read(rr->data, rr->len, &t) < 0 || !tls_tlsa_usable(&t))
			continue;
		memcpy(d->data + at, t.data, t.len);
		t.data = d->data + at;
		at += t.len;
		d->rr[d->count++] = t;
	}
	return (int)d->count;
}

int tls_dane_new(const struct dns_answer *answer, const char *base, struct tls_dane **out)
{
	AUTO(tls_dane) struct tls_dane *d = calloc(1, sizeof(*d));
	int rc = d ? tls_dane_name(d, base) : -ENOMEM;

	*out = NULL;
	if (rc == 0)
		rc = records_copy(d, answer);
	if (rc > 0) {
		*out = d;
		d = NULL;
	}
	return rc;
}

void tls_dane_free(struct tls_dane *d)
{
	if (!d)
		return;
	for (size_t i = 0; i < d->name_count; i++)
		free(d->name[i]);
	free(d->data);
	free(d);
}

int tls_dane_name(struct tls_dane *d, const char *name)
{
	for (size_t i = 0; name && i < d->name_count; i++)
		if (strcasecmp(d->name[i], name) == 0)
			return 0;
	if (!name || !*name || d->name_count == TLS_DANE_NAMES)
		return 0;
	d->name[d->name_count] = strdup(name);
	if (!d->name[d->name_count])
		return -ENOMEM;
	d->name_count++;
	return 0;
}

const char *tls_dane_base(const struct tls_dane *d)
{
	return d->name[0];
}

size_t tls_dane_count(const struct tls_dane *d)
{
	return d->count;
}

int tls_dane_ctx(struct ssl_ctx_st **out, struct buf *err)
{
	struct ssl_ctx_st *ctx;
	int rc = tls_client_ctx(false, NULL, &ctx, err);

	if (rc < 0)
		return rc;
	if (SSL_CTX_dane_enable(ctx) != 1) {
		tls_ctx_free(ctx);
		ERR_clear_error();
		buf_adds(err, "OpenSSL does not do DANE");
		return -EINVAL;
	}
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	/* RFC 7672 section 3.1.1: the TLSA record says which key it is, dates and names of the certificate say nothing. */
	SSL_CTX_dane_set_flags(ctx, DANE_FLAG_NO_DANE_EE_NAMECHECKS);
	*out = ctx;
	return 0;
}

int tls_dane_apply(const struct tls_dane *d, struct ssl_st *ssl)
{
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	/* Names the base by SNI, too: RFC 7672 section 8.1. */
	if (SSL_dane_enable(ssl, d->name[0]) != 1)
		return -EPROTO;
	for (size_t i = 1; i < d->name_count; i++)
		if (SSL_add1_host(ssl, d->name[i]) != 1)
			return -EPROTO;
	for (size_t i = 0; i < d->count; i++) {
		const struct tls_tlsa *t = &d->rr[i];

		if (SSL_dane_tlsa_add(ssl, t->usage, t->selector, t->matching, t->data, t->len) != 1)
			return -EPROTO;
	}
	return 0;
}
