/* What the key process answers, and what it does not: each key for its own purpose, and only what reads. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include "base/key_scheme.h"
#include "base/tls.h"
#include "filters/dkim_private.h"
#include "process/channel.h"
#include "process/keys.h"
#include "process/keys_wire.h"
#include "tests/support/certificate.h"

enum { TLS_RSA, TLS_EC, CA, DKIM_RSA, DKIM_ED, COUNT, DAY_S = 86400 };

static char dir[64], paths[COUNT][100];
static struct key_list list;
static struct held_keys *held;
static EVP_PKEY *pub[COUNT];
static unsigned char point[TLS_CA_POINT_BYTES];
static struct certificate *ca;

static void put(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void key_put(int i, EVP_PKEY *key)
{
	FILE *f = fopen(paths[i], "w");

	assert_non_null(f);
	assert_int_equal(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
	fclose(f);
}

static void key_make(int i, enum key_purpose purpose, EVP_PKEY *key, const char *pem)
{
	unsigned char *der = NULL;
	int n;

	snprintf(paths[i], sizeof(paths[i]), "%s/%d.pem", dir, i);
	if (pem) {
		BIO *bio = BIO_new_mem_buf(pem, -1);

		key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
		BIO_free(bio);
	}
	assert_non_null(key);
	key_put(i, key);
	assert_int_equal(key_list_add(&list, purpose, paths[i]), i);
	n = i2d_PUBKEY(key, &der);
	assert_int_equal(key_list_public(&list, (size_t)i, der, (size_t)n), 0);
	OPENSSL_free(der);
	pub[i] = key;
}

static int group_setup(void **state)
{
	EVP_PKEY *leaf = EVP_EC_gen("P-256");
	size_t n;

	snprintf(dir, sizeof(dir), "/tmp/gatepost-keys-XXXXXX");
	assert_non_null(mkdtemp(dir));
	ca = certificate_new("Own CA", NULL, 0, 10 * DAY_S);
	key_make(TLS_RSA, KEY_FOR_TLS, EVP_RSA_gen(2048), NULL);
	key_make(TLS_EC, KEY_FOR_TLS, EVP_EC_gen("P-256"), NULL);
	key_make(CA, KEY_FOR_CA, NULL, certificate_key_pem(ca));
	list.key[CA].cert_pem = strdup(certificate_pem(ca));
	key_make(DKIM_RSA, KEY_FOR_DKIM, EVP_RSA_gen(1024), NULL);
	key_make(DKIM_ED, KEY_FOR_DKIM, EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), NULL);
	assert_int_equal(EVP_PKEY_get_octet_string_param(leaf, "pub", point, sizeof(point), &n), 1);
	EVP_PKEY_free(leaf);
	return held_keys_read(&list, false, &held);
}

static int group_teardown(void **state)
{
	held_keys_free(held);
	key_list_release(&list);
	for (int i = 0; i < COUNT; i++) {
		EVP_PKEY_free(pub[i]);
		unlink(paths[i]);
	}
	certificate_free(ca);
	return rmdir(dir);
}

#define SPACES "                                                                "
#define RANDOMS "rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr"
#define HASH "hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh"
#define SERVER SPACES "TLS 1.3, server CertificateVerify\0"
#define TEXT(t) t, sizeof(t) - 1

/* ---- what a TLS server signs ---- */

static void test_handshake(void **state)
{
	static const struct {
		const char *name;
		unsigned scheme;
		const char *p;
		size_t len;
		bool good;
	} rows[] = {
		{ "1.3, SHA-256", KEY_SCHEME_EC_SHA256, TEXT(SERVER HASH), true },
		{ "1.3, SHA-384", KEY_SCHEME_RSA_PSS_SHA256, TEXT(SERVER HASH "hhhhhhhhhhhhhhhh"), true },
		{ "1.2, a curve", KEY_SCHEME_RSA_SHA256, TEXT(RANDOMS "\3\0\35\4abcd"), true },
		{ "1.2, Diffie and Hellman", KEY_SCHEME_RSA_PSS_SHA256, TEXT(RANDOMS "\0\3abc\0\1d\0\2ef"), true },
		{ "1.3 by PKCS#1", KEY_SCHEME_RSA_SHA256, TEXT(SERVER HASH), false },
		{ "1.3, a client's", KEY_SCHEME_EC_SHA256, TEXT(SPACES "TLS 1.3, client CertificateVerify\0" HASH), false },
		{ "1.3, no zero", KEY_SCHEME_EC_SHA256, TEXT(SPACES "TLS 1.3, server CertificateVerify" HASH), false },
		{ "1.3, a space less", KEY_SCHEME_EC_SHA256, TEXT("\t" SERVER HASH), false },
		{ "1.3, another first octet", KEY_SCHEME_EC_SHA256, TEXT("\t" "                                                               TLS 1.3, server CertificateVerify\0" HASH), false },
		{ "1.3, a short hash", KEY_SCHEME_EC_SHA256, TEXT(SERVER "hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh"), false },
		{ "1.3, a long hash", KEY_SCHEME_EC_SHA256, TEXT(SERVER HASH "h"), false },
		{ "1.3, no hash", KEY_SCHEME_EC_SHA256, TEXT(SERVER), false },
		{ "nothing", KEY_SCHEME_EC_SHA256, "", 0, false },
		{ "a hash alone", KEY_SCHEME_EC_SHA256, TEXT(HASH), false },
		{ "randoms alone", KEY_SCHEME_EC_SHA256, TEXT(RANDOMS), false },
		{ "1.2, no point", KEY_SCHEME_EC_SHA256, TEXT(RANDOMS "\3\0\35\0"), false },
		{ "1.2, a point too short", KEY_SCHEME_EC_SHA256, TEXT(RANDOMS "\3\0\35\4abc"), false },
		{ "1.2, something behind the point", KEY_SCHEME_EC_SHA256, TEXT(RANDOMS "\3\0\35\4abcde"), false },
		{ "1.2, a curve of its own", KEY_SCHEME_EC_SHA256, TEXT(RANDOMS "\1\0\35\4abcd"), false },
		{ "1.2, two numbers", KEY_SCHEME_RSA_SHA256, TEXT(RANDOMS "\0\3abc\0\1d"), false },
		{ "1.2, four numbers", KEY_SCHEME_RSA_SHA256, TEXT(RANDOMS "\0\3abc\0\1d\0\2ef\0\1g"), false },
		{ "1.2, a number of nothing", KEY_SCHEME_RSA_SHA256, TEXT(RANDOMS "\0\0\0\1d\0\2ef"), false },
		{ "1.2, a number beyond the end", KEY_SCHEME_RSA_SHA256, TEXT(RANDOMS "\0\3abc\0\1d\0\3ef"), false },
		{ "a request for a certificate", KEY_SCHEME_RSA_SHA256, TEXT("0\202\1\0000\201\252\2\1\0000\r1\v0\t\6\3U\4\3\f\2mx0\201\237" RANDOMS), false },
		{ "no such scheme", 0x0201, TEXT(SERVER HASH), false },
		{ "no scheme", 0, TEXT(RANDOMS "\3\0\35\4abcd"), false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (keys_is_handshake(rows[i].scheme, (const unsigned char *)rows[i].p, rows[i].len) != rows[i].good)
			fail_msg("%s", rows[i].name);
}

/* ---- requests ---- */

static void request(struct buf *out, unsigned type, uint32_t number)
{
	const unsigned char *hash = (const unsigned char *)HASH;

	buf_clear(out);
	if (type == CHANNEL_KEYS_SIGN)
		keys_sign_write(out, number, number == TLS_EC ? KEY_SCHEME_EC_SHA256 : KEY_SCHEME_RSA_PSS_SHA256, (const unsigned char *)SERVER HASH,
				sizeof(SERVER HASH) - 1);
	else if (type == CHANNEL_KEYS_DKIM)
		keys_dkim_write(out, number, hash);
	else
		keys_mint_write(out, number, point, (const unsigned char *)"d\3a.b", 5);
}

static int answer(unsigned type, const struct buf *r, struct buf *out)
{
	int rc;

	buf_clear(out);
	rc = held_keys_answer(held, type, r->data, r->len, out);
	assert_int_equal(ERR_peek_error(), 0);
	assert_true(rc == 0 || out->len == 0);
	return rc;
}

/* Each key with each kind of request: its own, and no other. */
static void test_purposes(void **state)
{
	static const unsigned own[COUNT] = { [TLS_RSA] = CHANNEL_KEYS_SIGN, [TLS_EC] = CHANNEL_KEYS_SIGN, [CA] = CHANNEL_KEYS_MINT, [DKIM_RSA] = CHANNEL_KEYS_DKIM,
					      [DKIM_ED] = CHANNEL_KEYS_DKIM };
	AUTO(buf) struct buf r = BUF_INIT(KEYS_REQUEST_MAX + 64), out = BUF_INIT(KEYS_ANSWER_MAX);

	for (unsigned type = CHANNEL_KEYS_SIGN; type <= CHANNEL_KEYS_MINT; type++)
		for (uint32_t i = 0; i < COUNT + 2; i++) {
			int rc;

			request(&r, type, i);
			rc = answer(type, &r, &out);
			if (rc != (i < COUNT && own[i] == type ? 0 : -EPROTO))
				fail_msg("key %u, type %u: %d", i, type, rc);
		}
	for (unsigned type = 0; type < 300; type++) {
		request(&r, CHANNEL_KEYS_DKIM, DKIM_ED);
		if (type != CHANNEL_KEYS_DKIM)
			assert_int_equal(answer(type, &r, &out), -EPROTO);
	}
	request(&r, CHANNEL_KEYS_DKIM, UINT32_MAX);
	assert_int_equal(answer(CHANNEL_KEYS_DKIM, &r, &out), -EPROTO);
}

static bool verifies(EVP_PKEY *key, const struct buf *signature, bool pss, const char *p, size_t len)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ed = EVP_PKEY_is_a(key, "ED25519"), good;
	EVP_PKEY_CTX *how;

	good = EVP_DigestVerifyInit(ctx, &how, ed ? NULL : EVP_sha256(), NULL, key) == 1 &&
	       (!pss || EVP_PKEY_CTX_set_rsa_padding(how, RSA_PKCS1_PSS_PADDING) == 1) &&
	       EVP_DigestVerify(ctx, (const unsigned char *)signature->data, signature->len, (const unsigned char *)p, len) == 1;
	EVP_MD_CTX_free(ctx);
	ERR_clear_error();
	return good;
}

static void test_signatures(void **state)
{
	AUTO(buf) struct buf r = BUF_INIT(KEYS_REQUEST_MAX + 64), out = BUF_INIT(KEYS_ANSWER_MAX);
	const unsigned char *p;
	X509 *x;

	request(&r, CHANNEL_KEYS_SIGN, TLS_RSA);
	assert_int_equal(answer(CHANNEL_KEYS_SIGN, &r, &out), 0);
	assert_true(verifies(pub[TLS_RSA], &out, true, TEXT(SERVER HASH)));
	assert_false(verifies(pub[TLS_RSA], &out, true, TEXT(SERVER)));
	request(&r, CHANNEL_KEYS_SIGN, TLS_EC);
	assert_int_equal(answer(CHANNEL_KEYS_SIGN, &r, &out), 0);
	assert_true(verifies(pub[TLS_EC], &out, false, TEXT(SERVER HASH)));
	request(&r, CHANNEL_KEYS_DKIM, DKIM_ED);
	assert_int_equal(answer(CHANNEL_KEYS_DKIM, &r, &out), 0);
	assert_true(verifies(pub[DKIM_ED], &out, false, TEXT(HASH)));
	request(&r, CHANNEL_KEYS_DKIM, DKIM_RSA);
	assert_int_equal(answer(CHANNEL_KEYS_DKIM, &r, &out), 0);
	assert_int_equal(out.len, 128);
	request(&r, CHANNEL_KEYS_MINT, CA);
	assert_int_equal(answer(CHANNEL_KEYS_MINT, &r, &out), 0);
	p = (const unsigned char *)out.data;
	x = d2i_X509(NULL, &p, (long)out.len);
	assert_non_null(x);
	assert_int_equal(X509_verify(x, pub[CA]), 1);
	assert_int_equal(X509_check_ca(x), 0);
	X509_free(x);
	/* A scheme that is not the key's. */
	buf_clear(&r);
	keys_sign_write(&r, TLS_EC, KEY_SCHEME_RSA_PSS_SHA256, (const unsigned char *)SERVER HASH, sizeof(SERVER HASH) - 1);
	assert_int_equal(answer(CHANNEL_KEYS_SIGN, &r, &out), -EINVAL);
}

/* Every request cut at every place, and made longer, is none; and so is one with another number in front. */
static void test_malformed(void **state)
{
	AUTO(buf) struct buf r = BUF_INIT(KEYS_REQUEST_MAX + 64), out = BUF_INIT(KEYS_ANSWER_MAX);
	static const uint32_t numbers[] = { TLS_EC, DKIM_ED, CA };

	for (unsigned type = CHANNEL_KEYS_SIGN; type <= CHANNEL_KEYS_MINT; type++) {
		size_t whole;

		request(&r, type, numbers[type - CHANNEL_KEYS_SIGN]);
		whole = r.len;
		for (size_t len = 0; len < whole; len++) {
			unsigned char *copy = malloc(len + 1);

			memcpy(copy, r.data, len);
			if (held_keys_answer(held, type, copy, len, &out) != -EPROTO)
				fail_msg("type %u, cut after %zu", type, len);
			free(copy);
		}
		buf_addc(&r, 'x');
		assert_int_equal(answer(type, &r, &out), -EPROTO);
	}
	buf_clear(&r);
	while (r.len < KEYS_REQUEST_MAX + 1)
		buf_addc(&r, 1);
	for (unsigned type = CHANNEL_KEYS_SIGN; type <= CHANNEL_KEYS_MINT; type++)
		assert_int_equal(answer(type, &r, &out), -EPROTO);
}

/* ---- files ---- */

static void test_files(void **state)
{
	AUTO(buf) struct buf r = BUF_INIT(KEYS_REQUEST_MAX + 64), out = BUF_INIT(KEYS_ANSWER_MAX);
	struct held_keys *h = NULL, *was = held;
	EVP_PKEY *other = EVP_RSA_gen(2048);
	static const char *const bad[] = { "", "hello\n", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n", NULL };

	for (size_t i = 0; i <= sizeof(bad) / sizeof(bad[0]); i++)
		for (int key = 0; key < COUNT; key++) {
			if (i == sizeof(bad) / sizeof(bad[0]))
				key_put(key, other);            /* a good one, but not this */
			else if (bad[i])
				put(paths[key], bad[i]);
			else
				unlink(paths[key]);
			assert_int_equal(held_keys_read(&list, false, &h), -EINVAL);
			assert_int_equal(held_keys_read(&list, true, &h), 0);
			/* It does not sign, and nobody is called an intruder for having asked; the others do. */
			held = h;
			for (uint32_t k = 0; k < COUNT; k++) {
				unsigned type = list.key[k].purpose == KEY_FOR_TLS ? CHANNEL_KEYS_SIGN : list.key[k].purpose == KEY_FOR_CA ? CHANNEL_KEYS_MINT :
						CHANNEL_KEYS_DKIM;

				request(&r, type, k);
				assert_int_equal(answer(type, &r, &out), k == (uint32_t)key ? -ENOKEY : 0);
			}
			held = was;
			held_keys_free(h);
			key_put(key, pub[key]);
		}
	EVP_PKEY_free(other);
	/* What is no file at all. */
	unlink(paths[0]);
	assert_int_equal(mkdir(paths[0], 0700), 0);
	assert_int_equal(held_keys_read(&list, false, &h), -EINVAL);
	rmdir(paths[0]);
	assert_int_equal(mkfifo(paths[0], 0600), 0);
	assert_int_equal(held_keys_read(&list, false, &h), -EINVAL);
	unlink(paths[0]);
	key_put(0, pub[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_handshake), cmocka_unit_test(test_purposes), cmocka_unit_test(test_signatures), cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_files),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
