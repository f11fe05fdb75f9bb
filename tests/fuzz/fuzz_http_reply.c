/*
 * fuzz_http_reply - answers of web servers: whole and in pieces they are the same
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/http_reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run(struct http_reply *r, const char *p, size_t len, size_t step)
{
	int rc = 0;

	http_reply_init(r, 4096);
	for (size_t at = 0; at < len && rc == 0; at += step)
		rc = http_reply_feed(r, p + at, len - at < step ? len - at : step);
	return rc == 0 ? http_reply_end(r) : rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http_reply a, b;
	int whole = run(&a, (const char *)data, size, size ? size : 1), pieces = run(&b, (const char *)data, size, 3);

	assert(whole == pieces && a.status == b.status && strcmp(a.type, b.type) == 0);
	assert(a.body.len <= 4096 && (whole < 0 || (a.body.len == b.body.len && memcmp(buf_str(&a.body), buf_str(&b.body), a.body.len) == 0)));
	http_reply_release(&a);
	http_reply_release(&b);
	return 0;
}
