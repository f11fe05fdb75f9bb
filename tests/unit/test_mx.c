/* mx: which hosts, in which order, and what is said when there is none */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "hop/mx.h"
#include "support/dns_table.h"

static const char zone[] =
	"one.example MX 10 mx.one.example\n"
	"mx.one.example A 192.0.2.1\n"
	"three.example MX 30 c.three.example\n"
	"three.example MX 10 a.three.example\n"
	"three.example MX 20 b.three.example\n"
	"a.three.example A 192.0.2.11\n"
	"b.three.example AAAA 2001:db8::12\n"
	"c.three.example A 192.0.2.13\n"
	"both.example MX 10 mx.both.example\n"
	"mx.both.example A 192.0.2.21\n"
	"mx.both.example A 192.0.2.22\n"
	"mx.both.example A 192.0.2.23\n"
	"mx.both.example AAAA 2001:db8::21\n"
	"twice.example MX 20 mx.one.example\n"
	"twice.example MX 10 MX.One.Example\n"
	"implicit.example A 192.0.2.31\n"
	"implicit.example AAAA 2001:db8::31\n"
	"alias.example CNAME one.example\n"
	"aliased.example MX 10 alias.aliased.example\n"
	"alias.aliased.example CNAME mx.one.example\n"
	"null.example MX 0 .\n"
	"null.example A 192.0.2.41\n"
	"halfnull.example MX 0 .\n"
	"halfnull.example MX 10 mx.one.example\n"
	"text.example TXT hello\n"
	"nohost.example MX 10 gone.nohost.example\n"
	"numeric.example MX 10 192.0.2.1\n"
	"broken.example TYPE15 00\n"
	"escaped.example MX 10 a\\032b.example\n"
	"short.example MX 10 mx.short.example\n"
	"mx.short.example TYPE1 c00002\n"
	"mapped.example MX 10 mx.mapped.example\n"
	"mx.mapped.example AAAA ::ffff:192.0.2.51\n"
	"somegone.example MX 10 gone.nohost.example\n"
	"somegone.example MX 20 mx.one.example\n"
	"late.example SERVFAIL\n"
	"bogus.example BOGUS\n"
	"latehost.example MX 10 late.example\n"
	"latefirst.example MX 10 late.example\n"
	"latefirst.example MX 20 mx.one.example\n"
	"latefour.example MX 10 mx.latefour.example\n"
	"mx.latefour.example SERVFAIL A\n"
	"mx.latefour.example AAAA 2001:db8::61\n"
	"latesix.example MX 10 mx.latesix.example\n"
	"mx.latesix.example SERVFAIL AAAA\n"
	"us.example MX 10 gate.example\n"
	"gate.example A 192.0.2.99\n"
	"usimplicit.example A 192.0.2.99\n"
	"usbyip.example MX 10 mx.usbyip.example\n"
	"mx.usbyip.example A 192.0.2.71\n"
	"mx.usbyip.example A 192.0.2.99\n"
	"backup.example MX 5 mx.one.example\n"
	"backup.example MX 10 gate.example\n"
	"backup.example MX 10 c.three.example\n"
	"backup.example MX 20 b.three.example\n"
	"backuplate.example MX 5 late.example\n"
	"backuplate.example MX 10 gate.example\n"
	"backuplate2.example MX 10 gate.example\n"
	"backuplate2.example MX 10 late.example\n"
	"barred.example MX 10 mx.barred.example\n"
	"mx.barred.example A 127.0.0.1\n"
	"mapbarred.example MX 10 mx.mapbarred.example\n"
	"mx.mapbarred.example AAAA ::ffff:127.0.0.1\n"
	"halfbarred.example MX 10 mx.halfbarred.example\n"
	"mx.halfbarred.example A 127.0.0.1\n"
	"mx.halfbarred.example A 192.0.2.81\n"
	"xn--mller-kva.example MX 10 mx.one.example\n";

static bool ours(void *arg, const struct net_addr *a)
{
	return a->family == AF_INET && a->ip[0] == 192 && a->ip[3] == 99;
}

static bool usable(void *arg, const struct net_addr *a)
{
	return !net_is_loopback(a);
}

static uint32_t rising;

static uint32_t chance(void *arg)
{
	return arg ? *(uint32_t *)arg : rising++;
}

static struct mx_query query(const char *domain)
{
	return (struct mx_query){ .domain = domain, .port = 25, .hostname = "Gate.example", .timeout_ms = 5000, .ipv4 = true, .ipv6 = true,
				  .ours = ours, .usable = usable, .random = chance };
}

/* "name=address,address name=..." */
static const char *text(const struct mx *mx, char *out, size_t size)
{
	size_t n = 0;

	out[0] = '\0';
	for (size_t i = 0; i < mx->count; i++)
		for (size_t k = 0; k < mx->host[i].count; k++) {
			char address[NET_TEXT_MAX];

			if (k == 0)
				n += (size_t)snprintf(out + n, size - n, "%s%s=", i ? " " : "", mx->host[i].name);
			n += (size_t)snprintf(out + n, size - n, "%s%s", k ? "," : "", net_text(&mx->host[i].address[k], address));
			assert_int_equal(mx->host[i].address[k].port, 25);
		}
	return out;
}

static void hosts(void **state)
{
	static const struct { const char *domain, *want; bool implicit, literal; } rows[] = {
		{ "one.example", "mx.one.example=192.0.2.1", false, false },
		{ "ONE.example", "mx.one.example=192.0.2.1", false, false },
		{ "three.example", "a.three.example=192.0.2.11 b.three.example=2001:db8::12 c.three.example=192.0.2.13", false, false },
		{ "both.example", "mx.both.example=2001:db8::21,192.0.2.21,192.0.2.22,192.0.2.23", false, false },
		{ "twice.example", "mx.one.example=192.0.2.1", false, false },
		{ "implicit.example", "implicit.example=2001:db8::31,192.0.2.31", true, false },
		{ "alias.example", "mx.one.example=192.0.2.1", false, false },
		{ "aliased.example", "alias.aliased.example=192.0.2.1", false, false },
		{ "halfnull.example", "mx.one.example=192.0.2.1", false, false },
		{ "mapped.example", "mx.mapped.example=192.0.2.51", false, false },
		{ "somegone.example", "mx.one.example=192.0.2.1", false, false },
		{ "latefirst.example", "mx.one.example=192.0.2.1", false, false },
		{ "latefour.example", "mx.latefour.example=2001:db8::61", false, false },
		{ "backup.example", "mx.one.example=192.0.2.1", false, false },
		{ "halfbarred.example", "mx.halfbarred.example=192.0.2.81", false, false },
		{ "m\303\274ller.example", "mx.one.example=192.0.2.1", false, false },
		{ "[192.0.2.7]", "192.0.2.7=192.0.2.7", false, true },
		{ "[IPv6:2001:db8::7]", "2001:db8::7=2001:db8::7", false, true },
		{ "[ipv6:::ffff:192.0.2.7]", "192.0.2.7=192.0.2.7", false, true },
	};
	AUTO(dns_table) struct dns_table *t = dns_table_new();

	dns_table_zone(t, zone);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(mx) struct mx *mx = NULL;
		struct mx_query q = query(rows[i].domain);
		char out[1000];

		assert_int_equal(mx_find(dns_table_dns(t), &q, &mx), 0);
		if (mx->status != MX_FOUND || strcmp(text(mx, out, sizeof(out)), rows[i].want) != 0)
			fail_msg("%s: %d %s (%s)", rows[i].domain, mx->status, text(mx, out, sizeof(out)), mx->why);
		assert_int_equal(mx->implicit, rows[i].implicit);
		assert_int_equal(mx->literal, rows[i].literal);
		assert_string_equal(mx->why, "");
		assert_null(mx_reply(mx->status));
	}
}

static void none(void **state)
{
	static const struct { const char *domain; enum mx_status want; const char *reply; } rows[] = {
		{ "null.example", MX_NULL, "556 5.1.10" },
		{ "gone.example", MX_NXDOMAIN, "550 5.1.2" },
		{ "", MX_NXDOMAIN, "550 5.1.2" },
		{ ".", MX_NXDOMAIN, "550 5.1.2" },
		{ "a..example", MX_NXDOMAIN, "550 5.1.2" },
		{ "under score.example", MX_NXDOMAIN, "550 5.1.2" },
		{ "\303\050.example", MX_NXDOMAIN, "550 5.1.2" },
		{ "[192.0.2.256]", MX_NXDOMAIN, "550 5.1.2" },
		{ "[192.0.2.1", MX_NXDOMAIN, "550 5.1.2" },
		{ "[]", MX_NXDOMAIN, "550 5.1.2" },
		{ "[IPv6:192.0.2.1]", MX_NXDOMAIN, "550 5.1.2" },
		{ "[tag:content]", MX_NXDOMAIN, "550 5.1.2" },
		{ "text.example", MX_NO_ADDRESS, "550 5.4.4" },
		{ "nohost.example", MX_NO_ADDRESS, "550 5.4.4" },
		{ "numeric.example", MX_NO_ADDRESS, "550 5.4.4" },
		{ "broken.example", MX_NO_ADDRESS, "550 5.4.4" },
		{ "escaped.example", MX_NO_ADDRESS, "550 5.4.4" },
		{ "short.example", MX_NO_ADDRESS, "550 5.4.4" },
		{ "barred.example", MX_NO_ADDRESS, "550 5.4.4" },
		{ "mapbarred.example", MX_NO_ADDRESS, "550 5.4.4" },
		{ "[127.0.0.1]", MX_NO_ADDRESS, "550 5.4.4" },
		{ "[IPv6:::1]", MX_NO_ADDRESS, "550 5.4.4" },
		{ "[IPv6:::ffff:127.0.0.1]", MX_NO_ADDRESS, "550 5.4.4" },
		{ "us.example", MX_LOOP, "554 5.4.6" },
		{ "usimplicit.example", MX_LOOP, "554 5.4.6" },
		{ "usbyip.example", MX_LOOP, "554 5.4.6" },
		{ "[192.0.2.99]", MX_LOOP, "554 5.4.6" },
		{ "backuplate2.example", MX_LOOP, "554 5.4.6" },
		{ "backuplate.example", MX_TEMPFAIL, "451 4.4.3" },
		{ "late.example", MX_TEMPFAIL, "451 4.4.3" },
		{ "bogus.example", MX_TEMPFAIL, "451 4.4.3" },
		{ "latehost.example", MX_TEMPFAIL, "451 4.4.3" },
		{ "latesix.example", MX_TEMPFAIL, "451 4.4.3" },
	};
	AUTO(dns_table) struct dns_table *t = dns_table_new();

	dns_table_zone(t, zone);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(mx) struct mx *mx = NULL;
		struct mx_query q = query(rows[i].domain);

		assert_int_equal(mx_find(dns_table_dns(t), &q, &mx), 0);
		if (mx->status != rows[i].want)
			fail_msg("%s: %d (%s)", rows[i].domain, mx->status, mx->why);
		assert_int_equal(mx->count, 0);
		assert_true(mx->why[0] != '\0');
		assert_memory_equal(mx_reply(mx->status), rows[i].reply, strlen(rows[i].reply));
	}
}

/* Equal ones come in the order of chance, others never. */
static void shuffled(void **state)
{
	AUTO(dns_table) struct dns_table *t = dns_table_new();
	struct mx_query q = query("equal.example");
	uint32_t same = 7;
	int first[3] = { 0 };

	dns_table_zone(t, "equal.example MX 10 a.example\nequal.example MX 10 b.example\nequal.example MX 10 c.example\n"
			  "equal.example MX 20 z.example\n"
			  "a.example A 192.0.2.1\nb.example A 192.0.2.2\nc.example A 192.0.2.3\nz.example A 192.0.2.4\n");
	for (int i = 0; i < 300; i++) {
		AUTO(mx) struct mx *mx = NULL;

		rising = i % 3 == 0 ? 0 : i % 3 == 1 ? UINT32_MAX : UINT32_MAX - 1;     /* wraps: another one is the lowest */
		assert_int_equal(mx_find(dns_table_dns(t), &q, &mx), 0);
		assert_int_equal(mx->count, 4);
		assert_string_equal(mx->host[3].name, "z.example");
		first[mx->host[0].name[0] - 'a']++;
	}
	assert_int_equal(first[0], 100);
	assert_int_equal(first[1], 100);
	assert_int_equal(first[2], 100);
	q.arg = &same;
	for (int i = 0; i < 2; i++) {
		AUTO(mx) struct mx *mx = NULL;

		assert_int_equal(mx_find(dns_table_dns(t), &q, &mx), 0);
		assert_int_equal(mx->count, 4);
	}
}

static void bounded(void **state)
{
	AUTO(dns_table) struct dns_table *t = dns_table_new();
	AUTO(mx) struct mx *mx = NULL;
	struct mx_query q = query("many.example");

	for (int i = 0; i < 200; i++) {
		char name[64], data[64];

		snprintf(data, sizeof(data), "%d mx%d.example", i + 1, i);
		dns_table_add(t, "many.example", "MX", data);
		snprintf(name, sizeof(name), "mx%d.example", i);
		for (int k = 1; k < 30; k++) {
			snprintf(data, sizeof(data), "192.0.2.%d", k);
			dns_table_add(t, name, "A", data);
			snprintf(data, sizeof(data), "2001:db8::%d", k);
			dns_table_add(t, name, "AAAA", data);
		}
	}
	assert_int_equal(mx_find(dns_table_dns(t), &q, &mx), 0);
	assert_int_equal(mx->count, MX_HOSTS_MAX);
	for (size_t i = 0; i < mx->count; i++) {
		assert_int_equal(mx->host[i].preference, i + 1);
		assert_int_equal(mx->host[i].count, MX_ADDRESSES_MAX);
	}
	assert_int_equal(dns_table_asked(t), 1 + 2 * MX_HOSTS_MAX);
}

/* An address of ours behind those that are kept is found, too. */
static void ours_is_the_last(void **state)
{
	AUTO(dns_table) struct dns_table *t = dns_table_new();
	AUTO(mx) struct mx *mx = NULL;
	struct mx_query q = query("hidden.example");

	dns_table_add(t, "hidden.example", "MX", "10 mx.hidden.example");
	for (int k = 80; k < 100; k++) {
		char data[64];

		snprintf(data, sizeof(data), "192.0.2.%d", k);
		dns_table_add(t, "mx.hidden.example", "A", data);
	}
	assert_int_equal(mx_find(dns_table_dns(t), &q, &mx), 0);
	assert_int_equal(mx->status, MX_LOOP);
}

static void families(void **state)
{
	AUTO(dns_table) struct dns_table *t = dns_table_new();
	struct mx_query q = query("both.example");
	char out[1000];

	dns_table_zone(t, zone);
	for (int six = 0; six < 2; six++) {
		AUTO(mx) struct mx *mx = NULL;
		AUTO(mx) struct mx *literal = NULL;
		struct mx_query l = query(six ? "[192.0.2.7]" : "[IPv6:2001:db8::7]");

		l.ipv6 = q.ipv6 = six == 1;
		l.ipv4 = q.ipv4 = six == 0;
		dns_table_forget(t);
		assert_int_equal(mx_find(dns_table_dns(t), &q, &mx), 0);
		assert_string_equal(text(mx, out, sizeof(out)), six ? "mx.both.example=2001:db8::21" :
				    "mx.both.example=192.0.2.21,192.0.2.22,192.0.2.23");
		assert_int_equal(dns_table_count(t, "mx.both.example", six ? DNS_A : DNS_AAAA), 0);
		assert_int_equal(mx_find(dns_table_dns(t), &l, &literal), 0);
		assert_int_equal(literal->status, MX_NO_ADDRESS);
	}
}

static void secure(void **state)
{
	AUTO(dns_table) struct dns_table *t = dns_table_new();
	struct mx_query q = query("both.example");

	dns_table_zone(t, zone);
	for (int yes = 0; yes < 2; yes++) {
		AUTO(mx) struct mx *mx = NULL;

		dns_table_secure(t, yes);
		assert_int_equal(mx_find(dns_table_dns(t), &q, &mx), 0);
		assert_int_equal(mx->secure, yes);
		assert_int_equal(mx->host[0].secure, yes);
	}
}

static void servers(void **state)
{
	static const struct mx_server all[] = { { "mx.both.example", 587 }, { "late.example", 25 }, { "192.0.2.7", 26 }, { "2001:db8::7", 27 },
						{ "gate.example", 25 }, { "mx.one.example", 25 } };
	AUTO(dns_table) struct dns_table *t = dns_table_new();
	AUTO(mx) struct mx *mx = NULL;
	AUTO(mx) struct mx *us = NULL;
	AUTO(mx) struct mx *late = NULL;
	struct mx_query q = query("upstream");

	dns_table_zone(t, zone);
	q.hostname = NULL;
	assert_int_equal(mx_servers(dns_table_dns(t), &q, all, 6, &mx), 0);
	assert_int_equal(mx->status, MX_FOUND);
	assert_int_equal(mx->count, 3);         /* one has no address now, one is ourselves, one stands behind ourselves */
	assert_string_equal(mx->host[0].name, "mx.both.example");
	assert_int_equal(mx->host[0].count, 4);
	assert_int_equal(mx->host[0].address[3].port, 587);
	assert_int_equal(mx->host[1].address[0].port, 26);
	assert_int_equal(mx->host[2].address[0].family, AF_INET6);
	assert_int_equal(mx->host[2].address[0].port, 27);
	assert_int_equal(dns_table_count(t, "mx.both.example", DNS_MX), 0);
	assert_int_equal(mx_servers(dns_table_dns(t), &q, all + 4, 2, &us), 0);
	assert_int_equal(us->status, MX_LOOP);
	assert_int_equal(mx_servers(dns_table_dns(t), &q, all + 1, 1, &late), 0);
	assert_int_equal(late->status, MX_TEMPFAIL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hosts), cmocka_unit_test(none), cmocka_unit_test(shuffled), cmocka_unit_test(bounded),
		cmocka_unit_test(ours_is_the_last), cmocka_unit_test(families), cmocka_unit_test(secure),
		cmocka_unit_test(servers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
