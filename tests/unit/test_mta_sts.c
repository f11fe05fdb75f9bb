/* mta_sts: records, policies, and the hosts that they allow */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hop/mta_sts.h"
#include "tests/support/dns_table.h"

#define ID32 "abcdefghijklmnopqrstuvwxyz012345"

static void test_records(void **state)
{
	static const struct {
		const char *text;
		int rc;
		const char *id;
	} rows[] = {
		{ "v=STSv1; id=20160831085700Z;", 0, "20160831085700Z" },
		{ "v=STSv1; id=1", 0, "1" },
		{ "v=STSv1;id=1;", 0, "1" },
		{ "v=STSv1 ;\tid=1 ; ", 0, "1" },
		{ "v=STSv1; id=" ID32, 0, ID32 },
		{ "v=STSv1; x.y-z_1=a:b; id=7", 0, "7" },
		{ "v=STSv1; id=1; id=2", 0, "1" },
		{ "", -ENOENT, NULL },
		{ "v=spf1 -all", -ENOENT, NULL },
		{ "v=STSv2; id=1", -ENOENT, NULL },
		{ "v=STSv12; id=1", -ENOENT, NULL },
		{ "V=STSv1; id=1", -ENOENT, NULL },
		{ "v=stsv1; id=1", -ENOENT, NULL },
		{ " v=STSv1; id=1", -ENOENT, NULL },
		{ "id=1; v=STSv1", -ENOENT, NULL },
		{ "v=STSv1", -EBADMSG, NULL },
		{ "v=STSv1 ", -EBADMSG, NULL },
		{ "v=STSv1;", -EBADMSG, NULL },
		{ "v=STSv1; ;id=1", -EBADMSG, NULL },
		{ "v=STSv1; id=", -EBADMSG, NULL },
		{ "v=STSv1; id=" ID32 "6", -EBADMSG, NULL },
		{ "v=STSv1; id=a-b", -EBADMSG, NULL },
		{ "v=STSv1; id=a b", -EBADMSG, NULL },
		{ "v=STSv1; id =1", -EBADMSG, NULL },
		{ "v=STSv1; ID=1", -EBADMSG, NULL },    /* another field; the id is missing */
		{ "v=STSv1; id=1; x", -EBADMSG, NULL },
		{ "v=STSv1; id=1; x=", -EBADMSG, NULL },
		{ "v=STSv1; id=1; x=a=b", -EBADMSG, NULL },
		{ "v=STSv1; id=1; -x=a", -EBADMSG, NULL },
		{ "v=STSv1; id=1; =a", -EBADMSG, NULL },
		{ "v=STSv1; id=1; x=a b", -EBADMSG, NULL },
		{ "v=STSv1; id=1; x=\177", -EBADMSG, NULL },
		{ "v=STSv1; id=1; x=\303\244", -EBADMSG, NULL },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char id[MTA_STS_ID_MAX + 1] = "untouched";
		size_t n = strlen(rows[i].text);
		char *copy = malloc(n ? n : 1);         /* without a NUL behind it */
		int rc;

		memcpy(copy, rows[i].text, n);
		rc = mta_sts_record(copy, n, id);
		free(copy);
		if (rc != rows[i].rc || strcmp(id, rows[i].id ? rows[i].id : "untouched") != 0)
			fail_msg("%s: %d %s", rows[i].text, rc, id);
	}
}

static void test_ids(void **state)
{
	static const struct {
		const char *name, *zone;
		int rc;
	} rows[] = {
		{ "one", "d.example TXT v=STSv1; id=5", 0 },
		{ "in pieces", "d.example TXT \"v=STS\" \"v1; id\" \"=5;\"", 0 },
		{ "among others", "d.example TXT hello\nd.example TXT v=STSv1; id=5\nd.example TXT v=spf1 -all", 0 },
		{ "none", "d.example TXT hello", -ENOENT },
		{ "two", "d.example TXT v=STSv1; id=5\nd.example TXT v=STSv1; id=6", -ENOENT },
		{ "three", "d.example TXT v=STSv1; id=5\nd.example TXT v=STSv1; id=6\nd.example TXT v=STSv1; id=7", -ENOENT },
		{ "one, one malformed", "d.example TXT v=STSv1; id=5\nd.example TXT v=STSv1; id=", -ENOENT },
		{ "malformed, one", "d.example TXT v=STSv1; id=\nd.example TXT v=STSv1; id=5", -ENOENT },
		{ "malformed", "d.example TXT v=STSv1; id=", -ENOENT },
		{ "no data", "d.example NODATA", -ENOENT },
		{ "no name", "e.example NODATA", -ENOENT },
		{ "failure", "d.example SERVFAIL", -ENOENT },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		AUTO(dns_table) struct dns_table *t = dns_table_new();
		struct dns_lookup *l;
		char id[MTA_STS_ID_MAX + 1] = "";
		int rc;

		dns_table_zone(t, rows[i].zone);
		assert_int_equal(dns_start(dns_table_dns(t), "d.example", DNS_TXT, &l), 0);
		rc = mta_sts_id(dns_wait(l), id);
		if (rc != rows[i].rc || (rc == 0 && strcmp(id, "5") != 0))
			fail_msg("%s: %d %s", rows[i].name, rc, id);
		dns_drop(l);
	}
}

#define HEAD "version: STSv1\nmode: enforce\nmax_age: 604800\n"

static void test_policies(void **state)
{
	static const struct {
		const char *name, *text;
		enum mta_sts_mode mode;
		int max_age_s;
		size_t count;
		const char *why;        /* NULL: good */
	} rows[] = {
		{ "LF", HEAD "mx: mx.example.com\n", MTA_STS_ENFORCE, 604800, 1, NULL },
		{ "CRLF", "version: STSv1\r\nmode: testing\r\nmx: *.example.com\r\nmax_age: 1\r\n", MTA_STS_TESTING, 1, 1, NULL },
		{ "no last end", HEAD "mx: mx.example.com", MTA_STS_ENFORCE, 604800, 1, NULL },
		{ "none", "version: STSv1\nmode: none\nmax_age: 86400\n", MTA_STS_NONE, 86400, 0, NULL },
		{ "blanks", "version :STSv1  \nmode\t:  enforce\t\nmax_age:5 \nmx:a.example\n", MTA_STS_ENFORCE, 5, 1, NULL },
		{ "empty lines", "\n" HEAD "\n\r\nmx: a.example\n\n", MTA_STS_ENFORCE, 604800, 1, NULL },
		{ "other fields", HEAD "x-y: \303\244 : z\nmx: a.example\nempty:\n", MTA_STS_ENFORCE, 604800, 1, NULL },
		{ "first counts", HEAD "mode: none\nmax_age: 1\nversion: STSv2\nmx: a.example\nmx: b.example\n", MTA_STS_ENFORCE, 604800, 2, NULL },
		{ "version last", "mode: enforce\nmx: a.example\nmax_age: 1\nversion: STSv1\n", MTA_STS_ENFORCE, 1, 1, NULL },
		{ "long age", "version: STSv1\nmode: none\nmax_age: 9999999999\n", MTA_STS_NONE, MTA_STS_AGE_MAX_S, 0, NULL },
		{ "no age to speak of", "version: STSv1\nmode: none\nmax_age: 0\n", MTA_STS_NONE, 0, 0, NULL },
		{ "upper case, final dot", HEAD "mx: MX.Example.COM.\n", MTA_STS_ENFORCE, 604800, 1, NULL },
		{ "empty", "", 0, 0, 0, "no version" },
		{ "a page", "<html><body>Hello</body></html>\n", 0, 0, 0, "a line without a colon" },
		{ "markup with a colon", "<a href=\"http://x\">\n", 0, 0, 0, "a malformed field name" },
		{ "no version", "mode: none\nmax_age: 1\n", 0, 0, 0, "no version" },
		{ "no mode", "version: STSv1\nmx: a.example\nmax_age: 1\n", 0, 0, 0, "no mode" },
		{ "no age", "version: STSv1\nmode: none\n", 0, 0, 0, "no max_age" },
		{ "no mx", HEAD, 0, 0, 0, "no mx" },
		{ "testing, no mx", "version: STSv1\nmode: testing\nmax_age: 1\n", 0, 0, 0, "no mx" },
		{ "another version", "version: STSv2\nmode: none\nmax_age: 1\n", 0, 0, 0, "another version" },
		{ "version's case", "version: stsv1\nmode: none\nmax_age: 1\n", 0, 0, 0, "another version" },
		{ "name's case", "Version: STSv1\nmode: none\nmax_age: 1\n", 0, 0, 0, "no version" },
		{ "another mode", "version: STSv1\nmode: strict\nmax_age: 1\n", 0, 0, 0, "an unknown mode" },
		{ "empty mode", "version: STSv1\nmode:\nmax_age: 1\n", 0, 0, 0, "an unknown mode" },
		{ "negative age", "version: STSv1\nmode: none\nmax_age: -1\n", 0, 0, 0, "a malformed max_age" },
		{ "empty age", "version: STSv1\nmode: none\nmax_age:\n", 0, 0, 0, "a malformed max_age" },
		{ "11 digits", "version: STSv1\nmode: none\nmax_age: 00000000001\n", 0, 0, 0, "a malformed max_age" },
		{ "age with a unit", "version: STSv1\nmode: none\nmax_age: 7d\n", 0, 0, 0, "a malformed max_age" },
		{ "no colon", HEAD "mx mx.example.com\n", 0, 0, 0, "a line without a colon" },
		{ "no name", HEAD ": mx.example.com\n", 0, 0, 0, "a malformed field name" },
		{ "bad name", HEAD "a b: c\n", 0, 0, 0, "a malformed field name" },
		{ "empty mx", HEAD "mx:\n", 0, 0, 0, "an mx that is no host name" },
		{ "star alone", HEAD "mx: *\n", 0, 0, 0, "an mx that is no host name" },
		{ "star and dot", HEAD "mx: *.\n", 0, 0, 0, "an mx that is no host name" },
		{ "star in a label", HEAD "mx: mx*.example.com\n", 0, 0, 0, "an mx that is no host name" },
		{ "star within", HEAD "mx: a.*.example.com\n", 0, 0, 0, "an mx that is no host name" },
		{ "two stars", HEAD "mx: *.*.example.com\n", 0, 0, 0, "an mx that is no host name" },
		{ "two dots", HEAD "mx: a..example.com\n", 0, 0, 0, "an mx that is no host name" },
		{ "two in a line", HEAD "mx: a.example b.example\n", 0, 0, 0, "an mx that is no host name" },
		{ "bare CR", "version: STSv1\rmode: none\rmax_age: 1\r", 0, 0, 0, "another version" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		AUTO(mta_sts_policy) struct mta_sts_policy *p = NULL;
		size_t n = strlen(rows[i].text);
		char *copy = malloc(n ? n : 1);
		const char *why;
		int rc;

		memcpy(copy, rows[i].text, n);
		rc = mta_sts_parse(copy, n, &p, &why);
		free(copy);
		if (rc != (rows[i].why ? -EBADMSG : 0) || (rows[i].why && strcmp(why, rows[i].why) != 0))
			fail_msg("%s: %d %s", rows[i].name, rc, why);
		if (rc == 0 && (p->mode != rows[i].mode || p->max_age_s != rows[i].max_age_s || p->count != rows[i].count))
			fail_msg("%s: %d %d %zu", rows[i].name, p->mode, p->max_age_s, p->count);
		if (rc == 0) {          /* and its own text is read as the same */
			AUTO(buf) struct buf text = BUF_INIT(MTA_STS_POLICY_MAX);
			AUTO(mta_sts_policy) struct mta_sts_policy *again = NULL;

			assert_int_equal(mta_sts_text(p, &text), 0);
			assert_int_equal(mta_sts_parse(text.data, text.len, &again, &why), 0);
			assert_true(again->mode == p->mode && again->max_age_s == p->max_age_s && again->count == p->count);
			for (size_t k = 0; k < p->count; k++)
				assert_string_equal(again->pattern[k], p->pattern[k]);
		}
	}
}

static void test_bounds(void **state)
{
	AUTO(buf) struct buf b = BUF_INIT(1 << 20);
	AUTO(mta_sts_policy) struct mta_sts_policy *p = NULL;
	const char *why;

	buf_adds(&b, HEAD);
	for (int i = 0; i < MTA_STS_PATTERNS_MAX; i++)
		buf_adds(&b, "mx: a.example\n");
	assert_int_equal(mta_sts_parse(b.data, b.len, &p, &why), 0);
	assert_int_equal(p->count, MTA_STS_PATTERNS_MAX);
	mta_sts_policy_free(p);
	p = NULL;
	buf_adds(&b, "mx: b.example\n");
	assert_int_equal(mta_sts_parse(b.data, b.len, &p, &why), -EBADMSG);
	assert_string_equal(why, "too many mx");
	buf_clear(&b);
	buf_adds(&b, HEAD "mx: a.example\n");
	while (b.len < MTA_STS_POLICY_MAX)
		buf_adds(&b, "\n");
	assert_int_equal(mta_sts_parse(b.data, MTA_STS_POLICY_MAX, &p, &why), 0);
	buf_adds(&b, "\n");
	assert_int_equal(mta_sts_parse(b.data, b.len, &(struct mta_sts_policy *){ NULL }, &why), -EBADMSG);
	assert_string_equal(why, "longer than 64 KiB");
	assert_int_equal(mta_sts_parse("version: STSv1\0\n", 16, &(struct mta_sts_policy *){ NULL }, &why), -EBADMSG);
}

static void test_allows(void **state)
{
	static const char text[] = HEAD "mx: mx.example.com\nmx: *.mail.example.net\n";
	static const struct {
		const char *host;
		bool allowed;
	} rows[] = {
		{ "mx.example.com", true },       { "MX.EXAMPLE.com", true },      { "mx.example.com.", true },
		{ "a.mail.example.net", true },   { "A-1.MAIL.example.net", true }, { "a.mail.example.net.", true },
		{ "mail.example.net", false },    { "a.b.mail.example.net", false }, { ".mail.example.net", false },
		{ "example.com", false },         { "a.mx.example.com", false },   { "xmx.example.com", false },
		{ "mx.example.com.evil.example", false }, { "amail.example.net", false }, { "a.mail.example.netx", false },
		{ "", false },                    { ".", false },                  { "mx", false },
	};
	AUTO(mta_sts_policy) struct mta_sts_policy *p = NULL;
	const char *why;

	assert_int_equal(mta_sts_parse(text, sizeof(text) - 1, &p, &why), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (mta_sts_allows(p, rows[i].host) != rows[i].allowed)
			fail_msg("%s", rows[i].host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_records), cmocka_unit_test(test_ids), cmocka_unit_test(test_policies),
		cmocka_unit_test(test_bounds), cmocka_unit_test(test_allows),
	};

	return cmocka_run_group_tests_name("mta_sts", tests, NULL, NULL);
}
