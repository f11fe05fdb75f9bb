/*
 * dkim_answer - the public key in an answer from DNS, RFC 6376 section 3.6.2.2
 *
 * The RFC leaves several records undefined. Here the first that is good and has the type that the signature's a= wants is taken, so that a domain can have an RSA and an
 * Ed25519 key under one selector; else the first that is good, which does not fit a=; when none is, the first one's fault counts. Eight are looked at. No
 * I/O: who asks has waited.
 */
#ifndef DKIM_ANSWER_H
#define DKIM_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/dns.h"
#include "filters/dkim_key.h"
#include "filters/dkim_sig.h"

enum dkim_answer {
	DKIM_ANSWER_KEY,
	DKIM_ANSWER_NONE,       /* no usable key, and there will be none */
	DKIM_ANSWER_WEAK,       /* RSA under 1024 bits: key has type and bits */
	DKIM_ANSWER_LATER,      /* it could not be looked up */
};

enum { DKIM_ANSWER_WHY = 160 };

/* For a signature with that a=. why, in words, for all but KEY, which may be of the other type: dkim_answer_fits. */
enum dkim_answer dkim_answer_key(const struct dns_answer *a, enum dkim_algorithm algorithm, struct dkim_key *key, char why[DKIM_ANSWER_WHY]);
bool dkim_answer_fits(const struct dkim_key *key, enum dkim_algorithm algorithm);

#endif
