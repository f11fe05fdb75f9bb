/* Aggregate reports that others wrote: what is read is written as a report that is read again, and then it stays the same. Pieces of any size. */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "filters/charset.h"
#include "policy/dmarc_report_read.h"
#include "policy/dmarc_report_xml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct dmarc_report *read_report(const char *p, size_t len, size_t piece)
{
	AUTO(dmarc_report_reader) struct dmarc_report_reader *rd = dmarc_report_reader_new();
	struct dmarc_report *r = NULL;
	int rc = 0;

	assert(rd);
	for (size_t at = 0; at < len && !rc; at += piece)
		rc = dmarc_report_reader_add(rd, p + at, len - at < piece ? len - at : piece);
	if (!rc)
		rc = dmarc_report_reader_end(rd, &r);
	assert(!rc == !*dmarc_report_reader_why(rd));
	assert(!rc == !!r);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO(buf) struct buf last = BUF_INIT(1 << 26);
	const char *p = (const char *)data, *missing;
	static bool ready;

	if (!ready)
		charset_setup(&missing);
	ready = true;
	/* texts that were cut, or joined, settle in the second round */
	for (int round = 0; round < 3; round++) {
		AUTO(dmarc_report) struct dmarc_report *r = read_report(round ? last.data : p, round ? last.len : size, round ? 4096 : 1 + size % 61);
		AUTO(buf) struct buf xml = BUF_INIT(1 << 26);

		if (!r) {
			assert(!round);
			return 0;
		}
		if (dmarc_report_xml(r, &xml) == -EINVAL)
			return 0;
		assert(!xml.failed);
		assert(round < 2 || (xml.len == last.len && memcmp(xml.data, last.data, xml.len) == 0));
		buf_clear(&last);
		buf_add(&last, xml.data, xml.len);
	}
	return 0;
}
