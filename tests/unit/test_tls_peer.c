/* One server that is not as others are: its fingerprint, its age. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include "base/stream.h"
#include "base/task.h"
#include "base/tls.h"
#include "base/tls_peer.h"
#include "base/tls_weak.h"
#include "tests/support/certificate.h"

#define DIGITS "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define COLONS "00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF"

static int setup(void **state)
{
	return loop_init();
}

static int teardown(void **state)
{
	loop_release();
	return ERR_peek_error() != 0;
}

static void test_pin_text(void **state)
{
	static const struct {
		const char *in, *out;
	} rows[] = {
		{ "sha256:" DIGITS, "sha256:" DIGITS },
		{ "sha256:" COLONS, "sha256:" DIGITS },
		{ "sha256-key:" DIGITS, "sha256-key:" DIGITS },
		{ "sha256-key:" COLONS, "sha256-key:" DIGITS },
		{ "", NULL },
		{ "sha256:", NULL },
		{ "sha256-key:", NULL },
		{ DIGITS, NULL },
		{ "SHA256:" DIGITS, NULL },
		{ "sha1:" DIGITS, NULL },
		{ "sha256:" DIGITS "0", NULL },
		{ "sha256:" DIGITS "00", NULL },
		{ "sha256:" DIGITS ":", NULL },
		{ "sha256::" DIGITS, NULL },
		{ "sha256:0:0112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", NULL },
		{ "sha256:00::112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", NULL },
		{ "sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeef", NULL },
		{ "sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeefg", NULL },
		{ "sha256: 0112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", NULL },
		{ "sha256-key" DIGITS, NULL },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[TLS_PIN_TEXT_MAX];
		struct tls_pin pin;
		bool good = tls_pin_parse(rows[i].in, &pin);

		if (good != (rows[i].out != NULL) || (good && strcmp(tls_pin_text(&pin, text), rows[i].out) != 0))
			fail_msg("%s", rows[i].in);
	}
}

/* --- handshakes --- */

static struct {
	struct stream *server, *client;
	SSL_CTX *server_ctx, *client_ctx;
	const char *name;
	bool any;
	int rc;
	char error[256], version[16], cipher[64];
	bool pinned, trusted, verified;
} now;

static void serve(void *arg)
{
	AUTO(stream) struct stream *s = now.server;

	if (stream_tls_accept(s, now.server_ctx, 60000) == 0)
		stream_close(s, 60000);
}

static void request(void *arg)
{
	AUTO(stream) struct stream *s = now.client;

	now.rc = now.any ? stream_tls_connect_any(s, now.client_ctx, now.name, 60000) : stream_tls_connect(s, now.client_ctx, now.name, 60000);
	snprintf(now.error, sizeof(now.error), "%s", stream_error(s));
	now.pinned = stream_tls_pinned(s);
	now.trusted = stream_tls_trusted(s);
	now.verified = stream_tls_verified(s);
	if (now.rc < 0)
		return;
	snprintf(now.version, sizeof(now.version), "%s", stream_tls_version(s));
	snprintf(now.cipher, sizeof(now.cipher), "%s", stream_tls_cipher(s));
}

static void until_alone(void *arg)
{
	while (task_count() > 1)
		task_sleep(1);
	loop_stop();
}

static void handshake(SSL_CTX *server, SSL_CTX *client, const char *name, bool any)
{
	int s[2];

	memset(&now, 0, sizeof(now));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	now.server = stream_new(s[0]);
	now.client = stream_new(s[1]);
	now.server_ctx = server;
	now.client_ctx = client;
	now.name = name;
	now.any = any;
	task_spawn("server", serve, NULL, NULL);
	task_spawn("client", request, NULL, NULL);
	task_spawn("last", until_alone, NULL, NULL);
	loop_run();
	assert_int_equal(ERR_peek_error(), 0);
}

static SSL_CTX *peer(const struct tls_peer *p)
{
	AUTO(buf) struct buf err = BUF_INIT(1024);
	SSL_CTX *ctx = NULL;

	if (tls_peer_ctx(p, &ctx, &err) < 0)
		fail_msg("%s", buf_str(&err));
	return ctx;
}

static X509 *x509(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *x = PEM_read_bio_X509(bio, NULL, NULL, NULL);

	assert_non_null(x);
	BIO_free(bio);
	return x;
}

static struct tls_pin pin_of(const struct certificate *c, bool key)
{
	X509 *x = x509(certificate_pem(c));
	struct tls_pin pin;

	assert_true(tls_pin_of(x, key, &pin));
	X509_free(x);
	return pin;
}

static void test_pins(void **state)
{
	/* Self-signed, expired, and of another name than is looked for. */
	struct certificate *mine = certificate_new("mx.example.com", NULL, -864000, -86400), *other = certificate_new("mx.example.com", NULL, -60, 86400);
	struct tls_pin cert = pin_of(mine, false), key = pin_of(mine, true), no = pin_of(other, false), no_key = pin_of(other, true), swapped = cert;
	AUTO(buf) struct buf err = BUF_INIT(1024);
	SSL_CTX *server = NULL;
	char seen[TLS_PIN_TEXT_MAX], seen_key[TLS_PIN_TEXT_MAX];

	swapped.key = true;             /* the digest of the certificate is none of a key */
	tls_pin_text(&cert, seen);
	tls_pin_text(&key, seen_key);
	assert_int_equal(tls_server_ctx(certificate_pem(mine), certificate_key_pem(mine), &server, &err), 0);
	const struct {
		const char *name;
		struct tls_pin pin[3];
		size_t count;
		bool good;
		const char *says;
	} rows[] = {
		{ "certificate", { cert }, 1, true, "" },
		{ "key", { key }, 1, true, "" },
		{ "the next one, too", { no, cert }, 2, true, "" },
		{ "the last of three", { no, no_key, key }, 3, true, "" },
		{ "another", { no }, 1, false, seen },
		{ "another's key", { no_key }, 1, false, seen_key },
		{ "two others", { no, no_key }, 2, false, seen },
		{ "a certificate's digest as a key's", { swapped }, 1, false, seen_key },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (int any = 0; any < 2; any++) {
			const struct tls_peer p = { .verify = true, .min = TLS_VERSION_1_2, .level = TLS_LEVEL_DEFAULT, .pin = rows[i].pin,
						    .pin_count = rows[i].count };
			SSL_CTX *ctx = peer(&p);

			handshake(server, ctx, "elsewhere.example", any);
			if (now.rc != (rows[i].good ? 0 : -EPROTO) || now.pinned != rows[i].good || now.trusted != rows[i].good ||
			    !strstr(now.error, rows[i].says))
				fail_msg("%s: %d %s", rows[i].name, now.rc, now.error);
			if (!rows[i].good)
				assert_non_null(strstr(now.error, "none of tls_pin"));
			tls_ctx_free(ctx);
		}
	/* Without any it would not do. */
	SSL_CTX *plain = peer(&(struct tls_peer){ .verify = true, .ca_pem = certificate_pem(mine), .min = TLS_VERSION_1_2, .level = TLS_LEVEL_DEFAULT });

	handshake(server, plain, "mx.example.com", false);
	assert_int_equal(now.rc, -EPROTO);
	assert_non_null(strstr(now.error, "expired"));
	assert_false(now.pinned);
	tls_ctx_free(plain);
	tls_ctx_free(server);
	certificate_free(mine);
	certificate_free(other);
}

/* A server of old: an RSA key, and what it speaks. */
static SSL_CTX *old_server(int min, int max, const char *ciphers, int bits)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	EVP_PKEY *key = EVP_RSA_gen((unsigned)bits);
	X509 *x = X509_new();

	assert_true(ctx && key && x);
	SSL_CTX_set_security_level(ctx, 0);
	SSL_CTX_set_min_proto_version(ctx, min);
	SSL_CTX_set_max_proto_version(ctx, max);
	assert_int_equal(SSL_CTX_set_cipher_list(ctx, ciphers), 1);
	X509_set_version(x, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), -60);
	X509_gmtime_adj(X509_getm_notAfter(x), 86400);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)"old.example", -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(x));
	X509_set_pubkey(x, key);
	assert_true(X509_sign(x, key, EVP_sha256()) > 0);
	assert_int_equal(SSL_CTX_use_certificate(ctx, x), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(ctx, key), 1);
	X509_free(x);
	EVP_PKEY_free(key);
	return ctx;
}

static void test_old_servers(void **state)
{
	enum { D = TLS_LEVEL_DEFAULT };
	static const struct {
		const char *name;
		int smin, smax;
		const char *suites;
		enum tls_version min;
		int level;
		const char *ciphers, *got;      /* NULL: it fails */
	} rows[] = {
		{ "1.0 is not spoken", TLS1_VERSION, TLS1_VERSION, "ALL:@SECLEVEL=0", TLS_VERSION_1_2, D, NULL, NULL },
		{ "1.0, level forgotten", TLS1_VERSION, TLS1_VERSION, "ALL:@SECLEVEL=0", TLS_VERSION_1_0, D, NULL, NULL },
		{ "1.0, level 1", TLS1_VERSION, TLS1_VERSION, "ALL:@SECLEVEL=0", TLS_VERSION_1_0, 1, NULL, NULL },
		{ "1.0, minimum forgotten", TLS1_VERSION, TLS1_VERSION, "ALL:@SECLEVEL=0", TLS_VERSION_1_2, 0, NULL, NULL },
		{ "1.0", TLS1_VERSION, TLS1_VERSION, "ALL:@SECLEVEL=0", TLS_VERSION_1_0, 0, NULL, "TLSv1 ECDHE-RSA-AES256-SHA" },
		{ "1.0 by RSA alone", TLS1_VERSION, TLS1_VERSION, "AES128-SHA:@SECLEVEL=0", TLS_VERSION_1_0, 0, NULL, "TLSv1 AES128-SHA" },
		{ "1.0 where 1.1 is the least", TLS1_VERSION, TLS1_VERSION, "ALL:@SECLEVEL=0", TLS_VERSION_1_1, 0, NULL, NULL },
		{ "1.1", TLS1_1_VERSION, TLS1_1_VERSION, "ALL:@SECLEVEL=0", TLS_VERSION_1_1, 0, NULL, "TLSv1.1 ECDHE-RSA-AES256-SHA" },
		{ "the best all the same", TLS1_VERSION, TLS1_3_VERSION, "ALL:@SECLEVEL=0", TLS_VERSION_1_0, 0, NULL, "TLSv1.3 TLS_AES_256_GCM_SHA384" },
		{ "forward secrecy first", TLS1_2_VERSION, TLS1_2_VERSION, "AES128-SHA:ECDHE-RSA-AES128-SHA:@SECLEVEL=0", TLS_VERSION_1_0, 0, NULL,
		  "TLSv1.2 ECDHE-RSA-AES128-SHA" },
		{ "1.2 by RSA", TLS1_2_VERSION, TLS1_2_VERSION, "AES128-SHA256", TLS_VERSION_1_2, D, NULL, NULL },
		{ "1.2 by RSA, told so", TLS1_2_VERSION, TLS1_2_VERSION, "AES128-SHA256", TLS_VERSION_1_2, D, "ECDHE+AESGCM:AES", "TLSv1.2 AES128-SHA256" },
		{ "nobody's", TLS1_2_VERSION, TLS1_2_VERSION, "ADH:AECDH:@SECLEVEL=0", TLS_VERSION_1_0, 0, "ALL:aNULL", NULL },
		{ "nothing", TLS1_2_VERSION, TLS1_2_VERSION, "eNULL:@SECLEVEL=0", TLS_VERSION_1_0, 0, "ALL:eNULL", NULL },
		{ "1.2 where 1.3 is the least", TLS1_2_VERSION, TLS1_2_VERSION, "ALL", TLS_VERSION_1_3, D, NULL, NULL },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		SSL_CTX *server = old_server(rows[i].smin, rows[i].smax, rows[i].suites, 2048);
		SSL_CTX *client = peer(&(struct tls_peer){ .min = rows[i].min, .level = rows[i].level, .ciphers = rows[i].ciphers });
		char got[100];

		handshake(server, client, NULL, false);
		snprintf(got, sizeof(got), "%s %s", now.version, now.cipher);
		if ((now.rc == 0) != (rows[i].got != NULL) || (rows[i].got && strcmp(got, rows[i].got) != 0))
			fail_msg("%s: %d %s %s", rows[i].name, now.rc, now.error, got);
		tls_ctx_free(server);
		tls_ctx_free(client);
	}
}

/* A short key is verified at level 0 only. */
static void test_level(void **state)
{
	SSL_CTX *server = old_server(TLS1_2_VERSION, TLS1_3_VERSION, "ALL:@SECLEVEL=0", 1024);
	BIO *bio = BIO_new(BIO_s_mem());
	char *pem;

	PEM_write_bio_X509(bio, SSL_CTX_get0_certificate(server));
	BIO_write(bio, "", 1);
	BIO_get_mem_data(bio, &pem);
	for (int level = TLS_LEVEL_DEFAULT; level <= 2; level++) {
		SSL_CTX *client = peer(&(struct tls_peer){ .verify = true, .ca_pem = pem, .min = TLS_VERSION_1_2, .level = level });
		bool weak = level == 0 || level == 1;

		handshake(server, client, "old.example", false);
		if ((now.rc == 0) != weak || now.verified != weak)
			fail_msg("level %d: %d %s", level, now.rc, now.error);
		tls_ctx_free(client);
	}
	BIO_free(bio);
	tls_ctx_free(server);
}

static void test_renegotiation(void **state)
{
	static const struct {
		bool verify, pin;
		int level;
		bool taken;
	} rows[] = {
		{ true, false, TLS_LEVEL_DEFAULT, false }, { true, false, 0, true }, { true, true, TLS_LEVEL_DEFAULT, false }, { true, true, 0, true },
		{ false, false, TLS_LEVEL_DEFAULT, true }, { true, false, 1, false },
	};
	struct certificate *ca = certificate_new("CA", NULL, -60, 86400);
	const struct tls_pin pin = pin_of(ca, false);

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		SSL_CTX *ctx = peer(&(struct tls_peer){ .verify = rows[i].verify, .ca_pem = certificate_pem(ca), .min = TLS_VERSION_1_2, .level = rows[i].level,
							.pin = &pin, .pin_count = rows[i].pin });

		assert_int_equal(!!(SSL_CTX_get_options(ctx) & SSL_OP_LEGACY_SERVER_CONNECT), rows[i].taken);
		assert_true(SSL_CTX_get_options(ctx) & SSL_OP_NO_RENEGOTIATION);
		tls_ctx_free(ctx);
	}
	certificate_free(ca);
}

static void test_weak(void **state)
{
	struct tls_weak w = { 0 };

	assert_false(tls_weak_skip(&w));
	assert_false(tls_weak_worked(&w));
	assert_true(tls_weak_failed(&w));
	assert_true(tls_weak_is(&w) && w.since_s > 0);
	assert_false(tls_weak_failed(&w));              /* no news */
	assert_true(tls_weak_skip(&w) && tls_weak_skip(&w));
	assert_int_equal(w.sessions, 4);
	atomic_store(&w.until_ms, 1);                   /* its time is over: one tries, the others wait for what he finds */
	assert_false(tls_weak_skip(&w));
	assert_true(tls_weak_skip(&w));
	assert_true(tls_weak_worked(&w));
	assert_false(tls_weak_is(&w) || tls_weak_skip(&w) || tls_weak_worked(&w));
	assert_true(tls_weak_failed(&w));
	assert_int_equal(w.sessions, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pin_text),
		cmocka_unit_test_setup_teardown(test_pins, setup, teardown),
		cmocka_unit_test_setup_teardown(test_old_servers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_level, setup, teardown),
		cmocka_unit_test_setup_teardown(test_renegotiation, setup, teardown),
		cmocka_unit_test(test_weak),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
