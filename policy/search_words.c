#include "policy/search_words.h"

#include <stdint.h>
#include <string.h>
#include <unicase.h>
#include <unictype.h>
#include <uninorm.h>
#include <unistr.h>

#include "base/utf8.h"

enum class {
	CLASS_UNKNOWN,
	CLASS_BREAK,                    /* between words */
	CLASS_SKIP,                     /* not seen, or a mark that does not count */
	CLASS_LETTER,
	CLASS_DIGIT,
	CLASS_ROW,                      /* of a script without blanks */
	CLASS_SEVERAL,                  /* becomes more than one character, or none */
};

enum {
	FOLD_MAX = 8,                   /* characters that come of one: U+FDFA has 18, which nobody types */
	DEPTH_MAX = 4,                  /* of decomposition; Unicode has 3 */
	PAGES = 0x30000 / 256,          /* what lies above is rare: asked each time */
	CASE_TURNS_MAX = 2,             /* "WordPerfectXyz" is a word, "aXbQdPz" is none */
};

/* What libunistring says of the characters of a page: code point | class << 24, asked once. */
static uint32_t pages[PAGES][256];

struct range {
	uint32_t first, last;
};

static bool in_ranges(const struct range *r, size_t count, uint32_t c)
{
	for (size_t i = 0; i < count && r[i].first <= c; i++)
		if (c <= r[i].last)
			return true;
	return false;
}

#define IN(ranges, c) in_ranges(ranges, sizeof(ranges) / sizeof(*(ranges)), c)

/* Scripts that set no blanks between words, or (Hangul) hang endings onto them. */
static const struct range rows[] = {
	{ 0x0e00, 0x109f },             /* Thai, Lao, Tibetan, Burmese */
	{ 0x1100, 0x11ff },             /* the parts of Hangul */
	{ 0x1780, 0x17ff },             /* Khmer */
	{ 0x3005, 0x3007 }, { 0x3031, 0x3035 }, { 0x303b, 0x303c },
	{ 0x3041, 0x318f },             /* kana, Bopomofo, Hangul */
	{ 0x31a0, 0x31ff }, { 0x3400, 0x9fff }, { 0xa960, 0xa97f }, { 0xac00, 0xd7ff }, { 0xf900, 0xfaff },
	{ 0x1aff0, 0x1b16f }, { 0x20000, 0x3ffff },
};

/* Marks that are left out. Those of other scripts are vowels, without which words would be others. */
static const struct range marks[] = {
	{ 0x0300, 0x036f }, { 0x0483, 0x0489 }, { 0x0591, 0x05c7 }, { 0x0610, 0x061a }, { 0x064b, 0x065f }, { 0x0670, 0x0670 },
	{ 0x06d6, 0x06ed }, { 0x1ab0, 0x1aff }, { 0x1dc0, 0x1dff }, { 0x20d0, 0x20ff }, { 0xfe00, 0xfe0f }, { 0xfe20, 0xfe2f },
	{ 0xe0100, 0xe01ef },
};

/* Letters with a stroke or of two, which Unicode does not decompose. Lower case. */
static const struct { uint32_t c; char text[3]; } letters[] = {
	{ 0xdf, "ss" }, { 0xe6, "ae" }, { 0xf0, "d" }, { 0xf8, "o" }, { 0xfe, "th" }, { 0x111, "d" }, { 0x127, "h" }, { 0x131, "i" },
	{ 0x138, "k" }, { 0x142, "l" }, { 0x14b, "n" }, { 0x153, "oe" }, { 0x167, "t" }, { 0x180, "b" }, { 0x1e9f, "s" },
};

static enum class class_of(uint32_t c)
{
	if (IN(marks, c) || uc_is_general_category_withtable(c, UC_CATEGORY_MASK_Cf))
		return CLASS_SKIP;
	if (!uc_is_general_category_withtable(c, UC_CATEGORY_MASK_L | UC_CATEGORY_MASK_M | UC_CATEGORY_MASK_N))
		return CLASS_BREAK;
	if (IN(rows, c))
		return CLASS_ROW;
	return uc_is_general_category_withtable(c, UC_CATEGORY_MASK_N) ? CLASS_DIGIT : CLASS_LETTER;
}

static void fold_leaf(uint32_t c, uint32_t out[FOLD_MAX], int *n)
{
	c = uc_tolower(c);
	if (c == 0x3c2)                 /* the sigma that ends a word */
		c = 0x3c3;
	for (size_t i = 0; i < sizeof(letters) / sizeof(*letters); i++)
		if (letters[i].c == c) {
			for (const char *t = letters[i].text; *t && *n < FOLD_MAX; t++)
				out[(*n)++] = (unsigned char)*t;
			return;
		}
	if (*n < FOLD_MAX && class_of(c) != CLASS_SKIP)
		out[(*n)++] = c;
}

/*
 * Compatibility is always resolved. What is composed comes apart where its marks do not count (all such letters lie below U+0700); a kana with its
 * sound mark, a syllable of Hangul stay whole.
 */
static void fold(uint32_t c, uint32_t out[FOLD_MAX], int *n, int depth)
{
	ucs4_t parts[UC_DECOMPOSITION_MAX_LENGTH];
	bool hangul = c >= 0xac00 && c <= 0xd7a3;
	int tag = 0, count = depth < DEPTH_MAX && !hangul ? uc_decomposition(c, &tag, parts) : -1;

	if (count > 1 && tag == UC_DECOMP_CANONICAL && parts[0] >= 0x700 && !(parts[0] >= 0x1e00 && parts[0] < 0x2000))
		count = -1;
	if (count < 1)
		fold_leaf(c, out, n);
	for (int i = 0; i < count; i++)
		fold(parts[i], out, n, depth + 1);
}

/* The characters that c becomes; each has a class of its own. */
static int fold_several(uint32_t c, uint32_t out[FOLD_MAX])
{
	int n = 0;

	fold(c, out, &n, 0);
	return n;
}

/* One character and its class; CLASS_SEVERAL: ask fold_several. */
static enum class fold_one(uint32_t c, uint32_t *out)
{
	uint32_t several[FOLD_MAX], *cached = c / 256 < PAGES ? &pages[c / 256][c % 256] : NULL;
	enum class class = CLASS_SEVERAL;
	int n;

	if (cached && *cached) {
		*out = *cached & 0xffffff;
		return *cached >> 24;
	}
	*out = c;
	if (class_of(c) == CLASS_SKIP) {
		class = CLASS_SKIP;
	} else {
		n = fold_several(c, several);
		if (n == 1) {
			*out = several[0];
			class = class_of(*out);
		}
	}
	if (cached)
		*cached = *out | (uint32_t)class << 24;
	return class;
}

struct splitter {
	int (*on_word)(void *arg, const struct search_word *word);
	void *arg;
	int rc;

	/* The word that is being read. */
	char text[SEARCH_WORD_BYTES + 1];
	size_t len;
	int chars, case_turns;
	bool digits, lower;

	/* Or the last two characters of a row; the last may yet take up a mark. 0: none. */
	uint32_t before, last;
	int line_ends;
};

static void tell(struct splitter *s, const char *text, size_t len, int chars, enum search_kind kind)
{
	struct search_word w = { .text = text, .len = len, .chars = chars, .kind = kind };

	if (s->rc == 0)
		s->rc = s->on_word(s->arg, &w);
}

static void word_end(struct splitter *s)
{
	if (s->chars == 0)
		return;
	s->text[s->len] = 0;
	tell(s, s->text, s->len, s->chars,
	     s->digits || s->case_turns > CASE_TURNS_MAX ? SEARCH_MIXED : SEARCH_LETTERS);
	s->len = 0;
	s->chars = s->case_turns = 0;
	s->digits = s->lower = false;
}

static void row_tell(struct splitter *s, uint32_t a, uint32_t b, enum search_kind kind)
{
	uint8_t text[9];
	int n = a ? u8_uctomb(text, a, 4) : 0;

	n += u8_uctomb(text + n, b, 4);
	text[n] = 0;
	tell(s, (char *)text, (size_t)n, a ? 2 : 1, kind);
}

static void row_end(struct splitter *s)
{
	if (s->before)
		row_tell(s, s->before, s->last, SEARCH_PAIR);
	if (s->last)
		row_tell(s, 0, s->last, SEARCH_LAST);
	s->before = s->last = 0;
	s->line_ends = 0;
}

static void word_add(struct splitter *s, uint32_t c, bool digit)
{
	int n;

	row_end(s);
	s->digits |= digit;
	if (s->chars >= SEARCH_WORD_CHARS)
		return;
	n = u8_uctomb((uint8_t *)s->text + s->len, c, 4);
	if (n > 0) {
		s->len += (size_t)n;
		s->chars++;
	}
}

static bool hangul_or_thai(uint32_t c)
{
	return c < 0x3000 || (c >= 0x3130 && c < 0x3190) || (c >= 0xa960 && c < 0xd800);
}

/* Half-width kana have their sound marks behind them, decomposed Hangul its vowels. */
static bool joins(uint32_t c)
{
	return c == 0x3099 || c == 0x309a || (c >= 0x1160 && c <= 0x11ff);
}

static void row_add(struct splitter *s, uint32_t c)
{
	uint32_t whole = s->last && joins(c) ? uc_composition(s->last, c) : 0;

	word_end(s);
	if (whole) {
		s->last = whole;
		return;
	}
	if (c == 0x3099 || c == 0x309a)
		return;
	if (s->line_ends && hangul_or_thai(c))  /* there, a line ends where a blank would be */
		row_end(s);
	s->line_ends = 0;
	if (s->before)
		row_tell(s, s->before, s->last, SEARCH_PAIR);
	s->before = s->last;
	s->last = c;
}

/* A character between words. */
static void gap(struct splitter *s, uint32_t c)
{
	word_end(s);
	if (s->last && c == '\r')
		return;
	if (s->last && c == '\n' && s->line_ends == 0) {
		s->line_ends = 1;
		return;
	}
	row_end(s);
}

static void add(struct splitter *s, uint32_t c, enum class class)
{
	switch (class) {
	case CLASS_LETTER:
	case CLASS_DIGIT:
		word_add(s, c, class == CLASS_DIGIT);
		break;
	case CLASS_ROW:
		row_add(s, c);
		break;
	case CLASS_SKIP:
		break;
	default:
		gap(s, c);
	}
}

/* Capitals inside a word, more than people set, are chance's. */
static void note_case(struct splitter *s, uint32_t c)
{
	bool upper = c >= 'A' && c <= 'Z';

	s->case_turns += upper && s->lower;
	s->lower = c >= 'a' && c <= 'z';
}

static void add_char(struct splitter *s, uint32_t c)
{
	uint32_t out[FOLD_MAX];
	enum class class = fold_one(c, &out[0]);
	int n;

	note_case(s, c);
	if (class != CLASS_SEVERAL) {
		add(s, out[0], class);
		return;
	}
	n = fold_several(c, out);
	for (int i = 0; i < n; i++)
		add(s, out[i], class_of(out[i]));
}

int search_words(const char *p, size_t len, int (*on_word)(void *arg, const struct search_word *word), void *arg)
{
	struct splitter s = { .on_word = on_word, .arg = arg };

	while (len > 0 && s.rc == 0) {
		size_t n = utf8_len(p, len);
		ucs4_t c = ' ';

		if (n > 1)
			u8_mbtouc_unsafe(&c, (const uint8_t *)p, n);
		else if (n == 1)
			c = (unsigned char)*p;
		add_char(&s, c);
		p += n ? n : 1;
		len -= n ? n : 1;
	}
	word_end(&s);
	row_end(&s);
	return s.rc;
}
