#include "policy/policy_parser.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN_TEXT_MAX = 400 };

static const char *const action_names[ACTION_COUNT] = {
	"accept", "reject", "defer", "quarantine", "discard", "greylist", "score", "tag", "add header", "remove header", "copy to",
	"redirect to", "log",
};

const char *action_name(enum action a)
{
	return action_names[a];
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

/* The text of reject, defer and tag. */
static bool rule_text(struct parser *ps, struct rule *r)
{
	AUTO(buf) struct buf text = BUF_INIT(2000), err = BUF_INIT(1500);
	struct token t;
	char show[PARSER_SHOW_MAX];
	int rc;

	if (r->action == ACTION_TAG && parser_at(ps, "header")) {
		r->action = ACTION_ADD_HEADER;
		parser_next(ps);
	}
	t = ps->t;
	if (t.kind != TOKEN_STRING) {
		if (action_is_effect(r->action))
			return parser_fail(ps, &t, "%s after tag, expected %s",
					   parser_show(&t, show),
					   r->action == ACTION_ADD_HEADER ? "a header field: \"Name: value\""
						     : "a subject prefix in double quotes, or "
						       "header \"Name: value\"");
		return true;
	}
	if (r->action != ACTION_REJECT && r->action != ACTION_DEFER && !action_is_effect(r->action))
		return parser_fail(ps, &t, "a text after %s, expected if or the end of the rule",
				   action_name(r->action));
	if (token_value(&t, &text) < 0)
		return parser_fail(ps, &t, "a text of %zu bytes, expected fewer than 500",
				   t.len - 2);
	if (r->action == ACTION_ADD_HEADER)
		rc = policy_tag_header(buf_str(&text), text.len, &r->argument, &err);
	else if (r->action == ACTION_TAG)
		rc = policy_tag_prefix(buf_str(&text), text.len, &r->argument, &err);
	else
		rc = policy_reply_text(r->action, buf_str(&text), text.len, &r->reply, &err);
	if (rc < 0)
		return parser_fail(ps, &t, "%s",
				   rc == -ENOMEM
					   ? "no memory for the policy, expected a shorter one"
					   : buf_str(&err));
	parser_next(ps);
	return true;
}

/* The rest of a rule; the action is next. */
static bool rule_body(struct parser *ps, struct rule *r)
{
	const char *meant;
	char show[PARSER_SHOW_MAX];
	size_t a = 0;

	while (a < sizeof(action_names) / sizeof(*action_names) && !parser_at(ps, action_names[a]))
		a++;
	if (a == sizeof(action_names) / sizeof(*action_names)) {
		meant = ps->t.kind == TOKEN_WORD ? policy_suggest(ps->t.text, ps->t.len, parser_statements)
						 : NULL;
		return parser_fail(ps, &ps->t,
				   "%s is no action, expected accept, reject, defer, quarantine, "
				   "greylist, tag%s%s%s%s",
				   parser_show(&ps->t, show), r->observe ? "" : ", observe or list",
				   meant ? " (did you mean " : "", meant ? meant : "",
				   meant ? "?)" : "");
	}
	r->action = (enum action)a;
	parser_next(ps);
	if (!rule_label(ps, r) || !rule_text(ps, r))
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
	return true;
}
