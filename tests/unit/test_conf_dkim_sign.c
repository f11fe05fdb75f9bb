/* The section dkim_sign of gatepost.conf: what is read, its defaults, and what is wrong with others. */
#include "tests/unit/conf_lab.h"

static int setup(void **state)
{
	dir_make();
	put_key("r2048.pem", DKIM_KEY_RSA, 2048, 0600);
	put_key("r1024.pem", DKIM_KEY_RSA, 1024, 0640);
	put_key("ed.pem", DKIM_KEY_ED25519, 0, 0600);
	put_key("open.pem", DKIM_KEY_ED25519, 0, 0644);
	put("text.pem", "hello\n");
	return 0;
}

static void test_good(void **state)
{
	AUTO(buf) struct buf errors = BUF_INIT(65536), warnings = BUF_INIT(65536);
	struct site *s = load_rest("dkim_sign Example.COM {\n keys = { \"2026A=r2048.pem\", \"ed.b=ed.pem\" }\n}\n"
			      "dkim_sign b\xc3\xbc" "cher.example {\n keys = { \"a=ed.pem\" } subdomains = yes expire = 0\n"
			      " headers = { Subject, X-Note } oversign = { Subject } canonicalization = relaxed/simple\n}\n", &errors, &warnings);
	const struct dkim_sign_conf *d;

	assert_string_equal(buf_str(&errors), "");
	assert_string_equal(buf_str(&warnings), "");
	assert_int_equal(s->dkim_sign_count, 2);
	d = &s->dkim_sign[0];
	assert_string_equal(d->domain, "example.com");
	assert_int_equal(d->key_count, 2);
	assert_string_equal(d->key[0].selector, "2026a");
	assert_int_equal(dkim_private_bits(d->key[0].key), 2048);
	assert_string_equal(d->key[1].selector, "ed.b");
	assert_int_equal(dkim_private_type(d->key[1].key), DKIM_KEY_ED25519);
	assert_false(d->subdomains);
	assert_int_equal(d->form, DKIM_FORM_RELAXED);
	assert_int_equal(d->expire_s, 14 * 86400);
	assert_true(d->field_count > 20);
	assert_string_equal(d->oversign[0], "From");
	d = &s->dkim_sign[1];
	assert_string_equal(d->domain, "xn--bcher-kva.example");
	assert_true(d->subdomains);
	assert_int_equal(d->expire_s, 0);
	assert_int_equal(d->form, DKIM_FORM_RELAXED_SIMPLE);
	assert_int_equal(d->field_count, 2);
	assert_string_equal(d->field[1], "X-Note");
	assert_int_equal(d->oversign_count, 1);
	site_free(s);
}

static void test_warnings(void **state)
{
	AUTO(buf) struct buf errors = BUF_INIT(65536), warnings = BUF_INIT(65536);
	struct site *s = load_rest("dkim_sign example.com {\n keys = { \"a=r1024.pem\",\n \"b=open.pem\" }\n}\n", &errors, &warnings);

	assert_non_null(s);
	assert_non_null(strstr(buf_str(&warnings), "r1024.pem: has 1024 bits, expected at least 2048"));
	assert_non_null(strstr(buf_str(&warnings), "open.pem: everybody on this machine may read it"));
	site_free(s);
}

static void test_wrong(void **state)
{
	static const struct {
		const char *name, *text, *want;
	} rows[] = {
		{ "no keys", "dkim_sign example.com { }\n", ":4: dkim_sign example.com: has no keys" },
		{ "empty list", "dkim_sign example.com { keys = { } }\n", ":4: dkim_sign example.com: has no keys" },
		{ "no domain", "dkim_sign \"a b\" { keys = { \"a=ed.pem\" } }\n", ":4: dkim_sign: \"a b\" is no domain" },
		{ "a top-level domain", "dkim_sign com { keys = { \"a=ed.pem\" } }\n", ":4: dkim_sign: \"com\" is no domain" },
		{ "twice", "dkim_sign example.com { keys = { \"a=ed.pem\" } }\ndkim_sign EXAMPLE.com { keys = { \"a=ed.pem\" } }\n",
		  ":5: dkim_sign example.com: comes twice" },
		{ "no selector", "dkim_sign example.com { keys = { \"ed.pem\" } }\n", ":4: keys: \"ed.pem\" is no key, expected" },
		{ "empty selector", "dkim_sign example.com { keys = { \"=ed.pem\" } }\n", ":4: keys: \"=ed.pem\" is no key" },
		{ "empty path", "dkim_sign example.com { keys = { \"a=\" } }\n", ":4: keys: \"a=\" is no key" },
		{ "selector with a blank", "dkim_sign example.com { keys = { \"a b=ed.pem\" } }\n", ":4: keys: \"a b=ed.pem\" is no key" },
		{ "selector twice", "dkim_sign example.com { keys = { \"a=ed.pem\", \"A=r2048.pem\" } }\n", ":4: keys: the selector a comes twice" },
		{ "no file", "dkim_sign example.com { keys = { \"a=nowhere.pem\" } }\n", "nowhere.pem: No such file" },
		{ "no key", "dkim_sign example.com { keys = { \"a=text.pem\" } }\n", ":4: keys: text.pem: it is no private key in PEM form" },
		{ "a header that is none", "dkim_sign example.com { keys = { \"a=ed.pem\" } headers = { \"a b\" } }\n", ":4: headers: \"a b\" is no name" },
		{ "a header with a colon", "dkim_sign example.com { keys = { \"a=ed.pem\" } headers = { \"a:\" } }\n", ":4: headers: \"a:\" is no name" },
		{ "an empty header", "dkim_sign example.com { keys = { \"a=ed.pem\" } headers = { \"\" } }\n", ":4: headers: \"\" is no name" },
		{ "Received", "dkim_sign example.com { keys = { \"a=ed.pem\" } headers = { received } }\n", ":4: headers: received is changed on the way" },
		{ "oversigned Received", "dkim_sign example.com { keys = { \"a=ed.pem\" } oversign = { received } }\n", ":4: oversign: received is" },
		{ "form", "dkim_sign example.com { keys = { \"a=ed.pem\" } canonicalization = relaxed }\n", ":4: canonicalization: \"relaxed\" is not" },
		{ "expires at once", "dkim_sign example.com { keys = { \"a=ed.pem\" } expire = 1m }\n", ":4: expire: less than an hour" },
		{ "nine keys",
		  "dkim_sign example.com { keys = { \"a=ed.pem\", \"b=ed.pem\", \"c=ed.pem\", \"d=ed.pem\", \"e=ed.pem\", \"f=ed.pem\", \"g=ed.pem\", "
		  "\"h=ed.pem\", \"i=ed.pem\" } }\n", ":4: keys: more than 8" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(buf) struct buf errors = BUF_INIT(65536);
		struct site *s = load_rest(rows[i].text, &errors, NULL);

		if (s || !strstr(buf_str(&errors), rows[i].want))
			fail_msg("%s: got %s, expected %s", rows[i].name, buf_str(&errors), rows[i].want);
	}
}

/* Who only works on what is on disk need not be able to read a key. */
static void test_command(void **state)
{
	AUTO(buf) struct buf errors = BUF_INIT(65536), warnings = BUF_INIT(65536);
	struct site *s;

	put("gatepost.conf", MINIMAL "dkim_sign example.com { keys = { \"a=ed.pem\" } }\n");
	if (getuid() != 0)
		chmod(in_dir("ed.pem"), 0);
	s = site_load_command(in_dir("gatepost.conf"), &errors, &warnings);
	assert_string_equal(buf_str(&errors), "");
	assert_non_null(s);
	site_free(s);
	chmod(in_dir("ed.pem"), 0600);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good), cmocka_unit_test(test_warnings), cmocka_unit_test(test_wrong), cmocka_unit_test(test_command),
	};

	return cmocka_run_group_tests(tests, setup, dir_remove);
}
