/* uribl: which names of a message the lists of domains are asked for, in which order, and what their answers count; RFC 5782 section 5: TEST and INVALID */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/syscalls.h"
#include "filters/charset.h"
#include "filters/dnsbl_health.h"
#include "filters/uribl.h"
#include "policy/regdomain.h"
#include "support/filter_bench.h"

enum { ALL = DNSBL_USE_LINKS | DNSBL_USE_FROM | DNSBL_USE_HELO | DNSBL_USE_DKIM | DNSBL_USE_RDNS };

#define HEAD "From: a@author.example\r\nSubject: x\r\n\r\n"

static struct dnsbl_health shared;
static char *own[] = { (char *)"ours.example" };

static struct dnsbl_conf zone_conf(const char *zone, int weight, unsigned use)
{
	return (struct dnsbl_conf){ .zone = (char *)(uintptr_t)zone, .weight = weight, .timeout_ms = 1000, .test = true, .use = use, .listed = (char *)"test", .clean = (char *)"invalid" };
}

static void code_add(struct dnsbl_conf *z, const char *prefix, unsigned bit, int weight)
{
	if (prefix)
		assert_int_equal(net_parse_prefix(prefix, &z->code[z->code_count].codes), 0);
	z->code[z->code_count].bit = (unsigned char)bit;
	z->code[z->code_count++].weight = weight;
}

/* A message at its end, from 192.0.2.7; zones are well. */
static void open_with(struct filter_bench *b, struct dnsbl_conf *z, size_t count, const char *text)
{
	static const struct message_limits limits = { 1 << 20, 1 << 16, 100 };
	struct message *m = message_new(&limits, NULL, NULL);

	assert_int_equal(message_add(m, text, strlen(text)), 0);
	assert_int_equal(message_end(m), 0);
	memset(&shared, 0, sizeof(shared));
	dnsbl_health_use(&shared);
	for (size_t i = 0; i < count; i++)
		atomic_store(&shared.zone[i].state, DNSBL_WELL);
	filter_bench_open(b, "192.0.2.7");
	b->site.dnsbl = z;
	b->site.dnsbl_count = count;
	b->site.hostname = (char *)"gate.site.example";
	b->site.domains = own;
	b->site.domain_count = 1;
	b->txn.message = m;
	b->txn.stage = STAGE_DATA;
}

static void check(struct filter_bench *b, const char *name, const char *fact, const char *want)
{
	const char *got = filter_bench_word(b, fact);

	if (strcmp(got, want) != 0)
		fail_msg("%s: %s is %s", name, fact, got);
}

/* The lists' questions, with blanks between, in their order; those for other records of other filters are not among them. */
static void asked(struct filter_bench *b, const char *name, const char *zone, const char *want)
{
	AUTO(buf) struct buf got = BUF_INIT(65536);

	for (size_t i = 0; i < dns_table_asked(b->dns); i++) {
		const struct dns_question *q = dns_table_question(b->dns, i);
		size_t n = strlen(q->name), z = strlen(zone);

		if (q->type == DNS_A && n > z && strcmp(q->name + n - z, zone) == 0)
			buf_addf(&got, "%s%.*s", got.len ? " " : "", (int)(n - z - 1), q->name);
	}
	if (strcmp(buf_str(&got), want) != 0)
		fail_msg("%s: asked \"%s\"", name, buf_str(&got));
}

/* ---- what is asked ---- */

static const struct { const char *name, *text; unsigned use; bool registrable, addresses; const char *want; } questions[] = {
	{ "author and envelope", HEAD, DNSBL_USE_FROM, false, false, "author.example sender.example" },
	{ "greeting", HEAD, DNSBL_USE_HELO, false, false, "helo.example" },
	{ "reverse name", HEAD, DNSBL_USE_RDNS, false, false, "rdns.example" },
	{ "no signature", HEAD, DNSBL_USE_DKIM, false, false, "" },
	{ "the sender's first", HEAD "http://b.example http://a.example\r\n", ALL, false, false, "author.example sender.example helo.example rdns.example b.example a.example" },
	{ "many authors leave room for links", "From: a@a1.example, a@a2.example, a@a3.example, a@a4.example, a@a5.example, a@a6.example, a@a7.example\r\n\r\nhttp://b.example\r\n",
	  DNSBL_USE_FROM | DNSBL_USE_LINKS, false, false, "a1.example a2.example a3.example a4.example a5.example sender.example b.example" },
	{ "the same name twice", HEAD "http://b.example/1 http://B.example/2 http://b.example./3 https://b.example:8080\r\n", DNSBL_USE_LINKS, false, false, "b.example" },
	{ "a link to the author", HEAD "http://author.example/ http://b.example/\r\n", ALL, false, false, "author.example sender.example helo.example rdns.example b.example" },
	{ "a link to the author, links only", HEAD "http://author.example/\r\n", DNSBL_USE_LINKS, false, false, "author.example" },
	{ "host and what is above", HEAD "http://www.b.example http://b.example\r\n", DNSBL_USE_LINKS, false, false, "www.b.example b.example" },
	{ "hosts of one domain come after those of others", HEAD "http://a.b.example http://b.b.example http://c.example http://198.51.100.9/ http://d.c.example\r\n",
	  DNSBL_USE_LINKS, false, true, "a.b.example c.example 9.100.51.198 b.b.example d.c.example" },
	{ "registrable", HEAD "http://www.b.co.uk http://x.y.b.co.uk http://b.co.uk\r\n", DNSBL_USE_LINKS, true, false, "b.co.uk" },
	{ "a public suffix", HEAD "http://co.uk/\r\n", DNSBL_USE_LINKS, true, false, "" },
	{ "ours", HEAD "http://ours.example http://www.ours.example http://gate.site.example http://a.gate.site.example\r\n", DNSBL_USE_LINKS, false, false, "" },
	{ "not ours", HEAD "http://notours.example http://ours.example.b.example http://site.example\r\n", DNSBL_USE_LINKS, false, false, "notours.example ours.example.b.example site.example" },
	{ "an address", HEAD "http://198.51.100.9/\r\n", DNSBL_USE_LINKS, false, true, "9.100.51.198" },
	{ "an address in other clothes", HEAD "http://0xc6336409/ http://3325256713/ http://198.51.100.9/\r\n", DNSBL_USE_LINKS, false, true, "9.100.51.198" },
	{ "an address, not wanted", HEAD "http://198.51.100.9/ http://b.example\r\n", DNSBL_USE_LINKS, false, false, "b.example" },
	{ "an address of IPv6", HEAD "http://[2001:db8::9]/\r\n", DNSBL_USE_LINKS, false, true, "" },
	{ "IDN", "Content-Type: text/plain; charset=utf-8\r\n\r\nhttp://b\xc3\xbc" "cher.example http://xn--bcher-kva.example\r\n", DNSBL_USE_LINKS, false, false, "xn--bcher-kva.example" },
	{ "IDN of the author", "From: a@b\xc3\xbc" "cher.example\r\n\r\n", DNSBL_USE_FROM, false, false, "xn--bcher-kva.example sender.example" },
	{ "no host", HEAD "http:// http://localhost http://a..b.example http://-/ hxxp://b.example b.example\r\n", DNSBL_USE_LINKS, false, false, "" },
	{ "no message", "\r\n", DNSBL_USE_LINKS, false, false, "" },
};

static void asks(void **state)
{
	for (size_t i = 0; i < sizeof(questions) / sizeof(*questions); i++) {
		struct dnsbl_conf z = zone_conf("l.example", 4, questions[i].use);
		struct filter_bench b;

		z.registrable = questions[i].registrable;
		z.addresses = questions[i].addresses;
		open_with(&b, &z, 1, questions[i].text);
		b.txn.env.from = strdup("x@sender.example");
		b.txn.env.from_domain = strdup("sender.example");
		b.client.helo = strdup("helo.example");
		dns_table_zone(b.dns, "7.2.0.192.in-addr.arpa PTR rdns.example\nrdns.example A 192.0.2.7\n");
		check(&b, questions[i].name, "uribl.score", "0");
		asked(&b, questions[i].name, "l.example", questions[i].want);
		filter_bench_close(&b);
	}
}

/* A list's skip is for it alone, and for all that is below. */
static void skips(void **state)
{
	char *skip[] = { (char *)"a.example", (char *)"example.org" };
	struct dnsbl_conf z[2] = { zone_conf("l.example", 4, DNSBL_USE_LINKS), zone_conf("m.test", 4, DNSBL_USE_LINKS) };
	struct filter_bench b;

	z[0].skip = skip;
	z[0].skip_count = 2;
	open_with(&b, z, 2, HEAD "http://a.example http://www.a.example http://aa.example http://x.y.example.org http://org.example http://a.example.net\r\n");
	check(&b, "skip", "uribl.score", "0");
	asked(&b, "skip", "l.example", "aa.example org.example a.example.net");
	asked(&b, "no skip", "m.test", "a.example aa.example x.y.example.org org.example a.example.net www.a.example");
	filter_bench_close(&b);
}

/* The first forty, whatever is listed behind them. */
static void bounded(void **state)
{
	struct dnsbl_conf z = zone_conf("l.example", 4, DNSBL_USE_LINKS | DNSBL_USE_FROM);
	AUTO(buf) struct buf text = BUF_INIT(1 << 20), want = BUF_INIT(65536);
	struct filter_bench b;

	buf_adds(&text, HEAD);
	buf_adds(&want, "author.example");
	for (int i = 0; i < 5000; i++) {
		buf_addf(&text, "http://n%d.example/\r\n", i);
		if (i < URIBL_NAMES_MAX - 1)
			buf_addf(&want, " n%d.example", i);
	}
	open_with(&b, &z, 1, buf_str(&text));
	dns_table_zone(b.dns, "n38.example.l.example A 127.0.0.2\nn39.example.l.example A 127.0.0.2\nn4999.example.l.example A 127.0.0.2\n");
	check(&b, "bounded", "uribl.score", "4");
	check(&b, "bounded", "uribl.names", "n38.example link l.example=127.0.0.2");
	asked(&b, "bounded", "l.example", buf_str(&want));
	filter_bench_close(&b);
}

/* As many hosts of one domain as anybody likes, and one of another behind them, or an address. */
static void one_domain_hides_none(void **state)
{
	static const struct { const char *link, *question, *names; } rows[] = {
		{ "http://www.bad.example/", "www.bad.example", "www.bad.example link l.example=127.0.0.2" },
		{ "http://198.51.100.9/", "9.100.51.198", "9.100.51.198 link l.example=127.0.0.2" },
	};

	for (size_t r = 0; r < 2; r++)
		for (int hosts = 30; hosts < 1000; hosts *= 5) {
			struct dnsbl_conf z = zone_conf("l.example", 4, DNSBL_USE_LINKS | DNSBL_USE_FROM);
			AUTO(buf) struct buf text = BUF_INIT(1 << 20);
			struct filter_bench b;
			char record[100];

			z.addresses = true;
			buf_adds(&text, HEAD);
			for (int i = 0; i < hosts; i++)
				buf_addf(&text, "http://n%d.many.example/\r\n", i);
			buf_addf(&text, "%s\r\n", rows[r].link);
			open_with(&b, &z, 1, buf_str(&text));
			snprintf(record, sizeof(record), "%s.l.example A 127.0.0.2\n", rows[r].question);
			dns_table_zone(b.dns, record);
			check(&b, "hidden", "uribl.score", "4");
			check(&b, "hidden", "uribl.names", rows[r].names);
			check(&b, "hidden", "link.cut", hosts < 64 ? "false" : "true");
			filter_bench_close(&b);
		}
}

/* The author's domain is asked of one list; where links lead is the other's, also when that is the author's, and there are too many. */
static void author_hides_none(void **state)
{
	struct dnsbl_conf z[2] = { zone_conf("l.example", 4, DNSBL_USE_FROM), zone_conf("m.test", 4, DNSBL_USE_LINKS) };
	AUTO(buf) struct buf text = BUF_INIT(1 << 20);
	struct filter_bench b;

	buf_adds(&text, HEAD "http://www.author.example/\r\n");
	for (int i = 0; i < URIBL_NAMES_MAX; i++)
		buf_addf(&text, "http://n%d.example/\r\n", i);
	open_with(&b, z, 2, buf_str(&text));
	dns_table_zone(b.dns, "www.author.example.m.test A 127.0.0.2\n");
	check(&b, "author", "uribl.score", "4");
	check(&b, "author", "uribl.names", "www.author.example link m.test=127.0.0.2");
	filter_bench_close(&b);
}

/* A question that is no name: it is not asked, and the others are. */
static void too_long(void **state)
{
	struct dnsbl_conf z = zone_conf("l.example", 4, DNSBL_USE_LINKS);
	char label[61], text[1024];
	struct filter_bench b;

	memset(label, 'a', 60);
	label[60] = '\0';
	snprintf(text, sizeof(text), HEAD "http://%s.%s.%s.%s.com/ http://b.example/\r\n", label, label, label, label);
	open_with(&b, &z, 1, text);
	check(&b, "too long", "uribl.score", "0");
	asked(&b, "too long", "l.example", "b.example");
	filter_bench_close(&b);
}

/* ---- what is answered ---- */

static const struct { const char *name, *records, *score, *names; bool suspect; } answers[] = {
	{ "not listed", "", "0", "", false },
	{ "listed", "A 127.0.1.2", "4", "b.example link l.example=127.0.1.2", false },
	{ "two codes", "A 127.0.1.2\nA 127.0.1.4", "4", "b.example link l.example=127.0.1.2,b.example link l.example=127.0.1.4", false },
	{ "127.0.0.1", "A 127.0.0.1", "0", "", false },
	{ "asked for an address", "A 127.0.1.255", "0", "", true },
	{ "asked for an address, and a code", "A 127.0.1.2\nA 127.0.1.255", "0", "", true },
	{ "error of typing", "A 127.255.255.252", "0", "", true },
	{ "a public resolver", "A 127.255.255.254", "0", "", true },
	{ "over the limit", "A 127.255.255.255", "0", "", true },
	{ "error and a code", "A 127.0.1.2\nA 127.255.255.254", "0", "", true },
	{ "near the errors", "A 127.255.254.255", "4", "b.example link l.example=127.255.254.255", false },
	{ "near 127.0.1.255", "A 127.0.1.254", "4", "b.example link l.example=127.0.1.254", false },
	{ "parked", "A 203.0.113.80", "0", "", true },
	{ "126.x", "A 126.0.0.2", "0", "", true },
	{ "TXT only", "TXT blocked", "0", "", false },
	{ "timeout", "TIMEOUT", "0", "", false },
	{ "SERVFAIL", "SERVFAIL", "0", "", false },
	{ "three bytes", "TYPE1 7f0000", "0", "", true },
	{ "five bytes", "TYPE1 7f00000200", "0", "", true },
};

static void counts(void **state)
{
	for (size_t i = 0; i < sizeof(answers) / sizeof(*answers); i++) {
		struct dnsbl_conf z = zone_conf("l.example", 4, DNSBL_USE_LINKS);
		char lines[512] = "";
		struct filter_bench b;

		open_with(&b, &z, 1, HEAD "http://b.example/\r\n");
		for (const char *p = answers[i].records; *p;) {
			size_t n = strcspn(p, "\n");

			snprintf(lines + strlen(lines), sizeof(lines) - strlen(lines), "b.example.l.example %.*s\n", (int)n, p);
			p += n + (p[n] == '\n');
		}
		dns_table_zone(b.dns, lines);
		check(&b, answers[i].name, "uribl.score", answers[i].score);
		check(&b, answers[i].name, "uribl.zones", strcmp(answers[i].score, "0") ? "l.example" : "");
		check(&b, answers[i].name, "uribl.names", answers[i].names);
		assert_int_equal(atomic_load(&shared.zone[0].suspect), answers[i].suspect);
		filter_bench_close(&b);
	}
}

/* Networks, bits, and of all names of a list the one that weighs most. */
static void weighs(void **state)
{
	static const struct { const char *name, *records, *score, *why; } rows[] = {
		{ "one bit", "b.example.bits.test A 127.0.0.8", "6", "bits.test: b.example (link) counts +6" },
		{ "the strongest bit", "b.example.bits.test A 127.0.0.88", "-7", "bits.test: b.example (link) counts -7" },
		{ "a bit without weight", "b.example.bits.test A 127.0.0.32", "0", "" },
		{ "bits among others", "b.example.bits.test A 127.0.0.40", "6", "bits.test: b.example (link) counts +6" },
		{ "only the last octet has bits", "b.example.bits.test A 127.0.8.32", "0", "" },
		{ "once a list", "b.example.codes.test A 127.0.1.2\nc.example.codes.test A 127.0.1.2", "2", "codes.test: b.example (link) counts +2" },
		{ "the strongest name", "b.example.codes.test A 127.0.1.2\nc.example.codes.test A 127.0.1.102", "-3", "codes.test: c.example (link) counts -3" },
		{ "the first network that fits", "b.example.codes.test A 127.0.1.3", "2", "codes.test: b.example (link) counts +2" },
		{ "no accepted code", "b.example.codes.test A 127.0.9.9", "0", "" },
		{ "two lists", "b.example.codes.test A 127.0.1.2\nc.example.bits.test A 127.0.0.8", "8",
		  "bits.test: c.example (link) counts +6, codes.test: b.example (link) counts +2" },
		{ "a list that is away", "b.example.codes.test TIMEOUT\nc.example.codes.test A 127.0.1.2", "2", "codes.test: timeout" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct dnsbl_conf z[2] = { zone_conf("bits.test", 1, DNSBL_USE_LINKS), zone_conf("codes.test", 1, DNSBL_USE_LINKS) };
		struct filter_bench b;

		code_add(&z[0], NULL, 8, 6);
		code_add(&z[0], NULL, 16, -7);
		code_add(&z[0], NULL, 64, 3);
		code_add(&z[1], "127.0.1.0/26", 0, 2);
		code_add(&z[1], "127.0.1.3", 0, 9);
		code_add(&z[1], "127.0.1.102", 0, -3);
		open_with(&b, z, 2, HEAD "http://b.example/ http://c.example\r\n");
		dns_table_zone(b.dns, rows[i].records);
		check(&b, rows[i].name, "uribl.score", rows[i].score);
		if (!strstr(filter_bench_why(&b, "uribl.score"), rows[i].why) || (!rows[i].why[0] && filter_bench_why(&b, "uribl.score")[0]))
			fail_msg("%s: because %s", rows[i].name, filter_bench_why(&b, "uribl.score"));
		filter_bench_close(&b);
	}
}

/* The client goes while all are asked; lists of addresses beside are not asked for names. */
static void dropped(void **state)
{
	struct dnsbl_conf z[2] = { zone_conf("l.example", 4, DNSBL_USE_LINKS), zone_conf("ip.test", 4, 0) };
	struct filter_bench b;
	char *helo = strdup("helo.example");

	z[1].ipv4 = z[1].ipv6 = true;
	open_with(&b, z, 2, HEAD "http://b.example/ http://c.example\r\n");
	b.client.helo = helo;
	dns_table_zone(b.dns, "7.2.0.192.ip.test A 127.0.0.2\nb.example.ip.test A 127.0.0.2\nb.example.l.example A 127.0.0.2\n");
	check(&b, "beside", "uribl.score", "4");
	check(&b, "beside", "uribl.zones", "l.example");
	asked(&b, "beside", "ip.test", "");
	check(&b, "beside", "dnsbl.zones", "ip.test");
	filter_bench_close(&b);
}

static int start_nothing(struct dns *d, const char *name, enum dns_type type, int timeout_ms, struct dns_lookup **out)
{
	return -ENOMEM;
}

/* What could not be looked up is never taken for what is not listed. */
static void no_memory(void **state)
{
	static const struct dns_ops ops = { .start = start_nothing };
	struct dnsbl_conf z = zone_conf("l.example", 4, DNSBL_USE_LINKS);
	struct dns none = { .ops = &ops };
	struct filter_bench b;

	open_with(&b, &z, 1, HEAD "http://b.example/\r\n");
	b.txn.dns = &none;
	check(&b, "no memory", "uribl.score", "TEMPERROR");
	filter_bench_close(&b);
}

/* ---- RFC 5782 section 5: a list of domains has TEST, and has not INVALID; or what its conf names instead ---- */

static const struct { const char *name, *records; enum dnsbl_state want; bool own_points; } tests_of[] = {
	{ "well", "test.z A 127.0.0.2", DNSBL_WELL, false },
	{ "well, another code", "test.z A 127.0.1.2\ntest.z TXT blocked", DNSBL_WELL, false },
	{ "lists nothing", "z NODATA", DNSBL_LISTS_NONE, false },
	{ "TEST with 127.0.0.1", "test.z A 127.0.0.1", DNSBL_LISTS_NONE, false },
	{ "the points of address lists", "2.0.0.127.z A 127.0.0.2", DNSBL_LISTS_NONE, false },
	{ "lists everything", "*.z A 127.0.0.2", DNSBL_LISTS_ALL, false },
	{ "lists INVALID", "test.z A 127.0.0.2\ninvalid.z A 127.0.0.2", DNSBL_LISTS_ALL, false },
	{ "INVALID with 127.0.0.1", "test.z A 127.0.0.2\ninvalid.z A 127.0.0.1", DNSBL_WELL, false },
	{ "an error", "test.z A 127.255.255.254", DNSBL_ERRORS, false },
	{ "an error for INVALID", "test.z A 127.0.0.2\ninvalid.z A 127.255.255.255", DNSBL_ERRORS, false },
	{ "taken for an address", "test.z A 127.0.1.255", DNSBL_ERRORS, false },
	{ "an error for all", "*.z A 127.0.1.255", DNSBL_ERRORS, false },
	{ "parked", "*.z A 203.0.113.80", DNSBL_STRANGE, false },
	{ "away", "*.z TIMEOUT", DNSBL_AWAY, false },
	{ "half away", "test.z A 127.0.0.2\ninvalid.z SERVFAIL", DNSBL_AWAY, false },
	{ "its own points", "listed.com.z A 127.0.1.2", DNSBL_WELL, true },
	{ "its own points, not listed", "test.z A 127.0.0.2", DNSBL_LISTS_NONE, true },
	{ "its own clean point", "listed.com.z A 127.0.1.2\nclean.com.z A 127.0.1.2", DNSBL_LISTS_ALL, true },
};

static void tested(void **state)
{
	for (size_t i = 0; i < sizeof(tests_of) / sizeof(*tests_of); i++) {
		struct dnsbl_conf z = zone_conf("z", 4, DNSBL_USE_LINKS);
		bool well = tests_of[i].want == DNSBL_WELL;
		struct filter_bench b;

		if (tests_of[i].own_points) {
			z.listed = (char *)"listed.com";
			z.clean = (char *)"clean.com";
		}
		open_with(&b, &z, 1, HEAD "http://b.example/\r\n");
		memset(&shared, 0, sizeof(shared));
		dnsbl_health_use(&shared);
		dns_table_zone(b.dns, tests_of[i].records);
		dnsbl_health_test(&b.site, dns_table_dns(b.dns), NULL);
		if (dnsbl_health_state(0) != tests_of[i].want)
			fail_msg("%s: %s", tests_of[i].name, dnsbl_health_text(&z, dnsbl_health_state(0)));
		assert_int_equal(dns_table_asked(b.dns), 2);
		/* what is benched is not asked, counts nothing, and is said */
		dns_table_forget(b.dns);
		dns_table_add(b.dns, "b.example.z", "A", "127.0.0.2");
		check(&b, tests_of[i].name, "uribl.score", well ? "4" : "0");
		check(&b, tests_of[i].name, "uribl.benched", well ? "" : "z");
		asked(&b, tests_of[i].name, "z", well ? "b.example" : "");
		filter_bench_close(&b);
	}
}

static int setup(void **state)
{
	const char *missing = NULL;

	log_open("test", LOG_LEVEL_ERROR);
	fact_register_all();
	assert_int_equal(regdomain_init(NULL), 0);
	if (getenv("UNDER_VALGRIND"))           /* it does not know seccomp(2): the boxes' processes go without */
		syscalls_none();
	return charset_setup(&missing);
}

static int teardown(void **state)
{
	dnsbl_health_use(NULL);
	regdomain_release();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(asks),	  cmocka_unit_test(skips),  cmocka_unit_test(bounded), cmocka_unit_test(too_long),
		cmocka_unit_test(counts), cmocka_unit_test(weighs), cmocka_unit_test(dropped), cmocka_unit_test(tested),
		cmocka_unit_test(no_memory), cmocka_unit_test(one_domain_hides_none), cmocka_unit_test(author_hides_none),
	};

	return cmocka_run_group_tests_name("uribl", tests, setup, teardown);
}
