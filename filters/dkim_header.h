/*
 * dkim_header - a message's header fields by name, and those of them that a signature covers: RFC 6376 section 5.4.2
 *
 *     struct dkim_header *h = dkim_header_new();
 *     for each field: dkim_header_add(h, raw, len);
 *     dkim_header_ready(h);
 *     dkim_header_rewind(h, own);                     // for each signature; own: the field it stands in
 *     for each name of h=: f = dkim_header_up(h, name, len);
 *
 * Fields of a name are given from the bottom of the header up, each once; when there is no more of them, nothing: that is how a signer
 * says that there must not be more (oversigning). Letter case of names does not count, nor do blanks before the colon. The bytes
 * are the caller's and must stay. Choosing costs a search by halves, whatever the number of fields. No I/O.
 */
#ifndef DKIM_HEADER_H
#define DKIM_HEADER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/auto.h"
#include "filters/message.h"

/* All that a message can have, and what we add to it before it leaves. */
enum { DKIM_HEADER_FIELDS_MAX = MESSAGE_FIELDS_MAX + 1000 };

struct dkim_field {
	const char *raw;                /* name and colon included */
	size_t len;                     /* without the final CRLF */
	size_t name_len;                /* 0: there is no colon; such a field has no name and is never chosen */
};

struct dkim_header;

struct dkim_header *dkim_header_new(void);      /* NULL: no memory */
void dkim_header_free(struct dkim_header *h);
AUTO_DEFINE(dkim_header)

/* The next field from the top, with or without its final CRLF. 0, -ENOMEM or -EMSGSIZE: too many. */
int dkim_header_add(struct dkim_header *h, const char *raw, size_t len);

/* The fields of a header in one piece, up to its empty line or its end. As of add. */
int dkim_header_add_text(struct dkim_header *h, const char *p, size_t len);

/* All are there. 0 or -ENOMEM. */
int dkim_header_ready(struct dkim_header *h);

/* Fields in order of their adding; valid until the next add. */
size_t dkim_header_count(const struct dkim_header *h);
const struct dkim_field *dkim_header_at(const struct dkim_header *h, size_t i);
bool dkim_field_is(const struct dkim_field *f, const char *name);
const char *dkim_field_body(const struct dkim_field *f, size_t *len);   /* after the colon; f has a name */

/* After ready. Begin to choose anew; but never that one (its place), which holds the signature itself: SIZE_MAX for none. */
void dkim_header_rewind(struct dkim_header *h, size_t but);
/* The lowest field of that name which has not been given yet, or NULL. */
const struct dkim_field *dkim_header_up(struct dkim_header *h, const char *name, size_t len);

#endif
