#include "policy/replay.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "filters/envelope.h"
#include "filters/filter.h"
#include "filters/time.h"

struct replay {
	const struct policy *policy;
	const struct history_record *record;
	uint32_t ran;                   /* filters that had looked */
	uint8_t *not_whole;             /* of each fact: its value is not in the record as it was */
	/* of the recipient: */
	struct facts own;
	enum stage stage;               /* facts of later ones are not shown */
	enum replay_missing missing;    /* of the fact that was asked for last and is not there */
	int fact;
	enum replay_missing lacked;     /* as missing, of facts that were there to be known: no TOO_EARLY */
	int lacked_fact;
};

struct replay *replay_new(const struct policy *policy)
{
	struct replay *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->policy = policy;
	tzset();
	r->not_whole = calloc(FACT_MAX, 1);
	if (!r->not_whole) {
		free(r);
		return NULL;
	}
	return r;
}

void replay_free(struct replay *r)
{
	if (!r)
		return;
	facts_release(&r->own);
	free(r->not_whole);
	free(r);
}

static int find(const char *name)
{
	return fact_find(name, strlen(name));
}

static void mark(struct replay *r, const char *const *names)
{
	for (; names && *names; names++)
		if (find(*names) != FACT_NONE)
			r->not_whole[find(*names)] = 1;
}

void replay_begin(struct replay *r, const struct history_record *record, const char *const *cut, const char *const *lost)
{
	r->record = record;
	r->ran = 0;
	memset(r->not_whole, 0, FACT_MAX);
	for (const char *const *name = record->ran; name && *name; name++)
		for (int i = 0; filters[i]; i++)
			if (strcmp(filters[i]->name, *name) == 0)
				r->ran |= UINT32_C(1) << i;
	mark(r, cut);
	mark(r, lost);
}

static const struct fact *missing(struct replay *r, int id, enum replay_missing why, bool *final)
{
	r->missing = why;
	r->fact = id;
	if (why != REPLAY_TOO_EARLY) {
		r->lacked = why;
		r->lacked_fact = id;
	}
	*final = false;
	return NULL;
}

static const struct fact *get_fact(void *arg, int id, bool *final)
{
	struct replay *r = arg;
	const struct fact *f = facts_get(&r->own, id);
	int owner = fact_owner(id);

	*final = true;
	if (f)
		return f;
	if (fact_def(id)->stage > r->stage)
		return missing(r, id, REPLAY_TOO_EARLY, final);
	f = facts_get(r->record->facts[0], id);
	if (r->not_whole[id])
		return missing(r, id, REPLAY_CUT, final);
	if (f || owner < 0 || r->ran & UINT32_C(1) << owner)
		return f;               /* none: there is no such thing in this message */
	return missing(r, id, REPLAY_NOT_ASKED, final);
}

static bool expired(const struct replay *r)
{
	const struct fact *f = facts_get_name(r->record->facts[0], "temperror.expired");

	return f && f->state == FACT_KNOWN && f->number;
}

/* A greylist rule holds. Whether the recipient is deferred by it. */
static bool greylist_holds_up(struct replay *r, const char *rcpt, struct replay_verdict *out)
{
	const char *then = facts_word(r->record->facts[0], "greylist");

	if (recipient_is_postmaster(rcpt))
		return false;
	/* The state did not answer: whether that held it up was the site's choice, as was seen. */
	if (then && strcmp(then, "unavailable") == 0)
		return r->record->action && strcmp(r->record->action, "defer") == 0;
	if (then && strcmp(then, "wait") != 0)
		return false;
	out->meets_greylist = !then;
	return then;
}

/* With the facts up to r->stage. */
static void judge(struct replay *r, const char *rcpt, struct replay_verdict *out)
{
	struct policy_facts facts = { .get = get_fact, .arg = r, .temperror_expired = expired(r) };
	struct policy_run run = { 0 };
	enum policy_event event;

	*out = (struct replay_verdict){ .fact = FACT_NONE };
	r->missing = REPLAY_NOT_ASKED;
	r->fact = FACT_NONE;
	r->lacked = REPLAY_COMPLETE;
	while ((event = policy_next(r->policy, &run, &facts, false)) == POLICY_GREYLIST) {
		if (!greylist_holds_up(r, rcpt, out))
			continue;
		out->action = ACTION_DEFER;
		out->greylisted = strcmp(facts_word(r->record->facts[0], "greylist"), "wait") == 0;
		out->rule = run.rule;
		return;
	}
	if (event == POLICY_UNDECIDED) {
		out->missing = r->missing;
		out->fact = r->fact;
		out->rule = policy_rule(r->policy, run.next);
	} else if (event == POLICY_TEMPORARY) {
		out->action = ACTION_DEFER;
		out->temporary = true;
		out->fact = run.temporary_fact;
		out->rule = run.rule;
	} else {
		out->rule = run.rule;
		out->action = run.rule ? run.rule->action : ACTION_ACCEPT;
	}
}

/* What postmaster is spared. */
static bool refuses(const struct replay_verdict *v)
{
	return v->missing == REPLAY_COMPLETE &&
	       (v->action == ACTION_REJECT || v->action == ACTION_DEFER || v->action == ACTION_DISCARD);
}

/*
 * postmaster: what is certain before the message has come is no reason to refuse it (judge.h). So it matters when the verdict was certain, and where
 * the record does not tell that, a refusal is not known either.
 */
static void judge_postmaster(struct replay *r, const char *rcpt, struct replay_verdict *out)
{
	enum replay_missing lacked;
	struct replay_verdict early;
	int fact;

	r->stage = STAGE_RCPT;
	judge(r, rcpt, &early);
	lacked = early.missing == REPLAY_COMPLETE ? REPLAY_COMPLETE : r->lacked;
	fact = r->lacked_fact;
	r->stage = r->record->stage;
	judge(r, rcpt, out);
	if (refuses(&early)) {
		*out = early;
		out->action = ACTION_ACCEPT;
		out->temporary = false;
	} else if (refuses(out) && lacked != REPLAY_COMPLETE) {
		out->missing = lacked;
		out->fact = fact;
	}
}

/* When the transaction began, as the fact time has it: no policy need have asked for that. */
static int64_t begun_s(const struct history_record *record)
{
	return (record->at_ms - (record->ms > 0 ? record->ms : 0)) / 1000;
}

int replay_judge(struct replay *r, const char *rcpt, struct replay_verdict *out)
{
	const char *at = strrchr(rcpt, '@');
	struct recipient to = { .address = (char *)rcpt, .params = (char *)"", .domain = (char *)(at ? at + 1 : "") };
	int rc;

	facts_release(&r->own);
	rc = recipient_facts_set(&to, &r->own);
	if (rc == 0 && !facts_get_name(r->record->facts[0], "time"))
		rc = time_facts_set(begun_s(r->record), &r->own);
	if (rc == 0 && expired(r))
		rc = facts_set_bool(&r->own, "temperror.expired", true);
	if (rc < 0)
		return rc;
	r->stage = r->record->stage;
	if (recipient_is_postmaster(rcpt) && r->stage >= STAGE_RCPT)
		judge_postmaster(r, rcpt, out);
	else
		judge(r, rcpt, out);
	return 0;
}

const char *replay_name(const struct replay_verdict *v, char *out)
{
	const char *name = v->greylisted ? "greylist" : action_name(v->action);

	snprintf(out, REPLAY_NAME_MAX, "%s%s", v->meets_greylist ? "greylist, then " : "", v->missing == REPLAY_COMPLETE ? name : "unknown");
	return out;
}

const char *replay_missing_text(enum replay_missing m)
{
	static const char *const texts[] = {
		"", "the transaction ended before it was known", "nobody had asked for it", "its value is not in the record as it was",
	};

	return texts[m];
}
