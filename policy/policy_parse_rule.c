#include "policy/policy_parser.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN_TEXT_MAX = 2000 };        /* of a rule, for people; the longest of the shipped ones has 600 */

/* What stands behind the action. */
enum argument { ARGUMENT_NONE, ARGUMENT_REPLY, ARGUMENT_TEXT, ARGUMENT_SCORE };

typedef int text_check(const char *text, size_t len, char **out, struct buf *err);

static const struct {
	const char *name;               /* one word or two */
	enum argument argument;
	text_check *check;              /* ARGUMENT_TEXT */
	const char *expected;           /* what must follow */
} actions[ACTION_COUNT] = {
	[ACTION_ACCEPT] = { "accept", ARGUMENT_NONE, NULL, NULL },
	[ACTION_REJECT] = { "reject", ARGUMENT_REPLY, NULL, NULL },
	[ACTION_DEFER] = { "defer", ARGUMENT_REPLY, NULL, NULL },
	[ACTION_QUARANTINE] = { "quarantine", ARGUMENT_NONE, NULL, NULL },
	[ACTION_DISCARD] = { "discard", ARGUMENT_NONE, NULL, NULL },
	[ACTION_GREYLIST] = { "greylist", ARGUMENT_NONE, NULL, NULL },
	[ACTION_SCORE] = { "score", ARGUMENT_SCORE, NULL, "what it adds: +2 or -1" },
	[ACTION_TAG] = { "tag", ARGUMENT_TEXT, policy_tag_prefix,
			 "a subject prefix in double quotes, or header \"Name: value\"" },
	[ACTION_ADD_HEADER] = { "add header", ARGUMENT_TEXT, policy_tag_header, "a header field: \"Name: value\"" },
	[ACTION_REMOVE_HEADER] = { "remove header", ARGUMENT_TEXT, policy_remove_header,
				   "the name of a header field: \"Name\"" },
	[ACTION_COPY] = { "copy to", ARGUMENT_TEXT, policy_mailbox, "a mailbox: \"user@example.com\"" },
	[ACTION_REDIRECT] = { "redirect to", ARGUMENT_TEXT, policy_mailbox, "a mailbox: \"user@example.com\"" },
	[ACTION_LOG] = { "log", ARGUMENT_TEXT, policy_log_text, "a text in double quotes" },
};

const char *action_name(enum action a)
{
	return actions[a].name;
}

void parser_rule_release(struct rule *r)
{
	free(r->name);
	free(r->text);
	free(r->reply);
	free(r->argument);
	expr_free(r->cond);
}

static struct rule *rule_new(struct policy *p)
{
	if (p->rule_count == p->rule_cap) {
		size_t cap = p->rule_cap ? p->rule_cap * 2 : 32;
		struct rule *r = realloc(p->rule, cap * sizeof(*r));

		if (!r)
			return NULL;
		p->rule = r;
		p->rule_cap = cap;
	}
	p->rule[p->rule_count] = (struct rule){ 0 };
	return &p->rule[p->rule_count];
}

static bool rule_label(struct parser *ps, struct rule *r)
{
	struct token t = ps->t;

	if (t.kind != TOKEN_WORD || t.first || t.text[t.len - 1] != ':')
		return true;
	if (!parser_name_ok(t.text, t.len - 1))
		return parser_fail(ps, &t,
				   "%.*s cannot be a label, expected letters, digits, - and _ that "
				   "are no word of the language",
				   (int)(t.len > 60 ? 60 : t.len), t.text);
	for (size_t i = 0; i < ps->policy->rule_count; i++) {
		const struct rule *o = &ps->policy->rule[i];

		if (strlen(o->name) == t.len - 1 && memcmp(o->name, t.text, t.len - 1) == 0)
			return parser_fail(ps, &t,
					   "label %s is that of line %d already, expected another",
					   o->name, o->line);
	}
	r->name = strndup(t.text, t.len - 1);
	parser_next(ps);
	return r->name || parser_fail(ps, &t, "no memory for the policy, expected a shorter one");
}

/* A text of bytes, checked and kept. */
static bool rule_text(struct parser *ps, struct rule *r)
{
	AUTO(buf) struct buf text = BUF_INIT(2000), err = BUF_INIT(1500);
	struct token t = ps->t;
	int rc;

	if (token_value(&t, &text) < 0)
		return parser_fail(ps, &t, "a text of %zu bytes, expected fewer than 500",
				   t.len - 2);
	if (actions[r->action].argument == ARGUMENT_REPLY)
		rc = policy_reply_text(r->action, buf_str(&text), text.len, &r->reply, &r->coded, &err);
	else
		rc = actions[r->action].check(buf_str(&text), text.len, &r->argument, &err);
	if (rc < 0)
		return parser_fail(ps, &t, "%s",
				   rc == -ENOMEM
					   ? "no memory for the policy, expected a shorter one"
					   : buf_str(&err));
	parser_next(ps);
	return true;
}

/* +2, -1: the sign is written. */
static bool rule_score(struct parser *ps, struct rule *r)
{
	struct token t = ps->t;
	char show[PARSER_SHOW_MAX], digits[12] = "";
	size_t n = t.len;

	if (t.kind == TOKEN_WORD && n < sizeof(digits))
		memcpy(digits, t.text, n);      /* a token is not terminated */
	if (n < 2 || (digits[0] != '+' && digits[0] != '-') || strspn(digits + 1, "0123456789") < n - 1)
		return parser_fail(ps, &t, "%s after score, expected %s", parser_show(&t, show), actions[ACTION_SCORE].expected);
	r->score = (int)strtol(digits, NULL, 10);
	if (r->score == 0 || abs(r->score) > POLICY_SCORE_MAX || n > 8)
		return parser_fail(ps, &t, "a score of %.*s, expected 1 to %d behind the sign", (int)n, t.text, POLICY_SCORE_MAX);
	parser_next(ps);
	return true;
}

/* What stands behind action and label. */
static bool rule_argument(struct parser *ps, struct rule *r)
{
	struct token t = ps->t;
	const char *word = actions[r->action].name;
	char show[PARSER_SHOW_MAX];

	if (r->action == ACTION_TAG && parser_at(ps, "header")) {       /* add header as it was called first */
		r->action = ACTION_ADD_HEADER;
		word = "tag header";
		parser_next(ps);
		t = ps->t;
	}
	switch (actions[r->action].argument) {
	case ARGUMENT_SCORE:
		return rule_score(ps, r);
	case ARGUMENT_TEXT:
		if (t.kind != TOKEN_STRING)
			return parser_fail(ps, &t, "%s after %s, expected %s", parser_show(&t, show), word, actions[r->action].expected);
		return rule_text(ps, r);
	case ARGUMENT_REPLY:
		return t.kind != TOKEN_STRING || rule_text(ps, r);
	default:
		return t.kind != TOKEN_STRING ||
		       parser_fail(ps, &t, "a text after %s, expected if or the end of the rule", word);
	}
}

static bool no_action(struct parser *ps, const struct rule *r)
{
	AUTO(buf) struct buf names = BUF_INIT(400);
	const char *meant = ps->t.kind == TOKEN_WORD ? policy_suggest(ps->t.text, ps->t.len, parser_statements) : NULL;
	char show[PARSER_SHOW_MAX];

	for (size_t a = 0; a < ACTION_COUNT; a++)
		buf_addf(&names, "%s%s", a == 0 ? "" : a == ACTION_COUNT - 1 && r->observe ? " or " : ", ", actions[a].name);
	return parser_fail(ps, &ps->t, "%s is no action, expected %s%s%s%s%s", parser_show(&ps->t, show), buf_str(&names),
			   r->observe ? "" : ", observe, list or class", meant ? " (did you mean " : "", meant ? meant : "",
			   meant ? "?)" : "");
}

/* The word or two words of an action. */
static bool rule_action(struct parser *ps, struct rule *r)
{
	char show[PARSER_SHOW_MAX];

	for (size_t a = 0; a < ACTION_COUNT; a++) {
		const char *name = actions[a].name, *second = strchr(name, ' ');
		size_t len = second ? (size_t)(second - name) : strlen(name);

		if (ps->t.kind != TOKEN_WORD || ps->t.len != len || memcmp(ps->t.text, name, len) != 0)
			continue;
		r->action = (enum action)a;
		parser_next(ps);
		if (second && !parser_at(ps, second + 1))
			return parser_fail(ps, &ps->t, "%s after %.*s, expected %s", parser_show(&ps->t, show), (int)len, name, second + 1);
		if (second)
			parser_next(ps);
		return true;
	}
	return no_action(ps, r);
}

/* The rest of a rule; the action is next. */
static bool rule_body(struct parser *ps, struct rule *r)
{
	char show[PARSER_SHOW_MAX];

	if (!rule_action(ps, r) || !rule_label(ps, r) || !rule_argument(ps, r))
		return false;
	if (parser_at(ps, "if")) {
		parser_next(ps);
		r->cond = parser_condition(ps);
		if (!r->cond)
			return false;
		if (ps->t.kind != TOKEN_END && !ps->t.first)
			return parser_fail(ps, &ps->t,
					   "%s after the condition, expected and, or or a new line",
					   parser_show(&ps->t, show));
	} else if (ps->t.kind != TOKEN_END && !ps->t.first) {
		return parser_fail(ps, &ps->t, "%s after %s, expected if or a new line",
				   parser_show(&ps->t, show), action_name(r->action));
	}
	return true;
}

/* The last rule counts. */
static bool score_rule(struct parser *ps, const struct token *first)
{
	int rc = score_rule_add(ps->policy, ps->policy->rule_count - 1);

	if (rc == -ENOSPC)
		return parser_fail(ps, first, "too many score rules, expected at most %d", POLICY_SCORES_MAX);
	return rc == 0 || parser_fail(ps, first, "no memory for the policy, expected a shorter one");
}

bool parser_rule_statement(struct parser *ps)
{
	struct rule *r = rule_new(ps->policy);
	struct token first = ps->t;
	size_t cut;

	if (!r || ps->policy->rule_count >= POLICY_RULES_MAX) {
		parser_fail(ps, &first, "too many rules, expected at most %d", POLICY_RULES_MAX);
		ps->t.kind = TOKEN_END;         /* one such error is enough */
		return false;
	}
	r->line = first.line;
	r->column = first.column;
	buf_clear(&ps->text);
	if (parser_at(ps, "observe")) {
		r->observe = true;
		parser_next(ps);
	}
	if (!rule_body(ps, r)) {
		parser_rule_release(r);
		return false;
	}
	cut = ps->text.len;
	if (cut > SHOWN_TEXT_MAX)
		for (cut = SHOWN_TEXT_MAX; ((unsigned char)ps->text.data[cut] & 0xc0) == 0x80;
		     cut--)
			;
	if (asprintf(&r->text, "%.*s%s", (int)cut, buf_str(&ps->text),
		     cut < ps->text.len ? "..." : "") < 0)
		r->text = NULL;
	if (!r->name && asprintf(&r->name, "line %d", r->line) < 0)
		r->name = NULL;
	if (!r->text || !r->name) {
		parser_rule_release(r);
		return parser_fail(ps, &first, "no memory for the policy, expected a shorter one");
	}
	ps->policy->rule_count++;
	if (rule_scores(r))
		return score_rule(ps, &first);
	return true;
}
