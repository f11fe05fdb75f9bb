#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/evp.h>

#include "rua/rua_mail.h"

enum { BOUND = 1 << 20 };

static const char *const to[] = { "dmarc@example.com", "rua@reports.example.net" };

static const struct rua_mail plain = {
	.from = "postmaster@example.org", .host = "mx.example.org", .org = "Example", .domain = "example.com", .report_id = "20779.example.com@mx.example.org",
	.begin_s = 1795219200, .end_s = 1795305599, .messages = 17, .rows = 3, .now_s = 1795309200, .to = to, .to_count = 2,
};

static void make(const struct rua_mail *m, const char *gz, size_t len, struct buf *out)
{
	rua_mail_head(m, out);
	for (size_t n; len > 0; gz += n, len -= n) {
		n = len < 2 * RUA_MAIL_STEP ? len : 2 * RUA_MAIL_STEP;
		rua_mail_lines(gz, n, out);
	}
	rua_mail_tail(m, out);
	assert_false(out->failed);
}

static void check_has(const struct buf *b, const char *text)
{
	if (!strstr(buf_str(b), text))
		fail_msg("no %s in:\n%s", text, buf_str(b));
}

/* CRLF only, ASCII without controls, no line over 998 octets, as one can write it in any session. */
static void check_lines(const struct buf *b)
{
	size_t line = 0;

	for (size_t i = 0; i < b->len; i++) {
		unsigned char c = (unsigned char)b->data[i];

		if (c == '\r' && i + 1 < b->len && b->data[i + 1] == '\n') {
			line = 0;
			i++;
			continue;
		}
		assert_true(c == '\t' || (c >= ' ' && c < 0x7f));
		assert_true(++line <= 998);
	}
	assert_int_equal(line, 0);
}

static void test_fields(void **state)
{
	AUTO(buf) struct buf out = BUF_INIT(BOUND), again = BUF_INIT(BOUND);

	make(&plain, "gz", 2, &out);
	check_lines(&out);
	check_has(&out, "Date: Sun, 22 Nov 2026 01:00:00 +0000\r\n");
	check_has(&out, "\r\nFrom: <postmaster@example.org>\r\n");
	check_has(&out, "\r\nTo: <dmarc@example.com>,\r\n\t<rua@reports.example.net>\r\n");
	check_has(&out, "\r\nSubject: Report Domain: example.com\r\n Submitter: example.org\r\n Report-ID: <20779.example.com@mx.example.org>\r\n");
	check_has(&out, "\r\nMessage-ID: <20779.example.com@mx.example.org>\r\n");
	check_has(&out, "\r\nAuto-Submitted: auto-generated\r\n");
	check_has(&out, "\r\nContent-Type: multipart/mixed;\r\n");
	check_has(&out, "\r\nContent-Type: application/gzip;\r\n\tname=\"mx.example.org!example.com!1795219200!1795305599.xml.gz\"\r\n");
	check_has(&out, "\tfilename=\"mx.example.org!example.com!1795219200!1795305599.xml.gz\"\r\n\r\nZ3o=\r\n\r\n--=_gatepost_20779_example_com_mx_example_org--\r\n");
	check_has(&out, "  Messages:   17 in 3 rows\r\n");
	check_has(&out, "\r\nContent-Type: text/plain; charset=us-ascii\r\nContent-Transfer-Encoding: 7bit\r\n");
	make(&plain, "gz", 2, &again);
	assert_string_equal(buf_str(&out), buf_str(&again));
}

/* Whatever stands in the texts, no field and no line is added. */
static void test_texts(void **state)
{
	static const struct { const char *id, *org, *contact; } rows[] = {
		{ "1", "Example", "https://example.org/" },
		{ "a\r\nBcc: x@example.com\r\n\r\n--=_gatepost", "Example", NULL },
		{ "<1>@x", "S\303\266hne & T\303\266chter", "Grafschaft 1, \344" },
		{ "", "", "" },
		{ "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
		  "01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
		  "01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789", NULL },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(buf) struct buf out = BUF_INIT(BOUND);
		struct rua_mail m = plain;
		const char *body;

		m.report_id = rows[i].id;
		m.org = rows[i].org;
		m.contact = rows[i].contact;
		make(&m, "", 0, &out);
		check_lines(&out);
		body = strstr(buf_str(&out), "\r\n\r\n");
		for (const char *p = strstr(buf_str(&out), "Bcc:"); p; p = strstr(p + 1, "Bcc:"))
			assert_true(p > body || p[-1] != '\n');
		assert_null(strstr(buf_str(&out), "\nBcc:"));
		check_has(&out, i == 2 ? "charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n" : "charset=us-ascii");
		if (i == 2) {
			check_has(&out, "S=C3=B6hne & T=C3=B6chter");
			check_has(&out, "Message-ID: <_1_@x>\r\n");
		}
		if (i == 0)
			check_has(&out, "Message-ID: <1@example.org>\r\n");
	}
}

/* Two domains that differ behind a long beginning only have two ids, each as it stands in the report. */
static void test_long_id(void **state)
{
	AUTO(buf) struct buf out = BUF_INIT(BOUND), field = BUF_INIT(BOUND);
	char name[254], id[560];
	struct rua_mail m = plain;

	for (size_t i = 0; i < sizeof(name) - 1; i++)
		name[i] = i % 64 == 63 ? '.' : 'a';
	name[sizeof(name) - 1] = '\0';
	snprintf(id, sizeof(id), "1795219200.%s@%s", name, name);
	m.domain = name;
	m.report_id = id;
	make(&m, "gz", 2, &out);
	check_lines(&out);
	buf_addf(&field, "\r\n Report-ID: <%s>\r\nMessage-ID: <%s>\r\n", id, id);
	check_has(&out, buf_str(&field));
}

/* What is attached comes out as it went in, whatever its length. */
static void test_base64(void **state)
{
	char gz[400];

	for (size_t i = 0; i < sizeof(gz); i++)
		gz[i] = (char)(i * 7);
	for (size_t len = 0; len <= sizeof(gz); len++) {
		AUTO(buf) struct buf out = BUF_INIT(BOUND), text = BUF_INIT(BOUND);
		unsigned char back[512];
		const char *p, *end;
		int n;

		make(&plain, gz, len, &out);
		p = strstr(strstr(buf_str(&out), "filename="), "\r\n\r\n") + 4;
		end = strstr(p, "\r\n--=_");
		for (; p < end; p++) {
			const char *stop = strstr(p, "\r\n");

			assert_true(stop - p <= 76);
			buf_add(&text, p, (size_t)(stop - p));
			p = stop + 1;
		}
		n = EVP_DecodeBlock(back, (const unsigned char *)buf_str(&text), (int)text.len);
		assert_int_equal(n, (int)((len + 2) / 3 * 3));
		assert_memory_equal(back, gz, len);
	}
}

static void test_bound(void **state)
{
	AUTO(buf) struct buf out = BUF_INIT(100);

	rua_mail_head(&plain, &out);
	rua_mail_lines("x", 1, &out);
	rua_mail_tail(&plain, &out);
	assert_true(out.failed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_long_id),
		cmocka_unit_test(test_base64),
		cmocka_unit_test(test_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
