/*
 * conf_scan - the text of gatepost.conf, looked through before libconfuse reads it
 *
 * libconfuse stops at the first unknown option, takes a comment inside a list for a mistake, and
 * counts a line too many at each C comment. So comments are blanked out first, and statements whose
 * names are unknown, or that come twice, are told of and blanked out, too. No I/O here.
 */
#ifndef CONF_SCAN_H
#define CONF_SCAN_H

#include <stdbool.h>
#include <stddef.h>

struct conf;

enum conf_token_kind { CONF_TOKEN_END, CONF_TOKEN_WORD, CONF_TOKEN_STRING, CONF_TOKEN_MARK };

struct conf_token {
	enum conf_token_kind kind;
	size_t start, end;              /* with quotes */
	char mark;                      /* of CONF_TOKEN_MARK: one of { } ( ) = + , */
	int line;                       /* it begins on */
};

struct conf_scan {
	char *text;
	size_t len, at;
	int line;
};

/*
 * Blank out comments in place. 0, or the line on which a string or comment begins that has no end,
 * *what being "string" or "comment".
 */
int conf_scan_comments(char *text, size_t len, const char **what);

/* The next token of text without comments, all strings of which end. */
struct conf_token conf_scan_next(struct conf_scan *s);

/*
 * All statements: errors for unknown names and for what comes twice; c->section is filled. 0, or
 * the line on which what is there is no statement any more (libconfuse says more of it); -1 when
 * that has been said, too.
 */
int conf_scan_statements(struct conf *c, char *text, size_t len);

#endif
