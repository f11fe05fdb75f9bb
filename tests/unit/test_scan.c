/* scan: whole messages shown to clamd, rspamd and spamd that hang up early, and messages that are exchanged meanwhile */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "filters/daemon.h"
#include "filters/filter.h"
#include "policy/conf.h"
#include "support/task_check.h"

enum { LONG_MS = 20 * 1000, BODY = 200 * 1024 };

static struct daemon_address address;
static struct site site;
static struct txn txn;
static struct client client;
static struct message *other;

static struct fake {
	struct daemons daemons;
	struct daemon_line line;
	size_t room, heard;             /* it reads so many octets, then hangs up */
	const char *answer;
	size_t left;
	struct buf text;
	bool exchange;                  /* the transaction gets another message after the first octets */
	enum daemon_end how;
	int64_t deadline_ms;
} fake;

static int fake_take(struct daemons *d, const struct daemon_conf *c, int64_t deadline_ms, bool fresh, struct daemon_line **out)
{
	fake.deadline_ms = deadline_ms;
	fake.line = (struct daemon_line){ .daemons = d, .address = "fake" };
	*out = &fake.line;
	return 0;
}

static int fake_write(struct daemon_line *l, const void *p, size_t len)
{
	fake.heard += len;
	if (fake.heard > fake.room)
		return -EPIPE;
	buf_add(&fake.text, p, len);
	if (fake.exchange)
		txn.message = other;
	return 0;
}

static int fake_peek(struct daemon_line *l, const char **p, size_t *len)
{
	*p = fake.answer;
	*len = fake.left;
	return fake.left ? 0 : -EPIPE;
}

static void fake_eat(struct daemon_line *l, size_t len)
{
	fake.answer += len;
	fake.left -= len;
}

static void fake_give(struct daemon_line *l, enum daemon_end how)
{
	fake.how = how;
}

static const struct daemons_ops fake_ops = { .take = fake_take, .write = fake_write, .peek = fake_peek, .eat = fake_eat, .give = fake_give };

static struct message *message_of(char c, size_t len)
{
	struct message *m = message_new(&site.limits.message, NULL, NULL);
	char *body = malloc(len);

	memset(body, c, len);
	CHECK(message_add(m, "Subject: x\r\n\r\n", 14) == 0 && message_add(m, body, len) == 0 && message_end(m) == 0);
	free(body);
	return m;
}

static void begin(size_t room, const char *answer, size_t len)
{
	struct daemon_conf conf = { .name = "fake", .address = &address, .address_count = 1, .timeout_ms = LONG_MS, .max_size = UINT64_MAX };

	memset(&site, 0, sizeof(site));
	site.limits.message = (struct message_limits){ 1 << 20, 1 << 18, 2000 };
	site.clamd.daemon = site.rspamd.daemon = site.spamd.daemon = conf;
	fake = (struct fake){ .daemons = { &fake_ops }, .room = room, .answer = answer, .left = len, .text = BUF_INIT(1 << 20) };
	memset(&client, 0, sizeof(client));
	txn_init(&txn, &site, NULL, &client);
	txn.env.from = strdup("a@example.com");
	strcpy(txn.id, "id");
	txn.daemons = &fake.daemons;
	txn.stage = STAGE_DATA;
	txn.message = message_of('a', BODY);
}

static void end(void)
{
	txn_release(&txn);
	buf_release(&fake.text);
}

static const struct fact *fact_of(const char *name)
{
	return filters_fact(&txn, fact_find(name, strlen(name)));
}

#define OK "HTTP/1.1 200 OK\r\nContent-Length: "
#define CODE "HTTP/1.1 413 Too large\r\nContent-Length: 0\r\n\r\n"
#define ROW(s) s, sizeof(s) - 1

static const struct {
	const char *fact, *answer;
	size_t len;
	bool cut_known, whole_known;    /* whether the answer counts, if not all was read, and if it was */
} rows[] = {
	{ "virus", ROW("1: stream: OK\0"), false, true },
	{ "virus", ROW("1: stream: Eicar FOUND\0"), true, true },
	{ "virus", ROW("2: stream: OK\0"), false, false },
	{ "virus", ROW("\0"), false, false },
	{ "virus", ROW("1: stream: O"), false, false },
	{ "clamd.skipped", ROW("1: INSTREAM size limit exceeded. ERROR\0"), true, true },
	{ "rspamd.score", ROW(OK "65\r\n\r\n{\"score\":0,\"action\":\"no action\",\"required_score\":15,\"symbols\":{}}"), false, true },
	{ "rspamd.score", ROW(OK "66\r\n\r\n{\"score\":0,\"action\":\"no action\",\"required_score\":15,\"symbols\":{}}"), false, false },
	{ "rspamd.score", ROW(CODE), false, false },
	{ "spamd.spam", ROW("SPAMD/1.1 0 EX_OK\r\nContent-length: 0\r\nSpam: False ; 0.0 / 5.0\r\n\r\n"), false, true },
	{ "spamd.spam", ROW("SPAMD/1.1 76 Bad header line\r\n"), false, false },
};

static void verdicts(void *arg)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		for (int whole = 0; whole < 2; whole++) {
			const struct fact *f;
			bool known;

			begin(whole ? SIZE_MAX : BODY / 2, rows[i].answer, rows[i].len);
			f = fact_of(rows[i].fact);
			known = f && f->state == FACT_KNOWN;
			if (known != (whole ? rows[i].whole_known : rows[i].cut_known))
				snprintf(wrong_text, sizeof(wrong_text), "row %zu, %s message", i, whole ? "whole" : "cut"), wrong_line = __LINE__;
			end();
		}
}

/* What is told of its length holds, and what is shown is what has come, whatever becomes of the transaction's message. */
static void exchanged(void *arg)
{
	static const char *const facts[] = { "virus", "rspamd.score", "spamd.spam" };

	for (size_t i = 0; i < 3; i++) {
		struct message *first;

		begin(SIZE_MAX, "", 0);
		fake.exchange = true;
		first = txn.message;
		other = message_of('b', 2 * BODY);
		fact_of(facts[i]);
		CHECK(fake.text.len > BODY && fake.text.len < BODY + 1000);
		CHECK(!memmem(buf_str(&fake.text), fake.text.len, "bbbb", 4));
		txn.message = first;
		end();
		message_free(other);
	}
}

static int loop_up(void **state)
{
	signal(SIGPIPE, SIG_IGN);
	fact_register_all();
	return loop_init();
}

static int loop_down(void **state)
{
	loop_release();
	return 0;
}

/* The answer to the message has a time, and the servers behind are to have a quarter of it. */
static void limited(void *arg)
{
	static const struct { int budget_ms, most_ms; } times[] = { { 0, LONG_MS }, { 8 * LONG_MS, LONG_MS }, { LONG_MS, LONG_MS / 4 * 3 } };

	for (size_t i = 0; i < sizeof(times) / sizeof(*times); i++) {
		int64_t at = clock_ms();

		begin(SIZE_MAX, rows[0].answer, rows[0].len);
		txn_limit(&txn, at, times[i].budget_ms);
		CHECK(txn.answer_by_ms == (times[i].budget_ms ? at + times[i].budget_ms : 0));
		CHECK(fact_of("virus")->state == FACT_KNOWN);
		if (times[i].most_ms < LONG_MS)
			CHECK(fake.deadline_ms == at + times[i].most_ms);
		else
			CHECK(fake.deadline_ms >= at + LONG_MS);
		end();
	}
}

#define RUN(fn) static void test_##fn(void **state) { task_check_run(fn); }
RUN(verdicts)
RUN(exchanged)
RUN(limited)

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_verdicts), cmocka_unit_test(test_exchanged), cmocka_unit_test(test_limited) };

	return cmocka_run_group_tests(tests, loop_up, loop_down);
}
