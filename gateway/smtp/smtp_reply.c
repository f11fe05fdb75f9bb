#include "smtp/smtp_reply.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/stream.h"

enum { OUT_LINES_MAX = 20 };

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

enum parse smtp_reply_line(const char *p, size_t len, size_t *used, int *code, bool *last)
{
	const char *lf = memchr(p, '\n', len < SMTP_REPLY_LINE_MAX ? len : SMTP_REPLY_LINE_MAX);
	size_t n;

	if (!lf)
		return len >= SMTP_REPLY_LINE_MAX ? PARSE_BAD : PARSE_MORE;
	n = (size_t)(lf - p);
	if (n < 4 || p[n - 1] != '\r' || memchr(p, '\0', n) || memchr(p, '\r', n - 1))
		return PARSE_BAD;
	n--;
	if (p[0] < '2' || p[0] > '5' || p[1] < '0' || p[1] > '5' || !is_digit(p[2]))
		return PARSE_BAD;                       /* RFC 5321 4.2: Reply-code */
	if (n > 3 && p[3] != ' ' && p[3] != '-')
		return PARSE_BAD;
	*used = n + 2;
	*code = (p[0] - '0') * 100 + (p[1] - '0') * 10 + (p[2] - '0');
	*last = n == 3 || p[3] == ' ';                  /* some servers send a code with no text */
	return PARSE_OK;
}

void smtp_reply_init(struct smtp_reply *r)
{
	memset(r, 0, sizeof(*r));
	buf_init(&r->text, SMTP_REPLY_TEXT_MAX);
}

void smtp_reply_release(struct smtp_reply *r)
{
	buf_release(&r->text);
	r->code = r->lines = 0;
}

size_t smtp_status_parse(const char *p, size_t len, int status[3])
{
	int s[3];
	size_t i = 0;

	for (int part = 0; part < 3; part++) {
		size_t digits = 0;

		s[part] = 0;
		while (i < len && is_digit(p[i]) && digits < 4) {
			s[part] = s[part] * 10 + (p[i++] - '0');
			digits++;
		}
		if (digits == 0 || digits > 3)
			return 0;
		if (part < 2 && (i >= len || p[i++] != '.'))
			return 0;
	}
	if (s[0] != 2 && s[0] != 4 && s[0] != 5)        /* RFC 3463 2 */
		return 0;
	if (i < len && p[i] != ' ' && p[i] != '\t')
		return 0;
	memcpy(status, s, sizeof(s));
	return i < len ? i + 1 : i;
}

enum parse smtp_reply_add(struct smtp_reply *r, const char *line, size_t len)
{
	size_t used, text_len, room;
	int code;
	bool last;

	if (smtp_reply_line(line, len, &used, &code, &last) != PARSE_OK || used != len)
		return PARSE_BAD;
	if (r->lines >= SMTP_REPLY_LINES_MAX || (r->lines > 0 && code != r->code))
		return PARSE_BAD;
	text_len = used > 6 ? used - 6 : 0;
	if (r->lines == 0) {
		r->code = code;
		r->status[0] = 0;
		if (text_len > 0)
			smtp_status_parse(line + 4, text_len, r->status);
		if (r->status[0] != code / 100)
			r->status[0] = 0;
	}
	room = r->text.max - r->text.len;
	if (r->lines > 0 && room > 0) {
		buf_addc(&r->text, '\n');
		room--;
	}
	buf_add(&r->text, line + 4, text_len < room ? text_len : room);
	r->lines++;
	return last ? PARSE_OK : PARSE_MORE;
}

int smtp_reply_read(struct stream *s, int timeout_ms, struct smtp_reply *r)
{
	buf_clear(&r->text);
	r->code = r->lines = 0;
	for (;;) {
		const char *line;
		size_t len;
		int rc = stream_read_line(s, SMTP_REPLY_LINE_MAX, timeout_ms, &line, &len);

		if (rc < 0)
			return rc == -EMSGSIZE ? -EPROTO : rc;
		switch (smtp_reply_add(r, line, len)) {
		case PARSE_OK:
			return r->text.failed ? -ENOMEM : 0;
		case PARSE_MORE:
			break;
		case PARSE_BAD:
			return -EPROTO;
		}
	}
}

bool smtp_reply_final(const struct smtp_reply *r)
{
	int class = r->code / 100;

	return class == 2 || class == 4 || class == 5;
}

const char *smtp_status_default(int code)
{
	static const struct { int code; const char *status; } known[] = {
		{ 221, "2.0.0" }, { 250, "2.0.0" }, { 251, "2.1.5" }, { 252, "2.5.2" },
		{ 421, "4.3.2" }, { 432, "4.7.12" }, { 450, "4.2.0" }, { 451, "4.3.0" }, { 452, "4.3.1" }, { 454, "4.7.0" }, { 455, "4.5.4" },
		{ 500, "5.5.1" }, { 501, "5.5.4" }, { 502, "5.5.1" }, { 503, "5.5.1" }, { 504, "5.5.4" },
		{ 521, "5.3.2" }, { 530, "5.7.0" }, { 534, "5.7.9" }, { 535, "5.7.8" }, { 538, "5.7.11" }, { 550, "5.0.0" }, { 551, "5.1.6" },
		{ 552, "5.3.4" }, { 553, "5.1.3" }, { 554, "5.0.0" }, { 555, "5.5.4" }, { 556, "5.1.10" },
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (known[i].code == code)
			return known[i].status;
	return code / 100 == 2 ? "2.0.0" : code / 100 == 4 ? "4.0.0" : code / 100 == 5 ? "5.0.0" : "";
}

/* One line: printable ASCII, the rest as '?', a tab as a blank. */
static void line_format(struct buf *out, int code, bool last, const char *status, const char *p, size_t len)
{
	size_t room = SMTP_REPLY_OUT_MAX - 2 - 4;

	buf_addf(out, "%03d%c", code, last ? ' ' : '-');
	if (status[0]) {
		buf_addf(out, "%s ", status);
		room -= strlen(status) + 1;
	}
	for (size_t i = 0; i < len && i < room; i++) {
		unsigned char c = (unsigned char)p[i];

		buf_addc(out, c == '\t' ? ' ' : c < 0x20 || c > 0x7e ? '?' : (char)c);
	}
	buf_adds(out, "\r\n");
}

/* The length of the line at p and, in *next, where the following one begins; NULL at the end. */
static size_t line_end(const char *p, const char *end, const char **next)
{
	const char *nl = memchr(p, '\n', (size_t)(end - p));
	size_t len = (size_t)((nl ? nl : end) - p);

	*next = nl ? nl + 1 : NULL;
	while (len > 0 && p[len - 1] == '\r')
		len--;
	return len;
}

static int format(struct buf *out, int code, const char *status, const char *prefix, const char *text, size_t text_len)
{
	AUTO(buf) struct buf first = BUF_INIT(2 * SMTP_REPLY_OUT_MAX);
	char own[16];
	const char *end = text + text_len;
	bool any = !(status && !status[0]) && code / 100 != 3;
	int found[3];

	if (!any)
		status = "";
	for (int line = 0; text && line < OUT_LINES_MAX; line++) {
		const char *next;
		size_t len = line_end(text, end, &next), skip;

		skip = any ? smtp_status_parse(text, len, found) : 0;
		if (line == 0 && any && !status) {
			/* its own code, if it is of the class that it claims, RFC 2034 4 */
			if (skip > 0 && found[0] == code / 100) {
				snprintf(own, sizeof(own), "%d.%d.%d", found[0], found[1], found[2]);
				status = own;
			} else {
				status = smtp_status_default(code);
			}
		}
		if (line == OUT_LINES_MAX - 1)
			next = NULL;
		if (line == 0 && prefix) {
			buf_adds(&first, prefix);
			buf_add(&first, text + skip, len - skip < SMTP_REPLY_OUT_MAX ? len - skip : SMTP_REPLY_OUT_MAX);
			line_format(out, code, !next, status, buf_str(&first), first.len);
		} else {
			line_format(out, code, !next, status, text + skip, len - skip);
		}
		text = next;
	}
	return out->failed ? -ENOSPC : 0;
}

int smtp_reply_format(struct buf *out, int code, const char *status, const char *text)
{
	return format(out, code, status, NULL, text, strlen(text));
}

int smtp_reply_pass(struct buf *out, const struct smtp_reply *r, const char *status, const char *prefix)
{
	return format(out, r->code, r->status[0] ? NULL : status, prefix, buf_str(&r->text), r->text.len);
}
