/* Any bytes as what a former program hands over: what is taken is within its bounds, and is written as it was read. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "process/handover.h"

static void check(const struct handover *h)
{
	assert(h->pid > 0 && h->generation > 0 && h->program && h->state_dir && h->lock_fd > 2 && h->shared_fd > 2);
	assert(h->listener_count <= HANDOVER_LISTENERS_MAX && h->child_count <= HANDOVER_CHILDREN_MAX);
	for (size_t i = 0; i < h->listener_count; i++)
		assert(h->listener[i].fd > 2 && h->listener[i].address.family);
	for (size_t i = 0; i < h->child_count; i++)
		assert(h->child[i].pid > 1 && h->child[i].slot >= -1 && (unsigned)h->child[i].role < ROLE_COUNT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO(buf) struct buf err = BUF_INIT(1000), once = BUF_INIT(0), twice = BUF_INIT(0);
	AUTO(handover) struct handover h, again;

	if (handover_read((const char *)data, size, &h, &err) < 0) {
		assert(err.len > 0 && !h.child && !h.state_dir);
		again = h;
		return 0;
	}
	check(&h);
	assert(handover_write(&h, &once) == 0);
	assert(handover_read(once.data, once.len, &again, &err) == 0);
	check(&again);
	assert(handover_write(&again, &twice) == 0 && strcmp(once.data, twice.data) == 0);
	return 0;
}
