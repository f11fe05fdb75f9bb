/* Aggregate reports as others write them: what is read of good ones, odd ones and bad ones; and that what we write comes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <unistd.h>

#include "filters/charset.h"
#include "policy/dmarc_report_read.h"
#include "policy/dmarc_report_xml.h"
#include "support/random.h"
#include "support/scarce.h"

static char why[256];

static int read_pieces(const char *p, size_t len, size_t piece, struct dmarc_report **out)
{
	AUTO(dmarc_report_reader) struct dmarc_report_reader *rd = dmarc_report_reader_new();
	int rc = rd ? 0 : -ENOMEM;

	if (!rd)
		return rc;
	for (size_t at = 0; at < len && !rc; at += piece)
		rc = dmarc_report_reader_add(rd, p + at, len - at < piece ? len - at : piece);
	if (!rc)
		rc = dmarc_report_reader_end(rd, out);
	snprintf(why, sizeof(why), "%s", dmarc_report_reader_why(rd));
	return rc;
}

/* --- equal --- */

static void same(const char *a, const char *b)
{
	assert_true(!a == !b);
	if (a)
		assert_string_equal(a, b);
}

static void same_record(const struct dmarc_report_record *a, const struct dmarc_report_record *b)
{
	same(a->source_ip, b->source_ip);
	assert_int_equal(a->count, b->count);
	assert_int_equal(a->disposition, b->disposition);
	assert_int_equal(a->dkim_aligned, b->dkim_aligned);
	assert_int_equal(a->spf_aligned, b->spf_aligned);
	same(a->header_from, b->header_from);
	same(a->envelope_from, b->envelope_from);
	same(a->envelope_to, b->envelope_to);
	assert_int_equal(a->reason_count, b->reason_count);
	for (size_t i = 0; i < a->reason_count; i++) {
		assert_int_equal(a->reasons[i].type, b->reasons[i].type);
		same(a->reasons[i].comment, b->reasons[i].comment);
	}
	assert_int_equal(a->dkim_count, b->dkim_count);
	for (size_t i = 0; i < a->dkim_count; i++) {
		same(a->dkim[i].domain, b->dkim[i].domain);
		same(a->dkim[i].selector, b->dkim[i].selector);
		assert_int_equal(a->dkim[i].result, b->dkim[i].result);
		same(a->dkim[i].human_result, b->dkim[i].human_result);
	}
	same(a->spf.domain, b->spf.domain);
	assert_int_equal(a->spf.scope, b->spf.scope);
	assert_int_equal(a->spf.result, b->spf.result);
	same(a->spf.human_result, b->spf.human_result);
}

static void same_report(const struct dmarc_report *a, const struct dmarc_report *b)
{
	same(a->org_name, b->org_name);
	same(a->email, b->email);
	same(a->extra_contact, b->extra_contact);
	same(a->report_id, b->report_id);
	same(a->generator, b->generator);
	assert_int_equal(a->begin_s, b->begin_s);
	assert_int_equal(a->end_s, b->end_s);
	assert_int_equal(a->error_count, b->error_count);
	for (size_t i = 0; i < a->error_count; i++)
		same(a->errors[i], b->errors[i]);
	same(a->policy.domain, b->policy.domain);
	same(a->policy.fo, b->policy.fo);
	assert_int_equal(a->policy.discovery, b->policy.discovery);
	assert_int_equal(a->policy.p, b->policy.p);
	assert_int_equal(a->policy.sp, b->policy.sp);
	assert_int_equal(a->policy.np, b->policy.np);
	assert_int_equal(a->policy.adkim, b->policy.adkim);
	assert_int_equal(a->policy.aspf, b->policy.aspf);
	assert_int_equal(a->policy.testing, b->policy.testing);
	assert_int_equal(a->policy.pct, b->policy.pct);
	assert_int_equal(a->record_count, b->record_count);
	for (size_t i = 0; i < a->record_count; i++)
		same_record(&a->records[i], &b->records[i]);
}

/* --- what is written is read --- */

/* Without blanks at its ends, which are not kept, and without what is no UTF-8, which is replaced. */
static const char *random_text(void)
{
	static const char *const pieces[] = { "a", "example", ".", "org", "<", ">", "&", "\"", "'", "]]>", "&amp;", " ", "\n", "\r\n", "\t", "\xc3\xa4",
					      "\xe2\x82\xac", "\xf0\x9f\x93\xac", "\x7f", "<!--", "-->", "<![CDATA[", "&#0;", "%s", "\\" };
	static char text[256];
	size_t n = pick(12);

	strcpy(text, n ? "x" : "");
	for (size_t i = 0; i < n; i++)
		strcat(text, ONE_OF(pieces));
	strcat(text, n ? "y" : "");
	return text;
}

static void random_member(struct dmarc_report *r, const char **member, bool needed)
{
	const char *text = random_text();

	if (needed || pick(3))
		assert_int_equal(dmarc_report_text(r, member, text, strlen(text)), 0);
}

static void random_record(struct dmarc_report *r)
{
	static const char *const addresses[] = { "192.0.2.1", "198.51.100.255", "2001:db8::1", "::1", "fe80::1:2:3:4", "2001:db8:1:2:3:4:5:6" };
	struct dmarc_report_record *rec = dmarc_report_record(r, ONE_OF(addresses), pick(100000), NULL);
	char other[256];

	assert_non_null(rec);
	rec->disposition = 1 + pick(4);
	rec->dkim_aligned = 1 + pick(2);
	rec->spf_aligned = 1 + pick(2);
	random_member(r, &rec->header_from, true);
	random_member(r, &rec->envelope_from, false);
	random_member(r, &rec->envelope_to, false);
	for (unsigned i = pick(4); i > 0; i--) {
		const char *text = random_text();

		assert_int_equal(dmarc_report_reason(r, rec, 1 + pick(5), *text ? text : NULL), 0);
	}
	for (unsigned i = pick(4); i > 0; i--) {
		strcpy(other, random_text());
		assert_int_equal(dmarc_report_dkim(r, rec, other, "s1", 1 + pick(7), pick(2) ? random_text() : NULL), 0);
	}
	if (pick(3)) {
		strcpy(other, random_text());
		assert_int_equal(dmarc_report_spf(r, rec, other, pick(2), 1 + pick(8), pick(2) ? random_text() : NULL), 0);
	}
}

static struct dmarc_report *random_report(void)
{
	struct dmarc_report *r = dmarc_report_new();

	assert_non_null(r);
	random_member(r, &r->org_name, true);
	random_member(r, &r->email, true);
	random_member(r, &r->extra_contact, false);
	random_member(r, &r->report_id, true);
	random_member(r, &r->generator, false);
	r->begin_s = pick(1u << 31);
	r->end_s = r->begin_s + 86399;
	if (!pick(3))
		assert_int_equal(dmarc_report_error(r, "one & only"), 0);
	random_member(r, &r->policy.domain, true);
	random_member(r, &r->policy.fo, false);
	r->policy.discovery = pick(3);
	r->policy.p = 1 + pick(3);
	r->policy.sp = pick(4);
	r->policy.np = pick(4);
	r->policy.adkim = pick(3);
	r->policy.aspf = pick(3);
	r->policy.testing = pick(3);
	for (unsigned i = 1 + pick(5); i > 0; i--)
		random_record(r);
	return r;
}

/* Random reports: valid by the RFC's schema, and read back they are what they were. */
static void there_and_back(void **state)
{
	char dir[] = "/tmp/dmarc_report.XXXXXX", path[64], command[256];

	assert_non_null(mkdtemp(dir));
	for (unsigned seed = 0; seed < 300; seed++) {
		AUTO(dmarc_report) struct dmarc_report *r = NULL, *back = NULL;
		AUTO(buf) struct buf xml = BUF_INIT(1 << 20);
		FILE *f;

		random_seed(seed);
		r = random_report();
		assert_int_equal(dmarc_report_xml(r, &xml), 0);
		assert_int_equal(read_pieces(xml.data, xml.len, 1 + seed % 700, &back), 0);
		same_report(r, back);
		snprintf(path, sizeof(path), "%s/%u.xml", dir, seed);
		f = fopen(path, "w");
		assert_non_null(f);
		assert_int_equal(fwrite(xml.data, 1, xml.len, f), xml.len);
		fclose(f);
	}
	snprintf(command, sizeof(command), "cd tests/conformance/dmarc && xmllint --nonet --noout --schema rfc9990.xsd %s/*.xml 2>&1 | "
		 "grep -v ' validates$'; rm -r %s", dir, dir);
	{
		FILE *lint = popen(command, "r");
		char line[512] = "";

		assert_non_null(lint);
		if (fgets(line, sizeof(line), lint))
			fail_msg("xmllint: %s", line);
		pclose(lint);
	}
}

/* --- what others write --- */

#define META "<report_metadata><org_name>example.net</org_name><email>r@example.net</email><report_id>17</report_id>" \
	     "<date_range><begin>1795219200</begin><end>1795305599</end></date_range></report_metadata>"
#define POLICY "<policy_published><domain>example.org</domain><adkim>r</adkim><aspf>r</aspf><p>none</p><sp>none</sp><pct>100</pct></policy_published>"
#define EVALUATED "<policy_evaluated><disposition>none</disposition><dkim>pass</dkim><spf>fail</spf></policy_evaluated>"
#define ROW "<row><source_ip>192.0.2.7</source_ip><count>12</count>" EVALUATED "</row>"
#define IDS "<identifiers><header_from>example.org</header_from></identifiers>"
#define AUTH "<auth_results><spf><domain>example.org</domain><result>softfail</result></spf></auth_results>"
#define RECORD "<record>" ROW IDS AUTH "</record>"
#define WITHIN META POLICY RECORD
#define REPORT "<feedback>" WITHIN "</feedback>"

/* What each must be read as: the same little report. */
static const struct { const char *name, *xml; size_t len; } good[] = {
	{ "plain", REPORT, 0 },
	{ "declared", "<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\n" REPORT, 0 },
	{ "RFC 9990's namespace", "<feedback xmlns=\"urn:ietf:params:xml:ns:dmarc-2.0\"><version>1.0</version>" WITHIN "</feedback>", 0 },
	{ "RFC 7489's namespace", "<feedback xmlns=\"http://dmarc.org/dmarc-xml/0.1\">" WITHIN "</feedback>", 0 },
	{ "schema instance attributes", "<feedback xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">"
	  "<version>1.0</version>" WITHIN "</feedback>", 0 },
	{ "upper case elements", "<FEEDBACK>" WITHIN "</FEEDBACK>", 0 },
	{ "blanks before it", " \r\n\t\n<?xml version=\"1.0\"?>" REPORT, 0 },
	{ "mark of UTF-8", "\xef\xbb\xbf<?xml version=\"1.0\"?>" REPORT, 0 },
	{ "mark and blanks", "\n\xef\xbb\xbf \n<?xml version=\"1.0\"?>" REPORT, 0 },
	{ "text behind it", REPORT "\n-- \nthis is no XML <<<&", 0 },
	{ "NUL behind it", REPORT "\0\0\0", sizeof(REPORT "\0\0\0") - 1 },
	{ "a second root", REPORT "<feedback>", 0 },
	{ "UTF-16 in name only", "<?xml version=\"1.0\" encoding=\"utf-16\"?>" REPORT, 0 },
	{ "ASCII", "<?xml version='1.0' encoding='US-ASCII'?>" REPORT, 0 },
	{ "Latin 1", "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>" REPORT, 0 },
	{ "Windows", "<?xml version=\"1.0\" encoding=\"windows-1252\"?>" REPORT, 0 },
	{ "Cyrillic", "<?xml version=\"1.0\" encoding=\"koi8-r\"?>" REPORT, 0 },
	{ "a schema around it that does not end", "<?xml version=\"1.0\"?><xs:schema xmlns:xs=\"http://www.w3.org/2001/XMLSchema\" "
	  "targetNamespace=\"http://dmarc.org/dmarc-xml/0.1\">" REPORT, 0 },
	{ "comments", "<!-- a --><feedback><!-- b -->" META "<!-- <record> -->" POLICY RECORD "</feedback>", 0 },
	{ "a processing instruction", "<?xml-stylesheet href=\"dmarc.xsl\"?>" REPORT, 0 },
	{ "a document type that declares nothing", "<!DOCTYPE feedback SYSTEM \"http://192.0.2.1/dmarc.dtd\">" REPORT, 0 },
	{ "elements that are not known", "<feedback><version_published/>" META "<x><record><row/></record><feedback/></x>" POLICY RECORD "</feedback>", 0 },
	{ "an extension", "<feedback xmlns=\"urn:ietf:params:xml:ns:dmarc-2.0\" xmlns:ext=\"urn:x\">" META POLICY "<extension><ext:record>1</ext:record>"
	  "</extension><record>" ROW IDS AUTH "<ext:row><count>9</count></ext:row></record></feedback>", 0 },
	{ "another order", "<feedback>" RECORD POLICY META "</feedback>", 0 },
	{ "another order in the record", "<feedback>" META POLICY "<record>" AUTH IDS ROW "</record></feedback>", 0 },
	{ "CDATA", "<feedback>" META POLICY "<record><row><source_ip><![CDATA[192.0.2.7]]></source_ip><count>12</count>" EVALUATED "</row>" IDS AUTH
	  "</record></feedback>", 0 },
	{ "blanks and lines", "<feedback>\n" META "\n" POLICY "\n<record>\n<row>\n<source_ip>\n 192.0.2.7\t</source_ip>\r\n<count> 12 </count>" EVALUATED "</row>\n" IDS
	  AUTH "\n</record>\n</feedback>\n", 0 },
	{ "upper case words", "<feedback>" META "<policy_published><domain>example.org</domain><adkim>R</adkim><aspf>R</aspf><p>None</p><sp>NONE</sp>"
	  "<pct>100</pct></policy_published><record><row><source_ip>192.0.2.7</source_ip><count>12</count><policy_evaluated><disposition>None</disposition>"
	  "<dkim>Pass</dkim><spf>FAIL</spf></policy_evaluated></row>" IDS "<auth_results><spf><domain>example.org</domain><result>SoftFail</result></spf>"
	  "</auth_results></record></feedback>", 0 },
	{ "milliseconds, fractions", "<feedback><report_metadata><org_name>example.net</org_name><email>r@example.net</email><report_id>17</report_id>"
	  "<date_range><begin>1795219200000</begin><end>1795305599.73</end></date_range></report_metadata>" POLICY RECORD "</feedback>", 0 },
	{ "IPv4 within IPv6", "<feedback>" META POLICY "<record><row><source_ip>::ffff:192.0.2.7</source_ip><count>12</count>" EVALUATED "</row>" IDS AUTH
	  "</record></feedback>", 0 },
	{ "brackets", "<feedback>" META POLICY "<record><row><source_ip>[192.0.2.7]</source_ip><count>12</count>" EVALUATED "</row>" IDS AUTH
	  "</record></feedback>", 0 },
	{ "an empty reason", "<feedback>" META POLICY "<record><row><source_ip>192.0.2.7</source_ip><count>12</count><policy_evaluated>"
	  "<disposition>none</disposition><dkim>pass</dkim><spf>fail</spf><reason><type></type><comment></comment></reason><reason/></policy_evaluated></row>"
	  IDS AUTH "</record></feedback>", 0 },
	{ "SPF of the HELO, too", "<feedback>" META POLICY "<record>" ROW IDS "<auth_results><spf><domain>h.example</domain><scope>helo</scope><result>pass</result>"
	  "</spf><spf><domain>example.org</domain><result>softfail</result></spf><spf><domain>z.example</domain><result>pass</result></spf></auth_results></record>"
	  "</feedback>", 0 },
	{ "alignment in other words", "<feedback>" META POLICY "<record><row><source_ip>192.0.2.7</source_ip><count>12</count><policy_evaluated>"
	  "<disposition>none</disposition><dkim>pass</dkim><spf>none</spf></policy_evaluated></row>" IDS AUTH "</record></feedback>", 0 },
};

static void good_ones(void **state)
{
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		size_t len = good[i].len ? good[i].len : strlen(good[i].xml);

		for (int whole = 0; whole < 2; whole++) {
			AUTO(dmarc_report) struct dmarc_report *r = NULL;
			const struct dmarc_report_record *rec;
			int rc = read_pieces(good[i].xml, len, whole ? len : 1, &r);

			if (rc)
				fail_msg("%s: %s", good[i].name, why);
			if (r->record_count != 1)
				fail_msg("%s: %zu records", good[i].name, r->record_count);
			rec = &r->records[0];
			assert_string_equal(r->org_name, "example.net");
			assert_string_equal(r->report_id, "17");
			assert_int_equal(r->begin_s, 1795219200);
			assert_int_equal(r->end_s, 1795305599);
			assert_string_equal(r->policy.domain, "example.org");
			assert_int_equal(r->policy.p, DMARC_REPORT_POLICY_NONE);
			assert_int_equal(r->policy.sp, DMARC_REPORT_POLICY_NONE);
			assert_int_equal(r->policy.np, 0);
			assert_int_equal(r->policy.pct, 100);
			assert_int_equal(r->policy.adkim, DMARC_REPORT_MODE_RELAXED);
			assert_string_equal(rec->source_ip, "192.0.2.7");
			assert_int_equal(rec->count, 12);
			assert_int_equal(rec->disposition, DMARC_REPORT_DISPOSITION_NONE);
			assert_int_equal(rec->dkim_aligned, DMARC_REPORT_ALIGNED_PASS);
			assert_int_equal(rec->spf_aligned, DMARC_REPORT_ALIGNED_FAIL);
			assert_string_equal(rec->header_from, "example.org");
			assert_null(rec->envelope_from);
			assert_int_equal(rec->reason_count, 0);
			assert_int_equal(rec->dkim_count, 0);
			assert_string_equal(rec->spf.domain, "example.org");
			assert_int_equal(rec->spf.result, DMARC_REPORT_SPF_SOFTFAIL);
		}
	}
}

/* UTF-16 with a mark, both ways round. */
static void wide_characters(void **state)
{
	static const char xml[] = "<?xml version=\"1.0\" encoding=\"UTF-16\"?>" REPORT;

	for (int little = 0; little < 2; little++) {
		AUTO(dmarc_report) struct dmarc_report *r = NULL;
		AUTO(buf) struct buf wide = BUF_INIT(1 << 16);

		buf_add(&wide, little ? "\xff\xfe" : "\xfe\xff", 2);
		for (const char *p = xml; *p; p++) {
			buf_addc(&wide, little ? *p : '\0');
			buf_addc(&wide, little ? '\0' : *p);
		}
		assert_int_equal(read_pieces(wide.data, wide.len, 7, &r), 0);
		assert_int_equal(r->record_count, 1);
		assert_string_equal(r->policy.domain, "example.org");
	}
}

static void texts(void **state)
{
	static const struct { const char *head, *in, *out; } rows[] = {
		{ "", "a &amp; b &lt;c&gt; &#x263a;", "a & b <c> \xe2\x98\xba" },
		{ "", "caf\xe9 \x91quoted\x92", "caf\xef\xbf\xbd \xef\xbf\xbdquoted\xef\xbf\xbd" },     /* parsedmarc #122: 0x91 in a URL */
		{ "", "a\x01" "b\x1b[31m", "a\xef\xbf\xbd" "b\xef\xbf\xbd[31m" },
		{ "", "\xc3\xa4\xf0\x9f\x93\xac", "\xc3\xa4\xf0\x9f\x93\xac" },
		{ "", "\xf0\x9f\x93", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
		{ "", "\xed\xa0\x80z", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz" },
		{ "<?xml version='1.0' encoding='iso-8859-1'?>", "caf\xe9", "caf\xc3\xa9" },
		{ "<?xml version='1.0' encoding='windows-1252'?>", "\x80 \x93x\x94", "\xe2\x82\xac \xe2\x80\x9cx\xe2\x80\x9d" },
		{ "<?xml version='1.0' encoding='koi8-r'?>", "\xcd\xc9\xd2", "\xd0\xbc\xd0\xb8\xd1\x80" },
		{ "<?xml version='1.0' encoding='shift_jis'?>", "\x83\x83x", "\xef\xbf\xbd\xef\xbf\xbdx" },
		{ "<?xml version='1.0' encoding='utf-16'?>", "caf\xc3\xa9", "caf\xc3\xa9" },
		{ "", " \n two  words\t", "two  words" },
		{ "", "", "" },
		{ "", "<b>bold</b> tail", "tail" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (size_t piece = 1; piece < 4; piece++) {
			AUTO(dmarc_report) struct dmarc_report *r = NULL;
			char xml[512];

			snprintf(xml, sizeof(xml), "%s<feedback><report_metadata><org_name>%s</org_name></report_metadata></feedback>", rows[i].head, rows[i].in);
			if (read_pieces(xml, strlen(xml), piece, &r))
				fail_msg("row %zu: %s", i, why);
			assert_string_equal(r->org_name, rows[i].out);
		}
}

static void words(void **state)
{
	static const struct { const char *word; enum dmarc_report_spf_result result; } rows[] = {
		{ "pass", DMARC_REPORT_SPF_PASS }, { "hardfail", DMARC_REPORT_SPF_FAIL }, { "Unknown", DMARC_REPORT_SPF_TEMPERROR }, { "error", DMARC_REPORT_SPF_PERMERROR },
		{ "policy", DMARC_REPORT_SPF_POLICY }, { "", 0 }, { "passed", 0 }, { "pass fail", 0 }, { "0", 0 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		AUTO(dmarc_report) struct dmarc_report *r = NULL;
		char xml[512];

		snprintf(xml, sizeof(xml), "<feedback><record><auth_results><spf><domain>a.example</domain><result>%s</result></spf></auth_results></record></feedback>",
			 rows[i].word);
		assert_int_equal(read_pieces(xml, strlen(xml), 1, &r), 0);
		assert_int_equal(r->records[0].spf.result, rows[i].result);
		assert_int_equal(r->records[0].count, 1);
		assert_string_equal(r->records[0].source_ip, "");
	}
}

static void reasons(void **state)
{
	static const struct { const char *xml; enum dmarc_report_override type; const char *comment; } rows[] = {
		{ "<reason><type>mailing_list</type></reason>", DMARC_REPORT_OVERRIDE_MAILING_LIST, NULL },
		{ "<reason><type>sampled_out</type><comment>50</comment></reason>", DMARC_REPORT_OVERRIDE_SAMPLED_OUT, "50" },
		{ "<reason><comment>arc=pass</comment><type>local_policy</type></reason>", DMARC_REPORT_OVERRIDE_LOCAL_POLICY, "arc=pass" },
		{ "<reason><comment>only this</comment></reason>", DMARC_REPORT_OVERRIDE_OTHER, "only this" },
		{ "<reason><type>whitelisted</type></reason>", DMARC_REPORT_OVERRIDE_OTHER, "whitelisted" },
		{ "<reason>forwarded</reason>", DMARC_REPORT_OVERRIDE_FORWARDED, NULL },
		{ "<reason>on our list</reason>", DMARC_REPORT_OVERRIDE_OTHER, "on our list" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		AUTO(dmarc_report) struct dmarc_report *r = NULL;
		char xml[512];

		snprintf(xml, sizeof(xml), "<feedback><record><row><policy_evaluated>%s</policy_evaluated></row></record></feedback>", rows[i].xml);
		assert_int_equal(read_pieces(xml, strlen(xml), 1, &r), 0);
		assert_int_equal(r->records[0].reason_count, 1);
		assert_int_equal(r->records[0].reasons[0].type, rows[i].type);
		same(r->records[0].reasons[0].comment, rows[i].comment);
	}
}

static void numbers(void **state)
{
	static const struct { const char *count; uint64_t is; } rows[] = {
		{ "0", 0 }, { "7", 7 }, { "", 1 }, { "many", 1 }, { "-3", 1 }, { "12abc", 12 }, { "99999999999999999999999999", 1000000000 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		AUTO(dmarc_report) struct dmarc_report *r = NULL;
		char xml[512];

		snprintf(xml, sizeof(xml), "<feedback><report_metadata><date_range><begin>99999999999999999999999</begin><end>-1</end></date_range></report_metadata>"
			 "<policy_published><pct>%s</pct></policy_published><record><row><count>%s</count></row></record></feedback>", rows[i].count, rows[i].count);
		assert_int_equal(read_pieces(xml, strlen(xml), 1, &r), 0);
		assert_int_equal(r->records[0].count, rows[i].is);
		assert_true(r->policy.pct >= -1 && r->policy.pct <= 100);
		assert_int_equal(r->begin_s, 253402300799);
		assert_int_equal(r->end_s, 0);
	}
}

/* --- what is refused --- */

static const struct { const char *name, *xml; int rc; } bad[] = {
	{ "nothing", "", -EBADMSG },
	{ "blanks", " \n\t", -EBADMSG },
	{ "a mark alone", "\xef\xbb\xbf", -EBADMSG },
	{ "a word", "unused", -EBADMSG },                       /* parsedmarc #409: seen for weeks in 2023 */
	{ "HTML", "<!DOCTYPE html><html><body>not found</body></html>", -EBADMSG },
	{ "JSON", "{\"organization-name\": \"x\"}", -EBADMSG },
	{ "other XML", "<?xml version=\"1.0\"?><reports><r/></reports>", -EBADMSG },
	{ "only a declaration", "<?xml version=\"1.0\"?>", -EBADMSG },
	{ "no declaration at all", "<?xml ", -EBADMSG },
	{ "cut off at the root", "<feedback>", -EBADMSG },
	{ "cut off in a tag", "<feedback><report_meta", -EBADMSG },
	{ "cut off in a text", "<feedback>" META POLICY "<record><row><source_ip>192.0.2", -EBADMSG },
	{ "cut off before its end", "<feedback>" WITHIN, -EBADMSG },
	{ "cut off in the end", "<feedback>" WITHIN "</feed", -EBADMSG },
	{ "tags that cross", "<feedback><record><row></record></row></feedback>", -EBADMSG },
	{ "an end that is none's", "<feedback></record></feedback>", -EBADMSG },
	{ "end tag forgotten", "<feedback><report_metadata><report_id>1/report_id></report_metadata></feedback>", -EBADMSG },   /* dmarc-report-viewer #21 */
	{ "bare ampersand", "<feedback><report_metadata><org_name>A & B</org_name></report_metadata></feedback>", -EBADMSG },
	{ "bare bracket", "<feedback><report_metadata><email><a@b.example></email></report_metadata></feedback>", -EBADMSG },
	{ "an entity that nobody declared", "<feedback>&x;</feedback>", -EBADMSG },
	{ "an attribute twice", "<feedback a=\"1\" a=\"2\"/>", -EBADMSG },
	{ "an attribute without quotes", "<feedback a=1/>", -EBADMSG },
	{ "character zero", "<feedback>&#0;</feedback>", -EBADMSG },
	{ "half a surrogate", "<feedback>&#xd800;</feedback>", -EBADMSG },
	{ "an encoding that is not known", "<?xml version=\"1.0\" encoding=\"ebcdic-fr\"?><feedback/>", -EBADMSG },
	{ "an encoding without a name", "<?xml version=\"1.0\" encoding=\"\"?><feedback/>", -EBADMSG },
	{ "an entity", "<!DOCTYPE f [<!ENTITY a \"b\">]><feedback>&a;</feedback>", -EBADMSG },
	{ "an entity that nobody uses", "<!DOCTYPE f [<!ENTITY a \"b\">]><feedback/>", -EBADMSG },
	{ "a billion laughs", "<!DOCTYPE f [<!ENTITY a \"haha\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\"><!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;\">"
	  "<!ENTITY d \"&c;&c;&c;&c;&c;&c;&c;&c;\">]><feedback>&d;</feedback>", -EBADMSG },
	{ "a file", "<!DOCTYPE f [<!ENTITY a SYSTEM \"file:///etc/passwd\">]><feedback><report_metadata><org_name>&a;</org_name></report_metadata></feedback>",
	  -EBADMSG },
	{ "a parameter entity", "<!DOCTYPE f [<!ENTITY % p SYSTEM \"http://192.0.2.1/x\"> %p;]><feedback/>", -EBADMSG },
	{ "an attribute list", "<!DOCTYPE f [<!ATTLIST feedback a CDATA \"x\">]><feedback/>", -EBADMSG },
	{ "a notation", "<!DOCTYPE f [<!NOTATION n SYSTEM \"x\">]><feedback/>", -EBADMSG },
	{ "an empty subset", "<!DOCTYPE f []><feedback/>", -EBADMSG },
	{ "too deep", "<feedback><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a>", -E2BIG },
};

static void bad_ones(void **state)
{
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		for (int whole = 0; whole < 2; whole++) {
			struct dmarc_report *r = (void *)1;
			size_t len = strlen(bad[i].xml);
			int rc = read_pieces(bad[i].xml, len, whole ? len + 1 : 1, &r);

			if (rc != bad[i].rc)
				fail_msg("%s: %d, %s", bad[i].name, rc, why);
			assert_true(*why);
			assert_ptr_equal(r, (void *)1);
		}
}

/* A good one cut anywhere is none. */
static void cut_anywhere(void **state)
{
	static const char xml[] = "<?xml version=\"1.0\"?>\n" REPORT;

	for (size_t len = 0; len < sizeof(xml) - 1; len++) {
		struct dmarc_report *r = NULL;

		assert_int_equal(read_pieces(xml, len, len + 1, &r), -EBADMSG);
	}
}

static int read_repeated(const char *head, const char *unit, size_t times, const char *tail, struct dmarc_report **out)
{
	AUTO(dmarc_report_reader) struct dmarc_report_reader *rd = dmarc_report_reader_new();
	int rc;

	assert_non_null(rd);
	rc = dmarc_report_reader_add(rd, head, strlen(head));
	for (size_t i = 0; i < times && !rc; i++)
		rc = dmarc_report_reader_add(rd, unit, strlen(unit));
	if (!rc)
		rc = dmarc_report_reader_add(rd, tail, strlen(tail));
	if (!rc)
		rc = dmarc_report_reader_end(rd, out);
	snprintf(why, sizeof(why), "%s", dmarc_report_reader_why(rd));
	assert_int_equal(dmarc_report_reader_add(rd, "x", 1), rc);     /* it stays so */
	return rc;
}

static void bounds(void **state)
{
	static const char dkim[] = "<dkim><domain>a.example</domain><selector>s</selector><result>pass</result></dkim>";
	static char block[64 * 1024];
	struct dmarc_report *r = NULL;

	/* lists: the rest is passed over */
	assert_int_equal(read_repeated("<feedback><record><auth_results>", dkim, 500, "</auth_results></record></feedback>", &r), 0);
	assert_int_equal(r->records[0].dkim_count, DMARC_REPORT_DKIM_MAX);
	dmarc_report_free(r);
	assert_int_equal(read_repeated("<feedback><report_metadata>", "<error>e</error>", 500, "</report_metadata></feedback>", &r), 0);
	assert_int_equal(r->error_count, DMARC_REPORT_ERRORS_MAX);
	dmarc_report_free(r);
	assert_int_equal(read_repeated("<feedback><record><row><policy_evaluated>", "<reason><type>other</type></reason>", 500,
				       "</policy_evaluated></row></record></feedback>", &r), 0);
	assert_int_equal(r->records[0].reason_count, DMARC_REPORT_REASONS_MAX);
	dmarc_report_free(r);
	/* text: cut */
	assert_int_equal(read_repeated("<feedback><report_metadata><org_name>", "0123456789", 100000, "</org_name></report_metadata></feedback>", &r), 0);
	assert_int_equal(strlen(r->org_name), DMARC_REPORT_TEXT_MAX);
	dmarc_report_free(r);
	/* records, a tag, all octets: refused */
	assert_int_equal(read_repeated("<feedback>", "<record/>", DMARC_REPORT_RECORDS_MAX, "</feedback>", &r), 0);
	assert_int_equal(r->record_count, DMARC_REPORT_RECORDS_MAX);
	dmarc_report_free(r);
	assert_int_equal(read_repeated("<feedback>", "<record/>", DMARC_REPORT_RECORDS_MAX + 1, "</feedback>", &r), -E2BIG);
	assert_int_equal(read_repeated("<feedback a=\"", "0123456789", 20000, "\"/>", &r), -E2BIG);
	assert_int_equal(read_repeated("<feedback><!--", "0123456789", 20000, "--></feedback>", &r), -E2BIG);
	assert_int_equal(read_repeated("<feedback><?x ", "0123456789", 20000, "?></feedback>", &r), -E2BIG);
	assert_int_equal(read_repeated("<", "abcdefghij", 20000, "/>", &r), -E2BIG);
	memset(block, ' ', sizeof(block) - 1);
	assert_int_equal(read_repeated("<feedback>", block, DMARC_REPORT_READ_MAX / (sizeof(block) - 1) + 1, "</feedback>", &r), -E2BIG);
	/* what the struct may hold in all: some 600 octets for each record */
	memset(block, 'y', sizeof(block) - 1);
	snprintf(block, sizeof(block), "<record><identifiers><header_from>%01020d</header_from></identifiers></record>", 0);
	assert_int_equal(read_repeated("<feedback>", block, DMARC_REPORT_OCTETS_MAX / 1024 + 10, "</feedback>", &r), -E2BIG);
}

static void no_memory(void **state)
{
	for (int n = 1; scarce_begin(n); n++) {
		AUTO(dmarc_report) struct dmarc_report *r = NULL;
		int rc = read_pieces(good[0].xml, strlen(good[0].xml), 64, &r);

		if (!scarce_end()) {
			assert_int_equal(rc, 0);
			assert_true(n > 4);
			return;
		}
		assert_int_equal(rc, -ENOMEM);
	}
}

static int setup(void **state)
{
	const char *missing;

	charset_setup(&missing);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(good_ones),
		cmocka_unit_test(wide_characters),
		cmocka_unit_test(texts),
		cmocka_unit_test(words),
		cmocka_unit_test(reasons),
		cmocka_unit_test(numbers),
		cmocka_unit_test(bad_ones),
		cmocka_unit_test(cut_anywhere),
		cmocka_unit_test(bounds),
		cmocka_unit_test(no_memory),
	};

	return cmocka_run_group_tests_name("dmarc_report_read", tests, setup, NULL);
}
