#include "spool/dsn_text.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "base/utf8.h"
#include "smtp/smtp_command.h"

enum {
	FOLD_AT = 74,
	QP_LINE = 76,           /* RFC 2045 6.7 (5) */
	LINE_MAX_OCTETS = 998,  /* RFC 5322 2.1.1 */
	FIELD_TEXT_MAX = 900,
};

static bool is_ascii(const char *p)
{
	while (*p)
		if ((unsigned char)*p++ >= 0x80)
			return false;
	return true;
}

static char clean(char c)
{
	return c == '\r' || c == '\n' || c == '\t' ? ' ' : c >= 0x20 && c < 0x7f ? c : '?';
}

void dsn_text_clean(const char *text, size_t max, struct buf *out)
{
	for (size_t i = 0; i < max && text[i]; i++)
		buf_addc(out, clean(text[i]));
}

/* Words that fit go on the line; a word longer than a line is broken off: nothing there needs it whole. */
void dsn_text_field(const char *name, const char *text, struct buf *out)
{
	size_t column = strlen(name) + 1, used = 0;

	buf_addf(out, "%s:", name);
	while (*text && used < FIELD_TEXT_MAX) {
		size_t blanks = strspn(text, " \t\r\n"), n;

		text += blanks;
		n = strcspn(text, " \t\r\n");
		if (!n)
			break;
		if (n > FOLD_AT - 8)
			n = FOLD_AT - 8;
		if (column + 1 + n > FOLD_AT && used) {
			buf_adds(out, "\r\n\t");
			column = 8;
		} else {
			buf_addc(out, ' ');
			column++;
		}
		for (size_t i = 0; i < n; i++)
			buf_addc(out, clean(text[i]));
		column += n;
		used += n + 1;
		text += n;
	}
	if (!used)
		buf_adds(out, " ?");
	buf_adds(out, "\r\n");
}

static uint32_t character(const char *p, size_t n)
{
	uint32_t c = n == 1 ? (unsigned char)*p : (unsigned char)*p & (0x7fu >> n);

	for (size_t i = 1; i < n; i++)
		c = c << 6 | ((unsigned char)p[i] & 0x3f);
	return c;
}

/* RFC 6533 3: of ASCII, what xtext could not hold, and the backslash, are said by their number, too. */
static void add_encoded(const char *p, size_t n, struct buf *out)
{
	if (n == 1 && *p > 0x20 && *p < 0x7f && !strchr("+=\\", *p))
		buf_addc(out, *p);
	else if (n == 1 && (*p < 0x20 || *p == 0x7f))
		buf_addc(out, '?');
	else
		buf_addf(out, "\\x{%02X}", character(p, n));
}

void dsn_text_address(const char *address, bool unicode, struct buf *out)
{
	bool ascii = is_ascii(address);
	size_t len = strlen(address);

	buf_adds(out, ascii ? "rfc822; " : "utf-8; ");
	if (len > FIELD_TEXT_MAX)
		len = FIELD_TEXT_MAX;
	for (size_t i = 0, n; i < len; i += n ? n : 1) {
		n = utf8_len(address + i, len - i);
		if (!n)
			buf_addc(out, '?');
		else if (ascii || (unicode && n > 1))
			buf_add(out, address + i, n);
		else if (unicode)
			buf_addc(out, clean(address[i]));
		else
			add_encoded(address + i, n, out);
	}
	if (ascii)              /* a control in it: not what an SMTP parser lets through, but files can be edited */
		for (size_t i = out->failed ? 0 : len; i > 0; i--)
			out->data[out->len - i] = clean(out->data[out->len - i]);
}

bool dsn_text_orcpt(const char *orcpt, struct buf *out)
{
	const char *semicolon = strchr(orcpt, ';');
	char address[SMTP_ORCPT_MAX + 1];

	if (!semicolon || semicolon == orcpt || strspn(orcpt, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") !=
						(size_t)(semicolon - orcpt))
		return false;
	if (strncasecmp(orcpt, "utf-8;", 6) == 0) {
		dsn_text_clean(orcpt, FIELD_TEXT_MAX, out);
		return true;
	}
	if (smtp_xtext_decode(semicolon + 1, strlen(semicolon + 1), address, sizeof(address)) <= 0)
		return false;
	buf_add(out, orcpt, (size_t)(semicolon - orcpt));
	buf_adds(out, "; ");
	dsn_text_clean(address, sizeof(address), out);
	return true;
}

bool dsn_text_plain(const char *p, size_t len)
{
	size_t line = 0;

	for (size_t i = 0; i < len; i++) {
		if (p[i] == '\r' && i + 1 < len && p[i + 1] == '\n') {
			line = 0;
			i++;
			continue;
		}
		if (p[i] == '\r' || p[i] == '\n' || p[i] == '\0' || (unsigned char)p[i] >= 0x80 || ++line > LINE_MAX_OCTETS)
			return false;
	}
	return true;
}

static void qp_room(struct dsn_qp *q, size_t need)
{
	if (q->column + need > QP_LINE - 1) {
		buf_adds(q->out, "=\r\n");
		q->column = 0;
	}
}

static void qp_raw(struct dsn_qp *q, char c)
{
	qp_room(q, 1);
	buf_addc(q->out, c);
	q->column++;
}

static void qp_hex(struct dsn_qp *q, char c)
{
	qp_room(q, 3);
	buf_addf(q->out, "=%02X", (unsigned char)c);
	q->column += 3;
}

static void qp_newline(struct dsn_qp *q)
{
	buf_adds(q->out, "\r\n");
	q->column = 0;
}

static void qp_blank(struct dsn_qp *q, bool at_end)
{
	int c = q->blank;

	q->blank = 0;
	if (c && at_end)
		qp_hex(q, (char)c);
	else if (c)
		qp_raw(q, (char)c);
}

static void qp_octet(struct dsn_qp *q, char c)
{
	if (q->cr) {
		q->cr = false;
		if (c == '\n') {
			qp_blank(q, true);
			qp_newline(q);
			return;
		}
		qp_blank(q, false);
		qp_hex(q, '\r');
	}
	if (c == '\r') {
		q->cr = true;
		return;
	}
	qp_blank(q, false);
	if (c == ' ' || c == '\t')
		q->blank = (unsigned char)c;
	else if (c > 0x20 && c < 0x7f && c != '=')
		qp_raw(q, c);
	else
		qp_hex(q, c);
}

void dsn_qp_add(struct dsn_qp *q, const char *p, size_t len)
{
	for (size_t i = 0; i < len && !q->out->failed; i++)
		qp_octet(q, p[i]);
}

void dsn_qp_end(struct dsn_qp *q)
{
	if (q->cr) {
		q->cr = false;
		qp_blank(q, false);
		qp_hex(q, '\r');
	}
	qp_blank(q, true);
	if (q->column)
		qp_newline(q);
}
