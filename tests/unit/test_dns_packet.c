/* dns_packet: whole messages, and the same cut at every byte */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/dns_packet.h"

#define M(s) (const uint8_t *)(s), sizeof(s) - 1
/* header with rcode, 1 question, an answers, ns authorities; the question a.ex IN type */
#define HEAD(rcode, an, ns) "\x12\x34\x81" rcode "\0\1\0" an "\0" ns "\0\0"
#define Q(type) "\1a\2ex\0\0" type "\0\1"
#define NAME "\xc0\x0c"
#define EX "\xc0\x0e"
#define RR(name, type, ttl, len, data) name "\0" type "\0\1\0\0\0" ttl "\0" len data

static const struct {
	const char *name;
	const uint8_t *in;
	size_t len;
	enum dns_type type;
	int rc, rcode;
	size_t count;
	uint32_t ttl_s;
	const char *data;
	size_t data_len;        /* of the first record */
} rows[] = {
	{ "A",             M(HEAD("\x80", "\1", "\0") Q("\1") RR(NAME, "\1", "\x3c", "\4", "\1\2\3\4")), DNS_A, 0, 0, 1, 60, "\1\2\3\4", 4 },
	{ "two A",         M(HEAD("\x80", "\2", "\0") Q("\1") RR(NAME, "\1", "\x3c", "\4", "\1\2\3\4") RR(NAME, "\1", "\x1e", "\4", "\5\6\7\x08")),
	  DNS_A, 0, 0, 2, 30, "\1\2\3\4", 4 },
	{ "CNAME, then A", M(HEAD("\x80", "\2", "\0") Q("\1") RR(NAME, "\5", "\x05", "\4", "\1b" EX) RR("\1b" EX, "\1", "\x1e", "\4", "\1\2\3\4")),
	  DNS_A, 0, 0, 1, 5, "\1\2\3\4", 4 },
	{ "CNAME asked",   M(HEAD("\x80", "\1", "\0") Q("\5") RR(NAME, "\5", "\x05", "\4", "\1b" EX)), DNS_CNAME, 0, 0, 1, 5, "\1b\2ex\0", 6 },
	{ "MX",            M(HEAD("\x80", "\1", "\0") Q("\x0f") RR(NAME, "\x0f", "\x05", "\5", "\0\x0a\1m\xc0\x0e" "")), DNS_MX, -EBADMSG, 0, 0, 0, NULL, 0 },
	{ "MX, right",     M(HEAD("\x80", "\1", "\0") Q("\x0f") RR(NAME, "\x0f", "\x05", "\6", "\0\x0a\1m" EX)), DNS_MX, 0, 0, 1, 5, "\0\x0a\1m\2ex\0", 8 },
	{ "null MX",       M(HEAD("\x80", "\1", "\0") Q("\x0f") RR(NAME, "\x0f", "\x05", "\3", "\0\0\0")), DNS_MX, 0, 0, 1, 5, "\0\0\0", 3 },
	{ "SOA",           M(HEAD("\x80", "\1", "\0") Q("\6") RR(NAME, "\6", "\x05", "\x18", EX EX "\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0\4\0\0\0\5")),
	  DNS_SOA, 0, 0, 1, 5, "\2ex\0\2ex\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0\4\0\0\0\5", 28 },
	{ "TXT",           M(HEAD("\x80", "\1", "\0") Q("\x10") RR(NAME, "\x10", "\x05", "\3", "\2hi")), DNS_TXT, 0, 0, 1, 5, "\2hi", 3 },
	{ "TXT like a pointer", M(HEAD("\x80", "\1", "\0") Q("\x10") RR(NAME, "\x10", "\x05", "\2", "\xc0\x0c")), DNS_TXT, 0, 0, 1, 5, "\xc0\x0c", 2 },
	{ "NXDOMAIN",      M(HEAD("\x83", "\0", "\1") Q("\1") RR(EX, "\6", "\x3c", "\x18", EX EX "\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0\4\0\0\0\x14")), DNS_A, 0, 3, 0, 20, NULL, 0 },
	{ "NODATA",        M(HEAD("\x80", "\0", "\0") Q("\1")), DNS_A, 0, 0, 0, 0, NULL, 0 },
	{ "SERVFAIL",      M(HEAD("\x82", "\0", "\0") Q("\1")), DNS_A, 0, 2, 0, 0, NULL, 0 },
	{ "other class",   M(HEAD("\x80", "\1", "\0") Q("\1") NAME "\0\1\0\3\0\0\0\1\0\4\1\2\3\4"), DNS_A, 0, 0, 0, 0, NULL, 0 },
	{ "header cut",    M("\x12\x34\x81\x80\0\1\0\0\0\0\0"), DNS_A, -EBADMSG, 0, 0, 0, NULL, 0 },
	{ "empty",         M(""), DNS_A, -EBADMSG, 0, 0, 0, NULL, 0 },
	{ "pointer to itself", M(HEAD("\x80", "\1", "\0") Q("\1") RR("\xc0\x16", "\1", "\x3c", "\4", "\1\2\3\4")), DNS_A, -EBADMSG, 0, 0, 0, NULL, 0 },
	{ "pointer ahead", M(HEAD("\x80", "\1", "\0") Q("\1") RR("\xc0\x30", "\1", "\x3c", "\4", "\1\2\3\4")), DNS_A, -EBADMSG, 0, 0, 0, NULL, 0 },
	{ "RDATA too long", M(HEAD("\x80", "\1", "\0") Q("\1") RR(NAME, "\1", "\x3c", "\5", "\1\2\3\4")), DNS_A, -EBADMSG, 0, 0, 0, NULL, 0 },
	{ "name past RDATA", M(HEAD("\x80", "\1", "\0") Q("\x0c") RR(NAME, "\x0c", "\x3c", "\3", "\1b" EX)), DNS_PTR, -EBADMSG, 0, 0, 0, NULL, 0 },
	{ "bytes behind the name", M(HEAD("\x80", "\1", "\0") Q("\x0c") RR(NAME, "\x0c", "\x3c", "\5", "\1b" EX "x")), DNS_PTR, -EBADMSG, 0, 0, 0, NULL, 0 },
	{ "answers missing", M(HEAD("\x80", "\3", "\0") Q("\1") RR(NAME, "\1", "\x3c", "\4", "\1\2\3\4")), DNS_A, -EBADMSG, 0, 0, 0, NULL, 0 },
	{ "label type 01",  M(HEAD("\x80", "\1", "\0") Q("\1") RR("\x41x\0", "\1", "\x3c", "\4", "\1\2\3\4")), DNS_A, -EBADMSG, 0, 0, 0, NULL, 0 },
};

static void messages(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct dns_packet pkt = { 0 };
		int rc = dns_packet_read(rows[i].in, rows[i].len, rows[i].type, &pkt);

		if (rc != rows[i].rc || pkt.count != rows[i].count || pkt.rcode != rows[i].rcode || pkt.ttl_s != rows[i].ttl_s)
			fail_msg("%s: %d, rcode %d, %zu records, ttl %u", rows[i].name, rc, pkt.rcode, pkt.count, pkt.ttl_s);
		assert_true((pkt.owner != NULL) == (pkt.count > 0));
		if (pkt.owner)
			assert_string_equal(pkt.owner, strncmp(rows[i].name, "CNAME, then", 11) == 0 ? "b.ex" : "a.ex");
		if (rows[i].data) {
			assert_int_equal(pkt.rr[0].len, rows[i].data_len);
			assert_memory_equal(pkt.rr[0].data, rows[i].data, rows[i].data_len);
		}
		free(pkt.rr);
		/* cut anywhere: refused, if records were promised */
		for (size_t n = 0; n < rows[i].len && rows[i].count > 0; n++) {
			uint8_t *copy = malloc(n ? n : 1);

			memcpy(copy, rows[i].in, n);
			assert_int_equal(dns_packet_read(copy, n, rows[i].type, &pkt), -EBADMSG);
			free(copy);
		}
	}
}

/* More records than are kept; and a name of pointers to pointers, each to the one before. */
static void bounds(void **state)
{
	static uint8_t p[65535];
	struct dns_packet pkt;
	size_t n = 12;

	p[7] = 400 & 255;
	p[6] = 400 >> 8;
	for (int i = 0; i < 400; i++) {
		memcpy(p + n, "\0\0\1\0\1\0\0\0\5\0\4\1\2\3\4", 15);
		n += 15;
	}
	assert_int_equal(dns_packet_read(p, n, DNS_A, &pkt), 0);
	assert_int_equal(pkt.count, DNS_RR_MAX);
	free(pkt.rr);

	/* the name of the second record: k pointers, one to the other, in the data of the first */
	for (unsigned k = 126; k <= 130; k++) {
		memset(p, 0, sizeof(p));
		p[7] = 2;
		memcpy(p + 12, "\0\0\x10\0\1\0\0\0\5", 9);
		p[21] = (uint8_t)((2 * k + 1) >> 8);
		p[22] = (uint8_t)(2 * k + 1);
		for (unsigned i = 0, to = 12; i < k; i++, to = 23 + 2 * (i - 1)) {
			p[23 + 2 * i] = (uint8_t)(0xc0 | to >> 8);
			p[24 + 2 * i] = (uint8_t)to;
		}
		n = 23 + 2 * k + 1;
		p[n++] = (uint8_t)(0xc0 | (23 + 2 * (k - 2)) >> 8);
		p[n++] = (uint8_t)(23 + 2 * (k - 2));
		memcpy(p + n, "\0\1\0\1\0\0\0\5\0\4\1\2\3\4", 14);
		n += 14;
		int rc = dns_packet_read(p, n, DNS_A, &pkt);

		assert_int_equal(rc, k <= 127 ? 0 : -EBADMSG);
		if (rc == 0)
			free(pkt.rr);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(messages), cmocka_unit_test(bounds) };

	return cmocka_run_group_tests_name("dns_packet", tests, NULL, NULL);
}
