/* Any bytes as a message: what it says is well-formed UTF-8 within its bounds, however the octets come. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/utf8.h"
#include "filters/charset.h"
#include "filters/mime.h"
#include "filters/text.h"

static void check(const char *p, size_t len)
{
	for (size_t i = 0, n; i < len; i += n) {
		n = utf8_len(p + i, len - i);
		assert(n > 0 && p[i] != '\0');
	}
}

static int on_text(void *arg, const char *p, size_t len)
{
	struct buf *out = arg;

	assert(len > 0 && len <= TEXT_PART_MAX && p[len] == '\0');
	check(p, len);
	assert(buf_add(out, p, len) == 0 && buf_addc(out, '\n') == 0);
	return 0;
}

static struct message *make(const uint8_t *data, size_t size, size_t chunk)
{
	static const struct message_limits limits = { 8 << 20, 1 << 16, 1000 };
	struct message *m = message_new(&limits, NULL, NULL);
	int rc = 0;

	assert(m);
	for (size_t at = 0; rc == 0 && at < size; at += chunk)
		rc = message_add(m, (const char *)data + at, size - at < chunk ? size - at : chunk);
	if (rc == 0 && message_end(m) == 0)
		return m;
	message_free(m);
	return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO(buf) struct buf parts = BUF_INIT(TEXT_MESSAGE_MAX + MIME_PARTS_MAX), all = BUF_INIT(16 << 20), some = BUF_INIT(1000);
	AUTO(message) struct message *m = NULL;
	const char *missing, *cut = NULL;

	charset_setup(&missing);
	m = make(data, size, 4096);
	if (!m)
		return 0;
	assert(text_parts(m, on_text, &parts, &cut) == 0);
	assert(text_extract(m, 8 << 20, &all) == 0);
	check(buf_str(&all), all.len);
	assert(all.len >= parts.len);
	assert(parts.len == 0 || memcmp(all.data + all.len - parts.len, parts.data, parts.len) == 0);
	assert(text_extract(m, 1000, &some) == 0);
	assert(some.len <= 1000 && memcmp(buf_str(&some), buf_str(&all), some.len) == 0);
	return 0;
}
