#include "filters/time.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"

static const char *const weekdays[] = { "mon", "tue", "wed", "thu", "fri", "sat", "sun", NULL };

static const struct fact_def time_facts[] = {
	{ "time", FACT_TIME, false, STAGE_MAIL, NULL, "local time of day when the sender was named, 00:00 to 23:59" },
	{ "time.weekday", FACT_WORD, false, STAGE_MAIL, weekdays, "day of the week then" },
	{ 0 },
};

int time_facts_set(int64_t wall_s, struct facts *out)
{
	time_t at = (time_t)wall_s;
	struct tm tm;
	char text[12];
	int rc;

	if (!localtime_r(&at, &tm))
		return -EOVERFLOW;
	snprintf(text, sizeof(text), "%02u:%02u", (unsigned)tm.tm_hour % 24, (unsigned)tm.tm_min % 60);
	rc = facts_set(out, "time", text);
	return rc < 0 ? rc : facts_set(out, "time.weekday", weekdays[(tm.tm_wday + 6) % 7]);
}

static int time_setup(const struct site *site, struct buf *err)
{
	tzset();
	return 0;
}

/* The moment itself is the working state. */
static void time_start(struct txn *t, int self)
{
	t->evidence.filter[self] = (void *)(intptr_t)clock_wall_s();
}

static bool time_ready(struct txn *t, int self)
{
	return true;
}

static int time_run(struct txn *t, int self, struct facts *out)
{
	return time_facts_set((int64_t)(intptr_t)t->evidence.filter[self], out);
}

const struct filter filter_time = {
	.name = "time", .scope = SCOPE_TXN, .stage = STAGE_MAIL, .facts = time_facts, .setup = time_setup, .start = time_start,
	.ready = time_ready, .run = time_run,
};
