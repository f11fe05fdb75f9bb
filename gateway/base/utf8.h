/*
 * utf8 - well-formed sequences of UTF-8, RFC 3629
 */
#ifndef UTF8_H
#define UTF8_H

#include <stddef.h>
#include <stdint.h>

/* What stands for octets that are none, U+FFFD. */
#define UTF8_REPLACEMENT "\xef\xbf\xbd"

/* The octets of the one sequence at p[0..len), len > 0; 0 if there is none. */
size_t utf8_len(const char *p, size_t len);

/* The sequence of a character, 1 to 4 octets; its length. What is no character becomes UTF8_REPLACEMENT. */
size_t utf8_put(uint32_t c, char out[4]);

#endif
