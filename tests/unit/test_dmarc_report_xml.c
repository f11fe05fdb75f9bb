/* Aggregate reports as XML: what is written is valid by the RFC's schema, whatever the struct holds, and escaped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "policy/dmarc_report_xml.h"
#include "support/scarce.h"

#define SCHEMA "tests/conformance/dmarc/rfc9990.xsd"

/* xmllint's word on it: 0, valid. */
static int valid(const struct buf *xml)
{
	FILE *lint = popen("out=$(xmllint --nonet --noout --schema " SCHEMA " - 2>&1) || { echo \"$out\"; exit 1; }", "w");

	assert_non_null(lint);
	assert_int_equal(fwrite(xml->data, 1, xml->len, lint), xml->len);
	return pclose(lint);
}

static struct dmarc_report *sample(void)
{
	struct dmarc_report *r = dmarc_report_new();
	struct dmarc_report_record *rec;

	assert_non_null(r);
	assert_int_equal(dmarc_report_text(r, &r->org_name, "gate.example.net", 16), 0);
	assert_int_equal(dmarc_report_text(r, &r->email, "postmaster@example.net", 22), 0);
	assert_int_equal(dmarc_report_text(r, &r->report_id, "20261121.1@gate.example.net", 27), 0);
	assert_int_equal(dmarc_report_text(r, &r->generator, "Gatepost 0.1", 12), 0);
	assert_int_equal(dmarc_report_text(r, &r->policy.domain, "example.org", 11), 0);
	r->begin_s = 1795219200;
	r->end_s = 1795305599;
	r->policy.p = DMARC_REPORT_POLICY_REJECT;
	r->policy.sp = DMARC_REPORT_POLICY_QUARANTINE;
	r->policy.np = DMARC_REPORT_POLICY_REJECT;
	r->policy.adkim = DMARC_REPORT_MODE_STRICT;
	r->policy.aspf = DMARC_REPORT_MODE_RELAXED;
	r->policy.discovery = DMARC_REPORT_DISCOVERY_TREEWALK;
	r->policy.testing = DMARC_REPORT_TESTING_NO;
	rec = dmarc_report_record(r, "192.0.2.7", 12, NULL);
	assert_non_null(rec);
	rec->disposition = DMARC_REPORT_DISPOSITION_PASS;
	rec->dkim_aligned = DMARC_REPORT_ALIGNED_PASS;
	rec->spf_aligned = DMARC_REPORT_ALIGNED_FAIL;
	assert_int_equal(dmarc_report_reason(r, rec, DMARC_REPORT_OVERRIDE_LOCAL_POLICY, "arc=pass"), 0);
	assert_int_equal(dmarc_report_text(r, &rec->header_from, "example.org", 11), 0);
	assert_int_equal(dmarc_report_text(r, &rec->envelope_from, "", 0), 0);
	assert_int_equal(dmarc_report_dkim(r, rec, "example.org", "s1", DMARC_REPORT_DKIM_PASS, NULL), 0);
	assert_int_equal(dmarc_report_spf(r, rec, "mx.example.org", DMARC_REPORT_SCOPE_MFROM, DMARC_REPORT_SPF_SOFTFAIL, "~all"), 0);
	return r;
}

static const char expected[] =
	"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
	"<feedback xmlns=\"urn:ietf:params:xml:ns:dmarc-2.0\">\n"
	"  <version>1.0</version>\n"
	"  <report_metadata>\n"
	"    <org_name>gate.example.net</org_name>\n"
	"    <email>postmaster@example.net</email>\n"
	"    <report_id>20261121.1@gate.example.net</report_id>\n"
	"    <date_range>\n"
	"      <begin>1795219200</begin>\n"
	"      <end>1795305599</end>\n"
	"    </date_range>\n"
	"    <generator>Gatepost 0.1</generator>\n"
	"  </report_metadata>\n"
	"  <policy_published>\n"
	"    <domain>example.org</domain>\n"
	"    <discovery_method>treewalk</discovery_method>\n"
	"    <p>reject</p>\n"
	"    <sp>quarantine</sp>\n"
	"    <np>reject</np>\n"
	"    <adkim>s</adkim>\n"
	"    <aspf>r</aspf>\n"
	"    <testing>n</testing>\n"
	"  </policy_published>\n"
	"  <record>\n"
	"    <row>\n"
	"      <source_ip>192.0.2.7</source_ip>\n"
	"      <count>12</count>\n"
	"      <policy_evaluated>\n"
	"        <disposition>pass</disposition>\n"
	"        <dkim>pass</dkim>\n"
	"        <spf>fail</spf>\n"
	"        <reason>\n"
	"          <type>local_policy</type>\n"
	"          <comment>arc=pass</comment>\n"
	"        </reason>\n"
	"      </policy_evaluated>\n"
	"    </row>\n"
	"    <identifiers>\n"
	"      <header_from>example.org</header_from>\n"
	"      <envelope_from></envelope_from>\n"
	"    </identifiers>\n"
	"    <auth_results>\n"
	"      <dkim>\n"
	"        <domain>example.org</domain>\n"
	"        <selector>s1</selector>\n"
	"        <result>pass</result>\n"
	"      </dkim>\n"
	"      <spf>\n"
	"        <domain>mx.example.org</domain>\n"
	"        <scope>mfrom</scope>\n"
	"        <result>softfail</result>\n"
	"        <human_result>~all</human_result>\n"
	"      </spf>\n"
	"    </auth_results>\n"
	"  </record>\n"
	"</feedback>\n";

static void a_report(void **state)
{
	AUTO(dmarc_report) struct dmarc_report *r = sample();
	AUTO(buf) struct buf xml = BUF_INIT(1 << 20);

	assert_int_equal(dmarc_report_xml(r, &xml), 0);
	assert_string_equal(buf_str(&xml), expected);
	assert_int_equal(valid(&xml), 0);
}

/* All that a struct can lack. */
static void nothing_in_it(void **state)
{
	AUTO(dmarc_report) struct dmarc_report *r = dmarc_report_new();
	AUTO(buf) struct buf xml = BUF_INIT(1 << 20);
	struct dmarc_report_record *rec;

	assert_non_null(r);
	assert_int_equal(dmarc_report_xml(r, &xml), -EINVAL);
	assert_int_equal(xml.len, 0);
	rec = dmarc_report_record(r, NULL, 0, NULL);
	assert_non_null(rec);
	assert_int_equal(dmarc_report_dkim(r, rec, NULL, NULL, 0, NULL), 0);
	assert_int_equal(dmarc_report_spf(r, rec, NULL, 0, 0, NULL), 0);
	assert_int_equal(dmarc_report_reason(r, rec, 0, NULL), 0);
	assert_int_equal(dmarc_report_xml(r, &xml), 0);
	assert_non_null(strstr(buf_str(&xml), "<p>none</p>"));
	assert_non_null(strstr(buf_str(&xml), "<disposition>none</disposition>"));
	assert_non_null(strstr(buf_str(&xml), "<type>other</type>"));
	assert_int_equal(valid(&xml), 0);
}

/* What RFC 9990 has no word for. */
static void what_the_schema_has_not(void **state)
{
	AUTO(dmarc_report) struct dmarc_report *r = sample();
	AUTO(buf) struct buf xml = BUF_INIT(1 << 20);
	struct dmarc_report_record *rec = &r->records[0];

	r->policy.pct = 50;
	assert_int_equal(dmarc_report_error(r, "two records"), 0);
	assert_int_equal(dmarc_report_error(r, "rua: no address"), 0);
	assert_int_equal(dmarc_report_reason(r, rec, DMARC_REPORT_OVERRIDE_SAMPLED_OUT, NULL), 0);
	assert_int_equal(dmarc_report_reason(r, rec, DMARC_REPORT_OVERRIDE_FORWARDED, "by hand"), 0);
	rec->spf.scope = DMARC_REPORT_SCOPE_HELO;
	assert_int_equal(dmarc_report_xml(r, &xml), 0);
	assert_non_null(strstr(buf_str(&xml), "<error>two records&#10;rua: no address</error>"));
	assert_non_null(strstr(buf_str(&xml), "<type>other</type>\n          <comment>sampled_out</comment>"));
	assert_non_null(strstr(buf_str(&xml), "<type>other</type>\n          <comment>by hand</comment>"));
	assert_null(strstr(buf_str(&xml), "scope"));
	assert_null(strstr(buf_str(&xml), "pct"));
	assert_int_equal(valid(&xml), 0);
}

static void text_is_made_harmless(void **state)
{
	static const struct { const char *in, *out; } rows[] = {
		{ "plain", "plain" },
		{ "", "" },
		{ "<x>&\"'", "&lt;x&gt;&amp;&quot;&apos;" },
		{ "]]>", "]]&gt;" },
		{ "a\r\n\tb", "a&#13;&#10;&#9;b" },
		{ "\x01\x08\x0b\x1f", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
		{ "\x7f", "\x7f" },
		{ "\xc3\xa4\xf0\x9f\x93\xac", "\xc3\xa4\xf0\x9f\x93\xac" },
		{ "\xff", "\xef\xbf\xbd" },
		{ "\xc3", "\xef\xbf\xbd" },
		{ "\xc3(", "\xef\xbf\xbd(" },
		{ "\xc0\xbc", "\xef\xbf\xbd\xef\xbf\xbd" },                     /* "<" in two octets */
		{ "\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd" },
		{ "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },     /* half of a surrogate pair */
		{ "\xef\xbf\xbe|\xef\xbf\xbf", "\xef\xbf\xbd|\xef\xbf\xbd" },   /* U+FFFE, U+FFFF */
		{ "\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
		{ "<!DOCTYPE x [<!ENTITY a \"b\">]>", "&lt;!DOCTYPE x [&lt;!ENTITY a &quot;b&quot;&gt;]&gt;" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		AUTO(dmarc_report) struct dmarc_report *r = sample();
		AUTO(buf) struct buf xml = BUF_INIT(1 << 20);
		char want[256];

		assert_int_equal(dmarc_report_text(r, &r->extra_contact, rows[i].in, strlen(rows[i].in)), 0);
		assert_int_equal(dmarc_report_error(r, rows[i].in), 0);
		assert_int_equal(dmarc_report_xml(r, &xml), 0);
		snprintf(want, sizeof(want), "<extra_contact_info>%s</extra_contact_info>", rows[i].out);
		assert_non_null(strstr(buf_str(&xml), want));
		assert_int_equal(valid(&xml), 0);
	}
}

static void the_bound_of_the_buffer(void **state)
{
	AUTO(dmarc_report) struct dmarc_report *r = sample();

	size_t enough = 3 + sizeof(expected) - 1;

	for (size_t max = 3; max <= enough; max++) {
		AUTO(buf) struct buf xml = BUF_INIT(max);

		assert_int_equal(buf_adds(&xml, "abc"), 0);
		assert_int_equal(dmarc_report_xml(r, &xml), max < enough ? -ENOSPC : 0);
		assert_string_equal(buf_str(&xml) + 3, max < enough ? "" : expected);
	}
}

static void no_memory(void **state)
{
	AUTO(dmarc_report) struct dmarc_report *r = sample();

	for (int n = 1; scarce_begin(n); n++) {
		AUTO(buf) struct buf xml = BUF_INIT(1 << 20);
		int rc = dmarc_report_xml(r, &xml);

		if (!scarce_end()) {
			assert_int_equal(rc, 0);
			assert_true(n > 3);
			return;
		}
		assert_int_equal(rc, -ENOSPC);
		assert_int_equal(xml.len, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_report),
		cmocka_unit_test(nothing_in_it),
		cmocka_unit_test(what_the_schema_has_not),
		cmocka_unit_test(text_is_made_harmless),
		cmocka_unit_test(the_bound_of_the_buffer),
		cmocka_unit_test(no_memory),
	};

	return cmocka_run_group_tests_name("dmarc_report_xml", tests, NULL, NULL);
}
