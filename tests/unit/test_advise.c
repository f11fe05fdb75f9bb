/* What is said of a domain's records: zones in a table, and the lines that must be among those that come out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "command/advise.h"
#include "hop/mta_sts.h"
#include "policy/regdomain.h"
#include "support/dns_table.h"

struct row {
	const char *name, *zone;
	const char *from;               /* an outgoing address, or NULL */
	const char *want[4];            /* beginnings of lines "level subject text", or parts after a * */
	const char *never;              /* a part that no line has, or NULL */
};

typedef void subject(struct advise *a);

static int setup(void **state)
{
	(void)regdomain_init(NULL);
	return 0;
}

/* All lines, for the search and for whoever reads the failure. */
static void lines_of(const struct advise *a, struct buf *out)
{
	for (size_t i = 0; i < a->count; i++)
		buf_addf(out, "%s %s %s\n", advise_level_name(a->list[i].level), a->list[i].subject, a->list[i].text);
}

static void run(const struct row *r, subject *const *subjects, bool secure)
{
	AUTO(dns_table) struct dns_table *t = dns_table_new();
	AUTO(buf) struct buf lines = BUF_INIT(1 << 16);
	struct advise *a = calloc(1, sizeof(*a));

	dns_table_zone(t, r->zone);
	dns_table_secure(t, secure);
	a->dns = dns_table_dns(t);
	a->dnssec = true;
	snprintf(a->domain, sizeof(a->domain), "example.com");
	if (r->from)
		assert_int_equal(net_parse(r->from, &a->from[a->from_count++]), 0);
	for (; *subjects; subjects++)
		(*subjects)(a);
	lines_of(a, &lines);
	for (size_t i = 0; i < 4 && r->want[i]; i++)
		if (!strstr(buf_str(&lines), r->want[i]))
			fail_msg("%s: no \"%s\" in\n%s", r->name, r->want[i], buf_str(&lines));
	if (!r->want[0] && lines.len)
		fail_msg("%s: expected nothing, got\n%s", r->name, buf_str(&lines));
	if (r->never && strstr(buf_str(&lines), r->never))
		fail_msg("%s: \"%s\" in\n%s", r->name, r->never, buf_str(&lines));
	advise_release(a);
	free(a);
}

static void run_rows(const struct row *rows, size_t count, subject *const *subjects, bool secure)
{
	for (size_t i = 0; i < count; i++)
		run(&rows[i], subjects, secure);
}

#define RUN(rows, secure, ...) run_rows(rows, sizeof(rows) / sizeof(*(rows)), (subject *const[]){ __VA_ARGS__, NULL }, secure)

static void test_spf(void **state)
{
	static const struct row rows[] = {
		{ "good", "example.com TXT v=spf1 ip4:192.0.2.5 -all\n", "192.0.2.5", { "ok SPF one record, that ends in -all", "ok SPF mail from 192.0.2.5 passes" }, "bad" },
		{ "other records beside it", "example.com TXT google-site-verification=x\nexample.com TXT v=spf1 mx ~all\nexample.com MX 1 m.example.com\n"
		  "m.example.com A 192.0.2.5\n", NULL, { "ok SPF one record, that ends in ~all" }, "bad" },
		{ "mail from elsewhere", "example.com TXT v=spf1 ip4:192.0.2.5 -all\n", "192.0.2.6", { "bad SPF your own mail from 192.0.2.6 is \"fail\"" }, NULL },
		{ "none", "example.com A 192.0.2.1\n", NULL, { "bad SPF there is no record" }, NULL },
		{ "another's", "example.com TXT v=spf10 -all\n", NULL, { "bad SPF there is no record" }, NULL },
		{ "two", "example.com TXT v=spf1 -all\nexample.com TXT v=spf1 mx -all\n", NULL, { "bad SPF there are 2 records" }, NULL },
		{ "mistake", "example.com TXT v=spf1 ip4:300.1.1.1 -all\n", NULL, { "bad SPF the record has a mistake", "\"ip4:300.1.1.1\"" }, "ends in" },
		{ "unknown mechanism", "example.com TXT v=spf1 mail:x -all\n", NULL, { "bad SPF the record has a mistake" }, NULL },
		{ "everybody", "example.com TXT v=spf1 +all\n", NULL, { "bad SPF +all lets everybody", "bad SPF any address passes" }, NULL },
		{ "everybody, by network", "example.com TXT v=spf1 ip4:0.0.0.0/1 ip4:128.0.0.0/1 -all\n", NULL, { "bad SPF any address passes" }, NULL },
		{ "nothing of others", "example.com TXT v=spf1 ip4:192.0.2.5\n", NULL, { "warn SPF the record does not say what of all others" }, NULL },
		{ "neutral", "example.com TXT v=spf1 ip4:192.0.2.5 ?all\n", NULL, { "warn SPF ?all says nothing" }, NULL },
		{ "no mail", "example.com TXT v=spf1 -all\n", NULL, { "ok SPF the domain says that it sends no mail" }, "warn" },
		{ "behind all", "example.com TXT v=spf1 -all ip4:192.0.2.5\n", NULL, { "warn SPF what stands behind -all" }, NULL },
		{ "ptr", "example.com TXT v=spf1 ptr -all\n", NULL, { "warn SPF ptr is slow" }, NULL },
		{ "redirect", "example.com TXT v=spf1 redirect=a.example\na.example TXT v=spf1 ip4:192.0.2.5 -all\n", "192.0.2.5", { "ok SPF mail from 192.0.2.5 passes" }, "bad" },
		{ "redirect into the void", "example.com TXT v=spf1 redirect=a.example\n", NULL, { "bad SPF receivers see an error (permerror)" }, NULL },
		{ "include of nothing", "example.com TXT v=spf1 include:a.example -all\n", NULL, { "bad SPF receivers see an error (permerror)" }, NULL },
		{ "too many", "example.com TXT v=spf1 a:a.e a:b.e a:c.e a:d.e a:e.e a:f.e a:g.e a:h.e a:i.e a:j.e a:k.e -all\n"
		  "a.e A 192.0.2.1\nb.e A 192.0.2.1\nc.e A 192.0.2.1\nd.e A 192.0.2.1\ne.e A 192.0.2.1\nf.e A 192.0.2.1\ng.e A 192.0.2.1\nh.e A 192.0.2.1\n"
		  "i.e A 192.0.2.1\nj.e A 192.0.2.1\nk.e A 192.0.2.1\n", NULL, { "bad SPF receivers see an error" }, NULL },
		{ "nearly too many", "example.com TXT v=spf1 a:a.e a:b.e a:c.e a:d.e a:e.e a:f.e a:g.e a:h.e a:i.e -all\n"
		  "a.e A 192.0.2.1\nb.e A 192.0.2.1\nc.e A 192.0.2.1\nd.e A 192.0.2.1\ne.e A 192.0.2.1\nf.e A 192.0.2.1\ng.e A 192.0.2.1\nh.e A 192.0.2.1\n"
		  "i.e A 192.0.2.1\n", NULL, { "warn SPF 9 of the 10 lookups" }, "bad" },
		{ "names that are not there", "example.com TXT v=spf1 a:a.e a:b.e ip4:192.0.2.5 -all\n", NULL, { "warn SPF 2 names in it do not exist" }, NULL },
		{ "no answer", "example.com SERVFAIL TXT\n", NULL, { "warn SPF the DNS gives no answer for TXT" }, "bad" },
		{ "no answer further on", "example.com TXT v=spf1 include:a.example -all\na.example TIMEOUT TXT\n", NULL, { "warn SPF could not be evaluated now" }, "bad" },
		{ "controls", "example.com TXT v=spf1 \033[31m -all\n", NULL, { "bad SPF" }, NULL },
	};

	RUN(rows, false, advise_spf);
}

static void test_mx(void **state)
{
	static const struct row rows[] = {
		{ "good", "example.com MX 10 m.example.com\nm.example.com A 192.0.2.1\n", NULL, { "ok MX 10 m.example.com, 192.0.2.1" }, "warn" },
		{ "IPv6 alone", "example.com MX 10 m.example.com\nm.example.com AAAA 2001:db8::1\n", NULL, { "ok MX 10 m.example.com, 2001:db8::1" }, "warn" },
		{ "null", "example.com MX 0 .\n", NULL, { "ok MX the domain says that it takes no mail" }, "warn" },
		{ "null beside another", "example.com MX 0 .\nexample.com MX 10 m.example.com\nm.example.com A 192.0.2.1\n", NULL, { "bad MX the null MX stands beside others", "ok MX 10" }, NULL },
		{ "alias", "example.com MX 10 m.example.com\nm.example.com CNAME h.example.com\nh.example.com A 192.0.2.1\n", NULL, { "warn MX m.example.com is an alias" }, "bad" },
		{ "no address", "example.com MX 10 m.example.com\n", NULL, { "bad MX m.example.com has no address" }, NULL },
		{ "an address for a name", "example.com MX 10 192.0.2.1\n", NULL, { "bad MX 192.0.2.1 is an address" }, NULL },
		{ "inner network", "example.com MX 10 m.example.com\nm.example.com A 192.168.1.1\n", NULL, { "bad MX m.example.com has the address 192.168.1.1" }, "ok" },
		{ "loopback", "example.com MX 10 localhost.example\nlocalhost.example A 127.0.0.1\n", NULL, { "bad MX localhost.example has the address 127.0.0.1" }, NULL },
		{ "none, but an address", "example.com A 192.0.2.1\n", NULL, { "warn MX there is no MX record" }, "bad" },
		{ "none at all", "example.com TXT x\n", NULL, { "bad MX there is neither" }, NULL },
		{ "no domain", "other.example A 192.0.2.1\n", NULL, { "bad MX there is no domain example.com" }, NULL },
		{ "no answer", "example.com TIMEOUT MX\n", NULL, { "warn MX the DNS gives no answer for MX" }, "bad" },
		{ "no answer for the host", "example.com MX 10 m.example.com\nm.example.com SERVFAIL\n", NULL, { "warn MX the DNS gives no answer for the addresses of m.example.com" }, "bad" },
	};

	RUN(rows, false, advise_mx);
}

static void test_dmarc(void **state)
{
	static const struct row rows[] = {
		{ "reject", "_dmarc.example.com TXT v=DMARC1; p=reject; rua=mailto:a@example.com\n", NULL, { "ok DMARC _dmarc.example.com asks receivers to reject" }, "warn" },
		{ "none", "example.com A 192.0.2.1\n", NULL, { "bad DMARC there is no record" }, NULL },
		{ "p=none", "_dmarc.example.com TXT v=DMARC1; p=none; rua=mailto:a@example.com\n", NULL, { "warn DMARC _dmarc.example.com asks receivers to do nothing" }, "bad" },
		{ "no reports", "_dmarc.example.com TXT v=DMARC1; p=reject\n", NULL, { "warn DMARC it names no address for reports" }, "bad" },
		{ "less below", "_dmarc.example.com TXT v=DMARC1; p=reject; sp=none; np=quarantine; rua=mailto:a@example.com\n", NULL, { "(sp=none)", "(np=quarantine)" }, "bad" },
		{ "testing", "_dmarc.example.com TXT v=DMARC1; p=reject; t=y; rua=mailto:a@example.com\n", NULL,
		  { "warn DMARC t=y asks receivers to do only the milder thing, quarantine", "warn DMARC receivers with the older rules" }, "bad" },
		{ "two records", "_dmarc.example.com TXT v=DMARC1; p=reject\n_dmarc.example.com TXT v=DMARC1; p=none\n", NULL, { "bad DMARC _dmarc.example.com:" }, "ok" },
		{ "v= not first", "_dmarc.example.com TXT p=reject; v=DMARC1\n", NULL, { "bad DMARC" }, "ok" },
		{ "no p=, no rua", "_dmarc.example.com TXT v=DMARC1; adkim=s\n", NULL, { "bad DMARC" }, "ok" },
		{ "no answer", "_dmarc.example.com SERVFAIL TXT\n", NULL, { "warn DMARC the DNS gives no answer" }, "bad" },
	};

	RUN(rows, false, advise_dmarc);
}

static void test_ptr(void **state)
{
	static const struct row rows[] = {
		{ "good", "5.2.0.192.in-addr.arpa PTR m.example.com\nm.example.com A 192.0.2.5\n", "192.0.2.5", { "ok PTR 192.0.2.5 is m.example.com" }, NULL },
		{ "no name", "x.example A 192.0.2.1\n", "192.0.2.5", { "bad PTR 192.0.2.5 has no name" }, NULL },
		{ "does not lead back", "5.2.0.192.in-addr.arpa PTR m.example.com\nm.example.com A 192.0.2.6\n", "192.0.2.5", { "bad PTR 192.0.2.5 is called m.example.com, but" }, NULL },
		{ "the second leads back", "5.2.0.192.in-addr.arpa PTR x.example\n5.2.0.192.in-addr.arpa PTR m.example.com\nm.example.com A 192.0.2.5\n", "192.0.2.5", { "ok PTR 192.0.2.5 is m.example.com" }, NULL },
		{ "no answer", "5.2.0.192.in-addr.arpa TIMEOUT PTR\n", "192.0.2.5", { "warn PTR the DNS gives no answer" }, "bad PTR" },
		{ "no answer for the name", "5.2.0.192.in-addr.arpa PTR m.example.com\nm.example.com SERVFAIL A\n", "192.0.2.5", { "warn PTR the DNS gives no answer" }, "bad PTR" },
		{ "an MX without a name", "example.com MX 1 m.example.com\nm.example.com A 192.0.2.5\n", NULL, { "warn PTR 192.0.2.5 has no name", "if mail leaves from there" }, "bad PTR" },
		{ "not a host name", "5.2.0.192.in-addr.arpa PTR a\\032b.example.com\n", "192.0.2.5", { "bad PTR 192.0.2.5 has no name" }, NULL },
	};

	RUN(rows, false, advise_mx, advise_ptr);
}

#define MX "example.com MX 1 m.example.com\nm.example.com A 192.0.2.5\n"
#define SHA256 "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

static void test_tls(void **state)
{
	static const struct row unsigned_rows[] = {
		{ "neither", MX, NULL, { "warn MTA-STS nothing makes senders use TLS" }, "ok TLSA" },
		{ "TLSA without DNSSEC", MX "_25._tcp.m.example.com TYPE52 030101" SHA256 "\n", NULL, { "warn TLSA", "count nothing", "warn MTA-STS nothing makes" }, "ok TLSA" },
		{ "TLSA for the web", MX "_25._tcp.m.example.com TYPE52 010101" SHA256 "\n", NULL, { "warn TLSA _25._tcp.m.example.com has no record that senders of mail use" }, NULL },
		{ "TLSA cut", MX "_25._tcp.m.example.com TYPE52 0301010203\n", NULL, { "warn TLSA _25._tcp.m.example.com has no record that" }, NULL },
		{ "TLSA fails", MX "_25._tcp.m.example.com SERVFAIL\n", NULL, { "bad TLSA _25._tcp.m.example.com cannot be looked up" }, NULL },
		{ "MTA-STS record, nobody fetches", MX "_mta-sts.example.com TXT v=STSv1; id=1\n", NULL, { "ok MX" }, "MTA-STS " },
		{ "MTA-STS record without id", MX "_mta-sts.example.com TXT v=STSv1;\n", NULL, { "bad MTA-STS _mta-sts.example.com has no record that counts" }, NULL },
		{ "two of them", MX "_mta-sts.example.com TXT v=STSv1; id=1\n_mta-sts.example.com TXT v=STSv1; id=2\n", NULL, { "bad MTA-STS" }, NULL },
		{ "no answer", MX "_mta-sts.example.com TIMEOUT\n", NULL, { "warn MTA-STS the DNS gives no answer" }, NULL },
		{ "no mail", "example.com MX 0 .\n", NULL, { "ok MX" }, "MTA-STS" },
	};
	static const struct row signed_rows[] = {
		{ "DANE", MX "_25._tcp.m.example.com TYPE52 030101" SHA256 "\n", NULL, { "ok TLSA _25._tcp.m.example.com has 1 usable record, signed", "ok MTA-STS there is no record; DANE" }, "warn" },
		{ "one host of two", MX "example.com MX 2 n.example.com\nn.example.com A 192.0.2.6\n_25._tcp.m.example.com TYPE52 030101" SHA256 "\n", NULL, { "ok TLSA", "warn MTA-STS" }, NULL },
	};

	RUN(unsigned_rows, false, advise_mx, advise_dane, advise_sts);
	RUN(signed_rows, true, advise_mx, advise_dane, advise_sts);
}

static void test_sts_policy(void **state)
{
	static const struct {
		const char *policy, *want;
		enum advice_level worst;
	} rows[] = {
		{ "version: STSv1\nmode: enforce\nmx: m.example.com\nmax_age: 604800\n", "names every MX", ADVICE_OK },
		{ "version: STSv1\nmode: enforce\nmx: *.example.com\nmax_age: 604800\n", "names every MX", ADVICE_OK },
		{ "version: STSv1\nmode: enforce\nmx: n.example.com\nmax_age: 604800\n", "does not name m.example.com", ADVICE_BAD },
		{ "version: STSv1\nmode: testing\nmx: n.example.com\nmax_age: 604800\n", "would not deliver", ADVICE_WARN },
		{ "version: STSv1\nmode: testing\nmx: m.example.com\nmax_age: 604800\n", "mode testing", ADVICE_WARN },
		{ "version: STSv1\nmode: none\nmax_age: 604800\n", "mode none", ADVICE_WARN },
		{ "version: STSv1\nmode: enforce\nmx: m.example.com\nmax_age: 60\n", "60 seconds only", ADVICE_WARN },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(buf) struct buf lines = BUF_INIT(1 << 16);
		struct advise *a = calloc(1, sizeof(*a));
		struct mta_sts_policy *p;
		const char *why;

		assert_int_equal(mta_sts_parse(rows[i].policy, strlen(rows[i].policy), &p, &why), 0);
		a->host_count = 1;
		snprintf(a->host[0].name, sizeof(a->host[0].name), "m.example.com");
		advise_sts_judge(a, p);
		lines_of(a, &lines);
		if (!strstr(buf_str(&lines), rows[i].want) || advise_worst(a) != rows[i].worst)
			fail_msg("%s: %s", rows[i].policy, buf_str(&lines));
		mta_sts_policy_free(p);
		advise_release(a);
		free(a);
	}
}

static void test_dkim(void **state)
{
	static const struct row rows[] = {
		{ "no configuration", "example.com A 192.0.2.1\n", NULL, { "warn DKIM no configuration was read" }, NULL },
	};

	RUN(rows, false, advise_dkim);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spf), cmocka_unit_test(test_mx), cmocka_unit_test(test_dmarc), cmocka_unit_test(test_ptr),
		cmocka_unit_test(test_tls), cmocka_unit_test(test_sts_policy), cmocka_unit_test(test_dkim),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
