/* Milters of a session, against filters that are scripts: what they hear, what becomes of what they say, connections that break. */
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
#include "filters/daemon.h"
#include "filters/milter.h"
#include "filters/milter_mail.h"
#include "policy/conf.h"
#include "tests/support/scarce.h"

#define TERMS "\0\0\0\x0dO\0\0\0\6\0\0\1\xff\0\0\0\0"
#define C "\0\0\0\1c"

/* One connection: what is answered, in order. */
struct reel {
	const char *answers;
	size_t len;
};

static struct fake {
	struct daemons daemons;
	struct reel reel[8];
	size_t count, next;             /* connections */
	struct buf heard;               /* of all */
	int takes, open;
	enum daemon_end ended;
	int64_t deadline_ms;            /* the last that was set */
} fake;

struct fake_line {
	struct daemon_line line;
	struct reel at;
	size_t left;                    /* of the packet that is being read */
};

static int fake_take(struct daemons *d, const struct daemon_conf *c, int64_t deadline_ms, bool fresh, struct daemon_line **out)
{
	struct fake_line *l;

	fake.takes++;
	assert_true(fresh);
	if (fake.next == fake.count)
		return -EHOSTUNREACH;
	l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	l->line.daemons = d;
	l->at = fake.reel[fake.next++];
	fake.open++;
	*out = &l->line;
	return 0;
}

static int fake_write(struct daemon_line *line, const void *p, size_t len)
{
	buf_add(&fake.heard, p, len);
	return 0;
}

static int fake_peek(struct daemon_line *line, const char **p, size_t *len)
{
	struct fake_line *l = (struct fake_line *)line;

	/* In pieces; what belongs to the next answer has not been said before its question. */
	if (!l->left && l->at.len >= 4)
		l->left = 4 + ((size_t)(unsigned char)l->at.answers[2] << 8 | (unsigned char)l->at.answers[3]);
	*p = l->at.answers;
	*len = l->left > 3 ? 3 : l->left;
	return l->at.len ? 0 : -EPIPE;
}

static void fake_eat(struct daemon_line *line, size_t len)
{
	struct fake_line *l = (struct fake_line *)line;

	l->at.answers += len;
	l->at.len -= len;
	l->left -= len;
}

static void fake_deadline(struct daemon_line *l, int64_t deadline_ms)
{
	fake.deadline_ms = deadline_ms;
}

static void fake_give(struct daemon_line *l, enum daemon_end how)
{
	fake.open--;
	fake.ended = how;
	free(l);
}

static const struct daemons_ops ops = { fake_take, fake_write, fake_peek, fake_eat, fake_deadline, fake_give };

static char name_a[] = "a", name_b[] = "b", host[] = "gate.example", macros[] = "i", helo[] = "client.example", listener[] = "smtp";
static char from[] = "ann@sender.example", from_domain[] = "sender.example", to[] = "bob@site.example", domain[] = "site.example", none[] = "";
static const char text[] = "Subject: hi\r\nX: a\r\n\tb\r\n\r\nbody\r\n";

static struct milter_conf conf[2];
static struct milter_conf *confs[2] = { &conf[0], &conf[1] };
static struct site site;
static struct client client;
static struct txn txn;
static struct recipient rcpt = { .address = to, .params = none, .domain = domain };
static const struct listener_conf listener_conf = { .name = listener };

static int setup(void **state)
{
	fact_register_all();
	for (int i = 0; i < 2; i++) {
		conf[i] = (struct milter_conf){ .daemon = { .name = i ? name_b : name_a, .connect_timeout_ms = 1000 }, .command_ms = 1000, .content_ms = 1000, .protocol = 6,
						.directions = 1 };
		for (int k = 0; k < MILTER_MOMENTS; k++)
			conf[i].macros[k] = macros;
	}
	site = (struct site){ .hostname = host, .milter = confs, .milter_count = 2,
			      .limits = { .recipients = 5, .message_bytes = 10000, .message = { .memory_bytes = 10000, .header_bytes = 10000, .header_fields = 50 } } };
	client = (struct client){ .helo = helo, .ip = "192.0.2.1", .addr = { .family = AF_INET, .port = 1025 } };
	client.evidence.ran = ~0u;      /* nothing is looked up here */
	txn = (struct txn){ .site = &site, .client = &client, .id = "1-1", .stage = STAGE_RCPT,
			    .env = { .from = from, .from_domain = from_domain, .params = none, .rcpt = &rcpt, .rcpt_count = 1 } };
	txn.message = message_new(&site.limits.message, NULL, NULL);
	assert_int_equal(message_add(txn.message, text, sizeof(text) - 1), 0);
	assert_int_equal(message_end(txn.message), 0);
	fake = (struct fake){ .daemons = { .ops = &ops } };
	buf_init(&fake.heard, 100000);
	return 0;
}

static int teardown(void **state)
{
	message_free(txn.message);
	buf_release(&fake.heard);
	filters_release(&txn.evidence);
	facts_release(&client.evidence.facts);
	assert_int_equal(fake.open, 0);
	return 0;
}

#define REEL(words) fake.reel[fake.count++] = (struct reel){ (words), sizeof(words) - 1 }

static struct milters *make(void)
{
	const struct net_addr local = { .family = AF_INET, .port = 25 };
	int rc;
	struct milters *m = milters_new(&site, &fake.daemons, &client, &listener_conf, &local, &rc);

	assert_int_equal(rc, 0);
	txn.milters = m;
	return m;
}

static const char *word(const struct facts *f, const char *name)
{
	const struct fact *fact = facts_get_name(f, name);

	return !fact ? "" : fact->state == FACT_TEMPERROR ? "temperror" : facts_word(f, name);
}

static void test_who_refuses_ends_it(void **state)
{
	struct facts f = { 0 };
	struct milters *m;

	REEL(TERMS C C C "\0\0\0\x08y550 no\0");
	m = make();
	assert_int_equal(milters_rcpt(m, &txn, &rcpt, &f), 0);
	assert_string_equal(word(&f, "milter.rcpt"), "reject");
	assert_string_equal(word(&f, "milter.action"), "reject");
	assert_string_equal(word(&f, "milter.name"), "a");
	assert_string_equal(word(&f, "milter.reply"), "550 5.7.1 no");
	assert_int_equal(fake.takes, 1);
	facts_release(&f);
	milters_free(m);
	assert_int_equal(fake.ended, DAEMON_DONE);
}

static void test_message(void **state)
{
	static const char body_said[] = "\0\0\0\7Bbody\r\n", field_said[] = "\0\0\0\x08" "LX\0a\n\tb\0";
	struct facts f = { 0 };
	struct message *made;
	const char *p;
	size_t n;
	struct milters *m;
	int id = fact_find("milter.action", 13);

	REEL(TERMS C C C C C C C C C "\0\0\0\5h" "A\0b\0" "\0\0\0\6q" "held\0" C);
	REEL(TERMS C C C C C C C C C C "\0\0\0\1a");
	m = make();
	assert_int_equal(milters_rcpt(m, &txn, &rcpt, &f), 0);
	assert_string_equal(word(&f, "milter.rcpt"), "none");
	assert_string_equal(word(&f, "milter.action"), "");
	assert_null(milters_mail(m));
	buf_clear(&fake.heard);
	txn.stage = STAGE_DATA;
	assert_non_null(filters_fact(&txn, id));
	assert_string_equal(word(&txn.evidence.facts, "milter.action"), "quarantine");
	assert_string_equal(word(&txn.evidence.facts, "milter.name"), "a");
	assert_string_equal(word(&txn.evidence.facts, "milter.reason"), "held");
	assert_string_equal(word(&txn.evidence.facts, "milter.changes"), "a adds A");
	assert_non_null(memmem(fake.heard.data, fake.heard.len, body_said, sizeof(body_said) - 1));
	/* the second hears of the first's */
	assert_non_null(memmem(fake.heard.data, fake.heard.len, field_said, sizeof(field_said) - 1));
	assert_non_null(memmem(fake.heard.data, fake.heard.len, "LA\0b\0", 5));
	assert_int_equal(milters_made(m, NULL, NULL, &made), 0);
	assert_int_equal(message_read(made, 0, &p, &n), 0);
	assert_memory_equal(p, "Subject: hi\r\nX: a\r\n\tb\r\nA: b\r\n\r\n", n);
	milters_reset(m);
	assert_null(milters_mail(m));
	facts_release(&f);
	milters_free(m);
}

static void away(bool pass, const char *want_rcpt, const char *want_action)
{
	struct facts f = { 0 };
	struct milters *m;

	conf[0].daemon.away = conf[1].daemon.away = pass ? DAEMON_AWAY_PASS : DAEMON_AWAY_DEFER;
	m = make();
	assert_int_equal(milters_rcpt(m, &txn, &rcpt, &f), 0);
	assert_string_equal(word(&f, "milter.rcpt"), want_rcpt);
	txn.stage = STAGE_DATA;
	filters_fact(&txn, fact_find("milter.action", 13));
	assert_string_equal(word(&txn.evidence.facts, "milter.action"), want_action);
	assert_int_equal(facts_get_name(&txn.evidence.facts, "milter.away") != NULL, pass);
	facts_release(&f);
	milters_free(m);
}

static void test_away_defer(void **state)
{
	away(false, "temperror", "temperror");
}

static void test_away_pass(void **state)
{
	away(true, "none", "none");
}

/* It answers to the connection, and no more. */
static void test_dies_at_mail(void **state)
{
	REEL(TERMS C C);
	away(false, "temperror", "temperror");
	assert_int_equal(fake.takes, 1);
}

/* One with a part of its changes said is not passed over. */
static void test_dies_while_it_changes(void **state)
{
	struct facts f = { 0 };
	struct milters *m;

	conf[0].daemon.away = conf[1].daemon.away = DAEMON_AWAY_PASS;
	REEL(TERMS C C C C C C C C C "\0\0\0\5h" "A\0b\0");
	m = make();
	assert_int_equal(milters_rcpt(m, &txn, &rcpt, &f), 0);
	assert_true(milters_message(m, &txn) < 0);
	assert_null(milters_mail(m));
	facts_release(&f);
	milters_free(m);
}

/* For the message there is no more time than the answer to it has left for checks, however long its own limits are. */
static void test_the_answer_has_a_time(void **state)
{
	struct facts f = { 0 };
	struct milters *m;

	site.milter_count = 1;
	site.timeouts.budget_ms = conf[0].content_ms = 240 * 1000;
	REEL(TERMS C C C C C C C C C C);
	m = make();
	assert_int_equal(milters_rcpt(m, &txn, &rcpt, &f), 0);
	txn_limit(&txn, clock_ms(), 60 * 1000);
	assert_int_equal(milters_message(m, &txn), 0);
	assert_int_equal(fake.deadline_ms, txn.checked_by_ms);
	assert_true(txn.checked_by_ms + 15 * 1000 == txn.answer_by_ms);
	facts_release(&f);
	milters_free(m);
}

/* The filter was started anew between two messages. */
static void test_a_connection_that_broke(void **state)
{
	struct facts f = { 0 };
	struct milters *m;

	site.milter_count = 1;
	REEL(TERMS C C C C);
	REEL(TERMS C C C C);
	m = make();
	for (int i = 0; i < 2; i++) {
		assert_int_equal(milters_rcpt(m, &txn, &rcpt, &f), 0);
		assert_string_equal(word(&f, "milter.rcpt"), "none");
		milters_reset(m);
	}
	assert_int_equal(fake.takes, 2);
	facts_release(&f);
	milters_free(m);
}

/* What was said of the client counts for each recipient, and is asked once; what was said of the sender, for one message. */
static void test_sticky(void **state)
{
	struct facts f = { 0 };
	struct milters *m;

	site.milter_count = 1;
	REEL(TERMS C C "\0\0\0\1t" C C);
	m = make();
	for (int i = 0; i < 3; i++) {
		assert_int_equal(milters_rcpt(m, &txn, &rcpt, &f), 0);
		assert_string_equal(word(&f, "milter.rcpt"), i < 2 ? "tempfail" : "none");
		if (i == 1)
			milters_reset(m);
	}
	facts_release(&f);
	milters_free(m);
}

/* A greeting within TLS is another one; the same again is not said. */
static void test_greeting_again(void **state)
{
	static char version[] = "TLSv1.3";
	struct facts f = { 0 };
	struct milters *m;

	site.milter_count = 1;
	REEL(TERMS C C C C C C C C C);
	m = make();
	for (int i = 0; i < 3; i++) {
		size_t before = fake.heard.len;

		client.tls_version = i == 2 ? version : NULL;
		assert_int_equal(milters_rcpt(m, &txn, &rcpt, &f), 0);
		assert_string_equal(word(&f, "milter.rcpt"), "none");
		assert_int_equal(memmem(fake.heard.data + before, fake.heard.len - before, "Hclient.example", 15) != NULL, i != 1);
		milters_reset(m);
	}
	facts_release(&f);
	milters_free(m);
}

/* A relay that tells whose message it is: each client is told in a connection of its own, and what was said of one does not hold for the next. */
static void test_another_client(void **state)
{
	struct client second = { .ip = "192.0.2.2", .addr = { .family = AF_INET, .ip = { 192, 0, 2, 2 } } }, unknown = { .boundary = BOUNDARY_PENDING };
	struct facts f = { 0 };
	struct milters *m;

	site.milter_count = 1;
	second.evidence.ran = unknown.evidence.ran = ~0u;
	REEL(TERMS "\0\0\0\1r");
	REEL(TERMS C C C C C C C);
	REEL(TERMS C C C C);
	m = make();
	assert_int_equal(milters_rcpt(m, &txn, &rcpt, &f), 0);
	assert_string_equal(word(&f, "milter.rcpt"), "reject");
	milters_reset(m);
	fake.heard.len = 0;
	for (int i = 0; i < 2; i++) {
		txn.client = &second;
		assert_int_equal(milters_rcpt(m, &txn, &rcpt, &f), 0);
		assert_string_equal(word(&f, "milter.rcpt"), "none");
		milters_reset(m);
	}
	assert_int_equal(fake.takes, 2);
	assert_non_null(memmem(fake.heard.data, fake.heard.len, "192.0.2.2", 10));
	assert_null(memmem(fake.heard.data, fake.heard.len, "192.0.2.1", 9));
	/* One whose client the header will tell: until then it is the relay's. */
	txn.client = &unknown;
	fake.heard.len = 0;
	assert_int_equal(milters_rcpt(m, &txn, &rcpt, &f), 0);
	assert_int_equal(fake.takes, 3);
	assert_non_null(memmem(fake.heard.data, fake.heard.len, "192.0.2.1", 10));
	txn.client = &client;
	facts_release(&f);
	milters_free(m);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_who_refuses_ends_it), TEST(test_message), TEST(test_away_defer), TEST(test_away_pass), TEST(test_dies_at_mail),
		TEST(test_dies_while_it_changes), TEST(test_the_answer_has_a_time), TEST(test_a_connection_that_broke), TEST(test_sticky),
		TEST(test_greeting_again), TEST(test_another_client),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
