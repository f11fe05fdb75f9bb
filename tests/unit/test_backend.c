#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/task.h"
#include "hop/backend.h"
#include "hop/xclient.h"
#include "policy/conf.h"
#include "support/dns_table.h"
#include "support/script_server.h"
#include "support/task_check.h"

#define S(...) (const char *const[]){ __VA_ARGS__, NULL }
#define EHLO "S:220 mx\r\n", "C:EHLO gw.example\r\n", "S:250-mx\r\n250-SIZE 1000\r\n250 8BITMIME\r\n"
#define TRANSACTION "C:MAIL", "S:250 ok\r\n", "C:RCPT", "S:250 ok\r\n"

static struct site site;
static struct backend_conf conf[4];
static struct listener_conf listener;
static struct script_server server[4];
static struct backend_group *group;

/* n members on n scripted servers, priorities all the same. */
static void set_up(size_t n)
{
	static char host[] = "127.0.0.1", hostname[] = "gw.example";
	static char names[4][4] = { "a", "b", "c", "d" };

	memset(&site, 0, sizeof(site));
	memset(conf, 0, sizeof(conf));
	site.hostname = hostname;
	site.backend = conf;
	site.backend_count = n;
	site.timeouts = (struct smtp_timeouts){ .greeting_ms = 2000, .helo_ms = 2000, .mail_ms = 2000, .rcpt_ms = 2000, .data_ms = 2000,
						.block_ms = 2000, .dot_ms = 2000, .quit_ms = 200, .budget_ms = 3000 };
	for (size_t i = 0; i < n; i++) {
		script_server_start(&server[i], 0);
		conf[i] = (struct backend_conf){ .name = names[i], .host = host, .port = server[i].addr.port, .priority = 10,
						 .connect_timeout_ms = 300, .probe_interval_ms = 60000, .max_sessions_wait_ms = 300,
						 .reuse_idle_ms = 30000, .reuse_max = 100 };
	}
}

static void begin(void)
{
	AUTO(buf) struct buf err = BUF_INIT(1000);

	if (backend_group_new(&site, NULL, NULL, &group, &err) != 0)
		abort();
}

static void end(size_t n)
{
	backend_group_free(group);
	group = NULL;
	for (size_t i = 0; i < n; i++)
		script_server_release(&server[i]);
}

static int64_t soon(void)
{
	return clock_ms() + 20000;
}

static const char *take_name(struct backend_session **bs)
{
	return backend_take(group, soon(), bs) == 0 ? backend_name((*bs)->backend) : "none";
}

static void turns_task(void *arg)
{
	struct backend_session *bs;
	int count[2] = { 0 };

	set_up(3);
	for (int i = 0; i < 3; i++)
		script_server_add(&server[i], S(EHLO));
	conf[2].priority = 20;
	begin();
	for (int i = 0; i < 6; i++) {
		const char *name = take_name(&bs);

		CHECK(name[0] == 'a' || name[0] == 'b');
		if (name[0] == 'n')
			break;
		count[name[0] == 'b']++;
		backend_give(bs, true);
	}
	CHECK(count[0] == 3 && count[1] == 3);
	CHECK(server[2].connections == 0);
	end(3);
}

static void test_turns_and_priority(void **state)
{
	task_check_run(turns_task);
}

static void failover_task(void *arg)
{
	struct backend_session *bs;

	set_up(3);
	script_server_add(&server[0], S("S:421 too busy\r\n"));
	script_server_stop(&server[1]);                         /* refused by TCP */
	script_server_add(&server[2], S(EHLO));
	conf[2].priority = 20;
	begin();
	CHECK(take_name(&bs)[0] == 'c');
	CHECK(backend_group_up(group) == 1);
	backend_give(bs, true);
	/* those that failed are left out for a second */
	CHECK(take_name(&bs)[0] == 'c');
	backend_give(bs, true);
	CHECK(server[0].connections == 1);
	end(3);
}

static void test_failover(void **state)
{
	task_check_run(failover_task);
}

static void none_task(void *arg)
{
	struct backend_session *bs = NULL;
	int64_t begun = clock_ms();

	set_up(2);
	script_server_stop(&server[0]);
	script_server_add(&server[1], S("H"));                  /* silent: greeting times out */
	site.timeouts.greeting_ms = 200;
	begin();
	CHECK(backend_take(group, soon(), &bs) == -EHOSTUNREACH);
	CHECK(backend_take(group, soon(), &bs) == -EHOSTUNREACH);
	CHECK(server[1].connections == 1);
	CHECK(clock_ms() - begun < 10000);
	end(2);
}

static void test_none(void **state)
{
	task_check_run(none_task);
}

static void recovery_task(void *arg)
{
	struct backend_session *bs;
	struct smtp_caps caps;
	unsigned short port;
	int64_t until;

	set_up(1);
	port = server[0].addr.port;
	script_server_stop(&server[0]);
	begin();
	CHECK(!backend_group_caps(group, &caps));
	CHECK(backend_group_start(group) == 0);
	CHECK(backend_group_ready(group, 20000) == 0);
	CHECK(backend_group_up(group) == 0);
	CHECK(backend_take(group, soon(), &bs) == -EHOSTUNREACH);
	script_server_release(&server[0]);
	script_server_start(&server[0], port);
	script_server_add(&server[0], S(EHLO, "C:QUIT", "S:221 bye\r\n"));
	/* the probe finds it */
	until = clock_ms() + 20000;
	while (backend_group_up(group) == 0 && clock_ms() < until)
		task_sleep(20);
	CHECK(backend_group_up(group) == 1);
	CHECK(backend_group_caps(group, &caps) && caps.eightbit && caps.size_max == 1000);
	CHECK(backend_take(group, soon(), &bs) == 0);
	backend_give(bs, true);
	end(1);
}

static void test_recovery(void **state)
{
	task_check_run(recovery_task);
}

static void caps_task(void *arg)
{
	struct smtp_caps caps;

	set_up(3);
	script_server_add(&server[0], S("S:220 mx\r\n", "C:EHLO", "S:250-mx\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 DSN\r\n"));
	script_server_add(&server[1], S("S:220 mx\r\n", "C:EHLO", "S:250-mx\r\n250-SIZE 500\r\n250-8BITMIME\r\n250 XEXCH50\r\n"));
	script_server_stop(&server[2]);                         /* never seen: counts for nothing */
	begin();
	CHECK(backend_group_start(group) == 0);
	CHECK(backend_group_ready(group, 2000) == 0);
	CHECK(backend_group_caps(group, &caps));
	CHECK(caps.size && caps.size_max == 500 && caps.eightbit && !caps.smtputf8 && !caps.dsn);
	end(3);
}

static void test_caps_meet(void **state)
{
	task_check_run(caps_task);
}

static void reuse_task(void *arg)
{
	struct backend_session *bs;

	set_up(1);
	script_server_add(&server[0], S(EHLO, TRANSACTION, "C:RSET", "S:250 ok\r\n", TRANSACTION, "C:RSET", "S:250 ok\r\n", "H"));
	script_server_add(&server[0], S(EHLO, "C:RSET", "S:451 no\r\n", "H"));
	script_server_add(&server[0], S(EHLO, "W:50", "S:421 idle too long\r\n", "X"));
	script_server_add(&server[0], S(EHLO));
	conf[0].reuse = true;
	conf[0].reuse_max = 3;
	begin();
	for (int i = 0; i < 3; i++) {
		CHECK(backend_take(group, soon(), &bs) == 0);
		CHECK(bs->fresh == (i == 0));
		if (i < 2) {
			smtp_client_mail(bs->client, "", "", 0, soon());
			smtp_client_rcpt(bs->client, "x@y", "", soon());
		}
		CHECK(!bs->client->broken);
		backend_give(bs, true);
	}
	CHECK(server[0].connections == 1);
	/* three messages are enough: a new one. It does not take the RSET: another new one. */
	CHECK(backend_take(group, soon(), &bs) == 0 && bs->fresh);
	backend_give(bs, true);
	CHECK(backend_take(group, soon(), &bs) == 0 && bs->fresh);
	CHECK(server[0].connections == 3);
	backend_give(bs, true);
	/* a 421 that came while it was idle: it is not used, and the backend is well */
	task_sleep(100);
	CHECK(backend_take(group, soon(), &bs) == 0 && bs->fresh);
	CHECK(server[0].connections == 4);
	CHECK(backend_group_up(group) == 1);
	/* a client's identity is never kept */
	bs->identity = true;
	backend_give(bs, true);
	CHECK(backend_take(group, soon(), &bs) == 0 && bs->fresh);
	backend_give(bs, false);                                /* nor is what is not clean */
	CHECK(backend_take(group, soon(), &bs) == 0 && bs->fresh);
	backend_give(bs, true);
	CHECK(server[0].failed[0] == '\0');
	end(1);
}

static void test_reuse(void **state)
{
	task_check_run(reuse_task);
}

static void idle_task(void *arg)
{
	struct backend_session *bs;
	int64_t until = clock_ms() + 20000;

	set_up(1);
	script_server_add(&server[0], S(EHLO));
	conf[0].reuse = true;
	conf[0].reuse_idle_ms = 50;
	begin();
	CHECK(backend_group_start(group) == 0);
	CHECK(backend_group_ready(group, 20000) == 0);
	CHECK(backend_take(group, soon(), &bs) == 0);
	backend_give(bs, true);
	while (server[0].open > 0 && clock_ms() < until)
		task_sleep(10);
	CHECK(server[0].open == 0);
	end(1);
}

static void test_idle_expires(void **state)
{
	task_check_run(idle_task);
}

struct user {
	int rc;
	bool done;
	int hold_ms;
};

static void user_task(void *arg)
{
	struct user *u = arg;
	struct backend_session *bs;

	u->rc = backend_take(group, soon(), &bs);
	if (u->rc == 0) {
		task_sleep(u->hold_ms);
		backend_give(bs, true);
	}
	u->done = true;
}

static void limit_task(void *arg)
{
	static struct user u[12];
	size_t done = 0;

	set_up(1);
	script_server_add(&server[0], S(EHLO));
	conf[0].max_sessions = 3;
	conf[0].max_sessions_wait_ms = 2000;
	begin();
	for (size_t i = 0; i < 12; i++) {
		u[i] = (struct user){ .hold_ms = 40 };
		task_spawn("user", user_task, &u[i], NULL);
	}
	for (int64_t until = clock_ms() + 20000; done < 12 && clock_ms() < until;) {
		task_sleep(10);
		done = 0;
		for (size_t i = 0; i < 12; i++)
			done += u[i].done && u[i].rc == 0;
	}
	CHECK(done == 12);
	CHECK(server[0].most <= 3);
	CHECK(server[0].connections == 12);
	end(1);
}

static void test_max_sessions(void **state)
{
	task_check_run(limit_task);
}

static void reuse_limit_task(void *arg)
{
	static struct user u[12];
	size_t done = 0;

	set_up(1);
	script_server_add(&server[0], S(EHLO, "C:RSET", "S:250 ok\r\n", "C:RSET", "S:250 ok\r\n", "C:RSET", "S:250 ok\r\n", "C:RSET", "S:250 ok\r\n",
					"C:RSET", "S:250 ok\r\n", "C:RSET", "S:250 ok\r\n", "C:RSET", "S:250 ok\r\n", "C:RSET", "S:250 ok\r\n", "C:RSET",
					"S:250 ok\r\n"));
	conf[0].max_sessions = 2;
	conf[0].reuse = true;
	conf[0].max_sessions_wait_ms = 2000;
	begin();
	for (size_t i = 0; i < 12; i++) {
		u[i] = (struct user){ .hold_ms = 10 };
		task_spawn("user", user_task, &u[i], NULL);
	}
	for (int64_t until = clock_ms() + 20000; done < 12 && clock_ms() < until;) {
		task_sleep(10);
		done = 0;
		for (size_t i = 0; i < 12; i++)
			done += u[i].done && u[i].rc == 0;
	}
	CHECK(done == 12);
	CHECK(server[0].connections == 2);
	end(1);
}

static void test_max_sessions_with_reuse(void **state)
{
	task_check_run(reuse_limit_task);
}

static void wait_task(void *arg)
{
	struct backend_session *bs, *other = NULL;
	static struct backend_shared shared;
	int64_t begun;

	memset(&shared, 0, sizeof(shared));
	set_up(2);
	script_server_add(&server[0], S(EHLO));
	script_server_add(&server[1], S(EHLO));
	conf[0].max_sessions = 2;
	conf[1].priority = 20;          /* for when a is away, not for when it is busy */
	begin();
	backend_group_share(group, 0, &shared, 1);
	shared.inside.held[0] = 1;           /* another worker's */
	CHECK(backend_take(group, soon(), &bs) == 0);
	CHECK(shared.inside.held[1] == 1);
	begun = clock_ms();
	CHECK(backend_take(group, soon(), &other) == -EBUSY);
	CHECK(clock_ms() - begun >= 290);
	CHECK(shared.inside.held[1] == 1 && shared.wanted[1] == 0);
	/* that worker dies */
	backend_shared_forget(&shared, 0);
	CHECK(backend_take(group, soon(), &other) == 0);
	backend_give(other, true);
	backend_give(bs, true);
	end(2);
}

static void test_max_sessions_over_workers(void **state)
{
	task_check_run(wait_task);
}

/* Two groups with one server that takes one session, which the first has: the second cannot look how it is, and others go on all the same. */
static void full_at_start_task(void *arg)
{
	AUTO(buf) struct buf err = BUF_INIT(1000);
	static struct backend_shared shared;
	struct backend_group *second;
	struct backend_session *bs;

	memset(&shared, 0, sizeof(shared));
	set_up(1);
	script_server_add(&server[0], S(EHLO, "C:QUIT", "S:221 bye\r\n"));
	script_server_add(&server[0], S(EHLO, "C:QUIT", "S:221 bye\r\n"));
	conf[0].max_sessions = 1;
	begin();
	CHECK(!backend_group_full(group));
	CHECK(backend_group_new(&site, NULL, NULL, &second, &err) == 0);
	backend_group_share(group, 0, &shared, 1);
	backend_group_share(second, 0, &shared, 1);
	CHECK(backend_take(group, soon(), &bs) == 0);
	CHECK(backend_group_full(group) && backend_group_full(second));
	CHECK(backend_group_start(second) == 0);
	CHECK(backend_group_ready(second, 50) == -ETIMEDOUT);
	backend_give(bs, false);
	CHECK(backend_group_ready(second, 3000) == 0);
	CHECK(!backend_group_full(group) && !backend_group_full(second));
	backend_group_free(second);
	end(1);
}

static void test_full_at_start(void **state)
{
	task_check_run(full_at_start_task);
}

/* 421 at the greeting while `others` sessions are at work: whether it is full then, and what is said later waits for them. */
static void full_task(void *arg)
{
	static const struct { int others; bool full; } rows[] = { { 1, false }, { 4, false }, { 5, true }, { 9, true } };
	static struct user u[12];

	for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
		struct user late = { .hold_ms = 1 };
		int done = 0;

		set_up(1);
		for (int i = 0; i < rows[r].others; i++)
			script_server_add(&server[0], S(EHLO));
		script_server_add(&server[0], S("S:421 4.3.2 The maximum number of concurrent server connections has exceeded a per-source limit\r\n"));
		script_server_add(&server[0], S(EHLO));
		conf[0].max_sessions_wait_ms = 10000;
		begin();
		for (int i = 0; i < rows[r].others; i++) {
			u[i] = (struct user){ .hold_ms = 800 };         /* they are there when the late one comes */
			task_spawn("user", user_task, &u[i], NULL);
			while (server[0].connections <= (size_t)i)
				task_sleep(2);
		}
		while (backend_group_up(group) == 0)
			task_sleep(2);
		task_sleep(20);
		task_spawn("late", user_task, &late, NULL);
		for (int64_t until = clock_ms() + 20000; (done < rows[r].others || !late.done) && clock_ms() < until;) {
			task_sleep(5);
			done = 0;
			for (int i = 0; i < rows[r].others; i++)
				done += u[i].done && u[i].rc == 0;
		}
		CHECK(done == rows[r].others && late.done);
		CHECK(late.rc == (rows[r].full ? 0 : -EHOSTUNREACH));
		CHECK(backend_group_up(group) == rows[r].full);
		end(1);
	}
}

static void test_full(void **state)
{
	task_check_run(full_task);
}

static void trouble_task(void *arg)
{
	struct backend_session *bs;

	set_up(2);
	script_server_add(&server[0], S(EHLO, "C:MAIL", "S:421 4.3.2 closing\r\n"));
	script_server_add(&server[1], S(EHLO, "C:MAIL", "H"));
	conf[1].priority = 20;
	site.timeouts.mail_ms = 100;
	begin();
	CHECK(take_name(&bs)[0] == 'a');
	CHECK(smtp_client_mail(bs->client, "", "", 0, soon()) == 0);
	backend_give(bs, true);
	CHECK(backend_group_up(group) == 1);
	CHECK(take_name(&bs)[0] == 'b');
	CHECK(smtp_client_mail(bs->client, "", "", 0, soon()) == -ETIMEDOUT);
	backend_give(bs, false);
	CHECK(backend_group_up(group) == 0);
	end(2);
}

static void test_trouble_in_use(void **state)
{
	task_check_run(trouble_task);
}

static void ourselves_task(void *arg)
{
	struct backend_session *bs;

	set_up(1);
	script_server_add(&server[0], S(EHLO));
	memset(&listener, 0, sizeof(listener));
	net_parse("0.0.0.0", &listener.address);
	listener.address.port = server[0].addr.port;
	site.listener = &listener;
	site.listener_count = 1;
	begin();
	CHECK(backend_take(group, soon(), &bs) == -EHOSTUNREACH);
	CHECK(server[0].connections == 0);
	end(1);
}

static void test_ourselves(void **state)
{
	task_check_run(ourselves_task);
}

/* A backend by name: its addresses are tried in turn. */
static void name_task(void *arg)
{
	static char host[] = "mx.example", nowhere[] = "nowhere.example";
	AUTO(dns_table) struct dns_table *t = dns_table_new();
	AUTO(buf) struct buf err = BUF_INIT(1000);
	struct backend_session *bs;

	dns_table_add(t, host, "A", "127.0.0.2");
	dns_table_add(t, host, "A", "127.0.0.1");
	dns_table_add(t, host, "AAAA", "::1");
	set_up(1);
	script_server_add(&server[0], S(EHLO));
	conf[0].host = host;
	CHECK(backend_group_new(&site, NULL, dns_table_dns(t), &group, &err) == 0);
	CHECK(backend_take(group, soon(), &bs) == 0);
	CHECK(strncmp(backend_address(bs->backend), "127.0.0.1:", 10) == 0);
	backend_give(bs, true);
	end(1);

	set_up(1);
	conf[0].host = nowhere;
	CHECK(backend_group_new(&site, NULL, dns_table_dns(t), &group, &err) == 0);
	CHECK(backend_take(group, soon(), &bs) == -EHOSTUNREACH);
	end(1);

	set_up(1);
	conf[0].host = nowhere;
	dns_table_add(t, nowhere, "TIMEOUT", "");
	CHECK(backend_group_new(&site, NULL, dns_table_dns(t), &group, &err) == 0);
	CHECK(backend_take(group, soon(), &bs) == -EHOSTUNREACH);
	end(1);
}

static void test_host_name(void **state)
{
	task_check_run(name_task);
}

/* A worker that waits makes the others give up their idle sessions. */
static void wanted_task(void *arg)
{
	static struct backend_shared shared;
	struct backend_session *bs;
	int64_t until = clock_ms() + 20000;

	memset(&shared, 0, sizeof(shared));
	set_up(1);
	script_server_add(&server[0], S(EHLO));
	conf[0].reuse = true;
	conf[0].max_sessions = 1;
	begin();
	backend_group_share(group, 0, &shared, 3);
	CHECK(backend_group_start(group) == 0);
	CHECK(backend_group_ready(group, 20000) == 0);
	CHECK(backend_take(group, soon(), &bs) == 0);
	backend_give(bs, true);
	CHECK(shared.inside.held[3] == 1);
	shared.wanted[0] = 1;
	while (shared.inside.held[3] > 0 && clock_ms() < until)
		task_sleep(10);
	CHECK(shared.inside.held[3] == 0);
	end(1);
}

static void test_idle_is_given_up(void **state)
{
	task_check_run(wanted_task);
}

/* --- sessions that speak for a client --- */

#define AS_CLIENT "C:PROXY TCP4 192.0.2.7 198.51.100.1 51234 25\r\n"

static struct smtp_identity client(const char *helo)
{
	struct smtp_identity who = { .helo = helo, .esmtp = true };

	CHECK(net_parse_port("192.0.2.7:51234", 0, &who.addr) == 0 && net_parse_port("198.51.100.1:25", 0, &who.local) == 0);
	return who;
}

/* The header first, the client's HELO, and nobody else gets that session; an idle one of our own makes room for it. */
static void proxy_task(void *arg)
{
	struct smtp_identity who = client("c.example");
	char refusal[SMTP_WHY_MAX];
	struct backend_session *bs;

	set_up(1);
	conf[0].proxy = PROXY_V1;
	conf[0].reuse = true;
	conf[0].max_sessions = 1;
	script_server_add(&server[0], S("C:PROXY TCP4 127.0.0.1 127.0.0.1 ", EHLO));
	script_server_add(&server[0], S(AS_CLIENT, "S:220 mx\r\n", "C:EHLO c.example\r\n", "S:250 mx\r\n", TRANSACTION));
	begin();
	CHECK(backend_take(group, soon(), &bs) == 0 && !bs->identity);
	backend_give(bs, true);
	CHECK(backend_take_for(group, &who, soon(), &bs, refusal) == 0 && bs->identity && bs->fresh && !refusal[0]);
	CHECK(smtp_client_mail(bs->client, "a@x.example", "", 0, soon()) == 0 && smtp_client_rcpt(bs->client, "b@y.example", "", soon()) == 0);
	backend_give(bs, true);
	CHECK(backend_take_for(group, &who, soon(), &bs, refusal) == 0 && bs->fresh);
	backend_give(bs, true);
	CHECK(server[0].connections == 3 && !server[0].failed[0]);
	end(1);
}

static void test_proxy(void **state)
{
	task_check_run(proxy_task);
}

/* Words against the client are his: the member is up, and no other is asked. A connection that is cut is no word, and casts doubt. */
static void refused_task(void *arg)
{
	static const struct { const char *words; int rc; } said[] = { { "554 5.7.1 go away", -EACCES }, { "421 4.7.0 too many of you", -EBUSY } };
	struct smtp_identity who = client("c.example");
	char refusal[SMTP_WHY_MAX];
	struct backend_session *bs;

	set_up(2);
	conf[0].proxy = conf[1].proxy = PROXY_V1;
	conf[1].priority = 20;
	script_server_add(&server[0], S(AS_CLIENT, "S:554 5.7.1 go away\r\n"));
	script_server_add(&server[0], S(AS_CLIENT, "S:421 4.7.0 too many of you\r\n"));
	script_server_add(&server[0], S(AS_CLIENT, "X"));
	script_server_add(&server[1], S(AS_CLIENT, "S:220 mx\r\n", "C:EHLO c.example\r\n", "S:250 mx\r\n"));
	begin();
	for (size_t i = 0; i < 2; i++) {
		CHECK(backend_take_for(group, &who, soon(), &bs, refusal) == said[i].rc);
		CHECK(strcmp(refusal, said[i].words) == 0);
		CHECK(backend_group_up(group) == 2 && server[1].connections == 0);
	}
	CHECK(backend_take_for(group, &who, soon(), &bs, refusal) == 0 && !refusal[0] && server[1].connections == 1);
	backend_give(bs, true);
	end(2);
}

static void test_refused(void **state)
{
	task_check_run(refused_task);
}

/* XCLIENT in an idle session of our own; then it is this client's. Refused words after it are his, too. */
static void xclient_task(void *arg)
{
	struct smtp_identity who = client("c.example");
	char refusal[SMTP_WHY_MAX];
	struct backend_session *bs;

	set_up(1);
	conf[0].xclient = true;
	conf[0].reuse = true;
	script_server_add(&server[0], S("S:220 mx\r\n", "C:EHLO gw.example\r\n", "S:250-mx\r\n250 XCLIENT ADDR\r\n", "C:RSET", "S:250 ok\r\n",
					"C:XCLIENT ADDR=192.0.2.7\r\n", "S:220 mx\r\n", "C:EHLO c.example\r\n", "S:250 mx\r\n", "C:MAIL", "S:250 ok\r\n"));
	script_server_add(&server[0], S("S:220 mx\r\n", "C:EHLO gw.example\r\n", "S:250-mx\r\n250 XCLIENT ADDR\r\n", "C:XCLIENT ADDR=192.0.2.7\r\n",
					"S:220 mx\r\n", "C:EHLO c.example\r\n", "S:554 5.7.1 go away\r\n", "C:HELO", "S:554 5.7.1 go away\r\n"));
	begin();
	CHECK(backend_take(group, soon(), &bs) == 0);
	backend_give(bs, true);
	CHECK(backend_take_for(group, &who, soon(), &bs, refusal) == 0 && bs->identity && !bs->fresh);
	CHECK(smtp_client_mail(bs->client, "a@x.example", "", 0, soon()) == 0);
	backend_give(bs, true);
	CHECK(backend_take_for(group, &who, soon(), &bs, refusal) == -EACCES && strcmp(refusal, "554 5.7.1 go away") == 0);
	CHECK(backend_group_up(group) == 1 && server[0].connections == 2 && !server[0].failed[0]);
	end(1);
}

static void test_xclient(void **state)
{
	task_check_run(xclient_task);
}

/*
 * Nobody listens, or the session is cut before anything was said of the client: that is no doing of his. The member is away at once, so that the spool can
 * stand in; one that is cut after it has heard of him is looked at first.
 */
static void told_and_away_task(void *arg)
{
	static const struct { bool xclient; const char *cut; size_t up; } rows[] = {
		{ false, NULL, 0 }, { true, NULL, 0 }, { false, AS_CLIENT, 1 }, { true, "S:220 mx\r\n", 0 }, { true, "C:XCLIENT", 1 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct smtp_identity who = client("c.example");
		char refusal[SMTP_WHY_MAX];
		struct backend_session *bs;

		set_up(1);
		conf[0].xclient = rows[i].xclient;
		conf[0].proxy = rows[i].xclient ? PROXY_NO : PROXY_V1;
		if (rows[i].xclient)
			script_server_add(&server[0], S(EHLO));
		else
			script_server_add(&server[0], S("C:PROXY TCP4 127.0.0.1 127.0.0.1 ", EHLO));
		if (i == 4)
			script_server_add(&server[0], S("S:220 mx\r\n", "C:EHLO gw.example\r\n", "S:250-mx\r\n250 XCLIENT ADDR\r\n", rows[i].cut, "X"));
		else if (rows[i].cut)
			script_server_add(&server[0], S(rows[i].cut, "X"));
		begin();
		CHECK(backend_take(group, soon(), &bs) == 0);
		backend_give(bs, false);
		if (!rows[i].cut)
			script_server_stop(&server[0]);
		CHECK(backend_take_for(group, &who, soon(), &bs, refusal) < 0 && !refusal[0]);
		CHECK(backend_group_up(group) == rows[i].up);
		end(1);
	}
}

static void test_told_and_away(void **state)
{
	task_check_run(told_and_away_task);
}

/* One of its addresses cuts the client's session, at the other nobody listens: that the last one refused says nothing of the first. */
static void told_at_one_task(void *arg)
{
	static char host[] = "mx.example";
	static const char *const order[][2] = { { "127.0.0.1", "127.0.0.2" }, { "127.0.0.2", "127.0.0.1" } };

	for (size_t i = 0; i < 2; i++) {
		AUTO(dns_table) struct dns_table *t = dns_table_new();
		AUTO(buf) struct buf err = BUF_INIT(1000);
		struct smtp_identity who = client("c.example");
		char refusal[SMTP_WHY_MAX];
		struct backend_session *bs;

		for (size_t k = 0; k < 2; k++)
			dns_table_add(t, host, "A", order[i][k]);
		set_up(1);
		conf[0].proxy = PROXY_V1;
		conf[0].host = host;
		script_server_add(&server[0], S("C:PROXY TCP4 127.0.0.1 127.0.0.1 ", EHLO));
		script_server_add(&server[0], S(AS_CLIENT, "X"));
		CHECK(backend_group_new(&site, NULL, dns_table_dns(t), &group, &err) == 0);
		CHECK(backend_take(group, soon(), &bs) == 0);
		backend_give(bs, false);
		CHECK(backend_take_for(group, &who, soon(), &bs, refusal) < 0 && !refusal[0]);
		CHECK(backend_group_up(group) == 1);
		end(1);
	}
}

static void test_told_at_one(void **state)
{
	task_check_run(told_at_one_task);
}

/* The group may go while a session is in use. */
static void free_task(void *arg)
{
	struct backend_session *bs;

	set_up(1);
	script_server_add(&server[0], S(EHLO, "C:NOOP", "S:250 ok\r\n"));
	begin();
	CHECK(backend_group_start(group) == 0);
	CHECK(backend_take(group, soon(), &bs) == 0);
	end(1);
	CHECK(smtp_client_noop(bs->client, soon()) == 0 || bs->client->broken);
	backend_give(bs, true);
}

static void test_free_in_use(void **state)
{
	task_check_run(free_task);
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
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_turns_and_priority),
		cmocka_unit_test(test_failover),
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_recovery),
		cmocka_unit_test(test_caps_meet),
		cmocka_unit_test(test_reuse),
		cmocka_unit_test(test_idle_expires),
		cmocka_unit_test(test_max_sessions),
		cmocka_unit_test(test_max_sessions_with_reuse),
		cmocka_unit_test(test_max_sessions_over_workers),
		cmocka_unit_test(test_full_at_start),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_trouble_in_use),
		cmocka_unit_test(test_ourselves),
		cmocka_unit_test(test_host_name),
		cmocka_unit_test(test_idle_is_given_up),
		cmocka_unit_test(test_proxy),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_xclient),
		cmocka_unit_test(test_told_and_away),
		cmocka_unit_test(test_told_at_one),
		cmocka_unit_test(test_free_in_use),
	};

	return cmocka_run_group_tests_name("backend", tests, setup, teardown);
}
