/* The session of a user: transactions one after the other, what loses it, what keeps it awake, and that the server is not blamed. */
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
#include "base/sasl.h"
#include "base/task.h"
#include "hop/auth_hop.h"
#include "hop/backend.h"
#include "policy/conf.h"
#include "support/script_server.h"
#include "support/task_check.h"

#define S(...) (const char *const[]){ __VA_ARGS__, NULL }
#define EHLO "S:220 mx\r\n", "C:EHLO gw.example\r\n", "S:250-mx\r\n250 AUTH PLAIN\r\n"
#define LOGIN EHLO, "C:AUTH PLAIN AGEAYg==\r\n", "S:235 2.7.0 ok\r\n"
#define MAIL "C:MAIL FROM:<a@x.example>\r\n", "S:250 ok\r\n"

static struct site site;
static struct backend_conf conf;
static struct script_server server;
static struct backend_group *group;
static struct smtp_login *login;
static struct next_hop *hop;

static int64_t soon(void)
{
	return clock_ms() + 3000;
}

/* A user who has logged in at a server that follows the script. */
static void begin(const char *const *script)
{
	static char host[] = "127.0.0.1", hostname[] = "gw.example", name[] = "main";
	AUTO(buf) struct buf err = BUF_INIT(1000), challenge = BUF_INIT(SASL_LINE_MAX);
	struct backend_session *bs;
	char refusal[SMTP_WHY_MAX];

	script_server_start(&server, 0);
	script_server_add(&server, script);
	conf = (struct backend_conf){ .name = name, .host = host, .port = server.addr.port, .connect_timeout_ms = 300,
				      .probe_interval_ms = 60000, .max_sessions_wait_ms = 300, .reuse = true, .reuse_idle_ms = 30000,
				      .reuse_max = 100 };
	site = (struct site){ .hostname = hostname, .backend = &conf, .backend_count = 1 };
	site.timeouts = (struct smtp_timeouts){ .greeting_ms = 2000, .helo_ms = 2000, .mail_ms = 2000, .rcpt_ms = 2000, .data_ms = 300,
						.block_ms = 2000, .dot_ms = 2000, .quit_ms = 200, .budget_ms = 3000 };
	if (backend_group_new(&site, NULL, NULL, &group, &err) != 0 || backend_take_new(group, NULL, soon(), &bs, refusal) != 0)
		abort();
	CHECK(bs->client->caps.auth == SASL_PLAIN);
	CHECK(smtp_client_auth(bs->client, "AUTH PLAIN AGEAYg==", 19, &challenge, soon()) == 0 && bs->client->reply.code == 235);
	login = smtp_login_new(bs);
	hop = auth_hop_new(login);
}

static void end(void)
{
	next_hop_free(hop);
	smtp_login_free(login);
	CHECK(backend_group_up(group) == 1);            /* whatever became of this session */
	backend_group_free(group);
	task_sleep(50);                                 /* QUIT is said in a task of its own */
	CHECK(strcmp(server.failed, "") == 0);
	script_server_release(&server);
}

static bool mail(int code)
{
	return smtp_client_mail(hop->client, "a@x.example", "", 0, soon()) == 0 && hop->client->reply.code == code;
}

static void several_task(void *arg)
{
	begin(S(LOGIN, MAIL, "C:RSET\r\n", "S:250 ok\r\n", MAIL, "C:QUIT\r\n", "S:221 bye\r\n"));
	CHECK(smtp_login_alive(login));
	CHECK(next_hop_take(hop, soon()) == 0 && hop->own && strcmp(hop->name, "main") == 0);
	CHECK(mail(250));
	next_hop_give(hop, true);
	CHECK(smtp_login_alive(login) && !hop->client);
	CHECK(next_hop_take(hop, soon()) == 0);         /* RSET: what was begun is forgotten */
	CHECK(mail(250));
	next_hop_give(hop, true);
	CHECK(server.connections == 1);
	end();
}

static void lost(void)
{
	CHECK(next_hop_take(hop, soon()) == -EHOSTUNREACH);
	CHECK(strncmp(hop->refusal, "451 4.4.2 ", 10) == 0);
	CHECK(!smtp_login_alive(login) && !login->session);
	CHECK(next_hop_take(hop, soon()) == -EHOSTUNREACH);     /* it stays lost */
	CHECK(server.connections == 1);
}

static void closed_task(void *arg)
{
	begin(S(LOGIN, "X"));
	task_sleep(50);
	lost();
	end();
}

static void unasked_task(void *arg)
{
	begin(S(LOGIN, "W:20", "S:421 4.4.2 idle for too long\r\n", "H"));
	task_sleep(100);
	lost();
	end();
}

static void rset_refused_task(void *arg)
{
	begin(S(LOGIN, MAIL, "C:RSET\r\n", "S:421 4.3.2 going down\r\n"));
	CHECK(next_hop_take(hop, soon()) == 0 && mail(250));
	next_hop_give(hop, true);
	lost();
	end();
}

static void said_421_task(void *arg)
{
	begin(S(LOGIN, "C:MAIL", "S:421 4.7.0 enough of you\r\n"));
	CHECK(next_hop_take(hop, soon()) == 0 && mail(421));
	next_hop_give(hop, true);
	lost();
	end();
}

static void unclean_task(void *arg)
{
	begin(S(LOGIN, MAIL));
	CHECK(next_hop_take(hop, soon()) == 0 && mail(250));
	next_hop_give(hop, false);
	lost();
	end();
}

/* A dialogue in which nobody says anything any more: the server is not away for that. */
static void silent_task(void *arg)
{
	AUTO(buf) struct buf challenge = BUF_INIT(SASL_LINE_MAX);

	begin(S(LOGIN, "H"));
	CHECK(smtp_client_auth(login->session->client, "eA==", 4, &challenge, soon()) == -ETIMEDOUT);
	lost();
	end();
}

static void stir_task(void *arg)
{
	begin(S(LOGIN, "C:NOOP\r\n", "S:250 ok\r\n", MAIL));
	smtp_login_stir(login, soon());                 /* too soon */
	login->said_ms -= 31000;
	smtp_login_stir(login, soon());
	smtp_login_stir(login, soon());
	CHECK(smtp_login_alive(login));
	CHECK(next_hop_take(hop, soon()) == 0 && mail(250));
	end();
}

static void stir_lost_task(void *arg)
{
	begin(S(LOGIN, "C:NOOP\r\n", "X"));
	login->said_ms -= 31000;
	smtp_login_stir(login, soon());
	CHECK(!smtp_login_alive(login));
	smtp_login_stir(login, soon());
	end();
}

#define TEST(x)                                                                                            \
	static void test_##x(void **state)                                                                 \
	{                                                                                                  \
		task_check_run(x##_task);                                                                             \
	}
TEST(several)
TEST(closed)
TEST(unasked)
TEST(rset_refused)
TEST(said_421)
TEST(unclean)
TEST(silent)
TEST(stir)
TEST(stir_lost)

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
		cmocka_unit_test(test_several), cmocka_unit_test(test_closed), cmocka_unit_test(test_unasked), cmocka_unit_test(test_rset_refused),
		cmocka_unit_test(test_said_421), cmocka_unit_test(test_unclean), cmocka_unit_test(test_silent), cmocka_unit_test(test_stir),
		cmocka_unit_test(test_stir_lost),
	};

	return cmocka_run_group_tests_name("auth_hop", tests, setup, teardown);
}
