/* Any bytes as HTML: no more comes out than went in; of UTF-8 comes UTF-8. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/utf8.h"
#include "filters/html.h"

static int is_utf8(const char *p, size_t len)
{
	for (size_t i = 0, n; i < len; i += n) {
		n = utf8_len(p + i, len - i);
		if (n == 0)
			return 0;
	}
	return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *p = (const char *)data, *label = NULL;
	AUTO(buf) struct buf out = BUF_INIT(3 * size + 16), hidden = BUF_INIT(3 * size + 16);
	size_t n = html_charset(p, size, &label);

	assert(n == 0 || (label >= p && label + n <= p + size));
	assert(html_text(p, size, &out, &hidden) == 0);
	assert(out.len + hidden.len <= size + 1);
	if (is_utf8(p, size))
		assert(is_utf8(buf_str(&out), out.len) && is_utf8(buf_str(&hidden), hidden.len));
	return 0;
}
