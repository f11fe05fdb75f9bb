#include "filters/transfer.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

/* Quoted-printable, after: anything; "="; "=" and blanks; "=" and a digit; "=" and the CR of a soft line end. */
enum { QP_TEXT, QP_EQUALS, QP_BLANKS, QP_DIGIT, QP_CR };

/* A line of uuencode: its first octet; its groups; what is passed over. */
enum { UU_START, UU_GROUPS, UU_SKIP };

static const struct { const char *name; enum transfer_encoding encoding; } names[] = {
	{ "7bit", TRANSFER_PLAIN },       { "8bit", TRANSFER_PLAIN },     { "binary", TRANSFER_PLAIN },  { "", TRANSFER_PLAIN },
	{ "base64", TRANSFER_BASE64 },    { "quoted-printable", TRANSFER_QP }, { "x-uuencode", TRANSFER_UU }, { "x-uue", TRANSFER_UU },
	{ "uuencode", TRANSFER_UU },
};

enum transfer_encoding transfer_find(const char *p, size_t len)
{
	size_t n = 0;

	while (len && strchr(" \t\r\n\"", *p) && *p) {
		p++;
		len--;
	}
	while (n < len && p[n] && !strchr(" \t\r\n\";(", p[n]))
		n++;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (strlen(names[i].name) == n && strncasecmp(p, names[i].name, n) == 0)
			return names[i].encoding;
	return TRANSFER_UNKNOWN;
}

void transfer_init(struct transfer *t, enum transfer_encoding encoding)
{
	*t = (struct transfer){ .encoding = encoding };
}

/* The value of each digit; 64: none; 65: padding. */
static const unsigned char *base64_values(void)
{
	static unsigned char table[256];
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	if (table[0] == 64)
		return table;
	memset(table, 64, sizeof(table));
	for (unsigned i = 0; i < 64; i++)
		table[(unsigned char)digits[i]] = (unsigned char)i;
	table['='] = 65;
	return table;
}

static size_t base64(struct transfer *t, const char *p, size_t len, char *out)
{
	const unsigned char *value = base64_values();
	unsigned bits = t->bits, count = t->count;
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned v = value[(unsigned char)p[i]];

		if (v == 65)
			count = 0;
		if (v > 63)
			continue;
		bits = bits << 6 | v;
		count += 6;
		if (count >= 8) {
			count -= 8;
			out[n++] = (char)(bits >> count & 0xff);
		}
	}
	t->bits = bits;
	t->count = count;
	return n;
}

static int hex(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
				      : -1;
}

/* One octet after an equals sign. RFC 2045 6.7: blanks before the line end are no text, they were added on the way. */
static size_t qp_escape(struct transfer *t, char c, char *out)
{
	unsigned char state = t->state;
	size_t n = 0;

	t->state = QP_TEXT;
	if (state == QP_CR && c == '\n')
		return 0;
	if ((state == QP_EQUALS || state == QP_BLANKS) && (c == '\r' || c == '\n')) {
		t->state = c == '\r' ? QP_CR : QP_TEXT;
		return 0;
	}
	if ((state == QP_EQUALS || state == QP_BLANKS) && (c == ' ' || c == '\t')) {
		t->state = QP_BLANKS;
		return 0;
	}
	if (state == QP_EQUALS && hex(c) >= 0) {
		t->state = QP_DIGIT;
		t->held = c;
		return 0;
	}
	if (state == QP_DIGIT && hex(c) >= 0) {
		*out = (char)((unsigned)hex(t->held) << 4 | (unsigned)hex(c));
		return 1;
	}
	if (state != QP_CR)
		out[n++] = '=';
	if (state == QP_BLANKS)
		out[n++] = ' ';
	if (state == QP_DIGIT)
		out[n++] = t->held;
	if (c == '=')
		t->state = QP_EQUALS;
	else
		out[n++] = c;
	return n;
}

static size_t qp(struct transfer *t, const char *p, size_t len, char *out)
{
	const char *end = p + len;
	size_t n = 0;

	while (p < end) {
		const char *equals;
		size_t run;

		while (p < end && t->state != QP_TEXT)
			n += qp_escape(t, *p++, out + n);
		equals = memchr(p, '=', (size_t)(end - p));
		run = (size_t)((equals ? equals : end) - p);
		memcpy(out + n, p, run);
		n += run;
		p += run;
		if (equals) {
			t->state = QP_EQUALS;
			p++;
		}
	}
	return n;
}

/* "begin 644 name" and "end" begin with what is no number of octets. */
static void uu_start(struct transfer *t, char c)
{
	t->left = c >= ' ' && c <= '`' ? (unsigned)(c - ' ') & 63 : 0;
	t->state = t->left ? UU_GROUPS : UU_SKIP;
	t->count = 0;
}

static size_t uu(struct transfer *t, const char *p, size_t len, char *out)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		if (p[i] == '\n') {
			t->state = UU_START;
		} else if (t->state == UU_START) {
			uu_start(t, p[i]);
		} else if (t->state == UU_GROUPS && t->left && p[i] >= ' ' && p[i] <= '`') {
			t->bits = t->bits << 6 | ((unsigned)(p[i] - ' ') & 63);
			t->count += 6;
			if (t->count < 8)
				continue;
			t->count -= 8;
			out[n++] = (char)(t->bits >> t->count & 0xff);
			t->left--;
		}
	}
	return n;
}

size_t transfer_decode(struct transfer *t, const char *p, size_t len, char *out)
{
	switch (t->encoding) {
	case TRANSFER_BASE64:
		return base64(t, p, len, out);
	case TRANSFER_QP:
		return qp(t, p, len, out);
	case TRANSFER_UU:
		return uu(t, p, len, out);
	default:
		memcpy(out, p, len);
		return len;
	}
}
