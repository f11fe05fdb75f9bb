/*
 * outbound_tls - what TLS towards the Internet has to be: opportunistic, or what a domain has published (DANE, MTA-STS)
 *
 * One per worker. For each message's domain first outbound_tls_domain (MTA-STS, RFC 8461: what its policy says, from the cache, or fetched), then for
 * each of its hosts outbound_tls_host (DANE, RFC 7672: TLSA records), which says what the session with that host has to be, or that the host must not be
 * used. What it says goes into a struct smtp_client_conf with outbound_tls_apply.
 *
 *     struct outbound_tls_domain *d;
 *     outbound_tls_domain(o, &(struct outbound_dest){ "example.com", true, mx->secure }, deadline_ms, &d);    // may wait
 *     for each host:
 *             rc = outbound_tls_host(d, &host, deadline_ms, &demand, why);            // may wait
 *             if (rc < 0)
 *                     continue;                                                       // next host; why says why
 *             outbound_tls_apply(demand, &conf);
 *             rc = smtp_client_open(&conf, ...);
 *             outbound_tls_opened(demand, rc, client, why);                           // one log line where something is to be said
 *
 * When no host can be used, or none is reached, the message stays: 4xx (451 4.7.5 where outbound_tls_policy_failed), never a delivery that the policy forbids.
 *
 * DANE comes first: a host that TLSA records speak for is authenticated by these alone (RFC 8461 section 2). It counts only where the whole way to the host is validated: the
 * MX records and the host's addresses. Usable records: TLS, authenticated by them. Records of which none is usable: TLS, not authenticated (unless MTA-STS or
 * the configuration asks for more). A lookup that fails or is bogus: the host is not used. MTA-STS in enforce mode: only hosts that the policy names, with a
 * certificate of a known CA for the host's name; in testing mode failures are logged only. Without either: as the configuration says.
 */
#ifndef OUTBOUND_TLS_H
#define OUTBOUND_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/tls.h"
#include "hop/smtp_client.h"

struct dns;
struct outbound_tls;
struct outbound_tls_demand;
struct outbound_tls_domain;
struct site;
struct state;

/* Before the worker is confined: the CA certificates are read here. 0, or -errno with err. site, dns, state outlive it; state NULL: policies are kept in memory alone. */
int outbound_tls_new(const struct site *site, struct dns *dns, struct state *state, struct outbound_tls **out, struct buf *err);
void outbound_tls_free(struct outbound_tls *o);
AUTO_DEFINE(outbound_tls)

/* The context that takes any certificate and looks at it all the same (tls_client_ctx_lenient); NULL: no memory, or cancelled. may wait */
struct ssl_ctx_st *outbound_tls_any(struct outbound_tls *o);

struct outbound_dest {
	const char *domain;             /* of the recipients, in lower case; "" for upstreams (each is asked for by its own name) and address literals */
	bool mx;                        /* hosts are found by the domain's MX records (or it is its own, without any) */
	bool secure;                    /* mx.secure: the answer on MX was validated (that there is none, too) */
};

/* 0, -ENOMEM or -ECANCELED. may wait */
int outbound_tls_domain(struct outbound_tls *o, const struct outbound_dest *dest, int64_t deadline_ms, struct outbound_tls_domain **out);
void outbound_tls_domain_free(struct outbound_tls_domain *d);
AUTO_DEFINE(outbound_tls_domain)

struct outbound_host {
	const char *name;               /* as the MX record or the configuration names it; NULL: an address is all there is */
	const char *canon;              /* mx_host.canon; NULL or "": none */
	bool secure;                    /* mx_host.secure: its addresses were validated, all that were got */
	unsigned short port;            /* 0: 25 */
};

/*
 * 0 and *out (freed after the session that was opened with it); -EAGAIN: the TLSA lookup failed; -EACCES: the MTA-STS policy does not name it: not used,
 * why (SMTP_WHY_MAX) says why, and so does the log. -ENOMEM, -ECANCELED. may wait
 */
int outbound_tls_host(struct outbound_tls_domain *d, const struct outbound_host *host, int64_t deadline_ms, struct outbound_tls_demand **out,
		      char *why);
void outbound_tls_demand_free(struct outbound_tls_demand *d);
AUTO_DEFINE(outbound_tls_demand)

/* Sets all of conf that begins with tls; conf points into the demand afterwards. */
void outbound_tls_apply(const struct outbound_tls_demand *d, struct smtp_client_conf *conf);

/* A session was opened with it (rc 0, c), or could not be (rc, why): logs what somebody has to know of (a fall-back to plain text, a demand that failed). */
void outbound_tls_opened(const struct outbound_tls_demand *d, int rc, const struct smtp_client *c, const char *why);

/* Whether TLS is demanded, so that a failure may be the policy's doing: 451 4.7.5. */
bool outbound_tls_demanded(const struct outbound_tls_demand *d);

/* Whether two demands are met by the same session. */
bool outbound_tls_same(const struct outbound_tls_demand *a, const struct outbound_tls_demand *b);

/* For the log: "TLSv1.3 dane", "TLSv1.3 mta-sts", "TLSv1.2 pkix", "TLSv1.3 none", "off". */
const char *outbound_tls_words(const struct smtp_client *c, char out[32]);

#endif
