/* Any bytes as a header, as reason and id: nothing grows, no field that says what the body is stays, and the text keeps its form. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "filters/message.h"
#include "retrieval/notice.h"

enum { WHOLE = 1400 };

static int no_file(void *arg)
{
	return -28;
}

/* As our own reader of headers sees it. */
static void check_header(const char *p, size_t len)
{
	static const struct message_limits limits = { .memory_bytes = 1 << 20, .header_bytes = 1 << 20, .header_fields = 1 << 20 };
	struct message *m = message_new(&limits, no_file, NULL);

	assert(m && message_add(m, p, len) == 0 && message_end(m) == 0);
	assert(!message_find(m, "Content-Type", 0) && !message_find(m, "MIME-Version", 0));
	message_free(m);
}

static void check_text(const struct notice *n, enum transfer_encoding encoding, uint64_t total)
{
	char text[WHOLE];
	size_t column = 0;

	notice_read(n, encoding, total, 0, text, WHOLE);
	for (size_t i = 0; i < WHOLE; i++) {
		assert((text[i] >= ' ' && text[i] < 0x7f) || text[i] == '\r' || text[i] == '\n');
		assert(!(column == 0 && text[i] == '.'));
		assert(!strchr("<>&", text[i]));
		column = text[i] == '\n' ? 0 : column + (text[i] != '\r');
		assert(column <= 76);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *header = malloc(size + 1), *text = malloc(size + 1);
	struct notice n;

	assert(header && text);
	memcpy(header, data, size);
	notice_header_fix(header, size);
	check_header(header, size);
	memcpy(text, data, size);
	text[size] = '\0';
	notice_init(&n, text, text);
	check_text(&n, TRANSFER_PLAIN, NOTICE_ENDLESS);
	check_text(&n, TRANSFER_BASE64, NOTICE_ENDLESS);
	check_text(&n, TRANSFER_BASE64, WHOLE);
	free(header);
	free(text);
	return 0;
}
