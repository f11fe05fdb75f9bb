/*
 * fuzz_dkim_tag - a list of tags: names and values lie within the text, each is found by its name, and what is written of them again reads the same
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "filters/dkim_tag.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void value(const struct dkim_tag *t)
{
	unsigned char *out = malloc(t->len + 1);
	size_t pos = 0, len, items = 0;
	const char *item;
	uint64_t number;
	ptrdiff_t n;

	assert(out);
	n = dkim_tag_base64(t->value, t->len, out, t->len);
	assert(n >= -1 && n <= (ptrdiff_t)(t->len * 3 / 4 + 1));
	if (n > 0)
		assert(dkim_tag_base64(t->value, t->len, out, (size_t)n - 1) == -1);
	free(out);
	while (dkim_tag_item(t, &pos, &item, &len)) {
		assert(item >= t->value && item + len <= t->value + t->len && !memchr(item, ':', len));
		assert(++items <= t->len + 1);
	}
	if (dkim_tag_number(t, 19, &number) == 0)
		assert(t->len > 0 && t->len <= 19 && number < 10000000000000000000ull);
	dkim_tag_is(t, "rsa-sha256");
	dkim_tag_has(t, "from");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO(buf) struct buf again = BUF_INIT(2 * size + 1000);
	const char *p = (const char *)data;
	struct dkim_tags tags, twin;

	if (dkim_tags_parse(p, size, &tags))
		return 0;
	assert(tags.count <= DKIM_TAGS_MAX);
	for (size_t i = 0; i < tags.count; i++) {
		const struct dkim_tag *t = &tags.tag[i];
		char *name = strndup(t->name, t->name_len);

		assert(t->name_len > 0 && t->name >= p && t->value >= t->name + t->name_len && t->value + t->len <= p + size);
		assert(dkim_tags_find(&tags, name) == t);
		free(name);
		value(t);
		buf_add(&again, t->name, t->name_len);
		buf_addc(&again, '=');
		buf_add(&again, t->value, t->len);
		buf_addc(&again, ';');
	}
	if (tags.count == 0)
		return 0;
	assert(!dkim_tags_parse(again.data, again.len, &twin) && twin.count == tags.count);
	for (size_t i = 0; i < tags.count; i++)
		assert(twin.tag[i].len == tags.tag[i].len && memcmp(twin.tag[i].value, tags.tag[i].value, tags.tag[i].len) == 0);
	return 0;
}
