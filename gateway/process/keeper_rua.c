#include "process/keeper_rua.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/varint.h"
#include "policy/rua_job.h"

enum {
	/* A quarter of one processor at most, and nobody waits for longer than a turn. */
	TURN_MS = 5, PAUSE_MS = 15,
	AGAIN_MS = 10 * 1000,
	TIDY_MS = 10 * 60 * 1000,
	SHARE = 16,                     /* of what the history may be in size, a day's reports at most */
};

static int64_t today(void)
{
	return clock_wall_s() / RUA_DAY_S;
}

/* The last day that is over. */
static int64_t last_day(void)
{
	return (clock_wall_s() - RUA_DAY_AFTER_S) / RUA_DAY_S - 1;
}

static bool can_report(int64_t day)
{
	return day >= today() - RUA_DAYS_BACK && day <= last_day();
}

/* It is being read from now on, or soon. */
static int begin(struct rua_keeper *r, int64_t day)
{
	struct rua_bounds bounds = rua_bounds;
	int64_t now_ms = clock_ms();
	int rc;

	if (r->job || now_ms < r->again_ms)
		return -EAGAIN;
	/* They are in the same file as the records, which are removed when it is too large. */
	if (bounds.octets > r->max_bytes / SHARE)
		bounds.octets = (size_t)(r->max_bytes / SHARE);
	rc = rua_job_new(r->path, day, &bounds, &r->job);
	if (rc < 0) {
		r->job = NULL;
		r->again_ms = now_ms + AGAIN_MS;
		log_error("rua", "what", "the day's history cannot be read, it is tried again", "error", strerror(-rc), NULL);
	}
	r->begun_ms = now_ms;
	return -EAGAIN;
}

/* Whether it has been read: 0, or -EAGAIN; other days: -ENOENT. */
static int need(struct rua_keeper *r, struct history_store *store, int64_t day)
{
	int rc;

	if (!can_report(day))
		return -ENOENT;
	rc = rua_store_is_read(store, day);
	return rc < 0 ? rc : rc ? 0 : begin(r, day);
}

static int due(struct rua_keeper *r, struct history_store *store, struct buf *out)
{
	int64_t day = 0;
	int rc = rua_store_due(store, today() - RUA_DAYS_BACK, last_day(), &day);

	if (rc <= 0)
		return rc == 0 ? -ENOENT : rc;
	rc = need(r, store, day);
	if (rc < 0)
		return rc;
	varint_put(out, (uint64_t)day);
	return 0;
}

/* A text of the question, ended by a NUL. */
static void get_text(struct rua_reader *in, char *out, size_t room)
{
	size_t len = 0;
	const char *s = rua_get_text(in, room - 1, &len);

	if (s)
		memcpy(out, s, len);
	out[s ? len : 0] = '\0';
}

static int done(struct rua_reader *in, struct history_store *store, int64_t day, const char *domain)
{
	uint64_t fate = rua_get_number(in);
	char why[RUA_WHY_MAX];

	get_text(in, why, sizeof(why));
	if (in->bad || in->p != in->end || (fate != RUA_REPORTED && fate != RUA_GIVEN_UP))
		return -EBADMSG;
	return rua_store_done(store, day, domain, (enum rua_fate)fate, why[0] ? why : NULL, clock_wall_s());
}

/* A question about one day. */
static int about_day(struct rua_keeper *r, struct history_store *store, const struct channel_msg *m, struct buf *out)
{
	struct rua_reader in = rua_reader(m->data, m->len);
	uint64_t n = rua_get_number(&in);
	int64_t day = n <= INT32_MAX ? (int64_t)n : INT32_MAX;
	char domain[DOMAIN_MAX];
	int rc;

	get_text(&in, domain, sizeof(domain));
	if (in.bad || (m->type != CHANNEL_RUA_DONE && in.p != in.end))
		return -EBADMSG;
	/* What has been sent is believed also when the day has passed meanwhile. */
	if (m->type == CHANNEL_RUA_DONE)
		return done(&in, store, day, domain);
	rc = need(r, store, day);
	if (rc < 0)
		return rc;
	if (m->type == CHANNEL_RUA_DOMAINS)
		return rua_store_domains(store, day, domain, RUA_PAGE, out);
	return rua_store_report(store, day, domain, out);
}

bool rua_keeper_request(struct rua_keeper *r, struct keeper_peer *p, const struct channel_msg *m, struct history_store *store)
{
	AUTO(buf) struct buf out = BUF_INIT(RUA_ANSWER_MAX);
	int rc;

	switch (m->type) {
	case CHANNEL_RUA_DUE:
	case CHANNEL_RUA_DOMAINS:
	case CHANNEL_RUA_REPORT:
	case CHANNEL_RUA_DONE:
		break;
	default:
		return false;
	}
	if (!store)
		rc = -EAGAIN;
	else
		rc = m->type == CHANNEL_RUA_DUE ? due(r, store, &out) : about_day(r, store, m, &out);
	keeper_answer(p, m->type, m->id, rc, rc < 0 ? NULL : out.data, rc < 0 ? 0 : out.len, -1);
	return true;
}

void rua_keeper_drop(struct rua_keeper *r)
{
	if (r->job)
		r->again_ms = clock_ms() + AGAIN_MS;
	rua_job_free(r->job);
	r->job = NULL;
}

static void say(const struct rua_keeper *r)
{
	time_t begin = (time_t)(rua_job_day(r->job) * RUA_DAY_S);
	char day[40] = "?";
	struct rua_job_sum sum;
	struct log_line l;
	struct tm tm;

	if (gmtime_r(&begin, &tm))
		strftime(day, sizeof(day), "%Y-%m-%d", &tm);
	rua_job_sum(r->job, &sum);
	log_start(&l, sum.strangers ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, "rua-day");
	log_str(&l, "day", day);
	log_num(&l, "records", (int64_t)sum.records);
	log_num(&l, "reports", (int64_t)sum.reports);
	if (sum.strangers)
		log_num(&l, "left_out", (int64_t)sum.strangers);
	log_num(&l, "ms", clock_ms() - r->begun_ms);
	log_emit(&l);
}

int rua_keeper_turn(struct rua_keeper *r, struct history_store *store)
{
	int rc;

	if (!r->job || !store)
		return -1;
	rc = rua_job_step(r->job, store, TURN_MS);
	if (rc > 0)
		return PAUSE_MS;
	if (rc == 0) {
		say(r);
		rua_job_free(r->job);
		r->job = NULL;
		return -1;
	}
	log_error("rua", "what", "the day's history cannot be read, it is tried again", "error", strerror(-rc), NULL);
	rua_keeper_drop(r);
	return -1;
}

void rua_keeper_tick(struct rua_keeper *r, struct history_store *store)
{
	int64_t now_ms = clock_ms();
	int rc;

	if (!store || now_ms < r->tidy_ms)
		return;
	rc = rua_store_tidy(store, today());
	r->tidy_ms = rc > 0 ? now_ms : now_ms + TIDY_MS;
	if (rc < 0)
		log_error("rua", "what", "old reports cannot be forgotten", "error", strerror(-rc), NULL);
}
