#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/dns.h"
#include "filters/spf_macro.h"
#include "support/scarce.h"

static struct net_addr v4, v6;

static struct spf_macro_context context(void)
{
	return (struct spf_macro_context){
		.sender = "strong-bad@email.example.com", .local = "strong-bad", .sender_domain = "email.example.com",
		.domain = "email.example.com", .client = &v4, .validated = "mx.example.org", .helo = "mx.example.org",
		.receiver = "gw.example", .now_s = 1234567890,
	};
}

static int setup(void **state)
{
	return net_parse("192.0.2.3", &v4) || net_parse("2001:db8::cb01", &v6);
}

/* The examples of RFC 7208 7.4 among them. */
static const struct { const char *in, *out; } expansions[] = {
	{ "", "" },
	{ "plain.example", "plain.example" },
	{ "%{s}", "strong-bad@email.example.com" },
	{ "%{o}", "email.example.com" },
	{ "%{d}", "email.example.com" },
	{ "%{d4}", "email.example.com" },
	{ "%{d3}", "email.example.com" },
	{ "%{d2}", "example.com" },
	{ "%{d1}", "com" },
	{ "%{d999999999999999999999999}", "email.example.com" },
	{ "%{dr}", "com.example.email" },
	{ "%{dR}", "com.example.email" },
	{ "%{d2r}", "example.email" },
	{ "%{l}", "strong-bad" },
	{ "%{l-}", "strong.bad" },
	{ "%{lr}", "strong-bad" },
	{ "%{lr-}", "bad.strong" },
	{ "%{l1r-}", "strong" },
	{ "%{l1-}", "bad" },
	{ "%{h}", "mx.example.org" },
	{ "%{p}", "mx.example.org" },
	{ "%{v}", "in-addr" },
	{ "%{i}", "192.0.2.3" },
	{ "%{ir}", "3.2.0.192" },
	{ "%{c}", "192.0.2.3" },
	{ "%{r}", "gw.example" },
	{ "%{t}", "1234567890" },
	{ "%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com" },
	{ "%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com" },
	{ "%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com" },
	{ "%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net" },
	{ "%%", "%" }, { "%_", " " }, { "%-", "%20" }, { "a%%b%_c%-d", "a%b c%20d" },
	{ "%{S}", "strong-bad%40email.example.com" },
	{ "%{L}", "strong-bad" },
};

static void test_expand(void **state)
{
	struct spf_macro_context c = context();

	for (size_t i = 0; i < sizeof(expansions) / sizeof(expansions[0]); i++) {
		AUTO(buf) struct buf out = BUF_INIT(1024);
		const char *in = expansions[i].in;

		assert_null(spf_macro_check(in, strlen(in), SPF_MACRO_STRING));
		assert_int_equal(spf_macro_expand(in, strlen(in), &c, &out), 0);
		assert_string_equal(buf_str(&out), expansions[i].out);
	}
}

static void test_expand_ipv6(void **state)
{
	struct spf_macro_context c = context();
	AUTO(buf) struct buf out = BUF_INIT(1024);
	static const char in[] = "%{ir}.%{v}._spf.%{d2} %{c}";

	c.client = &v6;
	assert_int_equal(spf_macro_expand(in, sizeof(in) - 1, &c, &out), 0);
	assert_string_equal(buf_str(&out), "1.0.B.C.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.B.D.0.1.0.0.2.ip6._spf.example.com "
					   "2001:db8::cb01");
}

/* Values of strangers: no parts, empty parts, delimiters at the ends, odd bytes. */
static void test_odd_values(void **state)
{
	static const struct { const char *local, *in, *out; } rows[] = {
		{ "", "%{l}", "" }, { "", "%{l1r-}", "" }, { "-", "%{l-}", "." }, { "-", "%{lr-}", "." }, { "--", "%{l1-}", "" },
		{ "a-", "%{lr-}", ".a" }, { "-a", "%{l-}", ".a" }, { "a--b", "%{l-}", "a..b" }, { "a--b", "%{l2-}", ".b" },
		{ "a.b-c+d,e/f_g=h", "%{l.-+,/_=}", "a.b.c.d.e.f.g.h" }, { "a.b-c+d,e/f_g=h", "%{l2r.-+,/_=}", "b.a" },
		{ "%{d}", "%{l}", "%{d}" }, { "a b", "%{L}", "a%20b" }, { "\xff\x01", "%{L}", "%FF%01" }, { "a.b", "%{L1}", "b" },
		{ "~-_.!", "%{L}", "~-_.%21" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct spf_macro_context c = context();
		AUTO(buf) struct buf out = BUF_INIT(1024);

		c.local = rows[i].local;
		assert_int_equal(spf_macro_expand(rows[i].in, strlen(rows[i].in), &c, &out), 0);
		if (strcmp(buf_str(&out), rows[i].out) != 0)
			fail_msg("%s of %s: %s, not %s", rows[i].in, rows[i].local, buf_str(&out), rows[i].out);
	}
}

static void test_unknown(void **state)
{
	struct net_addr client = v4;
	struct spf_macro_context c = { .client = &client };
	AUTO(buf) struct buf out = BUF_INIT(256);

	assert_int_equal(spf_macro_expand("%{p}%{h}%{r}", 12, &c, &out), 0);
	assert_string_equal(buf_str(&out), "unknownunknownunknown");
}

static const struct { const char *in; enum spf_macro_use use; bool right; } checks[] = {
	{ "a.b", SPF_MACRO_DOMAIN, true },
	{ "%{d}", SPF_MACRO_DOMAIN, true },
	{ "x%{d}", SPF_MACRO_DOMAIN, true },
	{ "%{d}.b", SPF_MACRO_DOMAIN, true },
	{ "%{d}.b.", SPF_MACRO_DOMAIN, true },
	{ "..b", SPF_MACRO_DOMAIN, true },
	{ ".b", SPF_MACRO_DOMAIN, true },
	{ "!\"#$&'()*.b", SPF_MACRO_DOMAIN, true },
	{ "", SPF_MACRO_DOMAIN, false },
	{ ".", SPF_MACRO_DOMAIN, false },
	{ "b", SPF_MACRO_DOMAIN, false },
	{ "b.", SPF_MACRO_DOMAIN, false },
	{ "a.1", SPF_MACRO_DOMAIN, false },
	{ "a.b c.d", SPF_MACRO_DOMAIN, false },
	{ "%{c}.b", SPF_MACRO_DOMAIN, false },
	{ "%{R}.b", SPF_MACRO_DOMAIN, false },
	{ "", SPF_MACRO_STRING, true },
	{ "b", SPF_MACRO_STRING, true },
	{ "%{c}", SPF_MACRO_STRING, true },
	{ "a b", SPF_MACRO_STRING, false },
	{ "a b", SPF_MACRO_TEXT, true },
	{ "%{t} o'clock", SPF_MACRO_TEXT, true },
	{ "a\tb", SPF_MACRO_TEXT, false },
	{ "a\r\nb", SPF_MACRO_TEXT, false },
	{ "caf\xc3\xa9", SPF_MACRO_TEXT, false },
	{ "100%", SPF_MACRO_TEXT, false },
	{ "100% sure", SPF_MACRO_TEXT, false },
	{ "%", SPF_MACRO_STRING, false },
	{ "%{", SPF_MACRO_STRING, false },
	{ "%{}", SPF_MACRO_STRING, false },
	{ "%{d", SPF_MACRO_STRING, false },
	{ "%{d-", SPF_MACRO_STRING, false },
	{ "%{1}", SPF_MACRO_STRING, false },
	{ "%{a}", SPF_MACRO_STRING, false },
	{ "%{dd}", SPF_MACRO_STRING, false },
	{ "%{dr1}", SPF_MACRO_STRING, false },
	{ "%{d1r1}", SPF_MACRO_STRING, false },
	{ "%{d-r}", SPF_MACRO_STRING, false },
	{ "%{drr}", SPF_MACRO_STRING, false },
	{ "%{d0}", SPF_MACRO_STRING, false },
	{ "%{d@}", SPF_MACRO_STRING, false },
	{ "%{d }", SPF_MACRO_STRING, false },
	{ "%{s@}", SPF_MACRO_STRING, false },
	{ "%(d)", SPF_MACRO_STRING, false },
	{ "%d", SPF_MACRO_STRING, false },
	{ "%%%", SPF_MACRO_STRING, false },
};

static void test_check(void **state)
{
	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
		size_t len = strlen(checks[i].in);
		char *exact = malloc(len + 1);

		memcpy(exact, checks[i].in, len);
		if ((spf_macro_check(exact, len, checks[i].use) == NULL) != checks[i].right)
			fail_msg("%s", checks[i].in);
		free(exact);
	}
	assert_non_null(spf_macro_check("a.b\0c", 5, SPF_MACRO_TEXT));
	assert_non_null(spf_macro_check("%\0", 2, SPF_MACRO_TEXT));
	assert_non_null(spf_macro_check("%{d\0}", 5, SPF_MACRO_TEXT));
}

static void test_has(void **state)
{
	assert_true(spf_macro_has("x.%{P}.y", 8, 'p'));
	assert_false(spf_macro_has("x.%%{p}.y", 9, 'p'));
	assert_false(spf_macro_has("%{d}", 4, 'p'));
	assert_int_equal(spf_macro_count("%{d}%%%_%{i}x%{l-}", 18), 3);
	assert_int_equal(spf_macro_count("", 0), 0);
}

static void test_domain(void **state)
{
	struct spf_macro_context c = context();
	AUTO(buf) struct buf out = BUF_INIT(4096);
	char local[400];

	assert_int_equal(spf_macro_domain("%{d}.x.", 7, &c, &out), 0);
	assert_string_equal(buf_str(&out), "email.example.com.x");
	/* 253 stay, 254 lose a label. */
	memset(local, 'a', sizeof(local));
	for (size_t i = 9; i < sizeof(local); i += 10)
		local[i] = '.';
	c.local = local;
	local[248] = '\0';
	assert_int_equal(spf_macro_domain("%{l}.b.c", 8, &c, &out), 0);
	assert_int_equal(out.len, 252);
	local[248] = 'a';
	local[249] = '\0';
	assert_int_equal(spf_macro_domain("%{l}.b.c", 8, &c, &out), 0);
	assert_int_equal(out.len, 253);
	local[249] = 'a';
	local[250] = '\0';
	assert_int_equal(spf_macro_domain("%{l}.b.c", 8, &c, &out), 0);
	assert_int_equal(out.len, 254 - 10);
	/* One label that is too long has nothing to lose. */
	memset(local, 'a', 300);
	local[300] = '\0';
	assert_int_equal(spf_macro_domain("%{l}", 4, &c, &out), 0);
	assert_int_equal(out.len, 300);
	assert_int_equal(spf_macro_domain("%{l0}", 5, &c, &out), -EINVAL);
}

/* Many macros of a long value stop at the bound and not later. */
static void test_bound(void **state)
{
	struct spf_macro_context c = context();
	AUTO(buf) struct buf out = BUF_INIT(1000);
	AUTO(buf) struct buf in = BUF_INIT(65536);
	char local[2001];

	memset(local, '-', 2000);
	local[2000] = '\0';
	c.local = local;
	while (in.len < 60000)
		buf_adds(&in, "%{l2000r-}");
	assert_int_equal(spf_macro_expand(in.data, in.len, &c, &out), -ENOSPC);
	assert_true(out.len <= 1000);
}

static void test_name(void **state)
{
	char out[DNS_NAME_MAX], tiny[8];

	assert_int_equal(spf_macro_name("a b\\c\xff.d", 8, out, sizeof(out)), 0);
	assert_string_equal(out, "a\\032b\\092c\\255.d");
	assert_true(dns_name_ok(out));
	assert_int_equal(spf_macro_name("", 0, out, sizeof(out)), 0);
	assert_false(dns_name_ok(out));
	assert_int_equal(spf_macro_name("abcdefgh", 8, tiny, sizeof(tiny)), -ENOSPC);
}

/* A name that could not be made is not one that is too long: the first says nothing of the record. */
static void test_no_memory(void **state)
{
	static const char in[] = "%{l1r-}.%{d2}.a-name-that-is-longer-than-what-a-buffer-begins-with.%{i}.example";

	for (int n = 1; scarce_begin(n); n++) {
		struct spf_macro_context c = context();
		AUTO(buf) struct buf out = BUF_INIT(1024);
		int rc = spf_macro_domain(in, sizeof(in) - 1, &c, &out);
		bool failed = scarce_end();

		assert_int_equal(rc, failed ? -ENOMEM : 0);
		if (!failed)
			break;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_memory), cmocka_unit_test(test_expand), cmocka_unit_test(test_expand_ipv6), cmocka_unit_test(test_odd_values),
		cmocka_unit_test(test_unknown), cmocka_unit_test(test_check), cmocka_unit_test(test_has), cmocka_unit_test(test_domain),
		cmocka_unit_test(test_bound), cmocka_unit_test(test_name),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
