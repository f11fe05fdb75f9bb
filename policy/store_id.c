#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "policy/store_id.h"

/* Crockford's alphabet: no i, l, o, u; in ASCII order, so that ids sort as numbers do. */
static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";

void store_id_make(int64_t ms, unsigned chance, char out[STORE_ID_MAX])
{
	uint64_t v = (uint64_t)ms;

	out[STORE_ID_LEN] = 0;
	for (int i = STORE_ID_LEN - 1; i >= STORE_ID_TIME; i--, chance >>= 5)
		out[i] = digits[chance & 31];
	for (int i = STORE_ID_TIME - 1; i >= 0; i--, v >>= 5)
		out[i] = digits[v & 31];
}

int64_t store_id_ms(const char *id)
{
	int64_t ms = 0;

	if (strnlen(id, STORE_ID_LEN + 1) != STORE_ID_LEN)
		return -EINVAL;
	for (int i = 0; i < STORE_ID_LEN; i++) {
		const char *d = strchr(digits, id[i]);

		if (!d)
			return -EINVAL;
		if (i < STORE_ID_TIME)
			ms = ms << 5 | (d - digits);
	}
	return ms;
}

int store_id_day(const char *id, char out[STORE_DAY_MAX])
{
	int64_t ms = store_id_ms(id);
	time_t t = (time_t)(ms / 1000);
	struct tm tm;

	if (ms < 0 || !gmtime_r(&t, &tm) || tm.tm_year > 8099)
		return -EINVAL;
	strftime(out, STORE_DAY_MAX, "%Y-%m-%d", &tm);
	return 0;
}
