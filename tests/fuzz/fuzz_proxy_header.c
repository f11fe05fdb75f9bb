/*
 * fuzz_proxy_header - the octets at the beginning of a connection; what is understood is understood again when we say it ourselves
 */
#include <assert.h>
#include <string.h>

#include "base/proxy_header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void again(const struct proxy_header *h, enum proxy_version version)
{
	AUTO(buf) struct buf out = BUF_INIT(PROXY_V1_MAX);
	struct proxy_header twin;
	size_t used;

	assert(proxy_header_write(version, h, &out) == 0);
	assert(proxy_header_parse(out.data, out.len, &twin, &used) == PROXY_OK && used == out.len);
	assert(twin.told == h->told && memcmp(&twin.source, &h->source, sizeof(h->source)) == 0 &&
	       memcmp(&twin.destination, &h->destination, sizeof(h->destination)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct proxy_header h;
	enum proxy_parse whole, part = PROXY_MORE;
	size_t used = 0, n = 0;

	whole = proxy_header_parse(data, size, &h, &used);
	while (n < size && (part = proxy_header_parse(data, n, &h, &used)) == PROXY_MORE)
		n++;
	/* By parts it comes out as at once. */
	assert(n == size || part == whole);
	if (whole != PROXY_OK)
		return 0;
	assert(proxy_header_parse(data, size, &h, &used) == PROXY_OK && used <= size && used <= PROXY_HEADER_MAX);
	assert(h.told || (h.source.family == 0 && h.destination.family == 0));
	again(&h, PROXY_V1);
	again(&h, PROXY_V2);
	return 0;
}
