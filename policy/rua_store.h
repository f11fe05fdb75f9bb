/*
 * rua_store - what each aggregate report will hold, and what has become of it, in the database of the history
 *
 *     report_day (day, strangers)                     days that have been read to their end
 *     report     (day, domain, fate, at, why, head, rows)
 *
 * A day's reports are written by one and one, then the day itself: a day that has none of its own was left in the middle, and is begun anew. What a
 * report holds goes when it is sent or given up; the row stays, RUA_KEEP_DAYS long at least. A database that has no such tables gets them when it is opened; nothing else in
 * it changes, and who does not know them is not disturbed by them: HISTORY_SCHEMA is the same with and without.
 *
 * For who writes the history (history_store_open with writes). Errors are as those of history_store_add.
 */
#ifndef RUA_STORE_H
#define RUA_STORE_H

#include "base/buf.h"
#include "policy/history_store.h"
#include "policy/rua_day.h"

enum { RUA_KEEP_DAYS = 40, RUA_ANSWER_MAX = 12 << 20 };

extern const char rua_store_schema[];

/* Whether the day has been read to its end: 1, 0 or -errno. */
int rua_store_is_read(struct history_store *s, int64_t day);
/* The oldest of first <= day <= last that has not been read or has reports that are pending. 1, 0: none, or -errno. */
int rua_store_due(struct history_store *s, int64_t first, int64_t last, int64_t *day);

/* Writing a day. None of it is there before the end; put: one report. 0 or -errno. begin: 1: once more, it removes some of what was left in the middle. */
int rua_store_begin(struct history_store *s, int64_t day);
int rua_store_put(struct history_store *s, int64_t day, const char *domain, const struct buf *head, const struct buf *rows);
int rua_store_end(struct history_store *s, int64_t day, uint64_t strangers);

/* Heads of those pending behind after (""), at most count: appended. 0 or -errno. */
int rua_store_domains(struct history_store *s, int64_t day, const char *after, size_t count, struct buf *out);
/* The answer to CHANNEL_RUA_REPORT. 0; -ENOENT: none is pending; -errno. */
int rua_store_report(struct history_store *s, int64_t day, const char *domain, struct buf *out);
/* Committed. 0; -ENOENT: there is no such report; -errno. */
int rua_store_done(struct history_store *s, int64_t day, const char *domain, enum rua_fate fate, const char *why, int64_t now_s);

/* Today is this day: of what can be reported no more some is given up, of what is old enough some is forgotten. 1: there may be more; 0 or -errno. */
int rua_store_tidy(struct history_store *s, int64_t today);

#endif
