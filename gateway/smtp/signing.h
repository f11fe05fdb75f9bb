/*
 * signing - whether a message that goes out is signed for its author's domain (DKIM), and the header with the signatures above it
 *
 * Signed is what one of ours sends (struct client, relay) and whose only From domain has a section dkim_sign. What comes from elsewhere under the
 * same name is not. A message that begins with a DKIM-Signature was signed here: it leaves as lines (smtp_client_data), whatever the server
 * offers, as its signature is over those.
 */
#ifndef SIGNING_H
#define SIGNING_H

#include "base/buf.h"
#include "filters/dkim_signer.h"
#include "filters/txn.h"

enum { SIGNING_MAX = DKIM_SIGN_KEYS_MAX * 128 * 1024 };        /* a bound on all signatures of a message */

/*
 * header: as outgoing_header made it; the signatures are put above, and those that the same keys have made when the message came by before go. 0: signed, or not to be signed. -errno: it should have been, and must not leave
 * without; said in the log. may wait
 */
int signing_apply(const struct txn *t, struct buf *header);

/* The same for a message of our own making (a DSN), whoever caused it. id: for the log. */
int signing_apply_own(const struct site *site, struct message *m, const char *id, struct buf *header);

/* The signatures alone (bound: SIGNING_MAX), none if it is not to be signed. may wait */
int signing_make(const struct site *site, struct message *m, const char *id, const char *header, size_t len, struct buf *signatures);

#endif
