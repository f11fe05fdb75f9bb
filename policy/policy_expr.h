/*
 * policy_expr - a condition of a policy, compiled: facts are numbers, words are bits
 *
 * Its truth has four values. A comparison is unknown while the fact's stage has not come; temporary
 * when the fact is TEMPERROR and the comparison does not name `temperror` as a value; false when
 * the fact will never be known, != included. and, or and not follow Kleene; a side that is unknown
 * outweighs one that is temporary, since it may still settle the matter.
 */
#ifndef POLICY_EXPR_H
#define POLICY_EXPR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/net.h"
#include "policy/policy.h"
#include "policy/policy_list.h"
#include "policy/policy_regex.h"

enum expr_kind { EXPR_CONST, EXPR_NOT, EXPR_AND, EXPR_OR, EXPR_COMPARE };

enum expr_op { EXPR_IS, EXPR_EQ, EXPR_NE, EXPR_LT, EXPR_LE, EXPR_GT, EXPR_GE, EXPR_IN, EXPR_MATCH };

/* What a comparison asks: a fact, or what only the run itself knows. */
enum expr_about { ABOUT_FACT, ABOUT_EXPIRED, ABOUT_SCORE, ABOUT_CLASS, ABOUT_GAVE_UP };

enum {
	EXPR_WORDS_MAX = 62,            /* of one fact's vocabulary: bits of a mask */
	EXPR_WORD_TEMPERROR = 63,       /* the bit of `temperror` */
};

struct score_range {
	int64_t low, high;
};

struct expr {
	enum expr_kind kind;
	bool truth;                     /* EXPR_CONST */
	struct expr **child;            /* EXPR_NOT: one; EXPR_AND, EXPR_OR: two or more */
	size_t child_count;

	/* EXPR_COMPARE */
	enum expr_op op;
	int fact;
	enum expr_about about;
	uint64_t words;                 /* FACT_WORD: the values that hold (for !=: that do not) */
	int64_t number;                 /* FACT_NUMBER; FACT_BOOL with = and !=; FACT_TIME in minutes */
	int64_t *numbers;               /* FACT_NUMBER in (...) */
	size_t number_count;
	char *text;                     /* texts, domains, mailboxes with = and != */
	struct net_addr ip;
	const struct policy_list *list; /* in */
	bool all;                       /* all in: of a fact that is a list, every value, and there is one */
	struct policy_list *list_own;   /* in (...): its list, freed with it */
	struct policy_regex *regex;
	char *source;                   /* as written: "dnsbl.score >= 5" */

	const struct policy_list **class;       /* ABOUT_CLASS: those that hold (for !=: that do not) */
	size_t class_count;

	/* ABOUT_SCORE, see policy_score.h */
	size_t above;                   /* how many score rules stand above */
	struct score_range *range;      /* the sums for which it holds, in order, apart from each other */
	size_t range_count;
	int can_true, can_false;        /* expr_stages */
};

/* The sum of the first score rules. */
struct score_sum {
	size_t next;                    /* how many have been counted */
	int64_t low, high;              /* between which the sum lies */
	bool unknown;                   /* some of them are; else those that are open are temporary */
	bool passed_over;               /* some lookup was, see expr_truth */
	int temporary_fact;             /* FACT_NONE: none */
};

struct expr *expr_new(enum expr_kind kind);
void expr_free(struct expr *e);
AUTO_DEFINE(expr)
/* child becomes e's, also on failure. 0 or -ENOMEM. */
int expr_add(struct expr *e, struct expr *child);

struct policy_scores;

struct expr_eval {
	const struct policy *policy;
	const struct policy_facts *facts;
	struct policy_scores *scores;   /* what this run knows of the score rules */
	bool *gave_up;                  /* set when a regular expression was too much work; may be NULL */
	bool final;                     /* unknown is false */
	int temporary_fact;             /* out: which fact made it TEMPORARY; FACT_NONE before */
	/* its own: */
	bool at_hand_only, passed_over;
	struct score_sum sum[2];        /* what was waited for, and what was at hand */
	const struct score_sum *running;        /* inside the condition of a score rule: the sum above it */
};

/* "22:05" in minutes since midnight; -1 if it is no time of day. */
int expr_minutes(const char *text);

/* NULL: true. why may be NULL. may wait */
enum truth expr_truth(const struct expr *e, struct expr_eval *ev, struct buf *why);

/* The same in one pass: what is at hand, or all, as ev->at_hand_only says. may wait */
enum truth expr_look(const struct expr *e, struct expr_eval *ev);

/* The first stage at which e can be certainly true, and certainly false; STAGE_COUNT: never. */
void expr_stages(const struct expr *e, int *can_true, int *can_false);

/* What can be seen without facts: that e holds whenever a does (false if unsure). NULL is the
   condition that always holds. */
bool expr_implied(const struct expr *e, const struct expr *a);
/* Whether e can never hold, as far as can be seen: false, or spf = pass and spf = fail. */
bool expr_never(const struct expr *e);
bool expr_always(const struct expr *e);

/* fn(fact, arg) for every comparison. */
void expr_each_fact(const struct expr *e, void (*fn)(int fact, void *arg), void *arg);

#endif
