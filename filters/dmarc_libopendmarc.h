/*
 * dmarc_libopendmarc - the last word of DMARC given by libopendmarc, which knows RFC 7489
 *
 * The guard, in dmarc_eval.c, asks the DNS, reads the record strictly, finds the organizational
 * domains and compares the domains. The library gets a record written anew from what was read, the
 * author domain, and of the identifiers only those that align; so nothing of the sender's choosing
 * is parsed by it. What is left to it: which of p and sp applies, and what follows. It knows no np,
 * t and psd.
 */
#ifndef DMARC_LIBOPENDMARC_H
#define DMARC_LIBOPENDMARC_H

#include "filters/dmarc_eval.h"

/*
 * record stands at record_domain. aligned_spf, aligned_dkim of out say what aligns; outcome, policy
 * and why are written. 0, -ENOMEM, or -EPROTO when the library says what it should not.
 */
int dmarc_libopendmarc(const struct dmarc_query *q, const struct dmarc_record *record,
                       const char *record_domain, struct dmarc_result *out);

#endif
