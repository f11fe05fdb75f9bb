/*
 * arc_claims - what one hop of a chain says that it saw of SPF, DKIM and DMARC, RFC 8617 section 4.1.1
 *
 * Read from the ARC-Authentication-Results of its set. Whether the hop is believed is not decided here. Where a body contradicts itself or cannot be read
 * it says nothing: every word is "none".
 */
#ifndef ARC_CLAIMS_H
#define ARC_CLAIMS_H

#include <stddef.h>

#include "filters/domain.h"

struct arc_claims {                     /* words: one of the tables below, literals */
	const char *spf;                /* of MAIL FROM, where there are several */
	const char *dkim;               /* pass if any signature did, else the first */
	const char *dmarc;
	char from[DOMAIN_MAX];          /* header.from of dmarc, in canonical form; "" when it is not there, or more than once */
};

/*
 * What the words can be, NULL last: those of RFC 8601, without temperror. That the hop could not look is nothing that asking again would
 * change: none. So is a word that is no word.
 */
extern const char *const arc_claims_spf[], *const arc_claims_dkim[], *const arc_claims_dmarc[];

/* The body of the field behind "i=N;". 0 or -ENOMEM. */
int arc_claims_read(const char *results, size_t len, struct arc_claims *out);

#endif
