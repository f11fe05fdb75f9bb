#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/proxy_header.h"
#include "base/proxy_stream.h"
#include "base/task.h"
#include "support/talk.h"

#define SIG "\r\n\r\n\0\r\nQUIT\n"
#define V2(head, rest) SIG head rest, sizeof(SIG head rest) - 1
#define V1(text) text, sizeof(text) - 1
#define A4 "\xc0\0\2\7" "\xc6\x33\x64\1" "\xc8\x22" "\0\x19"           /* 192.0.2.7:51234 to 198.51.100.1:25 */
#define IP6 "\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0"
#define A6 IP6 "\7" IP6 "\1" "\xc8\x22" "\0\x19"
#define MAPPED "\0\0\0\0\0\0\0\0\0\0\xff\xff"
#define TEN "xxxxxxxxxx"
#define FIFTY TEN TEN TEN TEN TEN
#define UNIX FIFTY FIFTY FIFTY FIFTY "xxxxxxxxxxxxxxxx"
#define TOLD "192.0.2.7:51234 198.51.100.1:25"
#define TOLD6 "[2001:db8::7]:51234 [2001:db8::1]:25"

/* shown: both ends; "": not told; NULL: this is no header. */
static const struct { const char *name, *in; size_t len; const char *shown; } rows[] = {
	{ "1, IPv4", V1("PROXY TCP4 192.0.2.7 198.51.100.1 51234 25\r\n"), TOLD },
	{ "1, IPv6", V1("PROXY TCP6 2001:db8::7 2001:db8::1 51234 25\r\n"), TOLD6 },
	{ "1, IPv6 in capitals", V1("PROXY TCP6 2001:DB8::7 2001:DB8:0:0:0:0:0:1 51234 25\r\n"), TOLD6 },
	{ "1, mapped", V1("PROXY TCP6 ::ffff:192.0.2.7 ::ffff:198.51.100.1 51234 25\r\n"), TOLD },
	{ "1, mapped and not", V1("PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 51234 25\r\n"), "192.0.2.7:51234 [2001:db8::1]:25" },
	{ "1, the longest", V1("PROXY TCP6 2001:0db8:1111:2222:3333:4444:5555:6666 2001:0db8:1111:2222:3333:4444:5555:7777 65535 65535\r\n"),
	  "[2001:db8:1111:2222:3333:4444:5555:6666]:65535 [2001:db8:1111:2222:3333:4444:5555:7777]:65535" },
	{ "1, port 0", V1("PROXY TCP4 192.0.2.7 198.51.100.1 0 0\r\n"), "192.0.2.7:0 198.51.100.1:0" },
	{ "1, unknown", V1("PROXY UNKNOWN\r\n"), "" },
	{ "1, unknown with addresses", V1("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n"), "" },
	{ "1, unknown, 107 octets", V1("PROXY UNKNOWN " FIFTY TEN TEN TEN "x" TEN "\r\n"), "" },
	{ "2, IPv4", V2("\x21\x11\0\x0c", A4), TOLD },
	{ "2, IPv6", V2("\x21\x21\0\x24", A6), TOLD6 },
	{ "2, mapped", V2("\x21\x21\0\x24", MAPPED "\xc0\0\2\7" MAPPED "\xc6\x33\x64\1" "\xc8\x22" "\0\x19"), TOLD },
	{ "2, values", V2("\x21\x11\0\x15", A4 "\x04\0\1x" "\x01\0\2h2"), TOLD },
	{ "2, an empty value", V2("\x21\x11\0\x0f", A4 "\x04\0\0"), TOLD },
	{ "2, IPv6 and a value", V2("\x21\x21\0\x28", A6 "\x04\0\1x"), TOLD6 },
	{ "2, a right checksum", V2("\x21\x11\0\x13", A4 "\x03\0\4" "\xae\xec\x56\x7e"), TOLD },
	{ "2, a right checksum between values", V2("\x21\x11\0\x1b", A4 "\x04\0\1x" "\x03\0\4" "\x18\x80\x2a\x05" "\x04\0\1y"), TOLD },
	{ "2, local", V2("\x20\0\0\0", ""), "" },
	{ "2, local with addresses", V2("\x20\x11\0\x0c", A4), "" },
	{ "2, local with what is no value", V2("\x20\0\0\2", "xx"), "" },
	{ "2, local of no family", V2("\x20\xff\0\2", "xx"), "" },
	{ "2, unspecified", V2("\x21\0\0\0", ""), "" },
	{ "2, unspecified with octets", V2("\x21\0\0\3", "xyz"), "" },
	{ "2, a UNIX socket", V2("\x21\x31\0\xd8", UNIX), "" },

	{ "a command", V1("EHLO client.example\r\n"), NULL },
	{ "P for another reason", V1("PING\r\n"), NULL },
	{ "lower case", V1("proxy TCP4 192.0.2.7 198.51.100.1 51234 25\r\n"), NULL },
	{ "a blank in front", V1(" PROXY TCP4 192.0.2.7 198.51.100.1 51234 25\r\n"), NULL },
	{ "TLS", V1("\x16\x03\1\2\0\1"), NULL },
	{ "HTTP", V1("GET / HTTP/1.1\r\n"), NULL },
	{ "NUL", V1("\0"), NULL },
	{ "1, no family", V1("PROXY \r\n"), NULL },
	{ "1, family in lower case", V1("PROXY tcp4 192.0.2.7 198.51.100.1 51234 25\r\n"), NULL },
	{ "1, unknown family", V1("PROXY TCP5 192.0.2.7 198.51.100.1 51234 25\r\n"), NULL },
	{ "1, UDP4", V1("PROXY UDP4 192.0.2.7 198.51.100.1 51234 25\r\n"), NULL },
	{ "1, TCP", V1("PROXY TCP 192.0.2.7 198.51.100.1 51234 25\r\n"), NULL },
	{ "1, UNKNOWNS", V1("PROXY UNKNOWNS\r\n"), NULL },
	{ "1, two blanks", V1("PROXY  TCP4 192.0.2.7 198.51.100.1 51234 25\r\n"), NULL },
	{ "1, two blanks later", V1("PROXY TCP4 192.0.2.7  198.51.100.1 51234 25\r\n"), NULL },
	{ "1, a tab", V1("PROXY TCP4\t192.0.2.7 198.51.100.1 51234 25\r\n"), NULL },
	{ "1, a blank at the end", V1("PROXY TCP4 192.0.2.7 198.51.100.1 51234 25 \r\n"), NULL },
	{ "1, a word more", V1("PROXY TCP4 192.0.2.7 198.51.100.1 51234 25 x\r\n"), NULL },
	{ "1, no ports", V1("PROXY TCP4 192.0.2.7 198.51.100.1\r\n"), NULL },
	{ "1, one port", V1("PROXY TCP4 192.0.2.7 198.51.100.1 51234\r\n"), NULL },
	{ "1, one port and a blank", V1("PROXY TCP4 192.0.2.7 198.51.100.1 51234 \r\n"), NULL },
	{ "1, one address", V1("PROXY TCP4 192.0.2.7\r\n"), NULL },
	{ "1, no addresses", V1("PROXY TCP4\r\n"), NULL },
	{ "1, port 65536", V1("PROXY TCP4 192.0.2.7 198.51.100.1 65536 25\r\n"), NULL },
	{ "1, port of many digits", V1("PROXY TCP4 192.0.2.7 198.51.100.1 4294967321 25\r\n"), NULL },
	{ "1, port with zeros", V1("PROXY TCP4 192.0.2.7 198.51.100.1 0080 25\r\n"), NULL },
	{ "1, port -1", V1("PROXY TCP4 192.0.2.7 198.51.100.1 -1 25\r\n"), NULL },
	{ "1, port +1", V1("PROXY TCP4 192.0.2.7 198.51.100.1 +1 25\r\n"), NULL },
	{ "1, port in hex", V1("PROXY TCP4 192.0.2.7 198.51.100.1 0x19 25\r\n"), NULL },
	{ "1, port in letters", V1("PROXY TCP4 192.0.2.7 198.51.100.1 51234 smtp\r\n"), NULL },
	{ "1, IPv4 as TCP6", V1("PROXY TCP6 192.0.2.7 198.51.100.1 51234 25\r\n"), NULL },
	{ "1, IPv6 as TCP4", V1("PROXY TCP4 2001:db8::7 2001:db8::1 51234 25\r\n"), NULL },
	{ "1, one of each", V1("PROXY TCP4 192.0.2.7 2001:db8::1 51234 25\r\n"), NULL },
	{ "1, octet 256", V1("PROXY TCP4 192.0.2.256 198.51.100.1 51234 25\r\n"), NULL },
	{ "1, three octets", V1("PROXY TCP4 192.0.2 198.51.100.1 51234 25\r\n"), NULL },
	{ "1, octets with zeros", V1("PROXY TCP4 192.000.002.007 198.51.100.1 51234 25\r\n"), NULL },
	{ "1, a name", V1("PROXY TCP4 client.example 198.51.100.1 51234 25\r\n"), NULL },
	{ "1, brackets", V1("PROXY TCP6 [2001:db8::7] [2001:db8::1] 51234 25\r\n"), NULL },
	{ "1, a scope", V1("PROXY TCP6 fe80::1%eth0 2001:db8::1 51234 25\r\n"), NULL },
	{ "1, a long word", V1("PROXY TCP4 " FIFTY TEN TEN " 1 1\r\n"), NULL },
	{ "1, NUL in an address", V1("PROXY TCP4 192.0.2.7\0 198.51.100.1 51234 25\r\n"), NULL },
	{ "1, bare LF", V1("PROXY TCP4 192.0.2.7 198.51.100.1 51234 25\n"), NULL },
	{ "1, bare CR", V1("PROXY TCP4 192.0.2.7 198.51.100.1 51234 25\rx\n"), NULL },
	{ "1, CR inside", V1("PROXY UNKNOWN \r \r\n"), NULL },
	{ "1, LF CR", V1("PROXY UNKNOWN\n\r"), NULL },
	{ "1, 108 octets", V1("PROXY UNKNOWN " FIFTY TEN TEN TEN "x" TEN "x\r\n"), NULL },
	{ "1, without end", V1("PROXY UNKNOWN " FIFTY FIFTY), NULL },
	{ "2, a broken signature", V1("\r\n\r\n\0\r\nQUIT\r\n\x21\x11\0\x0c" A4), NULL },
	{ "2, version 1", V2("\x11\x11\0\x0c", A4), NULL },
	{ "2, version 3", V2("\x31\x11\0\x0c", A4), NULL },
	{ "2, command 2", V2("\x22\x11\0\x0c", A4), NULL },
	{ "2, command 15", V2("\x2f\x11\0\x0c", A4), NULL },
	{ "2, UDP", V2("\x21\x12\0\x0c", A4), NULL },
	{ "2, UDP6", V2("\x21\x22\0\x24", A6), NULL },
	{ "2, a family without transport", V2("\x21\x10\0\x0c", A4), NULL },
	{ "2, transport 3", V2("\x21\x13\0\x0c", A4), NULL },
	{ "2, family 4", V2("\x21\x41\0\x0c", A4), NULL },
	{ "2, a transport without family", V2("\x21\1\0\x0c", A4), NULL },
	{ "2, UNIX datagrams", V2("\x21\x32\0\xd8", UNIX), NULL },
	{ "2, no addresses", V2("\x21\x11\0\0", ""), NULL },
	{ "2, an address short of an octet", V2("\x21\x11\0\x0b", "\xc0\0\2\7" "\xc6\x33\x64\1" "\xc8\x22\0"), NULL },
	{ "2, IPv4 as IPv6", V2("\x21\x21\0\x0c", A4), NULL },
	{ "2, IPv6 short of an octet", V2("\x21\x21\0\x23", IP6 "\7" IP6 "\1" "\xc8\x22" "\0"), NULL },
	{ "2, UNIX short of an octet", V2("\x21\x31\0\xd7", FIFTY FIFTY FIFTY FIFTY "xxxxxxxxxxxxxxx"), NULL },
	{ "2, half a value's head", V2("\x21\x11\0\x0e", A4 "\x04\0"), NULL },
	{ "2, a type alone", V2("\x21\x11\0\x0d", A4 "\x04"), NULL },
	{ "2, a value past the end", V2("\x21\x11\0\x10", A4 "\x04\0\2x"), NULL },
	{ "2, a value far past the end", V2("\x21\x11\0\x10", A4 "\x04\xff\xffx"), NULL },
	{ "2, the second value past the end", V2("\x21\x11\0\x13", A4 "\x04\0\1x" "\x04\0\1"), NULL },
	{ "2, a wrong checksum", V2("\x21\x11\0\x13", A4 "\x03\0\4" "\xae\xec\x56\x70"), NULL },
	{ "2, an address that does not fit the checksum", V2("\x21\x11\0\x13", "\xc0\0\2\6" "\xc6\x33\x64\1" "\xc8\x22" "\0\x19" "\x03\0\4" "\xae\xec\x56\x7e"), NULL },
	{ "2, two checksums", V2("\x21\x11\0\x1a", A4 "\x03\0\4" "\xae\xec\x56\x7e" "\x03\0\4" "\xae\xec\x56\x7e"), NULL },
	{ "2, a checksum of three octets", V2("\x21\x11\0\x12", A4 "\x03\0\3" "\xae\xec\x56"), NULL },
	{ "2, a checksum of five octets", V2("\x21\x11\0\x14", A4 "\x03\0\5" "\xae\xec\x56\x7e\0"), NULL },
	{ "2, longer than we take", V2("\x21\x11\x0f\xf1", A4), NULL },
	{ "2, the longest that can be said", V2("\x21\x11\xff\xff", A4), NULL },
};

static void shown(const struct proxy_header *h, char *out)
{
	char a[NET_TEXT_MAX], b[NET_TEXT_MAX];

	out[0] = '\0';
	if (h->told)
		sprintf(out, "%s %s", net_text_port(&h->source, a), net_text_port(&h->destination, b));
}

/* A copy of exactly that length: nothing behind it is looked at. */
static enum proxy_parse parse(const char *in, size_t len, struct proxy_header *h, size_t *used)
{
	char *p = malloc(len ? len : 1);
	enum proxy_parse rc;

	memcpy(p, in, len);
	rc = proxy_header_parse(p, len, h, used);
	free(p);
	return rc;
}

static void test_parse(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		enum proxy_parse want = rows[i].shown ? PROXY_OK : PROXY_BAD;
		struct proxy_header h;
		size_t used = 0, n;
		char text[200];
		enum proxy_parse rc = parse(rows[i].in, rows[i].len, &h, &used);

		if (rc != want)
			fail_msg("%s: %d", rows[i].name, (int)rc);
		/* Octet by octet: more is asked for until it is certain, and then it stays so. */
		for (n = 0; n < rows[i].len && (rc = parse(rows[i].in, n, &h, &used)) == PROXY_MORE; n++)
			;
		if (rc == PROXY_OK || (want == PROXY_OK && n != rows[i].len))
			fail_msg("%s: after %zu of %zu octets: %d", rows[i].name, n, rows[i].len, (int)rc);
		for (; n <= rows[i].len; n++)
			assert_int_equal(parse(rows[i].in, n, &h, &used), want);
		if (want == PROXY_BAD)
			continue;
		assert_int_equal(used, rows[i].len);
		shown(&h, text);
		if (strcmp(text, rows[i].shown) != 0)
			fail_msg("%s: %s", rows[i].name, text);
	}
}

/* What follows is not part of it. */
static void test_followed(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char more[400];
		struct proxy_header h;
		size_t used;

		if (!rows[i].shown)
			continue;
		memcpy(more, rows[i].in, rows[i].len);
		memcpy(more + rows[i].len, "EHLO x\r\n", 8);
		assert_int_equal(parse(more, rows[i].len + 8, &h, &used), PROXY_OK);
		assert_int_equal(used, rows[i].len);
	}
}

static void test_longest(void **state)
{
	struct proxy_header h;
	size_t used;
	char *p = calloc(1, PROXY_HEADER_MAX);

	/* One value as long as can be. */
	memcpy(p, SIG "\x21\x11\x0f\xf0" A4 "\x04\x0f\xe1", 12 + 4 + 12 + 3);
	assert_int_equal(parse(p, PROXY_HEADER_MAX - 1, &h, &used), PROXY_MORE);
	assert_int_equal(parse(p, PROXY_HEADER_MAX, &h, &used), PROXY_OK);
	assert_int_equal(used, PROXY_HEADER_MAX);
	free(p);
}

static void test_write(void **state)
{
	static const struct { const char *source, *destination, *v1; } ends[] = {
		{ "192.0.2.7:51234", "198.51.100.1:25", "PROXY TCP4 192.0.2.7 198.51.100.1 51234 25\r\n" },
		{ "[2001:db8::7]:51234", "[2001:db8::1]:25", "PROXY TCP6 2001:db8::7 2001:db8::1 51234 25\r\n" },
		{ "192.0.2.7:51234", "[2001:db8::1]:25", "PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 51234 25\r\n" },
		{ "[2001:db8::7]:65535", "198.51.100.1:1", "PROXY TCP6 2001:db8::7 ::ffff:198.51.100.1 65535 1\r\n" },
		{ NULL, NULL, "PROXY UNKNOWN\r\n" },
	};

	for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++) {
		struct proxy_header h = { .told = ends[i].source != NULL }, again;

		if (h.told) {
			assert_int_equal(net_parse_port(ends[i].source, 0, &h.source), 0);
			assert_int_equal(net_parse_port(ends[i].destination, 0, &h.destination), 0);
		}
		for (enum proxy_version v = PROXY_V1; v <= PROXY_V2; v++) {
			AUTO(buf) struct buf out = BUF_INIT(PROXY_V1_MAX);
			size_t used;

			assert_int_equal(proxy_header_write(v, &h, &out), 0);
			if (v == PROXY_V1)
				assert_string_equal(buf_str(&out), ends[i].v1);
			assert_int_equal(parse(out.data, out.len, &again, &used), PROXY_OK);
			assert_int_equal(used, out.len);
			assert_int_equal(again.told, h.told);
			assert_memory_equal(&again.source, &h.source, sizeof(h.source));
			assert_memory_equal(&again.destination, &h.destination, sizeof(h.destination));
		}
	}
}

/* The octets that the specification gives, not only what we read ourselves. */
static void test_octets(void **state)
{
	struct proxy_header h = { .told = true };
	AUTO(buf) struct buf out = BUF_INIT(PROXY_V1_MAX);

	assert_int_equal(net_parse_port("192.0.2.7:51234", 0, &h.source), 0);
	assert_int_equal(net_parse_port("198.51.100.1:25", 0, &h.destination), 0);
	assert_int_equal(proxy_header_write(PROXY_V2, &h, &out), 0);
	assert_int_equal(out.len, 28);
	assert_memory_equal(out.data, SIG "\x21\x11\0\x0c" A4, 28);
	buf_clear(&out);
	h.told = false;
	assert_int_equal(proxy_header_write(PROXY_V2, &h, &out), 0);
	assert_int_equal(out.len, 16);
	assert_memory_equal(out.data, SIG "\x20\0\0\0", 16);
}

/* --- on a stream --- */

static const char *sent;
static size_t sent_len, piece;
static int want_rc;

static void reader(struct stream *s)
{
	struct proxy_header h;
	int64_t begun = clock_ms();

	assert_int_equal(proxy_stream_read(s, want_rc == -ETIMEDOUT ? 60 : TALK_LONG_MS, &h), want_rc);
	if (want_rc == -ETIMEDOUT)
		assert_true(clock_ms() - begun < TALK_LONG_MS);
	if (want_rc < 0)
		return;
	assert_true(h.told);
	assert_int_equal(stream_bytes_in(s), 0);
	talk_want(s, "EHLO x\r\n");
}

static void writer(struct stream *s)
{
	for (size_t at = 0; at < sent_len; at += piece) {
		size_t n = sent_len - at < piece ? sent_len - at : piece;

		if (stream_write(s, sent + at, n) < 0 || stream_flush(s, TALK_LONG_MS) < 0)
			return;
		task_sleep(1);
	}
	/* The other side ends first; but of one that must notice the end by itself we go. */
	if (want_rc != -EPIPE)
		(void)talk_read(s, TALK_LONG_MS);
}

static void over(const char *p, size_t len, size_t pieces, int rc)
{
	sent = p;
	sent_len = len;
	piece = pieces;
	want_rc = rc;
	talk_run(TALK_TCP, reader, writer);
}

static void test_stream(void **state)
{
	static const char v1[] = "PROXY TCP4 192.0.2.7 198.51.100.1 51234 25\r\nEHLO x\r\n", v2[] = SIG "\x21\x11\0\x0c" A4 "EHLO x\r\n";

	over(v1, sizeof(v1) - 1, 1, 0);
	over(v1, sizeof(v1) - 1, 7, 0);
	over(v1, sizeof(v1) - 1, 1000, 0);
	over(v2, sizeof(v2) - 1, 1, 0);
	over(v2, sizeof(v2) - 1, 5, 0);
	over(v2, sizeof(v2) - 1, 1000, 0);
	over("EHLO x\r\n", 8, 1000, -EBADMSG);
	over(v1, 20, 1000, -ETIMEDOUT);
	over(v2, 20, 1, -ETIMEDOUT);
	over("", 0, 1, -ETIMEDOUT);
	over(v1, 20, 1000, -EPIPE);
	over("", 0, 1, -EPIPE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_followed),
		cmocka_unit_test(test_longest),
		cmocka_unit_test(test_write),
		cmocka_unit_test(test_octets),
		cmocka_unit_test_setup_teardown(test_stream, talk_setup, talk_teardown),
	};

	return cmocka_run_group_tests(tests, talk_group_setup, talk_group_teardown);
}
