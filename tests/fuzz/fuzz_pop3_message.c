/*
 * fuzz_pop3_message - a message as a server sends it: pieces of any size give the same content, a notice of it has its length and none of its body,
 * and what goes to the client is read as what it was
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "pop3/pop3_lines.h"
#include "pop3/pop3_notice.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int put(void *arg, const char *p, size_t len)
{
	return buf_add(arg, p, len);
}

/* How many octets were eaten. */
static size_t content(const char *p, size_t len, size_t piece, struct buf *out, bool *done)
{
	struct pop3_lines l = { 0 };
	size_t at = 0, until, used, n;
	const char *c;

	while (at < len && !l.done)
		for (until = at + piece < len ? at + piece : len; at < until && !l.done; at += used) {
			pop3_lines_read(&l, p + at, until - at, &used, &c, &n);
			assert(used <= until - at && (used > 0 || n > 0));
			buf_add(out, c, n);
		}
	*done = l.done;
	return at;
}

static void notice(const struct buf *in, size_t piece, struct buf *out)
{
	struct pop3_notice *n = calloc(1, sizeof(*n));

	assert(n);
	notice_init(&n->notice, "reason", "id");
	n->put = put;
	n->arg = out;
	pop3_notice_begin(n);
	for (size_t at = 0; at < in->len; at += piece)
		assert(pop3_notice_add(n, in->data + at, in->len - at < piece ? in->len - at : piece) == 0);
	assert(pop3_notice_end(n) == 0);
	pop3_notice_release(n);
	free(n);
}

static void there_and_back(const struct buf *in, size_t piece)
{
	AUTO(buf) struct buf wire = BUF_INIT(1 << 22), back = BUF_INIT(1 << 22);
	struct pop3_lines l = { 0 };
	bool done;

	for (size_t at = 0, n; at < in->len; at += n) {
		bool dot;

		n = pop3_lines_write(&l, in->data + at, in->len - at < piece ? in->len - at : piece, &dot);
		assert(n > 0);
		if (dot)
			buf_addc(&wire, '.');
		buf_add(&wire, in->data + at, n);
	}
	buf_adds(&wire, pop3_lines_end(&l));
	assert(content(wire.data, wire.len, piece, &back, &done) == wire.len && done);
	assert(back.len >= in->len && back.len <= in->len + 2 && memcmp(buf_str(&back), buf_str(in), in->len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO(buf) struct buf whole = BUF_INIT(1 << 22), parts = BUF_INIT(1 << 22), shown = BUF_INIT(1 << 22), again = BUF_INIT(1 << 22);
	bool done, done_parts;
	size_t piece;

	if (size < 1)
		return 0;
	piece = data[0] + 1u;
	assert(content((const char *)data + 1, size - 1, size, &whole, &done) == content((const char *)data + 1, size - 1, piece, &parts, &done_parts));
	assert(done == done_parts && whole.len == parts.len && memcmp(buf_str(&whole), buf_str(&parts), whole.len) == 0);
	notice(&whole, whole.len + 1, &shown);
	notice(&whole, piece, &again);
	assert(shown.len == whole.len && again.len == shown.len && memcmp(buf_str(&shown), buf_str(&again), shown.len) == 0);
	there_and_back(&whole, piece);
	there_and_back(&shown, piece);
	return 0;
}
