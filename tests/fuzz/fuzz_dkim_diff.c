/* fuzz_dkim_diff - a header with a signature through both engines: the same hash, or a known deviation of libopendkim (support/dkim_diff.h) */
#include <assert.h>
#include <stdint.h>

#include "support/dkim_diff.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dkim_diff d;

	if (size > 20000)
		return 0;
	dkim_diff((const char *)data, size, &d);
	assert(!d.signature || d.same || d.known);
	return 0;
}
