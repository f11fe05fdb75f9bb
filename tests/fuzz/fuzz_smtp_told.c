/* Any octets behind XCLIENT and XFORWARD, line by line: a HELO is one printable word, and what is not taken changes nothing. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "smtp/smtp_told.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct smtp_told told = { 0 }, before;
	const char *p = (const char *)data, *end = p + size;

	for (bool forward = size % 2; p < end;) {
		const char *lf = memchr(p, '\n', (size_t)(end - p));
		size_t len = (size_t)((lf ? lf : end) - p);

		before = told;
		if (smtp_told_parse(p, len, forward, &told) < 0)
			assert(memcmp(&before, &told, sizeof(told)) == 0);
		else
			assert(told.how == (forward ? BOUNDARY_XFORWARD : BOUNDARY_XCLIENT));
		assert(strlen(told.r.helo) < RECEIVED_NAME_MAX);
		for (const char *c = told.r.helo; *c; c++)
			assert(*c > ' ' && *c < 0x7f);
		p += len + (lf != NULL);
		forward = forward != (len % 3 == 0);
	}
	return 0;
}
