/* gatepost.conf: lists of domains, and trusted_relays */
#include "filters/fact.h"
#include "policy/conf_table.h"
#include "tests/unit/conf_lab.h"

static int setup(void **state)
{
	dir_make();
	fact_register_all();    /* the policy is written in their names */
	put("skip", "# for people\nexample.com\n  Example.ORG.  # and this\r\n\nb\xc3\xbc" "cher.example\n");
	put("skip-bad", "example.com\nno domain\n");
	put("skip-dots", "a..b\n");
	return 0;
}

#define U(inside) "uribl l.example { " inside " }\n"

static void test_mistakes(void **state)
{
	static const struct { const char *text, *errors; } rows[] = {
		{ "uribl { }\n", "@:4: uribl" },
		{ "uribl \"a b\" { }\n", "@:4: uribl" },
		{ "uribl \"a..b\" { }\n", "@:4: uribl" },
		{ U("") U(""), "@:5: uribl l.example" },
		{ U("weight = 1001"), "@:4: weight" },
		{ U("weight = much"), "@:4: weight" },
		{ U("use = { mail }"), "@:4: use: \"mail\" is nothing that a list of domains can be asked for" },
		{ U("use = { links, Links }"), "@:4: use: \"Links\" is nothing" },
		{ U("use = { \"\" }"), "@:4: use: \"\" is nothing" },
		{ U("names = domain"), "@:4: names: \"domain\" is not known" },
		{ U("addresses = yes use = { from, helo }"), "@:4: uribl l.example: addresses = yes is about addresses in links, and use has no links" },
		{ U("addresses = perhaps"), "@:4: addresses" },
		{ U("codes = { \"128.0.0.2\" }"), "@:4: codes" },
		{ U("codes = { \"127.0.0.2=\" }"), "@:4: codes: \"127.0.0.2=\"" },
		{ U("codes = { \"127.0.0.2=heavy\" }"), "@:4: codes: \"127.0.0.2=heavy\"" },
		{ U("codes = { \"&0=2\" }"), "@:4: codes: \"&0=2\"" },
		{ U("codes = { \"&256=2\" }"), "@:4: codes: \"&256=2\"" },
		{ U("codes = { \"&8=1001\" }"), "@:4: codes: \"&8=1001\"" },
		{ U("codes = { \"&\" }"), "@:4: codes: \"&\"" },
		{ U("codes = { \"mail.example\" }"), "@:4: codes: \"mail.example\"" },
		{ U("skip = nowhere"), "@:4: skip" },
		{ U("skip = skip-bad"), "@:4: skip: line 2 of skip-bad is no domain" },
		{ U("skip = skip-dots"), "@:4: skip: line 1 of skip-dots is no domain" },
		{ U("timeout = 50ms"), "@:4: timeout" },
		{ U("timeout = 2m"), "@:4: timeout" },
		{ U("test = maybe"), "@:4: test" },
		{ U("test_listed = \"a..b\""), "@:4: test_listed: \"a..b\" is no domain" },
		{ U("test_listed = \"\""), "@:4: test_listed: \"\" is no domain" },
		{ U("test_clean = \"a b\""), "@:4: test_clean: \"a b\" is no domain" },
		{ U("ipv4 = yes"), "@:4: " },
		{ "trusted_relays = { \"mail.example\" }\n", "@:4: trusted_relays: \"mail.example\"" },
		{ "trusted_relays = { \"\" }\n", "@:4: trusted_relays" },
		{ "trusted_relays = { \"192.0.2.256\" }\n", "@:4: trusted_relays: \"192.0.2.256\"" },
		{ "trusted_relays = { \"192.0.2.0/33\" }\n", "@:4: trusted_relays: \"192.0.2.0/33\"" },
		{ "trusted_relays = { \"192.0.2.0/-1\" }\n", "@:4: trusted_relays: \"192.0.2.0/-1\"" },
		{ "trusted_relays = { \"2001:db8::/129\" }\n", "@:4: trusted_relays: \"2001:db8::/129\"" },
		{ "trusted_relays = { \"192.0.2.1:25\" }\n", "@:4: trusted_relays: \"192.0.2.1:25\"" },
		{ "trusted_relays = { \"0.0.0.0/0\" }\n", "@:4: trusted_relays: \"0.0.0.0/0\" is half the world" },
		{ "trusted_relays = { \"::/0\" }\n", "@:4: trusted_relays: \"::/0\" is half the world" },
		{ "trusted_relays = { \"::/1\" }\n", "@:4: trusted_relays: \"::/1\" is half the world" },
		{ "trusted_relays = { \"192.0.2.1\", \"128.0.0.0/1\" }\n", "@:4: trusted_relays: \"128.0.0.0/1\" is half the world" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(buf) struct buf errors = BUF_INIT(65536);
		struct site *s = load_rest(rows[i].text, &errors, NULL);

		if (s || !as_wanted(buf_str(&errors), rows[i].errors))
			fail_msg("%s: %s", rows[i].text, buf_str(&errors));
	}
}

/* What is read where nothing is wrong. */
static void test_defaults(void **state)
{
	AUTO(buf) struct buf errors = BUF_INIT(65536);
	struct site *s = load_rest(U("skip = skip codes = { \"127.0.1.0/24\", \"&8=7\" } weight = 3"), &errors, NULL);
	const struct dnsbl_conf *d;

	assert_string_equal(buf_str(&errors), "");
	assert_int_equal(s->dnsbl_count, 1);
	d = &s->dnsbl[0];
	assert_int_equal(d->use, DNSBL_USE_LINKS | DNSBL_USE_FROM | DNSBL_USE_HELO | DNSBL_USE_DKIM | DNSBL_USE_RDNS);
	assert_string_equal(d->listed, "test");
	assert_string_equal(d->clean, "invalid");
	assert_true(d->test && !d->addresses && !d->registrable);
	assert_int_equal(d->timeout_ms, 4000);
	assert_int_equal(d->code[0].weight, 3);
	assert_int_equal(d->code[1].weight, 7);
	assert_int_equal(d->code[1].bit, 8);
	assert_int_equal(d->skip_count, 3);
	assert_string_equal(d->skip[0], "example.com");
	assert_string_equal(d->skip[1], "example.org");
	assert_string_equal(d->skip[2], "xn--bcher-kva.example");
	site_free(s);
}

/* Relays that are one's own, too; rules that make them bounce. */
static void test_relays_warned(void **state)
{
	static const struct { const char *text, *policy, *warning; } rows[] = {
		{ "trusted_relays = { \"192.0.2.0/24\" } relay_networks = { \"192.0.2.9\" }\n", "accept\n", "192.0.2.0/24 is in relay_networks (192.0.2.9/32), too" },
		{ "trusted_relays = { \"192.0.2.9\" } relay_networks = { \"192.0.2.0/24\" }\n", "accept\n", "192.0.2.9/32 is in relay_networks (192.0.2.0/24), too" },
		{ "trusted_relays = { \"192.0.2.9\" }\n", "reject if spf = fail\naccept\n", "bounces to its sender" },
		{ "trusted_relays = { \"192.0.2.9\" }\n", "quarantine if client.relayed\nreject if spf = fail\naccept\n", NULL },
		{ "trusted_relays = { \"192.0.2.9\" } relay_networks = { \"192.0.3.0/24\" }\n", "accept\n", NULL },
		{ "relay_networks = { \"192.0.3.0/24\" }\n", "reject if spf = fail\naccept\n", NULL },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(buf) struct buf errors = BUF_INIT(65536), warnings = BUF_INIT(65536);
		struct site *s;

		put("policy.conf", rows[i].policy);
		s = load_rest(rows[i].text, &errors, &warnings);
		assert_string_equal(buf_str(&errors), "");
		if (rows[i].warning ? !strstr(buf_str(&warnings), rows[i].warning) : strstr(buf_str(&warnings), "trusted_relays") != NULL)
			fail_msg("%s: %s", rows[i].text, buf_str(&warnings));
		site_free(s);
	}
}

/* Lists that no rule asks for. */
static void test_lists_warned(void **state)
{
	static const struct { const char *text, *policy; bool warned; } rows[] = {
		{ U(""), "accept\n", true },
		{ "dnsbl a.example { }\n" U(""), "reject if dnsbl.score >= 5\naccept\n", true },
		{ U(""), "reject if uribl.score >= 5\naccept\n", false },
		{ U(""), "observe quarantine if uribl.zones ~ /./\naccept\n", false },
		{ "dnsbl a.example { }\n", "accept\n", false },
		{ "", "accept\n", false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(buf) struct buf errors = BUF_INIT(65536), warnings = BUF_INIT(65536);
		struct site *s;

		put("policy.conf", rows[i].policy);
		s = load_rest(rows[i].text, &errors, &warnings);
		assert_string_equal(buf_str(&errors), "");
		if ((strstr(buf_str(&warnings), "uribl l.example: no rule of the policy asks for uribl.score") != NULL) != rows[i].warned)
			fail_msg("%s: %s", rows[i].text, buf_str(&warnings));
		site_free(s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_mistakes), cmocka_unit_test(test_defaults), cmocka_unit_test(test_relays_warned),
					  cmocka_unit_test(test_lists_warned) };

	return cmocka_run_group_tests(tests, setup, dir_remove);
}
