/*
 * policy_lex - the words of a policy file
 *
 * Text is UTF-8 or any bytes without NUL. Blanks, line ends and comments (# to the end of the line)
 * separate. A token points into the text.
 *
 *     word     letters, digits and . _ - + @ : / % * and bytes over 0x7f: 192.0.2.0/24, spoofed:
 *     string   "..." on one line; \" and \\ inside
 *     regex    /.../ on one line; \/ for a slash inside
 *     ( ) { } , = != < <= > >= ~
 */
#ifndef POLICY_LEX_H
#define POLICY_LEX_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

enum token_kind {
	TOKEN_END, TOKEN_WORD, TOKEN_STRING, TOKEN_REGEX,
	TOKEN_OPEN, TOKEN_CLOSE, TOKEN_OPEN_BRACE, TOKEN_CLOSE_BRACE, TOKEN_COMMA,
	TOKEN_EQ, TOKEN_NE, TOKEN_LT, TOKEN_LE, TOKEN_GT, TOKEN_GE, TOKEN_MATCH,
	TOKEN_BAD,
};

struct token {
	enum token_kind kind;
	const char *text;               /* as written, quotes and slashes included */
	size_t len;
	int line, column;               /* from 1; columns count characters */
	bool first;                     /* nothing but blanks stands before it on its line */
	bool spaced;                    /* something separates it from the token before */
	const char *error;              /* TOKEN_BAD: what is wrong and what was expected */
};

struct lexer {
	const char *p, *end, *line_start;
	const char *counted;            /* column is that of this place */
	int line, column;
};

void policy_lex_init(struct lexer *l, const char *text, size_t len);
/* The next token; TOKEN_END for ever at the end. */
void policy_lex_next(struct lexer *l, struct token *t);

bool token_is(const struct token *t, const char *word);
/* The meaning of a word, string or regex: without quotes, with escapes undone (in a regex only \/
   is one). 0 or -ENOSPC, -ENOMEM. */
int token_value(const struct token *t, struct buf *out);

#endif
