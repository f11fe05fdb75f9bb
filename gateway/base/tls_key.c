#include "base/tls_key.h"

#include <errno.h>
#include <openssl/core.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/key_scheme.h"

static const char HANDLE[] = "gatepost-handle";         /* how a key comes in: the address of a struct handle */
static const char SIGNS[] = "GATEPOST-SIGN";            /* nobody else's signatures are called so */

enum { HASH_NAME_MAX = 32, REASON_NOT_SIGNED = 1 };

struct handle {
	EVP_PKEY *pub;
	const struct key_signer *by;
	uint32_t number;
};

struct key {
	const char *type;
	struct handle h;                        /* by NULL: only a public key, to be compared */
};

struct signing {
	const struct key *key;                  /* whoever signs holds it */
	char hash[HASH_NAME_MAX];
	bool pss;
};

static int error_library;

/* ---- keys ---- */

static void *key_new(const char *type)
{
	struct key *k = calloc(1, sizeof(*k));

	if (k)
		k->type = type;
	return k;
}

static void key_free(void *keydata)
{
	struct key *k = keydata;

	if (!k)
		return;
	EVP_PKEY_free(k->h.pub);
	free(k);
}

static int key_has(const void *keydata, int selection)
{
	const struct key *k = keydata;

	return k && k->h.pub && (!(selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) || k->h.by);
}

static int key_match(const void *a, const void *b, int selection)
{
	const struct key *x = a, *y = b;

	return x->h.pub && y->h.pub && EVP_PKEY_eq(x->h.pub, y->h.pub) == 1;
}

/* A certificate's public key, for X509_check_private_key. */
static int import_public(struct key *k, const OSSL_PARAM params[])
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, k->type, NULL);
	int ok = ctx && EVP_PKEY_fromdata_init(ctx) == 1 && EVP_PKEY_fromdata(ctx, &k->h.pub, EVP_PKEY_PUBLIC_KEY, (OSSL_PARAM *)params) == 1;

	EVP_PKEY_CTX_free(ctx);
	return ok;
}

static int key_import(void *keydata, int selection, const OSSL_PARAM params[])
{
	const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, HANDLE);
	const void *at;
	struct key *k = keydata;
	size_t size;

	if (k->h.pub)
		return 0;
	if (!p)
		return import_public(k, params);
	if (OSSL_PARAM_get_octet_string_ptr(p, &at, &size) != 1 || size != sizeof(k->h))
		return 0;
	memcpy(&k->h, at, sizeof(k->h));
	return EVP_PKEY_up_ref(k->h.pub);
}

static const OSSL_PARAM *key_import_types(int selection)
{
	static const OSSL_PARAM types[] = { OSSL_PARAM_octet_string(HANDLE, NULL, 0), OSSL_PARAM_END };

	return types;
}

/* Its size, its curve, the hash that it would like: what the public key says. */
static int key_get_params(void *keydata, OSSL_PARAM params[])
{
	const struct key *k = keydata;

	return k->h.pub && EVP_PKEY_get_params(k->h.pub, params);
}

static const OSSL_PARAM *key_gettable_params(void *provctx)
{
	static const OSSL_PARAM list[] = {
		OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL), OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL), OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
		OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_DEFAULT_DIGEST, NULL, 0), OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_MANDATORY_DIGEST, NULL, 0),
		OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0), OSSL_PARAM_END,
	};

	return list;
}

static const char *key_operation_name(int operation)
{
	return operation == OSSL_OP_SIGNATURE ? SIGNS : NULL;
}

typedef void (*fn)(void);

#define KEYMGMT(name, type)                                                                                                    \
	static void *name##_new(void *provctx)                                                                                 \
	{                                                                                                                      \
		return key_new(type);                                                                                          \
	}                                                                                                                      \
	static const OSSL_DISPATCH name##_keymgmt[] = {                                                                        \
		{ OSSL_FUNC_KEYMGMT_NEW, (fn)name##_new },                                                                     \
		{ OSSL_FUNC_KEYMGMT_FREE, (fn)key_free },                                                                      \
		{ OSSL_FUNC_KEYMGMT_HAS, (fn)key_has },                                                                        \
		{ OSSL_FUNC_KEYMGMT_MATCH, (fn)key_match },                                                                    \
		{ OSSL_FUNC_KEYMGMT_IMPORT, (fn)key_import },                                                                  \
		{ OSSL_FUNC_KEYMGMT_IMPORT_TYPES, (fn)key_import_types },                                                      \
		{ OSSL_FUNC_KEYMGMT_GET_PARAMS, (fn)key_get_params },                                                          \
		{ OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, (fn)key_gettable_params },                                                \
		{ OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, (fn)key_operation_name },                                            \
		{ 0, NULL },                                                                                                   \
	};

KEYMGMT(rsa, "RSA")
KEYMGMT(pss, "RSA-PSS")
KEYMGMT(ec, "EC")
KEYMGMT(ed25519, "ED25519")
KEYMGMT(ed448, "ED448")

/* ---- signatures ---- */

static void *signing_new(void *provctx, const char *propq)
{
	return calloc(1, sizeof(struct signing));
}

static void signing_free(void *ctx)
{
	free(ctx);
}

static int pad_mode_set(struct signing *s, const OSSL_PARAM *p)
{
	const char *name;
	int mode;

	if (p->data_type == OSSL_PARAM_UTF8_STRING) {
		if (OSSL_PARAM_get_utf8_string_ptr(p, &name) != 1)
			return 0;
		mode = strcmp(name, OSSL_PKEY_RSA_PAD_MODE_PSS) == 0 ? RSA_PKCS1_PSS_PADDING : strcmp(name, OSSL_PKEY_RSA_PAD_MODE_PKCSV15) == 0 ? RSA_PKCS1_PADDING : 0;
	} else if (OSSL_PARAM_get_int(p, &mode) != 1) {
		return 0;
	}
	s->pss = mode == RSA_PKCS1_PSS_PADDING;
	return s->pss || mode == RSA_PKCS1_PADDING;
}

/* As long as the hash, which is all that TLS knows. */
static int salt_set(struct signing *s, const OSSL_PARAM *p)
{
	const char *name;
	int n;

	if (p->data_type == OSSL_PARAM_UTF8_STRING)
		return OSSL_PARAM_get_utf8_string_ptr(p, &name) == 1 && (strcmp(name, OSSL_PKEY_RSA_PSS_SALT_LEN_DIGEST) == 0 || strcmp(name, "-1") == 0);
	return OSSL_PARAM_get_int(p, &n) == 1 && n == RSA_PSS_SALTLEN_DIGEST;
}

static int signing_set_params(void *ctx, const OSSL_PARAM params[])
{
	const OSSL_PARAM *pad = params ? OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PAD_MODE) : NULL;
	const OSSL_PARAM *salt = params ? OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PSS_SALTLEN) : NULL;

	return (!pad || pad_mode_set(ctx, pad)) && (!salt || salt_set(ctx, salt));
}

static const OSSL_PARAM *signing_settable_params(void *ctx, void *provctx)
{
	static const OSSL_PARAM list[] = {
		OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PAD_MODE, NULL, 0), OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, NULL, 0), OSSL_PARAM_END,
	};

	return list;
}

static unsigned scheme_of(const struct signing *s)
{
	return key_scheme_find(s->key->type, s->hash, s->pss);
}

/* TLS asks so, too, whether a hash would do. */
static int signing_init(void *ctx, const char *hash, void *keydata, const OSSL_PARAM params[])
{
	struct signing *s = ctx;
	size_t len = hash ? strlen(hash) : 0;

	s->key = keydata;
	if (!s->key || !s->key->h.by || len >= sizeof(s->hash))
		return 0;
	memcpy(s->hash, hash ? hash : "", len + 1);
	s->pss = strcmp(s->key->type, "RSA-PSS") == 0;
	return signing_set_params(s, params) && scheme_of(s) != 0;
}

static int signing_sign(void *ctx, unsigned char *signature, size_t *len, size_t size, const unsigned char *p, size_t n)
{
	const struct signing *s = ctx;
	const struct handle *h = &s->key->h;
	int max = EVP_PKEY_get_size(h->pub), got;

	if (!signature) {
		*len = (size_t)max;
		return max > 0;
	}
	ERR_clear_error();                      /* it may wait */
	got = h->by->sign(h->by->arg, h->number, scheme_of(s), p, n, signature, size);
	if (got <= 0 || (size_t)got > size) {
		ERR_raise(error_library, REASON_NOT_SIGNED);
		return 0;
	}
	*len = (size_t)got;
	return 1;
}

static const OSSL_DISPATCH signature[] = {
	{ OSSL_FUNC_SIGNATURE_NEWCTX, (fn)signing_new },
	{ OSSL_FUNC_SIGNATURE_FREECTX, (fn)signing_free },
	{ OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, (fn)signing_init },
	{ OSSL_FUNC_SIGNATURE_DIGEST_SIGN, (fn)signing_sign },
	{ OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, (fn)signing_set_params },
	{ OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, (fn)signing_settable_params },
	{ 0, NULL },
};

/* ---- the provider ---- */

static const OSSL_ALGORITHM *provider_query(void *provctx, int operation, int *no_cache)
{
	/* With the names that certificates have for them: keys are compared by type first. */
	static const OSSL_ALGORITHM keys[] = {
		{ "RSA:rsaEncryption:1.2.840.113549.1.1.1", "provider=gatepost", rsa_keymgmt, NULL },
		{ "RSA-PSS:RSASSA-PSS:1.2.840.113549.1.1.10", "provider=gatepost", pss_keymgmt, NULL },
		{ "EC:id-ecPublicKey:1.2.840.10045.2.1", "provider=gatepost", ec_keymgmt, NULL },
		{ "ED25519:1.3.101.112", "provider=gatepost", ed25519_keymgmt, NULL },
		{ "ED448:1.3.101.113", "provider=gatepost", ed448_keymgmt, NULL },
		{ NULL, NULL, NULL, NULL },
	};
	static const OSSL_ALGORITHM signatures[] = { { SIGNS, "provider=gatepost", signature, NULL }, { NULL, NULL, NULL, NULL } };

	*no_cache = 0;
	return operation == OSSL_OP_KEYMGMT ? keys : operation == OSSL_OP_SIGNATURE ? signatures : NULL;
}

static int provider_init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out, void **provctx)
{
	static const OSSL_DISPATCH functions[] = { { OSSL_FUNC_PROVIDER_QUERY_OPERATION, (fn)provider_query }, { 0, NULL } };

	*out = functions;
	*provctx = (void *)handle;
	return 1;
}

/* For the life of the process. NULL: no memory. */
static OSSL_LIB_CTX *context(void)
{
	static ERR_STRING_DATA reasons[] = { { 0, NULL }, { 0, NULL } };
	static OSSL_LIB_CTX *lib;

	if (lib)
		return lib;
	lib = OSSL_LIB_CTX_new();
	if (!lib || OSSL_PROVIDER_add_builtin(lib, "gatepost", provider_init) != 1 || !OSSL_PROVIDER_load(lib, "gatepost")) {
		OSSL_LIB_CTX_free(lib);
		lib = NULL;
		return NULL;
	}
	error_library = ERR_get_next_error_library();
	reasons[0] = (ERR_STRING_DATA){ ERR_PACK(error_library, 0, REASON_NOT_SIGNED), "the private key did not sign" };
	ERR_load_strings(error_library, reasons);
	return lib;
}

int tls_key_new(EVP_PKEY *pub, const struct key_signer *by, uint32_t number, EVP_PKEY **out)
{
	static const char *const types[] = { "RSA-PSS", "RSA", "EC", "ED25519", "ED448" };
	struct handle h = { pub, by, number };
	OSSL_PARAM params[] = { OSSL_PARAM_construct_octet_string(HANDLE, &h, sizeof(h)), OSSL_PARAM_construct_end() };
	OSSL_LIB_CTX *lib = context();
	const char *type = NULL;
	EVP_PKEY_CTX *ctx;
	bool good;

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]) && !type; i++)
		type = EVP_PKEY_is_a(pub, types[i]) ? types[i] : NULL;
	if (lib && !type)
		return -EINVAL;
	*out = NULL;
	ctx = lib ? EVP_PKEY_CTX_new_from_name(lib, type, NULL) : NULL;
	good = ctx && EVP_PKEY_fromdata_init(ctx) == 1 && EVP_PKEY_fromdata(ctx, out, EVP_PKEY_KEYPAIR, params) == 1;
	EVP_PKEY_CTX_free(ctx);
	ERR_clear_error();
	return good ? 0 : -ENOMEM;
}
