/* The bytes of a record of the history: what goes in comes out, what does not fit is cut, and no octet is trusted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "policy/history_record.h"

static const char *const colours[] = { "red", "blue", NULL };
static const struct fact_def table[] = {
	{ "t.word", FACT_WORD, false, STAGE_MAIL, colours, "" },
	{ "t.text", FACT_TEXT, false, STAGE_DATA, NULL, "" },
	{ "t.list", FACT_TEXT, true, STAGE_DATA, NULL, "" },
	{ "t.number", FACT_NUMBER, false, STAGE_RCPT, NULL, "" },
	{ "t.bool", FACT_BOOL, false, STAGE_RCPT, NULL, "" },
	{ 0 },
};

static struct history_memory *memory;

static int setup(void **state)
{
	fact_register_all();
	fact_register(table, 7);
	memory = history_memory_new();
	return memory ? 0 : -1;
}

static int teardown(void **state)
{
	history_memory_free(memory);
	return 0;
}

static void same_text(const char *a, const char *b)
{
	assert_true(!a == !b);
	if (a)
		assert_string_equal(a, b);
}

static void same_fact(const struct fact *a, const struct fact *b)
{
	assert_int_equal(a->id, b->id);
	assert_int_equal(a->state, b->state);
	if (a->state == FACT_KNOWN)
		assert_int_equal(a->number, b->number);
	same_text(a->why, b->why);
	assert_int_equal(a->count, b->count);
	for (size_t i = 0; i < a->count; i++)
		assert_string_equal(a->text[i], b->text[i]);
}

static void same_members(const struct history_record *a, const struct history_record *b)
{
	assert_int_equal(a->at_ms, b->at_ms);
	same_text(a->code, b->code);
	same_text(a->client, b->client);
	same_text(a->helo, b->helo);
	same_text(a->from, b->from);
	assert_int_equal(a->rcpt_count, b->rcpt_count);
	for (size_t i = 0; i < a->rcpt_count; i++)
		assert_string_equal(a->rcpt[i], b->rcpt[i]);
	same_text(a->message_id, b->message_id);
	same_text(a->subject, b->subject);
	assert_int_equal(a->bytes, b->bytes);
	assert_int_equal(a->stage, b->stage);
	same_text(a->verdict, b->verdict);
	same_text(a->action, b->action);
	same_text(a->rule, b->rule);
	assert_int_equal(a->rule_line, b->rule_line);
	same_text(a->rule_text, b->rule_text);
	same_text(a->reply, b->reply);
	same_text(a->backend, b->backend);
	same_text(a->quarantine_id, b->quarantine_id);
	same_text(a->notes, b->notes);
	assert_int_equal(a->ms_data, b->ms_data);
	assert_int_equal(a->ms_checks, b->ms_checks);
	assert_int_equal(a->ms_backend, b->ms_backend);
	assert_int_equal(a->ms, b->ms);
	assert_non_null(b->ran);
	for (size_t i = 0; a->ran && a->ran[i]; i++)
		same_text(a->ran[i], b->ran[i]);
	assert_null(b->ran[a->ran ? 2 : 0]);
}

static const char *const filters_ran[] = { "spf", "dkim", NULL };
static const char *const two[] = { "b@example.com", "c@example.org" };

static struct history_record plain(void)
{
	return (struct history_record){ .at_ms = 1795400000123, .code = "5f3c-2", .client = "192.0.2.7", .helo = "mx.example", .from = "",
					.rcpt = two, .rcpt_count = 2, .message_id = "<1@x>", .subject = "Grüße", .bytes = 18233,
					.stage = STAGE_DATA, .verdict = "reject", .rule = "spoofed", .rule_line = 12,
					.rule_text = "reject if spf = fail", .reply = "550 5.7.1 no (5f3c-2)", .ms_data = 3, .ms_checks = 0,
					.ms_backend = -1, .ms = 212, .ran = filters_ran };
}

static void test_round_trip(void **state)
{
	AUTO(buf) struct buf out = BUF_INIT(HISTORY_RECORD_MAX);
	struct facts client = { 0 }, txn = { 0 }, own = { 0 };
	struct history_record r = plain(), back;
	const char *const *cut, *const *lost;

	facts_set_why(&client, "t.word", "blue", "because of %s", "192.0.2.0/24");
	facts_add(&txn, "t.list", "one");
	facts_add(&txn, "t.list", "");
	facts_temperror(&txn, "t.text", "no answer");
	facts_set_num(&txn, "t.number", -5);
	facts_set_bool(&own, "t.bool", true);
	facts_set_num(&own, "t.number", INT64_MIN);     /* a recipient's own counts before the transaction's */
	r.facts[0] = &client, r.facts[1] = &txn, r.facts[2] = &own;
	r.notes = "observe strict: reject\ntag external: [EXTERNAL] ";
	assert_int_equal(history_encode(&r, &out), 0);
	assert_int_equal(history_decode(out.data, out.len, memory, &back, &cut, &lost), 0);
	same_members(&r, &back);
	assert_int_equal(back.rcpt_total, 2);
	assert_null(cut[0]);
	assert_null(lost[0]);
	assert_int_equal(back.facts[0]->count, 5);
	same_fact(facts_get_name(&client, "t.word"), facts_get_name(back.facts[0], "t.word"));
	same_fact(facts_get_name(&txn, "t.list"), facts_get_name(back.facts[0], "t.list"));
	same_fact(facts_get_name(&txn, "t.text"), facts_get_name(back.facts[0], "t.text"));
	same_fact(facts_get_name(&own, "t.bool"), facts_get_name(back.facts[0], "t.bool"));
	same_fact(facts_get_name(&own, "t.number"), facts_get_name(back.facts[0], "t.number"));
	facts_release(&client);
	facts_release(&txn);
	facts_release(&own);
}

/* Nothing that may be missing is there. */
static void test_bare(void **state)
{
	AUTO(buf) struct buf out = BUF_INIT(HISTORY_RECORD_MAX);
	struct history_record r = { .code = "1-1", .client = "::1", .verdict = "none" }, back;

	assert_int_equal(history_encode(&r, &out), 0);
	assert_int_equal(history_decode(out.data, out.len, memory, &back, NULL, NULL), 0);
	same_members(&r, &back);
	assert_null(back.from);
	assert_int_equal(back.facts[0]->count, 0);
}

static bool named(const char *const *names, const char *name)
{
	for (; *names; names++)
		if (strcmp(*names, name) == 0)
			return true;
	return false;
}

static void test_cut(void **state)
{
	AUTO(buf) struct buf out = BUF_INIT(HISTORY_RECORD_MAX);
	struct facts f = { 0 };
	struct history_record r = plain(), back;
	const char *const *cut, *const *lost;
	char text[3000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	r.subject = text;
	facts_set(&f, "t.text", text);
	for (int i = 0; i < 20; i++)
		facts_add(&f, "t.list", text + sizeof(text) - 1 - 500);
	facts_set(&f, "t.word", "red");
	r.facts[0] = &f;
	assert_int_equal(history_encode(&r, &out), 0);
	assert_int_equal(history_decode(out.data, out.len, memory, &back, &cut, &lost), 0);
	assert_int_equal(strlen(back.subject), HISTORY_TEXT_MAX);
	assert_int_equal(strlen(facts_word(back.facts[0], "t.text")), HISTORY_VALUE_MAX);
	assert_int_equal(facts_get_name(back.facts[0], "t.list")->count, HISTORY_LIST_MAX / 504);
	assert_true(named(cut, "t.text") && named(cut, "t.list"));
	assert_false(named(cut, "t.word"));
	assert_null(lost[0]);
	facts_release(&f);
}

/* Everything as large as it can be, in every set: bounded, and it can be read. */
static void test_largest(void **state)
{
	AUTO(buf) struct buf out = BUF_INIT(HISTORY_RECORD_MAX);
	static char text[64 * 1024], *texts[FACT_LIST_MAX];
	static const char *rcpt[2000];
	struct facts f = { 0 };
	struct history_record r = plain(), back;
	const char *const *cut, *const *lost;

	memset(text, 'x', sizeof(text) - 1);
	for (size_t i = 0; i < 2000; i++)
		rcpt[i] = text + sizeof(text) - 1 - 300;
	for (size_t i = 0; i < FACT_LIST_MAX; i++)
		texts[i] = text;
	f.v = calloc((size_t)fact_count(), sizeof(*f.v));
	assert_non_null(f.v);
	for (int id = 0; id < fact_count(); id++)
		if (fact_def(id)->type != FACT_WORD)
			f.v[f.count++] = (struct fact){ .id = (int16_t)id, .state = FACT_KNOWN, .text = texts, .why = text,
							.count = fact_def(id)->list ? FACT_LIST_MAX : 1 };
	r.code = r.client = r.helo = r.from = r.message_id = r.subject = r.verdict = r.action = r.rule = r.rule_text = r.reply = text;
	r.backend = r.quarantine_id = text;
	r.rcpt = rcpt;
	r.rcpt_count = 2000;
	for (int i = 0; i < 3; i++)
		r.facts[i] = &f;
	assert_int_equal(history_encode(&r, &out), 0);
	assert_true(out.len <= HISTORY_RECORD_MAX);
	assert_int_equal(history_decode(out.data, out.len, memory, &back, &cut, &lost), 0);
	assert_int_equal(back.rcpt_total, 2000);
	assert_true(back.rcpt_count < 400 && back.rcpt_count > 300);
	free(f.v);
}

static void test_full(void **state)
{
	struct history_record r = plain();
	AUTO(buf) struct buf all = BUF_INIT(HISTORY_RECORD_MAX);

	assert_int_equal(history_encode(&r, &all), 0);
	for (size_t max = 1; max < all.len; max++) {
		AUTO(buf) struct buf out = BUF_INIT(max);

		buf_addc(&out, 'x');
		assert_int_equal(history_encode(&r, &out), -ENOSPC);
		assert_int_equal(out.len, 1);
		assert_false(out.failed);
	}
}

/* By chance, from the whole registry. */
static unsigned random_below(unsigned n)
{
	static uint64_t x = 88172645463325252u;

	x ^= x << 13, x ^= x >> 7, x ^= x << 17;
	return (unsigned)(x >> 20) % n;
}

static const char *random_text(void)
{
	static char text[8][1200];
	static unsigned turn;
	char *t = text[turn++ % 8];
	unsigned n = random_below(8) ? random_below(40) : random_below(1100);

	for (unsigned i = 0; i < n; i++)
		t[i] = (char)(1 + random_below(255));
	t[n] = 0;
	return t;
}

static void random_fact(struct facts *f, int id)
{
	const struct fact_def *d = fact_def(id);
	unsigned count = d->list ? random_below(5) : 1, words = 0;

	if (d->type == FACT_NUMBER)
		facts_set_num(f, d->name, (int64_t)((uint64_t)random_below(1u << 31) << random_below(33)) - 1000);
	else if (d->type == FACT_BOOL)
		facts_set_bool(f, d->name, random_below(2));
	else if (d->list)
		facts_set_empty(f, d->name);
	while (d->type == FACT_WORD && d->words[words])
		words++;
	for (unsigned i = 0; i < count && d->type != FACT_NUMBER && d->type != FACT_BOOL; i++) {
		const char *value = words ? d->words[random_below(words)] : random_text();

		if (d->list)
			facts_add(f, d->name, value);
		else
			facts_set(f, d->name, value);
	}
	if (!random_below(4))
		facts_why(f, d->name, "%s", random_text());
	if (!random_below(10))
		facts_temperror(f, d->name, random_below(2) ? "away" : NULL);
}

static void test_property(void **state)
{
	for (int turn = 0; turn < 300; turn++) {
		AUTO(buf) struct buf out = BUF_INIT(HISTORY_RECORD_MAX), again = BUF_INIT(HISTORY_RECORD_MAX);
		struct facts f = { 0 };
		struct history_record r = plain(), back;
		const char *const *cut, *const *lost;

		r.bytes = (uint64_t)random_below(1u << 31) << random_below(33);
		r.ms = (int)random_below(1u << 31);
		for (int id = 0; id < fact_count(); id++)
			if (random_below(2))
				random_fact(&f, id);
		r.facts[random_below(3)] = &f;
		assert_int_equal(history_encode(&r, &out), 0);
		assert_int_equal(history_decode(out.data, out.len, memory, &back, &cut, &lost), 0);
		same_members(&r, &back);
		assert_null(lost[0]);
		assert_int_equal(back.facts[0]->count, f.count);
		for (size_t i = 0; i < f.count; i++) {
			const char *name = fact_def(f.v[i].id)->name;

			if (!named(cut, name) && (!f.v[i].why || strlen(f.v[i].why) <= HISTORY_WHY_MAX))
				same_fact(&f.v[i], facts_get_name(back.facts[0], name));
		}
		if (!cut[0]) {
			assert_int_equal(history_encode(&back, &again), 0);
			assert_int_equal(again.len, out.len);
			assert_memory_equal(again.data, out.data, out.len);
		}
		facts_release(&f);
	}
}

/* A record by hand: what stands before the recipients, they, the rest without facts, the facts. */
#define HEAD "\1" "\0" "\2a\0" "\2c\0" "\0" "\0"
#define NO_RCPT "\0" "\0"
#define REST_TO_STAGE "\0" "\0" "\0"
#define STAGE "\0"
#define VERDICT "\2v\0" "\0" "\0"
#define LINE "\0"
#define TEXTS "\0" "\0" "\0" "\0"
#define TIMES "\0" "\0" "\0" "\0" RAN
#define RAN "\0"
#define REST REST_TO_STAGE STAGE VERDICT LINE TEXTS TIMES
#define ROW(n, bytes, want) { n, bytes, sizeof(bytes) - 1, want }
#define TEN "\200\200\200\200\200\200\200\200\200"

static const struct { const char *name, *in; size_t len; int want; } rows[] = {
	ROW("bare", HEAD NO_RCPT REST "\0", 0),
	ROW("a recipient", HEAD "\1" "\1" "\2b\0" REST "\0", 0),
	ROW("more than fitted", HEAD "\7" "\1" "\2b\0" REST "\0", 0),
	ROW("a word", HEAD NO_RCPT REST "\1" "\7t.word\0" "\1" "\1" "\4red\0", 0),
	ROW("no octet", "", -EBADMSG),
	ROW("another version", "\2" "\0" "\2a\0" "\2c\0" "\0" "\0" NO_RCPT REST "\0", -EBADMSG),
	ROW("an octet more", HEAD NO_RCPT REST "\0" "\0", -EBADMSG),
	ROW("no facts", HEAD NO_RCPT REST, -EBADMSG),
	ROW("code is missing", "\1" "\0" "\0" "\2c\0" "\0" "\0" NO_RCPT REST "\0", -EBADMSG),
	ROW("a code that acts on a terminal", "\1" "\0" "\2\33\0" "\2c\0" "\0" "\0" NO_RCPT REST "\0", -EBADMSG),
	ROW("a verdict that does", HEAD NO_RCPT REST_TO_STAGE STAGE "\3\302\233\0" "\0" "\0" LINE TEXTS TIMES "\0", -EBADMSG),
	ROW("client is missing", "\1" "\0" "\2a\0" "\0" "\0" "\0" NO_RCPT REST "\0", -EBADMSG),
	ROW("text without its NUL", "\1" "\0" "\2ab" "\2c\0" "\0" "\0" NO_RCPT REST "\0", -EBADMSG),
	ROW("a NUL in a text", "\1" "\0" "\3\0a\0" "\2c\0" "\0" "\0" NO_RCPT REST "\0", -EBADMSG),
	ROW("text past the end", "\1" "\0" "\177a\0", -EBADMSG),
	ROW("text of 2^63 octets", "\1" "\0" TEN "\1" "a\0", -EBADMSG),
	ROW("number longer than need be", "\1" "\200\0" "\2a\0" "\2c\0" "\0" "\0" NO_RCPT REST "\0", -EBADMSG),
	ROW("number of more than 64 bits", "\1" TEN "\2" "\2a\0" "\2c\0" "\0" "\0" NO_RCPT REST "\0", -EBADMSG),
	ROW("number of 64 bits", "\1" TEN "\1" "\2a\0" "\2c\0" "\0" "\0" NO_RCPT REST "\0", 0),
	ROW("number without end", "\1" "\200", -EBADMSG),
	ROW("fewer recipients in all", HEAD "\0" "\1" "\2b\0" REST "\0", -EBADMSG),
	ROW("1001 recipients", HEAD "\351\7" "\351\7" "\2b\0" REST "\0", -EBADMSG),
	ROW("a recipient is missing", HEAD "\1" "\1" "\0" REST "\0", -EBADMSG),
	ROW("no such stage", HEAD NO_RCPT REST_TO_STAGE "\6" VERDICT LINE TEXTS TIMES "\0", -EBADMSG),
	ROW("line below zero", HEAD NO_RCPT REST_TO_STAGE STAGE VERDICT "\1" TEXTS TIMES "\0", -EBADMSG),
	ROW("time below -1", HEAD NO_RCPT REST_TO_STAGE STAGE VERDICT LINE TEXTS "\3" "\0" "\0" "\0" RAN "\0", -EBADMSG),
	ROW("time past 31 bits", HEAD NO_RCPT REST_TO_STAGE STAGE VERDICT LINE TEXTS "\200\200\200\200\20" "\0" "\0" "\0" RAN "\0", -EBADMSG),
	ROW("filters", HEAD NO_RCPT REST_TO_STAGE STAGE VERDICT LINE TEXTS "\0" "\0" "\0" "\0" "\2" "\4spf\0" "\5dkim\0" "\0", 0),
	ROW("65 filters", HEAD NO_RCPT REST_TO_STAGE STAGE VERDICT LINE TEXTS "\0" "\0" "\0" "\0" "\101" "\4spf\0" "\0", -EBADMSG),
	ROW("a filter is missing", HEAD NO_RCPT REST_TO_STAGE STAGE VERDICT LINE TEXTS "\0" "\0" "\0" "\0" "\1" "\0" "\0", -EBADMSG),
	ROW("600 facts", HEAD NO_RCPT REST "\330\4" "\7t.word\0" "\1" "\1" "\4red\0", -EBADMSG),
	ROW("a fact is missing", HEAD NO_RCPT REST "\1", -EBADMSG),
	ROW("a fact without a name", HEAD NO_RCPT REST "\1" "\0" "\1" "\1" "\4red\0", -EBADMSG),
	ROW("a fact with an empty name", HEAD NO_RCPT REST "\1" "\1\0" "\1" "\1" "\4red\0", -EBADMSG),
	ROW("unknown", HEAD NO_RCPT REST "\1" "\7t.word\0" "\0", -EBADMSG),
	ROW("state 3", HEAD NO_RCPT REST "\1" "\7t.word\0" "\3" "\1" "\4red\0", -EBADMSG),
	ROW("type 8", HEAD NO_RCPT REST "\1" "\7t.word\0" "\201" "\1" "\4red\0", -EBADMSG),
	ROW("65 values", HEAD NO_RCPT REST "\1" "\7t.list\0" "\21" "\101" "\4red\0", -EBADMSG),
	ROW("a value is missing", HEAD NO_RCPT REST "\1" "\7t.list\0" "\21" "\1" "\0", -EBADMSG),
	ROW("why is missing", HEAD NO_RCPT REST "\1" "\7t.word\0" "\11" "\1" "\4red\0" "\0", -EBADMSG),
};

static void test_rows(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct history_record back;
		char *copy = malloc(rows[i].len + 1);   /* of exactly that length, so that reading past it is seen */
		int rc;

		copy = realloc(copy, rows[i].len ? rows[i].len : 1);
		assert_non_null(copy);
		memcpy(copy, rows[i].in, rows[i].len);
		rc = history_decode(copy, rows[i].len, memory, &back, NULL, NULL);
		if (rc != rows[i].want)
			fail_msg("%s: %d", rows[i].name, rc);
		/* And no beginning of it is a record. */
		for (size_t n = 0; n < rows[i].len && rows[i].want == 0; n++) {
			char *part = malloc(n ? n : 1);

			memcpy(part, copy, n);
			assert_int_equal(history_decode(part, n, memory, &back, NULL, NULL), -EBADMSG);
			free(part);
		}
		free(copy);
	}
}

/* What another version has recorded. */
static void test_lost(void **state)
{
	static const struct { const char *name, *in; size_t len; int want; } old[] = {
		ROW("t.gone", "\7t.gone\0" "\1" "\1" "\4red\0", 0),
		ROW("t.word", "\7t.word\0" "\1" "\1" "\4ред\0", 0),
		ROW("t.text", "\7t.text\0" "\121" "\2", 0),
		ROW("t.text", "\7t.text\0" "\21" "\2" "\2a\0" "\2b\0", 0),
	};

	for (size_t i = 0; i < sizeof(old) / sizeof(*old); i++) {
		AUTO(buf) struct buf in = BUF_INIT(1000);
		struct history_record back;
		const char *const *lost;

		buf_add(&in, HEAD NO_RCPT REST "\2" "\7t.bool\0" "\141" "\2", sizeof(HEAD NO_RCPT REST "\2" "\7t.bool\0" "\141" "\2") - 1);
		buf_add(&in, old[i].in, old[i].len);
		if (i == 1)
			in.data[in.len - 8] = 7;        /* two octets a letter */
		assert_int_equal(history_decode(in.data, in.len, memory, &back, NULL, &lost), 0);
		assert_non_null(lost[0]);
		assert_string_equal(lost[0], old[i].name);
		assert_null(lost[1]);
		assert_int_equal(back.facts[0]->count, 1);
		assert_true(facts_get_name(back.facts[0], "t.bool")->number);
	}
}

/* Any octet changed: refused or read, never past the end (the sanitizers watch). */
static void test_flipped(void **state)
{
	AUTO(buf) struct buf out = BUF_INIT(HISTORY_RECORD_MAX);
	struct facts f = { 0 };
	struct history_record r = plain(), back;

	for (int id = 0; id < fact_count(); id++)
		random_fact(&f, id);
	r.facts[0] = &f;
	assert_int_equal(history_encode(&r, &out), 0);
	for (size_t i = 0; i < out.len; i++) {
		char was = out.data[i];

		for (int bit = 0; bit < 8; bit++) {
			out.data[i] = (char)(was ^ 1 << bit);
			(void)history_decode(out.data, out.len, memory, &back, NULL, NULL);
		}
		out.data[i] = was;
	}
	facts_release(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip), cmocka_unit_test(test_bare), cmocka_unit_test(test_cut),
		cmocka_unit_test(test_largest), cmocka_unit_test(test_full), cmocka_unit_test(test_property),
		cmocka_unit_test(test_rows), cmocka_unit_test(test_lost), cmocka_unit_test(test_flipped),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
