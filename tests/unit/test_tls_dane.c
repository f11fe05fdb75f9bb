/* tls_dane: records that can be used, and handshakes with real certificates that they do or do not authenticate */
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

#include "base/dns.h"
#include "base/stream.h"
#include "base/task.h"
#include "base/tls.h"
#include "base/tls_dane.h"
#include "tests/support/certificate.h"

enum { LONG_MS = 60000, DAY_S = 86400 };

/* ---- a CA, a server that it signed, the same with an old certificate, and one that signed itself ---- */

static struct certificate *ca, *server, *expired, *alone, *other_ca;

static int group_setup(void **state)
{
	ca = certificate_new("Lab CA", NULL, 0, 10 * DAY_S);
	other_ca = certificate_new("Other CA", NULL, 0, 10 * DAY_S);
	server = certificate_new("mx.example.com", ca, 0, 10 * DAY_S);
	expired = certificate_new("mx.example.com", ca, -10 * DAY_S, -DAY_S);
	alone = certificate_new("nobody.example.org", NULL, 0, 10 * DAY_S);
	return 0;
}

static int group_teardown(void **state)
{
	certificate_free(ca);
	certificate_free(other_ca);
	certificate_free(server);
	certificate_free(expired);
	certificate_free(alone);
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

/* ---- records ---- */

static void test_usable(void **state)
{
	static const struct {
		const char *name;
		uint8_t usage, selector, matching;
		size_t len;
		bool usable;
	} rows[] = {
		{ "3 1 1", 3, 1, 1, 32, true },        { "2 0 1", 2, 0, 1, 32, true },    { "3 0 2", 3, 0, 2, 64, true },
		{ "2 1 2", 2, 1, 2, 64, true },        { "PKIX-TA", 0, 1, 1, 32, false }, { "PKIX-EE", 1, 1, 1, 32, false },
		{ "usage 4", 4, 1, 1, 32, false },     { "usage 255", 255, 1, 1, 32, false },
		{ "selector 2", 3, 2, 1, 32, false },  { "matching 3", 3, 1, 3, 32, false },
		{ "short hash", 3, 1, 1, 31, false },  { "long hash", 3, 1, 1, 33, false },
		{ "SHA-256 for 512", 3, 1, 2, 32, false }, { "one byte", 3, 1, 1, 1, false },
		{ "rubbish for a key", 3, 1, 0, 40, false }, { "rubbish for a certificate", 2, 0, 0, 100, false },
	};
	uint8_t rdata[3 + 256] = { 0 };
	struct tls_tlsa t;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		rdata[0] = rows[i].usage;
		rdata[1] = rows[i].selector;
		rdata[2] = rows[i].matching;
		assert_int_equal(tls_tlsa_read(rdata, 3 + rows[i].len, &t), 0);
		assert_int_equal(t.len, rows[i].len);
		if (tls_tlsa_usable(&t) != rows[i].usable)
			fail_msg("%s", rows[i].name);
		assert_int_equal(ERR_peek_error(), 0);
	}
	for (size_t n = 0; n <= 3; n++)
		assert_int_equal(tls_tlsa_read(rdata, n, &t), -EBADMSG);
}

static void test_full_records(void **state)
{
	uint8_t rdata[CERTIFICATE_TLSA_MAX + 1] = { 0 };

	for (uint8_t selector = 0; selector <= 1; selector++) {
		size_t n = certificate_tlsa(server, 3, selector, 0, rdata);
		struct tls_tlsa t;

		assert_int_equal(tls_tlsa_read(rdata, n, &t), 0);
		assert_true(tls_tlsa_usable(&t));
		tls_tlsa_read(rdata, n + 1, &t);        /* a byte behind it */
		assert_false(tls_tlsa_usable(&t));
		for (size_t cut = 4; cut < n; cut += 7) {
			tls_tlsa_read(rdata, cut, &t);
			assert_false(tls_tlsa_usable(&t));
		}
	}
}

static void test_new(void **state)
{
	static uint8_t bytes[300][35];
	static struct dns_rr rr[300];
	struct dns_answer a = { .status = DNS_OK, .rr = rr };
	struct tls_dane *d;

	for (size_t i = 0; i < 300; i++) {
		memcpy(bytes[i], "\1\1\1", 3);
		rr[i] = (struct dns_rr){ bytes[i], 35 };
	}
	a.count = DNS_RR_MAX;
	assert_int_equal(tls_dane_new(&a, "mx.example.com", &d), 0);
	assert_null(d);
	bytes[7][0] = 3;
	bytes[9][0] = 2;
	assert_int_equal(tls_dane_new(&a, "mx.example.com", &d), 2);
	assert_int_equal(tls_dane_count(d), 2);
	for (int i = 0; i < 6; i++) {
		char name[32];

		snprintf(name, sizeof(name), "%s%d.example.com", i % 2 ? "MX" : "mx", i / 2);
		assert_int_equal(tls_dane_name(d, name), 0);
	}
	assert_int_equal(tls_dane_name(d, NULL), 0);
	assert_string_equal(tls_dane_base(d), "mx.example.com");
	tls_dane_free(d);
	for (size_t i = 0; i < 300; i++)
		bytes[i][0] = 3;
	assert_int_equal(tls_dane_new(&a, "mx.example.com", &d), TLS_DANE_RR_MAX);
	tls_dane_free(d);
}

/* ---- handshakes ---- */

static struct {
	struct stream *server, *client;
	SSL_CTX *server_ctx, *client_ctx;
	struct tls_dane *dane;
	int rc;
	bool verified;
	char error[200], sni[100];
} now;

static void serve(void *arg)
{
	AUTO(stream) struct stream *s = now.server;

	if (stream_tls_accept(s, now.server_ctx, LONG_MS) == 0)
		stream_close(s, LONG_MS);
}

static void request(void *arg)
{
	AUTO(stream) struct stream *s = now.client;

	now.rc = stream_tls_connect_dane(s, now.client_ctx, now.dane, LONG_MS);
	now.verified = stream_tls_verified(s);
	snprintf(now.error, sizeof(now.error), "%s", stream_error(s));
}

static void until_alone(void *arg)
{
	while (task_count() > 1)
		task_sleep(1);
	loop_stop();
}

static int keep_sni(SSL *ssl, int *alert, void *arg)
{
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

	snprintf(now.sni, sizeof(now.sni), "%s", name ? name : "");
	return SSL_TLSEXT_ERR_OK;
}

static void handshake(const struct certificate *c, struct tls_dane *dane)
{
	AUTO(buf) struct buf err = BUF_INIT(1024);
	int s[2];

	memset(&now, 0, sizeof(now));
	assert_int_equal(tls_server_ctx(certificate_chain_pem(c), certificate_key_pem(c), &now.server_ctx, &err), 0);
	assert_int_equal(tls_dane_ctx(&now.client_ctx, &err), 0);
	SSL_CTX_set_tlsext_servername_callback(now.server_ctx, keep_sni);
	now.dane = dane;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	now.server = stream_new(s[0]);
	now.client = stream_new(s[1]);
	task_spawn("server", serve, NULL, NULL);
	task_spawn("client", request, NULL, NULL);
	task_spawn("last", until_alone, NULL, NULL);
	loop_run();
	tls_ctx_free(now.server_ctx);
	tls_ctx_free(now.client_ctx);
}

static void test_handshakes(void **state)
{
	const struct {
		const char *name;
		const struct certificate *shown;
		struct { const struct certificate *of; uint8_t usage, selector, matching; } rr[3];
		const char *base, *more;
		bool verified;
	} rows[] = {
		{ "EE, key", server, { { server, 3, 1, 1 } }, "mx.example.com", NULL, true },
		{ "EE, certificate", server, { { server, 3, 0, 1 } }, "mx.example.com", NULL, true },
		{ "EE, SHA-512", server, { { server, 3, 1, 2 } }, "mx.example.com", NULL, true },
		{ "EE, whole key", server, { { server, 3, 1, 0 } }, "mx.example.com", NULL, true },
		{ "EE, whole certificate", server, { { server, 3, 0, 0 } }, "mx.example.com", NULL, true },
		{ "EE, another name", alone, { { alone, 3, 1, 1 } }, "mx.example.com", NULL, true },
		{ "EE, expired", expired, { { expired, 3, 1, 1 } }, "mx.example.com", NULL, true },
		{ "EE, wrong key", server, { { alone, 3, 1, 1 } }, "mx.example.com", NULL, false },
		{ "EE, second record", server, { { alone, 3, 1, 1 }, { server, 3, 1, 1 } }, "mx.example.com", NULL, true },
		{ "EE, wrong, TA, right", server, { { alone, 3, 1, 1 }, { ca, 2, 0, 1 } }, "mx.example.com", NULL, true },
		{ "EE of the CA", server, { { ca, 3, 1, 1 } }, "mx.example.com", NULL, false },
		{ "TA, certificate", server, { { ca, 2, 0, 1 } }, "mx.example.com", NULL, true },
		{ "TA, key", server, { { ca, 2, 1, 1 } }, "mx.example.com", NULL, true },
		{ "TA, whole", server, { { ca, 2, 0, 0 } }, "mx.example.com", NULL, true },
		{ "TA, another CA", server, { { other_ca, 2, 0, 1 } }, "mx.example.com", NULL, false },
		{ "TA, another name", server, { { ca, 2, 0, 1 } }, "mail.example.com", NULL, false },
		{ "TA, second name", server, { { ca, 2, 0, 1 } }, "mail.example.com", "mx.example.com", true },
		{ "TA, name above", server, { { ca, 2, 0, 1 } }, "example.com", NULL, false },
		{ "TA, expired", expired, { { ca, 2, 0, 1 } }, "mx.example.com", NULL, false },
		{ "TA of itself", alone, { { alone, 2, 0, 1 } }, "nobody.example.org", NULL, false },       /* no anchor above it */
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		static uint8_t bytes[3][CERTIFICATE_TLSA_MAX];
		struct dns_rr rr[3];
		struct dns_answer a = { .status = DNS_OK, .secure = true, .rr = rr };
		AUTO(tls_dane) struct tls_dane *d = NULL;

		for (; a.count < 3 && rows[i].rr[a.count].of; a.count++)
			rr[a.count] = (struct dns_rr){ bytes[a.count], certificate_tlsa(rows[i].rr[a.count].of, rows[i].rr[a.count].usage,
				rows[i].rr[a.count].selector, rows[i].rr[a.count].matching, bytes[a.count]) };
		assert_int_equal(tls_dane_new(&a, rows[i].base, &d), (int)a.count);
		assert_int_equal(tls_dane_name(d, rows[i].more), 0);
		handshake(rows[i].shown, d);
		if (now.verified != rows[i].verified || now.rc != (rows[i].verified ? 0 : -EPROTO))
			fail_msg("%s: %d %s", rows[i].name, now.rc, now.error);
		if (!rows[i].verified && !*now.error)
			fail_msg("%s: fails without a word", rows[i].name);
		assert_string_equal(now.sni, rows[i].base);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_usable),
		cmocka_unit_test(test_full_records),
		cmocka_unit_test(test_new),
		cmocka_unit_test_setup_teardown(test_handshakes, setup, teardown),
	};

	return cmocka_run_group_tests_name("tls_dane", tests, group_setup, group_teardown);
}
