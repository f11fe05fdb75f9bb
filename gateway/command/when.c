#include "command/when.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum { DAY_S = 86400, DIGITS_MAX = 9 };

int when_duration(const char *text, int64_t *out)
{
	static const struct { char unit; int64_t seconds; } units[] = {
		{ 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', DAY_S }, { 'w', 7 * DAY_S },
	};
	size_t digits = strspn(text, "0123456789");

	if (digits == 0 || digits > DIGITS_MAX || !text[digits] || text[digits + 1])
		return -EINVAL;
	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++)
		if (units[i].unit == text[digits]) {
			*out = strtoll(text, NULL, 10) * units[i].seconds;
			return 0;
		}
	return -EINVAL;
}

/* "", "14:30" or "14:30:05" into tm. */
static int parse_clock(const char *text, struct tm *tm)
{
	int used = 0, seconds_used = 0;

	if (!*text)
		return 0;
	if (strspn(text, "0123456789:") != strlen(text) || sscanf(text, "%2d:%2d%n", &tm->tm_hour, &tm->tm_min, &used) < 2 || used < 4)
		return -EINVAL;
	if (text[used] && (sscanf(text + used, ":%2d%n", &tm->tm_sec, &seconds_used) < 1 || text[used + seconds_used]))
		return -EINVAL;
	return tm->tm_hour < 24 && tm->tm_min < 60 && tm->tm_sec < 61 ? 0 : -EINVAL;
}

/* How many days back a word means: 0 today, 1 yesterday, 1..7 the last day of that name. -1: no such word. */
static int days_back(const char *word, size_t len, int weekday)
{
	static const char *const names[] = { "sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday" };

	if (len == 5 && strncasecmp(word, "today", len) == 0)
		return 0;
	if (len == 9 && strncasecmp(word, "yesterday", len) == 0)
		return 1;
	for (int i = 0; i < 7; i++)
		if (len >= 3 && len <= strlen(names[i]) && (len == 3 || len == strlen(names[i])) && strncasecmp(word, names[i], len) == 0)
			return (weekday - i + 6) % 7 + 1;
	return -1;
}

static int finish(struct tm *tm, const char *clock, int64_t *out)
{
	int day = tm->tm_mday, month = tm->tm_mon;
	time_t t;

	if (parse_clock(clock, tm) < 0)
		return -EINVAL;
	tm->tm_isdst = -1;
	t = mktime(tm);
	if (day > 0 && (tm->tm_mday != day || tm->tm_mon != month))
		return -EINVAL;                 /* the 31st of a shorter month */
	*out = t;
	return 0;
}

static int parse_date(const char *text, int64_t *out)
{
	struct tm tm = { 0 };
	int used = 0;

	if (sscanf(text, "%4d-%2d-%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &used) < 3 || used != 10)
		return -EINVAL;
	if (tm.tm_year < 1970 || tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 || tm.tm_mday > 31)
		return -EINVAL;
	tm.tm_year -= 1900;
	tm.tm_mon--;
	text += used;
	if (*text && *text != ' ' && *text != 'T')
		return -EINVAL;
	if (*text && !text[1])
		return -EINVAL;
	return finish(&tm, *text ? text + 1 : "", out);
}

int when_parse(const char *text, int64_t now_s, int64_t *out)
{
	size_t word = strcspn(text, " ");
	time_t now = now_s;
	struct tm tm;
	int64_t ago;
	int back;

	if (when_duration(text, &ago) == 0) {
		*out = now_s - ago;
		return 0;
	}
	if (*text >= '0' && *text <= '9')
		return parse_date(text, out);
	localtime_r(&now, &tm);
	back = days_back(text, word, tm.tm_wday);
	if (back < 0 || (text[word] && !text[word + 1]))
		return -EINVAL;
	tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
	tm.tm_mday -= back;
	tm.tm_isdst = -1;
	mktime(&tm);                            /* the day may lie in the month before */
	tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
	return finish(&tm, text[word] ? text + word + 1 : "", out);
}

const char *when_text(int64_t at_s, char *out)
{
	time_t t = at_s;
	struct tm tm;

	localtime_r(&t, &tm);
	strftime(out, WHEN_TEXT_MAX, "%Y-%m-%d %H:%M:%S", &tm);
	return out;
}
