/* The policy by which the language was drawn up, in the facts of the filters: when each rule can decide, and what holds it back. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "policy/policy.h"

static const char text[] =
	"list partners = file \"%s/partners.txt\"       # domains, addresses, CIDR networks, or /regex/\n"
	"list trusted  = { 192.0.2.0/24 }\n"
	"class board   = recipients { \"ceo@example.com\", \"cfo@example.com\" }\n"
	"\n"
	"accept     if client.ip in trusted\n"
	"reject     if dnsbl.score >= 5                               # refused at RCPT: no DATA is spent on it\n"
	"greylist   if spf in (none, softfail, temperror) and client.fcrdns != pass\n"
	"reject     \"550 5.7.1 spoofed sender\" if from.domain in local and dmarc != pass\n"
	"quarantine if dmarc = fail and dmarc.policy in (quarantine, reject)\n"
	"score +2   if header.subject ~ /(?i)invoice.*overdue/\n"
	"quarantine if attachment.extension in (exe, js, vbs, iso, lnk)\n"
	"quarantine if class = board and score >= 1\n"
	"tag \"[EXTERNAL] \" if not tls and spf != pass\n"
	"quarantine if score >= 5\n"
	"accept\n";

/* From 0; -1: nothing holds it back. */
static const struct { enum action action; const char *stage; int held_by; } want[] = {
	{ ACTION_ACCEPT, "connect", -1 },
	{ ACTION_REJECT, "connect", -1 },
	{ ACTION_GREYLIST, "mail", -1 },
	{ ACTION_REJECT, "data", -1 },
	{ ACTION_QUARANTINE, "data", -1 },
	{ ACTION_SCORE, "header", -1 },
	{ ACTION_QUARANTINE, "data", -1 },
	{ ACTION_QUARANTINE, "header", 4 },     /* who does not claim to be local is known by then, what DMARC says is not */
	{ ACTION_TAG, "mail", 4 },
	{ ACTION_QUARANTINE, "never", -1 },     /* there are 2 to be had */
	{ ACTION_ACCEPT, "connect", 4 },
};

static char dir[] = "/tmp/test_policy_example.XXXXXX";

static struct policy *parse(const char *more, struct buf *errors, struct buf *warnings)
{
	char policy[4000], path[100];
	FILE *f;

	snprintf(path, sizeof(path), "%s/partners.txt", dir);
	f = fopen(path, "we");
	assert_non_null(f);
	fputs("partner.example\nbob@partner.example\n198.51.100.0/24\n", f);
	assert_int_equal(fclose(f), 0);
	snprintf(policy, sizeof(policy), text, dir);
	assert_true(strlen(policy) + strlen(more) < sizeof(policy));
	strcat(policy, more);
	return policy_parse("policy.conf", policy, strlen(policy), dir, errors, warnings);
}

static void test_stages(void **state)
{
	AUTO(buf) struct buf errors = BUF_INIT(4000), warnings = BUF_INIT(4000), shown = BUF_INIT(16000);
	AUTO(policy) struct policy *p = parse("", &errors, &warnings);
	const char *line;

	if (!p)
		fail_msg("%s", buf_str(&errors));
	assert_string_equal(buf_str(&warnings), "policy.conf:14:15: score is 0 to 2 here, so this is never true\n"
						"policy.conf:1:6: list partners is not used by any rule\n");
	assert_int_equal(policy_rule_count(p), sizeof(want) / sizeof(*want));
	policy_describe(p, &shown);
	line = buf_str(&shown);
	for (size_t i = 0; i < sizeof(want) / sizeof(*want); i++) {
		const struct rule *r = policy_rule(p, i);
		char head[64];

		snprintf(head, sizeof(head), "policy.conf:%-4d %-7s %s", r->line, want[i].stage, r->text);
		assert_int_equal(r->action, want[i].action);
		if (strncmp(line, head, strlen(head)) != 0)
			fail_msg("rule %zu: %.70s\nwanted: %s", i, line, head);
		line = strchr(line, '\n') + 1;
		if (want[i].held_by >= 0) {
			snprintf(head, sizeof(head), "                         held back by line %d until data\n", policy_rule(p, (size_t)want[i].held_by)->line);
			if (strncmp(line, head, strlen(head)) != 0)
				fail_msg("rule %zu: %.70s\nwanted: %s", i, line, head);
			line = strchr(line, '\n') + 1;
		}
		if (strcmp(want[i].stage, "never") != 0)
			assert_int_equal(policy_held_back_by(p, i), want[i].held_by);
	}
}

/* Every action has a line, with its stage. */
static void test_actions(void **state)
{
	static const struct { const char *rule, *shown; } rows[] = {
		{ "discard if sender.null", "mail    discard if sender.null" },
		{ "defer if rcpt.postmaster", "rcpt    defer if rcpt.postmaster" },
		{ "score -1 if dkim = pass", "data    score -1 if dkim = pass" },
		{ "add header \"X-A: b\" if class = board", "rcpt    add header \"X-A: b\" if class = board" },
		{ "remove header \"X-A\" if time >= 22:00", "mail    remove header \"X-A\" if time >= 22:00" },
		{ "copy to \"a@example.com\" if direction = outbound", "rcpt    copy to \"a@example.com\" if direction = outbound" },
		{ "redirect to \"a@example.com\"", "connect redirect to \"a@example.com\"" },
		{ "log \"x\" if direction in (internal, retrieval)", "rcpt    log \"x\" if direction in (internal, retrieval)" },
		{ "observe score +3 if tls", "mail    observe score +3 if tls" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(buf) struct buf all = BUF_INIT(4000), errors = BUF_INIT(4000), shown = BUF_INIT(16000), line = BUF_INIT(400);
		AUTO(policy) struct policy *p = NULL;

		buf_addf(&all, "class board = recipients { ceo@example.com }\n%s\naccept\n", rows[i].rule);
		p = policy_parse("p", all.data, all.len, NULL, &errors, NULL);
		if (!p)
			fail_msg("%s", buf_str(&errors));
		policy_describe(p, &shown);
		buf_addf(&line, "p:2    %s\n", rows[i].shown);
		assert_memory_equal(buf_str(&shown), buf_str(&line), line.len);
	}
}

static int setup(void **state)
{
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	char path[100];

	snprintf(path, sizeof(path), "%s/partners.txt", dir);
	unlink(path);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stages),
		cmocka_unit_test(test_actions),
	};

	fact_register_all();
	return cmocka_run_group_tests_name("policy_example", tests, setup, teardown);
}
