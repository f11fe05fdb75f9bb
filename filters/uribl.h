/*
 * uribl - lists of domains: DBL, SURBL and the like (sections uribl of gatepost.conf)
 *
 * Looked up are, as each list's `use` says, the hosts that links lead to (links.h), the authors' and the envelope sender's domains, the client's HELO name and reverse names, and the d= of
 * DKIM signatures that are valid: anybody can write the others. A list is asked for the whole name or for the registrable domain; for addresses in links, octets reversed, only
 * where it has such. Own domains and those of the list's `skip` are left out. URIBL_NAMES_MAX names are asked for at most: the sender's first (of authors, of signatures and of
 * reverse names URIBL_OF_ONE_MAX each), then of links one host of each registrable domain, addresses, and the other hosts.
 *
 * A list counts once, by the weight of its strongest answer. Weights, codes, tests and benching are those of dnsbl.h; a list of domains must have TEST and must not have INVALID (RFC 5782
 * section 5), or what it names instead. 127.0.1.255 is an error, too: DBL says so of addresses.
 */
#ifndef URIBL_H
#define URIBL_H

#include "filters/filter.h"

enum { URIBL_NAMES_MAX = 40, URIBL_OF_ONE_MAX = 5 };

extern const struct filter filter_uribl;

#endif
