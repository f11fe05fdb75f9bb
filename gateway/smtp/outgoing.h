/*
 * outgoing - the header of a message as the next hop gets it
 *
 * Above: Authentication-Results (RFC 8601), Received-SPF where asked, Received, the client's address in the site's client_header (all but Received
 * only of mail from strangers), added header fields. Removed: what others could forge of these, and every field of a name that an effect removes (of those that came, not of those that are added;
 * our own Received line of an earlier pass stays, as it shows a loop).
 * A tag's prefix is put before the Subject. All else stays byte for byte; the body
 * follows from message_body_offset() on.
 */
#ifndef OUTGOING_H
#define OUTGOING_H

#include "filters/txn.h"
#include "policy/policy.h"

/* effects: of the policy's run; those that change no header are passed over. 0 and the whole header with its empty line in out (where the message has one), or -ENOSPC, -ENOMEM. */
int outgoing_header(const struct txn *t, bool utf8, const struct rule *const *effects, size_t effect_count, struct buf *out);

/*
 * Whether a field that came pretends to be ours: Authentication-Results that claim our authserv-id (RFC 8601 section 5), or the site's client_header.
 */
bool outgoing_is_forged(const struct header_field *h, const struct site *site);

/* An upper bound on what outgoing_header makes of m. */
size_t outgoing_bound(const struct message *m);

#endif
