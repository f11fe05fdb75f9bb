#include "retrieval/notice.h"

#include <string.h>
#include <strings.h>

/* RFC 2045 section 6.8: lines of base64 have 76 characters at most, which stand for 57 octets. */
enum {
	LINE_MAX_CHARS = 76,
	LINE_OCTETS = LINE_MAX_CHARS + 2,
	LINE_GROUPS = LINE_MAX_CHARS / 4,
	TAIL = 6,                       /* octets before an end that are looked at */
	INDENT = 4,
	WORD_MAX_CHARS = LINE_MAX_CHARS - INDENT,
};

/* --- the text --- */

/* Line breaks are part of s. What does not fit is left out: the parts are all far below the bound. */
static void add(struct notice *n, const char *s)
{
	size_t len = strlen(s);

	if (len > (size_t)NOTICE_TEXT_MAX - n->len)
		return;
	memcpy(n->text + n->len, s, len);
	n->len = (uint16_t)(n->len + len);
}

/* What is markup nowhere: neither in HTML nor in quoted-printable, RTF, UTF-7 (+) and HZ (~). */
static bool is_plain(unsigned char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c && strchr(".,:;()'-_/@?!", c));
}

/*
 * Words between single blanks, at most size - 1 octets. Of a letter that is not ASCII a question mark is left; no "//", so no
 * address of a page.
 */
static void clean(const char *s, char *out, size_t size)
{
	size_t n = 0;

	for (; *s && n + 1 < size; s++) {
		unsigned char c = (unsigned char)*s;

		if (c >= 0x80 && c < 0xc0)      /* within a letter of UTF-8 */
			continue;
		if (c >= 0x80)
			c = '?';
		else if (!is_plain(c) || (c == '/' && n && out[n - 1] == '/'))
			c = ' ';
		if (c != ' ' || (n && out[n - 1] != ' '))
			out[n++] = (char)c;
	}
	while (n && out[n - 1] == ' ')
		n--;
	out[n] = '\0';
}

/* Clean text in lines of its own, set in, so that no line of them begins with what it begins with. */
static void add_set_in(struct notice *n, const char *s)
{
	while (*s) {
		size_t len = strlen(s), cut = len;
		char line[INDENT + WORD_MAX_CHARS + 3];

		if (len > WORD_MAX_CHARS) {
			for (cut = WORD_MAX_CHARS; cut > 0 && s[cut] != ' '; cut--)
				;
			if (cut == 0)
				cut = WORD_MAX_CHARS;
		}
		memset(line, ' ', INDENT);
		memcpy(line + INDENT, s, cut);
		memcpy(line + INDENT + cut, "\r\n", 3);
		add(n, line);
		s += cut;
		s += *s == ' ';
	}
}

void notice_init(struct notice *n, const char *reason, const char *id)
{
	char text[NOTICE_REASON_MAX] = "";

	n->len = 0;
	/* An empty line first: it ends a header that has no end. */
	add(n, "\r\n"
	       "The mail gateway keeps this message from being shown.\r\n"
	       "\r\n"
	       "The rules of your site hold it to be unwanted or dangerous.\r\n");
	clean(reason ? reason : "", text, sizeof(text));
	if (text[0]) {
		add(n, "The reason:\r\n\r\n");
		add_set_in(n, text);
	}
	add(n, "\r\n"
	       "The original is still in your mailbox on the mail server. Nothing has been\r\n"
	       "changed or deleted there.\r\n"
	       "\r\n");
	clean(id ? id : "", text, sizeof(text));
	if (text[0]) {
		add(n, "If you need this message, ask your mail administrator to release it from the\r\n"
		       "quarantine of the gateway. Quote this number:\r\n"
		       "\r\n");
		add_set_in(n, text);
	} else {
		add(n, "If you need this message, ask your mail administrator. The gateway could not\r\n"
		       "put a copy aside, so there is no number to quote: tell the sender, the\r\n"
		       "subject and the date.\r\n");
	}
	add(n, "\r\n"
	       "The blank lines below only fill the place of the message.\r\n"
	       "\r\n");
}

/* --- its octets --- */

/* The octet of line's end at a column past the text of a line. */
static char line_end(uint64_t column)
{
	return column == LINE_MAX_CHARS ? '\r' : '\n';
}

static char plain_octet(const struct notice *n, uint64_t off)
{
	uint64_t column;

	if (off < n->len)
		return n->text[off];
	column = (off - n->len) % LINE_OCTETS;
	return column < LINE_MAX_CHARS ? ' ' : line_end(column);
}

static char base64_octet(const struct notice *n, uint64_t off)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint64_t column = off % LINE_OCTETS, from;
	unsigned bits = 0, place = (unsigned)(column % 4);

	if (column >= LINE_MAX_CHARS)
		return line_end(column);
	from = (off / LINE_OCTETS * LINE_GROUPS + column / 4) * 3;
	for (unsigned i = 0; i < 3; i++)
		bits = bits << 8 | (unsigned char)plain_octet(n, from + i);
	return digits[bits >> (18 - 6 * place) & 63];
}

static char octet(const struct notice *n, bool base64, uint64_t off)
{
	return base64 ? base64_octet(n, off) : plain_octet(n, off);
}

/* The last octets of a whole that has an end: CRLF, before it neither half a line end nor half a group of base64. */
static char octet_before_end(const struct notice *n, bool base64, uint64_t total, uint64_t off)
{
	uint64_t column = off % LINE_OCTETS;
	char c;

	if (total >= 2 && off >= total - 2)
		return off == total - 2 ? '\r' : '\n';
	c = octet(n, base64, off);
	if (c == '\r' && off + 3 >= total)
		return ' ';
	if (base64 && column < LINE_MAX_CHARS && off - column % 4 + 4 + 2 > total)
		return ' ';
	return c;
}

/*
 * Behind the text everything comes again: lines of 78 octets, in base64 26 lines of them (which stand for 19 of the plain
 * ones). How many octets from off on are those before, at distance back, once more; 0: look at each.
 */
static size_t repeats(const struct notice *n, bool base64, uint64_t total, uint64_t off, size_t done, size_t *back)
{
	uint64_t from = base64 ? (uint64_t)NOTICE_TEXT_MAX * 2 : n->len, end = total == NOTICE_ENDLESS ? UINT64_MAX : total - (total < TAIL ? total : TAIL);

	*back = base64 ? 26 * LINE_OCTETS : LINE_OCTETS;
	if (done < *back || off < from + *back || off >= end)
		return 0;
	return end - off < *back ? (size_t)(end - off) : *back;
}

void notice_read(const struct notice *n, enum transfer_encoding encoding, uint64_t total, uint64_t off, char *out, size_t len)
{
	bool base64 = encoding == TRANSFER_BASE64;
	size_t back, same;

	for (size_t i = 0; i < len; i += same) {
		same = repeats(n, base64, total, off + i, i, &back);
		if (same > len - i)
			same = len - i;
		if (same)
			memcpy(out + i, out + i - back, same);
		else if (total != NOTICE_ENDLESS && off + i + TAIL >= total)
			out[i] = octet_before_end(n, base64, total, off + i);
		else
			out[i] = octet(n, base64, off + i);
		same += same == 0;
	}
}

/* --- the header --- */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/*
 * A field begins p[0..len): the length of its name; 0: none does. RFC 5322 2.2 and 4.5: blanks before the colon are obsolete
 * syntax.
 */
static size_t name_length(const char *p, size_t len)
{
	size_t n = 0, colon;

	while (n < len && p[n] > ' ' && p[n] < 0x7f && p[n] != ':')
		n++;
	for (colon = n; colon < len && is_blank(p[colon]); colon++)
		;
	return colon < len && p[colon] == ':' ? n : 0;
}

/* Says what the body is. */
static bool describes_body(const char *name, size_t len)
{
	static const char *const names[] = { "Content-Type", "Content-Transfer-Encoding", "Content-Disposition", "MIME-Version" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (strlen(names[i]) == len && strncasecmp(names[i], name, len) == 0)
			return true;
	return false;
}

size_t notice_header_fix(char *p, size_t len)
{
	size_t changed = 0, next;
	bool within = false;            /* a field, which a line that begins with a blank goes on with */

	for (size_t at = 0; at < len; at = next) {
		size_t line = 0, name;

		while (at + line < len && p[at + line] != '\r' && p[at + line] != '\n')
			line++;
		next = at + line + 1;
		if (next < len && p[next - 1] == '\r' && p[next] == '\n')
			next++;
		if (line == 0 || (within && is_blank(p[at])))
			continue;
		name = name_length(p + at, line);
		within |= name > 0;
		if (name == 0) {
			memset(p + at, ' ', line);
		} else if (describes_body(p + at, name)) {
			memcpy(p + at, "X-", 2);
			changed++;
		}
	}
	return changed;
}
