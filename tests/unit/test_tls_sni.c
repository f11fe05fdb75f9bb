/* Which certificate a client is shown, by the name that it asks for. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/tls.h"
#include "base/tls_sni.h"
#include "tests/support/certificate.h"

static struct certificate *site, *imap, *star, *old, *early;

static int setup(void **state)
{
	site = certificate_new("mx.example.com", NULL, -60, 86400);
	imap = certificate_new("imap.example.org", NULL, -60, 86400);
	star = certificate_new("any.example.net", NULL, -60, 86400);
	old = certificate_new("old.example.org", NULL, -86400, -3600);
	early = certificate_new("early.example.org", NULL, 3600, 86400);
	return 0;
}

static int teardown(void **state)
{
	certificate_free(site);
	certificate_free(imap);
	certificate_free(star);
	certificate_free(old);
	certificate_free(early);
	return ERR_peek_error() != 0;
}

/* --- names --- */

static void test_find(void **state)
{
	struct { const char *name; int n; } list[] = {
		{ "*.example.net", 0 }, { "*.example.org", 1 }, { "a.example.org", 2 }, { "localhost", 3 }, { "xn--bcher-kva.example", 4 },
	};
	char longest[TLS_SNI_MAX + 1], long_one[TLS_SNI_MAX + 3];
	const struct { const char *asked; int n; } rows[] = {
		{ "a.example.org", 2 }, { "A.Example.ORG", 2 }, { "a.example.org.", 2 }, { "b.example.org", 1 }, { "imap.EXAMPLE.net", 0 },
		{ "imap.example.net.", 0 }, { "localhost", 3 }, { "XN--bcher-kva.example", 4 },
		{ NULL, -1 }, { "", -1 }, { ".", -1 }, { "..", -1 }, { ".example.net", -1 }, { "example.net", -1 }, { "x.y.example.net", -1 },
		{ "*.example.net", -1 }, { "*", -1 }, { "localhost..", -1 }, { "a.example.org\n", -1 }, { "a.example.orgx", -1 }, { "xa.example.or", -1 },
		{ "192.0.2.1", -1 }, { longest, -1 }, { long_one, -1 }, { "\xff\xfe", -1 },
	};

	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	memset(long_one, 'a', sizeof(long_one) - 1);
	long_one[sizeof(long_one) - 1] = '\0';
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const void *found = tls_sni_find(list, sizeof(list) / sizeof(list[0]), sizeof(list[0]), rows[i].asked);
		int n = found ? *(const int *)((const char *)found + offsetof(__typeof__(list[0]), n)) : -1;

		if (n != rows[i].n)
			fail_msg("%s: %d", rows[i].asked ? rows[i].asked : "NULL", n);
	}
	assert_null(tls_sni_find(list, 0, sizeof(list[0]), "a.example.org"));
	assert_null(tls_sni_find(NULL, 0, sizeof(list[0]), "a.example.org"));
}

/* --- handshakes, in memory --- */

static void shake(SSL *a, SSL *b)
{
	for (int i = 0; i < 20 && (SSL_in_init(a) || SSL_in_init(b)); i++) {
		SSL_do_handshake(a);
		SSL_do_handshake(b);
	}
}

/* Whether who asks for name is shown this certificate; version 0: the latest. session: in and out, NULL: none is kept. */
static bool shown(SSL_CTX *server_ctx, const char *name, const struct certificate *want, int version, SSL_SESSION **session, bool *resumed)
{
	SSL_CTX *client_ctx = SSL_CTX_new(TLS_client_method());
	SSL *server = SSL_new(server_ctx), *client;
	BIO *s, *c;
	BIO *pem = BIO_new_mem_buf(certificate_pem(want), -1);
	X509 *x = PEM_read_bio_X509(pem, NULL, NULL, NULL), *got;
	bool same;
	char byte;

	if (version)
		SSL_CTX_set_max_proto_version(client_ctx, version);
	client = SSL_new(client_ctx);
	assert_int_equal(BIO_new_bio_pair(&s, 1 << 17, &c, 1 << 17), 1);
	SSL_set_bio(server, s, s);
	SSL_set_bio(client, c, c);
	SSL_set_accept_state(server);
	SSL_set_connect_state(client);
	if (name)
		SSL_set_tlsext_host_name(client, name);
	if (session && *session)
		SSL_set_session(client, *session);
	shake(client, server);
	assert_false(SSL_in_init(client) || SSL_in_init(server));
	SSL_read(client, &byte, 1);             /* the tickets of TLS 1.3 */
	if (resumed)
		*resumed = SSL_session_reused(client);
	if (session) {
		SSL_SESSION_free(*session);
		*session = SSL_get1_session(client);
	}
	got = SSL_get1_peer_certificate(client);
	same = got && X509_cmp(got, x) == 0;
	SSL_shutdown(client);
	X509_free(got);
	X509_free(x);
	BIO_free(pem);
	SSL_free(client);
	SSL_free(server);
	SSL_CTX_free(client_ctx);
	ERR_clear_error();
	return same;
}

/* In no order, and gone as soon as the context is made. */
static SSL_CTX *context(void)
{
	AUTO(buf) struct buf err = BUF_INIT(1024);
	struct tls_sni_name *names = calloc(4, sizeof(*names));
	SSL_CTX *ctx = NULL;

	names[0] = (struct tls_sni_name){ "imap.example.org", { .cert_pem = certificate_pem(imap), .key_pem = certificate_key_pem(imap) } };
	names[1] = (struct tls_sni_name){ "plain.example.net", { 0 } };
	names[2] = (struct tls_sni_name){ "*.example.net", { .cert_pem = certificate_pem(star), .key_pem = certificate_key_pem(star) } };
	names[3] = (struct tls_sni_name){ "*.example.com", { .cert_pem = certificate_pem(imap), .key_pem = certificate_key_pem(imap) } };
	assert_int_equal(tls_sni_ctx(&(struct tls_pair){ .cert_pem = certificate_pem(site), .key_pem = certificate_key_pem(site) }, names, 4, &ctx, &err), 0);
	free(names);
	return ctx;
}

static void test_shown(void **state)
{
	const struct { const char *name; const struct certificate *want; } rows[] = {
		{ "imap.example.org", imap }, { "IMAP.example.ORG", imap }, { "any.example.net", star }, { "other.example.net", star },
		{ "plain.example.net", site }, { "Plain.Example.Net", site }, { "mx.example.com", imap }, { NULL, site }, { "pop.example.org", site },
		{ "a.b.example.net", site }, { "example.net", site },
	};
	SSL_CTX *ctx = context();

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (int version = 0; version <= TLS1_2_VERSION; version += TLS1_2_VERSION)
			if (!shown(ctx, rows[i].name, rows[i].want, version, NULL, NULL))
				fail_msg("%s, version %x", rows[i].name ? rows[i].name : "nobody", version);
	tls_ctx_free(ctx);
}

/* A resumed session is of the name that it was begun with, and works for each. */
static void test_resumed(void **state)
{
	SSL_CTX *ctx = context();

	for (int version = 0; version <= TLS1_2_VERSION; version += TLS1_2_VERSION) {
		SSL_SESSION *session = NULL;
		bool resumed;

		assert_true(shown(ctx, "imap.example.org", imap, version, &session, &resumed));
		assert_false(resumed);
		assert_true(shown(ctx, "imap.example.org", imap, version, &session, &resumed));
		assert_true(resumed);
		SSL_SESSION_free(session);
	}
	tls_ctx_free(ctx);
}

/* A ticket of one context is good for another one, as long as the keys are; not before they are shared. */
static void test_resumed_elsewhere(void **state)
{
	for (int version = 0; version <= TLS1_2_VERSION; version += TLS1_2_VERSION) {
		SSL_CTX *alone = context(), *one, *two, *later;
		SSL_SESSION *session = NULL;
		bool resumed;

		assert_int_equal(tls_tickets_renew(), 0);
		one = context();
		two = context();
		assert_int_equal(tls_tickets_renew(), 0);
		later = context();
		assert_true(shown(one, "imap.example.org", imap, version, &session, &resumed));
		assert_true(shown(alone, "imap.example.org", imap, version, &session, &resumed));
		assert_false(resumed);
		assert_true(shown(one, "imap.example.org", imap, version, &session, &resumed));
		assert_false(resumed);
		assert_true(shown(two, "imap.example.org", imap, version, &session, &resumed));
		assert_true(resumed);
		assert_true(shown(later, "imap.example.org", imap, version, &session, &resumed));
		assert_false(resumed);
		SSL_SESSION_free(session);
		tls_ctx_free(alone);
		tls_ctx_free(one);
		tls_ctx_free(two);
		tls_ctx_free(later);
	}
}

static void test_mistakes(void **state)
{
	AUTO(buf) struct buf err = BUF_INIT(1024);
	struct tls_sni_name names[] = { { "a.example.org", { .cert_pem = certificate_pem(imap), .key_pem = certificate_key_pem(star) } } };
	SSL_CTX *ctx = NULL;

	assert_int_equal(tls_sni_ctx(&(struct tls_pair){ .cert_pem = certificate_pem(site), .key_pem = certificate_key_pem(site) }, names, 1, &ctx, &err), -EINVAL);
	assert_non_null(strstr(buf_str(&err), "does not belong to the certificate"));
	assert_non_null(strstr(buf_str(&err), "(a.example.org)"));
	buf_clear(&err);
	assert_int_equal(tls_sni_ctx(&(struct tls_pair){ .cert_pem = "", .key_pem = certificate_key_pem(site) }, NULL, 0, &ctx, &err), -EINVAL);
	assert_null(ctx);
	assert_int_equal(tls_sni_ctx(&(struct tls_pair){ .cert_pem = certificate_pem(site), .key_pem = certificate_key_pem(site) }, NULL, 0, &ctx, &err), 0);
	assert_true(shown(ctx, "imap.example.org", site, 0, NULL, NULL));
	tls_ctx_free(ctx);
}

static void test_doubt(void **state)
{
	const struct { const struct certificate *cert; const char *name, *why; } rows[] = {
		{ imap, "imap.example.org", NULL }, { imap, "IMAP.example.org", NULL }, { imap, NULL, NULL }, { star, "*.example.net", NULL },
		{ imap, "pop.example.org", "does not carry the name pop.example.org" }, { imap, "*.example.org", "does not carry the name *.example.org" },
		{ old, "old.example.org", "has expired on " }, { old, NULL, "has expired on " }, { early, NULL, "is not valid before " },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		AUTO(buf) struct buf why = BUF_INIT(1024);
		bool doubt = tls_certificate_doubt(certificate_pem(rows[i].cert), rows[i].name, &why);

		if (doubt != !!rows[i].why || (doubt && !strstr(buf_str(&why), rows[i].why)))
			fail_msg("row %zu: %s", i, buf_str(&why));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find), cmocka_unit_test(test_shown), cmocka_unit_test(test_resumed), cmocka_unit_test(test_mistakes),
		cmocka_unit_test(test_doubt), cmocka_unit_test(test_resumed_elsewhere),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
