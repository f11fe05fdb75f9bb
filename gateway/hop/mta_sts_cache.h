/*
 * mta_sts_cache - the MTA-STS policies of domains: looked up, fetched, kept (RFC 8461 sections 3.3, 5.1, 10.2)
 *
 * One per worker: in memory, and in the state store, so that a restart (and the other workers) keep what is known. A policy counts for its max_age. It is fetched when
 * the domain's record names an id that is not known; whoever needs it waits for it, MTA_STS_WAIT_MS at most. It is fetched again in the background when half of
 * its time, or a day, is over: so who can keep us from the policy's host for an hour cannot make us forget it. A fetch that fails leaves what is there in force, and
 * is not tried again for MTA_STS_RETRY_MS. A record that is gone leaves a policy in force too: it ends by its age, or by a policy of mode none.
 *
 * Only https://mta-sts.DOMAIN/.well-known/mta-sts.txt with a certificate of a known CA, status 200, text/plain; no redirects.
 */
#ifndef MTA_STS_CACHE_H
#define MTA_STS_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "base/auto.h"
#include "hop/mta_sts.h"

struct dns;
struct mta_sts_cache;
struct net_prefix;
struct ssl_ctx_st;
struct state;

enum { MTA_STS_DOMAINS_MAX = 4096, MTA_STS_WAIT_MS = 30000, MTA_STS_FETCH_MS = 60000, MTA_STS_RETRY_MS = 300000 };

/* NULL: no memory. All outlive it; state may be NULL. port: of https, 443 outside of tests. */
struct mta_sts_cache *mta_sts_cache_new(struct dns *dns, struct state *state, struct ssl_ctx_st *verifying, unsigned short port);
/* Networks that no policy is fetched from; they outlive it. */
void mta_sts_cache_never(struct mta_sts_cache *c, const struct net_prefix *never, size_t count);
void mta_sts_cache_free(struct mta_sts_cache *c);       /* its fetches have ended (loop_unwind) */
AUTO_DEFINE(mta_sts_cache)

/* 0 and the policy in force for a domain (lower case), NULL when there is none: *out is freed with mta_sts_policy_free. -ENOMEM, -ECANCELED. may wait */
int mta_sts_find(struct mta_sts_cache *c, const char *domain, int64_t deadline_ms, struct mta_sts_policy **out);

#endif
