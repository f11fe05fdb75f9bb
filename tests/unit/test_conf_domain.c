/* gatepost.conf: sections domain, and which backends are left for the rest */
#include "policy/conf_table.h"
#include "tests/unit/conf_lab.h"

#define HEAD "hostname = mx.example.com\ndomains = { example.com, example.org, \".example.org\", deep.example.net }\n"
#define THREE "backend a { address = \"10.0.0.5\" }\nbackend b { address = \"10.0.0.6\" }\nbackend c { address = \"10.0.0.7\" }\nbackend box { address = \"10.0.0.7:143\" }\n"
#define BOX "listener box { address = \"0.0.0.0:143\" }\n"

static int setup(void **state)
{
	dir_make();
	return 0;
}

static void test_sections(void **state)
{
	static const struct { const char *domain, *section; } rows[] = {
		{ "example.com", "example.com" }, { "a.example.com", NULL }, { "example.org", NULL }, { "a.example.org", ".example.org" },
		{ "b.a.example.org", ".example.org" }, { "x.example.org", "x.example.org" }, { "y.x.example.org", ".x.example.org" },
		{ "z.y.x.example.org", ".x.example.org" }, { "", NULL }, { ".", NULL }, { "org", NULL }, { "notexample.com", NULL },
	};
	AUTO(buf) struct buf errors = BUF_INIT(65536), warnings = BUF_INIT(65536);
	struct site *s = load(HEAD THREE BOX
			      "domain \"Example.COM\" { backends = { c, a } }\n"
			      "domain .example.org { backends = { \"c  a\", b } learn = yes }\n"
			      "domain .x.example.org { backends = { b } }\n"
			      "domain x.example.org { backends = { \"a b\", c } }\n", &errors, &warnings);
	const struct domain_conf *d;

	assert_string_equal(buf_str(&errors), "");
	assert_non_null(strstr(buf_str(&warnings), "example.org has no section domain"));
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		d = site_domain(s, rows[i].domain);
		if (!d != !rows[i].section || (d && strcmp(d->domain, rows[i].section) != 0))
			fail_msg("%s: %s", rows[i].domain, d ? d->domain : "none");
	}
	d = site_domain(s, "example.com");
	assert_true(d->owner_count == 1 && !d->learn && d->owner[0].backend_count == 2);
	assert_string_equal(d->owner[0].name, "a+c");
	d = site_domain(s, "a.example.org");
	assert_true(d->owner_count == 2 && d->learn);
	assert_string_equal(d->owner[0].name, "a+c");
	assert_string_equal(d->owner[0].backends[0], "c");
	assert_string_equal(d->owner[1].name, "b");
	d = site_domain(s, "x.example.org");
	assert_int_equal(d->owner_count, 1);
	assert_string_equal(d->owner[0].name, "a+b+c");
	site_free(s);
}

/* Who is left for the mail that has no section. */
static void test_rest(void **state)
{
	static const struct { const char *text, *none, *listener; } rows[] = {
		{ "", "abc", "abc" },
		{ "domain example.com { backends = { b } }\n", "ac", "ac" },
		{ "domain example.com { backends = { b, a } }\n", "c", "c" },
		{ "domain example.com { backends = { a, b, c } learn = yes }\n", "abc", "abc" },
		{ "listener in { address = \"0.0.0.0:25\" backends = { b } }\ndomain example.com { backends = { b } }\n", "ac", "b" },
		{ "listener in { address = \"0.0.0.0:25\" backends = { b } }\ndomain example.com { backends = { c, a } }\n", "b", "b" },
		{ "listener in { address = \"0.0.0.0:25\" }\ndomain example.com { backends = { a } }\n", "bc", "bc" },
		{ "listener in { address = \"0.0.0.0:25\" transparent = yes }\ndomain example.com { backends = { a } }\n", "bc", "abc" },
		{ "listener x { address = \"0.0.0.0:26\" backends = { c } }\nlistener in { address = \"0.0.0.0:25\" transparent = yes }\n"
		  "domain example.com { backends = { a } }\n", "b", "ab" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		AUTO(buf) struct buf errors = BUF_INIT(65536), text = BUF_INIT(65536);
		const struct listener_conf *in = NULL;
		char none[8] = "", listener[8] = "";
		struct site *s;

		buf_addf(&text, "%s%s", HEAD THREE BOX, rows[i].text);
		s = load(buf_str(&text), &errors, NULL);
		assert_string_equal(buf_str(&errors), "");
		for (size_t k = 0; k < s->listener_count; k++)
			if (s->listener[k].protocol == LISTENER_SMTP && strcmp(s->listener[k].name, "x") != 0)
				in = &s->listener[k];
		for (size_t k = 0; k < s->backend_count; k++) {
			if (listener_has_backend(s, NULL, &s->backend[k]))
				strcat(none, s->backend[k].name);
			if (in && listener_has_backend(s, in, &s->backend[k]))
				strcat(listener, s->backend[k].name);
		}
		if (strcmp(none, rows[i].none) != 0 || (in && strcmp(listener, rows[i].listener) != 0))
			fail_msg("row %zu: %s, %s", i, none, listener);
		site_free(s);
	}
}

static void test_mistakes(void **state)
{
	static const struct { const char *text, *errors; } rows[] = {
		{ "domain \"a b\" { backends = { a } }\n",
		  "@:7: domain: \"a b\" is no domain, expected one such as \"example.org\", or \".example.org\" for all below\n" },
		{ "domain \"\" { backends = { a } }\n", "@:7: domain: \"\" is no domain" },
		{ "domain \".\" { backends = { a } }\n", "@:7: domain: \".\" is no domain" },
		{ "domain \"..example.org\" { backends = { a } }\n", "@:7: domain: \"..example.org\" is no domain" },
		{ "domain \"*.example.org\" { backends = { a } }\n", "@:7: domain: \"*.example.org\" is no domain" },
		{ "domain \"x@example.org\" { backends = { a } }\n", "@:7: domain: \"x@example.org\" is no domain" },
		{ "domain example.org { backends = { a } }\ndomain Example.ORG. { backends = { b } }\n",
		  "@:8: domain example.org: comes twice, first on line 7\n" },
		{ "domain example.org { }\n", "@:7: domain example.org: has no backends, expected backends = { \"name\" }\n" },
		{ "domain example.org { backends = { } }\n", "@:7: domain example.org: has no backends" },
		{ "domain example.org { backends = { \" \" } }\n", "@:7: domain example.org: backends: an empty name, expected that of a backend\n" },
		{ "domain example.org { backends = { a, nobody } }\n", "@:7: domain example.org: there is no backend \"nobody\"\n" },
		{ "domain example.org { backends = { \"a,b\" } }\n", "@:7: domain example.org: there is no backend \"a,b\"\n" },
		{ "domain example.org { backends = { box } }\n",
		  "@:7: domain example.org: backend box speaks imap, expected one that speaks smtp\n" },
		{ "domain example.org { backends = { a, b, a } }\n", "@:7: domain example.org: names backend a twice\n" },
		{ "domain example.org { backends = { \"a b\", b } learn = yes }\n", "@:7: domain example.org: names backend b twice\n" },
		{ "domain example.org { backends = { a } learn = perhaps }\n", "@:7: learn: " },
		{ "domain example.org { address = \"10.0.0.5\" }\n", "@:7: address: " },
		{ "domain example.org { backends = { a, b, c, d, e, f, g, h, i } learn = yes }\n", "@:7: domain example.org: more than 8 owners\n" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		AUTO(buf) struct buf errors = BUF_INIT(65536), text = BUF_INIT(65536);
		char *first;
		struct site *s;

		buf_addf(&text, "%s%s", HEAD THREE, rows[i].text);
		s = load(buf_str(&text), &errors, NULL);
		first = strdup(buf_str(&errors));
		/* the first line alone */
		if (strchr(first, '\n'))
			strchr(first, '\n')[1] = '\0';
		if (s || !as_wanted(first, rows[i].errors))
			fail_msg("row %zu: %s", i, buf_str(&errors));
		free(first);
	}
}

static void test_warnings(void **state)
{
	static const struct { const char *text, *warning; } rows[] = {
		{ "domain example.org { backends = { a } }\n", NULL },
		{ "domain .example.org { backends = { a } }\n", NULL },
		{ "domain a.b.example.org { backends = { a } }\n", NULL },
		{ "domain .example.net { backends = { a } }\n", NULL },
		{ "domain deep.example.net { backends = { a } }\n", NULL },
		{ "domain example.net { backends = { a } }\n", "domain example.net: is none of domains, and its mail is not accepted\n" },
		{ "domain .deep.example.net { backends = { a } }\n", "domain .deep.example.net: is none of domains" },
		{ "domain .example.com { backends = { a } }\n", "domain .example.com: is none of domains" },
		{ "domain example.org { backends = { a } learn = yes }\n", "domain example.org: learn = yes plays no part with one owner" },
		{ "domain example.org { backends = { \"a b c\" } learn = yes }\n", "plays no part with one owner" },
		{ "domain example.org { backends = { a, b, c } }\n", "example.com has no section domain, and all backends belong to others" },
		{ "listener t { address = \"0.0.0.0:26\" transparent = yes }\ndomain example.org { backends = { a } }\n",
		  "listener t: transparent = yes: the client has chosen the server" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		AUTO(buf) struct buf errors = BUF_INIT(65536), warnings = BUF_INIT(65536), text = BUF_INIT(65536);
		struct site *s;

		buf_addf(&text, "%s%s", HEAD THREE BOX, rows[i].text);
		s = load(buf_str(&text), &errors, &warnings);
		if (!s || (rows[i].warning ? !strstr(buf_str(&warnings), rows[i].warning) : strstr(buf_str(&warnings), "domain") != NULL))
			fail_msg("row %zu: %s%s", i, buf_str(&errors), buf_str(&warnings));
		site_free(s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sections), cmocka_unit_test(test_rest), cmocka_unit_test(test_mistakes), cmocka_unit_test(test_warnings),
	};

	return cmocka_run_group_tests(tests, setup, dir_remove);
}
