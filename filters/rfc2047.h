/*
 * rfc2047 - what a person reads in a header field: encoded words decoded, to UTF-8
 *
 * Bytes in, text out; charset_setup() must have been called. It takes what mail programs take, which is more than RFC 2047 allows: an encoded
 * word may stand anywhere, be longer than 75 octets, have blanks or question marks in a text of kind Q, no padding in one of kind B. Words with nothing but
 * blanks between them are joined, and where they have the same charset, their octets are joined before they are converted: a
 * character may be split across two. What is no encoded word stays as it is; 8-bit text is converted as charset_guess() says.
 */
#ifndef RFC2047_H
#define RFC2047_H

#include <stddef.h>

#include "base/buf.h"

enum {
	RFC2047_BYTES_MAX = 64 * 1024,                  /* of a field: the rest is left out */
	RFC2047_WORDS_MAX = 1000,                       /* encoded words beyond stay as they are */
	RFC2047_TEXT_MAX = 6 * RFC2047_BYTES_MAX,       /* what comes of it, at most */
};

/*
 * Appends the text of a field's body p[0..len): unfolded, without blanks at the ends; NUL is left out, CR, LF and TAB become blanks, whether they stood there
 * or were encoded. out, bounded at RFC2047_TEXT_MAX or more, is then valid UTF-8. 0 or -ENOMEM.
 */
int rfc2047_decode(const char *p, size_t len, struct buf *out);

#endif
