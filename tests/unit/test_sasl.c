#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <openssl/evp.h>

#include "base/sasl.h"

static void test_names(void **state)
{
	static const char offered[] = " GSSAPI  EXTERNAL\tlogin SCRAM-SHA-1-PLUS PLAIN ";
	char out[SASL_NAMES_MAX];

	assert_int_equal(sasl_find("PLAIN", 5), SASL_PLAIN);
	assert_int_equal(sasl_find("cram-md5", 8), SASL_CRAM_MD5);
	assert_int_equal(sasl_find("EXTERNAL", 8), 0);
	assert_int_equal(sasl_find("SCRAM-SHA-1-PLUS", 16), 0);
	assert_int_equal(sasl_find("SCRAM-SHA-256-PLUS", 18), 0);
	assert_int_equal(sasl_find("PLAI", 4), 0);
	assert_int_equal(sasl_find("PLAINX", 6), 0);
	assert_int_equal(sasl_find("", 0), 0);
	assert_string_equal(sasl_name(SASL_SCRAM_SHA_256), "SCRAM-SHA-256");
	assert_string_equal(sasl_name(SASL_PLAIN | SASL_LOGIN), "");
	assert_string_equal(sasl_name(0), "");
	assert_string_equal(sasl_names(sasl_list(offered, strlen(offered)), out), "PLAIN LOGIN GSSAPI");
	assert_string_equal(sasl_names(0, out), "");
	assert_string_equal(sasl_names(~0u, out), "PLAIN LOGIN CRAM-MD5 DIGEST-MD5 SCRAM-SHA-256 SCRAM-SHA-1 XOAUTH2 OAUTHBEARER NTLM GSSAPI");
	assert_int_equal(SASL_DEFAULT & SASL_CHANNEL_BOUND, 0);
}

static void test_base64(void **state)
{
	static const struct { const char *in; bool want; } rows[] = {
		{ "", true }, { "QQ==", true }, { "QUI=", true }, { "QUJD", true }, { "+/+/", true }, { "QUJDRA==", true },
		{ "Q", false }, { "QQ", false }, { "QQ=", false }, { "Q===", false }, { "====", false }, { "QQ==QQ==", false }, { "QU=D", false },
		{ "QUJ-", false }, { "QUJ_", false }, { "QU D", false }, { " QUJ", false }, { "QUJD\r", false }, { "=QUJ", false }, { "QUJ\x80", false },
		{ "*", false }, { "=", false }, { "==", false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (sasl_base64_ok(rows[i].in, strlen(rows[i].in)) != rows[i].want)
			fail_msg("\"%s\"", rows[i].in);
	assert_false(sasl_base64_ok("QU\0D", 4));
}

#define U8 "\xc3\xbc"

/* One message, not encoded, and the name that is found in it; NULL: it is refused. */
static const struct { const char *name; unsigned mechanism; const char *in; size_t len; const char *user; } rows[] = {
#define ROW(n, m, text, user) { n, m, text, sizeof(text) - 1, user }
	ROW("plain", SASL_PLAIN, "\0ann\0secret", "ann"),
	ROW("plain, for another", SASL_PLAIN, "boss\0ann\0secret", "ann"),
	ROW("plain, utf-8", SASL_PLAIN, "\0m" U8 "ller@x.example\0secret", "m" U8 "ller@x.example"),
	ROW("plain, no second NUL", SASL_PLAIN, "\0annsecret", NULL),
	ROW("plain, no NUL", SASL_PLAIN, "ann secret", NULL),
	ROW("plain, nobody", SASL_PLAIN, "\0\0secret", NULL),
	ROW("plain, CRLF in it", SASL_PLAIN, "\0ann\r\nRSET\0secret", NULL),
	ROW("plain, tab", SASL_PLAIN, "\0an\tn\0secret", NULL),
	ROW("plain, DEL", SASL_PLAIN, "\0an\x7fn\0secret", NULL),
	ROW("plain, C1 control", SASL_PLAIN, "\0an\xc2\x85n\0secret", ""),
	ROW("plain, no utf-8", SASL_PLAIN, "\0an\xfcn\0secret", ""),
	ROW("plain, cut utf-8", SASL_PLAIN, "\0an\xc3\0secret", ""),
	ROW("plain, empty", SASL_PLAIN, "", ""),
	ROW("plain, a field more", SASL_PLAIN, "\0bob\0secret\0ann", NULL),
	ROW("login, LF", SASL_LOGIN, "ann\n", NULL),
	ROW("login, no utf-8", SASL_LOGIN, "an\xfcn", ""),
	ROW("cram, NUL", SASL_CRAM_MD5, "ann\0x b913a602c7eda7a495b4e6e7334d3890", NULL),
	ROW("scram, NUL", SASL_SCRAM_SHA_1, "n,,n=ann,r=x\0", NULL),
	ROW("login", SASL_LOGIN, "ann@x.example", "ann@x.example"),
	ROW("login, domain", SASL_LOGIN, "CORP\\ann", "CORP\\ann"),
	ROW("login, NUL", SASL_LOGIN, "ann\0x", NULL),
	ROW("cram", SASL_CRAM_MD5, "ann lee b913a602c7eda7a495b4e6e7334d3890", "ann lee"),
	ROW("cram, short digest", SASL_CRAM_MD5, "ann b913a602c7eda7a495b4e6e7334d389", NULL),
	ROW("cram, no digest", SASL_CRAM_MD5, "ann b913a602c7eda7a495b4e6e7334d38zz", NULL),
	ROW("cram, a password alone", SASL_CRAM_MD5, "secret", NULL),
	ROW("digest", SASL_DIGEST_MD5, "charset=utf-8,username=\"ann\",realm=\"x\"", "ann"),
	ROW("digest, first", SASL_DIGEST_MD5, "username=\"ann\",realm=\"x\"", "ann"),
	ROW("digest, quoted", SASL_DIGEST_MD5, "username=\"a\\\"nn\"", "a\"nn"),
	ROW("digest, no quotes, any case", SASL_DIGEST_MD5, "nc=00000001, USERNAME=ann ,,digest-uri=imap/x", "ann"),
	ROW("digest, a domain", SASL_DIGEST_MD5, "username=\"CORP\\\\ann\"", "CORP\\ann"),
	ROW("digest, in the quotes of another value", SASL_DIGEST_MD5, "cnonce=\",username=\\\"bob\\\",\",username=\"ann\"", "ann"),
	ROW("digest, other quotes", SASL_DIGEST_MD5, "foo=\",username=\"bob\"=x,username=\"ann\"", NULL),
	ROW("digest, two", SASL_DIGEST_MD5, "username=\"bob\",Username=\"ann\"", NULL),
	ROW("digest, nobody", SASL_DIGEST_MD5, "realm=\"x\"", NULL),
	ROW("digest, an empty name", SASL_DIGEST_MD5, "username=\"\",realm=\"x\"", NULL),
	ROW("digest, blanks within", SASL_DIGEST_MD5, "username =\"ann\"", NULL),
	ROW("digest, two words", SASL_DIGEST_MD5, "username=ann lee", NULL),
	ROW("digest, NUL", SASL_DIGEST_MD5, "username=\"ann\",realm=\"x\0\"", NULL),
	ROW("digest, NUL in the name", SASL_DIGEST_MD5, "username=\"ann\0x\"", NULL),
	ROW("digest, open", SASL_DIGEST_MD5, "username=\"ann", NULL),
	ROW("digest, of another word", SASL_DIGEST_MD5, "xusername=\"ann\"", NULL),
	ROW("xoauth2", SASL_XOAUTH2, "user=ann@x.example\1auth=Bearer ya29.secret\1\1", "ann@x.example"),
	ROW("xoauth2, no end", SASL_XOAUTH2, "user=ann@x.example", NULL),
	ROW("xoauth2, token first", SASL_XOAUTH2, "auth=Bearer secret\1user=ann\1\1", "ann"),
	ROW("xoauth2, nobody", SASL_XOAUTH2, "auth=Bearer secret\1\1", ""),
	ROW("xoauth2, two", SASL_XOAUTH2, "user=bob\1user=ann\1auth=Bearer secret\1\1", NULL),
	ROW("xoauth2, another one behind the token", SASL_XOAUTH2, "user=bob\1auth=Bearer secret\1USER=ann\1\1", NULL),
	ROW("xoauth2, an empty name", SASL_XOAUTH2, "user=\1auth=Bearer secret\1\1", NULL),
	ROW("xoauth2, NUL", SASL_XOAUTH2, "user=ann\1auth=Bearer secret\1\1\0", NULL),
	ROW("oauthbearer, two", SASL_OAUTHBEARER, "n,a=bob,a=ann,\1auth=Bearer secret\1\1", NULL),
	ROW("oauthbearer, one more", SASL_OAUTHBEARER, "n,,a=ann,\1auth=Bearer secret\1\1", NULL),
	ROW("oauthbearer, header alone", SASL_OAUTHBEARER, "n,a=ann,", NULL),
	ROW("oauthbearer", SASL_OAUTHBEARER, "n,a=ann@x.example,\1host=mail\1auth=Bearer secret\1\1", "ann@x.example"),
	ROW("oauthbearer, nobody", SASL_OAUTHBEARER, "n,,\1auth=Bearer secret\1\1", ""),
	ROW("oauthbearer, escaped", SASL_OAUTHBEARER, "n,a=a=2Cb=3Dc,\1auth=Bearer secret\1\1", "a,b=c"),
	ROW("oauthbearer, escaped badly", SASL_OAUTHBEARER, "n,a=a=2c,\1auth=Bearer secret\1\1", NULL),
	ROW("oauthbearer, cut escape", SASL_OAUTHBEARER, "n,a=a=2,\1", NULL),
	ROW("oauthbearer, no header", SASL_OAUTHBEARER, "auth=Bearer secret,\1\1", NULL),
	ROW("scram-1", SASL_SCRAM_SHA_1, "n,,n=ann,r=fyko+d2lbbFgONRv9qkxdawL", "ann"),
	ROW("scram-256", SASL_SCRAM_SHA_256, "y,a=boss,n=a=2Cnn,r=x", "a,nn"),
	ROW("scram, bound to the channel", SASL_SCRAM_SHA_1, "p=tls-unique,,n=ann,r=x", NULL),
	ROW("scram, second message", SASL_SCRAM_SHA_1, "c=biws,r=x,p=secret", NULL),
	ROW("scram, no nonce", SASL_SCRAM_SHA_1, "n,,n=ann", NULL),
	ROW("scram, cut", SASL_SCRAM_SHA_1, "n,", NULL),
	ROW("scram, odd authzid", SASL_SCRAM_SHA_1, "n,b=x,n=ann,r=x", NULL),
	ROW("ntlm, first", SASL_NTLM, "NTLMSSP\0\1\0\0\0\7\2\0\0", ""),
	ROW("ntlm", SASL_NTLM,
	    "NTLMSSP\0\3\0\0\0" "\0\0\0\0\0\0\0\0" "\0\0\0\0\0\0\0\0" "\0\0\0\0\0\0\0\0" "\6\0\6\0\x40\0\0\0" "\0\0\0\0\0\0\0\0" "\0\0\0\0\0\0\0\0" "\1\0\0\0" "a\0n\0\xfc\0",
	    "an" U8),
	ROW("ntlm, 8-bit name", SASL_NTLM,
	    "NTLMSSP\0\3\0\0\0" "\0\0\0\0\0\0\0\0" "\0\0\0\0\0\0\0\0" "\0\0\0\0\0\0\0\0" "\3\0\3\0\x40\0\0\0" "\0\0\0\0\0\0\0\0" "\0\0\0\0\0\0\0\0" "\0\0\0\0" "ann",
	    "ann"),
	ROW("ntlm, behind the end", SASL_NTLM,
	    "NTLMSSP\0\3\0\0\0" "\0\0\0\0\0\0\0\0" "\0\0\0\0\0\0\0\0" "\0\0\0\0\0\0\0\0" "\4\0\4\0\x40\0\0\0" "\0\0\0\0\0\0\0\0" "\0\0\0\0\0\0\0\0" "\0\0\0\0" "ann", ""),
	ROW("ntlm, far behind the end", SASL_NTLM,
	    "NTLMSSP\0\3\0\0\0" "\0\0\0\0\0\0\0\0" "\0\0\0\0\0\0\0\0" "\0\0\0\0\0\0\0\0" "\3\0\3\0\xff\xff\0\0" "\0\0\0\0\0\0\0\0" "\0\0\0\0\0\0\0\0" "\0\0\0\0" "ann", ""),
	ROW("ntlm, half a surrogate", SASL_NTLM,
	    "NTLMSSP\0\3\0\0\0" "\0\0\0\0\0\0\0\0" "\0\0\0\0\0\0\0\0" "\0\0\0\0\0\0\0\0" "\4\0\4\0\x40\0\0\0" "\0\0\0\0\0\0\0\0" "\0\0\0\0\0\0\0\0" "\1\0\0\0" "a\0\0\xd8", ""),
	ROW("ntlm, cut", SASL_NTLM, "NTLMSSP\0\3\0\0\0", ""),
	ROW("gssapi", SASL_GSSAPI, "\x60\x82ticket of ann", ""),
};

static size_t encode(const char *in, size_t len, char *out)
{
	return (size_t)EVP_EncodeBlock((unsigned char *)out, (const unsigned char *)in, (int)len);
}

static void test_users(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct sasl_login l = { .mechanism = rows[i].mechanism };
		char line[600];
		size_t n = encode(rows[i].in, rows[i].len, line);
		char *exact = malloc(n ? n : 1);         /* so that a read past the end is seen */

		assert_non_null(exact);
		memcpy(exact, line, n);
		if (sasl_client_line(&l, true, exact, n) != (rows[i].user ? SASL_DATA : SASL_BAD) || strcmp(l.user, rows[i].user ? rows[i].user : "") != 0)
			fail_msg("%s: \"%s\"", rows[i].name, l.user);
		assert_int_equal(l.step, rows[i].user != NULL);
		free(exact);
	}
}

/* The second line of LOGIN is the password, whatever the first was. */
static void test_password_is_no_name(void **state)
{
	struct sasl_login l = { .mechanism = SASL_LOGIN };

	/* Servers take an empty name for none, and ask again. */
	assert_int_equal(sasl_client_line(&l, false, "", 0), SASL_BAD);
	assert_int_equal(sasl_client_line(&l, true, "=", 1), SASL_BAD);
	assert_int_equal(l.step, 0);
	assert_int_equal(sasl_client_line(&l, false, "YW5u", 4), SASL_DATA);
	assert_int_equal(sasl_client_line(&l, false, "c2VjcmV0", 8), SASL_DATA);
	assert_string_equal(l.user, "ann");
}

/* With which line the password or its proof goes to the server. */
static void test_decides(void **state)
{
	enum { MANY = 5 };
	static const struct { unsigned mechanism; int line, lines; const char *first; size_t len; } deciding[] = {
#define FIRST(m, line, lines, text) { m, line, lines, text, sizeof(text) - 1 }
		FIRST(SASL_PLAIN, 1, 1, "\0ann\0pw"), FIRST(SASL_LOGIN, 2, 2, "ann"), FIRST(SASL_CRAM_MD5, 1, 1, "ann b913a602c7eda7a495b4e6e7334d3890"),
		FIRST(SASL_DIGEST_MD5, 1, 2, "username=\"ann\""), FIRST(SASL_XOAUTH2, 1, 2, "user=ann\1auth=Bearer x\1\1"),
		FIRST(SASL_OAUTHBEARER, 1, 2, "n,a=ann,\1auth=Bearer x\1\1"), FIRST(SASL_SCRAM_SHA_1, 2, 3, "n,,n=ann,r=x"),
		FIRST(SASL_SCRAM_SHA_256, 2, 3, "n,,n=ann,r=x"), FIRST(SASL_NTLM, 2, MANY, "NTLMSSP"), FIRST(SASL_GSSAPI, 1, MANY, "ticket"),
	};

	for (size_t i = 0; i < sizeof(deciding) / sizeof(deciding[0]); i++) {
		struct sasl_login l = { .mechanism = deciding[i].mechanism };
		char first[200];
		size_t n = encode(deciding[i].first, deciding[i].len, first);

		for (int line = 0; line < deciding[i].lines; line++) {
			assert_int_equal(sasl_decides(&l), line >= deciding[i].line);
			assert_int_equal(sasl_client_line(&l, false, line ? "YW5u" : first, line ? 4 : n), SASL_DATA);
		}
		assert_true(sasl_decides(&l));
		/* A server that asks once more has not understood what we have: it would take the next line for a name. */
		if (deciding[i].lines < MANY)
			assert_int_equal(sasl_client_line(&l, false, first, n), SASL_BAD);
	}
}

/* A name behind more than anybody needs: it is found all the same. */
static void test_name_far_behind(void **state)
{
	struct sasl_login l = { .mechanism = SASL_PLAIN };
	char *plain = malloc(4000), *line = malloc(8000);

	assert_true(plain && line);
	memset(plain, 'x', 4000);
	memcpy(plain + 3000, "\0ann\0secret", 11);
	assert_int_equal(sasl_client_line(&l, true, line, encode(plain, 3011, line)), SASL_DATA);
	assert_string_equal(l.user, "ann");
	assert_true(l.for_other);
	free(plain);
	free(line);
}

/* Empty lines are none with a name. */
static void test_asked_again(void **state)
{
	struct sasl_login l = { .mechanism = SASL_PLAIN };

	assert_int_equal(sasl_client_line(&l, true, "=", 1), SASL_DATA);
	assert_int_equal(sasl_client_line(&l, false, "AGFubgBzZWNyZXQ=", 16), SASL_DATA);
	assert_string_equal(l.user, "ann");
}

/* A password of one user, a mailbox of another. */
static void test_for_other(void **state)
{
	static const struct { unsigned mechanism; const char *in; size_t len; bool want; } logins[] = {
		{ SASL_PLAIN, "\0ann\0pw", 7, false },
		{ SASL_PLAIN, "ann\0ann\0pw", 10, false },
		{ SASL_PLAIN, "bob\0ann\0pw", 10, true },
		{ SASL_PLAIN, "an\0ann\0pw", 9, true },
		{ SASL_SCRAM_SHA_256, "n,,n=ann,r=x", 12, false },
		{ SASL_SCRAM_SHA_256, "n,a=bob,n=ann,r=x", 17, true },
		{ SASL_OAUTHBEARER, "n,a=ann,\1auth=Bearer x\1\1", 24, false },
		{ SASL_DIGEST_MD5, "username=\"ann\",realm=\"\"", 23, false },
		{ SASL_DIGEST_MD5, "username=\"ann\",authzid=\"bob\"", 28, true },
		{ SASL_LOGIN, "ann", 3, false },
	};

	for (size_t i = 0; i < sizeof(logins) / sizeof(logins[0]); i++) {
		struct sasl_login l = { .mechanism = logins[i].mechanism };
		char line[100];

		assert_int_equal(sasl_client_line(&l, false, line, encode(logins[i].in, logins[i].len, line)), SASL_DATA);
		assert_string_equal(l.user, "ann");
		assert_int_equal(l.for_other, logins[i].want);
	}
}

static void test_lines(void **state)
{
	struct sasl_login l = { .mechanism = SASL_PLAIN };
	char *longest = malloc(SASL_LINE_MAX + 4);

	assert_non_null(longest);
	memset(longest, 'A', SASL_LINE_MAX + 4);
	assert_int_equal(sasl_client_line(&l, false, "*", 1), SASL_CANCEL);
	assert_int_equal(sasl_client_line(&l, true, "*", 1), SASL_BAD);
	assert_int_equal(sasl_client_line(&l, false, "=", 1), SASL_BAD);
	assert_int_equal(sasl_client_line(&l, false, "**", 2), SASL_BAD);
	assert_int_equal(sasl_client_line(&l, false, "QQ= ", 4), SASL_BAD);
	assert_int_equal(sasl_client_line(&l, false, longest, SASL_LINE_MAX + 4), SASL_BAD);
	assert_int_equal(l.step, 0);
	l.mechanism = SASL_GSSAPI;
	assert_int_equal(sasl_client_line(&l, false, longest, SASL_LINE_MAX), SASL_DATA);
	assert_string_equal(l.user, "");
	/* a name of 255 octets is one, of 256 it is not */
	for (size_t n = SASL_USER_MAX; n <= SASL_USER_MAX + 1; n++) {
		char plain[300] = { 0 }, line[600];

		memset(plain + 1, 'u', n);
		memset(&l, 0, sizeof(l));
		l.mechanism = SASL_PLAIN;
		assert_int_equal(sasl_client_line(&l, true, line, encode(plain, n + 2, line)), n == SASL_USER_MAX ? SASL_DATA : SASL_BAD);
		assert_int_equal(strlen(l.user), n == SASL_USER_MAX ? n : 0);
	}
	free(longest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_base64),
		cmocka_unit_test(test_users),
		cmocka_unit_test(test_password_is_no_name),
		cmocka_unit_test(test_decides),
		cmocka_unit_test(test_name_far_behind),
		cmocka_unit_test(test_asked_again),
		cmocka_unit_test(test_for_other),
		cmocka_unit_test(test_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
