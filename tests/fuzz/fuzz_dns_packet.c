/*
 * fuzz_dns_packet - whole DNS messages, and the readers of what comes out
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/dns_packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum dns_type types[] = { DNS_A, DNS_TXT, DNS_MX, DNS_PTR, DNS_SOA, DNS_CNAME };
	struct dns_packet pkt;

	if (size < 1)
		return 0;
	enum dns_type type = types[data[0] % 6];

	if (dns_packet_read(data + 1, size - 1, type, &pkt) < 0)
		return 0;
	assert(pkt.count <= DNS_RR_MAX && (pkt.count > 0) == (pkt.rr != NULL));
	for (size_t i = 0; i < pkt.count; i++) {
		char name[DNS_NAME_MAX], *text;
		unsigned preference;
		size_t len;

		if (type == DNS_TXT && dns_txt(&pkt.rr[i], &text, &len) == 0)
			free(text);
		/* names inside were expanded: they can be read */
		if (type == DNS_PTR || type == DNS_CNAME || type == DNS_SOA)
			assert(dns_name(&pkt.rr[i], 0, name) == 0);
		if (type == DNS_MX)
			assert(dns_mx(&pkt.rr[i], &preference, name) == 0);
	}
	free(pkt.rr);
	return 0;
}
