/* Recipients with verdicts and effects: who is delivered with whom, and to which addresses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "smtp/smtp_groups.h"

enum { RCPTS = 4, EFFECTS = 4, MANY = 1000 };

/* Effects by letters, so that a row stays short. Two letters may say the same in rules of their own. */
static const struct rule rules[] = {
	{ .name = (char *)"T", .action = ACTION_TAG, .argument = (char *)"[X] " },
	{ .name = (char *)"t", .action = ACTION_TAG, .argument = (char *)"[X] " },
	{ .name = (char *)"U", .action = ACTION_TAG, .argument = (char *)"[Y] " },
	{ .name = (char *)"A", .action = ACTION_ADD_HEADER, .argument = (char *)"X-A: 1" },
	{ .name = (char *)"a", .action = ACTION_REMOVE_HEADER, .argument = (char *)"X-A: 1" },
	{ .name = (char *)"C", .action = ACTION_COPY, .argument = (char *)"copy@example.com" },
	{ .name = (char *)"c", .action = ACTION_COPY, .argument = (char *)"COPY@Example.com" },
	{ .name = (char *)"D", .action = ACTION_COPY, .argument = (char *)"r1@example.com" },
	{ .name = (char *)"R", .action = ACTION_REDIRECT, .argument = (char *)"other@example.com" },
	{ .name = (char *)"S", .action = ACTION_REDIRECT, .argument = (char *)"r1@example.com" },
	{ .name = (char *)"L", .action = ACTION_LOG, .argument = (char *)"a word" },
};

static const struct rule *rule_of(char letter)
{
	for (size_t i = 0; i < sizeof(rules) / sizeof(*rules); i++)
		if (rules[i].name[0] == letter)
			return &rules[i];
	fail_msg("no rule %c", letter);
	return NULL;
}

static int fate_of(char c)
{
	static const struct { char c; int fate; } fates[] = {
		{ '+', ACTION_ACCEPT }, { '-', ACTION_REJECT }, { '?', ACTION_DEFER }, { 'q', ACTION_QUARANTINE },
		{ '0', ACTION_DISCARD }, { '=', FATE_HAS_IT },
	};

	for (size_t i = 0; i < sizeof(fates) / sizeof(*fates); i++)
		if (fates[i].c == c)
			return fates[i].fate;
	fail_msg("no fate %c", c);
	return 0;
}

/* "+r0,r1>copy;-r2": fate, recipients; ">" the targets' addresses without their domain, "!" before a copy, "^" before a redirect. */
static void describe(const struct smtp_groups *g, struct buf *out)
{
	static const char signs[] = { [ACTION_ACCEPT] = '+', [ACTION_REJECT] = '-', [ACTION_DEFER] = '?', [ACTION_QUARANTINE] = 'q',
				      [ACTION_DISCARD] = '0', [FATE_HAS_IT] = '=' };

	for (size_t i = 0; i < g->count; i++) {
		const struct smtp_group *one = &g->group[i];

		buf_addf(out, "%s%c", i ? ";" : "", signs[one->fate]);
		for (size_t k = 0; k < one->count; k++)
			buf_addf(out, "%s%.2s", k ? "," : "", one->rcpt[k]->address);
		for (size_t k = 0; one->fate == ACTION_ACCEPT && k < one->target_count; k++) {
			const struct delivery_target *t = &one->target[k];

			buf_addf(out, "%c%s%.*s", k ? ',' : '>', t->copy ? "!" : t->instead_of ? "^" : "", (int)strcspn(t->address, "@"),
				 t->address);
			assert_string_equal(t->params, t->copy ? "NOTIFY=NEVER" : "NOTIFY=FAILURE");
		}
	}
}

static const struct {
	const char *name;
	const char *rcpt[RCPTS];        /* fate, then effects */
	bool plain;
	const char *want;
} rows[] = {
	{ "one", { "+" }, false, "+r0>r0" },
	{ "two alike", { "+", "+" }, false, "+r0,r1>r0,r1" },
	{ "the same header", { "+T", "+T" }, false, "+r0,r1>r0,r1" },
	{ "the same by two rules", { "+T", "+t" }, false, "+r0,r1>r0,r1" },
	{ "log changes nothing", { "+TL", "+t" }, false, "+r0,r1>r0,r1" },
	{ "another tag", { "+T", "+U" }, false, "+r0>r0;+r1>r1" },
	{ "another order", { "+TA", "+AT" }, false, "+r0>r0;+r1>r1" },
	{ "one more", { "+T", "+TU" }, false, "+r0>r0;+r1>r1" },
	{ "one less", { "+TU", "+T" }, false, "+r0>r0;+r1>r1" },
	{ "added is not removed", { "+A", "+a" }, false, "+r0>r0;+r1>r1" },
	{ "three, two groups", { "+T", "+", "+T" }, false, "+r0,r2>r0,r2;+r1>r1" },
	{ "observe mode", { "+T", "+UCR" }, true, "+r0,r1>r0,r1" },
	{ "fates apart", { "+", "-", "q", "?" }, false, "+r0>r0;-r1;qr2;?r3" },
	{ "fates together", { "q", "+", "q", "+" }, false, "qr0,r2;+r1,r3>r1,r3" },
	{ "effects of the refused", { "-T", "-U", "qA", "q" }, false, "-r0,r1;qr2,r3" },
	{ "discarded", { "0", "+", "0C" }, false, "0r0,r2;+r1>r1" },
	{ "copy", { "+C" }, false, "+r0>r0,!copy" },
	{ "copy once", { "+C", "+C" }, false, "+r0,r1>r0,r1,!copy" },
	{ "copy once, whatever its case", { "+C", "+c" }, false, "+r0,r1>r0,r1,!copy" },
	{ "copy once, two groups", { "+TC", "+UC" }, false, "+r0>r0,!copy;+r1>r1" },
	{ "copy by the second group", { "+T", "+UC" }, false, "+r0>r0;+r1>r1,!copy" },
	{ "copy to a recipient", { "+D", "+" }, false, "+r0,r1>r0,r1" },
	{ "copy to a recipient of another group", { "+D", "+T" }, false, "+r0>r0;+r1>r1" },
	{ "copy to whom it is kept from", { "+D", "q" }, false, "+r0>r0,!r1;qr1" },
	{ "copy to a redirect's target", { "+D", "+TS", "+R" }, false, "+r0,r2>r0,^other;+r1>^r1" },
	{ "copy of the quarantined", { "qC", "+" }, false, "qr0;+r1>r1" },
	{ "redirect", { "+R" }, false, "+r0>^other" },
	{ "redirect, the first of two", { "+RS" }, false, "+r0>^other" },
	{ "redirect behind the others", { "+R", "+" }, false, "+r0,r1>r1,^other" },
	{ "two to one address", { "+R", "+R" }, false, "+r0,r1>^other" },
	{ "redirect to a recipient", { "+S", "+" }, false, "+r0,r1>r1" },
	{ "redirect and copy", { "+RC" }, false, "+r0>^other,!copy" },
	{ "has it", { "=", "+" }, false, "=r0;+r1>r1" },
	{ "has it, and its copy was made", { "=C", "+C" }, false, "=r0;+r1>r1" },
	{ "has it later in the order, and its copy was made", { "+C", "=C" }, false, "+r0>r0;=r1" },
	{ "copy to one who has it", { "+D", "=" }, false, "+r0>r0;=r1" },
};

static void test_rows(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(buf) struct buf got = BUF_INIT(1024);
		struct recipient rcpt[RCPTS];
		struct judge judge[RCPTS] = { 0 };
		char address[RCPTS][32], params[] = "NOTIFY=FAILURE";
		struct smtp_groups g;
		int fate[RCPTS];
		size_t n;

		for (n = 0; n < RCPTS && rows[i].rcpt[n]; n++) {
			snprintf(address[n], sizeof(address[n]), "r%zu@example.com", n);
			rcpt[n] = (struct recipient){ .address = address[n], .params = params };
			judge[n].rcpt = &rcpt[n];
			fate[n] = fate_of(rows[i].rcpt[n][0]);
			for (const char *p = rows[i].rcpt[n] + 1; *p; p++)
				judge[n].run.effects[judge[n].run.effect_count++] = rule_of(*p);
		}
		assert_int_equal(smtp_groups_make(judge, fate, NULL, n, rows[i].plain, &g), 0);
		describe(&g, &got);
		if (strcmp(buf_str(&got), rows[i].want) != 0)
			fail_msg("%s: %s, expected %s", rows[i].name, buf_str(&got), rows[i].want);
		for (size_t k = 0; k < n; k++)
			assert_int_equal(g.group[g.of[k]].fate, fate[k]);
		smtp_groups_release(&g);
	}
}

/* Those of different next hops never share a delivery; what is not delivered is one group all the same. */
static void test_ways(void **state)
{
	static const struct { const char *fates; unsigned char way[RCPTS]; size_t groups; size_t of[RCPTS]; } ways[] = {
		{ "aaa", { 0, 0, 0 }, 1, { 0, 0, 0 } },
		{ "aaa", { 0, 1, 0 }, 2, { 0, 1, 0 } },
		{ "aaa", { 255, 1, 255 }, 2, { 0, 1, 0 } },
		{ "qqa", { 0, 1, 1 }, 2, { 0, 0, 1 } },
		{ "aqa", { 1, 1, 0 }, 3, { 0, 1, 2 } },
	};

	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		struct recipient rcpt[3];
		struct judge judge[3] = { 0 };
		char address[] = "r@example.com", params[] = "";
		struct smtp_groups g;
		int fate[3];

		for (size_t n = 0; n < 3; n++) {
			rcpt[n] = (struct recipient){ .address = address, .params = params };
			judge[n].rcpt = &rcpt[n];
			fate[n] = ways[i].fates[n] == 'a' ? ACTION_ACCEPT : ACTION_QUARANTINE;
		}
		assert_int_equal(smtp_groups_make(judge, fate, ways[i].way, 3, i % 2, &g), 0);
		assert_int_equal(g.count, ways[i].groups);
		for (size_t n = 0; n < 3; n++) {
			if (g.of[n] != ways[i].of[n])
				fail_msg("row %zu, recipient %zu: group %zu", i, n, g.of[n]);
			if (fate[n] == ACTION_ACCEPT)
				assert_int_equal(g.group[g.of[n]].way, ways[i].way[n]);
		}
		smtp_groups_release(&g);
	}
}

/* As many recipients as a message may have by default, each with a header of its own. */
static void test_many(void **state)
{
	struct judge *judge = calloc(MANY, sizeof(*judge));
	struct recipient *rcpt = calloc(MANY, sizeof(*rcpt));
	struct rule *rule = calloc(MANY, sizeof(*rule));
	int *fate = calloc(MANY, sizeof(*fate));
	char (*text)[32] = calloc(MANY, sizeof(*text));
	char params[] = "";
	struct smtp_groups g;

	assert_true(judge && rcpt && rule && fate && text);
	for (size_t i = 0; i < MANY; i++) {
		snprintf(text[i], sizeof(text[i]), "X-N: %zu", i);
		rule[i] = (struct rule){ .action = ACTION_ADD_HEADER, .argument = text[i] };
		rcpt[i] = (struct recipient){ .address = text[i], .params = params };
		judge[i].rcpt = &rcpt[i];
		judge[i].run.effects[judge[i].run.effect_count++] = &rule[i];
		judge[i].run.effects[judge[i].run.effect_count++] = rule_of('C');
	}
	assert_int_equal(smtp_groups_make(judge, fate, NULL, MANY, false, &g), 0);
	assert_int_equal(g.count, MANY);
	assert_int_equal(g.group[0].target_count, 2);
	for (size_t i = 1; i < MANY; i++)
		assert_int_equal(g.group[i].target_count, 1);
	assert_int_equal(smtp_groups_find(&g, ACTION_REJECT), NULL);
	smtp_groups_release(&g);
	free(judge);
	free(rcpt);
	free(rule);
	free(fate);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_ways), cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests_name("smtp_groups", tests, NULL, NULL);
}
