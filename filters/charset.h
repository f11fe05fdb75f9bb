/*
 * charset - text in the charsets that mail comes in, to UTF-8
 *
 * Conversion is iconv's. Its converters are loaded from files, which an empty root directory does not have: charset_setup() opens them all
 * before, once per process, and they are kept; each is reset before it is used. Labels are taken as mail means them: gb2312 and gbk are read as
 * GB18030, iso-8859-1 as windows-1252, shift_jis as windows-31j, euc-kr as windows-949, and iso-2022-jp with the characters of
 * NEC and the katakana of half width that Japanese mailers put in.
 *
 * What a charset does not have becomes U+FFFD, one for each octet. Of a charset that is not known, ASCII is kept.
 */
#ifndef CHARSET_H
#define CHARSET_H

#include <stddef.h>

#include "base/buf.h"

struct charset;

/* Opens the converters. How many the system does not have (*missing: the first of them). Idempotent; before any chroot. */
int charset_setup(const char **missing);

/* By its label in any case and spelling ("GB2312", "iso_8859-1", "\"utf8\""); NULL: not known. */
const struct charset *charset_find(const char *label, size_t len);

/*
 * For text that nothing labels. Without octets above 127, the escape sequences to kanji make it ISO-2022-JP. Else valid UTF-8 is that; so is text with more sequences of UTF-8 in it than other such octets
 * (it was cut, or mixed). Else GB18030, when they come in pairs only, each pair is a Chinese character of GB 2312 and two stand together at
 * least once. Else windows-1252. A guess: Cyrillic without a label may be taken for either.
 */
const struct charset *charset_guess(const char *p, size_t len);

/* Appends p[0..len) as UTF-8; c NULL: not known. 0, or the error of out (room for 6 times len suffices). */
int charset_decode(const struct charset *c, const char *p, size_t len, struct buf *out);

/*
 * Appends the text of a body, whose charset is said to be label[0..label_len) (none: 0), as charset_decode. Labels that are wrong are corrected where that is
 * certain: a byte order mark counts more than any label; what is valid UTF-8 with three characters or more is that, whatever it is called, but
 * for fewer than twelve that are text in the charset named, too, and that is GB18030, Big5, EUC-JP or EUC-KR. What is said to be UTF-8 and mostly is not, and
 * what has no known label, is guessed.
 */
int charset_decode_body(const char *label, size_t label_len, const char *p, size_t len, struct buf *out);

/* What was added to out from start on becomes one line of text: NUL goes, CR, LF and TAB become blanks, blanks at the ends go. */
void charset_tidy(struct buf *out, size_t start);

#endif
