/* Any text as a DMARC record: what is read stands to what is written anew; and libopendmarc behind its guard takes it. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "filters/dmarc_libopendmarc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dmarc_query q = { .author = "example.com" };
	struct dmarc_record r, again;
	struct dmarc_result result;
	char text[DMARC_RECORD_TEXT_MAX];

	if (dmarc_record_parse((const char *)data, size, &r) < 0)
		return 0;
	dmarc_record_text(&r, text);
	assert(dmarc_record_parse(text, strlen(text), &again) == 0);
	assert(dmarc_record_policy(&r, true, true) == dmarc_record_policy(&again, true, true));
	assert(dmarc_record_policy(&r, false, true) == dmarc_record_policy(&again, false, true));
	memset(&result, 0, sizeof result);
	assert(dmarc_libopendmarc(&q, &r, "example.com", &result) == 0);
	assert(result.outcome == DMARC_FAIL && result.policy == dmarc_record_policy(&r, true, true));
	return 0;
}
