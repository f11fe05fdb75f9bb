/*
 * dkim - the filter that verifies a message's DKIM signatures (dkim_verify.h)
 *
 * The header is read and the key lookups are started when the header is complete; the body is hashed while it arrives; at the
 * end of data the keys are waited for.
 *
 * `dkim` is the best of all signatures. When none passes and a key could not be looked up it is TEMPERROR, and so is
 * dkim.pass_domains, as nobody knows what would have passed. When one passes, the others' domains are in
 * dkim.temperror_domains: who looks for a certain domain among those that pass must look there too.
 *
 * dkim.results has one text per signature, in order of the fields:
 *
 *     "pass d=example.com s=sel a=rsa-sha256 b=dGhlIHF1 k=2048; reason in words"
 *
 * Tokens that could not be read are left out; k= is the size of the key; where there is no reason there is no semicolon. No value holds blanks.
 */
#ifndef DKIM_FILTER_H
#define DKIM_FILTER_H

#include "filters/filter.h"

extern const struct filter filter_dkim;

#endif
