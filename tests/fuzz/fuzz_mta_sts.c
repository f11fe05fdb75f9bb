/*
 * fuzz_mta_sts - records and policies of MTA-STS; what is accepted can be written and read again
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "hop/mta_sts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO(mta_sts_policy) struct mta_sts_policy *p = NULL, *again = NULL;
	AUTO(buf) struct buf text = BUF_INIT(4 * MTA_STS_POLICY_MAX);
	char id[MTA_STS_ID_MAX + 1];
	const char *why;

	if (mta_sts_record((const char *)data, size, id) == 0)
		assert(strlen(id) >= 1 && strlen(id) <= MTA_STS_ID_MAX);
	if (mta_sts_parse((const char *)data, size, &p, &why) < 0)
		return 0;
	assert(p->count <= MTA_STS_PATTERNS_MAX && p->max_age_s <= MTA_STS_AGE_MAX_S && (p->count > 0 || p->mode == MTA_STS_NONE));
	for (size_t i = 0; i < p->count; i++)
		assert(p->pattern[i][0] == '*' || mta_sts_allows(p, p->pattern[i]));
	assert(mta_sts_text(p, &text) == 0);
	if (text.len <= MTA_STS_POLICY_MAX)
		assert(mta_sts_parse(text.data, text.len, &again, &why) == 0 && again->count == p->count);
	return 0;
}
