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
#include "base/tls_ca.h"
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
		AUTO(tls_ca) struct tls_ca *own = NULL;
		int rc = tls_ca_new(rows[i].cert, rows[i].key, &own, &err);

		if (rc != (rows[i].want ? -EINVAL : 0) || (rows[i].want && !strstr(buf_str(&err), rows[i].want)))
			fail_msg("%s: %d %s", rows[i].name, rc, buf_str(&err));
		assert_int_equal(ERR_peek_error(), 0);
	}
}

static const struct { const char *name, *list; size_t len; bool good; } lists[] = {
	{ "a name", "d\3a.b", 5, true },
	{ "two", "d\3a.ba\4\1\2\3\4", 11, true },
	{ "a star", "d\5*.a.b", 7, true },
	{ "an address of IPv6", "a\20abcdefghijklmnop", 18, true },
	{ "nothing", "", 0, false },
	{ "a kind alone", "d", 1, false },
	{ "a length alone", "d\3", 2, false },
	{ "cut", "d\3a.", 4, false },
	{ "too much", "d\3a.bx", 6, false },
	{ "an empty name", "d\0", 2, false },
	{ "an empty one behind a good one", "d\3a.bd\0", 7, false },
	{ "another kind", "x\3a.b", 5, false },
	{ "DEL", "d\3a\177b", 5, false },
	{ "a NUL", "d\3a\0b", 5, false },
	{ "8 bits", "d\3a\377b", 5, false },
	{ "a line end", "d\3a\nb", 5, false },
	{ "an address of 5 octets", "a\5abcde", 7, false },
	{ "an address of none", "a\0", 2, false },
};

/* Whatever a list of names is made of: a certificate has exactly those of a good one, and nothing else. */
static void test_lists(void **state)
{
	AUTO(buf) struct buf err = BUF_INIT(1024);
	AUTO(tls_ca) struct tls_ca *own = NULL;
	EVP_PKEY *key = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-384");
	unsigned char point[200], off[TLS_CA_POINT_BYTES];
	size_t n;

	assert_int_equal(tls_ca_new(certificate_pem(ca), certificate_key_pem(ca), &own, &err), 0);
	assert_int_equal(EVP_PKEY_get_octet_string_param(key, "pub", point, sizeof(point), &n), 1);
	assert_int_equal(n, TLS_CA_POINT_BYTES);
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		AUTO(buf) struct buf der = BUF_INIT(TLS_MINT_DER_MAX);
		const unsigned char *list = (const unsigned char *)lists[i].list, *p;
		int rc = tls_ca_sign(own, point, list, lists[i].len, &der);
		X509 *x;

		if (tls_ca_names_good(list, lists[i].len) != lists[i].good || rc != (lists[i].good ? 0 : -EINVAL))
			fail_msg("%s: %d", lists[i].name, rc);
		assert_int_equal(ERR_peek_error(), 0);
		if (rc < 0)
			continue;
		p = (const unsigned char *)der.data;
		x = d2i_X509(NULL, &p, (long)der.len);
		assert_non_null(x);
		assert_int_equal(X509_check_ca(x), 0);
		assert_int_equal(EVP_PKEY_eq(X509_get0_pubkey(x), key), 1);
		assert_int_equal(X509_get_extension_flags(x) & EXFLAG_SS, 0);
		assert_int_equal(X509_get_key_usage(x), KU_DIGITAL_SIGNATURE);
		assert_int_equal(X509_get_extended_key_usage(x), XKU_SSL_SERVER);
		X509_free(x);
	}
	/* What is no key: not on the curve, at infinity, compressed, one of another curve. */
	memcpy(off, point, sizeof(off));
	off[40] ^= 1;
	for (int i = 0; i < 4; i++) {
		AUTO(buf) struct buf der = BUF_INIT(TLS_MINT_DER_MAX);

		assert_int_equal(tls_ca_sign(own, off, (const unsigned char *)"d\3a.b", 5, &der), -EINVAL);
		memset(off, 0, sizeof(off));
		if (i == 1)
			off[0] = 4;
		if (i == 2) {
			assert_int_equal(EVP_PKEY_get_octet_string_param(other, "pub", point, sizeof(point), &n), 1);
			memcpy(off, point, sizeof(off));
		}
	}
	EVP_PKEY_free(key);
	EVP_PKEY_free(other);
}

static void test_list_bounds(void **state)
{
	AUTO(buf) struct buf list = BUF_INIT(TLS_CA_LIST_BYTES + 1000);
	char name[300];

	memset(name, 'a', sizeof(name));
	assert_int_equal(tls_ca_name_add(&list, TLS_CA_DNS, name, 254), -EINVAL);
	assert_int_equal(tls_ca_name_add(&list, TLS_CA_ADDRESS, name, 3), -EINVAL);
	assert_int_equal(list.len, 0);
	for (int i = 0; i < TLS_CA_NAMES_MAX; i++)
		assert_int_equal(tls_ca_name_add(&list, TLS_CA_DNS, name, 253), 0);
	assert_int_equal(tls_ca_name_add(&list, TLS_CA_DNS, name, 1), -E2BIG);
	assert_true(tls_ca_names_good((const unsigned char *)list.data, list.len));
	buf_add(&list, "d\1a", 3);
	assert_false(tls_ca_names_good((const unsigned char *)list.data, list.len));
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
	struct tls_ca *ca;
	int minted, mint_rc;
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

/* Who has the CA's key, and takes his time. */
static int mint(void *arg, const unsigned char *point, const unsigned char *names, size_t len, struct buf *der)
{
	int rc = task_sleep(5);

	now.minted++;
	return rc < 0 ? rc : now.mint_rc < 0 ? now.mint_rc : tls_ca_sign(now.ca, point, names, len, der);
}

static const struct tls_minter minter = { mint, NULL };

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
	assert_int_equal(tls_ca_new(certificate_pem(ca), certificate_key_pem(ca), &now.ca, &err), 0);
	assert_int_equal(tls_mint_new(certificate_pem(ca), &minter, &now.mint, &err), 0);
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
	assert_int_equal(now.minted, 1);
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
	now.answer = 0;

	/* Nobody makes a certificate. */
	now.mint_rc = -EPIPE;
	now.far = read_cert(no_name);
	handshake(NULL, NULL);
	assert_int_equal(now.server_rc, -EPIPE);
	assert_int_equal(now.client_rc, -EPROTO);
	X509_free(now.far);
	tls_mint_free(now.mint);
	tls_ca_free(now.ca);
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
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_list_bounds),
		cmocka_unit_test_setup_teardown(test_handshakes, setup, teardown),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests_name("tls_mint", tests, group_setup, group_teardown);
}
