#include "policy/rate.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "policy/conf.h"
#include "policy/state.h"

static const char SPACE[] = "rate", FACT[] = "rate.over";

enum { WHO_MAX = 330 };         /* RFC 5321 4.5.3.1: 64 + 1 + 255; a user's name is cut */

/* Rates that count this recipient, and for whom. */
struct counting {
	const struct rate_conf *rate[RATES_MAX];
	unsigned bit[RATES_MAX];        /* in struct txn */
	size_t count;
	char who[RATES_MAX][WHO_MAX];
	int64_t now_s;
	struct state_op op[2 * RATES_MAX];      /* of each rate: counted; the period before */
};

int64_t rate_estimate(int64_t before, int64_t present, int period_s, int64_t now_s)
{
	int64_t left_s = period_s - now_s % period_s;

	if (before > INT32_MAX)
		before = INT32_MAX;     /* no limit is that high */
	/* To the nearest whole: cut off, one would be forgotten a second after the period has turned. */
	return present + (2 * before * left_s + period_s) / (2 * (int64_t)period_s);
}

/* Who is counted; false: the rate is none for this client. */
static bool who_of(const struct txn *t, const struct rate_conf *r, char out[WHO_MAX])
{
	const char *who = r->by == RATE_BY_SENDER ? t->env.from : r->by == RATE_BY_ACCOUNT ? t->client->auth_user : NULL;
	size_t n = 0;

	if (r->by == RATE_BY_ACCOUNT && !who)
		return false;
	if (!who || !who[0]) { /* by address; so does the null sender, which is nobody's */
		if (t->client->addr.family == AF_INET6)
			net_network_text(&t->client->addr, 32, 64, out);
		else
			snprintf(out, WHO_MAX, "%s", t->client->ip);
		return true;
	}
	for (; who[n] && n + 1 < WHO_MAX; n++)
		out[n] = (char)tolower((unsigned char)who[n]);
	out[n] = '\0';
	return true;
}

static void op_for(struct state_op *op, enum state_verb verb, const struct counting *c, size_t i, int64_t period)
{
	char number[24];

	snprintf(number, sizeof(number), "%" PRId64, period);
	*op = (struct state_op){ .verb = verb, .ttl_s = 2 * (int64_t)c->rate[i]->period_s, .add = 1 };
	state_key(op, SPACE, c->rate[i]->name, number, c->who[i], NULL);
}

static void counting_init(struct counting *c, const struct txn *t)
{
	const struct site *s = t->site;

	for (size_t i = 0; i < s->rate_count; i++) {
		const struct rate_conf *r = &s->rate[i];

		if ((r->count == RATE_MESSAGES && t->rates_counted & 1u << i) || !who_of(t, r, c->who[c->count]))
			continue;
		c->rate[c->count] = r;
		c->bit[c->count] = (unsigned)i;
		op_for(&c->op[2 * c->count], STATE_COUNT, c, c->count, c->now_s / r->period_s);
		op_for(&c->op[2 * c->count + 1], STATE_GET, c, c->count, c->now_s / r->period_s - 1);
		c->count++;
	}
}

static void log_over(const struct txn *t, const struct rate_conf *r, const char *who)
{
	static const char *const by[] = { "sender", "account", "client" };
	struct log_line l;

	log_start(&l, LOG_LEVEL_WARNING, "rate-over");
	log_str(&l, "rate", r->name);
	log_str(&l, "by", by[r->by]);
	log_str(&l, "who", who);
	log_num(&l, "limit", r->limit);
	log_num(&l, "period_s", r->period_s);
	log_str(&l, "client", t->client->ip);
	log_str(&l, "from", t->env.from);
	log_str(&l, "tx", t->id);
	log_emit(&l);
}

/*
 * Somebody is over a rate: what was counted is taken back from all. Whoever goes over for the first time within a period is named in the log, by whichever
 * worker sees it. may wait
 */
static void take_back(struct txn *t, struct counting *c)
{
	size_t n = 0;

	for (size_t i = 0; i < c->count; i++) {
		op_for(&c->op[n], STATE_COUNT, c, i, c->now_s / c->rate[i]->period_s);
		c->op[n++].add = -1;
		if (!(t->rates_over & 1u << c->bit[i]))
			t->rates_counted &= ~(1u << c->bit[i]);
	}
	for (size_t i = 0; i < c->count; i++) {
		if (!(t->rates_over & 1u << c->bit[i]))
			continue;
		c->op[n] = (struct state_op){ .verb = STATE_TOUCH, .ttl_s = c->rate[i]->period_s };
		state_key(&c->op[n++], SPACE, c->rate[i]->name, "over", c->who[i], NULL);
	}
	if (state_run(t->state, c->op, n) < 0)
		return;
	n = c->count;
	for (size_t i = 0; i < c->count; i++)
		if (t->rates_over & 1u << c->bit[i] && !c->op[n++].found)
			log_over(t, c->rate[i], c->who[i]);
}

/* may wait */
static int count_all(struct txn *t, struct counting *c)
{
	bool over = false;
	int rc;

	/* A message that is over is over with all its recipients: nothing more of it is counted. */
	for (size_t i = 0; i < t->site->rate_count; i++)
		if (t->site->rate[i].count == RATE_RECIPIENTS)
			t->rates_over &= ~(1u << i);
	if (t->rates_over)
		return 0;
	counting_init(c, t);
	if (c->count == 0)
		return 0;
	rc = t->state ? state_run(t->state, c->op, 2 * c->count) : -ENOTCONN;
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < c->count; i++) {
		const struct rate_conf *r = c->rate[i];
		const struct state_op *present = &c->op[2 * i], *before = present + 1;
		unsigned bit = 1u << c->bit[i];

		t->rates_counted |= bit;
		t->rates_over &= ~bit;
		if (rate_estimate(before->found ? before->count : 0, present->found ? present->count : 0, r->period_s, c->now_s) < r->limit)
			continue;
		t->rates_over |= bit;
		over = true;
	}
	if (over)
		take_back(t, c);
	return 0;
}

int rate_count_at(struct txn *t, int64_t now_s, struct facts *out)
{
	struct counting *c;     /* 20 KB: not for a task's stack */
	int rc;

	if (!t->client->relay || t->client->fetches || !t->site->rate_count)
		return facts_set_empty(out, FACT);
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->now_s = now_s;
	rc = count_all(t, c);
	free(c);
	if (rc < 0) {
		t->rates_over = 0;
		rc = facts_set_empty(out, FACT);
		return rc < 0 ? rc : facts_why(out, FACT, "%s", t->state ? "the state did not answer" : "nothing is remembered here");
	}
	rc = facts_set_empty(out, FACT);
	for (size_t i = 0; rc == 0 && i < t->site->rate_count; i++)
		if (t->rates_over & 1u << i)
			rc = facts_add(out, FACT, t->site->rate[i].name);
	return rc;
}

int rate_count(struct txn *t, struct facts *out)
{
	return rate_count_at(t, clock_wall_s(), out);
}
