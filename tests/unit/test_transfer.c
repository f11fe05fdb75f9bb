#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "filters/transfer.h"

static const struct { const char *name, *encoding, *in, *want; } rows[] = {
	{ "plain", "7bit", "a=3D\r\n", "a=3D\r\n" },
	{ "unknown", "x-zip", "a=3D", "a=3D" },
	{ "base64", "base64", "aGVsbG8=", "hello" },
	{ "base64 in lines", "BASE64", "aGVs\r\nbG8=\r\n", "hello" },
	{ "base64 without padding", "base64", "aGVsbG8", "hello" },
	{ "base64 with a digit too many", "base64", "aGVsbG8=Q", "hello" },
	{ "base64, encoded line by line", "base64", "aA==\naGk=\nYQ==", "hhia" },
	{ "base64 with what is no digit", "base64", "a!G*V\xffs\1bG8=", "hello" },
	{ "base64 with padding first", "base64", "====aGVsbG8=", "hello" },
	{ "base64 of nothing", "base64", "=\r\n!!", "" },
	{ "quoted-printable", "Quoted-Printable", "J=C3=BCrgen =3D x", "J\xc3\xbcrgen = x" },
	{ "lower case digits", "quoted-printable", "=c3=bc", "\xc3\xbc" },
	{ "soft line end", "quoted-printable", "in=\r\nvoice=\nd", "invoiced" },
	{ "soft line end behind blanks", "quoted-printable", "in= \t\r\nvoice= \nd", "invoiced" },
	{ "an equals sign alone", "quoted-printable", "a = b =zz =4 =\tx =", "a = b =zz =4 = x " },
	{ "two of them", "quoted-printable", "==3D==41=4=41", "===A=4A" },
	{ "a soft line end, cut", "quoted-printable", "a=\r", "a" },
	{ "a soft line end of CR alone", "quoted-printable", "a=\rb", "ab" },
	{ "uuencode", "x-uuencode", "begin 644 x\r\n%:&5L;&\\\r\n`\r\nend\r\n", "hello" },
	{ "uuencode, a line that promises more", "uuencode", "begin 644 x\nM:&5L;&\\\n", "hello" },
	{ "uuencode, digits that are none", "x-uue", "\x7f\x01\x02\n%:&5L\xff;&\\zzz\n \n", "hello" },
};

static void check(const char *encoding, const char *in, size_t chunk, const char *want)
{
	char out[256];
	struct transfer t;
	size_t n = 0, len = strlen(in);

	transfer_init(&t, transfer_find(encoding, strlen(encoding)));
	for (size_t i = 0; i < len; i += chunk) {
		size_t take = len - i < chunk ? len - i : chunk, got = transfer_decode(&t, in + i, take, out + n);

		assert_true(got <= take + TRANSFER_SPARE);
		n += got;
	}
	out[n] = '\0';
	assert_string_equal(out, want);
}

static void test_rows(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		print_message("    %s\n", rows[i].name);
		for (size_t chunk = 1; chunk <= 8; chunk++)
			check(rows[i].encoding, rows[i].in, chunk, rows[i].want);
		check(rows[i].encoding, rows[i].in, 256, rows[i].want);
	}
}

static void test_names(void **state)
{
	static const struct { const char *text; enum transfer_encoding want; } names[] = {
		{ "", TRANSFER_PLAIN }, { " \r\n 8BIT \r\n", TRANSFER_PLAIN }, { "binary; x", TRANSFER_PLAIN }, { "7bit(x)", TRANSFER_PLAIN },
		{ " base64 ", TRANSFER_BASE64 }, { "\"base64\"", TRANSFER_BASE64 }, { "base64;", TRANSFER_BASE64 }, { "base 64", TRANSFER_UNKNOWN },
		{ "base-64", TRANSFER_UNKNOWN }, { "quoted-printablex", TRANSFER_UNKNOWN }, { "quoted-printable (x)", TRANSFER_QP }, { "X-UUE", TRANSFER_UU },
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		assert_int_equal(transfer_find(names[i].text, strlen(names[i].text)), names[i].want);
	assert_int_equal(transfer_find("base64\0x", 8), TRANSFER_BASE64);
	assert_int_equal(transfer_find("\0", 1), TRANSFER_PLAIN);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_rows), cmocka_unit_test(test_names) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
