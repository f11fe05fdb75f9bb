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
	static const char *const texts[] = { "backend", "destination", "auth", "upstream", "mx example.net", "mx [192.0.2.1]", "mx [ipv6:2001:db8::1]" };
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
	static const char *const texts[] = { "", " ", "mx", "mx ", "backend x", "upstream ", "MX example.net", "mxexample.net", "mx a b", "mx a\nb", "queue", " mx a" };
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forth_and_back),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_door),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
