#include "policy/rua_day.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/task.h"
#include "base/varint.h"
#include "policy/rua_wire.h"
#include "process/channel.h"

enum { ASK_TIMEOUT_MS = 30 * 1000, QUESTION_MAX = 1024, ROWS_AT_ONCE = 500 };

/* 0 and the answer; or what the keeper says, or why there is none. may wait */
static int ask(struct channel *c, enum channel_type type, const struct buf *question, struct channel_msg *reply)
{
	int rc = question->failed ? -ENOMEM : channel_call(c, type, question->data, question->len, -1, ASK_TIMEOUT_MS, reply);

	return rc < 0 ? rc : reply->status < 0 ? reply->status : 0;
}

int rua_day_due(struct channel *history, int64_t *day)
{
	AUTO(channel_msg) struct channel_msg reply = CHANNEL_MSG_INIT;
	AUTO(buf) struct buf question = BUF_INIT(QUESTION_MAX);
	struct rua_reader r;
	uint64_t n;
	int rc = ask(history, CHANNEL_RUA_DUE, &question, &reply);

	if (rc < 0)
		return rc;
	r = rua_reader(reply.data, reply.len);
	n = rua_get_number(&r);
	if (r.bad || r.p != r.end || n > INT32_MAX)
		return -EBADMSG;
	*day = (int64_t)n;
	return 0;
}

int rua_day_domains(struct channel *history, int64_t day, const char *after, struct rua_domains **out)
{
	AUTO(channel_msg) struct channel_msg reply = CHANNEL_MSG_INIT;
	AUTO(buf) struct buf question = BUF_INIT(QUESTION_MAX);
	AUTO(rua_domains) struct rua_domains *d = NULL;
	struct rua_reader r;
	int rc;

	varint_put(&question, (uint64_t)day);
	rua_put_text(&question, after ? after : "");
	rc = ask(history, CHANNEL_RUA_DOMAINS, &question, &reply);
	if (rc < 0)
		return rc;
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	r = rua_reader(reply.data, reply.len);
	do
		rc = d->count > RUA_PAGE ? -EBADMSG : rua_get_domain(&r, d);
	while (rc == 0);
	if (rc != -ENOENT)
		return rc;
	*out = d;
	d = NULL;
	return 0;
}

/* The answer to CHANNEL_RUA_REPORT as a report. Others get their turn between its rows. may wait */
static int report_read(const struct channel_msg *m, const struct rua_reporter *who, int64_t day, struct dmarc_report *out)
{
	struct rua_reader r = rua_reader(m->data, m->len);
	const char *head;
	size_t len;
	int rc;

	head = rua_get_octets(&r, RUA_HEAD_OCTETS_MAX, &len);
	if (!head)
		return -EBADMSG;
	rc = rua_get_head(head, len, out);
	while (rc == 0 && (rc = rua_get_rows(&r, ROWS_AT_ONCE, out)) > 0) {
		task_yield();
		rc = 0;
	}
	return rc < 0 ? rc : rua_sign_report(out, who, day);
}

int rua_day_report(struct channel *history, int64_t day, const char *domain, const struct rua_reporter *who, struct dmarc_report **out)
{
	AUTO(channel_msg) struct channel_msg reply = CHANNEL_MSG_INIT;
	AUTO(buf) struct buf question = BUF_INIT(QUESTION_MAX);
	AUTO(dmarc_report) struct dmarc_report *report = NULL;
	int rc;

	varint_put(&question, (uint64_t)day);
	rua_put_text(&question, domain);
	rc = ask(history, CHANNEL_RUA_REPORT, &question, &reply);
	if (rc < 0)
		return rc;
	report = dmarc_report_new();
	if (!report)
		return -ENOMEM;
	rc = report_read(&reply, who, day, report);
	if (rc < 0)
		return rc;
	*out = report;
	report = NULL;
	return 0;
}

int rua_day_done(struct channel *history, int64_t day, const char *domain, enum rua_fate fate, const char *why)
{
	AUTO(channel_msg) struct channel_msg reply = CHANNEL_MSG_INIT;
	AUTO(buf) struct buf question = BUF_INIT(QUESTION_MAX);
	char said[RUA_WHY_MAX] = "";

	if (why)
		snprintf(said, sizeof(said), "%s", why);
	varint_put(&question, (uint64_t)day);
	rua_put_text(&question, domain);
	varint_put(&question, fate);
	rua_put_text(&question, said);
	return ask(history, CHANNEL_RUA_DONE, &question, &reply);
}
