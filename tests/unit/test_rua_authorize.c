#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "filters/dmarc_walk.h"
#include "rua/rua_authorize.h"
#include "support/dns_table.h"

#define L63 "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff123"

static const char zone[] =
	"_dmarc.example.com TXT v=DMARC1; p=reject\n"
	"_dmarc.example.net TXT v=DMARC1; p=reject\n"
	"_dmarc.gov.example TXT v=DMARC1; p=none; psd=y\n"
	"_dmarc.own.example.com TXT v=DMARC1; p=none; psd=n\n"
	"example.com._report._dmarc.yes.example TXT v=DMARC1\n"
	"example.com._report._dmarc.semicolon.example TXT v=DMARC1;\n"
	"*._report._dmarc.any.example TXT v=DMARC1; p=none\n"
	"example.com._report._dmarc.example.net TXT v=DMARC1; rua=mailto:other@example.net\n"
	"example.com._report._dmarc.list.example TXT v=DMARC1;rua = https://list.example/, mailto:, mailto:b@list.example!1k , mailto:c@list.example\n"
	"example.com._report._dmarc.else.example TXT v=DMARC1; rua=mailto:other@else.example.net\n"
	"example.com._report._dmarc.mixed.example TXT v=DMARC1; rua=mailto:a@mixed.example, mailto:b@victim.example\n"
	"example.com._report._dmarc.broken.example TXT v=DMARC1; rua=nonsense\n"
	"example.com._report._dmarc.empty.example TXT v=DMARC1; rua=\n"
	"example.com._report._dmarc.ruf.example TXT v=DMARC1; ruf=mailto:x@victim.example; xrua=mailto:x@victim.example\n"
	"example.com._report._dmarc.several.example TXT v=spf1 -all\n"
	"example.com._report._dmarc.several.example TXT v=DMARC1\n"
	"example.com._report._dmarc.two.example TXT v=DMARC1; rua=mailto:a@two.example\n"
	"example.com._report._dmarc.two.example TXT v=DMARC1; rua=mailto:b@victim.example\n"
	"example.com._report._dmarc.spf.example TXT v=spf1 -all\n"
	"example.com._report._dmarc.case.example TXT v=dmarc1\n"
	"example.com._report._dmarc.late.example TXT p=none; v=DMARC1\n"
	"example.com._report._dmarc.twice.example TXT v=DMARC1; rua=mailto:a@twice.example; rua=mailto:b@twice.example\n"
	"example.com._report._dmarc.a.example A 192.0.2.1\n"
	"example.com._report._dmarc.away.example TIMEOUT TXT\n"
	"example.com._report._dmarc.forged.example BOGUS TXT\n"
	"_dmarc.lost.example SERVFAIL TXT\n"
	"_report._dmarc.wrong.example TXT v=DMARC1\n"
	"example.com._report._dmarc.alias.example CNAME example.com._report._dmarc.yes.example\n";

static const struct { const char *domain, *address; enum rua_leave want; const char *then; } rows[] = {
	{ "example.com", "d@example.com", RUA_GRANTED, "d@example.com" },
	{ "example.com", "d@mail.example.com", RUA_GRANTED, "d@mail.example.com" },
	{ "a.example.com", "d@b.example.com", RUA_GRANTED, "d@b.example.com" },
	{ "example.com", "d@own.example.com", RUA_DENIED, NULL },
	{ "a.gov.example", "d@b.gov.example", RUA_DENIED, NULL },
	{ "x.a.gov.example", "d@y.a.gov.example", RUA_GRANTED, "d@y.a.gov.example" },
	{ "example.com", "d@yes.example", RUA_GRANTED, "d@yes.example" },
	{ "example.com", "d@semicolon.example", RUA_GRANTED, "d@semicolon.example" },
	{ "example.com", "d@any.example", RUA_GRANTED, "d@any.example" },
	{ "example.com", "d@example.net", RUA_GRANTED, "other@example.net" },
	{ "example.com", "d@list.example", RUA_GRANTED, "b@list.example" },
	{ "example.com", "d@broken.example", RUA_GRANTED, "d@broken.example" },
	{ "example.com", "d@empty.example", RUA_GRANTED, "d@empty.example" },
	{ "example.com", "d@ruf.example", RUA_GRANTED, "d@ruf.example" },
	{ "example.com", "d@several.example", RUA_GRANTED, "d@several.example" },
	{ "example.com", "d@alias.example", RUA_GRANTED, "d@alias.example" },
	{ "example.com", "d@sub.yes.example", RUA_DENIED, NULL },
	{ "sub.example.com", "d@yes.example", RUA_DENIED, NULL },
	{ "example.com", "d@else.example", RUA_DENIED, NULL },
	{ "example.com", "d@mixed.example", RUA_DENIED, NULL },
	{ "example.com", "d@two.example", RUA_DENIED, NULL },
	{ "example.com", "d@spf.example", RUA_DENIED, NULL },
	{ "example.com", "d@case.example", RUA_DENIED, NULL },
	{ "example.com", "d@late.example", RUA_DENIED, NULL },
	{ "example.com", "d@twice.example", RUA_DENIED, NULL },
	{ "example.com", "d@a.example", RUA_DENIED, NULL },
	{ "example.com", "d@wrong.example", RUA_DENIED, NULL },
	{ "example.com", "d@nowhere.example", RUA_DENIED, NULL },
	{ L63 "." L63 "." L63 ".com", "d@" L63 ".example", RUA_DENIED, NULL },
	{ "example.com", "d@away.example", RUA_UNKNOWN, NULL },
	{ "example.com", "d@forged.example", RUA_UNKNOWN, NULL },
	{ "example.com", "d@lost.example", RUA_UNKNOWN, NULL },
	{ "lost.example", "d@yes.example", RUA_UNKNOWN, NULL },
};

static void test_rows(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(dns_table) struct dns_table *t = dns_table_new();
		AUTO(dmarc_walks) struct dmarc_walks *w = dmarc_walks_new(dns_table_dns(t));
		struct rua_uri u = { .max_bytes = UINT64_MAX };
		const char *why = NULL;
		enum rua_leave got;

		dns_table_zone(t, zone);
		snprintf(u.address, sizeof(u.address), "%s", rows[i].address);
		snprintf(u.host, sizeof(u.host), "%s", strchr(rows[i].address, '@') + 1);
		got = rua_authorize(dns_table_dns(t), w, rows[i].domain, &u, NULL, &why);
		if (got != rows[i].want || (rows[i].then && strcmp(rows[i].then, u.address) != 0))
			fail_msg("%s to %s: got %d, %s (%s)", rows[i].domain, rows[i].address, got, u.address, why);
		assert_non_null(why);
		assert_int_equal(why[0] == '\0', got == RUA_GRANTED);
		if (strcmp(rows[i].address, "d@list.example") == 0)
			assert_int_equal(u.max_bytes, 1024);
	}
}

/* Nothing is asked about the domain itself; walks are shared. */
static void test_questions(void **state)
{
	AUTO(dns_table) struct dns_table *t = dns_table_new();
	AUTO(dmarc_walks) struct dmarc_walks *w = dmarc_walks_new(dns_table_dns(t));
	struct rua_uri u = { .address = "a@example.com", .host = "example.com" };
	const char *why;

	dns_table_zone(t, zone);
	assert_int_equal(rua_authorize(dns_table_dns(t), w, "example.com", &u, NULL, &why), RUA_GRANTED);
	assert_int_equal(dns_table_asked(t), 0);
	strcpy(u.host, "yes.example");
	rua_authorize(dns_table_dns(t), w, "example.com", &u, NULL, &why);
	strcpy(u.host, "spf.example");
	rua_authorize(dns_table_dns(t), w, "example.com", &u, NULL, &why);
	assert_int_equal(dns_table_count(t, "_dmarc.example.com", DNS_TXT), 1);
	assert_int_equal(dns_table_count(t, "_dmarc.example", DNS_TXT), 1);
	assert_int_equal(dns_table_count(t, "example.com._report._dmarc.yes.example", DNS_TXT), 1);
}

/* Asked before: all at once, and nothing a second time; who is probably of the same organization is not asked for leave. */
static void test_started(void **state)
{
	static const struct { const char *host; size_t questions; } hosts[] = {
		{ "example.com", 0 }, { "mail.example.com", 3 }, { "yes.example", 6 }, { "away.example", 8 }, { "spf.example", 10 },
	};
	AUTO(dns_table) struct dns_table *t = dns_table_new();
	AUTO(dmarc_walks) struct dmarc_walks *w = dmarc_walks_new(dns_table_dns(t));
	struct dns_lookup *question[5];
	const char *why;

	dns_table_zone(t, zone);
	dns_table_hold(t, true);
	for (size_t i = 0; i < 5; i++) {
		struct rua_uri u = { .address = "a@" };

		strcpy(u.host, hosts[i].host);
		rua_authorize_start(dns_table_dns(t), w, "example.com", &u, &question[i]);
		assert_int_equal(dns_table_waiting(t), hosts[i].questions);
		assert_int_equal(question[i] != NULL, i >= 2);
	}
	dns_table_hold(t, false);
	dns_table_answer(t, NULL, 0);
	for (size_t i = 0; i < 5; i++) {
		static const enum rua_leave want[] = { RUA_GRANTED, RUA_GRANTED, RUA_GRANTED, RUA_UNKNOWN, RUA_DENIED };
		struct rua_uri u = { .address = "a@" };

		strcpy(u.host, hosts[i].host);
		assert_int_equal(rua_authorize(dns_table_dns(t), w, "example.com", &u, question[i], &why), want[i]);
		dns_drop(question[i]);
	}
	assert_int_equal(dns_table_asked(t), 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_questions),
		cmocka_unit_test(test_started),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
