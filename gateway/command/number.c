#include "command/number.h"

#include <errno.h>

int number_parse(const char *text, int64_t max, int64_t *out)
{
	int64_t n = 0;

	if (!*text)
		return -EINVAL;
	for (; *text; text++) {
		int digit = *text - '0';

		if (digit < 0 || digit > 9 || n > max / 10 || n * 10 > max - digit)
			return -EINVAL;
		n = n * 10 + digit;
	}
	*out = n;
	return 0;
}
