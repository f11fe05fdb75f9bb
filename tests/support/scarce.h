/*
 * scarce - memory that runs out, for unit tests: the nth allocation of the code under test fails, once
 *
 *     for (int n = 1; scarce_begin(n); n++) {
 *             rc = the_function();
 *             if (!scarce_end())
 *                     break;          // there are fewer than n: it has gone through
 *             assert_int_equal(rc, -ENOMEM);
 *     }
 *
 * Calls of malloc, calloc, realloc, reallocarray, strdup and strndup in Gatepost's own files and in the test's count (the linker's --wrap); those
 * that libraries make do not: for these there is tests/preload/faulty.c.
 */
#ifndef SCARCE_H
#define SCARCE_H

#include <stdbool.h>

bool scarce_begin(int nth);     /* always true */
bool scarce_end(void);          /* nothing fails any more; whether one has failed */

void scarce_pause(bool pause);  /* what is called now is the test's own, and does not count */

#endif
