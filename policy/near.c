#include "policy/near.h"

size_t near_distance(const char *a, size_t alen, const char *b, size_t blen)
{
	size_t row[3][NEAR_MAX + 1];

	if (alen > NEAR_MAX || blen > NEAR_MAX)
		return NEAR_MAX;
	for (size_t j = 0; j <= blen; j++)
		row[0][j] = j;
	for (size_t i = 1; i <= alen; i++) {
		size_t *now = row[i % 3], *last = row[(i + 2) % 3], *before = row[(i + 1) % 3];

		now[0] = i;
		for (size_t j = 1; j <= blen; j++) {
			size_t d = last[j - 1] + (a[i - 1] != b[j - 1]);

			d = last[j] + 1 < d ? last[j] + 1 : d;
			d = now[j - 1] + 1 < d ? now[j - 1] + 1 : d;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    before[j - 2] + 1 < d)
				d = before[j - 2] + 1;
			now[j] = d;
		}
	}
	return row[alen % 3][blen];
}
