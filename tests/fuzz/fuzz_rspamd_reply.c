/*
 * fuzz_rspamd_reply - Rspamd's answers; what is taken lies within bounds
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "filters/rspamd_reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rspamd_reply r = { 0 };

	if (rspamd_reply_read((const char *)data, size, &r) < 0)
		return 0;
	assert(strlen(r.error) <= RSPAMD_SYMBOL_MAX);
	assert(*r.error || r.skipped || r.action);
	assert(r.score <= RSPAMD_SCORE_MAX && r.score >= -RSPAMD_SCORE_MAX && r.required <= RSPAMD_SCORE_MAX && r.required >= -RSPAMD_SCORE_MAX);
	assert(r.symbol_count <= RSPAMD_SYMBOLS_MAX);
	for (size_t i = 0; i < r.symbol_count; i++) {
		assert(*r.symbol[i] && strlen(r.symbol[i]) <= RSPAMD_SYMBOL_MAX);
		for (const char *p = r.symbol[i]; *p; p++)
			assert(*p > 0x20 && *p <= 0x7e);
	}
	rspamd_reply_release(&r);
	return 0;
}
