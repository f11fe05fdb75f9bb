/*
 * fuzz_xclient - what a server says that it takes, and names of a client from anywhere, NUL between them: one line of printable ASCII, of at most 512 octets
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "hop/xclient.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *next(const char **p, const char *end)
{
	const char *at = *p;

	if (at >= end)
		return NULL;
	*p = at + strlen(at) + 1;
	return at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO(buf) struct buf all = BUF_INIT(size + 1), out = BUF_INIT(XCLIENT_LINE_MAX);
	struct smtp_identity who = { .addr = { .family = AF_INET6, .ip = { 0x20, 1, 0xd, 0xb8 }, .port = 4321 } };
	const char *p, *end, *words;
	unsigned offered;

	if (buf_add(&all, data, size) < 0 || buf_addc(&all, 0) < 0)
		return 0;
	p = all.data;
	end = all.data + all.len;
	words = next(&p, end);
	offered = xclient_offered(words, words + strlen(words));
	assert(offered <= (2 * XCLIENT_LOGIN - 1));
	who.name = next(&p, end);
	who.helo = next(&p, end);
	who.login = next(&p, end);
	who.esmtp = size % 2;
	if (size % 3)
		who.addr.family = AF_INET;
	if (!offered || xclient_command(&who, offered, &out) < 0)
		return 0;
	assert(out.len > 2 && out.len <= XCLIENT_LINE_MAX && memcmp(out.data + out.len - 2, "\r\n", 2) == 0 && memcmp(out.data, "XCLIENT ", 8) == 0);
	for (size_t i = 0; i < out.len - 2; i++)
		assert(out.data[i] >= ' ' && out.data[i] < 0x7f);
	if (who.helo && xclient_helo_ok(who.helo))
		assert(strlen(who.helo) <= 255 && !strpbrk(who.helo, " \r\n\t"));
	return 0;
}
