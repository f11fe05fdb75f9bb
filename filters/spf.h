/*
 * spf - the filters that ask whether the client may send for the domain of MAIL FROM, and for the name in HELO; RFC 7208
 *
 * Two filters, so that the HELO identity is looked up only when a rule mentions spf.helo. For the null sender `spf` is
 * about the HELO name (section 2.4). The lookups begin at MAIL, the result is waited for when it is needed.
 */
#ifndef SPF_H
#define SPF_H

#include "filters/filter.h"

extern const struct filter filter_spf, filter_spf_helo;

#endif
