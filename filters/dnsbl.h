/*
 * dnsbl - what the DNS lists of the site say about the client's address, RFC 5782
 *
 * All zones are asked side by side, at connect. An answer counts if it is in 127.0.0.0/8, is not 127.0.0.1, nor an error
 * (127.255.255.0/24), and is among the codes that the site accepts of the zone; a zone counts once, with the weight of the
 * code whose weight is furthest from zero. A zone that does not answer in time, or is benched (dnsbl_health.h), counts nothing. Allow lists have
 * negative weights. IPv6 clients are asked for by their full address.
 */
#ifndef DNSBL_H
#define DNSBL_H

#include "filters/filter.h"

extern const struct filter filter_dnsbl;

#endif
