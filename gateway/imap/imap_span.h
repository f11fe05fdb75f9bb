/*
 * imap_span - a piece of somebody else's bytes, as the parsers of IMAP take lines apart
 */
#ifndef IMAP_SPAN_H
#define IMAP_SPAN_H

#include <stdbool.h>
#include <stddef.h>

struct imap_span {
	const char *p;                  /* any where len is 0, NULL too */
	size_t len;
};

/* It is this word, in any case. */
bool imap_span_is(struct imap_span s, const char *word);
/* The word at its front is taken from it, and the blank behind that. */
struct imap_span imap_span_take(struct imap_span *s);

#endif
