/*
 * fuzz_netlink - one datagram of answers of the kernel: nothing behind its end is looked at
 */
#include <assert.h>
#include <sanitizer/asan_interface.h>
#include <stddef.h>

/* The reading of answers is its own. */
#include "base/netlink.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int result_of(ssize_t len, message_fn *fn, const void *arg)
{
	int result = 0, end = answers(len, fn, arg, &result);

	assert(end == 0 || end == 1);
	return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t mark = 0x67707374;

	if (size == 0 || size > sizeof(answer))
		return 0;
	memcpy(answer, data, size);
	ASAN_POISON_MEMORY_REGION(answer + size, sizeof(answer) - size);
	result_of((ssize_t)size, route_type, NULL);
	result_of((ssize_t)size, any, NULL);
	result_of((ssize_t)size, rule_has_mark, &mark);
	ASAN_UNPOISON_MEMORY_REGION(answer, sizeof(answer));
	return 0;
}
