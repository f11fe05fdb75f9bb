/*
 * number - a number as an administrator writes it: --limit 100
 */
#ifndef NUMBER_H
#define NUMBER_H

#include <stdint.h>

/* Digits and nothing else, 0 to max. 0 and *out; or -EINVAL. */
int number_parse(const char *text, int64_t max, int64_t *out);

#endif
