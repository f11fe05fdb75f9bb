/*
 * state - what the site remembers about senders, for some hours or days
 *
 * Greylist triplets, networks that pass, DKIM domains seen from a network, recipients' existence, on which server their mailboxes are, whom our users have written to,
 * messages that were deferred for a temporary error. One small key-value store with expiry behind
 * two engines: the keeper's SQLite (the workers ask over their channel), and Redis, which several gateways share. A key is
 * (space, text); a record is two times, a count and a short text.
 *
 * Several operations travel in one request and are done in order, as one transaction of the store. Deleting a whole space
 * stands alone in its request.
 */
#ifndef STATE_H
#define STATE_H

#include <stddef.h>
#include <stdint.h>

enum { STATE_KEY_MAX = 400, STATE_TEXT_MAX = 400, STATE_OPS_MAX = 16 };

/*
 * Times are those of the engine's wall clock. A record that is further ahead of it than this is as one that has expired: the clock has been set back, and
 * who was greylisted, refused or locked out while it was wrong would be so until that day comes.
 */
enum { STATE_FUTURE_S = 300 };

enum state_verb {
	STATE_GET,    /* the record as it is */
	/* GET, then: made if absent (first = last = now, count = 0), else last = now;
	   expires = now + ttl_s */
	STATE_TOUCH,
	STATE_COUNT,  /* as TOUCH, and count += add */
	STATE_PUT,    /* set count (to add) and text, first = last = now, expires = now + ttl_s */
	STATE_DELETE, /* this key; key "" = the whole space. count = how many were deleted,
	                 of expired ones those that the engine still had */
};

struct state_op {
	enum state_verb verb;
	char space[16];                 /* "grey", "pass", "dkim", "rcpt", "defer", "seen", "known", "sts", "rate", "owner" */
	char key[STATE_KEY_MAX];        /* longer keys are hashed by state_key() */
	int64_t ttl_s;
	int64_t add;
	char text[STATE_TEXT_MAX];      /* PUT: to store; result: what is stored */
	/* the result, as it was before this operation: */
	int found;                      /* 0 or 1; an expired record is not found */
	int64_t first_s, last_s, count;
};

struct state {
	int (*run)(struct state *s, struct state_op *ops, size_t count);
};

/* Do all. 0, or -errno (store away, deadline): nothing is known then. may wait */
int state_run(struct state *s, struct state_op *ops, size_t count);

/*
 * Compose a key from parts (NULL last), separated by blanks, hashed (SHA-256, hex) when too long
 * for op->key.
 */
void state_key(struct state_op *op, const char *space, const char *part, ...)
	__attribute__((sentinel));

/* The key of what is cached of a recipient, for whom case does not matter. 0; -EINVAL: empty or far too long. */
int state_key_recipient(struct state_op *op, const char *address);

#endif
