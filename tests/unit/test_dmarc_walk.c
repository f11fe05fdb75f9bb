#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "filters/dmarc_walk.h"
#include "support/dns_table.h"

static const struct { const char *domain, *names; } name_rows[] = {
	{ "com", "com" },
	{ "example.com", "example.com com" },
	{ "a.b.example.com", "a.b.example.com b.example.com example.com com" },
	{ "1.2.3.4.5.6.7", "1.2.3.4.5.6.7 2.3.4.5.6.7 3.4.5.6.7 4.5.6.7 5.6.7 6.7 7" },
	{ "0.1.2.3.4.5.6.7", "0.1.2.3.4.5.6.7 1.2.3.4.5.6.7 2.3.4.5.6.7 3.4.5.6.7 4.5.6.7 5.6.7 6.7 7" },
	{ "x.0.1.2.3.4.5.6.7", "x.0.1.2.3.4.5.6.7 1.2.3.4.5.6.7 2.3.4.5.6.7 3.4.5.6.7 4.5.6.7 5.6.7 6.7 7" },
	{ "a.b.c.d.e.f.g.h.i.j.mail.example.com",
	  "a.b.c.d.e.f.g.h.i.j.mail.example.com g.h.i.j.mail.example.com h.i.j.mail.example.com i.j.mail.example.com j.mail.example.com mail.example.com "
	  "example.com com" },
};

static void test_names(void **state)
{
	for (size_t i = 0; i < sizeof name_rows / sizeof *name_rows; i++) {
		const char *names[DMARC_WALK_MAX];
		size_t n = dmarc_walk_names(name_rows[i].domain, names);
		char text[512] = "";

		assert_in_range(n, 1, DMARC_WALK_MAX);
		for (size_t k = 0; k < n; k++) {
			strcat(text, k ? " " : "");
			strcat(text, names[k]);
		}
		assert_string_equal(text, name_rows[i].names);
	}
}

/* All names of a walk are asked before any is answered, and read in order. */
static void test_side_by_side(void **state)
{
	AUTO(dns_table) struct dns_table *t = dns_table_new();
	AUTO(dmarc_walks) struct dmarc_walks *w = dmarc_walks_new(dns_table_dns(t));
	struct dmarc_walk walk;

	dns_table_add(t, "_dmarc.example.com", "TXT", "v=DMARC1; p=reject");
	dns_table_hold(t, true);
	dmarc_walk_start(w, "a.b.example.com");
	assert_int_equal(dns_table_waiting(t), 4);
	assert_int_equal(dns_table_answer(t, NULL, 0), 4);
	dmarc_walk(w, "a.b.example.com", &walk);
	assert_int_equal(dns_table_asked(t), 4);
	assert_int_equal(walk.count, 4);
	assert_string_equal(walk.org, "example.com");
	assert_ptr_equal(walk.policy, &walk.step[2]);
}

/* What two walks have in common is asked once. */
static void test_shared(void **state)
{
	AUTO(dns_table) struct dns_table *t = dns_table_new();
	AUTO(dmarc_walks) struct dmarc_walks *w = dmarc_walks_new(dns_table_dns(t));
	struct dmarc_walk walk;

	dns_table_add(t, "_dmarc.example.com", "TXT", "v=DMARC1; p=reject");
	dmarc_walk(w, "a.example.com", &walk);
	dmarc_walk(w, "b.example.com", &walk);
	dmarc_walk(w, "a.example.com", &walk);
	dmarc_walk(w, "example.com", &walk);
	assert_int_equal(dns_table_asked(t), 4);
	assert_int_equal(dns_table_count(t, "_dmarc.example.com", DNS_TXT), 1);
	assert_int_equal(dns_table_count(t, "_dmarc.com", DNS_TXT), 1);
}

/* psd= ends the walk, though the names above were asked. */
static void test_stop(void **state)
{
	AUTO(dns_table) struct dns_table *t = dns_table_new();
	AUTO(dmarc_walks) struct dmarc_walks *w = dmarc_walks_new(dns_table_dns(t));
	struct dmarc_walk walk;

	dns_table_add(t, "_dmarc.b.example.com", "TXT", "v=DMARC1; p=reject; psd=n");
	dns_table_add(t, "_dmarc.example.com", "SERVFAIL", "");
	dmarc_walk(w, "a.b.example.com", &walk);
	assert_false(walk.temperror);
	assert_int_equal(walk.count, 2);
	assert_string_equal(walk.org, "b.example.com");
}

static void test_temperror(void **state)
{
	AUTO(dns_table) struct dns_table *t = dns_table_new();
	AUTO(dmarc_walks) struct dmarc_walks *w = dmarc_walks_new(dns_table_dns(t));
	struct dmarc_walk walk;

	dns_table_add(t, "_dmarc.example.com", "SERVFAIL", "");
	dmarc_walk(w, "a.example.com", &walk);
	assert_true(walk.temperror);
	assert_int_equal(walk.count, 2);
	assert_string_equal(walk.step[1].name, "example.com");
	assert_string_not_equal(walk.step[1].why, "");
	assert_null(walk.org);
	assert_null(walk.policy);
}

static void test_records(void **state)
{
	AUTO(dns_table) struct dns_table *t = dns_table_new();
	AUTO(dmarc_walks) struct dmarc_walks *w = dmarc_walks_new(dns_table_dns(t));
	struct dmarc_name n;

	dns_table_add(t, "_dmarc.two.example", "TXT", "v=DMARC1; p=reject");
	dns_table_add(t, "_dmarc.two.example", "TXT", "v=DMARC1; p=reject");
	dns_table_add(t, "_dmarc.one.example", "TXT", "v=spf1 -all");
	dns_table_add(t, "_dmarc.one.example", "TXT", "v=DMARC1; p=reject");
	dns_table_add_rdata(t, "_dmarc.bad.example", DNS_TXT, "\x20v=DMARC1", 9);
	dns_table_add_rdata(t, "_dmarc.empty.example", DNS_TXT, "\0", 1);
	dmarc_walk_own(w, "two.example", &n);
	assert_false(n.found);
	assert_string_equal(n.why, "several DMARC records at one name");
	dmarc_walk_own(w, "one.example", &n);
	assert_true(n.found && n.record.p == DMARC_P_REJECT);
	dmarc_walk_own(w, "bad.example", &n);
	assert_false(n.found || n.temperror);
	dmarc_walk_own(w, "empty.example", &n);
	assert_false(n.found || n.temperror);
	dmarc_walk_own(w, "none.example", &n);
	assert_false(n.found || n.temperror);
	assert_string_equal(n.why, "");
}

/* Existence is asked for only below an NXDOMAIN, and then as soon as that is known. */
static void test_existence(void **state)
{
	AUTO(dns_table) struct dns_table *t = dns_table_new();
	AUTO(dmarc_walks) struct dmarc_walks *w = dmarc_walks_new(dns_table_dns(t));

	dns_table_add(t, "_dmarc.own.example", "TXT", "v=DMARC1; p=reject");
	dns_table_add(t, "www.example", "MX", "10 mx.example");
	dns_table_add(t, "away.example", "SERVFAIL", "A");
	dns_table_add(t, "_dmarc.lost.example", "SERVFAIL", "");
	dmarc_exists_start(w, "own.example");
	assert_int_equal(dns_table_count(t, "own.example", DNS_A), 0);
	dmarc_exists_start(w, "www.example");
	dmarc_exists_start(w, "www.example");
	assert_int_equal(dns_table_count(t, "www.example", DNS_A), 1);
	assert_int_equal(dmarc_exists(w, "own.example"), 1);
	assert_int_equal(dmarc_exists(w, "www.example"), 1);
	assert_int_equal(dmarc_exists(w, "nonesuch.example"), 0);
	assert_int_equal(dmarc_exists(w, "away.example"), -EAGAIN);
	assert_int_equal(dmarc_exists(w, "lost.example"), -EAGAIN);
	assert_int_equal(dns_table_count(t, "www.example", DNS_A), 1);
	assert_int_equal(dns_table_count(t, "own.example", DNS_A), 0);
}

/* The names of one message are bounded; past the bound nothing is asked, and that is a temperror. */
static void test_bound(void **state)
{
	AUTO(dns_table) struct dns_table *t = dns_table_new();
	AUTO(dmarc_walks) struct dmarc_walks *w = dmarc_walks_new(dns_table_dns(t));
	struct dmarc_walk walk;
	char domain[32];

	for (int i = 0; i < 1000; i++) {
		snprintf(domain, sizeof domain, "n%d.example.com", i);
		dmarc_walk_start(w, domain);
	}
	assert_int_equal(dns_table_asked(t), DMARC_NAMES_MAX);
	dmarc_walk(w, "n999.example.com", &walk);
	assert_true(walk.temperror);
	dmarc_walk(w, "n1.example.com", &walk);
	assert_false(walk.temperror);
}

/* Dropped before the answers: nothing is left behind (dns_table_free asserts it). */
static void test_dropped(void **state)
{
	AUTO(dns_table) struct dns_table *t = dns_table_new();
	struct dmarc_walks *w = dmarc_walks_new(dns_table_dns(t));

	dns_table_hold(t, true);
	dmarc_walk_start(w, "a.example.com");
	dmarc_exists_start(w, "a.example.com");
	dmarc_walks_free(w);
	assert_int_equal(dns_table_waiting(t), 0);
	dmarc_walks_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),   cmocka_unit_test(test_side_by_side), cmocka_unit_test(test_shared),
		cmocka_unit_test(test_stop),    cmocka_unit_test(test_temperror),    cmocka_unit_test(test_records),
		cmocka_unit_test(test_existence), cmocka_unit_test(test_bound),      cmocka_unit_test(test_dropped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
