/*
 * dmarc_eval - what DMARC says of one message: policy record, alignment, result. RFC 9989 section 4
 *
 * One interface for two engines. `native` is the default and does all of RFC 9989. `libopendmarc`
 * stands behind a guard (dmarc_libopendmarc.h) that does everything the library is known to get
 * wrong, and what is left to it knows the rules of RFC 7489 only.
 *
 * A lookup that failed makes the result temperror only where the result hangs on it.
 */
#ifndef DMARC_EVAL_H
#define DMARC_EVAL_H

#include "filters/dmarc_walk.h"
#include "filters/domain.h"
#include "policy/conf.h"

enum dmarc_outcome { DMARC_NONE, DMARC_PASS, DMARC_FAIL, DMARC_TEMPERROR, DMARC_PERMERROR };

enum { DMARC_WHY_MAX = 512 };

/* All domains are canonical. */
struct dmarc_query {
	const char *author;                     /* the one domain of the one From field */
	const char *spf_pass;                   /* MAIL FROM, or HELO for the null sender */
	const char *const *dkim_pass;           /* d= of the signatures that verified */
	size_t dkim_pass_count;
	const char *spf_temp;                   /* what SPF had a temperror for, or NULL */
	const char *const *dkim_temp;           /* d= of those whose key could not be asked for */
	size_t dkim_temp_count;
};

struct dmarc_result {
	enum dmarc_outcome outcome;
	bool has_policy;                        /* there is a record that applies: */
	enum dmarc_policy policy;               /* applies to a failure: p, sp or np, after t= */
	bool policy_temperror;                  /* which of them could not be found out */
	bool testing;                           /* t=y */
	struct dmarc_record published;          /* what the record says */
	const char *text;                       /* and how: text_len octets that live as long as the walks, or NULL */
	size_t text_len;
	char record_domain[DOMAIN_MAX];         /* where the record stands; "" */
	char org_domain[DOMAIN_MAX];            /* of the author domain; "": not to be found out */
	bool aligned_spf, aligned_dkim;
	char why[DMARC_WHY_MAX];                /* in words */
};

/* w: the walks of this message, some perhaps started. 0, or -errno when the engine itself failed
 * (-ENOMEM). may wait */
int dmarc_check(enum engine engine, const struct dmarc_query *q, struct dmarc_walks *w,
                struct dmarc_result *out);

/* Begin the walk of a domain that may have to be compared: one that shares its last two labels with
 * the author's. Never waits. */
void dmarc_prefetch(struct dmarc_walks *w, const char *author, const char *domain);

/* "none", "pass", "fail", "temperror", "permerror". */
const char *dmarc_outcome_name(enum dmarc_outcome o);

#endif
