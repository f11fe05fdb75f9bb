/*
 * milter_mail - a message and its envelope as mail filters have changed them so far
 *
 * Begins as what has arrived; each filter sees what those before it have made of it. What is not changed stays octet for octet, in its place. A header
 * field that a filter gives is made one: its line ends are folds, whatever they were, so that none can become two. Bounded are the header (as the
 * message's own bounds have it), the body, how many recipients are added, and how many changes there are at all.
 */
#ifndef MILTER_MAIL_H
#define MILTER_MAIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/auto.h"
#include "filters/milter_wire.h"
#include "filters/txn.h"

enum { MILTER_CHANGES_MAX = 10000, MILTER_ADDRESS_MAX = 1000 };

struct milter_field {
	const char *raw;                /* with its line end */
	size_t len, name_len;
	char *own;                      /* raw, if it was made here */
};

struct milter_rcpt {
	char *address, *params;         /* without <>; params "" if none */
};

struct milter_mail {
	const struct txn *txn;
	uint64_t body_max;
	struct milter_field *field;
	size_t count, cap, bytes;       /* of the header */
	bool header_changed;
	struct message *body;           /* what replaces it, below an empty header; NULL: the message's own */
	struct message *began;          /* that is not complete yet */
	struct milter_rcpt *added;
	size_t added_count;
	bool *deleted;                  /* by place in the envelope; NULL: none */
	char *from, *from_params;       /* NULL: as it was */
	unsigned changes;
};

/* t: with its message, which must outlive it. 0 or -ENOMEM. */
int milter_mail_init(struct milter_mail *m, const struct txn *t, uint64_t body_max);
void milter_mail_release(struct milter_mail *m);        /* zeroed is fine */

/*
 * What one answer changes. leading_space: a value is all that follows the colon; else there is a blank between. 0, 1: passed over (no such header or
 * recipient, no address, a name that is none). -EMSGSIZE: beyond a bound. -errno
 */
int milter_mail_change(struct milter_mail *m, const struct milter_reply *r, bool leading_space);
/* The filter has given all of its body, if it gave any. 0 or -errno. */
int milter_mail_settle(struct milter_mail *m);

bool milter_mail_changed(const struct milter_mail *m);  /* header or body */
size_t milter_mail_left(const struct milter_mail *m);   /* recipients, those that were added among them */

/* Where the body lies now, and from which octet on. */
struct message *milter_mail_body(const struct milter_mail *m, size_t *off);
/*
 * The whole as a message, of which this and the first must outlive it; stays(arg): whether a field that came is to stay, NULL: all. NULL: no memory, or too
 * large a header.
 */
struct message *milter_mail_message(const struct milter_mail *m, bool (*stays)(void *arg, const struct header_field *h), void *arg);

#endif
