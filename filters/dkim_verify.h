/*
 * dkim_verify - the DKIM signatures of one message, from its header to its last byte, RFC 6376, 8301, 8463
 *
 *     struct dkim_verify *v = dkim_verify_new(dns, &limits);
 *     for each field: dkim_verify_field(v, raw, len);
 *     dkim_verify_header_end(v);                      // key lookups start here
 *     for each chunk: dkim_verify_body(v, p, len);
 *     rc = dkim_verify_finish(v, &results, &count);   // may wait for the keys
 *     dkim_verify_free(v);
 *
 * Each signature is judged by itself, from the top of the header down. Keys are looked up while the body arrives. Bodies are
 * hashed here (dkim_body.h); the header and its signature are the engine's (dkim_engine.h). Work is bounded: so many signatures, so many
 * different body hashes; what is beyond has the result `policy`. A message without a signature that could pass is not hashed.
 *
 * A signature may cover other DKIM-Signature fields (h=dkim-signature). Where libopendkim is the engine it does not see those that are not verified
 * themselves, and such a signature fails. The library hashes in one piece, and nobody else has his turn meanwhile: a header for which it would need longer than for
 * DKIM_LIBRARY_OCTETS (dkim_engine.h), all signatures together, is left to the native engine; and so is one with fields that it does not see as others do: a blank before
 * the colon, a NUL, a vertical tab or form feed, a CR or LF that does not fold.
 */
#ifndef DKIM_VERIFY_H
#define DKIM_VERIFY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/auto.h"
#include "base/dns.h"
#include "filters/dkim_engine.h"
#include "filters/dkim_sig.h"

/* The words of RFC 8601 section 2.7.1, in the order in which the best of several signatures speaks for the message. */
enum dkim_word {
	DKIM_RESULT_NONE,
	DKIM_RESULT_NEUTRAL,    /* the signature cannot be read */
	DKIM_RESULT_PERMERROR,  /* there is no usable key, and will not be */
	DKIM_RESULT_POLICY,     /* not looked at: too many */
	DKIM_RESULT_FAIL,
	DKIM_RESULT_TEMPERROR,  /* the key could not be looked up */
	DKIM_RESULT_PASS,
};

struct dkim_result {
	enum dkim_word word;
	enum dkim_algorithm algorithm;
	char domain[DKIM_NAME_MAX];             /* d=, lower-case; "" when it could not be read; so for the next two */
	char selector[DKIM_NAME_MAX];
	char identity[DKIM_IDENTITY_MAX];       /* i= */
	char start[9];                          /* of b= */
	char why[160];                          /* in words; for a pass: what is remarkable, or "" */
	unsigned key_bits;                      /* 0: no key was read */
	bool partial;                           /* l=: text at the end is not signed */
	bool from_added;                        /* there are more From fields than h= covers */
	bool testing;                           /* the key says t=y */
	bool secure;                            /* the key came with DNSSEC */
};

struct dkim_limits {
	size_t signatures;              /* looked at (10); 0 means 10 */
	size_t body_hashes;             /* different ones, by c= and l= (4); 0 means 4 */
	const struct dkim_engine *engine;       /* NULL: native */
};

enum { DKIM_RESULTS_MAX = 64 };         /* told of; the number of all is in dkim_verify_signatures */

struct dkim_verify;

struct dkim_verify *dkim_verify_new(struct dns *dns, const struct dkim_limits *lim);
void dkim_verify_free(struct dkim_verify *v);
AUTO_DEFINE(dkim_verify)

/* A field with or without its final CRLF, from the top down. The bytes must stay until dkim_verify_finish has returned. 0, -ENOMEM or -EMSGSIZE. */
int dkim_verify_field(struct dkim_verify *v, const char *raw, size_t len);

/* The header is complete: reads the signatures and starts the key lookups. Never waits. 0 or -ENOMEM. */
int dkim_verify_header_end(struct dkim_verify *v);

/* The next bytes of the body, as sent; nothing if the message ends with its header. A chunk takes about 1 ms per MB and body hash. */
int dkim_verify_body(struct dkim_verify *v, const char *p, size_t len);

/* Once: the results, in order of the fields, owned by v. In a task, others have their turn while it hashes (turn.h). 0 (also for none) or -ENOMEM. may wait */
int dkim_verify_finish(struct dkim_verify *v, const struct dkim_result **results, size_t *count);

/* How many DKIM-Signature fields there are; valid after header_end. */
size_t dkim_verify_signatures(const struct dkim_verify *v);

/* "pass" ...; the best of several (NONE for none). */
const char *dkim_word_name(enum dkim_word w);
enum dkim_word dkim_word_best(const struct dkim_result *results, size_t count);

#endif
