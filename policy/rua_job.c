#include "policy/rua_job.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"

enum { RECORDS_AT_ONCE = 32, DAY_MS = RUA_DAY_S * 1000 };

struct rua_job {
	int64_t day;
	struct history_store *from;     /* NULL: all has been read */
	struct rua_aggregate *sums;
	int64_t next, last;             /* ids */
	bool found, begun;
	size_t written;                 /* of the domains */
	struct rua_job_sum sum;
};

static int64_t since_ms(const struct rua_job *j)
{
	return j->day * DAY_MS;
}

int rua_job_new(const char *path, int64_t day, const struct rua_bounds *bounds, struct rua_job **out)
{
	struct rua_job *j = calloc(1, sizeof(*j));
	int rc = -ENOMEM;

	if (!j)
		return -ENOMEM;
	j->day = day;
	j->sums = rua_aggregate_new(NULL, bounds);
	if (j->sums)
		rc = history_store_open(path, false, &j->from);
	if (rc < 0)
		rua_job_free(j);
	else
		*out = j;
	return rc;
}

void rua_job_free(struct rua_job *j)
{
	if (!j)
		return;
	history_store_close(j->from);
	rua_aggregate_free(j->sums);
	free(j);
}

int64_t rua_job_day(const struct rua_job *j)
{
	return j->day;
}

void rua_job_sum(const struct rua_job *j, struct rua_job_sum *out)
{
	*out = j->sum;
	out->strangers = rua_aggregate_strangers(j->sums);
}

static int one(void *arg, const struct history_record *r, const char *const *cut, const char *const *lost)
{
	struct rua_job *j = arg;

	j->sum.records++;
	return rua_aggregate_add(j->sums, r);
}

static int read_some(struct rua_job *j, int64_t until_ms)
{
	int64_t since = since_ms(j);
	int rc = 1;

	if (!j->found)
		rc = history_store_begin(j->from, since, since + DAY_MS, &j->next, &j->last);
	if (rc >= 0 && !j->found)
		rc = history_store_whole(j->from, since);
	if (rc < 0)
		return rc;
	if (rc == 0)
		rua_aggregate_partial(j->sums);
	j->found = true;
	do
		rc = history_store_step(j->from, since, since + DAY_MS, RECORDS_AT_ONCE, &j->next, j->last, one, j);
	while (rc > 0 && clock_ms() < until_ms);
	if (rc == 0) {
		history_store_close(j->from);
		j->from = NULL;
	}
	return rc < 0 ? rc : 1;
}

static int write_one(struct rua_job *j, struct history_store *to)
{
	AUTO(buf) struct buf head = BUF_INIT(RUA_HEAD_OCTETS_MAX), rows = BUF_INIT(RUA_REPORT_OCTETS_MAX + RUA_ROW_OCTETS_MAX);
	size_t i = j->written++;
	int rc = rua_aggregate_head(j->sums, i, &head);

	if (rc == 0)
		rc = rua_aggregate_rows(j->sums, i, &rows);
	if (rc == 0)
		rc = rua_store_put(to, j->day, rua_aggregate_domain(j->sums, i), &head, &rows);
	j->sum.reports += rc == 0;
	return rc == -ENOENT ? 0 : rc;
}

static int write_some(struct rua_job *j, struct history_store *to, int64_t until_ms)
{
	int rc = j->begun ? 0 : rua_store_begin(to, j->day);

	if (rc > 0)
		return 1;
	j->begun = true;
	while (rc == 0 && j->written < rua_aggregate_count(j->sums)) {
		rc = write_one(j, to);
		if (rc == 0 && clock_ms() >= until_ms)
			return 1;
	}
	return rc < 0 ? rc : rua_store_end(to, j->day, rua_aggregate_strangers(j->sums));
}

int rua_job_step(struct rua_job *j, struct history_store *to, int ms)
{
	int64_t until_ms = clock_ms() + ms;

	return j->from ? read_some(j, until_ms) : write_some(j, to, until_ms);
}
