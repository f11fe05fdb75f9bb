/*
 * fuzz_terminal - any octets, shown to a person: UTF-8 that does nothing to a terminal
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/utf8.h"
#include "command/terminal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const turns[] = { "\u061c", "\u200e", "\u200f", "\u2028", "\u2029", "\u202a", "\u202b", "\u202c", "\u202d", "\u202e",
					     "\u2066", "\u2067", "\u2068", "\u2069" };
	AUTO(buf) struct buf out = BUF_INIT(8 * size + 8), few = BUF_INIT(8 * size + 8);

	assert(terminal_text((const char *)data, size, 0, &out) == 0 && terminal_text((const char *)data, size, 10, &few) == 0);
	for (size_t i = 0, n; i < out.len; i += n) {
		const unsigned char *c = (const unsigned char *)out.data + i;

		n = utf8_len(out.data + i, out.len - i);
		assert(n > 0 && c[0] >= ' ' && c[0] != 0x7f && !(c[0] == 0xc2 && c[1] < 0xa0));
		for (size_t k = 0; k < sizeof(turns) / sizeof(turns[0]); k++)
			assert(n != strlen(turns[k]) || memcmp(c, turns[k], n) != 0);
	}
	assert(few.len <= 10 * 10 + 3);
	return 0;
}
