#include "filters/charset.h"

#include <errno.h>
#include <iconv.h>
#include <stdbool.h>
#include <string.h>

#include "base/utf8.h"

enum { LABEL_MAX = 40, BLOCK = 1024 };

/* Characters in valid UTF-8 past which another label is not believed, see charset_decode_body. */
enum { UTF8_LIKELY = 3, UTF8_CERTAIN = 12 };

/* ENCODED: by iconv. JIS: ISO-2022-JP, rewritten as EUC-JP first. UNLABELLED: no charset is named, it is guessed. */
enum kind { ENCODED, UTF8, JIS, UNLABELLED };

struct charset {
	const char *label;              /* lower case, letters and digits only */
	const char *encoding;           /* iconv's name */
	enum kind kind;
};

/* The WHATWG's Encoding standard lists most of these labels, and which superset each means in practice. */
static const struct charset charsets[] = {
	{ "utf8", NULL, UTF8 },
	{ "unicode11utf8", NULL, UTF8 },
	{ "xunicode20utf8", NULL, UTF8 },
	{ "usascii", NULL, UNLABELLED },
	{ "ascii", NULL, UNLABELLED },
	{ "ansix341968", NULL, UNLABELLED },
	{ "unknown8bit", NULL, UNLABELLED },
	{ "xunknown", NULL, UNLABELLED },
	{ "unknown", NULL, UNLABELLED },
	{ "8bit", NULL, UNLABELLED },
	{ "gb18030", "GB18030", ENCODED },
	{ "gb2312", "GB18030", ENCODED },
	{ "gb231280", "GB18030", ENCODED },
	{ "csgb2312", "GB18030", ENCODED },
	{ "gbk", "GB18030", ENCODED },
	{ "xgbk", "GB18030", ENCODED },
	{ "euccn", "GB18030", ENCODED },
	{ "cp936", "GB18030", ENCODED },
	{ "windows936", "GB18030", ENCODED },
	{ "chinese", "GB18030", ENCODED },
	{ "big5", "BIG5-HKSCS", ENCODED },
	{ "big5hkscs", "BIG5-HKSCS", ENCODED },
	{ "csbig5", "BIG5-HKSCS", ENCODED },
	{ "xxbig5", "BIG5-HKSCS", ENCODED },
	{ "cp950", "BIG5-HKSCS", ENCODED },
	{ "iso2022jp", "EUC-JP-MS", JIS },
	{ "iso2022jp1", "EUC-JP-MS", JIS },
	{ "iso2022jpms", "EUC-JP-MS", JIS },
	{ "csiso2022jp", "EUC-JP-MS", JIS },
	{ "cp50220", "EUC-JP-MS", JIS },
	{ "cp50221", "EUC-JP-MS", JIS },
	{ "iso2022jp2", "ISO-2022-JP-2", ENCODED },
	{ "eucjp", "EUC-JP-MS", ENCODED },
	{ "xeucjp", "EUC-JP-MS", ENCODED },
	{ "shiftjis", "CP932", ENCODED },
	{ "sjis", "CP932", ENCODED },
	{ "xsjis", "CP932", ENCODED },
	{ "mskanji", "CP932", ENCODED },
	{ "windows31j", "CP932", ENCODED },
	{ "cswindows31j", "CP932", ENCODED },
	{ "cp932", "CP932", ENCODED },
	{ "euckr", "UHC", ENCODED },
	{ "ksc56011987", "UHC", ENCODED },
	{ "ksc5601", "UHC", ENCODED },
	{ "ksc5601c1987", "UHC", ENCODED },
	{ "cp949", "UHC", ENCODED },
	{ "uhc", "UHC", ENCODED },
	{ "windows949", "UHC", ENCODED },
	{ "iso2022kr", "ISO-2022-KR", ENCODED },
	{ "windows1250", "CP1250", ENCODED },
	{ "windows1251", "CP1251", ENCODED },
	{ "windows1252", "CP1252", ENCODED },
	{ "windows1253", "CP1253", ENCODED },
	{ "windows1254", "CP1254", ENCODED },
	{ "windows1255", "CP1255", ENCODED },
	{ "windows1256", "CP1256", ENCODED },
	{ "windows1257", "CP1257", ENCODED },
	{ "windows1258", "CP1258", ENCODED },
	{ "cp1250", "CP1250", ENCODED },
	{ "cp1251", "CP1251", ENCODED },
	{ "xcp1251", "CP1251", ENCODED },
	{ "cp1252", "CP1252", ENCODED },
	{ "xcp1252", "CP1252", ENCODED },
	{ "cp1253", "CP1253", ENCODED },
	{ "cp1254", "CP1254", ENCODED },
	{ "cp1255", "CP1255", ENCODED },
	{ "cp1256", "CP1256", ENCODED },
	{ "cp1257", "CP1257", ENCODED },
	{ "cp1258", "CP1258", ENCODED },
	{ "iso88591", "CP1252", ENCODED },
	{ "latin1", "CP1252", ENCODED },
	{ "ansi", "CP1252", ENCODED },
	{ "iso88592", "ISO-8859-2", ENCODED },
	{ "latin2", "ISO-8859-2", ENCODED },
	{ "iso88593", "ISO-8859-3", ENCODED },
	{ "iso88594", "ISO-8859-4", ENCODED },
	{ "iso88595", "ISO-8859-5", ENCODED },
	{ "iso88596", "ISO-8859-6", ENCODED },
	{ "iso88596i", "ISO-8859-6", ENCODED },
	{ "iso88597", "ISO-8859-7", ENCODED },
	{ "iso88598", "ISO-8859-8", ENCODED },
	{ "iso88598i", "ISO-8859-8", ENCODED },
	{ "iso88599", "CP1254", ENCODED },
	{ "iso885910", "ISO-8859-10", ENCODED },
	{ "iso885911", "CP874", ENCODED },
	{ "iso885913", "ISO-8859-13", ENCODED },
	{ "iso885914", "ISO-8859-14", ENCODED },
	{ "iso885915", "ISO-8859-15", ENCODED },
	{ "latin9", "ISO-8859-15", ENCODED },
	{ "iso885916", "ISO-8859-16", ENCODED },
	{ "koi8r", "KOI8-R", ENCODED },
	{ "koi8u", "KOI8-U", ENCODED },
	{ "koi8ru", "KOI8-U", ENCODED },
	{ "cp866", "CP866", ENCODED },
	{ "ibm866", "CP866", ENCODED },
	{ "cp437", "CP437", ENCODED },
	{ "ibm437", "CP437", ENCODED },
	{ "cp850", "CP850", ENCODED },
	{ "ibm850", "CP850", ENCODED },
	{ "cp852", "CP852", ENCODED },
	{ "ibm852", "CP852", ENCODED },
	{ "tis620", "CP874", ENCODED },
	{ "windows874", "CP874", ENCODED },
	{ "cp874", "CP874", ENCODED },
	{ "macintosh", "MACINTOSH", ENCODED },
	{ "xmacroman", "MACINTOSH", ENCODED },
	{ "utf7", "UTF-7", ENCODED },
	{ "unicode11utf7", "UTF-7", ENCODED },
	{ "utf16", "UTF-16", ENCODED },
	{ "utf16le", "UTF-16LE", ENCODED },
	{ "utf16be", "UTF-16BE", ENCODED },
};

enum { COUNT = sizeof(charsets) / sizeof(*charsets) };

/* The converter of charsets[i]; labels of one encoding share it. NULL: none. */
static iconv_t converters[COUNT];

static size_t first_of(size_t i)
{
	size_t k = 0;

	while (!charsets[k].encoding || strcmp(charsets[k].encoding, charsets[i].encoding) != 0)
		k++;
	return k;
}

int charset_setup(const char **missing)
{
	int lost = 0;

	for (size_t i = 0; i < COUNT; i++) {
		iconv_t cd;

		if (!charsets[i].encoding || first_of(i) != i || converters[i])
			continue;
		cd = iconv_open("UTF-8", charsets[i].encoding);
		if (cd != (iconv_t)-1)
			converters[i] = cd;
		else if (lost++ == 0)
			*missing = charsets[i].encoding;
	}
	return lost;
}

const struct charset *charset_find(const char *label, size_t len)
{
	char plain[LABEL_MAX + 1];
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		char c = label[i];

		if (c >= 'A' && c <= 'Z')
			c = (char)(c - 'A' + 'a');
		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')))
			continue;
		if (n == LABEL_MAX)
			return NULL;
		plain[n++] = c;
	}
	plain[n] = '\0';
	for (size_t i = 0; i < COUNT; i++)
		if (strcmp(charsets[i].label, plain) == 0)
			return &charsets[i];
	return NULL;
}

/* Chinese characters of GB 2312: rows 16 to 87 of its table, each octet with the high bit. */
static bool is_hanzi(unsigned char first, unsigned char second)
{
	return first >= 0xb0 && first <= 0xf7 && second >= 0xa1 && second <= 0xfe;
}

static bool looks_like_gb(const unsigned char *p, size_t len)
{
	bool together = false;

	for (size_t i = 0; i < len;) {
		size_t run = 0;

		while (i + run < len && p[i + run] >= 0x80)
			run++;
		if (run % 2)
			return false;
		for (size_t k = 0; k < run; k += 2)
			/* Its punctuation stands in row 1, its letters of full width in row 3. */
			if (!is_hanzi(p[i + k], p[i + k + 1]) && p[i + k] != 0xa1 && p[i + k] != 0xa3)
				return false;
		together |= run >= 4;
		i += run ? run : 1;
	}
	return together;
}

/* Sequences of UTF-8 that are longer than an octet, and octets above 127 that belong to none. */
static void count_sequences(const char *p, size_t len, size_t *sequences, size_t *others)
{
	*sequences = *others = 0;
	for (size_t i = 0; i < len;) {
		size_t n = utf8_len(p + i, len - i);

		*sequences += n > 1;
		*others += n == 0;
		i += n ? n : 1;
	}
}

const struct charset *charset_guess(const char *p, size_t len)
{
	size_t sequences, others;

	count_sequences(p, len, &sequences, &others);
	if (sequences + others == 0 && (memmem(p, len, "\x1b$B", 3) || memmem(p, len, "\x1b$@", 3)))
		return charset_find("iso2022jp", 9);
	if (others == 0 || sequences > others)
		return charset_find("utf8", 4);
	if (looks_like_gb((const unsigned char *)p, len))
		return charset_find("gb18030", 7);
	return charset_find("windows1252", 11);
}

/* What is well-formed where every octet above 127 is not: ASCII, or with utf8 true the sequences of UTF-8. */
static int keep(const char *p, size_t len, bool utf8, struct buf *out)
{
	for (size_t i = 0, n; i < len && !out->failed; i++) {
		size_t start = i;

		while (i < len && (n = utf8_len(p + i, len - i)) && (n == 1 || utf8))
			i += n;
		buf_add(out, p + start, i - start);
		if (i < len)
			buf_adds(out, UTF8_REPLACEMENT);
	}
	return out->failed ? -ENOMEM : 0;
}

static int convert(iconv_t cd, const char *p, size_t len, struct buf *out)
{
	char *in = (char *)p;
	bool flushed = false;

	iconv(cd, NULL, NULL, NULL, NULL);
	while (!flushed && !out->failed) {
		char block[BLOCK], *to = block;
		size_t room = sizeof(block), rc;

		/* At the end: what a composing converter still holds back. */
		flushed = len == 0;
		rc = flushed ? iconv(cd, NULL, NULL, &to, &room) : iconv(cd, &in, &len, &to, &room);
		buf_add(out, block, (size_t)(to - block));
		if (rc != (size_t)-1 || errno == E2BIG || len == 0)
			continue;
		buf_adds(out, UTF8_REPLACEMENT);        /* EILSEQ, or EINVAL: it ends within a character */
		in++;
		len--;
	}
	return out->failed ? -ENOMEM : 0;
}

/* The state that an escape sequence of ISO-2022-JP leads to (RFC 1468; RFC 2237 adds JIS X 0212; katakana is what is sent, too). */
enum jis { JIS_ASCII, JIS_KANJI, JIS_KATAKANA, JIS_SUPPLEMENT };

static const struct { const char *sequence; enum jis state; } escapes[] = {
	{ "\x1b(B", JIS_ASCII }, { "\x1b(J", JIS_ASCII }, { "\x1b(H", JIS_ASCII },
	{ "\x1b$B", JIS_KANJI }, { "\x1b$@", JIS_KANJI }, { "\x1b$(B", JIS_KANJI },
	{ "\x1b(I", JIS_KATAKANA }, { "\x1b$(D", JIS_SUPPLEMENT },
	{ "\x0e", JIS_KATAKANA }, { "\x0f", JIS_ASCII },        /* SO, SI */
};

static size_t jis_escape(const char *p, size_t len, enum jis *state)
{
	for (size_t i = 0; i < sizeof(escapes) / sizeof(*escapes); i++) {
		size_t n = strlen(escapes[i].sequence);

		if (n <= len && memcmp(p, escapes[i].sequence, n) == 0) {
			*state = escapes[i].state;
			return n;
		}
	}
	return 0;
}

static bool is_graphic(char c)
{
	return c >= 0x21 && c <= 0x7e;
}

/* As EUC-JP; half a character becomes an octet that is none there. */
static void jis_to_euc(const char *p, size_t len, struct buf *out)
{
	enum jis state = JIS_ASCII;
	size_t n;

	for (size_t i = 0; i < len && !out->failed; i += n) {
		n = jis_escape(p + i, len - i, &state);
		if (n)
			continue;
		n = 1;
		if (state == JIS_ASCII || !is_graphic(p[i])) {
			buf_addc(out, p[i]);
			continue;
		}
		if (state == JIS_KATAKANA && p[i] > 0x5f) {
			buf_addc(out, '\xff');          /* the table ends there */
		} else if (state == JIS_KATAKANA) {
			buf_addc(out, '\x8e');          /* single shift 2 */
			buf_addc(out, (char)(p[i] | 0x80));
		} else if (i + 1 < len && is_graphic(p[i + 1])) {
			if (state == JIS_SUPPLEMENT)
				buf_addc(out, '\x8f');  /* single shift 3 */
			buf_addc(out, (char)(p[i] | 0x80));
			buf_addc(out, (char)(p[i + 1] | 0x80));
			n = 2;
		} else {
			buf_addc(out, '\xff');
		}
	}
}

int charset_decode(const struct charset *c, const char *p, size_t len, struct buf *out)
{
	if (c && c->kind == UNLABELLED)
		c = charset_guess(p, len);
	if (c && c->kind == UTF8)
		return keep(p, len, true, out);
	if (!c || !converters[first_of((size_t)(c - charsets))])
		return keep(p, len, false, out);
	if (c->kind == JIS) {
		AUTO(buf) struct buf euc = BUF_INIT(2 * len + 1);

		jis_to_euc(p, len, &euc);
		if (euc.failed)
			return -ENOMEM;
		return convert(converters[first_of((size_t)(c - charsets))], buf_str(&euc), euc.len, out);
	}
	return convert(converters[first_of((size_t)(c - charsets))], p, len, out);
}

/* In which a few characters may look like UTF-8. Those of Shift_JIS do not: most begin with what UTF-8 goes on with. */
static bool is_ambiguous(const struct charset *c)
{
	static const char *const encodings[] = { "GB18030", "BIG5-HKSCS", "EUC-JP-MS", "UHC", NULL };

	for (const char *const *e = encodings; c->kind == ENCODED && *e; e++)
		if (strcmp(*e, c->encoding) == 0)
			return true;
	return false;
}

/* By its byte order mark, which *skip octets are. NULL: there is none. */
static const struct charset *marked(const char *p, size_t len, size_t *skip)
{
	*skip = 0;
	if (len >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0) {
		*skip = 3;
		return charset_find("utf8", 4);
	}
	if (len < 2 || (memcmp(p, "\xff\xfe", 2) != 0 && memcmp(p, "\xfe\xff", 2) != 0))
		return NULL;
	*skip = 2;
	return charset_find(*p == '\xff' ? "utf16le" : "utf16be", 7);
}

int charset_decode_body(const char *label, size_t label_len, const char *p, size_t len, struct buf *out)
{
	const struct charset *utf8 = charset_find("utf8", 4), *c;
	size_t sequences, others, skip, start = out->len;
	int rc;

	c = marked(p, len, &skip);
	if (c)
		return charset_decode(c, p + skip, len - skip, out);
	c = charset_find(label, label_len);
	count_sequences(p, len, &sequences, &others);
	if (!c || (c->kind == UTF8 && others > sequences))
		return charset_decode(charset_guess(p, len), p, len, out);
	if (others || sequences < UTF8_LIKELY || c->kind == UTF8 || c->kind == UNLABELLED)
		return charset_decode(c, p, len, out);
	if (!is_ambiguous(c) || sequences >= UTF8_CERTAIN)
		return charset_decode(utf8, p, len, out);
	rc = charset_decode(c, p, len, out);
	if (rc < 0 || !memmem(out->data + start, out->len - start, UTF8_REPLACEMENT, strlen(UTF8_REPLACEMENT)))
		return rc;
	out->len = start;
	return charset_decode(utf8, p, len, out);
}

void charset_tidy(struct buf *out, size_t start)
{
	size_t n = start;

	for (size_t i = start; i < out->len; i++) {
		char c = out->data[i];

		if (c == '\t' || c == '\r' || c == '\n')
			c = ' ';
		if (c != '\0' && (c != ' ' || n > start))
			out->data[n++] = c;
	}
	while (n > start && out->data[n - 1] == ' ')
		n--;
	if (out->data)
		out->data[n] = '\0';
	out->len = n;
}
