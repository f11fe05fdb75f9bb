/*
 * terminal - text from outside, shown to a person
 *
 * What a message, a client or a DNS record says must not move the cursor, colour the screen or turn
 * the reading direction. Colours are used only where standard output is a terminal, and NO_COLOR is not set.
 */
#ifndef TERMINAL_H
#define TERMINAL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

/*
 * Append p[0..len) to out as it may be shown: controls (C0, C1, DEL), marks that turn the direction, line and paragraph separators as \n, \t or \x1b, \u202e;
 * octets that are no UTF-8 as \xHH. At most max characters (0: all), then "...". 0 or -ENOSPC.
 */
int terminal_text(const char *p, size_t len, size_t max, struct buf *out);

enum terminal_colour { TERMINAL_PLAIN, TERMINAL_RED, TERMINAL_GREEN, TERMINAL_YELLOW, TERMINAL_BOLD, TERMINAL_DIM };

/* What switches to that colour (TERMINAL_PLAIN: back), "" where none are used. */
const char *terminal_colour(enum terminal_colour c);

/* Standard output is a terminal; its columns (80 if unknown). */
bool terminal_is(void);
int terminal_columns(void);

#endif
