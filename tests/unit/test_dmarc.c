/* The filter: which facts of others it reads, which it sets, what it starts early. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "filters/dmarc.h"
#include "filters/domain.h"
#include "policy/conf.h"
#include "support/dns_table.h"

static const char *const spf_words[] = { "none", "neutral", "pass", "fail", "softfail", "temperror", "permerror", NULL };
static const struct fact_def spf_stand_in[] = {
	{ "spf", FACT_WORD, false, STAGE_MAIL, spf_words, "" },
	{ "spf.domain", FACT_DOMAIN, false, STAGE_MAIL, NULL, "" },
	{ 0 },
};

static int self_of(const char *name)
{
	for (int i = 0; filters[i]; i++) {
		if (strcmp(filters[i]->name, name) == 0)
			return i;
	}
	return -1;
}

struct fixture {
	struct dns_table *dns;
	struct site site;
	struct client client;
	struct txn txn;
};

/* A transaction at the end of data whose other filters have run and set nothing yet. */
static void fixture_open(struct fixture *f, const char *header)
{
	static const struct message_limits lim = { 65536, 65536, 100 };
	static char from[] = "x@example.com", from_domain[] = "example.com", helo[] = "mx.example.com";

	fact_register_all();
	if (fact_find("spf", 3) == FACT_NONE)
		fact_register(spf_stand_in, self_of("dmarc"));
	memset(f, 0, sizeof *f);
	f->dns = dns_table_new();
	f->client.helo = helo;
	txn_init(&f->txn, &f->site, dns_table_dns(f->dns), &f->client);
	f->txn.env.from = from;
	f->txn.env.from_domain = from_domain;
	f->txn.message = message_new(&lim, NULL, NULL);
	f->txn.stage = STAGE_DATA;
	assert_int_equal(message_add(f->txn.message, header, strlen(header)), 0);
	assert_int_equal(message_add(f->txn.message, "\r\ntext\r\n", 8), 0);
	message_end(f->txn.message);
	f->txn.evidence.ran = 1u << self_of("dkim");
	if (self_of("spf") >= 0)
		f->txn.evidence.ran |= 1u << self_of("spf");
}

static void fixture_close(struct fixture *f)
{
	struct message *m = f->txn.message;

	f->txn.message = NULL;
	f->txn.env.from = f->txn.env.from_domain = NULL;
	f->client.helo = NULL;
	txn_release(&f->txn);
	message_free(m);
	dns_table_free(f->dns);
}

static const struct fact *fact(struct fixture *f, const char *name)
{
	return filters_fact(&f->txn, fact_find(name, strlen(name)));
}

static const char *word(struct fixture *f, const char *name)
{
	const struct fact *v = fact(f, name);

	return !v ? "unknown" : v->state == FACT_TEMPERROR ? "temperror" : v->count ? v->text[0] : "empty";
}

static void test_fail(void **state)
{
	struct fixture f;

	fixture_open(&f, "From: a@example.com\r\n");
	dns_table_add(f.dns, "_dmarc.example.com", "TXT", "v=DMARC1; p=reject");
	facts_set(&f.txn.evidence.facts, "spf", "pass");
	facts_set(&f.txn.evidence.facts, "spf.domain", "evil.example");
	facts_set_empty(&f.txn.evidence.facts, "dkim.pass_domains");
	assert_string_equal(word(&f, "dmarc"), "fail");
	assert_string_equal(fact(&f, "dmarc")->why, "no aligned identifier: SPF passed for evil.example, DKIM for none");
	assert_string_equal(word(&f, "dmarc.policy"), "reject");
	assert_string_equal(word(&f, "dmarc.record_domain"), "example.com");
	assert_string_equal(word(&f, "dmarc.org_domain"), "example.com");
	assert_string_equal(word(&f, "dmarc.aligned"), "empty");
	assert_int_equal(fact(&f, "dmarc.testing")->number, 0);
	fixture_close(&f);
}

static void test_pass(void **state)
{
	struct fixture f;

	fixture_open(&f, "From: A <a@Example.COM>\r\n");
	dns_table_add(f.dns, "_dmarc.example.com", "TXT", "v=DMARC1; p=reject; t=y");
	facts_set(&f.txn.evidence.facts, "spf", "pass");
	facts_set(&f.txn.evidence.facts, "spf.domain", "bounce.example.com");
	facts_add(&f.txn.evidence.facts, "dkim.pass_domains", "esp.example");
	facts_add(&f.txn.evidence.facts, "dkim.pass_domains", "Mail.Example.com");
	assert_string_equal(word(&f, "dmarc"), "pass");
	assert_string_equal(word(&f, "dmarc.policy"), "quarantine");
	assert_int_equal(fact(&f, "dmarc.aligned")->count, 2);
	assert_int_equal(fact(&f, "dmarc.testing")->number, 1);
	fixture_close(&f);
}

static const struct { const char *record, *published, *rua; } published[] = {
	{ "v=DMARC1; p=reject", "p=reject", "" },
	{ "v=DMARC1; p=none; sp=quarantine; np=reject; adkim=s; aspf=s; t=y; fo=d:1:s; rua=mailto:a@b.example",
	  "p=none sp=quarantine np=reject adkim=s aspf=s t=y fo=1:d:s", "mailto:a@b.example" },
	{ "v=DMARC1; p=quarantine; adkim=r; aspf=r; t=n; fo=0; pct=50", "p=quarantine", "" },
	{ "v=DMARC1; p=reject; rua= mailto:a@b.example!10m , nonsense,https://c.example/x,mailto:@d.example ,mailto:E@f.example ;ruf=mailto:g@h.example", "p=reject",
	  "mailto:a@b.example!10m https://c.example/x mailto:E@f.example" },
	/* No valid p: as p=none, and of the others nothing counts. */
	{ "v=DMARC1; p=bogus; sp=reject; rua=mailto:a@b.example", "p=none", "mailto:a@b.example" },
};

static const char *list(struct fixture *f, const char *name, char *out, size_t room)
{
	const struct fact *v = fact(f, name);
	size_t n = 0;

	out[0] = '\0';
	for (size_t i = 0; v && i < v->count; i++)
		n += (size_t)snprintf(out + n, room - n, "%s%s", i ? " " : "", v->text[i]);
	return v ? out : "unknown";
}

static void test_published(void **state)
{
	struct fixture f;
	char text[2048], record[4096];
	size_t n;

	for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
		fixture_open(&f, "From: a@example.com\r\n");
		dns_table_add(f.dns, "_dmarc.example.com", "TXT", published[i].record);
		assert_string_equal(list(&f, "dmarc.published", text, sizeof text), published[i].published);
		assert_string_equal(list(&f, "dmarc.rua", text, sizeof text), published[i].rua);
		fixture_close(&f);
	}
	/* None: nothing is said of it. */
	fixture_open(&f, "From: a@example.com\r\n");
	assert_string_equal(list(&f, "dmarc.published", text, sizeof text), "unknown");
	assert_string_equal(list(&f, "dmarc.rua", text, sizeof text), "unknown");
	fixture_close(&f);
	/* Too long, and too many: those that are kept are whole. */
	fixture_open(&f, "From: a@example.com\r\n");
	n = (size_t)snprintf(record, sizeof record, "v=DMARC1; p=none; rua=mailto:%0600d@b.example", 1);
	for (int i = 0; i < 20; i++)
		n += (size_t)snprintf(record + n, sizeof record - n, ",mailto:%d@b.example", i);
	dns_table_add(f.dns, "_dmarc.example.com", "TXT", record);
	assert_int_equal(fact(&f, "dmarc.rua")->count, 15);
	assert_string_equal(word(&f, "dmarc.rua"), "mailto:0@b.example");
	fixture_close(&f);
}

/* Only a pass counts, and the null sender's is the HELO's. */
static void test_spf(void **state)
{
	struct fixture f;

	fixture_open(&f, "From: a@example.com\r\n");
	dns_table_add(f.dns, "_dmarc.example.com", "TXT", "v=DMARC1; p=reject");
	facts_set(&f.txn.evidence.facts, "spf", "softfail");
	facts_set(&f.txn.evidence.facts, "spf.domain", "example.com");
	assert_string_equal(word(&f, "dmarc"), "fail");
	fixture_close(&f);
	fixture_open(&f, "From: a@example.com\r\n");
	dns_table_add(f.dns, "_dmarc.example.com", "TXT", "v=DMARC1; p=reject");
	facts_set(&f.txn.evidence.facts, "spf", "pass");
	f.txn.env.from = f.txn.env.from_domain = (char[]){ "" };
	assert_string_equal(word(&f, "dmarc"), "pass");
	fixture_close(&f);
}

static void test_temperror(void **state)
{
	struct fixture f;

	fixture_open(&f, "From: a@example.com\r\n");
	dns_table_add(f.dns, "_dmarc.example.com", "SERVFAIL", "");
	assert_string_equal(word(&f, "dmarc"), "temperror");
	assert_string_equal(word(&f, "dmarc.policy"), "temperror");
	assert_string_equal(word(&f, "dmarc.record_domain"), "unknown");
	fixture_close(&f);
	fixture_open(&f, "From: a@example.com\r\n");
	dns_table_add(f.dns, "_dmarc.example.com", "TXT", "v=DMARC1; p=reject");
	facts_temperror(&f.txn.evidence.facts, "spf", "timeout");
	assert_string_equal(word(&f, "dmarc"), "temperror");
	assert_string_equal(word(&f, "dmarc.policy"), "reject");
	fixture_close(&f);
	fixture_open(&f, "From: a@example.com\r\n");
	dns_table_add(f.dns, "_dmarc.example.com", "TXT", "v=DMARC1; p=reject");
	facts_add(&f.txn.evidence.facts, "dkim.temperror_domains", "mail.example.com");
	assert_string_equal(word(&f, "dmarc"), "temperror");
	fixture_close(&f);
	fixture_open(&f, "From: a@example.com\r\n");
	dns_table_add(f.dns, "_dmarc.example.com", "TXT", "v=DMARC1; p=reject");
	facts_temperror(&f.txn.evidence.facts, "dkim.pass_domains", "out of memory");
	facts_temperror(&f.txn.evidence.facts, "dkim.temperror_domains", "out of memory");
	assert_string_equal(word(&f, "dmarc"), "temperror");
	fixture_close(&f);
}

static const struct { const char *header, *result, *why; } no_author[] = {
	{ "To: a@example.com\r\n", "none", "no single author domain" },
	{ "From: a@example.com\r\nFrom: a@example.com\r\n", "none", "2 From fields" },
	{ "From: a@example.com, b@evil.example\r\n", "none", "no single author domain" },
	{ "From: <a@evil.example> b@example.com\r\n", "none", "no single author domain" },
	{ "From: nobody:;\r\n", "none", "no single author domain" },
	{ "From: a@[192.0.2.1]\r\n", "permerror", "the author domain is no domain name" },
};

static void test_no_author(void **state)
{
	for (size_t i = 0; i < sizeof no_author / sizeof *no_author; i++) {
		struct fixture f;

		fixture_open(&f, no_author[i].header);
		dns_table_add(f.dns, "_dmarc.example.com", "TXT", "v=DMARC1; p=reject");
		assert_string_equal(word(&f, "dmarc"), no_author[i].result);
		assert_string_equal(fact(&f, "dmarc")->why, no_author[i].why);
		assert_string_equal(word(&f, "dmarc.policy"), "unknown");
		assert_int_equal(dns_table_asked(f.dns), 0);
		fixture_close(&f);
	}
}

/* At the end of the header everything is asked that will be needed; at the end of data nothing more. */
static void test_prefetch(void **state)
{
	struct fixture f;
	size_t asked;

	fixture_open(&f, "DKIM-Signature: v=1; a=rsa-sha256; bh=d=; d=esp.example;\r\n s=x; b=\r\n"
	                 "DKIM-Signature: v=1; a=rsa-sha256;\r\n\td = Mail.News.Example.com ; s=x; b=\r\n"
	                 "From: a@news.example.com\r\n");
	dns_table_add(f.dns, "_dmarc.example.com", "TXT", "v=DMARC1; p=none; np=reject");
	dns_table_add(f.dns, "news.example.com", "A", "192.0.2.1");
	f.txn.stage = STAGE_HEADER;
	filters_start(&f.txn, STAGE_HEADER, 1u << self_of("dmarc"));
	assert_true(f.txn.evidence.started & 1u << self_of("dkim"));      /* what it uses is started, too */
	assert_int_equal(dns_table_count(f.dns, "_dmarc.news.example.com", DNS_TXT), 1);
	assert_int_equal(dns_table_count(f.dns, "_dmarc.example.com", DNS_TXT), 1);
	assert_int_equal(dns_table_count(f.dns, "_dmarc.com", DNS_TXT), 1);
	assert_int_equal(dns_table_count(f.dns, "news.example.com", DNS_A), 1);
	assert_int_equal(dns_table_count(f.dns, "_dmarc.mail.news.example.com", DNS_TXT), 1);
	assert_int_equal(dns_table_count(f.dns, "_dmarc.esp.example", DNS_TXT), 0);
	asked = dns_table_asked(f.dns);
	f.txn.stage = STAGE_DATA;
	facts_add(&f.txn.evidence.facts, "dkim.pass_domains", "mail.news.example.com");
	assert_string_equal(word(&f, "dmarc"), "pass");
	assert_string_equal(word(&f, "dmarc.policy"), "none");
	assert_int_equal(dns_table_asked(f.dns), asked);
	fixture_close(&f);
}

/* Facts come at the end of data, not before. */
static void test_stage(void **state)
{
	struct fixture f;

	fixture_open(&f, "From: a@example.com\r\n");
	f.txn.stage = STAGE_HEADER;
	assert_null(fact(&f, "dmarc"));
	assert_int_equal(dns_table_asked(f.dns), 0);
	fixture_close(&f);
}

static void test_library_engine(void **state)
{
	struct fixture f;

	fixture_open(&f, "From: a@nx.example.com\r\n");
	f.site.dmarc_engine = ENGINE_LIBRARY;
	dns_table_add(f.dns, "_dmarc.example.com", "TXT", "v=DMARC1; p=quarantine; np=reject");
	assert_string_equal(word(&f, "dmarc"), "fail");
	assert_string_equal(word(&f, "dmarc.policy"), "quarantine");    /* it knows no np */
	fixture_close(&f);
}

static const struct { const char *field, *domain; } signatures[] = {
	{ " v=1; d=example.com; s=a", "example.com" },
	{ "d=Example.COM", "example.com" },
	{ " v=1;\r\n\td\r\n =\r\n example.com\r\n ;", "example.com" },
	{ " v=1; dd=a.example; d=b.example", "b.example" },
	{ " v=1; s=d=a.example; bh=x", NULL },
	{ " v=1; d", NULL },
	{ " v=1; d=", NULL },
	{ " v=1; d=a b", NULL },
	{ " v=1; D=example.com", NULL },
	{ "", NULL },
	{ ";;;", NULL },
	{ "=", NULL },
};

static void test_signature_domain(void **state)
{
	for (size_t i = 0; i < sizeof signatures / sizeof *signatures; i++) {
		char out[DOMAIN_MAX] = "";
		int rc = dmarc_signature_domain(signatures[i].field, strlen(signatures[i].field), out);

		assert_int_equal(rc, signatures[i].domain ? 0 : -EINVAL);
		assert_string_equal(out, signatures[i].domain ? signatures[i].domain : "");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fail),      cmocka_unit_test(test_pass),  cmocka_unit_test(test_spf),            cmocka_unit_test(test_temperror),
		cmocka_unit_test(test_no_author), cmocka_unit_test(test_prefetch), cmocka_unit_test(test_stage),       cmocka_unit_test(test_library_engine),
		cmocka_unit_test(test_signature_domain), cmocka_unit_test(test_published),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
