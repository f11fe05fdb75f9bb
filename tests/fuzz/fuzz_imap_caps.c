/*
 * fuzz_imap_caps - a line of a server's with its capabilities: what a client sees has nothing that we must not show, nothing is made up, and what was
 * adjusted once stays as it is
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "imap/imap_caps.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t word(const char *p, size_t len)
{
	const char *blank = memchr(p, ' ', len);

	return blank ? (size_t)(blank - p) : len;
}

static bool is(const char *p, size_t len, const char *what)
{
	return len == strlen(what) && strncasecmp(p, what, len) == 0;
}

static void check_word(const struct imap_view *v, const char *p, size_t n, const char *in, size_t len)
{
	if (is(p, n, "STARTTLS"))
		assert(v->starttls);
	if (n > 5 && strncasecmp(p, "AUTH=", 5) == 0)
		assert(imap_caps_mechanism(v, p + 5, n - 5));
	if (v->scanning)
		assert(!(n > 9 && strncasecmp(p, "COMPRESS=", 9) == 0) && !is(p, n, "NOTIFY"));
	if (!is(p, n, "STARTTLS") && !is(p, n, "LOGINDISABLED"))
		assert(memmem(in, len, p, n));
}

static void check(const struct imap_view *v, const char *in, size_t len)
{
	AUTO(buf) struct buf out = BUF_INIT(64 * 1024), again = BUF_INIT(64 * 1024);

	assert(imap_caps_adjust(v, in, len, &out) == 0);
	for (size_t i = 0, n; i < out.len; i += n + 1) {
		n = word(out.data + i, out.len - i);
		check_word(v, out.data + i, n, in, len);
	}
	assert(imap_caps_adjust(v, buf_str(&out), out.len, &again) == 0);
	assert(again.len == out.len && memcmp(buf_str(&again), buf_str(&out), out.len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct imap_view v = { .mechanisms = SASL_DEFAULT };
	const char *line = (const char *)data + 1;
	struct imap_caps caps;
	size_t off, n;

	if (size < 2)
		return 0;
	v.starttls = data[0] & 1;
	v.clear_refused = data[0] & 2;
	v.routed = data[0] & 4;
	v.scanning = data[0] & 8;
	v.logged_in = data[0] & 16;
	if (!imap_caps_find(line, size - 1, &off, &n))
		return 0;
	assert(off + n <= size - 1);
	imap_caps_read(&caps, line + off, n);
	assert(caps.known);
	check(&v, line + off, n);
	return 0;
}
