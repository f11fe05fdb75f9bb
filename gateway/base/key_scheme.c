#include "base/key_scheme.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <string.h>
#include <strings.h>

struct scheme {
	unsigned number;
	const char *type, *hash;
	bool pss, modern;
};

static const struct scheme schemes[] = {
	{ KEY_SCHEME_RSA_SHA256, "RSA", "SHA256", false, false },
	{ KEY_SCHEME_RSA_SHA384, "RSA", "SHA384", false, false },
	{ KEY_SCHEME_RSA_SHA512, "RSA", "SHA512", false, false },
	{ KEY_SCHEME_EC_SHA256, "EC", "SHA256", false, true },
	{ KEY_SCHEME_EC_SHA384, "EC", "SHA384", false, true },
	{ KEY_SCHEME_EC_SHA512, "EC", "SHA512", false, true },
	{ KEY_SCHEME_RSA_PSS_SHA256, "RSA", "SHA256", true, true },
	{ KEY_SCHEME_RSA_PSS_SHA384, "RSA", "SHA384", true, true },
	{ KEY_SCHEME_RSA_PSS_SHA512, "RSA", "SHA512", true, true },
	{ KEY_SCHEME_ED25519, "ED25519", "", false, true },
	{ KEY_SCHEME_ED448, "ED448", "", false, true },
	{ KEY_SCHEME_PSS_SHA256, "RSA-PSS", "SHA256", true, true },
	{ KEY_SCHEME_PSS_SHA384, "RSA-PSS", "SHA384", true, true },
	{ KEY_SCHEME_PSS_SHA512, "RSA-PSS", "SHA512", true, true },
};

enum { COUNT = sizeof(schemes) / sizeof(schemes[0]) };

static const struct scheme *find(unsigned number)
{
	for (size_t i = 0; i < COUNT; i++)
		if (schemes[i].number == number)
			return &schemes[i];
	return NULL;
}

bool key_scheme_known(unsigned scheme)
{
	return find(scheme) != NULL;
}

bool key_scheme_modern(unsigned scheme)
{
	const struct scheme *s = find(scheme);

	return s && s->modern;
}

/* "SHA2-256" is what OpenSSL calls it where it was not asked for by another name. */
static bool same_hash(const char *a, const char *b)
{
	if (strncasecmp(a, "SHA2-", 5) == 0)
		return strncasecmp(b, "SHA", 3) == 0 && strcasecmp(a + 5, b + 3) == 0;
	return strcasecmp(a, b) == 0;
}

unsigned key_scheme_find(const char *type, const char *hash, bool pss)
{
	for (size_t i = 0; i < COUNT; i++)
		if (strcasecmp(schemes[i].type, type) == 0 && schemes[i].pss == pss && same_hash(hash, schemes[i].hash))
			return schemes[i].number;
	return 0;
}

static bool sign(EVP_MD_CTX *ctx, EVP_PKEY *key, const struct scheme *s, const unsigned char *p, size_t len, unsigned char *signature, size_t *size)
{
	EVP_PKEY_CTX *how;

	if (EVP_DigestSignInit_ex(ctx, &how, *s->hash ? s->hash : NULL, NULL, NULL, key, NULL) != 1)
		return false;
	if (s->pss && (EVP_PKEY_CTX_set_rsa_padding(how, RSA_PKCS1_PSS_PADDING) != 1 || EVP_PKEY_CTX_set_rsa_pss_saltlen(how, RSA_PSS_SALTLEN_DIGEST) != 1))
		return false;
	return EVP_DigestSign(ctx, signature, size, p, len) == 1;
}

int key_scheme_sign(EVP_PKEY *key, unsigned scheme, const unsigned char *p, size_t len, unsigned char *signature, size_t size)
{
	const struct scheme *s = find(scheme);
	EVP_MD_CTX *ctx;
	size_t n = size;
	bool good;

	if (!s || !EVP_PKEY_is_a(key, s->type))
		return -EINVAL;
	if ((size_t)EVP_PKEY_get_size(key) > size)
		return -ENOSPC;
	ctx = EVP_MD_CTX_new();
	if (!ctx)
		return -ENOMEM;
	good = sign(ctx, key, s, p, len, signature, &n);
	EVP_MD_CTX_free(ctx);
	ERR_clear_error();
	return good ? (int)n : -EINVAL;
}
