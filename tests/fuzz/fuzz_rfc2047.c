/* Any bytes as a field's body: bounds are kept, and what comes out is UTF-8 on one line. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/utf8.h"
#include "filters/charset.h"
#include "filters/rfc2047.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO(buf) struct buf out = BUF_INIT(RFC2047_TEXT_MAX);
	const char *missing;
	size_t n;

	charset_setup(&missing);
	assert(rfc2047_decode((const char *)data, size, &out) == 0);
	assert(out.len <= 6 * size);
	for (size_t i = 0; i < out.len; i += n) {
		n = utf8_len(out.data + i, out.len - i);
		assert(n > 0);
		assert(out.data[i] != '\0' && out.data[i] != '\r' && out.data[i] != '\n' && out.data[i] != '\t');
	}
	return 0;
}
