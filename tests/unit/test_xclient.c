/* What a release needs of the dialogue with a server: who the client was (XCLIENT), and the moment before the end of the message. */
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
#include "base/task.h"
#include "filters/message.h"
#include "hop/smtp_client.h"
#include "hop/xclient.h"
#include "policy/conf.h"
#include "support/script_server.h"

enum { ALL = XCLIENT_NAME | XCLIENT_ADDR | XCLIENT_PORT | XCLIENT_PROTO | XCLIENT_HELO | XCLIENT_LOGIN };

static char long_helo[400], long_name[700];

static const struct { const char *name, *ip, *rdns, *helo; bool esmtp; unsigned offered; const char *want; } commands[] = {
	{ "all", "192.0.2.7", "mx.good.example", "mx.good.example", true, ALL,
	  "XCLIENT NAME=mx.good.example ADDR=192.0.2.7 PROTO=ESMTP HELO=mx.good.example" },
	{ "IPv6", "2001:db8::1", "a.example", "b.example", true, ALL, "XCLIENT NAME=a.example ADDR=IPV6:2001:db8::1 PROTO=ESMTP HELO=b.example" },
	{ "HELO, not EHLO", "192.0.2.7", "a.example", "b.example", false, ALL, "XCLIENT NAME=a.example ADDR=192.0.2.7 PROTO=SMTP HELO=b.example" },
	{ "no name", "192.0.2.7", NULL, "b.example", true, ALL, "XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.7 PROTO=ESMTP HELO=b.example" },
	{ "no HELO", "192.0.2.7", "a.example", NULL, true, ALL, "XCLIENT NAME=a.example ADDR=192.0.2.7 PROTO=ESMTP HELO=[UNAVAILABLE]" },
	{ "an empty HELO", "192.0.2.7", "a.example", "", true, ALL, "XCLIENT NAME=a.example ADDR=192.0.2.7 PROTO=ESMTP HELO=[UNAVAILABLE]" },
	{ "only the address", "192.0.2.7", "a.example", "b.example", true, XCLIENT_ADDR, "XCLIENT ADDR=192.0.2.7" },
	{ "a literal as HELO", "192.0.2.7", NULL, "[192.0.2.7]", true, XCLIENT_ADDR | XCLIENT_HELO, "XCLIENT ADDR=192.0.2.7 HELO=[192.0.2.7]" },
	{ "blanks, plus, equals", "192.0.2.7", NULL, "a b+c=d", true, XCLIENT_ADDR | XCLIENT_HELO, "XCLIENT ADDR=192.0.2.7 HELO=a+20b+2Bc+3Dd" },
	{ "an attribute in the HELO", "192.0.2.7", NULL, "x ADDR=10.0.0.1", true, XCLIENT_ADDR | XCLIENT_HELO, "XCLIENT ADDR=192.0.2.7 HELO=x+20ADDR+3D10.0.0.1" },
	{ "CR LF in the HELO", "192.0.2.7", NULL, "x\r\nRSET\t\x7f", true, XCLIENT_ADDR | XCLIENT_HELO, "XCLIENT ADDR=192.0.2.7 HELO=x+0D+0ARSET+09+7F" },
	{ "8-bit HELO", "192.0.2.7", NULL, "\xe4\xbd\xa0", true, XCLIENT_ADDR | XCLIENT_HELO, "XCLIENT ADDR=192.0.2.7 HELO=+E4+BD+A0" },
	{ "CR LF in the name", "192.0.2.7", "a\r\nb", "b", true, ALL, "XCLIENT NAME=a+0D+0Ab ADDR=192.0.2.7 PROTO=ESMTP HELO=b" },
	{ "a HELO too long", "192.0.2.7", "a.example", long_helo, true, ALL, "XCLIENT NAME=a.example ADDR=192.0.2.7 PROTO=ESMTP HELO=[UNAVAILABLE]" },
	{ "a line too long by its HELO", "192.0.2.7", "a.example", long_helo + 150, true, ALL, "XCLIENT NAME=a.example ADDR=192.0.2.7 PROTO=ESMTP" },
	{ "a line too long by its name", "192.0.2.7", long_name, "b.example", true, ALL, "XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.7 PROTO=ESMTP" },
};

static void test_command(void **state)
{
	memset(long_helo, '+', sizeof(long_helo) - 1);
	memset(long_name, 'n', sizeof(long_name) - 1);
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
		struct smtp_identity who = { .name = commands[i].rdns, .helo = commands[i].helo, .esmtp = commands[i].esmtp };
		AUTO(buf) struct buf line = BUF_INIT(XCLIENT_LINE_MAX);

		assert_int_equal(net_parse(commands[i].ip, &who.addr), 0);
		assert_int_equal(xclient_command(&who, commands[i].offered, &line), 0);
		assert_true(line.len <= XCLIENT_LINE_MAX && line.len >= 2);
		assert_memory_equal(line.data + line.len - 2, "\r\n", 2);
		line.data[line.len - 2] = '\0';
		if (strcmp(line.data, commands[i].want) != 0)
			fail_msg("%s: %s", commands[i].name, line.data);
	}
}

static void test_port(void **state)
{
	struct smtp_identity who = { .helo = "x" };
	AUTO(buf) struct buf line = BUF_INIT(XCLIENT_LINE_MAX);

	assert_int_equal(net_parse("192.0.2.7", &who.addr), 0);
	who.addr.port = 4711;
	assert_int_equal(xclient_command(&who, XCLIENT_ADDR | XCLIENT_PORT, &line), 0);
	assert_string_equal(buf_str(&line), "XCLIENT ADDR=192.0.2.7 PORT=4711\r\n");
}

static void test_login(void **state)
{
	static const struct { const char *login, *name, *helo; unsigned offered; const char *want; } logins[] = {
		{ "bob@example.com", NULL, "x", XCLIENT_ADDR | XCLIENT_LOGIN, "XCLIENT ADDR=192.0.2.7 LOGIN=bob@example.com\r\n" },
		{ "a b+c\r\nRSET", NULL, "x", XCLIENT_ADDR | XCLIENT_LOGIN, "XCLIENT ADDR=192.0.2.7 LOGIN=a+20b+2Bc+0D+0ARSET\r\n" },
		{ "bob", NULL, "x", XCLIENT_ADDR, "XCLIENT ADDR=192.0.2.7\r\n" },
		{ NULL, NULL, "x", XCLIENT_ADDR | XCLIENT_LOGIN, "XCLIENT ADDR=192.0.2.7\r\n" },
		{ "bob", long_name, "x", ALL & ~XCLIENT_PROTO, "XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.7 LOGIN=bob\r\n" },
		{ long_name, NULL, "x", XCLIENT_ADDR | XCLIENT_LOGIN, "XCLIENT ADDR=192.0.2.7\r\n" },
	};

	memset(long_name, 'n', sizeof(long_name) - 1);
	for (size_t i = 0; i < sizeof(logins) / sizeof(*logins); i++) {
		struct smtp_identity who = { .login = logins[i].login, .name = logins[i].name, .helo = logins[i].helo };
		AUTO(buf) struct buf line = BUF_INIT(XCLIENT_LINE_MAX);

		assert_int_equal(net_parse("192.0.2.7", &who.addr), 0);
		assert_int_equal(xclient_command(&who, logins[i].offered, &line), 0);
		assert_string_equal(buf_str(&line), logins[i].want);
	}
}

static void test_offered(void **state)
{
	static const struct { const char *words; unsigned want; } rows[] = {
		{ "", 0 }, { " ", 0 }, { "   ", 0 }, { " NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT", ALL },
		{ " ADDR", XCLIENT_ADDR }, { " addr  Helo ", XCLIENT_ADDR | XCLIENT_HELO }, { " ADDRESS", 0 }, { " XADDR", 0 }, { " NAME=ADDR", 0 },
		{ " ADDR,HELO", 0 }, { "ADDR", XCLIENT_ADDR }, { "\tADDR", 0 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		/* A copy of exactly that length: nothing behind it is looked at. */
		size_t n = strlen(rows[i].words);
		char *p = malloc(n ? n : 1);

		memcpy(p, rows[i].words, n);
		if (xclient_offered(p, p + n) != rows[i].want)
			fail_msg("\"%s\"", rows[i].words);
		free(p);
	}
	assert_false(xclient_helo_ok(NULL));
	assert_false(xclient_helo_ok(""));
	assert_false(xclient_helo_ok("a b"));
	assert_false(xclient_helo_ok("a\r\nRSET"));
	assert_false(xclient_helo_ok("\xe4"));
	assert_false(xclient_helo_ok(long_helo));
	assert_true(xclient_helo_ok("[192.0.2.7]"));
}

/* --- the dialogue --- */

static const struct smtp_timeouts timeouts = {
	.greeting_ms = 1000, .helo_ms = 1000, .mail_ms = 1000, .rcpt_ms = 1000, .data_ms = 1000, .block_ms = 1000, .dot_ms = 1000, .quit_ms = 100,
};
static const struct smtp_client_conf conf = { .hostname = "gw.example", .tls = TLS_OFF, .connect_timeout_ms = 2000, .timeouts = &timeouts };

struct job {
	const char *const *script;
	const char *helo;
	struct script_server server;
	int rc, code;
	bool broken, closing, eightbit;
	/* before the end */
	const char *text;
	int hook_rc;
	size_t hook_calls, received;
	enum smtp_outcome outcome;
};

#define S(...) (const char *const[]){ __VA_ARGS__, NULL }
#define HELLO "S:220 mx\r\n", "C:EHLO gw.example\r\n", "S:250-mx\r\n250-8BITMIME\r\n250 XCLIENT NAME ADDR PROTO HELO\r\n"
#define XCLIENT HELLO, "C:XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.7 PROTO=ESMTP HELO=c.example\r\n"

static void xclient_task(void *arg)
{
	struct job *j = arg;
	AUTO(smtp_client) struct smtp_client *c = NULL;
	struct smtp_identity who = { .helo = j->helo ? j->helo : "c.example", .esmtp = true };
	char why[SMTP_WHY_MAX];

	script_server_start(&j->server, 0);
	script_server_add(&j->server, j->script);
	assert_int_equal(net_parse("192.0.2.7", &who.addr), 0);
	assert_int_equal(smtp_client_open(&conf, &j->server.addr, NULL, clock_ms() + 30000, &c, why), 0);
	j->rc = smtp_client_xclient(c, &who, clock_ms() + 30000);
	j->code = c->reply.code;
	j->eightbit = c->caps.eightbit;
	if (j->rc == 0 || j->rc == -EACCES || j->rc == -EOPNOTSUPP) {
		assert_false(c->broken);
		assert_int_equal(smtp_client_mail(c, "a@x.example", "BODY=8BITMIME", 0, clock_ms() + 30000), 0);
	}
	j->broken = c->broken;
	j->closing = c->closing;
	script_server_stop(&j->server);
}

static const struct { const char *name, *helo; const char *const *script; int rc, code; bool broken; } dialogues[] = {
	{ "taken", NULL, S(XCLIENT, "S:220 mx\r\n", "C:EHLO c.example\r\n", "S:250-mx\r\n250 8BITMIME\r\n", "C:MAIL FROM:<a@x.example> BODY=8BITMIME\r\n",
			   "S:250 ok\r\n"), 0, 250, false },
	{ "what it offers now counts", NULL, S(XCLIENT, "S:220 mx\r\n", "C:EHLO c.example\r\n", "S:250 mx\r\n", "C:MAIL FROM:<a@x.example>\r\n", "S:250 ok\r\n"),
	  0, 250, false },
	{ "EHLO is not known to it", NULL, S(XCLIENT, "S:220 mx\r\n", "C:EHLO c.example\r\n", "S:500 what\r\n", "C:HELO c.example\r\n", "S:250 mx\r\n",
					     "C:MAIL", "S:250 ok\r\n"), 0, 250, false },
	{ "a HELO that is no word is not greeted with", "a b", S(HELLO, "C:XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.7 PROTO=ESMTP HELO=a+20b\r\n", "S:220 mx\r\n",
								 "C:EHLO gw.example\r\n", "S:250 mx\r\n", "C:MAIL", "S:250 ok\r\n"), 0, 250, false },
	{ "not offered", NULL, S("S:220 mx\r\n", "C:EHLO", "S:250-mx\r\n250 8BITMIME\r\n", "C:MAIL", "S:250 ok\r\n"), -EOPNOTSUPP, 250, false },
	{ "offered without ADDR", NULL, S("S:220 mx\r\n", "C:EHLO", "S:250-mx\r\n250 XCLIENT NAME HELO\r\n", "C:MAIL", "S:250 ok\r\n"), -EOPNOTSUPP, 250, false },
	{ "refused", NULL, S(XCLIENT, "S:550 5.7.0 insufficient authorization\r\n", "C:MAIL", "S:250 ok\r\n"), -EACCES, 550, false },
	{ "bad syntax", NULL, S(XCLIENT, "S:501 5.5.4 bad\r\n", "C:MAIL", "S:250 ok\r\n"), -EACCES, 501, false },
	{ "354", NULL, S(XCLIENT, "S:354 go\r\n", "H"), -EPROTO, 0, true },
	{ "two replies", NULL, S(XCLIENT, "S:220 mx\r\n250 mx\r\n", "H"), -EPROTO, 0, true },
	{ "silence", NULL, S(XCLIENT, "H"), -ETIMEDOUT, 0, true },
	{ "closed", NULL, S(XCLIENT, "X"), -EPIPE, 0, true },
	{ "the client is not greeted", NULL, S(XCLIENT, "S:220 mx\r\n", "C:EHLO", "S:554 go away\r\n", "C:HELO", "S:554 go away\r\n"), -ECONNREFUSED, 554, true },
	{ "greeted with 421", NULL, S(XCLIENT, "S:220 mx\r\n", "C:EHLO", "S:421 later\r\n"), -EBUSY, 421, true },
};

static void test_dialogue(void **state)
{
	for (size_t i = 0; i < sizeof(dialogues) / sizeof(*dialogues); i++) {
		struct job j = { .script = dialogues[i].script, .helo = dialogues[i].helo };

		script_run(xclient_task, &j);
		if (j.rc != dialogues[i].rc || (dialogues[i].code && j.code != dialogues[i].code) || j.broken != dialogues[i].broken ||
		    j.server.failed[0])
			fail_msg("%s: rc %d code %d broken %d server \"%s\"", dialogues[i].name, j.rc, j.code, j.broken, j.server.failed);
		assert_int_equal(j.closing, j.code == 421);
		script_server_release(&j.server);
	}
}

/* --- before the end --- */

static int before_end(void *arg)
{
	struct job *j = arg;

	j->hook_calls++;
	return j->hook_rc;
}

static void end_task(void *arg)
{
	static const struct message_limits lim = { .memory_bytes = 1 << 20, .header_bytes = 65536, .header_fields = 1000 };
	struct job *j = arg;
	AUTO(smtp_client) struct smtp_client *c = NULL;
	AUTO(message) struct message *m = message_new(&lim, NULL, NULL);
	struct smtp_content content = { .message = m, .before_end = before_end, .arg = j };
	int64_t until = clock_ms() + 30000;
	char why[SMTP_WHY_MAX];

	assert_int_equal(message_add(m, j->text, strlen(j->text)), 0);
	message_end(m);
	script_server_start(&j->server, 0);
	script_server_add(&j->server, j->script);
	assert_int_equal(smtp_client_open(&conf, &j->server.addr, NULL, until, &c, why), 0);
	assert_int_equal(smtp_client_mail(c, "a@x.example", "", 0, until), 0);
	assert_int_equal(smtp_client_rcpt(c, "b@y.example", "", until), 0);
	j->rc = smtp_client_data(c, &content, until, &j->outcome);
	j->broken = c->broken;
	smtp_client_free(c);
	c = NULL;
	task_sleep(50);                 /* the server takes what was sent */
	script_server_stop(&j->server);
}

#define ENVELOPE "S:220 mx\r\n", "C:EHLO", "S:250-mx\r\n250 CHUNKING\r\n", "C:MAIL", "S:250 ok\r\n", "C:RCPT", "S:250 ok\r\n"

static const struct { const char *name, *text; const char *const *script; int hook_rc, rc; size_t calls; enum smtp_outcome outcome; const char *received; } ends[] = {
	{ "goes on", "A: b\r\n\r\nc\r\n", S(ENVELOPE, "C:DATA", "S:354 go\r\n", "D", "S:250 ok\r\n"), 0, 0, 1, OUTCOME_ANSWERED, "A: b\r\n\r\nc\r\n.\r\n" },
	{ "the last line has no end", "A: b\r\n\r\nc", S(ENVELOPE, "C:DATA", "S:354 go\r\n", "D", "S:250 ok\r\n"), 0, 0, 1, OUTCOME_ANSWERED, "A: b\r\n\r\nc\r\n.\r\n" },
	{ "broken off", "A: b\r\n\r\nc\r\n", S(ENVELOPE, "C:DATA", "S:354 go\r\n", "B:11", "H"), -EIO, -EIO, 1, OUTCOME_REFUSED, "A: b\r\n\r\nc\r\n" },
	{ "no reply", "A: b\r\n\r\nc\r\n", S(ENVELOPE, "C:DATA", "S:354 go\r\n", "D", "X"), 0, -EPIPE, 1, OUTCOME_UNKNOWN, "A: b\r\n\r\nc\r\n.\r\n" },
	{ "refused at DATA", "A: b\r\n\r\nc\r\n", S(ENVELOPE, "C:DATA", "S:554 no\r\n"), 0, 0, 0, OUTCOME_REFUSED, "" },
	{ "BDAT", "A: b\r\n\r\nc\nd", S(ENVELOPE, "C:BDAT 11 LAST\r\n", "B:11", "S:250 ok\r\n"), 0, 0, 1, OUTCOME_ANSWERED, "A: b\r\n\r\nc\nd" },
	{ "BDAT, broken off", "A: b\r\n\r\nc\nd", S(ENVELOPE, "C:BDAT 11 LAST\r\n", "B:10", "H"), -EIO, -EIO, 1, OUTCOME_REFUSED, "A: b\r\n\r\nc\n" },
	{ "BDAT, no reply", "A: b\r\n\r\nc\nd", S(ENVELOPE, "C:BDAT 11 LAST\r\n", "B:11", "X"), 0, -EPIPE, 1, OUTCOME_UNKNOWN, "A: b\r\n\r\nc\nd" },
	{ "BDAT of one octet", "\n", S(ENVELOPE, "C:BDAT 1 LAST\r\n", "B:1", "S:250 ok\r\n"), 0, 0, 1, OUTCOME_ANSWERED, "\n" },
	{ "BDAT of one octet, broken off", "\n", S(ENVELOPE, "C:BDAT 1 LAST\r\n", "H"), -EIO, -EIO, 1, OUTCOME_REFUSED, "" },
};

static void test_before_end(void **state)
{
	for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++) {
		struct job j = { .script = ends[i].script, .text = ends[i].text, .hook_rc = ends[i].hook_rc };

		script_run(end_task, &j);
		if (j.rc != ends[i].rc || j.outcome != ends[i].outcome || j.hook_calls != ends[i].calls || j.broken != (ends[i].rc < 0) ||
		    strcmp(buf_str(&j.server.received), ends[i].received) != 0 || j.server.failed[0])
			fail_msg("%s: rc %d outcome %d calls %zu received \"%s\" server \"%s\"", ends[i].name, j.rc, (int)j.outcome, j.hook_calls,
				 buf_str(&j.server.received), j.server.failed);
		script_server_release(&j.server);
	}
}

static int setup(void **state)
{
	signal(SIGPIPE, SIG_IGN);
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
		cmocka_unit_test(test_command),
		cmocka_unit_test(test_port),
		cmocka_unit_test(test_login),
		cmocka_unit_test(test_offered),
		cmocka_unit_test(test_dialogue),
		cmocka_unit_test(test_before_end),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
