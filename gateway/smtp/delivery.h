/*
 * delivery - the backend's side of one client transaction
 *
 * Recipients are asked of the backend one by one, in a transaction of its own that begins with the first of them. When the message is to be
 * sent, the transaction there must hold exactly those who get it: if it does not, or its session has gone, MAIL and RCPT
 * are said again for exactly those, and a reply that now differs means that nobody has the message yet: 451 (DESIGN,
 * "RCPT is verification").
 *
 * Replies come complete, as text for the client ("550 5.1.1 no such user").
 */
#ifndef DELIVERY_H
#define DELIVERY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "filters/txn.h"

struct backend_group;
struct delivery;

enum { DELIVERY_REPLY_MAX = 512 };

enum delivery_result {
	DELIVERY_TAKEN,         /* the backend answered 2xx: it has the message (or the recipient) */
	DELIVERY_REFUSED,       /* 5xx: for good */
	DELIVERY_LATER,         /* 4xx, or no backend, or it went away before it had the message: nobody has it */
	DELIVERY_UNKNOWN,       /* it went away after the end of data: perhaps delivered; the client hears 451 */
};

struct delivery *delivery_new(struct backend_group *g, const struct txn *t);
void delivery_free(struct delivery *d);         /* gives the session back, or closes it */

/* Ask for one recipient more. reply: DELIVERY_REPLY_MAX. may wait */
enum delivery_result delivery_rcpt(struct delivery *d, const struct recipient *r, char *reply);

/*
 * A slow client keeps no session with the backend from others: in how many ms the session is to be given back if nothing was asked of it
 * until then; -1: there is none. After delivery_pause the next need takes a session again.
 */
int delivery_spare_ms(const struct delivery *d);
void delivery_pause(struct delivery *d);

/*
 * Send header (in place of the message's own) and the body of the message for exactly these recipients. Bare CR and LF are kept, by BDAT, where the
 * backend can. may wait
 */
enum delivery_result delivery_send(struct delivery *d, const struct recipient *const *rcpt, size_t count,
				   const struct buf *header, char *reply);

/* The backend's name, for the log; NULL before any was reached. */
const char *delivery_backend(const struct delivery *d);

#endif
