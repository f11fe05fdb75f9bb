/*
 * envelope - the facts of the envelope, which need no lookup: sender, sender.domain, sender.null
 *
 * The facts of one recipient (recipient_facts) belong to no filter: a message has several recipients, and whoever judges
 * for one of them sets them (recipient_facts_set) in a set of its own.
 */
#ifndef ENVELOPE_H
#define ENVELOPE_H

#include "filters/filter.h"

extern const struct filter filter_envelope;
extern const struct fact_def recipient_facts[];         /* rcpt.*, direction, score, class, greylist, temperror.expired */

/* The word for mail of that client to a recipient: inbound from a stranger; of one of ours outbound to the world, internal to our own domains. */
const char *recipient_direction(const struct client *c, bool local);

int recipient_facts_set(const struct recipient *r, struct facts *out);

/* "postmaster", alone or at any domain; case ignored (RFC 5321 4.5.1). */
bool recipient_is_postmaster(const char *address);

#endif
