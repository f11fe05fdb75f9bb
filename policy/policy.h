/*
 * policy - a file of first-match rules that turns facts into a verdict
 *
 *     list trusted = { 192.0.2.0/24, partner.example }
 *     accept     if client.ip in trusted
 *     reject     "550 5.7.1 listed" if dnsbl.score >= 5
 *     greylist   if spf in (none, softfail, temperror) and client.fcrdns != pass
 *     tag "[EXTERNAL] " if not tls
 *     quarantine if dmarc = fail and dmarc.policy in (quarantine, reject)
 *     accept
 *
 * Rules are read in order. A condition is true, false, unknown (a fact whose stage has not come) or
 * temporary (it hangs on a fact that is TEMPERROR and that the condition does not name as a value).
 * and/or/not follow Kleene; `or` with one true side is true whatever the other. The verdict is
 * certain when a deciding rule is true and all deciding and greylist rules above it are false.
 *
 * A run is a cursor that is fed as the session proceeds; it never goes back. What was true stays
 * true: facts do not change.
 *
 * Facts must have been registered (fact_register_all) before a policy is parsed. One thread.
 */
#ifndef POLICY_H
#define POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "filters/fact.h"

enum action {
	ACTION_ACCEPT, ACTION_REJECT, ACTION_DEFER, ACTION_QUARANTINE, ACTION_DISCARD,  /* deciding */
	ACTION_GREYLIST, ACTION_SCORE,                                          /* going on */
	/* going on, too: what happens to the message that is delivered, and a word for the log */
	ACTION_TAG, ACTION_ADD_HEADER, ACTION_REMOVE_HEADER, ACTION_COPY, ACTION_REDIRECT, ACTION_LOG,
	ACTION_COUNT
};

struct policy;
struct expr;

struct rule {
	enum action action;
	int line, column;               /* in the file */
	char *name;                     /* "line 12", or its label: gatepost-policy(5) */
	char *text;                     /* as written, one line, for people */
	char *reply;                    /* reject, defer: "550 5.7.1 text", NULL for the default */
	bool coded;                     /* reply has an enhanced code that was written with it */
	char *argument;                 /* tag: the prefix; add header: "Name: value"; remove header: "Name"; copy, redirect: the address;
					   log: the text; else NULL */
	int score;                      /* score: what is added, negative too */
	struct expr *cond;              /* NULL: always */
	enum stage earliest;            /* the first stage at which it can be certain */
	bool observe;                   /* only report */
};

/* Parse text (of file `name`, for messages). NULL and errors, one per line "file:line:column: what,
   what was expected". Warnings (unreachable rules) go to warnings and do not fail. base_dir: where
   relative list files are sought; NULL: list files are refused. */
struct policy *policy_parse(const char *name, const char *text, size_t len, const char *base_dir,
			    struct buf *errors, struct buf *warnings);
struct policy *policy_load(const char *path, struct buf *errors, struct buf *warnings);
void policy_free(struct policy *p);
AUTO_DEFINE(policy)

/* What the built-in list `local` holds: the site's accepted domains (".example.com": all below).
   0, -EINVAL, -ENOMEM. */
int policy_set_local(struct policy *p, char *const *domains, size_t count);

/* Classes of recipients. */
size_t policy_class_count(const struct policy *p);
/* Names of the classes that this recipient is in, in the order of the file, at most max; they are the policy's. How many. */
size_t policy_classes(const struct policy *p, const char *rcpt, const char **names, size_t max);
/* Whether regular expressions parsed from now on are compiled to machine code; without a call: if
   the system lets us. */
void policy_use_jit(bool on);

size_t policy_rule_count(const struct policy *p);
/* Whether some score rule counts. */
bool policy_has_score(const struct policy *p);
const struct rule *policy_rule(const struct policy *p, size_t i);
/* A number that is another one, but for an accident in 2^64, when the policy's text or any list in it is: the same in all processes that have the same. Never 0. */
uint64_t policy_fingerprint(struct policy *p);
/* Bits of the filters whose facts some rule mentions. */
uint32_t policy_filters(const struct policy *p);
/* The rule above that keeps rule i from deciding at its own earliest stage, or -1. */
int policy_held_back_by(const struct policy *p, size_t i);
/* What `gatepost check` prints: each rule with the earliest stage at which it can decide, and what
   holds it back. */
void policy_describe(const struct policy *p, struct buf *out);

enum truth { TRUTH_FALSE, TRUTH_TRUE, TRUTH_UNKNOWN, TRUTH_TEMPORARY };

/* Where facts come from. get: the fact or NULL (unknown so far, or not to be had; final says
   which); may wait. */
struct policy_facts {
	const struct fact *(*get)(void *arg, int id, bool *final);
	/* Whether get would answer without a wait; NULL: always. What is at hand is looked at first, so that a lookup that cannot change
	   the truth of a condition is not waited for. */
	bool (*at_hand)(void *arg, int id);
	/* Called behind each match of a regular expression, which may have taken milliseconds; NULL: nothing. may wait */
	void (*pause)(void *arg);
	void *arg;
	bool temperror_expired;         /* temporary counts as false from now on */
};

/* The truth of one condition now; why: which comparison made it so, in words (may be NULL).
   may wait */
enum truth policy_truth(const struct policy *p, const struct rule *r, const struct policy_facts *f,
			struct buf *why);

/*
 * The facts whose comparisons make the condition of r true, in its order, perhaps more than once; of the score the conditions of the rules that add
 * to it. f must not wait, but to pause. Nothing where the condition is not true by f.
 */
void policy_reasons(const struct policy *p, const struct rule *r, const struct policy_facts *f, void (*fn)(int fact, void *arg), void *arg);

enum policy_event {
	POLICY_UNDECIDED,       /* come back at a later stage */
	POLICY_GREYLIST,        /* rule is true: pass the greylist, then call again to go on */
	POLICY_TEMPORARY,       /* it hangs on a fact that could not be established: defer */
	POLICY_DECIDED,         /* rule decides */
};

enum { POLICY_EFFECTS_MAX = 32, POLICY_SCORES_MAX = 1024 };

/* What a run knows of the score rules that count, by their order: which are certain, and which of those are true. */
struct policy_scores {
	uint64_t looked[POLICY_SCORES_MAX / 64], held[POLICY_SCORES_MAX / 64];
};

/* Zeroed to begin. Effects (action_is_effect) and observed rules are those that were true, in the order of the file. */
struct policy_run {
	size_t next;                                    /* the rule to look at next */
	const struct rule *effects[POLICY_EFFECTS_MAX];
	size_t effect_count;
	const struct rule *observed[POLICY_EFFECTS_MAX];
	size_t observed_count;
	const struct rule *rule;        /* of the event; NULL: the end of the rules */
	int temporary_fact;             /* of POLICY_TEMPORARY */
	bool decided;                   /* POLICY_DECIDED was said: it is final */
	bool gave_up;                   /* a regular expression was too much work */
	bool waiting;                   /* decided, but some effect, score or observe rule is still unknown */
	int64_t score;                  /* decided: the sum of the score rules above the rule that decided, as far as they are known */
	/* its own: */
	bool expired;
	size_t settled, greylisted;
	struct policy_scores scores;
};

/*
 * Go on from r->next. After the last rule: accept (rule NULL). final: no later stage will come;
 * unknown is then false. may wait
 *
 * A greylist rule holds back as a deciding one does (its defer must come before later verdicts).
 * POLICY_TEMPORARY is said only where the verdict hangs on the fact: not when the rules below come
 * to the same verdict without it. When the wait for it is over, set temperror_expired and call
 * again.
 *
 * Effects and observe rules hold back nothing. They are looked at once the verdict is certain, those above the rule that decided: while r->waiting,
 * call again at later stages (POLICY_DECIDED again) until final. So are score rules, for the final score, unless the verdict is reject or defer.
 * Where the message is not delivered (any verdict but accept) only log rules are. Of copies to one address, and of redirects at all, the first in the
 * file is kept.
 */
enum policy_event policy_next(const struct policy *p, struct policy_run *r,
			      const struct policy_facts *f, bool final);

const char *action_name(enum action a);

/* Whether a rule of this action decides nothing and changes no truth: it is noted in policy_run.effects. */
static inline bool action_is_effect(enum action a)
{
	return a >= ACTION_TAG;
}

#endif
