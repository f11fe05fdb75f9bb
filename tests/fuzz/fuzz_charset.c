/*
 * fuzz_charset - any octets in any of the charsets: what comes out is UTF-8, within its bound, and the same when it is done again
 *
 * The first octet picks a charset; one beyond them: a label follows, up to a line's end.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/utf8.h"
#include "filters/charset.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const labels[] = {
	"utf-8", "us-ascii", "gb18030", "big5", "iso-2022-jp", "iso-2022-jp-2", "euc-jp", "shift_jis", "euc-kr", "iso-2022-kr", "windows-1250",
	"windows-1251", "windows-1252", "windows-1253", "windows-1254", "windows-1255", "windows-1256", "windows-1257", "windows-1258", "windows-874",
	"iso-8859-2", "iso-8859-3", "iso-8859-4", "iso-8859-5", "iso-8859-6", "iso-8859-7", "iso-8859-8", "iso-8859-10", "iso-8859-13", "iso-8859-14",
	"iso-8859-15", "iso-8859-16", "koi8-r", "koi8-u", "ibm866", "macintosh", "x-mac-cyrillic", "utf-16", "utf-16le", "utf-16be", "utf-32", "utf-7",
	"hz-gb-2312", "euc-tw", "tis-620", "cp437", "cp850", "x-unknown",
};

enum { LABELS = sizeof(labels) / sizeof(labels[0]) };

static void check(const struct buf *out, size_t len)
{
	assert(!out->failed && out->len <= 6 * len + 8);
	for (size_t i = 0, n; i < out->len; i += n) {
		n = utf8_len(out->data + i, out->len - i);
		assert(n > 0);
	}
}

static void same(const struct buf *a, const struct buf *b)
{
	assert(a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *p = (const char *)data + 1, *label, *end, *missing;
	size_t label_len, len = size - 1;

	if (size < 1)
		return 0;
	charset_setup(&missing);
	if (data[0] < LABELS) {
		label = labels[data[0]];
		label_len = strlen(label);
	} else {
		end = memchr(p, '\n', len);
		label = p;
		label_len = end ? (size_t)(end - p) : len;
		p += label_len + (end != NULL);
		len -= label_len + (end != NULL);
	}
	for (int body = 0; body < 2; body++) {
		AUTO(buf) struct buf out = BUF_INIT(6 * size + 64), twin = BUF_INIT(6 * size + 64);

		for (int i = 0; i < 2; i++) {
			struct buf *to = i ? &twin : &out;

			assert((body ? charset_decode_body(label, label_len, p, len, to)
				     : charset_decode(charset_find(label, label_len), p, len, to)) == 0);
		}
		check(&out, len);
		same(&out, &twin);
		charset_tidy(&out, 0);
		check(&out, len);
		for (size_t i = 0; i < out.len; i++)
			assert(out.data[i] && out.data[i] != '\r' && out.data[i] != '\n' && out.data[i] != '\t');
	}
	(void)charset_guess(p, len);
	return 0;
}
