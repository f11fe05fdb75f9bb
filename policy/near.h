/*
 * near - how far one word is from another, for "did you mean"
 */
#ifndef NEAR_H
#define NEAR_H

#include <stddef.h>

enum { NEAR_MAX = 32 };         /* longer words are not compared: NEAR_MAX apart */

/* Letters that have to be changed, left out, put in, or swapped with their neighbour to make b of a. */
size_t near_distance(const char *a, size_t alen, const char *b, size_t blen);

#endif
