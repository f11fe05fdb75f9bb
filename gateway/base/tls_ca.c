#include "base/tls_ca.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "base/tls.h"
#include "base/tls_cert.h"

enum { VALID_DAYS = 7, CN_MAX = 64 };

struct tls_ca {
	X509 *cert;
	STACK_OF(X509) *chain;                  /* cert is the first of it */
	EVP_PKEY *key;
};

/* ---- names ---- */

static bool name_good(int kind, const unsigned char *p, size_t len)
{
	if (kind == TLS_CA_ADDRESS)
		return len == 4 || len == 16;
	if (kind != TLS_CA_DNS || len < 1 || len > TLS_CA_NAME_BYTES)
		return false;
	for (size_t i = 0; i < len; i++)
		if (p[i] < 32 || p[i] > 126)
			return false;
	return true;
}

bool tls_ca_name_next(const unsigned char *list, size_t len, size_t *at, int *kind, const unsigned char **p, size_t *n)
{
	if (*at >= len || len - *at < 2 || len - *at - 2 < list[*at + 1] || !name_good(list[*at], list + *at + 2, list[*at + 1]))
		return false;
	*kind = list[*at];
	*n = list[*at + 1];
	*p = list + *at + 2;
	*at += 2 + *n;
	return true;
}

static size_t count(const unsigned char *list, size_t len, bool *whole)
{
	const unsigned char *p;
	size_t at = 0, n, found = 0;
	int kind;

	while (tls_ca_name_next(list, len, &at, &kind, &p, &n))
		found++;
	*whole = at == len;
	return found;
}

bool tls_ca_names_good(const unsigned char *list, size_t len)
{
	bool whole;
	size_t n = len <= TLS_CA_LIST_BYTES ? count(list, len, &whole) : 0;

	return n > 0 && n <= TLS_CA_NAMES_MAX && whole;
}

int tls_ca_name_add(struct buf *list, int kind, const void *p, size_t len)
{
	bool whole;

	if (!name_good(kind, p, len))
		return -EINVAL;
	if (count((const unsigned char *)buf_str(list), list->len, &whole) >= TLS_CA_NAMES_MAX)
		return -E2BIG;
	buf_addc(list, (char)kind);
	buf_addc(list, (char)len);
	return buf_add(list, p, len);
}

/* ---- the CA ---- */

int tls_ca_chain(const char *pem, STACK_OF(X509) **out, struct buf *err)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	STACK_OF(X509) *chain = sk_X509_new_null();
	int rc = 0;
	X509 *x;

	ERR_clear_error();
	if (!bio || !chain) {
		BIO_free(bio);
		sk_X509_free(chain);
		return tls_refuse(err, "out of memory");
	}
	while (sk_X509_num(chain) < TLS_CA_CHAIN_MAX && (x = PEM_read_bio_X509(bio, NULL, tls_no_password, NULL)))
		if (!sk_X509_push(chain, x))
			X509_free(x);
	BIO_free(bio);
	ERR_clear_error();
	if (sk_X509_num(chain) == 0)
		rc = tls_refuse(err, "the CA's certificate cannot be read");
	else if (X509_check_ca(sk_X509_value(chain, 0)) != 1)
		rc = tls_refuse(err, "the certificate is not one of a CA");
	if (rc < 0)
		sk_X509_pop_free(chain, X509_free);
	else
		*out = chain;
	return rc;
}

static int read_key(struct tls_ca *ca, const char *pem, struct buf *err)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);

	ca->key = bio ? PEM_read_bio_PrivateKey(bio, NULL, tls_no_password, NULL) : NULL;
	BIO_free(bio);
	if (!ca->key)
		return tls_refuse(err, "the CA's key cannot be read (one with a password cannot be used)");
	if (X509_check_private_key(ca->cert, ca->key) != 1)
		return tls_refuse(err, "the key does not belong to the CA's certificate");
	return 0;
}

int tls_ca_new(const char *ca_pem, const char *key_pem, struct tls_ca **out, struct buf *err)
{
	AUTO(tls_ca) struct tls_ca *ca = calloc(1, sizeof(*ca));
	int rc;

	if (!ca)
		return -ENOMEM;
	rc = tls_ca_chain(ca_pem, &ca->chain, err);
	if (rc == 0) {
		ca->cert = sk_X509_value(ca->chain, 0);
		rc = read_key(ca, key_pem, err);
	}
	if (rc < 0)
		return rc;
	*out = ca;
	ca = NULL;
	return 0;
}

void tls_ca_free(struct tls_ca *ca)
{
	if (!ca)
		return;
	sk_X509_pop_free(ca->chain, X509_free);
	EVP_PKEY_free(ca->key);
	free(ca);
}

EVP_PKEY *tls_ca_key(struct tls_ca *ca)
{
	return ca->key;
}

/* ---- a certificate ---- */

static bool name_add(GENERAL_NAMES *to, int type, const unsigned char *p, int len)
{
	GENERAL_NAME *g = GENERAL_NAME_new();
	ASN1_STRING *s = ASN1_STRING_type_new(type == GEN_DNS ? V_ASN1_IA5STRING : V_ASN1_OCTET_STRING);

	if (!g || !s || !ASN1_STRING_set(s, p, len)) {
		GENERAL_NAME_free(g);
		ASN1_STRING_free(s);
		return false;
	}
	GENERAL_NAME_set0_value(g, type, s);
	if (sk_GENERAL_NAME_push(to, g))
		return true;
	GENERAL_NAME_free(g);
	return false;
}

/* NULL: no memory. The list is a good one. */
static GENERAL_NAMES *names_of(const unsigned char *list, size_t len)
{
	GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
	const unsigned char *p;
	size_t at = 0, n;
	int kind;

	while (names && tls_ca_name_next(list, len, &at, &kind, &p, &n))
		if (!name_add(names, kind == TLS_CA_DNS ? GEN_DNS : GEN_IPADD, p, (int)n)) {
			GENERAL_NAMES_free(names);
			return NULL;
		}
	return names;
}

/* NULL: it is no point of the curve. */
static EVP_PKEY *key_of(const unsigned char point[TLS_CA_POINT_BYTES])
{
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)"P-256", 0),
		OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (void *)point, TLS_CA_POINT_BYTES),
		OSSL_PARAM_construct_end(),
	};
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	EVP_PKEY *key = NULL;

	/* 4: uncompressed. The curve has no other subgroup: a point on it is a key. */
	if (point[0] != 4 || !ctx || EVP_PKEY_fromdata_init(ctx) != 1 || EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
		key = NULL;
	EVP_PKEY_CTX_free(ctx);
	return key;
}

/* The common name is for people; a name that is longer than one may be is left to the others. */
static bool subject_set(X509 *x, const GENERAL_NAMES *names)
{
	int type;
	const ASN1_STRING *s = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, 0), &type);
	int len = ASN1_STRING_length(s);
	X509_NAME *subject = X509_get_subject_name(x);

	if (type == GEN_DNS && len > 0 && len <= CN_MAX)
		return X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_ASC, ASN1_STRING_get0_data(s), len, -1, 0);
	return X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_ASC, (const unsigned char *)"gatepost", -1, -1, 0);
}

static bool fill(struct tls_ca *ca, X509 *x, EVP_PKEY *key, GENERAL_NAMES *names)
{
	const EVP_MD *md = EVP_PKEY_get_id(ca->key) == EVP_PKEY_ED25519 || EVP_PKEY_get_id(ca->key) == EVP_PKEY_ED448 ? NULL : EVP_sha256();

	return tls_cert_fill(x, ca->cert, key, VALID_DAYS) && subject_set(x, names) && X509_set_issuer_name(x, X509_get_subject_name(ca->cert)) &&
	       X509_add1_ext_i2d(x, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1 &&
	       /* A client may know two CAs of one name: the old and the new. */
	       tls_cert_extension(x, ca->cert, NID_authority_key_identifier, "keyid") && X509_sign(x, ca->key, md) > 0;
}

int tls_ca_sign(struct tls_ca *ca, const unsigned char point[TLS_CA_POINT_BYTES], const unsigned char *list, size_t len, struct buf *der)
{
	GENERAL_NAMES *names;
	EVP_PKEY *key;
	X509 *x;
	unsigned char *p = NULL;
	int rc = -ENOMEM, n;

	if (!tls_ca_names_good(list, len))
		return -EINVAL;
	ERR_clear_error();
	key = key_of(point);
	names = names_of(list, len);
	x = X509_new();
	n = key && names && x && fill(ca, x, key, names) ? i2d_X509(x, &p) : -1;
	if (!key)
		rc = -EINVAL;
	else if (n > 0)
		rc = buf_add(der, p, (size_t)n);
	OPENSSL_free(p);
	X509_free(x);
	GENERAL_NAMES_free(names);
	EVP_PKEY_free(key);
	ERR_clear_error();
	return rc;
}
