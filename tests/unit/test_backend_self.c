/* Whose address is ours: mail and connections for it would go round for ever. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <ifaddrs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/host.h"
#include "base/log.h"
#include "base/task.h"
#include "hop/backend_self.h"
#include "policy/conf.h"
#include "support/task_check.h"
#include "tcp/tcp_backend.h"

static struct listener_conf listener;
static struct backend_conf conf;
static struct site site = { .listener = &listener, .listener_count = 1, .backend = &conf, .backend_count = 1 };

static void test_rows(void **state)
{
	static const struct { const char *listener, *to; bool ours; } rows[] = {
		{ "127.0.0.1:25", "127.0.0.1:25", true },
		{ "127.0.0.1:25", "127.0.0.1:26", false },
		{ "127.0.0.1:25", "127.0.0.2:25", false },
		/* 0.0.0.0 and :: as a destination are this host */
		{ "127.0.0.1:25", "0.0.0.0:25", true },
		{ "0.0.0.0:25", "0.0.0.0:25", true },
		{ "[::1]:25", "[::]:25", true },
		{ "192.0.2.1:25", "0.0.0.0:25", false },
		/* a wildcard is every address of this host, all loopback ones among them, and no other's */
		{ "0.0.0.0:25", "127.0.0.1:25", true },
		{ "0.0.0.0:25", "127.1.2.3:25", true },
		{ "0.0.0.0:25", "192.0.2.1:25", false },
		{ "0.0.0.0:25", "127.0.0.1:2525", false },
		{ "[::]:25", "[::1]:25", true },
		{ "[::]:25", "[2001:db8::1]:25", false },
		/* mapped, it is reached as IPv4 */
		{ "127.0.0.1:25", "[::ffff:127.0.0.1]:25", true },
		{ "0.0.0.0:25", "[::ffff:127.0.0.1]:25", true },
		/* sockets of one family each */
		{ "0.0.0.0:25", "[::1]:25", false },
		{ "[::]:25", "127.0.0.1:25", false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct net_addr to;

		assert_int_equal(net_parse_port(rows[i].listener, 0, &listener.address), 0);
		assert_int_equal(net_parse_port(rows[i].to, 0, &to), 0);
		if (backend_is_ourselves(&site, &to) != rows[i].ours)
			fail_msg("%s for %s", rows[i].to, rows[i].listener);
	}
}

/* Those of this machine's interfaces, whichever there are; a neighbour's is not. */
static void test_interfaces(void **state)
{
	struct ifaddrs *all, *i;

	assert_int_equal(getifaddrs(&all), 0);
	for (i = all; i; i = i->ifa_next) {
		struct net_addr to;

		if (!i->ifa_addr || (i->ifa_addr->sa_family != AF_INET && i->ifa_addr->sa_family != AF_INET6))
			continue;
		net_from_sockaddr(i->ifa_addr, &to);
		if (to.family == AF_INET6 && to.ip[0] == 0xfe && (to.ip[1] & 0xc0) == 0x80)
			continue;       /* means nothing without its interface */
		to.port = 25;
		assert_int_equal(net_parse_port(to.family == AF_INET6 ? "[::]:25" : "0.0.0.0:25", 0, &listener.address), 0);
		assert_true(backend_is_ourselves(&site, &to));
		if (net_is_loopback(&to))
			continue;
		to.ip[to.family == AF_INET6 ? 15 : 3] ^= 0x40;
		assert_false(backend_is_ourselves(&site, &to));
	}
	freeifaddrs(all);
}

/* protocol = tcp: one connection would open the next until there are no descriptors left. */
static void tcp_task(void *arg)
{
	struct script_server server = { 0 };
	struct proxy_header h = { 0 };
	struct tcp_want want = { .among = 1, .header = &h };
	struct tcp_link link;
	struct tcp_backends *b;
	char host[] = "127.0.0.1", name[] = "loop", why[HOST_WHY_MAX] = "";

	script_server_start(&server, 0);
	script_server_add(&server, (const char *const[]){ "H", NULL });
	conf = (struct backend_conf){ .name = name, .host = host, .port = server.addr.port, .connect_timeout_ms = 1000, .probe_interval_ms = 60000 };
	for (int ours = 0; ours < 2; ours++) {
		net_parse("0.0.0.0", &listener.address);
		listener.address.port = ours ? server.addr.port : 1;
		b = tcp_backends_new(&site, NULL);
		if (!b)
			abort();
		CHECK(tcp_backends_connect(b, &want, &link, why) == (ours ? -EHOSTUNREACH : 0));
		CHECK(!ours || strstr(why, "ourselves"));
		tcp_link_release(&link);
		tcp_backends_free(b);
		task_sleep(20);
		CHECK(server.connections == 1);         /* the first, which was none of ours */
	}
	script_server_stop(&server);
	script_server_release(&server);
}

static void test_tcp(void **state)
{
	task_check_run(tcp_task);
}

static int setup(void **state)
{
	signal(SIGPIPE, SIG_IGN);
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
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_rows), cmocka_unit_test(test_interfaces), cmocka_unit_test(test_tcp) };

	return cmocka_run_group_tests_name("backend_self", tests, setup, teardown);
}
