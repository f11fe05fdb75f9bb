#include "policy/login_guard.h"

#include <limits.h>
#include <stddef.h>

#include "policy/state.h"

enum { DELAY_MAX_MS = 30 * 1000, V4_BITS = 32, V6_BITS = 64 };

/* "network" leaves room for other kinds of keys in the same space: accounts, one day. */
static void key(struct state_op *op, const struct login_guard_query *q)
{
	char network[NET_TEXT_MAX];

	state_key(op, "login", "network", net_network_text(q->client, V4_BITS, V6_BITS, network), NULL);
}

static int64_t run(struct state *state, struct state_op *op, const struct login_guard_query *q)
{
	key(op, q);
	return state && state_run(state, op, 1) == 0 && op->found ? op->count : 0;
}

static int clamp(int64_t n)
{
	return n < 0 ? 0 : n > INT_MAX ? INT_MAX : (int)n;
}

enum login_answer login_guard_ask(struct state *state, const struct login_guard_conf *conf, struct login_guard_query *q)
{
	struct state_op op = { .verb = STATE_GET };
	int64_t delay;

	q->failures = clamp(run(state, &op, q));
	q->delay_ms = 0;
	if (conf->refuse_after > 0 && q->failures >= conf->refuse_after)
		return LOGIN_REFUSED;
	if (conf->slow_after <= 0 || conf->slow_ms <= 0 || q->failures < conf->slow_after)
		return LOGIN_FREE;
	delay = (int64_t)conf->slow_ms * (q->failures - conf->slow_after + 1);
	q->delay_ms = delay > DELAY_MAX_MS ? DELAY_MAX_MS : (int)delay;
	return LOGIN_SLOW;
}

void login_guard_failed(struct state *state, const struct login_guard_conf *conf, struct login_guard_query *q)
{
	struct state_op op = { .verb = STATE_COUNT, .add = 1, .ttl_s = conf->forget_s };

	if (!state)
		return;
	q->failures = clamp(run(state, &op, q) + 1);
	if (conf->refuse_after > 0 && q->failures >= conf->refuse_after) {
		struct state_op longer = { .verb = STATE_TOUCH, .ttl_s = conf->refuse_s };

		run(state, &longer, q);
	}
}

void login_guard_passed(struct state *state, const struct login_guard_conf *conf, struct login_guard_query *q)
{
	struct state_op op = { .verb = STATE_DELETE };

	if (state && q->failures > 0)           /* nearly always there is nothing to clear */
		run(state, &op, q);
	q->failures = 0;
}
