/* smtp_told: the attributes of XCLIENT and XFORWARD, as a trusted relay gives them */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "smtp/smtp_told.h"

enum { X = 1, F = 2, XF = 3 };  /* in which command */

#define N64 "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
#define N255 N64 N64 N64 "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"

static const struct { const char *name, *arg; int in; const char *addr, *helo; bool esmtp, local; } good[] = {
	{ "all of Postfix's first", "NAME=mail.good.example ADDR=192.0.2.7 PORT=4321", XF, "192.0.2.7", "", false, false },
	{ "all of its second", "PROTO=ESMTP HELO=mail.good.example SOURCE=REMOTE", F, NULL, "mail.good.example", true, false },
	{ "XCLIENT with all", "NAME=a ADDR=192.0.2.7 PORT=25 PROTO=ESMTP HELO=b LOGIN=joe DESTADDR=10.0.0.1 DESTPORT=25 REVERSE_NAME=x", X, "192.0.2.7", "b", true, false },
	{ "lower case", "addr=192.0.2.7 helo=B proto=esmtp", XF, "192.0.2.7", "B", true, false },
	{ "IPv6", "ADDR=IPV6:2001:db8::7", XF, "2001:db8::7", "", false, false },
	{ "IPv6 in lower case", "ADDR=ipv6:2001:DB8::7", XF, "2001:db8::7", "", false, false },
	{ "IPv6 in xtext", "ADDR=IPV6+3A2001:db8::7", XF, "2001:db8::7", "", false, false },
	{ "xtext", "HELO=a+2Bb+3Dc", XF, NULL, "a+b=c", false, false },
	{ "a literal", "HELO=[192.0.2.7]", XF, NULL, "[192.0.2.7]", false, false },
	{ "blanks", "  ADDR=192.0.2.7   HELO=b  ", XF, "192.0.2.7", "b", false, false },
	{ "unavailable", "NAME=[UNAVAILABLE] ADDR=[UNAVAILABLE] HELO=[UNAVAILABLE] PROTO=[UNAVAILABLE] PORT=[UNAVAILABLE]", XF, NULL, "", false, false },
	{ "for now", "NAME=[TEMPUNAVAIL] ADDR=[TEMPUNAVAIL] HELO=[tempunavail]", XF, NULL, "", false, false },
	{ "unavailable, later", "ADDR=192.0.2.7 HELO=b ADDR=[UNAVAILABLE] HELO=[UNAVAILABLE]", XF, NULL, "", false, false },
	{ "the last of two", "ADDR=192.0.2.7 HELO=a ADDR=192.0.2.8 HELO=b", XF, "192.0.2.8", "b", false, false },
	{ "the last source", "SOURCE=LOCAL SOURCE=REMOTE", F, NULL, "", false, false },
	{ "local", "ADDR=192.0.2.7 SOURCE=local", F, "192.0.2.7", "", false, true },
	{ "source unknown", "SOURCE=[UNAVAILABLE]", F, NULL, "", false, false },
	{ "ident", "IDENT=4XyZ ADDR=192.0.2.7", F, "192.0.2.7", "", false, false },
	{ "names are not read", "NAME=a+20b+0D+0AADDR+3D10.0.0.1 ADDR=192.0.2.7", XF, "192.0.2.7", "", false, false },
	{ "as long as may be", "HELO=" N255, XF, NULL, N255, false, false },
	{ "sixteen", "PORT=1 PORT=1 PORT=1 PORT=1 PORT=1 PORT=1 PORT=1 PORT=1 PORT=1 PORT=1 PORT=1 PORT=1 PORT=1 PORT=1 PORT=1 ADDR=192.0.2.7", XF, "192.0.2.7", "", false, false },
};

static const struct { const char *name, *arg; int in; } bad[] = {
	{ "nothing", "", XF }, { "blanks", "   ", XF }, { "a word", "ADDR", XF }, { "no value", "ADDR=", XF }, { "no name", "=192.0.2.7", XF }, { "an equals sign", "=", XF },
	{ "unknown", "NOVEL=1", XF }, { "unknown among others", "ADDR=192.0.2.7 NOVEL=1", XF }, { "begins as one", "ADDRESS=192.0.2.7", XF }, { "a part of one", "ADD=192.0.2.7", XF },
	{ "of the other: SOURCE", "SOURCE=LOCAL", X }, { "of the other: IDENT", "IDENT=x", X }, { "of the other: LOGIN", "LOGIN=joe", F }, { "of the other: DESTADDR", "DESTADDR=10.0.0.1", F },
	{ "of the other: REVERSE_NAME", "REVERSE_NAME=a", F }, { "of the other: DESTPORT", "DESTPORT=25", F },
	{ "octet too large", "ADDR=192.0.2.256", XF }, { "three octets", "ADDR=192.0.2", XF }, { "a network", "ADDR=192.0.2.0/24", XF }, { "a host", "ADDR=mail.good.example", XF },
	{ "a literal", "ADDR=[192.0.2.7]", XF }, { "a port", "ADDR=192.0.2.7:25", XF }, { "IPv6 without prefix", "ADDR=2001:db8::7", XF }, { "IPv4 with prefix", "ADDR=IPV6:192.0.2.7", XF },
	{ "prefix alone", "ADDR=IPV6:", XF }, { "prefix twice", "ADDR=IPV6:IPV6:2001:db8::7", XF }, { "a zone", "ADDR=IPV6:fe80::1%eth0", XF }, { "too many groups", "ADDR=IPV6:1:2:3:4:5:6:7:8:9", XF },
	{ "behind the address", "ADDR=192.0.2.7+00", XF }, { "half unavailable", "ADDR=[UNAVAILABLE", XF }, { "unavailable and more", "ADDR=[UNAVAILABLE]x", XF },
	{ "xtext cut", "HELO=a+2", XF }, { "xtext, a plus", "HELO=a+", XF }, { "xtext in lower case", "HELO=a+2b", XF }, { "xtext, no hex", "HELO=a+ZZ", XF },
	{ "a bare equals sign", "HELO=a=b", XF }, { "a NUL", "HELO=a+00b", XF }, { "a line's end", "HELO=a+0D+0AMAIL", XF }, { "a blank within", "HELO=a+20b", XF }, { "a tab", "HELO=a\tb", XF },
	{ "8 bits", "HELO=\xc3\xa4", XF }, { "8 bits in xtext", "HELO=+C3+A4", XF }, { "DEL", "HELO=a+7F", XF },
	{ "no protocol", "PROTO=LMTP", XF }, { "a longer protocol", "PROTO=ESMTPS", XF }, { "no source", "SOURCE=HERE", F },
	{ "overlong", "HELO=" N255 "n", XF }, { "overlong, not read", "NAME=" N255 "n", XF }, { "overlong in xtext", "HELO=" N255 "+6E", XF },
	{ "seventeen", "PORT=1 PORT=1 PORT=1 PORT=1 PORT=1 PORT=1 PORT=1 PORT=1 PORT=1 PORT=1 PORT=1 PORT=1 PORT=1 PORT=1 PORT=1 PORT=1 ADDR=192.0.2.7", XF },
};

/* A copy of exactly that length: nothing behind it is looked at. */
static int parse(const char *arg, bool forward, struct smtp_told *told)
{
	size_t len = strlen(arg);
	char *copy = malloc(len ? len : 1);
	int rc;

	assert_non_null(copy);
	memcpy(copy, arg, len);
	rc = smtp_told_parse(copy, len, forward, told);
	free(copy);
	return rc;
}

static void taken(void **state)
{
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		for (int forward = 0; forward < 2; forward++) {
			struct smtp_told told = { 0 };
			struct net_addr want = { 0 };

			if (!(good[i].in & (forward ? F : X)))
				continue;
			if (parse(good[i].arg, forward, &told) != 0)
				fail_msg("%s: not taken", good[i].name);
			if (good[i].addr)
				assert_int_equal(net_parse(good[i].addr, &want), 0);
			if (want.family != told.r.addr.family || (good[i].addr && !net_same_ip(&want, &told.r.addr)) || strcmp(told.r.helo, good[i].helo) != 0 ||
			    told.r.esmtp != good[i].esmtp || told.source_local != good[i].local || told.how != (forward ? BOUNDARY_XFORWARD : BOUNDARY_XCLIENT))
				fail_msg("%s: something else, HELO %s", good[i].name, told.r.helo);
		}
	}
}

/* What cannot be leaves all as it was, what stood before it in the line, too. */
static void refused(void **state)
{
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		for (int forward = 0; forward < 2; forward++) {
			struct smtp_told told = { 0 }, before;

			if (!(bad[i].in & (forward ? F : X)))
				continue;
			assert_int_equal(parse("ADDR=198.51.100.1 HELO=before PROTO=ESMTP", forward, &told), 0);
			before = told;
			if (parse(bad[i].arg, forward, &told) != -EINVAL || memcmp(&before, &told, sizeof(told)) != 0)
				fail_msg("%s, %s", bad[i].name, forward ? "XFORWARD" : "XCLIENT");
		}
	}
}

/* Several commands add up; what was said in the other way is not mixed with it. */
static void several(void **state)
{
	struct smtp_told told = { 0 };
	struct net_addr want;

	assert_int_equal(net_parse("192.0.2.7", &want), 0);
	assert_int_equal(parse("NAME=a ADDR=192.0.2.7", true, &told), 0);
	assert_int_equal(parse("PROTO=ESMTP HELO=b SOURCE=LOCAL", true, &told), 0);
	assert_true(net_same_ip(&want, &told.r.addr) && told.r.esmtp && told.source_local);
	assert_string_equal(told.r.helo, "b");
	assert_int_equal(parse("HELO=c", false, &told), 0);
	assert_int_equal(told.how, BOUNDARY_XCLIENT);
	assert_int_equal(told.r.addr.family, 0);
	assert_false(told.r.esmtp || told.source_local);
	assert_string_equal(told.r.helo, "c");
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(taken), cmocka_unit_test(refused), cmocka_unit_test(several) };

	return cmocka_run_group_tests_name("smtp_told", tests, NULL, NULL);
}
