/*
 * delivery - the backend's side of one client transaction
 *
 * Recipients are asked of the backend one by one, in a transaction of its own that begins with the first of them. When the message is to be
 * sent, the transaction there must hold exactly those who get it: if it does not, or its session has gone, MAIL and RCPT
 * are said again for exactly those, and a reply that now differs means that nobody has the message yet: 451.
 *
 * Replies come complete, as text for the client ("550 5.1.1 no such user").
 */
#ifndef DELIVERY_H
#define DELIVERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "filters/txn.h"

struct delivery;
struct next_hop;

/* An address that a message goes to. */
struct delivery_target {
	const char *address, *params;
	const char *instead_of;         /* redirected: the recipient whose mail goes there; NULL: it is the recipient */
	bool copy;                      /* refused, for good or for now, it is left out: it holds up nobody's mail */
	bool dropped;                   /* it was */
};

enum { DELIVERY_REPLY_MAX = 512 };

enum delivery_result {
	DELIVERY_TAKEN,         /* the backend answered 2xx: it has the message (or the recipient) */
	DELIVERY_REFUSED,       /* 5xx: for good */
	DELIVERY_LATER,         /* 4xx, or no backend, or it went away before it had the message: nobody has it */
	DELIVERY_UNKNOWN,       /* it went away after the end of data: perhaps delivered; the client hears 451 */
};

/* hop is taken over, even on failure; NULL is a failure. NULL: no memory. */
struct delivery *delivery_new(struct next_hop *hop, const struct txn *t);
void delivery_free(struct delivery *d);         /* gives the session back, or closes it */

/* Ask for one recipient more. reply: DELIVERY_REPLY_MAX. may wait */
enum delivery_result delivery_rcpt(struct delivery *d, const struct recipient *r, char *reply);

/*
 * Whether DELIVERY_LATER was said last because no next hop was reached, or it went away: not by a word of its about the recipient or the message. And
 * what an RCPT may take at most; 0: the site's budget.
 */
bool delivery_unreached(const struct delivery *d);
void delivery_limit(struct delivery *d, int wait_ms);

/*
 * A slow client keeps no session with the backend from others: in how many ms the session is to be given back if nothing was asked of it
 * until then; -1: there is none. After delivery_pause the next need takes a session again.
 */
int delivery_spare_ms(const struct delivery *d);
void delivery_pause(struct delivery *d);

/* The sender is another from now on: what the transaction there holds does not count. */
void delivery_begin_anew(struct delivery *d);

/*
 * Before a message is sent in several transactions: whether all of these are taken, so that nobody has it when one is not. A copy that is refused
 * is dropped. 0; -errno: reply says 451 and why. may wait
 */
int delivery_verify(struct delivery *d, struct delivery_target *target, size_t count, int64_t until_ms, char *reply);

/*
 * Send header (in place of the message's own) and the body of the message to exactly these. Bare CR and LF are kept, by BDAT, where the
 * backend can. may wait
 */
enum delivery_result delivery_send(struct delivery *d, struct delivery_target *target, size_t count, const struct buf *header,
				   int64_t until_ms, char *reply);

/* Whether the server that took the message sends notifications itself (DSN, RFC 3461). */
bool delivery_offers_dsn(const struct delivery *d);

/* The name of the server that the session is or was with, for the log; NULL before any was reached. */
const char *delivery_backend(const struct delivery *d);
/* How the session with it was encrypted, where that is worth a word (towards the Internet); or NULL. */
const char *delivery_tls(const struct delivery *d);

#endif
