/* The facts of a record as facts again; what is damaged or of another version is unknown. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy/record.h"
#include "policy/record_facts.h"

static const struct {
	const char *name, *json, *fact, *want;          /* want: as text; NULL: unknown */
} rows[] = {
	{ "a word", "{\"facts\": {\"spf\": \"pass\"}, \"why\": {\"spf\": \"because\"}}", "spf", "pass" },
	{ "a word that is none", "{\"facts\": {\"spf\": \"perhaps\"}}", "spf", NULL },
	{ "a word as a number", "{\"facts\": {\"spf\": 1}}", "spf", NULL },
	{ "a word as a list", "{\"facts\": {\"spf\": [\"pass\"]}}", "spf", NULL },
	{ "not looked up", "{\"facts\": {\"spf\": {\"temperror\": \"no answer\"}}}", "spf", "temperror" },
	{ "an object of something else", "{\"facts\": {\"spf\": {\"error\": \"no answer\"}}}", "spf", NULL },
	{ "a list", "{\"facts\": {\"dkim.results\": [\"pass d=a\", \"fail d=b\"]}}", "dkim.results", "pass d=a,fail d=b" },
	{ "an empty list", "{\"facts\": {\"dkim.results\": []}}", "dkim.results", "" },
	{ "a list as a word", "{\"facts\": {\"dkim.results\": \"pass\"}}", "dkim.results", NULL },
	{ "a list with a number in it", "{\"facts\": {\"dkim.results\": [\"pass\", 1]}}", "dkim.results", NULL },
	{ "a number", "{\"facts\": {\"arc.instance\": 3}}", "arc.instance", "3" },
	{ "a number as text", "{\"facts\": {\"arc.instance\": \"3\"}}", "arc.instance", NULL },
	{ "a number as a fraction", "{\"facts\": {\"arc.instance\": 3.5}}", "arc.instance", NULL },
	{ "a switch", "{\"facts\": {\"client.early_talker\": true}}", "client.early_talker", "yes" },
	{ "a switch as a number", "{\"facts\": {\"client.early_talker\": 1}}", "client.early_talker", NULL },
	{ "text with a NUL", "{\"facts\": {\"from.domain\": \"a\\u0000b\"}}", "from.domain", NULL },
	{ "a name that is none", "{\"facts\": {\"no.such.fact\": 1, \"spf\": \"fail\"}}", "spf", "fail" },
	{ "a reason that is none", "{\"facts\": {\"spf\": \"fail\"}, \"why\": {\"spf\": 7}}", "spf", "fail" },
	{ "no facts", "{}", "spf", NULL },
	{ "facts as a list", "{\"facts\": [\"spf\"]}", "spf", NULL },
	{ "no record", "[]", "spf", NULL },
};

static void test_rows(void **state)
{
	fact_register_all();
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		json_t *record = json_loads(rows[i].json, JSON_ALLOW_NUL, NULL);
		struct facts facts = { 0 };
		AUTO(buf) struct buf text = BUF_INIT(4096);
		const struct fact *f;

		assert_non_null(record);
		assert_int_equal(record_facts(record, &facts), 0);
		f = facts_get_name(&facts, rows[i].fact);
		if (f)
			record_fact_text(f, &text);
		if (!f != !rows[i].want || (f && strcmp(buf_str(&text), rows[i].want) != 0))
			fail_msg("%s: %s", rows[i].name, f ? buf_str(&text) : "unknown");
		if (i == 0)
			assert_string_equal(f->why, "because");
		facts_release(&facts);
		json_decref(record);
	}
}

/* However long a chain of seals and names are, what stands behind them is told. */
static void test_brief(void **state)
{
	AUTO(buf) struct buf text = BUF_INIT(RECORD_BRIEF_MAX);
	struct client client = { .esmtp = true };
	struct txn t;
	char name[254];

	fact_register_all();
	memset(name, 'a', sizeof(name));
	for (size_t i = 60; i < sizeof(name); i += 61)
		name[i] = '.';
	name[sizeof(name) - 1] = '\0';
	txn_init(&t, NULL, NULL, &client);
	facts_set(&t.evidence.facts, "spf", "fail");
	facts_set(&t.evidence.facts, "arc", "pass");
	facts_set(&t.evidence.facts, "arc.sealer", name);
	for (int i = 0; i < 50; i++)
		facts_add(&t.evidence.facts, "arc.dmarc_sealers", name);
	facts_set(&t.evidence.facts, "from.domain", name);
	facts_set(&t.evidence.facts, "virus.name", "Eicar");
	record_facts_brief(&t, NULL, &text);
	assert_false(text.failed);
	assert_non_null(strstr(buf_str(&text), "spf=fail arc=pass arc.sealer=aaa"));
	assert_non_null(strstr(buf_str(&text), "... arc.dmarc_sealers=aaa"));
	assert_non_null(strstr(buf_str(&text), "... from.domain=aaa"));
	assert_non_null(strstr(buf_str(&text), "... virus.name=Eicar"));
	txn_release(&t);
	client_release(&client);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_rows), cmocka_unit_test(test_brief) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
