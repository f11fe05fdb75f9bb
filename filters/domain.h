/*
 * domain - domain names in the one form in which they are compared: lower-case A-labels, no final
 * dot
 *
 * U-labels become A-labels by UTS 46 (libidn2: it is already in the process below libpsl, gives
 * A-labels, and works on built-in tables in an empty chroot; libpsl's own psl_str_to_utf8lower goes
 * the other way, to UTF-8). No I/O here.
 */
#ifndef DOMAIN_H
#define DOMAIN_H

#include <stdbool.h>
#include <stddef.h>

enum { DOMAIN_MAX = 254 };      /* 253 bytes of text and a NUL */

/*
 * Bring p[0..len) into that form. Letters, digits, "-" and "_" in labels of 1 to 63, 253 bytes in
 * all, one final dot dropped. 0, or -EINVAL: then out is untouched.
 */
int domain_canonical(const char *p, size_t len, char out[DOMAIN_MAX]);

/* Of a canonical name: how many labels; its right-most n labels (the whole name when it has fewer).
 */
size_t domain_labels(const char *name);
const char *domain_tail(const char *name, size_t n);

/* Whether the canonical name is parent, or below it. */
bool domain_within(const char *name, const char *parent);

#endif
