#include "base/tls_cert.h"

#include <openssl/bn.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

enum { HOUR_S = 3600 };

static bool serial_set(X509 *x)
{
	unsigned char bytes[16];
	BIGNUM *bn;
	bool ok;

	if (RAND_bytes(bytes, sizeof(bytes)) != 1)
		return false;
	bytes[0] &= 0x7f;               /* positive */
	bn = BN_bin2bn(bytes, sizeof(bytes), NULL);
	ok = bn && BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(x));
	BN_free(bn);
	return ok;
}

bool tls_cert_extension(X509 *x, X509 *issuer, int nid, const char *value)
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

bool tls_cert_fill(X509 *x, X509 *issuer, EVP_PKEY *key, int days)
{
	return X509_set_version(x, X509_VERSION_3) && serial_set(x) && X509_gmtime_adj(X509_getm_notBefore(x), -HOUR_S) &&
	       X509_time_adj_ex(X509_getm_notAfter(x), days, 0, NULL) && X509_set_pubkey(x, key) &&
	       tls_cert_extension(x, issuer, NID_basic_constraints, "critical,CA:FALSE") &&
	       tls_cert_extension(x, issuer, NID_key_usage, "critical,digitalSignature") &&
	       tls_cert_extension(x, issuer, NID_ext_key_usage, "serverAuth");
}
