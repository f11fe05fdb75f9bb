/*
 * Any texts in the place of addresses, parameters, replies and the original: a notification is well-formed all the same, and has exactly
 * its parts. The input: sender, params, address, params, reply, remote, each up to a NUL, then the original.
 */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filters/message.h"
#include "filters/mime.h"
#include "spool/dsn.h"

enum { TEXTS = 6 };

static int on_part(void *arg, const struct mime_part *part)
{
	size_t *top = arg;

	*top += part->depth == 1;
	return 0;
}

static void check(const struct buf *out, const char *params, bool original)
{
	bool eightbit = strstr(params, "8BITMIME") || strstr(params, "SMTPUTF8");
	size_t line = 0, top = 0;
	AUTO(mime) struct mime *m = mime_new(on_part, &top);

	for (size_t i = 0; i < out->len; i++) {
		char c = out->data[i];

		assert(c != '\0' && (eightbit || (unsigned char)c < 0x80));
		assert(c != '\n' || (i > 0 && out->data[i - 1] == '\r'));
		assert(c != '\r' || (i + 1 < out->len && out->data[i + 1] == '\n'));
		line = c == '\n' ? 0 : line + 1;
		assert(line <= 999);
	}
	assert(mime_add(m, out->data, out->len) == 0 && mime_end(m) == 0);
	assert(top == (original ? 3u : 2u));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct message_limits limits = { .memory_bytes = 1 << 20, .header_bytes = 1 << 20, .header_fields = 1000 };
	AUTO(message) struct message *original = message_new(&limits, NULL, NULL);
	AUTO(buf) struct buf out = BUF_INIT(DSN_MAX);
	char *text[TEXTS] = { NULL };
	const char *params = NULL;
	size_t at = 0;
	int rc;

	for (size_t i = 0; i < TEXTS; i++) {
		size_t n = at < size ? strnlen((const char *)data + at, size - at) : 0;

		text[i] = strndup(at < size ? (const char *)data + at : "", n);
		at += n + 1;
	}
	assert(original);
	if ((at < size && message_add(original, (const char *)data + at, size - at) < 0) || message_end(original) < 0)
		at = size;
	for (int action = (int)(size % 3); action >= 0; action = -1) {
		struct dsn_rcpt rcpt[2] = {
			{ .address = text[2], .params = text[3], .action = action, .reply = text[4], .remote = text[5], .attempt_s = 1 },
			{ .address = "b@x.example", .action = action, .reply = text[4], .expired = true, .retry_until_s = 1 },
		};
		struct dsn d = {
			.hostname = "gate.example", .id = "20261122-1", .sender = text[0], .params = text[1], .now_s = 1000, .arrival_s = 999,
			.message = at < size ? original : NULL, .rcpt = rcpt, .rcpt_count = 2,
		};

		buf_clear(&out);
		rc = dsn_make(&d, &out, &params);
		if (rc == 0)
			check(&out, params, d.message);
		else
			assert(rc == -2 || rc == -22 || rc == -28);
	}
	for (size_t i = 0; i < TEXTS; i++)
		free(text[i]);
	return 0;
}
