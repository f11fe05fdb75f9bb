/*
 * report_show - what aggregate reports mean, in words for a person, and as JSON for programs
 *
 * All of a report is foreign text: it is shown such that it does nothing to a terminal (terminal.h), and each part on its own line. JSON has U+FFFD for what is
 * no UTF-8.
 */
#ifndef REPORT_SHOW_H
#define REPORT_SHOW_H

#include <jansson.h>
#include <stddef.h>
#include <stdio.h>

#include "base/buf.h"
#include "command/report_sum.h"

enum { REPORT_SHOW_MAX = 256 << 20 };

/* Everything about one domain, with its first max sources (0: all). out: REPORT_SHOW_MAX. */
void report_show(const struct report_domain *d, size_t max, struct buf *out);

/*
 * The same of all domains with all sources, as an object with them and wrong, written while it is made: memory does not grow with it. 0 or -ENOMEM: a part is
 * missing. to: the caller looks for its errors.
 */
int report_json(const struct report_sum *s, json_t *wrong, FILE *to);

#endif
