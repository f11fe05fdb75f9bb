/* An aggregate report as a struct: its words, its bounds, and who owns what. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "policy/dmarc_report.h"
#include "support/scarce.h"

static void words(void **state)
{
	static const struct { const struct dmarc_report_words *w; const char *word; unsigned value; } rows[] = {
		{ &dmarc_report_policy_words, "reject", DMARC_REPORT_POLICY_REJECT },
		{ &dmarc_report_policy_words, "None", DMARC_REPORT_POLICY_NONE },
		{ &dmarc_report_policy_words, "QUARANTINE", DMARC_REPORT_POLICY_QUARANTINE },
		{ &dmarc_report_policy_words, "pass", 0 },
		{ &dmarc_report_policy_words, "", 0 },
		{ &dmarc_report_policy_words, "rejec", 0 },
		{ &dmarc_report_policy_words, "reject ", 0 },
		{ &dmarc_report_mode_words, "S", DMARC_REPORT_MODE_STRICT },
		{ &dmarc_report_mode_words, "strict", 0 },
		{ &dmarc_report_testing_words, "y", DMARC_REPORT_TESTING_YES },
		{ &dmarc_report_discovery_words, "treewalk", DMARC_REPORT_DISCOVERY_TREEWALK },
		{ &dmarc_report_disposition_words, "pass", DMARC_REPORT_DISPOSITION_PASS },
		{ &dmarc_report_disposition_words, "reject", DMARC_REPORT_DISPOSITION_REJECT },
		{ &dmarc_report_aligned_words, "fail", DMARC_REPORT_ALIGNED_FAIL },
		{ &dmarc_report_aligned_words, "none", 0 },
		{ &dmarc_report_override_words, "sampled_out", DMARC_REPORT_OVERRIDE_SAMPLED_OUT },
		{ &dmarc_report_override_words, "policy_test_mode", DMARC_REPORT_OVERRIDE_POLICY_TEST_MODE },
		{ &dmarc_report_dkim_words, "permerror", DMARC_REPORT_DKIM_PERMERROR },
		{ &dmarc_report_dkim_words, "softfail", 0 },
		{ &dmarc_report_spf_words, "softfail", DMARC_REPORT_SPF_SOFTFAIL },
		{ &dmarc_report_spf_words, "permerror", DMARC_REPORT_SPF_PERMERROR },
		{ &dmarc_report_scope_words, "helo", DMARC_REPORT_SCOPE_HELO },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(dmarc_report_value(rows[i].w, rows[i].word, strlen(rows[i].word)), rows[i].value);
		if (rows[i].value)
			assert_int_equal(strcasecmp(dmarc_report_word(rows[i].w, rows[i].value), rows[i].word), 0);
	}
	assert_null(dmarc_report_word(&dmarc_report_policy_words, 0));
	assert_null(dmarc_report_word(&dmarc_report_policy_words, 4));
	assert_null(dmarc_report_word(&dmarc_report_override_words, 8));
	assert_null(dmarc_report_word(&dmarc_report_override_words, 1000));
}

static void addresses(void **state)
{
	static const struct { const char *in, *out; } rows[] = {
		{ "192.0.2.1", "192.0.2.1" },
		{ "2001:DB8:0:0::1", "2001:db8::1" },
		{ "::ffff:192.0.2.1", "192.0.2.1" },
		{ "", NULL }, { "192.0.2", NULL }, { "192.0.2.256", NULL }, { "192.0.2.1 ", NULL }, { "2001:db8::g", NULL }, { "fe80::1%eth0", NULL },
		{ "[2001:db8::1]", NULL }, { "mail.example.org", NULL },
	};
	AUTO(dmarc_report) struct dmarc_report *r = dmarc_report_new();

	assert_non_null(r);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int err = 1;
		struct dmarc_report_record *rec = dmarc_report_record(r, rows[i].in, 3, &err);

		assert_int_equal(err, rows[i].out ? 0 : -EINVAL);
		if (rows[i].out) {
			assert_string_equal(rec->source_ip, rows[i].out);
			assert_int_equal(rec->count, 3);
		} else {
			assert_null(rec);
		}
	}
	assert_int_equal(r->record_count, 3);
}

static void long_text_is_cut_between_characters(void **state)
{
	AUTO(dmarc_report) struct dmarc_report *r = dmarc_report_new();
	char text[DMARC_REPORT_TEXT_MAX + 8];

	assert_non_null(r);
	for (size_t tail = 0; tail < 4; tail++) {               /* how many octets of a four-octet character would still fit */
		memset(text, 'a', sizeof(text));
		memcpy(text + DMARC_REPORT_TEXT_MAX - tail, "\xf0\x9f\x93\xac", 4);
		assert_int_equal(dmarc_report_text(r, &r->org_name, text, sizeof(text)), 0);
		assert_int_equal(strlen(r->org_name), DMARC_REPORT_TEXT_MAX - tail);
	}
	memset(text, 0x80, sizeof(text));                       /* no UTF-8 at all: just cut */
	assert_int_equal(dmarc_report_text(r, &r->org_name, text, sizeof(text)), 0);
	assert_int_equal(strlen(r->org_name), DMARC_REPORT_TEXT_MAX);
	assert_int_equal(dmarc_report_text(r, &r->email, "", 0), 0);
	assert_string_equal(r->email, "");
}

static void lists_have_bounds(void **state)
{
	AUTO(dmarc_report) struct dmarc_report *r = dmarc_report_new();
	struct dmarc_report_record *rec;
	int err;

	assert_non_null(r);
	rec = dmarc_report_record(r, "192.0.2.1", 1, NULL);
	assert_non_null(rec);
	for (int i = 0; i < DMARC_REPORT_DKIM_MAX; i++) {
		char selector[16];

		snprintf(selector, sizeof(selector), "s%d", i);
		assert_int_equal(dmarc_report_dkim(r, rec, "example.org", selector, DMARC_REPORT_DKIM_PASS, NULL), 0);
	}
	assert_int_equal(dmarc_report_dkim(r, rec, "example.org", "s", DMARC_REPORT_DKIM_PASS, NULL), -ENOSPC);
	assert_int_equal(rec->dkim_count, DMARC_REPORT_DKIM_MAX);
	assert_string_equal(rec->dkim[0].selector, "s0");
	assert_string_equal(rec->dkim[DMARC_REPORT_DKIM_MAX - 1].selector, "s99");
	for (int i = 0; i < DMARC_REPORT_REASONS_MAX; i++)
		assert_int_equal(dmarc_report_reason(r, rec, DMARC_REPORT_OVERRIDE_OTHER, i ? NULL : "first"), 0);
	assert_int_equal(dmarc_report_reason(r, rec, DMARC_REPORT_OVERRIDE_OTHER, NULL), -ENOSPC);
	assert_string_equal(rec->reasons[0].comment, "first");
	assert_null(rec->reasons[1].comment);
	for (int i = 0; i < DMARC_REPORT_ERRORS_MAX; i++)
		assert_int_equal(dmarc_report_error(r, "rua: no address"), 0);
	assert_int_equal(dmarc_report_error(r, "one too many"), -ENOSPC);
	for (size_t i = 1; i < DMARC_REPORT_RECORDS_MAX; i++)
		assert_non_null(dmarc_report_record(r, "2001:db8::1", i, NULL));
	assert_null(dmarc_report_record(r, "2001:db8::1", 1, &err));
	assert_int_equal(err, -ENOSPC);
	assert_int_equal(r->records[DMARC_REPORT_RECORDS_MAX - 1].count, DMARC_REPORT_RECORDS_MAX - 1);
	assert_int_equal(r->records[0].dkim_count, DMARC_REPORT_DKIM_MAX);
}

static void all_octets_have_a_bound(void **state)
{
	AUTO(dmarc_report) struct dmarc_report *r = dmarc_report_new();
	char text[DMARC_REPORT_TEXT_MAX];
	size_t n = 0;
	const char *member = NULL, *last;
	int rc;

	assert_non_null(r);
	memset(text, 'x', sizeof(text));
	do {
		last = member;
		rc = dmarc_report_text(r, &member, text, sizeof(text));
	} while (!rc && ++n < DMARC_REPORT_OCTETS_MAX / sizeof(text));
	assert_int_equal(rc, -ENOSPC);
	assert_ptr_equal(member, last);
	assert_true(n > DMARC_REPORT_OCTETS_MAX / 2 / sizeof(text));
}

static int build(struct dmarc_report **out)
{
	AUTO(dmarc_report) struct dmarc_report *r = dmarc_report_new();
	struct dmarc_report_record *rec;
	int rc;

	if (!r)
		return -ENOMEM;
	rc = dmarc_report_text(r, &r->org_name, "example.net", 11);
	if (!rc)
		rc = dmarc_report_error(r, "two records");
	for (int i = 0; !rc && i < 40; i++) {
		rec = dmarc_report_record(r, "192.0.2.1", 1, &rc);
		if (rec)
			rc = dmarc_report_dkim(r, rec, "example.org", "s1", DMARC_REPORT_DKIM_FAIL, "body hash");
		if (!rc)
			rc = dmarc_report_spf(r, rec, "example.org", DMARC_REPORT_SCOPE_MFROM, DMARC_REPORT_SPF_PASS, NULL);
		if (!rc)
			rc = dmarc_report_reason(r, rec, DMARC_REPORT_OVERRIDE_LOCAL_POLICY, "arc=pass");
	}
	if (rc)
		return rc;
	*out = r;
	r = NULL;
	return 0;
}

static void no_memory(void **state)
{
	for (int n = 1; scarce_begin(n); n++) {
		AUTO(dmarc_report) struct dmarc_report *r = NULL;
		int rc = build(&r);

		if (!scarce_end()) {
			assert_int_equal(rc, 0);
			assert_int_equal(r->record_count, 40);
			assert_int_equal(r->policy.pct, -1);
			assert_string_equal(r->records[39].spf.domain, "example.org");
			assert_true(n > 4);
			return;
		}
		assert_int_equal(rc, -ENOMEM);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words),
		cmocka_unit_test(addresses),
		cmocka_unit_test(long_text_is_cut_between_characters),
		cmocka_unit_test(lists_have_bounds),
		cmocka_unit_test(all_octets_have_a_bound),
		cmocka_unit_test(no_memory),
	};

	return cmocka_run_group_tests_name("dmarc_report", tests, NULL, NULL);
}
