/*
 * fuzz_transfer - content in an encoding: within its room, and the same in whatever pieces it comes. The first line: what the field said
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "filters/transfer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Each piece has a room of its own, so that nothing can be written behind it. */
static size_t decode(enum transfer_encoding e, const char *p, size_t len, size_t piece, char *out)
{
	struct transfer t;
	size_t total = 0;

	transfer_init(&t, e);
	for (size_t at = 0; at < len; at += piece) {
		size_t n = len - at < piece ? len - at : piece, got;
		char *room = malloc(n + TRANSFER_SPARE);

		assert(room);
		got = transfer_decode(&t, p + at, n, room);
		assert(got <= n + TRANSFER_SPARE && total + got <= 2 * len + TRANSFER_SPARE);
		memcpy(out + total, room, got);
		total += got;
		free(room);
	}
	return total;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *p = (const char *)data, *lf = memchr(p, '\n', size);
	size_t field = lf ? (size_t)(lf - p) + 1 : 0, len = size - field;
	enum transfer_encoding said = transfer_find(p, field);
	char *whole = malloc(2 * len + TRANSFER_SPARE), *pieces = malloc(2 * len + TRANSFER_SPARE);

	assert(whole && pieces);
	for (int e = TRANSFER_PLAIN; e <= TRANSFER_UNKNOWN; e++) {
		size_t n;

		if (field > 1 && e != (int)said)
			continue;
		n = decode((enum transfer_encoding)e, p + field, len, SIZE_MAX / 2, whole);
		assert(n <= len + TRANSFER_SPARE);
		for (size_t piece = 1; piece < 8; piece += 2)
			assert(decode((enum transfer_encoding)e, p + field, len, piece, pieces) == n && memcmp(whole, pieces, n) == 0);
	}
	free(whole);
	free(pieces);
	return 0;
}
