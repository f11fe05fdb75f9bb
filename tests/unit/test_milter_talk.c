/* The dialogue with a filter that is a script: what it is to hear, and what it answers. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "filters/milter_talk.h"

#define BYTES(text) (text), sizeof(text) - 1
#define TERMS "\0\0\0\x0dO\0\0\0\6\0\0\1\xff\0\0\0\0"

struct script {
	const char *answers;
	size_t len, piece;              /* octets at once */
	int end;                        /* what comes behind them */
	struct buf heard;
	int64_t waits[20];
	int reads, changes, change_rc;
};

static int hear(void *arg, const char *p, size_t len, int64_t deadline_ms)
{
	struct script *s = arg;

	return buf_add(&s->heard, p, len);
}

static int speak(void *arg, char *p, size_t max, int64_t deadline_ms)
{
	struct script *s = arg;
	size_t n = s->len < s->piece ? s->len : s->piece;

	if (s->reads < 20)
		s->waits[s->reads] = deadline_ms - clock_ms();
	s->reads++;
	if (!n)
		return s->end;
	memcpy(p, s->answers, n);
	s->answers += n;
	s->len -= n;
	return (int)n;
}

static int change(void *arg, const struct milter_reply *r)
{
	struct script *s = arg;

	s->changes++;
	return s->change_rc;
}

static void begin(struct milter_talk *t, struct script *s, const char *answers, size_t len)
{
	*s = (struct script){ .answers = answers, .len = len, .piece = 1, .end = -EPIPE };
	buf_init(&s->heard, 1000000);
	milter_talk_init(t, &(struct milter_io){ .write = hear, .read = speak, .arg = s }, 30000, 300000);
}

static void finish(struct milter_talk *t, struct script *s)
{
	milter_talk_release(t);
	buf_release(&s->heard);
}

static void test_verdicts(void **state)
{
	static const struct { const char *name, *answers; size_t len; int rc; enum milter_verdict verdict; const char *reply, *why; } rows[] = {
		{ "continue", BYTES(TERMS "\0\0\0\1c"), 0, MILTER_SAYS_CONTINUE, "", "" },
		{ "accept", BYTES(TERMS "\0\0\0\1a"), 0, MILTER_SAYS_ACCEPT, "", "" },
		{ "discard", BYTES(TERMS "\0\0\0\1d"), 0, MILTER_SAYS_DISCARD, "", "" },
		{ "skip", BYTES(TERMS "\0\0\0\1s"), 0, MILTER_SAYS_SKIP, "", "" },
		{ "reject", BYTES(TERMS "\0\0\0\1r"), 0, MILTER_SAYS_REJECT, "550 5.7.1 Command rejected", "" },
		{ "tempfail", BYTES(TERMS "\0\0\0\1t"), 0, MILTER_SAYS_TEMPFAIL, "451 4.7.1 Service unavailable - try again later", "" },
		{ "shutdown", BYTES(TERMS "\0\0\0\1" "4"), 0, MILTER_SAYS_TEMPFAIL, "451 4.7.1 Service unavailable - try again later", "" },
		{ "reply", BYTES(TERMS "\0\0\0\x0ey554 5.6.0 no\0"), 0, MILTER_SAYS_REJECT, "554 5.6.0 no", "" },
		{ "reply for now", BYTES(TERMS "\0\0\0\x08y450 no\0"), 0, MILTER_SAYS_TEMPFAIL, "450 4.7.1 no", "" },
		{ "reply 421", BYTES(TERMS "\0\0\0\x08y421 no\0"), 0, MILTER_SAYS_TEMPFAIL, "451 4.7.1 no", "" },
		{ "progress", BYTES(TERMS "\0\0\0\1p\0\0\0\1p\0\0\0\1c"), 0, MILTER_SAYS_CONTINUE, "", "" },
		{ "reply 250", BYTES(TERMS "\0\0\0\x08y250 ok\0"), -EPROTO, 0, NULL, "a reply that is none of SMTP" },
		{ "connection failed", BYTES(TERMS "\0\0\0\1f"), -EPROTO, 0, NULL, "says that the connection has failed" },
		{ "a change at MAIL", BYTES(TERMS "\0\0\0\5h" "A\0b\0"), -EPROTO, 0, NULL, "changes the message before its end" },
		{ "an answer too many", BYTES(TERMS "\0\0\0\1c\0"), -EPROTO, 0, NULL, "answers more than it was asked" },
		{ "no packet", BYTES(TERMS "\0\0\0\0"), -EPROTO, 0, NULL, "a packet of no length or too long" },
		{ "no answer there is", BYTES(TERMS "\0\0\0\1z"), -EPROTO, 0, NULL, "an answer that there is not" },
		{ "half an answer", BYTES(TERMS "\0\0\0\3y5"), -EPIPE, 0, NULL, "closed the connection" },
		{ "no answer", BYTES(TERMS), -EPIPE, 0, NULL, "closed the connection" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		/* Octet by octet, and whole; a packet too many may come with the answer or be seen only at the next question. */
		for (size_t piece = strstr(rows[i].name, "too many") ? 1000 : 1; piece <= 1000; piece += 999) {
			struct milter_talk t;
			struct milter_said said;
			struct script s;
			int rc;

			begin(&t, &s, rows[i].answers, rows[i].len);
			s.piece = sizeof(TERMS) - 1;
			assert_int_equal(milter_talk_negotiate(&t, 6), 0);
			s.piece = piece;
			milter_put(milter_talk_out(&t), MILTER_MAIL, "<>", 3);
			rc = milter_talk_ask(&t, MILTER_QUIET_MAIL, false, &said);
			if (rc != rows[i].rc || strcmp(t.why, rows[i].why) != 0)
				fail_msg("%s: %d %s", rows[i].name, rc, t.why);
			if (rc == 0 && (said.verdict != rows[i].verdict || strcmp(said.reply, rows[i].reply) != 0))
				fail_msg("%s: %d %s", rows[i].name, (int)said.verdict, said.reply);
			assert_int_equal(t.failed, rc < 0);
			if (rc < 0)
				assert_int_equal(milter_talk_ask(&t, 0, false, &said), -EPIPE);
			finish(&t, &s);
		}
	}
}

static void test_negotiation(void **state)
{
	static const struct { const char *name, *answers; size_t len; int rc; } rows[] = {
		{ "good", BYTES(TERMS), 0 },
		{ "other words", BYTES("\0\0\0\1c"), -EPROTO },
		{ "a newer version", BYTES("\0\0\0\x0dO\0\0\0\7\0\0\1\xff\0\0\0\0"), -EPROTO },
		{ "closed", BYTES(""), -EPIPE },
		{ "another protocol", BYTES("220 mx.example ESMTP\r\n"), -EPROTO },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct milter_talk t;
		struct script s;

		begin(&t, &s, rows[i].answers, rows[i].len);
		if (milter_talk_negotiate(&t, 6) != rows[i].rc || t.failed != (rows[i].rc < 0))
			fail_msg("%s: %s", rows[i].name, t.why);
		assert_int_equal(s.heard.len, 17);
		assert_memory_equal(s.heard.data, "\0\0\0\x0dO\0\0\0\6", 9);
		finish(&t, &s);
	}
}

/* Who is quiet is not waited for, and hears it with what comes next. */
static void test_quiet(void **state)
{
	struct milter_talk t;
	struct milter_said said;
	struct script s;

	begin(&t, &s, BYTES("\0\0\0\x0dO\0\0\0\6\0\0\1\xff\0\0\x40\0" "\0\0\0\1r"));
	assert_int_equal(milter_talk_negotiate(&t, 6), 0);
	buf_clear(&s.heard);
	s.reads = 0;
	assert_true(milter_talk_wants(&t, MILTER_NO_MAIL));
	milter_put(milter_talk_out(&t), MILTER_MAIL, "<>", 3);
	assert_int_equal(milter_talk_ask(&t, MILTER_QUIET_MAIL, false, &said), 0);
	assert_int_equal(said.verdict, MILTER_SAYS_CONTINUE);
	assert_int_equal(s.heard.len, 0);
	milter_put(milter_talk_out(&t), MILTER_RCPT, "<a>", 4);
	assert_int_equal(milter_talk_ask(&t, MILTER_QUIET_RCPT, false, &said), 0);
	assert_int_equal(said.verdict, MILTER_SAYS_REJECT);
	assert_int_equal(s.heard.len, 17);
	assert_memory_equal(s.heard.data, "\0\0\0\4M<>\0\0\0\0\5R<a>", 17);
	milter_talk_quit(&t, 0);
	assert_memory_equal(s.heard.data + 17, "\0\0\0\1Q", 5);
	finish(&t, &s);
}

/* Each answer has its time; who makes progress gets it anew, until all is over. */
static void test_time(void **state)
{
	struct milter_talk t;
	struct milter_said said;
	struct script s;

	begin(&t, &s, BYTES(TERMS "\0\0\0\1p\0\0\0\1p"));
	s.piece = 17;
	s.end = -ETIMEDOUT;
	assert_int_equal(milter_talk_negotiate(&t, 6), 0);
	assert_in_range(s.waits[0], 29000, 30000);
	t.until_ms = clock_ms() + 100000;
	s.piece = 5;
	s.reads = 0;
	milter_put(milter_talk_out(&t), MILTER_BODY_END, NULL, 0);
	assert_int_equal(milter_talk_end(&t, change, &s, &said), -ETIMEDOUT);
	assert_string_equal(t.why, "no answer in time");
	assert_int_equal(s.reads, 3);
	assert_in_range(s.waits[0], 99000, 100000);
	finish(&t, &s);
}

static void test_changes(void **state)
{
	static const char answers[] = TERMS "\0\0\0\5h" "A\0b\0" "\0\0\0\4bxyz" "\0\0\0\6q" "held\0" "\0\0\0\1a";
	struct milter_talk t;
	struct milter_said said;
	struct script s;

	begin(&t, &s, BYTES(answers));
	assert_int_equal(milter_talk_negotiate(&t, 6), 0);
	assert_int_equal(milter_talk_end(&t, change, &s, &said), 0);
	assert_int_equal(s.changes, 3);
	assert_int_equal(said.verdict, MILTER_SAYS_ACCEPT);
	finish(&t, &s);
	/* More than is taken. */
	begin(&t, &s, BYTES(answers));
	s.change_rc = -EMSGSIZE;
	assert_int_equal(milter_talk_negotiate(&t, 6), 0);
	assert_int_equal(milter_talk_end(&t, change, &s, &said), -EMSGSIZE);
	assert_int_equal(s.changes, 1);
	assert_string_equal(t.why, "changes more than is taken");
	finish(&t, &s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verdicts), cmocka_unit_test(test_negotiation), cmocka_unit_test(test_quiet),
		cmocka_unit_test(test_time), cmocka_unit_test(test_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
