/* Return paths there and back. That they are those of other programs, too, is shown by tests/e2e/test_srs.py. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy/srs.h"
#include "support/random.h"

enum { DAY = 86400 };
#define NOW ((int64_t)1795000000)

static char domain[] = "example.com", first[] = "0123456789abcdef", second[] = "the secret of last year";
static const struct srs_conf conf = { .domain = domain, .secret = { first }, .secret_count = 1, .life_s = 21 * DAY };

/* The local part of what a sender becomes. */
static const char *local_of(const struct srs_conf *c, const char *sender, int64_t now)
{
	static char out[SRS_ADDRESS_MAX];

	assert_int_equal(srs_forward(c, sender, now, out), 0);
	assert_string_equal(strrchr(out, '@') + 1, "example.com");
	*strrchr(out, '@') = '\0';
	assert_true(srs_is(out));
	return out;
}

static void test_there_and_back(void **state)
{
	static const char *const senders[] = {
		"ann@sender.example", "a@b.c", "Ann.B+tag@Sender.Example", "x=y=z@sender.example", "=@sender.example", "SRS0@sender.example",
		"srs@sender.example", "\xc3\xa4@sender.example", "a%b@sender.example", "SRS0x=1@sender.example",
	};
	char back[SRS_ADDRESS_MAX];

	for (size_t i = 0; i < sizeof(senders) / sizeof(*senders); i++) {
		const char *local = local_of(&conf, senders[i], NOW);

		assert_int_equal(strncmp(local, "SRS0=", 5), 0);
		if (srs_reverse(&conf, local, NOW + 5 * DAY, back) != 0 || strcmp(back, senders[i]) != 0)
			fail_msg("%s: %s", senders[i], local);
	}
}

/* Some servers change the case. */
static void test_case(void **state)
{
	char local[SRS_ADDRESS_MAX], back[SRS_ADDRESS_MAX];

	snprintf(local, sizeof(local), "%s", local_of(&conf, "ann@sender.example", NOW));
	for (char *p = local; *p; p++)
		*p = *p >= 'A' && *p <= 'Z' ? (char)(*p | 32) : *p;
	assert_int_equal(srs_reverse(&conf, local, NOW, back), 0);
	assert_string_equal(back, "ann@sender.example");
}

static void test_again(void **state)
{
	char once[SRS_ADDRESS_MAX], back[SRS_ADDRESS_MAX];
	const char *local = local_of(&conf, "SRS0=abcd=QQ=sender.example=ann@other.example", NOW);

	assert_non_null(strstr(local, "=other.example==abcd=QQ=sender.example=ann"));
	assert_int_equal(strncmp(local, "SRS1=", 5), 0);
	assert_int_equal(srs_reverse(&conf, local, NOW + 400 * DAY, back), 0);
	assert_string_equal(back, "SRS0=abcd=QQ=sender.example=ann@other.example");
	/* The third forwarder keeps the first, and its separator. */
	local = local_of(&conf, "SRS1=wxyz=other.example=+abcd=QQ=sender.example=ann@third.example", NOW);
	snprintf(once, sizeof(once), "%s", local);
	assert_null(strstr(once, "third"));
	assert_int_equal(srs_reverse(&conf, once, NOW, back), 0);
	assert_string_equal(back, "SRS0+abcd=QQ=sender.example=ann@other.example");
}

static void test_age(void **state)
{
	char local[SRS_ADDRESS_MAX], back[SRS_ADDRESS_MAX];

	for (int day = 0; day < 1100; day += 7) {
		int64_t made = NOW + (int64_t)day * DAY;

		snprintf(local, sizeof(local), "%s", local_of(&conf, "ann@sender.example", made));
		assert_int_equal(srs_reverse(&conf, local, made + 21 * DAY, back), 0);
		assert_int_equal(srs_reverse(&conf, local, made + 22 * DAY, back), -ETIMEDOUT);
		assert_int_equal(srs_reverse(&conf, local, made + 500 * DAY, back), -ETIMEDOUT);
		assert_int_equal(srs_reverse(&conf, local, made - DAY, back), -ETIMEDOUT);
	}
}

static void test_secrets(void **state)
{
	const struct srs_conf old = { .domain = domain, .secret = { second }, .secret_count = 1, .life_s = 21 * DAY };
	const struct srs_conf both = { .domain = domain, .secret = { first, second }, .secret_count = 2, .life_s = 21 * DAY };
	const struct srs_conf none = { .domain = domain, .life_s = 21 * DAY };
	char local[SRS_ADDRESS_MAX], back[SRS_ADDRESS_MAX];

	snprintf(local, sizeof(local), "%s", local_of(&old, "ann@sender.example", NOW));
	assert_int_equal(srs_reverse(&conf, local, NOW, back), -EACCES);
	assert_int_equal(srs_reverse(&both, local, NOW, back), 0);
	assert_int_equal(srs_reverse(&none, local, NOW, back), -EACCES);
	assert_string_not_equal(local_of(&both, "ann@sender.example", NOW), local);
	assert_int_equal(srs_forward(&none, "ann@sender.example", NOW, back), -EINVAL);
}

/* Every letter of what was made counts. */
static void test_changed(void **state)
{
	char local[SRS_ADDRESS_MAX], back[SRS_ADDRESS_MAX];

	snprintf(local, sizeof(local), "%s", local_of(&conf, "ann@sender.example", NOW));
	for (size_t i = 4; local[i]; i++) {
		char was = local[i];

		local[i] = was == 'z' || was == 'Z' ? 'y' : 'z';
		if (srs_reverse(&conf, local, NOW, back) == 0)
			fail_msg("%s", local);
		local[i] = was;
	}
	for (size_t len = 0; len < strlen(local); len++) {
		char cut[SRS_ADDRESS_MAX];

		memcpy(cut, local, len);
		cut[len] = '\0';
		assert_true(srs_reverse(&conf, cut, NOW, back) < 0);
	}
}

static void test_malformed(void **state)
{
	static const char *const bad[] = {
		"", "ann", "SRS0", "SRS0=", "SRS0==", "SRS0===", "SRS0====", "SRS0=a=b=c=d", "SRS0=aaaaaaaa=QQ=sender.example=", "SRS1", "SRS1=", "SRS1==", "SRS1=aaaaaaaa=host=",
		"SRS1=aaaaaaaa=host=x", "SRS1=aaaaaaaa=host==x", "SRS2=aaaaaaaa=QQ=sender.example=ann", "SRS0*aaaaaaaa=QQ=sender.example=ann", "SRS0=aaaa=QQ=sender.example=ann",
		"SRS0=aaaaaaaaa=QQ=sender.example=ann", "SRS0=aaaaaaaa=Q!=sender.example=ann",
	};
	static const char *const no_senders[] = { "", "ann", "@sender.example", "ann@", "\"a b\"@sender.example" };
	char out[SRS_ADDRESS_MAX], long_sender[300];

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (srs_reverse(&conf, bad[i], NOW, out) == 0)
			fail_msg("%s", bad[i]);
	for (size_t i = 0; i < sizeof(no_senders) / sizeof(*no_senders); i++)
		assert_int_equal(srs_forward(&conf, no_senders[i], NOW, out), -EINVAL);
	memset(long_sender, 'a', sizeof(long_sender));
	strcpy(long_sender + 220, "@sender.example");
	assert_int_equal(srs_forward(&conf, long_sender, NOW, out), -ENAMETOOLONG);
	strcpy(long_sender + 280, "@sender.example");
	assert_int_equal(srs_forward(&conf, long_sender, NOW, out), -ENAMETOOLONG);
}

static void test_random(void **state)
{
	static const char *const pieces[] = { "SRS0", "SRS1", "=", "==", "+", "-", "a", "QQ", "example.com", "@", "\"", "aaaaaaaa", ".", "\xff", "Z", "7" };
	char out[SRS_ADDRESS_MAX], back[SRS_ADDRESS_MAX];

	random_seed(3);
	for (int i = 0; i < 200000; i++) {
		char text[300] = "";

		for (unsigned n = pick(10); n > 0; n--)
			strcat(text, ONE_OF(pieces));
		assert_true(srs_reverse(&conf, text, NOW, out) < 0);
		if (srs_forward(&conf, text, NOW, out) == 0) {
			*strrchr(out, '@') = '\0';
			if (srs_reverse(&conf, out, NOW, back) != 0)
				fail_msg("%s: %s", text, out);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back), cmocka_unit_test(test_case), cmocka_unit_test(test_again), cmocka_unit_test(test_age),
		cmocka_unit_test(test_secrets), cmocka_unit_test(test_changed), cmocka_unit_test(test_malformed), cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
