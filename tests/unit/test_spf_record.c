#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "filters/spf_record.h"

/* Good records: terms counted, the first one looked at. */
static const struct {
	const char *name, *text;
	size_t count;
	enum spf_kind kind;
	char qualifier;
	const char *domain;
	int bits4, bits6;
} good[] = {
	{ "nothing", "v=spf1", 0, SPF_ALL, 0, "", 0, 0 },
	{ "nothing and blanks", "v=spf1   ", 0, SPF_ALL, 0, "", 0, 0 },
	{ "all", "v=spf1 -all", 1, SPF_ALL, '-', "", 32, 128 },
	{ "upper case", "V=SPF1 ?ALL", 1, SPF_ALL, '?', "", 32, 128 },
	{ "blanks", "v=spf1    ~all   +all  ", 2, SPF_ALL, '~', "", 32, 128 },
	{ "include", "v=spf1 include:_spf.x.example all", 2, SPF_INCLUDE, '+', "_spf.x.example", 32, 128 },
	{ "a", "v=spf1 a", 1, SPF_A, '+', "", 32, 128 },
	{ "a of a domain", "v=spf1 -a:x.example", 1, SPF_A, '-', "x.example", 32, 128 },
	{ "a final dot", "v=spf1 a:x.example.", 1, SPF_A, '+', "x.example.", 32, 128 },
	{ "a IPv4 prefix", "v=spf1 a/24", 1, SPF_A, '+', "", 24, 128 },
	{ "a IPv6 prefix", "v=spf1 a//64", 1, SPF_A, '+', "", 32, 64 },
	{ "a both", "v=spf1 a:x.example/0//0", 1, SPF_A, '+', "x.example", 0, 0 },
	{ "a longest", "v=spf1 a:x.example/32//128", 1, SPF_A, '+', "x.example", 32, 128 },
	{ "a macro with a slash", "v=spf1 a:%{d/}/24", 1, SPF_A, '+', "%{d/}", 24, 128 },
	{ "a slash in the domain", "v=spf1 a:x/y.example/8", 1, SPF_A, '+', "x/y.example", 8, 128 },
	{ "a colon in the domain", "v=spf1 a:x:y.example", 1, SPF_A, '+', "x:y.example", 32, 128 },
	{ "mx", "v=spf1 mx:m.example/30//126 -all", 2, SPF_MX, '+', "m.example", 30, 126 },
	{ "ptr", "v=spf1 ptr", 1, SPF_PTR, '+', "", 32, 128 },
	{ "ptr of a domain", "v=spf1 ptr:x.example", 1, SPF_PTR, '+', "x.example", 32, 128 },
	{ "ip4", "v=spf1 ip4:192.0.2.1", 1, SPF_IP4, '+', "", 32, 128 },
	{ "ip4 prefix", "v=spf1 ip4:192.0.2.0/24", 1, SPF_IP4, '+', "", 24, 128 },
	{ "ip6", "v=spf1 ip6:2001:db8::1", 1, SPF_IP6, '+', "", 32, 128 },
	{ "ip6 prefix", "v=spf1 ip6:::/0", 1, SPF_IP6, '+', "", 32, 0 },
	{ "ip6 with dotted quad", "v=spf1 ip6:::ffff:192.0.2.1/96", 1, SPF_IP6, '+', "", 32, 96 },
	{ "exists", "v=spf1 exists:%{ir}._spf.%{d}", 1, SPF_EXISTS, '+', "%{ir}._spf.%{d}", 32, 128 },
	{ "top label with hyphen", "v=spf1 a:x.xn--p1ai", 1, SPF_A, '+', "x.xn--p1ai", 32, 128 },
	{ "top label with digits", "v=spf1 a:x.a1", 1, SPF_A, '+', "x.a1", 32, 128 },
	{ "ends in an escape", "v=spf1 a:x.%%", 1, SPF_A, '+', "x.%%", 32, 128 },
	{ "modifiers only", "v=spf1 redirect=x.example exp=y.example", 0, SPF_ALL, 0, "", 0, 0 },
	{ "unknown modifier", "v=spf1 m_o-o.1=%{d}/x:y", 0, SPF_ALL, 0, "", 0, 0 },
	{ "unknown modifier, empty", "v=spf1 moo= all", 1, SPF_ALL, '+', "", 32, 128 },
	{ "unknown modifier, any macro", "v=spf1 moo=%{c}%{r}%{t} all", 1, SPF_ALL, '+', "", 32, 128 },
	{ "all as a modifier", "v=spf1 all=x", 0, SPF_ALL, 0, "", 0, 0 },
};

/* Broken terms; each stands alone, before -all, and behind it. */
static const struct { const char *name, *term; } bad[] = {
	{ "unknown mechanism", "foo" },
	{ "unknown mechanism with domain", "foo:bar.example" },
	{ "ipv4", "ipv4:192.0.2.1" },
	{ "all with domain", "all:x.example" },
	{ "all with prefix", "all/8" },
	{ "all with dot", "all." },
	{ "two qualifiers", "--all" },
	{ "qualifier alone", "-" },
	{ "qualified modifier", "+redirect=x.example" },
	{ "include alone", "include" },
	{ "include empty", "include:" },
	{ "include prefix", "include:x.example/24" },
	{ "exists alone", "exists" },
	{ "exists empty", "exists:" },
	{ "exists prefix", "exists:x.example/24" },
	{ "a empty", "a:" },
	{ "a empty with prefix", "a:/24" },
	{ "a prefix empty", "a/" },
	{ "a prefix 33", "a/33" },
	{ "a prefix 024", "a/024" },
	{ "a prefix 00", "a/00" },
	{ "a prefix 1000", "a/1000" },
	{ "a prefix overflow", "a/99999999999999999999" },
	{ "a prefix letters", "a/x" },
	{ "a prefix6 129", "a//129" },
	{ "a prefix6 empty", "a//" },
	{ "a prefix6 leading zero", "a//064" },
	{ "a dual with one slash", "a:x.example/24/64" },
	{ "a three slashes", "a///64" },
	{ "a prefixes swapped", "a//64/24" },
	{ "a one label", "a:example" },
	{ "a one label, dot", "a:example." },
	{ "a dot", "a:." },
	{ "a two dots", "a:x.." },
	{ "a address", "a:192.0.2.1" },
	{ "a numeric top label", "a:x.123" },
	{ "a top label begins with hyphen", "a:x.-y" },
	{ "a top label ends with hyphen", "a:x.y-" },
	{ "a top label with underscore", "a:x.y_z" },
	{ "a letters behind a macro", "a:%{d}example" },
	{ "a dot behind a macro", "a:%{d}." },
	{ "a glued", "ax.example" },
	{ "mx prefix", "mx/33" },
	{ "ptr prefix", "ptr/24" },
	{ "ptr empty", "ptr:" },
	{ "ip4 alone", "ip4" },
	{ "ip4 empty", "ip4:" },
	{ "ip4 prefix alone", "ip4/24" },
	{ "ip4 three numbers", "ip4:192.0.2" },
	{ "ip4 five numbers", "ip4:192.0.2.1.1" },
	{ "ip4 256", "ip4:192.0.2.256" },
	{ "ip4 leading zero", "ip4:192.0.02.1" },
	{ "ip4 prefix 33", "ip4:192.0.2.1/33" },
	{ "ip4 prefix empty", "ip4:192.0.2.1/" },
	{ "ip4 two prefixes", "ip4:192.0.2.1//24" },
	{ "ip4 very long", "ip4:00000000000000000000000000000000000000000000000000000000000000000192.0.2.1" },
	{ "ip4 IPv6", "ip4:::1" },
	{ "ip6 empty", "ip6:" },
	{ "ip6 IPv4", "ip6:192.0.2.1" },
	{ "ip6 prefix 129", "ip6:::1/129" },
	{ "ip6 two prefixes", "ip6:::1/64//64" },
	{ "ip6 zone", "ip6:fe80::1%eth0" },
	{ "ip6 nine groups", "ip6:1:2:3:4:5:6:7:8:9" },
	{ "redirect empty", "redirect=" },
	{ "redirect one label", "redirect=x" },
	{ "redirect colon", "redirect:x.example" },
	{ "exp empty", "exp=" },
	{ "exp c", "exp=%{c}.example" },
	{ "modifier without name", "=x" },
	{ "modifier begins with digit", "1x=y" },
	{ "modifier with slash", "a/b=c" },
	{ "modifier with bad macro", "x=%y" },
	{ "modifier with bad letter", "x=%{y}" },
	{ "macro unknown", "a:%{x}.example" },
	{ "macro not closed", "a:%{d" },
	{ "macro zero", "a:%{d0}" },
	{ "macro 00", "a:%{d00}" },
	{ "macro c", "a:%{c}.example" },
	{ "macro t", "exists:%{T}" },
	{ "macro delimiter", "a:%{d;}.example" },
	{ "macro percent", "a:x.example%" },
	{ "macro percent letter", "a:%d.example" },
	{ "tab", "all\tall" },
	{ "line feed", "all\n" },
	{ "DEL", "a:x\x7f.example" },
	{ "8 bit", "a:b\xfc" "cher.example" },
	{ "8 bit in a modifier", "x=\xff" },
	{ "comma", "all,all" },
};

static int parse(const char *text, size_t len, struct spf_record *r, struct spf_record_error *err)
{
	char *exact = malloc(len ? len : 1);    /* so that a read behind the end is seen */
	int rc;

	assert_non_null(exact);
	memcpy(exact, text, len);
	rc = spf_record_parse(exact, len, r, err);
	free(exact);
	return rc;
}

static void test_good(void **state)
{
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct spf_record_error err;
		struct spf_record r = { 0 };
		int rc = parse(good[i].text, strlen(good[i].text), &r, &err);

		if (rc != 0)
			fail_msg("%s: %s", good[i].name, err.what);
		assert_int_equal(r.count, good[i].count);
		if (good[i].count > 0) {
			assert_int_equal(r.term[0].kind, good[i].kind);
			assert_int_equal(r.term[0].qualifier, good[i].qualifier);
			assert_int_equal(r.term[0].bits4, good[i].bits4);
			assert_int_equal(r.term[0].bits6, good[i].bits6);
			assert_int_equal(r.term[0].domain_len, strlen(good[i].domain));
			assert_memory_equal(r.term[0].domain ? r.term[0].domain : "", good[i].domain, r.term[0].domain_len);
		}
		spf_record_release(&r);
	}
}

static void refuse(const char *name, const char *fmt, const char *term)
{
	char text[256];
	struct spf_record r = { 0 };
	struct spf_record_error err = { 0 };

	snprintf(text, sizeof(text), fmt, term);
	if (parse(text, strlen(text), &r, &err) != -EBADMSG)
		fail_msg("%s: \"%s\" was taken", name, text);
	assert_non_null(err.what);
	assert_true(err.at + err.len <= strlen(text));
	assert_int_equal(err.len, strlen(term));
	assert_memory_equal(text + err.at, term, err.len);
	assert_null(r.text);
}

static void test_bad(void **state)
{
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		refuse(bad[i].name, "v=spf1 %s", bad[i].term);
		refuse(bad[i].name, "v=spf1 %s -all", bad[i].term);
		refuse(bad[i].name, "v=spf1 -all   %s ", bad[i].term);
		refuse(bad[i].name, "v=spf1 redirect=x.example %s", bad[i].term[0] == 'r' ? "x=%" : bad[i].term);
	}
}

static void test_nul(void **state)
{
	static const char text[] = "v=spf1 a:x.example\0 -all";
	struct spf_record r = { 0 };
	struct spf_record_error err;

	assert_int_equal(parse(text, sizeof(text) - 1, &r, &err), -EBADMSG);
	assert_int_equal(parse("v=spf1\0all", 10, &r, &err), -EBADMSG);
	assert_int_equal(parse("v=spf1 ip4:1.2.3.4\0", 19, &r, &err), -EBADMSG);
}

static void test_version(void **state)
{
	static const struct { const char *text; bool is; } rows[] = {
		{ "", false }, { "v", false }, { "v=spf", false }, { "v=spf1", true }, { "v=spf1 ", true }, { "V=SpF1 x", true },
		{ "v=spf10", false }, { "v=spf1\t", false }, { "v=spf1-all", false }, { " v=spf1", false }, { "v=spf2.0/pra all", false },
		{ "v =spf1", false }, { "\"v=spf1", false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(spf_record_is(rows[i].text, strlen(rows[i].text)), rows[i].is);
}

/* Every cut of a record is read without reading too far, and gives no more terms than the whole. */
static void test_cut(void **state)
{
	static const char text[] = "v=spf1 -include:_spf.%{d2r.-}.example ~a:x.example/24//64 mx ptr:p.example "
				   "ip4:192.0.2.0/24 ?ip6:2001:db8::/32 exists:%{ir}.%{l-}._spf.%{d} redirect=r.example exp=e.%{o} x=%{c} all";

	for (size_t len = 0; len < sizeof(text); len++) {
		struct spf_record r = { 0 };
		struct spf_record_error err;
		int rc = parse(text, len, &r, &err);

		assert_true(rc == 0 || rc == -EBADMSG);
		if (rc == 0) {
			assert_true(r.count <= 8);
			spf_record_release(&r);
		}
	}
}

static void test_modifiers(void **state)
{
	struct spf_record r = { 0 };
	struct spf_record_error err;
	static const char text[] = "v=spf1 ExP=why.example a ReDirect=%{d}.x.example";

	assert_int_equal(parse(text, sizeof(text) - 1, &r, &err), 0);
	assert_int_equal(r.redirect.kind, SPF_REDIRECT);
	assert_int_equal(r.exp.kind, SPF_EXP);
	assert_memory_equal(r.redirect.domain, "%{d}.x.example", r.redirect.domain_len);
	assert_memory_equal(r.exp.domain, "why.example", r.exp.domain_len);
	spf_record_release(&r);
	assert_int_equal(parse("v=spf1 exp=a.b EXP=a.b", 22, &r, &err), -EBADMSG);
	assert_int_equal(parse("v=spf1 redirect=a.b redirect=a.b", 32, &r, &err), -EBADMSG);
}

static void test_covers(void **state)
{
	static const struct { const char *term, *client; bool covers; } rows[] = {
		{ "ip4:192.0.2.1", "192.0.2.1", true },
		{ "ip4:192.0.2.1", "192.0.2.2", false },
		{ "ip4:192.0.2.0/23", "192.0.3.255", true },
		{ "ip4:192.0.2.0/23", "192.0.4.0", false },
		{ "ip4:192.0.2.1/25", "192.0.2.127", true },
		{ "ip4:192.0.2.1/25", "192.0.2.128", false },
		{ "ip4:10.0.0.0/0", "203.0.113.1", true },
		{ "ip4:10.0.0.0/0", "2001:db8::1", false },
		{ "ip6:::/0", "192.0.2.1", false },
		{ "ip6:::/0", "2001:db8::1", true },
		{ "ip6:2001:db8::/33", "2001:db8:7fff::1", true },
		{ "ip6:2001:db8::/33", "2001:db8:8000::1", false },
		{ "ip6:2001:db8::1", "2001:db8::1", true },
		{ "ip6:2001:db8::1/127", "2001:db8::0", true },
		{ "ip6:2001:db8::1/127", "2001:db8::2", false },
		{ "all", "192.0.2.1", false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct spf_record r = { 0 };
		struct spf_record_error err;
		struct net_addr client;
		char text[64];

		snprintf(text, sizeof(text), "v=spf1 %s", rows[i].term);
		assert_int_equal(net_parse(rows[i].client, &client), 0);
		assert_int_equal(parse(text, strlen(text), &r, &err), 0);
		if (spf_term_covers(&r.term[0], &client) != rows[i].covers)
			fail_msg("%s %s", rows[i].term, rows[i].client);
		spf_record_release(&r);
	}
}

/* 64 KiB of terms: read in a moment, all of them. */
static void test_big(void **state)
{
	enum { TERMS = 16000 };
	char *text = malloc(6 + TERMS * 4 + 1);
	struct spf_record r = { 0 };
	struct spf_record_error err;
	size_t n = 6;

	assert_non_null(text);
	memcpy(text, "v=spf1", 6);
	for (int i = 0; i < TERMS; i++, n += 4)
		memcpy(text + n, " all", 4);
	assert_int_equal(parse(text, n, &r, &err), 0);
	assert_int_equal(r.count, TERMS);
	spf_record_release(&r);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good), cmocka_unit_test(test_bad), cmocka_unit_test(test_nul), cmocka_unit_test(test_version),
		cmocka_unit_test(test_cut), cmocka_unit_test(test_modifiers), cmocka_unit_test(test_covers), cmocka_unit_test(test_big),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
