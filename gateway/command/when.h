/*
 * when - a moment as an administrator writes it
 *
 *     7d  12h  30m  90s  2w       so long ago
 *     2026-11-20                  the beginning of that day
 *     2026-11-20 14:30[:05]       also with T between
 *     today  yesterday  tuesday   the beginning of today, of yesterday, of the last Tuesday before today
 *     yesterday 14:30             with a time of the day
 *
 * Local time.
 */
#ifndef WHEN_H
#define WHEN_H

#include <stdint.h>

/* Of text, as seen at now_s: seconds since 1970 in *out. 0, or -EINVAL. */
int when_parse(const char *text, int64_t now_s, int64_t *out);

/* The same, where text can only be a length of time: 7d is 604800. 0, or -EINVAL. */
int when_duration(const char *text, int64_t *out);

/* "2026-11-20 14:30:05", local time. out: WHEN_TEXT_MAX. Returns out. */
enum { WHEN_TEXT_MAX = 32 };
const char *when_text(int64_t at_s, char *out);

#define WHEN_EXPECTED "7d, 12h, 2026-11-20, \"2026-11-20 14:30\", today, yesterday or tuesday"

#endif
