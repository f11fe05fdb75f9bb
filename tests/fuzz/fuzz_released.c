/*
 * fuzz_released - the content of a message by which it is known that it was released: the same however its octets come, and with empty lines at its end
 */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "filters/message.h"
#include "policy/released.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool content(const uint8_t *data, size_t size, size_t piece, const char *more, char out[RELEASED_CONTENT_MAX])
{
	static const struct message_limits limits = { 8 << 20, 1 << 16, 1000 };
	AUTO(message) struct message *m = message_new(&limits, NULL, NULL);
	int rc = 0;

	assert(m);
	for (size_t at = 0; rc == 0 && at < size; at += piece)
		rc = message_add(m, (const char *)data + at, size - at < piece ? size - at : piece);
	if (rc == 0 && *more)
		rc = message_add(m, more, strlen(more));
	if (rc < 0 || message_end(m) < 0)
		return false;
	assert(released_content(m, out) == 0 && released_content_ok(out) && strlen(out) == RELEASED_CONTENT_MAX - 1);
	return true;
}

/* CR and LF at the end; of more than 64 the first are part of the content. */
static size_t line_ends(const uint8_t *data, size_t size)
{
	size_t n = 0;

	while (n < size && (data[size - 1 - n] == '\r' || data[size - 1 - n] == '\n'))
		n++;
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char once[RELEASED_CONTENT_MAX], twice[RELEASED_CONTENT_MAX];
	char text[2 * RELEASED_CONTENT_MAX];

	snprintf(text, sizeof(text), "%.*s", (int)(size < 60 ? size : 60), (const char *)data);
	released_content_ok(text);
	if (!content(data, size, 4096, "", once))
		return 0;
	assert(content(data, size, 7, "", twice) && strcmp(once, twice) == 0);
	if (size >= 4 && line_ends(data, size) <= 60 && memcmp(data + size - 4, "\r\n\r\n", 4) == 0 && content(data, size, 4096, "\r\n\r\n", twice))
		assert(strcmp(once, twice) == 0);
	return 0;
}
