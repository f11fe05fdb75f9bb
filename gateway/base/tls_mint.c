#include "base/tls_mint.h"

#include <errno.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/tls.h"

enum { DIGEST_BYTES = 32, WEEK_S = 7 * 86400, HOUR_S = 3600, CHAIN_MAX = 8, CN_MAX = 64 };

const char tls_mint_unverified[] = "unverified.invalid";

struct minted {
	unsigned char of[DIGEST_BYTES];         /* of the certificate that it is like */
	X509 *cert;                             /* NULL: a free place */
	int64_t made_s;
};

struct tls_mint {
	X509 *ca;
	EVP_PKEY *ca_key, *key;
	STACK_OF(X509) *chain;                  /* the CA, and what is above it, for clients that know the root alone */
	SSL_CTX *ctx;
	struct minted minted[TLS_MINT_MAX];
	size_t next;
};

/* ---- the CA ---- */

static int read_chain(struct tls_mint *m, const char *pem, struct buf *err)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *x;

	m->chain = sk_X509_new_null();
	if (!bio || !m->chain) {
		BIO_free(bio);
		return tls_refuse(err, "out of memory");
	}
	while (sk_X509_num(m->chain) < CHAIN_MAX && (x = PEM_read_bio_X509(bio, NULL, tls_no_password, NULL)))
		if (!sk_X509_push(m->chain, x))
			X509_free(x);
	BIO_free(bio);
	ERR_clear_error();
	if (sk_X509_num(m->chain) == 0)
		return tls_refuse(err, "the CA's certificate cannot be read");
	m->ca = sk_X509_value(m->chain, 0);
	if (X509_check_ca(m->ca) != 1)
		return tls_refuse(err, "the certificate is not one of a CA");
	return 0;
}

static int read_key(struct tls_mint *m, const char *pem, struct buf *err)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);

	m->ca_key = bio ? PEM_read_bio_PrivateKey(bio, NULL, tls_no_password, NULL) : NULL;
	BIO_free(bio);
	if (!m->ca_key)
		return tls_refuse(err, "the CA's key cannot be read (one with a password cannot be used)");
	if (X509_check_private_key(m->ca, m->ca_key) != 1)
		return tls_refuse(err, "the key does not belong to the CA's certificate");
	return 0;
}

int tls_mint_new(const char *ca_pem, const char *key_pem, struct tls_mint **out, struct buf *err)
{
	AUTO(tls_mint) struct tls_mint *m = calloc(1, sizeof(*m));
	int rc;

	if (!m)
		return -ENOMEM;
	ERR_clear_error();
	rc = read_chain(m, ca_pem, err);
	if (rc == 0)
		rc = read_key(m, key_pem, err);
	if (rc == 0)
		rc = tls_server_ctx_bare(&m->ctx, err);
	if (rc < 0)
		return rc;
	m->key = EVP_EC_gen("P-256");
	if (!m->key)
		return tls_refuse(err, "no key");
	*out = m;
	m = NULL;
	return 0;
}

void tls_mint_free(struct tls_mint *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < TLS_MINT_MAX; i++)
		X509_free(m->minted[i].cert);
	sk_X509_pop_free(m->chain, X509_free);
	EVP_PKEY_free(m->ca_key);
	EVP_PKEY_free(m->key);
	SSL_CTX_free(m->ctx);
	free(m);
}

struct ssl_ctx_st *tls_mint_ctx(struct tls_mint *m)
{
	return m->ctx;
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

/* Names and addresses; without any, the common name, which old clients look at. How many, or -ENOMEM. */
static int names_copy(X509 *far, GENERAL_NAMES *to)
{
	GENERAL_NAMES *all = X509_get_ext_d2i(far, NID_subject_alt_name, NULL, NULL);
	bool ok = true;

	for (int i = 0; all && ok && i < sk_GENERAL_NAME_num(all) && sk_GENERAL_NAME_num(to) < TLS_MINT_NAMES_MAX; i++) {
		int type;
		const ASN1_STRING *s = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(all, i), &type);

		if (type == GEN_DNS || type == GEN_IPADD)
			ok = name_add(to, type, ASN1_STRING_get0_data(s), ASN1_STRING_length(s));
	}
	GENERAL_NAMES_free(all);
	ERR_clear_error();
	if (ok && sk_GENERAL_NAME_num(to) == 0) {
		X509_NAME *subject = X509_get_subject_name(far);
		int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
		const ASN1_STRING *cn = at >= 0 ? X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)) : NULL;

		if (cn && ASN1_STRING_length(cn) > 0 && ASN1_STRING_length(cn) <= CN_MAX)
			ok = name_add(to, GEN_DNS, ASN1_STRING_get0_data(cn), ASN1_STRING_length(cn));
	}
	return ok ? sk_GENERAL_NAME_num(to) : -ENOMEM;
}

static bool serial_set(X509 *x)
{
	unsigned char bytes[16];
	BIGNUM *bn;
	bool ok;

	if (RAND_bytes(bytes, sizeof(bytes)) != 1)
		return false;
	bytes[0] &= 0x7f;
	bn = BN_bin2bn(bytes, sizeof(bytes), NULL);
	ok = bn && BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(x));
	BN_free(bn);
	return ok;
}

static bool extension_add(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX v3;
	X509_EXTENSION *e;
	bool ok;

	X509V3_set_ctx(&v3, issuer, x, NULL, NULL, 0);
	X509V3_set_ctx_nodb(&v3);
	e = X509V3_EXT_conf_nid(NULL, &v3, nid, value);
	ok = e && X509_add_ext(x, e, -1);
	X509_EXTENSION_free(e);
	return ok;
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

static bool fill(struct tls_mint *m, X509 *x, GENERAL_NAMES *names)
{
	const EVP_MD *md = EVP_PKEY_get_id(m->ca_key) == EVP_PKEY_ED25519 || EVP_PKEY_get_id(m->ca_key) == EVP_PKEY_ED448 ? NULL : EVP_sha256();

	return X509_set_version(x, X509_VERSION_3) && serial_set(x) && X509_gmtime_adj(X509_getm_notBefore(x), -HOUR_S) &&
	       X509_gmtime_adj(X509_getm_notAfter(x), WEEK_S) && X509_set_pubkey(x, m->key) && subject_set(x, names) &&
	       X509_set_issuer_name(x, X509_get_subject_name(m->ca)) && X509_add1_ext_i2d(x, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1 &&
	       extension_add(x, m->ca, NID_basic_constraints, "critical,CA:FALSE") && extension_add(x, m->ca, NID_key_usage, "critical,digitalSignature") &&
	       extension_add(x, m->ca, NID_ext_key_usage, "serverAuth") &&
	       /* A client may know two CAs of one name: the old and the new. */
	       extension_add(x, m->ca, NID_authority_key_identifier, "keyid") && X509_sign(x, m->ca_key, md) > 0;
}

static int make(struct tls_mint *m, X509 *far, X509 **out)
{
	GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
	X509 *x = X509_new();
	int rc = names && x ? 1 : -ENOMEM;

	if (rc > 0 && far)
		rc = names_copy(far, names);
	else if (rc > 0 && !name_add(names, GEN_DNS, (const unsigned char *)tls_mint_unverified, (int)strlen(tls_mint_unverified)))
		rc = -ENOMEM;
	if (rc == 0)
		rc = -EINVAL;
	if (rc > 0)
		rc = fill(m, x, names) ? 0 : -ENOMEM;
	GENERAL_NAMES_free(names);
	ERR_clear_error();
	if (rc < 0) {
		X509_free(x);
		return rc;
	}
	*out = x;
	return 0;
}

/* ---- those that are kept ---- */

static bool digest(X509 *far, unsigned char *out)
{
	unsigned len = DIGEST_BYTES;

	memset(out, 0, DIGEST_BYTES);           /* nobody's: that of those who are not verified */
	return !far || X509_digest(far, EVP_sha256(), out, &len) == 1;
}

static struct minted *find(struct tls_mint *m, const unsigned char *of)
{
	for (size_t i = 0; i < TLS_MINT_MAX; i++)
		if (m->minted[i].cert && memcmp(m->minted[i].of, of, DIGEST_BYTES) == 0)
			return &m->minted[i];
	return NULL;
}

/* The place of the one that is renewed, or of the oldest. */
static int get(struct tls_mint *m, X509 *far, X509 **out)
{
	unsigned char of[DIGEST_BYTES];
	struct minted *at;
	X509 *x;
	int rc;

	if (!digest(far, of))
		return -ENOMEM;
	at = find(m, of);
	if (at && clock_wall_s() - at->made_s < TLS_MINT_FRESH_S && clock_wall_s() >= at->made_s) {
		*out = at->cert;
		return 0;
	}
	rc = make(m, far, &x);
	if (rc < 0)
		return rc;
	if (!at)
		at = &m->minted[m->next++ % TLS_MINT_MAX];
	X509_free(at->cert);
	memcpy(at->of, of, DIGEST_BYTES);
	at->cert = *out = x;
	at->made_s = clock_wall_s();
	return 0;
}

int tls_mint_use(struct tls_mint *m, struct x509_st *far, struct ssl_st *ssl)
{
	X509 *x;
	int rc = get(m, far, &x);

	if (rc == 0 && SSL_use_cert_and_key(ssl, x, m->key, m->chain, 1) != 1)
		rc = -ENOMEM;
	ERR_clear_error();
	return rc;
}

int tls_names_digest(struct x509_st *x, unsigned char out[32])
{
	GENERAL_NAMES *names = x ? sk_GENERAL_NAME_new_null() : NULL;
	unsigned char *der = NULL;
	unsigned len = DIGEST_BYTES;
	int rc = x ? names ? names_copy(x, names) : -ENOMEM : 0, n;

	if (rc > 0) {
		n = i2d_GENERAL_NAMES(names, &der);
		rc = n > 0 && EVP_Digest(der, (size_t)n, out, &len, EVP_sha256(), NULL) == 1 ? 1 : -ENOMEM;
		OPENSSL_free(der);
	}
	GENERAL_NAMES_free(names);
	ERR_clear_error();
	return rc > 0 ? 0 : rc == 0 ? -EINVAL : rc;
}
