/*
 * fuzz_reading - a broken header as many programs read it: what is made of it is a header, and is read again the same
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "retrieval/reading.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO(buf) struct buf out = BUF_INIT(3 * size + 64), twice = BUF_INIT(3 * size + 64);
	bool ended = false;
	size_t n = reading_header((const char *)data, size, &out, &ended);

	assert(!out.failed && n <= size && (ended || n == size));
	assert(out.len == 0 || (out.len >= 3 && memcmp(out.data + out.len - 2, "\r\n", 2) == 0));
	for (size_t i = 0; i < out.len; i++)
		assert(out.data[i] == '\r' ? out.data[i + 1] == '\n' : out.data[i] != '\n' || out.data[i - 1] == '\r');
	n = out.len;
	assert(reading_header(buf_str(&out), n, &twice, &ended) == n && !ended);
	assert(twice.len == n && (n == 0 || memcmp(twice.data, out.data, n) == 0));
	return 0;
}
