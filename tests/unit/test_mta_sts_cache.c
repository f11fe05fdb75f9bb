/* https and mta_sts_cache: fetched from a TLS server in a thread of this program, kept, fetched again, and what a bad server does */
#include <errno.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/https.h"
#include "base/net.h"
#include "base/task.h"
#include "base/tls.h"
#include "hop/mta_sts_cache.h"
#include "policy/state.h"
#include "tests/support/certificate.h"
#include "tests/support/dns_table.h"

#define OK "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"

enum ending { POLITE, CUT, SILENT, DRIP };

static struct {
	int fd;
	unsigned short port;
	pthread_t thread;
	SSL_CTX *ctx;
	_Atomic int requests;
	_Atomic bool quit;
	const char *_Atomic reply;
	_Atomic enum ending ending;
} web;

static struct certificate *ca, *cert, *other;
static struct ssl_ctx_st *trust;

static void answer(SSL *ssl)
{
	char request[2048];
	size_t n = 0;
	int got;

	while (n + 1 < sizeof(request) && (got = SSL_read(ssl, request + n, (int)(sizeof(request) - n - 1))) > 0) {
		n += (size_t)got;
		request[n] = '\0';
		if (strstr(request, "\r\n\r\n"))
			break;
	}
	web.requests++;
	if (web.ending == SILENT) {
		(void)SSL_read(ssl, request, sizeof(request));          /* until the client goes */
		return;
	}
	if (web.ending == DRIP) {
		while (SSL_write(ssl, "X", 1) == 1)
			usleep(2000);
		return;
	}
	SSL_write(ssl, web.reply, (int)strlen(web.reply));
	if (web.ending == POLITE)
		SSL_shutdown(ssl);
}

static void *serve(void *arg)
{
	for (;;) {
		int fd = accept(web.fd, NULL, NULL);
		SSL *ssl;

		if (fd < 0 || web.quit)
			return NULL;
		ssl = SSL_new(web.ctx);
		SSL_set_fd(ssl, fd);
		if (SSL_accept(ssl) == 1)
			answer(ssl);
		SSL_free(ssl);
		ERR_clear_error();
		close(fd);
	}
}

static int group_setup(void **unused)
{
	AUTO(buf) struct buf err = BUF_INIT(1024);
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sin);

	ca = certificate_new("World CA", NULL, 0, 86400);
	other = certificate_new("Other CA", NULL, 0, 86400);
	cert = certificate_new("mta-sts.d.example", ca, 0, 86400);
	if (tls_client_ctx(true, certificate_pem(ca), &trust, &err) < 0 || tls_server_ctx(certificate_chain_pem(cert), certificate_key_pem(cert), &web.ctx, &err) < 0)
		return -1;
	web.fd = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(web.fd, (struct sockaddr *)&sin, len) < 0 || listen(web.fd, 16) < 0 || getsockname(web.fd, (struct sockaddr *)&sin, &len) < 0)
		return -1;
	web.port = ntohs(sin.sin_port);
	return pthread_create(&web.thread, NULL, serve, NULL);
}

static int group_teardown(void **unused)
{
	web.quit = true;
	shutdown(web.fd, SHUT_RDWR);
	pthread_join(web.thread, NULL);
	close(web.fd);
	tls_ctx_free(web.ctx);
	tls_ctx_free(trust);
	certificate_free(cert);
	certificate_free(other);
	certificate_free(ca);
	return 0;
}

static void run(void (*f)(void *), void *arg)
{
	assert_int_equal(loop_init(), 0);
	task_spawn("test", f, arg, NULL);
	loop_run();
	loop_release();
	assert_int_equal(ERR_peek_error(), 0);
}

/* ---- https ---- */

static const struct {
	const char *name, *reply;
	enum ending ending;
	const char *host;
	int rc, status;
	const char *body, *why;
} pages[] = {
	{ "length", OK "Content-Length: 5\r\n\r\nhello", POLITE, "mta-sts.d.example", 0, 200, "hello", "" },
	{ "length, then a cut", OK "Content-Length: 5\r\n\r\nhello", CUT, "mta-sts.d.example", 0, 200, "hello", "" },
	{ "chunked", OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", POLITE, "mta-sts.d.example", 0, 200, "hello", "" },
	{ "to the end", OK "\r\nhello", POLITE, "mta-sts.d.example", 0, 200, "hello", "" },
	{ "to the end, cut", OK "\r\nhello", CUT, "mta-sts.d.example", -EPIPE, 0, NULL, "closed too early" },
	{ "length, short", OK "Content-Length: 6\r\n\r\nhello", POLITE, "mta-sts.d.example", -EBADMSG, 0, NULL, "closed too early" },
	{ "too long", OK "Content-Length: 500\r\n\r\n", POLITE, "mta-sts.d.example", -EMSGSIZE, 0, NULL, "too long" },
	{ "no HTTP", "220 ESMTP\r\n", POLITE, "mta-sts.d.example", -EBADMSG, 0, NULL, "no HTTP" },
	{ "nothing", "", POLITE, "mta-sts.d.example", -EBADMSG, 0, NULL, "closed too early" },
	{ "silence", "", SILENT, "mta-sts.d.example", -ETIMEDOUT, 0, NULL, "timed out" },
	{ "a byte now and then", "", DRIP, "mta-sts.d.example", -ETIMEDOUT, 0, NULL, "" },
	{ "another's certificate", OK "\r\n", POLITE, "mta-sts.e.example", -EPROTO, 0, NULL, "ostname mismatch" },
	{ "no such host", OK "\r\n", POLITE, "mta-sts.f.example", -EHOSTUNREACH, 0, NULL, "no such domain" },
	{ "not an address for us", OK "\r\n", POLITE, "mta-sts.g.example", -EHOSTUNREACH, 0, NULL, "no address" },
};

static struct dns_table *zone;

static bool not_10(void *arg, const struct net_addr *a)
{
	struct net_prefix ten;

	assert_int_equal(net_parse_prefix("10.0.0.0/8", &ten), 0);
	return !net_in(a, &ten);
}

static void fetch_pages(void *arg)
{
	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		struct https_get q = { .dns = dns_table_dns(zone), .tls_ctx = trust, .host = pages[i].host, .path = "/x", .port = web.port, .usable = not_10,
				       .deadline_ms = clock_ms() + (pages[i].ending == SILENT || pages[i].ending == DRIP ? 150 : 30000) };
		struct http_reply r;
		char why[HTTPS_WHY_MAX] = "";
		int rc;

		web.reply = pages[i].reply;
		web.ending = pages[i].ending;
		http_reply_init(&r, 64);
		rc = https_get(&q, &r, why);
		if (rc != pages[i].rc || !strstr(why, pages[i].why) || (rc == 0 && (r.status != pages[i].status || strcmp(buf_str(&r.body), pages[i].body) != 0)))
			fail_msg("%s: %d %s, status %d, %s", pages[i].name, rc, why, r.status, buf_str(&r.body));
		if (rc < 0)
			assert_true(*why);
		http_reply_release(&r);
	}
	loop_stop();
}

static void test_https(void **unused)
{
	zone = dns_table_new();
	dns_table_zone(zone, "mta-sts.d.example A 127.0.0.1\nmta-sts.e.example A 127.0.0.1\nmta-sts.g.example A 10.1.2.3\n");
	run(fetch_pages, NULL);
	dns_table_free(zone);
}

/* ---- the cache ---- */

/* A state store: a list. */
static struct state_op kept[64];
static size_t kept_count;
static int state_rc;

static struct state_op *kept_find(const struct state_op *op)
{
	for (size_t i = 0; i < kept_count; i++)
		if (strcmp(kept[i].space, op->space) == 0 && strcmp(kept[i].key, op->key) == 0)
			return &kept[i];
	return NULL;
}

static int state_answer(struct state *s, struct state_op *ops, size_t count)
{
	for (size_t i = 0; i < count && state_rc == 0; i++) {
		struct state_op *k = kept_find(&ops[i]);

		if (ops[i].verb == STATE_PUT) {
			if (!k)
				k = &kept[kept_count++];
			*k = ops[i];
			k->count = ops[i].add;
		} else {
			ops[i].found = k != NULL;
			ops[i].count = k ? k->count : 0;
			snprintf(ops[i].text, sizeof(ops[i].text), "%s", k ? k->text : "");
		}
	}
	return state_rc;
}

static struct state state = { state_answer };
static struct mta_sts_cache *cache;
static int found;

static struct mta_sts_policy *look(void)
{
	struct mta_sts_policy *p = NULL;

	assert_int_equal(mta_sts_find(cache, "d.example", clock_ms() + 20000, &p), 0);
	return p;
}

/* The pattern of the policy in force, "" without one. */
static const char *now_in_force(char out[256])
{
	AUTO(mta_sts_policy) struct mta_sts_policy *p = look();

	snprintf(out, 256, "%s", p && p->count ? p->pattern[0] : "");
	return out;
}

static void finder(void *arg)
{
	AUTO(mta_sts_policy) struct mta_sts_policy *p = look();

	assert_non_null(p);
	found++;
}

static void record(const char *id)
{
	char text[100];

	dns_table_remove(zone, "_mta-sts.d.example");
	snprintf(text, sizeof(text), "v=STSv1; id=%s", id);
	if (*id)
		dns_table_add(zone, "_mta-sts.d.example", "TXT", text);
}

static void renew(void)
{
	mta_sts_cache_free(cache);
	cache = mta_sts_cache_new(dns_table_dns(zone), &state, trust, web.port);
	assert_non_null(cache);
}

#define POLICY(mx, age) OK "\r\nversion: STSv1\nmode: enforce\nmx: " mx "\nmax_age: " age "\n"

static void cached(void *arg)
{
	char mx[256];
	int before;

	/* No record: nothing is asked for. */
	assert_string_equal(now_in_force(mx), "");
	assert_int_equal(web.requests, 0);

	/* Five who want it at once: one fetch. */
	record("1");
	web.reply = POLICY("a.example", "86400");
	web.ending = POLITE;
	for (int i = 0; i < 5; i++)
		task_spawn("finder", finder, NULL, NULL);
	while (found < 5)
		task_sleep(1);
	assert_int_equal(web.requests, 1);
	assert_string_equal(now_in_force(mx), "a.example");
	assert_int_equal(web.requests, 1);

	/* Another id: fetched; a page that is none leaves what is there, and is not asked for again at once. */
	record("2");
	web.reply = OK "\r\nhello\n";
	assert_string_equal(now_in_force(mx), "a.example");
	assert_string_equal(now_in_force(mx), "a.example");
	assert_int_equal(web.requests, 2);
	record("3");
	web.reply = POLICY("b.example", "86400");
	assert_string_equal(now_in_force(mx), "b.example");
	assert_int_equal(web.requests, 3);

	/* The record is gone, or cannot be had: it counts on. */
	record("");
	assert_string_equal(now_in_force(mx), "b.example");
	dns_table_add(zone, "_mta-sts.d.example", "SERVFAIL", "");
	assert_string_equal(now_in_force(mx), "b.example");

	/* A new process knows it from the state; one without a state does not. */
	task_sleep(20);
	renew();
	assert_string_equal(now_in_force(mx), "b.example");
	state_rc = -ETIMEDOUT;
	renew();
	assert_string_equal(now_in_force(mx), "");
	state_rc = 0;

	/* One whose time is short is looked at again in the background, and ends. */
	record("4");
	renew();
	web.reply = POLICY("c.example", "2");
	assert_string_equal(now_in_force(mx), "c.example");
	before = web.requests;
	web.reply = POLICY("d.example", "86400");
	while (strcmp(now_in_force(mx), "c.example") == 0)
		task_sleep(20);
	assert_string_equal(mx, "d.example");
	assert_int_equal(web.requests, before + 1);

	/* Torn in the state: none. */
	task_sleep(20);
	for (size_t i = 0; i < kept_count; i++)
		snprintf(kept[i].text, sizeof(kept[i].text), "77 garbage");
	record("");
	renew();
	assert_string_equal(now_in_force(mx), "");
	loop_stop();
}

static void test_cache(void **unused)
{
	zone = dns_table_new();
	dns_table_zone(zone, "mta-sts.d.example A 127.0.0.1\n");
	web.requests = 0;
	renew();
	run(cached, NULL);
	mta_sts_cache_free(cache);
	cache = NULL;
	dns_table_free(zone);
}

/* A policy in several records of the state. */
static void long_one(void *arg)
{
	AUTO(buf) struct buf text = BUF_INIT(65536);
	AUTO(mta_sts_policy) struct mta_sts_policy *p = NULL, *again = NULL;

	buf_adds(&text, OK "\r\nversion: STSv1\nmode: enforce\nmax_age: 86400\n");
	for (int i = 0; i < 100; i++)
		buf_addf(&text, "mx: host-number-%d.of.a.rather.long.domain.example\n", i);
	record("1");
	web.reply = buf_str(&text);
	p = look();
	assert_int_equal(p->count, 100);
	task_sleep(20);
	assert_true(kept_count > 3);
	renew();
	record("");
	again = look();
	assert_non_null(again);
	assert_int_equal(again->count, 100);
	assert_string_equal(again->pattern[99], "host-number-99.of.a.rather.long.domain.example");
	web.reply = "";
	loop_stop();
}

static void test_long(void **unused)
{
	kept_count = 0;
	zone = dns_table_new();
	dns_table_zone(zone, "mta-sts.d.example A 127.0.0.1\n");
	renew();
	run(long_one, NULL);
	mta_sts_cache_free(cache);
	cache = NULL;
	dns_table_free(zone);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_https), cmocka_unit_test(test_cache), cmocka_unit_test(test_long) };

	return cmocka_run_group_tests_name("mta_sts_cache", tests, group_setup, group_teardown);
}
