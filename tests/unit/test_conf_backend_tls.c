/* gatepost.conf: TLS with a server behind us. */
#include "tests/unit/conf_full.h"

#define PIN "\"sha256:00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff\""
#define BACKEND(options) "backend b { address = \"10.0.0.7\" " options " }\n"
#define NO_PIN(p) "@:4: tls_pin: \"" p "\" is no fingerprint, expected \"sha256:\" and 64 hexadecimal digits of the certificate"

static void test_mistakes(void **state)
{
	static const struct {
		const char *text, *error;
	} rows[] = {
		{ BACKEND("tls_min = 1.4"), "@:4: tls_min: \"1.4\" is not known, expected 1.0, 1.1, 1.2 or 1.3\n" },
		{ BACKEND("tls_min = TLSv1"), "@:4: tls_min: \"TLSv1\" is not known" },
		{ BACKEND("tls_security_level = 6"), "@:4: tls_security_level: \"6\" is no level of OpenSSL, expected 0 to 5\n" },
		{ BACKEND("tls_security_level = -1"), "@:4: tls_security_level: \"-1\" is no level" },
		{ BACKEND("tls_security_level = 01"), "@:4: tls_security_level: \"01\" is no level" },
		{ BACKEND("tls_security_level = low"), "@:4: tls_security_level: \"low\" is no level" },
		{ BACKEND("tls_ciphers = \"\""), "@:4: tls_ciphers: \"\": OpenSSL knows none of these" },
		{ BACKEND("tls_ciphers = \"RC17\""), "@:4: tls_ciphers: \"RC17\": OpenSSL knows none of these" },
		{ BACKEND("tls_ciphers = \"aNULL\""), "@:4: tls_ciphers: \"aNULL\": OpenSSL knows none of these" },
		{ BACKEND("tls_ciphers = \"eNULL\""), "@:4: tls_ciphers: \"eNULL\": OpenSSL knows none of these" },
		{ BACKEND("tls = required tls_pin = { \"sha1:00\" }"), NO_PIN("sha1:00") },
		{ BACKEND("tls = required tls_pin = { \"sha256:00\" }"), NO_PIN("sha256:00") },
		{ BACKEND("tls_pin = { " PIN " }"), "@:4: backend b: tls_pin without tls = required: who is in the way would leave TLS out, expected tls = required\n" },
		{ BACKEND("tls = off tls_pin = { " PIN " }"), "@:4: backend b: tls_pin without tls = required" },
		{ BACKEND("tls = required tls_pin = { " PIN "," PIN "," PIN "," PIN "," PIN "," PIN "," PIN "," PIN "," PIN "," PIN "," PIN "," PIN "," PIN "," PIN
			  "," PIN "," PIN "," PIN " }"), "@:4: tls_pin: too many, expected at most 16\n" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		AUTO(buf) struct buf errors = BUF_INIT(65536);
		struct site *s = load_rest(rows[i].text, &errors, NULL);

		if (s || !as_wanted(buf_str(&errors), rows[i].error))
			fail_msg("row %zu: %s", i, buf_str(&errors));
	}
}

static void test_weakenings(void **state)
{
	static const struct {
		const char *text, *warnings;
	} rows[] = {
		{ BACKEND("tls_min = 1.2"), "" },
		{ BACKEND("tls_min = 1.3 tls_security_level = 5"), "" },
		{ BACKEND("tls = required tls_name = x.example tls_security_level = 2"), "" },
		{ BACKEND("tls_ciphers = \"ECDHE+AESGCM\""), "" },
		{ BACKEND("tls = required tls_pin = { " PIN " }"), "" },
		{ BACKEND("tls_security_level = 1"), "" },
		{ BACKEND("tls_min = 1.0 tls_security_level = 0"),
		  "@:4: backend b: tls_min = 1.0: whoever is in the way may bring about TLS with SHA-1 signatures and without forward secrecy; take it away when the "
		  "server has learnt TLS 1.2\n"
		  "@:4: backend b: tls_security_level = 0: keys and signatures of any strength are taken, and servers without secure renegotiation\n" },
		{ BACKEND("tls_min = 1.1 tls_ciphers = \"ECDHE+AES\""),
		  "@:4: backend b: tls_min = 1.1: whoever is in the way may bring about TLS with SHA-1 signatures; take it away when the server has learnt TLS 1.2\n"
		  "@:4: backend b: tls_min = 1.1 does nothing, since OpenSSL speaks it at level 0 only, expected tls_security_level = 0\n" },
		{ BACKEND("tls_min = 1.0 tls_security_level = 1"), "@:4: backend b: tls_min = 1.0: whoever is in the way" },
		{ BACKEND("tls = required tls_name = x.example tls_security_level = 1"),
		  "@:4: backend b: tls_security_level = 1 is below this system's 2: weaker keys and signatures are taken\n" },
		{ BACKEND("tls_ciphers = \"ECDHE+AESGCM:AES128-SHA\""), "@:4: backend b: tls_ciphers has AES128-SHA, which is without forward secrecy: " },
		{ BACKEND("tls_ciphers = \"ALL\""), "@:4: backend b: tls_ciphers has " },
		{ BACKEND("tls = off tls_min = 1.0"), "@:4: backend b: tls_min, tls_security_level, tls_ciphers and tls_pin play no part without TLS\n" },
		{ BACKEND("protocol = tcp tls = required tls_pin = { " PIN " }"),
		  "@:4: backend b: tls_min, tls_security_level, tls_ciphers and tls_pin play no part without TLS, which is the client's own with protocol = tcp\n"
		  "@:4: backend b: no listener leads to it, expected one with backends = { \"b\" }\n" },
		{ BACKEND("tls = required tls_ca = cert.pem tls_pin = { " PIN " }"),
		  "@:4: backend b: tls_ca and tls_name play no part with tls_pin: what is pinned needs no CA and no name\n" },
		{ BACKEND("tls = required tls_name = x.example tls_pin = { " PIN " }"), "@:4: backend b: tls_ca and tls_name play no part with tls_pin" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		AUTO(buf) struct buf errors = BUF_INIT(65536), warnings = BUF_INIT(65536);
		struct site *s = load_rest(rows[i].text, &errors, &warnings);

		if (!s || !as_wanted(buf_str(&warnings), rows[i].warnings) || !warnings.len != !rows[i].warnings[0])
			fail_msg("row %zu: %s%s", i, buf_str(&errors), buf_str(&warnings));
		site_free(s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_mistakes), cmocka_unit_test(test_weakenings) };

	return cmocka_run_group_tests(tests, conf_full_setup, dir_remove);
}
