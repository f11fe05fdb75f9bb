/*
 * rua_authorize - whether the aggregate reports of a domain may go to an address: RFC 9990, "Verifying External Destinations"
 *
 * Within one organization (organizational domains as DMARC itself compares them) they may. To any other host only if that publishes a DMARC record at
 * DOMAIN._report._dmarc.HOST, so that nobody can have reports sent to whom he likes. Such a record may name another address at the same host, which
 * is then written to; one at another host forbids both.
 */
#ifndef RUA_AUTHORIZE_H
#define RUA_AUTHORIZE_H

#include "rua/rua_uri.h"

struct dmarc_walks;
struct dns;
struct dns_lookup;

enum rua_leave {
	RUA_GRANTED,
	RUA_DENIED,             /* why says how */
	RUA_UNKNOWN,            /* the DNS could not say: later */
};

/*
 * Ask for all that rua_authorize will want to know, so that many addresses wait side by side. Never waits. *question: for rua_authorize, then the caller drops
 * it; NULL where it may not be needed, or cannot be asked now.
 */
void rua_authorize_start(struct dns *dns, struct dmarc_walks *walks, const char *domain, const struct rua_uri *uri, struct dns_lookup **question);

/*
 * domain: canonical, where the policy record was found. uri may come back with another address. walks: from the same dns, shared by the addresses of one
 * report. question: of rua_authorize_start for the same, or NULL. *why: words, good as long as walks is there, or ""; may wait
 */
enum rua_leave rua_authorize(struct dns *dns, struct dmarc_walks *walks, const char *domain, struct rua_uri *uri, struct dns_lookup *question, const char **why);

#endif
