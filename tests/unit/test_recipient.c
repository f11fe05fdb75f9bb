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
#include "directory/directory_ask.h"
#include "base/log.h"
#include "base/task.h"
#include "hop/backend.h"
#include "policy/conf.h"
#include "policy/state.h"
#include "smtp/recipient.h"
#include "support/script_server.h"
#include "support/task_check.h"

#define S(...) (const char *const[]){ __VA_ARGS__, NULL }
#define EHLO "S:220 mx\r\n", "C:EHLO gw.example\r\n", "S:250 mx\r\n", "C:MAIL FROM:<>\r\n", "S:250 ok\r\n"

/* A store of a few records in memory. */
static struct state_op kept[20];
static size_t kept_count;
static int store_error;

static int store_run(struct state *s, struct state_op *ops, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct state_op *op = &ops[i], *found = NULL;

		if (store_error)
			return store_error;
		for (size_t k = 0; k < kept_count; k++)
			if (!strcmp(kept[k].space, op->space) && !strcmp(kept[k].key, op->key))
				found = &kept[k];
		if (op->verb == STATE_PUT) {
			if (!found)
				found = &kept[kept_count++];
			*found = *op;
		} else if (op->verb == STATE_DELETE) {
			op->count = (int64_t)kept_count;
			kept_count = 0;
		} else if (found) {
			op->found = 1;
			op->count = found->add;
			memcpy(op->text, found->text, sizeof(op->text));
		}
	}
	return 0;
}

static struct state store = { store_run };
static struct site site;
static struct script_server server;
static struct recipient_check *check;

static void begin(enum rcpt_verify verify)
{
	static char hostname[] = "gw.example";
	AUTO(buf) struct buf err = BUF_INIT(1000);

	memset(&site, 0, sizeof(site));
	kept_count = 0;
	store_error = 0;
	script_server_start(&server, 0);
	site.hostname = hostname;
	site.verify = verify;
	site.callout = server.addr;
	site.verify_positive_s = 1000;
	site.verify_negative_s = 100;
	site.timeouts = (struct smtp_timeouts){ .greeting_ms = 300, .helo_ms = 300, .mail_ms = 300, .rcpt_ms = 300, .quit_ms = 100,
						.data_ms = 300, .block_ms = 300, .dot_ms = 300, .budget_ms = 1000 };
	if (recipient_check_new(&site, &store, NULL, &check, &err) < 0)
		abort();
}

static void end(void)
{
	CHECK(server.failed[0] == '\0');
	recipient_check_free(check);
	script_server_release(&server);
}

/* The answer, and in text the code and text of the reply. */
static enum recipient_answer ask(const char *address, char *text, size_t size)
{
	AUTO(smtp_reply) struct smtp_reply r;
	struct smtp_mailbox m;
	enum recipient_answer a;

	smtp_reply_init(&r);
	if (smtp_mailbox_parse(address, strlen(address), MAILBOX_POSTMASTER, &m) != ADDRESS_OK)
		abort();
	a = recipient_ask(check, &m, clock_ms() + 20000, &r);
	if (text)
		snprintf(text, size, "%d %s", r.code, buf_str(&r.text));
	return a;
}

static void file_task(void *arg)
{
	char *list[] = { (char *)"@all.example", (char *)"a@x.example", (char *)"c@x.example" };
	char text[200];

	begin(VERIFY_FILE);
	site.verify_list = list;
	site.verify_list_count = 3;
	CHECK(ask("A@X.example", NULL, 0) == RECIPIENT_YES);
	CHECK(ask("anybody@all.example", NULL, 0) == RECIPIENT_YES);
	CHECK(ask("b@x.example", text, sizeof(text)) == RECIPIENT_NO);
	CHECK(strncmp(text, "550 5.1.1 ", 10) == 0);
	CHECK(ask("x.example@x.example", NULL, 0) == RECIPIENT_NO);
	CHECK(ask("PostMaster@x.example", NULL, 0) == RECIPIENT_YES);
	CHECK(ask("postmaster", NULL, 0) == RECIPIENT_YES);
	site.verify_list_count = 0;
	CHECK(ask("a@x.example", NULL, 0) == RECIPIENT_NO);
	site.verify = VERIFY_NONE;
	CHECK(ask("b@x.example", NULL, 0) == RECIPIENT_YES);
	site.verify = VERIFY_BACKEND;
	CHECK(ask("b@x.example", NULL, 0) == RECIPIENT_ASK);
	CHECK(server.connections == 0);
	end();
}

static void test_file(void **state)
{
	task_check_run(file_task);
}

static enum directory_answer directory_says;
static char directory_heard[600];

static enum directory_answer directory_ask(void *arg, const char *local, const char *domain, int64_t deadline_ms)
{
	snprintf(directory_heard, sizeof(directory_heard), "%s|%s", local, domain);
	return directory_says;
}

static void directory_task(void *arg)
{
	static const struct { enum directory_answer said; enum recipient_answer want; const char *reply; } rows[] = {
		{ DIRECTORY_KNOWN, RECIPIENT_YES, "0 " },
		{ DIRECTORY_UNKNOWN, RECIPIENT_NO, "550 5.1.1 " },
		{ DIRECTORY_KNOWN_RESTRICTED, RECIPIENT_RESTRICTED, "550 5.7.1 " },
		{ DIRECTORY_ELSEWHERE, RECIPIENT_ASK, "0 " },
		{ DIRECTORY_LATER, RECIPIENT_LATER, "451 4.3.0 " },
		{ DIRECTORY_ANSWERS, RECIPIENT_LATER, "451 4.3.0 " },
	};
	const struct directory_asker asker = { directory_ask, NULL };
	char text[200];

	begin(VERIFY_DIRECTORY);
	CHECK(ask("a@x.example", text, sizeof(text)) == RECIPIENT_LATER);       /* nobody to ask yet */
	CHECK(strncmp(text, "451 4.3.0 ", 10) == 0);
	recipient_check_directory(check, &asker);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		directory_says = rows[i].said;
		CHECK(ask("\"A b\"@X.example", text, sizeof(text)) == rows[i].want);
		CHECK(strncmp(text, rows[i].reply, strlen(rows[i].reply)) == 0);
		CHECK(strcmp(directory_heard, "A b|x.example") == 0);
		CHECK(ask("postmaster@x.example", NULL, 0) == RECIPIENT_YES);
	}
	end();
}

static void test_directory(void **state)
{
	task_check_run(directory_task);
}

static void callout_task(void *arg)
{
	char text[200];

	begin(VERIFY_CALLOUT);
	script_server_add(&server, S(EHLO, "C:RCPT TO:<no@x.example>\r\n", "S:550-5.1.1 nobody\r\n550 5.1.1 here\r\n"));
	script_server_add(&server, S(EHLO, "C:RCPT TO:<yes@x.example>\r\n", "S:250 ok\r\n"));
	script_server_add(&server, S(EHLO, "C:RCPT TO:<later@x.example>\r\n", "S:451 4.2.0 not now\r\n"));
	CHECK(ask("no@x.example", text, sizeof(text)) == RECIPIENT_NO);
	CHECK(strcmp(text, "550 5.1.1 nobody\n5.1.1 here") == 0);
	/* x.example refused somebody: it is no accept-all, and is not asked about that again */
	CHECK(ask("yes@x.example", NULL, 0) == RECIPIENT_YES);
	CHECK(ask("later@x.example", text, sizeof(text)) == RECIPIENT_LATER);
	CHECK(strcmp(text, "451 4.2.0 not now") == 0);
	CHECK(server.connections == 3);
	/* cached; case does not matter */
	CHECK(ask("YES@x.example", NULL, 0) == RECIPIENT_YES);
	CHECK(ask("no@x.example", text, sizeof(text)) == RECIPIENT_NO);
	CHECK(strcmp(text, "550 5.1.1 nobody") == 0);
	CHECK(server.connections == 3);
	CHECK(kept_count == 2 && kept[0].ttl_s == 100 && kept[1].ttl_s == 1000);
	/* postmaster is never asked about */
	CHECK(ask("postmaster@x.example", NULL, 0) == RECIPIENT_YES);
	CHECK(server.connections == 3);
	end();
}

static void test_callout(void **state)
{
	task_check_run(callout_task);
}

static void all_task(void *arg)
{
	begin(VERIFY_CALLOUT);
	script_server_add(&server, S(EHLO, "C:RCPT TO:<a@x.example>\r\n", "S:250 ok\r\n", "C:RCPT TO:<gatepost-", "S:250 ok\r\n"));
	script_server_add(&server, S(EHLO, "C:RCPT TO:<a@y.example>\r\n", "S:250 ok\r\n", "C:RCPT TO:<gatepost-", "S:550 no\r\n"));
	/* it takes everything: its word is worth nothing, and it is not asked again */
	CHECK(ask("a@x.example", NULL, 0) == RECIPIENT_ASK);
	CHECK(ask("b@x.example", NULL, 0) == RECIPIENT_ASK);
	CHECK(kept_count == 0);
	CHECK(server.connections == 1);
	/* another domain is another matter */
	CHECK(ask("a@y.example", NULL, 0) == RECIPIENT_YES);
	CHECK(server.connections == 2 && kept_count == 1);
	end();
}

static void test_accept_all(void **state)
{
	task_check_run(all_task);
}

static void odd_task(void *arg)
{
	char text[200];

	begin(VERIFY_CALLOUT);
	script_server_add(&server, S("S:554 go away\r\n"));
	CHECK(ask("a@x.example", NULL, 0) == RECIPIENT_ASK);
	CHECK(ask("a@x.example", NULL, 0) == RECIPIENT_ASK);            /* left alone for a while */
	CHECK(server.connections == 1);
	end();

	begin(VERIFY_CALLOUT);
	script_server_add(&server, S("S:220 mx\r\n", "C:EHLO", "S:250 mx\r\n", "C:MAIL", "S:550 5.7.1 no null sender\r\n"));
	CHECK(ask("a@x.example", NULL, 0) == RECIPIENT_ASK);
	end();

	begin(VERIFY_CALLOUT);                                          /* back-pressure: it says so later, and is asked again at once */
	script_server_add(&server, S("S:220 mx\r\n", "C:EHLO", "S:250 mx\r\n", "C:MAIL", "S:452 4.3.1 Insufficient system resources\r\n"));
	script_server_add(&server, S(EHLO, "C:RCPT TO:<a@x.example>\r\n", "S:550 5.1.10 no\r\n"));
	CHECK(ask("a@x.example", text, sizeof(text)) == RECIPIENT_LATER);
	CHECK(strcmp(text, "452 4.3.1 Insufficient system resources") == 0);
	CHECK(ask("a@x.example", NULL, 0) == RECIPIENT_NO);
	end();

	begin(VERIFY_CALLOUT);
	script_server_add(&server, S("S:220 mx\r\n", "C:EHLO", "S:250 mx\r\n", "C:MAIL", "S:421 4.3.2 Service not available\r\n"));
	CHECK(ask("a@x.example", NULL, 0) == RECIPIENT_ASK);
	end();

	begin(VERIFY_CALLOUT);                                          /* may not be asked: no verdict about the user */
	script_server_add(&server, S(EHLO, "C:RCPT", "S:550 5.7.1 relaying denied\r\n"));
	CHECK(ask("a@x.example", NULL, 0) == RECIPIENT_ASK);
	CHECK(kept_count == 0);
	end();

	begin(VERIFY_CALLOUT);
	script_server_add(&server, S(EHLO, "C:RCPT", "S:999 huh\r\n"));
	CHECK(ask("a@x.example", NULL, 0) == RECIPIENT_ASK);
	end();

	begin(VERIFY_CALLOUT);
	script_server_add(&server, S(EHLO, "C:RCPT", "S:421 busy\r\n"));
	CHECK(ask("a@x.example", NULL, 0) == RECIPIENT_ASK);
	end();

	begin(VERIFY_CALLOUT);
	script_server_add(&server, S(EHLO, "C:RCPT", "H"));
	CHECK(ask("a@x.example", NULL, 0) == RECIPIENT_ASK);
	end();

	begin(VERIFY_CALLOUT);                                          /* Exchange Online's way to say unknown */
	script_server_add(&server, S(EHLO, "C:RCPT", "S:550 5.4.1 Recipient address rejected: Access denied\r\n"));
	CHECK(ask("a@x.example", NULL, 0) == RECIPIENT_NO);
	end();

	begin(VERIFY_CALLOUT);                                          /* no cache: asked each time */
	store_error = -EIO;
	script_server_add(&server, S(EHLO, "C:RCPT TO:<a@x.example>\r\n", "S:550 no\r\n"));
	CHECK(ask("a@x.example", NULL, 0) == RECIPIENT_NO);
	CHECK(ask("a@x.example", NULL, 0) == RECIPIENT_NO);
	CHECK(server.connections == 2);
	end();
}

static void test_odd_source(void **state)
{
	task_check_run(odd_task);
}

static void ourselves_task(void *arg)
{
	struct listener_conf listener = { 0 };
	struct recipient_check *other = NULL;
	AUTO(buf) struct buf err = BUF_INIT(1000);

	begin(VERIFY_CALLOUT);
	listener.address = server.addr;
	site.listener = &listener;
	site.listener_count = 1;
	CHECK(recipient_check_new(&site, &store, NULL, &other, &err) == -ELOOP && err.len > 0);
	end();
}

static void test_ourselves(void **state)
{
	task_check_run(ourselves_task);
}

static void forget_task(void *arg)
{
	int64_t count = 0;

	begin(VERIFY_CALLOUT);
	script_server_add(&server, S(EHLO, "C:RCPT", "S:550 no\r\n"));
	CHECK(ask("a@x.example", NULL, 0) == RECIPIENT_NO);
	CHECK(recipient_forget(&store, &count) == 0 && count == 1);
	CHECK(ask("a@x.example", NULL, 0) == RECIPIENT_NO);
	CHECK(server.connections == 2);
	end();
}

static void test_forget(void **state)
{
	task_check_run(forget_task);
}

/* The backend's word is tested beside the mail, once. */
static void backend_task(void *arg)
{
	struct backend_conf conf = { .name = (char *)"a", .host = (char *)"127.0.0.1", .connect_timeout_ms = 300, .probe_interval_ms = 60000 };
	struct backend_group *group;
	AUTO(buf) struct buf err = BUF_INIT(1000);

	begin(VERIFY_BACKEND);
	recipient_check_free(check);
	conf.port = server.addr.port;
	site.backend = &conf;
	site.backend_count = 1;
	CHECK(backend_group_new(&site, NULL, NULL, &group, &err) == 0);
	CHECK(recipient_check_new(&site, &store, group, &check, &err) == 0);
	script_server_add(&server, S(EHLO, "C:RCPT TO:<gatepost-", "S:250 ok\r\n", "C:QUIT", "S:221 bye\r\n"));
	CHECK(ask("a@x.example", NULL, 0) == RECIPIENT_ASK);
	CHECK(ask("b@x.example", NULL, 0) == RECIPIENT_ASK);
	for (int64_t until = clock_ms() + 20000; (server.connections == 0 || server.open > 0) && clock_ms() < until;)
		task_sleep(5);
	CHECK(ask("c@x.example", NULL, 0) == RECIPIENT_ASK);
	task_sleep(20);
	CHECK(server.connections == 1);
	backend_group_free(group);
	end();
}

static void test_backend(void **state)
{
	task_check_run(backend_task);
}

/* Ever new domains (all below one of ours): the server is asked about one of them at a time, and the others wait for another occasion. */
static void many_domains_task(void *arg)
{
	struct backend_conf conf = { .name = (char *)"a", .host = (char *)"127.0.0.1", .connect_timeout_ms = 300, .probe_interval_ms = 60000 };
	struct backend_group *group;
	AUTO(buf) struct buf err = BUF_INIT(1000);
	char address[64];

	begin(VERIFY_BACKEND);
	recipient_check_free(check);
	conf.port = server.addr.port;
	site.backend = &conf;
	site.backend_count = 1;
	CHECK(backend_group_new(&site, NULL, NULL, &group, &err) == 0);
	CHECK(recipient_check_new(&site, &store, group, &check, &err) == 0);
	for (int i = 0; i < 3; i++)
		script_server_add(&server, S(EHLO, "C:RCPT TO:<gatepost-", "S:550 no\r\n", "C:QUIT", "S:221 bye\r\n"));
	for (int i = 0; i < 200; i++) {
		snprintf(address, sizeof(address), "a@d%d.x.example", i);
		CHECK(ask(address, NULL, 0) == RECIPIENT_ASK);
	}
	for (int64_t until = clock_ms() + 20000; (server.connections == 0 || server.open > 0) && clock_ms() < until;)
		task_sleep(5);
	CHECK(server.connections == 1);
	CHECK(recipient_accepts_all(check, group, "d0.x.example") == 0 && recipient_accepts_all(check, group, "d1.x.example") == -1);
	for (int64_t until = clock_ms() + 20000; recipient_accepts_all(check, group, "d1.x.example") < 0 && clock_ms() < until;)
		task_sleep(5);
	CHECK(recipient_accepts_all(check, group, "d1.x.example") == 0 && server.connections == 2);
	backend_group_free(group);
	end();
}

static void test_many_domains(void **state)
{
	task_check_run(many_domains_task);
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
		cmocka_unit_test(test_file), cmocka_unit_test(test_directory),
		cmocka_unit_test(test_callout),
		cmocka_unit_test(test_accept_all),
		cmocka_unit_test(test_odd_source),
		cmocka_unit_test(test_ourselves),
		cmocka_unit_test(test_forget),
		cmocka_unit_test(test_backend),
		cmocka_unit_test(test_many_domains),
	};

	return cmocka_run_group_tests_name("recipient", tests, setup, teardown);
}
