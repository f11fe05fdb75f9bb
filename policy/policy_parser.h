/*
 * policy_parser - the state while a policy file is read, shared by policy_parse.c (the file),
 * policy_parse_list.c (lists), policy_parse_rule.c (rules) and policy_cond.c (conditions)
 */
#ifndef POLICY_PARSER_H
#define POLICY_PARSER_H

#include "policy/policy_lex.h"
#include "policy/policy_rule.h"

struct parser {
	struct policy *policy;
	struct lexer lex;
	struct token t;                 /* the one to be read next */
	const char *name, *base_dir;
	struct buf *errors, *warnings;
	int error_count;
	size_t nodes, regexes;
	struct buf text;                /* the rule so far, blanks and comments made one blank */
};

enum { PARSER_TEXT_MAX = 64 * 1024 };

/* Eat the token. */
void parser_next(struct parser *ps);
bool parser_at(const struct parser *ps, const char *word);
/* Whether it begins a rule or list: an action, observe or list at the beginning of a line. */
bool parser_at_statement(const struct parser *ps);

/* "name:line:column: ..." to errors, at token t; a token that the lexer found bad gives the lexer's
   words instead. Always false. */
bool parser_fail(struct parser *ps, const struct token *t, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void parser_warn(struct parser *ps, int line, int column, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* A token for a message: "word" in double quotes, cut, or `the end of the file`. Returns out. */
enum { PARSER_SHOW_MAX = 64 };
const char *parser_show(const struct token *t, char *out);

/* What a line may begin with, for suggestions; NULL last. */
extern const char *const parser_statements[];
/* A name for lists and labels: letters, digits, - and _, beginning with a letter, no word of the language. */
bool parser_name_ok(const char *p, size_t len);

/* One statement, whose first word is the next token; a class is a list of recipients. False after an error. */
bool parser_list_statement(struct parser *ps);
bool parser_rule_statement(struct parser *ps);

struct named_list *parser_list(struct parser *ps, const char *name, size_t len);
/* One more list, empty; NULL: no memory. */
struct named_list *parser_list_new(struct policy *p, const char *name, size_t len);
/* Free what a rule holds. */
void parser_rule_release(struct rule *r);

/* A condition up to its end. NULL after an error. */
struct expr *parser_condition(struct parser *ps);

#endif
