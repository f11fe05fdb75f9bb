/* gatepost.conf, section dmarc: aggregate reports: defaults, and what is wrong */
#include "filters/fact.h"
#include "tests/unit/conf_lab.h"

static int setup(void **state)
{
	fact_register_all();
	dir_make();
	put_key("key.pem", DKIM_KEY_ED25519, 0, 0600);
	return 0;
}

static void test_good(void **state)
{
	AUTO(buf) struct buf errors = BUF_INIT(65536), warnings = BUF_INIT(65536);
	struct site *s = load_rest("", &errors, &warnings);

	assert_string_equal(buf_str(&errors), "");
	assert_string_equal(buf_str(&warnings), "");
	assert_false(s->rua.send);
	assert_string_equal(s->rua.from, "postmaster@mx.example.com");
	assert_string_equal(s->rua.org, "mx.example.com");
	assert_null(s->rua.contact);
	assert_int_equal(s->rua.destinations, 5);
	assert_int_equal(s->rua.max_bytes, 10u << 20);
	assert_int_equal(s->rua.spread_s, 6 * 3600);
	site_free(s);
	s = load_rest("dkim_sign example.com { keys = { \"a=key.pem\" } }\ndmarc { rua = yes rua_from = \"a+b@Example.com\" }\n", &errors, &warnings);
	assert_string_equal(buf_str(&errors), "");
	assert_string_equal(buf_str(&warnings), "");
	assert_true(s->rua.send);
	assert_string_equal(s->rua.from, "a+b@example.com");
	site_free(s);
}

static void test_warnings(void **state)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "dkim_sign example.com { keys = { \"a=key.pem\" } }\ndmarc { rua = yes }\n", "@:5: dmarc: rua = yes: reports from postmaster@mx.example.com are not signed" },
		{ "dkim_sign example.com { keys = { \"a=key.pem\" } subdomains = yes }\ndmarc { rua = yes }\n", "" },
		{ "dkim_sign example.com { keys = { \"a=key.pem\" } subdomains = yes }\ndmarc { rua = yes rua_from = \"a@badexample.com\" }\n", "@:5: dmarc: rua = yes: reports" },
		{ "dmarc { rua = no rua_from = \"a@example.com\" }\n", "@:4: dmarc: rua_from, rua_org and rua_contact play no part" },
		{ "dmarc { rua_org = \"a\" }\n", "@:4: dmarc: rua_from, rua_org and rua_contact play no part" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(buf) struct buf errors = BUF_INIT(65536), warnings = BUF_INIT(65536);
		struct site *s = load_rest(rows[i].text, &errors, &warnings);

		if (!s || !as_wanted(buf_str(&warnings), rows[i].want) || !*rows[i].want != !warnings.len)
			fail_msg("%s: got %s%s, expected %s", rows[i].text, buf_str(&errors), buf_str(&warnings), rows[i].want);
		site_free(s);
	}
}

static void test_wrong(void **state)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "dmarc { rua = maybe }\n", ":4: rua: \"maybe\"" },
		{ "dmarc { rua = yes }\nhistory { record = no }\n", ":4: dmarc: rua = yes: reports are made from the history, and section history has record = no" },
		{ "dmarc { rua = yes }\nhistory { keep = 1d }\n", ":4: dmarc: rua = yes: a day has to be there until it has been reported" },
		{ "listener a { address = \"0.0.0.0:110\" }\nbackend b { address = \"10.0.0.5:110\" }\ndmarc { rua = yes }\n", ":6: dmarc: rua = yes: there is no listener that speaks SMTP" },
		{ "dmarc { rua_from = \"\" }\n", ":4: rua_from: \"\" is no mail address" },
		{ "dmarc { rua_from = \"a\" }\n", ":4: rua_from: \"a\" is no mail address" },
		{ "dmarc { rua_from = \"@example.com\" }\n", ":4: rua_from: \"@example.com\" is no mail address" },
		{ "dmarc { rua_from = \"a@\" }\n", ":4: rua_from: \"a@\" is no mail address" },
		{ "dmarc { rua_from = \"a@com\" }\n", ":4: rua_from: \"a@com\" is no mail address" },
		{ "dmarc { rua_from = \"a b@example.com\" }\n", ":4: rua_from: \"a b@example.com\" is no mail address" },
		{ "dmarc { rua_from = \"a,b@example.com\" }\n", ":4: rua_from: \"a,b@" },
		{ "dmarc { rua_from = \"<a@example.com>\" }\n", ":4: rua_from: \"<a@" },
		{ "dmarc { rua_from = \".a@example.com\" }\n", ":4: rua_from: \".a@" },
		{ "dmarc { rua_from = \"a.@example.com\" }\n", ":4: rua_from: \"a.@" },
		{ "dmarc { rua_from = \"a..b@example.com\" }\n", ":4: rua_from: \"a..b@" },
		{ "dmarc { rua_from = \"a@b@example.com\" }\n", ":4: rua_from: \"a@b@" },
		{ "dmarc { rua_from = \"\303\266@example.com\" }\n", ":4: rua_from: \"\303\266@" },
		{ "dmarc { rua_from = \"a@[192.0.2.1]\" }\n", ":4: rua_from: \"a@[" },
		{ "dmarc { rua_from = \"a12345678901234567890123456789012345678901234567890123456789012345@example.com\" }\n", ":4: rua_from: \"a123" },
		{ "dmarc { rua_org = \"\" }\n", ":4: rua_org: \"\" is no line of text" },
		{ "dmarc { rua_org = \"a\\nb\" }\n", ":4: rua_org: \"a?b\" is no line of text" },
		{ "dmarc { rua_org = \"a\177\" }\n", ":4: rua_org: \"a?\" is no line of text" },
		{ "dmarc { rua_org = \"\302\205\" }\n", ":4: rua_org: \"" },
		{ "dmarc { rua_contact = \"\377\" }\n", ":4: rua_contact: \"" },
		{ "dmarc { rua_contact = \"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
		  "01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890\" }\n", ":4: rua_contact: \"0123" },
		{ "dmarc { rua_destinations = 1 }\n", ":4: rua_destinations: 1 is out of range" },
		{ "dmarc { rua_destinations = 21 }\n", ":4: rua_destinations: 21 is out of range" },
		{ "dmarc { rua_max_size = 1K }\n", ":4: rua_max_size: 1K is out of range" },
		{ "dmarc { rua_max_size = 1G }\n", ":4: rua_max_size: 1G is out of range" },
		{ "dmarc { rua_spread = 1d }\n", ":4: rua_spread: 1d is out of range" },
		{ "hostname2 = a\n", ":4: " },
		{ "dmarc { ruf = yes }\n", ":4: " },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(buf) struct buf errors = BUF_INIT(65536);
		struct site *s = load_rest(rows[i].text, &errors, NULL);

		if (s || !strstr(buf_str(&errors), rows[i].want))
			fail_msg("%s: got %s, expected %s", rows[i].text, buf_str(&errors), rows[i].want);
	}
}

static void test_no_domain(void **state)
{
	AUTO(buf) struct buf errors = BUF_INIT(65536);

	assert_null(load("hostname = mx\ndomains = { example.com }\nbackend main { address = \"10.0.0.5\" }\ndmarc { rua = yes }\n", &errors, NULL));
	assert_non_null(strstr(buf_str(&errors), ":4: dmarc: rua = yes: nobody could write to postmaster@mx"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_warnings),
		cmocka_unit_test(test_wrong),
		cmocka_unit_test(test_no_domain),
	};

	return cmocka_run_group_tests(tests, setup, dir_remove);
}
