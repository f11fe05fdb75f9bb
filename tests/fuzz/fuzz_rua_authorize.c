/*
 * fuzz_rua_authorize - what a host publishes to allow reports: whatever it is, they go to no other host
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "filters/dmarc_walk.h"
#include "rua/rua_authorize.h"
#include "support/dns_table.h"

enum { STRING_MAX = 255, TEXT_MAX = 2000, RECORDS_MAX = 50 };

/* Records between line ends, each as strings of a TXT record. */
static void publish(struct dns_table *t, const char *p, size_t len)
{
	uint8_t rdata[TEXT_MAX + TEXT_MAX / STRING_MAX + 2];

	for (int i = 0; len > 0 && i < RECORDS_MAX; i++) {
		const char *end = memchr(p, '\n', len);
		size_t n = end ? (size_t)(end - p) : len, room = 0;

		for (size_t at = 0; at < n; at += STRING_MAX) {
			size_t piece = n - at < STRING_MAX ? n - at : STRING_MAX;

			rdata[room++] = (uint8_t)piece;
			memcpy(rdata + room, p + at, piece);
			room += piece;
		}
		dns_table_add_rdata(t, "example.com._report._dmarc.reports.example.net", DNS_TXT, rdata, room);
		p += end ? n + 1 : n;
		len -= end ? n + 1 : n;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rua_uri u = { .address = "d@reports.example.net", .host = "reports.example.net", .max_bytes = UINT64_MAX };
	const char *why;

	if (size > TEXT_MAX)
		return 0;
	AUTO(dns_table) struct dns_table *t = dns_table_new();
	AUTO(dmarc_walks) struct dmarc_walks *w = dmarc_walks_new(dns_table_dns(t));

	publish(t, (const char *)data, size);
	if (rua_authorize(dns_table_dns(t), w, "example.com", &u, NULL, &why) == RUA_GRANTED)
		assert(memmem(data, size, "DMARC1", 6) && strcmp(u.host, "reports.example.net") == 0 && strcmp(strrchr(u.address, '@') + 1, u.host) == 0);
	else
		assert(why[0]);
	return 0;
}
