/* The sections rate and srs of gatepost.conf: defaults, and what is wrong. */
#include "filters/fact.h"
#include "tests/unit/conf_lab.h"

static int setup(void **state)
{
	fact_register_all();
	dir_make();
	put("secret", "0123456789abcdef0\n\r\nanother secret of ours\r\n");
	put("short", "0123456789abcdef\nshort\n");
	put("many", "0123456789abcdef\n0123456789abcdef\n0123456789abcdef\n0123456789abcdef\n0123456789abcdef\n");
	put("empty", "\n\n");
	return 0;
}

static void test_good(void **state)
{
	AUTO(buf) struct buf errors = BUF_INIT(65536), warnings = BUF_INIT(65536);
	struct site *s;

	put("policy.conf", "defer \"450 4.7.1 slowly\" if rate.over = a.b-1\naccept\n");
	s = load_rest("rate a.b-1 { }\nrate day { by = client count = messages limit = 5 period = 1d }\nsrs { domain = Example.COM secret_file = secret }\n", &errors, &warnings);
	assert_string_equal(buf_str(&errors), "");
	assert_string_equal(buf_str(&warnings), "");
	assert_int_equal(s->rate_count, 2);
	assert_string_equal(s->rate[0].name, "a.b-1");
	assert_int_equal(s->rate[0].by, RATE_BY_ACCOUNT);
	assert_int_equal(s->rate[0].count, RATE_RECIPIENTS);
	assert_int_equal(s->rate[0].limit, 1000);
	assert_int_equal(s->rate[0].period_s, 3600);
	assert_int_equal(s->rate[1].by, RATE_BY_CLIENT);
	assert_int_equal(s->rate[1].count, RATE_MESSAGES);
	assert_int_equal(s->rate[1].period_s, 86400);
	assert_string_equal(s->srs.domain, "example.com");
	assert_int_equal(s->srs.secret_count, 2);
	assert_string_equal(s->srs.secret[0], "0123456789abcdef0");
	assert_string_equal(s->srs.secret[1], "another secret of ours");
	assert_int_equal(s->srs.life_s, 21 * 86400);
	site_free(s);
	put("policy.conf", "accept\n");
	s = load_rest("rate day { }\n", &errors, &warnings);
	assert_non_null(strstr(buf_str(&warnings), "rate day: no rule of the policy asks for rate.over"));
	assert_null(s->srs.domain);
	site_free(s);
}

static void test_wrong(void **state)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "rate \"a b\" { }\n", ":4: rate: \"a b\" is no name" },
		{ "rate \"\" { }\n", ":4: rate: \"\" is no name" },
		{ "rate a123456789012345678901234567890123 { }\n", ":4: rate: \"a1234" },
		{ "rate a { }\nrate a { }\n", ":5: rate a: comes twice" },
		{ "rate a { by = user }\n", ":4: by: \"user\" is not known, expected sender, account or client" },
		{ "rate a { count = bytes }\n", ":4: count: \"bytes\" is not known" },
		{ "rate a { limit = 0 }\n", ":4: limit: 0 is out of range" },
		{ "rate a { limit = many }\n", ":4: limit: \"many\" is no number" },
		{ "rate a { period = 10s }\n", ":4: period: 10s is out of range" },
		{ "rate a { period = 32d }\n", ":4: period: 32d is out of range" },
		{ "rate a{}\nrate b{}\nrate c{}\nrate d{}\nrate e{}\nrate f{}\nrate g{}\nrate h{}\nrate i{}\n", ":12: rate: more than 8" },
		{ "srs { domain = example.com }\n", ":4: srs: domain and secret_file belong together" },
		{ "srs { secret_file = secret }\n", ":4: srs: domain and secret_file belong together" },
		{ "srs { domain = \"a b\" secret_file = secret }\n", ":4: domain: \"a b\" is no domain" },
		{ "srs { domain = com secret_file = secret }\n", ":4: domain: \"com\" is no domain" },
		{ "srs { domain = example.com secret_file = nowhere }\n", "nowhere: No such file" },
		{ "srs { domain = example.com secret_file = empty }\n", ":4: secret_file: empty is empty" },
		{ "srs { domain = example.com secret_file = short }\n", ":4: secret_file: a line of short has 5 bytes" },
		{ "srs { domain = example.com secret_file = many }\n", ":4: secret_file: many has more than 4 secrets" },
		{ "srs { domain = example.com secret_file = secret life = 1h }\n", ":4: life: 1h is out of range" },
		{ "srs { domain = example.com secret_file = secret life = 600d }\n", ":4: life: 600d is out of range" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(buf) struct buf errors = BUF_INIT(65536);
		struct site *s = load_rest(rows[i].text, &errors, NULL);

		if (s || !strstr(buf_str(&errors), rows[i].want))
			fail_msg("%s: got %s, expected %s", rows[i].text, buf_str(&errors), rows[i].want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_good), cmocka_unit_test(test_wrong) };

	return cmocka_run_group_tests(tests, setup, dir_remove);
}
