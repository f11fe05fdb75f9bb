/*
 * fuzz_imap_fetch - the arguments of a FETCH: what is taken has a set that can be cut down, to one that is valid, too
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "imap/imap_fetch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO(buf) struct buf out = BUF_INIT(4 * size + 64);
	const char *p = (const char *)data;
	struct imap_fetch f;
	struct imap_item item;
	int n;

	imap_item_parse(p, size, &item);
	assert(item.part.len <= size);
	if (imap_fetch_parse(p, size, &f) != NULL)
		return 0;
	assert(f.set.p >= p && f.rest.p == f.set.p + f.set.len && f.rest.p + f.rest.len == p + size);
	assert(imap_set_valid(f.set));
	n = imap_set_clip(f.set, (uint32_t)size * 3, &out);
	assert(n >= 0 && (n == 0) == (out.len == 0));
	if (n > 0)
		assert(imap_set_valid((struct imap_span){ out.data, out.len }) && (out.data[0] == '$' || !memchr(out.data, '*', out.len)));
	return 0;
}
