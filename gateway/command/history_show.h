/*
 * history_show - a record of the history, for a person and for programs
 *
 * What comes from outside is shown such that it does nothing to a terminal (terminal.h).
 */
#ifndef HISTORY_SHOW_H
#define HISTORY_SHOW_H

#include <jansson.h>

#include "base/buf.h"
#include "policy/history_record.h"

enum { HISTORY_SHOW_MAX = 1024 * 1024 };

/* One line: when, code, what was done, who to whom, why. out: HISTORY_SHOW_MAX. */
void history_show_line(const struct history_record *r, struct buf *out);

/* All that is known: what became of it, the rule, every fact with its reason. cut and lost: history_decode. */
void history_show_all(const struct history_record *r, const char *const *cut, const char *const *lost, struct buf *out);

/* The same as an object. New reference. */
json_t *history_json(const struct history_record *r, const char *const *cut, const char *const *lost);

#endif
