/*
 * gatepost-policy(5) keeps to the program: its table of facts is what the filters register, and its
 * examples are policies. `test_policy_manual print` prints the table as it should be.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "policy/policy.h"

#define MANUAL "conf/gatepost-policy.5"
#define BEGIN ".\\\" facts: made by test_policy_manual, which also compares them\n"
#define END ".\\\" end of facts\n"

enum { WIDTH = 78 };

static void read_manual(struct buf *out)
{
	FILE *f = fopen(MANUAL, "re");
	char block[4096];
	size_t n;

	if (!f)
		fail_msg("%s cannot be read (tests run at the top of the source tree)", MANUAL);
	while ((n = fread(block, 1, sizeof(block), f)) > 0)
		buf_add(out, block, n);
	fclose(f);
	assert_false(out->failed);
}

static const char *type_text(const struct fact_def *d)
{
	static const char *const one[] = { "word",	 "text",   "domain",	   "mailbox",
					   "IP address", "number", "true or false", "time of day" };
	static const char *const many[] = { "list of words",
					    "list of texts",
					    "list of domains",
					    "list of mailboxes",
					    "list of IP addresses",
					    "",
					    "",
					    "" };

	return d->list ? many[d->type] : one[d->type];
}

/* Words of a sentence, in lines that are short enough. */
static void fill(const char *text, struct buf *out)
{
	size_t column = 0;

	while (*text) {
		size_t n = strcspn(text, " ");

		if (column && column + 1 + n > WIDTH) {
			buf_addc(out, '\n');
			column = 0;
		}
		buf_adds(out, column ? " " : "");
		buf_add(out, text, n);
		column += n + (column > 0);
		text += n + strspn(text + n, " ");
	}
	buf_addc(out, '\n');
}

static void one_fact(const struct fact_def *d, struct buf *out)
{
	AUTO(buf) struct buf text = BUF_INIT(2000);

	buf_addf(out, ".It Ic %s Pq %s\n", d->name, type_text(d));
	buf_addf(&text, "%c%s.", toupper((unsigned char)d->help[0]), d->help + 1);
	fill(buf_str(&text), out);
	if (!d->words)
		return;
	buf_clear(&text);
	for (int i = 0; d->words[i]; i++)
		buf_addf(&text, "%s%s",
			 i == 0		   ? "One of "
			 : d->words[i + 1] ? ", "
					   : " or ",
			 d->words[i]);
	buf_addc(&text, '.');
	fill(buf_str(&text), out);
}

static void facts_table(struct buf *out)
{
	static const char *const moments[STAGE_COUNT] = {
		"From the connection on", "From HELO on",	"From MAIL on",
		"From RCPT on",		  "From the header on", "From the end of the message on"
	};

	for (int stage = 0; stage < STAGE_COUNT; stage++) {
		bool any = false;

		for (int id = 0; id < fact_count(); id++) {
			const struct fact_def *d = fact_def(id);

			if ((int)d->stage != stage)
				continue;
			if (!any)
				buf_addf(out, ".Ss %s\n.Bl -tag -width Ds\n", moments[stage]);
			any = true;
			one_fact(d, out);
		}
		buf_adds(out, any ? ".El\n" : "");
	}
}

static void test_facts(void **state)
{
	AUTO(buf) struct buf manual = BUF_INIT(1 << 20), want = BUF_INIT(1 << 20);
	const char *begin, *end;

	read_manual(&manual);
	facts_table(&want);
	begin = strstr(buf_str(&manual), BEGIN);
	assert_non_null(begin);
	begin += strlen(BEGIN);
	end = strstr(begin, END);
	assert_non_null(end);
	if ((size_t)(end - begin) != want.len || memcmp(begin, want.data, want.len) != 0)
		fail_msg(
			"the facts in %s are not those of the filters: replace them by what `test_policy_manual print` prints",
			MANUAL);
}

/* A literal block of the manual as its reader sees it. */
static void plain(const char *p, const char *end, struct buf *out)
{
	for (; p < end; p++) {
		if (*p == '\\' && p + 1 < end && p[1] == 'e') {
			buf_addc(out, '\\');
			p++;
		} else {
			buf_addc(out, *p);
		}
	}
}

static void test_examples(void **state)
{
	static const char open[] = ".Bd -literal -offset indent\n", close[] = ".Ed\n";
	AUTO(buf) struct buf manual = BUF_INIT(1 << 20);
	char dir[] = "/tmp/test_policy.XXXXXX", list[64];
	bool seen[ACTION_COUNT] = { false };
	int examples = 0;
	FILE *f;

	assert_non_null(mkdtemp(dir));
	snprintf(list, sizeof(list), "%s/partners.txt", dir);
	f = fopen(list, "we");
	assert_non_null(f);
	fputs("# partners\n198.51.100.0/24\n", f);
	fclose(f);
	read_manual(&manual);
	for (const char *p = buf_str(&manual); (p = strstr(p, open)); examples++) {
		AUTO(buf) struct buf text = BUF_INIT(8000), errors = BUF_INIT(8000);
		AUTO(buf) struct buf warnings = BUF_INIT(8000);
		AUTO(policy) struct policy *policy = NULL;
		const char *end;

		p += strlen(open);
		end = strstr(p, close);
		assert_non_null(end);
		plain(p, end, &text);
		policy = policy_parse("example", buf_str(&text), text.len, dir, &errors, &warnings);
		if (!policy || warnings.len)
			fail_msg("%s\n%s%s", buf_str(&text), buf_str(&errors), buf_str(&warnings));
		for (size_t i = 0; i < policy_rule_count(policy); i++)
			seen[policy_rule(policy, i)->action] = true;
	}
	unlink(list);
	rmdir(dir);
	assert_true(examples >= 20);
	for (size_t i = 0; i < ACTION_COUNT; i++)
		if (!seen[i])
			fail_msg("%s has no example", action_name((enum action)i));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_facts),
		cmocka_unit_test(test_examples),
	};

	fact_register_all();
	if (argc > 1) {
		AUTO(buf) struct buf out = BUF_INIT(1 << 20);

		facts_table(&out);
		fputs(buf_str(&out), stdout);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
