/*
 * spf_engine - may this client send mail for this domain? RFC 7208 check_host(), by one of two engines
 *
 * ENGINE_NATIVE is our own evaluator (spf_eval.h); ENGINE_LIBRARY is libspf2 behind a guard (spf_libspf2.h). What both share stands
 * here: the question, the result, which identity is checked and whether its domain can be checked at all (section 4.3).
 *
 * Both keep one budget per check: 10 terms that ask the DNS, 2 of them without an answer, 10 names of an MX or PTR answer, and a time
 * (section 4.6.4).
 */
#ifndef SPF_ENGINE_H
#define SPF_ENGINE_H

#include "base/auto.h"
#include "base/dns.h"
#include "base/net.h"
#include "policy/conf.h"

enum { SPF_TERMS_MAX = 10, SPF_VOIDS_MAX = 2, SPF_HOSTS_MAX = 10 };

/* The words of section 2.6, in that order; spf_code_name() says them. */
enum spf_code { SPF_NONE, SPF_NEUTRAL, SPF_PASS, SPF_FAIL, SPF_SOFTFAIL, SPF_TEMPERROR, SPF_PERMERROR };

struct spf_query {
	struct net_addr client;
	const char *helo;               /* as given; NULL: unknown */
	const char *sender;             /* MAIL FROM without <>; "" the null sender: postmaster@HELO stands for it. NULL: the HELO identity */
	const char *receiver;           /* our name, for %{r}; may be NULL */
	int timeout_ms;                 /* the whole check */
	bool explain;                   /* fetch the explanation of a fail */
};

struct spf_result {
	enum spf_code code;
	char *domain;                   /* that was checked, lower-case; "" when there was none */
	char *mechanism;                /* the term that decided, of the domain's own record or of the one it redirects to: "-all", "include:x.example"; NULL: none */
	char *why;                      /* "example.com: include:x.example: ip4:192.0.2.0/24 matched" */
	char *record;                   /* of that domain; NULL: it has none, or none that is one, or the engine does not tell */
	char *explanation;              /* printable ASCII; NULL: the domain gives none */
	int terms, voids;               /* what was used of the budget */
	int asked;                      /* lookups started */
};

/* What is checked, taken apart. */
struct spf_identity {
	char *sender;                   /* local@domain */
	char *local, *domain;           /* the domain without final dot, U-labels as A-labels where that can be */
};

/* 0, or -ENOMEM: *out is zeroed then. may wait */
int spf_check(enum engine engine, const struct spf_query *q, struct dns *dns, struct spf_result *out);

/*
 * The same in two steps: the lookups that can be foreseen are started now, the result is asked for later. The library knows no
 * early start of its own; it finds in the resolver's cache what has been looked up for it meanwhile. Strings of q are copied, the receiver's excepted.
 */
struct spf_check;
int spf_check_begin(enum engine engine, const struct spf_query *q, struct dns *dns, struct spf_check **out);    /* never waits */
int spf_check_finish(struct spf_check *c, struct spf_result *out);      /* once; as spf_check. may wait */
void spf_check_free(struct spf_check *c);                               /* finished or not; NULL is fine */
void spf_result_release(struct spf_result *r);          /* zeroed is fine */
static inline void spf_result_cleanup(struct spf_result *r)
{
	spf_result_release(r);
}

const char *spf_code_name(enum spf_code c);             /* "none", "neutral", ... */

/* The result so far becomes this one. 0 or -ENOMEM. */
int spf_result_set(struct spf_result *r, enum spf_code code, const char *why_fmt, ...) __attribute__((format(printf, 3, 4)));

/* NULL when section 4.3 lets a domain be checked, else why not: a literal, one label, an empty or long label, not ASCII. */
const char *spf_domain_unfit(const char *domain);

#endif
