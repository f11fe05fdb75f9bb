#include "filters/rfc2047.h"

#include <errno.h>
#include <string.h>

#include "base/base64.h"
#include "filters/charset.h"

enum { CHARSET_MAX = 80 };      /* octets of charset and language */

struct word {
	const struct charset *charset;
	bool base64;
	const char *text, *text_end, *end;
};

struct reader {
	const char *end;
	const char *closing;    /* the first "?=" from where one was last looked for, or end; NULL: not yet */
	const char *text;       /* what comes before here is in out or in octets */
	size_t words;
	bool failed;
	bool open;              /* a word ends at text, whose octets may be waiting for more */
	const struct charset *charset, *unlabelled;
	struct buf *octets, *out;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
				      : -1;
}

/* RFC 2047 2, without "especials" but what names and quotes of charsets are seen with; RFC 2231 5: "*" and a language. */
static bool is_charset_byte(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c != '\0' && strchr("-_.:+*\"'", c));
}

/* Each "?=" is looked for once, however many words lack it. */
static const char *find_closing(struct reader *r, const char *from)
{
	if (!r->closing || r->closing < from) {
		r->closing = memmem(from, (size_t)(r->end - from), "?=", 2);
		if (!r->closing)
			r->closing = r->end;
	}
	return r->closing;
}

static bool is_base64(const char *p, const char *end)
{
	for (; p < end; p++)
		if (base64_digit(*p) < 0 && *p != '=' && !is_blank(*p))
			return false;
	return true;
}

/* "=?" charset "?" encoding "?" text "?=" at p, which begins with "=?". */
static bool word_parse(struct reader *r, const char *p, struct word *w)
{
	const char *label = p + 2, *q = label, *star;

	while (q < r->end && q - label < CHARSET_MAX && is_charset_byte(*q))
		q++;
	if (q == label || r->end - q < 3 || *q != '?' || q[2] != '?' || !strchr("BbQq", q[1]) || q[1] == '\0')
		return false;
	w->base64 = q[1] == 'B' || q[1] == 'b';
	w->text = q + 3;
	w->text_end = find_closing(r, w->text);
	if (w->text_end == r->end)
		return false;
	/* A word that was cut off, and another after it: that one is it. */
	if (memmem(w->text, (size_t)(w->text_end - w->text), "=?", 2))
		return false;
	if (w->base64 && !is_base64(w->text, w->text_end))
		return false;
	star = memchr(label, '*', (size_t)(q - label));
	w->charset = charset_find(label, (size_t)((star ? star : q) - label));
	w->end = w->text_end + 2;
	return true;
}

/* Padding ends a group wherever it stands: some programs encode line by line and join the lines. */
static void decode_base64(const char *p, const char *end, struct buf *out)
{
	unsigned bits = 0, n = 0;

	for (; p < end; p++) {
		int d = base64_digit(*p);

		if (*p == '=')
			n = 0;
		if (d < 0)
			continue;
		bits = (bits << 6 | (unsigned)d) & 0xffff;
		n += 6;
		if (n >= 8) {
			n -= 8;
			buf_addc(out, (char)(bits >> n & 0xff));
		}
	}
}

static void decode_q(const char *p, const char *end, struct buf *out)
{
	for (; p < end; p++) {
		if (*p == '=' && end - p > 2 && hex_digit(p[1]) >= 0 && hex_digit(p[2]) >= 0) {
			buf_addc(out, (char)(hex_digit(p[1]) << 4 | hex_digit(p[2])));
			p += 2;
		} else if (*p != '\r' && *p != '\n') {
			buf_addc(out, *p == '_' ? ' ' : *p);
		}
	}
}

/* The octets of the words that stand together. */
static void flush(struct reader *r)
{
	r->failed |= r->octets->failed;
	charset_decode(r->charset, buf_str(r->octets), r->octets->len, r->out);
	buf_clear(r->octets);
	r->open = false;
}

/* Text that is no encoded word, up to end. */
static void plain(struct reader *r, const char *end)
{
	for (const char *p = r->text; p < end; p++)     /* RFC 5322 2.2.3: unfolding takes CRLF away */
		if (*p != '\r' && *p != '\n')
			buf_addc(r->octets, *p);
	r->charset = r->unlabelled;
	flush(r);
	r->text = end;
}

static bool only_blanks(const char *p, const char *end)
{
	while (p < end && is_blank(*p))
		p++;
	return p == end;
}

static void add_word(struct reader *r, const char *at, const struct word *w)
{
	if (r->open && (w->charset != r->charset || !only_blanks(r->text, at))) {
		bool joined = only_blanks(r->text, at);

		flush(r);
		r->text = joined ? at : r->text;
	} else if (r->open) {
		r->text = at;
	}
	if (r->text < at)
		plain(r, at);
	(w->base64 ? decode_base64 : decode_q)(w->text, w->text_end, r->octets);
	r->charset = w->charset;
	r->open = true;
	r->text = w->end;
	r->words++;
}

int rfc2047_decode(const char *p, size_t len, struct buf *out)
{
	AUTO(buf) struct buf octets = BUF_INIT(RFC2047_BYTES_MAX);
	struct reader r = { .text = p, .octets = &octets, .out = out };
	size_t start = out->len;

	if (len > RFC2047_BYTES_MAX)
		len = RFC2047_BYTES_MAX;
	r.end = p + len;
	r.unlabelled = charset_guess(p, len);
	while (r.words < RFC2047_WORDS_MAX) {
		struct word w;
		const char *at = memmem(p, (size_t)(r.end - p), "=?", 2);

		if (!at)
			break;
		p = at + 2;
		if (word_parse(&r, at, &w)) {
			add_word(&r, at, &w);
			p = w.end;
		}
	}
	if (r.open)
		flush(&r);
	plain(&r, r.end);
	if (out->failed || r.failed)
		return -ENOMEM;
	charset_tidy(out, start);
	return 0;
}
