/*
 * search_words - the words that text is searched by
 *
 * The same for what is indexed and for what is asked, so that both meet. Bytes in, words out; no I/O. Octets that are no UTF-8
 * separate words, as blanks and punctuation do.
 *
 * Case goes, and so do the marks on letters of Latin, Greek, Cyrillic, Hebrew and Arabic: "GEBÜHR" and "gebuhr" are one word, "Straße" is
 * "strasse". Forms of compatibility become what they stand for (half and full width, ligatures, circled and squared characters), and
 * characters that are not seen (soft hyphens, joiners) do not count.
 *
 * Where words stand without blanks (Chinese, Japanese, Korean, Thai, Lao, Khmer, Burmese, Tibetan) each two characters
 * that follow each other are a word, and the last of a row is one by itself: "东京都" gives 东京, 京都 and 都. One line break does not end such a row
 * of Chinese or Japanese.
 *
 * A word is of letters and digits only, and so never means anything to SQL or to the query language of FTS5.
 */
#ifndef SEARCH_WORDS_H
#define SEARCH_WORDS_H

#include <stdbool.h>
#include <stddef.h>

enum {
	SEARCH_WORD_CHARS = 40,         /* the rest of a longer word is left out */
	SEARCH_WORD_BYTES = 4 * SEARCH_WORD_CHARS,
};

enum search_kind {
	SEARCH_LETTERS,                 /* letters alone: a word as people write them */
	SEARCH_MIXED,                   /* digits in it; or letters as chance sets them (what looks like base64) */
	SEARCH_PAIR,                    /* two characters of a row */
	SEARCH_LAST,                    /* the last one */
};

struct search_word {
	const char *text;               /* followed by a NUL; until the function returns */
	size_t len;
	int chars;
	enum search_kind kind;
};

/* on_word: 0, or what makes an end of it and is given back. */
int search_words(const char *p, size_t len, int (*on_word)(void *arg, const struct search_word *word), void *arg);

#endif
