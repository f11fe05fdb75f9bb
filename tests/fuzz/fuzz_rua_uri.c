/*
 * fuzz_rua_uri - lists of report addresses: what is taken can be written into a header and an envelope as it is
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "rua/rua_uri.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t pos = 0, len;
	const char *item;

	while (rua_uri_next((const char *)data, size, &pos, &item, &len)) {
		struct rua_uri u, again;
		char text[RUA_ADDRESS_MAX + 32] = "mailto:";
		size_t n = strlen(text);

		if (rua_uri_parse(item, len, &u))
			continue;
		assert(strlen(u.address) < RUA_ADDRESS_MAX && strcmp(strrchr(u.address, '@') + 1, u.host) == 0);
		for (const char *p = u.address; *p; p++) {
			assert(*p > ' ' && *p < 0x7f && !strchr("<>()[],;:\\\"!", *p));
			/* Encoded again it is the same; only these mean something in a URI. */
			if (strchr("%?", *p))
				return 0;
			text[n++] = *p;
		}
		assert(rua_uri_parse(text, n, &again) == NULL && strcmp(again.address, u.address) == 0 && again.max_bytes == UINT64_MAX);
	}
	return 0;
}
