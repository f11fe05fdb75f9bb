/*
 * authres_text - writing a structured header field: folds, quoting, comments
 *
 * Lines stay under 78 columns where a word allows it. Whatever comes from outside is made harmless: controls and 8-bit bytes
 * become "?", what is no token (RFC 2045; a dot-atom where dot_atom is set) is quoted, brackets and backslashes in comments
 * are escaped; overlong values are cut.
 */
#ifndef AUTHRES_TEXT_H
#define AUTHRES_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

struct authres_text {           /* zeroed but for out and dot_atom to begin */
	struct buf *out;
	bool dot_atom;
	const char *separator;          /* written after the word before the next pair; NULL: nothing */
	size_t column;
	bool fresh;                     /* nothing on this line yet */
	int lines;                      /* authres_text_line called so often */
};

void authres_text_begin(struct authres_text *x, const char *name);      /* "Name: " */
void authres_text_line(struct authres_text *x);                         /* ";" and a new line */
void authres_text_none(struct authres_text *x);                         /* "; none" */
void authres_text_end(struct authres_text *x);                          /* CRLF */

/* A word of our own; a value; "(text)", broken at its blanks; name=value. max: bytes of the value used, 0: all as it is (ours). */
void authres_text_raw(struct authres_text *x, const char *word);
void authres_text_value(struct authres_text *x, const char *value, size_t max);
void authres_text_comment(struct authres_text *x, const char *text, size_t max);
void authres_text_pair(struct authres_text *x, const char *name, const char *value, size_t max);

#endif
