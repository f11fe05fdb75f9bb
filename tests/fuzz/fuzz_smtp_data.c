/*
 * fuzz_smtp_data - the decoder against a slow reference, any cut of the input, and the encoder against the decoder
 *
 * The first byte says how the input is cut.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "smtp/smtp_data.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Line by line as RFC 5321 tells it, with bare CR and LF as further line ends. */
static enum smtp_data_event reference(const char *in, size_t len, struct buf *out, size_t *eaten)
{
	bool left_bare = false;
	size_t i = 0;

	while (i < len) {
		size_t n = i, end;
		bool crlf;

		while (n < len && in[n] != '\r' && in[n] != '\n')
			n++;
		crlf = n + 1 < len && in[n] == '\r' && in[n + 1] == '\n';
		/* a CR at the very end may become CRLF: not decided */
		end = n == len || (in[n] == '\r' && n + 1 == len) ? len : n + (crlf ? 2 : 1);
		if (in[i] == '.' && n == i + 1 && n < len && !(in[n] == '\r' && n + 1 == len)) {
			*eaten = crlf || in[n] == '\n' ? end : n + 1;
			return crlf && !left_bare ? DATA_END : DATA_SMUGGLED;
		}
		if (in[i] == '.')
			i++;
		buf_add(out, in + i, n - i);
		if (end == len && (n == len || (in[n] == '\r' && n + 1 == len)))
			break;
		buf_adds(out, "\r\n");
		left_bare = !crlf;
		i = end;
	}
	*eaten = len;
	return DATA_MORE;
}

static enum smtp_data_event decode(const char *in, size_t len, size_t step, struct buf *out, size_t *eaten, struct smtp_data *d)
{
	size_t at = 0;

	smtp_data_init(d, false);
	while (at < len) {
		size_t piece = len - at < step ? len - at : step, used, n;
		const char *p;
		enum smtp_data_event e = smtp_data_decode(d, in + at, piece, &used, &p, &n);

		assert(used > 0 || n > 0 || e == DATA_SMUGGLED);
		buf_add(out, p, n);
		at += used;
		if (e == DATA_END || e == DATA_SMUGGLED) {
			*eaten = at;
			return e;
		}
	}
	*eaten = at;
	return DATA_MORE;
}

static void encode(const char *in, size_t len, size_t step, struct buf *out)
{
	struct smtp_encode e;
	size_t at = 0;

	smtp_encode_init(&e);
	while (at < len) {
		size_t piece = len - at < step ? len - at : step, used, n;
		const char *p;

		smtp_encode(&e, in + at, piece, &used, &p, &n);
		assert(used > 0 || n > 0);
		buf_add(out, p, n);
		at += used;
	}
	buf_adds(out, smtp_encode_end(&e));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO(buf) struct buf want = BUF_INIT(1 << 20), got = BUF_INIT(1 << 20), wire = BUF_INIT(1 << 20), back = BUF_INIT(1 << 20);
	const char *in = (const char *)data + 1;
	size_t step, len, eaten_want, eaten, held;
	enum smtp_data_event e;
	struct smtp_data d;

	if (size < 2)
		return 0;
	step = data[0] % 16 ? data[0] % 16 : 1 << 20;
	len = size - 1;

	e = reference(in, len, &want, &eaten_want);
	assert(decode(in, len, step, &got, &eaten, &d) == e);
	if (e == DATA_MORE) {
		/* a bare LF's CRLF may still be due */
		held = want.len - got.len;
		assert(got.len <= want.len && (held == 0 || (held == 2 && memcmp(want.data + got.len, "\r\n", 2) == 0)));
		assert(memcmp(buf_str(&want), buf_str(&got), got.len) == 0);
	} else {
		assert(got.len == want.len && memcmp(buf_str(&want), buf_str(&got), got.len) == 0);
		if (e == DATA_END)
			assert(eaten == eaten_want);
	}

	/* whatever the message: its encoding ends once, at its end, and is clean */
	encode(in, len, step, &wire);
	buf_clear(&got);
	assert(decode(wire.data, wire.len, data[0] / 16 + 1, &back, &eaten, &d) == DATA_END);
	assert(eaten == wire.len && !d.bare_cr && !d.bare_lf);
	/* and a second time is the same bytes */
	buf_clear(&got);
	encode(buf_str(&back), back.len, 1 << 20, &got);
	assert(got.len == wire.len && memcmp(got.data, wire.data, got.len) == 0);
	return 0;
}
