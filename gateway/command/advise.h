/*
 * advise - `gatepost advise DOMAIN`: what the world makes of a domain's mail records
 *
 * Each subject is a file of its own (advise_*.c): it looks up what it needs, and judges it in functions that ask nothing themselves. What is found is
 * told in lines: a level, a subject, and a sentence that says what to do.
 */
#ifndef ADVISE_H
#define ADVISE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/dns.h"
#include "base/net.h"
#include "filters/domain.h"
#include "filters/spf_engine.h"

struct mta_sts_cache;
struct mta_sts_policy;
struct site;

enum advice_level { ADVICE_OK, ADVICE_WARN, ADVICE_BAD };
enum { ADVISE_ADDRESSES_MAX = 16, ADVISE_SELECTORS_MAX = 16, ADVISE_LINES_MAX = 200, ADVISE_HOSTS_MAX = 10, ADVISE_HOST_ADDRESSES_MAX = 8 };

struct advice {
	enum advice_level level;
	const char *subject;            /* "SPF"; a literal */
	char *text;                     /* may hold bytes from the DNS */
};

struct advise_host {                    /* an MX */
	char name[DOMAIN_MAX];
	unsigned preference;
	bool alias;                     /* the name is a CNAME */
	bool unknown;                   /* its addresses could not be looked up */
	struct net_addr address[ADVISE_HOST_ADDRESSES_MAX];
	size_t count;
};

struct advise {
	struct dns *dns;
	const struct site *site;        /* NULL: no configuration */
	struct mta_sts_cache *sts;      /* NULL: policies of MTA-STS are not fetched */
	bool dnssec;                    /* the resolver validates */
	char domain[DOMAIN_MAX];        /* canonical */
	struct net_addr from[ADVISE_ADDRESSES_MAX];             /* where the domain's mail leaves from, as far as that is known */
	size_t from_count;
	const char *selector[ADVISE_SELECTORS_MAX];             /* that were asked for, beside those of the configuration */
	size_t selector_count;
	struct advise_host host[ADVISE_HOSTS_MAX];              /* advise_mx finds them, for those after it */
	size_t host_count;
	bool null_mx;                   /* the domain takes no mail */
	bool protected;                 /* MTA-STS or DANE make senders use TLS */
	struct advice *list;
	size_t count;
};

void advise_say(struct advise *a, enum advice_level level, const char *subject, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
enum advice_level advise_worst(const struct advise *a);
const char *advise_level_name(enum advice_level level);
void advise_release(struct advise *a);

/* The subjects; in this order. may wait */
void advise_mx(struct advise *a);
void advise_spf(struct advise *a);
void advise_dkim(struct advise *a);
void advise_dmarc(struct advise *a);
void advise_ptr(struct advise *a);
void advise_dane(struct advise *a);
void advise_sts(struct advise *a);
/* A policy that has been fetched. */
void advise_sts_judge(struct advise *a, const struct mta_sts_policy *p);

#endif
