/*
 * arc - the filter that verifies the Authenticated Received Chain of a message (arc_verify.h), RFC 8617
 *
 * That there is no chain is known from the header, and costs nothing more. Otherwise the key lookups are started when the header is complete, and
 * the body is hashed while it arrives.
 *
 * A chain proves who has sealed it and nothing else: anybody can make one, with whatever it says. So arc.sealer and what
 * the sets say are there only when the chain passes, and mean something only where the rule trusts the sealers that say it:
 *
 * - arc.spf, arc.dkim and arc.dmarc are the words of the newest set, which is what its sealer saw itself. What older sets say may be forged by whoever
 *   sent the message to that sealer.
 * - arc.dmarc_sealers are all that must be believed before DMARC can be said to have passed somewhere on the way: the domains of the seals from
 *   the newest down to the first set that says dmarc=pass. When all of them are trusted, nobody between could have made it up.
 *
 * dmarc=pass counts only for the author's domain that the message has now, and only if the newest message signature covers From; that of an older set, only
 * if its message signature and those of the sets between cover From and have no l=.
 * When a key could not be looked up, arc is TEMPERROR and so is what it would have decided; what no outcome could make true is known all the same.
 */
#ifndef ARC_FILTER_H
#define ARC_FILTER_H

#include "filters/filter.h"

extern const struct filter filter_arc;

#endif
