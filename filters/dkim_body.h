/*
 * dkim_body - the canonical form of a message body, hashed while it streams by, RFC 6376 section 3.4
 *
 * simple and relaxed, with or without a length (l=), SHA-256. Only CRLF ends a line: a CR or LF alone is a byte like
 * others. Memory is constant. A final CRLF that is missing is added, as the RFC has it.
 */
#ifndef DKIM_BODY_H
#define DKIM_BODY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/auto.h"

struct dkim_body;

enum { DKIM_BODY_HASH = 32 };

/* limited: hash the first `limit` canonical bytes only. NULL: no memory. */
struct dkim_body *dkim_body_new(bool relaxed, bool limited, uint64_t limit);
void dkim_body_free(struct dkim_body *b);
AUTO_DEFINE(dkim_body)

/* 0 or -ENOMEM (of the hash). */
int dkim_body_add(struct dkim_body *b, const char *p, size_t len);

/* The end: the hash and how long the canonical body is, whatever the limit. Nothing can be added after. 0 or -ENOMEM. */
int dkim_body_end(struct dkim_body *b, unsigned char hash[DKIM_BODY_HASH], uint64_t *canonical_bytes);

#endif
