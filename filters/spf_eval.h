/*
 * spf_eval - our own RFC 7208 evaluator
 *
 * The budget counts terms as they are evaluated, as section 4.6.4 wants it. Latency: when a record has been read, the
 * lookups of its terms are started side by side, as far as their names are known, and so for the records of its
 * includes and redirect as soon as those arrive; a check then costs its longest chain of lookups and not their sum. Such early
 * lookups stop when SPF_TERMS_MAX term lookups have been started in all (and the addresses of SPF_HOSTS_MAX hosts of MX answers), behind an
 * "all", and behind an ip4 or ip6 that covers the client. So no record makes us start more than twice the budget's number of
 * term lookups, and usually none too many.
 *
 * A void lookup (section 4.6.4) is counted once per term: when the name that the term itself names has no such record. The
 * hosts of an MX answer and the names of a PTR answer do not count.
 */
#ifndef SPF_EVAL_H
#define SPF_EVAL_H

#include "filters/spf_engine.h"

struct spf_eval;

/* Start what can be started. q and id must outlive it. NULL: no memory. Never waits. */
struct spf_eval *spf_eval_begin(const struct spf_query *q, const struct spf_identity *id, struct dns *dns);

/* The result, once; out->domain is the caller's. 0 or -ENOMEM. may wait */
int spf_eval_finish(struct spf_eval *c, struct spf_result *out);

void spf_eval_free(struct spf_eval *c);         /* finished or not; NULL is fine */

#endif
