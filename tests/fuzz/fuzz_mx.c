/*
 * fuzz_mx - the hosts of a domain, whatever the DNS says
 *
 * Input: records, each a byte for its kind (MX of the domain, A or AAAA of mx.example, end), one for its length, RDATA; then the domain itself.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "hop/mx.h"
#include "support/dns_table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool ours(void *arg, const struct net_addr *a)
{
	return a->ip[0] == 10;
}

static bool usable(void *arg, const struct net_addr *a)
{
	return !net_is_loopback(a);
}

static uint32_t chance(void *arg)
{
	return ++*(uint32_t *)arg * 2654435761u;
}

static void check(const struct mx *mx)
{
	assert((mx->status == MX_FOUND) == (mx->count > 0) && mx->count <= MX_HOSTS_MAX);
	assert((mx->status == MX_FOUND) == (mx_reply(mx->status) == NULL));
	for (size_t i = 0; i < mx->count; i++) {
		const struct mx_host *h = &mx->host[i];

		assert(h->count > 0 && h->count <= MX_ADDRESSES_MAX && h->name[0]);
		assert(i == 0 || h->preference >= mx->host[i - 1].preference);
		for (size_t k = 0; k < h->count; k++)
			assert(h->address[k].port == 25 && !ours(NULL, &h->address[k]) && usable(NULL, &h->address[k]));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dns_table *t = dns_table_new();
	uint32_t seed = 0;
	char domain[300] = "d.example";
	struct mx *mx = NULL;
	struct mx_query q = { .domain = domain, .port = 25, .hostname = "us.example", .timeout_ms = 1000, .ipv4 = true, .ipv6 = true,
			      .ours = ours, .usable = usable, .random = chance, .arg = &seed };
	static const enum dns_type kinds[] = { DNS_MX, DNS_A, DNS_AAAA };

	for (int n = 0; size >= 2 && data[0] % 4 < 3 && n < 64; n++) {
		size_t len = data[1] < size - 2 ? data[1] : size - 2;
		bool mail = data[0] % 4 == 0;

		dns_table_add_rdata(t, mail ? "d.example" : "mx.example", kinds[data[0] % 4], data + 2, len);
		data += 2 + len;
		size -= 2 + len;
	}
	if (size > 1 && size < sizeof(domain)) {
		memcpy(domain, data + 1, size - 1);
		domain[size - 1] = '\0';
	}
	if (mx_find(dns_table_dns(t), &q, &mx) == 0)
		check(mx);
	mx_free(mx);
	dns_table_free(t);
	return 0;
}
