/* Any bytes as a Received field: a client has an address, a name of one printable word; nobody else has either. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "filters/received.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct received r;

	received_parse((const char *)data, size, &r);
	assert((r.kind == RECEIVED_CLIENT) == (r.addr.family != 0));
	assert(r.kind == RECEIVED_CLIENT || (!r.helo[0] && !r.tls));
	for (const char *p = r.helo; *p; p++)
		assert(*p > ' ' && *p < 0x7f);
	return 0;
}
