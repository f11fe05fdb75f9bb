/* The section arc_seal of gatepost.conf: what is read, its defaults, and what is wrong with others. */
#include "tests/unit/conf_lab.h"

static int setup(void **state)
{
	dir_make();
	put_key("r2048.pem", DKIM_KEY_RSA, 2048, 0600);
	put_key("r1024.pem", DKIM_KEY_RSA, 1024, 0644);
	put_key("ed.pem", DKIM_KEY_ED25519, 0, 0600);
	put("text.pem", "hello\n");
	return 0;
}

static bool has(const struct arc_seal_conf *a, const char *name)
{
	for (size_t i = 0; i < a->field_count; i++)
		if (strcasecmp(a->field[i], name) == 0)
			return true;
	return false;
}

static void test_good(void **state)
{
	AUTO(buf) struct buf errors = BUF_INIT(65536), warnings = BUF_INIT(65536);
	struct site *s = load_rest("arc_seal B\xc3\xbc" "cher.Example {\n selector = \"2026.A\" key = r2048.pem\n}\n", &errors, &warnings);
	const struct arc_seal_conf *a;

	assert_string_equal(buf_str(&errors), "");
	assert_string_equal(buf_str(&warnings), "");
	a = s->arc_seal;
	assert_string_equal(a->domain, "xn--bcher-kva.example");
	assert_string_equal(a->selector, "2026.a");
	assert_int_equal(a->when, ARC_SEAL_CHANGED);
	assert_int_equal(dkim_private_bits(a->key), 2048);
	assert_int_equal(s->keys.key[a->number].purpose, KEY_FOR_DKIM);
	assert_true(has(a, "From") && has(a, "DKIM-Signature") && has(a, "Content-Type") && has(a, "List-Id"));
	assert_false(has(a, "ARC-Seal") || has(a, "ARC-Message-Signature") || has(a, "Received") || has(a, "Authentication-Results") || has(a, "Return-Path"));
	site_free(s);
	s = load_good(MINIMAL "arc_seal example.com { selector = a key = r2048.pem when = always headers = { Subject, X-Note } }\n");
	assert_int_equal(s->arc_seal->when, ARC_SEAL_ALWAYS);
	assert_int_equal(s->arc_seal->field_count, 2);
	assert_string_equal(s->arc_seal->field[1], "X-Note");
	site_free(s);
	s = load_good(MINIMAL);
	assert_null(s->arc_seal);
	site_free(s);
}

static void test_warnings(void **state)
{
	AUTO(buf) struct buf errors = BUF_INIT(65536), warnings = BUF_INIT(65536);
	struct site *s = load_rest("arc_seal example.com {\n selector = a\n key = r1024.pem\n}\n", &errors, &warnings);

	assert_non_null(s);
	assert_non_null(strstr(buf_str(&warnings), ": key: "));
	assert_non_null(strstr(buf_str(&warnings), "r1024.pem: has 1024 bits, expected at least 2048"));
	assert_non_null(strstr(buf_str(&warnings), "r1024.pem: everybody on this machine may read it"));
	site_free(s);
}

static void test_wrong(void **state)
{
	static const struct {
		const char *name, *text, *want;
	} rows[] = {
		{ "nothing in it", "arc_seal example.com { }\n", ":4: arc_seal example.com: has no selector" },
		{ "no key", "arc_seal example.com { selector = a }\n", ":4: arc_seal example.com: has no key" },
		{ "no selector", "arc_seal example.com { key = r2048.pem }\n", ":4: arc_seal example.com: has no selector" },
		{ "no domain", "arc_seal \"a b\" { selector = a key = r2048.pem }\n", ":4: arc_seal: \"a b\" is no domain" },
		{ "a top-level domain", "arc_seal com { selector = a key = r2048.pem }\n", ":4: arc_seal: \"com\" is no domain" },
		{ "no title", "arc_seal { selector = a key = r2048.pem }\n", ":4: " },
		{ "twice", "arc_seal example.com { selector = a key = r2048.pem }\narc_seal example.org { selector = a key = r2048.pem }\n",
		  ":5: arc_seal example.org: there is one already, for example.com" },
		{ "selector with a blank", "arc_seal example.com { selector = \"a b\" key = r2048.pem }\n", ":4: selector: \"a b\" is none" },
		{ "empty selector", "arc_seal example.com { selector = \"\" key = r2048.pem }\n", ":4: selector: \"\" is none" },
		{ "two selectors", "arc_seal example.com { selector = a\n selector = b key = r2048.pem }\n", ":5: selector: is set twice" },
		{ "empty key", "arc_seal example.com { selector = a key = \"\" }\n", ":4: key: is empty" },
		{ "no file", "arc_seal example.com { selector = a key = nowhere.pem }\n", "nowhere.pem: No such file" },
		{ "no PEM", "arc_seal example.com { selector = a key = text.pem }\n", ":4: key: text.pem: it is no private key in PEM form" },
		{ "Ed25519", "arc_seal example.com {\n selector = a\n key = ed.pem }\n", ":6: key: is of Ed25519, expected one of RSA" },
		{ "a time that is none", "arc_seal example.com { selector = a key = r2048.pem when = never }\n", ":4: when: \"never\" is not" },
		{ "a header that is none", "arc_seal example.com { selector = a key = r2048.pem headers = { \"a b\" } }\n", ":4: headers: \"a b\" is no name" },
		{ "an empty header", "arc_seal example.com { selector = a key = r2048.pem headers = { \"\" } }\n", ":4: headers: \"\" is no name" },
		{ "a semicolon", "arc_seal example.com { selector = a key = r2048.pem headers = { \"a;\" } }\n", ":4: headers: \"a;\" is no name" },
		{ "a seal", "arc_seal example.com { selector = a key = r2048.pem headers = { arc-seal } }\n", ":4: headers: arc-seal is not for a seal" },
		{ "any of ARC's", "arc_seal example.com { selector = a key = r2048.pem headers = { ARC-Authentication-Results } }\n", "is not for a seal to sign" },
		{ "results", "arc_seal example.com { selector = a key = r2048.pem headers = { authentication-results } }\n", "is not for a seal to sign" },
		{ "Received", "arc_seal example.com { selector = a key = r2048.pem headers = { From, Received } }\n", ":4: headers: Received is not for" },
		{ "an option that is none", "arc_seal example.com { selector = a key = r2048.pem expire = 3d }\n", "expire" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(buf) struct buf errors = BUF_INIT(65536);
		struct site *s = load_rest(rows[i].text, &errors, NULL);

		if (s || !strstr(buf_str(&errors), rows[i].want))
			fail_msg("%s: got %s, expected %s", rows[i].name, buf_str(&errors), rows[i].want);
	}
}

/* Who only works on what is on disk seals what is released, and need not be able to read the key. */
static void test_command(void **state)
{
	AUTO(buf) struct buf errors = BUF_INIT(65536), warnings = BUF_INIT(65536);
	struct site *s;

	put("gatepost.conf", MINIMAL "arc_seal example.com { selector = a key = r2048.pem }\n");
	s = site_load_command(in_dir("gatepost.conf"), &errors, &warnings);
	assert_non_null(s);
	assert_int_equal(s->arc_seal->number, -1);
	assert_int_equal(dkim_private_bits(s->arc_seal->key), 2048);
	site_free(s);
	put("gatepost.conf", MINIMAL "arc_seal example.com { selector = a key = ed.pem }\n");
	assert_null(site_load_command(in_dir("gatepost.conf"), &errors, &warnings));
	assert_non_null(strstr(buf_str(&errors), "expected one of RSA"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_warnings),
		cmocka_unit_test(test_wrong),
		cmocka_unit_test(test_command),
	};

	return cmocka_run_group_tests(tests, setup, dir_remove);
}
