#include "policy/login_view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "policy/conf.h"
#include "policy/state.h"

enum { OPS_MAX = LOGIN_NETWORKS + 4 };

static bool has_client(const struct login_view *v)
{
	return v->client.family != 0;
}

int login_view_client(struct login_view *v, const char *text)
{
	struct net_prefix p;

	v->nearest = 0;
	if (net_parse(text, &v->client) == 0)
		return 0;
	if (net_parse_prefix(text, &p) < 0)
		return -EINVAL;
	v->client = p.addr;
	if (login_key_networks(&p.addr) == 1)
		return p.bits == (p.addr.family == AF_INET ? 32 : 128) ? 0 : -ERANGE;
	while (v->nearest < LOGIN_NETWORKS && login_key_bits(v->nearest) != p.bits)
		v->nearest++;
	return v->nearest < LOGIN_NETWORKS ? 0 : -ERANGE;
}

/* The expiry is not read: it follows from the last of them, as the guard sets it. */
static void count_read(const struct login_guard_conf *conf, const struct state_op *op, int64_t slow_after, int64_t refuse_after, struct login_view_count *c)
{
	if (!op->found || op->count <= 0)
		return;
	*c = (struct login_view_count){ .failures = op->count, .first_s = op->first_s, .last_s = op->last_s };
	if (refuse_after > 0 && op->count >= refuse_after)
		c->state = LOGIN_VIEW_LOCKED;
	else if (slow_after > 0 && op->count >= slow_after)
		c->state = LOGIN_VIEW_SLOWED;
	c->until_s = op->last_s + (c->state == LOGIN_VIEW_LOCKED ? conf->refuse_s : conf->forget_s);
}

static void pair_read(const struct login_guard_conf *conf, const struct state_op op[], struct login_view *v)
{
	const struct state_op *pair = &op[0], *own = &op[1], *known = &op[2];

	v->known = known->found && conf->trust_s > 0;
	v->known_first_s = v->known ? known->first_s : 0;
	v->known_last_s = v->known ? known->last_s : 0;
	if (v->known)
		count_read(conf, own, conf->slow_after, 0, &v->pair);
	else
		count_read(conf, pair, 0, 0, &v->pair);
}

static struct state_op *add(struct state_op *op, size_t *n, enum state_verb verb, enum login_kind kind, const struct login_view *v, int network)
{
	op[*n].verb = verb;
	login_key(&op[*n], kind, &v->client, network, v->account);
	return &op[(*n)++];
}

int login_view_read(const struct login_guard *g, struct login_view *v)
{
	const struct login_guard_conf *conf = g->conf;
	struct state_op *op = calloc(OPS_MAX, sizeof(*op));
	size_t n = 0, at = 0;
	int rc;

	if (!op)
		return -ENOMEM;
	v->networks = has_client(v) ? login_key_networks(&v->client) : 0;
	v->exempt = has_client(v) && site_in_networks(conf->exempt, conf->exempt_count, &v->client);
	v->exempt_user = login_guard_exempts(g, v->account);
	v->known = false;
	v->of_account = v->pair = (struct login_view_count){ 0 };
	memset(v->network, 0, sizeof(v->network));
	for (int i = v->nearest; i < v->networks; i++)
		add(op, &n, STATE_GET, LOGIN_KIND_NETWORK, v, i);
	if (v->account[0])
		add(op, &n, STATE_GET, LOGIN_KIND_ACCOUNT, v, 0);
	for (int kind = LOGIN_KIND_PAIR; v->account[0] && has_client(v) && kind <= LOGIN_KIND_KNOWN; kind++)
		add(op, &n, STATE_GET, (enum login_kind)kind, v, 0);
	rc = n > 0 ? state_run(g->state, op, n) : -EINVAL;
	if (rc == 0) {
		for (int i = v->nearest; i < v->networks; i++, at++)
			count_read(conf, &op[at], (int64_t)conf->slow_after * login_key_factor(i), (int64_t)conf->refuse_after * login_key_factor(i),
				   &v->network[i]);
		if (v->account[0])
			count_read(conf, &op[at++], conf->account_slow_after, conf->account_refuse_after, &v->of_account);
		if (v->account[0] && has_client(v))
			pair_read(conf, &op[at], v);
	}
	free(op);
	return rc;
}

int login_view_clear(const struct login_guard *g, const struct login_view *v)
{
	struct login_guard_query q = { .client = &v->client, .account = v->account };
	struct state_op *op;
	size_t n = 0;
	int rc;

	if (has_client(v) && v->account[0])
		return login_guard_forgive(g, &q) ? 0 : -EIO;
	op = calloc(OPS_MAX, sizeof(*op));
	if (!op)
		return -ENOMEM;
	for (int i = v->nearest; has_client(v) && i < login_key_networks(&v->client); i++)
		add(op, &n, STATE_DELETE, LOGIN_KIND_NETWORK, v, i);
	if (v->account[0])
		add(op, &n, STATE_DELETE, LOGIN_KIND_ACCOUNT, v, 0);
	rc = n > 0 ? state_run(g->state, op, n) : -EINVAL;
	free(op);
	return rc;
}
