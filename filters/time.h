/*
 * time - when the message came: time of day and day of the week, as the site's clocks show them
 *
 * The clock is read once for a transaction, at MAIL. The time zone is that of the system (or of TZ), loaded at start: a process that
 * has confined itself cannot.
 */
#ifndef FILTERS_TIME_H
#define FILTERS_TIME_H

#include "filters/filter.h"

extern const struct filter filter_time;

/* time and time.weekday of a moment, in seconds since 1970. 0 or -errno. */
int time_facts_set(int64_t wall_s, struct facts *out);

#endif
