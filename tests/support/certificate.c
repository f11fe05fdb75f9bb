#include "tests/support/certificate.h"

#include <assert.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct certificate {
	X509 *x;
	EVP_PKEY *key;
	char *pem, *chain, *key_pem;
};

static char *bio_text(BIO *b)
{
	char *p, *text;
	long n = BIO_get_mem_data(b, &p);

	text = strndup(p, (size_t)n);
	assert(text);
	BIO_free(b);
	return text;
}

static void extension(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX v3;
	X509_EXTENSION *e;

	X509V3_set_ctx(&v3, issuer, x, NULL, NULL, 0);
	X509V3_set_ctx_nodb(&v3);
	e = X509V3_EXT_conf_nid(NULL, &v3, nid, value);
	assert(e && X509_add_ext(x, e, -1));
	X509_EXTENSION_free(e);
}

struct certificate *certificate_new(const char *name, const struct certificate *issuer, long from_s, long to_s)
{
	static long serial = 1000;
	struct certificate *c = calloc(1, sizeof(*c));
	const struct certificate *by = issuer ? issuer : c;
	X509_NAME *subject;
	char san[300];
	BIO *b;

	assert(c);
	c->x = X509_new();
	c->key = EVP_EC_gen("P-256");
	assert(c->x && c->key);
	X509_set_version(c->x, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(c->x), serial++);
	X509_gmtime_adj(X509_getm_notBefore(c->x), from_s - 60);
	X509_gmtime_adj(X509_getm_notAfter(c->x), to_s);
	X509_set_pubkey(c->x, c->key);
	subject = X509_get_subject_name(c->x);
	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(c->x, X509_get_subject_name(by->x));
	if (strchr(name, '.')) {
		snprintf(san, sizeof(san), "DNS:%s", name);
		extension(c->x, by->x, NID_subject_alt_name, san);
		extension(c->x, by->x, NID_basic_constraints, "critical,CA:FALSE");
	} else {
		extension(c->x, by->x, NID_basic_constraints, "critical,CA:TRUE");
		extension(c->x, by->x, NID_key_usage, "critical,keyCertSign,cRLSign");
		extension(c->x, by->x, NID_subject_key_identifier, "hash");
	}
	assert(X509_sign(c->x, by->key, EVP_sha256()));
	b = BIO_new(BIO_s_mem());
	PEM_write_bio_X509(b, c->x);
	c->pem = bio_text(b);
	b = BIO_new(BIO_s_mem());
	PEM_write_bio_PrivateKey(b, c->key, NULL, NULL, 0, NULL, NULL);
	c->key_pem = bio_text(b);
	assert(asprintf(&c->chain, "%s%s", c->pem, issuer ? issuer->pem : "") > 0);
	return c;
}

void certificate_free(struct certificate *c)
{
	if (!c)
		return;
	X509_free(c->x);
	EVP_PKEY_free(c->key);
	free(c->pem);
	free(c->chain);
	free(c->key_pem);
	free(c);
}

const char *certificate_pem(const struct certificate *c)
{
	return c->pem;
}

const char *certificate_chain_pem(const struct certificate *c)
{
	return c->chain;
}

const char *certificate_key_pem(const struct certificate *c)
{
	return c->key_pem;
}

size_t certificate_tlsa(const struct certificate *c, uint8_t usage, uint8_t selector, uint8_t matching, uint8_t *out)
{
	unsigned char *der = NULL;
	int n = selector ? i2d_PUBKEY(c->key, &der) : i2d_X509(c->x, &der);
	unsigned len = (unsigned)n;

	assert(n > 0 && n <= CERTIFICATE_TLSA_MAX - 3);
	out[0] = usage;
	out[1] = selector;
	out[2] = matching;
	if (matching == 0)
		memcpy(out + 3, der, len);
	else
		assert(EVP_Digest(der, len, out + 3, &len, matching == 1 ? EVP_sha256() : EVP_sha512(), NULL));
	OPENSSL_free(der);
	return 3 + len;
}
