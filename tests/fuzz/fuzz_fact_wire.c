/* What a box answers, as one that has been taken over would: facts of their own owners and types only; what is taken is written again and read the same. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "filters/fact_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO(buf) struct buf again = BUF_INIT(1 << 22);
	struct facts got = { 0 }, same = { 0 };
	uint32_t owners;

	fact_register_all();
	if (size < 4)
		return 0;
	memcpy(&owners, data, 4);
	if (fact_wire_read((const char *)data + 4, size - 4, owners, &got) == 0) {
		for (size_t i = 0; i < got.count; i++)
			assert(owners & 1u << fact_owner(got.v[i].id));
		assert(fact_wire_write(&got, &again) == 0);
		assert(fact_wire_read(again.data, again.len, owners, &same) == 0);
		assert(same.count == got.count);
	}
	facts_release(&got);
	facts_release(&same);
	return 0;
}
