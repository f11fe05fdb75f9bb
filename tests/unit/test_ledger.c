/* The ledger told as stories: what was delivered to whom, what comes again, and who is skipped. The store is SQLite in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include "base/clock.h"
#include "base/task.h"
#include "policy/conf.h"
#include "policy/ledger.h"
#include "policy/state_sqlite.h"

enum { RCPTS = 1300 };

static const struct message_limits limits = { .memory_bytes = 1000000, .header_bytes = 100000, .header_fields = 1000 };
static struct site site = { .greylist = { .v4_bits = 24, .v6_bits = 64 } };

/* A state that counts requests. */
struct counting {
	struct state state;
	struct state *real;
	int requests, fails;
};

static int counting_run(struct state *s, struct state_op *ops, size_t count)
{
	struct counting *c = (struct counting *)s;

	c->requests++;
	return c->fails ? -EPIPE : state_run(c->real, ops, count);
}

static struct fixture {
	struct state_sqlite *db;
	struct state_local local;
	struct counting counting;
	_Atomic int64_t until_s;
	struct ledger ledger;
} fx;

static int setup(void **state)
{
	memset(&fx, 0, sizeof(fx));
	assert_int_equal(state_sqlite_open(":memory:", &fx.db), 0);
	state_local_init(&fx.local, fx.db, clock_wall_s);
	fx.counting = (struct counting){ .state = { .run = counting_run }, .real = &fx.local.state };
	fx.ledger = (struct ledger){ .state = &fx.counting.state, .ttl_s = 3600, .until_s = &fx.until_s };
	return 0;
}

static int teardown(void **state)
{
	state_sqlite_close(fx.db);
	return 0;
}

/* One attempt: all strings are literals. */
struct attempt {
	const char *ip, *dkim, *spf, *from;
	const char *rcpt[4];            /* NULL last */
	const char *text;
};

struct world {
	struct txn t;
	struct client client;
	struct recipient rcpt[4];
};

static void world_make(struct world *w, const struct attempt *a)
{
	const char *at = strchr(a->from, '@');
	size_t n = 0;

	memset(w, 0, sizeof(*w));
	assert_int_equal(net_parse(a->ip, &w->client.addr), 0);
	for (; n < 4 && a->rcpt[n]; n++)
		w->rcpt[n].address = (char *)a->rcpt[n];
	w->t = (struct txn){ .site = &site, .client = &w->client, .stage = STAGE_DATA, .id = "5f3c-2",
			     .env = { .from = (char *)a->from, .from_domain = (char *)(at ? at + 1 : ""), .rcpt = w->rcpt, .rcpt_count = n } };
	w->t.evidence.ran = w->client.evidence.ran = UINT32_MAX;        /* nothing is looked up here */
	if (a->dkim) {
		char list[200], *save = NULL;

		snprintf(list, sizeof(list), "%s", a->dkim);
		for (char *d = strtok_r(list, " ", &save); d; d = strtok_r(NULL, " ", &save))
			facts_add(&w->t.evidence.facts, "dkim.pass_domains", d);
	}
	facts_set(&w->t.evidence.facts, "spf", a->spf ? "pass" : "none");
	if (a->spf)
		facts_set(&w->t.evidence.facts, "spf.domain", a->spf);
	w->t.message = message_new(&limits, NULL, NULL);
	assert_int_equal(message_add(w->t.message, a->text, strlen(a->text)), 0);
	assert_int_equal(message_end(w->t.message), 0);
}

static void world_release(struct world *w)
{
	facts_release(&w->t.evidence.facts);
	message_free(w->t.message);
}

static void has_bits(const char *text, bool *has)
{
	for (size_t i = 0; text[i]; i++)
		has[i] = text[i] == '1';
}

static int write_entry(const struct attempt *a, const char *who)
{
	struct state_op *op = calloc(1, sizeof(*op));
	bool has[4] = { false };
	struct world w;
	int rc;

	assert_non_null(op);
	world_make(&w, a);
	has_bits(who, has);
	rc = ledger_make(&fx.ledger, &w.t, has, op);
	if (rc == 0)
		rc = ledger_write(&fx.ledger, op);
	world_release(&w);
	free(op);
	return rc;
}

/* "" for none, else a digit for each recipient. */
static void find_entry(const struct attempt *a, bool forget, char out[8])
{
	struct ledger_entry *e;
	struct world w;
	size_t n = 0;

	world_make(&w, a);
	e = ledger_find(&fx.ledger, &w.t);
	for (; e && n < w.t.env.rcpt_count; n++)
		out[n] = e->has[n] ? '1' : '0';
	out[n] = '\0';
	if (e) {
		assert_string_equal(e->id, "5f3c-2");
		assert_int_equal(e->all, !strchr(out, '0'));
		if (forget)
			ledger_forget(&fx.ledger, &w.t, e);
	}
	free(e);
	world_release(&w);
}

#define MAIL "Message-ID: <1@x.example>\r\nSubject: a\r\n\r\nbody\r\n"
#define A "a@x.example"
#define BOB "bob@example.com"
#define CAROL "carol@example.com"

static const struct {
	const char *name;
	struct attempt first;
	const char *has;
	struct attempt again;
	const char *want;
} rows[] = {
	{ "the same", { "192.0.2.1", NULL, NULL, A, { BOB }, MAIL }, "1", { "192.0.2.1", NULL, NULL, A, { BOB }, MAIL }, "1" },
	{ "another host of the network", { "192.0.2.1", NULL, NULL, A, { BOB }, MAIL }, "1", { "192.0.2.77", NULL, NULL, A, { BOB }, MAIL }, "1" },
	{ "another network", { "192.0.2.1", NULL, NULL, A, { BOB }, MAIL }, "1", { "192.0.3.1", NULL, NULL, A, { BOB }, MAIL }, "" },
	{ "IPv6 by /64", { "2001:db8::1", NULL, NULL, A, { BOB }, MAIL }, "1", { "2001:db8::2:1", NULL, NULL, A, { BOB }, MAIL }, "1" },
	{ "another network, signed", { "192.0.2.1", "x.example", NULL, A, { BOB }, MAIL }, "1",
	  { "192.0.3.1", "x.example", NULL, A, { BOB }, MAIL }, "1" },
	{ "signed by others beside", { "192.0.2.1", "b.example x.example", NULL, A, { BOB }, MAIL }, "1",
	  { "192.0.3.1", "x.example a.example", NULL, A, { BOB }, MAIL }, "1" },
	{ "signed by others, in another order", { "192.0.2.1", "b.example c.example", NULL, A, { BOB }, MAIL }, "1",
	  { "192.0.3.1", "c.example b.example", NULL, A, { BOB }, MAIL }, "1" },
	{ "signed by another", { "192.0.2.1", "b.example", NULL, A, { BOB }, MAIL }, "1", { "192.0.2.1", "c.example", NULL, A, { BOB }, MAIL }, "" },
	{ "another network, SPF", { "192.0.2.1", NULL, "x.example", A, { BOB }, MAIL }, "1",
	  { "192.0.3.1", NULL, "x.example", A, { BOB }, MAIL }, "1" },
	{ "SPF of another", { "192.0.2.1", NULL, "x.example", A, { BOB }, MAIL }, "1", { "192.0.2.1", NULL, "y.example", A, { BOB }, MAIL }, "" },
	{ "a domain is no network", { "192.0.2.1", NULL, "x.example", A, { BOB }, MAIL }, "1", { "192.0.2.1", NULL, NULL, A, { BOB }, MAIL }, "" },
	{ "another sender", { "192.0.2.1", NULL, NULL, A, { BOB }, MAIL }, "1", { "192.0.2.1", NULL, NULL, "b@x.example", { BOB }, MAIL }, "" },
	{ "the null sender", { "192.0.2.1", NULL, NULL, "", { BOB }, MAIL }, "1", { "192.0.2.1", NULL, NULL, "", { BOB }, MAIL }, "1" },
	{ "another recipient", { "192.0.2.1", NULL, NULL, A, { BOB }, MAIL }, "1", { "192.0.2.1", NULL, NULL, A, { CAROL }, MAIL }, "" },
	{ "one more", { "192.0.2.1", NULL, NULL, A, { BOB }, MAIL }, "1", { "192.0.2.1", NULL, NULL, A, { BOB, CAROL }, MAIL }, "" },
	{ "one less", { "192.0.2.1", NULL, NULL, A, { BOB, CAROL }, MAIL }, "11", { "192.0.2.1", NULL, NULL, A, { BOB }, MAIL }, "" },
	{ "another order", { "192.0.2.1", NULL, NULL, A, { BOB, CAROL }, MAIL }, "01", { "192.0.2.1", NULL, NULL, A, { CAROL, BOB }, MAIL }, "10" },
	{ "some have it", { "192.0.2.1", NULL, NULL, A, { "x", "b", "y", "a" }, MAIL }, "1001",
	  { "192.0.2.1", NULL, NULL, A, { "a", "b", "x", "y" }, MAIL }, "1010" },
	{ "a name cut in two", { "192.0.2.1", NULL, NULL, A, { "ab", "c" }, MAIL }, "11", { "192.0.2.1", NULL, NULL, A, { "a", "bc" }, MAIL }, "" },
	{ "another body", { "192.0.2.1", NULL, NULL, A, { BOB }, MAIL }, "1", { "192.0.2.1", NULL, NULL, A, { BOB }, MAIL "\r\n" }, "" },
	{ "another header", { "192.0.2.1", NULL, NULL, A, { BOB }, MAIL }, "1", { "192.0.2.1", NULL, NULL, A, { BOB }, "A: 1\r\n" MAIL }, "" },
	{ "another Message-ID", { "192.0.2.1", NULL, NULL, A, { BOB }, MAIL }, "1",
	  { "192.0.2.1", NULL, NULL, A, { BOB }, "Message-ID: <2@x.example>\r\n\r\n" }, "" },
	{ "no Message-ID", { "192.0.2.1", NULL, NULL, A, { BOB }, "Date: x\r\n\r\n" }, "1",
	  { "192.0.2.1", NULL, NULL, A, { BOB }, "Date: x\r\n\r\n" }, "1" },
};

static void test_rows(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char got[8];

		setup(NULL);
		assert_int_equal(write_entry(&rows[i].first, rows[i].has), 0);
		find_entry(&rows[i].again, true, got);
		if (strcmp(got, rows[i].want) != 0)
			fail_msg("%s: \"%s\", expected \"%s\"", rows[i].name, got, rows[i].want);
		find_entry(&rows[i].first, false, got);
		if (strcmp(got, *rows[i].want ? "" : rows[i].has) != 0)
			fail_msg("%s: \"%s\" once more", rows[i].name, got);
		teardown(NULL);
	}
}

/* What a device says whenever there is something to say. */
static void test_without_message_id_and_date(void **state)
{
	static const struct attempt alarm = { "192.0.2.1", NULL, NULL, A, { BOB }, "Subject: a\r\nX-Date: x\r\n\r\nbody\r\n" };
	char got[8];

	(void)write_entry(&alarm, "1");
	find_entry(&alarm, false, got);
	assert_string_equal(got, "");
}

static const struct attempt usual = { "192.0.2.1", NULL, NULL, A, { BOB }, MAIL };

/* While there can be none, nothing is asked; what another process wrote, or an earlier one, is learnt. */
static void test_what_it_costs(void **state)
{
	char got[8];

	for (int i = 0; i < 3; i++)
		find_entry(&usual, false, got);
	assert_int_equal(fx.counting.requests, 1);      /* whether there may be any, once */
	assert_int_equal(write_entry(&usual, "1"), 0);
	find_entry(&usual, false, got);
	assert_string_equal(got, "1");
	assert_int_equal(fx.counting.requests, 3);
	fx.until_s = 0;                                 /* a new start */
	find_entry(&usual, false, got);
	assert_string_equal(got, "1");
	assert_true(fx.until_s > clock_wall_s() + 3500);
	fx.until_s = clock_wall_s() - 1;                /* they have all died */
	fx.counting.requests = 0;
	find_entry(&usual, false, got);
	assert_string_equal(got, "");
	assert_int_equal(fx.counting.requests, 0);
	fx.ledger.ask = true;                           /* others write into it */
	find_entry(&usual, true, got);
	assert_string_equal(got, "1");
	assert_int_equal(fx.counting.requests, 2);
	assert_int_equal(write_entry(&usual, "1"), 0);
	assert_int_equal(fx.counting.requests, 3);
}

static void test_away(void **state)
{
	char got[8];

	fx.counting.fails = 1;
	assert_int_equal(write_entry(&usual, "1"), -EPIPE);
	find_entry(&usual, false, got);
	assert_string_equal(got, "");
	fx.counting.requests = 0;
	find_entry(&usual, false, got);                 /* not each message waits for it */
	assert_int_equal(fx.counting.requests, 0);
}

static void test_off(void **state)
{
	char got[8];

	fx.ledger.ttl_s = 0;
	assert_int_equal(write_entry(&usual, "1"), -ENOENT);
	find_entry(&usual, false, got);
	fx.ledger.ttl_s = 3600;
	fx.ledger.state = NULL;
	assert_int_equal(write_entry(&usual, "1"), -ENOENT);
	find_entry(&usual, false, got);
	assert_int_equal(fx.counting.requests, 0);
}

#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void test_text(void **state)
{
	static const struct { const char *name, *text; size_t count; const char *want; } texts[] = {
		{ "all", HASH " 5f3c-2 *", 3, "111" },
		{ "some", HASH " 5f3c-2 5", 3, "101" },
		{ "five", HASH " 5f3c-2 81", 5, "00011" },
		{ "empty", "", 1, NULL },
		{ "a hash alone", HASH, 1, NULL },
		{ "no bits", HASH " 5f3c-2", 1, NULL },
		{ "empty bits", HASH " 5f3c-2 ", 1, NULL },
		{ "no id", HASH "  *", 1, NULL },
		{ "an id too long", HASH " 123456789012345678901234 *", 1, NULL },
		{ "a short hash", "0123 5f3c-2 *", 1, NULL },
		{ "more bits", HASH " 5f3c-2 55", 3, NULL },
		{ "fewer bits", HASH " 5f3c-2 5", 5, NULL },
		{ "no digit", HASH " 5f3c-2 g", 3, NULL },
		{ "a capital", HASH " 5f3c-2 A", 3, NULL },
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		char hash[65], id[LEDGER_ID_MAX], got[8] = "";
		bool bits[8] = { false };
		bool ok = ledger_text_read(texts[i].text, texts[i].count, hash, id, bits);

		for (size_t k = 0; ok && k < texts[i].count; k++)
			got[k] = bits[k] ? '1' : '0';
		if (ok != (texts[i].want != NULL) || (ok && strcmp(got, texts[i].want) != 0))
			fail_msg("%s: %d \"%s\"", texts[i].name, ok, got);
	}
}

/* There and back for every number of recipients; too many do not fit. */
static void test_text_of_many(void **state)
{
	bool bits[RCPTS], back[RCPTS];
	char text[STATE_TEXT_MAX], hash[65], id[LEDGER_ID_MAX];
	size_t fitted = 0;

	for (size_t n = 1; n <= RCPTS; n++) {
		int rc;

		for (size_t i = 0; i < n; i++)
			bits[i] = i % 3 == 0 || i % 7 == 1;
		bits[0] = n == 1;
		rc = ledger_text(HASH, "12345678901234567890123", bits, n, text, sizeof(text));
		if (rc == 0) {
			fitted = n;
			assert_true(ledger_text_read(text, n, hash, id, back));
			assert_memory_equal(bits, back, n * sizeof(*bits));
			assert_string_equal(hash, HASH);
		} else {
			assert_int_equal(rc, -ENOSPC);
		}
	}
	assert_true(fitted >= 1000);    /* what a message may have by default */
	memset(bits, true, sizeof(bits));
	assert_int_equal(ledger_text(HASH, "1-1", bits, RCPTS, text, sizeof(text)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test_setup_teardown(test_without_message_id_and_date, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_it_costs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_away, setup, teardown),
		cmocka_unit_test_setup_teardown(test_off, setup, teardown),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_text_of_many),
	};

	fact_register_all();
	return cmocka_run_group_tests_name("ledger", tests, NULL, NULL);
}
