/*
 * fuzz_clamd_reply - clamd's replies; what is found has a name that can be printed, and only one text says that nothing was
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "filters/clamd_reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char name[CLAMD_NAME_MAX + 1];
	enum clamd_result r = clamd_reply((const char *)data, size, 1, name);

	assert(strlen(name) <= CLAMD_NAME_MAX);
	for (const char *p = name; *p; p++)
		assert(*p >= 0x20 && *p <= 0x7e);
	assert((r == CLAMD_CLEAN) == (size == 13 && memcmp(data, "1: stream: OK", 13) == 0));
	assert(r != CLAMD_FOUND || *name);
	return 0;
}
