/*
 * dkim_answer - the public key in an answer from DNS, RFC 6376 section 3.6.2.2
 *
 * Of several records the first that is good is taken (the RFC leaves them undefined); when none is, the first one's fault counts. No I/O: who asks
 * has waited.
 */
#ifndef DKIM_ANSWER_H
#define DKIM_ANSWER_H

#include <stddef.h>

#include "base/dns.h"
#include "filters/dkim_key.h"

enum dkim_answer {
	DKIM_ANSWER_KEY,
	DKIM_ANSWER_NONE,       /* no usable key, and there will be none */
	DKIM_ANSWER_WEAK,       /* RSA under 1024 bits: key has type and bits */
	DKIM_ANSWER_LATER,      /* it could not be looked up */
};

enum { DKIM_ANSWER_WHY = 160 };

/* why, in words, for all but KEY. */
enum dkim_answer dkim_answer_key(const struct dns_answer *a, struct dkim_key *key, char why[DKIM_ANSWER_WHY]);

#endif
