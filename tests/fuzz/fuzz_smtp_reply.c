/*
 * fuzz_smtp_reply - a backend's bytes as replies; what we make of them for a client is clean, and the keywords of EHLO
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "hop/smtp_client.h"
#include "smtp/smtp_reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Our own line must be one that we would read ourselves, and short. */
static void check_output(const struct buf *out, int code)
{
	const char *p = buf_str(out), *end = p + out->len;
	bool last = false;

	while (p < end) {
		size_t used;
		int c;

		assert(!last);
		assert(smtp_reply_line(p, (size_t)(end - p), &used, &c, &last) == PARSE_OK);
		assert(c == code && used <= SMTP_REPLY_OUT_MAX);
		for (size_t i = 0; i + 2 < used; i++)
			assert(p[i] >= 0x20 && p[i] <= 0x7e);
		p += used;
	}
	assert(last);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO(smtp_reply) struct smtp_reply r;
	const char *p = (const char *)data, *end = p + size;
	struct smtp_caps caps, other;

	smtp_reply_init(&r);
	while (p < end) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		size_t len = nl ? (size_t)(nl + 1 - p) : (size_t)(end - p);
		enum parse e = smtp_reply_add(&r, p, len);
		AUTO(buf) struct buf out = BUF_INIT(64 * 1024);

		p += len;
		if (e == PARSE_MORE)
			continue;
		if (e == PARSE_OK) {
			assert(r.code >= 200 && r.code <= 599 && !r.text.failed);
			assert(smtp_reply_pass(&out, &r, size & 1 ? NULL : "5.1.1", size & 2 ? "said: " : NULL) == 0);
			check_output(&out, r.code);
			smtp_caps_parse(buf_str(&r.text), &caps);
			smtp_caps_parse("mx\nSIZE 100\nDSN", &other);
			smtp_caps_meet(&caps, &other);
			assert(!caps.size || (caps.size_max > 0 && caps.size_max <= 100));
		}
		smtp_reply_release(&r);
		smtp_reply_init(&r);
	}
	return 0;
}
