#include "filters/dkim_crypto.h"

#include <errno.h>
#include <stdbool.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>

/* As measured, in KiB (about as many microseconds): Ed25519 110; RSA of 2048 bits with 65537 25, which goes with the square of the bits and the octets of the exponent. */
enum { ED25519_COST = 110 * 1024, RSA_2048_COST = 25 * 1024, EXPONENT_USUAL = 3 };

static OSSL_PARAM *rsa_params(const struct dkim_key *key)
{
	BIGNUM *n = BN_bin2bn(key->bytes + key->modulus.at, (int)key->modulus.len, NULL);
	BIGNUM *e = BN_bin2bn(key->bytes + key->exponent.at, (int)key->exponent.len, NULL);
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	OSSL_PARAM *out = NULL;

	if (n && e && build && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
	    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e) == 1)
		out = OSSL_PARAM_BLD_to_param(build);
	OSSL_PARAM_BLD_free(build);
	BN_free(n);
	BN_free(e);
	return out;
}

static EVP_PKEY *rsa_key(const struct dkim_key *key)
{
	OSSL_PARAM *params = rsa_params(key);
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	EVP_PKEY *out = NULL;

	if (params && ctx && EVP_PKEY_fromdata_init(ctx) == 1)
		EVP_PKEY_fromdata(ctx, &out, EVP_PKEY_PUBLIC_KEY, params);
	EVP_PKEY_CTX_free(ctx);
	OSSL_PARAM_free(params);
	return out;
}

static bool rsa_check(EVP_PKEY *key, const unsigned char *hash, const unsigned char *signature, size_t len)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
	bool good = ctx && EVP_PKEY_verify_init(ctx) == 1 && EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1 &&
		    EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) == 1 &&
		    EVP_PKEY_verify(ctx, signature, len, hash, DKIM_CRYPTO_HASH) == 1;

	EVP_PKEY_CTX_free(ctx);
	return good;
}

static bool ed25519_check(EVP_PKEY *key, const unsigned char *hash, const unsigned char *signature, size_t len)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool good = ctx && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key) == 1 &&
		    EVP_DigestVerify(ctx, signature, len, hash, DKIM_CRYPTO_HASH) == 1;

	EVP_MD_CTX_free(ctx);
	return good;
}

/* A signature that is wrong and one for which there was no memory look the same but for what OpenSSL has noted. */
static bool out_of_memory(void)
{
	bool out = false;
	unsigned long e;

	while ((e = ERR_get_error()))
		out |= ERR_GET_REASON(e) == ERR_R_MALLOC_FAILURE;
	return out;
}

int dkim_crypto_check(const struct dkim_key *key, const unsigned char hash[DKIM_CRYPTO_HASH], const unsigned char *signature, size_t len)
{
	bool rsa = key->type == DKIM_KEY_RSA, good = false;
	EVP_PKEY *k;

	ERR_clear_error();
	k = rsa ? rsa_key(key) : EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, key->bytes, key->len);

	if (k)
		good = rsa ? rsa_check(k, hash, signature, len) : ed25519_check(k, hash, signature, len);
	EVP_PKEY_free(k);
	/* Asked whatever the result: the queue of errors is left empty. */
	return out_of_memory() && !good ? -ENOMEM : k ? good : -ENOMEM;
}

size_t dkim_crypto_cost(const struct dkim_key *key)
{
	size_t bits = key->bits, exponent = key->exponent.len;

	if (key->type != DKIM_KEY_RSA)
		return ED25519_COST;
	/* From 17 squarings and multiplications to 127: of 8 octets each may have all its bits. */
	return bits * bits / (2048 * 2048 / 64) * RSA_2048_COST / 64 * (exponent * exponent) / (EXPONENT_USUAL * EXPONENT_USUAL);
}
