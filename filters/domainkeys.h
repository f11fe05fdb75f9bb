/*
 * domainkeys - signatures of DomainKeys, RFC 4870, which is historic: that they are there, and whose they say they are
 *
 * A DomainKey-Signature field is a list of tags as that of DKIM, which replaced it. None is verified: rsa-sha1 is all that it knows, and its canonical forms
 * leave out what counts. So domainkeys.domains is a claim that anybody can make, and nothing of this is part of dkim, arc or dmarc.
 *
 * The first DOMAINKEYS_FIELDS_MAX fields are looked at, and of their tags d= alone; a field that cannot be read says nothing.
 */
#ifndef DOMAINKEYS_H
#define DOMAINKEYS_H

#include "filters/domain.h"
#include "filters/filter.h"

enum { DOMAINKEYS_FIELDS_MAX = 10, DOMAINKEYS_BYTES_MAX = 16 * 1024 };

/* d= of the body of such a field, canonical. 0, or -EINVAL: it is no list of tags, is longer than DOMAINKEYS_BYTES_MAX, or has none. */
int domainkeys_domain(const char *body, size_t len, char out[DOMAIN_MAX]);

extern const struct filter filter_domainkeys;

#endif
