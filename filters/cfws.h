/*
 * cfws - past blanks, folds and comments of a structured header field, RFC 5322 section 3.2.2
 */
#ifndef CFWS_H
#define CFWS_H

#include <stdbool.h>

enum { CFWS_DEEP = 16 };                /* comments within comments */

bool cfws_blank(char c);

/* The first octet between p and end that belongs to neither; end, if there is none. NULL: a comment does not end, or is nested too deep. */
const char *cfws_skip(const char *p, const char *end);

#endif
