/*
 * dkim_sig - a DKIM-Signature field, RFC 6376 section 3.5 and RFC 8463, strictly read
 *
 * Says whether the field is a signature that may be verified at all, and what it claims. Everything that needs neither key
 * nor message is decided here: versions, algorithms, domains (i= at or below d=), h= with From in it, q=, l=, times. No I/O;
 * the caller brings the clock.
 */
#ifndef DKIM_SIG_H
#define DKIM_SIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "filters/dkim_tag.h"

enum { DKIM_NAME_MAX = 254, DKIM_IDENTITY_MAX = 320, DKIM_HASH_MAX = 32, DKIM_FIELDS_MAX = 256 };

enum dkim_algorithm { DKIM_ALG_NONE, DKIM_ALG_RSA_SHA1, DKIM_ALG_RSA_SHA256, DKIM_ALG_ED25519_SHA256 };

enum dkim_sig_state {
	DKIM_SIG_GOOD,
	DKIM_SIG_BAD,           /* syntax, or something missing or unknown: cannot be processed */
	DKIM_SIG_HISTORIC,      /* rsa-sha1: fails whatever the signature says (RFC 8301 section 3.1) */
	DKIM_SIG_EXPIRED,       /* x= is past */
};

struct dkim_sig {
	enum dkim_algorithm algorithm;
	char domain[DKIM_NAME_MAX];             /* d=, lower-case; "" while not read */
	char selector[DKIM_NAME_MAX];           /* s= */
	char identity[DKIM_IDENTITY_MAX];       /* i=, decoded and cut; "@" d= if there is none */
	char start[9];                          /* the first 8 characters of b=, to tell signatures apart (RFC 6008) */
	bool identity_below;                    /* the domain of i= is a true subdomain of d= */
	bool header_relaxed, body_relaxed;      /* c= */
	bool limited;                           /* l= is there: */
	uint64_t limit;
	uint64_t expires_s;                     /* x=, 0: never */
	size_t from_count;                      /* how often h= names From */
	unsigned char body_hash[DKIM_HASH_MAX];
	size_t body_hash_len;
};

/*
 * Read the body of the field (after the colon; its final CRLF may be there or not). why: in words for other states than
 * GOOD (a literal). What could be read is in out for every state, so that a bad signature can be named.
 */
enum dkim_sig_state dkim_sig_parse(const char *p, size_t len, int64_t now_s, struct dkim_sig *out, const char **why);

/*
 * Parts of that, for fields that are written alike (ARC's, arc_set.h): d= and s=; a=; c=; b=, of which start is kept; bh=; t= and x=. out is zeroed
 * before. NULL, or what is wrong (a literal).
 */
const char *dkim_sig_names(const struct dkim_tags *t, struct dkim_sig *out);
const char *dkim_sig_algorithm(const struct dkim_tags *t, struct dkim_sig *out);
const char *dkim_sig_canon(const struct dkim_tags *t, struct dkim_sig *out);
const char *dkim_sig_value(const struct dkim_tags *t, struct dkim_sig *out);
const char *dkim_sig_body_hash(const struct dkim_tags *t, struct dkim_sig *out);         /* its length is that of a= */
const char *dkim_sig_times(const struct dkim_tags *t, struct dkim_sig *out);
bool dkim_sig_field_name(const char *p, size_t len);            /* whether it can be the name of a header field, for h= */
/* Of a signature without fault: GOOD, HISTORIC or EXPIRED, with why. */
enum dkim_sig_state dkim_sig_age(const struct dkim_sig *sig, int64_t now_s, const char **why);

/* "rsa-sha256"; "" for NONE. */
const char *dkim_algorithm_name(enum dkim_algorithm a);

#endif
