/*
 * search_doc - what of a kept message is searched
 *
 * The subject, the senders and recipients of envelope and header, the Message-ID, the client, the rule's name, names of attachments, and
 * the text ("text" of the record, record.h). Words of From, To and Subject stand there once more with a mark in front, by which these fields
 * are searched alone; no word of a text can be so marked.
 */
#ifndef SEARCH_DOC_H
#define SEARCH_DOC_H

#include <jansson.h>

#include "base/buf.h"
#include "policy/search_query.h"
#include "policy/search_words.h"

enum {
	SEARCH_DOC_VERSION = 1,         /* other words for the same message: the index is made again */
	SEARCH_DOC_WORDS_MAX = 20000,   /* of a message: the rest is not searched */
	SEARCH_DOC_BYTES_MAX = 1024 * 1024,
};

/* Put in front of a word of that field; "" for SEARCH_ANYWHERE. */
const char *search_mark(enum search_field field);

/*
 * Appends the words of a record, with blanks between them. on_word, unless NULL, is told each word without a mark. 0, -ENOMEM or on_word's
 * error. Members that are missing, or of another type than they should, have no words.
 */
int search_doc(json_t *record, struct buf *out, int (*on_word)(void *arg, const struct search_word *word), void *arg);

#endif
