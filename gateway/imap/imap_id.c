#include "imap/imap_id.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "base/utf8.h"
#include "imap/imap_command.h"

/* Fields that begin so are for servers to be told by their own proxies. */
static const char *const ours[] = { "x-originating-", "x-connected-", "x-proxy-ttl", "x-session-", "x-forward-", "x-client-", "x-via" };

static bool is_ours(const struct imap_command *c, const struct imap_arg *field)
{
	char name[2 * IMAP_ID_FIELD_MAX];
	int n = imap_arg_decode(c, field, name, sizeof(name));

	for (size_t i = 0; n > 0 && i < sizeof(ours) / sizeof(ours[0]); i++)
		if ((size_t)n >= strlen(ours[i]) && strncasecmp(name, ours[i], strlen(ours[i])) == 0)
			return true;
	return false;
}

/* What a quoted string may not hold, and a literal may. */
static bool unquotable(const struct imap_command *c, const struct imap_arg *a)
{
	const char *p = imap_arg_text(c, a);

	if (a->form == IMAP_NIL)
		return false;
	for (size_t i = 0, n; a->form == IMAP_LITERAL && i < a->len; i += n) {
		n = utf8_len(p + i, a->len - i);
		if (n == 0)
			return true;
	}
	return imap_arg_has(c, a, "\r\n");
}

static void add(const struct imap_command *c, const struct imap_arg *a, struct buf *out)
{
	const char *p = imap_arg_text(c, a);

	if (a->form == IMAP_NIL) {
		buf_adds(out, "NIL");
		return;
	}
	buf_addc(out, '"');
	for (size_t i = 0; i < a->len; i++) {
		if (a->form == IMAP_LITERAL && (p[i] == '"' || p[i] == '\\'))
			buf_addc(out, '\\');
		buf_addc(out, p[i]);
	}
	buf_addc(out, '"');
}

int imap_id_onward(const struct imap_command *c, struct buf *out)
{
	struct imap_arg field, value;
	bool same = c->literals == 0, first = true;

	for (size_t pos = 0; same && imap_id_next(c, &pos, &field, &value);)
		same = !is_ours(c, &field);
	if (same)
		return buf_add(out, c->text, c->len);
	buf_addf(out, "%s ID ", c->tag);
	for (size_t pos = 0; imap_id_next(c, &pos, &field, &value);) {
		if (is_ours(c, &field) || unquotable(c, &field) || unquotable(c, &value))
			continue;
		buf_addc(out, first ? '(' : ' ');
		add(c, &field, out);
		buf_addc(out, ' ');
		add(c, &value, out);
		first = false;
	}
	buf_adds(out, first ? "NIL\r\n" : ")\r\n");
	return out->failed ? -ENOMEM : 0;
}
