/*
 * dkim_canon - header fields in canonical form, hashed while they are read: RFC 6376 section 3.4.1 and 3.4.2, and RFC 8617
 *
 *     struct dkim_hash h;
 *     dkim_hash_begin(&h);
 *     dkim_canon_field(&h, raw, len, relaxed, 0);                                     // each that is covered, in order
 *     dkim_canon_field(&h, raw, len, relaxed, DKIM_CANON_NO_B | DKIM_CANON_LAST);     // the one that holds the signature
 *     rc = dkim_hash_end(&h, hash);                                                   // and dkim_hash_release(&h) on every way
 *
 * simple: the bytes as they are. relaxed: the name in lower case, CRLF before a blank left out, blanks of every kind and number
 * one space, none around the colon and none at the end. Blanks are space and tab; only CRLF folds, a CR or LF alone is a byte like others, and
 * so is every other one. Nothing is allocated but the hash, nothing is kept. Never waits: about 1 ms per MB.
 */
#ifndef DKIM_CANON_H
#define DKIM_CANON_H

#include <stdbool.h>
#include <stddef.h>

#include "base/auto.h"

enum { DKIM_HASH_BYTES = 32 };

struct dkim_hash {                      /* SHA-256 */
	void *ctx;
	size_t len;                     /* in out, collected: relaxed fields come word by word */
	bool failed;
	char out[1000];
};

/* Zeroed: nothing to release. begin: 0 or -ENOMEM. What fails later is told at the end. */
int dkim_hash_begin(struct dkim_hash *h);
void dkim_hash_add(struct dkim_hash *h, const char *p, size_t len);
/* What has been added to from so far; to is begun, and ended on its own. 0 or -ENOMEM. */
int dkim_hash_copy(struct dkim_hash *to, const struct dkim_hash *from);
/* Nothing can be added after. 0 or -ENOMEM. */
int dkim_hash_end(struct dkim_hash *h, unsigned char out[DKIM_HASH_BYTES]);
void dkim_hash_release(struct dkim_hash *h);
static inline void dkim_hash_cleanup(struct dkim_hash *h)
{
	dkim_hash_release(h);
}

enum {
	DKIM_CANON_NO_B = 1,            /* what stands behind "b=", up to the semicolon or the end, blanks too, is left out (section 3.5) */
	DKIM_CANON_LAST = 2,            /* no CRLF at its end (section 3.7) */
};

/* One field, name and colon included, without its final CRLF (if that is there it is not taken for a part of it). */
void dkim_canon_field(struct dkim_hash *h, const char *raw, size_t len, bool relaxed, int flags);

/*
 * Where in a field's body (a list of tags, after the colon) the value of the first tag b= stands: from *at to *end, which is the place of its semicolon or len.
 * False: there is none.
 */
bool dkim_canon_b(const char *body, size_t len, size_t *at, size_t *end);

#endif
