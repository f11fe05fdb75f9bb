#include "filters/dkim_key.h"

#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "filters/dkim_tag.h"

enum { RSA_BITS_MIN = 1024, RSA_BITS_MAX = 8192 };      /* RFC 8301 section 3.2: up to 4096 is a must */
enum { ED25519_BYTES = 32 };                            /* RFC 8463 section 4 */

/* The public exponent: odd and at least 3, or signatures can be made by anyone. */
static bool exponent_ok(const EVP_PKEY *key)
{
	BIGNUM *e = NULL;
	bool ok;

	if (EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &e) != 1)
		return false;
	ok = BN_is_odd(e) && !BN_is_one(e);
	BN_free(e);
	return ok;
}

/* RSA key of either form, the whole of p[0..len); NULL if it is none. */
static EVP_PKEY *rsa_read(const unsigned char *p, size_t len)
{
	const unsigned char *at = p;
	EVP_PKEY *key = d2i_PUBKEY(NULL, &at, (long)len);

	if (!key) {
		at = p;
		key = d2i_PublicKey(EVP_PKEY_RSA, NULL, &at, (long)len);
	}
	if (key && (at != p + len || EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA || !exponent_ok(key))) {
		EVP_PKEY_free(key);
		key = NULL;
	}
	return key;
}

static enum dkim_key_state rsa_parse(const unsigned char *p, size_t len, struct dkim_key *out, const char **why)
{
	enum dkim_key_state state = DKIM_KEY_BAD;
	unsigned char *at = out->bytes;
	EVP_PKEY *key;
	int n;

	out->type = DKIM_KEY_RSA;
	*why = "p= is not an RSA key";
	key = rsa_read(p, len);
	if (key) {
		out->bits = (unsigned)EVP_PKEY_get_bits(key);
		n = i2d_PUBKEY(key, NULL);
		if (out->bits < RSA_BITS_MIN) {
			state = DKIM_KEY_WEAK;
			*why = "the key has fewer than 1024 bits";
		} else if (out->bits > RSA_BITS_MAX || n <= 0 || n > DKIM_KEY_BYTES_MAX) {
			*why = "the key has more than 8192 bits";
		} else {
			out->len = (size_t)i2d_PUBKEY(key, &at);
			*why = NULL;
			state = DKIM_KEY_GOOD;
		}
		EVP_PKEY_free(key);
	}
	ERR_clear_error();
	return state;
}

static enum dkim_key_state ed25519_parse(const unsigned char *p, size_t len, struct dkim_key *out, const char **why)
{
	out->type = DKIM_KEY_ED25519;
	out->bits = 256;
	if (len != ED25519_BYTES) {
		*why = "p= is not an Ed25519 key of 32 bytes";
		return DKIM_KEY_BAD;
	}
	memcpy(out->bytes, p, len);
	out->len = len;
	return DKIM_KEY_GOOD;
}

/* What must be right before the key is looked at; NULL, or what is wrong. */
static const char *record_check(const struct dkim_tags *tags)
{
	const struct dkim_tag *v = dkim_tags_find(tags, "v"), *h = dkim_tags_find(tags, "h");
	const struct dkim_tag *s = dkim_tags_find(tags, "s");

	if (v && (v != &tags->tag[0] || v->len != 5 || memcmp(v->value, "DKIM1", 5) != 0))
		return v == &tags->tag[0] ? "v= is not DKIM1" : "v= is not the first tag";
	if (h && !dkim_tag_has(h, "sha256"))
		return "h= does not allow sha256";
	if (s && !dkim_tag_has(s, "*") && !dkim_tag_has(s, "email"))
		return "s= does not allow mail";
	if (!dkim_tags_find(tags, "p"))
		return "no p=";
	return NULL;
}

enum dkim_key_state dkim_key_parse(const char *record, size_t len, struct dkim_key *out, const char **why)
{
	unsigned char raw[DKIM_KEY_BYTES_MAX];
	const struct dkim_tag *k, *p, *t;
	struct dkim_tags tags;
	ptrdiff_t n;

	memset(out, 0, sizeof(*out));
	if (len > DKIM_KEY_TEXT_MAX) {
		*why = "the record is longer than 4096 bytes";
		return DKIM_KEY_BAD;
	}
	*why = dkim_tags_parse(record, len, &tags);
	if (!*why)
		*why = record_check(&tags);
	if (*why)
		return DKIM_KEY_BAD;
	k = dkim_tags_find(&tags, "k");
	p = dkim_tags_find(&tags, "p");
	t = dkim_tags_find(&tags, "t");
	out->testing = t && dkim_tag_has(t, "y");
	out->exact_domain = t && dkim_tag_has(t, "s");
	if (p->len == 0) {
		*why = "the key has been revoked (p= is empty)";
		return DKIM_KEY_REVOKED;
	}
	n = dkim_tag_base64(p->value, p->len, raw, sizeof(raw));
	if (n < 0) {
		*why = "p= is not base64";
		return DKIM_KEY_BAD;
	}
	if (!k || dkim_tag_is(k, "rsa"))
		return rsa_parse(raw, (size_t)n, out, why);
	if (dkim_tag_is(k, "ed25519"))
		return ed25519_parse(raw, (size_t)n, out, why);
	*why = "k= is neither rsa nor ed25519";
	return DKIM_KEY_BAD;
}
