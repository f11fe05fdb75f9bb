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
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/stream.h"
#include "base/task.h"
#include "base/tls.h"

enum { LONG_MS = 60000 };

/* One certificate for mx.example.com, and one of somebody else. */
static struct buf cert = BUF_INIT(65536), key = BUF_INIT(65536), other_cert = BUF_INIT(65536),
		  other_key = BUF_INIT(65536);

static int group_setup(void **state)
{
	return tls_self_signed("mx.example.com", &cert, &key) != 0 ||
	       tls_self_signed("other.example.net", &other_cert, &other_key) != 0;
}

static int group_teardown(void **state)
{
	buf_release(&cert);
	buf_release(&key);
	buf_release(&other_cert);
	buf_release(&other_key);
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

/* Certificates and contexts. */

static void test_self_signed(void **state)
{
	BIO *bio = BIO_new_mem_buf(cert.data, (int)cert.len);
	X509 *x = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	char group[32];

	assert_non_null(x);
	assert_int_equal(EVP_PKEY_get_group_name(X509_get0_pubkey(x), group, sizeof(group), NULL),
			 1);
	assert_string_equal(group, "prime256v1");
	assert_int_equal(X509_check_host(x, "mx.example.com", 0, 0, NULL), 1);
	assert_int_equal(X509_check_host(x, "mx.example.org", 0, 0, NULL), 0);
	assert_int_equal(X509_verify(x, X509_get0_pubkey(x)), 1);
	assert_true(X509_cmp_current_time(X509_get0_notBefore(x)) < 0);
	assert_true(X509_cmp_current_time(X509_get0_notAfter(x)) > 0);
	X509_free(x);
	BIO_free(bio);
}

static void test_self_signed_names(void **state)
{
	static char longest[254], too_long[255], deep[200];
	const struct {
		const char *name;
		int rc;
	} rows[] = {
		{ "localhost", 0 },    { longest, 0 },
		{ deep, 0 },           { "", -EINVAL },
		{ too_long, -EINVAL }, { "a,DNS:b", -EINVAL },
		{ "a\nb", -EINVAL },   { "a b", -EINVAL },
		{ "*", -EINVAL },      { "m\303\274ller.example", -EINVAL },
	};

	memset(longest, 'a', 253);
	memset(too_long, 'a', 254);
	memset(deep, 'b', 199);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct buf c = BUF_INIT(65536), k = BUF_INIT(65536);
		int rc = tls_self_signed(rows[i].name, &c, &k);

		if (rc != rows[i].rc)
			fail_msg("%s: %d", rows[i].name, rc);
		if (rc != 0)
			assert_true(c.len == 0 && k.len == 0);
		buf_release(&c);
		buf_release(&k);
	}
}

static void test_server_contexts(void **state)
{
	struct buf chain = BUF_INIT(65536), torn = BUF_INIT(65536), broken = BUF_INIT(65536);
	struct {
		const char *name, *cert, *key, *want;
	} rows[] = {
		{ "good", buf_str(&cert), buf_str(&key), NULL },
		{ "no certificate", "", buf_str(&key), "certificate cannot be read" },
		{ "text for a certificate", "hello\n", buf_str(&key),
		  "certificate cannot be read" },
		{ "key for a certificate", buf_str(&key), buf_str(&key),
		  "certificate cannot be read" },
		{ "no key", buf_str(&cert), "", "key cannot be read" },
		{ "certificate for a key", buf_str(&cert), buf_str(&cert), "key cannot be read" },
		{ "another's key", buf_str(&cert), buf_str(&other_key), "does not belong" },
		{ "chain", NULL, buf_str(&key), NULL },
		{ "torn chain", NULL, buf_str(&key), "of the chain cannot be read" },
		{ "torn certificate", NULL, buf_str(&key), "certificate cannot be read" },
		{ "key with a password", buf_str(&cert),
		  "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE "
		  "KEY-----\n",
		  "key cannot be read" },
	};

	buf_add(&chain, cert.data, cert.len);
	buf_adds(&chain, "some text between\n");
	buf_add(&chain, other_cert.data, other_cert.len);
	buf_add(&torn, chain.data, chain.len - 60);
	buf_add(&broken, cert.data, cert.len / 2);
	rows[7].cert = buf_str(&chain);
	rows[8].cert = buf_str(&torn);
	rows[9].cert = buf_str(&broken);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct buf err = BUF_INIT(1024);
		struct ssl_ctx_st *ctx = NULL;
		int rc = tls_server_ctx(rows[i].cert, rows[i].key, &ctx, &err);

		if (rc != (rows[i].want ? -EINVAL : 0) ||
		    (rows[i].want && !strstr(buf_str(&err), rows[i].want)))
			fail_msg("%s: %d %s", rows[i].name, rc, buf_str(&err));
		assert_int_equal(ERR_peek_error(), 0);
		if (strcmp(rows[i].name, "chain") == 0) {
			STACK_OF(X509) *extra = NULL;

			SSL_CTX_get0_chain_certs(ctx, &extra);
			assert_int_equal(sk_X509_num(extra), 1);
		}
		tls_ctx_free(ctx);
		buf_release(&err);
	}
	buf_release(&chain);
	buf_release(&torn);
	buf_release(&broken);
}

static void test_client_contexts(void **state)
{
	static const char *const bad[] = {
		"", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
	};
	struct buf err = BUF_INIT(1024);
	struct ssl_ctx_st *ctx = NULL;

	assert_int_equal(tls_client_ctx(false, NULL, &ctx, &err), 0);
	tls_ctx_free(ctx);
	assert_int_equal(tls_client_ctx(true, buf_str(&cert), &ctx, &err), 0);
	tls_ctx_free(ctx);
	assert_int_equal(err.len, 0);
	for (size_t i = 0; i < 3; i++) {
		buf_clear(&err);
		assert_int_equal(tls_client_ctx(true, bad[i], &ctx, &err), -EINVAL);
		assert_true(err.len > 0);
	}

	/* The system's store: whatever is there is loaded, and what is not is said. */
	buf_clear(&err);
	setenv("SSL_CERT_FILE", "/nonexistent", 1);
	assert_int_equal(tls_client_ctx(true, NULL, &ctx, &err), -EINVAL);
	assert_non_null(strstr(buf_str(&err), "no CA certificates"));
	unsetenv("SSL_CERT_FILE");
	buf_release(&err);
}

static void test_error_text(void **state)
{
	char text[64];

	ERR_raise(ERR_LIB_SSL, SSL_R_NO_SHARED_CIPHER);
	ERR_raise(ERR_LIB_SSL, SSL_R_BAD_LENGTH);
	assert_string_equal(tls_error(text, sizeof(text)), "no shared cipher");
	assert_int_equal(ERR_peek_error(), 0);
	assert_string_equal(tls_error(text, sizeof(text)), "");
}

/* Handshakes: the server in one task, and in another a client or what pretends to be one. */

static struct {
	struct stream *server, *client;
	SSL_CTX *server_ctx, *client_ctx;
	const char *hostname;
	int server_rc, client_rc;
	char server_error[256], client_error[256];
	bool verified;
	int timeout_ms;
	struct task *server_task;
	void (*pretend)(void);
} now;

static void serve(void *arg)
{
	AUTO(stream) struct stream *s = now.server;

	now.server_rc = stream_tls_accept(s, now.server_ctx, now.timeout_ms);
	snprintf(now.server_error, sizeof(now.server_error), "%s", stream_error(s));
	if (now.server_rc == 0) {
		assert_int_equal(stream_printf(s, "220 %s\r\n", stream_tls_version(s)), 0);
		stream_close(s, LONG_MS);
	}
}

static void request(void *arg)
{
	AUTO(stream) struct stream *s = now.client;
	const char *line;
	size_t len;

	if (now.pretend) {
		now.pretend();
		return;
	}
	now.client_rc = stream_tls_connect(s, now.client_ctx, now.hostname, now.timeout_ms);
	snprintf(now.client_error, sizeof(now.client_error), "%s", stream_error(s));
	now.verified = stream_tls_verified(s);
	if (now.client_rc == 0) {
		assert_int_equal(stream_read_line(s, 100, LONG_MS, &line, &len), 0);
		assert_memory_equal(line, "220 TLSv1.", 10);
		assert_non_null(stream_tls_cipher(s));
	}
}

static void say_nothing(void);

static void until_alone(void *arg)
{
	while (task_count() > 1)
		task_sleep(1);
	loop_stop();
}

static void handshake(SSL_CTX *server_ctx, SSL_CTX *client_ctx, const char *hostname,
		      void (*pretend)(void))
{
	int s[2];

	memset(&now, 0, sizeof(now));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	now.server = stream_new(s[0]);
	now.client = stream_new(s[1]);
	now.server_ctx = server_ctx;
	now.client_ctx = client_ctx;
	now.hostname = hostname;
	now.pretend = pretend;
	now.timeout_ms = pretend == say_nothing ? 30 : LONG_MS;
	now.server_rc = now.client_rc = 1;
	task_spawn("server", serve, NULL, &now.server_task);
	task_spawn("client", request, NULL, NULL);
	task_spawn("last", until_alone, NULL, NULL);
	loop_run();
}

static SSL_CTX *server(const struct buf *c, const struct buf *k)
{
	struct buf err = BUF_INIT(1024);
	SSL_CTX *ctx = NULL;

	assert_int_equal(tls_server_ctx(buf_str(c), buf_str(k), &ctx, &err), 0);
	return ctx;
}

static SSL_CTX *client(bool verify, const char *ca)
{
	struct buf err = BUF_INIT(1024);
	SSL_CTX *ctx = NULL;

	assert_int_equal(tls_client_ctx(verify, ca, &ctx, &err), 0);
	return ctx;
}

static void test_verification(void **state)
{
	SSL_CTX *s = server(&cert, &key), *any = client(false, NULL),
		*ours = client(true, buf_str(&cert)), *theirs = client(true, buf_str(&other_cert));
	const struct {
		const char *name;
		SSL_CTX *ctx;
		const char *hostname;
		int rc;
		bool verified;
		const char *error;
	} rows[] = {
		{ "right", ours, "mx.example.com", 0, true, "" },
		{ "right, case", ours, "MX.Example.COM", 0, true, "" },
		{ "wrong name", ours, "mx.example.org", -EPROTO, false, "ostname mismatch" },
		{ "address", ours, "192.0.2.1", -EPROTO, false, "IP address mismatch" },
		{ "v6 address", ours, "2001:db8::1", -EPROTO, false, "IP address mismatch" },
		{ "no name", ours, NULL, -EPROTO, false, "no name to verify" },
		{ "unknown CA", theirs, "mx.example.com", -EPROTO, false,
		  "self-signed certificate" },
		{ "not verified", any, "mx.example.com", 0, false, "" },
		{ "not verified, wrong name", any, "mx.example.org", 0, false, "" },
		{ "not verified, no name", any, NULL, 0, false, "" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		handshake(s, rows[i].ctx, rows[i].hostname, NULL);
		if (now.client_rc != rows[i].rc || now.verified != rows[i].verified ||
		    (*rows[i].error ? !strstr(now.client_error, rows[i].error) : *now.client_error))
			fail_msg("%s: %d %d %s", rows[i].name, now.client_rc, now.verified,
				 now.client_error);
		assert_int_equal(ERR_peek_error(), 0);
	}
	tls_ctx_free(s);
	tls_ctx_free(any);
	tls_ctx_free(ours);
	tls_ctx_free(theirs);
}

static void test_versions_and_ciphers(void **state)
{
	static const struct {
		const char *name, *ciphers;
		int min, max, rc;
	} rows[] = {
		{ "1.3", NULL, TLS1_3_VERSION, TLS1_3_VERSION, 0 },
		{ "1.2", NULL, TLS1_2_VERSION, TLS1_2_VERSION, 0 },
		{ "1.1", "ALL:@SECLEVEL=0", TLS1_1_VERSION, TLS1_1_VERSION, -EPROTO },
		{ "1.0", "ALL:@SECLEVEL=0", TLS1_VERSION, TLS1_VERSION, -EPROTO },
		{ "no forward secrecy", "AES128-GCM-SHA256:@SECLEVEL=0", TLS1_2_VERSION,
		  TLS1_2_VERSION, -EPROTO },
		{ "anonymous", "AECDH:ADH:@SECLEVEL=0", TLS1_2_VERSION, TLS1_2_VERSION, -EPROTO },
		{ "CBC", "ECDHE-ECDSA-AES256-SHA384", TLS1_2_VERSION, TLS1_2_VERSION, 0 },
	};
	SSL_CTX *s = server(&cert, &key);

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		SSL_CTX *c = client(false, NULL);

		if (rows[i].ciphers)
			assert_int_equal(SSL_CTX_set_cipher_list(c, rows[i].ciphers), 1);
		SSL_CTX_set_min_proto_version(c, rows[i].min);
		SSL_CTX_set_max_proto_version(c, rows[i].max);
		handshake(s, c, NULL, NULL);
		if (now.server_rc != rows[i].rc || now.client_rc != rows[i].rc)
			fail_msg("%s: server %d %s, client %d %s", rows[i].name, now.server_rc,
				 now.server_error, now.client_rc, now.client_error);
		if (rows[i].rc)
			assert_true(*now.server_error != '\0');
		tls_ctx_free(c);
	}
	tls_ctx_free(s);
}

/* What is no client. */

static void say_smtp(void)
{
	assert_true(write(stream_fd(now.client), "EHLO client.example.com\r\n", 25) == 25);
	task_sleep(10);
}

static void say_nothing(void)
{
	while (now.server_rc == 1)
		task_sleep(5);
}

static void go_away(void)
{
}

static void say_half(void)
{
	assert_true(write(stream_fd(now.client), "\x16\x03\x01\x02\x00\x01", 6) == 6);
}

static void say_alert(void)
{
	assert_true(write(stream_fd(now.client), "\x15\x03\x01\x00\x02\x02\x28", 7) == 7);
	task_sleep(10);
}

static void be_cancelled(void)
{
	task_sleep(5);
	task_cancel(now.server_task);
	task_sleep(5);
}

static void test_bad_clients(void **state)
{
	static const struct {
		const char *name;
		void (*pretend)(void);
		int rc;
	} rows[] = {
		{ "plain text", say_smtp, -EPROTO }, { "nothing", say_nothing, -ETIMEDOUT },
		{ "end at once", go_away, -EPIPE },  { "half a hello", say_half, -EPIPE },
		{ "alert", say_alert, -EPROTO },     { "cancelled", be_cancelled, -ECANCELED },
	};
	SSL_CTX *s = server(&cert, &key);

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		handshake(s, NULL, NULL, rows[i].pretend);
		if (now.server_rc != rows[i].rc)
			fail_msg("%s: %d %s", rows[i].name, now.server_rc, now.server_error);
		assert_int_equal(ERR_peek_error(), 0);
	}
	tls_ctx_free(s);
}

/*
 * STARTTLS in mid-stream. What was sent in plain text behind the command is there to be seen before
 * the handshake; a client that waits for the answer as it should has nothing pending, and its first
 * TLS bytes are not read by us.
 */
static SSL_CTX *start_server, *start_client;
static bool inject;
static size_t pending_seen;

static void start_serve(void *arg)
{
	AUTO(stream) struct stream *s = now.server;
	const char *line;
	size_t len;

	assert_int_equal(stream_read_line(s, 100, LONG_MS, &line, &len), 0);
	assert_memory_equal(line, "STARTTLS\r\n", 10);
	pending_seen = stream_pending(s);
	if (pending_seen)
		return;
	stream_printf(s, "220 go\r\n");
	assert_int_equal(stream_tls_accept(s, start_server, LONG_MS), 0);
	assert_int_equal(stream_tls_accept(s, start_server, LONG_MS), -EPROTO); /* not twice */
	assert_int_equal(stream_read_line(s, 100, LONG_MS, &line, &len), 0);
	assert_memory_equal(line, "EHLO again\r\n", 12);
	stream_printf(s, "250 ok\r\n");
	/* Cut off without close_notify, which the protocol inside would not miss. */
	assert_int_equal(stream_read_line(s, 100, LONG_MS, &line, &len), -EPIPE);
}

static void start_request(void *arg)
{
	struct stream *s = now.client;
	const char *line;
	size_t len;

	stream_printf(s, "STARTTLS\r\n%s", inject ? "RSET\r\n" : "");
	if (inject) {
		assert_int_equal(stream_read_line(s, 100, LONG_MS, &line, &len), -EPIPE);
		stream_free(s);
		return;
	}
	assert_int_equal(stream_read_line(s, 100, LONG_MS, &line, &len), 0);
	assert_memory_equal(line, "220 go\r\n", 8);
	assert_int_equal(stream_pending(s), 0);
	assert_int_equal(stream_tls_connect(s, start_client, NULL, LONG_MS), 0);
	stream_printf(s, "EHLO again\r\n");
	assert_int_equal(stream_read_line(s, 100, LONG_MS, &line, &len), 0);
	assert_memory_equal(line, "250 ok\r\n", 8);
	shutdown(stream_fd(s), SHUT_WR);
	stream_free(s);
}

static void test_starttls(void **state)
{
	start_server = server(&cert, &key);
	start_client = client(false, NULL);
	for (int i = 0; i < 2; i++) {
		int s[2];

		inject = i == 1;
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
		now.server = stream_new(s[0]);
		now.client = stream_new(s[1]);
		task_spawn("server", start_serve, NULL, NULL);
		task_spawn("client", start_request, NULL, NULL);
		task_spawn("last", until_alone, NULL, NULL);
		loop_run();
		assert_int_equal(pending_seen, inject ? 6 : 0);
	}
	tls_ctx_free(start_server);
	tls_ctx_free(start_client);
}

/* What came in one piece with the end of the handshake: OpenSSL alone knows of it until somebody reads. */
static struct future looked;

static void eager_serve(void *arg)
{
	AUTO(stream) struct stream *s = now.server;
	const char *line;
	size_t len;

	assert_int_equal(stream_tls_accept(s, start_server, LONG_MS), 0);
	assert_true(stream_spoken_to(s));
	future_resolve(&looked, 0);
	assert_int_equal(stream_read_line(s, 100, LONG_MS, &line, &len), 0);
	assert_memory_equal(line, "EHLO\r\n", 6);
}

static void eager_request(void *arg)
{
	AUTO(stream) struct stream *s = now.client;

	assert_int_equal(stream_tls_connect(s, start_client, NULL, LONG_MS), 0);
	assert_int_equal(stream_write(s, "EHLO\r\n", 6), 0);
	assert_int_equal(stream_flush(s, LONG_MS), 0);
	assert_int_equal(future_wait(&looked, LONG_MS), 0);
}

static void test_spoken_to(void **state)
{
	int s[2];

	start_server = server(&cert, &key);
	start_client = client(false, NULL);
	looked = (struct future){ 0 };
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	now.server = stream_new(s[0]);
	now.client = stream_new(s[1]);
	task_spawn("server", eager_serve, NULL, NULL);
	task_spawn("client", eager_request, NULL, NULL);
	task_spawn("last", until_alone, NULL, NULL);
	loop_run();
	tls_ctx_free(start_server);
	tls_ctx_free(start_client);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_self_signed),
		CASE(test_self_signed_names),
		CASE(test_server_contexts),
		CASE(test_client_contexts),
		CASE(test_error_text),
		CASE(test_verification),
		CASE(test_versions_and_ciphers),
		CASE(test_bad_clients),
		CASE(test_starttls),
		CASE(test_spoken_to),
	};

	return cmocka_run_group_tests_name("tls", tests, group_setup, group_teardown);
}
