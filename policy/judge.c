#include "policy/judge.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/task.h"
#include "filters/envelope.h"
#include "filters/filter.h"
#include "filters/milter.h"
#include "policy/greylist.h"
#include "policy/rate.h"
#include "policy/refusal.h"
#include "policy/state.h"

/* Who does not come again for so long has got through, or given up: the next failure is another message's. */
enum { DEFER_GAP_S = 12 * 3600 };

enum { TURN_MS = 5 };  /* of matching; a single match takes some 20 ms at most */

static int class_facts_set(const struct policy *p, const char *rcpt, struct facts *out)
{
	const char *names[FACT_LIST_MAX];
	size_t n = policy_classes(p, rcpt, names, FACT_LIST_MAX);
	int rc = policy_class_count(p) ? facts_set_empty(out, "class") : 0;

	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = facts_add(out, "class", names[i]);
	return rc;
}

int judge_init(struct judge *j, struct txn *t, const struct recipient *rcpt)
{
	int rc;

	*j = (struct judge){ .txn = t, .rcpt = rcpt, .verdict.temporary_fact = FACT_NONE };
	rc = recipient_facts_set(rcpt, &j->facts);
	return rc < 0 || !t->site->policy ? rc : class_facts_set(t->site->policy, rcpt->address, &j->facts);
}

void judge_release(struct judge *j)
{
	facts_release(&j->facts);
}

static int rate_fact(void)
{
	static int id = FACT_NONE;

	if (id == FACT_NONE)
		id = fact_find("rate.over", 9);
	return id;
}

/* What milters say of a recipient, and of the message: where they refuse one, the other is known with it. */
static bool is_milter_fact(int id)
{
	static int rcpt = FACT_NONE, action;

	if (rcpt == FACT_NONE) {
		action = fact_find("milter.action", 13);
		rcpt = fact_find("milter.rcpt", 11);
	}
	return id == rcpt || id == action;
}

/* Where there are none they have nothing to say, at any stage; no record need tell that. */
static const struct fact *no_milters(int id)
{
	static char word[] = "none", *text[] = { word };
	static struct fact f = { .state = FACT_KNOWN, .count = 1, .text = text };

	f.id = (int16_t)id;
	return &f;
}

/* At RCPT they would be asked. */
static bool asks_milters(const struct judge *j, int id)
{
	return j->txn->milters && !j->milters_told && j->txn->stage == STAGE_RCPT && is_milter_fact(id);
}

void judge_tell_milters(struct judge *j)
{
	int rc;

	if (j->milters_told || !j->txn->milters)
		return;
	j->milters_told = true;
	rc = milters_rcpt(j->txn->milters, j->txn, j->rcpt, &j->facts);
	if (rc < 0) {
		facts_temperror(&j->facts, "milter.rcpt", "out of memory");
		facts_temperror(&j->facts, "milter.action", "out of memory");
	}
}

const struct fact *judge_fact(struct judge *j, int id)
{
	const struct fact *own = facts_get(&j->facts, id);

	if (!own && !j->txn->milters && is_milter_fact(id))
		return no_milters(id);
	if (!own && !j->early && asks_milters(j, id)) {
		judge_tell_milters(j);
		own = facts_get(&j->facts, id);
	}
	/* Counted once for each recipient that a rule asks it of; in a command that only looks there is no state. */
	if (!own && id == rate_fact() && j->txn->stage >= STAGE_RCPT && rate_count(j->txn, &j->facts) == 0)
		own = facts_get(&j->facts, id);
	return own ? own : filters_fact(j->txn, id);
}

static const struct fact *get_fact(void *arg, int id, bool *final)
{
	struct judge *j = arg;

	*final = filters_can_know(j->txn, id) && !(j->early && asks_milters(j, id));
	return judge_fact(j, id);
}

/*
 * Postmaster passes the address checks (RFC 5321 4.5.1): what is certain before the message has come is no reason to
 * refuse it.
 */
static bool spares_postmaster(const struct judge *j, enum action action)
{
	return (action == ACTION_REJECT || action == ACTION_DEFER || action == ACTION_DISCARD) && j->txn->stage <= STAGE_RCPT &&
	       recipient_is_postmaster(j->rcpt->address);
}

static bool at_hand(void *arg, int id)
{
	struct judge *j = arg;

	return facts_get(&j->facts, id) || (id != rate_fact() && !asks_milters(j, id) && filters_at_hand(j->txn, id));
}

/* All recipients, and all rules, may have the same long text matched: whoever has run for a while lets others run. */
static void pause_judging(void *arg)
{
	static int64_t since_ms;        /* of this process */

	if (!task_self() || clock_ms() - since_ms < TURN_MS)
		return;
	task_yield();
	since_ms = clock_ms();
}

static void decide(struct judge *j, enum action action, const struct rule *rule)
{
	if (spares_postmaster(j, action))
		action = ACTION_ACCEPT;
	j->verdict.certain = true;
	j->verdict.action = action;
	j->verdict.rule = rule;
}

static void reply(struct judge *j, const char *text)
{
	snprintf(j->verdict.reply, sizeof(j->verdict.reply), "%s", text);
}

/* What is known already, without a look anywhere. */
static const struct fact *get_known(void *arg, int id, bool *final)
{
	const struct judge *j = arg;
	const struct fact *f = facts_get(&j->facts, id);

	*final = false;
	if (!f)
		f = facts_get(&j->txn->evidence.facts, id);
	return f ? f : facts_get(&j->txn->client->evidence.facts, id);
}

static void decide_by_rule(struct judge *j, const struct rule *rule)
{
	enum action action;

	decide(j, rule ? rule->action : ACTION_ACCEPT, rule);
	action = j->verdict.action;
	if (action != ACTION_REJECT && action != ACTION_DEFER)
		return;
	refusal_reply(j->txn->site->policy, rule,
		      &(struct policy_facts){ .get = get_known, .pause = pause_judging, .arg = j, .temperror_expired = j->temperror_expired }, j->txn->client->ip,
		      j->verdict.reply, sizeof(j->verdict.reply));
}

/* What stands for "the same message" while it is deferred: the client's network, the sender, the recipient. */
static void defer_key(const struct judge *j, struct state_op *op)
{
	const struct greylist_conf *g = &j->txn->site->greylist;
	char network[NET_TEXT_MAX];

	net_network_text(client_counted(j->txn->client), g->v4_bits, g->v6_bits, network);
	state_key(op, "defer", network, j->txn->env.from, j->rcpt->address, NULL);
}

/* Whether this message has been deferred for a temporary failure for too long already. A state that is away: not yet. may wait */
static bool deferred_long_enough(struct judge *j)
{
	struct state_op op = { .verb = STATE_TOUCH, .ttl_s = DEFER_GAP_S };

	defer_key(j, &op);
	if (!j->txn->state || state_run(j->txn->state, &op, 1) < 0 || !op.found)
		return false;
	return clock_wall_s() - op.first_s >= j->txn->site->temperror_max_s;
}

/* true: decided (defer). false: go on, without that fact. may wait */
static bool temporary(struct judge *j)
{
	const struct fact_def *d = fact_def(j->run.temporary_fact);

	if (j->txn->client->fetches || deferred_long_enough(j)) {       /* nobody waits for what has been delivered */
		j->temperror_expired = true;
		facts_set_bool(&j->facts, "temperror.expired", true);
		return false;
	}
	decide(j, ACTION_DEFER, NULL);
	j->verdict.temporary_fact = j->run.temporary_fact;
	snprintf(j->verdict.reply, sizeof(j->verdict.reply),
		 "451 4.4.3 a check could not be done (%s), try again later", d->name);
	return true;
}

/* The domain that SPF passed for, or NULL. may wait */
static const char *spf_domain(struct judge *j)
{
	int result = fact_find("spf", 3), domain = fact_find("spf.domain", 10);
	const struct fact *f = result == FACT_NONE ? NULL : judge_fact(j, result);

	if (!f || f->state != FACT_KNOWN || strcmp(f->text[0], "pass") != 0)
		return NULL;
	f = domain == FACT_NONE ? NULL : judge_fact(j, domain);
	return f && f->state == FACT_KNOWN && f->count ? f->text[0] : NULL;
}

/* true: decided (defer until it comes again). false: passed. may wait */
static bool greylist(struct judge *j, const struct rule *rule)
{
	struct greylist_query q = {
		.client = &j->txn->client->addr, .from = j->txn->env.from, .rcpt = j->rcpt->address,
		.spf_domain = spf_domain(j),
	};
	enum greylist_answer answer = GREYLIST_PASS;
	char why[160] = "";
	int retry_s = 0;

	if (recipient_is_postmaster(j->rcpt->address))
		return false;
	if (j->txn->client->relay) {
		facts_set_why(&j->facts, "greylist", "pass", "one of ours: does not apply");
		return false;
	}
	/* The relay has the message already and comes again, as the client would not have to. */
	if (j->txn->client->via) {
		facts_set_why(&j->facts, "greylist", "pass", "it came by a trusted relay: does not apply");
		return false;
	}
	/* The state is away: greylisting is no reason to hold mail up, unless the site says so. */
	if (!j->txn->state ||
	    greylist_check(j->txn->state, &j->txn->site->greylist, &q, &answer, &retry_s, why) < 0) {
		facts_set_why(&j->facts, "greylist", "unavailable", j->txn->state ? "the state did not answer" : "nothing is remembered here");
		if (j->txn->state && j->txn->site->state_away == AWAY_DEFER) {
			decide(j, ACTION_DEFER, rule);
			reply(j, "451 4.3.0 greylisting is not available, please try again later");
			return true;
		}
	} else {
		facts_set_why(&j->facts, "greylist", answer == GREYLIST_PASS ? "pass" : "wait", "%s", why);
	}
	if (answer == GREYLIST_PASS)
		return false;
	decide(j, ACTION_DEFER, rule);
	j->verdict.greylisted = true;
	if (rule->reply)
		reply(j, rule->reply);
	else
		snprintf(j->verdict.reply, sizeof(j->verdict.reply),
			 "451 4.7.1 greylisted, please try again in %d seconds", retry_s);
	return true;
}

/* Go on with the policy. The score is a fact from the verdict on. may wait */
static enum policy_event next(struct judge *j, enum judge_how how)
{
	struct policy_facts facts = { .get = get_fact, .at_hand = at_hand, .pause = pause_judging, .arg = j, .temperror_expired = j->temperror_expired };
	const struct policy *policy = j->txn->site->policy;
	enum policy_event event = policy_next(policy, &j->run, &facts, how == JUDGE_FINAL);

	if (event == POLICY_DECIDED && policy_has_score(policy))
		facts_set_num(&j->facts, "score", j->run.score);
	if (j->run.gave_up && !facts_get_name(&j->facts, "regex.gave_up"))
		facts_set_bool(&j->facts, "regex.gave_up", true);
	return event;
}

bool judge_step(struct judge *j, enum judge_how how)
{
	enum policy_event event;

	j->early = how == JUDGE_BEFORE_GREYLIST;
	if (j->verdict.certain && j->run.waiting)       /* effects, that a later stage may make known */
		next(j, how);
	while (!j->verdict.certain) {
		if (j->waits_for_greylist) {
			if (how == JUDGE_BEFORE_GREYLIST)
				return false;
			j->waits_for_greylist = false;
			if (greylist(j, j->run.rule))
				break;
		}
		event = next(j, how);
		if (event == POLICY_UNDECIDED)
			return false;
		if (event == POLICY_GREYLIST)
			j->waits_for_greylist = true;
		else if (event == POLICY_DECIDED)
			decide_by_rule(j, j->run.rule);
		else
			temporary(j);
	}
	return true;
}

uint32_t judge_filters(const struct site *s)
{
	static const char *const headers[] = { "spf", "dkim", "dmarc", "arc", "client.fcrdns" };
	uint32_t needed = policy_filters(s->policy);

	for (size_t i = 0; i < sizeof(headers) / sizeof(*headers); i++) {
		int id = fact_find(headers[i], strlen(headers[i]));

		if (id != FACT_NONE && fact_owner(id) >= 0)
			needed |= 1u << fact_owner(id);
	}
	return needed;
}
