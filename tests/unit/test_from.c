#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "filters/filter.h"
#include "filters/from.h"

/* addresses: joined by "|"; domains likewise. */
static const struct { const char *name, *in; bool valid; const char *addresses, *domains; } rows[] = {
	/* the grammar */
	{ "bare", " a@example.com", true, "a@example.com", "example.com" },
	{ "name and angles", " Alice Smith <a@example.com>", true, "a@example.com", "example.com" },
	{ "angles alone", "<a@example.com>", true, "a@example.com", "example.com" },
	{ "quoted name", " \"Smith, Alice <x@evil.example>\" <a@example.com>", true, "a@example.com", "example.com" },
	{ "quoted pair in a name", " \"a\\\"b\" <a@example.com>", true, "a@example.com", "example.com" },
	{ "comment", " a@example.com (Alice)", true, "a@example.com", "example.com" },
	{ "comment with an address", " a@example.com (x@evil.example)", true, "a@example.com", "example.com" },
	{ "nested comments", " (a (b (c) d) e) a@example.com", true, "a@example.com", "example.com" },
	{ "comments between all", "(1)a(2)@(3)example(4).(5)com(6)", true, "a@example.com", "example.com" },
	{ "quoted pair in a comment", " a@example.com (\\))", true, "a@example.com", "example.com" },
	{ "fold", "\r\n Alice\r\n\t<a@example.com>", true, "a@example.com", "example.com" },
	{ "quoted local part", " \"a b\"@example.com", true, "\"a b\"@example.com", "example.com" },
	{ "at in a quoted local part", " \"x@evil.example\"@example.com", true, "\"x@evil.example\"@example.com", "example.com" },
	{ "dots in a local part", " <a.b.c@example.com>", true, "a.b.c@example.com", "example.com" },
	{ "obsolete blanks around dots", " < a . b @ example . com >", true, "a.b@example.com", "example.com" },
	{ "dots in a phrase", " J. R. R. Tolkien <a@example.com>", true, "a@example.com", "example.com" },
	{ "8-bit in a name", " J\xc3\xbcrgen <a@example.com>", true, "a@example.com", "example.com" },
	{ "8-bit that is no UTF-8", " J\xfcrgen <a@example.com>", true, "a@example.com", "example.com" },
	{ "8-bit local part", " j\xc3\xbcrgen@example.com", true, "j\xc3\xbcrgen@example.com", "example.com" },
	{ "U-label", " a@b\xc3\xbc" "cher.example", true, "a@xn--bcher-kva.example", "xn--bcher-kva.example" },
	{ "U-label and its A-label", " a@b\xc3\xbc" "cher.example, b@XN--bcher-kva.example", true,
	  "a@xn--bcher-kva.example|b@xn--bcher-kva.example", "xn--bcher-kva.example" },
	{ "encoded word", " =?utf-8?Q?J=C3=BCrgen?= <a@example.com>", true, "a@example.com", "example.com" },
	{ "encoded word with an address", " =?utf-8?Q?x=40evil.example?= <a@example.com>", true, "a@example.com", "example.com" },
	{ "upper case domain", " a@EXAMPLE.Com", true, "a@example.com", "example.com" },
	{ "final dot", " a@example.com.", false, "a@example.com", "example.com" },
	{ "literal", " a@[192.0.2.1]", true, "a@[192.0.2.1]", "[192.0.2.1]" },
	{ "IPv6 literal", " <a@[IPv6:2001:DB8::1]>", true, "a@[ipv6:2001:db8::1]", "[ipv6:2001:db8::1]" },
	{ "several, one domain", " a@example.com, B <b@example.com>", true, "a@example.com|b@example.com", "example.com" },
	{ "several domains", " a@example.com, b@evil.example", true, "a@example.com|b@evil.example", "example.com|evil.example" },
	{ "empty elements", " , a@example.com,, b@example.com ,", true, "a@example.com|b@example.com", "example.com" },
	{ "route", " <@one.example,@two.example:a@example.com>", true, "a@example.com", "example.com" },
	{ "route with empty elements", " <,@one.example,,@two.example:a@example.com>", true, "a@example.com", "example.com" },
	{ "group", " Team: a@example.com, B <b@example.org>;", true, "a@example.com|b@example.org", "example.com|example.org" },
	{ "empty group", " undisclosed:;", true, "", "" },
	{ "group, then one more", " T: a@example.com;, b@example.org", true, "a@example.com|b@example.org", "example.com|example.org" },
	{ "group with empty elements", " T:,,a@example.com,;", true, "a@example.com", "example.com" },
	{ "quoted group name", " \"x@evil.example\": a@example.com;", true, "a@example.com", "example.com" },
	/* angle tricks: everything that some reader might take is counted */
	{ "angles before an address", " <a@evil.example> b@example.com", false, "a@evil.example|b@example.com", "evil.example|example.com" },
	{ "two angles", " <a@evil.example> <b@example.com>", false, "a@evil.example|b@example.com", "evil.example|example.com" },
	{ "unquoted address as a name", " b@example.com <a@evil.example>", false, "b@example.com|a@evil.example", "example.com|evil.example" },
	{ "unquoted address as a name, the same", " a@example.com <a@example.com>", false, "a@example.com|a@example.com", "example.com" },
	{ "angles in angles", " <<a@example.com>>", false, "a@example.com", "example.com" },
	{ "angle in a local part", " <b@example.com<a@evil.example>", false, "b@example.com|a@evil.example", "example.com|evil.example" },
	{ "two at", " a@example.com@evil.example", false, "a@example.com|example.com@evil.example", "example.com|evil.example" },
	{ "angle not closed", " A <a@example.com", false, "a@example.com", "example.com" },
	{ "angle not opened", " a@example.com>", false, "a@example.com", "example.com" },
	{ "semicolon", " a@example.com;", false, "a@example.com", "example.com" },
	{ "semicolon between", " a@example.com; b@evil.example", false, "a@example.com|b@evil.example", "example.com|evil.example" },
	{ "no comma between", " a@example.com b@evil.example", false, "a@example.com|b@evil.example", "example.com|evil.example" },
	{ "group not ended", " T: a@example.com", false, "a@example.com", "example.com" },
	{ "group in a group", " T: U: a@example.com;;", false, "a@example.com", "example.com" },
	{ "route without colon", " <@evil.example a@example.com>", false, "@evil.example|a@example.com", "evil.example|example.com" },
	{ "comma in an unquoted name", " Smith, Ltd. <a@example.com>", false, "a@example.com", "example.com" },
	{ "colon in an unquoted name", " Re: Smith <a@example.com>", false, "a@example.com", "example.com" },
	{ "brackets in an unquoted name", " [Shop] <a@example.com>", false, "a@example.com", "example.com" },
	{ "quote without end", " \"Smith <a@example.com>", false, "a@example.com", "example.com" },
	{ "quote without end, two addresses", " \"b@example.com <a@evil.example>", false, "b@example.com|a@evil.example", "example.com|evil.example" },
	{ "comment without end", " (Smith a@example.com", false, "a@example.com", "example.com" },
	{ "quoted domain", " a@\"example.com\"", false, "", "" },
	{ "encoded word as a domain", " a@=?utf-8?Q?example.com?=", false, "", "" },
	{ "encoded word as all", " =?utf-8?B?YUBleGFtcGxlLmNvbQ==?=", false, "", "" },
	{ "encoded word in angles", " <=?utf-8?Q?a@example.com?=>", false, "", "" },
	{ "empty", "", false, "", "" },
	{ "blanks", " \r\n ", false, "", "" },
	{ "commas", " ,,", false, "", "" },
	{ "a word", " postmaster", false, "", "" },
	{ "empty angles", " <>", false, "", "" },
	{ "no local part", " @example.com", false, "@example.com", "example.com" },
	{ "no domain", " a@", false, "", "" },
	{ "domain with an empty label", " a@example..com", false, "", "" },
	{ "local part with two dots", " a..b@example.com", false, "a..b@example.com", "example.com" },
	{ "local part that ends with a dot", " a.@example.com", false, "a.@example.com", "example.com" },
	{ "dot first", " .a@example.com", false, ".a@example.com", "example.com" },
	{ "two words and an at", " a b@example.com", false, "b@example.com", "example.com" },
	{ "slash in a domain", " a@exa/mple.com", false, "", "" },
	{ "literal not closed", " a@[192.0.2.1", false, "", "" },
	{ "bare LF", " a@example.com\n b@evil.example", false, "a@example.com|b@evil.example", "example.com|evil.example" },
	{ "control", " a@example.com\x01", false, "a@example.com", "example.com" },
	{ "backslash at the end", " \"a\\", false, "", "" },
	{ "deep comments", " ((((((((((((((((((((((((((((((((((((a)))))))))))))))))))))))))))))))))))) a@example.com", false, "a@example.com", "example.com" },
};

static void joined(char *const *v, size_t n, char *out)
{
	*out = '\0';
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			strcat(out, "|");
		strcat(out, v[i]);
	}
}

static void test_rows(void **state)
{
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		size_t len = strlen(rows[i].in);
		struct from_authors a = { .address = NULL };
		const char *why = NULL;
		char *exact = malloc(len ? len : 1), text[1024];
		int rc;

		print_message("    %s\n", rows[i].name);
		memcpy(exact, rows[i].in, len);
		rc = from_parse(exact, len, &a, &why);
		assert_int_equal(rc, rows[i].valid ? 0 : -EBADMSG);
		assert_int_equal(why == NULL, rows[i].valid);
		joined(a.address, a.address_count, text);
		assert_string_equal(text, rows[i].addresses);
		joined(a.domain, a.domain_count, text);
		assert_string_equal(text, rows[i].domains);
		from_authors_release(&a);
		for (size_t cut = 0; cut < len; cut++) {
			char *part = malloc(cut ? cut : 1);

			memcpy(part, exact, cut);
			from_parse(part, cut, &a, &why);
			from_authors_release(&a);
			free(part);
		}
		free(exact);
	}
}

static void test_bytes(void **state)
{
	struct from_authors a = { .address = NULL };
	const char *why = NULL;

	assert_int_equal(from_parse(" \"a\0b\"@example.com", 18, &a, &why), -EBADMSG);
	assert_int_equal(a.address_count, 1);
	assert_string_equal(a.address[0], "@example.com");      /* what stands around the at, no more */
	from_authors_release(&a);
	assert_int_equal(from_parse(" a@exa\0mple.com", 15, &a, &why), -EBADMSG);
	from_authors_release(&a);
}

/* Repeat unit until n bytes, and read it. */
static int parse_repeated(const char *unit, size_t n, struct from_authors *a)
{
	size_t len = strlen(unit);
	char *text = malloc(n);
	const char *why;
	int rc;

	for (size_t i = 0; i < n; i++)
		text[i] = unit[i % len];
	rc = from_parse(text, n, a, &why);
	free(text);
	return rc;
}

/* Whatever is repeated for 256 KiB is read in no time, and what does not fit is said. */
static void test_floods(void **state)
{
	static const char *const units[] = { "(", "\"", ")", "\"(", "@", "<", "\xc3\xbc@\xc3\xbc,", "a@\xc3\xbc ", "<@a,", "a:", ";", "a.", "[", "\\", "\"\\" };

	for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
		struct from_authors a = { .address = NULL };

		assert_int_equal(parse_repeated(units[i], 256 * 1024, &a), -EBADMSG);
		assert_true(a.address_count <= FROM_ADDRESSES_MAX);
		from_authors_release(&a);
	}
}

static void test_too_many(void **state)
{
	struct from_authors a = { .address = NULL };

	assert_int_equal(parse_repeated("a@example.com,", 14 * FROM_ADDRESSES_MAX, &a), 0);
	assert_false(a.overflow);
	assert_int_equal(a.address_count, FROM_ADDRESSES_MAX);
	from_authors_release(&a);
	assert_int_equal(parse_repeated("a@example.com,", 14 * (FROM_ADDRESSES_MAX + 1), &a), -EBADMSG);
	assert_true(a.overflow);
	from_authors_release(&a);
}

/* The facts of a message with these header lines. */
struct fixture {
	struct client client;
	struct txn txn;
};

static int self_of(const char *name)
{
	for (int i = 0; filters[i]; i++) {
		if (strcmp(filters[i]->name, name) == 0)
			return i;
	}
	fail_msg("no filter %s", name);
	return -1;
}

static void fixture_open(struct fixture *f, const char *header)
{
	static const struct message_limits lim = { 65536, 65536, 100 };

	fact_register_all();
	memset(f, 0, sizeof *f);
	txn_init(&f->txn, NULL, NULL, &f->client);
	f->txn.message = message_new(&lim, NULL, NULL);
	f->txn.stage = STAGE_HEADER;
	assert_int_equal(message_add(f->txn.message, header, strlen(header)), 0);
	assert_int_equal(message_add(f->txn.message, "\r\n", 2), 0);
}

static void fixture_close(struct fixture *f)
{
	struct message *m = f->txn.message;

	f->txn.message = NULL;
	txn_release(&f->txn);
	message_free(m);
}

static const struct { const char *name, *header; int count, domain_count; bool valid; const char *domain; } facts_rows[] = {
	{ "one", "From: A <a@example.com>\r\n", 1, 1, true, "example.com" },
	{ "none", "To: a@example.com\r\n", 0, 0, false, NULL },
	{ "two fields, one domain", "From: a@example.com\r\nFrom: b@example.com\r\n", 2, 1, true, "example.com" },
	{ "two fields, two domains", "From: a@example.com\r\nFrom: b@evil.example\r\n", 2, 2, true, NULL },
	{ "two domains", "From: a@example.com, b@evil.example\r\n", 1, 2, true, NULL },
	{ "angle trick", "From: <a@evil.example> b@example.com\r\n", 1, 2, false, NULL },
	{ "upper case field", "FROM: a@example.com\r\n", 1, 1, true, "example.com" },
	{ "obsolete blank before the colon", "From : a@example.com\r\n", 1, 1, true, "example.com" },
	{ "malformed, one domain", "From: Smith, Ltd. <a@example.com>\r\n", 1, 1, false, "example.com" },
	{ "no address", "From: nobody\r\n", 1, 0, false, NULL },
};

static void test_facts(void **state)
{
	for (size_t i = 0; i < sizeof facts_rows / sizeof *facts_rows; i++) {
		struct facts out = { NULL, 0, 0 };
		struct fixture f;
		const char *domain;

		print_message("    %s\n", facts_rows[i].name);
		fixture_open(&f, facts_rows[i].header);
		assert_int_equal(filter_from.run(&f.txn, self_of("from"), &out), 0);
		assert_int_equal(facts_get_name(&out, "from.count")->number, facts_rows[i].count);
		assert_int_equal(facts_get_name(&out, "from.domain_count")->number, facts_rows[i].domain_count);
		assert_int_equal(facts_get_name(&out, "from.valid")->number, facts_rows[i].valid);
		assert_int_equal(facts_get_name(&out, "from.valid")->why == NULL, facts_rows[i].valid);
		domain = facts_get_name(&out, "from.domain") ? facts_word(&out, "from.domain") : NULL;
		assert_int_equal(domain == NULL, facts_rows[i].domain == NULL);
		if (domain)
			assert_string_equal(domain, facts_rows[i].domain);
		facts_release(&out);
		fixture_close(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),     cmocka_unit_test(test_bytes), cmocka_unit_test(test_floods),
		cmocka_unit_test(test_too_many), cmocka_unit_test(test_facts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
