/* Keys whose private half is elsewhere: handshakes with every kind of key, and what becomes of one that does not sign. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "base/key_scheme.h"
#include "base/stream.h"
#include "base/task.h"
#include "base/tls.h"
#include "base/tls_key.h"

enum { LONG_MS = 60000, NUMBER = 77, PEM_MAX = 65536 };

/* ---- keys and their certificates ---- */

static struct kind {
	const char *name, *type, *detail;
	int bits;
	EVP_PKEY *key;
	X509 *cert;
	char *pem;
} kinds[] = {
	{ "RSA 2048", "RSA", NULL, 2048, NULL, NULL, NULL },
	{ "RSA 3072", "RSA", NULL, 3072, NULL, NULL, NULL },
	{ "RSA 4096", "RSA", NULL, 4096, NULL, NULL, NULL },
	{ "RSA-PSS", "RSA-PSS", NULL, 2048, NULL, NULL, NULL },
	{ "P-256", "EC", "P-256", 0, NULL, NULL, NULL },
	{ "P-384", "EC", "P-384", 0, NULL, NULL, NULL },
	{ "P-521", "EC", "P-521", 0, NULL, NULL, NULL },
	{ "Ed25519", "ED25519", NULL, 0, NULL, NULL, NULL },
	{ "Ed448", "ED448", NULL, 0, NULL, NULL, NULL },
};

enum { KINDS = sizeof(kinds) / sizeof(kinds[0]), P256 = 4 };

static EVP_PKEY *key_make(const struct kind *k)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, k->type, NULL);
	EVP_PKEY *key = NULL;

	assert_int_equal(EVP_PKEY_keygen_init(ctx), 1);
	if (k->bits)
		assert_int_equal(EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, k->bits), 1);
	if (k->detail)
		assert_int_equal(EVP_PKEY_CTX_set_group_name(ctx, k->detail), 1);
	assert_int_equal(EVP_PKEY_generate(ctx, &key), 1);
	EVP_PKEY_CTX_free(ctx);
	return key;
}

static void certify(struct kind *k)
{
	bool own = EVP_PKEY_is_a(k->key, "ED25519") || EVP_PKEY_is_a(k->key, "ED448");
	BIO *bio = BIO_new(BIO_s_mem());
	char *p;
	long n;

	k->cert = X509_new();
	X509_set_version(k->cert, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(k->cert), 7);
	X509_gmtime_adj(X509_getm_notBefore(k->cert), -60);
	X509_gmtime_adj(X509_getm_notAfter(k->cert), 3600);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(k->cert), "CN", MBSTRING_ASC, (const unsigned char *)"mx.example", -1, -1, 0);
	X509_set_issuer_name(k->cert, X509_get_subject_name(k->cert));
	X509_set_pubkey(k->cert, k->key);
	assert_true(X509_sign(k->cert, k->key, own ? NULL : EVP_sha256()) > 0);
	assert_int_equal(PEM_write_bio_X509(bio, k->cert), 1);
	n = BIO_get_mem_data(bio, &p);
	k->pem = strndup(p, (size_t)n);
	BIO_free(bio);
}

static int group_setup(void **state)
{
	for (size_t i = 0; i < KINDS; i++) {
		kinds[i].key = key_make(&kinds[i]);
		certify(&kinds[i]);
	}
	return 0;
}

static int group_teardown(void **state)
{
	for (size_t i = 0; i < KINDS; i++) {
		EVP_PKEY_free(kinds[i].key);
		X509_free(kinds[i].cert);
		free(kinds[i].pem);
	}
	return 0;
}

static int setup(void **state)
{
	return loop_init();
}

static int teardown(void **state)
{
	loop_release();
	return ERR_peek_error() != 0;
}

/* ---- who has the key ---- */

static struct {
	const struct kind *has;
	int calls, wait_ms, fail;               /* fail: what is said instead of a signature */
	bool spoil;
	unsigned scheme;
	size_t len;
	unsigned char head[100];
} holder;

static int holder_sign(void *arg, uint32_t number, unsigned scheme, const unsigned char *p, size_t len, unsigned char *signature, size_t size)
{
	int n;

	assert_ptr_equal(arg, &holder);
	assert_int_equal(number, NUMBER);
	assert_int_equal(ERR_peek_error(), 0);
	holder.calls++;
	holder.scheme = scheme;
	holder.len = len;
	memcpy(holder.head, p, len < sizeof(holder.head) ? len : sizeof(holder.head));
	if (holder.wait_ms && task_self()) {
		int rc = task_sleep(holder.wait_ms);

		if (rc < 0)
			return rc;
	}
	if (holder.fail)
		return holder.fail;
	n = key_scheme_sign(holder.has->key, scheme, p, len, signature, size);
	if (n > 0 && holder.spoil)
		signature[n / 2] ^= 1;
	return n;
}

static const struct key_signer signer = { holder_sign, &holder };

static SSL_CTX *server(const struct kind *k)
{
	const struct tls_pair pair = { .cert_pem = k->pem, .by = &signer, .number = NUMBER };
	struct buf err = BUF_INIT(1024);
	SSL_CTX *ctx = NULL;

	memset(&holder, 0, sizeof(holder));
	holder.has = k;
	if (tls_server_ctx_pair(&pair, &ctx, &err) < 0)
		fail_msg("%s: %s", k->name, buf_str(&err));
	return ctx;
}

/* ---- two tasks ---- */

static struct {
	struct stream *server, *client;
	SSL_CTX *server_ctx, *client_ctx;
	struct task *server_task;
	int server_rc, client_rc, timeout_ms;
	char error[200], cipher[64];
} now;

static void serve(void *arg)
{
	AUTO(stream) struct stream *s = now.server;

	now.server_rc = stream_tls_accept(now.server, now.server_ctx, now.timeout_ms);
	snprintf(now.error, sizeof(now.error), "%s", stream_error(now.server));
	snprintf(now.cipher, sizeof(now.cipher), "%s", stream_tls_cipher(now.server));
	now.server_task = NULL;
	stream_close(s, LONG_MS);
}

static void ask(void *arg)
{
	AUTO(stream) struct stream *s = now.client;

	now.client_rc = stream_tls_connect(now.client, now.client_ctx, NULL, LONG_MS);
	stream_close(s, LONG_MS);
}

static void until_alone(void *arg)
{
	while (task_count() > 1)
		task_sleep(1);
	loop_stop();
}

static void handshake(SSL_CTX *server_ctx, SSL_CTX *client_ctx, int timeout_ms)
{
	int s[2];

	memset(&now, 0, sizeof(now));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	now.server = stream_new(s[0]);
	now.client = stream_new(s[1]);
	now.server_ctx = server_ctx;
	now.client_ctx = client_ctx;
	now.timeout_ms = timeout_ms;
	now.server_rc = now.client_rc = 1;
	task_spawn("server", serve, NULL, &now.server_task);
	task_spawn("client", ask, NULL, NULL);
	task_spawn("last", until_alone, NULL, NULL);
	loop_run();
}

static SSL_CTX *client(int version)
{
	struct buf err = BUF_INIT(1024);
	SSL_CTX *ctx = NULL;

	assert_int_equal(tls_client_ctx(false, NULL, &ctx, &err), 0);
	SSL_CTX_set_min_proto_version(ctx, version);
	SSL_CTX_set_max_proto_version(ctx, version);
	assert_int_equal(SSL_CTX_set1_sigalgs_list(ctx, "ed25519:ed448:ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512:RSA-PSS+SHA256:RSA+SHA256:rsa_pss_pss_sha256"), 1);
	return ctx;
}

/* ---- cases ---- */

static void test_handshakes(void **state)
{
	static const char tls13[] = "                                                                TLS 1.3, server CertificateVerify";

	for (size_t i = 0; i < KINDS; i++)
		for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++)
			for (int wait_ms = 0; wait_ms <= 3; wait_ms += 3) {
				SSL_CTX *s = server(&kinds[i]), *c = client(version);

				holder.wait_ms = wait_ms;
				handshake(s, c, LONG_MS);
				if (now.server_rc || now.client_rc || holder.calls != 1)
					fail_msg("%s, %x: server %d %s, client %d, %d calls", kinds[i].name, version, now.server_rc, now.error, now.client_rc,
						 holder.calls);
				if (version == TLS1_3_VERSION)
					assert_memory_equal(holder.head, tls13, sizeof(tls13));
				assert_true(key_scheme_known(holder.scheme));
				tls_ctx_free(s);
				tls_ctx_free(c);
			}
}

/* What a client can ask for, and what we then sign by. */
static void test_schemes(void **state)
{
	static const struct {
		const char *kind, *list;
		int version;
		unsigned scheme;                /* 0: no handshake */
	} rows[] = {
		{ "RSA 2048", "RSA+SHA256", TLS1_2_VERSION, KEY_SCHEME_RSA_SHA256 },
		{ "RSA 2048", "RSA+SHA384", TLS1_2_VERSION, KEY_SCHEME_RSA_SHA384 },
		{ "RSA 2048", "RSA+SHA512", TLS1_2_VERSION, KEY_SCHEME_RSA_SHA512 },
		{ "RSA 2048", "RSA-PSS+SHA256", TLS1_2_VERSION, KEY_SCHEME_RSA_PSS_SHA256 },
		{ "RSA 2048", "RSA-PSS+SHA384", TLS1_3_VERSION, KEY_SCHEME_RSA_PSS_SHA384 },
		{ "RSA 2048", "RSA-PSS+SHA512", TLS1_3_VERSION, KEY_SCHEME_RSA_PSS_SHA512 },
		{ "RSA-PSS", "rsa_pss_pss_sha256", TLS1_3_VERSION, KEY_SCHEME_PSS_SHA256 },
		{ "RSA-PSS", "rsa_pss_pss_sha512", TLS1_2_VERSION, KEY_SCHEME_PSS_SHA512 },
		{ "P-256", "ECDSA+SHA256", TLS1_3_VERSION, KEY_SCHEME_EC_SHA256 },
		{ "P-256", "ECDSA+SHA512", TLS1_2_VERSION, KEY_SCHEME_EC_SHA512 },
		{ "P-384", "ECDSA+SHA384", TLS1_3_VERSION, KEY_SCHEME_EC_SHA384 },
		{ "Ed25519", "ed25519", TLS1_3_VERSION, KEY_SCHEME_ED25519 },
		{ "Ed448", "ed448", TLS1_3_VERSION, KEY_SCHEME_ED448 },
		{ "RSA 2048", "RSA+SHA256", TLS1_3_VERSION, 0 },
		{ "RSA 2048", "RSA+SHA1", TLS1_2_VERSION, 0 },
		{ "RSA 2048", "RSA+SHA224", TLS1_2_VERSION, 0 },
		{ "RSA 2048", "ECDSA+SHA256", TLS1_3_VERSION, 0 },
		{ "RSA-PSS", "RSA+SHA256", TLS1_2_VERSION, 0 },
		{ "P-256", "ECDSA+SHA1", TLS1_2_VERSION, 0 },
		{ "P-256", "ECDSA+SHA384", TLS1_3_VERSION, 0 },
		{ "P-256", "ed25519", TLS1_3_VERSION, 0 },
		{ "Ed25519", "ECDSA+SHA256", TLS1_3_VERSION, 0 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		SSL_CTX *s = NULL, *c = client(rows[i].version);

		for (size_t k = 0; k < KINDS; k++)
			if (strcmp(kinds[k].name, rows[i].kind) == 0)
				s = server(&kinds[k]);
		SSL_CTX_set_security_level(c, 0);
		assert_int_equal(SSL_CTX_set1_sigalgs_list(c, rows[i].list), 1);
		handshake(s, c, LONG_MS);
		if (rows[i].scheme ? now.server_rc || now.client_rc || holder.scheme != rows[i].scheme : !now.server_rc || !now.client_rc || holder.calls)
			fail_msg("%s, %s, %x: server %d %s, client %d, scheme %x", rows[i].kind, rows[i].list, rows[i].version, now.server_rc, now.error,
				 now.client_rc, holder.scheme);
		tls_ctx_free(s);
		tls_ctx_free(c);
	}
}

static void cancel_soon(void *arg)
{
	task_sleep(20);
	if (now.server_task)
		task_cancel(now.server_task);
}

/* Whatever the other process does, this one goes on. */
static void test_failures(void **state)
{
	static const struct {
		const char *name;
		int fail, wait_ms;
		bool cancel;
		int rc;                         /* of the server */
	} rows[] = {
		{ "no answer", -ETIMEDOUT, 0, false, -EPROTO },
		{ "it died", -EPIPE, 3, false, -EPROTO },
		{ "it says no", -EACCES, 0, false, -EPROTO },
		{ "good", 0, 0, false, 0 },
		{ "too long", KEY_SIGNATURE_MAX * 2, 0, false, -EPROTO },
		{ "cancelled", 0, LONG_MS, true, -ECANCELED },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
			SSL_CTX *s = server(&kinds[P256]), *c = client(version);

			holder.fail = rows[i].fail;
			holder.wait_ms = rows[i].wait_ms;
			if (rows[i].cancel)
				task_spawn("cancel", cancel_soon, NULL, NULL);
			handshake(s, c, LONG_MS);
			if (now.server_rc != rows[i].rc || !now.client_rc != !rows[i].rc)
				fail_msg("%s: server %d %s, client %d", rows[i].name, now.server_rc, now.error, now.client_rc);
			if (rows[i].rc == -EPROTO)
				assert_string_equal(now.error, "the private key did not sign");
			assert_int_equal(ERR_peek_error(), 0);
			tls_ctx_free(s);
			tls_ctx_free(c);
		}
}

/* A signature that is wrong is the client's to see. */
static void test_wrong_signature(void **state)
{
	for (size_t i = 0; i < KINDS; i++) {
		SSL_CTX *s = server(&kinds[i]), *c = client(TLS1_3_VERSION);

		holder.spoil = true;
		handshake(s, c, LONG_MS);
		if (!now.client_rc || !now.server_rc)
			fail_msg("%s: server %d %s, client %d", kinds[i].name, now.server_rc, now.error, now.client_rc);
		tls_ctx_free(s);
		tls_ctx_free(c);
	}
}

/* A signature takes longer than the handshake may: it ends when the signature is there. */
static void test_late(void **state)
{
	SSL_CTX *s = server(&kinds[P256]), *c = client(TLS1_3_VERSION);

	holder.wait_ms = 60;
	handshake(s, c, 20);
	assert_int_equal(now.server_rc, -ETIMEDOUT);
	assert_int_equal(holder.calls, 1);
	tls_ctx_free(s);
	tls_ctx_free(c);
}

/* Only what the table of schemes has, and only with the right kind of key. */
static void test_scheme_sign(void **state)
{
	static const unsigned char text[] = "what is signed";
	unsigned char *signature = malloc(KEY_SIGNATURE_MAX);

	for (unsigned scheme = 0; scheme < 0x1000; scheme++)
		for (size_t i = 0; i < KINDS; i++) {
			int n = key_scheme_sign(kinds[i].key, scheme, text, sizeof(text), signature, KEY_SIGNATURE_MAX);
			bool rsa = strcmp(kinds[i].type, "RSA") == 0, pss = strcmp(kinds[i].type, "RSA-PSS") == 0, ec = strcmp(kinds[i].type, "EC") == 0;
			bool fits = rsa ? (scheme & 0xff) == 1 || (scheme >= 0x804 && scheme <= 0x806) : pss ? scheme >= 0x809 && scheme <= 0x80b :
				    ec ? (scheme & 0xff) == 3 : scheme == (strcmp(kinds[i].type, "ED25519") == 0 ? 0x807u : 0x808u);

			fits = fits && key_scheme_known(scheme);
			if (fits != (n > 0) || (!fits && n != -EINVAL))
				fail_msg("%s, scheme %04x: %d", kinds[i].name, scheme, n);
			assert_int_equal(ERR_peek_error(), 0);
		}
	assert_int_equal(key_scheme_sign(kinds[0].key, KEY_SCHEME_RSA_SHA256, text, sizeof(text), signature, 255), -ENOSPC);
	assert_false(key_scheme_modern(KEY_SCHEME_RSA_SHA256));
	assert_false(key_scheme_modern(0x0201));
	assert_true(key_scheme_modern(KEY_SCHEME_EC_SHA256));
	assert_int_equal(key_scheme_find("RSA", "SHA1", false), 0);
	assert_int_equal(key_scheme_find("RSA", "SHA2-256", true), KEY_SCHEME_RSA_PSS_SHA256);
	assert_int_equal(key_scheme_find("RSA", "", false), 0);
	assert_int_equal(key_scheme_find("DSA", "SHA256", false), 0);
	free(signature);
}

/* A key of ours is no use for anything else: it neither decrypts nor gives its private half away, and nobody else's key becomes ours. */
static void test_only_signs(void **state)
{
	EVP_PKEY *key = NULL, *dh;
	unsigned char in[256] = { 1 }, out[256];
	size_t len = sizeof(out);
	EVP_PKEY_CTX *ctx;
	BIO *bio = BIO_new(BIO_s_mem());

	memset(&holder, 0, sizeof(holder));
	assert_int_equal(tls_key_new(kinds[0].key, &signer, NUMBER, &key), 0);
	assert_int_equal(EVP_PKEY_eq(key, kinds[0].key), 1);
	assert_int_not_equal(EVP_PKEY_eq(kinds[1].key, key), 1);
	assert_int_not_equal(EVP_PKEY_eq(kinds[P256].key, key), 1);
	assert_int_equal(EVP_PKEY_get_bits(key), 2048);
	ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
	assert_true(!ctx || EVP_PKEY_decrypt_init(ctx) <= 0 || EVP_PKEY_decrypt(ctx, out, &len, in, sizeof(in)) <= 0);
	EVP_PKEY_CTX_free(ctx);
	ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
	assert_true(!ctx || EVP_PKEY_sign_init(ctx) <= 0 || EVP_PKEY_sign(ctx, out, &len, in, 32) <= 0);
	EVP_PKEY_CTX_free(ctx);
	assert_int_not_equal(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), 1);
	assert_int_equal(holder.calls, 0);
	EVP_PKEY_free(key);
	BIO_free(bio);
	dh = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
	assert_int_equal(tls_key_new(dh, &signer, NUMBER, &key), -EINVAL);
	EVP_PKEY_free(dh);
	/* Who looks for a type by its name finds OpenSSL's own. */
	key = EVP_EC_gen("P-256");
	assert_non_null(key);
	EVP_PKEY_free(key);
	ERR_clear_error();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_handshakes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_schemes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrong_signature, setup, teardown),
		cmocka_unit_test_setup_teardown(test_late, setup, teardown),
		cmocka_unit_test(test_scheme_sign),
		cmocka_unit_test(test_only_signs),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
