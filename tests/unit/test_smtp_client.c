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
#include "base/sasl.h"
#include "base/task.h"
#include "filters/message.h"
#include "hop/smtp_client.h"
#include "policy/conf.h"
#include "support/script_server.h"

static const struct smtp_timeouts timeouts = {
	.greeting_ms = 30000, .helo_ms = 30000, .mail_ms = 30000, .rcpt_ms = 30000, .data_ms = 30000, .block_ms = 30000, .dot_ms = 30000, .quit_ms = 500,
};

static const struct smtp_timeouts hasty = {
	.greeting_ms = 150, .helo_ms = 150, .mail_ms = 150, .rcpt_ms = 150, .data_ms = 150, .block_ms = 150, .dot_ms = 150, .quit_ms = 100,
};

static const struct smtp_client_conf plain = { .hostname = "gw.example", .tls = TLS_OFF, .connect_timeout_ms = 20000, .timeouts = &timeouts };
static const struct smtp_client_conf plain_hasty = { .hostname = "gw.example", .tls = TLS_OFF, .connect_timeout_ms = 20000, .timeouts = &hasty };

static struct message *message(const char *text, size_t len)
{
	static const struct message_limits lim = { .memory_bytes = 64u << 20, .header_bytes = 65536, .header_fields = 1000 };
	struct message *m = message_new(&lim, NULL, NULL);

	assert_non_null(m);
	assert_int_equal(message_add(m, text, len), 0);
	message_end(m);
	return m;
}

/* What a whole dialogue came to. */
struct result {
	const char *stage;              /* where it ended: open mail rcpt data */
	int rc;
	int code;
	enum smtp_outcome outcome;
	int handshake;
	bool broken, closing;
	char why[SMTP_WHY_MAX];
	struct smtp_caps caps;
};

struct job {
	const char *const *script;
	const struct smtp_client_conf *conf;
	const char *params, *text;
	const struct smtp_edit *edit;
	size_t edit_count;
	struct script_server server;
	struct result r;
};

static void dialogue(struct job *j)
{
	AUTO(smtp_client) struct smtp_client *c = NULL;
	AUTO(message) struct message *m = message(j->text, strlen(j->text));
	struct smtp_content content = { .message = m, .edit = j->edit, .edit_count = j->edit_count };
	struct result *r = &j->r;
	int64_t deadline = clock_ms() + 60000;

	r->stage = "open";
	r->rc = smtp_client_open(j->conf, &j->server.addr, NULL, deadline, &c, r->why);
	if (r->rc < 0)
		return;
	r->caps = c->caps;
	r->stage = "mail";
	r->rc = smtp_client_mail(c, "a@x.example", j->params, smtp_content_size(&content), deadline);
	if (r->rc == 0 && c->reply.code == 250) {
		r->stage = "rcpt";
		r->rc = smtp_client_rcpt(c, "b@y.example", "NOTIFY=NEVER", deadline);
	}
	if (r->rc == 0 && c->reply.code == 250) {
		r->stage = "data";
		r->rc = smtp_client_data(c, &content, deadline, &r->outcome);
	}
	r->code = c->reply.code;
	r->broken = c->broken;
	r->closing = c->closing;
	memcpy(r->why, c->why, sizeof(r->why));
	assert_true(r->rc == 0 || c->broken || r->rc == -ENOTSUP || r->rc == -EINVAL);
	if (r->broken)
		assert_true(c->why[0] && c->error == r->rc);
}

static void job_task(void *arg)
{
	struct job *j = arg;

	script_server_start(&j->server, 0);
	script_server_add(&j->server, j->script);
	dialogue(j);
	script_server_stop(&j->server);
}

static void play(struct job *j)
{
	if (!j->conf)
		j->conf = &plain;
	if (!j->params)
		j->params = "";
	if (!j->text)
		j->text = "Subject: x\r\n\r\n.hidden\r\nbody\r\n";
	memset(&j->r, 0, sizeof(j->r));
	script_run(job_task, j);
}

#define HELLO "S:220 mx\r\n", "C:EHLO gw.example\r\n", "S:250 mx\r\n"
#define ENVELOPE HELLO, "C:MAIL FROM:<a@x.example>\r\n", "S:250 ok\r\n", "C:RCPT TO:<b@y.example>\r\n", "S:250 ok\r\n"
#define DATA_DONE ENVELOPE, "C:DATA\r\n", "S:354 go\r\n", "D"
#define S(...) (const char *const[]){ __VA_ARGS__, NULL }

static void test_whole(void **state)
{
	struct job j = {
		.script = S("S:220-mx\r\n220 hello\r\n", "C:EHLO gw.example\r\n",
			    "S:250-mx\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250-X-EXPS GSSAPI\r\n250-AUTH PLAIN\r\n250 DSN\r\n",
			    "C:MAIL FROM:<a@x.example> BODY=8BITMIME RET=HDRS SIZE=43\r\n", "S:250 ok\r\n",
			    "C:RCPT TO:<b@y.example> NOTIFY=NEVER\r\n", "S:250 ok\r\n", "C:DATA\r\n", "S:354 go\r\n", "D", "S:250 2.0.0 queued\r\n"),
		.params = "BODY=8BITMIME RET=HDRS",
		.edit = &(struct smtp_edit){ 0, 0, "Received: by gw\r\n", 17 },
		.edit_count = 1,
	};

	j.text = "Subject: x\r\n\r\n.dot\r\nbody\r\n";
	play(&j);
	assert_string_equal(j.server.failed, "");
	assert_int_equal(j.r.rc, 0);
	assert_int_equal(j.r.outcome, OUTCOME_ANSWERED);
	assert_int_equal(j.r.code, 250);
	assert_true(j.r.caps.size && j.r.caps.size_max == 1000 && j.r.caps.eightbit && j.r.caps.dsn && !j.r.caps.chunking);
	assert_string_equal(buf_str(&j.server.received), "Received: by gw\r\nSubject: x\r\n\r\n..dot\r\nbody\r\n.\r\n");
	script_server_release(&j.server);
}

/* Lines are added on top, a forged one is left out, one is changed. */
static void test_edits(void **state)
{
	static const struct smtp_edit edits[] = { { 0, 0, "A: 1\r\n", 6 }, { 6, 6, NULL, 0 }, { 18, 0, "[EXT] ", 6 } };
	struct job j = {
		.script = S(DATA_DONE, "S:250 ok\r\n"), .edit = edits, .edit_count = 3,
		.text = "B: 2\r\nC: 3\r\nS: x y\r\n\r\nz",
	};

	/* B at 0..6, C at 6..12, S at 12..20 */
	play(&j);
	assert_string_equal(j.server.failed, "");
	assert_string_equal(buf_str(&j.server.received), "A: 1\r\nB: 2\r\nS: x y[EXT] \r\n\r\nz\r\n.\r\n");
	script_server_release(&j.server);
}

static void test_params_not_offered(void **state)
{
	struct job j = { .script = S(DATA_DONE, "S:250 ok\r\n"), .params = "BODY=8BITMIME RET=FULL ENVID=x" };

	play(&j);
	assert_string_equal(j.server.failed, "");
	assert_int_equal(j.r.outcome, OUTCOME_ANSWERED);
	script_server_release(&j.server);

	j = (struct job){ .script = S(HELLO, "H"), .params = "SMTPUTF8" };
	play(&j);
	assert_int_equal(j.r.rc, -ENOTSUP);
	assert_false(j.r.broken);
	script_server_release(&j.server);
}

static void test_helo_fallback(void **state)
{
	struct job j = { .script = S("S:220 mx\r\n", "C:EHLO", "S:502 what?\r\n", "C:HELO gw.example\r\n", "S:250 mx\r\n",
				     "C:MAIL FROM:<a@x.example>\r\n", "S:250 ok\r\n", "C:RCPT", "S:250 ok\r\n", "C:DATA", "S:354 go\r\n", "D", "S:250 ok\r\n") };

	play(&j);
	assert_string_equal(j.server.failed, "");
	assert_int_equal(j.r.outcome, OUTCOME_ANSWERED);
	assert_false(j.r.caps.esmtp);
	script_server_release(&j.server);
}

static char long_line[5000], many_lines[20 * 200];

/* What each strange backend comes to. */
static const struct { const char *name, *stage; const char *const *script; int rc; enum smtp_outcome outcome; int code; bool hasty; } odd[] = {
	/* well-formed: data */
	{ "greeting 554", "open", S("S:554 no\r\n"), -ECONNREFUSED, 0, 0, 0 },
	{ "greeting 421", "open", S("S:421 busy\r\n"), -EBUSY, 0, 0, 0 },
	{ "EHLO 421", "open", S("S:220 mx\r\n", "C:EHLO", "S:421 busy\r\n"), -EBUSY, 0, 0, 0 },
	{ "EHLO and HELO refused", "open", S("S:220 mx\r\n", "C:EHLO", "S:500 no\r\n", "C:HELO", "S:550 no\r\n"), -ECONNREFUSED, 0, 0, 0 },
	{ "MAIL 550", "mail", S(HELLO, "C:MAIL", "S:550 5.7.1 no\r\n"), 0, OUTCOME_REFUSED, 550, 0 },
	{ "RCPT 550", "rcpt", S(HELLO, "C:MAIL", "S:250 ok\r\n", "C:RCPT", "S:550-5.1.1 no\r\n550 5.1.1 such\r\n"), 0, OUTCOME_REFUSED, 550, 0 },
	{ "DATA 451", "data", S(ENVELOPE, "C:DATA", "S:451 later\r\n"), 0, OUTCOME_REFUSED, 451, 0 },
	{ "DATA 421", "data", S(ENVELOPE, "C:DATA", "S:421 later\r\n"), 0, OUTCOME_REFUSED, 421, 0 },
	{ "dot 250", "data", S(DATA_DONE, "S:250 ok\r\n"), 0, OUTCOME_ANSWERED, 250, 0 },
	{ "dot 250 without text", "data", S(DATA_DONE, "S:250\r\n"), 0, OUTCOME_ANSWERED, 250, 0 },
	{ "dot 452", "data", S(DATA_DONE, "S:452 full\r\n"), 0, OUTCOME_ANSWERED, 452, 0 },
	{ "dot 554", "data", S(DATA_DONE, "S:554-a\r\n554 b\r\n"), 0, OUTCOME_ANSWERED, 554, 0 },
	{ "dot 250 in pieces", "data", S(DATA_DONE, "S:25", "W:10", "S:0 2.0", "W:10", "S:.0 ok\r", "W:10", "S:\n"), 0, OUTCOME_ANSWERED, 250, 0 },
	{ "dot 550, a line of 4,000", "data", S(DATA_DONE, long_line), 0, OUTCOME_ANSWERED, 550, 0 },
	/* malformed: the session ends */
	{ "greeting of HTTP", "open", S("S:HTTP/1.1 400 Bad Request\r\n"), -EPROTO, 0, 0, 0 },
	{ "greeting 250", "open", S("S:250 mx\r\n"), -EPROTO, 0, 0, 0 },
	{ "greeting twice", "open", S("S:220 mx\r\n220 mx\r\n", "H"), -EPROTO, 0, 0, 0 },
	{ "greeting with a bare LF", "open", S("S:220 mx\n", "H"), -EPROTO, 0, 0, 0 },
	{ "greeting and EHLO's reply at once", "open", S("S:220 mx\r\n250 mx\r\n", "H"), -EPROTO, 0, 0, 0 },
	{ "silence instead of a greeting", "open", S("H"), -ETIMEDOUT, 0, 0, 1 },
	{ "closed at once", "open", S("X"), -EPIPE, 0, 0, 0 },
	{ "EHLO: codes differ", "open", S("S:220 mx\r\n", "C:EHLO", "S:250-mx\r\n550 no\r\n", "H"), -EPROTO, 0, 0, 0 },
	{ "EHLO: 354", "open", S("S:220 mx\r\n", "C:EHLO", "S:354 go\r\n", "H"), -EPROTO, 0, 0, 0 },
	{ "EHLO: endless lines", "open", S("S:220 mx\r\n", "C:EHLO", many_lines, "H"), -EPROTO, 0, 0, 0 },
	{ "EHLO: a second reply", "open", S("S:220 mx\r\n", "C:EHLO", "S:250 mx\r\n250 injected\r\n", "H"), -EPROTO, 0, 0, 0 },
	{ "MAIL: 354", "mail", S(HELLO, "C:MAIL", "S:354 go\r\n", "H"), -EPROTO, 0, 0, 0 },
	{ "MAIL: 999", "mail", S(HELLO, "C:MAIL", "S:999 huh\r\n", "H"), -EPROTO, 0, 0, 0 },
	{ "MAIL: two replies", "mail", S(HELLO, "C:MAIL", "S:250 ok\r\n250 ok\r\n", "H"), -EPROTO, 0, 0, 0 },
	{ "MAIL: a second reply in a piece of its own", "mail", S(HELLO, "C:MAIL", "S:250 ok\r\n", "S:250 ok\r\n", "H"), -EPROTO, 0, 0, 0 },
	{ "MAIL: silence", "mail", S(HELLO, "C:MAIL", "H"), -ETIMEDOUT, 0, 0, 1 },
	{ "RCPT: closed", "rcpt", S(HELLO, "C:MAIL", "S:250 ok\r\n", "C:RCPT", "X"), -EPIPE, 0, 0, 0 },
	{ "RCPT: cut off", "rcpt", S(HELLO, "C:MAIL", "S:250 ok\r\n", "C:RCPT", "S:250 2.0", "X"), -EPIPE, 0, 0, 0 },
	{ "DATA: 250 instead of 354", "data", S(ENVELOPE, "C:DATA", "S:250 ok\r\n", "H"), -EPROTO, OUTCOME_REFUSED, 0, 0 },
	{ "DATA: 334", "data", S(ENVELOPE, "C:DATA", "S:334 go\r\n", "H"), -EPROTO, OUTCOME_REFUSED, 0, 0 },
	{ "DATA: 354 and 250 at once", "data", S(ENVELOPE, "C:DATA", "S:354 go\r\n250 queued\r\n", "H"), -EPROTO, OUTCOME_REFUSED, 0, 0 },
	{ "DATA: silence", "data", S(ENVELOPE, "C:DATA", "H"), -ETIMEDOUT, OUTCOME_REFUSED, 0, 1 },
	{ "dot: 2x0 huh", "data", S(DATA_DONE, "S:2x0 huh\r\n", "H"), -EPROTO, OUTCOME_UNKNOWN, 0, 0 },
	{ "dot: 999", "data", S(DATA_DONE, "S:999 huh\r\n", "H"), -EPROTO, OUTCOME_UNKNOWN, 0, 0 },
	{ "dot: 354", "data", S(DATA_DONE, "S:354 go\r\n", "H"), -EPROTO, OUTCOME_UNKNOWN, 0, 0 },
	{ "dot: 100", "data", S(DATA_DONE, "S:100 go\r\n", "H"), -EPROTO, OUTCOME_UNKNOWN, 0, 0 },
	{ "dot: cut off", "data", S(DATA_DONE, "S:250 2.0", "X"), -EPIPE, OUTCOME_UNKNOWN, 0, 0 },
	{ "dot: cut off before LF", "data", S(DATA_DONE, "S:250 2.0.0 ok\r", "X"), -EPIPE, OUTCOME_UNKNOWN, 0, 0 },
	{ "dot: cut off and silent", "data", S(DATA_DONE, "S:250 2.0", "H"), -ETIMEDOUT, OUTCOME_UNKNOWN, 0, 1 },
	{ "dot: continued and silent", "data", S(DATA_DONE, "S:250-ok\r\n", "H"), -ETIMEDOUT, OUTCOME_UNKNOWN, 0, 1 },
	{ "dot: continued and closed", "data", S(DATA_DONE, "S:250-ok\r\n", "X"), -EPIPE, OUTCOME_UNKNOWN, 0, 0 },
	{ "dot: closed", "data", S(DATA_DONE, "X"), -EPIPE, OUTCOME_UNKNOWN, 0, 0 },
	{ "dot: two replies at once", "data", S(DATA_DONE, "S:250 ok\r\n554 no\r\n", "H"), -EPROTO, OUTCOME_UNKNOWN, 0, 0 },
	{ "dot: two replies, the same", "data", S(DATA_DONE, "S:250 ok\r\n250 ok\r\n", "H"), -EPROTO, OUTCOME_UNKNOWN, 0, 0 },
	{ "dot: silence", "data", S(DATA_DONE, "H"), -ETIMEDOUT, OUTCOME_UNKNOWN, 0, 1 },
	{ "dot: codes differ", "data", S(DATA_DONE, "S:250-ok\r\n550 no\r\n", "H"), -EPROTO, OUTCOME_UNKNOWN, 0, 0 },
	{ "dot: bare LF", "data", S(DATA_DONE, "S:250 ok\n", "H"), -EPROTO, OUTCOME_UNKNOWN, 0, 0 },
	{ "dot: empty line", "data", S(DATA_DONE, "S:\r\n250 ok\r\n", "H"), -EPROTO, OUTCOME_UNKNOWN, 0, 0 },
	{ "dot: text alone", "data", S(DATA_DONE, "S:OK\r\n", "H"), -EPROTO, OUTCOME_UNKNOWN, 0, 0 },
};

static void test_odd_replies(void **state)
{
	memset(long_line, 'x', sizeof(long_line));
	memcpy(long_line, "S:550 5.7.1 ", 12);
	memcpy(long_line + 4000, "\r\n", 3);
	memcpy(many_lines, "S:", 3);
	for (int i = 0; i < 150; i++)
		strcat(many_lines, "250-KEYWORD\r\n");
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		struct job j = { .script = odd[i].script, .conf = odd[i].hasty ? &plain_hasty : &plain };
		bool open = strcmp(odd[i].stage, "open") == 0;

		play(&j);
		if (strcmp(j.r.stage, odd[i].stage) || j.r.rc != odd[i].rc || (!open && j.r.outcome != odd[i].outcome) ||
		    (odd[i].rc == 0 && j.r.code != odd[i].code) || (!open && j.r.broken != (odd[i].rc < 0)) || j.server.failed[0])
			fail_msg("%s: %s rc %d outcome %d code %d broken %d why \"%s\" server \"%s\"", odd[i].name, j.r.stage, j.r.rc,
				 (int)j.r.outcome, j.r.code, j.r.broken, j.r.why, j.server.failed);
		if (odd[i].rc < 0)
			assert_true(j.r.why[0] != '\0');
		assert_int_equal(j.r.closing, odd[i].rc == 0 && odd[i].code == 421);
		script_server_release(&j.server);
	}
}

/* A reply while the message is still under way is nobody's; the end of data is never sent. */
static void test_early_reply(void **state)
{
	struct job j = { .script = S(ENVELOPE, "C:DATA", "S:354 go\r\n", "B:65536", "S:250 queued\r\n", "B:4000000", "H") };
	AUTO(buf) struct buf big = BUF_INIT(8u << 20);

	buf_adds(&big, "Subject: x\r\n\r\n");
	while (big.len < (6u << 20))
		buf_adds(&big, "0123456789012345678901234567890123456789\r\n");
	j.text = buf_str(&big);
	play(&j);
	assert_int_equal(j.r.rc, -EPROTO);
	assert_int_equal(j.r.outcome, OUTCOME_REFUSED);
	script_server_release(&j.server);

	/* and when the server goes away in the middle */
	j = (struct job){ .script = S(ENVELOPE, "C:DATA", "S:354 go\r\n", "B:65536", "X"), .text = buf_str(&big) };
	play(&j);
	assert_true(j.r.rc == -EPIPE || j.r.rc == -EPROTO);
	assert_int_equal(j.r.outcome, OUTCOME_REFUSED);
	script_server_release(&j.server);

	/* a server that stops reading */
	j = (struct job){ .script = S(ENVELOPE, "C:DATA", "S:354 go\r\n", "W:500"), .text = buf_str(&big), .conf = &plain_hasty };
	play(&j);
	assert_int_equal(j.r.rc, -ETIMEDOUT);
	assert_int_equal(j.r.outcome, OUTCOME_REFUSED);
	script_server_release(&j.server);
}

/* Bare CR and LF: byte for byte by BDAT where there is CHUNKING, else made CRLF. */
static void test_bare(void **state)
{
	struct job j = {
		.script = S("S:220 mx\r\n", "C:EHLO", "S:250-mx\r\n250 CHUNKING\r\n", "C:MAIL", "S:250 ok\r\n", "C:RCPT", "S:250 ok\r\n",
			    "C:BDAT 29 LAST\r\n", "B:29", "S:250 ok\r\n"),
		.text = "Subject: x\r\n\r\na\n.\nb\r.\rc", .edit = &(struct smtp_edit){ 0, 0, "A: b\r\n", 6 }, .edit_count = 1,
	};

	play(&j);
	assert_string_equal(j.server.failed, "");
	assert_int_equal(j.r.outcome, OUTCOME_ANSWERED);
	assert_string_equal(buf_str(&j.server.received), "A: b\r\nSubject: x\r\n\r\na\n.\nb\r.\rc");
	script_server_release(&j.server);

	j = (struct job){ .script = S(DATA_DONE, "S:250 ok\r\n"), .text = "Subject: x\r\n\r\na\n.\nb\r.\rc" };
	play(&j);
	assert_string_equal(buf_str(&j.server.received), "Subject: x\r\n\r\na\r\n..\r\nb\r\n..\r\nc\r\n.\r\n");
	script_server_release(&j.server);

	j = (struct job){
		.script = S("S:220 mx\r\n", "C:EHLO", "S:250-mx\r\n250 CHUNKING\r\n", "C:MAIL", "S:250 ok\r\n", "C:RCPT", "S:250 ok\r\n", "C:BDAT", "X"),
		.text = "Subject: x\r\n\r\na\nb",
	};
	play(&j);
	assert_int_equal(j.r.outcome, OUTCOME_UNKNOWN);
	assert_true(j.r.rc < 0);
	script_server_release(&j.server);
}

static void test_deadline(void **state)
{
	struct job j = { .script = S("S:220 mx\r\n", "C:EHLO", "S:250 mx\r\n", "C:MAIL", "H") };

	/* the RFC's timeout ends before the budget: dialogue() gives 60 s, the timeouts say 30; hasty ones 150 ms */
	j.conf = &plain_hasty;
	int64_t begun = clock_ms();
	play(&j);
	assert_int_equal(j.r.rc, -ETIMEDOUT);
	assert_true(clock_ms() - begun < 25000);
	script_server_release(&j.server);
}

static void injection_task(void *arg)
{
	struct job *j = arg;
	AUTO(smtp_client) struct smtp_client *c = NULL;

	script_server_start(&j->server, 0);
	script_server_add(&j->server, j->script);
	assert_int_equal(smtp_client_open(j->conf, &j->server.addr, NULL, 0, &c, j->r.why), 0);
	assert_int_equal(smtp_client_mail(c, "a@x.example>\r\nRCPT TO:<evil@x.example", "", 0, 0), -EINVAL);
	assert_int_equal(smtp_client_mail(c, "a@x.example", "ENVID=x\r\nRSET", 0, 0), -EINVAL);
	assert_int_equal(smtp_client_rcpt(c, "a\nb@x.example", "", 0), -EINVAL);
	assert_false(c->broken);
	assert_true(smtp_client_quiet(c));
	smtp_client_quit(c);
	c = NULL;
	script_server_stop(&j->server);
}

static void test_no_injection(void **state)
{
	struct job j = { .script = S(HELLO, "C:QUIT", "S:221 bye\r\n"), .conf = &plain };

	script_run(injection_task, &j);
	assert_string_equal(j.server.failed, "");
	script_server_release(&j.server);
}

static void test_starttls(void **state)
{
	struct smtp_client_conf required = plain, opportunistic = plain;
	struct ssl_ctx_st *ctx = NULL;
	AUTO(buf) struct buf err = BUF_INIT(1000);
	struct job j;

	assert_int_equal(tls_client_ctx(false, NULL, &ctx, &err), 0);
	required.tls = TLS_REQUIRED;
	opportunistic.tls = TLS_OPPORTUNISTIC;
	required.tls_ctx = opportunistic.tls_ctx = ctx;
	required.tls_name = opportunistic.tls_name = "mx.example";

	j = (struct job){ .script = S(HELLO, "H"), .conf = &required };
	play(&j);
	assert_int_equal(j.r.rc, -EPROTO);
	assert_non_null(strstr(j.r.why, "required"));
	script_server_release(&j.server);

	j = (struct job){ .script = S("S:220 mx\r\n", "C:EHLO", "S:250-mx\r\n250 STARTTLS\r\n", "C:STARTTLS", "S:454 not now\r\n", "H"), .conf = &required };
	play(&j);
	assert_int_equal(j.r.rc, -EBUSY);
	script_server_release(&j.server);

	/* response injection: bytes in the clear behind the 220 */
	j = (struct job){ .script = S("S:220 mx\r\n", "C:EHLO", "S:250-mx\r\n250 STARTTLS\r\n", "C:STARTTLS", "S:220 go\r\n250 injected\r\n", "H"), .conf = &required };
	play(&j);
	assert_int_equal(j.r.rc, -EPROTO);
	script_server_release(&j.server);

	/* 454: goes on in the clear where TLS need not be */
	j = (struct job){ .script = S("S:220 mx\r\n", "C:EHLO", "S:250-mx\r\n250 STARTTLS\r\n", "C:STARTTLS", "S:454 not now\r\n", "C:MAIL", "S:250 ok\r\n",
				      "C:RCPT", "S:250 ok\r\n", "C:DATA", "S:354 go\r\n", "D", "S:250 ok\r\n"), .conf = &opportunistic };
	play(&j);
	assert_int_equal(j.r.outcome, OUTCOME_ANSWERED);
	script_server_release(&j.server);

	/* a handshake that fails: once more, without */
	j = (struct job){ .script = S("S:220 mx\r\n", "C:EHLO", "S:250-mx\r\n250 STARTTLS\r\n", "C:STARTTLS", "S:220 go\r\n", "B:5", "S:garbage in the clear", "X"),
			  .conf = &opportunistic };
	play(&j);
	assert_int_equal(j.server.connections, 2);
	script_server_release(&j.server);
	tls_ctx_free(ctx);
}

/* With TLS: what was offered in the clear is forgotten; the certificate is verified where TLS is required. */
static void tls_task(void *arg)
{
	struct job *j = arg;
	struct smtp_client_conf conf = plain;
	AUTO(buf) struct buf err = BUF_INIT(1000);
	struct ssl_ctx_st *ctx = NULL;

	script_server_start(&j->server, 0);
	script_server_add(&j->server, j->script);
	conf.tls = TLS_REQUIRED;
	conf.tls_name = j->params;
	if (tls_client_ctx(true, strcmp(j->text, "trusted") == 0 ? script_server_tls(&j->server) : NULL, &ctx, &err) < 0)
		abort();
	conf.tls_ctx = ctx;
	j->conf = &conf;
	j->params = "BODY=8BITMIME";
	j->text = "Subject: x\r\n\r\nbody\r\n";
	dialogue(j);
	script_server_stop(&j->server);
	tls_ctx_free(ctx);
}

static void test_tls(void **state)
{
	const char *const *script = S("S:220 mx\r\n", "C:EHLO", "S:250-mx\r\n250-8BITMIME\r\n250 STARTTLS\r\n", "C:STARTTLS", "S:220 go\r\n", "T",
				      "C:EHLO gw.example\r\n", "S:250-mx\r\n250-CHUNKING\r\n250 STARTTLS\r\n", "C:MAIL FROM:<a@x.example>\r\n",
				      "S:250 ok\r\n", "C:RCPT", "S:250 ok\r\n", "C:DATA", "S:354 go\r\n", "D", "S:250 ok\r\n");
	struct job j = { .script = script, .params = "mx.example", .text = "trusted" };

	script_run(tls_task, &j);
	assert_string_equal(j.server.failed, "");
	assert_int_equal(j.r.rc, 0);
	assert_int_equal(j.r.outcome, OUTCOME_ANSWERED);
	assert_true(j.r.caps.chunking && !j.r.caps.eightbit);
	script_server_release(&j.server);

	j = (struct job){ .script = script, .params = "other.example", .text = "trusted" };
	script_run(tls_task, &j);
	assert_true(j.r.rc < 0);
	assert_string_equal(j.r.stage, "open");
	assert_int_equal(j.server.connections, 1);      /* required: not once more without */
	script_server_release(&j.server);

	j = (struct job){ .script = script, .params = "mx.example", .text = "unknown" };
	script_run(tls_task, &j);
	assert_true(j.r.rc < 0);
	assert_string_equal(j.r.stage, "open");
	script_server_release(&j.server);
}

/* STARTTLS and its handshake apart, as inline with own-ca and pass: what comes in the clear behind the 220 is never read as a reply under TLS. */
static const struct { const char *name; const char *const *script; int begin, code, finish; } parts[] = {
#define BEGUN "S:220 mx\r\n", "C:EHLO", "S:250-mx\r\n250 STARTTLS\r\n", "C:STARTTLS\r\n"
	{ "as it should be", S(BEGUN, "S:220 go\r\n", "T", "C:EHLO gw.example\r\n", "S:250 mx\r\n"), 0, 220, 0 },
	{ "refused", S(BEGUN, "S:454 not now\r\n", "C:QUIT", "S:221 bye\r\n"), 0, 454, 1 },
	{ "injected with the 220", S(BEGUN, "S:220 go\r\n250-mx\r\n250 AUTH PLAIN\r\n", "H"), -EPROTO, 0, 1 },
	{ "injected after the 220", S(BEGUN, "S:220 go\r\n", "W:30", "S:250-mx\r\n250 AUTH PLAIN\r\n", "H"), 0, 220, -EPROTO },
};

static void parts_task(void *arg)
{
	struct job *j = arg;
	struct smtp_client_conf conf = plain;
	AUTO(smtp_client) struct smtp_client *c = NULL;
	AUTO(buf) struct buf err = BUF_INIT(1000);
	struct ssl_ctx_st *ctx = NULL;

	script_server_start(&j->server, 0);
	script_server_add(&j->server, j->script);
	if (tls_client_ctx(true, script_server_tls(&j->server), &ctx, &err) < 0)
		abort();
	conf.tls_name = "mx.example";
	conf.tls_ctx = ctx;
	if (smtp_client_open(&conf, &j->server.addr, NULL, clock_ms() + 60000, &c, j->r.why) < 0)
		abort();
	j->r.code = (j->r.rc = smtp_client_starttls_begin(c, clock_ms() + 60000)) < 0 ? 0 : c->reply.code;
	j->r.handshake = 1;             /* of the handshake, where there is one */
	if (j->r.code == 220) {
		task_sleep(100);
		j->r.handshake = smtp_client_starttls_finish(c, clock_ms() + 60000);
	}
	j->r.caps = c->caps;
	smtp_client_quit(c);
	c = NULL;
	script_server_stop(&j->server);
	tls_ctx_free(ctx);
}

static void test_starttls_in_parts(void **state)
{
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		struct job j = { .script = parts[i].script };

		script_run(parts_task, &j);
		if (j.r.rc != parts[i].begin || j.r.code != parts[i].code || j.r.handshake != parts[i].finish || j.r.caps.auth || j.server.failed[0])
			fail_msg("%s: %d %d, %d, server \"%s\"", parts[i].name, j.r.rc, j.r.code, j.r.handshake, j.server.failed);
		script_server_release(&j.server);
	}
}

/* --- our own login --- */

#define OFFER(words) "S:220 mx\r\n", "C:EHLO gw.example\r\n", "S:250-mx\r\n250-AUTH " words "\r\n250 STARTTLS\r\n"
#define SECURED(words) OFFER(words), "C:STARTTLS", "S:220 go\r\n", "T", "C:EHLO gw.example\r\n", "S:250-mx\r\n250 AUTH " words "\r\n"
#define ASKED SECURED("LOGIN"), "C:AUTH LOGIN\r\n", "S:334 VXNlcm5hbWU6\r\n"
#define NAMED ASKED, "C:Ym9i\r\n", "S:334 UGFzc3dvcmQ6\r\n"

static const struct { const char *name; const char *const *script; bool clear; int rc; } logins[] = {
	{ "PLAIN", S(SECURED("LOGIN PLAIN"), "C:AUTH PLAIN AGJvYgBwdw==\r\n", "S:235 ok\r\n"), false, 0 },
	{ "LOGIN", S(NAMED, "C:cHc=\r\n", "S:235 ok\r\n"), false, 0 },
	{ "no password in the clear", S(OFFER("PLAIN"), "C:QUIT", "S:221 bye\r\n"), true, -EOPNOTSUPP },
	{ "neither is offered", S(SECURED("CRAM-MD5"), "C:QUIT", "S:221 bye\r\n"), false, -EOPNOTSUPP },
	{ "offered in the clear alone", S(OFFER("PLAIN"), "C:STARTTLS", "S:220 go\r\n", "T", "C:EHLO", "S:250 mx\r\n", "C:QUIT", "S:221 bye\r\n"), false,
	  -EOPNOTSUPP },
	{ "refused", S(SECURED("PLAIN"), "C:AUTH", "S:535 no\r\n"), false, -EACCES },
	{ "refused at AUTH LOGIN: no name", S(SECURED("LOGIN"), "C:AUTH LOGIN\r\n", "S:535 no\r\n", "C:QUIT", "S:221 bye\r\n"), false, -EACCES },
	{ "refused at the name: no password", S(ASKED, "C:Ym9i\r\n", "S:535 no\r\n", "C:QUIT", "S:221 bye\r\n"), false, -EACCES },
	{ "taken before the password: no password", S(ASKED, "C:Ym9i\r\n", "S:235 ok\r\n", "C:QUIT", "S:221 bye\r\n"), false, 0 },
	{ "a question to PLAIN", S(SECURED("PLAIN"), "C:AUTH", "S:334 more\r\n", "H"), false, -EPROTO },
	{ "a question to the password", S(NAMED, "C:cHc=\r\n", "S:334 more\r\n", "H"), false, -EPROTO },
	{ "354", S(SECURED("PLAIN"), "C:AUTH", "S:354 go\r\n", "H"), false, -EPROTO },
	{ "both questions at once", S(SECURED("LOGIN"), "C:AUTH LOGIN", "S:334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n", "H"), false, -EPROTO },
	{ "235 and what nobody asked for", S(SECURED("PLAIN"), "C:AUTH", "S:235 ok\r\n250 injected\r\n", "H"), false, -EPROTO },
	{ "999", S(SECURED("PLAIN"), "C:AUTH", "S:999 huh\r\n", "H"), false, -EPROTO },
	{ "cut off", S(SECURED("PLAIN"), "C:AUTH", "S:235 2.7", "X"), false, -EPIPE },
};

static void login_task(void *arg)
{
	struct job *j = arg;
	struct smtp_client_conf conf = plain;
	AUTO(smtp_client) struct smtp_client *c = NULL;
	AUTO(buf) struct buf err = BUF_INIT(1000);
	struct ssl_ctx_st *ctx = NULL;

	script_server_start(&j->server, 0);
	script_server_add(&j->server, j->script);
	if (tls_client_ctx(true, script_server_tls(&j->server), &ctx, &err) < 0)
		abort();
	conf.tls = j->conf ? TLS_OFF : TLS_REQUIRED;
	conf.tls_name = "mx.example";
	conf.tls_ctx = ctx;
	j->r.rc = smtp_client_open(&conf, &j->server.addr, NULL, clock_ms() + 60000, &c, j->r.why);
	if (j->r.rc < 0)
		abort();
	j->r.rc = smtp_client_login(c, "bob", "pw", clock_ms() + 60000);
	j->r.broken = c->broken;
	memcpy(j->r.why, c->why, sizeof(j->r.why));
	smtp_client_quit(c);
	c = NULL;
	script_server_stop(&j->server);
	tls_ctx_free(ctx);
}

/* What goes wrong costs the session at most; nothing is said after it that may be the password, and never in the clear. */
static void test_login(void **state)
{
	for (size_t i = 0; i < sizeof(logins) / sizeof(logins[0]); i++) {
		struct job j = { .script = logins[i].script, .conf = logins[i].clear ? &plain : NULL };
		bool lost = logins[i].rc == -EPROTO || logins[i].rc == -EPIPE;

		script_run(login_task, &j);
		if (j.r.rc != logins[i].rc || j.r.broken != lost || j.server.failed[0])
			fail_msg("%s: rc %d broken %d why \"%s\" server \"%s\"", logins[i].name, j.r.rc, j.r.broken, j.r.why, j.server.failed);
		if (j.r.rc < 0 && (!j.r.why[0] || strstr(j.r.why, "pw") || strstr(j.r.why, "cHc=") || strstr(j.r.why, "AGJvYgBwdw==")))
			fail_msg("%s: \"%s\"", logins[i].name, j.r.why);
		script_server_release(&j.server);
	}
}

static void test_caps(void **state)
{
	struct smtp_caps a, b;

	smtp_caps_parse("mx\nSIZE 500\nPIPELINING\nsmtputf8\nLIMITS RCPTMAX=20 MAILMAX=5\n8BITMIMEX\nXEXCH50\nCHUNKING x", &a);
	assert_true(a.esmtp && a.size && a.size_max == 500 && a.pipelining && a.smtputf8 && a.chunking);
	assert_true(a.limit_rcpt == 20 && a.limit_mail == 5);
	assert_false(a.eightbit || a.dsn || a.starttls);
	smtp_caps_parse("8BITMIME", &b);                /* the greeting line is no keyword */
	assert_false(b.eightbit);
	smtp_caps_parse("mx\nSIZE\nSMTPUTF8\nLIMITS MAILMAX=x RCPTMAX=99999999999999999999\n\n", &b);
	assert_true(b.size && b.size_max == 0 && b.limit_mail == 0 && b.limit_rcpt == 0);
	smtp_caps_meet(&b, &a);
	assert_true(b.size && b.size_max == 500 && b.smtputf8 && !b.pipelining && b.limit_mail == 5);
	smtp_caps_parse("mx\nSIZE 99999999999999999999999\nSIZES 3", &a);
	assert_true(a.size && a.size_max == 0);
}

/* Exchange, Domino and Postfix, more or less. */
static void test_caps_auth(void **state)
{
	struct smtp_caps a, b;

	smtp_caps_parse("mx\nAUTH GSSAPI NTLM LOGIN\nX-EXPS GSSAPI NTLM LOGIN\nX-ANONYMOUSTLS\nXAUTH PLAIN", &a);
	assert_true(a.auth == (SASL_GSSAPI | SASL_NTLM | SASL_LOGIN) && !a.auth_old);
	smtp_caps_parse("mx\nAUTH PLAIN LOGIN EXTERNAL SCRAM-SHA-1-PLUS\nAUTH=PLAIN LOGIN", &b);
	assert_true(b.auth == (SASL_PLAIN | SASL_LOGIN) && b.auth_old);
	smtp_caps_meet(&a, &b);
	assert_true(a.auth == SASL_LOGIN && !a.auth_old);
	smtp_caps_parse("mx\nAUTH=LOGIN", &b);
	assert_true(b.auth == SASL_LOGIN && b.auth_old);
	smtp_caps_parse("mx\nAUTH", &b);
	assert_true(b.auth == 0 && !b.auth_old);
	smtp_caps_parse("mx\nAUTHX PLAIN\nAUTH= ", &b);
	assert_true(b.auth == 0);
}

static void test_caps_text(void **state)
{
	AUTO(buf) struct buf out = BUF_INIT(1000);
	struct smtp_caps a, b;

	smtp_caps_parse("mx\nSIZE 500\nDSN\nAUTH LOGIN NTLM PLAIN\nLIMITS RCPTMAX=20\nXCLIENT ADDR", &a);
	smtp_caps_text(&a, NULL, &out);
	assert_string_equal(buf_str(&out), "EHLO SIZE=500 DSN XCLIENT AUTH=PLAIN AUTH=LOGIN AUTH=NTLM RCPTMAX=20");
	smtp_caps_parse("mx\nSIZE 700\nAUTH LOGIN GSSAPI\nLIMITS RCPTMAX=20\n8BITMIME\nCHUNKING", &b);
	buf_clear(&out);
	smtp_caps_text(&a, &b, &out);
	assert_string_equal(buf_str(&out), "SIZE=500 DSN XCLIENT AUTH=PLAIN AUTH=NTLM");
	buf_clear(&out);
	smtp_caps_text(&b, &a, &out);
	assert_string_equal(buf_str(&out), "SIZE=700 8BITMIME CHUNKING AUTH=GSSAPI");
	buf_clear(&out);
	smtp_caps_text(&a, &a, &out);
	assert_string_equal(buf_str(&out), "");
	smtp_caps_parse("mx\nSIZE\n", &b);
	smtp_caps_text(&b, NULL, &out);
	assert_string_equal(buf_str(&out), "EHLO SIZE=0");
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
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_edits),
		cmocka_unit_test(test_params_not_offered),
		cmocka_unit_test(test_helo_fallback),
		cmocka_unit_test(test_odd_replies),
		cmocka_unit_test(test_early_reply),
		cmocka_unit_test(test_bare),
		cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_no_injection),
		cmocka_unit_test(test_starttls),
		cmocka_unit_test(test_tls),
		cmocka_unit_test(test_starttls_in_parts),
		cmocka_unit_test(test_login),
		cmocka_unit_test(test_caps),
		cmocka_unit_test(test_caps_auth),
		cmocka_unit_test(test_caps_text),
	};

	return cmocka_run_group_tests_name("smtp_client", tests, setup, teardown);
}
