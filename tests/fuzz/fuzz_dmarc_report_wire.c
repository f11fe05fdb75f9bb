/* A report as it crosses from the box: what is read is written again, and then it stays the same. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "policy/dmarc_report_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO(buf) struct buf once = BUF_INIT(1 << 26), twice = BUF_INIT(1 << 26);
	AUTO(dmarc_report) struct dmarc_report *r = NULL, *again = NULL;

	if (dmarc_report_wire_read((const char *)data, size, &r) < 0)
		return 0;
	assert(dmarc_report_wire_write(r, &once) == 0);
	assert(dmarc_report_wire_read(once.data, once.len, &again) == 0);
	assert(dmarc_report_wire_write(again, &twice) == 0);
	assert(once.len == twice.len && memcmp(once.data, twice.data, once.len) == 0);
	return 0;
}
