/* gatepost.conf: milters */
#include "filters/fact.h"
#include "policy/conf_table.h"
#include "tests/unit/conf_lab.h"

static int setup(void **state)
{
	dir_make();
	fact_register_all();    /* the policy is written in their names */
	return 0;
}

static void test_mistakes(void **state)
{
	static const struct { const char *text, *errors; } rows[] = {
		{ "milter a { }\n", "@:4: milter a: has no address" },
		{ "milter a { address = { \"inet:8891\" } }\n", "@:4: address: \"8891\" is no daemon's" },
		{ "milter a { address = { \"inet:@localhost\" } }\n", "@:4: address: \"localhost:\" is no daemon's" },
		{ "milter a { address = { \"inet:70000@localhost\" } }\n", "@:4: address: \"localhost:70000\" is no daemon's" },
		{ "milter a { address = { \"unix:run/x\" } }\n", "@:4: address: \"unix:run/x\" is no socket" },
		{ "milter a { address = { \"local:\" } }\n", "@:4: address: \"unix:\" is no socket" },
		{ "milter a { address = { \"/run/x\" } }\n", "@:4: address: \"/run/x\" is no daemon's" },
		{ "milter \"a b\" { address = { \"unix:/x\" } }\n", "@:4: milter" },
		{ "milter a { address = { \"unix:/x\" } }\nmilter a { address = { \"unix:/x\" } }\n", "@:5: milter a: comes twice" },
		{ "milter a { address = { \"unix:/x\" } protocol = 1 }\n", "@:4: protocol" },
		{ "milter a { address = { \"unix:/x\" } protocol = 7 }\n", "@:4: protocol" },
		{ "milter a { address = { \"unix:/x\" } away = reject }\n", "@:4: away: \"reject\" is none" },
		{ "milter a { address = { \"unix:/x\" } command_timeout = 0 }\n", "@:4: command_timeout" },
		{ "milter a { address = { \"unix:/x\" } content_timeout = 1h }\n", "@:4: content_timeout" },
		{ "milter a { address = { \"unix:/x\" } max_connections = 0 }\n", "@:4: max_connections" },
		{ "milter a { address = { \"unix:/x\" } directions = { both } }\n", "@:4: directions: \"both\" is none" },
		{ "milter a { address = { \"unix:/x\" } listeners = { nosuch } }\n", "@:4: milter a: \"nosuch\" is no listener that speaks SMTP" },
		{ "milter a { address = { \"unix:/x\" } mail_macros = { \"mail_addr\" } }\n", "@:4: mail_macros: \"mail_addr\" is no macro" },
		{ "milter a { address = { \"unix:/x\" } rcpt_macros = { \"{a b}\" } }\n", "@:4: rcpt_macros: \"{a b}\" is no macro" },
		{ "milter a { address = { \"unix:/x\" } data_macros = { \"{}\" } }\n", "@:4: data_macros: \"{}\" is no macro" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(buf) struct buf errors = BUF_INIT(65536);

		assert_null(load_rest(rows[i].text, &errors, NULL));
		if (!as_wanted(buf_str(&errors), rows[i].errors) && !strstr(buf_str(&errors), rows[i].errors + 1))
			fail_msg("%s: %s", rows[i].text, buf_str(&errors));
	}
}

/* What nobody asks for is said. */
static void test_policy_without(void **state)
{
	AUTO(buf) struct buf errors = BUF_INIT(65536), warnings = BUF_INIT(65536);
	struct site *s;

	put("policy.conf", "accept\n");
	s = load_rest("policy = policy.conf\nmilter a { address = { \"unix:/x\" } }\n", &errors, &warnings);
	assert_non_null(s);
	assert_non_null(strstr(buf_str(&warnings), "milter a: no rule of the policy asks for milter.action"));
	site_free(s);
	put("policy.conf", "reject if milter.action = reject\naccept\n");
	buf_clear(&warnings);
	s = load_rest("policy = policy.conf\nmilter a { address = { \"unix:/x\" } }\n", &errors, &warnings);
	assert_non_null(s);
	assert_null(strstr(buf_str(&warnings), "milter"));
	site_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_mistakes), cmocka_unit_test(test_policy_without) };

	return cmocka_run_group_tests(tests, setup, dir_remove);
}
