/* The bytes of the state on the channel, read as a request and as an answer; what is read is written again the same. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "policy/state_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct state_op ops[STATE_OPS_MAX];
	AUTO(buf) struct buf again = BUF_INIT(STATE_WIRE_MAX);
	int count = state_wire_read_request((const char *)data, size, ops);

	if (count > 0) {
		assert(state_wire_request(&again, ops, (size_t)count) == 0);
		assert(again.len == size && memcmp(again.data, data, size) == 0);
	}
	if (size > 0 && data[0] <= STATE_OPS_MAX)
		(void)state_wire_read_answer((const char *)data, size, ops, data[0]);
	return 0;
}
