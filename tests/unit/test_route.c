/* The text of a route, forth and back; what is none is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "smtp/route.h"
#include "smtp/smtp_session.h"

static void test_forth_and_back(void **state)
{
	static const char *const texts[] = { "backend", "destination", "auth", "upstream", "mx example.net", "mx [192.0.2.1]", "mx [ipv6:2001:db8::1]", "owner a", "owner a+b" };
	char out[ROUTE_TEXT_MAX];
	struct route r, other = { .kind = ROUTE_MX, .domain = "other.example" };

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		assert_int_equal(route_parse(texts[i], &r), 0);
		assert_string_equal(route_text(&r, out), texts[i]);
		assert_true(route_same(&r, &r));
		assert_false(route_same(&r, &other));
	}
}

static void test_malformed(void **state)
{
	static const char *const texts[] = { "", " ", "mx", "mx ", "backend x", "upstream ", "MX example.net", "mxexample.net", "mx a b", "mx a\nb", "queue", " mx a", "owner", "owner ", "owner a b",
					     "owners a" };
	char long_one[ROUTE_TEXT_MAX + 300] = "mx ";
	struct route r;

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		if (route_parse(texts[i], &r) == 0)
			fail_msg("\"%s\" is taken for a route", texts[i]);
	memset(long_one + 3, 'a', ROUTE_DOMAIN_MAX);
	assert_int_not_equal(route_parse(long_one, &r), 0);
	long_one[3 + ROUTE_DOMAIN_MAX - 1] = '\0';
	assert_int_equal(route_parse(long_one, &r), 0);
}

static bool listed(const char *domain)
{
	return strcmp(domain, "example.com") == 0;
}

/* Who may send where: nobody relays but one of ours, whatever the listener. */
static void test_door(void **state)
{
	static char ours[] = "example.com", *domains[] = { ours }, via[] = "smart.example.net";
	static struct outbound_via servers[] = { { via, 25 } };
	static const char *const to[] = { "example.com", "example.net", "sub.example.com", "[192.0.2.1]", "" };
	struct site site = { .domains = domains, .domain_count = 1 };
	struct smtp_service svc = { .site = &site };
	struct listener_conf listener = { .name = ours };
	struct smtp_session s = { .svc = &svc, .listener = &listener };

	for (int n = 0; n < 3 * 2 * 2 * 5; n++) {
		enum listener_direction direction = n % 3;
		bool relay = n / 3 % 2, upstream = n / 6 % 2;
		const char *domain = to[n / 12];
		struct recipient r = { .domain = (char *)domain, .local = !domain[0] || listed(domain) };
		bool allowed = r.local ? direction != DIRECTION_OUTBOUND || relay : relay;
		struct route route;
		const char *refusal;

		listener.direction = direction;
		s.client.relay = relay;
		site.outbound.via = servers;
		site.outbound.via_count = upstream;
		refusal = route_find(&s, &r, &route);
		if (allowed != !refusal || (refusal && strncmp(refusal, "550 5.7.1", 9) != 0))
			fail_msg("direction %d, relay %d, to %s: %s", direction, relay, domain, refusal ? refusal : "allowed");
		if (refusal)
			continue;
		assert_int_equal(route.kind, r.local ? ROUTE_BACKEND : upstream ? ROUTE_UPSTREAM : ROUTE_MX);
		assert_string_equal(route.domain, route.kind == ROUTE_MX ? domain : "");
	}
}

/* Domains with servers of their own. */
static void test_domains(void **state)
{
	static char example[] = "example.com", below[] = ".example.com", a[] = "a", b[] = "b+c";
	static char *domains[] = { below, example };
	static struct domain_owner owners[] = { { .name = a }, { .name = b } };
	static struct domain_conf sections[] = { { .domain = below, .owner = owners, .owner_count = 2, .learn = true },
						 { .domain = example, .owner = &owners[1], .owner_count = 1 } };
	static const struct { const char *domain, *route; } rows[] = {
		{ "example.com", "owner b+c" }, { "x.example.com", "owner a" }, { "y.x.example.com", "owner a" }, { "xexample.com", "mx xexample.com" },
		{ "com", "mx com" }, { "example.net", "mx example.net" },
	};
	struct site site = { .domains = domains, .domain_count = 2, .domain = sections, .domain_section_count = 2 };
	struct smtp_service svc = { .site = &site };
	struct listener_conf listener = { .name = example };
	struct smtp_session s = { .svc = &svc, .listener = &listener, .client.relay = true };
	struct recipient empty = { .domain = (char *)"", .local = true }, inside = { .domain = example, .local = true };
	char out[ROUTE_TEXT_MAX];
	struct route route, other;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		route_of_ours(&site, rows[i].domain, &route);
		assert_string_equal(route_text(&route, out), rows[i].route);
		assert_int_equal(route_behind(&route), strncmp(rows[i].route, "owner", 5) == 0);
	}
	route_of_owner(&sections[0], 1, &route);
	route_of_owner(&sections[1], 0, &other);
	assert_true(route_same(&route, &other));
	route_of_owner(&sections[0], 0, &route);
	assert_false(route_same(&route, &other));
	assert_null(route_find(&s, &empty, &route));            /* <postmaster> */
	assert_int_equal(route.kind, ROUTE_BACKEND);
	assert_null(route_find(&s, &inside, &route));
	assert_int_equal(route.kind, ROUTE_OWNER);
	/* Inline the client has chosen the server. */
	s.destination.family = 2;
	assert_null(route_find(&s, &inside, &route));
	assert_int_equal(route.kind, ROUTE_DESTINATION);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forth_and_back),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_door), cmocka_unit_test(test_domains),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
