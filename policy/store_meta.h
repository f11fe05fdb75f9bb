/*
 * store_meta - what the index takes from the metadata of a message (record.h)
 *
 * The metadata is JSON that an earlier version may have written, or a person edited: whatever is missing or of another kind is
 * left out. Pure: no I/O.
 */
#ifndef STORE_META_H
#define STORE_META_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum { STORE_META_PARTIES = 2500, STORE_META_TEXT = 2048 };

struct store_meta {
	json_t *root;
	/* Of the record, or NULL. Good until the release. */
	const char *sender, *client, *rule, *message_id, *header_from, *subject;
	json_t *facts, *rcpt;                   /* borrowed; or NULL */
	struct buf recipients;                  /* their addresses, one per line */
	struct buf classes;                     /* names in order, each between blanks: " board sales "; empty: none */
};

/* 0, -EINVAL (no JSON object), -ENOMEM. Release it in any case. */
int store_meta_read(const char *text, size_t len, struct store_meta *out);
void store_meta_release(struct store_meta *m);
static inline void store_meta_cleanup(struct store_meta *m)
{
	store_meta_release(m);
}

/*
 * Who the message is from (sender of the envelope, author of the header) or to, by the forms in which somebody asks for them:
 * each address in lower case, and "@domain". Each once. What fn returns that is not 0 ends it, and is returned.
 */
int store_meta_from(const struct store_meta *m, int (*fn)(void *arg, const char *name), void *arg);
int store_meta_to(const struct store_meta *m, int (*fn)(void *arg, const char *name), void *arg);

/*
 * What is asked for in that form: "Bob@Example.com" is "bob@example.com", "example.com" and "@example.com" are "@example.com", "<>" is "".
 * 0 or -EINVAL.
 */
int store_meta_name(const char *text, struct buf *out);

#endif
