/* Any bytes as an archive: the answer is lines of UTF-8, bounded. What takes long is libarchive's matter: the box ends it. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/utf8.h"
#include "filters/archive_list.h"
#include "filters/charset.h"

static size_t lines, octets;
static char last;

static bool line(void *arg, const char *p, size_t len)
{
	assert(len >= 2 && len <= 6 * ARCHIVE_NAME_MAX + 2 && strchr("nsebx.", p[0]));
	assert(memchr(p, '\n', len) == p + len - 1 && !memchr(p, '\0', len));
	for (size_t i = 0, n; i < len; i += n) {
		n = utf8_len(p + i, len - i);
		assert(n > 0);
	}
	lines++;
	octets += len;
	last = p[0];
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *missing;

	charset_setup(&missing);
	archive_list_setup();
	lines = octets = 0;
	archive_looks((const char *)data, size);
	archive_list((const char *)data, size, line, NULL);
	assert(last == '.' && lines <= 4 * ARCHIVE_ENTRIES_MAX + 10);
	return 0;
}
