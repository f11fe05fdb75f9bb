#include "policy/login_guard.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "policy/conf.h"
#include "policy/login_account.h"
#include "policy/login_key.h"
#include "policy/state.h"

enum { DELAY_MAX_MS = 30 * 1000 };

/* One request to the state: too much for a task's stack. */
struct request {
	size_t count;
	struct state_op op[2 * LOGIN_NETWORKS + 6];
};

_Static_assert(2 * LOGIN_NETWORKS + 6 <= STATE_OPS_MAX, "one request");

static struct state_op *add(struct request *r, const struct login_guard_query *q, enum state_verb verb, enum login_kind kind, int network)
{
	struct state_op *op = &r->op[r->count++];

	op->verb = verb;
	login_key(op, kind, q->client, network, q->account);
	return op;
}

static struct state_op *add_count(struct request *r, const struct login_guard_query *q, enum login_kind kind, int network, int64_t n, int ttl_s)
{
	struct state_op *op = add(r, q, STATE_COUNT, kind, network);

	op->add = n;
	op->ttl_s = ttl_s;
	return op;
}

static bool run(const struct login_guard *g, struct request *r)
{
	return r->count > 0 && state_run(g->state, r->op, r->count) == 0;
}

static int64_t counted(const struct state_op *op)
{
	return op && op->found && op->count > 0 ? op->count : 0;
}

static int clamp(int64_t n)
{
	return n < 0 ? 0 : n > INT_MAX ? INT_MAX : (int)n;
}

static int64_t now_s(const struct login_guard *g)
{
	return g->clock_s ? g->clock_s() : clock_ms() / 1000;
}

static bool counts_account(const struct login_guard_query *q)
{
	return q->account[0] && !q->exempt_user;
}

/* --- what all workers know --- */

static void look_for(const struct login_guard *g, const char *text, int len, struct login_mark *m)
{
	static const struct siphash_key none;

	if (g->shared)
		login_shared_look(g->shared, text, (size_t)len, now_s(g), m);
	else
		*m = (struct login_mark){ .hash = siphash(&none, text, (size_t)len) };
}

/* Hashes of everything that counts, and whether all of it is clean. */
static bool look(const struct login_guard *g, struct login_guard_query *q)
{
	char text[NET_TEXT_MAX + LOGIN_ACCOUNT_MAX + 16], network[NET_TEXT_MAX];
	bool clean = true;

	for (int i = 0; i < q->networks; i++) {
		look_for(g, text, snprintf(text, sizeof(text), "network %s", login_key_network(q->client, i, network)), &q->mark[i]);
		clean = clean && q->mark[i].clean;
	}
	if (!q->account[0])
		return clean;
	look_for(g, text, snprintf(text, sizeof(text), "account %s", q->account), &q->mark[LOGIN_MARK_ACCOUNT]);
	login_key_network(q->client, 0, network);
	look_for(g, text, snprintf(text, sizeof(text), "pair %s %s", network, q->account), &q->mark[LOGIN_MARK_PAIR]);
	return clean && q->mark[LOGIN_MARK_ACCOUNT].clean && q->mark[LOGIN_MARK_PAIR].clean;
}

static void note(const struct login_guard *g, const struct login_mark *m, int64_t for_s)
{
	if (g->shared)
		login_shared_note(g->shared, m, now_s(g), for_s);
}

static void note_failed(const struct login_guard *g, const struct login_mark *m)
{
	if (g->shared)
		login_shared_failed(g->shared, m);
}

/* --- the question --- */

bool login_guard_exempts(const struct login_guard *g, const char *account)
{
	char name[LOGIN_ACCOUNT_MAX];

	for (size_t i = 0; i < g->conf->exempt_user_count && account[0]; i++)
		if (strcmp(login_account(g->conf->exempt_users[i], g->domain, name), account) == 0)
			return true;
	return false;
}

static int64_t delay(const struct login_guard_conf *conf, int64_t failures, int slow_after)
{
	int64_t ms;

	if (slow_after <= 0 || failures < slow_after)
		return 0;
	failures -= slow_after - 1;
	ms = failures < DELAY_MAX_MS ? conf->slow_ms * failures : DELAY_MAX_MS;
	return ms > DELAY_MAX_MS ? DELAY_MAX_MS : ms;
}

static int64_t larger(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* What follows from the counts. */
static enum login_answer decide(const struct login_guard_conf *conf, struct login_guard_query *q, int64_t network, int64_t account)
{
	int64_t ms = larger(delay(conf, network, conf->slow_after), delay(conf, account, conf->account_slow_after));

	if (q->known && ms > conf->slow_ms)
		ms = conf->slow_ms;
	q->delay_ms = (int)larger(ms, delay(conf, q->own, conf->slow_after));
	q->failures = clamp(larger(network, q->own));
	q->account_failures = clamp(account);
	if (!q->known && conf->refuse_after > 0 && network >= conf->refuse_after)
		q->lock = LOGIN_LOCK_NETWORK;
	else if (!q->known && conf->account_refuse_after > 0 && account >= conf->account_refuse_after)
		q->lock = LOGIN_LOCK_ACCOUNT;
	if (q->lock == LOGIN_LOCK_NONE)
		return q->delay_ms > 0 ? LOGIN_SLOW : LOGIN_FREE;
	q->delay_ms = 0;
	return LOGIN_REFUSED;
}

static enum login_answer ask_state(const struct login_guard *g, struct login_guard_query *q, struct request *r)
{
	const struct state_op *account = NULL, *own = NULL, *known = NULL;
	int64_t network = 0;

	for (int i = 0; i < q->networks; i++)
		add(r, q, STATE_GET, LOGIN_KIND_NETWORK, i);
	if (counts_account(q))
		account = add(r, q, STATE_GET, LOGIN_KIND_ACCOUNT, 0);
	if (q->account[0]) {
		own = add(r, q, STATE_GET, LOGIN_KIND_OWN, 0);
		known = add(r, q, STATE_GET, LOGIN_KIND_KNOWN, 0);
	}
	if (!run(g, r))
		return LOGIN_FREE;
	for (int i = 0; i < q->networks; i++) {
		network = larger(network, counted(&r->op[i]) / login_key_factor(i));
		if (counted(&r->op[i]) == 0)
			note(g, &q->mark[i], LOGIN_SHARED_MAX_S);
	}
	if (q->account[0] && counted(account) == 0)
		note(g, &q->mark[LOGIN_MARK_ACCOUNT], LOGIN_SHARED_MAX_S);
	q->known = known && known->found && g->conf->trust_s > 0;
	q->own = q->known ? counted(own) : 0;
	return decide(g->conf, q, network, counted(account));
}

enum login_answer login_guard_ask(const struct login_guard *g, struct login_guard_query *q)
{
	enum login_answer answer = LOGIN_FREE;
	struct request *r;
	bool clean;

	*q = (struct login_guard_query){ .client = q->client, .account = q->account, .asked = true };
	q->exempt = site_in_networks(g->conf->exempt, g->conf->exempt_count, q->client);
	if (q->exempt)
		return LOGIN_FREE;
	q->networks = login_key_networks(q->client);
	clean = look(g, q);
	if (clean && g->alone) {
		q->known = q->account[0] && g->conf->trust_s > 0;
		return LOGIN_FREE;
	}
	q->exempt_user = login_guard_exempts(g, q->account);
	r = g->state ? calloc(1, sizeof(*r)) : NULL;
	if (r)
		answer = ask_state(g, q, r);
	free(r);
	return answer;
}

/* --- a failure --- */

/* Where a count has come to its threshold, it is kept for as long as the door is shut. */
static void shut(const struct login_guard *g, const struct login_guard_query *q, const int64_t network[], int64_t account, struct request *r)
{
	const struct login_guard_conf *conf = g->conf;

	r->count = 0;
	for (int i = 0; i < q->networks; i++)
		if (conf->refuse_after > 0 && network[i] / login_key_factor(i) >= conf->refuse_after)
			add(r, q, STATE_TOUCH, LOGIN_KIND_NETWORK, i)->ttl_s = conf->refuse_s;
	if (conf->account_refuse_after > 0 && account >= conf->account_refuse_after)
		add(r, q, STATE_TOUCH, LOGIN_KIND_ACCOUNT, 0)->ttl_s = conf->refuse_s;
	(void)run(g, r);
}

/* Of somebody who is not known there: against the network, the account, and the pair. */
static void count_stranger(const struct login_guard *g, struct login_guard_query *q, struct request *r)
{
	const struct state_op *account = NULL;
	int64_t network[LOGIN_NETWORKS] = { 0 }, most = 0, of_account = 0;

	for (int i = 0; i < q->networks; i++)
		add_count(r, q, LOGIN_KIND_NETWORK, i, 1, g->conf->forget_s);
	if (counts_account(q))
		account = add_count(r, q, LOGIN_KIND_ACCOUNT, 0, 1, g->conf->forget_s);
	if (q->account[0])
		add_count(r, q, LOGIN_KIND_PAIR, 0, 1, g->conf->forget_s);
	if (!run(g, r))
		return;
	for (int i = 0; i < q->networks; i++) {
		network[i] = counted(&r->op[i]) + 1;
		most = larger(most, network[i] / login_key_factor(i));
	}
	if (account)
		of_account = counted(account) + 1;
	q->failures = clamp(most);
	q->account_failures = clamp(of_account);
	shut(g, q, network, of_account, r);
}

void login_guard_failed(const struct login_guard *g, struct login_guard_query *q)
{
	struct request *r;

	if (!q->asked)
		login_guard_ask(g, q);
	r = g->state && !q->exempt ? calloc(1, sizeof(*r)) : NULL;
	if (!r)
		return;
	if (!q->known) {
		count_stranger(g, q, r);
	} else {
		const struct state_op *own = add_count(r, q, LOGIN_KIND_OWN, 0, 1, g->conf->forget_s);

		if (run(g, r))
			q->failures = clamp(larger(q->failures, q->own = counted(own) + 1));
	}
	free(r);
	for (int i = 0; i < q->networks && !q->known; i++)
		note_failed(g, &q->mark[i]);
	if (counts_account(q) && !q->known)
		note_failed(g, &q->mark[LOGIN_MARK_ACCOUNT]);
	if (q->account[0])
		note_failed(g, &q->mark[LOGIN_MARK_PAIR]);
}

/* --- a success --- */

/* The pair's failures out of one count, as far as they are still in it. */
static void take_out(const struct login_guard *g, const struct login_guard_query *q, struct request *r, const struct state_op *op, enum login_kind kind,
		     int network, int64_t failures)
{
	const struct login_guard_conf *conf = g->conf;
	int64_t n = counted(op) < failures ? counted(op) : failures, left = counted(op) - n;
	int refuse_after = kind == LOGIN_KIND_ACCOUNT ? conf->account_refuse_after : conf->refuse_after * login_key_factor(network);

	/* A door that stays shut stays so no longer than it was to be. */
	if (n > 0)
		add_count(r, q, kind, network, -n, refuse_after > 0 && left >= refuse_after ? conf->refuse_s : conf->forget_s);
}

/* r: what was asked, and done: known, the pair's failures, their end, those of one who is known, networks, account. */
enum { OP_KNOWN, OP_PAIR, OP_PAIR_END, OP_OWN_END, OP_NETWORKS };

static void forgive(const struct login_guard *g, const struct login_guard_query *q, const struct request *r)
{
	struct request *out = calloc(1, sizeof(*out));
	int64_t failures = counted(&r->op[OP_PAIR]);

	if (!out)
		return;
	for (int i = 0; i < q->networks; i++)
		take_out(g, q, out, &r->op[OP_NETWORKS + i], LOGIN_KIND_NETWORK, i, failures);
	if (counts_account(q))
		take_out(g, q, out, &r->op[OP_NETWORKS + q->networks], LOGIN_KIND_ACCOUNT, 0, failures);
	(void)run(g, out);
	free(out);
}

/*
 * The pair is known from now on (TOUCH), is not (DELETE), or stays what it is (GET), and whoever reads its failures ends them, in one request: of two
 * logins that succeed at the same time one alone takes them out of the counts.
 */
static bool settle(const struct login_guard *g, const struct login_guard_query *q, enum state_verb known, struct request *r)
{
	bool was_known;

	add(r, q, known, LOGIN_KIND_KNOWN, 0)->ttl_s = g->conf->trust_s;
	add(r, q, STATE_GET, LOGIN_KIND_PAIR, 0);
	add(r, q, STATE_DELETE, LOGIN_KIND_PAIR, 0);
	add(r, q, STATE_DELETE, LOGIN_KIND_OWN, 0);
	for (int i = 0; i < q->networks; i++)
		add(r, q, STATE_GET, LOGIN_KIND_NETWORK, i);
	if (counts_account(q))
		add(r, q, STATE_GET, LOGIN_KIND_ACCOUNT, 0);
	if (!run(g, r))
		return false;
	was_known = r->op[OP_KNOWN].found && g->conf->trust_s > 0;
	if (!was_known && counted(&r->op[OP_PAIR]) > 0)
		forgive(g, q, r);
	return true;
}

void login_guard_passed(const struct login_guard *g, struct login_guard_query *q)
{
	struct request *r;

	if (!q->asked)
		login_guard_ask(g, q);
	/* Nearly always there is nothing to tell: it has been told within the hour, and nothing has failed since. */
	if (q->exempt || !q->account[0] || (q->mark[LOGIN_MARK_PAIR].clean && q->own == 0))
		return;
	r = g->state ? calloc(1, sizeof(*r)) : NULL;
	if (r && settle(g, q, g->conf->trust_s > 0 ? STATE_TOUCH : STATE_DELETE, r))
		note(g, &q->mark[LOGIN_MARK_PAIR], g->conf->trust_s > 0 ? g->conf->trust_s / 24 : LOGIN_SHARED_MAX_S);
	free(r);
}

bool login_guard_forgive(const struct login_guard *g, struct login_guard_query *q)
{
	struct request *r = g->state ? calloc(1, sizeof(*r)) : NULL;
	bool done;

	login_guard_ask(g, q);
	done = r && settle(g, q, STATE_GET, r);
	free(r);
	return done;
}
