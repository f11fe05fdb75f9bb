/* mx_hop and outbound: which host is spoken to, who is left alone, what is kept for the next message, how many at once */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/task.h"
#include "hop/mx_hop.h"
#include "hop/outbound.h"
#include "policy/conf.h"
#include "support/dns_table.h"
#include "support/script_server.h"
#include "support/task_check.h"

#define S(...) (const char *const[]){ __VA_ARGS__, NULL }
#define EHLO "S:220 mx\r\n", "C:EHLO gw.example\r\n", "S:250-mx\r\n250 8BITMIME\r\n"
#define REUSED "C:RSET", "S:250 ok\r\n"

static struct site site;
static struct outbound_via via[4];
static struct script_server server[4];
static struct dns_table *dns;
static struct outbound *outbound;

static void set_up(size_t n)
{
	static char host[] = "127.0.0.1", hostname[] = "gw.example";
	AUTO(buf) struct buf err = BUF_INIT(1000);

	memset(&site, 0, sizeof(site));
	site.hostname = hostname;
	site.timeouts = (struct smtp_timeouts){ .greeting_ms = 20000, .helo_ms = 20000, .mail_ms = 20000, .rcpt_ms = 20000, .data_ms = 20000,
						.block_ms = 20000, .dot_ms = 20000, .quit_ms = 200 };
	site.outbound = (struct outbound_conf){ .via = via, .via_count = n, .port = 25, .max_sessions = 2, .max_sessions_wait_ms = 100,
						.connect_timeout_ms = 300, .reuse_idle_ms = 30000, .reuse_max = 3, .bench_ms = 60000 };
	dns = dns_table_new();
	for (size_t i = 0; i < n; i++) {
		script_server_start(&server[i], 0);
		via[i] = (struct outbound_via){ host, server[i].addr.port };
	}
	if (outbound_new(&site, dns_table_dns(dns), NULL, &outbound, &err) != 0)
		abort();
}

static void end(size_t n)
{
	outbound_free(outbound);
	outbound = NULL;
	task_yield();
	for (size_t i = 0; i < n; i++)
		script_server_release(&server[i]);
	dns_table_free(dns);
}

static int64_t soon(void)
{
	return clock_ms() + 30000;
}

static void order_task(void *arg)
{
	AUTO(next_hop) struct next_hop *h = NULL;

	set_up(3);
	script_server_stop(&server[0]);                         /* refused by TCP */
	script_server_add(&server[1], S("S:554 no\r\n"));
	script_server_add(&server[2], S(EHLO));
	h = mx_hop_new(outbound, NULL, false);
	CHECK(next_hop_take(h, soon()) == 0);
	CHECK(strcmp(h->name, "127.0.0.1[127.0.0.1]") == 0);
	CHECK(h->client != NULL);
	next_hop_give(h, false);
	CHECK(h->client == NULL);
	/* those that failed are left alone */
	CHECK(next_hop_take(h, soon()) == 0);
	CHECK(server[1].connections == 1 && server[2].connections == 2);
	next_hop_give(h, false);
	end(3);
}

static void test_order(void **state)
{
	task_check_run(order_task);
}

static void nobody_task(void *arg)
{
	AUTO(next_hop) struct next_hop *h = NULL;
	AUTO(next_hop) struct next_hop *insisting = NULL;

	set_up(2);
	script_server_add(&server[0], S("S:421 busy\r\n"));
	script_server_add(&server[0], S("S:421 busy\r\n"));
	script_server_stop(&server[1]);
	h = mx_hop_new(outbound, NULL, false);
	CHECK(next_hop_take(h, soon()) == -EHOSTUNREACH);
	CHECK(strncmp(h->refusal, "451 4.4.1 ", 10) == 0);
	/* at once, without a try: it says why all the same */
	h->refusal[0] = '\0';
	CHECK(next_hop_take(h, soon()) == -EHOSTUNREACH);
	CHECK(strncmp(h->refusal, "451 4.4.1 ", 10) == 0);
	CHECK(server[0].connections == 1);
	/* who has waited is not told so, and one that answers is no longer left alone */
	insisting = mx_hop_new(outbound, NULL, true);
	CHECK(next_hop_take(insisting, soon()) == -EHOSTUNREACH);
	CHECK(server[0].connections == 2);
	script_server_add(&server[0], S(EHLO));
	script_server_add(&server[0], S(EHLO));
	CHECK(next_hop_take(insisting, soon()) == 0);
	next_hop_give(insisting, false);
	CHECK(next_hop_take(h, soon()) == 0);
	next_hop_give(h, false);
	end(2);
}

static void test_nobody(void **state)
{
	task_check_run(nobody_task);
}

static void reuse_task(void *arg)
{
	AUTO(next_hop) struct next_hop *h = NULL;

	set_up(1);
	script_server_add(&server[0], S(EHLO, REUSED, REUSED));
	script_server_add(&server[0], S(EHLO));
	h = mx_hop_new(outbound, NULL, false);
	for (int i = 0; i < 3; i++) {
		CHECK(next_hop_take(h, soon()) == 0);
		next_hop_give(h, true);
	}
	CHECK(server[0].connections == 1);
	/* three messages are enough for one */
	CHECK(next_hop_take(h, soon()) == 0);
	CHECK(server[0].connections == 2);
	next_hop_give(h, false);
	/* not clean: not kept */
	CHECK(next_hop_take(h, soon()) == 0);
	CHECK(server[0].connections == 3);
	next_hop_give(h, true);
	CHECK(server[0].failed[0] == '\0');
	end(1);
}

static void test_reuse(void **state)
{
	task_check_run(reuse_task);
}

/* An idle session that has gone, or says no to RSET, is not given out. */
static void stale_task(void *arg)
{
	AUTO(next_hop) struct next_hop *h = NULL;

	set_up(1);
	script_server_add(&server[0], S(EHLO, "C:RSET", "S:421 idle too long\r\n"));
	h = mx_hop_new(outbound, NULL, false);
	CHECK(next_hop_take(h, soon()) == 0);
	next_hop_give(h, true);
	CHECK(next_hop_take(h, soon()) == 0);
	CHECK(server[0].connections == 2);
	next_hop_give(h, true);
	script_server_stop(&server[0]);
	CHECK(next_hop_take(h, soon()) != 0);
	end(1);
}

static void test_stale(void **state)
{
	task_check_run(stale_task);
}

static void limit_task(void *arg)
{
	struct next_hop *h[3];

	set_up(1);
	script_server_add(&server[0], S(EHLO));
	for (int i = 0; i < 3; i++)
		h[i] = mx_hop_new(outbound, NULL, false);
	CHECK(next_hop_take(h[0], soon()) == 0);
	CHECK(next_hop_take(h[1], soon()) == 0);
	CHECK(next_hop_take(h[2], soon()) == -EBUSY);
	CHECK(next_hop_take(h[2], clock_ms() + 10) == -ETIMEDOUT);
	next_hop_give(h[0], false);
	CHECK(next_hop_take(h[2], soon()) == 0);
	for (int i = 0; i < 3; i++)
		next_hop_free(h[i]);            /* gives back what is held */
	end(1);
}

static void test_limit(void **state)
{
	task_check_run(limit_task);
}

/* Idle sessions outlive nobody: the ticker, and the end. */
static void expiry_task(void *arg)
{
	AUTO(next_hop) struct next_hop *h = NULL;

	set_up(1);
	site.outbound.reuse_idle_ms = 50;
	script_server_add(&server[0], S(EHLO, "C:QUIT", "S:221 bye\r\n"));
	h = mx_hop_new(outbound, NULL, false);
	CHECK(next_hop_take(h, soon()) == 0);
	next_hop_give(h, true);
	for (int i = 0; i < 1000 && server[0].open; i++)
		task_sleep(20);
	CHECK(server[0].open == 0);
	CHECK(server[0].failed[0] == '\0');
	end(1);
}

static void test_expiry(void **state)
{
	task_check_run(expiry_task);
}

static void domain_task(void *arg)
{
	static const struct { const char *domain; int rc; const char *refusal; } rows[] = {
		{ "null.example", -EACCES, "556 5.1.10" },
		{ "gone.example", -EACCES, "550 5.1.2" },
		{ "us.example", -EACCES, "554 5.4.6" },
		{ "nohost.example", -EACCES, "550 5.4.4" },
		{ "late.example", -EHOSTUNREACH, "451 4.4.3" },
		{ "barred.example", -EACCES, "550 5.4.4" },
		{ "[192.0.2.300]", -EACCES, "550 5.1.2" },
	};
	struct net_prefix never = { .bits = 8 };

	set_up(1);
	net_parse_prefix("127.0.0.0/8", &never);
	site.outbound.never = &never;
	site.outbound.never_count = 1;
	dns_table_zone(dns, "null.example MX 0 .\nus.example MX 10 gw.example\ngw.example A 192.0.2.1\nnohost.example MX 10 gone.example\n"
			    "late.example SERVFAIL\nbarred.example A 127.0.0.1\n");
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(next_hop) struct next_hop *h = mx_hop_new(outbound, rows[i].domain, false);
		int rc = next_hop_take(h, soon());

		if (rc != rows[i].rc || strncmp(h->refusal, rows[i].refusal, strlen(rows[i].refusal)) != 0)
			fprintf(stderr, "%s: %d %s\n", rows[i].domain, rc, h->refusal);
		CHECK(rc == rows[i].rc);
		CHECK(strncmp(h->refusal, rows[i].refusal, strlen(rows[i].refusal)) == 0);
		CHECK(h->client == NULL);
	}
	end(1);
}

static void test_domain(void **state)
{
	task_check_run(domain_task);
}

static int setup(void **state)
{
	log_open("test", LOG_LEVEL_ERROR);
	return loop_init();
}

static int teardown(void **state)
{
	loop_release();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order), cmocka_unit_test(test_nobody), cmocka_unit_test(test_reuse), cmocka_unit_test(test_stale),
		cmocka_unit_test(test_limit), cmocka_unit_test(test_expiry), cmocka_unit_test(test_domain),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
