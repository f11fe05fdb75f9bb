/*
 * envelope - the facts of the envelope, which need no lookup: sender, sender.domain, sender.null, direction
 *
 * The facts of one recipient (recipient_facts) belong to no filter: a message has several recipients, and whoever judges
 * for one of them sets them (recipient_facts_set) in a set of its own.
 */
#ifndef ENVELOPE_H
#define ENVELOPE_H

#include "filters/filter.h"

extern const struct filter filter_envelope;
extern const struct fact_def recipient_facts[];         /* rcpt.*, score, class, greylist, temperror.expired */

int recipient_facts_set(const struct recipient *r, struct facts *out);

/* "postmaster", alone or at any domain; case ignored (RFC 5321 4.5.1). */
bool recipient_is_postmaster(const char *address);

#endif
