/* gatepost.conf: certificates and servers by the name that a client asks for, and the map of users */
#include "policy/conf_table.h"
#include "policy/user_map.h"
#include "tests/support/certificate.h"
#include "tests/unit/conf_lab.h"

#define TWO "backend a { address = \"10.0.0.6:143\" }\nbackend b { address = \"10.0.0.6:110\" }\n"
#define IMAP "listener imap { address = \"0.0.0.0:993\" } listener pop3 { address = \"0.0.0.0:995\" } listener smtp { address = \"0.0.0.0:25\" }\n"

static int setup(void **state)
{
	struct certificate *c = certificate_new("imap.example.org", NULL, -60, 86400), *old = certificate_new("old.example.org", NULL, -86400, -3600);

	dir_make();
	put("imap.pem", certificate_pem(c));
	put("imap.key", certificate_key_pem(c));
	put("old.pem", certificate_pem(old));
	put("old.key", certificate_key_pem(old));
	put("users", "# who\nalice@example.com a\n@example.com a b\n");
	put("bad-users", "\nalice@example.com nobody\nbob main\ncarol a\nCarol b\ndave\n");
	certificate_free(c);
	certificate_free(old);
	return 0;
}

static void test_sni(void **state)
{
	AUTO(buf) struct buf errors = BUF_INIT(65536), warnings = BUF_INIT(65536);
	struct site *s = load_rest(TWO IMAP
		"sni \"Pop.Example.org\" { backends = { a, b } }\n"
		"sni imap.example.org { certificate = imap.pem key = imap.key }\n"
		"sni \"*.b\xc3\xbc" "cher.example\" { backends = { b } }\n", &errors, &warnings);

	assert_string_equal(buf_str(&errors), "");
	assert_string_equal(buf_str(&warnings), "");
	assert_int_equal(s->sni_count, 3);
	assert_string_equal(site_sni(s, "IMAP.example.org")->name, "imap.example.org");
	assert_non_null(site_sni(s, "imap.example.org")->cert_pem);
	assert_int_equal(site_sni(s, "imap.example.org")->line, 8);
	assert_null(site_sni(s, "pop.example.org.")->cert_pem);
	assert_int_equal(site_sni(s, "pop.example.org")->backend_count, 2);
	assert_string_equal(site_sni(s, "x.xn--bcher-kva.example")->name, "*.xn--bcher-kva.example");
	assert_null(site_sni(s, "xn--bcher-kva.example"));
	assert_null(site_sni(s, NULL));
	site_free(s);
}

static void test_sni_mistakes(void **state)
{
	static const struct { const char *text, *errors; } rows[] = {
		{ "sni \"a b\" { backends = { a } }\n",
		  "@:7: sni: \"a b\" is no host name, expected one such as \"imap.example.org\", or \"*.example.org\"\n" },
		{ "sni \"*\" { backends = { a } }\n", "@:7: sni: \"*\" is no host name" },
		{ "sni \"a.*.example\" { backends = { a } }\n", "@:7: sni: \"a.*.example\" is no host name" },
		{ "sni \"*.*.example\" { backends = { a } }\n", "@:7: sni: \"*.*.example\" is no host name" },
		{ "sni \"\" { backends = { a } }\n", "@:7: sni: \"\" is no host name" },
		{ "sni x.example { backends = { a } }\nsni \"X.example\" { backends = { b } }\n", "@:8: sni x.example: comes twice, first on line 7\n" },
		{ "sni x.example { backends = { c } }\n", "@:7: sni x.example: there is no backend \"c\"\n" },
		{ "sni x.example { backends = { main } }\n",
		  "@:7: sni x.example: backend main has neither protocol = imap nor pop3, expected one that has\n" },
		{ "sni x.example { certificate = imap.pem }\n",
		  "@:7: sni x.example: certificate without key, expected both, or neither for the certificate of section tls\n" },
		{ "sni x.example { key = imap.key }\n",
		  "@:7: sni x.example: key without certificate, expected both, or neither for the certificate of section tls\n" },
		{ "sni x.example { certificate = imap.pem key = old.key }\n",
		  "@:7: sni x.example: the private key does not belong to the certificate" },
		{ "sni x.example { certificate = nothing.pem key = imap.key }\n", "@:7: certificate: %/nothing.pem: No such file" },
		{ "sni x.example { address = \"1.2.3.4\" }\n", "@:7: address: " },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		AUTO(buf) struct buf errors = BUF_INIT(65536), text = BUF_INIT(65536);
		struct site *s;

		buf_addf(&text, "%s%s", TWO IMAP, rows[i].text);
		s = load_rest(buf_str(&text), &errors, NULL);
		if (s || !as_wanted(buf_str(&errors), rows[i].errors))
			fail_msg("row %zu: %s", i, buf_str(&errors));
	}
}

static void test_sni_warnings(void **state)
{
	static const struct { const char *text, *warnings; } rows[] = {
		{ "sni x.example { certificate = imap.pem key = imap.key }\n",
		  "@:7: sni x.example: the certificate does not carry the name x.example\n" },
		{ "sni \"*.example.org\" { certificate = imap.pem key = imap.key }\n",
		  "@:7: sni *.example.org: the certificate does not carry the name *.example.org\n" },
		{ "sni old.example.org { certificate = old.pem key = old.key }\n", "@:7: sni old.example.org: the certificate has expired on " },
		{ "tls { certificate = old.pem key = old.key }\n", "@:7: tls: the certificate has expired on " },
		{ "sni x.example { }\n", "@:7: sni x.example: says nothing, expected certificate and key, or backends\n" },
		{ "sni imap.example.org { certificate = imap.pem key = imap.key }\n", "" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		AUTO(buf) struct buf errors = BUF_INIT(65536), warnings = BUF_INIT(65536), text = BUF_INIT(65536);
		struct site *s;

		buf_addf(&text, "%s%s", TWO IMAP, rows[i].text);
		s = load_rest(buf_str(&text), &errors, &warnings);
		if (!s || !as_wanted(buf_str(&warnings), rows[i].warnings) || !warnings.len != !rows[i].warnings[0])
			fail_msg("row %zu: %s%s", i, buf_str(&errors), buf_str(&warnings));
		site_free(s);
	}
}

static void test_user_map(void **state)
{
	AUTO(buf) struct buf errors = BUF_INIT(65536), warnings = BUF_INIT(65536);
	struct site *s = load_rest(TWO IMAP "user_map = users\n", &errors, &warnings);
	const struct user_map_backends *u;

	assert_string_equal(buf_str(&errors), "");
	assert_string_equal(buf_str(&warnings), "");
	u = user_map_lookup(s->users, "Alice@Example.com");
	assert_true(u && u->count == 1 && u->number[0] == 1);
	u = user_map_lookup(s->users, "bob@example.com");
	assert_true(u && u->count == 2 && u->number[0] == 1 && u->number[1] == 2);
	assert_null(user_map_lookup(s->users, "bob@example.org"));
	site_free(s);
	/* Without a listener that could use it. */
	s = load_rest(TWO "listener smtp { address = \"0.0.0.0:25\" }\nuser_map = users\n", &errors, &warnings);
	assert_non_null(strstr(buf_str(&warnings), "user_map: plays no part without a listener with protocol = imap or pop3"));
	site_free(s);
}

static void test_user_map_mistakes(void **state)
{
	AUTO(buf) struct buf errors = BUF_INIT(65536);

	assert_null(load_rest(TWO IMAP "user_map = bad-users\n", &errors, NULL));
	assert_true(as_wanted(buf_str(&errors),
			      "%/bad-users:2: \"nobody\": there is no such backend\n"
			      "%/bad-users:3: \"main\": this backend has neither protocol = imap nor pop3, expected one that has\n"
			      "%/bad-users:6: no backend stands behind the name, expected \"user@example.com backend\"\n"
			      "%/bad-users:5: carol comes twice, first on line 4\n"));
	buf_clear(&errors);
	assert_null(load_rest(TWO IMAP "user_map = missing\n", &errors, NULL));
	assert_true(as_wanted(buf_str(&errors), "@:7: user_map: %/missing: No such file"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sni), cmocka_unit_test(test_sni_mistakes), cmocka_unit_test(test_sni_warnings), cmocka_unit_test(test_user_map),
		cmocka_unit_test(test_user_map_mistakes),
	};

	return cmocka_run_group_tests(tests, setup, dir_remove);
}
