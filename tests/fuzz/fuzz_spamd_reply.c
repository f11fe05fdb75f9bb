/*
 * fuzz_spamd_reply - answers of spamd; what is taken lies within bounds and within the reply
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "filters/spamd_reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct spamd_reply r;
	const char *p = (const char *)data;
	size_t whole = spamd_reply_length(p, size);

	assert(whole <= size + SPAMD_REPLY_MAX);
	if (spamd_reply_read(p, size, &r) < 0)
		return 0;
	assert(strlen(r.error) <= SPAMD_ERROR_MAX && r.code >= 0 && r.code <= 255);
	assert(r.score <= SPAMD_SCORE_MAX && r.score >= -SPAMD_SCORE_MAX - 1 && r.threshold <= SPAMD_SCORE_MAX && r.threshold >= -SPAMD_SCORE_MAX - 1);
	assert(r.symbol_count <= SPAMD_SYMBOLS_MAX);
	for (size_t i = 0; i < r.symbol_count; i++) {
		const struct spamd_symbol *s = &r.symbol[i];

		assert(s->name >= p && s->name + s->len <= p + size && s->len >= 1 && s->len <= SPAMD_SYMBOL_MAX);
		assert(!memchr(s->name, ',', s->len) && !memchr(s->name, '\n', s->len) && !memchr(s->name, 0, s->len));
	}
	return 0;
}
