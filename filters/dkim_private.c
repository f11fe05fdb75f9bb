#include "filters/dkim_private.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

enum { ED25519_BYTES = 32, DER_MAX = 2048 };

struct dkim_private {
	EVP_PKEY *key;
	enum dkim_key_type type;
	unsigned bits;
	bool remote;
	uint32_t number;
};

static struct {
	int (*sign)(void *arg, uint32_t number, const unsigned char hash[DKIM_CRYPTO_HASH], unsigned char *signature);
	void *arg;
} holder;

/* A key with a pass phrase: nobody is there to be asked. */
static int no_phrase(char *buf, int size, int writing, void *asked)
{
	*(int *)asked = 1;
	return -1;
}

/* Whether it is a key that can sign for mail. NULL or what is wrong. */
static const char *look(struct dkim_private *k)
{
	switch (EVP_PKEY_get_base_id(k->key)) {
	case EVP_PKEY_ED25519:
		k->type = DKIM_KEY_ED25519;
		k->bits = 256;
		return NULL;
	case EVP_PKEY_RSA:
		k->type = DKIM_KEY_RSA;
		k->bits = (unsigned)EVP_PKEY_get_bits(k->key);
		if (k->bits < DKIM_PRIVATE_BITS_MIN)
			return "it has fewer than 1024 bits, nobody accepts its signatures";
		return k->bits > DKIM_PRIVATE_BITS_MAX ? "it has more than 4096 bits, many cannot verify its signatures" : NULL;
	default:
		return "it is neither an RSA nor an Ed25519 key";
	}
}

struct dkim_private *dkim_private_read(const char *pem, size_t len, const char **why)
{
	struct dkim_private *k = calloc(1, sizeof(*k));
	BIO *bio = len <= INT_MAX ? BIO_new_mem_buf(pem, (int)len) : NULL;
	int asked = 0;

	*why = "out of memory";
	if (k && bio) {
		k->key = PEM_read_bio_PrivateKey(bio, NULL, no_phrase, &asked);
		*why = k->key ? look(k) : asked ? "it is protected by a pass phrase" : "it is no private key in PEM form";
	}
	BIO_free(bio);
	ERR_clear_error();
	if (!*why)
		return k;
	dkim_private_free(k);
	return NULL;
}

struct dkim_private *dkim_private_make(enum dkim_key_type type, unsigned bits)
{
	struct dkim_private *k = calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	k->key = type == DKIM_KEY_RSA ? EVP_RSA_gen(bits) : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	ERR_clear_error();
	if (k->key && !look(k))
		return k;
	dkim_private_free(k);
	return NULL;
}

struct dkim_private *dkim_private_remote(const unsigned char *der, size_t len, uint32_t number)
{
	struct dkim_private *k = calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	k->key = len <= LONG_MAX ? d2i_PUBKEY(NULL, &der, (long)len) : NULL;
	k->remote = true;
	k->number = number;
	ERR_clear_error();
	if (k->key && !look(k))
		return k;
	dkim_private_free(k);
	return NULL;
}

void dkim_private_holder(int (*sign)(void *arg, uint32_t number, const unsigned char hash[DKIM_CRYPTO_HASH], unsigned char *signature), void *arg)
{
	holder.sign = sign;
	holder.arg = arg;
}

void dkim_private_free(struct dkim_private *k)
{
	if (!k)
		return;
	EVP_PKEY_free(k->key);
	free(k);
}

enum dkim_key_type dkim_private_type(const struct dkim_private *k)
{
	return k->type;
}

unsigned dkim_private_bits(const struct dkim_private *k)
{
	return k->bits;
}

static bool rsa_sign(EVP_PKEY *key, const unsigned char *hash, unsigned char *signature, size_t *len)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
	bool good = ctx && EVP_PKEY_sign_init(ctx) == 1 && EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1 &&
		    EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) == 1 && EVP_PKEY_sign(ctx, signature, len, hash, DKIM_CRYPTO_HASH) == 1;

	EVP_PKEY_CTX_free(ctx);
	return good;
}

/* RFC 8463 section 3: PureEdDSA over the SHA-256 hash. */
static bool ed25519_sign(EVP_PKEY *key, const unsigned char *hash, unsigned char *signature, size_t *len)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool good = ctx && EVP_DigestSignInit(ctx, NULL, NULL, NULL, key) == 1 &&
		    EVP_DigestSign(ctx, signature, len, hash, DKIM_CRYPTO_HASH) == 1;

	EVP_MD_CTX_free(ctx);
	return good;
}

int dkim_private_sign(const struct dkim_private *k, const unsigned char hash[DKIM_CRYPTO_HASH],
		      unsigned char signature[DKIM_PRIVATE_SIGNATURE_MAX], size_t *len)
{
	size_t n = DKIM_PRIVATE_SIGNATURE_MAX;
	bool good;

	if (k->remote) {
		int rc = holder.sign ? holder.sign(holder.arg, k->number, hash, signature) : -ENOKEY;

		if (rc > 0)
			*len = (size_t)rc;
		return rc > 0 ? 0 : rc < 0 ? rc : -ENOKEY;
	}
	good = k->type == DKIM_KEY_RSA ? rsa_sign(k->key, hash, signature, &n) : ed25519_sign(k->key, hash, signature, &n);

	ERR_clear_error();
	if (!good)
		return -ENOMEM;
	*len = n;
	return 0;
}

int dkim_private_public(const struct dkim_private *k, struct buf *out)
{
	unsigned char *der = NULL;
	int len = i2d_PUBKEY(k->key, &der), rc = len > 0 ? buf_add(out, der, (size_t)len) : -ENOMEM;

	OPENSSL_free(der);
	ERR_clear_error();
	return rc;
}

int dkim_private_pem(const struct dkim_private *k, struct buf *out)
{
	BIO *bio = BIO_new(BIO_s_secmem());
	char *p = NULL;
	long n = bio && PEM_write_bio_PKCS8PrivateKey(bio, k->key, NULL, NULL, 0, NULL, NULL) == 1 ? BIO_get_mem_data(bio, &p) : 0;
	int rc = n > 0 ? buf_add(out, p, (size_t)n) : -ENOMEM;

	BIO_free(bio);
	ERR_clear_error();
	return rc;
}

/* What p= holds, before base64: its length, or 0. */
static size_t public_bytes(const struct dkim_private *k, unsigned char out[DER_MAX])
{
	size_t n = ED25519_BYTES;
	unsigned char *p = out;
	int len;

	if (k->type == DKIM_KEY_ED25519)
		return EVP_PKEY_get_raw_public_key(k->key, out, &n) == 1 ? n : 0;
	len = i2d_PUBKEY(k->key, NULL);
	return len > 0 && len <= DER_MAX && i2d_PUBKEY(k->key, &p) == len ? (size_t)len : 0;
}

int dkim_private_record(const struct dkim_private *k, struct buf *out)
{
	unsigned char *bytes = malloc(DER_MAX), *text = malloc(DER_MAX * 2);
	size_t n = bytes && text ? public_bytes(k, bytes) : 0;
	int rc = -ENOMEM;

	if (n > 0) {
		EVP_EncodeBlock(text, bytes, (int)n);
		rc = buf_addf(out, "v=DKIM1; k=%s; p=%s", k->type == DKIM_KEY_RSA ? "rsa" : "ed25519", (const char *)text);
	}
	free(bytes);
	free(text);
	ERR_clear_error();
	return rc;
}
