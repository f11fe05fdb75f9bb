/*
 * base64 - its digits, RFC 4648 section 4
 *
 * What else may stand between them, and what is made of the rest, differs: SASL is strict, DKIM allows blanks, mail programs send anything.
 */
#ifndef BASE64_H
#define BASE64_H

/* The value of a digit; -1: it is none. */
static inline int base64_digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

#endif
