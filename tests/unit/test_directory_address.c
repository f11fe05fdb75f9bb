/* Addresses as directories write them, as envelopes have them, and what is asked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "directory/directory_address.h"

#define SIXTY "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void test_values(void **state)
{
	static const struct { const char *name; enum directory_schema schema; const char *in, *want; } rows[] = {
		{ "plain", DIRECTORY_INETORGPERSON, "Anna@Example.COM", "anna@example.com" },
		{ "main", DIRECTORY_ACTIVE, "SMTP:Anna.B@example.com", "anna.b@example.com" },
		{ "other", DIRECTORY_ACTIVE, "smtp:x@b\xc3\xbc" "cher.example", "x@xn--bcher-kva.example" },
		{ "mixed kind", DIRECTORY_ACTIVE, "sMtP:a@example.com", "a@example.com" },
		{ "utf-8 local part", DIRECTORY_ACTIVE, "smtp:\xc3\xbc@example.com", "\xc3\xbc@example.com" },
		{ "blanks around", DIRECTORY_ACTIVE, " a@example.com ", "a@example.com" },
		{ "quoted", DIRECTORY_ACTIVE, "\"A b\"@example.com", "a b@example.com" },
		{ "quoted, needlessly", DIRECTORY_ACTIVE, "\"a\\b\"@example.com", "ab@example.com" },
		{ "quoted at sign", DIRECTORY_ACTIVE, "\"a@b\"@example.com", "a@b@example.com" },
		{ "64 octets", DIRECTORY_ACTIVE, SIXTY "aaaa@example.com", SIXTY "aaaa@example.com" },
		{ "final dot", DIRECTORY_ACTIVE, "a@example.com.", "a@example.com" },
		{ "short name", DIRECTORY_DOMINO, "EMuster", "emuster" },
		{ "common name", DIRECTORY_DOMINO, "Erika Muster", "erika_muster" },
		{ "address in Domino", DIRECTORY_DOMINO, "Erika_Muster@example.com", "erika_muster@example.com" },

		{ "nothing", DIRECTORY_ACTIVE, "", NULL },
		{ "blanks", DIRECTORY_DOMINO, "   ", NULL },
		{ "X.400", DIRECTORY_ACTIVE, "X400:C=DE;A= ;P=Org;O=Exchange;S=a@example.com", NULL },
		{ "SIP", DIRECTORY_ACTIVE, "SIP:a@example.com", NULL },
		{ "x500", DIRECTORY_ACTIVE, "x500:/o=Org/ou=Group/cn=a@example.com", NULL },
		{ "no kind", DIRECTORY_ACTIVE, ":a@example.com", NULL },
		{ "kind alone", DIRECTORY_ACTIVE, "smtp:", NULL },
		{ "kind twice", DIRECTORY_ACTIVE, "smtp:smtp:a@example.com", "smtp:a@example.com" },
		{ "no domain", DIRECTORY_ACTIVE, "anna", NULL },
		{ "no domain behind it", DIRECTORY_ACTIVE, "anna@", NULL },
		{ "no local part", DIRECTORY_ACTIVE, "@example.com", NULL },
		{ "empty quotes", DIRECTORY_ACTIVE, "\"\"@example.com", NULL },
		{ "a quote", DIRECTORY_ACTIVE, "\"\\\"@example.com", NULL },
		{ "bad domain", DIRECTORY_ACTIVE, "a@exa mple.com", NULL },
		{ "two at signs", DIRECTORY_ACTIVE, "a@b@example.com", NULL },
		{ "65 octets", DIRECTORY_ACTIVE, SIXTY "aaaaa@example.com", NULL },
		{ "control", DIRECTORY_ACTIVE, "a\x01@example.com", NULL },
		{ "line", DIRECTORY_ACTIVE, "a\r\nb@example.com", NULL },
		{ "Notes' name", DIRECTORY_DOMINO, "Erika Muster/Org", NULL },
		{ "kind and a name", DIRECTORY_DOMINO, "smtp:erika", NULL },
		{ "a long name", DIRECTORY_DOMINO, SIXTY "aaaaa", NULL },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char out[DIRECTORY_ADDRESS_MAX] = "";
		int rc = directory_value(rows[i].schema, rows[i].in, strlen(rows[i].in), out);

		if (rc != (rows[i].want ? 0 : -22) || (rows[i].want && strcmp(out, rows[i].want) != 0))
			fail_msg("%s: %d \"%s\"", rows[i].name, rc, out);
	}
	{
		char out[DIRECTORY_ADDRESS_MAX];

		assert_int_equal(directory_value(DIRECTORY_ACTIVE, "a\0b@example.com", 15, out), -22);
		assert_int_equal(directory_value(DIRECTORY_ACTIVE, "a@example.com\0", 14, out), 0);
		assert_int_equal(directory_value(DIRECTORY_ACTIVE, "", 0, out), -22);
	}
}

static void test_forms(void **state)
{
	static const struct { const char *name; bool plus, subdomains; enum directory_schema schema; const char *in, *want; } rows[] = {
		{ "itself", false, false, DIRECTORY_ACTIVE, "a+b@x.example.com", "a+b@x.example.com" },
		{ "plus", true, false, DIRECTORY_ACTIVE, "a+b+c@example.com", "a+b+c@example.com a@example.com" },
		{ "plus first", true, false, DIRECTORY_ACTIVE, "+b@example.com", "+b@example.com" },
		{ "subdomains", false, true, DIRECTORY_ACTIVE, "a@y.x.example.com", "a@y.x.example.com a@x.example.com a@example.com" },
		{ "not a top-level domain", false, true, DIRECTORY_ACTIVE, "a@example.com", "a@example.com" },
		{ "names", false, false, DIRECTORY_DOMINO, "first_last@example.com", "first_last@example.com first_last" },
		{ "blank in the local part", false, false, DIRECTORY_DOMINO, "first last@example.com", "first last@example.com first_last" },
		{ "all", true, true, DIRECTORY_DOMINO, "a+b@x.example.com", "a+b@x.example.com a+b@example.com a+b a@x.example.com a@example.com a" },
		{ "deep", true, true, DIRECTORY_DOMINO, "a+b@e.d.c.b.example.com",
		  "a+b@e.d.c.b.example.com a+b@d.c.b.example.com a+b@c.b.example.com a+b@b.example.com a+b a@e.d.c.b.example.com a@d.c.b.example.com a@c.b.example.com "
		  "a@b.example.com a" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct directory_conf c = { .plus = rows[i].plus, .subdomains = rows[i].subdomains, .schema = rows[i].schema };
		struct directory_forms f;
		char all[2000] = "";

		directory_forms(&c, rows[i].in, &f);
		for (size_t k = 0; k < f.count; k++) {
			strcat(all, k ? " " : "");
			strcat(all, f.text[k]);
		}
		if (strcmp(all, rows[i].want) != 0)
			fail_msg("%s: %s", rows[i].name, all);
	}
}

static void test_filter(void **state)
{
	char *attributes[] = { "proxyAddresses", "mail" }, *names[] = { "cn" };
	struct directory_conf c = { .filter = "(objectClass=*)", .attribute = attributes, .attribute_count = 2 },
			      d = { .filter = "(a=b)", .attribute = names, .attribute_count = 1, .schema = DIRECTORY_DOMINO };
	AUTO(buf) struct buf out = BUF_INIT(10000), small = BUF_INIT(20), other = BUF_INIT(10000);
	struct directory_forms f;

	directory_forms(&c, "a*)(x=\\\xc3@example.com", &f);
	assert_int_equal(directory_filter(&c, &f, &out), 0);
	assert_string_equal(buf_str(&out), "(&(objectClass=*)(|(proxyAddresses=smtp:a\\2a\\29\\28x=\\5c\\c3@example.com)(mail=a\\2a\\29\\28x=\\5c\\c3@example.com)))");
	assert_int_not_equal(directory_filter(&c, &f, &small), 0);
	directory_forms(&d, "first_last@example.com", &f);
	assert_int_equal(directory_filter(&d, &f, &other), 0);
	assert_string_equal(buf_str(&other), "(&(a=b)(|(cn=first_last@example.com)(cn=first_last)(cn=first last)))");
}

static void test_domains(void **state)
{
	char *domains[] = { "example.com", ".example.net" }, *all[] = { "all.example" };
	struct directory_conf c = { .domain = domains, .domain_count = 2, .catch_all = all, .catch_all_count = 1 }, every = { .domain = NULL };

	assert_true(directory_covers(&c, "a@example.com") && directory_covers(&c, "a@x.example.net") && directory_covers(&c, "a@all.example"));
	assert_false(directory_covers(&c, "a@example.net") || directory_covers(&c, "a@x.example.com") || directory_covers(&c, "a") || directory_covers(&c, "a@xexample.com"));
	assert_true(directory_catches(&c, "b@all.example") && !directory_catches(&c, "b@example.com") && !directory_catches(&c, "b"));
	assert_true(directory_covers(&every, "a@whatever.example"));
}

static void test_ranges(void **state)
{
	static const struct { const char *in; bool is; long next; } rows[] = {
		{ "proxyAddresses", true, -1 }, { "PROXYADDRESSES", true, -1 }, { "proxyAddresses;range=0-1499", true, 1500 },
		{ "proxyAddresses;Range=1500-2999", true, 3000 }, { "proxyAddresses;range=3000-*", true, -1 }, { "proxyAddresses;binary;range=0-9", true, 10 },
		{ "proxyAddresses;range=0", true, -1 }, { "proxyAddresses;range=0--5", true, -1 }, { "proxyAddresses;range=0-99999999999999999999", true, -1 },
		{ "proxyAddresses;range=", true, -1 }, { "proxyAddresses;", true, -1 }, { "proxyAddresse", false, -1 }, { "proxyAddressesX", false, -1 },
		{ "", false, -1 }, { ";range=0-1", false, -1 },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		long next;
		bool is = directory_attribute_is(rows[i].in, "proxyAddresses", &next);

		if (is != rows[i].is || (is && next != rows[i].next))
			fail_msg("%s: %d %ld", rows[i].in, is, next);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values), cmocka_unit_test(test_forms), cmocka_unit_test(test_filter), cmocka_unit_test(test_domains), cmocka_unit_test(test_ranges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
