/*
 * fuzz_dnsbl - answers fed to the filters that ask about the client: lists, their tests, reverse names, HELO
 *
 * The input is a header of two bytes (which family, which HELO), then records: zone or name (1 byte), type (1 byte), length (1 byte), RDATA.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "filters/dnsbl_health.h"
#include "filters/helo.h"
#include "tests/support/filter_bench.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static const char *const names[] = {
	"7.2.0.192.a.example", "7.2.0.192.b.example", "2.0.0.127.a.example", "1.0.0.127.a.example", "2.0.0.127.b.example", "1.0.0.127.b.example",
	"7.2.0.192.in-addr.arpa", "host.example", "mail.example",
	"7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.a.example",
	"7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
};
static const enum dns_type types[] = { DNS_A, DNS_AAAA, DNS_PTR };
static const char *const words[] = { "dnsbl.score", "dnsbl.zones", "dnsbl.codes", "dnsbl.benched", "client.fcrdns", "client.rdns", "helo.resolves", "helo.ours" };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	log_open("fuzz", LOG_LEVEL_ERROR);
	return 0;
}

static void records(struct filter_bench *b, const uint8_t *p, size_t size)
{
	while (size >= 3) {
		size_t len = p[2] < size - 3 ? p[2] : size - 3;

		if (p[1] % 8 < 3)
			dns_table_add_rdata(b->dns, names[p[0] % 11], types[p[1] % 8], p + 3, len);
		else if (p[1] % 8 < 5)
			dns_table_add(b->dns, names[p[0] % 11], p[1] % 8 == 3 ? "TIMEOUT" : "SERVFAIL", "");
		else
			dns_table_add(b->dns, names[p[0] % 11], "CNAME", names[len % 11]);
		p += 3 + len;
		size -= 3 + len;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct dnsbl_health shared;
	static char *domains[] = { "our.example" };
	struct dnsbl_conf zones[2] = {
		{ .zone = "a.example", .weight = 3, .ipv4 = true, .ipv6 = true, .test = true },
		{ .zone = "b.example", .weight = -2, .ipv4 = true, .test = true, .code_count = 1 },
	};
	struct filter_bench b;
	char *helo;

	if (size < 2)
		return 0;
	memset(&shared, 0, sizeof(shared));
	dnsbl_health_use(data[1] & 1 ? &shared : NULL);
	net_parse_prefix("127.0.0.0/30", &zones[1].code[0].codes);
	filter_bench_open(&b, data[0] & 1 ? "2001:db8::7" : "192.0.2.7");
	b.site.dnsbl = zones;
	b.site.dnsbl_count = 2;
	b.site.hostname = "mail.example";
	b.site.domains = domains;
	b.site.domain_count = 1;
	b.txn.stage = STAGE_MAIL;
	helo = data[1] & 2 ? strndup((const char *)data + 2, size - 2) : strdup("host.example");
	b.client.helo = helo;
	records(&b, data + 2, size - 2);
	if (data[1] & 1)
		dnsbl_health_test(&b.site, dns_table_dns(b.dns), NULL);
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		(void)filter_bench_word(&b, words[i]);

	const struct fact *score = filter_bench_fact(&b, "dnsbl.score");

	assert(score->state == FACT_KNOWN && score->number >= -2 && score->number <= 3);
	filter_bench_close(&b);         /* frees helo */
	return 0;
}
