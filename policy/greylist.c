#include "policy/greylist.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	WHY_MAX = 160,
	IDENTITY_MAX = 300,             /* "dkim:" and a domain */
	IDENTITIES_MAX = 3,             /* by SPF, by DKIM, by network */
	DKIM_DOMAINS = 4,               /* remembered of one network, the latest first */
};

/*
 * Who the client is to the greylist, the best known first. All of them are looked up, so that a
 * sender does not begin anew when it becomes better known between two attempts; what is written
 * goes to the first.
 */
struct identities {
	char name[IDENTITIES_MAX][IDENTITY_MAX];
	size_t count;
};

/*
 * Now, as the store's clock has it, so that no second clock can disagree, and the oldest record of
 * the triplet.
 */
struct triplet {
	int64_t now_s, first_s;
	bool known, passed;
	int64_t passes[IDENTITIES_MAX], pass_last_s[IDENTITIES_MAX]; /* of the whole identities */
};

static void why_set(char *why, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void why_set(char *why, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, WHY_MAX, fmt, ap);
	va_end(ap);
}

static void lower_copy(char *out, size_t size, const char *s)
{
	size_t n = 0;

	for (; s[n] && n + 1 < size; n++)
		out[n] = (char)tolower((unsigned char)s[n]);
	out[n] = 0;
}

static void identity_add(struct identities *ids, const char *kind, const char *value)
{
	char *out = ids->name[ids->count];
	char low[IDENTITY_MAX - 8];

	lower_copy(low, sizeof(low), value);
	snprintf(out, IDENTITY_MAX, "%s:%s", kind, low);
	ids->count++;
}

static bool domain_below(const char *domain, const char *parent)
{
	size_t d = strlen(domain), p = strlen(parent);

	return d >= p && strcasecmp(domain + d - p, parent) == 0 &&
	       (d == p || domain[d - p - 1] == '.');
}

/*
 * Of the domains seen passing from this network the one that belongs to the sender, else the
 * latest.
 */
static void dkim_choose(const char *domains, const char *from, char *out, size_t size)
{
	const char *at = strrchr(from, '@');
	char list[STATE_TEXT_MAX], *save = NULL;

	out[0] = 0;
	snprintf(list, sizeof(list), "%s", domains);
	for (char *d = strtok_r(list, " ", &save); d; d = strtok_r(NULL, " ", &save)) {
		bool own = at && (domain_below(at + 1, d) || domain_below(d, at + 1));

		if (own || !out[0])
			snprintf(out, size, "%s", d);
		if (own)
			return;
	}
}

static int identify(struct state *s, const struct greylist_conf *c, const struct greylist_query *q,
		    struct identities *ids)
{
	char network[NET_TEXT_MAX], domain[STATE_TEXT_MAX];
	struct state_op op = { .verb = STATE_GET };
	int rc;

	net_network_text(q->client, c->v4_bits, c->v6_bits, network);
	state_key(&op, "dkim", network, NULL);
	rc = state_run(s, &op, 1);
	if (rc < 0)
		return rc;
	if (q->spf_domain && q->spf_domain[0])
		identity_add(ids, "spf", q->spf_domain);
	if (op.found) {
		dkim_choose(op.text, q->from, domain, sizeof(domain));
		if (domain[0])
			identity_add(ids, "dkim", domain);
	}
	identity_add(ids, "net", network);
	return 0;
}

static void triplet_key(struct state_op *op, const char *identity, const struct greylist_query *q)
{
	char from[STATE_KEY_MAX], rcpt[STATE_KEY_MAX];

	lower_copy(from, sizeof(from), q->from);
	lower_copy(rcpt, sizeof(rcpt), q->rcpt);
	/* The null sender has a name of its own, so that the parts stay apart. */
	state_key(op, "grey", identity, from[0] ? from : "<>", rcpt, NULL);
}

/*
 * What the operations of triplet_look found: n triplets, then n passes, then the first triplet
 * again.
 */
static void triplet_read(const struct state_op *ops, size_t n, const struct greylist_conf *c,
			 struct triplet *out)
{
	/* The record just touched, read again, tells the store's time. */
	*out = (struct triplet){ .now_s = ops[2 * n].last_s };
	for (size_t i = 0; i < n; i++) {
		out->passes[i] = ops[n + i].found ? ops[n + i].count : 0;
		out->pass_last_s[i] = ops[n + i].last_s;
		if (!ops[i].found ||
		    (ops[i].count == 0 && out->now_s - ops[i].first_s > c->window_s))
			continue;
		if (!out->known || ops[i].first_s < out->first_s)
			out->first_s = ops[i].first_s;
		out->known = true;
		out->passed |= ops[i].count > 0;
	}
}

/* Look the triplet up under every identity, and note the attempt under the first. */
static int triplet_look(struct state *s, const struct greylist_conf *c,
			const struct greylist_query *q, const struct identities *ids,
			struct triplet *out)
{
	size_t n = ids->count;
	/* 900 bytes each: too much for a task's stack. */
	struct state_op *ops = calloc(2 * n + 1, sizeof(*ops));
	int rc;

	if (!ops)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		ops[i].verb = i == 0 ? STATE_TOUCH : STATE_GET;
		ops[i].ttl_s = c->window_s;
		triplet_key(&ops[i], ids->name[i], q);
		ops[n + i].verb = STATE_GET;
		state_key(&ops[n + i], "pass", ids->name[i], NULL);
	}
	ops[2 * n].verb = STATE_GET;
	triplet_key(&ops[2 * n], ids->name[0], q);
	rc = state_run(s, ops, 2 * n + 1);
	if (rc == 0)
		triplet_read(ops, n, c, out);
	free(ops);
	return rc;
}

/* The triplet's attempt lies outside the window, or there was none: it begins now. */
static int triplet_begin(struct state *s, const struct greylist_conf *c,
			 const struct greylist_query *q, const struct identities *ids)
{
	struct state_op op = { .verb = STATE_PUT, .ttl_s = c->window_s };

	triplet_key(&op, ids->name[0], q);
	return state_run(s, &op, 1);
}

/*
 * The triplet lives on, and its first pass counts for the whole identity; passes within one delay
 * count once, or a single message to many recipients would open the door for good.
 */
static int triplet_pass(struct state *s, const struct greylist_conf *c,
			const struct greylist_query *q, const struct identities *ids,
			const struct triplet *t)
{
	struct state_op ops[2] = { { .verb = STATE_COUNT, .ttl_s = c->life_s, .add = 1 },
				   { .verb = STATE_COUNT, .ttl_s = c->life_s, .add = 1 } };
	bool counts = !t->passed && c->auto_passes > 0 &&
		      (t->passes[0] == 0 || t->now_s - t->pass_last_s[0] >= c->delay_s);

	triplet_key(&ops[0], ids->name[0], q);
	state_key(&ops[1], "pass", ids->name[0], NULL);
	return state_run(s, ops, counts ? 2 : 1);
}

static int identity_renew(struct state *s, const struct greylist_conf *c, const char *identity)
{
	struct state_op op = { .verb = STATE_TOUCH, .ttl_s = c->life_s };

	state_key(&op, "pass", identity, NULL);
	return state_run(s, &op, 1);
}

int greylist_check(struct state *s, const struct greylist_conf *c, const struct greylist_query *q,
		   enum greylist_answer *answer, int *retry_s, char *why)
{
	struct identities ids = { .count = 0 };
	struct triplet t = { .known = false };
	int64_t age_s;
	int rc = identify(s, c, q, &ids);

	if (rc == 0)
		rc = triplet_look(s, c, q, &ids, &t);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < ids.count && c->auto_passes > 0; i++)
		if (t.passes[i] >= c->auto_passes) {
			rc = identity_renew(s, c, ids.name[i]);
			if (rc < 0)
				return rc;
			why_set(why, "%.100s has passed %lld times", ids.name[i],
				(long long)t.passes[i]);
			*answer = GREYLIST_PASS;
			*retry_s = 0;
			return 0;
		}
	age_s = t.known ? t.now_s - t.first_s : 0;
	if (t.passed || (t.known && age_s >= c->delay_s)) {
		rc = triplet_pass(s, c, q, &ids, &t);
		if (rc < 0)
			return rc;
		why_set(why, "%.80s first seen %lld s ago%s", ids.name[0], (long long)age_s,
			t.passed ? ", has passed before" : "");
		*answer = GREYLIST_PASS;
		*retry_s = 0;
		return 0;
	}
	rc = t.known ? 0 : triplet_begin(s, c, q, &ids);
	if (rc < 0)
		return rc;
	*answer = GREYLIST_WAIT;
	*retry_s = (int)(c->delay_s - age_s);
	if (t.known)
		why_set(why, "%.80s first seen %lld s ago, passes in %d s", ids.name[0],
			(long long)age_s, *retry_s);
	else
		why_set(why, "%.80s not seen before, passes in %d s", ids.name[0], *retry_s);
	return 0;
}

int greylist_dkim_seen(struct state *s, const struct greylist_conf *c,
		       const struct net_addr *client, const char *domain)
{
	char network[NET_TEXT_MAX], low[256], *save = NULL;
	struct state_op op = { .verb = STATE_TOUCH, .ttl_s = c->life_s };
	struct state_op put = { .verb = STATE_PUT, .ttl_s = c->life_s };
	size_t used, kept = 1;
	int rc;

	/* A blank would become a second domain of the list. */
	if (!domain[0] || strlen(domain) >= sizeof(low) || strpbrk(domain, " \t\r\n"))
		return -EINVAL;
	lower_copy(low, sizeof(low), domain);
	net_network_text(client, c->v4_bits, c->v6_bits, network);
	state_key(&op, "dkim", network, NULL);
	state_key(&put, "dkim", network, NULL);
	rc = state_run(s, &op, 1);
	if (rc < 0)
		return rc;
	/* As a rule it was the last one, too: then it lives on by the touch. */
	if (op.found && strncmp(op.text, low, strlen(low)) == 0 && strchr(" ", op.text[strlen(low)]))
		return 0;
	used = (size_t)snprintf(put.text, sizeof(put.text), "%s", low);
	for (char *d = op.found ? strtok_r(op.text, " ", &save) : NULL; d && kept < DKIM_DOMAINS;
	     d = strtok_r(NULL, " ", &save)) {
		if (strcmp(d, low) == 0 || used + 1 + strlen(d) >= sizeof(put.text))
			continue;
		used += (size_t)snprintf(put.text + used, sizeof(put.text) - used, " %s", d);
		kept++;
	}
	return state_run(s, &put, 1);
}
