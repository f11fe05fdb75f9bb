/* The messages of a day as rows: what is merged, what a message of several records counts for, the bounds; and reports as bytes, whole and broken. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/regdomain.h"
#include "policy/rua_aggregate.h"
#include "support/scarce.h"

/* One record of the history. */
struct mail {
	const char *code, *client, *from, *author, *domain, *verdict, *dmarc, *policy, *rua, *dkim;
	int64_t at_ms;
};

static const struct mail plain = { "5f3c-1", "192.0.2.1", "x@b.example", "a.example", "a.example", "accept", "fail", "none", "mailto:r@a.example", NULL, 1000 };

static int setup(void **state)
{
	fact_register_all();
	return regdomain_init(NULL);
}

static int teardown(void **state)
{
	regdomain_release();
	return 0;
}

static int add(struct rua_aggregate *a, const struct mail *m)
{
	struct facts f = { 0 };
	struct history_record r = { .at_ms = m->at_ms, .code = m->code, .client = m->client, .helo = "mx.example", .from = m->from, .verdict = m->verdict,
				    .stage = STAGE_DATA, .facts = { &f } };
	char text[64];
	int rc;

	snprintf(text, sizeof(text), "p=%s", m->policy);
	facts_set(&f, "dmarc", m->dmarc);
	facts_set(&f, "dmarc.policy", m->policy);
	facts_add(&f, "dmarc.published", text);
	facts_set(&f, "dmarc.record_domain", m->domain);
	facts_set(&f, "from.domain", m->author);
	facts_set_empty(&f, "dmarc.rua");
	if (m->rua)
		facts_add(&f, "dmarc.rua", m->rua);
	if (m->dkim)
		facts_add(&f, "dkim.results", m->dkim);
	rc = rua_aggregate_add(a, &r);
	facts_release(&f);
	return rc;
}

/* The report of one domain, as it comes out at the other end; NULL: there is none. */
static struct dmarc_report *report(struct rua_aggregate *a, const char *domain)
{
	static const struct rua_reporter who = { "Site", "postmaster@site.example", NULL, "mx.site.example" };
	AUTO(buf) struct buf head = BUF_INIT(RUA_HEAD_OCTETS_MAX), rows = BUF_INIT(RUA_REPORT_OCTETS_MAX);
	struct dmarc_report *out = dmarc_report_new();

	for (size_t i = 0; i < rua_aggregate_count(a); i++) {
		if (strcmp(rua_aggregate_domain(a, i), domain) != 0)
			continue;
		if (rua_aggregate_head(a, i, &head) == -ENOENT) {
			assert_int_equal(rua_aggregate_rows(a, i, &rows), -ENOENT);
			break;
		}
		assert_int_equal(rua_aggregate_rows(a, i, &rows), 0);
		assert_int_equal(rua_get_report(head.data, head.len, rows.data, rows.len, out), 0);
		assert_int_equal(rua_sign_report(out, &who, 20000), 0);
		return out;
	}
	dmarc_report_free(out);
	return NULL;
}

/* Rows as "source count disposition envelope". */
static char *rows_of(struct rua_aggregate *a, const char *domain)
{
	static char text[4096];
	AUTO(dmarc_report) struct dmarc_report *r = report(a, domain);
	size_t n = 0;

	snprintf(text, sizeof(text), "none");
	for (size_t i = 0; r && i < r->record_count; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s %llu %s %s", i ? ", " : "", r->records[i].source_ip, (unsigned long long)r->records[i].count,
				      dmarc_report_word(&dmarc_report_disposition_words, r->records[i].disposition), r->records[i].envelope_from);
	return text;
}

static void test_merged(void **state)
{
	AUTO(rua_aggregate) struct rua_aggregate *a = rua_aggregate_new(NULL, NULL);
	struct mail m = plain;

	assert_int_equal(add(a, &m), 0);
	m.code = "5f3c-2";
	assert_int_equal(add(a, &m), 0);
	m.code = "6000-1", m.client = "192.0.2.2";
	assert_int_equal(add(a, &m), 0);
	m.code = "6000-2", m.client = "192.0.2.1", m.verdict = "reject";
	assert_int_equal(add(a, &m), 0);
	m.code = "6000-3", m.verdict = "accept", m.from = "y@c.example";
	assert_int_equal(add(a, &m), 0);
	m.code = "6000-4", m.from = "x@b.example", m.dkim = "fail d=b.example s=s";
	assert_int_equal(add(a, &m), 0);
	m.code = "6000-5";
	assert_int_equal(add(a, &m), 0);
	/* Another domain's: another report. */
	m.code = "6000-6", m.domain = m.author = "z.example";
	assert_int_equal(add(a, &m), 0);
	/* One that wants none. */
	m.code = "6000-7", m.domain = m.author = "q.example", m.rua = NULL;
	assert_int_equal(add(a, &m), 0);
	assert_int_equal(rua_aggregate_count(a), 2);
	assert_string_equal(rows_of(a, "a.example"), "192.0.2.1 2 none b.example, 192.0.2.2 1 none b.example, 192.0.2.1 1 reject b.example, "
						     "192.0.2.1 1 none c.example, 192.0.2.1 2 none b.example");
	assert_string_equal(rows_of(a, "z.example"), "192.0.2.1 1 none b.example");
	assert_string_equal(rows_of(a, "q.example"), "none");
}

/* Several records of one message: the best counts, once. */
static void test_several_records(void **state)
{
	static const struct { const char *verdicts[4], *want; } cases[] = {
		{ { "accept", "accept", "accept" }, "192.0.2.1 1 none b.example" },
		{ { "reject", "quarantine", "accept" }, "192.0.2.1 1 none b.example" },
		{ { "accept", "quarantine", "reject" }, "192.0.2.1 1 none b.example" },
		{ { "reject", "quarantine", "discard" }, "192.0.2.1 1 quarantine b.example" },
		{ { "defer", "quarantine", "greylist" }, "192.0.2.1 1 quarantine b.example" },
		{ { "defer", "defer" }, "none" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		AUTO(rua_aggregate) struct rua_aggregate *a = rua_aggregate_new(NULL, NULL);
		struct mail m = plain;

		for (size_t k = 0; k < 4 && cases[i].verdicts[k]; k++) {
			m.verdict = cases[i].verdicts[k];
			m.at_ms += 1000;
			assert_int_equal(add(a, &m), 0);
		}
		assert_string_equal(rows_of(a, "a.example"), cases[i].want);
	}
}

/* The same code of another client, or much later, is another message. */
static void test_same_code(void **state)
{
	AUTO(rua_aggregate) struct rua_aggregate *a = rua_aggregate_new(NULL, NULL);
	struct mail m = plain;

	assert_int_equal(add(a, &m), 0);
	m.client = "192.0.2.2";
	assert_int_equal(add(a, &m), 0);
	m.client = "192.0.2.1", m.at_ms += 2 * 3600 * 1000;
	assert_int_equal(add(a, &m), 0);
	assert_string_equal(rows_of(a, "a.example"), "192.0.2.1 2 none b.example, 192.0.2.2 1 none b.example");
}

/* What the record said last stands in the report; one that wants none any more gets none. */
static void test_policy_changes(void **state)
{
	AUTO(rua_aggregate) struct rua_aggregate *a = rua_aggregate_new(NULL, NULL);
	struct dmarc_report *r;
	struct mail m = plain;

	assert_int_equal(add(a, &m), 0);
	m.code = "2-1", m.policy = "reject", m.rua = "mailto:other@a.example";
	assert_int_equal(add(a, &m), 0);
	r = report(a, "a.example");
	assert_int_equal(r->policy.p, DMARC_REPORT_POLICY_REJECT);
	assert_int_equal(r->policy.discovery, DMARC_REPORT_DISCOVERY_TREEWALK);
	assert_string_equal(r->policy.domain, "a.example");
	assert_int_equal(r->record_count, 2);
	assert_string_equal(r->report_id, "1728000000.a.example@mx.site.example");
	assert_int_equal(r->begin_s, 1728000000);
	assert_int_equal(r->end_s, 1728086399);
	assert_int_equal(r->error_count, 0);
	dmarc_report_free(r);
	m.code = "3-1", m.rua = NULL;
	assert_int_equal(add(a, &m), 0);
	assert_null(report(a, "a.example"));
}

/* For a command: one domain alone, whether it asks or not. */
static void test_only(void **state)
{
	AUTO(rua_aggregate) struct rua_aggregate *a = rua_aggregate_new("a.example", NULL);
	struct mail m = plain;

	m.rua = NULL;
	assert_int_equal(add(a, &m), 0);
	m.code = "2-1", m.domain = "z.example";
	assert_int_equal(add(a, &m), 0);
	assert_int_equal(rua_aggregate_count(a), 1);
	assert_string_equal(rows_of(a, "a.example"), "192.0.2.1 1 none b.example");
}

/* Sum of all counts, and what the errors say. */
static uint64_t counted(const struct dmarc_report *r)
{
	uint64_t n = 0;

	for (size_t i = 0; i < r->record_count; i++)
		n += r->records[i].count;
	return n;
}

static void test_bounds(void **state)
{
	static const struct rua_bounds few = { .domains = 2, .rows = 8, .variants = 3, .domain_octets = 1 << 20, .octets = 1 << 20, .org_domains = 100, .org_share = 1 };
	AUTO(rua_aggregate) struct rua_aggregate *a = rua_aggregate_new(NULL, &few);
	char code[16], from[32], client[32], domain[32];
	struct dmarc_report *r;
	struct mail m = plain;

	m.code = code, m.from = from;
	/* One source with ten senders: three rows, and seven messages in one of them. */
	for (int i = 0; i < 10; i++) {
		snprintf(code, sizeof(code), "%x-1", i);
		snprintf(from, sizeof(from), "x@b%d.example", i);
		assert_int_equal(add(a, &m), 0);
	}
	/* Ten sources: five rows more, and five messages in none; two of a known one are counted there. */
	m.client = client;
	for (int i = 0; i < 10; i++) {
		snprintf(code, sizeof(code), "%x-2", i);
		snprintf(client, sizeof(client), "198.51.100.%d", i);
		assert_int_equal(add(a, &m), 0);
	}
	snprintf(client, sizeof(client), "198.51.100.1");
	snprintf(from, sizeof(from), "new@new.example");
	snprintf(code, sizeof(code), "77-1");
	assert_int_equal(add(a, &m), 0);
	r = report(a, "a.example");
	assert_int_equal(r->record_count, 8);
	assert_int_equal(counted(r), 16);
	assert_int_equal(r->error_count, 2);
	assert_non_null(strstr(r->errors[0], "8 messages are counted in rows"));
	assert_non_null(strstr(r->errors[1], "5 more messages are in no row"));
	dmarc_report_free(r);
	/* The best that a message in no row fared: it stays in none, and is not counted twice. */
	snprintf(client, sizeof(client), "198.51.100.9");
	snprintf(code, sizeof(code), "78-1");
	m.verdict = "reject";
	assert_int_equal(add(a, &m), 0);
	m.verdict = "accept";
	assert_int_equal(add(a, &m), 0);
	r = report(a, "a.example");
	assert_int_equal(counted(r), 16);
	assert_non_null(strstr(r->errors[1], "6 more messages are in no row"));
	dmarc_report_free(r);
	/* More domains than there is room for. */
	m.domain = m.author = domain;
	for (int i = 0; i < 5; i++) {
		snprintf(domain, sizeof(domain), "d%d.example", i);
		snprintf(code, sizeof(code), "%x-9", i);
		assert_int_equal(add(a, &m), 0);
	}
	assert_int_equal(rua_aggregate_count(a), 2);
	assert_int_equal(rua_aggregate_strangers(a), 4);
}

/* Octets: what does not fit is left out, and what is there is whole. */
static void test_octets(void **state)
{
	static const struct rua_bounds small = { .domains = 100, .rows = 1000, .variants = 1000, .domain_octets = 2000, .octets = 5000, .org_domains = 100, .org_share = 1 };
	AUTO(rua_aggregate) struct rua_aggregate *a = rua_aggregate_new(NULL, &small);
	char code[16], client[32], domain[32];
	uint64_t sum = 0, strangers;
	struct mail m = plain;

	m.code = code, m.client = client, m.domain = m.author = domain;
	for (int i = 0; i < 300; i++) {
		snprintf(domain, sizeof(domain), "d%d.example", i / 100);
		snprintf(code, sizeof(code), "%x-1", i);
		snprintf(client, sizeof(client), "198.51.100.%d", i % 100);
		assert_int_equal(add(a, &m), 0);
	}
	strangers = rua_aggregate_strangers(a);
	for (size_t i = 0; i < rua_aggregate_count(a); i++) {
		AUTO(buf) struct buf rows = BUF_INIT(2000);
		AUTO(dmarc_report) struct dmarc_report *r = NULL;

		if (rua_aggregate_rows(a, i, &rows) == -ENOENT)
			continue;
		r = report(a, rua_aggregate_domain(a, i));
		sum += counted(r);
		assert_true(r->error_count > 0 || counted(r) == 100);
	}
	assert_true(sum > 20 && sum + strangers <= 300);
}

/* Somebody with one domain and a record at each of its subdomains, and with messages of which no two are the same: others are reported all the same. */
static void test_crowd(void **state)
{
	static const char *const names[] = { "s%d.evil.co.uk", "a.s%d.evil.co.uk", "s%d.evil.example" };
	static const struct rua_bounds bounds = { .domains = 100, .rows = 1000, .variants = 100, .domain_octets = 1 << 20, .octets = 64 << 10,
						  .org_domains = 10, .org_share = 8 };
	AUTO(rua_aggregate) struct rua_aggregate *a = rua_aggregate_new(NULL, &bounds);
	char code[16], client[32], domain[64], dkim[256];
	struct dmarc_report *r;
	struct mail m = plain;

	m.code = code, m.client = client, m.domain = m.author = domain, m.dkim = dkim;
	for (int i = 0; i < 3000; i++) {
		snprintf(domain, sizeof(domain), names[i % 3], i / 3 % 500);
		snprintf(code, sizeof(code), "%x-1", i);
		snprintf(client, sizeof(client), "198.51.%d.%d", i / 250, i % 250);
		snprintf(dkim, sizeof(dkim), "fail d=%0150d.example s=s", i);
		assert_int_equal(add(a, &m), 0);
	}
	assert_int_equal(rua_aggregate_count(a), 20);
	assert_int_equal(rua_aggregate_strangers(a) > 0, 1);
	m.dkim = NULL;
	for (int i = 0; i < 40; i++) {
		snprintf(domain, sizeof(domain), i < 20 ? "good%d.co.uk" : "good%d.example", i);
		snprintf(code, sizeof(code), "%x-2", i);
		assert_int_equal(add(a, &m), 0);
		r = report(a, domain);
		assert_non_null(r);
		assert_int_equal(counted(r), 1);
		assert_int_equal(r->error_count, 0);
		dmarc_report_free(r);
	}
	assert_int_equal(rua_aggregate_count(a), 60);
}

/* Every beginning of the octets, and every octet changed: refused or read, never past the end (the sanitizers watch). */
static void test_broken_octets(void **state)
{
	AUTO(rua_aggregate) struct rua_aggregate *a = rua_aggregate_new(NULL, NULL);
	AUTO(buf) struct buf head = BUF_INIT(RUA_HEAD_OCTETS_MAX), rows = BUF_INIT(RUA_REPORT_OCTETS_MAX);
	AUTO(rua_domains) struct rua_domains *list = calloc(1, sizeof(*list));
	struct mail m = plain;
	struct rua_reader in;

	m.dkim = "pass d=b.example s=s1";
	assert_int_equal(add(a, &m), 0);
	m.code = "2-1", m.from = "", m.policy = "reject";
	assert_int_equal(add(a, &m), 0);
	assert_int_equal(rua_aggregate_head(a, 0, &head), 0);
	assert_int_equal(rua_aggregate_rows(a, 0, &rows), 0);
	for (size_t cut = 0; cut < head.len; cut++) {
		struct dmarc_report *r = dmarc_report_new();

		assert_int_equal(rua_get_report(head.data, cut, rows.data, rows.len, r), -EBADMSG);
		dmarc_report_free(r);
		in = rua_reader(head.data, cut);
		assert_int_equal(rua_get_domain(&in, list), cut ? -EBADMSG : -ENOENT);
	}
	for (size_t cut = 1; cut < rows.len; cut++) {
		struct dmarc_report *r = dmarc_report_new();
		int rc = rua_get_report(head.data, head.len, rows.data, cut, r);

		assert_true(rc == -EBADMSG || (rc == 0 && r->record_count == 1));
		dmarc_report_free(r);
	}
	for (size_t i = 0; i < head.len + rows.len; i++) {
		char *at = i < head.len ? head.data + i : rows.data + (i - head.len), was = *at;

		for (int bit = 0; bit < 8; bit++) {
			struct dmarc_report *r = dmarc_report_new();

			*at = (char)(was ^ 1 << bit);
			(void)rua_get_report(head.data, head.len, rows.data, rows.len, r);
			dmarc_report_free(r);
			in = rua_reader(head.data, head.len);
			(void)rua_get_domain(&in, list);
		}
		*at = was;
	}
}

/* A list of domains, as one answer holds it. */
static void test_list(void **state)
{
	static const char *const rua[] = { "mailto:a@b.example!10m", "mailto:c@d.example" };
	AUTO(buf) struct buf out = BUF_INIT(4096);
	AUTO(rua_domains) struct rua_domains *d = calloc(1, sizeof(*d));
	struct rua_head h = { .domain = "one.example", .published = { .p = DMARC_REPORT_POLICY_NONE }, .rua = rua, .rua_count = 2, .messages = 1234567 };
	struct rua_reader in;

	rua_put_head(&out, &h);
	h.domain = "two.example", h.rua_count = 0;
	rua_put_head(&out, &h);
	in = rua_reader(out.data, out.len);
	assert_int_equal(rua_get_domain(&in, d), 0);
	assert_int_equal(rua_get_domain(&in, d), 0);
	assert_int_equal(rua_get_domain(&in, d), -ENOENT);
	assert_int_equal(d->count, 2);
	assert_string_equal(d->domain[0].name, "one.example");
	assert_int_equal(d->domain[0].messages, 1234567);
	assert_int_equal(d->domain[0].rua_count, 2);
	assert_string_equal(d->domain[0].rua[0], rua[0]);
	assert_string_equal(d->domain[0].rua[1], rua[1]);
	assert_string_equal(d->domain[1].name, "two.example");
	assert_int_equal(d->domain[1].rua_count, 0);
}

/* All of it, from a record to a report. 0, or the first error. */
static int all_of_it(struct history_record *r, size_t count)
{
	static const struct rua_reporter who = { "Site", "postmaster@site.example", "https://site.example", "mx.site.example" };
	AUTO(rua_aggregate) struct rua_aggregate *a = rua_aggregate_new(NULL, NULL);
	AUTO(buf) struct buf head = BUF_INIT(RUA_HEAD_OCTETS_MAX), rows = BUF_INIT(RUA_REPORT_OCTETS_MAX);
	AUTO(dmarc_report) struct dmarc_report *out = dmarc_report_new();
	AUTO(rua_domains) struct rua_domains *list = calloc(1, sizeof(*list));
	struct rua_reader in;
	int rc = a && out && list ? 0 : -ENOMEM;

	for (size_t i = 0; rc == 0 && i < count; i++)
		rc = rua_aggregate_add(a, &r[i]);
	if (rc == 0)
		rc = rua_aggregate_head(a, 0, &head);
	if (rc == 0)
		rc = rua_aggregate_rows(a, 0, &rows);
	if (rc == 0)
		rc = rua_get_report(head.data, head.len, rows.data, rows.len, out);
	if (rc == 0)
		rc = rua_sign_report(out, &who, 20000);
	in = rua_reader(head.data, head.len);
	if (rc == 0)
		rc = rua_get_domain(&in, list);
	return rc;
}

/* Without memory there is an error, never half a report. */
static void test_no_memory(void **state)
{
	struct facts f = { 0 };
	struct history_record r[3];
	int n;

	facts_set(&f, "dmarc", "fail");
	facts_set(&f, "dmarc.policy", "reject");
	facts_add(&f, "dmarc.published", "p=reject");
	facts_set(&f, "dmarc.record_domain", "a.example");
	facts_set(&f, "from.domain", "a.example");
	facts_add(&f, "dmarc.rua", "mailto:r@a.example");
	facts_add(&f, "dmarc.rua", "mailto:s@a.example");
	facts_add(&f, "dkim.results", "pass d=b.example s=s1");
	for (int i = 0; i < 3; i++)
		r[i] = (struct history_record){ .code = i ? "2-1" : "1-1", .client = "192.0.2.1", .helo = "h", .from = "x@b.example",
						.verdict = i == 1 ? "reject" : "accept", .stage = STAGE_DATA, .facts = { &f } };
	for (n = 1; scarce_begin(n); n++) {
		int rc = all_of_it(r, 3);

		if (!scarce_end()) {
			assert_int_equal(rc, 0);
			break;
		}
		assert_true(rc == -ENOMEM || rc == -ENOSPC);
	}
	assert_true(n > 15);
	facts_release(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_merged), cmocka_unit_test(test_several_records), cmocka_unit_test(test_same_code), cmocka_unit_test(test_policy_changes),
		cmocka_unit_test(test_only), cmocka_unit_test(test_bounds), cmocka_unit_test(test_octets), cmocka_unit_test(test_crowd),
		cmocka_unit_test(test_broken_octets), cmocka_unit_test(test_list), cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
