/*
 * dkim_published - how a signing key is published in DNS, and whether what is published is that key
 *
 * RFC 6376 section 3.6. No lookups here.
 */
#ifndef DKIM_PUBLISHED_H
#define DKIM_PUBLISHED_H

#include "base/buf.h"
#include "base/dns.h"
#include "filters/dkim_private.h"

enum dkim_published {
	DKIM_PUBLISHED_GOOD,
	DKIM_PUBLISHED_TESTING,         /* the key, but with t=y: signatures do not count */
	DKIM_PUBLISHED_SEVERAL,         /* the key, and other records beside it: what others make of that is undefined */
	DKIM_PUBLISHED_MISSING,
	DKIM_PUBLISHED_REVOKED,         /* p= is empty */
	DKIM_PUBLISHED_OTHER,           /* another key */
	DKIM_PUBLISHED_BAD,             /* no key record, or one that verifiers do not take */
	DKIM_PUBLISHED_UNKNOWN,         /* the DNS does not answer */
};

/*
 * The answer for TXT at selector._domainkey.domain, held against the key (NULL: any). why: in words, of at least 200 bytes, without what came
 * from the DNS.
 */
enum dkim_published dkim_published_judge(const struct dns_answer *a, const struct dkim_private *key, char *why, size_t size);

/* "selector._domainkey.domain"; out: DOMAIN_MAX bytes. 0, or -EINVAL when that is longer than a name may be. */
int dkim_published_name(const char *selector, const char *domain, char *out);

/* The record as a zone file has it: "name. IN TXT ( "..." "..." )", in strings of at most 255 bytes, on a line each. */
int dkim_published_zone(const char *name, const char *record, struct buf *out);

#endif
