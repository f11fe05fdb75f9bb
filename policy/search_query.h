/*
 * search_query - what a person asks the search for
 *
 *     rechnung -entwurf subject:"zweite mahnung" from:firma.example 发票
 *
 * All of the words must be there; what has - in front must not. "..." is a phrase: its words one after the other, and so is what is
 * joined by punctuation, an address for example. from:, to: and subject: look into that field only. Of letters and digits only words are
 * made (search_words.h): nothing that is typed is an operator of FTS5.
 *
 * A term may be written in several ways (alternatives): Gebühr is also looked for as Gebuehr, and the other way round.
 */
#ifndef SEARCH_QUERY_H
#define SEARCH_QUERY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/auto.h"
#include "policy/search_words.h"

enum {
	SEARCH_TERMS_MAX = 32,
	SEARCH_TERM_WORDS_MAX = 64,
	SEARCH_ALTERNATIVES_MAX = 3,
};

enum search_field { SEARCH_ANYWHERE, SEARCH_FROM, SEARCH_TO, SEARCH_SUBJECT };

struct search_query_word {
	char *text;
	int chars;
	enum search_kind kind;
};

struct search_alternative {
	struct search_query_word words[SEARCH_TERM_WORDS_MAX];
	size_t count;
};

struct search_term {
	bool negated;
	enum search_field field;
	struct search_alternative alternatives[SEARCH_ALTERNATIVES_MAX];
	size_t count;
};

struct search_query {
	struct search_term *terms;
	size_t count;
	char error[200];
};

struct search_query *search_query_new(void);
void search_query_free(struct search_query *q);
AUTO_DEFINE(search_query)

/*
 * Add the terms of one argument of a command line. The shell has eaten the quotation marks: an argument with blanks and without such marks is
 * one phrase. 0; -EINVAL (error says what is wrong: no word in it, too many terms, too long a phrase); -ENOMEM.
 */
int search_query_add(struct search_query *q, const char *text);

/* Once all is added: -EINVAL if there is nothing that must be there. */
int search_query_check(struct search_query *q);

#endif
