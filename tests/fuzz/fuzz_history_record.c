/* The bytes of the history's records: what is read is written again, and then it stays the same. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "policy/history_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct history_memory *memory;
	AUTO(buf) struct buf once = BUF_INIT(HISTORY_RECORD_MAX), twice = BUF_INIT(HISTORY_RECORD_MAX);
	const char *const *cut, *const *lost;
	struct history_record r;

	if (!memory) {
		fact_register_all();
		memory = history_memory_new();
	}
	if (history_decode((const char *)data, size, memory, &r, &cut, &lost) < 0)
		return 0;
	assert(history_encode(&r, &once) == 0);
	assert(history_decode(once.data, once.len, memory, &r, &cut, &lost) == 0);
	assert(history_encode(&r, &twice) == 0);
	assert(once.len == twice.len && memcmp(once.data, twice.data, once.len) == 0);
	return 0;
}
