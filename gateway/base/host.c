#include "base/host.h"

#include <stdio.h>
#include <string.h>

#include "base/dns.h"

static size_t take_answer(const struct dns_answer *answer, int family, unsigned short port, struct net_addr *out, size_t n)
{
	size_t want = family == AF_INET ? 4 : 16;

	for (size_t i = 0; answer->status == DNS_OK && i < answer->count && n < HOST_ADDRESSES_MAX; i++) {
		if (answer->rr[i].len != want)
			continue;
		memset(&out[n], 0, sizeof(out[n]));
		out[n].family = family;
		out[n].port = port;
		memcpy(out[n++].ip, answer->rr[i].data, want);
	}
	return n;
}

size_t host_addresses(struct dns *dns, const char *host, unsigned short port, int timeout_ms, struct net_addr *out, char *why)
{
	AUTO(dns_lookup) struct dns_lookup *a = NULL, *aaaa = NULL;
	const struct dns_answer *answer;
	size_t n = 0;

	if (net_parse(host, &out[0]) == 0) {
		out[0].port = port;
		return 1;
	}
	if (!dns || dns_start_within(dns, host, DNS_A, timeout_ms, &a) < 0 || dns_start_within(dns, host, DNS_AAAA, timeout_ms, &aaaa) < 0) {
		snprintf(why, HOST_WHY_MAX, "no resolver");
		return 0;
	}
	answer = dns_wait(a);
	n = take_answer(answer, AF_INET, port, out, n);
	if (n == 0)
		snprintf(why, HOST_WHY_MAX, "%.100s has no address (%s)", host, answer->status == DNS_TEMPFAIL ? answer->why : "no such record");
	return take_answer(dns_wait(aaaa), AF_INET6, port, out, n);
}
