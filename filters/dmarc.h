/*
 * dmarc - what DMARC says of a message, as facts
 *
 * Started at the end of the header: the lookups of all walks that may be needed begin then, while
 * the body still comes in. Run when a rule asks, at the end of data at the earliest: the results of
 * SPF and DKIM are needed.
 */
#ifndef FILTERS_DMARC_H
#define FILTERS_DMARC_H

#include "filters/filter.h"

extern const struct filter filter_dmarc;

/* The d= of a DKIM-Signature field, for an early lookup: canonical, or -EINVAL. Not a check of the
 * field. */
int dmarc_signature_domain(const char *p, size_t len, char *out);

#endif
