/*
 * fuzz_history_channel - what a worker hands to the history keeper: records lie within it, one behind the other, and it comes to an end
 */
#include <assert.h>
#include <errno.h>
#include <stdint.h>

#include "policy/history_channel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *begin = (const char *)data, *p;
	size_t at = 0, n, before = 0;
	int rc;

	while ((rc = history_channel_next(begin, size, &at, &p, &n)) == 0) {
		assert(p == begin + before + 4 && p + n == begin + at && at <= size);
		before = at;
	}
	assert(rc == -EBADMSG || (rc == -ENOENT && at == size));
	return 0;
}
