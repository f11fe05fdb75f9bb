/* gatepost.conf: directories that know the recipients */
#include "policy/conf_table.h"
#include "tests/unit/conf_lab.h"

#define AD "directory ad { server = { \"ldaps://dc1.example.com\" } base = \"DC=example,DC=com\" "
#define ASKED "recipients { verify = directory }\n"

static int setup(void **state)
{
	dir_make();
	put("password", "secret\n");
	put("empty", "");
	put("ca.pem", "no certificate\n");
	assert_int_equal(chmod(in_dir("password"), 0600), 0);
	put("open", "secret\n");
	assert_int_equal(chmod(in_dir("open"), 0644), 0);
	return 0;
}

static void test_defaults(void **state)
{
	AUTO(buf) struct buf errors = BUF_INIT(65536), warnings = BUF_INIT(65536);
	struct site *s = load_rest(ASKED AD "}\ndirectory domino { server = { \"ldap://d.example:1389/\", \"ldaps://[2001:db8::5]\", \"ldap://10.0.0.1\" } base = \"\" schema = domino }\n",
				   &errors, &warnings);
	const struct directory_conf *d;

	assert_string_equal(buf_str(&errors), "");
	assert_string_equal(buf_str(&warnings), "");
	assert_int_equal(s->verify, VERIFY_DIRECTORY);
	assert_int_equal(s->directory_count, 2);
	d = &s->directory[0];
	assert_true(d->server_count == 1 && d->server[0].implicit && d->server[0].port == 636);
	assert_string_equal(d->server[0].host, "dc1.example.com");
	assert_true(!d->bind_dn && !d->password_path && d->tls == DIRECTORY_TLS_STARTTLS && !d->tls_ca_pem && d->schema == DIRECTORY_ACTIVE);
	assert_string_equal(d->filter, "(|(proxyAddresses=*)(mail=*))");
	assert_true(d->attribute_count == 2 && d->domain_count == 0 && d->catch_all_count == 0 && !d->plus && !d->subdomains);
	assert_true(d->refresh_s == 900 && d->keep_s == 7 * 86400 && d->timeout_ms == 5000 && d->live == 20 && d->restricted == DIRECTORY_RESTRICTED_ACCEPT);
	d = &s->directory[1];
	assert_true(d->server_count == 3 && d->server[0].port == 1389 && !d->server[0].implicit && d->server[1].port == 636 && d->server[2].port == 389);
	assert_string_equal(d->server[1].host, "2001:db8::5");
	assert_string_equal(d->base, "");
	assert_true(d->attribute_count == 3 && strstr(d->filter, "dominoServerMailInDatabase"));
	site_free(s);
}

/* No byte of the password comes into the memory of who reads a configuration; that its file is there is seen. */
static void test_password(void **state)
{
	AUTO(buf) struct buf errors = BUF_INIT(65536), warnings = BUF_INIT(65536);
	struct site *s = load_rest(ASKED AD "bind_dn = \"CN=x\" password_file = open }\n", &errors, &warnings);

	assert_non_null(s);
	assert_string_equal(s->directory[0].password_path, in_dir("open"));
	assert_non_null(strstr(buf_str(&warnings), "open: everybody on this machine can read it"));
	site_free(s);
}

static void test_warnings(void **state)
{
	static const struct { const char *text, *warnings; } rows[] = {
		{ AD "}\n", "directory ad: plays no part without verify = directory in section recipients\n" },
		{ ASKED "directory ad { server = { \"ldap://dc\" } base = \"DC=x\" bind_dn = \"CN=x\" password_file = password tls = off }\n",
		  "directory ad: tls = off: its password crosses the network for all to read\n" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		AUTO(buf) struct buf errors = BUF_INIT(65536), warnings = BUF_INIT(65536);
		struct site *s = load_rest(rows[i].text, &errors, &warnings);

		if (!s || !strstr(buf_str(&warnings), rows[i].warnings))
			fail_msg("row %zu: %s %s", i, buf_str(&errors), buf_str(&warnings));
		site_free(s);
	}
}

static void test_mistakes(void **state)
{
	static const struct { const char *text, *errors; } rows[] = {
		{ ASKED, "recipients: verify = directory without a section directory" },
		{ ASKED "directory ad { base = \"DC=x\" }\n", "directory ad: server is not set" },
		{ ASKED "directory ad { server = { \"ldap://dc\" } }\n", "directory ad: base is not set" },
		{ ASKED "directory ad { server = { \"dc.example.com\" } base = \"\" }\n", "server: \"dc.example.com\" is no server" },
		{ ASKED "directory ad { server = { \"http://dc\" } base = \"\" }\n", "server: \"http://dc\" is no server" },
		{ ASKED "directory ad { server = { \"ldapi:///\" } base = \"\" }\n", "server: \"ldapi:///\" is no server" },
		{ ASKED "directory ad { server = { \"ldap://\" } base = \"\" }\n", "server: \"ldap://\" is no server" },
		{ ASKED "directory ad { server = { \"ldap://dc/DC=x\" } base = \"\" }\n", "server: \"ldap://dc/DC=x\" is no server, expected a host alone" },
		{ ASKED "directory ad { server = { \"ldap://dc:0\" } base = \"\" }\n", "server: \"dc:0\" is no server" },
		{ ASKED "directory ad { server = { \"ldap://a b\" } base = \"\" }\n", "server: \"a b\" is no server" },
		{ ASKED "directory ad { server = { \"ldap://a\", \"ldap://b\", \"ldap://c\", \"ldap://d\", \"ldap://e\", \"ldap://f\", \"ldap://g\", \"ldap://h\", \"ldap://i\" } base = \"\" }\n",
		  "server: more than 8 servers" },
		{ ASKED AD "}\n" AD "}\n", "directory ad: comes twice" },
		{ ASKED "directory \"a b\" { server = { \"ldap://a\" } base = \"\" }\n", "directory" },
		{ ASKED AD "bind_dn = \"CN=x\" }\n", "directory ad: bind_dn without password_file" },
		{ ASKED AD "password_file = password }\n", "directory ad: password_file without bind_dn" },
		{ ASKED AD "bind_dn = \"CN=x\" password_file = nothing }\n", "nothing: No such file" },
		{ ASKED AD "bind_dn = \"CN=x\" password_file = empty }\n", "empty: is empty" },
		{ ASKED AD "bind_dn = \"CN=x\" password_file = \".\" }\n", "is no file" },
		{ ASKED "directory ad { server = { \"ldap://dc\" } base = \"\" tls = required }\n", "directory ad: tls = required with ldap://dc" },
		{ ASKED AD "tls = yes }\n", "tls: " },
		{ ASKED AD "tls_ca = ca.pem }\n", "directory ad: tls_ca: " },
		{ ASKED AD "schema = exchange }\n", "schema: " },
		{ ASKED AD "filter = \"mail=*\" }\n", "filter: \"mail=*\" is no filter" },
		{ ASKED AD "filter = \"(mail=*\" }\n", "is no filter" },
		{ ASKED AD "filter = \"(mail=*))\" }\n", "is no filter" },
		{ ASKED AD "filter = \"(a=b)(c=d)\" }\n", "is no filter" },
		{ ASKED AD "filter = \"((((((((((((((((((((((((((((((((((a=b))))))))))))))))))))))))))))))))))\" }\n", "is no filter" },
		{ ASKED AD "attributes = { \"a b\" } }\n", "attributes: \"a b\" is no name" },
		{ ASKED AD "attributes = { \"mail)(x\" } }\n", "is no name of an attribute" },
		{ ASKED AD "attributes = { \"\" } }\n", "is no name of an attribute" },
		{ ASKED AD "domains = { \"a b\" } }\n", "domains: \"a b\" is no domain" },
		{ ASKED AD "catch_all = { \".example.com\" } }\n", "catch_all: \".example.com\" is no domain" },
		{ ASKED AD "restricted = maybe }\n", "restricted: " },
		{ ASKED AD "refresh = 0 }\n", "refresh: " },
		{ ASKED AD "refresh = 2h keep = 1h }\n", "directory ad: keep is shorter than refresh" },
		{ ASKED AD "timeout = 1h }\n", "timeout: " },
		{ ASKED AD "live = -1 }\n", "live: " },
		{ ASKED AD "plus = \"+\" }\n", "plus: " },
		{ ASKED AD "password = x }\n", "password: " },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		AUTO(buf) struct buf errors = BUF_INIT(65536);
		struct site *s = load_rest(rows[i].text, &errors, NULL);

		if (s || !strstr(buf_str(&errors), rows[i].errors))
			fail_msg("row %zu: %s", i, buf_str(&errors));
		site_free(s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults), cmocka_unit_test(test_password), cmocka_unit_test(test_warnings), cmocka_unit_test(test_mistakes),
	};

	return cmocka_run_group_tests(tests, setup, dir_remove);
}
