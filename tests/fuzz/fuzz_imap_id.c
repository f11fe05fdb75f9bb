/*
 * fuzz_imap_id - ID of an IMAP client as it goes on to the server: a command that is taken again, without literals and without what a server would
 * believe of where the client is
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "base/utf8.h"
#include "imap/imap_command.h"
#include "imap/imap_id.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum imap_step feed(struct imap_command *c, const char *p, size_t len)
{
	enum imap_step step = IMAP_WANTS_LINE;

	while (step < IMAP_COMMAND && len > 0) {
		const char *lf = memchr(p, '\n', len);
		size_t n = lf ? (size_t)(lf - p) + 1 : len;

		if (step == IMAP_WANTS_CONTINUE) {
			step = c->want ? IMAP_WANTS_LITERAL : IMAP_WANTS_LINE;
			continue;
		}
		if (step == IMAP_WANTS_LITERAL) {
			n = c->want < len ? c->want : len;
			step = imap_command_literal(c, p, n);
		} else {
			step = imap_command_line(c, p, n);
		}
		p += n;
		len -= n;
	}
	return step;
}

static bool unquotable(const struct imap_command *c, const struct imap_arg *a)
{
	const char *p = imap_arg_text(c, a);
	size_t i = 0;

	if (a->form == IMAP_NIL)
		return false;
	for (size_t n; i < a->len && (n = utf8_len(p + i, a->len - i)) > 0; i += n)
		;
	return i < a->len || memchr(p, '\r', a->len) || memchr(p, '\n', a->len);
}

static bool servers(const char *p, size_t len)
{
	static const char *const begin[] = { "x-originating-", "x-connected-", "x-proxy-ttl", "x-session-", "x-forward-", "x-client-", "x-via" };

	for (size_t i = 0; i < sizeof(begin) / sizeof(begin[0]); i++)
		if (len >= strlen(begin[i]) && strncasecmp(p, begin[i], strlen(begin[i])) == 0)
			return true;
	return false;
}

/* Fields and values that the server may be told, as text. */
static void said(const struct imap_command *c, struct buf *out)
{
	char text[2 * IMAP_TEXT_MAX];
	struct imap_arg a[2];

	for (size_t pos = 0; imap_id_next(c, &pos, &a[0], &a[1]);) {
		int n = imap_arg_decode(c, &a[0], text, sizeof(text));

		assert(n >= 0);
		if (servers(text, (size_t)n) || unquotable(c, &a[0]) || unquotable(c, &a[1]))
			continue;
		for (int i = 0; i < 2; i++) {
			n = a[i].form == IMAP_NIL ? 0 : imap_arg_decode(c, &a[i], text, sizeof(text));
			assert(n >= 0);
			buf_addf(out, "%d %d ", a[i].form == IMAP_NIL, n);
			buf_add(out, text, (size_t)n);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO(buf) struct buf out = BUF_INIT(4 * IMAP_TEXT_MAX), before = BUF_INIT(1 << 20), after = BUF_INIT(1 << 20);
	struct imap_command c, twin;

	imap_command_init(&c);
	imap_command_init(&twin);
	if (feed(&c, (const char *)data, size) == IMAP_COMMAND && c.verb == IMAP_ID) {
		assert(imap_id_onward(&c, &out) == 0 && out.len > 2);
		assert((const char *)memchr(out.data, '\n', out.len) == out.data + out.len - 1);
		if (out.len > IMAP_LINE_MAX)            /* a server's bounds are its own */
			goto done;
		assert(imap_command_line(&twin, out.data, out.len) == IMAP_COMMAND && twin.verb == IMAP_ID && twin.literals == 0);
		assert(strcmp(c.tag, twin.tag) == 0);
		said(&c, &before);
		said(&twin, &after);
		assert(before.len == after.len && (before.len == 0 || memcmp(before.data, after.data, before.len) == 0));
	}
done:
	imap_command_release(&c);
	imap_command_release(&twin);
	return 0;
}
