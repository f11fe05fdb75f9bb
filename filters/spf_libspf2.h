/*
 * spf_libspf2 - libspf2 as the other SPF engine, behind a guard
 *
 * Debian's libspf2 1.2.10 can be crashed by a record (CVE-2023-42118), starts a new lookup limit at each include, and is lax in its
 * syntax. So it never sees what it would stumble over:
 *
 * - its DNS is ours: one struct dns with the native engine's budget; a lookup past it ends the check as permerror, whatever the library makes of it;
 * - each record is read by our strict reader first (spf_record.h); one that does not pass is a permerror, and so is a
 *   term over 253 bytes or with more than 32 macros;
 * - it keeps 512 bytes of a compiled record and silently drops the rest: a longer one is handed over without the addresses that do not cover
 *   the client, and one that is still longer is a permerror;
 * - exp= is taken out of the record, and our own explanation has no macros: there is no text for it to expand;
 * - the client's address is unfolded, the domain checked by section 4.3, the identity bounded, before it is called;
 * - redirect= is handed over behind the mechanisms, and other modifiers not at all;
 * - its error codes become temperror and permerror.
 *
 * What is left: it refuses prefix lengths of 0; %{d2} of a name of two labels loses its first letter; lookups made for %{p} count as terms;
 * a client on 127.0.0.0/8 always passes. Results give no mechanism and no explanation. Its own out-of-memory path calls abort().
 */
#ifndef SPF_LIBSPF2_H
#define SPF_LIBSPF2_H

#include "filters/spf_engine.h"

/* out->domain is set and fit. 0 or -ENOMEM. may wait */
int spf_libspf2_check(const struct spf_query *q, const struct spf_identity *id, struct dns *dns, struct spf_result *out);

#endif
