/*
 * released - what of fetched mail an administrator has released from the quarantine
 *
 * A message that a user may not fetch (retrieval) has a copy in the quarantine. When that is released, the original in the
 * mailbox and the copy that is delivered shall be shown, and whatever else has the same content: the state remembers the
 * content, by a hash over the fields of the header that make the message what it is (author, subject, date, id, kind) and the
 * body. Fields that servers add on the way, and empty lines at the end, do not count.
 */
#ifndef RELEASED_H
#define RELEASED_H

#include <stdbool.h>

struct message;
struct state;
struct state_op;

enum { RELEASED_CONTENT_MAX = 33, RELEASED_LIFE_S = 400 * 24 * 3600 };  /* hex, 128 bits of SHA-256; since it was last fetched */

/* The content of m. 0 or -errno. may wait */
int released_content(struct message *m, char out[RELEASED_CONTENT_MAX]);

bool released_content_ok(const char *text);

/* The operation that remembers content, and the one that asks (found: it has been released). */
void released_mark_op(struct state_op *op, const char *content);
void released_ask_op(struct state_op *op, const char *content);

#endif
