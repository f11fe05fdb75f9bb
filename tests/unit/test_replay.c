/*
 * On random policies and random facts: what a policy has done live, it does again from the record; and what another policy would
 * have done is either said as it would have been, or not at all. SEED and ROUNDS in the environment repeat or lengthen it.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filters/envelope.h"
#include "filters/filter.h"
#include "policy/policy.h"
#include "policy/replay_tally.h"
#include "support/random.h"

static const char *const comparisons[] = {
	"spf = fail", "spf != pass", "spf in (none, softfail, temperror)", "dkim = pass", "dkim != fail", "dmarc = fail", "dmarc != pass",
	"dmarc.policy = reject", "client.fcrdns != pass", "client.ip in (192.0.2.0/25)", "dnsbl.score >= 5", "dnsbl.score < 2", "tls", "sender.null",
	"sender in (a.example)", "rcpt = x@a.example", "rcpt.postmaster", "from.domain in (a.example)", "from.domain != a.example", "from.count != 1",
	"header.subject ~ /x/", "header.list_id ~ /./", "message.size > 10K", "temperror.expired", "true", "helo.ours", "score >= 2", "score < 0", "class = first", "class != all",
};

static void condition(struct buf *out, int depth)
{
	unsigned kind = depth ? pick(6) : 0;
	int n = 2 + (int)pick(2);

	if (kind < 3) {
		buf_adds(out, ONE_OF(comparisons));
	} else if (kind == 3) {
		buf_adds(out, "not (");
		condition(out, depth - 1);
		buf_adds(out, ")");
	} else {
		buf_adds(out, "(");
		for (int i = 0; i < n; i++) {
			buf_adds(out, i == 0 ? "" : kind == 4 ? " and " : " or ");
			condition(out, depth - 1);
		}
		buf_adds(out, ")");
	}
}

static struct policy *random_policy(struct buf *text)
{
	static const char *const actions[] = {
		"accept", "reject", "reject \"other\"", "defer", "quarantine", "discard", "greylist", "tag \"t\"", "observe reject", "score +2", "score -1",
	};
	AUTO(buf) struct buf errors = BUF_INIT(64 * 1024);
	unsigned n = 1 + pick(10);
	struct policy *p;

	buf_adds(text, "class first = recipients { x@a.example }\nclass all = recipients { a.example }\n");
	for (unsigned i = 0; i < n; i++) {
		buf_adds(text, ONE_OF(actions));
		if (pick(8)) {
			buf_adds(text, " if ");
			condition(text, (int)pick(3));
		}
		buf_adds(text, "\n");
	}
	p = policy_parse("p", buf_str(text), text->len, NULL, &errors, NULL);
	if (!p)
		fail_msg("%s%s", buf_str(text), buf_str(&errors));
	return p;
}

static const struct { const char *name, *values[8]; } vocabulary[] = {
	{ "spf", { "none", "neutral", "pass", "fail", "softfail", "temperror", "permerror" } },
	{ "dkim", { "none", "pass", "fail", "temperror" } },
	{ "dmarc", { "none", "pass", "fail", "temperror", "permerror" } },
	{ "dmarc.policy", { "none", "quarantine", "reject" } },
	{ "client.fcrdns", { "none", "pass", "fail", "temperror" } },
	{ "client.ip", { "192.0.2.1", "192.0.2.200", "2001:db8::1" } },
	{ "dnsbl.score", { "0", "1", "3", "5", "9", "-2" } },
	{ "tls", { "1", "0" } },
	{ "sender.null", { "1", "0" } },
	{ "sender", { "", "u@a.example", "u@x.a.example", "u@b.example" } },
	{ "from.domain", { "a.example", "x.a.example", "b.example" } },
	{ "from.count", { "0", "1", "2" } },
	{ "header.subject", { "xyz", "hello", "" } },
	{ "header.list_id", { "<l.a.example>" } },
	{ "message.size", { "10", "20000" } },
	{ "helo.ours", { "1", "0" } },
};

static void random_world(struct facts *world)
{
	for (size_t i = 0; i < sizeof(vocabulary) / sizeof(*vocabulary); i++) {
		const char *name = vocabulary[i].name, *value;
		enum fact_type type = fact_def(fact_find(name, strlen(name)))->type;
		unsigned n = 0, kind = pick(10);

		while (n < 8 && vocabulary[i].values[n])
			n++;
		value = vocabulary[i].values[pick(n)];
		if (kind == 0)
			continue;               /* there is no such thing */
		if (kind == 1)
			facts_temperror(world, name, "timeout");
		else if (type == FACT_NUMBER)
			facts_set_num(world, name, atoll(value));
		else if (type == FACT_BOOL)
			facts_set_bool(world, name, value[0] == '1');
		else
			facts_set(world, name, value);
	}
}

/* A transaction as it goes on: filters are asked when a rule wants to know. */
struct live {
	const struct facts *world;
	struct facts own;
	const char *rcpt;
	bool grey_passes, expired;
	enum stage stage;
	uint32_t ran;
	/* what came of it */
	char action[REPLAY_NAME_MAX];
};

static const struct fact *live_get(void *arg, int id, bool *final)
{
	struct live *l = arg;
	const struct fact *f = facts_get(&l->own, id);

	*final = f || fact_def(id)->stage <= l->stage;
	if (f || !*final)
		return f;
	if (fact_owner(id) >= 0)
		l->ran |= UINT32_C(1) << fact_owner(id);
	return facts_get(l->world, id);
}

/* As judge.c does it: true when it is decided. */
static bool live_step(struct live *l, const struct policy *p, struct policy_run *run, bool final)
{
	struct policy_facts facts = { .get = live_get, .arg = l, .temperror_expired = l->expired };
	enum policy_event event;
	enum action action;

	while ((event = policy_next(p, run, &facts, final)) == POLICY_GREYLIST) {
		if (recipient_is_postmaster(l->rcpt))
			continue;
		facts_set(&l->own, "greylist", l->grey_passes ? "pass" : "wait");
		if (l->grey_passes)
			continue;
		snprintf(l->action, sizeof(l->action), "greylist");
		return true;
	}
	if (event == POLICY_UNDECIDED)
		return false;
	action = event == POLICY_TEMPORARY ? ACTION_DEFER : run->rule ? run->rule->action : ACTION_ACCEPT;
	if ((action == ACTION_REJECT || action == ACTION_DEFER || action == ACTION_DISCARD) && l->stage <= STAGE_RCPT && recipient_is_postmaster(l->rcpt))
		action = ACTION_ACCEPT;
	snprintf(l->action, sizeof(l->action), "%s", action_name(action));
	return true;
}

/*
 * Up to the verdict. Who is not refused goes on to the end of the data, where the filters in `header` are asked for what
 * Authentication-Results says.
 */
static void live_run(struct live *l, const struct policy *p, uint32_t header)
{
	struct recipient to = { .address = (char *)l->rcpt, .params = (char *)"", .domain = (char *)"a.example" };
	struct policy_run run = { 0 };
	bool decided = false;

	recipient_facts_set(&to, &l->own);
	if (l->expired)
		facts_set_bool(&l->own, "temperror.expired", true);
	for (int stage = STAGE_RCPT; !decided && stage < STAGE_COUNT; stage++) {
		l->stage = (enum stage)stage;
		decided = live_step(l, p, &run, stage == STAGE_DATA);
	}
	assert_true(decided);
	if (strcmp(l->action, "reject") != 0 && strcmp(l->action, "defer") != 0 && strcmp(l->action, "greylist") != 0) {
		l->stage = STAGE_DATA;
		l->ran |= header;
	}
}

/* What the history keeps of it, there and back. */
static void record_make_of(const struct live *l, struct buf *bytes)
{
	struct facts known = { 0 };
	const char *ran[33], *rcpt[] = { l->rcpt };
	size_t n = 0;
	struct history_record r = {
		.at_ms = 1000, .code = "a-1", .client = "192.0.2.1", .helo = "h", .from = "u@a.example", .rcpt = rcpt, .rcpt_count = 1,
		.stage = l->stage, .verdict = "accept", .action = l->action, .ms_data = -1, .ms_checks = -1, .ms_backend = -1, .ms = 3,
		.ran = ran, .facts = { &known, &l->own },
	};

	for (int i = 0; filters[i]; i++)
		if (l->ran & UINT32_C(1) << i)
			ran[n++] = filters[i]->name;
	ran[n] = NULL;
	for (size_t i = 0; i < l->world->count; i++) {
		const struct fact *f = &l->world->v[i];
		const struct fact_def *d = fact_def(f->id);

		if (d->stage > l->stage || !(l->ran & UINT32_C(1) << fact_owner(f->id)))
			continue;
		if (f->state == FACT_TEMPERROR)
			facts_temperror(&known, d->name, "timeout");
		else if (d->type == FACT_NUMBER)
			facts_set_num(&known, d->name, f->number);
		else if (d->type == FACT_BOOL)
			facts_set_bool(&known, d->name, f->number);
		else
			facts_set(&known, d->name, f->text[0]);
	}
	assert_int_equal(history_encode(&r, bytes), 0);
	facts_release(&known);
}

static void replay_of(const struct policy *p, const struct buf *bytes, const char *rcpt, struct replay_verdict *v)
{
	struct history_memory *memory = history_memory_new();
	struct replay *replay = replay_new(p);
	struct history_record r;
	const char *const *cut;

	assert_int_equal(history_decode(bytes->data, bytes->len, memory, &r, &cut, NULL), 0);
	replay_begin(replay, &r, cut, NULL);
	assert_int_equal(replay_judge(replay, rcpt, v), 0);
	replay_free(replay);
	history_memory_free(memory);
}

static void test_agrees_with_live(void **state)
{
	const char *seed = getenv("SEED"), *rounds = getenv("ROUNDS");
	uint64_t n = rounds ? strtoull(rounds, NULL, 10) : 4000, known = 0, unknown = 0, changed = 0;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t this_seed = (seed ? strtoull(seed, NULL, 10) : 1) + i;
		AUTO(buf) struct buf text = BUF_INIT(64 * 1024), other_text = BUF_INIT(64 * 1024), bytes = BUF_INIT(HISTORY_RECORD_MAX);
		AUTO(policy) struct policy *p = NULL, *other = NULL;
		struct facts world = { 0 };
		struct replay_verdict v;
		struct live live = { .world = &world }, would;
		char name[REPLAY_NAME_MAX];
		uint32_t header;

		random_seed(this_seed);
		p = random_policy(&text);
		other = random_policy(&other_text);
		random_world(&world);
		live.rcpt = pick(8) ? "x@a.example" : "postmaster@a.example";
		live.grey_passes = pick(2);
		live.expired = pick(4) == 0;
		header = pick(2) ? pick(1u << 16) : 0;
		would = live;
		live_run(&live, p, header);
		live_run(&would, other, 0);
		record_make_of(&live, &bytes);

		replay_of(p, &bytes, live.rcpt, &v);
		replay_name(&v, name);
		if (strcmp(name, live.action) != 0)
			fail_msg("seed %" PRIu64 ": live %s, from the record %s\n%s", this_seed, live.action, name, buf_str(&text));

		replay_of(other, &bytes, live.rcpt, &v);
		replay_name(&v, name);
		known += v.missing == REPLAY_COMPLETE;
		unknown += v.missing != REPLAY_COMPLETE;
		changed += v.missing == REPLAY_COMPLETE && strcmp(name, live.action) != 0;
		/* Whether a greylist would have let it pass that was not asked is the one thing that is left open. */
		if (v.missing == REPLAY_COMPLETE && !v.meets_greylist && strcmp(name, would.action) != 0)
			fail_msg("seed %" PRIu64 ": would be %s, from the record %s\n%s---\n%s", this_seed, would.action, name, buf_str(&text),
				 buf_str(&other_text));
		if (v.missing == REPLAY_COMPLETE && v.meets_greylist && live.grey_passes && strcmp(name + strlen("greylist, then "), would.action) != 0)
			fail_msg("seed %" PRIu64 ": would be %s, from the record %s\n%s---\n%s", this_seed, would.action, name, buf_str(&text),
				 buf_str(&other_text));
		facts_release(&live.own);
		facts_release(&would.own);
		facts_release(&world);
	}
	assert_true(known > n / 4 && unknown > n / 10 && changed > n / 10);     /* all kinds were really there */
}

/* Verdicts that are alike are one row; what cannot be known stands apart. */
static void test_tally(void **state)
{
	static const char text[] = "quarantine if spf = fail\nreject if dkim = fail\naccept\n";
	static const struct { const char *action, *spf, *dkim; enum stage stage; } rows[] = {
		{ "accept", "pass", "pass", STAGE_DATA }, { "accept", "fail", "pass", STAGE_DATA }, { "accept", "fail", NULL, STAGE_DATA },
		{ "reject", "pass", NULL, STAGE_RCPT }, { "accept", "pass", NULL, STAGE_DATA }, { NULL, "pass", NULL, STAGE_RCPT },
		{ "accept", "TEMPERROR", "pass", STAGE_DATA }, { "quarantine", "pass", "fail", STAGE_DATA },
	};
	AUTO(policy) struct policy *p = policy_parse("p", text, strlen(text), NULL, NULL, NULL);
	struct replay *replay = replay_new(p);
	struct replay_tally t = { .examples = 1 };
	const char *rcpt[] = { "x@a.example" };
	json_t *json;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		const char *ran[3] = { "spf", rows[i].dkim ? "dkim" : NULL, NULL };
		struct facts facts = { 0 };
		struct history_record r = { .at_ms = 1000 * (int64_t)(i + 1), .code = "a-1", .client = "192.0.2.1", .from = "", .rcpt = rcpt,
					    .rcpt_count = 1, .stage = rows[i].stage, .action = rows[i].action, .ran = ran, .facts = { &facts } };
		const struct replay_row *row;
		struct replay_verdict v;

		if (strcmp(rows[i].spf, "TEMPERROR") == 0)
			facts_temperror(&facts, "spf", "timeout");
		else
			facts_set(&facts, "spf", rows[i].spf);
		if (rows[i].dkim)
			facts_set(&facts, "dkim", rows[i].dkim);
		replay_tally_record(&t, &r);
		replay_begin(replay, &r, NULL, NULL);
		assert_int_equal(replay_judge(replay, rcpt[0], &v), 0);
		assert_int_equal(replay_tally_add(&t, &r, rcpt[0], &v, &row), 0);
		assert_int_equal(!row, i == 0 || i == 5);
		facts_release(&facts);
	}
	replay_tally_sort(&t);
	assert_int_equal(t.records, 8);
	assert_int_equal(t.same, 1);
	assert_int_equal(t.not_judged, 1);
	assert_int_equal(t.changed, 4);
	assert_int_equal(t.unknown, 2);
	assert_int_equal(t.row_count, 5);
	assert_string_equal(t.row[0].to, "quarantine");
	assert_int_equal(t.row[0].count, 2);
	assert_int_equal(t.row[0].rule->line, 1);
	assert_int_equal(t.row[0].example_count, 1);
	assert_int_equal(t.row[3].missing != REPLAY_COMPLETE && t.row[4].missing != REPLAY_COMPLETE, true);
	json = replay_tally_json(&t);
	assert_int_equal(json_array_size(json_object_get(json, "changes")), 3);
	assert_int_equal(json_array_size(json_object_get(json, "unknown")), 2);
	assert_int_equal(json_integer_value(json_object_get(json, "cannot_be_known")), 2);
	json_decref(json);
	replay_tally_release(&t);
	replay_free(replay);
}

/* Whether a rule had asked for the time or not, the record tells it. */
static void test_time(void **state)
{
	static const char text[] = "defer if time >= 22:00 and time.weekday = sat\naccept\n";
	AUTO(policy) struct policy *p = policy_parse("p", text, strlen(text), NULL, NULL, NULL);
	const char *rcpt[] = { "x@a.example" };
	struct facts facts = { 0 };
	/* the verdict came on Sunday, 2026-11-22 00:00:10, a quarter of a minute after MAIL */
	struct history_record r = { .at_ms = INT64_C(1795305610000), .ms = 15000, .from = "", .rcpt = rcpt, .rcpt_count = 1,
				    .stage = STAGE_DATA, .action = "accept", .facts = { &facts } };
	struct replay *replay;
	struct replay_verdict v;

	setenv("TZ", "UTC", 1);
	replay = replay_new(p);
	replay_begin(replay, &r, NULL, NULL);
	assert_int_equal(replay_judge(replay, rcpt[0], &v), 0);
	assert_int_equal(v.missing, REPLAY_COMPLETE);
	assert_int_equal(v.action, ACTION_DEFER);
	facts_set(&facts, "time", "12:00");             /* what was recorded counts more */
	facts_set(&facts, "time.weekday", "sat");
	assert_int_equal(replay_judge(replay, rcpt[0], &v), 0);
	assert_int_equal(v.action, ACTION_ACCEPT);
	facts_release(&facts);
	replay_free(replay);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_agrees_with_live),
		cmocka_unit_test(test_tally),
		cmocka_unit_test(test_time),
	};

	fact_register_all();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
