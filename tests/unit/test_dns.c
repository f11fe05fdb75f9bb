/* dns: names, RDATA readers, reverse names, the front of every resolver; and the table that other tests use as resolver */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "base/dns.h"
#include "support/dns_table.h"

#define L63 "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk"
#define RR(s) { .data = (const uint8_t *)(s), .len = sizeof(s) - 1 }

static void names(void **state)
{
	static const struct { const char *name, *in; int wire; } rows[] = {
		{ "plain",                "example.com", 13 },
		{ "one label",            "com", 5 },
		{ "underscore",           "_dmarc.example.com", 20 },
		{ "eight bits",           "m\303\274ller.example", 17 },
		{ "blank",                "a b.example", 13 },
		{ "escaped dot",          "a\\.b.com", 9 },
		{ "escaped by number",    "a\\046b.com", 9 },
		{ "escaped NUL",          "a\\000b.com", 9 },
		{ "escaped letter",       "\\a.com", 7 },
		{ "label of 63",          L63 ".com", 69 },
		{ "253 in all",           L63 "." L63 "." L63 "." "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghi", 255 },
		{ "empty",                "", -EINVAL },
		{ "root",                 ".", -EINVAL },
		{ "final dot",            "example.com.", -EINVAL },
		{ "dot first",            ".example.com", -EINVAL },
		{ "two dots",             "example..com", -EINVAL },
		{ "label of 64",          L63 "x.com", -EINVAL },
		{ "label of 64, last",    "www." L63 "x", -EINVAL },
		{ "254 in all",           L63 "." L63 "." L63 "." "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghij", -EINVAL },
		{ "long beyond measure",  L63 "." L63 "." L63 "." L63 "." L63, -EINVAL },
		{ "backslash at the end", "example\\", -EINVAL },
		{ "number cut",           "a\\04", -EINVAL },
		{ "number cut by a dot",  "a\\04.com", -EINVAL },
		{ "number over 255",      "a\\256.com", -EINVAL },
		{ "only an escaped dot",  "\\.", 3 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		uint8_t wire[DNS_WIRE_MAX];
		int n = dns_name_wire(rows[i].in, wire);

		if (n != rows[i].wire)
			fail_msg("%s: %d", rows[i].name, n);
		assert_int_equal(dns_name_ok(rows[i].in), n > 0);
	}
}

static void rdata_name(void **state)
{
	static const struct { const char *name; struct dns_rr rr; int rc; const char *want; } rows[] = {
		{ "plain",              RR("\004mail\003Com\000"), 0, "mail.Com" },
		{ "root",               RR("\000"), 0, "" },
		{ "dot in a label",     RR("\003a.b\003com\000"), 0, "a\\.b.com" },
		{ "backslash",          RR("\003a\\b\003com\000"), 0, "a\\\\b.com" },
		{ "NUL, blank, 8 bits", RR("\004\000 \n\377\003com\000"), 0, "\\000\\032\\010\\255.com" },
		{ "bytes behind",       RR("\003com\000\004"), 0, "com" },
		{ "nothing",            RR(""), -EBADMSG, NULL },
		{ "no root",            RR("\003com"), -EBADMSG, NULL },
		{ "label cut",          RR("\004com"), -EBADMSG, NULL },
		{ "length alone",       RR("\003com\005"), -EBADMSG, NULL },
		{ "compressed",         RR("\003www\300\000"), -EBADMSG, NULL },
		{ "to itself",          RR("\300\000"), -EBADMSG, NULL },
		{ "label type 01",      RR("\101a\000"), -EBADMSG, NULL },
		{ "over 255",           RR("\077" L63 "\077" L63 "\077" L63 "\077" L63 "\000"), -EBADMSG, NULL },
		{ "255",                RR("\077" L63 "\077" L63 "\077" L63 "\001a\073" "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefg\000"), 0,
		  L63 "." L63 "." L63 ".a.abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefg" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char out[DNS_NAME_MAX] = "untouched";
		int rc = dns_name(&rows[i].rr, 0, out);

		if (rc != rows[i].rc)
			fail_msg("%s: %d", rows[i].name, rc);
		assert_string_equal(out, rc == 0 ? rows[i].want : "untouched");
	}
	/* the worst: every octet takes four characters */
	uint8_t worst[DNS_WIRE_MAX] = { 0 };
	struct dns_rr rr = { worst, sizeof(worst) };
	char out[DNS_NAME_MAX];

	for (size_t off = 0; off < 254; off += 64)
		worst[off] = off < 192 ? 63 : 61;
	assert_int_equal(dns_name(&rr, 0, out), 0);
	assert_true(dns_name_ok(out));
	assert_int_equal(dns_name(&rr, 300, out), -EBADMSG);
	/* cut anywhere */
	for (rr.len = 0; rr.len < sizeof(worst); rr.len++)
		assert_int_equal(dns_name(&rr, 0, out), -EBADMSG);
}

static void rdata_txt(void **state)
{
	static const struct { const char *name; struct dns_rr rr; const char *want; size_t len; } rows[] = {
		{ "one",         RR("\003abc"), "abc", 3 },
		{ "joined",      RR("\003abc\002de"), "abcde", 5 },
		{ "empty",       RR("\000"), "", 0 },
		{ "empty among", RR("\001a\000\001b"), "ab", 2 },
		{ "NUL",         RR("\003a\000b"), "a\0b", 3 },
		{ "none",        RR(""), NULL, 0 },
		{ "cut",         RR("\004abc"), NULL, 0 },
		{ "second cut",  RR("\003abc\002d"), NULL, 0 },
		{ "255 of 0",    RR("\377"), NULL, 0 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char *text = NULL;
		size_t len = 999;
		int rc = dns_txt(&rows[i].rr, &text, &len);

		if (rc != (rows[i].want ? 0 : -EBADMSG))
			fail_msg("%s: %d", rows[i].name, rc);
		if (rc == 0) {
			assert_int_equal(len, rows[i].len);
			assert_memory_equal(text, rows[i].want, len + 1);
		} else {
			assert_null(text);
			assert_int_equal(len, 999);
		}
		free(text);
	}
}

static void rdata_mx(void **state)
{
	static const struct { const char *name; struct dns_rr rr; int rc; unsigned preference; const char *want; } rows[] = {
		{ "plain",   RR("\001\002\002mx\000"), 0, 258, "mx" },
		{ "null MX", RR("\000\000\000"), 0, 0, "" },
		{ "empty",   RR(""), -EBADMSG, 0, NULL },
		{ "short",   RR("\000\012"), -EBADMSG, 0, NULL },
		{ "cut",     RR("\000\012\004mx"), -EBADMSG, 0, NULL },
		{ "pointer", RR("\000\012\300\000"), -EBADMSG, 0, NULL },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		unsigned preference = 77;
		char out[DNS_NAME_MAX];
		int rc = dns_mx(&rows[i].rr, &preference, out);

		if (rc != rows[i].rc)
			fail_msg("%s: %d", rows[i].name, rc);
		assert_int_equal(preference, rc == 0 ? rows[i].preference : 77);
		if (rc == 0)
			assert_string_equal(out, rows[i].want);
	}
}

static void reverse(void **state)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
	struct sockaddr un = { .sa_family = AF_UNIX };
	char out[254], longest[260];

	inet_pton(AF_INET, "192.0.2.10", &v4.sin_addr);
	inet_pton(AF_INET6, "2001:db8::567:89ab", &v6.sin6_addr);
	assert_int_equal(dns_reverse((struct sockaddr *)&v4, NULL, out, sizeof(out)), 0);
	assert_string_equal(out, "10.2.0.192.in-addr.arpa");
	assert_int_equal(dns_reverse((struct sockaddr *)&v4, "zen.example", out, sizeof(out)), 0);
	assert_string_equal(out, "10.2.0.192.zen.example");
	assert_int_equal(dns_reverse((struct sockaddr *)&v6, NULL, out, sizeof(out)), 0);
	assert_string_equal(out, "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa");
	assert_int_equal(dns_reverse((struct sockaddr *)&v4, NULL, out, 23), -ENOSPC);
	assert_int_equal(dns_reverse((struct sockaddr *)&v4, NULL, out, 24), 0);
	assert_int_equal(dns_reverse(&un, NULL, out, sizeof(out)), -EAFNOSUPPORT);
	memset(longest, 'a', sizeof(longest));
	longest[253 - 11] = '\0';
	assert_int_equal(dns_reverse((struct sockaddr *)&v4, longest, out, sizeof(out)), 0);
	assert_int_equal(strlen(out), 253);
	longest[253 - 11] = 'a';
	longest[253 - 10] = '\0';
	assert_int_equal(dns_reverse((struct sockaddr *)&v4, longest, out, sizeof(out)), -ENOSPC);
}

/* ---- asking a table ---- */

static const struct dns_answer *ask(struct dns_table *t, const char *name, enum dns_type type, struct dns_lookup **l)
{
	dns_drop(*l);
	assert_int_equal(dns_start(dns_table_dns(t), name, type, l), 0);
	return dns_wait(*l);
}

static void table_answers(void **state)
{
	AUTO(dns_table) struct dns_table *t = dns_table_new();
	AUTO(dns_lookup) struct dns_lookup *l = NULL;
	char name[DNS_NAME_MAX], *txt;
	const struct dns_answer *a;
	unsigned preference;
	size_t len;

	dns_table_zone(t, "# a comment\n\n"
		"example.com TXT v=spf1 mx -all\n"
		"Example.COM. TXT \"two \" \"strings \\\"\\065\"\n"
		"example.com MX 10 mx.example.com\n"
		"mx.example.com A 192.0.2.1\n"
		"mx.example.com AAAA 2001:db8::1\n"
		"www.example.com CNAME mx.example.com.\n"
		"*.wild.example A 192.0.2.9\n"
		"deep.wild.example TXT there\n"
		"loop.example CNAME loop.example\n"
		"slow.example TIMEOUT\n"
		"half.example A 192.0.2.2\n"
		"half.example SERVFAIL TXT\n"
		"bad.example BOGUS\n"
		"odd.example TYPE257 00 05 6973\n"
		"empty.example NODATA\n");

	a = ask(t, "EXAMPLE.com", DNS_TXT, &l);
	assert_int_equal(a->status, DNS_OK);
	assert_int_equal(a->count, 2);
	assert_int_equal(dns_txt(&a->rr[0], &txt, &len), 0);
	assert_string_equal(txt, "v=spf1 mx -all");
	free(txt);
	assert_int_equal(dns_txt(&a->rr[1], &txt, &len), 0);
	assert_string_equal(txt, "two strings \"A");
	free(txt);
	a = ask(t, "example.com", DNS_MX, &l);
	assert_int_equal(dns_mx(&a->rr[0], &preference, name), 0);
	assert_int_equal(preference, 10);
	assert_string_equal(name, "mx.example.com");
	a = ask(t, "www.example.com", DNS_AAAA, &l);
	assert_int_equal(a->count, 1);
	assert_int_equal(a->rr[0].len, 16);
	a = ask(t, "odd.example", (enum dns_type)257, &l);
	assert_int_equal(a->rr[0].len, 4);

	static const struct { const char *name; enum dns_type type; enum dns_status want; const char *why; } rows[] = {
		{ "example.com",      DNS_A,    DNS_NODATA,   "no such record" },
		{ "com",              DNS_A,    DNS_NODATA,   "no such record" },
		{ "empty.example",    DNS_TXT,  DNS_NODATA,   "no such record" },
		{ "no.example.com",   DNS_A,    DNS_NXDOMAIN, "no such domain" },
		{ "example.net",      DNS_TXT,  DNS_NXDOMAIN, "no such domain" },
		{ "www.example.com",  DNS_MX,   DNS_NODATA,   "no such record" },
		{ "www.example.com",  DNS_CNAME, DNS_OK,      "" },
		{ "a.wild.example",   DNS_A,    DNS_OK,       "" },
		{ "b.a.wild.example", DNS_A,    DNS_OK,       "" },
		{ "deep.wild.example", DNS_A,   DNS_NODATA,   "no such record" },
		{ "x.deep.wild.example", DNS_A, DNS_NXDOMAIN, "no such domain" },
		{ "loop.example",     DNS_A,    DNS_TEMPFAIL, "SERVFAIL" },
		{ "slow.example",     DNS_MX,   DNS_TEMPFAIL, "timeout" },
		{ "half.example",     DNS_A,    DNS_OK,       "" },
		{ "half.example",     DNS_TXT,  DNS_TEMPFAIL, "SERVFAIL" },
		{ "half.example",     DNS_MX,   DNS_NODATA,   "no such record" },
		{ "bad.example",      DNS_A,    DNS_TEMPFAIL, "bogus: signature expired" },
		{ "two..dots",        DNS_A,    DNS_BADNAME,  "not a domain name" },
		{ "",                 DNS_A,    DNS_BADNAME,  "not a domain name" },
	};
	dns_table_forget(t);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		a = ask(t, rows[i].name, rows[i].type, &l);
		if (a->status != rows[i].want)
			fail_msg("%s: %d", rows[i].name, a->status);
		assert_string_equal(a->why, rows[i].why);
		assert_int_equal(a->count > 0, a->status == DNS_OK);
	}
	assert_int_equal(dns_table_asked(t), sizeof(rows) / sizeof(*rows) - 2);
	assert_int_equal(dns_table_count(t, "half.example", 0), 3);
	assert_int_equal(dns_table_count(t, "half.example", DNS_MX), 1);
	dns_drop(NULL);
}

static void timeouts(void **state)
{
	AUTO(dns_table) struct dns_table *t = dns_table_new();
	struct dns *d = dns_table_dns(t);
	static const struct { int asked, want; } rows[] = { { 100, 100 }, { 9000, 5000 }, { 0, 1 }, { -5, 1 } };

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct dns_lookup *l;

		assert_int_equal(dns_start_within(d, "a.example", DNS_A, rows[i].asked, &l), 0);
		assert_int_equal(dns_table_question(t, i)->timeout_ms, rows[i].want);
		dns_drop(l);
	}
}

static void count_up(struct dns_lookup *l, void *arg)
{
	assert_true(l->future.done);
	++*(int *)arg;
}

static void drop_it(struct dns_lookup *l, void *arg)
{
	++*(int *)arg;
	dns_drop(l);
}

static void notified(void **state)
{
	AUTO(dns_table) struct dns_table *t = dns_table_new();
	struct dns_lookup *a, *b, *c;
	int n = 0;

	/* at once, when the answer is there already */
	assert_int_equal(dns_start(dns_table_dns(t), "a.example", DNS_A, &a), 0);
	dns_notify(a, drop_it, &n);
	assert_int_equal(n, 1);
	assert_int_equal(dns_start(dns_table_dns(t), "not..a.name", DNS_A, &a), 0);
	dns_notify(a, drop_it, &n);
	assert_int_equal(n, 2);

	/* later, each once; not after it was dropped; and it may drop itself */
	dns_table_hold(t, true);
	assert_int_equal(dns_start(dns_table_dns(t), "a.example", DNS_A, &a), 0);
	assert_int_equal(dns_start(dns_table_dns(t), "b.example", DNS_A, &b), 0);
	assert_int_equal(dns_start(dns_table_dns(t), "c.example", DNS_A, &c), 0);
	dns_notify(a, count_up, &n);
	dns_notify(b, count_up, &n);
	dns_notify(c, drop_it, &n);
	assert_int_equal(dns_table_waiting(t), 3);
	assert_false(a->future.done);
	assert_int_equal(dns_table_answer(t, "a.example", DNS_A), 1);
	assert_int_equal(n, 3);
	dns_drop(b);
	assert_int_equal(dns_table_answer(t, NULL, 0), 1);
	assert_int_equal(n, 4);
	assert_int_equal(dns_wait(a)->status, DNS_NXDOMAIN);
	dns_drop(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names), cmocka_unit_test(rdata_name), cmocka_unit_test(rdata_txt), cmocka_unit_test(rdata_mx),
		cmocka_unit_test(reverse), cmocka_unit_test(table_answers), cmocka_unit_test(timeouts), cmocka_unit_test(notified),
	};

	return cmocka_run_group_tests_name("dns", tests, NULL, NULL);
}
