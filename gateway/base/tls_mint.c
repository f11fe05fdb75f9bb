#include "base/tls_mint.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/tls.h"
#include "base/tls_ca.h"

enum { DIGEST_BYTES = 32, CN_MAX = 64 };

const char tls_mint_unverified[] = "unverified.invalid";

struct minted {
	unsigned char of[DIGEST_BYTES];         /* of the certificate that it is like */
	X509 *cert;                             /* NULL: a free place */
	int64_t made_s;
};

struct tls_mint {
	const struct tls_minter *by;
	EVP_PKEY *key;
	unsigned char point[TLS_CA_POINT_BYTES];
	STACK_OF(X509) *chain;                  /* the CA, and what is above it, for clients that know the root alone */
	SSL_CTX *ctx;
	struct minted minted[TLS_MINT_MAX];
	size_t next;
};

static int key_make(struct tls_mint *m, struct buf *err)
{
	size_t n = 0;

	m->key = EVP_EC_gen("P-256");
	if (!m->key || EVP_PKEY_get_octet_string_param(m->key, OSSL_PKEY_PARAM_PUB_KEY, m->point, sizeof(m->point), &n) != 1 || n != sizeof(m->point))
		return tls_refuse(err, "no key");
	return 0;
}

int tls_mint_new(const char *ca_pem, const struct tls_minter *by, struct tls_mint **out, struct buf *err)
{
	AUTO(tls_mint) struct tls_mint *m = calloc(1, sizeof(*m));
	int rc;

	if (!m)
		return -ENOMEM;
	m->by = by;
	rc = tls_ca_chain(ca_pem, &m->chain, err);
	if (rc == 0)
		rc = tls_server_ctx_bare(&m->ctx, err);
	if (rc == 0)
		rc = key_make(m, err);
	if (rc < 0)
		return rc;
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
	EVP_PKEY_free(m->key);
	SSL_CTX_free(m->ctx);
	free(m);
}

struct ssl_ctx_st *tls_mint_ctx(struct tls_mint *m)
{
	return m->ctx;
}

/* ---- a certificate ---- */

/* What cannot be in a list is left out, and of too many the last. */
static int name_copy(int type, const ASN1_STRING *s, struct buf *to)
{
	int kind = type == GEN_DNS ? TLS_CA_DNS : TLS_CA_ADDRESS;
	int rc = tls_ca_name_add(to, kind, ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s));

	return rc == -ENOMEM ? rc : 0;
}

/* Names and addresses; without any, the common name, which old clients look at. 0, -EINVAL: there is none, or -ENOMEM. */
static int names_copy(X509 *far, struct buf *to)
{
	GENERAL_NAMES *all = X509_get_ext_d2i(far, NID_subject_alt_name, NULL, NULL);
	int rc = 0;

	for (int i = 0; all && rc == 0 && i < sk_GENERAL_NAME_num(all); i++) {
		int type;
		const ASN1_STRING *s = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(all, i), &type);

		if (type == GEN_DNS || type == GEN_IPADD)
			rc = name_copy(type, s, to);
	}
	GENERAL_NAMES_free(all);
	ERR_clear_error();
	if (rc == 0 && to->len == 0) {
		X509_NAME *subject = X509_get_subject_name(far);
		int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
		const ASN1_STRING *cn = at >= 0 ? X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)) : NULL;

		if (cn && ASN1_STRING_length(cn) <= CN_MAX)
			rc = name_copy(GEN_DNS, cn, to);
	}
	return rc < 0 ? rc : to->len ? 0 : -EINVAL;
}

static int names_of(X509 *far, struct buf *to)
{
	return far ? names_copy(far, to) : tls_ca_name_add(to, TLS_CA_DNS, tls_mint_unverified, strlen(tls_mint_unverified));
}

/* may wait */
static int make(struct tls_mint *m, const struct buf *names, X509 **out)
{
	AUTO(buf) struct buf der = BUF_INIT(TLS_MINT_DER_MAX);
	const unsigned char *p;
	int rc = m->by->mint(m->by->arg, m->point, (const unsigned char *)buf_str(names), names->len, &der);

	p = (const unsigned char *)der.data;
	if (rc == 0)
		rc = (*out = der.len ? d2i_X509(NULL, &p, (long)der.len) : NULL) ? 0 : -EPROTO;
	ERR_clear_error();
	return rc;
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

/* The place of the one that is renewed, or of the oldest. far may go meanwhile. may wait */
static int get(struct tls_mint *m, X509 *far, X509 **out)
{
	AUTO(buf) struct buf names = BUF_INIT(TLS_CA_LIST_BYTES + 1);
	unsigned char of[DIGEST_BYTES];
	struct minted *at;
	X509 *x = NULL;
	int rc;

	if (!digest(far, of))
		return -ENOMEM;
	at = find(m, of);
	if (at && clock_wall_s() - at->made_s < TLS_MINT_FRESH_S && clock_wall_s() >= at->made_s) {
		*out = at->cert;
		return 0;
	}
	rc = names_of(far, &names);
	if (rc == 0)
		rc = make(m, &names, &x);
	if (rc < 0)
		return rc;
	at = find(m, of);                       /* another session may have had the same wish */
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
	AUTO(buf) struct buf names = BUF_INIT(TLS_CA_LIST_BYTES + 1);
	unsigned len = DIGEST_BYTES;
	int rc = x ? names_copy(x, &names) : -EINVAL;

	if (rc == 0)
		rc = EVP_Digest(names.data, names.len, out, &len, EVP_sha256(), NULL) == 1 ? 0 : -ENOMEM;
	ERR_clear_error();
	return rc;
}
