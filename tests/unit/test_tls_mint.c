/* tls_mint: certificates like another's, and handshakes in which they are chosen */
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
#include <openssl/x509v3.h>

#include "base/stream.h"
#include "base/task.h"
#include "base/tls.h"
#include "base/tls_mint.h"
#include "tests/support/certificate.h"

enum { LONG_MS = 60000, DAY_S = 86400 };

static struct certificate *ca, *far_ca, *far, *no_name;

static int group_setup(void **state)
{
	ca = certificate_new("Own CA", NULL, 0, 10 * DAY_S);
	far_ca = certificate_new("World CA", NULL, 0, 10 * DAY_S);
	far = certificate_new("mx.example.net", far_ca, 0, 10 * DAY_S);
	no_name = certificate_new("plain", far_ca, 0, 10 * DAY_S);
	return 0;
}

static int group_teardown(void **state)
{
	certificate_free(ca);
	certificate_free(far_ca);
	certificate_free(far);
	certificate_free(no_name);
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

static void test_what_is_no_ca(void **state)
{
	const struct {
		const char *name, *cert, *key, *want;
	} rows[] = {
		{ "good", certificate_pem(ca), certificate_key_pem(ca), NULL },
		{ "no CA", certificate_pem(far), certificate_key_pem(far), "not one of a CA" },
		{ "another's key", certificate_pem(ca), certificate_key_pem(far_ca), "does not belong" },
		{ "text", "hello", certificate_key_pem(ca), "cannot be read" },
		{ "no key", certificate_pem(ca), "", "key cannot be read" },
		{ "key for a certificate", certificate_key_pem(ca), certificate_key_pem(ca), "certificate cannot be read" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		AUTO(buf) struct buf err = BUF_INIT(1024);
		AUTO(tls_mint) struct tls_mint *m = NULL;
		int rc = tls_mint_new(rows[i].cert, rows[i].key, &m, &err);

		if (rc != (rows[i].want ? -EINVAL : 0) || (rows[i].want && !strstr(buf_str(&err), rows[i].want)))
			fail_msg("%s: %d %s", rows[i].name, rc, buf_str(&err));
		assert_int_equal(ERR_peek_error(), 0);
	}
}

static X509 *read_cert(const struct certificate *c)
{
	BIO *bio = BIO_new_mem_buf(certificate_pem(c), -1);
	X509 *x = PEM_read_bio_X509(bio, NULL, NULL, NULL);

	BIO_free(bio);
	assert_non_null(x);
	return x;
}

/* ---- handshakes ---- */

static struct {
	struct stream *server, *client;
	struct tls_mint *mint;
	X509 *far;
	int answer;                     /* of the choice */
	SSL_CTX *client_ctx;
	const char *hostname, *sni;
	int server_rc, client_rc, asked;
	char asked_for[100], error[200];
	unsigned char serial[64];
} now;

static int choose(void *arg, const char *name, SSL *ssl)
{
	now.asked++;
	snprintf(now.asked_for, sizeof(now.asked_for), "%s", name ? name : "");
	task_sleep(5);                  /* the far end is asked meanwhile */
	return now.answer < 0 ? now.answer : tls_mint_use(now.mint, now.far, ssl);
}

static void serve(void *arg)
{
	AUTO(stream) struct stream *s = now.server;

	now.server_rc = stream_tls_accept_as(s, tls_mint_ctx(now.mint), choose, NULL, LONG_MS);
	if (now.server_rc == 0)
		stream_close(s, LONG_MS);
}

static void request(void *arg)
{
	AUTO(stream) struct stream *s = now.client;
	const char *line;
	size_t len;

	now.client_rc = now.hostname ? stream_tls_connect(s, now.client_ctx, now.hostname, LONG_MS) :
				       stream_tls_connect_any(s, now.client_ctx, now.sni, LONG_MS);
	snprintf(now.error, sizeof(now.error), "%s", stream_error(s));
	if (now.client_rc == 0) {
		X509 *x = stream_tls_certificate(s);

		assert_non_null(x);
		ASN1_STRING_length(X509_get0_serialNumber(x));
		memcpy(now.serial, ASN1_STRING_get0_data(X509_get0_serialNumber(x)), (size_t)ASN1_STRING_length(X509_get0_serialNumber(x)));
		(void)stream_read_line(s, 100, LONG_MS, &line, &len);
	}
}

static void until_alone(void *arg)
{
	while (task_count() > 1)
		task_sleep(1);
	loop_stop();
}

static void handshake(const char *hostname, const char *sni)
{
	int s[2];

	now.hostname = hostname;
	now.sni = sni;
	now.asked = 0;
	now.server_rc = now.client_rc = 1;
	memset(now.serial, 0, sizeof(now.serial));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	now.server = stream_new(s[0]);
	now.client = stream_new(s[1]);
	task_spawn("server", serve, NULL, NULL);
	task_spawn("client", request, NULL, NULL);
	task_spawn("last", until_alone, NULL, NULL);
	loop_run();
}

static void test_handshakes(void **state)
{
	AUTO(buf) struct buf err = BUF_INIT(1024);
	unsigned char serial[64];
	SSL_CTX *strict = NULL, *any = NULL;

	memset(&now, 0, sizeof(now));
	assert_int_equal(tls_mint_new(certificate_pem(ca), certificate_key_pem(ca), &now.mint, &err), 0);
	assert_int_equal(tls_client_ctx(true, certificate_pem(ca), &strict, &err), 0);
	assert_int_equal(tls_client_ctx(false, NULL, &any, &err), 0);

	/* The names of the far end: who looks for them is content, and for others not. */
	now.far = read_cert(far);
	now.client_ctx = strict;
	handshake("mx.example.net", NULL);
	assert_int_equal(now.client_rc, 0);
	assert_int_equal(now.server_rc, 0);
	assert_int_equal(now.asked, 1);
	assert_string_equal(now.asked_for, "mx.example.net");
	memcpy(serial, now.serial, sizeof(serial));
	handshake("mx.example.net", NULL);
	assert_int_equal(now.asked, 1);         /* no resumption: asked each time; the same certificate */
	assert_memory_equal(serial, now.serial, sizeof(serial));
	handshake("mx.example.org", NULL);
	assert_int_equal(now.client_rc, -EPROTO);
	assert_non_null(strstr(now.error, "ostname mismatch"));

	/* Not verified: nobody's name. */
	X509_free(now.far);
	now.far = NULL;
	handshake("mx.example.net", NULL);
	assert_int_equal(now.client_rc, -EPROTO);
	now.client_ctx = any;
	handshake(NULL, "mx.example.net");
	assert_int_equal(now.client_rc, 0);
	assert_string_equal(now.asked_for, "mx.example.net");
	handshake(NULL, NULL);
	assert_int_equal(now.client_rc, 0);
	assert_string_equal(now.asked_for, "");

	/* The far end was not to be had. */
	now.answer = -EHOSTUNREACH;
	handshake(NULL, NULL);
	assert_int_equal(now.server_rc, -EHOSTUNREACH);
	assert_int_equal(now.client_rc, -EPROTO);
	tls_mint_free(now.mint);
	tls_ctx_free(strict);
	tls_ctx_free(any);
}

static void test_names(void **state)
{
	X509 *a = read_cert(far), *b = read_cert(ca), *c = read_cert(no_name);
	struct certificate *again = certificate_new("mx.example.net", NULL, 0, DAY_S), *other = certificate_new("mx.example.org", NULL, 0, DAY_S);
	X509 *d = read_cert(again), *e = read_cert(other);
	unsigned char da[32], db[32], dd[32], de[32];

	assert_int_equal(tls_names_digest(a, da), 0);
	assert_int_equal(tls_names_digest(b, db), 0);           /* its common name */
	assert_int_equal(tls_names_digest(c, db), 0);
	assert_int_equal(tls_names_digest(d, dd), 0);
	assert_int_equal(tls_names_digest(e, de), 0);
	assert_int_equal(tls_names_digest(NULL, db), -EINVAL);
	assert_memory_equal(da, dd, 32);
	assert_memory_not_equal(da, de, 32);
	X509_free(a);
	X509_free(b);
	X509_free(c);
	X509_free(d);
	X509_free(e);
	certificate_free(again);
	certificate_free(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_no_ca),
		cmocka_unit_test_setup_teardown(test_handshakes, setup, teardown),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests_name("tls_mint", tests, group_setup, group_teardown);
}
