/*
 * fuzz_dns_rdata - the readers of RDATA, and names there and back
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/dns.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dns_rr rr = { .data = data, .len = size };
	char name[DNS_NAME_MAX], *txt;
	uint8_t wire[DNS_WIRE_MAX];
	unsigned preference;
	size_t len;

	if (dns_txt(&rr, &txt, &len) == 0) {
		assert(len < size && txt[len] == '\0');
		free(txt);
	}
	for (size_t off = 0; off < size && off < 8; off++) {
		if (dns_name(&rr, off, name) < 0 || !*name)
			continue;
		/* what was read can be asked, and is the same bytes */
		int n = dns_name_wire(name, wire);

		assert(n > 0 && (size_t)n <= size - off && memcmp(wire, data + off, (size_t)n) == 0);
	}
	if (dns_mx(&rr, &preference, name) == 0)
		assert(preference <= 65535 && strlen(name) < DNS_NAME_MAX);

	char *text = malloc(size + 1);

	if (!text)
		return 0;
	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	dns_name_ok(text);
	free(text);
	return 0;
}
