/* Aggregate reports added up: what a row means, what is the same, and what comes first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "command/report_show.h"
#include "command/report_sum.h"
#include "policy/dmarc_report_read.h"
#include "support/scarce.h"

static struct dmarc_report *report(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static struct dmarc_report *report(const char *fmt, ...)
{
	AUTO(dmarc_report_reader) struct dmarc_report_reader *rd = dmarc_report_reader_new();
	struct dmarc_report *r = NULL;
	char xml[8192];
	va_list ap;
	int n;

	assert_non_null(rd);
	va_start(ap, fmt);
	n = vsnprintf(xml, sizeof(xml), fmt, ap);
	va_end(ap);
	assert_true(n > 0 && (size_t)n < sizeof(xml));
	assert_int_equal(dmarc_report_reader_add(rd, xml, (size_t)n), 0);
	assert_int_equal(dmarc_report_reader_end(rd, &r), 0);
	return r;
}

#define HEAD "<feedback><report_metadata><org_name>%s</org_name><report_id>%s</report_id></report_metadata><policy_published><domain>%s</domain></policy_published>"
#define ROW "<record><row><source_ip>%s</source_ip><count>%d</count><policy_evaluated><dkim>%s</dkim><spf>%s</spf>%s</policy_evaluated></row>" \
	    "<identifiers><header_from>%s</header_from></identifiers><auth_results>%s</auth_results></record>"
#define DKIM(domain, result) "<dkim><domain>" domain "</domain><result>" result "</result></dkim>"
#define SPF(domain, result) "<spf><domain>" domain "</domain><result>" result "</result></spf>"
#define REASON(type, comment) "<reason><type>" type "</type><comment>" comment "</comment></reason>"

static void classes(void **state)
{
	static const struct { const char *dkim, *spf, *reason, *auth; enum report_class class; } rows[] = {
		{ "pass", "pass", "", DKIM("example.org", "pass") SPF("example.org", "pass"), REPORT_PASS },
		{ "pass", "fail", "", DKIM("example.org", "pass"), REPORT_PASS_DKIM },
		{ "fail", "pass", "", SPF("example.org", "pass"), REPORT_PASS_SPF },
		{ "fail", "pass", REASON("forwarded", ""), "", REPORT_PASS_SPF },
		{ "fail", "fail", REASON("forwarded", ""), SPF("example.org", "fail"), REPORT_FORWARDED },
		{ "fail", "fail", REASON("mailing_list", ""), DKIM("list.example", "pass"), REPORT_FORWARDED },
		{ "fail", "fail", REASON("trusted_forwarder", ""), "", REPORT_FORWARDED },
		{ "fail", "fail", REASON("local_policy", "ARC=pass as[1].d=x"), "", REPORT_FORWARDED },
		{ "fail", "fail", REASON("local_policy", "we know them"), "", REPORT_NOTHING },
		{ "fail", "fail", REASON("sampled_out", ""), "", REPORT_NOTHING },
		{ "fail", "fail", "", DKIM("mail.example.org", "pass"), REPORT_STRICT },
		{ "fail", "fail", "", SPF("BOUNCE.Example.Org", "pass"), REPORT_STRICT },
		{ "fail", "fail", "", DKIM("other.example", "pass"), REPORT_OTHER },
		{ "fail", "fail", "", SPF("badexample.org", "pass"), REPORT_OTHER },
		{ "fail", "fail", "", DKIM("other.example", "pass") DKIM("example.org", "fail"), REPORT_BROKEN },
		{ "fail", "fail", "", DKIM("s.example.org", "permerror"), REPORT_BROKEN },
		{ "fail", "fail", "", DKIM("example.org", "nonsense"), REPORT_BROKEN },
		{ "fail", "fail", "", DKIM("example.org", "temperror"), REPORT_DNS },
		{ "fail", "fail", "", SPF("example.org", "temperror"), REPORT_DNS },
		{ "fail", "fail", "", DKIM("example.org", "none"), REPORT_NOTHING },
		{ "fail", "fail", "", DKIM("other.example", "fail") SPF("example.org", "softfail"), REPORT_NOTHING },
		{ "fail", "fail", "", DKIM("", "pass"), REPORT_OTHER },
		{ "fail", "fail", "", "", REPORT_NOTHING },
		{ "", "", "", "", REPORT_NOTHING },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		AUTO(report_sum) struct report_sum *s = report_sum_new();

		assert_int_equal(report_sum_add(s, report(HEAD ROW "</feedback>", "r", "1", "example.org", "192.0.2.1", 3, rows[i].dkim, rows[i].spf, rows[i].reason,
							  "www.example.org", rows[i].auth)), 0);
		assert_int_equal(report_sum_finish(s), 0);
		if (s->domain[0].row[0].class != rows[i].class)
			fail_msg("row %zu: %s", i, report_class_name(s->domain[0].row[0].class));
		assert_int_equal(s->domain[0].class[rows[i].class], 3);
		assert_int_equal(s->domain[0].passed, rows[i].class < REPORT_FORWARDED ? 3 : 0);
	}
}

static void add(struct report_sum *s, const char *org, const char *id, const char *domain, const char *ip, int count)
{
	assert_int_equal(report_sum_add(s, report(HEAD ROW "</feedback>", org, id, domain, ip, count, "pass", "pass", "", domain, "")), 0);
}

static void sums(void **state)
{
	AUTO(report_sum) struct report_sum *s = report_sum_new();

	add(s, "r", "1", "small.example", "192.0.2.1", 1);
	add(s, "r", "2", "example.org", "192.0.2.1", 5);
	add(s, "r", "3", "EXAMPLE.org", "192.0.2.2", 7);
	add(s, "q", "2", "example.org", "::ffff:192.0.2.1", 6);         /* another reporter with that id */
	add(s, "R", "2", "example.org", "192.0.2.9", 100);              /* the same once more */
	add(s, "", "", "example.org", "192.0.2.3", 1);
	add(s, "", "", "example.org", "192.0.2.3", 1);                  /* without an id nothing is known of it */
	assert_int_equal(report_sum_finish(s), 0);
	assert_int_equal(s->domain_count, 2);
	assert_int_equal(s->domain[0].messages, 20);
	assert_int_equal(s->domain[0].duplicates, 1);
	assert_int_equal(s->domain[0].report_count, 5);
	assert_int_equal(s->domain[0].source_count, 3);
	assert_string_equal(s->domain[0].source[0].ip, "192.0.2.1");
	assert_int_equal(s->domain[0].source[0].messages, 11);
	assert_int_equal(s->domain[0].source[2].messages, 2);
	assert_string_equal(s->domain[1].name, "small.example");
}

/* Reports that say next to nothing. */
static void empty_ones(void **state)
{
	AUTO(report_sum) struct report_sum *s = report_sum_new();
	AUTO(buf) struct buf out = BUF_INIT(REPORT_SHOW_MAX);
	json_t *all, *wrong = json_array();
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	assert_int_equal(report_sum_finish(s), 0);
	assert_int_equal(report_sum_add(s, report("<feedback/>")), 0);
	assert_int_equal(report_sum_add(s, report("<feedback><record/></feedback>")), 0);
	assert_int_equal(report_sum_add(s, report("<feedback><record><auth_results><dkim/><spf/></auth_results><row><count>0</count></row></record></feedback>")), 0);
	assert_int_equal(report_sum_finish(s), 0);
	assert_int_equal(s->domain_count, 1);
	assert_int_equal(s->domain[0].messages, 1);
	report_show(&s->domain[0], 0, &out);
	assert_false(out.failed);
	assert_non_null(strstr(buf_str(&out), "an address that is not told: 1 message"));
	assert_int_equal(report_json(s, wrong, f), 0);
	fclose(f);
	all = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(all);
	assert_int_equal(json_integer_value(json_object_get(json_array_get(json_object_get(all, "domains"), 0), "messages")), 1);
	json_decref(all);
	json_decref(wrong);
	free(text);
}

static void no_memory(void **state)
{
	for (int n = 1;; n++) {
		struct dmarc_report *r[3];
		struct report_sum *s;
		int rc = 0;

		for (int i = 0; i < 3; i++)
			r[i] = report(HEAD ROW "</feedback>", "r", i ? "2" : "1", i ? "b.example" : "a.example", "192.0.2.1", 1, "pass", "pass", "", "x", "");
		scarce_begin(n);
		s = report_sum_new();
		for (int i = 0; i < 3; i++)
			if (s)
				rc |= report_sum_add(s, r[i]);
			else
				dmarc_report_free(r[i]);
		if (s && !rc)
			rc = report_sum_finish(s);
		report_sum_free(s);
		if (!scarce_end()) {
			assert_int_equal(rc, 0);
			return;
		}
		assert_true(!s || rc == -ENOMEM);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(classes),
		cmocka_unit_test(sums),
		cmocka_unit_test(empty_ones),
		cmocka_unit_test(no_memory),
	};

	return cmocka_run_group_tests_name("report_sum", tests, NULL, NULL);
}
