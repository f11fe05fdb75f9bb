/*
 * dnsbl_zone - what the answer of one DNS list counts, for lists of addresses (dnsbl.h) and of domains (uribl.h)
 */
#ifndef DNSBL_ZONE_H
#define DNSBL_ZONE_H

#include "base/buf.h"
#include "base/dns.h"
#include "filters/dnsbl_health.h"

struct dnsbl_conf;

enum { DNSBL_WHY_MAX = 480 };

int dnsbl_zone_timeout(const struct dnsbl_conf *z);

/* Whether zone i counts: before its first test it is waited for, until deadline_ms at most. may wait */
bool dnsbl_zone_trusted(size_t i, int64_t deadline_ms);

/* "zone: what", behind what is there. */
void dnsbl_why_add(struct buf *why, const char *zone, const char *what);

/*
 * What zone i answered. Each accepted code is told to on_code; *best is the one that weighs most, *weight what it weighs; NULL: not listed. Errors make the zone a
 * suspect, and are said in why. 0, or the error of on_code.
 */
int dnsbl_zone_weigh(const struct dnsbl_conf *z, size_t i, const struct dns_answer *a, int (*on_code)(void *arg, const struct dns_rr *rr), void *arg,
		     const struct dns_rr **best, int *weight, struct buf *why);

#endif
