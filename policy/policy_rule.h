/*
 * policy_rule - the inside of a struct policy, for the files that make and run it
 */
#ifndef POLICY_RULE_H
#define POLICY_RULE_H

#include "policy/policy.h"
#include "policy/policy_expr.h"
#include "policy/policy_list.h"
#include "policy/policy_score.h"

enum {
	POLICY_RULES_MAX = 10000,
	POLICY_LISTS_MAX = 1000,
	POLICY_TEXT_MAX = 4 << 20,      /* bytes of a policy file */
	POLICY_NODES_MAX = 200000,      /* of all conditions */
	POLICY_DEPTH_MAX = 50,          /* parentheses and nots inside each other */
	POLICY_VALUES_MAX = 10000,      /* in one (...) or {...} */
	POLICY_REGEX_MAX = 1000,        /* regular expressions */
	POLICY_ERRORS_MAX = 20,
	POLICY_SCORE_MAX = 1000000,     /* of one rule */
};

enum { LIST_LOCAL, LIST_ALLOWED, LISTS_BUILT_IN };     /* places of the lists that every policy has */

struct named_list {
	char *name;
	struct policy_list *list;
	bool used;
	bool class;                     /* it holds recipients, and is asked for as class = NAME */
	int line, column;
	char *path;                     /* of the file that it is from; NULL: written in the policy */
	struct list_stamp stamp;
};

struct policy {
	char *name;                     /* of the file */
	uint64_t text_sum;              /* of what stood in it */
	uint64_t fingerprint;           /* 0: to be found anew */
	struct rule *rule;
	size_t rule_count, rule_cap;
	struct named_list *list;        /* first those that are built in */
	size_t list_count, list_cap, class_count;
	size_t regexes;                 /* of conditions and lists together */
	uint32_t filters;
	struct scorer *scorer;          /* the score rules that count, in order */
	size_t scorer_count;
	int *false_stage;               /* of each rule: from when on it may be known not to apply;
					   STAGE_COUNT: never */
};

/* The rule itself takes part in the verdict; scores, effects and observe rules do not. */
static inline bool rule_decides(const struct rule *r)
{
	return !r->observe && r->action != ACTION_SCORE && !action_is_effect(r->action);
}

/* Its score counts. */
static inline bool rule_scores(const struct rule *r)
{
	return !r->observe && r->action == ACTION_SCORE;
}

/* Stages, filters; rules that can never matter go to warnings. 0 or -ENOMEM. */
int policy_analyse(struct policy *p, struct buf *warnings);

/*
 * Texts of rules (policy_reply.c). Each: 0 and *out (heap, complete), or -EINVAL and err ("what is
 * wrong, what was expected").
 * reply: "550 5.7.1 text", "550 text", "5.7.1 text" or "text"; action is reject or defer; coded: whether an enhanced code was given.
 */
int policy_reply_text(enum action action, const char *text, size_t len, char **out, bool *coded, struct buf *err);
int policy_tag_prefix(const char *text, size_t len, char **out, struct buf *err);
int policy_tag_header(const char *text, size_t len, char **out, struct buf *err);
int policy_remove_header(const char *text, size_t len, char **out, struct buf *err);   /* a field's name */
int policy_mailbox(const char *text, size_t len, char **out, struct buf *err);          /* user@example.com, ASCII */
int policy_log_text(const char *text, size_t len, char **out, struct buf *err);         /* UTF-8, no controls */

/* Of candidates (NULL last) the one that was probably meant by word, or NULL. */
const char *policy_suggest(const char *word, size_t len, const char *const *candidates);

#endif
