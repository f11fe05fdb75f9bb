#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "filters/dkim_key.h"
#include "filters/dkim_tag.h"

#define R1024 "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDO68eEEsLGhrpoMnqvwBSxcDAdeOgegcwVxAJHLf+WrUxtnG48FQa+uWG9U9DlflxYwn4rIYI/hE6cV4Uk9NN634Jg" \
	      "JwCApdLPfqqpUgkNkWARbL8igMLUwb8LpIzlg/WwIW8qaiQSmh9GjV0qUSURKWhPRR+Ag+lluBd8UMfPRwIDAQAB"
#define R768 "MHwwDQYJKoZIhvcNAQEBBQADawAwaAJhAK0W/Z6+72jPgjd/m06KyxwZULk9GNknYTp1WTFhPmYMjh5q5X8u4FQTJKcNiiFHq3IIVaUoRd7romCkgH1RhY10ESzXnjxK" \
	     "QRt7oJnisxpOQwWJae76KhU3+8Qwd2F/HwIDAQAB"
#define PKCS1 "MIIBCgKCAQEAnLVz4ZRL3Zo4vgjvnet3HHECIKZAcdU8ppAji5ttx2iMytm1L+7wGNIem55ZVtYWBCEnp6Her4BSMnG/HbkV95lmYkjqmw+oXyASCfHqPaFeaBnNDPvc" \
	      "0r3vW+06qmLBMqnXZTbijUTVobtyobkQHyfJWCOEz/gl3JOzrPO9Fjy2QROGTMC+PydDt4DLYEFftOEI+PNmKjpkBdA09OuI8o359K82QWiohitZEhldSZ1PXChn" \
	      "SVU5XeTx2WERN5V27g8/fJfDgL+IqaSlk4hRBzrGER2UTjTDZUBm2I8Nkwh3Ok3rBNHEU1k6q86ttCxFKW/HC3bLAynBriBCqVkNAQIDAQAB"
#define ED "PTrB3N1SlGfmORYB6Js29nsINidWsS/Gp/BKRZlg658="

static const struct {
	const char *name, *record;
	enum dkim_key_state want;
	unsigned bits;
	bool testing, exact;
} rows[] = {
	{ "plain",                   "v=DKIM1; k=rsa; p=" R1024,                 DKIM_KEY_GOOD, 1024, false, false },
	{ "no version",              "p=" R1024,                                 DKIM_KEY_GOOD, 1024, false, false },
	{ "final semicolon, blanks", "v = DKIM1 ;\tk = rsa ; p = " R1024 " ; ",  DKIM_KEY_GOOD, 1024, false, false },
	{ "RSAPublicKey",            "v=DKIM1; p=" PKCS1,                        DKIM_KEY_GOOD, 2048, false, false },
	{ "ed25519",                 "v=DKIM1; k=ed25519; p=" ED,                DKIM_KEY_GOOD, 256, false, false },
	{ "testing",                 "v=DKIM1; t=y; p=" R1024,                   DKIM_KEY_GOOD, 1024, true, false },
	{ "both flags",              "v=DKIM1; t= s : y ; p=" R1024,             DKIM_KEY_GOOD, 1024, true, true },
	{ "unknown flag",            "v=DKIM1; t=z; p=" R1024,                   DKIM_KEY_GOOD, 1024, false, false },
	{ "unknown tag",             "v=DKIM1; x-a=b; n=a note; p=" R1024,       DKIM_KEY_GOOD, 1024, false, false },
	{ "h list",                  "v=DKIM1; h=sha1:sha256; p=" R1024,         DKIM_KEY_GOOD, 1024, false, false },
	{ "s any",                   "v=DKIM1; s=*; p=" R1024,                   DKIM_KEY_GOOD, 1024, false, false },
	{ "s list",                  "v=DKIM1; s=other : email; p=" R1024,       DKIM_KEY_GOOD, 1024, false, false },
	{ "revoked",                 "v=DKIM1; p=",                              DKIM_KEY_REVOKED, 0, false, false },
	{ "revoked, blanks",         "v=DKIM1; p= ; k=rsa",                      DKIM_KEY_REVOKED, 0, false, false },
	{ "768 bits",                "v=DKIM1; p=" R768,                         DKIM_KEY_WEAK, 768, false, false },
	{ "empty",                   "",                                         DKIM_KEY_BAD, 0, false, false },
	{ "only blanks",             "   ",                                      DKIM_KEY_BAD, 0, false, false },
	{ "only a semicolon",        ";",                                        DKIM_KEY_BAD, 0, false, false },
	{ "two semicolons",          "v=DKIM1;; p=" R1024,                       DKIM_KEY_BAD, 0, false, false },
	{ "escaped semicolons",      "v=DKIM1\\; p=" R1024,                      DKIM_KEY_BAD, 0, false, false },
	{ "no p",                    "v=DKIM1; k=rsa",                           DKIM_KEY_BAD, 0, false, false },
	{ "P is not p",              "v=DKIM1; P=" R1024,                        DKIM_KEY_BAD, 0, false, false },
	{ "v last",                  "p=" R1024 "; v=DKIM1",                     DKIM_KEY_BAD, 0, false, false },
	{ "v twice",                 "v=DKIM1; v=DKIM1; p=" R1024,               DKIM_KEY_BAD, 0, false, false },
	{ "p twice",                 "v=DKIM1; p=; p=" R1024,                    DKIM_KEY_BAD, 0, false, false },
	{ "unknown tag twice",       "v=DKIM1; n=a; n=b; p=" R1024,              DKIM_KEY_BAD, 0, false, false },
	{ "version 2",               "v=DKIM2; p=" R1024,                        DKIM_KEY_BAD, 0, false, false },
	{ "version lower-case",      "v=dkim1; p=" R1024,                        DKIM_KEY_BAD, 0, false, false },
	{ "version empty",           "v=; p=" R1024,                             DKIM_KEY_BAD, 0, false, false },
	{ "SPF record",              "v=spf1 -all",                              DKIM_KEY_BAD, 0, false, false },
	{ "unknown k",               "v=DKIM1; k=dsa; p=" R1024,                 DKIM_KEY_BAD, 0, false, false },
	{ "k empty",                 "v=DKIM1; k=; p=" R1024,                    DKIM_KEY_BAD, 0, false, false },
	{ "k rsa, key ed25519",      "v=DKIM1; k=rsa; p=" ED,                    DKIM_KEY_BAD, 0, false, false },
	{ "k ed25519, key rsa",      "v=DKIM1; k=ed25519; p=" R1024,             DKIM_KEY_BAD, 256, false, false },
	{ "h sha1",                  "v=DKIM1; h=sha1; p=" R1024,                DKIM_KEY_BAD, 0, false, false },
	{ "h empty",                 "v=DKIM1; h=; p=" R1024,                    DKIM_KEY_BAD, 0, false, false },
	{ "s other",                 "v=DKIM1; s=tlsrpt; p=" R1024,              DKIM_KEY_BAD, 0, false, false },
	{ "not base64",              "v=DKIM1; p=!!!",                           DKIM_KEY_BAD, 0, false, false },
	{ "padding inside",          "v=DKIM1; p=MIGf==MA0G",                    DKIM_KEY_BAD, 0, false, false },
	{ "three pads",              "v=DKIM1; p=AA===",                         DKIM_KEY_BAD, 0, false, false },
	{ "a single digit",          "v=DKIM1; p=A",                             DKIM_KEY_BAD, 0, false, false },
	{ "base64, no key",          "v=DKIM1; p=AAAA",                          DKIM_KEY_BAD, 0, false, false },
	{ "key cut off",             "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GN",  DKIM_KEY_BAD, 0, false, false },
	{ "ed25519 too short",       "v=DKIM1; k=ed25519; p=PTrB3N1S",           DKIM_KEY_BAD, 256, false, false },
	{ "ed25519 in SPKI",         "k=ed25519; p=MCowBQYDK2VwAyEA3SUqa9UbfciWkk7tlcJ9P1VD5pXAasg0JUn/OgjVbKE=", DKIM_KEY_BAD, 256, false, false },
	{ "exponent of 64 bits",     "p=MIGPAoGBAKFwszg5JjBZ8owQXR+xfCOQwZLP06yUrw8h3bZsrUomjRFuzhc499k9nBckEeILj2sNVJtvA2daFgCjWgmZUNg29nXMgedO9ejiXZQO2QR1lTGYXV2dyfgYGOgRiS+QK9I/CCQSiy8zDFx/0KajpFBlEycOJp4NN/KnTeRS5rQ5AgkAgAAAAAAAAAM=", DKIM_KEY_GOOD, 1024, false, false },
	{ "exponent of 65 bits",     "p=MIGPAoGBAKFwszg5JjBZ8owQXR+xfCOQwZLP06yUrw8h3bZsrUomjRFuzhc499k9nBckEeILj2sNVJtvA2daFgCjWgmZUNg29nXMgedO9ejiXZQO2QR1lTGYXV2dyfgYGOgRiS+QK9I/CCQSiy8zDFx/0KajpFBlEycOJp4NN/KnTeRS5rQ5AgkBAAAAAAAAAAE=", DKIM_KEY_BAD, 1024, false, false },
	{ "exponent 1",              "p=MAYCAQMCAQE=", DKIM_KEY_BAD, 0, false, false },
	{ "exponent even",           "p=MAYCAQMCAQI=", DKIM_KEY_BAD, 0, false, false },
	{ "modulus even",            "p=MAYCAQQCAQM=", DKIM_KEY_BAD, 0, false, false },
	{ "modulus negative",        "p=MAYCAYMCAQM=", DKIM_KEY_BAD, 0, false, false },
	{ "modulus zero",            "p=MAYCAQACAQM=", DKIM_KEY_BAD, 0, false, false },
	{ "tiny",                    "p=MAYCAQMCAQM=", DKIM_KEY_WEAK, 2, false, false },
	{ "byte after the key",      "p=MAYCAQMCAQMA", DKIM_KEY_BAD, 0, false, false },
	{ "indefinite length",       "p=MIACAQMCAQMAAA==", DKIM_KEY_BAD, 0, false, false },
	{ "length beyond the end",   "p=MH8CAQMCAQM=", DKIM_KEY_BAD, 0, false, false },
	{ "length of length beyond", "p=MI8=", DKIM_KEY_BAD, 0, false, false },
	{ "three numbers",           "p=MAkCAQMCAQMCAQE=", DKIM_KEY_BAD, 0, false, false },
	{ "one number",              "p=MAMCAQM=", DKIM_KEY_BAD, 0, false, false },
	{ "bit string with unused bits", "p=MBowDQYJKoZIhvcNAQEBBQADCQEwBgIBAwIBAw==", DKIM_KEY_BAD, 0, false, false },
	{ "tiny in SPKI",            "p=MBowDQYJKoZIhvcNAQEBBQADCQAwBgIBAwIBAw==", DKIM_KEY_WEAK, 2, false, false },
	{ "control character",       "v=DKIM1; n=a\001b; p=" R1024,              DKIM_KEY_BAD, 0, false, false },
	{ "line end",                "v=DKIM1;\n p=" R1024,                      DKIM_KEY_BAD, 0, false, false },
	{ "tag without =",           "v=DKIM1; p",                               DKIM_KEY_BAD, 0, false, false },
	{ "name with a digit first", "v=DKIM1; 1a=b; p=" R1024,                  DKIM_KEY_BAD, 0, false, false },
	{ "quotes around all",       "\"v=DKIM1; p=" R1024 "\"",                 DKIM_KEY_BAD, 0, false, false },
};

static void records(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct dkim_key *key = malloc(sizeof(*key));
		size_t len = strlen(rows[i].record);
		char *copy = malloc(len ? len : 1);     /* no NUL after it, so that ASan sees a byte too far */
		enum dkim_key_state got;
		const char *why;

		assert_non_null(copy);
		memcpy(copy, rows[i].record, len);
		got = dkim_key_parse(copy, len, key, &why);
		if (got != rows[i].want || key->bits != rows[i].bits)
			fail_msg("%s: state %d, %u bits (%s)", rows[i].name, got, key->bits, why ? why : "");
		if (got == DKIM_KEY_GOOD) {
			assert_int_equal(key->testing, rows[i].testing);
			assert_int_equal(key->exact_domain, rows[i].exact);
			assert_true(key->len > 0);
			assert_null(why);
		} else {
			assert_non_null(why);
		}
		/* Every beginning of the record is read without harm. */
		for (size_t n = 0; n < len; n += 1 + n / 40)
			dkim_key_parse(copy, n, key, &why);
		free(copy);
		free(key);
	}
}

static void both_forms_are_one(void **state)
{
	struct dkim_key *key = malloc(sizeof(*key));
	const char *why;

	/* 1.2.840.113549.1.1.1 stands in a SubjectPublicKeyInfo, and not in an RSAPublicKey. */
	static const unsigned char oid[] = { 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01 };

	assert_int_equal(dkim_key_parse("p=" PKCS1, strlen("p=" PKCS1), key, &why), DKIM_KEY_GOOD);
	assert_non_null(memmem(key->bytes, key->len, oid, sizeof(oid)));
	free(key);
}

static void too_long(void **state)
{
	struct dkim_key *key = malloc(sizeof(*key));
	char *text = malloc(DKIM_KEY_TEXT_MAX + 1);
	const char *why;

	memset(text, 'a', DKIM_KEY_TEXT_MAX + 1);
	memcpy(text, "v=DKIM1; p=" R1024 "; n=", strlen("v=DKIM1; p=" R1024 "; n="));
	assert_int_equal(dkim_key_parse(text, DKIM_KEY_TEXT_MAX, key, &why), DKIM_KEY_GOOD);
	assert_int_equal(dkim_key_parse(text, DKIM_KEY_TEXT_MAX + 1, key, &why), DKIM_KEY_BAD);
	free(text);
	free(key);
}

static void too_many_tags(void **state)
{
	char text[1024] = "";
	struct dkim_tags tags;
	size_t n = 0;

	for (int i = 0; i < DKIM_TAGS_MAX; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "a%d=x;", i);
	assert_null(dkim_tags_parse(text, n, &tags));
	assert_int_equal(tags.count, DKIM_TAGS_MAX);
	n += (size_t)snprintf(text + n, sizeof(text) - n, "b=x;");
	assert_non_null(dkim_tags_parse(text, n, &tags));
}

static const struct {
	const char *name, *text;
	ptrdiff_t want;
} base64_rows[] = {
	{ "nothing", "", 0 },          { "three", "QUJD", 3 },          { "two", "QUI=", 2 },         { "one", "QQ==", 1 },
	{ "no padding", "QUI", 2 },    { "folded", "QU\r\n J D", 3 },   { "pad folded", "QQ=\r\n\t=", 1 }, { "one digit", "Q", -1 },
	{ "five digits", "QUJDQ", -1 }, { "half padding", "QQ=", -1 },  { "pad first", "=QQ=", -1 },  { "pad alone", "=", -1 },
	{ "url alphabet", "-_-_", -1 }, { "8-bit", "QUJ\303", -1 },     { "no room", "QUJDQUJD", -1 },
};

static void base64(void **state)
{
	unsigned char out[5];

	for (size_t i = 0; i < sizeof(base64_rows) / sizeof(base64_rows[0]); i++) {
		ptrdiff_t got = dkim_tag_base64(base64_rows[i].text, strlen(base64_rows[i].text), out, sizeof(out));

		if (got != base64_rows[i].want || (got > 0 && memcmp(out, "ABC", (size_t)got > 1 ? (size_t)got : 1)))
			fail_msg("%s: %td", base64_rows[i].name, got);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records),
		cmocka_unit_test(both_forms_are_one),
		cmocka_unit_test(too_long),
		cmocka_unit_test(too_many_tags),
		cmocka_unit_test(base64),
	};

	return cmocka_run_group_tests_name("dkim_key", tests, NULL, NULL);
}
